/* linear.h -- the affine map, torch.nn.Linear. */
#ifndef NN_LINEAR_H
#define NN_LINEAR_H
#include "nn/param.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A plain value; its parameters live in the set, and there is nothing to free. */
typedef struct {
    NnParam *weight; /* [H, I] */
    NnParam *bias;   /* [H], or NULL */
} NnLinear;

typedef struct {
    bool no_bias;
    NnParam *weight;    /* NULL, or an existing parameter [H, I] to share (tied weights) */
    const NnInit *init; /* of the weight; NULL: uniform in +-1/sqrt(I), PyTorch's default */
    const NnInit *bias_init; /* NULL: uniform in +-1/sqrt(I) */
} NnLinearOptions;

/* Parameters NAME.weight and NAME.bias (without NAME. where name is ""), for inputs of size I
 * and outputs of size H; options NULL: all zero.
 * Fails (the set's error): nn_param's; a shared weight of another set or shape. */
NnLinear nn_linear_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                        const NnLinearOptions *options);

/* y = x W^T + b.   x [.., I] -> y [.., H].
 * Gradient: g W for x, g^T x for W, g summed over all axes but the last for b.
 * Fails (the tape's error): the last size of x is not I, dtypes differ. */
AgVar nn_linear(const NnLinear *m, AgVar x);
/* ag_cross_entropy(nn_linear(m, x), target, options) with less memory and time: see
 * ag_linear_cross_entropy.  For the output layer of a model.   x [.., I], target I64 [..] */
AgVar nn_linear_cross_entropy(const NnLinear *m, AgVar x, AgVar target,
                              const AgCrossEntropyOptions *options);

#ifdef __cplusplus
}
#endif
#endif
