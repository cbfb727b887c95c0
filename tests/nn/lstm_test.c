/* The plain LSTM: parameters, errors, state from window to window, gradients.  Values stand
 * against plain loops in recurrent_test.c, options in lstm_options_test.c. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "nn/linear.h"
#include "nn/state.h"
#include "tests/nn/recurrent_model.h"

/* ---- parameters ---- */

Test(lstm, parameters_stand_in_pytorchs_order_with_pytorchs_shapes) {
    const struct {
        const char *name;
        int64_t rows, columns;
    } want[] = {
        {"rnn.weight_ih_l0", 24, 5},          {"rnn.weight_hh_l0", 24, 6},
        {"rnn.bias_ih_l0", 24, 0},            {"rnn.bias_hh_l0", 24, 0},
        {"rnn.weight_ih_l0_reverse", 24, 5},  {"rnn.weight_hh_l0_reverse", 24, 6},
        {"rnn.bias_ih_l0_reverse", 24, 0},    {"rnn.bias_hh_l0_reverse", 24, 0},
        {"rnn.weight_ih_l1", 24, 12},         {"rnn.weight_hh_l1", 24, 6},
        {"rnn.bias_ih_l1", 24, 0},            {"rnn.bias_hh_l1", 24, 0},
        {"rnn.weight_ih_l1_reverse", 24, 12}, {"rnn.weight_hh_l1_reverse", 24, 6},
        {"rnn.bias_ih_l1_reverse", 24, 0},    {"rnn.bias_hh_l1_reverse", 24, 0},
    };
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    nn_lstm_make(set, "rnn", 5, 6, &(NnLstmOptions){.num_layers = 2, .bidirectional = true});
    cr_assert_eq(nn_params_count(set), 16);
    double widest = 0;
    for (int i = 0; i < 16; i++) {
        const NnParam *p = nn_params_at(set, i);
        cr_expect_str_eq(p->name, want[i].name);
        cr_expect_eq(p->value.ndim, want[i].columns ? 2 : 1);
        cr_expect_eq(p->value.shape[0], want[i].rows);
        if (want[i].columns) cr_expect_eq(p->value.shape[1], want[i].columns);
        for (int64_t e = 0; e < tensor_numel(&p->value); e++)
            widest = fmax(widest, fabs(tensor_get(&p->value, e)));
    }
    double bound = 1 / sqrt(6);
    cr_expect(widest <= bound && widest > .98 * bound, "uniform in +-1/sqrt(H)");
    NnInit half = nn_init_constant(.5);
    nn_lstm_make(set, "", 5, 6, &(NnLstmOptions){.init = &half, .no_bias = true});
    cr_expect_eq(nn_params_count(set), 18);
    cr_expect_str_eq(nn_params_at(set, 16)->name, "weight_ih_l0");
    cr_expect_eq(tensor_get(&nn_params_at(set, 17)->value, 143), .5);
    nn_params_free(set);
}

Test(lstm, the_two_forget_biases_add_up_to_what_was_asked) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 7), *plain = nn_params_new(TENSOR_F64, 7);
    NnLstmOptions o = {.num_layers = 2, .bidirectional = true, .has_forget_bias = true,
                       .forget_bias = 1.5};
    nn_lstm_make(set, "a", 3, 4, &o);
    nn_lstm_cell_make(set, "b", 3, 4,
                      &(NnLstmCellOptions){.has_forget_bias = true, .forget_bias = 1.5});
    nn_lstm_make(plain, "a", 3, 4, &(NnLstmOptions){.num_layers = 2, .bidirectional = true});
    nn_lstm_cell_make(plain, "b", 3, 4, NULL);
    int biases = 0;
    for (int i = 0; i < nn_params_count(set); i++) {
        const NnParam *p = nn_params_at(set, i), *q = nn_params_at(plain, i);
        bool ih = strstr(p->name, "bias_ih"), bias = ih || strstr(p->name, "bias_hh");
        biases += bias;
        for (int64_t e = 0; e < tensor_numel(&p->value); e++) {
            bool forget = bias && e >= 4 && e < 8;
            double want = forget ? (ih ? 1.5 : 0) : tensor_get(&q->value, e);
            cr_expect_eq(tensor_get(&p->value, e), want, "%s %lld", p->name, (long long)e);
        }
    }
    cr_expect_eq(biases, 2 * 4 + 2);
    nn_params_free(set);
    nn_params_free(plain);
}

/* ---- errors on the tape ---- */

