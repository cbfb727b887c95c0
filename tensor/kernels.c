/* kernels.c -- elementwise kernels: which table, which run, which nest of loops. */
#include "tensor/kernels.h"

#include <assert.h>
#include <string.h>

#include "tensor/isa.h"
#include "tensor/kernels_table.h"
#include "tensor/parallel.h"
#include "tensor/strided.h"

/* ---- dispatch ---- */

static const TensorKernelTable *table(void) {
    static const TensorKernelTable *const tables[TENSOR_ISA_COUNT] = {
        [TENSOR_ISA_PLAIN] = &tensor_kernels_plain,
#ifndef UNROLL_NO_SLEEF
        [TENSOR_ISA_BASELINE] = &tensor_kernels_baseline,
#ifdef __x86_64__
        [TENSOR_ISA_AVX2] = &tensor_kernels_avx2,
        [TENSOR_ISA_AVX512] = &tensor_kernels_avx512,
#endif
#endif
    };
    return tables[tensor_isa()];
}

const TensorKernels *tensor_kernels(TensorDtype dtype) {
    assert(tensor_dtype_is_float(dtype));
    return dtype == TENSOR_F32 ? table()->f32 : table()->f64;
}

const TensorVmathF32 *tensor_vmath_f32(void) {
    return table()->vmath_f32;
}

const TensorVmathF64 *tensor_vmath_f64(void) {
    return table()->vmath_f64;
}

TensorPhiloxBlocks *tensor_philox(void) {
    return table()->philox;
}

/* An input may be the result itself, but then element for element. */
static bool is_apart_or_same(const Tensor *y, const Tensor *x) {
    if (x->data != y->data || tensor_numel(y) < 2) {
        return true;
    }
    for (int d = 0; d < y->ndim; d++) {
        if (y->shape[d] > 1 && (x->ndim != y->ndim || x->shape[d] != y->shape[d] ||
                                x->stride[d] != y->stride[d])) {
            return false;
        }
    }
    return x->dtype == y->dtype;
}

/* Nanoseconds that an element takes, roughly: threads share what is worth it. */
static const double CHEAP = .25, FUNCTION = 1, POWER = 4;

/* t[0] is the result, the others broadcast to it. */
static void elementwise(TensorRun *run, const void *options, double ns, int operands,
                        const Tensor *const *t) {
    void *p[TENSOR_MAX_OPERANDS];
    TensorLoops l;
    tensor_loops(&l, operands, t, t[0]->ndim, t[0]->shape);
    for (int i = 0; i < operands; i++) {
        assert(is_apart_or_same(t[0], t[i]));
        p[i] = t[i]->data;
    }
    tensor_loops_sort(&l);
    tensor_loops_share(&l, p, run, options, ns);
}

/* ---- arithmetic ---- */

static double cost_of_unary(TensorUnary f) {
    switch (f) {
    case TENSOR_NEG:
    case TENSOR_SQRT:
    case TENSOR_SQUARE:
    case TENSOR_RECIPROCAL:
    case TENSOR_RSQRT:
    case TENSOR_RELU:
    case TENSOR_ABS:
    case TENSOR_SIGN:
        return CHEAP;
    default:
        return FUNCTION;
    }
}

void tensor_unary(TensorUnary f, const Tensor *y, const Tensor *x) {
    assert((int)f >= 0 && f < TENSOR_UNARY_COUNT && x->dtype == y->dtype);
    elementwise(tensor_kernels(y->dtype)->unary[f], NULL, cost_of_unary(f), 2,
                (const Tensor *[]){y, x});
}

void tensor_binary(TensorBinary f, const Tensor *y, const Tensor *a, const Tensor *b) {
    assert((int)f >= 0 && f < TENSOR_BINARY_COUNT);
    assert(a->dtype == y->dtype && b->dtype == y->dtype);
    const double ns = f == TENSOR_POW || f == TENSOR_LOGADDEXP ? POWER : CHEAP;
    elementwise(tensor_kernels(y->dtype)->binary[f], NULL, ns, 3, (const Tensor *[]){y, a, b});
}

void tensor_affine(const Tensor *y, const Tensor *x, double scale, double shift) {
    TensorAffine o = {.scale = scale, .shift = shift};
    assert(x->dtype == y->dtype);
    elementwise(tensor_kernels(y->dtype)->affine, &o, CHEAP, 2, (const Tensor *[]){y, x});
}

static double cost_of_activation(TensorActivation f) {
    return f == TENSOR_LEAKY_RELU || f == TENSOR_CLAMP ? CHEAP : 2 * FUNCTION;
}

