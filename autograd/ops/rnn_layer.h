/* rnn_layer.h -- what gru and rnn share: a layer whose state is h alone, and whose step takes
 * x = W_ih x_t and y = W_hh h. */
#ifndef AUTOGRAD_OPS_RNN_LAYER_H
#define AUTOGRAD_OPS_RNN_LAYER_H
#include "autograd/ops/recurrent.h"

/* The rows of one step. */
typedef struct {
    Tensor x, y;               /* [rows, gates H]; in a kind that adds y is in x */
    Tensor bias_ih, bias_hh;   /* likewise, all rows the same; b_hh of joined gates is in bias_ih */
    Tensor before, h;          /* [rows, H]: h before the step and after it */
    Tensor kept;               /* [rows, H], in a kind that keeps */
} AgRnnStep;

/* Going back: gradients of x, y and h. */
typedef struct {
    Tensor dx, dy, dh;
} AgRnnBack;

typedef struct {
    const AgOp *op;
    int gates;
    int joined; /* of so many of them, the first, only x + y matters; all: the kind adds y to x
                   from the start, and dy is dx */
    bool keeps; /* back needs x and kept as step leaves them, and not h after the step */
    /* Sets h. */
    void (*step)(const AgRecurrent *o, const AgRnnStep *s);
    /* From dh of h after the step: dx and dy, and in dh what goes past both to the h before; false:
     * nothing does. */
    bool (*back)(const AgRecurrent *o, const AgRnnStep *s, const AgRnnBack *d);
    /* The step once more, in ops; x and y with their biases. */
    AgVar (*compose)(const AgRecurrent *o, AgVar x, AgVar y, AgVar h);
} AgRnnKind;

bool ag_rnn_value(AgCall *c, const AgRnnKind *kind);
bool ag_rnn_vjp(AgVjp *v, const AgRnnKind *kind);
/* The loop of ops over inputs as the op has them. */
AgRnnOutput ag_rnn_loop(AgTape *t, int n_in, const AgVar *in, const AgRecurrent *o,
                        const AgRnnKind *kind);

/* The public functions: options of o_size bytes begin with *o, of which parts and lengths are
 * still to be set. */
AgRnnOutput ag_rnn_call(AgVar x, AgVar h0, const AgRnnWeights *w, const AgRnnOptions *options,
                        const AgRnnKind *kind, AgRecurrent *o, size_t o_size);
AgRnnOutput ag_rnn_call_composed(AgVar x, AgVar h0, const AgRnnWeights *w,
                                 const AgRnnOptions *options, const AgRnnKind *kind,
                                 AgRecurrent *o);

#endif
