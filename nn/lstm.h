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
 * state_dict fits.  What the options change in these equations, and the papers they come from,
 * stands at ag_lstm (autograd/sequence.h); docs/lstm.md derives the gradients.
 * S. Hochreiter and J. Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997; the
 * forget gate: F. Gers, J. Schmidhuber and F. Cummins, Learning to forget, Neural Computation
 * 12(10), 2000. */
#ifndef NN_LSTM_H
#define NN_LSTM_H
#include "autograd/sequence.h"
#include "nn/param.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    AgVar h, c;
} NnLstmState;

/* ---- one step ---- */

/* What one layer in one direction, or a cell, learns: NULL where the options leave it out.  H' is
 * proj_size, or H without a projection; coupled gates make 4H 3H, and 3H 2H. */
typedef struct {
    NnParam *weight_ih;        /* [4H, its inputs] */
    NnParam *weight_hh;        /* [4H, H'] */
    NnParam *bias_ih;          /* [4H] */
    NnParam *bias_hh;          /* [4H] */
    NnParam *weight_hr;        /* [H', H] */
    NnParam *weight_peephole;  /* [3H]: p_i, p_f, p_o; starts as the weights do */
    NnParam *layer_norm_ih;    /* [4H], starts at 1 */
    NnParam *layer_norm_hh;    /* [4H], starts at 1 */
    NnParam *layer_norm_c;     /* [H], starts at 1 */
    NnParam *layer_norm_c_bias; /* [H], starts at 0 */
} NnLstmParams;

/* A plain value; its parameters live in the set, and there is nothing to free. */
typedef struct {
    int64_t I, H;
    NnLstmParams params; /* NAME.weight_ih, NAME.weight_hh, .. */
    AgLstmOptions run; /* of the options, those that ag_lstm takes: coupled, zoneout, .. */
} NnLstmCell;

typedef struct {
    bool no_bias;
    bool has_forget_bias; /* start with b_if = forget_bias and b_hf = 0, so that their sum is it:
                             above 0, the cell remembers from the first step of training on (R.
                             Jozefowicz, W. Zaremba and I. Sutskever, ICML 2015) */
    double forget_bias;
    const NnInit *init;   /* of weights and biases; NULL: uniform in +-1/sqrt(H), PyTorch's */
    int64_t proj_size;    /* h is W_hr times the cell's output, of this size; 0: no projection */
    bool peepholes;       /* the gates see c */
    bool coupled;         /* f = 1 - i: no forget gate */
    bool layer_norm;      /* of W_ih x, W_hh h and c */
    double layer_norm_eps; /* 0 means 1e-5 */
    double zoneout_h, zoneout_c; /* probability that an element keeps its old value */
} NnLstmCellOptions;

/* A cell for inputs of size I and a state of size H; options NULL: all zero.
 * Fails (the set's error): nn_param's; a size below 0; proj_size outside 0..H-1; a forget bias
 * without biases or with coupled gates, or one other than 0 without has_forget_bias; a probability
 * outside 0..1; a negative layer_norm_eps, or one without layer_norm. */
NnLstmCell nn_lstm_cell_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                             const NnLstmCellOptions *options);

/* x [B, I] or I64 [B], s.h [B, H'], s.c [B, H] -> h', c'.  Both states have to be there: zeros are
 * ag_full's.  Differentiable in x, h, c and parameters.
 * Fails (the tape's error; both results failed): shapes, dtypes. */
NnLstmState nn_lstm_cell(const NnLstmCell *m, AgVar x, NnLstmState s);

/* ---- sequences ---- */

/* One layer in one direction. */
typedef struct {
    NnLstmParams params; /* NAME.weight_ih_l0, .. */
    const char *scope;   /* "l0", "l0_reverse", below NAME */
} NnLstmLayer;