Test(lstm, the_cell_broadcasts_nothing) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    NnLstmCell m = nn_lstm_cell_make(set, "cell", 3, 4, NULL);
    const struct {
        int64_t x[2], h[2], c[2];
        const char *words;
    } cases[] = {
        {{2, 4}, {2, 4}, {2, 4}, "lstm_cell: expected x [B,3], got f64[2,4]"},
        {{2, 3}, {1, 4}, {2, 4}, "lstm_cell: expected h [2,4], got f64[1,4]"},
        {{2, 3}, {2, 4}, {1, 4}, "lstm_cell: expected c [2,4], got f64[1,4]"},
        {{1, 3}, {2, 4}, {2, 4}, "lstm_cell: expected h [1,4], got f64[2,4]"},
    };
    AgTape *t = ag_tape_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        NnLstmState s = {ag_full(t, TENSOR_F64, 2, cases[i].h, 0),
                         ag_full(t, TENSOR_F64, 2, cases[i].c, 0)};
        s = nn_lstm_cell(&m, ag_full(t, TENSOR_F64, 2, cases[i].x, 1), s);
        cr_expect(!ag_ok(s.h) && !ag_ok(s.c));
        cr_expect(strstr(ag_tape_error(t), cases[i].words), "%s", ag_tape_error(t));
        ag_tape_reset(t);
    }
    ag_tape_free(t);
    nn_params_free(set);
}

/* ---- state ---- */

Test(lstm, windows_with_carried_state_give_the_whole_sequence) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    NnLstm m = nn_lstm_make(set, "rnn", 3, 4, &(NnLstmOptions){.num_layers = 2});
    TensorArena *a = tensor_arena_new();
    Tensor x = model_tensor(a, TENSOR_F64, 3, (int64_t[]){9, 2, 3}, 1);
    AgTape *whole = ag_tape_new(), *t = ag_tape_new();
    NnLstmOutput want = nn_lstm(&m, ag_input(whole, &x), NULL, NULL);
    NnState *st = nn_state_new(TENSOR_F64);
    const int64_t shape[] = {2, 2, 4};
    for (int64_t window = 0; window < 3; window++) {
        ag_tape_reset(t);
        Tensor part = tensor_narrow(&x, 0, 3 * window, 3);
        NnLstmState s = {nn_state_load(st, t, "h", 3, shape), nn_state_load(st, t, "c", 3, shape)};
        NnLstmOutput out = nn_lstm(&m, ag_input(t, &part), &s, NULL);
        cr_assert(nn_state_store(st, "h", out.hn) && nn_state_store(st, "c", out.cn), "%s",
                  ag_tape_error(t));
        AgVar expected = ag_narrow(want.y, 0, 3 * window, 3);
        cr_expect_eq(model_distance(ag_value(out.y), ag_value(expected)), 0);
    }
    nn_state_free(st);
    ag_tape_free(whole);
    ag_tape_free(t);
    tensor_arena_free(a);
    nn_params_free(set);
}

Test(lstm, later_steps_of_one_shape_take_no_memory) {
    NnParamSet *set = nn_params_new(TENSOR_F32, 7);
    NnLstmOptions o = {.num_layers = 2, .bidirectional = true};
    NnLstm m = nn_lstm_make(set, "rnn", 3, 4, &o);
    AgTape *t = ag_tape_new();
    size_t reserved = 0;
    for (int step = 0; step < 5; step++) {
        ag_tape_reset(t);
        AgVar x = ag_full(t, TENSOR_F32, 3, (int64_t[]){50, 2, 3}, 1);
        cr_assert(ag_backward(ag_sum(nn_lstm(&m, x, NULL, NULL).y, AG_ALL_AXES, false)), "%s",
                  ag_tape_error(t));
        if (step == 1) reserved = ag_tape_reserved(t);
        if (step > 1) cr_expect_eq(ag_tape_reserved(t), reserved);
    }
    ag_tape_free(t);
    nn_params_free(set);
}

