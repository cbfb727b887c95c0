/* model.h -- the network of the language model.
 *
 *     tokens [T, B]  ->  embedding or one-hot  ->  LSTM layers  ->  linear  ->  logits [T, B, V]
 *
 * Dropout stands where W. Zaremba, I. Sutskever and O. Vinyals, Recurrent neural network
 * regularization (arXiv 1409.2329), put it: before, between and after the layers, not between
 * steps.  Locked dropout, dropped weights and words, and the two penalties on activations are those
 * of S. Merity, N. Keskar and R. Socher, Regularizing and optimizing LSTM language models, ICLR
 * 2018; tied weights: O. Press and L. Wolf, Using the output embedding to improve language models,
 * EACL 2017. */
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
    bool tied;         /* the output layer's weight is the embedding's; the last LSTM layer then has
                          size E */
    double dropout;    /* before, between and after the LSTM layers; */
    double dropout_input, dropout_hidden, dropout_output; /* .. other than that, unless below 0 */
    bool locked;       /* one dropout mask for all steps of a window */
    double embedding_dropout; /* of whole words, wherever they stand in the window */
    double weight_drop;       /* of the elements of weight_hh */
    double forget_bias;
    double init;       /* embedding and output start uniform in +-init; 0: as PyTorch's */
    double init_lstm;  /* the same of the LSTM's weights and biases */
} LmConfig;

typedef struct {
    LmConfig config;
    NnParamSet *set; /* owns all parameters */
    NnEmbedding embedding;
    NnLstm lstm;     /* all layers, or, where the last one has another size, all but that: */
    NnLstm last;     /* the last one then; layer is NULL where there is none */
    NnLinear out;
} LmModel;

/* A model with parameters drawn from the seed; free it with lm_model_free, also after a failure.
 * Fails (false): sizes that do not fit; out of memory. */
bool lm_model_init(LmModel *m, const LmConfig *config, uint64_t seed, TensorError *error);
void lm_model_free(LmModel *m);

/* The number of parameters; a double, because a config from a file may ask for anything. */
double lm_config_numel(const LmConfig *config);

/* The states before a window and after it, by name (nn/state.h): "lstm.h" [L,B,H], "lstm.c", and
 * "last.h", "last.c" [1,B,E] where there is a last layer of another size. */
typedef struct {
    NnLstmState lstm, last;
} LmState;

/* The state as constants on the tape; zeros where it is new. */
LmState lm_model_load(const LmModel *m, NnState *state, AgTape *t, int64_t B);
/* Fails (false): nn_state_store's. */
bool lm_model_store(const LmModel *m, NnState *state, const LmState *after);

/* x, I64 [T, B] -> the last layer's h after dropout, [T, B, H'].  *raw (or NULL) becomes the same
 * before dropout; *after (or NULL) the state after the window. */
AgVar lm_model_hidden(const LmModel *m, const LmState *before, AgVar x, AgVar *raw, LmState *after);

/* x, I64 [T, B] -> logits [T, B, V].  The LSTM starts from `state` and leaves its last state
 * there. */
AgVar lm_model_forward(const LmModel *m, NnState *state, AgVar x);

#endif
