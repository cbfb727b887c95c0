/* checkpoint.c -- see checkpoint.h. */
#include "nn/checkpoint.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "nn/state_dict.h"
#include "nn/state_entries.h"
#include "tensor/kernels.h"

struct NnCheckpoint {
    TensorArena *arena;
    TensorNamed *tensor;
    TensorMetadata *text;
    int n_tensors, cap_tensors, n_texts, cap_texts;
    bool failed;
    TensorError error;
};

/* ---- names ---- */

/* The text of printf in the arena's memory, behind `before` and, unless that is "", a dot. */
static char *format_name(TensorArena *a, const char *before, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    size_t skip = *before ? strlen(before) + 1 : 0;
    char *name = n < 0 ? NULL : tensor_arena_alloc(a, skip + (size_t)n + 1);
    if (!name) return NULL;
    if (skip) {
        memcpy(name, before, skip - 1);
        name[skip - 1] = '.';
    }
    vsnprintf(name + skip, (size_t)n + 1, format, args);
    return name;
}

char *nn_checkpoint_name(TensorArena *a, const char *prefix, const char *name_format, ...) {
    va_list args;
    va_start(args, name_format);
    char *name = format_name(a, prefix, name_format, args);
    va_end(args);
    return name;
}

const char *nn_checkpoint_below(const char *prefix, const char *name) {
    size_t n = strlen(prefix);
    if (n == 0) return name;
    return strncmp(name, prefix, n) == 0 && name[n] == '.' ? name + n + 1 : NULL;
}

/* ---- collecting ---- */

NnCheckpoint *nn_checkpoint_new(void) {
    NnCheckpoint *c = calloc(1, sizeof *c);
    TensorArena *arena = tensor_arena_new();
    if (!c || !arena) {
        tensor_arena_free(arena);
        free(c);
        return NULL;
    }
    c->arena = arena;
    return c;
}

void nn_checkpoint_free(NnCheckpoint *c) {
    if (!c) return;
    tensor_arena_free(c->arena);
    free(c);
}

