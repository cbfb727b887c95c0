#include "data/corpus.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/cutter.h"
#include "data/folder.h"
#include "data/utf8.h"
#include "data/words.h"

const char *const data_unit_names[] = {"char", "word", "raw-word", NULL};
const char *const data_clean_names[] = {"none", "lower", "letters", NULL};

/* ---- preparing ---- */

/* data_utf8_letters of each line; the line ends stay. */
static char *letters_of_lines(const char *text, int64_t n, int64_t *length) {
    char *out = malloc((size_t)n + 1);
    *length = 0;
    if (!out) return NULL;
    int64_t total = 0;
    for (int64_t at = 0; at < n;) {
        const char *lf = memchr(text + at, '\n', (size_t)(n - at));
        int64_t line = lf ? lf - (text + at) : n - at, kept;
        char *letters = data_utf8_letters(text + at, line, &kept);
        if (!letters) {
            free(out);
            return NULL;
        }
        memcpy(out + total, letters, (size_t)kept);
        free(letters);
        total += kept;
        if (lf) out[total++] = '\n';
        at += line + (lf != NULL);
    }
    out[total] = '\0';
    *length = total;
    return out;
}

static char *copy_of(const char *text, int64_t n, int64_t *length) {
    char *copy = malloc((size_t)n + 1);
    *length = copy ? n : 0;
    if (!copy) return NULL;
    if (n > 0) memcpy(copy, text, (size_t)n);
    copy[n] = '\0';
    return copy;
}

static char *cleaned(const DataTokens *tokens, const char *text, int64_t n, int64_t *length) {
    switch (tokens->clean) {
    case DATA_CLEAN_LOWER: return data_utf8_lower(text, n, length);
    case DATA_CLEAN_LETTERS:
        return tokens->unit == DATA_UNIT_CHAR ? data_utf8_letters(text, n, length)
                                              : letters_of_lines(text, n, length);
    default: return copy_of(text, n, length);
    }
}

char *data_tokens_prepare(const DataTokens *tokens, const char *text, int64_t n, int64_t *length) {
    char *clean = cleaned(tokens, text, n, length);
    if (!clean || tokens->unit != DATA_UNIT_RAW_WORD) return clean;
    char *split = data_words_split(clean, *length, length);
    free(clean);
    return split;
}

char *data_tokens_text(const DataTokens *tokens, const DataVocab *vocab, const int64_t *ids,
                       int64_t count, int64_t *length, TensorError *error) {
    char *text = data_vocab_decode(vocab, ids, count, length, error);
    if (!text || tokens->unit != DATA_UNIT_RAW_WORD) return text;
    char *joined = data_words_join(text, *length, length);
    free(text);
    if (!joined) tensor_error_set(error, "out of memory");
    return joined;
}

/* ---- one text ---- */

typedef struct {
    const char *path;
    DataVocabKind kind;
    char *clean; /* what the tokens stand for ... */
    char *split; /* ... and what the vocabulary reads; often the same */
    int64_t clean_n, split_n;
} Source;

static void free_source(Source *s) {
    if (s->split != s->clean) free(s->split);
    free(s->clean);
}

/* Whether the text has more than white space. */
static bool has_words(const char *text, int64_t n) {
    uint32_t code;
    for (int64_t at = 0; at < n;) {
        at += data_utf8_decode(text + at, n - at, &code, NULL);
        if (!data_utf8_is_space(code)) return true;
    }
    return false;
}

static bool make_source(Source *s, const DataTokens *tokens, const DataText *text,
                        TensorError *error) {
    s->clean = cleaned(tokens, text->bytes, text->length, &s->clean_n);
    s->split = s->clean;
    s->split_n = s->clean_n;
    if (s->clean && tokens->unit == DATA_UNIT_RAW_WORD)
        s->split = data_words_split(s->clean, s->clean_n, &s->split_n);
    if (!s->split) return tensor_error_file(error, s->path, -1, "out of memory");
    if (s->kind == DATA_VOCAB_CHAR ? s->clean_n > 0 : has_words(s->clean, s->clean_n)) return true;
    return tensor_error_file(error, s->path, -1, "has no %s",
                             tokens->clean == DATA_CLEAN_LETTERS ? "letters" : "words");
}

