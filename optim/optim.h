/* optim.h -- optimisers: how gradients move parameters.
 *
 *     Optim *opt = optim_adam_new(set, (OptimAdam)OPTIM_ADAM_DEFAULTS);
 *     optim_group(opt, "*.bias", no_decay);
 *     for each step: ag_tape_reset, nn_zero_grad, forward, ag_backward,
 *                    optim_clip_grad_norm, optim_step(opt, NULL)
 *     optim_free(opt);
 *
 * Names and arithmetic are PyTorch 1.13's.  A step leaves out buffers and frozen parameters
 * (nn_freeze); their momenta wait.  A parameter's arithmetic is in its own dtype; scalars such
 * as lr / (1 - beta1^n) are computed in double and rounded once.
 *
 * A wrong option, or a pattern without a match, is an error that sticks to the optimiser:
 * optim_error tells it in one line, and optim_step then does nothing. */
#ifndef OPTIM_OPTIM_H
#define OPTIM_OPTIM_H
#include "nn/param.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Optim Optim;

/* ---- stochastic gradient descent ----
 * With p the parameter, g its gradient, and b its momentum:
 *
 *     d = g + weight_decay p
 *     b = d in the parameter's first step, else momentum b + (1 - dampening) d
 *     d = d + momentum b if nesterov, else b           (without momentum d stays)
 *     p = p - lr d
 *
 * B. Polyak, Some methods of speeding up the convergence of iteration methods, 1964; nesterov
 * as in I. Sutskever and others, On the importance of initialization and momentum in deep
 * learning, ICML 2013. */
typedef struct {
    double lr, momentum, dampening, weight_decay;
    bool nesterov;
    const char *only; /* NULL, or the pattern of the parameters that this optimiser moves */
} OptimSgd;
#define OPTIM_SGD_DEFAULTS(lr) {(lr), 0, 0, 0, false, NULL}

/* A new optimiser of the set's parameters, also of those made later; free it with optim_free,
 * before or after the set, but step only while the set lives.  NULL when out of memory.
 * Several optimisers may share a set if their patterns `only` have no parameter in common.
 * Fails (optim_error): the set has an error; lr, momentum or weight_decay is below 0 or not
 * finite, dampening not finite, nesterov without momentum or with dampening; `only` matches no
 * trained parameter. */
Optim *optim_sgd_new(NnParamSet *set, OptimSgd options);

/* ---- Adam ----
 * With m and v the running means of g and g^2, and n the number of steps the parameter took:
 *
 *     g = g + weight_decay p
 *     m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
 *     p = p - lr / (1 - beta1^n)  m / (sqrt(v) / sqrt(1 - beta2^n) + eps)
 *
 * D. Kingma and J. Ba, Adam: a method for stochastic optimization, ICLR 2015
 * (arXiv:1412.6980). */
typedef struct {
    double lr;
    double betas[2];
    double eps, weight_decay;
    const char *only; /* as in OptimSgd */
} OptimAdam;
/* Start from these: zeros are options like others here, not defaults. */
#define OPTIM_ADAM_DEFAULTS {1e-3, {0.9, 0.999}, 1e-8, 0, NULL}

/* As optim_sgd_new.
 * Fails (optim_error): the set has an error; lr, eps or weight_decay is below 0 or not finite;
 * a beta outside [0, 1); `only` matches no trained parameter. */
Optim *optim_adam_new(NnParamSet *set, OptimAdam options);

/* ---- all optimisers ---- */

void optim_free(Optim *opt); /* NULL is allowed */
bool optim_ok(const Optim *opt);
/* The first error, one line; "" if none; for NULL, "out of memory". */
const char *optim_error(const Optim *opt);

/* Parameters whose names match the pattern (as nn_freeze's) have these options instead; where
 * several patterns match, the last given holds.  `only` must be NULL here: a group chooses
 * among the optimiser's parameters.  What a parameter has accumulated stays.
 * In C and C++ optim_group(opt, pattern, options) is the one that suits options.
 * Fails (optim_error): options as above; another kind of optimiser; no parameter of the
 * optimiser matches; out of memory. */
void optim_sgd_group(Optim *opt, const char *pattern, OptimSgd options);
void optim_adam_group(Optim *opt, const char *pattern, OptimAdam options);

/* Moves every parameter of the optimiser by its gradient in grads (NULL: the set's own) and
 * changes its version.  Asks the system for memory only when the set has grown.
 * Fails (false, nothing moved; optim_error): an error before this; grads of another set, or made
 * before one of the parameters; out of memory. */
bool optim_step(Optim *opt, const NnGrads *grads);

/* The rate of the optimiser's own options.  Setting it scales the rates of all groups by the
 * same factor, to its value at optim_*_new (was that 0, groups keep theirs).
 * Fails (optim_error): lr is below 0 or not finite. */
void optim_set_lr(Optim *opt, double lr);
double optim_lr(const Optim *opt); /* NaN for NULL */

#ifdef __cplusplus
}
static inline void optim_group(Optim *opt, const char *pattern, OptimSgd options) {
    optim_sgd_group(opt, pattern, options);
}
static inline void optim_group(Optim *opt, const char *pattern, OptimAdam options) {
    optim_adam_group(opt, pattern, options);
}
#else
/* Variadic, so that a compound literal may stand there with its commas. */
#define optim_group(opt, pattern, ...) \
    _Generic((__VA_ARGS__), OptimSgd: optim_sgd_group, OptimAdam: optim_adam_group)( \
        opt, pattern, __VA_ARGS__)
#endif
#endif
