/* norm.h -- what clip.c measures for optim.c.  Not for use outside optim/. */
#ifndef OPTIM_NORM_H
#define OPTIM_NORM_H
#include "nn/param.h"

/* The p-norm of all gradients that count, as one vector. */
double optim_grad_norm(const NnGrads *grads, double p);
/* What clipping to max_norm multiplies gradients of that finite norm by; 1: nothing. */
double optim_clip_factor(double norm, double max_norm);

#endif
