/* How well a model predicts a text: against step by step, corpora's characters, line by line. */
#include "examples/lm/score.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/text.h"
#include "examples/lm/generate.h"
#include "examples/lm/train.h"
#include "examples/support/program.h"
#include "tests/examples/lm/tiny_run.h"
#include "tests/support/folder.h"

static const char story[] =
    "It was dusk, and the keeper said: \"Light the lamp.\"\n"
    "\n"
    "  the  keeper's hands\t(both) shook -- na\xC3\xAFve, he thought, na\xC3\xAFve. \n"
    "   \n"
    "the sea, the sea.\n"
    "and the sea";

static const char *const texts[] = {
    story, "the sea", "\n\nthe sea\n", "  and\n\n", "the\n \t", "sea, sea\n", " \n the keeper",
};
enum { TEXTS = sizeof texts / sizeof *texts };

/* Every unit with every cleaning. */
enum { KINDS = 9 };
static TinyRun kind(int k) {
    return (TinyRun){.text = story, .unit = k % 3, .clean = k / 3, .seed = (uint64_t)k,
                     .min_count = k % 3 ? 2 : 0, .tied = k % 2};
}

static LmTextScore score(const LmRun *run, const char *text, bool first) {
    LmTextScore s;
    TensorError error = {""};
    cr_assert(lm_score_text(run, "text", text, (int64_t)strlen(text), first, &s, &error), "%s",
              error.message);
    return s;
}

/* ---- */

Test(score, agrees_with_a_model_that_is_run_step_by_step) {
    for (int k = 0; k < KINDS; k++) {
        LmRun run;
        TinyRun options = kind(k);
        tiny_run_make(&run, &options);
        char whole[sizeof story + 1];
        snprintf(whole, sizeof whole, "%s\n", story);
        int64_t *ids, n, unknown = 0;
        TensorError error;
        /* Of characters the LF is one more, of words it ends the last line. */
        const char *text = options.unit == DATA_UNIT_CHAR ? story : whole;
        cr_assert(lm_run_encode(&run, "text", text, (int64_t)strlen(text), &ids, &n, &error));
        double *losses = calloc((size_t)n, sizeof *losses), nats = 0;
        tiny_run_losses(&run, n - 1, ids, ids + 1, losses);
        for (int64_t i = 0; i < n - 1; i++) nats += losses[i];
        for (int64_t i = 1; i < n; i++) unknown += ids[i] == data_vocab_unk(run.vocab);
        LmTextScore s = score(&run, story, false);
        cr_expect_eq(s.all.tokens, n - 1, "kind %d", k);
        cr_expect_eq(s.all.unknown, unknown, "kind %d", k);
        cr_expect_float_eq(s.all.nats, nats, 1e-5 * nats, "kind %d: %.9g, not %.9g", k, s.all.nats,
                           nats);
        cr_expect_float_eq(lm_score_perplexity(&s.all), exp(nats / (double)(n - 1)),
                           1e-4 * exp(nats / (double)(n - 1)));
        cr_expect_float_eq(lm_score_bits(&s.all) * (double)s.all.chars * log(2), s.all.nats,
                           1e-9 * nats);

        /* As it is measured in training. */
        AgTape *t = ag_tape_new();
        double p = lm_perplexity(&run.model, t, ids, n, 1, &error);
        cr_expect_float_eq(lm_score_perplexity(&s.all), p, 1e-4 * p, "kind %d", k);
        ag_tape_free(t);

        /* With the first token, after the one that a text without a prefix comes after. */
        int64_t *before = calloc((size_t)n, sizeof *before);
        before[0] = lm_start_token(run.vocab);
        memcpy(before + 1, ids, (size_t)(n - 1) * sizeof *ids);
        tiny_run_losses(&run, n, before, ids, losses);
        nats = 0;
        for (int64_t i = 0; i < n; i++) nats += losses[i];
        LmTextScore all = score(&run, story, true);
        cr_expect_eq(all.all.tokens, n);
        cr_expect_float_eq(all.all.nats, nats, 1e-5 * nats, "kind %d", k);
        lm_text_score_free(&all);
        lm_text_score_free(&s);
        free(before);
        free(losses);
        free(ids);
        lm_run_free(&run);
    }
}

static char path[TEST_PATH_SIZE];
static void make_folder(void) { test_folder_make(path, "text.txt"); }
static void remove_folder(void) { test_folder_remove(path); }

/* Tokens and characters of the text as a corpus has them. */
static DataCorpusPart corpus_part(const LmRun *run, const char *text) {
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    const DataCorpusOptions o = {.train = path,
                                 .tokens = {run->settings.unit, run->settings.clean}};
    DataCorpus c;
    TensorError error = {""};
    cr_assert(data_corpus_read(&c, &o, &error), "%s", error.message);
    DataCorpusPart part = c.train;
    data_corpus_free(&c);
    return part;
}

Test(score, tokens_and_characters_are_those_of_corpora, .init = make_folder,
     .fini = remove_folder) {
    for (int k = 0; k < KINDS; k++) {
        LmRun run;
        TinyRun options = kind(k);
        tiny_run_make(&run, &options);
        for (int i = 0; i < TEXTS; i++) {
            DataCorpusPart part = corpus_part(&run, texts[i]);
            LmTextScore s = score(&run, texts[i], true);
            cr_expect_eq(s.all.tokens, part.count, "kind %d, text %d: %d, not %d", k, i,
                         (int)s.all.tokens, (int)part.count);
            cr_expect_eq(s.all.chars, part.chars, "kind %d, text %d: %d characters, not %d", k, i,
                         (int)s.all.chars, (int)part.chars);
            lm_text_score_free(&s);
        }
        lm_run_free(&run);
    }
}

