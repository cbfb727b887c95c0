/* read_text.h -- a file as one text. */
#ifndef TESTS_SUPPORT_READ_TEXT_H
#define TESTS_SUPPORT_READ_TEXT_H

/* The caller frees it.  Fails the test: no such file, or one of a megabyte. */
char *read_text(const char *path);

#endif
