/* vanishing.c -- see vanishing.h. */
#include "examples/bptt/vanishing.h"

#include <stdlib.h>

const char *const bptt_layer_name[BPTT_LAYERS] = {"RNN", "GRU", "LSTM", "LSTM, b_f = 1"};

BpttLayer bptt_layer_make(NnParamSet *set, BpttLayerKind kind, int64_t I, int64_t H) {
    BpttLayer m = {.kind = kind};
    NnLstmOptions forget = {.has_forget_bias = true, .forget_bias = 1};
    switch (kind) {
    case BPTT_RNN: m.rnn = nn_rnn_make(set, "rnn", I, H, NULL); break;
    case BPTT_GRU: m.gru = nn_gru_make(set, "gru", I, H, NULL); break;
    case BPTT_LSTM: m.lstm = nn_lstm_make(set, "lstm", I, H, NULL); break;
    case BPTT_LSTM_FORGET: m.lstm = nn_lstm_make(set, "lstm", I, H, &forget); break;
    case BPTT_LAYERS: break;
    }
    return m;
}

BpttState bptt_layer_step(const BpttLayer *m, AgVar x, BpttState before) {
    if (m->kind == BPTT_RNN) return (BpttState){.h = nn_rnn(&m->rnn, x, before.h, NULL).hn};
    if (m->kind == BPTT_GRU) return (BpttState){.h = nn_gru(&m->gru, x, before.h, NULL).hn};
    NnLstmState s = {before.h, before.c};
    NnLstmOutput out = nn_lstm(&m->lstm, x, &s, NULL);
    return (BpttState){out.hn, out.cn};
}

/* x [T, 1, I]: one sequence. */
static AgVar random_sequence(AgTape *t, const BpttSizes *z) {
    const int64_t shape[] = {z->T, 1, z->I};
    Tensor x = tensor_wrap(ag_tape_alloc(t, (size_t)(z->T * z->I) * sizeof(double)), TENSOR_F64,
                           3, shape);
    if (!ag_tape_ok(t)) return (AgVar){t, 0, 0};
    tensor_rng_fill_normal(&x, (TensorRngKey){.seed = z->seed, .draw = 1}, 0, 1);
    return ag_input(t, &x);
}

/* h[0..T], each [1, H, H]: H copies of one sequence are a batch.  One call a step, so that every
 * h_s is a variable. */
static void run_steps(AgTape *t, const BpttLayer *m, const BpttSizes *z, AgVar *h) {
    const int64_t copies[] = {z->T, z->H, z->I}, shape[] = {1, z->H, z->H};
    AgVar x = ag_expand(random_sequence(t, z), 3, copies);
    BpttState s = {ag_full(t, TENSOR_F64, 3, shape, 0), ag_full(t, TENSOR_F64, 3, shape, 0)};
    h[0] = s.h;
    for (int64_t step = 1; step <= z->T; step++) {
        s = bptt_layer_step(m, ag_narrow(x, 0, step - 1, 1), s);
        h[step] = s.h;
    }
}

/* Row b of the seed is the unit vector b, so row b of the gradient with respect to h_s is
 * d h_T[b] / d h_s: one pass back gives the whole matrix for every s. */
static bool all_norms(AgTape *t, const BpttLayer *m, const BpttSizes *z, double *norm) {
    int n = (int)z->T + 1;
    AgVar *h = ag_tape_alloc(t, 2 * (size_t)n * sizeof *h), *gradient = h + n;
    if (!h) return false;
    run_steps(t, m, z, h);
    AgVar unit = ag_one_hot(ag_arange(t, TENSOR_I64, 0, (double)z->H, 1), z->H, TENSOR_F64);
    if (!ag_grad(h[z->T], ag_unsqueeze(unit, 0), n, h, gradient, false)) return false;
    for (int s = 0; s < n; s++) norm[s] = ag_item(ag_norm(gradient[s], 2, AG_ALL_AXES, false));
    return ag_tape_ok(t);
}

bool bptt_norms(BpttLayerKind kind, const BpttSizes *sizes, double *norm, TensorError *error) {
    NnParamSet *set = nn_params_new(TENSOR_F64, sizes->seed);
    BpttLayer m = bptt_layer_make(set, kind, sizes->I, sizes->H);
    AgTape *t = ag_tape_new();
    bool ok = t && all_norms(t, &m, sizes, norm);
    if (!ok) tensor_error_set(error, "%s", t ? ag_tape_error(t) : "out of memory");
    if (t) ag_tape_free(t);
    nn_params_free(set);
    return ok;
}
