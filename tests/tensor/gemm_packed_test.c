/* The bits of the matrix product: those of tensor_gemm and tensor_gemm_packed are the same,
 * whatever the layout of memory, the other rows and the number of threads. */
#include <signal.h>

#include "tensor/gemm.h"
#include "tensor/parallel.h"
#include "tests/tensor/kernels_check.h"

static TensorArena *arena, *scratch;
static void start(void) {
    arena = tensor_arena_new();
    scratch = tensor_arena_new();
}
static void stop(void) {
    tensor_arena_free(arena);
    tensor_arena_free(scratch);
}
TestSuite(gemm_packed, .init = start, .fini = stop);

enum { FLIPPED_ROWS = LAYOUTS, FLIPPED_COLUMNS, ALL_LAYOUTS };

static Tensor matrix(TensorDtype dtype, int64_t m, int64_t n, int layout) {
    Tensor x = random_tensor(arena, dtype, 2, (int64_t[]){m, n}, -1, 1);
    if (layout == FLIPPED_ROWS) return tensor_flip(&x, 0);
    if (layout == FLIPPED_COLUMNS) return tensor_flip(&x, 1);
    return laid_out(arena, &x, layout);
}

static Tensor product(double alpha, const Tensor *a, const Tensor *b, double beta,
                      const Tensor *before) {
    Tensor c = tensor_copy(arena, before);
    cr_assert(tensor_gemm(alpha, a, b, beta, &c, scratch));
    return c;
}

static Tensor packed_product(double alpha, const Tensor *a, const TensorPacked *b, double beta,
                             const Tensor *before) {
    Tensor c = laid_out(arena, before, OFFSET); /* between the rows of a wider matrix */
    cr_assert(tensor_gemm_packed(alpha, a, b, beta, &c, scratch));
    cr_assert_eq(tensor_arena_bytes(scratch), 0);
    return c;
}

static void expect_same(const Tensor *got, const Tensor *want, const char *what, int64_t k) {
    cr_assert_eq(first_difference(got, want), -1, "%s, %s, %s: [%d, %d], k %d",
                 tensor_isa_name(tensor_isa()), tensor_dtype_name(want->dtype), what,
                 (int)want->shape[0], (int)want->shape[1], (int)k);
}

/* One product in every way that there is. */
static void check(TensorDtype dtype, int64_t m, int64_t n, int64_t k, int la, int lb, double alpha,
                  double beta) {
    tensor_arena_reset(arena);
    Tensor a = matrix(dtype, m, k, la), b = matrix(dtype, k, n, lb);
    Tensor c = matrix(dtype, m, n, CONTIGUOUS);
    if (beta == 0) tensor_fill(&c, NAN); /* must not be read */
    Tensor want = product(alpha, &a, &b, beta, &c);
    TensorPacked packed = tensor_pack_new(&b, arena);
    Tensor got = packed_product(alpha, &a, &packed, beta, &c);
    expect_same(&got, &want, "packed", k);
    for (int layout = REVERSED_AXES; layout <= EVERY_THIRD; layout++) {
        got = laid_out(arena, &c, layout);
        cr_assert(tensor_gemm(alpha, &a, &b, beta, &got, scratch));
        expect_same(&got, &want, layout == EVERY_THIRD ? "c with gaps" : "c by columns", k);
    }
}

Test(gemm_packed, bits_are_those_of_tensor_gemm_for_sizes_around_every_tile) {
    static const double factors[] = {1, -.3, 1, 1}, old[] = {0, .5, 1};
    FOR_EACH_ISA(isa)
        FOR_EACH_FLOAT(dtype) {
            int i = 0;
            for (int64_t m = 1; m <= 44; m++)
                for (int64_t n = 1; n < 110; n += n < 34 ? 4 : 15, i++)
                    check(dtype, m, n, 19, i % ALL_LAYOUTS, i / 2 % ALL_LAYOUTS, factors[i % 4],
                          old[i % 3]);
            for (int64_t n = 1; n <= 70; n++, i++)
                check(dtype, 13, n, 33, i % ALL_LAYOUTS, i / 3 % ALL_LAYOUTS, factors[i % 4],
                      old[i % 3]);
        }
}

