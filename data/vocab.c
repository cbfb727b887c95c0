#include "data/vocab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "data/cutter.h"
#include "data/utf8.h"
#include "data/vocab_impl.h"

static long long ll(int64_t value) {
    return value;
}

static bool out_of_memory(TensorError *error) {
    return tensor_error_set(error, "vocabulary: out of memory");
}

static bool check_utf8(const char *text, int64_t n, TensorError *error) {
    DataUtf8Fault fault;
    int64_t at = data_utf8_invalid(text, n, &fault);
    return at < 0 || tensor_error_file(error, "text", at, "not UTF-8: %s (0x%02X)",
                                       data_utf8_fault_name(fault), (unsigned char)text[at]);
}

/* ---- building ---- */

typedef struct {
    const char *bytes;
    int64_t length, count;
} Candidate;

static int compare_bytes(const Candidate *a, const Candidate *b) {
    int64_t shorter = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->bytes, b->bytes, (size_t)shorter);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

/* Falling counts, then rising bytes: no two candidates are equal, so any sort will do. */
static int compare_candidates(const void *left, const void *right) {
    const Candidate *a = left, *b = right;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return compare_bytes(a, b);
}

static bool is_token(const Candidate *c, const char *special) {
    return c->length == DATA_SPECIAL_SIZE && memcmp(c->bytes, special, DATA_SPECIAL_SIZE) == 0;
}

static bool check_options(const DataVocabOptions *o, TensorError *error) {
    if (o->kind != DATA_VOCAB_CHAR && o->kind != DATA_VOCAB_WORD)
        return tensor_error_set(error, "vocabulary: unknown kind %d", (int)o->kind);
    if (o->eos && o->kind == DATA_VOCAB_CHAR)
        return tensor_error_set(error, "vocabulary: characters have no <eos>");
    if (o->min_count < 0)
        return tensor_error_set(error, "vocabulary: the minimum count %lld is negative",
                                ll(o->min_count));
    if (o->max_size < 0)
        return tensor_error_set(error, "vocabulary: the maximum size %lld is negative",
                                ll(o->max_size));
    int64_t special = !o->no_unk + o->eos;
    if (o->max_size > 0 && o->max_size < special)
        return tensor_error_set(error,
                                "vocabulary: a maximum size of %lld has no place for <unk> and "
                                "<eos>",
                                ll(o->max_size));
    return true;
}

static bool count_tokens(DataTokenTable *counts, const char *text, int64_t n,
                         const DataVocabOptions *o, TensorError *error) {
    DataCutter c = data_cutter(text, n, o->kind, o->eos);
    while (data_cutter_next(&c)) {
        int64_t number = data_token_add(counts, c.token, c.length);
        if (number < 0)
            return out_of_memory(error);
        counts->tokens[number].count++;
    }
    return counts->size > 0 || tensor_error_set(error, "vocabulary: the text has no token");
}

/* The tokens counted, in the order of their ids.  NULL: out of memory. */
static Candidate *sorted_candidates(const DataTokenTable *counts) {
    Candidate *candidates = malloc((size_t)counts->size * sizeof *candidates);
    if (!candidates)
        return NULL;
    for (int64_t i = 0; i < counts->size; i++)
        candidates[i] = (Candidate){.bytes = data_token_bytes(counts, i),
                                    .length = counts->tokens[i].length,
                                    .count = counts->tokens[i].count};
    qsort(candidates, (size_t)counts->size, sizeof *candidates, compare_candidates);
    return candidates;
}

static int64_t add_counted(DataVocab *v, const char *bytes, int64_t n, int64_t count) {
    int64_t id = data_token_add(&v->table, bytes, n);
    if (id >= 0)
        v->table.tokens[id].count += count;
    return id;
}

/* Gives ids to the candidates that the options let in; the counts of the others go to
 * <unk>.  False: out of memory. */
static bool number_candidates(DataVocab *v, const Candidate *candidates, int64_t n,
                              const DataVocabOptions *o) {
    int64_t room = (o->max_size ? o->max_size : INT64_MAX) - !o->no_unk - o->eos;
    if (!o->no_unk && (v->unk = add_counted(v, DATA_UNK, DATA_SPECIAL_SIZE, 0)) < 0)
        return false;
    for (int64_t i = 0; i < n; i++) {
        const Candidate *c = &candidates[i];
        bool eos = o->eos && is_token(c, DATA_EOS);
        bool unk = !o->no_unk && is_token(c, DATA_UNK);
        if (eos || (!unk && room > 0 && c->count >= o->min_count)) {
            int64_t id = add_counted(v, c->bytes, c->length, c->count);
            if (id < 0)
                return false;
            if (eos)
                v->eos = id;
            else
                room--;
        } else if (v->unk >= 0) {
            v->table.tokens[v->unk].count += c->count;
        }
    }
    return true;
}

static bool build(DataVocab *v, DataTokenTable *counts, const char *text, int64_t n,
                  const DataVocabOptions *o, TensorError *error) {
    if (!count_tokens(counts, text, n, o, error))
        return false;
    Candidate *candidates = sorted_candidates(counts);
    bool numbered = candidates && number_candidates(v, candidates, counts->size, o);
    free(candidates);
    if (!numbered)
        return out_of_memory(error);
    return v->table.size > 0 ||
           tensor_error_set(error, "vocabulary: no token stands %lld times in the text",
                            ll(o->min_count));
}

