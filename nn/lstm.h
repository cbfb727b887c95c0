/* lstm.h -- long short-term memory: one step (torch.nn.LSTMCell) and sequences (torch.nn.LSTM).
 *
 * One step, for x [B, I] and the state h, c [B, H], s the logistic function, * elementwise:
 *
 *     i = s(x W_ii^T + b_ii + h W_hi^T + b_hi)         input gate
 *     f = s(x W_if^T + b_if + h W_hf^T + b_hf)         forget gate
 *     g = tanh(x W_ig^T + b_ig + h W_hg^T + b_hg)      candidate
 *     o = s(x W_io^T + b_io + h W_ho^T + b_ho)         output gate
 *     c' = f * c + i * g                               [B, H]
 *     h' = o * tanh(c')                                [B, H]
 *
 * The four gates of a parameter stand below each other in the order i, f, g, o: weight_ih
 * [4H, I] is W_ii, W_if, W_ig, W_io.  Names, order and both biases are PyTorch's, so its
 * state_dict fits.
 * S. Hochreiter and J. Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997; the
 * forget gate: F. Gers, J. Schmidhuber and F. Cummins, Learning to forget, Neural Computation
 * 12(10), 2000. */
#ifndef NN_LSTM_H
#define NN_LSTM_H
#include "nn/linear.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    AgVar h, c;
} NnLstmState;

/* ---- one step ---- */

/* A plain value; its parameters live in the set, and there is nothing to free. */
typedef struct {
    NnLinear ih; /* NAME.weight_ih [4H, I], NAME.bias_ih [4H] */
    NnLinear hh; /* NAME.weight_hh [4H, H], NAME.bias_hh [4H] */
} NnLstmCell;

typedef struct {
    bool no_bias;
    bool has_forget_bias; /* start with b_if = forget_bias and b_hf = 0, so that their sum is it:
                             above 0, the cell remembers from the first step of training on (R.
                             Jozefowicz, W. Zaremba and I. Sutskever, ICML 2015) */
    double forget_bias;
    const NnInit *init;   /* of all parameters; NULL: uniform in +-1/sqrt(H), PyTorch's default */
} NnLstmCellOptions;

/* A cell for inputs of size I and a state of size H; options NULL: all zero.
 * Fails (the set's error): nn_param's; a size below 0; a forget bias without biases. */
NnLstmCell nn_lstm_cell_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                             const NnLstmCellOptions *options);

/* x [B, I], s.h and s.c [B, H] -> h', c' [B, H].  Differentiable in x, h, c and parameters.
 * Fails (the tape's error; both results failed): shapes, dtypes. */
NnLstmState nn_lstm_cell(const NnLstmCell *m, AgVar x, NnLstmState s);

/* ---- sequences ---- */

/* One layer in one direction. */
typedef struct {
    NnLinear ih;       /* weight_ih_l0 [4H, its inputs], bias_ih_l0 [4H] */
    NnLinear hh;       /* weight_hh_l0 [4H, H], bias_hh_l0 [4H] */
    const char *scope; /* "l0", "l0_reverse", below NAME */
} NnLstmLayer;

/* A plain value; what it points to lives in the set, and there is nothing to free. */
typedef struct {
    int64_t I, H;
    int L, D; /* layers, directions */
    bool batch_first;
    double dropout;
    NnLstmLayer *layer; /* [L*D]: layer 0 forward, layer 0 reverse, layer 1 forward, ..; NULL if
                           the set failed */
    const char *name;
} NnLstm;

typedef struct {
    int num_layers;       /* L; 0 means 1 */
    bool bidirectional;   /* D = 2: each layer has a second pass, from the last step to the first */
    bool no_bias;
    bool batch_first;     /* x and y are [B, T, ..] */
    double dropout;       /* of the outputs of all layers but the last, in training */
    bool has_forget_bias; /* as of the cell, in all layers and directions */
    double forget_bias;
    const NnInit *init;   /* of all parameters; NULL: uniform in +-1/sqrt(H), PyTorch's default */
} NnLstmOptions;

/* Parameters NAME.weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, then those of l0_reverse
 * where bidirectional, then of l1, ..  Layers above the first have inputs of size D H.
 * Options NULL: all zero.
 * Fails (the set's error): nn_param's; a size or number of layers below 0; dropout outside
 * 0..1; a forget bias without biases. */
NnLstm nn_lstm_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                    const NnLstmOptions *options);

typedef struct {
    AgVar y;      /* [T, B, D*H]: h of every step of the last layer, forward then reverse half */
    AgVar hn, cn; /* [L*D, B, H]: the states after each pass, layer by layer, forward then reverse;
                     of a reverse pass the state after step 0 */
} NnLstmOutput;

/* x [T, B, I] (batch_first: [B, T, I]) -> y, hn, cn.  s gives h0 and c0, both [L*D, B, H];
 * NULL: zeros.  Differentiable, any number of times, in x, h0, c0 and all parameters.
 *
 * The input products of a pass are one product for the whole sequence; a step is then one
 * product with W_hh and the gates.
 * Fails (the tape's error, with scope and step; all results failed): x has not 3 axes or not
 * size I; T is 0; h0 or c0 of another shape; dtypes differ. */
NnLstmOutput nn_lstm(const NnLstm *m, AgVar x, const NnLstmState *s);

#ifdef __cplusplus
}
#endif
#endif
