/* What ops compute, against numbers worked out by hand. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "autograd/ag.h"

static AgTape *t;
static void start(void) { t = ag_tape_new(); }
static void stop(void) { ag_tape_free(t); }
TestSuite(value, .init = start, .fini = stop);

/* 0, 1, 2, .. in the given shape. */
static AgVar counted(TensorDtype dtype, int ndim, const int64_t *shape) {
    int64_t n = 1;
    for (int d = 0; d < ndim; d++) n *= shape[d];
    return ag_reshape(ag_arange(t, dtype, 0, (double)n, 1), ndim, shape);
}
#define COUNTED(...)                                                        \
    counted(TENSOR_F64, (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__})

static AgVar indices(int n, ...) {
    int64_t v[16];
    va_list args;
    va_start(args, n);
    for (int i = 0; i < n; i++) v[i] = va_arg(args, int);
    va_end(args);
    Tensor x = tensor_wrap(v, TENSOR_I64, 1, (int64_t[]){n});
    return ag_input(t, &x);
}

/* Compares description and values with text such as "f64[2] 1 2". */
static void expect(AgVar v, const char *want, int line) {
    char got[512];
    tensor_describe(ag_value(v), got, sizeof got);
    for (int64_t i = 0; i < ag_numel(v); i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), " %.6g",
                 tensor_get(ag_value(v), i));
    cr_expect_str_eq(got, want, "line %d: %s, wants %s (%s)", line, got, want, ag_tape_error(t));
}
#define EXPECT(v, want) expect(v, want, __LINE__)

Test(value, of_elementwise_ops) {
    AgVar x = ag_arange(t, TENSOR_F64, -1, 2, 1), y = ag_affine(x, 2, 3);
    EXPECT(x, "f64[3] -1 0 1");
    EXPECT(y, "f64[3] 1 3 5");
    EXPECT(ag_add(x, y), "f64[3] 0 3 6");
    EXPECT(ag_sub(x, y), "f64[3] -2 -3 -4");
    EXPECT(ag_mul(x, y), "f64[3] -1 0 5");
    EXPECT(ag_div(x, y), "f64[3] -1 0 0.2");
    EXPECT(ag_pow(y, x), "f64[3] 1 1 5");
    EXPECT(ag_maximum(x, ag_neg(x)), "f64[3] 1 0 1");
    EXPECT(ag_minimum(x, ag_neg(x)), "f64[3] -1 0 -1");
    EXPECT(ag_exp(x), "f64[3] 0.367879 1 2.71828");
    EXPECT(ag_log(y), "f64[3] 0 1.09861 1.60944");
    EXPECT(ag_sqrt(ag_square(y)), "f64[3] 1 3 5");
    EXPECT(ag_tanh(x), "f64[3] -0.761594 0 0.761594");
    EXPECT(ag_sigmoid(x), "f64[3] 0.268941 0.5 0.731059");
    EXPECT(ag_relu(x), "f64[3] 0 0 1");
    EXPECT(ag_abs(x), "f64[3] 1 0 1");
    EXPECT(ag_sign(ag_neg(x)), "f64[3] 1 0 -1");
}

Test(value, broadcasting_is_symmetric) {
    AgVar column = COUNTED(2, 1), row = COUNTED(3);
    EXPECT(ag_sub(column, row), "f64[2,3] 0 -1 -2 1 0 -1");
    EXPECT(ag_sub(row, column), "f64[2,3] 0 1 2 -1 0 1");
    EXPECT(ag_add(ag_scalar(t, TENSOR_F64, 5), row), "f64[3] 5 6 7");
}

Test(value, of_products) {
    AgVar a = COUNTED(2, 3), b = COUNTED(3, 2), v = COUNTED(3);
    EXPECT(ag_matmul(a, b), "f64[2,2] 10 13 28 40");
    EXPECT(ag_matmul(a, v), "f64[2] 5 14");
    EXPECT(ag_matmul(v, b), "f64[2] 10 13");
    EXPECT(ag_matmul(v, v), "f64[] 5");
    EXPECT(ag_matmul(COUNTED(2, 1, 3), b), "f64[2,1,2] 10 13 28 40");
    EXPECT(ag_matmul(v, COUNTED(2, 3, 1)), "f64[2,1] 5 14");
    EXPECT(ag_matmul(COUNTED(2, 2, 3), v), "f64[2,2] 5 14 23 32");
    EXPECT(ag_matmul(a, COUNTED(2, 3, 1)), "f64[2,2,1] 5 14 14 50");
}

