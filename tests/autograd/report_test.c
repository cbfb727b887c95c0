/* Reports say what happened, in every format, and programs end with the right status. */
#include "autograd/gradcheck/report.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <float.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "autograd/gradcheck/criterion.h"

#define REPLACEMENT "\xEF\xBF\xBD"
enum { TEXT_SIZE = 1 << 16 };

/* ---- folders and files ---- */

static char folder[256]; /* of the present test */

static void open_folder(void) {
    const char *parent = getenv("TEST_TMPDIR");
    snprintf(folder, sizeof folder, "%s/report_test.XXXXXX", parent ? parent : "/tmp");
    cr_assert(mkdtemp(folder));
    unsetenv("GRADCHECK_REPORT_DIR");
    unsetenv("GRADCHECK_SEED");
}

static int count_files(void) {
    int n = 0;
    DIR *open = opendir(folder);
    cr_assert(open);
    for (struct dirent *entry; (entry = readdir(open));)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(open);
    return n;
}

static const char *path_in(const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void close_folder(void) {
    DIR *open = opendir(folder);
    cr_assert(open);
    for (struct dirent *entry; (entry = readdir(open));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            remove(path_in(entry->d_name));
    closedir(open);
    cr_assert_eq(rmdir(folder), 0);
}

static void read_text(const char *path, char text[TEXT_SIZE]) {
    FILE *file = fopen(path, "rb");
    cr_assert(file, "%s", path);
    text[fread(text, 1, TEXT_SIZE - 1, file)] = 0;
    fclose(file);
}

static void write_bytes(const char *path, const char *text, size_t n) {
    FILE *file = fopen(path, "wb");
    cr_assert(file && fwrite(text, 1, n, file) == n && fclose(file) == 0);
}

static void has(const char *text, const char *part) {
    cr_expect(strstr(text, part), "`%s` is not in\n%s", part, text);
}

static int count(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

/* ---- reports ---- */

static GradcheckReport sample(const char *suite, const char *name, bool ok) {
    GradcheckReport report = {
        suite, name, .25,
        {.ok = ok, .reason = ok ? GRADCHECK_PASSED : GRADCHECK_SIGN, .input = 1, .index = 7,
         .numeric = 0.1, .uncertainty = 3e-12, .analytic = ok ? 0.1 : -0.1,
         .abs_error = ok ? 0 : .2, .rel_error = ok ? 0 : 2, .factor = -1, .other = -1, .axis = 2,
         .shift = -3, .checked = 20, .total = 40, .evaluations = 241, .seed = 9, .order = 2,
         .name = "x", .op = "tanh", .scope = "lm/l0"}};
    snprintf(report.result.message, sizeof report.result.message, "%s: the sentence (seed 9)",
             ok ? "passed" : "sign flipped");
    return report;
}

static const GradcheckReport *one_report;
static bool as_text(FILE *file) { return gradcheck_write_text(file, one_report); }
static bool as_json(FILE *file) { return gradcheck_write_json(file, one_report); }
static bool as_junit(FILE *file) { return gradcheck_write_junit(file, 1, one_report); }

static const char *written(bool (*write)(FILE *), const GradcheckReport *report) {
    static char text[TEXT_SIZE];
    memset(text, 0, sizeof text);
    FILE *file = fmemopen(text, sizeof text - 1, "w");
    cr_assert(file);
    one_report = report;
    cr_assert(write(file));
    cr_assert_eq(fclose(file), 0);
    return text;
}

static bool same_double(double a, double b) {
    return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof a) == 0;
}

static void expect_same(const GradcheckReport *a, const GradcheckReport *b) {
    const GradcheckResult *p = &a->result, *q = &b->result;
    cr_expect_str_eq(a->suite, b->suite);
    cr_expect_str_eq(a->name, b->name);
    cr_expect(same_double(a->seconds, b->seconds));
    cr_expect(p->ok == q->ok && p->reason == q->reason && p->input == q->input);
    cr_expect(p->index == q->index && p->other == q->other && p->axis == q->axis);
    cr_expect(p->shift == q->shift && p->checked == q->checked && p->total == q->total);
    cr_expect(p->evaluations == q->evaluations && p->seed == q->seed && p->order == q->order);
    const double x[] = {p->numeric, p->uncertainty, p->analytic, p->abs_error, p->rel_error,
                        p->factor};
    const double y[] = {q->numeric, q->uncertainty, q->analytic, q->abs_error, q->rel_error,
                        q->factor};
    for (int i = 0; i < 6; i++) cr_expect(same_double(x[i], y[i]), "%a is read as %a", x[i], y[i]);
    cr_expect_str_eq(p->name, q->name);
    cr_expect_str_eq(p->op, q->op);
    cr_expect_str_eq(p->scope, q->scope);
    cr_expect_str_eq(p->message, q->message);
}

static char names[2][GRADCHECK_REPORT_NAME_SIZE];

static void write_file(const char *path, const GradcheckReport *report) {
    FILE *file = fopen(path, "w");
    cr_assert(file && gradcheck_write_json(file, report) && fclose(file) == 0);
}

static GradcheckReport read_back(const char *path) {
    GradcheckReport report;
    char why[512] = "";
    cr_assert(gradcheck_read_json(path, names, &report, why, sizeof why), "%s", why);
    return report;
}

TestSuite(report, .init = open_folder, .fini = close_folder);

Test(report, text_is_one_line_that_says_how_to_repeat_a_failure) {
    GradcheckReport good = sample("tanh", "matrix", true), bad = sample("tanh", "matrix", false);
    cr_expect_str_eq(written(as_text, &good),
                     "ok      tanh/matrix: passed: the sentence (seed 9)\n");
    cr_expect_str_eq(written(as_text, &bad),
                     "FAILED  tanh/matrix: sign flipped: the sentence (seed 9); "
                     "repeat with GRADCHECK_SEED=9\n");
    good.suite = "a\nb\x1b[2J";
    good.name = "\xC2\x9Bm\xFF\xC3\xA9";
    snprintf(good.result.message, sizeof good.result.message, "one\r\ntwo\x7F");
    cr_expect_str_eq(written(as_text, &good),
                     "ok      a?b?[2J/?m" REPLACEMENT "\xC3\xA9: one??two?\n");
    good.suite = good.name = NULL;
    cr_expect_str_eq(written(as_text, &good), "ok      /: one??two?\n");
}

Test(report, json_is_read_back_as_it_was) {
    const double doubles[] = {0, -0.0, 1, -1, .1, 1.0 / 3, M_PI, 1e22, 1e-300, DBL_MAX, -DBL_MIN,
                              0x1p-1074, DBL_EPSILON, 9007199254740993.0, INFINITY, -INFINITY, NAN};
    const int64_t integers[] = {0, -1, INT32_MAX, INT64_MAX, INT64_MIN, ((int64_t)1 << 53) + 1};
    const uint64_t seeds[] = {0, 1, ((uint64_t)1 << 53) + 1, UINT64_MAX};
    for (int i = 0; i < GRADCHECK_REASONS * 17; i++) {
        GradcheckReport report = sample("suite", "name \xC3\xA9 \"quoted\" \\ \x01\n/", i % 2);
        GradcheckResult *r = &report.result;
        r->reason = (GradcheckReason)(i % GRADCHECK_REASONS);
        report.seconds = doubles[i % 17];
        r->numeric = doubles[(i + 1) % 17];
        r->uncertainty = doubles[(i + 2) % 17];
        r->analytic = doubles[(i + 3) % 17];
        r->abs_error = doubles[(i + 4) % 17];
        r->rel_error = doubles[(i + 5) % 17];
        r->factor = doubles[(i + 6) % 17];
        r->index = integers[i % 6];
        r->shift = integers[(i + 1) % 6];
        r->checked = integers[(i + 2) % 6];
        r->total = integers[(i + 3) % 6];
        r->evaluations = integers[(i + 4) % 6];
        r->seed = seeds[i % 4];
        r->input = i % 3 ? INT32_MAX : INT32_MIN;
        write_file(path_in("r.json"), &report);
        GradcheckReport back = read_back(path_in("r.json"));
        expect_same(&report, &back);
    }
}

Test(report, json_has_every_field_under_its_name) {
    static const char *const fields[] = {
        "ok", "reason", "input", "index", "numeric", "uncertainty", "analytic", "abs_error",
        "rel_error", "factor", "other", "axis", "shift", "checked", "total", "evaluations", "seed",
        "order", "name", "op", "scope", "message"};
    GradcheckReport report = sample("tanh", "matrix", false);
    report.result.numeric = NAN;
    json_t *object = json_loads(written(as_json, &report), 0, NULL);
    const json_t *result = json_object_get(object, "result");
    cr_assert_eq(json_object_size(object), 4);
    cr_assert_eq(json_object_size(result), sizeof fields / sizeof *fields);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        cr_expect(json_object_get(result, fields[i]), "%s", fields[i]);
    cr_expect_str_eq(json_string_value(json_object_get(result, "seed")), "9");
    cr_expect_str_eq(json_string_value(json_object_get(result, "reason")), "SIGN");
    cr_expect_str_eq(json_string_value(json_object_get(result, "numeric")), "NaN");
    cr_expect(json_is_false(json_object_get(result, "ok")));
    json_decref(object);
    cr_expect_eq(count(written(as_json, &report), "\n"), 1);
}

Test(report, json_list_is_an_array_of_all) {
    GradcheckReport reports[] = {sample("a", "1", true), sample("b", "2", false)};
    for (int n = 0; n <= 2; n++) {
        char text[TEXT_SIZE] = "";
        FILE *file = fmemopen(text, sizeof text, "w");
        cr_assert(file && gradcheck_write_json_list(file, n, reports) && fclose(file) == 0);
        json_t *list = json_loads(text, 0, NULL);
        cr_assert(json_is_array(list));
        cr_assert_eq(json_array_size(list), (size_t)n);
        for (int i = 0; i < n; i++)
            cr_expect_str_eq(json_string_value(json_object_get(json_array_get(list, (size_t)i),
                                                               "name")), reports[i].name);
        json_decref(list);
    }
}

Test(report, texts_are_cut_and_mended_at_whole_characters) {
    char longer[400];
    memset(longer, 'n', sizeof longer);
    memcpy(longer + GRADCHECK_REPORT_NAME_SIZE - 2, "\xC3\xA9", 2);
    longer[399] = 0;
    GradcheckReport report = sample("bad \xFF\xC3", longer, true);
    /* The second byte of the last character has no room. */
    memset(report.result.name, 'x', sizeof report.result.name);
    report.result.name[GRADCHECK_NAME_SIZE - 2] = (char)0xC3;
    report.result.name[GRADCHECK_NAME_SIZE - 1] = 0;
    write_file(path_in("r.json"), &report);
    GradcheckReport back = read_back(path_in("r.json"));
    cr_expect_str_eq(back.suite, "bad " REPLACEMENT REPLACEMENT);
    cr_expect_eq(strlen(back.name), GRADCHECK_REPORT_NAME_SIZE - 2);
    cr_expect_eq(strlen(back.result.name), GRADCHECK_NAME_SIZE - 2);
}

static void refuse(const char *text, size_t n, const char *word) {
    GradcheckReport report;
    char why[512] = "";
    write_bytes(path_in("r.json"), text, n);
    cr_expect(!gradcheck_read_json(path_in("r.json"), names, &report, why, sizeof why),
              "%.*s", (int)n, text);
    cr_expect(!gradcheck_read_json(path_in("r.json"), names, &report, NULL, 0));
    has(why, "r.json: ");
    has(why, word);
    cr_expect(!strchr(why, '\n'));
}

/* A report in which `from` is `to`. */
static void refuse_changed(const char *from, const char *to, const char *word) {
    GradcheckReport report = sample("tanh", "matrix", false);
    const char *text = written(as_json, &report), *at = strstr(text, from);
    char changed[TEXT_SIZE];
    cr_assert(at, "%s", from);
    int n = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to,
                     at + strlen(from));
    refuse(changed, (size_t)n, word);
}

Test(report, damaged_json_is_refused_with_the_reason) {
    GradcheckReport report = sample("tanh", "matrix", false), back;
    char text[TEXT_SIZE], why[512] = "";
    snprintf(text, sizeof text, "%s", written(as_json, &report));
    for (size_t n = 0; n + 1 < strlen(text); n++) refuse(text, n, ": ");
    refuse("[]\n", 3, "not the report");
    refuse("{}\n", 3, "not the report");
    refuse_changed("\"ok\"", "\"OK\"", "ok is missing");
    refuse_changed("false", "0", "ok ");
    refuse_changed("\"SIGN\"", "\"SIGNS\"", "reason");
    refuse_changed("\"SIGN\"", "1", "reason");
    refuse_changed("\"input\": 1", "\"input\": 2147483648", "input");
    refuse_changed("\"index\": 7", "\"index\": 7.5", "index");
    refuse_changed("\"index\": 7", "\"index\": 9223372036854775808", "byte");
    refuse_changed("\"factor\": -1.0", "\"factor\": \"one\"", "factor");
    refuse_changed("\"factor\": -1.0", "\"factor\": null", "factor");
    refuse_changed("\"seed\": \"9\"", "\"seed\": 9", "seed");
    refuse_changed("\"seed\": \"9\"", "\"seed\": \"-9\"", "seed");
    refuse_changed("\"seed\": \"9\"", "\"seed\": \"\"", "seed");
    refuse_changed("\"seed\": \"9\"", "\"seed\": \"18446744073709551616\"", "seed");
    refuse_changed("\"suite\": \"tanh\"", "\"suite\": 1", "suite");
    refuse_changed("\"name\": \"matrix\"", "\"label\": \"\"", "name");
    refuse_changed("\"seconds\": 0.25", "\"seconds\": true", "seconds");
    refuse_changed("\"op\"", "\"name\"", "duplicate");
    cr_expect(!gradcheck_read_json(path_in("none.json"), names, &back, why, sizeof why));
    has(why, "none.json: No such file");
    cr_expect(!gradcheck_read_json(folder, names, &back, why, sizeof why));
    has(why, "is a folder");
}

Test(report, junit_has_suites_cases_and_failures) {
    GradcheckReport reports[] = {sample("a", "1", true), sample("b", "2", false),
                                 sample("a", "3", false)};
    char text[TEXT_SIZE] = "";
    reports[1].seconds = NAN;
    reports[2].result.numeric = NAN;
    FILE *file = fmemopen(text, sizeof text, "w");
    cr_assert(file && gradcheck_write_junit(file, 3, reports) && fclose(file) == 0);
    has(text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"gradcheck\" "
              "tests=\"3\" failures=\"2\" errors=\"0\" time=\"0.500000\">\n");
    has(text, "<testsuite name=\"a\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"0.500000\">\n"
              "    <testcase classname=\"a\" name=\"1\" time=\"0.250000\">\n");
    has(text, "<testsuite name=\"b\" tests=\"1\" failures=\"1\" errors=\"0\" time=\"0.000000\">\n"
              "    <testcase classname=\"b\" name=\"2\" time=\"0.000000\">\n"
              "      <failure type=\"SIGN\" message=\"sign flipped: the sentence (seed 9)\">");
    has(text, "<testcase classname=\"a\" name=\"3\"");
    has(text, "numeric 0.10000000000000001\nuncertainty 3.0000000000000001e-12\n"
              "analytic -0.10000000000000001\nseed 9\nop tanh\nscope lm/l0\n");
    has(text, "numeric nan\n");
    cr_expect_eq(count(text, "<testsuite "), 2);
    cr_expect_eq(count(text, "<testcase "), 3);
    cr_expect_eq(count(text, "</testcase>"), 3);
    cr_expect_eq(count(text, "<failure "), 2);
    cr_expect_eq(count(text, "</failure>"), 2);
    cr_expect_eq(count(text, "repeat with GRADCHECK_SEED=9</failure>"), 2);
}

Test(report, junit_escapes_markup_control_characters_and_bad_utf8) {
    static const struct {
        const char *text, *xml;
    } cases[] = {
        {"a&b", "a&amp;b"}, {"<x>", "&lt;x&gt;"}, {"]]>", "]]&gt;"}, {"\"'", "&quot;&apos;"},
        {"\t\n\r", "&#9;&#10;&#13;"}, {"\x01\x08\x1B\x1F", REPLACEMENT REPLACEMENT REPLACEMENT
        REPLACEMENT}, {"\x7F", "\x7F"}, {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80",
        "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"}, {"\xFF", REPLACEMENT}, {"\xC3", REPLACEMENT},
        {"\xED\xA0\x80", REPLACEMENT REPLACEMENT REPLACEMENT}, /* a surrogate */
        {"\xEF\xBF\xBE\xEF\xBF\xBF", REPLACEMENT REPLACEMENT}, /* not characters */
        {"\xC0\xBC", REPLACEMENT REPLACEMENT},                 /* an overlong < */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        GradcheckReport report = sample(cases[i].text, cases[i].text, false);
        char expected[256];
        snprintf(report.result.message, sizeof report.result.message, "%s", cases[i].text);
        snprintf(report.result.op, sizeof report.result.op, "%s", cases[i].text);
        snprintf(report.result.scope, sizeof report.result.scope, "%s", cases[i].text);
        const char *text = written(as_junit, &report);
        snprintf(expected, sizeof expected, "classname=\"%s\" name=\"%s\"", cases[i].xml,
                 cases[i].xml);
        has(text, expected);
        snprintf(expected, sizeof expected, "<testsuite name=\"%s\"", cases[i].xml);
        has(text, expected);
        snprintf(expected, sizeof expected, "message=\"%s\">%s; repeat", cases[i].xml,
                 cases[i].xml);
        has(text, expected);
        snprintf(expected, sizeof expected, "op %s\nscope %s\n", cases[i].xml, cases[i].xml);
        has(text, expected);
    }
}

Test(report, a_full_disk_is_a_failure) {
    GradcheckReport report = sample("a", "b", true);
    bool (*const writers[])(FILE *) = {as_text, as_json, as_junit};
    for (int i = 0; i < 3; i++) {
        FILE *file = fopen("/dev/full", "w");
        if (!file) cr_skip_test("no /dev/full");
        setvbuf(file, NULL, _IONBF, 0);
        one_report = &report;
        cr_expect(!writers[i](file));
        fclose(file);
    }
}

/* ---- GRADCHECK_REPORT_DIR ---- */

Test(report, without_a_folder_nothing_is_written) {
    GradcheckReport report = sample("a", "b", true);
    cr_expect(gradcheck_report(&report, NULL, 0));
    setenv("GRADCHECK_REPORT_DIR", "", 1);
    cr_expect(gradcheck_report(&report, NULL, 0));
    cr_expect_eq(count_files(), 0);
}

Test(report, each_pair_of_names_has_a_file_of_its_own) {
    char longest[300], other[300];
    memset(longest, 'q', sizeof longest);
    longest[299] = 0;
    memcpy(other, longest, sizeof other);
    other[298] = 'r';
    const char *const pairs[][2] = {
        {"a", "b"}, {"a.b", "c"}, {"a", "b.c"}, {"a/b", "c"}, {"a", "b/c"}, {"", "a"}, {"a", ""},
        {"%", "a"}, {"", ""}, {"..", ".."}, {"/", "/"}, {"a b", "c"}, {"a%20b", "c"}, {"A", "\n"},
        {"\xFF", "x"}, {"\xC3\xA9", "x"}, {"a", longest}, {"a", other}, {longest, "a"},
        {longest, longest}};
    enum { N = sizeof pairs / sizeof *pairs };
    char why[512] = "";
    setenv("GRADCHECK_REPORT_DIR", folder, 1);
    for (int again = 0; again < 2; again++)
        for (int i = 0; i < N; i++) {
            GradcheckReport report = sample(pairs[i][0], pairs[i][1], again);
            cr_assert(gradcheck_report(&report, why, sizeof why), "%s", why);
        }
    cr_expect_eq(count_files(), N);
    GradcheckReport back = read_back(path_in("a.b.json"));
    GradcheckReport expected = sample("a", "b", true);
    expect_same(&expected, &back);
    back = read_back(path_in("a%2Fb.c.json"));
    cr_expect_str_eq(back.suite, "a/b");
    DIR *open = opendir(folder);
    for (struct dirent *entry; (entry = readdir(open));)
        if (strstr(entry->d_name, ".json"))
            cr_expect(entry->d_name[0] != '.' && read_back(path_in(entry->d_name)).result.ok);
    closedir(open);
}

Test(report, under_bazel_run_a_relative_folder_is_the_users) {
    GradcheckReport report = sample("a", "b", true);
    char why[512] = "";
    setenv("BUILD_WORKING_DIRECTORY", folder, 1);
    setenv("GRADCHECK_REPORT_DIR", ".", 1);
    cr_expect(gradcheck_report(&report, why, sizeof why), "%s", why);
    unsetenv("BUILD_WORKING_DIRECTORY");
    cr_expect_eq(count_files(), 1);
}

Test(report, a_folder_that_is_none_is_named) {
    GradcheckReport report = sample("a", "b", true);
    char why[512] = "";
    setenv("GRADCHECK_REPORT_DIR", path_in("none"), 1);
    cr_expect(!gradcheck_report(&report, why, sizeof why));
    has(why, "GRADCHECK_REPORT_DIR: ");
    has(why, "none: No such file or directory");
    cr_expect(!gradcheck_report(&report, NULL, 0));
    write_bytes(path_in("none"), "", 0);
    cr_expect(!gradcheck_report(&report, why, sizeof why));
    has(why, "none: Not a directory");
    mkdir(path_in("a.b.json"), 0777);
    setenv("GRADCHECK_REPORT_DIR", folder, 1);
    cr_expect(!gradcheck_report(&report, why, sizeof why));
    has(why, "a.b.json: is a folder");
    cr_expect_eq(count_files(), 2);
}

/* ---- cases ---- */

static bool forward(void *p) {
    GradArg *a = p;
    for (int i = 0; i < 3; i++) ((double *)a[1].value)[i] = tanh(((double *)a[0].value)[i]);
    return true;
}

static bool backward(void *p) {
    GradArg *a = p;
    for (int i = 0; i < 3; i++) {
        double y = ((double *)a[1].value)[i];
        ((double *)a[0].grad)[i] = (1 - y * y) * ((double *)a[1].grad)[i];
    }
    return true;
}

static bool backward_negative(void *p) {
    GradArg *a = p;
    backward(p);
    for (int i = 0; i < 3; i++) ((double *)a[0].grad)[i] *= -1;
    return true;
}

static bool check_tanh(GradcheckCall back, GradcheckResult *result) {
    double x[] = {.1, -.7, 2};
    const int64_t shape[] = {3};
    GradArg a[2] = {{.name = "x", .ndim = 1, .shape = shape, .value = x},
                    {.name = "y", .ndim = 1, .shape = shape}};
    return gradcheck_plain(forward, back, a, 1, a, 1, a + 1, NULL, result);
}

static bool right(GradcheckResult *result) { return check_tanh(backward, result); }
static bool wrong(GradcheckResult *result) { return check_tanh(backward_negative, result); }
static bool no_check(GradcheckResult *result) { return (void)result, false; }
static bool no_check_passed(GradcheckResult *result) { return (void)result, true; }
static bool denied(GradcheckResult *result) { return !right(result); }
static bool inverted(GradcheckResult *result) { return !wrong(result); }

static bool sees_itself(GradcheckResult *result) {
    GradcheckReport report = read_back(path_in("s.n.json"));
    cr_expect(!report.result.ok);
    cr_expect_eq(report.result.reason, GRADCHECK_ERROR);
    has(report.result.message, "did not finish");
    return right(result);
}

Test(report, a_case_counts_as_passed_only_where_its_check_did) {
    static const struct {
        bool (*run)(GradcheckResult *);
        GradcheckReason reason;
        const char *word;
    } cases[] = {{right, GRADCHECK_PASSED, "passed: 3 of 3"},
                 {wrong, GRADCHECK_SIGN, "sign flipped"},
                 {no_check, GRADCHECK_ERROR, "made no check"},
                 {no_check_passed, GRADCHECK_ERROR, "without a check that passed"},
                 {denied, GRADCHECK_ERROR, "returned false, though its check passed: passed: 3"},
                 {inverted, GRADCHECK_ERROR, "without a check that passed: sign flipped"},
                 {sees_itself, GRADCHECK_PASSED, "passed"}};
    setenv("GRADCHECK_REPORT_DIR", folder, 1);
    setenv("GRADCHECK_SEED", "17", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        GradcheckCase c = {"s", "n", cases[i].run};
        GradcheckReport report;
        char why[256] = "x";
        bool ok = gradcheck_run_case(&c, &report, why, sizeof why);
        cr_expect_str_eq(why, "");
        cr_expect_eq(ok, cases[i].reason == GRADCHECK_PASSED);
        cr_expect_eq(ok, report.result.ok);
        cr_expect_eq(report.result.reason, cases[i].reason);
        cr_expect_eq(report.result.seed, 17);
        has(report.result.message, cases[i].word);
        cr_expect(report.seconds >= 0 && report.seconds < 60);
        GradcheckReport back = read_back(path_in("s.n.json"));
        expect_same(&report, &back);
    }
    GradcheckCase c = {"s", "n", right};
    GradcheckReport report;
    char why[256] = "";
    setenv("GRADCHECK_REPORT_DIR", path_in("none"), 1);
    cr_expect(!gradcheck_run_case(&c, &report, why, sizeof why));
    cr_expect(report.result.ok);
    has(why, "No such file");
    unsetenv("GRADCHECK_REPORT_DIR");
    cr_expect(gradcheck_run_case(&c, &report, NULL, 0));
}

/* As a user writes it; it is run by Criterion like any other. */
GRADCHECK_TEST(report_criterion, tanh_is_right) {
    return check_tanh(backward, result);
}

Test(report, a_criterion_case_is_reported_under_its_names) {
    setenv("GRADCHECK_REPORT_DIR", folder, 1);
    GradcheckCase c = {"report_criterion", "tanh_is_right",
                       gradcheck_of_report_criterion_tanh_is_right};
    GradcheckReport report;
    cr_assert(gradcheck_run_case(&c, &report, NULL, 0));
    GradcheckReport back = read_back(path_in("report_criterion.tanh_is_right.json"));
    cr_expect(back.result.ok);
    cr_expect_str_eq(back.suite, "report_criterion");
}

/* ---- programs ---- */

typedef struct {
    int status;
    char out[TEXT_SIZE], err[TEXT_SIZE];
} Ran;

/* In a process of its own, with its output in files.  argv[0] NULL: gradcheck_main. */
static void run_program(Ran *ran, const char *program, const GradcheckCase *cases,
                        const char *const *arguments) {
    char *argv[16] = {(char *)(program ? program : "/some/where/checks")}, out[300], err[300];
    int argc = 1;
    for (; arguments[argc - 1]; argc++) argv[argc] = (char *)arguments[argc - 1];
    snprintf(out, sizeof out, "%s/out", folder);
    snprintf(err, sizeof err, "%s/err", folder);
    fflush(NULL);
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        if (!freopen(out, "w", stdout) || !freopen(err, "w", stderr)) _exit(99);
        if (program) execv(program, argv);
        int status = program ? 98 : gradcheck_main(argc, argv, cases);
        fflush(NULL);
        _exit(status);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    ran->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    read_text(out, ran->out);
    read_text(err, ran->err);
    remove(out);
    remove(err);
}

static bool crash(GradcheckResult *result) { return (void)result, _exit(77), false; }

static bool leave(GradcheckResult *result) { return exit(0), (void)result, true; }
static const GradcheckCase leaving[] = {{"a", "leaves", leave}, {NULL, NULL, NULL}};

static const GradcheckCase all[] = {{"tanh", "vector", right}, {"tanh", "negative", wrong},
                                    {"other", "vector", right}, {NULL, NULL, NULL}};
static const GradcheckCase good[] = {{"tanh", "vector", right}, {NULL, NULL, NULL}};
static const GradcheckCase none[] = {{NULL, NULL, NULL}};
static const GradcheckCase crashing[] = {{"tanh", "vector", right}, {"a", "crash", crash},
                                         {NULL, NULL, NULL}};

#define MAIN(cases, ...) \
    run_program(&ran, NULL, cases, (const char *const[]){__VA_ARGS__ __VA_OPT__(,) NULL})

static Ran ran;

Test(report, main_runs_its_cases_and_ends_with_0_or_1) {
    MAIN(good);
    cr_expect_eq(ran.status, 0);
    has(ran.out, "ok      tanh/vector: passed: 3 of 3");
    has(ran.out, "\n1 passed, 0 failed\n");
    cr_expect_str_eq(ran.err, "");
    MAIN(all);
    cr_expect_eq(ran.status, 1);
    cr_expect_eq(count(ran.out, "\n"), 4);
    has(ran.out, "\nFAILED  tanh/negative: sign flipped");
    has(ran.out, "; repeat with GRADCHECK_SEED=0\n");
    has(ran.out, "\nok      other/vector: ");
    has(ran.out, "\n2 passed, 1 failed\n");
    cr_expect_str_eq(ran.err, "");
}

Test(report, main_is_not_content_with_a_case_that_ends_the_program) {
    MAIN(leaving);
    cr_expect_eq(ran.status, 1);
    has(ran.err, "a/leaves ended the program");
}

Test(report, main_lists_and_chooses_cases) {
    MAIN(all, "--list");
    cr_expect_eq(ran.status, 0);
    cr_expect_str_eq(ran.out, "tanh/vector\ntanh/negative\nother/vector\n");
    MAIN(all, "--list", "--case", "*/vector");
    cr_expect_str_eq(ran.out, "tanh/vector\nother/vector\n");
    MAIN(all, "--case=tanh/vector", "--case", "o*");
    cr_expect_eq(ran.status, 0);
    has(ran.out, "tanh/vector: ");
    has(ran.out, "other/vector: ");
    has(ran.out, "\n2 passed, 0 failed\n");
    MAIN(all, "--case", "*neg*");
    cr_expect_eq(ran.status, 1);
    has(ran.out, "\n0 passed, 1 failed\n");
}

Test(report, main_hands_the_seed_on) {
    MAIN(good, "--seed", "18446744073709551615");
    cr_expect_eq(ran.status, 0);
    has(ran.out, "(seed 18446744073709551615)");
    setenv("GRADCHECK_SEED", "5", 1);
    MAIN(good);
    has(ran.out, "(seed 5)");
    MAIN(good, "--seed", "6");
    has(ran.out, "(seed 6)");
}

Test(report, main_helps) {
    for (int i = 0; i < 2; i++) {
        MAIN(none, i ? "--help" : "-h");
        cr_expect_eq(ran.status, 0);
        has(ran.out, "usage: checks [OPTION]");
        cr_expect_str_eq(ran.err, "");
        const char *const options[] = {"--list", "--case", "--seed", "--json", "--junit"};
        for (int o = 0; o < 5; o++) has(ran.out, options[o]);
    }
}

static void refused(const GradcheckCase *cases, const char *word, const char *first,
                    const char *second) {
    MAIN(cases, first, second);
    cr_expect_eq(ran.status, 2);
    cr_expect_str_eq(ran.out, "");
    has(ran.err, word);
    cr_expect_eq(strncmp(ran.err, "checks: ", 8), 0, "%s", ran.err);
    cr_expect_eq(count(ran.err, "\n"), 1, "%s", ran.err);
}

Test(report, main_refuses_a_wrong_call_in_one_line) {
    refused(all, "--frobnicate", "--frobnicate", NULL);
    refused(all, "-x", "-x", NULL);
    refused(all, "--list=5", "--list=5", NULL);
    refused(all, "--case needs a value", "--case", NULL);
    refused(all, "unexpected argument tanh", "tanh", NULL);
    refused(all, "unexpected argument more", "--", "more");
    refused(all, "no case fits *cosh*", "--case", "*cosh*");
    refused(all, "no case fits x", "--list", "--case=x");
    refused(all, "no case fits x", "--case=*", "--case=x");
    refused(none, "no case", NULL, NULL);
    const char *const seeds[] = {"", "x", "-1", "+1", " 1", "1x", "0x10", "1.5",
                                 "18446744073709551616"};
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++)
        refused(all, "not a whole number", "--seed", seeds[i]);
    refused(all, "--seed a?b", "--seed", "a\nb");
    refused(all, "none/r.json: No such file", "--json", path_in("none/r.json"));
    refused(all, "is a folder", "--junit", folder);
    refused(all, "the same file", "--junit=x", "--json=x");
    cr_expect_eq(count_files(), 0);
}

