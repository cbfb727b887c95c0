/* linear_scan: h_t = a_t h_{t-1} + b_t over axis 0. */
#include "autograd/ops/ops.h"
#include "autograd/sequence.h"

/* Inputs: a, b, and h0 where there is one. */
typedef struct {
    bool reverse; /* from the last step to the first */
} Options;

static bool shape(AgCall *c) {
    if (c->n_in != 2 && c->n_in != 3) return ag_call_fail(c, "wants a, b and perhaps h0");
    if (!ag_out_broadcast(c, 0, 0, 1)) return false;
    Tensor *y = &c->out[0];
    if (y->ndim == 0) return ag_call_fail(c, "wants a or b [T, ..]");
    if (c->n_in == 2) return true;
    Tensor rest = {.dtype = y->dtype, .ndim = y->ndim - 1, .data = y};
    for (int d = 0; d < rest.ndim; d++) rest.shape[d] = y->shape[d + 1];
    Tensor state = tensor_expand(c->in[2], rest.ndim, rest.shape);
    char wanted[TENSOR_DESCRIBE_SIZE];
    if (tensor_is_nil(&state))
        return ag_call_fail(c, "h0 does not broadcast to a step, %s",
                            tensor_describe(&rest, wanted, sizeof wanted));
    return true;
}

/* No parallel prefix sum (Blelloch's), which does twice the arithmetic for a depth of log T: the
 * columns of a row already fill the vectors, and each element is read and written once. */
static bool value(AgCall *c) {
    const Options *o = c->options;
    tensor_linear_scan(&c->out[0], c->in[0], c->in[1], c->n_in == 3 ? c->in[2] : NULL, o->reverse);
    return true;
}

/* ---- gradient ----
 * With G_t = g_t + a_{t+1} G_{t+1}, which is the scan the other way with a moved by a step:
 *     db = G,   da_t = G_t h_{t-1},   dh0 = a_1 G_1
 * summed where broadcasting repeated.  Once with ops; and once with kernels that write where the
 * result belongs, for the usual case that nobody differentiates again.  Both are written for a
 * scan from first to last: the other one is the same between flips. */

static bool has_steps(const Tensor *x, const Tensor *y) {
    return x->ndim == y->ndim && x->shape[0] == y->shape[0];
}

static AgVar in_order(AgVar x, bool reverse) { return reverse ? ag_flip(x, AG_AXES(0)) : x; }

/* h of the step before each, given all but the last of h. */
static AgVar steps_before(AgVar h0, AgVar h, int64_t T) {
    if (!h0.tape) return ag_widen(h, 0, 1, T);
    AgVar first = ag_expand(h0, ag_ndim(h) - 1, &ag_value(h)->shape[1]);
    return ag_concat(2, (AgVar[]){ag_unsqueeze(first, 0), h}, 0);
}

static bool vjp_by_ops(AgVjp *v) {
    const Options *o = v->options;
    const Tensor *y = ag_value(v->out[0]);
    const int64_t T = y->shape[0];
    const bool steps = has_steps(ag_value(v->in[0]), y);
    const bool one_step = ag_ndim(v->in[0]) == y->ndim;
    AgVar a = one_step ? in_order(v->in[0], o->reverse) : v->in[0];
    AgVar h = in_order(v->out[0], o->reverse), g = in_order(v->gout[0], o->reverse);
    AgVar later = steps ? ag_narrow(a, 0, 1, T - 1) : a;
    AgVar rest = ag_linear_scan(later, ag_narrow(g, 0, 0, T - 1), ag_select(g, 0, T - 1), true);
    AgVar G = ag_concat(2, (AgVar[]){rest, ag_narrow(g, 0, T - 1, 1)}, 0);
    AgVar h0 = v->n_in == 3 ? v->in[2] : (AgVar){0};
    if (v->need[0]) {
        AgVar da = ag_mul(G, steps_before(h0, ag_narrow(h, 0, 0, T - 1), T));
        v->gin[0] = ag_sum_like(in_order(da, o->reverse), v->in[0]);
    }
    if (v->need[1]) v->gin[1] = ag_sum_like(in_order(G, o->reverse), v->in[1]);
    if (v->n_in == 3 && v->need[2]) {
        AgVar first = one_step ? ag_select(a, 0, 0) : a;
        v->gin[2] = ag_sum_like(ag_mul(first, ag_select(G, 0, 0)), h0);
    }
    return true;
}

