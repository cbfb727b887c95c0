/* gradcheck accepts right gradients and reports wrong ones by input and element. */
#include "autograd/gradcheck/gradcheck.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/op.h"

static double two[] = {.3, -.7, 1.1, .4, -.2, .9};
static double three[] = {.5, .8, -1.2, .1, -.6, .7, .35, -.9, 1.4, .2, -.15, .65};
static Tensor x23(void) { return tensor_wrap(two, TENSOR_F64, 2, (int64_t[]){2, 3}); }
static Tensor x34(void) { return tensor_wrap(three, TENSOR_F64, 2, (int64_t[]){3, 4}); }

static int product(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_tanh(ag_matmul(x[0], x[1]));
    y[1] = ag_sum(ag_square(x[0]), AG_ALL_AXES, false);
    return 2;
}

Test(gradcheck, accepts_right_gradients_by_elements_and_directions_in_both_orders) {
    Tensor in[] = {x23(), x34()};
    for (int order = 1; order <= 2; order++)
        for (int directions = 0; directions <= 5; directions += 5) {
            GradcheckOptions o = {.directions = directions, .seed = 7};
            GradcheckResult r;
            cr_assert((order == 2 ? gradgradcheck : gradcheck)(product, NULL, 2, in, &o, &r), "%s",
                      r.message);
            cr_assert_eq(r.order, order);
            /* The second order differentiates by the cotangents, too: [2,4] and []. */
            cr_assert_eq(r.checked, directions ? 5 : order == 2 ? 18 + 8 + 1 : 18);
            cr_assert_lt(r.rel_error, 1e-10);
            cr_assert(r.reason == GRADCHECK_PASSED && strstr(r.message, "passed: "),
                      "%s", r.message);
        }
    cr_assert_eq(two[0], .3); /* inputs are the caller's, and stay */
}

/* x0 enters twice, once without gradient: the derivative is half of what it should be at the
 * element that `context` names. */
static int half_missing(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    int64_t at = *(int64_t *)context;
    AgVar mask = ag_eq(ag_arange(t, TENSOR_I64, 0, 6, 1), ag_scalar(t, TENSOR_I64, (double)at));
    AgVar flat = ag_reshape(x[0], 1, (int64_t[]){6});
    y[0] = ag_mul(flat, ag_where(mask, ag_detach(flat), flat));
    return 1;
}

Test(gradcheck, names_the_input_and_element_that_is_wrong) {
    Tensor in[] = {x23()};
    for (int64_t at = 0; at < 6; at++) {
        GradcheckResult r;
        cr_assert(!gradcheck(half_missing, &at, 1, in, NULL, &r));
        cr_expect_eq(r.input, 0);
        cr_expect_eq(r.index, at);
        cr_expect(fabs(r.numeric - 2 * r.analytic) < 1e-8 * fabs(r.numeric), "%s", r.message);
        cr_expect(r.abs_error > .4 * fabs(r.numeric));
        cr_expect_eq(r.reason, GRADCHECK_SLICE, "%s", r.message);
        cr_expect(!r.op[0] && strstr(r.message, "each op alone is right: is something detached"),
                  "no op is wrong, but `%s`", r.message);
    }
}

Test(gradcheck, finds_a_wrong_gradient_along_random_directions) {
    Tensor in[] = {x23()};
    int64_t at = 4;
    GradcheckOptions o = {.directions = 3};
    GradcheckResult r;
    cr_assert(!gradcheck(half_missing, &at, 1, in, &o, &r));
    cr_assert(r.input == 0 && r.index == 4, "the element was looked for: %s", r.message);
    o.plain_verdict = true;
    cr_assert(!gradcheck(half_missing, &at, 1, in, &o, &r));
    cr_assert(r.input == -1 && r.index >= 0 && r.index < 3, "%s", r.message);
    cr_assert(strstr(r.message, "direction"), "%s", r.message);
}

static int not_a_number(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)context;
    ag_scope_push(t, "net");
    AgVar h = ag_tanh(x[0]);
    ag_scope_push(t, "head");
    y[0] = ag_square(ag_log(h));
    ag_scope_pop(t);
    ag_scope_pop(t);
    return 1;
}

Test(gradcheck, never_accepts_nan_and_names_the_op_that_made_it) {
    Tensor in[] = {x23()}; /* logarithms of negative numbers */
    GradcheckResult r;
    cr_assert(!gradcheck(not_a_number, NULL, 1, in, NULL, &r));
    cr_assert_eq(r.reason, GRADCHECK_NONFINITE);
    cr_assert_str_eq(r.op, "log");
    cr_assert_str_eq(r.scope, "net/head");
    cr_assert(strstr(r.message, "first in: log in net/head"), "%s", r.message);
}

static int infinite_slope(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)context;
    ag_scope_push(t, "norm");
    y[0] = ag_sqrt(ag_sum(ag_square(ag_sub(x[0], x[0])), AG_AXES(1), false));
    ag_scope_pop(t);
    return 1;
}

