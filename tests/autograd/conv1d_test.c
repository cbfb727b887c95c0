/* The causal convolution, against loops in plain C. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/sequence.h"
#include "tensor/isa.h"

static AgTape *t;
static void start(void) { t = ag_tape_new(); }
static void stop(void) { ag_tape_free(t); }
TestSuite(conv1d, .init = start, .fini = stop);

typedef struct {
    int64_t T, B, I, H, width, dilation, groups;
} Case;

/* Groups as matrices and as columns, one channel in or out, a width beyond T, nothing. */
static const Case cases[] = {
    {7, 2, 3, 4, 3, 1, 1},    {9, 3, 4, 6, 2, 3, 2},    {5, 1, 40, 33, 4, 1, 1},
    {3, 2, 2, 3, 5, 1, 1},    {4, 2, 3, 2, 3, 7, 1},    {6, 2, 5, 5, 3, 2, 5},
    {6, 1, 70, 70, 4, 1, 70}, {5, 2, 17, 34, 2, 1, 17}, {5, 2, 34, 17, 2, 1, 17},
    {4, 2, 32, 48, 3, 1, 16}, {4, 2, 3, 9, 2, 1, 3},    {8, 2, 1, 20, 3, 1, 1},
    {1, 1, 1, 1, 1, 1, 1},    {0, 2, 3, 4, 2, 1, 1},    {3, 0, 4, 4, 2, 1, 4},
    {3, 2, 0, 4, 2, 1, 2},    {3, 2, 4, 0, 2, 1, 2},    {2, 2, 6, 6, 3, INT64_MAX, 6},
    {50, 1, 3, 3, 3, 4, 3},   {40, 2, 20, 20, 4, 2, 1},
};
enum { CASES = sizeof cases / sizeof *cases };

static AgVar waves(TensorDtype dtype, int64_t p, int64_t q, int64_t r, double phase) {
    AgVar x = ag_arange(t, TENSOR_F64, 0, (double)(p * q * r), 1);
    return ag_cast(ag_reshape(ag_sin(ag_affine(x, 1.7, phase)), 3, (int64_t[]){p, q, r}), dtype);
}

/* x, weight, bias, and a dL/dy */
typedef struct {
    AgVar in[3], seed;
} Inputs;

static Inputs inputs_for(const Case *c, TensorDtype dtype) {
    AgVar bias = waves(dtype, c->H, 1, 1, 2);
    return (Inputs){{waves(dtype, c->T, c->B, c->I, 0),
                     waves(dtype, c->H, c->I / c->groups, c->width, 1),
                     ag_reshape(bias, 1, &c->H)},
                    waves(dtype, c->T, c->B, c->H, 3)};
}

/* The same values in other memory: batch first, and within a larger tensor. */
static AgVar batch_first(AgVar x) {
    return ag_transpose(ag_contiguous(ag_transpose(x, 0, 1)), 0, 1);
}

static AgVar within_larger(AgVar x) {
    int64_t n = ag_dim(x, 2);
    return ag_narrow(ag_pad(x, 3, (int64_t[]){2, 3, 1, 1, 2, 0}, 9), 2, 2, n);
}

static AgVar as_view(AgVar x, int kind) {
    if (kind == 0) return x;
    if (kind == 1) return batch_first(x);
    if (kind == 2) return ag_flip(ag_contiguous(ag_flip(x, AG_AXES(0, 2))), AG_AXES(0, 2));
    AgVar y = within_larger(x);
    return ag_narrow(ag_narrow(y, 0, 2, ag_dim(x, 0)), 1, 1, ag_dim(x, 1));
}

/* ---- loops ---- */

static double at(AgVar x, int64_t i, int64_t j, int64_t k) {
    return tensor_get(ag_value(x), (i * ag_dim(x, 1) + j) * ag_dim(x, 2) + k);
}

/* The step that tap k sees from step s, or -1. */
static int64_t seen(const Case *c, int64_t s, int64_t k) {
    const int64_t taps = c->width - 1 - k;
    return taps > s / c->dilation ? -1 : s - taps * c->dilation;
}

static double y_at(const Case *c, const Inputs *v, int64_t s, int64_t b, int64_t h) {
    const int64_t ins = c->I / c->groups, first = h / (c->H / c->groups) * ins;
    double sum = tensor_get(ag_value(v->in[2]), h);
    for (int64_t k = 0; k < c->width; k++)
        for (int64_t i = 0; i < ins && seen(c, s, k) >= 0; i++)
            sum += at(v->in[1], h, i, k) * at(v->in[0], seen(c, s, k), b, first + i);
    return sum;
}

