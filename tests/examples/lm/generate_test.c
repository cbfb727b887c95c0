/* Text from a model: drawn, against a plain loop; searched, against all texts there are; written
 * while it comes. */
#define _GNU_SOURCE
#include "examples/lm/generate.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"
#include "examples/lm/beam.h"
#include "examples/lm/score.h"
#include "examples/lm/writer.h"
#include "examples/support/program.h"
#include "nn/sample.h"
#include "tests/examples/lm/tiny_run.h"

static const char story[] =
    "It was dusk, and the keeper said: \"Light the lamp.\"\n"
    "\"Why?\" asked the boy; 'tis early.\n\n"
    "The keeper's hands (both) shook -- na\xC3\xAFve, he thought, na\xC3\xAFve.\n"
    "\xE7\x81\xAF\xE5\xA1\x94 and the sea, the sea.\n";

static const TinyRun chars = {.text = story, .unit = DATA_UNIT_CHAR, .seed = 1};
static const TinyRun words = {.text = story, .unit = DATA_UNIT_WORD, .min_count = 2, .seed = 2,
                              .tied = true};
static const TinyRun raw_words = {.text = story, .unit = DATA_UNIT_RAW_WORD, .seed = 3};

/* The text, for free(). */
static char *generate(const LmRun *run, const LmGeneration *o) {
    char *text = NULL;
    size_t n;
    TensorError error = {""};
    FILE *out = open_memstream(&text, &n);
    cr_assert(lm_generate(run, o, out, &error), "%s", error.message);
    fclose(out);
    cr_assert_eq(data_utf8_invalid(text, (int64_t)n, NULL), -1);
    return text;
}

/* ---- drawing ---- */

/* prefix and length tokens of sample 0, as the header says, one step at a time. */
static char *plain_text(const LmRun *run, const LmGeneration *o, int64_t sample) {
    TensorError error;
    int64_t V = data_vocab_size(run->vocab), n, *ids, size, at = 0;
    cr_assert(lm_run_encode(run, "", o->prefix, (int64_t)strlen(o->prefix), &ids, &n, &error));
    int64_t *all = calloc((size_t)(1 + n + o->length), sizeof *all), *work = calloc((size_t)V, 8);
    double *z = calloc((size_t)V, sizeof *z), *p = calloc((size_t)V, sizeof *p);
    if (n == 0) all[at++] = lm_start_token(run->vocab);
    int64_t start = at;
    memcpy(all + at, ids, (size_t)n * sizeof *ids);
    at += n;
    const NnSampleOptions s = {o->temperature, o->top_k, o->top_p, o->repetition_penalty,
                               !o->allow_unk, data_vocab_unk(run->vocab)};
    for (int64_t i = 0; i < o->length; i++) {
        int64_t window = o->repetition_window > 0 ? o->repetition_window : at;
        int64_t recent = window < at - start ? window : at - start;
        tiny_run_logits(run, at, all, z);
        Tensor logits = tensor_wrap(z, TENSOR_F64, 1, &V), out = tensor_wrap(p, TENSOR_F64, 1, &V);
        Tensor scratch = tensor_wrap(work, TENSOR_I64, 1, &V);
        cr_assert(nn_sample_probabilities(&s, &logits, all + at - recent, recent, &out, &scratch,
                                          &error), "%s", error.message);
        TensorRngKey key = {.seed = (uint64_t)o->seed, .step = (uint64_t)sample};
        all[at++] = nn_sample_choose(&out, tensor_rng_uniform(key, (uint64_t)i));
    }
    const DataTokens tokens = lm_run_tokens(run);
    char *text = data_tokens_text(&tokens, run->vocab, all + start, at - start, &size, &error);
    free(ids);
    free(all);
    free(work);
    free(z);
    free(p);
    return text;
}

static void expect_line(const char *got, const char *want) {
    size_t n = strlen(want);
    bool ended = n > 0 && want[n - 1] == '\n';
    cr_expect(strncmp(got, want, n) == 0 && strcmp(got + n, ended ? "" : "\n") == 0,
              "got '%s', not '%s'", got, want);
}

