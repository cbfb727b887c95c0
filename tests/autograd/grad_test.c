/* The sweep: whole gradients, partial ones, views in place, second order. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/inspect.h"

static AgTape *t;
static void start(void) { t = ag_tape_new(); }
static void stop(void) { ag_tape_free(t); }
TestSuite(grad, .init = start, .fini = stop);

static const AgVar ones; /* a seed of {0} */

static AgVar scalar(double v) { return ag_scalar(t, TENSOR_F64, v); }

static double derivative(AgVar y, AgVar x) {
    AgVar g;
    cr_assert(ag_grad(y, ones, 1, &x, &g, false), "%s", ag_tape_error(t));
    return ag_item(g);
}

/* A parameter of the test's own. */
typedef struct {
    double value[12], grad[12];
    AgLeaf leaf;
} Param;
static AgVar param(Param *p, int64_t rows, int64_t cols) {
    int64_t shape[] = {rows, cols};
    p->leaf = (AgLeaf){.name = "p", .value = tensor_wrap(p->value, TENSOR_F64, 2, shape),
                       .grad = tensor_wrap(p->grad, TENSOR_F64, 2, shape)};
    return ag_leaf(t, p, &p->leaf);
}

Test(grad, sums_over_all_paths) {
    AgVar x = scalar(3);
    AgVar y = ag_mul(ag_add(x, x), ag_square(x)); /* 2 x^3 */
    cr_expect_eq(derivative(y, x), 54);
    cr_expect_eq(derivative(ag_mul(x, x), x), 6);
    cr_expect_eq(derivative(ag_div(x, x), x), 0);
}

Test(grad, of_a_variable_y_does_not_depend_on_is_zero) {
    AgVar x = scalar(3), z = scalar(4);
    cr_expect_eq(derivative(ag_square(x), z), 0);
    AgVar later = ag_square(x), unrelated = ag_square(later);
    cr_expect_eq(derivative(later, unrelated), 0);
}

Test(grad, of_y_with_respect_to_itself_and_intermediates) {
    AgVar x = scalar(3), h = ag_square(x), y = ag_mul(h, x);
    AgVar in[] = {y, h, x}, g[3];
    cr_assert(ag_grad(y, ones, 3, in, g, false));
    cr_expect_eq(ag_item(g[0]), 1);
    cr_expect_eq(ag_item(g[1]), 3);
    cr_expect_eq(ag_item(g[2]), 27);
}

Test(grad, can_be_taken_twice_of_one_record) {
    AgVar x = scalar(3), y = ag_exp(x);
    cr_expect_eq(derivative(y, x), derivative(y, x));
}

Test(grad, stops_at_detached_values_and_without_recording) {
    AgVar x = scalar(3);
    cr_expect_eq(derivative(ag_mul(x, ag_detach(x)), x), 3);
    ag_tape_no_grad(t, true);
    AgVar constant = ag_square(x);
    ag_tape_no_grad(t, false);
    cr_expect_eq(derivative(ag_mul(constant, x), x), 9);
}

Test(grad, through_an_alias_is_the_share_of_that_use) {
    AgVar x = scalar(3), use = ag_alias(x);
    AgVar y = ag_mul(x, ag_square(use)); /* x u^2 */
    cr_expect_eq(derivative(y, use), 18);
    cr_expect_eq(derivative(y, x), 27);
}

Test(grad, uses_the_seed) {
    AgVar x = ag_arange(t, TENSOR_F64, 1, 4, 1), seed = ag_arange(t, TENSOR_F64, 0, 3, 1), g;
    cr_assert(ag_grad(ag_square(x), seed, 1, &x, &g, false));
    for (int i = 0; i < 3; i++) cr_expect_eq(tensor_get(ag_value(g), i), 2 * i * (i + 1));
}

Test(grad, of_several_results_is_summed) {
    AgVar x = scalar(2), y[] = {ag_square(x), ag_exp(x)}, seed[] = {scalar(3), {0}}, g;
    cr_assert(ag_grad_n(2, y, seed, 1, &x, &g, false));
    cr_expect_float_eq(ag_item(g), 12 + exp(2), 1e-14);
}

Test(grad, second_and_third_derivatives) {
    AgVar x = scalar(.7), y = ag_tanh(x), d1, d2, d3;
    cr_assert(ag_grad(y, ones, 1, &x, &d1, true));
    cr_assert(ag_grad(d1, ones, 1, &x, &d2, true));
    cr_assert(ag_grad(d2, ones, 1, &x, &d3, false));
    double h = tanh(.7), s = 1 - h * h;
    cr_expect_float_eq(ag_item(d1), s, 1e-15);
    cr_expect_float_eq(ag_item(d2), -2 * h * s, 1e-14);
    cr_expect_float_eq(ag_item(d3), -2 * s * s + 4 * h * h * s, 1e-14);
}

