/* measure.c -- the clock, and steps that take turns. */
#include "bench/measure.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { WARM_UP = 2, MIN_STEPS = 5 };

double bench_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

BenchTiming bench_timing(double *seconds, int n) {
    qsort(seconds, (size_t)n, sizeof *seconds, by_size);
    return (BenchTiming){(seconds[(n - 1) / 2] + seconds[n / 2]) / 2, seconds[0], n};
}

static bool warm_up(int kinds, const BenchStep *step) {
    for (int i = 0; i < WARM_UP; i++)
        for (int k = 0; k < kinds; k++)
            if (!step[k].run(step[k].context)) return false;
    return true;
}

bool bench_time(int kinds, const BenchStep *step, double budget, BenchTiming *timing) {
    static double spent[BENCH_MAX_KINDS][BENCH_MAX_STEPS];
    if (!warm_up(kinds, step)) return false;
    double start = bench_seconds(), now = start;
    int n = 0;
    for (; n < BENCH_MAX_STEPS && (n < MIN_STEPS || now - start < budget); n++)
        for (int k = 0; k < kinds; k++) {
            double before = bench_seconds();
            if (!step[k].run(step[k].context)) return false;
            now = bench_seconds();
            spent[k][n] = now - before;
        }
    for (int k = 0; k < kinds; k++) timing[k] = bench_timing(spent[k], n);
    return true;
}

double bench_rss_mib(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024; /* Linux counts KiB */
}
