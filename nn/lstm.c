/* lstm.c -- see lstm.h. */
#include "nn/lstm.h"

#include "nn/lstm_run.h"
#include "nn/param_set.h"
#include "nn/recurrent.h"
#include "tensor/kernels.h"

/* ---- making ---- */

static bool check_projection(NnParamSet *set, const char *kind, const char *name, int64_t H,
                             int64_t proj_size) {
    if (proj_size != 0 && (proj_size < 0 || proj_size >= H))
        nn_params_fail(set, "%s %.200s: projection size %lld, wants 0 to %lld (hidden size - 1)",
                       kind, name, (long long)proj_size, (long long)H - 1);
    return nn_params_ok(set);
}

static bool check_parts(NnParamSet *set, const char *kind, const char *name,
                        const NnLstmCellOptions *o) {
    if (o->has_forget_bias && o->no_bias)
        nn_params_fail(set, "%s %.200s: a forget bias, but no biases", kind, name);
    else if (o->has_forget_bias && o->coupled)
        nn_params_fail(set, "%s %.200s: a forget bias, but coupled gates have no forget gate",
                       kind, name);
    else if (o->forget_bias != 0 && !o->has_forget_bias)
        nn_params_fail(set, "%s %.200s: forget_bias %g, but no has_forget_bias", kind, name,
                       o->forget_bias);
    else if (!(o->layer_norm_eps >= 0))
        nn_params_fail(set, "%s %.200s: layer_norm_eps %g is below 0", kind, name,
                       o->layer_norm_eps);
    else if (o->layer_norm_eps > 0 && !o->layer_norm)
        nn_params_fail(set, "%s %.200s: layer_norm_eps, but no layer_norm", kind, name);
    return nn_params_ok(set);
}

static bool check_cell(NnParamSet *set, const char *kind, const char *name, int64_t I, int64_t H,
                       const NnLstmCellOptions *o) {
    return nn_recurrent_check_sizes(set, kind, name, I, H) &&
           check_projection(set, kind, name, H, o->proj_size) &&
           check_parts(set, kind, name, o) &&
           nn_recurrent_check_p(set, kind, name, "zoneout_h", o->zoneout_h) &&
           nn_recurrent_check_p(set, kind, name, "zoneout_c", o->zoneout_c);
}

/* b_if = forget_bias, b_hf = 0 */
static void set_forget_bias(const NnLstmParams *p, int64_t H, double forget_bias) {
    if (nn_param_is_nil(p->bias_ih) || nn_param_is_nil(p->bias_hh)) return;
    Tensor b_if = tensor_narrow(&p->bias_ih->value, 0, H, H);
    Tensor b_hf = tensor_narrow(&p->bias_hh->value, 0, H, H);
    tensor_fill(&b_if, forget_bias);
    tensor_fill(&b_hf, 0);
    nn_param_touch(p->bias_ih);
    nn_param_touch(p->bias_hh);
}

/* The size of h. */
static int64_t output_size(int64_t H, int64_t proj_size) { return proj_size ? proj_size : H; }

static NnLstmParams make_params(NnParamSet *set, const char *name, const char *suffix, int64_t I,
                                int64_t H, const NnLstmCellOptions *o) {
    NnLstmParams p;
    int64_t rows = (o->coupled ? 3 : 4) * H, out = output_size(H, o->proj_size);
    NnInit init = nn_layer_init(o->init, H), one = nn_init_constant(1), zero = nn_init_constant(0);
    bool bias = !o->no_bias, norm = o->layer_norm;
    const NnRecurrentParam list[] = {
        {true, &p.weight_ih, "weight_ih", init, 2, {rows, I}},
        {true, &p.weight_hh, "weight_hh", init, 2, {rows, out}},
        {bias, &p.bias_ih, "bias_ih", init, 1, {rows}},
        {bias, &p.bias_hh, "bias_hh", init, 1, {rows}},
        {o->proj_size > 0, &p.weight_hr, "weight_hr", init, 2, {out, H}},
        {o->peepholes, &p.weight_peephole, "weight_peephole", init, 1, {rows - H}},
        {norm, &p.layer_norm_ih, "layer_norm_ih", one, 1, {rows}},
        {norm, &p.layer_norm_hh, "layer_norm_hh", one, 1, {rows}},
        {norm, &p.layer_norm_c, "layer_norm_c", one, 1, {H}},
        {norm, &p.layer_norm_c_bias, "layer_norm_c_bias", zero, 1, {H}},
    };
    nn_recurrent_params(set, name, suffix, sizeof list / sizeof *list, list);
    if (o->has_forget_bias) set_forget_bias(&p, H, o->forget_bias);
    return p;
}

