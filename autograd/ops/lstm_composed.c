/* lstm_composed.c -- the LSTM as the textbook writes it: a loop of ops over the steps.  The manual
 * is autograd/sequence.h; the fast twin is lstm.c. */
#include <math.h>
#include <stdio.h>

#include "autograd/ops/lstm.h"

/* ---- the call ---- */

static bool is_probability(double p) { return p >= 0 && p <= 1; }

const char *ag_lstm_options_wrong(const AgLstmCall *o, char buf[AG_REASON_SIZE]) {
    const struct {
        const char *name;
        double p;
    } drops[] = {{"hidden_dropout", o->hidden.p},
                 {"zoneout_h", o->zoneout_h.p},
                 {"zoneout_c", o->zoneout_c.p}};
    for (int i = 0; i < 3; i++) {
        if (is_probability(drops[i].p)) continue;
        snprintf(buf, AG_REASON_SIZE, "%s is %g, wants 0 to 1", drops[i].name, drops[i].p);
        return buf;
    }
    if (o->eps >= 0 && o->eps <= HUGE_VAL) return NULL;
    snprintf(buf, AG_REASON_SIZE, "layer_norm_eps is %g, wants 0 or more", o->eps);
    return buf;
}

/* Only a mask that is used takes a draw. */
static AgLstmDrop next_drop(AgVar x, double p, bool used) {
    AgLstmDrop drop = {.p = p};
    if (used && p > 0) drop.draw = ag_random_next(x, 1);
    return drop;
}

int ag_lstm_inputs(AgVar x, AgVar h0, AgVar c0, const AgLstmWeights *w,
                   const AgLstmOptions *options, AgVar in[AG_ROLES], AgLstmCall *o) {
    static const AgLstmOptions none = {0};
    if (!options) options = &none;
    const AgVar all[AG_ROLES] = {
        [AG_X] = x, [AG_W_IH] = w->weight_ih, [AG_W_HH] = w->weight_hh, [AG_B_IH] = w->bias_ih,
        [AG_B_HH] = w->bias_hh, [AG_H0] = h0, [AG_C0] = c0, [AG_W_HR] = w->weight_hr,
        [AG_PEEPHOLE] = w->weight_peephole, [AG_NORM_IH] = w->layer_norm_ih,
        [AG_NORM_HH] = w->layer_norm_hh, [AG_NORM_C] = w->layer_norm_c,
        [AG_NORM_C_BIAS] = w->layer_norm_c_bias};
    bool training = x.tape && ag_tape_is_training(x.tape);
    *o = (AgLstmCall){
        .base = {.reverse = options->reverse},
        .coupled = options->coupled,
        .training = training,
        .eps = options->layer_norm_eps != 0 ? options->layer_norm_eps : 1e-5,
        .hidden = next_drop(x, options->hidden_dropout, training),
        .zoneout_h = next_drop(x, options->zoneout_h, training),
        .zoneout_c = next_drop(x, options->zoneout_c, training)};
    return ag_recurrent_inputs(all, options->lengths, in, &o->base);
}

/* ---- masks ---- */

/* m [B, H']: one for all steps; {0}: none. */
static AgVar hidden_mask(const AgLoop *l, const AgLstmCall *o) {
    if (!o->training || !(o->hidden.p > 0)) return (AgVar){0};
    const int64_t shape[] = {1, l->size.B, l->size.out};
    AgVar ones = ag_full(l->t, ag_dtype(l->x), 3, shape, 1);
    return ag_select(ag_dropout_drawn(ones, o->hidden.p, o->hidden.draw), 0, 0);
}

/* [T, B, n]: 1 where an element takes its new value, else 0; {0}: none. */
static AgVar zoneout_mask(const AgLoop *l, const AgLstmCall *o, const AgLstmDrop *z, int64_t n) {
    if (!o->training || !(z->p > 0)) return (AgVar){0};
    const int64_t shape[] = {l->size.T, l->size.B, n};
    AgVar ones = ag_full(l->t, ag_dtype(l->x), 3, shape, 1);
    AgVar taken = ag_ne(ag_dropout_drawn(ones, z->p, z->draw), ag_zero(l->x));
    return ag_cast(taken, ag_dtype(l->x));
}

/* z * before + (1 - z) * after; in evaluation z is its mean, p.  Products, as of dropout: a NaN
 * that is not taken stays seen. */
static AgVar zoneout(const AgLstmDrop *z, AgVar mask, int64_t step, AgVar before, AgVar after) {
    if (mask.tape) {
        AgVar taken = ag_select(mask, 0, step);
        return ag_add(ag_mul(ag_affine(taken, -1, 1), before), ag_mul(taken, after));
    }
    if (!(z->p > 0)) return after;
    return ag_add(ag_affine(before, z->p, 0), ag_affine(after, 1 - z->p, 0));
}

/* ---- the loop ---- */

typedef struct {
    const AgLstmCall *o;
    AgVar w_hh, b_hh, w_hr, norm_hh, norm_c, norm_c_bias; /* {0}: none */
    AgVar p_i, p_f, p_o;
    AgVar mask, zone_h, zone_c;
} Cell;

