/* mpi_check.c -- a program for mpirun: the functions of processes.h, and training by several
 * processes.
 *
 *     mpi_check functions
 *     mpi_check train OWN [OTHER]  trains and writes OWN.*; compares with the run that wrote OTHER.*,
 *                                  and goes on from the middle of that one
 *     mpi_check fail               process 1 fails, the others wait for it
 *
 * Every process prints what is wrong; the exit status is 1 then. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "examples/lm/processes.h"
#include "nn/embedding.h"
#include "steps.h"

static int failures;
static TensorError error;

static void expect(bool ok, const char *format, ...) AG_PRINTF(2, 3);
static void expect(bool ok, const char *format, ...) {
    if (ok) return;
    va_list arguments;
    va_start(arguments, format);
    printf("process %d of %d: ", lm_process(), lm_process_count());
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    failures++;
}

/* ---- functions ---- */

static void check_sum(void) {
    const int n = lm_process_count(), p = lm_process();
    enum { LONG = 600001 }; /* more than fits the buffer at once */
    const int64_t lengths[] = {0, 1, 2, 5, LONG};
    double *x = malloc(LONG * sizeof *x);
    for (int l = 0; l < 5; l++) {
        int64_t wrong = 0;
        for (int64_t i = 0; i < lengths[l]; i++) x[i] = (double)i / 3 + pow(10, -p);
        expect(lm_processes_sum(lengths[l], x, &error), "sum: %s", error.message);
        for (int64_t i = 0; i < lengths[l]; i++) {
            double want = (double)i / 3 + 1;
            for (int q = 1; q < n; q++) want += (double)i / 3 + pow(10, -q);
            wrong += x[i] != want; /* to the bit: in the order of processes */
        }
        expect(wrong == 0, "sum of %d: %d wrong", (int)lengths[l], (int)wrong);
    }
    free(x);
}

static void check_gather(void) {
    enum { A = 3, R = 2, C = 5, MOST = 64 };
    static float share[A * R * C], all[MOST * A * R * C];
    const int n = lm_process_count(), p = lm_process();
    for (int64_t a = 0; a < A; a++)
        for (int64_t i = 0; i < R * C; i++)
            share[a * R * C + i] = (float)(a * 1000 + p * R * C + i);
    Tensor from = tensor_wrap(share, TENSOR_F32, 3, (int64_t[]){A, R, C});
    Tensor to = tensor_wrap(all, TENSOR_F32, 3, (int64_t[]){A, n * R, C});
    Tensor nowhere = tensor_nil();
    expect(lm_processes_gather(&from, p == 0 ? &to : &nowhere, &error), "gather: %s",
           error.message);
    for (int64_t i = 0; i < A * n * R * C; i++) {
        double want = p > 0 ? 0 : (double)(i / (n * R * C) * 1000 + i % (n * R * C));
        expect(all[i] == (float)want, "gather: element %d is %g, not %g", (int)i, all[i], want);
    }
}

static void check_agreement(void) {
    const int n = lm_process_count(), p = lm_process();
    double x[] = {p + .5, -p};
    expect(lm_processes_broadcast(2, x, &error) && x[0] == .5 && x[1] == 0, "broadcast: %g", x[0]);
    expect(!lm_processes_any(false), "any of nothing");
    expect(lm_processes_any(p == n - 1), "any of the last");
    tensor_error_set(&error, "as it was");
    expect(lm_processes_agree(true, &error) && strcmp(error.message, "as it was") == 0,
           "agree changes the message to %s", error.message);
    for (int first = 0; first < n; first++) {
        bool ok = p < first || tensor_error_set(&error, "reason of %d", p);
        char want[32];
        snprintf(want, sizeof want, "reason of %d", first);
        expect(!lm_processes_agree(ok, &error) && strcmp(error.message, want) == 0,
               "agree: %s, not %s", error.message, want);
        expect(!lm_processes_agree(ok, NULL), "agree without a message");
    }
}

