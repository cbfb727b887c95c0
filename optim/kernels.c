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

/* name(where the elements begin and end, all elements, ..) in the dtype of x. */
#define BY_DTYPE(x, s, name, ...)                                                      \
    ((x)->dtype == TENSOR_F32 ? name##_f32((s).begin, (s).end, (x)->data, __VA_ARGS__) \
                              : name##_f64((s).begin, (s).end, (x)->data, __VA_ARGS__))

void optim_kernel_swap(const Tensor *x, const Tensor *y) {
    AgSpan all = {0, tensor_numel(x)};
    BY_DTYPE(x, all, swap, y->data);
}

void optim_kernel_add_squares(const Tensor *x, AgSpan s, double sum[OPTIM_SUMS]) {
    BY_DTYPE(x, s, add_squares, sum);
}

double optim_kernel_max_abs(const Tensor *x, AgSpan s, double top) {
    return BY_DTYPE(x, s, max_abs, top);
}

double optim_kernel_add_powers(const Tensor *x, AgSpan s, double scale, double p, double sum) {
    return BY_DTYPE(x, s, add_powers, scale, p, sum);
}

void optim_kernel_scale(const Tensor *x, AgSpan s, double factor) {
    BY_DTYPE(x, s, scale, factor);
}

void optim_kernel_clamp(const Tensor *x, AgSpan s, double bound) { BY_DTYPE(x, s, clamp, bound); }
