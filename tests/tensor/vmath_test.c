#include "tensor/vmath.h"

#include "tests/tensor/kernels_check.h"

/* A table whose functions take doubles, whatever the float type. */
typedef enum { EXP, LOG, TANH, SIGMOID, FUNCTIONS } Function;

static const char *const names[FUNCTIONS] = {"exp", "log", "tanh", "sigmoid"};

static void call_f32(Function f, int64_t n, float *y, const float *x) {
    const TensorVmathF32 *v = tensor_vmath_f32();
    (f == EXP ? v->exp : f == LOG ? v->log : f == TANH ? v->tanh : v->sigmoid)(n, y, x);
}

static void call_f64(Function f, int64_t n, double *y, const double *x) {
    const TensorVmathF64 *v = tensor_vmath_f64();
    (f == EXP ? v->exp : f == LOG ? v->log : f == TANH ? v->tanh : v->sigmoid)(n, y, x);
}

static void call(TensorDtype dtype, Function f, int64_t n, void *y, const void *x) {
    if (dtype == TENSOR_F32) {
        call_f32(f, n, y, x);
    } else {
        call_f64(f, n, y, x);
    }
}

static long double exact(Function f, long double x) {
    switch (f) {
    case EXP:
        return expl(x);
    case LOG:
        return logl(x);
    case TANH:
        return tanhl(x);
    default:
        return x >= 0 ? 1 / (1 + expl(-x)) : expl(x) / (1 + expl(x));
    }
}

/* SLEEF promises 1.0, to which the reference's own rounding adds a little; glibc
 * about 2 for tanh.  sigmoid has two roundings more than exp. */
static double bound(Function f) {
    if (f == SIGMOID) {
        return 2.5;
    }
    return tensor_isa() == TENSOR_ISA_PLAIN ? 2.5 : 1.001;
}

enum { MANY = 20000 };

/* Worst error over the first n of x, which are rounded to the dtype. */
static void expect_accurate(TensorDtype dtype, Function f, int64_t n, double *x) {
    static float x32[MANY], y32[MANY];
    static double y[MANY];
    for (int64_t i = 0; i < n; i++) {
        x32[i] = (float)x[i];
        x[i] = dtype == TENSOR_F32 ? (double)x32[i] : x[i];
    }
    if (dtype == TENSOR_F32) {
        call_f32(f, n, y32, x32);
    } else {
        call_f64(f, n, y, x);
    }
    double worst = 0;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = ulps(dtype, dtype == TENSOR_F32 ? (double)y32[i] : y[i], exact(f, x[i]));
        if (e > worst) {
            worst = e;
            at = i;
        }
    }
    cr_expect_leq(worst, bound(f), "%s %s(%a): %g ULP", isa_and_dtype(dtype), names[f], x[at],
                  worst);
}

Test(vmath, functions_are_within_their_bounds_over_the_whole_range) {
    static const struct {
        Function f;
        double low, high;
    } ranges[] = {{EXP, -1, 1},        {EXP, -90, 90},      {EXP, -105, -86},
                  {EXP, -750, 710},    {EXP, -1e-6, 1e-6},  {LOG, 1e-6, 4},
                  {LOG, 0.99, 1.01},   {LOG, 1, 1e30},      {TANH, -1, 1},
                  {TANH, -12, 12},     {TANH, -1e-3, 1e-3}, {TANH, 8, 25},
                  {SIGMOID, -1, 1},    {SIGMOID, -40, 40},  {SIGMOID, -105, -80},
                  {SIGMOID, -750, 40}, {SIGMOID, -1e-3, 1e-3}};
    static double x[MANY];
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int r = 0; r < COUNT(ranges); r++) {
                for (int i = 0; i < MANY; i++) {
                    x[i] = random_in(ranges[r].low, ranges[r].high);
                }
                expect_accurate(dtype, ranges[r].f, MANY, x);
            }
        }
    }
}

/* Every exponent and sign. */
Test(vmath, functions_are_within_their_bounds_at_every_magnitude) {
    static double x[MANY];
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            const int low = dtype == TENSOR_F32 ? -149 : -1074;
            const int high = dtype == TENSOR_F32 ? 127 : 1023;
            for (int f = 0; f < FUNCTIONS; f++) {
                int64_t n = 0;
                for (int e = low; e <= high; e++) {
                    for (int k = 0; k < 6; k++) {
                        double m = ldexp(random_in(1, 2), e);
                        x[n++] = f != LOG && k % 2 ? -m : m;
                    }
                }
                expect_accurate(dtype, (Function)f, n, x);
            }
        }
    }
}

