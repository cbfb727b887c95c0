/* Reductions, the softmax family and cross entropy of tensor/kernels.h. */
#include <signal.h>

#include "tests/tensor/kernels_check.h"

/* ---- reductions ---- */

/* Shapes that take every way through the reduction: long and short innermost axes,
 * more columns than one block holds, more rows than one part, sizes of 1 and 0. */
static const int64_t shapes[][4] = {{3, 4, 5, 6},    {2, 3, 1, 40},   {1, 7, 2, 3},  {5, 2, 70, 3},
                                    {4, 150, 1, 17}, {2, 1, 3, 1100}, {1, 1, 1, 1},  {2, 0, 3, 4},
                                    {0, 2, 2, 2},    {1, 300, 2, 2},  {1, 1, 1, 2000}};

static void reduced_shape(const int64_t *shape, int mask, int64_t *out) {
    for (int d = 0; d < 4; d++) {
        out[d] = mask >> d & 1 ? 1 : shape[d];
    }
}

/* Where element i of x goes in a contiguous y of this shape. */
static int64_t target_of(int64_t i, const int64_t *shape, const int64_t *reduced) {
    int64_t at = 0, step = 1;
    for (int d = 3; d >= 0; d--) {
        at += (reduced[d] == 1 ? 0 : i % shape[d]) * step;
        step *= reduced[d];
        i /= shape[d];
    }
    return at;
}

enum { LARGEST = 12000 };

static void expect_reduced(TensorArena *arena, const Tensor *x, int mask, int layout) {
    static long double sum[LARGEST], magnitude[LARGEST], max[LARGEST], min[LARGEST];
    int64_t shape[4];
    reduced_shape(x->shape, mask, shape);
    Tensor y = fresh(arena, x->dtype, 4, shape);
    const int64_t n = tensor_numel(&y);
    for (int64_t i = 0; i < n; i++) {
        sum[i] = magnitude[i] = 0;
        max[i] = -INFINITY;
        min[i] = INFINITY;
    }
    for (int64_t i = 0; i < tensor_numel(x); i++) {
        int64_t k = target_of(i, x->shape, shape);
        long double v = tensor_get(x, i);
        sum[k] += v;
        magnitude[k] += fabsl(v);
        max[k] = v > max[k] ? v : max[k];
        min[k] = v < min[k] ? v : min[k];
    }
    Tensor total = layout_of(arena, &y, layout), more = layout_of(arena, &y, layout);
    Tensor largest = layout_of(arena, &y, layout), smallest = layout_of(arena, &y, layout);
    tensor_fill(&more, 0.5);
    tensor_sum(&total, x);
    tensor_accumulate_sum(&more, x);
    tensor_amax(&largest, x);
    tensor_amin(&smallest, x);
    const long double unit = x->dtype == TENSOR_F32 ? 0x1p-24L : 0x1p-53L;
    for (int64_t i = 0; i < n; i++) {
        /* half a unit for the rounding to the dtype, little for the sum in double */
        long double slack = fabsl(sum[i]) * unit * 1.01L + magnitude[i] * 16 * 0x1p-53L;
        bool close = fabsl(tensor_get(&total, i) - sum[i]) <= slack &&
                     fabsl(tensor_get(&more, i) - (sum[i] + 0.5L)) <= slack + unit;
        cr_expect(close, "%s sum over axes %x at %d: %g, not %Lg", isa_and_dtype(x->dtype),
                  (unsigned)mask, (int)i, tensor_get(&total, i), sum[i]);
        cr_expect((long double)tensor_get(&largest, i) == max[i], "%s max over axes %x at %d",
                  isa_and_dtype(x->dtype), (unsigned)mask, (int)i);
        cr_expect((long double)tensor_get(&smallest, i) == min[i], "%s min over axes %x at %d",
                  isa_and_dtype(x->dtype), (unsigned)mask, (int)i);
    }
}

/* Products, variances and norms by plain loops. */
typedef struct {
    long double prod, sum, squares, abs_sum, power, abs_max, abs_min, nonzero;
} Moments;

static const double orders[] = {0, 1, 2, 3, -1.5, INFINITY, -INFINITY};

static long double norm_of(const Moments *m, double p, long double power) {
    if (isinf(p)) {
        return p > 0 ? m->abs_max : m->abs_min;
    }
    return p == 0 ? m->nonzero : powl(power, 1 / (long double)p);
}

static void expect_close(const Tensor *y, int64_t i, long double want, int units,
                         const char *what) {
    const long double unit = y->dtype == TENSOR_F32 ? 0x1p-24L : 0x1p-53L;
    const long double got = tensor_get(y, i);
    bool close = fabsl(got - want) <= fabsl(want) * units * (unit + 400 * 0x1p-53L);
    cr_expect(close || (isnan(got) && isnan(want)) || got == want, "%s %s at %d: %Lg, not %Lg",
              isa_and_dtype(y->dtype), what, (int)i, got, want);
}

