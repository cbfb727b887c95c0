/* PNG files: the pixels of a picture, a chart that shows, failures. */
#include "data/png/png.h"

#include <cairo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "data/plot.h"
#include "tests/data/support.h"
#include "tests/support/read_text.h"

static cairo_surface_t *open_png(const char *path, int width, int height) {
    unsigned char signature[8];
    FILE *file = fopen(path, "rb");
    cr_assert(file && fread(signature, 1, 8, file) == 8);
    fclose(file);
    cr_assert(memcmp(signature, "\x89PNG\r\n\x1A\n", 8) == 0);
    cairo_surface_t *png = cairo_image_surface_create_from_png(path);
    cr_assert(cairo_surface_status(png) == CAIRO_STATUS_SUCCESS);
    cr_assert(cairo_image_surface_get_width(png) == width);
    cr_assert(cairo_image_surface_get_height(png) == height);
    return png;
}

/* 0xRRGGBB */
static uint32_t pixel(cairo_surface_t *png, int x, int y) {
    uint32_t value;
    const unsigned char *row = cairo_image_surface_get_data(png) +
                               y * cairo_image_surface_get_stride(png);
    memcpy(&value, row + 4 * x, sizeof value);
    return value & 0xFFFFFF;
}

static const char half_red[] =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"20\" height=\"10\">"
    "<rect x=\"0\" y=\"0\" width=\"10\" height=\"10\" fill=\"#ff0000\"/></svg>";

Test(png, pixels_are_those_of_the_picture_on_white) {
    const char *svg = scratch_file("half.svg", half_red, sizeof half_red - 1);
    const char *path = scratch_path("half.png");
    static const double scales[] = {1, 2, 0.5, 3.3};
    for (int i = 0; i < 4; i++) {
        TensorError error = {""};
        int width = (int)round(20 * scales[i]), height = (int)round(10 * scales[i]);
        cr_assert(data_plot_png(svg, path, scales[i], &error), "%s", error.message);
        cairo_surface_t *png = open_png(path, width, height);
        for (int y = 0; y < height; y++) {
            cr_assert(pixel(png, 0, y) == 0xFF0000 && pixel(png, width / 2 - 1, y) == 0xFF0000);
            cr_assert(pixel(png, width - 1, y) == 0xFFFFFF);
            cr_assert(pixel(png, width / 2 + 1, y) == 0xFFFFFF);
        }
        cairo_surface_destroy(png);
    }
}

/* Pixels of a box that are dark. */
static int ink(cairo_surface_t *png, int x, int y, int width, int height) {
    int n = 0;
    for (int i = x; i < x + width; i++)
        for (int k = y; k < y + height; k++) n += (pixel(png, i, k) & 0xFF) < 0x60;
    return n;
}

Test(png, a_chart_shows_its_line_and_its_texts) {
    const double y[] = {1, 3, 2};
    const DataSeries series = {NULL, 3, NULL, y};
    const DataLineChart chart = {.title = "A title in the middle"};
    const char *svg = scratch_path("chart.svg"), *path = scratch_path("chart.png");
    TensorError error = {""};
    cr_assert(data_plot_lines(svg, 1, &series, &chart, &error), "%s", error.message);
    cr_assert(data_plot_png(svg, path, 2, &error), "%s", error.message);
    cairo_surface_t *png = open_png(path, 1440, 880);
    cr_assert(ink(png, 500, 20, 500, 40) > 300, "the title: %d", ink(png, 500, 20, 500, 40));
    cr_assert(ink(png, 60, 0, 200, 60) == 0, "and nothing beside it");
    cr_assert(ink(png, 0, 80, 60, 800) > 50, "numbers of y");
    int blue = 0;
    for (int x = 0; x < 1440; x++)
        for (int k = 0; k < 880; k++) blue += pixel(png, x, k) == 0x0072B2;
    cr_assert(blue > 1000, "the line: %d", blue);
    cairo_surface_destroy(png);
}

Test(png, failures_are_told_and_leave_the_old_file) {
    const char *good = scratch_file("good.svg", half_red, sizeof half_red - 1);
    const char *text = scratch_file("text.svg", "no picture", 10);
    const char *cut = scratch_file("cut.svg", half_red, 60);
    const char *empty = scratch_file("empty.svg", "", 0);
    static const char sizeless[] = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
    const char *without = scratch_file("without.svg", sizeless, sizeof sizeless - 1);
    const char *old = scratch_file("old.png", "old", 3);
    const struct {
        const char *svg;
        double scale;
        const char *word;
    } cases[] = {{"/nowhere/a.svg", 1, "/nowhere/a.svg: No such file"},
                 {text, 1, "text.svg: not an SVG picture"},
                 {cut, 1, "cut.svg: not an SVG picture"},
                 {empty, 1, "empty.svg: not an SVG picture"},
                 {without, 1, "without.svg: a picture without a size"},
                 {good, 0, "scale 0"},
                 {good, -1, "scale -1"},
                 {good, NAN, "scale nan"},
                 {good, 1e-3, "0 x 0 pixels"},
                 {good, 1639, "32780 x 16390 pixels"},
                 {good, 1600, "32000 x 16000 pixels"},
                 {good, INFINITY, "inf x inf pixels"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TensorError error = {""};
        cr_assert(!data_plot_png(cases[i].svg, old, cases[i].scale, &error), "%zu", i);
        cr_assert(strstr(error.message, cases[i].word), "%s", error.message);
        cr_assert(!data_plot_png(cases[i].svg, old, cases[i].scale, NULL));
    }
    char *kept = read_text(old);
    cr_assert_str_eq(kept, "old");
    free(kept);
    TensorError error = {""};
    cr_assert(!data_plot_png(good, "/nowhere/a.png", 1, &error));
    cr_assert(strstr(error.message, "/nowhere/a.png: "), "%s", error.message);
}
