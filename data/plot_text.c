#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "data/axis.h"
#include "data/utf8.h"

enum { SERIES_NONE = 0, COLOURS = 7, SIGNS = 8, DOTS_X = 2, DOTS_Y = 4 };

/* One character of the drawing. */
typedef struct {
    int series;   /* whose it is, from 1; SERIES_NONE */
    uint8_t dots; /* of Braille, U+2800 plus this */
} Cell;

typedef struct {
    int n;
    const DataSeries *series;
    DataLineChart chart;
    DataTextChart text;
    DataAxis x, y;
    bool braille;
    int margin;         /* columns before the axis of y: its numbers */
    int columns, lines; /* of the drawing */
    Cell *cell;         /* [lines, columns] */
    FILE *out;
} Drawing;

/* ---- texts ---- */

static int width_of(uint32_t code) {
    return utf8proc_charwidth((utf8proc_int32_t)code);
}

/* What is written for a character of the user's texts. */
static uint32_t shown(const Drawing *d, uint32_t code) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    /* Format characters turn the direction of writing, separators end lines. */
    bool moves = category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
                 category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
    return moves || (code >= 0x80 && d->text.style == DATA_TEXT_ASCII) ? '?' : code;
}

/* Writes as much as has room and returns the columns it takes; with out NULL only that. */
static int write_text(const Drawing *d, FILE *out, const char *text, int room) {
    int64_t n = text ? (int64_t)strlen(text) : 0;
    int used = 0;
    for (int64_t at = 0; at < n;) {
        uint32_t code;
        char bytes[DATA_UTF8_MAX];
        at += data_utf8_decode(text + at, n - at, &code, NULL);
        code = shown(d, code);
        if (used + width_of(code) > room)
            break;
        used += width_of(code);
        if (out)
            fwrite(bytes, 1, (size_t)data_utf8_encode(code, bytes), out);
    }
    return used;
}

static void write_spaces(const Drawing *d, int n) {
    fprintf(d->out, "%*s", n > 0 ? n : 0, "");
}

/* A line with the text in the middle of the drawing; none for NULL. */
static void write_title(const Drawing *d, const char *title) {
    if (!title)
        return;
    int length = write_text(d, NULL, title, d->text.width);
    int before = d->margin + 1 + (d->columns - length) / 2;
    before = before > d->text.width - length ? d->text.width - length : before;
    write_spaces(d, before);
    write_text(d, d->out, title, d->text.width);
    putc('\n', d->out);
}

/* ---- what a series looks like ---- */

static char sign_of(int series) {
    static const char signs[] = "*+ox#@%=";
    return signs[(series - 1) % SIGNS];
}

/* Of the 256 that most terminals have: near those of the pictures, and light enough on black. */
static void begin_colour(const Drawing *d, int series) {
    static const int colours[COLOURS] = {33, 208, 36, 176, 220, 117, 245};
    if (d->text.style == DATA_TEXT_COLOUR)
        fprintf(d->out, "\033[38;5;%dm", colours[(series - 1) % COLOURS]);
}

static void end_colour(const Drawing *d) {
    if (d->text.style == DATA_TEXT_COLOUR)
        fputs("\033[0m", d->out);
}

static void write_code(const Drawing *d, uint32_t code) {
    char bytes[DATA_UTF8_MAX];
    fwrite(bytes, 1, (size_t)data_utf8_encode(code, bytes), d->out);
}

/* ---- the drawing ---- */

/* A dot at a place of the axes. */
static void set_dot(Drawing *d, int series, int x, int y) {
    /* The dots of a character count down the left column, then the right one; the lowest row was
     * added to Braille later. */
    static const uint8_t bits[DOTS_Y][DOTS_X] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20},
                                                 {0x40, 0x80}};
    int width = d->braille ? DOTS_X : 1, height = d->braille ? DOTS_Y : 1;
    Cell *cell = &d->cell[(size_t)(y / height) * (size_t)d->columns + (size_t)(x / width)];
    cell->series = series;
    cell->dots |= bits[y % height][x % width];
}

/* All dots between two points, one in each column or row, whichever are more. */
static void draw_segment(Drawing *d, int series, const double from[2], const double to[2]) {
    double steps = ceil(fmax(fabs(to[0] - from[0]), fabs(to[1] - from[1])));
    for (double i = 0; i <= steps; i++) {
        double part = steps > 0 ? i / steps : 0;
        set_dot(d, series, (int)lround(from[0] + part * (to[0] - from[0])),
                (int)lround(from[1] + part * (to[1] - from[1])));
    }
}

