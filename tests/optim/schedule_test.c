/* Learning rates over the steps of a run. */
#include "optim/schedule.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "optim/optim.h"

static const double pi = 3.14159265358979323846;

static void expect_rates(const OptimSchedule *s, int n, const double *want) {
    const char *why = optim_schedule_invalid(s);
    cr_assert_null(why, "%s", why ? why : "");
    for (int t = 0; t < n; t++)
        cr_expect_float_eq(optim_schedule_lr(s, t), want[t], 1e-15, "step %d: %.17g, not %.17g", t,
                           optim_schedule_lr(s, t), want[t]);
}

#define EXPECT_RATES(s, ...)                                         \
    do {                                                             \
        const double want[] = {__VA_ARGS__};                         \
        expect_rates(&(s), (int)(sizeof want / sizeof *want), want); \
    } while (0)

Test(schedule, constant_and_linear_end_after_total_iters) {
    OptimSchedule constant = optim_schedule_constant(.6, .5, 2);
    EXPECT_RATES(constant, .3, .3, .6, .6);
    OptimSchedule none = optim_schedule_constant(.6, .5, 0);
    EXPECT_RATES(none, .6, .6);
    OptimSchedule up = optim_schedule_linear(.8, .25, 1, 3);
    EXPECT_RATES(up, .2, .4, .6, .8, .8);
    OptimSchedule down = optim_schedule_linear(1, 1, 0, 4);
    EXPECT_RATES(down, 1, .75, .5, .25, 0, 0);
}

Test(schedule, decays_multiply_by_gamma_at_their_steps) {
    OptimSchedule step = optim_schedule_step(.8, 3, .5);
    EXPECT_RATES(step, .8, .8, .8, .4, .4, .4, .2);
    OptimSchedule exponential = optim_schedule_exponential(.8, .5);
    EXPECT_RATES(exponential, .8, .4, .2, .1);
    const int64_t milestones[] = {4, 1, 4}; /* in any order; 4 counts twice */
    OptimSchedule multistep = optim_schedule_multistep(.8, 3, milestones, .5);
    EXPECT_RATES(multistep, .8, .4, .4, .4, .1, .1);
    OptimSchedule at_zero = optim_schedule_multistep(.8, 1, (const int64_t[]){0}, .5);
    EXPECT_RATES(at_zero, .4, .4);
    OptimSchedule never = optim_schedule_multistep(.8, 0, NULL, .5);
    EXPECT_RATES(never, .8, .8);
    cr_expect_float_eq(optim_schedule_lr(&exponential, 1000) / (.8 * pow(.5, 1000)), 1, 1e-12);
}

Test(schedule, cosine_falls_to_eta_min_and_rises_again) {
    OptimSchedule s = optim_schedule_cosine(.9, 4, .1);
    double half = .4 * sqrt(.5);
    EXPECT_RATES(s, .9, .5 + half, .5, .5 - half, .1, .5 - half, .5, .5 + half, .9, .5 + half);
}

Test(schedule, one_cycle_rises_over_pct_start_and_falls) {
    OptimOneCycle o = OPTIM_ONE_CYCLE_DEFAULTS(1, 11);
    o.pct_start = 5. / 11; /* phases end at steps 4 and 10 */
    o.div_factor = 5, o.final_div_factor = 2, o.anneal_strategy = OPTIM_ANNEAL_LINEAR;
    OptimSchedule s = optim_schedule_one_cycle(o);
    EXPECT_RATES(s, .2, .4, .6, .8, 1, .85, .7, .55, .4, .25, .1, .1, .1);
    o.anneal_strategy = OPTIM_ANNEAL_COS;
    s = optim_schedule_one_cycle(o);
    double a = .4 * sqrt(.5), b = .45 * sqrt(.75);
    EXPECT_RATES(s, .2, .6 - a, .6, .6 + a, 1, .55 + b, .55 + .225, .55, .55 - .225, .55 - b, .1);
}

