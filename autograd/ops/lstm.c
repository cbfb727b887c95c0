/* lstm: a layer of LSTM over a whole sequence, forward and back by hand.  The equations stand in
 * autograd/sequence.h, their derivatives in docs/lstm.md; lstm_composed.c says the same in ops. */
#include "autograd/ops/lstm.h"
#include "tensor/gemm.h"

/* Where the gates stand in a row of 4H; coupled ones have no f. */
enum { I_GATE = 0, F_GATE = 1 };
static int g_gate(const AgLstmCall *o) { return o->coupled ? 1 : 2; }
static int o_gate(const AgLstmCall *o) { return o->coupled ? 2 : 3; }

/* Can the cell run in one pass? */
static bool is_fused(const AgLstmCall *o) {
    return !o->coupled && !ag_has(&o->base, AG_PEEPHOLE) && !ag_has(&o->base, AG_NORM_HH);
}

/* What the backward pass finds of a call: tensors of [rows, ..] hold the rows of every step in the
 * order of the steps (recurrent.h).  Where no gradient can be asked for, c and tanh_c hold those of
 * one step only. */
typedef struct {
    AgRecurrentSize size;
    AgSteps steps;
    TensorDtype dtype;
    Tensor gates;    /* [rows, 4H]: first the sums a, then i, f, g, o */
    Tensor c;        /* [rows, H]: after the step; h after it is y */
    Tensor h0, c0;   /* [B, H'] and [B, H], before the first one */
    Tensor tanh_c;   /* [rows, H]: tanh(N(c~)) */
    Tensor mask;     /* m [B, H'], in the order of the steps; nil: 1 */
    Tensor new_h;    /* 1 - z_h [rows, H']; nil: 1 */
    Tensor new_c;    /* 1 - z_c [rows, H]; nil: 1 */
    Tensor product_ih, product_hh;       /* [rows, 4H] before layer normalisation; nil without */
    Tensor stats_ih, stats_hh, stats_c;  /* F64 [rows, 2]: mean and 1 / standard deviation */
} Lstm;

static bool shape(AgCall *c) {
    AgRecurrentSize size;
    char buf[AG_REASON_SIZE];
    const char *reason = ag_lstm_options_wrong(c->options, buf);
    if (reason) return ag_call_fail(c, "%s", reason);
    return ag_recurrent_shape(c, ag_lstm_gates(c->options), &size);
}

/* ---- forward ---- */

/* What a call of value() needs besides. */
typedef struct {
    AgCall *call;
    const AgLstmCall *o;
    Lstm *m;
    Tensor part[AG_ROLES]; /* inputs */
    TensorPacked w_hh, w_hr; /* the weights' transposes */
    Tensor y;              /* [rows, H']: h after the step */
    bool fused;            /* the gates' biases and the whole cell in one pass */
    Tensor bias;           /* [1, 4H]: b_ih + b_hh, or zeros */
    /* Room for one step, where the options call for it. */
    Tensor masked;            /* [B, H']: m * h before the step */
    Tensor normed_hh;         /* [B, 4H]: LN(W_hh h) */
    Tensor c_new, c_normed;   /* [B, H]: c~ and N(c~), where it is not c' */
    Tensor cell_out;          /* [B, H]: o * tanh(N(c~)), where it is not h~ */
    Tensor h_new;             /* [B, H']: h~, where it is not h' */
} Forward;

/* The rows of the first `rows` sequences. */
static Tensor head(const Tensor *x, int64_t rows) { return tensor_narrow(x, 0, 0, rows); }

static bool has(const Forward *f, AgRole role) { return !tensor_is_nil(&f->part[role]); }

static Tensor matrix(Forward *f, bool saved, int64_t rows, int64_t n) {
    return ag_call_tensor(f->call, saved, f->m->dtype, 2, (int64_t[]){rows, n});
}

/* y = a w^T + beta y, w^T packed */
static bool product(Forward *f, const Tensor *a, const TensorPacked *w_t, double beta,
                    const Tensor *y) {
    return tensor_gemm_packed(1, a, w_t, beta, y, f->call->scratch) ||
           ag_call_fail(f->call, "out of memory");
}

static bool pack_weights(Forward *f) {
    const AgRecurrent *o = &f->o->base;
    f->w_hh = ag_call_packed(f->call, ag_role(o, AG_W_HH), true);
    if (has(f, AG_W_HR)) f->w_hr = ag_call_packed(f->call, ag_role(o, AG_W_HR), true);
    return ag_tape_ok(f->call->tape);
}

/* 1 / (1 - p) where an element stays, else 0: [first, B, n]. */
static bool draw(Forward *f, const AgLstmDrop *drop, const Tensor *mask) {
    AgRandom r = drop->draw;
    if (!ag_random_rows(f->call, 2, &r)) return false;
    tensor_fill(mask, 1);
    tensor_dropout(mask, mask, r.key, drop->p, r.batch_axis, r.first, r.total);
    return true;
}

static bool draw_mask(Forward *f) {
    Lstm *m = f->m;
    int64_t B = m->size.B, n = m->size.out;
    m->mask = tensor_nil();
    if (!f->o->training || !(f->o->hidden.p > 0)) return true;
    Tensor drawn = ag_call_tensor(f->call, false, m->dtype, 3, (int64_t[]){1, B, n});
    m->mask = matrix(f, true, B, n);
    if (tensor_is_nil(&drawn) || tensor_is_nil(&m->mask) || !draw(f, &f->o->hidden, &drawn))
        return false;
    Tensor only = tensor_select(&drawn, 0, 0);
    ag_steps_sort(&m->steps, &m->mask, &only);
    return true;
}

/* In training 1 or 0, in evaluation their mean. */
static bool draw_zoneout(Forward *f, const AgLstmDrop *zoneout, int64_t n, Tensor *new) {
    Lstm *m = f->m;
    *new = tensor_nil();
    if (!(zoneout->p > 0)) return true;
    bool drawn = f->o->training;
    Tensor value = matrix(f, true, drawn ? m->steps.rows : 1, n);
    if (tensor_is_nil(&value)) return false;
    tensor_fill(&value, 1 - zoneout->p);
    *new = tensor_expand(&value, 2, (int64_t[]){m->steps.rows, n});
    if (!drawn) return true;
    const int64_t all[] = {m->size.T, m->size.B, n};
    Tensor mask = ag_call_tensor(f->call, false, m->dtype, 3, all);
    Tensor taken = ag_call_tensor(f->call, false, TENSOR_U8, 3, all);
    if (tensor_is_nil(&mask) || tensor_is_nil(&taken) || !draw(f, zoneout, &mask)) return false;
    double zero = 0;
    Tensor nothing = tensor_wrap(&zero, m->dtype, 0, NULL);
    tensor_compare(TENSOR_NE, &taken, &mask, &nothing);
    Tensor rows = ag_steps_rows(f->call->scratch, &m->steps, &taken);
    if (tensor_is_nil(&rows)) return ag_call_fail(f->call, "out of memory");
    tensor_convert(new, &rows);
    return true;
}

