/* Steps over used rows, clipped steps and steps by several threads: the bits of the plain way. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "optim/clip.h"
#include "optim/optim.h"
#include "tensor/parallel.h"
#include "tests/support/allocations.h"

/* More than one block; rows lie across their ends, and begin at any of the sums side by side. */
enum { V = 9001, E = 5, N = 70007, STEPS = 4, TOKENS = 40 };

typedef Optim *Make(NnParamSet *set);
#define SGD(...) optim_sgd_new(set, (OptimSgd){__VA_ARGS__})
#define CHANGED(kind, Options, ...)                    \
    do {                                               \
        Options o = kind##_default;                    \
        __VA_ARGS__;                                   \
        return optim_##kind##_new(set, o);             \
    } while (0)
static const OptimAdam adam_default = OPTIM_ADAM_DEFAULTS;
static const OptimAdamW adamw_default = OPTIM_ADAMW_DEFAULTS;
static const OptimRmsprop rmsprop_default = OPTIM_RMSPROP_DEFAULTS;
static const OptimAdagrad adagrad_default = OPTIM_ADAGRAD_DEFAULTS;
static const OptimAdadelta adadelta_default = OPTIM_ADADELTA_DEFAULTS;
static const OptimAsgd asgd_default = OPTIM_ASGD_DEFAULTS;

static Optim *sgd(NnParamSet *set) { return SGD(.lr = .5); }
static Optim *sgd_up(NnParamSet *set) { return SGD(.lr = .5, .maximize = true); }
static Optim *sgd_decay(NnParamSet *set) { return SGD(.lr = .5, .weight_decay = .1); }
static Optim *sgd_heavy(NnParamSet *set) { return SGD(.lr = .5, .momentum = .9); }
static Optim *sgd_nesterov(NnParamSet *set) {
    return SGD(.lr = .5, .momentum = .9, .weight_decay = .01, .nesterov = true);
}
static Optim *adam(NnParamSet *set) { CHANGED(adam, OptimAdam, (void)0); }
static Optim *adam_up(NnParamSet *set) {
    CHANGED(adam, OptimAdam, o.amsgrad = o.maximize = true; o.weight_decay = .01);
}
static Optim *adamw(NnParamSet *set) { CHANGED(adamw, OptimAdamW, (void)0); }
static Optim *rmsprop(NnParamSet *set) { CHANGED(rmsprop, OptimRmsprop, (void)0); }
static Optim *rmsprop_centered(NnParamSet *set) {
    CHANGED(rmsprop, OptimRmsprop, o.centered = true; o.momentum = .5);
}
static Optim *adagrad(NnParamSet *set) { CHANGED(adagrad, OptimAdagrad, (void)0); }
static Optim *adagrad_decay(NnParamSet *set) {
    CHANGED(adagrad, OptimAdagrad, o.weight_decay = .1; o.lr_decay = .3);
}
static Optim *adagrad_up(NnParamSet *set) { CHANGED(adagrad, OptimAdagrad, o.maximize = true); }
static Optim *adagrad_no_eps(NnParamSet *set) { CHANGED(adagrad, OptimAdagrad, o.eps = 0); }
static Optim *adagrad_tiny_eps(NnParamSet *set) { /* 0 in F32 */
    CHANGED(adagrad, OptimAdagrad, o.eps = 1e-60);
}
static Optim *adadelta(NnParamSet *set) { CHANGED(adadelta, OptimAdadelta, (void)0); }
static Optim *asgd(NnParamSet *set) { CHANGED(asgd, OptimAsgd, o.t0 = 1); }

static const struct {
    const char *name;
    Make *make;
    bool rests; /* where the gradient is zero */
} rules[] = {
    {"sgd", sgd, true},
    {"sgd up", sgd_up, false},
    {"sgd with decay", sgd_decay, false},
    {"sgd with momentum", sgd_heavy, false},
    {"sgd nesterov", sgd_nesterov, false},
    {"adam", adam, false},
    {"adam up", adam_up, false},
    {"adamw", adamw, false},
    {"rmsprop", rmsprop, false},
    {"rmsprop centered", rmsprop_centered, false},
    {"adagrad", adagrad, true},
    {"adagrad with decay", adagrad_decay, false},
    {"adagrad up", adagrad_up, false},
    {"adagrad without eps", adagrad_no_eps, false},
    {"adadelta", adadelta, false},
    {"asgd", asgd, false},
};
enum { RULES = sizeof rules / sizeof *rules };

