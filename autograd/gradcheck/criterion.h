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

/* The assertion stands in the macro, so that a failure shows the line of the test. */
#define GRADCHECK_TEST(suite, name)                                                           \
    static bool gradcheck_of_##suite##_##name(GradcheckResult *result);                       \
    Test(suite, name) {                                                                       \
        GradcheckCase gradcheck_case = {#suite, #name, gradcheck_of_##suite##_##name};        \
        GradcheckReport gradcheck_done;                                                       \
        char gradcheck_why[1024];                                                             \
        bool gradcheck_ok = gradcheck_run_case(&gradcheck_case, &gradcheck_done,              \
                                               gradcheck_why, sizeof gradcheck_why);          \
        cr_assert(gradcheck_ok, "%s", gradcheck_done.result.ok                                \
                                          ? gradcheck_why                                     \
                                          : gradcheck_done.result.message);                   \
    }                                                                                         \
    static bool gradcheck_of_##suite##_##name(GradcheckResult *result)

#endif
