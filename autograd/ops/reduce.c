/* sum, mean, amax, amin, prod over axes; sum_to, the transpose of broadcasting. */
#include "autograd/ops/axes.h"

/* ---- axes ---- */

bool ag_axes_named(AgCall *c, AgAxes axes, bool named[TENSOR_MAX_DIMS]) {
    const Tensor *x = c->in[0];
    for (int d = 0; d < TENSOR_MAX_DIMS; d++) named[d] = d < x->ndim && axes.n == 0;
    if (axes.n < 0 || axes.n > TENSOR_MAX_DIMS) return ag_call_fail(c, "%d axes", axes.n);
    for (int i = 0; i < axes.n; i++) {
        int d = ag_call_vector_axis(c, 0, axes.axis[i]);
        if (d < 0) return false;
        if (named[d]) return ag_call_fail(c, "axis %d is named twice", axes.axis[i]);
        named[d] = true;
    }
    return true;
}

bool ag_axes_shape(AgCall *c) {
    const AgOverAxes *o = c->options;
    const Tensor *x = c->in[0];
    bool reduced[TENSOR_MAX_DIMS];
    if (!ag_axes_named(c, o->axes, reduced)) return false;
    int64_t size[TENSOR_MAX_DIMS];
    int n = 0;
    for (int d = 0; d < x->ndim; d++)
        if (!reduced[d]) size[n++] = x->shape[d];
        else if (o->keepdim) size[n++] = 1;
    return ag_out_shape(c, 0, n, size);
}

AgShape ag_axes_kept(const Tensor *x, AgAxes axes) {
    AgShape kept = {.ndim = x->ndim};
    for (int d = 0; d < x->ndim; d++) kept.shape[d] = axes.n ? x->shape[d] : 1;
    for (int i = 0; i < axes.n; i++) kept.shape[ag_vector_axis(x, axes.axis[i])] = 1;
    return kept;
}

Tensor ag_kept_view(const AgCall *c) {
    const AgOverAxes *o = c->options;
    AgShape kept = ag_axes_kept(c->in[0], o->axes);
    return tensor_wrap(c->out[0].data, c->out[0].dtype, kept.ndim, kept.shape);
}

AgVar ag_with_kept_axes(AgVar y, AgVar x, AgAxes axes) {
    AgShape kept = ag_axes_kept(ag_value(x), axes);
    return ag_reshape(y, kept.ndim, kept.shape);
}

static AgVar repeat(AgVar g, AgVar x, AgAxes axes) {
    const Tensor *v = ag_value(x);
    return ag_expand(ag_with_kept_axes(g, x, axes), v->ndim, v->shape);
}

double ag_axes_count(const Tensor *x, AgAxes axes) {
    AgShape kept = ag_axes_kept(x, axes);
    double n = 1;
    for (int d = 0; d < x->ndim; d++)
        if (kept.shape[d] == 1) n *= (double)x->shape[d];
    return n;
}

#define SAMPLES {AG_AXES_SAMPLES(AG_OVER, -1, 1), AG_SCALAR_SAMPLES(AG_OVER, -1, 1), {0}}
static const AgSample sum_samples[] = {
    AG_AXES_SAMPLES(AG_OVER, -1, 1),
    AG_SCALAR_SAMPLES(AG_OVER, -1, 1),
    {"of nothing", 1, {AG_IN(-1, 1, 3, 0)}, AG_OVER(false, 1, {1}), NULL},
    {0},
};
static const AgSample errors[] = {AG_AXES_ERRORS(AG_OVER), {0}};

static AgVar over_axes(const AgOp *op, AgVar x, AgAxes axes, bool keepdim) {
    return ag_apply1(op, 1, &x, &(AgOverAxes){axes, keepdim}, sizeof(AgOverAxes));
}

/* ---- sum ---- */

static bool sum_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_sum(&y, c->in[0]);
    return true;
}

static bool sum_vjp(AgVjp *v) {
    const AgOverAxes *o = v->options;
    v->gin[0] = repeat(v->gout[0], v->in[0], o->axes);
    return true;
}

const AgOp ag_op_sum = {"sum",   "sum over axes", "f:f",       ag_axes_shape, sum_value,
                        sum_vjp, NULL,            sum_samples, errors,        false, NULL};
AgVar ag_sum(AgVar x, AgAxes axes, bool keepdim) {
    return over_axes(&ag_op_sum, x, axes, keepdim);
}

/* ---- mean ---- */

static bool mean_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_mean(&y, c->in[0]);
    return true;
}

static bool mean_vjp(AgVjp *v) {
    const AgOverAxes *o = v->options;
    double scale = 1 / ag_axes_count(ag_value(v->in[0]), o->axes);
    v->gin[0] = repeat(ag_affine(v->gout[0], scale, 0), v->in[0], o->axes);
    return true;
}

static const AgSample mean_samples[] = SAMPLES;
const AgOp ag_op_mean = {"mean",   "mean over axes", "f:f",        ag_axes_shape, mean_value,
                         mean_vjp, NULL,             mean_samples, errors,        false, NULL};
