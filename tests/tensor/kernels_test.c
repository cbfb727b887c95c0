#include "tensor/kernels.h"

#include <signal.h>

#include "tests/tensor/kernels_check.h"

static const struct {
    int ndim;
    int64_t shape[4];
} shapes[] = {{0, {0}},       {1, {0}},         {1, {1}},       {1, {7}},       {1, {65}},
              {1, {1100}},    {2, {3, 5}},      {2, {0, 4}},    {2, {4, 1}},    {2, {1, 9}},
              {2, {33, 17}},  {2, {300, 3}},    {2, {40, 150}}, {3, {2, 3, 4}}, {3, {5, 1, 70}},
              {3, {1, 20, 1}}, {4, {3, 2, 4, 5}}};

static const double special[] = {0.0,  -0.0,  1,     -1,    0.5,    -2.5,  3,         100,
                                 1e-3, -1e30, 1e-40, 5e-324, -1e-310, 3e38, INFINITY, -INFINITY,
                                 NAN};

/* ---- every function against the C expression ---- */

/* In the dtype's own arithmetic; NaN for the functions of vector mathematics. */
static double unary_exact(TensorUnary f, TensorDtype dtype, double x) {
    float s = (float)x;
    bool single = dtype == TENSOR_F32;
    switch (f) {
    case TENSOR_NEG:
        return -x;
    case TENSOR_SQRT:
        return single ? (double)sqrtf(s) : sqrt(x);
    case TENSOR_SQUARE:
        return single ? (double)(s * s) : x * x;
    case TENSOR_RECIPROCAL:
        return single ? (double)(1 / s) : 1 / x;
    case TENSOR_RELU:
        return isnan(x) || x > 0 ? x : 0;
    case TENSOR_ABS:
        return fabs(x);
    default:
        return isnan(x) ? x : (x > 0) - (x < 0);
    }
}

static long double sigmoidl(long double x) {
    return 1 / (1 + expl(-x));
}

static long double rsqrtl(long double x) {
    return 1 / sqrtl(x);
}

/* The functions of vector mathematics and others that are not exact, with their bounds in ULP
 * (those of vmath.h, but libm's are wider). */
static const struct {
    long double (*exact)(long double);
    double bound;
} approximate[TENSOR_UNARY_COUNT] = {
    [TENSOR_EXP] = {expl, 2.5},         [TENSOR_EXPM1] = {expm1l, 2.5},
    [TENSOR_LOG] = {logl, 2.5},         [TENSOR_LOG1P] = {log1pl, 2.5},
    [TENSOR_RSQRT] = {rsqrtl, 1.001},   [TENSOR_SIN] = {sinl, 2.5},
    [TENSOR_COS] = {cosl, 2.5},         [TENSOR_TANH] = {tanhl, 2.5},
    [TENSOR_SIGMOID] = {sigmoidl, 2.5}, [TENSOR_ERF] = {erfl, 2.5}};

/* Special values, then random ones. */
static Tensor sample(TensorArena *a, TensorDtype dtype, int64_t n) {
    Tensor x = random_tensor(a, dtype, 1, &n, -20, 20);
    for (int i = 0; i < COUNT(special); i++) {
        tensor_set(&x, i, special[i]);
    }
    return x;
}

Test(kernels, unary_functions_are_right) {
    TensorArena *a = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            Tensor x = sample(a, dtype, 1000), y = fresh(a, dtype, 1, x.shape);
            for (int f = 0; f < TENSOR_UNARY_COUNT; f++) {
                tensor_unary((TensorUnary)f, &y, &x);
                for (int64_t i = 0; i < 1000; i++) {
                    double u = tensor_get(&x, i), got = tensor_get(&y, i);
                    bool right =
                        approximate[f].exact
                            ? ulps(dtype, got, approximate[f].exact(u)) <= approximate[f].bound
                            : is_same(got, unary_exact((TensorUnary)f, dtype, u));
                    cr_expect(right, "%s function %d of %a: %a", isa_and_dtype(dtype), f, u, got);
                }
            }
            tensor_arena_reset(a);
        }
    }
    tensor_arena_free(a);
}

