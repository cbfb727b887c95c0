#include "tensor/rng.h"

#include <Random123/philox.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the published algorithm, written out ---- */

typedef struct {
    uint64_t v[4];
} Block;

static uint64_t high_half(uint64_t a, uint64_t b) {
    uint64_t a1 = a >> 32, a0 = a & 0xFFFFFFFFu, b1 = b >> 32, b0 = b & 0xFFFFFFFFu;
    uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
    uint64_t carry = (middle & 0xFFFFFFFFu) + a0 * b1;
    return a1 * b1 + (middle >> 32) + (carry >> 32);
}

static Block philox(const uint64_t counter[4], const uint64_t key[2]) {
    const uint64_t m0 = 0xD2E7470EE14C6C93u, m1 = 0xCA5A826395121157u;
    uint64_t k0 = key[0], k1 = key[1];
    Block c;
    memcpy(c.v, counter, sizeof c.v);
    for (int round = 0; round < 10; round++) {
        c = (Block){{high_half(m1, c.v[2]) ^ c.v[1] ^ k0, m1 * c.v[2],
                     high_half(m0, c.v[0]) ^ c.v[3] ^ k1, m0 * c.v[0]}};
        k0 += 0x9E3779B97F4A7C15u;
        k1 += 0xBB67AE8584CAA73Bu;
    }
    return c;
}

/* Word `index` of the kind: 0 bits, 1 uniform, 2 normal, 3 below. */
static uint64_t word(TensorRngKey key, uint64_t kind, uint64_t index) {
    const uint64_t counter[] = {index / 4, key.draw, kind, 0}, words[] = {key.seed, key.step};
    return philox(counter, words).v[index % 4];
}

/* The lines "philox4x64 10" of Random123's kat_vectors: counter, key, result. */
static const uint64_t known[][10] = {
    {0, 0, 0, 0, 0, 0, 0x16554d9eca36314c, 0xdb20fe9d672d0fdc, 0xd7e772cee186176b,
     0x7e68b68aec7ba23b},
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0x87b092c3013fe90b,
     0x438c3c67be8d0224, 0x9cc7d7c69cd777b6, 0xa09caebf594f0ba0},
    {0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89,
     0x452821e638d01377, 0xbe5466cf34e90c6c, 0xa528f45403e61d95, 0x38c72dbd566e9788,
     0xa5a1610e72fd18b5, 0x57bd43b5e52b7fe6},
};

Test(rng, the_known_answers_of_philox_come_out) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const uint64_t *k = known[i];
        philox4x64_ctr_t counter = {{k[0], k[1], k[2], k[3]}};
        philox4x64_key_t key = {{k[4], k[5]}};
        cr_expect(memcmp(philox4x64_R(10, counter, key).v, k + 6, 32) == 0, "library, %zu", i);
        cr_expect(memcmp(philox(k, k + 4).v, k + 6, 32) == 0, "written out, %zu", i);
    }
    for (uint64_t i = 0; i < 8; i++) {
        uint32_t wanted = (uint32_t)(known[0][6 + i / 2] >> (i % 2 * 32));
        cr_expect_eq(tensor_rng_bits32((TensorRngKey){0, 0, 0}, i), wanted);
    }
}

static const TensorRngKey keys[] = {
    {0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {42, 1000, 7}, {UINT64_MAX, UINT64_MAX, UINT64_MAX},
};
#define N_KEYS (sizeof keys / sizeof *keys)

static const uint64_t indices[] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 63, 1000003, UINT64_MAX - 1, UINT64_MAX,
};
#define N_INDICES (sizeof indices / sizeof *indices)