Test(gemm_packed, bits_are_those_of_tensor_gemm_for_every_chain) {
    static const int64_t sizes[] = {0, 1, 2, 8, 15, 16, 17, 511, 512, 513, 1024, 1025, 2600};
    static const int64_t rows[] = {1, 3, 14, 29};
    FOR_EACH_ISA(isa)
        FOR_EACH_FLOAT(dtype)
            for (int i = 0; i < COUNT(sizes) * COUNT(rows); i++)
                check(dtype, rows[i % COUNT(rows)], i % 2 ? 35 : 140, sizes[i / COUNT(rows)],
                      i % ALL_LAYOUTS, i / 3 % ALL_LAYOUTS, i % 3 ? 1 : .7, i % 5 == 0);
}

/* c [m, n] of rows with and without others beside them. */
static void check_rows(TensorDtype dtype, int64_t n, int64_t k, double alpha) {
    enum { M = 205, FROM = 7 };
    static const int64_t counts[] = {1, 2, 3, 12, 31, 100};
    tensor_arena_reset(arena);
    Tensor a = matrix(dtype, M, k, CONTIGUOUS), b = matrix(dtype, k, n, REVERSED_AXES);
    Tensor c = matrix(dtype, M, n, CONTIGUOUS), all = product(alpha, &a, &b, 1, &c);
    TensorPacked packed = tensor_pack_new(&b, arena);
    for (int i = 0; i < COUNT(counts); i++) {
        Tensor some = tensor_narrow(&a, 0, FROM, counts[i]);
        Tensor before = tensor_narrow(&c, 0, FROM, counts[i]);
        Tensor want = tensor_narrow(&all, 0, FROM, counts[i]);
        Tensor got = product(alpha, &some, &b, 1, &before);
        expect_same(&got, &want, "some rows", k);
        got = packed_product(alpha, &some, &packed, 1, &before);
        expect_same(&got, &want, "some rows, packed", k);
        got = laid_out(arena, &before, REVERSED_AXES);
        cr_assert(tensor_gemm(alpha, &some, &b, 1, &got, scratch));
        expect_same(&got, &want, "some rows, by columns", k);
    }
}

Test(gemm_packed, bits_of_a_row_do_not_depend_on_the_other_rows) {
    static const int64_t sizes[][2] = {{70, 30}, {33, 385}, {1, 400}, {2, 600}, {13, 1}};
    FOR_EACH_ISA(isa)
        FOR_EACH_FLOAT(dtype)
            for (int i = 0; i < COUNT(sizes); i++)
                check_rows(dtype, sizes[i][0], sizes[i][1], i % 2 ? 1.7 : 1);
    FOR_EACH_ISA(isa)
        if (isa != TENSOR_ISA_PLAIN) check_rows(TENSOR_F32, 300, 1100, .3);
}

/* Blocks of panels, of strips and of k at the same time; compared with a few rows, which make one
 * block of strips, and with a few columns, which make one of panels. */
Test(gemm_packed, bits_do_not_depend_on_blocks) {
    enum { M = 250, N = 1300, K = 1300, SOME = 20 };
    FOR_EACH_ISA(isa)
        FOR_EACH_FLOAT(dtype) {
            if (isa == TENSOR_ISA_PLAIN) continue;
            tensor_arena_reset(arena);
            Tensor a = matrix(dtype, M, K, isa % 2 ? CONTIGUOUS : REVERSED_AXES);
            Tensor b = matrix(dtype, K, N, isa % 2 ? REVERSED_AXES : CONTIGUOUS);
            Tensor c = matrix(dtype, M, N, CONTIGUOUS), want = product(1, &a, &b, 0, &c);
            TensorPacked packed = tensor_pack_new(&b, arena);
            Tensor got = packed_product(1, &a, &packed, 0, &c);
            expect_same(&got, &want, "packed", K);
            for (int64_t from = 0; from < M; from += 115) {
                Tensor rows = tensor_narrow(&a, 0, from, SOME);
                Tensor before = tensor_narrow(&c, 0, from, SOME);
                Tensor part = tensor_narrow(&want, 0, from, SOME);
                got = product(1, &rows, &b, 0, &before);
                expect_same(&got, &part, "rows", K);
            }
            for (int64_t from = 0; from < N; from += 590) {
                Tensor columns = tensor_narrow(&b, 1, from, SOME);
                Tensor before = tensor_narrow(&c, 1, from, SOME);
                Tensor part = tensor_narrow(&want, 1, from, SOME);
                got = product(1, &a, &columns, 0, &before);
                expect_same(&got, &part, "columns", K);
            }
        }
}

