/* The parameter set: names, values, errors, gradients, and parameters on a tape. */
#include "nn/param.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const int64_t s23[] = {2, 3}, s3[] = {3}, s4[] = {4};

static NnParam *add(NnParamSet *set, const char *name) {
    return nn_param(set, nn_init_normal(0, 1), 2, s23, "%s", name);
}

/* ---- the set ---- */

Test(param, the_set_lists_parameters_in_the_order_of_creation) {
    NnParamSet *set = nn_params_new(TENSOR_F32, 1);
    for (int i = 0; i < 100; i++) {
        NnParam *p = i % 5 == 4 ? nn_buffer(set, nn_init_constant(i), 1, s3, "layer%d.mean", i)
                                : nn_param(set, nn_init_constant(i), 2, s23, "layer%d.w", i);
        cr_assert_eq(p->index, i);
        cr_assert_eq(p->set, set);
        cr_assert_eq(p->trainable, i % 5 != 4);
    }
    cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
    cr_assert_str_eq(nn_params_error(set), "");
    cr_assert_eq(nn_params_count(set), 100);
    cr_assert_eq(nn_params_numel(set), 80 * 6, "buffers do not count");
    cr_assert_eq(nn_params_dtype(set), TENSOR_F32);
    for (int i = 0; i < 100; i++) {
        const NnParam *p = nn_params_at(set, i);
        cr_assert_eq(p->index, i);
        cr_assert_eq(nn_params_find(set, p->name), p);
        cr_assert_eq(tensor_get(&p->value, 0), i);
        cr_assert(tensor_is_contiguous(&p->value));
        cr_assert_eq(tensor_is_nil(&p->grad), !p->trainable);
        for (int64_t e = 0; p->trainable && e < 6; e++) cr_assert_eq(tensor_get(&p->grad, e), 0);
    }
    cr_assert_null(nn_params_find(set, "layer1"));
    cr_assert_eq(nn_params_at(set, 100)->index, -1);
    cr_assert_eq(nn_params_at(set, -1)->index, -1);
    nn_params_free(set);
}

Test(param, a_prefix_gets_its_dot_and_an_empty_one_none) {
    NnParamSet *set = nn_params_new(TENSOR_F32, 1);
    const char *out = "out", *none = "";
    cr_expect_str_eq(nn_param(set, nn_init_constant(0), 1, s3, "%s%sweight", NN_PREFIX(out))->name,
                     "out.weight");
    cr_expect_str_eq(nn_param(set, nn_init_constant(0), 1, s3, "%s%sweight", NN_PREFIX(none))->name,
                     "weight");
    nn_params_free(set);
}

Test(param, scalars_and_empty_shapes_are_parameters_too) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    const int64_t empty[] = {0, 5};
    NnParam *scalar = nn_param(set, nn_init_constant(2), 0, NULL, "s");
    NnParam *nothing = nn_param(set, nn_init_normal(0, 1), 2, empty, "e");
    cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
    cr_expect_eq(tensor_numel(&scalar->value), 1);
    cr_expect_eq(tensor_numel(&nothing->value), 0);
    cr_expect_eq(nn_params_numel(set), 1);
    nn_params_free(set);
}

/* ---- errors ---- */

