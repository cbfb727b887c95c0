/* bench.c -- what a training step costs, what a layer costs, what checking gradients and
 * recording an op cost, and what share of the machine's peak that is.
 *
 *     ./bazelw run //bench -- [--case NAME] [--threads N] [--seconds S]
 *
 * A table, and then one line of JSON for each of its rows; report.h tells the columns.  GFLOP/s
 * count the matrix products only, a training step as three times its forward ones, and a one-hot
 * input as the look-up it can be.  The peak is what multiply-adds in registers reach in the same
 * run on as many threads.  Every row is measured in a process of its own, so its memory is its
 * own, too, and one that crashes is told and leaves the others. */
#define _GNU_SOURCE
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/cases.h"
#include "bench/child.h"
#include "bench/report.h"
#include "tensor/isa.h"
#include "tensor/parallel.h"

enum { MAX_CASES = 32 };
static const double default_seconds = 4, most_seconds = 3600, peak_seconds = 1;

typedef struct {
    const char *only; /* NULL: all */
    int threads;
    double seconds;
} Options;

/* What children are told, and where they write. */
typedef struct {
    const BenchCase *c;
    double seconds;
    BenchPeaks *peaks; /* shared by all processes */
    FILE *json;        /* likewise, and its position too */
} Job;

static bool measure_peaks(void *job) {
    Job *j = job;
    *j->peaks = bench_peaks(fmin(peak_seconds, j->seconds));
    return true;
}

static bool measure_case(void *job) {
    Job *j = job;
    BenchResult r = {0};
    if (!j->c->run(j->c->sizes, j->seconds, &r)) {
        fprintf(stderr, "bench: %s: %s\n", j->c->name, r.note);
        return false;
    }
    if (bench_report(j->c, &r, j->peaks, j->json)) return true;
    fprintf(stderr, "bench: %s: cannot write\n", j->c->name);
    return false;
}

/* ---- which cases ---- */

static BenchCases all_cases(void) {
    static BenchCase list[MAX_CASES];
    const BenchCases parts[] = {bench_training(), bench_layers(), bench_varlen(),
                                bench_gradcheck(), bench_overhead()};
    int n = 0;
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
        for (int i = 0; i < parts[p].n && n < MAX_CASES; i++) list[n++] = parts[p].at[i];
    return (BenchCases){n, list};
}

/* Rows of that name. */
static int rows(BenchCases all, const char *name) {
    int n = 0;
    for (int i = 0; i < all.n; i++) n += strcmp(all.at[i].name, name) == 0;
    return n;
}

static bool wanted(const BenchCase *c, const Options *o) {
    return !o->only || strcmp(c->name, o->only) == 0;
}

/* ---- running ---- */

static bool run_cases(BenchCases all, const Options *o, Job *job) {
    bool products = false, ok = true;
    job->seconds = o->seconds;
    for (int i = 0; i < all.n; i++) products |= wanted(&all.at[i], o) && all.at[i].products;
    if (products) ok = bench_in_child("peaks", measure_peaks, job);
    bench_report_head(job->peaks);
    for (int i = 0; i < all.n; i++)
        if (wanted(&all.at[i], o)) {
            job->c = &all.at[i];
            job->seconds = o->seconds / rows(all, job->c->name);
            ok &= bench_in_child(job->c->name, measure_case, job);
        }
    return ok;
}

static bool copy_lines(FILE *from) {
    char buf[BUFSIZ];
    rewind(from);
    for (size_t n; (n = fread(buf, 1, sizeof buf, from)) > 0;)
        if (fwrite(buf, 1, n, stdout) != n) return false;
    return !ferror(from) && fflush(stdout) == 0;
}

static int run(BenchCases all, const Options *o) {
    BenchPeaks *peaks = mmap(NULL, sizeof *peaks, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FILE *json = tmpfile();
    bool ok = peaks != MAP_FAILED && json != NULL;
    if (!ok) perror("bench: cannot begin");
    if (ok) {
        if (tensor_isa_warning()) fprintf(stderr, "bench: %s\n", tensor_isa_warning());
        tensor_threads_set(o->threads);
        Job job = {.peaks = peaks, .json = json};
        ok = run_cases(all, o, &job);
        if (!copy_lines(json)) {
            perror("bench: cannot write");
            ok = false;
        }
    }
    if (json) fclose(json);
    if (peaks != MAP_FAILED) munmap(peaks, sizeof *peaks);
    return ok ? 0 : 1;
}

/* ---- the command line ---- */

static int help(BenchCases all) {
    printf("usage: bench [--case NAME] [--threads N] [--seconds S]\n"
           "Times training steps, layers and recorded ops: a table, and lines of JSON.\n"
           "  --case NAME   only this one; default: all, which are\n");
    for (int i = 0; i < all.n; i++)
        if (i == 0 || strcmp(all.at[i].name, all.at[i - 1].name) != 0)
            printf("                  %s\n", all.at[i].name);
    printf("  --threads N   default 1\n"
           "  --seconds S   time for each case, default %g\n", default_seconds);
    return fflush(stdout) == 0 ? 0 : 1;
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

static int refuse(const char *what, const char *word) {
    fprintf(stderr, "bench: %s %s; see --help\n", what, word);
    return 2;
}

static bool read_number(const char *word, double least, double most, double *x) {
    char *end;
    *x = strtod(word, &end);
    return end != word && *end == 0 && *x >= least && *x <= most;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"case", required_argument, NULL, 'c'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    BenchCases all = all_cases();
    Options o = {NULL, 1, default_seconds};
    double number;
    opterr = 0;
    while (optind < argc) {
        const char *word = argv[optind];
        switch (getopt_long(argc, argv, "+h", options, NULL)) {
        case 'h': return help(all);
        case 'c':
            if (rows(all, optarg) == 0) return refuse("no case", optarg);
            o.only = optarg;
            break;
        case 't':
            if (!read_number(optarg, 1, TENSOR_MAX_THREADS, &number) || number != floor(number))
                return refuse("--threads: not in 1.." TEXT(TENSOR_MAX_THREADS) ":", optarg);
            o.threads = (int)number;
            break;
        case 's':
            if (!read_number(optarg, 1e-6, most_seconds, &o.seconds))
                return refuse("--seconds: not in 0..3600:", optarg);
            break;
        default: return refuse("cannot read", word);
        }
    }
    return run(all, &o);
}