Test(generate, draws_what_a_plain_loop_draws) {
    const LmGeneration cases[] = {
        {.prefix = "the sea", .length = 40, .temperature = 1, .seed = 7},
        {.prefix = "", .length = 30, .temperature = 0.7, .seed = 8, .top_k = 6},
        {.prefix = "the keeper", .length = 30, .temperature = 1.3, .top_p = 0.8, .seed = 9},
        {.prefix = "and the", .length = 30, .temperature = 1, .repetition_penalty = 1.8},
        {.prefix = "and the sea", .length = 30, .temperature = 1, .repetition_penalty = 3,
         .repetition_window = 5, .top_k = 20, .top_p = 0.95, .seed = 10},
        {.prefix = "the lamp was", .length = 20, .temperature = 1, .allow_unk = true},
        {.prefix = "the", .length = 20, .seed = 1},
    };
    const TinyRun *kinds[] = {&chars, &words, &raw_words};
    for (int k = 0; k < 3; k++) {
        LmRun run;
        tiny_run_make(&run, kinds[k]);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            LmGeneration o = cases[i];
            if (k == 2) o.prefix = i % 2 ? "the sea" : "";
            o.at_end = i % 2;
            char *want = plain_text(&run, &o, 0), *got = generate(&run, &o);
            expect_line(got, want);
            free(want);
            free(got);
        }
        lm_run_free(&run);
    }
}

Test(generate, sample_s_is_the_same_text_however_many_there_are) {
    LmRun run;
    LmGeneration o = {.prefix = "the ", .length = 50, .temperature = 1, .seed = 4, .samples = 5};
    tiny_run_make(&run, &chars);
    char *five = generate(&run, &o), *rest = five;
    for (int s = 0; s < 5; s++) {
        char head[64], *text = plain_text(&run, &o, s);
        snprintf(head, sizeof head, "%s==> sample %d <==\n", s ? "\n" : "", s + 1);
        cr_assert(strncmp(rest, head, strlen(head)) == 0, "%s", rest);
        rest += strlen(head);
        cr_assert(strncmp(rest, text, strlen(text)) == 0, "sample %d: %s", s, text);
        rest += strlen(text);
        if (text[strlen(text) - 1] != '\n') cr_assert_eq(*rest++, '\n');
        free(text);
    }
    cr_expect_eq(*rest, 0);
    o.samples = 2;
    char *two = generate(&run, &o);
    cr_expect(strncmp(five, two, strlen(two)) == 0);
    o.samples = 1;
    char *one = generate(&run, &o);
    o.length = 20;
    char *shorter = generate(&run, &o);
    cr_expect(strncmp(one, shorter, strlen(shorter) - 1) == 0, "%s\n%s", one, shorter);
    o.seed = 5;
    char *other = generate(&run, &o);
    cr_expect_str_neq(shorter, other);
    free(five);
    free(two);
    free(one);
    free(shorter);
    free(other);
    lm_run_free(&run);
}

Test(generate, unk_is_drawn_on_request_only) {
    LmRun run;
    LmGeneration o = {.prefix = "the", .length = 30, .temperature = 1};
    tiny_run_make(&run, &words);
    cr_assert_eq(data_vocab_unk(run.vocab), 0);
    cr_assert(tensor_set(&run.model.out.bias->value, 0, 30));
    char *without = generate(&run, &o);
    o.allow_unk = true;
    char *with = generate(&run, &o);
    o.beam = 3;
    char *best = generate(&run, &o);
    o.allow_unk = false;
    char *known = generate(&run, &o);
    cr_expect_null(strstr(without, "<unk>"), "%s", without);
    cr_expect(strstr(with, "the <unk> <unk> <unk>"), "%s", with);
    cr_expect(strstr(best, "the <unk> <unk> <unk>"), "%s", best);
    cr_expect_null(strstr(known, "<unk>"), "%s", known);
    free(without);
    free(with);
    free(best);
    free(known);
    lm_run_free(&run);
}

Test(generate, without_a_prefix_it_starts_after_a_line_or_the_most_frequent_character) {
    LmRun run;
    tiny_run_make(&run, &words);
    cr_expect_eq(lm_start_token(run.vocab), data_vocab_eos(run.vocab));
    lm_run_free(&run);
    tiny_run_make(&run, &chars);
    cr_expect_str_eq(data_vocab_token(run.vocab, lm_start_token(run.vocab), NULL), " ");
    lm_run_free(&run);
}