Test(grad, of_a_gradient_norm) { /* d/dx |d(x^3)/dx|^2 = 2 (3 x^2) (6 x) */
    AgVar x = scalar(2), g;
    cr_assert(ag_grad(ag_mul(x, ag_square(x)), ones, 1, &x, &g, true));
    cr_expect_eq(derivative(ag_square(g), x), 2 * 12 * 12);
}

Test(grad, refuses_what_has_no_gradient) {
    AgVar x = scalar(1), i = ag_arange(t, TENSOR_I64, 0, 3, 1), g;
    cr_expect(!ag_grad(x, ones, 1, &i, &g, false));
    cr_expect(strstr(ag_tape_error(t), "grad: input 0 is i64, wants f32 or f64"), "%s",
              ag_tape_error(t));
    cr_expect(!ag_ok(g));
    ag_tape_reset(t);
    AgVar y = ag_full(t, TENSOR_F64, 1, (int64_t[]){3}, 1), seed = scalar(1);
    cr_expect(!ag_grad(y, seed, 1, &y, &g, false));
    cr_expect(strstr(ag_tape_error(t), "seed is f64[], the result is f64[3]"), "%s",
              ag_tape_error(t));
}

/* ---- backward ---- */

Test(grad, backward_adds_into_parameters) {
    Param p = {.value = {1, 2, 3, 4, 5, 6}};
    for (int times = 1; times <= 2; times++) {
        ag_tape_reset(t);
        AgVar w = param(&p, 2, 3);
        cr_assert(ag_backward(ag_sum(ag_square(w), AG_ALL_AXES, false)), "%s", ag_tape_error(t));
        for (int i = 0; i < 6; i++) cr_expect_eq(p.grad[i], times * 2 * p.value[i]);
    }
}

Test(grad, backward_wants_a_scalar_and_a_parameter) {
    Param p = {.value = {1, 2}};
    cr_expect(!ag_backward(param(&p, 1, 2)));
    cr_expect(strstr(ag_tape_error(t), "the loss is f64[1,2], wants one element"));
    ag_tape_reset(t);
    cr_expect(!ag_backward(ag_square(scalar(2))));
    cr_expect(strstr(ag_tape_error(t), "depends on no parameter"));
    ag_tape_reset(t);
    ag_tape_no_grad(t, true);
    cr_expect(!ag_backward(ag_sum(param(&p, 1, 2), AG_ALL_AXES, false)));
}

Test(grad, a_frozen_parameter_gets_none) {
    Param p = {.value = {2}}, frozen = {.value = {3}};
    AgVar w = param(&p, 1, 1);
    frozen.leaf = p.leaf;
    frozen.leaf.value.data = frozen.value;
    frozen.leaf.grad = tensor_nil();
    AgVar f = ag_leaf(t, &frozen, &frozen.leaf);
    cr_assert(ag_backward(ag_mul(w, f)));
    cr_expect_eq(p.grad[0], 3);
    cr_expect_eq(frozen.grad[0], 0);
}

Test(grad, watched_intermediates_keep_their_gradient) {
    Param p = {.value = {2}};
    AgVar w = param(&p, 1, 1), h = ag_square(w), y = ag_mul(h, w);
    ag_watch(h, "h");
    Tensor before = ag_watched(t, "h");
    cr_expect(tensor_is_nil(&before));
    cr_assert(ag_backward(y), "%s", ag_tape_error(t));
    Tensor g = ag_watched(t, "h");
    cr_assert(!tensor_is_nil(&g));
    cr_expect_eq(tensor_get(&g, 0), 2);
    cr_expect_eq(p.grad[0], 12);
    Tensor none = ag_watched(t, "other");
    cr_expect(tensor_is_nil(&none));
}

Test(grad, watched_variables_of_one_name_are_told_apart) {
    Param p = {.value = {2}};
    AgVar w = param(&p, 1, 1), h = ag_square(w), y = ag_mul(h, w), named = ag_affine(y, 5, 0);
    ag_watch(h, "same");
    ag_watch(y, "same");
    ag_name(named, "same");
    cr_assert(ag_backward(named), "%s", ag_tape_error(t));
    Tensor gh = ag_watched_var(h), gy = ag_watched_var(y);
    cr_expect_eq(tensor_get(&gh, 0), 10);
    cr_expect_eq(tensor_get(&gy, 0), 5);
    Tensor none[] = {ag_watched_var(named), ag_watched_var(w), ag_watched_var((AgVar){0})};
    for (int i = 0; i < 3; i++) cr_expect(tensor_is_nil(&none[i]));
    ag_tape_reset(t);
    Tensor stale = ag_watched_var(h);
    cr_expect(tensor_is_nil(&stale));
}

