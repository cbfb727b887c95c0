/* recurrent_call.c -- see recurrent_call.h. */
#include "tests/autograd/recurrent_call.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tensor/rng.h"

static const char *const part_names[] = {
    "x",         "h0",       "c0",            "weight_ih",     "weight_hh",    "bias_ih",
    "bias_hh",   "weight_hr", "weight_peephole", "layer_norm_ih", "layer_norm_hh", "layer_norm_c",
    "layer_norm_c_bias", "seed of y", "seed of hn", "seed of cn"};
static const char *const out_names[] = {"y", "hn", "cn"};

/* ---- shapes ---- */

static int64_t gates(const Call *c) {
    return c->kind == CALL_LSTM ? 4 - c->o.coupled : c->kind == CALL_GRU ? 3 : 1;
}

static bool has_part(const Call *c, CallPart part) {
    bool lstm = c->kind == CALL_LSTM;
    switch (part) {
    case CALL_H0: return c->state;
    case CALL_C0: return lstm && c->state;
    case CALL_B_IH:
    case CALL_B_HH: return c->bias;
    case CALL_W_HR: return lstm && c->P != c->H;
    case CALL_PEEPHOLE: return lstm && c->peepholes;
    case CALL_NORM_IH:
    case CALL_NORM_HH:
    case CALL_NORM_C: return lstm && c->norm;
    case CALL_NORM_C_BIAS: return lstm && c->norm && c->norm_bias;
    default: return true;
    }
}

int call_shape(const Call *c, CallPart part, int64_t shape[3]) {
    int64_t all = gates(c) * c->H;
    const struct {
        int ndim;
        int64_t shape[3];
    } shapes[CALL_PARTS] = {
        [CALL_X] = {3, {c->T, c->B, c->I}}, [CALL_H0] = {2, {c->B, c->P}},
        [CALL_C0] = {2, {c->B, c->H}},      [CALL_W_IH] = {2, {all, c->I}},
        [CALL_W_HH] = {2, {all, c->P}},     [CALL_B_IH] = {1, {all}},
        [CALL_B_HH] = {1, {all}},           [CALL_W_HR] = {2, {c->P, c->H}},
        [CALL_PEEPHOLE] = {1, {all - c->H}}, [CALL_NORM_IH] = {1, {all}},
        [CALL_NORM_HH] = {1, {all}},        [CALL_NORM_C] = {1, {c->H}},
        [CALL_NORM_C_BIAS] = {1, {c->H}},
    };
    if (!has_part(c, part)) return -1;
    memcpy(shape, shapes[part].shape, sizeof shapes[part].shape);
    return part == CALL_X && c->numbers ? 2 : shapes[part].ndim;
}

int call_out_shape(const Call *c, int out, int64_t shape[3]) {
    if (out == 2 && c->kind != CALL_LSTM) return -1;
    int at = 0;
    if (out == 0) shape[at++] = c->T;
    shape[at++] = c->B;
    shape[at++] = out == 2 ? c->H : c->P;
    return at;
}

/* ---- inputs ---- */

static Tensor uniform(TensorArena *a, TensorDtype dtype, int ndim, const int64_t *shape,
                      uint64_t number, int what, double lo, double hi) {
    Tensor x = tensor_new(a, dtype, ndim, shape);
    cr_assert(!tensor_is_nil(&x));
    tensor_rng_fill_uniform(&x, (TensorRngKey){number, 7, (uint64_t)what}, lo, hi);
    return x;
}

/* x I64 [T, B] */
static Tensor numbers(TensorArena *a, const Call *c, uint64_t number) {
    Tensor x = tensor_new(a, TENSOR_I64, 2, (int64_t[]){c->T, c->B});
    cr_assert(!tensor_is_nil(&x));
    for (int64_t e = 0; e < c->T * c->B; e++) {
        bool beyond = c->has_lengths && e / c->B >= c->lengths[e % c->B];
        int64_t entry = tensor_rng_below((TensorRngKey){number, 8, 0}, (uint64_t)e, c->I);
        ((int64_t *)x.data)[e] = beyond ? (e % 2 ? INT64_MIN : c->I) : entry;
    }
    return x;
}