AgVar ag_mean(AgVar x, AgAxes axes, bool keepdim) {
    return over_axes(&ag_op_mean, x, axes, keepdim);
}

AgVar ag_deviation(AgVar x, AgAxes axes) {
    AgVar d = ag_sub(x, ag_mean(x, axes, true));
    return ag_sub(d, ag_mean(d, axes, true));
}

/* ---- amax, amin ---- */

static bool extreme_shape(AgCall *c) {
    if (!ag_axes_shape(c)) return false;
    bool something = tensor_numel(c->in[0]) > 0 || tensor_numel(&c->out[0]) == 0;
    return something || ag_call_fail(c, "the %s of nothing", c->op->doc);
}

static bool amax_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_amax(&y, c->in[0]);
    return true;
}

static bool amin_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_amin(&y, c->in[0]);
    return true;
}

/* Shared equally among the elements that are the result. */
static bool extreme_vjp(AgVjp *v) {
    const AgOverAxes *o = v->options;
    AgVar x = v->in[0], y = ag_with_kept_axes(v->out[0], x, o->axes);
    AgVar winner = ag_cast(ag_eq(x, y), ag_dtype(x));
    AgVar among = ag_sum(winner, o->axes, true);
    AgVar g = ag_div(ag_with_kept_axes(v->gout[0], x, o->axes), among);
    v->gin[0] = ag_mul(winner, g);
    return true;
}

static const AgSample extreme_samples[] = SAMPLES;
static const AgSample amax_errors[] = {
    AG_AXES_ERRORS(AG_OVER),
    {"nothing", 1, {AG_IN(-1, 1, 3, 0)}, AG_OVER(false, 1, {1}), "the maximum of nothing"},
    {0},
};
static const AgSample amin_errors[] = {
    AG_AXES_ERRORS(AG_OVER),
    {"nothing", 1, {AG_IN(-1, 1, 3, 0)}, AG_OVER(false, 0, {0}), "the minimum of nothing"},
    {0},
};
const AgOp ag_op_amax = {"amax", "maximum", "f:f", extreme_shape, amax_value, extreme_vjp, NULL,
                         extreme_samples, amax_errors, false, NULL};
const AgOp ag_op_amin = {"amin", "minimum", "f:f", extreme_shape, amin_value, extreme_vjp, NULL,
                         extreme_samples, amin_errors, false, NULL};
AgVar ag_amax(AgVar x, AgAxes axes, bool keepdim) {
    return over_axes(&ag_op_amax, x, axes, keepdim);
}
AgVar ag_amin(AgVar x, AgAxes axes, bool keepdim) {
    return over_axes(&ag_op_amin, x, axes, keepdim);
}

/* ---- prod ---- */

static bool prod_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_prod(&y, c->in[0]);
    return true;
}

/* The product of all but one is not y / x, which fails at zeros.  Instead the factors, along
 * axis 0, are multiplied in pairs, the products in pairs, and so on; on the way back the
 * gradient of each product is multiplied with the other factor.  That is n products and their
 * differentiable ops, so every higher derivative is right at zeros too.  Floats are multiplied in
 * double, as their product is: pairs may leave the range that the whole stays in. */
static AgVar prod_gradient(AgVar x, AgVar g) {
    int64_t n = ag_dim(x, 0), half = n / 2;
    if (n == 1 || !ag_ok(x)) return ag_unsqueeze(g, 0);
    AgVar a = ag_narrow(x, 0, 0, half), b = ag_narrow(x, 0, half, half), pairs = ag_mul(a, b);
    if (n % 2) pairs = ag_concat(2, (AgVar[]){pairs, ag_narrow(x, 0, n - 1, 1)}, 0);
    AgVar g_pairs = prod_gradient(pairs, g), gp = ag_narrow(g_pairs, 0, 0, half);
    AgVar parts[] = {ag_mul(gp, b), ag_mul(gp, a), g_pairs};
    if (n % 2) parts[2] = ag_narrow(g_pairs, 0, half, 1);
    return ag_concat(n % 2 ? 3 : 2, parts, 0);
}

/* The order of axes with the reduced ones first, and that shape with them in one axis.  An axis of
 * size 1 counts as reduced: it makes no difference.  Returns the number of axes of flat. */
static int reduced_first(const Tensor *x, AgAxes axes, int *order, int64_t *flat) {
    AgShape kept = ag_axes_kept(x, axes);
    int n = 0, ndim = 1;
    flat[0] = 1;
    for (int d = 0; d < x->ndim; d++) {
        if (kept.shape[d] != 1) continue;
        order[n++] = d;
        flat[0] *= x->shape[d];
    }
    for (int d = 0; d < x->ndim; d++) {
        if (kept.shape[d] == 1) continue;
        order[n++] = d;
        flat[ndim++] = x->shape[d];
    }
    return ndim;
}

