/* rnn_layer.h -- what gru and rnn share: a layer whose state is h alone, and whose step takes the
 * sums W_ih x + b_ih and W_hh h + b_hh. */
#ifndef AUTOGRAD_OPS_RNN_LAYER_H
#define AUTOGRAD_OPS_RNN_LAYER_H
#include "autograd/ops/recurrent.h"

typedef struct {
    const AgOp *op;
    int gates;
    bool keeps;      /* step leaves something in `kept` */
    bool same_sums;  /* only x + y of the sums x and y matters: their gradients are equal */
    /* From x, y [rows, gates H] and h [rows, H] of some rows: the new h in h; in x and kept
     * [rows, H] what back needs. */
    void (*step)(const AgRecurrent *o, const Tensor *x, const Tensor *y, const Tensor *kept,
                 const Tensor *h);
    /* From x and kept, h before the step and the gradient dh of h after it: dx, dy (which is dx
     * where same_sums), and in dh what goes past both to the h before; false: nothing does. */
    bool (*back)(const AgRecurrent *o, const Tensor *x, const Tensor *kept, const Tensor *h,
                 const Tensor *dh, const Tensor *dx, const Tensor *dy);
    /* The step once more, in ops. */
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