/* x's values stay away from 0, and few of them meet in one product. */
static void expect_moments(TensorArena *arena, const Tensor *x, int mask, int layout) {
    static Moments m[LARGEST];
    int64_t shape[4];
    reduced_shape(x->shape, mask, shape);
    Tensor like = fresh(arena, x->dtype, 4, shape), y = layout_of(arena, &like, layout);
    const int64_t results = tensor_numel(&y), n = results ? tensor_numel(x) / results : 0;
    for (int64_t i = 0; i < results; i++) {
        m[i] = (Moments){.prod = 1, .abs_min = INFINITY};
    }
    for (int64_t i = 0; i < tensor_numel(x); i++) {
        Moments *k = &m[target_of(i, x->shape, shape)];
        long double v = tensor_get(x, i), a = fabsl(v);
        k->prod *= v;
        k->sum += v;
        k->abs_max = fmaxl(a, k->abs_max);
        k->abs_min = fminl(a, k->abs_min);
        k->nonzero += v != 0;
    }
    for (int64_t i = 0; i < tensor_numel(x); i++) {
        Moments *k = &m[target_of(i, x->shape, shape)];
        k->squares += powl(tensor_get(x, i) - k->sum / n, 2);
    }
    tensor_prod(&y, x);
    for (int64_t i = 0; i < results; i++) {
        expect_close(&y, i, m[i].prod, 1, "product");
    }
    for (int64_t correction = 0; correction < 2; correction++) {
        const long double divisor = n > correction ? n - correction : 0;
        tensor_var(&y, x, correction);
        for (int64_t i = 0; i < results; i++) {
            expect_close(&y, i, m[i].squares / divisor, 1, "variance");
        }
        tensor_std(&y, x, correction);
        for (int64_t i = 0; i < results; i++) {
            expect_close(&y, i, sqrtl(m[i].squares / divisor), 1, "deviation");
        }
    }
    for (int o = 0; o < COUNT(orders); o++) {
        const double p = orders[o];
        for (int64_t i = 0; i < results; i++) {
            m[i].power = 0;
        }
        for (int64_t i = 0; i < tensor_numel(x); i++) {
            m[target_of(i, x->shape, shape)].power += powl(fabsl(tensor_get(x, i)), p);
        }
        tensor_norm(&y, x, p);
        for (int64_t i = 0; i < results; i++) {
            /* of powers in the dtype itself, p = 3 and -1.5 */
            expect_close(&y, i, n ? norm_of(&m[i], p, m[i].power) : 0, 3, "norm");
        }
    }
}

