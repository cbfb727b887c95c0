/* schedule.c -- see schedule.h. */
#include "optim/schedule.h"

#include <math.h>
#include <stddef.h>

static const double pi = 3.14159265358979323846;

static bool least_zero(double x) { return x >= 0 && isfinite(x); }

/* ---- making ---- */

OptimSchedule optim_schedule_constant(double base_lr, double factor, int64_t total_iters) {
    return (OptimSchedule){OPTIM_CONSTANT, base_lr, {.ramp = {factor, 1, total_iters}}};
}

OptimSchedule optim_schedule_linear(double base_lr, double start_factor, double end_factor,
                                    int64_t total_iters) {
    return (OptimSchedule){
        OPTIM_LINEAR, base_lr, {.ramp = {start_factor, end_factor, total_iters}}};
}

OptimSchedule optim_schedule_step(double base_lr, int64_t step_size, double gamma) {
    return (OptimSchedule){
        OPTIM_STEP, base_lr, {.decay = {.gamma = gamma, .step_size = step_size}}};
}

OptimSchedule optim_schedule_multistep(double base_lr, int64_t n, const int64_t *milestones,
                                       double gamma) {
    return (OptimSchedule){
        OPTIM_MULTISTEP, base_lr, {.decay = {.gamma = gamma, .n = n, .milestones = milestones}}};
}

OptimSchedule optim_schedule_exponential(double base_lr, double gamma) {
    return (OptimSchedule){OPTIM_EXPONENTIAL, base_lr, {.decay = {.gamma = gamma}}};
}

OptimSchedule optim_schedule_cosine(double base_lr, int64_t T_max, double eta_min) {
    return (OptimSchedule){OPTIM_COSINE, base_lr, {.cosine = {eta_min, T_max}}};
}

OptimSchedule optim_schedule_one_cycle(OptimOneCycle options) {
    return (OptimSchedule){
        OPTIM_ONE_CYCLE, options.max_lr / options.div_factor, {.one_cycle = options}};
}

/* ---- what is legal ---- */

static const char *ramp_invalid(const OptimSchedule *s) {
    if (!least_zero(s->of.ramp.start) || !least_zero(s->of.ramp.end))
        return "a factor is below 0 or not finite";
    if (s->of.ramp.total_iters < (s->kind == OPTIM_LINEAR)) return "total_iters is too small";
    return NULL;
}

static const char *decay_invalid(const OptimSchedule *s) {
    if (!least_zero(s->of.decay.gamma)) return "gamma is below 0 or not finite";
    if (s->kind == OPTIM_STEP && s->of.decay.step_size < 1) return "step_size is below 1";
    if (s->kind == OPTIM_MULTISTEP) {
        if (s->of.decay.n < 0) return "the number of milestones is below 0";
        if (s->of.decay.n > 0 && !s->of.decay.milestones) return "there are no milestones";
        for (int64_t i = 0; i < s->of.decay.n; i++)
            if (s->of.decay.milestones[i] < 0) return "a milestone is below 0";
    }
    return NULL;
}

static const char *cosine_invalid(const OptimSchedule *s) {
    if (!least_zero(s->of.cosine.eta_min)) return "eta_min is below 0 or not finite";
    return s->of.cosine.T_max < 1 ? "T_max is below 1" : NULL;
}

static const char *one_cycle_invalid(const OptimOneCycle *o) {
    if (!least_zero(o->max_lr)) return "max_lr is below 0 or not finite";
    if (o->total_steps < 1) return "total_steps is below 1";
    if (!(o->pct_start >= 0 && o->pct_start <= 1)) return "pct_start is outside [0, 1]";
    if (o->anneal_strategy != OPTIM_ANNEAL_COS && o->anneal_strategy != OPTIM_ANNEAL_LINEAR)
        return "anneal_strategy is none";
    if (!least_zero(o->base_momentum) || !least_zero(o->max_momentum))
        return "a momentum is below 0 or not finite";
    if (!(o->div_factor > 0 && isfinite(o->div_factor)))
        return "div_factor is not above 0, or not finite";
    if (!(o->final_div_factor > 0 && isfinite(o->final_div_factor)))
        return "final_div_factor is not above 0, or not finite";
    return NULL;
}

const char *optim_schedule_invalid(const OptimSchedule *s) {
    if (!s) return "there is no schedule";
    if (s->kind == OPTIM_ONE_CYCLE) return one_cycle_invalid(&s->of.one_cycle);
    if (!least_zero(s->base_lr)) return "base_lr is below 0 or not finite";
    switch (s->kind) {
    case OPTIM_CONSTANT:
    case OPTIM_LINEAR: return ramp_invalid(s);
    case OPTIM_STEP:
    case OPTIM_MULTISTEP:
    case OPTIM_EXPONENTIAL: return decay_invalid(s);
    case OPTIM_COSINE: return cosine_invalid(s);
    case OPTIM_ONE_CYCLE: break;
    }
    return "the kind is none";
}

/* ---- rates ---- */

/* From a at x = 0 to b at x = 1. */
static double anneal(OptimAnneal strategy, double a, double b, double x) {
    return strategy == OPTIM_ANNEAL_COS ? b + (a - b) / 2 * (1 + cos(pi * x)) : a + (b - a) * x;
}

