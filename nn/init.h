/* init.h -- how parameters start.
 *
 * An NnInit is a value that says from which distribution a parameter is drawn:
 *
 *     NnParam *w = nn_param(set, nn_init_xavier_uniform(1), 2, shape, "weight");
 *
 * The zero value is the constant 0.  Everything is computed in double from the
 * counter-based generator of tensor/rng.h and rounded to the parameter's dtype at the end:
 * an F32 parameter is the rounded F64 one. */
#ifndef NN_INIT_H
#define NN_INIT_H
#include "tensor/rng.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    NN_INIT_CONSTANT, /* a */
    NN_INIT_UNIFORM,  /* in [a, b) */
    NN_INIT_NORMAL,   /* mean a, standard deviation b */
    NN_INIT_XAVIER_UNIFORM, /* gain a, as the next two */
    NN_INIT_XAVIER_NORMAL,
    NN_INIT_ORTHOGONAL,
} NnInitKind;

typedef struct {
    NnInitKind kind;
    double a, b;
} NnInit;

NnInit nn_init_constant(double c);
/* Each element uniform in [lo, hi).  Fails when drawn: lo > hi, or not finite. */
NnInit nn_init_uniform(double lo, double hi);
/* Each element normal.  Fails when drawn: std < 0, or not finite. */
NnInit nn_init_normal(double mean, double std);

/* Uniform in [-r, r) with r = gain sqrt(6 / (fan_in + fan_out)), and normal with mean 0 and
 * standard deviation gain sqrt(2 / (fan_in + fan_out)): the variance of activations and of
 * gradients stays about the same from layer to layer.  For a weight [n_out, n_in, k..]
 * fan_in = n_in k, fan_out = n_out k with k the product of the further sizes, as in PyTorch.
 * Fail when drawn: fewer than 2 axes, gain not finite.
 * X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural
 * networks, AISTATS 2010. */
NnInit nn_init_xavier_uniform(double gain);
NnInit nn_init_xavier_normal(double gain);

/* gain Q for a weight [n, k..] taken as a matrix of n rows: rows are orthonormal if there are
 * no more rows than columns, else columns are.  Q is the orthogonal factor of the QR
 * decomposition of a matrix of normal numbers with R's diagonal positive, which makes it
 * uniform over all such matrices (torch.nn.init.orthogonal_ has the same convention, other
 * random numbers).  Costs 4 m^2 M operations for sizes m <= M.
 * Fails when drawn: fewer than 2 axes, gain not finite, out of memory.
 * A. Saxe, J. McClelland and S. Ganguli, Exact solutions to the nonlinear dynamics of learning
 * in deep linear neural networks, ICLR 2014 (arXiv:1312.6120). */
NnInit nn_init_orthogonal(double gain);

/* Why init cannot fill a tensor of x's shape and dtype, or NULL if it can. */
const char *nn_init_invalid(NnInit init, const Tensor *x);

/* Draws x, F32 or F64, contiguous, from the numbers of key.
 * Fails (false, x unchanged): nn_init_invalid, or out of memory. */
bool nn_init_fill(NnInit init, const Tensor *x, TensorRngKey key);

#ifdef __cplusplus
}
#endif
#endif