Test(vmath, special_values_give_what_libm_gives) {
    const double special[] = {0.0, -0.0, INFINITY, -INFINITY, NAN, 1.0, -1.0};
    const double want[FUNCTIONS][COUNT(special)] = {
        {1, 1, INFINITY, 0, NAN, exp(1.0), exp(-1.0)},
        {-INFINITY, -INFINITY, INFINITY, NAN, NAN, 0, NAN},
        {0, -0.0, 1, -1, NAN, tanh(1.0), tanh(-1.0)},
        {0.5, 0.5, 1, 0, NAN, 1 / (1 + exp(-1.0)), 1 / (1 + exp(1.0))}};
    FOR_EACH_ISA(isa) {
        for (int f = 0; f < FUNCTIONS; f++) {
            for (int i = 0; i < COUNT(special); i++) {
                float x32 = (float)special[i], y32;
                double y;
                call_f32((Function)f, 1, &y32, &x32);
                call_f64((Function)f, 1, &y, &special[i]);
                double w = want[f][i];
                bool rounded = fabs(special[i]) == 1 && !isnan(w);
                cr_expect(rounded ? fabs(y - w) <= 1e-15 : is_same(y, w), "%s %s(%g) = %g",
                          isa_and_dtype(TENSOR_F64), names[f], special[i], y);
                cr_expect(rounded ? fabs((double)y32 - w) <= 1e-6 : is_same((double)y32, w),
                          "%s %s(%g) = %g", isa_and_dtype(TENSOR_F32), names[f], special[i],
                          (double)y32);
            }
        }
    }
}

Test(vmath, an_element_has_the_same_bits_at_every_place_and_in_place) {
    enum { LONGEST = 70 };
    unsigned char all[2048 * 8], x[2048 * 8], y[2048 * 8];
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            const size_t w = tensor_dtype_size(dtype);
            for (int i = 0; i < 2048; i++) {
                double value = random_in(0.01, 30);
                float single = (float)value;
                memcpy(x + (size_t)i * w, dtype == TENSOR_F32 ? (void *)&single : &value, w);
            }
            for (int f = 0; f < FUNCTIONS; f++) {
                call(dtype, (Function)f, 2048, all, x);
                for (int n = 0; n <= LONGEST; n++) {
                    size_t start = random_bits() % (2048 - LONGEST), size = (size_t)n * w;
                    memset(y, 0xA5, sizeof y);
                    call(dtype, (Function)f, n, y, x + start * w);
                    cr_expect(memcmp(y, all + start * w, size) == 0, "%s %s, %d elements",
                              isa_and_dtype(dtype), names[f], n);
                    cr_expect_eq(y[size], 0xA5, "%s writes past element %d", names[f], n);
                    memcpy(y, x + start * w, size);
                    call(dtype, (Function)f, n, y, y);
                    cr_expect(memcmp(y, all + start * w, size) == 0, "%s in place", names[f]);
                }
            }
        }
    }
}

static double pow_of(TensorDtype dtype, double a, double b) {
    float a32 = (float)a, b32 = (float)b, y32;
    double y;
    if (dtype == TENSOR_F32) {
        tensor_vmath_f32()->pow(1, &y32, &a32, &b32);
        return (double)y32;
    }
    tensor_vmath_f64()->pow(1, &y, &a, &b);
    return y;
}

Test(vmath, pow_is_within_its_bound) {
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            double worst = 0, at_a = 0, at_b = 0;
            for (int i = 0; i < MANY; i++) {
                double a = i % 3 == 0 ? random_in(0, 2) : exp(random_in(-30, 30));
                double b = i % 2 ? random_in(-4, 4) : floor(random_in(-20, 20));
                a = dtype == TENSOR_F32 ? (double)(float)a : a;
                b = dtype == TENSOR_F32 ? (double)(float)b : b;
                a = b == floor(b) && i % 5 == 0 ? -a : a;
                double e = ulps(dtype, pow_of(dtype, a, b), powl(a, b));
                if (e > worst) {
                    worst = e, at_a = a, at_b = b;
                }
            }
            cr_expect_leq(worst, 1.001, "%s pow(%a, %a): %g ULP", isa_and_dtype(dtype), at_a,
                          at_b, worst);
        }
    }
}

Test(vmath, pow_has_the_special_cases_of_libm) {
    const double special[] = {0.0,  -0.0, 1,   -1,       0.5,       -0.5, 2,     -2,     3,
                              -3,   2.5,  -2.5, INFINITY, -INFINITY, NAN,  1e30,  -1e30,  1e-30,
                              -1e-30};
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int i = 0; i < COUNT(special); i++) {
                for (int j = 0; j < COUNT(special); j++) {
                    double a = special[i], b = special[j];
                    a = dtype == TENSOR_F32 ? (double)(float)a : a;
                    b = dtype == TENSOR_F32 ? (double)(float)b : b;
                    double got = pow_of(dtype, a, b), want = pow(a, b);
                    want = dtype == TENSOR_F32 ? (double)(float)want : want;
                    bool exact_case = want == 0 || !isfinite(want) || fabs(want) == 1;
                    cr_expect(exact_case ? is_same(got, want)
                                         : ulps(dtype, got, powl(a, b)) <= 1.0,
                              "%s pow(%g, %g) = %g, not %g", isa_and_dtype(dtype), a, b, got,
                              want);
                }
            }
        }
    }
}

Test(vmath, lanes_are_those_of_the_instruction_set) {
    FOR_EACH_ISA(isa) {
        const int f32 = tensor_vmath_f32()->lanes, f64 = tensor_vmath_f64()->lanes;
        cr_expect(f32 >= 1 && f64 >= 1 && f32 >= f64);
        if (isa == TENSOR_ISA_PLAIN) {
            cr_expect(f32 == 1 && f64 == 1);
        } else if (isa == TENSOR_ISA_AVX2) {
            cr_expect(f32 == 8 && f64 == 4);
        } else if (isa == TENSOR_ISA_AVX512) {
            cr_expect(f32 == 16 && f64 == 8);
        }
    }
}
