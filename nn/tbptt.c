/* tbptt.c -- see tbptt.h. */
#include "nn/tbptt.h"

#include <stdio.h>

#include "nn/layer.h"
#include "nn/recurrent.h"

/* ---- windows ---- */

NnTbptt nn_tbptt(int64_t T, int64_t k1, int64_t k2) {
    return (NnTbptt){.T = T, .k1 = k1, .k2 = k2};
}

static bool is_valid(const NnTbptt *w, AgTape *t) {
    if (w->T < 0)
        ag_fail(t, "tbptt: a stream of %lld steps", (long long)w->T);
    else if (w->k1 < 1)
        ag_fail(t, "tbptt: an update every k1 = %lld steps, expected 1 or more",
                (long long)w->k1);
    else if (w->k2 < w->k1)
        ag_fail(t, "tbptt: k2 = %lld, the steps a gradient goes back, is below k1 = %lld, the "
                "steps from one update to the next", (long long)w->k2, (long long)w->k1);
    return ag_tape_ok(t);
}

/* Where the window starts that counts the steps from `end` on. */
static int64_t start_after(const NnTbptt *w, int64_t end) {
    int64_t overlap = w->k2 - w->k1;
    return w->k2 < w->T && end > overlap ? end - overlap : 0;
}

bool nn_tbptt_next(NnTbptt *w, AgTape *t) {
    if (!ag_tape_ok(t) || !is_valid(w, t)) return false;
    int64_t from = w->start + w->length, left = w->T - from;
    if (left == 0) return false;
    w->counted = left < w->k1 ? left : w->k1;
    w->start = start_after(w, from);
    w->skip = from - w->start;
    w->length = w->skip + w->counted;
    int64_t end = from + w->counted;
    w->carry = end < w->T ? start_after(w, end) - w->start : w->length;
    ag_tape_reset(t);
    return ag_tape_ok(t);
}

/* ---- layers ---- */

enum { MAX_STATES = 2 };

/* A recurrent layer of any kind. */
typedef struct {
    const void *m;
    const char *kind, *name;
    bool made, batch_first;
    int64_t L, D, I;
    int n;                                /* tensors of the state: */
    const char *state[MAX_STATES];        /* their names after NAME */
    int64_t size[MAX_STATES];             /* and last axes */
    /* y of all steps of x, from the state s[0..n-1], which becomes the last one */
    AgVar (*run)(const void *m, AgVar x, AgVar *s);
} Layer;

#define STATE_NAME_SIZE (NN_NAME_SIZE + 2)
static const char *state_name(const Layer *l, int i, char *buf) {
    snprintf(buf, STATE_NAME_SIZE, "%s%s%s", NN_PREFIX(l->name), l->state[i]);
    return buf;
}

static void load(const Layer *l, AgTape *t, NnState *st, int64_t B, AgVar *s) {
    char name[STATE_NAME_SIZE];
    for (int i = 0; i < l->n; i++)
        s[i] = nn_state_load(st, t, state_name(l, i, name), 3, (int64_t[]){l->L, B, l->size[i]});
}

static void store(const Layer *l, NnState *st, const AgVar *s) {
    char name[STATE_NAME_SIZE];
    for (int i = 0; i < l->n; i++) nn_state_store(st, state_name(l, i, name), s[i]);
}

static bool check_window(const NnTbptt *w, const Layer *l, AgVar x) {
    char got[TENSOR_DESCRIBE_SIZE];
    bool numbers = ag_dtype(x) == TENSOR_I64;
    if (ag_ndim(x) != (numbers ? 2 : 3) || ag_dim(x, l->batch_first) != w->length)
        ag_fail(x.tape, "tbptt %s: expected x [%s%s] with the window's T = %lld steps, got %s",
                l->kind, l->batch_first ? "B,T" : "T,B", numbers ? "" : ",I", (long long)w->length,
                tensor_describe(ag_value(x), got, sizeof got));
    else if (!nn_recurrent_fits(x, 2, l->I)) /* before a new state takes its shape from x */
        ag_fail(x.tape, "tbptt %s: expected x with I = %lld, got %s", l->kind, (long long)l->I,
                tensor_describe(ag_value(x), got, sizeof got));
    else if (l->D != 1)
        ag_fail(x.tape, "tbptt %s: a bidirectional layer has no state to carry", l->kind);
    return ag_tape_ok(x.tape);
}

static AgVar run_window(const NnTbptt *w, const Layer *l, AgVar x, NnState *st) {
    AgVar s[MAX_STATES] = {{0}}, y[2], failed = {x.tape, 0, 0};
    if (!nn_layer_ready(x.tape, x, l->kind)) return failed;
    if (!l->made) return l->run(l->m, x, s); /* says so; its sizes can be anything */
    if (!check_window(w, l, x)) return failed;
    int axis = l->batch_first;
    load(l, x.tape, st, ag_dim(x, !axis), s);
    if (w->carry == 0) return l->run(l->m, x, s);
    y[0] = l->run(l->m, ag_narrow(x, axis, 0, w->carry), s);
    store(l, st, s);
    if (w->carry == w->length) return y[0];
    y[1] = l->run(l->m, ag_narrow(x, axis, w->carry, w->length - w->carry), s);
    return ag_concat(2, y, axis);
}

static AgVar run_lstm(const void *m, AgVar x, AgVar *s) {
    NnLstmState before = {.h = s[0], .c = s[1]};
    NnLstmOutput out = nn_lstm(m, x, &before, NULL);
    s[0] = out.hn;
    s[1] = out.cn;
    return out.y;
}

static AgVar run_gru(const void *m, AgVar x, AgVar *s) {
    NnRnnOutput out = nn_gru(m, x, s[0], NULL);
    s[0] = out.hn;
    return out.y;
}

static AgVar run_rnn(const void *m, AgVar x, AgVar *s) {
    NnRnnOutput out = nn_rnn(m, x, s[0], NULL);
    s[0] = out.hn;
    return out.y;
}

AgVar nn_tbptt_lstm(const NnTbptt *w, const NnLstm *m, AgVar x, NnState *st) {
    int64_t size = m->options.proj_size ? m->options.proj_size : m->H;
    Layer l = {m, "lstm", m->name, m->layer, m->options.batch_first, m->L, m->D, m->I, 2,
               {"h", "c"}, {size, m->H}, run_lstm};
    return run_window(w, &l, x, st);
}

AgVar nn_tbptt_gru(const NnTbptt *w, const NnGru *m, AgVar x, NnState *st) {
    Layer l = {m, "gru", m->name, m->layer, m->options.batch_first, m->L, m->D, m->I, 1, {"h"},
               {m->H}, run_gru};
    return run_window(w, &l, x, st);
}

AgVar nn_tbptt_rnn(const NnTbptt *w, const NnRnn *m, AgVar x, NnState *st) {
    Layer l = {m, "rnn", m->name, m->layer, m->options.batch_first, m->L, m->D, m->I, 1, {"h"},
               {m->H}, run_rnn};
    return run_window(w, &l, x, st);
}
