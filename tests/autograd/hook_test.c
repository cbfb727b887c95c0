/* Hooks: the whole gradient of a variable, on its way. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/inspect.h"

static AgTape *t;
static void start(void) { t = ag_tape_new(); }
static void stop(void) { ag_tape_free(t); }
TestSuite(hook, .init = start, .fini = stop);

#define EXPECT_ERROR(text) \
    cr_expect(strstr(ag_tape_error(t), text), "says `%s`, wants `%s`", ag_tape_error(t), text)

static AgVar scalar(double x) { return ag_scalar(t, TENSOR_F64, x); }
static double wv[4] = {2, 3, 4, 5}, wg[4];
static AgVar weight(int64_t n) {
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(wv, TENSOR_F64, 1, &n),
                   .grad = tensor_wrap(wg, TENSOR_F64, 1, &n)};
    return ag_leaf(t, wv, &leaf);
}
static AgVar sum(AgVar x) { return ag_sum(x, AG_ALL_AXES, false); }

typedef struct {
    int calls;
    double seen[4];
} Seen;
static AgVar look(AgVar g, void *context) {
    Seen *s = context;
    s->calls++;
    for (int i = 0; i < 4 && i < ag_numel(g); i++) s->seen[i] = tensor_get(ag_value(g), i);
    return g;
}
static AgVar halve(AgVar g, void *context) {
    (void)context;
    return ag_affine(g, .5, 0);
}
static AgVar add_ten(AgVar g, void *context) {
    (void)context;
    return ag_affine(g, 1, 10);
}

Test(hook, sees_the_sum_of_all_uses_once) {
    Seen s = {0};
    AgVar x = scalar(3), h = ag_square(x), y = ag_add(ag_mul(h, h), h), g; /* dh = 2 h + 1 */
    ag_hook(h, look, &s);
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, false), "%s", ag_tape_error(t));
    cr_expect(s.calls == 1 && s.seen[0] == 19);
    cr_expect_eq(ag_item(g), 19 * 6);
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, false));
    cr_expect_eq(s.calls, 2);
}

Test(hook, several_run_in_order_each_with_what_the_last_returned) {
    Seen s = {0};
    AgVar x = scalar(3), h = ag_square(x), y = ag_affine(h, 4, 0), g;
    ag_hook(h, halve, NULL);
    ag_hook(h, add_ten, NULL);
    ag_hook(h, look, &s);
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, false), "%s", ag_tape_error(t));
    cr_expect_eq(s.seen[0], 12);
    cr_expect_eq(ag_item(g), 12 * 6);
}

Test(hook, of_a_parameter_runs_before_its_gradient_is_added) {
    AgVar w = weight(3);
    Seen s = {0};
    for (int i = 0; i < 3; i++) wg[i] = 100;
    ag_hook(w, look, &s);
    ag_hook(w, halve, NULL);
    ag_watch(w, "w");
    cr_assert(ag_backward(ag_add(sum(ag_square(w)), sum(w))), "%s", ag_tape_error(t));
    Tensor kept = ag_watched(t, "w");
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(s.seen[i], 2 * wv[i] + 1);
        cr_expect_eq(wg[i], 100 + (2 * wv[i] + 1) / 2);
        cr_expect_eq(tensor_get(&kept, i), (2 * wv[i] + 1) / 2);
    }
}

Test(hook, of_what_was_asked_for_changes_the_answer) {
    AgVar x = scalar(3), y = ag_square(x), g, seed;
    ag_hook(x, halve, NULL);
    ag_hook(y, add_ten, NULL);
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, false));
    cr_expect_eq(ag_item(g), 11 * 6 / 2.);
    cr_assert(ag_grad(y, (AgVar){0}, 1, &y, &seed, false));
    cr_expect_eq(ag_item(seed), 11);
}

Test(hook, of_a_view_and_of_its_base_see_their_own_gradient) {
    Seen row = {0}, base = {0};
    AgVar w = weight(4), x = ag_square(w), part = ag_narrow(x, 0, 1, 2);
    ag_hook(part, look, &row);
    ag_hook(part, halve, NULL);
    ag_hook(x, look, &base);
    for (int i = 0; i < 4; i++) wg[i] = 0;
    cr_assert(ag_backward(ag_add(sum(ag_affine(part, 8, 0)), sum(x))), "%s", ag_tape_error(t));
    cr_expect(row.calls == 1 && row.seen[0] == 8 && row.seen[1] == 8);
    double want[] = {1, 5, 5, 1};
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(base.seen[i], want[i]);
        cr_expect_eq(wg[i], want[i] * 2 * wv[i]);
    }
}

