#include "examples/gradcheck/swiglu.h"

#include <math.h>

/* ---- the op ---- */

static bool swiglu_shape(AgCall *c) {
    if (!tensor_same_shape(c->in[0], c->in[1])) return ag_call_fail(c, "shapes differ");
    return ag_out_like(c, 0, c->in[0]);
}

static bool swiglu_value(AgCall *c) {
    const SwigluOptions *o = c->options;
    for (int64_t i = 0, n = tensor_numel(&c->out[0]); i < n; i++) {
        double a = tensor_get(c->in[0], i), b = tensor_get(c->in[1], i);
        tensor_set(&c->out[0], i, a * b / (1 + exp(-o->beta * b)));
    }
    return true;
}

/* Written with ops, so that it can be differentiated again. */
static bool swiglu_vjp(AgVjp *v) {
    const SwigluOptions *o = v->options;
    AgVar a = v->in[0], b = v->in[1], g = v->gout[0];
    AgVar s = ag_sigmoid(ag_affine(b, o->beta, 0));
    AgVar slope = ag_affine(ag_mul(b, ag_affine(s, -1, 1)), o->beta, 1); /* 1 + beta b (1 - s) */
    v->gin[0] = ag_mul(g, ag_mul(b, s));
    v->gin[1] = ag_mul(ag_mul(g, a), ag_mul(s, slope));
    return true;
}

static const SwigluOptions plain = {1}, steep = {2.5}, half = {0};
static const AgSample swiglu_samples[] = {
    {"matrix", 2, {{.ndim = 2, .shape = {2, 3}, .lo = -2, .hi = 2},
                   {.ndim = 2, .shape = {2, 3}, .lo = -2, .hi = 2}}, &plain, sizeof plain, NULL},
    {"longer than a vector", 2, {{.ndim = 1, .shape = {37}, .lo = -2, .hi = 2},
                                 {.ndim = 1, .shape = {37}, .lo = -2, .hi = 2}},
     &steep, sizeof steep, NULL},
    {"scalar, beta 0", 2, {{.lo = -2, .hi = 2}, {.lo = -2, .hi = 2}}, &half, sizeof half, NULL},
    {"empty", 2, {{.ndim = 2, .shape = {0, 3}}, {.ndim = 2, .shape = {0, 3}}}, &plain,
     sizeof plain, NULL},
    {0}};
static const AgSample swiglu_errors[] = {
    {"shapes", 2, {{.ndim = 1, .shape = {3}}, {.ndim = 1, .shape = {2}}}, &plain, sizeof plain,
     "shapes differ"},
    {"integers", 2, {{.ndim = 1, .shape = {3}, .dtype = "i64"},
                     {.ndim = 1, .shape = {3}, .dtype = "i64"}}, &plain, sizeof plain,
     "wants f32 or f64"},
    {0}};

const AgOp swiglu_op = {.name = "swiglu", .doc = "a b sigmoid(beta b)", .signature = "ff:f",
                        .shape = swiglu_shape, .value = swiglu_value, .vjp = swiglu_vjp,
                        .samples = swiglu_samples, .errors = swiglu_errors};

AgVar swiglu(AgVar a, AgVar b, const SwigluOptions *options) {
    return ag_apply1(&swiglu_op, 2, (AgVar[]){a, b}, options, sizeof *options);
}

/* ---- wrong on purpose ---- */

/* Right where beta is 1: the samples must cover the options. */
static bool without_beta_vjp(AgVjp *v) {
    const SwigluOptions *o = v->options;
    AgVar a = v->in[0], b = v->in[1], g = v->gout[0];
    AgVar s = ag_sigmoid(ag_affine(b, o->beta, 0));
    AgVar slope = ag_affine(ag_mul(b, ag_affine(s, -1, 1)), 1, 1);
    v->gin[0] = ag_mul(g, ag_mul(b, s));
    v->gin[1] = ag_mul(ag_mul(g, a), ag_mul(s, slope));
    return true;
}

const AgOp swiglu_without_beta = {
    .name = "swiglu", .doc = "a b sigmoid(beta b)", .signature = "ff:f", .shape = swiglu_shape,
    .value = swiglu_value, .vjp = without_beta_vjp, .samples = swiglu_samples,
    .errors = swiglu_errors};

/* The numbers are right, but nothing flows through s. */
static bool constant_gate_vjp(AgVjp *v) {
    const SwigluOptions *o = v->options;
    AgVar a = v->in[0], b = v->in[1], g = v->gout[0];
    AgVar s = ag_detach(ag_sigmoid(ag_affine(b, o->beta, 0)));
    AgVar slope = ag_affine(ag_mul(b, ag_affine(s, -1, 1)), o->beta, 1);
    v->gin[0] = ag_mul(g, ag_mul(b, s));
    v->gin[1] = ag_mul(ag_mul(g, a), ag_mul(s, slope));
    return true;
}

const AgOp swiglu_constant_gate = {
    .name = "swiglu", .doc = "a b sigmoid(beta b)", .signature = "ff:f", .shape = swiglu_shape,
    .value = swiglu_value, .vjp = constant_gate_vjp, .samples = swiglu_samples,
    .errors = swiglu_errors};

/* Sums a gradient that must not be summed. */
static bool wrong_shape_vjp(AgVjp *v) {
    bool ok = swiglu_vjp(v);
    v->gin[1] = ag_sum(v->gin[1], AG_AXES(0), false);
    return ok;
}

const AgOp swiglu_wrong_shape = {
    .name = "swiglu", .doc = "a b sigmoid(beta b)", .signature = "ff:f", .shape = swiglu_shape,
    .value = swiglu_value, .vjp = wrong_shape_vjp, .samples = swiglu_samples,
    .errors = swiglu_errors};
