/* Each optimiser against its published equations in plain loops, and its options. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "optim/optim.h"
#include "tensor/kernels.h"
#include "tests/support/allocations.h"

enum { N = 37, STEPS = 7 }; /* an odd size: loops have ends */

static double gradient(int step, int i) { return sin(1.3 * step + .7 * i + .1); }

/* ---- the equations: step n = 1, 2, .. of element i with gradient g ---- */

typedef struct {
    double p, a, b, c; /* the parameter; what is kept for it */
} Element;
typedef void Equations(const void *options, int n, double g, Element *e);

static double signed_gradient(double g, bool maximize) { return maximize ? -g : g; }

static void sgd(const void *options, int n, double g, Element *e) {
    const OptimSgd *o = options;
    double d = signed_gradient(g, o->maximize) + o->weight_decay * e->p;
    if (o->momentum != 0) {
        e->a = n == 1 ? d : o->momentum * e->a + (1 - o->dampening) * d;
        d = o->nesterov ? d + o->momentum * e->a : e->a;
    }
    e->p -= o->lr * d;
}

static void adam_direction(const OptimAdam *o, int n, double d, Element *e) {
    e->a = o->betas[0] * e->a + (1 - o->betas[0]) * d;
    e->b = o->betas[1] * e->b + (1 - o->betas[1]) * d * d;
    e->c = fmax(e->c, e->b);
    double m_hat = e->a / (1 - pow(o->betas[0], n));
    double v_hat = (o->amsgrad ? e->c : e->b) / (1 - pow(o->betas[1], n));
    e->p -= o->lr * m_hat / (sqrt(v_hat) + o->eps);
}

static void adam(const void *options, int n, double g, Element *e) {
    const OptimAdam *o = options;
    adam_direction(o, n, signed_gradient(g, o->maximize) + o->weight_decay * e->p, e);
}

static void adamw(const void *options, int n, double g, Element *e) {
    const OptimAdamW *o = options;
    OptimAdam plain = {.lr = o->lr, .betas = {o->betas[0], o->betas[1]}, .eps = o->eps,
                       .amsgrad = o->amsgrad};
    e->p -= o->lr * o->weight_decay * e->p;
    adam_direction(&plain, n, signed_gradient(g, o->maximize), e);
}

static void rmsprop(const void *options, int n, double g, Element *e) {
    const OptimRmsprop *o = options;
    (void)n;
    double d = signed_gradient(g, o->maximize) + o->weight_decay * e->p;
    e->a = o->alpha * e->a + (1 - o->alpha) * d * d;
    e->b = o->alpha * e->b + (1 - o->alpha) * d;
    double variance = o->centered ? e->a - e->b * e->b : e->a;
    e->c = o->momentum * e->c + d / (sqrt(variance) + o->eps);
    e->p -= o->lr * e->c;
}

static void adagrad(const void *options, int n, double g, Element *e) {
    const OptimAdagrad *o = options;
    double d = signed_gradient(g, o->maximize) + o->weight_decay * e->p;
    if (n == 1) e->a = o->initial_accumulator_value;
    e->a += d * d;
    e->p -= o->lr / (1 + (n - 1) * o->lr_decay) * d / (sqrt(e->a) + o->eps);
}

static void adadelta(const void *options, int n, double g, Element *e) {
    const OptimAdadelta *o = options;
    (void)n;
    double d = signed_gradient(g, o->maximize) + o->weight_decay * e->p;
    e->a = o->rho * e->a + (1 - o->rho) * d * d;
    double s = sqrt(e->b + o->eps) / sqrt(e->a + o->eps) * d;
    e->b = o->rho * e->b + (1 - o->rho) * s * s;
    e->p -= o->lr * s;
}

static void asgd(const void *options, int n, double g, Element *e) {
    const OptimAsgd *o = options;
    double d = signed_gradient(g, o->maximize) + o->weight_decay * e->p;
    double eta = o->lr / pow(1 + o->lambd * o->lr * (n - 1), o->alpha);
    double mu = n == 1 ? 1 : 1 / fmax(1, n - 1 - o->t0);
    e->p = e->p - o->lambd * eta * e->p - eta * d;
    e->a = (1 - mu) * e->a + mu * e->p;
}

