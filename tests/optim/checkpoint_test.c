/* Optimisers in checkpoints: a run that goes on takes the steps of one that never stopped. */
#include "optim/checkpoint.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "optim/optim.h"
#include "tests/support/folder.h"

static char path[TEST_PATH_SIZE];

static void make_folder(void) { test_folder_make(path, "last.safetensors"); }
static void remove_folder(void) { test_folder_remove(path); }

TestSuite(optim_checkpoint, .init = make_folder, .fini = remove_folder);

/* ---- a model, its gradients, and the optimisers ---- */

enum { V = 90, E = 5, BEFORE = 4, AFTER = 5 };

/* a.weight and a.bias, an embedding with used rows, a frozen parameter, a buffer, a scalar */
static NnParamSet *model(TensorDtype dtype, uint64_t seed) {
    NnParamSet *set = nn_params_new(dtype, seed);
    NnInit init = nn_init_normal(0, 1);
    nn_param(set, init, 2, (int64_t[]){3, 37}, "a.weight");
    nn_param(set, init, 1, (int64_t[]){3}, "a.bias");
    nn_param_by_rows(nn_param(set, init, 2, (int64_t[]){V, E}, "emb.weight"));
    nn_param(set, init, 1, (int64_t[]){4}, "rest.weight");
    nn_buffer(set, init, 1, (int64_t[]){2}, "mean");
    nn_param(set, init, 0, NULL, "scale");
    nn_freeze(set, "rest.*", true);
    cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
    return set;
}

static void fill(const Tensor *g, int64_t from, int64_t to, int step) {
    for (int64_t i = from; i < to; i++)
        tensor_set(g, i, sin(1.3 * step + .7 * (double)i + (double)g->ndim));
}

/* Gradients as a backward pass of this step leaves them: of the embedding two rows. */
static void make_gradients(NnParamSet *set, int step) {
    nn_zero_grad(set);
    for (int i = 0; i < nn_params_count(set); i++) {
        const NnParam *p = nn_params_at(set, i);
        if (!p->trainable) continue;
        AgRows *rows = nn_grads_rows(nn_params_grads(set), i);
        if (!rows) fill(&p->grad, 0, tensor_numel(&p->grad), step);
        for (int64_t r = 7 * step % V; rows && r < V; r += 50) {
            rows->used[r / 64] |= UINT64_C(1) << r % 64;
            fill(&p->grad, r * E, (r + 1) * E, step);
        }
    }
}

typedef Optim *Make(NnParamSet *set);
#define CHANGED(kind, Options, ...)                    \
    do {                                               \
        Options o = kind##_default;                    \
        __VA_ARGS__;                                   \
        return optim_##kind##_new(set, o);             \
    } while (0)
static const OptimSgd sgd_default = OPTIM_SGD_DEFAULTS(.1);
static const OptimAdam adam_default = OPTIM_ADAM_DEFAULTS;
static const OptimAdamW adamw_default = OPTIM_ADAMW_DEFAULTS;
static const OptimRmsprop rmsprop_default = OPTIM_RMSPROP_DEFAULTS;
static const OptimAdagrad adagrad_default = OPTIM_ADAGRAD_DEFAULTS;
static const OptimAdadelta adadelta_default = OPTIM_ADADELTA_DEFAULTS;
static const OptimAsgd asgd_default = OPTIM_ASGD_DEFAULTS;

static Optim *sgd(NnParamSet *set) { CHANGED(sgd, OptimSgd, (void)0); }
static Optim *sgd_heavy(NnParamSet *set) {
    CHANGED(sgd, OptimSgd, o.momentum = .9; o.dampening = .3; o.weight_decay = .1);
}
static Optim *sgd_nesterov(NnParamSet *set) {
    CHANGED(sgd, OptimSgd, o.momentum = .9; o.nesterov = o.maximize = true);
}
static Optim *adam(NnParamSet *set) { CHANGED(adam, OptimAdam, (void)0); }
static Optim *adam_amsgrad(NnParamSet *set) {
    CHANGED(adam, OptimAdam, o.amsgrad = true; o.weight_decay = .01);
}
static Optim *adam_up(NnParamSet *set) { CHANGED(adam, OptimAdam, o.maximize = true); }
static Optim *adamw(NnParamSet *set) { CHANGED(adamw, OptimAdamW, (void)0); }
static Optim *adamw_amsgrad(NnParamSet *set) { CHANGED(adamw, OptimAdamW, o.amsgrad = true); }
static Optim *rmsprop(NnParamSet *set) { CHANGED(rmsprop, OptimRmsprop, (void)0); }
static Optim *rmsprop_centered(NnParamSet *set) {
    CHANGED(rmsprop, OptimRmsprop, o.centered = true);
}
static Optim *rmsprop_heavy(NnParamSet *set) { CHANGED(rmsprop, OptimRmsprop, o.momentum = .5); }
static Optim *rmsprop_full(NnParamSet *set) {
    CHANGED(rmsprop, OptimRmsprop, o.centered = true; o.momentum = .5; o.weight_decay = .1);
}
static Optim *adagrad(NnParamSet *set) { CHANGED(adagrad, OptimAdagrad, (void)0); }
static Optim *adagrad_full(NnParamSet *set) {
    CHANGED(adagrad, OptimAdagrad, o.lr_decay = .3; o.initial_accumulator_value = .2);
}
static Optim *adadelta(NnParamSet *set) { CHANGED(adadelta, OptimAdadelta, o.weight_decay = .1); }
static Optim *asgd(NnParamSet *set) { CHANGED(asgd, OptimAsgd, o.t0 = 2); }
static Optim *asgd_late(NnParamSet *set) { CHANGED(asgd, OptimAsgd, o.t0 = INFINITY); }
static Optim *adamw_only(NnParamSet *set) { CHANGED(adamw, OptimAdamW, o.only = "a.*"); }
static Optim *adam_groups(NnParamSet *set) {
    OptimAdam o = adam_default;
    Optim *opt = optim_adam_new(set, o);
    o.lr = .3;
    o.amsgrad = true;
    optim_group(opt, "*.weight", o);
    o.betas[0] = .5;
    o.amsgrad = false;
    optim_group(opt, "a.*", o);
    return opt;
}

