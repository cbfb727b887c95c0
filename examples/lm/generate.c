/* generate.c -- see generate.h. */
#include "generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "beam.h"
#include "examples/support/options.h"
#include "examples/support/program.h"
#include "nn/sample.h"
#include "reader.h"
#include "writer.h"

static bool stopped(const LmGeneration *o) { return o->stop && *o->stop; }

/* ---- the beginning ---- */

int64_t lm_start_token(const DataVocab *vocab) {
    int64_t best = data_vocab_eos(vocab);
    if (best >= 0) return best;
    for (int64_t id = 0; id < data_vocab_size(vocab); id++) {
        bool more = best < 0 || data_vocab_count(vocab, id) > data_vocab_count(vocab, best);
        if (id != data_vocab_unk(vocab) && more) best = id;
    }
    return best < 0 ? 0 : best;
}

/* The token that ends a line; -1: there is none. */
static int64_t line_end(const DataVocab *vocab) {
    if (data_vocab_kind(vocab) == DATA_VOCAB_WORD) return data_vocab_eos(vocab);
    int64_t id = data_vocab_id(vocab, "\n", 1);
    return id == data_vocab_unk(vocab) ? -1 : id;
}

static bool read_prefix(const LmRun *run, const char *prefix, LmTokens *tokens,
                        TensorError *error) {
    *tokens = (LmTokens){0};
    if (!lm_run_encode(run, "--prefix", prefix, (int64_t)strlen(prefix), &tokens->id,
                       &tokens->count, error))
        return false;
    tokens->capacity = tokens->count;
    return true;
}

/* What the model reads before the first token that is written. */
static const int64_t *context(const LmTokens *prefix, const int64_t *start, int64_t *n) {
    *n = prefix->count > 0 ? prefix->count : 1;
    return prefix->count > 0 ? prefix->id : start;
}

static bool check(const LmRun *run, const LmGeneration *o, const NnSampleOptions *sampling,
                  TensorError *error) {
    const char *why = nn_sample_invalid(sampling);
    if (why) return tensor_error_set(error, "%s", why);
    if (o->length < 0 || o->samples < 0 || o->beam < 0 || o->repetition_window < 0)
        return tensor_error_set(error, "a length, a window or a number of texts is negative");
    if (o->beam > 0 && o->samples > o->beam)
        return tensor_error_set(error, "--samples %lld: a beam of %lld has no more than that",
                                (long long)o->samples, (long long)o->beam);
    return !o->one_line || line_end(run->vocab) >= 0 ||
           tensor_error_set(error, "--one-line: the model's text has no line ends");
}

/* ---- writing ---- */

static bool write_text(const LmRun *run, const LmTokens *tokens, FILE *out, TensorError *error) {
    LmWriter w = lm_writer(run, out);
    if (!lm_writer_show(&w, tokens, true, error)) return false;
    if (w.in_line || tokens->count == 0) fputc('\n', out);
    return true;
}

/* ---- drawing ---- */

typedef struct {
    const LmRun *run;
    const LmGeneration *o;
    NnSampleOptions sampling;
    LmReader reader;
    int64_t samples;
    LmTokens *texts;     /* [samples] */
    int64_t *live;       /* [samples]: which of them go on, in the order of the reader's rows */
    int64_t *rows, *next; /* [samples]: of those that go on, their last rows and tokens */
    int64_t live_count;
    double *p;           /* [V] */
    int64_t *work;       /* [V] */
    LmWriter writer;
    bool streams;
} Drawing;

static bool drawing_init(Drawing *d, const LmRun *run, const LmGeneration *o,
                         const NnSampleOptions *sampling, FILE *out, TensorError *error) {
    size_t n = o->samples > 0 ? (size_t)o->samples : 1;
    size_t V = (size_t)data_vocab_size(run->vocab);
    *d = (Drawing){.run = run, .o = o, .sampling = *sampling, .samples = (int64_t)n,
                   .texts = calloc(n, sizeof *d->texts), .live = calloc(n, sizeof *d->live),
                   .rows = calloc(n, sizeof *d->rows), .next = calloc(n, sizeof *d->next),
                   .p = calloc(V, sizeof *d->p), .work = calloc(V, sizeof *d->work),
                   .writer = lm_writer(run, out), .streams = n == 1 && !o->at_end};
    if (!d->texts || !d->live || !d->rows || !d->next || !d->p || !d->work)
        return tensor_error_set(error, "out of memory");
    return lm_reader_init(&d->reader, &run->model, error);
}

