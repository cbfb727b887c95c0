/* score.c -- see score.h. */
#include "score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/text.h"
#include "data/utf8.h"
#include "examples/support/options.h"
#include "examples/support/program.h"
#include "generate.h"
#include "reader.h"
#include "report.h"
#include "writer.h"

double lm_score_perplexity(const LmScore *s) {
    return s->tokens > 0 ? exp(s->nats / (double)s->tokens) : NAN;
}

double lm_score_bits(const LmScore *s) {
    return s->chars > 0 ? s->nats / log(2) / (double)s->chars : NAN;
}

/* ---- a text as tokens, line by line ---- */

typedef struct {
    const LmRun *run;
    const char *name;
    bool first;
    LmTokens tokens; /* of all lines, in front of them the start if the first one counts */
    LmTextScore *s;  /* with tokens, chars and unknown of what is predicted */
} Reading;

static bool has_words(const Reading *r) {
    return data_vocab_kind(r->run->vocab) == DATA_VOCAB_WORD;
}

/* The code points of a cleaned line's words, with one for white space between two. */
static int64_t word_chars(const char *line, int64_t n) {
    int64_t chars = 0;
    bool space = false;
    uint32_t code;
    for (int64_t at = 0; at < n;) {
        at += data_utf8_decode(line + at, n - at, &code, NULL);
        if (!data_utf8_is_space(code)) chars += 1 + (space && chars > 0);
        space = data_utf8_is_space(code);
    }
    return chars;
}

/* The code points of the first word of a prepared line; 1, its end, where it has none. */
static int64_t first_word_chars(const char *line, int64_t n) {
    int64_t chars = 0;
    uint32_t code;
    for (int64_t at = 0; at < n;) {
        at += data_utf8_decode(line + at, n - at, &code, NULL);
        if (!data_utf8_is_space(code)) chars++;
        else if (chars > 0) break;
    }
    return chars > 0 ? chars : 1;
}

/* The characters that a line of words has, with its end, and whether it has one: a last line
 * without LF ends, too, if there is something in it. */
static bool count_line(const Reading *r, const char *line, int64_t n, int64_t *chars, bool *ends,
                       TensorError *error) {
    const DataTokens cleaned = {DATA_UNIT_WORD, r->run->settings.clean};
    int64_t length;
    char *clean = data_tokens_prepare(&cleaned, line, n, &length);
    if (!clean) return tensor_error_set(error, "out of memory");
    *chars = word_chars(clean, length);
    free(clean);
    bool raw = r->run->settings.unit == DATA_UNIT_RAW_WORD;
    *ends = line[n - 1] == '\n' || (raw ? *chars > 0 : length > 0);
    *chars += *ends;
    return true;
}

/* The text's first token is not predicted. */
static bool leave_out_first(Reading *r, const char *line, int64_t n, LmScore *s,
                            TensorError *error) {
    int64_t chars = 1;
    if (has_words(r)) {
        const DataTokens tokens = lm_run_tokens(r->run);
        int64_t length;
        char *prepared = data_tokens_prepare(&tokens, line, n, &length);
        if (!prepared) return tensor_error_set(error, "out of memory");
        chars = first_word_chars(prepared, length);
        free(prepared);
    }
    s->tokens--;
    s->chars -= chars;
    s->unknown -= r->tokens.id[0] == data_vocab_unk(r->run->vocab);
    return true;
}

static bool add_tokens(Reading *r, const char *line, int64_t n, TensorError *error) {
    char what[256];
    int64_t *ids, count;
    snprintf(what, sizeof what, "%.200s: line %lld", r->name, (long long)r->s->lines + 1);
    bool ok = lm_run_encode(r->run, what, line, n, &ids, &count, error) &&
              lm_tokens_add(&r->tokens, ids, count, error);
    free(ids);
    return ok;
}

static bool add_line(Reading *r, const char *line, int64_t n, TensorError *error) {
    int64_t before = r->tokens.count, eos = data_vocab_eos(r->run->vocab);
    LmScore s = {0};
    bool ends = false;
    if (!add_tokens(r, line, n, error)) return false;
    if (has_words(r) && !count_line(r, line, n, &s.chars, &ends, error)) return false;
    /* lm_run_encode leaves a line open that has no LF. */
    if (ends && line[n - 1] != '\n' && !lm_tokens_add(&r->tokens, &eos, 1, error)) return false;
    s.tokens = r->tokens.count - before;
    if (!has_words(r)) s.chars = s.tokens;
    for (int64_t i = before; i < r->tokens.count; i++)
        s.unknown += r->tokens.id[i] == data_vocab_unk(r->run->vocab);
    if (before == 0 && s.tokens > 0 && !leave_out_first(r, line, n, &s, error)) return false;
    r->s->line[r->s->lines++] = s;
    return true;
}

