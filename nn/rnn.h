/* rnn.h -- the plain recurrent network: one step (torch.nn.RNNCell) and sequences
 * (torch.nn.RNN).
 *
 * One step, for x [B, I] and the state h [B, H]:
 *
 *     h' = tanh(x W_ih^T + b_ih + h W_hh^T + b_hh)         [B, H], or max(0, ..) with AG_RNN_RELU
 *
 * Names and both biases are PyTorch's, so its state_dict fits.  Gradient of one step, with g =
 * dL/dh' and d = g * (1 - h'^2) (AG_RNN_RELU: g where h' > 0, else 0), the gradient of the sum
 * inside: d W_ih for x, d W_hh for h, d^T x for W_ih, d^T h for W_hh, d summed over the batch for
 * each bias.
 * J. L. Elman, Finding Structure in Time, Cognitive Science 14, 1990; layers, directions and the
 * dropout between layers: the papers that nn/lstm.h names. */
#ifndef NN_RNN_H
#define NN_RNN_H
#include "autograd/sequence.h"
#include "nn/param.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- one step ---- */

/* What one layer in one direction, or a cell, learns; of a GRU (gru.h) 3H in the place of H, the
 * gates below each other. */
typedef struct {
    NnParam *weight_ih; /* [H, its inputs] */
    NnParam *weight_hh; /* [H, H] */
    NnParam *bias_ih;   /* [H], or NULL */
    NnParam *bias_hh;   /* [H], or NULL */
} NnRnnParams;

/* A plain value; its parameters live in the set, and there is nothing to free. */
typedef struct {
    int64_t I, H;
    NnRnnParams params; /* NAME.weight_ih, NAME.weight_hh, NAME.bias_ih, NAME.bias_hh */
    AgRnnNonlinearity nonlinearity;
} NnRnnCell;

typedef struct {
    bool no_bias;
    const NnInit *init; /* of weights and biases; NULL: uniform in +-1/sqrt(H), PyTorch's */
    AgRnnNonlinearity nonlinearity; /* AG_RNN_TANH or AG_RNN_RELU; a GRU's cell has no choice */
} NnRnnCellOptions;

/* A cell for inputs of size I and a state of size H; options NULL: all zero.
 * Fails (the set's error): nn_param's; a size below 0; another nonlinearity. */
NnRnnCell nn_rnn_cell_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                           const NnRnnCellOptions *options);

/* x [B, I] or I64 [B], h [B, H] -> h' [B, H].  Differentiable in x, h and parameters.
 * Fails (the tape's error): shapes, dtypes. */
AgVar nn_rnn_cell(const NnRnnCell *m, AgVar x, AgVar h);

/* ---- sequences ---- */

/* One layer in one direction, of a GRU too. */
typedef struct {
    NnRnnParams params; /* NAME.weight_ih_l0, .. */
    const char *scope;  /* "l0", "l0_reverse", below NAME */
} NnRnnLayer;

typedef struct {
    int num_layers;     /* L; 0 means 1 */
    bool bidirectional; /* D = 2: each layer has a second pass, from the last step to the first */
    bool no_bias;
    bool batch_first;   /* x and y are [B, T, ..] */
    double dropout;     /* of the outputs of all layers but the last, in training: of one layer
                           none */
    const NnInit *init; /* of weights and biases; NULL: uniform in +-1/sqrt(H), PyTorch's */
    bool composed;      /* run the textbook's loop of ops instead of the sequence op: slower, the
                           same result */
    AgRnnNonlinearity nonlinearity; /* AG_RNN_TANH or AG_RNN_RELU */
} NnRnnOptions;

/* A plain value; what it points to lives in the set, and there is nothing to free. */
typedef struct {
    int64_t I, H;
    int L, D;             /* layers, directions */
    NnRnnOptions options; /* init is not kept */
    NnRnnLayer *layer;    /* [L*D]: layer 0 forward, layer 0 reverse, layer 1 forward, ..; NULL if
                             the set failed */
    const char *name;
} NnRnn;

/* Parameters NAME.weight_ih_l0 [H, I], weight_hh_l0 [H, H], bias_ih_l0 [H], bias_hh_l0 [H], then
 * those of l0_reverse where bidirectional, then of l1, ..  Layers above the first have inputs of
 * size D*H.  Options NULL: all zero.
 * Fails (the set's error): nn_param's; a size or number of layers below 0; dropout outside 0..1;
 * another nonlinearity. */
NnRnn nn_rnn_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                  const NnRnnOptions *options);

typedef struct {
    AgVar y;  /* [T, B, D*H]: h of every step of the last layer, forward then reverse half */
    AgVar hn; /* [L*D, B, H]: the states after each pass, layer by layer, forward then reverse; of
                 a reverse pass the state after step 0 */
} NnRnnOutput;

/* x [T, B, I] (batch_first: [B, T, I]) -> y, hn.  x I64 [T, B] (batch_first: [B, T]) stands for
 * one-hot vectors of size I by the numbers of their 1, without the product that they would take
 * (autograd/sequence.h).  h0 [L*D, B, H]; {0}: zeros.  lengths [B], the
 * steps of each sequence, 0..T in any order; NULL: all T: beyond them x is not used, y is 0, hn
 * is the state at each sequence's own end, and reverse passes start there.  The array is read
 * during the call.  Differentiable, any number of times, in x, h0 and all parameters.
 * Fails (the tape's error, with scope; both results failed): x has not 3 axes or not size I; T is
 * 0; h0 of another shape; a length outside 0..T; dtypes differ; an entry of an I64 x outside
 * 0..I-1. */
NnRnnOutput nn_rnn(const NnRnn *m, AgVar x, AgVar h0, const int64_t *lengths);

#ifdef __cplusplus
}
#endif
#endif