Test(grad, a_watched_parameter_shows_the_last_backward_alone) {
    Param p = {.value = {2}, .grad = {100}};
    AgVar w = param(&p, 1, 1), y = ag_square(w), other = ag_square(scalar(1));
    ag_watch(w, "w");
    ag_watch(other, "other");
    cr_assert(ag_backward(y));
    Tensor g = ag_watched(t, "w"), none = ag_watched(t, "other");
    cr_expect_eq(tensor_get(&g, 0), 4);
    cr_expect(tensor_is_nil(&none));
    cr_expect_eq(p.grad[0], 104);
}

Test(grad, may_overwrite_the_handles_it_was_asked_for) {
    AgVar x = scalar(3), y = ag_square(x);
    cr_assert(ag_grad(y, ones, 1, &x, &x, false), "%s", ag_tape_error(t));
    cr_expect_eq(ag_item(x), 6);
}

Test(grad, a_watched_view_keeps_its_own_gradient) {
    Param p = {.value = {1, 2, 3, 4}};
    AgVar row = ag_select(param(&p, 2, 2), 0, 1);
    ag_watch(row, "row");
    cr_assert(ag_backward(ag_sum(ag_square(row), AG_ALL_AXES, false)));
    Tensor g = ag_watched(t, "row");
    cr_assert_eq(tensor_numel(&g), 2);
    cr_expect_eq(tensor_get(&g, 1), 8);
    cr_expect_eq(p.grad[3], 8);
    cr_expect_eq(p.grad[0], 0);
}

Test(grad, an_op_on_one_element_equals_finite_differences_of_a_whole_network_step) {
    Param p = {.value = {.1, -.2, .3, .4, -.5, .6}};
    double loss[3], h = 1e-5;
    for (int k = 0; k < 3; k++) {
        ag_tape_reset(t);
        if (k) p.value[4] += k == 1 ? h : -2 * h;
        AgVar w = param(&p, 2, 3), x = ag_full(t, TENSOR_F64, 2, (int64_t[]){4, 2}, .5);
        AgVar y = ag_sum(ag_sigmoid(ag_matmul(x, w)), AG_ALL_AXES, false);
        loss[k] = ag_item(y);
        if (!k) cr_assert(ag_backward(y));
    }
    cr_expect_float_eq(p.grad[4], (loss[1] - loss[2]) / (2 * h), 1e-9);
}

/* ---- views ---- */

/* Every kind of view of one parameter, used more than once: in place gradients against the ones
 * that recorded rules give. */
static AgVar tangle(AgVar w) {
    AgVar flat = ag_reshape(w, 1, (int64_t[]){12});
    AgVar columns = ag_transpose(w, 0, 1);                           /* [4,3] */
    AgVar again = ag_reshape(columns, 2, (int64_t[]){2, 6});         /* copies */
    AgVar part = ag_narrow(ag_permute(w, (int[]){1, 0}), 0, 1, 2);   /* [2,3] */
    AgVar row = ag_select(w, 0, 1), same = ag_select(w, 0, 1);
    AgVar wide = ag_expand(ag_unsqueeze(row, 0), 2, (int64_t[]){3, 4});
    AgVar chunk = ag_chunk(flat, 0, 3, 2);
    AgVar sum = ag_sum(ag_mul(wide, w), AG_ALL_AXES, false);
    sum = ag_add(sum, ag_sum(ag_square(again), AG_ALL_AXES, false));
    sum = ag_add(sum, ag_sum(ag_tanh(part), AG_ALL_AXES, false));
    sum = ag_add(sum, ag_sum(ag_mul(row, same), AG_ALL_AXES, false));
    sum = ag_add(sum, ag_sum(ag_mul(chunk, ag_add(chunk, row)), AG_ALL_AXES, false));
    sum = ag_add(sum, ag_sum(ag_matmul(w, columns), AG_ALL_AXES, false));
    return ag_add(sum, ag_sum(flat, AG_ALL_AXES, false));
}

