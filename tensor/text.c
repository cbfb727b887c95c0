/* text.c -- tensors as text. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>

#include "tensor/tensor.h"

/* An axis longer than `longest` shows its first and last `edge` entries. */
enum { LONGEST = 8, EDGE = 3 };

/* Writes to a stream, or to a buffer with snprintf's counting. */
typedef struct {
    FILE *file;
    char *buf;
    size_t size, length;
    bool failed;
} Out;

static void put(Out *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(Out *o, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n;
    if (o->file) {
        n = vfprintf(o->file, format, args);
    } else {
        size_t left = o->length < o->size ? o->size - o->length : 0;
        n = vsnprintf(left ? o->buf + o->length : NULL, left, format, args);
    }
    va_end(args);
    if (n < 0) o->failed = true;
    else o->length += (size_t)n;
}

static void put_shape(Out *o, const Tensor *x) {
    if (tensor_is_nil(x)) {
        put(o, "nil");
        return;
    }
    if (x->ndim > TENSOR_MAX_DIMS) {
        put(o, "%s[%d axes]", tensor_dtype_name(x->dtype), x->ndim);
        return;
    }
    put(o, "%s[", tensor_dtype_name(x->dtype));
    for (int d = 0; d < x->ndim; d++) put(o, "%s%" PRId64, d ? "," : "", x->shape[d]);
    put(o, "]");
}

static void put_element(Out *o, const Tensor *x) {
    if (x->dtype == TENSOR_I64) put(o, "%" PRId64, tensor_get_i64(x, 0));
    else if (x->dtype == TENSOR_U8) put(o, "%d", (int)tensor_get_i64(x, 0));
    else if (isnan(tensor_get(x, 0))) put(o, "nan"); /* printf may show its sign */
    else put(o, "%.6g", tensor_get(x, 0));
}

static void put_values(Out *o, const Tensor *x, int indent) {
    if (x->ndim == 0) {
        put_element(o, x);
        return;
    }
    int64_t n = x->shape[0];
    put(o, "[");
    for (int64_t i = 0; i < n && !o->failed; i++) {
        if (i && x->ndim == 1) put(o, ", ");
        else if (i) put(o, ",\n%*s", indent + 1, "");
        if (n > LONGEST && i == EDGE) {
            put(o, "...");
            i = n - EDGE - 1;
            continue;
        }
        Tensor part = tensor_select(x, 0, i);
        put_values(o, &part, indent + 1);
    }
    put(o, "]");
}

static void put_tensor(Out *o, const Tensor *x) {
    put_shape(o, x);
    if (tensor_is_nil(x)) return;
    const char *invalid = tensor_invalid(x);
    if (invalid) {
        put(o, " (%s)", invalid);
        return;
    }
    put(o, x->ndim > 1 ? "\n" : " ");
    put_values(o, x, 0);
}

const char *tensor_describe(const Tensor *x, char *buf, size_t n) {
    Out o = {.buf = buf, .size = n};
    if (n) buf[0] = 0;
    put_shape(&o, x);
    return buf;
}

int tensor_format(const Tensor *x, char *buf, size_t n) {
    Out o = {.buf = buf, .size = n};
    if (n) buf[0] = 0;
    put_tensor(&o, x);
    return o.failed || o.length > INT_MAX ? -1 : (int)o.length;
}

bool tensor_write(FILE *file, const Tensor *x) {
    Out o = {.file = file};
    put_tensor(&o, x);
    return !o.failed && !ferror(file);
}
