/* recurrent.c -- see recurrent.h. */
#include "nn/recurrent.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "nn/dropout.h"

static const char *const state_names[NN_RECURRENT_STATES] = {"h", "c"};

/* ---- making ---- */

/* Beyond this 8 H is no int64_t, and no memory holds it. */
static const int64_t max_size = INT64_MAX / 16;

bool nn_recurrent_check_sizes(NnParamSet *set, const char *kind, const char *name, int64_t I,
                              int64_t H) {
    if (I < 0 || H < 0 || I > max_size || H > max_size)
        nn_params_fail(set, "%s %.200s: input size %lld, hidden size %lld", kind, name,
                       (long long)I, (long long)H);
    return nn_params_ok(set);
}

bool nn_recurrent_check_p(NnParamSet *set, const char *kind, const char *name, const char *what,
                          double p) {
    if (!(p >= 0 && p <= 1))
        nn_params_fail(set, "%s %.200s: %s %g is not in 0..1", kind, name, what, p);
    return nn_params_ok(set);
}

bool nn_recurrent_check_stack(NnParamSet *set, const char *kind, const char *name, int64_t I,
                              int64_t H, int num_layers, double dropout) {
    if (num_layers < 0 || num_layers > INT_MAX / 2)
        nn_params_fail(set, "%s %.200s: %d layers", kind, name, num_layers);
    return nn_recurrent_check_sizes(set, kind, name, I, H) &&
           nn_recurrent_check_p(set, kind, name, "dropout", dropout);
}

void nn_recurrent_params(NnParamSet *set, const char *name, const char *suffix, int n,
                         const NnRecurrentParam *list) {
    for (const NnRecurrentParam *p = list; p < list + n; p++)
        *p->param = p->wanted ? nn_param(set, p->init, p->ndim, p->shape, "%s%s%s%s",
                                         NN_PREFIX(name), p->what, suffix)
                              : NULL;
}

void *nn_recurrent_alloc(NnParamSet *set, const char *name, int n, size_t size,
                         const char **copy) {
    size_t bytes = strlen(name) + 1;
    char *text = nn_params_alloc(set, bytes);
    void *layers = nn_params_alloc(set, (size_t)n * size);
    if (!text || !layers) return NULL;
    *copy = memcpy(text, name, bytes);
    return layers;
}

NnRecurrentPlace nn_recurrent_place(NnParamSet *set, int k, int D, int64_t I, int64_t H) {
    NnRecurrentPlace place = {.I = k < D ? I : D * H, .scope = ""};
    snprintf(place.suffix, sizeof place.suffix, "_l%d%s", k / D, k % D ? "_reverse" : "");
    size_t bytes = strlen(place.suffix); /* with the zero, without the _ */
    char *scope = nn_params_alloc(set, bytes);
    if (scope) place.scope = memcpy(scope, place.suffix + 1, bytes);
    return place;
}

NnRnnParams nn_recurrent_nil(const NnParamSet *set) {
    NnParam *nil = nn_params_at(set, -1);
    return (NnRnnParams){.weight_ih = nil, .weight_hh = nil};
}

NnRnnParams nn_recurrent_gates(NnParamSet *set, const char *name, const char *suffix, int gates,
                               int64_t I, int64_t H, bool no_bias, const NnInit *given) {
    NnRnnParams p;
    NnInit init = nn_layer_init(given, H);
    const NnRecurrentParam list[] = {
        {true, &p.weight_ih, "weight_ih", init, 2, {gates * H, I}},
        {true, &p.weight_hh, "weight_hh", init, 2, {gates * H, H}},
        {!no_bias, &p.bias_ih, "bias_ih", init, 1, {gates * H}},
        {!no_bias, &p.bias_hh, "bias_hh", init, 1, {gates * H}},
    };
    nn_recurrent_params(set, name, suffix, sizeof list / sizeof *list, list);
    return p;
}

