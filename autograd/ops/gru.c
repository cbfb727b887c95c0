/* gru: a layer of gated recurrent units over a whole sequence. */
#include "autograd/ops/rnn_layer.h"

enum { R_GATE, Z_GATE, N_GATE, GATES };

static bool shape(AgCall *c) {
    AgRecurrentSize size;
    return ag_recurrent_shape(c, GATES, &size);
}

/* x keeps the gates; kept: W_hn h + b_hn, which r multiplies. */
static void step(const AgRecurrent *o, const AgRnnStep *s) {
    (void)o;
    int64_t H = s->h.shape[1];
    Tensor x[GATES], y[GATES], b[GATES], b_y = ag_gate(&s->bias_hh, N_GATE, H);
    for (int k = 0; k < GATES; k++) {
        x[k] = ag_gate(&s->x, k, H);
        y[k] = ag_gate(&s->y, k, H);
        b[k] = ag_gate(&s->bias_ih, k, H);
    }
    tensor_gates(TENSOR_GRU, 16,
                 (Tensor[]){x[R_GATE], x[Z_GATE], x[N_GATE], y[R_GATE], y[Z_GATE], y[N_GATE],
                            b[R_GATE], b[Z_GATE], b[N_GATE], b_y, s->before, x[R_GATE], x[Z_GATE],
                            x[N_GATE], s->kept, s->h});
}

static bool back(const AgRecurrent *o, const AgRnnStep *s, const AgRnnBack *d) {
    (void)o;
    int64_t H = d->dh.shape[1];
    Tensor x[GATES], dx[GATES], dy[GATES];
    for (int k = 0; k < GATES; k++) {
        x[k] = ag_gate(&s->x, k, H);
        dx[k] = ag_gate(&d->dx, k, H);
        dy[k] = ag_gate(&d->dy, k, H);
    }
    tensor_gates(TENSOR_GRU_BACKWARD, 13,
                 (Tensor[]){x[R_GATE], x[Z_GATE], x[N_GATE], s->kept, s->before, d->dh, dx[R_GATE],
                            dx[Z_GATE], dx[N_GATE], dy[R_GATE], dy[Z_GATE], dy[N_GATE], d->dh});
    return true;
}

static AgVar compose_step(const AgRecurrent *o, AgVar x, AgVar y, AgVar h) {
    (void)o;
    AgVar r = ag_sigmoid(ag_add(ag_chunk(x, 1, GATES, R_GATE), ag_chunk(y, 1, GATES, R_GATE)));
    AgVar z = ag_sigmoid(ag_add(ag_chunk(x, 1, GATES, Z_GATE), ag_chunk(y, 1, GATES, Z_GATE)));
    AgVar y_n = ag_chunk(y, 1, GATES, N_GATE);
    AgVar n = ag_tanh(ag_add(ag_chunk(x, 1, GATES, N_GATE), ag_mul(r, y_n)));
    return ag_add(ag_mul(ag_affine(z, -1, 1), n), ag_mul(z, h));
}

static const AgRnnKind kind = {&ag_op_gru, GATES, N_GATE, true, step, back, compose_step};

static bool value(AgCall *c) { return ag_rnn_value(c, &kind); }
static bool vjp(AgVjp *v) { return ag_rnn_vjp(v, &kind); }
static bool compose(AgTape *t, int n_in, const AgVar *in, const void *options, AgVar *out) {
    AgRnnOutput result = ag_rnn_loop(t, n_in, in, options, &kind);
    out[0] = result.y;
    out[1] = result.hn;
    return ag_ok(result.hn);
}

