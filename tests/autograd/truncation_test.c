/* x_t = w x_{t-1}, three steps by hand: what truncation gives, and how it goes wrong.  The numbers
 * are those of docs/truncation.md. */
#include <criterion/criterion.h>

#include "autograd/ag.h"
#include "nn/state.h"

static AgTape *t;
static void start(void) { t = ag_tape_new(); }
static void stop(void) { ag_tape_free(t); }
TestSuite(truncation, .init = start, .fini = stop);

enum { T = 3 };
static const double x0 = .9;
static double wv = .2, wg;

static AgVar weight(void) {
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(&wv, TENSOR_F64, 0, NULL),
                   .grad = tensor_wrap(&wg, TENSOR_F64, 0, NULL)};
    return ag_leaf(t, &wv, &leaf);
}

#define EXPECT_CLOSE(a, b) cr_expect_float_eq(a, b, 1e-15, "%.17g, wants %g", a, b)

Test(truncation, the_whole_gradient_is_the_sum_over_the_three_uses_of_w) {
    AgVar x = ag_scalar(t, TENSOR_F64, x0), share[T], g[T];
    for (int k = 0; k < T; k++) x = ag_mul(share[k] = ag_alias(weight()), x);
    cr_assert(ag_grad(x, (AgVar){0}, T, share, g, false), "%s", ag_tape_error(t));
    for (int k = 0; k < T; k++) EXPECT_CLOSE(ag_item(g[k]), .036); /* w^2 x0, each of them */
    wg = 0;
    cr_assert(ag_backward(x));
    EXPECT_CLOSE(wg, .108); /* 3 w^2 x0 */
}

/* dx3/dw with the history cut so that k steps remain. */
static double cut_after(int k) {
    ag_tape_reset(t);
    AgVar x = ag_scalar(t, TENSOR_F64, x0);
    for (int s = 1; s <= T; s++) {
        x = ag_mul(weight(), x);
        if (s == T - k) x = ag_detach(x);
    }
    wg = 0;
    cr_assert(ag_backward(x), "%s", ag_tape_error(t));
    return wg;
}

Test(truncation, to_k_steps_gives_k_of_the_three_terms) {
    EXPECT_CLOSE(cut_after(1), .036);
    EXPECT_CLOSE(cut_after(2), .072);
    EXPECT_CLOSE(cut_after(3), .108);
}

Test(truncation, a_state_carried_over_windows_of_one_step_is_cut_by_itself) {
    NnState *st = nn_state_new(TENSOR_F64);
    nn_state_store(st, "x", ag_scalar(t, TENSOR_F64, x0));
    for (int s = 1; s <= T; s++) {
        ag_tape_reset(t);
        wg = 0;
        AgVar x = ag_mul(weight(), nn_state_load(st, t, "x", 0, NULL));
        cr_assert(ag_backward(x), "%s", ag_tape_error(t));
        cr_assert(nn_state_store(st, "x", x));
    }
    EXPECT_CLOSE(wg, .036);
    nn_state_free(st);
}

/* A sweep by hand whose gradients of intermediates stay and are added to. */
static double sweep_keeping(const double *x, double *dx, int from, double seed) {
    double dw = 0;
    dx[from] += seed;
    for (int s = from; s >= 1; s--) {
        dw += dx[s] * x[s - 1];
        dx[s - 1] += dx[s] * wv;
    }
    return dw;
}

Test(truncation, by_hand_over_kept_gradients_counts_terms_again) {
    double x[T + 1] = {x0}, dx[T + 1] = {0}, dw = 0;
    for (int s = 1; s <= T; s++) x[s] = wv * x[s - 1];
    EXPECT_CLOSE(x[3], .0072);
    dw += sweep_keeping(x, dx, 3, 1);
    EXPECT_CLOSE(dw, .108);
    EXPECT_CLOSE(dx[2], .2);
    EXPECT_CLOSE(dx[1], .04);
    dw += sweep_keeping(x, dx, 2, dx[2]); /* on to the step before, as if nothing had gone there */
    EXPECT_CLOSE(dx[2], .4);
    EXPECT_CLOSE(dx[1], .12);
    EXPECT_CLOSE(dw, .288);
    double more = sweep_keeping(x, dx, 1, dx[1]);
    EXPECT_CLOSE(more, .216);
}

Test(truncation, sweeping_twice_through_a_record_that_was_not_cut_counts_terms_again) {
    AgVar x[T + 1] = {ag_scalar(t, TENSOR_F64, x0)}, w = weight(), g[2], again;
    for (int s = 1; s <= T; s++) x[s] = ag_mul(w, x[s - 1]);
    AgVar of[] = {w, x[2]};
    cr_assert(ag_grad(x[3], (AgVar){0}, 2, of, g, false));
    EXPECT_CLOSE(ag_item(g[0]), .108);
    EXPECT_CLOSE(ag_item(g[1]), .2);
    cr_assert(ag_grad(x[2], g[1], 1, &w, &again, false), "%s", ag_tape_error(t));
    EXPECT_CLOSE(ag_item(again), .072); /* two terms of the .108, a second time */
}
