/* Optimisers, clipping and schedules give PyTorch's parameters, gradients and rates. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "optim/clip.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "tests/nn/conformance.h"

/* Parameters 0, 1, .. with the values of PREFIX.0, .. */
static NnParamSet *make_set(const ConformanceCase *c, const char *prefix) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    char key[64];
    for (int j = 0; snprintf(key, sizeof key, "%s.%d", prefix, j), conformance_has(c, key); j++) {
        Tensor x = conformance_tensor(c, key);
        NnParam *p = nn_param(set, nn_init_constant(0), x.ndim, x.shape, "%d", j);
        cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
        memcpy(p->value.data, x.data, (size_t)tensor_numel(&x) * sizeof(double));
    }
    cr_assert(nn_params_count(set) > 0, "%s: no parameters", c->path);
    return set;
}

static void set_gradient(const ConformanceCase *c, NnParam *p, const char *key) {
    Tensor g = conformance_tensor(c, key);
    cr_assert(tensor_same_shape(&g, &p->grad));
    memcpy(p->grad.data, g.data, (size_t)tensor_numel(&g) * sizeof(double));
}

/* ---- optimisers ---- */

#define NUMBER(c, o, name) (o).name = conformance_number(c, #name, (o).name)
#define FLAG(c, o, name) (o).name = conformance_flag(c, #name)
#define KNOWN(c, ...)                                                                         \
    conformance_known(c, (const char *[]){"optim", "steps", "lr", "weight_decay", "maximize", \
                                          "foreach", "capturable", __VA_ARGS__, NULL})
#define SHARED(c, o) (NUMBER(c, o, lr), NUMBER(c, o, weight_decay), FLAG(c, o, maximize))

static Optim *make_sgd(const ConformanceCase *c, NnParamSet *set) {
    KNOWN(c, "momentum", "dampening", "nesterov");
    OptimSgd o = OPTIM_SGD_DEFAULTS(NAN);
    SHARED(c, o), NUMBER(c, o, momentum), NUMBER(c, o, dampening), FLAG(c, o, nesterov);
    return optim_sgd_new(set, o);
}

static void read_betas(const ConformanceCase *c, double betas[2]) {
    const json_t *list = json_object_get(c->config, "betas");
    for (size_t i = 0; i < json_array_size(list) && i < 2; i++)
        betas[i] = json_number_value(json_array_get(list, i));
}

static Optim *make_adam(const ConformanceCase *c, NnParamSet *set) {
    KNOWN(c, "betas", "eps", "amsgrad");
    OptimAdam o = OPTIM_ADAM_DEFAULTS;
    SHARED(c, o), NUMBER(c, o, eps), FLAG(c, o, amsgrad);
    read_betas(c, o.betas);
    return optim_adam_new(set, o);
}

static Optim *make_adamw(const ConformanceCase *c, NnParamSet *set) {
    KNOWN(c, "betas", "eps", "amsgrad");
    OptimAdamW o = OPTIM_ADAMW_DEFAULTS;
    SHARED(c, o), NUMBER(c, o, eps), FLAG(c, o, amsgrad);
    read_betas(c, o.betas);
    return optim_adamw_new(set, o);
}

static Optim *make_rmsprop(const ConformanceCase *c, NnParamSet *set) {
    KNOWN(c, "alpha", "eps", "momentum", "centered");
    OptimRmsprop o = OPTIM_RMSPROP_DEFAULTS;
    SHARED(c, o), NUMBER(c, o, alpha), NUMBER(c, o, eps), NUMBER(c, o, momentum);
    FLAG(c, o, centered);
    return optim_rmsprop_new(set, o);
}

static Optim *make_adagrad(const ConformanceCase *c, NnParamSet *set) {
    KNOWN(c, "lr_decay", "initial_accumulator_value", "eps");
    OptimAdagrad o = OPTIM_ADAGRAD_DEFAULTS;
    SHARED(c, o), NUMBER(c, o, lr_decay), NUMBER(c, o, initial_accumulator_value);
    NUMBER(c, o, eps);
    return optim_adagrad_new(set, o);
}

static Optim *make_adadelta(const ConformanceCase *c, NnParamSet *set) {
    KNOWN(c, "rho", "eps");
    OptimAdadelta o = OPTIM_ADADELTA_DEFAULTS;
    SHARED(c, o), NUMBER(c, o, rho), NUMBER(c, o, eps);
    return optim_adadelta_new(set, o);
}

static Optim *make_asgd(const ConformanceCase *c, NnParamSet *set) {
    KNOWN(c, "lambd", "alpha", "t0");
    OptimAsgd o = OPTIM_ASGD_DEFAULTS;
    SHARED(c, o), NUMBER(c, o, lambd), NUMBER(c, o, alpha), NUMBER(c, o, t0);
    return optim_asgd_new(set, o);
}