/* ---- following them ---- */

static NnParam *add(NnParamSet *set, const char *name) {
    return nn_param(set, nn_init_normal(0, 1), 1, (const int64_t[]){N}, "%s", name);
}

static void start(const NnParam *p, Element e[N]) {
    for (int i = 0; i < N; i++) e[i] = (Element){.p = tensor_get(&p->value, i)};
}

static void expect_parameter(const NnParam *p, const Element e[N], double tolerance) {
    for (int i = 0; i < N; i++)
        cr_assert_float_eq(tensor_get(&p->value, i), e[i].p, tolerance, "%s[%d]: %.17g, not %.17g",
                           p->name, i, tensor_get(&p->value, i), e[i].p);
}

static void expect_average(const Optim *opt, const NnParam *p, const Element e[N],
                           double tolerance) {
    Tensor a = optim_average(opt, p);
    for (int i = 0; i < N; i++) cr_assert_float_eq(tensor_get(&a, i), e[i].a, tolerance);
}

/* A step of the optimiser, and of the equations; n counts those of the parameter. */
static void both_step(Optim *opt, NnParam *p, Equations *equations, const void *options, int n,
                      Element e[N]) {
    for (int i = 0; i < N; i++) {
        double g = gradient(n, i);
        tensor_set(&p->grad, i, g);
        equations(options, n, g, &e[i]);
    }
    cr_assert(optim_step(opt, NULL), "%s", optim_error(opt));
}

/* Runs all cases, an array of the kind's options, in both dtypes. */
static void follow(Optim *(*make)(NnParamSet *, const void *), Equations *equations,
                   const void *cases, size_t size, size_t n_cases) {
    for (size_t c = 0; c < n_cases; c++)
        for (int f32 = 0; f32 < 2; f32++) {
            const void *options = (const char *)cases + c * size;
            NnParamSet *set = nn_params_new(f32 ? TENSOR_F32 : TENSOR_F64, 1);
            NnParam *p = add(set, "w");
            Element e[N];
            start(p, e);
            Optim *opt = make(set, options);
            long before = allocations();
            cr_assert_gt(before, 0, "the counter counts nothing");
            for (int n = 1; n <= STEPS; n++) {
                both_step(opt, p, equations, options, n, e);
                expect_parameter(p, e, f32 ? 3e-6 : 1e-13);
                cr_assert_eq(p->version, (uint64_t)n);
            }
            cr_expect_eq(allocations(), before, "steps allocate");
            optim_free(opt);
            nn_params_free(set);
        }
}

