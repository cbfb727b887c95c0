/* log.c -- see log.h. */
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

static const char csv_name[] = "log.csv", jsonl_name[] = "log.jsonl";
static const size_t max_bytes = (size_t)1 << 30;

/* ---- columns ---- */

typedef struct {
    const char *name;
    bool whole; /* an int64_t, else a double */
    size_t offset;
} Column;

static const Column columns[] = {
    {"epoch", true, offsetof(LmLogRow, epoch)},
    {"step", true, offsetof(LmLogRow, step)},
    {"tokens", true, offsetof(LmLogRow, tokens)},
    {"seconds", false, offsetof(LmLogRow, seconds)},
    {"loss", false, offsetof(LmLogRow, loss)},
    {"perplexity", false, offsetof(LmLogRow, perplexity)},
    {"valid_perplexity", false, offsetof(LmLogRow, valid_perplexity)},
    {"lr", false, offsetof(LmLogRow, lr)},
    {"grad_norm", false, offsetof(LmLogRow, grad_norm)},
    {"tokens_per_second", false, offsetof(LmLogRow, tokens_per_second)},
};
enum { COLUMNS = sizeof columns / sizeof *columns, NUMBER = 32, LINE = COLUMNS * NUMBER };

static int64_t whole_of(const LmLogRow *row, const Column *c) {
    return *(const int64_t *)((const char *)row + c->offset);
}

static double real_of(const LmLogRow *row, const Column *c) {
    return *(const double *)((const char *)row + c->offset);
}

/* ---- writing ---- */

/* The fewest digits that give the same number again; nothing for NaN. */
static void write_real(double x, char text[NUMBER]) {
    *text = 0;
    for (int digits = 15; digits <= 17 && !isnan(x); digits++) {
        snprintf(text, NUMBER, "%.*g", digits, x);
        if (strtod(text, NULL) == x) return;
    }
}

static void csv_header(char line[LINE]) {
    size_t used = 0;
    for (int i = 0; i < COLUMNS; i++)
        used += (size_t)snprintf(line + used, LINE - used, "%s%c", columns[i].name,
                                 i + 1 < COLUMNS ? ',' : '\n');
}

static bool write_csv(FILE *out, const LmLogRow *row) {
    char line[LINE], number[NUMBER];
    size_t used = 0;
    for (int i = 0; i < COLUMNS; i++) {
        if (columns[i].whole)
            snprintf(number, NUMBER, "%" PRId64, whole_of(row, &columns[i]));
        else
            write_real(real_of(row, &columns[i]), number);
        used += (size_t)snprintf(line + used, LINE - used, "%s%c", number,
                                 i + 1 < COLUMNS ? ',' : '\n');
    }
    return fwrite(line, 1, used, out) == used;
}

static bool write_json(FILE *out, const LmLogRow *row) {
    json_t *object = json_object();
    bool ok = object != NULL;
    for (int i = 0; i < COLUMNS && ok; i++) {
        const Column *c = &columns[i];
        json_t *value = c->whole                      ? json_integer(whole_of(row, c))
                        : isfinite(real_of(row, c)) ? json_real(real_of(row, c))
                                                      : json_null();
        ok = json_object_set_new(object, c->name, value) == 0;
    }
    char *line = ok ? json_dumps(object, JSON_COMPACT) : NULL;
    if (!line) errno = ENOMEM;
    ok = line && fprintf(out, "%s\n", line) > 0;
    free(line);
    json_decref(object);
    return ok;
}

bool lm_log_write(LmLog *log, const LmLogRow *row, TensorError *error) {
    TensorLocale locale = tensor_locale_c();
    const char *name = csv_name;
    bool ok = write_csv(log->csv, row) && fflush(log->csv) == 0;
    if (ok) {
        name = jsonl_name;
        ok = write_json(log->jsonl, row) && fflush(log->jsonl) == 0;
    }
    int code = errno;
    tensor_locale_restore(locale);
    return ok || tensor_error_errno(error, name, code);
}

/* ---- reading ---- */

/* A field that ends with the byte `end`; NULL: it is not one. */
static const char *read_field(const Column *c, const char *text, char end, LmLogRow *row) {
    char *after = (char *)text;
    void *field = (char *)row + c->offset;
    bool begins = (*text >= '0' && *text <= '9') || *text == '-' || *text == 'i';
    errno = 0;
    if (c->whole) {
        if (begins) *(int64_t *)field = strtoll(text, &after, 10);
        if (after == text || errno != 0 || *(int64_t *)field < 0) return NULL;
    } else {
        *(double *)field = begins ? strtod(text, &after) : NAN;
        if (begins && after == text) return NULL;
    }
    return *after == end ? after + 1 : NULL;
}

/* NULL, or the name of the column that is wrong. */
static const char *read_row(const char *line, LmLogRow *row) {
    for (int i = 0; i < COLUMNS; i++) {
        line = read_field(&columns[i], line, i + 1 < COLUMNS ? ',' : '\n', row);
        if (!line) return columns[i].name;
    }
    return NULL;
}

