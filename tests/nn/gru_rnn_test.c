/* GRU and RNN: what the two have to themselves; what they share with LSTM is in recurrent_test.c. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/nn/recurrent_model.h"

enum { B = 4, I = 3, H = 5 };

/* The two layers and their cells behind one face. */
typedef struct {
    const char *name;
    bool gru;
    int gates;
} Kind;
static const Kind kinds[] = {{"gru", true, 3}, {"rnn", false, 1}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const NnRnnLayer *make_layers(const Kind *k, NnParamSet *set, const char *name,
                                     const NnRnnOptions *o) {
    if (!k->gru) return nn_rnn_make(set, name, I, H, o).layer;
    NnGruOptions gru = {.num_layers = o->num_layers, .bidirectional = o->bidirectional,
                        .no_bias = o->no_bias, .init = o->init};
    return nn_gru_make(set, name, I, H, &gru).layer;
}

typedef struct {
    const Kind *kind;
    NnGruCell gru;
    NnRnnCell rnn;
} Cell;

static Cell make_cell(const Kind *k, NnParamSet *set, const char *name, int64_t hidden,
                      const NnRnnCellOptions *o) {
    Cell cell = {.kind = k};
    if (k->gru) cell.gru = nn_gru_cell_make(set, name, I, hidden, o);
    else cell.rnn = nn_rnn_cell_make(set, name, I, hidden, o);
    return cell;
}

static AgVar run_cell(const Cell *cell, AgVar x, AgVar h) {
    return cell->kind->gru ? nn_gru_cell(&cell->gru, x, h) : nn_rnn_cell(&cell->rnn, x, h);
}

/* The error of t is that of this kind of cell. */
static void expect_cell_error(const AgTape *t, const Kind *k, const char *words) {
    char want[200];
    snprintf(want, sizeof want, "%s_cell%s", k->name, words);
    cr_expect(strstr(ag_tape_error(t), want), "%s, not %s", ag_tape_error(t), want);
}

static void check_parameters(const Kind *k) {
    const struct {
        const char *name;
        int64_t columns[2]; /* of layer 0, of layer 1; 0: a vector */
    } want[] = {{"weight_ih", {I, 2 * H}}, {"weight_hh", {H, H}}, {"bias_ih", {0, 0}},
                {"bias_hh", {0, 0}}};
    const char *suffix[] = {"l0", "l0_reverse", "l1", "l1_reverse"};
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    const NnRnnOptions o = {.num_layers = 2, .bidirectional = true};
    const NnRnnLayer *layer = make_layers(k, set, "rnn", &o);
    cr_assert(layer && nn_params_count(set) == 16, "%s", nn_params_error(set));
    double widest = 0;
    for (int i = 0; i < 16; i++) {
        const NnParam *p = nn_params_at(set, i);
        char name[100];
        snprintf(name, sizeof name, "rnn.%s_%s", want[i % 4].name, suffix[i / 4]);
        cr_expect_str_eq(p->name, name);
        cr_expect_str_eq(layer[i / 4].scope, suffix[i / 4]);
        int64_t columns = want[i % 4].columns[i / 8];
        cr_expect_eq(p->value.ndim, columns ? 2 : 1);
        cr_expect_eq(p->value.shape[0], k->gates * H);
        if (columns) cr_expect_eq(p->value.shape[1], columns);
        for (int64_t e = 0; e < tensor_numel(&p->value); e++)
            widest = fmax(widest, fabs(tensor_get(&p->value, e)));
    }
    double bound = 1 / sqrt(H);
    cr_expect(widest <= bound && widest > .98 * bound, "uniform in +-1/sqrt(H)");
    NnInit half = nn_init_constant(.5);
    make_layers(k, set, "", &(NnRnnOptions){.init = &half, .no_bias = true});
    make_cell(k, set, "cell", H, &(NnRnnCellOptions){.init = &half});
    cr_assert_eq(nn_params_count(set), 22);
    cr_expect_str_eq(nn_params_at(set, 17)->name, "weight_hh_l0");
    cr_expect_str_eq(nn_params_at(set, 21)->name, "cell.bias_hh");
    for (int i = 16; i < 22; i++) cr_expect_eq(tensor_get(&nn_params_at(set, i)->value, 4), .5);
    nn_params_free(set);
}

Test(rnn, parameters_stand_in_pytorchs_order_with_pytorchs_shapes) {
    for (int i = 0; i < KINDS; i++) check_parameters(&kinds[i]);
}

static void check_cell(const Kind *k, ModelKind model, bool no_bias) {
    Model m = model_new(model, TENSOR_F64, I, H, &(NnLstmOptions){.no_bias = no_bias});
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    NnRnnCellOptions o = {.no_bias = no_bias,
                          .nonlinearity = model == MODEL_RELU ? AG_RNN_RELU : AG_RNN_TANH};
    Cell cell = make_cell(k, set, "", H, &o);
    cr_expect_eq(nn_params_count(set), no_bias ? 2 : 4);
    TensorArena *a = tensor_arena_new();
    Tensor x = model_tensor(a, TENSOR_F64, 3, (int64_t[]){1, B, I}, 1);
    Tensor h0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){1, B, H}, 2);
    ModelPlain want = model_plain(&m, a, &x, &h0, NULL, NULL, NULL);
    AgTape *t = ag_tape_new();
    AgVar in = ag_input(t, &x), h = ag_input(t, &h0);
    h = ag_unsqueeze(run_cell(&cell, ag_select(in, 0, 0), ag_select(h, 0, 0)), 0);
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    cr_expect_lt(model_distance(ag_value(h), &want.h), 1e-14, "of the same seed");
    ag_tape_free(t);
    tensor_arena_free(a);
    nn_params_free(set);
    model_free(&m);
}

