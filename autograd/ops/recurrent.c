/* recurrent.c -- see recurrent.h. */
#include "autograd/ops/recurrent.h"

#include <limits.h>
#include <stdio.h>

#include "autograd/tape.h"

/* ---- inputs ---- */

static const int64_t *copy_lengths(AgTape *t, const int64_t *lengths, int64_t B) {
    int64_t *copy = ag_tape_alloc(t, (size_t)B * sizeof *copy + 1);
    return copy ? memcpy(copy, lengths, (size_t)B * sizeof *copy) : NULL;
}

int ag_recurrent_inputs(const AgVar all[AG_ROLES], const int64_t *lengths, AgVar *in,
                        AgRecurrent *o) {
    int n = 0;
    for (int role = 0; role < AG_ROLES; role++) {
        if (!all[role].tape) continue;
        in[n++] = all[role];
        o->parts |= AG_HAS(role);
    }
    /* A length for each row of an x that has rows; the op refuses another x by itself. */
    AgVar x = all[AG_X];
    if (!lengths || !ag_ok(x) || ag_ndim(x) != 3) return n;
    o->lengths = copy_lengths(x.tape, lengths, ag_dim(x, 1));
    return o->lengths ? n : 0;
}

int ag_rnn_inputs(AgVar x, AgVar h0, const AgRnnWeights *w, const AgRnnOptions *options,
                  AgVar in[AG_ROLES], AgRecurrent *o) {
    static const AgRnnOptions none = {0};
    if (!options) options = &none;
    const AgVar all[AG_ROLES] = {[AG_X] = x,
                                 [AG_W_IH] = w->weight_ih,
                                 [AG_W_HH] = w->weight_hh,
                                 [AG_B_IH] = w->bias_ih,
                                 [AG_B_HH] = w->bias_hh,
                                 [AG_H0] = h0};
    *o = (AgRecurrent){.reverse = options->reverse};
    return ag_recurrent_inputs(all, options->lengths, in, o);
}

typedef struct {
    const char *name;
    int ndim;
    int64_t shape[2];
} Wanted;

static bool fits(const Tensor *x, const Wanted *w) {
    return x->ndim == w->ndim && x->shape[0] == w->shape[0] &&
           (w->ndim == 1 || x->shape[1] == w->shape[1]);
}

static const char *misfit(const Tensor *x, const Wanted *w, char *buf) {
    char got[TENSOR_DESCRIBE_SIZE], second[32] = "";
    if (w->ndim == 2) snprintf(second, sizeof second, ",%lld", (long long)w->shape[1]);
    snprintf(buf, AG_REASON_SIZE, "expected %s [%lld%s], got %s", w->name, (long long)w->shape[0],
             second, tensor_describe(x, got, sizeof got));
    return buf;
}

static const char *lengths_wrong(const AgRecurrent *o, const AgRecurrentSize *s, char *buf) {
    for (int64_t b = 0; o->lengths && b < s->B; b++) {
        if (o->lengths[b] >= 0 && o->lengths[b] <= s->T) continue;
        snprintf(buf, AG_REASON_SIZE, "lengths[%lld] is %lld, outside 0..%lld", (long long)b,
                 (long long)o->lengths[b], (long long)s->T);
        return buf;
    }
    return NULL;
}

/* Parts that come together or not at all. */
static const char *incomplete(const AgRecurrent *o) {
    if (!ag_has(o, AG_X) || !ag_has(o, AG_W_IH) || !ag_has(o, AG_W_HH))
        return "wants x, weight_ih and weight_hh";
    if (ag_has(o, AG_B_IH) != ag_has(o, AG_B_HH)) return "one bias alone: wants both or none";
    unsigned norms = AG_HAS(AG_NORM_IH) | AG_HAS(AG_NORM_HH) | AG_HAS(AG_NORM_C);
    if ((o->parts & norms) != 0 && (o->parts & norms) != norms)
        return "layer_norm_ih, layer_norm_hh and layer_norm_c come together";
    if (ag_has(o, AG_NORM_C_BIAS) && !ag_has(o, AG_NORM_C))
        return "layer_norm_c_bias without layer_norm_c";
    return NULL;
}

