#include "data/plot.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/axis.h"
#include "data/svg.h"

enum { GRID = 0xE0E0E0, INK = 0x000000, PADDING = 12, LINE = 16 /* height of a line of text */ };

/* ---- line charts ---- */

typedef struct {
    DataChart of;
    DataAxis x, y;
    double top;                        /* in the picture */
    double legend_width, legend_height; /* width 0: no series is named */
    FILE *svg;
} Chart;

/* Wong's colours, which the colour-blind tell apart (Nature Methods 8, 2011), without yellow. */
static uint32_t colour_of(int i) {
    static const uint32_t colours[] = {0x0072B2, 0xD55E00, 0x009E73, 0xCC79A7,
                                       0xE69F00, 0x56B4E9, 0x000000};
    return colours[i % 7];
}

static const char *dashes_of(int i) {
    static const char *const dashes[] = {"", "6 3", "2 2", "8 3 2 3"};
    return dashes[i / 7 % 4];
}

enum { SAMPLE = 24 /* length of the line in the legend */ };

static void measure_legend(Chart *c) {
    for (int k = 0; k < c->of.n; k++) {
        const char *name = c->of.series[k].name;
        if (!name)
            continue;
        double width = SAMPLE + 6 + data_svg_text_width(name) + PADDING;
        c->legend_width = fmax(c->legend_width, width);
        c->legend_height += LINE;
    }
}

static double left_margin(const Chart *c) {
    double numbers = 0;
    for (int i = 0; i < c->y.marks.n; i++)
        numbers = fmax(numbers, data_svg_text_width(c->y.marks.text[i]));
    return PADDING + (c->of.options.y_label ? LINE + 4 : 0) + numbers + 6;
}

/* With what the axis of y and the legend need. */
static double chart_height(const Chart *c) {
    double title = PADDING + (c->of.options.title ? LINE + 8 : 0);
    return fmax(c->of.options.height, title + c->legend_height + PADDING);
}

/* Where the axes begin and end in the picture. */
static void lay_out(Chart *c, double left, double top) {
    const DataLineChart *o = &c->of.options;
    c->top = top;
    c->x.from = left;
    c->x.to = o->width - 2 * PADDING;
    c->y.from = top + o->height - PADDING - LINE - (o->x_label ? LINE + 4 : 0);
    c->y.to = top + PADDING + (o->title ? LINE + 8 : 0);
}

static void draw_axes(Chart *c) {
    const DataAxis *x = &c->x, *y = &c->y;
    for (int i = 0; i < x->marks.n; i++) {
        double at = data_axis_place(x, x->marks.value[i]);
        data_svg_line(c->svg, at, y->from, at, y->to, GRID);
        data_svg_text(c->svg, at, y->from + LINE, DATA_SVG_MIDDLE, DATA_SVG_FONT, false,
                      x->marks.text[i]);
    }
    for (int i = 0; i < y->marks.n; i++) {
        double at = data_axis_place(y, y->marks.value[i]);
        data_svg_line(c->svg, x->from, at, x->to, at, GRID);
        data_svg_text(c->svg, x->from - 6, at + 4, DATA_SVG_END, DATA_SVG_FONT, false,
                      y->marks.text[i]);
    }
    data_svg_frame(c->svg, x->from, y->to, x->to - x->from, y->from - y->to);
}

static void draw_titles(Chart *c) {
    const DataLineChart *o = &c->of.options;
    double middle_x = (c->x.from + c->x.to) / 2, middle_y = (c->y.from + c->y.to) / 2;
    data_svg_text(c->svg, middle_x, c->top + PADDING + 10, DATA_SVG_MIDDLE, DATA_SVG_TITLE_FONT,
                  false, o->title);
    data_svg_text(c->svg, middle_x, c->top + o->height - PADDING, DATA_SVG_MIDDLE, DATA_SVG_FONT,
                  false, o->x_label);
    data_svg_text(c->svg, PADDING + 10, middle_y, DATA_SVG_MIDDLE, DATA_SVG_FONT, true,
                  o->y_label);
}