NnRnnLayer *nn_recurrent_gate_layers(NnParamSet *set, const char *name, int gates, int64_t I,
                                     int64_t H, int L, int D, bool no_bias, const NnInit *init,
                                     const char **copy) {
    NnRnnLayer *layer = nn_recurrent_alloc(set, name, L * D, sizeof *layer, copy);
    for (int k = 0; k < L * D && nn_params_ok(set); k++) {
        NnRecurrentPlace place = nn_recurrent_place(set, k, D, I, H);
        layer[k].scope = place.scope;
        layer[k].params =
            nn_recurrent_gates(set, name, place.suffix, gates, place.I, H, no_bias, init);
    }
    return nn_params_ok(set) ? layer : NULL;
}

/* ---- checks of a call ---- */

bool nn_recurrent_fits(AgVar x, int n, int64_t I) {
    if (ag_dtype(x) == TENSOR_I64) return ag_ndim(x) == n;
    return ag_ndim(x) == n + 1 && ag_dim(x, n) == I;
}

static bool check_sequence(const NnRecurrent *m, AgVar x) {
    bool numbers = ag_dtype(x) == TENSOR_I64;
    const char *axes = m->batch_first ? "B,T" : "T,B";
    char got[TENSOR_DESCRIBE_SIZE], size[32] = "";
    tensor_describe(ag_value(x), got, sizeof got);
    if (!numbers) snprintf(size, sizeof size, ",%lld", (long long)m->I);
    if (!nn_recurrent_fits(x, 2, m->I))
        ag_fail(x.tape, "%s: expected x [%s%s], got %s", m->kind, axes, size, got);
    else if (ag_dim(x, m->batch_first) < 1)
        ag_fail(x.tape, "%s: expected 1 step or more, got x [%s%s] %s", m->kind, axes,
                numbers ? "" : ",I", got);
    else if (numbers && m->input_dropout > 0)
        ag_fail(x.tape, "%s: input_dropout drops elements of vectors, got x %s", m->kind, got);
    return ag_tape_ok(x.tape);
}

static bool check_initial(const NnRecurrent *m, AgTape *t, const AgVar *states, int64_t B) {
    for (int i = 0; i < m->n_states; i++) {
        AgVar v = states[i];
        char what[32], got[TENSOR_DESCRIBE_SIZE];
        snprintf(what, sizeof what, "%s: %s0", m->kind, state_names[i]);
        if (!nn_layer_ready(t, v, what)) return false;
        if (ag_ndim(v) == 3 && ag_dim(v, 0) == m->L * m->D && ag_dim(v, 1) == B &&
            ag_dim(v, 2) == m->size[i])
            continue;
        ag_fail(t, "%s: expected [%d,%lld,%lld], got %s", what, m->L * m->D, (long long)B,
                (long long)m->size[i], tensor_describe(ag_value(v), got, sizeof got));
        return false;
    }
    return true;
}

bool nn_recurrent_check_step(const char *kind, AgVar x, int64_t I, int n, const AgVar *state,
                             const int64_t *size) {
    char what[32], got[TENSOR_DESCRIBE_SIZE];
    snprintf(what, sizeof what, "%s: x", kind);
    if (!nn_layer_ready(x.tape, x, what)) return false;
    if (!nn_recurrent_fits(x, 1, I)) {
        tensor_describe(ag_value(x), got, sizeof got);
        if (ag_dtype(x) == TENSOR_I64) ag_fail(x.tape, "%s: expected x [B], got %s", kind, got);
        else ag_fail(x.tape, "%s: expected x [B,%lld], got %s", kind, (long long)I, got);
        return false;
    }
    for (int i = 0; i < n; i++) {
        AgVar v = state[i];
        snprintf(what, sizeof what, "%s: %s", kind, state_names[i]);
        if (!nn_layer_ready(x.tape, v, what)) return false;
        if (ag_ndim(v) == 2 && ag_dim(v, 0) == ag_dim(x, 0) && ag_dim(v, 1) == size[i]) continue;
        ag_fail(x.tape, "%s: expected %s [%lld,%lld], got %s", kind, state_names[i],
                (long long)ag_dim(x, 0), (long long)size[i],
                tensor_describe(ag_value(v), got, sizeof got));
        return false;
    }
    return true;
}

