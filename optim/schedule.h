/* schedule.h -- the learning rate over the steps of a training run.
 *
 *     OptimSchedule s = optim_schedule_cosine(.1, 10000, 0);
 *     for (int64_t t = 0; t < 10000; t++) {
 *         optim_set_lr(opt, optim_schedule_lr(&s, t));
 *         .. gradients, optim_step ..
 *     }
 *
 * A schedule is plain data and its rate a pure function of the step t = 0, 1, .. (or the epoch:
 * whatever the caller counts), so that a run resumes from t alone.  Names, defaults and values
 * are those of torch.optim.lr_scheduler in PyTorch 1.13, in closed form.  A product of schedules
 * is one too: for a linear warm-up over 500 steps multiply by the rate of
 * optim_schedule_linear(1, 0, 1, 500).
 *
 * Bad parameters do no harm until the rate is asked for, which is then NaN, and which
 * optim_set_lr refuses; optim_schedule_invalid tells what is wrong. */
#ifndef OPTIM_SCHEDULE_H
#define OPTIM_SCHEDULE_H
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- one cycle ----
 * The rate rises from max_lr / div_factor to max_lr over the first pct_start of total_steps
 * (epochs times the steps of one), and falls to max_lr / div_factor / final_div_factor over the
 * rest; three_phase returns in the same time as it rose, and then falls.  The momentum does the
 * opposite, from max_momentum to base_momentum and back.  With rise = pct_start total_steps,
 * phases end at the steps
 *
 *     rise - 1, total_steps - 1;     three_phase: rise - 1, 2 rise - 2, total_steps - 1
 *
 * which need not be whole.  Between values a and b, at the fraction x of a phase:
 *
 *     OPTIM_ANNEAL_COS     b + (a - b) (1 + cos(pi x)) / 2
 *     OPTIM_ANNEAL_LINEAR  a + (b - a) x
 *
 * From step total_steps on the rate stays.
 * L. Smith and N. Topin, Super-convergence: very fast training of neural networks using large
 * learning rates, 2017 (arXiv:1708.07120). */
typedef enum { OPTIM_ANNEAL_COS, OPTIM_ANNEAL_LINEAR } OptimAnneal;
typedef struct {
    double max_lr;
    int64_t total_steps;
    double pct_start;
    OptimAnneal anneal_strategy;
    double base_momentum, max_momentum;
    double div_factor, final_div_factor;
    bool three_phase;
} OptimOneCycle;
#define OPTIM_ONE_CYCLE_DEFAULTS(max_lr, total_steps) \
    {(max_lr), (total_steps), 0.3, OPTIM_ANNEAL_COS, 0.85, 0.95, 25, 1e4, false}

/* ---- rates as functions of the step ---- */

typedef enum {
    OPTIM_CONSTANT,
    OPTIM_LINEAR,
    OPTIM_STEP,
    OPTIM_MULTISTEP,
    OPTIM_EXPONENTIAL,
    OPTIM_COSINE,
    OPTIM_ONE_CYCLE
} OptimScheduleKind;

/* Made by the functions below. */
typedef struct {
    OptimScheduleKind kind;
    double base_lr;
    union {
        struct {
            double start, end;
            int64_t total_iters;
        } ramp; /* constant: start; linear */
        struct {
            double gamma;
            int64_t step_size;         /* step */
            int64_t n;                 /* multistep */
            const int64_t *milestones; /* multistep: the caller's */
        } decay; /* step, multistep, exponential */
        struct {
            double eta_min;
            int64_t T_max;
        } cosine;
        OptimOneCycle one_cycle;
    } of;
} OptimSchedule;

/* base_lr factor while t < total_iters, then base_lr.
 * Invalid: base_lr or factor is below 0 or not finite; total_iters is below 0. */
OptimSchedule optim_schedule_constant(double base_lr, double factor, int64_t total_iters);

/* base_lr (start_factor + (end_factor - start_factor) min(t, total_iters) / total_iters).
 * Invalid: base_lr or a factor is below 0 or not finite; total_iters is below 1. */
OptimSchedule optim_schedule_linear(double base_lr, double start_factor, double end_factor,
                                    int64_t total_iters);

/* base_lr gamma^floor(t / step_size).
 * Invalid: base_lr or gamma is below 0 or not finite; step_size is below 1. */
