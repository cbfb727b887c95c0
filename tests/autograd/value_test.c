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
