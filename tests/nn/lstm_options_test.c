/* Every option of the LSTM, alone and together with the others, against plain loops. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tests/nn/recurrent_model.h"

enum { T = 5, B = 4, I = 3, H = 5, P = 2 };
static const int64_t some_lengths[B] = {3, 0, 5, 1};

/* The options that change the equations, by bits. */
enum { PROJECTION = 1, PEEPHOLES = 2, COUPLED = 4, NORM = 8, ZONEOUT = 16, ALL = 32 };

static NnLstmOptions options_of(int bits) {
    NnLstmOptions o = {.num_layers = 2, .bidirectional = true};
    if (bits & PROJECTION) o.proj_size = P;
    if (bits & PEEPHOLES) o.peepholes = true;
    if (bits & COUPLED) o.coupled = true;
    if (bits & NORM) o.layer_norm = true, o.layer_norm_eps = bits & COUPLED ? .1 : 0;
    if (bits & ZONEOUT) o.zoneout_h = .3, o.zoneout_c = .2;
    return o;
}

/* Gains, peepholes and biases that do not start at 1 and 0. */
static void shake(NnParamSet *set) { nn_init_apply(set, "*", nn_init_uniform(-1, 1)); }

static void expect_plain(const NnLstmOptions *o, bool training, const int64_t *lengths) {
    Model m = model_new(MODEL_LSTM, TENSOR_F64, I, H, o);
    shake(m.set);
    TensorArena *a = tensor_arena_new();
    int64_t rows = m.L * m.D;
    Tensor x = model_tensor(a, TENSOR_F64, 3, (int64_t[]){T, B, I}, 1);
    Tensor h0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){rows, B, m.P}, 2);
    Tensor c0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){rows, B, H}, 3);
    AgTape *t = ag_tape_new(), *masks = ag_tape_new();
    ag_tape_training(t, training);
    ag_tape_training(masks, true);
    ag_tape_rng(t, 5, 2);
    ag_tape_rng(masks, 5, 2);
    ModelPlain want = model_plain(&m, a, &x, &h0, &c0, lengths, training ? masks : NULL);
    NnLstmOutput got =
        model_run(&m, ag_input(t, &x), ag_input(t, &h0), ag_input(t, &c0), lengths);
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    cr_expect_lt(model_distance(ag_value(got.y), &want.y), 1e-12);
    cr_expect_lt(model_distance(ag_value(got.hn), &want.h), 1e-12);
    cr_expect_lt(model_distance(ag_value(got.cn), &want.c), 1e-12);
    ag_tape_free(t);
    ag_tape_free(masks);
    tensor_arena_free(a);
    model_free(&m);
}

Test(lstm_options, equations_are_those_of_plain_loops_for_every_combination) {
    for (int bits = 0; bits < ALL; bits++)
        for (int how = 0; how < 8; how++) {
            NnLstmOptions o = options_of(bits);
            o.composed = how & 1;
            o.no_bias = bits % 3 == 0;
            expect_plain(&o, how & 2, how & 4 ? some_lengths : NULL);
        }
}

/* Everything that drops something, one by one and all together. */
static const NnLstmOptions dropping[] = {
    {.dropout = .4},
    {.dropout = .4, .locked_dropout = true},
    {.input_dropout = .4},
    {.hidden_dropout = .4},
    {.output_dropout = .4},
    {.weight_drop = .4},
    {.zoneout_h = .4},
    {.zoneout_c = .4},
    {.dropout = .2, .locked_dropout = true, .input_dropout = .3, .hidden_dropout = .2,
     .output_dropout = .3, .weight_drop = .2, .zoneout_h = .1, .zoneout_c = .2},
};
enum { N_DROPPING = sizeof dropping / sizeof *dropping };

Test(lstm_options, masks_of_training_act_where_they_are_said_to) {
    for (int i = 0; i < N_DROPPING; i++)
        for (int how = 0; how < 8; how++) {
            NnLstmOptions o = dropping[i];
            o.num_layers = 2;
            o.bidirectional = true;
            o.composed = how & 1;
            o.proj_size = how & 2 ? P : 0;
            expect_plain(&o, true, how & 4 ? some_lengths : NULL);
        }
}

