/* strided.h -- nests of loops over tensors of different strides.  Internal.
 *
 * A nest has one shape and up to TENSOR_MAX_OPERANDS operands that broadcast to
 * it.  Sizes of 1 are dropped, axes may be reordered and merged, so that nearly
 * every nest ends as one or two loops with a kernel for the innermost one. */
#ifndef TENSOR_STRIDED_H
#define TENSOR_STRIDED_H
#include "tensor/kernels_table.h"

#define TENSOR_MAX_OPERANDS 4

typedef struct {
    int operands, ndim;
    int64_t count; /* of all passes; 0: nothing to do, and the rest is not set */
    int64_t size[TENSOR_MAX_DIMS];
    int64_t stride[TENSOR_MAX_DIMS][TENSOR_MAX_OPERANDS]; /* in elements */
    int64_t width[TENSOR_MAX_OPERANDS];                   /* bytes of an element */
} TensorLoops;

/* Sets *l to the nest over `shape`, in its axes' order. */
void tensor_loops(TensorLoops *l, int operands, const Tensor *const *t, int ndim,
                  const int64_t *shape);

/* Makes one axis of two neighbours where every operand goes on from the one to the
 * other with the same stride.  The order of passes stays. */
void tensor_loops_merge(TensorLoops *l);

/* Puts the axis of the smallest stride of operand 0 (then 1, ...) innermost, and merges. */
void tensor_loops_sort(TensorLoops *l);

/* Steps to the next pass of the loops over the first `axes` axes: at[] counts, p[]
 * moves.  False after the last pass, with both at the first one again. */
bool tensor_loops_next(const TensorLoops *l, int axes, int64_t *at, void **p);

/* Every pass, in an order that suits memory; along each axis it goes up. */
void tensor_loops_run(const TensorLoops *l, void *const *start, TensorRun *run,
                      const void *options);

#endif
