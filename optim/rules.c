/* rules.c -- the optimisers of optim.h: the ranges of their options, the slots they keep for a
 * parameter, the scalars of a step (the loop is in kernels.inc), and their public functions. */
#include "optim/rule.h"

#include <math.h>
#include <stddef.h>

/* ---- what they share ---- */

static const char *outside(OptimRange range, double x) {
    switch (range) {
    case OPTIM_AT_LEAST_0: return x >= 0 && isfinite(x) ? NULL : "is not 0 or more";
    case OPTIM_BELOW_1: return x >= 0 && x < 1 ? NULL : "is not in [0, 1)";
    case OPTIM_UP_TO_1: return x >= 0 && x <= 1 ? NULL : "is not in [0, 1]";
    case OPTIM_FINITE: return isfinite(x) ? NULL : "is not finite";
    case OPTIM_NOT_NAN: return isnan(x) ? "is not a number" : NULL;
    }
    return "has no range";
}

bool optim_rule_check(const OptimRule *rule, const OptimOptions *o, TensorError *error) {
    for (int i = 0; i < OPTIM_FIELDS && rule->field[i].name; i++) {
        const OptimField *f = &rule->field[i];
        double x = optim_number_at(o, f->at);
        const char *why = outside(f->range, x);
        if (why) return tensor_error_set(error, "%s: %s %g %s", rule->name, f->name, x, why);
    }
    const char *why = rule->wrong ? rule->wrong(o) : NULL;
    return !why || tensor_error_set(error, "%s: %s", rule->name, why);
}

static OptimDirection direction(const OptimMove *m, double weight_decay, bool maximize) {
    return (OptimDirection){weight_decay, maximize ? -m->factor : m->factor};
}
#define DIRECTION(m, o) direction(m, (o)->weight_decay, (o)->maximize)

/* As the parameter's dtype has it. */
static double rounded(const OptimMove *m, double x) {
    return m->operands.dtype == TENSOR_F32 ? (double)(float)x : x;
}

/* The rule's size and the place of `only`, and its public functions. */
#define OPTIONS(Options) .size = sizeof(Options), .only = offsetof(Options, only)
#define FIELD(Options, name, range) {#name, offsetof(Options, name), OPTIM_##range}
#define FUNCTIONS(rule, Options)                                                  \
    _Static_assert(offsetof(Options, lr) == 0, "lr comes first");                 \
    Optim *optim_##rule##_new(NnParamSet *set, Options options) {                 \
        return optim_rule_new(&rule, set, &options);                              \
    }                                                                             \
    void optim_##rule##_group(Optim *opt, const char *pattern, Options options) { \
        optim_rule_group(opt, &rule, pattern, &options);                          \
    }

/* ---- sgd: slot b ---- */

static const char *sgd_wrong(const OptimOptions *o) {
    bool bad = o->sgd.nesterov && (o->sgd.momentum == 0 || o->sgd.dampening != 0);
    return bad ? "nesterov wants a momentum and no dampening" : NULL;
}

static unsigned sgd_slots(const OptimOptions *o) { return o->sgd.momentum != 0; }

static void sgd_step(const OptimMove *m) {
    const OptimSgd *o = &m->options->sgd;
    OptimSgdScalars s = {.direction = DIRECTION(m, o),
                         .lr = m->lr,
                         .momentum = o->momentum,
                         .one_less_dampening = 1 - o->dampening,
                         .nesterov = o->nesterov,
                         .first = m->n == 1};
    optim_kernel_sgd(&m->operands, &s);
}

/* Maximize turns -0 into +0: -0 - lr (-0). */
static bool sgd_rests(const OptimMove *m) {
    const OptimSgd *o = &m->options->sgd;
    return o->momentum == 0 && o->weight_decay == 0 && !o->maximize && isfinite(rounded(m, m->lr));
}

