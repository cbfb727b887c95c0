/* writer.h -- tokens as the text that a reader wants (data_tokens_text), while they come.
 *
 * A word is written as soon as nothing that follows can change the spaces before it; so a straight
 * quote of raw words waits for the next word. */
#ifndef EXAMPLES_LM_WRITER_H
#define EXAMPLES_LM_WRITER_H
#include <stdio.h>

#include "run.h"

/* Tokens, in their order. */
typedef struct {
    int64_t *id;
    int64_t count, capacity;
} LmTokens;

/* Fails (false): out of memory. */
bool lm_tokens_add(LmTokens *tokens, const int64_t *id, int64_t n, TensorError *error);
void lm_tokens_clear(LmTokens *tokens);

/* How the run's texts become tokens. */
DataTokens lm_run_tokens(const LmRun *run);

typedef struct {
    const LmRun *run;
    FILE *out;
    int64_t from;  /* tokens before it are written, and no longer matter */
    int64_t shown; /* bytes that are written of the text of those from there on */
    bool in_line;  /* the last byte written was no line end */
} LmWriter;

LmWriter lm_writer(const LmRun *run, FILE *out);

/* Writes what is certain of the text of all tokens, those of earlier calls first, and flushes it.
 * `end`: there are no more, all of it is.  What the stream refuses is found by ferror.
 * Fails (false): out of memory. */
bool lm_writer_show(LmWriter *w, const LmTokens *tokens, bool end, TensorError *error);

#endif
