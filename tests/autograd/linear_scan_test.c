/* The linear recurrence as an op. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/sequence.h"

static AgTape *t;
static void start(void) { t = ag_tape_new(); }
static void stop(void) { ag_tape_free(t); }
TestSuite(linear_scan, .init = start, .fini = stop);

/* Waves: different values everywhere, between -1 and 1. */
static AgVar waves(TensorDtype dtype, int ndim, const int64_t *shape, double phase) {
    int64_t n = 1;
    for (int d = 0; d < ndim; d++) n *= shape[d];
    AgVar x = ag_sin(ag_affine(ag_arange(t, TENSOR_F64, 0, (double)n, 1), 1.7, phase));
    return ag_cast(ag_reshape(x, ndim, shape), dtype);
}
#define WAVES(phase, ...)                                                                       \
    waves(TENSOR_F64, (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__}, phase)

/* The same as a loop of ops; a and b have all T steps. */
static AgVar loop(AgVar a, AgVar b, AgVar h, bool reverse) {
    const int64_t T = ag_dim(b, 0);
    AgVar y[64];
    for (int64_t i = 0; i < T; i++) {
        int64_t s = reverse ? T - 1 - i : i;
        AgVar forced = ag_select(b, 0, s);
        h = y[s] = h.tape ? ag_add(ag_mul(ag_select(a, 0, s), h), forced) : forced;
    }
    return ag_stack((int)T, y, 0);
}

static void expect_near(AgVar got, AgVar want, double tolerance, const char *what) {
    cr_expect(tensor_same_shape(ag_value(got), ag_value(want)), "%s", what);
    for (int64_t i = 0; i < ag_numel(want); i++)
        cr_expect_float_eq(tensor_get(ag_value(got), i), tensor_get(ag_value(want), i), tolerance,
                           "%s %d (%s)", what, (int)i, ag_tape_error(t));
}

Test(linear_scan, and_its_gradients_are_those_of_a_loop_of_ops) {
    static const int64_t shapes[][3] = {{6, 2, 3}, {1, 2, 2}, {33, 1, 40}, {17, 3, 1}};
    for (int i = 0; i < 4 * 2 * 2; i++) {
        const int64_t *shape = shapes[i / 4];
        const bool reverse = i / 2 % 2, state = i % 2;
        ag_tape_reset(t);
        AgVar in[] = {waves(TENSOR_F64, 3, shape, 0), waves(TENSOR_F64, 3, shape, 1),
                      waves(TENSOR_F64, 2, shape + 1, 2)};
        AgVar h0 = state ? in[2] : (AgVar){0}, seed = waves(TENSOR_F64, 3, shape, 3);
        AgVar y = ag_linear_scan(in[0], in[1], h0, reverse), want = loop(in[0], in[1], h0, reverse);
        expect_near(y, want, 0, "h");
        AgVar g[3], want_g[3];
        cr_assert(ag_grad(y, seed, 2 + state, in, g, false), "%s", ag_tape_error(t));
        cr_assert(ag_grad(want, seed, 2 + state, in, want_g, false), "%s", ag_tape_error(t));
        for (int k = 0; k < 2 + state; k++) expect_near(g[k], want_g[k], 1e-12, "gradient");
    }
}

Test(linear_scan, takes_one_a_for_all_steps_and_a_state_that_broadcasts) {
    AgVar a = WAVES(0, 3), b = WAVES(1, 5, 2, 3), h0 = WAVES(2, 2, 1);
    AgVar in[] = {a, b, h0}, g[3], want[3];
    for (int reverse = 0; reverse < 2; reverse++) {
        AgVar y = ag_linear_scan(a, b, h0, reverse);
        AgVar full = loop(ag_expand(a, 3, (int64_t[]){5, 2, 3}), b,
                          ag_expand(h0, 2, (int64_t[]){2, 3}), reverse);
        expect_near(y, full, 0, "h");
        cr_assert(ag_grad(y, (AgVar){0}, 3, in, g, false) &&
                  ag_grad(full, (AgVar){0}, 3, in, want, false), "%s", ag_tape_error(t));
        for (int k = 0; k < 3; k++) expect_near(g[k], want[k], 1e-12, "gradient");
    }
}