static Optim *make_optim(const ConformanceCase *c, NnParamSet *set) {
    const struct {
        const char *name;
        Optim *(*make)(const ConformanceCase *c, NnParamSet *set);
    } kinds[] = {{"sgd", make_sgd},         {"adam", make_adam},
                 {"adamw", make_adamw},     {"rmsprop", make_rmsprop},
                 {"adagrad", make_adagrad}, {"adadelta", make_adadelta},
                 {"asgd", make_asgd}};
    const char *name = conformance_text(c, "optim");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0) return kinds[i].make(c, set);
    cr_assert(false, "%s: unknown optimiser %s", c->path, name);
    return NULL;
}

/* Compares every parameter, or its average, with PREFIX.0, .. */
static void expect_all(const ConformanceCase *c, const NnParamSet *set, const Optim *averages,
                       const char *prefix) {
    char key[80];
    for (int j = 0; j < nn_params_count(set); j++) {
        const NnParam *p = nn_params_at(set, j);
        snprintf(key, sizeof key, "%s.%d", prefix, j);
        Tensor got = averages ? optim_average(averages, p) : p->value;
        conformance_expect(c, key, &got, 1e-9);
    }
}

static bool run_optim(const ConformanceCase *c) {
    NnParamSet *set = make_set(c, "param");
    Optim *opt = make_optim(c, set);
    char key[64];
    for (int64_t step = 0; step < conformance_int(c, "steps"); step++) {
        for (int j = 0; j < nn_params_count(set); j++) {
            snprintf(key, sizeof key, "grad.%lld.%d", (long long)step, j);
            set_gradient(c, nn_params_at(set, j), key);
        }
        cr_assert(optim_step(opt, NULL), "%s: %s", c->path, optim_error(opt));
        snprintf(key, sizeof key, "after.%lld", (long long)step);
        expect_all(c, set, NULL, key);
    }
    if (conformance_has(c, "average.0")) {
        expect_all(c, set, opt, "average");
        cr_assert(optim_swap_average(opt), "%s: %s", c->path, optim_error(opt));
        expect_all(c, set, NULL, "average");
    }
    optim_free(opt);
    nn_params_free(set);
    return true;
}

/* ---- clipping ---- */

static void clip(const ConformanceCase *c, NnGrads *grads) {
    if (strcmp(conformance_text(c, "clip"), "value") == 0) {
        cr_assert(optim_clip_grad_value(grads, conformance_number(c, "clip_value", NAN)));
        return;
    }
    const json_t *p = json_object_get(c->config, "norm_type");
    double norm = optim_clip_grad_norm_p(grads, conformance_number(c, "max_norm", NAN),
                                         json_is_string(p) ? strtod(json_string_value(p), NULL)
                                                           : conformance_number(c, "norm_type", 2));
    Tensor total = tensor_wrap(&norm, TENSOR_F64, 0, NULL);
    conformance_expect(c, "total_norm", &total, 1e-9);
}

static bool run_clip(const ConformanceCase *c) {
    conformance_known(c, (const char *[]){"clip", "max_norm", "norm_type", "clip_value", NULL});
    NnParamSet *set = make_set(c, "grad");
    char key[64];
    for (int j = 0; j < nn_params_count(set); j++) {
        snprintf(key, sizeof key, "grad.%d", j);
        set_gradient(c, nn_params_at(set, j), key);
    }
    clip(c, nn_params_grads(set));
    for (int j = 0; j < nn_params_count(set); j++) {
        snprintf(key, sizeof key, "after.%d", j);
        conformance_expect(c, key, &nn_params_at(set, j)->grad, 1e-9);
    }
    nn_params_free(set);
    return true;
}

/* ---- schedules ---- */

static int64_t whole(const ConformanceCase *c, const char *key, int64_t otherwise) {
    return json_object_get(c->config, key) ? conformance_int(c, key) : otherwise;
}

static OptimOneCycle read_one_cycle(const ConformanceCase *c) {
    OptimOneCycle o = OPTIM_ONE_CYCLE_DEFAULTS(NAN, 0);
    o.max_lr = conformance_number(c, "max_lr", conformance_number(c, "base_lr", NAN));
    o.total_steps = whole(c, "total_steps", 0);
    if (!o.total_steps)
        o.total_steps = conformance_int(c, "epochs") * conformance_int(c, "steps_per_epoch");
    NUMBER(c, o, pct_start), NUMBER(c, o, div_factor), NUMBER(c, o, final_div_factor);
    NUMBER(c, o, base_momentum), NUMBER(c, o, max_momentum), FLAG(c, o, three_phase);
    if (json_object_get(c->config, "anneal_strategy") &&
        strcmp(conformance_text(c, "anneal_strategy"), "linear") == 0)
        o.anneal_strategy = OPTIM_ANNEAL_LINEAR;
    return o;
}

