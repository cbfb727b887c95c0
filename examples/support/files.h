/* files.h -- where things are: the user's folder, and files that ship with the program. */
#ifndef EXAMPLES_SUPPORT_FILES_H
#define EXAMPLES_SUPPORT_FILES_H
#include "tensor/file.h"

/* The absolute path of a file of this workspace ("examples/lm/lighthouse.txt") among the
 * program's Bazel runfiles; for free().  argv0 is as main got it, before any example_files_enter.
 * NULL: it is not there, or memory runs out. */
char *example_files_find(const char *argv0, const char *file);

/* `bazel run` starts a program in a folder of its own and names the user's in
 * BUILD_WORKING_DIRECTORY: goes there, so that relative paths are the user's.
 * Fails (false): there is no such folder. */
bool example_files_enter(TensorError *error);

#endif