Test(lstm, wrong_states_and_layers_are_errors_on_the_tape_of_x) {
    NnParamSet *set = nn_params_new(TENSOR_F32, 7);
    NnLstm m = nn_lstm_make(set, "rnn", 3, 4, NULL), never = {0};
    NnLstmCell cell = nn_lstm_cell_make(set, "cell", 3, 4, NULL);
    AgTape *t = ag_tape_new(), *other = ag_tape_new();
    AgVar foreign = ag_full(other, TENSOR_F32, 3, (int64_t[]){1, 2, 4}, 0);
    const struct {
        const NnLstm *m;
        NnLstmState s;
        const char *message;
    } bad[] = {
        {&m, {{0}, {0}}, "lstm: h0: no variable"},
        {&m, {foreign, foreign}, "lstm: h0: a variable of another tape"},
        {&never, {{0}, {0}}, "lstm: was not made"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ag_tape_reset(t);
        AgVar x = ag_full(t, TENSOR_F32, 3, (int64_t[]){5, 2, 3}, 0);
        cr_expect(!ag_ok(nn_lstm(bad[i].m, x, &bad[i].s, NULL).y));
        cr_expect(strstr(ag_tape_error(t), bad[i].message), "%s", ag_tape_error(t));
    }
    ag_tape_reset(t);
    AgVar step = ag_full(t, TENSOR_F32, 2, (int64_t[]){2, 3}, 0);
    cr_expect(!ag_ok(nn_lstm_cell(&cell, step, (NnLstmState){{0}, {0}}).h));
    cr_expect(strstr(ag_tape_error(t), "lstm_cell: h: no variable"), "%s", ag_tape_error(t));
    ag_tape_reset(t);
    NnLinear unmade = {0};
    cr_expect(!ag_ok(nn_linear(&unmade, ag_full(t, TENSOR_F32, 1, (int64_t[]){3}, 0))));
    cr_expect(strstr(ag_tape_error(t), "parameter: none"), "%s", ag_tape_error(t));
    cr_expect(ag_tape_ok(other));
    ag_tape_free(t);
    ag_tape_free(other);
    nn_params_free(set);
}

/* ---- gradients ---- */

Test(lstm, every_derivative_of_a_two_layer_model_agrees_with_differences) {
    Model m = model_new(MODEL_LSTM, TENSOR_F64, 5, 6, &(NnLstmOptions){.num_layers = 2});
    GradcheckResult r = model_gradcheck(&m, 4, 3, NULL, 1, NULL);
    cr_expect_lt(r.rel_error, 1e-9, "%s", r.message);
    printf("two layers, whole model: %s, relative error %.1e\n", r.message, r.rel_error);
    /* x [4,3,5], h0 and c0 [2,3,6], then per layer W_ih, W_hh and two biases */
    cr_expect_eq(r.checked, 60 + 2 * 36 + (120 + 144 + 48) + (144 + 144 + 48));
    model_free(&m);
}

/* ---- in a checkpoint ---- */

static void whole(AgTape *t, void *lstm, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)t, (void)n, (void)n_out;
    NnLstmState s = {in[1], in[2]};
    NnLstmOutput o = nn_lstm(lstm, in[0], &s, NULL);
    out[0] = o.y, out[1] = o.hn, out[2] = o.cn;
}

Test(lstm, in_a_checkpoint_gives_the_same_bits_in_less_memory) {
    int64_t T = 9, B = 4, I = 5, H = 8;
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    NnLstm m = nn_lstm_make(set, "rnn", I, H, &(NnLstmOptions){.num_layers = 2, .dropout = .3});
    TensorArena *a = tensor_arena_new();
    Tensor x = model_tensor(a, TENSOR_F64, 3, (int64_t[]){T, B, I}, 1);
    Tensor s0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){2, B, H}, 2);
    AgTape *t = ag_tape_new();
    ag_tape_training(t, true);
    Tensor first[16];
    size_t bytes[2];
    int n = nn_params_count(set);
    for (int with = 0; with < 2; with++) {
        ag_tape_reset(t);
        nn_zero_grad(set);
        AgVar in[] = {ag_input(t, &x), ag_input(t, &s0), ag_input(t, &s0)}, out[3];
        if (with) ag_checkpoint(whole, &m, 3, in, 3, out);
        else whole(t, &m, 3, in, 3, out);
        AgVar loss = ag_add(ag_sum(ag_square(out[0]), AG_ALL_AXES, false),
                            ag_sum(ag_mul(out[1], out[2]), AG_ALL_AXES, false));
        bytes[with] = ag_tape_bytes(t);
        cr_assert(ag_backward(loss), "%s", ag_tape_error(t));
        for (int i = 0; i < n; i++) {
            const Tensor *g = &nn_params_at(set, i)->grad;
            if (!with) first[i] = tensor_copy(a, g);
            for (int64_t e = 0; e < tensor_numel(g); e++)
                cr_assert_eq(tensor_get(g, e), tensor_get(&first[i], e), "parameter %d", i);
        }
        cr_expect_neq(tensor_get(&first[0], 0), 0);
    }
    cr_expect_lt(bytes[1], bytes[0] / 4);
    ag_tape_free(t);
    tensor_arena_free(a);
    nn_params_free(set);
}