#define FOLLOW(kind, Options, ...)                                                    \
    static Optim *new_##kind(NnParamSet *set, const void *o) {                        \
        return optim_##kind##_new(set, *(const Options *)o);                          \
    }                                                                                 \
    Test(rules, kind##_follows_its_equations) {                                       \
        const Options cases[] = {__VA_ARGS__};                                        \
        follow(new_##kind, kind, cases, sizeof *cases, sizeof cases / sizeof *cases); \
    }

FOLLOW(sgd, OptimSgd, OPTIM_SGD_DEFAULTS(.1), {.lr = .1, .weight_decay = .02},
       {.lr = .1, .momentum = .9}, {.lr = .1, .momentum = .9, .dampening = .3},
       {.lr = .1, .momentum = .9, .weight_decay = .02, .nesterov = true},
       {.lr = .1, .weight_decay = .02, .maximize = true})

FOLLOW(adam, OptimAdam, OPTIM_ADAM_DEFAULTS,
       {.lr = .01, .betas = {.8, .95}, .eps = 1e-6, .weight_decay = .1},
       {.lr = .01, .betas = {0, 0}, .eps = 1e-3},
       {.lr = .01, .betas = {.8, .5}, .eps = 1e-6, .amsgrad = true},
       {.lr = .01, .betas = {.8, .5}, .eps = 1e-6, .weight_decay = .1, .maximize = true})

FOLLOW(adamw, OptimAdamW, OPTIM_ADAMW_DEFAULTS,
       {.lr = .01, .betas = {.8, .95}, .eps = 1e-6, .weight_decay = .3},
       {.lr = .01, .betas = {.8, .5}, .eps = 1e-6, .weight_decay = .3, .amsgrad = true},
       {.lr = .01, .betas = {.8, .5}, .eps = 1e-6, .weight_decay = .3, .maximize = true})

FOLLOW(rmsprop, OptimRmsprop, OPTIM_RMSPROP_DEFAULTS,
       {.lr = .01, .alpha = .9, .eps = 1e-3, .weight_decay = .1},
       {.lr = .01, .alpha = .9, .eps = 1e-3, .momentum = .5},
       {.lr = .01, .alpha = .9, .eps = 1e-3, .centered = true},
       {.lr = .01, .alpha = .9, .eps = 1e-3, .momentum = .5, .weight_decay = .1, .centered = true,
        .maximize = true})

FOLLOW(adagrad, OptimAdagrad, OPTIM_ADAGRAD_DEFAULTS,
       {.lr = .1, .lr_decay = .2, .eps = 1e-6},
       {.lr = .1, .initial_accumulator_value = .5, .eps = 1e-6},
       {.lr = .1, .lr_decay = .2, .eps = 1e-6, .weight_decay = .1, .maximize = true})

FOLLOW(adadelta, OptimAdadelta, OPTIM_ADADELTA_DEFAULTS,
       {.lr = .5, .rho = .5, .eps = 1e-3, .weight_decay = .1},
       {.lr = .5, .rho = .5, .eps = 1e-3, .maximize = true})

FOLLOW(asgd, OptimAsgd, OPTIM_ASGD_DEFAULTS,
       {.lr = .1, .lambd = .5, .alpha = .75, .t0 = 1e6},
       {.lr = .1, .lambd = .5, .alpha = -.75, .t0 = 2, .weight_decay = .1},
       {.lr = .1, .alpha = .75, .t0 = INFINITY, .maximize = true})

Test(rules, the_default_options_are_pytorchs) {
    OptimSgd s = OPTIM_SGD_DEFAULTS(.5);
    cr_expect(s.lr == .5 && s.momentum == 0 && s.dampening == 0 && s.weight_decay == 0);
    cr_expect(!s.nesterov && !s.maximize && !s.only);
    OptimAdam a = OPTIM_ADAM_DEFAULTS;
    cr_expect(a.lr == 1e-3 && a.betas[0] == .9 && a.betas[1] == .999 && a.eps == 1e-8);
    cr_expect(a.weight_decay == 0 && !a.amsgrad && !a.maximize && !a.only);
    OptimAdamW w = OPTIM_ADAMW_DEFAULTS;
    cr_expect(w.lr == 1e-3 && w.betas[0] == .9 && w.betas[1] == .999 && w.eps == 1e-8);
    cr_expect(w.weight_decay == 1e-2 && !w.amsgrad && !w.maximize && !w.only);
    OptimRmsprop r = OPTIM_RMSPROP_DEFAULTS;
    cr_expect(r.lr == 1e-2 && r.alpha == .99 && r.eps == 1e-8 && r.momentum == 0);
    cr_expect(r.weight_decay == 0 && !r.centered && !r.maximize && !r.only);
    OptimAdagrad g = OPTIM_ADAGRAD_DEFAULTS;
    cr_expect(g.lr == 1e-2 && g.lr_decay == 0 && g.initial_accumulator_value == 0);
    cr_expect(g.eps == 1e-10 && g.weight_decay == 0 && !g.maximize && !g.only);
    OptimAdadelta d = OPTIM_ADADELTA_DEFAULTS;
    cr_expect(d.lr == 1 && d.rho == .9 && d.eps == 1e-6 && d.weight_decay == 0);
    cr_expect(!d.maximize && !d.only);
    OptimAsgd v = OPTIM_ASGD_DEFAULTS;
    cr_expect(v.lr == 1e-2 && v.lambd == 1e-4 && v.alpha == .75 && v.t0 == 1e6);
    cr_expect(v.weight_decay == 0 && !v.maximize && !v.only);
}

/* ---- options that change between steps ---- */

Test(rules, a_group_may_bring_momentum_later) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnParam *w = add(set, "w");
    Optim *opt = optim_sgd_new(set, (OptimSgd){.lr = 1});
    Element e[N];
    start(w, e);
    for (int step = 1; step <= 2; step++) both_step(opt, w, sgd, &(OptimSgd){.lr = 1}, step, e);
    OptimSgd heavy = {.lr = 1, .momentum = .9, .dampening = .5};
    optim_group(opt, "w", heavy);
    for (int n = 1; n <= 3; n++) both_step(opt, w, sgd, &heavy, n, e); /* its first starts b */
    expect_parameter(w, e, 1e-13);
    optim_free(opt);
    nn_params_free(set);
}

