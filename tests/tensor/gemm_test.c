/* The matrix product against plain loops, for every layout of memory and instruction set. */
#include "tensor/gemm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <string.h>

#include "tensor/isa.h"
#include "tensor/kernels.h"
#include "tensor/rng.h"

static TensorArena *arena, *scratch;
static void start(void) {
    arena = tensor_arena_new();
    scratch = tensor_arena_new();
}
static void stop(void) {
    tensor_arena_free(arena);
    tensor_arena_free(scratch);
}
TestSuite(gemm, .init = start, .fini = stop);

#define EACH_ISA(isa)                                                       \
    for (TensorIsa isa = TENSOR_ISA_PLAIN; isa < TENSOR_ISA_COUNT; isa++) \
        if (tensor_isa_set(isa))

enum { ROWS, COLUMNS, GAPS, REPEATED_ROWS, REPEATED_COLUMNS, LAYOUTS };

/* A matrix of the given shape in one of the layouts, with random values. */
static Tensor random_matrix(TensorDtype dtype, int64_t m, int64_t n, int layout, uint64_t seed) {
    TensorRngKey key = {seed, (uint64_t)layout, 0};
    Tensor x;
    if (layout == COLUMNS) {
        Tensor turned = tensor_new(arena, dtype, 2, (int64_t[]){n, m});
        x = tensor_transpose(&turned, 0, 1);
    } else if (layout == GAPS) {
        Tensor wide = tensor_new(arena, dtype, 3, (int64_t[]){m, n, 3});
        x = tensor_select(&wide, 2, 1);
    } else {
        x = tensor_new(arena, dtype, 2, (int64_t[]){layout == REPEATED_ROWS ? 1 : m,
                                                   layout == REPEATED_COLUMNS ? 1 : n});
    }
    tensor_rng_fill_uniform(&x, key, -1, 1);
    return tensor_expand(&x, 2, (int64_t[]){m, n});
}

static Tensor naive(double alpha, const Tensor *a, const Tensor *b, double beta, const Tensor *c) {
    Tensor y = tensor_new(arena, TENSOR_F64, 2, c->shape);
    int64_t m = c->shape[0], n = c->shape[1], k = a->shape[1];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            long double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += (long double)tensor_get(a, i * k + l) * tensor_get(b, l * n + j);
            double old = beta == 0 ? 0 : beta * tensor_get(c, i * n + j);
            tensor_set(&y, i * n + j, (double)(alpha * sum) + old);
        }
    return y;
}

