/* blis_peak.h -- BLIS's own matrix product, with which tensor_gemm is compared. */
#ifndef BENCH_BLIS_PEAK_H
#define BENCH_BLIS_PEAK_H
#include "tensor/tensor.h"

/* c = a b by BLIS's sgemm on one thread, with the kernels that tensor_gemm_config() names; all
 * F32, contiguous, square.  False where the library is built without BLIS or uses none. */
bool bench_blis_product(const Tensor *a, const Tensor *b, const Tensor *c);

#endif
