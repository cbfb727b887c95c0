/* cross_entropy.h -- what the cross entropies of classes share. */
#ifndef AUTOGRAD_OPS_CROSS_ENTROPY_H
#define AUTOGRAD_OPS_CROSS_ENTROPY_H
#include "autograd/ops/ops.h"

/* Options of an op whose in[0] is [.., n] and in[1] the classes [..]. */
typedef struct {
    AgReduction reduction;
    int64_t ignore;
    double smoothing;
} AgClassLoss;

/* The index to ignore that the user's options give. */
int64_t ag_ignored_index(const AgCrossEntropyOptions *o);

/* A shape() for them, with V classes; `what` says in[0]'s shape in words.  False, with the error
 * recorded. */
bool ag_class_loss_shape(AgCall *c, const char *what, int64_t V);
/* out[0] from the losses of the rows [rows].  Returns how many of them count. */
double ag_class_loss_reduce(AgCall *c, const Tensor *loss, const Tensor *target);

#endif
