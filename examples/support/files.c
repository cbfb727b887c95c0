/* files.c -- see files.h. */
#define _GNU_SOURCE
#include "examples/support/files.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static const char workspace[] = "unroll";

/* ROOT SUFFIX /unroll/FILE, absolute, if there is such a file; for free(). */
static char *look(const char *root, const char *suffix, const char *file) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s%s/%s/%s", root, suffix, workspace, file);
    return n > 0 && n < (int)sizeof path ? realpath(path, NULL) : NULL;
}

char *example_files_find(const char *argv0, const char *file) {
    const char *runfiles = getenv("RUNFILES_DIR");
    char *found = runfiles ? look(runfiles, "", file) : NULL;
    if (!found) found = look(argv0, ".runfiles", file);
    /* Started through PATH or a link, argv[0] does not lead to the program. */
    char *program = found ? NULL : realpath("/proc/self/exe", NULL);
    if (program) found = look(program, ".runfiles", file);
    free(program);
    return found;
}

bool example_files_enter(TensorError *error) {
    const char *folder = getenv("BUILD_WORKING_DIRECTORY");
    return !folder || chdir(folder) == 0 || tensor_error_errno(error, folder, errno);
}
