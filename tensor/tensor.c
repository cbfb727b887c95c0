/* tensor.c -- making views and asking about them. */
#include "tensor/tensor.h"

#include <math.h>
#include <stddef.h>

#include "tensor/kernels.h"

/* ---- data types ---- */

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [TENSOR_F32] = {"f32", 4}, [TENSOR_F64] = {"f64", 8},
    [TENSOR_I64] = {"i64", 8}, [TENSOR_U8] = {"u8", 1},
};

static bool is_dtype(TensorDtype dtype) {
    return (unsigned)dtype < sizeof dtypes / sizeof *dtypes;
}
size_t tensor_dtype_size(TensorDtype dtype) { return is_dtype(dtype) ? dtypes[dtype].size : 0; }
const char *tensor_dtype_name(TensorDtype dtype) {
    return is_dtype(dtype) ? dtypes[dtype].name : "unknown";
}
bool tensor_dtype_is_float(TensorDtype dtype) {
    return dtype == TENSOR_F32 || dtype == TENSOR_F64;
}

/* ---- making ---- */

Tensor tensor_nil(void) { return (Tensor){.dtype = TENSOR_F32, .ndim = -1}; }
bool tensor_is_nil(const Tensor *x) { return x->ndim < 0; }

/* The strides of a contiguous tensor; false when no memory could hold it. */
static bool set_strides(TensorDtype dtype, int ndim, const int64_t *shape, int64_t *strides) {
    if (!is_dtype(dtype) || ndim < 0 || ndim > TENSOR_MAX_DIMS) return false;
    /* The extent counts sizes of 0 as 1, so that strides stay small whatever the shape. */
    ptrdiff_t extent = (ptrdiff_t)tensor_dtype_size(dtype);
    int64_t stride = 1;
    for (int d = ndim; d-- > 0;) {
        if (shape[d] < 0) return false;
        int64_t n = shape[d] > 0 ? shape[d] : 1;
        strides[d] = stride;
        if (__builtin_mul_overflow(extent, n, &extent)) return false;
        stride *= n;
    }
    return true;
}

/* The layout without memory; nil when no memory could hold it. */
static Tensor layout(TensorDtype dtype, int ndim, const int64_t *shape) {
    Tensor x;
    if (!set_strides(dtype, ndim, shape, x.stride)) return tensor_nil();
    x.dtype = dtype;
    x.ndim = ndim;
    x.data = NULL;
    for (int d = 0; d < ndim; d++) x.shape[d] = shape[d];
    for (int d = ndim; d < TENSOR_MAX_DIMS; d++) x.shape[d] = x.stride[d] = 0;
    return x;
}

Tensor tensor_new(TensorArena *a, TensorDtype dtype, int ndim, const int64_t *shape) {
    Tensor x = layout(dtype, ndim, shape);
    if (tensor_is_nil(&x)) return x;
    x.data = tensor_arena_alloc(a, (size_t)tensor_numel(&x) * tensor_dtype_size(dtype));
    return x.data ? x : tensor_nil();
}

Tensor tensor_wrap(void *data, TensorDtype dtype, int ndim, const int64_t *shape) {
    Tensor x = layout(dtype, ndim, shape);
    if (!tensor_is_nil(&x)) x.data = data;
    return x;
}

Tensor tensor_copy(TensorArena *a, const Tensor *x) {
    if (tensor_is_nil(x)) return tensor_nil();
    Tensor y = tensor_new(a, x->dtype, x->ndim, x->shape);
    if (!tensor_is_nil(&y)) tensor_convert(&y, x);
    return y;
}

const char *tensor_invalid(const Tensor *x) {
    if (!is_dtype(x->dtype)) return "unknown dtype";
    if (x->ndim < 0) return "nil tensor";
    if (x->ndim > TENSOR_MAX_DIMS) return "too many axes";
    int64_t strides[TENSOR_MAX_DIMS];
    if (!set_strides(x->dtype, x->ndim, x->shape, strides)) return "negative or too large size";
    return x->data ? NULL : "no data";
}

/* ---- asking ---- */

int64_t tensor_numel(const Tensor *x) {
    if (tensor_is_nil(x)) return 0;
    int64_t n = 1;
    for (int d = 0; d < x->ndim; d++) n *= x->shape[d];
    return n;
}

bool tensor_is_contiguous(const Tensor *x) {
    if (tensor_is_nil(x)) return false;
    if (tensor_numel(x) == 0) return true;
    int64_t stride = 1;
    for (int d = x->ndim; d-- > 0;) {
        if (x->shape[d] == 1) continue;
        if (x->stride[d] != stride) return false;
        stride *= x->shape[d];
    }
    return true;
}