Test(rng, every_number_is_the_documented_function_of_philox) {
    for (size_t k = 0; k < N_KEYS; k++) {
        for (size_t j = 0; j < N_INDICES; j++) {
            TensorRngKey key = keys[k];
            uint64_t i = indices[j], bits = word(key, 0, i / 2);
            cr_expect_eq(tensor_rng_bits32(key, i), (uint32_t)(i % 2 ? bits >> 32 : bits));
            double u = ldexp((double)(word(key, 1, i) >> 11), -53);
            cr_expect_eq(tensor_rng_uniform(key, i), u);
            uint64_t even = i - i % 2;
            double r = sqrt(-2 * log(1 - ldexp((double)(word(key, 2, even) >> 11), -53)));
            double t = 2 * M_PI * ldexp((double)(word(key, 2, even + 1) >> 11), -53);
            double z = i % 2 ? r * sin(t) : r * cos(t);
            cr_expect_eq(tensor_rng_normal(key, i), z);
            cr_expect_eq(tensor_rng_below(key, i, 1), 0);
            const int64_t n[] = {2, 3, 10, 1000000007, INT64_MAX};
            for (size_t m = 0; m < sizeof n / sizeof *n; m++)
                cr_expect_eq(tensor_rng_below(key, i, n[m]),
                             (int64_t)high_half(word(key, 3, i), (uint64_t)n[m]));
        }
    }
}

/* ---- statistics; seeds are fixed, so these are not random outcomes ---- */

enum { DRAWS = 1 << 20 };

/* |sum of (count - expected)^2 / expected - its mean| in standard deviations. */
static double chi_square_distance(const int64_t *count, int64_t bins, int64_t draws) {
    double expected = (double)draws / (double)bins, sum = 0;
    for (int64_t b = 0; b < bins; b++)
        sum += ((double)count[b] - expected) * ((double)count[b] - expected) / expected;
    return fabs(sum - (double)(bins - 1)) / sqrt(2.0 * (double)(bins - 1));
}

Test(rng, uniform_numbers_are_uniform) {
    for (size_t k = 0; k < N_KEYS; k++) {
        double sum = 0, squares = 0, serial = 0, before = 0.5;
        int64_t count[256] = {0};
        for (uint64_t i = 0; i < DRAWS; i++) {
            double u = tensor_rng_uniform(keys[k], i);
            cr_assert(u >= 0 && u < 1);
            sum += u - 0.5;
            squares += (u - 0.5) * (u - 0.5);
            serial += (u - 0.5) * (before - 0.5);
            before = u;
            count[(int)(u * 256)]++;
        }
        double n = DRAWS;
        cr_expect_lt(fabs(sum / n), 4 * sqrt(1 / 12.0 / n));
        cr_expect_lt(fabs(squares / n - 1 / 12.0), 4 * sqrt(1 / 180.0 / n));
        cr_expect_lt(fabs(serial / n), 4 / 12.0 / sqrt(n));
        cr_expect_lt(chi_square_distance(count, 256, DRAWS), 4);
    }
}

Test(rng, normal_numbers_are_normal) {
    for (size_t k = 0; k < N_KEYS; k++) {
        double power[5] = {0}, pairs = 0, before = 0;
        int64_t count[128] = {0};
        for (uint64_t i = 0; i < DRAWS; i++) {
            double z = tensor_rng_normal(keys[k], i), product = 1;
            cr_assert(fabs(z) < 8.6);
            for (int p = 1; p <= 4; p++)
                power[p] += product *= z;
            pairs += i % 2 ? z * before : 0;
            before = z;
            count[(int)fmin(127, 128 * 0.5 * erfc(-z / sqrt(2)))]++;
        }
        double n = DRAWS;
        cr_expect_lt(fabs(power[1] / n), 4 / sqrt(n));
        cr_expect_lt(fabs(power[2] / n - 1), 4 * sqrt(2 / n));
        cr_expect_lt(fabs(power[3] / n), 4 * sqrt(15 / n));
        cr_expect_lt(fabs(power[4] / n - 3), 4 * sqrt(96 / n));
        cr_expect_lt(fabs(pairs / (n / 2)), 4 / sqrt(n / 2));
        cr_expect_lt(chi_square_distance(count, 128, DRAWS), 4);
    }
}

Test(rng, integers_and_bits_are_uniform) {
    const int64_t n[] = {2, 3, 6, 10, 1000};
    for (size_t k = 0; k < N_KEYS; k++) {
        for (size_t j = 0; j < sizeof n / sizeof *n; j++) {
            int64_t count[1000] = {0};
            for (uint64_t i = 0; i < DRAWS / 4; i++) {
                int64_t value = tensor_rng_below(keys[k], i, n[j]);
                cr_assert(value >= 0 && value < n[j]);
                count[value]++;
            }
            cr_expect_lt(chi_square_distance(count, n[j], DRAWS / 4), 4);
        }
        int64_t ones[32] = {0};
        for (uint64_t i = 0; i < DRAWS / 4; i++)
            for (int b = 0; b < 32; b++)
                ones[b] += tensor_rng_bits32(keys[k], i) >> b & 1;
        for (int b = 0; b < 32; b++)
            cr_expect_lt(fabs((double)ones[b] / (DRAWS / 4) - 0.5), 4.5 * 0.5 / sqrt(DRAWS / 4));
    }
}

