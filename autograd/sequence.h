/* sequence.h -- operations over whole sequences: recurrent layers, a linear recurrence and a
 * convolution in time.  What ag.h says about tapes, errors and handles holds here.
 *
 * Sequences are time-major: x [T, B, I] holds T steps of B sequences; ag_transpose(x, 0, 1) of a
 * [B, T, I] serves as well.  H' is the size of the hidden state h: H, or the projection's.
 *
 * A recurrent op runs one layer in one direction as one operation: one matrix product for the
 * inputs of all steps, then for each step one product and one pass over the gates (with options
 * several); going back the same for each step, then three large products for the weights and x.
 * docs/lstm.md derives and explains all of it.  Each has a twin, ag_.._composed, which is the same
 * function written as the textbook's loop of ops: it is what the fast one is tested against, what
 * gives second derivatives, and what to read first.
 *
 * x may also be I64 [T, B]: each entry is the number, 0 to I-1, of the 1 in a one-hot vector of I
 * elements, as of ag_one_hot(x, I, dtype), whose results and gradients of the weights it has.  W_ih
 * x_t is then a column of weight_ih, looked up without a product, as an embedding is; there is no
 * gradient of x.
 *
 * lengths [B], where given, are the steps that each sequence has, 0 to T, in any order.  Beyond
 * them x is not used (it may hold NaN, or any number), y is 0 and the state stays: hn is the state
 * after each sequence's own last step, and with reverse, which goes from the last step to the
 * first, each starts at its own end.  Finished sequences leave the batch: the work is that of the
 * steps there are.  The array is read during the call.
 *
 * The same row of the batch gives the same bits of y, hn and cn whatever the other rows are. */
#ifndef AUTOGRAD_SEQUENCE_H
#define AUTOGRAD_SEQUENCE_H
#include "autograd/ag.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- long short-term memory ---------------------------------------------------------------- */

/* What an LSTM layer learns, under PyTorch's names where it has them.  The gates stand below each
 * other in the order i, f, g, o (coupled: i, g, o, and 3H instead of 4H).  Variables left {0}
 * switch their part off; only weight_ih and weight_hh have to be there. */
typedef struct {
    AgVar weight_ih;         /* [4H, I] */
    AgVar weight_hh;         /* [4H, H'] */
    AgVar bias_ih, bias_hh;  /* [4H]; both or none */
    AgVar weight_hr;         /* [H', H]: the projection; without it H' = H */
    AgVar weight_peephole;   /* [3H]: p_i, p_f, p_o (coupled: [2H], p_i, p_o) */
    AgVar layer_norm_ih;     /* [4H]: the gain of the norm of W_ih x; this one, the next and .. */
    AgVar layer_norm_hh;     /* [4H]: .. of W_hh h .. */
    AgVar layer_norm_c;      /* [H]:  .. of c come together or not at all */
    AgVar layer_norm_c_bias; /* [H]; {0}: none */
} AgLstmWeights;

typedef struct {
    const int64_t *lengths; /* [B]; NULL: all T */
    bool reverse;           /* from the last step to the first */
    bool coupled;           /* f = 1 - i */
    double hidden_dropout;  /* probability: one mask for all steps on h in W_hh h (training) */
    double zoneout_h;       /* probability that an element of h, .. */
    double zoneout_c;       /* .. of c, keeps its old value in a step (training; otherwise the mean
                               of both outcomes) */
    double layer_norm_eps;  /* added to the variance; 0 means 1e-5 */
} AgLstmOptions;

typedef struct {
    AgVar y;      /* [T, B, H']: h after every step */
    AgVar hn, cn; /* [B, H'], [B, H]: the state after the last step */
} AgLstmOutput;