static int64_t count_lines(const char *text, int64_t n) {
    int64_t lines = n > 0 && text[n - 1] != '\n';
    for (int64_t i = 0; i < n; i++) lines += text[i] == '\n';
    return lines;
}

static bool read_lines(Reading *r, const char *text, int64_t n, TensorError *error) {
    int64_t start = lm_start_token(r->run->vocab);
    r->s->line = calloc((size_t)count_lines(text, n) + 1, sizeof *r->s->line);
    if (!r->s->line) return tensor_error_set(error, "out of memory");
    if (r->first && !lm_tokens_add(&r->tokens, &start, 1, error)) return false;
    for (int64_t at = 0, end; at < n; at = end) {
        const char *lf = memchr(text + at, '\n', (size_t)(n - at));
        end = lf ? lf - text + 1 : n;
        if (!add_line(r, text + at, end - at, error)) return false;
    }
    return r->tokens.count > 1 ||
           tensor_error_file(error, r->name, -1, "has %s to predict",
                             r->first ? "no token" : "no token after the first one");
}

/* ---- the model ---- */

static bool measure(const Reading *r, TensorError *error) {
    int64_t count = r->tokens.count - 1, at = 0;
    double *losses = calloc((size_t)count, sizeof *losses);
    LmReader reader;
    bool ok = losses || tensor_error_set(error, "out of memory");
    if (ok) {
        ok = lm_reader_init(&reader, &r->run->model, error) &&
             lm_reader_losses(&reader, count, r->tokens.id, r->tokens.id + 1, losses, error);
        lm_reader_free(&reader);
    }
    for (int64_t i = 0; ok && i < r->s->lines; i++) {
        LmScore *line = &r->s->line[i];
        for (int64_t k = 0; k < line->tokens; k++) line->nats += losses[at++];
        r->s->all.tokens += line->tokens;
        r->s->all.chars += line->chars;
        r->s->all.unknown += line->unknown;
        r->s->all.nats += line->nats;
    }
    free(losses);
    if (ok && !isfinite(r->s->all.nats))
        return tensor_error_set(error, "the model's output is not finite");
    return ok;
}

bool lm_score_text(const LmRun *run, const char *name, const char *text, int64_t n, bool first,
                   LmTextScore *s, TensorError *error) {
    Reading r = {.run = run, .name = name, .first = first, .s = s};
    *s = (LmTextScore){0};
    bool ok = read_lines(&r, text, n, error) && measure(&r, error);
    lm_tokens_clear(&r.tokens);
    if (!ok) lm_text_score_free(s);
    return ok;
}

void lm_text_score_free(LmTextScore *s) {
    free(s->line);
    *s = (LmTextScore){0};
}

/* ---- lm score ---- */

typedef struct {
    const char *folder;
    ExampleWords file;
    bool first, per_line, json, replace_invalid;
} Command;


static json_t *score_json(const LmScore *s) {
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I}", "perplexity",
                     lm_json_real(lm_score_perplexity(s)), "bits_per_character",
                     lm_json_real(lm_score_bits(s)), "nats", lm_json_real(s->nats), "tokens",
                     (json_int_t)s->tokens, "characters", (json_int_t)s->chars, "unk",
                     (json_int_t)s->unknown);
}

static json_t *text_json(const LmTextScore *s, bool per_line) {
    json_t *object = score_json(&s->all), *lines = per_line ? json_array() : NULL;
    bool ok = object && (!per_line || json_object_set_new(object, "lines", lines) == 0);
    for (int64_t i = 0; ok && per_line && i < s->lines; i++) {
        json_t *line = score_json(&s->line[i]);
        ok = json_object_set_new(line, "line", json_integer(i + 1)) == 0 &&
             json_array_append_new(lines, line) == 0;
    }
    if (ok) return object;
    json_decref(object);
    return NULL;
}

