/* What a corpus is made of: tokens, parts, characters; and what is refused. */
#include "data/corpus.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "data/utf8.h"
#include "tests/data/support.h"
#include "tests/support/allocations.h"

#define TOKENS(u, c) {.unit = DATA_UNIT_##u, .clean = DATA_CLEAN_##c}

static const char *file(const char *name, const char *text) {
    return scratch_file(name, text, (int64_t)strlen(text));
}

static DataCorpus corpus_of(const DataCorpusOptions *options) {
    DataCorpus c;
    TensorError error = {""};
    cr_assert(data_corpus_read(&c, options, &error), "%s", error.message);
    return c;
}

static DataCorpus corpus_of_text(const char *text, DataTokens tokens) {
    return corpus_of(&(DataCorpusOptions){.train = file("text.txt", text), .tokens = tokens});
}

/* The tokens of a part, with | between them. */
static void expect_tokens(const DataCorpus *c, const DataCorpusPart *part, const char *expected) {
    char joined[512] = "";
    for (int64_t i = 0; i < part->count; i++) {
        if (i > 0) strcat(joined, "|");
        strcat(joined, data_vocab_token(c->vocab, c->ids[part->first + i], NULL));
    }
    cr_expect_str_eq(joined, expected);
}

static void expect_part(const DataCorpusPart *part, int64_t first, int64_t count, int64_t chars) {
    cr_expect(part->first == first && part->count == count && part->chars == chars,
              "%lld tokens from %lld with %lld characters", (long long)part->count,
              (long long)part->first, (long long)part->chars);
}

Test(corpus, tokens_are_those_of_the_unit) {
    static const struct {
        const char *text;
        DataTokens tokens;
        const char *expected;
        int64_t chars;
    } cases[] = {
        {"a\u00E9\n \u6C34", TOKENS(CHAR, NONE), "a|\u00E9|\n| |\u6C34", 5},
        {"<unk>", TOKENS(CHAR, NONE), "<|u|n|k|>", 5},
        {"Ab\u00C9", TOKENS(CHAR, LOWER), "a|b|\u00E9", 3},
        {"I am,\n me! ", TOKENS(CHAR, LETTERS), "i| |a|m|m|e", 6},
        /* A line end counts one; so does the space between two words, but none beside lines. */
        {"  the  cat \n\n sat", TOKENS(WORD, NONE), "the|cat|<eos>|<eos>|sat|<eos>", 13},
        {"the cat\n", TOKENS(WORD, NONE), "the|cat|<eos>", 8},
        {"a \u3000\t b", TOKENS(WORD, NONE), "a|b|<eos>", 4},
        {"a <unk> <eos>\n", TOKENS(WORD, NONE), "a|<unk>|<eos>|<eos>", 14},
        {"Don't stop.\n", TOKENS(WORD, LOWER), "don't|stop.|<eos>", 12},
        {"Don't\n\nstop.", TOKENS(WORD, LETTERS), "don|t|<eos>|<eos>|stop|<eos>", 12},
        /* The spaces that the splitting puts in are no characters of the text. */
        {"Don't stop!\n", TOKENS(RAW_WORD, NONE), "Don't|stop|!|<eos>", 12},
        {"\u6C34\u706B\u3002 ok\n", TOKENS(RAW_WORD, NONE), "\u6C34|\u706B|\u3002|ok|<eos>", 7},
        {"<unk> A\n", TOKENS(RAW_WORD, LOWER), "<|unk|>|a|<eos>", 8},
        {"It's 5!\nNo", TOKENS(RAW_WORD, LETTERS), "it|s|<eos>|no|<eos>", 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DataCorpus c = corpus_of_text(cases[i].text, cases[i].tokens);
        expect_tokens(&c, &c.train, cases[i].expected);
        expect_part(&c.train, 0, c.train.count, cases[i].chars);
        expect_part(&c.valid, c.train.count, 0, 0);
        expect_part(&c.test, c.train.count, 0, 0);
        cr_expect(data_vocab_unk(c.vocab) == 0);
        cr_expect((data_vocab_eos(c.vocab) >= 0) == (cases[i].tokens.unit != DATA_UNIT_CHAR));
        data_corpus_free(&c);
        cr_expect(c.vocab == NULL && c.ids == NULL && c.train.count == 0);
    }
}

Test(corpus, line_ends_byte_order_marks_and_nul_bytes_are_read_as_text_has_them) {
    static const char bytes[] = "\xEF\xBB\xBF"
                                "a\r\nb\rc\0d\n";
    const DataCorpusOptions options = {.train = scratch_file("text.txt", bytes, sizeof bytes - 1)};
    DataCorpus c = corpus_of(&options);
    static const char expected[] = "a\nb\nc\0d\n";
    cr_assert(c.train.count == sizeof expected - 1);
    for (int64_t i = 0; i < c.train.count; i++) {
        int64_t n;
        const char *token = data_vocab_token(c.vocab, c.ids[i], &n);
        cr_expect(n == 1 && token[0] == expected[i]);
    }
    data_corpus_free(&c);
}

Test(corpus, shares_are_cut_from_the_end_and_rounded_down) {
    static const struct {
        double valid, test;
        int64_t counts[3];
    } cases[] = {
        {0.2, 0, {9, 2, 0}},       {0, 0.2, {9, 0, 2}},   {0.25, 0.25, {7, 2, 2}},
        {0.4999, 0.3, {3, 5, 3}}, {0, 0, {11, 0, 0}}, {0.19, 0.6, {3, 2, 6}},
    };
    const char *path = file("text.txt", "abcdefghijk");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t *n = cases[i].counts;
        DataCorpus c = corpus_of(&(DataCorpusOptions){
            .train = path, .valid_share = cases[i].valid, .test_share = cases[i].test});
        expect_part(&c.train, 0, n[0], n[0]);
        expect_part(&c.valid, n[0], n[1], n[1]);
        expect_part(&c.test, n[0] + n[1], n[2], n[2]);
        cr_expect(data_vocab_size(c.vocab) == 12);
        data_corpus_free(&c);
    }
}