static double distance(const Tensor *a, const Tensor *b) {
    double worst = 0;
    for (int64_t i = 0; i < tensor_numel(a); i++) {
        double d = fabs(tensor_get(a, i) - tensor_get(b, i));
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return worst;
}

static void check(TensorDtype dtype, int64_t m, int64_t n, int64_t k, int la, int lb, int lc,
                  double alpha, double beta) {
    tensor_arena_reset(arena);
    Tensor a = random_matrix(dtype, m, k, la, 1), b = random_matrix(dtype, k, n, lb, 2);
    Tensor c = random_matrix(dtype, m, n, lc, 3);
    if (beta == 0) tensor_fill(&c, NAN); /* must not be read */
    Tensor want = naive(alpha, &a, &b, beta, &c);
    cr_assert(tensor_gemm(alpha, &a, &b, beta, &c, scratch));
    double eps = dtype == TENSOR_F32 ? 6e-8 : 1.2e-16;
    double bound = 4 * eps * ((double)k + 4) * (1 + fabs(alpha));
    double d = distance(&c, &want);
    cr_assert(d <= bound, "%s %s [%lld,%lld,%lld] layouts %d %d %d: %g > %g",
              tensor_isa_name(tensor_isa()), tensor_dtype_name(dtype), (long long)m, (long long)n,
              (long long)k, la, lb, lc, d, bound);
    cr_assert_eq(tensor_arena_bytes(scratch), 0);
}

Test(gemm, agrees_with_loops_for_sizes_around_every_block) {
    static const int64_t sizes[] = {0, 1, 2, 5, 7, 12, 13, 31, 33, 65};
    enum { N = sizeof sizes / sizeof *sizes };
    EACH_ISA(isa)
        for (int f64 = 0; f64 < 2; f64++)
            for (int i = 0; i < N * N * N; i += 3) {
                int64_t m = sizes[i % N], n = sizes[i / N % N], k = sizes[i / N / N];
                check(f64 ? TENSOR_F64 : TENSOR_F32, m, n, k, ROWS, ROWS, ROWS, 1, i % 2);
            }
    EACH_ISA(isa) {
        check(TENSOR_F32, 33, 25, 385, ROWS, COLUMNS, ROWS, 1, 0);
        check(TENSOR_F64, 33, 25, 385, COLUMNS, ROWS, ROWS, 1, 1);
    }
    static const int64_t around[][3] = {{383, 3, 16},  {385, 65, 12}, {3, 383, 63},  {32, 385, 31},
                                        {16, 32, 383}, {63, 13, 385}, {500, 20, 40}, {2, 1, 769}};
    EACH_ISA(isa)
        for (int i = 0; i < 8; i++) {
            const int64_t *s = around[i];
            check(TENSOR_F32, s[0], s[1], s[2], i % 2, i / 2 % 2, i / 4, 1, i % 3);
            check(TENSOR_F64, s[0], s[1], s[2], i / 4, i % 2, i / 2 % 2, 1, i % 3);
        }
}

Test(gemm, takes_every_layout_of_memory) {
    static const int64_t sizes[][3] = {{4, 5, 6}, {1, 7, 3}, {7, 1, 3},
                                       {7, 3, 1}, {1, 1, 9}, {40, 30, 20}};
    EACH_ISA(isa)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int la = 0; la < LAYOUTS; la++)
                for (int lb = 0; lb < LAYOUTS; lb++)
                    for (int lc = 0; lc <= GAPS; lc++)
                        check(lb % 2 ? TENSOR_F32 : TENSOR_F64, sizes[s][0], sizes[s][1],
                              sizes[s][2], la, lb, lc, -2, lc ? .5 : 0);
}

Test(gemm, scales_and_adds) {
    static const double factors[] = {0, 1, -1, .5};
    EACH_ISA(isa)
        for (int i = 0; i < 16; i++)
            for (int64_t k = 0; k < 4; k += 3)
                check(TENSOR_F64, 5, 6, k, ROWS, ROWS, ROWS, factors[i % 4], factors[i / 4]);
}

Test(gemm, broadcasts_over_leading_axes) {
    static const struct {
        int na, nb, nc;
        int64_t a[5], b[5], c[5];
    } cases[] = {
        {3, 3, 3, {2, 3, 4}, {2, 4, 5}, {2, 3, 5}},
        {3, 2, 3, {2, 3, 4}, {4, 5}, {2, 3, 5}},
        {2, 3, 3, {3, 4}, {2, 4, 5}, {2, 3, 5}},
        {4, 3, 4, {2, 1, 3, 4}, {6, 4, 5}, {2, 6, 3, 5}},
        {3, 3, 3, {0, 3, 4}, {0, 4, 5}, {0, 3, 5}},
    };
    EACH_ISA(isa)
        for (size_t s = 0; s < sizeof cases / sizeof *cases; s++) {
            tensor_arena_reset(arena);
            Tensor a = tensor_new(arena, TENSOR_F64, cases[s].na, cases[s].a);
            Tensor b = tensor_new(arena, TENSOR_F64, cases[s].nb, cases[s].b);
            Tensor c = tensor_new(arena, TENSOR_F64, cases[s].nc, cases[s].c);
            tensor_rng_fill_uniform(&a, (TensorRngKey){1, 0, 0}, -1, 1);
            tensor_rng_fill_uniform(&b, (TensorRngKey){2, 0, 0}, -1, 1);
            cr_assert(tensor_gemm(1, &a, &b, 0, &c, scratch));
            int64_t lead[TENSOR_MAX_DIMS], n = tensor_numel(&c) / 15;
            memcpy(lead, cases[s].c, sizeof cases[s].c);
            Tensor wide_a = c, wide_b = c;
            lead[c.ndim - 1] = 4;
            wide_a = tensor_expand(&a, c.ndim, lead);
            lead[c.ndim - 2] = 4, lead[c.ndim - 1] = 5;
            wide_b = tensor_expand(&b, c.ndim, lead);
            for (int64_t p = 0; p < n; p++)
                for (int64_t i = 0; i < 3; i++)
                    for (int64_t j = 0; j < 5; j++) {
                        double sum = 0;
                        for (int64_t l = 0; l < 4; l++)
                            sum += tensor_get(&wide_a, p * 12 + i * 4 + l) *
                                   tensor_get(&wide_b, p * 20 + l * 5 + j);
                        double got = tensor_get(&c, p * 15 + i * 5 + j);
                        cr_assert_float_eq(got, sum, 1e-14);
                    }
        }
}