Test(param, a_wrong_parameter_sticks_as_one_line_and_gives_the_nil_parameter) {
    const int64_t negative[] = {2, -3}, huge[] = {INT64_MAX, INT64_MAX};
    char longest[NN_NAME_SIZE + 10];
    memset(longest, 'n', sizeof longest);
    longest[sizeof longest - 1] = 0;
    const struct {
        const char *name;
        int ndim;
        const int64_t *shape;
        NnInit init;
        const char *word;
    } cases[] = {
        {"a", 2, s23, {0}, "parameter a: name given twice"},
        {"", 2, s23, {0}, "empty"},
        {".b", 2, s23, {0}, "empty part"},
        {"b.", 2, s23, {0}, "empty part"},
        {"b..c", 2, s23, {0}, "empty part"},
        {"b c", 2, s23, {0}, "not allowed"},
        {"b*", 2, s23, {0}, "not allowed"},
        {"b\n", 2, s23, {0}, "not allowed"},
        {"b\xc3\xa4", 2, s23, {0}, "not allowed"},
        {"__metadata__", 2, s23, {0}, "reserved"},
        {longest, 2, s23, {0}, "longer than 255"},
        {"b", 2, negative, {0}, "[2,-3]"},
        {"b", 9, s23, {0}, "9 axes"},
        {"b", -1, s23, {0}, "-1 axes"},
        {"b", 2, huge, {0}, "out of memory"},
        {"b", 1, s3, {NN_INIT_XAVIER_UNIFORM, 1, 0}, "2 axes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        NnParamSet *set = nn_params_new(TENSOR_F32, 1);
        add(set, "a");
        NnParam *p = nn_param(set, cases[i].init, cases[i].ndim, cases[i].shape, "%s",
                              cases[i].name);
        cr_assert_not_null(p);
        cr_expect_eq(p->index, -1, "case %zu", i);
        cr_expect(tensor_is_nil(&p->value));
        cr_expect(!nn_params_ok(set));
        cr_expect(strstr(nn_params_error(set), cases[i].word), "case %zu: %s", i,
                  nn_params_error(set));
        cr_expect_null(strchr(nn_params_error(set), '\n'), "case %zu", i);
        char first[512];
        snprintf(first, sizeof first, "%s", nn_params_error(set));
        cr_expect_eq(nn_buffer(set, (NnInit){0}, 1, s3, "later")->index, -1);
        add(set, "");
        cr_expect_str_eq(nn_params_error(set), first, "the first error is kept");
        cr_expect_eq(nn_params_count(set), 1, "nothing is added after an error");
        nn_params_free(set);
    }
}

Test(param, only_float_dtypes_make_a_set) {
    NnParamSet *set = nn_params_new(TENSOR_I64, 1);
    cr_assert(strstr(nn_params_error(set), "f32 or f64"), "%s", nn_params_error(set));
    cr_assert_eq(add(set, "a")->index, -1);
    nn_params_free(set);
}

Test(param, a_null_set_is_one_without_parameters_and_with_an_error) {
    NnParam *p = add(NULL, "a");
    cr_assert_eq(p->index, -1);
    nn_param_touch(p);
    cr_expect(!nn_params_ok(NULL));
    cr_expect(strstr(nn_params_error(NULL), "out of memory"));
    cr_expect_eq(nn_params_count(NULL), 0);
    cr_expect_eq(nn_params_numel(NULL), 0);
    cr_expect_null(nn_params_find(NULL, "a"));
    cr_expect_eq(nn_freeze(NULL, "*", true), 0);
    cr_expect_eq(nn_init_apply(NULL, "*", nn_init_constant(0)), -1);
    cr_expect_null(nn_params_alloc(NULL, 8));
    cr_expect_null(nn_params_grads(NULL));
    cr_expect_null(nn_grads_new(NULL));
    cr_expect(!nn_grads_use(NULL, NULL));
    nn_params_fail(NULL, "x");
    nn_zero_grad(NULL);
    nn_grads_free(NULL);
    nn_params_free(NULL);
    AgTape *t = ag_tape_new();
    cr_expect(!ag_ok(nn_var(t, p)));
    cr_expect(strstr(ag_tape_error(t), "there is no parameter set"), "%s", ag_tape_error(t));
    ag_tape_free(t);
}

Test(param, the_nil_parameter_on_a_tape_tells_the_error_of_its_set) {
    NnParamSet *set = nn_params_new(TENSOR_F32, 1);
    add(set, "a");
    NnParam *p = add(set, "a");
    AgTape *t = ag_tape_new();
    cr_expect(!ag_ok(ag_neg(nn_var(t, p))));
    cr_expect(strstr(ag_tape_error(t), "parameter a: name given twice"), "%s", ag_tape_error(t));
    ag_tape_reset(t);
    nn_param_bind(t, p, ag_scalar(t, TENSOR_F32, 1));
    cr_expect(strstr(ag_tape_error(t), "name given twice"), "%s", ag_tape_error(t));
    ag_tape_free(t);
    nn_params_free(set);
}

/* ---- values ---- */

static const NnInit kinds[] = {{NN_INIT_UNIFORM, -1, 1},      {NN_INIT_NORMAL, 0, 2},
                               {NN_INIT_XAVIER_UNIFORM, 1, 0}, {NN_INIT_XAVIER_NORMAL, 1, 0},
                               {NN_INIT_ORTHOGONAL, 1, 0},     {NN_INIT_CONSTANT, .1, 0}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static NnParamSet *one_of_each(TensorDtype dtype, uint64_t seed) {
    NnParamSet *set = nn_params_new(dtype, seed);
    const int64_t shape[] = {6, 5};
    for (int k = 0; k < KINDS; k++) nn_param(set, kinds[k], 2, shape, "p%d", k);
    cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
    return set;
}

Test(param, the_f32_model_is_its_f64_twin_rounded) {
    NnParamSet *f = one_of_each(TENSOR_F32, 5), *d = one_of_each(TENSOR_F64, 5);
    for (int k = 0; k < KINDS; k++)
        for (int64_t e = 0; e < 30; e++)
            cr_assert_eq(((float *)nn_params_at(f, k)->value.data)[e],
                         (float)((double *)nn_params_at(d, k)->value.data)[e], "%d %lld", k,
                         (long long)e);
    nn_params_free(f);
    nn_params_free(d);
}

static bool same_values(const NnParam *a, const NnParam *b) {
    return memcmp(a->value.data, b->value.data,
                  (size_t)tensor_numel(&a->value) * tensor_dtype_size(a->value.dtype)) == 0;
}

Test(param, values_depend_on_seed_and_place_of_creation_only) {
    NnParamSet *a = nn_params_new(TENSOR_F64, 5), *b = nn_params_new(TENSOR_F64, 5);
    NnParamSet *c = nn_params_new(TENSOR_F64, 6);
    nn_param(a, nn_init_constant(0), 1, s4, "x");
    nn_param(b, nn_init_normal(0, 1), 2, s23, "y");
    nn_param(c, nn_init_constant(0), 1, s4, "x");
    NnParam *in_a = add(a, "w"), *in_b = add(b, "v"), *in_c = add(c, "w"), *next = add(a, "u");
    cr_expect(same_values(in_a, in_b));
    cr_expect(!same_values(in_a, in_c), "another seed");
    cr_expect(!same_values(in_a, next), "another place");
    nn_params_free(a);
    nn_params_free(b);
    nn_params_free(c);
}

Test(param, init_apply_draws_what_matches_anew) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 5), *other = nn_params_new(TENSOR_F64, 5);
    NnParam *w = nn_param(set, nn_init_constant(1), 2, s23, "enc.w");
    NnParam *b = nn_param(set, nn_init_constant(1), 1, s3, "enc.b");
    NnParam *v = nn_param(set, nn_init_constant(1), 2, s23, "dec.w");
    cr_expect_eq(nn_init_apply(set, "enc.*", nn_init_normal(0, 1)), 2);
    cr_expect(same_values(w, add(other, "w")), "as if it had been made so");
    cr_expect_eq(tensor_get(&v->value, 0), 1);
    cr_expect(w->version == 1 && b->version == 1 && v->version == 0);
    cr_expect_eq(nn_init_apply(set, "none.*", nn_init_constant(0)), 0);
    cr_expect_eq(nn_init_apply(set, "*", nn_init_orthogonal(1)), -1);
    cr_expect(strstr(nn_params_error(set), "enc.b"), "%s", nn_params_error(set));
    cr_expect(v->version == 0 && tensor_get(&v->value, 0) == 1, "all or nothing");
    nn_params_free(set);
    nn_params_free(other);
}

