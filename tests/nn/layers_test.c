/* Linear, embedding and dropout. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/gradcheck/gradcheck.h"
#include "nn/dropout.h"
#include "nn/embedding.h"
#include "nn/linear.h"

static Tensor random_tensor(TensorArena *a, int ndim, const int64_t *shape, uint64_t draw) {
    Tensor x = tensor_new(a, TENSOR_F64, ndim, shape);
    tensor_rng_fill_uniform(&x, (TensorRngKey){3, 0, draw}, -1, 1);
    return x;
}

/* ---- linear ---- */

Test(linear, computes_x_w_transposed_plus_b_over_any_leading_axes) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnLinear m = nn_linear_make(set, "out", 3, 4, NULL);
    cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
    cr_expect_str_eq(m.weight->name, "out.weight");
    cr_expect_str_eq(m.bias->name, "out.bias");
    TensorArena *a = tensor_arena_new();
    const int64_t shapes[][3] = {{3}, {5, 3}, {2, 5, 3}, {0, 5, 3}};
    const int ndims[] = {1, 2, 3, 3};
    AgTape *t = ag_tape_new();
    for (int k = 0; k < 4; k++) {
        Tensor x = random_tensor(a, ndims[k], shapes[k], 1);
        const Tensor *y = ag_value(nn_linear(&m, ag_input(t, &x)));
        cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
        cr_assert_eq(y->ndim, ndims[k]);
        cr_assert_eq(y->shape[ndims[k] - 1], 4);
        for (int64_t e = 0; e < tensor_numel(y); e++) {
            double want = tensor_get(&m.bias->value, e % 4);
            for (int64_t i = 0; i < 3; i++)
                want += tensor_get(&x, e / 4 * 3 + i) * tensor_get(&m.weight->value, e % 4 * 3 + i);
            cr_expect_float_eq(tensor_get(y, e), want, 1e-14);
        }
    }
    ag_tape_free(t);
    tensor_arena_free(a);
    nn_params_free(set);
}

Test(linear, with_its_loss_in_one_op_is_the_two_ops) {
    TensorArena *a = tensor_arena_new();
    AgTape *t = ag_tape_new();
    for (int no_bias = 0; no_bias < 2; no_bias++) {
        NnParamSet *set = nn_params_new(TENSOR_F64, 1);
        NnLinear m = nn_linear_make(set, "out", 3, 4, &(NnLinearOptions){.no_bias = no_bias});
        const int64_t classes[] = {3, 0, 1, 3}, shape[] = {2, 2, 3};
        Tensor x = random_tensor(a, 3, shape, 1);
        Tensor y = tensor_wrap((void *)(uintptr_t)classes, TENSOR_I64, 2, shape);
        AgVar in = ag_input(t, &x), target = ag_input(t, &y), g[2];
        AgVar one = nn_linear_cross_entropy(&m, in, target, NULL);
        AgVar two = ag_cross_entropy(nn_linear(&m, in), target, NULL);
        cr_expect_float_eq(ag_item(one), ag_item(two), 1e-14);
        cr_assert(ag_grad(one, (AgVar){0}, 1, &in, &g[0], false), "%s", ag_tape_error(t));
        cr_assert(ag_grad(two, (AgVar){0}, 1, &in, &g[1], false), "%s", ag_tape_error(t));
        for (int64_t e = 0; e < 12; e++)
            cr_expect_float_eq(tensor_get(ag_value(g[0]), e), tensor_get(ag_value(g[1]), e), 1e-14);
        ag_tape_reset(t);
        nn_params_free(set);
    }
    ag_tape_free(t);
    tensor_arena_free(a);
}

