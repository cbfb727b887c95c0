/* png.h -- SVG pictures as PNG files, for slides and papers; through librsvg and cairo.
 *
 * In a library of its own (//data/png), which loads librsvg when it is first called. */
#ifndef DATA_PNG_H
#define DATA_PNG_H
#include "tensor/file.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The picture of svg_path, on white, as a PNG file of `scale` pixels for each of the SVG's (2: for
 * dense displays).  It takes the place of the old file in one step (tensor/file.h).  Letters are
 * drawn with the fonts of this machine.
 * Fails (false, the old file stays): there is no librsvg; the SVG cannot be read, is none or has no
 * size; a scale that is not above 0, or makes a side of less than 1 or more than 32767 pixels, or
 * more than 2^28 pixels; out of memory; the file cannot be written. */
bool data_plot_png(const char *svg_path, const char *png_path, double scale, TensorError *error);

#ifdef __cplusplus
}
#endif
#endif
