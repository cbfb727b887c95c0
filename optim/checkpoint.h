/* checkpoint.h -- what an optimiser has accumulated, in a checkpoint (nn/checkpoint.h).
 *
 * Of every parameter of the optimiser its number of steps and its slots (running means, momentum,
 * averages), as PREFIX.PARAMETER.SLOT; and the rates and momenta as they are now, those of groups
 * too.  A run that goes on from there takes the same steps, to the bit, as one that never
 * stopped.  The options themselves are the caller's to make anew. */
#ifndef OPTIM_CHECKPOINT_H
#define OPTIM_CHECKPOINT_H
#include "nn/checkpoint.h"
#include "optim/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Errors stick to the checkpoint; so does that of an optimiser with an error of its own, or with
 * averages swapped in. */
void optim_checkpoint_add(const Optim *opt, NnCheckpoint *c, const char *prefix);

/* Into an optimiser made with the same kind and options on a set of the same parameters.
 * Fails (false, nothing changed): another kind, slots or groups; a tensor missing or of another
 * shape or dtype; out of memory. */
bool optim_checkpoint_read(const TensorSafetensors *file, const char *path, const char *prefix,
                           Optim *opt, TensorError *error);

#ifdef __cplusplus
}
#endif
#endif
