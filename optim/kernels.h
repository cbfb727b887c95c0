/* kernels.h -- one pass over a parameter for each rule.  Not for use outside optim/.
 *
 * Memory is contiguous.  Scalars come in double and are rounded to the dtype once. */
#ifndef OPTIM_KERNELS_H
#define OPTIM_KERNELS_H
#include "tensor/tensor.h"

typedef struct {
    double lr, momentum, one_less_dampening, weight_decay;
    bool nesterov, first; /* first: b has no value yet */
} OptimSgdScalars;
/* b is nil without momentum. */
void optim_kernel_sgd(const Tensor *p, const Tensor *g, const Tensor *b, const OptimSgdScalars *s);

typedef struct {
    double step_size, beta1, beta2, eps, weight_decay;
    double correction; /* sqrt(1 - beta2^n) */
} OptimAdamScalars;
void optim_kernel_adam(const Tensor *p, const Tensor *g, const Tensor *m, const Tensor *v,
                       const OptimAdamScalars *s);

double optim_kernel_sum_squares(const Tensor *x); /* in double */
void optim_kernel_scale(const Tensor *x, double factor);

#endif