static bool make_normed(Forward *f) {
    Lstm *m = f->m;
    int64_t rows = m->steps.rows, B = m->size.B, all = m->gates.shape[1], stats[] = {rows, 2};
    m->product_ih = m->product_hh = m->stats_ih = m->stats_hh = m->stats_c = tensor_nil();
    if (!has(f, AG_NORM_HH)) return true;
    m->product_ih = matrix(f, true, rows, all);
    m->product_hh = matrix(f, true, rows, all);
    m->stats_ih = ag_call_tensor(f->call, true, TENSOR_F64, 2, stats);
    m->stats_hh = ag_call_tensor(f->call, true, TENSOR_F64, 2, stats);
    m->stats_c = ag_call_tensor(f->call, true, TENSOR_F64, 2, stats);
    f->normed_hh = matrix(f, false, B, all);
    f->c_normed = matrix(f, false, B, m->size.H);
    return ag_tape_ok(f->call->tape);
}

/* Room for one step, or nil. */
static Tensor spare(Forward *f, bool needed, int64_t n) {
    return needed ? matrix(f, false, f->m->size.B, n) : tensor_nil();
}

static bool make_memory(Forward *f) {
    Lstm *m = f->m;
    int64_t rows = m->steps.rows, B = m->size.B, H = m->size.H, out = m->size.out;
    int64_t kept = f->call->recorded ? rows : B;
    m->gates = matrix(f, true, rows, ag_lstm_gates(f->o) * H);
    if (tensor_is_nil(&m->gates) || !make_normed(f) || !draw_mask(f) ||
        !draw_zoneout(f, &f->o->zoneout_h, out, &m->new_h) ||
        !draw_zoneout(f, &f->o->zoneout_c, H, &m->new_c))
        return false;
    f->y = ag_recurrent_output(f->call, &m->steps);
    m->c = matrix(f, true, kept, H);
    m->h0 = matrix(f, true, B, out);
    m->c0 = matrix(f, true, B, H);
    m->tanh_c = matrix(f, true, kept, H);
    f->masked = spare(f, !tensor_is_nil(&m->mask), out);
    f->c_new = spare(f, !tensor_is_nil(&m->new_c), H);
    f->h_new = spare(f, !tensor_is_nil(&m->new_h), out);
    f->cell_out = spare(f, has(f, AG_W_HR), H);
    return ag_tape_ok(f->call->tape);
}

/* W_ih x of all steps, and b_ih + b_hh where the cell does not add them; with layer normalisation
 * LN(W_ih x) * gain + b_ih. */
static bool project_inputs(Forward *f) {
    Lstm *m = f->m;
    if (has(f, AG_NORM_IH)) {
        if (!ag_recurrent_project(f->call, &m->steps, &m->product_ih)) return false;
        tensor_layer_norm(&m->gates, &m->stats_ih, &m->product_ih, &f->part[AG_NORM_IH],
                          has(f, AG_B_IH) ? &f->part[AG_B_IH] : NULL, f->o->eps);
        return true;
    }
    int64_t n = m->gates.shape[1];
    f->bias = ag_recurrent_biases(f->call, f->part, n, n);
    if (tensor_is_nil(&f->bias)) return false;
    f->bias = head(&f->bias, 1);
    if (!ag_recurrent_project(f->call, &m->steps, &m->gates)) return false;
    if (has(f, AG_B_IH) && !f->fused) tensor_binary(TENSOR_ADD, &m->gates, &m->gates, &f->bias);
    return true;
}

static Tensor step_rows(const Lstm *m, const Tensor *x, int64_t n) {
    return ag_step_rows(&m->steps, x, n);
}

/* p_k for `rows` rows. */
static Tensor peephole(const Tensor *p, int k, int64_t rows, int64_t H) {
    Tensor one = tensor_narrow(p, 0, k * H, H);
    return tensor_expand(&one, 2, (int64_t[]){rows, H});
}

/* c += a * b */
static void multiply_add(const Tensor *a, const Tensor *b, const Tensor *c) {
    tensor_gates(TENSOR_MULTIPLY_ADD, 4, (Tensor[]){*a, *b, *c, *c});
}

/* a += W_hh (m * h) + b_hh, or with layer normalisation LN(W_hh (m * h)) * gain + b_hh. */
static bool add_hidden(Forward *f, int64_t n, const Tensor *a) {
    Lstm *m = f->m;
    int64_t rows = a->shape[0];
    Tensor hidden = ag_step_before(&m->steps, &f->y, &m->h0, n);
    if (!tensor_is_nil(&m->mask)) {
        Tensor masked = head(&f->masked, rows), mask = head(&m->mask, rows);
        tensor_binary(TENSOR_MUL, &masked, &hidden, &mask);
        hidden = masked;
    }
    if (!has(f, AG_NORM_HH)) return product(f, &hidden, &f->w_hh, 1, a);
    Tensor raw = step_rows(m, &m->product_hh, n), stats = step_rows(m, &m->stats_hh, n);
    Tensor normed = head(&f->normed_hh, rows);
    if (!product(f, &hidden, &f->w_hh, 0, &raw)) return false;
    tensor_layer_norm(&normed, &stats, &raw, &f->part[AG_NORM_HH],
                      has(f, AG_B_HH) ? &f->part[AG_B_HH] : NULL, f->o->eps);
    tensor_accumulate(a, &normed);
    return true;
}

/* The cell without options, in one pass: from the sums without biases i, f, g and o in their
 * place, c~, tanh(c~) and what the cell gives out. */
