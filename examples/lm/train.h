/* train.h -- training by truncated backpropagation through time.
 *
 * The text is read in B rows side by side, in windows of T steps (data/stream.h); the state
 * goes on from window to window, gradients end at the window's start (nn/state.h). */
#ifndef EXAMPLES_LM_TRAIN_H
#define EXAMPLES_LM_TRAIN_H
#include <signal.h>
#include <stdio.h>

#include "model.h"
#include "tensor/file.h"

typedef enum { LM_SGD, LM_ADAM } LmOptimizer;

typedef struct {
    int64_t batch, steps, epochs; /* B, T */
    int optimizer;                /* an LmOptimizer */
    double lr, momentum;
    double clip; /* largest norm of the gradient; 0: no limit */
    int64_t seed;
    bool random_offset; /* each epoch leaves out a random 0..T characters at the start, as d2l
                           does, so that windows are cut at other places */
} LmTraining;

/* What has been reached when a model is saved. */
typedef struct {
    int64_t epoch;
    double perplexity; /* of the epoch, measured while training: exp(loss / characters) */
    double held_out;   /* on held-out text after it; NaN without such a text */
} LmResult;

typedef struct {
    LmModel *model;
    const LmTraining *options;
    const int64_t *ids; /* the text to train on */
    int64_t count;
    const int64_t *held_out; /* the text to measure on; held_out_count 0: none */
    int64_t held_out_count;
    FILE *profile; /* where to write, at the end, what took how long; NULL: nowhere */
    const volatile sig_atomic_t *stop; /* when it is not 0, the epoch ends with this step */
    bool (*save)(void *context, const LmResult *result, TensorError *error);
    void *context;
} LmTrainJob;

typedef enum { LM_TRAIN_DONE, LM_TRAIN_STOPPED, LM_TRAIN_DIVERGED, LM_TRAIN_FAILED } LmTrainStatus;

/* Trains, shows the progress, and calls `save`: with held-out text after each epoch that is the
 * best so far on it; without, at the end and once in a while.  *result is what was saved last
 * (epoch 0: nothing).  When stopped, what is there is measured and saved by the same rule.
 * Diverged: a perplexity or the gradient is not finite; nothing is saved then.
 * Fails: a text too short for B rows of T + 1 characters; out of memory; save fails; the profile
 * cannot be written. */
LmTrainStatus lm_train(const LmTrainJob *job, LmResult *result, TensorError *error);

/* exp of the mean cross-entropy of predicting ids[1..count-1], in a few rows that each start from
 * a state of zeros.   Fails (NaN): fewer than 2 ids; out of memory. */
double lm_perplexity(const LmModel *m, AgTape *t, const int64_t *ids, int64_t count,
                     TensorError *error);

#endif
