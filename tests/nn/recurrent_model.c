/* recurrent_model.c -- see recurrent_model.h. */
#include "tests/nn/recurrent_model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tensor/kernels.h"

/* ---- the layer ---- */

Model model_try(ModelKind kind, TensorDtype dtype, int64_t I, int64_t H, const NnLstmOptions *o) {
    Model m = {.kind = kind, .I = I, .H = H, .P = o->proj_size ? o->proj_size : H, .o = *o,
               .L = o->num_layers ? o->num_layers : 1, .D = o->bidirectional ? 2 : 1,
               .set = nn_params_new(dtype, 7)};
    if (kind == MODEL_LSTM) {
        m.lstm = nn_lstm_make(m.set, "rnn", I, H, o);
    } else if (kind == MODEL_GRU) {
        NnGruOptions gru = {o->num_layers, o->bidirectional, o->no_bias, o->batch_first,
                            o->dropout,    o->init,          o->composed};
        m.gru = nn_gru_make(m.set, "rnn", I, H, &gru);
    } else {
        NnRnnOptions rnn = {o->num_layers, o->bidirectional, o->no_bias, o->batch_first,
                            o->dropout,    o->init,          o->composed,
                            kind == MODEL_RELU ? AG_RNN_RELU : AG_RNN_TANH};
        m.rnn = nn_rnn_make(m.set, "rnn", I, H, &rnn);
    }
    return m;
}

Model model_new(ModelKind kind, TensorDtype dtype, int64_t I, int64_t H, const NnLstmOptions *o) {
    Model m = model_try(kind, dtype, I, H, o);
    cr_assert(nn_params_ok(m.set), "%s", nn_params_error(m.set));
    return m;
}

void model_free(Model *m) { nn_params_free(m->set); }

NnLstmOutput model_run(const Model *m, AgVar x, AgVar h0, AgVar c0, const int64_t *lengths) {
    NnLstmState s = {h0, c0};
    if (m->kind == MODEL_LSTM) return nn_lstm(&m->lstm, x, h0.tape ? &s : NULL, lengths);
    NnRnnOutput out = m->kind == MODEL_GRU ? nn_gru(&m->gru, x, h0, lengths)
                                           : nn_rnn(&m->rnn, x, h0, lengths);
    return (NnLstmOutput){out.y, out.hn, {0}};
}

/* ---- plain loops: one step of one sequence ---- */

enum { MOST = 64 }; /* of the sums of one step */

/* One pass: its parameters and masks (nil: none). */
typedef struct {
    const Model *m;
    Tensor w_ih, w_hh, b_ih, b_hh, w_hr, peephole, norm_ih, norm_hh, norm_c, norm_c_bias;
    Tensor hidden, zone_h, zone_c; /* [B, P], [T, B, P], [T, B, H] */
    int64_t B, t, b;               /* where it is */
} Pass;

static double logistic(double x) { return 1 / (1 + exp(-x)); }

static bool there(const Tensor *x) { return !tensor_is_nil(x); }

/* out [rows] = w [rows, n] x */
static void product(const Tensor *w, const double *x, double *out) {
    for (int64_t r = 0; r < w->shape[0]; r++) {
        out[r] = 0;
        for (int64_t k = 0; k < w->shape[1]; k++)
            out[r] += tensor_get(w, r * w->shape[1] + k) * x[k];
    }
}

static void add(const Tensor *bias, double *x) {
    for (int64_t r = 0; there(bias) && r < bias->shape[0]; r++) x[r] += tensor_get(bias, r);
}

static void normalise(const Tensor *gain, const Tensor *bias, double eps, double *x) {
    if (!there(gain)) return;
    int64_t n = gain->shape[0];
    double mean = 0, var = 0;
    for (int64_t r = 0; r < n; r++) mean += x[r] / (double)n;
    for (int64_t r = 0; r < n; r++) var += (x[r] - mean) * (x[r] - mean) / (double)n;
    for (int64_t r = 0; r < n; r++)
        x[r] = (x[r] - mean) / sqrt(var + (eps > 0 ? eps : 1e-5)) * tensor_get(gain, r) +
               (bias && there(bias) ? tensor_get(bias, r) : 0);
}

