/* The norm of all gradients, and bounding it or their values. */
#include "optim/clip.h"

#include <criterion/criterion.h>
#include <math.h>

/* Gradients 3 and 4 repeated: |a| = 3 sqrt(n), |b| = 4 sqrt(n), norm 5 sqrt(n). */
static NnParamSet *model(TensorDtype dtype, int64_t n) {
    NnParamSet *set = nn_params_new(dtype, 1);
    for (int p = 0; p < 2; p++) {
        NnParam *param = nn_param(set, nn_init_constant(0), 1, &n, "p%d", p);
        for (int64_t i = 0; i < n; i++) tensor_set(&param->grad, i, 3 + p);
    }
    nn_buffer(set, nn_init_constant(1e9), 1, &n, "buffer");
    return set;
}

static void expect_gradients(const NnParamSet *set, double a, double b, double tolerance) {
    for (int p = 0; p < 2; p++) {
        const Tensor *g = &nn_params_at(set, p)->grad;
        for (int64_t i = 0; i < tensor_numel(g); i++)
            cr_assert_float_eq(tensor_get(g, i), p ? b : a, tolerance);
    }
}

Test(clip, scales_to_max_norm_and_returns_the_norm_before) {
    for (int f32 = 0; f32 < 2; f32++)
        for (int64_t n = 1; n <= 101; n += 20) {
            NnParamSet *set = model(f32 ? TENSOR_F32 : TENSOR_F64, n);
            double norm = 5 * sqrt((double)n), factor = .5 / (norm + 1e-6);
            double before = optim_clip_grad_norm(nn_params_grads(set), .5);
            cr_expect_float_eq(before, norm, 1e-12);
            expect_gradients(set, 3 * factor, 4 * factor, f32 ? 1e-7 : 1e-15);
            double after = optim_clip_grad_norm(nn_params_grads(set), INFINITY);
            cr_expect_float_eq(after, norm * factor, f32 ? 1e-6 : 1e-12);
            nn_params_free(set);
        }
}

Test(clip, leaves_small_gradients_alone) {
    NnParamSet *set = model(TENSOR_F64, 1);
    cr_expect_eq(optim_clip_grad_norm(nn_params_grads(set), 5.1), 5);
    cr_expect_eq(optim_clip_grad_norm(nn_params_grads(set), INFINITY), 5);
    expect_gradients(set, 3, 4, 0);
    cr_expect_eq(optim_clip_grad_norm(nn_params_grads(set), 5), 5);
    expect_gradients(set, 3 * (5 / (5 + 1e-6)), 4 * (5 / (5 + 1e-6)), 1e-15);
    nn_params_free(set);
}

Test(clip, frozen_parameters_do_not_count) {
    NnParamSet *set = model(TENSOR_F64, 1);
    nn_freeze(set, "p1", true);
    cr_expect_eq(optim_clip_grad_norm(nn_params_grads(set), 1), 3);
    expect_gradients(set, 3 / (3 + 1e-6), 4, 1e-15);
    nn_params_free(set);
}

Test(clip, a_norm_that_is_not_finite_is_returned_and_nothing_scaled) {
    const double bad[] = {NAN, INFINITY, -INFINITY, 1e200};
    for (int i = 0; i < 4; i++) {
        NnParamSet *set = model(TENSOR_F64, 9);
        tensor_set(&nn_params_at(set, 0)->grad, 8, bad[i]);
        cr_expect(!isfinite(optim_clip_grad_norm(nn_params_grads(set), 1)));
        if (i < 3) cr_expect(!isfinite(optim_clip_grad_norm_p(nn_params_grads(set), 1, 3)));
        if (i < 3) cr_expect(!isfinite(optim_clip_grad_norm_p(nn_params_grads(set), 1, INFINITY)));
        cr_expect_eq(tensor_get(&nn_params_at(set, 1)->grad, 0), 4);
        cr_expect_eq(tensor_get(&nn_params_at(set, 0)->grad, 0), 3);
        nn_params_free(set);
    }
}

Test(clip, large_f32_gradients_do_not_overflow) {
    NnParamSet *set = model(TENSOR_F32, 1);
    tensor_set(&nn_params_at(set, 0)->grad, 0, 3e30);
    tensor_set(&nn_params_at(set, 1)->grad, 0, 4e30);
    double norm = optim_clip_grad_norm(nn_params_grads(set), 10);
    cr_expect_float_eq(norm / 5e30, 1, 1e-6);
    expect_gradients(set, 6, 8, 1e-5);
    nn_params_free(set);
}

Test(clip, thirty_and_forty_clipped_to_ten_are_six_and_eight) {
    NnParamSet *set = model(TENSOR_F64, 1);
    tensor_set(&nn_params_at(set, 0)->grad, 0, 30);
    tensor_set(&nn_params_at(set, 1)->grad, 0, 40);
    cr_expect_eq(optim_clip_grad_norm(nn_params_grads(set), 10), 50);
    expect_gradients(set, 6, 8, 1e-6);
    nn_params_free(set);
}