DataVocab *data_vocab_new(const char *text, int64_t n, const DataVocabOptions *options,
                          TensorError *error) {
    static const DataVocabOptions defaults = {.kind = DATA_VOCAB_CHAR};
    if (!options) options = &defaults;
    if (!check_options(options, error) || !check_utf8(text, n, error))
        return NULL;
    DataVocab *v = calloc(1, sizeof *v);
    if (!v) {
        out_of_memory(error);
        return NULL;
    }
    v->kind = options->kind;
    v->unk = v->eos = -1;
    DataTokenTable counts = {0};
    bool built = build(v, &counts, text, n, options, error);
    data_token_clear(&counts);
    if (built)
        return v;
    data_vocab_free(v);
    return NULL;
}

void data_vocab_free(DataVocab *vocab) {
    if (!vocab)
        return;
    data_token_clear(&vocab->table);
    free(vocab);
}

/* ---- asking ---- */

int64_t data_vocab_size(const DataVocab *vocab) {
    return vocab->table.size;
}

DataVocabKind data_vocab_kind(const DataVocab *vocab) {
    return vocab->kind;
}

int64_t data_vocab_unk(const DataVocab *vocab) {
    return vocab->unk;
}

int64_t data_vocab_eos(const DataVocab *vocab) {
    return vocab->eos;
}

int64_t data_vocab_id(const DataVocab *vocab, const char *token, int64_t n) {
    int64_t id = data_token_find(&vocab->table, token, n);
    return id >= 0 ? id : vocab->unk;
}

static bool has_id(const DataVocab *vocab, int64_t id) {
    return id >= 0 && id < vocab->table.size;
}

const char *data_vocab_token(const DataVocab *vocab, int64_t id, int64_t *n) {
    bool known = has_id(vocab, id);
    if (n)
        *n = known ? vocab->table.tokens[id].length : 0;
    return known ? data_token_bytes(&vocab->table, id) : NULL;
}

int64_t data_vocab_count(const DataVocab *vocab, int64_t id) {
    return has_id(vocab, id) ? vocab->table.tokens[id].count : -1;
}

/* ---- texts and ids ---- */

static bool no_id(const DataCutter *c, TensorError *error) {
    if (c->kind == DATA_VOCAB_WORD) {
        int shown = c->length < 64 ? (int)c->length : 64;
        return tensor_error_file(error, "text", c->start,
                                 "\"%.*s\" is not in the vocabulary, which has no <unk>", shown,
                                 c->token);
    }
    uint32_t code;
    data_utf8_decode(c->token, c->length, &code, NULL);
    return tensor_error_file(error, "text", c->start,
                             "U+%04X is not in the vocabulary, which has no <unk>", (unsigned)code);
}

bool data_vocab_encode(const DataVocab *vocab, const char *text, int64_t n, int64_t **ids,
                       int64_t *count, TensorError *error) {
    *ids = NULL;
    *count = 0;
    if (!check_utf8(text, n, error))
        return false;
    const DataCutter start = data_cutter(text, n, vocab->kind, vocab->eos >= 0);
    int64_t total = 0;
    for (DataCutter c = start; data_cutter_next(&c);)
        total++;
    int64_t *out = malloc(((size_t)total + (total == 0)) * sizeof *out);
    if (!out)
        return out_of_memory(error);
    int64_t at = 0;
    for (DataCutter c = start; data_cutter_next(&c); at++) {
        out[at] = data_vocab_id(vocab, c.token, c.length);
        if (out[at] < 0) {
            free(out);
            return no_id(&c, error);
        }
    }
    assert(at == total);
    *ids = out;
    *count = total;
    return true;
}

/* The text of the ids, written where out is not NULL.  Returns its length. */
static int64_t decode_into(const DataVocab *v, const int64_t *ids, int64_t count, char *out) {
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++) {
        bool joined =
            v->kind == DATA_VOCAB_CHAR || i == 0 || ids[i] == v->eos || ids[i - 1] == v->eos;
        int64_t length;
        const char *token = data_vocab_token(v, ids[i], &length);
        if (ids[i] == v->eos) {
            token = "\n";
            length = 1;
        }
        if (out) {
            if (!joined)
                out[total] = ' ';
            memcpy(out + total + !joined, token, (size_t)length);
        }
        total += !joined + length;
    }
    return total;
}

char *data_vocab_decode(const DataVocab *vocab, const int64_t *ids, int64_t count, int64_t *n,
                        TensorError *error) {
    *n = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!has_id(vocab, ids[i])) {
            tensor_error_set(error, "vocabulary: ids[%lld] is %lld, not in 0..%lld", ll(i),
                             ll(ids[i]), ll(vocab->table.size - 1));
            return NULL;
        }
    }
    int64_t total = decode_into(vocab, ids, count, NULL);
    char *out = malloc((size_t)total + 1);
    if (!out) {
        out_of_memory(error);
        return NULL;
    }
    decode_into(vocab, ids, count, out);
    out[total] = '\0';
    *n = total;
    return out;
}