Test(gradcheck, names_the_op_whose_gradient_is_the_first_without_a_finite_value) {
    Tensor in[] = {x23()};
    GradcheckResult r;
    cr_assert(!gradcheck(infinite_slope, NULL, 1, in, NULL, &r));
    cr_assert_eq(r.reason, GRADCHECK_NONFINITE, "%s", r.message);
    cr_assert_str_eq(r.op, "sqrt", "%s", r.message);
    cr_assert_str_eq(r.scope, "norm");
}

/* ---- a wrong op in a long chain ---- */

static bool cube_shape(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }
static bool cube_value(AgCall *c) {
    for (int64_t i = 0; i < tensor_numel(c->in[0]); i++)
        tensor_set(&c->out[0], i, pow(tensor_get(c->in[0], i), 3));
    return true;
}
/* Right to first order when asked for that alone, and wrong to second. */
static bool cube_vjp(AgVjp *v) {
    const int *wrong_order = v->options;
    double factor = *wrong_order == 1 || (*wrong_order == 2 && v->create_graph) ? 2 : 3;
    v->gin[0] = ag_mul(v->gout[0], ag_affine(ag_square(v->in[0]), factor, 0));
    return true;
}
static const AgOp cube = {.name = "cube", .doc = "x^3", .signature = "f:f", .shape = cube_shape,
                          .value = cube_value, .vjp = cube_vjp};

static int chain(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    AgVar h = ag_tanh(x[0]);
    for (int step = 0; step < 3; step++) {
        ag_scope_push(t, "chain");
        ag_scope_step(t, step);
        h = ag_mul(ag_sigmoid(h), x[0]);
        if (step == 1) h = ag_apply1(&cube, 1, &h, context, sizeof(int));
        ag_scope_pop(t);
    }
    y[0] = ag_sum(h, AG_AXES(0), false);
    return 1;
}

Test(gradcheck, walks_the_tape_to_the_first_op_that_is_wrong) {
    Tensor in[] = {x23()};
    for (int order = 1; order <= 2; order++)
        for (int directions = 0; directions <= 4; directions += 4) {
            GradcheckOptions o = {.directions = directions};
            GradcheckResult r;
            cr_expect(!(order == 2 ? gradgradcheck : gradcheck)(chain, &order, 1, in, &o, &r));
            cr_expect_str_eq(r.op, "cube", "order %d: %s", order, r.message);
            cr_expect_str_eq(r.scope, "chain step 1");
            cr_expect(strstr(r.message, "(2/3) times the right one"), "%s", r.message);
        }
    int right = 0;
    GradcheckResult r;
    cr_assert(gradcheck(chain, &right, 1, in, NULL, &r) &&
              gradgradcheck(chain, &right, 1, in, NULL, &r), "%s", r.message);
}

/* ---- functions that are made of ops, without one of their own ---- */

static int all_parts(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    AgVar part[3];
    (void)t, (void)context;
    if (!ag_split(x[0], 1, 3, (int64_t[]){1, 0, 2}, part)) return 0;
    y[0] = ag_square(part[0]);
    y[1] = ag_tanh(part[1]);
    y[2] = ag_exp(part[2]);
    return 3;
}

Test(gradcheck, holds_for_split_in_both_orders) {
    Tensor in[] = {x23()};
    GradcheckResult r;
    cr_assert(gradcheck(all_parts, NULL, 1, in, NULL, &r), "%s", r.message);
    cr_assert(gradgradcheck(all_parts, NULL, 1, in, NULL, &r), "%s", r.message);
}

/* ---- strides ---- */

static bool blind_value(AgCall *c) {
    for (int64_t i = 0; i < tensor_numel(c->in[0]); i++)
        tensor_set(&c->out[0], i, 2 * tensor_get(c->in[0], i));
    return true;
}
/* Twice the gradient, in the order of the input's memory: right only when that is dense. */
static bool blind_vjp(AgVjp *v) {
    const Tensor *x = ag_value(v->in[0]);
    bool dense = tensor_is_contiguous(x);
    AgVar g = ag_affine(v->gout[0], 2, 0);
    v->gin[0] = dense ? g : ag_reshape(ag_transpose(g, 0, 1), x->ndim, x->shape);
    return true;
}
static const AgOp blind = {.name = "blind", .doc = "2 x", .signature = "f:f", .shape = cube_shape,
                           .value = blind_value, .vjp = blind_vjp};
static int strided(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_apply1(&blind, 1, x, NULL, 0);
    return 1;
}

Test(gradcheck, keeps_the_strides_of_its_inputs) {
    Tensor dense = x23(), across = tensor_transpose(&dense, 0, 1);
    GradcheckResult r;
    cr_assert(gradcheck(strided, NULL, 1, &dense, NULL, &r), "%s", r.message);
    cr_assert(!gradcheck(strided, NULL, 1, &across, NULL, &r));
    cr_assert_eq(r.reason, GRADCHECK_TRANSPOSED, "%s", r.message);
    int64_t shape[] = {3, 2, 3};
    Tensor row = tensor_wrap(two, TENSOR_F64, 1, (int64_t[]){3});
    Tensor repeated = tensor_expand(&row, 3, shape);
    cr_assert(gradcheck(strided, NULL, 1, &repeated, NULL, &r) && r.checked == 18, "%s", r.message);
}

