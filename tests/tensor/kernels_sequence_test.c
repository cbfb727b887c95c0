/* The linear recurrence and the depthwise convolution of tensor/kernels.h. */
#include "tests/tensor/kernels_check.h"

static double rounded(TensorDtype dtype, double x) {
    return dtype == TENSOR_F32 ? (double)(float)x : x;
}

/* The element of x, which broadcasts to y, at y's flat index. */
static double broadcast(const Tensor *x, const Tensor *y, int64_t index) {
    Tensor all = tensor_expand(x, y->ndim, y->shape);
    return tensor_get(&all, index);
}

/* ---- the linear recurrence ---- */

static void expect_scan(const Tensor *y, const Tensor *a, const Tensor *b, const Tensor *h0,
                        bool reverse) {
    const int64_t T = y->shape[0];
    tensor_linear_scan(y, a, b, h0, reverse);
    if (tensor_numel(y) == 0) {
        return;
    }
    const int64_t n = tensor_numel(y) / T;
    Tensor row = tensor_select(y, 0, 0);
    for (int64_t j = 0; j < n; j++) {
        double h = h0 != NULL ? broadcast(h0, &row, j) : 0;
        for (int64_t s = 0; s < T; s++) {
            const int64_t at = (reverse ? T - 1 - s : s) * n + j;
            h = rounded(y->dtype, rounded(y->dtype, broadcast(a, y, at) * h) +
                                      broadcast(b, y, at));
            cr_expect(is_same(tensor_get(y, at), h), "%s at %d of %d: %g, wants %g",
                      isa_and_dtype(y->dtype), (int)at, (int)n, tensor_get(y, at), h);
        }
    }
}

Test(kernels_sequence, the_linear_recurrence_is_that_of_a_loop_bit_for_bit) {
    static const int64_t shapes[][3] = {{5, 2, 3}, {1, 2, 2},  {35, 3, 4}, {3, 2, 37},
                                        {0, 2, 3}, {40, 1, 1}, {4, 0, 2},  {17, 5, 1}};
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int i = 0; i < COUNT(shapes) * LAYOUTS * 4; i++) {
                const int64_t *shape = shapes[i / 4 / LAYOUTS];
                const int layout = i / 4 % LAYOUTS, kind = i % 4;
                const int64_t row[] = {shape[2]}, once[] = {1, shape[1], 1};
                Tensor a = kind == 1   ? random_tensor(arena, dtype, 1, row, -1, 1)
                           : kind == 2 ? random_tensor(arena, dtype, 3, once, -1, 1)
                                       : random_tensor(arena, dtype, 3, shape, -1, 1);
                Tensor b = kind == 3 ? random_tensor(arena, dtype, 0, NULL, -1, 1)
                                     : random_tensor(arena, dtype, 3, shape, -1, 1);
                Tensor h0 = kind == 2 ? random_tensor(arena, dtype, 1, row, -1, 1)
                                      : random_tensor(arena, dtype, 2, shape + 1, -1, 1);
                Tensor y = fresh(arena, dtype, 3, shape), to = layout_of(arena, &y, layout);
                a = laid_out(arena, &a, layout);
                b = laid_out(arena, &b, (layout + 1) % LAYOUTS);
                h0 = laid_out(arena, &h0, (layout + 2) % LAYOUTS);
                expect_scan(&to, &a, &b, kind == 1 ? NULL : &h0, false);
                expect_scan(&to, &a, &b, kind == 3 ? NULL : &h0, true);
                tensor_arena_reset(arena);
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_sequence, the_linear_recurrence_of_a_vector_needs_no_columns) {
    double a[] = {2, 3, -1}, b[] = {1, 0, 5}, h0 = 10, y[3];
    Tensor ta = tensor_wrap(a, TENSOR_F64, 1, (int64_t[]){3}), tb = ta, ty = ta;
    Tensor th = tensor_wrap(&h0, TENSOR_F64, 0, NULL);
    tb.data = b;
    ty.data = y;
    tensor_linear_scan(&ty, &ta, &tb, &th, false);
    cr_expect(y[0] == 21 && y[1] == 63 && y[2] == -58);
    tensor_linear_scan(&ty, &ta, &tb, &th, true);
    cr_expect(y[2] == -5 && y[1] == -15 && y[0] == -29);
    tensor_linear_scan(&ty, &ta, &tb, NULL, false);
    cr_expect(y[0] == 1 && y[1] == 3 && y[2] == 2);
}

/* ---- depthwise convolution ---- */

enum { T, B, N, WIDTH, DILATION };
static const int64_t convolutions[][5] = {{5, 2, 3, 3, 1},  {9, 3, 70, 4, 2}, {2, 2, 3, 5, 1},
                                          {7, 1, 16, 2, 3}, {3, 2, 1, 1, 9},  {0, 2, 3, 2, 1},
                                          {3, 0, 2, 2, 1},  {40, 1, 5, 3, 1}};