static void draw_series(Chart *c, int k) {
    const DataSeries *s = &c->of.series[k];
    for (int64_t first, last = 0; data_series_run(s, c->y.log, &first, &last);) {
        bool dot = last - first == 1;
        if (!dot)
            data_svg_curve_begin(c->svg, colour_of(k), dashes_of(k));
        for (int64_t i = first; i < last; i++) {
            double x = data_axis_place(&c->x, data_series_x(s, i));
            double y = data_axis_place(&c->y, s->y[i]);
            if (dot)
                data_svg_dot(c->svg, x, y, colour_of(k));
            else
                data_svg_curve_point(c->svg, x, y);
        }
        if (!dot)
            data_svg_curve_end(c->svg);
    }
}

static void draw_legend(Chart *c) {
    double x = c->of.options.width - PADDING, y = c->y.to + LINE / 2;
    for (int k = 0; k < c->of.n; k++) {
        if (!c->of.series[k].name)
            continue;
        data_svg_curve_begin(c->svg, colour_of(k), dashes_of(k));
        data_svg_curve_point(c->svg, x, y);
        data_svg_curve_point(c->svg, x + SAMPLE, y);
        data_svg_curve_end(c->svg);
        data_svg_text(c->svg, x + SAMPLE + 6, y + 4, DATA_SVG_START, DATA_SVG_FONT, false,
                      c->of.series[k].name);
        y += LINE;
    }
}

static bool is_size(int pixels) {
    return pixels >= 200 && pixels <= 10000;
}

/* A chart that fits, with the sizes that it leaves to us. */
static bool begin_chart(Chart *c, const DataChart *of, const char *path, TensorError *error) {
    char why[DATA_SERIES_WHY];
    *c = (Chart){.of = *of, .x = data_axis_new(false), .y = data_axis_new(of->options.log_y)};
    DataLineChart *o = &c->of.options;
    if (o->width == 0)
        o->width = 720;
    if (o->height == 0)
        o->height = 440;
    if (!is_size(o->width) || !is_size(o->height))
        return tensor_error_file(error, path, -1,
                                 "not written: width %d, height %d; 200 to 10000 are possible",
                                 o->width, o->height);
    if (!data_series_check(of->n, of->series, why))
        return tensor_error_file(error, path, -1, "not written: %s", why);
    measure_legend(c);
    return true;
}

/* Their axes of x are one. */
static void measure(Chart *chart, int n) {
    DataAxis x = data_axis_new(false);
    for (int k = 0; k < n; k++)
        data_series_show(chart[k].of.n, chart[k].of.series, &x, &chart[k].y);
    data_axis_finish(&x, 0);
    for (int k = 0; k < n; k++) {
        chart[k].x = x;
        data_axis_finish(&chart[k].y, 0.04);
    }
}

static void draw_charts(FILE *svg, Chart *chart, int n) {
    double left = 0, width = 0, height = 0;
    measure(chart, n);
    for (int k = 0; k < n; k++) {
        left = fmax(left, left_margin(&chart[k]));
        width = fmax(width, chart[k].of.options.width + chart[k].legend_width);
    }
    for (int k = 0; k < n; k++) {
        chart[k].svg = svg;
        lay_out(&chart[k], left, height);
        height += chart_height(&chart[k]);
    }
    data_svg_begin(svg, width, height);
    for (int k = 0; k < n; k++) {
        draw_axes(&chart[k]);
        draw_titles(&chart[k]);
        for (int i = 0; i < chart[k].of.n; i++)
            draw_series(&chart[k], i);
        draw_legend(&chart[k]);
    }
    data_svg_end(svg);
}

bool data_plot_charts(const char *path, int n, const DataChart *charts, TensorError *error) {
    TensorFileWriter file;
    if (n < 1)
        return tensor_error_file(error, path, -1, "not written: %d charts", n);
    Chart *chart = malloc((size_t)n * sizeof *chart);
    if (!chart)
        return tensor_error_errno(error, path, ENOMEM);
    bool ok = true;
    for (int k = 0; k < n && ok; k++)
        ok = begin_chart(&chart[k], &charts[k], path, error);
    if (ok && (ok = tensor_file_begin(&file, path, error))) {
        TensorLocale locale = tensor_locale_c();
        draw_charts(file.stream, chart, n);
        tensor_locale_restore(locale);
        ok = tensor_file_commit(&file, error);
    }
    free(chart);
    return ok;
}

