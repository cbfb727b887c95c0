/* var, std, norm: what sums of powers say of the elements over axes. */
#include <math.h>

#include "autograd/ops/axes.h"

/* ---- var, std ---- */

typedef struct {
    AgOverAxes over;
    int64_t correction;
} Moment;

static bool var_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_var(&y, c->in[0], ((const Moment *)c->options)->correction);
    return true;
}

static bool std_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_std(&y, c->in[0], ((const Moment *)c->options)->correction);
    return true;
}

/* 2 g (x - mean) / (n - correction), g with the axes kept. */
static AgVar var_gradient(AgVar x, AgVar g, const Moment *o) {
    double divisor = ag_axes_count(ag_value(x), o->over.axes) - (double)o->correction;
    return ag_mul(ag_affine(g, 2 / fmax(divisor, 0), 0), ag_deviation(x, o->over.axes));
}

static bool var_vjp(AgVjp *v) {
    const Moment *o = v->options;
    AgVar x = v->in[0];
    v->gin[0] = var_gradient(x, ag_with_kept_axes(v->gout[0], x, o->over.axes), o);
    return true;
}

static bool std_vjp(AgVjp *v) {
    const Moment *o = v->options;
    AgVar x = v->in[0], y = v->out[0], zero = ag_eq(y, ag_zero(y));
    AgVar divisor = ag_affine(ag_masked_fill(y, zero, 1), 2, 0);
    AgVar g = ag_masked_fill(ag_div(v->gout[0], divisor), zero, 0);
    v->gin[0] = var_gradient(x, ag_with_kept_axes(g, x, o->over.axes), o);
    return true;
}

#define MOMENT(correction, keepdim, n, ...)                                                    \
    AG_WITH(Moment, {{n, __VA_ARGS__}, keepdim}, correction)
#define BIASED(...) MOMENT(0, __VA_ARGS__)
#define UNBIASED(...) MOMENT(1, __VA_ARGS__)
static const AgSample moment_samples[] = {
    AG_AXES_SAMPLES(UNBIASED, -1, 1),
    AG_SCALAR_SAMPLES(BIASED, -1, 1),
    {"biased", 1, {AG_IN(-1, 1, 3, 4)}, BIASED(false, 1, {1}), NULL},
    {"away from 0", 1, {AG_IN(5, 8, 3, 4)}, BIASED(false, 1, {0}), NULL},
    {"more than 1", 1, {AG_IN(-1, 1, 3, 5)}, MOMENT(3, false, 1, {1}), NULL},
    {0},
};
static const AgSample moment_errors[] = {AG_AXES_ERRORS(UNBIASED), {0}};
const AgOp ag_op_var = {"var", "variance over axes", "f:f", ag_axes_shape, var_value, var_vjp,
                        NULL, moment_samples, moment_errors, false, NULL};
const AgOp ag_op_std = {"std", "standard deviation over axes", "f:f", ag_axes_shape, std_value,
                        std_vjp, NULL, moment_samples, moment_errors, false, NULL};
static AgVar moment(const AgOp *op, AgVar x, AgAxes axes, int64_t correction, bool keepdim) {
    return ag_apply1(op, 1, &x, &(Moment){{axes, keepdim}, correction}, sizeof(Moment));
}
AgVar ag_var(AgVar x, AgAxes axes, int64_t correction, bool keepdim) {
    return moment(&ag_op_var, x, axes, correction, keepdim);
}
AgVar ag_std(AgVar x, AgAxes axes, int64_t correction, bool keepdim) {
    return moment(&ag_op_std, x, axes, correction, keepdim);
}

/* ---- norm ---- */

typedef struct {
    AgOverAxes over;
    double p;
} Norm;

static bool norm_shape(AgCall *c) {
    double p = ((const Norm *)c->options)->p;
    if (isnan(p)) return ag_call_fail(c, "p is nan");
    return ag_axes_shape(c);
}

static bool norm_value(AgCall *c) {
    Tensor y = ag_kept_view(c);
    tensor_norm(&y, c->in[0], ((const Norm *)c->options)->p);
    return true;
}

