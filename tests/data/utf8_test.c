#include "data/utf8.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tests/data/support.h"

Test(utf8, every_code_point_goes_out_and_comes_back) {
    for (uint32_t code = 0; code <= 0x110010; code++) {
        char ours[DATA_UTF8_MAX], plain[4];
        int length = data_utf8_encode(code, ours);
        if ((code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF) {
            cr_assert(length == 0, "U+%X", code);
            continue;
        }
        cr_assert(length == plain_encode(code, plain) && memcmp(ours, plain, (size_t)length) == 0,
                  "U+%X", code);
        uint32_t back;
        DataUtf8Fault fault;
        cr_assert(data_utf8_decode(ours, length, &back, &fault) == length, "U+%X", code);
        cr_assert(back == code && fault == DATA_UTF8_OK, "U+%X", code);
    }
    cr_assert(data_utf8_encode(UINT32_MAX, (char[4]){0}) == 0);
}

/* For each string of 1 to 3 bytes that begins a well-formed sequence of more bytes: a bit. */
static uint8_t *prefixes;

static uint32_t prefix_index(const uint8_t *s, int n) {
    uint32_t index = 1;
    for (int i = 0; i < n; i++)
        index = index << 8 | s[i];
    return index;
}

static void collect_prefixes(void) {
    prefixes = calloc(1u << 22, 1); /* indices below 2 << 24, 8 a byte */
    cr_assert(prefixes != NULL);
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        char s[4];
        if (code >= 0xD800 && code <= 0xDFFF)
            continue;
        int length = plain_encode(code, s);
        for (int n = 1; n < length; n++) {
            uint32_t index = prefix_index((const uint8_t *)s, n);
            prefixes[index >> 3] = (uint8_t)(prefixes[index >> 3] | 1u << (index & 7));
        }
    }
}

static bool is_prefix(const uint8_t *s, int n) {
    uint32_t index = prefix_index(s, n);
    return prefixes[index >> 3] >> (index & 7) & 1;
}

/* Whether s[0..n) is one well-formed sequence: by its bits, encoded again. */
static bool is_sequence(const uint8_t *s, int n) {
    uint32_t code = n == 1 ? s[0] : s[0] & (0x7Fu >> n);
    for (int i = 1; i < n; i++)
        code = code << 6 | (s[i] & 0x3Fu);
    char again[4];
    return code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF) && plain_encode(code, again) == n &&
           memcmp(again, s, (size_t)n) == 0;
}

static void check_by_definition(const uint8_t *s, int n) {
    uint32_t code;
    DataUtf8Fault fault;
    int length = data_utf8_decode((const char *)s, n, &code, &fault);
    int sequence = 0, subpart = 1;
    for (int i = 1; i <= n; i++) {
        if (is_sequence(s, i))
            sequence = i;
        if (i < 4 && is_prefix(s, i))
            subpart = i;
    }
    cr_assert(length == (sequence ? sequence : subpart), "%02X %02X %02X %02X: %d", s[0], s[1],
              s[2], s[3], length);
    cr_assert((fault == DATA_UTF8_OK) == (sequence > 0), "%02X %02X %02X %02X", s[0], s[1], s[2],
              s[3]);
    cr_assert(sequence || code == DATA_UTF8_REPLACEMENT);
}