static double at3(const Tensor *x, int64_t t, int64_t b, int64_t j) {
    return tensor_get(x, (t * x->shape[1] + b) * x->shape[2] + j);
}

static void expect_depthwise(const Tensor *y, const Tensor *x, const Tensor *w,
                             const Tensor *bias, TensorDepthwise o, const Tensor *before) {
    const int64_t steps = y->shape[0], n = y->shape[2], width = w->shape[0];
    tensor_convert(y, before);
    tensor_depthwise(y, x, w, bias, &o);
    for (int64_t i = 0; i < tensor_numel(y); i++) {
        const int64_t j = i % n, b = i / n % y->shape[1], t = i / n / y->shape[1];
        double sum = o.accumulate ? tensor_get(before, i) : bias ? tensor_get(bias, j) : 0;
        for (int64_t k = 0; k < width; k++) {
            const int64_t s = (width - 1 - k) * o.dilation, from = o.ahead ? t + s : t - s;
            if (from >= 0 && from < steps) {
                double product = tensor_get(w, k * n + j) * at3(x, from, b, j);
                sum = rounded(y->dtype, sum + rounded(y->dtype, product));
            }
        }
        cr_expect(is_same(tensor_get(y, i), sum), "%s at %d", isa_and_dtype(y->dtype), (int)i);
    }
}

Test(kernels_sequence, the_depthwise_convolution_is_that_of_a_loop_bit_for_bit) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int i = 0; i < COUNT(convolutions) * LAYOUTS; i++) {
                const int64_t *c = convolutions[i / LAYOUTS];
                const int layout = i % LAYOUTS;
                Tensor x = random_tensor(arena, dtype, 3, c, -1, 1);
                Tensor w = random_tensor(arena, dtype, 2, (int64_t[]){c[WIDTH], c[N]}, -1, 1);
                Tensor bias = random_tensor(arena, dtype, 1, &c[N], -1, 1);
                Tensor before = random_tensor(arena, dtype, 3, c, -1, 1);
                Tensor y = layout_of(arena, &x, (layout + 1) % LAYOUTS);
                x = laid_out(arena, &x, layout);
                w = laid_out(arena, &w, (layout + 2) % LAYOUTS);
                bias = laid_out(arena, &bias, (layout + 3) % LAYOUTS);
                for (int ahead = 0; ahead < 2; ahead++) {
                    TensorDepthwise o = {c[DILATION], ahead, false};
                    expect_depthwise(&y, &x, &w, &bias, o, &before);
                    expect_depthwise(&y, &x, &w, NULL, o, &before);
                    o.accumulate = true;
                    expect_depthwise(&y, &x, &w, NULL, o, &before);
                }
                tensor_arena_reset(arena);
            }
        }
    }
    tensor_arena_free(arena);
}

static void expect_weight(const Tensor *dw, const Tensor *x, const Tensor *g, int64_t dilation) {
    const int64_t width = dw->shape[0], n = dw->shape[1];
    tensor_fill(dw, NAN);
    tensor_depthwise_weight(dw, x, g, dilation);
    for (int64_t i = 0; i < width * n; i++) {
        const int64_t s = (width - 1 - i / n) * dilation;
        double sum = 0;
        for (int64_t t = s; t < g->shape[0]; t++) {
            for (int64_t b = 0; b < g->shape[1]; b++) {
                sum += at3(g, t, b, i % n) * at3(x, t - s, b, i % n);
            }
        }
        cr_expect_float_eq(tensor_get(dw, i), sum, 1e-13, "%s at %d", isa_and_dtype(x->dtype),
                           (int)i);
    }
}

Test(kernels_sequence, the_gradient_of_the_depthwise_weight_is_that_of_a_loop_in_double) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int i = 0; i < COUNT(convolutions) * LAYOUTS; i++) {
                const int64_t *c = convolutions[i / LAYOUTS];
                Tensor x = random_tensor(arena, dtype, 3, c, -1, 1);
                Tensor g = random_tensor(arena, dtype, 3, c, -1, 1);
                Tensor dw = fresh(arena, TENSOR_F64, 2, (int64_t[]){c[WIDTH], c[N]});
                x = laid_out(arena, &x, i % LAYOUTS);
                g = laid_out(arena, &g, i / 2 % LAYOUTS);
                expect_weight(&dw, &x, &g, c[DILATION]);
                tensor_arena_reset(arena);
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_sequence, a_depthwise_convolution_of_more_columns_than_a_block_is_right) {
    TensorArena *arena = tensor_arena_new();
    const int64_t shape[] = {3, 1, 1500};
    Tensor x = random_tensor(arena, TENSOR_F32, 3, shape, -1, 1);
    Tensor g = random_tensor(arena, TENSOR_F32, 3, shape, -1, 1);
    Tensor dw = fresh(arena, TENSOR_F64, 2, (int64_t[]){2, 1500});
    expect_weight(&dw, &x, &g, 1);
    tensor_arena_free(arena);
}