/* The worst case is a result just below a power of 2; and no magnitude overflows on the way. */
Test(kernels, rsqrt_is_within_one_unit_at_every_magnitude) {
    TensorArena *a = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            const int low = dtype == TENSOR_F32 ? -149 : -1074;
            const int high = dtype == TENSOR_F32 ? 127 : 1023;
            const int64_t n = 20 * (high - low + 1);
            Tensor x = fresh(a, dtype, 1, &n), y = fresh(a, dtype, 1, &n);
            for (int64_t i = 0; i < n; i++) {
                double near_one = 1 + random_in(0, i % 2 ? 1 : 0x1p-18);
                tensor_set(&x, i, ldexp(near_one, low + (int)(i / 20)));
            }
            tensor_unary(TENSOR_RSQRT, &y, &x);
            double worst = 0;
            for (int64_t i = 0; i < n; i++) {
                worst = fmax(worst, ulps(dtype, tensor_get(&y, i), rsqrtl(tensor_get(&x, i))));
            }
            cr_expect_leq(worst, 1.001, "%s: %g ULP", isa_and_dtype(dtype), worst);
            tensor_arena_reset(a);
        }
    }
    tensor_arena_free(a);
}

static double binary_exact(TensorBinary f, TensorDtype dtype, double a, double b) {
    double y;
    switch (f) {
    case TENSOR_ADD:
        y = a + b;
        break;
    case TENSOR_SUB:
        y = a - b;
        break;
    case TENSOR_MUL:
        y = a * b;
        break;
    case TENSOR_DIV:
        y = a / b;
        break;
    case TENSOR_MAXIMUM:
        return isnan(a) || isnan(b) ? (double)NAN : a >= b ? a : b;
    default:
        return isnan(a) || isnan(b) ? (double)NAN : a <= b ? a : b;
    }
    /* rounding twice is harmless: 53 bits are more than twice 24 and 2 more */
    return dtype == TENSOR_F32 ? (double)(float)y : y;
}

/* Equal infinities have that infinity as their sum. */
static long double logaddexpl(long double a, long double b) {
    if (isnan(a) || isnan(b)) {
        return (long double)NAN;
    }
    long double difference = a == b ? 0 : fabsl(a - b);
    return (a > b ? a : b) + log1pl(expl(-difference));
}

Test(kernels, binary_functions_are_right_for_every_pair_of_special_values) {
    enum { N = COUNT(special) };
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            Tensor v = vector_of(arena, dtype, N, special);
            Tensor a = tensor_reshape(&v, 2, (int64_t[]){N, 1});
            Tensor y = fresh(arena, dtype, 2, (int64_t[]){N, N});
            for (int f = 0; f < TENSOR_BINARY_COUNT; f++) {
                tensor_binary((TensorBinary)f, &y, &a, &v);
                for (int64_t i = 0; i < N * N; i++) {
                    double p = tensor_get(&v, i / N), q = tensor_get(&v, i % N);
                    double got = tensor_get(&y, i);
                    bool right = f == TENSOR_POW ? ulps(dtype, got, powl(p, q)) <= 1.001
                                 : f == TENSOR_LOGADDEXP
                                     ? ulps(dtype, got, logaddexpl(p, q)) <= 2.5
                                     : is_same(got, binary_exact((TensorBinary)f, dtype, p, q));
                    cr_expect(right, "%s function %d of %a, %a: %a", isa_and_dtype(dtype), f, p,
                              q, got);
                }
            }
            tensor_arena_reset(arena);
        }
    }
    tensor_arena_free(arena);
}

static bool compare_exact(TensorCompare f, double a, double b) {
    switch (f) {
    case TENSOR_EQ:
        return a == b;
    case TENSOR_NE:
        return a != b;
    case TENSOR_LT:
        return a < b;
    case TENSOR_LE:
        return a <= b;
    case TENSOR_GT:
        return a > b;
    default:
        return a >= b;
    }
}

