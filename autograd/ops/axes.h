/* axes.h -- ops over a list of axes. */
#ifndef AUTOGRAD_OPS_AXES_H
#define AUTOGRAD_OPS_AXES_H
#include "autograd/ops/ops.h"

typedef struct {
    AgAxes axes;
    bool keepdim;
} AgOverAxes;

/* Options that begin with an AgOverAxes may use all of this. */

/* Which axes of in[0] are named.  False, with the error recorded: out of range, or twice. */
bool ag_axes_named(AgCall *c, AgAxes axes, bool named[TENSOR_MAX_DIMS]);
/* A shape() for AgOverAxes options. */
bool ag_axes_shape(AgCall *c);
/* x's shape with size 1 at the (valid) axes. */
AgShape ag_axes_kept(const Tensor *x, AgAxes axes);
/* out[0] with in[0]'s number of axes, as the kernels want it; and y, a result or its gradient,
 * likewise. */
Tensor ag_kept_view(const AgCall *c);
AgVar ag_with_kept_axes(AgVar y, AgVar x, AgAxes axes);
/* How many elements of x each result has. */
double ag_axes_count(const Tensor *x, AgAxes axes);

/* x - its mean over axes.  The mean is taken off twice, because its own rounding shows where it is
 * large against the deviations. */
AgVar ag_deviation(AgVar x, AgAxes axes);

/* Samples that every reduction has.  WITH(keepdim, number of axes, axes in braces) gives the
 * options. */
#define AG_AXES_SAMPLES(WITH, lo, hi)                                                          \
    {"all", 1, {AG_IN(lo, hi, 3, 4)}, WITH(false, 0, {0}), NULL},                              \
    {"first", 1, {AG_IN(lo, hi, 3, 4)}, WITH(false, 1, {0}), NULL},                            \
    {"last kept", 1, {AG_IN(lo, hi, 3, 4)}, WITH(true, 1, {-1}), NULL},                        \
    {"two of three", 1, {AG_IN(lo, hi, 3, 4, 2)}, WITH(false, 2, {2, 0}), NULL},               \
    {"all kept", 1, {AG_IN(lo, hi, 2, 3)}, WITH(true, 0, {0}), NULL},                          \
    {"longer than a vector", 1, {AG_IN(lo, hi, 37)}, WITH(false, 0, {0}), NULL},               \
    {"none left", 1, {AG_IN(lo, hi, 0, 3)}, WITH(false, 1, {1}), NULL}
#define AG_SCALAR_SAMPLES(WITH, lo, hi)                                                        \
    {"scalar", 1, {AG_IN(lo, hi)}, WITH(false, 0, {0}), NULL},                                 \
    {"axis of a scalar", 1, {AG_IN(lo, hi)}, WITH(true, 1, {-1}), NULL}
#define AG_AXES_ERRORS(WITH)                                                                   \
    {"axis", 1, {AG_IN(-1, 1, 3, 4)}, WITH(false, 1, {2}), "out of range"},                    \
    {"twice", 1, {AG_IN(-1, 1, 3, 4)}, WITH(false, 2, {1, -1}), "named twice"},                \
    {"axis of a scalar", 1, {AG_IN(-1, 1)}, WITH(false, 1, {1}), "out of range"},              \
    {"integers", 1, {AG_IN_DTYPE("i64", 0, 9, 3)}, WITH(false, 0, {0}), "wants f"}
#define AG_OVER(keepdim, n, ...) AG_WITH(AgOverAxes, {n, __VA_ARGS__}, keepdim)

#endif
