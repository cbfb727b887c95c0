/* blis_tile.h -- BLIS's micro-kernel, and everything that knows of BLIS.  Internal.
 * Reference: F. Van Zee and R. van de Geijn, BLIS: A Framework for Rapidly
 * Instantiating BLAS Functionality, ACM TOMS 41(3), 2015. */
#ifndef TENSOR_BLIS_TILE_H
#define TENSOR_BLIS_TILE_H
#include "tensor/isa.h"
#include "tensor/tensor.h"

/* A micro-kernel for panels of a given width and strips of `columns`; see gemm_tiles.c. */
typedef struct {
    int columns; /* 0: BLIS has none of this width */
    int width;
    bool swapped; /* the strip is its first operand, c goes by rows */
    TensorDtype dtype;
    void (*kernel)(void);
    void *context;
} TensorBlis;

/* For panels `width` wide of the instruction set in use. */
TensorBlis tensor_blis(TensorDtype dtype, int width);
/* c [columns, width], rows `column` elements apart, = the product of a panel [k, width] and a
 * strip [k, columns] (add: c += it): each element one chain of fused multiply-adds in the order of
 * k. */
void tensor_blis_tile(const TensorBlis *blis, int64_t k, const void *panel, const void *strip,
                      void *c, int64_t column, bool add);

#endif
