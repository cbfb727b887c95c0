/* The cases that ship with the project all pass. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/conformance/run.h"

Test(cases, of_the_project_all_agree_with_pytorch) {
    char *lines = NULL;
    size_t size;
    FILE *out = open_memstream(&lines, &size);
    cr_assert(out);
    RunCount count = run_folder("tests/conformance/cases", &(RunOptions){.only = NULL}, out);
    fclose(out);
    cr_expect_eq(count.failed, 0, "%s", lines);
    cr_expect_gt(count.passed, 105);
    cr_expect_eq(count.constant, 0);
    printf("%d cases of PyTorch's pass\n", count.passed);
    free(lines);
}
