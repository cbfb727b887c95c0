/* The log of a training: what is written comes back, resumed runs repeat no row, damage is told. */
#include "examples/lm/log.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "tests/support/folder.h"
#include "tests/support/read_text.h"

static const char header[] =
    "epoch,step,tokens,seconds,loss,perplexity,valid_perplexity,lr,grad_norm,tokens_per_second\n";

static char csv[TEST_PATH_SIZE], jsonl[TEST_PATH_SIZE + 12], folder[TEST_PATH_SIZE];

static void begin(void) {
    test_folder_make(csv, "log.csv");
    test_folder_of(csv, folder);
    snprintf(jsonl, sizeof jsonl, "%s/log.jsonl", folder);
}

static void end(void) {
    unlink(jsonl);
    test_folder_remove(csv);
}

TestSuite(log, .init = begin, .fini = end);

/* Row i of a run: its numbers need all their digits. */
static LmLogRow row_of(int i) {
    return (LmLogRow){1 + i / 3, 10 * (i + 1), 3500 * (i + 1), 0.1 * (i + 1), 5. / (i + 3),
                      exp(5. / (i + 3)), i % 3 == 2 ? 7. / (i + 1) : NAN, 0.1, 1. / (i + 7),
                      1e5 / 3};
}

static void write_rows(int first, int last, int64_t steps) {
    LmLog log;
    TensorError error = {""};
    cr_assert(lm_log_open(&log, folder, steps, &error), "%s", error.message);
    for (int i = first; i < last; i++) {
        LmLogRow row = row_of(i);
        cr_assert(lm_log_write(&log, &row, &error), "%s", error.message);
    }
    lm_log_close(&log);
    lm_log_close(&log);
}

static bool same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

static void check_rows(int n) {
    LmLogRow *rows;
    int64_t count;
    TensorError error = {""};
    cr_assert(lm_log_read(folder, &rows, &count, &error), "%s", error.message);
    cr_assert(count == n, "%lld rows", (long long)count);
    for (int i = 0; i < n; i++) {
        LmLogRow a = rows[i], b = row_of(i);
        cr_assert(a.epoch == b.epoch && a.step == b.step && a.tokens == b.tokens, "row %d", i);
        cr_assert(same(a.seconds, b.seconds) && same(a.loss, b.loss) && same(a.lr, b.lr) &&
                  same(a.perplexity, b.perplexity) && same(a.grad_norm, b.grad_norm) &&
                  same(a.valid_perplexity, b.valid_perplexity) &&
                  same(a.tokens_per_second, b.tokens_per_second), "row %d", i);
    }
    free(rows);
}

/* log.jsonl has the same rows. */
static void check_json(int n) {
    FILE *file = fopen(jsonl, "r");
    char line[1000];
    int count = 0;
    cr_assert(file);
    for (; fgets(line, sizeof line, file); count++) {
        json_t *object = json_loads(line, 0, NULL);
        LmLogRow row = row_of(count);
        cr_assert(object && json_object_size(object) == 10, "%s", line);
        cr_assert(json_integer_value(json_object_get(object, "step")) == row.step);
        cr_assert(json_real_value(json_object_get(object, "perplexity")) == row.perplexity);
        cr_assert(json_real_value(json_object_get(object, "grad_norm")) == row.grad_norm);
        json_t *valid = json_object_get(object, "valid_perplexity");
        cr_assert(isnan(row.valid_perplexity) ? json_is_null(valid) : json_is_real(valid));
        json_decref(object);
    }
    fclose(file);
    cr_assert(count == n, "%d lines of %d", count, n);
}

Test(log, rows_come_back_to_the_bit) {
    write_rows(0, 7, 0);
    check_rows(7);
    check_json(7);
    char *text = read_text(csv);
    cr_assert(strncmp(text, header, strlen(header)) == 0);
    cr_assert(strstr(text, "\n1,10,3500,0.1,1.6666666666666667,"), "%s", text);
    cr_assert(strstr(text, ",,0.1,"), "NaN is empty: %s", text);
    free(text);
}

