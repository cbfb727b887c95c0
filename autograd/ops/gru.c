/* gru: a layer of gated recurrent units over a whole sequence. */
#include "autograd/ops/rnn_layer.h"

enum { R_GATE, Z_GATE, N_GATE, GATES };

static bool shape(AgCall *c) {
    AgRecurrentSize size;
    return ag_recurrent_shape(c, GATES, &size);
}

/* kept: W_hn h + b_hn, which r multiplies. */
static void step(const AgRecurrent *o, const Tensor *x, const Tensor *y, const Tensor *kept,
                 const Tensor *h) {
    (void)o;
    int64_t H = h->shape[1];
    Tensor r = ag_gate(x, R_GATE, H), z = ag_gate(x, Z_GATE, H), n = ag_gate(x, N_GATE, H);
    Tensor y_r = ag_gate(y, R_GATE, H), y_z = ag_gate(y, Z_GATE, H), y_n = ag_gate(y, N_GATE, H);
    tensor_gates(TENSOR_GRU, 11, (Tensor[]){r, z, n, y_r, y_z, y_n, *h, r, z, n, *h});
    tensor_convert(kept, &y_n);
}

static bool back(const AgRecurrent *o, const Tensor *x, const Tensor *kept, const Tensor *h,
                 const Tensor *dh, const Tensor *dx, const Tensor *dy) {
    (void)o;
    int64_t H = h->shape[1];
    Tensor r = ag_gate(x, R_GATE, H), z = ag_gate(x, Z_GATE, H), n = ag_gate(x, N_GATE, H);
    Tensor dr = ag_gate(dx, R_GATE, H), dz = ag_gate(dx, Z_GATE, H), dn = ag_gate(dx, N_GATE, H);
    Tensor dy_n = ag_gate(dy, N_GATE, H);
    tensor_gates(TENSOR_GRU_BACKWARD, 11,
                 (Tensor[]){r, z, n, *kept, *h, *dh, dr, dz, dn, dy_n, *dh});
    Tensor dx_rz = tensor_narrow(dx, 1, 0, N_GATE * H), dy_rz = tensor_narrow(dy, 1, 0, N_GATE * H);
    tensor_convert(&dy_rz, &dx_rz);
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

static const AgRnnKind kind = {&ag_op_gru, GATES, true, false, step, back, compose_step};

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
    {"length", 3, {AG_W(3, 2, 3), AG_W(6, 3), AG_W(6, 2)},
     CALL(AG_RNN_BASE, false, AG_LENGTHS(-1, 3)), "lengths[0] is -1, outside 0..3"},
    {0},
};
const AgOp ag_op_gru = {"gru", "a layer of GRU over a sequence", "f*:ff", shape, value, vjp,
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
