/* The library gives PyTorch's results and gradients: the cases of the folder UNROLL_CONFORMANCE. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/run.h"

static const char *folder(void) {
    const char *path = getenv("UNROLL_CONFORMANCE");
    if (path && *path) return path;
    printf("skipped: UNROLL_CONFORMANCE, the folder of the cases, is not set\n");
    fflush(stdout);
    cr_skip_test();
    return NULL;
}

/* Runs the cases that match and returns the failing lines, which the caller frees. */
static char *run(RunOptions options) {
    const char *path = folder();
    char *lines = NULL;
    size_t size;
    FILE *out = open_memstream(&lines, &size);
    cr_assert(out);
    RunCount count = run_folder(path, &options, out);
    fclose(out);
    printf("UNROLL_CONFORMANCE used: %s (%s: %d passed, %d failed)\n", path, options.only,
           count.passed, count.failed);
    fflush(stdout);
    cr_expect(count.passed > 0, "%s: none passed", options.only);
    return lines;
}

/* Every failing line must be one that `excused` (or NULL) lets pass. */
static void expect_pass(RunOptions options, bool (*excused)(const char *line)) {
    char *lines = run(options), *rest = lines;
    for (char *line; (line = strtok_r(rest, "\n", &rest));)
        cr_expect(excused && excused(line), "%s", line);
    free(lines);
}

static bool begins(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

/* The second derivative of |x| is 0; PyTorch 1.13 gives it as a tensor without memory, and files
 * written without regard to that hold arbitrary numbers there. */
static bool is_second_derivative_of_abs(const char *line) {
    return (begins(line, "op-abs-") || begins(line, "op-l1_loss-")) &&
           strstr(line, ": grad2.") && (strstr(line, ": got 0,") || strstr(line, ": got -0,"));
}

Test(conformance, ops_agree_with_pytorch) {
    expect_pass((RunOptions){.only = "op-*"}, is_second_derivative_of_abs);
}

Test(conformance, optimisers_agree_with_pytorch) {
    expect_pass((RunOptions){.only = "optim-*"}, NULL);
}

Test(conformance, clipping_agrees_with_pytorch) {
    expect_pass((RunOptions){.only = "clip-*"}, NULL);
}

Test(conformance, schedules_agree_with_pytorch) {
    expect_pass((RunOptions){.only = "schedule-*"}, NULL);
}

/* The files hold the parameters of sequences constant (tests/conformance/kinds.h). */
Test(conformance, recurrent_layers_and_cells_agree_with_pytorch) {
    const char *const kinds[] = {"lstm-*",      "gru-*",      "rnn_tanh-*", "rnn_relu-*",
                                 "lstm_cell-*", "gru_cell-*", "rnn_cell-*"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        expect_pass((RunOptions){.only = kinds[i]}, NULL);
}