enum { STEPS = 256, MILESTONES = 64 };

static OptimSchedule read_multistep(const ConformanceCase *c, int64_t at[MILESTONES]) {
    const json_t *list = json_object_get(c->config, "milestones");
    int64_t n = (int64_t)json_array_size(list);
    cr_assert(n > 0 && n <= MILESTONES, "%s: milestones", c->path);
    for (int64_t i = 0; i < n; i++) at[i] = json_integer_value(json_array_get(list, (size_t)i));
    return optim_schedule_multistep(conformance_number(c, "base_lr", NAN), n, at,
                                    conformance_number(c, "gamma", .1));
}

static OptimSchedule read_schedule(const ConformanceCase *c, int64_t at[MILESTONES]) {
    const char *name = conformance_text(c, "schedule");
    double base = conformance_number(c, "base_lr", NAN);
    if (strcmp(name, "step") == 0)
        return optim_schedule_step(base, conformance_int(c, "step_size"),
                                   conformance_number(c, "gamma", .1));
    if (strcmp(name, "multistep") == 0) return read_multistep(c, at);
    if (strcmp(name, "exponential") == 0)
        return optim_schedule_exponential(base, conformance_number(c, "gamma", NAN));
    if (strcmp(name, "cosine") == 0)
        return optim_schedule_cosine(base, conformance_int(c, "T_max"),
                                     conformance_number(c, "eta_min", 0));
    cr_assert(strcmp(name, "one_cycle") == 0, "%s: unknown schedule %s", c->path, name);
    return optim_schedule_one_cycle(read_one_cycle(c));
}

static OptimPlateau read_plateau(const ConformanceCase *c) {
    OptimPlateau o = OPTIM_PLATEAU_DEFAULTS;
    NUMBER(c, o, factor), NUMBER(c, o, threshold), NUMBER(c, o, min_lr), NUMBER(c, o, eps);
    o.patience = whole(c, "patience", o.patience);
    o.cooldown = whole(c, "cooldown", o.cooldown);
    if (json_object_get(c->config, "mode") && strcmp(conformance_text(c, "mode"), "max") == 0)
        o.mode = OPTIM_PLATEAU_MAX;
    if (json_object_get(c->config, "threshold_mode") &&
        strcmp(conformance_text(c, "threshold_mode"), "abs") == 0)
        o.threshold_mode = OPTIM_THRESHOLD_ABS;
    return o;
}

static void plateau_rates(const ConformanceCase *c, int64_t n, double *rates) {
    OptimPlateau o = read_plateau(c);
    Tensor metric = conformance_tensor(c, "metric");
    OptimPlateauState state = optim_plateau_start(&o, conformance_number(c, "base_lr", NAN));
    cr_assert_null(optim_plateau_invalid(&o));
    for (int64_t t = 0; t < n; t++) {
        rates[t] = state.lr;
        if (t < tensor_numel(&metric)) optim_plateau_step(&o, &state, tensor_get(&metric, t));
    }
}

static bool run_schedule(const ConformanceCase *c) {
    conformance_known(
        c, (const char *[]){"schedule", "base_lr", "step_size", "gamma", "milestones", "T_max",
                            "eta_min", "max_lr", "total_steps", "epochs", "steps_per_epoch",
                            "pct_start", "anneal_strategy", "cycle_momentum", "base_momentum",
                            "max_momentum", "div_factor", "final_div_factor", "three_phase",
                            "mode", "factor", "patience", "threshold", "threshold_mode",
                            "cooldown", "min_lr", "eps", NULL});
    Tensor want = conformance_tensor(c, "lr");
    int64_t n = tensor_numel(&want), at[MILESTONES];
    double rates[STEPS];
    cr_assert(n > 0 && n <= STEPS, "%s: lr", c->path);
    if (strcmp(conformance_text(c, "schedule"), "plateau") == 0) {
        plateau_rates(c, n, rates);
    } else {
        OptimSchedule s = read_schedule(c, at);
        const char *why = optim_schedule_invalid(&s);
        cr_assert_null(why, "%s: %s", c->path, why ? why : "");
        for (int64_t t = 0; t < n; t++) rates[t] = optim_schedule_lr(&s, t);
    }
    Tensor got = tensor_wrap(rates, TENSOR_F64, 1, &n);
    conformance_expect(c, "lr", &got, 1e-9);
    return true;
}

Test(optim_conformance, optimisers_agree_with_pytorch) { conformance_each("optim", run_optim); }

Test(optim_conformance, clipping_agrees_with_pytorch) { conformance_each("clip", run_clip); }

Test(optim_conformance, schedules_agree_with_pytorch) {
    conformance_each("schedule", run_schedule);
}