/* A gradient before its sum: in its own place if it has the shape of the input, else in scratch. */
static Tensor unsummed(AgVjp *v, int i, const Tensor *like) {
    const Tensor *x = ag_value(v->in[i]);
    if (v->need[i] && tensor_same_shape(x, like)) return ag_vjp_raw(v, i);
    Tensor full = tensor_new(v->scratch, like->dtype, like->ndim, like->shape);
    if (tensor_is_nil(&full)) ag_fail(v->tape, "linear_scan: out of memory");
    return full;
}

static bool put(AgVjp *v, int i, const Tensor *full) {
    const Tensor *x = ag_value(v->in[i]), *into;
    if (!v->need[i] || tensor_same_shape(x, full)) return true;
    Tensor sum = (into = ag_vjp_into(v, i)) ? *into : ag_vjp_raw(v, i);
    if (tensor_is_nil(&sum)) return false;
    while (sum.ndim < full->ndim) sum = tensor_unsqueeze(&sum, 0);
    (into ? tensor_accumulate_sum : tensor_sum)(&sum, full);
    return true;
}

static Tensor ordered(const Tensor *x, bool reverse) { return reverse ? tensor_flip(x, 0) : *x; }

/* G of T >= 1 steps. */
static void scan_back(const Tensor *G, const Tensor *a, const Tensor *g, bool reverse) {
    const int64_t T = G->shape[0];
    Tensor all_G = ordered(G, reverse), all_g = ordered(g, reverse), later = *a;
    if (has_steps(a, G)) {
        later = ordered(a, reverse);
        later = tensor_narrow(&later, 0, 1, T - 1);
    }
    Tensor last = tensor_select(&all_G, 0, T - 1), last_g = tensor_select(&all_g, 0, T - 1);
    Tensor rest = tensor_narrow(&all_G, 0, 0, T - 1), rest_g = tensor_narrow(&all_g, 0, 0, T - 1);
    tensor_convert(&last, &last_g);
    tensor_linear_scan(&rest, &later, &rest_g, &last, true);
}

/* da_t = G_t h_{t-1} */
static void times_before(const Tensor *da, const Tensor *G, const Tensor *h0, const Tensor *h,
                         bool reverse) {
    const int64_t T = G->shape[0];
    Tensor d = ordered(da, reverse), all_G = ordered(G, reverse), all_h = ordered(h, reverse);
    Tensor first = tensor_select(&d, 0, 0), first_G = tensor_select(&all_G, 0, 0);
    Tensor later = tensor_narrow(&d, 0, 1, T - 1), later_G = tensor_narrow(&all_G, 0, 1, T - 1);
    Tensor before = tensor_narrow(&all_h, 0, 0, T - 1);
    Tensor zero = {.dtype = h->dtype, .data = &(double){0}};
    tensor_binary(TENSOR_MUL, &first, &first_G, h0 ? h0 : &zero);
    tensor_binary(TENSOR_MUL, &later, &later_G, &before);
}

static bool state_gradient(AgVjp *v, const Tensor *G, bool reverse) {
    if (v->n_in == 2 || !v->need[2]) return true;
    const Tensor *a = ag_value(v->in[0]);
    Tensor all_G = ordered(G, reverse), first_G = tensor_select(&all_G, 0, 0), first_a = *a;
    if (a->ndim == G->ndim) {
        first_a = ordered(a, reverse);
        first_a = tensor_select(&first_a, 0, 0);
    }
    Tensor dh0 = unsummed(v, 2, &first_G);
    if (tensor_is_nil(&dh0)) return false;
    tensor_binary(TENSOR_MUL, &dh0, &first_a, &first_G);
    return put(v, 2, &dh0);
}

static bool vjp(AgVjp *v) {
    const Options *o = v->options;
    const Tensor *h = ag_value(v->out[0]);
    if (h->shape[0] == 0) return true;
    if (v->create_graph) return vjp_by_ops(v);
    Tensor G = unsummed(v, 1, h);
    if (tensor_is_nil(&G)) return false;
    scan_back(&G, ag_value(v->in[0]), ag_value(v->gout[0]), o->reverse);
    if (v->need[0]) {
        Tensor da = unsummed(v, 0, h);
        if (tensor_is_nil(&da)) return false;
        times_before(&da, &G, v->n_in == 3 ? ag_value(v->in[2]) : NULL, h, o->reverse);
        if (!put(v, 0, &da)) return false;
    }
    return put(v, 1, &G) && state_gradient(v, &G, o->reverse);
}