static void drawing_clear(Drawing *d) {
    for (int64_t i = 0; d->texts && i < d->samples; i++) lm_tokens_clear(&d->texts[i]);
    free(d->texts);
    free(d->live);
    free(d->rows);
    free(d->next);
    free(d->p);
    free(d->work);
    lm_reader_free(&d->reader);
}

/* Token `step` of the sample from logits z [V]; -1 where it fails. */
static int64_t draw(const Drawing *d, int64_t sample, int64_t step, const Tensor *z,
                    TensorError *error) {
    const LmTokens *text = &d->texts[sample];
    int64_t V = z->shape[0], window = d->o->repetition_window;
    int64_t recent = window > 0 && window < text->count ? window : text->count;
    Tensor p = tensor_wrap(d->p, TENSOR_F64, 1, &V), work = tensor_wrap(d->work, TENSOR_I64, 1, &V);
    const TensorRngKey key = {.seed = (uint64_t)d->o->seed, .step = (uint64_t)sample};
    if (!nn_sample_probabilities(&d->sampling, z, text->id + (text->count - recent), recent, &p,
                                 &work, error))
        return -1;
    return nn_sample_choose(&p, tensor_rng_uniform(key, (uint64_t)step));
}

/* One token more for each text that goes on; z [B, V], or [1, V] for all of them. */
static bool draw_step(Drawing *d, int64_t step, const Tensor *z, TensorError *error) {
    int64_t end = d->o->one_line ? line_end(d->run->vocab) : -1, count = 0;
    for (int64_t row = 0; row < d->live_count; row++) {
        int64_t sample = d->live[row];
        Tensor logits = tensor_select(z, 0, z->shape[0] > 1 ? row : 0);
        int64_t token = draw(d, sample, step, &logits, error);
        if (token < 0 || !lm_tokens_add(&d->texts[sample], &token, 1, error)) return false;
        if (token == end) continue;
        d->live[count] = sample;
        d->rows[count] = step > 0 ? row : 0;
        d->next[count++] = token;
    }
    d->live_count = count;
    return !d->streams || lm_writer_show(&d->writer, &d->texts[0], false, error);
}

static bool draw_all(Drawing *d, const int64_t *first, int64_t n, TensorError *error) {
    AgVar logits;
    for (int64_t i = 0; i < d->samples; i++) d->live[i] = i;
    d->live_count = d->samples;
    for (int64_t i = 0; i < d->o->length && d->live_count > 0; i++) {
        /* A stream that takes no more text needs none. */
        if (stopped(d->o) || ferror(d->writer.out)) break;
        bool read = i == 0 ? lm_reader_next(&d->reader, n, 1, first, &logits, error)
                           : lm_reader_rows(&d->reader, d->live_count, d->rows, error) &&
                                 lm_reader_next(&d->reader, 1, d->live_count, d->next, &logits,
                                                error);
        if (!read || !draw_step(d, i, ag_value(logits), error)) return false;
    }
    return true;
}

static bool write_samples(Drawing *d, TensorError *error) {
    FILE *out = d->writer.out;
    if (d->streams) {
        bool ok = lm_writer_show(&d->writer, &d->texts[0], true, error);
        if (d->writer.in_line || d->texts[0].count == 0) fputc('\n', out);
        return ok;
    }
    for (int64_t i = 0; i < d->samples; i++) {
        if (d->samples > 1)
            fprintf(out, "%s==> sample %lld <==\n", i > 0 ? "\n" : "", (long long)i + 1);
        if (!write_text(d->run, &d->texts[i], out, error)) return false;
    }
    return true;
}

static bool write_drawn(const LmRun *run, const LmGeneration *o, const NnSampleOptions *sampling,
                        const LmTokens *prefix, FILE *out, TensorError *error) {
    Drawing d;
    int64_t start = lm_start_token(run->vocab), n;
    const int64_t *first = context(prefix, &start, &n);
    bool ok = drawing_init(&d, run, o, sampling, out, error);
    for (int64_t i = 0; ok && i < d.samples; i++)
        ok = lm_tokens_add(&d.texts[i], prefix->id, prefix->count, error);
    if (ok && d.streams) ok = lm_writer_show(&d.writer, &d.texts[0], false, error);
    ok = ok && draw_all(&d, first, n, error) && write_samples(&d, error);
    drawing_clear(&d);
    return ok;
}

/* ---- searching ---- */

