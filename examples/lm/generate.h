/* generate.h -- text from a trained model, character by character. */
#ifndef EXAMPLES_LM_GENERATE_H
#define EXAMPLES_LM_GENERATE_H
#include <stdio.h>

#include "run.h"

typedef struct {
    const char *prefix; /* UTF-8; empty: the text begins as after the most frequent character */
    int64_t length;     /* characters after the prefix */
    double temperature; /* p ~ exp(logit / temperature); 0: always the most likely character */
    int64_t seed;
} LmGeneration;

/* Writes the prefix and what follows.  <unk> is never drawn.  Memory does not grow with length.
 * Fails (false): a character of the prefix is not in the vocabulary; the model gives no finite
 * numbers; out of memory. */
bool lm_generate(const LmRun *run, const LmGeneration *options, FILE *out, TensorError *error);

#endif
