/* support.h -- what the tests of data/ share: numbers, texts and files to try. */
#ifndef TESTS_DATA_SUPPORT_H
#define TESTS_DATA_SUPPORT_H
#include <stdbool.h>
#include <stdint.h>

/* A number in 0..n-1; the sequence is the same in every run (SplitMix64). */
uint64_t random_below(uint64_t *state, uint64_t n);

/* Writes n random code points, as UTF-8, to out (4 bytes each at most): NUL, ASCII, white
 * space and all planes.  Returns the number of bytes. */
int64_t random_text(uint64_t *state, int64_t n, char *out);

/* The code point as UTF-8 by its definition, without any library.  Returns its length. */
int plain_encode(uint32_t code, char out[4]);

/* A path in a folder of this process's own, removed at its end with all that is in it. */
const char *scratch_path(const char *name);

/* The path of a new file with these bytes; folders in its name are made. */
const char *scratch_file(const char *name, const void *bytes, int64_t n);

/* From here on permissions hold for a superuser too. */
void give_up_override(void);

#endif
