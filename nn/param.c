/* param.c -- the set of parameters; gradients are in grads.c. */
#include <assert.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "nn/param_set.h"
#include "tensor/kernels.h"

/* ---- the set ---- */

/* What nn_param returns without a set; nothing writes to a nil parameter. */
static const NnParam no_set = {.name = "(nil)", .value = {.ndim = -1}, .grad = {.ndim = -1},
                               .index = -1};

NnParamSet *nn_params_new(TensorDtype dtype, uint64_t seed) {
    NnParamSet *set = calloc(1, sizeof *set);
    if (!set) return NULL;
    set->arena = tensor_arena_new();
    if (!set->arena) {
        free(set);
        return NULL;
    }
    set->dtype = dtype;
    set->seed = seed;
    set->own = (NnGrads){.set = set, .arena = set->arena};
    set->nil = no_set;
    set->nil.set = set;
    if (dtype != TENSOR_F32 && dtype != TENSOR_F64)
        nn_params_fail(set, "parameters are f32 or f64");
    return set;
}

void nn_params_free(NnParamSet *set) {
    if (!set) return;
    tensor_arena_free(set->arena);
    free(set);
}

bool nn_params_ok(const NnParamSet *set) { return set && !set->failed; }

const char *nn_params_error(const NnParamSet *set) {
    return set ? set->error.message : "out of memory: there is no parameter set";
}

void nn_params_fail(NnParamSet *set, const char *format, ...) {
    if (!set || set->failed) return;
    set->failed = true;
    char text[sizeof set->error.message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tensor_error_set(&set->error, "%s", text); /* a name may hold what breaks the line */
}

void *nn_params_alloc(NnParamSet *set, size_t bytes) {
    if (!set) return NULL;
    void *memory = tensor_arena_alloc(set->arena, bytes);
    if (!memory) nn_params_fail(set, "out of memory: %zu bytes", bytes);
    return memory;
}

TensorDtype nn_params_dtype(const NnParamSet *set) { return set ? set->dtype : TENSOR_F32; }

int nn_params_count(const NnParamSet *set) { return set ? set->n : 0; }

static NnParam *nil_param(const NnParamSet *set) {
    return (NnParam *)(set ? &set->nil : &no_set);
}

bool nn_param_is_nil(const NnParam *p) { return p->index < 0; }

NnParam *nn_params_at(const NnParamSet *set, int i) {
    return set && i >= 0 && i < set->n ? set->param[i] : nil_param(set);
}

NnParam *nn_params_find(const NnParamSet *set, const char *name) {
    for (int i = 0; i < nn_params_count(set); i++)
        if (strcmp(set->param[i]->name, name) == 0) return set->param[i];
    return NULL;
}

int64_t nn_params_numel(const NnParamSet *set) {
    int64_t numel = 0;
    for (int i = 0; i < nn_params_count(set); i++)
        if (set->param[i]->trainable) numel += tensor_numel(&set->param[i]->value);
    return numel;
}

/* ---- making parameters ---- */

/* Why no parameter can have this name, or NULL.  Stars and brackets would read as patterns,
 * quotes and controls would need escapes in files. */
static const char *name_invalid(const char *name) {
    size_t n = strlen(name);
    if (n == 0) return "name is empty";
    if (name[0] == '.' || name[n - 1] == '.' || strstr(name, ".."))
        return "name has an empty part";
    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] > '~' || strchr("*?[]\\\"", name[i]))
            return "name has a character that is not allowed";
    return strcmp(name, "__metadata__") ? NULL : "name is reserved in files";
}

/* No two parameters share random numbers, nor does one with what a tape of the same seed
 * draws: a training step never has this number. */
static TensorRngKey param_key(const NnParamSet *set, int index) {
    return (TensorRngKey){set->seed, UINT64_C(0x9d9ad3e1c0a5f417), (uint64_t)index};
}

