/* Two threads that call tensor_parallel at the same time, again and again, with pauses in which
 * the library's threads fall asleep; every range writes plain memory that its caller then reads.
 * A plain program, so that it runs under ThreadSanitizer. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tensor/parallel.h"

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

static bool run(int threads) {
    pthread_t id[CALLERS];
    Sums *sums = calloc(CALLERS, sizeof *sums);
    bool right = sums != NULL && tensor_threads_set(threads);
    for (int i = 0; right && i < CALLERS; i++)
        if (pthread_create(&id[i], NULL, call, &sums[i]) != 0) abort();
    for (int i = 0, n = right ? CALLERS : 0; i < n; i++) {
        void *done;
        pthread_join(id[i], &done);
        right &= done != NULL;
    }
    free(sums);
    printf("%d threads for %d callers: %s\n", threads, CALLERS, right ? "right" : "wrong");
    return right;
}

int main(void) {
    static const int threads[] = {2, 5, 3, 1, 2};
    bool ok = true;
    for (int i = 0; i < 5; i++) ok &= run(threads[i]);
    puts(ok ? "passed" : "FAILED");
    return !ok;
}