Test(value, over_axes) {
    AgVar x = COUNTED(2, 3);
    EXPECT(ag_sum(x, AG_ALL_AXES, false), "f64[] 15");
    EXPECT(ag_sum(x, AG_AXES(0), false), "f64[3] 3 5 7");
    EXPECT(ag_sum(x, AG_AXES(-1), true), "f64[2,1] 3 12");
    EXPECT(ag_mean(x, AG_AXES(0, 1), true), "f64[1,1] 2.5");
    EXPECT(ag_amax(x, AG_AXES(1), false), "f64[2] 2 5");
    EXPECT(ag_argmax(x, 0, false), "i64[3] 1 1 1");
    EXPECT(ag_argmax(ag_neg(x), 1, true), "i64[2,1] 0 0");
    EXPECT(ag_logsumexp(ag_log(x), AG_ALL_AXES, false), "f64[] 2.70805"); /* ln 15 */
    EXPECT(ag_logsumexp(ag_log(x), AG_AXES(1, 0), true), "f64[1,1] 2.70805");
    EXPECT(ag_softmax(ag_log(x), 1), "f64[2,3] 0 0.333333 0.666667 0.25 0.333333 0.416667");
    EXPECT(ag_exp(ag_log_softmax(ag_log(x), 0)), "f64[2,3] 0 0.2 0.285714 1 0.8 0.714286");
    EXPECT(ag_sum_to(x, 2, (int64_t[]){2, 1}), "f64[2,1] 3 12");
    EXPECT(ag_sum(COUNTED(0, 3), AG_AXES(0), false), "f64[3] 0 0 0");
    cr_expect(isnan(ag_item(ag_mean(COUNTED(0), AG_ALL_AXES, false))));
}

Test(value, of_views_without_copies) {
    AgVar x = COUNTED(2, 3);
    const void *memory = ag_value(x)->data;
    EXPECT(ag_reshape(x, 2, (int64_t[]){3, -1}), "f64[3,2] 0 1 2 3 4 5");
    EXPECT(ag_transpose(x, 0, 1), "f64[3,2] 0 3 1 4 2 5");
    EXPECT(ag_permute(x, (int[]){1, 0}), "f64[3,2] 0 3 1 4 2 5");
    EXPECT(ag_unsqueeze(x, 1), "f64[2,1,3] 0 1 2 3 4 5");
    EXPECT(ag_narrow(x, 1, 1, 2), "f64[2,2] 1 2 4 5");
    EXPECT(ag_select(x, 0, 1), "f64[3] 3 4 5");
    EXPECT(ag_expand(ag_select(x, 0, 0), 2, (int64_t[]){2, -1}), "f64[2,3] 0 1 2 0 1 2");
    EXPECT(ag_chunk(x, 1, 2, 0), "f64[2,2] 0 1 3 4");
    EXPECT(ag_chunk(x, 1, 2, 1), "f64[2,1] 2 5");
    AgVar views[] = {ag_reshape(x, 1, (int64_t[]){6}), ag_transpose(x, 0, 1), ag_alias(x),
                     ag_select(x, 0, 0), ag_chunk(x, 0, 2, 0), ag_contiguous(x)};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        cr_expect_eq(ag_value(views[i])->data, memory);
    AgVar copied = ag_reshape(ag_transpose(x, 0, 1), 1, (int64_t[]){6});
    EXPECT(copied, "f64[6] 0 3 1 4 2 5");
    cr_expect_neq(ag_value(copied)->data, memory);
}

Test(value, views_take_every_dtype) {
    AgVar i = counted(TENSOR_I64, 2, (int64_t[]){2, 2});
    EXPECT(ag_transpose(i, 0, 1), "i64[2,2] 0 2 1 3");
    EXPECT(ag_stack(2, (AgVar[]){i, i}, 2), "i64[2,2,2] 0 0 1 1 2 2 3 3");
    AgVar m = ag_gt(i, ag_scalar(t, TENSOR_I64, 1));
    EXPECT(ag_concat(2, (AgVar[]){m, ag_logical_not(m)}, 0), "u8[4,2] 0 0 1 1 1 1 0 0");
}

Test(value, of_joins) {
    AgVar a = COUNTED(2, 2), b = ag_affine(a, 1, 10);
    EXPECT(ag_concat(2, (AgVar[]){a, b}, 0), "f64[4,2] 0 1 2 3 10 11 12 13");
    EXPECT(ag_concat(2, (AgVar[]){a, b}, 1), "f64[2,4] 0 1 10 11 2 3 12 13");
    EXPECT(ag_stack(2, (AgVar[]){a, b}, 0), "f64[2,2,2] 0 1 2 3 10 11 12 13");
    EXPECT(ag_stack(2, (AgVar[]){a, b}, 1), "f64[2,2,2] 0 1 10 11 2 3 12 13");
    EXPECT(ag_widen(a, 1, 1, 4), "f64[2,4] 0 0 1 0 0 2 3 0");
    cr_expect(!ag_ok(ag_stack(0, NULL, 0)));
    AgVar many[100];
    for (int i = 0; i < 100; i++) many[i] = ag_scalar(t, TENSOR_F64, i);
    AgVar all = ag_stack(100, many, 0), g[100], y = ag_sum(ag_square(all), AG_ALL_AXES, false);
    cr_assert(ag_grad(y, (AgVar){0}, 100, many, g, false));
    cr_expect_eq(ag_item(g[99]), 198);
}