static void print_lines(const LmTextScore *s) {
    printf("%8s %8s %14s %14s\n", "line", "tokens", "nats", "perplexity");
    for (int64_t i = 0; i < s->lines; i++) {
        const LmScore *line = &s->line[i];
        printf("%8lld %8lld %14.4f ", (long long)i + 1, (long long)line->tokens, line->nats);
        if (line->tokens > 0) printf("%14.4f\n", lm_score_perplexity(line));
        else printf("%14s\n", "-");
    }
    putchar('\n');
}

static void print_score(const LmScore *s, const char *unit) {
    printf("perplexity  %.4f per %s\n", lm_score_perplexity(s), unit);
    printf("bits        %.4f per character\n", lm_score_bits(s));
    printf("nats        %.4f\n", s->nats);
    printf("tokens      %lld, %lld of them <unk>\n", (long long)s->tokens, (long long)s->unknown);
    printf("characters  %lld\n", (long long)s->chars);
}

static bool score(const Command *c, const LmRun *run, TensorError *error) {
    const DataTextOptions reading = {.replace = c->replace_invalid, .newlines = true};
    bool from_input = strcmp(c->file.word[0], "-") == 0;
    const char *path = from_input ? "/dev/stdin" : c->file.word[0];
    const char *name = from_input ? "standard input" : path;
    DataText text;
    LmTextScore s;
    if (!data_text_read(path, &reading, &text, error)) {
        TensorError why = *error;
        size_t n = strlen(path);
        if (from_input && strncmp(why.message, path, n) == 0)
            tensor_error_set(error, "%s%s", name, why.message + n);
        return false;
    }
    bool ok = lm_score_text(run, name, text.bytes, text.length, c->first, &s, error);
    data_text_free(&text);
    if (!ok) return false;
    bool words = data_vocab_kind(run->vocab) == DATA_VOCAB_WORD;
    if (c->json) {
        ok = lm_json_write(text_json(&s, c->per_line), stdout, error);
    } else {
        if (c->per_line) print_lines(&s);
        print_score(&s.all, words ? "word" : "character");
    }
    lm_text_score_free(&s);
    return ok;
}

enum { OPTIONS = 7 };

static void list_options(Command *c, ExampleOption table[OPTIONS]) {
    const ExampleOption options[OPTIONS] = {
        {"FILE", NULL, "text to predict, UTF-8; -: standard input", EXAMPLE_OPTION_WORDS,
         .variable = &c->file, .min = 1, .max = 1},
        {"run", "DIR", "run folder of a trained model", EXAMPLE_OPTION_TEXT,
         .variable = &c->folder},
        {"first", NULL, "predict the first token too, as lm generate would begin",
         EXAMPLE_OPTION_ON, .variable = &c->first},
        {"per-line", NULL, "also a row for each line of the text", EXAMPLE_OPTION_ON,
         .variable = &c->per_line},
        {"replace-invalid", NULL, "read bytes that are not UTF-8 as U+FFFD", EXAMPLE_OPTION_ON,
         .variable = &c->replace_invalid},
        {"json", NULL, "write JSON", EXAMPLE_OPTION_ON, .variable = &c->json},
        {0},
    };
    memcpy(table, options, sizeof options);
}

static void help(const ExampleOption *table) {
    fputs("usage: lm score FILE [--run DIR] [OPTION]...\n\n"
          "Tells how well a trained model predicts a text: perplexity, exp of the mean loss\n"
          "(nats, -ln p) per token, and bits per character. The text is one row, each token is\n"
          "predicted from all before it. Of words, white space between two counts as one\n"
          "character, and so does the end of a line.\n\n", stdout);
    example_options_help(table, stdout);
    fputs("\nexample:\n"
          "  lm score chapter.txt --run book-run\n"
          "  lm score - --run book-run --per-line < sentences.txt\n", stdout);
}

int lm_score_command(int argc, char **argv) {
    TensorError error;
    ExampleOption table[OPTIONS];
    Command c = {.folder = LM_DEFAULT_RUN};
    LmRun run;
    list_options(&c, table);
    switch (example_options_read(table, argc, argv, &error)) {
    case EXAMPLE_OPTIONS_WRONG: return example_refuse("lm", error.message);
    case EXAMPLE_OPTIONS_HELP:
        c = (Command){.folder = LM_DEFAULT_RUN};
        help(table);
        return 0;
    case EXAMPLE_OPTIONS_OK: break;
    }
    if (!lm_run_load(c.folder, &run, &error)) return example_refuse("lm", error.message);
    bool ok = score(&c, &run, &error);
    lm_run_free(&run);
    return ok ? 0 : example_refuse("lm", error.message);
}