/* ---- a wrong shape, and a changed input ---- */

static bool wide_vjp(AgVjp *v) {
    v->gin[0] = ag_unsqueeze(v->gout[0], 0);
    return true;
}
static const AgOp wide = {.name = "wide", .doc = "2 x", .signature = "f:f", .shape = cube_shape,
                          .value = blind_value, .vjp = wide_vjp};
static int misshaped(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_apply1(&wide, 1, x, NULL, 0);
    return 1;
}
static bool changing_value(AgCall *c) {
    tensor_set(c->in[0], 2, 0);
    return blind_value(c);
}
static const AgOp changing = {.name = "changing", .doc = "2 x", .signature = "f:f",
                              .shape = cube_shape, .value = changing_value, .vjp = blind_vjp};
static int changes_input(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_apply1(&changing, 1, x, NULL, 0);
    return 1;
}
static int counter;
static int not_a_function(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_affine(x[0], 1 + .1 * counter++, 0);
    return 1;
}

Test(gradcheck, finds_what_is_no_function_of_its_inputs) {
    Tensor in[] = {x23()};
    const struct {
        GradcheckFunction f;
        GradcheckReason reason;
        const char *message;
    } bad[] = {
        {misshaped, GRADCHECK_SHAPE, "gave f64[1,2,3] for argument 0, which is f64[2,3]"},
        {changes_input, GRADCHECK_INPUT_CHANGED, "forward changes the value of input 0"},
        {not_a_function, GRADCHECK_NONDETERMINISTIC, "and then"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        GradcheckResult r;
        cr_expect(!gradcheck(bad[i].f, NULL, 1, in, NULL, &r));
        cr_expect_eq(r.reason, bad[i].reason, "%s", r.message);
        cr_expect(strstr(r.message, bad[i].message), "%s", r.message);
    }
    cr_assert_eq(two[2], 1.1);
}

static int bad_shapes(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_matmul(x[0], x[0]);
    return 1;
}
static int no_result(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context, (void)x, (void)y;
    return 0;
}
static int calls;
static int changing_shape(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = calls++ ? x[0] : ag_sum(x[0], AG_ALL_AXES, false);
    return 1;
}
static int single_precision(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_cast(x[0], TENSOR_F32);
    return 1;
}

static int whole_numbers(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_cast(x[0], TENSOR_F64);
    return 1;
}

Test(gradcheck, says_why_it_cannot_check) {
    float single[6] = {0};
    int64_t whole[6] = {0};
    Tensor f64 = x23(), f32 = tensor_wrap(single, TENSOR_F32, 1, (int64_t[]){6}),
           i64 = tensor_wrap(whole, TENSOR_I64, 1, (int64_t[]){6}), nil = tensor_nil();
    const struct {
        GradcheckFunction f;
        Tensor x;
        const char *message;
    } bad[] = {
        {bad_shapes, f64, "matmul(f64[2,3], f64[2,3]): inner sizes differ (3 and 2)"},
        {no_result, f64, "returned 0 results"},
        {changing_shape, f64, "changes its shape"},
        {single_precision, f64, "result 0 is not a f64"},
        {product, f32, "input 0 is f32"},
        {whole_numbers, i64, "no input to check"},
        {product, nil, "input 0: nil tensor"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        GradcheckResult r;
        cr_expect(!gradcheck(bad[i].f, NULL, 1, &bad[i].x, NULL, &r));
        cr_expect(strstr(r.message, bad[i].message), "%s", r.message);
    }
}

static int dropped(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_square(ag_dropout(x[0], .5, 0));
    return 1;
}

Test(gradcheck, refuses_a_seed_that_is_no_number_in_both_orders) {
    Tensor in[] = {x34()};
    GradcheckResult r;
    setenv("GRADCHECK_SEED", "7x", 1);
    cr_expect(!gradcheck(dropped, NULL, 1, in, NULL, &r) && r.reason == GRADCHECK_ERROR);
    cr_expect(strstr(r.message, "GRADCHECK_SEED is `7x`"), "%s", r.message);
    cr_expect(!gradgradcheck(dropped, NULL, 1, in, NULL, &r) && r.reason == GRADCHECK_ERROR);
    unsetenv("GRADCHECK_SEED");
}

Test(gradcheck, keeps_the_mask_of_dropout_while_it_differentiates) {
    Tensor in[] = {x34()};
    GradcheckOptions o = {.training = true, .seed = 3};
    GradcheckResult r;
    cr_assert(gradcheck(dropped, NULL, 1, in, &o, &r), "%s", r.message);
    cr_assert_neq(r.analytic, 0);
}

Test(gradcheck, of_empty_inputs_holds_with_nothing_compared) {
    Tensor in[] = {tensor_wrap(two, TENSOR_F64, 2, (int64_t[]){0, 3}), x34()};
    GradcheckResult r;
    cr_assert(gradcheck(product, NULL, 2, in, NULL, &r), "%s", r.message);
}
