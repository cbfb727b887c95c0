/* blis_peak.c -- see blis_peak.h. */
#include "bench/blis_peak.h"

#include <string.h>

#include "tensor/gemm.h"

#ifdef UNROLL_NO_BLIS

bool bench_blis_product(const Tensor *a, const Tensor *b, const Tensor *c) {
    (void)a, (void)b, (void)c;
    return false;
}

#else
#include "blis.h"

bool bench_blis_product(const Tensor *a, const Tensor *b, const Tensor *c) {
    cntx_t *context = NULL;
    const char *config = tensor_gemm_config();
    bli_init();
#ifdef BLIS_CONFIG_SKX
    if (strcmp(config, "skx") == 0) context = bli_gks_lookup_nat_cntx(BLIS_ARCH_SKX);
#endif
#ifdef BLIS_CONFIG_HASWELL
    if (strcmp(config, "haswell") == 0) context = bli_gks_lookup_nat_cntx(BLIS_ARCH_HASWELL);
#endif
    if (!context) return false;
    rntm_t runtime;
    bli_rntm_init(&runtime);
    bli_rntm_set_num_threads(1, &runtime);
    float one = 1, zero = 0;
    dim_t n = c->shape[0];
    bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, n, n, n, &one, a->data, n, 1, b->data, n, 1,
                 &zero, c->data, n, 1, context, &runtime);
    return true;
}
#endif
