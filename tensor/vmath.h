/* vmath.h -- vector mathematics on contiguous arrays, for the library's own code.
 *
 * One table for each instruction set and float type.  The plain one calls libm and
 * is the reference; the others call SLEEF: at most 1.0 ULP over the whole range, but
 * 1.5 for erfc, and 2 for erf and erfc where results reach the smallest normal numbers.
 * sigmoid is exp(min(x, 0)) / (1 + exp(-|x|)), at most 2.5 ULP: it neither overflows nor
 * cancels, and is exact to the last denormals.
 *
 * Element i of the result depends on element i of the input alone, not on i, n or
 * alignment.  Any n >= 0; y may be x, but must not overlap it otherwise. */
#ifndef TENSOR_VMATH_H
#define TENSOR_VMATH_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int lanes; /* elements handled at once: buffers of a multiple of it have no tail */
    void (*exp)(int64_t n, float *y, const float *x);
    void (*expm1)(int64_t n, float *y, const float *x);
    void (*log)(int64_t n, float *y, const float *x);
    void (*log1p)(int64_t n, float *y, const float *x);
    void (*sin)(int64_t n, float *y, const float *x);
    void (*cos)(int64_t n, float *y, const float *x);
    void (*tanh)(int64_t n, float *y, const float *x);
    void (*sigmoid)(int64_t n, float *y, const float *x);
    void (*erf)(int64_t n, float *y, const float *x);
    void (*erfc)(int64_t n, float *y, const float *x);
    void (*pow)(int64_t n, float *y, const float *a, const float *b);
} TensorVmathF32;

typedef struct {
    int lanes;
    void (*exp)(int64_t n, double *y, const double *x);
    void (*expm1)(int64_t n, double *y, const double *x);
    void (*log)(int64_t n, double *y, const double *x);
    void (*log1p)(int64_t n, double *y, const double *x);
    void (*sin)(int64_t n, double *y, const double *x);
    void (*cos)(int64_t n, double *y, const double *x);
    void (*tanh)(int64_t n, double *y, const double *x);
    void (*sigmoid)(int64_t n, double *y, const double *x);
    void (*erf)(int64_t n, double *y, const double *x);
    void (*erfc)(int64_t n, double *y, const double *x);
    void (*pow)(int64_t n, double *y, const double *a, const double *b);
} TensorVmathF64;

/* The functions of the instruction set in use (isa.h). */
const TensorVmathF32 *tensor_vmath_f32(void);
const TensorVmathF64 *tensor_vmath_f64(void);

#ifdef __cplusplus
}
#endif
#endif
