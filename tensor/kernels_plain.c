/* kernels_plain.c -- the kernels with libm, one element at a time: the reference. */
#include <math.h>
#include <string.h>

#include "tensor/kernels_table.h"

#define REAL float
#define FN(name) name##_f32
#define VMATH TensorVmathF32
#define SQRT sqrtf
#define FABS fabsf
#define VEC float
#define LANES 1
#define VEC_MATH(name, bound) name##f
#define VEC_FMA(a, b, c) ((a) * (b) + (c))
#define REGISTERS 16
#include "tensor/kernels.inc"

#define REAL double
#define FN(name) name##_f64
#define VMATH TensorVmathF64
#define SQRT sqrt
#define FABS fabs
#define VEC double
#define LANES 1
#define VEC_MATH(name, bound) name
#define VEC_FMA(a, b, c) ((a) * (b) + (c))
#define REGISTERS 16
#include "tensor/kernels.inc"

const TensorKernelTable tensor_kernels_plain = {
    .f32 = &kernels_f32,
    .f64 = &kernels_f64,
    .vmath_f32 = &vmath_f32,
    .vmath_f64 = &vmath_f64,
};