Test(value, by_index) {
    AgVar x = COUNTED(3, 2);
    EXPECT(ag_index_select(x, 0, indices(3, 2, 0, 2)), "f64[3,2] 4 5 0 1 4 5");
    EXPECT(ag_index_select(x, 1, indices(1, 1)), "f64[3,1] 1 3 5");
    AgVar tokens = ag_reshape(indices(4, 0, 2, 1, 1), 2, (int64_t[]){2, 2});
    EXPECT(ag_embedding(x, tokens), "f64[2,2,2] 0 1 4 5 2 3 2 3");
    AgVar place = ag_reshape(indices(3, 1, 0, 1), 2, (int64_t[]){3, 1});
    EXPECT(ag_gather(x, 1, place), "f64[3,1] 1 2 5");
    EXPECT(ag_index_add(x, 0, indices(2, 1, 1), ag_affine(COUNTED(2, 2), 0, 1)),
           "f64[3,2] 0 1 4 5 4 5");
    EXPECT(ag_scatter_add(x, 1, place, ag_affine(COUNTED(3, 1), 0, 10)),
           "f64[3,2] 0 11 12 3 4 15");
}

Test(value, of_masks) {
    AgVar x = COUNTED(4), two = ag_scalar(t, TENSOR_F64, 2);
    EXPECT(ag_eq(x, two), "u8[4] 0 0 1 0");
    EXPECT(ag_ne(x, two), "u8[4] 1 1 0 1");
    EXPECT(ag_lt(x, two), "u8[4] 1 1 0 0");
    EXPECT(ag_le(x, two), "u8[4] 1 1 1 0");
    EXPECT(ag_gt(x, two), "u8[4] 0 0 0 1");
    EXPECT(ag_ge(x, two), "u8[4] 0 0 1 1");
    AgVar low = ag_lt(x, two), odd = ag_eq(x, ag_scalar(t, TENSOR_F64, 1));
    EXPECT(ag_logical_and(low, odd), "u8[4] 0 1 0 0");
    EXPECT(ag_logical_or(low, ag_logical_not(odd)), "u8[4] 1 1 1 1");
    EXPECT(ag_logical_xor(low, odd), "u8[4] 1 0 0 0");
    EXPECT(ag_where(low, x, ag_scalar(t, TENSOR_F64, 9)), "f64[4] 0 1 9 9");
    EXPECT(ag_masked_fill(x, low, -1), "f64[4] -1 -1 2 3");
    EXPECT(ag_length_mask(indices(3, 0, 2, 1), 2), "u8[2,3] 0 1 1 0 1 0");
}

Test(value, of_makers) {
    EXPECT(ag_full(t, TENSOR_F32, 1, (int64_t[]){2}, .5), "f32[2] 0.5 0.5");
    EXPECT(ag_arange(t, TENSOR_I64, 5, 0, -2), "i64[3] 5 3 1");
    EXPECT(ag_one_hot(indices(2, 2, 0), 3, TENSOR_F32), "f32[2,3] 0 0 1 1 0 0");
    EXPECT(ag_cast(ag_full(t, TENSOR_F64, 0, NULL, 1.0 / 3), TENSOR_F32), "f32[] 0.333333");
    cr_expect_eq(ag_item(ag_cast(ag_scalar(t, TENSOR_F64, .1), TENSOR_F32)), (double).1f);
    EXPECT(ag_cast(ag_scalar(t, TENSOR_F64, -2.7), TENSOR_I64), "i64[] -2");
    cr_expect_eq(ag_item_i64(ag_scalar(t, TENSOR_I64, 12)), 12);
}

Test(value, of_cross_entropy_in_every_reduction) {
    AgVar x = ag_reshape(indices(6, 0, 0, 0, 1, 2, 3), 2, (int64_t[]){2, 3});
    AgVar logits = ag_log(ag_affine(ag_cast(x, TENSOR_F64), 1, 1)); /* p: 1/3 each; 2/9 3/9 4/9 */
    AgVar target = indices(2, 1, 2);
    AgCrossEntropyOptions o = {.reduction = AG_NONE};
    EXPECT(ag_cross_entropy(logits, target, &o), "f64[2] 1.09861 0.81093");
    o.reduction = AG_SUM;
    EXPECT(ag_cross_entropy(logits, target, &o), "f64[] 1.90954");
    EXPECT(ag_cross_entropy(logits, target, NULL), "f64[] 0.954771");
    o = (AgCrossEntropyOptions){.has_ignore_index = true, .ignore_index = 1};
    EXPECT(ag_cross_entropy(logits, target, &o), "f64[] 0.81093");
    EXPECT(ag_cross_entropy(ag_select(logits, 0, 0), ag_scalar(t, TENSOR_I64, 0), NULL),
           "f64[] 1.09861");
}