static bool write_hypotheses(const LmRun *run, const LmGeneration *o, const LmTokens *prefix,
                             const LmHypothesis *list, int64_t count, FILE *out,
                             TensorError *error) {
    bool ok = true;
    for (int64_t i = 0; ok && i < count; i++) {
        const LmHypothesis *h = &list[i];
        LmTokens text = {0};
        double tokens = h->tokens.count > 0 ? (double)h->tokens.count : 1;
        if (o->samples > 1)
            fprintf(out, "%s==> %lld: %.6g nats, %.6g per token <==\n", i > 0 ? "\n" : "",
                    (long long)i + 1, h->nats, h->nats / tokens);
        ok = lm_tokens_add(&text, prefix->id, prefix->count, error) &&
             lm_tokens_add(&text, h->tokens.id, h->tokens.count, error) &&
             write_text(run, &text, out, error);
        lm_tokens_clear(&text);
    }
    return ok;
}

static bool write_searched(const LmRun *run, const LmGeneration *o, int64_t unk,
                           const LmTokens *prefix, FILE *out, TensorError *error) {
    const LmBeamOptions options = {.width = o->beam, .length = o->length, .exclude = unk,
                                   .end = o->one_line ? line_end(run->vocab) : -1,
                                   .stop = o->stop};
    LmReader r;
    LmHypothesis *list = NULL;
    int64_t start = lm_start_token(run->vocab), wanted = o->samples > 0 ? o->samples : 1, n, count;
    const int64_t *first = context(prefix, &start, &n);
    bool ok = lm_reader_init(&r, &run->model, error) &&
              lm_beam_search(&r, &options, first, n, &list, &count, error);
    if (ok) {
        ok = write_hypotheses(run, o, prefix, list, count < wanted ? count : wanted, out, error);
        lm_hypotheses_free(list, count);
    }
    lm_reader_free(&r);
    return ok;
}

bool lm_generate(const LmRun *run, const LmGeneration *o, FILE *out, TensorError *error) {
    int64_t unk = o->allow_unk ? -1 : data_vocab_unk(run->vocab);
    const NnSampleOptions sampling = {.temperature = o->temperature, .top_k = o->top_k,
                                      .top_p = o->top_p,
                                      .repetition_penalty = o->repetition_penalty,
                                      .has_exclude = unk >= 0, .exclude = unk};
    LmTokens prefix;
    if (!check(run, o, &sampling, error) || !read_prefix(run, o->prefix, &prefix, error))
        return false;
    bool ok = o->beam > 0 ? write_searched(run, o, unk, &prefix, out, error)
                          : write_drawn(run, o, &sampling, &prefix, out, error);
    lm_tokens_clear(&prefix);
    return ok;
}

/* ---- lm generate ---- */

static const LmGeneration defaults = LM_GENERATION_DEFAULTS;
enum { OPTIONS = 17, MAX_TEXTS = 1000 };
static const double huge = 9e15;

typedef struct {
    LmGeneration o;
    const char *folder;
} Command;

static void list_options(Command *c, ExampleOption table[OPTIONS]) {
    LmGeneration *o = &c->o;
    const ExampleOption options[OPTIONS] = {
        {"run", "DIR", "run folder of a trained model", EXAMPLE_OPTION_TEXT,
         .variable = &c->folder},
        {"prefix", "TEXT", "beginning of the text", EXAMPLE_OPTION_TEXT, .variable = &o->prefix},
        {"length", "N", "number of tokens after it: characters, or words",
         EXAMPLE_OPTION_INT, &o->length, .max = huge},
        {"one-line", NULL, "stop at the end of the line", EXAMPLE_OPTION_ON,
         .variable = &o->one_line},
        {"samples", "N", "number of texts; of a beam, its N best",
         EXAMPLE_OPTION_INT, &o->samples, .min = 1, .max = MAX_TEXTS},
        {"allow-unk", NULL, "<unk> may be written, for words that the model does not know",
         EXAMPLE_OPTION_ON, .variable = &o->allow_unk},
        {"temperature", "X", "below 1 more careful, above 1 wilder; 0: the most likely token",
         EXAMPLE_OPTION_REAL, &o->temperature, .max = 1e300},
        {"top-k", "K", "draw from the K most likely tokens; 0: from all",
         EXAMPLE_OPTION_INT, &o->top_k, .max = huge},
        {"top-p", "P", "draw from the fewest tokens that reach probability P together; 0: from all",
         EXAMPLE_OPTION_REAL, &o->top_p, .max = 1},
        {"repetition-penalty", "X",
         "above 1, what was written before is less likely; 0: no penalty",
         EXAMPLE_OPTION_REAL, &o->repetition_penalty, .max = 1e30},
        {"repetition-window", "N", "before: in the last N tokens; 0: in all",
         EXAMPLE_OPTION_INT, &o->repetition_window, .max = huge},
        {"seed", "N", "another number, another text", EXAMPLE_OPTION_INT, &o->seed, .max = huge},
        {"no-stream", NULL, "write the text when it is whole, not token by token",
         EXAMPLE_OPTION_ON, .variable = &o->at_end},
        {"beam", "N",
         "search for the most likely text with N at a time instead of drawing; 0: draw",
         EXAMPLE_OPTION_INT, &o->beam, .max = MAX_TEXTS},
        {0},
    };
    memcpy(table, options, sizeof options);
}

