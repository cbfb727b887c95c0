/* Pictures: well-formed whatever they show, marks where they belong, gaps where there is nothing
 * to draw. */
#include "data/plot.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "tests/data/support.h"
#include "tests/support/read_text.h"
#include "tests/support/xml.h"

static char *lines(int n, const DataSeries *series, const DataLineChart *chart) {
    const char *path = scratch_path("lines.svg");
    TensorError error = {""};
    cr_assert(data_plot_lines(path, n, series, chart, &error), "%s", error.message);
    char *svg = read_text(path);
    cr_assert(xml_wrong(svg) == NULL, "%s in %s", xml_wrong(svg), svg);
    return svg;
}

static char *maps(int n, const DataHeatMap *panels, const DataHeatMapOptions *options) {
    const char *path = scratch_path("maps.svg");
    TensorError error = {""};
    cr_assert(data_plot_heat_maps(path, n, panels, options, &error), "%s", error.message);
    char *svg = read_text(path);
    cr_assert(xml_wrong(svg) == NULL, "%s in %s", xml_wrong(svg), svg);
    return svg;
}

static bool has(const char *svg, const char *piece) {
    return strstr(svg, piece) != NULL;
}

/* Whether exactly this stands as a text. */
static bool shows(const char *svg, const char *text) {
    char piece[200];
    snprintf(piece, sizeof piece, ">%s</text>", text);
    return has(svg, piece);
}