CallData call_data(TensorArena *a, const Call *c, TensorDtype dtype, uint64_t number) {
    CallData d;
    int64_t shape[3];
    for (int part = 0; part < CALL_PARTS; part++) {
        int ndim = call_shape(c, (CallPart)part, shape);
        bool gain = part >= CALL_NORM_IH && part <= CALL_NORM_C;
        double width = ndim == 2 && part >= CALL_W_IH ? 1.5 / sqrt((double)shape[1] + 1) : 1;
        d.part[part] = ndim < 0 ? tensor_nil()
                                : uniform(a, dtype, ndim, shape, number, part,
                                          gain ? .5 : -width, gain ? 1.5 : width);
    }
    if (c->numbers) d.part[CALL_X] = numbers(a, c, number);
    for (int out = 0; out < CALL_OUT; out++) {
        int ndim = call_out_shape(c, out, shape);
        d.seed[out] = ndim < 0 ? tensor_nil()
                               : uniform(a, dtype, ndim, shape, number, 50 + out, -1, 1);
    }
    return d;
}

/* Memory for `shape` with the axes in the order `axes`, as a view in the usual order. */
static Tensor permuted(TensorArena *a, const Tensor *x, const int *axes) {
    int64_t shape[TENSOR_MAX_DIMS];
    int back[TENSOR_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++) {
        shape[i] = x->shape[axes[i]];
        back[axes[i]] = i;
    }
    Tensor memory = tensor_new(a, x->dtype, x->ndim, shape);
    return tensor_permute(&memory, back);
}

