/* gemm_tiles.c -- see gemm_tiles.h. */
#include "tensor/gemm_tiles.h"

#include <string.h>

#include "tensor/parallel.h"

enum {
    CHAIN = 512,              /* the longest */
    LONGEST = 1024,           /* block of k, where there is a choice */
    WIDE_BYTES = 4 << 20,     /* of packed panels, which all threads read */
    NARROW_BYTES = 384 << 10, /* of packed strips, which go by once for each panel */
    RANGE_FLOPS = 1000000,    /* worth a thread's while: some 10 us.. */
    RANGE_ELEMENTS = 32768    /* ..and to be packed */
};

static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t chain_of(int64_t k) { return k ? ceil_div(k, ceil_div(k, CHAIN)) : 1; }

static TensorLines part_of(const TensorLines *x, int64_t size, int64_t from, int64_t n,
                           int64_t k_from, int64_t k) {
    const char *data = x->data + (from * x->stride + k_from * x->k_stride) * size;
    return (TensorLines){data, n, k, x->stride, x->k_stride};
}

/* ---- packing ---- */

static int64_t panel_width(const TensorTiles *t) { return 2 * t->lanes; }

/* Of panel p of n lines: two vectors, or the one that is enough for the last lines. */
static int64_t width_of_panel(const TensorTiles *t, int64_t n, int64_t p) {
    return n - p * panel_width(t) <= t->lanes ? t->lanes : panel_width(t);
}

static int64_t panels_of(const TensorTiles *t, int64_t n) { return ceil_div(n, panel_width(t)); }

/* n lines in panels. */
static int64_t padded(const TensorTiles *t, int64_t n) {
    int64_t last = panels_of(t, n) - 1;
    return n ? last * panel_width(t) + width_of_panel(t, n, last) : 0;
}

/* n lines from `first` on, over k elements from l on, to their place among the packed. */
static void pack_some(const TensorTiles *t, int64_t size, const TensorLines *x, int64_t first,
                      int64_t n, int64_t width, int64_t l, int64_t k, char *to) {
    TensorLines part = part_of(x, size, first, n, l, k);
    t->pack(k, width, n, x->n - first, to + (first * x->k + l * width) * size, part.data,
            part.k_stride, part.stride);
}

/* Steps of k that several panels or strips take before the next ones: where their elements lie
 * side by side, memory is thus read along its rows. */
static int64_t steps_together(const TensorLines *x) {
    return x->stride == 1 ? 16 : at_least(1, x->k);
}

typedef struct {
    const TensorTiles *tiles;
    int64_t size;
    TensorLines from;
    char *to;
} Panels;

static void pack_panels(int64_t begin, int64_t end, void *context) {
    const Panels *x = context;
    int64_t step = panel_width(x->tiles), steps = steps_together(&x->from);
    for (int64_t l = 0; l < x->from.k; l += steps)
        for (int64_t p = begin; p < end; p++) {
            int64_t width = width_of_panel(x->tiles, x->from.n, p);
            pack_some(x->tiles, x->size, &x->from, p * step, at_most(width, x->from.n - p * step),
                      width, l, at_most(steps, x->from.k - l), x->to);
        }
}

static void pack_wide(const TensorTiles *tiles, int64_t size, const TensorLines *from, void *to) {
    Panels x = {tiles, size, *from, to};
    int64_t grain = ceil_div(RANGE_ELEMENTS, from->k * panel_width(tiles) + 1);
    tensor_parallel(panels_of(tiles, from->n), grain, pack_panels, &x);
}

/* Strips of `columns` lines.  The last but one gives lines to a last one that would be small: a
 * tile of few columns is slow. */
typedef struct {
    int64_t n, strips, columns, given;
} Strips;

static Strips strips_of(const TensorProduct *job, int64_t n) {
    int64_t strips = ceil_div(n, job->columns), rest = n % job->columns;
    bool short_end = strips > 1 && rest > 0 && rest <= job->columns / 3;
    return (Strips){n, strips, job->columns, short_end ? (job->columns - rest) / 2 : 0};
}

