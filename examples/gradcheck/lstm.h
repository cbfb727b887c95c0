/* lstm.h -- an LSTM over time on plain arrays, with its gradient written by hand: what a kernel
 * outside any framework looks like.
 *
 * For each step t and row b, with W = w_ih [4H, I], R = w_hh [4H, H], the gates in the order
 * i, f, g, o:
 *     a = W x[t] + R h[t-1] + bias
 *     i = sigmoid(a_i), f = sigmoid(a_f), g = tanh(a_g), o = sigmoid(a_o)
 *     c[t] = f c[t-1] + i g
 *     h[t] = o tanh(c[t])
 * S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9, 1997; with the
 * forget gate of F. A. Gers and others, Learning to Forget, Neural Computation 12, 2000. */
#ifndef EXAMPLES_GRADCHECK_LSTM_H
#define EXAMPLES_GRADCHECK_LSTM_H
#include <stdint.h>

typedef struct {
    int64_t T, B, I, H;
} LstmSizes;

typedef struct {
    double *x;                  /* [T, B, I] */
    double *w_ih, *w_hh, *bias; /* [4H, I], [4H, H], [4H] */
    double *h0, *c0;            /* [B, H] */
    double *h, *c;              /* [T, B, H] */
} LstmArrays;

/* What a wrong kernel does; for the demonstration. */
typedef enum {
    LSTM_RIGHT,
    LSTM_GATE_ORDER,  /* writes the gradient of W in the order i, f, o, g */
    LSTM_LAST_WRITE,  /* sets the gradient of R at every step instead of adding to it */
    LSTM_CARRY_LOST,  /* forgets what c[t] receives from step t+1 */
    LSTM_TANH_SLOPE   /* differentiates g as if it were a sigmoid */
} LstmMistake;

/* Sets h, c and gates [T, B, 4H]. */
void lstm_forward(LstmSizes n, const LstmArrays *v, double *gates);
/* From dL/dh and dL/dc in d: sets the gradients of x, w_ih, w_hh, bias, h0, c0 in d.
 * row [4H] is scratch. */
void lstm_backward(LstmSizes n, const LstmArrays *v, const double *gates, const LstmArrays *d,
                   double *row, LstmMistake mistake);

#endif
