/* Optimisers in checkpoints: a run that goes on takes the steps of one that never stopped. */
#include "optim/checkpoint.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/allocations.h"
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
static Optim *sgd_light(NnParamSet *set) {
    CHANGED(sgd, OptimSgd, o.dampening = .3; o.weight_decay = .1);
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

static Optim *sgd_grouped(NnParamSet *set, const char *second) {
    OptimSgd o = sgd_default;
    Optim *opt = optim_sgd_new(set, o);
    o.lr = 3;
    o.momentum = .9;
    optim_group(opt, "*.weight", o);
    o.momentum = 0;
    optim_group(opt, second, o);
    return opt;
}
static Optim *sgd_groups(NnParamSet *set) { return sgd_grouped(set, "a.*"); }
static Optim *sgd_other_groups(NnParamSet *set) { return sgd_grouped(set, "emb.*"); }

typedef struct {
    const char *name;
    Make *make;
    bool heavy;    /* optim_set_momentum is for it */
    bool averages; /* so is optim_asgd_start_averaging */
} Kind;
static const Kind kinds[] = {
    {"sgd", sgd, true, false},
    {"sgd with momentum", sgd_heavy, true, false},
    {"sgd nesterov", sgd_nesterov, false, false},
    {"adam", adam, true, false},
    {"adam amsgrad", adam_amsgrad, true, false},
    {"adam up", adam_up, true, false},
    {"adamw", adamw, true, false},
    {"adamw amsgrad", adamw_amsgrad, true, false},
    {"rmsprop", rmsprop, true, false},
    {"rmsprop centered", rmsprop_centered, true, false},
    {"rmsprop with momentum", rmsprop_heavy, true, false},
    {"rmsprop with all", rmsprop_full, true, false},
    {"adagrad", adagrad, false, false},
    {"adagrad with decay", adagrad_full, false, false},
    {"adadelta", adadelta, false, false},
    {"asgd", asgd, false, true},
    {"asgd late", asgd_late, false, true},
    {"adamw of some", adamw_only, true, false},
    {"adam with groups", adam_groups, true, false},
    {"sgd with groups", sgd_groups, true, false},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const Kind *kind_of(Make *make) {
    int k = 0;
    while (k < KINDS && kinds[k].make != make) k++;
    cr_assert_lt(k, KINDS);
    return &kinds[k];
}

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

/* What is done between the steps. */
typedef struct {
    bool schedule; /* rate and, where there is one, momentum change */
    int trigger;   /* the step that averaging starts with; 0: none */
} Plan;
static const Plan quiet;

static void change(Run run, const Kind *kind, Plan plan, int s) {
    static const double momentum[] = {.6, 0, .8};
    if (plan.schedule && s % 2) optim_set_lr(run.opt, .01 * s);
    if (plan.schedule && kind->heavy) optim_set_momentum(run.opt, momentum[s % 3]);
    if (kind->averages && plan.trigger == s) optim_asgd_start_averaging(run.opt);
}

/* Steps from..to-1; every third is clipped. */
static void go(Run run, const Kind *kind, Plan plan, int from, int to) {
    for (int s = from; s < to; s++) {
        change(run, kind, plan, s);
        make_gradients(run.set, s);
        bool ok = s % 3 ? optim_step(run.opt, NULL) : optim_step_clipped(run.opt, NULL, .5, NULL);
        cr_assert(ok, "%s: %s", kind->name, optim_error(run.opt));
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

static TensorSafetensors *open_file(void) {
    TensorError error = {{0}};
    TensorSafetensors *file;
    cr_assert(tensor_safetensors_open(path, &file, &error), "%s", error.message);
    return file;
}

static void restore(Run run) {
    TensorError error = {{0}};
    TensorSafetensors *file = open_file();
    cr_assert(nn_checkpoint_read_params(file, path, "model", run.set, &error), "%s",
              error.message);
    cr_assert(optim_checkpoint_read(file, path, "optim", run.opt, &error), "%s", error.message);
    tensor_safetensors_close(file);
}

/* The bytes that a run has in a file: everything that it goes on from. */
typedef struct {
    char *bytes;
    size_t size;
} Bytes;

static Bytes file_bytes(void) {
    Bytes b;
    TensorError error = {{0}};
    b.bytes = tensor_file_read(path, SIZE_MAX - 1, &b.size, &error);
    cr_assert(b.bytes, "%s", error.message);
    return b;
}

static Bytes bytes_of(Run run) {
    save(run);
    return file_bytes();
}

static bool same_bytes(Bytes a, Bytes b) {
    bool same = a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
    free(a.bytes);
    free(b.bytes);
    return same;
}

/* ---- going on ---- */

/* A run that is saved after n steps, and another that goes on from there. */
static void check(const Kind *kind, TensorDtype dtype, Plan plan, int n, Run other) {
    Run whole = begin(kind->make, dtype, 1);
    go(whole, kind, plan, 1, 1 + n);
    Bytes saved = bytes_of(whole);
    restore(other);
    cr_expect(same_bytes(saved, bytes_of(other)), "%s: saved again", kind->name);
    expect_same(whole, other, kind->name);
    go(whole, kind, plan, 1 + n, 1 + n + AFTER);
    go(other, kind, plan, 1 + n, 1 + n + AFTER);
    expect_same(whole, other, kind->name);
    end(whole);
    end(other);
}

Test(optim_checkpoint, every_kind_goes_on_to_the_bit) {
    static const struct {
        TensorDtype dtype;
        Plan plan;
        int n;
        bool used; /* what the other run has accumulated must go */
    } cases[] = {{TENSOR_F32, {.schedule = false}, BEFORE, false},
                 {TENSOR_F32, {.schedule = true}, BEFORE, true},
                 {TENSOR_F64, {.schedule = true}, BEFORE, false},
                 {TENSOR_F64, {.schedule = false}, 0, true}};
    for (int i = 0; i < 4 * KINDS; i++) {
        const Kind *kind = &kinds[i / 4];
        Run other = begin(kind->make, cases[i % 4].dtype, 2);
        if (cases[i % 4].used) go(other, kind, (Plan){.schedule = true, .trigger = 2}, 1, 5);
        check(kind, cases[i % 4].dtype, cases[i % 4].plan, cases[i % 4].n, other);
    }
}

Test(optim_checkpoint, averaging_goes_on_wherever_it_was_started) {
    for (int i = 0; i < KINDS; i++)
        for (int trigger = 1; kinds[i].averages && trigger < BEFORE + AFTER; trigger++) {
            Run other = begin(kinds[i].make, TENSOR_F32, 2);
            check(&kinds[i], TENSOR_F32, (Plan){.trigger = trigger}, BEFORE, other);
        }
}

Test(optim_checkpoint, averages_may_be_swapped_in_after_reading) {
    const Kind *kind = kind_of(asgd);
    Run whole = begin(kind->make, TENSOR_F32, 1), other = begin(kind->make, TENSOR_F32, 2);
    go(whole, kind, quiet, 1, 8);
    save(whole);
    restore(other);
    cr_assert(optim_swap_average(whole.opt) && optim_swap_average(other.opt));
    expect_same(whole, other, "swapped");
    end(whole);
    end(other);
}

/* A momentum that came and went leaves a slot behind, which counts when it comes back. */
Test(optim_checkpoint, slots_come_and_go_with_the_momentum) {
    static const double before[][3] = {
        {.9, .9, .9}, {.9, .9, 0}, {0, 0, .5}, {0, .5, 0}, {0, 0, 0}};
    static const double after[][3] = {{0, .7, .7}, {.7, 0, .7}, {0, 0, 0}};
    for (int i = 0; i < 5 * 3 * 2 * 2; i++) {
        Make *makes[] = {sgd_heavy, sgd_light};
        Run whole = begin(makes[i % 2], TENSOR_F32, 1);
        Run other = begin(makes[i / 2 % 2], TENSOR_F32, 2);
        for (int s = 0; s < 3; s++) {
            optim_set_momentum(whole.opt, before[i / 12][s]);
            go(whole, kind_of(sgd), quiet, s, s + 1);
        }
        save(whole);
        restore(other);
        for (int s = 3; s < 6; s++) {
            optim_set_momentum(whole.opt, after[i / 4 % 3][s - 3]);
            optim_set_momentum(other.opt, after[i / 4 % 3][s - 3]);
            go(whole, kind_of(sgd), quiet, s, s + 1);
            go(other, kind_of(sgd), quiet, s, s + 1);
        }
        expect_same(whole, other, "momentum");
        end(whole);
        end(other);
    }
}

Test(optim_checkpoint, frozen_parameters_wait_with_what_they_have) {
    for (int k = 0; k < KINDS; k++) {
        Run whole = begin(kinds[k].make, TENSOR_F32, 1);
        Run other = begin(kinds[k].make, TENSOR_F32, 2);
        go(whole, &kinds[k], quiet, 1, 3);
        nn_freeze(whole.set, "*", true);
        nn_freeze(whole.set, "rest.weight", false);
        go(whole, &kinds[k], quiet, 3, 4);
        save(whole);
        restore(other);
        nn_freeze(whole.set, "*", false);
        nn_freeze(other.set, "*", false);
        go(whole, &kinds[k], quiet, 4, 8);
        go(other, &kinds[k], quiet, 4, 8);
        expect_same(whole, other, kinds[k].name);
        end(whole);
        end(other);
    }
}

Test(optim_checkpoint, parameters_made_since_the_last_step_are_in_it) {
    for (int k = 0; k < KINDS; k++) {
        Run run[2];
        for (int i = 0; i < 2; i++) {
            run[i] = begin(kinds[k].make, TENSOR_F64, (uint64_t)i);
            if (i == 0) go(run[i], &kinds[k], (Plan){.trigger = 2}, 1, 4);
            nn_param(run[i].set, nn_init_normal(0, 1), 1, (int64_t[]){6}, "a.late.weight");
        }
        save(run[0]);
        restore(run[1]);
        for (int i = 0; i < 2; i++) go(run[i], &kinds[k], quiet, 4, 8);
        expect_same(run[0], run[1], kinds[k].name);
        for (int i = 0; i < 2; i++) end(run[i]);
    }
}

Test(optim_checkpoint, several_optimisers_share_a_set_and_a_file) {
    NnParamSet *set[2];
    Optim *opt[2][2];
    TensorError error = {{0}};
    for (int i = 0; i < 2; i++) {
        set[i] = model(TENSOR_F32, (uint64_t)i);
        opt[i][0] = adamw_only(set[i]);
        OptimSgd o = sgd_default;
        o.momentum = .9;
        o.only = "emb.*";
        opt[i][1] = optim_sgd_new(set[i], o);
    }
    for (int s = 1; s < 9; s++) {
        if (s == 5) {
            NnCheckpoint *c = nn_checkpoint_new();
            nn_checkpoint_add_params(c, "model", set[0]);
            optim_checkpoint_add(opt[0][0], c, "optim");
            optim_checkpoint_add(opt[0][1], c, "optim2"); /* not below "optim" */
            cr_assert(nn_checkpoint_write(c, path, &error), "%s", error.message);
            nn_checkpoint_free(c);
            TensorSafetensors *file = open_file();
            cr_assert(nn_checkpoint_read_params(file, path, "model", set[1], &error) &&
                      optim_checkpoint_read(file, path, "optim", opt[1][0], &error) &&
                      optim_checkpoint_read(file, path, "optim2", opt[1][1], &error),
                      "%s", error.message);
            tensor_safetensors_close(file);
        }
        for (int i = 0; i < (s < 5 ? 1 : 2); i++) {
            make_gradients(set[i], s);
            cr_assert(optim_step_clipped(opt[i][0], NULL, 1, NULL) &&
                      optim_step(opt[i][1], NULL));
        }
    }
    expect_same((Run){set[0], opt[0][0]}, (Run){set[1], opt[1][0]}, "adamw");
    expect_same((Run){set[0], opt[0][1]}, (Run){set[1], opt[1][1]}, "sgd");
    for (int i = 0; i < 2; i++) {
        optim_free(opt[i][0]);
        optim_free(opt[i][1]);
        nn_params_free(set[i]);
    }
}

/* A set that has nothing yet, with the prefix "": the optimiser is the whole file. */
Test(optim_checkpoint, a_prefix_may_be_empty_and_so_may_the_set) {
    for (int trigger = 0; trigger < 2; trigger++) {
        TensorError error = {{0}};
        Run run[2];
        for (int i = 0; i < 2; i++) {
            NnParamSet *set = nn_params_new(TENSOR_F32, 1);
            run[i] = (Run){set, asgd_late(set)};
        }
        if (trigger) optim_asgd_start_averaging(run[0].opt);
        NnCheckpoint *c = nn_checkpoint_new();
        optim_checkpoint_add(run[0].opt, c, "");
        cr_assert(nn_checkpoint_write(c, path, &error), "%s", error.message);
        nn_checkpoint_free(c);
        TensorSafetensors *file = open_file();
        cr_expect_str_eq(tensor_safetensors_metadata(file, "kind"), "asgd");
        cr_expect_geq(tensor_safetensors_find(file, "averaging"), 0);
        cr_assert(optim_checkpoint_read(file, path, "", run[1].opt, &error), "%s", error.message);
        tensor_safetensors_close(file);
        for (int i = 0; i < 2; i++) {
            nn_param(run[i].set, nn_init_constant(1), 1, (int64_t[]){6}, "late");
            go(run[i], kind_of(sgd), quiet, 1, 6);
        }
        expect_same(run[0], run[1], "late");
        for (int i = 0; i < 2; i++) end(run[i]);
    }
}

/* ---- refusals ---- */

/* Reading the file into the run must fail with these words, and change nothing. */
static void refuse(Run run, const char *prefix, const char *words) {
    char kept[TEST_PATH_SIZE + 8];
    snprintf(kept, sizeof kept, "%s.kept", path);
    cr_assert_eq(rename(path, kept), 0);
    Bytes before = bytes_of(run);
    cr_assert_eq(rename(kept, path), 0);
    TensorSafetensors *file = open_file();
    TensorError error = {{0}};
    cr_expect(!optim_checkpoint_read(file, path, prefix, run.opt, &error), "%s", words);
    cr_expect(!optim_checkpoint_read(file, path, prefix, run.opt, NULL), "%s", words);
    cr_expect(strstr(error.message, "last.safetensors: "), "%s", error.message);
    cr_expect(strstr(error.message, words), "%s, not %s", error.message, words);
    tensor_safetensors_close(file);
    cr_assert_eq(rename(path, kept), 0);
    cr_expect(same_bytes(before, bytes_of(run)), "%s: nothing is changed", words);
    cr_assert_eq(rename(kept, path), 0);
}

/* The file anew without this tensor, or with another under its name, or with one more. */
static void put(const char *name, const Tensor *value) {
    TensorSafetensors *file = open_file();
    int64_t n = tensor_safetensors_count(file), at = 0, n_texts;
    TensorNamed *list = calloc((size_t)n + 1, sizeof *list);
    const TensorMetadata *texts = tensor_safetensors_all_metadata(file, &n_texts);
    for (int64_t i = 0; i < n; i++) {
        const TensorSafetensorsEntry *e = tensor_safetensors_entry(file, i);
        if (strcmp(e->name, name)) list[at++] = (TensorNamed){e->name, e->value};
    }
    cr_assert(value || at < n, "%s is not in the file", name);
    if (value) list[at++] = (TensorNamed){name, *value};
    TensorError error = {{0}};
    cr_assert(tensor_safetensors_write(path, at, list, n_texts, texts, &error), "%s",
              error.message);
    free(list);
    tensor_safetensors_close(file);
}

static void put_text(const char *key, const char *text) {
    TensorSafetensors *file = open_file();
    int64_t n = tensor_safetensors_count(file), at = 0, n_texts;
    TensorNamed *list = calloc((size_t)n, sizeof *list);
    const TensorMetadata *texts = tensor_safetensors_all_metadata(file, &n_texts);
    TensorMetadata *copy = calloc((size_t)n_texts + 1, sizeof *copy);
    for (int64_t i = 0; i < n; i++) {
        const TensorSafetensorsEntry *e = tensor_safetensors_entry(file, i);
        list[i] = (TensorNamed){e->name, e->value};
    }
    for (int64_t i = 0; i < n_texts; i++)
        if (strcmp(texts[i].key, key)) copy[at++] = texts[i];
    if (text) copy[at++] = (TensorMetadata){key, text};
    TensorError error = {{0}};
    cr_assert(tensor_safetensors_write(path, n, list, at, copy, &error), "%s", error.message);
    free(list);
    free(copy);
    tensor_safetensors_close(file);
}

/* The file of one optimiser, read into another. */
static void refuse_kind(Make *a, Make *b, const char *words) {
    Run from = begin(a, TENSOR_F32, 1), to = begin(b, TENSOR_F32, 2);
    go(from, kind_of(sgd), quiet, 1, 3);
    go(to, kind_of(sgd), quiet, 1, 4);
    save(from);
    refuse(to, "optim", words);
    end(from);
    end(to);
}

Test(optim_checkpoint, other_kinds_and_options_are_refused) {
    refuse_kind(adam, adamw, "optim.kind: expected adamw, found adam");
    refuse_kind(adam, adam_amsgrad, "optim.a.weight.max_exp_avg_sq: missing");
    refuse_kind(adam_amsgrad, adam, "optim.a.weight.max_exp_avg_sq: unexpected");
    refuse_kind(rmsprop_centered, rmsprop, "grad_avg: unexpected: the optimiser (rmsprop) has");
    refuse_kind(rmsprop_heavy, rmsprop_full, "optim.a.weight.grad_avg: missing");
    refuse_kind(adamw, adamw_only, "optim.emb.weight.step: unexpected");
    refuse_kind(adamw_only, adamw, "optim.emb.weight.step: missing");
    refuse_kind(adam_groups, adam, "optim.group.1: expected no group, found one of *.weight");
    refuse_kind(adam, adam_groups, "optim.group.1: expected a group of *.weight, found none");
    refuse_kind(sgd_groups, sgd_other_groups,
                "optim.group.2: expected a group of emb.*, found one of a.*");
}

Test(optim_checkpoint, other_sets_are_refused) {
    Run from = begin(adam, TENSOR_F32, 1), to = begin(adam, TENSOR_F64, 1);
    save(from);
    refuse(to, "optim", "optim.a.weight.exp_avg: expected f64[3,37], found f32[3,37]");
    refuse(to, "model", "model.kind: missing");
    refuse(to, "optim.", "optim..kind: missing");
    end(to);
    to = begin(adam, TENSOR_F32, 1);
    nn_param(to.set, nn_init_constant(0), 1, (int64_t[]){6}, "more");
    refuse(to, "optim", "optim.more.step: missing");
    nn_param(from.set, nn_init_constant(0), 2, (int64_t[]){2, 3}, "more");
    save(from);
    refuse(to, "optim", "optim.more.exp_avg: expected f32[6], found f32[2,3]");
    end(from);
    from = begin(adam, TENSOR_F32, 1);
    nn_param(from.set, nn_init_constant(0), 0, NULL, "other");
    nn_param(from.set, nn_init_constant(0), 1, (int64_t[]){6}, "more");
    save(from);
    refuse(to, "optim", "optim.other.step: unexpected");
    end(from);
    end(to);
}

/* One value in the file is another; NULL: it is missing. */
static void refuse_value(Make *make, const char *name, const Tensor *value, const char *words) {
    Run from = begin(make, TENSOR_F32, 1), to = begin(make, TENSOR_F32, 2);
    go(from, kind_of(make), (Plan){.trigger = 3}, 1, 4);
    go(to, kind_of(make), quiet, 1, 4);
    save(from);
    put(name, value);
    refuse(to, "optim", words);
    end(from);
    end(to);
}
#define VECTOR(Type, dtype, ...)                                  \
    (&(Tensor){dtype,                                             \
               1,                                                 \
               {sizeof((Type[]){__VA_ARGS__}) / sizeof(Type)},    \
               {1},                                               \
               (Type[]){__VA_ARGS__}})
#define REALS(...) VECTOR(double, TENSOR_F64, __VA_ARGS__)
#define INT(x) VECTOR(int64_t, TENSOR_I64, x)

Test(optim_checkpoint, missing_tensors_are_refused) {
    static const struct {
        Make *make;
        const char *name;
    } cases[] = {
        {adam, "optim.lr"},
        {adam, "optim.group_lr"},
        {adam, "optim.group_momentum"},
        {asgd, "optim.averaging"},
        {asgd, "optim.a.bias.t0"},
        {asgd, "optim.scale.ax"},
        {adam, "optim.rest.weight.step"},
        {adam, "optim.rest.weight.exp_avg_sq"},
        {adam_amsgrad, "optim.emb.weight.max_exp_avg_sq"},
        {sgd_heavy, "optim.a.bias.momentum_buffer"},
        {rmsprop_full, "optim.a.bias.square_avg"},
        {rmsprop_full, "optim.a.bias.grad_avg"},
        {rmsprop_full, "optim.a.bias.momentum_buffer"},
        {adagrad, "optim.a.bias.sum"},
        {adadelta, "optim.a.bias.square_avg"},
        {adadelta, "optim.a.bias.acc_delta"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[80];
        snprintf(words, sizeof words, "%s: missing", cases[i].name);
        refuse_value(cases[i].make, cases[i].name, NULL, words);
    }
}

Test(optim_checkpoint, numbers_that_no_optimiser_has_are_refused) {
    static const char *const not_lr = ": adam: lr", *const step = "optim.a.bias.step",
                      *const t0 = "optim.a.bias.t0";
    refuse_value(adam, step, INT(-1), "optim.a.bias.step: -1 is not in 0..9007199254740992");
    refuse_value(adam, step, INT(INT64_MAX), "step: 9223372036854775807 is not in 0..");
    refuse_value(adam, step, REALS(2), "step: expected i64[1], found f64[1]");
    refuse_value(adam, step, REALS(NAN), "step: expected i64[1], found f64[1]");
    refuse_value(adam, "optim.lr", REALS(-1), "optim.lr: the rate of group 0, -1, is not");
    refuse_value(adam, "optim.lr", REALS(NAN), "optim.lr: the rate of group 0");
    refuse_value(adam, "optim.lr", REALS(INFINITY), "optim.lr: the rate of group 0");
    refuse_value(adam, "optim.lr", REALS(1, 2), "optim.lr: expected f64[1], found f64[2]");
    refuse_value(adam, "optim.lr", INT(1), "optim.lr: expected f64[1], found i64[1]");
    refuse_value(adam_groups, "optim.lr", REALS(1e306), "optim.lr: the rate of group 1, inf,");
    refuse_value(adam, "optim.group_lr", REALS(-1), not_lr);
    refuse_value(adam, "optim.group_lr", REALS(NAN), not_lr);
    refuse_value(adam, "optim.group_lr", REALS(1, 1), "expected f64[1], found f64[2]");
    refuse_value(adam, "optim.group_momentum", REALS(1), "group_momentum: adam: beta1 1 is not");
    refuse_value(sgd_heavy, "optim.group_momentum", REALS(-1), "sgd: momentum -1 is not 0 or");
    refuse_value(sgd_nesterov, "optim.group_momentum", REALS(0), "nesterov wants a momentum");
    refuse_value(asgd, "optim.averaging", INT(2), "optim.averaging: 2 is not in 0..1");
    refuse_value(asgd, "optim.averaging", INT(0), ".t0: unexpected");
    refuse_value(asgd, t0, INT(-1), "optim.a.bias.t0: -1 is not in 0..3");
    refuse_value(asgd, t0, INT(4), "optim.a.bias.t0: 4 is not in 0..3");
}

Test(optim_checkpoint, tensors_that_it_does_not_keep_are_refused) {
    Tensor zeros = tensor_wrap((float[3]){0}, TENSOR_F32, 1, (int64_t[]){3});
    static const char *const names[] = {"optim.a.bias.sum", "optim.a.bias", "optim.mean.step",
                                        "optim.", "optim.averaging", "optim.a.bias.exp_avg.x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char words[80];
        snprintf(words, sizeof words, "%s: unexpected: the optimiser (adam) has none", names[i]);
        refuse_value(adam, names[i], &zeros, words);
    }
    refuse_value(sgd, "optim.a.bias.exp_avg", &zeros, "unexpected: the optimiser (sgd)");
    refuse_value(sgd_heavy, "optim.a.bias.momentum_buffer", INT(1),
                 "momentum_buffer: expected f32[3], found i64[1]");
}

Test(optim_checkpoint, texts_that_do_not_fit_are_refused) {
    Run from = begin(adam_groups, TENSOR_F32, 1), to = begin(adam_groups, TENSOR_F32, 2);
    save(from);
    put_text("optim.kind", NULL);
    refuse(to, "optim", "optim.kind: missing");
    put_text("optim.kind", "sgd");
    refuse(to, "optim", "optim.kind: expected adam, found sgd");
    put_text("optim.kind", "adam");
    put_text("optim.group.3", "a.bias");
    refuse(to, "optim", "optim.group.3: expected no group, found one of a.bias");
    put_text("optim.group.3", NULL);
    restore(to);
    end(from);
    end(to);
}

Test(optim_checkpoint, files_that_were_cut_off_do_not_open) {
    Run run = begin(adam, TENSOR_F32, 1);
    Bytes whole = bytes_of(run);
    for (size_t size = 0; size < whole.size; size += 97) {
        FILE *f = fopen(path, "wb");
        cr_assert(f && fwrite(whole.bytes, 1, size, f) == size && fclose(f) == 0);
        TensorSafetensors *file;
        TensorError error = {{0}};
        cr_expect(!tensor_safetensors_open(path, &file, &error));
        cr_expect(strstr(error.message, "last.safetensors: "), "%s", error.message);
    }
    free(whole.bytes);
    end(run);
}

Test(optim_checkpoint, optimisers_in_no_state_to_be_saved_or_read_are_refused) {
    Run good = begin(asgd, TENSOR_F32, 1), swapped = begin(asgd, TENSOR_F32, 2);
    Run failed = begin(asgd, TENSOR_F32, 3);
    go(good, kind_of(asgd), quiet, 1, 3);
    go(swapped, kind_of(asgd), quiet, 1, 3);
    save(good);
    Bytes before = file_bytes();
    cr_assert(optim_swap_average(swapped.opt));
    optim_set_lr(failed.opt, -1);
    Optim *bad[] = {swapped.opt, failed.opt, NULL};
    const char *words[] = {"optim: the averages are in the parameters", "optim: lr -1",
                           "optim: out of memory: there is no optimiser"};
    TensorSafetensors *file = open_file();
    for (int i = 0; i < 3; i++) {
        TensorError error = {{0}};
        NnCheckpoint *c = nn_checkpoint_new();
        optim_checkpoint_add(bad[i], c, "optim");
        cr_expect(!nn_checkpoint_write(c, path, &error));
        cr_expect(strstr(error.message, words[i]), "%s", error.message);
        nn_checkpoint_free(c);
        cr_expect(!optim_checkpoint_read(file, path, "optim", bad[i], &error));
        cr_expect(strstr(error.message, words[i]), "%s", error.message);
    }
    tensor_safetensors_close(file);
    cr_expect(same_bytes(before, file_bytes()), "the file is as it was");
    optim_checkpoint_add(good.opt, NULL, "optim");
    cr_assert(optim_swap_average(swapped.opt));
    restore(swapped);
    expect_same(good, swapped, "swapped back");
    end(good);
    end(swapped);
    end(failed);
}

/* ---- memory ---- */

/* A momentum that is read needs slots of more than the memory at hand, and a parameter that was
 * made since is to be taken in. */
static Run large_run(Make *make, uint64_t seed) {
    NnParamSet *set = nn_params_new(TENSOR_F32, seed);
    nn_param(set, nn_init_normal(0, 1), 1, (int64_t[]){270000}, "a.large");
    Run run = {set, make(set)};
    nn_param(set, nn_init_normal(0, 1), 1, (int64_t[]){280000}, "a.late");
    cr_assert(nn_params_ok(set) && optim_ok(run.opt));
    return run;
}

Test(optim_checkpoint, reading_without_memory_changes_nothing) {
    Make *makes[] = {sgd, adam};
    for (int k = 0; k < 2; k++) {
        Run from = large_run(makes[k], 1), to = large_run(makes[k], 2);
        Run twin = large_run(makes[k], 2);
        if (k == 0) optim_set_momentum(from.opt, .9);
        go(from, kind_of(sgd), quiet, 1, 3);
        save(from);
        TensorSafetensors *file = open_file();
        TensorError error = {{0}};
        long n = 0;
        for (bool ok = false; !ok; n++) {
            fail_allocations_after(n);
            ok = optim_checkpoint_read(file, path, "optim", to.opt, &error);
            fail_allocations(false);
            cr_assert(ok || strstr(error.message, "out of memory"), "%s", error.message);
            cr_assert(optim_ok(to.opt), "%s", optim_error(to.opt));
            cr_assert(ok || optim_lr(to.opt) == optim_lr(twin.opt));
            cr_assert_lt(n, 100);
        }
        cr_expect_gt(n, 3, "%ld", n);
        cr_assert(nn_checkpoint_read_params(file, path, "model", to.set, &error));
        tensor_safetensors_close(file);
        go(from, kind_of(sgd), quiet, 3, 6);
        go(to, kind_of(sgd), quiet, 3, 6);
        expect_same(from, to, "read");
        file = open_file();
        fail_allocations_after(2);
        cr_expect(!optim_checkpoint_read(file, path, "optim", twin.opt, NULL));
        fail_allocations(false);
        tensor_safetensors_close(file);
        Run untouched = large_run(makes[k], 2);
        go(twin, kind_of(sgd), quiet, 1, 4);
        go(untouched, kind_of(sgd), quiet, 1, 4);
        expect_same(twin, untouched, "failed");
        end(from);
        end(to);
        end(twin);
        end(untouched);
    }
}

Test(optim_checkpoint, memory_of_a_reading_that_fails_serves_the_next) {
    Run from = large_run(sgd_heavy, 1), to = large_run(sgd_light, 2);
    save(from);
    put("optim.a.late.step", NULL);
    TensorSafetensors *file = open_file();
    long taken[3];
    for (int i = 0; i < 3; i++) {
        long before = allocations();
        cr_assert(!optim_checkpoint_read(file, path, "optim", to.opt, NULL));
        taken[i] = allocations() - before;
    }
    cr_expect_lt(taken[1], taken[0]);
    cr_expect_eq(taken[2], taken[1]);
    tensor_safetensors_close(file);
    end(from);
    end(to);
}

Test(optim_checkpoint, adding_without_memory_is_told_by_the_write) {
    Run run = begin(adam_groups, TENSOR_F32, 1);
    save(run);
    Bytes before = file_bytes();
    bool ok = false;
    for (long n = 0; !ok; n++) {
        TensorError error = {{0}};
        NnCheckpoint *c = nn_checkpoint_new();
        fail_allocations_after(n);
        optim_checkpoint_add(run.opt, c, "optim");
        fail_allocations(false);
        ok = nn_checkpoint_write(c, path, &error);
        cr_assert(ok || strstr(error.message, "out of memory"), "%s", error.message);
        cr_expect(ok || n > 0 || same_bytes(before, file_bytes()));
        cr_assert_lt(n, 100);
        nn_checkpoint_free(c);
    }
    end(run);
}