static int64_t strip_start(const Strips *s, int64_t i) {
    int64_t start = i * s->columns;
    return i == s->strips ? s->n : i == s->strips - 1 ? start - s->given : start;
}

typedef struct {
    const TensorProduct *job;
    TensorLines from;
    Strips strips;
    char *to;
} Narrow;

static void pack_strips(int64_t begin, int64_t end, void *context) {
    const Narrow *x = context;
    const TensorProduct *job = x->job;
    int64_t steps = steps_together(&x->from);
    for (int64_t l = 0; l < x->from.k; l += steps)
        for (int64_t i = begin; i < end; i++) {
            int64_t first = strip_start(&x->strips, i), n = strip_start(&x->strips, i + 1) - first;
            pack_some(job->tiles, job->size, &x->from, first, n, n, l,
                      at_most(steps, x->from.k - l), x->to);
        }
    int64_t from = strip_start(&x->strips, begin) * x->from.k;
    int64_t to = strip_start(&x->strips, end) * x->from.k;
    if (job->scale != 1) job->tiles->scale(to - from, x->to + from * job->size, job->scale);
}

static void pack_narrow(const Narrow *x) {
    int64_t grain = ceil_div(RANGE_ELEMENTS, x->from.k * x->job->columns + 1);
    tensor_parallel(x->strips.strips, grain, pack_strips, (void *)x);
}

/* ---- tiles ---- */

/* What is multiplied at a time: some strips with some panels, over a part of k that is a multiple
 * of the chain or reaches to the end. */
typedef struct {
    const TensorProduct *job;
    const char *wide;         /* panels of wide_n lines and panel_k elements.. */
    int64_t wide_n, panel_k;
    int64_t k_from, k, chain; /* ..and which of these are the part */
    const char *narrow;
    Strips strips;
    char *c;
    bool add;
    int64_t panels_at_once, strips_at_once, strip_groups;
} Block;

/* The last panel of c may be wider than c: it is computed beside it. */
static void edge_tile(const Block *b, TensorTile *tile, int64_t n, int64_t live, int64_t k,
                      const char *wide, const char *narrow, char *c, bool add) {
    _Alignas(TENSOR_ALIGN) char beside[TENSOR_TILE_COLUMNS * 2 * TENSOR_ALIGN];
    int64_t size = b->job->size, width = panel_width(b->job->tiles), row = b->job->column * size;
    for (int64_t j = 0; j < n && add; j++)
        memcpy(beside + j * width * size, c + j * row, (size_t)(live * size));
    tile(k, wide, 0, narrow, beside, width, add);
    for (int64_t j = 0; j < n; j++)
        memcpy(c + j * row, beside + j * width * size, (size_t)(live * size));
}

/* Panel p with strip i: all chains, one after the other. */
static void multiply_tile(const Block *b, int64_t p, int64_t i) {
    const TensorProduct *job = b->job;
    const TensorTiles *t = job->tiles;
    int64_t first = strip_start(&b->strips, i), n = strip_start(&b->strips, i + 1) - first;
    int64_t from = p * panel_width(t), width = width_of_panel(t, b->wide_n, p);
    int64_t live = at_most(width, b->wide_n - from);
    TensorTile *tile = (width == t->lanes ? t->half : t->full)[n];
    const char *wide = b->wide + (from * b->panel_k + b->k_from * width) * job->size;
    const char *narrow = b->narrow + first * b->k * job->size;
    char *c = b->c + (first * job->column + from) * job->size;
    for (int64_t l = 0; l < b->k; l += b->chain) {
        int64_t k = at_most(b->chain, b->k - l);
        const char *w = wide + l * width * job->size, *x = narrow + l * n * job->size;
        if (n == job->blis.columns && live == panel_width(t))
            tensor_blis_tile(&job->blis, k, w, x, c, job->column, b->add || l > 0);
        else if (live < width) edge_tile(b, tile, n, live, k, w, x, c, b->add || l > 0);
        else tile(k, w, 0, x, c, job->column, b->add || l > 0);
    }
}

