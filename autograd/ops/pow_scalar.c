/* pow_scalar: x^exponent, the exponent a constant. */
#include <math.h>

#include "autograd/ops/ops.h"

static bool shape(AgCall *c) {
    double exponent = *(const double *)c->options;
    if (!isfinite(exponent)) return ag_call_fail(c, "exponent %g is not finite", exponent);
    return ag_out_like(c, 0, c->in[0]);
}

/* Frequent exponents have kernels, which cost a small part of pow and round once. */
static bool is_simple(double exponent, TensorUnary *f) {
    static const struct {
        double exponent;
        TensorUnary f;
    } simple[] = {{2, TENSOR_SQUARE}, {.5, TENSOR_SQRT}, {-.5, TENSOR_RSQRT},
                  {-1, TENSOR_RECIPROCAL}};
    for (size_t i = 0; i < sizeof simple / sizeof *simple; i++) {
        *f = simple[i].f;
        if (exponent == simple[i].exponent) return true;
    }
    return false;
}

static bool value(AgCall *c) {
    double exponent = *(const double *)c->options;
    TensorUnary f;
    if (exponent == 0) {
        tensor_fill(&c->out[0], 1);
    } else if (exponent == 1) {
        tensor_convert(&c->out[0], c->in[0]);
    } else if (is_simple(exponent, &f)) {
        tensor_unary(f, &c->out[0], c->in[0]);
    } else {
        Tensor b = ag_call_tensor(c, false, c->in[0]->dtype, 0, NULL);
        if (tensor_is_nil(&b)) return false;
        tensor_fill(&b, exponent);
        tensor_binary(TENSOR_POW, &c->out[0], c->in[0], &b);
    }
    return true;
}

static bool vjp(AgVjp *v) {
    double exponent = *(const double *)v->options;
    AgVar g = v->gout[0];
    if (exponent == 0) return true; /* 0, also where x^-1 is infinite */
    if (exponent != 1)
        g = ag_mul(g, ag_affine(ag_pow_scalar(v->in[0], exponent - 1), exponent, 0));
    v->gin[0] = g;
    return true;
}

#define SAMPLE(name, lo, hi, exponent, ...) \
    {name, 1, {AG_IN(lo, hi, __VA_ARGS__)}, AG_WITH(double, exponent), NULL}
static const AgSample samples[] = {
    SAMPLE("0", -2, 2, 0, 3, 4),       SAMPLE("1", -2, 2, 1, 3, 4),
    SAMPLE("square", -2, 2, 2, 3, 4),  SAMPLE("cube", -2, 2, 3, 37),
    SAMPLE("root", .5, 3, .5, 3, 4),   SAMPLE("reciprocal of the root", .5, 3, -.5, 37),
    SAMPLE("reciprocal", .5, 3, -1, 5), SAMPLE("fraction", .5, 3, 1.7, 3, 4),
    SAMPLE("negative", .5, 3, -2.3, 37),
    {"scalar", 1, {AG_IN(.5, 3)}, AG_WITH(double, 1.5), NULL},
    SAMPLE("empty", .5, 3, 2.5, 2, 0), {0},
};
static const AgSample errors[] = {
    {"integers", 1, {AG_IN_DTYPE("i64", 1, 9, 3)}, AG_WITH(double, 2), "wants f32 or f64"},
    {"exponent", 1, {AG_IN(1, 2, 3)}, AG_WITH(double, NAN), "is not finite"},
    {0},
};
static void write_options(const void *options, char *buf, size_t n) {
    snprintf(buf, n, "%g", *(const double *)options);
}

const AgOp ag_op_pow_scalar = {"pow_scalar", "x^exponent", "f:f",   shape,  value,
                               vjp,          NULL,         samples, errors, false, write_options};

AgVar ag_pow_scalar(AgVar x, double exponent) {
    return ag_apply1(&ag_op_pow_scalar, 1, &x, &exponent, sizeof exponent);
}
