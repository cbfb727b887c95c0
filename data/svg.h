/* svg.h -- the elements that pictures are made of.  Not for use outside data/.
 *
 * Each function writes to a stream, in the C locale (tensor_locale_c), what ferror then tells.
 * Lengths are pixels, x to the right and y downwards; colours are 0xRRGGBB. */
#ifndef DATA_SVG_H
#define DATA_SVG_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Around all the others; the picture is white, `width` and `height` large. */
void data_svg_begin(FILE *svg, double width, double height);
void data_svg_end(FILE *svg);

void data_svg_rect(FILE *svg, double x, double y, double width, double height, uint32_t colour);
/* Only its border. */
void data_svg_frame(FILE *svg, double x, double y, double width, double height);
void data_svg_line(FILE *svg, double x1, double y1, double x2, double y2, uint32_t colour);
void data_svg_dot(FILE *svg, double x, double y, uint32_t colour);

/* A line through points: begin, any number of points, end.  dashes: as stroke-dasharray has
 * them, "" for none. */
void data_svg_curve_begin(FILE *svg, uint32_t colour, const char *dashes);
void data_svg_curve_point(FILE *svg, double x, double y);
void data_svg_curve_end(FILE *svg);

/* Which point of the text stands at (x, y), on the base line. */
typedef enum { DATA_SVG_START, DATA_SVG_MIDDLE, DATA_SVG_END } DataSvgAnchor;
enum { DATA_SVG_FONT = 11, DATA_SVG_TITLE_FONT = 14 };
/* upwards: turned to the left by a quarter.  NULL: nothing is written. */
void data_svg_text(FILE *svg, double x, double y, DataSvgAnchor anchor, int font, bool upwards,
                   const char *text);
/* About how long the text is in DATA_SVG_FONT; 0 for NULL. */
double data_svg_text_width(const char *text);

#endif
