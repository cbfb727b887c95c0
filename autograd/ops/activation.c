/* silu, gelu, elu, softplus, logsigmoid, leaky_relu, clamp: functions with up to two parameters,
 * in one pass over x forward and one over g and x back. */
#include <math.h>

#include "autograd/ops/ops.h"

/* What all of them keep: the kernel, and its parameters a and b. */
typedef struct {
    TensorActivation f;
    double a, b;
} Options;

static bool value(AgCall *c) {
    const Options *o = c->options;
    tensor_activation(o->f, &c->out[0], c->in[0], o->a, o->b);
    return true;
}

static bool vjp(AgVjp *v) {
    const Options *o = v->options;
    Tensor dx = ag_vjp_raw(v, 0);
    if (tensor_is_nil(&dx)) return false;
    tensor_activation_backward(o->f, &dx, ag_value(v->gout[0]), ag_value(v->in[0]), o->a, o->b);
    return true;
}

/* ---- the same from simpler ops ----
 * Choices are written so that the branch not taken stays finite, and so do its gradients. */

/* At 0 alpha x, whose slope is that of the curve below 0 and has itself none. */
static AgVar elu_of(AgVar x, double alpha) {
    AgVar zero = ag_zero(x), rest = ag_masked_fill(x, ag_ge(x, zero), 0);
    AgVar curve = ag_where(ag_eq(x, zero), ag_affine(x, alpha, 0),
                           ag_affine(ag_expm1(rest), alpha, 0));
    return ag_where(ag_gt(x, zero), x, curve);
}

static AgVar softplus_of(AgVar x, double beta, double threshold) {
    AgVar z = ag_affine(x, beta, 0), bound = ag_scalar(x.tape, ag_dtype(x), threshold);
    AgVar soft = ag_affine(ag_logaddexp(z, ag_zero(x)), 1 / beta, 0);
    return ag_where(ag_gt(z, bound), x, soft);
}

/* Beyond 1e4 the sigmoid and erf are constant, and infinity times their 0 would be NaN.  Not
 * clamp, which has no gradient at NaN. */
static AgVar limit_below(AgVar x) {
    return ag_maximum(x, ag_scalar(x.tape, ag_dtype(x), -1e4));
}
static AgVar limit(AgVar x) {
    return ag_minimum(limit_below(x), ag_scalar(x.tape, ag_dtype(x), 1e4));
}

static AgVar swish_of(AgVar x, double a, double b) {
    AgVar u = limit(x), z = ag_mul(u, ag_affine(ag_square(u), b, a));
    return ag_mul(limit_below(x), ag_sigmoid(z));
}

static AgVar gelu_of(AgVar x) {
    const double root_half = 0.70710678118654752440;
    AgVar z = ag_affine(limit(x), root_half, 0);
    return ag_mul(limit_below(x), ag_affine(ag_erf(z), .5, .5));
}

static AgVar clamp_of(AgVar x, double min, double max) {
    AgVar low = ag_scalar(x.tape, ag_dtype(x), min), high = ag_scalar(x.tape, ag_dtype(x), max);
    AgVar inside = ag_logical_and(ag_ge(x, low), ag_le(x, high));
    return ag_where(inside, x, ag_detach(ag_minimum(ag_maximum(x, low), high)));
}

static AgVar composed(AgVar x, const Options *o) {
    switch (o->f) {
    case TENSOR_LEAKY_RELU: return ag_where(ag_gt(x, ag_zero(x)), x, ag_affine(x, o->a, 0));
    case TENSOR_CLAMP: return clamp_of(x, o->a, o->b);
    case TENSOR_ELU: return elu_of(x, o->a);
    case TENSOR_SOFTPLUS: return softplus_of(x, o->a, o->b);
    case TENSOR_SWISH: return swish_of(x, o->a, o->b);
    default: return gelu_of(x);
    }
}

static bool compose(AgTape *t, int n_in, const AgVar *in, const void *options, AgVar *out) {
    (void)t, (void)n_in;
    out[0] = composed(in[0], options);
    return ag_ok(out[0]);
}

/* ---- samples ---- */

