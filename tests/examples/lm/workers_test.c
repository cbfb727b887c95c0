/* Steps of the language model that are shared among workers. */
#include "examples/lm/workers.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <string.h>

#include "steps.h"
#include "tensor/parallel.h"
#include "tests/support/allocations.h"
#include "tests/support/folder.h"

static TensorError error;

static Steps *start(const StepsKind *kind, int64_t workers) {
    Steps *s = steps_new(kind, workers, &error);
    cr_assert(s, "%s", error.message);
    return s;
}

static void run(Steps *s, int first, int last, bool accumulate) {
    cr_assert(steps_run(s, first, last, accumulate, &error), "%s", error.message);
}

static const StepsKind *kind_of(const char *name) {
    const StepsKind *k = steps_kinds;
    while (strcmp(k->name, name) != 0) k++;
    return k;
}

/* ---- any number of workers ---- */

static void expect_same(const Steps *a, const Steps *b, const char *what, int n) {
    for (int w = 0; w < STEPS_WINDOWS; w++)
        cr_expect_float_eq(a->loss[w], b->loss[w], 2e-6, "%s, %d: loss of window %d: %.9g, not %.9g",
                           what, n, w, b->loss[w], a->loss[w]);
    double grads = steps_grad_distance(a, b), values = steps_value_distance(a, b);
    cr_expect(grads < 5e-6, "%s, %d: gradients differ by %g", what, n, grads);
    cr_expect(values < 5e-6, "%s, %d: parameters differ by %g", what, n, values);
}

Test(workers, any_number_computes_the_same_whatever_is_dropped) {
    for (const StepsKind *k = steps_kinds; k->name; k++) {
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            Steps *one = start(k, 1);
            run(one, 0, STEPS_WINDOWS - 1, accumulate);
            for (int n = 2; n <= STEPS_B; n += n < 4 ? 1 : 8) {
                Steps *s = start(k, n);
                run(s, 0, STEPS_WINDOWS - 1, accumulate);
                expect_same(one, s, k->name, n);
                steps_free(s);
            }
            steps_free(one);
        }
    }
}

Test(workers, repeat_to_the_bit) {
    const StepsKind *k = kind_of("everything");
    int threads = tensor_threads();
    Steps *first = start(k, 3);
    run(first, 0, STEPS_WINDOWS - 1, false);
    for (int i = 1; i <= 4; i++) {
        cr_assert(tensor_threads_set(i));
        Steps *again = start(k, 3);
        run(again, 0, STEPS_WINDOWS - 1, false);
        cr_expect_eq(steps_value_distance(first, again), 0);
        cr_expect_eq(steps_grad_distance(first, again), 0);
        cr_expect_eq(memcmp(first->loss, again->loss, sizeof first->loss), 0);
        cr_expect_eq(tensor_threads(), i, "the number of threads is the caller's again");
        steps_free(again);
    }
    tensor_threads_set(threads);
    steps_free(first);
}

/* ---- what a step computes ---- */

/* The documented loss, by its formula. */
static double documented(Steps *s, const Tensor *x, const Tensor *y, double *cross_entropy) {
    AgTape *t = ag_tape_new();
    NnState *zero = nn_state_new(TENSOR_F32);
    ag_tape_training(t, true);
    ag_tape_rng(t, (uint64_t)s->settings.seed, 0);
    LmState before = lm_model_load(&s->model, zero, t, STEPS_B);
    AgVar raw, h = lm_model_hidden(&s->model, &before, ag_input(t, x), &raw, NULL);
    AgVar ce = ag_cross_entropy(nn_linear(&s->model.out, h), ag_input(t, y), NULL);
    const Tensor *a = ag_value(h), *b = ag_value(raw);
    double activation = 0, temporal = 0;
    int64_t T = a->shape[0], n = tensor_numel(a), width = n / T;
    for (int64_t i = 0; i < n; i++) activation += pow(tensor_get(a, i), 2);
    for (int64_t i = width; i < n; i++)
        temporal += pow(tensor_get(b, i) - tensor_get(b, i - width), 2);
    *cross_entropy = ag_item(ce);
    double loss = *cross_entropy + s->settings.alpha * activation / (double)n;
    if (T > 1) loss += s->settings.beta * temporal / (double)(n - width);
    nn_state_free(zero);
    ag_tape_free(t);
    return loss * (s->settings.reduction == LM_PER_ROW ? (double)T : 1);
}

