/* RNN: what it has to itself; what it shares with the other layers is in recurrent_test.c. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/nn/recurrent_model.h"

enum { B = 4, I = 3, H = 5 };

Test(rnn, parameters_stand_in_pytorchs_order_with_pytorchs_shapes) {
    const struct {
        const char *name;
        int64_t columns[2]; /* of layer 0, of layer 1; 0: a vector */
    } want[] = {{"weight_ih", {I, 2 * H}}, {"weight_hh", {H, H}}, {"bias_ih", {0, 0}},
                {"bias_hh", {0, 0}}};
    const char *suffix[] = {"l0", "l0_reverse", "l1", "l1_reverse"};
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    const NnRnnOptions o = {.num_layers = 2, .bidirectional = true};
    NnRnn m = nn_rnn_make(set, "rnn", I, H, &o);
    cr_assert(m.layer && nn_params_count(set) == 16, "%s", nn_params_error(set));
    double widest = 0;
    for (int i = 0; i < 16; i++) {
        const NnParam *p = nn_params_at(set, i);
        char name[100];
        snprintf(name, sizeof name, "rnn.%s_%s", want[i % 4].name, suffix[i / 4]);
        cr_expect_str_eq(p->name, name);
        cr_expect_str_eq(m.layer[i / 4].scope, suffix[i / 4]);
        int64_t columns = want[i % 4].columns[i / 8];
        cr_expect_eq(p->value.ndim, columns ? 2 : 1);
        cr_expect_eq(p->value.shape[0], H);
        if (columns) cr_expect_eq(p->value.shape[1], columns);
        for (int64_t e = 0; e < tensor_numel(&p->value); e++)
            widest = fmax(widest, fabs(tensor_get(&p->value, e)));
    }
    double bound = 1 / sqrt(H);
    cr_expect(widest <= bound && widest > .98 * bound, "uniform in +-1/sqrt(H)");
    NnInit half = nn_init_constant(.5);
    nn_rnn_make(set, "", I, H, &(NnRnnOptions){.init = &half, .no_bias = true});
    nn_rnn_cell_make(set, "cell", I, H, &(NnRnnCellOptions){.init = &half});
    cr_assert_eq(nn_params_count(set), 22);
    cr_expect_str_eq(nn_params_at(set, 17)->name, "weight_hh_l0");
    cr_expect_str_eq(nn_params_at(set, 21)->name, "cell.bias_hh");
    for (int i = 16; i < 22; i++) cr_expect_eq(tensor_get(&nn_params_at(set, i)->value, 4), .5);
    nn_params_free(set);
}

Test(rnn, the_cell_is_one_step) {
    const ModelKind kinds[] = {MODEL_RNN, MODEL_RELU};
    for (int i = 0; i < 4; i++) {
        bool no_bias = i % 2;
        Model m = model_new(kinds[i / 2], TENSOR_F64, I, H, &(NnLstmOptions){.no_bias = no_bias});
        NnParamSet *set = nn_params_new(TENSOR_F64, 7);
        NnRnnCellOptions o = {.no_bias = no_bias,
                              .nonlinearity = i / 2 ? AG_RNN_RELU : AG_RNN_TANH};
        NnRnnCell cell = nn_rnn_cell_make(set, "", I, H, &o);
        cr_expect_eq(cell.params.bias_ih == NULL, no_bias);
        TensorArena *a = tensor_arena_new();
        Tensor x = model_tensor(a, TENSOR_F64, 3, (int64_t[]){1, B, I}, 1);
        Tensor h0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){1, B, H}, 2);
        ModelPlain want = model_plain(&m, a, &x, &h0, NULL, NULL, NULL);
        AgTape *t = ag_tape_new();
        AgVar in = ag_input(t, &x), h = ag_input(t, &h0);
        h = ag_unsqueeze(nn_rnn_cell(&cell, ag_select(in, 0, 0), ag_select(h, 0, 0)), 0);
        cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
        cr_expect_lt(model_distance(ag_value(h), &want.h), 1e-14, "of the same seed");
        ag_tape_free(t);
        tensor_arena_free(a);
        nn_params_free(set);
        model_free(&m);
    }
}

Test(rnn, there_are_two_nonlinearities_and_a_refused_cell_says_so_on_a_tape) {
    const struct {
        int64_t H;
        NnRnnCellOptions o;
        const char *words;
    } cases[] = {
        {4, {.nonlinearity = (AgRnnNonlinearity)2}, "rnn_cell one: nonlinearity 2 is unknown"},
        {-4, {0}, "rnn_cell one: input size 3, hidden size -4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        NnParamSet *set = nn_params_new(TENSOR_F64, 7);
        NnRnnCell m = nn_rnn_cell_make(set, "one", 3, cases[i].H, &cases[i].o);
        cr_expect_eq(nn_params_count(set), 0);
        AgTape *t = ag_tape_new();
        AgVar x = ag_full(t, TENSOR_F64, 2, (int64_t[]){2, 3}, 1);
        cr_expect(!ag_ok(nn_rnn_cell(&m, x, x)));
        cr_expect(strstr(ag_tape_error(t), cases[i].words), "%s", ag_tape_error(t));
        ag_tape_free(t);
        nn_params_free(set);
    }
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    const NnRnnOptions o = {.nonlinearity = (AgRnnNonlinearity)2};
    cr_expect(!nn_rnn_make(set, "rnn", I, H, &o).layer);
    cr_expect_str_eq(nn_params_error(set), "rnn rnn: nonlinearity 2 is unknown");
    nn_params_free(set);
}

Test(rnn, the_cell_broadcasts_nothing) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    NnRnnCell m = nn_rnn_cell_make(set, "cell", 3, 4, NULL), never = {0};
    const struct {
        const NnRnnCell *m;
        int64_t x[2], h[2];
        const char *words;
    } cases[] = {
        {&m, {2, 4}, {2, 4}, "rnn_cell: expected x [B,3], got f64[2,4]"},
        {&m, {2, 3}, {1, 4}, "rnn_cell: expected h [2,4], got f64[1,4]"},
        {&m, {1, 3}, {2, 4}, "rnn_cell: expected h [1,4], got f64[2,4]"},
        {&m, {2, 3}, {2, 5}, "rnn_cell: expected h [2,4], got f64[2,5]"},
        {&never, {2, 3}, {2, 4}, "parameter: none"},
    };
    AgTape *t = ag_tape_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        AgVar x = ag_full(t, TENSOR_F64, 2, cases[i].x, 1);
        cr_expect(!ag_ok(nn_rnn_cell(cases[i].m, x, ag_full(t, TENSOR_F64, 2, cases[i].h, 0))));
        cr_expect(strstr(ag_tape_error(t), cases[i].words), "%s", ag_tape_error(t));
        ag_tape_reset(t);
    }
    AgVar x = ag_full(t, TENSOR_F64, 2, (int64_t[]){2, 3}, 1);
    cr_expect(!ag_ok(nn_rnn_cell(&m, x, (AgVar){0})));
    cr_expect(strstr(ag_tape_error(t), "rnn_cell: h: no variable"), "%s", ag_tape_error(t));
    cr_expect(!ag_ok(nn_rnn_cell(&m, (AgVar){0}, (AgVar){0})));
    ag_tape_free(t);
    nn_params_free(set);
}
