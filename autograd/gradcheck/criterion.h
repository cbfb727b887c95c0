/* criterion.h -- checks as cases of the test framework Criterion.
 *
 *     GRADCHECK_TEST(my_op, matrix) {
 *         return gradcheck(f, NULL, 2, inputs, NULL, result);
 *     }
 *
 * is Test(my_op, matrix), which fails with the result's message, and is reported as report.h
 * says.  Needs <criterion/criterion.h>. */
#ifndef AUTOGRAD_GRADCHECK_CRITERION_H
#define AUTOGRAD_GRADCHECK_CRITERION_H
#include <criterion/criterion.h>
#include <time.h>

#include "autograd/gradcheck/report.h"

#define GRADCHECK_TEST(suite, name)                                                           \
    static bool gradcheck_of_##suite##_##name(GradcheckResult *result);                       \
    Test(suite, name) {                                                                       \
        gradcheck_criterion(#suite, #name, gradcheck_of_##suite##_##name);                    \
    }                                                                                         \
    static bool gradcheck_of_##suite##_##name(GradcheckResult *result)

static inline void gradcheck_criterion(const char *suite, const char *name,
                                       bool (*run)(GradcheckResult *result)) {
    GradcheckReport report = {.suite = suite, .name = name};
    char why[256] = "";
    struct timespec start, stop;
    timespec_get(&start, TIME_UTC);
    bool ok = run(&report.result);
    timespec_get(&stop, TIME_UTC);
    report.seconds = (double)(stop.tv_sec - start.tv_sec) +
                     (double)(stop.tv_nsec - start.tv_nsec) / 1e9;
    bool written = gradcheck_report(&report, why, sizeof why);
    cr_assert(ok, "%s", report.result.message);
    cr_assert(written, "%s", why);
}

#endif
