/* gru: a layer of gated recurrent units over a whole sequence, forward and back by hand, and the
 * same as a loop of ops. */
#include "autograd/ops/recurrent.h"

#define GATES 3

/* ---- composed ---- */

/* One step from ax = W_ih x + b_ih [B, 3H]. */
static AgVar one_step(AgVar ax, AgVar ah, AgVar h) {
    AgVar r = ag_sigmoid(ag_add(ag_chunk(ax, 1, GATES, 0), ag_chunk(ah, 1, GATES, 0)));
    AgVar z = ag_sigmoid(ag_add(ag_chunk(ax, 1, GATES, 1), ag_chunk(ah, 1, GATES, 1)));
    AgVar n = ag_tanh(ag_add(ag_chunk(ax, 1, GATES, 2), ag_mul(r, ag_chunk(ah, 1, GATES, 2))));
    return ag_add(ag_mul(ag_affine(z, -1, 1), n), ag_mul(z, h));
}

static AgRnnOutput loop(AgTape *t, int n_in, const AgVar *in, const AgRecurrent *o) {
    AgLoop l;
    if (!ag_loop_begin(&l, "gru", t, n_in, in, GATES, o))
        return (AgRnnOutput){{t, 0, 0}, {t, 0, 0}};
    AgVar w_hh = ag_part(o, in, AG_W_HH), b_hh = ag_part(o, in, AG_B_HH);
    AgVar ax = ag_linear(l.x, ag_part(o, in, AG_W_IH), ag_part(o, in, AG_B_IH));
    AgVar h = ag_loop_initial(&l, in, AG_H0, l.size.H);
    for (int64_t n = 0; n < l.size.T; n++) {
        int64_t step = ag_loop_time(&l, n);
        AgVar after = one_step(ag_select(ax, 0, step), ag_linear(h, w_hh, b_hh), h);
        h = ag_loop_state(&l, step, h, after);
        ag_loop_put(&l, step, after);
    }
    return (AgRnnOutput){ag_loop_end(&l), h};
}

/* ---- public functions ---- */

AgRnnOutput ag_gru_composed(AgVar x, AgVar h0, const AgRnnWeights *w, const AgRnnOptions *options) {
    AgVar in[AG_ROLES];
    AgRecurrent o;
    int n = ag_rnn_inputs(x, h0, w, options, in, &o);
    return n ? loop(in[0].tape, n, in, &o) : (AgRnnOutput){ag_none(x), ag_none(x)};
}

AgRnnOutput ag_gru(AgVar x, AgVar h0, const AgRnnWeights *w, const AgRnnOptions *options) {
    return ag_gru_composed(x, h0, w, options);
}
