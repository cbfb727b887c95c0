/* gru.h -- gated recurrent unit: one step (torch.nn.GRUCell) and sequences (torch.nn.GRU).
 *
 * One step, for x [B, I] and the state h [B, H], s the logistic function, * elementwise:
 *
 *     r = s(x W_ir^T + b_ir + h W_hr^T + b_hr)         reset gate
 *     z = s(x W_iz^T + b_iz + h W_hz^T + b_hz)         update gate
 *     q = h W_hn^T + b_hn
 *     n = tanh(x W_in^T + b_in + r * q)                candidate
 *     h' = (1 - z) * n + z * h                         [B, H]
 *
 * The three parts of a parameter stand below each other in the order r, z, n: weight_ih [3H, I]
 * is W_ir, W_iz, W_in.  Names, order, both biases and r after the product (not before it, as in
 * the published paper, where b_hn could not be told from b_in) are PyTorch's, so its state_dict
 * fits.
 *
 * Gradient of one step, with g = dL/dh', by the sums inside the activations:
 *
 *     d_n = g * (1 - z) * (1 - n^2)
 *     d_z = g * (h - n) * z * (1 - z)
 *     d_r = d_n * q * r * (1 - r)
 *     a = [d_r, d_z, d_n],   u = [d_r, d_z, r * d_n]   [B, 3H]
 *
 * a W_ih for x, g * z + u W_hh for h, a^T x for W_ih, u^T h for W_hh, a and u summed over the
 * batch for b_ih and b_hh.
 * K. Cho and others, Learning Phrase Representations using RNN Encoder-Decoder for Statistical
 * Machine Translation, EMNLP 2014; this form of n: the paper's first version,
 * arXiv:1406.1078v1.  Layers, directions and the dropout between layers: the papers that
 * nn/lstm.h names. */
#ifndef NN_GRU_H
#define NN_GRU_H
#include "nn/rnn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- one step ---- */

/* A plain value; its parameters live in the set, and there is nothing to free. */
typedef struct {
    int64_t I, H;
    NnRnnParams params; /* NAME.weight_ih [3H, I], weight_hh [3H, H], bias_ih, bias_hh [3H] */
} NnGruCell;

/* A cell for inputs of size I and a state of size H; options NULL: all zero.
 * Fails (the set's error): nn_param's; a size below 0; a nonlinearity. */
NnGruCell nn_gru_cell_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                           const NnRnnCellOptions *options);

/* x [B, I] or I64 [B], h [B, H] -> h' [B, H].  Differentiable in x, h and parameters.
 * Fails (the tape's error): shapes, dtypes. */
AgVar nn_gru_cell(const NnGruCell *m, AgVar x, AgVar h);

/* ---- sequences ---- */

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
} NnGruOptions;

/* A plain value; what it points to lives in the set, and there is nothing to free. */
typedef struct {
    int64_t I, H;
    int L, D;             /* layers, directions */
    NnGruOptions options; /* init is not kept */
    NnRnnLayer *layer;    /* [L*D]: layer 0 forward, layer 0 reverse, layer 1 forward, ..; NULL if
                             the set failed */
    const char *name;
} NnGru;

/* Parameters NAME.weight_ih_l0 [3H, I], weight_hh_l0 [3H, H], bias_ih_l0 [3H], bias_hh_l0 [3H],
 * then those of l0_reverse where bidirectional, then of l1, ..  Layers above the first have
 * inputs of size D*H.  Options NULL: all zero.
 * Fails (the set's error): nn_param's; a size or number of layers below 0; dropout outside
 * 0..1. */
NnGru nn_gru_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                  const NnGruOptions *options);

/* x [T, B, I] (batch_first: [B, T, I]), or I64 without the last axis -> y, hn, exactly as nn_rnn
 * (rnn.h) has them: h0 [L*D, B, H] or {0}, lengths [B] or NULL, derivatives and what fails. */
NnRnnOutput nn_gru(const NnGru *m, AgVar x, AgVar h0, const int64_t *lengths);

#ifdef __cplusplus
}
#endif
#endif