/* The state becomes `next` but for what zoneout keeps. */
static void update(const Pass *p, const Tensor *zone, double keep, int64_t n, const double *next,
                   double *state) {
    for (int64_t j = 0; j < n; j++) {
        if (!there(zone)) state[j] = keep * state[j] + (1 - keep) * next[j];
        else if (tensor_get(zone, (p->t * p->B + p->b) * n + j) != 0) state[j] = next[j];
    }
}

static void lstm_step(const Pass *p, const double *x, double *h, double *c) {
    const NnLstmOptions *o = &p->m->o;
    int64_t H = p->m->H, P = p->m->P;
    int last = o->coupled ? 2 : 3;
    double masked[MOST], a[MOST], ah[MOST], c_new[MOST], out[MOST], h_new[MOST];
    for (int64_t j = 0; j < P; j++)
        masked[j] = h[j] * (there(&p->hidden) ? tensor_get(&p->hidden, p->b * P + j) : 1);
    product(&p->w_ih, x, a);
    product(&p->w_hh, masked, ah);
    normalise(&p->norm_ih, NULL, o->layer_norm_eps, a);
    normalise(&p->norm_hh, NULL, o->layer_norm_eps, ah);
    for (int64_t r = 0; r < p->w_ih.shape[0]; r++) a[r] += ah[r];
    add(&p->b_ih, a);
    add(&p->b_hh, a);
#define PEEP(k, cell) (o->peepholes ? tensor_get(&p->peephole, (k) * H + j) * (cell) : 0)
    for (int64_t j = 0; j < H; j++) {
        double i = logistic(a[j] + PEEP(0, c[j]));
        double f = o->coupled ? 1 - i : logistic(a[H + j] + PEEP(1, c[j]));
        double g = tanh(a[(last - 1) * H + j]);
        out[j] = c_new[j] = f * c[j] + i * g;
    }
    normalise(&p->norm_c, &p->norm_c_bias, o->layer_norm_eps, out);
    for (int64_t j = 0; j < H; j++)
        out[j] = logistic(a[last * H + j] + PEEP(last - 1, c_new[j])) * tanh(out[j]);
    if (there(&p->w_hr)) product(&p->w_hr, out, h_new);
    else memcpy(h_new, out, (size_t)H * sizeof *out);
    update(p, &p->zone_h, o->zoneout_h, P, h_new, h);
    update(p, &p->zone_c, o->zoneout_c, H, c_new, c);
}

static void gru_step(const Pass *p, const double *x, double *h) {
    int64_t H = p->m->H;
    double a[MOST], u[MOST];
    product(&p->w_ih, x, a);
    product(&p->w_hh, h, u);
    add(&p->b_ih, a);
    add(&p->b_hh, u);
    for (int64_t j = 0; j < H; j++) {
        double r = logistic(a[j] + u[j]), z = logistic(a[H + j] + u[H + j]);
        double n = tanh(a[2 * H + j] + r * u[2 * H + j]);
        h[j] = (1 - z) * n + z * h[j];
    }
}

static void rnn_step(const Pass *p, const double *x, double *h) {
    double a[MOST], u[MOST];
    product(&p->w_ih, x, a);
    product(&p->w_hh, h, u);
    add(&p->b_ih, a);
    add(&p->b_hh, u);
    for (int64_t j = 0; j < p->m->H; j++)
        h[j] = p->m->kind == MODEL_RELU ? fmax(0, a[j] + u[j]) : tanh(a[j] + u[j]);
}

/* ---- plain loops: layers ---- */

static double *at(const Tensor *x, int64_t i) { return (double *)x->data + i; }

static Tensor find(const Model *m, const char *what, int k) {
    char name[100];
    snprintf(name, sizeof name, "rnn.%s_l%d%s", what, k / m->D, k % m->D ? "_reverse" : "");
    const NnParam *p = nn_params_find(m->set, name);
    return p ? p->value : tensor_nil();
}