Test(clip, norms_of_other_p) {
    const struct {
        double p, norm; /* of n times 3 and n times 4 */
    } cases[] = {{1, 7 * 9}, {3, cbrt(91 * 9)}, {.5, 81 * pow(sqrt(3) + 2, 2)}, {INFINITY, 4},
                 {2, 15}};
    for (int f32 = 0; f32 < 2; f32++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            NnParamSet *set = model(f32 ? TENSOR_F32 : TENSOR_F64, 9);
            tensor_set(&nn_params_at(set, 0)->grad, 4, -3);
            double norm = optim_clip_grad_norm_p(nn_params_grads(set), .5, cases[i].p);
            cr_expect_float_eq(norm / cases[i].norm, 1, 1e-14, "p %g: %.17g", cases[i].p, norm);
            tensor_set(&nn_params_at(set, 0)->grad, 4, tensor_get(&nn_params_at(set, 0)->grad, 0));
            double factor = .5 / (norm + 1e-6);
            expect_gradients(set, 3 * factor, 4 * factor, f32 ? 1e-7 : 1e-15);
            nn_params_free(set);
        }
}

Test(clip, powers_of_large_and_small_gradients_do_not_overflow_or_vanish) {
    NnParamSet *set = model(TENSOR_F64, 1);
    const double scales[] = {1e200, 1e-200};
    for (int i = 0; i < 2; i++) {
        tensor_set(&nn_params_at(set, 0)->grad, 0, 3 * scales[i]);
        tensor_set(&nn_params_at(set, 1)->grad, 0, 4 * scales[i]);
        double norm = optim_clip_grad_norm_p(nn_params_grads(set), INFINITY, 3);
        cr_expect_float_eq(norm / scales[i], cbrt(91), 1e-14);
    }
    nn_zero_grad(set);
    cr_expect_eq(optim_clip_grad_norm_p(nn_params_grads(set), 1, 3), 0);
    cr_expect_eq(optim_clip_grad_norm_p(nn_params_grads(set), 1, INFINITY), 0);
    nn_params_free(set);
}

Test(clip, a_bound_of_zero_makes_the_gradients_zero) {
    for (int i = 0; i < 2; i++) {
        NnParamSet *set = model(TENSOR_F64, 9);
        if (i == 0) cr_expect_gt(optim_clip_grad_norm(nn_params_grads(set), 0), 0);
        else cr_expect(optim_clip_grad_value(nn_params_grads(set), 0));
        expect_gradients(set, 0, 0, 0);
        cr_expect_eq(optim_clip_grad_norm(nn_params_grads(set), 0), 0);
        nn_params_free(set);
    }
}

Test(clip, values_are_bounded_on_both_sides_and_nan_stays) {
    for (int f32 = 0; f32 < 2; f32++) {
        NnParamSet *set = model(f32 ? TENSOR_F32 : TENSOR_F64, 9);
        nn_freeze(set, "p1", true);
        Tensor g = nn_params_at(set, 0)->grad;
        const double in[] = {-3, -2.5, -1, 0, 2, 2.5, INFINITY, -INFINITY, NAN};
        const double out[] = {-2.5, -2.5, -1, 0, 2, 2.5, 2.5, -2.5};
        for (int i = 0; i < 9; i++) tensor_set(&g, i, in[i]);
        cr_expect(optim_clip_grad_value(nn_params_grads(set), 2.5));
        for (int i = 0; i < 8; i++) cr_expect_eq(tensor_get(&g, i), out[i]);
        cr_expect(isnan(tensor_get(&g, 8)));
        cr_expect_eq(tensor_get(&nn_params_at(set, 1)->grad, 0), 4, "frozen");
        nn_params_free(set);
    }
}

Test(clip, a_bound_that_is_none_is_refused) {
    NnParamSet *set = model(TENSOR_F64, 1);
    const double bad[] = {-1, NAN, -INFINITY};
    for (int i = 0; i < 3; i++) {
        cr_expect(isnan(optim_clip_grad_norm(nn_params_grads(set), bad[i])));
        cr_expect(isnan(optim_clip_grad_norm_p(nn_params_grads(set), 1, bad[i])));
        cr_expect(!optim_clip_grad_value(nn_params_grads(set), bad[i]));
    }
    cr_expect(isnan(optim_clip_grad_norm_p(nn_params_grads(set), 1, 0)));
    cr_expect(isnan(optim_clip_grad_norm(NULL, 1)) && !optim_clip_grad_value(NULL, 1));
    expect_gradients(set, 3, 4, 0);
    NnParamSet *empty = nn_params_new(TENSOR_F64, 1);
    cr_expect_eq(optim_clip_grad_norm(nn_params_grads(empty), 1), 0);
    nn_params_free(empty);
    nn_params_free(set);
}
