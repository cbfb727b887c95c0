#include "data/png/png.h"

#include <errno.h>
#include <librsvg/rsvg.h>
#include <math.h>
#include <stdlib.h>

#include "data/lazy_library.h"

/* GLib has this as a macro, too. */
#undef g_object_unref

#define FUNCTIONS(F)                                                                        \
    F(rsvg_handle_new_from_data) F(rsvg_handle_get_intrinsic_size_in_pixels)                \
    F(rsvg_handle_render_document) F(cairo_create) F(cairo_set_source_rgb) F(cairo_paint)   \
    F(cairo_status) F(cairo_destroy) F(cairo_status_to_string)                              \
    F(cairo_surface_write_to_png_stream) F(cairo_image_surface_create)                      \
    F(cairo_surface_status) F(cairo_surface_destroy) F(g_object_unref) F(g_clear_error)
static struct {
    FUNCTIONS(DATA_LAZY_FIELD)
} lib;
static const char *const names[] = {FUNCTIONS(DATA_LAZY_NAME) NULL};
static DataLazyLibrary librsvg = DATA_LAZY_LIBRARY("librsvg-2.so.2", names, &lib);

enum { MAX_SIDE = 32767 /* cairo's */ };
static const double max_pixels = 1 << 28;
static const size_t max_bytes = (size_t)1 << 28;

static RsvgHandle *read_svg(const char *path, TensorError *error) {
    size_t size;
    GError *why = NULL;
    void *bytes = tensor_file_read(path, max_bytes, &size, error);
    if (!bytes)
        return NULL;
    RsvgHandle *svg = lib.rsvg_handle_new_from_data(bytes, size, &why);
    if (!svg)
        tensor_error_file(error, path, -1, "not an SVG picture: %s", why ? why->message : "empty");
    lib.g_clear_error(&why);
    free(bytes);
    return svg;
}

/* The size in pixels of the PNG. */
static bool measure(RsvgHandle *svg, const char *path, double scale, double *width, double *height,
                    TensorError *error) {
    if (!(scale > 0))
        return tensor_error_file(error, path, -1, "scale %g: must be more than 0", scale);
    if (!lib.rsvg_handle_get_intrinsic_size_in_pixels(svg, width, height))
        return tensor_error_file(error, path, -1, "a picture without a size");
    *width = round(*width * scale);
    *height = round(*height * scale);
    if (*width >= 1 && *height >= 1 && *width <= MAX_SIDE && *height <= MAX_SIDE &&
        *width * *height <= max_pixels)
        return true;
    return tensor_error_file(error, path, -1, "%g x %g pixels cannot be drawn", *width, *height);
}

static bool render(RsvgHandle *svg, cairo_surface_t *surface, double width, double height,
                   const char *path, TensorError *error) {
    GError *why = NULL;
    const RsvgRectangle whole = {0, 0, width, height};
    cairo_t *cairo = lib.cairo_create(surface);
    lib.cairo_set_source_rgb(cairo, 1, 1, 1);
    lib.cairo_paint(cairo);
    bool ok = lib.rsvg_handle_render_document(svg, cairo, &whole, &why);
    cairo_status_t status = lib.cairo_status(cairo);
    lib.cairo_destroy(cairo);
    if (!ok || status != CAIRO_STATUS_SUCCESS)
        tensor_error_file(error, path, -1, "cannot be drawn: %s",
                          why ? why->message : lib.cairo_status_to_string(status));
    lib.g_clear_error(&why);
    return ok && status == CAIRO_STATUS_SUCCESS;
}

static cairo_status_t write_bytes(void *file, const unsigned char *bytes, unsigned n) {
    return tensor_file_write(file, bytes, n, NULL) ? CAIRO_STATUS_SUCCESS
                                                   : CAIRO_STATUS_WRITE_ERROR;
}

static bool write_png(cairo_surface_t *surface, const char *path, TensorError *error) {
    TensorFileWriter file;
    if (!tensor_file_begin(&file, path, error))
        return false;
    cairo_status_t status = lib.cairo_surface_write_to_png_stream(surface, write_bytes, &file);
    /* A write that failed makes the commit fail, with the system's reason. */
    if (status == CAIRO_STATUS_SUCCESS || status == CAIRO_STATUS_WRITE_ERROR)
        return tensor_file_commit(&file, error);
    tensor_file_abort(&file);
    return tensor_error_file(error, path, -1, "not written: %s",
                             lib.cairo_status_to_string(status));
}

bool data_plot_png(const char *svg_path, const char *png_path, double scale, TensorError *error) {
    double width, height;
    if (!data_lazy_load(&librsvg, error))
        return false;
    RsvgHandle *svg = read_svg(svg_path, error);
    if (!svg)
        return false;
    bool ok = measure(svg, svg_path, scale, &width, &height, error);
    if (ok) {
        cairo_surface_t *surface = lib.cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)width,
                                                              (int)height);
        ok = lib.cairo_surface_status(surface) == CAIRO_STATUS_SUCCESS ||
             tensor_error_errno(error, png_path, ENOMEM);
        ok = ok && render(svg, surface, width, height, svg_path, error) &&
             write_png(surface, png_path, error);
        lib.cairo_surface_destroy(surface);
    }
    lib.g_object_unref(svg);
    return ok;
}
