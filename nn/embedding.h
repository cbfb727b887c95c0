/* embedding.h -- a table of vectors, torch.nn.Embedding. */
#ifndef NN_EMBEDDING_H
#define NN_EMBEDDING_H
#include "nn/param.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A plain value; its parameter lives in the set, and there is nothing to free. */
typedef struct {
    NnParam *weight; /* [V, E] */
} NnEmbedding;

typedef struct {
    NnParam *weight;    /* NULL, or an existing parameter [V, E] to share (tied weights) */
    const NnInit *init; /* NULL: normal with mean 0 and standard deviation 1, PyTorch's default */
} NnEmbeddingOptions;

/* The parameter NAME.weight (without NAME. where name is ""): V vectors of size E; options
 * NULL: all zero.
 * Fails (the set's error): nn_param's; a shared weight of another set or shape. */
NnEmbedding nn_embedding_make(NnParamSet *set, const char *name, int64_t V, int64_t E,
                              const NnEmbeddingOptions *options);

/* y[.., :] = W[index[..], :].   index [..], I64 -> y [.., E].
 * Gradient: g added up in the rows used; which these are is kept (nn_param_by_rows), so that
 * zeroing, clipping and the plainer optimisers cost what the tokens of the step do and not V.
 * Fails (the tape's error): index is not I64, an entry lies outside 0..V-1. */
AgVar nn_embedding(const NnEmbedding *m, AgVar index);

#ifdef __cplusplus
}
#endif
#endif
