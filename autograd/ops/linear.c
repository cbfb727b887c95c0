/* linear: x weight^T + bias in one matrix product. */
#include "autograd/ops/linear.h"
#include "tensor/gemm.h"

bool ag_linear_fits(AgCall *c, const Tensor *x, const Tensor *weight, const Tensor *bias, char out,
                    char in) {
    if (x->ndim == 0) return ag_call_fail(c, "wants x [.., %c]", in);
    if (weight->ndim != 2) return ag_call_fail(c, "wants a weight [%c, %c]", out, in);
    int64_t own = x->shape[x->ndim - 1], inner = weight->shape[1];
    if (own != inner)
        return ag_call_fail(c, "inner sizes differ (%lld and %lld)", (long long)own,
                            (long long)inner);
    if (bias && (bias->ndim != 1 || bias->shape[0] != weight->shape[0]))
        return ag_call_fail(c, "wants a bias [%c]", out);
    return true;
}

static bool shape(AgCall *c) {
    if (c->n_in != 2 && c->n_in != 3) return ag_call_fail(c, "wants x, weight and perhaps bias");
    const Tensor *x = c->in[0], *weight = c->in[1];
    if (!ag_linear_fits(c, x, weight, c->n_in == 3 ? c->in[2] : NULL, 'H', 'I')) return false;
    if (!ag_out_like(c, 0, x)) return false;
    c->out[0].shape[x->ndim - 1] = weight->shape[0];
    return true;
}

Tensor ag_rows(const Tensor *x) {
    int64_t rows = 1;
    for (int d = 0; d < x->ndim - 1; d++) rows *= x->shape[d];
    return tensor_reshape(x, 2, (int64_t[]){rows, x->shape[x->ndim - 1]});
}

Tensor ag_call_rows(AgCall *c, const Tensor *x) {
    Tensor rows = ag_rows(x);
    if (!tensor_is_nil(&rows)) return rows;
    Tensor copy = ag_call_contiguous(c, x);
    return tensor_is_nil(&copy) ? copy : ag_rows(&copy);
}

static bool value(AgCall *c) {
    Tensor y = ag_rows(&c->out[0]), x = ag_call_rows(c, c->in[0]);
    Tensor weight_t = tensor_transpose(c->in[1], 0, 1);
    if (tensor_is_nil(&x)) return false;
    if (c->n_in == 3) tensor_convert(&y, c->in[2]);
    return tensor_gemm(1, &x, &weight_t, c->n_in == 3, &y, c->scratch) ||
           ag_call_fail(c, "out of memory");
}

AgVar ag_rows_var(AgVar x) {
    const Tensor *v = ag_value(x);
    int64_t rows = 1, n = ag_ok(x) ? v->shape[v->ndim - 1] : 0;
    for (int d = 0; d < v->ndim - 1; d++) rows *= v->shape[d];
    return ag_reshape(x, 2, (int64_t[]){rows, n});
}

bool ag_vjp_add_product(AgVjp *v, int i, double scale, const Tensor *a, const Tensor *b) {
    const Tensor *into = ag_vjp_into(v, i);
    Tensor sum = into ? ag_rows(into) : tensor_nil();
    bool there = !tensor_is_nil(&sum);
    if (!there) {
        Tensor own = ag_vjp_raw(v, i);
        if (tensor_is_nil(&own)) return false;
        sum = ag_rows(&own);
    }
    if (tensor_gemm(scale, a, b, there, &sum, v->scratch)) return true;
    ag_fail(v->tape, "%s: out of memory", v->op->name);
    return false;
}

/* gin[i] = a b, matrices. */
static bool product(AgVjp *v, int i, AgVar a, AgVar b) {
    if (!ag_ok(a) || !ag_ok(b)) return false;
    if (!v->create_graph) return ag_vjp_add_product(v, i, 1, ag_value(a), ag_value(b));
    v->gin[i] = ag_reshape_like(ag_matmul(a, b), ag_value(v->in[i]));
    return true;
}

