/* Every op of the table passes every check, on every instruction set of this machine. */
#include <criterion/criterion.h>
#include <string.h>

#include "autograd/gradcheck/opcheck.h"
#include "tensor/isa.h"

static void check_table(TensorIsa isa, bool print) {
    if (!tensor_isa_set(isa)) {
        cr_log_info("%s is not available here", tensor_isa_name(isa));
        return;
    }
    if (print)
        printf("%-14s %7s %6s %11s %10s %10s %10s %10s %10s\n", "op", "samples", "errors",
               "derivatives", "gradient", "second", "f32", "layouts", "compose");
    for (const AgOp *const *op = ag_ops; *op; op++) {
        OpcheckReport r;
        cr_expect(opcheck(*op, NULL, &r), "%s: %s", tensor_isa_name(isa), r.message);
        cr_expect(r.samples > 0 && r.errors > 0, "%s has no samples", (*op)->name);
        if (print)
            printf("%-14s %7d %6d %11lld %10.1e %10.1e %10.1e %10.1e %10.1e\n", (*op)->name,
                   r.samples, r.errors, (long long)r.derivatives, r.worst_first, r.worst_second,
                   r.worst_f32, r.worst_layout, r.worst_compose);
    }
}

Test(op, all_pass_every_check_with_plain_loops) { check_table(TENSOR_ISA_PLAIN, false); }
Test(op, all_pass_every_check_with_the_baseline) { check_table(TENSOR_ISA_BASELINE, false); }
Test(op, all_pass_every_check_with_avx2) { check_table(TENSOR_ISA_AVX2, false); }
Test(op, all_pass_every_check_with_avx512) { check_table(TENSOR_ISA_AVX512, false); }
Test(op, all_pass_every_check_as_chosen_by_default) { check_table(tensor_isa(), true); }

Test(op, names_are_unique_and_documented) {
    for (const AgOp *const *a = ag_ops; *a; a++) {
        cr_expect((*a)->doc && (*a)->doc[0], "%s has no doc", (*a)->name);
        for (const AgOp *const *b = ag_ops; b < a; b++)
            cr_expect(strcmp((*a)->name, (*b)->name), "%s stands twice", (*a)->name);
    }
}

/* ---- opcheck finds what is wrong with a user's op ---- */

typedef struct {
    double factor; /* of the gradient; 1 is right */
    bool raw;      /* returns memory without history */
    bool wrong_shape;
} Cube;

static bool cube_shape(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }

static bool cube_value(AgCall *c) {
    for (int64_t i = 0; i < tensor_numel(c->in[0]); i++) {
        double x = tensor_get(c->in[0], i);
        tensor_set(&c->out[0], i, x * x * x);
    }
    return true;
}

static bool cube_vjp(AgVjp *v) {
    const Cube *o = v->options;
    AgVar g = ag_mul(v->gout[0], ag_affine(ag_square(v->in[0]), 3 * o->factor, 0));
    if (o->wrong_shape) g = ag_unsqueeze(g, 0);
    if (o->raw) {
        Tensor raw = ag_vjp_raw(v, 0);
        for (int64_t i = 0; i < tensor_numel(&raw); i++)
            tensor_set(&raw, i, tensor_get(ag_value(g), i));
        return true;
    }
    v->gin[0] = g;
    return true;
}

#define CUBE_INPUT                                          \
    {                                                       \
        {.ndim = 2, .shape = {2, 3}, .lo = -1, .hi = 1},    \
    }
#define CUBE_SAMPLES(...)                                                                   \
    (const AgSample[]) {                                                                    \
        {"matrix", 1, CUBE_INPUT, &(const Cube)__VA_ARGS__, sizeof(Cube), NULL}, { 0 }      \
    }
static const AgSample cube_errors[] = {
    {"integers", 1, {{.ndim = 1, .shape = {2}, .hi = 3, .dtype = "i64"}},
     &(const Cube){1, false, false}, sizeof(Cube), "wants f32 or f64"},
    {0},
};

static OpcheckReport check_cube(const AgSample *samples, const AgSample *errors) {
    AgOp cube = {.name = "cube", .doc = "x^3", .signature = "f:f", .shape = cube_shape,
                 .value = cube_value, .vjp = cube_vjp, .samples = samples, .errors = errors};
    OpcheckReport r;
    opcheck(&cube, NULL, &r);
    return r;
}