Test(utf8, sequences_and_maximal_subparts_are_those_of_the_definition) {
    static const uint8_t edge[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    collect_prefixes();
    for (unsigned first = 0; first < 0x100; first++)
        for (unsigned second = 0; second < 0x100; second++)
            for (size_t i = 0; i < sizeof edge; i++)
                for (size_t j = 0; j < sizeof edge; j++)
                    for (int n = first >= 0x80 ? 1 : 4; n <= 4; n++)
                        check_by_definition(
                            (uint8_t[]){(uint8_t)first, (uint8_t)second, edge[i], edge[j]}, n);
    free(prefixes);
}

Test(utf8, a_fault_has_its_offset_and_reason) {
    static const struct {
        const char *text;
        int64_t offset;
        DataUtf8Fault fault;
    } cases[] = {
        {"a\x80", 1, DATA_UTF8_CONTINUATION},
        {"\xBF", 0, DATA_UTF8_CONTINUATION},
        {"\xC3\xA9\xC0\xAF", 2, DATA_UTF8_OVERLONG},
        {"\xC1\xBF", 0, DATA_UTF8_OVERLONG},
        {"\xE0\x9F\xBF", 0, DATA_UTF8_OVERLONG},
        {"\xF0\x8F\xBF\xBF", 0, DATA_UTF8_OVERLONG},
        {"ab\xED\xA0\x80", 2, DATA_UTF8_SURROGATE},
        {"\xED\xBF\xBF", 0, DATA_UTF8_SURROGATE},
        {"\xF4\x90\x80\x80", 0, DATA_UTF8_TOO_LARGE},
        {"\xF5\x80\x80\x80", 0, DATA_UTF8_TOO_LARGE},
        {"\xF8\x88\x80\x80\x80", 0, DATA_UTF8_NEVER_USED},
        {"x\xFE", 1, DATA_UTF8_NEVER_USED},
        {"\xFF", 0, DATA_UTF8_NEVER_USED},
        {"\xC3", 0, DATA_UTF8_TRUNCATED},
        {"\xC3(", 0, DATA_UTF8_TRUNCATED},
        {"\xE2\x82", 0, DATA_UTF8_TRUNCATED},
        {"\xE2(\xA1", 0, DATA_UTF8_TRUNCATED},
        {"\xF0\x9F\x98", 0, DATA_UTF8_TRUNCATED},
        {"ok\xF0\x9F\x98\xC3\xA9", 2, DATA_UTF8_TRUNCATED},
        {"\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF\xF4\x8F\xBF\xBF", -1, DATA_UTF8_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DataUtf8Fault fault;
        int64_t n = (int64_t)strlen(cases[i].text);
        cr_assert(data_utf8_invalid(cases[i].text, n, &fault) == cases[i].offset, "case %zu", i);
        cr_assert(fault == cases[i].fault, "case %zu: %s", i, data_utf8_fault_name(fault));
        cr_assert(data_utf8_invalid(cases[i].text, n, NULL) == cases[i].offset);
    }
}

Test(utf8, every_fault_has_a_name_of_its_own) {
    for (int i = DATA_UTF8_OK; i <= DATA_UTF8_TRUNCATED; i++) {
        cr_assert(strlen(data_utf8_fault_name((DataUtf8Fault)i)) > 0);
        for (int j = DATA_UTF8_OK; j < i; j++)
            cr_assert_str_neq(data_utf8_fault_name((DataUtf8Fault)i),
                              data_utf8_fault_name((DataUtf8Fault)j));
    }
}

Test(utf8, a_text_of_no_bytes_is_valid) {
    uint32_t code = 7;
    DataUtf8Fault fault = DATA_UTF8_SURROGATE;
    int64_t length = 7, replaced = 7;
    cr_assert(data_utf8_decode(NULL, 0, &code, &fault) == 0 && code == 0 && fault == DATA_UTF8_OK);
    cr_assert(data_utf8_invalid(NULL, 0, &fault) == -1);
    cr_assert(data_utf8_count(NULL, 0) == 0);
    char *texts[] = {data_utf8_replace(NULL, 0, &length, &replaced),
                     data_utf8_lower(NULL, 0, &length), data_utf8_letters(NULL, 0, &length)};
    cr_assert(length == 0 && replaced == 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_str_eq(texts[i], "");
        free(texts[i]);
    }
}

/* The bytes of a replaced text as they must be. */
static void check_replaced(const char *text, int64_t n, const char *expected, int64_t faults) {
    int64_t length, replaced;
    char *out = data_utf8_replace(text, n, &length, &replaced);
    cr_assert(length == (int64_t)strlen(expected) && memcmp(out, expected, (size_t)length) == 0,
              "%s is not %s", out, expected);
    cr_assert(out[length] == '\0' && replaced == faults);
    free(out);
}

Test(utf8, each_maximal_subpart_becomes_one_replacement) {
#define R "\xEF\xBF\xBD"
    check_replaced("\xE4\xB8"
                   "A",
                   3, R "A", 1);
    check_replaced("\xC0\xAF", 2, R R, 2);
    check_replaced("\xED\xA0\x80", 3, R R R, 3);
    check_replaced("\xF4\x90\x80\x80", 4, R R R R, 4);
    check_replaced("\xF0\x9F\x98", 3, R, 1);
    check_replaced("\xF0\x9F\x98\xF0\x9F\x98\x80", 7, R "\xF0\x9F\x98\x80", 1);
    /* The example of table 3-11 of the Unicode Standard. */
    check_replaced("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                   "A",
                   9, R R R R "A", 4);
    check_replaced(R, 3, R, 0);
#undef R
}

Test(utf8, replacement_makes_random_bytes_valid_and_keeps_valid_ones) {
    uint64_t state = 1;
    for (int round = 0; round < 2000; round++) {
        char bytes[64];
        int64_t n = (int64_t)random_below(&state, sizeof bytes + 1);
        for (int64_t i = 0; i < n; i++)
            bytes[i] = (char)(random_below(&state, 2) ? 0x80 + random_below(&state, 0x80)
                                                      : random_below(&state, 0x100));
        int64_t length, replaced, again_length, again_replaced;
        char *once = data_utf8_replace(bytes, n, &length, &replaced);
        cr_assert(data_utf8_invalid(once, length, NULL) == -1);
        cr_assert((replaced == 0) == (data_utf8_invalid(bytes, n, NULL) == -1));
        cr_assert(data_utf8_count(once, length) == data_utf8_count(bytes, n));
        char *twice = data_utf8_replace(once, length, &again_length, &again_replaced);
        cr_assert(again_length == length && again_replaced == 0);
        cr_assert(memcmp(once, twice, (size_t)length) == 0);
        free(once);
        free(twice);
    }
}

Test(utf8, random_texts_are_valid_and_counted) {
    uint64_t state = 2;
    char text[400];
    for (int64_t n = 0; n <= 100; n++) {
        int64_t length = random_text(&state, n, text);
        cr_assert(data_utf8_invalid(text, length, NULL) == -1);
        cr_assert(data_utf8_count(text, length) == n);
    }
}

Test(utf8, white_space_is_the_property_of_that_name) {
    static const uint32_t spaces[] = {0x09,   0x0A,   0x0B,   0x0C,   0x0D,   0x20,   0x85,
                                      0xA0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004,
                                      0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200A, 0x2028,
                                      0x2029, 0x202F, 0x205F, 0x3000};
    size_t at = 0;
    for (uint32_t code = 0; code <= 0x110000; code++) {
        bool expected = at < sizeof spaces / sizeof *spaces && code == spaces[at];
        cr_assert(data_utf8_is_space(code) == expected, "U+%04X", code);
        at += expected;
    }
    cr_assert(at == sizeof spaces / sizeof *spaces);
}

Test(utf8, lower_case_is_the_simple_mapping) {
    static const struct {
        const char *text, *lower;
    } cases[] = {
        {"The QUICK fox 42!", "the quick fox 42!"},
        {"\u00C9\u00C0\u00D6", "\u00E9\u00E0\u00F6"},
        {"\u041F\u0420\u0418\u0412\u0415\u0422", "\u043F\u0440\u0438\u0432\u0435\u0442"},
        {"\u039F\u03A3", "\u03BF\u03C3"}, /* no final sigma */
        {"\u0130", "i"},
        {"\u212A", "k"},      /* 3 bytes to 1 */
        {"\u023A", "\u2C65"}, /* 2 bytes to 3 */
        {"\u1E9E", "\u00DF"}, /* 3 bytes to 2 */
        {"\U00010400", "\U00010428"},
        {"\u7EA2\u697C\u68A6", "\u7EA2\u697C\u68A6"},
        {"A\xFF\xE4\xB8Z", "a\xFF\xE4\xB8z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t length;
        char *lower = data_utf8_lower(cases[i].text, (int64_t)strlen(cases[i].text), &length);
        cr_assert(length == (int64_t)strlen(cases[i].lower), "case %zu", i);
        cr_assert_str_eq(lower, cases[i].lower);
        free(lower);
    }
    int64_t length;
    char *lower = data_utf8_lower("A\0B", 3, &length);
    cr_assert(length == 3 && memcmp(lower, "a\0b", 4) == 0);
    free(lower);
}

Test(utf8, letters_are_cleaned_line_by_line) {
    static const struct {
        const char *text, *clean;
    } cases[] = {
        {"The Time\n Machine, by", "the timemachine by"},
        {"The Time Machine, by H. G. Wells [1898]\n\n\n\n\nI\n", "the time machine by h g wellsi"},
        {"  a--b  \r\n c\rD ", "a bcd"},
        {"caf\u00E9 na\u00EFve", "caf na ve"},
        {"@[`{AZaz", "azaz"},
        {"...\n 12 \n", ""},
        {"x", "x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t length;
        char *clean = data_utf8_letters(cases[i].text, (int64_t)strlen(cases[i].text), &length);
        cr_assert_str_eq(clean, cases[i].clean);
        cr_assert(length == (int64_t)strlen(clean));
        free(clean);
    }
    int64_t length;
    char *clean = data_utf8_letters("a\0\xFF"
                                    "b",
                                    4, &length);
    cr_assert_str_eq(clean, "a b");
    free(clean);
}