static const OptimRule sgd = {
    .name = "sgd",
    OPTIONS(OptimSgd),
    .field = {FIELD(OptimSgd, lr, AT_LEAST_0), FIELD(OptimSgd, momentum, AT_LEAST_0),
              FIELD(OptimSgd, weight_decay, AT_LEAST_0), FIELD(OptimSgd, dampening, FINITE)},
    .momentum = offsetof(OptimSgd, momentum),
    .slot_name = {"momentum_buffer"},
    .wrong = sgd_wrong,
    .slots = sgd_slots,
    .rests = sgd_rests,
    .step = sgd_step,
};
FUNCTIONS(sgd, OptimSgd)

/* ---- adam and adamw: slots m, v, u ---- */

_Static_assert(sizeof(OptimAdam) == sizeof(OptimAdamW), "one layout: adam_* read both");

static unsigned adam_slots(const OptimOptions *o) { return o->adam.amsgrad ? 7 : 3; }

/* weight_decay is the decay that is in the direction; shrink the one that is not. */
static void adam_move(const OptimMove *m, double weight_decay, double shrink) {
    const OptimAdam *o = &m->options->adam;
    double n = (double)m->n;
    OptimAdamScalars s = {.direction = direction(m, weight_decay, o->maximize),
                          .shrink = shrink,
                          .step_size = m->lr / (1 - pow(o->betas[0], n)),
                          .beta1 = o->betas[0],
                          .beta2 = o->betas[1],
                          .eps = o->eps,
                          .correction = sqrt(1 - pow(o->betas[1], n)),
                          .amsgrad = o->amsgrad};
    optim_kernel_adam(&m->operands, &s);
}

static void adam_step(const OptimMove *m) { adam_move(m, m->options->adam.weight_decay, 1); }

static void adamw_step(const OptimMove *m) {
    adam_move(m, 0, 1 - m->lr * m->options->adamw.weight_decay);
}

#define ADAM_OPTIONS(Options)                                        \
    OPTIONS(Options),                                                \
    .field = {FIELD(Options, lr, AT_LEAST_0),                        \
              {"beta1", offsetof(Options, betas[0]), OPTIM_BELOW_1}, \
              {"beta2", offsetof(Options, betas[1]), OPTIM_BELOW_1}, \
              FIELD(Options, eps, AT_LEAST_0),                       \
              FIELD(Options, weight_decay, AT_LEAST_0)},             \
    .momentum = offsetof(Options, betas[0]),                         \
    .slot_name = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}, .slots = adam_slots

static const OptimRule adam = {.name = "adam", ADAM_OPTIONS(OptimAdam), .step = adam_step};
FUNCTIONS(adam, OptimAdam)

static const OptimRule adamw = {.name = "adamw", ADAM_OPTIONS(OptimAdamW), .step = adamw_step};
FUNCTIONS(adamw, OptimAdamW)

/* ---- rmsprop: slots v, m, b ---- */

static unsigned rmsprop_slots(const OptimOptions *o) {
    return 1u | (o->rmsprop.centered ? 2u : 0) | (o->rmsprop.momentum != 0 ? 4u : 0);
}

static void rmsprop_step(const OptimMove *m) {
    const OptimRmsprop *o = &m->options->rmsprop;
    OptimRmspropScalars s = {.direction = DIRECTION(m, o),
                             .lr = m->lr,
                             .alpha = o->alpha,
                             .eps = o->eps,
                             .momentum = o->momentum,
                             .centered = o->centered};
    optim_kernel_rmsprop(&m->operands, &s);
}

static const OptimRule rmsprop = {
    .name = "rmsprop",
    OPTIONS(OptimRmsprop),
    .field = {FIELD(OptimRmsprop, lr, AT_LEAST_0), FIELD(OptimRmsprop, alpha, UP_TO_1),
              FIELD(OptimRmsprop, eps, AT_LEAST_0), FIELD(OptimRmsprop, momentum, AT_LEAST_0),
              FIELD(OptimRmsprop, weight_decay, AT_LEAST_0)},
    .momentum = offsetof(OptimRmsprop, momentum),
    .slot_name = {"square_avg", "grad_avg", "momentum_buffer"},
    .slots = rmsprop_slots,
    .step = rmsprop_step,
};
FUNCTIONS(rmsprop, OptimRmsprop)

/* ---- adagrad: slot v ---- */

