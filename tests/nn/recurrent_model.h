/* recurrent_model.h -- an LSTM, a GRU or an RNN under one name, and the same computed by plain
 * loops, which the tests of the layers compare. */
#ifndef TESTS_NN_RECURRENT_MODEL_H
#define TESTS_NN_RECURRENT_MODEL_H
#include "autograd/gradcheck/gradcheck.h"
#include "nn/gru.h"
#include "nn/lstm.h"

typedef enum { MODEL_LSTM, MODEL_GRU, MODEL_RNN, MODEL_RELU, MODEL_KINDS } ModelKind;

typedef struct {
    ModelKind kind;
    int64_t I, H, P; /* P: the size of h */
    int L, D;
    NnLstmOptions o; /* of a GRU and an RNN those that they have */
    NnParamSet *set;
    NnLstm lstm;
    NnGru gru;
    NnRnn rnn;
} Model;

/* A layer "rnn" in a set of its own, whose error the caller looks at, .. */
Model model_try(ModelKind kind, TensorDtype dtype, int64_t I, int64_t H, const NnLstmOptions *o);
/* .. or which the test needs to be without one. */
Model model_new(ModelKind kind, TensorDtype dtype, int64_t I, int64_t H, const NnLstmOptions *o);
void model_free(Model *m);

/* h0 {0}: zeros.  Without an LSTM cn is {0}. */
NnLstmOutput model_run(const Model *m, AgVar x, AgVar h0, AgVar c0, const int64_t *lengths);

typedef struct {
    Tensor y, h, c;
} ModelPlain;

/* The same for a model of F64 by loops over sequences, layers, directions, steps and units, from
 * x [T, B, I] to y [T, B, D*P] (whatever batch_first is); h0 and c0 NULL: zeros.  Where `masks` is
 * a tape in training, masks are drawn on it, in the order in which the layer draws: it has to
 * start from the key of the layer's tape. */
ModelPlain model_plain(const Model *m, TensorArena *a, const Tensor *x, const Tensor *h0,
                       const Tensor *c0, const int64_t *lengths, AgTape *masks);

/* Compares the derivatives of the given order of y and the last states, in x, the first states and
 * all parameters, with differences; fails the test where they do not agree. */
GradcheckResult model_gradcheck(const Model *m, int64_t T, int64_t B, const int64_t *lengths,
                                int order, const GradcheckOptions *options);

/* ---- small things ---- */

Tensor model_tensor(TensorArena *a, TensorDtype dtype, int ndim, const int64_t *shape,
                    uint64_t draw); /* in [-1, 1) */
/* The largest difference; infinity where shapes differ or a NaN is. */
double model_distance(const Tensor *a, const Tensor *b);

#endif