void tensor_activation(TensorActivation f, const Tensor *y, const Tensor *x, double a, double b) {
    TensorActivationOptions o = {.a = a, .b = b};
    assert((int)f >= 0 && f < TENSOR_ACTIVATION_COUNT && x->dtype == y->dtype);
    elementwise(tensor_kernels(y->dtype)->activation[f], &o, cost_of_activation(f), 2,
                (const Tensor *[]){y, x});
}

void tensor_activation_backward(TensorActivation f, const Tensor *dx, const Tensor *g,
                                const Tensor *x, double a, double b) {
    TensorActivationOptions o = {.a = a, .b = b};
    assert((int)f >= 0 && f < TENSOR_ACTIVATION_COUNT);
    assert(g->dtype == dx->dtype && x->dtype == dx->dtype);
    elementwise(tensor_kernels(dx->dtype)->activation_backward[f], &o, cost_of_activation(f), 3,
                (const Tensor *[]){dx, g, x});
}

void tensor_accumulate(const Tensor *y, const Tensor *x) {
    assert(x->dtype == y->dtype && !tensor_is_overlapping(y));
    elementwise(tensor_kernels(y->dtype)->accumulate, NULL, CHEAP, 2, (const Tensor *[]){y, x});
}

/* ---- runs that need no instruction set of their own ----
 * Memory or the conversion limits them, and they know the two integer types too. */

#define RUN_HEAD(name)                                                                         \
    static void name(int64_t n, void *const *p, const int64_t *s, const void *options)

/* A run of two operands, y of type Y and x of type X; e is an expression of x. */
#define RUN_1(name, Y, X, e)                                                                   \
    RUN_HEAD(name) {                                                                           \
        Y *to = p[0];                                                                          \
        const X *from = p[1];                                                                  \
        (void)options;                                                                         \
        if (s[0] == 1 && s[1] == 1) {                                                          \
            INDEPENDENT                                                                        \
            for (int64_t i = 0; i < n; i++) {                                                  \
                const X x = from[i];                                                           \
                to[i] = (Y)(e);                                                                \
            }                                                                                  \
            return;                                                                            \
        }                                                                                      \
        INDEPENDENT                                                                            \
        for (int64_t i = 0; i < n; i++) {                                                      \
            const X x = from[i * s[1]];                                                        \
            to[i * s[0]] = (Y)(e);                                                             \
        }                                                                                      \
    }

/* Likewise of three operands; a and b are of type X. */
#define RUN_2(name, Y, X, e)                                                                   \
    RUN_HEAD(name) {                                                                           \
        Y *to = p[0];                                                                          \
        const X *from_a = p[1], *from_b = p[2];                                                \
        (void)options;                                                                         \
        if (s[0] == 1 && s[1] == 1 && s[2] == 1) {                                             \
            INDEPENDENT                                                                        \
            for (int64_t i = 0; i < n; i++) {                                                  \
                const X a = from_a[i], b = from_b[i];                                          \
                to[i] = (Y)(e);                                                                \
            }                                                                                  \
            return;                                                                            \
        }                                                                                      \
        INDEPENDENT                                                                            \
        for (int64_t i = 0; i < n; i++) {                                                      \
            const X a = from_a[i * s[1]], b = from_b[i * s[2]];                                \
            to[i * s[0]] = (Y)(e);                                                             \
        }                                                                                      \
    }