/* The gradients of sum(seed y), added up into arrays. */
static void gradients(const Case *c, const Inputs *v, double *dx, double *dw, double *db) {
    const int64_t ins = c->I / c->groups, outs = c->H / c->groups;
    for (int64_t p = 0; p < c->T * c->B * c->H; p++) {
        const int64_t h = p % c->H, b = p / c->H % c->B, s = p / c->H / c->B;
        const int64_t first = h / outs * ins;
        const double g = at(v->seed, s, b, h);
        db[h] += g;
        for (int64_t k = 0; k < c->width; k++)
            for (int64_t i = 0, from = seen(c, s, k); i < ins && from >= 0; i++) {
                dx[(from * c->B + b) * c->I + first + i] += g * at(v->in[1], h, i, k);
                dw[(h * ins + i) * c->width + k] += g * at(v->in[0], from, b, first + i);
            }
    }
}

static void expect_values(AgVar got, const double *want, double scale, double tolerance, int line,
                          const char *what) {
    for (int64_t i = 0; i < ag_numel(got); i++) {
        double x = tensor_get(ag_value(got), i), y = scale * want[i];
        cr_expect(fabs(x - y) <= tolerance * (1 + fabs(y)), "case %d, %s, %s %d: %g, wants %g",
                  line, tensor_isa_name(tensor_isa()), what, (int)i, x, y);
    }
}

static double *zeros(AgVar like) {
    double *p = calloc((size_t)ag_numel(like) + 1, sizeof *p);
    cr_assert(p != NULL);
    return p;
}

static void expect_case(int line, TensorDtype dtype, int view) {
    static const char *const names[] = {"dx", "dweight", "dbias"};
    const Case *c = &cases[line];
    const double tolerance = dtype == TENSOR_F32 ? 1e-5 : 1e-13;
    ag_tape_reset(t);
    Inputs v = inputs_for(c, dtype);
    const AgConv1dOptions o = {c->dilation, c->groups};
    AgVar x = as_view(v.in[0], view), seed = as_view(v.seed, view);
    AgVar y = ag_conv1d(x, v.in[1], v.in[2], &o);
    cr_assert(ag_ok(y), "case %d: %s", line, ag_tape_error(t));
    for (int64_t p = 0; p < ag_numel(y); p++) {
        double want = y_at(c, &v, p / c->H / c->B, p / c->H % c->B, p % c->H);
        cr_expect(fabs(tensor_get(ag_value(y), p) - want) <= tolerance * (1 + fabs(want)),
                  "case %d, %s, y %d", line, tensor_isa_name(tensor_isa()), (int)p);
    }
    double *want[3];
    for (int i = 0; i < 3; i++) want[i] = zeros(v.in[i]);
    gradients(c, &v, want[0], want[1], want[2]);
    AgVar once[3], twice[3], both[] = {y, ag_conv1d(x, v.in[1], v.in[2], &o)};
    cr_assert(ag_grad(y, seed, 3, v.in, once, false), "case %d: %s", line, ag_tape_error(t));
    cr_assert(ag_grad_n(2, both, (AgVar[]){seed, seed}, 3, v.in, twice, false));
    for (int i = 0; i < 3; i++) {
        expect_values(once[i], want[i], 1, tolerance, line, names[i]);
        expect_values(twice[i], want[i], 2, tolerance, line, names[i]);
        free(want[i]);
    }
}

static void expect_cases(TensorIsa isa) {
    if (!tensor_isa_set(isa)) return;
    for (int i = 0; i < CASES; i++)
        for (int view = 0; view < 4; view++) {
            expect_case(i, TENSOR_F64, view);
            expect_case(i, TENSOR_F32, view);
        }
}

Test(conv1d, is_that_of_loops_with_plain_kernels) { expect_cases(TENSOR_ISA_PLAIN); }
Test(conv1d, is_that_of_loops_with_the_baseline) { expect_cases(TENSOR_ISA_BASELINE); }
Test(conv1d, is_that_of_loops_with_avx2) { expect_cases(TENSOR_ISA_AVX2); }
Test(conv1d, is_that_of_loops_with_avx512) { expect_cases(TENSOR_ISA_AVX512); }

/* ---- what the manual says ---- */

/* 1, 2, .. through taps 10, 1 by hand: y_t = 10 x_{t-1} + x_t + 100. */
Test(conv1d, multiplies_the_last_tap_with_the_step_itself) {
    AgVar x = ag_reshape(ag_arange(t, TENSOR_F64, 1, 5, 1), 3, (int64_t[]){4, 1, 1});
    double taps[] = {10, 1}, bias = 100;
    Tensor w = tensor_wrap(taps, TENSOR_F64, 3, (int64_t[]){1, 1, 2});
    Tensor b = tensor_wrap(&bias, TENSOR_F64, 1, (int64_t[]){1});
    AgVar y = ag_conv1d(x, ag_input(t, &w), ag_input(t, &b), NULL);
    const double want[] = {101, 112, 123, 134};
    expect_values(y, want, 1, 0, 0, "y");
    AgConv1dOptions apart = {.dilation = 3};
    const double want_apart[] = {1, 2, 3, 14};
    expect_values(ag_conv1d(x, ag_input(t, &w), (AgVar){0}, &apart), want_apart, 1, 0, 0, "y");
}