static void draw_series(Drawing *d, int k) {
    const DataSeries *s = &d->series[k];
    for (int64_t first, last = 0; data_series_run(s, d->y.log, &first, &last);) {
        double point[2], before[2];
        for (int64_t i = first; i < last; i++) {
            point[0] = data_axis_place(&d->x, data_series_x(s, i));
            point[1] = data_axis_place(&d->y, s->y[i]);
            draw_segment(d, k + 1, i > first ? before : point, point);
            memcpy(before, point, sizeof point);
        }
    }
}

static void write_cell(const Drawing *d, const Cell *cell) {
    if (cell->series == SERIES_NONE)
        putc(' ', d->out);
    else if (d->braille)
        write_code(d, 0x2800u + cell->dots);
    else
        putc(sign_of(cell->series), d->out);
}

static void write_cells(const Drawing *d, int line) {
    const Cell *cells = &d->cell[(size_t)line * (size_t)d->columns];
    int end = d->columns, series = SERIES_NONE;
    while (end > 0 && cells[end - 1].series == SERIES_NONE)
        end--;
    for (int i = 0; i < end; i++) {
        if (cells[i].series != series && cells[i].series != SERIES_NONE)
            begin_colour(d, series = cells[i].series);
        write_cell(d, &cells[i]);
    }
    if (series != SERIES_NONE)
        end_colour(d);
    putc('\n', d->out);
}

/* ---- axes ---- */

typedef enum { AXIS_SIDE, AXIS_MARK, AXIS_CORNER, AXIS_BOTTOM, AXIS_BOTTOM_MARK } AxisPart;

static void write_axis(const Drawing *d, AxisPart part) {
    static const char *const drawn[] = {"\u2502", "\u2524", "\u2514", "\u2500", "\u252C"};
    static const char *const plain[] = {"|", "+", "+", "-", "+"};
    fputs((d->text.style == DATA_TEXT_ASCII ? plain : drawn)[part], d->out);
}

/* The character of the drawing in which a value stands. */
static int column_of(const Drawing *d, double value) {
    return (int)lround(data_axis_place(&d->x, value)) / (d->braille ? DOTS_X : 1);
}

static int line_of(const Drawing *d, double value) {
    return (int)lround(data_axis_place(&d->y, value)) / (d->braille ? DOTS_Y : 1);
}

/* The first mark of the line, or -1. */
static int mark_of(const Drawing *d, int line) {
    for (int i = 0; i < d->y.marks.n; i++)
        if (line_of(d, d->y.marks.value[i]) == line)
            return i;
    return -1;
}

/* The number of a mark of y; in the narrowest texts the longest have no room. */
static const char *number_of(const Drawing *d, int mark) {
    const char *number = mark >= 0 ? d->y.marks.text[mark] : "";
    return (int)strlen(number) < d->margin ? number : "";
}

static void write_lines(const Drawing *d) {
    for (int line = 0; line < d->lines; line++) {
        int mark = mark_of(d, line);
        fprintf(d->out, "%*s ", d->margin - 1, number_of(d, mark));
        write_axis(d, mark >= 0 ? AXIS_MARK : AXIS_SIDE);
        write_cells(d, line);
    }
}

/* Which marks of x have a number: those with room for it.  at[i]: where it begins, in columns of
 * the whole line, or -1. */
static void place_numbers(const Drawing *d, int at[DATA_AXIS_MARKS]) {
    int free = 0;
    for (int i = 0; i < d->x.marks.n; i++) {
        int length = (int)strlen(d->x.marks.text[i]);
        int begin = d->margin + 1 + column_of(d, d->x.marks.value[i]) - length / 2;
        int most = d->text.width - length;
        begin = begin > most ? most : begin;
        at[i] = begin >= free ? begin : -1;
        if (at[i] >= 0)
            free = begin + length + 1;
    }
}

