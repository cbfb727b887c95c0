/* peak.c -- the fastest of several tries, on all threads. */
#include "bench/peak.h"

#include <math.h>

#include "bench/blis_peak.h"
#include "bench/fma.h"
#include "bench/measure.h"
#include "tensor/gemm.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"

/* FMA_ROUNDS are some milliseconds: long beside the start of a sleeping thread. */
enum { SIZE = 1024, SIZE_OF_LOOPS = 128, FMA_ROUNDS = 1000000, FMA_TRIES = 4 };

static void run_fma(int64_t begin, int64_t end, void *context) {
    double *operations = context;
    for (int64_t i = begin; i < end; i++) operations[i] = bench_fma(tensor_isa(), FMA_ROUNDS);
}

/* GFLOP/s of one try. */
static double try_fma(void) {
    double operations[TENSOR_MAX_THREADS], sum = 0, start = bench_seconds();
    int n = tensor_threads();
    tensor_parallel(n, 1, run_fma, operations);
    double spent = bench_seconds() - start;
    for (int i = 0; i < n; i++) sum += operations[i];
    return 1e-9 * sum / spent;
}

typedef struct {
    TensorArena *arena;
    Tensor a, b, c;
} Product;

static bool product_init(Product *p, int64_t size) {
    const int64_t shape[] = {size, size};
    *p = (Product){.arena = tensor_arena_new()};
    if (!p->arena) return false;
    p->a = tensor_new(p->arena, TENSOR_F32, 2, shape);
    p->b = tensor_new(p->arena, TENSOR_F32, 2, shape);
    p->c = tensor_new(p->arena, TENSOR_F32, 2, shape);
    if (tensor_is_nil(&p->a) || tensor_is_nil(&p->b) || tensor_is_nil(&p->c)) return false;
    tensor_rng_fill_uniform(&p->a, (TensorRngKey){.seed = 1}, -1, 1);
    tensor_rng_fill_uniform(&p->b, (TensorRngKey){.seed = 2}, -1, 1);
    return true;
}

static double try_product(Product *p, bool blis) {
    double start = bench_seconds();
    bool ok = blis ? bench_blis_product(&p->a, &p->b, &p->c)
                   : tensor_gemm(1, &p->a, &p->b, 0, &p->c, p->arena);
    return ok ? 2e-9 * pow((double)p->c.shape[0], 3) / (bench_seconds() - start) : 0;
}

BenchPeaks bench_peaks(double budget) {
    BenchPeaks best = {.gemm_size = tensor_isa() == TENSOR_ISA_PLAIN ? SIZE_OF_LOOPS : SIZE};
    Product product;
    bool made = product_init(&product, best.gemm_size);
    double start = bench_seconds();
    do {
        for (int i = 0; i < FMA_TRIES; i++) best.fma = fmax(best.fma, try_fma());
        if (made) best.gemm = fmax(best.gemm, try_product(&product, false));
        if (made) best.blis = fmax(best.blis, try_product(&product, true));
    } while (bench_seconds() - start < budget);
    tensor_arena_free(product.arena);
    return best;
}