#define FORWARD AG_WITH(Options, false)
#define REVERSE AG_WITH(Options, true)
static const AgSample samples[] = {
    {"sequence", 3, {AG_IN(-1, 1, 4, 2, 3), AG_IN(-1, 1, 4, 2, 3), AG_IN(-1, 1, 2, 3)}, FORWARD,
     NULL},
    {"sequence from the end", 3,
     {AG_IN(-1, 1, 4, 2, 3), AG_IN(-1, 1, 4, 2, 3), AG_IN(-1, 1, 2, 3)}, REVERSE, NULL},
    {"matrix", 2, {AG_IN(-1, 1, 5, 3), AG_IN(-1, 1, 5, 3)}, FORWARD, NULL},
    {"matrix from the end", 2, {AG_IN(-1, 1, 5, 3), AG_IN(-1, 1, 5, 3)}, REVERSE, NULL},
    {"vector", 3, {AG_IN(-1, 1, 6), AG_IN(-1, 1, 6), AG_IN(-1, 1)}, FORWARD, NULL},
    {"longer than a vector", 3, {AG_IN(-1, 1, 2, 37), AG_IN(-1, 1, 2, 37), AG_IN(-1, 1, 37)},
     FORWARD, NULL},
    {"the same a in all steps", 3, {AG_IN(-1, 1, 1, 3), AG_IN(-1, 1, 4, 2, 3), AG_IN(-1, 1, 2, 1)},
     FORWARD, NULL},
    {"a row a, from the end", 3, {AG_IN(-1, 1, 3), AG_IN(-1, 1, 4, 3), AG_IN(-1, 1, 3)}, REVERSE,
     NULL},
    {"a size of 1", 2, {AG_IN(-1, 1, 1, 2, 3), AG_IN(-1, 1, 4, 2, 3)}, REVERSE, NULL},
    {"the same b in all steps", 3, {AG_IN(-1, 1, 4, 1, 3), AG_IN(-1, 1, 2, 1), AG_IN(-1, 1, 3)},
     FORWARD, NULL},
    {"scalar a", 3, {AG_IN(-1, 1), AG_IN(-1, 1, 4, 3), AG_IN(-1, 1)}, FORWARD, NULL},
    {"scalar b", 2, {AG_IN(-1, 1, 4, 2), AG_IN(-1, 1)}, REVERSE, NULL},
    {"one step", 3, {AG_IN(-1, 1, 1, 3), AG_IN(-1, 1, 1, 3), AG_IN(-1, 1, 3)}, FORWARD, NULL},
    {"no steps", 3, {AG_IN(-1, 1, 1, 3), AG_IN(-1, 1, 0, 2, 3), AG_IN(-1, 1, 2, 3)}, FORWARD,
     NULL},
    {"no columns", 2, {AG_IN(-1, 1, 3, 1), AG_IN(-1, 1, 3, 0)}, REVERSE, NULL},
    {0},
};
static const AgSample errors[] = {
    {"shapes", 2, {AG_IN(-1, 1, 4, 3), AG_IN(-1, 1, 5, 3)}, FORWARD, "do not broadcast"},
    {"scalars", 2, {AG_IN(-1, 1), AG_IN(-1, 1)}, FORWARD, "wants a or b [T, ..]"},
    {"h0", 3, {AG_IN(-1, 1, 4, 3), AG_IN(-1, 1, 4, 3), AG_IN(-1, 1, 4)}, FORWARD,
     "h0 does not broadcast to a step, f64[3]"},
    {"h0 of all steps", 3, {AG_IN(-1, 1, 4, 3), AG_IN(-1, 1, 4, 3), AG_IN(-1, 1, 4, 3)}, FORWARD,
     "h0 does not broadcast"},
    {"a alone", 1, {AG_IN(-1, 1, 4, 3)}, FORWARD, "wants a, b and perhaps h0"},
    {"dtypes", 2, {AG_IN_DTYPE("f32", -1, 1, 4), AG_IN_DTYPE("f64", -1, 1, 4)}, FORWARD,
     "mixed dtypes"},
    {"integers", 2, {AG_IN_DTYPE("i64", 0, 9, 4), AG_IN(-1, 1, 4)}, FORWARD, "wants f32 or f64"},
    {0},
};

static void write_options(const void *options, char *buf, size_t n) {
    const Options *o = options;
    snprintf(buf, n, "%s", o->reverse ? "reverse" : "");
}

const AgOp ag_op_linear_scan = {"linear_scan", "h_t = a_t h_{t-1} + b_t",
                                "f*:f",        shape,
                                value,         vjp,
                                NULL,          samples,
                                errors,        false,
                                write_options};
AgVar ag_linear_scan(AgVar a, AgVar b, AgVar h0, bool reverse) {
    return ag_apply1(&ag_op_linear_scan, h0.tape ? 3 : 2, (AgVar[]){a, b, h0},
                     &(Options){reverse}, sizeof(Options));
}
