/* The warning about a state that nobody cut. */
#include <criterion/criterion.h>
#include <string.h>

#include "autograd/inspect.h"

static AgTape *t;
static int warnings;
static char last[512];
static void warned(const char *message, void *context) {
    warnings += *(int *)context;
    strncpy(last, message, sizeof last - 1);
}
static int one = 1;
static void start(void) {
    t = ag_tape_new();
    ag_tape_on_warning(t, warned, &one);
}
static void stop(void) { ag_tape_free(t); }
TestSuite(growth, .init = start, .fini = stop);

static double wv = .5, wg;
static AgVar weight(void) {
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(&wv, TENSOR_F64, 0, NULL),
                   .grad = tensor_wrap(&wg, TENSOR_F64, 0, NULL)};
    return ag_leaf(t, &wv, &leaf);
}
static AgVar scalar(double x) { return ag_scalar(t, TENSOR_F64, x); }

/* Three steps; also something that no loss depends on. */
static AgVar window(AgVar h) {
    ag_scope_push(t, "lm");
    for (int i = 0; i < 3; i++) {
        ag_scope_step(t, i);
        h = ag_tanh(ag_mul(weight(), ag_affine(h, 1, .1)));
        ag_exp(h);
    }
    ag_name(h, "h");
    ag_scope_pop(t);
    return h;
}

Test(growth, of_a_state_that_is_carried_live_is_reported_once_with_its_name) {
    AgVar h = scalar(.9);
    uint32_t carried = 0;
    for (int pass = 1; pass <= 8; pass++) {
        if (pass == 5) carried = h.id;
        h = window(h);
        cr_assert(ag_backward(ag_square(h)), "%s", ag_tape_error(t));
        cr_expect_eq(warnings, pass >= 5);
        cr_expect_eq(ag_tape_warning(t)[0] != 0, pass >= 5);
    }
    char want[256];
    snprintf(want, sizeof want, "): lm step 2: h (node %u, made before backward pass 4) still "
             "receives gradients; cut it with ag_detach or NnState, or reset the tape", carried);
    cr_expect(strstr(last, want), "says `%s`, wants `%s`", last, want);
    const char *start_of_it = "graph spans 5 backward passes and 45 nodes (0.0 MiB";
    cr_expect_eq(strncmp(last, start_of_it, strlen(start_of_it)), 0, "%s", last);
    cr_expect_str_eq(ag_tape_warning(t), last);
    cr_expect(ag_tape_ok(t));
    ag_tape_reset(t);
    cr_expect_str_eq(ag_tape_warning(t), "");
    h = scalar(.9);
    for (int pass = 1; pass <= 5; pass++) ag_backward(ag_square(h = window(h)));
    cr_expect_eq(warnings, 2, "again after a reset");
}

Test(growth, ways_that_do_not_carry_history_are_not_reported) {
    /* Gradients added up over micro-batches that share parameters and what is made of them. */
    AgVar shared = ag_square(weight());
    for (int i = 0; i < 12; i++)
        cr_assert(ag_backward(ag_mul(window(scalar(i)), shared)), "%s", ag_tape_error(t));
    cr_expect_eq(warnings, 0, "%s", last);
    /* A state that is cut, and one cut every second window. */
    AgVar h = scalar(1), k = h;
    for (int i = 0; i < 12; i++) {
        h = window(ag_detach(h));
        k = window(i % 2 ? k : ag_detach(k));
        cr_assert(ag_backward(ag_add(h, k)));
    }
    cr_expect_eq(warnings, 0, "%s", last);
    /* Several losses of one record. */
    h = window(window(h));
    AgVar losses[8];
    for (int i = 0; i < 8; i++) losses[i] = ag_affine(h, i, 0);
    for (int i = 0; i < 8; i++) cr_assert(ag_backward(losses[i]));
    cr_expect_eq(warnings, 0, "%s", last);
    /* Gradients of gradients. */
    AgVar w = weight(), y = window(scalar(.3)), g = y;
    for (int i = 0; i < 4; i++) {
        cr_assert(ag_grad(g, (AgVar){0}, 1, &w, &g, true), "%s", ag_tape_error(t));
        cr_assert(ag_backward(ag_square(g)), "%s", ag_tape_error(t));
    }
    cr_expect_eq(warnings, 0, "%s", last);
    /* One reset a step. */
    for (int i = 0; i < 12; i++) {
        double value = ag_item(h);
        ag_tape_reset(t);
        h = window(scalar(value));
        cr_assert(ag_backward(h));
    }
    cr_expect_eq(warnings, 0, "%s", last);
    /* One release a step. */
    AgTapeMark m = ag_tape_mark(t);
    for (int i = 0; i < 12; i++) {
        h = window(h);
        cr_assert(ag_backward(h));
        cr_assert(ag_tape_release(t, m, 1, &h));
    }
    cr_expect_eq(warnings, 0, "%s", last);
}