Test(rules, every_kind_has_groups_and_they_start_as_their_options_say) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnParam *p = add(set, "w");
    Element e[N];
#define GROUP(kind, Options, defaults, ...)                                   \
    do {                                                                      \
        const Options options = __VA_ARGS__;                                  \
        Optim *opt = optim_##kind##_new(set, (Options)defaults);              \
        optim_group(opt, "w", options);                                       \
        start(p, e);                                                          \
        for (int n = 1; n <= 3; n++) both_step(opt, p, kind, &options, n, e); \
        expect_parameter(p, e, 1e-13);                                        \
        optim_free(opt);                                                      \
    } while (0)
    GROUP(sgd, OptimSgd, OPTIM_SGD_DEFAULTS(1), {.lr = .3, .momentum = .5});
    GROUP(adam, OptimAdam, OPTIM_ADAM_DEFAULTS,
          {.lr = .3, .betas = {.5, .6}, .eps = 1e-4, .amsgrad = true});
    GROUP(adamw, OptimAdamW, OPTIM_ADAMW_DEFAULTS, {.lr = .3, .betas = {.5, .6}, .eps = 1e-4});
    GROUP(rmsprop, OptimRmsprop, OPTIM_RMSPROP_DEFAULTS,
          {.lr = .3, .alpha = .5, .eps = 1e-4, .momentum = .5, .centered = true});
    GROUP(adagrad, OptimAdagrad, OPTIM_ADAGRAD_DEFAULTS,
          {.lr = .3, .initial_accumulator_value = .25, .eps = 1e-4});
    GROUP(adadelta, OptimAdadelta, OPTIM_ADADELTA_DEFAULTS, {.lr = .3, .rho = .5, .eps = 1e-4});
    GROUP(asgd, OptimAsgd, OPTIM_ASGD_DEFAULTS, {.lr = .3, .lambd = .1, .alpha = .5});
    nn_params_free(set);
}

Test(rules, set_momentum_reaches_every_group) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnParam *w = add(set, "w");
    add(set, "v");
    Element e[N];
    start(w, e);
    OptimSgd options = {.lr = .1, .weight_decay = .1};
    Optim *opt = optim_sgd_new(set, (OptimSgd){.lr = .1});
    optim_group(opt, "w", options);
    optim_set_momentum(opt, options.momentum = .9);
    for (int n = 1; n <= 3; n++) both_step(opt, w, sgd, &options, n, e);
    optim_set_momentum(opt, options.momentum = .5);
    for (int n = 4; n <= 5; n++) both_step(opt, w, sgd, &options, n, e);
    expect_parameter(w, e, 1e-13);
    optim_set_momentum(opt, -1);
    cr_expect(strstr(optim_error(opt), "sgd: momentum -1"), "%s", optim_error(opt));
    optim_free(opt);

    OptimAdam beta = {.lr = .1, .betas = {.5, .9}, .eps = 1e-4};
    start(w, e);
    opt = optim_adam_new(set, beta);
    optim_set_momentum(opt, beta.betas[0] = .8);
    both_step(opt, w, adam, &beta, 1, e);
    expect_parameter(w, e, 1e-13);
    optim_set_momentum(opt, 1);
    cr_expect(strstr(optim_error(opt), "adam: beta1 1"), "%s", optim_error(opt));
    optim_free(opt);

    opt = optim_adagrad_new(set, (OptimAdagrad)OPTIM_ADAGRAD_DEFAULTS);
    optim_set_momentum(opt, .9);
    cr_expect(strstr(optim_error(opt), "momentum: adagrad has none"), "%s", optim_error(opt));
    optim_free(opt);
    optim_set_momentum(NULL, .9);
    nn_params_free(set);
}

