/* The parts of the matrix product: packing, tiles, BLIS's micro-kernel; and that none touches
 * memory beyond its operands, which a sanitizer does not see of assembly. */
#define _GNU_SOURCE
#include "tensor/gemm_tiles.h"

#include <sys/mman.h>
#include <unistd.h>

#include "tensor/gemm.h"
#include "tests/tensor/kernels_check.h"

static TensorArena *arena;
static void start(void) { arena = tensor_arena_new(); }
static void stop(void) { tensor_arena_free(arena); }
TestSuite(gemm_tiles, .init = start, .fini = stop);

/* ---- packing ---- */

static double element(TensorDtype dtype, const void *x, int64_t i) {
    return dtype == TENSOR_F32 ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

/* `live` lines to [k, width], with room before and behind that must stay as it is. */
static void check_pack(TensorDtype dtype, int64_t k, int64_t width, int64_t live, int64_t stride,
                       int64_t k_stride) {
    enum { MARGIN = 40 };
    tensor_arena_reset(arena);
    int64_t reach = (live - 1) * stride + (k - 1) * k_stride + 1;
    Tensor x = random_tensor(arena, dtype, 1, &reach, -1, 1);
    Tensor y = fresh(arena, dtype, 1, (int64_t[]){k * width + 2 * MARGIN});
    tensor_fill(&y, 77);
    char *to = (char *)y.data + MARGIN * tensor_dtype_size(dtype);
    tensor_kernels(dtype)->tiles->pack(k, width, live, live, to, x.data, k_stride, stride);
    for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < live; j++)
            cr_assert_eq(element(dtype, to, l * width + j),
                         element(dtype, x.data, j * stride + l * k_stride),
                         "%s: k %d, width %d, live %d, strides %d, %d: [%d, %d]",
                         tensor_isa_name(tensor_isa()), (int)k, (int)width, (int)live, (int)stride,
                         (int)k_stride, (int)l, (int)j);
    for (int64_t i = 0; i < MARGIN; i++) {
        cr_assert_eq(tensor_get(&y, i), 77);
        cr_assert_eq(tensor_get(&y, MARGIN + k * width + i), 77);
    }
}

Test(gemm_tiles, packing_fills_its_panel_and_nothing_else) {
    FOR_EACH_ISA(isa)
        FOR_EACH_FLOAT(dtype) {
            const TensorTiles *t = tensor_kernels(dtype)->tiles;
            for (int64_t k = 1; k < 40; k += k < 18 ? 1 : 7) {
                int64_t most = 2 * t->lanes > TENSOR_TILE_ROWS ? 2 * t->lanes : TENSOR_TILE_ROWS;
                for (int64_t live = 1; live <= most; live++) {
                    int64_t panel = (live + t->lanes - 1) / t->lanes * t->lanes;
                    for (int is_panel = 0; is_panel < 2; is_panel++) {
                        int64_t width = is_panel ? panel : live;
                        check_pack(dtype, k, width, live, 1, live);
                        check_pack(dtype, k, width, live, 1, live + 3);
                        check_pack(dtype, k, width, live, k, 1);
                        check_pack(dtype, k, width, live, k + 3, 1);
                        check_pack(dtype, k, width, live, 2, 2 * live);
                    }
                }
            }
        }
}

/* ---- tiles ---- */

enum { ROW = 70 /* of c, wider than any panel */, LONGEST = 130 };

/* A panel and a strip, with the step of k behind them that BLIS reads. */
typedef struct {
    const TensorTiles *tiles;
    TensorDtype dtype;
    int64_t width, rows;
    Tensor panel, strip, c;
} Operands;

static Operands operands(TensorDtype dtype, int64_t width, int64_t rows) {
    tensor_arena_reset(arena);
    int64_t wide = (LONGEST + 1) * width, narrow = (LONGEST + 1) * rows;
    return (Operands){tensor_kernels(dtype)->tiles, dtype, width, rows,
                      random_tensor(arena, dtype, 1, &wide, -1, 1),
                      random_tensor(arena, dtype, 1, &narrow, -1, 1),
                      random_tensor(arena, dtype, 2, (int64_t[]){TENSOR_TILE_ROWS, ROW}, -1, 1)};
}