bool data_plot_lines(const char *path, int n, const DataSeries *series, const DataLineChart *chart,
                     TensorError *error) {
    DataChart one = {.n = n, .series = series};
    if (chart)
        one.options = *chart;
    return data_plot_charts(path, 1, &one, error);
}

/* ---- heat maps ---- */

enum { BAR = 12 /* width of the colour bar */, LOWEST = 3 * LINE, NO_VALUE = 0xB0B0B0 };

typedef struct {
    int n;
    const DataHeatMap *panel;
    DataHeatMapOptions options;
    int64_t columns;
    double cell;          /* width of a cell */
    double left, width;   /* of the cells of all panels */
    double numbers;       /* width of the numbers beside the colour bars */
    double labels;        /* height of the labels of columns */
    bool upwards;         /* they are turned */
    FILE *svg;
} Map;

static uint32_t mix(uint32_t a, uint32_t b, double part) {
    uint32_t colour = 0;
    for (int shift = 0; shift <= 16; shift += 8) {
        double from = a >> shift & 0xFF, to = b >> shift & 0xFF;
        colour |= (uint32_t)lround(from + (to - from) * part) << shift;
    }
    return colour;
}

/* part 0: low, 1: high */
static uint32_t scale_colour(double part) {
    const uint32_t low = 0x1F4E9E, middle = 0xF7F7F7, high = 0xB3202A;
    return part < 0.5 ? mix(low, middle, 2 * part) : mix(middle, high, 2 * part - 1);
}

static uint32_t cell_colour(double value, double low, double high) {
    if (isnan(value))
        return NO_VALUE;
    value = fmin(fmax(value, low), high);
    double size = fmax(fabs(low), fabs(high)); /* without it, overflow or a difference of 0 */
    return scale_colour((value / size - low / size) / (high / size - low / size));
}

static void find_range(const DataHeatMap *p, double *low, double *high) {
    *low = p->low;
    *high = p->high;
    if (p->low != 0 || p->high != 0)
        return;
    double largest = 0;
    for (int64_t i = 0; i < tensor_numel(&p->values); i++) {
        double size = fabs(tensor_get(&p->values, i));
        if (isfinite(size) && size > largest)
            largest = size;
    }
    *high = largest > 0 ? largest : 1;
    *low = -*high;
}

static double clamp(double value, double low, double high) {
    return fmin(fmax(value, low), high);
}

/* Of n cells side by side that would like to fill `room`. */
static double cell_size(int64_t n, double room) {
    return n > 0 ? clamp(room / (double)n, 2, 24) : 24;
}

static double panel_cell(const DataHeatMap *p) {
    int64_t rows = p->values.shape[0];
    return rows > 0 ? fmax(cell_size(rows, 160), LOWEST / (double)rows) : LOWEST;
}

static double panel_height(const DataHeatMap *p) {
    return panel_cell(p) * fmax((double)p->values.shape[0], 1);
}

/* Label i of a row or column: its own, or its number in buf. */
static const char *label_of(const char *const *labels, int64_t i, char buf[DATA_AXIS_NUMBER]) {
    if (labels)
        return labels[i];
    snprintf(buf, DATA_AXIS_NUMBER, "%" PRId64, i);
    return buf;
}

static double widest(const char *const *labels, int64_t n) {
    double width = 0;
    char buf[DATA_AXIS_NUMBER];
    if (!labels)
        return n > 0 ? data_svg_text_width(label_of(NULL, n - 1, buf)) : 0;
    for (int64_t i = 0; i < n; i++)
        width = fmax(width, data_svg_text_width(labels[i]));
    return width;
}

/* So many cells have room for one label; numbers stand at round ones. */
static int64_t label_stride(const char *const *labels, int64_t n, double cell, double room) {
    double cells = ceil(room / cell);
    if (labels || cells <= 1)
        return (int64_t)cells;
    double most = fmin(fmax((double)n / cells, 1), INT_MAX);
    return (int64_t)fmax(data_axis_step((double)n, (int)most), 1);
}

static void draw_row_labels(Map *m, const DataHeatMap *p, double top) {
    char buf[DATA_AXIS_NUMBER];
    int64_t rows = p->values.shape[0];
    double cell = panel_cell(p);
    int64_t stride = label_stride(p->row_labels, rows, cell, DATA_SVG_FONT + 2);
    for (int64_t r = 0; r < rows; r += stride)
        data_svg_text(m->svg, m->left - 4, top + ((double)r + 0.5) * cell + 4, DATA_SVG_END,
                      DATA_SVG_FONT, false, label_of(p->row_labels, r, buf));
}