static int64_t count_lines(const char *text, size_t size) {
    int64_t n = 0;
    for (const char *end = text + size; (text = memchr(text, '\n', (size_t)(end - text))); text++)
        n++;
    return n;
}

/* The rows of a whole file: its complete lines after the first. */
static bool read_rows(const char *path, const char *text, size_t size, LmLogRow *rows,
                      int64_t *count, TensorError *error) {
    char header[LINE];
    csv_header(header);
    int64_t lines = count_lines(text, size);
    size_t begun = lines > 0 ? strlen(header) : size;
    *count = 0;
    if (begun > strlen(header) || strncmp(text, header, begun) != 0)
        return tensor_error_file(error, path, -1, "line 1: not the columns of a log of training");
    for (int64_t i = 1; i < lines; i++) {
        text = strchr(text, '\n') + 1;
        const char *wrong = read_row(text, &rows[*count]);
        if (wrong)
            return tensor_error_file(error, path, -1, "line %" PRId64 ": no %s, or no valid one",
                                     i + 1, wrong);
        if (*count > 0 && rows[*count].step < rows[*count - 1].step)
            return tensor_error_file(error, path, -1, "line %" PRId64 ": step %" PRId64
                                     " after step %" PRId64, i + 1, rows[*count].step,
                                     rows[*count - 1].step);
        ++*count;
    }
    return true;
}

static bool read_log(const char *path, LmLogRow **rows, int64_t *count, TensorError *error) {
    size_t size;
    *rows = NULL;
    *count = 0;
    char *text = tensor_file_read(path, max_bytes, &size, error);
    if (!text) return false;
    TensorLocale locale = tensor_locale_c();
    *rows = malloc((size_t)(count_lines(text, size) + 1) * sizeof **rows);
    bool ok = *rows ? read_rows(path, text, size, *rows, count, error)
                    : tensor_error_errno(error, path, ENOMEM);
    tensor_locale_restore(locale);
    free(text);
    if (!ok) {
        free(*rows);
        *rows = NULL;
        *count = 0;
    }
    return ok;
}

bool lm_log_read(const char *folder, LmLogRow **rows, int64_t *count, TensorError *error) {
    char path[PATH_MAX];
    *rows = NULL;
    *count = 0;
    return lm_run_path(folder, csv_name, path, error) && read_log(path, rows, count, error);
}

/* ---- opening ---- */

/* The rows up to a step. */
static bool keep_rows(const char *path, int64_t steps, LmLogRow **rows, int64_t *count,
                      TensorError *error) {
    *rows = NULL;
    *count = 0;
    FILE *there = steps > 0 ? fopen(path, "r") : NULL;
    if (!there) return steps <= 0 || errno == ENOENT || tensor_error_errno(error, path, errno);
    fclose(there);
    if (!read_log(path, rows, count, error)) return false;
    while (*count > 0 && (*rows)[*count - 1].step > steps) --*count;
    return true;
}

/* The file with these rows alone, in place of the old one. */
static bool rewrite(const char *path, bool json, const LmLogRow *rows, int64_t count,
                    TensorError *error) {
    char header[LINE];
    TensorFileWriter file;
    if (!tensor_file_begin(&file, path, error)) return false;
    TensorLocale locale = tensor_locale_c();
    csv_header(header);
    bool ok = json || fputs(header, file.stream) >= 0;
    for (int64_t i = 0; i < count && ok; i++)
        ok = json ? write_json(file.stream, &rows[i]) : write_csv(file.stream, &rows[i]);
    int code = errno;
    tensor_locale_restore(locale);
    if (ok) return tensor_file_commit(&file, error);
    tensor_file_abort(&file);
    return tensor_error_errno(error, path, code);
}

static FILE *open_end(const char *path, TensorError *error) {
    FILE *file = fopen(path, "a");
    if (!file) tensor_error_errno(error, path, errno);
    return file;
}

bool lm_log_open(LmLog *log, const char *folder, int64_t steps, TensorError *error) {
    char csv[PATH_MAX], jsonl[PATH_MAX];
    LmLogRow *rows;
    int64_t count;
    *log = (LmLog){0};
    if (!lm_run_path(folder, csv_name, csv, error) ||
        !lm_run_path(folder, jsonl_name, jsonl, error) ||
        !keep_rows(csv, steps, &rows, &count, error))
        return false;
    log->seconds = count > 0 ? rows[count - 1].seconds : 0;
    bool ok = rewrite(csv, false, rows, count, error) && rewrite(jsonl, true, rows, count, error);
    free(rows);
    if (ok) ok = (log->csv = open_end(csv, error)) && (log->jsonl = open_end(jsonl, error));
    if (!ok) lm_log_close(log);
    return ok;
}

void lm_log_close(LmLog *log) {
    if (log->csv) fclose(log->csv);
    if (log->jsonl) fclose(log->jsonl);
    *log = (LmLog){0};
}