Test(log, a_run_that_goes_on_repeats_no_row) {
    static const struct {
        int64_t steps;
        int kept;
    } cases[] = {{1000, 7}, {70, 7}, {69, 6}, {40, 4}, {31, 3}, {10, 1}, {9, 0}, {0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_rows(0, 7, 0);
        write_rows(0, 0, cases[i].steps);
        check_rows(cases[i].kept);
        check_json(cases[i].kept);
        write_rows(cases[i].kept, 9, cases[i].steps);
        check_rows(9);
        check_json(9);
    }
}

static void put(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

Test(log, a_line_that_was_not_finished_is_no_row) {
    write_rows(0, 5, 0);
    char *text = read_text(csv);
    size_t size = strlen(text), fourth = size;
    for (int line = 0; line < 2; fourth--) line += text[fourth - 1] == '\n';
    fourth++; /* where the last line begins */
    for (size_t cut = fourth; cut < size; cut++) {
        char whole = text[cut];
        text[cut] = 0;
        put(csv, text);
        text[cut] = whole;
        check_rows(4);
    }
    /* What is left of it goes, also from log.jsonl, before the next row. */
    put(jsonl, "{\"epoch\":1,");
    write_rows(4, 6, 1000);
    check_rows(6);
    check_json(6);
    free(text);

    /* Not even the header. */
    for (size_t cut = 0; cut < strlen(header); cut += 5) {
        char part[sizeof header] = "";
        memcpy(part, header, cut);
        put(csv, part);
        check_rows(0);
    }
    write_rows(0, 2, 1000);
    check_rows(2);
}

Test(log, a_log_that_is_not_there_begins_anew_when_a_run_goes_on) {
    write_rows(0, 2, 500);
    check_rows(2);
    unlink(csv);
    LmLogRow *rows;
    int64_t count;
    TensorError error = {""};
    cr_assert(!lm_log_read(folder, &rows, &count, &error) && !rows && count == 0);
    cr_assert(strstr(error.message, "log.csv: No such file"), "%s", error.message);
}

Test(log, damage_is_told_with_its_line) {
    static const struct {
        const char *lines, *word;
    } cases[] = {{"x", "line 1: not the columns"},
                 {"epoch,step\n1,2\n", "line 1: not the columns"},
                 {"1,1,1,1,1,1,1,1,1\n", "line 2: no grad_norm"},
                 {"1,1,1,1,1,1,1,1,1,1,1\n", "line 2: no tokens_per_second"},
                 {"1,1,1,1,1,1,1,1,1,1\n\n", "line 3: no epoch"},
                 {"1,1,1,1,x,1,1,1,1,1\n", "line 2: no loss"},
                 {"1,1,1,1,1.2.3,1,1,1,1,1\n", "line 2: no loss"},
                 {"1,1,1,1, 1,1,1,1,1,1\n", "line 2: no loss"},
                 {"1,,1,1,1,1,1,1,1,1\n", "line 2: no step"},
                 {"1,-1,1,1,1,1,1,1,1,1\n", "line 2: no step"},
                 {"1,1.5,1,1,1,1,1,1,1,1\n", "line 2: no step"},
                 {"1,99999999999999999999,1,1,1,1,1,1,1,1\n", "line 2: no step"},
                 {"1,1,1,1,1,1,1,1,1,1\r\n", "line 2: no tokens_per_second"},
                 {"1,2,1,1,1,1,1,1,1,1\n1,1,1,1,1,1,1,1,1,1\n", "line 3: step 1 after step 2"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[500];
        LmLogRow *rows;
        int64_t count;
        LmLog log;
        TensorError error = {""};
        snprintf(text, sizeof text, "%s%s", i < 2 ? "" : header, cases[i].lines);
        put(csv, text);
        cr_assert(!lm_log_read(folder, &rows, &count, &error), "%zu", i);
        cr_assert(strstr(error.message, cases[i].word) && strstr(error.message, "log.csv: "), "%s",
                  error.message);
        cr_assert(!lm_log_open(&log, folder, 5, &error) && !log.csv && !log.jsonl, "%zu", i);
        char *old = read_text(csv);
        cr_assert_str_eq(old, text);
        free(old);
    }
    /* A new run needs nothing of it. */
    write_rows(0, 1, 0);
    check_rows(1);
}

Test(log, infinite_numbers_are_read_again) {
    LmLog log;
    LmLogRow row = {.loss = 800, .perplexity = INFINITY}, *rows;
    int64_t count;
    TensorError error = {""};
    cr_assert(lm_log_open(&log, folder, 0, &error) && lm_log_write(&log, &row, &error));
    lm_log_close(&log);
    cr_assert(lm_log_read(folder, &rows, &count, &error) && count == 1, "%s", error.message);
    cr_assert(isinf(rows[0].perplexity) && rows[0].loss == 800);
    free(rows);
    char *text = read_text(jsonl);
    cr_assert(strstr(text, "\"perplexity\":null"), "%s", text);
    free(text);
}

Test(log, a_full_disk_is_told) {
    LmLog log;
    TensorError error = {""};
    LmLogRow row = row_of(0);
    cr_assert(lm_log_open(&log, folder, 0, &error));
    fclose(log.csv);
    log.csv = fopen("/dev/full", "a");
    cr_assert(!lm_log_write(&log, &row, &error));
    cr_assert(strstr(error.message, "log.csv: No space left"), "%s", error.message);
    lm_log_close(&log);
    cr_assert(!lm_log_open(&log, "/nowhere", 0, &error) && !log.csv && !log.jsonl);
    cr_assert(strstr(error.message, "/nowhere/log.csv: No such file"), "%s", error.message);
    cr_assert(!lm_log_open(&log, "", 0, &error));
}