Test(corpus, the_characters_of_shares_add_up) {
    for (int unit = DATA_UNIT_CHAR; unit <= DATA_UNIT_RAW_WORD; unit++) {
        DataCorpusOptions options = {.train = file("text.txt", "one, two\nthree  four\n five\n"),
                                     .tokens = {.unit = unit}};
        DataCorpus whole = corpus_of(&options);
        options.valid_share = 0.35;
        options.test_share = 0.3;
        DataCorpus c = corpus_of(&options);
        cr_expect(c.train.chars + c.valid.chars + c.test.chars == whole.train.chars);
        cr_expect(memcmp(c.ids, whole.ids, (size_t)whole.train.count * sizeof *c.ids) == 0);
        data_corpus_free(&whole);
        data_corpus_free(&c);
    }
    DataCorpus c = corpus_of(&(DataCorpusOptions){.train = file("text.txt", "one two three\n"),
                                                  .tokens = TOKENS(WORD, NONE),
                                                  .valid_share = 0.5});
    expect_part(&c.train, 0, 2, 7);  /* "one two" */
    expect_part(&c.valid, 2, 2, 7);  /* " three\n" */
    data_corpus_free(&c);
}

Test(corpus, max_chars_takes_the_first_tokens_and_the_vocabulary_of_all) {
    static const struct {
        int unit;
        int64_t max, count, chars;
    } cases[] = {
        {DATA_UNIT_CHAR, 6, 6, 6},   {DATA_UNIT_CHAR, 13, 13, 13}, {DATA_UNIT_CHAR, 99, 13, 13},
        {DATA_UNIT_WORD, 7, 2, 7},   {DATA_UNIT_WORD, 8, 3, 8},    {DATA_UNIT_WORD, 11, 3, 8},
        {DATA_UNIT_WORD, 13, 5, 13}, {DATA_UNIT_WORD, 12345, 5, 13},
    };
    const char *path = file("text.txt", "one two\nfour\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DataCorpusOptions options = {
            .train = path, .tokens = {.unit = cases[i].unit}, .max_chars = cases[i].max};
        DataCorpus c = corpus_of(&options);
        expect_part(&c.train, 0, cases[i].count, cases[i].chars);
        cr_expect(data_vocab_size(c.vocab) == (cases[i].unit == DATA_UNIT_CHAR ? 11 : 5));
        data_corpus_free(&c);
    }
    /* Shares are those of what was taken; files begin behind it. */
    DataCorpus c = corpus_of(&(DataCorpusOptions){.train = path, .max_chars = 8,
                                                  .valid_share = 0.25, .test = path});
    expect_part(&c.train, 0, 6, 6);
    expect_part(&c.valid, 6, 2, 2);
    expect_part(&c.test, 8, 13, 13);
    expect_tokens(&c, &c.test, "o|n|e| |t|w|o|\n|f|o|u|r|\n");
    data_corpus_free(&c);
}