Test(opcheck, accepts_a_right_op_of_the_users) {
    OpcheckReport r = check_cube(CUBE_SAMPLES({1, false, false}), cube_errors);
    cr_assert(r.ok, "%s", r.message);
    cr_assert_gt(r.derivatives, 12);
}

Test(opcheck, finds_a_wrong_factor) {
    OpcheckReport r = check_cube(CUBE_SAMPLES({1.001, false, false}), cube_errors);
    cr_assert(!r.ok);
    cr_assert(strstr(r.message, "cube, matrix, gradient: off by a constant factor"),
              "%s", r.message);
    cr_assert_eq(r.result.reason, GRADCHECK_FACTOR);
    cr_assert_float_eq(r.result.factor, 1.001, 1e-9);
}

Test(opcheck, finds_a_gradient_without_history_instead_of_a_zero_second_derivative) {
    OpcheckReport r = check_cube(CUBE_SAMPLES({1, true, false}), cube_errors);
    cr_assert(!r.ok);
    cr_assert(strstr(r.message, "cube: no second derivative"), "%s", r.message);
}

Test(opcheck, finds_a_gradient_of_the_wrong_shape) {
    OpcheckReport r = check_cube(CUBE_SAMPLES({1, false, true}), cube_errors);
    cr_assert(!r.ok);
    cr_assert(strstr(r.message, "gave f64[1,2,3] for argument 0, which is f64[2,3]"), "%s",
              r.message);
}

Test(opcheck, refuses_an_op_without_samples) {
    OpcheckReport r = check_cube(NULL, cube_errors);
    cr_assert(!r.ok && strstr(r.message, "samples: there are none"), "%s", r.message);
    r = check_cube(CUBE_SAMPLES({1, false, false}), NULL);
    cr_assert(!r.ok && strstr(r.message, "error samples: there are none"), "%s", r.message);
}

