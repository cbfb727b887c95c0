/* rnn: a layer of Elman's network over a whole sequence. */
#include "autograd/ops/rnn_layer.h"

typedef struct {
    AgRecurrent base;
    AgRnnNonlinearity nonlinearity;
} Options;

static AgRnnNonlinearity nonlinearity_of(const AgRecurrent *o) {
    return ((const Options *)o)->nonlinearity;
}

static bool shape(AgCall *c) {
    AgRecurrentSize size;
    AgRnnNonlinearity f = nonlinearity_of(c->options);
    if (f != AG_RNN_TANH && f != AG_RNN_RELU) return ag_call_fail(c, "nonlinearity %d", (int)f);
    return ag_recurrent_shape(c, 1, &size);
}

static void step(const AgRecurrent *o, const AgRnnStep *s) {
    TensorGates f = nonlinearity_of(o) == AG_RNN_RELU ? TENSOR_RNN_RELU : TENSOR_RNN_TANH;
    tensor_gates(f, 3, (Tensor[]){s->x, s->bias_ih, s->h});
}

static bool back(const AgRecurrent *o, const AgRnnStep *s, const AgRnnBack *d) {
    bool relu = nonlinearity_of(o) == AG_RNN_RELU;
    TensorGates f = relu ? TENSOR_RNN_RELU_BACKWARD : TENSOR_RNN_TANH_BACKWARD;
    tensor_gates(f, 3, (Tensor[]){s->h, d->dh, d->dx});
    return false;
}

static AgVar compose_step(const AgRecurrent *o, AgVar x, AgVar y, AgVar h) {
    (void)h;
    AgVar a = ag_add(x, y);
    AgRnnNonlinearity f = nonlinearity_of(o);
    if (f == AG_RNN_TANH) return ag_tanh(a);
    return f == AG_RNN_RELU ? ag_relu(a) : ag_fail(a.tape, "rnn: nonlinearity %d", (int)f);
}

static const AgRnnKind kind = {&ag_op_rnn, 1, 1, false, step, back, compose_step};

static bool value(AgCall *c) { return ag_rnn_value(c, &kind); }
static bool vjp(AgVjp *v) { return ag_rnn_vjp(v, &kind); }
static bool compose(AgTape *t, int n_in, const AgVar *in, const void *options, AgVar *out) {
    AgRnnOutput result = ag_rnn_loop(t, n_in, in, options, &kind);
    out[0] = result.y;
    out[1] = result.hn;
    return ag_ok(result.hn);
}

