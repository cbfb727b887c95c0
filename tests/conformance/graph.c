/* graph.c -- see graph.h. */
#include "tests/conformance/graph.h"

#include <string.h>

void graph_begin(Graph *g, Case *c, TensorDtype dtype) {
    g->c = c;
    g->t = ag_tape_new();
    g->dtype = dtype;
    g->n_in = g->n_out = 0;
    if (!g->t) case_fail(c, "out of memory");
}

void graph_end(Graph *g) { ag_tape_free(g->t); }

static bool graph_ok(Graph *g) {
    if (g->t && !ag_tape_ok(g->t)) case_fail(g->c, "%s%s", g->c->setting, ag_tape_error(g->t));
    return case_ok(g->c);
}

/* ---- building ---- */

/* The named tensor as a constant of the graph's dtype. */
static AgVar read_var(Graph *g, const char *prefix, const char *name) {
    Tensor x = case_tensor(g->c, "%s.%s", prefix, name);
    if (!case_ok(g->c)) return (AgVar){0};
    AgVar v = ag_input(g->t, &x);
    return tensor_dtype_is_float(x.dtype) ? ag_detach(ag_cast(v, g->dtype)) : v;
}

static void add(Case *c, GraphVar *list, int *n, int max, AgVar v, const char *name) {
    if (*n == max) {
        case_fail(c, "more than %d inputs or outputs", max);
        return;
    }
    list[*n].v = v;
    snprintf(list[*n].name, sizeof list[*n].name, "%s", name);
    ++*n;
}

static AgVar add_input(Graph *g, const char *prefix, const char *name, bool compared) {
    AgVar v = read_var(g, prefix, name);
    if (compared && tensor_dtype_is_float(ag_dtype(v)))
        add(g->c, g->in, &g->n_in, GRAPH_MAX_INPUTS, v, name);
    return v;
}

AgVar graph_input(Graph *g, const char *format, ...) {
    CASE_FORMAT(name, format);
    return add_input(g, "input", name, true);
}

AgVar graph_option(Graph *g, const char *name) {
    return add_input(g, "input", name, case_has(g->c, "grad.%s", name));
}

AgVar graph_param(Graph *g, const char *name) {
    static const char *const unused[] = {"grad", "v", "grad2"};
    AgVar v = read_var(g, "param", name);
    char key[CASE_NAME_SIZE];
    snprintf(key, sizeof key, "param.%s", name);
    if (!g->c->constant_parameters) add(g->c, g->in, &g->n_in, GRAPH_MAX_INPUTS, v, key);
    for (int i = 0; g->c->constant_parameters && i < 3; i++)
        if (case_has(g->c, "%s.%s", unused[i], key)) case_tensor(g->c, "%s.%s", unused[i], key);
    return v;
}

void graph_output(Graph *g, AgVar v, const char *format, ...) {
    CASE_FORMAT(name, format);
    add(g->c, g->out, &g->n_out, GRAPH_MAX_OUTPUTS, v, name);
}

/* ---- comparing ---- */

static CaseTolerance tolerance(const Graph *g, bool second) {
    if (g->dtype == TENSOR_F32) return second ? CASE_SINGLE_SECOND_ORDER : CASE_SINGLE;
    return second ? CASE_SECOND_ORDER : CASE_FIRST_ORDER;
}

static void expect_gradients(Graph *g, const char *prefix, const AgVar *gx) {
    CaseTolerance limit = tolerance(g, strcmp(prefix, "grad2") == 0);
    for (int i = 0; graph_ok(g) && i < g->n_in; i++)
        case_expect(g->c, ag_value(gx[i]), limit, "%s.%s", prefix, g->in[i].name);
}

/* d sum of <seed, y> / d inputs. */
static bool gradients(Graph *g, int n, const AgVar *y, const AgVar *seed, AgVar *gx,
                      bool create_graph) {
    AgVar x[GRAPH_MAX_INPUTS];
    for (int i = 0; i < g->n_in; i++) x[i] = g->in[i].v;
    return graph_ok(g) && ag_grad_n(n, y, seed, g->n_in, x, gx, create_graph) && graph_ok(g);
}

static void check_second(Graph *g, const AgVar *gx) {
    AgVar v[GRAPH_MAX_INPUTS], g2[GRAPH_MAX_INPUTS];
    bool any = false;
    for (int i = 0; i < g->n_in; i++) any |= case_has(g->c, "v.%s", g->in[i].name);
    if (!any) return;
    for (int i = 0; i < g->n_in; i++) v[i] = read_var(g, "v", g->in[i].name);
    if (gradients(g, g->n_in, gx, v, g2, false)) expect_gradients(g, "grad2", g2);
}

/* Gradients are compared twice: as ag_backward computes them, and as functions of the inputs. */
static void check_gradients(Graph *g) {
    AgVar y[GRAPH_MAX_OUTPUTS], seed[GRAPH_MAX_OUTPUTS], gx[GRAPH_MAX_INPUTS];
    int n = 0;
    for (int i = 0; i < g->n_out; i++) {
        if (!tensor_dtype_is_float(ag_dtype(g->out[i].v))) continue;
        y[n] = g->out[i].v;
        seed[n++] = read_var(g, "grad_output", g->out[i].name);
    }
    for (int create_graph = 0; create_graph < 2; create_graph++)
        if (gradients(g, n, y, seed, gx, create_graph)) expect_gradients(g, "grad", gx);
    if (graph_ok(g)) check_second(g, gx);
}

void graph_check(Graph *g) {
    case_finish_config(g->c);
    if (graph_ok(g) && g->n_in == 0) case_fail(g->c, "no input to take a gradient of");
    if (graph_ok(g) && g->n_out == 0) case_fail(g->c, "no output");
    for (int i = 0; graph_ok(g) && i < g->n_out; i++)
        case_expect(g->c, ag_value(g->out[i].v), tolerance(g, false), "output.%s",
                    g->out[i].name);
    if (graph_ok(g)) check_gradients(g);
    graph_ok(g);
}
