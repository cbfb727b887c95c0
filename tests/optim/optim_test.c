/* Which parameters an optimiser moves, groups, patterns, rates and refusals. */
#include "optim/optim.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { N = 37 }; /* an odd size: loops have ends */
static const int64_t shape[] = {N};

static double gradient(int step, int i) { return sin(1.3 * step + .7 * i + .1); }

static NnParam *add(NnParamSet *set, const char *name) {
    return nn_param(set, nn_init_normal(0, 1), 1, shape, "%s", name);
}

/* Fills the gradients of all parameters of the set for a step. */
static void fill_gradients(NnParamSet *set, NnGrads *grads, int step) {
    for (int p = 0; p < nn_params_count(set); p++) {
        Tensor g = nn_grads_at(grads, p);
        for (int i = 0; !tensor_is_nil(&g) && i < N; i++) tensor_set(&g, i, gradient(step, i + p));
    }
}

static void copy_values(const NnParam *p, double *to) {
    for (int i = 0; i < N; i++) to[i] = tensor_get(&p->value, i);
}

static void expect_values(const NnParam *p, const double *want, double tolerance) {
    for (int i = 0; i < N; i++)
        cr_assert_float_eq(tensor_get(&p->value, i), want[i], tolerance, "%s %d", p->name, i);
}

/* ---- which parameters ---- */

/* How far a parameter moved, as a multiple of its gradient in that step. */
static double moved(const NnParam *p, const double *before, int step) {
    return (before[3] - tensor_get(&p->value, 3)) / gradient(step, 3 + p->index);
}

Test(optim, frozen_parameters_and_buffers_stay_and_momenta_wait) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnParam *w = add(set, "w");
    NnParam *mean = nn_buffer(set, nn_init_constant(2), 1, shape, "mean");
    Optim *opt = optim_sgd_new(set, (OptimSgd){.lr = 1, .momentum = .5});
    double before[N];
    fill_gradients(set, nn_params_grads(set), 0);
    cr_assert(optim_step(opt, NULL));
    nn_freeze(set, "w", true);
    copy_values(w, before);
    for (int step = 1; step < 4; step++) {
        fill_gradients(set, nn_params_grads(set), step);
        cr_assert(optim_step(opt, NULL), "%s", optim_error(opt));
    }
    expect_values(w, before, 0);
    cr_expect(w->version == 1 && mean->version == 0 && tensor_get(&mean->value, 0) == 2);
    nn_freeze(set, "w", false);
    fill_gradients(set, nn_params_grads(set), 4);
    cr_assert(optim_step(opt, NULL));
    cr_expect_float_eq(before[3] - tensor_get(&w->value, 3), .5 * gradient(0, 3) + gradient(4, 3),
                       1e-14);
    optim_free(opt);
    nn_params_free(set);
}

Test(optim, of_several_groups_the_last_that_matches_holds) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnParam *a = add(set, "enc.weight"), *b = add(set, "enc.bias"), *c = add(set, "dec.bias");
    Optim *opt = optim_sgd_new(set, (OptimSgd){.lr = 1});
    optim_group(opt, "*.bias", (OptimSgd){.lr = .5});
    optim_group(opt, "enc.b*", (OptimSgd){.lr = .25});
    NnParam *late = add(set, "late.bias");
    double before[4][N];
    NnParam *all[] = {a, b, c, late};
    const double rates[] = {1, .25, .5, .5};
    for (int step = 0; step < 3; step++) {
        double scale = step == 1 ? .1 : 1; /* groups follow the rate */
        optim_set_lr(opt, scale);
        cr_expect_eq(optim_lr(opt), scale);
        for (int i = 0; i < 4; i++) copy_values(all[i], before[i]);
        fill_gradients(set, nn_params_grads(set), step);
        cr_assert(optim_step(opt, NULL), "%s", optim_error(opt));
        for (int i = 0; i < 4; i++)
            cr_expect_float_eq(moved(all[i], before[i], step), scale * rates[i], 1e-13, "%s",
                               all[i]->name);
    }
    optim_free(opt);
    nn_params_free(set);
}

Test(optim, several_optimisers_own_disjoint_patterns) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnParam *e = add(set, "encoder.w"), *d = add(set, "decoder.w");
    Optim *sgd = optim_sgd_new(set, (OptimSgd){.lr = 1, .only = "encoder.*"});
    OptimAdam options = OPTIM_ADAM_DEFAULTS;
    options.only = "decoder.*";
    Optim *adam = optim_adam_new(set, options);
    double before_e[N], before_d[N];
    copy_values(e, before_e);
    copy_values(d, before_d);
    fill_gradients(set, nn_params_grads(set), 0);
    cr_assert(optim_step(sgd, NULL), "%s", optim_error(sgd));
    expect_values(d, before_d, 0);
    cr_expect_float_eq(moved(e, before_e, 0), 1, 1e-14);
    copy_values(e, before_e);
    cr_assert(optim_step(adam, NULL), "%s", optim_error(adam));
    expect_values(e, before_e, 0);
    cr_expect_float_eq(fabs(before_d[3] - tensor_get(&d->value, 3)), 1e-3, 1e-9,
                       "Adam's first step has the size of lr");
    optim_free(sgd);
    optim_free(adam);
    nn_params_free(set);
}

