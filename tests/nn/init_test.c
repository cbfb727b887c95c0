/* Initial values have the distributions that init.h promises. */
#include "nn/init.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const TensorRngKey key = {11, 0, 3};

static Tensor make(TensorArena *a, TensorDtype dtype, int ndim, const int64_t *shape) {
    Tensor x = tensor_new(a, dtype, ndim, shape);
    cr_assert(!tensor_is_nil(&x));
    return x;
}

static double element(const Tensor *x, int64_t i, int64_t j) {
    return tensor_get(x, i * (tensor_numel(x) / x->shape[0]) + j);
}

/* Largest |(X X^T - gain^2 1)_ij| over rows, or of X^T X over columns. */
static double departure(const Tensor *x, bool rows, double gain) {
    int64_t n = x->shape[0], m = tensor_numel(x) / n, outer = rows ? n : m, inner = rows ? m : n;
    double worst = 0;
    for (int64_t i = 0; i < outer; i++)
        for (int64_t j = 0; j < outer; j++) {
            double sum = 0;
            for (int64_t k = 0; k < inner; k++)
                sum += rows ? element(x, i, k) * element(x, j, k)
                            : element(x, k, i) * element(x, k, j);
            worst = fmax(worst, fabs(sum - (i == j ? gain * gain : 0)));
        }
    return worst;
}

Test(init, orthogonal_has_orthonormal_rows_or_columns_times_the_gain) {
    TensorArena *a = tensor_arena_new();
    const int64_t shapes[][3] = {{1, 1, 1}, {5, 5, 1}, {3, 8, 1}, {8, 3, 1}, {24, 6, 1}, {1, 9, 1},
                                 {9, 1, 1}, {4, 3, 2}, {2, 3, 5}, {40, 40, 1}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int f32 = 0; f32 < 2; f32++) {
            Tensor x = make(a, f32 ? TENSOR_F32 : TENSOR_F64, 3, shapes[s]);
            cr_assert(nn_init_fill(nn_init_orthogonal(1.5), &x, key));
            bool rows = shapes[s][0] <= shapes[s][1] * shapes[s][2];
            cr_expect_lt(departure(&x, rows, 1.5), f32 ? 2e-6 : 1e-14, "shape %zu", s);
        }
    tensor_arena_free(a);
}

Test(init, orthogonal_1x1_takes_both_signs) {
    TensorArena *a = tensor_arena_new();
    const int64_t one[] = {1, 1};
    Tensor x = make(a, TENSOR_F64, 2, one);
    int positive = 0;
    for (uint64_t seed = 0; seed < 64; seed++) {
        cr_assert(nn_init_fill(nn_init_orthogonal(1), &x, (TensorRngKey){seed, 0, 0}));
        cr_assert_float_eq(fabs(tensor_get(&x, 0)), 1, 1e-15);
        positive += tensor_get(&x, 0) > 0;
    }
    cr_expect(positive > 10 && positive < 54, "%d of 64", positive);
    tensor_arena_free(a);
}

/* Mean and standard deviation; low and high receive the range. */
static void moments(const Tensor *x, double *mean, double *std, double *low, double *high) {
    int64_t n = tensor_numel(x);
    double sum = 0, squares = 0;
    *low = INFINITY, *high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double v = tensor_get(x, i);
        sum += v;
        squares += v * v;
        *low = fmin(*low, v), *high = fmax(*high, v);
    }
    *mean = sum / (double)n;
    *std = sqrt(squares / (double)n - *mean * *mean);
}

Test(init, xavier_scales_with_fan_in_and_fan_out) {
    TensorArena *a = tensor_arena_new();
    const struct {
        int ndim;
        int64_t shape[3];
        double fans;
    } cases[] = {{2, {200, 100, 0}, 300}, {2, {50, 400, 0}, 450}, {3, {30, 60, 10}, 900}};
    for (size_t i = 0; i < 3; i++) {
        Tensor x = make(a, TENSOR_F64, cases[i].ndim, cases[i].shape);
        double mean, std, low, high, r = 2 * sqrt(6 / cases[i].fans);
        cr_assert(nn_init_fill(nn_init_xavier_uniform(2), &x, key));
        moments(&x, &mean, &std, &low, &high);
        cr_expect(low >= -r && high < r && low < -.99 * r && high > .99 * r, "%g %g", low, high);
        cr_expect_float_eq(std / (r / sqrt(3)), 1, .03);
        cr_expect_float_eq(mean / r, 0, .03);
        cr_assert(nn_init_fill(nn_init_xavier_normal(2), &x, key));
        moments(&x, &mean, &std, &low, &high);
        cr_expect_float_eq(std / (2 * sqrt(2 / cases[i].fans)), 1, .03);
        cr_expect(high > r, "a normal goes beyond the uniform's range");
    }
    tensor_arena_free(a);
}