Test(gemm, bits_of_a_row_do_not_depend_on_the_other_rows) {
    static const int64_t sizes[][2] = {{30, 70}, {256, 1024}, {385, 33}, {400, 1}, {1, 13}};
    EACH_ISA(isa)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int f64 = 0; f64 < 2; f64++) {
                tensor_arena_reset(arena);
                TensorDtype dtype = f64 ? TENSOR_F64 : TENSOR_F32;
                enum { M = 205 };
                int64_t k = sizes[s][0], n = sizes[s][1];
                Tensor a = random_matrix(dtype, M, k, ROWS, 1);
                Tensor b = random_matrix(dtype, k, n, COLUMNS, 2);
                Tensor all = tensor_new(arena, dtype, 2, (int64_t[]){M, n});
                cr_assert(tensor_gemm(1, &a, &b, 0, &all, scratch));
                static const int64_t counts[] = {1, 2, 31, 32, 100};
                for (size_t r = 0; r < sizeof counts / sizeof *counts; r++) {
                    Tensor part = tensor_narrow(&a, 0, 7, counts[r]);
                    Tensor some = tensor_new(arena, dtype, 2, (int64_t[]){counts[r], n});
                    cr_assert(tensor_gemm(1, &part, &b, 0, &some, scratch));
                    Tensor same = tensor_narrow(&all, 0, 7, counts[r]);
                    size_t bytes = (size_t)(counts[r] * n) * tensor_dtype_size(dtype);
                    cr_assert(!memcmp(some.data, same.data, bytes),
                              "%s, %lld rows", tensor_isa_name(isa), (long long)counts[r]);
                }
            }
}

/* Equal terms round the same way: one sum of all of them would be wrong by 1 %. */
Test(gemm, long_sums_are_accurate) {
    enum { K = 1000000 };
    EACH_ISA(isa) {
        tensor_arena_reset(arena);
        Tensor tenth = tensor_new(arena, TENSOR_F32, 2, (int64_t[]){1, 1}), y;
        tensor_fill(&tenth, .1f);
        Tensor a = tensor_expand(&tenth, 2, (int64_t[]){1, K}), b = tensor_transpose(&a, 0, 1);
        y = tensor_new(arena, TENSOR_F32, 2, (int64_t[]){1, 1});
        cr_assert(tensor_gemm(1, &a, &b, 0, &y, scratch));
        double want = (double).1f * (double).1f * K;
        cr_expect(fabs(tensor_get(&y, 0) - want) < 1e-4 * want, "%s: %.9g, not %.9g",
                  tensor_isa_name(isa), tensor_get(&y, 0), want);
    }
}

Test(gemm, lets_nan_and_infinity_through) {
    EACH_ISA(isa) {
        double zero[] = {0, 0, 0, 0}, odd[] = {NAN, 1, INFINITY, 2}, y[4];
        int64_t two[] = {2, 2};
        Tensor a = tensor_wrap(zero, TENSOR_F64, 2, two), b = tensor_wrap(odd, TENSOR_F64, 2, two),
               c = tensor_wrap(y, TENSOR_F64, 2, two);
        cr_assert(tensor_gemm(1, &a, &b, 0, &c, scratch));
        cr_expect(isnan(y[0]) && isnan(y[2]) && y[1] == 0 && y[3] == 0);
    }
}

Test(gemm, takes_good_kernels_on_good_processors) {
    cr_log_info("%s, BLIS configuration %s", tensor_isa_name(tensor_isa()), tensor_gemm_config());
    if (tensor_isa_set(TENSOR_ISA_AVX2)) cr_expect(strcmp(tensor_gemm_config(), "generic"));
    if (tensor_isa_set(TENSOR_ISA_AVX512)) cr_expect_str_eq(tensor_gemm_config(), "skx");
    cr_expect(tensor_isa_set(TENSOR_ISA_PLAIN));
    cr_expect_str_eq(tensor_gemm_config(), "loops");
}