Test(generate, prefixes_of_any_length_and_no_text_at_all) {
    LmRun run;
    char prefix[2 * sizeof story];
    tiny_run_make(&run, &chars);
    for (int cut = 0; cut < 140; cut += 7) {
        snprintf(prefix, sizeof prefix, "%.130s%.*s", story, cut, story);
        LmGeneration o = {.prefix = prefix, .length = 8, .temperature = 1};
        char *want = plain_text(&run, &o, 0), *got = generate(&run, &o);
        expect_line(got, want);
        free(want);
        free(got);
    }
    for (int beam = 0; beam < 2; beam++) {
        LmGeneration o = {.prefix = "", .length = 0, .beam = beam};
        char *got = generate(&run, &o);
        cr_expect_str_eq(got, "\n");
        free(got);
        o.prefix = "the";
        got = generate(&run, &o);
        cr_expect_str_eq(got, "the\n");
        free(got);
    }
    lm_run_free(&run);
}

Test(generate, one_line_ends_with_the_line) {
    const TinyRun *kinds[] = {&chars, &words, &raw_words};
    for (int k = 0; k < 3; k++) {
        LmRun run;
        tiny_run_make(&run, kinds[k]);
        LmGeneration o = {.prefix = "the sea", .length = 300, .temperature = 1.5, .seed = 2,
                          .samples = 4};
        for (int64_t s = 0; s < 4; s++) {
            char *text = plain_text(&run, &o, s), *end = strchr(text, '\n');
            cr_assert(end, "%s", text);
            end[1] = 0;
            o.one_line = true;
            char *all = generate(&run, &o), head[64];
            snprintf(head, sizeof head, "==> sample %d <==\n", (int)s + 1);
            char *from = strstr(all, head);
            cr_assert(from);
            from += strlen(head);
            cr_expect(strncmp(from, text, strlen(text)) == 0, "%s\n%s", from, text);
            cr_expect(from[strlen(text)] == (s < 3 ? '\n' : 0));
            o.one_line = false;
            free(all);
            free(text);
        }
        lm_run_free(&run);
    }
}

/* ---- while it comes ---- */

typedef struct {
    volatile sig_atomic_t stop;
    int writes, stop_after;
    bool full, broken; /* a full disk; a character in two parts */
    char text[4096];
    size_t n;
} Stream;

static ssize_t stream_write(void *cookie, const char *bytes, size_t n) {
    Stream *s = cookie;
    if (s->full) return 0;
    s->writes++;
    s->broken |= data_utf8_invalid(bytes, (int64_t)n, NULL) >= 0;
    memcpy(s->text + s->n, bytes, n);
    s->n += n;
    if (s->writes == s->stop_after) s->stop = 2;
    return (ssize_t)n;
}

static FILE *stream_open(Stream *s) {
    return fopencookie(s, "w", (cookie_io_functions_t){.write = stream_write});
}

Test(generate, writes_every_token_at_once_in_whole_characters_and_stops_when_told) {
    LmRun run;
    TensorError error = {""};
    tiny_run_make(&run, &chars);
    LmGeneration o = {.prefix = "the", .length = 200, .temperature = 2, .seed = 3};
    char *whole = generate(&run, &o);
    Stream s = {.stop_after = 0};
    FILE *out = stream_open(&s);
    cr_assert(lm_generate(&run, &o, out, &error), "%s", error.message);
    fclose(out);
    cr_expect_str_eq(s.text, whole);
    cr_expect_geq(s.writes, 201, "the prefix and each character");
    cr_expect_not(s.broken);
    cr_expect(strstr(whole, "\xC3\xAF") || strstr(whole, "\xE7\x81\xAF"), "%s", whole);

    s = (Stream){.stop_after = 11};
    out = stream_open(&s);
    o.stop = &s.stop;
    cr_assert(lm_generate(&run, &o, out, &error));
    fclose(out);
    cr_expect(s.n < 50 && strncmp(s.text, whole, s.n - 1) == 0 && s.text[s.n - 1] == '\n', "%s",
              s.text);

    /* Several texts and beams end, too, with what there is. */
    for (int beam = 0; beam < 2; beam++) {
        o = (LmGeneration){.prefix = "the", .length = INT64_MAX, .samples = 2, .beam = 2 * beam,
                           .stop = &s.stop};
        char *text = generate(&run, &o);
        cr_expect(strstr(text, "<==\nthe\n"), "%s", text);
        free(text);
    }
    free(whole);
    lm_run_free(&run);
}

Test(generate, a_full_disk_ends_the_text) {
    LmRun run;
    TensorError error = {""};
    tiny_run_make(&run, &chars);
    Stream s = {.full = true};
    FILE *out = stream_open(&s);
    const LmGeneration o = {.prefix = "the", .length = INT64_MAX, .temperature = 1};
    cr_expect(lm_generate(&run, &o, out, &error));
    cr_expect(ferror(out));
    fclose(out);
    lm_run_free(&run);
}