Test(corpus, what_the_vocabulary_leaves_out_is_unknown) {
    DataCorpus c = corpus_of(&(DataCorpusOptions){.train = file("train.txt", "a b a\na c b\n"),
                                                  .valid = file("valid.txt", "c b new word\n"),
                                                  .test = file("test.txt", "<unk> a"),
                                                  .tokens = TOKENS(WORD, NONE),
                                                  .min_count = 2});
    expect_tokens(&c, &c.train, "a|b|a|<eos>|a|<unk>|b|<eos>");
    expect_tokens(&c, &c.valid, "<unk>|b|<unk>|<unk>|<eos>");
    expect_tokens(&c, &c.test, "<unk>|a|<eos>");
    expect_part(&c.train, 0, 8, 12);
    expect_part(&c.valid, 8, 5, 13); /* as it was written */
    expect_part(&c.test, 13, 3, 8);
    cr_expect(data_vocab_size(c.vocab) == 4 && data_vocab_count(c.vocab, 0) == 1);
    data_corpus_free(&c);

    c = corpus_of(&(DataCorpusOptions){.train = file("train.txt", "aabbbc"),
                                       .valid = file("valid.txt", "abc"), .max_vocab = 2});
    expect_tokens(&c, &c.train, "<unk>|<unk>|b|b|b|<unk>");
    expect_tokens(&c, &c.valid, "<unk>|b|<unk>");
    data_corpus_free(&c);
}

/* ---- folders ---- */

static const char *folder_of_texts(void) {
    file("texts/b.txt", "B\n");
    file("texts/a/z.txt", "Z");
    file("texts/a.txt", "A");
    file("texts/a/deep/er/y.txt", "Y\n");
    file("texts/empty.txt", "");
    file("texts/notes.md", "no");
    file("texts/.hidden.txt", "no");
    file("texts/.git/x.txt", "no");
    file("elsewhere/w.txt", "W");
    cr_assert(symlink(scratch_path("elsewhere"), scratch_path("texts/linked")) == 0);
    cr_assert(symlink("../a.txt", scratch_path("texts/a/again.txt")) == 0);
    cr_assert(symlink("..", scratch_path("texts/a/loop")) == 0);
    cr_assert(symlink("nowhere", scratch_path("texts/dangling")) == 0);
    return scratch_path("texts");
}

Test(corpus, the_texts_of_a_folder_are_joined_in_the_order_of_their_paths) {
    DataCorpusOptions options = {.train = folder_of_texts(), .valid = scratch_path("texts/a")};
    for (int slash = 0; slash < 2; slash++) {
        char path[4500];
        snprintf(path, sizeof path, "%s/", options.train);
        if (slash) options.train = path;
        DataCorpus c = corpus_of(&options);
        /* "a.txt" stands before "a/...": the dot's byte is the smaller. */
        expect_tokens(&c, &c.train, "A|\n|A|\n|Y|\n|Z|\n|B|\n|W");
        data_corpus_free(&c);
    }
}

static void expect_refused(const DataCorpusOptions *options, const char *path,
                           const char *reason) {
    DataCorpus c;
    TensorError error = {""};
    char expected[5000];
    snprintf(expected, sizeof expected, "%s%s%s", path ? path : "", path ? ": " : "", reason);
    cr_expect(!data_corpus_read(&c, options, &error), "no error: %s", expected);
    cr_expect_str_eq(error.message, expected);
    cr_expect(c.vocab == NULL && c.ids == NULL && c.train.count == 0 && c.digest == 0);
    cr_expect(!data_corpus_read(&c, options, NULL));
}

