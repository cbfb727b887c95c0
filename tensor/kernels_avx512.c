/* kernels_avx512.c -- the kernels for AVX-512.  Compile with
 * -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma. */
#include <math.h>
#include <string.h>

#include "tensor/kernels_table.h"

#if defined(__x86_64__) && !defined(UNROLL_NO_SLEEF)
#if !defined(__AVX512F__) || !defined(__AVX512DQ__) || !defined(__AVX512BW__) || \
    !defined(__AVX512VL__) || !defined(__FMA__)
#error "this file wants -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma"
#endif
#include <sleef.h>

#define REAL float
#define FN(name) name##_f32
#define VMATH TensorVmathF32
#define SQRT sqrtf
#define FABS fabsf
#define VEC __m512
#define LANES 16
#define VEC_MATH(name, bound) Sleef_##name##f16_##bound##avx512f
#define VEC_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define REGISTERS 32
#include "tensor/kernels.inc"

#define REAL double
#define FN(name) name##_f64
#define VMATH TensorVmathF64
#define SQRT sqrt
#define FABS fabs
#define VEC __m512d
#define LANES 8
#define VEC_MATH(name, bound) Sleef_##name##d8_##bound##avx512f
#define VEC_FMA(a, b, c) _mm512_fmadd_pd(a, b, c)
#define REGISTERS 32
#include "tensor/kernels.inc"

#define LANES64 8
#define INTEGERS __m512i
#define MM(name) _mm512_##name
#include "tensor/philox.inc"

const TensorKernelTable tensor_kernels_avx512 = {
    .f32 = &kernels_f32,
    .f64 = &kernels_f64,
    .vmath_f32 = &vmath_f32,
    .vmath_f64 = &vmath_f64,
    .philox = philox,
};

#endif