Test(kernels, comparisons_follow_ieee_rules_for_every_dtype) {
    const double whole[] = {0, 1, 2, 3, 200, 255, 7, 7};
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        for (int dtype = TENSOR_F32; dtype <= TENSOR_U8; dtype++) {
            bool real = tensor_dtype_is_float((TensorDtype)dtype);
            int64_t n = real ? COUNT(special) : COUNT(whole);
            Tensor v = vector_of(arena, (TensorDtype)dtype, n, real ? special : whole);
            Tensor a = tensor_reshape(&v, 2, (int64_t[]){n, 1});
            Tensor y = fresh(arena, TENSOR_U8, 2, (int64_t[]){n, n});
            for (int f = 0; f < TENSOR_COMPARE_COUNT; f++) {
                tensor_compare((TensorCompare)f, &y, &a, &v);
                for (int64_t i = 0; i < n * n; i++) {
                    double p = tensor_get(&v, i / n), q = tensor_get(&v, i % n);
                    bool want = compare_exact((TensorCompare)f, p, q);
                    cr_expect(tensor_get(&y, i) == want, "%s comparison %d of %g, %g",
                              isa_and_dtype((TensorDtype)dtype), f, p, q);
                }
            }
        }
    }
    int64_t two = 2, *big;
    Tensor p = fresh(arena, TENSOR_I64, 1, &two), q = fresh(arena, TENSOR_I64, 1, &two);
    Tensor y = fresh(arena, TENSOR_U8, 1, &two);
    big = p.data, big[0] = INT64_MAX, big[1] = INT64_MIN;
    big = q.data, big[0] = INT64_MAX - 1, big[1] = INT64_MIN + 1;
    tensor_compare(TENSOR_GT, &y, &p, &q); /* equal as doubles */
    cr_expect(tensor_get(&y, 0) == 1 && tensor_get(&y, 1) == 0);
    tensor_arena_free(arena);
}

Test(kernels, logical_functions_take_any_value_but_zero_as_true) {
    const double bytes[] = {0, 1, 2, 255};
    TensorArena *arena = tensor_arena_new();
    Tensor v = vector_of(arena, TENSOR_U8, 4, bytes);
    Tensor a = tensor_reshape(&v, 2, (int64_t[]){4, 1});
    Tensor y = fresh(arena, TENSOR_U8, 2, (int64_t[]){4, 4});
    Tensor z = fresh(arena, TENSOR_U8, 1, v.shape);
    for (int f = 0; f < TENSOR_LOGICAL_COUNT; f++) {
        tensor_logical((TensorLogical)f, &y, &a, &v);
        for (int64_t i = 0; i < 16; i++) {
            bool p = bytes[i / 4] != 0, q = bytes[i % 4] != 0;
            bool want = f == TENSOR_AND ? p && q : f == TENSOR_OR ? p || q : p != q;
            cr_expect(tensor_get(&y, i) == want, "function %d at %d", f, (int)i);
        }
    }
    tensor_logical_not(&z, &v);
    for (int64_t i = 0; i < 4; i++) {
        cr_expect(tensor_get(&z, i) == (bytes[i] == 0));
    }
    tensor_arena_free(arena);
}

/* ---- activations ---- */

/* Parameters that both float types hold. */
static const struct {
    TensorActivation f;
    double a, b;
} activations[] = {{TENSOR_LEAKY_RELU, 0.125, 0},
                   {TENSOR_LEAKY_RELU, -2, 0},
                   {TENSOR_CLAMP, -0.5, 2},
                   {TENSOR_CLAMP, -INFINITY, 1},
                   {TENSOR_CLAMP, 2, -2},
                   {TENSOR_ELU, 1.25, 0},
                   {TENSOR_SOFTPLUS, 1, 20},
                   {TENSOR_SOFTPLUS, 2, 5},
                   {TENSOR_SOFTPLUS, -1, INFINITY},
                   {TENSOR_SWISH, 1, 0},
                   {TENSOR_SWISH, 1.59375, 0.0703125},
                   {TENSOR_GELU, 0, 0}};

typedef struct {
    long double value, slope;
    long double size; /* of the terms of the slope */
    long double z;    /* what an exponential is taken of: its rounding counts so often */
} Activation;

static Activation swish_exact(long double x, long double a, long double b) {
    long double u = fminl(fmaxl(x, -1e5L), 1e5L), z = u * (a + b * u * u), s = sigmoidl(z);
    long double bend = u * s * sigmoidl(-z) * (a + 3 * b * u * u);
    return (Activation){(x > 0 ? x : u) * s, s + bend, s + fabsl(bend), z};
}

static Activation gelu_exact(long double x) {
    long double u = fminl(fmaxl(x, -1e5L), 1e5L), normal = erfcl(-u / sqrtl(2)) / 2;
    long double bend = u * expl(-u * u / 2) / sqrtl(2 * acosl(-1));
    return (Activation){(x > 0 ? x : u) * normal, normal + bend, normal + fabsl(bend), u * u};
}

static Activation softplus_exact(long double x, long double a, long double b) {
    long double z = a * x, soft = (fmaxl(z, 0) + log1pl(expl(-fabsl(z)))) / a;
    return (Activation){z > b ? x : soft, z > b ? 1 : sigmoidl(z), 1, 0};
}

