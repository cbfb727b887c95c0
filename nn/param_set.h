/* param_set.h -- what param.h hides.  Not for use outside nn/. */
#ifndef NN_PARAM_SET_H
#define NN_PARAM_SET_H
#include "nn/param.h"
#include "tensor/file.h"

struct NnGrads {
    NnParamSet *set;
    TensorArena *arena; /* the set's, for its own gradients */
    Tensor *grad;       /* [n] */
    AgRows **rows;      /* [n]: NULL where they are not kept */
    int n, capacity;
};

struct NnParamSet {
    TensorArena *arena;
    TensorDtype dtype;
    uint64_t seed;
    NnParam **param; /* [n] */
    int n, capacity;
    NnGrads own;
    NnParam nil;
    bool failed;
    TensorError error;
};

/* Gives the gradients room for one parameter more and makes it, zero; nil for a buffer.
 * False when out of memory. */
bool nn_grads_append(NnGrads *grads, const NnParam *p);
/* Has the gradients keep which rows of p's are used; none is.  False when out of memory. */
bool nn_grads_keep_rows(NnGrads *grads, const NnParam *p);
/* True for the nil parameter of any set. */
bool nn_param_is_nil(const NnParam *p);

#endif
