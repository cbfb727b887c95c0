/* ops.h -- what the op files of this folder share.  Each op stands in the order doc, shape,
 * value, gradient, samples, definition, public function; its manual is in ag.h. */
#ifndef AUTOGRAD_OPS_OPS_H
#define AUTOGRAD_OPS_OPS_H
#include <string.h>

#include "autograd/op.h"
#include "tensor/kernels.h"

/* Declares every op of ops.def as ag_op_NAME. */
#define UNARY(name, ...) extern const AgOp ag_op_##name;
#define BINARY(name, ...) extern const AgOp ag_op_##name;
#define COMPARE(name, ...) extern const AgOp ag_op_##name;
#define LOGICAL(name, ...) extern const AgOp ag_op_##name;
#define OTHER(name) extern const AgOp ag_op_##name;
#include "autograd/ops.def"
#undef UNARY
#undef BINARY
#undef COMPARE
#undef LOGICAL
#undef OTHER

/* A sample input of the given shape (none: a scalar), with values in [low, high). */
#define AG_IN(low, high, ...)                                                              \
    {.ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .shape = {__VA_ARGS__}, \
     .lo = (low), .hi = (high)}
#define AG_IN_DTYPE(type, low, high, ...)                                                  \
    {.ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .shape = {__VA_ARGS__}, \
     .lo = (low), .hi = (high), .dtype = (type)}
#define AG_WITH(type, ...) .options = &(const type){__VA_ARGS__}, .options_size = sizeof(type)

/* Options that are a shape; -1 stands for a size as the op's manual says. */
typedef struct {
    int ndim;
    int64_t shape[TENSOR_MAX_DIMS];
} AgShape;
/* Fails (false, error recorded for `op`): ndim outside 0..TENSOR_MAX_DIMS. */
static inline bool ag_shape_options(AgVar x, const char *op, int ndim, const int64_t *shape,
                                    AgShape *options) {
    *options = (AgShape){.ndim = ndim};
    if (ndim < 0 || ndim > TENSOR_MAX_DIMS) {
        if (x.tape) ag_fail(x.tape, "%s: %d axes, wants 0 to %d", op, ndim, TENSOR_MAX_DIMS);
        return false;
    }
    for (int d = 0; d < ndim; d++) options->shape[d] = shape[d];
    return true;
}

static inline AgVar ag_none(AgVar x) { return (AgVar){x.tape, 0, 0}; }
static inline AgVar ag_zero(AgVar x) { return ag_scalar(x.tape, ag_dtype(x), 0); }

/* g summed down to x's shape: undoes what broadcasting repeated. */
static inline AgVar ag_sum_like(AgVar g, AgVar x) {
    const Tensor *v = ag_value(x);
    return tensor_same_shape(ag_value(g), v) ? g : ag_sum_to(g, v->ndim, v->shape);
}

/* Losses reduced to their mean or sum, or as they are; op is the name for the error. */
AgVar ag_reduce_loss(AgVar loss, AgReduction reduction, const char *op);

/* The gradient rule of reading in[0] at index along axis, as ag_gather does: g is added there. */
bool ag_gather_vjp(AgVjp *v, int axis, AgVar index, AgVar g);

/* axis of in[i] as ag_call_axis gives it; a scalar counts as a vector of one element, as
 * PyTorch has it: its axis is 0 or -1. */
static inline int ag_call_vector_axis(AgCall *c, int i, int axis) {
    bool scalar = c->in[i]->ndim == 0 && (axis == 0 || axis == -1);
    return scalar ? 0 : ag_call_axis(c, i, axis);
}
/* The same of an axis that is known to be right. */
static inline int ag_vector_axis(const Tensor *x, int axis) {
    return x->ndim ? tensor_axis(x, axis) : 0;
}
/* The size along it. */
static inline int64_t ag_vector_size(const Tensor *x, int axis) {
    return x->ndim ? x->shape[tensor_axis(x, axis)] : 1;
}

/* Zeros with x at start, start + step, .. along axis of `size`: the transpose of ag_slice. */
AgVar ag_widen_steps(AgVar x, int axis, int64_t start, int64_t step, int64_t size);

/* The same elements, with a copy first where strides allow no view. */
static inline AgVar ag_reshape_like(AgVar g, const Tensor *v) {
    return ag_reshape(g, v->ndim, v->shape);
}

#endif