/* Inputs over lo..hi, without a bend between them, for parameters given as Options. */
#define SAMPLES(lo, hi, ...)                                                        \
    {"matrix", 1, {AG_IN(lo, hi, 3, 4)}, AG_WITH(Options, __VA_ARGS__), NULL},      \
    {"scalar", 1, {AG_IN(lo, hi)}, AG_WITH(Options, __VA_ARGS__), NULL},            \
    {"empty", 1, {AG_IN(lo, hi, 2, 0)}, AG_WITH(Options, __VA_ARGS__), NULL},       \
    {"longer than a vector", 1, {AG_IN(lo, hi, 37)}, AG_WITH(Options, __VA_ARGS__), NULL}
#define INTEGERS(...)                                                               \
    {"integers", 1, {AG_IN_DTYPE("i64", 1, 9, 3)}, AG_WITH(Options, __VA_ARGS__),   \
     "wants f32 or f64"}
#define REFUSED(name, message, ...)                                                 \
    {name, 1, {AG_IN(1, 2, 3)}, AG_WITH(Options, __VA_ARGS__), message}

#define DEFINE(op, text)                                                            \
    const AgOp ag_op_##op = {#op, text, "f:f", op##_shape, value, vjp, compose,     \
                             op##_samples, op##_errors, false, NULL}

static AgVar apply(const AgOp *op, AgVar x, TensorActivation f, double a, double b) {
    return ag_apply1(op, 1, &x, &(Options){f, a, b}, sizeof(Options));
}

/* ---- silu ---- */

static bool silu_shape(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }
static const AgSample silu_samples[] = {SAMPLES(-4, 4, TENSOR_SWISH, 1, 0), {0}};
static const AgSample silu_errors[] = {INTEGERS(TENSOR_SWISH, 1, 0), {0}};
DEFINE(silu, "x sigmoid(x)");
AgVar ag_silu(AgVar x) { return apply(&ag_op_silu, x, TENSOR_SWISH, 1, 0); }

/* ---- gelu: with tanh it is x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3) ---- */

#define LINEAR 1.59576912160573071176 /* 2 sqrt(2 / pi) */
#define CUBIC (LINEAR * 0.044715)

static bool gelu_shape(AgCall *c) {
    const Options *o = c->options;
    if (o->f != TENSOR_GELU && o->f != TENSOR_SWISH)
        return ag_call_fail(c, "wants AG_GELU_ERF or AG_GELU_TANH");
    return ag_out_like(c, 0, c->in[0]);
}
static const AgSample gelu_samples[] = {
    SAMPLES(-3, 3, TENSOR_GELU, 0, 0), SAMPLES(-3, 3, TENSOR_SWISH, LINEAR, CUBIC), {0}};
static const AgSample gelu_errors[] = {
    INTEGERS(TENSOR_GELU, 0, 0),
    REFUSED("form", "wants AG_GELU_ERF", TENSOR_ACTIVATION_COUNT, 0, 0),
    {0},
};
DEFINE(gelu, "x times the normal distribution function of x");
AgVar ag_gelu(AgVar x, AgGelu approximate) {
    if (approximate == AG_GELU_TANH) return apply(&ag_op_gelu, x, TENSOR_SWISH, LINEAR, CUBIC);
    bool known = approximate == AG_GELU_ERF;
    return apply(&ag_op_gelu, x, known ? TENSOR_GELU : TENSOR_ACTIVATION_COUNT, 0, 0);
}

/* ---- elu ---- */

static bool elu_shape(AgCall *c) {
    const Options *o = c->options;
    if (!isfinite(o->a)) return ag_call_fail(c, "alpha %g is not finite", o->a);
    return ag_out_like(c, 0, c->in[0]);
}
static const AgSample elu_samples[] = {
    SAMPLES(.1, 2, TENSOR_ELU, 1, 0), SAMPLES(-3, -.1, TENSOR_ELU, .7, 0), {0}};
static const AgSample elu_errors[] = {
    INTEGERS(TENSOR_ELU, 1, 0), REFUSED("alpha", "is not finite", TENSOR_ELU, INFINITY, 0), {0}};
DEFINE(elu, "x > 0 ? x : alpha (e^x - 1)");
AgVar ag_elu(AgVar x, double alpha) { return apply(&ag_op_elu, x, TENSOR_ELU, alpha, 0); }

