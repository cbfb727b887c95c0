/* scratch.h -- an LSTM language model written out gate by gate, as the tutorials do, and the
 * same model of the library's layers.
 *
 * For X [T, B, V], characters as one-hot vectors, at each of the T steps, with X that step's
 * [B, V] and * elementwise:
 *
 *     I  = sigmoid(X W_xi + H W_hi + b_i)        input gate         [B, H]
 *     F  = sigmoid(X W_xf + H W_hf + b_f)        forget gate
 *     O  = sigmoid(X W_xo + H W_ho + b_o)        output gate
 *     C~ = tanh(X W_xc + H W_hc + b_c)           candidate
 *     C  = F * C + I * C~                        cell
 *     H  = O * tanh(C)                           hidden state
 *     Y  = H W_hq + b_q                          logits of the next character [B, V]
 *
 * A. Zhang, Z. Lipton, M. Li and A. Smola, Dive into Deep Learning, the section on LSTM. */
#ifndef EXAMPLES_LSTM_FROM_SCRATCH_SCRATCH_H
#define EXAMPLES_LSTM_FROM_SCRATCH_SCRATCH_H
#include "nn/linear.h"
#include "nn/lstm.h"

/* W_x. [V, H], W_h. [H, H], b_. [H]; W_hq [H, V], b_q [V]. */
typedef struct {
    NnParam *W_xi, *W_hi, *b_i;
    NnParam *W_xf, *W_hf, *b_f;
    NnParam *W_xo, *W_ho, *b_o;
    NnParam *W_xc, *W_hc, *b_c;
    NnParam *W_hq, *b_q;
} ScratchModel;

typedef struct {
    AgVar h, c; /* [B, H] */
} ScratchState;

typedef struct {
    AgVar y;      /* [T, B, H]: H of every step */
    AgVar logits; /* [T, B, V] */
    ScratchState state;
} ScratchOutput;

/* Weights normal with standard deviation 0.01, biases 0. */
ScratchModel scratch_model_make(NnParamSet *set, int64_t V, int64_t H);
ScratchOutput scratch_forward(const ScratchModel *m, AgVar X, ScratchState s);

/* The same by nn_lstm and nn_linear. */
typedef struct {
    NnLstm lstm;
    NnLinear out;
} LibraryModel;

/* A model in another set (of the same dtype) with the same numbers as m, in the library's order:
 *     weight_ih = W_xi^T, W_xf^T, W_xc^T, W_xo^T below each other     [4H, V]
 *     weight_hh = W_hi^T, W_hf^T, W_hc^T, W_ho^T                      [4H, H]
 *     bias_ih   = b_i, b_f, b_c, b_o                                  [4H]
 *     bias_hh   = 0, frozen: only the sum of both biases counts, and two that learn would move
 *                 it by two steps where the one from scratch takes one
 *     out       = W_hq^T, b_q */
LibraryModel library_model_make(NnParamSet *set, const ScratchModel *m);
ScratchOutput library_forward(const LibraryModel *m, AgVar X, ScratchState s);

/* The largest difference between the parameters of the two. */
double scratch_library_difference(const ScratchModel *m, const LibraryModel *same);

#endif
