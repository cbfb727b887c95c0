/* gemm_tiles.h -- a matrix product as tiles that are computed in registers.  Internal.
 *
 * Along one axis of c, `wide`, whose elements lie side by side, an operand is cut into panels of
 * two vectors, and a panel holds its elements in the order of k; along the other, `narrow`, into
 * strips of up to `rows`, likewise.  A tile of c is one panel times one strip: BLIS's
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
    double factor; /* of all elements */
} TensorLines;

/* One product, c [narrow, wide] = narrow . wide. */
typedef struct {
    const TensorTiles *tiles;
    TensorBlis blis;
    int64_t size;           /* of an element */
    int64_t rows;           /* lines of a strip */
    int64_t chain, k_block; /* of k: added up in one go; multiplied at a time, whole chains */
    TensorLines narrow, wide;
    char *c;
    int64_t row; /* from one row of c to the next, in elements */
} TensorProduct;

/* c [narrow, wide] with strides `row` and 1; none of the three sizes is 0. */
TensorProduct tensor_product(const TensorLines *narrow, const TensorLines *wide,
                             TensorDtype dtype, void *c, int64_t row);
/* Computes it; add: c += it.  False when out of memory. */
bool tensor_product_run(const TensorProduct *p, bool add, TensorArena *scratch);

/* The same with the wide operand packed before, at `panels`; of p->wide only n and k are read. */
bool tensor_product_run_packed(const TensorProduct *p, const void *panels, bool add,
                               TensorArena *scratch);
/* The bytes that takes, never 0 but where they are beyond a size_t; and packs it. */
size_t tensor_product_packed_bytes(TensorDtype dtype, int64_t n, int64_t k);
void tensor_product_pack(TensorDtype dtype, const TensorLines *wide, void *panels);

#endif
