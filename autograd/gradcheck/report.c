#include "autograd/gradcheck/report.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <jansson.h>

#include "autograd/gradcheck/core.h"
#include "autograd/gradcheck/report_impl.h"
#include "data/utf8.h"

enum { FILE_LIMIT = 1 << 20, FILE_NAME_SIZE = 256 };

static const char *or_empty(const char *text) { return text ? text : ""; }

static bool put_why(char *why, size_t size, const char *before, const TensorError *error) {
    if (why && size > 0) snprintf(why, size, "%s%s", before, error->message);
    return false;
}

/* ---- text ---- */

static const char *in_line(uint32_t code) {
    return code < 0x20 || (code >= 0x7F && code < 0xA0) ? "?" : NULL;
}

static void put(FILE *file, const char *text, DataUtf8Substitute *substitute) {
    data_utf8_write(file, text, (int64_t)strlen(or_empty(text)), substitute);
}

bool gradcheck_write_text(FILE *file, const GradcheckReport *report) {
    const GradcheckResult *r = &report->result;
    fputs(r->ok ? "ok      " : "FAILED  ", file);
    put(file, report->suite, in_line);
    putc('/', file);
    put(file, report->name, in_line);
    fputs(": ", file);
    put(file, r->message, in_line);
    if (!r->ok) fprintf(file, "; repeat with GRADCHECK_SEED=%" PRIu64, r->seed);
    putc('\n', file);
    return !ferror(file);
}

/* ---- JSON ---- */

typedef enum { BOOLEAN, REASON, INT, INT64, SEED, REAL, TEXT } Kind;

typedef struct {
    const char *key;
    Kind kind;
    size_t at, size;
} Field;