static void draw_column_labels(Map *m, double y) {
    char buf[DATA_AXIS_NUMBER];
    const char *const *labels = m->options.column_labels;
    double room = m->upwards ? DATA_SVG_FONT + 2 : widest(labels, m->columns) + 4;
    int64_t stride = label_stride(labels, m->columns, m->cell, room);
    for (int64_t k = 0; k < m->columns; k += stride) {
        double x = m->left + ((double)k + 0.5) * m->cell;
        if (m->upwards)
            data_svg_text(m->svg, x + 4, y + 4, DATA_SVG_END, DATA_SVG_FONT, true, labels[k]);
        else
            data_svg_text(m->svg, x, y + LINE - 3, DATA_SVG_MIDDLE, DATA_SVG_FONT, false,
                          label_of(labels, k, buf));
    }
}

/* Neighbours of one colour in a row are one rectangle. */
static void draw_cells(Map *m, const DataHeatMap *p, double top, double low, double high) {
    double cell = panel_cell(p);
    for (int64_t r = 0; r < p->values.shape[0]; r++) {
        int64_t first = 0;
        uint32_t colour = 0;
        for (int64_t k = 0; k <= m->columns; k++) {
            uint32_t next = colour;
            if (k < m->columns)
                next = cell_colour(tensor_get(&p->values, r * m->columns + k), low, high);
            if (k > first && (k == m->columns || next != colour)) {
                data_svg_rect(m->svg, m->left + (double)first * m->cell, top + (double)r * cell,
                              (double)(k - first) * m->cell, cell, colour);
                first = k;
            }
            colour = next;
        }
    }
    data_svg_frame(m->svg, m->left, top, m->width, panel_height(p));
}

/* low / 2 + high / 2 may differ from a middle of 0 in the last bit of the larger one. */
static void range_texts(double low, double high, char text[3][DATA_AXIS_NUMBER]) {
    double value[3] = {high, low == -high ? 0 : low / 2 + high / 2, low};
    for (int i = 0; i < 3; i++)
        snprintf(text[i], DATA_AXIS_NUMBER, "%.3g", value[i]);
}

static void draw_bar(Map *m, double top, double height, double low, double high) {
    enum { STRIPES = 48 };
    double x = m->left + m->width + PADDING, stripe = height / STRIPES;
    for (int i = 0; i < STRIPES; i++)
        data_svg_rect(m->svg, x, top + i * stripe, BAR, stripe,
                      scale_colour(1 - (i + 0.5) / STRIPES));
    data_svg_frame(m->svg, x, top, BAR, height);
    char text[3][DATA_AXIS_NUMBER];
    range_texts(low, high, text);
    const double at[] = {top + 9, top + height / 2 + 4, top + height};
    for (int i = 0; i < 3; i++)
        data_svg_text(m->svg, x + BAR + 4, at[i], DATA_SVG_START, DATA_SVG_FONT, false, text[i]);
}

static void draw_panel(Map *m, const DataHeatMap *p, double top) {
    double low, high, height = panel_height(p);
    find_range(p, &low, &high);
    if (p->title) {
        data_svg_text(m->svg, m->left, top + LINE - 4, DATA_SVG_START, DATA_SVG_FONT,
                      false, p->title);
        top += LINE;
    }
    draw_row_labels(m, p, top);
    draw_cells(m, p, top, low, high);
    draw_bar(m, top, height, low, high);
    draw_column_labels(m, top + height);
}

/* Where what stands below the panel begins. */
static double after_panel(const Map *m, const DataHeatMap *p, double top) {
    return top + (p->title ? LINE : 0) + panel_height(p) + m->labels + PADDING;
}

