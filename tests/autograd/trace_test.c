/* The tracer of NaN and infinity. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/inspect.h"
#include "autograd/op.h"

static AgTape *t;
static void start(void) {
    t = ag_tape_new();
    ag_tape_trace_nan(t, true);
}
static void stop(void) { ag_tape_free(t); }
TestSuite(trace, .init = start, .fini = stop);

#define EXPECT_ERROR(text) \
    cr_expect(strstr(ag_tape_error(t), text), "says `%s`, wants `%s`", ag_tape_error(t), text)
#define EXPECT_OK() cr_expect(ag_tape_ok(t), "%s", ag_tape_error(t))

static AgVar vector(TensorDtype dtype, int n, const double *x) {
    double memory[64];
    int64_t length = n;
    Tensor v = tensor_wrap(memory, dtype, 1, &length);
    for (int i = 0; i < n; i++) tensor_set(&v, i, x[i]);
    return ag_input(t, &v);
}
#define VECTOR(...) \
    vector(TENSOR_F64, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), \
           (double[]){__VA_ARGS__})

static double wv[3], wg[3];
static AgVar weight(double a, double b, double c) {
    int64_t n = 3;
    wv[0] = a, wv[1] = b, wv[2] = c;
    AgLeaf leaf = {.name = "lm.w", .value = tensor_wrap(wv, TENSOR_F64, 1, &n),
                   .grad = tensor_wrap(wg, TENSOR_F64, 1, &n)};
    return ag_leaf(t, wv, &leaf);
}
static AgVar sum(AgVar x) { return ag_sum(x, AG_ALL_AXES, false); }

Test(trace, names_the_op_that_makes_infinity_with_scope_and_statistics) {
    ag_scope_push(t, "lm");
    ag_scope_step(t, 3);
    AgVar x = VECTOR(0, 1, 3);
    ag_name(x, "probability");
    AgVar y = ag_log(x);
    cr_expect(!ag_ok(y));
    cr_expect_str_eq(ag_tape_error(t),
                     "lm step 3: log: makes 1 infinity out of finite values; argument 0, "
                     "probability (node 1): f64[3] min 0 max 3 mean 1.333 nan 0 inf 0");
}

Test(trace, names_the_op_that_makes_nan) {
    ag_sqrt(VECTOR(4, -1, -2));
    EXPECT_ERROR("sqrt: makes 2 NaN out of finite values; argument 0, ");
    EXPECT_ERROR("min -2 max 4 mean 0.3333 nan 0 inf 0");
    ag_tape_reset(t);
    AgVar x = ag_masked_fill(VECTOR(1, 2), ag_eq(VECTOR(1, 2), VECTOR(1, 3)), INFINITY);
    ag_sub(x, x);
    EXPECT_ERROR("sub: makes 1 NaN out of infinity, from masked_fill (node");
    EXPECT_ERROR("nan 0 inf 1");
}

Test(trace, covers_both_dtypes_every_length_and_strided_values) {
    for (int n = 1; n <= 64; n += 9) {
        for (int at = 0; at < n; at += 4) {
            for (TensorDtype dtype = TENSOR_F32; dtype <= TENSOR_F64; dtype++) {
                double x[64];
                for (int i = 0; i < n; i++) x[i] = i == at ? 0 : 1 + i;
                ag_tape_reset(t);
                ag_log(vector(dtype, n, x));
                EXPECT_ERROR("log: makes 1 infinity");
            }
        }
    }
    ag_tape_reset(t);
    AgVar wide = ag_reshape(VECTOR(0, 1, 2, 3, 4, 5), 2, (int64_t[]){2, 3});
    ag_exp(ag_log(ag_affine(ag_transpose(wide, 0, 1), 1, 1))); /* strided and finite */
    EXPECT_OK();
    AgVar bad = ag_full(t, TENSOR_F64, 2, (int64_t[]){2, 3}, INFINITY);
    ag_mul(ag_transpose(bad, 0, 1), ag_transpose(ag_affine(wide, 0, 0), 0, 1));
    EXPECT_ERROR("mul: makes 6 NaN out of infinity, from full (node");
}

Test(trace, infinity_the_caller_asked_for_is_no_error) {
    AgVar x = VECTOR(1, 2, 3), mask = ag_gt(x, VECTOR(2, 2, 2));
    AgVar masked = ag_masked_fill(x, mask, -INFINITY);
    AgVar chosen = ag_where(mask, ag_full(t, TENSOR_F64, 0, NULL, -INFINITY), x);
    AgVar added = ag_add(x, VECTOR(0, -INFINITY, 0));
    AgVar y = ag_add(sum(ag_softmax(masked, 0)), sum(ag_exp(chosen))), g;
    y = ag_add(y, ag_logsumexp(added, AG_ALL_AXES, false));
    EXPECT_OK();
    cr_expect(ag_grad(y, (AgVar){0}, 1, &x, &g, false));
    EXPECT_OK();
}

Test(trace, nan_always_counts) {
    ag_full(t, TENSOR_F64, 0, NULL, (double)NAN);
    EXPECT_ERROR("full: makes 1 NaN");
    ag_tape_reset(t);
    AgVar x = VECTOR(1, 2);
    ag_masked_fill(x, ag_eq(x, x), (double)NAN);
    EXPECT_ERROR("masked_fill: makes 2 NaN out of finite values");
}

