/* lstm.c -- see lstm.h. */
#include "nn/lstm.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "nn/layer.h"
#include "nn/param_set.h"
#include "tensor/kernels.h"

/* ---- making ---- */

/* b_if = forget_bias, b_hf = 0 */
static void set_forget_bias(NnParam *bias_ih, NnParam *bias_hh, int64_t H, double forget_bias) {
    if (nn_param_is_nil(bias_ih) || nn_param_is_nil(bias_hh)) return;
    Tensor b_if = tensor_narrow(&bias_ih->value, 0, H, H);
    Tensor b_hf = tensor_narrow(&bias_hh->value, 0, H, H);
    tensor_fill(&b_if, forget_bias);
    tensor_fill(&b_hf, 0);
    nn_param_touch(bias_ih);
    nn_param_touch(bias_hh);
}

/* NAME.weight_ihSUFFIX and its three companions. */
static void make_gates(NnParamSet *set, const char *name, const char *suffix, int64_t I, int64_t H,
                       const NnLstmCellOptions *o, NnLinear *ih, NnLinear *hh) {
    const int64_t shape_ih[] = {4 * H, I}, shape_hh[] = {4 * H, H};
    NnInit init = nn_layer_init(o->init, H);
    ih->weight = nn_param(set, init, 2, shape_ih, "%s%sweight_ih%s", NN_PREFIX(name), suffix);
    hh->weight = nn_param(set, init, 2, shape_hh, "%s%sweight_hh%s", NN_PREFIX(name), suffix);
    ih->bias = hh->bias = NULL;
    if (o->no_bias) return;
    ih->bias = nn_param(set, init, 1, shape_ih, "%s%sbias_ih%s", NN_PREFIX(name), suffix);
    hh->bias = nn_param(set, init, 1, shape_hh, "%s%sbias_hh%s", NN_PREFIX(name), suffix);
    if (o->has_forget_bias) set_forget_bias(ih->bias, hh->bias, H, o->forget_bias);
}

/* Beyond this 8 H is no int64_t, and no memory holds it. */
static const int64_t max_size = INT64_MAX / 16;

static bool check_sizes(NnParamSet *set, const char *name, int64_t I, int64_t H,
                        const NnLstmCellOptions *o) {
    if (I < 0 || H < 0 || I > max_size || H > max_size)
        nn_params_fail(set, "lstm %.200s: input size %lld, hidden size %lld", name, (long long)I,
                       (long long)H);
    else if (o->no_bias && o->has_forget_bias)
        nn_params_fail(set, "lstm %.200s: a forget bias, but no biases", name);
    return nn_params_ok(set);
}

/* A layer of a set that failed: its use on a tape records the set's error. */
static NnLinear nil_linear(const NnParamSet *set) {
    return (NnLinear){nn_params_at(set, -1), NULL};
}

NnLstmCell nn_lstm_cell_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                             const NnLstmCellOptions *options) {
    NnLstmCellOptions o = options ? *options : (NnLstmCellOptions){0};
    NnLstmCell m = {nil_linear(set), nil_linear(set)};
    if (check_sizes(set, name, I, H, &o)) make_gates(set, name, "", I, H, &o, &m.ih, &m.hh);
    return m;
}

static bool check_options(NnParamSet *set, const char *name, const NnLstmOptions *o) {
    if (o->num_layers < 0 || o->num_layers > INT_MAX / 2)
        nn_params_fail(set, "lstm %.200s: %d layers", name, o->num_layers);
    else if (!(o->dropout >= 0 && o->dropout <= 1))
        nn_params_fail(set, "lstm %.200s: dropout %g is not in 0..1", name, o->dropout);
    return nn_params_ok(set);
}

static void make_layer(NnParamSet *set, const NnLstm *m, int l, int d,
                       const NnLstmCellOptions *o) {
    NnLstmLayer *layer = &m->layer[l * m->D + d];
    char suffix[32];
    snprintf(suffix, sizeof suffix, "_l%d%s", l, d ? "_reverse" : "");
    make_gates(set, m->name, suffix, l ? m->D * m->H : m->I, m->H, o, &layer->ih, &layer->hh);
    char *scope = nn_params_alloc(set, strlen(suffix));
    if (scope) memcpy(scope, suffix + 1, strlen(suffix));
    layer->scope = scope ? scope : "";
}

