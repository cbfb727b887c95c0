/* gemm_tiles.c -- see gemm_tiles.h. */
#include "tensor/gemm_tiles.h"

#include <string.h>

#include "tensor/parallel.h"

enum {
    CHAIN = 512,              /* of k, at most */
    K_BLOCK = 1024,           /* of k, at most: blocks have many lines rather than long ones */
    WIDE_BYTES = 4 << 20,     /* of packed panels: in the cache that threads share */
    NARROW_BYTES = 640 << 10, /* of packed strips, which go by for each panel: in a thread's own */
    RANGE_FLOPS = 1000000,    /* worth a thread's while: some 10 us.. */
    RANGE_ELEMENTS = 16384,   /* ..and to be packed */
    FEW_PANELS = 16,          /* threads would not share fewer evenly */
    ROWS_AT_ONCE = 16         /* of an operand when it is packed, each in a page of its own */
};

static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }

static TensorLines part_of(const TensorLines *x, int64_t size, int64_t from, int64_t n,
                           int64_t k_from, int64_t k) {
    TensorLines part = *x;
    part.data += (from * x->stride + k_from * x->k_stride) * size;
    part.n = n;
    part.k = k;
    return part;
}

/* ---- how lines are cut into panels or strips ---- */

typedef struct {
    int64_t n, step, count;
    int64_t given; /* lines that the last piece but one leaves to the last */
    int64_t unit;  /* a piece is filled up to a multiple of it, a power of 2 */
} Pieces;

/* Panels of two vectors; of one for the last lines, where it is enough. */
static Pieces panels_of(const TensorTiles *t, int64_t n) {
    int64_t width = 2 * t->lanes;
    return (Pieces){n, width, ceil_div(n, width), 0, t->lanes};
}

/* Strips of `rows` lines.  A last one that would be short gets some of the one before: a tile of
 * few rows is slow. */
static Pieces strips_of(int64_t rows, int64_t n) {
    int64_t rest = n % rows;
    bool is_short = n > rows && rest > 0 && rest <= rows / 3;
    return (Pieces){n, rows, ceil_div(n, rows), is_short ? (rows - rest) / 2 : 0, 1};
}

static int64_t start_of(const Pieces *x, int64_t i) {
    return i == x->count ? x->n : i * x->step - (i == x->count - 1 ? x->given : 0);
}

static int64_t lines_of(const Pieces *x, int64_t i) { return start_of(x, i + 1) - start_of(x, i); }

/* The lines of piece i in packed memory. */
static int64_t width_of(const Pieces *x, int64_t i) {
    return (lines_of(x, i) + x->unit - 1) & -x->unit;
}

/* ---- packing ---- */

typedef struct {
    const TensorTiles *tiles;
    int64_t size; /* of an element */
    TensorLines from;
    Pieces pieces;
    int64_t steps; /* of k that a piece takes before the next one does */
    char *to;
} Packing;

/* A piece over some steps of k from l on. */
static void pack_part(const Packing *p, int64_t piece, int64_t l) {
    int64_t first = start_of(&p->pieces, piece), n = lines_of(&p->pieces, piece);
    int64_t width = width_of(&p->pieces, piece), k = at_most(p->steps, p->from.k - l);
    TensorLines part = part_of(&p->from, p->size, first, n, l, k);
    char *to = p->to + (first * p->from.k + l * width) * p->size;
    p->tiles->pack(k, width, n, p->from.n - first, to, part.data, part.k_stride, part.stride);
    if (part.factor != 1) p->tiles->scale(k * width, to, part.factor);
}

static void pack_range(int64_t begin, int64_t end, void *context) {
    const Packing *p = context;
    int64_t piece = begin % p->pieces.count, l = begin / p->pieces.count * p->steps;
    for (int64_t i = begin; i < end; i++) {
        pack_part(p, piece, l);
        if (++piece == p->pieces.count) piece = 0, l += p->steps;
    }
}

/* Where the elements of one k lie side by side, pieces take turns, so that memory is read along
 * its rows rather than a few bytes of every page. */