static bool read_source(Source *s, const char *path, const DataCorpusOptions *o,
                        TensorError *error) {
    const DataTextOptions reading = {.replace = o->replace_invalid, .newlines = true};
    DataText text;
    *s = (Source){.path = path,
                  .kind = o->tokens.unit == DATA_UNIT_CHAR ? DATA_VOCAB_CHAR : DATA_VOCAB_WORD};
    if (!data_folder_read(path, &reading, &text, error)) return false;
    bool made = make_source(s, &o->tokens, &text, error);
    data_text_free(&text);
    if (!made) free_source(s);
    return made;
}

/* ---- characters of tokens ---- */

/* Goes through the split and the clean text together, token by token. */
typedef struct {
    DataCutter cutter; /* in the split text */
    const Source *source;
    int64_t at; /* in the clean text, behind the last token */
} Walk;

static Walk walk(const Source *s) {
    bool words = s->kind == DATA_VOCAB_WORD;
    return (Walk){.cutter = data_cutter(s->split, s->split_n, s->kind, words), .source = s};
}

/* Skips white space in the clean text, up to and with the first LF if there is one. */
static void skip_space(Walk *w, bool *skipped) {
    const Source *s = w->source;
    uint32_t code;
    int length;
    *skipped = false;
    while ((length = data_utf8_decode(s->clean + w->at, s->clean_n - w->at, &code, NULL)) > 0 &&
           data_utf8_is_space(code)) {
        w->at += length;
        *skipped = true;
        if (code == '\n') return;
    }
}

/* The code points of the next token and of the space before it; 0: there is none. */
static int64_t next_chars(Walk *w) {
    bool in_line = w->cutter.at > w->cutter.line, space = false;
    if (!data_cutter_next(&w->cutter)) return 0;
    if (w->source->kind == DATA_VOCAB_CHAR) return 1;
    skip_space(w, &space);
    if (w->cutter.line_end) return 1;
    w->at += w->cutter.length;
    return data_utf8_count(w->cutter.token, w->cutter.length) + (space && in_line);
}

/* The next `count` tokens become a part of the corpus. */
static DataCorpusPart take(Walk *w, int64_t first, int64_t count) {
    DataCorpusPart part = {.first = first, .count = count};
    for (int64_t i = 0; i < count; i++)
        part.chars += next_chars(w);
    return part;
}

/* How many tokens stand in the first `limit` code points. */
static int64_t tokens_within(const Source *s, int64_t limit) {
    Walk w = walk(s);
    int64_t count = 0;
    for (int64_t chars; (chars = next_chars(&w)) > 0 && chars <= limit; limit -= chars)
        count++;
    return count;
}

/* ---- parts ---- */

enum { MIN_TOKENS = 2 }; /* one to read and one to predict */

/* Puts the ids of the text behind the `held` ones of the corpus. */
static bool append(DataCorpus *c, int64_t held, const Source *s, int64_t *count,
                   TensorError *error) {
    TensorError why;
    int64_t *ids;
    if (!data_vocab_encode(c->vocab, s->split, s->split_n, &ids, count, &why))
        return tensor_error_file(error, s->path, -1, "%s", why.message);
    if (held == 0) {
        c->ids = ids;
        return true;
    }
    int64_t *all = realloc(c->ids, (size_t)(held + *count) * sizeof *all);
    if (all) {
        memcpy(all + held, ids, (size_t)*count * sizeof *ids);
        c->ids = all;
    }
    free(ids);
    return all || tensor_error_file(error, s->path, -1, "out of memory");
}

static bool check_size(const DataCorpusPart *part, const char *path, TensorError *error) {
    return part->count >= MIN_TOKENS ||
           tensor_error_file(error, path, -1, "has %lld token%s to train or measure on; %d are "
                             "the least", (long long)part->count, part->count == 1 ? "" : "s",
                             MIN_TOKENS);
}

static bool check_share(const DataCorpusPart *part, double share, const char *path,
                        TensorError *error) {
    return share == 0 || part->count >= MIN_TOKENS ||
           tensor_error_file(error, path, -1, "is too short to hold out a share of %g", share);
}

/* Cuts the text of s into the parts that are no files of their own. */
static bool share_out(DataCorpus *c, const DataCorpusOptions *o, const Source *s, int64_t count,
                      TensorError *error) {
    if (o->max_chars > 0) count = tokens_within(s, o->max_chars);
    int64_t valid = (int64_t)floor((double)count * o->valid_share);
    int64_t test = (int64_t)floor((double)count * o->test_share);
    Walk w = walk(s);
    c->train = take(&w, 0, count - valid - test);
    c->valid = take(&w, c->train.count, valid);
    c->test = take(&w, c->train.count + valid, test);
    return check_size(&c->train, s->path, error) &&
           check_share(&c->valid, o->valid_share, s->path, error) &&
           check_share(&c->test, o->test_share, s->path, error);
}

