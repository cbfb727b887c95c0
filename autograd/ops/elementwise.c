/* elementwise.c -- everything that ops.def says in one line. */
#include "autograd/ops/ops.h"

static bool shape_unary(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }
static bool shape_binary(AgCall *c) { return ag_out_broadcast(c, 0, 0, 1); }

/* ---- rules that need more than a line ---- */

#define ZERO(x) ag_zero(x)
#define NONE ag_none(x)

/* Where b = 0 the factor b wins over a^(b-1), which may be infinite. */
static AgVar pow_rule_a(AgVar a, AgVar b, AgVar g) {
    AgVar slope = ag_mul(b, ag_pow(a, ag_affine(b, 1, -1)));
    return ag_masked_fill(ag_mul(g, slope), ag_eq(b, ZERO(b)), 0);
}

/* 0^b stays 0 (or 1) as b >= 0 moves, though ln 0 is infinite. */
static AgVar pow_rule_b(AgVar a, AgVar b, AgVar y, AgVar g) {
    AgVar flat = ag_logical_and(ag_eq(a, ZERO(a)), ag_ge(b, ZERO(b)));
    return ag_masked_fill(ag_mul(g, ag_mul(y, ag_log(a))), flat, 0);
}

static AgVar erf_slope(AgVar x) {
    const double at_0 = 1.12837916709551257390; /* 2 / sqrt(pi) */
    return ag_affine(ag_exp(ag_neg(ag_square(x))), at_0, 0);
}

/* dL/da of ln(e^a + e^b): a's share is the sigmoid of a - b, which is 0 for equal infinities. */
static AgVar logaddexp_rule(AgVar a, AgVar b, AgVar g) {
    AgVar difference = ag_sub(a, b);
    AgVar undefined = ag_logical_and(ag_eq(a, b), ag_ne(difference, difference));
    return ag_mul(g, ag_sigmoid(ag_masked_fill(difference, undefined, 0)));
}

/* dL/d(winner) of max(winner, other): halves among equals. */
static AgVar larger_rule(AgVar winner, AgVar other, AgVar g) {
    AgVar shared = ag_where(ag_eq(winner, other), ag_affine(g, .5, 0), g);
    return ag_masked_fill(shared, ag_lt(winner, other), 0);
}

/* ---- samples ---- */

#define UNARY_SAMPLES(lo, hi)                                                                  \
    {{"matrix", 1, {AG_IN(lo, hi, 3, 4)}, NULL, 0, NULL},                                      \
     {"scalar", 1, {AG_IN(lo, hi)}, NULL, 0, NULL},                                            \
     {"empty", 1, {AG_IN(lo, hi, 2, 0)}, NULL, 0, NULL},                                       \
     {"longer than a vector", 1, {AG_IN(lo, hi, 37)}, NULL, 0, NULL},                          \
     {0}}
#define BINARY_SAMPLES(lo, hi)                                                                 \
    {{"equal shapes", 2, {AG_IN(lo, hi, 3, 4), AG_IN(lo, hi, 3, 4)}, NULL, 0, NULL},           \
     {"column and row", 2, {AG_IN(lo, hi, 3, 1), AG_IN(lo, hi, 4)}, NULL, 0, NULL},            \
     {"scalar first", 2, {AG_IN(lo, hi), AG_IN(lo, hi, 2, 3)}, NULL, 0, NULL},                 \
     {"scalar last", 2, {AG_IN(lo, hi, 2, 3), AG_IN(lo, hi)}, NULL, 0, NULL},                  \
     {"middle axes", 2, {AG_IN(lo, hi, 2, 1, 3), AG_IN(lo, hi, 4, 1)}, NULL, 0, NULL},         \
     {"empty", 2, {AG_IN(lo, hi, 0, 3), AG_IN(lo, hi, 3)}, NULL, 0, NULL},                     \
     {0}}
#define BINARY_ERRORS(kind)                                                                    \
    {{"shapes", 2, {AG_IN(1, 2, 3, 4), AG_IN(1, 2, 3)}, NULL, 0, "do not broadcast"},          \
     {"dtypes", 2, {AG_IN_DTYPE(kind, 1, 2, 3), AG_IN_DTYPE("i64", 1, 9, 3)}, NULL, 0, "i64"}, \
     {"one operand", 1, {AG_IN(1, 2, 3)}, NULL, 0, "arguments"},                               \
     {0}}

