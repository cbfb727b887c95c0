/* measure.h -- how long a step takes, and how much memory the process took. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H
#include <stdbool.h>

enum { BENCH_MAX_KINDS = 3, BENCH_MAX_STEPS = 100000 };

typedef struct {
    double median, minimum; /* seconds */
    int n;
} BenchTiming;

/* What is timed; false: it failed. */
typedef struct {
    bool (*run)(void *context);
    void *context;
} BenchStep;

/* Seconds of a clock that never steps back. */
double bench_seconds(void);

/* Median (of an even number: the mean of the two in the middle), minimum and number, n > 0.  Sorts
 * the seconds. */
BenchTiming bench_timing(double *seconds, int n);

/* Times steps of so many kinds, which take turns, so that what disturbs the machine disturbs all
 * alike; until `budget` seconds are over, at least five times.  A few steps before are not counted:
 * memory that a program keeps is taken in them.
 * Fails (false): a step did. */
bool bench_time(int kinds, const BenchStep *step, double budget, BenchTiming *timing);

/* The most memory that this process has had resident so far, in MiB. */
double bench_rss_mib(void);

#endif
