/* rng.h -- random numbers without a state.
 *
 * A number is a function of a key and an index: Philox4x64-10, a counter-based
 * generator.  Nothing is stored or advanced, so numbers can be drawn in any order, by
 * any number of threads, and drawn again later; each (key, index) gives the same bits
 * on every processor.  Only the normal numbers go through libm (log, cos, sin), whose
 * last bit may differ from one C library or processor to another.
 *
 * The kinds of numbers below are independent of each other: one key may serve all of
 * them.
 * Reference: J. Salmon, M. Moraes, R. Dror and D. Shaw, Parallel Random Numbers: As
 * Easy as 1, 2, 3, SC 2011 (the Random123 library). */
#ifndef TENSOR_RNG_H
#define TENSOR_RNG_H
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Keys that differ in any field give independent sequences, each of 2^64 numbers of
 * every kind.  In training: the seed of the run, the step, and which random call of
 * the step it is. */
typedef struct {
    uint64_t seed, step, draw;
} TensorRngKey;

/* ---- one number ---- */

/* 32 uniform bits. */
uint32_t tensor_rng_bits32(TensorRngKey key, uint64_t index);

/* Uniform in [0, 1): a multiple of 2^-53, each equally likely. */
double tensor_rng_uniform(TensorRngKey key, uint64_t index);

/* Standard normal, |z| < 8.6.  Box and Muller: sqrt(-2 log u) times cos 2 pi v (even
 * index) or sin 2 pi v (odd index), u in (0, 1] and v in [0, 1) of 53 bits.
 * Reference: G. Box and M. Muller, A Note on the Generation of Random Normal Deviates,
 * Annals of Mathematical Statistics 29(2), 1958. */
double tensor_rng_normal(TensorRngKey key, uint64_t index);

/* Uniform in 0..n-1, n >= 1: the upper half of the product of n and 64 uniform bits.
 * No value's probability differs from 1/n by more than 2^-64. */
int64_t tensor_rng_below(TensorRngKey key, uint64_t index, int64_t n);

/* ---- whole tensors ----
 * Element i, counted row-major whatever the strides, takes the number of index i.
 * y is F32 or F64, with its own memory; F32 gets the F64 number, rounded. */

/* y_i = lo + (hi - lo) u_i, below hi even after rounding; lo <= hi, hi - lo finite.
 * Where lo = hi every element is lo.  The smallest value is lo as rounded to y's dtype,
 * or, where that reaches hi, the next number of the dtype below it. */
void tensor_rng_fill_uniform(const Tensor *y, TensorRngKey key, double lo, double hi);

/* y_i = mean + std z_i */
void tensor_rng_fill_normal(const Tensor *y, TensorRngKey key, double mean, double std);

/* y = x m / (1 - p), element by element; m = 0 with probability p, else 1.  y and x
 * have one shape and one float dtype; x may have any strides; y has its own memory or
 * is x itself with the same strides.  p in [0, 1], taken to the nearest multiple of
 * 2^-32; y is a copy of x, bit for bit, for p = 0, and x times 0 for p = 1.
 *
 * The mask depends on key and place only, not on the dtype.  Places are counted
 * row-major in the shape of the whole batch: x's shape with size `total` at
 * batch_axis, where x's row b stands for row first + b; first + rows <= total.  So the
 * shares of several workers draw what one worker with the whole batch would.
 * batch_axis -1 means that there is none: first and total are not looked at, and
 * places are those of x itself.
 *
 * Dropping is a product with 0, as in PyTorch: a dropped NaN or infinity gives NaN, so
 * that a diverged network does not look healthy, and a dropped negative number -0.
 * The gradient is the same function of dL/dy, under the same key.
 * Reference: N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov,
 * Dropout: A Simple Way to Prevent Neural Networks from Overfitting, JMLR 15, 2014. */
void tensor_dropout(const Tensor *y, const Tensor *x, TensorRngKey key, double p, int batch_axis,
                    int64_t first, int64_t total);

/* y [.., n], I64, contiguous: n draws with replacement from each row of x [.., V], F32 or F64,
 * contiguous, V >= 1: v with probability exp(x_v) / sum exp(x).  A draw is the first v at which
 * the running sum of exp(x - max x), in double, exceeds u times the whole sum, u the uniform
 * number of index `place of the draw in y`; so -infinity is never drawn.  Places are counted in
 * the whole batch as tensor_dropout counts them, batch_axis being one of the axes before V.
 * sums: room for V numbers, F64.
 * Returns -1, or the first row (counted row-major) that has no such probabilities: with a NaN or
 * +infinity in it, or of -infinity only. */
int64_t tensor_categorical(const Tensor *y, const Tensor *x, TensorRngKey key, int batch_axis,
                           int64_t first, int64_t total, const Tensor *sums);

#ifdef __cplusplus
}
#endif
#endif
