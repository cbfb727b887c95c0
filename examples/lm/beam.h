/* beam.h -- beam search: the most likely texts that go on from what a reader has read. */
#ifndef EXAMPLES_LM_BEAM_H
#define EXAMPLES_LM_BEAM_H
#include <signal.h>

#include "reader.h"
#include "writer.h"

typedef struct {
    int64_t width;   /* N, 1 or more */
    int64_t length;  /* most tokens */
    int64_t end;     /* a text ends with this token; -1: none does before its length */
    int64_t exclude; /* a token in no text; -1: none */
    const volatile sig_atomic_t *stop;
} LmBeamOptions;

/* A text and its log probability. */
typedef struct {
    LmTokens tokens;
    double nats;
} LmHypothesis;

/* The best texts after `first` [n], n >= 1, the highest mean log probability per token first; at
 * most N.  For lm_hypotheses_free.  generate.h says how it searches.
 * Fails (false, *best is NULL): the model gives no finite numbers; every token is excluded; out of
 * memory. */
bool lm_beam_search(LmReader *r, const LmBeamOptions *options, const int64_t *first, int64_t n,
                    LmHypothesis **best, int64_t *count, TensorError *error);
void lm_hypotheses_free(LmHypothesis *list, int64_t count);

#endif