static unsigned first_slot(const OptimOptions *o) {
    (void)o;
    return 1;
}

static double adagrad_step_size(const OptimMove *m) {
    return m->lr / (1 + (double)(m->n - 1) * m->options->adagrad.lr_decay);
}

static void adagrad_step(const OptimMove *m) {
    const OptimAdagrad *o = &m->options->adagrad;
    OptimAdagradScalars s = {
        .direction = DIRECTION(m, o), .step_size = adagrad_step_size(m), .eps = o->eps};
    optim_kernel_adagrad(&m->operands, &s);
}

/* Without eps the step is 0 / 0 where v is 0. */
static bool adagrad_rests(const OptimMove *m) {
    const OptimAdagrad *o = &m->options->adagrad;
    return o->weight_decay == 0 && !o->maximize && rounded(m, o->eps) > 0 &&
           isfinite(rounded(m, adagrad_step_size(m)));
}

static const OptimRule adagrad = {
    .name = "adagrad",
    OPTIONS(OptimAdagrad),
    .field = {FIELD(OptimAdagrad, lr, AT_LEAST_0), FIELD(OptimAdagrad, lr_decay, AT_LEAST_0),
              FIELD(OptimAdagrad, initial_accumulator_value, AT_LEAST_0),
              FIELD(OptimAdagrad, eps, AT_LEAST_0), FIELD(OptimAdagrad, weight_decay, AT_LEAST_0)},
    .slot_name = {"sum"},
    .slot_value = offsetof(OptimAdagrad, initial_accumulator_value),
    .slots = first_slot,
    .rests = adagrad_rests,
    .step = adagrad_step,
};
FUNCTIONS(adagrad, OptimAdagrad)

/* ---- adadelta: slots v, u ---- */

static unsigned adadelta_slots(const OptimOptions *o) {
    (void)o;
    return 3;
}

static void adadelta_step(const OptimMove *m) {
    const OptimAdadelta *o = &m->options->adadelta;
    OptimAdadeltaScalars s = {
        .direction = DIRECTION(m, o), .lr = m->lr, .rho = o->rho, .eps = o->eps};
    optim_kernel_adadelta(&m->operands, &s);
}

static const OptimRule adadelta = {
    .name = "adadelta",
    OPTIONS(OptimAdadelta),
    .field = {FIELD(OptimAdadelta, lr, AT_LEAST_0), FIELD(OptimAdadelta, rho, UP_TO_1),
              FIELD(OptimAdadelta, eps, AT_LEAST_0),
              FIELD(OptimAdadelta, weight_decay, AT_LEAST_0)},
    .slot_name = {"square_avg", "acc_delta"},
    .slots = adadelta_slots,
    .step = adadelta_step,
};
FUNCTIONS(adadelta, OptimAdadelta)

/* ---- asgd: slot a ---- */

static void asgd_step(const OptimMove *m) {
    const OptimAsgd *o = &m->options->asgd;
    double before = (double)(m->n - 1), t0 = m->t0 < 0 ? o->t0 : (double)m->t0;
    double eta = m->lr / pow(1 + o->lambd * m->lr * before, o->alpha);
    double averaged = m->n == 1 ? 1 : before - t0;
    OptimAsgdScalars s = {.direction = DIRECTION(m, o),
                          .shrink = 1 - o->lambd * eta,
                          .step_size = eta,
                          .mu = averaged > 1 ? 1 / averaged : 1};
    optim_kernel_asgd(&m->operands, &s);
}

static const OptimRule asgd = {
    .name = "asgd",
    OPTIONS(OptimAsgd),
    .field = {FIELD(OptimAsgd, lr, AT_LEAST_0), FIELD(OptimAsgd, lambd, AT_LEAST_0),
              FIELD(OptimAsgd, alpha, FINITE), FIELD(OptimAsgd, t0, NOT_NAN),
              FIELD(OptimAsgd, weight_decay, AT_LEAST_0)},
    .slot_name = {"ax"},
    .averages = true,
    .slots = first_slot,
    .step = asgd_step,
};
FUNCTIONS(asgd, OptimAsgd)