bool tensor_is_overlapping(const Tensor *x) {
    if (tensor_numel(x) == 0) return false;
    int64_t size[TENSOR_MAX_DIMS], stride[TENSOR_MAX_DIMS], reach = 1;
    int n = 0;
    for (int d = 0; d < x->ndim; d++) { /* sorted by stride, smallest first */
        if (x->shape[d] == 1) continue;
        int64_t s = x->stride[d] < 0 ? -x->stride[d] : x->stride[d];
        int at = n++;
        for (; at > 0 && stride[at - 1] > s; at--) {
            stride[at] = stride[at - 1];
            size[at] = size[at - 1];
        }
        stride[at] = s;
        size[at] = x->shape[d];
    }
    for (int i = 0; i < n; i++) {
        if (stride[i] < reach) return true;
        reach = stride[i] * (size[i] - 1) + reach;
    }
    return false;
}

bool tensor_same_shape(const Tensor *a, const Tensor *b) {
    if (a->ndim != b->ndim) return false;
    for (int d = 0; d < a->ndim; d++)
        if (a->shape[d] != b->shape[d]) return false;
    return true;
}

int tensor_axis(const Tensor *x, int axis) {
    if (axis >= x->ndim || axis < -x->ndim) return -1;
    return axis < 0 ? axis + x->ndim : axis;
}

bool tensor_broadcast_shape(const Tensor *a, const Tensor *b, int *ndim, int64_t *shape) {
    if (tensor_is_nil(a) || tensor_is_nil(b)) return false;
    int n = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int d = 0; d < n; d++) {
        int da = d - (n - a->ndim), db = d - (n - b->ndim);
        int64_t size_a = da < 0 ? 1 : a->shape[da], size_b = db < 0 ? 1 : b->shape[db];
        if (size_a != size_b && size_a != 1 && size_b != 1) return false;
        shape[d] = size_a == 1 ? size_b : size_a;
    }
    *ndim = n;
    return true;
}

/* ---- views ---- */

static Tensor moved(Tensor x, int64_t elements) {
    x.data = (char *)x.data + elements * (int64_t)tensor_dtype_size(x.dtype);
    return x;
}

Tensor tensor_expand(const Tensor *x, int ndim, const int64_t *shape) {
    if (tensor_is_nil(x) || ndim < x->ndim || ndim > TENSOR_MAX_DIMS) return tensor_nil();
    Tensor y = *x, fits = layout(x->dtype, ndim, shape);
    if (tensor_is_nil(&fits)) return tensor_nil();
    y.ndim = ndim;
    for (int d = 0; d < ndim; d++) {
        int from = d - (ndim - x->ndim);
        int64_t size = from < 0 ? 1 : x->shape[from];
        if (size != shape[d] && size != 1) return tensor_nil();
        y.shape[d] = shape[d];
        y.stride[d] = from >= 0 && size == shape[d] ? x->stride[from] : 0;
    }
    return y;
}

Tensor tensor_narrow(const Tensor *x, int axis, int64_t start, int64_t length) {
    axis = tensor_axis(x, axis);
    if (axis < 0 || start < 0 || length < 0 || start > x->shape[axis] ||
        length > x->shape[axis] - start) return tensor_nil();
    Tensor y = *x;
    y.shape[axis] = length;
    return moved(y, length ? start * x->stride[axis] : 0);
}

/* Counted from the front, and cut to 0..n. */
static int64_t cut(int64_t index, int64_t n) {
    if (index < 0) index += n;
    return index < 0 ? 0 : index > n ? n : index;
}

Tensor tensor_slice(const Tensor *x, int axis, int64_t start, int64_t end, int64_t step) {
    axis = tensor_axis(x, axis);
    if (axis < 0 || step < 1) return tensor_nil();
    int64_t n = x->shape[axis], from = cut(start, n), length = cut(end, n) - from;
    Tensor y = tensor_narrow(x, axis, from, length > 0 ? length : 0);
    y.shape[axis] = y.shape[axis] / step + (y.shape[axis] % step != 0);
    if (y.shape[axis] > 1) y.stride[axis] *= step;
    return y;
}

Tensor tensor_flip(const Tensor *x, int axis) {
    axis = tensor_axis(x, axis);
    if (axis < 0) return tensor_nil();
    Tensor y = *x;
    y.stride[axis] = -x->stride[axis];
    return moved(y, tensor_numel(x) ? (x->shape[axis] - 1) * x->stride[axis] : 0);
}

static Tensor without_axis(Tensor x, int axis) {
    x.ndim--;
    for (int d = axis; d < x.ndim; d++) {
        x.shape[d] = x.shape[d + 1];
        x.stride[d] = x.stride[d + 1];
    }
    return x;
}

Tensor tensor_select(const Tensor *x, int axis, int64_t index) {
    axis = tensor_axis(x, axis);
    if (axis < 0 || index < 0 || index >= x->shape[axis]) return tensor_nil();
    Tensor y = moved(*x, tensor_numel(x) ? index * x->stride[axis] : 0);
    return without_axis(y, axis);
}

