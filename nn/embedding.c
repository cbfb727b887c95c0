/* embedding.c -- see embedding.h. */
#include "nn/embedding.h"

#include "nn/layer.h"

NnEmbedding nn_embedding_make(NnParamSet *set, const char *name, int64_t V, int64_t E,
                              const NnEmbeddingOptions *options) {
    NnEmbeddingOptions o = options ? *options : (NnEmbeddingOptions){0};
    const int64_t shape[] = {V, E};
    if (o.weight) return (NnEmbedding){nn_layer_share(set, name, o.weight, 2, shape)};
    NnInit init = o.init ? *o.init : nn_init_normal(0, 1);
    NnParam *weight = nn_param(set, init, 2, shape, "%s%sweight", NN_PREFIX(name));
    nn_param_by_rows(weight);
    return (NnEmbedding){weight};
}

AgVar nn_embedding(const NnEmbedding *m, AgVar index) {
    if (!nn_layer_ready(index.tape, index, "embedding: index")) return (AgVar){index.tape, 0, 0};
    return ag_embedding(nn_var(index.tape, m->weight), index);
}
