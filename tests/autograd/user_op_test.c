/* Ops of the user's own: whatever their rules return, gradients are right or an error says why. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/op.h"

static AgTape *t;
static void start(void) { t = ag_tape_new(); }
static void stop(void) { ag_tape_free(t); }
TestSuite(user_op, .init = start, .fini = stop);

static const AgVar ones;
static AgVar vector(double from) { return ag_arange(t, TENSOR_F64, from, from + 4, 1); }

#define EXPECT_ERROR(text) \
    cr_expect(strstr(ag_tape_error(t), text), "says `%s`, wants `%s`", ag_tape_error(t), text)

static bool like_first(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }

/* 2 (a + b + c), elementwise. */
static bool add_all(AgCall *c) {
    for (int64_t e = 0; e < tensor_numel(&c->out[0]); e++) {
        double sum = 0;
        for (int i = 0; i < c->n_in; i++) sum += tensor_get(c->in[i], e);
        tensor_set(&c->out[0], e, 2 * sum);
    }
    return true;
}

/* One variable for all gradients. */
static bool same_for_all(AgVjp *v) {
    AgVar g = ag_affine(v->gout[0], 2, 0);
    for (int i = 0; i < v->n_in; i++) v->gin[i] = g;
    return true;
}
static const AgOp shared = {.name = "shared", .signature = "f*:f", .shape = like_first,
                            .value = add_all, .vjp = same_for_all};

Test(user_op, one_temporary_may_be_the_gradient_of_several_inputs) {
    AgVar a = vector(1), c = vector(5), scale = vector(2), in[] = {a, a, c}, wrt[] = {a, c}, g[2];
    AgVar y = ag_mul(ag_apply1(&shared, 3, in, NULL, 0), scale);
    y = ag_add(y, ag_mul(ag_square(c), a));
    for (int recorded = 0; recorded < 2; recorded++) {
        cr_assert(ag_grad(y, ones, 2, wrt, g, recorded), "%s", ag_tape_error(t));
        for (int64_t i = 0; i < 4; i++) {
            double s = 2 + (double)i, av = 1 + (double)i, cv = 5 + (double)i;
            cr_expect_float_eq(tensor_get(ag_value(g[0]), i), 4 * s + cv * cv, 1e-12);
            cr_expect_float_eq(tensor_get(ag_value(g[1]), i), 2 * s + 2 * cv * av, 1e-12);
        }
    }
}

Test(user_op, one_temporary_may_be_the_gradient_of_a_matrix_and_its_transpose) {
    AgVar e = ag_reshape(vector(1), 2, (int64_t[]){2, 2});
    AgVar in[] = {e, ag_transpose(e, 0, 1)}, g;
    AgVar y = ag_mul(ag_apply1(&shared, 2, in, NULL, 0),
                     ag_reshape(vector(0), 2, (int64_t[]){2, 2}));
    cr_assert(ag_grad(y, ones, 1, &e, &g, false), "%s", ag_tape_error(t));
    const double want[] = {0, 6, 6, 12}; /* 2 (w + w^T) */
    for (int i = 0; i < 4; i++) cr_expect_eq(tensor_get(ag_value(g), i), want[i]);
}

/* ---- views with a rule of their own ---- */

static bool as_view(AgCall *c) {
    c->out[0] = *c->in[0];
    return true;
}
static bool negated(AgVjp *v) {
    v->gin[0] = ag_neg(v->gout[0]);
    return true;
}
static bool to_second(AgVjp *v) {
    v->gin[1] = v->gout[0];
    return true;
}

Test(user_op, the_rule_of_a_view_is_not_passed_by) {
    static const AgOp reversal = {.name = "reversal", .signature = "f:f", .shape = as_view,
                                  .vjp = negated};
    AgVar x = vector(1), g;
    AgVar y = ag_add(ag_affine(ag_apply1(&reversal, 1, &x, NULL, 0), 3, 0), ag_affine(x, 10, 0));
    for (int recorded = 0; recorded < 2; recorded++) {
        cr_assert(ag_grad(y, ones, 1, &x, &g, recorded));
        cr_expect_eq(tensor_get(ag_value(g), 0), 7);
    }
}

Test(user_op, a_view_may_send_its_gradient_to_another_input) {
    static const AgOp straight = {.name = "straight_through", .signature = "ff:f",
                                  .shape = as_view, .vjp = to_second};
    AgVar rounded = vector(0), x = vector(1), in[] = {rounded, x}, g;
    AgVar y = ag_affine(ag_apply1(&straight, 2, in, NULL, 0), 5, 0);
    cr_assert(ag_grad(y, ones, 1, &x, &g, false), "%s", ag_tape_error(t));
    cr_expect_eq(tensor_get(ag_value(g), 3), 5);
}