Test(generate, a_text_written_token_by_token_is_the_whole_text) {
    const TinyRun *kinds[] = {&chars, &words, &raw_words};
    TensorError error;
    for (uint64_t seed = 0; seed < 60; seed++) {
        LmRun run;
        tiny_run_make(&run, kinds[seed % 3]);
        char *text = NULL;
        size_t n;
        FILE *out = open_memstream(&text, &n);
        LmWriter w = lm_writer(&run, out);
        LmTokens tokens = {0};
        int64_t V = data_vocab_size(run.vocab), size, eos = data_vocab_eos(run.vocab);
        for (uint64_t i = 0; i < 80; i++) {
            TensorRngKey key = {.seed = seed};
            int64_t id = tensor_rng_below(key, i, V);
            const char *quotes = i % 2 ? "\"" : "'";
            if (i % 3 == 0) id = data_vocab_id(run.vocab, quotes, 1);
            if (i % 17 < 2 && eos >= 0 && seed > 30) id = eos; /* empty lines */
            cr_assert(lm_tokens_add(&tokens, &id, 1, &error));
            cr_assert(lm_writer_show(&w, &tokens, false, &error));
        }
        cr_assert(lm_writer_show(&w, &tokens, true, &error));
        fclose(out);
        const DataTokens how = lm_run_tokens(&run);
        char *whole = data_tokens_text(&how, run.vocab, tokens.id, tokens.count, &size, &error);
        cr_assert_str_eq(text, whole, "seed %d", (int)seed);
        cr_assert_eq((int64_t)n, size);
        free(whole);
        free(text);
        lm_tokens_clear(&tokens);
        lm_run_free(&run);
    }
}

/* ---- beam search ---- */

enum { MAX_LENGTH = 4, MAX_TEXTS = 4096 };

typedef struct {
    int64_t id[MAX_LENGTH], length;
    double nats;
} Text;

typedef struct {
    const LmRun *run;
    int64_t prefix[8], n, length, end, exclude;
    Text list[MAX_TEXTS];
    int count;
} All;

/* Every text there is. */
static void list_all(All *all, Text text) {
    int64_t V = data_vocab_size(all->run->vocab);
    bool ended = text.length > 0 && text.id[text.length - 1] == all->end;
    if (text.length == all->length || ended) {
        cr_assert_lt(all->count, MAX_TEXTS);
        all->list[all->count++] = text;
        return;
    }
    int64_t x[16], y[16], n = all->n + text.length;
    double losses[16];
    memcpy(x, all->prefix, (size_t)all->n * sizeof *x);
    memcpy(x + all->n, text.id, (size_t)text.length * sizeof *x);
    for (int64_t v = 0; v < V; v++) {
        if (v == all->exclude) continue;
        for (int64_t i = 0; i < n; i++) y[i] = v;
        tiny_run_losses(all->run, n, x, y, losses);
        Text longer = text;
        longer.id[longer.length++] = v;
        longer.nats -= losses[n - 1];
        list_all(all, longer);
    }
}

static int by_mean(const void *a, const void *b) {
    const Text *x = a, *y = b;
    double p = x->nats / (double)x->length, q = y->nats / (double)y->length;
    return (p < q) - (p > q);
}

static void check_search(All *all, int64_t width, int64_t expected) {
    LmReader reader;
    LmHypothesis *list;
    int64_t count;
    TensorError error = {""};
    const LmBeamOptions o = {.width = width, .length = all->length, .end = all->end,
                             .exclude = all->exclude};
    cr_assert(lm_reader_init(&reader, &all->run->model, &error));
    cr_assert(lm_beam_search(&reader, &o, all->prefix, all->n, &list, &count, &error), "%s",
              error.message);
    cr_assert_eq(count, expected, "%d texts", (int)count);
    for (int64_t i = 0; i < count; i++) {
        const Text *want = &all->list[i];
        cr_assert_float_eq(list[i].nats, want->nats, 1e-4, "text %d: %g, not %g", (int)i,
                           list[i].nats, want->nats);
        cr_assert_eq(list[i].tokens.count, want->length);
        cr_assert_arr_eq(list[i].tokens.id, want->id, (size_t)want->length * sizeof *want->id);
    }
    lm_hypotheses_free(list, count);
    lm_reader_free(&reader);
}