Test(schedule, one_cycle_of_three_phases_returns_before_it_falls) {
    OptimOneCycle o = OPTIM_ONE_CYCLE_DEFAULTS(1, 10);
    o.pct_start = .4; /* phases end at steps 3, 6 and 9 */
    o.div_factor = 4, o.final_div_factor = 10, o.anneal_strategy = OPTIM_ANNEAL_LINEAR;
    o.three_phase = true;
    OptimSchedule s = optim_schedule_one_cycle(o);
    EXPECT_RATES(s, .25, .5, .75, 1, .75, .5, .25, .175, .1, .025, .025);
    const double momentum[] = {.95, .95 - .1 / 3, .85 + .1 / 3, .85, .85 + .1 / 3, .95 - .1 / 3,
                               .95, .95, .95, .95, .95};
    for (int t = 0; t < 11; t++)
        cr_expect_float_eq(optim_schedule_momentum(&s, t), momentum[t], 1e-15, "step %d", t);
}

Test(schedule, one_cycle_phases_may_end_between_steps_or_be_empty) {
    OptimOneCycle o = OPTIM_ONE_CYCLE_DEFAULTS(1, 6);
    o.pct_start = .25; /* the first phase ends at step .5 */
    o.div_factor = 4, o.final_div_factor = 1, o.anneal_strategy = OPTIM_ANNEAL_LINEAR;
    OptimSchedule s = optim_schedule_one_cycle(o);
    for (int t = 1; t < 6; t++)
        cr_expect_float_eq(optim_schedule_lr(&s, t), 1 - .75 * (t - .5) / 4.5, 1e-15);
    cr_expect_eq(optim_schedule_lr(&s, 0), .25);
    const double starts[] = {0, 1. / 6, 1};
    for (int i = 0; i < 3; i++)
        for (int three = 0; three < 2; three++) {
            o.pct_start = starts[i], o.three_phase = three;
            s = optim_schedule_one_cycle(o);
            for (int t = 0; t < 8; t++) {
                double lr = optim_schedule_lr(&s, t), m = optim_schedule_momentum(&s, t);
                cr_expect(lr >= .25 && lr <= 1, "pct_start %g step %d: %g", starts[i], t, lr);
                cr_expect(m >= .85 && m <= .95, "pct_start %g step %d: %g", starts[i], t, m);
            }
        }
    OptimSchedule one = optim_schedule_one_cycle((OptimOneCycle)OPTIM_ONE_CYCLE_DEFAULTS(1, 1));
    cr_expect_float_eq(optim_schedule_lr(&one, 0), 1 / 25. / 1e4, 1e-18);
}

Test(schedule, defaults_are_pytorchs) {
    OptimOneCycle c = OPTIM_ONE_CYCLE_DEFAULTS(.5, 20);
    cr_expect(c.max_lr == .5 && c.total_steps == 20 && c.pct_start == .3);
    cr_expect(c.anneal_strategy == OPTIM_ANNEAL_COS && !c.three_phase && c.div_factor == 25);
    cr_expect(c.final_div_factor == 1e4 && c.base_momentum == .85 && c.max_momentum == .95);
    OptimPlateau p = OPTIM_PLATEAU_DEFAULTS;
    cr_expect(p.mode == OPTIM_PLATEAU_MIN && p.factor == .1 && p.patience == 10);
    cr_expect(p.threshold == 1e-4 && p.threshold_mode == OPTIM_THRESHOLD_REL && p.cooldown == 0);
    cr_expect(p.min_lr == 0 && p.eps == 1e-8);
}

static void expect_invalid(OptimSchedule s, const char *words) {
    const char *why = optim_schedule_invalid(&s);
    cr_expect(why && strstr(why, words), "%s: %s", words, why ? why : "valid");
    cr_expect(isnan(optim_schedule_lr(&s, 0)) && isnan(optim_schedule_momentum(&s, 0)));
}

