/* rnn_layer.c -- see rnn_layer.h. */
#include "autograd/ops/rnn_layer.h"

#include "tensor/gemm.h"

/* ---- forward ---- */

/* What the backward pass finds of a call, but y; where no gradient can be asked for, kept holds the
 * rows of one step only. */
typedef struct {
    AgRecurrentSize size;
    AgSteps steps;
    Tensor x;    /* [rows, gates H]: first W_ih x_t, then what the step leaves there */
    Tensor kept; /* [rows, H] */
    Tensor h0;   /* [B, H]: h before the first step */
    Tensor y;    /* [rows, H]: h after the step */
} Layer;

static Tensor matrix(AgCall *c, bool saved, int64_t rows, int64_t n) {
    return ag_call_tensor(c, saved, c->out[0].dtype, 2, (int64_t[]){rows, n});
}

static bool adds(const AgRnnKind *kind) { return kind->joined == kind->gates; }

static bool make_memory(AgCall *c, const AgRnnKind *kind, Layer *m) {
    int64_t H = m->size.H, B = m->size.B, rows = m->steps.rows;
    m->x = matrix(c, kind->keeps, rows, kind->gates * H);
    m->kept = matrix(c, kind->keeps, c->recorded ? rows : B, kind->keeps ? H : 0);
    m->y = ag_recurrent_output(c, &m->steps);
    m->h0 = matrix(c, true, B, H);
    return ag_tape_ok(c->tape);
}

/* What step number n finds, but W_hh h and biases. */
static AgRnnStep step_of(const AgRnnKind *kind, const Layer *m, int64_t n) {
    const AgSteps *s = &m->steps;
    AgRnnStep step = {.before = ag_step_before(s, &m->y, &m->h0, n),
                      .h = ag_step_rows(s, &m->y, n)};
    if (kind->keeps) step.kept = ag_step_rows(s, &m->kept, n);
    return step;
}

static bool run_steps(AgCall *c, const AgRnnKind *kind, Layer *m, const Tensor *biases) {
    const AgSteps *s = &m->steps;
    int64_t all = kind->gates * m->size.H;
    TensorPacked w_hh = ag_call_packed(c, ag_role(c->options, AG_W_HH), true);
    Tensor sums = matrix(c, false, adds(kind) ? 0 : s->B, all);
    if (!ag_tape_ok(c->tape)) return false;
    Tensor bias_ih = tensor_narrow(biases, 0, 0, 1), bias_hh = tensor_narrow(biases, 0, 1, 1);
    for (int64_t n = 0; n < s->T && s->active[n] > 0; n++) {
        const int64_t shape[] = {s->active[n], all};
        AgRnnStep step = step_of(kind, m, n);
        step.x = ag_step_rows(s, &m->x, n);
        step.y = adds(kind) ? step.x : tensor_narrow(&sums, 0, 0, shape[0]);
        step.bias_ih = tensor_expand(&bias_ih, 2, shape);
        step.bias_hh = tensor_expand(&bias_hh, 2, shape);
        if (!tensor_gemm_packed(1, &step.before, &w_hh, adds(kind), &step.y, c->scratch))
            return ag_call_fail(c, "out of memory");
        kind->step(c->options, &step);
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
    if (!ag_recurrent_parts(c->scratch, o, c->in, part)) return ag_call_fail(c, "out of memory");
    if (!ag_steps_plan(c, o, &m->steps) || !make_memory(c, kind, m)) return false;
    int64_t H = m->size.H;
    Tensor biases = ag_recurrent_biases(c, part, kind->gates * H, kind->joined * H);
    if (tensor_is_nil(&biases)) return false;
    ag_recurrent_initial(&m->steps, &m->h0, &part[AG_H0]);
    if (!ag_recurrent_project(c, &m->steps, &m->x)) return false;
    if (!run_steps(c, kind, m, &biases)) return false;
    ag_steps_finish(&m->steps, &c->out[0], &m->y);
    ag_steps_final(&m->steps, &c->out[1], &m->y, &m->h0);
    c->saved = m;
    return true;
}

/* ---- backward ---- */

/* dh: of the last state, then of the first. */
static bool back_steps(AgVjp *v, const AgRnnKind *kind, const Tensor *dy, const Tensor *dh,
                       const Tensor *dx_sum, const Tensor *dy_sum, const Layer *m) {
    const AgSteps *s = &m->steps;
    TensorPacked w_hh = ag_vjp_packed(v, ag_role(v->options, AG_W_HH), false);
    for (int64_t n = s->T - 1; n >= 0 && w_hh.data; n--) {
        if (s->active[n] == 0) continue;
        Tensor out = ag_step_rows(s, dy, n);
        AgRnnStep step = step_of(kind, m, n);
        AgRnnBack d = {ag_step_rows(s, dx_sum, n), ag_step_rows(s, dy_sum, n),
                       tensor_narrow(dh, 0, 0, s->active[n])};
        if (kind->keeps) step.x = ag_step_rows(s, &m->x, n);
        tensor_accumulate(&d.dh, &out);
        bool past = kind->back(v->options, &step, &d);
        if (!tensor_gemm_packed(1, &d.dy, &w_hh, past, &d.dh, v->scratch))
            return ag_vjp_out_of_memory(v);
    }
    return w_hh.data;
}

bool ag_rnn_vjp(AgVjp *v, const AgRnnKind *kind) {
    Layer m = *(const Layer *)v->saved;
    const AgSteps *s = &m.steps;
    const int64_t all[] = {s->rows, kind->gates * m.size.H};
    TensorDtype dtype = ag_dtype(v->out[0]);
    m.y = ag_steps_rows(v->scratch, s, ag_value(v->out[0]));
    Tensor dy = ag_gradient_rows(v, s, m.size.H), dh = ag_gradient_final(v, s, 1, m.size.H);
    Tensor dx_sum = tensor_new(v->scratch, dtype, 2, all), dy_sum = dx_sum;
    if (!adds(kind)) dy_sum = tensor_new(v->scratch, dtype, 2, all);
    if (tensor_is_nil(&m.y) || tensor_is_nil(&dy) || tensor_is_nil(&dh) ||
        tensor_is_nil(&dx_sum) || tensor_is_nil(&dy_sum))
        return ag_vjp_out_of_memory(v);
    if (!back_steps(v, kind, &dy, &dh, &dx_sum, &dy_sum, &m)) return false;
    Tensor hidden = ag_steps_before(v->scratch, s, &m.y, &m.h0);
    if (tensor_is_nil(&hidden)) return ag_vjp_out_of_memory(v);
    return ag_gradient_state(v, s, AG_H0, &dh) && ag_gradient_sum(v, AG_B_IH, &dx_sum) &&
           ag_gradient_sum(v, AG_B_HH, &dy_sum) &&
           ag_recurrent_gradients(v, s, &dx_sum, &dy_sum, &hidden);
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