/* x [T, B, I] or I64 [T, B], h0 [B, H'] and c0 [B, H] ({0}: zeros) -> y, hn, cn.  For each step, *
 * elementwise and s the logistic function:
 *
 *     a = W_ih x + b_ih + W_hh (m * h) + b_hh      [4H]; a_i, a_f, a_g, a_o its quarters
 *     i = s(a_i + p_i * c)                         input gate
 *     f = s(a_f + p_f * c), or 1 - i if coupled    forget gate
 *     g = tanh(a_g)                                candidate
 *     c~ = f * c + i * g
 *     o = s(a_o + p_o * c~)                        output gate
 *     h~ = W_hr (o * tanh(N(c~)))
 *     c' = z_c * c + (1 - z_c) * c~,   h' = z_h * h + (1 - z_h) * h~
 *
 * without p where there are no peepholes, without W_hr where there is no projection; m is the mask
 * of hidden_dropout (0 or 1 / (1 - p)), the z those of zoneout (1 or 0; in evaluation p).  With
 * layer normalisation W_ih x and W_hh h are LN(W_ih x) * layer_norm_ih and LN(W_hh h) *
 * layer_norm_hh, each over all 4H of a step's row, and N(c) = LN(c) * layer_norm_c +
 * layer_norm_c_bias; else N(c) = c.
 *
 * h0 and c0 may be {0} each by itself; options NULL: all zero.  Differentiable in x, h0, c0 and all
 * weights; docs/lstm.md derives the backward pass.  Second derivatives go through ag_lstm_composed.
 * Fails: shapes, dtypes; T = 0; a length outside 0..T; an entry of an I64 x outside 0..I-1 (within
 * the lengths); one bias alone; not all gains of the layer norm, or its bias alone; a probability
 * outside 0..1; layer_norm_eps < 0.
 *
 * S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997.
 * Forget gate: F. Gers, J. Schmidhuber and F. Cummins, Learning to Forget, Neural Computation
 *   12(10), 2000.
 * Peepholes: F. Gers, N. Schraudolph and J. Schmidhuber, Learning Precise Timing with LSTM
 *   Recurrent Networks, JMLR 3, 2002.
 * Projection: H. Sak, A. Senior and F. Beaufays, Long Short-Term Memory Recurrent Neural Network
 *   Architectures for Large Scale Acoustic Modeling, Interspeech 2014.
 * Coupled gates: K. Greff and others, LSTM: A Search Space Odyssey, IEEE TNNLS 28(10), 2017.
 * Layer normalisation: J. L. Ba, J. R. Kiros and G. E. Hinton, arXiv:1607.06450, 2016.
 * Dropout of h: Y. Gal and Z. Ghahramani, A Theoretically Grounded Application of Dropout in
 *   Recurrent Neural Networks, NIPS 2016.
 * Zoneout: D. Krueger and others, Zoneout: Regularizing RNNs by Randomly Preserving Hidden
 *   Activations, ICLR 2017. */
AgLstmOutput ag_lstm(AgVar x, AgVar h0, AgVar c0, const AgLstmWeights *w,
                     const AgLstmOptions *options);

/* The variables of one step: i, f, g, o [B, H], the state that it hands on, c [B, H] and h [B, H']
 * (c' and h' above), and the sums before the activations, a [B, 4H], without the peepholes' part.
 * Coupled: a [B, 3H], and f is 1 - i. */
typedef struct {
    AgVar a, i, f, g, o, c, h;
} AgLstmStep;

/* The same as a loop of ops: the reference.  steps, where not NULL, is [T]: steps[t] is what the
 * step that reads x[t] computed, with reverse too, also of sequences that have no such step.  A
 * call that fails may leave it as it was. */
AgLstmOutput ag_lstm_composed(AgVar x, AgVar h0, AgVar c0, const AgLstmWeights *w,
                              const AgLstmOptions *options, AgLstmStep *steps);

/* ---- gated recurrent unit -------------------------------------------------------------------- */

/* Rows in the order r, z, n. */
typedef struct {
    AgVar weight_ih;        /* [3H, I] */
    AgVar weight_hh;        /* [3H, H] */
    AgVar bias_ih, bias_hh; /* [3H]; both or none ({0}) */
} AgRnnWeights;

typedef struct {
    const int64_t *lengths; /* [B]; NULL: all T */
    bool reverse;           /* from the last step to the first */
} AgRnnOptions;

typedef struct {
    AgVar y;  /* [T, B, H]: h after every step */
    AgVar hn; /* [B, H]: h after the last step */
} AgRnnOutput;

/* x [T, B, I] or I64 [T, B], h0 [B, H] ({0}: zeros) -> y, hn.  For each step:
 *
 *     r = s(W_ir x + b_ir + W_hr h + b_hr)         reset gate
 *     z = s(W_iz x + b_iz + W_hz h + b_hz)         update gate
 *     n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
 *     h' = (1 - z) * n + z * h
 *
 * as torch.nn.GRU has it, with r after the product.  options NULL: all zero.  Differentiable in x,
 * h0 and all weights, twice through ag_gru_composed.
 * Fails: shapes, dtypes; T = 0; a length outside 0..T; an entry of an I64 x outside 0..I-1; one
 * bias alone.
 * K. Cho and others, Learning Phrase Representations using RNN Encoder-Decoder for Statistical
 * Machine Translation, EMNLP 2014; this form of n: the paper's first version,
 * arXiv:1406.1078v1. */