static bool check_panel(const Map *m, int k, const char *path, TensorError *error) {
    const DataHeatMap *p = &m->panel[k];
    char got[TENSOR_DESCRIBE_SIZE];
    const char *why = tensor_invalid(&p->values);
    if (why)
        return tensor_error_file(error, path, -1, "not written: panel %d: %s", k, why);
    if (p->values.ndim != 2)
        return tensor_error_file(error, path, -1, "not written: panel %d: %s is no matrix", k,
                                 tensor_describe(&p->values, got, sizeof got));
    if (p->values.shape[1] != m->panel[0].values.shape[1])
        return tensor_error_file(error, path, -1, "not written: panel %d has %" PRId64
                                 " columns, panel 0 has %" PRId64, k, p->values.shape[1],
                                 m->panel[0].values.shape[1]);
    bool from_data = p->low == 0 && p->high == 0;
    if (!from_data && !(isfinite(p->low) && isfinite(p->high) && p->low < p->high))
        return tensor_error_file(error, path, -1, "not written: panel %d: range %g to %g", k,
                                 p->low, p->high);
    return true;
}

static bool check_map(const Map *m, const char *path, TensorError *error) {
    if (m->n < 1)
        return tensor_error_file(error, path, -1, "not written: %d panels", m->n);
    for (int k = 0; k < m->n; k++)
        if (!check_panel(m, k, path, error))
            return false;
    return true;
}

static void measure_columns(Map *m) {
    const char *const *labels = m->options.column_labels;
    m->columns = m->panel[0].values.shape[1];
    m->cell = cell_size(m->columns, 720);
    m->width = m->cell * (double)m->columns;
    double longest = widest(labels, m->columns);
    m->upwards = labels && longest > m->cell - 4;
    m->labels = m->upwards ? longest + 8 : LINE;
}

static void measure_margins(Map *m) {
    double rows = 0;
    m->numbers = 0;
    for (int k = 0; k < m->n; k++) {
        const DataHeatMap *p = &m->panel[k];
        double low, high;
        char text[3][DATA_AXIS_NUMBER];
        find_range(p, &low, &high);
        range_texts(low, high, text);
        for (int i = 0; i < 3; i++)
            m->numbers = fmax(m->numbers, data_svg_text_width(text[i]));
        rows = fmax(rows, widest(p->row_labels, p->values.shape[0]));
    }
    m->left = PADDING + rows + 4;
}

static double title_width(const char *title, int font) {
    return data_svg_text_width(title) * font / DATA_SVG_FONT;
}

/* The picture's: of the cells with what stands beside them, or of a longer title. */
static double whole_width(const Map *m) {
    double width = m->width + PADDING + BAR + 4 + m->numbers;
    width = fmax(width, title_width(m->options.title, DATA_SVG_TITLE_FONT));
    width = fmax(width, title_width(m->options.column_title, DATA_SVG_FONT));
    for (int k = 0; k < m->n; k++)
        width = fmax(width, title_width(m->panel[k].title, DATA_SVG_FONT));
    return m->left + width + PADDING;
}

static bool write_map(Map *m, const char *path, TensorError *error) {
    TensorFileWriter file;
    if (!check_map(m, path, error) || !tensor_file_begin(&file, path, error))
        return false;
    m->svg = file.stream;
    measure_columns(m);
    measure_margins(m);
    double top = PADDING + (m->options.title ? LINE + 8 : 0), bottom = top;
    for (int k = 0; k < m->n; k++)
        bottom = after_panel(m, &m->panel[k], bottom);
    double height = bottom + (m->options.column_title ? LINE : 0);
    data_svg_begin(m->svg, whole_width(m), height);
    data_svg_text(m->svg, m->left, PADDING + 10, DATA_SVG_START, DATA_SVG_TITLE_FONT,
                  false, m->options.title);
    for (int k = 0; k < m->n; top = after_panel(m, &m->panel[k++], top))
        draw_panel(m, &m->panel[k], top);
    data_svg_text(m->svg, m->left, height - PADDING, DATA_SVG_START, DATA_SVG_FONT, false,
                  m->options.column_title);
    data_svg_end(m->svg);
    return tensor_file_commit(&file, error);
}

bool data_plot_heat_maps(const char *path, int n, const DataHeatMap *panels,
                         const DataHeatMapOptions *options, TensorError *error) {
    Map m = {.n = n, .panel = panels};
    if (options)
        m.options = *options;
    TensorLocale locale = tensor_locale_c();
    bool ok = write_map(&m, path, error);
    tensor_locale_restore(locale);
    return ok;
}
