/* optim.h -- optimisers: how gradients move parameters.
 *
 *     Optim *opt = optim_adam_new(set, (OptimAdam)OPTIM_ADAM_DEFAULTS);
 *     optim_group(opt, "*.bias", no_decay);
 *     for each step: ag_tape_reset, nn_zero_grad, forward, ag_backward,
 *                    optim_step_clipped(opt, NULL, 1, NULL)
 *     optim_free(opt);
 *
 * Names, defaults and arithmetic are PyTorch 1.13's.  A step leaves out buffers and frozen
 * parameters (nn_freeze); what they have accumulated waits.  A parameter's arithmetic is in its
 * own dtype; scalars such as lr / (1 - beta1^n) are computed in double and rounded once.
 *
 * In the formulas p is a parameter of any shape, g its gradient, and every other letter that is
 * not an option a tensor of that shape, zero before the first step; all products, quotients
 * and roots are elementwise.  n = 1, 2, .. is the number of the parameter's step.  Every rule
 * begins with the direction
 *
 *     d = g + weight_decay p          (-g + weight_decay p if maximize)
 *
 * Every field of the options means what it says, zero too: start from the OPTIM_.._DEFAULTS.
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

/* ---- making one ----
 * optim_KIND_new is a new optimiser of the set's parameters, also of those made later; free it
 * with optim_free, before or after the set, but step only while the set lives.  NULL when out
 * of memory.  Several optimisers may share a set if their patterns `only` have no parameter in
 * common.
 * Fails (optim_error), whatever the kind: the set has an error; lr, weight_decay or another
 * option without a range of its own is below 0 or not finite; `only` matches no trained
 * parameter; out of memory.
 *
 * All kinds have
 *     lr            the rate of the step
 *     weight_decay  what pulls p towards 0, as above
 *     maximize      climb instead of descending
 *     only          NULL, or the pattern of the parameters that this optimiser moves */

/* ---- stochastic gradient descent ----
 * With the momentum b:
 *
 *     b = d in the first step with momentum, then momentum b + (1 - dampening) d
 *     d = d + momentum b if nesterov, else b           (without momentum d stays)
 *     p = p - lr d
 *
 * B. Polyak, Some methods of speeding up the convergence of iteration methods, 1964; nesterov
 * as in I. Sutskever and others, On the importance of initialization and momentum in deep
 * learning, ICML 2013. */
typedef struct {
    double lr, momentum, dampening, weight_decay;
    bool nesterov, maximize;
    const char *only;
} OptimSgd;
#define OPTIM_SGD_DEFAULTS(lr) {(lr), 0, 0, 0, false, false, NULL}

/* Fails also: dampening is not finite (it may be below 0); nesterov without momentum or with
 * dampening. */
Optim *optim_sgd_new(NnParamSet *set, OptimSgd options);

/* ---- Adam ----
 * With m and v the running means of d and d^2:
 *
 *     m = beta1 m + (1 - beta1) d,   v = beta2 v + (1 - beta2) d^2
 *     u = max(u, v) if amsgrad, else v
 *     p = p - lr / (1 - beta1^n)  m / (sqrt(u) / sqrt(1 - beta2^n) + eps)
 *
 * D. Kingma and J. Ba, Adam: a method for stochastic optimization, ICLR 2015
 * (arXiv:1412.6980); amsgrad: S. Reddi, S. Kale and S. Kumar, On the convergence of Adam and
 * beyond, ICLR 2018 (arXiv:1904.09237). */
typedef struct {
    double lr;
    double betas[2];
    double eps, weight_decay;
    bool amsgrad, maximize;
    const char *only;
} OptimAdam;
#define OPTIM_ADAM_DEFAULTS {1e-3, {0.9, 0.999}, 1e-8, 0, false, false, NULL}

/* Fails also: a beta is outside [0, 1). */
Optim *optim_adam_new(NnParamSet *set, OptimAdam options);

/* ---- AdamW ----
 * Adam with the decay apart from the running means: d is g alone (-g if maximize), and each
 * step begins with
 *
 *     p = p (1 - lr weight_decay)
 *
 * I. Loshchilov and F. Hutter, Decoupled weight decay regularization, ICLR 2019
 * (arXiv:1711.05101). */
typedef struct {
    double lr;
    double betas[2];
    double eps, weight_decay;
    bool amsgrad, maximize;
    const char *only;
} OptimAdamW;
#define OPTIM_ADAMW_DEFAULTS {1e-3, {0.9, 0.999}, 1e-8, 1e-2, false, false, NULL}