/* Memory of twice the size along an axis, of which every second entry counts. */
static Tensor every_second(TensorArena *a, const Tensor *x, int axis) {
    int64_t shape[TENSOR_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[axis] *= 2;
    Tensor memory = tensor_new(a, x->dtype, x->ndim, shape);
    tensor_fill(&memory, x->dtype == TENSOR_I64 ? -1 : NAN);
    return tensor_slice(&memory, axis, 0, shape[axis], 2);
}

Tensor call_strided(TensorArena *a, const Tensor *x, int layout) {
    static const int backwards[][3] = {{0}, {0}, {1, 0}, {2, 1, 0}}, batch_first[] = {1, 0, 2};
    if (tensor_is_nil(x)) return *x;
    if (layout == CALL_LAYOUTS - 1) {
        int axis = x->ndim == 3 ? 1 : 0;
        Tensor row = x->shape[axis] ? tensor_narrow(x, axis, 0, 1) : *x;
        return tensor_expand(&row, x->ndim, x->shape);
    }
    Tensor y = *x, turned;
    switch (layout) {
    case 0: return *x;
    case 1: y = permuted(a, x, backwards[x->ndim]); break;
    case 2: y = x->ndim == 3 ? permuted(a, x, batch_first) : every_second(a, x, 0); break;
    case 3: y = every_second(a, x, x->ndim - 1); break;
    case 4:
        turned = tensor_new(a, x->dtype, x->ndim, x->shape);
        y = tensor_flip(&turned, 0);
        break;
    default:
        turned = tensor_new(a, x->dtype, x->ndim, x->shape);
        y = tensor_flip(&turned, x->ndim - 1);
    }
    cr_assert(!tensor_is_nil(&y));
    tensor_convert(&y, x);
    return y;
}

void call_rows(TensorArena *a, const Call *c, const CallData *d, int64_t first, int64_t n,
               Call *part, CallData *part_data) {
    *part = *c;
    *part_data = *d;
    part->B = n;
    memmove(part->lengths, c->lengths + first, (size_t)n * sizeof *c->lengths);
    Tensor *batch[] = {&part_data->part[CALL_X], &part_data->part[CALL_H0],
                       &part_data->part[CALL_C0], &part_data->seed[0], &part_data->seed[1],
                       &part_data->seed[2]};
    for (size_t i = 0; i < sizeof batch / sizeof *batch; i++) {
        if (tensor_is_nil(batch[i])) continue;
        bool last = batch[i]->dtype == TENSOR_I64;
        Tensor rows = tensor_narrow(batch[i], batch[i]->ndim - (last ? 1 : 2), first, n);
        *batch[i] = tensor_copy(a, &rows);
    }
}

/* ---- running ---- */

void call_apply(const Call *c, const AgVar v[CALL_PARTS], AgVar out[CALL_OUT]) {
    AgLstmOptions o = c->o;
    o.lengths = c->has_lengths ? c->lengths : NULL;
    if (c->kind == CALL_LSTM) {
        AgLstmWeights w = {v[CALL_W_IH],     v[CALL_W_HH],    v[CALL_B_IH],   v[CALL_B_HH],
                           v[CALL_W_HR],     v[CALL_PEEPHOLE], v[CALL_NORM_IH], v[CALL_NORM_HH],
                           v[CALL_NORM_C],   v[CALL_NORM_C_BIAS]};
        AgLstmOutput r = c->composed
                             ? ag_lstm_composed(v[CALL_X], v[CALL_H0], v[CALL_C0], &w, &o, NULL)
                             : ag_lstm(v[CALL_X], v[CALL_H0], v[CALL_C0], &w, &o);
        out[0] = r.y, out[1] = r.hn, out[2] = r.cn;
        return;
    }
    AgRnnWeights w = {v[CALL_W_IH], v[CALL_W_HH], v[CALL_B_IH], v[CALL_B_HH]};
    AgRnnOptions ro = {o.lengths, o.reverse};
    AgRnnNonlinearity f = c->kind == CALL_RELU ? AG_RNN_RELU : AG_RNN_TANH;
    AgVar x = v[CALL_X], h0 = v[CALL_H0];
    AgRnnOutput r = c->kind == CALL_GRU ? (c->composed ? ag_gru_composed(x, h0, &w, &ro)
                                                       : ag_gru(x, h0, &w, &ro))
                    : c->composed       ? ag_rnn_composed(x, h0, &w, f, &ro)
                                        : ag_rnn(x, h0, &w, f, &ro);
    out[0] = r.y, out[1] = r.hn, out[2] = (AgVar){0};
}

typedef struct {
    int n;
    AgVar v[CALL_PARTS + CALL_OUT];
    int place[CALL_PARTS + CALL_OUT]; /* among parts, then seeds */
} List;

static void append(List *l, AgVar v, int place) {
    l->v[l->n] = v;
    l->place[l->n++] = place;
}

static void first_order(AgTape *t, const Call *c, const CallData *d, bool again,
                        AgVar v[CALL_PARTS], const AgVar out[CALL_OUT], List *x, List *gx,
                        CallResult *r) {
    List y = {0}, seed = {0};
    for (int k = 0; k < CALL_OUT; k++)
        if (!tensor_is_nil(&d->seed[k])) {
            append(&y, out[k], k);
            append(&seed, ag_borrow(t, &d->seed[k]), CALL_PARTS + k);
        }
    for (int part = 0; part < CALL_PARTS; part++)
        if (v[part].tape && !c->same[part] && !(c->left_out >> part & 1) &&
            (part != CALL_X || !c->numbers))
            append(x, v[part], part);
    cr_assert(ag_grad_n(y.n, y.v, seed.v, x->n, x->v, gx->v, again), "%s: %s", call_words(c),
              ag_tape_error(t));
    for (int i = 0; i < x->n; i++) r->grad[x->place[i]] = *ag_value(gx->v[i]);
    gx->n = x->n;
    for (int k = 0; k < seed.n; k++) append(x, seed.v[k], seed.place[k]);
}

/* A fixed direction of g's shape. */
static AgVar direction(AgTape *t, const Tensor *g, int place) {
    void *memory = ag_tape_alloc(t, (size_t)tensor_numel(g) * tensor_dtype_size(g->dtype) + 1);
    cr_assert(memory);
    Tensor v = tensor_wrap(memory, g->dtype, g->ndim, g->shape);
    tensor_rng_fill_uniform(&v, (TensorRngKey){3, 3, (uint64_t)place}, -1, 1);
    return ag_borrow(t, &v);
}

static void second_order(AgTape *t, const Call *c, const List *x, const List *gx, CallResult *r) {
    List v = {0}, g2 = {0};
    for (int i = 0; i < gx->n; i++)
        append(&v, direction(t, ag_value(gx->v[i]), x->place[i]), x->place[i]);
    cr_assert(ag_grad_n(gx->n, gx->v, v.v, x->n, x->v, g2.v, false), "%s: %s", call_words(c),
              ag_tape_error(t));
    for (int i = 0; i < x->n; i++) r->grad2[x->place[i]] = *ag_value(g2.v[i]);
}

static CallResult no_result(void) {
    CallResult r;
    for (int k = 0; k < CALL_OUT; k++) r.out[k] = tensor_nil();
    for (int k = 0; k < CALL_PARTS; k++) r.grad[k] = tensor_nil();
    for (int k = 0; k < CALL_PARTS + CALL_OUT; k++) r.grad2[k] = tensor_nil();
    return r;
}

CallResult call_run(const Call *c, AgTape *t, const CallData *d, int order) {
    CallResult r = no_result();
    AgVar v[CALL_PARTS] = {{0}}, out[CALL_OUT];
    ag_tape_reset(t);
    ag_tape_rng(t, 11, c->step);
    ag_tape_rows(t, c->first, c->total);
    ag_tape_training(t, c->training);
    ag_tape_no_grad(t, order == 0);
    for (int part = 0; part < CALL_PARTS; part++)
        if (!tensor_is_nil(&d->part[part]) && !c->same[part])
            v[part] = ag_borrow(t, &d->part[part]);
    for (int part = 0; part < CALL_PARTS; part++)
        if (c->same[part]) v[part] = v[c->same[part]];
    call_apply(c, v, out);
    cr_assert(ag_tape_ok(t), "%s: %s", call_words(c), ag_tape_error(t));
    for (int k = 0; k < CALL_OUT; k++)
        if (out[k].tape) r.out[k] = *ag_value(out[k]);
    List x = {0}, gx = {0};
    if (order > 0) first_order(t, c, d, order > 1, v, out, &x, &gx, &r);
    if (order > 1) second_order(t, c, &x, &gx, &r);
    return r;
}

/* ---- comparing ---- */

/* Of each element by its own size, or at least by `size`. */
static double distance_by(const Tensor *got, const Tensor *want, double size) {
    if (!tensor_same_shape(got, want)) return HUGE_VAL;
    double worst = 0;
    for (int64_t e = 0; e < tensor_numel(want); e++) {
        double w = tensor_get(want, e), d = fabs(tensor_get(got, e) - w);
        d /= 1 + fmax(fabs(w), size);
        worst = d <= worst ? worst : isnan(d) ? HUGE_VAL : d;
    }
    return worst;
}

double call_distance(const Tensor *got, const Tensor *want) { return distance_by(got, want, 0); }

double call_distance_by_largest(const Tensor *got, const Tensor *want) {
    double largest = 0;
    for (int64_t e = 0; e < tensor_numel(want); e++)
        largest = fmax(largest, fabs(tensor_get(want, e)));
    return distance_by(got, want, largest);
}

double call_difference(const CallResult *got, const CallResult *want,
                       double (*distance)(const Tensor *got, const Tensor *want),
                       const char **name) {
    double worst = 0;
    *name = "nothing";
    for (int i = 0; i < CALL_OUT + CALL_PARTS + CALL_PARTS + CALL_OUT; i++) {
        int part = i - CALL_OUT, second = part - CALL_PARTS;
        const Tensor *g = part < 0 ? &got->out[i] : second < 0 ? &got->grad[part]
                                                               : &got->grad2[second];
        const Tensor *w = part < 0 ? &want->out[i] : second < 0 ? &want->grad[part]
                                                                : &want->grad2[second];
        double d = distance(g, w);
        if (!(d > worst)) continue;
        worst = d;
        *name = part < 0 ? out_names[i] : part_names[second < 0 ? part : second];
    }
    return worst;
}

bool call_same_bits(const Tensor *a, const Tensor *b) {
    if (!tensor_same_shape(a, b) || a->dtype != b->dtype) return false;
    for (int64_t e = 0; e < tensor_numel(a); e++) {
        double x = tensor_get(a, e), y = tensor_get(b, e); /* exact for both float types */
        if (memcmp(&x, &y, sizeof x) != 0) return false;
    }
    return true;
}

bool call_same_results(const CallResult *a, const CallResult *b) {
    bool same = true;
    for (int k = 0; k < CALL_OUT; k++) same &= call_same_bits(&a->out[k], &b->out[k]);
    for (int k = 0; k < CALL_PARTS; k++) same &= call_same_bits(&a->grad[k], &b->grad[k]);
    return same;
}

const char *call_words(const Call *c) {
    static const char *const kinds[] = {"lstm", "gru", "rnn tanh", "rnn relu"};
    static _Thread_local char text[400];
    int n = snprintf(text, sizeof text,
                     "%s%s T %lld B %lld I %lld H %lld P %lld%s%s%s%s%s%s%s dropout %g zoneout"
                     " %g %g eps %g%s%s",
                     kinds[c->kind], c->numbers ? " of numbers" : "", (long long)c->T,
                     (long long)c->B, (long long)c->I, (long long)c->H, (long long)c->P,
                     c->bias ? " bias" : "",
                     c->state ? " state" : "", c->peepholes ? " peepholes" : "",
                     c->norm ? " norm" : "", c->norm && c->norm_bias ? " bias of norm" : "",
                     c->o.coupled ? " coupled" : "", c->o.reverse ? " reverse" : "",
                     c->o.hidden_dropout, c->o.zoneout_h, c->o.zoneout_c, c->o.layer_norm_eps,
                     c->training ? " training" : "", c->has_lengths ? " lengths" : "");
    for (int64_t b = 0; c->has_lengths && b < c->B && n < 380; b++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %lld", (long long)c->lengths[b]);
    return text;
}

/* ---- random calls ---- */

int64_t call_below(uint64_t number, int what, int64_t n) {
    return tensor_rng_below((TensorRngKey){number, 1, (uint64_t)what}, 0, n);
}

void call_random_lengths(Call *c, uint64_t number) {
    c->has_lengths = true;
    for (int64_t b = 0; b < c->B; b++) c->lengths[b] = call_below(number, 100 + (int)b, c->T + 1);
}

Call call_random(uint64_t number, CallKind kind, int64_t max_T, int n_sizes, const int64_t *sizes) {
    int what = 0;
#define BELOW(n) call_below(number, what++, n)
#define SOMETIMES(value) (BELOW(3) == 0 ? (value) : 0)
    Call c = {.kind = kind, .T = 1 + BELOW(max_T), .B = sizes[BELOW(n_sizes)],
              .I = sizes[BELOW(n_sizes)], .H = sizes[BELOW(n_sizes)], .bias = BELOW(2),
              .state = BELOW(2), .training = BELOW(2)};
    c.P = c.H;
    c.numbers = call_below(number, 99, 3) == 0;
    c.o.reverse = BELOW(2);
    if (BELOW(2)) call_random_lengths(&c, number);
    if (kind != CALL_LSTM) return c;
    if (BELOW(3) == 0 && c.H > 1) c.P = 1 + BELOW(c.H - 1);
    c.peepholes = BELOW(3) == 0;
    c.norm = BELOW(3) == 0;
    c.norm_bias = BELOW(2);
    c.o.coupled = BELOW(3) == 0;
    c.o.layer_norm_eps = BELOW(2) ? .1 : 0;
    c.o.hidden_dropout = SOMETIMES(.4);
    c.o.zoneout_h = SOMETIMES(.3);
    c.o.zoneout_c = SOMETIMES(.6);
    return c;
#undef BELOW
#undef SOMETIMES
}
