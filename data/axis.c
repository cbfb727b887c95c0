#include "data/axis.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ---- where the marks of an axis stand ---- */

double data_axis_step(double range, int most) {
    double power = pow(10, floor(log10(range / most)));
    for (int multiple = 1; multiple <= 5; multiple += multiple == 1 ? 1 : 3)
        if (range / (multiple * power) <= most)
            return multiple * power;
    return 10 * power;
}

static void add_mark(DataMarks *marks, double value) {
    if (marks->n < DATA_AXIS_MARKS)
        marks->value[marks->n++] = value;
}

static void mark_linear(DataMarks *marks, double low, double high) {
    double step = data_axis_step(high - low, 7);
    marks->n = 0;
    for (double k = ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++)
        add_mark(marks, k * step + 0.0); /* + 0: no -0 */
}

/* Multiples 1 to 9 of powers of ten, those in the text; low and high are logarithms.  Beyond the
 * smallest and the largest number, where only the margins reach, there are none. */
static void mark_multiples(DataMarks *marks, double low, double high, const char *multiples) {
    int every = 1 + (int)((high - low) / 8);
    marks->n = 0;
    for (double k = floor(low / every) * every; k <= high; k += every)
        for (const char *m = multiples; *m; m++) {
            double u = k + log10(*m - '0'), value = (*m - '0') * pow(10, k);
            bool is_number = value > 0 && isfinite(value);
            if (is_number && u >= low - 1e-9 && u <= high + 1e-9)
                add_mark(marks, value);
        }
}

/* Powers of ten, if the axis has three of them; else more and more between them. */
static void mark_logarithmic(DataMarks *marks, double low, double high) {
    static const char *const multiples[] = {"1", "125", "123456789"};
    for (int i = 0; i < 3; i++) {
        mark_multiples(marks, low, high, multiples[i]);
        if (marks->n >= 3)
            return;
    }
    mark_linear(marks, pow(10, low), pow(10, high));
}

/* The decimals in which all marks differ, but not more of 1000000 than 1e+06. */
static void write_marks(DataMarks *marks) {
    double largest = 0, step = INFINITY;
    for (int i = 0; i < marks->n; i++) {
        largest = fmax(largest, fabs(marks->value[i]));
        if (i > 0)
            step = fmin(step, marks->value[i] - marks->value[i - 1]);
    }
    double digits = 1 + floor(log10(largest)) - floor(log10(step) + 1e-9);
    int shown = digits > 6 ? (int)fmin(digits, 15) : 6; /* also of one mark, and of 0 alone */
    for (int i = 0; i < marks->n; i++)
        snprintf(marks->text[i], DATA_AXIS_NUMBER, "%.*g", shown, marks->value[i]);
}

/* ---- axes ---- */

double data_axis_place(const DataAxis *a, double value) {
    double u = a->log ? log10(value) : value;
    return a->from + (u - a->low) / (a->high - a->low) * (a->to - a->from);
}

DataAxis data_axis_new(bool logarithmic) {
    return (DataAxis){.log = logarithmic, .low = INFINITY, .high = -INFINITY};
}

void data_axis_show(DataAxis *a, double value) {
    double u = a->log ? log10(value) : value;
    a->low = fmin(a->low, u);
    a->high = fmax(a->high, u);
}

/* Room for one value, or for values that doubles hardly tell apart. */
static void widen(DataAxis *a) {
    if (a->low > a->high) {
        a->low = 0;
        a->high = 1;
        return;
    }
    double size = fmax(fabs(a->low), fabs(a->high));
    /* A difference of logarithms is one of the values in relation to their size. */
    if (a->high - a->low > (a->log ? 1e-11 * fmax(size, 1) : fmax(1e-11 * size, 1e-300)))
        return;
    double more = a->log || size < 1e-290 ? 0.5 : 0.05 * size;
    a->low -= more;
    a->high += more;
}

void data_axis_finish(DataAxis *a, double margin) {
    widen(a);
    double more = margin * (a->high - a->low);
    a->low -= more;
    a->high += more;
    if (a->log)
        mark_logarithmic(&a->marks, a->low, a->high);
    else
        mark_linear(&a->marks, a->low, a->high);
    write_marks(&a->marks);
}

/* ---- series ---- */

double data_series_x(const DataSeries *s, int64_t i) {
    return s->x ? s->x[i] : (double)i;
}

static bool is_drawn(const DataSeries *s, int64_t i, bool log_y) {
    const double limit = 1e300; /* so that differences do not overflow */
    return fabs(data_series_x(s, i)) <= limit && fabs(s->y[i]) <= limit &&
           !(log_y && s->y[i] <= 0);
}

bool data_series_run(const DataSeries *s, bool log_y, int64_t *first, int64_t *last) {
    int64_t i = *last;
    while (i < s->n && !is_drawn(s, i, log_y))
        i++;
    *first = i;
    while (i < s->n && is_drawn(s, i, log_y))
        i++;
    *last = i;
    return *last > *first;
}

void data_series_show(int n, const DataSeries *series, DataAxis *x, DataAxis *y) {
    for (int k = 0; k < n; k++)
        for (int64_t first, last = 0; data_series_run(&series[k], y->log, &first, &last);)
            for (int64_t i = first; i < last; i++) {
                data_axis_show(x, data_series_x(&series[k], i));
                data_axis_show(y, series[k].y[i]);
            }
}

bool data_series_check(int n, const DataSeries *series, char why[DATA_SERIES_WHY]) {
    if (n < 0) {
        snprintf(why, DATA_SERIES_WHY, "%d series", n);
        return false;
    }
    for (int k = 0; k < n; k++) {
        const DataSeries *s = &series[k];
        if (s->n >= 0 && (s->n == 0 || s->y))
            continue;
        snprintf(why, DATA_SERIES_WHY, "series %d has %" PRId64 " points%s", k, s->n,
                 s->n > 0 ? ", but no y" : "");
        return false;
    }
    return true;
}
