/* blis_tile.h -- BLIS's micro-kernel, and everything that knows of BLIS.  Internal.
 * Reference: F. Van Zee and R. van de Geijn, BLIS: A Framework for Rapidly
 * Instantiating BLAS Functionality, ACM TOMS 41(3), 2015. */
#ifndef TENSOR_BLIS_TILE_H
#define TENSOR_BLIS_TILE_H
#include "tensor/kernels_table.h"

/* A micro-kernel for full panels and strips of `rows`; see gemm_tiles.h. */
typedef struct {
    int rows; /* 0: BLIS has none that fits */
    int width;
    bool swapped; /* the strip is its first operand, the rows of c are those of the strip */
    TensorDtype dtype;
    void (*kernel)(void);
    void *context;
} TensorBlis;

/* Of the instruction set in use, for panels of the width of `tiles` and with no more rows. */
TensorBlis tensor_blis(TensorDtype dtype, const TensorTiles *tiles);
/* c [rows, width], rows `row` elements apart, = the product of a strip [k, rows] and a panel
 * [k, width] (add: c += it): each element one chain of fused multiply-adds in the order of k.  The
 * panel is aligned to TENSOR_ALIGN; one step of k more of it is read, though not used. */
void tensor_blis_tile(const TensorBlis *blis, int64_t k, const void *panel, const void *strip,
                      void *c, int64_t row, bool add);

#endif
