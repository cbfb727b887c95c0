/* layer_norm: the last axes to mean 0 and variance 1, then scaled and shifted. */
#include <math.h>

#include "autograd/ops/axes.h"

/* Inputs: x, then weight and bias where there are any. */
typedef struct {
    int n_axes;
    bool weight, bias;
    double eps;
} Options;

/* Which input it is; 0 for none. */
static int weight_of(const Options *o) { return o->weight; }
static int bias_of(const Options *o) { return o->bias ? 1 + o->weight : 0; }

static bool fits_last_axes(const Tensor *x, const Tensor *w, int n) {
    bool fits = w->ndim == n;
    for (int d = 0; d < n && fits; d++) fits = w->shape[d] == x->shape[x->ndim - n + d];
    return fits;
}

static bool shape(AgCall *c) {
    const Options *o = c->options;
    const Tensor *x = c->in[0];
    if (c->n_in != 1 + o->weight + o->bias) return ag_call_fail(c, "%d arguments", c->n_in);
    if (o->n_axes < 1 || o->n_axes > x->ndim)
        return ag_call_fail(c, "over the last %d of %d axes", o->n_axes, x->ndim);
    if (!(o->eps >= 0)) return ag_call_fail(c, "eps is %g, wants 0 or more", o->eps);
    for (int i = 1; i < c->n_in; i++)
        if (!fits_last_axes(x, c->in[i], o->n_axes))
            return ag_call_fail(c, "%s does not have the shape of the last %d axes",
                                i == weight_of(o) ? "weight" : "bias", o->n_axes);
    return ag_out_like(c, 0, x);
}

/* Contiguous x as [rows, n], and n. */
static Tensor rows_of(const Tensor *x, int n_axes) {
    int64_t size[2] = {1, 1};
    for (int d = 0; d < x->ndim; d++) size[d >= x->ndim - n_axes] *= x->shape[d];
    return tensor_wrap(x->data, x->dtype, 2, size);
}

static Tensor run_of(const Tensor *x) {
    int64_t n = tensor_numel(x);
    return tensor_wrap(x->data, x->dtype, 1, &n);
}

/* saved: mean and 1 / standard deviation of each row. */
static bool value(AgCall *c) {
    const Options *o = c->options;
    Tensor in[3], *stats = ag_call_save(c, sizeof *stats);
    if (!stats) return false;
    for (int i = 0; i < c->n_in; i++) {
        in[i] = ag_call_contiguous(c, c->in[i]);
        if (tensor_is_nil(&in[i])) return false;
        in[i] = i ? run_of(&in[i]) : rows_of(&in[i], o->n_axes);
    }
    *stats = ag_call_tensor(c, true, TENSOR_F64, 2, (int64_t[]){in[0].shape[0], 2});
    if (tensor_is_nil(stats)) return false;
    Tensor y = rows_of(&c->out[0], o->n_axes);
    tensor_layer_norm(&y, stats, &in[0], o->weight ? &in[weight_of(o)] : NULL,
                      o->bias ? &in[bias_of(o)] : NULL, o->eps);
    c->saved = stats;
    return true;
}

/* Sums over rows are taken in double; their place in scratch, or nil where none is wanted. */
static bool sums_for(AgVjp *v, int i, Tensor *sums) {
    int64_t n = i ? ag_numel(v->in[i]) : 0;
    *sums = tensor_nil();
    if (!i || !v->need[i]) return true;
    *sums = tensor_new(v->scratch, TENSOR_F64, 1, &n);
    if (tensor_is_nil(sums)) ag_fail(v->tape, "layer_norm: out of memory");
    return !tensor_is_nil(sums);
}

static bool put_sums(AgVjp *v, int i, const Tensor *sums) {
    if (tensor_is_nil(sums)) return true;
    Tensor g = ag_vjp_raw(v, i);
    if (tensor_is_nil(&g)) return false;
    Tensor run = run_of(&g);
    tensor_convert(&run, sums);
    return true;
}

static const Tensor *unless_nil(const Tensor *x) { return tensor_is_nil(x) ? NULL : x; }

static bool vjp(AgVjp *v) {
    const Options *o = v->options;
    AgVar x = ag_contiguous(v->in[0]), g = ag_contiguous(v->gout[0]), w = {0};
    if (o->weight) w = ag_contiguous(v->in[weight_of(o)]);
    Tensor dx = tensor_nil(), dweight, dbias, weight = tensor_nil();
    if (!ag_ok(x) || !ag_ok(g) || (o->weight && !ag_ok(w))) return false;
    if (!sums_for(v, weight_of(o), &dweight) || !sums_for(v, bias_of(o), &dbias)) return false;
    if (v->need[0]) {
        dx = ag_vjp_raw(v, 0);
        if (tensor_is_nil(&dx)) return false;
        dx = rows_of(&dx, o->n_axes);
    }
    if (o->weight) weight = run_of(ag_value(w));
    Tensor x_rows = rows_of(ag_value(x), o->n_axes), g_rows = rows_of(ag_value(g), o->n_axes);
    tensor_layer_norm_backward(unless_nil(&dx), unless_nil(&dweight), unless_nil(&dbias), &g_rows,
                               &x_rows, v->saved, unless_nil(&weight));
    return put_sums(v, weight_of(o), &dweight) && put_sums(v, bias_of(o), &dbias);
}

