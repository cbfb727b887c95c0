/* kernels_baseline.c -- the kernels for what every processor of the architecture has:
 * SSE2 on x86-64, NEON on AArch64, SLEEF's scalar functions elsewhere.
 *
 * SLEEF's entry points name their instruction set: those without one choose by the
 * processor, and results would differ from machine to machine. */
#include <math.h>
#include <string.h>

#include "tensor/kernels_table.h"

#ifndef UNROLL_NO_SLEEF
#include <sleef.h>

#define REAL float
#define FN(name) name##_f32
#define VMATH TensorVmathF32
#define SQRT sqrtf
#define FABS fabsf
#if defined(__x86_64__)
#define VEC __m128
#define LANES 4
#define VEC_MATH(name, bound) Sleef_##name##f4_##bound##sse2
#elif defined(__aarch64__)
#define VEC float32x4_t
#define LANES 4
#define VEC_MATH(name, bound) Sleef_##name##f4_##bound##advsimd
#else
#define VEC float
#define LANES 1
#define VEC_MATH(name, bound) Sleef_##name##f1_##bound##purec
#endif
#define VEC_FMA(a, b, c) ((a) * (b) + (c))
#define REGISTERS 16
#include "tensor/kernels.inc"

#define REAL double
#define FN(name) name##_f64
#define VMATH TensorVmathF64
#define SQRT sqrt
#define FABS fabs
#if defined(__x86_64__)
#define VEC __m128d
#define LANES 2
#define VEC_MATH(name, bound) Sleef_##name##d2_##bound##sse2
#elif defined(__aarch64__)
#define VEC float64x2_t
#define LANES 2
#define VEC_MATH(name, bound) Sleef_##name##d2_##bound##advsimd
#else
#define VEC double
#define LANES 1
#define VEC_MATH(name, bound) Sleef_##name##d1_##bound##purec
#endif
#define VEC_FMA(a, b, c) ((a) * (b) + (c))
#define REGISTERS 16
#include "tensor/kernels.inc"

const TensorKernelTable tensor_kernels_baseline = {
    .f32 = &kernels_f32,
    .f64 = &kernels_f64,
    .vmath_f32 = &vmath_f32,
    .vmath_f64 = &vmath_f64,
};

#endif