Test(lstm_options, dropouts_change_training_and_not_evaluation) {
    for (int i = 0; i < N_DROPPING; i++)
        for (int training = 0; training < 2; training++) {
            NnLstmOptions o = dropping[i];
            o.num_layers = 2;
            bool zoneout = o.zoneout_h > 0 || o.zoneout_c > 0;
            Model m = model_new(MODEL_LSTM, TENSOR_F64, I, H, &o);
            Model plain = model_new(MODEL_LSTM, TENSOR_F64, I, H,
                                    &(NnLstmOptions){.num_layers = 2});
            AgTape *t = ag_tape_new();
            ag_tape_training(t, training);
            AgVar x = ag_full(t, TENSOR_F64, 3, (int64_t[]){T, B, I}, .7), none = {0};
            NnLstmOutput got = model_run(&m, x, none, none, NULL);
            NnLstmOutput again = model_run(&m, x, none, none, NULL);
            NnLstmOutput want = model_run(&plain, x, none, none, NULL);
            cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
            bool differs = model_distance(ag_value(got.y), ag_value(want.y)) > 0;
            bool repeats = model_distance(ag_value(got.y), ag_value(again.y)) == 0;
            cr_expect_eq(differs, training || zoneout, "%d", i);
            cr_expect_eq(repeats, !training, "%d", i);
            ag_tape_free(t);
            model_free(&plain);
            model_free(&m);
        }
}

/* All weights are positive, so h is never 0 and a zero in y is the mask's. */
Test(lstm_options, a_locked_mask_is_one_for_all_steps_of_a_sequence) {
    for (int locked = 0; locked < 2; locked++) {
        NnInit half = nn_init_constant(.5);
        NnLstmOptions o = {.init = &half, .output_dropout = locked ? .5 : 0};
        Model m = model_new(MODEL_LSTM, TENSOR_F64, I, 32, &o);
        AgTape *t = ag_tape_new();
        ag_tape_training(t, true);
        AgVar x = ag_full(t, TENSOR_F64, 3, (int64_t[]){T, B, I}, .7);
        AgVar y = model_run(&m, x, (AgVar){0}, (AgVar){0}, NULL).y;
        int zeros = 0, rows_differ = 0;
        for (int64_t e = 0; e < B * 32; e++) {
            double first = tensor_get(ag_value(y), e);
            zeros += first == 0;
            rows_differ += (first == 0) != (tensor_get(ag_value(y), (e + 32) % (B * 32)) == 0);
            for (int64_t step = 1; step < T; step++)
                cr_expect_eq(tensor_get(ag_value(y), step * B * 32 + e) == 0, first == 0);
        }
        if (locked) cr_expect(zeros > 40 && zeros < 88 && rows_differ > 0, "%d zeros", zeros);
        else cr_expect_eq(zeros, 0);
        ag_tape_free(t);
        model_free(&m);
    }
}

/* ---- gradients ---- */

static void check_gradients(const NnLstmOptions *o, int order) {
    static const int64_t lengths[] = {2, 3};
    Model m = model_new(MODEL_LSTM, TENSOR_F64, 2, 3, o);
    shake(m.set);
    GradcheckOptions g = {.training = true, .directions = 6};
    model_gradcheck(&m, 3, 2, lengths, order, &g);
    model_free(&m);
}

Test(lstm_options, gradients_of_both_orders_hold_with_each_option_and_with_all) {
    const int bits[] = {PROJECTION, PEEPHOLES, COUPLED, NORM, ZONEOUT, PEEPHOLES | COUPLED | NORM,
                        ALL - 1};
    for (int order = 1; order <= 2; order++) {
        for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
            NnLstmOptions o = options_of(bits[i]);
            o.layer_norm_eps = o.layer_norm ? .1 : 0;
            check_gradients(&o, order);
        }
        for (int i = 0; i < N_DROPPING; i++) {
            NnLstmOptions o = dropping[i];
            o.num_layers = 2;
            o.bidirectional = i == N_DROPPING - 1;
            check_gradients(&o, order);
        }
    }
}

/* ---- parameters ---- */