static void pack(const TensorTiles *tiles, int64_t size, const TensorLines *from,
                 const Pieces *pieces, void *to) {
    if (from->n == 0 || from->k == 0) return;
    int64_t steps = from->stride == 1 ? at_most(ROWS_AT_ONCE, from->k) : from->k;
    Packing p = {tiles, size, *from, *pieces, steps, to};
    tensor_parallel(pieces->count * ceil_div(from->k, steps),
                    ceil_div(RANGE_ELEMENTS, steps * pieces->step), pack_range, &p);
}

/* Bytes of n lines of k elements in panels; 0 when beyond a size_t.  One step of k is left free at
 * the end: BLIS's micro-kernel loads its panel a step ahead. */
static size_t panel_bytes(const TensorTiles *t, int64_t size, int64_t n, int64_t k) {
    size_t lanes = (size_t)t->lanes, lines = (size_t)ceil_div(n, t->lanes) * lanes, bytes;
    bool beyond = __builtin_mul_overflow(lines, (size_t)k, &bytes) ||
                  __builtin_add_overflow(bytes, 2 * lanes, &bytes) ||
                  __builtin_mul_overflow(bytes, (size_t)size, &bytes);
    return beyond ? 0 : bytes;
}

/* ---- tiles ---- */

/* What is multiplied at a time: panels with strips, over a part of k that is a multiple of the
 * chain or reaches to the end. */
typedef struct {
    const TensorProduct *job;
    Pieces panels, strips;
    const char *wide;   /* the panels, panel_k elements a line.. */
    int64_t panel_k;
    int64_t k_from, k;  /* ..and which of these are the part */
    const char *narrow; /* the strips, k elements a line */
    char *c;
    bool add;
    int64_t panels_at_once, strips_at_once;
} Block;

typedef struct {
    const char *data; /* where the part of k begins */
    int64_t from, lines, width;
} Panel;

static Panel panel_at(const Block *b, int64_t i) {
    int64_t from = start_of(&b->panels, i), width = width_of(&b->panels, i);
    const char *data = b->wide + (from * b->panel_k + b->k_from * width) * b->job->size;
    return (Panel){data, from, lines_of(&b->panels, i), width};
}

/* c [n, width] = a strip of n lines times the panel: all chains, one after the other. */
static void multiply_chains(const Block *b, const Panel *panel, int64_t n, const char *strip,
                            char *c, int64_t row) {
    const TensorProduct *job = b->job;
    bool full = panel->width == b->panels.step, blis = full && n == job->blis.rows;
    TensorTile *tile = (full ? job->tiles->full : job->tiles->half)[n];
    for (int64_t l = 0; l < b->k; l += job->chain) {
        int64_t k = at_most(job->chain, b->k - l);
        const char *wide = panel->data + l * panel->width * job->size;
        const char *narrow = strip + l * n * job->size;
        bool add = b->add || l > 0;
        if (blis) tensor_blis_tile(&job->blis, k, wide, narrow, c, row, add);
        else tile(k, wide, 0, narrow, c, row, add);
    }
}

static void copy_rows(int64_t rows, int64_t bytes, char *to, int64_t to_row, const char *from,
                      int64_t from_row) {
    for (int64_t i = 0; i < rows; i++)
        memcpy(to + i * to_row, from + i * from_row, (size_t)bytes);
}

/* The same where the panel is wider than c: beside it. */
static void multiply_beside(const Block *b, const Panel *panel, int64_t n, const char *strip,
                            char *c) {
    _Alignas(TENSOR_ALIGN) char beside[TENSOR_TILE_ROWS * 2 * TENSOR_ALIGN];
    int64_t size = b->job->size, bytes = panel->lines * size;
    int64_t row = panel->width * size, c_row = b->job->row * size;
    if (b->add) copy_rows(n, bytes, beside, row, c, c_row);
    multiply_chains(b, panel, n, strip, beside, panel->width);
    copy_rows(n, bytes, c, c_row, beside, row);
}