static Activation activation_exact(TensorActivation f, long double x, long double a,
                                   long double b) {
    switch (f) {
    case TENSOR_LEAKY_RELU:
        return (Activation){x > 0 ? x : a * x, x > 0 ? 1 : a, 0, 0};
    case TENSOR_CLAMP:
        return (Activation){fminl(fmaxl(x, a), b), x >= a && x <= b, 0, 0};
    case TENSOR_ELU:
        return (Activation){x > 0 ? x : a * expm1l(x), x > 0 ? 1 : a * expl(x), 0, 0};
    case TENSOR_SOFTPLUS:
        return softplus_exact(x, a, b);
    case TENSOR_SWISH:
        return swish_exact(x, a, b);
    default:
        return gelu_exact(x);
    }
}

/* |got - want| is a few units of the dtype at `size`, and more where an exponent z is rounded. */
static bool is_close(TensorDtype dtype, double got, long double want, long double size,
                     long double z) {
    const bool single = dtype == TENSOR_F32;
    if (!isfinite(want) || !isfinite(got)) {
        return is_same(got, (double)want);
    }
    long double unit = fmaxl(fabsl(want), size) * (single ? 0x1p-23L : 0x1p-52L);
    long double least = single ? 0x1p-149L : 0x1p-1074L;
    return fabsl((long double)got - want) <= (6 + 2 * fabsl(z)) * fmaxl(unit, least);
}

static void expect_activation(TensorArena *arena, TensorDtype dtype, int i) {
    const TensorActivation f = activations[i].f;
    const double a = activations[i].a, b = activations[i].b;
    Tensor x = sample(arena, dtype, 3000), y = fresh(arena, dtype, 1, x.shape);
    Tensor g = fresh(arena, dtype, 1, x.shape), dx = fresh(arena, dtype, 1, x.shape);
    for (int64_t k = 1000; k < 2000; k++) { /* where exponentials end */
        tensor_set(&x, k, random_in(-800, 10));
    }
    tensor_fill(&g, -2);
    tensor_activation(f, &y, &x, a, b);
    tensor_activation_backward(f, &dx, &g, &x, a, b);
    for (int64_t k = 0; k < x.shape[0]; k++) {
        double u = tensor_get(&x, k), value = tensor_get(&y, k), slope = tensor_get(&dx, k) / -2;
        Activation want = activation_exact(f, u, a, b);
        if (isnan(u)) {
            bool stays = f == TENSOR_LEAKY_RELU || f == TENSOR_CLAMP || isnan(slope);
            cr_expect(isnan(value) && stays, "%s activation %d of NaN", isa_and_dtype(dtype), i);
            continue;
        }
        cr_expect(is_close(dtype, value, want.value, 0, want.z), "%s activation %d of %a: %a",
                  isa_and_dtype(dtype), i, u, value);
        cr_expect(is_close(dtype, slope, want.slope, want.size, want.z),
                  "%s slope of activation %d at %a: %a", isa_and_dtype(dtype), i, u, slope);
    }
}

Test(kernels, activations_and_their_slopes_are_right) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int i = 0; i < COUNT(activations); i++) {
                expect_activation(arena, dtype, i);
                tensor_arena_reset(arena);
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels, a_gradient_of_clamp_is_zero_outside_whatever_comes_back) {
    TensorArena *arena = tensor_arena_new();
    Tensor x = vector_of(arena, TENSOR_F64, 4, (double[]){-2, 2, NAN, 0.5});
    Tensor g = vector_of(arena, TENSOR_F64, 4, (double[]){NAN, INFINITY, 1, -INFINITY});
    tensor_activation_backward(TENSOR_CLAMP, &g, &g, &x, -1, 1);
    for (int64_t i = 0; i < 4; i++) {
        cr_expect(tensor_get(&g, i) == (i < 3 ? 0 : -INFINITY), "%d", (int)i);
    }
    tensor_arena_free(arena);
}

/* ---- every kernel of floats, as one list ---- */

enum {
    FIRST_BINARY = TENSOR_UNARY_COUNT,
    FIRST_COMPARE = FIRST_BINARY + TENSOR_BINARY_COUNT,
    AFFINE = FIRST_COMPARE + TENSOR_COMPARE_COUNT,
    ACCUMULATE,
    WHERE,
    CONVERT,
    FIRST_ACTIVATION,
    FIRST_BACKWARD = FIRST_ACTIVATION + TENSOR_ACTIVATION_COUNT,
    KERNELS = FIRST_BACKWARD + TENSOR_ACTIVATION_COUNT
};