/* Zeros and 1 / (1 - p), or nil where nothing is dropped. */
static Tensor draw(AgTape *masks, double p, int batch_axis, int ndim, const int64_t *shape) {
    if (!masks || p == 0) return tensor_nil();
    AgVar mask = ag_dropout(ag_full(masks, TENSOR_F64, ndim, shape, 1), p, batch_axis);
    cr_assert(ag_tape_ok(masks), "%s", ag_tape_error(masks));
    return *ag_value(mask);
}

/* x times the mask, which has x's shape but for sizes of 1 in front. */
static Tensor times(TensorArena *a, const Tensor *x, const Tensor *mask) {
    if (!there(mask)) return *x;
    Tensor y = tensor_copy(a, x);
    int64_t n = tensor_numel(mask);
    for (int64_t e = 0; e < tensor_numel(&y); e++) *at(&y, e) *= tensor_get(mask, e % n);
    return y;
}

static Pass open_pass(const Model *m, TensorArena *a, int k, int64_t T, int64_t B,
                      AgTape *masks) {
    Pass p = {.m = m, .B = B, .w_ih = find(m, "weight_ih", k), .w_hh = find(m, "weight_hh", k),
              .b_ih = find(m, "bias_ih", k), .b_hh = find(m, "bias_hh", k),
              .w_hr = find(m, "weight_hr", k), .peephole = find(m, "weight_peephole", k),
              .norm_ih = find(m, "layer_norm_ih", k), .norm_hh = find(m, "layer_norm_hh", k),
              .norm_c = find(m, "layer_norm_c", k),
              .norm_c_bias = find(m, "layer_norm_c_bias", k)};
    cr_assert(there(&p.w_ih) && there(&p.w_hh), "names are PyTorch's");
    cr_assert(p.w_ih.shape[0] <= MOST);
    Tensor drop = draw(masks, m->o.weight_drop, -1, 2, p.w_hh.shape);
    p.w_hh = times(a, &p.w_hh, &drop);
    p.hidden = draw(masks, m->o.hidden_dropout, 0, 2, (int64_t[]){B, m->P});
    p.zone_h = draw(masks, m->o.zoneout_h, 1, 3, (int64_t[]){T, B, m->P});
    p.zone_c = draw(masks, m->o.zoneout_c, 1, 3, (int64_t[]){T, B, m->H});
    return p;
}

static void step(const Pass *p, const double *x, double *h, double *c) {
    if (p->m->kind == MODEL_LSTM) lstm_step(p, x, h, c);
    else if (p->m->kind == MODEL_GRU) gru_step(p, x, h);
    else rnn_step(p, x, h);
}

/* Pass k from x [T, B, n] into its half of y [T, B, D*P] and to h and c of the pass. */
static void run_pass(const Model *m, TensorArena *a, int k, const Tensor *x,
                     const int64_t *lengths, AgTape *masks, ModelPlain *out, Tensor *y) {
    int64_t T = x->shape[0], B = x->shape[1], P = m->P;
    Pass p = open_pass(m, a, k, T, B, masks);
    for (p.b = 0; p.b < B; p.b++) {
        int64_t steps = lengths ? lengths[p.b] : T;
        double *h = at(&out->h, (k * B + p.b) * P), *c = at(&out->c, (k * B + p.b) * m->H);
        for (int64_t n = 0; n < steps; n++) {
            p.t = k % m->D ? steps - 1 - n : n;
            step(&p, at(x, (p.t * B + p.b) * x->shape[2]), h, c);
            memcpy(at(y, ((p.t * B + p.b) * m->D + k % m->D) * P), h, (size_t)P * sizeof *h);
        }
    }
}

/* x with one mask for all steps, or one for each. */
static Tensor drop(TensorArena *a, const Tensor *x, double p, bool locked, AgTape *masks) {
    Tensor mask = draw(masks, p, 1, 3,
                       (int64_t[]){locked ? 1 : x->shape[0], x->shape[1], x->shape[2]});
    return times(a, x, &mask);
}