/* ---- running ---- */

static NnRecurrentOutput failed(AgTape *t) {
    AgVar v = {t, 0, 0};
    return (NnRecurrentOutput){v, {v, v}};
}

/* Both kinds have the batch on axis 1. */
static AgVar drop(AgVar x, double p, bool locked) {
    if (p == 0) return x;
    return locked ? nn_locked_dropout(x, p, 1, 0) : ag_dropout(x, p, 1);
}

/* Pass k from its initial state; its last state goes to last[i * L * D + k]. */
static AgVar run_pass(const NnRecurrent *m, int k, AgVar x, const AgVar *states,
                      const int64_t *lengths, AgVar *last) {
    AgVar initial[NN_RECURRENT_STATES] = {{0}};
    for (int i = 0; states && i < m->n_states; i++) initial[i] = ag_select(states[i], 0, k);
    AgRnnOptions options = {lengths, k % m->D == 1};
    ag_scope_push(x.tape, m->scope(m->model, k));
    NnRecurrentOutput out = m->pass(m->model, k, x, initial, &options);
    ag_scope_pop(x.tape);
    for (int i = 0; i < m->n_states; i++) last[i * m->L * m->D + k] = out.state[i];
    return out.y;
}

/* x [T, B, I], or I64 [T, B] -> y [T, B, D*H'] */
static NnRecurrentOutput run_layers(const NnRecurrent *m, AgVar x, const AgVar *states,
                                    const int64_t *lengths) {
    AgTape *t = x.tape;
    int n = m->L * m->D;
    AgVar *last = ag_tape_alloc(t, (size_t)(m->n_states * n) * sizeof *last);
    if (!last) return failed(t);
    x = drop(x, m->input_dropout, true);
    for (int l = 0; l < m->L; l++) {
        AgVar y[2];
        for (int d = 0; d < m->D; d++)
            y[d] = run_pass(m, l * m->D + d, x, states, lengths, last);
        x = m->D == 2 ? ag_concat(2, y, 2) : y[0];
        if (l < m->L - 1) x = drop(x, m->dropout, m->locked_dropout);
    }
    NnRecurrentOutput out = {.y = drop(x, m->output_dropout, true)};
    for (int i = 0; i < m->n_states; i++) out.state[i] = ag_stack(n, last + i * n, 0);
    return out;
}

NnRecurrentOutput nn_recurrent_run(const NnRecurrent *m, AgVar x, const AgVar *states,
                                   const int64_t *lengths) {
    AgTape *t = x.tape;
    char what[32];
    snprintf(what, sizeof what, "%s: x", m->kind);
    if (!nn_layer_ready(t, x, what)) return failed(t);
    if (!m->made) {
        ag_fail(t, "%s: was not made, or its parameter set has an error", m->kind);
        return failed(t);
    }
    NnRecurrentOutput out = failed(t);
    if (*m->name) ag_scope_push(t, m->name);
    int64_t B = ag_dim(x, !m->batch_first);
    if (check_sequence(m, x) && (!states || check_initial(m, t, states, B))) {
        out = run_layers(m, m->batch_first ? ag_transpose(x, 0, 1) : x, states, lengths);
        if (m->batch_first) out.y = ag_transpose(out.y, 0, 1);
    }
    if (*m->name) ag_scope_pop(t);
    return ag_tape_ok(t) ? out : failed(t);
}

AgRnnWeights nn_recurrent_weights(AgTape *t, const NnRnnParams *p) {
    return (AgRnnWeights){nn_var(t, p->weight_ih), nn_var(t, p->weight_hh),
                          nn_layer_var(t, p->bias_ih), nn_layer_var(t, p->bias_hh)};
}

bool nn_recurrent_open_cell(const char *kind, AgVar x, AgVar h, int64_t I, int64_t H,
                            const NnRnnParams *p, AgRnnWeights *w) {
    if (!x.tape) return false;
    *w = nn_recurrent_weights(x.tape, p);
    return ag_tape_ok(x.tape) && nn_recurrent_check_step(kind, x, I, 1, &h, &H);
}
