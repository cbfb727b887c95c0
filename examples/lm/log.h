/* log.h -- what is measured during training, in two files for other programs: log.csv and
 * log.jsonl of the run folder.
 *
 * A row stands for the steps since the row before, at the end of an epoch or after --log-every
 * steps:
 *
 *     epoch,step,tokens,seconds,loss,perplexity,valid_perplexity,lr,grad_norm,tokens_per_second
 *
 * loss is the mean cross entropy per token in nats, perplexity its exp, valid_perplexity that on
 * validation text (at ends of epochs; else empty, and null in log.jsonl), grad_norm the mean norm
 * of the gradient before clipping; seconds is training time since the run's start, without
 * pauses.
 *
 * Both files have the same rows and numbers, with a point in any locale and all digits that tell a
 * double from others; a number that is not there is empty in log.csv and null in log.jsonl, where
 * an infinite one ("inf" in log.csv) is null too. */
#ifndef EXAMPLES_LM_LOG_H
#define EXAMPLES_LM_LOG_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tensor/file.h"

typedef struct {
    int64_t epoch, step, tokens;
    double seconds, loss, perplexity, valid_perplexity; /* NaN: not measured */
    double lr, grad_norm, tokens_per_second;
} LmLogRow;

typedef struct {
    FILE *csv, *jsonl;
    double seconds; /* of the last row that was there when it was opened; 0: there was none */
} LmLog;

/* Opens the two files of the folder.  Rows of steps beyond `steps` go first (0: all, whatever the
 * files hold): a run that goes on from a checkpoint repeats them.  log.jsonl gets the rows of
 * log.csv, so that both agree also where the run before ended between two writes.
 * Fails (false, nothing open): a file cannot be read or written, or log.csv is not such a log. */
bool lm_log_open(LmLog *log, const char *folder, int64_t steps, TensorError *error);
/* Each row is written at once, in one line each.   Fails (false): the system's reason. */
bool lm_log_write(LmLog *log, const LmLogRow *row, TensorError *error);
/* One that is closed, or all zero, is left alone. */
void lm_log_close(LmLog *log);

/* The rows of FOLDER/log.csv; for free().
 * Fails (false): the file cannot be read or is not such a log (line and reason).  A last line that
 * was not finished is left out. */
bool lm_log_read(const char *folder, LmLogRow **rows, int64_t *count, TensorError *error);

#endif