Test(schedule, bad_parameters_are_named_and_give_no_rate) {
    expect_invalid(optim_schedule_constant(-1, 1, 1), "base_lr");
    expect_invalid(optim_schedule_constant(1, -1, 1), "factor");
    expect_invalid(optim_schedule_constant(1, 1, -1), "total_iters");
    expect_invalid(optim_schedule_linear(1, 1, NAN, 1), "factor");
    expect_invalid(optim_schedule_linear(1, 1, 1, 0), "total_iters");
    expect_invalid(optim_schedule_step(NAN, 1, .1), "base_lr");
    expect_invalid(optim_schedule_step(1, 0, .1), "step_size");
    expect_invalid(optim_schedule_step(1, 1, -.1), "gamma");
    expect_invalid(optim_schedule_exponential(1, INFINITY), "gamma");
    expect_invalid(optim_schedule_multistep(1, 1, (const int64_t[]){-1}, .1), "milestone");
    expect_invalid(optim_schedule_multistep(1, 1, NULL, .1), "milestones");
    expect_invalid(optim_schedule_multistep(1, -1, NULL, .1), "milestones");
    expect_invalid(optim_schedule_cosine(1, 0, 0), "T_max");
    expect_invalid(optim_schedule_cosine(1, 1, -1), "eta_min");
    expect_invalid((OptimSchedule){.kind = (OptimScheduleKind)99}, "kind");
    cr_expect(strstr(optim_schedule_invalid(NULL), "no schedule"));
    cr_expect(isnan(optim_schedule_lr(NULL, 0)));
    OptimSchedule fine = optim_schedule_step(1, 1, .1);
    cr_expect(isnan(optim_schedule_lr(&fine, -1)));
}

Test(schedule, bad_cycles_are_named) {
#define BAD(field, x, words)                                \
    do {                                                    \
        OptimOneCycle o = OPTIM_ONE_CYCLE_DEFAULTS(1, 10);  \
        o.field = (x);                                      \
        expect_invalid(optim_schedule_one_cycle(o), words); \
    } while (0)
    BAD(max_lr, -1, "max_lr");
    BAD(total_steps, 0, "total_steps");
    BAD(pct_start, 1.5, "pct_start");
    BAD(pct_start, NAN, "pct_start");
    BAD(anneal_strategy, (OptimAnneal)7, "anneal_strategy");
    BAD(base_momentum, -1, "momentum");
    BAD(max_momentum, NAN, "momentum");
    BAD(div_factor, 0, "div_factor");
    BAD(final_div_factor, -1, "final_div_factor");
}

Test(schedule, a_schedule_drives_an_optimiser_and_an_invalid_one_stops_it) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnParam *w = nn_param(set, nn_init_constant(0), 0, NULL, "w");
    Optim *opt = optim_sgd_new(set, (OptimSgd){.lr = .8});
    OptimSchedule s = optim_schedule_step(.8, 2, .5);
    double want = 0;
    tensor_set(&w->grad, 0, 1);
    for (int64_t t = 0; t < 5; t++) {
        want -= (const double[]){.8, .8, .4, .4, .2}[t];
        optim_set_lr(opt, optim_schedule_lr(&s, t));
        cr_assert(optim_step(opt, NULL), "%s", optim_error(opt));
    }
    cr_expect_float_eq(tensor_get(&w->value, 0), want, 1e-15);
    s = optim_schedule_step(.8, 0, .5);
    optim_set_lr(opt, optim_schedule_lr(&s, 5));
    cr_expect(!optim_step(opt, NULL));
    cr_expect(strstr(optim_error(opt), "lr nan"), "%s", optim_error(opt));
    optim_free(opt);
    nn_params_free(set);
}

Test(schedule, products_of_schedules_warm_up) {
    OptimSchedule cosine = optim_schedule_cosine(1, 8, 0), warm = optim_schedule_linear(1, 0, 1, 4);
    for (int64_t t = 0; t < 8; t++) {
        double lr = optim_schedule_lr(&warm, t) * optim_schedule_lr(&cosine, t);
        cr_expect_float_eq(lr, fmin((double)t / 4, 1) * (1 + cos(pi * (double)t / 8)) / 2, 1e-15);
    }
}

/* ---- plateau ---- */

/* The rate after each metric. */
static void expect_plateau(const OptimPlateau *o, double lr, int n, const double *metric,
                           const double *want) {
    const char *why = optim_plateau_invalid(o);
    cr_assert_null(why, "%s", why ? why : "");
    OptimPlateauState state = optim_plateau_start(o, lr);
    cr_expect_eq(state.lr, lr);
    for (int i = 0; i < n; i++) {
        OptimPlateauState restored = state; /* saved here, it goes on as the other */
        double got = optim_plateau_step(o, &state, metric[i]);
        cr_expect_float_eq(got, want[i], 1e-15, "%d: %.17g, not %.17g", i, got, want[i]);
        cr_expect_eq(optim_plateau_step(o, &restored, metric[i]), got);
        cr_expect_eq(state.lr, got);
    }
}