static bool number_train(DataCorpus *c, const DataCorpusOptions *o, const Source *s,
                         TensorError *error) {
    const DataVocabOptions vocabulary = {.kind = s->kind, .eos = s->kind == DATA_VOCAB_WORD,
                                         .min_count = o->min_count, .max_size = o->max_vocab};
    TensorError why;
    int64_t count;
    c->vocab = data_vocab_new(s->split, s->split_n, &vocabulary, &why);
    if (!c->vocab) return tensor_error_file(error, s->path, -1, "%s", why.message);
    return append(c, 0, s, &count, error) && share_out(c, o, s, count, error);
}

static bool read_train(DataCorpus *c, const DataCorpusOptions *o, TensorError *error) {
    Source s;
    if (!read_source(&s, o->train, o, error)) return false;
    bool ok = number_train(c, o, &s, error);
    free_source(&s);
    return ok;
}

/* A part that is a file of its own; path NULL: it is none. */
static bool read_part(DataCorpus *c, const DataCorpusOptions *o, const char *path,
                      DataCorpusPart *part, TensorError *error) {
    Source s;
    if (!path) return true;
    if (!read_source(&s, path, o, error)) return false;
    int64_t held = c->train.count + c->valid.count + c->test.count, count;
    bool ok = append(c, held, &s, &count, error);
    if (ok) {
        Walk w = walk(&s);
        *part = take(&w, held, count);
        ok = check_size(part, path, error);
    }
    free_source(&s);
    return ok;
}

/* ---- the whole ---- */

static bool check_choice(int value, const char *const *names, const char *what,
                         TensorError *error) {
    int count = 0;
    while (names[count])
        count++;
    return (value >= 0 && value < count) || tensor_error_set(error, "unknown %s %d", what, value);
}

static bool check_one_share(double share, const char *path, const char *what, TensorError *error) {
    if (!(share >= 0 && share < 1))
        return tensor_error_set(error, "the %s share %g is not in [0, 1)", what, share);
    return share == 0 || !path ||
           tensor_error_file(error, path, -1, "is the %s text, so that a share of %g is too much",
                             what, share);
}

static bool check_options(const DataCorpusOptions *o, TensorError *error) {
    if (!o->train) return tensor_error_set(error, "there is no text to train on");
    if (o->max_chars < 0)
        return tensor_error_set(error, "max_chars %lld is negative", (long long)o->max_chars);
    if (!check_choice(o->tokens.unit, data_unit_names, "unit", error) ||
        !check_choice(o->tokens.clean, data_clean_names, "clean", error) ||
        !check_one_share(o->valid_share, o->valid, "validation", error) ||
        !check_one_share(o->test_share, o->test, "test", error))
        return false;
    return o->valid_share + o->test_share < 1 ||
           tensor_error_set(error, "the shares %g and %g leave nothing to train on",
                            o->valid_share, o->test_share);
}

static uint64_t mix(uint64_t h, uint64_t value) {
    h = (h ^ value) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 32;
}

static uint64_t digest_of(const DataCorpus *c) {
    const DataCorpusPart *parts[] = {&c->train, &c->valid, &c->test};
    uint64_t h = mix(0, (uint64_t)data_vocab_kind(c->vocab));
    for (int64_t id = 0; id < data_vocab_size(c->vocab); id++) {
        int64_t n;
        const char *token = data_vocab_token(c->vocab, id, &n);
        h = mix(h, (uint64_t)n);
        for (int64_t i = 0; i < n; i++)
            h = mix(h, (uint8_t)token[i]);
    }
    for (int i = 0; i < 3; i++) {
        h = mix(mix(h, (uint64_t)parts[i]->count), (uint64_t)parts[i]->chars);
        for (int64_t k = 0; k < parts[i]->count; k++)
            h = mix(h, (uint64_t)c->ids[parts[i]->first + k]);
    }
    return h;
}

bool data_corpus_read(DataCorpus *c, const DataCorpusOptions *options, TensorError *error) {
    *c = (DataCorpus){0};
    if (check_options(options, error) && read_train(c, options, error) &&
        read_part(c, options, options->valid, &c->valid, error) &&
        read_part(c, options, options->test, &c->test, error)) {
        c->digest = digest_of(c);
        return true;
    }
    data_corpus_free(c);
    return false;
}

void data_corpus_free(DataCorpus *c) {
    data_vocab_free(c->vocab);
    free(c->ids);
    *c = (DataCorpus){0};
}