/* Fails also: a beta is outside [0, 1). */
Optim *optim_adamw_new(NnParamSet *set, OptimAdamW options);

/* ---- RMSprop ----
 * With v and m the running means of d^2 and d, and the momentum b:
 *
 *     v = alpha v + (1 - alpha) d^2
 *     m = alpha m + (1 - alpha) d,   w = v - m^2       if centered, else w = v
 *     d = d / (sqrt(w) + eps)
 *     b = momentum b + d,   p = p - lr b               (without momentum p = p - lr d)
 *
 * A w that rounding made negative counts as 0.
 * T. Tieleman and G. Hinton, Lecture 6.5 of Neural networks for machine learning, 2012;
 * centered: A. Graves, Generating sequences with recurrent neural networks, 2013
 * (arXiv:1308.0850). */
typedef struct {
    double lr, alpha, eps, momentum, weight_decay;
    bool centered, maximize;
    const char *only;
} OptimRmsprop;
#define OPTIM_RMSPROP_DEFAULTS {1e-2, 0.99, 1e-8, 0, 0, false, false, NULL}

/* Fails also: alpha is outside [0, 1]. */
Optim *optim_rmsprop_new(NnParamSet *set, OptimRmsprop options);

/* ---- Adagrad ----
 * With v the sum of d^2, initial_accumulator_value before the first step:
 *
 *     v = v + d^2
 *     p = p - lr / (1 + (n - 1) lr_decay)  d / (sqrt(v) + eps)
 *
 * J. Duchi, E. Hazan and Y. Singer, Adaptive subgradient methods for online learning and
 * stochastic optimization, JMLR 12, 2011. */
typedef struct {
    double lr, lr_decay, initial_accumulator_value, eps, weight_decay;
    bool maximize;
    const char *only;
} OptimAdagrad;
#define OPTIM_ADAGRAD_DEFAULTS {1e-2, 0, 0, 1e-10, 0, false, NULL}

Optim *optim_adagrad_new(NnParamSet *set, OptimAdagrad options);

/* ---- Adadelta ----
 * With v and u the running means of d^2 and of the squared steps s^2:
 *
 *     v = rho v + (1 - rho) d^2
 *     s = d sqrt(u + eps) / sqrt(v + eps)
 *     u = rho u + (1 - rho) s^2
 *     p = p - lr s
 *
 * M. Zeiler, ADADELTA: an adaptive learning rate method, 2012 (arXiv:1212.5701). */
typedef struct {
    double lr, rho, eps, weight_decay;
    bool maximize;
    const char *only;
} OptimAdadelta;
#define OPTIM_ADADELTA_DEFAULTS {1, 0.9, 1e-6, 0, false, NULL}

/* Fails also: rho is outside [0, 1]. */
Optim *optim_adadelta_new(NnParamSet *set, OptimAdadelta options);

/* ---- averaged stochastic gradient descent ----
 * The rate falls slowly, and a is the mean of the p that come after about t0 steps (before
 * them it is p):
 *
 *     eta = lr / (1 + lambd lr (n - 1))^alpha
 *     p = (1 - lambd eta) p - eta d
 *     mu = 1 / max(1, n - 1 - t0)                      (1 in the first step)
 *     a = a + mu (p - a)
 *
 * To evaluate with the averages, swap them in (optim_swap_average).
 * B. Polyak and A. Juditsky, Acceleration of stochastic approximation by averaging, SIAM
 * Journal on Control and Optimization 30, 1992. */
typedef struct {
    double lr, lambd, alpha;
    double t0; /* INFINITY: not before optim_asgd_start_averaging */
    double weight_decay;
    bool maximize;
    const char *only;
} OptimAsgd;
#define OPTIM_ASGD_DEFAULTS {1e-2, 1e-4, 0.75, 1e6, 0, false, NULL}

/* Fails also: alpha is not finite (it may be below 0), t0 not a number. */
Optim *optim_asgd_new(NnParamSet *set, OptimAsgd options);

/* Averages from here on: t0 is the number of steps taken so far (each parameter's own; 0 for
 * one that is made later).  Called when the validation loss stops falling, this is the
 * non-monotonic trigger (NT-ASGD) of S. Merity, N. Keskar and R. Socher, Regularizing and
 * optimizing LSTM language models, ICLR 2018 (arXiv:1708.02182).
 * Fails (optim_error): another kind of optimiser. */
void optim_asgd_start_averaging(Optim *opt);

/* The average of the parameter, in memory of the optimiser's or, before the first step and
 * while swapped in, of the parameter's.
 * Fails (the nil tensor): another kind, or a parameter that is not the optimiser's. */
