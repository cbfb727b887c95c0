/* Charts as text: what they look like, that no line is longer than asked, gaps and extremes. */
#include "data/plot.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "data/utf8.h"

/* The chart as a string; for free(). */
static char *text_of(int n, const DataSeries *series, const DataLineChart *chart,
                     const DataTextChart *text) {
    char *shown = NULL;
    size_t size;
    TensorError error = {""};
    FILE *out = open_memstream(&shown, &size);
    cr_assert(out && data_plot_text(out, n, series, chart, text, &error), "%s", error.message);
    fclose(out);
    return shown;
}

static void looks(const char *wanted, int n, const DataSeries *series, const DataLineChart *chart,
                  DataTextChart text) {
    char *shown = text_of(n, series, chart, &text);
    cr_assert(strcmp(shown, wanted) == 0, "\n%s instead of\n%s", shown, wanted);
    free(shown);
}

static const double steps[] = {0, 1, 2, 3, 4}, level[] = {4, 4, 4, 4, 4};
static const double broken[] = {0, 1, NAN, 3, 4};
static const DataSeries two[] = {{"rising", 5, steps, broken}, {"level", 5, steps, level}};

Test(plot_text, each_series_has_a_sign_and_the_axes_have_numbers) {
    const DataLineChart chart = {"Two lines", "time", "speed", false, 0, 0};
    looks("        Two lines\n"
          "speed\n"
          "4 ++++++++++++++++++++\n"
          "3 +              **\n"
          "2 +\n"
          "1 +   ***\n"
          "0 +***\n"
          "  ++----+---+----+---+\n"
          "   0    1   2    3   4\n"
          "          time\n"
          "* rising\n"
          "+ level\n",
          2, two, &chart, (DataTextChart){DATA_TEXT_ASCII, 22, 5});
    looks("4 \u2524+++++++++++++++++++\n"
          "3 \u2524              **\n"
          "2 \u2524\n"
          "1 \u2524   ***\n"
          "0 \u2524***\n"
          "  \u2514\u252C\u2500\u2500\u2500\u2500\u252C\u2500\u2500\u2500\u252C\u2500\u2500\u2500\u2500"
          "\u252C\u2500\u2500\u2500\u252C\n"
          "   0    1   2    3   4\n"
          "* rising\n"
          "+ level\n",
          2, two, NULL, (DataTextChart){DATA_TEXT_UNICODE, 22, 5});
}

Test(plot_text, a_line_alone_is_of_braille_dots) {
    const double up[] = {0, 1};
    const DataSeries diagonal = {NULL, 2, NULL, up};
    char *shown = text_of(1, &diagonal, NULL, &(DataTextChart){DATA_TEXT_UNICODE, 20, 3});
    /* Of 30 columns of dots each has one, from the lowest of 12 rows to the highest. */
    int dots = 0, first = 0, last = 0;
    for (int64_t at = 0, n = (int64_t)strlen(shown); at < n;) {
        uint32_t code;
        at += data_utf8_decode(shown + at, n - at, &code, NULL);
        if (code < 0x2800 || code > 0x28FF) continue;
        if (!first) first = (int)code;
        last = (int)code;
        dots += __builtin_popcount(code - 0x2800);
    }
    cr_assert(dots == 2 * (20 - 5), "%d dots in\n%s", dots, shown);
    cr_assert(last & 0x40 || first & 0x40, "the lowest row is reached");
    free(shown);
}

Test(plot_text, colours_come_only_where_they_are_asked_for) {
    for (int style = DATA_TEXT_ASCII; style <= DATA_TEXT_COLOUR; style++) {
        char *shown = text_of(2, two, NULL, &(DataTextChart){.style = (DataTextStyle)style});
        cr_assert((strchr(shown, '\033') != NULL) == (style == DATA_TEXT_COLOUR));
        int begun = 0, ended = 0;
        for (const char *at = shown; (at = strstr(at, "\033[")); at += 2)
            strncmp(at, "\033[0m", 4) == 0 ? ended++ : begun++;
        cr_assert(begun >= ended && (begun == 0 || ended > 2), "each line ends without colour");
        bool plain = true;
        for (const char *c = shown; *c; c++) plain = plain && (*c & 0x80) == 0;
        cr_assert(plain == (style == DATA_TEXT_ASCII));
        free(shown);
    }
}

Test(plot_text, equal_ratios_take_equal_room_with_log_y) {
    const double y[] = {1, 10, 100, 1000, -1, 0};
    const DataSeries series = {NULL, 6, NULL, y};
    looks("1000 +                  *\n"
          "     |                **\n"
          "     |              **\n"
          " 100 +            **\n"
          "     |          **\n"
          "     |        **\n"
          "  10 +      **\n"
          "     |    **\n"
          "     |  **\n"
          "   1 +**\n"
          "     ++--+--+--+--+--+--+\n"
          "      0 0.5 1 1.5 2 2.5 3\n",
          1, &series, &(DataLineChart){.log_y = true}, (DataTextChart){DATA_TEXT_ASCII, 25, 10});
}

/* ---- sizes ---- */

