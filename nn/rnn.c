/* rnn.c -- see rnn.h. */
#include "nn/rnn.h"

#include "nn/recurrent.h"

enum { GATES = 1 };

static bool check_nonlinearity(NnParamSet *set, const char *kind, const char *name,
                               AgRnnNonlinearity nonlinearity) {
    if (nonlinearity != AG_RNN_TANH && nonlinearity != AG_RNN_RELU)
        nn_params_fail(set, "%s %.200s: nonlinearity %d is unknown", kind, name,
                       (int)nonlinearity);
    return nn_params_ok(set);
}

NnRnnCell nn_rnn_cell_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                           const NnRnnCellOptions *options) {
    NnRnnCellOptions o = options ? *options : (NnRnnCellOptions){0};
    NnRnnCell m = {I, H, nn_recurrent_nil(set), o.nonlinearity};
    if (nn_recurrent_check_sizes(set, "rnn_cell", name, I, H) &&
        check_nonlinearity(set, "rnn_cell", name, o.nonlinearity))
        m.params = nn_recurrent_gates(set, name, "", GATES, I, H, o.no_bias, o.init);
    return m;
}

AgVar nn_rnn_cell(const NnRnnCell *m, AgVar x, AgVar h) {
    AgRnnWeights w;
    if (!nn_recurrent_open_cell("rnn_cell", x, h, m->I, m->H, &m->params, &w))
        return (AgVar){x.tape, 0, 0};
    return ag_rnn(ag_unsqueeze(x, 0), h, &w, m->nonlinearity, NULL).hn;
}

NnRnn nn_rnn_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                  const NnRnnOptions *options) {
    NnRnnOptions o = options ? *options : (NnRnnOptions){0};
    NnRnn m = {.I = I, .H = H, .L = o.num_layers ? o.num_layers : 1,
               .D = o.bidirectional ? 2 : 1, .options = o, .name = ""};
    m.options.init = NULL; /* it may end before the layer does */
    if (nn_recurrent_check_stack(set, "rnn", name, I, H, o.num_layers, o.dropout) &&
        check_nonlinearity(set, "rnn", name, o.nonlinearity))
        m.layer = nn_recurrent_gate_layers(set, name, GATES, I, H, m.L, m.D, o.no_bias, o.init,
                                           &m.name);
    return m;
}

static const char *scope(const void *model, int k) {
    return ((const NnRnn *)model)->layer[k].scope;
}

static NnRecurrentOutput pass(const void *model, int k, AgVar x, const AgVar *state,
                              const AgRnnOptions *options) {
    const NnRnn *m = model;
    AgRnnWeights w = nn_recurrent_weights(x.tape, &m->layer[k].params);
    AgRnnOutput out = (m->options.composed ? ag_rnn_composed : ag_rnn)(
        x, state[0], &w, m->options.nonlinearity, options);
    return (NnRecurrentOutput){out.y, {out.hn}};
}

NnRnnOutput nn_rnn(const NnRnn *m, AgVar x, AgVar h0, const int64_t *lengths) {
    NnRecurrent stack = {.kind = "rnn", .name = m->name, .I = m->I, .L = m->L, .D = m->D,
                         .n_states = 1, .size = {m->H}, .batch_first = m->options.batch_first,
                         .dropout = m->options.dropout, .model = m, .made = m->layer,
                         .scope = scope, .pass = pass};
    NnRecurrentOutput out = nn_recurrent_run(&stack, x, h0.tape ? &h0 : NULL, lengths);
    return (NnRnnOutput){out.y, out.state[0]};
}
