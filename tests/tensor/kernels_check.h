/* kernels_check.h -- what the tests of the kernels share. */
#ifndef TESTS_TENSOR_KERNELS_CHECK_H
#define TESTS_TENSOR_KERNELS_CHECK_H
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/isa.h"
#include "tensor/kernels.h"

/* The block after it runs once for every instruction set of this processor. */
#define FOR_EACH_ISA(isa)                                                                      \
    for (int isa = 0; isa < TENSOR_ISA_COUNT; isa++)                                           \
        if (tensor_isa_set((TensorIsa)isa))

#define FOR_EACH_FLOAT(dtype)                                                                  \
    for (TensorDtype dtype = TENSOR_F32; dtype <= TENSOR_F64; dtype = (TensorDtype)(dtype + 1))

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* ---- data ---- */

static inline uint64_t random_bits(void) {
    static uint64_t state;
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline double random_in(double low, double high) {
    return low + (high - low) * (double)(random_bits() >> 11) * 0x1p-53;
}

static inline void *address(const Tensor *x, int64_t index) {
    int64_t at = 0;
    for (int d = x->ndim - 1; d >= 0; d--) {
        at += index % x->shape[d] * x->stride[d];
        index /= x->shape[d];
    }
    return (char *)x->data + (size_t)at * tensor_dtype_size(x->dtype);
}

/* As tensor_set, but a U8 takes any byte. */
static inline void put(const Tensor *x, int64_t index, double value) {
    if (x->dtype == TENSOR_U8) {
        *(uint8_t *)address(x, index) = (uint8_t)value;
    } else {
        tensor_set(x, index, value);
    }
}

static inline Tensor fresh(TensorArena *a, TensorDtype dtype, int ndim, const int64_t *shape) {
    Tensor x = tensor_new(a, dtype, ndim, shape);
    cr_assert(!tensor_is_nil(&x));
    return x;
}

/* Values in low..high; whole numbers for the integer types. */
static inline Tensor random_tensor(TensorArena *a, TensorDtype dtype, int ndim,
                                   const int64_t *shape, double low, double high) {
    Tensor x = fresh(a, dtype, ndim, shape);
    for (int64_t i = 0; i < tensor_numel(&x); i++) {
        double value = random_in(low, high);
        put(&x, i, tensor_dtype_is_float(dtype) ? value : floor(value));
    }
    return x;
}

static inline Tensor vector_of(TensorArena *a, TensorDtype dtype, int64_t n,
                               const double *values) {
    Tensor x = fresh(a, dtype, 1, &n);
    for (int64_t i = 0; i < n; i++) {
        put(&x, i, values[i]);
    }
    return x;
}

/* ---- layouts: the same shape and values in other places ---- */

enum { CONTIGUOUS, REVERSED_AXES, EVERY_THIRD, OFFSET, LAYOUTS };

/* A tensor of x's shape laid out otherwise, contents undefined. */
static inline Tensor layout_of(TensorArena *a, const Tensor *x, int layout) {
    int64_t shape[TENSOR_MAX_DIMS] = {0};
    int axes[TENSOR_MAX_DIMS] = {0};
    const int n = x->ndim;
    for (int d = 0; d < n; d++) {
        shape[d] = layout == REVERSED_AXES ? x->shape[n - 1 - d] : x->shape[d];
        axes[d] = n - 1 - d;
    }
    if (layout == REVERSED_AXES) {
        Tensor y = fresh(a, x->dtype, n, shape);
        return tensor_permute(&y, axes);
    }
    if (layout == EVERY_THIRD && n < TENSOR_MAX_DIMS) {
        shape[n] = 3;
        Tensor y = fresh(a, x->dtype, n + 1, shape);
        return tensor_select(&y, n, 1);
    }
    if (layout == OFFSET && n > 0) {
        shape[n - 1] += 5;
        Tensor y = fresh(a, x->dtype, n, shape);
        return tensor_narrow(&y, n - 1, 3, x->shape[n - 1]);
    }
    return fresh(a, x->dtype, n, shape);
}

static inline void copy_elements(const Tensor *y, const Tensor *x) {
    for (int64_t i = 0; i < tensor_numel(x); i++) {
        memcpy(address(y, i), address(x, i), tensor_dtype_size(x->dtype));
    }
}

static inline Tensor laid_out(TensorArena *a, const Tensor *x, int layout) {
    Tensor y = layout_of(a, x, layout);
    copy_elements(&y, x);
    return y;
}

/* ---- comparisons ---- */

/* The same number, with the sign of a zero; or two NaN. */
static inline bool is_same(double a, double b) {
    return (isnan(a) && isnan(b)) || (a == b && signbit(a) == signbit(b));
}

/* The first element that differs, or -1. */
static inline int64_t first_difference(const Tensor *a, const Tensor *b) {
    if (a->dtype != b->dtype || !tensor_same_shape(a, b)) {
        return 0;
    }
    for (int64_t i = 0; i < tensor_numel(a); i++) {
        bool same = a->dtype == TENSOR_I64 ? tensor_get_i64(a, i) == tensor_get_i64(b, i)
                                           : is_same(tensor_get(a, i), tensor_get(b, i));
        if (!same) {
            return i;
        }
    }
    return -1;
}

/* |got - want| in units of the last place of the dtype at `want`. */
static inline double ulps(TensorDtype dtype, double got, long double want) {
    const bool single = dtype == TENSOR_F32;
    const long double largest = single ? 0x1.fffffep127L : 0x1.fffffffffffffp1023L;
    if (isnan(got) || isnan(want)) {
        return isnan(got) && isnan(want) ? 0 : INFINITY;
    }
    if (isinf(got) || isinf(want)) { /* rounding may overflow within one unit of the largest */
        long double other = isinf(got) ? want : (long double)got;
        bool agree = (long double)got == want ||
                     (fabsl(other) >= largest && (other > 0) == ((isinf(got) ? got : want) > 0));
        return agree ? 0 : INFINITY;
    }
    int exponent = 0;
    frexpl(want, &exponent);
    int least = single ? -149 : -1074, unit = exponent - (single ? 24 : 53);
    return (double)(fabsl((long double)got - want) / ldexpl(1, unit > least ? unit : least));
}

static inline const char *isa_and_dtype(TensorDtype dtype) {
    static char text[32];
    snprintf(text, sizeof text, "%s %s", tensor_isa_name(tensor_isa()),
             tensor_dtype_name(dtype));
    return text;
}

#endif