/* Element by element, in the order of k. */
static Tensor by_definition(const Operands *o, int64_t k, bool add) {
    Tensor c = tensor_copy(arena, &o->c);
    bool fused = tensor_isa() == TENSOR_ISA_AVX2 || tensor_isa() == TENSOR_ISA_AVX512;
    for (int64_t i = 0; i < o->rows; i++)
        for (int64_t j = 0; j < o->width; j++) {
            volatile double sum = 0, product;
            for (int64_t l = 0; l < k; l++) {
                double x = tensor_get(&o->strip, l * o->rows + i);
                double y = tensor_get(&o->panel, l * o->width + j);
                if (o->dtype == TENSOR_F32) {
                    product = (double)(float)(x * y);
                    sum = fused ? (double)fmaf((float)x, (float)y, (float)sum)
                                : (double)((float)product + (float)sum);
                } else {
                    product = x * y;
                    sum = fused ? fma(x, y, sum) : product + sum;
                }
            }
            double old = add ? tensor_get(&o->c, i * ROW + j) : 0;
            tensor_set(&c, i * ROW + j, add ? old + sum : sum);
        }
    return c;
}

static void expect_same(const Tensor *got, const Tensor *want, const char *what, int64_t rows,
                        int64_t k) {
    cr_assert_eq(first_difference(got, want), -1, "%s, %s: %s of %d rows, k %d",
                 tensor_isa_name(tensor_isa()), tensor_dtype_name(want->dtype), what, (int)rows,
                 (int)k);
}

Test(gemm_tiles, every_tile_is_one_chain_of_multiply_adds) {
    static const int64_t ks[] = {1, 2, 3, 4, 5, 7, 16, 33, LONGEST};
    FOR_EACH_ISA(isa)
        FOR_EACH_FLOAT(dtype)
            for (int64_t rows = 1; rows <= TENSOR_TILE_ROWS; rows++)
                for (int i = 0; i < 2 * COUNT(ks); i++) {
                    const TensorTiles *t = tensor_kernels(dtype)->tiles;
                    if (!t->full[rows]) continue;
                    int64_t k = ks[i / 2];
                    bool add = i % 2;
                    Operands o = operands(dtype, 2 * t->lanes, rows);
                    Tensor want = by_definition(&o, k, add), got = tensor_copy(arena, &o.c);
                    t->full[rows](k, o.panel.data, 0, o.strip.data, got.data, ROW, add);
                    expect_same(&got, &want, "full tile", rows, k);
                    o = operands(dtype, t->lanes, rows);
                    want = by_definition(&o, k, add), got = tensor_copy(arena, &o.c);
                    t->half[rows](k, o.panel.data, 0, o.strip.data, got.data, ROW, add);
                    expect_same(&got, &want, "half tile", rows, k);
                }
}

Test(gemm_tiles, panels_side_by_side_have_the_bits_of_each) {
    FOR_EACH_ISA(isa)
        FOR_EACH_FLOAT(dtype) {
            const TensorTiles *t = tensor_kernels(dtype)->tiles;
            for (int64_t rows = 1; rows <= t->strip_rows; rows++)
                for (int add = 0; add < 2; add++) {
                    enum { K = 37, APART = 3 };
                    tensor_arena_reset(arena);
                    int64_t width = 2 * t->lanes, panel = width * (K + APART);
                    int64_t across = TENSOR_STRIP_PANELS * width;
                    Tensor wide = random_tensor(arena, dtype, 2,
                                                (int64_t[]){TENSOR_STRIP_PANELS, panel}, -1, 1);
                    Tensor strip = random_tensor(arena, dtype, 2, (int64_t[]){K, rows}, -1, 1);
                    Tensor want = random_tensor(arena, dtype, 2, (int64_t[]){rows, across}, -1, 1);
                    Tensor got = tensor_copy(arena, &want);
                    t->strip[rows](K, wide.data, panel, strip.data, got.data, across, add);
                    for (int64_t p = 0; p < TENSOR_STRIP_PANELS; p++)
                        t->full[rows](K, address(&wide, p * panel), 0, strip.data,
                                      address(&want, p * width), across, add);
                    expect_same(&got, &want, "panels", rows, K);
                }
        }
}

