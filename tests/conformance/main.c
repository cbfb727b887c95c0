/* main.c -- runs conformance cases:
 *
 *     ./bazelw run //tests/conformance -- [--only PATTERN] FOLDER
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/conformance/run.h"

static int usage(FILE *file) {
    fputs("usage: ./bazelw run //tests/conformance -- [--only PATTERN] FOLDER\n"
          "Compares the library with the cases of a folder, *.safetensors files (or links to\n"
          "such) with inputs, results and gradients of PyTorch.  A line for each case that fails,\n"
          "then `N passed, N failed`; the exit status is 0 if all passed.\n"
          "  --only PATTERN   only cases whose KIND-NAME matches, as a shell matches file names:\n"
          "                   'op-*', 'lstm-0*', op-add-1\n"
          "  --help           this text\n"
          "FOLDER is relative to where you stand.\n",
          file);
    return file == stdout ? 0 : 2;
}

/* `bazel run` starts programs elsewhere, and tells where the user stands. */
static bool enter_users_folder(void) {
    const char *folder = getenv("BUILD_WORKING_DIRECTORY");
    if (!folder || chdir(folder) == 0) return true;
    fprintf(stderr, "%s: %s\n", folder, strerror(errno));
    return false;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"only", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'}, {0}};
    RunOptions o = {NULL};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == 'h') return usage(stdout);
        if (option != 'o') return usage(stderr);
        o.only = optarg;
    }
    if (optind != argc - 1) return usage(stderr);
    if (!enter_users_folder()) return 2;
    RunCount count = run_folder(argv[optind], &o, stdout);
    if (count.constant > 0)
        printf("%d cases hold their parameters constant: those gradients checked by finite "
               "differences\n", count.constant);
    printf("%d passed, %d failed\n", count.passed, count.failed);
    return fflush(stdout) != 0 || count.failed > 0;
}