static AgVar times_itself(AgVar g, void *context) {
    (void)context;
    return ag_mul(g, g);
}

Test(hook, with_create_graph_is_differentiated_itself) {
    AgVar x = scalar(3), h = ag_square(x), y = ag_mul(h, h), g, gg;
    ag_hook(h, times_itself, NULL); /* g = (2 x^2)^2 2 x = 8 x^5 */
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, true), "%s", ag_tape_error(t));
    cr_expect_float_eq(ag_item(g), 8 * 243, 1e-9);
    cr_assert(ag_grad(g, (AgVar){0}, 1, &x, &gg, false), "%s", ag_tape_error(t));
    cr_expect(ag_ok(gg));
}

static AgVar leaves_it(AgVar g, void *context) {
    (void)g;
    return *(AgVar *)context;
}

Test(hook, may_return_a_variable_from_before) {
    AgVar x = ag_full(t, TENSOR_F64, 1, (int64_t[]){3}, 2), y = ag_square(x), g;
    AgVar other = ag_full(t, TENSOR_F64, 1, (int64_t[]){3}, 7);
    ag_hook(y, leaves_it, &other);
    for (int again = 0; again < 2; again++) {
        cr_assert(ag_grad(sum(y), (AgVar){0}, 1, &x, &g, again), "%s", ag_tape_error(t));
        cr_expect_eq(tensor_get(ag_value(g), 2), 28);
    }
    cr_expect_eq(tensor_get(ag_value(other), 1), 7);
}

Test(hook, is_not_called_where_no_gradient_comes) {
    Seen s = {0};
    AgVar x = scalar(3), y = ag_square(x), other = ag_square(y), constant = scalar(2), g;
    ag_hook(other, look, &s);
    ag_hook(constant, look, &s);
    cr_assert(ag_grad(ag_mul(y, constant), (AgVar){0}, 1, &x, &g, false));
    cr_expect_eq(s.calls, 0);
}

Test(hook, what_it_returns_is_checked) {
    AgVar x = scalar(3), bad[] = {ag_full(t, TENSOR_F64, 1, (int64_t[]){2}, 0),
                                  ag_scalar(t, TENSOR_F32, 1), {NULL, 0, 0}, {t, 0, 0}};
    const char *error[] = {"hook of square (node", "returned f32[] for the gradient f64[]",
                           "returned no variable", "failed variable"};
    for (int i = 0; i < 4; i++) {
        ag_tape_reset(t);
        x = scalar(3);
        bad[0] = ag_full(t, TENSOR_F64, 1, (int64_t[]){2}, 0);
        bad[1] = ag_scalar(t, TENSOR_F32, 1);
        ag_scope_push(t, "lm");
        AgVar y = ag_square(x), g;
        ag_scope_pop(t);
        ag_hook(y, leaves_it, &bad[i]);
        cr_expect(!ag_grad(y, (AgVar){0}, 1, &x, &g, false));
        EXPECT_ERROR(error[i]);
        cr_expect_eq(strncmp(ag_tape_error(t), "lm: ", 4), 0, "%s", ag_tape_error(t));
    }
    ag_tape_reset(t);
    ag_hook(ag_arange(t, TENSOR_I64, 0, 3, 1), look, NULL);
    EXPECT_ERROR("hooked variable 0 is i64");
    ag_tape_reset(t);
    ag_hook(scalar(1), NULL, NULL);
    EXPECT_ERROR("hook: no function");
    ag_tape_reset(t);
    ag_hook(x, look, NULL);
    EXPECT_ERROR("stale variable");
}

Test(hook, ends_with_the_reset_or_the_release) {
    Seen early = {0}, late = {0};
    AgVar x = scalar(3), y = ag_square(x), g;
    ag_hook(y, look, &early);
    AgTapeMark m = ag_tape_mark(t);
    AgVar z = ag_square(y);
    ag_hook(y, look, &late);
    ag_hook(z, look, &late);
    ag_hook(y, look, &late);
    cr_assert(ag_grad(z, (AgVar){0}, 1, &x, &g, false));
    cr_expect(early.calls == 1 && late.calls == 3);
    cr_assert(ag_tape_release(t, m, 0, NULL));
    for (int i = 0; i < 2; i++) {
        z = ag_square(y);
        cr_assert(ag_grad(z, (AgVar){0}, 1, &x, &g, false));
        cr_expect(early.calls == 2 + i && late.calls == 3 + i);
        if (!i) ag_hook(y, look, &late); /* the chain goes on from what stayed */
    }
    ag_tape_reset(t);
    x = scalar(3), y = ag_square(x), z = ag_square(y);
    cr_assert(ag_grad(z, (AgVar){0}, 1, &x, &g, false));
    cr_expect(early.calls == 3 && late.calls == 4);
}

