/* safetensors.h -- named tensors in a file.
 *
 * The format: the length N of the header as 8 bytes, little-endian; N bytes of JSON
 *     {"__metadata__": {"key": "text", ...},
 *      "name": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}, ...}
 * padded with spaces; then the data, where data_offsets count from.  Tensors stand
 * row-major, little-endian, one behind the other without a hole to the end of the file.
 * Reference: https://huggingface.co/docs/safetensors, and the Rust crate `safetensors`,
 * whose checks are made here too.
 *
 * dtypes: F32, F64, I64, U8, and BOOL, which is read as U8.  A file may also hold
 * tensors of the format's other dtypes (F16, BF16, I32, ...): it opens, they are listed,
 * and only getting one fails.
 *
 * A reader trusts nothing in the file.  A failure is one line that names it:
 *     best.safetensors: "lstm.bias": data_offsets [0, 99] do not hold f32[3,4] (48 bytes)
 * Offsets in messages ("byte 17") count from the start of the file. */
#ifndef TENSOR_SAFETENSORS_H
#define TENSOR_SAFETENSORS_H
#include "tensor/file.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The longest header, as in the reference implementation. */
#define TENSOR_SAFETENSORS_MAX_HEADER 100000000

/* One string of the metadata. */
typedef struct {
    const char *key, *value;
} TensorMetadata;

/* ---- reading ---- */

/* A file that was read.  Its functions change nothing: any number of threads may use it. */
typedef struct TensorSafetensors TensorSafetensors;

/* One tensor of a file. */
typedef struct {
    const char *name;
    const char *dtype_name; /* as in the file: "F32", "BOOL", "BF16" */
    int ndim;
    int64_t shape[TENSOR_MAX_DIMS];
    Tensor value; /* contiguous, aligned to TENSOR_ALIGN; nil where the dtype is not supported */
} TensorSafetensorsEntry;

/* Reads and checks the whole file; *file receives it, to be closed by the caller.  The
 * tensors of supported dtypes are in memory then, the file on disk is no longer used.
 * Fails (false, *file NULL): the file cannot be read or is no regular file; out of
 * memory; the length of the header passes the end of the file or the maximum; the
 * header does not begin with {, is no valid JSON (UTF-8, no NUL, no name twice) or no
 * object of the form above; a tensor has an unknown dtype, a negative or fractional
 * size, more than TENSOR_MAX_DIMS sizes, or offsets that are out of order, beyond the
 * data or not of its number of bytes; tensors overlap, leave a hole, or do not reach
 * the end of the file.  Unknown fields of a tensor are ignored, as in the reference. */
bool tensor_safetensors_open(const char *path, TensorSafetensors **file, TensorError *error);

/* Frees the file with all its tensors, names and metadata.  NULL is allowed. */
void tensor_safetensors_close(TensorSafetensors *file);

/* The tensors in the order of the header, 0 <= index < count.  The entry belongs to the
 * file.  Fails (NULL): index out of range. */
int64_t tensor_safetensors_count(const TensorSafetensors *file);
const TensorSafetensorsEntry *tensor_safetensors_entry(const TensorSafetensors *file,
                                                       int64_t index);

/* "bf16[3,4]": dtype (in small letters) and shape, for messages.  Returns buf. */
const char *tensor_safetensors_describe(const TensorSafetensorsEntry *entry,
                                        char buf[TENSOR_DESCRIBE_SIZE]);

/* The index of the tensor of this name, or -1. */
int64_t tensor_safetensors_find(const TensorSafetensors *file, const char *name);

/* A view of the tensor of this name, valid until the file is closed.
 * Fails (false, *view nil): no such tensor, or its dtype is not supported. */
bool tensor_safetensors_get(const TensorSafetensors *file, const char *name, Tensor *view,
                            TensorError *error);

/* The text under this key, valid until the file is closed; NULL if there is none. */
const char *tensor_safetensors_metadata(const TensorSafetensors *file, const char *key);

/* All of the metadata, in the order of the header; *count receives its length. */
const TensorMetadata *tensor_safetensors_all_metadata(const TensorSafetensors *file,
                                                      int64_t *count);

/* ---- writing ---- */

/* A tensor to write; any dtype (U8 is written as "U8"), any strides. */
typedef struct {
    const char *name;
    Tensor value;
} TensorNamed;

/* Writes the tensors in the order given, atomically (file.h): the path names the old
 * file or the whole new one.  The header is padded so that the data begin at a multiple
 * of 8 bytes.  The metadata (n_metadata may be 0, then metadata may be NULL) stand
 * first in the header.
 * Fails (false, the old file untouched): a name or key that is NULL, given twice or not
 * UTF-8, a text likewise; a tensor named "__metadata__"; a tensor that tensor_invalid
 * refuses; a header over the maximum; out of memory; any failure of file.h. */
bool tensor_safetensors_write(const char *path, int64_t count, const TensorNamed *tensors,
                              int64_t n_metadata, const TensorMetadata *metadata,
                              TensorError *error);

#ifdef __cplusplus
}
#endif
#endif