Test(param, freeze_takes_patterns_and_leaves_buffers_alone) {
    NnParamSet *set = nn_params_new(TENSOR_F32, 5);
    NnParam *a = add(set, "encoder.l0.w"), *b = add(set, "encoder.b"), *c = add(set, "decoder.w");
    NnParam *buffer = nn_buffer(set, nn_init_constant(0), 1, s3, "encoder.mean");
    cr_expect_eq(nn_freeze(set, "encoder.*", true), 2);
    cr_expect(a->frozen && b->frozen && !c->frozen && !buffer->frozen);
    cr_expect_eq(nn_freeze(set, "encoder.b", false), 1);
    cr_expect(a->frozen && !b->frozen);
    cr_expect_eq(nn_freeze(set, "x*", true), 0);
    nn_params_free(set);
}

/* ---- on a tape ---- */

static AgVar sum(AgVar x) { return ag_sum(x, AG_ALL_AXES, false); }

/* loss = sum over parameters of k_i sum(p_i), k_i = 1, 2, .. */
static AgVar weighted_loss(AgTape *t, const NnParamSet *set) {
    AgVar loss = ag_scalar(t, TENSOR_F64, 0);
    for (int i = 0; i < nn_params_count(set); i++)
        loss = ag_add(loss, ag_affine(sum(nn_var(t, nn_params_at(set, i))), i + 1, 0));
    return loss;
}