/* Along the gradient the loss falls as the gradient says. */
static void expect_gradient_of(Steps *s, const char *name, const Tensor *x, const Tensor *y,
                               double scale) {
    LmStep result;
    cr_assert(lm_workers_step(s->workers, x, y, 0, true, scale, &result, &error), "%s",
              error.message);
    cr_assert(lm_workers_reduce(s->workers, &error));
    double square = 0, at[2], measured;
    const double h = 2e-3;
    documented(s, x, y, &measured);
    cr_expect_float_eq(result.loss, measured, 1e-6, "%s: the loss without penalties", name);
    for (int i = 0; i < nn_params_count(s->model.set); i++) {
        Tensor g = nn_grads_at(lm_workers_grads(s->workers), i);
        for (int64_t e = 0; e < tensor_numel(&g); e++) square += pow(tensor_get(&g, e), 2);
    }
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < nn_params_count(s->model.set); i++) {
            NnParam *p = nn_params_at(s->model.set, i);
            Tensor g = nn_grads_at(lm_workers_grads(s->workers), i);
            double by = (side ? 2 : -1) * h / sqrt(square);
            for (int64_t e = 0; e < tensor_numel(&g); e++)
                tensor_set(&p->value, e, tensor_get(&p->value, e) + by * tensor_get(&g, e));
            nn_param_touch(p);
        }
        at[side] = documented(s, x, y, &measured);
    }
    double slope = (at[1] - at[0]) / (2 * h) * scale;
    cr_expect_float_eq(slope / sqrt(square), 1, 2e-3, "%s: slope %g, gradient %g", name, slope,
                       sqrt(square));
}

Test(workers, the_gradient_is_that_of_the_documented_loss) {
    for (const StepsKind *k = steps_kinds; k->name; k++) {
        for (int workers = 1; workers < 3; workers++) {
            Steps *s = start(k, workers);
            Tensor x, y;
            steps_window(s, 0, &x, &y);
            expect_gradient_of(s, k->name, &x, &y, workers == 1 ? 1 : .25);
            steps_free(s);
        }
    }
}

Test(workers, a_window_of_one_step_has_no_temporal_penalty) {
    Steps *s = start(kind_of("temporal activation"), 2);
    Tensor x, y;
    steps_window(s, 0, &x, &y);
    Tensor x1 = tensor_narrow(&x, 0, 2, 1), y1 = tensor_narrow(&y, 0, 2, 1);
    expect_gradient_of(s, "one step", &x1, &y1, 1);
    steps_free(s);
}

static LmStep step(Steps *s, int window, bool first, double scale) {
    Tensor x, y;
    LmStep result;
    steps_window(s, window, &x, &y);
    cr_assert(lm_workers_step(s->workers, &x, &y, (uint64_t)window, first, scale, &result, &error),
              "%s", error.message);
    return result;
}

/* The gradients of two windows at once, of each by itself, and how far apart they are. */
Test(workers, gradients_of_several_windows_add_up) {
    for (int n = 1; n < 4; n++) {
        Steps *both = start(kind_of("plain"), n);
        Steps *alone[] = {start(kind_of("plain"), n), start(kind_of("plain"), n)};
        step(both, 0, true, .5);
        step(both, 1, false, .5);
        step(alone[0], 0, true, .5);
        step(alone[1], 0, true, 1); /* for the state */
        step(alone[1], 1, true, .5);
        Steps *const all[] = {both, alone[0], alone[1]};
        double apart = 0, size = 0;
        for (int k = 0; k < 3; k++) cr_assert(lm_workers_reduce(all[k]->workers, &error));
        for (int i = 0; i < nn_params_count(both->model.set); i++) {
            Tensor g[3];
            for (int k = 0; k < 3; k++) g[k] = nn_grads_at(lm_workers_grads(all[k]->workers), i);
            for (int64_t e = 0; e < tensor_numel(&g[0]); e++) {
                double sum = tensor_get(&g[1], e) + tensor_get(&g[2], e);
                apart += fabs(sum - tensor_get(&g[0], e));
                size += fabs(sum);
            }
        }
        cr_expect(apart < 1e-5 * size, "%d workers: %g of %g", n, apart, size);
        for (int k = 0; k < 3; k++) steps_free(all[k]);
    }
}