static bool compose(AgTape *t, int n_in, const AgVar *in, const void *options, AgVar *out) {
    (void)t, (void)n_in;
    const Options *o = options;
    AgAxes last = {.n = o->n_axes};
    for (int i = 0; i < o->n_axes; i++) last.axis[i] = -1 - i;
    AgVar deviation = ag_deviation(in[0], last);
    AgVar var = ag_mean(ag_square(deviation), last, true);
    AgVar y = ag_div(deviation, ag_sqrt(ag_affine(var, 1, o->eps)));
    if (o->weight) y = ag_mul(y, in[weight_of(o)]);
    if (o->bias) y = ag_add(y, in[bias_of(o)]);
    out[0] = y;
    return ag_ok(y);
}

#define BOTH AG_WITH(Options, 1, true, true, 1e-5)
static const AgSample samples[] = {
    {"rows", 3, {AG_IN(-2, 2, 3, 5), AG_IN(.5, 2, 5), AG_IN(-1, 1, 5)}, BOTH, NULL},
    {"sequence", 3, {AG_IN(-2, 2, 2, 3, 4), AG_IN(.5, 2, 4), AG_IN(-1, 1, 4)}, BOTH, NULL},
    {"one row", 3, {AG_IN(-2, 2, 5), AG_IN(.5, 2, 5), AG_IN(-1, 1, 5)}, BOTH, NULL},
    {"two axes", 3, {AG_IN(-2, 2, 2, 3, 2), AG_IN(.5, 2, 3, 2), AG_IN(-1, 1, 3, 2)},
     AG_WITH(Options, 2, true, true, 1e-3), NULL},
    {"plain", 1, {AG_IN(-2, 2, 3, 4)}, AG_WITH(Options, 1, false, false, 1e-5), NULL},
    {"weight alone", 2, {AG_IN(-2, 2, 3, 4), AG_IN(.5, 2, 4)},
     AG_WITH(Options, 1, true, false, 1e-5), NULL},
    {"bias alone", 2, {AG_IN(-2, 2, 3, 4), AG_IN(-1, 1, 4)},
     AG_WITH(Options, 1, false, true, 1e-5), NULL},
    {"longer than a vector", 3, {AG_IN(-2, 2, 2, 37), AG_IN(.5, 2, 37), AG_IN(-1, 1, 37)}, BOTH,
     NULL},
    {"one element", 3, {AG_IN(-2, 2, 3, 1), AG_IN(.5, 2, 1), AG_IN(-1, 1, 1)}, BOTH, NULL},
    {"no rows", 3, {AG_IN(-2, 2, 0, 4), AG_IN(.5, 2, 4), AG_IN(-1, 1, 4)}, BOTH, NULL},
    {"no elements", 3, {AG_IN(-2, 2, 3, 0), AG_IN(.5, 2, 0), AG_IN(-1, 1, 0)}, BOTH, NULL},
    {0},
};
static const AgSample errors[] = {
    {"weight", 3, {AG_IN(-2, 2, 3, 5), AG_IN(0, 1, 4), AG_IN(0, 1, 5)}, BOTH, "weight does not"},
    {"bias", 3, {AG_IN(-2, 2, 3, 5), AG_IN(0, 1, 5), AG_IN(0, 1, 1, 5)}, BOTH, "bias does not"},
    {"scalar", 1, {AG_IN(-2, 2)}, AG_WITH(Options, 1, false, false, 0), "the last 1 of 0 axes"},
    {"no axis", 1, {AG_IN(-2, 2, 3)}, AG_WITH(Options, 0, false, false, 0), "the last 0 of 1"},
    {"eps", 1, {AG_IN(-2, 2, 3)}, AG_WITH(Options, 1, false, false, -1), "eps is -1"},
    {"eps NaN", 1, {AG_IN(-2, 2, 3)}, AG_WITH(Options, 1, false, false, NAN), "eps is nan"},
    {"too many", 2, {AG_IN(-2, 2, 3), AG_IN(0, 1, 3)}, AG_WITH(Options, 1, false, false, 0),
     "2 arguments"},
    {"integers", 1, {AG_IN_DTYPE("i64", 0, 9, 3)}, AG_WITH(Options, 1, false, false, 0), "wants f"},
    {0},
};
const AgOp ag_op_layer_norm = {"layer_norm", "(x - mean) / sqrt(var + eps) weight + bias", "f*:f",
                               shape, value, vjp, compose, samples, errors, false, NULL};
AgVar ag_layer_norm(AgVar x, int n_axes, AgVar weight, AgVar bias, double eps) {
    Options o = {n_axes, weight.tape != NULL, bias.tape != NULL, eps};
    AgVar in[3] = {x};
    int n = 1;
    if (o.weight) in[n++] = weight;
    if (o.bias) in[n++] = bias;
    return ag_apply1(&ag_op_layer_norm, n, in, &o, sizeof o);
}
