/* report_impl.h -- what report.c, main.c and merge.c share. */
#ifndef AUTOGRAD_GRADCHECK_REPORT_IMPL_H
#define AUTOGRAD_GRADCHECK_REPORT_IMPL_H
#include "autograd/gradcheck/report.h"
#include "tensor/file.h"

typedef bool GradcheckWriter(FILE *file, int n, const GradcheckReport *reports);

/* Writes a file that is there whole or not at all. */
bool gradcheck_write_file(const char *path, GradcheckWriter *write, int n,
                          const GradcheckReport *reports, TensorError *error);

/* A path as seen from where the user stands: `bazel run` starts programs elsewhere, and says it.
 * The caller frees it; NULL: out of memory. */
char *gradcheck_user_path(const char *path);

#endif