static double kind_of_number(int kind, TensorRngKey key, uint64_t i) {
    switch (kind) {
    case 0: return ldexp(tensor_rng_bits32(key, i), -32) - 0.5;
    case 1: return tensor_rng_uniform(key, i) - 0.5;
    case 2: return erf(tensor_rng_normal(key, i) / sqrt(2)) / 2;
    default: return ldexp((double)tensor_rng_below(key, i, INT64_C(1) << 52), -52) - 0.5;
    }
}

/* Every pair of sequences that differ in one field of the key, or in the kind. */
Test(rng, sequences_of_other_keys_and_kinds_are_independent) {
    enum { N = 1 << 14, FIELDS = 8, SEQUENCES = 4 * FIELDS };
    const TensorRngKey key[FIELDS] = {{5, 6, 7}, {6, 6, 7}, {5, 7, 7}, {5, 6, 8},
                                      {6, 5, 7}, {7, 6, 5}, {5, 7, 6}, {5 + (1ull << 63), 6, 7}};
    static double x[SEQUENCES][N];
    for (int s = 0; s < SEQUENCES; s++)
        for (uint64_t i = 0; i < N; i++)
            x[s][i] = kind_of_number(s / FIELDS, key[s % FIELDS], i);
    for (int s = 0; s < SEQUENCES; s++) {
        for (int t = 0; t < s; t++) {
            double product = 0;
            for (int i = 0; i < N; i++)
                product += x[s][i] * x[t][i];
            cr_expect_lt(fabs(product / N) * 12, 4.5 / sqrt(N), "%d and %d", s, t);
        }
    }
}

/* ---- tensors ---- */

enum { ROOM = 1 << 16 };

/* Views of [d0, d1, d2] with the last two axes in their order, or exchanged, or with
 * gaps, over memory for twice the elements. */
static Tensor view(int kind, void *memory, TensorDtype dtype, int64_t d0, int64_t d1, int64_t d2) {
    Tensor x;
    if (kind == 0)
        return tensor_wrap(memory, dtype, 3, (int64_t[]){d0, d1, d2});
    if (kind == 1) {
        x = tensor_wrap(memory, dtype, 3, (int64_t[]){d0, d2, d1});
        return tensor_transpose(&x, 1, 2);
    }
    x = tensor_wrap(memory, dtype, 3, (int64_t[]){d0, d1, 2 * d2});
    return tensor_narrow(&x, 2, d2 / 2, d2);
}