Test(kernels_axes, moments_over_every_set_of_axes_agree_with_plain_loops, .timeout = 120) {
    static const int64_t small[][4] = {{3, 4, 5, 6}, {2, 1, 3, 20},  {1, 130, 2, 1}, {2, 3, 0, 2},
                                       {1, 1, 1, 1}, {2, 1, 1, 1100}};
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int s = 0; s < COUNT(small); s++) {
                Tensor x = random_tensor(arena, dtype, 4, small[s], .9, 1.1);
                for (int64_t i = 0; i < tensor_numel(&x); i += 3) {
                    tensor_set(&x, i, -tensor_get(&x, i));
                }
                for (int mask = 0; mask < 16; mask++) {
                    Tensor view = laid_out(arena, &x, mask % LAYOUTS);
                    expect_moments(arena, &view, mask, (mask + isa) % LAYOUTS);
                }
                tensor_arena_reset(arena);
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, norms_neither_overflow_nor_vanish) {
    const struct {
        TensorDtype dtype;
        double scale;
    } cases[] = {{TENSOR_F64, 1e300}, {TENSOR_F64, 1e-300}, {TENSOR_F64, 5e-324},
                 {TENSOR_F32, 1e38},  {TENSOR_F32, 1e-44},  {TENSOR_F64, 0x1p1021}};
    const double powers[] = {2, 3, 5, -1.5, 500, -500};
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        for (int c = 0; c < COUNT(cases); c++) {
            for (int o = 0; o < COUNT(powers); o++) {
                const double unit = cases[c].scale, p = powers[o];
                if (unit < 0x1p-1022 && fabs(p) > 100) {
                    continue; /* no one factor brings the least double near 1 */
                }
                Tensor x = vector_of(arena, cases[c].dtype, 2, (double[]){-1 * unit, unit});
                Tensor y = fresh(arena, cases[c].dtype, 1, (int64_t[]){1});
                tensor_norm(&y, &x, p);
                double one = tensor_get(&x, 1), want = one * pow(2, 1 / p);
                double least = cases[c].dtype == TENSOR_F32 ? 0x1p-149 : 0x1p-1074;
                cr_expect_leq(fabs(tensor_get(&y, 0) - want), want * 1e-7 + least, "%g: %g", want,
                              tensor_get(&y, 0));
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, norms_and_variances_pass_infinities_and_nan_on) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_FLOAT(dtype) {
        Tensor y = fresh(arena, dtype, 1, (int64_t[]){1});
        Tensor inf = vector_of(arena, dtype, 3, (double[]){1, -INFINITY, 2});
        Tensor nan = vector_of(arena, dtype, 3, (double[]){1, NAN, INFINITY});
        for (int o = 1; o < COUNT(orders); o++) {
            tensor_norm(&y, &nan, orders[o]);
            cr_expect(isnan(tensor_get(&y, 0)), "p = %g", orders[o]);
            tensor_norm(&y, &inf, orders[o]);
            cr_expect(orders[o] < 0 ? isfinite(tensor_get(&y, 0)) : tensor_get(&y, 0) == INFINITY);
        }
        tensor_var(&y, &inf, 0);
        cr_expect(isnan(tensor_get(&y, 0)));
        tensor_amin(&y, &nan);
        cr_expect(isnan(tensor_get(&y, 0)));
    }
    tensor_arena_free(arena);
}

/* Deviations of order 1 around a mean of 10^6: single sums of squares would lose them all. */
Test(kernels_axes, variances_far_from_zero_stay_accurate) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int way = 0; way < 2; way++) {
                Tensor x = fresh(arena, dtype, 2, (int64_t[]){way ? 1000 : 20, way ? 20 : 1000});
                Tensor y = fresh(arena, dtype, 2, (int64_t[]){way ? 1 : 20, way ? 20 : 1});
                for (int64_t i = 0; i < 20000; i++) {
                    int64_t place = way ? i / 20 : i % 1000;
                    tensor_set(&x, i, 1e6 + (double)(place % 2));
                }
                tensor_var(&y, &x, 0);
                for (int64_t i = 0; i < 20; i++) {
                    cr_expect_float_eq(tensor_get(&y, i), .25, 1e-9);
                }
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, reductions_over_every_set_of_axes_agree_with_plain_loops, .timeout = 120) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int s = 0; s < COUNT(shapes); s++) {
                Tensor x = random_tensor(arena, dtype, 4, shapes[s], -1, 2);
                for (int mask = 0; mask < 16; mask++) {
                    for (int layout = 0; layout < LAYOUTS; layout++) {
                        Tensor view = laid_out(arena, &x, layout);
                        expect_reduced(arena, &view, mask, (mask + layout) % LAYOUTS);
                    }
                }
                tensor_arena_reset(arena);
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, repeated_elements_are_added_as_often_as_they_stand) {
    TensorArena *arena = tensor_arena_new();
    const int64_t shape[] = {3, 50, 4, 20};
    FOR_EACH_ISA(isa) {
        Tensor x = random_tensor(arena, TENSOR_F64, 3, (int64_t[]){50, 1, 20}, -1, 2);
        Tensor view = tensor_expand(&x, 4, shape);
        for (int mask = 0; mask < 16; mask++) {
            expect_reduced(arena, &view, mask, CONTIGUOUS);
        }
        tensor_arena_reset(arena);
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, reductions_of_nothing_are_their_identities) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_FLOAT(dtype) {
        Tensor x = fresh(arena, dtype, 2, (int64_t[]){3, 0});
        Tensor y = fresh(arena, dtype, 2, (int64_t[]){3, 1});
        tensor_fill(&y, 7);
        tensor_accumulate_sum(&y, &x);
        cr_expect(tensor_get(&y, 2) == 7);
        tensor_sum(&y, &x);
        cr_expect(tensor_get(&y, 0) == 0 && tensor_get(&y, 2) == 0);
        tensor_amax(&y, &x);
        cr_expect(tensor_get(&y, 0) == -INFINITY);
        tensor_logsumexp(&y, &x, 1);
        cr_expect(tensor_get(&y, 0) == -INFINITY && tensor_get(&y, 2) == -INFINITY);
        tensor_softmax(&x, &x, 1);
        tensor_softmax(&x, &x, 0);
        tensor_log_softmax(&x, &x, 1);
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, a_scalar_is_its_own_sum_and_maximum) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_FLOAT(dtype) {
        Tensor x = fresh(arena, dtype, 0, NULL), y = fresh(arena, dtype, 0, NULL);
        tensor_fill(&x, 2.5);
        tensor_sum(&y, &x);
        cr_expect(tensor_get(&y, 0) == 2.5);
        tensor_accumulate_sum(&y, &x);
        cr_expect(tensor_get(&y, 0) == 5);
        tensor_amax(&y, &x);
        cr_expect(tensor_get(&y, 0) == 2.5);
    }
    tensor_arena_free(arena);
}

/* Rows of large numbers of both signs whose sum is small. */
Test(kernels_axes, sums_of_a_million_stay_accurate_under_cancellation) {
    enum { N = 1000000 };
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_FLOAT(dtype) {
        Tensor x = random_tensor(arena, dtype, 2, (int64_t[]){N, 1}, -1e4, 1e4);
        Tensor y = fresh(arena, dtype, 2, (int64_t[]){1, 1});
        Tensor wide = tensor_reshape(&x, 2, (int64_t[]){N / 50, 50});
        Tensor columns = fresh(arena, dtype, 2, (int64_t[]){1, 50});
        long double sum = 0, magnitude = 0;
        for (int64_t i = 0; i < N; i++) {
            sum += tensor_get(&x, i);
            magnitude += fabs(tensor_get(&x, i));
        }
        FOR_EACH_ISA(isa) {
            long double unit = dtype == TENSOR_F32 ? 0x1p-24L : 0x1p-53L;
            long double by_columns = 0, rounded = 0;
            long double slack = fabsl(sum) * unit * 1.01L + magnitude * 4 * 0x1p-53L;
            tensor_sum(&y, &x);
            long double error = fabsl(tensor_get(&y, 0) - sum);
            cr_expect(error <= slack, "%s: %Lg, allowed %Lg", isa_and_dtype(dtype), error, slack);
            tensor_sum(&columns, &wide);
            for (int64_t j = 0; j < 50; j++) {
                by_columns += tensor_get(&columns, j);
                rounded += fabs(tensor_get(&columns, j));
            }
            error = fabsl(by_columns - sum);
            slack = rounded * unit * 1.01L + magnitude * 4 * 0x1p-53L;
            cr_expect(error <= slack, "%s: %Lg, allowed %Lg", isa_and_dtype(dtype), error, slack);
        }
    }
    tensor_arena_free(arena);
}