NnLstm nn_lstm_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                    const NnLstmOptions *options) {
    NnLstmOptions o = options ? *options : (NnLstmOptions){0};
    NnLstmCellOptions cell = {o.no_bias, o.has_forget_bias, o.forget_bias, o.init};
    NnLstm m = {.I = I, .H = H, .L = o.num_layers ? o.num_layers : 1, .D = o.bidirectional ? 2 : 1,
                .batch_first = o.batch_first, .dropout = o.dropout, .name = ""};
    if (!check_sizes(set, name, I, H, &cell) || !check_options(set, name, &o)) return m;
    char *copy = nn_params_alloc(set, strlen(name) + 1);
    NnLstmLayer *layer = nn_params_alloc(set, (size_t)(m.L * m.D) * sizeof *layer);
    if (!copy || !layer) return m;
    m.name = memcpy(copy, name, strlen(name) + 1);
    m.layer = layer;
    for (int l = 0; l < m.L && nn_params_ok(set); l++)
        for (int d = 0; d < m.D; d++) make_layer(set, &m, l, d, &cell);
    if (!nn_params_ok(set)) m.layer = NULL;
    return m;
}

/* ---- one step ---- */

/* From a [B, 4H], the sums in the gates i, f, g, o, and c [B, H]. */
static NnLstmState gates(AgVar a, AgVar c_before) {
    AgVar i = ag_sigmoid(ag_chunk(a, 1, 4, 0)), f = ag_sigmoid(ag_chunk(a, 1, 4, 1));
    AgVar g = ag_tanh(ag_chunk(a, 1, 4, 2)), o = ag_sigmoid(ag_chunk(a, 1, 4, 3));
    AgVar c = ag_add(ag_mul(f, c_before), ag_mul(i, g));
    return (NnLstmState){.h = ag_mul(o, ag_tanh(c)), .c = c};
}

static NnLstmState failed_state(AgTape *t) {
    return (NnLstmState){{t, 0, 0}, {t, 0, 0}};
}

/* An op broadcasts a batch of 1 silently; a state never is. */
static bool check_matrix(const char *what, AgVar v, int64_t B, int64_t n) {
    if (ag_ndim(v) == 2 && ag_dim(v, 0) == B && ag_dim(v, 1) == n) return true;
    char got[TENSOR_DESCRIBE_SIZE];
    ag_fail(v.tape, "lstm_cell: expected %s [%lld,%lld], got %s", what, (long long)B, (long long)n,
            tensor_describe(ag_value(v), got, sizeof got));
    return false;
}

static bool check_step(const NnLstmCell *m, AgVar x, NnLstmState s) {
    AgVar w_ih = nn_var(x.tape, m->ih.weight), w_hh = nn_var(x.tape, m->hh.weight);
    if (!ag_ok(w_ih) || !ag_ok(w_hh)) return false;
    int64_t B = ag_dim(x, 0), H = ag_dim(w_hh, 1);
    if (ag_ndim(x) != 2 || ag_dim(x, 1) != ag_dim(w_ih, 1)) {
        char got[TENSOR_DESCRIBE_SIZE];
        ag_fail(x.tape, "lstm_cell: expected x [B,%lld], got %s", (long long)ag_dim(w_ih, 1),
                tensor_describe(ag_value(x), got, sizeof got));
        return false;
    }
    return nn_layer_ready(x.tape, s.h, "lstm_cell: h") && nn_layer_ready(x.tape, s.c, "lstm_cell: c") &&
           check_matrix("h", s.h, B, H) && check_matrix("c", s.c, B, H);
}

NnLstmState nn_lstm_cell(const NnLstmCell *m, AgVar x, NnLstmState s) {
    if (!nn_layer_ready(x.tape, x, "lstm_cell: x") || !check_step(m, x, s)) return failed_state(x.tape);
    return gates(ag_add(nn_linear(&m->ih, x), nn_linear(&m->hh, s.h)), s.c);
}

/* ---- sequences ---- */

/* W_ih x + b_ih + b_hh for all steps at once.   x [T, B, I] -> [T, B, 4H] */
static AgVar project(const NnLstmLayer *m, AgVar x) {
    AgTape *t = x.tape;
    AgVar p = ag_matmul(x, ag_transpose(nn_var(t, m->ih.weight), 0, 1));
    if (!m->ih.bias) return p;
    return ag_add(p, ag_add(nn_var(t, m->ih.bias), nn_var(t, m->hh.bias)));
}

/* One layer in one direction over x [T, B, I] from the state *s [B, H], which becomes the last
 * one.  Returns h of all steps, [T, B, H]; hs [T] is working memory. */
