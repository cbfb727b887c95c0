/* The course of trainings: curves at their epochs, names, what is refused; the command's files. */
#include "examples/lm/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "examples/lm/log.h"
#include "tests/support/folder.h"
#include "tests/support/read_text.h"
#include "tests/support/xml.h"

static char first[TEST_PATH_SIZE], folder[TEST_PATH_SIZE];

/* The tests stand in a folder of their own. */
static void begin(void) {
    test_folder_make(first, "none");
    test_folder_of(first, folder);
    cr_assert(chdir(folder) == 0);
}

static void end(void) {
    char command[TEST_PATH_SIZE + 20];
    snprintf(command, sizeof command, "rm -rf '%s'/*", folder);
    cr_assert(system(command) == 0);
    test_folder_remove(first);
}

TestSuite(lm_plot, .init = begin, .fini = end);

/* A run with two rows for an epoch of 1000 tokens, the first after 250; the last epoch may have
 * only that one. */
static void make_run(const char *name, int rows, bool valid, bool norm) {
    LmLog log;
    TensorError error = {""};
    mkdir(name, 0777);
    cr_assert(lm_log_open(&log, name, 0, &error), "%s", error.message);
    for (int i = 0; i < rows; i++) {
        bool ends = i % 2 == 1;
        LmLogRow row = {.epoch = 1 + i / 2, .step = i + 1, .tokens = 1000 * (i / 2) +
                        (ends ? 1000 : 250), .loss = 5 - 0.1 * i, .perplexity = exp(5 - 0.1 * i),
                        .valid_perplexity = ends && valid ? 100. - i : NAN, .lr = 0.5,
                        .grad_norm = norm ? 1 + 0.1 * i : NAN};
        cr_assert(lm_log_write(&log, &row, &error));
    }
    lm_log_close(&log);
}

/* The SVG picture of the runs; for free(). */
static char *picture(int runs, const char *const *names) {
    TensorError error = {""};
    LmPlot plot = {.folder = names, .runs = runs, .svg = "p.svg"};
    cr_assert(lm_plot(&plot, &error), "%s", error.message);
    char *svg = read_text("p.svg");
    cr_assert(xml_wrong(svg) == NULL, "%s in %s", xml_wrong(svg), svg);
    return svg;
}

static bool shows(const char *svg, const char *text) {
    char piece[400];
    snprintf(piece, sizeof piece, ">%s</text>", text);
    return strstr(svg, piece) != NULL;
}

/* The x of the points of the n-th curve, in a picture of curves only. */
static int points_of(const char *svg, int n, double *x) {
    const char *at = svg;
    for (int i = 0; i <= n; i++) cr_assert((at = strstr(at + 1, " points=\"")) != NULL);
    int count = 0, used;
    double y;
    for (at += strlen(" points=\""); sscanf(at, "%lf,%lf %n", &x[count], &y, &used) == 2; count++)
        at += used;
    return count;
}

Test(lm_plot, rows_stand_at_their_epochs) {
    make_run("run", 7, true, true);
    double x[20], v[20];
    char *svg = picture(1, (const char *[]){"run"});
    /* 0.25, 1, 1.25, 2, 2.25, 3 and, in an epoch that was stopped, 3.25. */
    cr_assert(points_of(svg, 0, x) == 7);
    static const double epochs[] = {0.25, 1, 1.25, 2, 2.25, 3, 3.25};
    for (int i = 0; i < 7; i++)
        cr_assert_float_eq((x[i] - x[0]) / (x[6] - x[0]), (epochs[i] - 0.25) / 3, 1e-4);
    cr_assert(points_of(svg, 1, v) == 3, "validation");
    for (int i = 0; i < 3; i++) cr_assert_float_eq(v[i], x[2 * i + 1], 0.011);
    cr_assert(shows(svg, "run: training") && shows(svg, "run: validation"));
    cr_assert(shows(svg, "Perplexity") && shows(svg, "Learning rate") && shows(svg, "epoch"));
    cr_assert(shows(svg, "Norm of the gradient") && !shows(svg, "run"));
    free(svg);

    /* The last epoch is over: it has been measured on validation text. */
    make_run("run", 2, true, true);
    svg = picture(1, (const char *[]){"run"});
    cr_assert(points_of(svg, 0, x) == 2);
    cr_assert(shows(svg, "1") && !shows(svg, "2"), "one epoch");
    free(svg);
}

Test(lm_plot, what_was_not_measured_is_not_drawn) {
    make_run("run", 4, false, false);
    char *svg = picture(1, (const char *[]){"run/"});
    cr_assert(shows(svg, "run: training") && !shows(svg, "run: validation"));
    cr_assert(shows(svg, "Learning rate") && !shows(svg, "Norm of the gradient"));
    cr_assert(xml_count(svg, ">epoch</text>") == 1, "below the last chart");
    free(svg);
}

