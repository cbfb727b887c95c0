/* clip.h -- bounding gradients before a step.
 *
 * What counts are the trained parameters that are not frozen.  Threads share the work, and of
 * parameters by_rows (nn_param_by_rows: embeddings) only used rows are read or written: neither
 * changes a bit of the results.
 *
 * Where an optimiser's step follows, optim_step_clipped (optim.h) does both in one pass. */
#ifndef OPTIM_CLIP_H
#define OPTIM_CLIP_H
#include "nn/param.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The Euclidean norm of all gradients taken as one vector,
 *     n = sqrt(sum over parameters of |g|^2),
 * and, if it is more than about max_norm, every g multiplied by max_norm / (n + 1e-6).  As
 * torch.nn.utils.clip_grad_norm_; squares are summed in double, in an order that depends on
 * the sizes only (not on threads, nor on the rows that are used).  A max_norm of INFINITY only
 * measures.  Returns n as it was before.
 *
 * Where n is not finite (a NaN or infinity among the gradients, or squares beyond a double), the
 * gradients are left as they are, so that the caller can skip the step.
 * Fails (NaN, gradients as they were): max_norm is below 0 or NaN; grads is NULL.
 * R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural
 * networks, ICML 2013. */
double optim_clip_grad_norm(NnGrads *grads, double max_norm);

/* The same with the norm of another p, torch's norm_type:
 *     n = (sum over all elements of |g|^p)^(1/p),   for p = INFINITY the largest |g|.
 * Powers are taken of |g| / the largest, so that none overflows.
 * Fails also (NaN): p is not above 0. */
double optim_clip_grad_norm_p(NnGrads *grads, double max_norm, double p);

/* Every element of every gradient bounded to [-clip_value, clip_value], as
 * torch.nn.utils.clip_grad_value_; a NaN stays.
 * Fails (false, gradients as they were): clip_value is below 0 or NaN; grads is NULL. */
bool optim_clip_grad_value(NnGrads *grads, double clip_value);

#ifdef __cplusplus
}
#endif
#endif