static bool prod_vjp(AgVjp *v) {
    const AgOverAxes *o = v->options;
    const Tensor *x = ag_value(v->in[0]);
    int order[TENSOR_MAX_DIMS], back[TENSOR_MAX_DIMS];
    int64_t flat[TENSOR_MAX_DIMS + 1], moved[TENSOR_MAX_DIMS];
    if (tensor_numel(x) == 0) return true;
    int n = x->ndim, ndim = reduced_first(x, o->axes, order, flat);
    for (int d = 0; d < n; d++) {
        back[order[d]] = d;
        moved[d] = x->shape[order[d]];
    }
    AgVar factors = ag_reshape(ag_permute(ag_cast(v->in[0], TENSOR_F64), order), ndim, flat);
    AgVar gout = ag_reshape(ag_cast(v->gout[0], TENSOR_F64), ndim - 1, flat + 1);
    AgVar g = ag_reshape(prod_gradient(factors, gout), n, moved);
    v->gin[0] = ag_cast(ag_permute(g, back), x->dtype);
    return true;
}

static const AgSample prod_samples[] = {
    AG_AXES_SAMPLES(AG_OVER, .5, 1.5),
    AG_SCALAR_SAMPLES(AG_OVER, -1, 1),
    {"zeros", 1, {AG_IN(0, 1e-300, 3, 3)}, AG_OVER(false, 1, {0}), NULL},
    {"of nothing", 1, {AG_IN(-1, 1, 3, 0)}, AG_OVER(false, 1, {1}), NULL},
    {0},
};
const AgOp ag_op_prod = {"prod", "product over axes", "f:f", ag_axes_shape, prod_value, prod_vjp,
                         NULL, prod_samples, errors, false, NULL};
AgVar ag_prod(AgVar x, AgAxes axes, bool keepdim) {
    return over_axes(&ag_op_prod, x, axes, keepdim);
}

/* ---- sum_to ---- */

static bool sum_to_shape(AgCall *c) {
    const AgShape *o = c->options;
    Tensor y = {.dtype = c->in[0]->dtype, .ndim = o->ndim};
    memcpy(y.shape, o->shape, sizeof y.shape);
    int64_t both[TENSOR_MAX_DIMS];
    int ndim;
    bool fits = tensor_broadcast_shape(&y, c->in[0], &ndim, both) && ndim == c->in[0]->ndim &&
                !memcmp(both, c->in[0]->shape, (size_t)ndim * sizeof *both);
    char wanted[TENSOR_DESCRIBE_SIZE];
    if (!fits)
        return ag_call_fail(c, "%s does not broadcast to the input",
                            tensor_describe(&y, wanted, sizeof wanted));
    return ag_out_shape(c, 0, o->ndim, o->shape);
}

static bool sum_to_value(AgCall *c) {
    const Tensor *x = c->in[0], *y = &c->out[0];
    int64_t kept[TENSOR_MAX_DIMS];
    for (int d = 0; d < x->ndim; d++)
        kept[d] = d < x->ndim - y->ndim ? 1 : y->shape[d - (x->ndim - y->ndim)];
    Tensor view = tensor_wrap(y->data, y->dtype, x->ndim, kept);
    tensor_sum(&view, x);
    return true;
}

static bool sum_to_vjp(AgVjp *v) {
    const Tensor *x = ag_value(v->in[0]);
    v->gin[0] = ag_expand(v->gout[0], x->ndim, x->shape);
    return true;
}

static const AgSample sum_to_samples[] = {
    {"row", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgShape, 1, {4}), NULL},
    {"column", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgShape, 2, {3, 1}), NULL},
    {"scalar", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgShape, 0, {0}), NULL},
    {"middle", 1, {AG_IN(-1, 1, 2, 3, 4)}, AG_WITH(AgShape, 2, {1, 4}), NULL},
    {"empty", 1, {AG_IN(-1, 1, 0, 4)}, AG_WITH(AgShape, 1, {4}), NULL},
    {"same", 1, {AG_IN(-1, 1, 3)}, AG_WITH(AgShape, 1, {3}), NULL},
    {"scalar to itself", 1, {AG_IN(-1, 1)}, AG_WITH(AgShape, 0, {0}), NULL},
    {0},
};
static const AgSample sum_to_errors[] = {
    {"shape", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgShape, 1, {3}), "does not broadcast"},
    {"more axes", 1, {AG_IN(-1, 1, 4)}, AG_WITH(AgShape, 2, {3, 4}), "does not broadcast"},
    {0},
};
const AgOp ag_op_sum_to = {"sum_to",   "sum of what broadcasting repeated", "f:f",
                           sum_to_shape, sum_to_value, sum_to_vjp, NULL, sum_to_samples,
                           sum_to_errors, false, NULL};
AgVar ag_sum_to(AgVar x, int ndim, const int64_t *size) {
    AgShape o;
    if (!ag_shape_options(x, "sum_to", ndim, size, &o)) return ag_none(x);
    return ag_apply1(&ag_op_sum_to, 1, &x, &o, sizeof o);
}
