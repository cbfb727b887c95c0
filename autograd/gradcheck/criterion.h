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

#include "autograd/gradcheck/report.h"

#define GRADCHECK_TEST(suite, name)                                                           \
    static bool gradcheck_of_##suite##_##name(GradcheckResult *result);                       \
    Test(suite, name) {                                                                       \
        gradcheck_criterion(#suite, #name, gradcheck_of_##suite##_##name);                    \
    }                                                                                         \
    static bool gradcheck_of_##suite##_##name(GradcheckResult *result)

static inline void gradcheck_criterion(const char *suite, const char *name,
                                       bool (*run)(GradcheckResult *result)) {
    GradcheckCase c = {suite, name, run};
    GradcheckReport report;
    char why[1024];
    bool ok = gradcheck_run_case(&c, &report, why, sizeof why);
    cr_assert(ok, "%s", report.result.ok ? why : report.result.message);
}

#endif