/* ---- two models that differ in how they are moved ---- */

typedef struct {
    NnParamSet *set;
    NnParam *table, *matrix;
    Optim *opt;
} Model;

static Model model(TensorDtype dtype, Make *make, bool by_rows) {
    Model m = {.set = nn_params_new(dtype, 1)};
    m.table = nn_param(m.set, nn_init_normal(0, 1), 2, (int64_t[]){V, E}, "table");
    if (by_rows) nn_param_by_rows(m.table);
    m.matrix = nn_param(m.set, nn_init_normal(0, 1), 1, (int64_t[]){N}, "matrix");
    tensor_set(&m.table->value, 0, -0.0);
    m.opt = make(m.set);
    cr_assert(optim_ok(m.opt), "%s", optim_error(m.opt));
    return m;
}
static void model_free(Model *m) {
    optim_free(m->opt);
    nn_params_free(m->set);
}

/* Gradients of one step: in some rows of the table, with neighbours and both ends among them. */
static void fill(Model *m, int step, double scale) {
    nn_zero_grad(m->set);
    int64_t row[TOKENS];
    for (int i = 0; i < TOKENS; i++) {
        row[i] = i < 4 ? V - 1 - i : (i * 523 + step * 97) % V;
        for (int e = 0; e < E; e++)
            tensor_set(&m->table->grad, row[i] * E + e, scale * sin(step + 1.7 * (double)(i + e)));
    }
    AgRows *rows = nn_grads_rows(nn_params_grads(m->set), m->table->index);
    Tensor index = tensor_wrap(row, TENSOR_I64, 1, (int64_t[]){TOKENS});
    if (rows) ag_rows_use(rows, &index);
    for (int64_t i = 0; i < N; i++)
        tensor_set(&m->matrix->grad, i, scale * sin((double)i + .3 * step));
}

static bool same_bits(const Tensor *a, const Tensor *b) {
    return !memcmp(a->data, b->data, (size_t)tensor_numel(a) * tensor_dtype_size(a->dtype));
}
static void expect_same(const Model *a, const Model *b, const char *name) {
    cr_expect(same_bits(&a->table->value, &b->table->value), "%s: table", name);
    cr_expect(same_bits(&a->matrix->value, &b->matrix->value), "%s: matrix", name);
    cr_expect_eq(a->table->version, b->table->version);
}

/* ---- used rows ---- */

Test(step, over_used_rows_is_one_over_all) {
    for (int r = 0; r < RULES; r++)
        for (int f32 = 0; f32 < 2; f32++) {
            TensorDtype dtype = f32 ? TENSOR_F32 : TENSOR_F64;
            Model a = model(dtype, rules[r].make, true), b = model(dtype, rules[r].make, false);
            for (int n = 0; n < STEPS; n++) {
                fill(&a, n, n % 2 ? 30 : .001);
                fill(&b, n, n % 2 ? 30 : .001);
                if (n == 2) { /* as if a weight were tied in this step */
                    tensor_set(&a.table->grad, 7 * E, .5);
                    tensor_set(&b.table->grad, 7 * E, .5);
                    nn_grads_touch(nn_params_grads(a.set), a.table->index);
                }
                double want = optim_clip_grad_norm(nn_params_grads(b.set), 1);
                cr_expect_eq(optim_clip_grad_norm(nn_params_grads(a.set), 1), want);
                cr_assert(same_bits(&a.table->grad, &b.table->grad));
                cr_assert(optim_step(a.opt, NULL) && optim_step(b.opt, NULL));
                expect_same(&a, &b, rules[r].name);
            }
            model_free(&a);
            model_free(&b);
        }
}

/* A gradient where no row is used shows which elements a step visits. */
Test(step, visits_used_rows_only_where_the_rule_lets_the_others_rest) {
    for (int r = 0; r < RULES; r++)
        for (int touch = 0; touch < 2; touch++) {
            Model m = model(TENSOR_F64, rules[r].make, true);
            fill(&m, 0, 1);
            tensor_set(&m.table->grad, 2 * E, 4);
            if (touch) nn_grads_touch(nn_params_grads(m.set), m.table->index);
            double before = tensor_get(&m.table->value, 2 * E);
            cr_assert(optim_step(m.opt, NULL));
            bool moved = tensor_get(&m.table->value, 2 * E) != before;
            cr_expect_eq(moved, touch || !rules[r].rests, "%s", rules[r].name);
            model_free(&m);
        }
}