Test(linear, starts_as_pytorchs_or_as_told) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnLinear m = nn_linear_make(set, "", 16, 50, NULL);
    cr_expect_str_eq(m.weight->name, "weight");
    double widest = 0;
    for (int64_t e = 0; e < 800; e++)
        widest = fmax(widest, fabs(tensor_get(&m.weight->value, e)));
    for (int64_t e = 0; e < 50; e++) cr_expect_leq(fabs(tensor_get(&m.bias->value, e)), .25);
    cr_expect(widest <= .25 && widest > .24, "%g", widest);
    NnInit one = nn_init_constant(1), two = nn_init_constant(2);
    m = nn_linear_make(set, "b", 3, 2, &(NnLinearOptions){.init = &one, .bias_init = &two});
    cr_expect(tensor_get(&m.weight->value, 5) == 1 && tensor_get(&m.bias->value, 1) == 2);
    m = nn_linear_make(set, "c", 3, 2, &(NnLinearOptions){.no_bias = true});
    cr_expect(m.bias == NULL && nn_params_find(set, "c.bias") == NULL);
    m = nn_linear_make(set, "d", 0, 2, NULL);
    cr_expect(nn_params_ok(set) && tensor_get(&m.bias->value, 1) == 0, "no inputs");
    nn_params_free(set);
}

Test(linear, a_shared_weight_is_one_parameter_with_one_gradient) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1), *other = nn_params_new(TENSOR_F64, 1);
    NnEmbedding embedding = nn_embedding_make(set, "in", 7, 3, NULL);
    NnLinear out = nn_linear_make(set, "out", 3, 7, &(NnLinearOptions){.weight = embedding.weight});
    cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
    cr_expect_eq(out.weight, embedding.weight);
    cr_expect_eq(nn_params_count(set), 2);
    AgTape *t = ag_tape_new();
    AgVar index = ag_arange(t, TENSOR_I64, 0, 7, 1);
    AgVar y = nn_linear(&out, nn_embedding(&embedding, index));
    cr_expect(ag_backward(ag_sum(y, AG_ALL_AXES, false)), "%s", ag_tape_error(t));
    /* y = W W^T + b: d sum / dW_ve = 2 sum_u W_ue */
    for (int64_t e = 0; e < 21; e++) {
        double want = 0;
        for (int64_t u = 0; u < 7; u++) want += 2 * tensor_get(&out.weight->value, u * 3 + e % 3);
        cr_expect_float_eq(tensor_get(&out.weight->grad, e), want, 1e-12);
    }
    ag_tape_free(t);
    NnLinear wrong = nn_linear_make(set, "x", 7, 3, &(NnLinearOptions){.weight = out.weight});
    cr_expect_eq(wrong.weight->index, -1);
    cr_expect(strstr(nn_params_error(set), "x: expected a shared weight [3,7], got in.weight"),
              "%s", nn_params_error(set));
    nn_embedding_make(other, "x", 7, 3, &(NnEmbeddingOptions){.weight = out.weight});
    cr_expect(strstr(nn_params_error(other), "of another set"), "%s", nn_params_error(other));
    nn_params_free(set);
    nn_params_free(other);
}

static void expect_error(AgTape *t, AgVar y, const char *words) {
    cr_expect(!ag_ok(y));
    cr_expect(strstr(ag_tape_error(t), words), "%s: %s", words, ag_tape_error(t));
    ag_tape_reset(t);
}

Test(layers, wrong_inputs_are_errors_on_the_tape) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnLinear m = nn_linear_make(set, "m", 3, 4, NULL);
    NnEmbedding e = nn_embedding_make(set, "e", 7, 3, NULL);
    AgTape *t = ag_tape_new();
    expect_error(t, nn_linear(&m, ag_full(t, TENSOR_F64, 2, (int64_t[]){2, 4}, 1)), "4 and 3");
    expect_error(t, nn_linear(&m, ag_full(t, TENSOR_F32, 2, (int64_t[]){2, 3}, 1)), "mixed dtypes");
    expect_error(t, nn_linear(&m, ag_scalar(t, TENSOR_F64, 1)), "linear");
    expect_error(t, nn_embedding(&e, ag_full(t, TENSOR_I64, 1, (int64_t[]){2}, 7)), "embedding");
    expect_error(t, nn_embedding(&e, ag_full(t, TENSOR_F64, 1, (int64_t[]){2}, 1)), "embedding");
    NnDropout d = {.p = 1.5, .batch_axis = -1};
    expect_error(t, nn_dropout(&d, ag_scalar(t, TENSOR_F64, 1)), "dropout");
    AgVar stale = ag_scalar(t, TENSOR_F64, 1);
    ag_tape_reset(t);
    expect_error(t, nn_linear(&m, stale), "stale");
    expect_error(t, nn_linear_cross_entropy(&m, stale, stale, NULL), "stale");
    AgVar x = ag_full(t, TENSOR_F64, 2, (int64_t[]){2, 3}, 1);
    AgVar three = ag_full(t, TENSOR_I64, 1, (int64_t[]){3}, 0);
    expect_error(t, nn_linear_cross_entropy(&m, x, three, NULL), "targets [..]");
    expect_error(t, nn_embedding(&e, (AgVar){t, 0, 0}), "failed variable");
    cr_expect(!ag_ok(nn_linear(&m, (AgVar){0})) && !ag_ok(nn_dropout(&d, (AgVar){0})));
    cr_expect(ag_tape_ok(t));
    ag_tape_free(t);
    nn_params_free(set);
}