#define CALL(parts, reverse, ...) AG_WITH(AgRecurrent, parts, reverse, __VA_ARGS__)
static const AgSample samples[] = {
    {"all inputs", 6, {AG_W(3, 2, 3), AG_W(6, 3), AG_W(6, 2), AG_W(6), AG_W(6), AG_W(2, 2)},
     CALL(AG_RNN_ALL, false, NULL), NULL},
    {"weights alone", 3, {AG_W(4, 2, 2), AG_W(9, 2), AG_W(9, 3)}, CALL(AG_RNN_BASE, false, NULL),
     NULL},
    {"reverse", 6, {AG_W(3, 2, 2), AG_W(6, 2), AG_W(6, 2), AG_W(6), AG_W(6), AG_W(2, 2)},
     CALL(AG_RNN_ALL, true, NULL), NULL},
    {"lengths", 6, {AG_W(4, 4, 2), AG_W(6, 2), AG_W(6, 2), AG_W(6), AG_W(6), AG_W(4, 2)},
     CALL(AG_RNN_ALL, false, AG_LENGTHS(2, 0, 4, 2)), NULL},
    {"lengths, reverse", 3, {AG_W(3, 3, 2), AG_W(6, 2), AG_W(6, 2)},
     CALL(AG_RNN_BASE, true, AG_LENGTHS(1, 3, 2)), NULL},
    {"longer than a vector", 5, {AG_W(2, 2, 1), AG_W(27, 1), AG_W(27, 9), AG_W(27), AG_W(27)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS, false, NULL), NULL},
    {"numbers", 6, {AG_NUMBERS(3, 4, 2), AG_W(6, 3), AG_W(6, 2), AG_W(6), AG_W(6), AG_W(2, 2)},
     CALL(AG_RNN_ALL, false, NULL), NULL},
    {"fewer steps than numbers, reverse", 3, {AG_NUMBERS(9, 3, 2), AG_W(6, 9), AG_W(6, 2)},
     CALL(AG_RNN_BASE, true, AG_LENGTHS(1, 3)), NULL},
    {"no sequences", 6, {AG_W(3, 0, 3), AG_W(6, 3), AG_W(6, 2), AG_W(6), AG_W(6), AG_W(0, 2)},
     CALL(AG_RNN_ALL, false, NULL), NULL},
    {"no inputs", 3, {AG_W(3, 2, 0), AG_W(6, 0), AG_W(6, 2)}, CALL(AG_RNN_BASE, false, NULL),
     NULL},
    {"no hidden units", 3, {AG_W(3, 2, 2), AG_W(0, 2), AG_W(0, 0)},
     CALL(AG_RNN_BASE, true, AG_LENGTHS(1, 2)), NULL},
    {0},
};
static const AgSample errors[] = {
    {"gates", 3, {AG_W(3, 2, 3), AG_W(7, 3), AG_W(6, 2)}, CALL(AG_RNN_BASE, false, NULL),
     "expected weight_ih [3H,I]"},
    {"hidden size", 3, {AG_W(3, 2, 3), AG_W(6, 3), AG_W(6, 3)}, CALL(AG_RNN_BASE, false, NULL),
     "expected weight_hh [6,2], got"},
    {"state", 4, {AG_W(3, 2, 3), AG_W(6, 3), AG_W(6, 2), AG_W(1, 2)},
     CALL(AG_RNN_BASE | AG_HAS(AG_H0), false, NULL), "expected h0 [2,2], got"},
    {"number", 3, {AG_IN_DTYPE("i64", 3, 4, 3, 2), AG_W(6, 3), AG_W(6, 2)},
     CALL(AG_RNN_BASE, false, NULL), "x at step 0 of sequence 0 is 3, outside 0..2"},
    {"dtypes", 3, {AG_IN_DTYPE("f32", 0, 1, 3, 2, 3), AG_W(6, 3), AG_W(6, 2)},
     CALL(AG_RNN_BASE, false, NULL), "mixed dtypes: x is f32, weight_ih is f64"},
    {"length", 3, {AG_W(3, 2, 3), AG_W(6, 3), AG_W(6, 2)},
     CALL(AG_RNN_BASE, false, AG_LENGTHS(-1, 3)), "lengths[0] is -1, outside 0..3"},
    {0},
};
const AgOp ag_op_gru = {"gru", "a layer of GRU over a sequence", "af*:ff", shape, value, vjp,
                        compose, samples, errors, false, NULL};

AgRnnOutput ag_gru(AgVar x, AgVar h0, const AgRnnWeights *w, const AgRnnOptions *options) {
    AgRecurrent o = {0};
    return ag_rnn_call(x, h0, w, options, &kind, &o, sizeof o);
}

AgRnnOutput ag_gru_composed(AgVar x, AgVar h0, const AgRnnWeights *w,
                            const AgRnnOptions *options) {
    AgRecurrent o = {0};
    return ag_rnn_call_composed(x, h0, w, options, &kind, &o);
}
