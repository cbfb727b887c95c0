/* gradcheck_plain measures well, watches memory, and leaves the caller's arrays as they were. */
#include "autograd/gradcheck/plain.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One function of one input: y_i = f(x_i), dx_i = slope(x_i) dy_i, in either float type. */
typedef struct {
    GradArg in, out;
    double (*f)(double), (*slope)(double);
    int64_t n, forwards;
    double x[64], dx[64];
    float x32[64];
} Elementwise;

static double value_at(const GradArg *a, const void *data, int64_t i) {
    return a->dtype == GRADCHECK_F32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

static void put(const GradArg *a, void *data, int64_t i, double v) {
    if (a->dtype == GRADCHECK_F32) ((float *)data)[i] = (float)v;
    else ((double *)data)[i] = v;
}

static bool forward(void *context) {
    Elementwise *e = context;
    e->forwards++;
    for (int64_t i = 0; i < e->n; i++)
        put(&e->out, e->out.value, i, e->f(value_at(&e->in, e->in.value, i)));
    return true;
}

static bool backward(void *context) {
    Elementwise *e = context;
    for (int64_t i = 0; i < e->n; i++)
        put(&e->in, e->in.grad, i, e->slope(value_at(&e->in, e->in.value, i)) *
                                   value_at(&e->out, e->out.grad, i));
    return true;
}

static void open_case(Elementwise *e, double (*f)(double), double (*slope)(double), int dtype,
                      int64_t n, double from, double to) {
    *e = (Elementwise){.f = f, .slope = slope, .n = n};
    e->in = (GradArg){.name = "x", .dtype = dtype, .ndim = 1, .shape = &e->n,
                      .value = dtype == GRADCHECK_F32 ? (void *)e->x32 : (void *)e->x};
    e->out = (GradArg){.name = "y", .dtype = dtype, .ndim = 1, .shape = &e->n};
    for (int64_t i = 0; i < n; i++) {
        double x = from + (to - from) * ((double)i + .5) / (double)n;
        e->x[i] = x;
        e->x32[i] = (float)x;
    }
}

static GradcheckResult check(Elementwise *e, const GradcheckOptions *o) {
    GradcheckResult r;
    bool ok = gradcheck_plain(forward, backward, e, 1, &e->in, 1, &e->out, o, &r);
    cr_expect_eq(ok, r.ok);
    cr_expect_eq(r.ok, r.reason == GRADCHECK_PASSED);
    cr_expect(r.message[0] && !strchr(r.message, '\n'), "`%s`", r.message);
    return r;
}

static double one(double x) { return (void)x, 1; }
static double zero(double x) { return (void)x, 0; }
static double same(double x) { return x; }
static double tanh_slope(double x) { return 1 - tanh(x) * tanh(x); }
static double inverse(double x) { return 1 / x; }
static double minus_square_inverse(double x) { return -1 / x / x; }
static double twice(double x) { return 2 * x; }
static double square(double x) { return x * x; }
static double tiny_slope(double x) { return 1e-30 * exp(x); }
static double large(double x) { return 1e30 * exp(x); }
static double far(double x) { return sin(x); }
static double oscillating(double x) { return sin(300 * x); }
static double oscillating_slope(double x) { return 300 * cos(300 * x); }
static double fast(double x) { return sin(1e5 * x); }
static double fast_slope(double x) { return 1e5 * cos(1e5 * x); }
static double immense(double x) { return 1e200 * exp(x); }
static double minute(double x) { return 1e-200 * exp(x); }
static double root_slope(double x) { return .5 / sqrt(x); }
static double ramp(double x) { return x > 0 ? x : 0; }
static double step_up(double x) { return x > 0; }
static double flat(double x) { return (void)x, 3; }

Test(plain, needs_no_tolerances_for_right_gradients_of_any_scale) {
    const struct {
        double (*f)(double), (*slope)(double);
        double from, to;
    } right[] = {
        {same, one, -1, 1}, {tanh, tanh_slope, -4, 4}, {exp, exp, -30, 30},
        {log, inverse, 1e-3, 50},
        {tiny_slope, tiny_slope, -2, 2}, {large, large, -2, 2}, {far, cos, 1e3, 1e4},
        {oscillating, oscillating_slope, -1, 1}, {inverse, minus_square_inverse, .01, 3},
        {ramp, step_up, -1, 1}, {flat, zero, -1, 1}, {square, twice, -1e-8, 1e-8},
        {log, inverse, 1e-9, 1e-8}, {sqrt, root_slope, 1e-9, 1e-8}, {far, cos, 1e6, 1e6 + 9},
        {fast, fast_slope, -1, 1}, {immense, immense, -1, 1}, {minute, minute, -1, 1},
        {same, one, -1e300, 1e300}, {square, twice, -1e150, 1e150},
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        Elementwise e;
        open_case(&e, right[i].f, right[i].slope, GRADCHECK_F64, 14, right[i].from, right[i].to);
        GradcheckResult r = check(&e, NULL);
        cr_expect(r.ok && r.checked == 14, "case %zu: %s", i, r.message);
        cr_expect_lt(r.abs_error, 1e-6 * fabs(r.numeric) + 1e-9 * e.f(right[i].to) + 1e-9);
    }
}

static double twice_minute(double x) { return 2 * minute(x); }
static double offset(double x) { return 1e12 + sin(x); }
static double twice_cos(double x) { return 2 * cos(x); }
static double two(double x) { return (void)x, 2; }

/* Whatever the scale of inputs and results, by elements and along directions. */
Test(plain, never_passes_twice_the_right_gradient) {
    const struct {
        double (*f)(double), (*slope)(double);
        double to;
        GradcheckReason reason;
    } wrong[] = {
        {minute, twice_minute, 1, GRADCHECK_FACTOR}, {same, two, 1e300, GRADCHECK_FACTOR},
        {same, two, 1e-300, GRADCHECK_FACTOR}, {offset, twice_cos, 1, GRADCHECK_NOISE},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (int directions = 0; directions <= 3; directions += 3)
            for (int n = 1; n <= 33; n += 4) {
                Elementwise e;
                open_case(&e, wrong[i].f, wrong[i].slope, GRADCHECK_F64, n, -wrong[i].to,
                          wrong[i].to * .9);
                GradcheckResult r = check(&e, &(GradcheckOptions){.directions = directions});
                cr_expect_eq(r.reason, wrong[i].reason, "case %zu, n %d, %d directions: %s", i, n,
                             directions, r.message);
            }
}

static double slope_error;
static double slightly_wrong(double x) { return tanh_slope(x) * (1 + slope_error * x); }

Test(plain, finds_an_error_of_a_millionth) {
    for (slope_error = 1e-1; slope_error > 1e-7; slope_error /= 10) {
        Elementwise e;
        open_case(&e, tanh, slightly_wrong, GRADCHECK_F64, 10, -1, 1);
        cr_expect(!check(&e, NULL).ok, "%g", slope_error);
        open_case(&e, tanh, slightly_wrong, GRADCHECK_F64, 10, -1, 1);
        GradcheckResult r = check(&e, &(GradcheckOptions){.directions = 2});
        cr_expect(!r.ok, "%g along directions", slope_error);
    }
}

Test(plain, checks_a_kernel_in_single_precision_within_its_noise) {
    Elementwise e;
    open_case(&e, tanh, tanh_slope, GRADCHECK_F32, 20, -2, 2);
    GradcheckResult r = check(&e, NULL);
    cr_assert(r.ok, "%s", r.message);
    cr_assert_gt(r.uncertainty, 1e-9);
    slope_error = .02;
    open_case(&e, tanh, slightly_wrong, GRADCHECK_F32, 20, -2, 2);
    cr_assert(!check(&e, NULL).ok);
}

static double invisible(double x) { return 1 + 1e-9 * x; }
static double invisible_slope(double x) { return (void)x, 1e-9; }

Test(plain, never_passes_a_gradient_that_it_could_not_see) {
    Elementwise e;
    open_case(&e, invisible, invisible_slope, GRADCHECK_F32, 8, -1, 1);
    cr_assert_eq(check(&e, NULL).reason, GRADCHECK_NOISE);
    open_case(&e, invisible, invisible_slope, GRADCHECK_F64, 8, -1, 1);
    cr_assert(check(&e, NULL).ok);
}

static double single_inside(double x) { return (double)tanhf((float)x); }
static double offset_in_single(double x) { return (double)(float)(1e3 + .5 * x); }
static double offset_slope(double x) { return (void)x, .5; }

Test(plain, takes_a_function_of_doubles_that_rounds_to_float_for_what_it_is) {
    Elementwise e;
    open_case(&e, single_inside, tanh_slope, GRADCHECK_F64, 12, -2, 2);
    GradcheckResult r = check(&e, NULL);
    cr_assert(r.ok && r.uncertainty > 1e-6, "%s", r.message);
    cr_assert(strstr(r.message, "the function rounds to float32 inside"), "%s", r.message);
    slope_error = .02;
    open_case(&e, single_inside, slightly_wrong, GRADCHECK_F64, 12, -2, 2);
    cr_assert(!check(&e, NULL).ok);
    open_case(&e, offset_in_single, offset_slope, GRADCHECK_F64, 12, -2, 2);
    cr_assert_eq(check(&e, NULL).reason, GRADCHECK_NOISE);
}

Test(plain, says_so_at_a_kink_whether_the_gradient_picks_a_side_or_not) {
    Elementwise e;
    open_case(&e, ramp, step_up, GRADCHECK_F64, 1, 0, 0);
    GradcheckResult r = check(&e, NULL);
    cr_assert_eq(r.reason, GRADCHECK_KINK, "%s", r.message);
    cr_assert(strstr(r.message, " from the right and 0 from the left"), "%s", r.message);
    open_case(&e, ramp, step_up, GRADCHECK_F64, 3, -1e-12, 2e-12);
    cr_assert_eq(check(&e, NULL).reason, GRADCHECK_KINK);
    open_case(&e, ramp, step_up, GRADCHECK_F64, 2, -1e-3, 1e-3); /* far enough to resolve */
    cr_assert(check(&e, NULL).ok);
}

Test(plain, puts_everything_back) {
    Elementwise e;
    open_case(&e, exp, exp, GRADCHECK_F64, 12, -1, 1);
    double before[64];
    memcpy(before, e.x, sizeof before);
    cr_assert(check(&e, NULL).ok);
    cr_assert_arr_eq(e.x, before, sizeof before);
    cr_assert(!e.in.grad && !e.out.value && !e.out.grad);
    e.in.grad = e.dx; /* memory of the caller's own serves as well */
    cr_assert(check(&e, NULL).ok);
    cr_assert_eq(e.in.grad, e.dx);
}

Test(plain, keeps_to_the_limit_of_evaluations_and_says_what_it_left_out) {
    Elementwise e;
    open_case(&e, exp, exp, GRADCHECK_F64, 60, -1, 1);
    GradcheckResult all = check(&e, NULL);
    cr_assert_eq(all.total, 60);
    cr_assert_eq(all.checked, 60);
    GradcheckResult some = check(&e, &(GradcheckOptions){.max_evaluations = 120});
    cr_assert(some.ok && some.checked > 4 && some.checked < 40, "%s", some.message);
    GradcheckResult least = check(&e, &(GradcheckOptions){.max_evaluations = 1});
    cr_assert(least.ok && least.checked >= 1);
    GradcheckResult along = check(&e, &(GradcheckOptions){.directions = 3});
    cr_assert(along.ok && along.checked == 3, "%s", along.message);
}

Test(plain, repeats_a_run_by_its_seed) {
    Elementwise e;
    open_case(&e, tanh, tanh_slope, GRADCHECK_F64, 10, -1, 1);
    GradcheckResult a = check(&e, &(GradcheckOptions){.seed = 5});
    GradcheckResult b = check(&e, &(GradcheckOptions){.seed = 6});
    cr_assert_neq(a.numeric, b.numeric);
    setenv("GRADCHECK_SEED", "5", 1);
    GradcheckResult c = check(&e, NULL);
    cr_assert_eq(c.numeric, a.numeric);
    cr_assert_eq(c.seed, 5);
    const char *const none[] = {"five", "5x", "-5", " 5", "18446744073709551616"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        setenv("GRADCHECK_SEED", none[i], 1);
        cr_expect_eq(check(&e, NULL).reason, GRADCHECK_ERROR, "%s", none[i]);
    }
    unsetenv("GRADCHECK_SEED");
}

/* ---- a kernel of two inputs, for flags and options ---- */

typedef struct {
    GradArg in[2], out;
    double a[3], b[3];
    bool add, fail;
} Product;

static bool product_forward(void *context) {
    Product *p = context;
    for (int i = 0; i < 3 && !p->fail; i++)
        ((double *)p->out.value)[i] = ((double *)p->in[0].value)[i] * ((double *)p->in[1].value)[i];
    return !p->fail;
}

/* Right for a; b's gradient is never computed unless asked for. */
static bool product_backward(void *context) {
    Product *p = context;
    const double *g = p->out.grad;
    for (int i = 0; i < 3; i++) {
        double da = g[i] * ((double *)p->in[1].value)[i];
        ((double *)p->in[0].grad)[i] = da + (p->add ? ((double *)p->in[0].grad)[i] : 0);
    }
    return true;
}

static Product product(void) {
    static const int64_t three = 3;
    Product p = {.a = {.5, -1, 2}, .b = {3, .25, -.75}};
    p.in[0] = p.in[1] = p.out = (GradArg){.ndim = 1, .shape = &three};
    return p;
}

static GradcheckResult check_product(Product *p, const GradcheckOptions *o) {
    GradcheckResult r;
    p->in[0].value = p->a;
    p->in[1].value = p->b;
    gradcheck_plain(product_forward, product_backward, p, 2, p->in, 1, &p->out, o, &r);
    return r;
}

Test(plain, leaves_out_constants_and_inputs_that_are_not_listed) {
    Product p = product();
    GradcheckResult r = check_product(&p, NULL);
    cr_assert_eq(r.reason, GRADCHECK_UNWRITTEN, "%s", r.message);
    cr_assert_eq(r.input, 1);
    p.in[1].flags = GRADCHECK_CONSTANT;
    r = check_product(&p, NULL);
    cr_assert(r.ok && r.checked == 3, "%s", r.message);
    p.in[1].flags = 0;
    r = check_product(&p, &(GradcheckOptions){.inputs = (int[]){0}, .n_inputs = 1});
    cr_assert(r.ok && r.checked == 3, "%s", r.message);
    r = check_product(&p, &(GradcheckOptions){.inputs = NULL, .n_inputs = 1}); /* all */
    cr_assert_eq(r.input, 1, "%s", r.message);
}

Test(plain, tells_setting_from_adding) {
    Product p = product();
    p.in[1].flags = GRADCHECK_CONSTANT;
    p.add = true;
    cr_assert_eq(check_product(&p, NULL).reason, GRADCHECK_ACCUMULATED);
    p.in[0].flags = GRADCHECK_ACCUMULATES;
    cr_assert(check_product(&p, NULL).ok);
    p.add = false;
    cr_assert_eq(check_product(&p, NULL).reason, GRADCHECK_OVERWRITES);
}

Test(plain, refuses_what_it_cannot_check_with_a_reason) {
    static const int64_t negative = -1, huge[] = {INT64_C(1) << 40, INT64_C(1) << 30};
    Product p = product();
    p.fail = true;
    GradcheckResult r = check_product(&p, NULL);
    cr_assert(r.reason == GRADCHECK_ERROR && strstr(r.message, "forward failed"), "%s", r.message);
    const struct {
        GradArg in;
        GradcheckOptions o;
        const char *message;
    } bad[] = {
        {{.ndim = 1, .shape = &negative}, {.seed = 0}, "size -1 of axis 0"},
        {{.ndim = 2, .shape = huge}, {.seed = 0}, "of axis 1"},
        {{.ndim = 9, .shape = huge}, {.seed = 0}, "9 axes"},
        {{.ndim = 1}, {.seed = 0}, "without a shape"},
        {{.dtype = 7}, {.seed = 0}, "dtype 7"},
        {{.dtype = GRADCHECK_I64}, {.seed = 0}, "no input to check"},
        {{.flags = GRADCHECK_CONSTANT}, {.seed = 0}, "no input to check"},
        {{0}, {.step = -1}, "step -1"},
        {{0}, {.rtol = NAN}, "tolerances nan"},
        {{0}, {.directions = -2}, "-2 directions"},
        {{0}, {.inputs = (int[]){1}, .n_inputs = 1}, "no input 1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double x[4] = {1};
        GradArg in = bad[i].in, out = {0};
        in.value = x;
        bool ok = gradcheck_plain(product_forward, product_backward, &p, 1, &in, 1, &out, &bad[i].o,
                                  &r);
        cr_expect(!ok && r.reason == GRADCHECK_ERROR && strstr(r.message, bad[i].message),
                  "%zu: %s", i, r.message);
    }
    GradArg none = {.ndim = 0};
    cr_assert(!gradcheck_plain(product_forward, product_backward, &p, 1, &none, 1, &p.out, NULL,
                              &r));
    cr_assert(strstr(r.message, "has no value"), "%s", r.message);
}

Test(plain, holds_for_empty_arrays_with_nothing_compared) {
    Elementwise e;
    open_case(&e, exp, exp, GRADCHECK_F64, 0, 0, 1);
    GradcheckResult r = check(&e, NULL);
    cr_assert(r.ok && r.checked == 0 && r.total == 0, "%s", r.message);
}

Test(plain, names_every_reason) {
    for (int i = 0; i < GRADCHECK_REASONS; i++) {
        cr_expect(strlen(gradcheck_reason((GradcheckReason)i)) > 4, "%d", i);
        for (int j = 0; j < i; j++)
            cr_expect(strcmp(gradcheck_reason_code((GradcheckReason)i),
                             gradcheck_reason_code((GradcheckReason)j)));
    }
    cr_assert_str_eq(gradcheck_reason((GradcheckReason)GRADCHECK_REASONS), "unknown reason");
}
