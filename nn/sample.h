/* sample.h -- from logits to the next token.
 *
 * The logits z [V] become probabilities in this order: the repetition penalty, then z /
 * temperature, then top-k, then the nucleus; what is left is normalised and drawn from. */
#ifndef NN_SAMPLE_H
#define NN_SAMPLE_H
#include "tensor/file.h"
#include "tensor/rng.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    double temperature; /* 0: the most likely token; 1: as the model says */
    int64_t top_k;      /* only the k most likely; 0: all.  Ties at the border: lower ids first */
    double top_p;       /* nucleus: the fewest most likely tokens whose probabilities together
                           reach p (A. Holtzman and others, ICLR 2020); 0 or 1: all */
    double repetition_penalty; /* of tokens in `recent`: z / penalty where z > 0, else z penalty
                                  (N. Keskar and others, CTRL, 2019); 0 or 1: none */
    int64_t exclude;    /* a token that is never drawn; -1: none */
} NnSampleOptions;

/* Why the options are not legal, or NULL. */
const char *nn_sample_invalid(const NnSampleOptions *o);

/* Probabilities p [V] (F64, the caller's) of the options for logits z [V], F32 or F64.
 * recent[0..n): the tokens that the penalty falls on (repeats count once).
 * Fails (false, one line): illegal options; a logit that is NaN or +infinity; nothing left to
 * draw; sizes or dtypes; an id in recent outside 0..V-1. */
bool nn_sample_probabilities(const NnSampleOptions *o, const Tensor *z, const int64_t *recent,
                             int64_t n, const Tensor *p, TensorError *error);

/* The token that u in [0, 1) falls on when they lie side by side with lengths p [V]. */
int64_t nn_sample_choose(const Tensor *p, double u);

#ifdef __cplusplus
}
#endif
#endif
