/* clip.c -- see clip.h. */
#include "optim/clip.h"

#include <math.h>

#include "optim/kernels.h"
#include "optim/norm.h"
#include "tensor/blocks.h"

typedef struct {
    const NnGrads *grads;
    double top, p; /* of powers: the largest |g|, and the power */
    double by;     /* what scales or bounds */
} Pass;

/* The gradient of parameter i, or nil where it does not count. */
static Tensor counted(const NnGrads *grads, int i) {
    const NnParam *p = nn_params_at(nn_grads_set(grads), i);
    return p->trainable && !p->frozen ? nn_grads_at(grads, i) : tensor_nil();
}

static int64_t size_of(int i, void *context) {
    Tensor g = counted(((Pass *)context)->grads, i);
    return tensor_is_nil(&g) ? 0 : tensor_numel(&g);
}

static double run(Pass *pass, double (*block)(const TensorBlock *b, void *context),
                  double (*join)(double a, double b)) {
    int n = nn_params_count(nn_grads_set(pass->grads));
    return tensor_blocks(&(TensorPass){n, size_of, block, join, pass});
}

/* In a block's function: each span s of the gradient g that may hold something. */
#define EACH_SPAN(b, context)                                    \
    const Pass *pass = (context);                                \
    const Tensor g = nn_grads_at(pass->grads, (b)->array);       \
    const AgRows *rows = nn_grads_rows(pass->grads, (b)->array); \
    for (AgSpan s = {0, (b)->begin}; ag_rows_next(rows, &g, (b)->end, &s);)

/* ---- norms ---- */

static double squares(const TensorBlock *b, void *context) {
    double sum[OPTIM_SUMS] = {0};
    EACH_SPAN(b, context) optim_kernel_add_squares(&g, s, sum);
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static double largest(const TensorBlock *b, void *context) {
    double top = 0;
    EACH_SPAN(b, context) {
        top = optim_kernel_max_abs(&g, s, top);
        if (isnan(top)) break;
    }
    return top;
}

static double powers(const TensorBlock *b, void *context) {
    double sum = 0;
    EACH_SPAN(b, context) sum = optim_kernel_add_powers(&g, s, pass->top, pass->p, sum);
    return sum;
}

/* NaN if either is. */
static double larger(double a, double b) { return isnan(a) || a > b ? a : b; }

double optim_grad_norm(const NnGrads *grads, double p) {
    Pass pass = {.grads = grads, .p = p};
    if (p == 2) return sqrt(run(&pass, squares, NULL));
    pass.top = run(&pass, largest, larger);
    if (pass.top == 0 || !isfinite(pass.top) || isinf(p)) return pass.top;
    return pass.top * pow(run(&pass, powers, NULL), 1 / p);
}

/* ---- clipping ---- */

double optim_clip_factor(double norm, double max_norm) {
    double factor = max_norm / (norm + 1e-6);
    return factor < 1 ? factor : 1;
}

static double scale(const TensorBlock *b, void *context) {
    EACH_SPAN(b, context) optim_kernel_scale(&g, s, pass->by);
    return 0;
}

static double clamp(const TensorBlock *b, void *context) {
    EACH_SPAN(b, context) optim_kernel_clamp(&g, s, pass->by);
    return 0;
}

double optim_clip_grad_norm_p(NnGrads *grads, double max_norm, double p) {
    if (!grads || !(max_norm >= 0) || !(p > 0)) return NAN;
    double norm = optim_grad_norm(grads, p);
    if (!isfinite(norm)) return norm;
    Pass pass = {.grads = grads, .by = optim_clip_factor(norm, max_norm)};
    if (pass.by < 1) run(&pass, scale, NULL);
    return norm;
}

double optim_clip_grad_norm(NnGrads *grads, double max_norm) {
    return optim_clip_grad_norm_p(grads, max_norm, 2);
}

bool optim_clip_grad_value(NnGrads *grads, double clip_value) {
    if (!grads || !(clip_value >= 0)) return false;
    Pass pass = {.grads = grads, .by = clip_value};
    run(&pass, clamp, NULL);
    return true;
}
