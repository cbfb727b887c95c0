/* Gradients of both orders of the recurrent layers as functions of inputs, states and parameters,
 * against differences: three layers in both directions, several lengths, inputs with strides. */
#include <criterion/criterion.h>

#include "autograd/gradcheck/gradcheck.h"
#include "tests/nn/recurrent_model.h"

enum { T = 3, B = 2, I = 2, H = 3, LAYERS = 3, INPUTS = 3, MAX_PARAMS = 64 };

typedef struct {
    const Model *m;
    const int64_t *lengths;
} Context;

static int forward(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    const Context *c = context;
    for (int i = 0; i < nn_params_count(c->m->set); i++)
        nn_param_bind(t, nn_params_at(c->m->set, i), x[INPUTS + i]);
    NnLstmOutput out = model_run(c->m, x[0], x[1], x[2], c->lengths);
    y[0] = out.y, y[1] = out.hn;
    if (c->m->kind != MODEL_LSTM) return 2;
    y[2] = out.cn;
    return 3;
}

/* x lies the other way round in memory, h0 backwards. */
static void make_inputs(TensorArena *a, const Model *m, Tensor *in) {
    int64_t passes = m->L * m->D, other[] = {T, B, I}, usual[] = {B, T, I};
    Tensor x = model_tensor(a, TENSOR_F64, 3, m->o.batch_first ? other : usual, 1);
    Tensor h0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){passes, B, m->P}, 2);
    in[0] = tensor_transpose(&x, 0, 1);
    in[1] = tensor_flip(&h0, 0);
    in[2] = model_tensor(a, TENSOR_F64, 3, (int64_t[]){passes, B, m->H}, 3);
    for (int i = 0; i < nn_params_count(m->set); i++)
        in[INPUTS + i] = nn_params_at(m->set, i)->value;
}

typedef enum { BY_DIRECTIONS, BY_ELEMENTS, SECOND_ORDER } Check;

/* Along directions through everything at once, or by every element of everything, which takes its
 * time. */
static void expect_gradients(ModelKind kind, const NnLstmOptions *options, bool training,
                             Check check) {
    static const int64_t lengths[] = {2, 3};
    NnLstmOptions o = *options;
    o.num_layers = LAYERS;
    o.bidirectional = true;
    Model m = model_new(kind, TENSOR_F64, I, H, &o);
    TensorArena *a = tensor_arena_new();
    Tensor in[INPUTS + MAX_PARAMS];
    int n = INPUTS + nn_params_count(m.set);
    cr_assert(n <= INPUTS + MAX_PARAMS);
    make_inputs(a, &m, in);
    for (int with = check == BY_ELEMENTS; with < 2; with++) {
        Context c = {&m, with ? lengths : NULL};
        GradcheckOptions how = {.training = training, .directions = check == BY_ELEMENTS ? 0 : 5};
        GradcheckResult r;
        bool ok = (check == SECOND_ORDER ? gradgradcheck : gradcheck)(forward, &c, n, in, &how, &r);
        cr_expect(ok, "kind %d, check %d: %s", (int)kind, (int)check, r.message);
    }
    tensor_arena_free(a);
    model_free(&m);
}

/* Each with the rest off, then together. */
static const NnLstmOptions lstms[] = {
    {0},
    {.no_bias = true},
    {.batch_first = true},
    {.proj_size = 2},
    {.peepholes = true},
    {.coupled = true},
    {.coupled = true, .peepholes = true},
    {.layer_norm = true, .layer_norm_eps = .1},
    {.zoneout_h = .3},
    {.zoneout_c = .3},
    {.hidden_dropout = .3},
    {.dropout = .3},
    {.dropout = .3, .locked_dropout = true, .input_dropout = .2, .output_dropout = .2},
    {.weight_drop = .3},
    {.composed = true},
    {.batch_first = true, .proj_size = 2, .peepholes = true, .layer_norm = true,
     .layer_norm_eps = .1, .zoneout_h = .2, .zoneout_c = .3, .hidden_dropout = .3, .dropout = .2,
     .locked_dropout = true, .input_dropout = .2, .output_dropout = .2, .weight_drop = .2},
};
enum { LSTMS = sizeof lstms / sizeof *lstms };

Test(recurrent_gradient, lstm_agrees_with_differences_under_every_option) {
    for (int i = 0; i < LSTMS; i++) {
        expect_gradients(MODEL_LSTM, &lstms[i], true, BY_DIRECTIONS);
        expect_gradients(MODEL_LSTM, &lstms[i], false, BY_DIRECTIONS);
    }
}

Test(recurrent_gradient, lstm_agrees_with_second_differences_under_every_option) {
    for (int i = 0; i < LSTMS; i++) expect_gradients(MODEL_LSTM, &lstms[i], true, SECOND_ORDER);
}

/* What GRU and RNN have of them. */
static const NnLstmOptions others[] = {
    {0}, {.no_bias = true}, {.batch_first = true}, {.dropout = .3}, {.composed = true}};
enum { OTHERS = sizeof others / sizeof *others };

Test(recurrent_gradient, gru_and_rnn_agree_with_differences_of_both_orders) {
    for (ModelKind kind = MODEL_GRU; kind < MODEL_KINDS; kind++)
        for (int i = 0; i < OTHERS; i++) {
            expect_gradients(kind, &others[i], true, BY_DIRECTIONS);
            expect_gradients(kind, &others[i], true, SECOND_ORDER);
        }
}

Test(recurrent_gradient, every_element_of_everything_agrees_with_differences) {
    expect_gradients(MODEL_LSTM, &lstms[0], true, BY_ELEMENTS);
    for (ModelKind kind = MODEL_GRU; kind < MODEL_KINDS; kind++)
        expect_gradients(kind, &others[0], true, BY_ELEMENTS);
}
