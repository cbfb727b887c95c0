/* kernels_avx2.c -- the kernels for AVX2 with FMA.  Compile with -mavx2 -mfma. */
#include <math.h>
#include <string.h>

#include "tensor/kernels_table.h"

#if defined(__x86_64__) && !defined(UNROLL_NO_SLEEF)
#if !defined(__AVX2__) || !defined(__FMA__)
#error "this file wants -mavx2 -mfma"
#endif
#include <sleef.h>

#define REAL float
#define FN(name) name##_f32
#define VMATH TensorVmathF32
#define SQRT sqrtf
#define FABS fabsf
#define VEC __m256
#define LANES 8
#define VEC_MATH(name, bound) Sleef_##name##f8_##bound##avx2
#define VEC_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define REGISTERS 16
#include "tensor/kernels.inc"

#define REAL double
#define FN(name) name##_f64
#define VMATH TensorVmathF64
#define SQRT sqrt
#define FABS fabs
#define VEC __m256d
#define LANES 4
#define VEC_MATH(name, bound) Sleef_##name##d4_##bound##avx2
#define VEC_FMA(a, b, c) _mm256_fmadd_pd(a, b, c)
#define REGISTERS 16
#include "tensor/kernels.inc"

#define LANES64 4
#define INTEGERS __m256i
#define MM(name) _mm256_##name
#include "tensor/philox.inc"

const TensorKernelTable tensor_kernels_avx2 = {
    .f32 = &kernels_f32,
    .f64 = &kernels_f64,
    .vmath_f32 = &vmath_f32,
    .vmath_f64 = &vmath_f64,
    .philox = philox,
};

#endif
