#include "data/vocab.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tensor/file.h"
#include "tests/data/support.h"

static DataVocab *build(const char *text, DataVocabOptions options) {
    TensorError error = {""};
    DataVocab *v = data_vocab_new(text, (int64_t)strlen(text), &options, &error);
    cr_assert(v != NULL, "%s", error.message);
    return v;
}

/* Whether the vocabulary is these tokens with these counts, in this order. */
static void check_tokens(const DataVocab *v, const char *const *tokens, const int64_t *counts,
                         int64_t size) {
    cr_assert(data_vocab_size(v) == size, "%lld tokens", (long long)data_vocab_size(v));
    for (int64_t id = 0; id < size; id++) {
        int64_t n;
        cr_assert_str_eq(data_vocab_token(v, id, &n), tokens[id]);
        cr_assert(n == (int64_t)strlen(tokens[id]));
        cr_assert(data_vocab_count(v, id) == counts[id], "%s", tokens[id]);
        cr_assert(data_vocab_id(v, tokens[id], n) == id, "%s", tokens[id]);
    }
}

static void check_ids(const DataVocab *v, const char *text, const int64_t *expected, int64_t n) {
    int64_t *ids, count;
    TensorError error = {""};
    cr_assert(data_vocab_encode(v, text, (int64_t)strlen(text), &ids, &count, &error), "%s",
              error.message);
    cr_assert(count == n, "%lld ids", (long long)count);
    for (int64_t i = 0; i < n; i++)
        cr_assert(ids[i] == expected[i], "ids[%lld] = %lld", (long long)i, (long long)ids[i]);
    free(ids);
}

static void check_decoded(const DataVocab *v, const int64_t *ids, int64_t n, const char *expected) {
    int64_t length;
    TensorError error = {""};
    char *text = data_vocab_decode(v, ids, n, &length, &error);
    cr_assert(text != NULL, "%s", error.message);
    cr_assert_str_eq(text, expected);
    cr_assert(length == (int64_t)strlen(expected));
    free(text);
}

/* ---- building ---- */

Test(vocab, characters_stand_by_falling_count_and_rising_code_point) {
    DataVocab *v = build("b\u00E9a\u00E9\U0001F600ab\u00E9c", (DataVocabOptions){0});
    check_tokens(v, (const char *[]){"<unk>", "\u00E9", "a", "b", "c", "\U0001F600"},
                 (int64_t[]){0, 3, 2, 2, 1, 1}, 6);
    cr_assert(data_vocab_kind(v) == DATA_VOCAB_CHAR);
    cr_assert(data_vocab_unk(v) == 0 && data_vocab_eos(v) == -1);
    data_vocab_free(v);
}

Test(vocab, words_are_cut_at_unicode_white_space) {
    DataVocab *v = build(" to\tbe\u3000or\r\nnot\u00A0to\u2028be\xC2\x85 ",
                         (DataVocabOptions){.kind = DATA_VOCAB_WORD});
    check_tokens(v, (const char *[]){"<unk>", "be", "to", "not", "or"}, (int64_t[]){0, 2, 2, 1, 1},
                 5);
    cr_assert(data_vocab_kind(v) == DATA_VOCAB_WORD && data_vocab_eos(v) == -1);
    data_vocab_free(v);
}

Test(vocab, a_word_that_begins_another_stands_before_it) {
    DataVocab *v = build("abc ab abcd a", (DataVocabOptions){.kind = DATA_VOCAB_WORD});
    check_tokens(v, (const char *[]){"<unk>", "a", "ab", "abc", "abcd"}, (int64_t[]){0, 1, 1, 1, 1},
                 5);
    data_vocab_free(v);
}

