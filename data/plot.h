/* plot.h -- pictures of numbers: line charts and heat maps, as SVG; line charts as text.
 *
 *     DataSeries train = {"training", n, epoch, perplexity_train};
 *     DataLineChart chart = {.title = "Perplexity", .x_label = "epoch", .log_y = true};
 *     if (!data_plot_lines("perplexity.svg", 1, &train, &chart, &error))
 *         return report(error.message);
 *
 * A picture is one file that needs no other, for browsers, editors and printers; data/png/png.h
 * makes a PNG file of it.  It takes the place of the old file in one step (tensor/file.h), and the
 * same input gives the same bytes, whatever the program's locale.
 *
 * Texts are UTF-8; NULL is no text.  Any text can be written: markup is escaped, a line feed, tab
 * or carriage return and a space that stands alone show as a sign (U+21B5, U+21E5, U+240D,
 * U+2423), and bytes that are not well-formed or that XML cannot hold as U+FFFD. */
#ifndef DATA_PLOT_H
#define DATA_PLOT_H
#include "tensor/file.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- line charts ---- */

typedef struct {
    const char *name; /* for the legend; NULL: not in it */
    int64_t n;        /* points, joined by straight lines in this order */
    const double *x;  /* [n]; NULL: 0, 1, .., n - 1 */
    const double *y;  /* [n] */
} DataSeries;

typedef struct {
    const char *title, *x_label, *y_label;
    bool log_y;        /* equal ratios of y take equal room; y must then be above 0 */
    int width, height; /* of the picture without the legend, in pixels; 0 means 720 and 440 */
} DataLineChart;

/* n series in one chart (chart NULL: all zero).  The axes reach as far as the points do; they are
 * marked at 1, 2 or 5 times powers of ten.  A point that cannot be drawn is left out, and the
 * line has a gap there: a coordinate that is NaN, infinite or beyond +-1e300, or with log_y a y
 * not above 0.  A point between two gaps shows as a dot.  Series, or a chart, without points are
 * no error.  Its place among the n gives a series its colour; colours repeat after 7, with other
 * dashes.
 * Fails (false, the old file stays): n or a series' n below 0, no y; a size outside 200..10000;
 * the file cannot be written. */
bool data_plot_lines(const char *path, int n, const DataSeries *series, const DataLineChart *chart,
                     TensorError *error);

typedef struct {
    int n;
    const DataSeries *series; /* [n] */
    DataLineChart options;
} DataChart;

/* n charts below each other, each as data_plot_lines has it; their axes of x are the same, and as
 * long as the longest needs.
 * Fails (false, the old file stays): n < 1; as data_plot_lines; out of memory. */
bool data_plot_charts(const char *path, int n, const DataChart *charts, TensorError *error);

/* ---- line charts as text ---- */

typedef enum {
    DATA_TEXT_ASCII,   /* a sign for each series: * + o x # @ % = */
    DATA_TEXT_UNICODE, /* the same with drawn axes; one series alone is a line of Braille dots */
    DATA_TEXT_COLOUR   /* Braille dots in colours, for terminals that know ECMA-48's (ANSI) */
} DataTextStyle;

typedef struct {
    DataTextStyle style;
    int width;  /* characters of the longest line, 20..1000; 0: 80 */
    int height; /* lines between the axis and the title, 3..500; 0: 16 */
} DataTextChart;

/* The chart of data_plot_lines on a terminal (text NULL: all zero); what is longer than a line is
 * cut off, characters that would move the cursor show as '?'.  In ASCII all others beyond it do.
 *
 *     Perplexity
 *     50 +*
 *        | *
 *     20 +  **
 *        |    ***
 *     10 +       ******
 *        +-+--------+--
 *          0       10
 *             epoch
 *     * training
 *
 * Fails (false): n or a series' n below 0, no y; a size beyond the limits (nothing is written); out
 * of memory; the stream cannot be written. */
bool data_plot_text(FILE *out, int n, const DataSeries *series, const DataLineChart *chart,
                    const DataTextChart *text, TensorError *error);

/* ---- heat maps ---- */

typedef struct {
    const char *title;
    Tensor values;                 /* [rows, columns] of any dtype; rows run downwards */
    const char *const *row_labels; /* [rows]; NULL: numbers from 0 */
    double low, high;              /* what the colour scale spans; both 0: -m to m, for m the
                                      largest finite absolute value (1 if that is 0) */
} DataHeatMap;

typedef struct {
    const char *title, *column_title;
    const char *const *column_labels; /* [columns], below every panel; NULL: numbers from 0 */
} DataHeatMapOptions;

/* n panels below each other, whose columns are the same (options NULL: all zero).  The colours
 * go from blue at `low` over near-white in the middle to red at `high`, as the bar beside each
 * panel shows; what lies beyond, infinity too, has the colour of that end; NaN is grey.  Where
 * there is not room for every label, every second one stands, or every third, ..
 * Fails (false, the old file stays): n < 1; values that are no matrix; panels whose numbers of
 * columns differ; a range that is not finite, or with low >= high; the file cannot be written. */
bool data_plot_heat_maps(const char *path, int n, const DataHeatMap *panels,
                         const DataHeatMapOptions *options, TensorError *error);

#ifdef __cplusplus
}
#endif
#endif