void nn_checkpoint_fail(NnCheckpoint *c, const char *format, ...) {
    if (!c || c->failed) return;
    c->failed = true;
    char text[sizeof c->error.message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tensor_error_set(&c->error, "%s", text);
}

static bool is_open(const NnCheckpoint *c) { return c && !c->failed; }

/* The list with room for one more of `size` bytes; NULL when out of memory. */
static void *grow(TensorArena *arena, void *list, int n, int *capacity, size_t size) {
    if (n < *capacity) return list;
    int more = *capacity ? 2 * *capacity : 64;
    void *copy = tensor_arena_alloc(arena, (size_t)more * size);
    if (!copy) return NULL;
    if (n) memcpy(copy, list, (size_t)n * size);
    *capacity = more;
    return copy;
}

/* The name is the checkpoint's already, or NULL when out of memory. */
static void append(NnCheckpoint *c, const char *name, const Tensor *value) {
    TensorNamed *list = name ? grow(c->arena, c->tensor, c->n_tensors, &c->cap_tensors,
                                    sizeof *list)
                             : NULL;
    if (!list) {
        nn_checkpoint_fail(c, "out of memory");
        return;
    }
    c->tensor = list;
    list[c->n_tensors++] = (TensorNamed){name, *value};
}

void nn_checkpoint_add(NnCheckpoint *c, const char *name, const Tensor *value) {
    if (is_open(c)) append(c, nn_checkpoint_name(c->arena, "", "%s", name), value);
}

void nn_checkpoint_add_copy(NnCheckpoint *c, const char *name, const Tensor *value) {
    if (!is_open(c)) return;
    const char *invalid = tensor_invalid(value);
    Tensor copy = invalid ? tensor_nil() : tensor_copy(c->arena, value);
    if (invalid)
        nn_checkpoint_fail(c, "%s: %s", name, invalid);
    else if (tensor_is_nil(&copy))
        nn_checkpoint_fail(c, "out of memory");
    else
        nn_checkpoint_add(c, name, &copy);
}

static void add_numbers(NnCheckpoint *c, const char *name, TensorDtype dtype, int64_t n,
                        const void *x) {
    char nothing;
    Tensor value = tensor_wrap(n ? (void *)x : &nothing, dtype, 1, &n);
    if (n < 0)
        nn_checkpoint_fail(c, "%s: %lld numbers", name, (long long)n);
    else
        nn_checkpoint_add_copy(c, name, &value);
}

void nn_checkpoint_add_reals(NnCheckpoint *c, const char *name, int64_t n, const double *x) {
    add_numbers(c, name, TENSOR_F64, n, x);
}

void nn_checkpoint_add_ints(NnCheckpoint *c, const char *name, int64_t n, const int64_t *x) {
    add_numbers(c, name, TENSOR_I64, n, x);
}

void nn_checkpoint_add_text(NnCheckpoint *c, const char *key, const char *text) {
    if (!is_open(c)) return;
    TensorMetadata *list = grow(c->arena, c->text, c->n_texts, &c->cap_texts, sizeof *list);
    if (list) c->text = list;
    const char *key_copy = nn_checkpoint_name(c->arena, "", "%s", key);
    const char *text_copy = nn_checkpoint_name(c->arena, "", "%s", text);
    if (list && key_copy && text_copy)
        list[c->n_texts++] = (TensorMetadata){key_copy, text_copy};
    else
        nn_checkpoint_fail(c, "out of memory");
}

void nn_checkpoint_add_params(NnCheckpoint *c, const char *prefix, const NnParamSet *set) {
    if (!nn_params_ok(set)) nn_checkpoint_fail(c, "%s: %s", prefix, nn_params_error(set));
    for (int i = 0; is_open(c) && i < nn_params_count(set); i++) {
        const NnParam *p = nn_params_at(set, i);
        append(c, nn_checkpoint_name(c->arena, prefix, "%s", p->name), &p->value);
    }
}

void nn_checkpoint_add_state(NnCheckpoint *c, const char *prefix, const NnState *state) {
    if (!state) nn_checkpoint_fail(c, "%s: out of memory: there is no state", prefix);
    const NnStateEntry *e = state ? state->first : NULL;
    for (; is_open(c) && e; e = e->next)
        append(c, nn_checkpoint_name(c->arena, prefix, "%s", e->name), &e->value);
}

/* ---- the digest ---- */

static const char digest_key[] = "digest";
enum { DIGEST_SIZE = 17 };

/* The FNV-1a hash of G. Fowler, L. Noll and K.-P. Vo, over words of 8 bytes. */
static uint64_t digest_bytes(uint64_t digest, const void *bytes, size_t n) {
    const unsigned char *next = bytes;
    for (uint64_t word; n > 0; next += sizeof word) {
        size_t size = n < sizeof word ? n : sizeof word;
        word = 0;
        memcpy(&word, next, size);
        digest = (digest ^ word) * UINT64_C(1099511628211);
        digest ^= digest >> 32; /* high bits of a word get low, too */
        n -= size;
    }
    return digest;
}

static uint64_t digest_text(uint64_t digest, const char *text) {
    return digest_bytes(digest, text, strlen(text) + 1);
}

/* x contiguous, or nil of a dtype that is only listed. */
static uint64_t digest_tensor(uint64_t digest, const char *name, const Tensor *x) {
    digest = digest_text(digest, name);
    if (tensor_is_nil(x)) return digest;
    digest = digest_bytes(digest, x->shape, (size_t)x->ndim * sizeof *x->shape);
    return digest_bytes(digest, x->data,
                        (size_t)tensor_numel(x) * tensor_dtype_size(x->dtype));
}

static uint64_t digest_texts(int64_t n, const TensorMetadata *text) {
    uint64_t digest = UINT64_C(14695981039346656037);
    for (int64_t i = 0; i < n; i++)
        if (strcmp(text[i].key, digest_key) != 0)
            digest = digest_text(digest_text(digest, text[i].key), text[i].value);
    return digest;
}

static void add_digest(NnCheckpoint *c) {
    char text[DIGEST_SIZE];
    uint64_t digest = digest_texts(c->n_texts, c->text);
    for (int i = 0; i < c->n_tensors; i++) {
        Tensor x = c->tensor[i].value;
        TensorArenaMark mark = tensor_arena_mark(c->arena);
        /* What is not valid the write refuses. */
        if (!tensor_invalid(&x) && !tensor_is_contiguous(&x)) {
            x = tensor_copy(c->arena, &x);
            if (tensor_is_nil(&x)) nn_checkpoint_fail(c, "out of memory");
        }
        if (!tensor_invalid(&x)) digest = digest_tensor(digest, c->tensor[i].name, &x);
        tensor_arena_release(c->arena, mark);
    }
    snprintf(text, sizeof text, "%016llx", (unsigned long long)digest);
    nn_checkpoint_add_text(c, digest_key, text);
}

static bool check_digest(const TensorSafetensors *file, const char *path, TensorError *error) {
    int64_t n;
    const TensorMetadata *text = tensor_safetensors_all_metadata(file, &n);
    const char *expected = tensor_safetensors_metadata(file, digest_key);
    char found[DIGEST_SIZE];
    uint64_t digest = digest_texts(n, text);
    for (int64_t i = 0; i < tensor_safetensors_count(file); i++) {
        const TensorSafetensorsEntry *e = tensor_safetensors_entry(file, i);
        digest = digest_tensor(digest, e->name, &e->value);
    }
    snprintf(found, sizeof found, "%016llx", (unsigned long long)digest);
    return !expected || strcmp(expected, found) == 0 ||
           tensor_error_file(error, path, -1, "is damaged: its contents are not those that were "
                             "written");
}

bool nn_checkpoint_open(const char *path, TensorSafetensors **file, TensorError *error) {
    if (!tensor_safetensors_open(path, file, error)) return false;
    if (check_digest(*file, path, error)) return true;
    tensor_safetensors_close(*file);
    *file = NULL;
    return false;
}

/* ---- writing ---- */

bool nn_checkpoint_write(NnCheckpoint *c, const char *path, TensorError *error) {
    if (is_open(c)) add_digest(c);
    if (!is_open(c))
        return tensor_error_file(error, path, -1, "not written: %s",
                                 c ? c->error.message : "out of memory: there is no checkpoint");
    int texts = c->n_texts--; /* the digest is not for another write */
    return tensor_safetensors_write(path, c->n_tensors, c->tensor, texts, c->text, error);
}

/* ---- reading ---- */

static bool out_of_memory(const char *path, TensorError *error) {
    return tensor_error_file(error, path, -1, "out of memory");
}

bool nn_checkpoint_view(const TensorSafetensors *file, const char *path, const char *name,
                        TensorDtype dtype, int ndim, const int64_t *shape, Tensor *view,
                        TensorError *error) {
    *view = tensor_nil();
    char nothing, expected[TENSOR_DESCRIBE_SIZE], found[TENSOR_DESCRIBE_SIZE];
    const TensorSafetensorsEntry *e =
        tensor_safetensors_entry(file, tensor_safetensors_find(file, name));
    if (!e) return tensor_error_file(error, path, -1, "%.200s: missing", name);
    Tensor like = tensor_wrap(&nothing, dtype, ndim, shape);
    if (e->value.dtype == dtype && !tensor_is_nil(&like) && tensor_same_shape(&e->value, &like)) {
        *view = e->value;
        return true;
    }
    return tensor_error_file(error, path, -1, "%.200s: expected %s, found %s", name,
                             tensor_describe(&like, expected, sizeof expected),
                             tensor_safetensors_describe(e, found));
}

bool nn_checkpoint_read(const TensorSafetensors *file, const char *path, const char *name,
                        const Tensor *value, TensorError *error) {
    Tensor view;
    if (!nn_checkpoint_view(file, path, name, value->dtype, value->ndim, value->shape, &view,
                            error))
        return false;
    tensor_convert(value, &view);
    return true;
}

bool nn_checkpoint_read_reals(const TensorSafetensors *file, const char *path, const char *name,
                              int64_t n, double *x, TensorError *error) {
    Tensor value = tensor_wrap(x, TENSOR_F64, 1, &n);
    return nn_checkpoint_read(file, path, name, &value, error);
}

bool nn_checkpoint_read_ints(const TensorSafetensors *file, const char *path, const char *name,
                             int64_t n, int64_t *x, TensorError *error) {
    Tensor value = tensor_wrap(x, TENSOR_I64, 1, &n);
    return nn_checkpoint_read(file, path, name, &value, error);
}

bool nn_checkpoint_read_params(const TensorSafetensors *file, const char *path,
                               const char *prefix, NnParamSet *set, TensorError *error) {
    TensorArena *arena = tensor_arena_new();
    const char *below = arena ? nn_checkpoint_name(arena, prefix, "%s", "") : NULL;
    NnLoadReport report = {0};
    bool ok = below ? nn_load_from(set, file, path, &(NnLoadOptions){.prefix = below}, &report)
                    : out_of_memory(path, error);
    if (below && !ok) tensor_error_set(error, "%s", report.message);
    nn_load_report_free(&report);
    tensor_arena_free(arena);
    return ok;
}

/* ---- the state ---- */

static bool read_entry(const TensorSafetensorsEntry *e, const char *path, const char *name,
                       NnState *to, TensorError *error) {
    char found[TENSOR_DESCRIBE_SIZE];
    if (tensor_is_nil(&e->value) || e->value.dtype != to->dtype)
        return tensor_error_file(error, path, -1, "%.200s: %s in a state of %s", e->name,
                                 tensor_safetensors_describe(e, found),
                                 tensor_dtype_name(to->dtype));
    NnStateEntry *entry = nn_state_append(to, name, e->ndim, e->shape);
    if (!entry) return out_of_memory(path, error);
    tensor_convert(&entry->value, &e->value);
    return true;
}

bool nn_checkpoint_read_state(const TensorSafetensors *file, const char *path, const char *prefix,
                              NnState *state, TensorError *error) {
    if (!state)
        return tensor_error_file(error, path, -1, "%s: out of memory: there is no state", prefix);
    NnState fresh = {.arena = tensor_arena_new(), .dtype = state->dtype};
    bool ok = fresh.arena || out_of_memory(path, error);
    for (int64_t i = 0; ok && i < tensor_safetensors_count(file); i++) {
        const TensorSafetensorsEntry *e = tensor_safetensors_entry(file, i);
        const char *name = nn_checkpoint_below(prefix, e->name);
        ok = !name || read_entry(e, path, name, &fresh, error);
    }
    tensor_arena_free(ok ? state->arena : fresh.arena);
    if (ok) *state = fresh;
    return ok;
}