/* ---- softplus ---- */

static bool softplus_shape(AgCall *c) {
    const Options *o = c->options;
    if (!isfinite(o->a) || o->a == 0) return ag_call_fail(c, "beta %g is 0 or not finite", o->a);
    if (isnan(o->b)) return ag_call_fail(c, "the threshold is NaN");
    return ag_out_like(c, 0, c->in[0]);
}
static const AgSample softplus_samples[] = {
    SAMPLES(-3, 3, TENSOR_SOFTPLUS, 1, 20), SAMPLES(-3, 1, TENSOR_SOFTPLUS, 2, 2.5),
    SAMPLES(2, 3, TENSOR_SOFTPLUS, 2, 3), {0}};
static const AgSample softplus_errors[] = {
    INTEGERS(TENSOR_SOFTPLUS, 1, 20),
    REFUSED("no beta", "beta 0", TENSOR_SOFTPLUS, 0, 20),
    REFUSED("threshold", "threshold is NaN", TENSOR_SOFTPLUS, 1, NAN),
    {0},
};
DEFINE(softplus, "ln(1 + e^(beta x)) / beta");
AgVar ag_softplus(AgVar x, double beta, double threshold) {
    return apply(&ag_op_softplus, x, TENSOR_SOFTPLUS, beta, threshold);
}

/* ---- logsigmoid: -softplus(-x), which is softplus with beta -1 ---- */

static bool logsigmoid_shape(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }
static const AgSample logsigmoid_samples[] = {SAMPLES(-4, 4, TENSOR_SOFTPLUS, -1, INFINITY), {0}};
static const AgSample logsigmoid_errors[] = {INTEGERS(TENSOR_SOFTPLUS, -1, INFINITY), {0}};
DEFINE(logsigmoid, "ln sigmoid(x)");
AgVar ag_logsigmoid(AgVar x) {
    return apply(&ag_op_logsigmoid, x, TENSOR_SOFTPLUS, -1, INFINITY);
}

/* ---- leaky_relu ---- */

static bool leaky_relu_shape(AgCall *c) {
    const Options *o = c->options;
    if (!isfinite(o->a)) return ag_call_fail(c, "slope %g is not finite", o->a);
    return ag_out_like(c, 0, c->in[0]);
}
static const AgSample leaky_relu_samples[] = {
    SAMPLES(.1, 2, TENSOR_LEAKY_RELU, .2, 0), SAMPLES(-3, -.1, TENSOR_LEAKY_RELU, .2, 0), {0}};
static const AgSample leaky_relu_errors[] = {
    INTEGERS(TENSOR_LEAKY_RELU, .1, 0),
    REFUSED("slope", "is not finite", TENSOR_LEAKY_RELU, NAN, 0),
    {0},
};
DEFINE(leaky_relu, "x > 0 ? x : slope x");
AgVar ag_leaky_relu(AgVar x, double slope) {
    return apply(&ag_op_leaky_relu, x, TENSOR_LEAKY_RELU, slope, 0);
}

/* ---- clamp ---- */

static bool clamp_shape(AgCall *c) {
    const Options *o = c->options;
    if (isnan(o->a) || isnan(o->b)) return ag_call_fail(c, "a bound is NaN");
    return ag_out_like(c, 0, c->in[0]);
}
static const AgSample clamp_samples[] = {
    SAMPLES(-.9, .9, TENSOR_CLAMP, -1, 1), SAMPLES(-3, -1.1, TENSOR_CLAMP, -1, 1),
    SAMPLES(1.1, 3, TENSOR_CLAMP, -INFINITY, 1), SAMPLES(-3, 3, TENSOR_CLAMP, 2, -2), {0}};
static const AgSample clamp_errors[] = {
    INTEGERS(TENSOR_CLAMP, 0, 1), REFUSED("bound", "bound is NaN", TENSOR_CLAMP, 0, NAN), {0}};
DEFINE(clamp, "min(max(x, min), max)");
AgVar ag_clamp(AgVar x, double min, double max) {
    return apply(&ag_op_clamp, x, TENSOR_CLAMP, min, max);
}
