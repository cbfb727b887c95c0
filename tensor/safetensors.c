#include "tensor/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "elements are stored as they are");

#define LENGTH_BYTES 8
#define METADATA_KEY "__metadata__"
#define NOT_SUPPORTED (-1)

typedef struct {
    const char *name;
    int bits;  /* of one element */
    int dtype; /* a TensorDtype, or NOT_SUPPORTED */
} FileDtype;

/* Of two names for one TensorDtype the first is the one to write. */
static const FileDtype file_dtypes[] = {
    {"F32", 32, TENSOR_F32},        {"F64", 64, TENSOR_F64},
    {"I64", 64, TENSOR_I64},        {"U8", 8, TENSOR_U8},
    {"BOOL", 8, TENSOR_U8},         {"F16", 16, NOT_SUPPORTED},
    {"BF16", 16, NOT_SUPPORTED},    {"I8", 8, NOT_SUPPORTED},
    {"I16", 16, NOT_SUPPORTED},     {"U16", 16, NOT_SUPPORTED},
    {"I32", 32, NOT_SUPPORTED},     {"U32", 32, NOT_SUPPORTED},
    {"U64", 64, NOT_SUPPORTED},     {"F8_E4M3", 8, NOT_SUPPORTED},
    {"F8_E5M2", 8, NOT_SUPPORTED},  {"F8_E8M0", 8, NOT_SUPPORTED},
    {"F6_E2M3", 6, NOT_SUPPORTED},  {"F6_E3M2", 6, NOT_SUPPORTED},
    {"F4", 4, NOT_SUPPORTED},       {"C64", 64, NOT_SUPPORTED},
};
#define N_FILE_DTYPES (sizeof file_dtypes / sizeof *file_dtypes)

static const FileDtype *dtype_by_name(const char *name) {
    for (size_t i = 0; i < N_FILE_DTYPES; i++)
        if (strcmp(file_dtypes[i].name, name) == 0)
            return &file_dtypes[i];
    return NULL;
}

static const char *dtype_to_write(TensorDtype dtype) {
    size_t i = 0;
    while (file_dtypes[i].dtype != (int)dtype)
        i++;
    return file_dtypes[i].name;
}

/* ---- text of messages ---- */

#define QUOTED_SIZE 112

/* A name in quotes, its end left out where it is long. */
static const char *quote(const char *name, char buf[QUOTED_SIZE]) {
    size_t room = QUOTED_SIZE - sizeof "\"...\"", n = strlen(name);
    const char *dots = "";
    if (n > room) {
        dots = "...";
        for (n = room; n > 0 && ((unsigned char)name[n] & 0xC0u) == 0x80u; n--)
            ;
    }
    snprintf(buf, QUOTED_SIZE, "\"%.*s%s\"", (int)n, name, dots);
    return buf;
}

