/* Timing, medians and processes of the benchmark program. */
#include "bench/measure.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <signal.h>
#include <stdlib.h>

#include "bench/child.h"
#include "bench/fma.h"
#include "bench/peak.h"
#include "tensor/parallel.h"

Test(measure, a_timing_is_median_minimum_and_number) {
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 8}, one[] = {5};
    BenchTiming t = bench_timing(odd, 3);
    cr_assert(t.median == 2 && t.minimum == 1 && t.n == 3);
    t = bench_timing(even, 4);
    cr_assert(t.median == 3.5 && t.minimum == 1 && t.n == 4);
    t = bench_timing(one, 1);
    cr_assert(t.median == 5 && t.minimum == 5 && t.n == 1);
}

typedef struct {
    char calls[64];
    int n, fail_at; /* -1: never */
} Log;

static bool note(Log *log, char kind) {
    if (log->n == log->fail_at) return false;
    if (log->n < (int)sizeof log->calls - 1) log->calls[log->n] = kind;
    log->n++;
    return true;
}

static bool step_a(void *log) { return note(log, 'a'); }
static bool step_b(void *log) { return note(log, 'b'); }

Test(measure, kinds_of_steps_take_turns) {
    Log log = {.fail_at = -1};
    BenchStep step[] = {{step_a, &log}, {step_b, &log}};
    BenchTiming timing[2];
    cr_assert(bench_time(2, step, 0, timing));
    cr_assert_str_eq(log.calls, "ababababababab", "2 not counted and 5 counted of each");
    for (int k = 0; k < 2; k++)
        cr_assert(timing[k].n == 5 && timing[k].minimum > 0 &&
                  timing[k].minimum <= timing[k].median);
}

Test(measure, a_step_that_fails_ends_the_timing) {
    for (int at = 0; at < 14; at++) {
        Log log = {.fail_at = at};
        BenchStep step[] = {{step_a, &log}, {step_b, &log}};
        BenchTiming timing[2];
        cr_assert_not(bench_time(2, step, 0, timing));
        cr_assert_eq(log.n, at);
    }
}

static bool wait_2_ms(void *unused) {
    (void)unused;
    for (double start = bench_seconds(); bench_seconds() - start < 2e-3;) continue;
    return true;
}

Test(measure, the_budget_is_used) {
    BenchStep step = {wait_2_ms, NULL};
    BenchTiming timing;
    double start = bench_seconds();
    cr_assert(bench_time(1, &step, 0.1, &timing));
    cr_assert_geq(bench_seconds() - start, 0.1);
    cr_assert(timing.n >= 5 && timing.n <= 50 && timing.minimum >= 2e-3);
}

/* ---- processes ---- */

enum { BLOCK = 64 << 20 };

static bool take_memory(void *unused) {
    volatile char *p = malloc(BLOCK);
    for (int i = 0; p && i < BLOCK; i += 1024) p[i] = 1;
    free((void *)p);
    return !unused && bench_rss_mib() >= BLOCK >> 20;
}

static bool has_little_memory(void *limit) { return bench_rss_mib() < *(double *)limit; }
static bool says_no(void *unused) { return unused != NULL; }
static bool crashes(void *unused) {
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    return unused == NULL;
}

Test(child, memory_of_one_is_not_that_of_the_next) {
    double before = bench_rss_mib(), limit = before + (BLOCK >> 20) / 2.0;
    cr_assert(bench_in_child("takes", take_memory, NULL));
    cr_assert(bench_in_child("next", has_little_memory, &limit));
    cr_assert_lt(bench_rss_mib(), limit);
}

Test(child, a_false_is_handed_on, .init = cr_redirect_stderr) {
    cr_assert_not(bench_in_child("case", says_no, NULL));
    fflush(stderr);
    cr_assert_stderr_eq_str("");
}

Test(child, a_crash_is_told_by_name, .init = cr_redirect_stderr) {
    cr_assert_not(bench_in_child("case", crashes, NULL));
    fflush(stderr);
    cr_assert_stderr_eq_str("bench: case: ended by signal 11 (Segmentation fault)\n");
}

/* ---- peaks ---- */

Test(peak, operations_are_two_for_each_element_of_a_vector) {
    enum { ROUNDS = 10 };
    double baseline = bench_fma(TENSOR_ISA_BASELINE, ROUNDS);
    cr_assert_gt(baseline, 0);
    cr_assert_eq(bench_fma(TENSOR_ISA_BASELINE, 2 * ROUNDS), 2 * baseline);
    if (tensor_isa_available(TENSOR_ISA_AVX2))
        cr_assert_eq(bench_fma(TENSOR_ISA_AVX2, ROUNDS), 2 * baseline);
    if (tensor_isa_available(TENSOR_ISA_AVX512))
        cr_assert_eq(bench_fma(TENSOR_ISA_AVX512, ROUNDS), 4 * baseline);
}

Test(peak, both_are_measured_on_any_number_of_threads) {
    for (int threads = 1; threads <= 2; threads++) {
        tensor_threads_set(threads);
        BenchPeaks p = bench_peaks(0);
        cr_assert(p.fma > 0 && p.gemm > 0 && p.gemm_size > 0);
    }
}
