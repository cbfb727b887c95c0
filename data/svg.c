#include "data/svg.h"

#include <string.h>

#include "data/utf8.h"

void data_svg_begin(FILE *svg, double width, double height) {
    fprintf(svg,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\""
            " viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\">\n",
            width, height, width, height);
    data_svg_rect(svg, 0, 0, width, height, 0xFFFFFF);
}

void data_svg_end(FILE *svg) {
    fputs("</svg>\n", svg);
}

/* ---- shapes ---- */

void data_svg_rect(FILE *svg, double x, double y, double width, double height,
                   uint32_t colour) {
    /* crispEdges: without it neighbours of one colour show a seam. */
    fprintf(svg,
            "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"#%06x\""
            " shape-rendering=\"crispEdges\"/>\n",
            x, y, width, height, colour);
}

void data_svg_frame(FILE *svg, double x, double y, double width, double height) {
    fprintf(svg,
            "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"none\""
            " stroke=\"#808080\"/>\n",
            x, y, width, height);
}

void data_svg_line(FILE *svg, double x1, double y1, double x2, double y2, uint32_t colour) {
    fprintf(svg,
            "<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke=\"#%06x\"/>\n", x1, y1,
            x2, y2, colour);
}

void data_svg_dot(FILE *svg, double x, double y, uint32_t colour) {
    fprintf(svg, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"2.5\" fill=\"#%06x\"/>\n", x, y,
            colour);
}

void data_svg_curve_begin(FILE *svg, uint32_t colour, const char *dashes) {
    fprintf(svg, "<polyline fill=\"none\" stroke=\"#%06x\" stroke-width=\"1.5\"",
            colour);
    if (*dashes)
        fprintf(svg, " stroke-dasharray=\"%s\"", dashes);
    fputs(" points=\"", svg);
}

void data_svg_curve_point(FILE *svg, double x, double y) {
    fprintf(svg, "%.2f,%.2f ", x, y);
}

void data_svg_curve_end(FILE *svg) {
    fputs("\"/>\n", svg);
}

/* ---- text ---- */

static const char *visible(uint32_t code) {
    switch (code) {
    case '\n': return "\u21B5";
    case '\t': return "\u21E5";
    case '\r': return "\u240D";
    }
    return data_utf8_xml(code);
}

void data_svg_text(FILE *svg, double x, double y, DataSvgAnchor anchor, int font, bool upwards,
                   const char *text) {
    static const char *const anchors[] = {"start", "middle", "end"};
    if (!text)
        return;
    if (strcmp(text, " ") == 0)
        text = "\u2423";
    fprintf(svg,
            "<text x=\"%.2f\" y=\"%.2f\" font-size=\"%d\" text-anchor=\"%s\""
            " xml:space=\"preserve\"",
            x, y, font, anchors[anchor]);
    if (upwards)
        fprintf(svg, " transform=\"rotate(-90 %.2f %.2f)\"", x, y);
    putc('>', svg);
    data_utf8_write(svg, text, (int64_t)strlen(text), visible);
    fputs("</text>\n", svg);
}

double data_svg_text_width(const char *text) {
    enum { FIRST_WIDE = 0x1100 }; /* from Hangul on, most scripts have square characters */
    double width = 0;
    int64_t n = text ? (int64_t)strlen(text) : 0;
    for (int64_t at = 0; at < n;) {
        uint32_t code;
        at += data_utf8_decode(text + at, n - at, &code, NULL);
        width += code < FIRST_WIDE ? 0.62 : 1;
    }
    return width * DATA_SVG_FONT;
}