Test(report, main_writes_json_and_junit) {
    char json[300], junit[300], text[TEXT_SIZE];
    snprintf(json, sizeof json, "%s/r.json", folder);
    snprintf(junit, sizeof junit, "%s/r.xml", folder);
    MAIN(all, "--json", json, "--junit", junit);
    cr_expect_eq(ran.status, 1);
    cr_expect_eq(count_files(), 2);
    json_t *list = json_load_file(json, 0, NULL);
    cr_expect_eq(json_array_size(list), 3);
    json_decref(list);
    read_text(junit, text);
    has(text, "tests=\"3\" failures=\"1\"");
    cr_expect_eq(count(text, "<testsuite "), 2);
}

Test(report, main_reports_every_case_a_crashed_one_too) {
    setenv("GRADCHECK_REPORT_DIR", folder, 1);
    MAIN(crashing);
    cr_expect_eq(ran.status, 77);
    has(ran.out, "ok      tanh/vector: ");
    cr_expect_eq(count_files(), 2);
    cr_expect(read_back(path_in("tanh.vector.json")).result.ok);
    cr_expect(!read_back(path_in("a.crash.json")).result.ok);
    setenv("GRADCHECK_REPORT_DIR", path_in("none"), 1);
    MAIN(all);
    cr_expect_eq(ran.status, 2);
    cr_expect_eq(count(ran.err, "\n"), 1);
    has(ran.err, "checks: GRADCHECK_REPORT_DIR: ");
    has(ran.out, "\n2 passed, 1 failed\n");
}