static const int64_t shapes[][3] = {
    {1, 1, 1}, {0, 3, 4}, {3, 0, 2}, {1, 1, 7}, {2, 3, 5}, {1, 511, 1},
    {1, 1, 512}, {3, 19, 27}, {5, 1, 513}, {2, 1025, 3}, {7, 64, 16},
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

Test(rng, a_fill_gives_element_i_the_number_of_index_i) {
    const TensorRngKey key = {3, 1, 4};
    double *memory = malloc(ROOM * sizeof *memory);
    cr_assert(memory);
    for (size_t s = 0; s < N_SHAPES; s++) {
        for (int kind = 0; kind < 3; kind++) {
            for (int dtype = TENSOR_F32; dtype <= TENSOR_F64; dtype++) {
                Tensor y = view(kind, memory, (TensorDtype)dtype, shapes[s][0], shapes[s][1],
                                shapes[s][2]);
                tensor_rng_fill_uniform(&y, key, -0.25, 1.5);
                for (int64_t i = 0; i < tensor_numel(&y); i++) {
                    double value = -0.25 + 1.75 * tensor_rng_uniform(key, (uint64_t)i);
                    cr_assert_eq(tensor_get(&y, i), dtype == TENSOR_F32 ? (float)value : value);
                }
                tensor_rng_fill_normal(&y, key, 2, 0.5);
                for (int64_t i = 0; i < tensor_numel(&y); i++) {
                    double value = 2 + 0.5 * tensor_rng_normal(key, (uint64_t)i);
                    cr_assert_eq(tensor_get(&y, i), dtype == TENSOR_F32 ? (float)value : value);
                }
            }
        }
    }
    free(memory);
}

Test(rng, a_fill_stays_in_its_tensor) {
    double memory[64];
    for (int i = 0; i < 64; i++)
        memory[i] = 77;
    Tensor whole = tensor_wrap(memory, TENSOR_F64, 2, (int64_t[]){8, 8});
    Tensor rows = tensor_narrow(&whole, 0, 2, 3), y = tensor_narrow(&rows, 1, 1, 5);
    tensor_rng_fill_uniform(&y, keys[0], 0, 1);
    for (int i = 0; i < 64; i++) {
        bool inside = i / 8 >= 2 && i / 8 < 5 && i % 8 >= 1 && i % 8 < 6;
        cr_expect_eq(memory[i] < 1, inside, "%d", i);
    }
}

Test(rng, a_uniform_fill_stays_below_its_end_after_rounding) {
    static double memory[20000];
    const double ranges[][2] = {
        {1, 1 + 0x1p-23},     {1, 1 + 0x1p-24}, {1, 1 + 0x1p-52},     {-1 - 0x1p-23, -1},
        {-1 - 0x1p-52, -1},   {0, 1},           {-0x1p-149, 0},       {0, 0x1p-149},
        {16777216, 16777218}, {-3e38, 3e38},    {0.1, 0.1 + 0x1p-40}, {-1e300, 1e300},
        {-0.01, 0.01},        {2.5, 2.5},       {0, 0},
    };
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
        for (int dtype = TENSOR_F32; dtype <= TENSOR_F64; dtype++) {
            double lo = ranges[r][0], hi = ranges[r][1];
            Tensor y = tensor_wrap(memory, (TensorDtype)dtype, 1, (int64_t[]){20000});
            tensor_rng_fill_uniform(&y, keys[4], lo, hi);
            double least = lo;
            if (dtype == TENSOR_F32)
                least = (float)lo < hi || lo == hi ? (float)lo : nextafterf((float)lo, -INFINITY);
            for (int64_t i = 0; i < 20000; i++) {
                double value = tensor_get(&y, i);
                cr_assert(value >= least && (value < hi || lo == hi), "%g in [%g, %g), dtype %d",
                          value, lo, hi, dtype);
            }
        }
    }
}

/* ---- dropout ---- */

static bool is_kept(TensorRngKey key, int64_t number, double p) {
    return tensor_rng_bits32(key, (uint64_t)number) >= p * 0x1p32;
}

Test(rng, dropout_scales_what_the_bits_keep) {
    const double ps[] = {0.5, 0.25, 0.1, 0.9, 0x1p-33, 1 - 0x1p-20};
    static double from[ROOM], to[ROOM];
    for (size_t s = 0; s < N_SHAPES * 18; s++) {
        int x_kind = (int)(s % 3), y_kind = (int)(s / 3 % 3);
        TensorDtype dtype = s / 9 % 2 ? TENSOR_F32 : TENSOR_F64;
        const int64_t *d = shapes[s / 18];
        Tensor x = view(x_kind, from, dtype, d[0], d[1], d[2]);
        Tensor y = view(y_kind, to, dtype, d[0], d[1], d[2]);
        tensor_rng_fill_normal(&x, keys[1], 0, 1);
        for (size_t k = 0; k < sizeof ps / sizeof *ps; k++) {
            double p = floor(ps[k] * 0x1p32 + 0.5) * 0x1p-32, scale = 1 / (1 - ps[k]);
            tensor_dropout(&y, &x, keys[4], ps[k], -1, 0, 0);
            for (int64_t i = 0; i < tensor_numel(&x); i++) {
                double value = tensor_get(&x, i);
                double wanted = !is_kept(keys[4], i, p)  ? value * 0
                                : dtype == TENSOR_F32 ? (float)value * (float)scale
                                                      : value * scale;
                cr_assert_eq(tensor_get(&y, i), wanted);
            }
        }
    }
}