Test(lstm_options, parameters_of_all_options_have_names_shapes_and_initial_values) {
    for (int coupled = 0; coupled < 2; coupled++) {
        int64_t rows = (coupled ? 3 : 4) * H;
        const struct {
            const char *name;
            int64_t rows, columns; /* 0: none */
            double lo, hi;
        } want[] = {
            {"weight_ih", rows, I, -1, 1},       {"weight_hh", rows, P, -1, 1},
            {"bias_ih", rows, 0, -1, 1},         {"bias_hh", rows, 0, -1, 1},
            {"weight_hr", P, H, -1, 1},          {"weight_peephole", rows - H, 0, -1, 1},
            {"layer_norm_ih", rows, 0, 1, 1},    {"layer_norm_hh", rows, 0, 1, 1},
            {"layer_norm_c", H, 0, 1, 1},        {"layer_norm_c_bias", H, 0, 0, 0},
        };
        NnLstmOptions o = options_of(ALL - 1);
        o.coupled = coupled;
        NnParamSet *set = nn_params_new(TENSOR_F64, 7);
        NnLstm m = nn_lstm_make(set, "rnn", I, H, &o);
        cr_assert(m.layer && nn_params_count(set) == 4 * 10, "%s", nn_params_error(set));
        double bound = 1 / sqrt(H);
        for (int i = 0; i < 40; i++) {
            const char *suffix[] = {"l0", "l0_reverse", "l1", "l1_reverse"};
            const NnParam *p = nn_params_at(set, i);
            char name[100];
            snprintf(name, sizeof name, "rnn.%s_%s", want[i % 10].name, suffix[i / 10]);
            cr_expect_str_eq(p->name, name);
            cr_expect_str_eq(m.layer[i / 10].scope, suffix[i / 10]);
            cr_expect_eq(p->value.ndim, want[i % 10].columns ? 2 : 1, "%s", name);
            cr_expect_eq(p->value.shape[0], want[i % 10].rows, "%s", name);
            int64_t columns = i >= 20 && i % 10 == 0 ? 2 * P : want[i % 10].columns;
            if (columns) cr_expect_eq(p->value.shape[1], columns, "%s", name);
            bool random = want[i % 10].lo < want[i % 10].hi;
            double lo = random ? -bound : want[i % 10].lo, hi = random ? bound : want[i % 10].hi;
            for (int64_t e = 0; e < tensor_numel(&p->value); e++) {
                double v = tensor_get(&p->value, e);
                cr_expect(v >= lo && v <= hi && (!random || v != 0), "%s: %g", name, v);
            }
        }
        const NnLstmParams *first = &m.layer[0].params;
        NnParam *const fields[] = {first->weight_ih, first->weight_hh, first->bias_ih,
                                   first->bias_hh, first->weight_hr, first->weight_peephole,
                                   first->layer_norm_ih, first->layer_norm_hh,
                                   first->layer_norm_c, first->layer_norm_c_bias};
        for (int i = 0; i < 10; i++) cr_expect_eq(fields[i], nn_params_at(set, i));
        nn_params_free(set);
    }
}

Test(lstm_options, the_cell_is_one_step_with_every_option) {
    for (int bits = 0; bits < ALL; bits++)
        for (int training = 0; training < 2; training++) {
            NnLstmOptions o = options_of(bits);
            o.num_layers = 1, o.bidirectional = false;
            Model m = model_new(MODEL_LSTM, TENSOR_F64, I, H, &o);
            shake(m.set);
            NnLstmCellOptions of_cell = {
                .proj_size = o.proj_size, .peepholes = o.peepholes, .coupled = o.coupled,
                .layer_norm = o.layer_norm, .layer_norm_eps = o.layer_norm_eps,
                .zoneout_h = o.zoneout_h, .zoneout_c = o.zoneout_c};
            NnParamSet *set = nn_params_new(TENSOR_F64, 7);
            NnLstmCell cell = nn_lstm_cell_make(set, "", I, H, &of_cell);
            cr_assert_eq(nn_params_count(set), nn_params_count(m.set));
            TensorArena *a = tensor_arena_new();
            Tensor x = model_tensor(a, TENSOR_F64, 3, (int64_t[]){1, B, I}, 1);
            Tensor h0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){1, B, m.P}, 2);
            Tensor c0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){1, B, H}, 3);
            AgTape *t = ag_tape_new(), *masks = ag_tape_new();
            ag_tape_training(t, training);
            ag_tape_training(masks, true);
            for (int i = 0; i < nn_params_count(set); i++)
                nn_param_bind(t, nn_params_at(set, i), nn_var(t, nn_params_at(m.set, i)));
            ModelPlain want = model_plain(&m, a, &x, &h0, &c0, NULL, training ? masks : NULL);
            AgVar in = ag_input(t, &x), h = ag_input(t, &h0), c = ag_input(t, &c0);
            NnLstmState s = {ag_select(h, 0, 0), ag_select(c, 0, 0)};
            s = nn_lstm_cell(&cell, ag_select(in, 0, 0), s);
            cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
            AgVar hn = ag_unsqueeze(s.h, 0), cn = ag_unsqueeze(s.c, 0);
            cr_expect_lt(model_distance(ag_value(hn), &want.h), 1e-13);
            cr_expect_lt(model_distance(ag_value(cn), &want.c), 1e-13);
            ag_tape_free(t);
            ag_tape_free(masks);
            tensor_arena_free(a);
            nn_params_free(set);
            model_free(&m);
        }
}