static bool vjp(AgVjp *v) {
    AgVar g = ag_rows_var(v->gout[0]);
    if (v->need[0] && !product(v, 0, g, v->in[1])) return false;
    if (v->need[1] && !product(v, 1, ag_transpose(g, 0, 1), ag_rows_var(v->in[0]))) return false;
    if (v->n_in == 2 || !v->need[2]) return true;
    const Tensor *into = ag_vjp_into(v, 2);
    if (!into || !ag_ok(g)) {
        v->gin[2] = ag_sum(g, AG_AXES(0), false);
    } else {
        Tensor row = tensor_unsqueeze(into, 0);
        tensor_accumulate_sum(&row, ag_value(g));
    }
    return true;
}

static const AgSample samples[] = {
    {"rows", 3, {AG_IN(-1, 1, 3, 4), AG_IN(-1, 1, 2, 4), AG_IN(-1, 1, 2)}, NULL, 0, NULL},
    {"sequence", 3, {AG_IN(-1, 1, 2, 3, 4), AG_IN(-1, 1, 5, 4), AG_IN(-1, 1, 5)}, NULL, 0, NULL},
    {"vector", 3, {AG_IN(-1, 1, 4), AG_IN(-1, 1, 3, 4), AG_IN(-1, 1, 3)}, NULL, 0, NULL},
    {"no bias", 2, {AG_IN(-1, 1, 3, 3), AG_IN(-1, 1, 3, 3)}, NULL, 0, NULL},
    {"longer than a vector", 3, {AG_IN(-1, 1, 2, 37), AG_IN(-1, 1, 3, 37), AG_IN(-1, 1, 3)}, NULL,
     0, NULL},
    {"no inputs", 3, {AG_IN(-1, 1, 3, 0), AG_IN(-1, 1, 2, 0), AG_IN(-1, 1, 2)}, NULL, 0, NULL},
    {"no rows", 3, {AG_IN(-1, 1, 0, 4), AG_IN(-1, 1, 2, 4), AG_IN(-1, 1, 2)}, NULL, 0, NULL},
    {"no outputs", 3, {AG_IN(-1, 1, 3, 4), AG_IN(-1, 1, 0, 4), AG_IN(-1, 1, 0)}, NULL, 0, NULL},
    {0},
};
static const AgSample errors[] = {
    {"inner", 2, {AG_IN(-1, 1, 3, 4), AG_IN(-1, 1, 4, 3)}, NULL, 0, "inner sizes differ (4 and 3)"},
    {"scalar", 2, {AG_IN(-1, 1), AG_IN(-1, 1, 4, 1)}, NULL, 0, "wants x [.., I]"},
    {"weight", 2, {AG_IN(-1, 1, 4), AG_IN(-1, 1, 4)}, NULL, 0, "weight [H, I]"},
    {"bias", 3, {AG_IN(-1, 1, 4), AG_IN(-1, 1, 3, 4), AG_IN(-1, 1, 4)}, NULL, 0, "bias [H]"},
    {"bias matrix", 3, {AG_IN(-1, 1, 4), AG_IN(-1, 1, 3, 4), AG_IN(-1, 1, 1, 3)}, NULL, 0, "[H]"},
    {"x alone", 1, {AG_IN(-1, 1, 4)}, NULL, 0, "wants x, weight and perhaps bias"},
    {"dtypes", 2, {AG_IN_DTYPE("f32", -1, 1, 4), AG_IN_DTYPE("f64", -1, 1, 3, 4)}, NULL, 0,
     "mixed dtypes"},
    {0},
};
const AgOp ag_op_linear = {"linear", "x weight^T + bias", "f*:f", shape, value, vjp, NULL, samples,
                           errors, false, NULL};
AgVar ag_linear(AgVar x, AgVar weight, AgVar bias) {
    return ag_apply1(&ag_op_linear, bias.tape ? 3 : 2, (AgVar[]){x, weight, bias}, NULL, 0);
}
