#include "data/text.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tests/data/support.h"

static void check_text(const char *bytes, int64_t n, DataTextOptions options, const char *expected,
                       int64_t length, int64_t replaced) {
    const char *path = scratch_file("text", bytes, n);
    for (int from_file = 0; from_file < 2; from_file++) {
        DataText text;
        TensorError error = {""};
        bool made = from_file ? data_text_read(path, &options, &text, &error)
                              : data_text_copy(bytes, n, "memory", &options, &text, &error);
        cr_assert(made, "%s", error.message);
        cr_assert(text.length == length && memcmp(text.bytes, expected, (size_t)length + 1) == 0);
        cr_assert(text.replaced == replaced);
        data_text_free(&text);
        cr_assert(text.bytes == NULL && text.length == 0);
        data_text_free(&text);
    }
}

static void check_refused(const char *bytes, int64_t n, const char *reason) {
    char expected[512];
    const char *path = scratch_file("text", bytes, n);
    for (int from_file = 0; from_file < 2; from_file++) {
        DataText text;
        TensorError error = {""};
        bool made = from_file ? data_text_read(path, NULL, &text, &error)
                              : data_text_copy(bytes, n, "memory", NULL, &text, &error);
        cr_assert(!made && text.bytes == NULL && text.length == 0);
        snprintf(expected, sizeof expected, "%s: %s", from_file ? path : "memory", reason);
        cr_assert_str_eq(error.message, expected);
    }
}

Test(text, bytes_stay_as_they_are) {
    DataTextOptions none = {0};
    check_text("plain", 5, none, "plain", 5, 0);
    check_text("a\r\nb\rc\n", 7, none, "a\r\nb\rc\n", 7, 0);
    check_text("\0a\0", 3, none, "\0a\0", 3, 0);
    check_text("\n", 1, none, "\n", 1, 0);
}

Test(text, one_byte_order_mark_at_the_start_is_dropped) {
    DataTextOptions none = {0};
    check_text("\xEF\xBB\xBF"
               "a",
               4, none, "a", 1, 0);
    check_text("\xEF\xBB\xBF\xEF\xBB\xBF", 6, none, "\xEF\xBB\xBF", 3, 0);
    check_text("a\xEF\xBB\xBF", 4, none, "a\xEF\xBB\xBF", 4, 0);
}

Test(text, newlines_are_normalized_on_request) {
    DataTextOptions lf = {.newlines = true};
    check_text("a\r\nb\rc\n", 7, lf, "a\nb\nc\n", 6, 0);
    check_text("\r\r\n\n\r", 5, lf, "\n\n\n\n", 4, 0);
    check_text("\r\n\r\n", 4, lf, "\n\n", 2, 0);
}

Test(text, invalid_bytes_are_replaced_on_request) {
    DataTextOptions replace = {.replace = true}, both = {.replace = true, .newlines = true};
    check_text("a\xFF\xC0\xAF", 4, replace, "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 10, 3);
    check_text("\xEF\xBB\xBF\xE4\xB8\r\n", 7, both, "\xEF\xBF\xBD\n", 4, 1);
    check_text("\xEF\xBB", 2, replace, "\xEF\xBF\xBD", 3, 1);
}

Test(text, what_is_not_utf8_is_refused_with_its_offset_in_the_file) {
    check_refused("ab\x80", 3, "byte 2: not UTF-8: lone continuation byte (0x80)");
    check_refused("\xEF\xBB\xBF"
                  "a\xC0\xAF",
                  6, "byte 4: not UTF-8: overlong form (0xC0)");
    check_refused("\xED\xA0\x80", 3, "byte 0: not UTF-8: surrogate (0xED)");
    check_refused("\0\xE4\xB8", 3, "byte 1: not UTF-8: truncated sequence (0xE4)");
}

Test(text, an_empty_file_is_refused) {
    check_refused("", 0, "is empty");
    check_refused("\xEF\xBB\xBF", 3, "is empty");
}

Test(text, a_file_that_cannot_be_read_is_named) {
    DataText text;
    TensorError error = {""};
    cr_assert(!data_text_read(scratch_path("missing"), NULL, &text, &error));
    cr_assert(strstr(error.message, "/missing: ") && text.bytes == NULL, "%s", error.message);
    cr_assert(!data_text_read("/", NULL, &text, &error));
    cr_assert(!data_text_read("/", NULL, &text, NULL));
    cr_assert(strncmp(error.message, "/: ", 3) == 0, "%s", error.message);
}
