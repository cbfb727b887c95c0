/* tensor.h -- strided views over memory that somebody else owns.
 *
 * A Tensor is a value: a data type, a shape, strides, and a pointer.  It owns
 * nothing, is passed by const pointer and returned by value.  Its memory belongs
 * to an arena or to the caller.  transpose, permute, narrow, select, expand and
 * (where the strides allow) reshape give another view of the same memory.
 *
 * Letters for sizes, here and everywhere: T time steps, B batch, I input size,
 * H hidden size, L layers, D directions, V vocabulary, E embedding size.
 *
 * An axis may be negative: -1 is the last one.  A size of 0 (an empty tensor) and
 * ndim 0 (a scalar, one element) are legal everywhere.
 *
 * A function that cannot make the view it is asked for returns the nil tensor:
 * ndim -1, no data (tensor_is_nil).  A nil tensor given in comes out as nil. */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tensor/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TENSOR_MAX_DIMS 8

typedef enum {
    TENSOR_F32, /* float */
    TENSOR_F64, /* double */
    TENSOR_I64, /* int64_t: indices */
    TENSOR_U8,  /* uint8_t: masks, 0 or 1 */
} TensorDtype;

typedef struct {
    TensorDtype dtype;
    int ndim;
    int64_t shape[TENSOR_MAX_DIMS];
    /* in elements; 0 repeats one element along an axis, below 0 it runs backwards from data */
    int64_t stride[TENSOR_MAX_DIMS];
    void *data;
} Tensor;

/* ---- data types ---- */
size_t tensor_dtype_size(TensorDtype dtype);        /* bytes of one element */
const char *tensor_dtype_name(TensorDtype dtype);   /* "f32", "f64", "i64", "u8" */
bool tensor_dtype_is_float(TensorDtype dtype);

/* ---- making ---- */

/* A contiguous tensor (last axis fastest), contents undefined, in the arena's memory.
 * Fails (nil): ndim outside 0..TENSOR_MAX_DIMS, a negative size, more bytes than
 * an address can count, out of memory. */
Tensor tensor_new(TensorArena *a, TensorDtype dtype, int ndim, const int64_t *shape);

/* A contiguous view of the caller's memory.  Fails (nil): as tensor_new. */
Tensor tensor_wrap(void *data, TensorDtype dtype, int ndim, const int64_t *shape);

/* A contiguous copy in the arena's memory.  Fails (nil): as tensor_new. */
Tensor tensor_copy(TensorArena *a, const Tensor *x);

Tensor tensor_nil(void);
bool tensor_is_nil(const Tensor *x);

/* Why x cannot be used (unknown dtype, ndim, negative size, null data), or NULL if it can. */
const char *tensor_invalid(const Tensor *x);

/* ---- asking ---- */
int64_t tensor_numel(const Tensor *x); /* product of the shape; 1 for a scalar; 0 for nil */
/* Elements lie one behind the other, last axis fastest. */
bool tensor_is_contiguous(const Tensor *x);
/* True unless no two elements can share memory (strides of 0). */
bool tensor_is_overlapping(const Tensor *x);
bool tensor_same_shape(const Tensor *a, const Tensor *b);
/* 0..ndim-1 for an axis counted from either end; -1: out of range. */
int tensor_axis(const Tensor *x, int axis);

/* The shape that a and b broadcast to (NumPy's rule: sizes are aligned at the last
 * axis and are equal or 1).  Fails (false): they do not. */
bool tensor_broadcast_shape(const Tensor *a, const Tensor *b, int *ndim, int64_t *shape);

/* ---- views ---- */

/* Fails (nil): x does not broadcast to the shape. */
Tensor tensor_expand(const Tensor *x, int ndim, const int64_t *shape);
/* x[.., start:start+length, ..].  Fails (nil): axis or range outside x. */
Tensor tensor_narrow(const Tensor *x, int axis, int64_t start, int64_t length);
/* x[.., start:end:step, ..] as in Python: a negative start or end counts from the end, and both
 * are cut to the axis.  Fails (nil): axis outside x, step below 1. */
Tensor tensor_slice(const Tensor *x, int axis, int64_t start, int64_t end, int64_t step);
/* x in reverse order along axis.  Fails (nil): axis outside x. */
Tensor tensor_flip(const Tensor *x, int axis);
/* x[.., index, ..], without the axis.  Fails (nil): axis or index outside x. */
Tensor tensor_select(const Tensor *x, int axis, int64_t index);
/* Fails (nil): an axis outside x. */
Tensor tensor_transpose(const Tensor *x, int axis_a, int axis_b);
/* Axis d of the result is axis axes[d] of x.  Fails (nil): axes is no permutation. */
Tensor tensor_permute(const Tensor *x, const int *axes);
/* The same elements in row-major order under another shape.
 * Fails (nil): another number of elements, or the strides of x allow no view. */
Tensor tensor_reshape(const Tensor *x, int ndim, const int64_t *shape);
/* A size of 1 put in before axis (0..ndim).  Fails (nil): axis, or ndim is at its maximum. */
Tensor tensor_unsqueeze(const Tensor *x, int axis);
/* x itself, or a scalar as a vector of its one element. */
Tensor tensor_at_least_1d(const Tensor *x);

/* ---- elements, by the flat row-major index; for tests, printing and small data ---- */

/* Any dtype as a double (an I64 beyond 2^53 is rounded; tensor_get_i64 is exact).
 * Fails (NaN, -1): index outside x. */
double tensor_get(const Tensor *x, int64_t index);
int64_t tensor_get_i64(const Tensor *x, int64_t index);
/* Rounded to x's dtype.  Fails (false, x unchanged): index outside x. */
bool tensor_set(const Tensor *x, int64_t index, double value);

/* ---- text ---- */

/* "f32[3,4]": dtype and shape.  Returns buf; at most n bytes, always ended by a 0. */
const char *tensor_describe(const Tensor *x, char *buf, size_t n);
#define TENSOR_DESCRIBE_SIZE 192 /* enough for every shape */

/* The values in brackets, nested by axis, after the description; long axes are
 * elided in the middle.  tensor_format returns the length of the whole text, as
 * snprintf does; tensor_write returns false when the stream fails. */
int tensor_format(const Tensor *x, char *buf, size_t n);
bool tensor_write(FILE *file, const Tensor *x);

#ifdef __cplusplus
}
#endif
#endif