/* "bf16[3,4]", also for dtypes that no Tensor has. */
static const char *describe(const char *dtype_name, int ndim, const int64_t *shape,
                            char buf[TENSOR_DESCRIBE_SIZE]) {
    size_t size = TENSOR_DESCRIBE_SIZE, used = 0;
    for (; dtype_name[used]; used++) {
        char c = dtype_name[used];
        buf[used] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    buf[used++] = '[';
    for (int d = 0; d < ndim; d++)
        used += (size_t)snprintf(buf + used, size - used, "%s%lld", d > 0 ? "," : "",
                                 (long long)shape[d]);
    snprintf(buf + used, size - used, "]");
    return buf;
}

static bool out_of_memory(const char *path, TensorError *error) {
    return tensor_error_file(error, path, -1, "out of memory");
}

/* ---- reading ---- */

struct TensorSafetensors {
    char *path;
    json_t *header; /* owns names and metadata */
    int64_t count, n_metadata;
    TensorSafetensorsEntry *entries;
    const TensorSafetensorsEntry **by_name; /* sorted */
    TensorMetadata *metadata;
    void *data;
};

/* Where a tensor stands in the data of the file. */
typedef struct {
    int64_t begin, end;
    TensorSafetensorsEntry *entry;
} Span;

/* What is needed only while a file is opened. */
typedef struct {
    TensorSafetensors *file;
    FILE *stream;
    int64_t data_start, data_bytes;
    Span *spans;
    TensorError *error;
} Reader;

/* Fails with the name of the tensor in front of the reason. */
static bool TENSOR_PRINTF(3, 4)
    fail_entry(const Reader *r, const char *name, const char *format, ...) {
    char quoted[QUOTED_SIZE], reason[384];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return tensor_error_file(r->error, r->file->path, -1, "%s: %s", quote(name, quoted), reason);
}

static bool read_bytes(const Reader *r, void *to, size_t n) {
    errno = 0;
    if (n == 0 || fread(to, 1, n, r->stream) == n)
        return true;
    if (ferror(r->stream))
        return tensor_error_errno(r->error, r->file->path, errno ? errno : EIO);
    return tensor_error_file(r->error, r->file->path, -1, "became shorter while it was read");
}

/* The length of the header, checked against the size of the file; -1 after a failure. */
static int64_t read_header_length(const Reader *r, int64_t size) {
    const char *path = r->file->path;
    unsigned char bytes[LENGTH_BYTES];
    if (size < LENGTH_BYTES) {
        tensor_error_file(r->error, path, -1,
                          "is too short: %lld bytes do not hold the length of the header",
                          (long long)size);
        return -1;
    }
    if (!read_bytes(r, bytes, LENGTH_BYTES))
        return -1;
    uint64_t length = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | bytes[i];
    if (length > TENSOR_SAFETENSORS_MAX_HEADER)
        tensor_error_file(r->error, path, 0, "a header of %llu bytes is over the maximum of %d",
                          (unsigned long long)length, TENSOR_SAFETENSORS_MAX_HEADER);
    else if (length > (uint64_t)(size - LENGTH_BYTES))
        tensor_error_file(r->error, path, 0, "a header of %llu bytes passes the end of the file",
                          (unsigned long long)length);
    else
        return (int64_t)length;
    return -1;
}

static bool parse_header(const Reader *r, const char *text, size_t length) {
    const char *path = r->file->path;
    if (length == 0 || text[0] != '{')
        return tensor_error_file(r->error, path, LENGTH_BYTES, "the header does not begin with {");
    json_error_t problem;
    r->file->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &problem);
    if (r->file->header)
        return true;
    if (json_error_code(&problem) == json_error_out_of_memory)
        return out_of_memory(path, r->error);
    return tensor_error_file(r->error, path, LENGTH_BYTES + (int64_t)problem.position,
                             "the header is not valid JSON: %s", problem.text);
}

static bool read_header(Reader *r, int64_t size) {
    int64_t length = read_header_length(r, size);
    if (length < 0)
        return false;
    r->data_start = LENGTH_BYTES + length;
    r->data_bytes = size - r->data_start;
    char *text = malloc((size_t)length + 1);
    if (!text)
        return out_of_memory(r->file->path, r->error);
    bool ok = read_bytes(r, text, (size_t)length) && parse_header(r, text, (size_t)length);
    free(text);
    return ok;
}

static bool take_metadata(Reader *r, json_t *object) {
    char quoted[QUOTED_SIZE];
    if (!json_is_object(object))
        return fail_entry(r, METADATA_KEY, "is not an object");
    TensorSafetensors *f = r->file;
    f->metadata = calloc(json_object_size(object) + 1, sizeof *f->metadata);
    if (!f->metadata)
        return out_of_memory(f->path, r->error);
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        if (!json_is_string(value))
            return fail_entry(r, METADATA_KEY, "the value of %s is not a string",
                              quote(key, quoted));
        f->metadata[f->n_metadata++] = (TensorMetadata){key, json_string_value(value)};
    }
    return true;
}

/* An integer of the array that is not negative, or -1. */
static int64_t size_at(const json_t *array, size_t i) {
    const json_t *value = json_array_get(array, i);
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value)
                                                                    : -1;
}

static bool take_shape(const Reader *r, TensorSafetensorsEntry *entry, const json_t *shape) {
    if (!json_is_array(shape))
        return fail_entry(r, entry->name, "shape is not an array");
    if (json_array_size(shape) > TENSOR_MAX_DIMS)
        return fail_entry(r, entry->name, "%zu dimensions are more than the maximum of %d",
                          json_array_size(shape), TENSOR_MAX_DIMS);
    entry->ndim = (int)json_array_size(shape);
    for (int d = 0; d < entry->ndim; d++) {
        entry->shape[d] = size_at(shape, (size_t)d);
        if (entry->shape[d] < 0)
            return fail_entry(r, entry->name, "shape[%d] is not a size", d);
    }
    return true;
}