static bool wants_bytes(int kernel) {
    return kernel >= FIRST_COMPARE && kernel < AFFINE;
}

static void run_kernel(int kernel, const Tensor *y, const Tensor *mask, const Tensor *a,
                       const Tensor *b) {
    if (kernel < FIRST_BINARY) {
        tensor_unary((TensorUnary)kernel, y, a);
    } else if (kernel < FIRST_COMPARE) {
        tensor_binary((TensorBinary)(kernel - FIRST_BINARY), y, a, b);
    } else if (kernel < AFFINE) {
        tensor_compare((TensorCompare)(kernel - FIRST_COMPARE), y, a, b);
    } else if (kernel == AFFINE) {
        tensor_affine(y, a, 1.7, -0.3);
    } else if (kernel == ACCUMULATE) {
        tensor_accumulate(y, a);
    } else if (kernel == WHERE) {
        tensor_where(y, mask, a, b);
    } else if (kernel == CONVERT) {
        tensor_convert(y, a);
    } else if (kernel < FIRST_BACKWARD) {
        tensor_activation((TensorActivation)(kernel - FIRST_ACTIVATION), y, a, 0.5, 1.1);
    } else {
        tensor_activation_backward((TensorActivation)(kernel - FIRST_BACKWARD), y, a, b, 0.5, 1.1);
    }
}

static void same_in_every_layout(TensorArena *arena, TensorDtype dtype, int s) {
    const int ndim = shapes[s].ndim;
    const int64_t *shape = shapes[s].shape;
    Tensor a = random_tensor(arena, dtype, ndim, shape, -1, 3);
    Tensor b = random_tensor(arena, dtype, ndim, shape, -1, 3);
    Tensor mask = random_tensor(arena, TENSOR_U8, ndim, shape, 0, 2);
    for (int kernel = 0; kernel < KERNELS; kernel++) {
        Tensor want = fresh(arena, wants_bytes(kernel) ? TENSOR_U8 : dtype, ndim, shape);
        tensor_fill(&want, 0.25); /* what `accumulate` adds to */
        run_kernel(kernel, &want, &mask, &a, &b);
        for (int layout = 1; layout < LAYOUTS * LAYOUTS; layout++) {
            Tensor y = layout_of(arena, &want, layout % LAYOUTS);
            Tensor u = laid_out(arena, &a, layout / LAYOUTS);
            Tensor v = laid_out(arena, &b, (layout + 1) % LAYOUTS);
            Tensor m = laid_out(arena, &mask, (layout + 2) % LAYOUTS);
            tensor_fill(&y, 0.25);
            run_kernel(kernel, &y, &m, &u, &v);
            cr_expect_eq(first_difference(&y, &want), -1, "%s kernel %d, shape %d, layout %d",
                         isa_and_dtype(dtype), kernel, s, layout);
        }
    }
}

Test(kernels, results_do_not_depend_on_strides, .timeout = 120) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int s = 0; s < COUNT(shapes); s++) {
                same_in_every_layout(arena, dtype, s);
                tensor_arena_reset(arena);
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels, an_element_has_the_same_bits_at_every_place) {
    enum { N = 600, LONGEST = 70 };
    const int64_t n = N;
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            Tensor a = random_tensor(arena, dtype, 1, &n, -1, 3);
            Tensor b = random_tensor(arena, dtype, 1, &n, -1, 3);
            Tensor mask = random_tensor(arena, TENSOR_U8, 1, &n, 0, 2);
            for (int kernel = 0; kernel < KERNELS; kernel++) {
                Tensor all = fresh(arena, wants_bytes(kernel) ? TENSOR_U8 : dtype, 1, &n);
                Tensor y = fresh(arena, all.dtype, 1, &n);
                tensor_fill(&all, 0.5);
                run_kernel(kernel, &all, &mask, &a, &b);
                for (int64_t length = 1; length <= LONGEST; length++) {
                    int64_t at = (int64_t)(random_bits() % (N - LONGEST));
                    Tensor p = tensor_narrow(&a, 0, at, length);
                    Tensor q = tensor_narrow(&b, 0, at, length);
                    Tensor m = tensor_narrow(&mask, 0, at, length);
                    Tensor want = tensor_narrow(&all, 0, at, length);
                    Tensor part = tensor_narrow(&y, 0, 1, length);
                    tensor_fill(&y, 0.5);
                    run_kernel(kernel, &part, &m, &p, &q);
                    cr_expect_eq(first_difference(&part, &want), -1, "%s kernel %d, %d elements",
                                 isa_and_dtype(dtype), kernel, (int)length);
                    double fence = wants_bytes(kernel) ? 0 : 0.5;
                    cr_expect(wants_bytes(kernel) || (tensor_get(&y, 0) == fence &&
                                                      tensor_get(&y, length + 1) == fence),
                              "%s kernel %d writes outside", isa_and_dtype(dtype), kernel);
                }
            }
            tensor_arena_reset(arena);
        }
    }
    tensor_arena_free(arena);
}

