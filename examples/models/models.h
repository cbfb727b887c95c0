/* models.h -- what every model of this folder consists of, so that one program trains them all
 * and one test checks their gradients.
 *
 * A model of your own begins as a copy of one of these files: change the equations, name it in
 * the list of run.c, and --check tells whether its gradients hold. */
#ifndef EXAMPLES_MODELS_MODELS_H
#define EXAMPLES_MODELS_MODELS_H
#include <signal.h>

#include "autograd/gradcheck/gradcheck.h"
#include "nn/param.h"
#include "tensor/file.h"

enum { MODEL_MAX_INPUTS = 6 };

typedef struct {
    int64_t T, B, H; /* steps, sequences in a batch, hidden units */
} ModelSizes;

/* What a task makes a batch from: the same numbers for the same key. */
typedef struct {
    ModelSizes n;
    TensorDtype dtype; /* of what is not an index */
    TensorRngKey key;
    TensorArena *memory;
} ModelBatch;

typedef struct {
    const char *name, *idea; /* "mgu", one line */
    const char *task;        /* what it learns here, one line */
    /* Names of what the task gives, and of the initial states [B, H], zeros in training, which
     * come after it; NULL ends both. */
    const char *inputs[4], *states[4];
    /* Sets in[0..], one tensor for each of `inputs`. */
    void (*batch)(const ModelBatch *b, Tensor *in);
    /* A new model, in memory of the set; what fails is the set's error. */
    void *(*make)(NnParamSet *set, ModelSizes n);
    /* The mean loss [] of a batch, in: inputs and states; what fails is the tape's error. */
    AgVar (*loss)(const void *model, AgTape *t, const AgVar *in);
    ModelSizes train, check; /* as the program trains it; small, for checks of gradients */
    int64_t steps;
    double lr;               /* of Adam, at the start; it falls to 0 along a cosine */
    const char *loss_is;     /* "mean squared error" */
    double baseline;         /* a loss to compare with, for the sizes `train` .. */
    const char *baseline_is; /* .. and whose it is, one line */
} Model;

extern const Model *const model_list[]; /* NULL ends it */
const Model *model_find(const char *name); /* NULL: there is none */

/* ---- run.c ---- */

typedef struct {
    int64_t steps;      /* 0: the model's own */
    uint64_t seed;      /* of parameters and batches */
    bool silent;        /* no progress lines on standard output */
    const volatile sig_atomic_t *stop; /* training ends when it shows another number than 0; NULL:
                                          after all steps */
} ModelTraining;

/* Trains a new model in F32, each step on a batch of its own, and measures the mean loss over
 * batches that it has not seen.   Fails (NaN, and the error): what layers, tape or optimiser
 * report; a loss that is not finite. */
double model_train(const Model *m, const ModelTraining *training, TensorError *error);

/* Compares the gradients of the loss by all inputs and all parameters, in F64 and of first or
 * second order, with finite differences, everything at random values.  r->name is the input,
 * state or parameter whose gradient is wrong.  Returns r->ok. */
bool model_check(const Model *m, int order, GradcheckResult *r);

/* ---- tasks.c: each says what its inputs are ---- */

void task_adding(const ModelBatch *b, Tensor *in);
void task_waves(const ModelBatch *b, Tensor *in);
void task_reversal(const ModelBatch *b, Tensor *in);
void task_two_branches(const ModelBatch *b, Tensor *in);

/* Tokens of task_reversal: 0.. have a meaning, the others only a shape to be copied. */
enum { TASK_KNOWN = 8, TASK_UNKNOWN = 8, TASK_TOKENS = TASK_KNOWN + TASK_UNKNOWN };

#endif