Test(conv1d, sees_nothing_of_what_comes) {
    for (int line = 0; line < CASES; line++) {
        const Case *c = &cases[line];
        if (c->T < 2) continue;
        ag_tape_reset(t);
        Inputs v = inputs_for(c, TENSOR_F32);
        AgConv1dOptions o = {c->dilation, c->groups};
        AgVar past = ag_narrow(v.in[0], 0, 0, c->T - 1);
        AgVar nan = ag_full(t, TENSOR_F32, 3, (int64_t[]){1, c->B, c->I}, NAN);
        AgVar x = ag_concat(2, (AgVar[]){past, nan}, 0);
        AgVar y = ag_narrow(ag_conv1d(x, v.in[1], v.in[2], &o), 0, 0, c->T - 1);
        AgVar want = ag_conv1d(past, v.in[1], v.in[2], &o);
        cr_assert(ag_ok(want), "%s", ag_tape_error(t));
        for (int64_t i = 0; i < ag_numel(want); i++)
            cr_expect_eq(tensor_get(ag_value(y), i), tensor_get(ag_value(want), i), "case %d",
                         line);
    }
}

Test(conv1d, gives_a_row_the_same_bits_whatever_the_other_rows_are) {
    for (int line = 0; line < CASES; line++) {
        const Case *c = &cases[line];
        if (c->B < 2) continue;
        ag_tape_reset(t);
        Inputs v = inputs_for(c, TENSOR_F32);
        AgConv1dOptions o = {c->dilation, c->groups};
        AgVar all = ag_narrow(ag_conv1d(v.in[0], v.in[1], v.in[2], &o), 1, 1, 1);
        AgVar own = ag_conv1d(ag_narrow(v.in[0], 1, 1, 1), v.in[1], v.in[2], &o);
        for (int64_t i = 0; i < ag_numel(own); i++)
            cr_expect_eq(tensor_get(ag_value(all), i), tensor_get(ag_value(own), i), "case %d",
                         line);
    }
}

static void expect_error(AgVar x, AgVar w, AgVar b, AgConv1dOptions o, const char *message) {
    cr_expect(!ag_ok(ag_conv1d(x, w, b, &o)) && strstr(ag_tape_error(t), message), "%s: %s",
              message, ag_tape_error(t));
    ag_tape_reset(t);
}

Test(conv1d, says_what_is_wrong_with_its_arguments) {
#define X waves(TENSOR_F64, 5, 2, 4, 0)
#define W waves(TENSOR_F64, 6, 2, 3, 0)
    expect_error(X, W, (AgVar){0}, (AgConv1dOptions){1, 1},
                 "conv1d(f64[5,2,4], f64[6,2,3]): x has 4 channels, the weight and groups want 2");
    expect_error(X, W, (AgVar){0}, (AgConv1dOptions){-1, 2}, "dilation is -1, wants 1 or more");
    expect_error(X, W, (AgVar){0}, (AgConv1dOptions){1, -2}, "groups is -2, wants 1 or more");
    expect_error(X, W, (AgVar){0}, (AgConv1dOptions){1, 3}, "3 groups do not divide I = 4");
    expect_error(X, W, (AgVar){0}, (AgConv1dOptions){1, 4}, "4 groups do not divide H = 6");
    expect_error(X, W, ag_scalar(t, TENSOR_F64, 1), (AgConv1dOptions){1, 2}, "wants a bias [H]");
    expect_error(X, waves(TENSOR_F64, 6, 2, 0, 0), (AgVar){0}, (AgConv1dOptions){1, 2},
                 "the weight's width is 0");
    expect_error(ag_select(X, 0, 0), W, (AgVar){0}, (AgConv1dOptions){1, 2}, "wants x [T, B, I]");
    AgVar no_rows = ag_full(t, TENSOR_F64, 3, (int64_t[]){0, 4, 3}, 0);
    expect_error(ag_narrow(X, 2, 0, 0), no_rows, (AgVar){0},
                 (AgConv1dOptions){1, (int64_t)1 << 62}, "groups are too many");
}

Test(conv1d, takes_no_time_for_groups_of_nothing) {
    AgVar x = ag_full(t, TENSOR_F64, 3, (int64_t[]){3, 2, 0}, 0);
    AgVar w = ag_full(t, TENSOR_F64, 3, (int64_t[]){0, 0, 4}, 0), gx[2];
    AgVar y = ag_conv1d(x, w, (AgVar){0}, &(AgConv1dOptions){.groups = INT64_MAX});
    cr_assert(ag_grad(y, (AgVar){0}, 2, (AgVar[]){x, w}, gx, true), "%s", ag_tape_error(t));
    cr_expect_eq(ag_dim(gx[1], 2), 4);
}