Test(rnn, the_cell_is_one_step) {
    for (int no_bias = 0; no_bias < 2; no_bias++) {
        check_cell(&kinds[0], MODEL_GRU, no_bias);
        check_cell(&kinds[1], MODEL_RNN, no_bias);
        check_cell(&kinds[1], MODEL_RELU, no_bias);
    }
}

Test(rnn, a_refused_cell_says_so_on_a_tape) {
    const struct {
        const Kind *kind;
        int64_t H;
        AgRnnNonlinearity nonlinearity;
        const char *words;
    } cases[] = {
        {&kinds[0], 4, AG_RNN_RELU, " one: a nonlinearity"},
        {&kinds[1], 4, (AgRnnNonlinearity)2, " one: nonlinearity 2 is unknown"},
        {&kinds[0], -4, AG_RNN_TANH, " one: input size 3, hidden size -4"},
        {&kinds[1], -4, AG_RNN_TANH, " one: input size 3, hidden size -4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        NnParamSet *set = nn_params_new(TENSOR_F64, 7);
        NnRnnCellOptions o = {.nonlinearity = cases[i].nonlinearity};
        Cell cell = make_cell(cases[i].kind, set, "one", cases[i].H, &o);
        cr_expect_eq(nn_params_count(set), 0);
        AgTape *t = ag_tape_new();
        AgVar x = ag_full(t, TENSOR_F64, 2, (int64_t[]){2, 3}, 1);
        cr_expect(!ag_ok(run_cell(&cell, x, x)));
        expect_cell_error(t, cases[i].kind, cases[i].words);
        ag_tape_free(t);
        nn_params_free(set);
    }
}

Test(rnn, there_are_two_nonlinearities) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    const NnRnnOptions o = {.nonlinearity = (AgRnnNonlinearity)2};
    cr_expect(!nn_rnn_make(set, "rnn", I, H, &o).layer);
    cr_expect_str_eq(nn_params_error(set), "rnn rnn: nonlinearity 2 is unknown");
    nn_params_free(set);
}

static void check_shapes(const Kind *k) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    Cell cell = make_cell(k, set, "cell", 4, NULL), never = {.kind = k};
    const struct {
        int64_t x[2], h[2];
        const char *words;
    } cases[] = {
        {{2, 4}, {2, 4}, ": expected x [B,3], got f64[2,4]"},
        {{2, 3}, {1, 4}, ": expected h [2,4], got f64[1,4]"},
        {{1, 3}, {2, 4}, ": expected h [1,4], got f64[2,4]"},
        {{2, 3}, {2, 5}, ": expected h [2,4], got f64[2,5]"},
    };
    AgTape *t = ag_tape_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        AgVar x = ag_full(t, TENSOR_F64, 2, cases[i].x, 1);
        cr_expect(!ag_ok(run_cell(&cell, x, ag_full(t, TENSOR_F64, 2, cases[i].h, 0))));
        expect_cell_error(t, k, cases[i].words);
        ag_tape_reset(t);
    }
    AgVar x = ag_full(t, TENSOR_F64, 2, (int64_t[]){2, 3}, 1);
    cr_expect(!ag_ok(run_cell(&cell, x, (AgVar){0})));
    expect_cell_error(t, k, ": h: no variable");
    cr_expect(!ag_ok(run_cell(&cell, (AgVar){0}, (AgVar){0})));
    ag_tape_reset(t);
    x = ag_full(t, TENSOR_F64, 2, (int64_t[]){2, 3}, 1);
    cr_expect(!ag_ok(run_cell(&never, x, x)));
    cr_expect(strstr(ag_tape_error(t), "parameter: none"), "%s", ag_tape_error(t));
    ag_tape_free(t);
    nn_params_free(set);
}

Test(rnn, the_cell_broadcasts_nothing) {
    for (int i = 0; i < KINDS; i++) check_shapes(&kinds[i]);
}