/* Full panels from p on with the only strip, of few columns. */
static void multiply_strip(const Block *b, int64_t p) {
    const TensorProduct *job = b->job;
    int64_t n = b->strips.n, width = panel_width(job->tiles), from = p * width;
    const char *wide = b->wide + (from * b->panel_k + b->k_from * width) * job->size;
    char *c = b->c + from * job->size;
    for (int64_t l = 0; l < b->k; l += b->chain) {
        int64_t k = at_most(b->chain, b->k - l);
        job->tiles->strip[n](k, wide + l * width * job->size, width * b->panel_k,
                             b->narrow + l * n * job->size, c, job->column, b->add || l > 0);
    }
}

static void multiply_units(int64_t begin, int64_t end, void *context) {
    const Block *b = context;
    const TensorTiles *t = b->job->tiles;
    int64_t panels = panels_of(t, b->wide_n), full = b->wide_n / panel_width(t);
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t p = unit / b->strip_groups * b->panels_at_once, i = unit % b->strip_groups;
        int64_t p_end = at_most(p + b->panels_at_once, panels);
        int64_t i_end = at_most((i + 1) * b->strips_at_once, b->strips.strips);
        for (; b->strips.n <= t->strip_columns && p + TENSOR_STRIP_PANELS <= at_most(full, p_end);
             p += TENSOR_STRIP_PANELS)
            multiply_strip(b, p);
        for (; p < p_end; p++)
            for (int64_t s = i * b->strips_at_once; s < i_end; s++) multiply_tile(b, p, s);
    }
}

/* Units of about RANGE_FLOPS each: whole panels, or where there are few, groups of strips too. */
static void multiply_block(Block *b) {
    enum { MANY = 8 };
    const TensorTiles *t = b->job->tiles;
    int64_t panels = panels_of(t, b->wide_n);
    double flops = 2. * (double)b->wide_n * (double)b->strips.n * (double)b->k;
    int64_t units = at_least(1, (int64_t)(flops / RANGE_FLOPS));
    b->panels_at_once = ceil_div(panels, units);
    if (b->strips.n <= t->strip_columns)
        b->panels_at_once = ceil_div(b->panels_at_once, TENSOR_STRIP_PANELS) * TENSOR_STRIP_PANELS;
    int64_t groups = panels >= MANY ? 1 : at_most(units, MANY) / panels;
    b->strips_at_once = ceil_div(b->strips.strips, at_least(1, groups));
    b->strip_groups = ceil_div(b->strips.strips, b->strips_at_once);
    tensor_parallel(ceil_div(panels, b->panels_at_once) * b->strip_groups, 1, multiply_units, b);
}

/* ---- a product in blocks that fit in the caches ---- */

/* Rows of c at a time, whose packed strips stay in a thread's own cache over k elements. */
static int64_t narrow_rows(const TensorProduct *job, int64_t k) {
    int64_t columns = job->columns;
    int64_t most = at_least(1, NARROW_BYTES / job->size / at_least(1, k) / columns) * columns;
    int64_t blocks = ceil_div(job->narrow.n, most);
    return ceil_div(ceil_div(job->narrow.n, blocks), columns) * columns;
}

/* All rows with one packed block of panels: those of lines from..from + n - 1 of wide and k
 * elements from k_from on. */
static void multiply_rows(const TensorProduct *job, Block *b, int64_t from, int64_t k_from, char *strips) {
    int64_t rows = narrow_rows(job, b->k);
    for (int64_t r = 0; r < job->narrow.n; r += rows) {
        int64_t m = at_most(rows, job->narrow.n - r);
        TensorLines lines = part_of(&job->narrow, job->size, r, m, k_from, b->k);
        Narrow narrow = {job, lines, strips_of(job, m), strips};
        pack_narrow(&narrow);
        b->narrow = strips;
        b->strips = narrow.strips;
        b->c = job->c + (r * job->column + from) * job->size;
        multiply_block(b);
    }
}

