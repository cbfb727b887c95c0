/* swiglu.h -- an op of one's own: the gated unit of N. Shazeer, GLU Variants Improve Transformer,
 * arXiv:2002.05202, 2020. */
#ifndef EXAMPLES_GRADCHECK_SWIGLU_H
#define EXAMPLES_GRADCHECK_SWIGLU_H
#include "autograd/op.h"

typedef struct {
    double beta; /* 0: half of b goes through; infinity would make it a ReLU */
} SwigluOptions;

/* a b sigmoid(beta b), elementwise.  Gradient, with s = sigmoid(beta b): g b s;
 * g a s (1 + beta b (1 - s)).  Fails: shapes or dtypes differ, not of a float dtype. */
AgVar swiglu(AgVar a, AgVar b, const SwigluOptions *options);

extern const AgOp swiglu_op;
/* The same op, wrong on purpose: their rules forget beta; take s as a constant, so that only
 * second derivatives are wrong; fail to sum over an axis, so that the shape is wrong. */
extern const AgOp swiglu_without_beta, swiglu_constant_gate, swiglu_wrong_shape;

#endif
