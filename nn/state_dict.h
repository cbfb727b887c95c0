/* state_dict.h -- the parameters of a set in a file.
 *
 * The file is a safetensors file with a tensor for each parameter and buffer, under its name.
 * Names, shapes and gate order of the layers are PyTorch's, so safetensors.torch.save_file of
 * a model's state_dict can be loaded here, and the other way round.  Save and load give back
 * every bit. */
#ifndef NN_STATE_DICT_H
#define NN_STATE_DICT_H
#include "nn/param.h"
#include "tensor/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes all parameters and buffers in the order of creation, atomically: path names the old
 * file or the whole new one.  n_metadata texts go with them (0 and NULL: none).
 * Fails (false, the old file untouched): the set has an error; tensor_safetensors_write's. */
bool nn_save(const NnParamSet *set, const char *path, int64_t n_metadata,
             const TensorMetadata *metadata, TensorError *error);

/* A tensor's name in the file becomes another: `from` is a whole name, or, where it ends in a
 * dot, the start of names: {"rnn.", "lstm."}. */
typedef struct {
    const char *from, *to;
} NnRename;

/* All zero: each parameter has its tensor and each tensor its parameter, or nothing is loaded. */
typedef struct {
    const char *prefix;     /* NULL, or: only tensors whose name starts so; it is taken off first */
    const NnRename *rename; /* [n_rename], applied after that; the first that fits, once */
    int n_rename;
    bool partial;           /* missing and unexpected names are no reason to refuse */
} NnLoadOptions;

typedef struct {
    const char *name, *expected, *found; /* "out.bias", "f32[10]", "f32[12]" */
} NnMismatch;

/* What came of it; filled whether or not it was loaded.  Free it with nn_load_report_free. */
typedef struct {
    char message[512]; /* why nothing was loaded, one line with the file's name; "" if it was */
    int n_loaded, n_missing, n_unexpected, n_mismatched;
    const char **missing;     /* [n_missing] names in the set that the file has not */
    const char **unexpected;  /* [n_unexpected] names in the file that the set has not */
    NnMismatch *mismatched;   /* [n_mismatched] another dtype or shape, or two tensors for one */
    TensorArena *memory;      /* of the lists */
} NnLoadReport;
/* The report is zero after it.  NULL, and a report of all zeros, are allowed. */
void nn_load_report_free(NnLoadReport *report);

/* Copies the tensors of the file into the set's values; options NULL: all zero.  All or
 * nothing: a load that fails changes no value.  *report (or NULL) is overwritten.
 * Fails (false): the set has an error; the file cannot be read or is no safetensors file; a
 * mismatch, always; a missing or unexpected name, unless partial; no name of the set at all. */
bool nn_load(NnParamSet *set, const char *path, const NnLoadOptions *options,
             NnLoadReport *report);
/* The same from a file that is open, which messages call `path`: for files that hold more than
 * one set, read once. */
bool nn_load_from(NnParamSet *set, const TensorSafetensors *file, const char *path,
                  const NnLoadOptions *options, NnLoadReport *report);

#ifdef __cplusplus
}
#endif
#endif