static void run_fused(Forward *f, int64_t n, const Tensor *a, const Tensor *c_before,
                      const Tensor *c, const Tensor *cell_out) {
    int64_t H = f->m->size.H, rows = a->shape[0];
    Tensor bias = tensor_expand(&f->bias, 2, (int64_t[]){rows, 4 * H}), in[4], b[4];
    for (int k = 0; k < 4; k++) {
        in[k] = ag_gate(a, k, H);
        b[k] = ag_gate(&bias, k, H);
    }
    tensor_gates(TENSOR_LSTM_STEP, 16,
                 (Tensor[]){in[0], in[1], in[2], in[3], b[0], b[1], b[2], b[3], *c_before, in[0],
                            in[1], in[2], in[3], *c, step_rows(f->m, &f->m->tanh_c, n),
                            *cell_out});
}

/* From the sums a: i, f, g in their place, and c~. */
static void run_cell(Forward *f, const Tensor *a, const Tensor *c_before, const Tensor *c) {
    int64_t H = f->m->size.H, rows = a->shape[0];
    Tensor i = ag_gate(a, I_GATE, H), g = ag_gate(a, g_gate(f->o), H);
    if (has(f, AG_PEEPHOLE)) {
        Tensor p_i = peephole(&f->part[AG_PEEPHOLE], 0, rows, H);
        multiply_add(&p_i, c_before, &i);
    }
    if (f->o->coupled) {
        tensor_gates(TENSOR_LSTM_COUPLED, 6, (Tensor[]){i, g, *c_before, i, g, *c});
        return;
    }
    Tensor forget = ag_gate(a, F_GATE, H);
    if (has(f, AG_PEEPHOLE)) {
        Tensor p_f = peephole(&f->part[AG_PEEPHOLE], 1, rows, H);
        multiply_add(&p_f, c_before, &forget);
    }
    tensor_gates(TENSOR_LSTM_CELL, 8,
                 (Tensor[]){i, forget, g, *c_before, i, forget, g, *c});
}

/* From c~ and a_o: o in its place, tanh(N(c~)), and what the cell gives out. */
static void run_output(Forward *f, int64_t n, const Tensor *a, const Tensor *c,
                       const Tensor *cell_out) {
    Lstm *m = f->m;
    int64_t H = m->size.H, rows = a->shape[0];
    Tensor o = ag_gate(a, o_gate(f->o), H), tanh_c = step_rows(m, &m->tanh_c, n), normed = *c;
    if (has(f, AG_PEEPHOLE)) {
        Tensor p_o = peephole(&f->part[AG_PEEPHOLE], o_gate(f->o) - 1, rows, H);
        multiply_add(&p_o, c, &o);
    }
    if (has(f, AG_NORM_C)) {
        Tensor stats = step_rows(m, &m->stats_c, n);
        normed = head(&f->c_normed, rows);
        tensor_layer_norm(&normed, &stats, c, &f->part[AG_NORM_C],
                          has(f, AG_NORM_C_BIAS) ? &f->part[AG_NORM_C_BIAS] : NULL, f->o->eps);
    }
    tensor_gates(TENSOR_LSTM_OUTPUT, 5, (Tensor[]){o, normed, o, tanh_c, *cell_out});
}

/* Step number n of all sequences that have one. */
static bool run_step(Forward *f, int64_t n) {
    Lstm *m = f->m;
    int64_t rows = m->steps.active[n];
    bool keep_h = !tensor_is_nil(&m->new_h), keep_c = !tensor_is_nil(&m->new_c);
    Tensor h_before = ag_step_before(&m->steps, &f->y, &m->h0, n), h = step_rows(m, &f->y, n);
    Tensor c_before = ag_step_before(&m->steps, &m->c, &m->c0, n), c = step_rows(m, &m->c, n);
    Tensor c_new = keep_c ? head(&f->c_new, rows) : c, h_new = keep_h ? head(&f->h_new, rows) : h;
    Tensor cell_out = has(f, AG_W_HR) ? head(&f->cell_out, rows) : h_new;
    Tensor a = step_rows(m, &m->gates, n);
    if (!add_hidden(f, n, &a)) return false;
    if (f->fused) {
        run_fused(f, n, &a, &c_before, &c_new, &cell_out);
    } else {
        run_cell(f, &a, &c_before, &c_new);
        run_output(f, n, &a, &c_new, &cell_out);
    }
    if (has(f, AG_W_HR) && !product(f, &cell_out, &f->w_hr, 0, &h_new)) return false;
    if (keep_h)
        tensor_gates(TENSOR_MIX, 4, (Tensor[]){step_rows(m, &m->new_h, n), h_before, h_new, h});
    if (keep_c)
        tensor_gates(TENSOR_MIX, 4, (Tensor[]){step_rows(m, &m->new_c, n), c_before, c_new, c});
    return true;
}

static bool value(AgCall *c) {
    const AgLstmCall *o = c->options;
    Lstm *m = ag_call_save(c, sizeof *m);
    char buf[AG_REASON_SIZE];
    if (!m) return false;
    Forward f = {.call = c, .o = o, .m = m};
    ag_recurrent_check(&o->base, c->n_in, c->in, ag_lstm_gates(o), &m->size, buf);
    m->dtype = c->out[0].dtype;
    if (!ag_recurrent_parts(c->scratch, &o->base, c->in, f.part))
        return ag_call_fail(c, "out of memory");
    f.fused = is_fused(o);
    if (!ag_steps_plan(c, &o->base, &m->steps) || !make_memory(&f) || !pack_weights(&f))
        return false;
    ag_recurrent_initial(&m->steps, &m->h0, &f.part[AG_H0]);
    ag_recurrent_initial(&m->steps, &m->c0, &f.part[AG_C0]);
    if (!project_inputs(&f)) return false;
    for (int64_t n = 0; n < m->size.T && m->steps.active[n] > 0; n++)
        if (!run_step(&f, n)) return false;
    ag_steps_finish(&m->steps, &c->out[0], &f.y);
    ag_steps_final(&m->steps, &c->out[1], &f.y, &m->h0);
    ag_steps_final(&m->steps, &c->out[2], &m->c, &m->c0);
    c->saved = m;
    return true;
}

/* ---- backward ---- */

