/* matmul: a b over the last two axes, leading axes broadcast. */
#include "autograd/ops/ops.h"
#include "tensor/gemm.h"

/* The leading axes alone, as a tensor without data: for the broadcasting rule. */
static Tensor leading(const Tensor *x) {
    Tensor lead = *x;
    lead.ndim -= 2;
    return lead;
}

static bool shape(AgCall *c) {
    const Tensor *a = c->in[0], *b = c->in[1];
    if (a->ndim < 2 || b->ndim < 2) return ag_call_fail(c, "wants matrices");
    int64_t k = a->shape[a->ndim - 1], k_b = b->shape[b->ndim - 2];
    if (k != k_b)
        return ag_call_fail(c, "inner sizes differ (%lld and %lld)", (long long)k, (long long)k_b);
    Tensor *y = &c->out[0], lead_a = leading(a), lead_b = leading(b);
    if (!tensor_broadcast_shape(&lead_a, &lead_b, &y->ndim, y->shape))
        return ag_call_fail(c, "leading axes do not broadcast");
    y->shape[y->ndim++] = a->shape[a->ndim - 2];
    y->shape[y->ndim++] = b->shape[b->ndim - 1];
    return true;
}

static bool value(AgCall *c) {
    return tensor_gemm(1, c->in[0], c->in[1], 0, &c->out[0], c->scratch) ||
           ag_call_fail(c, "out of memory");
}

/* gin[i] = a b, straight into the gradient's own buffer where there is one.  a or b failed where
 * there was no memory for a view. */
static bool product(AgVjp *v, int i, AgVar a, AgVar b) {
    const Tensor *into = ag_vjp_into(v, i);
    const Tensor *x = ag_value(v->in[i]), *g = ag_value(v->gout[0]);
    if (into && ag_ok(a) && ag_ok(b) && x->ndim == g->ndim) {
        bool broadcast = false;
        for (int d = 0; d < g->ndim - 2; d++) broadcast |= x->shape[d] != g->shape[d];
        if (!broadcast) {
            if (tensor_gemm(1, ag_value(a), ag_value(b), 1, into, v->scratch)) return true;
            ag_fail(v->tape, "matmul: out of memory");
            return false;
        }
    }
    v->gin[i] = ag_sum_like(ag_matmul(a, b), v->in[i]);
    return true;
}

static bool vjp(AgVjp *v) {
    AgVar a = v->in[0], b = v->in[1], g = v->gout[0];
    if (v->need[0] && !product(v, 0, g, ag_transpose(b, -1, -2))) return false;
    return !v->need[1] || product(v, 1, ag_transpose(a, -1, -2), g);
}

static const AgSample samples[] = {
    {"matrices", 2, {AG_IN(-1, 1, 3, 4), AG_IN(-1, 1, 4, 2)}, NULL, 0, NULL},
    {"square", 2, {AG_IN(-1, 1, 3, 3), AG_IN(-1, 1, 3, 3)}, NULL, 0, NULL},
    {"batch", 2, {AG_IN(-1, 1, 2, 3, 4), AG_IN(-1, 1, 2, 4, 2)}, NULL, 0, NULL},
    {"matrix after batch", 2, {AG_IN(-1, 1, 2, 3, 4), AG_IN(-1, 1, 4, 2)}, NULL, 0, NULL},
    {"matrix before batch", 2, {AG_IN(-1, 1, 3, 4), AG_IN(-1, 1, 2, 4, 2)}, NULL, 0, NULL},
    {"broadcast both", 2, {AG_IN(-1, 1, 3, 1, 2, 4), AG_IN(-1, 1, 2, 4, 1)}, NULL, 0, NULL},
    {"no inner", 2, {AG_IN(-1, 1, 3, 0), AG_IN(-1, 1, 0, 2)}, NULL, 0, NULL},
    {"no rows", 2, {AG_IN(-1, 1, 0, 4), AG_IN(-1, 1, 4, 2)}, NULL, 0, NULL},
    {"row and column", 2, {AG_IN(-1, 1, 1, 5), AG_IN(-1, 1, 5, 1)}, NULL, 0, NULL},
    {0},
};
static const AgSample errors[] = {
    {"inner", 2, {AG_IN(-1, 1, 3, 4), AG_IN(-1, 1, 3, 4)}, NULL, 0, "inner sizes differ (4 and 3)"},
    {"leading", 2, {AG_IN(-1, 1, 2, 3, 4), AG_IN(-1, 1, 3, 4, 2)}, NULL, 0, "leading axes"},
    {"vector", 2, {AG_IN(-1, 1, 4), AG_IN(-1, 1, 4, 2)}, NULL, 0, "wants matrices"},
    {"dtypes", 2, {AG_IN_DTYPE("f32", -1, 1, 3, 4), AG_IN_DTYPE("f64", -1, 1, 4, 2)}, NULL, 0,
     "mixed dtypes: argument 0 is f32, argument 1 is f64"},
    {0},
};
const AgOp ag_op_matmul = {"matmul", "a b", "ff:f",  shape,  value,
                           vjp,      NULL,  samples, errors, false, NULL};

static AgVar apply(AgVar a, AgVar b) {
    return ag_apply1(&ag_op_matmul, 2, (AgVar[]){a, b}, NULL, 0);
}

static AgVar row_by_column(AgVar a, AgVar b) {
    return apply(ag_unsqueeze(a, 0), ag_unsqueeze(b, 1));
}

static AgVar drop_axis(AgVar y, int axis) {
    int64_t size[TENSOR_MAX_DIMS];
    int n = 0, skip = axis + ag_ndim(y);
    for (int d = 0; d < ag_ndim(y); d++)
        if (d != skip) size[n++] = ag_dim(y, d);
    return ag_reshape(y, n, size);
}

/* A batch against one matrix is one tall product: rows of all batches together, and one product
 * for the gradient of b. */
static AgVar tall(AgVar a, AgVar b) {
    const Tensor *x = ag_value(a);
    int64_t k = x->shape[x->ndim - 1], rows = 1, size[TENSOR_MAX_DIMS];
    for (int d = 0; d < x->ndim - 1; d++) rows *= size[d] = x->shape[d];
    size[x->ndim - 1] = ag_dim(b, 1);
    int ndim = x->ndim;
    AgVar flat = ag_reshape(a, 2, (int64_t[]){rows, k});
    return ag_reshape(apply(flat, b), ndim, size);
}

AgVar ag_matmul(AgVar a, AgVar b) {
    int na = ag_ok(a) ? ag_ndim(a) : 0, nb = ag_ok(b) ? ag_ndim(b) : 0;
    if (na == 1 && nb == 1) return drop_axis(drop_axis(row_by_column(a, b), -1), -1);
    if (na == 1 && nb > 1) return drop_axis(ag_matmul(ag_unsqueeze(a, 0), b), -2);
    if (na > 1 && nb == 1) return drop_axis(ag_matmul(a, ag_unsqueeze(b, 1)), -1);
    bool fits = na && nb && ag_dim(a, -1) == ag_dim(b, 0) && ag_dtype(a) == ag_dtype(b);
    if (na > 2 && nb == 2 && fits) return tall(a, b);
    return apply(a, b);
}