Test(kernels, the_result_may_be_an_input) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int kernel = 0; kernel < KERNELS; kernel++) {
                for (int layout = 0; layout < LAYOUTS && !wants_bytes(kernel); layout++) {
                    Tensor a = random_tensor(arena, dtype, 2, (int64_t[]){21, 30}, -1, 3);
                    Tensor b = random_tensor(arena, dtype, 2, (int64_t[]){21, 30}, -1, 3);
                    Tensor mask = random_tensor(arena, TENSOR_U8, 2, a.shape, 0, 2);
                    Tensor want = laid_out(arena, &a, CONTIGUOUS);
                    Tensor y = laid_out(arena, &a, layout), z = laid_out(arena, &b, layout);
                    Tensor other = laid_out(arena, &a, CONTIGUOUS);
                    run_kernel(kernel, &want, &mask, &other, &b);
                    run_kernel(kernel, &y, &mask, &y, &b);
                    cr_expect_eq(first_difference(&y, &want), -1, "%s kernel %d is its first",
                                 isa_and_dtype(dtype), kernel);
                    if ((kernel >= FIRST_BINARY && kernel < FIRST_COMPARE) ||
                        kernel >= FIRST_BACKWARD) {
                        run_kernel(kernel, &z, &mask, &a, &z);
                        cr_expect_eq(first_difference(&z, &want), -1, "%s kernel %d is its second",
                                     isa_and_dtype(dtype), kernel);
                    }
                }
                tensor_arena_reset(arena);
            }
        }
    }
    tensor_arena_free(arena);
}

/* ---- broadcasting ---- */

/* Element of x at the flat row-major index i of a shape that x broadcasts to. */
static double broadcast_element(const Tensor *x, int ndim, const int64_t *shape, int64_t i) {
    int64_t at = 0, step = 1;
    for (int d = ndim - 1, own = x->ndim - 1; d >= 0; d--, own--) {
        int64_t index = i % shape[d];
        i /= shape[d];
        if (own >= 0) {
            at += (x->shape[own] == 1 ? 0 : index) * step;
            step *= x->shape[own];
        }
    }
    return tensor_get(x, at);
}

Test(kernels, operands_broadcast_by_the_rule_of_numpy) {
    enum { OPERANDS = 9 };
    const int64_t shape[] = {3, 4, 35};
    const struct {
        int ndim;
        int64_t shape[3];
    } operand[OPERANDS] = {{0, {0}},        {1, {35}},       {1, {1}},
                           {2, {4, 1}},     {2, {4, 35}},    {3, {3, 1, 1}},
                           {3, {3, 1, 35}}, {3, {1, 4, 35}}, {3, {3, 4, 35}}};
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int pair = 0; pair < OPERANDS * OPERANDS; pair++) {
                const int i = pair / OPERANDS, j = pair % OPERANDS;
                Tensor a = random_tensor(arena, dtype, operand[i].ndim, operand[i].shape, 0.1, 3);
                Tensor b = random_tensor(arena, dtype, operand[j].ndim, operand[j].shape, 0.1, 3);
                Tensor u = laid_out(arena, &a, pair % LAYOUTS);
                Tensor y = fresh(arena, dtype, 3, shape), less = fresh(arena, TENSOR_U8, 3, shape);
                Tensor e = fresh(arena, dtype, 3, shape), d = fresh(arena, dtype, 3, shape);
                tensor_binary(TENSOR_SUB, &y, &u, &b);
                tensor_compare(TENSOR_LT, &less, &u, &b);
                tensor_unary(TENSOR_TANH, &e, &u);
                tensor_where(&d, &less, &u, &b);
                for (int64_t k = 0; k < tensor_numel(&y); k++) {
                    double p = broadcast_element(&a, 3, shape, k);
                    double q = broadcast_element(&b, 3, shape, k);
                    double want = binary_exact(TENSOR_SUB, dtype, p, q);
                    bool right = tensor_get(&y, k) == want && tensor_get(&less, k) == (p < q) &&
                                 tensor_get(&d, k) == (p < q ? p : q) &&
                                 ulps(dtype, tensor_get(&e, k), tanhl(p)) <= 2.5;
                    cr_expect(right, "%s operands %d, %d at %d", isa_and_dtype(dtype), i, j,
                              (int)k);
                }
                tensor_arena_reset(arena);
            }
        }
    }
    tensor_arena_free(arena);
}

