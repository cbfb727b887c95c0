/* tiny_run.h -- models made in a test, with the vocabulary of a text and random parameters. */
#ifndef TESTS_EXAMPLES_LM_TINY_RUN_H
#define TESTS_EXAMPLES_LM_TINY_RUN_H
#include "examples/lm/run.h"

typedef struct {
    const char *text; /* what the vocabulary is of */
    int unit, clean;
    int64_t min_count;
    bool tied; /* embedding and a last layer of another size */
    uint64_t seed;
} TinyRun;

/* For lm_run_free.  Parameters are large, so that probabilities differ. */
void tiny_run_make(LmRun *run, const TinyRun *options);

/* -ln p(y[t] | x[0..t]) from an own state, step by step with lm_model_forward and plain loops. */
void tiny_run_losses(const LmRun *run, int64_t T, const int64_t *x, const int64_t *y,
                     double *losses);

/* The logits after x[0..T), V of them, computed in the same way. */
void tiny_run_logits(const LmRun *run, int64_t T, const int64_t *x, double *logits);

#endif