Test(report, main_writes_where_the_user_of_bazel_run_stands) {
    setenv("BUILD_WORKING_DIRECTORY", folder, 1);
    MAIN(good, "--json", "not this one", "--json", "r.json", "--junit=r.xml");
    cr_expect_eq(ran.status, 0);
    cr_expect_eq(count_files(), 2);
    cr_expect_eq(access(path_in("r.json"), R_OK), 0);
}

/* ---- gradcheck_merge ---- */

static void run_merge(const char *first, const char *second) {
    const char *program = getenv("GRADCHECK_MERGE");
    const char *const arguments[] = {first, second, NULL};
    run_program(&ran, program ? program : "autograd/gradcheck_merge", NULL, arguments);
}

static void merge(const char *option) {
    run_merge(option ? option : folder, option ? folder : NULL);
}

static void put_report(const char *suite, const char *name, bool ok) {
    GradcheckReport report = sample(suite, name, ok);
    char why[512] = "";
    setenv("GRADCHECK_REPORT_DIR", folder, 1);
    cr_assert(gradcheck_report(&report, why, sizeof why), "%s", why);
}

Test(report, merge_writes_one_report_in_the_order_of_the_names) {
    put_report("b", "1", true);
    put_report("a", "2", true);
    put_report("a", "1", true);
    write_bytes(path_in("notes.txt"), "x", 1);
    write_bytes(path_in(".tmp-1-0.json"), "x", 1);
    merge(NULL);
    cr_expect_eq(ran.status, 0);
    cr_expect_str_eq(ran.out, "ok      a/1: passed: the sentence (seed 9)\n"
                              "ok      a/2: passed: the sentence (seed 9)\n"
                              "ok      b/1: passed: the sentence (seed 9)\n"
                              "3 passed, 0 failed\n");
    cr_expect_str_eq(ran.err, "");
    put_report("a|b", "_*`<", false);
    merge("--text");
    cr_expect_eq(ran.status, 1);
    has(ran.out, "\n3 passed, 1 failed\n");
    setenv("BUILD_WORKING_DIRECTORY", folder, 1);
    run_merge("--json", ".");
    unsetenv("BUILD_WORKING_DIRECTORY");
    cr_expect_eq(ran.status, 1);
    json_t *list = json_loads(ran.out, 0, NULL);
    cr_expect_eq(json_array_size(list), 4);
    json_decref(list);
    merge("--junit");
    cr_expect_eq(ran.status, 1);
    has(ran.out, "tests=\"4\" failures=\"1\"");
    merge("--markdown");
    cr_expect_eq(ran.status, 1);
    has(ran.out, "### Gradients: 3 passed, 1 failed\n\n");
    has(ran.out, "|---|---|---|---|---|---|\n| **FAILED** | a\\|b/\\_\\*\\`\\< | SIGN | 2 | 0.250 "
                 "| sign flipped: the sentence (seed 9) |\n| ok | a/1 | PASSED | 0 | ");
}

Test(report, merge_names_what_is_damaged) {
    merge(NULL);
    cr_expect_eq(ran.status, 2);
    has(ran.err, "holds no file *.json");
    put_report("a", "1", false);
    write_bytes(path_in("b.json"), "{", 1);
    write_bytes(path_in("c.json"), "[]", 2);
    merge(NULL);
    cr_expect_eq(ran.status, 2);
    has(ran.out, "FAILED  a/1");
    has(ran.err, "gradcheck_merge: ");
    has(ran.err, "b.json: byte 1: ");
    has(ran.err, "c.json: is not the report of a check\n");
    cr_expect_eq(count(ran.err, "\n"), 2);
}

Test(report, merge_refuses_a_wrong_call_in_one_line) {
    merge("--frobnicate");
    cr_expect_eq(ran.status, 2);
    cr_expect_str_eq(ran.err, "gradcheck_merge: wrong option --frobnicate; --help lists them\n");
    merge("--");
    has(ran.err, "holds no file");
    merge("second");
    cr_expect_eq(ran.status, 2);
    has(ran.err, "one folder");
    merge("--help");
    cr_expect_eq(ran.status, 0);
    has(ran.out, "usage: gradcheck_merge");
}