static bool grow_list(NnParamSet *set) {
    if (set->n < set->capacity) return true;
    int capacity = set->capacity ? 2 * set->capacity : 16;
    NnParam **list = tensor_arena_alloc(set->arena, (size_t)capacity * sizeof *list);
    if (!list) return false;
    if (set->n) memcpy(list, set->param, (size_t)set->n * sizeof *list);
    set->param = list;
    set->capacity = capacity;
    return true;
}

/* The text of a shape that cannot be made, for messages. */
static const char *shape_text(int ndim, const int64_t *shape, char *buf, size_t n) {
    size_t used = (size_t)snprintf(buf, n, "[");
    for (int d = 0; d < ndim && used + 24 < n; d++)
        used += (size_t)snprintf(buf + used, n - used, "%s%lld", d ? "," : "",
                                 (long long)shape[d]);
    snprintf(buf + used, n - used, "]");
    return buf;
}

static bool has_negative(int ndim, const int64_t *shape) {
    for (int d = 0; d < ndim; d++)
        if (shape[d] < 0) return true;
    return false;
}

/* A parameter with memory but no values yet, not in the list; NULL when out of memory. */
static NnParam *new_param(NnParamSet *set, const char *name, int ndim, const int64_t *shape,
                          bool trainable) {
    NnParam *p = tensor_arena_alloc(set->arena, sizeof *p);
    size_t size = strlen(name) + 1;
    char *copy = tensor_arena_alloc(set->arena, size);
    Tensor value = tensor_new(set->arena, set->dtype, ndim, shape);
    if (!p || !copy || tensor_is_nil(&value) || !grow_list(set)) return NULL;
    memcpy(copy, name, size);
    static atomic_uint_fast64_t made; /* parameters of all sets */
    *p = (NnParam){.name = copy, .value = value, .grad = tensor_nil(), .trainable = trainable,
                   .identity = atomic_fetch_add(&made, 1) + 1, .index = set->n, .set = set};
    return p;
}

static NnParam *add_param(NnParamSet *set, bool trainable, NnInit init, int ndim,
                          const int64_t *shape, const char *name) {
    const char *why = name_invalid(name);
    if (!why && nn_params_find(set, name)) why = "name given twice";
    char text[256];
    if (why) {
        nn_params_fail(set, "parameter %.200s: %s", name, why);
    } else if (ndim < 0 || ndim > TENSOR_MAX_DIMS) {
        nn_params_fail(set, "parameter %s: %d axes", name, ndim);
    } else if (has_negative(ndim, shape)) {
        nn_params_fail(set, "parameter %s: no shape: %s", name,
                       shape_text(ndim, shape, text, sizeof text));
    } else {
        NnParam *p = new_param(set, name, ndim, shape, trainable);
        why = p ? nn_init_invalid(init, &p->value) : NULL;
        if (p && !why && nn_init_fill(init, &p->value, param_key(set, p->index)) &&
            nn_grads_append(&set->own, p)) {
            p->grad = set->own.grad[p->index];
            return set->param[set->n++] = p;
        }
        nn_params_fail(set, "parameter %s %s: %s", name,
                       shape_text(ndim, shape, text, sizeof text), why ? why : "out of memory");
    }
    return nil_param(set);
}

static NnParam *add_named(NnParamSet *set, bool trainable, NnInit init, int ndim,
                          const int64_t *shape, const char *format, va_list args) {
    if (!nn_params_ok(set)) return nil_param(set);
    char name[NN_NAME_SIZE];
    int n = vsnprintf(name, sizeof name, format, args);
    if (n < 0 || (size_t)n >= sizeof name) {
        nn_params_fail(set, "parameter %.60s..: name longer than %d bytes", name,
                       NN_NAME_SIZE - 1);
        return nil_param(set);
    }
    return add_param(set, trainable, init, ndim, shape, name);
}

NnParam *nn_param(NnParamSet *set, NnInit init, int ndim, const int64_t *shape,
                  const char *name_format, ...) {
    va_list args;
    va_start(args, name_format);
    NnParam *p = add_named(set, true, init, ndim, shape, name_format, args);
    va_end(args);
    return p;
}

