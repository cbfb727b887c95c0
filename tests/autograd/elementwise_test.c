/* Elementwise ops at bends, borders and extremes, against values worked out by hand. */
#include <criterion/criterion.h>
#include <math.h>

#include "autograd/ag.h"

static AgTape *t;
static void start(void) { t = ag_tape_new(); }
static void stop(void) { ag_tape_free(t); }
TestSuite(elementwise, .init = start, .fini = stop);

static const AgVar ones; /* a seed of {0} */

/* ---- functions of one variable ---- */

static AgVar leaky(AgVar x) { return ag_leaky_relu(x, .25); }
static AgVar clamped(AgVar x) { return ag_clamp(x, -1, 2); }
static AgVar unbounded(AgVar x) { return ag_clamp(x, -INFINITY, INFINITY); }
static AgVar crossed(AgVar x) { return ag_clamp(x, 2, -2); }
static AgVar elu(AgVar x) { return ag_elu(x, 2); }
static AgVar softplus(AgVar x) { return ag_softplus(x, 1, 20); }
static AgVar soft_only(AgVar x) { return ag_softplus(x, 2, INFINITY); }
static AgVar gelu(AgVar x) { return ag_gelu(x, AG_GELU_ERF); }
static AgVar gelu_tanh(AgVar x) { return ag_gelu(x, AG_GELU_TANH); }
static AgVar power_0(AgVar x) { return ag_pow_scalar(x, 0); }
static AgVar power_1(AgVar x) { return ag_pow_scalar(x, 1); }
static AgVar power_2(AgVar x) { return ag_pow_scalar(x, 2); }
static AgVar power_3(AgVar x) { return ag_pow_scalar(x, 3); }
static AgVar root(AgVar x) { return ag_pow_scalar(x, .5); }
static AgVar inverse(AgVar x) { return ag_pow_scalar(x, -1); }
static AgVar fraction(AgVar x) { return ag_pow_scalar(x, 1.5); }

#define LN2 0.69314718055994530942
#define UNSAID 12345.0 /* no claim about this one */

typedef struct {
    const char *name;
    AgVar (*f)(AgVar);
    double x, y, first, second; /* x -> y, and its derivatives */
} Case;
#define CASE(f, ...) {#f, f, __VA_ARGS__}

static const Case cases[] = {
    CASE(leaky, 0, 0, .25, 0),
    CASE(leaky, NAN, NAN, .25, 0),
    CASE(clamped, -1, -1, 1, 0),
    CASE(clamped, 2, 2, 1, 0),
    CASE(clamped, -1.5, -1, 0, 0),
    CASE(clamped, INFINITY, 2, 0, 0),
    CASE(clamped, NAN, NAN, 0, 0),
    CASE(unbounded, -INFINITY, -INFINITY, 1, 0),
    CASE(crossed, 0, -2, 0, 0),
    CASE(elu, 0, 0, 2, 0),
    CASE(elu, 1000, 1000, 1, 0),
    CASE(elu, -1000, -2, 0, 0),
    CASE(elu, -INFINITY, -2, 0, 0),
    CASE(elu, NAN, NAN, NAN, UNSAID),
    CASE(softplus, 0, LN2, .5, .25),
    CASE(softplus, 20.5, 20.5, 1, 0),
    CASE(softplus, -30, 9.3576229688397e-14, 9.3576229688393e-14, 9.3576229688385e-14),
    CASE(softplus, -1000, 0, 0, 0),
    CASE(softplus, INFINITY, INFINITY, 1, 0),
    CASE(softplus, NAN, NAN, NAN, UNSAID),
    CASE(soft_only, 1000, 1000, 1, 0),
    CASE(ag_logsigmoid, 0, -LN2, .5, -.25),
    CASE(ag_logsigmoid, 40, -4.2483542552916e-18, 4.2483542552916e-18, UNSAID),
    CASE(ag_logsigmoid, -1000, -1000, 1, 0),
    CASE(ag_logsigmoid, -INFINITY, -INFINITY, 1, 0),
    CASE(ag_logsigmoid, INFINITY, 0, 0, 0),
    CASE(ag_logsigmoid, NAN, NAN, NAN, UNSAID),
    CASE(ag_silu, 0, 0, .5, .5),
    CASE(ag_silu, 1000, 1000, 1, 0),
    CASE(ag_silu, INFINITY, INFINITY, 1, UNSAID),
    CASE(ag_silu, -INFINITY, 0, 0, 0),
    CASE(ag_silu, NAN, NAN, NAN, UNSAID),
    CASE(gelu, 0, 0, .5, .79788456080287),
    CASE(gelu, 1e30, 1e30, 1, 0),
    CASE(gelu, -1e30, 0, 0, 0),
    CASE(gelu, -INFINITY, 0, 0, 0),
    CASE(gelu, NAN, NAN, NAN, UNSAID),
    CASE(gelu_tanh, 0, 0, .5, .79788456080287),
    CASE(gelu_tanh, 1e30, 1e30, 1, 0),
    CASE(gelu_tanh, -1e30, 0, 0, 0),
    CASE(gelu_tanh, -INFINITY, 0, 0, 0),
    CASE(power_0, 0, 1, 0, 0),
    CASE(power_0, NAN, 1, 0, 0),
    CASE(power_1, 0, 0, 1, 0),
    CASE(power_2, -3, 9, -6, 2),
    CASE(power_3, -2, -8, 12, -12),
    CASE(root, 0, 0, INFINITY, UNSAID),
    CASE(root, 4, 2, .25, -1. / 32),
    CASE(inverse, -2, -.5, -.25, -.25),
    CASE(inverse, 0, INFINITY, -INFINITY, UNSAID),
    CASE(fraction, 0, 0, 0, INFINITY),
    CASE(fraction, -1, NAN, NAN, UNSAID),
    CASE(ag_log1p, -1, -INFINITY, INFINITY, UNSAID),
    CASE(ag_log1p, 1e-20, 1e-20, 1, -1),
    CASE(ag_log1p, 1e38, 87.49823353377374, 1e-38, UNSAID),
    CASE(ag_expm1, 1e-20, 1e-20, 1, 1),
    CASE(ag_expm1, -30, -1, 9.3576229688402e-14, 9.3576229688402e-14),
    CASE(ag_rsqrt, 4, .5, -1. / 16, 3. / 128),
    CASE(ag_rsqrt, 0, INFINITY, -INFINITY, UNSAID),
    CASE(ag_rsqrt, -1, NAN, NAN, UNSAID),
    CASE(ag_reciprocal, -4, -.25, -1. / 16, -1. / 32),
    CASE(ag_sin, 0, 0, 1, 0),
    CASE(ag_cos, 0, 1, 0, -1),
    CASE(ag_erf, 0, 0, 1.1283791670955, 0),
    CASE(ag_erf, 30, 1, 0, 0),
};