Test(gemm, out_of_memory_while_packing_is_a_status) {
    Tensor a = random_matrix(TENSOR_F32, 600, 600, REPEATED_ROWS, 1);
    Tensor c = random_matrix(TENSOR_F32, 600, 600, ROWS, 2);
    tensor_arena_set_limit(scratch, 1 << 20);
    cr_expect(!tensor_gemm(1, &a, &a, 0, &c, scratch));
}

/* Element [i, j] of batch p; the leading axes of x broadcast to n matrices. */
static double at(const Tensor *x, int64_t p, int64_t i, int64_t j) {
    int64_t rows = x->shape[x->ndim - 2], columns = x->shape[x->ndim - 1];
    int64_t first = x->ndim > 2 && x->shape[0] > 1 ? p * rows * columns : 0;
    return tensor_get(x, first + i * columns + j);
}

/* x with the memory of its axes in another order. */
static Tensor stored(const Tensor *x, const int *order, const int *back) {
    Tensor y = tensor_permute(x, order), copy = tensor_copy(arena, &y);
    return tensor_permute(&copy, back);
}

Test(gemm, a_batch_is_right_for_every_order_of_its_memory) {
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const int backs[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                    {2, 0, 1}, {1, 2, 0}, {2, 1, 0}};
    enum { P = 3, M = 4, N = 5, K = 6 };
    EACH_ISA(isa)
        for (int i = 0; i < 6 * 6 * 6 * 3; i++) {
            int one = i / 216; /* which operand is the same for the whole batch */
            tensor_arena_reset(arena);
            Tensor a = tensor_new(arena, TENSOR_F64, 3, (int64_t[]){one == 1 ? 1 : P, M, K});
            Tensor b = tensor_new(arena, TENSOR_F64, 3, (int64_t[]){one == 2 ? 1 : P, K, N});
            Tensor c = tensor_new(arena, TENSOR_F64, 3, (int64_t[]){P, M, N});
            tensor_rng_fill_uniform(&a, (TensorRngKey){1, 0, 0}, -1, 1);
            tensor_rng_fill_uniform(&b, (TensorRngKey){2, 0, 0}, -1, 1);
            tensor_rng_fill_uniform(&c, (TensorRngKey){3, 0, 0}, -1, 1);
            a = stored(&a, orders[i % 6], backs[i % 6]);
            b = stored(&b, orders[i / 6 % 6], backs[i / 6 % 6]);
            c = stored(&c, orders[i / 36 % 6], backs[i / 36 % 6]);
            Tensor old = tensor_copy(arena, &c);
            cr_assert(tensor_gemm(2, &a, &b, .5, &c, scratch));
            for (int64_t e = 0; e < P * M * N; e++) {
                int64_t p = e / (M * N), row = e / N % M, column = e % N;
                double sum = 0;
                for (int64_t l = 0; l < K; l++) sum += at(&a, p, row, l) * at(&b, p, l, column);
                double want = 2 * sum + .5 * tensor_get(&old, e);
                cr_assert_float_eq(tensor_get(&c, e), want, 1e-14, "case %d", i);
            }
        }
}