static void help(void) {
    Command c = {defaults, LM_DEFAULT_RUN};
    ExampleOption table[OPTIONS];
    list_options(&c, table);
    fputs("usage: lm generate [--run DIR] [OPTION VALUE]...\n\n"
          "Writes text with a trained model, token by token. One seed gives one text; of\n"
          "several, text number i is the same however many there are. Ctrl-C ends the text.\n\n",
          stdout);
    example_options_help(table, stdout);
    fputs("\nexample:\n"
          "  lm generate --run book-run --prefix \"Once upon a time\" --temperature 0.7\n"
          "  lm generate --run book-run --samples 5 --top-p 0.9 --one-line\n"
          "  lm generate --run book-run --beam 8 --samples 3 --length 60\n", stdout);
}

/* Options that do not go together. */
static bool check_given(const Command *given, TensorError *error) {
    const LmGeneration *o = &given->o;
    const struct {
        bool given;
        const char *name;
    } drawing[] = {{!isnan(o->temperature), "temperature"}, {o->top_k >= 0, "top-k"},
                   {!isnan(o->top_p), "top-p"},
                   {!isnan(o->repetition_penalty), "repetition-penalty"},
                   {o->repetition_window >= 0, "repetition-window"}, {o->seed >= 0, "seed"}};
    for (size_t i = 0; o->beam > 0 && i < sizeof drawing / sizeof *drawing; i++)
        if (drawing[i].given)
            return tensor_error_set(error, "--beam searches, and --%s is for drawing: one of them",
                                    drawing[i].name);
    return !(o->repetition_window >= 0 && isnan(o->repetition_penalty)) ||
           tensor_error_set(error, "--repetition-window needs a --repetition-penalty");
}

/* Sets what was not given. */
static void fill_in(LmGeneration *o) {
    if (isnan(o->temperature)) o->temperature = defaults.temperature;
    if (isnan(o->top_p)) o->top_p = defaults.top_p;
    if (isnan(o->repetition_penalty)) o->repetition_penalty = defaults.repetition_penalty;
    if (o->top_k < 0) o->top_k = defaults.top_k;
    if (o->repetition_window < 0) o->repetition_window = defaults.repetition_window;
    if (o->seed < 0) o->seed = defaults.seed;
}

static int generate(const Command *c) {
    LmRun run;
    TensorError error;
    if (!lm_run_load(c->folder, &run, &error)) return example_refuse("lm", error.message);
    bool words = data_vocab_kind(run.vocab) == DATA_VOCAB_WORD, ok;
    if (c->o.allow_unk && !words)
        ok = tensor_error_set(&error, "--allow-unk is for models of words");
    else
        ok = lm_generate(&run, &c->o, stdout, &error);
    lm_run_free(&run);
    if (!ok) return example_refuse("lm", error.message);
    int signal_number = (int)*c->o.stop;
    return signal_number ? EXAMPLE_SIGNAL + signal_number : 0;
}

int lm_generate_command(int argc, char **argv) {
    TensorError error;
    ExampleOption table[OPTIONS];
    Command c = {defaults, LM_DEFAULT_RUN};
    /* Beyond what an option can have: not given. */
    c.o.temperature = c.o.top_p = c.o.repetition_penalty = NAN;
    c.o.top_k = c.o.repetition_window = c.o.seed = -1;
    list_options(&c, table);
    switch (example_options_read(table, argc, argv, &error)) {
    case EXAMPLE_OPTIONS_WRONG: return example_refuse("lm", error.message);
    case EXAMPLE_OPTIONS_HELP: help(); return 0;
    case EXAMPLE_OPTIONS_OK: break;
    }
    if (!check_given(&c, &error)) return example_refuse("lm", error.message);
    fill_in(&c.o);
    c.o.stop = example_catch_stop();
    return generate(&c);
}