Test(grad, views_in_place_agree_with_recorded_rules) {
    Param p = {.value = {.1, -.2, .3, .4, -.5, .6, .7, -.8, .9, 1, -1.1, 1.2}};
    AgVar w = param(&p, 3, 4), y = tangle(w), fast, recorded;
    cr_assert(ag_grad(y, ones, 1, &w, &fast, false), "%s", ag_tape_error(t));
    cr_assert(ag_grad(y, ones, 1, &w, &recorded, true), "%s", ag_tape_error(t));
    cr_assert(ag_backward(y), "%s", ag_tape_error(t));
    for (int i = 0; i < 12; i++) {
        double a = tensor_get(ag_value(fast), i), b = tensor_get(ag_value(recorded), i);
        cr_expect_float_eq(a, b, 1e-13, "element %d: %g and %g", i, a, b);
        cr_expect_float_eq(p.grad[i], b, 1e-13, "element %d: %g and %g", i, p.grad[i], b);
    }
}

Test(grad, a_reshape_of_a_transposed_borrowed_matrix) {
    /* Column-major memory: transposing makes it contiguous, so forward needs no copy, while the
     * gradient's own buffer is row-major and allows no such view. */
    double memory[6] = {1, 2, 3, 4, 5, 6};
    Tensor rows = tensor_wrap(memory, TENSOR_F64, 2, (int64_t[]){3, 2});
    Tensor columns = tensor_transpose(&rows, 0, 1);
    AgVar x = ag_borrow(t, &columns), g;
    AgVar flat = ag_reshape(ag_transpose(x, 0, 1), 1, (int64_t[]){6});
    AgVar weight = ag_arange(t, TENSOR_F64, 0, 6, 1);
    AgVar y = ag_add(ag_sum(ag_mul(flat, weight), AG_ALL_AXES, false),
                     ag_sum(ag_select(x, 0, 0), AG_ALL_AXES, false));
    cr_assert(ag_grad(y, ones, 1, &x, &g, false), "%s", ag_tape_error(t));
    const double want[] = {1, 3, 5, 1, 3, 5}; /* [2,3]: weight^T, and 1 on row 0 */
    for (int i = 0; i < 6; i++)
        cr_expect_eq(tensor_get(ag_value(g), i), want[i], "%d: %g", i, tensor_get(ag_value(g), i));
}

Test(grad, selects_of_a_long_sequence_cost_linear_memory) {
    size_t used[2];
    for (int k = 0; k < 2; k++) {
        int64_t T = 100 << k, shape[] = {T, 64};
        ag_tape_reset(t);
        AgVar x = ag_full(t, TENSOR_F64, 2, shape, 1), h = ag_select(x, 0, 0), g;
        for (int64_t s = 1; s < T; s++) h = ag_add(h, ag_select(x, 0, s));
        size_t before = ag_tape_bytes(t);
        cr_assert(ag_grad(h, ones, 1, &x, &g, false));
        used[k] = ag_tape_bytes(t) - before;
        cr_expect_eq(tensor_get(ag_value(g), T * 64 - 1), 1);
    }
    cr_expect_lt(used[1], 3 * used[0], "%zu bytes for 100 steps, %zu for 200", used[0], used[1]);
}

Test(grad, of_a_very_long_chain_of_views) {
    AgVar x = ag_full(t, TENSOR_F64, 1, (int64_t[]){3}, 2), v = x, g;
    for (int i = 0; i < 100000; i++) v = ag_narrow(v, 0, 0, i < 10 ? 3 : 2);
    cr_assert(ag_grad(ag_sum(v, AG_ALL_AXES, false), ones, 1, &x, &g, false), "%s",
              ag_tape_error(t));
    for (int i = 0; i < 3; i++) cr_expect_eq(tensor_get(ag_value(g), i), i < 2);
}

Test(grad, one_buffer_for_two_inputs_is_not_added_twice) {
    /* add hands its own gradient to both inputs; each then receives more. */
    AgVar a = scalar(2), b = scalar(5);
    AgVar s = ag_add(a, b), y = ag_add(ag_mul(s, a), ag_mul(s, b)); /* (a + b)^2 */
    AgVar in[] = {a, b}, g[2];
    cr_assert(ag_grad(y, ones, 2, in, g, false));
    cr_expect_eq(ag_item(g[0]), 14);
    cr_expect_eq(ag_item(g[1]), 14);
}

/* ---- known results ---- */

/* x_t = w x_{t-1}, x_0 = .9, w = .2: dx_3/dw = 3 w^2 x_0 = .108. */
Test(grad, through_three_steps_of_time) {
    AgVar w = scalar(.2), x = scalar(.9);
    for (int step = 0; step < 3; step++) x = ag_mul(w, x);
    cr_expect_float_eq(derivative(x, w), .108, 1e-15);
}