Test(score, the_first_token_is_left_out_with_its_characters) {
    const struct {
        int unit;
        const char *text;
        int64_t chars;
    } cases[] = {
        {DATA_UNIT_CHAR, "the", 2},         {DATA_UNIT_WORD, "keeper's sea\n", 5},
        {DATA_UNIT_WORD, " the  sea \n", 5}, {DATA_UNIT_WORD, "\nthe\n", 4},
        {DATA_UNIT_RAW_WORD, "the, sea\n", 6}, {DATA_UNIT_RAW_WORD, "  \n  sea", 4},
        {DATA_UNIT_WORD, "the", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        LmRun run;
        tiny_run_make(&run, &(TinyRun){.text = story, .unit = cases[i].unit, .min_count =
                                           cases[i].unit ? 2 : 0});
        LmTextScore with = score(&run, cases[i].text, true);
        LmTextScore without = score(&run, cases[i].text, false);
        cr_expect_eq(without.all.chars, cases[i].chars, "%s: %d", cases[i].text,
                     (int)without.all.chars);
        cr_expect_eq(without.all.tokens, with.all.tokens - 1);
        lm_text_score_free(&with);
        lm_text_score_free(&without);
        lm_run_free(&run);
    }
}

Test(score, lines_add_up_and_stand_where_the_file_has_them) {
    for (int k = 0; k < KINDS; k++)
        for (int first = 0; first < 2; first++) {
            LmRun run;
            TinyRun options = kind(k);
            tiny_run_make(&run, &options);
            LmTextScore s = score(&run, story, first);
            cr_assert_eq(s.lines, 6);
            LmScore sum = {0};
            for (int i = 0; i < 6; i++) {
                sum.tokens += s.line[i].tokens;
                sum.chars += s.line[i].chars;
                sum.unknown += s.line[i].unknown;
                sum.nats += s.line[i].nats;
            }
            cr_expect(sum.tokens == s.all.tokens && sum.chars == s.all.chars &&
                      sum.unknown == s.all.unknown && sum.nats == s.all.nats, "kind %d", k);
            if (options.unit != DATA_UNIT_CHAR) cr_expect_eq(s.line[1].tokens, 1, "its end");
            if (options.unit == DATA_UNIT_WORD) {
                cr_expect_eq(s.line[5].tokens, 4, "and the sea <eos>");
                cr_expect_eq(s.line[5].chars, 12);
            }
            /* A line is what it is after the lines before it. */
            const char *cut = strstr(story, "the sea, the sea");
            char start[sizeof story];
            snprintf(start, sizeof start, "%.*s", (int)(cut - story), story);
            LmTextScore part = score(&run, start, first);
            cr_assert_eq(part.lines, 4);
            for (int i = 0; i < 4; i++)
                cr_expect_float_eq(part.line[i].nats, s.line[i].nats, 1e-4, "kind %d line %d", k,
                                   i);
            lm_text_score_free(&part);
            lm_text_score_free(&s);
            lm_run_free(&run);
        }
}

Test(score, nothing_to_predict_and_what_cannot_be_read_are_refused) {
    LmRun run, letters;
    tiny_run_make(&run, &(TinyRun){.text = story, .unit = DATA_UNIT_CHAR});
    tiny_run_make(&letters, &(TinyRun){.text = story, .unit = DATA_UNIT_CHAR,
                                       .clean = DATA_CLEAN_LETTERS});
    const struct {
        const char *word;
        const LmRun *run;
        const char *text;
        bool first;
    } cases[] = {
        {"file.txt: has no token after the first", &run, "t", false},
        {"file.txt: has no token after the first", &run, "", false},
        {"file.txt: has no token to", &run, "", true},
        {"file.txt: has no token to", &letters, "12 34\n", true},
        {"file.txt: line 2: ", &run, "the\nthe\xFF\n", true},
        {"file.txt: line 3: the character 'Q'", &run, "the\n\nQ", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TensorError error = {""};
        LmTextScore s;
        cr_expect_not(lm_score_text(cases[i].run, "file.txt", cases[i].text,
                                    (int64_t)strlen(cases[i].text), cases[i].first, &s, &error));
        cr_expect(strstr(error.message, cases[i].word), "case %d: %s", (int)i, error.message);
        cr_expect(!s.line && s.lines == 0 && s.all.tokens == 0);
    }
    cr_assert(tensor_set(&run.model.out.bias->value, 3, NAN));
    TensorError error = {""};
    LmTextScore s;
    cr_expect_not(lm_score_text(&run, "file.txt", "the sea", 7, false, &s, &error));
    cr_expect(strstr(error.message, "not finite"), "%s", error.message);
    lm_run_free(&run);
    lm_run_free(&letters);
    cr_expect(isnan(lm_score_perplexity(&(LmScore){0})) && isnan(lm_score_bits(&(LmScore){0})));
}

Test(score, the_command_says_what_is_missing, .init = cr_redirect_stderr) {
    const char *const cases[][4] = {
        {NULL}, {"--run", "nowhere"}, {"nothing.txt", "--run", "nowhere"}, {"a", "b"}, {"--fly"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *argv[5] = {(char *)(intptr_t)"score"};
        int argc = 1;
        for (; argc < 5 && cases[i][argc - 1]; argc++)
            argv[argc] = (char *)(intptr_t)cases[i][argc - 1];
        cr_expect_eq(lm_score_command(argc, argv), EXAMPLE_REFUSED, "case %d", (int)i);
    }
}