static Cell make_cell(const AgLoop *l, const AgVar *in, const AgLstmCall *o) {
    const AgRecurrent *r = &o->base;
    Cell m = {.o = o,
              .w_hh = ag_part(r, in, AG_W_HH),
              .b_hh = ag_part(r, in, AG_B_HH),
              .w_hr = ag_part(r, in, AG_W_HR),
              .norm_hh = ag_part(r, in, AG_NORM_HH),
              .norm_c = ag_part(r, in, AG_NORM_C),
              .norm_c_bias = ag_part(r, in, AG_NORM_C_BIAS),
              .mask = hidden_mask(l, o),
              .zone_h = zoneout_mask(l, o, &o->zoneout_h, l->size.out),
              .zone_c = zoneout_mask(l, o, &o->zoneout_c, l->size.H)};
    AgVar peephole = ag_part(r, in, AG_PEEPHOLE);
    if (peephole.tape) {
        int last = ag_lstm_gates(o) - 2;
        int64_t H = l->size.H;
        m.p_i = ag_narrow(peephole, 0, 0, H);
        if (!o->coupled) m.p_f = ag_narrow(peephole, 0, H, H);
        m.p_o = ag_narrow(peephole, 0, last * H, H);
    }
    return m;
}

/* weight x + bias, or with layer normalisation LN(weight x) * gain + bias. */
static AgVar product(AgVar x, AgVar weight, AgVar bias, AgVar gain, double eps) {
    if (!gain.tape) return ag_linear(x, weight, bias);
    return ag_layer_norm(ag_linear(x, weight, (AgVar){0}), 1, gain, bias, eps);
}

/* Quarter number k of a [B, 4H], and what the cell's memory adds to it through a peephole. */
static AgVar gate(AgVar a, int k, int64_t H, AgVar p, AgVar c) {
    AgVar quarter = ag_narrow(a, 1, k * H, H);
    return p.tape ? ag_add(quarter, ag_mul(p, c)) : quarter;
}

/* One step from ax = W_ih x + b_ih [B, 4H] and the state h, c: the equations of ag_lstm up to h~
 * and c~. */
static AgLstmStep one_step(const Cell *m, int64_t H, AgVar ax, AgVar h, AgVar c) {
    AgLstmStep s;
    AgVar hm = m->mask.tape ? ag_mul(h, m->mask) : h;
    AgVar a = ag_add(ax, product(hm, m->w_hh, m->b_hh, m->norm_hh, m->o->eps));
    int k = 0;
    AgVar a_i = gate(a, k++, H, m->p_i, c), a_f = {0};
    if (!m->o->coupled) a_f = gate(a, k++, H, m->p_f, c);
    AgVar a_g = ag_narrow(a, 1, k++ * H, H);
    s.i = ag_sigmoid(a_i);
    s.f = m->o->coupled ? ag_affine(s.i, -1, 1) : ag_sigmoid(a_f);
    s.g = ag_tanh(a_g);
    s.c = ag_add(ag_mul(s.f, c), ag_mul(s.i, s.g));
    AgVar a_o = gate(a, k, H, m->p_o, s.c);
    s.o = ag_sigmoid(a_o);
    AgVar n = m->norm_c.tape ? ag_layer_norm(s.c, 1, m->norm_c, m->norm_c_bias, m->o->eps) : s.c;
    s.h = ag_mul(s.o, ag_tanh(n));
    if (m->w_hr.tape) s.h = ag_linear(s.h, m->w_hr, (AgVar){0});
    s.a = a;
    return s;
}

AgLstmOutput ag_lstm_loop(AgTape *t, int n_in, const AgVar *in, const AgLstmCall *o,
                          AgLstmStep *steps) {
    AgLoop l;
    char buf[AG_REASON_SIZE];
    AgVar none = {t, 0, 0};
    AgLstmOutput failed = {none, none, none};
    const char *reason = ag_lstm_options_wrong(o, buf);
    if (reason) ag_fail(t, "lstm: %s", reason);
    if (reason || !ag_loop_begin(&l, "lstm", t, n_in, in, ag_lstm_gates(o), &o->base))
        return failed;
    Cell m = make_cell(&l, in, o);
    const AgRecurrent *r = &o->base;
    AgVar h = ag_loop_initial(&l, in, AG_H0, l.size.out);
    AgVar c = ag_loop_initial(&l, in, AG_C0, l.size.H);
    AgVar ax = product(l.x, ag_part(r, in, AG_W_IH), ag_part(r, in, AG_B_IH),
                       ag_part(r, in, AG_NORM_IH), o->eps);
    for (int64_t n = 0; n < l.size.T; n++) {
        int64_t step = ag_loop_time(&l, n);
        AgLstmStep s = one_step(&m, l.size.H, ag_select(ax, 0, step), h, c);
        s.h = zoneout(&o->zoneout_h, m.zone_h, step, h, s.h);
        s.c = zoneout(&o->zoneout_c, m.zone_c, step, c, s.c);
        h = ag_loop_state(&l, step, h, s.h);
        c = ag_loop_state(&l, step, c, s.c);
        ag_loop_put(&l, step, s.h);
        if (steps) steps[step] = s;
    }
    AgVar y = ag_loop_end(&l);
    return ag_tape_ok(t) ? (AgLstmOutput){y, h, c} : failed;
}

AgLstmOutput ag_lstm_composed(AgVar x, AgVar h0, AgVar c0, const AgLstmWeights *w,
                              const AgLstmOptions *options, AgLstmStep *steps) {
    AgVar in[AG_ROLES];
    AgLstmCall o;
    int n = ag_lstm_inputs(x, h0, c0, w, options, in, &o);
    if (n) return ag_lstm_loop(in[0].tape, n, in, &o, steps);
    AgVar none = ag_none(x);
    return (AgLstmOutput){none, none, none};
}