#define COMPARE(suffix, type)                                                                  \
    RUN_2(eq_##suffix, uint8_t, type, a == b)                                                  \
    RUN_2(ne_##suffix, uint8_t, type, a != b)                                                  \
    RUN_2(lt_##suffix, uint8_t, type, a < b)                                                   \
    RUN_2(le_##suffix, uint8_t, type, a <= b)                                                  \
    RUN_2(gt_##suffix, uint8_t, type, a > b)                                                   \
    RUN_2(ge_##suffix, uint8_t, type, a >= b)
COMPARE(i64, int64_t)
COMPARE(u8, uint8_t)

static TensorRun *compare_run(TensorCompare f, TensorDtype dtype) {
    static TensorRun *const i64[] = {eq_i64, ne_i64, lt_i64, le_i64, gt_i64, ge_i64};
    static TensorRun *const u8[] = {eq_u8, ne_u8, lt_u8, le_u8, gt_u8, ge_u8};
    switch (dtype) {
    case TENSOR_I64:
        return i64[f];
    case TENSOR_U8:
        return u8[f];
    default:
        return tensor_kernels(dtype)->compare[f];
    }
}

void tensor_compare(TensorCompare f, const Tensor *y, const Tensor *a, const Tensor *b) {
    assert((int)f >= 0 && f < TENSOR_COMPARE_COUNT);
    assert(y->dtype == TENSOR_U8 && a->dtype == b->dtype);
    elementwise(compare_run(f, a->dtype), NULL, CHEAP, 3, (const Tensor *[]){y, a, b});
}

RUN_2(and_u8, uint8_t, uint8_t, (a != 0) & (b != 0))
RUN_2(or_u8, uint8_t, uint8_t, (a != 0) | (b != 0))
RUN_2(xor_u8, uint8_t, uint8_t, (a != 0) ^ (b != 0))
RUN_1(not_u8, uint8_t, uint8_t, x == 0)

void tensor_logical(TensorLogical f, const Tensor *y, const Tensor *a, const Tensor *b) {
    static TensorRun *const runs[TENSOR_LOGICAL_COUNT] = {
        [TENSOR_AND] = and_u8, [TENSOR_OR] = or_u8, [TENSOR_XOR] = xor_u8};
    assert((int)f >= 0 && f < TENSOR_LOGICAL_COUNT);
    assert(y->dtype == TENSOR_U8 && a->dtype == TENSOR_U8 && b->dtype == TENSOR_U8);
    elementwise(runs[f], NULL, CHEAP, 3, (const Tensor *[]){y, a, b});
}

void tensor_logical_not(const Tensor *y, const Tensor *x) {
    assert(y->dtype == TENSOR_U8 && x->dtype == TENSOR_U8);
    elementwise(not_u8, NULL, CHEAP, 2, (const Tensor *[]){y, x});
}

/* ---- copies, conversions, choices ---- */

/* Every double from -2^63 up to, not including, 2^63 has its int64_t. */
static int64_t to_i64(double x) {
    const double bound = 0x1p63;
    if (x >= bound) {
        return INT64_MAX;
    }
    if (x < -bound) {
        return INT64_MIN;
    }
    return x == x ? (int64_t)x : 0;
}

RUN_1(f32_from_f64, float, double, x)
RUN_1(f32_from_i64, float, int64_t, x)
RUN_1(f32_from_u8, float, uint8_t, x)
RUN_1(f64_from_f32, double, float, x)
RUN_1(f64_from_i64, double, int64_t, x)
RUN_1(f64_from_u8, double, uint8_t, x)
RUN_1(i64_from_f32, int64_t, float, to_i64((double)x))
RUN_1(i64_from_f64, int64_t, double, to_i64(x))
RUN_1(i64_from_u8, int64_t, uint8_t, x)
RUN_1(u8_from_f32, uint8_t, float, x != 0)
RUN_1(u8_from_f64, uint8_t, double, x != 0)
RUN_1(u8_from_i64, uint8_t, int64_t, x != 0)

#define COPY(name, type)                                                                       \
    RUN_HEAD(name) {                                                                           \
        type *y = p[0];                                                                        \
        const type *x = p[1];                                                                  \
        (void)options;                                                                         \
        if (s[0] == 1 && s[1] == 1) {                                                          \
            memmove(y, x, (size_t)n * sizeof *y); /* y may be x */                             \
        } else if (s[0] == 1 && s[1] == 0 && memcmp(x, &(type){0}, sizeof *x) == 0) {          \
            memset(y, 0, (size_t)n * sizeof *y); /* faster than stores where n is large */     \
        } else if (s[0] == 1 && s[1] == 0) {                                                   \
            const type value = *x;                                                             \
            for (int64_t i = 0; i < n; i++) {                                                  \
                y[i] = value;                                                                  \
            }                                                                                  \
        } else {                                                                               \
            INDEPENDENT                                                                        \
            for (int64_t i = 0; i < n; i++) {                                                  \
                y[i * s[0]] = x[i * s[1]];                                                     \
            }                                                                                  \
        }                                                                                      \
    }
COPY(copy_f32, float)
COPY(copy_f64, double)
COPY(copy_i64, int64_t)
COPY(copy_u8, uint8_t)

TensorRun *tensor_convert_run(TensorDtype to, TensorDtype from) {
    static TensorRun *const runs[4][4] = {
        [TENSOR_F32] = {copy_f32, f32_from_f64, f32_from_i64, f32_from_u8},
        [TENSOR_F64] = {f64_from_f32, copy_f64, f64_from_i64, f64_from_u8},
        [TENSOR_I64] = {i64_from_f32, i64_from_f64, copy_i64, i64_from_u8},
        [TENSOR_U8] = {u8_from_f32, u8_from_f64, u8_from_i64, copy_u8},
    };
    assert((unsigned)to < 4 && (unsigned)from < 4);
    return runs[to][from];
}

void tensor_convert(const Tensor *y, const Tensor *x) {
    elementwise(tensor_convert_run(y->dtype, x->dtype), NULL, CHEAP, 2,
                (const Tensor *[]){y, x});
}

void tensor_fill(const Tensor *y, double value) {
    union {
        float f32;
        double f64;
        int64_t i64;
        uint8_t u8;
    } one;
    Tensor x = {.dtype = y->dtype, .data = &one};
    tensor_convert_run(y->dtype, TENSOR_F64)(1, (void *[]){&one, &value}, (int64_t[]){1, 1},
                                             NULL);
    tensor_convert(y, &x);
}

#define WHERE(name, type)                                                                      \
    RUN_HEAD(name) {                                                                           \
        type *y = p[0];                                                                        \
        const uint8_t *mask = p[1];                                                            \
        const type *a = p[2], *b = p[3];                                                       \
        (void)options;                                                                         \
        if (s[0] == 1 && s[1] == 1 && s[2] == 1 && s[3] == 1) {                                \
            INDEPENDENT                                                                        \
            for (int64_t i = 0; i < n; i++) {                                                  \
                const type u = a[i], v = b[i];                                                 \
                y[i] = mask[i] ? u : v;                                                        \
            }                                                                                  \
            return;                                                                            \
        }                                                                                      \
        INDEPENDENT                                                                            \
        for (int64_t i = 0; i < n; i++) {                                                      \
            const type u = a[i * s[2]], v = b[i * s[3]];                                       \
            y[i * s[0]] = mask[i * s[1]] ? u : v;                                              \
        }                                                                                      \
    }
WHERE(where_f32, float)
WHERE(where_f64, double)
WHERE(where_i64, int64_t)
WHERE(where_u8, uint8_t)

void tensor_where(const Tensor *y, const Tensor *mask, const Tensor *a, const Tensor *b) {
    static TensorRun *const runs[4] = {[TENSOR_F32] = where_f32,
                                       [TENSOR_F64] = where_f64,
                                       [TENSOR_I64] = where_i64,
                                       [TENSOR_U8] = where_u8};
    assert(mask->dtype == TENSOR_U8 && a->dtype == y->dtype && b->dtype == y->dtype);
    elementwise(runs[y->dtype], NULL, CHEAP, 4, (const Tensor *[]){y, mask, a, b});
}

/* ---- gates of recurrent layers ---- */

enum { MOST_GATES = 16 }; /* operands */

typedef struct {
    int n_operands;
    const Tensor *operands;
    void (*run)(int64_t n, void *const *p);
} Gates;

static void gate_rows(int64_t begin, int64_t end, void *context) {
    const Gates *g = context;
    const int64_t size = (int64_t)tensor_dtype_size(g->operands->dtype);
    void *p[MOST_GATES];
    for (int k = 0; k < g->n_operands; k++) {
        p[k] = (char *)g->operands[k].data + begin * g->operands[k].stride[0] * size;
    }
    for (int64_t i = begin; i < end; i++) {
        g->run(g->operands->shape[1], p);
        for (int k = 0; k < g->n_operands; k++) {
            p[k] = (char *)p[k] + g->operands[k].stride[0] * size;
        }
    }
}

static double cost_of_gates(TensorGates f) {
    switch (f) {
    case TENSOR_LSTM_CELL:
    case TENSOR_LSTM_COUPLED:
    case TENSOR_LSTM_OUTPUT:
    case TENSOR_GRU:
    case TENSOR_RNN_TANH:
        return 1.5 * FUNCTION;
    case TENSOR_LSTM_STEP:
        return 2.5 * FUNCTION;
    default:
        return 2 * CHEAP;
    }
}

void tensor_gates(TensorGates f, int n_operands, const Tensor *operands) {
    const Tensor *first = operands;
    const int64_t rows = first->shape[0], n = first->shape[1];
    Gates g = {n_operands, operands, tensor_kernels(first->dtype)->gates[f]};
    assert(n_operands <= MOST_GATES);
    for (int k = 0; k < n_operands; k++) {
        const Tensor *x = &operands[k];
        assert(x->ndim == 2 && x->dtype == first->dtype && x->shape[0] == rows);
        assert(x->shape[1] == n && (n < 2 || x->stride[1] == 1));
    }
    tensor_parallel_work(rows, (double)n * cost_of_gates(f), gate_rows, &g);
}