static void write_bottom(const Drawing *d) {
    int at[DATA_AXIS_MARKS], column = 0, written = 0;
    place_numbers(d, at);
    write_spaces(d, d->margin);
    write_axis(d, AXIS_CORNER);
    for (int i = 0; i < d->x.marks.n; i++) {
        int mark = column_of(d, d->x.marks.value[i]);
        if (at[i] < 0 || mark < column)
            continue;
        for (; column < mark; column++)
            write_axis(d, AXIS_BOTTOM);
        write_axis(d, AXIS_BOTTOM_MARK);
        column++;
    }
    for (; column < d->columns; column++)
        write_axis(d, AXIS_BOTTOM);
    putc('\n', d->out);
    for (int i = 0; i < d->x.marks.n; i++) {
        if (at[i] < 0)
            continue;
        write_spaces(d, at[i] - written);
        fputs(d->x.marks.text[i], d->out);
        written = at[i] + (int)strlen(d->x.marks.text[i]);
    }
    putc('\n', d->out);
}

static void write_legend(const Drawing *d) {
    for (int k = 0; k < d->n; k++) {
        if (!d->series[k].name)
            continue;
        begin_colour(d, k + 1);
        for (int i = 0; i < (d->braille ? 2 : 1); i++)
            d->braille ? write_code(d, 0x2812) : (void)putc(sign_of(k + 1), d->out);
        end_colour(d);
        putc(' ', d->out);
        write_text(d, d->out, d->series[k].name, d->text.width - 3);
        putc('\n', d->out);
    }
}

/* ---- the whole ---- */

static bool is_braille(const Drawing *d) {
    int drawn = 0;
    for (int k = 0; k < d->n; k++)
        drawn += d->series[k].n > 0;
    return d->text.style == DATA_TEXT_COLOUR || (d->text.style == DATA_TEXT_UNICODE && drawn == 1);
}

/* In lines and columns, once the marks are known. */
static void lay_out(Drawing *d) {
    d->x = data_axis_new(false);
    d->y = data_axis_new(d->chart.log_y);
    data_series_show(d->n, d->series, &d->x, &d->y);
    data_axis_finish(&d->x, 0);
    data_axis_finish(&d->y, 0);
    d->braille = is_braille(d);
    d->margin = 1;
    for (int i = 0; i < d->y.marks.n; i++) {
        int length = 1 + (int)strlen(d->y.marks.text[i]);
        d->margin = length > d->margin ? length : d->margin;
    }
    /* The longest numbers leave a drawing of two characters in the narrowest text. */
    int most = d->text.width - 3;
    d->margin = d->margin > most ? most : d->margin;
    d->columns = d->text.width - d->margin - 1;
    d->lines = d->text.height;
    d->x.to = d->columns * (d->braille ? DOTS_X : 1) - 1;
    d->y.from = d->lines * (d->braille ? DOTS_Y : 1) - 1;
}

static bool check(const Drawing *d, TensorError *error) {
    char why[DATA_SERIES_WHY];
    if (d->text.width < 20 || d->text.width > 1000)
        return tensor_error_set(error, "a chart of width %d: 20 to 1000 are possible",
                                d->text.width);
    if (d->text.height < 3 || d->text.height > 500)
        return tensor_error_set(error, "a chart of height %d: 3 to 500 are possible",
                                d->text.height);
    return data_series_check(d->n, d->series, why) ||
           tensor_error_set(error, "a chart that cannot be drawn: %s", why);
}

static bool draw(Drawing *d) {
    lay_out(d);
    d->cell = calloc((size_t)d->lines * (size_t)d->columns, sizeof *d->cell);
    if (!d->cell)
        return false;
    for (int k = 0; k < d->n; k++)
        draw_series(d, k);
    write_title(d, d->chart.title);
    if (d->chart.y_label) {
        write_text(d, d->out, d->chart.y_label, d->text.width);
        putc('\n', d->out);
    }
    write_lines(d);
    write_bottom(d);
    write_title(d, d->chart.x_label);
    write_legend(d);
    free(d->cell);
    return true;
}

bool data_plot_text(FILE *out, int n, const DataSeries *series, const DataLineChart *chart,
                    const DataTextChart *text, TensorError *error) {
    Drawing d = {.n = n, .series = series, .out = out};
    if (chart)
        d.chart = *chart;
    if (text)
        d.text = *text;
    if (d.text.width == 0)
        d.text.width = 80;
    if (d.text.height == 0)
        d.text.height = 16;
    if (!check(&d, error))
        return false;
    TensorLocale locale = tensor_locale_c();
    bool ok = draw(&d);
    tensor_locale_restore(locale);
    if (!ok)
        return tensor_error_set(error, "out of memory");
    return (fflush(out) == 0 && !ferror(out)) ||
           tensor_error_set(error, "the chart cannot be written: %s", strerror(errno));
}
