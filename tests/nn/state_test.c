/* State carried over windows: values pass, gradients do not. */
#include "nn/state.h"

#include <criterion/criterion.h>
#include <string.h>

static const int64_t s23[] = {2, 3}, s32[] = {3, 2};

static AgVar range(AgTape *t, double from) {
    return ag_reshape(ag_arange(t, TENSOR_F64, from, from + 6, 1), 2, s23);
}

Test(state, starts_at_zero_and_keeps_what_is_stored_over_resets) {
    NnState *st = nn_state_new(TENSOR_F64);
    AgTape *t = ag_tape_new();
    for (int window = 0; window < 3; window++) {
        AgVar h = nn_state_load(st, t, "h", 2, s23), c = nn_state_load(st, t, "c", 2, s23);
        for (int64_t i = 0; i < 6; i++) {
            cr_expect_eq(tensor_get(ag_value(h), i), window ? 10 * window + (double)i : 0);
            cr_expect_eq(tensor_get(ag_value(c), i), window ? 20 * window + (double)i : 0);
        }
        cr_expect(nn_state_store(st, "h", range(t, 10 * (window + 1))));
        cr_expect(nn_state_store(st, "c", range(t, 20 * (window + 1))));
        cr_expect_eq(tensor_get(ag_value(h), 1), window ? 10 * window + 1 : 0, "h is a copy");
        ag_tape_reset(t);
    }
    nn_state_zero(st);
    cr_expect_eq(tensor_get(ag_value(nn_state_load(st, t, "h", 2, s23)), 5), 0);
    cr_expect(ag_tape_ok(t), "%s", ag_tape_error(t));
    ag_tape_free(t);
    nn_state_free(st);
}

Test(state, the_gradient_ends_at_the_window) {
    NnState *st = nn_state_new(TENSOR_F64);
    AgTape *t = ag_tape_new();
    AgVar x = range(t, 1), gx;
    cr_assert(nn_state_store(st, "h", ag_square(x)));
    AgVar h = nn_state_load(st, t, "h", 2, s23);
    AgVar y = ag_sum(ag_mul(h, x), AG_ALL_AXES, false);
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &gx, false), "%s", ag_tape_error(t));
    for (int64_t i = 0; i < 6; i++)
        cr_expect_eq(tensor_get(ag_value(gx), i), (double)((i + 1) * (i + 1)),
                     "dy/dx has h, and nothing through it");
    ag_tape_free(t);
    nn_state_free(st);
}

Test(state, strided_values_are_stored_by_their_elements) {
    NnState *st = nn_state_new(TENSOR_F64);
    AgTape *t = ag_tape_new();
    cr_assert(nn_state_store(st, "h", ag_transpose(range(t, 0), 0, 1)));
    const Tensor *h = ag_value(nn_state_load(st, t, "h", 2, s32));
    const double want[] = {0, 3, 1, 4, 2, 5};
    for (int64_t i = 0; i < 6; i++) cr_expect_eq(tensor_get(h, i), want[i]);
    ag_tape_free(t);
    nn_state_free(st);
}

/* One window; returns the tape's memory. */
static size_t window(NnState *st, AgTape *t) {
    ag_tape_reset(t);
    nn_state_store(st, "h", ag_affine(nn_state_load(st, t, "h", 2, s23), 1, 1));
    return ag_tape_reserved(t);
}

Test(state, later_windows_take_no_memory) {
    NnState *st = nn_state_new(TENSOR_F64);
    AgTape *t = ag_tape_new();
    window(st, t);
    size_t first = window(st, t);
    for (int i = 0; i < 10; i++) cr_expect_eq(window(st, t), first);
    cr_expect_eq(tensor_get(ag_value(nn_state_load(st, t, "h", 2, s23)), 0), 12);
    ag_tape_free(t);
    nn_state_free(st);
}

Test(state, another_shape_or_dtype_is_an_error_on_the_tape) {
    NnState *st = nn_state_new(TENSOR_F64);
    AgTape *t = ag_tape_new();
    nn_state_load(st, t, "h", 2, s23);
    cr_expect(!ag_ok(nn_state_load(st, t, "h", 2, s32)));
    cr_expect(strstr(ag_tape_error(t), "state h: is f64[2,3], not f64[3,2]"), "%s",
              ag_tape_error(t));
    ag_tape_reset(t);
    cr_expect(!nn_state_store(st, "h", ag_full(t, TENSOR_F64, 2, s32, 1)));
    cr_expect(strstr(ag_tape_error(t), "is f64[2,3], not f64[3,2]"));
    ag_tape_reset(t);
    cr_expect(!nn_state_store(st, "h", ag_full(t, TENSOR_F32, 2, s23, 1)));
    cr_expect(strstr(ag_tape_error(t), "is f64[2,3], not f32[2,3]"));
    ag_tape_reset(t);
    cr_expect(!ag_ok(nn_state_load(st, t, "g", -1, s23)));
    cr_expect(!ag_tape_ok(t));
    ag_tape_reset(t);
    cr_expect(!ag_ok(nn_state_load(NULL, t, "h", 2, s23)));
    cr_expect(strstr(ag_tape_error(t), "out of memory"));
    ag_tape_free(t);
    nn_state_free(st);
}

Test(state, a_failed_variable_changes_nothing) {
    NnState *st = nn_state_new(TENSOR_F64);
    AgTape *t = ag_tape_new();
    nn_state_store(st, "h", range(t, 5));
    cr_expect(!nn_state_store(st, "h", ag_fail(t, "on purpose")));
    ag_tape_reset(t);
    cr_expect_eq(tensor_get(ag_value(nn_state_load(st, t, "h", 2, s23)), 0), 5);
    ag_tape_free(t);
    nn_state_free(st);
    nn_state_free(NULL);
    nn_state_zero(NULL);
}
