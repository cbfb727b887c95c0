/* trainer.h -- a training run while it goes on.  What train.c, trainer_rate.c and
 * trainer_checkpoint.c share. */
#ifndef EXAMPLES_LM_TRAINER_H
#define EXAMPLES_LM_TRAINER_H
#include "data/stream.h"
#include "examples/support/progress.h"
#include "log.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "train.h"
#include "workers.h"

/* What is measured from one row of the log to the next, or over an epoch. */
typedef struct {
    double loss;  /* sum over tokens */
    double norm;  /* sum over updates */
    double tokens, updates;
} LmMeans;

/* Where the run is: with parameters, optimiser and carried state all that a checkpoint holds. */
typedef struct {
    int64_t epoch;    /* the present one, from 1; epochs + 1: done */
    int64_t position; /* steps read of each row in this epoch */
    int64_t step;     /* windows since the start of the run: the step of the random numbers */
    int64_t updates;  /* of the parameters, since the start of the run */
    int64_t tokens;   /* read since the start of the run */
    int64_t bad_epochs;      /* since the best one, for early stopping */
    bool averaging;          /* asgd has begun to average */
    double best;             /* validation perplexity; INFINITY at first */
    double seconds;          /* of training */
    LmMeans row, epoch_mean; /* since the last row of the log; of the epoch */
    OptimPlateauState plateau; /* its rate is the share of --lr */
    int64_t history;         /* epochs whose validation perplexity is kept: */
    double *valid;           /* [history], malloc */
    LmResult result;         /* what was saved in model.safetensors */
} LmPlace;

typedef struct {
    const LmTrainJob *job;
    const LmSettings *settings;
    LmModel *model;
    LmWorkers *workers;
    Optim *optim;
    DataStream stream;  /* of all rows of all workers and processes */
    int64_t windows;    /* of T steps in an epoch, for schedules */
    LmPlace place;
    LmLog log;
    ExampleProgress progress;
    double row_started; /* place.seconds at the last row of the log */
    double started;     /* seconds, on the clock: place.seconds counts from there */
    double saved;       /* seconds, on the clock: of the last checkpoint */
} LmTrainer;

/* ---- trainer_rate.c ---- */

/* Sets rate and momentum of the next update, whose first window has T steps. */
void lm_trainer_set_rate(LmTrainer *r, int64_t T);
/* Steps of the next window: settings->steps, or random. */
int64_t lm_trainer_window(const LmTrainer *r);
/* After an epoch with this validation perplexity (NaN: none was measured): the plateau, the start
 * of averaging, early stopping.   Fails (false): out of memory. */
bool lm_trainer_judge(LmTrainer *r, double valid, TensorError *error);
/* Nothing is left to train: all epochs are read, or early stopping has ended them. */
bool lm_trainer_done(const LmSettings *s, const LmPlace *place);
OptimPlateau lm_trainer_plateau(const LmSettings *s);

/* ---- trainer_checkpoint.c ---- */

/* Fails (false): checkpoint.safetensors cannot be written. */
bool lm_trainer_save(LmTrainer *r, TensorError *error);
/* Goes on from the folder's checkpoint.
 * Fails (false, the trainer is of no use): it is missing, damaged, or of another text, network or
 * optimiser. */
bool lm_trainer_load(LmTrainer *r, TensorError *error);
/* Starts the epoch of place.epoch at place.position. */
bool lm_trainer_seek(LmTrainer *r, TensorError *error);

#endif
