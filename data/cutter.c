#include "data/cutter.h"

#include "data/utf8.h"
#include "data/vocab_impl.h"

DataCutter data_cutter(const char *text, int64_t n, DataVocabKind kind, bool eos) {
    return (DataCutter){.text = text, .n = n, .kind = kind, .eos = eos};
}

/* The code point at c->at, 0 at the end, and its length. */
static int peek(const DataCutter *c, uint32_t *code) {
    return data_utf8_decode(c->text + c->at, c->n - c->at, code, NULL);
}

static bool found(DataCutter *c, int64_t start) {
    c->token = c->text + start;
    c->length = c->at - start;
    c->start = start;
    c->line_end = false;
    return true;
}

static bool found_eos(DataCutter *c, int64_t start) {
    c->token = DATA_EOS;
    c->length = DATA_SPECIAL_SIZE;
    c->start = start;
    c->line = c->at;
    c->line_end = true;
    return true;
}

static bool next_word(DataCutter *c) {
    uint32_t code;
    int length;
    while ((length = peek(c, &code)) > 0 && data_utf8_is_space(code)) {
        c->at += length;
        if (c->eos && code == '\n')
            return found_eos(c, c->at - 1);
    }
    if (length == 0)
        return c->eos && c->line < c->n && found_eos(c, c->n);
    int64_t start = c->at;
    while ((length = peek(c, &code)) > 0 && !data_utf8_is_space(code))
        c->at += length;
    return found(c, start);
}

bool data_cutter_next(DataCutter *c) {
    if (c->kind == DATA_VOCAB_WORD)
        return next_word(c);
    int64_t start = c->at;
    uint32_t code;
    c->at += peek(c, &code);
    return c->at > start && found(c, start);
}
