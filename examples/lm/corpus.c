/* corpus.c -- see corpus.h. */
#include "corpus.h"

#include <math.h>
#include <stdlib.h>

#include "data/text.h"
#include "data/utf8.h"

/* Replaces the text by its letters and spaces. */
static bool keep_letters(DataText *text, const char *path, TensorError *error) {
    int64_t n;
    char *letters = data_utf8_letters(text->bytes, text->length, &n);
    if (!letters) return tensor_error_set(error, "out of memory");
    data_text_free(text);
    *text = (DataText){.bytes = letters, .length = n};
    return n > 0 || tensor_error_file(error, path, -1, "has no letters");
}

static bool number(LmCorpus *c, const DataText *text, const char *path, TensorError *error) {
    const DataVocabOptions characters = {.kind = DATA_VOCAB_CHAR};
    TensorError why;
    int64_t count;
    c->vocab = data_vocab_new(text->bytes, text->length, &characters, &why);
    if (!c->vocab || !data_vocab_encode(c->vocab, text->bytes, text->length, &c->ids, &count, &why))
        return tensor_error_file(error, path, -1, "%s", why.message);
    c->train = count;
    return true;
}

static bool hold_out(LmCorpus *c, const LmCorpusOptions *o, TensorError *error) {
    if (o->max_chars > 0 && o->max_chars < c->train) c->train = o->max_chars;
    if (o->valid == 0) return true;
    c->held_out = (int64_t)floor((double)c->train * o->valid);
    c->train -= c->held_out;
    return c->held_out >= 2 ||
           tensor_error_file(error, o->path, -1,
                             "too short to hold out --valid %g of it (0 trains on all)", o->valid);
}

bool lm_corpus_read(LmCorpus *c, const LmCorpusOptions *o, TensorError *error) {
    DataTextOptions reading = {.replace = o->replace_invalid, .newlines = true};
    DataText text;
    *c = (LmCorpus){0};
    if (!data_text_read(o->path, &reading, &text, error)) return false;
    bool ok = (o->clean != LM_CLEAN_LETTERS || keep_letters(&text, o->path, error)) &&
              number(c, &text, o->path, error) && hold_out(c, o, error);
    data_text_free(&text);
    if (!ok) lm_corpus_free(c);
    return ok;
}

void lm_corpus_free(LmCorpus *c) {
    data_vocab_free(c->vocab);
    free(c->ids);
    *c = (LmCorpus){0};
}