/* Gradients on their way, named after what they are the gradient of. */
typedef struct {
    AgVjp *v;
    const AgLstmCall *o;
    const Lstm *m;
    Tensor part[AG_ROLES];
    Tensor dy;              /* [rows, H'] */
    Tensor dh, dc;          /* of the state, [B, H'] and [B, H] */
    Tensor da;              /* [rows, 4H]: of the sums before the activations */
    Tensor dproduct_hh;     /* [rows, 4H]: of W_hh h; da without layer normalisation */
    Tensor dh_new;          /* [rows, H']: of h~, where there is a projection */
    Tensor dc_normed;       /* [rows, H]: of N(c~), with layer normalisation */
    Tensor c_new;           /* [rows, H]: c~ once more, where it is needed */
    Tensor c_before;        /* [rows, H], likewise */
    TensorPacked w_hh, w_hr;
    /* Room for one step. */
    Tensor dh_before, dc_before; /* what passes by the cell in zoneout */
    Tensor dcell_out, dc_new;
} Backward;

static bool given(const Backward *b, AgRole role) { return !tensor_is_nil(&b->part[role]); }

static Tensor room(Backward *b, int64_t rows, int64_t n) {
    return tensor_new(b->v->scratch, b->m->dtype, 2, (int64_t[]){rows, n});
}

/* c~ of all rows, from the gates. */
static void cell_again(const Backward *b, const Tensor *c) {
    const Lstm *m = b->m;
    Tensor i = ag_gate(&m->gates, I_GATE, m->size.H);
    Tensor g = ag_gate(&m->gates, g_gate(b->o), m->size.H);
    if (b->o->coupled) {
        tensor_gates(TENSOR_MIX, 4, (Tensor[]){i, b->c_before, g, *c});
        return;
    }
    Tensor forget = ag_gate(&m->gates, F_GATE, m->size.H);
    tensor_binary(TENSOR_MUL, c, &forget, &b->c_before);
    multiply_add(&i, &g, c);
}

/* Nil where it is not needed. */
static bool make_states(Backward *b) {
    const Lstm *m = b->m;
    b->c_new = b->c_before = tensor_nil();
    if (!given(b, AG_NORM_C) && !given(b, AG_PEEPHOLE)) return true;
    b->c_before = ag_steps_before(b->v->scratch, &m->steps, &m->c, &m->c0);
    b->c_new = room(b, m->steps.rows, m->size.H);
    if (tensor_is_nil(&b->c_before) || tensor_is_nil(&b->c_new)) return ag_vjp_out_of_memory(b->v);
    cell_again(b, &b->c_new);
    return true;
}

static bool pack_for_backward(Backward *b) {
    const AgRecurrent *o = &b->o->base;
    b->w_hh = ag_vjp_packed(b->v, ag_role(o, AG_W_HH), false);
    if (given(b, AG_W_HR)) b->w_hr = ag_vjp_packed(b->v, ag_role(o, AG_W_HR), false);
    return ag_tape_ok(b->v->tape);
}

static bool make_gradients(Backward *b) {
    const Lstm *m = b->m;
    AgVjp *v = b->v;
    int64_t rows = m->steps.rows, B = m->size.B, H = m->size.H, out = m->size.out;
    int64_t all = m->gates.shape[1];
    bool norm = given(b, AG_NORM_C);
    b->dy = ag_gradient_rows(v, &m->steps, out);
    b->dh = ag_gradient_final(v, &m->steps, 1, out);
    b->dc = ag_gradient_final(v, &m->steps, 2, H);
    b->da = room(b, rows, all);
    b->dproduct_hh = norm ? room(b, rows, all) : b->da;
    b->dh_new = room(b, given(b, AG_W_HR) ? rows : B, out);
    b->dc_normed = room(b, norm ? rows : B, H);
    b->dh_before = room(b, B, out);
    b->dc_before = room(b, B, H);
    b->dcell_out = room(b, B, H);
    b->dc_new = room(b, B, H);
    const Tensor *made[] = {&b->dy,        &b->dh,        &b->dc,        &b->da,
                            &b->dproduct_hh, &b->dh_new,  &b->dc_normed, &b->dh_before,
                            &b->dc_before, &b->dcell_out, &b->dc_new};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        if (tensor_is_nil(made[i])) return ag_vjp_out_of_memory(v);
    return make_states(b) && pack_for_backward(b);
}

/* Through h' = z_h * h + (1 - z_h) * h~ and h~ = W_hr cell_out: from dh to the gradient of what
 * the cell gave out. */
static bool back_through_h(Backward *b, int64_t n, const Tensor *dh, Tensor *dcell_out) {
    const Lstm *m = b->m;
    int64_t rows = dh->shape[0];
    Tensor dh_new = *dh;
    if (!tensor_is_nil(&m->new_h)) {
        Tensor before = head(&b->dh_before, rows);
        dh_new = step_rows(m, &b->dh_new, n);
        tensor_gates(TENSOR_MIX_BACKWARD, 4,
                     (Tensor[]){step_rows(m, &m->new_h, n), *dh, before, dh_new});
    } else if (given(b, AG_W_HR)) {
        dh_new = step_rows(m, &b->dh_new, n);
        tensor_convert(&dh_new, dh);
    }
    *dcell_out = dh_new;
    if (!given(b, AG_W_HR)) return true;
    *dcell_out = head(&b->dcell_out, rows);
    return tensor_gemm_packed(1, &dh_new, &b->w_hr, 0, dcell_out, b->v->scratch) ||
           ag_vjp_out_of_memory(b->v);
}

/* Through cell_out = o * tanh(N(c~)): da_o, and dc~ with what c' = z_c * c + (1 - z_c) * c~
 * brings. */
static void back_through_output(Backward *b, int64_t n, const Tensor *dcell_out,
                                const Tensor *dc_new) {
    const Lstm *m = b->m;
    int64_t H = m->size.H, rows = dcell_out->shape[0];
    Tensor gates = step_rows(m, &m->gates, n), da = step_rows(m, &b->da, n);
    Tensor o = ag_gate(&gates, o_gate(b->o), H), da_o = ag_gate(&da, o_gate(b->o), H);
    Tensor tanh_c = step_rows(m, &m->tanh_c, n), dc = head(&b->dc, rows), dnormed = *dc_new;
    if (given(b, AG_NORM_C)) dnormed = step_rows(m, &b->dc_normed, n);
    tensor_gates(TENSOR_LSTM_OUTPUT_BACKWARD, 5, (Tensor[]){o, tanh_c, *dcell_out, da_o, dnormed});
    if (given(b, AG_NORM_C)) {
        Tensor c = step_rows(m, &b->c_new, n), stats = step_rows(m, &m->stats_c, n);
        tensor_layer_norm_backward(dc_new, NULL, NULL, &dnormed, &c, &stats,
                                   &b->part[AG_NORM_C]);
    }
    if (!tensor_is_nil(&m->new_c)) {
        Tensor before = head(&b->dc_before, rows);
        tensor_gates(TENSOR_MIX_BACKWARD, 4,
                     (Tensor[]){step_rows(m, &m->new_c, n), dc, before, dc});
    }
    tensor_accumulate(dc_new, &dc);
    if (given(b, AG_PEEPHOLE)) {
        Tensor p_o = peephole(&b->part[AG_PEEPHOLE], o_gate(b->o) - 1, rows, H);
        multiply_add(&da_o, &p_o, dc_new);
    }
}

