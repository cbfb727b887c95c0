/* random.h -- what random ops have in common: a stored key, so that the gradient, a recomputation
 * and a finite difference all see the same numbers, and the place in the whole batch. */
#ifndef AUTOGRAD_OPS_RANDOM_H
#define AUTOGRAD_OPS_RANDOM_H
#include "autograd/ops/ops.h"
#include "tensor/rng.h"

/* Part of a random op's options. */
typedef struct {
    int batch_axis; /* -1: none */
    TensorRngKey key;
    int64_t first, total; /* rows of the whole batch; total 0: this is the whole */
} AgRandom;

/* The next draw of x's tape. */
AgRandom ag_random_next(AgVar x, int batch_axis);
/* Checks the batch axis, one of in[0]'s first `axes`, and sets total where it is 0.  False, with
 * the error recorded: there is no such axis, or the rows lie outside the batch. */
bool ag_random_rows(AgCall *c, int axes, AgRandom *random);

/* ag_dropout of this draw, in training or not. */
AgVar ag_dropout_drawn(AgVar x, double p, AgRandom random);

#endif
