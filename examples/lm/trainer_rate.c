/* trainer_rate.c -- what changes with the step and from epoch to epoch: the learning rate, the
 * length of windows, averaging, early stopping. */
#include <math.h>
#include <stdlib.h>

#include "trainer.h"

/* Of the random numbers of a seed and a step, those for the length of the window; the tape's count
 * from 0, and trainer_checkpoint.c's offsets have another place. */
static const uint64_t window_draw = (uint64_t)2 << 32;

OptimPlateau lm_trainer_plateau(const LmSettings *s) {
    OptimPlateau o = OPTIM_PLATEAU_DEFAULTS;
    o.factor = s->factor;
    o.patience = s->patience;
    o.threshold = 0;
    return o;
}

/* The rate's share of --lr by the schedules that count epochs. */
static double rate_of_epoch(const LmTrainer *r) {
    const LmSettings *s = r->settings;
    int64_t t = r->place.epoch - (s->hold > 1 ? s->hold : 1);
    if (t < 0) t = 0;
    OptimSchedule by = s->schedule == LM_STEP ? optim_schedule_step(s->lr, s->every, s->factor)
                                              : optim_schedule_exponential(s->lr, s->factor);
    return optim_schedule_lr(&by, t);
}

/* The schedule of those that count updates. */
static OptimSchedule schedule_of_steps(const LmTrainer *r, int64_t total) {
    const LmSettings *s = r->settings;
    if (s->schedule == LM_COSINE) return optim_schedule_cosine(s->lr, total, 0);
    if (s->schedule == LM_LINEAR) return optim_schedule_linear(s->lr, 1, 0, total);
    OptimOneCycle cycle = OPTIM_ONE_CYCLE_DEFAULTS(s->lr, total);
    return optim_schedule_one_cycle(cycle);
}

static double rate_of_step(LmTrainer *r) {
    const LmSettings *s = r->settings;
    int64_t held = s->hold * r->windows, total = s->epochs * r->windows - held;
    int64_t done = (r->place.epoch - 1) * r->windows + r->place.position / s->steps - held;
    if (done < 0 || total < 1) return s->lr;
    if (done > total) done = total; /* windows shorter than T make more of them */
    OptimSchedule by = schedule_of_steps(r, total);
    bool has_momentum = s->optimizer == LM_ADAM || s->optimizer == LM_ADAMW || s->momentum > 0;
    if (s->schedule == LM_ONE_CYCLE && has_momentum)
        optim_set_momentum(r->optim, optim_schedule_momentum(&by, done));
    return optim_schedule_lr(&by, done);
}

void lm_trainer_set_rate(LmTrainer *r, int64_t T) {
    const LmSettings *s = r->settings;
    double lr = s->lr;
    switch ((LmSchedule)s->schedule) {
    case LM_CONSTANT: break;
    case LM_EXPONENTIAL:
    case LM_STEP: lr = rate_of_epoch(r); break;
    case LM_PLATEAU: lr = s->lr * r->place.plateau.lr; break;
    case LM_COSINE:
    case LM_LINEAR:
    case LM_ONE_CYCLE: lr = rate_of_step(r); break;
    }
    if (r->place.updates < s->warmup) lr *= (double)(r->place.updates + 1) / (double)s->warmup;
    if (s->random_steps) lr *= (double)T / (double)s->steps;
    optim_set_lr(r->optim, lr);
}

/* Merity and others: a normal number with mean T, or half of it in one of twenty windows, and
 * standard deviation 5; at least 5. */
int64_t lm_trainer_window(const LmTrainer *r) {
    const LmSettings *s = r->settings;
    if (!s->random_steps) return s->steps;
    TensorRngKey key = {(uint64_t)s->seed, (uint64_t)r->place.step, window_draw};
    double T = (double)s->steps, mean = tensor_rng_uniform(key, 0) < 0.95 ? T : T / 2;
    double length = floor(mean + 5 * tensor_rng_normal(key, 0));
    return length < 5 ? 5 : (int64_t)length;
}

/* ---- after an epoch ---- */

static bool remember(LmPlace *p, double valid, TensorError *error) {
    double *longer = realloc(p->valid, (size_t)(p->history + 1) * sizeof *longer);
    if (!longer) return tensor_error_set(error, "out of memory");
    longer[p->history++] = valid;
    p->valid = longer;
    return true;
}

/* The non-monotonic trigger: some epoch before the last n was better than this one. */
static bool should_average(const LmPlace *p, int64_t n, double valid) {
    for (int64_t i = 0; i < p->history - n; i++)
        if (p->valid[i] < valid) return true;
    return false;
}

bool lm_trainer_judge(LmTrainer *r, double valid, TensorError *error) {
    const LmSettings *s = r->settings;
    LmPlace *p = &r->place;
    if (isnan(valid)) return true;
    p->bad_epochs = valid < p->best ? 0 : p->bad_epochs + 1;
    if (valid < p->best) p->best = valid;
    if (s->schedule == LM_PLATEAU && p->epoch >= s->hold) {
        OptimPlateau plateau = lm_trainer_plateau(s);
        optim_plateau_step(&plateau, &p->plateau, log(valid));
    }
    if (s->optimizer == LM_ASGD && !p->averaging && should_average(p, s->nonmonotone, valid)) {
        optim_asgd_start_averaging(r->optim);
        p->averaging = true;
    }
    return remember(p, valid, error);
}

bool lm_trainer_done(const LmSettings *s, const LmPlace *place) {
    return place->epoch > s->epochs || (s->early_stop > 0 && place->bad_epochs >= s->early_stop);
}
