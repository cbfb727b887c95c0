/* Running sums, the k best, triangles and layer normalisation of tensor/kernels.h. */
#include "tests/tensor/kernels_check.h"

static const int64_t shapes[][3] = {{3, 4, 5}, {1, 37, 1}, {2, 9, 1100},
                                    {5, 1, 2}, {2, 0, 3},  {0, 2, 2}};

/* ---- running sums ---- */

static void expect_running_sums(TensorArena *arena, const Tensor *x, int axis, int layout) {
    Tensor y = layout_of(arena, x, layout), back = layout_of(arena, x, layout);
    tensor_cumsum(&y, x, axis, false);
    tensor_cumsum(&back, x, axis - 3, true);
    int64_t inner = 1, n = x->shape[axis];
    for (int d = axis + 1; d < 3; d++) {
        inner *= x->shape[d];
    }
    for (int64_t i = 0; i < tensor_numel(x); i++) {
        const int64_t at = i / inner % n;
        double sum = 0, rest = 0;
        for (int64_t k = 0; k <= at; k++) {
            sum += tensor_get(x, i - (at - k) * inner);
        }
        for (int64_t k = n - 1; k >= at; k--) {
            rest += tensor_get(x, i + (k - at) * inner);
        }
        if (x->dtype == TENSOR_F32) {
            sum = (double)(float)sum;
            rest = (double)(float)rest;
        }
        bool same = tensor_get(&y, i) == sum && tensor_get(&back, i) == rest;
        cr_expect(same, "%s axis %d at %d", isa_and_dtype(x->dtype), axis, (int)i);
    }
}

Test(kernels_order, running_sums_are_those_of_a_loop_in_double_bit_for_bit) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int s = 0; s < COUNT(shapes); s++) {
                Tensor x = random_tensor(arena, dtype, 3, shapes[s], -1, 2);
                for (int layout = 0; layout < LAYOUTS; layout++) {
                    Tensor view = laid_out(arena, &x, layout);
                    for (int axis = 0; axis < 3; axis++) {
                        expect_running_sums(arena, &view, axis, (layout + axis) % LAYOUTS);
                    }
                }
                tensor_arena_reset(arena);
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_order, a_scalar_has_one_line) {
    double x = 3, y = 0;
    int64_t index = 7;
    Tensor tx = tensor_wrap(&x, TENSOR_F64, 0, NULL), ty = tensor_wrap(&y, TENSOR_F64, 0, NULL);
    Tensor ti = tensor_wrap(&index, TENSOR_I64, 0, NULL);
    TensorArena *arena = tensor_arena_new();
    tensor_cumsum(&ty, &tx, -1, true);
    cr_expect(y == 3);
    y = 0;
    cr_expect(tensor_topk(&ty, &ti, &tx, 0, true, arena) && y == 3 && index == 0);
    tensor_softmax(&ty, &tx, 0);
    cr_expect(y == 1);
    tensor_arena_free(arena);
}

/* ---- topk ---- */

/* Does the element come before the other in the order asked for? */
static bool precedes(const Tensor *line, int64_t a, int64_t b, bool largest) {
    double u = tensor_get(line, a), v = tensor_get(line, b);
    int nan = isnan(u) - isnan(v), order = isnan(u) || isnan(v) ? nan : (u > v) - (u < v);
    return order ? (order > 0) == largest : a < b;
}

/* How many elements come before it is the place an element belongs to. */
static void expect_best(const Tensor *line, const Tensor *values, const Tensor *indices,
                        bool largest) {
    for (int64_t i = 0; i < tensor_numel(line); i++) {
        int64_t place = 0;
        for (int64_t j = 0; j < tensor_numel(line); j++) {
            place += precedes(line, j, i, largest);
        }
        if (place < tensor_numel(values)) {
            cr_expect_eq(tensor_get_i64(indices, place), i);
            cr_expect(is_same(tensor_get(values, place), tensor_get(line, i)));
        }
    }
}

static Tensor line_of(const Tensor *x, int64_t i) {
    Tensor row = tensor_select(x, 0, i / x->shape[2]);
    return tensor_select(&row, 1, i % x->shape[2]);
}