/* Through c~ = f * c + i * g: da_i, da_f, da_g, and dc of the state before. */
static void back_through_cell(Backward *b, int64_t n, const Tensor *dc_new) {
    const Lstm *m = b->m;
    int64_t H = m->size.H, rows = dc_new->shape[0];
    Tensor gates = step_rows(m, &m->gates, n), da = step_rows(m, &b->da, n);
    Tensor c = ag_step_before(&m->steps, &m->c, &m->c0, n), dc = head(&b->dc, rows);
    Tensor i = ag_gate(&gates, I_GATE, H), g = ag_gate(&gates, g_gate(b->o), H);
    Tensor da_i = ag_gate(&da, I_GATE, H), da_g = ag_gate(&da, g_gate(b->o), H);
    Tensor f = ag_gate(&gates, F_GATE, H), da_f = ag_gate(&da, F_GATE, H);
    if (b->o->coupled)
        tensor_gates(TENSOR_LSTM_COUPLED_BACKWARD, 7, (Tensor[]){i, g, c, *dc_new, da_i, da_g, dc});
    else
        tensor_gates(TENSOR_LSTM_CELL_BACKWARD, 9,
                     (Tensor[]){i, f, g, c, *dc_new, da_i, da_f, da_g, dc});
    if (given(b, AG_PEEPHOLE)) {
        Tensor p_i = peephole(&b->part[AG_PEEPHOLE], 0, rows, H);
        multiply_add(&da_i, &p_i, &dc);
    }
    if (given(b, AG_PEEPHOLE) && !b->o->coupled) {
        Tensor p_f = peephole(&b->part[AG_PEEPHOLE], 1, rows, H);
        multiply_add(&da_f, &p_f, &dc);
    }
    if (!tensor_is_nil(&m->new_c)) {
        Tensor before = head(&b->dc_before, rows);
        tensor_accumulate(&dc, &before);
    }
}

/* Through W_hh (m * h): dh of the state before. */
static bool back_through_hidden(Backward *b, int64_t n, const Tensor *dh) {
    const Lstm *m = b->m;
    int64_t rows = dh->shape[0];
    Tensor dproduct = step_rows(m, &b->dproduct_hh, n);
    if (given(b, AG_NORM_HH)) {
        Tensor da = step_rows(m, &b->da, n), raw = step_rows(m, &m->product_hh, n);
        Tensor stats = step_rows(m, &m->stats_hh, n);
        tensor_layer_norm_backward(&dproduct, NULL, NULL, &da, &raw, &stats,
                                   &b->part[AG_NORM_HH]);
    }
    if (!tensor_gemm_packed(1, &dproduct, &b->w_hh, 0, dh, b->v->scratch))
        return ag_vjp_out_of_memory(b->v);
    if (!tensor_is_nil(&m->mask)) {
        Tensor mask = head(&m->mask, rows);
        tensor_binary(TENSOR_MUL, dh, dh, &mask);
    }
    if (!tensor_is_nil(&m->new_h)) {
        Tensor before = head(&b->dh_before, rows);
        tensor_accumulate(dh, &before);
    }
    return true;
}

/* Through output and cell at once, where the forward pass was. */
static void back_through_fused(Backward *b, int64_t n, const Tensor *dcell_out) {
    const Lstm *m = b->m;
    int64_t H = m->size.H, rows = dcell_out->shape[0];
    Tensor gates = step_rows(m, &m->gates, n), da = step_rows(m, &b->da, n), g[4], d[4];
    Tensor dc = head(&b->dc, rows), before = head(&b->dc_before, rows);
    bool zoneout = !tensor_is_nil(&m->new_c);
    for (int k = 0; k < 4; k++) {
        g[k] = ag_gate(&gates, k, H);
        d[k] = ag_gate(&da, k, H);
    }
    if (zoneout)
        tensor_gates(TENSOR_MIX_BACKWARD, 4,
                     (Tensor[]){step_rows(m, &m->new_c, n), dc, before, dc});
    tensor_gates(TENSOR_LSTM_STEP_BACKWARD, 13,
                 (Tensor[]){g[0], g[1], g[2], g[3], step_rows(m, &m->tanh_c, n),
                            ag_step_before(&m->steps, &m->c, &m->c0, n), *dcell_out, dc, d[0],
                            d[1], d[2], d[3], dc});
    if (zoneout) tensor_accumulate(&dc, &before);
}

static bool back_step(Backward *b, int64_t n) {
    int64_t rows = b->m->steps.active[n];
    Tensor dh = head(&b->dh, rows), dy = step_rows(b->m, &b->dy, n);
    Tensor dc_new = head(&b->dc_new, rows), dcell_out;
    tensor_accumulate(&dh, &dy);
    if (!back_through_h(b, n, &dh, &dcell_out)) return false;
    if (is_fused(b->o)) {
        back_through_fused(b, n, &dcell_out);
    } else {
        back_through_output(b, n, &dcell_out, &dc_new);
        back_through_cell(b, n, &dc_new);
    }
    return back_through_hidden(b, n, &dh);
}

/* ---- gradients of the parameters, from those of all rows ---- */

/* dgain = sum of g LN(x) over the rows */
static bool gain_gradient(Backward *b, AgRole role, const Tensor *g, const Tensor *x,
                          const Tensor *stats) {
    if (!ag_gradient_needed(b->v, role)) return true;
    Tensor sums = tensor_new(b->v->scratch, TENSOR_F64, 1, &x->shape[1]);
    if (tensor_is_nil(&sums)) return ag_vjp_out_of_memory(b->v);
    Tensor dgain = ag_vjp_raw(b->v, ag_role(&b->o->base, role));
    if (tensor_is_nil(&dgain)) return false;
    tensor_layer_norm_backward(NULL, &sums, NULL, g, x, stats, &b->part[role]);
    tensor_convert(&dgain, &sums);
    return true;
}

