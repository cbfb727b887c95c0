/* stream.h -- batches from one long text, for truncated backprop through time.
 *
 * The N ids from `offset` on are cut into B contiguous rows of S = (N - offset - 1) / B
 * ids, rounded down; the rows are read side by side in windows of T steps.  Row b of a
 * window goes on where row b of the window before ended, so the state of a recurrent
 * network carries over.  Input and target of step t in row b of window w, counted from 0:
 *
 *     x[t,b] = ids[offset + b*S + w*T + t]        y[t,b] = ids[offset + b*S + w*T + t + 1]
 *
 * The 12 ids a .. l in B = 2 rows and windows of T = 2 steps: S = (12 - 0 - 1) / 2 = 5.
 *
 *     ids      a b c d e | f g h i j | k l      row 0 | row 1 | k: a target only; l: unused
 *
 *              window 0         window 1         window 2, the short one (short_last)
 *              x      y         x      y         x      y
 *     t = 0    a f    b g       c h    d i       e j    f k
 *     t = 1    b g    c h       d i    e j
 *
 * The last target of row b is the first input of row b + 1, so every id of the rows is an
 * input once and a target once (but for the first, never a target, and one id behind the
 * rows, a target only).  This is the order of seq_data_iter_sequential of d2l ("Dive into
 * Deep Learning", 8.3), which draws a new offset from 0..T for each epoch and drops the
 * ragged end.  The reader of Zaremba, Sutskever and Vinyals (arXiv 1409.2329) takes
 * rows of N / B ids and predicts all of a row but its first id: the same rows where B
 * does not divide N. */
#ifndef DATA_STREAM_H
#define DATA_STREAM_H
#include <stdbool.h>
#include <stdint.h>

#include "tensor/file.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t batch;     /* B, the rows of the whole batch; at least 1 */
    int64_t steps;     /* T, the steps of a window; at least 1 */
    int64_t offset;    /* ids left out at the start; 0 or more */
    bool short_last;   /* the ids left at the end of the rows make a shorter last window;
                          false: they are dropped */
    int64_t first_row; /* only rows first_row .. first_row + rows - 1 of the B are given: */
    int64_t rows;      /* the share of one worker; 0: all B (first_row is then 0) */
} DataStreamOptions;

/* A plain value that owns nothing and needs no free.  The fields are for reading. */
typedef struct {
    const int64_t *ids; /* the caller's, alive and unchanged as long as the stream and
                           the tensors it gave */
    int64_t count;      /* N */
    DataStreamOptions options;
    int64_t row_length; /* S */
    int64_t windows;    /* in an epoch; known ahead, so that a schedule can be */
    int64_t position;   /* steps of the rows given so far: the next window begins there */
} DataStream;

/* A stream over ids[0..count), at its first window.
 * Fails (false, a message with the numbers, *s is unusable): batch or steps below 1, a
 * negative offset, rows that are not among the batch, fewer than B + 1 ids from the
 * offset on, rows shorter than one window (unless short_last). */
bool data_stream_init(DataStream *s, const int64_t *ids, int64_t count,
                      const DataStreamOptions *options, TensorError *error);

/* The next window: *x and *y are i64 [T, rows], or [S mod T, rows] for a short last one.
 * Both are views on the ids with strides 1 and S: nothing is copied, and they must not be
 * written to (tensor_copy gives a contiguous copy).
 * Returns false at the end of the epoch; *x and *y are then nil. */
bool data_stream_next(DataStream *s, Tensor *x, Tensor *y);

/* The same with the next `steps` steps, or what is left of the rows, whatever short_last says:
 * for windows of different lengths.   Returns false also where steps is below 1. */
bool data_stream_take(DataStream *s, int64_t steps, Tensor *x, Tensor *y);
/* Back to the first window. */
void data_stream_reset(DataStream *s);
/* On to the place where `position` steps of the rows have been given, as a run that goes on does.
 * Fails (false, the stream as it was): it is not in 0..row_length. */
bool data_stream_seek(DataStream *s, int64_t position, TensorError *error);

/* A new epoch with another offset, at its first window; row_length and windows may change.
 * Fails (false, the stream is as it was): as data_stream_init. */
bool data_stream_set_offset(DataStream *s, int64_t offset, TensorError *error);

/* The options of one of `workers` workers, numbered from 0, that share the rows of `whole`:
 * contiguous shares in the order of the workers, which together are the rows of the whole
 * and differ in size by one at most.  The first row of the share numbers its rows in the
 * whole batch.
 * Fails (false): a worker not in 0..workers-1, fewer rows than workers, rows of `whole`
 * that are not among its batch. */
bool data_stream_share(const DataStreamOptions *whole, int64_t worker, int64_t workers,
                       DataStreamOptions *share, TensorError *error);

#ifdef __cplusplus
}
#endif
#endif