static const AgSample unary_errors[] = {
    {"integers", 1, {AG_IN_DTYPE("i64", 1, 9, 3)}, NULL, 0, "wants f32 or f64"},
    {"mask", 1, {AG_IN_DTYPE("u8", 0, 2, 3)}, NULL, 0, "wants f32 or f64"},
    {0},
};
static const AgSample binary_errors[] = BINARY_ERRORS("f64");
static const AgSample mask_errors[] = BINARY_ERRORS("u8");
static const AgSample mask_samples[] = BINARY_SAMPLES(0, 2);
static const AgSample compare_samples[] = {
    {"ties", 2, {AG_IN_DTYPE("i64", 0, 3, 4, 5), AG_IN_DTYPE("i64", 0, 3, 5)}, NULL, 0, NULL},
    {"masks", 2, {AG_IN_DTYPE("u8", 0, 2, 7), AG_IN_DTYPE("u8", 0, 2, 7)}, NULL, 0, NULL},
    {"column and row", 2, {AG_IN(-2, 2, 3, 1), AG_IN(-2, 2, 4)}, NULL, 0, NULL},
    {"empty", 2, {AG_IN(-2, 2, 0), AG_IN(-2, 2)}, NULL, 0, NULL},
    {0},
};

/* ---- definitions ---- */

#define UNARY(op, kernel, rule, lo, hi, text)                                                  \
    static bool value_##op(AgCall *c) {                                                        \
        tensor_unary(kernel, &c->out[0], c->in[0]);                                            \
        return true;                                                                           \
    }                                                                                          \
    static bool vjp_##op(AgVjp *v) {                                                           \
        AgVar x = v->in[0], y = v->out[0], g = v->gout[0];                                     \
        (void)x, (void)y, (void)g;                                                             \
        v->gin[0] = rule;                                                                      \
        return true;                                                                           \
    }                                                                                          \
    static const AgSample samples_##op[] = UNARY_SAMPLES(lo, hi);                              \
    const AgOp ag_op_##op = {#op, text, "f:f", shape_unary, value_##op, vjp_##op, NULL,        \
                             samples_##op, unary_errors, false, NULL};                         \
    AgVar ag_##op(AgVar x) { return ag_apply1(&ag_op_##op, 1, &x, NULL, 0); }

#define BINARY(op, kernel, rule_a, rule_b, lo, hi, text)                                       \
    static bool value_##op(AgCall *c) {                                                        \
        tensor_binary(kernel, &c->out[0], c->in[0], c->in[1]);                                 \
        return true;                                                                           \
    }                                                                                          \
    static bool vjp_##op(AgVjp *v) {                                                           \
        AgVar a = v->in[0], b = v->in[1], y = v->out[0], g = v->gout[0];                       \
        (void)y;                                                                               \
        if (v->need[0]) v->gin[0] = ag_sum_like(rule_a, a);                                    \
        if (v->need[1]) v->gin[1] = ag_sum_like(rule_b, b);                                    \
        return true;                                                                           \
    }                                                                                          \
    static const AgSample samples_##op[] = BINARY_SAMPLES(lo, hi);                             \
    const AgOp ag_op_##op = {#op, text, "ff:f", shape_binary, value_##op, vjp_##op, NULL,      \
                             samples_##op, binary_errors, false, NULL};                        \
    AgVar ag_##op(AgVar a, AgVar b) {                                                          \
        return ag_apply1(&ag_op_##op, 2, (AgVar[]){a, b}, NULL, 0);                            \
    }

#define MASK(op, signature, function, kernel, samples, errors, text)                           \
    static bool value_##op(AgCall *c) {                                                        \
        function(kernel, &c->out[0], c->in[0], c->in[1]);                                      \
        return true;                                                                           \
    }                                                                                          \
    const AgOp ag_op_##op = {#op, text, signature, shape_binary, value_##op, NULL, NULL,       \
                             samples, errors, false, NULL};                                    \
    AgVar ag_##op(AgVar a, AgVar b) {                                                          \
        return ag_apply1(&ag_op_##op, 2, (AgVar[]){a, b}, NULL, 0);                            \
    }
#define COMPARE(op, kernel, text)                                                              \
    MASK(op, "aa:m", tensor_compare, kernel, compare_samples, binary_errors, text)
#define LOGICAL(op, kernel, text)                                                              \
    MASK(op, "mm:m", tensor_logical, kernel, mask_samples, mask_errors, text)
#define OTHER(op)

#include "autograd/ops.def"

/* ---- logical_not: no x ---- */

static bool value_logical_not(AgCall *c) {
    tensor_logical_not(&c->out[0], c->in[0]);
    return true;
}
static const AgSample logical_not_samples[] = UNARY_SAMPLES(0, 2);
static const AgSample logical_not_errors[] = {
    {"floats", 1, {AG_IN_DTYPE("f64", 0, 1, 3)}, NULL, 0, "wants u8"},
    {0},
};
const AgOp ag_op_logical_not = {"logical_not", "not x", "m:m", shape_unary, value_logical_not,
                                NULL, NULL, logical_not_samples, logical_not_errors, false, NULL};
AgVar ag_logical_not(AgVar x) { return ag_apply1(&ag_op_logical_not, 1, &x, NULL, 0); }