Test(init, uniform_normal_and_constant_have_their_parameters) {
    TensorArena *a = tensor_arena_new();
    const int64_t shape[] = {20000};
    Tensor x = make(a, TENSOR_F32, 1, shape);
    double mean, std, low, high;
    cr_assert(nn_init_fill(nn_init_uniform(-1, 3), &x, key));
    moments(&x, &mean, &std, &low, &high);
    cr_expect(low >= -1 && high < 3 && low < -.99 && high > 2.99);
    cr_assert(nn_init_fill(nn_init_normal(5, .5), &x, key));
    moments(&x, &mean, &std, &low, &high);
    cr_expect_float_eq(mean, 5, .02);
    cr_expect_float_eq(std, .5, .02);
    cr_assert(nn_init_fill(nn_init_constant(-.25), &x, key));
    moments(&x, &mean, &std, &low, &high);
    cr_expect(low == -.25 && high == -.25);
    NnInit zero = {0};
    cr_assert(nn_init_fill(zero, &x, key));
    moments(&x, &mean, &std, &low, &high);
    cr_expect(low == 0 && high == 0);
    tensor_arena_free(a);
}

Test(init, what_cannot_be_drawn_is_refused_and_changes_nothing) {
    TensorArena *a = tensor_arena_new();
    const int64_t row[] = {4}, matrix[] = {2, 2};
    Tensor x = make(a, TENSOR_F64, 1, row), m = make(a, TENSOR_F64, 2, matrix);
    Tensor ints = make(a, TENSOR_I64, 2, matrix), turned = tensor_transpose(&m, 0, 1);
    nn_init_fill(nn_init_constant(7), &x, key);
    nn_init_fill(nn_init_constant(7), &m, key);
    const struct {
        NnInit init;
        const Tensor *x;
        const char *word;
    } cases[] = {
        {nn_init_uniform(1, 0), &x, "lo <= hi"},
        {nn_init_uniform(-INFINITY, 0), &x, "finite"},
        {nn_init_uniform(0, NAN), &x, "finite"},
        {nn_init_normal(0, -1), &x, "deviation"},
        {nn_init_normal(NAN, 1), &x, "mean"},
        {nn_init_xavier_uniform(1), &x, "2 axes"},
        {nn_init_xavier_normal(1), &x, "2 axes"},
        {nn_init_orthogonal(1), &x, "2 axes"},
        {nn_init_xavier_uniform(NAN), &m, "gain"},
        {nn_init_orthogonal(INFINITY), &m, "gain"},
        {nn_init_constant(1), &ints, "float"},
        {nn_init_constant(1), &turned, "contiguous"},
        {{(NnInitKind)99, 0, 0}, &m, "unknown"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *why = nn_init_invalid(cases[i].init, cases[i].x);
        cr_assert(why && strstr(why, cases[i].word), "case %zu: %s", i, why ? why : "accepted");
        cr_expect(!nn_init_fill(cases[i].init, cases[i].x, key));
    }
    for (int64_t i = 0; i < 4; i++)
        cr_expect(tensor_get(&x, i) == 7 && tensor_get(&m, i) == 7);
    tensor_arena_free(a);
}

Test(init, empty_tensors_are_filled_with_nothing) {
    TensorArena *a = tensor_arena_new();
    const int64_t empty[] = {0, 3}, narrow[] = {3, 0};
    Tensor x = make(a, TENSOR_F32, 2, empty), y = make(a, TENSOR_F32, 2, narrow);
    const NnInit all[] = {nn_init_constant(1),       nn_init_uniform(0, 1),
                          nn_init_normal(0, 1),      nn_init_xavier_uniform(1),
                          nn_init_xavier_normal(1),  nn_init_orthogonal(1)};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cr_expect(nn_init_fill(all[i], &x, key) && nn_init_fill(all[i], &y, key));
    tensor_arena_free(a);
}