Test(plot, the_check_of_xml_tells_well_formed_from_other_texts) {
    static const char *const good[] = {"<a/>", "<?xml version=\"1.0\"?>\n<a b=\"&lt;\">x<c/></a>\n",
                                       "<a>\u4e2d &amp; \U0001F600</a>"};
    static const char *const bad[] = {
        "",            "x",           "<a>",         "<a></b>",      "<a/><a/>",
        "<a>&</a>",    "<a>&x;</a>",  "<a b=c/>",    "<a b=\"<\"/>", "<a b=\"\" b=\"\"/>",
        "<a>\x01</a>", "<a>\xFF</a>", "<a>\xC3</a>", "<a>\uFFFE</a>", "</a>",
        "<a b=\"",     "<a",          "<a/>x",       "<a><</a>",     "<a b=\"\"c=\"\"/>"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_assert(xml_wrong(good[i]) == NULL, "%s: %s", good[i], xml_wrong(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert(xml_wrong(bad[i]) != NULL, "%s", bad[i]);
}

/* ---- line charts ---- */

Test(plot, a_chart_has_a_line_for_each_series_and_its_texts) {
    const double y[] = {3, 1, 2}, z[] = {1, 2, 3};
    const DataSeries series[] = {{"first", 3, NULL, y}, {"second", 3, z, y}, {NULL, 3, NULL, z}};
    DataLineChart chart = {.title = "Title", .x_label = "across", .y_label = "up"};
    char *svg = lines(3, series, &chart);
    cr_assert(xml_count(svg, "<polyline") == 3 + 2, "three lines, two samples in the legend");
    cr_assert(shows(svg, "first") && shows(svg, "second"));
    cr_assert(shows(svg, "Title") && shows(svg, "across") && shows(svg, "up"));
    cr_assert(has(svg, "rotate(-90"), "the label of y runs upwards");
    free(svg);

    /* The same without any text. */
    svg = lines(3, (DataSeries[]){{NULL, 3, NULL, y}, {NULL, 3, z, y}, {NULL, 3, NULL, z}}, NULL);
    cr_assert(xml_count(svg, "<polyline") == 3 && !has(svg, "rotate"));
    cr_assert(has(svg, "width=\"720\" height=\"440\" viewBox=\"0 0 720 440\""));
    free(svg);
}

/* The points of the first line. */
static void first_line(const char *svg, int n, double *x, double *y) {
    const char *at = strstr(svg, " points=\"");
    cr_assert(at);
    at += strlen(" points=\"");
    for (int i = 0; i < n; i++) {
        int used = 0;
        cr_assert(sscanf(at, "%lf,%lf %n", &x[i], &y[i], &used) == 2);
        at += used;
    }
    cr_assert(*at == '"', "more points than %d", n);
}

Test(plot, points_stand_in_proportion) {
    const double x[] = {0, 1, 4}, y[] = {1, 10, 1000};
    const DataSeries series = {NULL, 3, x, y};
    double px[3], py[3];
    char *svg = lines(1, &series, NULL);
    first_line(svg, 3, px, py);
    cr_assert_float_eq((px[1] - px[0]) / (px[2] - px[0]), 1. / 4, 1e-4);
    cr_assert_float_eq((py[1] - py[0]) / (py[2] - py[0]), 9. / 999, 1e-4);
    cr_assert(py[2] < py[0], "large values stand high");
    free(svg);

    svg = lines(1, &series, &(DataLineChart){.log_y = true});
    first_line(svg, 3, px, py);
    cr_assert_float_eq((py[1] - py[0]) / (py[2] - py[0]), 1. / 3, 1e-4);
    free(svg);
}

/* Whether the marks are on the y axis: texts at the end of which the axis begins. */
static bool marked(const char *svg, const char *text) {
    char piece[100];
    snprintf(piece, sizeof piece, "text-anchor=\"end\" xml:space=\"preserve\">%s</text>", text);
    return has(svg, piece);
}

Test(plot, axes_are_marked_at_round_numbers) {
    static const struct {
        double low, high;
        bool log_y;
        const char *marks[10], *none[4];
    } cases[] = {
        {0, 100, false, {"0", "20", "40", "60", "80", "100"}, {"10", "50"}},
        {-1, 1, false, {"-1", "-0.5", "0", "0.5", "1"}, {"-0"}},
        {0, 0.3, false, {"0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"}, {NULL}},
        {1e-7, 3e-7, false, {"1e-07", "1.5e-07", "2e-07", "2.5e-07", "3e-07"}, {NULL}},
        {0, 5e6, false, {"0", "1e+06", "5e+06"}, {NULL}},
        {1000000, 1000000.004, false, {"1000000", "1000000.001", "1000000.004"}, {"1e+06"}},
        {1, 1000, true, {"1", "10", "100", "1000"}, {"2", "5"}},
        {1e-3, 10, true, {"0.001", "0.01", "0.1", "1", "10"}, {"0.002"}},
        {80, 900, true, {"100", "200", "500"}, {"300"}},
        {3, 5, true, {"3", "4", "5"}, {"2", "3.5"}},
        {4.1, 4.7, true, {"4.1", "4.2", "4.6"}, {"4", "5"}},
        {1e-290, 1e290, true, {"1"}, {"10", "0.1"}},
        {7, 7, false, {"7"}, {NULL}},
        {7, 7, true, {"5", "10"}, {NULL}},
        {0, 0, false, {"0"}, {NULL}},
        {-1e300, 1e300, false, {"-1e+300", "0", "1e+300"}, {NULL}},
        {-DBL_TRUE_MIN, DBL_TRUE_MIN, false, {"0"}, {NULL}},
        {1, 1 + DBL_EPSILON, true, {"0.5", "1", "2"}, {NULL}},
        {100, 100 * (1 + 1e-12), true, {"50", "100", "200"}, {NULL}},
        {1e-80, 1e300, true, {"1"}, {NULL}},
        {1e-300, 1e300, true, {"1"}, {NULL}},
        {1e-300, 1e-300, true, {"1e-300"}, {NULL}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double y[] = {cases[i].low, cases[i].high};
        char *svg = lines(1, &(DataSeries){NULL, 2, NULL, y},
                          &(DataLineChart){.log_y = cases[i].log_y});
        for (int k = 0; k < 10 && cases[i].marks[k]; k++)
            cr_assert(marked(svg, cases[i].marks[k]), "%zu: no %s in %s", i, cases[i].marks[k],
                      svg);
        for (int k = 0; k < 4 && cases[i].none[k]; k++)
            cr_assert(!marked(svg, cases[i].none[k]), "%zu: %s in %s", i, cases[i].none[k], svg);
        cr_assert(xml_count(svg, "text-anchor=\"end\"") >= 1 + (i < 12), "%zu: marks", i);
        cr_assert(xml_count(svg, "<line") <= 24, "%zu: too many marks", i);
        cr_assert(!has(svg, "nan") && !has(svg, "inf"), "%zu: %s", i, svg);
        free(svg);
    }
}

Test(plot, what_cannot_be_drawn_is_a_gap) {
    const double y[] = {1, 2, NAN, 4, INFINITY, 6, 7, -INFINITY, 1e301, 9};
    const double x[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    char *svg = lines(1, &(DataSeries){NULL, 10, x, y}, NULL);
    cr_assert(xml_count(svg, "<polyline") == 2, "0 to 1 and 5 to 6");
    cr_assert(xml_count(svg, "<circle") == 2, "3 and 9");
    cr_assert(!has(svg, "nan") && !has(svg, "inf"));
    free(svg);

    svg = lines(1, &(DataSeries){NULL, 10, y, x}, NULL);
    cr_assert(xml_count(svg, "<polyline") == 2 && xml_count(svg, "<circle") == 2, "x likewise");
    free(svg);

    const double z[] = {1, 10, 0, -1, 100, 1000};
    svg = lines(1, &(DataSeries){NULL, 6, NULL, z}, &(DataLineChart){.log_y = true});
    cr_assert(xml_count(svg, "<polyline") == 2 && xml_count(svg, "<circle") == 0);
    free(svg);

    const double tiny[] = {DBL_TRUE_MIN, 2 * DBL_TRUE_MIN};
    for (int n = 1; n <= 2; n++) {
        svg = lines(1, &(DataSeries){NULL, n, NULL, tiny}, &(DataLineChart){.log_y = true});
        cr_assert(xml_count(svg, "<polyline") + xml_count(svg, "<circle") == 1, "drawn");
        cr_assert(!has(svg, "nan") && !has(svg, "inf"), "%s", svg);
        free(svg);
    }
}

Test(plot, a_chart_without_points_is_an_empty_one) {
    const double bad[] = {NAN, -1, 0};
    const DataSeries series[] = {{"empty", 0, NULL, NULL}, {"bad", 3, NULL, bad}};
    for (int n = 0; n <= 2; n++) {
        char *svg = lines(n, series, &(DataLineChart){.title = "t", .log_y = true});
        cr_assert(xml_count(svg, "<polyline") == n, "the legend's only");
        cr_assert(xml_count(svg, "<circle") == 0);
        free(svg);
    }
}

Test(plot, every_series_looks_different) {
    const double y[] = {1, 2};
    DataSeries series[28];
    for (int i = 0; i < 28; i++)
        series[i] = (DataSeries){NULL, 2, NULL, y};
    char *svg = lines(28, series, NULL), *style[28], *at = svg;
    for (int i = 0; i < 28; i++) {
        at = strstr(at, "<polyline");
        style[i] = at;
        *(at = strstr(at, " points")) = 0;
        at++;
        for (int k = 0; k < i; k++)
            cr_assert(strcmp(style[i], style[k]) != 0, "%d and %d: %s", k, i, style[i]);
    }
    free(svg);
}

/* ---- charts below each other ---- */

/* The n-th frame of axes: x, y, width, height. */
static void frame(const char *svg, int n, double f[4]) {
    for (const char *at = svg; (at = strstr(at, "<rect x=")); at++)
        if (sscanf(at, "<rect x=\"%lf\" y=\"%lf\" width=\"%lf\" height=\"%lf\" fill=\"none\"",
                   &f[0], &f[1], &f[2], &f[3]) == 4 &&
            strncmp(strstr(at, "fill="), "fill=\"none\"", 11) == 0 && n-- == 0)
            return;
    cr_assert_fail("too few frames");
}

Test(plot, charts_below_each_other_share_the_axis_of_x) {
    const double x[] = {0, 10}, y[] = {1, 100000}, z[] = {3, 4};
    const DataSeries series[] = {{"first", 2, x, y}, {"half", 2, NULL, z}};
    const DataChart charts[] = {
        {2, series, {.title = "A", .log_y = true}},
        {1, &series[1], {.title = "B", .x_label = "x", .height = 200}},
        {0, NULL, {.title = "C", .width = 900, .height = 200}}};
    const char *path = scratch_path("charts.svg");
    TensorError error = {""};
    cr_assert(data_plot_charts(path, 3, charts, &error), "%s", error.message);
    char *svg = read_text(path);
    cr_assert(xml_wrong(svg) == NULL, "%s in %s", xml_wrong(svg), svg);
    cr_assert(shows(svg, "A") && shows(svg, "B") && shows(svg, "C"));
    cr_assert(xml_count(svg, ">10</text>") == 4, "x of all three, y of one");
    double width, height, f[3][4];
    const char *size = strstr(svg, " width=");
    cr_assert(sscanf(size, " width=\"%lf\" height=\"%lf\"", &width, &height) == 2);
    cr_assert(width == 900 && height == 440 + 200 + 200);
    for (int i = 0; i < 3; i++) {
        frame(svg, i, f[i]);
        cr_assert(f[i][0] == f[0][0], "one left edge");
        cr_assert(f[i][1] > (i ? f[i - 1][1] + f[i - 1][3] : 0) + 30, "with room for the numbers");
        cr_assert(f[i][1] + f[i][3] < height);
    }
    free(svg);

    /* One chart is what data_plot_lines draws. */
    cr_assert(data_plot_charts(path, 1, charts, &error));
    svg = read_text(path);
    char *alone = lines(2, series, &charts[0].options);
    cr_assert_str_eq(svg, alone);
    free(svg);
    free(alone);

    cr_assert(!data_plot_charts(path, 0, charts, &error) && strstr(error.message, "0 charts"));
    const DataChart bad[] = {charts[0], {1, series, {.height = 1}}};
    cr_assert(!data_plot_charts(path, 2, bad, &error) && strstr(error.message, "height 1;"));
}

/* ---- text ---- */

Test(plot, any_text_can_be_written) {
    const double y[] = {1, 2};
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"a<b>&\"'", "a&lt;b&gt;&amp;&quot;&apos;"},
        {"\u4e2d\U0001F600", "\u4e2d\U0001F600"},
        {"\n", "\u21B5"},
        {"a\tb\rc", "a\u21E5b\u240Dc"},
        {" ", "\u2423"},
        {"  ", "  "},
        {"\x01\xFF\xC3", "\uFFFD\uFFFD\uFFFD"},
        {"\uFFFE", "\uFFFD"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *text = cases[i].text;
        DataLineChart chart = {text, text, text, false, 0, 0};
        char *svg = lines(1, &(DataSeries){text, 2, NULL, y}, &chart), piece[100];
        snprintf(piece, sizeof piece, ">%s</text>", cases[i].shown);
        cr_assert(xml_count(svg, piece) == 4, "%zu: %s", i, svg);
        free(svg);

        Tensor values = tensor_wrap((double[]){1}, TENSOR_F64, 2, (int64_t[]){1, 1});
        DataHeatMap panel = {text, values, &text, 0, 0};
        svg = maps(1, &panel, &(DataHeatMapOptions){text, text, &text});
        cr_assert(xml_count(svg, piece) == 5, "%zu: %s", i, svg);
        free(svg);
    }
}

/* ---- heat maps ---- */

static Tensor matrix(double *values, int64_t rows, int64_t columns) {
    return tensor_wrap(values, TENSOR_F64, 2, (int64_t[]){rows, columns});
}

/* The fills of the first n cells; a bar's and the picture's are not among them. */
static void cell_colours(const char *svg, int n, unsigned *colour) {
    const char *at = strstr(svg, "<text"); /* the panel's title */
    for (int i = 0; i < n; i++) {
        at = strstr(at, "fill=\"#");
        cr_assert(at && sscanf(at, "fill=\"#%6x", &colour[i]) == 1);
        at++;
    }
}

static int red(unsigned colour) {
    return (int)(colour >> 16 & 0xFF);
}

static int blue(unsigned colour) {
    return (int)(colour & 0xFF);
}

Test(plot, colours_diverge_from_the_middle_of_the_range) {
    double values[] = {-8, -4, 0, 4, 8, NAN, INFINITY, -INFINITY, 80};
    DataHeatMap panel = {.title = "t", .values = matrix(values, 9, 1), .low = -8, .high = 8};
    unsigned colour[9];
    char *svg = maps(1, &panel, NULL);
    cr_assert(shows(svg, "-8") && shows(svg, "8"), "the bar is marked");
    /* A label stands before the cells of a column. */
    cell_colours(svg, 9, colour);
    free(svg);
    cr_assert(blue(colour[0]) > red(colour[0]) + 60 && red(colour[4]) > blue(colour[4]) + 60);
    cr_assert(blue(colour[1]) > red(colour[1]) && red(colour[1]) > red(colour[0]));
    cr_assert(red(colour[3]) > blue(colour[3]) && blue(colour[3]) > blue(colour[4]));
    cr_assert(colour[2] == 0xF7F7F7);
    cr_assert(colour[5] != colour[2] && red(colour[5]) == blue(colour[5]), "NaN is grey");
    cr_assert(colour[6] == colour[4] && colour[7] == colour[0] && colour[8] == colour[4]);

    /* From the data: symmetric about 0, and NaN and infinity do not count. */
    double some[] = {-2, 1, NAN, INFINITY};
    panel = (DataHeatMap){.title = "t", .values = matrix(some, 4, 1)};
    svg = maps(1, &panel, NULL);
    cr_assert(shows(svg, "2") && shows(svg, "0") && shows(svg, "-2"));
    unsigned of_data[4];
    cell_colours(svg, 4, of_data);
    cr_assert(of_data[0] == colour[0] && of_data[1] == colour[3]);
    free(svg);

    double zeros[] = {0, 0}, ends[][2] = {{-DBL_MAX, DBL_MAX}, {-DBL_TRUE_MIN, DBL_TRUE_MIN}};
    panel.values = matrix(zeros, 2, 1);
    svg = maps(1, &panel, NULL);
    cr_assert(shows(svg, "1") && shows(svg, "-1"));
    free(svg);
    for (int i = 0; i < 2; i++) {
        panel.values = matrix(ends[i], 2, 1);
        svg = maps(1, &panel, NULL);
        cell_colours(svg, 2, of_data);
        cr_assert(of_data[0] == colour[0] && of_data[1] == colour[4], "no overflow, no 0 / 0");
        free(svg);
    }
}

Test(plot, panels_share_the_columns_and_their_labels) {
    double values[] = {1, 2, 3, 4, 5, 6};
    Tensor two = matrix(values, 2, 3), one = matrix(values, 1, 3);
    const char *const rows[] = {"upper", "lower"}, *const columns[] = {"p", "q", "\n"};
    const DataHeatMap panels[] = {{"A", two, rows, 0, 0}, {"B", one, NULL, 0, 1}};
    char *svg = maps(2, panels, &(DataHeatMapOptions){"Title", "below", columns});
    cr_assert(shows(svg, "A") && shows(svg, "B") && shows(svg, "Title") && shows(svg, "below"));
    cr_assert(shows(svg, "upper") && shows(svg, "lower"));
    cr_assert(xml_count(svg, ">p</text>") == 2 && xml_count(svg, ">\u21B5</text>") == 2);
    cr_assert(!has(svg, "rotate"), "short labels stand upright");
    free(svg);

    const char *const words[] = {"a long word", "another", NULL};
    svg = maps(1, panels, &(DataHeatMapOptions){.column_labels = words});
    cr_assert(xml_count(svg, "rotate(-90") == 2);
    free(svg);
}

Test(plot, transposed_values_of_any_dtype_are_shown) {
    float values[] = {0, 1, 2, 3, 4, 5};
    Tensor x = tensor_wrap(values, TENSOR_F32, 2, (int64_t[]){3, 2});
    DataHeatMap panel = {"t", tensor_transpose(&x, 0, 1), NULL, -5, 5};
    unsigned of_view[6], of_copy[6];
    char *svg = maps(1, &panel, NULL);
    cell_colours(svg, 6, of_view);
    free(svg);
    int64_t copy[] = {0, 2, 4, 1, 3, 5};
    panel.values = tensor_wrap(copy, TENSOR_I64, 2, (int64_t[]){2, 3});
    svg = maps(1, &panel, NULL);
    cell_colours(svg, 6, of_copy);
    free(svg);
    cr_assert(memcmp(of_view, of_copy, sizeof of_view) == 0);
}

Test(plot, many_cells_have_labels_where_there_is_room) {
    enum { ROWS = 300, COLUMNS = 1000 };
    double *values = calloc(ROWS * COLUMNS, sizeof *values);
    cr_assert(values);
    DataHeatMap panel = {.values = matrix(values, ROWS, COLUMNS)};
    char *svg = maps(1, &panel, NULL);
    cr_assert(shows(svg, "0") && shows(svg, "200") && shows(svg, "280") && shows(svg, "960"));
    cr_assert(!shows(svg, "201") && !shows(svg, "999"));
    cr_assert(xml_count(svg, "<rect") < ROWS + 100, "cells of one colour are one rectangle");
    cr_assert(xml_count(svg, "<text") < 100);
    free(svg);
    free(values);
}

Test(plot, matrices_without_elements_are_empty_panels) {
    double none[1];
    const int64_t shapes[][2] = {{0, 0}, {0, 3}, {3, 0}};
    for (int i = 0; i < 3; i++) {
        DataHeatMap panel = {.title = "t", .values = matrix(none, shapes[i][0], shapes[i][1])};
        char *svg = maps(1, &panel, NULL);
        cr_assert(!has(svg, "nan") && !has(svg, "inf"), "%s", svg);
        free(svg);
    }
}

/* ---- failures ---- */

static bool told(const TensorError *error, const char *path, const char *word) {
    return strncmp(error->message, path, strlen(path)) == 0 && strstr(error->message, word);
}

Test(plot, misuse_is_told_and_leaves_the_old_file) {
    double y[] = {1, 2};
    const char *path = scratch_file("old.svg", "old", 3);
    static const struct {
        int n;
        int64_t points;
        bool no_y;
        int width, height;
        const char *word;
    } charts[] = {
        {-1, 2, false, 0, 0, "-1 series"},         {1, -2, false, 0, 0, "series 0 has -2 points"},
        {1, 2, true, 0, 0, "but no y"},            {1, 2, false, 100, 0, "width 100"},
        {1, 2, false, 0, -440, "height -440"},     {1, 2, false, 10001, 0, "200 to 10000"},
    };
    for (size_t i = 0; i < sizeof charts / sizeof *charts; i++) {
        DataSeries series = {NULL, charts[i].points, NULL, charts[i].no_y ? NULL : y};
        DataLineChart chart = {.width = charts[i].width, .height = charts[i].height};
        TensorError error = {""};
        cr_assert(!data_plot_lines(path, charts[i].n, &series, &chart, &error));
        cr_assert(told(&error, path, charts[i].word), "%s", error.message);
        cr_assert(!data_plot_lines(path, charts[i].n, &series, &chart, NULL));
    }

    Tensor two = matrix(y, 2, 1), flat = tensor_wrap(y, TENSOR_F64, 1, (int64_t[]){2});
    const struct {
        int n;
        DataHeatMap panel;
        const char *word;
    } bad[] = {
        {0, {.values = two}, "0 panels"},
        {1, {.values = flat}, "f64[2] is no matrix"},
        {1, {.values = tensor_nil()}, "panel 0: "},
        {1, {.values = two, .low = 1, .high = 1}, "range 1 to 1"},
        {1, {.values = two, .low = 2, .high = -1}, "range 2 to -1"},
        {1, {.values = two, .low = NAN, .high = 1}, "range nan"},
        {1, {.values = two, .low = 0, .high = INFINITY}, "range 0 to inf"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        TensorError error = {""};
        cr_assert(!data_plot_heat_maps(path, bad[i].n, &bad[i].panel, NULL, &error), "%zu", i);
        cr_assert(told(&error, path, bad[i].word), "%s", error.message);
    }
    const DataHeatMap unequal[] = {{.values = two}, {.values = matrix(y, 1, 2)}};
    TensorError error = {""};
    cr_assert(!data_plot_heat_maps(path, 2, unequal, NULL, &error));
    cr_assert(told(&error, path, "panel 1 has 2 columns, panel 0 has 1"), "%s", error.message);

    char *old = read_text(path);
    cr_assert_str_eq(old, "old");
    free(old);
}

Test(plot, a_path_that_cannot_be_written_is_told) {
    double y[] = {1};
    DataHeatMap panel = {.values = matrix(y, 1, 1)};
    const char *paths[] = {"/nowhere/picture.svg", "/tmp"};
    for (int i = 0; i < 2; i++) {
        TensorError error = {""};
        cr_assert(!data_plot_lines(paths[i], 0, NULL, NULL, &error));
        cr_assert(told(&error, paths[i], ": "), "%s", error.message);
        error.message[0] = 0;
        cr_assert(!data_plot_heat_maps(paths[i], 1, &panel, NULL, &error));
        cr_assert(told(&error, paths[i], ": "), "%s", error.message);
    }
}