/* Brings a tile of c near while its sums are made. */
static void fetch_rows(int64_t rows, int64_t bytes, const char *c, int64_t row) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < bytes; j += TENSOR_ALIGN) __builtin_prefetch(c + i * row + j, 1);
}

/* Panel i with strips from..to - 1. */
static void multiply_panel(const Block *b, int64_t i, int64_t from, int64_t to) {
    const TensorProduct *job = b->job;
    Panel panel = panel_at(b, i);
    for (int64_t s = from; s < to; s++) {
        int64_t first = start_of(&b->strips, s), n = lines_of(&b->strips, s);
        const char *strip = b->narrow + first * b->k * job->size;
        char *c = b->c + (first * job->row + panel.from) * job->size;
        fetch_rows(n, panel.lines * job->size, c, job->row * job->size);
        if (panel.lines < panel.width) multiply_beside(b, &panel, n, strip, c);
        else multiply_chains(b, &panel, n, strip, c, job->row);
    }
}

/* TENSOR_STRIP_PANELS full panels from i on with the only strip, of few rows. */
static void multiply_strip(const Block *b, int64_t i) {
    const TensorProduct *job = b->job;
    Panel panel = panel_at(b, i);
    int64_t n = b->strips.n, size = job->size;
    for (int64_t l = 0; l < b->k; l += job->chain)
        job->tiles->strip[n](at_most(job->chain, b->k - l), panel.data + l * panel.width * size,
                             panel.width * b->panel_k, b->narrow + l * n * size,
                             b->c + panel.from * size, job->row, b->add || l > 0);
}

static bool is_one_strip(const Block *b) {
    return b->strips.n <= b->job->tiles->strip_rows;
}

/* ---- a block, shared by threads ---- */

/* A unit is some panels with some strips; units that follow each other have the same strips. */
static void multiply_units(int64_t begin, int64_t end, void *context) {
    const Block *b = context;
    int64_t across = ceil_div(b->panels.count, b->panels_at_once);
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t i = unit % across * b->panels_at_once, s = unit / across * b->strips_at_once;
        int64_t i_end = at_most(i + b->panels_at_once, b->panels.count);
        int64_t s_end = at_most(s + b->strips_at_once, b->strips.count);
        int64_t full = at_most(i_end, b->panels.n / b->panels.step);
        for (; is_one_strip(b) && i + TENSOR_STRIP_PANELS <= full; i += TENSOR_STRIP_PANELS)
            multiply_strip(b, i);
        for (; i < i_end; i++) multiply_panel(b, i, s, s_end);
    }
}

/* Units of about RANGE_FLOPS: some panels with all strips, or where there are few panels with some
 * of them. */
static void multiply_block(Block *b) {
    int64_t panels = b->panels.count, strips = b->strips.count;
    double flops = 2. * (double)b->panels.n * (double)b->strips.n * (double)b->k;
    int64_t units = at_least(1, (int64_t)(flops / RANGE_FLOPS));
    int64_t groups = at_least(1, at_most(units, FEW_PANELS) / panels);
    b->strips_at_once = ceil_div(strips, groups);
    groups = ceil_div(strips, b->strips_at_once);
    int64_t step = is_one_strip(b) ? TENSOR_STRIP_PANELS : 1;
    b->panels_at_once = ceil_div(ceil_div(panels * groups, units), step) * step;
    tensor_parallel(groups * ceil_div(panels, b->panels_at_once), 1, multiply_units, b);
}

/* ---- a product in blocks that fit in the caches ---- */

/* Lines in a block over k elements: some `step`s, as many as so many bytes hold but at least one;
 * all blocks are about equal. */
static int64_t block_of(int64_t n, int64_t step, int64_t bytes, int64_t k, int64_t size) {
    int64_t most = at_least(1, bytes / (k * step * size)) * step;
    return n <= most ? n : ceil_div(ceil_div(n, ceil_div(n, most)), step) * step;
}

static int64_t narrow_block(const TensorProduct *job) {
    return block_of(job->narrow.n, job->rows, NARROW_BYTES, job->k_block, job->size);
}