static bool take_offsets(const Reader *r, Span *span, const json_t *offsets) {
    const char *name = span->entry->name;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2)
        return fail_entry(r, name, "data_offsets are not two numbers");
    span->begin = size_at(offsets, 0);
    span->end = size_at(offsets, 1);
    if (span->begin < 0 || span->end < 0)
        return fail_entry(r, name, "data_offsets are not two integers from 0 on");
    long long begin = span->begin, end = span->end;
    if (end < begin)
        return fail_entry(r, name, "data_offsets [%lld, %lld] are reversed", begin, end);
    if (span->end > r->data_bytes)
        return fail_entry(r, name, "data_offsets [%lld, %lld] pass the end of %lld bytes of data",
                          begin, end, (long long)r->data_bytes);
    return true;
}

/* The bytes of the tensor; -1 where an int64_t cannot count its bits, in any order of
 * the sizes, so that the strides of an empty tensor can be counted too. */
static int64_t count_bytes(int bits, int ndim, const int64_t *shape) {
    int64_t total = bits;
    bool empty = false;
    for (int d = 0; d < ndim; d++) {
        empty = empty || shape[d] == 0;
        if (shape[d] > 0 && __builtin_mul_overflow(total, shape[d], &total))
            return -1;
    }
    /* Elements of less than a byte may leave part of one, which no file can hold. */
    return empty ? 0 : total % 8 == 0 ? total / 8 : -1;
}

static bool check_bytes(const Reader *r, const Span *span, const FileDtype *dtype) {
    char described[TENSOR_DESCRIBE_SIZE];
    const TensorSafetensorsEntry *e = span->entry;
    int64_t bytes = count_bytes(dtype->bits, e->ndim, e->shape);
    tensor_safetensors_describe(e, described);
    if (bytes < 0)
        return fail_entry(r, e->name, "%s is too large, or no whole number of bytes", described);
    if (bytes != span->end - span->begin)
        return fail_entry(r, e->name, "data_offsets [%lld, %lld] do not hold %s (%lld bytes)",
                          (long long)span->begin, (long long)span->end, described,
                          (long long)bytes);
    return true;
}

static bool take_entry(Reader *r, const char *name, const json_t *object) {
    char quoted[QUOTED_SIZE];
    TensorSafetensors *f = r->file;
    TensorSafetensorsEntry *entry = &f->entries[f->count];
    Span *span = &r->spans[f->count++];
    span->entry = entry;
    *entry = (TensorSafetensorsEntry){.name = name, .value = tensor_nil()};
    if (!json_is_object(object))
        return fail_entry(r, name, "is not an object");
    const char *dtype_name = json_string_value(json_object_get(object, "dtype"));
    if (!dtype_name)
        return fail_entry(r, name, "dtype is not a string");
    const FileDtype *dtype = dtype_by_name(dtype_name);
    if (!dtype)
        return fail_entry(r, name, "unknown dtype %s", quote(dtype_name, quoted));
    entry->dtype_name = dtype->name;
    return take_shape(r, entry, json_object_get(object, "shape")) &&
           take_offsets(r, span, json_object_get(object, "data_offsets")) &&
           check_bytes(r, span, dtype);
}

static bool take_entries(Reader *r) {
    TensorSafetensors *f = r->file;
    size_t n = json_object_size(f->header) + 1; /* at least 1: calloc(0) may give NULL */
    f->entries = calloc(n, sizeof *f->entries);
    f->by_name = calloc(n, sizeof *f->by_name);
    r->spans = calloc(n, sizeof *r->spans);
    if (!f->entries || !f->by_name || !r->spans)
        return out_of_memory(f->path, r->error);
    const char *name;
    json_t *value;
    json_object_foreach(f->header, name, value) {
        bool ok = strcmp(name, METADATA_KEY) == 0 ? take_metadata(r, value)
                                                  : take_entry(r, name, value);
        if (!ok)
            return false;
    }
    return true;
}

static int compare_spans(const void *a, const void *b) {
    const Span *s = a, *t = b;
    int by_begin = (s->begin > t->begin) - (s->begin < t->begin);
    return by_begin != 0 ? by_begin : (s->end > t->end) - (s->end < t->end);
}

