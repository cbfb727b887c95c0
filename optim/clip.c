/* clip.c -- see clip.h. */
#include "optim/clip.h"

#include <math.h>

#include "optim/kernels.h"

/* The gradient of parameter i, or nil where it does not count. */
static Tensor counted(const NnGrads *grads, int i) {
    const NnParam *p = nn_params_at(nn_grads_set(grads), i);
    return p->trainable && !p->frozen ? nn_grads_at(grads, i) : tensor_nil();
}

static double norm_2(const NnGrads *grads, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        Tensor g = counted(grads, i);
        if (!tensor_is_nil(&g)) sum += optim_kernel_sum_squares(&g);
    }
    return sqrt(sum);
}

static double norm_infinity(const NnGrads *grads, int n) {
    double top = 0;
    for (int i = 0; i < n; i++) {
        Tensor g = counted(grads, i);
        double largest = tensor_is_nil(&g) ? 0 : optim_kernel_max_abs(&g);
        if (isnan(largest)) return largest;
        top = fmax(top, largest);
    }
    return top;
}

static double norm_p(const NnGrads *grads, int n, double p) {
    double top = norm_infinity(grads, n), sum = 0;
    if (top == 0 || !isfinite(top) || isinf(p)) return top;
    for (int i = 0; i < n; i++) {
        Tensor g = counted(grads, i);
        if (!tensor_is_nil(&g)) sum += optim_kernel_sum_powers(&g, top, p);
    }
    return top * pow(sum, 1 / p);
}

double optim_clip_grad_norm_p(NnGrads *grads, double max_norm, double p) {
    if (!grads || !(max_norm >= 0) || !(p > 0)) return NAN;
    int n = nn_params_count(nn_grads_set(grads));
    double norm = p == 2 ? norm_2(grads, n) : norm_p(grads, n, p);
    double factor = max_norm / (norm + 1e-6);
    if (!isfinite(norm) || factor >= 1) return norm;
    for (int i = 0; i < n; i++) {
        Tensor g = counted(grads, i);
        if (!tensor_is_nil(&g)) optim_kernel_scale(&g, factor);
    }
    return norm;
}

double optim_clip_grad_norm(NnGrads *grads, double max_norm) {
    return optim_clip_grad_norm_p(grads, max_norm, 2);
}

bool optim_clip_grad_value(NnGrads *grads, double clip_value) {
    if (!grads || !(clip_value >= 0)) return false;
    for (int i = 0; i < nn_params_count(nn_grads_set(grads)); i++) {
        Tensor g = counted(grads, i);
        if (!tensor_is_nil(&g)) optim_kernel_clamp(&g, clip_value);
    }
    return true;
}
