/* optim.c -- the cases of optimisers, clipping and schedules of the rate. */
#include "optim/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optim/clip.h"
#include "optim/schedule.h"
#include "tests/conformance/kinds.h"

/* ---- parameters ---- */

/* The named tensor in place of the values of x. */
static void load(Case *c, Tensor x, const char *prefix, int j) {
    Tensor value = case_tensor(c, "%s.%d", prefix, j);
    if (!case_ok(c)) return;
    if (value.dtype != TENSOR_F64 || !tensor_same_shape(&value, &x))
        case_fail(c, "%s.%d: not of the parameter's dtype and shape", prefix, j);
    else if (tensor_numel(&value) > 0)
        memcpy(x.data, value.data, (size_t)tensor_numel(&value) * sizeof(double));
}

/* Parameters 0, 1, .. with the shapes of PREFIX.0, .. */
static NnParamSet *make_set(Case *c, const char *prefix) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    for (int j = 0; case_ok(c) && case_has(c, "%s.%d", prefix, j); j++) {
        Tensor x = case_tensor(c, "%s.%d", prefix, j);
        if (case_ok(c)) nn_param(set, nn_init_constant(0), x.ndim, x.shape, "%d", j);
    }
    if (!nn_params_ok(set)) case_fail(c, "%s", nn_params_error(set));
    if (nn_params_count(set) == 0) case_fail(c, "no tensor %s.0", prefix);
    return set;
}

/* ---- optimisers ---- */

#define NUMBER(field) o.field = case_number(c, #field, o.field)
#define FLAG(field) o.field = case_flag(c, #field, o.field)
#define INTEGER(field) o.field = case_int(c, #field, o.field)

static Optim *make_sgd(Case *c, NnParamSet *set) {
    OptimSgd o = OPTIM_SGD_DEFAULTS(0);
    case_needs(c, "lr");
    NUMBER(lr), NUMBER(momentum), NUMBER(dampening), NUMBER(weight_decay);
    FLAG(nesterov), FLAG(maximize);
    return optim_sgd_new(set, o);
}

static void read_betas(Case *c, double *betas) {
    int n = case_numbers(c, "betas", 2, betas);
    if (n >= 0 && n != 2) case_fail(c, "config: `betas` has not two entries");
}

static Optim *make_adam(Case *c, NnParamSet *set) {
    OptimAdam o = OPTIM_ADAM_DEFAULTS;
    NUMBER(lr), NUMBER(eps), NUMBER(weight_decay), FLAG(amsgrad), FLAG(maximize);
    read_betas(c, o.betas);
    return optim_adam_new(set, o);
}

static Optim *make_adamw(Case *c, NnParamSet *set) {
    OptimAdamW o = OPTIM_ADAMW_DEFAULTS;
    NUMBER(lr), NUMBER(eps), NUMBER(weight_decay), FLAG(amsgrad), FLAG(maximize);
    read_betas(c, o.betas);
    return optim_adamw_new(set, o);
}

static Optim *make_rmsprop(Case *c, NnParamSet *set) {
    OptimRmsprop o = OPTIM_RMSPROP_DEFAULTS;
    NUMBER(lr), NUMBER(alpha), NUMBER(eps), NUMBER(momentum), NUMBER(weight_decay);
    FLAG(centered), FLAG(maximize);
    return optim_rmsprop_new(set, o);
}

static Optim *make_adagrad(Case *c, NnParamSet *set) {
    OptimAdagrad o = OPTIM_ADAGRAD_DEFAULTS;
    NUMBER(lr), NUMBER(lr_decay), NUMBER(initial_accumulator_value), NUMBER(eps);
    NUMBER(weight_decay), FLAG(maximize);
    return optim_adagrad_new(set, o);
}

static Optim *make_adadelta(Case *c, NnParamSet *set) {
    OptimAdadelta o = OPTIM_ADADELTA_DEFAULTS;
    NUMBER(lr), NUMBER(rho), NUMBER(eps), NUMBER(weight_decay), FLAG(maximize);
    return optim_adadelta_new(set, o);
}

static Optim *make_asgd(Case *c, NnParamSet *set) {
    OptimAsgd o = OPTIM_ASGD_DEFAULTS;
    NUMBER(lr), NUMBER(lambd), NUMBER(alpha), NUMBER(t0), NUMBER(weight_decay), FLAG(maximize);
    return optim_asgd_new(set, o);
}

