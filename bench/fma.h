/* fma.h -- what the processor's multiply-add units can do. */
#ifndef BENCH_FMA_H
#define BENCH_FMA_H
#include <stdint.h>

#include "tensor/isa.h"

/* Runs `rounds` rounds of independent multiply-adds of floats in registers, in the widest vectors
 * of the instruction set, and returns how many operations that was: two for each element. */
double bench_fma(TensorIsa isa, int64_t rounds);

#endif
