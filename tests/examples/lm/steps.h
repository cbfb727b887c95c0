/* steps.h -- a few steps of a small language model with any number of workers and processes. */
#ifndef TESTS_EXAMPLES_LM_STEPS_H
#define TESTS_EXAMPLES_LM_STEPS_H
#include "data/stream.h"
#include "examples/lm/workers.h"

enum { STEPS_V = 53, STEPS_B = 12, STEPS_T = 7, STEPS_WINDOWS = 6 };

/* One kind of model and loss. */
typedef struct {
    const char *name;
    LmConfig config;
    double alpha, beta;
    int reduction;
} StepsKind;
extern const StepsKind steps_kinds[]; /* ended by one without a name */

typedef struct {
    LmModel model;
    LmSettings settings;
    LmWorkers *workers;
    DataStream stream;
    double loss[STEPS_WINDOWS];
} Steps;

/* STEPS_B rows, shared among `workers` in each process; to be freed with steps_free.
 * Fails (NULL): the workers cannot be made. */
Steps *steps_new(const StepsKind *kind, int64_t workers, TensorError *error);
void steps_free(Steps *s);
/* Window w of the text. */
void steps_window(Steps *s, int w, Tensor *x, Tensor *y);
/* A token that x has in the rows of one of `shares` equal shares only; -1: there is none. */
int64_t steps_token_of(const Tensor *x, int share, int shares);
/* The gradient of windows first..last, the mean of two each where `accumulate`, and after each a
 * step of gradient descent. */
bool steps_run(Steps *s, int first, int last, bool accumulate, TensorError *error);

/* The largest difference of two models' parameters (gradients), over the largest value. */
double steps_value_distance(const Steps *a, const Steps *b);
double steps_grad_distance(const Steps *a, const Steps *b);

#endif
