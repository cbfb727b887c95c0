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
 *     nn_checkpoint_add_ints(c, "train.step", 1, &step);
 *     nn_checkpoint_add_text(c, "config", json);
 *     bool ok = nn_checkpoint_write(c, "last.safetensors", &error);
 *     nn_checkpoint_free(c);
 *
 * Errors of collecting stick to the checkpoint: the first is told by nn_checkpoint_write.
 * Reading goes by part, from a file opened once:
 *
 *     TensorSafetensors *file;
 *     bool ok = nn_checkpoint_open(path, &file, &error) &&
 *               nn_checkpoint_read_params(file, path, "model", set, &error) &&
 *               optim_checkpoint_read(file, path, "optim", opt, &error) &&
 *               nn_checkpoint_read_state(file, path, "state", state, &error) &&
 *               nn_checkpoint_read_ints(file, path, "train.step", 1, &step, &error);
 *     const char *json = ok ? tensor_safetensors_metadata(file, "config") : NULL;
 *     ...
 *     tensor_safetensors_close(file);
 *
 * Each part is taken over as a whole or not at all, and gives back every bit.  A checkpoint is
 * made between two steps: gradients are no part of it.
 *
 * A part's tensors have the names PREFIX.NAME, and no others stand below its prefix.  With the
 * prefix "" they have the name alone, and the part is the whole file (texts may stand beside
 * it): that is the file of nn_save. */
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

/* The tensor under this name (copied).  Its memory stays the caller's and is read by the write. */
void nn_checkpoint_add(NnCheckpoint *c, const char *name, const Tensor *value);
/* The same, copied now: for values that change or end before the write. */
void nn_checkpoint_add_copy(NnCheckpoint *c, const char *name, const Tensor *value);
/* A copy of n numbers, as F64 [n] or I64 [n]. */
void nn_checkpoint_add_reals(NnCheckpoint *c, const char *name, int64_t n, const double *x);
void nn_checkpoint_add_ints(NnCheckpoint *c, const char *name, int64_t n, const int64_t *x);
/* A text (UTF-8) in the file's metadata; copied. */
void nn_checkpoint_add_text(NnCheckpoint *c, const char *key, const char *text);
/* All parameters and buffers of the set, in the memory of the set.  Fails also: the set has an
 * error. */
void nn_checkpoint_add_params(NnCheckpoint *c, const char *prefix, const NnParamSet *set);
/* All tensors of the state, in its memory.  Fails also: state is NULL. */
void nn_checkpoint_add_state(NnCheckpoint *c, const char *prefix, const NnState *state);

/* Beside the caller's texts stands one more, "digest": a number made of all names, shapes, values
 * and texts, by which nn_checkpoint_open sees damage.
 * Fails (false, the old file untouched): an error of collecting; a name or key given twice,
 * "digest" among them; whatever else tensor_safetensors_write refuses. */
bool nn_checkpoint_write(NnCheckpoint *c, const char *path, TensorError *error);

/* ---- reading ----
 * `path` is what messages call the file.  All fail (false, nothing changed) when a tensor is
 * missing or has another dtype or shape, and when out of memory; the message is one line with the
 * path, the tensor's name and the reason. */

/* tensor_safetensors_open, and a look at the digest: a file that has none, as those of other
 * writers, is taken as it is.
 * Fails (false, *file NULL): tensor_safetensors_open's; contents that are not the digest's. */
bool nn_checkpoint_open(const char *path, TensorSafetensors **file, TensorError *error);

/* Values of all parameters and buffers of the set, and their versions.  Fails also: PREFIX. has
 * tensors that the set has not; the set has an error. */
bool nn_checkpoint_read_params(const TensorSafetensors *file, const char *path,
                               const char *prefix, NnParamSet *set, TensorError *error);
/* Every tensor below the prefix becomes one of the state, which has no others then; its dtype
 * must be the state's.  Fails also: state is NULL. */
bool nn_checkpoint_read_state(const TensorSafetensors *file, const char *path, const char *prefix,
                              NnState *state, TensorError *error);
/* Into the memory of value, whose dtype and shape the tensor must have. */
bool nn_checkpoint_read(const TensorSafetensors *file, const char *path, const char *name,
                        const Tensor *value, TensorError *error);
/* n numbers. */
bool nn_checkpoint_read_reals(const TensorSafetensors *file, const char *path, const char *name,
                              int64_t n, double *x, TensorError *error);
bool nn_checkpoint_read_ints(const TensorSafetensors *file, const char *path, const char *name,
                             int64_t n, int64_t *x, TensorError *error);

/* ---- for parts of one's own ---- */

/* Records an error of the caller's own; only the first is kept. */
void nn_checkpoint_fail(NnCheckpoint *c, const char *format, ...) AG_PRINTF(2, 3);
/* The name of something below a prefix, in the arena's memory: PREFIX.NAME, or NAME where the
 * prefix is "".  NULL when out of memory. */
char *nn_checkpoint_name(TensorArena *a, const char *prefix, const char *name_format, ...)
    AG_PRINTF(3, 4);
/* NAME, where the whole name is PREFIX.NAME; NULL where it is not below the prefix. */
const char *nn_checkpoint_below(const char *prefix, const char *name);
/* A view of the tensor, valid until the file is closed: for values that are to be checked before
 * they are taken over.  Fails (false, *view nil): no such tensor, or another dtype or shape. */
bool nn_checkpoint_view(const TensorSafetensors *file, const char *path, const char *name,
                        TensorDtype dtype, int ndim, const int64_t *shape, Tensor *view,
                        TensorError *error);

#ifdef __cplusplus
}
#endif
#endif
