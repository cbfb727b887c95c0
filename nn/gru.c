/* gru.c -- see gru.h. */
#include "nn/gru.h"

#include "nn/recurrent.h"

enum { GATES = 3 }; /* r, z, n */

NnGruCell nn_gru_cell_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                           const NnRnnCellOptions *options) {
    NnRnnCellOptions o = options ? *options : (NnRnnCellOptions){0};
    NnGruCell m = {I, H, nn_recurrent_nil(set)};
    if (o.nonlinearity != AG_RNN_TANH)
        nn_params_fail(set, "gru_cell %.200s: a nonlinearity, but a GRU has its own", name);
    if (nn_recurrent_check_sizes(set, "gru_cell", name, I, H))
        m.params = nn_recurrent_gates(set, name, "", GATES, I, H, o.no_bias, o.init);
    return m;
}

AgVar nn_gru_cell(const NnGruCell *m, AgVar x, AgVar h) {
    AgRnnWeights w;
    if (!nn_recurrent_open_cell("gru_cell", x, h, m->I, m->H, &m->params, &w))
        return (AgVar){x.tape, 0, 0};
    return ag_gru(ag_unsqueeze(x, 0), h, &w, NULL).hn;
}

NnGru nn_gru_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                  const NnGruOptions *options) {
    NnGruOptions o = options ? *options : (NnGruOptions){0};
    NnGru m = {.I = I, .H = H, .L = o.num_layers ? o.num_layers : 1,
               .D = o.bidirectional ? 2 : 1, .options = o, .name = ""};
    m.options.init = NULL; /* it may end before the layer does */
    if (nn_recurrent_check_stack(set, "gru", name, I, H, o.num_layers, o.dropout))
        m.layer = nn_recurrent_gate_layers(set, name, GATES, I, H, m.L, m.D, o.no_bias, o.init,
                                           &m.name);
    return m;
}

static const char *scope(const void *model, int k) {
    return ((const NnGru *)model)->layer[k].scope;
}

static NnRecurrentOutput pass(const void *model, int k, AgVar x, const AgVar *state,
                              const AgRnnOptions *options) {
    const NnGru *m = model;
    AgRnnWeights w = nn_recurrent_weights(x.tape, &m->layer[k].params);
    AgRnnOutput out =
        (m->options.composed ? ag_gru_composed : ag_gru)(x, state[0], &w, options);
    return (NnRecurrentOutput){out.y, {out.hn}};
}

NnRnnOutput nn_gru(const NnGru *m, AgVar x, AgVar h0, const int64_t *lengths) {
    NnRecurrent stack = {.kind = "gru", .name = m->name, .I = m->I, .L = m->L, .D = m->D,
                         .n_states = 1, .size = {m->H}, .batch_first = m->options.batch_first,
                         .dropout = m->options.dropout, .model = m, .made = m->layer,
                         .scope = scope, .pass = pass};
    NnRecurrentOutput out = nn_recurrent_run(&stack, x, h0.tape ? &h0 : NULL, lengths);
    return (NnRnnOutput){out.y, out.state[0]};
}