Test(corpus, folders_that_give_no_text_are_refused) {
    file("bare/notes.md", "no");
    file("bare/sub/.x.txt", "no");
    expect_refused(&(DataCorpusOptions){.train = scratch_path("bare")}, scratch_path("bare"),
                   "is a folder without texts (files *.txt)");
    file("bad/a.txt", "fine");
    const char *invalid = file("bad/b.txt", "not \xFF");
    expect_refused(&(DataCorpusOptions){.train = scratch_path("bad")}, invalid,
                   "byte 4: not UTF-8: byte that UTF-8 never uses (0xFF)");
    file("broken/a.txt", "fine");
    const char *links[][2] = {{"nowhere", "No such file or directory"},
                              {"link.txt", "Too many levels of symbolic links"}};
    const char *link = scratch_path("broken/link.txt");
    for (int i = 0; i < 2; i++) {
        unlink(link);
        cr_assert(symlink(links[i][0], link) == 0);
        expect_refused(&(DataCorpusOptions){.train = scratch_path("broken")}, link, links[i][1]);
    }
}

Test(corpus, what_cannot_be_read_is_refused) {
    const char *shut = file("shut.txt", "text");
    file("locked/sub/a.txt", "text");
    const char *sub = scratch_path("locked/sub");
    cr_assert(chmod(shut, 0) == 0 && chmod(sub, 0) == 0);
    give_up_override();
    expect_refused(&(DataCorpusOptions){.train = shut}, shut, "Permission denied");
    expect_refused(&(DataCorpusOptions){.train = scratch_path("locked")}, sub,
                   "Permission denied");
    cr_assert(chmod(sub, 0700) == 0);
}

/* ---- bad input ---- */

Test(corpus, texts_without_tokens_are_refused) {
    static const struct {
        const char *text, *reason;
        DataTokens tokens;
    } cases[] = {
        {"", "is empty", TOKENS(CHAR, NONE)},
        {"\xEF\xBB\xBF", "is empty", TOKENS(WORD, NONE)},
        {"1, 2\n", "has no letters", TOKENS(CHAR, LETTERS)},
        {"1, 2\n", "has no letters", TOKENS(WORD, LETTERS)},
        {" \n\n\t", "has no words", TOKENS(WORD, NONE)},
        {"\n", "has no words", TOKENS(RAW_WORD, LOWER)},
        {"a", "has 1 token to train or measure on; 2 are the least", TOKENS(CHAR, NONE)},
        {"ab\xC0", "byte 2: not UTF-8: overlong form (0xC0)", TOKENS(WORD, NONE)},
    };
    const char *good = file("good.txt", "some text");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *bad = file("bad.txt", cases[i].text);
        DataCorpusOptions options = {.train = bad, .tokens = cases[i].tokens};
        expect_refused(&options, bad, cases[i].reason);
        options.train = good;
        options.valid = bad;
        expect_refused(&options, bad, cases[i].reason);
        options.valid = NULL;
        options.test = bad;
        expect_refused(&options, bad, cases[i].reason);
    }
    expect_refused(&(DataCorpusOptions){.train = scratch_path("missing.txt")},
                   scratch_path("missing.txt"), "No such file or directory");
}

Test(corpus, bytes_that_are_not_utf8_are_replaced_on_request) {
    DataCorpus c = corpus_of(&(DataCorpusOptions){.train = file("bad.txt", "a\xFF\xE4\xB8z"),
                                                  .replace_invalid = true});
    expect_tokens(&c, &c.train, "a|\uFFFD|\uFFFD|z");
    data_corpus_free(&c);
}