Test(trace, names_the_input_or_older_op_that_nan_came_in_with) {
    AgVar x = VECTOR(1, (double)NAN, 3);
    EXPECT_OK(); /* perhaps masked before it is used */
    AgVar clean = ag_masked_fill(x, ag_ne(x, x), 0);
    EXPECT_OK();
    ag_name(x, "features");
    AgVar y = ag_mul(clean, ag_reshape(x, 1, (int64_t[]){3}));
    cr_expect(!ag_ok(y));
    EXPECT_ERROR("mul: argument 1 already holds NaN, from features (node");
    ag_tape_reset(t);
    cr_expect(ag_tape_trace_nan(t, false));
    AgVar root = ag_sqrt(VECTOR(-1, 1)), later = ag_exp(root);
    cr_expect(!ag_tape_trace_nan(t, true));
    ag_tanh(later);
    EXPECT_ERROR("tanh: argument 0 already holds NaN, from sqrt (node");
}

Test(trace, names_a_parameter_that_is_not_finite) {
    weight(1, INFINITY, 2);
    EXPECT_ERROR("parameter lm.w already holds 1 infinity: f64[3] min 1 max 2 mean 1.5 nan 0 inf "
                 "1");
    ag_tape_reset(t);
    weight((double)NAN, INFINITY, 2);
    EXPECT_ERROR("parameter lm.w already holds 1 NaN");
}

Test(trace, names_the_rule_and_the_operand_whose_gradient_is_not_finite) {
    ag_scope_push(t, "norm");
    AgVar w = weight(4, 0, 1), y = ag_sqrt(w);
    ag_scope_pop(t);
    cr_expect(!ag_backward(sum(y)));
    EXPECT_ERROR("norm: gradient of sqrt (node 2): makes 1 infinity for argument 0 out of a finite "
                 "gradient");
    EXPECT_ERROR("argument 0, parameter lm.w (node 1): f64[3] min 0 max 4");
    ag_tape_reset(t);
    w = weight(1, 0, 1);
    AgVar x = VECTOR(1, 1, 1), g[2];
    y = ag_add(sum(ag_sqrt(ag_mul(w, x))), sum(w));
    cr_expect(!ag_grad_n(1, &y, NULL, 2, (AgVar[]){w, x}, g, true)); /* recorded sweeps too */
    EXPECT_ERROR("gradient of sqrt");
}

static bool like_x(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }
static bool copy_value(AgCall *c) {
    for (int64_t i = 0; i < tensor_numel(c->in[0]); i++)
        tensor_set(&c->out[0], i, tensor_get(c->in[0], i));
    return true;
}
static bool nan_then_masked(AgVjp *v) {
    AgVar bad = ag_log(ag_affine(v->in[0], 0, -1)); /* NaN everywhere */
    v->gin[0] = ag_masked_fill(ag_mul(v->gout[0], bad), ag_ne(bad, bad), 5);
    return true;
}
static bool nan_raw(AgVjp *v) {
    const Tensor *to = ag_vjp_into(v, 0);
    Tensor g = to ? *to : ag_vjp_raw(v, 0);
    for (int64_t i = 0; i < tensor_numel(&g); i++) tensor_set(&g, i, (double)NAN);
    return true;
}

Test(trace, judges_what_a_rule_gives_and_not_what_it_computes_on_its_way) {
    static const AgOp masks = {.name = "masks", .signature = "f:f", .shape = like_x,
                               .value = copy_value, .vjp = nan_then_masked};
    static const AgOp raw = {.name = "raw", .signature = "f:f", .shape = like_x,
                             .value = copy_value, .vjp = nan_raw};
    AgVar w = weight(1, 2, 3), y = ag_apply1(&masks, 1, &w, NULL, 0);
    cr_expect(ag_backward(sum(y)), "%s", ag_tape_error(t));
    cr_expect_eq(wg[1], 5);
    ag_log(VECTOR(0)); /* the tracer is on again */
    EXPECT_ERROR("log: makes 1 infinity");
    ag_tape_reset(t);
    w = weight(1, 2, 3);
    y = ag_apply1(&raw, 1, &w, NULL, 0);
    cr_expect(!ag_backward(sum(ag_add(y, w))));
    EXPECT_ERROR("gradient of raw (node 2): makes 3 NaN for argument 0");
}

Test(trace, a_loss_seed_or_sum_of_parts_that_is_not_finite) {
    AgVar x = VECTOR(1, INFINITY), g, y = sum(x);
    ag_name(x, "data");
    EXPECT_OK();
    cr_expect(!ag_grad(y, (AgVar){0}, 1, &x, &g, false));
    EXPECT_ERROR("the result sum (node");
    EXPECT_ERROR("holds 1 infinity, from data (node");
    ag_tape_reset(t);
    x = VECTOR(1, 2);
    y = ag_square(x);
    cr_expect(!ag_grad(y, VECTOR(1, (double)NAN), 1, &x, &g, false));
    EXPECT_ERROR("the seed already holds 1 NaN");
    ag_tape_reset(t);
    x = VECTOR(1e-3);
    AgVar h = ag_affine(x, 1e-3, 0);
    y = ag_add(ag_affine(h, 1.5e308, 0), ag_affine(h, 1.5e308, 0));
    cr_expect(!ag_grad(y, (AgVar){0}, 1, &x, &g, false));
    EXPECT_ERROR("do not add up to a finite one: that of affine (node");
}

static void diverges(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)context, (void)n, (void)n_out;
    ag_scope_push(tape, "inside");
    out[0] = ag_sqrt(ag_square(in[0]));
    ag_scope_pop(tape);
}

Test(trace, looks_into_checkpoints) {
    AgVar x = VECTOR(1, 0), y, g;
    ag_checkpoint(diverges, NULL, 1, &x, 1, &y);
    cr_expect(!ag_grad(y, (AgVar){0}, 1, &x, &g, false));
    EXPECT_ERROR("inside: gradient of sqrt");
}

Test(trace, off_it_says_nothing) {
    ag_tape_trace_nan(t, false);
    AgVar w = weight(1, INFINITY, (double)NAN);
    ag_backward(sum(ag_log(ag_sub(w, w))));
    EXPECT_OK();
}