/* Sorts the spans and checks that they cover the data exactly once. */
static bool check_layout(Reader *r) {
    char quoted[QUOTED_SIZE];
    int64_t n = r->file->count, at = 0;
    qsort(r->spans, (size_t)n, sizeof *r->spans, compare_spans);
    for (int64_t i = 0; i < n; i++) {
        const Span *s = &r->spans[i];
        if (s->begin < at)
            return fail_entry(r, s->entry->name, "data_offsets [%lld, %lld] overlap those of %s",
                              (long long)s->begin, (long long)s->end,
                              quote(r->spans[i - 1].entry->name, quoted));
        if (s->begin > at)
            return fail_entry(r, s->entry->name, "a hole of %lld bytes stands before its data",
                              (long long)(s->begin - at));
        at = s->end;
    }
    if (at < r->data_bytes)
        return tensor_error_file(r->error, r->file->path, r->data_start + at,
                                 "%lld bytes after the last tensor",
                                 (long long)(r->data_bytes - at));
    return true;
}

static int64_t align_up(int64_t bytes) {
    return (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

static bool is_supported(const TensorSafetensorsEntry *entry) {
    return dtype_by_name(entry->dtype_name)->dtype != NOT_SUPPORTED;
}

static bool skip_bytes(const Reader *r, int64_t n) {
    return n == 0 || fseeko(r->stream, (off_t)n, SEEK_CUR) == 0 ||
           tensor_error_errno(r->error, r->file->path, errno);
}

/* Each tensor goes to a place of its own alignment: in the file none is promised. */
static bool read_data(Reader *r) {
    TensorSafetensors *f = r->file;
    int64_t total = TENSOR_ALIGN;
    for (int64_t i = 0; i < f->count; i++)
        if (is_supported(r->spans[i].entry))
            total += align_up(r->spans[i].end - r->spans[i].begin);
    f->data = aligned_alloc(TENSOR_ALIGN, (size_t)total);
    if (!f->data)
        return out_of_memory(f->path, r->error);
    char *to = f->data;
    for (int64_t i = 0; i < f->count; i++) {
        TensorSafetensorsEntry *e = r->spans[i].entry;
        int64_t bytes = r->spans[i].end - r->spans[i].begin;
        if (!is_supported(e)) {
            if (!skip_bytes(r, bytes))
                return false;
            continue;
        }
        if (!read_bytes(r, to, (size_t)bytes))
            return false;
        TensorDtype dtype = (TensorDtype)dtype_by_name(e->dtype_name)->dtype;
        e->value = tensor_wrap(to, dtype, e->ndim, e->shape);
        assert(!tensor_is_nil(&e->value));
        to += align_up(bytes);
    }
    return true;
}

static int compare_names(const void *a, const void *b) {
    const TensorSafetensorsEntry *const *s = a, *const *t = b;
    return strcmp((*s)->name, (*t)->name);
}

static void sort_names(TensorSafetensors *f) {
    for (int64_t i = 0; i < f->count; i++)
        f->by_name[i] = &f->entries[i];
    qsort(f->by_name, (size_t)f->count, sizeof *f->by_name, compare_names);
}

static bool read_stream(TensorSafetensors *f, FILE *stream, int64_t size, TensorError *error) {
    Reader r = {.file = f, .stream = stream, .error = error};
    bool ok = read_header(&r, size) && take_entries(&r) && check_layout(&r) && read_data(&r);
    free(r.spans);
    if (ok)
        sort_names(f);
    return ok;
}

bool tensor_safetensors_open(const char *path, TensorSafetensors **file, TensorError *error) {
    *file = NULL;
    int64_t size;
    FILE *stream = tensor_file_open(path, &size, error);
    if (!stream)
        return false;
    TensorSafetensors *f = calloc(1, sizeof *f);
    bool ok = f && (f->path = strdup(path)) ? read_stream(f, stream, size, error)
                                            : out_of_memory(path, error);
    fclose(stream);
    if (ok)
        *file = f;
    else
        tensor_safetensors_close(f);
    return ok;
}

void tensor_safetensors_close(TensorSafetensors *file) {
    if (!file)
        return;
    json_decref(file->header);
    free(file->path);
    free(file->entries);
    free(file->by_name);
    free(file->metadata);
    free(file->data);
    free(file);
}

int64_t tensor_safetensors_count(const TensorSafetensors *file) {
    return file->count;
}

const TensorSafetensorsEntry *tensor_safetensors_entry(const TensorSafetensors *file,
                                                       int64_t index) {
    return index >= 0 && index < file->count ? &file->entries[index] : NULL;
}

const char *tensor_safetensors_describe(const TensorSafetensorsEntry *entry,
                                        char buf[TENSOR_DESCRIBE_SIZE]) {
    return describe(entry->dtype_name, entry->ndim, entry->shape, buf);
}

int64_t tensor_safetensors_find(const TensorSafetensors *file, const char *name) {
    TensorSafetensorsEntry wanted = {.name = name};
    const TensorSafetensorsEntry *key = &wanted;
    const TensorSafetensorsEntry **found =
        bsearch(&key, file->by_name, (size_t)file->count, sizeof *file->by_name, compare_names);
    return found ? *found - file->entries : -1;
}

bool tensor_safetensors_get(const TensorSafetensors *file, const char *name, Tensor *view,
                            TensorError *error) {
    char quoted[QUOTED_SIZE];
    *view = tensor_nil();
    int64_t index = tensor_safetensors_find(file, name);
    if (index < 0)
        return tensor_error_file(error, file->path, -1, "no tensor %s", quote(name, quoted));
    const TensorSafetensorsEntry *entry = &file->entries[index];
    if (!is_supported(entry))
        return tensor_error_file(error, file->path, -1, "%s: dtype %s is not supported",
                                 quote(name, quoted), entry->dtype_name);
    *view = entry->value;
    return true;
}

const char *tensor_safetensors_metadata(const TensorSafetensors *file, const char *key) {
    return json_string_value(json_object_get(json_object_get(file->header, METADATA_KEY), key));
}

const TensorMetadata *tensor_safetensors_all_metadata(const TensorSafetensors *file,
                                                      int64_t *count) {
    *count = file->n_metadata;
    return file->metadata;
}

/* ---- writing ---- */

typedef struct {
    const char *path;
    TensorError *error;
} Target;

/* A JSON string; NULL, with the error set, where `text` cannot be one.  `what` says
 * what it is. */
static json_t *make_string(const Target *t, const char *what, const char *text) {
    if (!text) {
        tensor_error_file(t->error, t->path, -1, "%s is NULL", what);
        return NULL;
    }
    json_t *string = json_string(text), *unchecked = string ? NULL : json_string_nocheck(text);
    char quoted[QUOTED_SIZE];
    if (unchecked)
        tensor_error_file(t->error, t->path, -1, "%s %s is not valid UTF-8", what,
                          quote(text, quoted));
    else if (!string)
        out_of_memory(t->path, t->error);
    json_decref(unchecked);
    return string;
}

/* Whether `name` may be the next one in the object. */
static bool check_name(const Target *t, const json_t *object, const char *what, const char *name) {
    json_t *string = make_string(t, what, name);
    if (!string)
        return false;
    json_decref(string);
    char quoted[QUOTED_SIZE];
    return !json_object_get(object, name) ||
           tensor_error_file(t->error, t->path, -1, "%s %s is given twice", what,
                             quote(name, quoted));
}

static bool add_metadata(const Target *t, json_t *header, int64_t n,
                         const TensorMetadata *metadata) {
    if (n == 0)
        return true;
    json_t *object = json_object();
    if (json_object_set_new(header, METADATA_KEY, object) != 0)
        return out_of_memory(t->path, t->error);
    for (int64_t i = 0; i < n; i++) {
        if (!check_name(t, object, "metadata key", metadata[i].key))
            return false;
        json_t *value = make_string(t, "metadata value", metadata[i].value);
        if (!value)
            return false;
        if (json_object_set_new(object, metadata[i].key, value) != 0)
            return out_of_memory(t->path, t->error);
    }
    return true;
}

/* The entry of one tensor; NULL when out of memory. */
static json_t *make_entry(const Tensor *x, int64_t begin, int64_t end) {
    json_t *shape = json_array();
    for (int d = 0; d < x->ndim; d++)
        if (json_array_append_new(shape, json_integer(x->shape[d])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_to_write(x->dtype), "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)end);
}

/* *offset is where the tensor begins, and then where it ends. */
static bool add_tensor(const Target *t, json_t *header, const TensorNamed *tensor,
                       int64_t *offset) {
    const Tensor *x = &tensor->value;
    char quoted[QUOTED_SIZE], described[TENSOR_DESCRIBE_SIZE];
    if (!check_name(t, header, "tensor name", tensor->name))
        return false;
    if (strcmp(tensor->name, METADATA_KEY) == 0)
        return tensor_error_file(t->error, t->path, -1, "no tensor can be named %s",
                                 quote(tensor->name, quoted));
    const char *invalid = tensor_invalid(x);
    if (invalid)
        return tensor_error_file(t->error, t->path, -1, "%s: %s", quote(tensor->name, quoted),
                                 invalid);
    int64_t begin = *offset;
    int64_t bytes = count_bytes(8 * (int)tensor_dtype_size(x->dtype), x->ndim, x->shape);
    if (bytes < 0 || __builtin_add_overflow(begin, bytes, offset))
        return tensor_error_file(t->error, t->path, -1, "%s: %s is too large",
                                 quote(tensor->name, quoted),
                                 describe(dtype_to_write(x->dtype), x->ndim, x->shape, described));
    json_t *entry = make_entry(x, begin, *offset);
    return json_object_set_new(header, tensor->name, entry) == 0 ||
           out_of_memory(t->path, t->error);
}

/* The header as text, padded; NULL after a failure. */
static char *format_header(const Target *t, const json_t *header, size_t *length) {
    size_t n = json_dumpb(header, NULL, 0, JSON_COMPACT);
    size_t padded = (n + 7) / 8 * 8;
    if (padded > TENSOR_SAFETENSORS_MAX_HEADER) {
        tensor_error_file(t->error, t->path, -1, "a header of %zu bytes is over the maximum of %d",
                          padded, TENSOR_SAFETENSORS_MAX_HEADER);
        return NULL;
    }
    char *text = n > 0 ? malloc(padded) : NULL;
    if (!text || json_dumpb(header, text, n, JSON_COMPACT) != n) {
        free(text);
        out_of_memory(t->path, t->error);
        return NULL;
    }
    memset(text + n, ' ', padded - n);
    *length = padded;
    return text;
}

static char *make_header(const Target *t, int64_t count, const TensorNamed *tensors,
                         int64_t n_metadata, const TensorMetadata *metadata, size_t *length) {
    json_t *header = json_object();
    bool ok = header ? add_metadata(t, header, n_metadata, metadata)
                     : out_of_memory(t->path, t->error);
    int64_t offset = 0;
    for (int64_t i = 0; i < count && ok; i++)
        ok = add_tensor(t, header, &tensors[i], &offset);
    char *text = ok ? format_header(t, header, length) : NULL;
    json_decref(header);
    return text;
}

static bool write_header(TensorFileWriter *w, const char *text, size_t length, TensorError *error) {
    unsigned char bytes[LENGTH_BYTES];
    for (int i = 0; i < LENGTH_BYTES; i++)
        bytes[i] = (unsigned char)(length >> (8 * i) & 0xFFu);
    return tensor_file_write(w, bytes, LENGTH_BYTES, error) &&
           tensor_file_write(w, text, length, error);
}

/* What has strides is gathered in the arena first. */
static bool write_tensor(TensorFileWriter *w, TensorArena *arena, const Tensor *x,
                         TensorError *error) {
    Tensor dense = tensor_is_contiguous(x) ? *x : tensor_copy(arena, x);
    if (tensor_is_nil(&dense))
        return out_of_memory(w->path, error);
    size_t bytes = (size_t)tensor_numel(x) * tensor_dtype_size(x->dtype);
    bool ok = tensor_file_write(w, dense.data, bytes, error);
    tensor_arena_reset(arena);
    return ok;
}

static bool write_file(TensorFileWriter *w, const char *header, size_t length, int64_t count,
                       const TensorNamed *tensors, TensorError *error) {
    TensorArena *arena = tensor_arena_new();
    if (!arena)
        return out_of_memory(w->path, error);
    bool ok = write_header(w, header, length, error);
    for (int64_t i = 0; i < count && ok; i++)
        ok = write_tensor(w, arena, &tensors[i].value, error);
    tensor_arena_free(arena);
    return ok;
}

bool tensor_safetensors_write(const char *path, int64_t count, const TensorNamed *tensors,
                              int64_t n_metadata, const TensorMetadata *metadata,
                              TensorError *error) {
    size_t length = 0;
    char *header = make_header(&(Target){path, error}, count, tensors, n_metadata, metadata,
                               &length);
    if (!header)
        return false;
    TensorFileWriter w;
    bool ok = tensor_file_begin(&w, path, error);
    if (ok) {
        ok = write_file(&w, header, length, count, tensors, error);
        if (ok)
            ok = tensor_file_commit(&w, error);
        else
            tensor_file_abort(&w);
    }
    free(header);
    return ok;
}