Test(value, of_dropout) {
    AgVar x = ag_full(t, TENSOR_F64, 2, (int64_t[]){100, 100}, 1);
    cr_expect_eq(ag_dropout(x, .5, 0).id, x.id); /* evaluation: x itself */
    ag_tape_training(t, true);
    AgVar y = ag_dropout(x, .25, 0);
    int64_t kept = 0;
    for (int64_t i = 0; i < 10000; i++) {
        double v = tensor_get(ag_value(y), i);
        cr_assert(v == 0 || fabs(v - 4.0 / 3) < 1e-15);
        kept += v != 0;
    }
    cr_expect(kept > 7300 && kept < 7700, "%lld kept", (long long)kept);
    ag_tape_training(t, false);
    ag_dropout(x, -1, 0);
    cr_expect(strstr(ag_tape_error(t), "p is -1"), "%s", ag_tape_error(t));
}

/* ---- over axes: what PyTorch gives ---- */

static AgVar numbers(int n, ...) {
    double v[16];
    va_list args;
    va_start(args, n);
    for (int i = 0; i < n; i++) v[i] = va_arg(args, double);
    va_end(args);
    Tensor x = tensor_wrap(v, TENSOR_F64, 1, (int64_t[]){n});
    return ag_input(t, &x);
}
#define NUMBERS(...) numbers((int)(sizeof((double[]){__VA_ARGS__}) / 8), __VA_ARGS__)
#define MATRIX(rows, columns, ...) \
    ag_reshape(NUMBERS(__VA_ARGS__), 2, (int64_t[]){rows, columns})

static AgVar gradient(AgVar y, AgVar x, bool create_graph) {
    AgVar g;
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, create_graph), "%s", ag_tape_error(t));
    return g;
}

Test(value, of_extremes_and_products) {
    AgVar x = MATRIX(2, 3, 4., -1., 2., 0., 3., -5.);
    EXPECT(ag_amin(x, AG_AXES(1), false), "f64[2] -1 -5");
    EXPECT(ag_amax(x, AG_AXES(0), true), "f64[1,3] 4 3 2");
    EXPECT(ag_prod(x, AG_AXES(-1), false), "f64[2] -8 -0");
    EXPECT(ag_prod(x, AG_AXES(0, 1), true), "f64[1,1] 0");
    EXPECT(ag_prod(COUNTED(2, 0), AG_AXES(1), false), "f64[2] 1 1");
    AgVar tied = NUMBERS(2., 1., 1., 7.);
    EXPECT(gradient(ag_amin(tied, AG_ALL_AXES, false), tied, false), "f64[4] 0 0.5 0.5 0");
    AgVar bad = NUMBERS(2., (double)NAN, 1.);
    cr_expect(isnan(ag_item(ag_amin(bad, AG_ALL_AXES, false))));
    cr_expect(isnan(ag_item(ag_amax(bad, AG_ALL_AXES, false))));
}

/* One zero in the first row, two in the second: no quotient y / x would do. */
Test(value, products_of_floats_that_balance_have_finite_gradients) {
    float factors[] = {1e30f, 1e-30f, 1e30f, 1e-30f};
    Tensor four = tensor_wrap(factors, TENSOR_F32, 1, (int64_t[]){4});
    AgVar x = ag_input(t, &four), y = ag_prod(x, AG_ALL_AXES, false), g;
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, false), "%s", ag_tape_error(t));
    cr_expect_float_eq(ag_item(y), 1, 1e-6);
    for (int i = 0; i < 4; i++)
        cr_expect_float_eq(tensor_get(ag_value(g), i) * (double)factors[i], 1, 1e-6);
}

Test(value, products_have_right_derivatives_at_zeros) {
    AgVar x = MATRIX(2, 3, 0., 2., 3., 0., 0., 5.), w = MATRIX(2, 3, 1., 2., 3., 4., 5., 6.);
    AgVar g = gradient(ag_prod(x, AG_AXES(1), false), x, true);
    EXPECT(g, "f64[2,3] 6 0 0 0 0 0");
    /* d/dx of sum w g: row 1 w_i x_k + .. over pairs, row 2 likewise */
    EXPECT(gradient(ag_mul(g, w), x, false), "f64[2,3] 12 3 2 25 20 0");
    AgVar y = NUMBERS(0., 0., 0.), h = gradient(ag_prod(y, AG_ALL_AXES, false), y, true);
    h = gradient(ag_mul(h, NUMBERS(1., 2., 3.)), y, true);
    EXPECT(gradient(ag_mul(h, NUMBERS(1., 1., 0.)), y, false), "f64[3] 3 3 3"); /* third order */
}

