/* convert.h -- recurrent weights between this library and Keras or ONNX.
 *
 * Our parameters are PyTorch's, name by name and number by number: its state_dict needs no
 * conversion (state_dict.h).  Keras and ONNX compute the same functions from the same numbers in
 * another order.  The functions below copy one layer in one direction:
 *
 *     NnKerasWeights w = {.kernel = kernel, .recurrent_kernel = recurrent_kernel, .bias = bias};
 *     if (!nn_lstm_from_keras(&lstm.layer[0].params, &w, &error)) return report(error.message);
 *
 * The tensors are the caller's, of any strides: read from a safetensors file, say, or wrapped
 * around a runtime's memory.  Files of Keras (.h5, .keras) and of ONNX are not read here.
 *
 * ---- what stands where ----
 *
 *                PyTorch, ours       Keras                       ONNX
 *     LSTM gates i f g o             i f c o                     i o f c
 *     GRU gates  r z n               z r h                       z r h
 *     inputs     weight_ih [4H, I]   kernel [I, 4H]              W [D, 4H, I]
 *     state      weight_hh [4H, H]   recurrent_kernel [H, 4H]    R [D, 4H, H]
 *     biases     bias_ih [4H],       bias [4H] (GRU:             B [D, 8H]:
 *                bias_hh [4H]        [2, 3H], input first)       input first
 *     peepholes  [3H]: i f o         none                        P [D, 3H]: i o f
 *     projection weight_hr           none                        none
 *     directions _reverse            Bidirectional: two layers,  axis 0, forward first
 *                                    forward first
 *     x          [T, B, I] or        [B, T, I]                   [T, B, I] (layout 0) or
 *                [B, T, I]                                       [B, T, I] (layout 1)
 *     y          [T, B, D H] or      [B, T, D H], with           [T, D, B, H] (layout 0) or
 *                [B, T, D H]         merge_mode concat           [B, T, D, H] (layout 1)
 *
 * g, c, n and h of the gates are names of one thing, the candidate.  4H is 3H in a GRU and H in a
 * plain RNN, 8H is 6H and 2H.  H here is the size of h: a projection, which would make it another,
 * has no place in Keras or ONNX.
 *
 * Others, for those who convert by hand:
 *     Flax     LSTMCell: one kernel a gate, ii if ig io [I, H] without and hi hf hg ho [H, H] with
 *              a bias [H].  GRUCell: ir iz in with, hr hz without, hn with a bias.  It is our GRU.
 *     oneDNN   LSTM i f c o, peepholes i f o; one bias.  GRU u r o, where u is z, and r before the
 *              product; linear-before-reset GRU: ours, with biases u r o u' (u' is b_hn).
 *     DyNet    VanillaLSTMBuilder: i f o g in one matrix [4H, I], one [4H, H] and one bias; the
 *              option forget_bias is added to the forget gate beyond what the bias holds.
 *     kann     LSTM: i, f, o, g one after the other, each W [H, I], U [H, H] and b [H].  Its GRU
 *              has r before the product.
 *
 * ---- what has to hold ----
 *
 * The activations are the other side's defaults: sigmoid for gates, tanh for the rest; of a plain
 * RNN tanh or relu, as the layer's nonlinearity says.  No clip (ONNX).  A GRU has its reset gate
 * after the product, reset_after=True in Keras and linear_before_reset=1 in ONNX: the other kind
 * is another function, which no weights make ours, and so the attribute has to be given.
 * Dropout and zoneout are no weights and not exchanged; zoneout acts in evaluation, too, and
 * nothing on the other side does the same.
 *
 * Biases that one side has not are zero there: a copy to the side that has them writes zeros, a
 * copy to the side that has not is refused, as is all else that would be lost.  Likewise
 * peepholes.
 *
 * Round trips: with ONNX both ways exact.  Keras' LSTM and SimpleRNN have one bias: it becomes
 * bias_ih, bias_hh is 0, and back it is bias_ih + bias_hh, rounded once; Keras' own weights come
 * back as they were.
 *
 * Every function fails (false, one line in *error, nothing written): the layer was not made; a
 * shape that does not fit (both are named); a dtype that is not F32 or F64, or another than the
 * layer's without convert_dtype; a tensor to write that overlaps itself; what is said above.
 *
 * Keras: https://keras.io/api/layers/recurrent_layers; ONNX: the operators LSTM, GRU and RNN of
 * https://onnx.ai/onnx/operators. */