/* What turns at the ends of the phases, at step t: from at[0] to at[1], then at[2], .. */
static double one_cycle(const OptimOneCycle *o, int64_t t, const double *at) {
    double last = (double)(o->total_steps - 1), rise = o->pct_start * (double)o->total_steps;
    double ends[] = {rise - 1, o->three_phase ? 2 * rise - 2 : last, last};
    int phase = 0, phases = o->three_phase ? 3 : 2;
    double now = fmin((double)t, last), start = 0;
    while (phase < phases - 1 && now > ends[phase]) start = ends[phase++];
    double length = ends[phase] - start;
    double x = length != 0 ? (now - start) / length : 1;
    return anneal(o->anneal_strategy, at[phase], at[phase + 1], x);
}

static double one_cycle_lr(const OptimOneCycle *o, int64_t t) {
    double initial = o->max_lr / o->div_factor, least = initial / o->final_div_factor;
    return one_cycle(o, t, (double[]){initial, o->max_lr, o->three_phase ? initial : least, least});
}

static double decayed(const OptimSchedule *s, int64_t times) {
    return s->base_lr * pow(s->of.decay.gamma, (double)times);
}

static int64_t milestones_passed(const OptimSchedule *s, int64_t t) {
    int64_t count = 0;
    for (int64_t i = 0; i < s->of.decay.n; i++) count += s->of.decay.milestones[i] <= t;
    return count;
}

static double linear_factor(const OptimSchedule *s, int64_t t) {
    double x = fmin((double)t / (double)s->of.ramp.total_iters, 1);
    return s->of.ramp.start + (s->of.ramp.end - s->of.ramp.start) * x;
}

double optim_schedule_lr(const OptimSchedule *s, int64_t t) {
    if (optim_schedule_invalid(s) || t < 0) return (double)NAN;
    double base = s->base_lr;
    switch (s->kind) {
    case OPTIM_CONSTANT: return t < s->of.ramp.total_iters ? base * s->of.ramp.start : base;
    case OPTIM_LINEAR: return base * linear_factor(s, t);
    case OPTIM_STEP: return decayed(s, t / s->of.decay.step_size);
    case OPTIM_MULTISTEP: return decayed(s, milestones_passed(s, t));
    case OPTIM_EXPONENTIAL: return decayed(s, t);
    case OPTIM_COSINE:
        return anneal(OPTIM_ANNEAL_COS, base, s->of.cosine.eta_min,
                      (double)t / (double)s->of.cosine.T_max);
    case OPTIM_ONE_CYCLE: return one_cycle_lr(&s->of.one_cycle, t);
    }
    return (double)NAN;
}

double optim_schedule_momentum(const OptimSchedule *s, int64_t t) {
    if (optim_schedule_invalid(s) || t < 0 || s->kind != OPTIM_ONE_CYCLE) return (double)NAN;
    const OptimOneCycle *o = &s->of.one_cycle;
    return one_cycle(o, t, (double[]){o->max_momentum, o->base_momentum, o->max_momentum,
                                      o->max_momentum});
}

/* ---- plateau ---- */

const char *optim_plateau_invalid(const OptimPlateau *o) {
    if (!o) return "there are no options";
    if (o->mode != OPTIM_PLATEAU_MIN && o->mode != OPTIM_PLATEAU_MAX) return "mode is none";
    if (o->threshold_mode != OPTIM_THRESHOLD_REL && o->threshold_mode != OPTIM_THRESHOLD_ABS)
        return "threshold_mode is none";
    if (!(o->factor >= 0 && o->factor < 1)) return "factor is outside [0, 1)";
    if (o->patience < 0) return "patience is below 0";
    if (!isfinite(o->threshold)) return "threshold is not finite";
    if (o->cooldown < 0) return "cooldown is below 0";
    if (!least_zero(o->min_lr)) return "min_lr is below 0 or not finite";
    return least_zero(o->eps) ? NULL : "eps is below 0 or not finite";
}

OptimPlateauState optim_plateau_start(const OptimPlateau *o, double lr) {
    bool rises = o && o->mode == OPTIM_PLATEAU_MAX;
    return (OptimPlateauState){.lr = lr, .best = rises ? -INFINITY : INFINITY};
}

static bool is_better(const OptimPlateau *o, double metric, double best) {
    bool relative = o->threshold_mode == OPTIM_THRESHOLD_REL;
    if (o->mode == OPTIM_PLATEAU_MIN)
        return metric < (relative ? best * (1 - o->threshold) : best - o->threshold);
    return metric > (relative ? best * (1 + o->threshold) : best + o->threshold);
}

double optim_plateau_step(const OptimPlateau *o, OptimPlateauState *state, double metric) {
    if (optim_plateau_invalid(o) || !state) return (double)NAN;
    bool better = is_better(o, metric, state->best);
    if (better) state->best = metric;
    state->num_bad_epochs = better ? 0 : state->num_bad_epochs + 1;
    if (state->cooldown_counter > 0) {
        state->cooldown_counter--;
        state->num_bad_epochs = 0;
    }
    if (state->num_bad_epochs > o->patience) {
        double less = fmax(state->lr * o->factor, o->min_lr);
        if (state->lr - less > o->eps) state->lr = less;
        state->cooldown_counter = o->cooldown;
        state->num_bad_epochs = 0;
    }
    return state->lr;
}
