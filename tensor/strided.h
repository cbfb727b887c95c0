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

/* Sets at[] and p[] to pass number i of the loops over the first `axes` axes. */
void tensor_loops_seek(const TensorLoops *l, int axes, int64_t i, int64_t *at, void **p);

/* Every pass, in an order that suits memory; along each axis it goes up. */
void tensor_loops_run(const TensorLoops *l, void *const *start, TensorRun *run,
                      const void *options);

/* The same, shared by threads where passes of some `ns` nanoseconds are worth it.  Passes write
 * elements of operand 0 of their own, except along axes where its stride is 0. */
void tensor_loops_share(const TensorLoops *l, void *const *start, TensorRun *run,
                        const void *options, double ns);

/* f on parts of the nest that together are all of it, shared by threads likewise: each a nest
 * with the same axes, one of them shorter.  Along no axis where the stride of operand 0 is 0. */
typedef void TensorPart(const TensorLoops *part, void *const *start, const void *context);
void tensor_loops_parts(const TensorLoops *l, void *const *start, double ns, TensorPart *f,
                        const void *context);

/* f at every pass of the first `axes` axes, shared by threads likewise. */
typedef void TensorPass(void *const *p, const void *context);
void tensor_loops_each(const TensorLoops *l, int axes, void *const *start, double ns,
                       TensorPass *f, const void *context);

#endif
