/* gemm_tiles.h -- a matrix product as tiles that are computed in registers.  Internal.
 *
 * Along one axis of c, `wide`, whose elements lie side by side, an operand is cut into panels of
 * two vectors, and a panel holds its elements in the order of k; along the other, `narrow`, into
 * strips of up to `columns`, likewise.  A tile of c is one panel times one strip: BLIS's
 * micro-kernel where both are whole, else one of ours (tiles.inc), with the same bits.
 *
 * k is cut into equal chains by its size alone, and a tile adds them one after the other: a chain
 * has a bound on its rounding errors.  So the bits of an element depend on its row and column, not
 * on where in c it stands, nor on which thread computes it.
 * Reference: K. Goto and R. van de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM
 * TOMS 34(3), 2008. */
#ifndef TENSOR_GEMM_TILES_H
#define TENSOR_GEMM_TILES_H
#include "tensor/arena.h"
#include "tensor/blis_tile.h"
#include "tensor/kernels_table.h"

/* An operand, or a part of it: n lines of k elements; strides in elements. */
typedef struct {
    const char *data;
    int64_t n, k, stride, k_stride;
} TensorLines;

/* One product, c [narrow, wide] = scale narrow . wide. */
typedef struct {
    const TensorTiles *tiles;
    TensorBlis blis;
    int64_t columns; /* of a strip */
    int64_t size;    /* of an element */
    double scale;
    TensorLines narrow, wide;
    char *c;
    int64_t column; /* from one row of c to the next, in elements */
} TensorProduct;

/* c [narrow, wide] with strides `column` and 1. */
TensorProduct tensor_product(double scale, const TensorLines *narrow, const TensorLines *wide,
                             TensorDtype dtype, void *c, int64_t column);
/* Computes it; add: c += it.  False when out of memory. */
bool tensor_product_run(const TensorProduct *p, bool add, TensorArena *scratch);

/* The same with the wide operand packed before (wide.n and wide.k are read): so many lines wide,
 * each of wide.k elements, at `panels`. */
int64_t tensor_product_padded(TensorDtype dtype, int64_t wide_n);
void tensor_product_pack(TensorDtype dtype, const TensorLines *wide, void *panels);
bool tensor_product_run_packed(const TensorProduct *p, const void *panels, bool add,
                               TensorArena *scratch);

#endif