Test(rules, a_centered_variance_that_rounds_below_zero_counts_as_zero) {
    NnParamSet *set = nn_params_new(TENSOR_F32, 1);
    NnParam *w = add(set, "w");
    Optim *opt = optim_rmsprop_new(set, (OptimRmsprop){.lr = 1e-3, .alpha = .1, .eps = 1,
                                                       .centered = true});
    for (int step = 0; step < 40; step++) { /* the variance of a constant gradient goes to 0 */
        for (int i = 0; i < N; i++) tensor_set(&w->grad, i, 1.0 + i / 7.0);
        cr_assert(optim_step(opt, NULL));
        for (int i = 0; i < N; i++) cr_assert(isfinite(tensor_get(&w->value, i)), "%d", i);
    }
    tensor_set(&w->grad, 3, NAN);
    cr_assert(optim_step(opt, NULL));
    cr_expect(isnan(tensor_get(&w->value, 3)) && isfinite(tensor_get(&w->value, 4)));
    optim_free(opt);
    nn_params_free(set);
}

Test(rules, a_nan_gradient_is_not_hidden_by_amsgrad) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnParam *w = add(set, "w");
    OptimAdam options = OPTIM_ADAM_DEFAULTS;
    options.amsgrad = true;
    options.betas[0] = 0;
    Optim *opt = optim_adam_new(set, options);
    tensor_set(&w->grad, 3, NAN);
    cr_assert(optim_step(opt, NULL));
    cr_expect(isnan(tensor_get(&w->value, 3)) && isfinite(tensor_get(&w->value, 4)));
    optim_free(opt);
    nn_params_free(set);
}

/* ---- averages ---- */

Test(rules, asgd_averages_after_t0_and_swaps_them_in_and_out) {
    for (int f32 = 0; f32 < 2; f32++) {
        double tolerance = f32 ? 3e-6 : 1e-13;
        NnParamSet *set = nn_params_new(f32 ? TENSOR_F32 : TENSOR_F64, 1);
        NnParam *w = add(set, "w");
        Element e[N], exchanged[N];
        start(w, e);
        OptimAsgd options = {.lr = .1, .lambd = .01, .alpha = .75, .t0 = 2};
        Optim *opt = optim_asgd_new(set, options);
        for (int n = 1; n <= STEPS; n++) {
            both_step(opt, w, asgd, &options, n, e);
            expect_average(opt, w, e, tolerance);
        }
        cr_expect(fabs(e[0].a - e[0].p) > 1e-3, "the average is the parameter");
        for (int i = 0; i < N; i++) exchanged[i] = (Element){.p = e[i].a, .a = e[i].a};
        uint64_t version = w->version;
        cr_assert(optim_swap_average(opt), "%s", optim_error(opt));
        cr_expect_gt(w->version, version);
        expect_parameter(w, exchanged, tolerance);
        expect_average(opt, w, exchanged, tolerance);
        cr_assert(optim_swap_average(opt));
        both_step(opt, w, asgd, &options, STEPS + 1, e);
        expect_parameter(w, e, tolerance);
        expect_average(opt, w, e, tolerance);
        optim_free(opt);
        nn_params_free(set);
    }
}