Test(generate, a_wide_beam_finds_the_best_of_all_texts) {
    static All all;
    const TinyRun tiny[] = {{.text = "abac\n", .unit = DATA_UNIT_CHAR, .seed = 5},
                            {.text = "x y x\n", .unit = DATA_UNIT_WORD, .seed = 6, .tied = true}};
    for (int k = 0; k < 2; k++)
        for (int one_line = 0; one_line < 2; one_line++)
            for (int unk = 0; unk < 2; unk++) {
                LmRun run;
                tiny_run_make(&run, &tiny[k]);
                int64_t V = data_vocab_size(run.vocab);
                all = (All){.run = &run, .prefix = {1, 2, 1}, .n = 3, .length = MAX_LENGTH,
                            .end = -1, .exclude = unk ? -1 : 0};
                if (one_line) all.end = k ? data_vocab_eos(run.vocab)
                                          : data_vocab_id(run.vocab, "\n", 1);
                list_all(&all, (Text){.length = 0});
                qsort(all.list, (size_t)all.count, sizeof *all.list, by_mean);
                cr_assert_gt(all.count, 30);
                int64_t width = (int64_t)pow((double)V, MAX_LENGTH);
                check_search(&all, width, all.count);
                lm_run_free(&run);
            }
}

static int by_nats(const void *a, const void *b) {
    const Text *x = a, *y = b;
    return (x->nats < y->nats) - (x->nats > y->nats);
}

/* The definition: from all continuations of what goes on, the best that go on again, and in
 * between those that end. */
static void search_plainly(All *all, int64_t width, int64_t length) {
    static Text done[MAX_TEXTS];
    Text live[8] = {{.length = 0}};
    int64_t count = 1, done_count = 0;
    for (int64_t step = 1; step <= length; step++) {
        all->count = 0;
        all->length = step;
        for (int64_t i = 0; i < count; i++) list_all(all, live[i]);
        qsort(all->list, (size_t)all->count, sizeof *all->list, by_nats);
        count = 0;
        for (int i = 0; i < all->count && count < width; i++) {
            const Text *t = &all->list[i];
            if (t->id[step - 1] == all->end) done[done_count++] = *t;
            else live[count++] = *t;
        }
    }
    for (int64_t i = 0; i < count; i++) done[done_count++] = live[i];
    qsort(done, (size_t)done_count, sizeof *done, by_mean);
    memcpy(all->list, done, (size_t)done_count * sizeof *done);
}

Test(generate, a_narrow_beam_keeps_the_best_beginnings) {
    static All all;
    for (uint64_t seed = 5; seed < 11; seed++) {
        LmRun run;
        tiny_run_make(&run, &(TinyRun){.text = "abac\n", .unit = DATA_UNIT_CHAR, .seed = seed});
        for (int64_t width = 1; width < 6; width++)
            for (int one_line = 0; one_line < 2; one_line++) {
                int64_t end = one_line ? data_vocab_id(run.vocab, "\n", 1) : -1;
                all = (All){.run = &run, .prefix = {2, 1}, .n = 2, .end = end, .exclude = 0};
                search_plainly(&all, width, MAX_LENGTH);
                check_search(&all, width, width);
            }
        lm_run_free(&run);
    }
}

/* Reads "==> 2: -31.5 nats, -0.79 per token <==" at *at, and goes behind it. */
static double read_head(const char **at, int number, double *mean) {
    double nats;
    int read, used = 0;
    cr_assert_eq(sscanf(*at, "==> %d: %lf nats, %lf per token <==%n", &read, &nats, mean, &used),
                 3, "%s", *at);
    cr_assert(read == number && used > 0 && (*at)[used] == '\n');
    *at += used + 1;
    return nats;
}

static LmScore score(const LmRun *run, const char *text, int64_t n) {
    LmTextScore s;
    TensorError error = {""};
    cr_assert(lm_score_text(run, "text", text, n, true, &s, &error), "%s", error.message);
    LmScore all = s.all;
    lm_text_score_free(&s);
    return all;
}