AgRnnOutput ag_gru(AgVar x, AgVar h0, const AgRnnWeights *w, const AgRnnOptions *options);
AgRnnOutput ag_gru_composed(AgVar x, AgVar h0, const AgRnnWeights *w, const AgRnnOptions *options);

/* ---- plain recurrence ------------------------------------------------------------------------ */

typedef enum { AG_RNN_TANH, AG_RNN_RELU } AgRnnNonlinearity;

/* The same with weights [H, I] and [H, H] and one line a step, torch.nn.RNN:
 *     h' = tanh(W_ih x + b_ih + W_hh h + b_hh),  or max(0, ..).
 * Fails: as ag_gru; another nonlinearity.
 * J. L. Elman, Finding Structure in Time, Cognitive Science 14, 1990. */
AgRnnOutput ag_rnn(AgVar x, AgVar h0, const AgRnnWeights *w, AgRnnNonlinearity nonlinearity,
                   const AgRnnOptions *options);
AgRnnOutput ag_rnn_composed(AgVar x, AgVar h0, const AgRnnWeights *w,
                            AgRnnNonlinearity nonlinearity, const AgRnnOptions *options);

/* ---- linear recurrence ----------------------------------------------------------------------- */

/* h_t = a_t h_{t-1} + b_t, elementwise over axis 0: what diagonal state-space models and gated
 * linear recurrences run on.  a and b broadcast to one shape [T, ..]; an a of size 1 on axis 0, or
 * without that axis, is the same in all steps.  h0 [..] is the state before the first step, of a
 * step's shape or broadcasting to it; {0}: zeros.  -> h [T, ..], the state after every step.
 * reverse: from the last step to the first, h_t = a_t h_{t+1} + b_t, with h0 entering at the last.
 *
 * Gradient: with G_t = g_t + a_{t+1} G_{t+1}, the same recurrence the other way,
 *     b  G_t      a  G_t h_{t-1}      h0  a_1 G_1
 * (reverse: with t+1 and t-1 exchanged, and h0 a_T G_T) summed back where broadcast.  It can be
 * differentiated again, to any order.
 * T = 0 is legal: h is empty, and no gradient goes to h0.
 * Fails: a and b do not broadcast, or have no axis; h0 does not broadcast to a step; mixed dtypes.
 *
 * One step after the other: a parallel prefix sum (Blelloch; for these models Martin and Cundy)
 * takes log T rounds for about twice the arithmetic, which pays where there are more processors
 * than columns.  Here the columns of a row fill the vectors, and each element of a, b and h is
 * read or written once.
 * G. E. Blelloch, Prefix Sums and Their Applications, CMU-CS-90-190, 1990, section 1.4.
 * E. Martin and C. Cundy, Parallelizing Linear Recurrent Neural Nets Over Sequence Length,
 *   ICLR 2018. */
AgVar ag_linear_scan(AgVar a, AgVar b, AgVar h0, bool reverse);

/* ---- causal convolution ---------------------------------------------------------------------- */

typedef struct {
    int64_t dilation; /* steps between two taps; 0 means 1 */
    int64_t groups;   /* 0 means 1 */
} AgConv1dOptions;

/* x [T, B, I], weight [H, I / groups, width], bias [H] or {0} -> y [T, B, H],
 *     y_t = bias + sum over k of W_k x_{t - (width - 1 - k) dilation},   W_k = weight[.., k]
 * x before the first step being 0: y_t sees x_t, through the last tap, and what was before, never
 * what comes.  As torch.nn.Conv1d's, the taps are not reversed (a cross-correlation): y is what it
 * gives for x padded by (width - 1) dilation zeros on the left, with [B, I, T] there for [T, B, I]
 * here.  With groups, block j of H / groups channels of y sees only block j of I / groups channels
 * of x; groups = I is the depthwise convolution.  Any view serves as x.  options NULL: all zero.
 *
 * Gradient: x  sum over k of W_k^T g_{t + (width - 1 - k) dilation};
 *           weight[.., k]  sum over t and rows of g_t x_{t - (width - 1 - k) dilation}^T;
 *           bias  g summed over T and B.  It can be differentiated again, to any order.
 * Fails: shapes, mixed dtypes, a width of 0, groups that do not divide I and H, dilation < 0,
 * groups < 0.
 * Dilated and causal: A. van den Oord and others, WaveNet: A Generative Model for Raw Audio,
 * arXiv:1609.03499, 2016. */
AgVar ag_conv1d(AgVar x, AgVar weight, AgVar bias, const AgConv1dOptions *options);

#ifdef __cplusplus
}
#endif
#endif
