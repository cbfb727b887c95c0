/* plot.c -- see plot.h. */
#define _GNU_SOURCE
#include "plot.h"

#include <errno.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/png/png.h"
#include "examples/support/options.h"
#include "examples/support/program.h"
#include "log.h"
#include "run.h"

/* ---- a run as series ---- */

/* What is drawn over the epochs. */
typedef enum { TRAINING, VALIDATION, RATE, NORM, CURVES } Curve;

enum { NAME_SIZE = 300 };

typedef struct {
    int64_t n[CURVES];
    double *x[CURVES], *y[CURVES];
    char name[3][NAME_SIZE]; /* of training, of validation, and of the run */
} Run;

static double value_of(const LmLogRow *row, Curve curve) {
    switch (curve) {
    case TRAINING: return row->perplexity;
    case VALIDATION: return row->valid_perplexity;
    case RATE: return row->lr;
    case NORM: return row->grad_norm;
    case CURVES: break;
    }
    return NAN;
}

/* Fills epochs[0..n): how many epochs were over when each row was written. */
static void count_epochs(const LmLogRow *rows, int64_t n, double *epochs) {
    double length = 0; /* of the epoch before, in tokens */
    for (int64_t first = 0, end; first < n; first = end) {
        int64_t epoch = rows[first].epoch;
        for (end = first; end < n && rows[end].epoch == epoch;) end++;
        double last = (double)rows[end - 1].tokens, before = 0;
        if (first > 0) before = (double)rows[first - 1].tokens;
        /* A log that begins later, and epochs of about one length. */
        else if (epoch > 1) before = last * (double)(epoch - 1) / (double)epoch;
        /* Only the last epoch may not be over; what follows one that is measured on validation
         * text, as each is at its end, is the next. */
        bool over = end < n || !(length > 0) || !isnan(rows[end - 1].valid_perplexity);
        if (over || last - before > length) length = last - before;
        for (int64_t i = first; i < end; i++) {
            double part = length > 0 ? ((double)rows[i].tokens - before) / length : 1;
            epochs[i] = (double)(epoch - 1) + part;
        }
    }
}

static void run_free(Run *r) {
    free(r->x[0]);
    *r = (Run){0};
}

/* Points that were not measured do not interrupt a line: validation has one for an epoch. */
static bool fill_curves(Run *r, const LmLogRow *rows, int64_t n) {
    double *all = malloc((size_t)n * (2 * CURVES + 1) * sizeof *all);
    if (!all) return false;
    double *epochs = all + 2 * CURVES * n;
    count_epochs(rows, n, epochs);
    for (int curve = 0; curve < CURVES; curve++) {
        r->x[curve] = all + 2 * curve * n;
        r->y[curve] = r->x[curve] + n;
        for (int64_t i = 0; i < n; i++) {
            double value = value_of(&rows[i], (Curve)curve);
            if (isnan(value)) continue;
            r->x[curve][r->n[curve]] = epochs[i];
            r->y[curve][r->n[curve]++] = value;
        }
    }
    return true;
}

/* After it, failed or not, r is for run_free. */
static bool read_run(Run *r, const char *folder, const char *name, TensorError *error) {
    LmLogRow *rows;
    int64_t n;
    *r = (Run){0};
    if (!lm_log_read(folder, &rows, &n, error)) return false;
    bool ok = n > 0 || tensor_error_file(error, folder, -1, "nothing is in its log yet");
    if (ok && !fill_curves(r, rows, n)) ok = tensor_error_errno(error, folder, ENOMEM);
    free(rows);
    snprintf(r->name[0], NAME_SIZE, "%s: training", name);
    snprintf(r->name[1], NAME_SIZE, "%s: validation", name);
    snprintf(r->name[2], NAME_SIZE, "%s", name);
    return ok;
}

/* ---- names ---- */

/* The last name of a path, without slashes at its end; of ".", that of the folder itself. */
static void last_name(const char *folder, char name[NAME_MAX + 1]) {
    char *whole = realpath(folder, NULL);
    const char *path = whole ? whole : folder, *slash = strrchr(path, '/');
    snprintf(name, NAME_MAX + 1, "%s", slash && slash[1] ? slash + 1 : path);
    free(whole);
}

static bool names_differ(const LmPlot *p) {
    char a[NAME_MAX + 1], b[NAME_MAX + 1];
    for (int i = 0; i < p->runs; i++)
        for (int k = 0; k < i; k++) {
            last_name(p->folder[i], a);
            last_name(p->folder[k], b);
            if (strcmp(a, b) == 0) return false;
        }
    return true;
}

/* ---- charts ---- */

