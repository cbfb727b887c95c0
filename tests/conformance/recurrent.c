/* recurrent.c -- the cases of recurrent layers and cells, in double and in single precision. */
#include <stdio.h>
#include <string.h>

#include "nn/lstm.h"
#include "tests/conformance/graph.h"
#include "tests/conformance/kinds.h"

typedef struct {
    int64_t I, H, P;
    int64_t L;
    bool bias, bidirectional, batch_first, initial_state, packed;
} Options;

/* A case with its options read, in one precision. */
typedef struct {
    const Options *o;
    Graph g;
    NnParamSet *set;
} Run;

static void begin(Run *r, Case *c, const Options *o, TensorDtype dtype) {
    c->setting = dtype == TENSOR_F32 ? "in single precision, " : "";
    r->o = o;
    r->set = nn_params_new(dtype, 1);
    graph_begin(&r->g, c, dtype);
}

static void finish(Run *r) {
    graph_check(&r->g);
    graph_end(&r->g);
    nn_params_free(r->set);
}

/* The file's parameters in place of the set's, by name. */
static void bind_parameters(Run *r) {
    if (!nn_params_ok(r->set)) case_fail(r->g.c, "%s", nn_params_error(r->set));
    for (int i = 0; case_ok(r->g.c) && i < nn_params_count(r->set); i++) {
        const NnParam *p = nn_params_at(r->set, i);
        AgVar v = graph_param(&r->g, p->name);
        if (case_ok(r->g.c)) nn_param_bind(r->g.t, p, v);
    }
}

/* The sizes of the config are those of the parameters, so that no number in a damaged file makes
 * a large model. */
static void check_sizes(Case *c, const char *suffix, int64_t gates, const Options *o) {
    Tensor ih = case_tensor(c, "param.weight_ih%s", suffix);
    Tensor hh = case_tensor(c, "param.weight_hh%s", suffix);
    if (!case_ok(c)) return;
    if (ih.ndim != 2 || ih.shape[1] != o->I)
        case_fail(c, "config: `input_size` is not that of param.weight_ih%s", suffix);
    else if (hh.ndim != 2 || hh.shape[0] % gates != 0 || hh.shape[0] / gates != o->H)
        case_fail(c, "config: `hidden_size` is not that of param.weight_hh%s", suffix);
}

static void read_sizes(Case *c, Options *o) {
    o->I = case_int(c, case_needs(c, "input_size"), 0);
    o->H = case_int(c, case_needs(c, "hidden_size"), 0);
    o->bias = case_flag(c, "bias", true);
}

/* ---- sequences ---- */

static void run_lstm(Case *c, const Options *o, TensorDtype dtype) {
    Run r;
    begin(&r, c, o, dtype);
    NnLstmOptions options = {.num_layers = (int)o->L,
                             .bidirectional = o->bidirectional,
                             .no_bias = !o->bias,
                             .batch_first = o->batch_first};
    NnLstm m = nn_lstm_make(r.set, "", o->I, o->H, &options);
    AgVar x = graph_input(&r.g, "x");
    NnLstmState s = {{0}, {0}};
    if (o->initial_state) {
        s.h = graph_input(&r.g, "h0");
        s.c = graph_input(&r.g, "c0");
    }
    bind_parameters(&r);
    if (case_ok(c)) {
        NnLstmOutput out = nn_lstm(&m, x, o->initial_state ? &s : NULL, NULL);
        graph_output(&r.g, out.y, "y");
        graph_output(&r.g, out.hn, "hn");
        graph_output(&r.g, out.cn, "cn");
    }
    finish(&r);
}

void kind_sequence(Case *c) {
    Options o;
    read_sizes(c, &o);
    o.L = case_int(c, "num_layers", 1);
    o.P = case_int(c, "proj_size", 0);
    o.bidirectional = case_flag(c, "bidirectional", false);
    o.batch_first = case_flag(c, "batch_first", false);
    o.initial_state = case_flag(c, "initial_state", false);
    o.packed = case_flag(c, "packed", false);
    if (strcmp(c->kind, "lstm") != 0) case_fail(c, "%s: not supported", c->kind);
    if (o.packed) case_fail(c, "packed: not supported");
    if (o.P != 0) case_fail(c, "proj_size: not supported");
    check_sizes(c, "_l0", 4, &o);
    if (o.L < 1 || !case_has(c, "param.weight_ih_l%lld", (long long)o.L - 1))
        case_fail(c, "config: `num_layers` is not that of the parameters");
    if (!case_ok(c)) return;
    run_lstm(c, &o, TENSOR_F64);
    run_lstm(c, &o, TENSOR_F32);
}

/* ---- cells ---- */

static void run_lstm_cell(Case *c, const Options *o, TensorDtype dtype) {
    Run r;
    begin(&r, c, o, dtype);
    NnLstmCell m = nn_lstm_cell_make(r.set, "", o->I, o->H,
                                     &(NnLstmCellOptions){.no_bias = !o->bias});
    AgVar x = graph_input(&r.g, "x");
    NnLstmState s;
    s.h = graph_input(&r.g, "h");
    s.c = graph_input(&r.g, "c");
    bind_parameters(&r);
    if (case_ok(c)) {
        s = nn_lstm_cell(&m, x, s);
        graph_output(&r.g, s.h, "h");
        graph_output(&r.g, s.c, "c");
    }
    finish(&r);
}

void kind_cell(Case *c) {
    Options o;
    read_sizes(c, &o);
    if (strcmp(c->kind, "lstm_cell") != 0) case_fail(c, "%s: not supported", c->kind);
    check_sizes(c, "", 4, &o);
    if (!case_ok(c)) return;
    run_lstm_cell(c, &o, TENSOR_F64);
    run_lstm_cell(c, &o, TENSOR_F32);
}