static int threads_of_process(void) {
    int threads = 0;
    DIR *tasks = opendir("/proc/self/task");
    cr_assert(tasks);
    for (struct dirent *d; (d = readdir(tasks));) threads += d->d_name[0] != '.';
    closedir(tasks);
    return threads;
}

Test(workers, one_worker_needs_no_thread_and_uses_the_models_own_gradients) {
    int before = threads_of_process();
    for (int n = 1; n <= 3; n++) {
        Steps *s = start(kind_of("plain"), n);
        cr_expect_eq(threads_of_process(), before + n - 1);
        cr_expect_eq(lm_workers_grads(s->workers), nn_params_grads(s->model.set));
        steps_free(s);
        cr_expect_eq(threads_of_process(), before);
    }
}

/* ---- what goes wrong ---- */

Test(workers, a_wrong_window_is_refused_and_the_next_one_is_not) {
    Steps *s = start(kind_of("everything"), 3), *other = start(kind_of("everything"), 3);
    Tensor x, y;
    LmStep result;
    steps_window(s, 0, &x, &y);
    Tensor few = tensor_narrow(&x, 1, 0, STEPS_B - 1);
    cr_expect(!lm_workers_step(s->workers, &few, &y, 0, true, 1, &result, &error));
    cr_expect(strstr(error.message, "i64[7,11]") && strstr(error.message, "12 rows"), "%s",
              error.message);
    cr_expect(isnan(result.loss) && !result.finite);
    for (int in_y = 0; in_y < 2; in_y++) {
        static int64_t id[STEPS_T * STEPS_B];
        Tensor wrong = tensor_wrap(id, TENSOR_I64, 2, x.shape);
        tensor_set(&wrong, 5 * STEPS_B + 9, STEPS_V); /* of the last worker */
        cr_expect(!lm_workers_step(s->workers, in_y ? &x : &wrong, in_y ? &wrong : &y, 0, true, 1,
                                   &result, &error));
        cr_expect(strstr(error.message, "lm") == error.message && strstr(error.message, "53"),
                  "%s", error.message);
    }
    run(s, 0, 1, false);
    run(other, 0, 1, false);
    cr_expect_eq(steps_value_distance(s, other), 0, "a refused window leaves no trace");
    steps_free(s);
    steps_free(other);
}

Test(workers, a_step_that_is_not_finite_is_not_carried_and_can_be_traced) {
    for (int worker = 0; worker < 3; worker++) {
        Steps *s = start(kind_of("plain"), 3), *other = start(kind_of("plain"), 3);
        Tensor x, y;
        run(s, 0, 0, false);
        run(other, 0, 0, false);
        steps_window(s, 1, &x, &y);
        Tensor *table = &s->model.embedding.weight->value;
        int64_t token = steps_token_of(&x, worker, 3), at = token * table->shape[1];
        cr_assert(token >= 0);
        double old = tensor_get(table, at);
        tensor_set(table, at, NAN);
        nn_param_touch(s->model.embedding.weight);
        LmStep result = step(s, 1, true, 1);
        cr_expect(!result.finite && isnan(result.loss));
        cr_expect(lm_workers_trace(s->workers, &x, &y, 1, &error));
        cr_expect(strstr(error.message, "lm") == error.message &&
                      strstr(error.message, "embedding.weight"),
                  "%s", error.message);
        tensor_set(table, at, old);
        nn_param_touch(s->model.embedding.weight);
        run(s, 1, 2, false);
        run(other, 1, 2, false);
        cr_expect_eq(steps_value_distance(s, other), 0, "as if that step had not been");
        steps_free(s);
        steps_free(other);
    }
}

