#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "autograd/gradcheck/core.h"
#include "autograd/gradcheck/report_impl.h"

enum { PASSED, FAILED, WRONG_CALL };

typedef struct {
    const char *program;
    const GradcheckCase *cases;
    int n, n_chosen, n_patterns;
    const char **patterns, *seed;
    char *json, *junit;
    bool *chosen; /* which of the cases */
    bool list, help;
    GradcheckReport *reports; /* of the chosen ones */
    TensorError error;
} Run;

/* ---- the command line ---- */

static const struct option options[] = {
    {"list", no_argument, NULL, 'l'},       {"case", required_argument, NULL, 'c'},
    {"seed", required_argument, NULL, 's'}, {"json", required_argument, NULL, 'j'},
    {"junit", required_argument, NULL, 'u'}, {"help", no_argument, NULL, 'h'},
    {0},
};

static void print_help(const char *program) {
    printf("usage: %s [OPTION]...\n"
           "Checks gradients against finite differences.\n"
           "  --list          prints suite/name of every case\n"
           "  --case PATTERN  only those whose suite/name fits the shell pattern; may be repeated\n"
           "  --seed N        the seed of every case whose options have none (GRADCHECK_SEED)\n"
           "  --json FILE     writes all results there as JSON as well\n"
           "  --junit FILE    writes all results there as JUnit XML as well\n"
           "  --help          this text\n"
           "With GRADCHECK_REPORT_DIR set, each result is written to a file of its own there.\n"
           "Exit status: 0 all passed, 1 a case failed, 2 a wrong call or an unwritten report.\n",
           program);
}

static bool out_of_memory(Run *run) { return tensor_error_set(&run->error, "out of memory"); }

static bool take_path(Run *run, char **path) {
    free(*path);
    *path = gradcheck_user_path(optarg);
    return *path || out_of_memory(run);
}

static bool take_option(Run *run, int option) {
    uint64_t seed;
    switch (option) {
    case 'l': run->list = true; return true;
    case 'c': run->patterns[run->n_patterns++] = optarg; return true;
    case 's':
        run->seed = optarg;
        return gradcheck_read_seed(optarg, &seed) ||
               tensor_error_set(&run->error, "--seed %s: not a whole number of 0 to %" PRIu64,
                                optarg, UINT64_MAX);
    case 'j': return take_path(run, &run->json);
    case 'u': return take_path(run, &run->junit);
    default: run->help = true; return true;
    }
}

static bool read_options(Run *run, int argc, char **argv) {
    opterr = 0;
    optind = 0; /* starts anew where a program has read options before */
    for (;;) {
        /* The leading + stops at the first word that is no option. */
        const char *word = argc > 1 ? argv[optind > 0 ? optind : 1] : NULL;
        int option = getopt_long(argc, argv, "+:h", options, NULL);
        if (option == -1) break;
        if (option == ':') return tensor_error_set(&run->error, "%s needs a value", word);
        if (option == '?')
            return tensor_error_set(&run->error, "wrong option %s; --help lists them", word);
        if (!take_option(run, option)) return false;
    }
    if (optind < argc)
        return tensor_error_set(&run->error, "unexpected argument %s", argv[optind]);
    if (run->json && run->junit && strcmp(run->json, run->junit) == 0)
        return tensor_error_set(&run->error, "--json and --junit name the same file");
    return true;
}

/* ---- which cases ---- */

static bool fits(Run *run, const char *pattern, const GradcheckCase *c, bool *fit) {
    size_t size = strlen(c->suite) + strlen(c->name) + 2;
    char *label = malloc(size);
    if (!label) return out_of_memory(run);
    snprintf(label, size, "%s/%s", c->suite, c->name);
    *fit = fnmatch(pattern, label, 0) == 0;
    free(label);
    return true;
}

static bool choose_by(Run *run, const char *pattern) {
    bool any = false;
    for (int i = 0; i < run->n; i++) {
        bool fit = false;
        if (!fits(run, pattern, &run->cases[i], &fit)) return false;
        run->chosen[i] |= fit;
        any |= fit;
    }
    return any || tensor_error_set(&run->error, "no case fits %s; --list shows them", pattern);
}

