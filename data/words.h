/* words.h -- raw text as words, numbers and punctuation, and back.
 *
 *     Don't stop -- it's 3.14!   becomes   Don't stop -- it's 3.14 !
 *
 * The rules are those of word boundaries of Unicode (UAX #29) made shorter, without dictionaries
 * and without language.  A token is the first of these that fits; white space (data_utf8_is_space)
 * separates and is in no token:
 *
 *     a word        letters and digits (categories L and N) with the combining marks, joiners
 *                   (U+200C, U+200D) and soft hyphens behind them.  One mark may stand between two:
 *                     ' U+2019 - U+2010 U+2011 _   it's well-known 10-12 snake_case
 *                     . between two letters or two digits, U+00B7 between two letters
 *                                                  U.S 3.14 paral·lel
 *                     , : U+066B U+066C between two digits   1,000 12:30
 *     an ideograph  one Han ideograph, kana, or private-use character, with the marks behind it
 *     a run         of one punctuation mark (P) or symbol (S but not So): ... -- !!! ==
 *     anything else one grapheme cluster: an emoji with its modifiers, a control character
 *
 * Scripts that write no space between words and have no ideographs (Thai, Khmer, Lao, Burmese)
 * come out as long words.  Bytes that are not well-formed UTF-8 stay as they are, each maximal
 * subpart (utf8.h) a token. */
#ifndef DATA_WORDS_H
#define DATA_WORDS_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The text with one space between the tokens of a line and none at its ends.  Lines end in LF and
 * stay; other white space goes.  What is split already stays as it is.
 * New memory, *length bytes and a NUL behind them, for free().  Fails (NULL, *length 0): out of
 * memory. */
char *data_words_split(const char *text, int64_t n, int64_t *length);

/* The way back, as a reader wants it: split text without the spaces
 *
 *     before closing punctuation  . , ; : ! ? % ) ] } and the like (Po, Pe, Pf)
 *     after opening punctuation   ( [ { $ # @ and the like (Ps, Pi, Sc)
 *     on both sides of            / and punctuation of the width of an ideograph
 *     between an ideograph and    another, a number, punctuation beyond ASCII
 *
 * A straight " ' or _ opens at the start of a line, closes at its end, and otherwise does what the
 * last of its kind did not; an empty line begins anew.  White space that the raw text had in other
 * places than these is not known any more: "so--that" comes back as "so -- that".
 * New memory as above. */
char *data_words_join(const char *text, int64_t n, int64_t *length);

#ifdef __cplusplus
}
#endif
#endif
