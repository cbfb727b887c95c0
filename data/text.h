/* text.h -- text files as UTF-8 in memory.
 *
 * A DataText is well-formed UTF-8 (utf8.h) of a known length.  NUL bytes are characters
 * of the text like any other. */
#ifndef DATA_TEXT_H
#define DATA_TEXT_H
#include <stdbool.h>
#include <stdint.h>

#include "tensor/file.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    bool replace;  /* U+FFFD for each maximal subpart that is not well-formed (utf8.h);
                      false: it is an error */
    bool newlines; /* CRLF, and a CR alone, become LF; false: they stay */
} DataTextOptions;

typedef struct {
    char *bytes;      /* well-formed UTF-8, and a NUL behind it; of data_text_free */
    int64_t length;   /* in bytes */
    int64_t replaced; /* how many U+FFFD were put in */
} DataText;

/* Reads the file, drops a byte order mark (EF BB BF) at its start, and treats the text as
 * the options say (NULL: neither).
 * Fails (false, *text is empty): the file cannot be read; it `is empty` (also if it holds
 * nothing but the mark); bytes that are not well-formed UTF-8: the message has the path,
 * their offset in the file and the reason; out of memory. */
bool data_text_read(const char *path, const DataTextOptions *options, DataText *text,
                    TensorError *error);

/* The same for the bytes [0..n) in memory, which are copied; `name` stands for the path in
 * messages.  n = 0 fails, as an empty file does. */
bool data_text_copy(const char *bytes, int64_t n, const char *name,
                    const DataTextOptions *options, DataText *text, TensorError *error);

/* Frees the bytes and empties *text.  An empty DataText is allowed. */
void data_text_free(DataText *text);

#ifdef __cplusplus
}
#endif
#endif
