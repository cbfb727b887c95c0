/* isa.h -- which instruction set the kernels use.
 *
 * Every kernel is compiled from one source for each of these; the best one that
 * the processor has is taken at the first use.  The environment variable
 * UNROLL_ISA (plain, baseline, avx2, avx512) asks for a lower one.  The choice
 * covers elementwise kernels, vector mathematics and the matrix product alike. */
#ifndef TENSOR_ISA_H
#define TENSOR_ISA_H
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    TENSOR_ISA_PLAIN,    /* loops and libm: the reference; needs neither BLIS nor SLEEF */
    TENSOR_ISA_BASELINE, /* what every processor of the architecture has (x86-64: SSE2) */
    TENSOR_ISA_AVX2,     /* AVX2 and FMA */
    TENSOR_ISA_AVX512,   /* AVX-512 F, DQ, BW, VL */
    TENSOR_ISA_COUNT
} TensorIsa;

/* The instruction set in use. */
TensorIsa tensor_isa(void);
const char *tensor_isa_name(TensorIsa isa);

/* True if this build and this processor can run it. */
bool tensor_isa_available(TensorIsa isa);

/* Takes another one for the whole process; for tests and benchmarks, while no
 * other thread computes.  Fails (false, nothing changed): not available. */
bool tensor_isa_set(TensorIsa isa);

/* NULL, or one line on why UNROLL_ISA was not followed (unknown name, not available). */
const char *tensor_isa_warning(void);

#ifdef __cplusplus
}
#endif
#endif
