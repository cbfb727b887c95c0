/* rows.h -- which rows of a gradient are in use.
 *
 * The gradient of a table of embeddings [V, E] is zero but for the rows of the tokens that
 * occurred.  Its memory is a plain tensor, of which every element is right at any time; beside
 * it an AgRows keeps which rows (along axis 0) may hold something else than +0, so that passes
 * over the gradient leave the others out:
 *
 *     for (AgSpan s = {0, 0}; ag_rows_next(rows, &grad, tensor_numel(&grad), &s);)
 *         for (int64_t i = s.begin; i < s.end; i++) g[i] *= factor;
 *
 * ag_backward keeps it for leaves that have one (AgLeaf.rows): ag_embedding and ag_index_select
 * along axis 0 add to the rows they used, everything else that adds to that gradient (a tied
 * weight's product, a hook or watch on it, a view) counts as a use of all. */
#ifndef AUTOGRAD_ROWS_H
#define AUTOGRAD_ROWS_H
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows that are not used are zero: whoever writes others by hand has to say so. */
typedef struct AgRows {
    int64_t n;      /* rows that there are */
    uint64_t *used; /* [AG_ROWS_WORDS(n)]; of row r bit r % 64 of word r / 64 */
    bool all;       /* all are used, whatever `used` says */
} AgRows;
#define AG_ROWS_WORDS(n) (((size_t)(n) + 63) / 64)

void ag_rows_clear(AgRows *rows); /* none is used; the gradient must be zero */
/* Those that index names, I64 of one axis, with entries in 0..n-1. */
void ag_rows_use(AgRows *rows, const Tensor *index);
/* Those that are used in `other`, which has as many rows; NULL: all. */
void ag_rows_join(AgRows *rows, const AgRows *other);

/* Elements begin..end-1 of a contiguous gradient. */
typedef struct {
    int64_t begin, end;
} AgSpan;
/* Sets *span to the next elements of grad, from span->end on and before `limit`, that lie in used
 * rows; runs of rows come as one.  rows NULL: all are used.  False when there are no more. */
bool ag_rows_next(const AgRows *rows, const Tensor *grad, int64_t limit, AgSpan *span);

#ifdef __cplusplus
}
#endif
#endif