Test(value, of_variances) {
    AgVar x = MATRIX(2, 3, 1., 2., 6., 4., 4., 4.);
    EXPECT(ag_var(x, AG_AXES(1), 1, false), "f64[2] 7 0");
    EXPECT(ag_var(x, AG_AXES(1), 0, true), "f64[2,1] 4.66667 0");
    EXPECT(ag_std(x, AG_AXES(1), 1, false), "f64[2] 2.64575 0");
    EXPECT(ag_std(x, AG_ALL_AXES, 0, false), "f64[] 1.60728");
    /* mean 3: 2 (x - 3) / 2 */
    EXPECT(gradient(ag_var(x, AG_AXES(1), 1, false), x, false), "f64[2,3] -2 -1 3 0 0 0");
    /* that over 2 y, and 0 where y is 0 */
    EXPECT(gradient(ag_std(x, AG_AXES(1), 1, false), x, false),
           "f64[2,3] -0.377964 -0.188982 0.566947 0 0 0");
    AgVar two = NUMBERS(1., 2.), one = NUMBERS(1.);
    EXPECT(ag_var(two, AG_ALL_AXES, 2, false), "f64[] inf");
    EXPECT(ag_var(two, AG_ALL_AXES, 3, false), "f64[] inf");
    cr_expect(isnan(ag_item(ag_var(one, AG_ALL_AXES, 1, false))));
    cr_expect(isnan(ag_item(ag_std(one, AG_ALL_AXES, 2, false))));
    cr_expect(isnan(ag_item(ag_var(COUNTED(0), AG_ALL_AXES, 1, false))));
    EXPECT(gradient(ag_var(two, AG_ALL_AXES, 2, false), two, false), "f64[2] -inf inf");
}

/* The mean of `far` lies halfway between two floats: rounded, a deviation is off by a half. */
Test(value, deviations_are_exact_far_from_zero_in_single_precision) {
    AgVar near = ag_cast(COUNTED(4), TENSOR_F32), none = {0};
    AgVar far = ag_cast(ag_affine(COUNTED(4), 1, 1e7), TENSOR_F32);
    const char *of_var = "f32[4] -1 -0.333333 0.333333 1";
    AgVar w = ag_cast(NUMBERS(1., 8., 27., 64.), TENSOR_F32), x[] = {near, far}, g[4];
    for (int k = 0; k < 4; k++) {
        AgVar u = x[k % 2], y = ag_var(u, AG_ALL_AXES, 1, false);
        bool create_graph = k / 2;
        EXPECT(gradient(y, u, create_graph), of_var);
        g[k] = gradient(ag_mul(ag_layer_norm(u, 1, none, none, 0), w), u, create_graph);
    }
    for (int k = 4; k < 16; k++) {
        double got = tensor_get(ag_value(g[k / 4]), k % 4);
        double want = tensor_get(ag_value(g[0]), k % 4);
        cr_expect_float_eq(got, want, 1e-5 * fabs(want), "sweep %d: %g, not %g", k / 4, got, want);
    }
}

