/* sum, mean, max over axes; sum_to, the transpose of broadcasting. */
#include "autograd/ops/axes.h"

/* ---- axes ---- */

bool ag_axes_reduced(AgCall *c, AgAxes axes, bool reduced[TENSOR_MAX_DIMS]) {
    const Tensor *x = c->in[0];
    for (int d = 0; d < TENSOR_MAX_DIMS; d++) reduced[d] = d < x->ndim && axes.n == 0;
    if (axes.n < 0 || axes.n > TENSOR_MAX_DIMS) return ag_call_fail(c, "%d axes", axes.n);
    for (int i = 0; i < axes.n; i++) {
        int d = ag_call_axis(c, 0, axes.axis[i]);
        if (d < 0) return false;
        if (reduced[d]) return ag_call_fail(c, "axis %d is named twice", axes.axis[i]);
        reduced[d] = true;
    }
    return true;
}

bool ag_axes_shape(AgCall *c) {
    const AgOverAxes *o = c->options;
    const Tensor *x = c->in[0];
    bool reduced[TENSOR_MAX_DIMS];
    if (!ag_axes_reduced(c, o->axes, reduced)) return false;
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
    for (int i = 0; i < axes.n; i++) kept.shape[tensor_axis(x, axes.axis[i])] = 1;
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

#define SAMPLES                                                                                \
    {{"all", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgOverAxes, {0, {0}}, false), NULL},             \
     {"first", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgOverAxes, {1, {0}}, false), NULL},           \
     {"last kept", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgOverAxes, {1, {-1}}, true), NULL},       \
     {"two of three", 1, {AG_IN(-1, 1, 3, 4, 2)}, AG_WITH(AgOverAxes, {2, {2, 0}}, false), NULL}, \
     {"all kept", 1, {AG_IN(-1, 1, 2, 3)}, AG_WITH(AgOverAxes, {0, {0}}, true), NULL},         \
     {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(AgOverAxes, {0, {0}}, false), NULL},                \
     {"none left", 1, {AG_IN(-1, 1, 0, 3)}, AG_WITH(AgOverAxes, {1, {1}}, false), NULL},       \
     {0}}
static const AgSample sum_samples[] = SAMPLES;
static const AgSample errors[] = {
    {"axis", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgOverAxes, {1, {2}}, false), "out of range"},
    {"twice", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgOverAxes, {2, {1, -1}}, false), "named twice"},
    {"integers", 1, {AG_IN_DTYPE("i64", 0, 9, 3)}, AG_WITH(AgOverAxes, {0, {0}}, false), "wants f"},
    {0},
};

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
                        sum_vjp, NULL,            sum_samples, errors,        false};
AgVar ag_sum(AgVar x, AgAxes axes, bool keepdim) {
    return over_axes(&ag_op_sum, x, axes, keepdim);
}

/* ---- mean ---- */

static double share(const Tensor *x, AgAxes axes) {
    AgShape kept = ag_axes_kept(x, axes);
    double n = 1;
    for (int d = 0; d < x->ndim; d++)
        if (kept.shape[d] == 1) n *= (double)x->shape[d];
    return 1 / n;
}

static bool mean_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_mean(&y, c->in[0]);
    return true;
}

static bool mean_vjp(AgVjp *v) {
    const AgOverAxes *o = v->options;
    double scale = share(ag_value(v->in[0]), o->axes);
    v->gin[0] = repeat(ag_affine(v->gout[0], scale, 0), v->in[0], o->axes);
    return true;
}

static const AgSample mean_samples[] = SAMPLES;
const AgOp ag_op_mean = {"mean",   "mean over axes", "f:f",        ag_axes_shape, mean_value,
                         mean_vjp, NULL,             mean_samples, errors,        false};
AgVar ag_mean(AgVar x, AgAxes axes, bool keepdim) {
    return over_axes(&ag_op_mean, x, axes, keepdim);
}

/* ---- max ---- */

static bool max_shape(AgCall *c) {
    if (!ag_axes_shape(c)) return false;
    bool something = tensor_numel(c->in[0]) > 0 || tensor_numel(&c->out[0]) == 0;
    return something || ag_call_fail(c, "the maximum of nothing");
}

static bool max_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_amax(&y, c->in[0]);
    return true;
}

static bool max_vjp(AgVjp *v) {
    const AgOverAxes *o = v->options;
    AgVar x = v->in[0], y = ag_with_kept_axes(v->out[0], x, o->axes);
    AgVar winner = ag_cast(ag_eq(x, y), ag_dtype(x));
    AgVar among = ag_sum(winner, o->axes, true);
    AgVar g = ag_div(ag_with_kept_axes(v->gout[0], x, o->axes), among);
    v->gin[0] = ag_mul(winner, g);
    return true;
}

static const AgSample max_samples[] = SAMPLES;
static const AgSample max_errors[] = {
    {"axis", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgOverAxes, {1, {-3}}, false), "out of range"},
    {"nothing", 1, {AG_IN(-1, 1, 3, 0)}, AG_WITH(AgOverAxes, {1, {1}}, false), "of nothing"},
    {0},
};
const AgOp ag_op_amax = {"max",   "maximum over axes", "f:f",       max_shape,  max_value,
                        max_vjp, NULL,                max_samples, max_errors, false};
AgVar ag_amax(AgVar x, AgAxes axes, bool keepdim) {
    return over_axes(&ag_op_amax, x, axes, keepdim);
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
    {0},
};
static const AgSample sum_to_errors[] = {
    {"shape", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgShape, 1, {3}), "does not broadcast"},
    {"more axes", 1, {AG_IN(-1, 1, 4)}, AG_WITH(AgShape, 2, {3, 4}), "does not broadcast"},
    {0},
};
const AgOp ag_op_sum_to = {"sum_to",   "sum of what broadcasting repeated", "f:f",
                           sum_to_shape, sum_to_value, sum_to_vjp, NULL, sum_to_samples,
                           sum_to_errors, false};
AgVar ag_sum_to(AgVar x, int ndim, const int64_t *size) {
    AgShape o;
    if (!ag_shape_options(x, "sum_to", ndim, size, &o)) return ag_none(x);
    return ag_apply1(&ag_op_sum_to, 1, &x, &o, sizeof o);
}
