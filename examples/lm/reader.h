/* reader.h -- a trained model that reads tokens, in rows side by side, without gradients.
 *
 * A reader keeps the state after what was read; memory does not grow with it.  What a row gives
 * does not depend on the rows beside it. */
#ifndef EXAMPLES_LM_READER_H
#define EXAMPLES_LM_READER_H
#include "model.h"

typedef struct {
    const LmModel *model;
    AgTape *tape;
    AgTapeMark mark;
    LmState state;
} LmReader;

/* One row, from a state of zeros.  The model outlives the reader; free it with lm_reader_free, also
 * after a failure.   Fails (false): out of memory. */
bool lm_reader_init(LmReader *r, const LmModel *m, TensorError *error);
void lm_reader_free(LmReader *r);

/* Reads x [T, B], B the number of rows.  The logits of what comes next, [B, V], of r->tape until
 * the reader's next function.
 * Fails (false): an id outside 0..V-1; out of memory. */
bool lm_reader_next(LmReader *r, int64_t T, int64_t B, const int64_t *x, AgVar *logits,
                    TensorError *error);

/* Reads x [T] in one row: losses[t] = -ln p(y[t] | all that was read, x[0..t]).
 * Fails (false): as above. */
bool lm_reader_losses(LmReader *r, int64_t T, const int64_t *x, const int64_t *y, double *losses,
                      TensorError *error);

/* Row i becomes what row rows[i] is; n of them, 1 or more.   Fails (false): no such row; out of
 * memory. */
bool lm_reader_rows(LmReader *r, int64_t n, const int64_t *rows, TensorError *error);

#endif
