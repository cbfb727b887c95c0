/* axis.h -- where values stand on the axes of a chart.  Not for use outside data/.
 *
 * An axis begins empty, is shown all values, and is finished then: it reaches as far as they do and
 * has marks.  Numbers are written in the C locale if the caller sets it (tensor_locale_c). */
#ifndef DATA_AXIS_H
#define DATA_AXIS_H
#include <stdbool.h>
#include <stdint.h>

#include "data/plot.h"

enum { DATA_AXIS_MARKS = 32, DATA_AXIS_NUMBER = 32, DATA_SERIES_WHY = 80 };

typedef struct {
    int n;
    double value[DATA_AXIS_MARKS];
    char text[DATA_AXIS_MARKS][DATA_AXIS_NUMBER];
} DataMarks;

typedef struct {
    bool log;
    double low, high; /* of the values, or of their logarithms to base 10 */
    double from, to;  /* the places of low and high in the picture */
    DataMarks marks;
} DataAxis;

/* The smallest of 1, 2 or 5 times a power of ten that goes into the range `most` times at most. */
double data_axis_step(double range, int most);

/* An axis that no value was shown to yet. */
DataAxis data_axis_new(bool logarithmic);
void data_axis_show(DataAxis *a, double value);
/* After the last value.  margin: the part of the range to leave free at both ends. */
void data_axis_finish(DataAxis *a, double margin);
/* Where the value stands, in from..to for one that was shown. */
double data_axis_place(const DataAxis *a, double value);

/* ---- series ---- */

double data_series_x(const DataSeries *s, int64_t i);
/* The next points first..last-1 that can be drawn and have no gap between them, from *last on.
 * False: there are none. */
bool data_series_run(const DataSeries *s, bool log_y, int64_t *first, int64_t *last);
/* Shows the points that can be drawn to both axes. */
void data_series_show(int n, const DataSeries *series, DataAxis *x, DataAxis *y);
/* False, with the reason: n or a series' n below 0, no y. */
bool data_series_check(int n, const DataSeries *series, char why[DATA_SERIES_WHY]);

#endif
