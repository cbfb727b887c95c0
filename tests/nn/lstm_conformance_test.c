/* LSTM layers and cells give PyTorch's outputs, gradients and second-order gradients. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "nn/lstm.h"
#include "nn/state_dict.h"
#include "tests/nn/conformance.h"

enum { MAX_INPUTS = 64, MAX_OUTPUTS = 3 };

/* A case being run: differentiable inputs (x, states, parameters) and outputs by name. */
typedef struct {
    const ConformanceCase *c;
    AgTape *t;
    NnParamSet *set;
    int n_in, n_out;
    AgVar in[MAX_INPUTS], out[MAX_OUTPUTS];
    char in_name[MAX_INPUTS][100]; /* "x", "param.weight_ih_l0" */
    const char *out_name[MAX_OUTPUTS];
} Run;

static AgVar add_input(Run *r, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "input.%s", name);
    Tensor x = conformance_tensor(r->c, key);
    snprintf(r->in_name[r->n_in], sizeof *r->in_name, "%s", name);
    return r->in[r->n_in++] = ag_input(r->t, &x);
}

static void add_output(Run *r, const char *name, AgVar v) {
    r->out_name[r->n_out] = name;
    r->out[r->n_out++] = v;
}

/* The case's values in place of the set's, by their names in the file. */
static void load_parameters(Run *r) {
    NnLoadReport report;
    cr_assert(nn_params_ok(r->set), "%s", nn_params_error(r->set));
    cr_assert(nn_load(r->set, r->c->path, &(NnLoadOptions){.prefix = "param."}, &report), "%s",
              report.message);
    nn_load_report_free(&report);
    for (int i = 0; i < nn_params_count(r->set); i++) {
        const NnParam *p = nn_params_at(r->set, i);
        snprintf(r->in_name[r->n_in], sizeof *r->in_name, "param.%s", p->name);
        r->in[r->n_in++] = nn_var(r->t, p);
    }
}

static AgVar read(Run *r, const char *kind, const char *name) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", kind, name);
    Tensor x = conformance_tensor(r->c, key);
    return ag_input(r->t, &x);
}

static void expect_all(Run *r, const char *kind, const AgVar *got, double tolerance) {
    char key[128];
    for (int i = 0; i < r->n_in; i++) {
        snprintf(key, sizeof key, "%s.%s", kind, r->in_name[i]);
        conformance_expect(r->c, key, ag_value(got[i]), tolerance);
    }
}

/* Outputs, gradients and, where the case has them, second-order gradients. */
static void check(Run *r) {
    AgVar seed[MAX_OUTPUTS], gx[MAX_INPUTS], v[MAX_INPUTS], g2[MAX_INPUTS];
    cr_assert(ag_tape_ok(r->t), "%s: %s", r->c->path, ag_tape_error(r->t));
    char key[128];
    for (int i = 0; i < r->n_out; i++) {
        snprintf(key, sizeof key, "output.%s", r->out_name[i]);
        conformance_expect(r->c, key, ag_value(r->out[i]), 1e-9);
        seed[i] = read(r, "grad_output", r->out_name[i]);
    }
    for (int create_graph = 0; create_graph < 2; create_graph++) {
        cr_assert(ag_grad_n(r->n_out, r->out, seed, r->n_in, r->in, gx, create_graph), "%s: %s",
                  r->c->path, ag_tape_error(r->t));
        expect_all(r, "grad", gx, 1e-9);
    }
    snprintf(key, sizeof key, "v.%s", r->in_name[0]);
    if (!conformance_has(r->c, key)) return;
    for (int i = 0; i < r->n_in; i++) v[i] = read(r, "v", r->in_name[i]);
    cr_assert(ag_grad_n(r->n_in, gx, v, r->n_in, r->in, g2, false), "%s: %s", r->c->path,
              ag_tape_error(r->t));
    expect_all(r, "grad2", g2, 1e-7);
}

static Run begin(const ConformanceCase *c) {
    return (Run){.c = c, .t = ag_tape_new(), .set = nn_params_new(TENSOR_F64, 1)};
}

static void finish(Run *r) {
    ag_tape_free(r->t);
    nn_params_free(r->set);
}

static bool run_sequence(const ConformanceCase *c) {
    if (conformance_flag(c, "packed") || conformance_int(c, "proj_size") != 0) return false;
    Run r = begin(c);
    NnLstmOptions o = {.num_layers = (int)conformance_int(c, "num_layers"),
                       .bidirectional = conformance_flag(c, "bidirectional"),
                       .no_bias = !conformance_flag(c, "bias"),
                       .batch_first = conformance_flag(c, "batch_first")};
    NnLstm m = nn_lstm_make(r.set, "", conformance_int(c, "input_size"),
                            conformance_int(c, "hidden_size"), &o);
    AgVar x = add_input(&r, "x");
    NnLstmState s = {{0}, {0}};
    bool initial = conformance_flag(c, "initial_state");
    if (initial) {
        s.h = add_input(&r, "h0");
        s.c = add_input(&r, "c0");
    }
    load_parameters(&r);
    NnLstmOutput out = nn_lstm(&m, x, initial ? &s : NULL);
    add_output(&r, "y", out.y);
    add_output(&r, "hn", out.hn);
    add_output(&r, "cn", out.cn);
    check(&r);
    finish(&r);
    return true;
}

static bool run_cell(const ConformanceCase *c) {
    Run r = begin(c);
    NnLstmCell m = nn_lstm_cell_make(r.set, "", conformance_int(c, "input_size"),
                                     conformance_int(c, "hidden_size"),
                                     &(NnLstmCellOptions){.no_bias = !conformance_flag(c, "bias")});
    AgVar x = add_input(&r, "x");
    NnLstmState s;
    s.h = add_input(&r, "h");
    s.c = add_input(&r, "c");
    load_parameters(&r);
    s = nn_lstm_cell(&m, x, s);
    add_output(&r, "h", s.h);
    add_output(&r, "c", s.c);
    check(&r);
    finish(&r);
    return true;
}

Test(lstm_conformance, sequences_agree_with_pytorch) { conformance_each("lstm", run_sequence); }

Test(lstm_conformance, cells_agree_with_pytorch) { conformance_each("lstm_cell", run_cell); }