Test(opcheck, refuses_a_malformed_sample) {
    const struct {
        AgSample sample;
        const char *message;
    } bad[] = {
        {{.name = "a", .n_in = 1, .in = CUBE_INPUT}, NULL},
        {{.name = "a", .n_in = -1}, "-1 of them"},
        {{.name = "a", .n_in = 100}, "100 of them"},
        {{.name = "a", .n_in = 1, .in = {{.ndim = 6}}}, "input 0 has 6 axes"},
        {{.name = "a", .n_in = 1, .in = {{.ndim = 1, .shape = {-2}}}}, "size -2 of axis 0"},
        {{.name = "a", .n_in = 1, .in = {{.dtype = "f46"}}}, "no dtype is called `f46`"},
        {{.name = "a", .n_in = 6}, "6 arguments"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        AgSample samples[2] = {bad[i].sample};
        Cube options = {1, false, false};
        samples[0].options = &options;
        samples[0].options_size = sizeof options;
        OpcheckReport r = check_cube(samples, cube_errors);
        cr_expect_eq(r.ok, !bad[i].message, "%zu: %s", i, r.message);
        cr_expect(r.ok || strstr(r.message, bad[i].message), "%zu: %s", i, r.message);
    }
}

Test(opcheck, draws_floats_of_a_sample_without_a_range_from_minus_1_to_1) {
    static const Cube far_off = {77, false, false};
    static const AgSample samples[] = {
        {"no range", 1, {{.ndim = 1, .shape = {4}}}, &far_off, sizeof far_off, NULL},
        {0},
    };
    OpcheckReport r = check_cube(samples, cube_errors);
    cr_assert_eq(r.result.reason, GRADCHECK_FACTOR, "%s", r.message);
}

static bool idle_value(AgCall *c) { return (void)c, true; }

Test(opcheck, sees_a_result_that_is_never_written) {
    AgOp idle = {.name = "idle", .doc = "?", .signature = "f:f", .shape = cube_shape,
                 .value = idle_value, .vjp = cube_vjp, .errors = cube_errors,
                 .samples = CUBE_SAMPLES({1, false, false})};
    OpcheckReport r;
    cr_assert(!opcheck(&idle, NULL, &r));
    cr_assert_eq(r.result.reason, GRADCHECK_NONFINITE, "%s", r.message);
    idle.name = NULL;
    cr_assert(!opcheck(&idle, NULL, &r) && strstr(r.message, "name: there is none"),
              "%s", r.message);
}

static bool forgetful_vjp(AgVjp *v) {
    v->gin[0] = ag_affine(ag_square(v->in[0]), 3, 0);
    return true;
}

Test(opcheck, says_of_a_rule_that_forgets_the_cotangent_just_that) {
    AgOp op = {.name = "cube", .doc = "x^3", .signature = "f:f", .shape = cube_shape,
               .value = cube_value, .vjp = forgetful_vjp, .errors = cube_errors,
               .samples = CUBE_SAMPLES({1, false, false})};
    OpcheckReport r;
    cr_assert(!opcheck(&op, NULL, &r));
    cr_assert_eq(r.result.reason, GRADCHECK_NOT_LINEAR, "%s", r.message);
}

Test(opcheck, says_the_seed_whatever_fails) {
    const OpcheckOptions o = {.seed = 9};
    AgOp no_samples = {.name = "cube", .signature = "f:f", .shape = cube_shape};
    OpcheckReport r;
    cr_assert(!opcheck(&no_samples, &o, &r));
    cr_assert(strstr(r.message, "(seed 9)") && strstr(r.result.message, "(seed 9)"),
              "%s", r.message);
}

Test(opcheck, refuses_a_malformed_signature) {
    const char *const bad[] = {"f", NULL, "f:", "x:f"};
    for (int i = 0; i < 4; i++) {
        AgOp op = {.name = "cube", .signature = bad[i], .shape = cube_shape, .value = cube_value,
                   .samples = CUBE_SAMPLES({1, false, false}), .errors = cube_errors};
        OpcheckReport r;
        cr_expect(!opcheck(&op, NULL, &r) && strstr(r.message, "wants inputs:results"), "%s",
                  r.message);
    }
}

/* ---- an op with two results ---- */

static bool pair_shape(AgCall *c) {
    return ag_out_like(c, 0, c->in[0]) && ag_out_like(c, 1, c->in[0]);
}

static bool pair_value(AgCall *c) {
    for (int64_t i = 0; i < tensor_numel(c->in[0]); i++) {
        double x = tensor_get(c->in[0], i);
        tensor_set(&c->out[0], i, 2 * x);
        tensor_set(&c->out[1], i, x * x);
    }
    return true;
}

static int pair_calls;
static bool pair_vjp(AgVjp *v) {
    pair_calls++;
    AgVar g = ag_affine(ag_vjp_gout(v, 0), 2, 0);
    if (v->has_gout[1]) g = ag_add(g, ag_mul(v->gout[1], ag_affine(v->in[0], 2, 0)));
    v->gin[0] = g;
    return true;
}

static const AgSample pair_samples[] = {{"matrix", 1, CUBE_INPUT, NULL, 0, NULL}, {0}};
static const AgSample pair_errors[] = {
    {"integers", 1, {{.ndim = 1, .shape = {2}, .hi = 3, .dtype = "i64"}}, NULL, 0, "wants f"},
    {0},
};
static const AgOp pair = {.name = "pair", .doc = "2 x and x^2", .signature = "f:ff",
                          .shape = pair_shape, .value = pair_value, .vjp = pair_vjp,
                          .samples = pair_samples, .errors = pair_errors};

Test(op, with_two_results_runs_its_rule_once_with_absent_gradients_marked) {
    OpcheckReport r;
    cr_assert(opcheck(&pair, NULL, &r), "%s", r.message);
    AgTape *t = ag_tape_new();
    for (int used = 1; used <= 3; used++) {
        ag_tape_reset(t);
        AgVar x = ag_scalar(t, TENSOR_F64, 3), y[2], g;
        ag_apply(&pair, NULL, 1, &x, NULL, 0, y);
        AgVar loss = used == 1 ? y[0] : used == 2 ? y[1] : ag_mul(y[0], y[1]);
        pair_calls = 0;
        cr_assert(ag_grad(loss, (AgVar){0}, 1, &x, &g, false), "%s", ag_tape_error(t));
        cr_expect_eq(pair_calls, 1);
        /* 2 x; x^2; 2 x^3 at 3 */
        cr_expect_eq(ag_item(g), used == 1 ? 2 : used == 2 ? 6 : 54);
    }
    ag_tape_free(t);
}
