/* dataset.h -- well-known texts by name.
 *
 *     name              text                                   files
 *     timemachine       H. G. Wells, The Time Machine          timemachine/timemachine.txt
 *     ptb               Penn Treebank, T. Mikolov's form        ptb/ptb.train.txt, valid, test
 *     wikitext2         WikiText-2, prepared words             wikitext-2/train.txt, valid, test
 *     tinyshakespeare   A. Karpathy's plays of Shakespeare     tinyshakespeare/input.txt
 *
 * Each file is looked for in a folder, as named above.  What is missing is downloaded from a
 * public repository, at a commit that does not change, into the user's cache, which is laid out
 * like the folder, and checked against its SHA-256.
 *
 *     DataDataset d;
 *     if (!data_dataset_get("ptb", NULL, &d, &error)) return report(error.message);
 *     DataCorpusOptions options = {.train = d.train, .valid = d.valid, .test = d.test, ...};
 *
 * The target //data:dataset.  libcurl is loaded by the first download: only that needs it. */
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

/* A text that is empty counts as NULL. */
typedef struct {
    const char *folder; /* NULL: $UNROLL_DATA, if set */
    const char *cache;  /* where downloads go; NULL: $XDG_CACHE_HOME/unroll or ~/.cache/unroll */
    const char *origin; /* NULL: each file's own; else the address of a mirror that is laid out like
                           the folder: "https://data.example.org", "file:///mnt/mirror" */
    bool offline;       /* do not download */
    /* Called while a download goes on, or NULL; file: as in the table above. */
    void (*progress)(void *context, const char *file, int64_t bytes, int64_t total);
    void *context;
} DataDatasetOptions;

/* Finds or gets the files; options NULL: all zero.  A file in `folder` is taken as it is; one in
 * the cache has been checked when it was written.  Downloads use https, or file, and follow
 * redirections to https only; they give up on a server that does not answer for 30 seconds or
 * stalls for 60.  Programs that download the same file at once do not disturb each other.
 * Fails (false, *d is empty): no such name; a file that is nowhere, where the message is one line
 *     ptb/ptb.train.txt is not in FOLDER or CACHE; ADDRESS: REASON
 * and the reason that offline is set, no network, no libcurl, a file there that is missing, short
 * or of another SHA-256, or a cache that cannot be written; out of memory.  Of what failed no file
 * is left; what was got before is. */
bool data_dataset_get(const char *name, const DataDatasetOptions *options, DataDataset *d,
                      TensorError *error);
void data_dataset_free(DataDataset *d);

#ifdef __cplusplus
}
#endif
#endif
