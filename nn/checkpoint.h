/* checkpoint.h -- everything that a training run needs to go on, in one file.
 *
 * A checkpoint is a safetensors file: tensors of any dtype under dotted names, and texts.  It is
 * collected, then written at once (tensor/file.h: synced, one rename), so the path names the
 * whole old or the whole new checkpoint at every moment.
 *
 *     NnCheckpoint *c = nn_checkpoint_new();
 *     nn_checkpoint_add_params(c, "model", set);
 *     optim_checkpoint_add(opt, c, "optim");                (optim/checkpoint.h)
 *     nn_checkpoint_add_state(c, "state", state);
 *     nn_checkpoint_add(c, "train.step", &step);
 *     nn_checkpoint_add_text(c, "config", json);
 *     bool ok = nn_checkpoint_write(c, "last.safetensors", &error);
 *     nn_checkpoint_free(c);
 *
 * Errors of collecting (a name given twice, out of memory) stick to the checkpoint and are told
 * by nn_checkpoint_write.  Reading goes by part, from a file opened once:
 *
 *     TensorSafetensors *file;
 *     bool ok = tensor_safetensors_open("last.safetensors", &file, &error) &&
 *               nn_checkpoint_read_params(file, "model", set, &error) &&
 *               optim_checkpoint_read(file, "optim", opt, &error) &&
 *               nn_checkpoint_read_state(file, "state", state, &error) && ...
 *
 * Each part is taken over as a whole or not at all, and gives back every bit. */
#ifndef NN_CHECKPOINT_H
#define NN_CHECKPOINT_H
#include "nn/param.h"
#include "nn/state.h"
#include "tensor/file.h"
#include "tensor/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct NnCheckpoint NnCheckpoint;

/* ---- collecting and writing ---- */

/* NULL when out of memory; adding to NULL does nothing, writing it fails. */
NnCheckpoint *nn_checkpoint_new(void);
void nn_checkpoint_free(NnCheckpoint *c); /* NULL is allowed */

/* The tensor under this name.  Its memory stays the caller's and is read by the write. */
void nn_checkpoint_add(NnCheckpoint *c, const char *name, const Tensor *value);
/* The same, copied now: for values that change or end before the write. */
void nn_checkpoint_add_copy(NnCheckpoint *c, const char *name, const Tensor *value);
/* A copy of n numbers, as F64 [n] or I64 [n]. */
void nn_checkpoint_add_reals(NnCheckpoint *c, const char *name, int64_t n, const double *x);
void nn_checkpoint_add_ints(NnCheckpoint *c, const char *name, int64_t n, const int64_t *x);
/* A text (UTF-8) in the file's metadata; copied. */
void nn_checkpoint_add_text(NnCheckpoint *c, const char *key, const char *text);
/* All parameters and buffers of the set, under PREFIX.NAME. */
void nn_checkpoint_add_params(NnCheckpoint *c, const char *prefix, const NnParamSet *set);
/* All tensors of the state, under PREFIX.NAME. */
void nn_checkpoint_add_state(NnCheckpoint *c, const char *prefix, const NnState *state);

/* Fails (false, the old file untouched): an error of collecting; tensor_safetensors_write's. */
bool nn_checkpoint_write(NnCheckpoint *c, const char *path, TensorError *error);

/* ---- reading ----
 * `path` is what messages name.  All fail (false, nothing changed) when a tensor is missing, or
 * has another dtype or shape; the message has the path, the tensor's name and the reason. */

/* Values of all parameters and buffers of the set, and their versions.  Fails also: PREFIX. has
 * tensors that the set has not. */
bool nn_checkpoint_read_params(const TensorSafetensors *file, const char *path,
                               const char *prefix, NnParamSet *set, TensorError *error);
/* Every tensor below the prefix becomes one of the state, which has no others then; its dtype
 * must be the state's. */
bool nn_checkpoint_read_state(const TensorSafetensors *file, const char *path, const char *prefix,
                              NnState *state, TensorError *error);
/* n numbers. */
bool nn_checkpoint_read_reals(const TensorSafetensors *file, const char *path, const char *name,
                              int64_t n, double *x, TensorError *error);
bool nn_checkpoint_read_ints(const TensorSafetensors *file, const char *path, const char *name,
                             int64_t n, int64_t *x, TensorError *error);

#ifdef __cplusplus
}
#endif
#endif