NnLstmCell nn_lstm_cell_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                             const NnLstmCellOptions *options) {
    NnLstmCellOptions o = options ? *options : (NnLstmCellOptions){0};
    NnRnnParams nil = nn_recurrent_nil(set);
    NnLstmCell m = {.I = I, .H = H,
                    .params = {.weight_ih = nil.weight_ih, .weight_hh = nil.weight_hh},
                    .run = {.coupled = o.coupled, .zoneout_h = o.zoneout_h,
                            .zoneout_c = o.zoneout_c, .layer_norm_eps = o.layer_norm_eps}};
    if (check_cell(set, "lstm_cell", name, I, H, &o))
        m.params = make_params(set, name, "", I, H, &o);
    return m;
}

static bool check_dropouts(NnParamSet *set, const char *name, const NnLstmOptions *o) {
    if (o->locked_dropout && o->dropout == 0)
        nn_params_fail(set, "lstm %.200s: locked_dropout, but dropout is 0", name);
    return nn_recurrent_check_p(set, "lstm", name, "input_dropout", o->input_dropout) &&
           nn_recurrent_check_p(set, "lstm", name, "hidden_dropout", o->hidden_dropout) &&
           nn_recurrent_check_p(set, "lstm", name, "output_dropout", o->output_dropout) &&
           nn_recurrent_check_p(set, "lstm", name, "weight_drop", o->weight_drop);
}

static void make_layers(NnParamSet *set, NnLstm *m, const NnLstmCellOptions *o) {
    for (int k = 0; k < m->L * m->D && nn_params_ok(set); k++) {
        NnRecurrentPlace place =
            nn_recurrent_place(set, k, m->D, m->I, output_size(m->H, o->proj_size));
        m->layer[k].scope = place.scope;
        m->layer[k].params = make_params(set, m->name, place.suffix, place.I, m->H, o);
    }
    if (!nn_params_ok(set)) m->layer = NULL;
}

NnLstm nn_lstm_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                    const NnLstmOptions *options) {
    NnLstmOptions o = options ? *options : (NnLstmOptions){0};
    NnLstmCellOptions cell = {.no_bias = o.no_bias, .has_forget_bias = o.has_forget_bias,
                              .forget_bias = o.forget_bias, .init = o.init,
                              .proj_size = o.proj_size, .peepholes = o.peepholes,
                              .coupled = o.coupled, .layer_norm = o.layer_norm,
                              .layer_norm_eps = o.layer_norm_eps, .zoneout_h = o.zoneout_h,
                              .zoneout_c = o.zoneout_c};
    NnLstm m = {.I = I, .H = H, .L = o.num_layers ? o.num_layers : 1,
                .D = o.bidirectional ? 2 : 1, .options = o, .name = ""};
    m.options.init = NULL; /* it may end before the layer does */
    if (!nn_recurrent_check_stack(set, "lstm", name, I, H, o.num_layers, o.dropout) ||
        !check_cell(set, "lstm", name, I, H, &cell) || !check_dropouts(set, name, &o))
        return m;
    m.layer = nn_recurrent_alloc(set, name, m.L * m.D, sizeof *m.layer, &m.name);
    if (m.layer) make_layers(set, &m, &cell);
    return m;
}

/* ---- running ---- */