Test(gemm_packed, bits_do_not_depend_on_the_number_of_threads) {
    static const int64_t sizes[][3] = {
        {20, 400, 100}, {1, 2048, 512}, {3, 1500, 700}, {300, 28, 256}, {600, 100, 900}};
    FOR_EACH_ISA(isa)
        for (int i = 0; i < COUNT(sizes) * 4; i++) {
            if (isa == TENSOR_ISA_PLAIN) continue;
            const int64_t *s = sizes[i / 4];
            TensorDtype dtype = i % 2 ? TENSOR_F64 : TENSOR_F32;
            int layout = i / 2 % 2 ? REVERSED_AXES : CONTIGUOUS;
            tensor_arena_reset(arena);
            Tensor a = matrix(dtype, s[0], s[2], layout), b = matrix(dtype, s[2], s[1], layout);
            Tensor c = matrix(dtype, s[0], s[1], CONTIGUOUS);
            cr_assert(tensor_threads_set(1));
            Tensor want = product(.9, &a, &b, 1, &c);
            for (int threads = 2; threads <= 5; threads++) {
                cr_assert(tensor_threads_set(threads));
                Tensor got = product(.9, &a, &b, 1, &c);
                expect_same(&got, &want, "threads", s[2]);
                TensorPacked packed = tensor_pack_new(&b, arena);
                got = packed_product(.9, &a, &packed, 1, &c);
                expect_same(&got, &want, "threads, packed", s[2]);
            }
        }
}

Test(gemm_packed, one_packing_serves_many_products) {
    FOR_EACH_ISA(isa) {
        tensor_arena_reset(arena);
        Tensor b = matrix(TENSOR_F32, 40, 50, REVERSED_AXES), kept = tensor_copy(arena, &b);
        TensorPacked packed = tensor_pack_new(&b, arena);
        tensor_fill(&b, NAN); /* not looked at any more */
        for (int64_t m = 1; m < 30; m += 7) {
            Tensor a = matrix(TENSOR_F32, m, 40, CONTIGUOUS), c = matrix(TENSOR_F32, m, 50, 0);
            Tensor want = product(2, &a, &kept, -1, &c);
            Tensor got = packed_product(2, &a, &packed, -1, &c);
            expect_same(&got, &want, "again", 40);
        }
    }
}

Test(gemm_packed, leaves_what_lies_between_rows_alone) {
    FOR_EACH_ISA(isa)
        FOR_EACH_FLOAT(dtype)
            for (int64_t n = 1; n < 70; n += 3) {
                enum { M = 25, K = 20, GAP = 3 };
                tensor_arena_reset(arena);
                Tensor wider = fresh(arena, dtype, 2, (int64_t[]){M, n + GAP});
                tensor_fill(&wider, 77);
                Tensor c = tensor_narrow(&wider, 1, 0, n);
                Tensor gaps = tensor_narrow(&wider, 1, n, GAP);
                Tensor a = matrix(dtype, M, K, 0), b = matrix(dtype, K, n, 0);
                TensorPacked packed = tensor_pack_new(&b, arena);
                cr_assert(tensor_gemm_packed(1, &a, &packed, 0, &c, scratch));
                cr_assert(tensor_gemm(1, &a, &b, 1, &c, scratch));
                for (int64_t i = 0; i < tensor_numel(&gaps); i++)
                    cr_assert_eq(tensor_get(&gaps, i), 77);
            }
}

Test(gemm_packed, nothing_to_multiply_scales_c) {
    FOR_EACH_ISA(isa)
        FOR_EACH_FLOAT(dtype)
            for (int beta = 0; beta < 3; beta++) {
                tensor_arena_reset(arena);
                Tensor none = matrix(dtype, 3, 0, 0), b = matrix(dtype, 0, 40, 0);
                Tensor nan = matrix(dtype, 3, 2, 0), d = matrix(dtype, 2, 40, 0);
                tensor_fill(&nan, NAN);
                Tensor c = fresh(arena, dtype, 2, (int64_t[]){3, 40});
                tensor_fill(&c, beta ? 5 : NAN);
                TensorPacked packed = tensor_pack_new(&b, arena);
                TensorPacked other = tensor_pack_new(&d, arena);
                cr_assert(packed.data);
                Tensor got = packed_product(1, &none, &packed, beta, &c);
                Tensor zero = packed_product(0, &nan, &other, beta, &c);
                for (int64_t i = 0; i < tensor_numel(&c); i++) {
                    cr_assert_eq(tensor_get(&got, i), 5 * beta);
                    cr_assert_eq(tensor_get(&zero, i), 5 * beta);
                }
            }
}

