/* corpus.h -- a text as the numbers of its characters. */
#ifndef EXAMPLES_LM_CORPUS_H
#define EXAMPLES_LM_CORPUS_H
#include "run.h"

typedef struct {
    const char *path;
    int clean;             /* an LmClean */
    bool replace_invalid;  /* U+FFFD for bytes that are not UTF-8, instead of an error */
    int64_t max_chars;     /* 0: all */
    double valid;          /* the share at the end that is held out */
} LmCorpusOptions;

typedef struct {
    DataVocab *vocab; /* of the whole text */
    int64_t *ids;
    int64_t train, held_out; /* ids[0..train) is to train on, the next held_out to measure on */
} LmCorpus;

/* Reads the text; free it with lm_corpus_free.
 * Fails (false, *c is empty): the file cannot be read, is empty or no UTF-8, has no characters
 * left after cleaning, or too few to hold any out; out of memory. */
bool lm_corpus_read(LmCorpus *c, const LmCorpusOptions *options, TensorError *error);
void lm_corpus_free(LmCorpus *c);

#endif
