/* rnn_layer.c -- see rnn_layer.h. */
#include "autograd/ops/rnn_layer.h"

#include "tensor/gemm.h"

/* ---- forward ---- */

/* What the backward pass finds of a call; where no gradient can be asked for, hidden and kept hold
 * the rows of one step only. */
typedef struct {
    AgRecurrentSize size;
    AgSteps steps;
    Tensor x;      /* [rows, gates H]: first W_ih x + b_ih, then what the step leaves there */
    Tensor hidden; /* [rows, H]: h before the step */
    Tensor kept;   /* [rows, H], or none */
} Layer;

static Tensor matrix(AgCall *c, bool saved, int64_t rows, int64_t n) {
    return ag_call_tensor(c, saved, c->in[0]->dtype, 2, (int64_t[]){rows, n});
}

/* y = a w^T + bias */
static bool affine(AgCall *c, const Tensor *a, const Tensor *w, const Tensor *bias,
                   const Tensor *y) {
    Tensor w_t = tensor_transpose(w, 0, 1);
    bool biased = !tensor_is_nil(bias);
    if (biased) tensor_convert(y, bias);
    return tensor_gemm(1, a, &w_t, biased, y, c->scratch) || ag_call_fail(c, "out of memory");
}

static bool run_steps(AgCall *c, const AgRnnKind *kind, Layer *m, const Tensor *part,
                      const Tensor *h, const Tensor *y) {
    const AgSteps *s = &m->steps;
    Tensor sums = matrix(c, false, s->B, kind->gates * m->size.H);
    if (tensor_is_nil(&sums)) return false;
    for (int64_t n = 0; n < s->T && s->active[n] > 0; n++) {
        int64_t rows = s->active[n];
        Tensor state = tensor_narrow(h, 0, 0, rows), sum = tensor_narrow(&sums, 0, 0, rows);
        Tensor hidden = ag_step_rows(s, &m->hidden, n), kept = ag_step_rows(s, &m->kept, n);
        Tensor x = ag_step_rows(s, &m->x, n), out = ag_step_rows(s, y, n);
        tensor_convert(&hidden, &state);
        if (!affine(c, &hidden, &part[AG_W_HH], &part[AG_B_HH], &sum)) return false;
        kind->step(c->options, &x, &sum, &kept, &state);
        tensor_convert(&out, &state);
    }
    return true;
}

bool ag_rnn_value(AgCall *c, const AgRnnKind *kind) {
    const AgRecurrent *o = c->options;
    Layer *m = ag_call_save(c, sizeof *m);
    char buf[AG_REASON_SIZE];
    Tensor part[AG_ROLES];
    if (!m) return false;
    ag_recurrent_check(o, c->n_in, c->in, kind->gates, &m->size, buf);
    if (!ag_recurrent_dense(c->scratch, o, c->in, part)) return ag_call_fail(c, "out of memory");
    if (!ag_steps_plan(c, o, &m->steps)) return false;
    int64_t H = m->size.H, B = m->size.B, rows = m->steps.rows, held = c->recorded ? rows : B;
    m->x = matrix(c, true, rows, kind->gates * H);
    m->hidden = matrix(c, true, held, H);
    m->kept = matrix(c, true, held, kind->keeps ? H : 0);
    Tensor h = matrix(c, false, B, H);
    if (!ag_tape_ok(c->tape)) return false;
    Tensor x = ag_steps_rows(c->scratch, &m->steps, c->in[0]);
    Tensor y = ag_steps_result(c->scratch, &m->steps, &c->out[0]);
    if (tensor_is_nil(&x) || tensor_is_nil(&y)) return ag_call_fail(c, "out of memory");
    ag_recurrent_initial(&m->steps, &h, &part[AG_H0]);
    if (!affine(c, &x, &part[AG_W_IH], &part[AG_B_IH], &m->x)) return false;
    if (!run_steps(c, kind, m, part, &h, &y)) return false;
    ag_steps_finish(&m->steps, &c->out[0], &y);
    ag_steps_unsort(&m->steps, &c->out[1], &h);
    c->saved = m;
    return true;
}

/* ---- backward ---- */

/* dh: of the last state, then of the first. */
static bool back_steps(AgVjp *v, const AgRnnKind *kind, const Tensor *dy, const Tensor *dh,
                       const Tensor *dx_sum, const Tensor *dy_sum) {
    const Layer *m = v->saved;
    const AgSteps *s = &m->steps;
    const Tensor *w_hh = ag_value(v->in[ag_role(v->options, AG_W_HH)]);
    for (int64_t n = s->T - 1; n >= 0; n--) {
        if (s->active[n] == 0) continue;
        Tensor d = tensor_narrow(dh, 0, 0, s->active[n]), out = ag_step_rows(s, dy, n);
        Tensor x = ag_step_rows(s, &m->x, n), kept = ag_step_rows(s, &m->kept, n);
        Tensor hidden = ag_step_rows(s, &m->hidden, n);
        Tensor dx = ag_step_rows(s, dx_sum, n), dsum = ag_step_rows(s, dy_sum, n);
        tensor_accumulate(&d, &out);
        bool past = kind->back(v->options, &x, &kept, &hidden, &d, &dx, &dsum);
        if (!tensor_gemm(1, &dsum, w_hh, past, &d, v->scratch)) return ag_vjp_out_of_memory(v);
    }
    return true;
}