/* ---- embedding ---- */

Test(embedding, gives_rows_and_starts_standard_normal) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnEmbedding m = nn_embedding_make(set, "emb", 500, 8, NULL);
    cr_expect_str_eq(m.weight->name, "emb.weight");
    double sum = 0, squares = 0;
    for (int64_t e = 0; e < 4000; e++) {
        double w = tensor_get(&m.weight->value, e);
        sum += w, squares += w * w;
    }
    cr_expect_float_eq(sum / 4000, 0, .06);
    cr_expect_float_eq(squares / 4000, 1, .1);
    AgTape *t = ag_tape_new();
    int64_t entries[] = {3, 499, 0, 3, 7, 7};
    Tensor index = tensor_wrap(entries, TENSOR_I64, 2, (int64_t[]){2, 3});
    const Tensor *y = ag_value(nn_embedding(&m, ag_input(t, &index)));
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    cr_assert(y->ndim == 3 && y->shape[0] == 2 && y->shape[1] == 3 && y->shape[2] == 8);
    for (int64_t e = 0; e < 48; e++)
        cr_expect_eq(tensor_get(y, e), tensor_get(&m.weight->value, entries[e / 8] * 8 + e % 8));
    ag_tape_free(t);
    nn_params_free(set);
}

/* ---- dropout ---- */

Test(dropout, acts_in_training_only_and_keeps_the_mean) {
    AgTape *t = ag_tape_new();
    ag_tape_rng(t, 1, 1);
    NnDropout m = {.p = .25, .batch_axis = 0};
    AgVar x = ag_full(t, TENSOR_F64, 2, (int64_t[]){100, 100}, 3);
    const Tensor *y = ag_value(nn_dropout(&m, x));
    for (int64_t e = 0; e < 10000; e++) cr_assert_eq(tensor_get(y, e), 3);
    ag_tape_training(t, true);
    y = ag_value(nn_dropout(&m, x));
    int zeros = 0;
    for (int64_t e = 0; e < 10000; e++) {
        double v = tensor_get(y, e);
        cr_assert(v == 0 || v == 4);
        zeros += v == 0;
    }
    cr_expect(zeros > 2300 && zeros < 2700, "%d zeros", zeros);
    ag_tape_free(t);
}

/* All 3: 8 along each axis, but T along that of time. */
static AgVar threes(AgTape *t, int time_axis, int64_t T) {
    int64_t shape[] = {8, 8, 8};
    shape[time_axis] = T;
    return ag_full(t, TENSOR_F64, 3, shape, 3);
}

Test(dropout, locked_has_one_mask_for_all_steps_wherever_the_axes_are) {
    const int axes[][2] = {{1, 0}, {0, 1}, {2, 0}, {-1, 2}, {0, -1}, {-1, 0}}; /* batch, time */
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++) {
        int batch = axes[i][0], time = axes[i][1] < 0 ? axes[i][1] + 3 : axes[i][1];
        AgTape *t = ag_tape_new();
        ag_tape_rng(t, 1, i);
        AgVar x = threes(t, time, 5);
        AgVar same = nn_locked_dropout(x, .25, batch, axes[i][1]);
        cr_expect(same.id == x.id, "evaluation: x itself");
        ag_tape_training(t, true);
        AgVar y = nn_locked_dropout(x, .25, batch, axes[i][1]);
        cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
        int zeros = 0;
        for (int64_t step = 0; step < 5; step++)
            for (int64_t e = 0; e < 64; e++) {
                double v = tensor_get(ag_value(ag_select(y, time, step)), e);
                cr_assert(v == 0 || v == 4);
                cr_expect_eq(v, tensor_get(ag_value(ag_select(y, time, 0)), e));
                zeros += step == 0 && v == 0;
            }
        cr_expect(zeros > 4 && zeros < 32, "%d zeros", zeros);
        ag_tape_free(t);
    }
}