static Tensor zeros(TensorArena *a, int64_t n, int64_t B, int64_t size) {
    Tensor x = tensor_new(a, TENSOR_F64, 3, (int64_t[]){n, B, size});
    cr_assert(there(&x));
    tensor_fill(&x, 0);
    return x;
}

ModelPlain model_plain(const Model *m, TensorArena *a, const Tensor *x, const Tensor *h0,
                       const Tensor *c0, const int64_t *lengths, AgTape *masks) {
    int64_t T = x->shape[0], B = x->shape[1];
    ModelPlain out = {.h = h0 ? tensor_copy(a, h0) : zeros(a, m->L * m->D, B, m->P),
                      .c = c0 ? tensor_copy(a, c0) : zeros(a, m->L * m->D, B, m->H)};
    out.y = drop(a, x, m->o.input_dropout, true, masks);
    for (int l = 0; l < m->L; l++) {
        Tensor y = zeros(a, T, B, m->D * m->P);
        for (int d = 0; d < m->D; d++)
            run_pass(m, a, l * m->D + d, &out.y, lengths, masks, &out, &y);
        out.y = l < m->L - 1 ? drop(a, &y, m->o.dropout, m->o.locked_dropout, masks) : y;
    }
    out.y = drop(a, &out.y, m->o.output_dropout, true, masks);
    return out;
}

/* ---- gradients ---- */

typedef struct {
    const Model *m;
    const int64_t *lengths;
    int states; /* 2: h and c */
} Checked;

static int forward(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    const Checked *c = context;
    for (int i = 0; i < nn_params_count(c->m->set); i++)
        nn_param_bind(t, nn_params_at(c->m->set, i), x[1 + c->states + i]);
    NnLstmOutput out = model_run(c->m, x[0], x[1], x[2], c->lengths);
    y[0] = out.y, y[1] = out.hn, y[2] = out.cn;
    return 1 + c->states;
}

GradcheckResult model_gradcheck(const Model *m, int64_t T, int64_t B, const int64_t *lengths,
                                int order, const GradcheckOptions *options) {
    Checked c = {m, lengths, m->kind == MODEL_LSTM ? 2 : 1};
    TensorArena *a = tensor_arena_new();
    Tensor in[3 + 64];
    int n = 0, K = m->L * m->D, params = nn_params_count(m->set);
    cr_assert(params <= 64);
    const int64_t first[] = {B, T, m->I}, second[] = {T, B, m->I};
    in[n++] = model_tensor(a, TENSOR_F64, 3, m->o.batch_first ? first : second, 1);
    in[n++] = model_tensor(a, TENSOR_F64, 3, (int64_t[]){K, B, m->P}, 2);
    if (c.states == 2) in[n++] = model_tensor(a, TENSOR_F64, 3, (int64_t[]){K, B, m->H}, 3);
    for (int i = 0; i < params; i++) in[n++] = nn_params_at(m->set, i)->value;
    GradcheckResult r;
    cr_expect((order == 2 ? gradgradcheck : gradcheck)(forward, &c, n, in, options, &r),
              "kind %d, order %d: %s", (int)m->kind, order, r.message);
    tensor_arena_free(a);
    return r;
}

/* ---- small things ---- */

Tensor model_tensor(TensorArena *a, TensorDtype dtype, int ndim, const int64_t *shape,
                    uint64_t number) {
    Tensor x = tensor_new(a, dtype, ndim, shape);
    cr_assert(!tensor_is_nil(&x));
    tensor_rng_fill_uniform(&x, (TensorRngKey){3, 0, number}, -1, 1);
    return x;
}

double model_distance(const Tensor *a, const Tensor *b) {
    if (!tensor_same_shape(a, b)) return HUGE_VAL;
    double worst = 0;
    for (int64_t e = 0; e < tensor_numel(a); e++) {
        double d = fabs(tensor_get(a, e) - tensor_get(b, e));
        worst = d <= worst ? worst : isnan(d) ? HUGE_VAL : d;
    }
    return worst;
}
