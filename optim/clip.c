/* clip.c -- see clip.h. */
#include "optim/clip.h"

#include <math.h>

#include "optim/kernels.h"

/* The gradient of parameter i, or nil where it does not count. */
static Tensor counted(const NnGrads *grads, int i) {
    const NnParam *p = nn_params_at(nn_grads_set(grads), i);
    return p->trainable && !p->frozen ? nn_grads_at(grads, i) : tensor_nil();
}

double optim_clip_grad_norm(NnGrads *grads, double max_norm) {
    if (!grads || !(max_norm > 0)) return NAN;
    int n = nn_params_count(nn_grads_set(grads));
    double sum = 0;
    for (int i = 0; i < n; i++) {
        Tensor g = counted(grads, i);
        if (!tensor_is_nil(&g)) sum += optim_kernel_sum_squares(&g);
    }
    double norm = sqrt(sum), factor = max_norm / (norm + 1e-6);
    if (!isfinite(norm) || factor >= 1) return norm;
    for (int i = 0; i < n; i++) {
        Tensor g = counted(grads, i);
        if (!tensor_is_nil(&g)) optim_kernel_scale(&g, factor);
    }
    return norm;
}