Test(rules, asgd_starts_averaging_when_told) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnParam *w = add(set, "w");
    Element e[N];
    start(w, e);
    OptimAsgd options = {.lr = .1, .alpha = .75, .t0 = INFINITY};
    Optim *opt = optim_asgd_new(set, options);
    for (int n = 1; n <= 3; n++) both_step(opt, w, asgd, &options, n, e);
    for (int i = 0; i < N; i++) cr_assert_eq(e[i].a, e[i].p);
    expect_average(opt, w, e, 1e-13);
    optim_asgd_start_averaging(opt);
    options.t0 = 3;
    for (int n = 4; n <= 8; n++) both_step(opt, w, asgd, &options, n, e);
    expect_average(opt, w, e, 1e-13);

    NnParam *late = add(set, "late"); /* its t0 is 0 */
    Element of_late[N];
    start(late, of_late);
    nn_freeze(set, "w", true);
    options.t0 = 0;
    for (int n = 1; n <= 4; n++) both_step(opt, late, asgd, &options, n, of_late);
    expect_average(opt, late, of_late, 1e-13);
    expect_average(opt, w, e, 1e-13);
    optim_free(opt);
    nn_params_free(set);
}

Test(rules, a_parameter_that_never_moved_keeps_its_value_when_averages_are_swapped) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1), *other = nn_params_new(TENSOR_F64, 1);
    NnParam *w = add(set, "w"), *frozen = add(set, "frozen");
    Element e[N], before[N];
    start(w, e);
    start(frozen, before);
    nn_freeze(set, "frozen", true);
    OptimAsgd options = {.lr = .1, .alpha = .75};
    Optim *opt = optim_asgd_new(set, options);
    for (int n = 1; n <= 4; n++) both_step(opt, w, asgd, &options, n, e);
    cr_assert(optim_swap_average(opt));
    expect_parameter(frozen, before, 0);
    Tensor a = optim_average(opt, frozen);
    cr_expect_eq(a.data, frozen->value.data);
    a = optim_average(opt, add(other, "w"));
    cr_expect(tensor_is_nil(&a));
    cr_expect(!optim_step(opt, NULL));
    cr_expect(strstr(optim_error(opt), "averages are in the parameters"), "%s", optim_error(opt));
    optim_free(opt);
    nn_params_free(other);
    nn_params_free(set);
}

Test(rules, only_asgd_has_averages) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnParam *w = add(set, "w");
    Optim *opt = optim_sgd_new(set, (OptimSgd){.lr = 1});
    Tensor a = optim_average(opt, w);
    cr_expect(tensor_is_nil(&a));
    cr_expect(optim_ok(opt));
    cr_expect(!optim_swap_average(opt));
    cr_expect(strstr(optim_error(opt), "sgd keeps no averages"), "%s", optim_error(opt));
    optim_free(opt);
    opt = optim_adam_new(set, (OptimAdam)OPTIM_ADAM_DEFAULTS);
    optim_asgd_start_averaging(opt);
    cr_expect(strstr(optim_error(opt), "adam keeps no averages"), "%s", optim_error(opt));
    optim_free(opt);
    optim_asgd_start_averaging(NULL);
    a = optim_average(NULL, w);
    cr_expect(!optim_swap_average(NULL) && tensor_is_nil(&a));
    nn_params_free(set);
}

/* ---- refusals ---- */

/* One line with these words; the parameter does not move. */
static void expect_refused(NnParamSet *set, Optim *opt, const char *words) {
    const NnParam *w = nn_params_at(set, 0);
    double before = tensor_get(&w->value, 0);
    tensor_fill(&w->grad, 1);
    cr_expect(!optim_ok(opt), "%s: not refused", words);
    cr_expect(strstr(optim_error(opt), words), "%s: %s", words, optim_error(opt));
    cr_expect_null(strchr(optim_error(opt), '\n'));
    cr_expect(!optim_step(opt, NULL));
    cr_expect_eq(tensor_get(&w->value, 0), before);
    optim_free(opt);
}