static bool is_near(TensorDtype dtype, double got, double want) {
    if (want == UNSAID) return true;
    if (isnan(want)) return isnan(got);
    if (isinf(want)) return got == want;
    return fabs(got - want) <= (dtype == TENSOR_F32 ? 4e-7 : 1e-12) * fabs(want);
}

static void expect_case(const Case *c, TensorDtype dtype) {
    AgVar x = ag_scalar(t, dtype, c->x), y = c->f(x), fast, first, second;
    cr_assert(ag_grad(y, ones, 1, &x, &fast, false), "%s", ag_tape_error(t));
    cr_assert(ag_grad(y, ones, 1, &x, &first, true), "%s", ag_tape_error(t));
    cr_assert(ag_grad(first, ones, 1, &x, &second, false), "%s", ag_tape_error(t));
    const double got[] = {ag_item(y), ag_item(fast), ag_item(first), ag_item(second)};
    const double want[] = {c->y, c->first, c->first, c->second};
    for (int k = 0; k < 4; k++)
        cr_expect(is_near(dtype, got[k], want[k]), "%s(%g) %s: number %d is %.15g, not %.15g",
                  c->name, c->x, tensor_dtype_name(dtype), k, got[k], want[k]);
}

Test(elementwise, values_and_derivatives_at_bends_borders_and_extremes) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_case(&cases[i], TENSOR_F32);
        expect_case(&cases[i], TENSOR_F64);
    }
}

Test(elementwise, gelu_keeps_its_accuracy_where_it_goes_to_zero) {
    AgVar x = ag_scalar(t, TENSOR_F64, -10), y = gelu(x), g;
    cr_assert(ag_grad(y, ones, 1, &x, &g, false));
    cr_expect_float_eq(ag_item(y) / -7.619853024160593e-23, 1, 1e-12);
    cr_expect_float_eq(ag_item(g) / -7.618400096464813e-22, 1, 1e-12);
}

/* ---- functions of two ---- */

Test(elementwise, logaddexp_of_large_numbers_and_infinities) {
    static const struct {
        double a, b, y, first_a, first_b, second; /* second: d2y / da2 */
    } pair[] = {
        {0, 0, LN2, .5, .5, .25},
        {1000, 1000, 1000 + LN2, .5, .5, .25},
        {-1000, 1000, 1000, 0, 1, 0},
        {3e38, -3e38, 3e38, 1, 0, 0},
        {-INFINITY, 3, 3, 0, 1, 0},
        {-INFINITY, -INFINITY, -INFINITY, .5, .5, UNSAID},
        {INFINITY, INFINITY, INFINITY, .5, .5, UNSAID},
        {INFINITY, -INFINITY, INFINITY, 1, 0, UNSAID},
        {NAN, 1, NAN, NAN, NAN, UNSAID},
        {-INFINITY, NAN, NAN, NAN, NAN, UNSAID},
    };
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        for (TensorDtype dtype = TENSOR_F32; dtype <= TENSOR_F64; dtype++) {
            AgVar x[] = {ag_scalar(t, dtype, pair[i].a), ag_scalar(t, dtype, pair[i].b)}, g[2], h;
            AgVar y = ag_logaddexp(x[0], x[1]);
            cr_assert(ag_grad(y, ones, 2, x, g, true), "%s", ag_tape_error(t));
            cr_assert(ag_grad(g[0], ones, 1, x, &h, false), "%s", ag_tape_error(t));
            cr_expect(is_near(dtype, ag_item(y), pair[i].y), "%zu: %g", i, ag_item(y));
            cr_expect(is_near(dtype, ag_item(g[0]), pair[i].first_a), "%zu: %g", i, ag_item(g[0]));
            cr_expect(is_near(dtype, ag_item(g[1]), pair[i].first_b), "%zu: %g", i, ag_item(g[1]));
            cr_expect(is_near(dtype, ag_item(h), pair[i].second), "%zu: %g", i, ag_item(h));
        }
    }
}