static bool choose(Run *run) {
    if (run->n == 0) return tensor_error_set(&run->error, "there is no case");
    for (int i = 0; i < run->n; i++) run->chosen[i] = run->n_patterns == 0;
    for (int p = 0; p < run->n_patterns; p++)
        if (!choose_by(run, run->patterns[p])) return false;
    for (int i = 0; i < run->n; i++) run->n_chosen += run->chosen[i];
    run->reports = calloc((size_t)run->n_chosen, sizeof *run->reports);
    return run->reports || out_of_memory(run);
}

/* ---- running ---- */

static int fail(const Run *run) {
    fprintf(stderr, "%s: %s\n", run->program, run->error.message);
    return WRONG_CALL;
}

static void list_cases(const Run *run) {
    for (int i = 0; i < run->n; i++)
        if (run->chosen[i]) printf("%s/%s\n", run->cases[i].suite, run->cases[i].name);
}

/* Better before the checks than after them. */
static bool can_write(Run *run, const char *path) {
    TensorFileWriter w;
    if (!path) return true;
    if (!tensor_file_begin(&w, path, &run->error)) return false;
    tensor_file_abort(&w);
    return true;
}

static bool prepare(Run *run) {
    if (!can_write(run, run->json) || !can_write(run, run->junit)) return false;
    return !run->seed || setenv("GRADCHECK_SEED", run->seed, 1) == 0 || out_of_memory(run);
}

static const GradcheckCase *running; /* where a case that calls exit() finds its name */

static void ended_by_a_case(void) {
    if (!running) return;
    fprintf(stderr, "%s/%s ended the program\n", running->suite, running->name);
    fflush(NULL);
    _exit(FAILED);
}

/* Returns how many failed; the first report that could not be written goes to run->error. */
static int run_cases(Run *run) {
    int done = 0, failed = 0;
    atexit(ended_by_a_case);
    for (int i = 0; i < run->n; i++) {
        if (!run->chosen[i]) continue;
        GradcheckReport *report = &run->reports[done++];
        char why[sizeof run->error.message];
        running = &run->cases[i];
        gradcheck_run_case(running, report, why, sizeof why);
        running = NULL;
        if (*why && !*run->error.message) tensor_error_set(&run->error, "%s", why);
        failed += !report->result.ok;
        gradcheck_write_text(stdout, report);
        fflush(stdout); /* a crash of the next one loses nothing */
    }
    printf("%d passed, %d failed\n", done - failed, failed);
    return failed;
}

static bool write_reports(Run *run) {
    int n = run->n_chosen;
    const GradcheckReport *r = run->reports;
    return (!run->json ||
            gradcheck_write_file(run->json, gradcheck_write_json_list, n, r, &run->error)) &&
           (!run->junit ||
            gradcheck_write_file(run->junit, gradcheck_write_junit, n, r, &run->error));
}

static bool flushed(Run *run) {
    bool failed_before = ferror(stdout) != 0;
    if (fflush(stdout) == 0 && !failed_before) return true;
    return tensor_error_errno(&run->error, "stdout", errno ? errno : EIO);
}

static int execute(Run *run, int argc, char **argv) {
    if (!read_options(run, argc, argv)) return fail(run);
    if (run->help) {
        print_help(run->program);
        return flushed(run) ? PASSED : fail(run);
    }
    if (!choose(run)) return fail(run);
    if (run->list) {
        list_cases(run);
        return flushed(run) ? PASSED : fail(run);
    }
    if (!prepare(run)) return fail(run);
    int failed = run_cases(run);
    bool written = write_reports(run) && flushed(run) && !*run->error.message;
    return !written ? fail(run) : failed > 0 ? FAILED : PASSED;
}

static const char *program_name(int argc, char **argv) {
    const char *path = argc > 0 && argv[0] ? argv[0] : "gradcheck", *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

int gradcheck_main(int argc, char **argv, const GradcheckCase *cases) {
    Run run = {.program = program_name(argc, argv), .cases = cases};
    while (cases[run.n].name) run.n++;
    run.patterns = calloc((size_t)argc + 1, sizeof *run.patterns);
    run.chosen = calloc((size_t)run.n + 1, sizeof *run.chosen);
    int status = WRONG_CALL;
    if (run.patterns && run.chosen) status = execute(&run, argc, argv);
    else out_of_memory(&run), fail(&run);
    free(run.patterns);
    free(run.chosen);
    free(run.reports);
    free(run.json);
    free(run.junit);
    return status;
}
