/* sample.h -- from logits to the next token.
 *
 *     NnSampleOptions o = {.temperature = 0.8, .top_k = 40};
 *     if (!nn_sample_probabilities(&o, &z, NULL, 0, &p, &work, &error)) return false;
 *     int64_t next = nn_sample_choose(&p, tensor_rng_uniform(key, i));
 *
 * The logits z [V] become probabilities in this order: the repetition penalty, the excluded token,
 * z / temperature, top-k, the nucleus; what is left is normalised and drawn from. */
#ifndef NN_SAMPLE_H
#define NN_SAMPLE_H
#include "tensor/file.h"
#include "tensor/rng.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All zero: always the most likely token. */
typedef struct {
    double temperature; /* p ~ exp(z / temperature); 1: as the model says; 0: the most likely token,
                           of equal ones the lowest id */
    int64_t top_k;      /* only the k most likely; 0: all.  Ties at the border: lower ids first */
    double top_p;       /* the nucleus: the fewest most likely tokens whose probabilities (among
                           the top k) together reach p, never fewer than one, ties as above; 0 or
                           1: all.  A. Holtzman and others, The Curious Case of Neural Text
                           Degeneration, ICLR 2020 */
    double repetition_penalty; /* of tokens in `recent`: z / penalty where z > 0, else z penalty;
                                  0 or 1: none; below 1 it favours them.  N. Keskar and others,
                                  CTRL, arXiv 1909.05858, 2019 */
    bool has_exclude;
    int64_t exclude;    /* a token that is never drawn, where has_exclude */
} NnSampleOptions;

/* Why the options are not legal, or NULL: a temperature, top_k or repetition_penalty that is below
 * 0 or not finite, top_p outside 0..1, an excluded token below 0. */
const char *nn_sample_invalid(const NnSampleOptions *o);

/* p [V], F64 and contiguous, becomes the probabilities of the options for logits z [V], F32 or
 * F64; all arithmetic is in double, of differences to the largest logit, so nothing overflows.  A
 * logit of -infinity has probability 0.  recent[0..n): the tokens that the penalty falls on
 * (repeats count once).  work: I64 [V] and contiguous, contents undefined before and after; only
 * top_k and top_p need it, else NULL will do.  The three tensors are apart.  Nothing is allocated;
 * time is V, and log V for each token kept by top_k or top_p.
 * Fails (false, one line; p is undefined): illegal options; a logit that is NaN or +infinity, or
 * becomes that by the penalty; nothing left to draw; sizes or dtypes; an id in recent, or exclude,
 * outside 0..V-1. */
bool nn_sample_probabilities(const NnSampleOptions *o, const Tensor *z, const int64_t *recent,
                             int64_t n, const Tensor *p, const Tensor *work, TensorError *error);

/* The token that u in [0, 1) falls on when tokens lie side by side with lengths p [V] (F64,
 * contiguous, of any finite sum): the first whose running sum exceeds u times the whole.  It is
 * never one with p = 0.   Fails (-1): p is of another kind; no element is above 0; the sum is NaN
 * or infinite. */
int64_t nn_sample_choose(const Tensor *p, double u);

#ifdef __cplusplus
}
#endif
#endif