Test(linear_scan, used_twice_has_the_sum_of_both_gradients) {
    AgVar a = WAVES(0, 3), b = WAVES(1, 5, 2, 3), h0 = WAVES(2, 3), in[] = {a, b, h0}, g[3], two[3];
    AgVar y = ag_sum(ag_linear_scan(a, b, h0, false), AG_ALL_AXES, false);
    AgVar again = ag_sum(ag_linear_scan(a, b, h0, false), AG_ALL_AXES, false);
    cr_assert(ag_grad(y, (AgVar){0}, 3, in, g, false));
    cr_assert(ag_grad(ag_add(y, again), (AgVar){0}, 3, in, two, false));
    for (int k = 0; k < 3; k++) expect_near(two[k], ag_affine(g[k], 2, 0), 1e-13, "gradient");
}

Test(linear_scan, of_ones_is_a_running_sum) {
    AgVar x = WAVES(0, 40, 3), one = ag_scalar(t, TENSOR_F64, 1);
    expect_near(ag_linear_scan(one, x, (AgVar){0}, false), ag_cumsum(x, 0), 1e-13, "sum");
}

Test(linear_scan, of_no_steps_is_empty_and_has_no_gradient) {
    AgVar a = WAVES(0, 1, 3), b = ag_full(t, TENSOR_F64, 3, (int64_t[]){0, 2, 3}, 1);
    AgVar in[] = {a, b, WAVES(1, 2, 3)}, g[3];
    AgVar y = ag_linear_scan(in[0], in[1], in[2], true);
    cr_assert(ag_ok(y) && ag_dim(y, 0) == 0 && ag_dim(y, 1) == 2 && ag_dim(y, 2) == 3);
    for (int create_graph = 0; create_graph < 2; create_graph++) {
        cr_assert(ag_grad(y, (AgVar){0}, 3, in, g, create_graph), "%s", ag_tape_error(t));
        for (int i = 0; i < 3; i++) expect_near(g[i], ag_affine(in[i], 0, 0), 0, "gradient");
    }
}

Test(linear_scan, keeps_nan_and_infinity_in_their_column_from_their_step_on) {
    double b[] = {1, 1, 1, NAN, 1, 1, 1, INFINITY, 1}, a[] = {.5, .5, .5};
    Tensor tb = tensor_wrap(b, TENSOR_F64, 2, (int64_t[]){3, 3});
    Tensor ta = tensor_wrap(a, TENSOR_F64, 1, (int64_t[]){3});
    AgVar y = ag_linear_scan(ag_input(t, &ta), ag_input(t, &tb), (AgVar){0}, false);
    const double want[] = {1, 1, 1, NAN, 1.5, 1.5, NAN, INFINITY, 1.75};
    for (int i = 0; i < 9; i++) {
        double got = tensor_get(ag_value(y), i);
        cr_expect(got == want[i] || (isnan(got) && isnan(want[i])), "%d: %g", i, got);
    }
}

/* exp(-1) times itself 200 times is far below the least float: the state must vanish, not trap. */
Test(linear_scan, of_a_decay_over_many_steps_forgets) {
    AgVar a = ag_full(t, TENSOR_F32, 1, (int64_t[]){1}, exp(-1));
    AgVar b = ag_full(t, TENSOR_F32, 2, (int64_t[]){200, 1}, 0), h0 = ag_scalar(t, TENSOR_F32, 1);
    AgVar g, last = ag_select(ag_linear_scan(a, b, h0, false), 0, 199);
    cr_expect_eq(tensor_get(ag_value(last), 0), 0);
    cr_assert(ag_grad(last, (AgVar){0}, 1, &h0, &g, false));
    cr_expect_eq(ag_item(g), 0);
}

Test(linear_scan, says_what_is_wrong_with_its_arguments) {
    AgVar x = WAVES(0, 4, 3);
    cr_expect(!ag_ok(ag_linear_scan(x, WAVES(0, 5, 3), (AgVar){0}, false)));
    cr_expect(strstr(ag_tape_error(t), "linear_scan(f64[4,3], f64[5,3]): shapes do not broadcast"),
              "%s", ag_tape_error(t));
    ag_tape_reset(t);
    x = WAVES(0, 4, 3);
    cr_expect(!ag_ok(ag_linear_scan(x, x, x, false)));
    cr_expect(strstr(ag_tape_error(t), "h0 does not broadcast to a step, f64[3]"), "%s",
              ag_tape_error(t));
}