Test(rng, dropout_drops_with_probability_p_and_keeps_the_mean) {
    enum { N = 1 << 18 };
    static double ones[N], y_data[N];
    Tensor y = tensor_wrap(y_data, TENSOR_F64, 1, (int64_t[]){N});
    Tensor x = tensor_wrap(ones, TENSOR_F64, 1, (int64_t[]){N});
    for (int i = 0; i < N; i++)
        ones[i] = 1;
    for (double p = 0.05; p < 1; p += 0.05) {
        tensor_dropout(&y, &x, keys[4], p, -1, 0, 0);
        double sum = 0;
        int dropped = 0, runs = 0;
        for (int i = 0; i < N; i++) {
            sum += y_data[i];
            dropped += y_data[i] == 0;
            runs += i > 0 && (y_data[i] == 0) != (y_data[i - 1] == 0);
        }
        double sd = sqrt(p * (1 - p) / N), changes = 2 * p * (1 - p);
        cr_expect_lt(fabs((double)dropped / N - p), 4 * sd, "p = %g", p);
        cr_expect_lt(fabs((double)runs / N - changes), 4 * sqrt(2 * changes / N), "p = %g", p);
        cr_expect_lt(fabs(sum / N - 1), 4 * sd / (1 - p), "p = %g", p);
    }
}

Test(rng, dropout_with_p_0_copies_the_bits_and_with_p_1_gives_zeros) {
    const uint32_t f32[] = {0x7F800001, 0xFFC12345, 0x7F800000, 0x80000000, 1, 0x3F800000};
    const uint64_t f64[] = {0x7FF0000000000001, 0xFFF8000000012345, 0x7FF0000000000000,
                            0x8000000000000000, 1, 0x3FF0000000000000};
    uint64_t to[6];
    for (int wide = 0; wide < 2; wide++) {
        size_t size = wide ? sizeof f64 : sizeof f32;
        TensorDtype dtype = wide ? TENSOR_F64 : TENSOR_F32;
        Tensor x = tensor_wrap(wide ? (void *)f64 : (void *)f32, dtype, 2, (int64_t[]){2, 3});
        Tensor y = tensor_wrap(to, dtype, 2, (int64_t[]){2, 3});
        tensor_dropout(&y, &x, keys[4], 0, -1, 0, 0);
        cr_expect(memcmp(to, wide ? (const void *)f64 : (const void *)f32, size) == 0);
        Tensor xt = tensor_transpose(&x, 0, 1), yt = tensor_transpose(&y, 0, 1);
        memset(to, 0, sizeof to);
        tensor_dropout(&yt, &xt, keys[4], 0, 0, 1, 4);
        cr_expect(memcmp(to, wide ? (const void *)f64 : (const void *)f32, size) == 0);
        tensor_dropout(&y, &x, keys[4], 1, -1, 0, 0);
        for (int64_t i = 0; i < 3; i++)
            cr_expect(isnan(tensor_get(&y, i)), "NaN and infinity times 0");
        cr_expect(tensor_get(&y, 3) == 0 && signbit(tensor_get(&y, 3)));
        cr_expect(tensor_get(&y, 4) == 0 && tensor_get(&y, 5) == 0);
    }
}

Test(rng, dropout_of_nan_is_nan_dropped_or_not) {
    float data[1000];
    for (int i = 0; i < 1000; i++)
        data[i] = i % 2 ? NAN : -1.0f;
    Tensor x = tensor_wrap(data, TENSOR_F32, 1, (int64_t[]){1000});
    tensor_dropout(&x, &x, keys[2], 0.5, -1, 0, 0);
    for (int i = 0; i < 1000; i++)
        cr_expect(i % 2 ? isnan(data[i]) : signbit(data[i]) && (data[i] == 0 || data[i] == -2));
}

Test(rng, dropout_works_in_place) {
    static double a[ROOM], b[ROOM];
    for (size_t s = 0; s < N_SHAPES * 6; s++) {
        const int64_t *d = shapes[s / 6];
        TensorDtype dtype = s % 2 ? TENSOR_F32 : TENSOR_F64;
        Tensor x = view((int)(s / 2 % 3), a, dtype, d[0], d[1], d[2]);
        Tensor y = view(0, b, dtype, d[0], d[1], d[2]);
        for (int p = 0; p < 3; p++) {
            tensor_rng_fill_normal(&x, keys[1], 0, 1);
            tensor_dropout(&y, &x, keys[4], p * 0.5, -1, 0, 0);
            tensor_dropout(&x, &x, keys[4], p * 0.5, -1, 0, 0);
            for (int64_t i = 0; i < tensor_numel(&x); i++)
                cr_assert_eq(tensor_get(&x, i), tensor_get(&y, i));
        }
    }
}

