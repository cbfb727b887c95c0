/* lstm_from_scratch_test.c -- the LSTM of examples/lstm_from_scratch against nn_lstm. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "examples/lstm_from_scratch/trainer.h"

enum { V = 5, H = 7, T = 6, B = 3, STEPS = 6 };

static ScratchTrainer scratch, library;

static void make(TensorDtype dtype) {
    const ScratchOptions options = {.dtype = dtype, .V = V, .H = H, .lr = 1, .clip = 1, .seed = 3};
    TensorError error;
    cr_assert(scratch_trainer_init(&scratch, &options, &error), "%s", error.message);
    cr_assert(scratch_trainer_copy(&library, &scratch, &error), "%s", error.message);
}

static void free_both(void) {
    scratch_trainer_free(&scratch);
    scratch_trainer_free(&library);
}

/* One step on random characters.  The largest difference between the two; the loss in *loss. */
static double step(uint64_t number, double loss[2]) {
    int64_t ids[T * B], next[T * B];
    Tensor x = tensor_wrap(ids, TENSOR_I64, 2, (int64_t[]){T, B});
    Tensor y = tensor_wrap(next, TENSOR_I64, 2, (int64_t[]){T, B});
    for (uint64_t i = 0; i < T * B; i++) {
        ids[i] = tensor_rng_below((TensorRngKey){.seed = 1, .step = number}, i, V);
        next[i] = (ids[i] + 1) % V; /* learnable */
    }
    TensorError error;
    ScratchOutput a, b;
    cr_assert(scratch_trainer_step(&scratch, &x, &y, &loss[0], &a, &error), "%s", error.message);
    cr_assert(scratch_trainer_step(&library, &x, &y, &loss[1], &b, &error), "%s", error.message);
    double worst = fabs(loss[0] - loss[1]);
    for (int64_t i = 0; i < ag_numel(a.y); i++)
        worst = fmax(worst, fabs(tensor_get(ag_value(a.y), i) - tensor_get(ag_value(b.y), i)));
    for (int64_t i = 0; i < ag_numel(a.logits); i++)
        worst = fmax(worst,
                     fabs(tensor_get(ag_value(a.logits), i) - tensor_get(ag_value(b.logits), i)));
    return fmax(worst, scratch_library_difference(&scratch.scratch, &library.library));
}

Test(lstm_from_scratch, same_equations_same_result) {
    const struct {
        TensorDtype dtype;
        double limit;
    } cases[] = {{TENSOR_F32, 1e-6}, {TENSOR_F64, 1e-14}};
    for (int k = 0; k < 2; k++) {
        make(cases[k].dtype);
        cr_expect_eq(scratch_library_difference(&scratch.scratch, &library.library), 0);
        for (uint64_t n = 0; n < STEPS; n++) {
            double loss[2], worst = step(n, loss);
            cr_expect_lt(worst, cases[k].limit, "step %d: %g", (int)n, worst);
        }
        free_both();
    }
}

Test(lstm_from_scratch, both_learn) {
    make(TENSOR_F64);
    double first[2], last[2];
    step(0, first);
    for (uint64_t n = 1; n < 300; n++) step(n, last);
    cr_expect_float_eq(first[0], log(V), 0.01);
    for (int k = 0; k < 2; k++) cr_expect_lt(last[k], 0.1 * first[k]);
    free_both();
}

/* So the comparison can fail, in every parameter. */
Test(lstm_from_scratch, another_number_is_another_result) {
    make(TENSOR_F64);
    double loss[2];
    for (int i = 0; i < nn_params_count(scratch.set); i++) {
        NnParam *p = nn_params_at(scratch.set, i);
        double was = tensor_get(&p->value, 2);
        tensor_set(&p->value, 2, was + 0.01);
        nn_param_touch(p);
        cr_expect_float_eq(scratch_library_difference(&scratch.scratch, &library.library), 0.01,
                           1e-12, "%s", p->name);
        tensor_set(&p->value, 2, was);
        nn_param_touch(p);
    }
    NnParam *b = scratch.scratch.b_f;
    tensor_set(&b->value, 0, 0.5);
    nn_param_touch(b);
    cr_expect_gt(step(0, loss), 1e-6);
    free_both();
}

Test(lstm_from_scratch, the_second_bias_stays_zero) {
    make(TENSOR_F64);
    double loss[2];
    step(0, loss);
    const Tensor *b = &nn_params_find(library.set, "lstm.bias_hh_l0")->value;
    for (int64_t i = 0; i < tensor_numel(b); i++) cr_expect_eq(tensor_get(b, i), 0);
    free_both();
}

Test(lstm_from_scratch, a_loss_that_is_not_finite_is_an_error) {
    make(TENSOR_F64);
    int64_t ids[] = {0, 1};
    Tensor x = tensor_wrap(ids, TENSOR_I64, 2, (int64_t[]){2, 1});
    TensorError error;
    double loss;
    tensor_set(&scratch.scratch.W_hi->value, 0, NAN);
    nn_param_touch(scratch.scratch.W_hi);
    cr_expect(!scratch_trainer_step(&scratch, &x, &x, &loss, NULL, &error));
    cr_expect(strstr(error.message, "diverged"), "%s", error.message);
    free_both();
}
