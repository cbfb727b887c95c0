/* checkpoint.h -- what an optimiser has accumulated, in a checkpoint (nn/checkpoint.h).
 *
 *     PREFIX.PARAMETER.SLOT     running means, momentum, averages, under PyTorch's names:
 *                               exp_avg, exp_avg_sq, max_exp_avg_sq, momentum_buffer, ..
 *     PREFIX.PARAMETER.step     I64 [1], the number of its steps
 *     PREFIX.lr                 F64 [1], the rate as it is now
 *     PREFIX.group_lr           F64 [groups], the rates that groups were made with (the first is
 *                               the optimiser's own)
 *     PREFIX.group_momentum     F64 [groups], the momenta or beta1 as they are now, of kinds that
 *                               have one
 *     PREFIX.averaging          I64 [1], of asgd: 1 after optim_asgd_start_averaging, and then
 *     PREFIX.PARAMETER.t0       I64 [1], the steps before it
 *     PREFIX.kind, PREFIX.group.1, ..   texts: "adamw", and the patterns of groups
 *
 * A run that goes on from there takes the same steps, to the bit, as one that never stopped.  The
 * other options are no part of it: make the optimiser and its groups anew with the same.  Where
 * several optimisers share a set, each has a prefix of its own. */
#ifndef OPTIM_CHECKPOINT_H
#define OPTIM_CHECKPOINT_H
#include "nn/checkpoint.h"
#include "optim/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Slots stay in the optimiser's memory until the write: no step before it.  Parameters that the
 * set has got since the last step are taken in, as by a step.
 * Fails (the checkpoint's error): the optimiser is NULL or has an error; averages are swapped
 * in; out of memory. */
void optim_checkpoint_add(Optim *opt, NnCheckpoint *c, const char *prefix);

/* Into an optimiser made with the same kind and options on a set of the same parameters, before
 * or after steps.
 * Fails (false, nothing changed; the message is one line with path, name and reason): no such
 * optimiser in the file, or one of another kind or with other groups; a tensor is missing or has
 * another shape or dtype; a slot that these options do not ask for, or any other tensor below the
 * prefix; numbers that no optimiser has, such as a negative step; opt is NULL or has an error;
 * averages are swapped in; out of memory. */
bool optim_checkpoint_read(const TensorSafetensors *file, const char *path, const char *prefix,
                           Optim *opt, TensorError *error);

#ifdef __cplusplus
}
#endif
#endif