/* Ten million equal terms that are no sum of powers of two: a plain loop in double
 * is off by 1.6e-4, and one in float by a factor. */
Test(kernels_axes, the_error_of_a_sum_does_not_grow_with_its_length) {
    const int64_t shape[] = {10000000, 1}, one[] = {1, 1}, rows[] = {10000000, 20};
    float f32 = 0.1f;
    double f64 = 0.1, total;
    Tensor single = tensor_wrap(&f32, TENSOR_F32, 2, one);
    Tensor element = tensor_wrap(&f64, TENSOR_F64, 2, one);
    Tensor y = tensor_wrap(&total, TENSOR_F64, 2, one);
    Tensor x = tensor_expand(&element, 2, shape);
    float total32;
    Tensor y32 = tensor_wrap(&total32, TENSOR_F32, 2, one), x32 = tensor_expand(&single, 2, shape);
    tensor_sum(&y, &x);
    tensor_sum(&y32, &x32);
    cr_expect_lt(fabsl(total - 1e7L * f64), 1e-9L, "%.17g", total);
    cr_expect(total32 == (float)(1e7L * (long double)f32), "%.9g", (double)total32);
    TensorArena *arena = tensor_arena_new();
    Tensor c = fresh(arena, TENSOR_F64, 2, (int64_t[]){1, 20});
    Tensor line = fresh(arena, TENSOR_F64, 2, c.shape);
    tensor_fill(&line, 0.1);
    Tensor many = tensor_expand(&line, 2, rows);
    tensor_sum(&c, &many);
    cr_expect_lt(fabsl(tensor_get(&c, 19) - 1e7L * f64), 1e-6L, "%.17g", tensor_get(&c, 19));
    tensor_arena_free(arena);
}

Test(kernels_axes, sums_have_the_same_bits_for_every_instruction_set) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_FLOAT(dtype) {
        Tensor x = random_tensor(arena, dtype, 3, (int64_t[]){37, 45, 61}, -1, 1);
        for (int mask = 1; mask < 8; mask++) {
            int64_t shape[3];
            for (int d = 0; d < 3; d++) {
                shape[d] = mask >> d & 1 ? 1 : x.shape[d];
            }
            Tensor want = fresh(arena, dtype, 3, shape), y = fresh(arena, dtype, 3, shape);
            cr_assert(tensor_isa_set(TENSOR_ISA_PLAIN));
            tensor_sum(&want, &x);
            FOR_EACH_ISA(isa) {
                tensor_sum(&y, &x);
                cr_expect_eq(first_difference(&y, &want), -1, "%s, axes %x", isa_and_dtype(dtype),
                             (unsigned)mask);
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, infinities_and_nan_pass_through_reductions) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int64_t n = 1; n < 300; n = n * 3 / 2 + 1) {
                for (int way = 0; way < 2; way++) { /* by runs, by columns */
                    int64_t shape[2] = {way ? n : 3, way ? 20 : n};
                    int64_t small[2] = {way ? 1 : 3, way ? 20 : 1};
                    Tensor x = random_tensor(arena, dtype, 2, shape, -2, -1);
                    Tensor y = fresh(arena, dtype, 2, small);
                    int64_t at = (int64_t)(random_bits() % (uint64_t)n);
                    int64_t flat = way ? at * 20 + 2 : 2 * n + at; /* in the result's element 2 */
                    tensor_set(&x, flat, INFINITY);
                    tensor_amax(&y, &x);
                    cr_expect(tensor_get(&y, 2) == INFINITY && tensor_get(&y, 1) < -1);
                    tensor_sum(&y, &x);
                    cr_expect(tensor_get(&y, 2) == INFINITY && isfinite(tensor_get(&y, 1)));
                    tensor_set(&x, flat, NAN);
                    tensor_amax(&y, &x);
                    cr_expect(isnan(tensor_get(&y, 2)) && tensor_get(&y, 1) < -1, "%s, NaN at %d",
                              isa_and_dtype(dtype), (int)at);
                    tensor_sum(&y, &x);
                    cr_expect(isnan(tensor_get(&y, 2)) && isfinite(tensor_get(&y, 1)));
                }
            }
            tensor_arena_reset(arena);
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, a_result_of_another_shape_is_caught, .signal = SIGABRT) {
    double memory[6] = {0};
    Tensor x = tensor_wrap(memory, TENSOR_F64, 1, (int64_t[]){4});
    Tensor y = tensor_wrap(memory, TENSOR_F64, 1, (int64_t[]){2});
    tensor_sum(&y, &x);
}

/* ---- argmax ---- */

static int64_t naive_argmax(const Tensor *line) {
    int64_t best = 0;
    for (int64_t i = 1; i < tensor_numel(line); i++) {
        double v = tensor_get(line, i), m = tensor_get(line, best);
        if (!isnan(m) && (v > m || isnan(v))) {
            best = i;
        }
    }
    return best;
}