static AgVar sweeps_itself(AgVar g, void *context) {
    AgVar *v = context, inner; /* d(v[1])/d(v[0]) */
    if (!ag_grad(v[1], (AgVar){0}, 1, &v[0], &inner, false)) return g;
    return ag_mul(g, inner);
}

Test(hook, may_sweep_itself) {
    AgVar x = scalar(3), v[] = {x, ag_square(x)}, y = ag_affine(x, 2, 0), z = ag_square(y), g;
    ag_hook(y, sweeps_itself, v);
    cr_assert(ag_grad(z, (AgVar){0}, 1, &x, &g, false), "%s", ag_tape_error(t));
    cr_expect_eq(ag_item(g), 2 * 6 * 6 * 2);
}

static AgVar resets(AgVar g, void *context) {
    ag_tape_reset(context);
    return g;
}

Test(hook, cannot_reset_the_tape) {
    AgVar x = scalar(3), y = ag_square(x), g;
    ag_hook(y, resets, t);
    cr_expect(!ag_grad(y, (AgVar){0}, 1, &x, &g, false));
    EXPECT_ERROR("tape_reset: inside a gradient rule, a hook or a checkpoint");
}

static AgTapeMark before;
static AgVar releases(AgVar g, void *context) {
    (void)context;
    AgTapeMark inside = ag_tape_mark(g.tape);
    AgVar twice = ag_add(g, g);
    cr_expect(ag_tape_release(g.tape, inside, 1, &twice), "%s", ag_tape_error(g.tape));
    if (before.tape) ag_tape_release(g.tape, before, 0, NULL);
    return twice;
}

Test(hook, may_release_to_its_own_marks_only) {
    AgVar x = scalar(3), g;
    for (int outer = 0; outer < 2; outer++) {
        before = outer ? ag_tape_mark(t) : (AgTapeMark){0};
        AgVar y = ag_square(x), z = ag_exp(y);
        ag_hook(y, releases, NULL);
        cr_expect_eq(ag_grad(z, (AgVar){0}, 1, &x, &g, false), !outer, "%s", ag_tape_error(t));
        if (!outer) cr_expect_float_eq(ag_item(g), 12 * exp(9), 1e-9);
    }
    EXPECT_ERROR("tape_release: the mark is from before the gradient rule, the hook or the");
}

static AgVar sweeps_through(AgVar g, void *context) {
    AgVar *v = context, inner;
    ag_grad(v[1], (AgVar){0}, 1, &v[0], &inner, false);
    return g;
}

Test(hook, that_sweeps_through_its_own_variable_is_an_error) {
    AgVar x = scalar(3), y = ag_square(x), v[] = {x, ag_exp(y)}, g;
    ag_hook(y, sweeps_through, v);
    cr_expect(!ag_grad(v[1], (AgVar){0}, 1, &x, &g, false));
    EXPECT_ERROR("grad: more than 128 sweeps inside each other");
}

static AgVar hooked;
static AgVar hooks_again(AgVar g, void *calls) {
    if (++*(int *)calls < 100) ag_hook(hooked, hooks_again, calls);
    return g;
}

Test(hook, does_not_run_in_the_sweep_that_sets_it) {
    for (int create_graph = 0; create_graph < 2; create_graph++) {
        int calls = 0;
        AgVar x = scalar(3), g;
        hooked = ag_square(x);
        ag_hook(hooked, hooks_again, &calls);
        cr_assert(ag_grad(ag_exp(hooked), (AgVar){0}, 1, &x, &g, create_graph));
        cr_expect_eq(calls, 1);
    }
}

static AgVar goes_back(AgVar g, void *loss) {
    ag_backward(*(AgVar *)loss);
    return g;
}

Test(hook, that_goes_back_itself_adds_to_parameters_but_leaves_watches_alone) {
    AgVar w = weight(1), y = ag_square(w), v = ag_exp(w), other = sum(ag_affine(v, 3, 0));
    ag_watch(v, "v");
    ag_watch(y, "y");
    ag_hook(y, goes_back, &other);
    wg[0] = 0;
    cr_assert(ag_backward(sum(y)), "%s", ag_tape_error(t));
    cr_expect_float_eq(wg[0], 4 + 3 * exp(2), 1e-12);
    Tensor dv = ag_watched(t, "v"), dy = ag_watched(t, "y");
    cr_expect(tensor_is_nil(&dv));
    cr_expect_eq(tensor_get(&dy, 0), 1);
}
