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

void optim_kernel_sgd(const Tensor *p, const Tensor *g, const Tensor *b,
                      const OptimSgdScalars *s) {
    int64_t n = tensor_numel(p);
    if (p->dtype == TENSOR_F32)
        sgd_f32(n, p->data, g->data, b->data, s);
    else
        sgd_f64(n, p->data, g->data, b->data, s);
}

void optim_kernel_adam(const Tensor *p, const Tensor *g, const Tensor *m, const Tensor *v,
                       const OptimAdamScalars *s) {
    int64_t n = tensor_numel(p);
    if (p->dtype == TENSOR_F32)
        adam_f32(n, p->data, g->data, m->data, v->data, s);
    else
        adam_f64(n, p->data, g->data, m->data, v->data, s);
}

double optim_kernel_sum_squares(const Tensor *x) {
    int64_t n = tensor_numel(x);
    return x->dtype == TENSOR_F32 ? sum_squares_f32(n, x->data) : sum_squares_f64(n, x->data);
}

void optim_kernel_scale(const Tensor *x, double factor) {
    int64_t n = tensor_numel(x);
    if (x->dtype == TENSOR_F32)
        scale_f32(n, x->data, factor);
    else
        scale_f64(n, x->data, factor);
}
