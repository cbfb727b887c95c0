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

#ifdef __cplusplus
}
#endif
#endif
