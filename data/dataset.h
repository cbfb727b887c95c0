/* dataset.h -- well-known texts by name.
 *
 *     timemachine       H. G. Wells, The Time Machine (1 file)
 *     ptb               Penn Treebank, Mikolov's preparation (train, valid, test)
 *     wikitext2         WikiText-2, the prepared words (train, valid, test)
 *     tinyshakespeare   A. Karpathy's Shakespeare (1 file)
 *
 * They are looked for in a folder, as timemachine/timemachine.txt and so on; what is missing is
 * downloaded from its public origin into the user's cache and checked against its SHA-256. */
#ifndef DATA_DATASET_H
#define DATA_DATASET_H
#include "tensor/file.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The names, in a list that ends with NULL. */
extern const char *const data_dataset_names[];

/* Paths of the files; free with data_dataset_free. */
typedef struct {
    char *train, *valid, *test; /* NULL: the data set has no such file */
} DataDataset;

typedef struct {
    const char *folder; /* NULL: $UNROLL_DATA, if set */
    const char *cache;  /* where downloads go; NULL: $XDG_CACHE_HOME/unroll or ~/.cache/unroll */
    const char *origin; /* NULL: each file's own; else this takes the place of what comes before
                           the file's name: for mirrors ("file:///mnt/mirror") */
    bool offline;       /* do not download */
    /* Called while a download goes on, or NULL. */
    void (*progress)(void *context, const char *file, int64_t bytes, int64_t total);
    void *context;
} DataDatasetOptions;

/* Finds or gets the files; options NULL: all zero.  A file in `folder` is taken as it is; one in
 * the cache has been checked when it was written.
 * Fails (false, *d is empty; one line with the file that is missing, where it was looked for, its
 * address, and why the download failed): no such name; no file and no network, or offline; a
 * download of another SHA-256; the cache cannot be written. */
bool data_dataset_get(const char *name, const DataDatasetOptions *options, DataDataset *d,
                      TensorError *error);
void data_dataset_free(DataDataset *d);

#ifdef __cplusplus
}
#endif
#endif