Test(growth, is_noticed_when_other_passes_come_between) {
    /* A second loss of the window, recorded after the first went back. */
    AgVar h = scalar(.9);
    for (int i = 0; i < 6; i++) {
        h = window(h);
        cr_assert(ag_backward(ag_square(h)) && ag_backward(ag_exp(h)));
    }
    cr_expect_eq(warnings, 1);
    cr_expect(strstr(last, ": lm step 2: h (node"), "%s", last);
    /* Another loss in every second window. */
    ag_tape_reset(t);
    for (int i = 0; i < 9; i++) {
        cr_expect_eq(warnings, 1);
        h = window(i ? h : scalar(.9));
        cr_assert(ag_backward(i % 2 ? window(scalar(i)) : h));
    }
    cr_expect_eq(warnings, 2);
    /* Two states in turn. */
    ag_tape_reset(t);
    AgVar state[] = {scalar(.9), scalar(.5)};
    for (int i = 0; i < 9; i++) {
        cr_expect_eq(warnings, 2);
        state[i % 2] = window(state[i % 2]);
        cr_assert(ag_backward(state[i % 2]));
    }
    cr_expect_eq(warnings, 3);
    cr_expect(strstr(last, "made before backward pass 7)"), "%s", last);
}

Test(growth, one_loss_over_many_windows_is_not_reported) {
    AgVar all = scalar(0);
    for (int i = 0; i < 12; i++) {
        AgVar h = window(scalar(i));
        all = ag_add(all, h);
        cr_assert(ag_backward(h));
    }
    for (int i = 0; i < 3; i++) {
        cr_assert(ag_backward(ag_square(all)));
        cr_assert(ag_backward(window(scalar(i))));
    }
    cr_expect_eq(warnings, 0, "%s", last);
    /* Parts that are made when first needed, and used ever after. */
    AgVar part[2];
    for (int i = 0; i < 12; i++) {
        if (i < 2) part[i] = ag_square(weight());
        cr_assert(ag_backward(ag_mul(window(scalar(i)), i ? ag_add(part[0], part[1]) : part[0])));
    }
    cr_expect_eq(warnings, 0, "%s", last);
}

static void resets(const char *message, void *context) {
    warned(message, context);
    ag_tape_reset(t);
}

Test(growth, may_be_answered_by_a_reset) {
    ag_tape_on_warning(t, resets, &one);
    AgVar h = scalar(.9);
    for (int pass = 1; pass <= 5; pass++) cr_assert(ag_backward(ag_square(h = window(h))));
    cr_expect_eq(warnings, 1);
    cr_expect(ag_tape_ok(t) && !ag_ok(h));
}

Test(growth, is_told_to_nobody_without_a_callback) {
    ag_tape_on_warning(t, NULL, NULL);
    AgVar h = scalar(.9);
    for (int pass = 1; pass <= 6; pass++) ag_backward(ag_square(h = window(h)));
    cr_expect_eq(warnings, 0);
    cr_expect(strstr(ag_tape_warning(t), "graph spans 5"));
}

Test(growth, a_backward_leaves_no_variables_behind) {
    AgVar y = window(scalar(1));
    int64_t before = ag_tape_count(t);
    size_t bytes = 0;
    for (int i = 0; i < 5; i++) {
        cr_assert(ag_backward(y));
        cr_expect_eq(ag_tape_count(t), before);
        cr_expect(i == 0 || ag_tape_bytes(t) == bytes);
        bytes = ag_tape_bytes(t);
    }
}