static bool norm_gradients(Backward *b) {
    const Lstm *m = b->m;
    return gain_gradient(b, AG_NORM_IH, &b->da, &m->product_ih, &m->stats_ih) &&
           gain_gradient(b, AG_NORM_HH, &b->da, &m->product_hh, &m->stats_hh) &&
           gain_gradient(b, AG_NORM_C, &b->dc_normed, &b->c_new, &m->stats_c) &&
           ag_gradient_sum(b->v, AG_NORM_C_BIAS, &b->dc_normed);
}

/* dp_k = sum of da_k * c over the rows; the output gate sees c~. */
static bool peephole_gradients(Backward *b) {
    const Lstm *m = b->m;
    int64_t H = m->size.H;
    if (!ag_gradient_needed(b->v, AG_PEEPHOLE)) return true;
    Tensor terms = room(b, m->steps.rows, H);
    if (tensor_is_nil(&terms)) return ag_vjp_out_of_memory(b->v);
    Tensor dp = ag_vjp_raw(b->v, ag_role(&b->o->base, AG_PEEPHOLE));
    if (tensor_is_nil(&dp)) return false;
    int last = o_gate(b->o) - 1;
    for (int k = 0; k <= last; k++) {
        Tensor da = ag_gate(&b->da, k < last ? k : o_gate(b->o), H);
        Tensor part = tensor_narrow(&dp, 0, k * H, H), row = tensor_unsqueeze(&part, 0);
        tensor_binary(TENSOR_MUL, &terms, &da, k < last ? &b->c_before : &b->c_new);
        tensor_sum(&row, &terms);
    }
    return true;
}

/* dW_hr = sum of dh~ cell_out^T over the rows */
static bool projection_gradient(Backward *b) {
    const Lstm *m = b->m;
    if (!ag_gradient_needed(b->v, AG_W_HR)) return true;
    Tensor cell_out = room(b, m->steps.rows, m->size.H);
    if (tensor_is_nil(&cell_out)) return ag_vjp_out_of_memory(b->v);
    Tensor o = ag_gate(&m->gates, o_gate(b->o), m->size.H);
    tensor_binary(TENSOR_MUL, &cell_out, &o, &m->tanh_c);
    return ag_gradient_product(b->v, AG_W_HR, &b->dh_new, &cell_out);
}

/* m * h for all rows. */
static void mask_rows(const Lstm *m, const Tensor *hidden) {
    for (int64_t n = 0; n < m->size.T && m->steps.active[n] > 0; n++) {
        Tensor h = step_rows(m, hidden, n), mask = head(&m->mask, m->steps.active[n]);
        tensor_binary(TENSOR_MUL, &h, &h, &mask);
    }
}

/* From da to W_ih x, whose gradients come last: they may take da's place. */
static bool input_gradients(Backward *b) {
    const Lstm *m = b->m;
    Tensor y = ag_steps_rows(b->v->scratch, &m->steps, ag_value(b->v->out[0])), hidden = y;
    if (!tensor_is_nil(&y)) hidden = ag_steps_before(b->v->scratch, &m->steps, &y, &m->h0);
    if (tensor_is_nil(&hidden)) return ag_vjp_out_of_memory(b->v);
    if (!tensor_is_nil(&m->mask)) mask_rows(m, &hidden);
    if (given(b, AG_NORM_IH)) {
        Tensor dproduct = room(b, m->steps.rows, m->gates.shape[1]);
        if (tensor_is_nil(&dproduct)) return ag_vjp_out_of_memory(b->v);
        tensor_layer_norm_backward(&dproduct, NULL, NULL, &b->da, &m->product_ih, &m->stats_ih,
                                   &b->part[AG_NORM_IH]);
        b->da = dproduct;
    }
    return ag_recurrent_gradients(b->v, &m->steps, &b->da, &b->dproduct_hh, &hidden);
}

static bool vjp(AgVjp *v) {
    const AgLstmCall *o = v->options;
    const Lstm *m = v->saved;
    Backward b = {.v = v, .o = o, .m = m};
    const Tensor *in[AG_ROLES];
    for (int i = 0; i < v->n_in; i++) in[i] = ag_value(v->in[i]);
    if (!ag_recurrent_parts(v->scratch, &o->base, in, b.part)) return ag_vjp_out_of_memory(v);
    if (!make_gradients(&b)) return false;
    for (int64_t n = m->size.T - 1; n >= 0; n--)
        if (m->steps.active[n] > 0 && !back_step(&b, n)) return false;
    return ag_gradient_state(v, &m->steps, AG_H0, &b.dh) &&
           ag_gradient_state(v, &m->steps, AG_C0, &b.dc) && ag_gradient_biases(v, &b.da) &&
           norm_gradients(&b) && peephole_gradients(&b) &&
           projection_gradient(&b) && input_gradients(&b);
}

static bool compose(AgTape *t, int n_in, const AgVar *in, const void *options, AgVar *out) {
    AgLstmOutput result = ag_lstm_loop(t, n_in, in, options, NULL);
    out[0] = result.y;
    out[1] = result.hn;
    out[2] = result.cn;
    return ag_ok(result.cn);
}

/* ---- samples ---- */

#define STATE (AG_HAS(AG_H0) | AG_HAS(AG_C0))
#define PROJECTION AG_HAS(AG_W_HR)
#define PEEPHOLE AG_HAS(AG_PEEPHOLE)
#define NORM (AG_HAS(AG_NORM_IH) | AG_HAS(AG_NORM_HH) | AG_HAS(AG_NORM_C))
#define NORM_BIAS AG_HAS(AG_NORM_C_BIAS)
#define KEY {1, {1, 2, 3}, 0, 0}
#define NEVER {0, {0, {0, 0, 0}, 0, 0}}
#define CALL(parts, reverse, lengths, ...) \
    AG_WITH(AgLstmCall, {parts, reverse, lengths}, __VA_ARGS__)
#define PLAIN false, false, 1e-5, NEVER, NEVER, NEVER
#define GAIN(n) AG_IN(.5, 1.5, n)