Test(gemm_packed, a_matrix_without_columns_or_a_product_without_rows_is_nothing) {
    FOR_EACH_ISA(isa) {
        Tensor a = matrix(TENSOR_F32, 3, 4, 0), b = matrix(TENSOR_F32, 4, 0, 0);
        Tensor c = matrix(TENSOR_F32, 3, 0, 0);
        TensorPacked packed = tensor_pack_new(&b, arena);
        cr_assert(packed.data && tensor_gemm_packed(1, &a, &packed, 1, &c, scratch));
        a = matrix(TENSOR_F32, 0, 4, 0), b = matrix(TENSOR_F32, 4, 5, 0);
        c = matrix(TENSOR_F32, 0, 5, 0), packed = tensor_pack_new(&b, arena);
        cr_assert(tensor_gemm_packed(1, &a, &packed, 1, &c, scratch));
    }
}

Test(gemm_packed, sizes_beyond_memory_are_refused) {
    FOR_EACH_ISA(isa) {
        cr_expect_eq(tensor_packed_bytes(TENSOR_F32, INT64_MAX, 1), 0);
        cr_expect_eq(tensor_packed_bytes(TENSOR_F64, 1, INT64_MAX), 0);
        cr_expect_eq(tensor_packed_bytes(TENSOR_F32, INT64_MAX, INT64_MAX), 0);
        cr_expect_eq(tensor_packed_bytes(TENSOR_F32, (int64_t)1 << 31, (int64_t)1 << 31), 0);
        cr_expect_geq(tensor_packed_bytes(TENSOR_F64, 3, 7), 3 * 7 * sizeof(double));
        cr_expect(tensor_packed_bytes(TENSOR_F32, 0, 0));
        Tensor one = matrix(TENSOR_F32, 1, 1, 0);
        Tensor huge = tensor_expand(&one, 2, (int64_t[]){(int64_t)1 << 26, (int64_t)1 << 28});
        cr_assert(!tensor_is_nil(&huge));
        cr_expect_null(tensor_pack_new(&huge, arena).data);
    }
}

Test(gemm_packed, out_of_memory_is_a_status) {
    FOR_EACH_ISA(isa) {
        if (isa == TENSOR_ISA_PLAIN) continue; /* takes none */
        Tensor a = matrix(TENSOR_F32, 90, 900, 0), b = matrix(TENSOR_F32, 900, 400, 0);
        Tensor c = matrix(TENSOR_F32, 90, 400, 0);
        TensorPacked packed = tensor_pack_new(&b, arena);
        TensorArena *small = tensor_arena_new();
        tensor_arena_set_limit(small, 100000);
        cr_expect(!tensor_gemm_packed(1, &a, &packed, 0, &c, small));
        cr_expect(!tensor_gemm(1, &a, &b, 0, &c, small));
        cr_expect_eq(tensor_arena_bytes(small), 0);
        cr_expect_null(tensor_pack_new(&b, small).data);
        tensor_arena_free(small);
    }
}

static void multiply_wrongly(TensorIsa packed_for, int c_layout, bool c_is_a) {
    tensor_isa_set(TENSOR_ISA_PLAIN);
    Tensor a = matrix(TENSOR_F32, 4, 4, CONTIGUOUS), b = matrix(TENSOR_F32, 4, 4, CONTIGUOUS);
    Tensor c = matrix(TENSOR_F32, 4, 4, c_layout);
    TensorPacked packed = tensor_pack_new(&b, arena);
    packed.isa = packed_for;
    tensor_gemm_packed(1, &a, &packed, 0, c_is_a ? &a : &c, scratch);
}
Test(gemm_packed, of_the_same_instruction_set_is_fine) {
    multiply_wrongly(TENSOR_ISA_PLAIN, CONTIGUOUS, false);
}
Test(gemm_packed, of_another_instruction_set_is_asserted, .signal = SIGABRT) {
    multiply_wrongly(TENSOR_ISA_BASELINE, CONTIGUOUS, false);
}
Test(gemm_packed, a_result_by_columns_is_asserted, .signal = SIGABRT) {
    multiply_wrongly(TENSOR_ISA_PLAIN, REVERSED_AXES, false);
}
Test(gemm_packed, a_result_in_place_of_an_operand_is_asserted, .signal = SIGABRT) {
    multiply_wrongly(TENSOR_ISA_PLAIN, CONTIGUOUS, true);
}
