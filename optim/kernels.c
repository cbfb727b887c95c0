/* kernels.c -- kernels.inc for both float types, and the choice between them. */
#include "optim/kernels.h"

#include <math.h>

#define REAL float
#define FN(name) name##_f32
#define SQRT sqrtf
#include "optim/kernels.inc"
#undef REAL
#undef FN
#undef SQRT

#define REAL double
#define FN(name) name##_f64
#define SQRT sqrt
#include "optim/kernels.inc"
#undef REAL
#undef FN
#undef SQRT

#define RULE(name, Scalars)                                              \
    void optim_kernel_##name(const OptimOperands *x, const Scalars *s) { \
        (x->dtype == TENSOR_F32 ? name##_f32 : name##_f64)(x, s);        \
    }

RULE(sgd, OptimSgdScalars)
RULE(adam, OptimAdamScalars)
RULE(rmsprop, OptimRmspropScalars)
RULE(adagrad, OptimAdagradScalars)
RULE(adadelta, OptimAdadeltaScalars)
RULE(asgd, OptimAsgdScalars)

/* name(number of elements, ..) in the dtype of x. */
#define BY_DTYPE(x, name, ...)                                                      \
    ((x)->dtype == TENSOR_F32 ? name##_f32(tensor_numel(x), (x)->data, __VA_ARGS__) \
                              : name##_f64(tensor_numel(x), (x)->data, __VA_ARGS__))

void optim_kernel_swap(const Tensor *x, const Tensor *y) { BY_DTYPE(x, swap, y->data); }

double optim_kernel_sum_squares(const Tensor *x) {
    int64_t n = tensor_numel(x);
    return x->dtype == TENSOR_F32 ? sum_squares_f32(n, x->data) : sum_squares_f64(n, x->data);
}

double optim_kernel_max_abs(const Tensor *x) {
    int64_t n = tensor_numel(x);
    return x->dtype == TENSOR_F32 ? max_abs_f32(n, x->data) : max_abs_f64(n, x->data);
}

double optim_kernel_sum_powers(const Tensor *x, double scale, double p) {
    return BY_DTYPE(x, sum_powers, scale, p);
}

void optim_kernel_scale(const Tensor *x, double factor) { BY_DTYPE(x, scale, factor); }

void optim_kernel_clamp(const Tensor *x, double bound) { BY_DTYPE(x, clamp, bound); }