/* A gradient larger than the buffer, one by rows of which few are used, and a small one. */
static void check_grads(TensorDtype dtype) {
    enum { V = 1000, E = 3, LARGE = 700000, SMALL = 2 };
    const int n = lm_process_count(), p = lm_process();
    NnParamSet *set = nn_params_new(dtype, 1);
    NnEmbedding e = nn_embedding_make(set, "e", V, E, NULL);
    NnParam *large = nn_param(set, nn_init_constant(0), 1, (int64_t[]){LARGE}, "large");
    NnParam *buffer = nn_buffer(set, nn_init_constant(0), 1, (int64_t[]){SMALL}, "buffer");
    NnParam *small = nn_param(set, nn_init_constant(0), 1, (int64_t[]){SMALL}, "small");
    AgRows *rows = nn_grads_rows(nn_params_grads(set), e.weight->index);
    nn_zero_grad(set);
    expect(nn_params_ok(set) && rows && buffer, "%s", nn_params_error(set));
    int64_t used[] = {7 * p, V - 1}, two = 2, wrong = 0;
    Tensor index = tensor_wrap(used, TENSOR_I64, 1, &two);
    ag_rows_use(rows, &index);
    for (int c = 0; c < E; c++) {
        tensor_set(&e.weight->grad, used[0] * E + c, p + 1);
        tensor_set(&e.weight->grad, used[1] * E + c, 1);
    }
    for (int64_t i = 0; i < LARGE; i++) tensor_set(&large->grad, i, (double)(i % 97 + p));
    for (int64_t i = 0; i < SMALL; i++) tensor_set(&small->grad, i, (double)i);
    expect(lm_processes_sum_grads(nn_params_grads(set), &error), "grads: %s", error.message);
    for (int64_t i = 0; i < V * E; i++) {
        int64_t r = i / E;
        double want = r == V - 1 ? n : r % 7 == 0 && r / 7 < n ? (double)(r / 7) + 1 : 0;
        bool is_used = rows->used[r / 64] >> r % 64 & 1;
        wrong += tensor_get(&e.weight->grad, i) != want || is_used != (want > 0);
    }
    expect(wrong == 0 && !rows->all, "grads by rows: %d wrong", (int)wrong);
    for (int64_t i = 0; i < LARGE; i++)
        wrong += tensor_get(&large->grad, i) != (double)(i % 97 * n + n * (n - 1) / 2);
    for (int64_t i = 0; i < SMALL; i++) wrong += tensor_get(&small->grad, i) != (double)(i * n);
    expect(wrong == 0, "grads: %d wrong", (int)wrong);
    rows->all = p == n - 1;
    expect(lm_processes_sum_grads(nn_params_grads(set), &error) && rows->all,
           "all rows of one process are used in all");
    nn_params_free(set);
}

static void check_functions(void) {
    check_sum();
    check_gather();
    check_agreement();
    check_grads(TENSOR_F32);
    check_grads(TENSOR_F64);
}

/* ---- training ---- */

enum { MIDDLE = STEPS_WINDOWS / 2, PATH = 1024 };

/* Threads, so that these are shared, too, where the rows can be. */
static int64_t workers(void) { return STEPS_B / lm_process_count() % 2 == 0 ? 2 : 1; }

static void path_of(char path[PATH], const char *name, int kind, const char *phase) {
    snprintf(path, PATH, "%s.%d.%s", name, kind, phase);
}

static void save(Steps *s, const char *name, int kind, const char *phase) {
    char path[PATH];
    path_of(path, name, kind, phase);
    NnCheckpoint *c = lm_process() == 0 ? nn_checkpoint_new() : NULL;
    expect(lm_workers_add_state(s->workers, c, "state", &error), "state: %s", error.message);
    nn_checkpoint_add_params(c, "model", s->model.set);
    nn_checkpoint_add_reals(c, "loss", STEPS_WINDOWS, s->loss);
    expect(!c || nn_checkpoint_write(c, path, &error), "%s", error.message);
    nn_checkpoint_free(c);
}

static void load(Steps *s, const char *name, int kind, const char *phase) {
    char path[PATH];
    path_of(path, name, kind, phase);
    TensorSafetensors *file;
    bool ok = tensor_safetensors_open(path, &file, &error) &&
              nn_checkpoint_read_params(file, path, "model", s->model.set, &error) &&
              nn_checkpoint_read_reals(file, path, "loss", STEPS_WINDOWS, s->loss, &error) &&
              lm_workers_read_state(s->workers, file, path, "state", &error);
    expect(ok, "%s", error.message);
    tensor_safetensors_close(file);
}