static AgLstmWeights weights(AgTape *t, const NnLstmParams *p) {
    return (AgLstmWeights){.weight_ih = nn_var(t, p->weight_ih),
                           .weight_hh = nn_var(t, p->weight_hh),
                           .bias_ih = nn_layer_var(t, p->bias_ih),
                           .bias_hh = nn_layer_var(t, p->bias_hh),
                           .weight_hr = nn_layer_var(t, p->weight_hr),
                           .weight_peephole = nn_layer_var(t, p->weight_peephole),
                           .layer_norm_ih = nn_layer_var(t, p->layer_norm_ih),
                           .layer_norm_hh = nn_layer_var(t, p->layer_norm_hh),
                           .layer_norm_c = nn_layer_var(t, p->layer_norm_c),
                           .layer_norm_c_bias = nn_layer_var(t, p->layer_norm_c_bias)};
}

NnLstmState nn_lstm_cell(const NnLstmCell *m, AgVar x, NnLstmState s) {
    AgTape *t = x.tape;
    AgVar none = {t, 0, 0}, state[] = {s.h, s.c};
    if (!t) return (NnLstmState){none, none};
    AgLstmWeights w = weights(t, &m->params);
    const int64_t size[] = {ag_dim(w.weight_hh, 1), m->H};
    if (!ag_tape_ok(t) || !nn_recurrent_check_step("lstm_cell", x, m->I, 2, state, size))
        return (NnLstmState){none, none};
    AgLstmOutput out = ag_lstm(ag_unsqueeze(x, 0), s.h, s.c, &w, &m->run);
    return (NnLstmState){out.hn, out.cn};
}

/* One call of the layer. */
typedef struct {
    const NnLstm *m;
    AgLstmStep *steps; /* as in nn_lstm_run */
} Run;

static const char *scope(const void *model, int k) {
    return ((const Run *)model)->m->layer[k].scope;
}

static NnRecurrentOutput pass(const void *model, int k, AgVar x, const AgVar *state,
                              const AgRnnOptions *options) {
    const Run *r = model;
    const NnLstm *m = r->m;
    const NnLstmOptions *o = &m->options;
    AgLstmStep *steps = r->steps ? r->steps + k * ag_dim(x, 0) : NULL;
    AgLstmWeights w = weights(x.tape, &m->layer[k].params);
    if (o->weight_drop > 0) w.weight_hh = ag_dropout(w.weight_hh, o->weight_drop, -1);
    AgLstmOptions run = {.lengths = options->lengths, .reverse = options->reverse,
                         .coupled = o->coupled, .hidden_dropout = o->hidden_dropout,
                         .zoneout_h = o->zoneout_h, .zoneout_c = o->zoneout_c,
                         .layer_norm_eps = o->layer_norm_eps};
    AgLstmOutput out = o->composed || steps
                           ? ag_lstm_composed(x, state[0], state[1], &w, &run, steps)
                           : ag_lstm(x, state[0], state[1], &w, &run);
    return (NnRecurrentOutput){out.y, {out.hn, out.cn}};
}

NnLstmOutput nn_lstm_run(const NnLstm *m, AgVar x, const NnLstmState *s, const int64_t *lengths,
                         AgLstmStep *steps) {
    const NnLstmOptions *o = &m->options;
    Run run = {m, steps};
    NnRecurrent stack = {.kind = "lstm", .name = m->name, .I = m->I, .L = m->L, .D = m->D,
                         .n_states = 2, .size = {output_size(m->H, o->proj_size), m->H},
                         .batch_first = o->batch_first, .locked_dropout = o->locked_dropout,
                         .dropout = o->dropout, .input_dropout = o->input_dropout,
                         .output_dropout = o->output_dropout, .model = &run, .made = m->layer,
                         .scope = scope, .pass = pass};
    AgVar states[2];
    if (s) states[0] = s->h, states[1] = s->c;
    NnRecurrentOutput out = nn_recurrent_run(&stack, x, s ? states : NULL, lengths);
    return (NnLstmOutput){out.y, out.state[0], out.state[1]};
}

NnLstmOutput nn_lstm(const NnLstm *m, AgVar x, const NnLstmState *s, const int64_t *lengths) {
    return nn_lstm_run(m, x, s, lengths, NULL);
}
