/* run.h -- every case of a folder, reported line by line. */
#ifndef TESTS_CONFORMANCE_RUN_H
#define TESTS_CONFORMANCE_RUN_H
#include <stdbool.h>
#include <stdio.h>

typedef struct {
    const char *only; /* NULL, or a shell pattern: only cases whose KIND-NAME matches */
} RunOptions;

typedef struct {
    int passed, failed;
    int constant; /* of them those that hold their parameters constant (kinds.h) */
} RunCount;

/* Runs every *.safetensors file of the folder in the order of their names, and writes a line to
 * `out` for each that fails:
 *     op-add-1: grad.a[0,2]: got 1.5, wanted 2 (1 of 12 differ)
 * A folder that cannot be read, or without a case, counts as one failed.  A file that cannot be
 * read always runs, since it cannot tell its name. */
RunCount run_folder(const char *folder, const RunOptions *options, FILE *out);

#endif
