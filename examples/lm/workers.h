/* workers.h -- data parallel steps: the rows of the batch are shared among workers.
 *
 * Each worker reads B rows of the batch with a tape, gradients and carried state of its own;
 * the gradients are added up in the order of workers, so that results repeat.  n workers with B
 * rows each compute what one with n B rows does, up to rounding: they read the same windows, draw
 * the same dropout masks (ag_tape_rows), and the loss is the mean over all rows.
 *
 * Workers are threads of this process, and with processes.h those of all processes: worker w of
 * process p is number p * workers + w. */
#ifndef EXAMPLES_LM_WORKERS_H
#define EXAMPLES_LM_WORKERS_H
#include "model.h"
#include "nn/checkpoint.h"
#include "settings.h"

typedef struct LmWorkers LmWorkers;

/* What one step computes, over all workers and processes. */
typedef struct {
    double loss; /* mean cross entropy per token, without penalties */
    bool finite; /* loss and its exp are finite numbers (the optimiser looks at gradients) */
} LmStep;

/* s->workers threads for the model; s, m and set outlive it.  NULL: out of memory, or threads
 * cannot be started.  Free it with lm_workers_free. */
LmWorkers *lm_workers_new(const LmModel *m, const LmSettings *s, TensorError *error);
void lm_workers_free(LmWorkers *w);

/* Forward and backward of one window of all rows:   x, y I64 [T, n B]: of the whole batch, the
 * same in every process.  `scale` times the gradient of the loss (with LmReduction and penalties)
 * is added to the workers' gradients, or, where `first`, takes their place; of a step that is not
 * finite they are not to be used.  The carried state goes on only if the step is finite.  `step` is
 * the step of the random numbers (ag_tape_rng).
 * Fails (false): an error on a tape (one line); MPI fails. */
bool lm_workers_step(LmWorkers *w, const Tensor *x, const Tensor *y, uint64_t step, bool first,
                     double scale, LmStep *result, TensorError *error);

/* The model's own gradients: after lm_workers_reduce the sum over all workers and processes. */
NnGrads *lm_workers_grads(LmWorkers *w);
/* To be called once before the optimiser's step, after the last of its windows.
 * Fails (false): MPI fails. */
bool lm_workers_reduce(LmWorkers *w, TensorError *error);

/* Runs the last window again with the NaN tracer on (autograd/inspect.h), from the state it started
 * from and with the same random numbers: *error says which op and scope began it, in all processes.
 * False if nothing was found.  The gradients are gone. */
bool lm_workers_trace(LmWorkers *w, const Tensor *x, const Tensor *y, uint64_t step,
                      TensorError *error);

/* The carried state of all rows, as one worker with the whole batch has it, so that a run can go on
 * with another number of workers.  In zero: as at the start of a text. */
void lm_workers_zero_state(LmWorkers *w);
/* The state into process 0's checkpoint under PREFIX.NAME; from any process. */
bool lm_workers_add_state(LmWorkers *w, NnCheckpoint *c, const char *prefix, TensorError *error);
bool lm_workers_read_state(LmWorkers *w, const TensorSafetensors *file, const char *path,
                           const char *prefix, TensorError *error);

/* The first worker's tape, for measuring between steps. */
AgTape *lm_workers_tape(LmWorkers *w);

#endif