/* ---- rules that do more than compute ---- */

static bool sweep_inside(AgVjp *v) {
    AgVar seed = ag_affine(v->gout[0], 2, 0), g;
    bool was = ag_tape_no_grad(v->tape, false);
    AgVar x = ag_alias(v->in[0]), y = ag_square(x);
    bool ok = ag_grad(y, seed, 1, &x, &g, v->create_graph);
    ag_tape_no_grad(v->tape, was);
    v->gin[0] = ag_add(g, ag_affine(seed, .5, 0)); /* the seed is still what it was */
    return ok;
}

Test(user_op, a_rule_may_sweep_itself) {
    static const AgOp inner = {.name = "inner", .signature = "f:f", .shape = like_first,
                               .value = add_all, .vjp = sweep_inside};
    AgVar x = vector(1), g;
    for (int recorded = 0; recorded < 2; recorded++) {
        AgVar y = ag_affine(ag_apply1(&inner, 1, &x, NULL, 0), 3, 0);
        cr_assert(ag_grad(y, ones, 1, &x, &g, recorded), "%s", ag_tape_error(t));
        for (int i = 0; i < 4; i++) cr_expect_eq(tensor_get(ag_value(g), i), 12 * (i + 1) + 3);
    }
}

static double weight[] = {7, 8};
static AgLeaf weight_leaf;
static bool use_leaf(AgVjp *v) {
    AgVar w = ag_leaf(v->tape, weight, &weight_leaf);
    v->gin[0] = ag_mul(v->gout[0], ag_sum(w, AG_ALL_AXES, false));
    return true;
}

Test(user_op, a_parameter_first_used_inside_a_rule_does_not_become_another_variable) {
    static const AgOp op = {.name = "op", .signature = "f:f", .shape = like_first,
                            .value = add_all, .vjp = use_leaf};
    weight_leaf = (AgLeaf){.name = "w", .value = tensor_wrap(weight, TENSOR_F64, 1, (int64_t[]){2}),
                           .grad = tensor_nil()};
    AgVar x = vector(1), y = ag_apply1(&op, 1, &x, NULL, 0), g;
    cr_assert(ag_grad(y, ones, 1, &x, &g, false), "%s", ag_tape_error(t));
    cr_expect_eq(tensor_get(ag_value(g), 0), 15);
    for (int i = 0; i < 6; i++) vector(i);
    AgVar w = ag_leaf(t, weight, &weight_leaf);
    cr_expect(ag_numel(w) == 2 && tensor_get(ag_value(w), 1) == 8);
}

static bool reset_inside(AgVjp *v) {
    ag_tape_reset(v->tape);
    return false;
}

Test(user_op, a_rule_cannot_reset_the_tape) {
    static const AgOp op = {.name = "op", .signature = "f:f", .shape = like_first,
                            .value = add_all, .vjp = reset_inside};
    AgVar x = vector(1), g;
    cr_expect(!ag_grad(ag_apply1(&op, 1, &x, NULL, 0), ones, 1, &x, &g, false));
    EXPECT_ERROR("tape_reset: inside a gradient rule");
}

/* ---- compose ---- */

static bool two_shapes(AgCall *c) {
    return ag_out_like(c, 0, c->in[0]) && ag_out_like(c, 1, c->in[0]);
}
static bool two_values(AgCall *c) {
    for (int64_t e = 0; e < tensor_numel(c->in[0]); e++) {
        tensor_set(&c->out[0], e, tensor_get(c->in[0], e) * tensor_get(c->in[0], e));
        tensor_set(&c->out[1], e, (double)e);
    }
    return true;
}
static bool two_vjp(AgVjp *v) {
    v->gin[0] = ag_mul(v->gout[0], ag_affine(v->in[0], 2, 0));
    return true;
}
static bool two_compose(AgTape *tape, int n, const AgVar *in, const void *options, AgVar *out) {
    (void)n, (void)options;
    out[0] = ag_square(in[0]);
    out[1] = ag_arange(tape, TENSOR_I64, 0, (double)ag_numel(in[0]), 1);
    return true;
}
static bool no_compose(AgTape *tape, int n, const AgVar *in, const void *options, AgVar *out) {
    (void)tape, (void)n, (void)in, (void)options, (void)out;
    return false;
}
static bool empty_compose(AgTape *tape, int n, const AgVar *in, const void *options, AgVar *out) {
    (void)tape, (void)n, (void)in, (void)options, (void)out;
    return true;
}