enum { CHARTS = 3, MAX_RUNS = EXAMPLE_MAX_WORDS };

/* Perplexity, learning rate and norm.  A run has the colours of two series in each chart: without a
 * validation text, and in the charts of one curve, the second is empty. */
typedef struct {
    DataSeries series[CHARTS][2 * MAX_RUNS];
    DataChart chart[CHARTS];
} Charts;

/* Where most values would lie at the foot of the chart, equal ratios are shown instead. */
static bool is_wide(int n, const DataSeries *series) {
    double low = INFINITY, high = -INFINITY;
    int64_t small = 0, all = 0;
    for (int k = 0; k < n; k++)
        for (int64_t i = 0; i < series[k].n; i++) {
            low = fmin(low, series[k].y[i]);
            high = fmax(high, series[k].y[i]);
        }
    for (int k = 0; k < n; k++)
        for (int64_t i = 0; i < series[k].n; i++, all++) small += series[k].y[i] < high / 10;
    return low > 0 && 2 * small > all;
}

static DataSeries series_of(const Run *r, Curve curve, const char *name) {
    return (DataSeries){.name = r->n[curve] > 0 ? name : NULL, .n = r->n[curve], .x = r->x[curve],
                        .y = r->y[curve]};
}

/* Returns the number of charts that have something to show. */
static int make_charts(const Run *runs, int n, Charts *c) {
    static const char *const titles[CHARTS] = {"Perplexity", "Learning rate",
                                               "Norm of the gradient"};
    int charts = 0;
    *c = (Charts){0};
    for (int k = 0; k < CHARTS; k++) {
        DataSeries *series = c->series[k];
        bool any = k == 0;
        for (int i = 0; i < n; i++) {
            Curve curve = k == 0 ? TRAINING : k == 1 ? RATE : NORM;
            const char *name = n > 1 ? runs[i].name[2] : NULL;
            series[2 * i] = series_of(&runs[i], curve, k == 0 ? runs[i].name[0] : name);
            if (k == 0) series[2 * i + 1] = series_of(&runs[i], VALIDATION, runs[i].name[1]);
            any = any || runs[i].n[curve] > 0;
        }
        if (!any) continue;
        DataLineChart options = {.title = titles[k], .height = k == 0 ? 400 : 220,
                                 .log_y = k == 0 || is_wide(2 * n, series)};
        c->chart[charts++] = (DataChart){2 * n, series, options};
    }
    c->chart[charts - 1].options.x_label = "epoch";
    return charts;
}

static bool draw(const LmPlot *p, const Run *runs, TensorError *error) {
    Charts *c = malloc(sizeof *c);
    if (!c) return tensor_error_set(error, "out of memory");
    int charts = make_charts(runs, p->runs, c);
    bool ok = !p->svg || data_plot_charts(p->svg, charts, c->chart, error);
    ok = ok && (!p->svg || !p->png || data_plot_png(p->svg, p->png, p->scale, error));
    DataLineChart options = c->chart[0].options;
    options.x_label = "epoch";
    ok = ok && (!p->text || data_plot_text(p->text, 2 * p->runs, c->series[0], &options, &p->style,
                                           error));
    free(c);
    return ok;
}

bool lm_plot(const LmPlot *p, TensorError *error) {
    if (p->runs < 1 || p->runs > MAX_RUNS)
        return tensor_error_set(error, "%d runs; 1 to %d can be drawn", p->runs, (int)MAX_RUNS);
    Run *runs = calloc((size_t)p->runs, sizeof *runs);
    if (!runs) return tensor_error_set(error, "out of memory");
    bool ok = true, differ = names_differ(p);
    for (int i = 0; i < p->runs && ok; i++) {
        char name[NAME_MAX + 1];
        last_name(p->folder[i], name);
        ok = read_run(&runs[i], p->folder[i], differ ? name : p->folder[i], error);
    }
    ok = ok && draw(p, runs, error);
    for (int i = 0; i < p->runs; i++) run_free(&runs[i]);
    free(runs);
    return ok;
}

/* ---- lm plot ---- */

typedef enum { STYLE_AUTO, STYLE_ASCII, STYLE_UNICODE, STYLE_COLOUR } Style;

typedef struct {
    ExampleWords runs;
    const char *out;
    bool text;
    int style;
    double scale;
} Command;

enum { OPTIONS = 6, MAX_TEXT_WIDTH = 120 };