Test(gemm_tiles, the_micro_kernel_of_blis_has_the_bits_of_our_tile) {
    FOR_EACH_ISA(isa)
        FOR_EACH_FLOAT(dtype) {
            const TensorTiles *t = tensor_kernels(dtype)->tiles;
            TensorBlis blis = tensor_blis(dtype, t);
            cr_log_info("%s, %s: %d rows", tensor_isa_name((TensorIsa)isa),
                        tensor_dtype_name(dtype), blis.rows);
            if (blis.rows == 0) continue;
            for (int64_t k = 1; k <= LONGEST; k++)
                for (int add = 0; add < 2; add++) {
                    Operands o = operands(dtype, 2 * t->lanes, blis.rows);
                    Tensor want = tensor_copy(arena, &o.c), got = tensor_copy(arena, &o.c);
                    t->full[blis.rows](k, o.panel.data, 0, o.strip.data, want.data, ROW, add);
                    tensor_blis_tile(&blis, k, o.panel.data, o.strip.data, got.data, ROW, add);
                    expect_same(&got, &want, "BLIS", blis.rows, k);
                }
        }
}

/* ---- the ends of memory ---- */

typedef struct {
    char *map;
    size_t bytes, page;
} Guarded;

/* `bytes` bytes between pages that nobody may touch: at the beginning, or at the end. */
static void *guarded(Guarded *g, size_t bytes, bool at_end) {
    g->page = (size_t)sysconf(_SC_PAGESIZE);
    g->bytes = (bytes + g->page - 1) / g->page * g->page;
    g->map = mmap(NULL, g->bytes + 2 * g->page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(g->map != MAP_FAILED);
    char *inside = g->map + g->page;
    cr_assert_eq(mprotect(inside, g->bytes, PROT_READ | PROT_WRITE), 0);
    return at_end ? inside + g->bytes - bytes : inside;
}

static void unmap(Guarded *g) { munmap(g->map, g->bytes + 2 * g->page); }

static Tensor guarded_matrix(Guarded *g, TensorDtype dtype, int64_t m, int64_t n, bool by_columns,
                             bool at_end) {
    void *data = guarded(g, (size_t)(m * n) * tensor_dtype_size(dtype), at_end);
    Tensor x = tensor_wrap(data, dtype, 2, by_columns ? (int64_t[]){n, m} : (int64_t[]){m, n});
    for (int64_t i = 0; i < m * n; i++) tensor_set(&x, i, (double)(i % 7 - 3));
    return by_columns ? tensor_transpose(&x, 0, 1) : x;
}

static void multiply_guarded(TensorDtype dtype, const int64_t *s, int layouts, bool at_end) {
    Guarded g[4];
    Tensor a = guarded_matrix(&g[0], dtype, s[0], s[2], layouts & 1, at_end);
    Tensor b = guarded_matrix(&g[1], dtype, s[2], s[1], layouts & 2, at_end);
    Tensor c = guarded_matrix(&g[2], dtype, s[0], s[1], layouts & 4, at_end);
    cr_assert(tensor_gemm(1, &a, &b, 0, &c, arena));
    cr_assert(tensor_gemm(1, &a, &b, 1, &c, arena));
    if (!(layouts & 4)) {
        size_t bytes = tensor_packed_bytes(dtype, s[2], s[1]);
        bytes = (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
        TensorPacked packed = tensor_pack(&b, guarded(&g[3], bytes, at_end));
        cr_assert(tensor_gemm_packed(1, &a, &packed, 1, &c, arena));
        unmap(&g[3]);
    }
    for (int i = 0; i < 3; i++) unmap(&g[i]);
}

Test(gemm_tiles, products_stay_inside_their_operands) {
    static const int64_t sizes[][3] = {{1, 1, 1},    {1, 33, 17}, {2, 2, 2},    {7, 16, 16},
                                       {12, 32, 33}, {14, 16, 5}, {13, 31, 48}, {24, 64, 20},
                                       {29, 45, 67}, {6, 8, 600}, {12, 64, 513}, {3, 270, 9}};
    FOR_EACH_ISA(isa)
        FOR_EACH_FLOAT(dtype)
            for (int i = 0; i < COUNT(sizes) * 16; i++)
                multiply_guarded(dtype, sizes[i / 16], i % 8, i / 8 % 2);
}