Test(kernels_axes, argmax_finds_the_first_of_the_largest_and_takes_nan_as_largest) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int trial = 0; trial < 60; trial++) {
                const int64_t shape[] = {1 + trial % 5, 1 + trial, 3};
                Tensor x = random_tensor(arena, dtype, 3, shape, 0, 6);
                for (int64_t i = 0; i < tensor_numel(&x); i++) { /* many ties */
                    tensor_set(&x, i, floor(tensor_get(&x, i)));
                }
                if (trial % 3 == 0) {
                    tensor_set(&x, (int64_t)random_bits() & (tensor_numel(&x) - 1) & 15, NAN);
                }
                if (trial % 4 == 0) {
                    tensor_fill(&x, -INFINITY);
                }
                Tensor view = laid_out(arena, &x, trial % LAYOUTS);
                Tensor y = fresh(arena, TENSOR_I64, 3, (int64_t[]){shape[0], 1, 3});
                tensor_argmax(&y, &view, trial % 2 ? 1 : -2);
                for (int64_t i = 0; i < shape[0] * 3; i++) {
                    Tensor row = tensor_select(&x, 0, i / 3), line = tensor_select(&row, 1, i % 3);
                    cr_expect_eq(tensor_get_i64(&y, i), naive_argmax(&line), "%s trial %d",
                                 isa_and_dtype(dtype), trial);
                }
            }
            tensor_arena_reset(arena);
        }
    }
    tensor_arena_free(arena);
}

/* ---- the softmax family ---- */

typedef struct {
    long double max, sum; /* of exp(x - max) */
    long double moment;   /* sum of exp(x - max) (max - x + 2), without the maximum itself */
} Line;

static Line line_of(const Tensor *line) {
    Line l = {.max = -INFINITY};
    for (int64_t i = 0; i < tensor_numel(line); i++) {
        l.max = fmaxl(l.max, tensor_get(line, i));
    }
    for (int64_t i = 0; i < tensor_numel(line); i++) {
        const long double d = tensor_get(line, i) - l.max;
        l.sum += expl(d);
        l.moment += d < 0 ? expl(d) * (2 - d) : 0;
    }
    return l;
}

/* How far log sum may be off: the sum and its logarithm are in double; x - max and
 * exp are rounded to the dtype, but for the maximum's own term, which is 1. */
static long double slack_of_log_sum(const Line *l, long double unit) {
    return 4 * 0x1p-53L * (1 + logl(l->sum)) + l->moment / l->sum * unit;
}

/* x [A, n, B] along its middle axis. */
static void expect_softmax_family(TensorArena *arena, const Tensor *x, int layout) {
    const long double unit = x->dtype == TENSOR_F32 ? 0x1p-24L : 0x1p-53L;
    const int64_t outer = x->shape[0], inner = x->shape[2];
    Tensor soft = layout_of(arena, x, layout), log_soft = layout_of(arena, x, layout);
    Tensor lse = fresh(arena, x->dtype, 3, (int64_t[]){outer, 1, inner});
    tensor_softmax(&soft, x, 1);
    tensor_log_softmax(&log_soft, x, -2);
    tensor_logsumexp(&lse, x, 1);
    for (int64_t i = 0; i < outer * inner; i++) {
        const Tensor *t[] = {x, &soft, &log_soft};
        Tensor line[3];
        for (int k = 0; k < 3; k++) {
            Tensor row = tensor_select(t[k], 0, i / inner);
            line[k] = tensor_select(&row, 1, i % inner);
        }
        Line l = line_of(&line[0]);
        long double want_lse = l.max + logl(l.sum);
        const long double log_slack = slack_of_log_sum(&l, unit);
        cr_expect(fabsl(tensor_get(&lse, i) - want_lse) <=
                      log_slack + fabsl(want_lse) * unit * 1.01L,
                  "%s logsumexp %g, not %Lg", isa_and_dtype(x->dtype), tensor_get(&lse, i),
                  want_lse);
        for (int64_t j = 0; j < x->shape[1]; j++) {
            long double d = tensor_get(&line[0], j) - l.max;
            long double want = expl(d) / l.sum, want_log = d - logl(l.sum);
            double got = tensor_get(&line[1], j), got_log = tensor_get(&line[2], j);
            /* x - m, exp and the quotient are rounded */
            cr_expect(fabsl(got - want) <= want * (6 - d) * unit + 0x1p-149L,
                      "%s softmax %g, not %Lg", isa_and_dtype(x->dtype), got, want);
            cr_expect(fabsl(got_log - want_log) <=
                          (2 * fabsl(want_log) + 2 * fabsl(d) + logl(l.sum)) * unit + 2 * log_slack,
                      "%s log_softmax %g, not %Lg", isa_and_dtype(x->dtype), got_log, want_log);
        }
    }
}