Test(workers, tracing_a_finite_step_finds_nothing_and_moves_nothing) {
    Steps *s = start(kind_of("everything"), 2), *other = start(kind_of("everything"), 2);
    Tensor x, y;
    for (int w = 0; w < 3; w++) {
        run(s, w, w, false);
        run(other, w, w, false);
        steps_window(s, w, &x, &y);
        cr_expect(!lm_workers_trace(s->workers, &x, &y, (uint64_t)w, &error));
    }
    cr_expect_eq(steps_value_distance(s, other), 0);
    steps_free(s);
    steps_free(other);
}

static void fill(NnParam *p, double value) {
    for (int64_t e = 0; e < tensor_numel(&p->value); e++) tensor_set(&p->value, e, value);
    nn_param_touch(p);
}

/* With inputs of zero the LSTM gives zeros whatever its weights, which only gradients meet. */
Test(workers, a_gradient_that_is_not_finite_can_be_traced) {
    Steps *s = start(kind_of("plain"), 2);
    Tensor x, y;
    for (int i = 0; i < nn_params_count(s->model.set); i++)
        fill(nn_params_at(s->model.set, i), 0);
    fill(nn_params_find(s->model.set, "lstm.weight_ih_l1"), 1e15);
    for (int64_t e = 0; e < s->model.config.hidden; e++)
        tensor_set(&s->model.out.weight->value, e, 1e38);
    LmStep result = step(s, 0, true, 1);
    cr_expect(result.finite && fabs(result.loss - log(STEPS_V)) < 1e-6, "%g", result.loss);
    steps_window(s, 0, &x, &y);
    cr_expect(lm_workers_trace(s->workers, &x, &y, 0, &error));
    cr_expect(strstr(error.message, "lm/lstm") == error.message, "%s", error.message);
    steps_free(s);
}

Test(workers, the_trace_starts_where_the_step_did) {
    Steps *s = start(kind_of("everything"), 1), *other = start(kind_of("everything"), 1);
    Tensor x, y;
    for (int w = 0; w < 3; w++) {
        steps_window(s, w, &x, &y);
        step(s, w, true, 1);
        step(other, w, true, 1);
        cr_expect(!lm_workers_trace(s->workers, &x, &y, (uint64_t)w, &error));
        cr_expect(steps_grad_distance(s, other) < 5e-6, "the same gradients once more");
    }
    steps_free(s);
    steps_free(other);
}

/* Every allocation is the last one that succeeds; one worker, so that it is the same each time.
 * BLIS, which aborts without the memory of its first call, has had that. */
Test(workers, memory_that_runs_out_is_an_error_and_the_next_step_counts) {
    Steps *s = start(kind_of("everything"), 1), *other = start(kind_of("everything"), 1);
    Tensor x, y;
    bool made = false, done = false;
    run(other, 0, 2, false);
    for (long n = 0; !made; n++) {
        fail_allocations_after(n);
        LmWorkers *w = lm_workers_new(&s->model, &s->settings, &error);
        fail_allocations(false);
        made = w != NULL;
        if (!made) cr_expect(strstr(error.message, "out of memory"), "%s", error.message);
        lm_workers_free(w);
        memset(&error, 0, sizeof error);
    }
    steps_window(s, 0, &x, &y);
    for (long n = 0; !done; n++) {
        LmStep result;
        fail_allocations_after(n);
        done = lm_workers_step(s->workers, &x, &y, 0, true, 1, &result, &error);
        fail_allocations(false);
        if (!done) cr_expect(strstr(error.message, "out of memory"), "%s", error.message);
        memset(&error, 0, sizeof error);
    }
    lm_workers_zero_state(s->workers);
    run(s, 0, 2, false);
    cr_expect_eq(steps_value_distance(s, other), 0);
    steps_free(s);
    steps_free(other);
}

Test(workers, memory_that_runs_out_in_several_at_once_is_an_error) {
    Steps *s = start(kind_of("everything"), 4), *other = start(kind_of("everything"), 4);
    Tensor x, y;
    LmStep result;
    run(other, 0, 1, false);
    steps_window(s, 0, &x, &y);
    fail_allocations(true);
    bool ok = lm_workers_step(s->workers, &x, &y, 0, true, 1, &result, &error);
    fail_allocations(false);
    cr_expect(!ok && strstr(error.message, "out of memory"), "%s", error.message);
    run(s, 0, 1, false);
    cr_expect_eq(steps_value_distance(s, other), 0);
    steps_free(s);
    steps_free(other);
}