#define FIELD(member, kind) \
    {#member, kind, offsetof(GradcheckResult, member), sizeof(((GradcheckResult *)0)->member)}

static const Field fields[] = {
    FIELD(ok, BOOLEAN),
    FIELD(reason, REASON),
    FIELD(input, INT),
    FIELD(index, INT64),
    FIELD(numeric, REAL),
    FIELD(uncertainty, REAL),
    FIELD(analytic, REAL),
    FIELD(abs_error, REAL),
    FIELD(rel_error, REAL),
    FIELD(factor, REAL),
    FIELD(other, INT),
    FIELD(axis, INT),
    FIELD(shift, INT64),
    FIELD(checked, INT64),
    FIELD(total, INT64),
    FIELD(evaluations, INT64),
    FIELD(seed, SEED),
    FIELD(order, INT),
    FIELD(name, TEXT),
    FIELD(op, TEXT),
    FIELD(scope, TEXT),
    FIELD(message, TEXT),
};
enum { N_FIELDS = sizeof fields / sizeof *fields };

static json_t *real_to_json(double x) {
    if (isfinite(x)) return json_real(x);
    return json_string(isnan(x) ? "NaN" : x > 0 ? "Infinity" : "-Infinity");
}

static bool real_of_json(const json_t *value, double *x) {
    static const struct {
        const char *name;
        double value;
    } others[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
    if (json_is_number(value)) return *x = json_number_value(value), true;
    for (int i = 0; i < 3 && json_is_string(value); i++)
        if (strcmp(json_string_value(value), others[i].name) == 0)
            return *x = others[i].value, true;
    return false;
}

static json_t *text_to_json(const char *text) {
    int64_t length;
    text = or_empty(text);
    char *valid = data_utf8_replace(text, (int64_t)strlen(text), &length, NULL);
    json_t *value = valid ? json_stringn(valid, (size_t)length) : NULL;
    free(valid);
    return value;
}

/* What does not fit is cut off, not inside a character. */
static bool text_of_json(const json_t *value, char *text, size_t size) {
    if (!json_is_string(value)) return false;
    const char *from = json_string_value(value);
    size_t n = json_string_length(value);
    if (n >= size)
        for (n = size - 1; n > 0 && ((unsigned char)from[n] & 0xC0) == 0x80;) n--;
    memcpy(text, from, n);
    text[n] = 0;
    return true;
}

static json_t *seed_to_json(uint64_t seed) {
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, seed);
    return json_string(digits);
}

static bool reason_of_json(const json_t *value, GradcheckReason *reason) {
    for (int i = 0; i < GRADCHECK_REASONS && json_is_string(value); i++) {
        *reason = (GradcheckReason)i;
        if (strcmp(json_string_value(value), gradcheck_reason_code(*reason)) == 0) return true;
    }
    return false;
}

static json_t *field_to_json(const Field *f, const GradcheckResult *r) {
    const void *at = (const char *)r + f->at;
    switch (f->kind) {
    case BOOLEAN: return json_boolean(*(const bool *)at);
    case REASON: return json_string(gradcheck_reason_code(*(const GradcheckReason *)at));
    case INT: return json_integer(*(const int *)at);
    case INT64: return json_integer(*(const int64_t *)at);
    case SEED: return seed_to_json(*(const uint64_t *)at);
    case REAL: return real_to_json(*(const double *)at);
    case TEXT: return text_to_json(at);
    }
    return NULL;
}

static bool field_of_json(const Field *f, const json_t *value, GradcheckResult *r) {
    void *at = (char *)r + f->at;
    json_int_t i = json_integer_value(value);
    switch (f->kind) {
    case BOOLEAN: return *(bool *)at = json_is_true(value), json_is_boolean(value);
    case REASON: return reason_of_json(value, at);
    case INT: return *(int *)at = (int)i, json_is_integer(value) && i >= INT_MIN && i <= INT_MAX;
    case INT64: return *(int64_t *)at = i, json_is_integer(value);
    case SEED: return json_is_string(value) && gradcheck_read_seed(json_string_value(value), at);
    case REAL: return real_of_json(value, at);
    case TEXT: return text_of_json(value, at, f->size);
    }
    return false;
}

static json_t *report_to_json(const GradcheckReport *report) {
    json_t *object = json_object(), *result = json_object();
    bool ok = object && result;
    for (int i = 0; ok && i < N_FIELDS; i++)
        ok = json_object_set_new(result, fields[i].key,
                                 field_to_json(&fields[i], &report->result)) == 0;
    /* With a member that is NULL for want of memory, a set fails. */
    ok = ok && json_object_set_new(object, "suite", text_to_json(report->suite)) == 0 &&
         json_object_set_new(object, "name", text_to_json(report->name)) == 0 &&
         json_object_set_new(object, "seconds", real_to_json(report->seconds)) == 0 &&
         json_object_set(object, "result", result) == 0;
    json_decref(result);
    if (ok) return object;
    json_decref(object);
    return NULL;
}

static bool put_json(FILE *file, const GradcheckReport *report) {
    TensorLocale locale = tensor_locale_c();
    json_t *object = report_to_json(report);
    bool ok = object && json_dumpf(object, file, JSON_REAL_PRECISION(17)) == 0;
    json_decref(object);
    tensor_locale_restore(locale);
    return ok;
}

bool gradcheck_write_json(FILE *file, const GradcheckReport *report) {
    return put_json(file, report) && putc('\n', file) == '\n';
}

bool gradcheck_write_json_list(FILE *file, int n, const GradcheckReport *reports) {
    fputs("[", file);
    for (int i = 0; i < n; i++) {
        fputs(i > 0 ? ",\n" : "\n", file);
        if (!put_json(file, &reports[i])) return false;
    }
    fputs("\n]\n", file);
    return !ferror(file);
}

static bool report_of_json(const json_t *object, const char *path,
                           char names[2][GRADCHECK_REPORT_NAME_SIZE], GradcheckReport *report,
                           TensorError *error) {
    const json_t *result = json_object_get(object, "result");
    const char *bad = NULL;
    *report = (GradcheckReport){.suite = names[0], .name = names[1]};
    if (!json_is_object(object) || !json_is_object(result))
        return tensor_error_file(error, path, -1, "is not the report of a check");
    if (!text_of_json(json_object_get(object, "suite"), names[0], sizeof *names)) bad = "suite";
    else if (!text_of_json(json_object_get(object, "name"), names[1], sizeof *names)) bad = "name";
    else if (!real_of_json(json_object_get(object, "seconds"), &report->seconds)) bad = "seconds";
    for (int i = 0; i < N_FIELDS && !bad; i++)
        if (!field_of_json(&fields[i], json_object_get(result, fields[i].key), &report->result))
            bad = fields[i].key;
    return !bad || tensor_error_file(error, path, -1, "%s is missing or wrong", bad);
}

static bool read_report(const char *path, char names[2][GRADCHECK_REPORT_NAME_SIZE],
                        GradcheckReport *report, TensorError *error) {
    size_t size;
    json_error_t problem;
    char *text = tensor_file_read(path, FILE_LIMIT, &size, error);
    if (!text) return false;
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
    bool ok = object ? report_of_json(object, path, names, report, error)
                     : tensor_error_file(error, path, problem.position, "%s", problem.text);
    json_decref(object);
    free(text);
    return ok;
}

bool gradcheck_read_json(const char *path, char names[2][GRADCHECK_REPORT_NAME_SIZE],
                         GradcheckReport *report, char *why, size_t size) {
    TensorError error;
    TensorLocale locale = tensor_locale_c();
    bool ok = read_report(path, names, report, &error);
    tensor_locale_restore(locale);
    return ok || put_why(why, size, "", &error);
}

/* ---- JUnit XML ---- */

static double seconds_of(const GradcheckReport *report) {
    return report->seconds > 0 && isfinite(report->seconds) ? report->seconds : 0;
}

static bool same_suite(const GradcheckReport *a, const GradcheckReport *b) {
    return strcmp(or_empty(a->suite), or_empty(b->suite)) == 0;
}

static bool is_first_of_suite(const GradcheckReport *reports, int i) {
    for (int k = 0; k < i; k++)
        if (same_suite(&reports[k], &reports[i])) return false;
    return true;
}

/* Counts the reports of one suite, or with NULL all. */
static void put_totals(FILE *file, int n, const GradcheckReport *reports,
                       const GradcheckReport *suite) {
    int tests = 0, failures = 0;
    double seconds = 0;
    for (int i = 0; i < n; i++) {
        if (suite && !same_suite(&reports[i], suite)) continue;
        tests++;
        failures += !reports[i].result.ok;
        seconds += seconds_of(&reports[i]);
    }
    fprintf(file, " tests=\"%d\" failures=\"%d\" errors=\"0\" time=\"%.6f\">\n", tests, failures,
            seconds);
}

static void put_failure(FILE *file, const GradcheckResult *r) {
    fprintf(file, "      <failure type=\"%s\" message=\"", gradcheck_reason_code(r->reason));
    put(file, r->message, data_utf8_xml);
    fputs("\">", file);
    put(file, r->message, data_utf8_xml);
    fprintf(file, "; repeat with GRADCHECK_SEED=%" PRIu64 "</failure>\n", r->seed);
}

static void put_testcase(FILE *file, const GradcheckReport *report) {
    const GradcheckResult *r = &report->result;
    fputs("    <testcase classname=\"", file);
    put(file, report->suite, data_utf8_xml);
    fputs("\" name=\"", file);
    put(file, report->name, data_utf8_xml);
    fprintf(file, "\" time=\"%.6f\">\n", seconds_of(report));
    if (!r->ok) put_failure(file, r);
    fprintf(file, "      <system-out>numeric %.17g\nuncertainty %.17g\nanalytic %.17g\n"
            "seed %" PRIu64 "\n", r->numeric, r->uncertainty, r->analytic, r->seed);
    if (r->op[0]) {
        fputs("op ", file);
        put(file, r->op, data_utf8_xml);
        fputs("\nscope ", file);
        put(file, r->scope, data_utf8_xml);
        putc('\n', file);
    }
    fputs("</system-out>\n    </testcase>\n", file);
}

static void put_testsuite(FILE *file, int n, const GradcheckReport *reports,
                          const GradcheckReport *suite) {
    fputs("  <testsuite name=\"", file);
    put(file, suite->suite, data_utf8_xml);
    putc('"', file);
    put_totals(file, n, reports, suite);
    for (int i = 0; i < n; i++)
        if (same_suite(&reports[i], suite)) put_testcase(file, &reports[i]);
    fputs("  </testsuite>\n", file);
}

bool gradcheck_write_junit(FILE *file, int n, const GradcheckReport *reports) {
    TensorLocale locale = tensor_locale_c();
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"gradcheck\"", file);
    put_totals(file, n, reports, NULL);
    for (int i = 0; i < n; i++)
        if (is_first_of_suite(reports, i)) put_testsuite(file, n, reports, &reports[i]);
    fputs("</testsuites>\n", file);
    tensor_locale_restore(locale);
    return !ferror(file);
}