static const AgSample samples[] = {
    {"all inputs",
     7,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 2), AG_W(8), AG_W(8), AG_W(2, 2), AG_W(2, 2)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS | STATE, false, NULL, PLAIN),
     NULL},
    {"weights alone",
     3,
     {AG_W(4, 2, 2), AG_W(12, 2), AG_W(12, 3)},
     CALL(AG_RNN_BASE, false, NULL, PLAIN),
     NULL},
    {"reverse",
     5,
     {AG_W(3, 2, 2), AG_W(8, 2), AG_W(8, 2), AG_W(2, 2), AG_W(2, 2)},
     CALL(AG_RNN_BASE | STATE, true, NULL, PLAIN),
     NULL},
    {"lengths",
     7,
     {AG_W(4, 4, 2), AG_W(8, 2), AG_W(8, 2), AG_W(8), AG_W(8), AG_W(4, 2), AG_W(4, 2)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS | STATE, false, AG_LENGTHS(2, 0, 4, 2), PLAIN),
     NULL},
    {"lengths, reverse",
     5,
     {AG_W(3, 3, 2), AG_W(8, 2), AG_W(8, 2), AG_W(8), AG_W(8)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS, true, AG_LENGTHS(1, 3, 2), PLAIN),
     NULL},
    {"projection",
     6,
     {AG_W(3, 2, 2), AG_W(12, 2), AG_W(12, 2), AG_W(2, 2), AG_W(2, 3), AG_W(2, 3)},
     CALL(AG_RNN_BASE | STATE | PROJECTION, false, AG_LENGTHS(2, 3), PLAIN),
     NULL},
    {"peepholes",
     6,
     {AG_W(3, 2, 2), AG_W(8, 2), AG_W(8, 2), AG_W(2, 2), AG_W(2, 2), AG_W(6)},
     CALL(AG_RNN_BASE | STATE | PEEPHOLE, false, AG_LENGTHS(2, 3), PLAIN),
     NULL},
    {"coupled",
     7,
     {AG_W(3, 2, 2), AG_W(6, 2), AG_W(6, 2), AG_W(6), AG_W(6), AG_W(2, 2), AG_W(2, 2)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS | STATE, false, NULL, true, false, 1e-5, NEVER, NEVER, NEVER),
     NULL},
    {"coupled, peepholes",
     4,
     {AG_W(3, 2, 2), AG_W(6, 2), AG_W(6, 2), AG_W(4)},
     CALL(AG_RNN_BASE | PEEPHOLE, true, AG_LENGTHS(3, 1), true, false, 1e-5, NEVER, NEVER, NEVER),
     NULL},
    {"layer norm",
     11,
     {AG_W(3, 2, 2), AG_W(8, 2), AG_W(8, 2), AG_W(8), AG_W(8), AG_W(2, 2), AG_W(2, 2), GAIN(8),
      GAIN(8), GAIN(2), AG_W(2)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS | STATE | NORM | NORM_BIAS, false, NULL, false, false, .1,
          NEVER, NEVER, NEVER),
     NULL},
    {"layer norm, no bias",
     6,
     {AG_W(3, 3, 2), AG_W(8, 2), AG_W(8, 2), GAIN(8), GAIN(8), GAIN(2)},
     CALL(AG_RNN_BASE | NORM, true, AG_LENGTHS(2, 1, 3), false, false, .1, NEVER, NEVER, NEVER),
     NULL},
    {"hidden dropout",
     5,
     {AG_W(3, 3, 2), AG_W(8, 2), AG_W(8, 2), AG_W(3, 2), AG_W(3, 2)},
     CALL(AG_RNN_BASE | STATE, false, AG_LENGTHS(1, 3, 2), false, true, 1e-5, {.5, KEY}, NEVER,
          NEVER),
     NULL},
    {"zoneout",
     5,
     {AG_W(3, 3, 2), AG_W(8, 2), AG_W(8, 2), AG_W(3, 2), AG_W(3, 2)},
     CALL(AG_RNN_BASE | STATE, false, AG_LENGTHS(3, 1, 2), false, true, 1e-5, NEVER, {.4, KEY},
          {.6, KEY}),
     NULL},
    {"mean zoneout",
     5,
     {AG_W(3, 3, 2), AG_W(8, 2), AG_W(8, 2), AG_W(3, 2), AG_W(3, 2)},
     CALL(AG_RNN_BASE | STATE, true, AG_LENGTHS(1, 3, 2), false, false, 1e-5, NEVER, {.4, KEY},
          {.6, KEY}),
     NULL},
    {"everything",
     13,
     {AG_W(3, 3, 2), AG_W(12, 2), AG_W(12, 2), AG_W(12), AG_W(12), AG_W(3, 2), AG_W(3, 3),
      AG_W(2, 3), AG_W(9), GAIN(12), GAIN(12), GAIN(3), AG_W(3)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS | STATE | PROJECTION | PEEPHOLE | NORM | NORM_BIAS, true,
          AG_LENGTHS(2, 0, 3), false, true, .1, {.3, KEY}, {.4, KEY}, {.5, KEY}),
     NULL},
    {"share of a batch",
     3,
     {AG_W(3, 2, 2), AG_W(8, 2), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, false, true, 1e-5, {.5, {1, {1, 2, 3}, 2, 6}}, NEVER, NEVER),
     NULL},
    {"longer than a vector",
     5,
     {AG_W(2, 2, 1), AG_W(36, 1), AG_W(36, 9), AG_W(36), AG_W(36)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS, false, NULL, PLAIN),
     NULL},
    {"numbers",
     7,
     {AG_NUMBERS(3, 4, 2), AG_W(8, 3), AG_W(8, 2), AG_W(8), AG_W(8), AG_W(2, 2), AG_W(2, 2)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS | STATE, false, NULL, PLAIN),
     NULL},
    {"fewer steps than numbers, reverse",
     5,
     {AG_NUMBERS(9, 3, 2), AG_W(8, 9), AG_W(8, 2), AG_W(8), AG_W(8)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS, true, AG_LENGTHS(1, 3), PLAIN),
     NULL},
    {"numbers, options",
     10,
     {AG_NUMBERS(2, 3, 3), AG_W(6, 2), AG_W(6, 2), AG_W(6), AG_W(6), AG_W(4), GAIN(6), GAIN(6),
      GAIN(2), AG_W(2)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS | PEEPHOLE | NORM | NORM_BIAS, false, AG_LENGTHS(2, 0, 3),
          true, false, .1, NEVER, {.4, KEY}, NEVER),
     NULL},
    {"numbers, peepholes",
     6,
     {AG_NUMBERS(2, 3, 3), AG_W(8, 2), AG_W(8, 2), AG_W(8), AG_W(8), AG_W(6)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS | PEEPHOLE, false, NULL, PLAIN),
     NULL},
    {"numbers of no inputs, no steps",
     7,
     {AG_NUMBERS(1, 3, 2), AG_W(8, 0), AG_W(8, 2), AG_W(8), AG_W(8), AG_W(2, 2), AG_W(2, 2)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS | STATE, false, AG_LENGTHS(0, 0), PLAIN),
     NULL},
    {"no sequences",
     7,
     {AG_W(3, 0, 3), AG_W(8, 3), AG_W(8, 2), AG_W(8), AG_W(8), AG_W(0, 2), AG_W(0, 2)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS | STATE, false, NULL, PLAIN),
     NULL},
    {"no inputs",
     3,
     {AG_W(3, 2, 0), AG_W(8, 0), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, PLAIN),
     NULL},
    {"no hidden units",
     5,
     {AG_W(3, 2, 2), AG_W(0, 2), AG_W(0, 0), AG_W(0), AG_W(0)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS, true, AG_LENGTHS(1, 2), PLAIN),
     NULL},
    {0},
};
static const AgSample errors[] = {
    {"x",
     3,
     {AG_W(3, 2), AG_W(8, 3), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, PLAIN),
     "expected x [T,B,I]"},
    {"no steps",
     3,
     {AG_W(0, 2, 3), AG_W(8, 3), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, PLAIN),
     "1 step"},
    {"gates",
     3,
     {AG_W(3, 2, 3), AG_W(7, 3), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, PLAIN),
     "expected weight_ih [4H,I]"},
    {"input size",
     3,
     {AG_W(3, 2, 3), AG_W(8, 2), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, PLAIN),
     "expected weight_ih [8,3], got"},
    {"hidden size",
     3,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 3)},
     CALL(AG_RNN_BASE, false, NULL, PLAIN),
     "expected weight_hh [8,2], got"},
    {"one bias",
     4,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 2), AG_W(8)},
     CALL(AG_RNN_BASE | AG_HAS(AG_B_IH), false, NULL, PLAIN),
     "one bias alone"},
    {"bias",
     5,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 2), AG_W(8), AG_W(4)},
     CALL(AG_RNN_BASE | AG_RNN_BIAS, false, NULL, PLAIN),
     "expected bias_hh [8], got"},
    {"state",
     5,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 2), AG_W(1, 2), AG_W(2, 2)},
     CALL(AG_RNN_BASE | STATE, false, NULL, PLAIN),
     "expected h0 [2,2], got"},
    {"projection",
     4,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 1), AG_W(1, 3)},
     CALL(AG_RNN_BASE | PROJECTION, false, NULL, PLAIN),
     "expected weight_hr [1,2], got"},
    {"projection is a matrix",
     4,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 1), AG_W(2)},
     CALL(AG_RNN_BASE | PROJECTION, false, NULL, PLAIN),
     "expected weight_hr [H',H]"},
    {"peepholes",
     4,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 2), AG_W(4)},
     CALL(AG_RNN_BASE | PEEPHOLE, false, NULL, PLAIN),
     "expected weight_peephole [6], got"},
    {"one gain",
     4,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 2), AG_W(8)},
     CALL(AG_RNN_BASE | AG_HAS(AG_NORM_IH), false, NULL, PLAIN),
     "come together"},
    {"length",
     3,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, AG_LENGTHS(3, 4), PLAIN),
     "lengths[1] is 4, outside 0..3"},
    {"probability",
     3,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, false, false, 1e-5, NEVER, {1.5, KEY}, NEVER),
     "zoneout_h is 1.5"},
    {"eps",
     3,
     {AG_W(3, 2, 3), AG_W(8, 3), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, false, false, -1, NEVER, NEVER, NEVER),
     "layer_norm_eps is -1"},
    {"rows",
     3,
     {AG_W(3, 2, 2), AG_W(8, 2), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, false, true, 1e-5, {.5, {1, {1, 2, 3}, 5, 6}}, NEVER, NEVER),
     "batch of 6"},
    {"numbers",
     3,
     {AG_NUMBERS(1, 3, 2, 3), AG_W(8, 3), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, PLAIN),
     "expected x [T,B], the numbers"},
    {"number",
     3,
     {AG_IN_DTYPE("i64", 3, 4, 3, 2), AG_W(8, 3), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, PLAIN),
     "x at step 0 of sequence 0 is 3, outside 0..2"},
    {"number below 0",
     3,
     {AG_IN_DTYPE("i64", -1, 0, 3, 2), AG_W(8, 3), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, AG_LENGTHS(0, 2), PLAIN),
     "x at step 0 of sequence 1 is -1, outside 0..2"},
    {"bytes",
     3,
     {AG_IN_DTYPE("u8", 0, 3, 3, 2), AG_W(8, 3), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, PLAIN),
     "x is u8"},
    {"dtypes",
     3,
     {AG_IN_DTYPE("f32", 0, 1, 3, 2, 3), AG_IN_DTYPE("f64", 0, 1, 8, 3), AG_W(8, 2)},
     CALL(AG_RNN_BASE, false, NULL, PLAIN),
     "mixed dtypes"},
    {0},
};

/* ---- the op ---- */

const AgOp ag_op_lstm = {"lstm", "a layer of LSTM over a sequence", "af*:fff", shape, value,
                         vjp, compose, samples, errors, false, NULL};

AgLstmOutput ag_lstm(AgVar x, AgVar h0, AgVar c0, const AgLstmWeights *w,
                     const AgLstmOptions *options) {
    AgVar in[AG_ROLES], out[3] = {ag_none(x), ag_none(x), ag_none(x)};
    AgLstmCall o;
    int n = ag_lstm_inputs(x, h0, c0, w, options, in, &o);
    if (n) ag_apply(&ag_op_lstm, in[0].tape, n, in, &o, sizeof o, out);
    return (AgLstmOutput){out[0], out[1], out[2]};
}
