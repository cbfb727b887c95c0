/* writer.c -- see writer.h. */
#include "writer.h"

#include <stdlib.h>
#include <string.h>

/* ---- tokens ---- */

bool lm_tokens_add(LmTokens *tokens, const int64_t *id, int64_t n, TensorError *error) {
    if (tokens->capacity - tokens->count < n) {
        int64_t capacity = 2 * tokens->capacity + n + 16;
        int64_t *larger = realloc(tokens->id, (size_t)capacity * sizeof *larger);
        if (!larger) return tensor_error_set(error, "out of memory");
        tokens->id = larger;
        tokens->capacity = capacity;
    }
    if (n > 0) memcpy(tokens->id + tokens->count, id, (size_t)n * sizeof *id);
    tokens->count += n;
    return true;
}

void lm_tokens_clear(LmTokens *tokens) {
    free(tokens->id);
    *tokens = (LmTokens){0};
}

DataTokens lm_run_tokens(const LmRun *run) {
    return (DataTokens){run->settings.unit, run->settings.clean};
}

/* ---- text ---- */

LmWriter lm_writer(const LmRun *run, FILE *out) { return (LmWriter){.run = run, .out = out}; }

/* For free(). */
static char *text_of(const LmWriter *w, const LmTokens *tokens, int64_t *length,
                     TensorError *error) {
    const DataTokens how = lm_run_tokens(w->run);
    return data_tokens_text(&how, w->run->vocab, tokens->id + w->from, tokens->count - w->from,
                            length, error);
}

/* Any token that is not the end of a line: what may come next. */
static int64_t some_word(const DataVocab *vocab) {
    int64_t last = data_vocab_size(vocab) - 1;
    return last > 0 && last == data_vocab_eos(vocab) ? last - 1 : last;
}

/* How many bytes of the text are the same whether its line ends here or goes on.  -1: out of
 * memory. */
static int64_t certain(const LmWriter *w, const LmTokens *tokens, const char *text, int64_t n,
                       TensorError *error) {
    LmTokens longer = {0};
    int64_t length, same = 0, word = some_word(w->run->vocab);
    char *other = NULL;
    if (lm_tokens_add(&longer, tokens->id, tokens->count, error) &&
        lm_tokens_add(&longer, &word, 1, error))
        other = text_of(w, &longer, &length, error);
    lm_tokens_clear(&longer);
    if (!other) return -1;
    while (same < n && same < length && text[same] == other[same]) same++;
    free(other);
    return same;
}

/* Leaves behind the tokens that no longer matter for the spaces to come: all but the last one, or,
 * of raw words, whose quotes open and close, those up to an empty line. */
static void move_on(LmWriter *w, const LmTokens *tokens, int64_t n) {
    const DataVocab *vocab = w->run->vocab;
    int64_t count = tokens->count, eos = data_vocab_eos(vocab);
    if (w->shown < n || count == w->from) return;
    if (w->run->settings.unit == DATA_UNIT_RAW_WORD) {
        bool empty_line = count - w->from >= 2 && tokens->id[count - 1] == eos &&
                          tokens->id[count - 2] == eos;
        if (!empty_line) return;
        w->from = count;
        w->shown = 0;
        return;
    }
    int64_t last = tokens->id[count - 1], size;
    data_vocab_token(vocab, last, &size);
    w->from = count - 1;
    w->shown = last == eos ? 1 : size;
}

bool lm_writer_show(LmWriter *w, const LmTokens *tokens, bool end, TensorError *error) {
    int64_t n;
    char *text = text_of(w, tokens, &n, error);
    if (!text) return false;
    bool waits = !end && w->run->settings.unit == DATA_UNIT_RAW_WORD;
    int64_t until = waits ? certain(w, tokens, text, n, error) : n;
    if (until > w->shown) {
        fwrite(text + w->shown, 1, (size_t)(until - w->shown), w->out);
        w->in_line = text[until - 1] != '\n';
        w->shown = until;
    }
    free(text);
    fflush(w->out);
    if (until < 0) return false;
    move_on(w, tokens, n);
    return true;
}
