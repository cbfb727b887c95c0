/* rnn: a layer of Elman's network over a whole sequence, forward and back by hand, and the same as
 * a loop of ops. */
#include "autograd/ops/recurrent.h"

typedef struct {
    AgRecurrent base;
    AgRnnNonlinearity nonlinearity;
} Options;

/* ---- composed ---- */

static AgRnnOutput loop(AgTape *t, int n_in, const AgVar *in, const Options *options) {
    const AgRecurrent *o = &options->base;
    AgLoop l;
    if (!ag_loop_begin(&l, "rnn", t, n_in, in, 1, o)) return (AgRnnOutput){{t, 0, 0}, {t, 0, 0}};
    AgVar w_hh = ag_part(o, in, AG_W_HH), b_hh = ag_part(o, in, AG_B_HH);
    AgVar ax = ag_linear(l.x, ag_part(o, in, AG_W_IH), ag_part(o, in, AG_B_IH));
    AgVar h = ag_loop_initial(&l, in, AG_H0, l.size.H);
    for (int64_t n = 0; n < l.size.T; n++) {
        int64_t step = ag_loop_time(&l, n);
        AgVar a = ag_add(ag_select(ax, 0, step), ag_linear(h, w_hh, b_hh));
        AgVar after = options->nonlinearity == AG_RNN_RELU ? ag_relu(a) : ag_tanh(a);
        h = ag_loop_state(&l, step, h, after);
        ag_loop_put(&l, step, after);
    }
    return (AgRnnOutput){ag_loop_end(&l), h};
}

/* ---- public functions ---- */

AgRnnOutput ag_rnn_composed(AgVar x, AgVar h0, const AgRnnWeights *w,
                            AgRnnNonlinearity nonlinearity, const AgRnnOptions *options) {
    AgVar in[AG_ROLES];
    Options o = {.nonlinearity = nonlinearity};
    int n = ag_rnn_inputs(x, h0, w, options, in, &o.base);
    return n ? loop(in[0].tape, n, in, &o) : (AgRnnOutput){ag_none(x), ag_none(x)};
}

AgRnnOutput ag_rnn(AgVar x, AgVar h0, const AgRnnWeights *w, AgRnnNonlinearity nonlinearity,
                   const AgRnnOptions *options) {
    return ag_rnn_composed(x, h0, w, nonlinearity, options);
}