static const struct {
    const char *name;
    Make *make;
    bool heavy; /* optim_set_momentum is for it */
} kinds[] = {
    {"sgd", sgd, true},
    {"sgd with momentum", sgd_heavy, true},
    {"sgd nesterov", sgd_nesterov, false},
    {"adam", adam, true},
    {"adam amsgrad", adam_amsgrad, true},
    {"adam up", adam_up, true},
    {"adamw", adamw, true},
    {"adamw amsgrad", adamw_amsgrad, true},
    {"rmsprop", rmsprop, true},
    {"rmsprop centered", rmsprop_centered, true},
    {"rmsprop with momentum", rmsprop_heavy, true},
    {"rmsprop with all", rmsprop_full, true},
    {"adagrad", adagrad, false},
    {"adagrad with decay", adagrad_full, false},
    {"adadelta", adadelta, false},
    {"asgd", asgd, false},
    {"asgd late", asgd_late, false},
    {"adamw of some", adamw_only, true},
    {"adam with groups", adam_groups, true},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- runs ---- */

typedef struct {
    NnParamSet *set;
    Optim *opt;
} Run;

static Run begin(Make *make, TensorDtype dtype, uint64_t seed) {
    NnParamSet *set = model(dtype, seed);
    Optim *opt = make(set);
    cr_assert(optim_ok(opt), "%s", optim_error(opt));
    return (Run){set, opt};
}

static void end(Run run) {
    optim_free(run.opt);
    nn_params_free(run.set);
}

/* Steps from..to-1; every third is clipped. */
static void go(Run run, int from, int to) {
    for (int s = from; s < to; s++) {
        make_gradients(run.set, s);
        bool ok = s % 3 ? optim_step(run.opt, NULL) : optim_step_clipped(run.opt, NULL, .5, NULL);
        cr_assert(ok, "%s", optim_error(run.opt));
    }
}

static bool same_bits(const Tensor *a, const Tensor *b) {
    if (tensor_is_nil(a) || tensor_is_nil(b)) return tensor_is_nil(a) && tensor_is_nil(b);
    size_t size = (size_t)tensor_numel(a) * tensor_dtype_size(a->dtype);
    return tensor_same_shape(a, b) && memcmp(a->data, b->data, size) == 0;
}

static void expect_same(Run a, Run b, const char *what) {
    for (int i = 0; i < nn_params_count(a.set); i++) {
        const NnParam *p = nn_params_at(a.set, i), *q = nn_params_at(b.set, i);
        cr_expect(same_bits(&p->value, &q->value), "%s: %s", what, p->name);
        Tensor x = optim_average(a.opt, p), y = optim_average(b.opt, q);
        cr_expect(same_bits(&x, &y), "%s: average of %s", what, p->name);
    }
    cr_expect_eq(optim_lr(a.opt), optim_lr(b.opt), "%s: lr", what);
}

static void save(Run run) {
    TensorError error = {{0}};
    NnCheckpoint *c = nn_checkpoint_new();
    nn_checkpoint_add_params(c, "model", run.set);
    optim_checkpoint_add(run.opt, c, "optim");
    cr_assert(nn_checkpoint_write(c, path, &error), "%s", error.message);
    nn_checkpoint_free(c);
}

static void restore(Run run) {
    TensorError error = {{0}};
    TensorSafetensors *file;
    cr_assert(tensor_safetensors_open(path, &file, &error), "%s", error.message);
    cr_assert(nn_checkpoint_read_params(file, path, "model", run.set, &error), "%s",
              error.message);
    cr_assert(optim_checkpoint_read(file, path, "optim", run.opt, &error), "%s", error.message);
    tensor_safetensors_close(file);
}

Test(optim_checkpoint, every_kind_goes_on_to_the_bit) {
    for (int k = 0; k < KINDS; k++)
        for (int d = 0; d < 2; d++) {
            TensorDtype dtype = d ? TENSOR_F64 : TENSOR_F32;
            Run whole = begin(kinds[k].make, dtype, 1), fresh = begin(kinds[k].make, dtype, 2);
            go(whole, 1, 1 + BEFORE);
            save(whole);
            restore(fresh);
            expect_same(whole, fresh, kinds[k].name);
            go(whole, 1 + BEFORE, 1 + BEFORE + AFTER);
            go(fresh, 1 + BEFORE, 1 + BEFORE + AFTER);
            expect_same(whole, fresh, kinds[k].name);
            end(whole);
            end(fresh);
        }
}
