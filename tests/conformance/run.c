/* run.c -- see run.h. */
#include "tests/conformance/run.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/kinds.h"

static const struct {
    const char *kind;
    void (*run)(Case *c);
} kinds[] = {
    {"op", kind_op},
    {"optim", kind_optim},
    {"clip", kind_clip},
    {"schedule", kind_schedule},
    {"lstm", kind_sequence},
    {"gru", kind_sequence},
    {"rnn_tanh", kind_sequence},
    {"rnn_relu", kind_sequence},
    {"lstm_cell", kind_cell},
    {"gru_cell", kind_cell},
    {"rnn_cell", kind_cell},
};

static void run_case(Case *c) {
    for (size_t i = 0; case_ok(c) && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(c->kind, kinds[i].kind) == 0) {
            kinds[i].run(c);
            case_finish(c);
            return;
        }
    case_fail(c, "unknown kind `%s`", c->kind);
}

static void run_file(const char *path, const RunOptions *o, FILE *out, RunCount *count) {
    Case c;
    case_open(&c, path);
    if (!case_ok(&c) || !o->only || fnmatch(o->only, c.label, 0) == 0) {
        run_case(&c);
        count->constant += c.constant_parameters;
        if (case_ok(&c)) count->passed++;
        else count->failed++, fprintf(out, "%s: %s\n", c.label, c.reason.message);
    }
    case_close(&c);
}

static int is_case(const struct dirent *entry) {
    static const char suffix[] = ".safetensors";
    size_t length = strlen(entry->d_name), n = sizeof suffix - 1;
    return length > n && strcmp(entry->d_name + length - n, suffix) == 0;
}

RunCount run_folder(const char *folder, const RunOptions *options, FILE *out) {
    RunCount count = {0};
    struct dirent **entry = NULL;
    int n = scandir(folder, &entry, is_case, alphasort);
    if (n < 0) fprintf(out, "%s: %s\n", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        char *path = NULL;
        size_t size;
        FILE *text = open_memstream(&path, &size);
        if (text) fprintf(text, "%s/%s", folder, entry[i]->d_name);
        if (text && fclose(text) == 0) run_file(path, options, out, &count);
        else count.failed++, fprintf(out, "%s: out of memory\n", entry[i]->d_name);
        free(path);
        free(entry[i]);
    }
    free(entry);
    if (n >= 0 && count.passed + count.failed == 0)
        fprintf(out, "%s: no case%s%s\n", folder, options->only ? " like " : " (*.safetensors)",
                options->only ? options->only : "");
    if (count.passed + count.failed == 0) count.failed = 1;
    return count;
}
