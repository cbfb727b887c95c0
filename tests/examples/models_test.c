/* models_test.c -- the small models of examples/models: their gradients, and that they learn. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "examples/models/models.h"

/* Training for a few steps, from one seed, and what loss has to be reached. */
static const struct {
    const char *name;
    int64_t steps;
    double below;
} short_runs[] = {
    {"mgu", 250, 0.08},
    {"clockwork", 100, 0.3},
    {"ssm", 100, 0.3},
    {"copy", 60, 0.7},
    {"mdn", 120, 0},
};

static void check_model(const char *name) {
    const Model *m = model_find(name);
    cr_assert(m, "%s is not in the list", name);
    cr_expect_geq(m->check.T, 3, "%s", name);
    for (int order = 1; order <= 2; order++) {
        GradcheckResult r;
        cr_expect(model_check(m, order, &r), "%s, order %d: %s", name, order, r.message);
        cr_expect_lt(r.rel_error, 1e-8, "%s, order %d: %s", name, order, r.message);
        /* Nothing was left out: all inputs, states and parameters were compared. */
        cr_expect(r.checked == r.total && r.total > 0, "%s: %s", name, r.message);
    }
}

Test(models, every_derivative_of_every_model_agrees_with_differences) {
    for (int i = 0; model_list[i]; i++) check_model(model_list[i]->name);
}

static void train_model(const char *name, int64_t steps, double below) {
    const Model *m = model_find(name);
    TensorError error = {""};
    double loss = model_train(m, &(ModelTraining){steps, .seed = 1, .silent = true}, &error);
    cr_expect_lt(loss, below, "%s: loss %g after %lld steps; %s", name, loss, (long long)steps,
                 error.message);
    cr_expect_lt(below, m->baseline, "%s", name);
}

Test(models, a_short_training_brings_every_loss_below_its_baseline) {
    size_t n = sizeof short_runs / sizeof *short_runs, listed = 0;
    while (model_list[listed]) listed++;
    cr_expect_eq(n, listed, "a model is not trained here");
    for (size_t i = 0; i < n; i++)
        train_model(short_runs[i].name, short_runs[i].steps, short_runs[i].below);
}

Test(models, a_training_repeats_to_the_last_bit_and_depends_on_its_seed) {
    double loss[3];
    for (int i = 0; i < 3; i++) {
        TensorError error;
        ModelTraining training = {.steps = 3, .seed = i < 2 ? 1 : 2, .silent = true};
        loss[i] = model_train(model_find("mdn"), &training, &error);
    }
    cr_expect(memcmp(&loss[0], &loss[1], sizeof *loss) == 0);
    cr_expect(isfinite(loss[0]) && loss[0] != loss[2]);
}

/* ---- what goes wrong ---- */

static void *refused(NnParamSet *set, ModelSizes n) {
    (void)n;
    nn_params_fail(set, "no such model");
    return NULL;
}

static AgVar infinite(const void *model, AgTape *t, const AgVar *in) {
    AgVar loss = model_find("mgu")->loss(model, t, in);
    return ag_div(loss, ag_scalar(t, ag_dtype(loss), 0));
}

static AgVar one_gradient_missing(const void *model, AgTape *t, const AgVar *in) {
    const AgVar x[] = {in[0], ag_detach(in[1]), in[2]};
    return model_find("mgu")->loss(model, t, x);
}

Test(models, what_fails_is_told_in_one_line) {
    Model m = *model_find("mgu");
    ModelTraining training = {.steps = 2, .seed = 1, .silent = true};
    TensorError error;
    GradcheckResult r;

    m.loss = infinite;
    cr_expect(isnan(model_train(&m, &training, &error)));
    cr_expect_str_eq(error.message, "mgu: the loss is not finite");
    cr_expect(!model_check(&m, 1, &r));

    m.loss = one_gradient_missing;
    cr_expect(!model_check(&m, 1, &r));
    cr_expect_str_eq(r.name, "target");
    cr_expect_eq(r.reason, GRADCHECK_MISSING, "%s", r.message);

    m.lr = -1;
    cr_expect(isnan(model_train(&m, &training, &error)));
    cr_expect(strstr(error.message, "lr"), "%s", error.message);

    m.make = refused;
    cr_expect(isnan(model_train(&m, &training, &error)));
    cr_expect_str_eq(error.message, "mgu: no such model");
    cr_expect(!model_check(&m, 1, &r));
    cr_expect_str_eq(r.message, "no such model");
}

Test(models, a_task_gives_what_it_says) {
    TensorArena *a = tensor_arena_new();
    Tensor in[MODEL_MAX_INPUTS];
    ModelBatch b = {{8, 40, 4}, TENSOR_F64, {1, 0, 0}, a};
    task_adding(&b, in);
    for (int64_t i = 0; i < 40; i++) {
        double sum = 0, marks = 0;
        for (int64_t e = i; e < 8 * 40; e += 40) {
            double mark = tensor_get(&in[0], 2 * e + 1);
            marks += mark;
            sum += mark * tensor_get(&in[0], 2 * e);
        }
        cr_expect_eq(marks, 2);
        cr_expect_float_eq(tensor_get(&in[1], i), sum, 1e-15);
    }
    task_waves(&b, in);
    for (int64_t e = 0; e < 8 * 40; e++) {
        double sum = tensor_get(&in[1], 2 * e) + tensor_get(&in[1], 2 * e + 1);
        cr_expect_float_eq(tensor_get(&in[0], e), e < 2 * 40 ? sum : 0, 1e-15);
    }
    task_reversal(&b, in);
    for (int64_t i = 0; i < 40; i++) {
        int64_t n = tensor_get_i64(&in[1], i);
        cr_expect(n >= 2 && n <= 8);
        for (int64_t t = 0; t < 8; t++) {
            int64_t source = tensor_get_i64(&in[0], i * 8 + t);
            int64_t place = t < n ? n - 1 - t : t;
            cr_expect_eq(tensor_get_i64(&in[2], i * 8 + place), source);
            cr_expect(source >= 0 && source < (t < n ? TASK_TOKENS : 1));
        }
    }
    tensor_arena_free(a);
}