Test(kernels_axes, the_softmax_family_agrees_with_its_definition) {
    const int64_t shapes3[][3] = {{3, 1, 2}, {2, 5, 1}, {1, 28, 3}, {4, 70, 1}, {1, 1100, 2}};
    const double range[] = {1, 30, 100, 1000};
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int s = 0; s < COUNT(shapes3); s++) {
                for (int r = 0; r < COUNT(range); r++) {
                    Tensor x = random_tensor(arena, dtype, 3, shapes3[s], -range[r], range[r]);
                    Tensor view = laid_out(arena, &x, (s + r) % LAYOUTS);
                    expect_softmax_family(arena, &view, r % LAYOUTS);
                }
                tensor_arena_reset(arena);
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, softmax_works_in_place) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int axis = 0; axis < 2; axis++) {
                Tensor x = random_tensor(arena, dtype, 2, (int64_t[]){19, 600}, -5, 5);
                Tensor y = fresh(arena, dtype, 2, x.shape), z = fresh(arena, dtype, 2, x.shape);
                Tensor same = laid_out(arena, &x, CONTIGUOUS);
                tensor_softmax(&y, &x, axis);
                tensor_softmax(&same, &same, axis);
                cr_expect_eq(first_difference(&same, &y), -1, "%s", isa_and_dtype(dtype));
                tensor_log_softmax(&z, &x, axis);
                tensor_log_softmax(&x, &x, axis);
                cr_expect_eq(first_difference(&x, &z), -1, "%s", isa_and_dtype(dtype));
            }
            tensor_arena_reset(arena);
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, softmax_survives_extremes) {
    const double inf = INFINITY, big = 3e38;
    const struct {
        double x[4], soft[4], log_soft[4], lse;
    } cases[] = {
        {{big, 0, -big, big}, {0.5, 0, 0, 0.5}, {-0.69314718, -big, -inf, -0.69314718}, big},
        {{-inf, 0, 0, -inf}, {0, 0.5, 0.5, 0}, {-inf, -0.69314718, -0.69314718, -inf}, 0.69314718},
        {{-inf, -inf, -inf, -inf}, {NAN, NAN, NAN, NAN}, {NAN, NAN, NAN, NAN}, -inf},
        {{inf, 0, 1, 2}, {NAN, NAN, NAN, NAN}, {NAN, NAN, NAN, NAN}, inf},
        {{NAN, 0, 1, 2}, {NAN, NAN, NAN, NAN}, {NAN, NAN, NAN, NAN}, NAN},
        {{-1e4, -1e4, -1e4, -1e4}, {.25, .25, .25, .25}, {-1.3862944, -1.3862944, -1.3862944,
         -1.3862944}, -9998.6137},
    };
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int c = 0; c < COUNT(cases); c++) {
                Tensor x = vector_of(arena, dtype, 4, cases[c].x);
                Tensor y = fresh(arena, dtype, 1, x.shape), z = fresh(arena, dtype, 1, x.shape);
                Tensor lse = fresh(arena, dtype, 1, (int64_t[]){1});
                tensor_softmax(&y, &x, 0);
                tensor_log_softmax(&z, &x, 0);
                tensor_logsumexp(&lse, &x, 0);
                const Tensor *got[] = {&y, &z};
                const double *want[] = {cases[c].soft, cases[c].log_soft};
                for (int k = 0; k < 8; k++) {
                    double g = tensor_get(got[k / 4], k % 4), w = want[k / 4][k % 4];
                    /* -2 big is -infinity for F32 alone */
                    bool beyond = w == -inf && dtype == TENSOR_F64 && c == 0 && g <= -6e38;
                    cr_expect(is_same(g, w) || beyond || fabs(g - w) <= 1e-6 * fabs(w),
                              "%s case %d at %d: %g, not %g", isa_and_dtype(dtype), c, k, g, w);
                }
                double g = tensor_get(&lse, 0), w = cases[c].lse;
                cr_expect(is_same(g, w) || fabs(g - w) <= 1e-6 * fabs(w), "%s case %d: %g",
                          isa_and_dtype(dtype), c, g);
            }
        }
    }
    tensor_arena_free(arena);
}

/* ---- cross entropy ---- */

enum { N = 9, V = 75, IGNORE = -100 };

static void expect_cross_entropy(TensorArena *arena, const Tensor *x, const Tensor *target,
                                 double smoothing, const Tensor *scale) {
    const long double unit = x->dtype == TENSOR_F32 ? 0x1p-24L : 0x1p-53L;
    const int64_t n = N;
    Tensor loss = fresh(arena, x->dtype, 1, &n);
    Tensor lse = fresh(arena, TENSOR_F64, 2, (int64_t[]){n, 2});
    Tensor dx = layout_of(arena, x, REVERSED_AXES);
    tensor_fill(&dx, NAN);
    tensor_cross_entropy(&loss, &lse, x, target, IGNORE, smoothing);
    tensor_cross_entropy_backward(&dx, x, &lse, target, IGNORE, smoothing, scale);
    for (int64_t i = 0; i < N; i++) {
        Tensor row = tensor_select(x, 0, i), d = tensor_select(&dx, 0, i);
        const int64_t t = tensor_get_i64(target, i);
        Line l = line_of(&row);
        long double want_lse = l.max + logl(l.sum);
        long double want = t == IGNORE ? 0 : l.max + logl(l.sum);
        for (int64_t v = 0; v < V && t != IGNORE; v++)
            want -= ((v == t) * (1 - smoothing) + smoothing / V) * tensor_get(&row, v);
        long double got_lse = (long double)tensor_get(&lse, 2 * i) + tensor_get(&lse, 2 * i + 1);
        cr_expect(fabsl(got_lse - want_lse) <= 2 * unit * (fabsl(want_lse) + 1));
        cr_expect(fabsl(tensor_get(&loss, i) - want) <= 4 * unit * want + 16 * 0x1p-53L,
                  "%s loss %g, not %Lg", isa_and_dtype(x->dtype), tensor_get(&loss, i), want);
        for (int64_t v = 0; v < V; v++) {
            long double p = expl(tensor_get(&row, v) - want_lse);
            long double q = (v == t) * (1 - smoothing) + smoothing / V;
            long double g = t == IGNORE ? 0 : tensor_get(scale, i) * (p - q);
            long double slack = (8 + fabsl(tensor_get(&row, v) - l.max)) * 8 * unit *
                                fabsl(tensor_get(scale, i));
            slack = slack * p + 2 * unit * fabsl(g);
            if (smoothing > 0) slack += 2 * unit * tensor_get(scale, i) * (p + q);
            cr_expect(fabsl(tensor_get(&d, v) - g) <= slack, "%s d %g, not %Lg",
                      isa_and_dtype(x->dtype), tensor_get(&d, v), g);
        }
    }
}

