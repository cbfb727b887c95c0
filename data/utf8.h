/* utf8.h -- UTF-8 text as bytes and as code points.
 *
 * A text is a pointer and a number of bytes: no function stops at a NUL byte, and
 * U+0000 is a character like any other.  Offsets and lengths count bytes.  NULL is
 * a legal text of 0 bytes.
 *
 * Well-formed UTF-8 is that of the Unicode Standard, table 3-7 (RFC 3629): the
 * shortest form of U+0000 to U+10FFFF without the surrogates U+D800 to U+DFFF.
 * Noncharacters such as U+FFFE and unassigned code points are well-formed.
 *
 * Bytes that are not well-formed are taken apart into maximal subparts (the
 * Unicode Standard, section 3.9; the decoder of the W3C and WHATWG Encoding
 * standard): the longest start of a well-formed sequence, or one byte where there
 * is none.  Each counts as one code point, U+FFFD:
 *
 *     bytes           maximal subparts    becomes            why
 *     E4 B8 41        E4 B8               U+FFFD A           truncated sequence
 *     C0 AF           C0, AF              U+FFFD U+FFFD      overlong, lone continuation
 *     ED A0 80        ED, A0, 80          3 times U+FFFD     surrogate, lone continuation */
#ifndef DATA_UTF8_H
#define DATA_UTF8_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DATA_UTF8_MAX 4                /* bytes of the longest sequence */
#define DATA_UTF8_REPLACEMENT 0xFFFDu /* stands for what is not well-formed */

typedef enum {
    DATA_UTF8_OK,
    DATA_UTF8_CONTINUATION, /* 80..BF where a sequence must begin */
    DATA_UTF8_OVERLONG,     /* C0, C1, E0 80..9F, F0 80..8F: a shorter form exists */
    DATA_UTF8_SURROGATE,    /* ED A0..BF: U+D800..U+DFFF belong to UTF-16 */
    DATA_UTF8_TOO_LARGE,    /* F4 90..BF, F5..F7: beyond U+10FFFF */
    DATA_UTF8_NEVER_USED,   /* F8..FF */
    DATA_UTF8_TRUNCATED     /* the text, or another character, begins inside the sequence */
} DataUtf8Fault;

/* The fault in words, for messages: "lone continuation byte", "overlong form",
 * "surrogate", "code point beyond U+10FFFF", "byte that UTF-8 never uses",
 * "truncated sequence"; "valid" for DATA_UTF8_OK. */
const char *data_utf8_fault_name(DataUtf8Fault fault);

/* Reads the first code point of text[0..n).  Returns its number of bytes, 1 to 4, and
 * sets *code; 0 when n is 0, and *code is then 0.  Where the bytes are not well-formed
 * the result is the length of the maximal subpart and *code is U+FFFD.  *fault (may be
 * NULL) tells this U+FFFD from one that stands in the text. */
int data_utf8_decode(const char *text, int64_t n, uint32_t *code, DataUtf8Fault *fault);

/* Writes the code point to out and returns its number of bytes, 1 to 4.
 * Fails (0, nothing written): a surrogate, or beyond U+10FFFF. */
int data_utf8_encode(uint32_t code, char out[DATA_UTF8_MAX]);

/* -1 if the text is well-formed; else the offset of the first sequence that is not,
 * with the reason in *fault (may be NULL). */
int64_t data_utf8_invalid(const char *text, int64_t n, DataUtf8Fault *fault);

/* The number of code points; a maximal subpart counts as one. */
int64_t data_utf8_count(const char *text, int64_t n);

/* White_Space of the Unicode Character Database: the general categories Zs, Zl and Zp
 * with U+0009 to U+000D and U+0085.  (U+200B, U+FEFF and U+001C to U+001F are none.) */
bool data_utf8_is_space(uint32_t code);

/* ---- to a stream ---- */

/* What to write in the place of a character, or NULL: the character itself. */
typedef const char *DataUtf8Substitute(uint32_t code);

/* Writes the text to the stream, character by character as substitute says, with U+FFFD for each
 * maximal subpart that is not well-formed.  What the stream refuses is found by ferror. */
void data_utf8_write(FILE *stream, const char *text, int64_t n, DataUtf8Substitute *substitute);

/* For text and attributes of XML 1.0: references for the characters & < > " ' TAB LF CR, U+FFFD
 * for those that XML has no way to write (other control characters, U+FFFE, U+FFFF). */
const char *data_utf8_xml(uint32_t code);

/* ---- new texts ----
 * Each returns memory of its own, *length bytes and a NUL behind them, that the caller
 * frees with free().  Fails (NULL, *length 0): out of memory. */

/* The text with U+FFFD for each maximal subpart that is not well-formed; their number
 * in *replaced (may be NULL). */
char *data_utf8_replace(const char *text, int64_t n, int64_t *length, int64_t *replaced);

/* Lower case, code point by code point: the simple mapping of the Unicode Character
 * Database, without the context of neighbours (a final sigma stays U+03C3) and without
 * language (U+0130 becomes i).  Bytes that are not well-formed stay as they are. */
char *data_utf8_lower(const char *text, int64_t n, int64_t *length);

/* The cleaning of the tutorials of d2l ("Dive into Deep Learning", chapter 8, The Time
 * Machine): in each line, every run of bytes other than ASCII letters becomes one space,
 * spaces at both ends go, letters become lower case; then the lines are joined with
 * nothing between them.  LF, CR and CRLF end a line.  "The Time\n Machine, by" becomes
 * "the timemachine by". */
char *data_utf8_letters(const char *text, int64_t n, int64_t *length);

#ifdef __cplusplus
}
#endif
#endif