/* ---- files ---- */

bool gradcheck_write_file(const char *path, GradcheckWriter *write, int n,
                          const GradcheckReport *reports, TensorError *error) {
    TensorFileWriter w;
    if (!tensor_file_begin(&w, path, error)) return false;
    /* A failed write is found by the commit. */
    if (write(w.stream, n, reports) || ferror(w.stream)) return tensor_file_commit(&w, error);
    tensor_file_abort(&w);
    return tensor_error_file(error, path, -1, "out of memory");
}

static char *encode(char *to, const char *text) {
    for (text = or_empty(text); *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '_' || c == '-';
        to += sprintf(to, plain ? "%c" : "%%%02X", c);
    }
    return to;
}

/* FNV-1a. */
static uint64_t hash(const char *text) {
    uint64_t h = 0xCBF29CE484222325u;
    for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001B3u;
    return h;
}

/* FOLDER/SUITE.NAME.json, or NULL.  What is longer than a file's name may be ends in ~HASH: a
 * shorter one has no ~. */
static char *path_of(const char *folder, const GradcheckReport *report) {
    enum { TAIL = 17 + sizeof ".json", LONGEST = FILE_NAME_SIZE - TAIL };
    size_t size = strlen(folder) + 3 * strlen(or_empty(report->suite)) +
                  3 * strlen(or_empty(report->name)) + TAIL + 8;
    char *path = malloc(size);
    if (!path) return NULL;
    char *name = path + sprintf(path, "%s/", folder);
    /* A lone % is no encoded byte; a name that begins with . would be hidden. */
    char *end = encode(name, report->suite);
    if (end == name) *end++ = '%';
    *end++ = '.';
    end = encode(end, report->name);
    *end = 0;
    if (end - name > LONGEST) {
        uint64_t h = hash(name);
        end = name + LONGEST;
        end += sprintf(end, "~%016" PRIX64, h);
    }
    memcpy(end, ".json", sizeof ".json");
    return path;
}