Tensor optim_average(const Optim *opt, const NnParam *p);

/* Exchanges every parameter that was moved with its average; called a second time, it brings
 * the parameters back.  In between evaluate or save, but do not step.
 * Fails (false; optim_error): an error before this; another kind of optimiser. */
bool optim_swap_average(Optim *opt);

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
void optim_adamw_group(Optim *opt, const char *pattern, OptimAdamW options);
void optim_rmsprop_group(Optim *opt, const char *pattern, OptimRmsprop options);
void optim_adagrad_group(Optim *opt, const char *pattern, OptimAdagrad options);
void optim_adadelta_group(Optim *opt, const char *pattern, OptimAdadelta options);
void optim_asgd_group(Optim *opt, const char *pattern, OptimAsgd options);

/* Moves every parameter of the optimiser by its gradient in grads (NULL: the set's own) and
 * changes its version.  Asks the system for memory only when the set has grown.  Threads share the
 * work; the result has the same bits for any number of them.  Of a parameter by_rows
 * (nn_param_by_rows: embeddings) sgd without momentum, and adagrad with an eps, both without
 * weight_decay and maximize, visit only the rows that its gradient uses: the others stay anyway.
 * Fails (false, nothing moved; optim_error): an error before this; grads of another set, or made
 * before one of the parameters; averages are swapped in; out of memory. */
bool optim_step(Optim *opt, const NnGrads *grads);

/* optim_clip_grad_norm(grads, max_norm) and optim_step(opt, grads), to the bit, in one pass over
 * parameters and gradients: with n the Euclidean norm of all the set's gradients that are not
 * frozen (also of parameters that another optimiser moves), every g counts as
 *
 *     g min(1, max_norm / (n + 1e-6))
 *
 * The gradients in memory stay as they were; a max_norm of INFINITY only measures.  *norm, unless
 * norm is NULL, becomes n.
 * Fails (false, nothing moved): n is not finite, which is no error of the optimiser (optim_ok
 * stays true), so that a trainer can leave out this step and go on; max_norm is below 0 or NaN,
 * and as optim_step does (optim_error; *norm is NaN).
 * R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks,
 * ICML 2013. */
bool optim_step_clipped(Optim *opt, const NnGrads *grads, double max_norm, double *norm);

/* The rate of the optimiser's own options; schedule.h chooses it by the step.  Setting it scales
 * the rates of all groups by the same factor, to its value at optim_*_new (was that 0, groups
 * keep theirs).
 * Fails (optim_error): lr is below 0 or not finite. */
void optim_set_lr(Optim *opt, double lr);
double optim_lr(const Optim *opt); /* NaN for NULL */
/* Sets momentum (of sgd, rmsprop) or beta1 (of adam, adamw) in the optimiser's own options and
 * those of every group; a one-cycle schedule changes it with the rate.
 * Fails (optim_error): a momentum that the kind does not allow, or that has none. */
void optim_set_momentum(Optim *opt, double momentum);

#ifdef __cplusplus
}
static inline void optim_group(Optim *opt, const char *pattern, OptimSgd options) {
    optim_sgd_group(opt, pattern, options);
}
static inline void optim_group(Optim *opt, const char *pattern, OptimAdam options) {
    optim_adam_group(opt, pattern, options);
}
static inline void optim_group(Optim *opt, const char *pattern, OptimAdamW options) {
    optim_adamw_group(opt, pattern, options);
}
static inline void optim_group(Optim *opt, const char *pattern, OptimRmsprop options) {
    optim_rmsprop_group(opt, pattern, options);
}
static inline void optim_group(Optim *opt, const char *pattern, OptimAdagrad options) {
    optim_adagrad_group(opt, pattern, options);
}
static inline void optim_group(Optim *opt, const char *pattern, OptimAdadelta options) {
    optim_adadelta_group(opt, pattern, options);
}
static inline void optim_group(Optim *opt, const char *pattern, OptimAsgd options) {
    optim_asgd_group(opt, pattern, options);
}
#else
/* Variadic, so that a compound literal may stand there with its commas. */
#define optim_group(opt, pattern, ...)       \
    _Generic((__VA_ARGS__),                  \
        OptimSgd: optim_sgd_group,           \
        OptimAdam: optim_adam_group,         \
        OptimAdamW: optim_adamw_group,       \
        OptimRmsprop: optim_rmsprop_group,   \
        OptimAdagrad: optim_adagrad_group,   \
        OptimAdadelta: optim_adadelta_group, \
        OptimAsgd: optim_asgd_group)(opt, pattern, __VA_ARGS__)
#endif
#endif