/* The longest line in columns, without what sets colours; every character is one column wide. */
static int64_t longest_line(const char *text) {
    int64_t longest = 0;
    for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        int64_t length = data_utf8_count(line, end - line);
        for (const char *at = line; (at = strstr(at, "\033[")) && at < end; at++)
            length -= strchr(at, 'm') - at + 1;
        longest = length > longest ? length : longest;
    }
    return longest;
}

Test(plot_text, no_line_is_longer_than_the_width) {
    char name[2000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    static const double ends[][2] = {{0, 1},          {-1e300, 1e300}, {1e-300, 1e-299},
                                     {1e6, 1e6 + 1e-2}, {7, 7},          {-123456, 0.001},
                                     {DBL_TRUE_MIN, 1}, {1, 1 + DBL_EPSILON},
                                     {-1e-100, -1.00000000002e-100}};
    enum { ENDS = sizeof ends / sizeof *ends };
    static const int widths[] = {20, 21, 33, 80, 1000}, heights[] = {3, 4, 40, 500};
    for (size_t k = 0; k < 4 * 2 * 5 * ENDS; k++) {
        const double *y = ends[k % ENDS];
        size_t i = k / ENDS;
        DataTextChart text = {(DataTextStyle)(i % 3), widths[i % 5], heights[i / 5 % 4]};
        DataSeries series = {name, 2, k & 1 ? y : NULL, y};
        DataLineChart chart = {.title = name, .x_label = name, .y_label = name,
                               .log_y = i / 20 % 2};
        char *shown = text_of(1, &series, &chart, &text);
        cr_assert(longest_line(shown) == text.width, "%lld of %d columns:\n%s",
                  (long long)longest_line(shown), text.width, shown);
        int lines = 0;
        for (const char *at = shown; (at = strchr(at, '\n')); at++) lines++;
        cr_assert(lines == text.height + 6, "%d lines", lines);
        free(shown);
    }
}

Test(plot_text, a_chart_without_points_is_an_empty_one) {
    const double bad[] = {NAN, INFINITY, -INFINITY, 1e301};
    const DataSeries series[] = {{"empty", 0, NULL, NULL}, {"bad", 4, NULL, bad}};
    for (int n = 0; n <= 2; n++) {
        char *shown = text_of(n, series, NULL, NULL);
        cr_assert(!strstr(shown, "nan") && !strstr(shown, "inf") && !strstr(shown, "|*"));
        cr_assert((strstr(shown, "+ bad\n") != NULL) == (n == 2), "%s", shown);
        free(shown);
    }
}

/* ---- texts ---- */

Test(plot_text, names_cannot_move_the_cursor) {
    static const struct {
        const char *name, *unicode, *ascii;
    } cases[] = {{"a\033[2J\r\n\tb", "a?[2J???b", "a?[2J???b"},
                 {"\u00E9\u4e2d", "\u00E9\u4e2d", "??"},
                 {"\xFF\u202E\u2028", "\uFFFD??", "???"}};
    const double y[] = {1, 2};
    for (size_t i = 0; i < 3; i++)
        for (int style = 0; style < 2; style++) {
            DataSeries series = {cases[i].name, 2, NULL, y};
            char wanted[100];
            snprintf(wanted, sizeof wanted, "%s%s\n", style ? "\u2812\u2812 " : "* ",
                     style ? cases[i].unicode : cases[i].ascii);
            const DataTextChart text = {.style = (DataTextStyle)style};
            char *shown = text_of(1, &series, NULL, &text);
            cr_assert(strstr(shown, wanted), "no %s in %s", wanted, shown);
            free(shown);
        }
}

/* ---- failures ---- */

Test(plot_text, misuse_is_told_and_writes_nothing) {
    const double y[] = {1};
    static const struct {
        int n;
        int64_t points;
        bool no_y;
        int width, height;
        const char *word;
    } bad[] = {{-1, 1, false, 0, 0, "-1 series"},   {1, -1, false, 0, 0, "series 0 has -1 points"},
               {1, 1, true, 0, 0, "but no y"},      {1, 1, false, 19, 0, "width 19"},
               {1, 1, false, 1001, 0, "width 1001"}, {1, 1, false, 0, 2, "height 2"},
               {1, 1, false, -1, 0, "width -1"},    {1, 1, false, 0, 501, "height 501"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *shown = NULL;
        size_t size;
        TensorError error = {""};
        FILE *out = open_memstream(&shown, &size);
        DataSeries series = {NULL, bad[i].points, NULL, bad[i].no_y ? NULL : y};
        DataTextChart text = {.width = bad[i].width, .height = bad[i].height};
        cr_assert(!data_plot_text(out, bad[i].n, &series, NULL, &text, &error), "%zu", i);
        cr_assert(strstr(error.message, bad[i].word), "%s", error.message);
        fclose(out);
        cr_assert(size == 0);
        free(shown);
    }
    FILE *full = fopen("/dev/full", "w");
    TensorError error = {""};
    cr_assert(full && !data_plot_text(full, 0, NULL, NULL, NULL, &error));
    cr_assert(strstr(error.message, "No space left"), "%s", error.message);
    fclose(full);
}