/* All rows of c with the panels of b, the first of which begins at line `from`. */
static void multiply_rows(Block *b, int64_t from, int64_t k_from, char *strips) {
    const TensorProduct *job = b->job;
    int64_t rows = narrow_block(job);
    b->narrow = strips;
    for (int64_t r = 0; r < job->narrow.n; r += rows) {
        int64_t m = at_most(rows, job->narrow.n - r);
        TensorLines lines = part_of(&job->narrow, job->size, r, m, k_from, b->k);
        b->strips = strips_of(job->rows, m);
        pack(job->tiles, job->size, &lines, &b->strips, strips);
        b->c = job->c + (r * job->row + from) * job->size;
        multiply_block(b);
    }
}

static char *new_strips(const TensorProduct *job, TensorArena *scratch) {
    return tensor_arena_alloc(scratch, (size_t)(narrow_block(job) * job->k_block * job->size));
}

bool tensor_product_run(const TensorProduct *job, bool add, TensorArena *scratch) {
    const TensorTiles *t = job->tiles;
    int64_t n_all = job->wide.n, k_all = job->wide.k;
    int64_t n_block = block_of(n_all, 2 * t->lanes, WIDE_BYTES, job->k_block, job->size);
    char *panels = tensor_arena_alloc(scratch, panel_bytes(t, job->size, n_block, job->k_block));
    char *strips = new_strips(job, scratch);
    if (!panels || !strips) return false;
    for (int64_t j = 0; j < n_all; j += n_block)
        for (int64_t l = 0; l < k_all; l += job->k_block) {
            int64_t n = at_most(n_block, n_all - j), k = at_most(job->k_block, k_all - l);
            TensorLines lines = part_of(&job->wide, job->size, j, n, l, k);
            Block b = {.job = job, .panels = panels_of(t, n), .wide = panels, .panel_k = k,
                       .k = k, .add = add || l > 0};
            pack(t, job->size, &lines, &b.panels, panels);
            multiply_rows(&b, j, l, strips);
        }
    return true;
}

bool tensor_product_run_packed(const TensorProduct *job, const void *panels, bool add,
                               TensorArena *scratch) {
    int64_t k_all = job->wide.k;
    char *strips = new_strips(job, scratch);
    if (!strips) return false;
    for (int64_t l = 0; l < k_all; l += job->k_block) {
        Block b = {.job = job, .panels = panels_of(job->tiles, job->wide.n), .wide = panels,
                   .panel_k = k_all, .k_from = l, .k = at_most(job->k_block, k_all - l),
                   .add = add || l > 0};
        multiply_rows(&b, 0, l, strips);
    }
    return true;
}

/* ---- from outside ---- */

TensorProduct tensor_product(const TensorLines *narrow, const TensorLines *wide,
                             TensorDtype dtype, void *c, int64_t row) {
    const TensorTiles *tiles = tensor_kernels(dtype)->tiles;
    TensorBlis blis = tensor_blis(dtype, tiles);
    int64_t k = wide->k, chain = ceil_div(k, ceil_div(k, CHAIN));
    return (TensorProduct){.tiles = tiles, .blis = blis,
                           .size = (int64_t)tensor_dtype_size(dtype),
                           .rows = blis.rows ? blis.rows : tiles->rows,
                           .chain = chain, .k_block = at_most(k, K_BLOCK / chain * chain),
                           .narrow = *narrow, .wide = *wide, .c = c, .row = row};
}

size_t tensor_product_packed_bytes(TensorDtype dtype, int64_t n, int64_t k) {
    return panel_bytes(tensor_kernels(dtype)->tiles, (int64_t)tensor_dtype_size(dtype), n, k);
}

void tensor_product_pack(TensorDtype dtype, const TensorLines *wide, void *panels) {
    const TensorTiles *tiles = tensor_kernels(dtype)->tiles;
    Pieces pieces = panels_of(tiles, wide->n);
    pack(tiles, (int64_t)tensor_dtype_size(dtype), wide, &pieces, panels);
}
