/* bptt_test.c -- the two parts of examples/bptt. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/bptt/steps.h"
#include "examples/bptt/vanishing.h"

/* ---- three steps ---- */

/* The example's numbers, or others in -1..1. */
static BpttRun numbers(uint64_t seed) {
    BpttRun r = bptt_example();
    double *in = (double *)&r.in;
    for (size_t i = 0; seed > 0 && i < sizeof r.in / sizeof *in; i++)
        in[i] = 2 * tensor_rng_uniform((TensorRngKey){.seed = seed}, i) - 1;
    return r;
}

/* How many lines of the stream end in "= GRADIENT DIFFERENCE"; both must be the same. */
static int read_gradients(FILE *text) {
    char line[256];
    int n = 0;
    while (fgets(line, sizeof line, text)) {
        char *value = strrchr(line, '=');
        double gradient, difference;
        if (!value || sscanf(value, "= %lf %lf", &gradient, &difference) != 2) continue;
        cr_expect_float_eq(gradient, difference, 1e-9, "%s", line);
        n++;
    }
    return n;
}

Test(bptt, every_printed_gradient_is_its_difference) {
    for (uint64_t seed = 0; seed < 20; seed++) {
        BpttRun r = numbers(seed);
        FILE *text = tmpfile();
        double worst;
        cr_assert(text && bptt_print(&r, text, &worst));
        cr_expect_lt(worst, 1e-9, "seed %d: %g", (int)seed, worst);
        rewind(text);
        /* Of 10 numbers in each of 3 steps, 12 weights and biases, 3 inputs, h_0 and c_0. */
        cr_expect_eq(read_gradients(text), 10 * 3 + 12 + 3 + 2);
        fclose(text);
    }
}

Test(bptt, the_gradients_are_those_of_ag_lstm) {
    TensorError error;
    for (uint64_t seed = 0; seed < 20; seed++) {
        BpttRun r = numbers(seed);
        double worst;
        bptt_forward(&r);
        bptt_backward(&r);
        cr_assert(bptt_compare(&r, &worst, &error), "%s", error.message);
        cr_expect_lt(worst, 1e-14, "seed %d: %g", (int)seed, worst);
    }
}

Test(bptt, a_wrong_gradient_is_seen) {
    BpttRun r = numbers(1);
    TensorError error;
    double worst;
    bptt_forward(&r);
    bptt_backward(&r);
    double *wrong[] = {&r.din.w[2], &r.din.u[0], &r.din.b[3], &r.din.x[1], &r.din.h0, &r.din.c0};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        *wrong[k] += 1e-6;
        cr_assert(bptt_compare(&r, &worst, &error), "%s", error.message);
        cr_expect_float_eq(worst, 1e-6, 1e-12);
        *wrong[k] -= 1e-6;
    }
}

/* ---- many steps ---- */

static const BpttSizes small = {.T = 6, .I = 3, .H = 4, .seed = 5};

/* d h_T[j] / d h_0[i] by a central difference, all of them squared and added up. */
static double squared_jacobian(const BpttLayer *m, AgTape *t) {
    const int64_t T = small.T, I = small.I, H = small.H;
    double x[18], h[4], sum = 0;
    Tensor sequence = tensor_wrap(x, TENSOR_F64, 3, (int64_t[]){T, 1, I});
    Tensor start = tensor_wrap(h, TENSOR_F64, 3, (int64_t[]){1, 1, H});
    tensor_rng_fill_normal(&sequence, (TensorRngKey){.seed = small.seed, .draw = 1}, 0, 1);
    for (int64_t i = 0; i < H; i++) {
        double last[2][4];
        for (int k = 0; k < 2; k++) {
            memset(h, 0, sizeof h);
            h[i] = k ? -1e-5 : 1e-5;
            ag_tape_reset(t);
            AgVar all = ag_input(t, &sequence);
            BpttState s = {ag_input(t, &start), ag_full(t, TENSOR_F64, 3, start.shape, 0)};
            for (int64_t step = 0; step < T; step++)
                s = bptt_layer_step(m, ag_narrow(all, 0, step, 1), s);
            cr_assert(ag_ok(s.h), "%s", ag_tape_error(t));
            for (int64_t j = 0; j < H; j++) last[k][j] = tensor_get(ag_value(s.h), j);
        }
        for (int64_t j = 0; j < H; j++) sum += pow((last[0][j] - last[1][j]) / 2e-5, 2);
    }
    return sum;
}

Test(bptt, norms_are_those_of_the_jacobian) {
    AgTape *t = ag_tape_new();
    for (int kind = 0; kind < BPTT_LAYERS; kind++) {
        TensorError error;
        double norm[7];
        cr_assert(bptt_norms((BpttLayerKind)kind, &small, norm, &error), "%s", error.message);
        NnParamSet *set = nn_params_new(TENSOR_F64, small.seed);
        BpttLayer m = bptt_layer_make(set, (BpttLayerKind)kind, small.I, small.H);
        double expected = sqrt(squared_jacobian(&m, t));
        cr_expect_float_eq(norm[0] / expected, 1, 1e-8, "%s: %.12g, expected %.12g",
                           bptt_layer_name[kind], norm[0], expected);
        cr_expect_float_eq(norm[small.T], sqrt((double)small.H), 1e-15);
        nn_params_free(set);
    }
    ag_tape_free(t);
}

Test(bptt, a_forget_bias_keeps_more_of_the_gradient) {
    const BpttSizes sizes = {.T = 100, .I = 16, .H = 32, .seed = 1};
    double norm[BPTT_LAYERS][101];
    TensorError error;
    for (int kind = 0; kind < BPTT_LAYERS; kind++) {
        cr_assert(bptt_norms((BpttLayerKind)kind, &sizes, norm[kind], &error), "%s", error.message);
        cr_expect_lt(norm[kind][0], 1e-6 * norm[kind][100], "vanishes: %s", bptt_layer_name[kind]);
    }
    cr_expect_gt(norm[BPTT_LSTM][0], 1e5 * norm[BPTT_RNN][0]);
    cr_expect_gt(norm[BPTT_LSTM_FORGET][0], 1e5 * norm[BPTT_LSTM][0]);
}