Test(user_op, a_composition_may_have_integer_results) {
    static const AgOp op = {.name = "two", .signature = "f:fi", .shape = two_shapes,
                            .value = two_values, .vjp = two_vjp, .compose = two_compose};
    AgVar x = vector(1), out[2], g, gg;
    ag_apply(&op, NULL, 1, &x, NULL, 0, out);
    cr_assert(ag_grad(out[0], ones, 1, &x, &g, true), "%s", ag_tape_error(t));
    cr_assert(ag_grad(g, ones, 1, &x, &gg, false), "%s", ag_tape_error(t));
    cr_expect_eq(tensor_get(ag_value(gg), 2), 2);
}

Test(user_op, a_composition_that_fails_is_an_error_and_no_zero) {
    bool (*const bad[])(AgTape *, int, const AgVar *, const void *, AgVar *) = {no_compose,
                                                                              empty_compose};
    for (int i = 0; i < 2; i++) {
        AgOp op = {.name = "two", .signature = "f:fi", .shape = two_shapes, .value = two_values,
                   .vjp = two_vjp, .compose = bad[i]};
        ag_tape_reset(t);
        AgVar x = vector(1), out[2], g;
        ag_apply(&op, NULL, 1, &x, NULL, 0, out);
        cr_expect(!ag_grad(out[0], ones, 1, &x, &g, true));
        EXPECT_ERROR(i ? "two: argument 0 is the failed variable" : "two: its composition failed");
    }
}

/* ---- ops that are wrong ---- */

static bool garbage_handle(AgVjp *v) {
    v->gin[0] = (AgVar){v->tape, 4000000000u, 7};
    return true;
}
static bool refuse(AgCall *c) {
    (void)c;
    return false;
}
static bool many_axes(AgCall *c) {
    c->out[0].ndim = 50;
    return true;
}
static bool negative_size(AgCall *c) { return ag_out_shape(c, 0, 1, (int64_t[]){-4}); }

Test(user_op, a_malformed_op_is_an_error) {
    const struct {
        AgOp op;
        size_t options_size;
        const char *message;
    } bad[] = {
        {{.name = "op", .signature = "f:f", .value = add_all}, 0, "op: has no shape()"},
        {{.name = "op", .signature = "f:f", .shape = like_first}, 0, "no view, and it computes no"},
        {{.name = "op", .signature = "f:f", .shape = refuse, .value = add_all}, 0, "no reason"},
        {{.name = "op", .signature = "f:f", .shape = like_first, .value = refuse}, 0, "no reason"},
        {{.name = "op", .signature = "f:f", .shape = many_axes, .value = add_all}, 0,
         "too many axes"},
        {{.name = "op", .signature = "f:f", .shape = negative_size, .value = add_all}, 0,
         "negative"},
        {{.name = "op", .signature = "f:f", .shape = like_first, .value = add_all}, 64, "64 bytes"},
        {{.name = "op", .signature = NULL, .shape = like_first, .value = add_all}, 0, "malformed"},
        {{.name = "op", .signature = "f", .shape = like_first, .value = add_all}, 0, "malformed"},
        {{.name = "op", .signature = "f:", .shape = like_first, .value = add_all}, 0, "malformed"},
        {{.name = "op", .signature = "z:f", .shape = like_first, .value = add_all}, 0, "malformed"},
        {{.name = "op", .signature = "*:f", .shape = like_first, .value = add_all}, 0, "malformed"},
        {{.name = "op", .signature = "f:fffffffff", .shape = like_first, .value = add_all}, 0,
         "malformed"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ag_tape_reset(t);
        AgVar x = vector(1), y = ag_apply1(&bad[i].op, 1, &x, NULL, bad[i].options_size);
        cr_expect(!ag_ok(y));
        EXPECT_ERROR(bad[i].message);
    }
}

Test(user_op, a_handle_out_of_nowhere_is_an_error_in_both_modes) {
    static const AgOp op = {.name = "op", .signature = "f:f", .shape = like_first,
                            .value = add_all, .vjp = garbage_handle};
    for (int recorded = 0; recorded < 2; recorded++) {
        ag_tape_reset(t);
        AgVar x = vector(1), g;
        cr_expect(!ag_grad(ag_apply1(&op, 1, &x, NULL, 0), ones, 1, &x, &g, recorded));
        EXPECT_ERROR("op: argument 0: stale variable");
    }
}