Test(dropout, locked_draws_for_rows_what_the_whole_batch_does_and_hides_no_nan) {
    AgTape *whole = ag_tape_new(), *part = ag_tape_new();
    ag_tape_training(whole, true);
    ag_tape_training(part, true);
    ag_tape_rows(part, 2, 8);
    AgVar all = nn_locked_dropout(threes(whole, 0, 5), .5, 1, 0);
    AgVar some = nn_locked_dropout(ag_narrow(threes(part, 0, 5), 1, 0, 3), .5, 1, 0);
    cr_assert(ag_tape_ok(part), "%s", ag_tape_error(part));
    AgVar want = ag_narrow(all, 1, 2, 3);
    for (int64_t e = 0; e < 5 * 3 * 8; e++)
        cr_expect_eq(tensor_get(ag_value(some), e), tensor_get(ag_value(want), e));
    AgVar nan = ag_full(whole, TENSOR_F32, 2, (int64_t[]){3, 40}, NAN);
    AgVar y = nn_locked_dropout(nan, .5, -1, 0);
    for (int64_t e = 0; e < 120; e++) cr_expect(isnan(tensor_get(ag_value(y), e)));
    ag_tape_free(whole);
    ag_tape_free(part);
}

Test(dropout, locked_refuses_wrong_axes_and_probabilities_in_training_or_not) {
    const struct {
        double p;
        int batch_axis, time_axis;
        const char *words;
    } cases[] = {
        {.5, 1, 3, "locked_dropout: time axis 3 of x with 3 axes"},
        {.5, 1, -4, "locked_dropout: time axis -4"},
        {.5, 1, 1, "locked_dropout: axis 1 is both"},
        {.5, 2, -1, "locked_dropout: axis 2 is both"},
        {.5, 3, 0, "batch axis 3"},
        {1.5, 1, 0, "p is 1.5"},
    };
    AgTape *t = ag_tape_new();
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        ag_tape_training(t, i % 2);
        AgVar y = nn_locked_dropout(threes(t, 0, 5), cases[i / 2].p, cases[i / 2].batch_axis,
                                    cases[i / 2].time_axis);
        cr_expect(!ag_ok(y));
        cr_expect(strstr(ag_tape_error(t), cases[i / 2].words), "%s", ag_tape_error(t));
        ag_tape_reset(t);
    }
    cr_expect(!ag_ok(nn_locked_dropout((AgVar){0}, .5, 1, 0)));
    ag_tape_free(t);
}

/* ---- gradients ---- */

typedef struct {
    NnEmbedding e;
    NnLinear m;
    NnDropout d;
} Model;

static int forward(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    const Model *m = context;
    nn_param_bind(t, m->e.weight, x[0]);
    nn_param_bind(t, m->m.weight, x[1]);
    nn_param_bind(t, m->m.bias, x[2]);
    AgVar e = nn_dropout(&m->d, nn_embedding(&m->e, x[3]));
    y[0] = ag_tanh(nn_linear(&m->m, nn_locked_dropout(e, .3, 1, 0)));
    return 1;
}

Test(layers, gradients_of_both_orders_agree_with_differences) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    Model m = {nn_embedding_make(set, "e", 5, 3, NULL), nn_linear_make(set, "m", 3, 4, NULL),
               {.p = .3, .batch_axis = 1}};
    int64_t entries[] = {4, 0, 2, 2, 1, 4};
    Tensor index = tensor_wrap(entries, TENSOR_I64, 2, (int64_t[]){3, 2});
    const Tensor x[] = {m.e.weight->value, m.m.weight->value, m.m.bias->value, index};
    for (int second = 0; second < 2; second++) {
        GradcheckResult r;
        GradcheckOptions o = {.training = true};
        cr_expect((second ? gradgradcheck : gradcheck)(forward, &m, 4, x, &o, &r), "%s", r.message);
        cr_expect_eq(r.checked, 15 + 12 + 4 + (second ? 24 : 0)); /* and the cotangent */
    }
    nn_params_free(set);
}