bool ag_rnn_vjp(AgVjp *v, const AgRnnKind *kind) {
    const Layer *m = v->saved;
    const int64_t all[] = {m->steps.rows, kind->gates * m->size.H};
    TensorDtype dtype = ag_dtype(v->in[0]);
    Tensor dy = ag_gradient_rows(v, &m->steps, m->size.H);
    Tensor dh = ag_gradient_final(v, &m->steps, 1, m->size.H);
    Tensor dx_sum = tensor_new(v->scratch, dtype, 2, all), dy_sum = dx_sum;
    if (!kind->same_sums) dy_sum = tensor_new(v->scratch, dtype, 2, all);
    if (tensor_is_nil(&dy) || tensor_is_nil(&dh) || tensor_is_nil(&dx_sum) ||
        tensor_is_nil(&dy_sum))
        return ag_vjp_out_of_memory(v);
    return back_steps(v, kind, &dy, &dh, &dx_sum, &dy_sum) &&
           ag_gradient_state(v, &m->steps, AG_H0, &dh) &&
           ag_gradient_sum(v, AG_B_IH, &dx_sum) && ag_gradient_sum(v, AG_B_HH, &dy_sum) &&
           ag_recurrent_gradients(v, &m->steps, &dx_sum, &dy_sum, &m->hidden);
}

/* ---- composed ---- */

AgRnnOutput ag_rnn_loop(AgTape *t, int n_in, const AgVar *in, const AgRecurrent *o,
                        const AgRnnKind *kind) {
    AgLoop l;
    AgRnnOutput failed = {{t, 0, 0}, {t, 0, 0}};
    if (!ag_loop_begin(&l, kind->op->name, t, n_in, in, kind->gates, o)) return failed;
    AgVar w_hh = ag_part(o, in, AG_W_HH), b_hh = ag_part(o, in, AG_B_HH);
    AgVar x = ag_linear(l.x, ag_part(o, in, AG_W_IH), ag_part(o, in, AG_B_IH));
    AgVar h = ag_loop_initial(&l, in, AG_H0, l.size.H);
    for (int64_t n = 0; n < l.size.T; n++) {
        int64_t step = ag_loop_time(&l, n);
        AgVar after = kind->compose(o, ag_select(x, 0, step), ag_linear(h, w_hh, b_hh), h);
        h = ag_loop_state(&l, step, h, after);
        ag_loop_put(&l, step, after);
    }
    AgVar y = ag_loop_end(&l);
    return ag_tape_ok(t) ? (AgRnnOutput){y, h} : failed;
}

/* ---- public functions ---- */

static int inputs(AgVar x, AgVar h0, const AgRnnWeights *w, const AgRnnOptions *options,
                  AgVar in[AG_ROLES], AgRecurrent *o) {
    const AgVar all[AG_ROLES] = {[AG_X] = x,
                                 [AG_W_IH] = w->weight_ih,
                                 [AG_W_HH] = w->weight_hh,
                                 [AG_B_IH] = w->bias_ih,
                                 [AG_B_HH] = w->bias_hh,
                                 [AG_H0] = h0};
    o->reverse = options && options->reverse;
    return ag_recurrent_inputs(all, options ? options->lengths : NULL, in, o);
}

AgRnnOutput ag_rnn_call(AgVar x, AgVar h0, const AgRnnWeights *w, const AgRnnOptions *options,
                        const AgRnnKind *kind, AgRecurrent *o, size_t o_size) {
    AgVar in[AG_ROLES], out[2] = {ag_none(x), ag_none(x)};
    int n = inputs(x, h0, w, options, in, o);
    if (n) ag_apply(kind->op, in[0].tape, n, in, o, o_size, out);
    return (AgRnnOutput){out[0], out[1]};
}

AgRnnOutput ag_rnn_call_composed(AgVar x, AgVar h0, const AgRnnWeights *w,
                                 const AgRnnOptions *options, const AgRnnKind *kind,
                                 AgRecurrent *o) {
    AgVar in[AG_ROLES];
    int n = inputs(x, h0, w, options, in, o);
    return n ? ag_rnn_loop(in[0].tape, n, in, o, kind) : (AgRnnOutput){ag_none(x), ag_none(x)};
}