OptimSchedule optim_schedule_step(double base_lr, int64_t step_size, double gamma);

/* base_lr gamma^(number of milestones <= t); one given twice counts twice.  The n milestones
 * stay the caller's and must outlive the schedule; their order does not matter.
 * Invalid: base_lr or gamma is below 0 or not finite; n or a milestone is below 0. */
OptimSchedule optim_schedule_multistep(double base_lr, int64_t n, const int64_t *milestones,
                                       double gamma);

/* base_lr gamma^t.   Invalid: base_lr or gamma is below 0 or not finite. */
OptimSchedule optim_schedule_exponential(double base_lr, double gamma);

/* eta_min + (base_lr - eta_min) (1 + cos(pi t / T_max)) / 2, also after T_max, where it rises
 * again.
 * Invalid: base_lr or eta_min is below 0 or not finite; T_max is below 1.
 * I. Loshchilov and F. Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017
 * (arXiv:1608.03983). */
OptimSchedule optim_schedule_cosine(double base_lr, int64_t T_max, double eta_min);

/* As above.
 * Invalid: max_lr or a momentum is below 0 or not finite; total_steps is below 1; pct_start is
 * outside [0, 1]; a factor is not above 0, or not finite. */
OptimSchedule optim_schedule_one_cycle(OptimOneCycle options);

/* Why the schedule's parameters are not legal, or NULL if they are. */
const char *optim_schedule_invalid(const OptimSchedule *s);
/* The rate of step t.   Fails (NaN): the schedule is invalid, or t is below 0. */
double optim_schedule_lr(const OptimSchedule *s, int64_t t);
/* The momentum of step t, for optim_set_momentum.
 * Fails (NaN): as above, or the schedule is not one cycle. */
double optim_schedule_momentum(const OptimSchedule *s, int64_t t);

/* ---- a rate that follows a measure ----
 * When a metric, as the validation loss, has not become better for more than `patience` calls
 * in a row, the rate is multiplied by `factor`, to min_lr at the least; a decrease by no more
 * than eps is left out.  The `cooldown` calls that follow do not count as bad.  With best the
 * best metric so far, better is
 *
 *                          OPTIM_THRESHOLD_REL              OPTIM_THRESHOLD_ABS
 *     OPTIM_PLATEAU_MIN    metric < best (1 - threshold)    metric < best - threshold
 *     OPTIM_PLATEAU_MAX    metric > best (1 + threshold)    metric > best + threshold
 *
 * A NaN is not better.
 *
 *     OptimPlateau plateau = OPTIM_PLATEAU_DEFAULTS;
 *     OptimPlateauState state = optim_plateau_start(&plateau, optim_lr(opt));
 *     after each epoch: optim_set_lr(opt, optim_plateau_step(&plateau, &state, loss)); */
typedef enum { OPTIM_PLATEAU_MIN, OPTIM_PLATEAU_MAX } OptimPlateauMode;
typedef enum { OPTIM_THRESHOLD_REL, OPTIM_THRESHOLD_ABS } OptimThresholdMode;
typedef struct {
    OptimPlateauMode mode;
    double factor;
    int64_t patience;
    double threshold;
    OptimThresholdMode threshold_mode;
    int64_t cooldown;
    double min_lr, eps;
} OptimPlateau;
#define OPTIM_PLATEAU_DEFAULTS \
    {OPTIM_PLATEAU_MIN, 0.1, 10, 1e-4, OPTIM_THRESHOLD_REL, 0, 0, 1e-8}

/* Plain data: saved and restored field by field, a run goes on as if it had not stopped. */
typedef struct {
    double lr;
    double best; /* infinite before the first metric */
    int64_t num_bad_epochs, cooldown_counter;
} OptimPlateauState;

/* Why the options are not legal, or NULL if they are.
 * Invalid: factor is outside [0, 1); patience or cooldown is below 0; threshold is not finite;
 * min_lr or eps is below 0 or not finite. */
const char *optim_plateau_invalid(const OptimPlateau *o);
OptimPlateauState optim_plateau_start(const OptimPlateau *o, double lr);
/* Takes in a metric and returns the rate from now on, state->lr.
 * Fails (NaN, the state as it was): the options are invalid. */
double optim_plateau_step(const OptimPlateau *o, OptimPlateauState *state, double metric);

#ifdef __cplusplus
}
#endif
#endif
