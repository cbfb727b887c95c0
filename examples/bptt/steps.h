/* steps.h -- three steps of an LSTM forward and backward in plain C, one number at a time.
 *
 * Sizes I = H = B = 1, so that every quantity is one number.  The gates are numbered in the order
 * of the library's weights: 0 is i, 1 is f, 2 is g, 3 is o. */
#ifndef EXAMPLES_BPTT_STEPS_H
#define EXAMPLES_BPTT_STEPS_H
#include <stdio.h>

#include "tensor/file.h"

enum { BPTT_STEPS = 3, BPTT_GATES = 4 };

/* What comes from outside, or the gradient of the loss with respect to it.  Steps count from 1. */
typedef struct {
    double w[BPTT_GATES], u[BPTT_GATES], b[BPTT_GATES]; /* of x, of h, bias */
    double x[BPTT_STEPS + 1];
    double h0, c0;
} BpttInputs;

/* What one step computes, or its gradient: a is the sum in each gate. */
typedef struct {
    double a[BPTT_GATES], i, f, g, o, c, h;
} BpttStep;

typedef struct {
    BpttInputs in;
    double y[BPTT_STEPS + 1]; /* targets */
    BpttStep step[BPTT_STEPS + 2]; /* [0] holds h0 and c0, the one after the last only zeros */
    double loss;                   /* L = 1/2 sum over t of (h_t - y_t)^2 */
    BpttInputs din;
    BpttStep dstep[BPTT_STEPS + 2];
} BpttRun;

/* The numbers of the example; the passes have still to be run. */
BpttRun bptt_example(void);

/* From in and y to step and loss, ... */
void bptt_forward(BpttRun *r);
/* ... and back to din and dstep. */
void bptt_backward(BpttRun *r);

/* dL/dq by a central difference: two forward passes in which q, one of r->in or r->step, is
 * larger and smaller by 1e-5 where it is computed, and all that follows from it follows. */
double bptt_difference(const BpttRun *r, const double *q);

/* Runs both passes and prints every number beside its equation, those of the way back beside
 * their differences too.  *worst is the largest |gradient - difference|.
 * Fails (false): the stream. */
bool bptt_print(BpttRun *r, FILE *out, double *worst);

/* *worst is the largest difference between r->din and what ag_lstm's backward pass gives for the
 * same numbers in F64.  Fails (false): out of memory. */
bool bptt_compare(const BpttRun *r, double *worst, TensorError *error);

#endif