static bool all_equal(const Tensor *x, double value) {
    for (int64_t i = 0; i < tensor_numel(x); i++)
        if (tensor_get(x, i) != value) return false;
    return !tensor_is_nil(x);
}

Test(param, a_parameter_is_one_variable_in_an_epoch) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 5);
    NnParam *p = add(set, "w");
    AgTape *t = ag_tape_new();
    AgVar a = nn_var(t, p), b = nn_var(t, p), gx;
    cr_expect(a.id == b.id && a.epoch == b.epoch);
    AgVar y = sum(ag_mul(a, b));
    cr_assert(ag_grad(y, (AgVar){0}, 1, &a, &gx, false), "%s", ag_tape_error(t));
    for (int64_t i = 0; i < 6; i++)
        cr_expect_eq(tensor_get(ag_value(gx), i), 2 * tensor_get(&p->value, i), "all its uses");
    ag_tape_free(t);
    nn_params_free(set);
}

Test(param, backward_adds_to_the_set_and_skips_frozen_ones_and_buffers) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 5);
    NnParam *a = add(set, "a"), *b = add(set, "b");
    nn_buffer(set, nn_init_constant(3), 1, s3, "c");
    nn_freeze(set, "b", true);
    AgTape *t = ag_tape_new();
    for (int pass = 1; pass <= 2; pass++) {
        ag_tape_reset(t);
        cr_assert(ag_backward(weighted_loss(t, set)), "%s", ag_tape_error(t));
        cr_expect(all_equal(&a->grad, pass), "backward adds");
        cr_expect(all_equal(&b->grad, 0));
    }
    AgVar frozen = nn_var(t, b), gx;
    cr_assert(ag_grad(weighted_loss(t, set), (AgVar){0}, 1, &frozen, &gx, false));
    cr_expect(all_equal(ag_value(gx), 2), "ag_grad works on frozen ones");
    nn_freeze(set, "b", false);
    nn_zero_grad(set);
    ag_tape_reset(t);
    cr_assert(ag_backward(weighted_loss(t, set)), "%s", ag_tape_error(t));
    cr_expect(all_equal(&a->grad, 1) && all_equal(&b->grad, 2));
    ag_tape_free(t);
    nn_params_free(set);
}