/* The defaults (KIND_default) with one option changed, and words of the refusal. */
#define REFUSED(kind, Options, option, x, words)                \
    do {                                                        \
        Options o = kind##_default;                             \
        o.option = (x);                                         \
        expect_refused(set, optim_##kind##_new(set, o), words); \
    } while (0)
#define REFUSED_SHARED(kind, Options)                                                \
    do {                                                                             \
        REFUSED(kind, Options, lr, -.1, #kind ": lr -0.1 is not 0 or more");         \
        REFUSED(kind, Options, lr, NAN, #kind ": lr");                               \
        REFUSED(kind, Options, lr, INFINITY, #kind ": lr inf");                      \
        REFUSED(kind, Options, weight_decay, -1, #kind ": weight_decay -1");         \
        REFUSED(kind, Options, weight_decay, INFINITY, #kind ": weight_decay inf");  \
        REFUSED(kind, Options, only, "none.*", "only none.*: no parameter matches"); \
    } while (0)

Test(rules, wrong_options_are_refused_in_one_line) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    add(set, "w");
    const OptimSgd sgd_default = OPTIM_SGD_DEFAULTS(1);
    REFUSED_SHARED(sgd, OptimSgd);
    REFUSED(sgd, OptimSgd, momentum, -1, "sgd: momentum -1");
    REFUSED(sgd, OptimSgd, dampening, NAN, "sgd: dampening");
    REFUSED(sgd, OptimSgd, nesterov, true, "sgd: nesterov");
    OptimSgd damped = {.lr = 1, .nesterov = true, .momentum = .9, .dampening = .1};
    expect_refused(set, optim_sgd_new(set, damped), "sgd: nesterov");

    const OptimAdam adam_default = OPTIM_ADAM_DEFAULTS;
    REFUSED_SHARED(adam, OptimAdam);
    REFUSED(adam, OptimAdam, betas[0], 1, "adam: beta1 1 is not in [0, 1)");
    REFUSED(adam, OptimAdam, betas[1], -.1, "adam: beta2 -0.1");
    REFUSED(adam, OptimAdam, betas[1], NAN, "adam: beta2");
    REFUSED(adam, OptimAdam, eps, -1, "adam: eps -1");
    const OptimAdamW adamw_default = OPTIM_ADAMW_DEFAULTS;
    REFUSED_SHARED(adamw, OptimAdamW);
    REFUSED(adamw, OptimAdamW, betas[0], 2, "adamw: beta1 2");
    REFUSED(adamw, OptimAdamW, betas[1], 1, "adamw: beta2 1");
    REFUSED(adamw, OptimAdamW, eps, NAN, "adamw: eps");

    const OptimRmsprop rmsprop_default = OPTIM_RMSPROP_DEFAULTS;
    REFUSED_SHARED(rmsprop, OptimRmsprop);
    REFUSED(rmsprop, OptimRmsprop, alpha, 1.5, "alpha 1.5 is not in [0, 1]");
    REFUSED(rmsprop, OptimRmsprop, eps, -1, "rmsprop: eps -1");
    REFUSED(rmsprop, OptimRmsprop, momentum, -1, "rmsprop: momentum -1");

    const OptimAdagrad adagrad_default = OPTIM_ADAGRAD_DEFAULTS;
    REFUSED_SHARED(adagrad, OptimAdagrad);
    REFUSED(adagrad, OptimAdagrad, lr_decay, -1, "adagrad: lr_decay -1");
    REFUSED(adagrad, OptimAdagrad, initial_accumulator_value, -1,
            "adagrad: initial_accumulator_value -1");
    REFUSED(adagrad, OptimAdagrad, eps, -1, "adagrad: eps -1");

    const OptimAdadelta adadelta_default = OPTIM_ADADELTA_DEFAULTS;
    REFUSED_SHARED(adadelta, OptimAdadelta);
    REFUSED(adadelta, OptimAdadelta, rho, -.5, "adadelta: rho -0.5");
    REFUSED(adadelta, OptimAdadelta, eps, -1, "adadelta: eps -1");

    const OptimAsgd asgd_default = OPTIM_ASGD_DEFAULTS;
    REFUSED_SHARED(asgd, OptimAsgd);
    REFUSED(asgd, OptimAsgd, lambd, -1, "asgd: lambd -1");
    REFUSED(asgd, OptimAsgd, alpha, INFINITY, "alpha inf is not finite");
    REFUSED(asgd, OptimAsgd, t0, NAN, "is not a number");
    nn_params_free(set);
}
