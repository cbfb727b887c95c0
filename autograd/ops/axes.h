/* axes.h -- ops over a list of axes. */
#ifndef AUTOGRAD_OPS_AXES_H
#define AUTOGRAD_OPS_AXES_H
#include "autograd/ops/ops.h"

typedef struct {
    AgAxes axes;
    bool keepdim;
} AgOverAxes;

/* Which axes of in[0] are named.  False, with the error recorded: out of range, or twice. */
bool ag_axes_reduced(AgCall *c, AgAxes axes, bool reduced[TENSOR_MAX_DIMS]);
/* A shape() for AgOverAxes options. */
bool ag_axes_shape(AgCall *c);
/* x's shape with size 1 at the (valid) axes. */
AgShape ag_axes_kept(const Tensor *x, AgAxes axes);
/* out[0] with in[0]'s number of axes, as the kernels want it; and y, a result or its gradient,
 * likewise. */
Tensor ag_kept_view(const AgCall *c);
AgVar ag_with_kept_axes(AgVar y, AgVar x, AgAxes axes);

#endif