Test(kernels_order, the_best_come_sorted_the_first_of_equals_first_and_nan_as_largest) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_FLOAT(dtype) {
        for (int trial = 0; trial < 80; trial++) {
            const int64_t n = 1 + trial % 40, any = (int64_t)(random_bits() % 41) % (n + 1);
            const int64_t k = trial % 3 ? any : n;
            const int64_t shape[] = {2, n, 3}, best[] = {2, k, 3};
            Tensor x = random_tensor(arena, dtype, 3, shape, 0, trial % 2 ? 6 : 1000);
            for (int64_t i = 0; i < tensor_numel(&x); i++) { /* ties */
                tensor_set(&x, i, floor(tensor_get(&x, i)));
            }
            for (int i = 0; i < trial % 4; i++) {
                tensor_set(&x, (int64_t)(random_bits() % (uint64_t)tensor_numel(&x)), NAN);
            }
            Tensor view = laid_out(arena, &x, trial % LAYOUTS);
            Tensor like = fresh(arena, dtype, 3, best), at = fresh(arena, TENSOR_I64, 3, best);
            Tensor values = layout_of(arena, &like, (trial + 1) % LAYOUTS);
            Tensor indices = layout_of(arena, &at, (trial + 2) % LAYOUTS);
            cr_assert(tensor_topk(&values, &indices, &view, 1, trial % 5 < 3, arena));
            for (int64_t i = 0; i < 6; i++) {
                Tensor line = line_of(&x, i), v = line_of(&values, i), index = line_of(&indices, i);
                expect_best(&line, &v, &index, trial % 5 < 3);
            }
            tensor_arena_reset(arena);
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_order, the_best_fail_without_memory) {
    double x[100] = {0}, v[100];
    int64_t i[100], n = 100;
    Tensor tx = tensor_wrap(x, TENSOR_F64, 1, &n), tv = tensor_wrap(v, TENSOR_F64, 1, &n);
    Tensor ti = tensor_wrap(i, TENSOR_I64, 1, &n);
    TensorArena *arena = tensor_arena_new();
    tensor_arena_set_limit(arena, 64);
    cr_expect(!tensor_topk(&tv, &ti, &tx, 0, true, arena));
    tensor_arena_free(arena);
}

/* ---- triangles ---- */

Test(kernels_order, triangles_keep_one_side_of_a_diagonal) {
    static const int64_t diagonals[] = {0, 1, -1, 3, -4, 100, -100, INT64_MAX, INT64_MIN};
    TensorArena *arena = tensor_arena_new();
    for (int dtype = TENSOR_F32; dtype <= TENSOR_U8; dtype++) {
        for (int s = 0; s < COUNT(shapes); s++) {
            Tensor x = random_tensor(arena, (TensorDtype)dtype, 3, shapes[s], 1, 9);
            Tensor view = laid_out(arena, &x, s % LAYOUTS), y = fresh(arena, x.dtype, 3, x.shape);
            for (int c = 0; c < 2 * COUNT(diagonals); c++) {
                const int64_t diagonal = diagonals[c / 2];
                tensor_triangle(&y, &view, diagonal, c % 2);
                for (int64_t i = 0; i < tensor_numel(&x); i++) {
                    int64_t column = i % x.shape[2], row = i / x.shape[2] % x.shape[1];
                    bool kept = c % 2 ? column - row >= diagonal : column - row <= diagonal;
                    cr_expect_eq(tensor_get(&y, i), kept ? tensor_get(&x, i) : 0);
                }
            }
        }
        tensor_arena_reset(arena);
    }
    tensor_arena_free(arena);
}

/* ---- layer normalisation ---- */

typedef struct {
    long double mean, rstd;
} Row;

static Row row_of(const Tensor *x, int64_t i, double eps) {
    const int64_t n = x->shape[1];
    Row r = {0, 0};
    for (int64_t j = 0; j < n; j++) {
        r.mean += tensor_get(x, i * n + j) / (long double)n;
    }
    for (int64_t j = 0; j < n; j++) {
        r.rstd += powl(tensor_get(x, i * n + j) - r.mean, 2) / n;
    }
    r.rstd = 1 / sqrtl(r.rstd + eps);
    return r;
}

/* Values are of order 1; a few roundings of each. */
static void expect_near(const Tensor *y, int64_t i, long double want, double scale) {
    const double unit = y->dtype == TENSOR_F32 ? 0x1p-24 : 0x1p-53;
    cr_expect(fabsl(tensor_get(y, i) - want) <= 20 * unit * scale, "%s at %d: %.9g, not %.9Lg",
              isa_and_dtype(y->dtype), (int)i, tensor_get(y, i), want);
}

/* parts: bit 0 with weight and its gradient, bit 1 with bias and its gradient, bit 2 with dx. */
static void expect_layer_norm(TensorArena *arena, const Tensor *x, int parts, double eps) {
    const int64_t rows = x->shape[0], n = x->shape[1];
    Tensor w = random_tensor(arena, x->dtype, 1, &n, .5, 2);
    Tensor b = random_tensor(arena, x->dtype, 1, &n, -1, 1);
    Tensor g = random_tensor(arena, x->dtype, 2, x->shape, -1, 1);
    Tensor y = fresh(arena, x->dtype, 2, x->shape), dx = fresh(arena, x->dtype, 2, x->shape);
    Tensor stats = fresh(arena, TENSOR_F64, 2, (int64_t[]){rows, 2});
    Tensor dw = fresh(arena, TENSOR_F64, 1, &n), db = fresh(arena, TENSOR_F64, 1, &n);
    const Tensor *weight = parts & 1 ? &w : NULL, *bias = parts & 2 ? &b : NULL;
    tensor_layer_norm(&y, &stats, x, weight, bias, eps);
    tensor_layer_norm_backward(parts & 4 ? &dx : NULL, weight ? &dw : NULL, bias ? &db : NULL, &g,
                               x, &stats, weight);
    long double *want_dw = calloc((size_t)n + 1, sizeof *want_dw);
    long double *want_db = calloc((size_t)n + 1, sizeof *want_db);
    for (int64_t i = 0; i < rows; i++) {
        Row r = row_of(x, i, eps);
        long double mean_h = 0, mean_hz = 0;
        for (int64_t j = 0; j < n; j++) {
            long double z = (tensor_get(x, i * n + j) - r.mean) * r.rstd;
            long double gj = tensor_get(&g, i * n + j);
            long double scale = weight ? tensor_get(&w, j) : 1;
            long double shift = bias ? tensor_get(&b, j) : 0;
            expect_near(&y, i * n + j, z * scale + shift, 8);
            want_dw[j] += gj * z;
            want_db[j] += gj;
            mean_h += gj * scale / n;
            mean_hz += gj * scale * z / n;
        }
        for (int64_t j = 0; j < n && parts & 4; j++) {
            long double z = (tensor_get(x, i * n + j) - r.mean) * r.rstd;
            long double h = tensor_get(&g, i * n + j) * (weight ? tensor_get(&w, j) : 1);
            expect_near(&dx, i * n + j, r.rstd * (h - mean_h - z * mean_hz), 8 * (double)r.rstd);
        }
    }
    for (int64_t j = 0; j < n; j++) {
        long double unit = x->dtype == TENSOR_F32 ? 0x1p-24L : 0x1p-53L;
        cr_expect(!weight || fabsl(tensor_get(&dw, j) - want_dw[j]) <= 40 * unit * rows);
        cr_expect(!bias || fabsl(tensor_get(&db, j) - want_db[j]) <= 40 * 0x1p-53L * rows);
    }
    free(want_dw);
    free(want_db);
}

Test(kernels_order, layer_norm_and_its_gradients_agree_with_plain_loops) {
    static const int64_t sizes[][2] = {{3, 5}, {4, 37}, {2, 1300}, {5, 1}, {0, 3}};
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int s = 0; s < COUNT(sizes); s++) {
                for (int parts = 0; parts < 8; parts++) {
                    Tensor x = random_tensor(arena, dtype, 2, sizes[s], -2, 2);
                    expect_layer_norm(arena, &x, parts, 1e-2);
                    tensor_arena_reset(arena);
                }
            }
        }
    }
    tensor_arena_free(arena);
}

/* A mean of 10^6 rounded to a float is off by up to 1/32. */
Test(kernels_order, layer_norm_of_floats_far_from_zero_stays_accurate) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        Tensor x = fresh(arena, TENSOR_F32, 2, (int64_t[]){2, 45});
        for (int64_t i = 0; i < 90; i++) {
            tensor_set(&x, i, 1e6 + (double)(i * i % 7));
        }
        expect_layer_norm(arena, &x, 7, 1e-5);
        tensor_arena_reset(arena);
    }
    tensor_arena_free(arena);
}
