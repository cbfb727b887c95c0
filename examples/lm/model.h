/* model.h -- the network of the character language model.
 *
 *     characters [T, B]  ->  embedding or one-hot  ->  LSTM  ->  linear  ->  logits [T, B, V]
 *
 * Dropout stands where W. Zaremba, I. Sutskever and O. Vinyals, Recurrent neural network
 * regularization (arXiv 1409.2329), put it: between layers, not between steps. */
#ifndef EXAMPLES_LM_MODEL_H
#define EXAMPLES_LM_MODEL_H
#include "autograd/ag.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/lstm.h"
#include "nn/state.h"
#include "tensor/file.h"

typedef struct {
    int64_t vocab;     /* V */
    int64_t embedding; /* E; 0: one-hot vectors of size V */
    int64_t hidden;    /* H */
    int64_t layers;    /* L */
    double dropout;
} LmConfig;

typedef struct {
    LmConfig config;
    NnParamSet *set; /* owns all parameters */
    NnEmbedding embedding;
    NnLstm lstm;
    NnLinear out;
} LmModel;

/* A model with parameters drawn from the seed; free it with lm_model_free, also after a failure.
 * Fails (false): out of memory. */
bool lm_model_init(LmModel *m, const LmConfig *config, uint64_t seed, TensorError *error);
void lm_model_free(LmModel *m);

/* The number of parameters; a double, because a config from a file may ask for anything. */
double lm_config_numel(const LmConfig *config);

/* x, I64 [T, B] -> logits [T, B, V].  The LSTM starts from `state` and leaves its last state
 * there. */
AgVar lm_model_forward(const LmModel *m, NnState *state, AgVar x);
/* Their mean cross entropy against target, I64 [T, B]. */
AgVar lm_model_loss(const LmModel *m, NnState *state, AgVar x, AgVar target);

#endif