typedef struct {
    int num_layers;       /* L; 0 means 1 (A. Graves, A. Mohamed and G. Hinton, Speech Recognition
                             with Deep Recurrent Neural Networks, ICASSP 2013) */
    bool bidirectional;   /* D = 2: each layer has a second pass, from the last step to the first
                             (M. Schuster and K. Paliwal, Bidirectional Recurrent Neural Networks,
                             IEEE Transactions on Signal Processing 45(11), 1997) */
    bool no_bias;
    bool batch_first;     /* x and y are [B, T, ..] */
    double dropout;       /* of the outputs of all layers but the last, in training: of one layer
                             none (W. Zaremba, I. Sutskever and O. Vinyals, Recurrent Neural
                             Network Regularization, arXiv:1409.2329, 2014) */
    bool has_forget_bias; /* as of the cell, in all layers and directions */
    double forget_bias;
    const NnInit *init;   /* of weights and biases; NULL: uniform in +-1/sqrt(H), PyTorch's */
    int64_t proj_size;    /* as of the cell, like the next six */
    bool peepholes;
    bool coupled;
    bool layer_norm;
    double layer_norm_eps;
    double zoneout_h, zoneout_c;
    /* Variational dropout: one mask for all steps of a sequence (Y. Gal and Z. Ghahramani, A
     * Theoretically Grounded Application of Dropout in Recurrent Neural Networks, NIPS 2016). */
    bool locked_dropout;   /* `dropout` between the layers is of this kind, too */
    double input_dropout;  /* of x, which has to be vectors */
    double hidden_dropout; /* of h on its way to the next step's gates, in every layer */
    double output_dropout; /* of y */
    /* Of the elements of every weight_hh, one mask for the whole call (S. Merity, N. Keskar and
     * R. Socher, Regularizing and Optimizing LSTM Language Models, ICLR 2018). */
    double weight_drop;
    bool composed;         /* run the textbook's loop of ops instead of the sequence op: slower,
                              the same result */
} NnLstmOptions;

/* A plain value; what it points to lives in the set, and there is nothing to free. */
typedef struct {
    int64_t I, H;
    int L, D;             /* layers, directions */
    NnLstmOptions options; /* init is not kept */
    NnLstmLayer *layer;   /* [L*D]: layer 0 forward, layer 0 reverse, layer 1 forward, ..; NULL if
                             the set failed */
    const char *name;
} NnLstm;

/* Parameters NAME.weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0,
 * weight_peephole_l0, layer_norm_ih_l0, .., those there are, then those of l0_reverse where
 * bidirectional, then of l1, ..  Layers above the first have inputs of size D H'.
 * Options NULL: all zero.
 * Fails (the set's error): nn_param's; a number of layers below 0; a probability outside 0..1;
 * locked_dropout without dropout; what nn_lstm_cell_make refuses. */
NnLstm nn_lstm_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                    const NnLstmOptions *options);

typedef struct {
    AgVar y;  /* [T, B, D*H']: h of every step of the last layer, forward then reverse half */
    AgVar hn; /* [L*D, B, H']: the state after each pass, by layer, forward then reverse; .. */
    AgVar cn; /* [L*D, B, H]:  .. of a reverse pass the state after step 0 */
} NnLstmOutput;

/* x [T, B, I] (batch_first: [B, T, I]) -> y, hn, cn.  x I64 [T, B] (batch_first: [B, T]) stands
 * for one-hot vectors of size I by the numbers of their 1, without the product that they would take
 * (autograd/sequence.h).  s gives h0 [L*D, B, H'] and c0 [L*D, B, H], both; NULL: zeros.  lengths
 * [B], the steps of each sequence, 0..T in any order; NULL: all T: beyond them x is not used, y is
 * 0, hn and cn are the states at each sequence's own end, and reverse passes start there.  The
 * array is read during the call.  Differentiable, any number of times, in x, h0, c0 and all
 * parameters.
 * Fails (the tape's error, with scope; all results failed): x has not 3 axes or not size I; T is
 * 0; h0 or c0 missing or of another shape; a length outside 0..T; dtypes differ; an entry of an I64
 * x outside 0..I-1; an I64 x with input_dropout. */
NnLstmOutput nn_lstm(const NnLstm *m, AgVar x, const NnLstmState *s, const int64_t *lengths);

#ifdef __cplusplus
}
#endif
#endif