static const struct {
    const char *name;
    Optim *(*make)(Case *c, NnParamSet *set);
    bool averages;
} optimisers[] = {
    {"sgd", make_sgd, false},         {"adam", make_adam, false},
    {"adamw", make_adamw, false},     {"rmsprop", make_rmsprop, false},
    {"adagrad", make_adagrad, false}, {"adadelta", make_adadelta, false},
    {"asgd", make_asgd, true},
};
enum { OPTIMISERS = sizeof optimisers / sizeof *optimisers };

static void run_step(Case *c, NnParamSet *set, Optim *opt, long long step) {
    char prefix[64];
    snprintf(prefix, sizeof prefix, "grad.%lld", step);
    for (int j = 0; j < nn_params_count(set); j++) load(c, nn_params_at(set, j)->grad, prefix, j);
    if (case_ok(c) && !optim_step(opt, NULL)) case_fail(c, "%s", optim_error(opt));
    for (int j = 0; j < nn_params_count(set); j++)
        case_expect(c, &nn_params_at(set, j)->value, CASE_FIRST_ORDER, "after.%lld.%d", step, j);
}

static void run_optimiser(Case *c, NnParamSet *set, Optim *opt, bool averages) {
    int64_t steps = case_int(c, case_needs(c, "steps"), 0);
    case_finish_config(c);
    if (!optim_ok(opt)) case_fail(c, "%s", optim_error(opt));
    for (int64_t step = 0; case_ok(c) && step < steps; step++) run_step(c, set, opt, step);
    for (int j = 0; averages && j < nn_params_count(set); j++) {
        Tensor average = optim_average(opt, nn_params_at(set, j));
        case_expect(c, &average, CASE_FIRST_ORDER, "average.%d", j);
    }
}

void kind_optim(Case *c) {
    /* They choose how PyTorch computes, not what. */
    static const char *const ways[] = {"foreach", "capturable", "differentiable", "fused"};
    const char *name = case_text(c, case_needs(c, "optim"), "");
    int k = 0;
    while (k < OPTIMISERS && strcmp(optimisers[k].name, name) != 0) k++;
    if (k == OPTIMISERS) case_fail(c, "unknown optimiser `%.100s`", name);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) case_flag(c, ways[i], false);
    NnParamSet *set = make_set(c, "param");
    for (int j = 0; j < nn_params_count(set); j++)
        load(c, nn_params_at(set, j)->value, "param", j);
    if (case_ok(c)) {
        Optim *opt = optimisers[k].make(c, set);
        run_optimiser(c, set, opt, optimisers[k].averages);
        optim_free(opt);
    }
    nn_params_free(set);
}

/* ---- clipping ---- */

static void clip_norm(Case *c, NnGrads *grads) {
    double max_norm = case_number(c, case_needs(c, "max_norm"), 0);
    case_flag(c, "error_if_nonfinite", false); /* a norm that is not finite is not compared */
    double norm = optim_clip_grad_norm_p(grads, max_norm, case_number(c, "norm_type", 2));
    Tensor total = tensor_wrap(&norm, TENSOR_F64, 0, NULL);
    case_finish_config(c);
    case_expect(c, &total, CASE_FIRST_ORDER, "total_norm");
}

static void clip_value(Case *c, NnGrads *grads) {
    const char *key = case_has_key(c, "max_norm") ? "max_norm" : "clip_value";
    double bound = case_number(c, case_needs(c, key), 0);
    case_finish_config(c);
    if (case_ok(c) && !optim_clip_grad_value(grads, bound)) case_fail(c, "clip_value: refused");
}

void kind_clip(Case *c) {
    const char *how = case_text(c, case_needs(c, "clip"), "");
    bool norm = strcmp(how, "norm") == 0;
    if (!norm && strcmp(how, "value") != 0) case_fail(c, "unknown clipping `%.100s`", how);
    NnParamSet *set = make_set(c, "grad");
    for (int j = 0; j < nn_params_count(set); j++) load(c, nn_params_at(set, j)->grad, "grad", j);
    if (norm) clip_norm(c, nn_params_grads(set));
    else clip_value(c, nn_params_grads(set));
    for (int j = 0; j < nn_params_count(set); j++)
        case_expect(c, &nn_params_at(set, j)->grad, CASE_FIRST_ORDER, "after.%d", j);
    nn_params_free(set);
}

/* ---- schedules ---- */

enum { MAX_MILESTONES = 64 };

/* Which of two words the key has; the first where it is absent. */
static bool is_second(Case *c, const char *key, const char *first, const char *second) {
    const char *text = case_text(c, key, first);
    bool is = strcmp(text, second) == 0;
    if (!is && strcmp(text, first) != 0) case_fail(c, "config: `%s`: unknown value", key);
    return is;
}

