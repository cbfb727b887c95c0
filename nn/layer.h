/* layer.h -- what constructors of layers share.  Not for use outside nn/. */
#ifndef NN_LAYER_H
#define NN_LAYER_H
#include "nn/param.h"

/* *given, or uniform in +-1/sqrt(n), the default of most of PyTorch's layers; n < 1 gives
 * the constant 0. */
NnInit nn_layer_init(const NnInit *given, int64_t n);

/* An existing parameter instead of a new one: p, if it is one of this set and shape; else the
 * set's error for the layer `name` and its nil parameter. */
NnParam *nn_layer_share(NnParamSet *set, const char *name, NnParam *p, int ndim,
                        const int64_t *shape);

/* The parameter as a variable, and {0} for NULL: a part that the layer does without. */
AgVar nn_layer_var(AgTape *t, const NnParam *p);

/* True if v is a live variable of t; else that is recorded on t, for `what`. */
bool nn_layer_ready(AgTape *t, AgVar v, const char *what);

#endif