static void run(Steps *s, int first, int last) {
    expect(steps_run(s, first, last, false, &error), "%s", error.message);
}

/* Every process has process 0's parameters, to the bit. */
static void expect_equal_bits(Steps *s, const char *name) {
    int64_t wrong = 0;
    for (int i = 0; i < nn_params_count(s->model.set); i++) {
        Tensor x = nn_params_at(s->model.set, i)->value;
        for (int64_t e = 0; e < tensor_numel(&x); e++) {
            double own = tensor_get(&x, e), first = own;
            expect(lm_processes_broadcast(1, &first, &error), "%s", error.message);
            wrong += own != first;
        }
    }
    expect(wrong == 0, "%s: %d parameters are not process 0's", name, (int)wrong);
}

static void expect_same(const Steps *s, const Steps *other, const char *name) {
    double distance = steps_value_distance(s, other);
    expect(distance < 5e-6, "%s: parameters differ by %g", name, distance);
    for (int w = 0; w < STEPS_WINDOWS; w++)
        expect(fabs(s->loss[w] - other->loss[w]) < 2e-6, "%s: loss of window %d: %.9g, not %.9g",
               name, w, s->loss[w], other->loss[w]);
}

static void check_training(const StepsKind *kind, const char *own, const char *other) {
    const int k = (int)(kind - steps_kinds);
    Steps *s = steps_new(kind, workers(), &error), *end = steps_new(kind, workers(), &error);
    expect(s && end, "%s", error.message);
    run(s, 0, MIDDLE - 1);
    save(s, own, k, "middle");
    run(s, MIDDLE, STEPS_WINDOWS - 1);
    save(s, own, k, "end");
    expect_equal_bits(s, kind->name);
    if (other) {
        load(end, other, k, "end");
        expect_same(s, end, kind->name);
        load(s, other, k, "middle");
        run(s, MIDDLE, STEPS_WINDOWS - 1);
        expect_same(s, end, kind->name);
    }
    steps_free(s);
    steps_free(end);
}

/* What is wrong in the rows of the last process is known to all, and they go on together. */
static void check_trouble(void) {
    const int n = lm_process_count();
    Steps *s = steps_new(steps_kinds, workers(), &error);
    Tensor x, y;
    LmStep step;
    static int64_t id[STEPS_T * STEPS_B];
    steps_window(s, 0, &x, &y);
    Tensor wrong = tensor_wrap(id, TENSOR_I64, 2, x.shape);
    tensor_set(&wrong, STEPS_B - 1, -1);
    expect(!lm_workers_step(s->workers, &wrong, &y, 0, true, 1, &step, &error) &&
               strstr(error.message, "-1"),
           "a wrong token: %s", error.message);
    int64_t token = steps_token_of(&x, n - 1, n);
    Tensor *table = &s->model.embedding.weight->value;
    double old = tensor_get(table, token * table->shape[1]);
    tensor_set(table, token * table->shape[1], NAN);
    nn_param_touch(s->model.embedding.weight);
    expect(token >= 0 && lm_workers_step(s->workers, &x, &y, 0, true, 1, &step, &error) &&
               !step.finite,
           "a step with NaN");
    expect(lm_workers_trace(s->workers, &x, &y, 0, &error) &&
               strstr(error.message, "embedding.weight"),
           "its trace: %s", error.message);
    tensor_set(table, token * table->shape[1], old);
    nn_param_touch(s->model.embedding.weight);
    expect(!lm_workers_trace(s->workers, &x, &y, 0, &error), "%s", error.message);
    run(s, 0, 1);
    steps_free(s);
}

/* ---- the program ---- */

int main(int argc, char **argv) {
    if (!lm_processes_start(&argc, &argv, &error)) expect(false, "%s", error.message);
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "functions") == 0) {
        check_functions();
    } else if (strcmp(what, "train") == 0 && argc > 2) {
        for (const StepsKind *k = steps_kinds; k->name; k++)
            check_training(k, argv[2], argc > 3 ? argv[3] : NULL);
        check_trouble();
    } else if (strcmp(what, "fail") == 0) {
        if (lm_process() == 1) expect(false, "fails");
        else lm_processes_any(true);
    } else {
        expect(false, "no such check: %s", what);
    }
    fflush(stdout);
    lm_processes_end(failures > 0);
    return failures > 0;
}
