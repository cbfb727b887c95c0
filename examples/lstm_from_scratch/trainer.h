/* trainer.h -- training of either of the two models, one window of the text at a time. */
#ifndef EXAMPLES_LSTM_FROM_SCRATCH_TRAINER_H
#define EXAMPLES_LSTM_FROM_SCRATCH_TRAINER_H
#include "examples/lstm_from_scratch/scratch.h"
#include "nn/state.h"
#include "optim/optim.h"
#include "tensor/file.h"

typedef struct {
    TensorDtype dtype;
    int64_t V, H;
    double lr, clip; /* of SGD; largest norm of the gradient */
    uint64_t seed;
} ScratchOptions;

typedef struct {
    ScratchOptions options;
    bool is_library; /* which of the two models is there */
    ScratchModel scratch;
    LibraryModel library;
    NnParamSet *set;
    AgTape *tape;
    NnState *state; /* h and c, from window to window */
    Optim *optim;
} ScratchTrainer;

/* A trainer of the model from scratch, ...  Free both with scratch_trainer_free, also after a
 * failure.  Fail (false): out of memory, wrong options. */
bool scratch_trainer_init(ScratchTrainer *r, const ScratchOptions *options, TensorError *error);
/* ... and of the library's with the same numbers as that of `same`. */
bool scratch_trainer_copy(ScratchTrainer *r, const ScratchTrainer *same, TensorError *error);
void scratch_trainer_free(ScratchTrainer *r);

/* Begins the text anew: h and c are zeros. */
void scratch_trainer_restart(ScratchTrainer *r);

/* ids x, I64 [T, B] -> H of all steps and logits, on the trainer's tape, which is reset.  Starts
 * from `state` and leaves the last one there. */
ScratchOutput scratch_trainer_forward(ScratchTrainer *r, NnState *state, const Tensor *x);

/* One step of SGD on a window: x, y [T, B], y being the next characters.  *loss is the mean
 * cross-entropy before it, *out (may be NULL) the outputs, on the trainer's tape.
 * Fails (false): the tape's or the optimiser's error; a loss or gradient that is not finite. */
bool scratch_trainer_step(ScratchTrainer *r, const Tensor *x, const Tensor *y, double *loss,
                          ScratchOutput *out, TensorError *error);

#endif