/* ---- single functions ---- */

Test(kernels, affine_rounds_the_product_before_the_sum) {
    TensorArena *arena = tensor_arena_new();
    const int64_t n = 100;
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            Tensor x = random_tensor(arena, dtype, 1, &n, -5, 5), y = fresh(arena, dtype, 1, &n);
            tensor_affine(&y, &x, 0.1, 0.3);
            for (int64_t i = 0; i < n; i++) {
                double u = tensor_get(&x, i), want;
                if (dtype == TENSOR_F32) {
                    volatile float product = 0.1f * (float)u;
                    want = (double)(product + 0.3f);
                } else {
                    volatile double product = 0.1 * u;
                    want = product + 0.3;
                }
                cr_expect(tensor_get(&y, i) == want, "%s %a", isa_and_dtype(dtype), u);
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels, conversion_to_i64_truncates_and_saturates) {
    const double from[] = {0,         -0.0,    0.99,    -0.99,    1.5,       -1.5,  1e9,
                           -1e9,      0x1p53,  0x1p62,  -0x1p62,  0x1p63,    -0x1p63, 0x1.8p63,
                           -0x1.8p63, 1e300,   -1e300,  INFINITY, -INFINITY, NAN,   5e-324};
    const int64_t to[] = {0, 0, 0, 0, 1, -1, 1000000000, -1000000000, (int64_t)1 << 53,
                          (int64_t)1 << 62, -((int64_t)1 << 62), INT64_MAX, INT64_MIN, INT64_MAX,
                          INT64_MIN, INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN, 0, 0};
    TensorArena *arena = tensor_arena_new();
    cr_assert_eq(COUNT(from), COUNT(to));
    FOR_EACH_FLOAT(dtype) {
        Tensor x = vector_of(arena, dtype, COUNT(from), from);
        Tensor y = fresh(arena, TENSOR_I64, 1, x.shape), one = fresh(arena, TENSOR_I64, 0, NULL);
        tensor_convert(&y, &x);
        for (int64_t i = 0; i < COUNT(from); i++) {
            cr_expect_eq(tensor_get_i64(&y, i), to[i], "%s %g", tensor_dtype_name(dtype), from[i]);
            tensor_fill(&one, from[i]);
            cr_expect_eq(tensor_get_i64(&one, 0), to[i], "fill with %g", from[i]);
        }
    }
    tensor_arena_free(arena);
}

Test(kernels, conversions_keep_what_the_dtype_can_hold) {
    const double from[] = {0, 1, 2, 200, 255};
    TensorArena *arena = tensor_arena_new();
    for (int x_dtype = TENSOR_F32; x_dtype <= TENSOR_U8; x_dtype++) {
        for (int y_dtype = TENSOR_F32; y_dtype <= TENSOR_U8; y_dtype++) {
            for (int layout = 0; layout < LAYOUTS; layout++) {
                Tensor v = vector_of(arena, (TensorDtype)x_dtype, COUNT(from), from);
                Tensor x = laid_out(arena, &v, layout);
                Tensor y = fresh(arena, (TensorDtype)y_dtype, 1, x.shape);
                tensor_convert(&y, &x);
                bool to_mask = y_dtype == TENSOR_U8 && x_dtype != TENSOR_U8;
                for (int64_t i = 0; i < COUNT(from); i++) {
                    double want = to_mask ? from[i] != 0 : from[i];
                    cr_expect(tensor_get(&y, i) == want, "%d to %d: %g", x_dtype, y_dtype, from[i]);
                }
            }
        }
    }
    tensor_arena_free(arena);
}

Test(kernels, conversions_round_to_nearest_and_masks_take_nan_as_true) {
    const double from[] = {1 + 0x1p-25, 1 + 0x1.8p-24, 1e300, -1e-300, NAN, 0x1p-149, -0.0};
    const double single[] = {1, 1 + 0x1p-23, INFINITY, -0.0, NAN, 0x1p-149, -0.0};
    const double mask[] = {1, 1, 1, 1, 1, 1, 0};
    TensorArena *arena = tensor_arena_new();
    Tensor x = vector_of(arena, TENSOR_F64, COUNT(from), from);
    Tensor y = fresh(arena, TENSOR_F32, 1, x.shape), m = fresh(arena, TENSOR_U8, 1, x.shape);
    tensor_convert(&y, &x);
    tensor_convert(&m, &x);
    for (int64_t i = 0; i < COUNT(from); i++) {
        cr_expect(is_same(tensor_get(&y, i), single[i]), "%a", from[i]);
        cr_expect(tensor_get(&m, i) == mask[i], "%a", from[i]);
    }
    int64_t two = 2, big[] = {((int64_t)1 << 53) + 1, INT64_MIN};
    Tensor i64 = tensor_wrap(big, TENSOR_I64, 1, &two), copy = fresh(arena, TENSOR_I64, 1, &two);
    tensor_convert(&copy, &i64);
    cr_expect(tensor_get_i64(&copy, 0) == big[0] && tensor_get_i64(&copy, 1) == big[1]);
    tensor_arena_free(arena);
}

Test(kernels, fill_reaches_every_element_and_no_other) {
    TensorArena *arena = tensor_arena_new();
    for (int dtype = TENSOR_F32; dtype <= TENSOR_U8; dtype++) {
        Tensor base = fresh(arena, (TensorDtype)dtype, 2, (int64_t[]){9, 50});
        tensor_fill(&base, 1);
        Tensor view = tensor_narrow(&base, 1, 7, 30);
        view = tensor_transpose(&view, 0, 1);
        tensor_fill(&view, 0);
        for (int64_t i = 0; i < 9 * 50; i++) {
            bool inside = i % 50 >= 7 && i % 50 < 37;
            cr_expect(tensor_get(&base, i) == (inside ? 0 : 1), "%d at %d", dtype, (int)i);
        }
    }
    tensor_arena_free(arena);
}

Test(kernels, where_chooses_in_every_dtype) {
    TensorArena *arena = tensor_arena_new();
    for (int dtype = TENSOR_F32; dtype <= TENSOR_U8; dtype++) {
        const int64_t shape[] = {6, 37};
        Tensor a = random_tensor(arena, (TensorDtype)dtype, 2, shape, 0, 100);
        Tensor b = random_tensor(arena, (TensorDtype)dtype, 1, shape + 1, 100, 200);
        Tensor mask = random_tensor(arena, TENSOR_U8, 2, shape, 0, 3);
        Tensor y = fresh(arena, (TensorDtype)dtype, 2, shape);
        tensor_where(&y, &mask, &a, &b);
        for (int64_t i = 0; i < 6 * 37; i++) {
            double want = tensor_get(&mask, i) != 0 ? tensor_get(&a, i) : tensor_get(&b, i % 37);
            cr_expect(tensor_get(&y, i) == want, "%d at %d", dtype, (int)i);
        }
    }
    tensor_arena_free(arena);
}

/* ---- duties of the caller ---- */

static Tensor wrapped(TensorDtype dtype, int64_t n) {
    static double memory[16];
    return tensor_wrap(memory, dtype, 1, &n);
}

Test(kernels, mixed_dtypes_are_caught, .signal = SIGABRT) {
    Tensor y = wrapped(TENSOR_F32, 4), x = wrapped(TENSOR_F64, 4);
    tensor_unary(TENSOR_EXP, &y, &x);
}

Test(kernels, arithmetic_on_integers_is_caught, .signal = SIGABRT) {
    Tensor y = wrapped(TENSOR_I64, 4);
    tensor_unary(TENSOR_NEG, &y, &y);
}

Test(kernels, shapes_that_do_not_broadcast_are_caught, .signal = SIGABRT) {
    Tensor y = wrapped(TENSOR_F32, 4), x = wrapped(TENSOR_F32, 3);
    tensor_unary(TENSOR_EXP, &y, &x);
}

Test(kernels, a_result_that_overlaps_its_input_otherwise_is_caught, .signal = SIGABRT) {
    Tensor y = wrapped(TENSOR_F32, 4), x = tensor_narrow(&y, 0, 0, 1);
    tensor_unary(TENSOR_EXP, &y, &x);
}

Test(kernels, accumulation_into_repeated_elements_is_caught, .signal = SIGABRT) {
    Tensor x = wrapped(TENSOR_F32, 4), one = tensor_narrow(&x, 0, 0, 1);
    Tensor y = tensor_expand(&one, 1, x.shape);
    tensor_accumulate(&y, &x);
}