/* 0 / 0 in the rows without a gradient, as over all. */
Test(step, adagrad_does_not_rest_on_an_eps_that_rounds_to_zero) {
    Model a = model(TENSOR_F32, adagrad_tiny_eps, true);
    Model b = model(TENSOR_F64, adagrad_tiny_eps, true);
    fill(&a, 0, 1);
    fill(&b, 0, 1);
    cr_assert(optim_step(a.opt, NULL) && optim_step(b.opt, NULL));
    cr_expect(isnan(tensor_get(&a.table->value, 2 * E)));
    cr_expect(isfinite(tensor_get(&b.table->value, 2 * E)));
    model_free(&a);
    model_free(&b);
}

Test(step, all_norms_and_bounds_over_used_rows_are_those_over_all) {
    const double p[] = {1, 2, 3, .5, INFINITY};
    for (int f32 = 0; f32 < 2; f32++)
        for (int i = 0; i < 6; i++) {
            TensorDtype dtype = f32 ? TENSOR_F32 : TENSOR_F64;
            Model a = model(dtype, sgd, true), b = model(dtype, sgd, false);
            fill(&a, i, 2);
            fill(&b, i, 2);
            NnGrads *g = nn_params_grads(a.set), *h = nn_params_grads(b.set);
            for (int k = 0; k < 2; k++) /* the table's share alone shows its last bits */
                nn_freeze(k ? a.set : b.set, "matrix", true);
            cr_expect_eq(optim_clip_grad_norm(g, INFINITY), optim_clip_grad_norm(h, INFINITY));
            for (int k = 0; k < 2; k++) nn_freeze(k ? a.set : b.set, "matrix", false);
            if (i < 5)
                cr_expect_eq(optim_clip_grad_norm_p(g, .5, p[i]),
                             optim_clip_grad_norm_p(h, .5, p[i]));
            else
                cr_expect(optim_clip_grad_value(g, .25) && optim_clip_grad_value(h, .25));
            cr_expect(same_bits(&a.table->grad, &b.table->grad));
            cr_expect(same_bits(&a.matrix->grad, &b.matrix->grad));
            model_free(&a);
            model_free(&b);
        }
}

/* ---- clipped steps ---- */

Test(step, clipped_is_clipping_and_a_step) {
    const double bound[STEPS] = {1, INFINITY, 1e9, 0};
    for (int r = 0; r < RULES; r++)
        for (int f32 = 0; f32 < 2; f32++) {
            TensorDtype dtype = f32 ? TENSOR_F32 : TENSOR_F64;
            Model a = model(dtype, rules[r].make, true), b = model(dtype, rules[r].make, true);
            for (int n = 0; n < STEPS; n++) {
                double norm = -1;
                fill(&a, n, 3);
                fill(&b, n, 3);
                double want = optim_clip_grad_norm(nn_params_grads(b.set), bound[n]);
                cr_assert(optim_step(b.opt, NULL));
                cr_assert(optim_step_clipped(a.opt, NULL, bound[n], &norm));
                cr_expect_eq(norm, want);
                expect_same(&a, &b, rules[r].name);
                fill(&b, n, 3);
                cr_expect(same_bits(&a.table->grad, &b.table->grad), "gradients stay");
                cr_expect(same_bits(&a.matrix->grad, &b.matrix->grad), "gradients stay");
            }
            model_free(&a);
            model_free(&b);
        }
}

Test(step, clipped_takes_the_grads_it_is_given_and_measures_all_of_the_set) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    const int64_t one[] = {1};
    NnParam *p[3];
    NnGrads *grads;
    for (int i = 0; i < 3; i++) p[i] = nn_param(set, nn_init_constant(0), 1, one, "p%d", i);
    grads = nn_grads_new(set);
    for (int i = 0; i < 3; i++) {
        Tensor g = nn_grads_at(grads, i);
        tensor_set(&g, 0, 3 + i);
    }
    nn_freeze(set, "p2", true);
    Optim *opt = optim_sgd_new(set, (OptimSgd){.lr = 1, .only = "p0"});
    double norm;
    cr_assert(optim_step_clipped(opt, grads, 1, &norm), "%s", optim_error(opt));
    cr_expect_eq(norm, 5);
    cr_expect_float_eq(tensor_get(&p[0]->value, 0), -3 / (5 + 1e-6), 1e-15);
    cr_expect(tensor_get(&p[1]->value, 0) == 0 && tensor_get(&p[2]->value, 0) == 0);
    optim_free(opt);
    nn_grads_free(grads);
    nn_params_free(set);
}