Test(vocab, every_line_ends_in_eos) {
    static const struct {
        const char *text;
        int64_t n, ids[8];
    } cases[] = {
        {"a a\n a \n", 5, {1, 1, 2, 1, 2}},
        {"a a\na", 5, {1, 1, 2, 1, 2}},
        {"\n\na", 4, {2, 2, 1, 2}},
        {"a\r\na\r\n", 4, {1, 2, 1, 2}},
        {"a\n ", 3, {1, 2, 2}},
        {"a\ra\u2028a\n", 4, {1, 1, 1, 2}},
        {"", 0, {0}},
        {" ", 1, {2}},
        {"b <eos> a\n", 4, {0, 2, 1, 2}},
    };
    DataVocab *v = build("a a a\na\n", (DataVocabOptions){.kind = DATA_VOCAB_WORD, .eos = true});
    check_tokens(v, (const char *[]){"<unk>", "a", "<eos>"}, (int64_t[]){0, 4, 2}, 3);
    cr_assert(data_vocab_eos(v) == 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_ids(v, cases[i].text, cases[i].ids, cases[i].n);
    data_vocab_free(v);
}

Test(vocab, tokens_left_out_are_counted_as_unk) {
    const char *text = "a a a b b b c c d <unk>\n";
    DataVocabOptions o = {.kind = DATA_VOCAB_WORD, .min_count = 2};
    DataVocab *v = build(text, o);
    check_tokens(v, (const char *[]){"<unk>", "a", "b", "c"}, (int64_t[]){2, 3, 3, 2}, 4);
    check_ids(v, "d <unk> c z", (int64_t[]){0, 0, 3, 0}, 4);
    data_vocab_free(v);

    o = (DataVocabOptions){.kind = DATA_VOCAB_WORD, .eos = true, .max_size = 4};
    v = build(text, o);
    check_tokens(v, (const char *[]){"<unk>", "a", "b", "<eos>"}, (int64_t[]){4, 3, 3, 1}, 4);
    cr_assert(data_vocab_eos(v) == 3);
    data_vocab_free(v);

    o.max_size = 3;
    v = build("b b\n\n\na", o);
    check_tokens(v, (const char *[]){"<unk>", "<eos>", "b"}, (int64_t[]){1, 4, 2}, 3);
    data_vocab_free(v);

    o.max_size = 2;
    o.min_count = 100;
    v = build(text, o);
    check_tokens(v, (const char *[]){"<unk>", "<eos>"}, (int64_t[]){10, 1}, 2);
    data_vocab_free(v);
}

Test(vocab, the_counts_add_up_to_the_number_of_tokens) {
    uint64_t state = 3;
    char text[4 * 300];
    for (int round = 0; round < 200; round++) {
        int64_t n = random_text(&state, 1 + (int64_t)random_below(&state, 300), text);
        DataVocabOptions o = {.kind = (DataVocabKind)(round % 2),
                              .eos = round % 4 == 3,
                              .min_count = (int64_t)random_below(&state, 4),
                              .max_size = (int64_t)random_below(&state, 3) * 3};
        DataVocab *v = data_vocab_new(text, n, &o, NULL);
        if (!v)
            continue; /* a text of white space */
        int64_t *ids, count, sum = 0;
        cr_assert(data_vocab_encode(v, text, n, &ids, &count, NULL));
        for (int64_t id = 0; id < data_vocab_size(v); id++) {
            int64_t seen = 0;
            for (int64_t i = 0; i < count; i++)
                seen += ids[i] == id;
            cr_assert(seen == data_vocab_count(v, id));
            cr_assert(id < 2 || id == data_vocab_eos(v) || id - 1 == data_vocab_eos(v) ||
                      data_vocab_count(v, id - 1) >= data_vocab_count(v, id));
            sum += seen;
        }
        cr_assert(sum == count && (o.max_size == 0 || data_vocab_size(v) <= o.max_size));
        free(ids);
        data_vocab_free(v);
    }
}

Test(vocab, without_unk_an_unknown_token_is_an_error_with_its_offset) {
    TensorError error = {""};
    int64_t *ids, count;
    DataVocab *v = build("abc<unk>", (DataVocabOptions){.no_unk = true});
    cr_assert(data_vocab_unk(v) == -1 && data_vocab_id(v, "z", 1) == -1);
    cr_assert(data_vocab_id(v, "<unk>", 5) == -1 && data_vocab_id(v, "b", 1) >= 0);
    cr_assert(!data_vocab_encode(v, "ab\u00E9", 4, &ids, &count, &error));
    cr_assert_str_eq(error.message,
                     "text: byte 2: U+00E9 is not in the vocabulary, which has no <unk>");
    cr_assert(ids == NULL && count == 0);
    data_vocab_free(v);

    v = build("a b <unk>", (DataVocabOptions){.kind = DATA_VOCAB_WORD, .no_unk = true});
    check_ids(v, "b <unk> a", (int64_t[]){2, 0, 1}, 3);
    cr_assert(!data_vocab_encode(v, "b  cd a", 7, &ids, &count, &error));
    cr_assert_str_eq(error.message,
                     "text: byte 3: \"cd\" is not in the vocabulary, which has no <unk>");
    data_vocab_free(v);
}

Test(vocab, bad_options_and_texts_are_refused_with_a_reason) {
    static const struct {
        const char *text;
        DataVocabOptions options;
        const char *reason;
    } cases[] = {
        {"", {0}, "the text has no token"},
        {" \n ", {.kind = DATA_VOCAB_WORD}, "the text has no token"},
        {"ab\xED\xA0\x80", {0}, "text: byte 2: not UTF-8: surrogate (0xED)"},
        {"a", {.kind = (DataVocabKind)7}, "unknown kind 7"},
        {"a", {.eos = true}, "characters have no <eos>"},
        {"a", {.min_count = -1}, "minimum count -1 is negative"},
        {"a", {.max_size = -2}, "maximum size -2 is negative"},
        {"a", {.kind = DATA_VOCAB_WORD, .eos = true, .max_size = 1}, "maximum size of 1"},
        {"aa", {.no_unk = true, .min_count = 3}, "no token stands 3 times"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TensorError error = {""};
        int64_t n = (int64_t)strlen(cases[i].text);
        cr_assert(data_vocab_new(cases[i].text, n, &cases[i].options, &error) == NULL, "%zu", i);
        cr_assert(strstr(error.message, cases[i].reason), "%s", error.message);
        cr_assert(data_vocab_new(cases[i].text, n, &cases[i].options, NULL) == NULL);
    }
    data_vocab_free(NULL);
}

Test(vocab, ids_outside_the_vocabulary_are_refused) {
    TensorError error = {""};
    DataVocab *v = build("ab", (DataVocabOptions){0});
    for (int64_t id = -2; id <= 4; id++) {
        int64_t n = 9;
        bool known = id >= 0 && id < 3;
        cr_assert((data_vocab_token(v, id, &n) != NULL) == known && (n > 0) == known && n != 9);
        cr_assert((data_vocab_count(v, id) >= 0) == known);
        char *text = data_vocab_decode(v, (int64_t[]){1, id}, 2, &n, &error);
        cr_assert((text != NULL) == known);
        free(text);
    }
    cr_assert_str_eq(error.message, "vocabulary: ids[1] is 4, not in 0..2");
    int64_t *ids, count;
    cr_assert(!data_vocab_encode(v, "a\xFF", 2, &ids, &count, &error) && ids == NULL);
    cr_assert_str_eq(error.message, "text: byte 1: not UTF-8: byte that UTF-8 never uses (0xFF)");
    data_vocab_free(v);
}

/* ---- round trips ---- */

Test(vocab, known_characters_come_back_from_their_ids) {
    uint64_t state = 4;
    char text[4 * 500];
    for (int round = 0; round < 300; round++) {
        int64_t n = random_text(&state, 1 + (int64_t)random_below(&state, 500), text);
        DataVocabOptions o = {.no_unk = round % 2};
        DataVocab *v = data_vocab_new(text, n, &o, NULL);
        int64_t *ids, count, length;
        cr_assert(v && data_vocab_encode(v, text, n, &ids, &count, NULL));
        char *back = data_vocab_decode(v, ids, count, &length, NULL);
        cr_assert(back && length == n && memcmp(back, text, (size_t)n) == 0);
        free(back);
        free(ids);
        data_vocab_free(v);
    }
}

Test(vocab, words_come_back_joined_by_one_space) {
    DataVocab *v = build("a b\nc\n\n", (DataVocabOptions){.kind = DATA_VOCAB_WORD, .eos = true});
    check_tokens(v, (const char *[]){"<unk>", "<eos>", "a", "b", "c"}, (int64_t[]){0, 3, 1, 1, 1},
                 5);
    check_decoded(v, (int64_t[]){2, 3, 1, 4, 1, 1}, 6, "a b\nc\n\n");
    check_decoded(v, (int64_t[]){1, 2, 0, 4}, 4, "\na <unk> c");
    check_decoded(v, NULL, 0, "");
    data_vocab_free(v);

    v = build("a\u3000b \n c <eos>", (DataVocabOptions){.kind = DATA_VOCAB_WORD});
    check_decoded(v, (int64_t[]){2, 3, 4, 1, 0}, 5, "a b c <eos> <unk>");
    data_vocab_free(v);

    v = build("ab", (DataVocabOptions){0});
    check_decoded(v, (int64_t[]){1, 0, 2}, 3, "a<unk>b");
    data_vocab_free(v);
}

Test(vocab, ids_of_words_come_back_from_their_text) {
    uint64_t state = 5;
    char text[4 * 300 + 1];
    for (int round = 0; round < 300; round++) {
        int64_t n = random_text(&state, (int64_t)random_below(&state, 300), text);
        text[n++] = '\n';
        DataVocabOptions o = {.kind = DATA_VOCAB_WORD, .eos = true, .min_count = round % 3};
        DataVocab *v = data_vocab_new(text, n, &o, NULL);
        int64_t *ids, *again, count, again_count, length;
        cr_assert(v && data_vocab_encode(v, text, n, &ids, &count, NULL));
        char *back = data_vocab_decode(v, ids, count, &length, NULL);
        cr_assert(back && data_vocab_encode(v, back, length, &again, &again_count, NULL));
        cr_assert(again_count == count && memcmp(again, ids, (size_t)count * sizeof *ids) == 0);
        free(back);
        free(ids);
        free(again);
        data_vocab_free(v);
    }
}

/* ---- files ---- */

static bool same_vocab(const DataVocab *a, const DataVocab *b) {
    bool same = data_vocab_size(a) == data_vocab_size(b) &&
                data_vocab_kind(a) == data_vocab_kind(b) &&
                data_vocab_unk(a) == data_vocab_unk(b) && data_vocab_eos(a) == data_vocab_eos(b);
    for (int64_t id = 0; same && id < data_vocab_size(a); id++) {
        int64_t n, m;
        const char *s = data_vocab_token(a, id, &n), *t = data_vocab_token(b, id, &m);
        same = n == m && memcmp(s, t, (size_t)n) == 0 && data_vocab_id(b, s, n) == id &&
               data_vocab_count(a, id) == data_vocab_count(b, id);
    }
    return same;
}

static bool same_files(const char *left, const char *right) {
    size_t n, m;
    char *a = tensor_file_read(left, 1 << 24, &n, NULL),
         *b = tensor_file_read(right, 1 << 24, &m, NULL);
    bool same = a && b && n == m && memcmp(a, b, n) == 0;
    free(a);
    free(b);
    return same;
}

static void check_saved(const char *text, int64_t n, DataVocabOptions options) {
    TensorError error = {""};
    const char *path = scratch_path("vocab.json"), *again = scratch_path("again.json");
    DataVocab *v = data_vocab_new(text, n, &options, &error);
    cr_assert(v != NULL, "%s", error.message);
    cr_assert(data_vocab_save(v, path, &error), "%s", error.message);
    DataVocab *loaded = data_vocab_load(path, &error);
    cr_assert(loaded != NULL, "%s", error.message);
    cr_assert(same_vocab(v, loaded));
    cr_assert(data_vocab_save(loaded, again, &error) && same_files(path, again));
    data_vocab_free(v);
    data_vocab_free(loaded);
}

Test(vocab, a_saved_vocabulary_loads_as_it_was) {
    static const char hard[] =
        "\0\n\r\t \"\\/'<unk><eos>\x01\x1F\x7F\u00E9\u2028\uFFFE\uFFFF\uFEFF\U0010FFFF";
    static const char line[] = "a\0b \"q\" \\u0000 <unk> <eos> \u7EA2\u697C\n";
    DataVocabOptions words = {.kind = DATA_VOCAB_WORD};
    check_saved(hard, sizeof hard - 1, (DataVocabOptions){0});
    check_saved(hard, sizeof hard - 1, (DataVocabOptions){.no_unk = true});
    check_saved("\0", 1, (DataVocabOptions){.no_unk = true});
    check_saved(line, sizeof line - 1, words);
    words.eos = true;
    check_saved(line, sizeof line - 1, words);
    words.no_unk = true;
    check_saved("one <unk>\ntwo", 13, words);
    uint64_t state = 6;
    char text[4 * 400];
    for (int round = 0; round < 40; round++) {
        int64_t n = random_text(&state, 400, text);
        check_saved(
            text, n,
            (DataVocabOptions){.kind = (DataVocabKind)(round % 2), .no_unk = round % 3 == 0});
    }
}

Test(vocab, the_literal_characters_of_unk_are_no_unknown_token) {
    DataVocab *v = build("<unk>", (DataVocabOptions){0});
    check_tokens(v, (const char *[]){"<unk>", "<", ">", "k", "n", "u"},
                 (int64_t[]){0, 1, 1, 1, 1, 1}, 6);
    check_ids(v, "<unk>", (int64_t[]){1, 5, 4, 3, 2}, 5);
    check_decoded(v, (int64_t[]){1, 5, 4, 3, 2}, 5, "<unk>");
    data_vocab_free(v);
}

Test(vocab, the_file_is_the_documented_one) {
    static const char file[] = "{\"format\": \"unroll-vocab\", \"version\": 1, \"kind\": \"word\", "
                               "\"unk\": 0, \"eos\": 2,\n"
                               " \"tokens\": [\n"
                               "  {\"token\": \"<unk>\", \"id\": 0, \"count\": 0},\n"
                               "  {\"token\": \"a\\\"\", \"id\": 1, \"count\": 2},\n"
                               "  {\"token\": \"<eos>\", \"id\": 2, \"count\": 1}]}\n";
    DataVocab *v = build("a\" a\"\n", (DataVocabOptions){.kind = DATA_VOCAB_WORD, .eos = true});
    cr_assert(data_vocab_save(v, scratch_path("vocab.json"), NULL));
    const char *expected = scratch_file("expected.json", file, sizeof file - 1);
    cr_assert(same_files(scratch_path("vocab.json"), expected));
    data_vocab_free(v);
}

Test(vocab, tokens_load_in_any_order_and_nul_as_an_escape) {
    static const char file[] =
        "{\"tokens\":[{\"id\":2,\"count\":0,\"token\":\"\\u0000\"},"
        "{\"id\":0,\"count\":5,\"token\":\"<unk>\"},{\"id\":1,\"count\":9,\"token\":"
        "\"\\ud83d\\ude00\"}],"
        "\"unk\":0,\"kind\":\"char\",\"version\":1,\"format\":\"unroll-vocab\"}";
    TensorError error = {""};
    DataVocab *v = data_vocab_load(scratch_file("v.json", file, sizeof file - 1), &error);
    cr_assert(v != NULL, "%s", error.message);
    cr_assert(data_vocab_size(v) == 3 && data_vocab_id(v, "\0", 1) == 2);
    cr_assert(data_vocab_id(v, "\U0001F600", 4) == 1 && data_vocab_count(v, 1) == 9);
    data_vocab_free(v);
}

#define HEAD "{\"format\":\"unroll-vocab\",\"version\":1,"
#define CHARS HEAD "\"kind\":\"char\",\"unk\":null,\"tokens\":["
#define WORDS HEAD "\"kind\":\"word\",\"unk\":null,\"tokens\":["
#define A "{\"token\":\"a\",\"id\":0,\"count\":1}"

Test(vocab, a_bad_file_is_refused_with_its_reason) {
    static const struct {
        const char *file, *reason;
    } cases[] = {
        {"", "byte 0: line 1, column 0: "},
        {"{", "line 1, column 1: "},
        {CHARS A "]} x", "line 1, column 106: "},
        {CHARS "{\"token\":\"\xFF\",\"id\":0,\"count\":1}]}", "byte"},
        {CHARS "{\"token\":\"\\ud800\",\"id\":0,\"count\":1}]}", "line 1"},
        {CHARS "{\"token\":\"a\",\"token\":\"b\",\"id\":0,\"count\":1}]}", "duplicate"},
        {CHARS "{\"token\":\"a\",\"id\":99999999999999999999,\"count\":1}]}", "too big"},
        {"[]", "\"format\" is not \"unroll-vocab\""},
        {"{\"format\":\"unroll\"}", "\"format\" is not"},
        {"{\"format\":\"unroll-vocab\\u0000\"}", "\"format\" is not"},
        {"{\"format\":1}", "\"format\" is not"},
        {"{\"format\":\"unroll-vocab\"}", "\"version\" is no integer"},
        {"{\"format\":\"unroll-vocab\",\"version\":1.0}", "\"version\" is no integer"},
        {"{\"format\":\"unroll-vocab\",\"version\":2}", "version 2; only 1 can be read"},
        {HEAD "\"kind\":\"char\",\"unk\":null}", "\"tokens\" is no array"},
        {HEAD "\"kind\":\"char\",\"unk\":null,\"tokens\":{}}", "\"tokens\" is no array"},
        {CHARS "]}", "\"tokens\" is empty"},
        {HEAD "\"kind\":\"byte\",\"unk\":null,\"tokens\":[" A "]}", "\"kind\" is neither"},
        {HEAD "\"kind\":0,\"unk\":null,\"tokens\":[" A "]}", "\"kind\" is neither"},
        {HEAD "\"unk\":null,\"tokens\":[" A "]}", "\"kind\" is neither"},
        {HEAD "\"kind\":\"char\",\"tokens\":[" A "]}", "\"unk\" is neither"},
        {HEAD "\"kind\":\"char\",\"unk\":1,\"tokens\":[" A "]}", "\"unk\" is neither"},
        {HEAD "\"kind\":\"char\",\"unk\":\"0\",\"tokens\":[" A "]}", "\"unk\" is neither"},
        {HEAD "\"kind\":\"char\",\"unk\":0,\"tokens\":[" A "]}", "\"unk\" is 0, which is not"},
        {HEAD "\"kind\":\"word\",\"unk\":0,\"tokens\":[" A "]}", "\"unk\" is 0, which is not"},
        {HEAD "\"kind\":\"word\",\"unk\":null,\"eos\":0,\"tokens\":[" A "]}",
         "\"eos\" is 0, which"},
        {HEAD "\"kind\":\"word\",\"unk\":null,\"eos\":5,\"tokens\":[" A "]}",
         "\"eos\" is 5, which"},
        {HEAD "\"kind\":\"word\",\"unk\":null,\"eos\":-1,\"tokens\":[" A "]}",
         "\"eos\" is neither"},
        {HEAD "\"kind\":\"char\",\"unk\":null,\"eos\":0,\"tokens\":[" A "]}", "vocabulary of char"},
        {HEAD "\"kind\":\"char\",\"unk\":null,\"bos\":0,\"tokens\":[" A "]}",
         "unknown key \"bos\""},
        {CHARS "7]}", "tokens[0]: no object"},
        {CHARS A ",{\"id\":1,\"count\":1}]}", "tokens[1]: \"token\" is no string"},
        {CHARS "{\"token\":97,\"id\":0,\"count\":1}]}", "\"token\" is no string"},
        {CHARS "{\"token\":\"a\",\"count\":1}]}", "tokens[0]: \"id\" is no integer"},
        {CHARS "{\"token\":\"a\",\"id\":0.0,\"count\":1}]}", "\"id\" is no integer"},
        {CHARS "{\"token\":\"a\",\"id\":0}]}", "\"count\" is no integer"},
        {CHARS "{\"token\":\"a\",\"id\":0,\"count\":true}]}", "\"count\" is no integer"},
        {CHARS "{\"token\":\"a\",\"id\":0,\"count\":-3}]}", "\"count\" -3 is negative"},
        {CHARS "{\"token\":\"a\",\"id\":1,\"count\":1}]}", "\"id\" 1 is not in 0..0"},
        {CHARS "{\"token\":\"a\",\"id\":-1,\"count\":1}]}", "\"id\" -1 is not in 0..0"},
        {CHARS A ",{\"token\":\"b\",\"id\":0,\"count\":1}]}", "tokens[1]: \"id\" 0 stands twice"},
        {CHARS A ",{\"token\":\"a\",\"id\":1,\"count\":1}]}", "ids 0 and 1 have the same"},
        {CHARS "{\"token\":\"a\",\"id\":0,\"count\":1,\"x\":2}]}", "tokens[0]: unknown key \"x\""},
        {CHARS "{\"token\":\"ab\",\"id\":0,\"count\":1}]}", "is not one code point"},
        {CHARS "{\"token\":\"\",\"id\":0,\"count\":1}]}", "is not one code point"},
        {CHARS "{\"token\":\"<unk>\",\"id\":0,\"count\":1}]}", "is not one code point"},
        {WORDS "{\"token\":\"\",\"id\":0,\"count\":1}]}", "id 0: \"token\" is empty"},
        {WORDS "{\"token\":\"a b\",\"id\":0,\"count\":1}]}", "has white space"},
        {WORDS "{\"token\":\"a\\u3000\",\"id\":0,\"count\":1}]}", "has white space"},
        {CHARS "{\"token\":\"a\",\"id\":0,\"count\":9223372036854775807},"
               "{\"token\":\"b\",\"id\":1,\"count\":1}]}",
         "the counts exceed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TensorError error = {""};
        const char *path = scratch_file("bad.json", cases[i].file, (int64_t)strlen(cases[i].file));
        cr_assert(data_vocab_load(path, &error) == NULL, "case %zu: %s", i, cases[i].file);
        cr_assert(strncmp(error.message, path, strlen(path)) == 0, "%s", error.message);
        cr_assert(strstr(error.message, cases[i].reason), "case %zu: %s", i, error.message);
        cr_assert(data_vocab_load(path, NULL) == NULL);
    }
    DataVocab *good =
        data_vocab_load(scratch_file("good.json", WORDS A "]}", strlen(WORDS A "]}")), NULL);
    cr_assert(good != NULL);
    data_vocab_free(good);
}

Test(vocab, a_cut_or_changed_file_never_loads_as_something_impossible) {
    static const char file[] = CHARS A ",{\"token\":\"\\u00e9\",\"id\":1,\"count\":20}]}";
    enum { N = sizeof file - 1 };
    uint64_t state = 7;
    for (int64_t n = 0; n < N; n++)
        cr_assert(data_vocab_load(scratch_file("cut.json", file, n), NULL) == NULL);
    for (int round = 0; round < 3000; round++) {
        char changed[N];
        memcpy(changed, file, N);
        for (int i = 0; i <= round % 3; i++)
            changed[random_below(&state, N)] = (char)random_below(&state, 256);
        DataVocab *v = data_vocab_load(scratch_file("changed.json", changed, N), NULL);
        for (int64_t id = 0; v && id < data_vocab_size(v); id++) {
            int64_t n;
            const char *token = data_vocab_token(v, id, &n);
            cr_assert(data_vocab_id(v, token, n) == id && data_vocab_count(v, id) >= 0);
        }
        data_vocab_free(v);
    }
}

Test(vocab, a_file_that_cannot_be_written_or_read_is_named) {
    TensorError error = {""};
    DataVocab *v = build("a", (DataVocabOptions){0});
    cr_assert(!data_vocab_save(v, "/nonexistent/v.json", &error));
    cr_assert(strstr(error.message, "/nonexistent"), "%s", error.message);
    data_vocab_free(v);
    cr_assert(data_vocab_load("/nonexistent/v.json", &error) == NULL);
    cr_assert(strstr(error.message, "/nonexistent/v.json: "), "%s", error.message);
}
