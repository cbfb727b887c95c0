/* softmax, log_softmax, logsumexp, argmax: along one axis. */
#include "autograd/ops/axes.h"

typedef struct {
    int axis;
    bool keepdim;
} Along;

static bool same_shape(AgCall *c) {
    const Along *o = c->options;
    return ag_call_axis(c, 0, o->axis) >= 0 && ag_out_like(c, 0, c->in[0]);
}

static int axis_of(const AgCall *c) {
    return tensor_axis(c->in[0], ((const Along *)c->options)->axis);
}

static bool dropped_shape(AgCall *c) {
    const Along *o = c->options;
    int axis = ag_call_axis(c, 0, o->axis);
    if (axis < 0) return false;
    int64_t size[TENSOR_MAX_DIMS];
    int n = 0;
    for (int d = 0; d < c->in[0]->ndim; d++)
        if (d != axis) size[n++] = c->in[0]->shape[d];
        else if (o->keepdim) size[n++] = 1;
    return ag_out_shape(c, 0, n, size);
}

/* The result with a size of 1 at the axis. */
static Tensor kept_view(const AgCall *c) {
    AgShape kept = ag_axes_kept(c->in[0], AG_AXES(axis_of(c)));
    return tensor_wrap(c->out[0].data, c->out[0].dtype, kept.ndim, kept.shape);
}

static AgVar with_kept_axis(AgVar y, AgVar x, int axis) {
    AgShape kept = ag_axes_kept(ag_value(x), AG_AXES(axis));
    return ag_reshape(y, kept.ndim, kept.shape);
}

#define SAMPLES                                                                                \
    {{"rows", 1, {AG_IN(-2, 2, 3, 5)}, AG_WITH(Along, -1, false), NULL},                       \
     {"columns", 1, {AG_IN(-2, 2, 4, 3)}, AG_WITH(Along, 0, true), NULL},                      \
     {"middle", 1, {AG_IN(-2, 2, 2, 3, 2)}, AG_WITH(Along, 1, false), NULL},                   \
     {"one", 1, {AG_IN(-2, 2, 3, 1)}, AG_WITH(Along, 1, false), NULL},                         \
     {"longer than a vector", 1, {AG_IN(-2, 2, 37)}, AG_WITH(Along, 0, false), NULL},          \
     {"no rows", 1, {AG_IN(-2, 2, 0, 3)}, AG_WITH(Along, 1, false), NULL},                     \
     {0}}
static const AgSample samples[] = SAMPLES;
static const AgSample errors[] = {
    {"axis", 1, {AG_IN(-2, 2, 3, 4)}, AG_WITH(Along, 2, false), "axis 2 out of range"},
    {"scalar", 1, {AG_IN(-2, 2)}, AG_WITH(Along, 0, false), "out of range"},
    {"masks", 1, {AG_IN_DTYPE("u8", 0, 2, 3)}, AG_WITH(Along, 0, false), "u8"},
    {0},
};

static AgVar along(const AgOp *op, AgVar x, int axis, bool keepdim) {
    return ag_apply1(op, 1, &x, &(Along){axis, keepdim}, sizeof(Along));
}

/* ---- softmax ---- */

static bool softmax_value(AgCall *c) {
    tensor_softmax(&c->out[0], c->in[0], axis_of(c));
    return true;
}

static bool softmax_vjp(AgVjp *v) {
    const Along *o = v->options;
    AgVar y = v->out[0], g = v->gout[0];
    AgVar mean = ag_sum(ag_mul(g, y), AG_AXES(o->axis), true);
    v->gin[0] = ag_mul(y, ag_sub(g, mean));
    return true;
}

const AgOp ag_op_softmax = {"softmax",   "e^x / sum e^x", "f:f",   same_shape, softmax_value,
                            softmax_vjp, NULL,            samples, errors,     false};
AgVar ag_softmax(AgVar x, int axis) { return along(&ag_op_softmax, x, axis, false); }

/* ---- log_softmax ---- */

static bool log_softmax_value(AgCall *c) {
    tensor_log_softmax(&c->out[0], c->in[0], axis_of(c));
    return true;
}

static bool log_softmax_vjp(AgVjp *v) {
    const Along *o = v->options;
    AgVar y = v->out[0], g = v->gout[0];
    v->gin[0] = ag_sub(g, ag_mul(ag_exp(y), ag_sum(g, AG_AXES(o->axis), true)));
    return true;
}

const AgOp ag_op_log_softmax = {"log_softmax",     "x - ln sum e^x", "f:f",   same_shape,
                                log_softmax_value, log_softmax_vjp,  NULL,    samples,
                                errors,            false};
AgVar ag_log_softmax(AgVar x, int axis) { return along(&ag_op_log_softmax, x, axis, false); }

/* ---- logsumexp ---- */

static bool logsumexp_value(AgCall *c) {
    Tensor y = kept_view(c);
    tensor_logsumexp(&y, c->in[0], axis_of(c));
    return true;
}

/* Of -infinity only, the sum is flat: 0, where e^(x - y) would be NaN. */
static bool logsumexp_vjp(AgVjp *v) {
    const Along *o = v->options;
    AgVar x = v->in[0], y = with_kept_axis(v->out[0], x, o->axis);
    AgVar g = with_kept_axis(v->gout[0], x, o->axis);
    AgVar flat = ag_eq(y, ag_scalar(v->tape, ag_dtype(y), -__builtin_inf()));
    v->gin[0] = ag_masked_fill(ag_mul(g, ag_exp(ag_sub(x, y))), flat, 0);
    return true;
}

const AgOp ag_op_logsumexp = {"logsumexp",     "ln sum e^x",  "f:f", dropped_shape,
                              logsumexp_value, logsumexp_vjp, NULL,  samples,
                              errors,          false};

/* Over several axes: one after the other, the last first so that the others keep their places. */
AgVar ag_logsumexp(AgVar x, AgAxes axes, bool keepdim) {
    if (axes.n == 1 || !ag_ok(x)) return along(&ag_op_logsumexp, x, axes.axis[0], keepdim);
    bool reduced[TENSOR_MAX_DIMS];
    const Tensor *v = ag_value(x);
    AgCall c = {.tape = x.tape, .op = &ag_op_logsumexp, .n_in = 1, .in = &v};
    if (!ag_axes_reduced(&c, axes, reduced)) return ag_none(x);
    AgVar y = ag_alias(x);
    for (int d = ag_ndim(x); d-- > 0;)
        if (reduced[d]) y = along(&ag_op_logsumexp, y, d, keepdim);
    return y;
}

/* ---- argmax ---- */

static bool argmax_shape(AgCall *c) {
    if (!dropped_shape(c)) return false;
    return c->in[0]->shape[axis_of(c)] > 0 || ag_call_fail(c, "the maximum of nothing");
}

static bool argmax_value(AgCall *c) {
    Tensor y = kept_view(c);
    tensor_argmax(&y, c->in[0], axis_of(c));
    return true;
}

static const AgSample argmax_errors[] = {
    {"axis", 1, {AG_IN(-2, 2, 3, 4)}, AG_WITH(Along, -3, false), "out of range"},
    {"nothing", 1, {AG_IN(-2, 2, 3, 0)}, AG_WITH(Along, 1, false), "of nothing"},
    {0},
};
const AgOp ag_op_argmax = {"argmax", "index of the largest", "f:i",   argmax_shape,  argmax_value,
                           NULL,     NULL,                   samples, argmax_errors, false};
AgVar ag_argmax(AgVar x, int axis, bool keepdim) {
    return along(&ag_op_argmax, x, axis, keepdim);
}