#ifndef NN_CONVERT_H
#define NN_CONVERT_H
#include "nn/lstm.h"
#include "nn/rnn.h"
#include "tensor/file.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Keras ---- */

/* What get_weights() of one layer gives, in this order.  Bidirectional has two such layers:
 * forward_layer, then backward_layer. */
typedef struct {
    Tensor kernel;           /* LSTM [I, 4H], GRU [I, 3H], SimpleRNN [I, H] */
    Tensor recurrent_kernel; /* LSTM [H, 4H], GRU [H, 3H], SimpleRNN [H, H] */
    Tensor bias;             /* LSTM [4H], GRU [2, 3H], SimpleRNN [H]; {0} or nil: use_bias=False */
    bool reset_after;        /* of a GRU, where it has to be true */
    bool convert_dtype;      /* between F32 and F64, rounded to nearest */
} NnKerasWeights;

/* Into our parameters.  Fails also: peepholes, a projection, coupled gates or layer normalisation
 * in the layer, which Keras has not. */
bool nn_lstm_from_keras(const NnLstmParams *p, const NnKerasWeights *w, TensorError *error);
bool nn_gru_from_keras(const NnRnnParams *p, const NnKerasWeights *w, TensorError *error);
bool nn_rnn_from_keras(const NnRnnParams *p, const NnKerasWeights *w, TensorError *error);

/* From our parameters into the tensors of w.  Fails: likewise. */
bool nn_lstm_to_keras(const NnLstmParams *p, const NnKerasWeights *w, TensorError *error);
bool nn_gru_to_keras(const NnRnnParams *p, const NnKerasWeights *w, TensorError *error);
bool nn_rnn_to_keras(const NnRnnParams *p, const NnKerasWeights *w, TensorError *error);

/* ---- ONNX ---- */

/* The inputs W, R, B and P of a node, with all directions, and two attributes of it. */
typedef struct {
    Tensor w;     /* LSTM [D, 4H, I], GRU [D, 3H, I], RNN [D, H, I] */
    Tensor r;     /* LSTM [D, 4H, H], GRU [D, 3H, H], RNN [D, H, H] */
    Tensor b;     /* LSTM [D, 8H], GRU [D, 6H], RNN [D, 2H]; {0} or nil: none */
    Tensor p;     /* LSTM [D, 3H]; {0} or nil: none */
    int direction; /* 0..D-1: which of them is copied; the others are left alone */
    bool linear_before_reset; /* of a GRU, where it has to be true */
    /* Of an LSTM: the gates i and f are coupled.  It has to say what the layer's option `coupled`
     * says: both compute i and take f = 1 - i (the operator's text leaves open which of the two is
     * computed; ONNX Runtime does this).  The rows of f in W, R, B and P are there but unused:
     * they are not read, and written as 0. */
    bool input_forget;
    bool convert_dtype; /* between F32 and F64, rounded to nearest */
} NnOnnxWeights;

/* Into our parameters.  Fails also: direction outside 0..D-1; a projection or layer normalisation
 * in the layer, which ONNX has not. */
bool nn_lstm_from_onnx(const NnLstmParams *p, const NnOnnxWeights *w, TensorError *error);
bool nn_gru_from_onnx(const NnRnnParams *p, const NnOnnxWeights *w, TensorError *error);
bool nn_rnn_from_onnx(const NnRnnParams *p, const NnOnnxWeights *w, TensorError *error);

/* From our parameters into the tensors of w.  Fails: likewise. */
bool nn_lstm_to_onnx(const NnLstmParams *p, const NnOnnxWeights *w, TensorError *error);
bool nn_gru_to_onnx(const NnRnnParams *p, const NnOnnxWeights *w, TensorError *error);
bool nn_rnn_to_onnx(const NnRnnParams *p, const NnOnnxWeights *w, TensorError *error);

#ifdef __cplusplus
}
#endif
#endif
