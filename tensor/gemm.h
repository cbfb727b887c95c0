/* gemm.h -- the matrix product.
 *
 * Panels and strips of the operands go through BLIS's micro-kernel, and through kernels of our own
 * at the ends, for few rows and where BLIS has none (gemm_tiles.h); loops when the instruction set
 * is TENSOR_ISA_PLAIN, the reference in tests.  Large products are shared among threads.
 *
 * A row of the result has the same bits whatever the other rows of the call and whatever the number
 * of threads: each element is summed in the same order.
 * References: K. Goto and R. van de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM
 * TOMS 34(3), 2008; F. Van Zee and R. van de Geijn, BLIS: A Framework for Rapidly Instantiating
 * BLAS Functionality, ACM TOMS 41(3), 2015. */
#ifndef TENSOR_GEMM_H
#define TENSOR_GEMM_H
#include "tensor/isa.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* c = alpha a b + beta c.   a [.., m, k], b [.., k, n] -> c [.., m, n].
 *
 * All three have one float dtype and ndim >= 2.  Leading axes of a and b
 * broadcast to those of c.  Every strided view is legal for a and b, overlapping
 * ones too; memory for packing is taken from `scratch` and given back before the
 * return; c must not overlap itself nor a nor b.  beta = 0 never reads c,
 * and k = 0 gives beta c.
 * Fails (false): out of memory while packing; c is then undefined. */
bool tensor_gemm(double alpha, const Tensor *a, const Tensor *b, double beta, const Tensor *c,
                 TensorArena *scratch);

/* A matrix b [k, n] in the order in which the product reads it: packed once, used any number of
 * times. */
typedef struct {
    TensorDtype dtype;
    int64_t k, n;
    TensorIsa isa; /* in use when it was packed, and to be in use when it is read */
    const void *data;
} TensorPacked;

/* Bytes of the packed b [k, n] for the instruction set in use, not 0 even where b is empty; 0 when
 * beyond a size_t. */
size_t tensor_packed_bytes(TensorDtype dtype, int64_t k, int64_t n);
/* Packs b [k, n], a float matrix of any strides, into `memory` of so many bytes, aligned to
 * TENSOR_ALIGN; the result looks at it. */
TensorPacked tensor_pack(const Tensor *b, void *memory);
/* The same in memory of `a`; data is NULL when out of memory. */
TensorPacked tensor_pack_new(const Tensor *b, TensorArena *a);

/* c = alpha a b + beta c as tensor_gemm, with its bits, for matrices: a [m, k]; c [m, n], whose
 * columns lie side by side.
 * Fails (false): out of memory while packing a; c is then undefined. */
bool tensor_gemm_packed(double alpha, const Tensor *a, const TensorPacked *b, double beta,
                        const Tensor *c, TensorArena *scratch);

/* Where the micro-kernel comes from: BLIS's configuration ("skx", "haswell"), "tiles" (ours alone)
 * or "loops". */
const char *tensor_gemm_config(void);

#ifdef __cplusplus
}
#endif
#endif