Test(grad, ties_share_and_kinks_are_flat_on_one_side) {
    AgVar a = scalar(2), b = scalar(2), in[] = {a, b}, g[2];
    cr_assert(ag_grad(ag_maximum(a, b), ones, 2, in, g, false));
    cr_expect(ag_item(g[0]) == .5 && ag_item(g[1]) == .5);
    cr_assert(ag_grad(ag_minimum(a, b), ones, 2, in, g, false));
    cr_expect(ag_item(g[0]) == .5 && ag_item(g[1]) == .5);
    AgVar x = ag_full(t, TENSOR_F64, 1, (int64_t[]){4}, 7);
    cr_assert(ag_grad(ag_amax(x, AG_ALL_AXES, false), ones, 1, &x, g, false));
    for (int i = 0; i < 4; i++) cr_expect_eq(tensor_get(ag_value(g[0]), i), .25);
    AgVar zero = scalar(0);
    cr_expect_eq(derivative(ag_relu(zero), zero), 0);
    cr_expect_eq(derivative(ag_abs(zero), zero), 0);
}

Test(grad, of_powers_at_the_borders) {
    AgVar zero = scalar(0), three = scalar(3), none = scalar(0);
    cr_expect_eq(derivative(ag_pow(zero, three), zero), 0);
    cr_expect_eq(derivative(ag_pow(zero, three), three), 0);
    cr_expect_eq(derivative(ag_pow(zero, none), zero), 0);
    AgVar below = scalar(-2);
    cr_expect_eq(derivative(ag_pow(below, three), below), 12);
}

Test(grad, where_keeps_nan_of_the_other_side_out) {
    AgVar x = scalar(-1), bad = ag_log(x), y = ag_where(ag_gt(x, scalar(0)), bad, ag_square(x));
    AgVar g;
    cr_expect_eq(ag_item(y), 1);
    cr_assert(ag_grad(ag_where(ag_gt(x, scalar(0)), scalar(NAN), ag_square(x)), ones, 1, &x, &g,
                      false));
    cr_expect_eq(ag_item(g), -2);
}

Test(grad, of_logsumexp_and_softmax_at_extremes) {
    const double big[] = {1000, 1000, -INFINITY};
    double copy[3];
    memcpy(copy, big, sizeof big);
    Tensor v = tensor_wrap(copy, TENSOR_F64, 1, (int64_t[]){3});
    AgVar x = ag_input(t, &v), y = ag_logsumexp(x, AG_ALL_AXES, false), g;
    cr_expect_float_eq(ag_item(y), 1000 + log(2), 1e-12);
    cr_assert(ag_grad(y, ones, 1, &x, &g, false));
    cr_expect_float_eq(tensor_get(ag_value(g), 0), .5, 1e-12);
    cr_expect_eq(tensor_get(ag_value(g), 2), 0);
    AgVar nothing = ag_full(t, TENSOR_F64, 1, (int64_t[]){2}, -INFINITY);
    cr_assert(ag_grad(ag_logsumexp(nothing, AG_ALL_AXES, false), ones, 1, &nothing, &g, true));
    cr_expect_eq(tensor_get(ag_value(g), 0), 0);
    cr_assert(ag_grad(g, ones, 1, &nothing, &g, false));
    cr_expect_eq(tensor_get(ag_value(g), 0), 0);
}

Test(grad, an_ignored_target_has_no_part_in_loss_and_gradient) {
    AgVar x = ag_arange(t, TENSOR_F64, 0, 6, 1), logits = ag_reshape(x, 2, (int64_t[]){2, 3}), g;
    int64_t classes[] = {1, AG_IGNORE_INDEX};
    Tensor target = tensor_wrap(classes, TENSOR_I64, 1, (int64_t[]){2});
    AgVar loss = ag_cross_entropy(logits, ag_input(t, &target), NULL);
    double lse = log(1 + exp(1) + exp(2));
    cr_expect_float_eq(ag_item(loss), lse - 1, 1e-14);
    cr_assert(ag_grad(loss, ones, 1, &x, &g, false));
    cr_expect_float_eq(tensor_get(ag_value(g), 1), exp(1 - lse) - 1, 1e-15);
    for (int i = 3; i < 6; i++) cr_expect_eq(tensor_get(ag_value(g), i), 0);
    classes[0] = AG_IGNORE_INDEX;
    cr_expect(isnan(ag_item(ag_cross_entropy(logits, ag_input(t, &target), NULL))));
}
