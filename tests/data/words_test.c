/* Raw text taken apart and put together again. */
#include "data/words.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "data/utf8.h"
#include "tests/data/support.h"
#include "tests/support/allocations.h"

typedef char *Rewrite(const char *text, int64_t n, int64_t *length);

static void expect_rewritten(Rewrite *rewrite, const char *text, const char *expected) {
    int64_t length;
    char *out = rewrite(text, (int64_t)strlen(text), &length);
    cr_assert(out != NULL);
    cr_expect_str_eq(out, expected, "%s becomes %s, not %s", text, out, expected);
    cr_expect(length == (int64_t)strlen(expected));
    free(out);
}

Test(words, text_is_split_as_the_rules_say) {
    static const char *const cases[][2] = {
        {"Don't stop -- it's 3.14!", "Don't stop -- it's 3.14 !"},
        {"", ""},
        {"word", "word"},
        /* Marks inside words hold, one at a time; at their ends they do not. */
        {"don\u2019t well-known snake_case x-\u00E9", "don\u2019t well-known snake_case x-\u00E9"},
        {"'tis dogs' rock-'n'-roll -a- _b_", "' tis dogs ' rock - ' n ' - roll - a - _ b _"},
        {"U.S. e.g. No.5 5.a end.", "U.S . e.g . No . 5 5 . a end ."},
        {"paral\u00B7lel 2\u00B72", "paral\u00B7lel 2 \u00B7 2"},
        {"1,000,000.50 12:30 .5 5. a,b 1,,2", "1,000,000.50 12:30 . 5 5 . a , b 1 ,, 2"},
        {"\u0661\u066B\u0665", "\u0661\u066B\u0665"},
        {"$5 50% -3 m\u00B2 3rd x/y", "$ 5 50 % - 3 m\u00B2 3rd x / y"},
        /* Runs are of one mark. */
        {"wait... what?!! ((a)) == ->", "wait ... what ? !! (( a )) == - >"},
        {"\u2014\u2014 \u2026\u2026", "\u2014\u2014 \u2026\u2026"},
        {"<unk> <eos>", "< unk > < eos >"},
        /* Combining marks and joiners stay with their letters. */
        {"e\u0301te\u0301 n\u0303", "e\u0301te\u0301 n\u0303"},
        {"\u0928\u092E\u0938\u094D\u0924\u0947", "\u0928\u092E\u0938\u094D\u0924\u0947"},
        {"\u0645\u06CC\u200C\u0634\u0648 co\u00ADop", "\u0645\u06CC\u200C\u0634\u0648 co\u00ADop"},
        {"a \u0301b", "a \u0301 b"},
        /* Ideographs and kana stand alone, with their marks; Hangul makes words. */
        {"\u65E5\u672C\u8A9E2024\u5E74", "\u65E5 \u672C \u8A9E 2024 \u5E74"},
        {"\u304B\u3099\u30AB\u30FC\uFF76", "\u304B\u3099 \u30AB \u30FC \uFF76"},
        {"\U00020000\u3005\u3007\uE02D", "\U00020000 \u3005 \u3007 \uE02D"},
        {"\u4F60\u597D\uFF0C\u201C\u597D\u201D\u3002",
         "\u4F60 \u597D \uFF0C \u201C \u597D \u201D \u3002"},
        {"\u845B\U000E0100\u57CE", "\u845B\U000E0100 \u57CE"},
        {"\uD55C\uAD6D\uC5B4 \uAC00", "\uD55C\uAD6D\uC5B4 \uAC00"},
        /* Anything else is one cluster: emoji, flags, control characters. */
        {"\U0001F600\U0001F600\U0001F44D\U0001F3FD",
         "\U0001F600 \U0001F600 \U0001F44D\U0001F3FD"},
        {"\U0001F468\u200D\U0001F469\u200D\U0001F467!",
         "\U0001F468\u200D\U0001F469\u200D\U0001F467 !"},
        {"\U0001F1EB\U0001F1F7\U0001F1E9\U0001F1EA", "\U0001F1EB\U0001F1F7 \U0001F1E9\U0001F1EA"},
        {"\x01\x7F \u0600 \u06005", "\x01 \x7F \u0600 \u06005"},
        /* White space of all kinds; lines stay. */
        {"  a \t\u3000b\u00A0\u2028c\r\n\n \n d", "a b c\n\n\nd"},
        {"\n\n", "\n\n"},
        /* Bytes that are not well-formed. */
        {"a\xFF\xE4\xB8z\xC0\xAF", "a \xFF \xE4\xB8 z \xC0 \xAF"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_rewritten(data_words_split, cases[i][0], cases[i][1]);
}

Test(words, nul_is_a_character) {
    int64_t length;
    char *out = data_words_split("a\0\0b\n", 5, &length);
    cr_expect(length == 8 && memcmp(out, "a \0 \0 b\n", 9) == 0);
    char *back = data_words_join(out, length, &length);
    cr_expect(length == 8 && memcmp(back, out, 9) == 0);
    free(out);
    free(back);
    for (int i = 0; i < 2; i++) {
        out = (i ? data_words_join : data_words_split)(NULL, 0, &length);
        cr_expect(out && length == 0 && out[0] == '\0');
        free(out);
    }
}

Test(words, what_is_joined_reads_as_it_did) {
    static const char *const texts[] = {
        "\"Don't,\" he said, \"stop!\" (it's 3.14; or 5%...)",
        "'And \"so\" on', [1] {2} $5 #tag and/or x: y?",
        "\u201CHi\u201D \u00ABoui\u00BB \u00BFQu\u00E9? \u00A1No! "
        "it\u2019s dogs\u2019 (_so_) \u2014 so\u2026",
        "R&D a & b",
        "\u7B2C43\u7AE0\uFF1A\u201C\u4F60\u597D\u201D\u3002"
        "\u300A\u77F3\u5934\u8BB0\u300B\u2026\u2026",
        "I know it. \u6211\u77E5\u9053\u3002",
        "\uFF08a\uFF09\uFF0Cb",
        "\U0001F600 \U0001F600 ok",
        "\"a line that opens,\nand one that closes\"\n\"a new one,\"\n\n\"and",
        "\"unpaired\n\"opens at the start of a line, and ends\"",
        "\n\na\n\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int64_t length;
        char *split = data_words_split(texts[i], (int64_t)strlen(texts[i]), &length);
        cr_assert(split != NULL);
        const char *expected = strcmp(texts[i], "R&D a & b") == 0 ? "R & D a & b" : texts[i];
        expect_rewritten(data_words_join, split, expected);
        free(split);
    }
    expect_rewritten(data_words_join, "<unk> , <unk> \u6C34 <unk>", "<unk>, <unk> \u6C34 <unk>");
}

/* The characters that are no white space. */
static int64_t squeeze(const char *text, int64_t n, char *out) {
    int64_t total = 0;
    for (int64_t at = 0; at < n;) {
        uint32_t code;
        int length = data_utf8_decode(text + at, n - at, &code, NULL);
        if (code == '\n' || !data_utf8_is_space(code)) {
            memcpy(out + total, text + at, (size_t)length);
            total += length;
        }
        at += length;
    }
    return total;
}

Test(words, nothing_but_space_changes_and_what_is_split_stays) {
    enum { CODES = 60, SIZE = 4 * CODES };
    static const char common[] = "aB1 .,'-\"(\n_";
    uint64_t state = 7;
    for (int round = 0; round < 20000; round++) {
        char text[SIZE], kept[SIZE], other[2 * SIZE];
        int64_t n = random_text(&state, CODES / 2, text);
        for (int i = 0; i < CODES / 2; i++)
            text[n++] = common[random_below(&state, sizeof common - 1)];
        if (round % 4 == 0) text[random_below(&state, (uint64_t)n)] = (char)0xE4;
        int64_t split_n, again_n, joined_n, kept_n = squeeze(text, n, kept);
        char *split = data_words_split(text, n, &split_n);
        char *again = data_words_split(split, split_n, &again_n);
        char *joined = data_words_join(split, split_n, &joined_n);
        cr_assert(split && again && joined && split_n <= 2 * n);
        cr_assert(again_n == split_n && memcmp(again, split, (size_t)split_n + 1) == 0);
        cr_assert(squeeze(split, split_n, other) == kept_n &&
                  memcmp(other, kept, (size_t)kept_n) == 0);
        cr_assert(squeeze(joined, joined_n, other) == kept_n &&
                  memcmp(other, kept, (size_t)kept_n) == 0);
        free(split);
        free(again);
        free(joined);
    }
}

Test(words, memory_that_runs_out_is_reported) {
    Rewrite *const rewrites[] = {data_words_split, data_words_join};
    for (int i = 0; i < 2; i++) {
        int64_t length = -1;
        fail_allocation(1);
        cr_expect(rewrites[i]("a b", 3, &length) == NULL && length == 0);
    }
}
