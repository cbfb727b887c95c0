/* merge.c -- the program gradcheck_merge: one report of the files in GRADCHECK_REPORT_DIR. */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "autograd/gradcheck/report_impl.h"

enum { PASSED, FAILED, WRONG_CALL };

static const char program[] = "gradcheck_merge";

/* ---- the folder ---- */

typedef struct {
    char **names;
    int n, capacity;
} Files;

static void free_files(Files *f) {
    for (int i = 0; i < f->n; i++) free(f->names[i]);
    free(f->names);
}

static bool add_file(Files *f, const char *folder, const char *name) {
    if (f->n == f->capacity) {
        int capacity = f->capacity * 2 + 64;
        char **names = realloc(f->names, (size_t)capacity * sizeof *names);
        if (!names) return false;
        f->names = names;
        f->capacity = capacity;
    }
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);
    if (!path) return false;
    snprintf(path, size, "%s/%s", folder, name);
    f->names[f->n++] = path;
    return true;
}

/* Temporary files begin with a point. */
static bool is_report(const char *name) {
    size_t n = strlen(name);
    return name[0] != '.' && n >= 5 && strcmp(name + n - 5, ".json") == 0;
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool list_files(Files *f, const char *folder, TensorError *error) {
    DIR *open = opendir(folder);
    if (!open) return tensor_error_errno(error, folder, errno);
    int code = 0;
    for (struct dirent *entry; code == 0;) {
        errno = 0;
        entry = readdir(open);
        if (!entry && errno == 0) break;
        if (!entry) code = errno;
        else if (is_report(entry->d_name) && !add_file(f, folder, entry->d_name)) code = ENOMEM;
    }
    closedir(open);
    if (code != 0) return tensor_error_errno(error, folder, code);
    if (f->n == 0) return tensor_error_file(error, folder, -1, "holds no file *.json");
    qsort(f->names, (size_t)f->n, sizeof *f->names, compare);
    return true;
}

/* ---- formats ---- */

static bool write_text(FILE *file, int n, const GradcheckReport *reports) {
    int failed = 0;
    for (int i = 0; i < n; i++) {
        if (!gradcheck_write_text(file, &reports[i])) return false;
        failed += !reports[i].result.ok;
    }
    fprintf(file, "%d passed, %d failed\n", n - failed, failed);
    return !ferror(file);
}

/* The text of a cell, in which nothing is markup. */
static void put_cell(FILE *file, const char *text) {
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7F) {
            putc(' ', file);
            continue;
        }
        if (strchr("\\`*_[]<>|~&#", *text)) putc('\\', file);
        putc(*text, file);
    }
}

static void put_row(FILE *file, const GradcheckReport *report) {
    const GradcheckResult *r = &report->result;
    fputs(r->ok ? "| ok | " : "| **FAILED** | ", file);
    put_cell(file, report->suite);
    putc('/', file);
    put_cell(file, report->name);
    fputs(" | ", file);
    put_cell(file, gradcheck_reason_code(r->reason));
    fprintf(file, " | %.2g | %.3f | ", r->rel_error, report->seconds);
    put_cell(file, r->message);
    fputs(" |\n", file);
}

/* The failed ones first. */
static bool write_markdown(FILE *file, int n, const GradcheckReport *reports) {
    int failed = 0;
    for (int i = 0; i < n; i++) failed += !reports[i].result.ok;
    fprintf(file, "### Gradients: %d passed, %d failed\n\n", n - failed, failed);
    fputs("| | case | reason | relative error | seconds | message |\n"
          "|---|---|---|---|---|---|\n", file);
    for (int passed = 0; passed <= 1; passed++)
        for (int i = 0; i < n; i++)
            if (reports[i].result.ok == passed) put_row(file, &reports[i]);
    return !ferror(file);
}

/* ---- the whole ---- */

static int fail(const char *message) {
    fprintf(stderr, "%s: %s\n", program, message);
    return WRONG_CALL;
}

/* Damaged files are named; the others are in the report all the same. */
static int merge(const Files *f, GradcheckWriter *write) {
    GradcheckReport *reports = calloc((size_t)f->n, sizeof *reports);
    char(*names)[2][GRADCHECK_REPORT_NAME_SIZE] = calloc((size_t)f->n, sizeof *names);
    int n = 0, status = PASSED;
    for (int i = 0; i < f->n && reports && names; i++) {
        TensorError why;
        if (!gradcheck_read_json(f->names[i], names[n], &reports[n], why.message,
                                 sizeof why.message)) {
            status = fail(why.message);
            continue;
        }
        if (!reports[n].result.ok && status == PASSED) status = FAILED;
        n++;
    }
    if (!reports || !names) status = fail("out of memory");
    else if (n > 0 && !(write(stdout, n, reports) && fflush(stdout) == 0))
        status = fail("the report could not be written");
    free(reports);
    free(names);
    return status;
}

/* `bazel run` starts programs elsewhere than where the user stands, and says it. */
static bool enter_users_folder(TensorError *error) {
    const char *folder = getenv("BUILD_WORKING_DIRECTORY");
    return !folder || chdir(folder) == 0 || tensor_error_errno(error, folder, errno);
}

static int merge_folder(const char *folder, GradcheckWriter *write) {
    Files files = {0};
    TensorError error;
    if (!enter_users_folder(&error)) return fail(error.message);
    int status = list_files(&files, folder, &error) ? merge(&files, write) : fail(error.message);
    free_files(&files);
    return status;
}

static int help(void) {
    puts("usage: gradcheck_merge [--text | --json | --junit | --markdown] FOLDER\n"
         "Writes one report of all files *.json in FOLDER, which programs run with\n"
         "GRADCHECK_REPORT_DIR=FOLDER have left there, to standard output.\n"
         "Exit status: 0 all passed, 1 a case failed, 2 no report or a damaged one.");
    return fflush(stdout) == 0 ? PASSED : fail("the help could not be written");
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"text", no_argument, NULL, 't'},  {"json", no_argument, NULL, 'j'},
        {"junit", no_argument, NULL, 'u'}, {"markdown", no_argument, NULL, 'm'},
        {"help", no_argument, NULL, 'h'},  {0},
    };
    GradcheckWriter *write = write_text;
    TensorError error;
    opterr = 0;
    for (;;) {
        const char *word = argv[optind];
        switch (getopt_long(argc, argv, "+h", options, NULL)) {
        case 't': write = write_text; continue;
        case 'j': write = gradcheck_write_json_list; continue;
        case 'u': write = gradcheck_write_junit; continue;
        case 'm': write = write_markdown; continue;
        case 'h': return help();
        case -1: break;
        default:
            tensor_error_set(&error, "wrong option %s; --help lists them", word);
            return fail(error.message);
        }
        break;
    }
    if (argc == optind + 1) return merge_folder(argv[optind], write);
    return fail(argc > optind ? "one folder, please" : "no folder given; --help says more");
}
