/* LSTM layers and cells give PyTorch's outputs, gradients and second-order gradients. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "autograd/gradcheck/gradcheck.h"
#include "nn/lstm.h"
#include "nn/state_dict.h"
#include "tests/nn/conformance.h"

enum { MAX_INPUTS = 64, MAX_OUTPUTS = 3 };

/* A case being run: differentiable inputs (x, states, then parameters) and outputs by name. */
typedef struct {
    const ConformanceCase *c;
    AgTape *t;
    NnParamSet *set;
    NnLstm m;
    int n_data, n_in, n_out; /* in[n_data..] are parameters */
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
    r->n_data = r->n_in;
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

/* Compares the first n inputs. */
static void expect_all(Run *r, const char *kind, int n, const AgVar *got, double tolerance) {
    char key[128];
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof key, "%s.%s", kind, r->in_name[i]);
        conformance_expect(r->c, key, ag_value(got[i]), tolerance);
    }
}

/* The number of inputs whose gradients the case has.  Some files hold nothing but zeros for
 * every parameter, as if none had been part of the computation; the values they have for x and
 * the states are those of constant parameters then, in second order too. */
static int n_compared(Run *r) {
    char key[128];
    for (int i = r->n_data; i < r->n_in; i++) {
        snprintf(key, sizeof key, "grad.%s", r->in_name[i]);
        Tensor g = conformance_tensor(r->c, key);
        for (int64_t e = 0; e < tensor_numel(&g); e++)
            if (tensor_get(&g, e) != 0) return r->n_in;
    }
    return r->n_data;
}

/* Outputs, gradients and, where the case has them, second-order gradients.  Returns whether
 * parameters were compared. */
static bool check(Run *r) {
    AgVar seed[MAX_OUTPUTS], gx[MAX_INPUTS], v[MAX_INPUTS], g2[MAX_INPUTS];
    cr_assert(ag_tape_ok(r->t), "%s: %s", r->c->path, ag_tape_error(r->t));
    char key[128];
    for (int i = 0; i < r->n_out; i++) {
        snprintf(key, sizeof key, "output.%s", r->out_name[i]);
        conformance_expect(r->c, key, ag_value(r->out[i]), 1e-9);
        seed[i] = read(r, "grad_output", r->out_name[i]);
    }
    int n = n_compared(r);
    for (int create_graph = 0; create_graph < 2; create_graph++) {
        cr_assert(ag_grad_n(r->n_out, r->out, seed, r->n_in, r->in, gx, create_graph), "%s: %s",
                  r->c->path, ag_tape_error(r->t));
        expect_all(r, "grad", n, gx, 1e-9);
    }
    snprintf(key, sizeof key, "v.%s", r->in_name[0]);
    if (conformance_has(r->c, key)) {
        for (int i = 0; i < n; i++) v[i] = read(r, "v", r->in_name[i]);
        cr_assert(ag_grad_n(n, gx, v, r->n_in, r->in, g2, false), "%s: %s", r->c->path,
                  ag_tape_error(r->t));
        expect_all(r, "grad2", n, g2, 1e-7);
    }
    return n == r->n_in;
}

static Run begin(const ConformanceCase *c) {
    return (Run){.c = c, .t = ag_tape_new(), .set = nn_params_new(TENSOR_F64, 1)};
}

static void finish(Run *r) {
    ag_tape_free(r->t);
    nn_params_free(r->set);
}

static NnLstmOutput forward(const Run *r, const AgVar *in) {
    NnLstmState s = {in[1], in[2]}; /* as add_input was called */
    return nn_lstm(&r->m, in[0], r->n_data == 3 ? &s : NULL);
}

static int bound_forward(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    const Run *r = context;
    for (int i = r->n_data; i < r->n_in; i++)
        nn_param_bind(t, nn_params_at(r->set, i - r->n_data), x[i]);
    NnLstmOutput out = forward(r, x);
    y[0] = out.y, y[1] = out.hn, y[2] = out.cn;
    return 3;
}

/* For cases without gradients of parameters: differences along random directions through all
 * inputs and parameters, in both orders. */
static void check_by_differences(Run *r) {
    Tensor x[MAX_INPUTS];
    for (int i = 0; i < r->n_in; i++) x[i] = *ag_value(r->in[i]);
    for (int second = 0; second < 2; second++) {
        GradcheckOptions o = {.directions = 8};
        GradcheckResult result;
        cr_assert((second ? gradgradcheck : gradcheck)(bound_forward, r, r->n_in, x, &o, &result), "%s: %s", r->c->path,
                  result.message);
    }
    printf("%s: gradients of parameters are all zero in the file; compared with differences\n",
           r->c->path);
}

static bool run_sequence(const ConformanceCase *c) {
    if (conformance_flag(c, "packed") || conformance_int(c, "proj_size") != 0) return false;
    Run r = begin(c);
    NnLstmOptions o = {.num_layers = (int)conformance_int(c, "num_layers"),
                       .bidirectional = conformance_flag(c, "bidirectional"),
                       .no_bias = !conformance_flag(c, "bias"),
                       .batch_first = conformance_flag(c, "batch_first")};
    r.m = nn_lstm_make(r.set, "", conformance_int(c, "input_size"),
                       conformance_int(c, "hidden_size"), &o);
    add_input(&r, "x");
    if (conformance_flag(c, "initial_state")) {
        add_input(&r, "h0");
        add_input(&r, "c0");
    }
    load_parameters(&r);
    NnLstmOutput out = forward(&r, r.in);
    add_output(&r, "y", out.y);
    add_output(&r, "hn", out.hn);
    add_output(&r, "cn", out.cn);
    if (!check(&r)) check_by_differences(&r);
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
    cr_expect(check(&r), "%s: gradients of parameters are all zero in the file", c->path);
    finish(&r);
    return true;
}

Test(lstm_conformance, sequences_agree_with_pytorch) { conformance_each("lstm", run_sequence); }

Test(lstm_conformance, cells_agree_with_pytorch) { conformance_each("lstm_cell", run_cell); }