Test(kernels_axes, cross_entropy_and_its_gradient_agree_with_their_definitions) {
    TensorArena *arena = tensor_arena_new();
    const int64_t n = N;
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int layout = 0; layout < LAYOUTS; layout++) {
                Tensor x = random_tensor(arena, dtype, 2, (int64_t[]){N, V}, -6, 6);
                Tensor target = random_tensor(arena, TENSOR_I64, 1, &n, 0, V);
                Tensor scale = random_tensor(arena, dtype, 1, &n, 0.1, 2);
                Tensor one = tensor_narrow(&scale, 0, 0, 1), all = tensor_expand(&one, 1, &n);
                tensor_set(&target, 2, IGNORE);
                tensor_set(&target, 7, IGNORE);
                tensor_set(&x, 4 * V + 11, 30); /* a target that is certain */
                tensor_set(&target, 4, 11);
                Tensor view = laid_out(arena, &x, layout);
                Tensor strided = laid_out(arena, &target, layout);
                for (int smoothed = 0; smoothed < 2; smoothed++) {
                    expect_cross_entropy(arena, &view, &strided, .25 * smoothed, &scale);
                    expect_cross_entropy(arena, &view, &strided, .25 * smoothed, &all);
                }
            }
            tensor_arena_reset(arena);
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, the_gradient_of_cross_entropy_may_take_the_place_of_the_logits) {
    TensorArena *arena = tensor_arena_new();
    const int64_t n = N;
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            Tensor x = random_tensor(arena, dtype, 2, (int64_t[]){N, V}, -6, 6);
            Tensor target = random_tensor(arena, TENSOR_I64, 1, &n, 0, V);
            Tensor loss = fresh(arena, dtype, 1, &n);
            Tensor lse = fresh(arena, TENSOR_F64, 2, (int64_t[]){n, 2});
            Tensor dx = fresh(arena, dtype, 2, x.shape);
            tensor_cross_entropy(&loss, &lse, &x, &target, IGNORE, 0);
            tensor_cross_entropy_backward(&dx, &x, &lse, &target, IGNORE, .125, &loss);
            tensor_cross_entropy_backward(&x, &x, &lse, &target, IGNORE, .125, &loss);
            cr_expect_eq(first_difference(&x, &dx), -1, "%s", isa_and_dtype(dtype));
        }
        tensor_arena_reset(arena);
    }
    tensor_arena_free(arena);
}

/* With several chunks and a tail; rows of x and bias are what the others get as their sum. */
static void expect_in_place(TensorArena *arena, TensorDtype dtype, bool with_bias,
                            double smoothing) {
    const int64_t n = N, wide = 1100, shape[] = {n, wide};
    Tensor x = random_tensor(arena, dtype, 2, shape, -6, 6);
    Tensor bias = random_tensor(arena, dtype, 1, &wide, -2, 2);
    Tensor target = random_tensor(arena, TENSOR_I64, 1, &n, 0, (double)wide);
    Tensor logits = fresh(arena, dtype, 2, shape), dx = fresh(arena, dtype, 2, shape);
    Tensor want = fresh(arena, dtype, 1, &n), loss = fresh(arena, dtype, 1, &n);
    Tensor one = fresh(arena, dtype, 1, &n), lse = fresh(arena, TENSOR_F64, 2, (int64_t[]){n, 2});
    tensor_set(&target, 2, IGNORE);
    tensor_set(&x, 4 * wide + 11, -INFINITY);
    tensor_set(&x, 5 * wide + 12, 1e4);
    tensor_set(&x, 6 * wide + 13, INFINITY);
    tensor_set(&x, 7 * wide + 14, NAN);
    tensor_fill(&one, 1);
    if (with_bias) tensor_binary(TENSOR_ADD, &logits, &x, &bias);
    else tensor_convert(&logits, &x);
    Tensor again = fresh(arena, dtype, 2, shape);
    tensor_convert(&again, &x);
    tensor_cross_entropy(&want, &lse, &logits, &target, IGNORE, smoothing);
    tensor_cross_entropy_backward(&dx, &logits, &lse, &target, IGNORE, smoothing, &one);
    const Tensor *b = with_bias ? &bias : NULL;
    tensor_cross_entropy_in_place(&loss, &x, b, &target, IGNORE, smoothing, true);
    cr_expect_eq(first_difference(&loss, &want), -1, "%s loss", isa_and_dtype(dtype));
    cr_expect_eq(first_difference(&x, &dx), -1, "%s gradient", isa_and_dtype(dtype));
    tensor_fill(&loss, 7);
    tensor_cross_entropy_in_place(&loss, &again, b, &target, IGNORE, smoothing, false);
    cr_expect_eq(first_difference(&loss, &want), -1, "%s loss alone", isa_and_dtype(dtype));
}

