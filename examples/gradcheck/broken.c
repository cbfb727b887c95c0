/* broken.c -- what the checker says of kernels and ops that are wrong on purpose: a line for each
 * reason, and status 1. */
#include "examples/gradcheck/broken_cases.h"

int main(int argc, char **argv) { return gradcheck_main(argc, argv, broken_cases); }
