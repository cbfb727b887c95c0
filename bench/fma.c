/* fma.c -- chains of multiply-adds in registers, once for each width of vectors.
 *
 * CHAINS are enough to keep two units of four steps busy, and few enough for 16 registers.  The
 * compiler makes one instruction of a product and a sum where there is one (-ffp-contract=fast). */
#include "bench/fma.h"

enum { CHAINS = 12 };

static volatile float sink; /* of results that must not be optimised away */
static volatile float factor = 0.5f, term = 0.5f;

#define LOOP(NAME, BYTES, TARGET)                                                      \
    TARGET static double NAME(int64_t rounds) {                                        \
        typedef float Vec __attribute__((vector_size(BYTES)));                         \
        Vec a = {0}, b = {0}, x[CHAINS];                                               \
        a += factor;                                                                   \
        b += term;                                                                     \
        for (int i = 0; i < CHAINS; i++) x[i] = b + (float)i;                          \
        for (int64_t r = 0; r < rounds; r++)                                           \
            for (int i = 0; i < CHAINS; i++) x[i] = x[i] * a + b;                      \
        for (int i = 1; i < CHAINS; i++) x[0] += x[i];                                 \
        sink = x[0][0];                                                                \
        return 2.0 * CHAINS * (double)(sizeof(Vec) / sizeof(float)) * (double)rounds;  \
    }

LOOP(fma_baseline, 16, )
#if defined(__x86_64__)
LOOP(fma_avx2, 32, __attribute__((target("avx2,fma"))))
LOOP(fma_avx512, 64, __attribute__((target("avx512f"))))
#endif

double bench_fma(TensorIsa isa, int64_t rounds) {
#if defined(__x86_64__)
    if (isa == TENSOR_ISA_AVX512) return fma_avx512(rounds);
    if (isa == TENSOR_ISA_AVX2) return fma_avx2(rounds);
#endif
    (void)isa;
    return fma_baseline(rounds);
}
