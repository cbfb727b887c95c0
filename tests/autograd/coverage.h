/* coverage.h -- which op is checked in which dtype, memory layout and order, as a page. */
#ifndef TESTS_AUTOGRAD_COVERAGE_H
#define TESTS_AUTOGRAD_COVERAGE_H
#include <stdbool.h>
#include <stdio.h>

/* Runs opcheck on every op of the library and writes docs/op_coverage.md.  False: an op failed,
 * or the stream did. */
bool coverage_write(FILE *file);

#endif