#define CALL(parts, reverse, lengths, f) AG_WITH(Options, {parts, reverse, lengths}, f)
static const AgSample samples[] = {
    {"tanh", 6, {AG_W(3, 2, 3), AG_W(2, 3), AG_W(2, 2), AG_W(2), AG_W(2), AG_W(2, 2)},
     CALL(AG_RNN_ALL, false, NULL, AG_RNN_TANH), NULL},
    {"relu", 6, {AG_W(3, 2, 3), AG_W(2, 3), AG_W(2, 2), AG_W(2), AG_W(2), AG_W(2, 2)},
     CALL(AG_RNN_ALL, false, NULL, AG_RNN_RELU), NULL},
    {"weights alone", 3, {AG_W(4, 2, 2), AG_W(3, 2), AG_W(3, 3)},
     CALL(AG_RNN_BASE, false, NULL, AG_RNN_TANH), NULL},
    {"reverse", 6, {AG_W(3, 2, 2), AG_W(2, 2), AG_W(2, 2), AG_W(2), AG_W(2), AG_W(2, 2)},
     CALL(AG_RNN_ALL, true, NULL, AG_RNN_TANH), NULL},
    {"lengths", 6, {AG_W(4, 4, 2), AG_W(2, 2), AG_W(2, 2), AG_W(2), AG_W(2), AG_W(4, 2)},
     CALL(AG_RNN_ALL, false, AG_LENGTHS(2, 0, 4, 2), AG_RNN_TANH), NULL},
    {"lengths, reverse", 3, {AG_W(3, 3, 2), AG_W(2, 2), AG_W(2, 2)},
     CALL(AG_RNN_BASE, true, AG_LENGTHS(1, 3, 2), AG_RNN_RELU), NULL},
    {"longer than a vector", 5, {AG_W(2, 2, 1), AG_W(17, 1), AG_W(17, 17), AG_W(17), AG_W(17)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS, false, NULL, AG_RNN_TANH), NULL},
    {"numbers", 6, {AG_NUMBERS(3, 4, 2), AG_W(2, 3), AG_W(2, 2), AG_W(2), AG_W(2), AG_W(2, 2)},
     CALL(AG_RNN_ALL, false, NULL, AG_RNN_TANH), NULL},
    {"fewer steps than numbers, reverse", 3, {AG_NUMBERS(9, 3, 2), AG_W(2, 9), AG_W(2, 2)},
     CALL(AG_RNN_BASE, true, AG_LENGTHS(1, 3), AG_RNN_RELU), NULL},
    {"no sequences", 6, {AG_W(3, 0, 3), AG_W(2, 3), AG_W(2, 2), AG_W(2), AG_W(2), AG_W(0, 2)},
     CALL(AG_RNN_ALL, false, NULL, AG_RNN_TANH), NULL},
    {"no inputs", 3, {AG_W(3, 2, 0), AG_W(2, 0), AG_W(2, 2)},
     CALL(AG_RNN_BASE, false, NULL, AG_RNN_TANH), NULL},
    {"no hidden units", 3, {AG_W(3, 2, 2), AG_W(0, 2), AG_W(0, 0)},
     CALL(AG_RNN_BASE, true, AG_LENGTHS(1, 2), AG_RNN_TANH), NULL},
    {0},
};
static const AgSample errors[] = {
    {"input size", 3, {AG_W(3, 2, 3), AG_W(2, 2), AG_W(2, 2)},
     CALL(AG_RNN_BASE, false, NULL, AG_RNN_TANH), "expected weight_ih [2,3], got"},
    {"hidden size", 3, {AG_W(3, 2, 3), AG_W(2, 3), AG_W(2, 3)},
     CALL(AG_RNN_BASE, false, NULL, AG_RNN_TANH), "expected weight_hh [2,2], got"},
    {"nonlinearity", 3, {AG_W(3, 2, 3), AG_W(2, 3), AG_W(2, 2)},
     CALL(AG_RNN_BASE, false, NULL, (AgRnnNonlinearity)7), "nonlinearity 7"},
    {"number", 3, {AG_IN_DTYPE("i64", 3, 4, 3, 2), AG_W(2, 3), AG_W(2, 2)},
     CALL(AG_RNN_BASE, false, NULL, AG_RNN_TANH), "x at step 0 of sequence 0 is 3, outside 0..2"},
    {"length", 3, {AG_W(3, 2, 3), AG_W(2, 3), AG_W(2, 2)},
     CALL(AG_RNN_BASE, false, AG_LENGTHS(4, 3), AG_RNN_TANH), "lengths[0] is 4, outside 0..3"},
    {0},
};
const AgOp ag_op_rnn = {"rnn", "a plain recurrent layer over a sequence", "af*:ff", shape, value,
                        vjp, compose, samples, errors, false, NULL};

AgRnnOutput ag_rnn(AgVar x, AgVar h0, const AgRnnWeights *w, AgRnnNonlinearity nonlinearity,
                   const AgRnnOptions *options) {
    Options o = {.nonlinearity = nonlinearity};
    return ag_rnn_call(x, h0, w, options, &kind, &o.base, sizeof o);
}

AgRnnOutput ag_rnn_composed(AgVar x, AgVar h0, const AgRnnWeights *w,
                            AgRnnNonlinearity nonlinearity, const AgRnnOptions *options) {
    Options o = {.nonlinearity = nonlinearity};
    return ag_rnn_call_composed(x, h0, w, options, &kind, &o.base);
}
