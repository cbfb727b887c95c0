/* train.h -- training by truncated backpropagation through time.
 *
 * The text is read in rows side by side, in windows of T steps (data/stream.h); the state goes on
 * from window to window, gradients end at the window's start (nn/state.h).
 *
 * checkpoint.safetensors of the run folder is written at the start, at the end of every epoch,
 * every --save-every seconds, and when training is stopped.  It holds parameters, optimiser,
 * schedule, early stopping, step, carried state and place in the text, and the settings: a run that
 * goes on from it gives the same bits as one that never stopped.  model.safetensors with its
 * companions (run.h) is written after an epoch that is the best on validation text so far; without
 * such a text after every epoch; and when training is stopped before there is any. */
#ifndef EXAMPLES_LM_TRAIN_H
#define EXAMPLES_LM_TRAIN_H
#include <signal.h>
#include <stdio.h>

#include "data/corpus.h"
#include "run.h"

typedef struct {
    const char *folder;
    LmRun *run;               /* model, vocabulary and settings; result is filled in */
    const DataCorpus *corpus;
    bool resume;              /* go on from the folder's checkpoint */
    FILE *profile;            /* where to write, at the end, what took how long; NULL: nowhere */
    const volatile sig_atomic_t *stop; /* when it is not 0, training ends with this step */
} LmTrainJob;

typedef enum { LM_TRAIN_DONE, LM_TRAIN_STOPPED, LM_TRAIN_DIVERGED, LM_TRAIN_FAILED } LmTrainStatus;

/* Trains, shows the progress, writes the run folder.  run->result is what was saved last in
 * model.safetensors (epoch 0: nothing).
 * Diverged: a loss or gradient is not finite, or its norm beyond norm_limit; *error says which op
 * and scope began it; files stay as they were.
 * Fails: a text too short for its rows; no validation text, where settings wait for its results;
 * out of memory; a file cannot be written; resuming: the checkpoint is missing, damaged, or of
 * another text or network; the profile cannot be written. */
LmTrainStatus lm_train(const LmTrainJob *job, TensorError *error);

/* What a folder's checkpoint.safetensors says. */
typedef struct {
    bool found; /* there is one */
    int64_t epoch, step;
    bool done;  /* by its own settings nothing is left to train */
} LmCheckpoint;

/* *settings becomes the checkpoint's, where there is one; free it.
 * Fails (false): it is damaged. */
bool lm_checkpoint_read(const char *folder, LmCheckpoint *checkpoint, LmSettings *settings,
                        TensorError *error);

/* Perplexity of predicting ids[1..count-1], read in `rows` rows that each start from a state of
 * zeros, without the last (count - 1) mod rows of them; in one row where count is at most `rows`.
 * Fails (NaN): fewer than 2 ids; out of memory. */
double lm_perplexity(const LmModel *m, AgTape *t, const int64_t *ids, int64_t count, int64_t rows,
                     TensorError *error);

#endif
