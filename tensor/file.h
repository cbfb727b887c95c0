/* file.h -- reading and writing whole files, and what to say when it fails.
 *
 * A function that touches a file returns a status and describes a failure in a
 * TensorError: one line with the path, the byte where that applies, and the reason
 *     runs/best.safetensors: byte 17: '}' expected near end of file
 *     corpus.txt: No such file or directory
 * Every TensorError pointer may be NULL: then only the status is given. */
#ifndef TENSOR_FILE_H
#define TENSOR_FILE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TENSOR_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define TENSOR_PRINTF(text, first)
#endif

/* ---- errors ---- */

/* A fixed size and nothing to free.  After a failure the message is not empty;
 * success leaves it as it was. */
typedef struct {
    char message[512];
} TensorError;

/* Sets the message; returns false, so that a function can end in it.  What does not
 * fit is cut off, never inside a UTF-8 character; control characters, which could
 * break the line or the terminal, and parts of characters (a "%.200s" leaves some)
 * become '?'. */
bool tensor_error_set(TensorError *error, const char *format, ...) TENSOR_PRINTF(2, 3);

/* The same, behind "PATH: " and, for offset >= 0, "byte OFFSET: ".  Of a long path
 * the end is shown. */
bool tensor_error_file(TensorError *error, const char *path, int64_t offset, const char *format,
                       ...) TENSOR_PRINTF(4, 5);

/* "PATH: REASON", with the system's text for the errno value `code`. */
bool tensor_error_errno(TensorError *error, const char *path, int code);

/* ---- reading ---- */

/* The whole file in one piece of memory, aligned to TENSOR_ALIGN, which the caller
 * frees with free().  *size receives the number of bytes; one 0 byte follows them, so
 * a text is a C string.  Pipes and devices are read to their end.
 * Fails (NULL, *size unchanged): the file cannot be opened or read, is a folder, has
 * more than `limit` bytes, or memory runs out. */
void *tensor_file_read(const char *path, size_t limit, size_t *size, TensorError *error);

/* Opens a regular file for reading; *size receives its bytes.  The caller closes it
 * with fclose.  It never waits, as an open of a pipe could.
 * Fails (NULL, *size unchanged): it cannot be opened, or is no regular file. */
FILE *tensor_file_open(const char *path, int64_t *size, TensorError *error);

/* ---- atomic writing ----
 *
 * The new contents go to a temporary file in the same folder, which takes the place
 * of the old file in one step, after it has reached the disk.  At every moment, a
 * crash or a full disk included, the path names the whole old or the whole new file.
 *
 *     TensorFileWriter w;
 *     if (!tensor_file_begin(&w, path, &error))
 *         return false;
 *     fprintf(w.stream, "...");
 *     return tensor_file_commit(&w, &error);
 *
 * Errors of writes to the stream are found by the commit at the latest. */
typedef struct {
    FILE *stream;    /* write here; NULL when nothing is open */
    char *path;      /* what is replaced: the target, if the path is a symbolic link */
    char *temporary; /* ".tmp-PID-N" in the same folder; never a file that exists */
} TensorFileWriter;

/* Opens the temporary file.  It has the permissions of the old file, or for a new one
 * those of the process's umask.
 * Fails (false, *w empty): the folder is missing or not writable; the path is a
 * folder, a device or a pipe, is not writable, or a link to nothing; out of memory. */
bool tensor_file_begin(TensorFileWriter *w, const char *path, TensorError *error);

/* Writes n bytes.  Fails (false): the system's reason.  The writer stays open; a later
 * commit fails too. */
bool tensor_file_write(TensorFileWriter *w, const void *bytes, size_t n, TensorError *error);

/* Flushes, syncs the file, renames it over the path and syncs the folder; *w is empty
 * after it.  Fails (false): any step or an earlier write failed.  The temporary file
 * is gone and the old file untouched; only where the message ends in "(written, but
 * its folder is not synced)" the new one is in place. */
bool tensor_file_commit(TensorFileWriter *w, TensorError *error);

/* Removes the temporary file; the old file stays.  *w is empty after it; an empty one
 * (after a commit, an abort or a failed begin) is left alone. */
void tensor_file_abort(TensorFileWriter *w);

/* ---- numbers ---- */

/* Between the two, printf, strtod and their relatives write and read numbers with a point in this
 * thread, whatever the program's locale:
 *
 *     TensorLocale locale = tensor_locale_c();
 *     fprintf(w.stream, "%.17g\n", x);
 *     tensor_locale_restore(locale); */
typedef struct {
    void *c, *old;
} TensorLocale;
TensorLocale tensor_locale_c(void);
void tensor_locale_restore(TensorLocale locale);

#ifdef __cplusplus
}
#endif
#endif