static AgVar run_pass(const NnLstmLayer *m, AgVar x, bool reverse, NnLstmState *s, AgVar *hs) {
    AgTape *t = x.tape;
    ag_scope_push(t, m->scope);
    int64_t T = ag_dim(x, 0);
    AgVar p = project(m, x), w_hh = ag_transpose(nn_var(t, m->hh.weight), 0, 1);
    for (int64_t n = 0; n < T; n++) {
        int64_t step = reverse ? T - 1 - n : n;
        ag_scope_step(t, step);
        *s = gates(ag_add(ag_select(p, 0, step), ag_matmul(s->h, w_hh)), s->c);
        hs[step] = s->h;
    }
    ag_scope_step(t, -1);
    AgVar y = ag_stack((int)T, hs, 0);
    ag_scope_pop(t);
    return y;
}

static bool check_sequence(const NnLstm *m, AgVar x) {
    const char *axes = m->batch_first ? "B,T" : "T,B";
    int64_t T = ag_dim(x, m->batch_first);
    char got[TENSOR_DESCRIBE_SIZE];
    tensor_describe(ag_value(x), got, sizeof got);
    if (ag_ndim(x) != 3 || ag_dim(x, 2) != m->I)
        ag_fail(x.tape, "lstm: expected x [%s,%lld], got %s", axes, (long long)m->I, got);
    else if (T < 1 || T > INT_MAX)
        ag_fail(x.tape, "lstm: expected 1 step or more, got x [%s,I] %s", axes, got);
    return ag_tape_ok(x.tape);
}

static bool check_initial(const NnLstm *m, AgTape *t, const char *what, AgVar v, int64_t B) {
    if (!nn_layer_ready(t, v, what)) return false;
    if (ag_ndim(v) == 3 && ag_dim(v, 0) == m->L * m->D && ag_dim(v, 1) == B &&
        ag_dim(v, 2) == m->H)
        return true;
    char got[TENSOR_DESCRIBE_SIZE];
    ag_fail(v.tape, "%s: expected [%d,%lld,%lld], got %s", what, m->L * m->D, (long long)B,
            (long long)m->H, tensor_describe(ag_value(v), got, sizeof got));
    return false;
}

/* All layers.  x [T, B, I]; s NULL: zeros. */
static NnLstmOutput run_layers(const NnLstm *m, AgVar x, const NnLstmState *s) {
    AgTape *t = x.tape;
    int64_t T = ag_dim(x, 0), B = ag_dim(x, 1);
    int n = m->L * m->D;
    AgVar *hs = ag_tape_alloc(t, (size_t)(T + 2 * n) * sizeof *hs);
    if (!hs) return (NnLstmOutput){{t, 0, 0}, {t, 0, 0}, {t, 0, 0}};
    AgVar *hn = hs + T, *cn = hn + n, zero = {t, 0, 0};
    if (!s) zero = ag_full(t, ag_dtype(x), 2, (int64_t[]){B, m->H}, 0);
    for (int l = 0; l < m->L; l++) {
        AgVar y[2];
        for (int d = 0; d < m->D; d++) {
            int k = l * m->D + d;
            NnLstmState state = {zero, zero};
            if (s) state = (NnLstmState){ag_select(s->h, 0, k), ag_select(s->c, 0, k)};
            y[d] = run_pass(&m->layer[k], x, d == 1, &state, hs);
            hn[k] = state.h;
            cn[k] = state.c;
        }
        x = m->D == 2 ? ag_concat(2, y, 2) : y[0];
        if (l < m->L - 1 && m->dropout > 0) x = ag_dropout(x, m->dropout, 1);
    }
    return (NnLstmOutput){x, ag_stack(n, hn, 0), ag_stack(n, cn, 0)};
}

NnLstmOutput nn_lstm(const NnLstm *m, AgVar x, const NnLstmState *s) {
    AgTape *t = x.tape;
    NnLstmOutput out = {{t, 0, 0}, {t, 0, 0}, {t, 0, 0}};
    if (!nn_layer_ready(t, x, "lstm: x")) return out;
    if (!m->layer) {
        ag_fail(t, "lstm: was not made, or its parameter set has an error");
        return out;
    }
    if (*m->name) ag_scope_push(t, m->name);
    int64_t B = ag_dim(x, !m->batch_first);
    if (check_sequence(m, x) && (!s || (check_initial(m, t, "lstm: h0", s->h, B) &&
                                        check_initial(m, t, "lstm: c0", s->c, B)))) {
        out = run_layers(m, m->batch_first ? ag_transpose(x, 0, 1) : x, s);
        if (m->batch_first) out.y = ag_transpose(out.y, 0, 1);
    }
    if (*m->name) ag_scope_pop(t);
    return out;
}