static OptimSchedule read_one_cycle(Case *c) {
    OptimOneCycle o = OPTIM_ONE_CYCLE_DEFAULTS(0, 0);
    case_needs(c, "max_lr");
    NUMBER(max_lr), INTEGER(total_steps);
    int64_t epochs = case_int(c, "epochs", 0), each = case_int(c, "steps_per_epoch", 0);
    if (o.total_steps == 0 && epochs > 0 && each > 0 && epochs <= INT64_MAX / each)
        o.total_steps = epochs * each;
    NUMBER(pct_start), NUMBER(div_factor), NUMBER(final_div_factor), FLAG(three_phase);
    NUMBER(base_momentum), NUMBER(max_momentum);
    case_flag(c, "cycle_momentum", true); /* the momentum is not part of the case */
    if (is_second(c, "anneal_strategy", "cos", "linear")) o.anneal_strategy = OPTIM_ANNEAL_LINEAR;
    return optim_schedule_one_cycle(o);
}

/* The schedule of the config, with memory for its milestones. */
static OptimSchedule read_schedule(Case *c, const char *name, double base_lr,
                                   int64_t milestones[MAX_MILESTONES]) {
    if (strcmp(name, "exponential") == 0)
        return optim_schedule_exponential(base_lr, case_number(c, case_needs(c, "gamma"), 0));
    if (strcmp(name, "step") == 0) {
        int64_t step_size = case_int(c, case_needs(c, "step_size"), 1);
        return optim_schedule_step(base_lr, step_size, case_number(c, "gamma", 0.1));
    }
    if (strcmp(name, "multistep") == 0) {
        int n = case_ints(c, case_needs(c, "milestones"), MAX_MILESTONES, milestones);
        return optim_schedule_multistep(base_lr, n, milestones, case_number(c, "gamma", 0.1));
    }
    if (strcmp(name, "cosine") == 0) {
        int64_t T_max = case_int(c, case_needs(c, "T_max"), 1);
        return optim_schedule_cosine(base_lr, T_max, case_number(c, "eta_min", 0));
    }
    if (strcmp(name, "one_cycle") != 0) case_fail(c, "unknown schedule `%.100s`", name);
    return read_one_cycle(c);
}

static void schedule_rates(Case *c, const char *name, double base_lr, int64_t n, double *lr) {
    int64_t milestones[MAX_MILESTONES];
    OptimSchedule s = read_schedule(c, name, base_lr, milestones);
    const char *invalid = optim_schedule_invalid(&s);
    if (invalid) case_fail(c, "%s", invalid);
    for (int64_t t = 0; t < n; t++) lr[t] = optim_schedule_lr(&s, t);
}

static void plateau_rates(Case *c, double base_lr, int64_t n, double *lr) {
    OptimPlateau o = OPTIM_PLATEAU_DEFAULTS;
    NUMBER(factor), NUMBER(threshold), NUMBER(min_lr), NUMBER(eps);
    INTEGER(patience), INTEGER(cooldown);
    if (is_second(c, "mode", "min", "max")) o.mode = OPTIM_PLATEAU_MAX;
    if (is_second(c, "threshold_mode", "rel", "abs")) o.threshold_mode = OPTIM_THRESHOLD_ABS;
    const char *invalid = optim_plateau_invalid(&o);
    Tensor metric = case_tensor(c, "metric");
    if (invalid) case_fail(c, "%s", invalid);
    OptimPlateauState state = optim_plateau_start(&o, base_lr);
    for (int64_t t = 0; t < n; t++) {
        lr[t] = state.lr;
        if (t < tensor_numel(&metric)) optim_plateau_step(&o, &state, tensor_get(&metric, t));
    }
}

void kind_schedule(Case *c) {
    const char *name = case_text(c, case_needs(c, "schedule"), "");
    double base_lr = case_number(c, case_needs(c, "base_lr"), 0);
    Tensor wanted = case_tensor(c, "lr");
    case_flag(c, "verbose", false); /* PyTorch's, of what it prints */
    int64_t n = tensor_numel(&wanted);
    double *lr = malloc((size_t)n * sizeof *lr + 1);
    if (!lr) case_fail(c, "out of memory");
    if (case_ok(c)) {
        if (strcmp(name, "plateau") == 0) plateau_rates(c, base_lr, n, lr);
        else schedule_rates(c, name, base_lr, n, lr);
        case_finish_config(c);
        Tensor got = tensor_wrap(lr, TENSOR_F64, 1, &n);
        case_expect(c, &got, CASE_FIRST_ORDER, "lr");
    }
    free(lr);
}
