/* download.h -- one file of the network onto the disk, whole and checked.  Private to data/. */
#ifndef DATA_DOWNLOAD_H
#define DATA_DOWNLOAD_H
#include "tensor/file.h"

/* What must arrive. */
typedef struct {
    const char *name; /* for the progress */
    int64_t size;
    const char *sha256; /* 64 lower-case hexadecimal digits */
    void (*progress)(void *context, const char *name, int64_t bytes, int64_t total); /* or NULL */
    void *context;
} DataDownload;

/* Writes what the address (https or file; redirected to https only) has to the path, whose folder
 * exists, in one step (tensor_file_begin), after its size and checksum are found right.
 * Gives up on a server that does not answer for 30 seconds, or sends next to nothing for 60.
 * Fails (false; no file is left, and one that stood there stays): the reason alone, without the
 * address. */
bool data_download(const char *address, const char *path, const DataDownload *expected,
                   TensorError *error);

#endif