Test(value, of_norms) {
    AgVar x = NUMBERS(3., 0., -4., 4.), zero = NUMBERS(0., 0.);
    const struct {
        double p;
        const char *norm, *gradient;
    } cases[] = {
        {0, "f64[] 3", "f64[4] 0 0 0 0"},
        {.5, "f64[] 32.8564", "f64[4] 3.3094 0 -2.86603 2.86603"},
        {1, "f64[] 11", "f64[4] 1 0 -1 1"},
        {1.5, "f64[] 7.65899", "f64[4] 0.625857 0 -0.722677 0.722677"},
        {2, "f64[] 6.40312", "f64[4] 0.468521 0 -0.624695 0.624695"},
        {3, "f64[] 5.37169", "f64[4] 0.311904 0 -0.554497 0.554497"},
        {INFINITY, "f64[] 4", "f64[4] 0 0 -0.5 0.5"},
        {-INFINITY, "f64[] 0", "f64[4] 0 0 -0 0"},
        {-1, "f64[] 0", "f64[4] 0 0 0 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        AgVar y = ag_norm(x, cases[i].p, AG_ALL_AXES, false);
        EXPECT(y, cases[i].norm);
        EXPECT(gradient(y, x, false), cases[i].gradient);
        y = ag_norm(zero, cases[i].p, AG_AXES(0), false);
        EXPECT(y, "f64[] 0");
        EXPECT(gradient(y, zero, false), "f64[2] 0 0");
        EXPECT(ag_norm(COUNTED(2, 0), cases[i].p, AG_AXES(1), false), "f64[2] 0 0");
    }
    EXPECT(ag_norm(MATRIX(2, 2, 3., 4., 6., 8.), 2, AG_AXES(1), true), "f64[2,1] 5 10");
    AgVar h = NUMBERS(3., 4.), g = gradient(ag_norm(h, 2, AG_ALL_AXES, false), h, true);
    /* second derivative of the first component: (1/y)(1 - x0^2/y^2), -x0 x1/y^3 */
    EXPECT(gradient(ag_select(g, 0, 0), h, false), "f64[2] 0.128 -0.096");
}

Test(value, of_running_sums) {
    AgVar x = COUNTED(2, 3);
    EXPECT(ag_cumsum(x, 1), "f64[2,3] 0 1 3 3 7 12");
    EXPECT(ag_cumsum(x, -2), "f64[2,3] 0 1 2 3 5 7");
    AgVar y = ag_mul(ag_cumsum(x, 1), ag_affine(x, 1, 1));
    EXPECT(gradient(ag_cumsum(x, 1), x, false), "f64[2,3] 3 2 1 3 2 1");
    EXPECT(ag_sum(y, AG_AXES(1), false), "f64[2] 11 119");
}

Test(value, of_the_largest_and_smallest_in_order) {
    AgVar x = NUMBERS(2., (double)NAN, 3., 3., -1.), v, i;
    cr_assert(ag_topk(x, 5, 0, true, &v, &i));
    EXPECT(i, "i64[5] 1 2 3 0 4");
    cr_assert(ag_topk(x, 5, 0, false, &v, &i));
    EXPECT(i, "i64[5] 4 0 2 3 1");
    EXPECT(ag_narrow(v, 0, 0, 4), "f64[4] -1 2 3 3");
    AgVar m = MATRIX(2, 3, 5., 1., 3., 2., 2., 4.);
    cr_assert(ag_topk(m, 2, 1, true, &v, &i));
    EXPECT(v, "f64[2,2] 5 3 4 2");
    EXPECT(i, "i64[2,2] 0 2 2 0");
    EXPECT(gradient(ag_mul(v, MATRIX(2, 2, 1., 2., 3., 4.)), m, false), "f64[2,3] 1 0 2 4 0 3");
    cr_assert(ag_topk(m, 1, 0, false, &v, &i));
    EXPECT(v, "f64[1,3] 2 1 3");
    cr_expect(!ag_topk(m, 4, 1, true, &v, &i) && !ag_ok(v) && !ag_ok(i));
}

Test(value, of_views_with_other_strides) {
    AgVar x = COUNTED(2, 5);
    const char *memory = ag_value(x)->data;
    EXPECT(ag_flip(x, AG_AXES(1)), "f64[2,5] 4 3 2 1 0 9 8 7 6 5");
    EXPECT(ag_flip(x, AG_ALL_AXES), "f64[2,5] 9 8 7 6 5 4 3 2 1 0");
    EXPECT(ag_slice(x, 1, 1, AG_SLICE_END, 2), "f64[2,2] 1 3 6 8");
    EXPECT(ag_slice(x, 1, -3, -1, 1), "f64[2,2] 2 3 7 8");
    EXPECT(ag_slice(x, 0, 1, -9, 1), "f64[0,5]");
    cr_expect_eq(ag_value(ag_slice(x, 1, 1, AG_SLICE_END, 2))->data, memory + 8);
    cr_expect_eq(ag_value(ag_flip(x, AG_AXES(1)))->data, memory + 32);
    AgVar y = COUNTED(1, 3, 1, 2);
    EXPECT(ag_squeeze(y, AG_ALL_AXES), "f64[3,2] 0 1 2 3 4 5");
    EXPECT(ag_squeeze(y, AG_AXES(1, -2)), "f64[1,3,2] 0 1 2 3 4 5");
    EXPECT(ag_matmul(ag_flip(x, AG_AXES(1)), ag_flip(ag_transpose(x, 0, 1), AG_AXES(0, 1))),
           "f64[2,2] 80 30 255 80");
    AgVar parts[3];
    cr_assert(ag_split(x, 1, 3, (int64_t[]){1, 0, 4}, parts));
    EXPECT(parts[0], "f64[2,1] 0 5");
    EXPECT(parts[1], "f64[2,0]");
    EXPECT(parts[2], "f64[2,4] 1 2 3 4 6 7 8 9");
}

Test(value, a_split_that_does_not_add_up_says_so) {
    const struct {
        int axis, n;
        int64_t sizes[2];
        const char *message;
    } cases[] = {{1, 2, {2, 2}, "split(f64[2,5]): the sizes add up to 4 of 5"},
                 {1, 2, {4, 2}, "split(f64[2,5]): the sizes add up to more than 5"},
                 {1, 2, {-1, 6}, "split(f64[2,5]): size -1"},
                 {0, 0, {0}, "split(f64[2,5]): the sizes add up to 0 of 2"},
                 {2, 1, {5}, "split(f64[2,5]): axis 2 out of range for 2 axes"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ag_tape_reset(t);
        AgVar parts[2];
        cr_expect(!ag_split(COUNTED(2, 5), cases[i].axis, cases[i].n, cases[i].sizes, parts));
        cr_expect_str_eq(ag_tape_error(t), cases[i].message);
        for (int k = 0; k < cases[i].n; k++) cr_expect(!ag_ok(parts[k]));
    }
    AgVar part;
    cr_expect(!ag_split((AgVar){0}, 0, 1, (int64_t[]){1}, &part) && !ag_ok(part));
}

Test(value, of_triangles_and_padding) {
    AgVar x = ag_affine(COUNTED(2, 3), 1, 1);
    EXPECT(ag_tril(x, 0), "f64[2,3] 1 0 0 4 5 0");
    EXPECT(ag_tril(x, -1), "f64[2,3] 0 0 0 4 0 0");
    EXPECT(ag_triu(x, 0), "f64[2,3] 1 2 3 0 5 6");
    EXPECT(ag_triu(x, 2), "f64[2,3] 0 0 3 0 0 0");
    EXPECT(ag_tril(ag_stack(2, (AgVar[]){x, x}, 0), 1), "f64[2,2,3] 1 2 0 4 5 6 1 2 0 4 5 6");
    EXPECT(ag_triu(counted(TENSOR_I64, 2, (int64_t[]){2, 2}), 1), "i64[2,2] 0 1 0 0");
    EXPECT(ag_pad(COUNTED(2, 3), 2, (int64_t[]){1, -1, 0, 1}, 9),
           "f64[3,3] 9 0 1 9 3 4 9 9 9");
    EXPECT(ag_pad(COUNTED(4), 1, (int64_t[]){-1, -2}, 9), "f64[1] 1");
    EXPECT(gradient(ag_pad(x, 2, (int64_t[]){1, -1, 0, 1}, 9), x, false), "f64[2,3] 1 1 0 1 1 0");
}

Test(value, of_affine_maps_and_layer_norm) {
    AgVar w = MATRIX(2, 3, 1., 0., 2., 0., 1., -1.), b = NUMBERS(10., 20.), none = {0};
    EXPECT(ag_linear(COUNTED(2, 3), w, b), "f64[2,2] 14 19 23 19");
    EXPECT(ag_linear(COUNTED(2, 3), w, none), "f64[2,2] 4 -1 13 -1");
    EXPECT(ag_linear(COUNTED(3), w, b), "f64[2] 14 19");
    EXPECT(ag_linear(ag_transpose(COUNTED(3, 2), 0, 1), w, b), "f64[2,2] 18 18 21 18");
    EXPECT(ag_linear(ag_permute(COUNTED(3, 2, 1), (int[]){2, 1, 0}), w, b),
           "f64[1,2,2] 18 18 21 18");
    AgVar x = MATRIX(1, 4, 1., 2., 4., -3.), seed = NUMBERS(1., 2., 3., 4.);
    AgVar y = ag_layer_norm(x, 1, seed, NUMBERS(.5, 0., 0., 1.), 1e-5);
    EXPECT(y, "f64[1,4] 0.5 0.784464 3.53009 -5.27571");
    EXPECT(gradient(ag_mul(y, seed), x, false), "f64[1,4] -2.54951 -0.87498 2.08184 1.34264");
    EXPECT(ag_layer_norm(COUNTED(2, 2), 2, none, none, 0),
           "f64[2,2] -1.34164 -0.447214 0.447214 1.34164");
    /* far from 0 in single precision */
    AgVar far = ag_cast(ag_affine(COUNTED(4), 1, 1e6), TENSOR_F32);
    EXPECT(ag_layer_norm(far, 1, none, none, 0),
           "f32[4] -1.34164 -0.447214 0.447214 1.34164");
}

/* PyTorch lets axis 0 and -1 of a scalar be named. */
Test(value, a_scalar_counts_as_a_vector_of_one) {
    AgVar x = ag_scalar(t, TENSOR_F64, 5), v, i;
    for (int axis = -1; axis <= 0; axis++) {
        EXPECT(ag_sum(x, AG_AXES(axis), false), "f64[] 5");
        EXPECT(ag_mean(x, AG_AXES(axis), true), "f64[] 5");
        EXPECT(ag_prod(x, AG_AXES(axis), false), "f64[] 5");
        EXPECT(ag_amax(x, AG_AXES(axis), false), "f64[] 5");
        EXPECT(ag_amin(x, AG_AXES(axis), false), "f64[] 5");
        EXPECT(ag_logsumexp(x, AG_AXES(axis), false), "f64[] 5");
        EXPECT(ag_softmax(x, axis), "f64[] 1");
        EXPECT(ag_log_softmax(x, axis), "f64[] 0");
        EXPECT(ag_cumsum(x, axis), "f64[] 5");
        EXPECT(ag_var(x, AG_AXES(axis), 0, false), "f64[] 0");
        EXPECT(ag_std(x, AG_AXES(axis), 0, false), "f64[] 0");
        EXPECT(ag_norm(x, 2, AG_AXES(axis), false), "f64[] 5");
        EXPECT(ag_argmax(x, axis, false), "i64[] 0");
        cr_assert(ag_topk(x, 1, axis, true, &v, &i));
        EXPECT(v, "f64[] 5");
        EXPECT(i, "i64[] 0");
        EXPECT(ag_flip(x, AG_AXES(axis)), "f64[] 5");
        EXPECT(ag_transpose(x, axis, 0), "f64[] 5");
        EXPECT(ag_squeeze(x, AG_AXES(axis)), "f64[] 5");
        EXPECT(ag_index_select(x, axis, indices(1, 0)), "f64[] 5");
        EXPECT(ag_gather(x, axis, ag_scalar(t, TENSOR_I64, 0)), "f64[] 5");
        EXPECT(ag_gather(x, axis, indices(2, 0, 0)), "f64[2] 5 5");
        EXPECT(ag_gather(COUNTED(3), axis, ag_scalar(t, TENSOR_I64, 2)), "f64[] 2");
        EXPECT(ag_scatter_add(x, axis, indices(2, 0, 0), NUMBERS(1., 2.)), "f64[] 8");
        EXPECT(ag_index_add(x, axis, indices(1, 0), ag_scalar(t, TENSOR_F64, 2)), "f64[] 7");
    }
    cr_expect(isnan(ag_item(ag_var(x, AG_AXES(0), 1, false))));
}

Test(value, of_nothing) {
    AgVar x = COUNTED(2, 0);
    EXPECT(ag_sum(x, AG_AXES(1), false), "f64[2] 0 0");
    EXPECT(ag_logsumexp(x, AG_AXES(1), false), "f64[2] -inf -inf");
    EXPECT(ag_logsumexp(x, AG_ALL_AXES, false), "f64[] -inf");
    cr_expect(isnan(tensor_get(ag_value(ag_mean(x, AG_AXES(1), false)), 1)));
    cr_expect(isnan(tensor_get(ag_value(ag_var(x, AG_AXES(1), 0, false)), 1)));
    cr_expect(isnan(ag_item(ag_std(x, AG_ALL_AXES, 1, false))));
    EXPECT(ag_softmax(x, 1), "f64[2,0]");
    EXPECT(ag_log_softmax(x, 0), "f64[2,0]");
    EXPECT(ag_cumsum(x, 0), "f64[2,0]");
    EXPECT(ag_amin(x, AG_AXES(0), false), "f64[0]");
    cr_expect(!ag_ok(ag_amax(x, AG_AXES(1), false)));
    cr_expect(strstr(ag_tape_error(t), "the maximum of nothing"));
}

/* ---- draws ---- */

enum { DRAWS = 20000 };

Test(value, classes_are_drawn_as_often_as_their_probabilities_say) {
    ag_tape_rng(t, 11, 0);
    AgVar p = MATRIX(2, 4, .1, .2, .3, .4, .7, .0, .25, .05), x = ag_log(p);
    AgVar y = ag_categorical(x, DRAWS, 0);
    cr_assert(ag_ok(y), "%s", ag_tape_error(t));
    for (int64_t row = 0; row < 2; row++) {
        int64_t count[4] = {0};
        for (int64_t i = 0; i < DRAWS; i++) count[tensor_get_i64(ag_value(y), row * DRAWS + i)]++;
        double chi_square = 0;
        for (int64_t v = 0; v < 4; v++) {
            double want = DRAWS * tensor_get(ag_value(p), 4 * row + v);
            if (want > 0) chi_square += (double)count[v] * (double)count[v] / want;
            else cr_expect_eq(count[v], 0, "a logit of -inf was drawn");
        }
        /* 3 degrees of freedom exceed 16.3 once in a thousand */
        cr_expect_lt(chi_square - DRAWS, 16.3, "row %d", (int)row);
    }
}

/* [3, n, 2] from rows first.. of logits [3, 4, 6], all equal. */
static AgVar draw_rows(int64_t first, int64_t n, int64_t total, uint64_t step) {
    ag_tape_reset(t);
    ag_tape_rng(t, 5, step);
    ag_tape_rows(t, first, total);
    return ag_categorical(ag_full(t, TENSOR_F32, 3, (int64_t[]){3, n, 6}, 7), 2, 1);
}

Test(value, shares_of_a_batch_draw_what_the_whole_draws) {
    int64_t whole[24], again = 0, other = 0;
    AgVar y = draw_rows(0, 4, 0, 1);
    for (int64_t i = 0; i < 24; i++) whole[i] = tensor_get_i64(ag_value(y), i);
    for (int64_t first = 0; first < 4; first += 2) {
        y = draw_rows(first, 2, 4, 1);
        for (int64_t i = 0; i < 12; i++) /* [3, 2, 2] of [3, 4, 2] */
            again += tensor_get_i64(ag_value(y), i) == whole[i / 4 * 8 + first * 2 + i % 4];
    }
    y = draw_rows(0, 4, 0, 2);
    for (int64_t i = 0; i < 24; i++) other += tensor_get_i64(ag_value(y), i) == whole[i];
    cr_expect_eq(again, 24);
    cr_expect_lt(other, 15, "another step draws the same");
}

Test(value, a_row_without_probabilities_is_named) {
    const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        ag_tape_reset(t);
        AgVar row = ag_full(t, TENSOR_F64, 1, (int64_t[]){3}, bad[i]);
        AgVar x = ag_stack(3, (AgVar[]){COUNTED(3), row, COUNTED(3)}, 0);
        cr_expect(!ag_ok(ag_categorical(x, 2, 0)));
        cr_expect(strstr(ag_tape_error(t), "row 1 has no probabilities"), "%s", ag_tape_error(t));
    }
}