NnParam *nn_buffer(NnParamSet *set, NnInit init, int ndim, const int64_t *shape,
                   const char *name_format, ...) {
    va_list args;
    va_start(args, name_format);
    NnParam *p = add_named(set, false, init, ndim, shape, name_format, args);
    va_end(args);
    return p;
}

void nn_param_by_rows(NnParam *p) {
    if (nn_param_is_nil(p) || !p->trainable || p->value.ndim < 1 || p->by_rows) return;
    p->by_rows = nn_grads_keep_rows(&p->set->own, p);
    if (p->by_rows) nn_grads_touch(&p->set->own, p->index); /* until zeroed: what is there? */
    else nn_params_fail(p->set, "parameter %s: out of memory", p->name);
}

/* ---- by pattern ---- */

static bool matches(const char *pattern, const NnParam *p) {
    return fnmatch(pattern, p->name, 0) == 0;
}

int nn_init_apply(NnParamSet *set, const char *pattern, NnInit init) {
    if (!nn_params_ok(set)) return -1;
    for (int i = 0; i < set->n; i++) {
        const NnParam *p = set->param[i];
        const char *why = matches(pattern, p) ? nn_init_invalid(init, &p->value) : NULL;
        if (!why) continue;
        nn_params_fail(set, "parameter %s: %s", p->name, why);
        return -1;
    }
    int n = 0;
    for (int i = 0; i < set->n; i++) {
        NnParam *p = set->param[i];
        if (!matches(pattern, p)) continue;
        if (!nn_init_fill(init, &p->value, param_key(set, i))) {
            nn_params_fail(set, "parameter %s: out of memory", p->name);
            return -1;
        }
        nn_param_touch(p);
        n++;
    }
    return n;
}

int nn_freeze(NnParamSet *set, const char *pattern, bool frozen) {
    int n = 0;
    for (int i = 0; i < nn_params_count(set); i++) {
        NnParam *p = set->param[i];
        if (!p->trainable || !matches(pattern, p)) continue;
        p->frozen = frozen;
        n++;
    }
    return n;
}

void nn_param_touch(NnParam *p) {
    if (!nn_param_is_nil(p)) p->version++;
}

/* ---- on a tape ---- */

static AgVar fail_nil(AgTape *t, const NnParam *p) {
    const char *error = nn_params_error(p->set);
    return ag_fail(t, "nil parameter: %s", *error ? error : "there is none at this index");
}

AgVar nn_var(AgTape *t, const NnParam *p) {
    if (!p) return ag_fail(t, "parameter: none; was the layer made?");
    if (nn_param_is_nil(p)) return fail_nil(t, p);
    AgLeaf leaf = {.name = p->name, .value = p->value, .grad = tensor_nil(),
                   .version = &p->version, .identity = p->identity};
    if (p->trainable && !p->frozen) {
        const NnGrads *grads = ag_tape_attached(t, p->set);
        if (!grads) grads = &p->set->own;
        leaf.grad = nn_grads_at(grads, p->index);
        leaf.rows = nn_grads_rows(grads, p->index);
        if (tensor_is_nil(&leaf.grad))
            return ag_fail(t, "parameter %s was made after the gradients in use", p->name);
    }
    return ag_leaf(t, p, &leaf);
}

void nn_param_bind(AgTape *t, const NnParam *p, AgVar v) {
    if (!p) {
        ag_fail(t, "bind: no parameter");
        return;
    }
    if (nn_param_is_nil(p)) {
        fail_nil(t, p);
        return;
    }
    const Tensor *x = ag_value(v);
    if (ag_ok(v) && (x->dtype != p->value.dtype || !tensor_same_shape(x, &p->value))) {
        char want[TENSOR_DESCRIBE_SIZE], got[TENSOR_DESCRIBE_SIZE];
        ag_fail(t, "bind %s: expected %s, got %s", p->name,
                tensor_describe(&p->value, want, sizeof want),
                tensor_describe(x, got, sizeof got));
        return;
    }
    ag_bind(t, p, v);
}