Test(optim, steps_with_the_grads_it_is_given) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnParam *w = add(set, "w");
    NnGrads *grads = nn_grads_new(set);
    double before[N];
    copy_values(w, before);
    fill_gradients(set, grads, 2);
    Optim *opt = optim_sgd_new(set, (OptimSgd){.lr = 1});
    cr_assert(optim_step(opt, grads));
    cr_expect_float_eq(moved(w, before, 2), 1, 1e-14);
    add(set, "late");
    copy_values(w, before);
    cr_expect(!optim_step(opt, grads));
    cr_expect(strstr(optim_error(opt), "late was made after the gradients"), "%s",
              optim_error(opt));
    expect_values(w, before, 0);
    optim_free(opt);
    nn_grads_free(grads);
    nn_params_free(set);
}

Test(optim, scalars_and_empty_parameters_are_moved_too) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    const int64_t none[] = {0, 4};
    NnParam *s = nn_param(set, nn_init_constant(2), 0, NULL, "s");
    nn_param(set, nn_init_constant(2), 2, none, "e");
    tensor_set(&s->grad, 0, 3);
    Optim *opt = optim_sgd_new(set, (OptimSgd){.lr = .5, .momentum = .9});
    cr_assert(optim_step(opt, NULL), "%s", optim_error(opt));
    cr_expect_eq(tensor_get(&s->value, 0), .5);
    optim_free(opt);
    nn_params_free(set);
}

/* ---- refusals ---- */

/* One line with these words; the parameter does not move. */
static void expect_refused(NnParamSet *set, Optim *opt, const char *words) {
    const NnParam *w = nn_params_at(set, 0);
    double before = tensor_get(&w->value, 0);
    fill_gradients(set, nn_params_grads(set), 1);
    cr_expect(!optim_ok(opt));
    cr_expect(strstr(optim_error(opt), words), "%s: %s", words, optim_error(opt));
    cr_expect_null(strchr(optim_error(opt), '\n'));
    cr_expect(!optim_step(opt, NULL));
    cr_expect_eq(tensor_get(&w->value, 0), before);
    optim_free(opt);
}

Test(optim, wrong_groups_rates_and_sets_are_refused_and_the_first_error_stays) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1), *other = nn_params_new(TENSOR_F64, 1);
    add(set, "w");
    add(set, "v");
    add(other, "w");
    Optim *opt = optim_sgd_new(set, (OptimSgd){.lr = 1});
    optim_group(opt, "*.bias", (OptimSgd){.lr = 1});
    optim_set_lr(opt, -1);
    expect_refused(set, opt, "group *.bias: no parameter of the optimiser matches");
    opt = optim_sgd_new(set, (OptimSgd){.lr = 1, .only = "w"});
    optim_group(opt, "v", (OptimSgd){.lr = 1});
    expect_refused(set, opt, "group v: no parameter of the optimiser");
    opt = optim_sgd_new(set, (OptimSgd){.lr = 1});
    optim_group(opt, "w", (OptimAdam)OPTIM_ADAM_DEFAULTS);
    expect_refused(set, opt, "another kind");
    opt = optim_adam_new(set, (OptimAdam)OPTIM_ADAM_DEFAULTS);
    optim_group(opt, "w", (OptimAdamW)OPTIM_ADAMW_DEFAULTS);
    expect_refused(set, opt, "another kind");
    opt = optim_sgd_new(set, (OptimSgd){.lr = 1});
    optim_group(opt, "w", (OptimSgd){.lr = -1});
    expect_refused(set, opt, "lr -1");
    opt = optim_sgd_new(set, (OptimSgd){.lr = 1});
    optim_group(opt, "w", (OptimSgd){.lr = 1, .only = "w"});
    expect_refused(set, opt, "`only`");
    opt = optim_sgd_new(set, (OptimSgd){.lr = 1});
    optim_set_lr(opt, NAN);
    expect_refused(set, opt, "lr nan");
    opt = optim_sgd_new(set, (OptimSgd){.lr = 1e-300});
    optim_group(opt, "w", (OptimSgd){.lr = 1e300});
    optim_set_lr(opt, 1);
    cr_expect_eq(optim_lr(opt), 1e-300);
    expect_refused(set, opt, "lr 1: a group's rate, scaled by it, is not finite");
    opt = optim_sgd_new(set, (OptimSgd){.lr = 1});
    cr_expect(!optim_step(opt, nn_params_grads(other)));
    expect_refused(set, opt, "gradients of another set");
    add(other, "w");
    opt = optim_adam_new(other, (OptimAdam)OPTIM_ADAM_DEFAULTS);
    expect_refused(other, opt, "parameter set: parameter w: name given twice");
    nn_params_free(set);
    nn_params_free(other);
}

Test(optim, no_optimiser_is_one_with_an_error) {
    cr_expect(!optim_ok(NULL) && !optim_step(NULL, NULL) && isnan(optim_lr(NULL)));
    cr_expect(strstr(optim_error(NULL), "out of memory"));
    optim_set_lr(NULL, 1);
    optim_sgd_group(NULL, "x", (OptimSgd){.lr = 1});
    optim_free(NULL);
    Optim *opt = optim_sgd_new(NULL, (OptimSgd){.lr = 1});
    cr_expect(strstr(optim_error(opt), "there is no parameter set"), "%s", optim_error(opt));
    cr_expect(!optim_step(opt, NULL));
    optim_free(opt);
}
