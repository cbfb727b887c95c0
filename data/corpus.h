/* corpus.h -- texts as numbers, in up to three parts: to train on, to validate, to test.
 *
 *     DataCorpusOptions options = {.train = "ptb.train.txt", .valid = "ptb.valid.txt",
 *                                  .test = "ptb.test.txt",
 *                                  .tokens = {.unit = DATA_UNIT_WORD}};
 *     DataCorpus corpus;
 *     if (!data_corpus_read(&corpus, &options, &error)) return report(error.message);
 */
#ifndef DATA_CORPUS_H
#define DATA_CORPUS_H
#include "data/vocab.h"
#include "tensor/file.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a token is. */
typedef enum {
    DATA_UNIT_CHAR,    /* a code point */
    DATA_UNIT_WORD,    /* prepared text: what stands between white space; <eos> ends every line,
                          and a written <unk> is the unknown token */
    DATA_UNIT_RAW_WORD /* raw text: words, numbers, punctuation, ideographs apart (words.h) */
} DataUnit;

/* What is done to the text first. */
typedef enum {
    DATA_CLEAN_NONE,
    DATA_CLEAN_LOWER,  /* lower case (data_utf8_lower) */
    DATA_CLEAN_LETTERS /* data_utf8_letters: a-z and single spaces */
} DataClean;

/* Their names for options and files, in lists that end with NULL: "char" "word" "raw-word";
 * "none" "lower" "letters". */
extern const char *const data_unit_names[];
extern const char *const data_clean_names[];

typedef struct {
    int unit;  /* a DataUnit */
    int clean; /* a DataClean */
} DataTokens;

/* The text as the vocabulary reads it: cleaned, and where the unit is RAW_WORD split by
 * single spaces.  New memory, *length bytes and a NUL, for free().  Text is UTF-8.
 * Fails (NULL): out of memory. */
char *data_tokens_prepare(const DataTokens *tokens, const char *text, int64_t n, int64_t *length);

/* The text of ids as a reader wants it: data_vocab_decode, with the spaces that the raw-word unit
 * put in taken out again before closing and after opening punctuation and between ideographs.
 * For free().   Fails: as data_vocab_decode. */
char *data_tokens_text(const DataTokens *tokens, const DataVocab *vocab, const int64_t *ids,
                       int64_t count, int64_t *length, TensorError *error);

typedef struct {
    /* A file, or a folder: all regular files below it whose names end in .txt, in the order of
     * their paths' bytes, joined (a LF between two where there is none). */
    const char *train;
    const char *valid, *test;        /* NULL: none, or a share of `train` */
    double valid_share, test_share;  /* of the train text's tokens, at its end: valid, then test; 0
                                        where the file is given.  Below 1 together */
    DataTokens tokens;
    bool replace_invalid; /* U+FFFD for bytes that are not UTF-8, instead of an error */
    int64_t max_chars;    /* only the first so many code points of prepared `train`; 0: all */
    int64_t min_count, max_vocab; /* as data_vocab_new: rarer tokens are <unk> */
} DataCorpusOptions;

typedef struct {
    int64_t first, count; /* tokens: ids[first .. first + count) */
    int64_t chars;        /* code points they stand for, for bits per character */
} DataCorpusPart;

typedef struct {
    DataVocab *vocab; /* of `train` (shares of it counted in) */
    int64_t *ids;
    DataCorpusPart train, valid, test; /* count 0: none */
    uint64_t digest;  /* of tokens and parts: equal for equal corpora, for telling runs apart */
} DataCorpus;

/* Reads, splits and numbers the texts; free with data_corpus_free.  WikiText-2 takes below a
 * second.
 * Fails (false, *c is empty; the message names the file): a file that cannot be read, is empty or
 * no UTF-8, or has no token after cleaning; a folder without texts; a share with fewer than 2
 * tokens; shares outside [0, 1) or of 1 together, or given beside a file; data_vocab_new's; out
 * of memory. */
bool data_corpus_read(DataCorpus *c, const DataCorpusOptions *options, TensorError *error);
void data_corpus_free(DataCorpus *c);

#ifdef __cplusplus
}
#endif
#endif