static void list_options(Command *c, ExampleOption table[OPTIONS]) {
    static const char *const styles[] = {"auto", "ascii", "unicode", "colour", NULL};
    const ExampleOption options[OPTIONS] = {
        {.name = "RUN", .help = "run folders", .kind = EXAMPLE_OPTION_WORDS, .variable = &c->runs,
         .min = 1, .max = MAX_RUNS},
        {.name = "out", .value = "NAME", .kind = EXAMPLE_OPTION_TEXT, .variable = &c->out,
         .help = "write NAME.svg and NAME.png; otherwise RUN/plot, of several runs lm-plot"},
        {.name = "text", .kind = EXAMPLE_OPTION_ON, .variable = &c->text,
         .help = "only write to the terminal, no files"},
        {.name = "style", .value = "NAME", .kind = EXAMPLE_OPTION_CHOICE, .variable = &c->style,
         .choices = styles, .help = "how: auto, ascii, unicode or colour"},
        {.name = "scale", .value = "X", .kind = EXAMPLE_OPTION_REAL, .variable = &c->scale,
         .min = 0.1, .max = 10, .help = "pixels of the PNG file for each of the SVG file"},
        {0}};
    memcpy(table, options, sizeof options);
}

static void help(const ExampleOption *table) {
    fputs("usage: lm plot RUN... [OPTION VALUE]...\n\n"
          "Draws the course of one or several trainings: perplexity, learning rate and norm of\n"
          "the gradient over the epochs, as an SVG and a PNG file, and perplexity on the\n"
          "terminal. It reads log.csv of the run folders, also while a training goes on.\n\n",
          stdout);
    example_options_help(table, stdout);
    fputs("\nexample:\n"
          "  lm plot book-run\n"
          "  lm plot small-run large-run --out sizes\n", stdout);
}

/* What the user's locale and terminal can show. */
static DataTextStyle find_style(int style) {
    if (style != STYLE_AUTO) return (DataTextStyle)(style - STYLE_ASCII);
    locale_t user = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    bool utf8 = user && strcmp(nl_langinfo_l(CODESET, user), "UTF-8") == 0;
    if (user) freelocale(user);
    if (!utf8) return DATA_TEXT_ASCII;
    const char *no_colour = getenv("NO_COLOR");
    bool plain = !example_is_terminal() || (no_colour && *no_colour);
    return plain ? DATA_TEXT_UNICODE : DATA_TEXT_COLOUR;
}

static int text_width(void) {
    int columns = example_is_terminal() ? example_terminal_columns() : 0;
    if (columns == 0) return 0;
    return columns < 20 ? 20 : columns > MAX_TEXT_WIDTH ? MAX_TEXT_WIDTH : columns;
}

static bool join(const char *name, const char *ending, char path[PATH_MAX]) {
    return snprintf(path, PATH_MAX, "%s%s", name, ending) < PATH_MAX;
}

/* NAME.svg and NAME.png; NAME may end in one of the two. */
static bool find_files(const Command *c, char svg[PATH_MAX], char png[PATH_MAX],
                       TensorError *error) {
    char name[PATH_MAX];
    const char *out = c->out ? c->out : c->runs.count > 1 ? "lm-plot" : NULL;
    if (!out && !lm_run_path(c->runs.word[0], "plot", name, error)) return false;
    if (out && !join(out, "", name)) return tensor_error_errno(error, out, ENAMETOOLONG);
    char *dot = strrchr(name, '.');
    if (dot && (strcmp(dot, ".svg") == 0 || strcmp(dot, ".png") == 0)) *dot = 0;
    if (!*name) return tensor_error_set(error, "--out: the name is empty");
    return (join(name, ".svg", svg) && join(name, ".png", png)) ||
           tensor_error_errno(error, name, ENAMETOOLONG);
}

int lm_plot_command(int argc, char **argv) {
    TensorError error;
    ExampleOption table[OPTIONS];
    char svg[PATH_MAX], png[PATH_MAX];
    Command c = {.scale = 2};
    list_options(&c, table);
    switch (example_options_read(table, argc, argv, &error)) {
    case EXAMPLE_OPTIONS_WRONG: return example_refuse("lm", error.message);
    case EXAMPLE_OPTIONS_HELP: help(table); return 0;
    case EXAMPLE_OPTIONS_OK: break;
    }
    if (!find_files(&c, svg, png, &error)) return example_refuse("lm", error.message);
    const LmPlot plot = {.folder = c.runs.word, .runs = c.runs.count, .svg = c.text ? NULL : svg,
                         .png = c.text ? NULL : png, .scale = c.scale, .text = stdout,
                         .style = {.style = find_style(c.style), .width = text_width()}};
    if (!lm_plot(&plot, &error)) return example_refuse("lm", error.message);
    if (!c.text) printf("\nsaved     %s and %s\n", svg, png);
    return 0;
}