/* The elements of k in a block, whole chains: all where the narrow operand is small, else so few
 * that many of its lines are packed at a time, which may lie side by side in memory. */
static int64_t block_of_k(const TensorProduct *job) {
    int64_t k = job->wide.k, chain = chain_of(k);
    if (job->narrow.n * k * job->size <= NARROW_BYTES) return k;
    return at_most(k, at_least(1, LONGEST / chain) * chain);
}

/* The lines of wide in a block. */
static int64_t block_of_wide(const TensorProduct *job, int64_t k) {
    int64_t width = panel_width(job->tiles);
    return at_most(job->wide.n, at_least(1, WIDE_BYTES / job->size / k / width) * width);
}

bool tensor_product_run(const TensorProduct *job, bool add, TensorArena *scratch) {
    int64_t k_block = block_of_k(job), n_block = block_of_wide(job, k_block);
    int64_t strips = narrow_rows(job, k_block) * k_block * job->size;
    char *panels = tensor_arena_alloc(
        scratch, (size_t)(padded(job->tiles, n_block) * k_block * job->size));
    char *narrow = tensor_arena_alloc(scratch, (size_t)strips);
    if (!panels || !narrow) return false;
    for (int64_t j = 0; j < job->wide.n; j += n_block)
        for (int64_t l = 0; l < job->wide.k; l += k_block) {
            int64_t n = at_most(n_block, job->wide.n - j), k = at_most(k_block, job->wide.k - l);
            TensorLines lines = part_of(&job->wide, job->size, j, n, l, k);
            pack_wide(job->tiles, job->size, &lines, panels);
            Block b = {.job = job, .wide = panels, .wide_n = n, .panel_k = k, .k = k,
                       .chain = chain_of(job->wide.k), .add = add || l > 0};
            multiply_rows(job, &b, j, l, narrow);
        }
    return true;
}

/* The same with all panels packed before. */
bool tensor_product_run_packed(const TensorProduct *job, const void *panels, bool add,
                               TensorArena *scratch) {
    int64_t k_all = job->wide.k, k_block = block_of_k(job);
    char *narrow = tensor_arena_alloc(
        scratch, (size_t)(narrow_rows(job, k_block) * k_block * job->size));
    if (!narrow) return false;
    for (int64_t l = 0; l < k_all; l += k_block) {
        Block b = {.job = job, .wide = panels, .wide_n = job->wide.n, .panel_k = k_all,
                   .k_from = l, .k = at_most(k_block, k_all - l),
                   .chain = chain_of(k_all), .add = add || l > 0};
        multiply_rows(job, &b, 0, l, narrow);
    }
    return true;
}

/* ---- from outside ---- */

TensorProduct tensor_product(double scale, const TensorLines *narrow, const TensorLines *wide,
                             TensorDtype dtype, void *c, int64_t column) {
    const TensorTiles *tiles = tensor_kernels(dtype)->tiles;
    TensorBlis blis = tensor_blis(dtype, (int)panel_width(tiles));
    return (TensorProduct){.tiles = tiles, .blis = blis,
                           .columns = blis.columns ? blis.columns : tiles->columns,
                           .size = (int64_t)tensor_dtype_size(dtype), .scale = scale,
                           .narrow = *narrow, .wide = *wide, .c = c, .column = column};
}

int64_t tensor_product_padded(TensorDtype dtype, int64_t wide_n) {
    return padded(tensor_kernels(dtype)->tiles, wide_n);
}

void tensor_product_pack(TensorDtype dtype, const TensorLines *wide, void *panels) {
    pack_wide(tensor_kernels(dtype)->tiles, (int64_t)tensor_dtype_size(dtype), wide, panels);
}
