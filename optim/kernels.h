/* kernels.h -- one pass over a parameter for each rule, and over a gradient for clipping.
 * Not for use outside optim/.
 *
 * Memory is contiguous.  Scalars come in double and are rounded to the dtype once.  A pass over
 * some elements and one over those that follow do, to the bit, what one over both does. */
#ifndef OPTIM_KERNELS_H
#define OPTIM_KERNELS_H
#include "autograd/rows.h"
#include "tensor/tensor.h"

enum { OPTIM_SLOTS = 3 }; /* the most that a rule keeps for a parameter */

/* A parameter, its gradient, and what the rule keeps for it: n elements each, of one dtype. */
typedef struct {
    TensorDtype dtype;
    int64_t n;
    void *p;
    const void *g;
    void *slot[OPTIM_SLOTS];
} OptimOperands;

/* Where every rule begins: d = factor g + weight_decay p. */
typedef struct {
    double weight_decay;
    double factor; /* of clipping; below 0 if maximize */
} OptimDirection;

typedef struct {
    OptimDirection direction;
    double lr, momentum, one_less_dampening;
    bool nesterov, first; /* first: b has no value yet */
} OptimSgdScalars;
void optim_kernel_sgd(const OptimOperands *x, const OptimSgdScalars *s); /* b if momentum */

typedef struct {
    OptimDirection direction;
    double shrink; /* p is multiplied by it first */
    double step_size, beta1, beta2, eps;
    double correction; /* sqrt(1 - beta2^n) */
    bool amsgrad;
} OptimAdamScalars;
void optim_kernel_adam(const OptimOperands *x, const OptimAdamScalars *s); /* m, v, u if amsgrad */

typedef struct {
    OptimDirection direction;
    double lr, alpha, eps, momentum;
    bool centered;
} OptimRmspropScalars;
/* v, m if centered, b if momentum */
void optim_kernel_rmsprop(const OptimOperands *x, const OptimRmspropScalars *s);

typedef struct {
    OptimDirection direction;
    double step_size, eps;
} OptimAdagradScalars;
void optim_kernel_adagrad(const OptimOperands *x, const OptimAdagradScalars *s); /* v */

typedef struct {
    OptimDirection direction;
    double lr, rho, eps;
} OptimAdadeltaScalars;
void optim_kernel_adadelta(const OptimOperands *x, const OptimAdadeltaScalars *s); /* v, u */

typedef struct {
    OptimDirection direction;
    double shrink, step_size, mu;
} OptimAsgdScalars;
void optim_kernel_asgd(const OptimOperands *x, const OptimAsgdScalars *s); /* a */

void optim_kernel_swap(const Tensor *x, const Tensor *y);

/* ---- gradients: elements begin..end-1 of x ---- */

/* The square of element i is added to sum[i % OPTIM_SUMS], in double: sums side by side, so that
 * the additions overlap, and in the same order whatever zeros are left out. */
enum { OPTIM_SUMS = 8 };
void optim_kernel_add_squares(const Tensor *x, AgSpan s, double sum[OPTIM_SUMS]);
/* The largest of top and all |x|; NaN if one is NaN. */
double optim_kernel_max_abs(const Tensor *x, AgSpan s, double top);
/* sum + all |x / scale|^p */
double optim_kernel_add_powers(const Tensor *x, AgSpan s, double scale, double p, double sum);
void optim_kernel_scale(const Tensor *x, AgSpan s, double factor);
void optim_kernel_clamp(const Tensor *x, AgSpan s, double bound); /* NaN stays */

#endif