Test(generate, the_texts_of_a_beam_have_the_score_they_are_written_with) {
    enum { LENGTH = 12, TEXTS = 5 };
    for (int k = 0; k < 2; k++) {
        LmRun run;
        tiny_run_make(&run, k ? &words : &chars);
        LmGeneration o = {.prefix = "", .length = LENGTH, .beam = 7, .samples = TEXTS,
                          .one_line = k};
        char *text = generate(&run, &o);
        const char *at = text;
        double before = 0;
        int compared = 0;
        for (int i = 1; i <= TEXTS; i++) {
            double mean, nats = read_head(&at, i, &mean);
            cr_expect(i == 1 || mean <= before, "the best first");
            before = mean;
            const char *end = at;
            uint32_t code;
            /* Characters: as many as were asked for; words: to the line's end. */
            if (k) end = strchr(at, '\n') + 1;
            else for (int c = 0; c < LENGTH; c++) end += data_utf8_decode(end, 4, &code, NULL);
            LmScore s = score(&run, at, end - at);
            /* A line that was cut off has no end. */
            if (s.tokens == llround(nats / mean)) {
                cr_expect_float_eq(-s.nats, nats, 1e-4 * fabs(nats), "%s", text);
                compared++;
            }
            at = i < TEXTS ? strstr(end, "==>") : end;
        }
        cr_expect_geq(compared, k ? 1 : TEXTS);
        o.samples = 1;
        char *best = generate(&run, &o);
        cr_expect(strncmp(best, strchr(text, '\n') + 1, strlen(best)) == 0, "%s\n%s", best, text);
        free(best);
        free(text);
        lm_run_free(&run);
    }
}

/* ---- what goes wrong ---- */

Test(generate, what_does_not_fit_is_refused_in_one_line) {
    LmRun run, letters;
    tiny_run_make(&run, &chars);
    tiny_run_make(&letters, &(TinyRun){.text = story, .unit = DATA_UNIT_CHAR,
                                       .clean = DATA_CLEAN_LETTERS});
    const struct {
        const char *word;
        const LmRun *run;
        LmGeneration o;
    } cases[] = {
        {"--prefix", &run, {.prefix = "the \xE2\x82\xAC", .length = 1}},
        {"--prefix", &run, {.prefix = "\xFF", .length = 1}},
        {"temperature", &run, {.prefix = "", .temperature = -1}},
        {"temperature", &run, {.prefix = "", .temperature = NAN}},
        {"top_p", &run, {.prefix = "", .top_p = 2}},
        {"top_k", &run, {.prefix = "", .top_k = -2}},
        {"penalty", &run, {.prefix = "", .repetition_penalty = -2}},
        {"negative", &run, {.prefix = "", .length = -1}},
        {"negative", &run, {.prefix = "", .samples = -1}},
        {"negative", &run, {.prefix = "", .repetition_window = -1}},
        {"--samples 4", &run, {.prefix = "", .beam = 3, .samples = 4}},
        {"--one-line", &letters, {.prefix = "", .one_line = true}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TensorError error = {""};
        cr_expect_not(lm_generate(cases[i].run, &cases[i].o, stdout, &error), "case %d", (int)i);
        cr_expect(strstr(error.message, cases[i].word), "case %d: %s", (int)i, error.message);
    }
    cr_assert(tensor_set(&run.model.out.bias->value, 3, NAN));
    Stream s = {.stop_after = 0};
    FILE *out = stream_open(&s);
    for (int beam = 0; beam < 2; beam++) {
        TensorError error = {""};
        const LmGeneration o = {.prefix = "the", .length = 3, .temperature = 1, .beam = beam};
        cr_expect_not(lm_generate(&run, &o, out, &error));
        cr_expect(strstr(error.message, beam ? "not finite" : "NaN"), "%s", error.message);
    }
    fclose(out);
    lm_run_free(&run);
    lm_run_free(&letters);
}

Test(generate, the_command_refuses_options_that_do_not_go_together, .init = cr_redirect_stderr) {
    const char *const cases[][6] = {
        {"--beam", "3", "--temperature", "0.8"}, {"--beam", "3", "--seed", "1"},
        {"--beam", "3", "--top-k", "0"},         {"--beam", "3", "--top-p", "1"},
        {"--beam", "3", "--repetition-penalty", "0"}, {"--repetition-window", "3"},
        {"--top-p", "1.5"}, {"--samples", "0"}, {"--run", "nowhere"}, {"words"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *argv[7] = {(char *)(intptr_t)"generate"};
        int argc = 1;
        for (; argc < 7 && cases[i][argc - 1]; argc++)
            argv[argc] = (char *)(intptr_t)cases[i][argc - 1];
        cr_expect_eq(lm_generate_command(argc, argv), EXAMPLE_REFUSED, "%s", cases[i][0]);
    }
}
