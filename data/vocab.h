/* vocab.h -- the vocabulary of a text: tokens, ids and counts.
 *
 * A token is one code point (DATA_VOCAB_CHAR), or one word (DATA_VOCAB_WORD): a longest
 * run without Unicode white space (data_utf8_is_space).  A vocabulary of V tokens numbers
 * them 0 .. V-1.
 *
 * <unk>, the unknown token, has id 0 and stands for every token that has no id of its own.
 * The other tokens follow by falling count; equal counts by the order of their UTF-8 bytes,
 * which is that of their code points.  So a text and options have one vocabulary.
 *
 * In a text of words the written word `<unk>` (as in the Penn Treebank of Mikolov) is the
 * unknown token.  In a text of characters it is five characters.
 *
 * <eos>, of words only and on request, ends every line: each LF gives one, and so does a
 * last line without LF.  It is a token with a count and a place like the others, but it is
 * never left out.  A written word `<eos>` is the same token. */
#ifndef DATA_VOCAB_H
#define DATA_VOCAB_H
#include <stdbool.h>
#include <stdint.h>

#include "tensor/file.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct DataVocab DataVocab;

typedef enum { DATA_VOCAB_CHAR, DATA_VOCAB_WORD } DataVocabKind;

typedef struct {
    DataVocabKind kind;
    bool no_unk;       /* no <unk>: a token without an id is an error of data_vocab_encode */
    bool eos;          /* words: <eos> at line ends */
    int64_t min_count; /* rarer tokens are left out; 0 and 1: none */
    int64_t max_size;  /* V is at most this, <unk> and <eos> included: the most frequent
                          tokens stay; 0: no limit */
} DataVocabOptions;

/* The vocabulary of text[0..n); options NULL: all zero.  Free it with data_vocab_free.
 * Fails (NULL): text that is not well-formed UTF-8 (the message has the offset), a text
 * without a token, a negative min_count or max_size, a max_size with no place for
 * <unk> and <eos> or, without these, nothing left by min_count, eos of characters,
 * an unknown kind, out of memory. */
DataVocab *data_vocab_new(const char *text, int64_t n, const DataVocabOptions *options,
                          TensorError *error);

/* NULL is allowed. */
void data_vocab_free(DataVocab *vocab);

/* ---- asking ---- */

int64_t data_vocab_size(const DataVocab *vocab); /* V */
DataVocabKind data_vocab_kind(const DataVocab *vocab);
int64_t data_vocab_unk(const DataVocab *vocab); /* the id of <unk>: 0, or -1 without one */
int64_t data_vocab_eos(const DataVocab *vocab); /* the id of <eos>, or -1 without one */

/* The id of token[0..n), or that of <unk>; -1 if it has none and there is no <unk>.  In a
 * vocabulary of characters "<unk>" is no token: it gives what an unknown one gives. */
int64_t data_vocab_id(const DataVocab *vocab, const char *token, int64_t n);

/* The token of an id, with a NUL behind it, and its number of bytes in *n (may be NULL; a
 * token can hold NUL).  Borrowed: alive as long as the vocabulary.
 * Fails (NULL, *n 0): an id not in 0..V-1. */
const char *data_vocab_token(const DataVocab *vocab, int64_t id, int64_t *n);

/* How often the token stands in the text the vocabulary was built from.  The count of
 * <unk> is that of all tokens left out (and of written `<unk>`), so the counts add up to
 * the number of tokens.   Fails (-1): an id not in 0..V-1. */
int64_t data_vocab_count(const DataVocab *vocab, int64_t id);

/* ---- texts and ids ---- */

/* The ids of text[0..n): one for each token, in their order.  *ids is new memory of *count
 * ids (a pointer also when *count is 0) that the caller frees with free().
 * Fails (false, *ids NULL, *count 0): text that is not well-formed UTF-8, or a token
 * without an id in a vocabulary without <unk> (the message has its offset in bytes); out of
 * memory. */
bool data_vocab_encode(const DataVocab *vocab, const char *text, int64_t n, int64_t **ids,
                       int64_t *count, TensorError *error);

/* The text of ids[0..count): new memory, *n bytes of UTF-8 and a NUL behind them, that the
 * caller frees with free().  Characters stand one behind the other, so a text without
 * unknown characters comes back from its ids.  Words are joined by one space; <eos> is
 * written as a line end (LF, with no space on either side) where the vocabulary has it.
 * <unk> is written `<unk>`.
 * Fails (NULL, *n 0): an id not in 0..V-1, out of memory. */
char *data_vocab_decode(const DataVocab *vocab, const int64_t *ids, int64_t count, int64_t *n,
                        TensorError *error);

/* ---- files ----
 *
 *     {"format": "unroll-vocab", "version": 1, "kind": "word", "unk": 0, "eos": 2,
 *      "tokens": [
 *       {"token": "<unk>", "id": 0, "count": 7},
 *       {"token": "the", "id": 1, "count": 31},
 *       ...]}
 *
 * JSON in UTF-8.  "kind" is "char" or "word"; "unk" is 0 or null; "eos" is an id or null,
 * and may be absent.  The tokens may stand in any order. */

/* Writes the file as a whole or not at all.
 * Fails (false): the file cannot be written, out of memory. */
bool data_vocab_save(const DataVocab *vocab, const char *path, TensorError *error);

/* Reads such a file; free the result with data_vocab_free.
 * Fails (NULL): the file cannot be read; it is no JSON (line, column and offset in the
 * message) or has a key twice; another format, version or kind; a key missing, unknown or
 * of a wrong type; ids that are not 0..V-1, each once; a negative count, or counts whose
 * sum no int64_t holds; a token twice; a token that no text of this kind has (a character
 * that is not one code point, a word that is empty or has white space); no token; an "unk"
 * or "eos" that is not the id of <unk> or <eos>; out of memory. */
DataVocab *data_vocab_load(const char *path, TensorError *error);

#ifdef __cplusplus
}
#endif
#endif