#define EXPECT_PLATEAU(o, lr, metrics, ...)                                         \
    do {                                                                            \
        const double want[] = {__VA_ARGS__};                                        \
        cr_assert_eq(sizeof want, sizeof metrics);                                  \
        expect_plateau(&(o), lr, (int)(sizeof want / sizeof *want), metrics, want); \
    } while (0)

Test(schedule, plateau_waits_for_patience_and_cooldown) {
    OptimPlateau o = OPTIM_PLATEAU_DEFAULTS;
    o.factor = .5, o.patience = 1;
    const double flat[] = {1, 1, 1, 1, 1, 1, 1};
    EXPECT_PLATEAU(o, .8, flat, .8, .8, .4, .4, .2, .2, .1);
    o.cooldown = 2;
    EXPECT_PLATEAU(o, .8, flat, .8, .8, .4, .4, .4, .4, .2);
    o.cooldown = 0, o.patience = 0;
    EXPECT_PLATEAU(o, .8, flat, .8, .4, .2, .1, .05, .025, .0125);
    const double falls[] = {1, .9, .9, .8, .8, .8, NAN};
    o.patience = 1;
    EXPECT_PLATEAU(o, .8, falls, .8, .8, .8, .8, .8, .4, .4);
}

Test(schedule, plateau_thresholds_are_relative_or_absolute_and_modes_two) {
    OptimPlateau o = OPTIM_PLATEAU_DEFAULTS;
    o.factor = .5, o.patience = 0, o.threshold = .1;
    const double falls[] = {10, 9.5, 8.9, 8.85, 7.5};
    EXPECT_PLATEAU(o, .8, falls, .8, .4, .4, .2, .2);
    o.threshold_mode = OPTIM_THRESHOLD_ABS;
    EXPECT_PLATEAU(o, .8, falls, .8, .8, .8, .4, .4);
    o.mode = OPTIM_PLATEAU_MAX;
    const double rises[] = {-1, -.95, -.5, 1, 1.05};
    EXPECT_PLATEAU(o, .8, rises, .8, .4, .4, .4, .2);
    o.threshold_mode = OPTIM_THRESHOLD_REL;
    EXPECT_PLATEAU(o, .8, rises, .8, .8, .8, .8, .4);
}

Test(schedule, plateau_stops_at_min_lr_and_leaves_out_small_decreases) {
    OptimPlateau o = OPTIM_PLATEAU_DEFAULTS;
    o.factor = .5, o.patience = 0, o.min_lr = .3;
    const double flat[] = {1, 1, 1, 1};
    EXPECT_PLATEAU(o, .8, flat, .8, .4, .3, .3);
    o.min_lr = 0, o.eps = .15;
    EXPECT_PLATEAU(o, .8, flat, .8, .4, .2, .2);
}

Test(schedule, bad_plateaus_are_named_and_change_nothing) {
#define BAD_PLATEAU(field, x, words)                                \
    do {                                                            \
        OptimPlateau o = OPTIM_PLATEAU_DEFAULTS;                    \
        OptimPlateauState state = optim_plateau_start(&o, .5);      \
        o.field = (x);                                              \
        const char *why = optim_plateau_invalid(&o);                \
        cr_expect(why && strstr(why, words), "%s: %s", words, why); \
        cr_expect(isnan(optim_plateau_step(&o, &state, 1)));        \
        cr_expect(state.lr == .5 && isinf(state.best));             \
    } while (0)
    BAD_PLATEAU(mode, (OptimPlateauMode)5, "mode");
    BAD_PLATEAU(threshold_mode, (OptimThresholdMode)5, "threshold_mode");
    BAD_PLATEAU(factor, 1, "factor");
    BAD_PLATEAU(factor, NAN, "factor");
    BAD_PLATEAU(patience, -1, "patience");
    BAD_PLATEAU(threshold, INFINITY, "threshold");
    BAD_PLATEAU(cooldown, -1, "cooldown");
    BAD_PLATEAU(min_lr, -1, "min_lr");
    BAD_PLATEAU(eps, NAN, "eps");
    OptimPlateau o = OPTIM_PLATEAU_DEFAULTS;
    cr_expect(isnan(optim_plateau_step(&o, NULL, 1)));
    cr_expect(strstr(optim_plateau_invalid(NULL), "no options"));
}
