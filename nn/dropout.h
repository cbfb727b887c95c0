/* dropout.h -- zeros at random in training, torch.nn.Dropout. */
#ifndef NN_DROPOUT_H
#define NN_DROPOUT_H
#include "autograd/ag.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A plain value without parameters. */
typedef struct {
    double p;       /* probability of a zero, 0..1 */
    int batch_axis; /* of x, for tapes that compute a share of a batch: 1 for [T, B, ..], 0 for
                       [B, ..]; -1: x has none */
} NnDropout;

/* In training each element is 0 with probability p, else x / (1 - p), so that its mean stays;
 * otherwise x itself.  Gradient: the same mask.
 * Fails (the tape's error): p outside 0..1, batch_axis out of range.
 * N. Srivastava and others, Dropout, JMLR 15, 2014. */
AgVar nn_dropout(const NnDropout *m, AgVar x);

/* Variational dropout: the same with one mask for all steps of a sequence, drawn as if x had size
 * 1 along time_axis, so that a feature dropped in one step is dropped in all.  batch_axis as
 * above: sequences have masks of their own.  As for nn_dropout a NaN or infinity stays seen.
 * Gradient: the same mask.
 * Fails (the tape's error): p outside 0..1, an axis out of range, the two are the same.
 * Y. Gal and Z. Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural
 * Networks, NIPS 2016. */
AgVar nn_locked_dropout(AgVar x, double p, int batch_axis, int time_axis);

#ifdef __cplusplus
}
#endif
#endif