/* ---- refusals ---- */

Test(lstm_options, wrong_options_are_one_line_each) {
    const struct {
        NnLstmOptions o;
        const char *words;
    } cases[] = {
        {{.proj_size = -1}, "projection size -1, wants 0 to 4"},
        {{.proj_size = H}, "projection size 5"},
        {{.has_forget_bias = true, .no_bias = true}, "a forget bias, but no biases"},
        {{.has_forget_bias = true, .coupled = true}, "no forget gate"},
        {{.forget_bias = 1}, "forget_bias 1, but no has_forget_bias"},
        {{.layer_norm_eps = 1e-3}, "layer_norm_eps, but no layer_norm"},
        {{.layer_norm = true, .layer_norm_eps = -1}, "layer_norm_eps -1"},
        {{.layer_norm = true, .layer_norm_eps = NAN}, "layer_norm_eps nan"},
        {{.zoneout_h = 1.5}, "zoneout_h 1.5 is not in 0..1"},
        {{.zoneout_c = -.5}, "zoneout_c -0.5 is not in 0..1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const NnLstmOptions *o = &cases[i].o;
        const NnLstmCellOptions cell = {
            .no_bias = o->no_bias, .has_forget_bias = o->has_forget_bias,
            .forget_bias = o->forget_bias, .proj_size = o->proj_size, .coupled = o->coupled,
            .layer_norm = o->layer_norm, .layer_norm_eps = o->layer_norm_eps,
            .zoneout_h = o->zoneout_h, .zoneout_c = o->zoneout_c};
        NnParamSet *a = nn_params_new(TENSOR_F64, 7), *b = nn_params_new(TENSOR_F64, 7);
        cr_expect(!nn_lstm_make(a, "rnn", I, H, o).layer);
        NnLstmCell m = nn_lstm_cell_make(b, "one", I, H, &cell);
        cr_expect(strstr(nn_params_error(a), "lstm rnn: "), "%s", nn_params_error(a));
        cr_expect(strstr(nn_params_error(b), "lstm_cell one: "), "%s", nn_params_error(b));
        cr_expect(strstr(nn_params_error(a), cases[i].words), "%s", nn_params_error(a));
        cr_expect(strstr(nn_params_error(b), cases[i].words), "%s", nn_params_error(b));
        cr_expect(nn_params_count(a) == 0 && nn_params_count(b) == 0);
        AgTape *t = ag_tape_new();
        AgVar x = ag_full(t, TENSOR_F64, 2, (int64_t[]){B, I}, 1);
        cr_expect(!ag_ok(nn_lstm_cell(&m, x, (NnLstmState){x, x}).h));
        cr_expect(strstr(ag_tape_error(t), cases[i].words), "%s", ag_tape_error(t));
        ag_tape_free(t);
        nn_params_free(a);
        nn_params_free(b);
    }
    const struct {
        NnLstmOptions o;
        const char *words;
    } of_layers[] = {
        {{.dropout = -.1}, "dropout -0.1 is not in 0..1"},
        {{.locked_dropout = true}, "locked_dropout, but dropout is 0"},
        {{.input_dropout = 2}, "input_dropout 2 is not in 0..1"},
        {{.hidden_dropout = NAN}, "hidden_dropout nan"},
        {{.output_dropout = -1}, "output_dropout -1"},
        {{.weight_drop = 1.1}, "weight_drop 1.1"},
    };
    for (size_t i = 0; i < sizeof of_layers / sizeof *of_layers; i++) {
        NnParamSet *set = nn_params_new(TENSOR_F64, 7);
        cr_expect(!nn_lstm_make(set, "rnn", I, H, &of_layers[i].o).layer);
        cr_expect(strstr(nn_params_error(set), of_layers[i].words), "%s", nn_params_error(set));
        nn_params_free(set);
    }
}