Test(kernels_axes, cross_entropy_in_place_has_the_bits_of_loss_and_gradient) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int k = 0; k < 4; k++) expect_in_place(arena, dtype, k % 2, k / 2 * .25);
        }
        tensor_arena_reset(arena);
    }
    tensor_arena_free(arena);
}

/* The loss of a target far ahead is about exp(-gap), far below the unit of the logits. */
Test(kernels_axes, the_loss_of_a_nearly_certain_target_keeps_its_digits) {
    const double logits[] = {1000, 980};
    const int64_t zero = 0, one = 1, shape[] = {1, 2};
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            Tensor v = vector_of(arena, dtype, 2, logits), x = tensor_reshape(&v, 2, shape);
            Tensor target = fresh(arena, TENSOR_I64, 1, &one);
            Tensor loss = fresh(arena, dtype, 1, &one);
            Tensor lse = fresh(arena, TENSOR_F64, 2, (int64_t[]){1, 2});
            tensor_fill(&target, (double)zero);
            tensor_cross_entropy(&loss, &lse, &x, &target, IGNORE, 0);
            cr_expect_float_eq(tensor_get(&loss, 0) / log1p(exp(-20.0)), 1, 1e-6, "%s: %g",
                               isa_and_dtype(dtype), tensor_get(&loss, 0));
        }
    }
    tensor_arena_free(arena);
}

/* A common offset of the logits changes nothing, however large against their unit. */
Test(kernels_axes, the_gradient_survives_large_logits) {
    const int64_t one = 1, shape[] = {1, 2};
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (double offset = 1; offset <= 1e7; offset *= 10) {
                const double logits[] = {offset, offset + 1};
                Tensor v = vector_of(arena, dtype, 2, logits), x = tensor_reshape(&v, 2, shape);
                Tensor target = fresh(arena, TENSOR_I64, 1, &one);
                Tensor dx = fresh(arena, dtype, 2, shape);
                Tensor loss = fresh(arena, dtype, 1, &one), scale = fresh(arena, dtype, 1, &one);
                Tensor lse = fresh(arena, TENSOR_F64, 2, (int64_t[]){1, 2});
                tensor_fill(&target, 0);
                tensor_fill(&scale, 1);
                tensor_cross_entropy(&loss, &lse, &x, &target, IGNORE, 0);
                tensor_cross_entropy_backward(&dx, &x, &lse, &target, IGNORE, 0, &scale);
                cr_expect_float_eq(tensor_get(&dx, 1), 1 / (1 + exp(-1.0)), 1e-6, "%s %g: %g",
                                   isa_and_dtype(dtype), offset, tensor_get(&dx, 1));
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, a_mean_is_divided_before_it_is_rounded) {
    float x[100], y;
    for (int i = 0; i < 100; i++) x[i] = 1e37f;
    Tensor tx = tensor_wrap(x, TENSOR_F32, 1, (int64_t[]){100});
    Tensor ty = tensor_wrap(&y, TENSOR_F32, 1, (int64_t[]){1}), none = tensor_narrow(&tx, 0, 0, 0);
    tensor_mean(&ty, &tx);
    cr_expect_eq(y, 1e37f);
    tensor_mean(&ty, &none);
    cr_expect(isnan(y));
}

Test(kernels_axes, an_ignored_row_gives_zeros_whatever_it_holds) {
    const int64_t shape[] = {2, 40}, two = 2;
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_FLOAT(dtype) {
        Tensor x = random_tensor(arena, dtype, 2, shape, -1, 1), row = tensor_select(&x, 0, 1);
        Tensor target = fresh(arena, TENSOR_I64, 1, &two), dx = fresh(arena, dtype, 2, shape);
        Tensor loss = fresh(arena, dtype, 1, &two);
        Tensor lse = fresh(arena, TENSOR_F64, 2, (int64_t[]){2, 2});
        tensor_fill(&row, NAN);
        tensor_fill(&target, 3);
        tensor_set(&target, 1, IGNORE);
        tensor_cross_entropy(&loss, &lse, &x, &target, IGNORE, 0);
        tensor_cross_entropy_backward(&dx, &x, &lse, &target, IGNORE, .125, &loss);
        cr_expect(tensor_get(&loss, 1) == 0 && tensor_get(&loss, 0) > 0);
        for (int64_t v = 0; v < 40; v++) {
            cr_expect(tensor_get(&dx, 40 + v) == 0 && tensor_get(&dx, v) != 0);
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_axes, a_target_outside_the_vocabulary_is_caught, .signal = SIGABRT) {
    double x[3] = {0}, loss[1], lse[2];
    int64_t target[1] = {3}, one = 1;
    Tensor tx = tensor_wrap(x, TENSOR_F64, 2, (int64_t[]){1, 3});
    Tensor tl = tensor_wrap(loss, TENSOR_F64, 1, &one);
    Tensor ts = tensor_wrap(lse, TENSOR_F64, 2, (int64_t[]){1, 2});
    Tensor tt = tensor_wrap(target, TENSOR_I64, 1, &one);
    tensor_cross_entropy(&tl, &ts, &tx, &tt, -1, 0);
}