const char *ag_recurrent_check(const AgRecurrent *o, int n_in, const Tensor *const *in, int gates,
                               AgRecurrentSize *s, char buf[AG_REASON_SIZE]) {
    const char *reason = incomplete(o);
    if (reason) return reason;
    if (n_in != __builtin_popcount(o->parts)) return "parts that are none of the op's";
    const Tensor *x = in[0], *w_ih = in[ag_role(o, AG_W_IH)];
    if (x->ndim != 3) return "expected x [T,B,I]";
    if (x->shape[0] < 1) return "expected 1 step or more";
    if (x->shape[0] > INT_MAX) return "too many steps";
    if (w_ih->ndim != 2 || w_ih->shape[0] % gates != 0) {
        snprintf(buf, AG_REASON_SIZE, "expected weight_ih [%dH,I]", gates);
        return buf;
    }
    int64_t H = w_ih->shape[0] / gates, out = H;
    if (ag_has(o, AG_W_HR)) {
        const Tensor *w_hr = in[ag_role(o, AG_W_HR)];
        out = w_hr->ndim == 2 ? w_hr->shape[0] : 0;
    }
    *s = (AgRecurrentSize){x->shape[0], x->shape[1], x->shape[2], H, out};
    int64_t all = gates * H;
    const Wanted wanted[AG_ROLES] = {
        [AG_W_IH] = {"weight_ih", 2, {all, s->I}},
        [AG_W_HH] = {"weight_hh", 2, {all, out}},
        [AG_B_IH] = {"bias_ih", 1, {all}},
        [AG_B_HH] = {"bias_hh", 1, {all}},
        [AG_H0] = {"h0", 2, {s->B, out}},
        [AG_C0] = {"c0", 2, {s->B, H}},
        [AG_W_HR] = {"weight_hr", 2, {out, H}},
        [AG_PEEPHOLE] = {"weight_peephole", 1, {all - H}},
        [AG_NORM_IH] = {"layer_norm_ih", 1, {all}},
        [AG_NORM_HH] = {"layer_norm_hh", 1, {all}},
        [AG_NORM_C] = {"layer_norm_c", 1, {H}},
        [AG_NORM_C_BIAS] = {"layer_norm_c_bias", 1, {H}},
    };
    for (int role = AG_W_IH; role < AG_ROLES; role++) {
        const Tensor *part = ag_has(o, (AgRole)role) ? in[ag_role(o, (AgRole)role)] : NULL;
        if (part && !fits(part, &wanted[role])) return misfit(part, &wanted[role], buf);
    }
    return lengths_wrong(o, s, buf);
}

bool ag_recurrent_shape(AgCall *c, int gates, AgRecurrentSize *s) {
    char buf[AG_REASON_SIZE];
    const char *reason = ag_recurrent_check(c->options, c->n_in, c->in, gates, s, buf);
    if (reason) return ag_call_fail(c, "%s", reason);
    return ag_out_shape(c, 0, 3, (int64_t[]){s->T, s->B, s->out}) &&
           ag_out_shape(c, 1, 2, (int64_t[]){s->B, s->out}) &&
           (c->n_out < 3 || ag_out_shape(c, 2, 2, (int64_t[]){s->B, s->H}));
}

/* ---- composed ---- */

AgVar ag_part(const AgRecurrent *o, const AgVar *in, AgRole role) {
    return ag_has(o, role) ? in[ag_role(o, role)] : (AgVar){0};
}

/* U8 [T, B, 1]: 1 where step < lengths[b]. */
static AgVar live_steps(const AgLoop *l) {
    const int64_t shape[] = {l->size.T, l->size.B, 1};
    unsigned char *mask = ag_tape_alloc(l->t, (size_t)(shape[0] * shape[1]) + 1);
    if (!mask) return ag_none(l->x);
    for (int64_t i = 0; i < shape[0] * shape[1]; i++)
        mask[i] = i / shape[1] < l->o->lengths[i % shape[1]];
    Tensor live = tensor_wrap(mask, TENSOR_U8, 3, shape);
    return ag_borrow(l->t, &live);
}

bool ag_loop_begin(AgLoop *l, const char *name, AgTape *t, int n_in, const AgVar *in, int gates,
                   const AgRecurrent *o) {
    const Tensor *values[AG_ROLES];
    char buf[AG_REASON_SIZE];
    for (int i = 0; i < n_in; i++) {
        if (!ag_ok(ag_alias(in[i]))) return false; /* a stale handle is recorded */
        values[i] = ag_value(in[i]);
    }
    *l = (AgLoop){.t = t, .o = o, .outer_step = t->scope[t->open_scope].step};
    const char *reason = ag_recurrent_check(o, n_in, values, gates, &l->size, buf);
    if (reason) ag_fail(t, "%s: %s", name, reason);
    if (reason) return false;
    l->x = in[0];
    l->y = ag_tape_alloc(t, (size_t)l->size.T * sizeof *l->y);
    if (!l->y) return false;
    if (!o->lengths) return true;
    l->live = live_steps(l);
    l->x = ag_where(l->live, l->x, ag_zero(l->x));
    return ag_ok(l->x);
}

int64_t ag_loop_time(const AgLoop *l, int64_t n) {
    int64_t step = l->o->reverse ? l->size.T - 1 - n : n;
    ag_scope_step(l->t, step);
    return step;
}

AgVar ag_loop_state(const AgLoop *l, int64_t step, AgVar before, AgVar after) {
    return l->live.tape ? ag_where(ag_select(l->live, 0, step), after, before) : after;
}

void ag_loop_put(const AgLoop *l, int64_t step, AgVar h) {
    l->y[step] = l->live.tape ? ag_where(ag_select(l->live, 0, step), h, ag_zero(h)) : h;
}

AgVar ag_loop_end(const AgLoop *l) {
    ag_scope_step(l->t, l->outer_step);
    return ag_stack((int)l->size.T, l->y, 0);
}

AgVar ag_loop_initial(const AgLoop *l, const AgVar *in, AgRole role, int64_t n) {
    if (ag_has(l->o, role)) return in[ag_role(l->o, role)];
    return ag_full(l->t, ag_dtype(l->x), 2, (int64_t[]){l->size.B, n}, 0);
}
