/* vanishing.h -- how much of a gradient is left after many steps back.
 *
 * dh_T/dh_s says how the last state of a recurrent layer depends on an earlier one.  It is a
 * product of T - s matrices, one a step, so its norm falls or grows about as a power of T - s:
 * S. Hochreiter, Y. Bengio, P. Frasconi and J. Schmidhuber, Gradient Flow in Recurrent Nets,
 * 2001; R. Pascanu, T. Mikolov and Y. Bengio, On the Difficulty of Training Recurrent Neural
 * Networks, ICML 2013. */
#ifndef EXAMPLES_BPTT_VANISHING_H
#define EXAMPLES_BPTT_VANISHING_H
#include "nn/gru.h"
#include "nn/lstm.h"
#include "nn/rnn.h"
#include "tensor/file.h"

typedef enum {
    BPTT_RNN,
    BPTT_GRU,
    BPTT_LSTM,
    BPTT_LSTM_FORGET, /* with a forget bias of 1 */
    BPTT_LAYERS,      /* how many there are */
} BpttLayerKind;

extern const char *const bptt_layer_name[BPTT_LAYERS];

typedef struct {
    BpttLayerKind kind;
    NnRnn rnn; /* the one of its kind is made */
    NnGru gru;
    NnLstm lstm;
} BpttLayer;

typedef struct {
    AgVar h, c; /* [1, B, H]; c of an LSTM only */
} BpttState;

/* A layer with PyTorch's default initial values (uniform in +-1/sqrt(H)) but for the forget
 * bias. */
BpttLayer bptt_layer_make(NnParamSet *set, BpttLayerKind kind, int64_t I, int64_t H);
/* One step: x [1, B, I] and the state before -> the state after. */
BpttState bptt_layer_step(const BpttLayer *m, AgVar x, BpttState before);

typedef struct {
    int64_t T, I, H;
    uint64_t seed; /* of the parameters and of x, which is standard normal */
} BpttSizes;

/* norm[s] = the Frobenius norm of the Jacobian matrix dh_T/dh_s [H, H], s = 0..T; in an LSTM c_s
 * is held.  In F64: smaller numbers than F32 has are to be seen.
 * Fails (false): out of memory. */
bool bptt_norms(BpttLayerKind kind, const BpttSizes *sizes, double *norm, TensorError *error);

#endif