/* One operand with any strides, in small integers, so that results are exact. */
static void check_strides(int operand, int64_t m, int64_t n, int64_t rs, int64_t cs) {
    static double memory[256];
    enum { K = 4 };
    tensor_arena_reset(arena);
    Tensor odd = {TENSOR_F64, 2, {m, n}, {rs, cs}, memory + 128};
    if (operand == 2 && tensor_is_overlapping(&odd)) return;
    int64_t rows = operand == 1 ? K : m, columns = operand == 0 ? K : n;
    int64_t inner = operand == 0 ? n : operand == 1 ? m : K;
    Tensor a = operand == 0 ? odd : tensor_new(arena, TENSOR_F64, 2, (int64_t[]){rows, inner});
    Tensor b = operand == 1 ? odd : tensor_new(arena, TENSOR_F64, 2, (int64_t[]){inner, columns});
    Tensor c = operand == 2 ? odd : tensor_new(arena, TENSOR_F64, 2, (int64_t[]){rows, columns});
    const Tensor *all[] = {&a, &b, &c};
    for (int beta = 0; beta < 3; beta++) { /* values anew, or scratch would still hold c's */
        for (int i = 0; i < 256; i++) memory[i] = i * 5 % 13 - 6;
        for (int x = 0; x < 3; x++)
            for (int64_t i = 0; x != operand && i < tensor_numel(all[x]); i++)
                tensor_set(all[x], i, (double)((i * 7 + x) % 11 - 5));
        if (beta == 0) tensor_fill(&c, NAN);
        Tensor want = naive(2, &a, &b, beta, &c);
        cr_assert(tensor_gemm(2, &a, &b, beta, &c, scratch));
        cr_assert(distance(&c, &want) == 0, "operand %d [%d,%d] strides %d %d", operand, (int)m,
                  (int)n, (int)rs, (int)cs);
    }
}

Test(gemm, takes_every_stride) {
    EACH_ISA(isa)
        for (int operand = 0; operand < 3; operand++)
            for (int64_t m = 1; m < 5; m++)
                for (int64_t n = 1; n < 5; n++)
                    for (int64_t rs = -9; rs < 10; rs++)
                        for (int64_t cs = -9; cs < 10; cs++)
                            check_strides(operand, m, n, rs, cs);
}

Test(gemm, a_factor_of_zero_does_not_look_at_a_and_b) {
    EACH_ISA(isa) {
        double odd[] = {NAN, INFINITY, 1, 2}, y[] = {1, 2, 3, 4};
        Tensor a = tensor_wrap(odd, TENSOR_F64, 2, (int64_t[]){2, 2});
        Tensor c = tensor_wrap(y, TENSOR_F64, 2, (int64_t[]){2, 2});
        cr_assert(tensor_gemm(0, &a, &a, 2, &c, scratch));
        cr_expect(y[0] == 2 && y[1] == 4 && y[2] == 6 && y[3] == 8);
    }
}

/* Columns of one matrix: their ranges of memory cross, their elements do not. */
Test(gemm, operands_may_interleave) {
    double memory[12] = {1, 2, 9, 9, 3, 4, 9, 9};
    Tensor all = tensor_wrap(memory, TENSOR_F64, 2, (int64_t[]){2, 4});
    Tensor a = tensor_narrow(&all, 1, 0, 2), c = tensor_narrow(&all, 1, 2, 2);
    cr_assert(tensor_gemm(1, &a, &a, 0, &c, scratch));
    cr_expect(memory[2] == 7 && memory[3] == 10 && memory[6] == 15 && memory[7] == 22);
}

/* As many elements as places in its range, yet with gaps; c stands in them. */
Test(gemm, a_result_may_stand_in_the_gaps_of_an_overlapping_operand) {
    double memory[10] = {1, 2, 3, 9, 9, 4, 5, 6, 9, 9}, ones[] = {1, 10};
    Tensor a = {TENSOR_F64, 3, {2, 2, 2}, {5, 1, 1}, memory};
    Tensor b = tensor_wrap(ones, TENSOR_F64, 2, (int64_t[]){2, 1});
    Tensor c = {TENSOR_F64, 3, {2, 2, 1}, {5, 1, 1}, memory + 3};
    cr_assert(tensor_gemm(1, &a, &b, 0, &c, scratch));
    cr_expect(memory[3] == 21 && memory[4] == 32 && memory[8] == 54 && memory[9] == 65);
}

static void multiply_into(int64_t offset) {
    static double memory[12];
    Tensor a = tensor_wrap(memory, TENSOR_F64, 2, (int64_t[]){2, 2}), b = tensor_copy(arena, &a);
    Tensor c = tensor_wrap(memory + offset, TENSOR_F64, 2, (int64_t[]){2, 2});
    tensor_gemm(1, &a, &b, 0, &c, scratch);
}
Test(gemm, a_result_beside_its_operand_is_fine) { multiply_into(4); }
Test(gemm, a_result_in_place_of_an_operand_is_asserted, .signal = SIGABRT) { multiply_into(0); }
Test(gemm, a_result_inside_an_operand_is_asserted, .signal = SIGABRT) { multiply_into(3); }
