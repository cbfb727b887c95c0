/* blis_tile.c -- see blis_tile.h. */
#include "tensor/blis_tile.h"

#include "tensor/gemm.h"

#ifdef UNROLL_NO_BLIS

TensorBlis tensor_blis(TensorDtype dtype, const TensorTiles *tiles) {
    (void)tiles;
    return (TensorBlis){.dtype = dtype};
}

void tensor_blis_tile(const TensorBlis *blis, int64_t k, const void *panel, const void *strip,
                      void *c, int64_t row, bool add) {
    (void)blis, (void)k, (void)panel, (void)strip, (void)c, (void)row, (void)add;
}

const char *tensor_gemm_config(void) { return "loops"; }

#else
#include <pthread.h>

#include "blis.h"

/* BLIS asks the processor's name and falls back to its slowest kernels for any that is newer than
 * itself; so its context is taken by what the processor can do.  One that is not compiled into
 * this BLIS must not be asked for. */
static bool arch_of(TensorIsa isa, arch_t *arch) {
#ifdef BLIS_CONFIG_SKX
    if (isa == TENSOR_ISA_AVX512) return *arch = BLIS_ARCH_SKX, true;
#endif
#ifdef BLIS_CONFIG_HASWELL
    if (isa == TENSOR_ISA_AVX2) return *arch = BLIS_ARCH_HASWELL, true;
#endif
    (void)isa, (void)arch;
    return false;
}

const char *tensor_gemm_config(void) {
    arch_t arch;
    if (tensor_isa() == TENSOR_ISA_PLAIN) return "loops";
    if (!arch_of(tensor_isa(), &arch)) return "tiles";
    bli_init();
    return bli_arch_string(arch);
}

static TensorBlis find(arch_t arch, TensorDtype dtype) {
    num_t type = dtype == TENSOR_F32 ? BLIS_FLOAT : BLIS_DOUBLE;
    cntx_t *context = bli_gks_lookup_nat_cntx(arch);
    bool swapped = !bli_cntx_l3_nat_ukr_prefers_cols_dt(type, BLIS_GEMM_UKR, context);
    dim_t rows = bli_cntx_get_blksz_def_dt(type, BLIS_MR, context);
    dim_t columns = bli_cntx_get_blksz_def_dt(type, BLIS_NR, context);
    return (TensorBlis){.rows = (int)(swapped ? rows : columns),
                        .width = (int)(swapped ? columns : rows), .swapped = swapped,
                        .dtype = dtype, .context = context,
                        .kernel = (void (*)(void))bli_cntx_get_l3_nat_ukr_dt(type, BLIS_GEMM_UKR,
                                                                             context)};
}

static TensorBlis found[TENSOR_ISA_COUNT][2]; /* by instruction set and dtype; written once */

static void find_all(void) {
    bli_init();
    for (int isa = 0; isa < TENSOR_ISA_COUNT; isa++) {
        arch_t arch;
        if (!tensor_isa_available((TensorIsa)isa) || !arch_of((TensorIsa)isa, &arch)) continue;
        found[isa][0] = find(arch, TENSOR_F32);
        found[isa][1] = find(arch, TENSOR_F64);
    }
}

static bool fits(const TensorBlis *b, const TensorTiles *tiles) {
    return b->width == 2 * tiles->lanes && b->rows <= TENSOR_TILE_ROWS && tiles->full[b->rows];
}

TensorBlis tensor_blis(TensorDtype dtype, const TensorTiles *tiles) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_all);
    TensorBlis blis = found[tensor_isa()][dtype == TENSOR_F64];
    if (!fits(&blis, tiles)) blis.rows = 0;
    return blis;
}

/* The same of either dtype, whose scalars are one and zero or one. */
#define CALL(ch, REAL)                                                                          \
    do {                                                                                        \
        REAL one = 1, beta = add;                                                               \
        ch##gemm_ukr_ft kernel = (ch##gemm_ukr_ft)blis->kernel;                                 \
        if (blis->swapped)                                                                      \
            kernel(blis->rows, blis->width, k, &one, (REAL *)strip, (REAL *)panel, &beta, c, row, \
                   1, &next, blis->context);                                                    \
        else                                                                                    \
            kernel(blis->width, blis->rows, k, &one, (REAL *)panel, (REAL *)strip, &beta, c, 1, \
                   row, &next, blis->context);                                                  \
    } while (0)

void tensor_blis_tile(const TensorBlis *blis, int64_t k, const void *panel, const void *strip,
                      void *c, int64_t row, bool add) {
    auxinfo_t next = {0}; /* where it prefetches */
    bli_auxinfo_set_next_a((void *)(blis->swapped ? strip : panel), &next);
    bli_auxinfo_set_next_b((void *)(blis->swapped ? panel : strip), &next);
    if (blis->dtype == TENSOR_F32) CALL(s, float);
    else CALL(d, double);
}
#endif
