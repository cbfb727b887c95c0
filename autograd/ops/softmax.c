/* softmax, log_softmax, logsumexp, argmax: along one axis. */
#include "autograd/ops/axes.h"

/* All of them have options over exactly one axis. */
static bool same_shape(AgCall *c) {
    const AgOverAxes *o = c->options;
    return ag_call_vector_axis(c, 0, o->axes.axis[0]) >= 0 && ag_out_like(c, 0, c->in[0]);
}

static int axis_of(const AgCall *c) {
    return ag_vector_axis(c->in[0], ((const AgOverAxes *)c->options)->axes.axis[0]);
}

#define SAMPLES                                                                                \
    {{"rows", 1, {AG_IN(-2, 2, 3, 5)}, AG_OVER(false, 1, {-1}), NULL},                         \
     {"columns", 1, {AG_IN(-2, 2, 4, 3)}, AG_OVER(true, 1, {0}), NULL},                        \
     {"middle", 1, {AG_IN(-2, 2, 2, 3, 2)}, AG_OVER(false, 1, {1}), NULL},                     \
     {"one", 1, {AG_IN(-2, 2, 3, 1)}, AG_OVER(false, 1, {1}), NULL},                           \
     {"longer than a vector", 1, {AG_IN(-2, 2, 37)}, AG_OVER(false, 1, {0}), NULL},            \
     {"no rows", 1, {AG_IN(-2, 2, 0, 3)}, AG_OVER(false, 1, {1}), NULL},                       \
     {"scalar", 1, {AG_IN(-2, 2)}, AG_OVER(false, 1, {-1}), NULL},                             \
     {0}}
static const AgSample samples[] = SAMPLES;
static const AgSample errors[] = {
    {"axis", 1, {AG_IN(-2, 2, 3, 4)}, AG_WITH(AgOverAxes, {1, {2}}, false), "axis 2 out of range"},
    {"scalar", 1, {AG_IN(-2, 2)}, AG_WITH(AgOverAxes, {1, {1}}, false), "out of range"},
    {"masks", 1, {AG_IN_DTYPE("u8", 0, 2, 3)}, AG_WITH(AgOverAxes, {1, {0}}, false), "u8"},
    {0},
};

static AgVar along(const AgOp *op, AgVar x, int axis, bool keepdim) {
    return ag_apply1(op, 1, &x, &(AgOverAxes){AG_AXES(axis), keepdim}, sizeof(AgOverAxes));
}

/* ---- softmax ---- */

static bool softmax_value(AgCall *c) {
    tensor_softmax(&c->out[0], c->in[0], axis_of(c));
    return true;
}

static bool softmax_vjp(AgVjp *v) {
    const AgOverAxes *o = v->options;
    AgVar y = v->out[0], g = v->gout[0];
    AgVar mean = ag_sum(ag_mul(g, y), o->axes, true);
    v->gin[0] = ag_mul(y, ag_sub(g, mean));
    return true;
}

const AgOp ag_op_softmax = {"softmax",   "e^x / sum e^x", "f:f",   same_shape, softmax_value,
                            softmax_vjp, NULL,            samples, errors,     false, NULL};
AgVar ag_softmax(AgVar x, int axis) { return along(&ag_op_softmax, x, axis, false); }

/* ---- log_softmax ---- */

static bool log_softmax_value(AgCall *c) {
    tensor_log_softmax(&c->out[0], c->in[0], axis_of(c));
    return true;
}

static bool log_softmax_vjp(AgVjp *v) {
    const AgOverAxes *o = v->options;
    AgVar y = v->out[0], g = v->gout[0];
    v->gin[0] = ag_sub(g, ag_mul(ag_exp(y), ag_sum(g, o->axes, true)));
    return true;
}

const AgOp ag_op_log_softmax = {"log_softmax",     "x - ln sum e^x", "f:f",   same_shape,
                                log_softmax_value, log_softmax_vjp,  NULL,    samples,
                                errors,            false, NULL};
AgVar ag_log_softmax(AgVar x, int axis) { return along(&ag_op_log_softmax, x, axis, false); }

/* ---- logsumexp ---- */

static bool logsumexp_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_logsumexp(&y, c->in[0], axis_of(c));
    return true;
}

/* Of -infinity only, the sum is flat: 0.  x - y is NaN there and may not reach the exponential,
 * or it would come back in the second derivative. */
static bool logsumexp_vjp(AgVjp *v) {
    const AgOverAxes *o = v->options;
    AgVar x = v->in[0], y = ag_with_kept_axes(v->out[0], x, o->axes);
    AgVar g = ag_with_kept_axes(v->gout[0], x, o->axes);
    AgVar flat = ag_eq(y, ag_scalar(v->tape, ag_dtype(y), -__builtin_inf()));
    v->gin[0] = ag_mul(g, ag_exp(ag_masked_fill(ag_sub(x, y), flat, -__builtin_inf())));
    return true;
}

const AgOp ag_op_logsumexp = {"logsumexp",     "ln sum e^x",  "f:f", ag_axes_shape,
                              logsumexp_value, logsumexp_vjp, NULL,  samples,
                              errors,          false, NULL};

/* Over several axes: one after the other, the last first so that the others keep their places. */
AgVar ag_logsumexp(AgVar x, AgAxes axes, bool keepdim) {
    bool scalar = ag_ok(x) && ag_ndim(x) == 0 && tensor_dtype_is_float(ag_dtype(x));
    if (axes.n == 1 || (ag_ndim(x) == 0 && !scalar))
        return along(&ag_op_logsumexp, x, axes.axis[0], keepdim);
    bool reduced[TENSOR_MAX_DIMS];
    const Tensor *v = ag_value(x);
    AgCall c = {.tape = x.tape, .op = &ag_op_logsumexp, .n_in = 1, .in = &v};
    if (!ag_axes_named(&c, axes, reduced)) return ag_none(x);
    AgVar y = ag_alias(x);
    for (int d = ag_ndim(x); d-- > 0;)
        if (reduced[d]) y = along(&ag_op_logsumexp, y, d, keepdim);
    return y;
}

/* ---- argmax ---- */

static bool argmax_shape(AgCall *c) {
    if (!ag_axes_shape(c)) return false;
    return ag_vector_size(c->in[0], axis_of(c)) > 0 || ag_call_fail(c, "the maximum of nothing");
}

static bool argmax_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_argmax(&y, c->in[0], axis_of(c));
    return true;
}

static const AgSample argmax_errors[] = {
    {"axis", 1, {AG_IN(-2, 2, 3, 4)}, AG_WITH(AgOverAxes, {1, {-3}}, false), "out of range"},
    {"nothing", 1, {AG_IN(-2, 2, 3, 0)}, AG_WITH(AgOverAxes, {1, {1}}, false), "of nothing"},
    {0},
};
const AgOp ag_op_argmax = {"argmax", "index of the largest", "f:i",   argmax_shape,  argmax_value,
                           NULL,     NULL,                   samples, argmax_errors, false, NULL};
AgVar ag_argmax(AgVar x, int axis, bool keepdim) {
    return along(&ag_op_argmax, x, axis, keepdim);
}