/* After the first step nothing is allocated. */
Test(workers, a_step_after_the_first_needs_no_memory) {
    for (int n = 1; n <= 3; n++) {
        Steps *s = start(kind_of("everything"), n);
        Tensor x, y;
        LmStep result;
        run(s, 0, 1, false);
        steps_window(s, 2, &x, &y);
        long before = allocations();
        cr_expect(lm_workers_step(s->workers, &x, &y, 2, true, 1, &result, &error));
        cr_expect(lm_workers_reduce(s->workers, &error));
        cr_expect_eq(allocations(), before, "%d workers: %ld allocations", n,
                     allocations() - before);
        steps_free(s);
    }
}

/* ---- the carried state ---- */

static char path[TEST_PATH_SIZE];
static void make_folder(void) { test_folder_make(path, "state.safetensors"); }
static void remove_folder(void) { test_folder_remove(path); }

static void save(Steps *s) {
    NnCheckpoint *c = nn_checkpoint_new();
    cr_assert(lm_workers_add_state(s->workers, c, "state", &error), "%s", error.message);
    nn_checkpoint_add_params(c, "model", s->model.set);
    cr_assert(nn_checkpoint_write(c, path, &error), "%s", error.message);
    nn_checkpoint_free(c);
}

static bool load(Steps *s, const char *prefix) {
    TensorSafetensors *file;
    cr_assert(tensor_safetensors_open(path, &file, &error), "%s", error.message);
    bool ok = nn_checkpoint_read_params(file, path, "model", s->model.set, &error) &&
              lm_workers_read_state(s->workers, file, path, prefix, &error);
    tensor_safetensors_close(file);
    return ok;
}

Test(workers, another_number_goes_on_from_the_state, .init = make_folder, .fini = remove_folder) {
    const char *const kinds[] = {"one-hot", "everything"};
    const int counts[] = {1, 2, 3, 12};
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 4 * 4; i++) {
            Steps *s = start(kind_of(kinds[k]), counts[i % 4]);
            Steps *other = start(kind_of(kinds[k]), counts[i / 4]);
            run(s, 0, 2, false);
            save(s);
            cr_assert(load(other, "state"), "%s", error.message);
            run(s, 3, STEPS_WINDOWS - 1, false);
            run(other, 3, STEPS_WINDOWS - 1, false);
            memcpy(other->loss, s->loss, 3 * sizeof *s->loss);
            expect_same(s, other, kinds[k], counts[i % 4]);
            if (i % 4 == i / 4) cr_expect_eq(steps_value_distance(s, other), 0, "to the bit");
            steps_free(s);
            steps_free(other);
        }
    }
}

Test(workers, a_state_that_does_not_fit_is_refused, .init = make_folder, .fini = remove_folder) {
    Steps *s = start(kind_of("everything"), 2), *other = start(kind_of("everything"), 3);
    run(s, 0, 0, false);
    save(s);
    cr_expect(!load(other, "elsewhere"));
    cr_expect(strstr(error.message, path) && strstr(error.message, "elsewhere.last.c"), "%s",
              error.message);
    steps_free(other);
    other = start(kind_of("everything"), 5); /* 10 rows in all */
    cr_expect(!load(other, "state"));
    cr_expect(strstr(error.message, path) && strstr(error.message, "12") &&
                  strstr(error.message, "10"),
              "%s", error.message);
    steps_free(s);
    steps_free(other);
}

Test(workers, a_zero_state_is_that_of_the_start) {
    Steps *s = start(kind_of("plain"), 2);
    LmStep first = step(s, 0, true, 1), second = step(s, 0, true, 1);
    lm_workers_zero_state(s->workers);
    LmStep third = step(s, 0, true, 1);
    cr_expect_neq(first.loss, second.loss);
    cr_expect_eq(first.loss, third.loss);
    steps_free(s);
}