static bool write_one(FILE *file, int n, const GradcheckReport *report) {
    return n == 1 && gradcheck_write_json(file, report);
}

static bool write_report(const char *folder, const GradcheckReport *report, TensorError *error) {
    struct stat status;
    if (stat(folder, &status) != 0) return tensor_error_errno(error, folder, errno);
    if (!S_ISDIR(status.st_mode)) return tensor_error_errno(error, folder, ENOTDIR);
    char *path = path_of(folder, report);
    if (!path) return tensor_error_errno(error, folder, ENOMEM);
    bool ok = gradcheck_write_file(path, write_one, 1, report, error);
    free(path);
    return ok;
}

char *gradcheck_user_path(const char *path) {
    const char *folder = *path == '/' ? NULL : getenv("BUILD_WORKING_DIRECTORY");
    size_t size = (folder ? strlen(folder) + 1 : 0) + strlen(path) + 1;
    char *whole = malloc(size);
    if (whole) snprintf(whole, size, "%s%s%s", folder ? folder : "", folder ? "/" : "", path);
    return whole;
}

bool gradcheck_report(const GradcheckReport *report, char *why, size_t size) {
    TensorError error;
    const char *named = getenv("GRADCHECK_REPORT_DIR");
    if (!named || !*named) return true;
    char *folder = gradcheck_user_path(named);
    bool ok = folder ? write_report(folder, report, &error)
                     : tensor_error_set(&error, "out of memory");
    free(folder);
    return ok || put_why(why, size, "GRADCHECK_REPORT_DIR: ", &error);
}

/* ---- cases ---- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail_case(GradcheckResult *r, const char *what) {
    char said[GRADCHECK_MESSAGE_SIZE];
    memcpy(said, r->message, sizeof said);
    int used = snprintf(r->message, sizeof r->message, "%s: %s%s",
                        gradcheck_reason(GRADCHECK_ERROR), what, *said ? ": " : "");
    snprintf(r->message + used, sizeof r->message - (size_t)used, "%s", said);
    r->ok = false;
    r->reason = GRADCHECK_ERROR;
}

bool gradcheck_run_case(const GradcheckCase *c, GradcheckReport *report, char *why, size_t size) {
    GradcheckResult *r = &report->result,
                    none = {.input = -1, .index = -1, .other = -1, .axis = -1, .order = 1};
    gradcheck_read_seed(or_empty(getenv("GRADCHECK_SEED")), &none.seed);
    if (why && size > 0) *why = 0;
    *report = (GradcheckReport){.suite = c->suite, .name = c->name, .result = none};
    fail_case(r, "the case did not finish");
    bool written = gradcheck_report(report, why, size);
    *r = none;
    double start = now();
    bool ok = c->run(r);
    report->seconds = now() - start;
    if (ok && !r->ok) fail_case(r, "the case returned true without a check that passed");
    else if (!ok && r->ok) fail_case(r, "the case returned false, though its check passed");
    else if (!ok && r->reason == GRADCHECK_PASSED) fail_case(r, "the case made no check");
    return written && gradcheck_report(report, why, size) && r->ok;
}