Tensor tensor_transpose(const Tensor *x, int axis_a, int axis_b) {
    axis_a = tensor_axis(x, axis_a);
    axis_b = tensor_axis(x, axis_b);
    if (axis_a < 0 || axis_b < 0) return tensor_nil();
    Tensor y = *x;
    y.shape[axis_a] = x->shape[axis_b];
    y.stride[axis_a] = x->stride[axis_b];
    y.shape[axis_b] = x->shape[axis_a];
    y.stride[axis_b] = x->stride[axis_a];
    return y;
}

Tensor tensor_permute(const Tensor *x, const int *axes) {
    Tensor y = *x;
    unsigned seen = 0;
    for (int d = 0; d < x->ndim; d++) {
        int axis = tensor_axis(x, axes[d]);
        if (axis < 0 || (seen >> axis & 1)) return tensor_nil();
        seen |= 1u << axis;
        y.shape[d] = x->shape[axis];
        y.stride[d] = x->stride[axis];
    }
    return y;
}

/* Axes of x without size 1, neighbours joined where one runs on into the next. */
static int joined_axes(const Tensor *x, int64_t *size, int64_t *stride) {
    int n = 0;
    for (int d = 0; d < x->ndim; d++) {
        if (x->shape[d] == 1) continue;
        if (n && stride[n - 1] == x->stride[d] * x->shape[d]) {
            size[n - 1] *= x->shape[d];
            stride[n - 1] = x->stride[d];
        } else {
            size[n] = x->shape[d];
            stride[n++] = x->stride[d];
        }
    }
    return n;
}

/* Each run of joined axes is cut anew, from the last; a new axis that would reach across the
 * border of two runs has no stride. */
Tensor tensor_reshape(const Tensor *x, int ndim, const int64_t *shape) {
    if (tensor_is_nil(x)) return tensor_nil();
    Tensor y = layout(x->dtype, ndim, shape);
    if (tensor_is_nil(&y) || tensor_numel(&y) != tensor_numel(x)) return tensor_nil();
    y.data = x->data;
    if (tensor_numel(x) == 0) return y;
    int64_t size[TENSOR_MAX_DIMS], stride[TENSOR_MAX_DIMS], left = 1, step = 1;
    int run = joined_axes(x, size, stride);
    for (int d = ndim; d-- > 0;) {
        if (shape[d] == 1) continue;
        if (left == 1) {
            run--;
            left = size[run];
            step = stride[run];
        }
        if (left % shape[d]) return tensor_nil();
        y.stride[d] = step;
        left /= shape[d];
        step *= shape[d];
    }
    return y;
}

Tensor tensor_unsqueeze(const Tensor *x, int axis) {
    if (tensor_is_nil(x) || axis < 0 || axis > x->ndim || x->ndim == TENSOR_MAX_DIMS)
        return tensor_nil();
    Tensor y = *x;
    for (int d = y.ndim++; d > axis; d--) {
        y.shape[d] = x->shape[d - 1];
        y.stride[d] = x->stride[d - 1];
    }
    y.stride[axis] = axis < x->ndim ? x->shape[axis] * x->stride[axis] : 1;
    y.shape[axis] = 1;
    return y;
}

Tensor tensor_at_least_1d(const Tensor *x) { return x->ndim ? *x : tensor_unsqueeze(x, 0); }

/* ---- elements ---- */

/* NULL outside x. */
static char *at(const Tensor *x, int64_t index) {
    if (index < 0 || index >= tensor_numel(x)) return NULL;
    int64_t offset = 0;
    for (int d = x->ndim; d-- > 0;) {
        offset += index % x->shape[d] * x->stride[d];
        index /= x->shape[d];
    }
    return (char *)x->data + offset * (int64_t)tensor_dtype_size(x->dtype);
}

double tensor_get(const Tensor *x, int64_t index) {
    const char *p = at(x, index);
    if (!p) return (double)NAN;
    switch (x->dtype) {
    case TENSOR_F32: return (double)*(const float *)(const void *)p;
    case TENSOR_F64: return *(const double *)(const void *)p;
    case TENSOR_I64: return (double)*(const int64_t *)(const void *)p;
    default: return (double)*(const uint8_t *)p;
    }
}

/* Towards zero; NaN gives 0, and beyond the range the nearest bound. */
static int64_t to_i64(double v) {
    if (isnan(v)) return 0;
    if (v >= 0x1p63) return INT64_MAX;
    return v < -0x1p63 ? INT64_MIN : (int64_t)v;
}

int64_t tensor_get_i64(const Tensor *x, int64_t index) {
    const char *p = at(x, index);
    if (!p) return -1;
    return x->dtype == TENSOR_I64 ? *(const int64_t *)(const void *)p
                                  : to_i64(tensor_get(x, index));
}

bool tensor_set(const Tensor *x, int64_t index, double value) {
    char *p = at(x, index);
    if (!p) return false;
    switch (x->dtype) {
    case TENSOR_F32: *(float *)(void *)p = (float)value; break;
    case TENSOR_F64: *(double *)(void *)p = value; break;
    case TENSOR_I64: *(int64_t *)(void *)p = to_i64(value); break;
    default: *(uint8_t *)p = value != 0; break;
    }
    return true;
}