Test(param, each_tape_adds_into_the_grads_it_uses_and_shares_are_summed) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 5);
    NnParam *a = add(set, "a");
    nn_buffer(set, nn_init_constant(3), 1, s3, "c");
    add(set, "b");
    NnGrads *one = nn_grads_new(set), *two = nn_grads_new(set);
    AgTape *t = ag_tape_new(), *u = ag_tape_new();
    cr_assert(nn_grads_use(one, t) && nn_grads_use(two, u));
    for (int pass = 0; pass < 2; pass++) {
        ag_tape_reset(t);
        cr_assert(ag_backward(weighted_loss(t, set)), "%s", ag_tape_error(t));
    }
    cr_assert(ag_backward(weighted_loss(u, set)));
    Tensor g[] = {nn_grads_at(one, 0), nn_grads_at(one, 1), nn_grads_at(one, 2)};
    cr_expect(all_equal(&g[0], 2) && tensor_is_nil(&g[1]) && all_equal(&g[2], 6));
    cr_expect(all_equal(&a->grad, 0), "the set's own stays");
    cr_expect(nn_grads_add(one, two));
    cr_expect(all_equal(&g[0], 3) && all_equal(&g[2], 9));
    nn_grads_zero(one);
    cr_expect(all_equal(&g[0], 0) && all_equal(&g[2], 0));
    Tensor outside = nn_grads_at(one, 3);
    cr_expect(tensor_is_nil(&outside));
    cr_expect(nn_grads_add(nn_params_grads(set), two) && all_equal(&a->grad, 1));
    cr_expect_eq(nn_grads_set(one), set);
    ag_tape_free(t);
    ag_tape_free(u);
    nn_grads_free(one);
    nn_grads_free(two);
    nn_params_free(set);
}

Test(param, grads_of_another_set_or_age_do_not_mix) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 5), *other = nn_params_new(TENSOR_F64, 5);
    add(set, "a");
    add(other, "a");
    NnGrads *old = nn_grads_new(set), *foreign = nn_grads_new(other);
    NnParam *late = add(set, "late");
    cr_expect(!nn_grads_add(nn_params_grads(set), foreign));
    cr_expect(!nn_grads_add(nn_params_grads(set), old));
    cr_expect(!nn_grads_add(nn_params_grads(set), NULL));
    AgTape *t = ag_tape_new();
    nn_grads_use(old, t);
    cr_expect(!ag_ok(nn_var(t, late)));
    cr_expect(strstr(ag_tape_error(t), "late was made after"), "%s", ag_tape_error(t));
    ag_tape_free(t);
    nn_grads_free(old);
    nn_grads_free(foreign);
    nn_params_free(set);
    nn_params_free(other);
}

Test(param, a_change_between_forward_and_backward_is_found) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 5);
    NnParam *p = add(set, "enc.w");
    AgTape *t = ag_tape_new();
    AgVar loss = sum(ag_square(nn_var(t, p)));
    ((double *)p->value.data)[0] = 1;
    nn_param_touch(p);
    cr_expect(!ag_backward(loss));
    cr_expect(strstr(ag_tape_error(t), "enc.w changed since forward"), "%s", ag_tape_error(t));
    ag_tape_reset(t);
    cr_expect(ag_backward(sum(ag_square(nn_var(t, p)))), "%s", ag_tape_error(t));
    ag_tape_free(t);
    nn_params_free(set);
}

Test(param, a_bound_variable_stands_for_the_parameter_until_the_reset) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 5);
    NnParam *p = add(set, "w");
    AgTape *t = ag_tape_new();
    AgVar v = ag_full(t, TENSOR_F64, 2, s23, 4);
    nn_param_bind(t, p, v);
    cr_expect_eq(nn_var(t, p).id, v.id);
    ag_tape_reset(t);
    cr_expect_eq(tensor_get(ag_value(nn_var(t, p)), 0), tensor_get(&p->value, 0));
    nn_param_bind(t, p, ag_full(t, TENSOR_F64, 1, s3, 4));
    cr_expect(strstr(ag_tape_error(t), "bind w: expected f64[2,3], got f64[3]"), "%s",
              ag_tape_error(t));
    ag_tape_reset(t);
    nn_param_bind(t, p, ag_full(t, TENSOR_F32, 2, s23, 4));
    cr_expect(strstr(ag_tape_error(t), "got f32[2,3]"), "%s", ag_tape_error(t));
    ag_tape_free(t);
    nn_params_free(set);
}
