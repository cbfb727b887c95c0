/* op_coverage.c -- prints docs/op_coverage.md. */
#include "tests/autograd/coverage.h"

int main(void) { return coverage_write(stdout) ? 0 : 1; }
