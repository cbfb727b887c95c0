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
    DATA_UNIT_RAW_WORD /* raw text: words, numbers, punctuation, ideographs apart (words.h), and
                          <eos> at the end of every line */
} DataUnit;

/* What is done to the text first. */
typedef enum {
    DATA_CLEAN_NONE,
    DATA_CLEAN_LOWER,  /* lower case (data_utf8_lower) */
    DATA_CLEAN_LETTERS /* a-z and single spaces (data_utf8_letters); of words, line by line: the
                          line ends stay */
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
 * single spaces (data_words_split).  New memory, *length bytes and a NUL, for free().
 * The text is UTF-8, whose lines end in LF.   Fails (NULL, *length 0): out of memory. */
char *data_tokens_prepare(const DataTokens *tokens, const char *text, int64_t n, int64_t *length);

/* The text of ids as a reader wants it: data_vocab_decode, and of the unit RAW_WORD without the
 * spaces that were put in (data_words_join).  For free().
 * Fails (NULL, *length 0): as data_vocab_decode. */
char *data_tokens_text(const DataTokens *tokens, const DataVocab *vocab, const int64_t *ids,
                       int64_t count, int64_t *length, TensorError *error);

typedef struct {
    /* A file; or a folder: all files below it whose names end in .txt, in the order of their
     * paths' bytes, joined (a LF between two where there is none).  Links are followed; files
     * of 0 bytes, names that begin with a dot, and links back to a folder above are left out.
     * CRLF and CR become LF, and a byte order mark goes (text.h). */
    const char *train;
    const char *valid, *test; /* the same; NULL: none, or a share of `train` */
    /* Shares of the tokens of `train` at its end: first those to validate, then those to test,
     * floor(tokens * share) of them.  0 where the file is given; below 1 together. */
    double valid_share, test_share;
    DataTokens tokens;
    bool replace_invalid; /* U+FFFD for bytes that are not UTF-8, instead of an error */
    int64_t max_chars;    /* the shares are those of the first tokens of `train`, which have so
                             many characters (as in DataCorpusPart) at most; 0: of all */
    int64_t min_count, max_vocab; /* as data_vocab_new: rarer tokens are <unk> */
} DataCorpusOptions;

typedef struct {
    int64_t first, count; /* tokens: ids[first .. first + count) */
    /* The characters that the tokens stand for.  A perplexity P of tokens is
     *     log2(P) count / chars
     * bits per character, whatever the unit.  Counted are, in the cleaned text: each code point of
     * each token as it was written, also where it is <unk> now; one for the white space, if any,
     * between two tokens of a line, with the token behind it; one for each line end of a text of
     * words, the end of the file included.  (So counted, the Penn Treebank has 5017 thousand
     * characters to train on, as T. Mikolov and others say.) */
    int64_t chars;
} DataCorpusPart;

typedef struct {
    /* Of the whole text `train`: shares and what max_chars leaves out are counted in, files to
     * validate and test are not, whose other tokens are <unk>.  It has <unk> and, of words,
     * <eos>. */
    DataVocab *vocab;
    int64_t *ids;
    DataCorpusPart train, valid, test; /* count 0: none */
    uint64_t digest; /* of tokens, ids and parts: equal for equal corpora, to tell runs apart */
} DataCorpus;

/* Reads, splits and numbers the texts; free with data_corpus_free.  WikiText-2 takes below a
 * second.
 * Fails (false, *c is empty; the message names the file): a file that cannot be read, is empty or
 * no UTF-8 (with the byte), or has no token or no word after cleaning; a folder without texts; a
 * part with fewer than 2 tokens; shares outside [0, 1) or of 1 together, or given beside a file;
 * no `train`; a unit or clean that is none; a negative max_chars; data_vocab_new's; out of
 * memory. */
bool data_corpus_read(DataCorpus *c, const DataCorpusOptions *options, TensorError *error);
void data_corpus_free(DataCorpus *c);

#ifdef __cplusplus
}
#endif
#endif