Test(step, clipped_moves_nothing_where_the_norm_is_not_finite) {
    const double bad[] = {NAN, INFINITY, -INFINITY, 1e200};
    for (int i = 0; i < 4; i++) {
        Model a = model(TENSOR_F64, sgd_heavy, true), b = model(TENSOR_F64, sgd_heavy, true);
        fill(&a, 0, 1);
        fill(&b, 0, 1);
        tensor_set(&a.matrix->grad, 40000, bad[i]);
        double norm = 0;
        cr_expect(!optim_step_clipped(a.opt, NULL, 1, &norm));
        cr_expect(!isfinite(norm) && optim_ok(a.opt));
        cr_expect(!optim_step_clipped(a.opt, NULL, 1, NULL));
        cr_expect_eq(a.table->version, 0);
        tensor_set(&a.matrix->grad, 40000, tensor_get(&b.matrix->grad, 40000));
        cr_assert(optim_step_clipped(a.opt, NULL, 1, NULL));
        cr_assert(optim_step_clipped(b.opt, NULL, 1, NULL));
        expect_same(&a, &b, "after a step left out");
        model_free(&a);
        model_free(&b);
    }
}

Test(step, clipped_refuses_what_is_no_bound_and_what_a_step_refuses) {
    const double bad[] = {-1, NAN, -INFINITY};
    for (int i = 0; i < 4; i++) {
        Model m = model(TENSOR_F64, sgd, true), other = model(TENSOR_F64, sgd, true);
        fill(&m, 0, 1);
        double norm = 0, before = tensor_get(&m.matrix->value, 3);
        const NnGrads *grads = i < 3 ? NULL : nn_params_grads(other.set);
        cr_expect(!optim_step_clipped(m.opt, grads, i < 3 ? bad[i] : 1, &norm));
        cr_expect(isnan(norm) && !optim_ok(m.opt));
        const char *words = i < 3 ? "is not 0 or more" : "gradients of another set";
        cr_expect(strstr(optim_error(m.opt), words), "%s", optim_error(m.opt));
        norm = 0;
        cr_expect(!optim_step_clipped(m.opt, NULL, 1, &norm) && isnan(norm), "the error stays");
        cr_expect_eq(tensor_get(&m.matrix->value, 3), before);
        model_free(&m);
        model_free(&other);
    }
    double norm = 0;
    cr_expect(!optim_step_clipped(NULL, NULL, 1, &norm) && isnan(norm));
}

/* ---- threads ---- */

Test(step, has_the_same_bits_for_any_number_of_threads) {
    for (int r = 0; r < RULES; r++) {
        Model m[3];
        double norm[3], norm_3[3];
        for (int k = 0; k < 3; k++) {
            cr_assert(tensor_threads_set(k + 1));
            m[k] = model(TENSOR_F32, rules[r].make, k == 1);
            for (int n = 0; n < STEPS; n++) {
                NnGrads *grads = nn_params_grads(m[k].set);
                fill(&m[k], n, 3);
                cr_assert(optim_step_clipped(m[k].opt, NULL, 1, &norm[k]));
                cr_assert(optim_clip_grad_value(grads, 2));
                norm_3[k] = optim_clip_grad_norm_p(grads, .1, 3);
                cr_assert(optim_step(m[k].opt, NULL));
            }
            cr_expect(norm[k] == norm[0] && norm_3[k] == norm_3[0]);
            expect_same(&m[0], &m[k], rules[r].name);
        }
        for (int k = 0; k < 3; k++) model_free(&m[k]);
    }
}

Test(step, allocates_nothing_after_the_first) {
    cr_assert(tensor_threads_set(2));
    for (int r = 0; r < RULES; r++) {
        Model m = model(TENSOR_F32, rules[r].make, true);
        long first = 0;
        for (int n = 0; n < 5; n++) {
            fill(&m, n, 1);
            optim_clip_grad_value(nn_params_grads(m.set), .5);
            optim_clip_grad_norm(nn_params_grads(m.set), 10);
            cr_assert(optim_step_clipped(m.opt, NULL, 1, NULL) && optim_step(m.opt, NULL));
            if (n == 0) first = allocations();
        }
        cr_assert_gt(first, 0, "the counter counts nothing");
        cr_expect_eq(allocations(), first, "%s", rules[r].name);
        model_free(&m);
    }
}