Test(corpus, options_that_do_not_fit_are_refused) {
    const char *path = file("text.txt", "twelve chars");
    const struct {
        DataCorpusOptions options;
        bool named;
        const char *reason;
    } cases[] = {
        {{0}, false, "there is no text to train on"},
        {{.valid_share = 1}, false, "the validation share 1 is not in [0, 1)"},
        {{.valid_share = -0.1}, false, "the validation share -0.1 is not in [0, 1)"},
        {{.test_share = NAN}, false, "the test share nan is not in [0, 1)"},
        {{.test_share = INFINITY}, false, "the test share inf is not in [0, 1)"},
        {{.valid_share = 0.5, .test_share = 0.5}, false,
         "the shares 0.5 and 0.5 leave nothing to train on"},
        {{.valid = path, .valid_share = 0.1}, true,
         "is the validation text, so that a share of 0.1 is too much"},
        {{.test = path, .test_share = 0.1}, true,
         "is the test text, so that a share of 0.1 is too much"},
        {{.valid_share = 0.16}, true, "is too short to hold out a share of 0.16"},
        {{.test_share = 0.01}, true, "is too short to hold out a share of 0.01"},
        {{.valid_share = 0.5, .test_share = 0.49}, true,
         "has 1 token to train or measure on; 2 are the least"},
        {{.max_chars = 1}, true, "has 1 token to train or measure on; 2 are the least"},
        {{.max_chars = 3, .tokens = TOKENS(WORD, NONE)}, true,
         "has 0 tokens to train or measure on; 2 are the least"},
        {{.max_chars = -1}, false, "max_chars -1 is negative"},
        {{.tokens = {.unit = 3}}, false, "unknown unit 3"},
        {{.tokens = {.unit = -1}}, false, "unknown unit -1"},
        {{.tokens = {.clean = 3}}, false, "unknown clean 3"},
        {{.min_count = -1}, true, "vocabulary: the minimum count -1 is negative"},
        {{.max_vocab = 1, .tokens = TOKENS(WORD, NONE)}, true,
         "vocabulary: a maximum size of 1 has no place for <unk> and <eos>"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DataCorpusOptions options = cases[i].options;
        if (i > 0) options.train = path;
        expect_refused(&options, cases[i].named ? path : NULL, cases[i].reason);
    }
}

Test(corpus, very_long_lines_and_words_are_read) {
    enum { SIZE = 3000000 };
    char *text = malloc(SIZE + 1);
    cr_assert(text != NULL);
    for (int i = 0; i < SIZE; i++)
        text[i] = i >= SIZE / 2 && i % 2 ? ' ' : 'w';
    text[SIZE] = '\0';
    for (int unit = DATA_UNIT_CHAR; unit <= DATA_UNIT_RAW_WORD; unit++) {
        DataCorpus c = corpus_of_text(text, (DataTokens){.unit = unit});
        cr_expect(c.train.count == (unit == DATA_UNIT_CHAR ? SIZE : SIZE / 4 + 1));
        data_corpus_free(&c);
    }
    free(text);
}

Test(corpus, memory_that_runs_out_anywhere_is_reported) {
    const char *train = file("texts/a.txt", "One, two.\nThree"), *folder = scratch_path("texts");
    const DataCorpusOptions options = {.train = folder,
                                       .valid = train,
                                       .test = train,
                                       .tokens = TOKENS(RAW_WORD, LETTERS)};
    bool made = false;
    for (long n = 1; !made; n++) {
        DataCorpus c;
        TensorError error = {""};
        fail_allocation(n);
        made = data_corpus_read(&c, &options, &error);
        fail_allocation(0);
        cr_expect(made || strstr(error.message, "out of memory") ||
                      strstr(error.message, "Cannot allocate memory"),
                  "allocation %ld: %s", n, error.message);
        cr_expect(made || strncmp(error.message, folder, strlen(folder)) == 0, "%s",
                  error.message);
        cr_expect(made == (c.ids != NULL) && made == (c.vocab != NULL));
        cr_expect(!made || n > 20);
        data_corpus_free(&c);
    }
}

/* ---- telling corpora apart ---- */

static uint64_t digest(const DataCorpusOptions *options) {
    DataCorpus c = corpus_of(options);
    uint64_t result = c.digest;
    data_corpus_free(&c);
    return result;
}

Test(corpus, equal_corpora_and_no_others_have_one_digest) {
    const DataCorpusOptions base = {.train = file("a.txt", "one two\none three\n"),
                                    .tokens = TOKENS(WORD, NONE)};
    DataCorpusOptions o = base;
    o.train = file("copy.txt", "one  two\r\none three\r\n");
    cr_expect(digest(&base) == digest(&base) && digest(&base) == digest(&o));
    DataCorpusOptions others[6] = {base, base, base, base, base, base};
    others[0].valid_share = 0.4;
    others[1].test_share = 0.4;
    others[2].min_count = 2;
    others[3].tokens.unit = DATA_UNIT_CHAR;
    others[4].train = file("b.txt", "one two\none thref\n"); /* equal ids, another word */
    others[5].valid = base.train;
    uint64_t seen[7] = {digest(&base)};
    for (int i = 0; i < 6; i++) {
        seen[i + 1] = digest(&others[i]);
        for (int k = 0; k <= i; k++)
            cr_expect(seen[k] != seen[i + 1], "%d and %d", k, i + 1);
    }
}

/* ---- tokens and texts ---- */

Test(corpus, names_stand_in_the_order_of_the_enums) {
    cr_expect_str_eq(data_unit_names[DATA_UNIT_CHAR], "char");
    cr_expect_str_eq(data_unit_names[DATA_UNIT_WORD], "word");
    cr_expect_str_eq(data_unit_names[DATA_UNIT_RAW_WORD], "raw-word");
    cr_expect(data_unit_names[DATA_UNIT_RAW_WORD + 1] == NULL);
    cr_expect_str_eq(data_clean_names[DATA_CLEAN_NONE], "none");
    cr_expect_str_eq(data_clean_names[DATA_CLEAN_LOWER], "lower");
    cr_expect_str_eq(data_clean_names[DATA_CLEAN_LETTERS], "letters");
    cr_expect(data_clean_names[DATA_CLEAN_LETTERS + 1] == NULL);
}

/* A prefix that a user types and a text that a model writes go the ways of the corpus. */
Test(corpus, text_is_prepared_and_read_back_as_the_corpus_has_it) {
    static const struct {
        DataTokens tokens;
        const char *text, *prepared, *back;
    } cases[] = {
        {TOKENS(CHAR, NONE), " Hi,  you\n", " Hi,  you\n", " Hi,  you\n"},
        {TOKENS(CHAR, LETTERS), " Hi,\nyou\n", "hiyou", "hiyou"},
        {TOKENS(WORD, LOWER), "Hi , you\nA\n", "hi , you\na\n", "hi , you\na\n"},
        {TOKENS(RAW_WORD, NONE), "\"Hi,\" (you) \u6C34\u706B.",
         "\" Hi , \" ( you ) \u6C34 \u706B .",
         "\"Hi,\" (you) \u6C34\u706B.\n"},
        {TOKENS(RAW_WORD, LETTERS), "Hi, \nyou", "hi\nyou", "hi\nyou\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t length;
        TensorError error = {""};
        DataCorpus c = corpus_of_text(cases[i].text, cases[i].tokens);
        char *prepared = data_tokens_prepare(&cases[i].tokens, cases[i].text,
                                             (int64_t)strlen(cases[i].text), &length);
        cr_expect_str_eq(prepared, cases[i].prepared);
        cr_expect(length == (int64_t)strlen(prepared));
        char *back = data_tokens_text(&cases[i].tokens, c.vocab, c.ids, c.train.count, &length,
                                      &error);
        cr_expect_str_eq(back, cases[i].back);
        cr_expect(length == (int64_t)strlen(back));
        free(prepared);
        free(back);
        int64_t wrong = data_vocab_size(c.vocab);
        cr_expect(!data_tokens_text(&cases[i].tokens, c.vocab, &wrong, 1, &length, &error));
        cr_expect(length == 0 && strstr(error.message, "not in 0.."));
        data_corpus_free(&c);
    }
}

Test(corpus, memory_that_runs_out_in_preparing_and_reading_back_is_reported) {
    for (int unit = DATA_UNIT_CHAR; unit <= DATA_UNIT_RAW_WORD; unit++) {
        for (int clean = DATA_CLEAN_NONE; clean <= DATA_CLEAN_LETTERS; clean++) {
            const DataTokens tokens = {.unit = unit, .clean = clean};
            DataCorpus c = corpus_of_text("one, two", tokens);
            char *text = NULL;
            int64_t length = -1;
            for (long n = 1; !text; n++) {
                fail_allocation(n);
                text = data_tokens_prepare(&tokens, "one, two", 8, &length);
                fail_allocation(0);
                cr_expect(text || length == 0);
            }
            free(text);
            text = NULL;
            for (long n = 1; !text; n++) {
                TensorError error = {""};
                fail_allocation(n);
                text = data_tokens_text(&tokens, c.vocab, c.ids, c.train.count, &length, &error);
                fail_allocation(0);
                cr_expect(text || (length == 0 && strstr(error.message, "out of memory")));
            }
            free(text);
            data_corpus_free(&c);
        }
    }
}