Test(lm_plot, runs_have_names_and_colours_of_their_own) {
    make_run("a", 4, true, true);
    make_run("b", 4, false, true);
    char *svg = picture(2, (const char *[]){"a", "b"});
    cr_assert(shows(svg, "a: training") && shows(svg, "a: validation"));
    cr_assert(shows(svg, "b: training") && !shows(svg, "b: validation"));
    cr_assert(shows(svg, "a") && shows(svg, "b"), "in the charts of one curve a run");
    /* Perplexity, rate and norm, each with a line in the legend. */
    cr_assert(xml_count(svg, "stroke=\"#0072b2\"") == 6, "the first run's colour");
    cr_assert(xml_count(svg, "stroke=\"#009e73\"") == 6, "the second's");
    cr_assert(xml_count(svg, "stroke=\"#d55e00\"") == 2, "the first's validation");
    free(svg);

    mkdir("other", 0777);
    make_run("other/a", 2, false, false);
    svg = picture(2, (const char *[]){"a", "other/a"});
    cr_assert(shows(svg, "a: training") && shows(svg, "other/a: training"));
    free(svg);
    cr_assert(chdir("a") == 0);
    svg = picture(1, (const char *[]){"."});
    cr_assert(shows(svg, "a: training"), "the name of the folder");
    free(svg);
}

Test(lm_plot, what_is_no_run_is_refused_by_name) {
    make_run("good", 4, true, true);
    make_run("empty", 0, true, true);
    make_run("damaged", 4, true, true);
    FILE *file = fopen("damaged/log.csv", "a");
    cr_assert(file && fputs("no numbers\n", file) >= 0 && fclose(file) == 0);
    static const struct {
        const char *run, *word;
    } cases[] = {{"nowhere", "nowhere/log.csv: No such file"},
                 {"empty", "empty: nothing is in its log yet"},
                 {"damaged", "damaged/log.csv: line 6: no epoch"},
                 {"", "empty"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TensorError error = {""};
        const char *const runs[] = {"good", cases[i].run};
        LmPlot plot = {.folder = runs, .runs = 2, .svg = "p.svg", .text = stdout};
        cr_assert(!lm_plot(&plot, &error), "%s", cases[i].run);
        cr_assert(strstr(error.message, cases[i].word), "%s", error.message);
        cr_assert(access("p.svg", F_OK) != 0, "nothing is written");
    }
    TensorError error = {""};
    cr_assert(!lm_plot(&(LmPlot){.runs = 0}, &error) && strstr(error.message, "0 runs"));
    const char *const good[] = {"good"};
    cr_assert(!lm_plot(&(LmPlot){.folder = good, .runs = 1, .svg = "none/p.svg"}, &error));
    cr_assert(strstr(error.message, "none/p.svg: "), "%s", error.message);
}

/* Runs the command with its output in the files out and err; arguments are split at spaces. */
static int run_command(const char *arguments) {
    char line[200], *argv[20] = {(char *)"plot"};
    int argc = 1;
    snprintf(line, sizeof line, "%s", arguments);
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    cr_assert(freopen("out", "w", stdout) && freopen("err", "w", stderr));
    int status = lm_plot_command(argc, argv);
    fflush(stdout);
    fflush(stderr);
    return status;
}

static bool is_png(const char *path) {
    char bytes[8] = "";
    FILE *file = fopen(path, "rb");
    bool ok = file && fread(bytes, 1, 8, file) == 8 && memcmp(bytes, "\x89PNG\r\n\x1A\n", 8) == 0;
    if (file) fclose(file);
    return ok;
}

Test(lm_plot, the_command_writes_pictures_and_text) {
    make_run("a", 6, true, true);
    make_run("b", 4, true, true);
    cr_assert(run_command("a") == 0);
    cr_assert(is_png("a/plot.png") && access("a/plot.svg", F_OK) == 0);
    char *out = read_text("out");
    cr_assert(strstr(out, "Perplexity\n") && strstr(out, "a: validation\n"), "%s", out);
    cr_assert(strstr(out, "saved     a/plot.svg and a/plot.png\n"), "%s", out);
    cr_assert(!strchr(out, '\033'), "no colours in a file");
    free(out);

    cr_assert(run_command("a b --style ascii --scale 0.5") == 0);
    cr_assert(is_png("lm-plot.png") && access("lm-plot.svg", F_OK) == 0);
    cr_assert(run_command("--out both.png b a --style colour") == 0);
    cr_assert(is_png("both.png") && access("both.svg", F_OK) == 0);
    out = read_text("out");
    cr_assert(strchr(out, '\033') != NULL);
    free(out);
    cr_assert(run_command("b --text") == 0);
    cr_assert(access("b/plot.svg", F_OK) != 0 && access("b/plot.png", F_OK) != 0);
    cr_assert(run_command("--help") == 0);
    out = read_text("out");
    cr_assert(strstr(out, "usage: lm plot") && strstr(out, "--scale X"));
    free(out);

    static const char *const refused[][2] = {{"", "RUN is missing"},
                                             {"nowhere", "nowhere/log.csv"},
                                             {"a --out .svg", "--out"},
                                             {"a --out none/x", "none/x.svg"},
                                             {"a --style blue", "auto, ascii"},
                                             {"a --scale 0", "at least 0.1"},
                                             {"a --frobnicate", "--frobnicate"}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        cr_assert(run_command(refused[i][0]) == 2, "%s", refused[i][0]);
        char *err = read_text("err");
        cr_assert(strncmp(err, "lm: ", 4) == 0 && strstr(err, refused[i][1]), "%s", err);
        free(err);
    }
}