Test(rng, dropout_of_an_expanded_scalar_is_the_mask) {
    double one = 1;
    static double y_data[3000];
    Tensor x = tensor_wrap(&one, TENSOR_F64, 0, NULL), s = x;
    x = tensor_expand(&x, 2, (int64_t[]){30, 100});
    Tensor y = tensor_wrap(y_data, TENSOR_F64, 2, (int64_t[]){30, 100});
    tensor_dropout(&y, &x, keys[4], 0.25, -1, 0, 0);
    for (int64_t i = 0; i < 3000; i++)
        cr_expect_eq(y_data[i], is_kept(keys[4], i, 0.25) ? 1 / 0.75 : 0);
    tensor_dropout(&s, &s, keys[4], 0.25, -1, 0, 0);
    cr_expect_eq(one, y_data[0]);
}

/* Each share of the rows of x drops what the whole x would, for every batch axis. */
static void check_shares(const Tensor *x, const Tensor *y, const Tensor *part, int axis) {
    int64_t total = x->shape[axis];
    tensor_dropout(y, x, keys[4], 0.5, axis, 0, total);
    for (int64_t i = 0; i < tensor_numel(x); i++)
        cr_assert_eq(tensor_get(y, i) == 0, !is_kept(keys[4], i, 0.5));
    for (int64_t rows = 1; rows <= total; rows++) {
        for (int64_t first = 0; first + rows <= total; first++) {
            Tensor share = tensor_narrow(x, axis, first, rows);
            Tensor wanted = tensor_narrow(y, axis, first, rows);
            Tensor got = tensor_narrow(part, axis, first, rows);
            tensor_dropout(&got, &share, keys[4], 0.5, axis, first, total);
            for (int64_t i = 0; i < tensor_numel(&got); i++)
                cr_assert_eq(tensor_get(&got, i), tensor_get(&wanted, i));
        }
    }
}

Test(rng, shares_of_a_batch_drop_what_the_whole_would) {
    const int64_t batches[][3] = {
        {1, 1, 1}, {1, 1, 5}, {2, 7, 3}, {5, 4, 130}, {3, 2, 9}, {4, 5, 0},
    };
    static double from[ROOM], whole[ROOM], parts[ROOM];
    for (size_t s = 0; s < sizeof batches / sizeof *batches; s++) {
        for (int kind = 0; kind < 3; kind++) {
            const int64_t *d = batches[s];
            Tensor x = view(kind, from, TENSOR_F32, d[0], d[1], d[2]);
            Tensor y = view(0, whole, TENSOR_F32, d[0], d[1], d[2]);
            Tensor part = view(kind, parts, TENSOR_F32, d[0], d[1], d[2]);
            tensor_rng_fill_uniform(&x, keys[1], 1, 2);
            for (int axis = 0; axis < 3; axis++)
                check_shares(&x, &y, &part, axis);
        }
    }
}

Test(rng, dropout_repeats_with_its_key_and_changes_with_another) {
    enum { N = 1000 };
    static float ones[N], a[N], b[N];
    for (int i = 0; i < N; i++)
        ones[i] = 1;
    Tensor x = tensor_wrap(ones, TENSOR_F32, 1, (int64_t[]){N});
    Tensor ya = tensor_wrap(a, TENSOR_F32, 1, (int64_t[]){N});
    Tensor yb = tensor_wrap(b, TENSOR_F32, 1, (int64_t[]){N});
    for (size_t k = 0; k < N_KEYS; k++) {
        for (size_t j = 0; j < N_KEYS; j++) {
            tensor_dropout(&ya, &x, keys[k], 0.5, -1, 0, 0);
            tensor_dropout(&yb, &x, keys[j], 0.5, -1, 0, 0);
            int differ = 0;
            for (int i = 0; i < N; i++)
                differ += a[i] != b[i];
            cr_expect(k == j ? differ == 0 : abs(differ - N / 2) < 70, "%zu %zu %d", k, j, differ);
        }
    }
}
