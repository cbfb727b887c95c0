/* Two threads that call tensor_parallel at the same time, again and again, with pauses in which
 * the library's threads fall asleep; every range writes plain memory that its caller then reads.
 * Then two that compute with tensors.  A plain program, so that it runs under ThreadSanitizer. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensor/gemm.h"
#include "tensor/kernels.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"

enum { CALLERS = 2, CALLS = 3000, PAUSE_EVERY = 150, MOST = 200 };

typedef struct {
    int64_t start, value[MOST], inner[MOST][4];
} Sums;

typedef struct {
    Sums *sums;
    int64_t i;
} Inner;

static void write_inner(int64_t begin, int64_t end, void *context) {
    const Inner *in = context;
    for (int64_t k = begin; k < end; k++) in->sums->inner[in->i][k] = in->sums->start + k;
}

static void write_values(int64_t begin, int64_t end, void *context) {
    Sums *s = context;
    for (int64_t i = begin; i < end; i++) {
        tensor_parallel(4, 1, write_inner, &(Inner){s, i});
        s->value[i] = i;
        for (int k = 0; k < 4; k++) s->value[i] += s->inner[i][k];
    }
}

static bool is_right(const Sums *s, int64_t n) {
    bool right = true;
    for (int64_t i = 0; i < n; i++) right &= s->value[i] == i + 4 * s->start + 6;
    return right;
}

static void *call(void *argument) {
    Sums *s = argument;
    for (int i = 0; i < CALLS; i++) {
        const int64_t n = 1 + i % MOST;
        s->start = i;
        tensor_parallel(n, 1 + i % 5, write_values, s);
        if (!is_right(s, n)) return NULL;
        if (i % PAUSE_EVERY == 0) nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return s;
}

/* ---- tensors ---- */

enum { ROWS = 64, COLUMNS = 1000, STEPS = 30 };

static float input[ROWS * COLUMNS];
static int64_t places[ROWS];

typedef struct {
    float y[ROWS * COLUMNS], sum[COLUMNS], table[ROWS * COLUMNS], product[ROWS * ROWS];
} Results;

static bool compute(Results *r) {
    const int64_t shape[] = {ROWS, COLUMNS}, row[] = {1, COLUMNS}, square[] = {ROWS, ROWS};
    const Tensor x = tensor_wrap(input, TENSOR_F32, 2, shape);
    const Tensor y = tensor_wrap(r->y, TENSOR_F32, 2, shape);
    const Tensor sum = tensor_wrap(r->sum, TENSOR_F32, 2, row);
    const Tensor table = tensor_wrap(r->table, TENSOR_F32, 2, shape);
    const Tensor product = tensor_wrap(r->product, TENSOR_F32, 2, square);
    const Tensor turned = tensor_transpose(&y, 0, 1);
    const Tensor index = tensor_wrap(places, TENSOR_I64, 1, shape);
    tensor_fill(&table, 0);
    tensor_unary(TENSOR_TANH, &y, &x);
    tensor_dropout(&y, &y, (TensorRngKey){1, 2, 3}, .5, -1, 0, 0);
    tensor_index_add(&table, 0, &index, &y);
    tensor_softmax(&y, &table, 1);
    tensor_sum(&sum, &y);
    TensorArena *scratch = tensor_arena_new();
    const bool right = scratch && tensor_gemm(1, &y, &turned, 0, &product, scratch);
    tensor_arena_free(scratch);
    return right;
}

static void *compute_often(void *argument) {
    const Results *expected = argument;
    Results *r = calloc(1, sizeof *r);
    bool right = r != NULL;
    for (int i = 0; right && i < STEPS; i++) {
        right = compute(r) && memcmp(r, expected, sizeof *r) == 0;
    }
    free(r);
    return right ? argument : NULL;
}

/* ---- both ---- */

/* f on threads of its own, for argument + i step; false where one returns NULL. */
static bool run_callers(void *(*f)(void *), void *argument, size_t step) {
    pthread_t id[CALLERS];
    bool right = true;
    for (size_t i = 0; i < CALLERS; i++)
        if (pthread_create(&id[i], NULL, f, (char *)argument + i * step) != 0) abort();
    for (int i = 0; i < CALLERS; i++) {
        void *done;
        pthread_join(id[i], &done);
        right &= done != NULL;
    }
    return right;
}

int main(void) {
    static const int threads[] = {2, 5, 3, 1, 2};
    static Sums sums[CALLERS];
    static Results expected;
    for (int i = 0; i < ROWS * COLUMNS; i++) input[i] = (float)(i % 77) / 77;
    for (int i = 0; i < ROWS; i++) places[i] = i * i % ROWS;
    tensor_threads_set(1);
    bool ok = compute(&expected);
    for (int i = 0; i < 5; i++) {
        ok &= tensor_threads_set(threads[i]);
        const bool ranges = run_callers(call, sums, sizeof *sums);
        const bool tensors = run_callers(compute_often, &expected, 0);
        printf("%d threads for %d callers: ranges %s, tensors %s\n", threads[i], CALLERS,
               ranges ? "right" : "wrong", tensors ? "right" : "wrong");
        ok &= ranges && tensors;
    }
    puts(ok ? "passed" : "FAILED");
    return !ok;
}
