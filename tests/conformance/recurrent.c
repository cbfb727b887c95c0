/* recurrent.c -- the cases of recurrent layers and cells, in double and in single precision. */
#include <stdlib.h>
#include <string.h>

#include "autograd/gradcheck/gradcheck.h"
#include "nn/gru.h"
#include "nn/lstm.h"
#include "tests/conformance/graph.h"
#include "tests/conformance/kinds.h"

typedef enum { KIND_LSTM, KIND_GRU, KIND_RNN } Kind;

typedef struct {
    Kind kind;
    AgRnnNonlinearity nonlinearity;
    int64_t I, H, P, L;
    bool bias, bidirectional, batch_first, initial_state, packed;
    int64_t *lengths; /* NULL: all have all steps */
} Options;

static int64_t gates(const Options *o) {
    static const int64_t gates[] = {[KIND_LSTM] = 4, [KIND_GRU] = 3, [KIND_RNN] = 1};
    return gates[o->kind];
}

static void read_options(Case *c, Options *o) {
    static const struct {
        const char *prefix;
        Kind kind;
    } kinds[] = {{"lstm", KIND_LSTM}, {"gru", KIND_GRU}, {"rnn", KIND_RNN}};
    *o = (Options){.I = case_int(c, case_needs(c, "input_size"), 0),
                   .H = case_int(c, case_needs(c, "hidden_size"), 0),
                   .bias = case_flag(c, "bias", true)};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strncmp(c->kind, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
            o->kind = kinds[i].kind;
    o->nonlinearity = strcmp(c->kind, "rnn_relu") == 0 ? AG_RNN_RELU : AG_RNN_TANH;
}

/* The sizes of the config are those of the parameters, so that no number in a damaged file makes
 * a large model. */
static void check_sizes(Case *c, const char *suffix, const Options *o) {
    Tensor ih = case_tensor(c, "param.weight_ih%s", suffix);
    Tensor hh = case_tensor(c, "param.weight_hh%s", suffix);
    if (!case_ok(c)) return;
    if (ih.ndim != 2 || ih.shape[1] != o->I)
        case_fail(c, "config: `input_size` is not that of param.weight_ih%s", suffix);
    else if (hh.ndim != 2 || hh.shape[0] % gates(o) != 0 || hh.shape[0] / gates(o) != o->H)
        case_fail(c, "config: `hidden_size` is not that of param.weight_hh%s", suffix);
}

/* The file's parameters in place of the set's, by name. */
static void bind_parameters(Graph *g, const NnParamSet *set) {
    if (!nn_params_ok(set)) case_fail(g->c, "%s", nn_params_error(set));
    for (int i = 0; case_ok(g->c) && i < nn_params_count(set); i++) {
        const NnParam *p = nn_params_at(set, i);
        AgVar v = graph_param(g, p->name);
        if (case_ok(g->c)) nn_param_bind(g->t, p, v);
    }
}

/* Runs a case in double, then in single precision. */
static void in_both_precisions(Case *c, const Options *o,
                               void (*run)(Graph *g, NnParamSet *set, const Options *o)) {
    for (int single = 0; single < 2 && case_ok(c); single++) {
        TensorDtype dtype = single ? TENSOR_F32 : TENSOR_F64;
        Graph g;
        NnParamSet *set = nn_params_new(dtype, 1);
        c->setting = single ? "in single precision, " : "";
        graph_begin(&g, c, dtype);
        run(&g, set, o);
        graph_check(&g);
        graph_end(&g);
        nn_params_free(set);
    }
}

/* ---- sequences ---- */

typedef struct {
    const Options *o;
    NnParamSet *set;
    NnLstm lstm;
    NnGru gru;
    NnRnn rnn;
} Layer;

static Layer make_layer(NnParamSet *set, const Options *o, bool composed) {
    Layer m = {.o = o, .set = set};
    int L = (int)o->L;
    if (o->kind == KIND_LSTM) {
        NnLstmOptions lstm = {.num_layers = L, .bidirectional = o->bidirectional,
                              .no_bias = !o->bias, .batch_first = o->batch_first,
                              .proj_size = o->P, .composed = composed};
        m.lstm = nn_lstm_make(set, "", o->I, o->H, &lstm);
    } else if (o->kind == KIND_GRU) {
        NnGruOptions gru = {.num_layers = L, .bidirectional = o->bidirectional,
                            .no_bias = !o->bias, .batch_first = o->batch_first,
                            .composed = composed};
        m.gru = nn_gru_make(set, "", o->I, o->H, &gru);
    } else {
        NnRnnOptions rnn = {.num_layers = L, .bidirectional = o->bidirectional,
                            .no_bias = !o->bias, .batch_first = o->batch_first,
                            .composed = composed, .nonlinearity = o->nonlinearity};
        m.rnn = nn_rnn_make(set, "", o->I, o->H, &rnn);
    }
    return m;
}

static const char *const input_names[] = {"x", "h0", "c0"};
static const char *const output_names[] = {"y", "hn", "cn"};

static int states(const Options *o) { return o->kind == KIND_LSTM ? 2 : 1; }
static int inputs(const Options *o) { return o->initial_state ? 1 + states(o) : 1; }

/* in: x, then the states the case has; out: y, hn, and cn of an LSTM.  Returns how many. */
static int run_layer(const Layer *m, const AgVar *in, AgVar *out) {
    const Options *o = m->o;
    AgVar h0 = o->initial_state ? in[1] : (AgVar){0};
    if (o->kind == KIND_LSTM) {
        NnLstmState s = {h0, o->initial_state ? in[2] : h0};
        NnLstmOutput r = nn_lstm(&m->lstm, in[0], o->initial_state ? &s : NULL, o->lengths);
        out[0] = r.y, out[1] = r.hn, out[2] = r.cn;
        return 3;
    }
    NnRnnOutput r = o->kind == KIND_GRU ? nn_gru(&m->gru, in[0], h0, o->lengths)
                                        : nn_rnn(&m->rnn, in[0], h0, o->lengths);
    out[0] = r.y, out[1] = r.hn;
    return 2;
}

static void run_sequence(Graph *g, NnParamSet *set, const Options *o) {
    Layer m = make_layer(set, o, false);
    AgVar in[3], out[3];
    for (int i = 0; i < inputs(o); i++) in[i] = graph_input(g, "%s", input_names[i]);
    bind_parameters(g, set);
    if (!case_ok(g->c)) return;
    int n = run_layer(&m, in, out);
    for (int i = 0; i < n; i++) graph_output(g, out[i], "%s", output_names[i]);
}

/* ---- gradients that the file does not tell ---- */

/* The file has gradients of parameters, all are 0, and not all cotangents are. */
static bool holds_parameters_constant(Case *c) {
    bool any = false, seeded = false;
    for (int64_t i = 0; case_ok(c) && i < tensor_safetensors_count(c->file); i++) {
        const TensorSafetensorsEntry *entry = tensor_safetensors_entry(c->file, i);
        bool gradient = strncmp(entry->name, "grad.param.", 11) == 0;
        bool seed = strncmp(entry->name, "grad_output.", 12) == 0;
        bool zero = true;
        for (int64_t e = 0; (gradient || seed) && e < tensor_numel(&entry->value); e++)
            zero &= tensor_get(&entry->value, e) == 0;
        if (gradient && !zero) return false;
        any |= gradient;
        seeded |= seed && !zero;
    }
    return any && seeded;
}

/* A layer as a function of its inputs and parameters. */
static int layer_function(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    const Layer *m = context;
    int first = inputs(m->o);
    for (int i = 0; i < nn_params_count(m->set); i++)
        nn_param_bind(t, nn_params_at(m->set, i), x[first + i]);
    return run_layer(m, x, y);
}

/* Inputs and parameters of the file; returns how many. */
static int read_values(Case *c, const Layer *m, Tensor *value) {
    int first = inputs(m->o), n = nn_params_count(m->set);
    if (first + n > GRAPH_MAX_INPUTS) case_fail(c, "more than %d inputs", GRAPH_MAX_INPUTS);
    for (int i = 0; case_ok(c) && i < first; i++)
        value[i] = case_tensor(c, "input.%s", input_names[i]);
    for (int i = 0; case_ok(c) && i < n; i++)
        value[first + i] = case_tensor(c, "param.%s", nn_params_at(m->set, i)->name);
    return first + n;
}

/* dL/dx for the file's cotangents. */
static void differentiate(Case *c, AgTape *t, Layer *m, int n, const Tensor *value, AgVar *gx) {
    AgVar x[GRAPH_MAX_INPUTS], y[3], seed[3];
    for (int i = 0; i < n; i++) x[i] = ag_input(t, &value[i]);
    int n_out = layer_function(t, x, y, m);
    for (int i = 0; i < n_out; i++) {
        Tensor w = case_tensor(c, "grad_output.%s", output_names[i]);
        seed[i] = case_ok(c) ? ag_input(t, &w) : (AgVar){0};
    }
    if (case_ok(c) && !ag_grad_n(n_out, y, seed, n, x, gx, false))
        case_fail(c, "%s", ag_tape_error(t));
}

static void expect_composed(Case *c, Layer *fast, Layer *composed, int n, const Tensor *value) {
    AgTape *t[] = {ag_tape_new(), ag_tape_new()};
    AgVar got[GRAPH_MAX_INPUTS], want[GRAPH_MAX_INPUTS];
    int first = inputs(fast->o);
    if (!t[0] || !t[1]) case_fail(c, "out of memory");
    if (case_ok(c)) differentiate(c, t[0], fast, n, value, got);
    if (case_ok(c)) differentiate(c, t[1], composed, n, value, want);
    for (int i = first; case_ok(c) && i < n; i++)
        case_expect_tensor(c, ag_value(got[i]), ag_value(want[i]), CASE_FIRST_ORDER,
                           nn_params_at(fast->set, i - first)->name);
    for (int i = 0; i < 2; i++)
        if (t[i]) ag_tape_free(t[i]);
}

/* By every element where these are few, else along random directions through all of them. */
static void expect_differences(Case *c, Layer *m, int n, const Tensor *value) {
    enum { FEW = 200, DIRECTIONS = 16 };
    int64_t elements = 0;
    for (int i = 0; i < n; i++) elements += tensor_numel(&value[i]);
    GradcheckOptions options = {.directions = elements > FEW ? DIRECTIONS : 0};
    GradcheckResult r;
    if (!gradcheck(layer_function, m, n, value, &options, &r))
        case_fail(c, "by finite differences: %s", r.message);
}

static void check_parameters(Case *c, const Options *o) {
    if (!case_ok(c)) return;
    NnParamSet *set = nn_params_new(TENSOR_F64, 1), *other = nn_params_new(TENSOR_F64, 1);
    Layer fast = make_layer(set, o, false), composed = make_layer(other, o, true);
    Tensor value[GRAPH_MAX_INPUTS];
    int n = read_values(c, &fast, value);
    c->setting = "against the loop of ops, gradient of ";
    if (case_ok(c)) expect_composed(c, &fast, &composed, n, value);
    if (case_ok(c)) expect_differences(c, &fast, n, value);
    nn_params_free(set);
    nn_params_free(other);
}

/* ---- the case of a sequence ---- */

static void read_lengths(Case *c, Options *o) {
    Tensor lengths = case_tensor(c, "input.lengths"), x = case_tensor(c, "input.x");
    if (!case_ok(c)) return;
    if (lengths.dtype != TENSOR_I64 || lengths.ndim != 1 || x.ndim != 3 ||
        lengths.shape[0] != x.shape[o->batch_first ? 0 : 1]) {
        case_fail(c, "input.lengths: not a length for each sequence");
        return;
    }
    o->lengths = malloc((size_t)lengths.shape[0] * sizeof *o->lengths + 1);
    if (!o->lengths) case_fail(c, "out of memory");
    for (int64_t b = 0; o->lengths && b < lengths.shape[0]; b++)
        o->lengths[b] = tensor_get_i64(&lengths, b);
}

void kind_sequence(Case *c) {
    Options o;
    read_options(c, &o);
    o.L = case_int(c, "num_layers", 1);
    o.P = case_int(c, "proj_size", 0);
    o.bidirectional = case_flag(c, "bidirectional", false);
    o.batch_first = case_flag(c, "batch_first", false);
    o.initial_state = case_flag(c, "initial_state", false);
    o.packed = case_flag(c, "packed", false);
    check_sizes(c, "_l0", &o);
    if (o.L < 1 || !case_has(c, "param.weight_ih_l%lld", (long long)o.L - 1))
        case_fail(c, "config: `num_layers` is not that of the parameters");
    if (o.P != 0 && o.kind != KIND_LSTM) case_fail(c, "config: `proj_size` of a %s", c->kind);
    if (o.packed) read_lengths(c, &o);
    c->constant_parameters = holds_parameters_constant(c);
    in_both_precisions(c, &o, run_sequence);
    if (c->constant_parameters) check_parameters(c, &o);
    free(o.lengths);
}

/* ---- cells ---- */

static void run_cell(Graph *g, NnParamSet *set, const Options *o) {
    AgVar x = graph_input(g, "x");
    NnLstmState s = {graph_input(g, "h"), {0}};
    if (o->kind == KIND_LSTM) {
        s.c = graph_input(g, "c");
        NnLstmCell m = nn_lstm_cell_make(set, "", o->I, o->H,
                                         &(NnLstmCellOptions){.no_bias = !o->bias});
        bind_parameters(g, set);
        if (case_ok(g->c)) s = nn_lstm_cell(&m, x, s);
    } else {
        NnRnnCellOptions options = {.no_bias = !o->bias, .nonlinearity = o->nonlinearity};
        bool gru = o->kind == KIND_GRU;
        NnGruCell g_cell = {0};
        NnRnnCell r_cell = {0};
        if (gru) g_cell = nn_gru_cell_make(set, "", o->I, o->H, &options);
        else r_cell = nn_rnn_cell_make(set, "", o->I, o->H, &options);
        bind_parameters(g, set);
        if (case_ok(g->c)) s.h = gru ? nn_gru_cell(&g_cell, x, s.h) : nn_rnn_cell(&r_cell, x, s.h);
    }
    if (!case_ok(g->c)) return;
    graph_output(g, s.h, "h");
    if (o->kind == KIND_LSTM) graph_output(g, s.c, "c");
}

void kind_cell(Case *c) {
    Options o;
    read_options(c, &o);
    check_sizes(c, "", &o);
    in_both_precisions(c, &o, run_cell);
}
