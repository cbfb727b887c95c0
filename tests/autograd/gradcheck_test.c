/* gradcheck accepts right gradients and reports wrong ones by input and element. */
#include "autograd/gradcheck/gradcheck.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

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
    for (int second = 0; second < 2; second++)
        for (int directions = 0; directions <= 5; directions += 5) {
            GradcheckOptions o = {.second = second, .directions = directions, .seed = 7};
            GradcheckResult r;
            cr_assert(gradcheck(product, NULL, 2, in, &o, &r), "%s", r.message);
            cr_assert_eq(r.checked, directions ? 5 : 18);
            cr_assert_lt(r.rel_error, 1e-8);
            cr_assert(strstr(r.message, "worst: "), "%s", r.message);
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
        cr_expect(fabs(r.rel_error - .5) < 1e-6);
        cr_expect(strstr(r.message, "gradient differs: input 0, element"), "%s", r.message);
    }
}

Test(gradcheck, finds_a_wrong_gradient_along_random_directions) {
    Tensor in[] = {x23()};
    int64_t at = 4;
    GradcheckOptions o = {.directions = 3};
    GradcheckResult r;
    cr_assert(!gradcheck(half_missing, &at, 1, in, &o, &r));
    cr_assert_eq(r.input, -1);
    cr_assert(strstr(r.message, "direction"), "%s", r.message);
}

static int not_a_number(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_log(x[0]);
    return 1;
}

Test(gradcheck, never_accepts_nan) {
    Tensor in[] = {x23()}; /* logarithms of negative numbers */
    GradcheckResult r;
    cr_assert(!gradcheck(not_a_number, NULL, 1, in, NULL, &r));
    cr_assert(isnan(r.numeric) && isnan(r.abs_error), "%s", r.message);
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
        {product, i64, "no f64 input"},
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