/* Only through the largest (smallest) magnitude, shared among equals. */
static AgVar extreme_direction(AgVar x, AgVar y, AgAxes axes) {
    AgVar winner = ag_cast(ag_eq(ag_abs(x), y), ag_dtype(x));
    return ag_mul(ag_sign(x), ag_div(winner, ag_sum(winner, axes, true)));
}

/* dy/dx = sign(x) (|x| / y)^(p-1), 0 where x or y is 0: there the quotient stays away from its
 * poles, so that no 0/0 comes back from a second derivative. */
static AgVar direction(AgVar x, AgVar y, double p) {
    AgVar flat = ag_eq(y, ag_zero(y)), divisor = ag_masked_fill(y, flat, 1);
    if (p == 2) return ag_masked_fill(ag_div(x, divisor), flat, 0);
    flat = ag_logical_or(flat, ag_eq(x, ag_zero(x)));
    AgVar ratio = ag_masked_fill(ag_div(ag_abs(x), divisor), flat, 1);
    AgVar power = ag_pow(ratio, ag_scalar(x.tape, ag_dtype(x), p - 1));
    return ag_masked_fill(ag_mul(ag_sign(x), power), flat, 0);
}

static bool norm_vjp(AgVjp *v) {
    const Norm *o = v->options;
    AgVar x = v->in[0], y = ag_with_kept_axes(v->out[0], x, o->over.axes), dy;
    if (o->p == 0) return true;
    if (o->p == 1) dy = ag_sign(x);
    else if (isinf(o->p)) dy = extreme_direction(x, y, o->over.axes);
    else dy = direction(x, y, o->p);
    v->gin[0] = ag_mul(ag_with_kept_axes(v->gout[0], x, o->over.axes), dy);
    return true;
}

#define NORM(p, keepdim, n, ...) AG_WITH(Norm, {{n, __VA_ARGS__}, keepdim}, p)
#define NORM_2(...) NORM(2, __VA_ARGS__)
static const AgSample norm_samples[] = {
    AG_AXES_SAMPLES(NORM_2, -1, 1),
    AG_SCALAR_SAMPLES(NORM_2, .5, 1),
    {"p = 1", 1, {AG_IN(-1, 1, 3, 4)}, NORM(1, false, 1, {1}), NULL},
    {"p = 3", 1, {AG_IN(-1, 1, 3, 4)}, NORM(3, false, 1, {0}), NULL},
    {"p = 1.5", 1, {AG_IN(.5, 1, 3, 4)}, NORM(1.5, true, 1, {0}), NULL},
    {"p = -2", 1, {AG_IN(.5, 1, 3, 4)}, NORM(-2, false, 0, {0}), NULL},
    {"p = 0", 1, {AG_IN(.5, 1, 3, 4)}, NORM(0, false, 1, {0}), NULL},
    {"largest", 1, {AG_IN(-1, 1, 3, 4)}, NORM(INFINITY, false, 1, {1}), NULL},
    {"smallest", 1, {AG_IN(-1, 1, 3, 4)}, NORM(-INFINITY, false, 1, {1}), NULL},
    {"p = 3 of many", 1, {AG_IN(-1, 1, 37)}, NORM(3, false, 0, {0}), NULL},
    {"smallest of nothing", 1, {AG_IN(-1, 1, 0)}, NORM(-INFINITY, false, 0, {0}), NULL},
    {"of nothing", 1, {AG_IN(-1, 1, 3, 0)}, NORM(2, false, 1, {1}), NULL},
    {0},
};
static const AgSample norm_errors[] = {
    AG_AXES_ERRORS(NORM_2),
    {"p", 1, {AG_IN(-1, 1, 3)}, NORM(NAN, false, 0, {0}), "p is nan"},
    {0},
};
const AgOp ag_op_norm = {"norm", "(sum |x|^p)^(1/p) over axes", "f:f", norm_shape, norm_value,
                         norm_vjp, NULL, norm_samples, norm_errors, false, NULL};
AgVar ag_norm(AgVar x, double p, AgAxes axes, bool keepdim) {
    return ag_apply1(&ag_op_norm, 1, &x, &(Norm){{axes, keepdim}, p}, sizeof(Norm));
}
