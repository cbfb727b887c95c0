/* index_select, embedding, index_add, gather, scatter_add: places named by an I64 tensor. */
#include "autograd/ops/ops.h"

static AgVar apply(const AgOp *op, int n, const AgVar *in, int axis) {
    return ag_apply1(op, n, in, &axis, sizeof axis);
}

/* Zeros of x's shape without memory of their own size. */
static AgVar zeros_like(AgVar x) {
    const Tensor *v = ag_value(x);
    return ag_expand(ag_zero(x), v->ndim, v->shape);
}

static int axis_of(const AgCall *c) { return ag_vector_axis(c->in[0], *(const int *)c->options); }

/* ---- index_select ---- */

static bool index_select_shape(AgCall *c) {
    int axis = ag_call_vector_axis(c, 0, *(const int *)c->options);
    if (axis < 0) return false;
    if (c->in[1]->ndim != 1) return ag_call_fail(c, "index wants one axis");
    if (!ag_out_like(c, 0, c->in[0])) return false;
    if (c->in[0]->ndim == 0 && c->in[1]->shape[0] != 1)
        return ag_call_fail(c, "index wants one entry for a scalar");
    c->out[0].shape[axis] = c->in[1]->shape[0];
    return true;
}

static bool index_select_value(AgCall *c) {
    int axis = axis_of(c);
    if (!ag_call_index(c, 1, ag_vector_size(c->in[0], axis), NULL)) return false;
    tensor_index_select(&c->out[0], c->in[0], axis, c->in[1]);
    return true;
}

static bool index_select_vjp(AgVjp *v) {
    int axis = ag_vector_axis(ag_value(v->in[0]), *(const int *)v->options);
    const Tensor *index = ag_value(v->in[1]);
    const Tensor *into = axis == 0 ? ag_vjp_into_rows(v, 0, index) : ag_vjp_into(v, 0);
    if (into) tensor_index_add(into, axis, index, ag_value(v->gout[0]));
    else v->gin[0] = ag_index_add(zeros_like(v->in[0]), axis, v->in[1], v->gout[0]);
    return true;
}

static const AgSample index_select_samples[] = {
    {"rows, repeated", 2, {AG_IN(-1, 1, 3, 4), AG_IN(0, 3, 7)}, AG_WITH(int, 0), NULL},
    {"columns", 2, {AG_IN(-1, 1, 3, 4), AG_IN(0, 4, 2)}, AG_WITH(int, -1), NULL},
    {"middle", 2, {AG_IN(-1, 1, 2, 3, 2), AG_IN(0, 3, 4)}, AG_WITH(int, 1), NULL},
    {"none", 2, {AG_IN(-1, 1, 3, 4), AG_IN(0, 3, 0)}, AG_WITH(int, 0), NULL},
    {"scalar", 2, {AG_IN(-1, 1), AG_IN(0, 1, 1)}, AG_WITH(int, 0), NULL},
    {0},
};
static const AgSample index_select_errors[] = {
    {"range", 2, {AG_IN(-1, 1, 3, 4), AG_IN(3, 4, 1)}, AG_WITH(int, 0), "index 3 at entry 0"},
    {"negative", 2, {AG_IN(-1, 1, 3, 4), AG_IN(-1, 0, 2)}, AG_WITH(int, 0), "index -1"},
    {"matrix", 2, {AG_IN(-1, 1, 3), AG_IN(0, 3, 2, 2)}, AG_WITH(int, 0), "one axis"},
    {"scalar", 2, {AG_IN(-1, 1), AG_IN(0, 1, 2)}, AG_WITH(int, 0), "one entry for a scalar"},
    {"floats", 2, {AG_IN(-1, 1, 3), AG_IN_DTYPE("f64", 0, 3, 2)}, AG_WITH(int, 0), "wants i64"},
    {0},
};
const AgOp ag_op_index_select = {"index_select", "entries along an axis", "ai:a",
                                 index_select_shape, index_select_value, index_select_vjp, NULL,
                                 index_select_samples, index_select_errors, false, NULL};
AgVar ag_index_select(AgVar x, int axis, AgVar index) {
    return apply(&ag_op_index_select, 2, (AgVar[]){x, index}, axis);
}

/* ---- embedding ---- */

static bool embedding_shape(AgCall *c) {
    const Tensor *weight = c->in[0], *index = c->in[1];
    if (weight->ndim != 2) return ag_call_fail(c, "weight wants two axes [V, E]");
    if (!ag_out_shape(c, 0, index->ndim, index->shape)) return false;
    if (index->ndim == TENSOR_MAX_DIMS) return ag_call_fail(c, "index has too many axes");
    c->out[0].shape[c->out[0].ndim++] = weight->shape[1];
    return true;
}

/* index as one run, and the result or its gradient as [rows, E]. */
static Tensor rows_of(const Tensor *y) {
    int64_t e = y->shape[y->ndim - 1], n = 1;
    for (int d = 0; d < y->ndim - 1; d++) n *= y->shape[d];
    return tensor_reshape(y, 2, (int64_t[]){n, e});
}

static bool embedding_value(AgCall *c) {
    if (!ag_call_index(c, 1, c->in[0]->shape[0], NULL)) return false;
    Tensor run = ag_call_contiguous(c, c->in[1]);
    if (tensor_is_nil(&run)) return false;
    Tensor index = tensor_wrap(run.data, TENSOR_I64, 1, (int64_t[]){tensor_numel(&run)});
    Tensor y = rows_of(&c->out[0]);
    tensor_index_select(&y, c->in[0], 0, &index);
    return true;
}

static bool embedding_vjp(AgVjp *v) {
    int64_t n = ag_numel(v->in[1]), e = ag_dim(v->in[0], 1);
    AgVar index = ag_reshape(v->in[1], 1, &n);
    AgVar g = ag_reshape(v->gout[0], 2, (int64_t[]){n, e});
    if (!ag_ok(index) || !ag_ok(g)) return false;
    const Tensor *into = ag_vjp_into_rows(v, 0, ag_value(index));
    if (into) tensor_index_add(into, 0, ag_value(index), ag_value(g));
    else v->gin[0] = ag_index_add(zeros_like(v->in[0]), 0, index, g);
    return true;
}

static const AgSample embedding_samples[] = {
    {"sequence", 2, {AG_IN(-1, 1, 5, 3), AG_IN(0, 5, 4, 2)}, NULL, 0, NULL},
    {"one token", 2, {AG_IN(-1, 1, 5, 3), AG_IN(0, 5)}, NULL, 0, NULL},
    {"no token", 2, {AG_IN(-1, 1, 5, 3), AG_IN(0, 5, 0, 2)}, NULL, 0, NULL},
    {0},
};
static const AgSample embedding_errors[] = {
    {"range", 2, {AG_IN(-1, 1, 5, 3), AG_IN(5, 6, 2)}, NULL, 0, "index 5 at entry 0"},
    {"vector", 2, {AG_IN(-1, 1, 5), AG_IN(0, 5, 2)}, NULL, 0, "[V, E]"},
    {"floats", 2, {AG_IN(-1, 1, 5, 3), AG_IN_DTYPE("f64", 0, 3, 2)}, NULL, 0, "wants i64"},
    {0},
};
const AgOp ag_op_embedding = {"embedding", "rows of a table", "fi:f", embedding_shape,
                              embedding_value, embedding_vjp, NULL, embedding_samples,
                              embedding_errors, false, NULL};
AgVar ag_embedding(AgVar weight, AgVar index) {
    return ag_apply1(&ag_op_embedding, 2, (AgVar[]){weight, index}, NULL, 0);
}

/* ---- index_add: x, index, src ---- */

static bool index_add_shape(AgCall *c) {
    const Tensor *x = c->in[0], *index = c->in[1], *src = c->in[2];
    int axis = ag_call_vector_axis(c, 0, *(const int *)c->options);
    if (axis < 0) return false;
    bool fits = index->ndim == 1 && src->ndim == x->ndim && (x->ndim || index->shape[0] == 1);
    for (int d = 0; d < x->ndim && fits; d++)
        fits = src->shape[d] == (d == axis ? index->shape[0] : x->shape[d]);
    return fits ? ag_out_like(c, 0, x) : ag_call_fail(c, "src does not fit x and index");
}

static bool index_add_value(AgCall *c) {
    int axis = axis_of(c);
    if (!ag_call_index(c, 1, ag_vector_size(c->in[0], axis), NULL)) return false;
    tensor_convert(&c->out[0], c->in[0]);
    tensor_index_add(&c->out[0], axis, c->in[1], c->in[2]);
    return true;
}

static bool index_add_vjp(AgVjp *v) {
    if (v->need[0]) v->gin[0] = v->gout[0];
    if (v->need[2]) v->gin[2] = ag_index_select(v->gout[0], *(const int *)v->options, v->in[1]);
    return true;
}

static const AgSample index_add_samples[] = {
    {"rows, repeated", 3, {AG_IN(-1, 1, 3, 2), AG_IN(0, 3, 5), AG_IN(-1, 1, 5, 2)}, AG_WITH(int, 0),
     NULL},
    {"columns", 3, {AG_IN(-1, 1, 2, 4), AG_IN(0, 4, 3), AG_IN(-1, 1, 2, 3)}, AG_WITH(int, 1), NULL},
    {"nothing", 3, {AG_IN(-1, 1, 2), AG_IN(0, 2, 0), AG_IN(-1, 1, 0)}, AG_WITH(int, 0), NULL},
    {"scalar", 3, {AG_IN(-1, 1), AG_IN(0, 1, 1), AG_IN(-1, 1)}, AG_WITH(int, -1), NULL},
    {0},
};
static const AgSample index_add_errors[] = {
    {"src", 3, {AG_IN(-1, 1, 3, 2), AG_IN(0, 3, 5), AG_IN(-1, 1, 4, 2)}, AG_WITH(int, 0), "src"},
    {"scalar", 3, {AG_IN(-1, 1), AG_IN(0, 1, 2), AG_IN(-1, 1)}, AG_WITH(int, 0), "src does not"},
    {"range", 3, {AG_IN(-1, 1, 3), AG_IN(3, 4, 1), AG_IN(-1, 1, 1)}, AG_WITH(int, 0), "index 3"},
    {0},
};
const AgOp ag_op_index_add = {"index_add", "x with src added at index", "fif:f", index_add_shape,
                              index_add_value, index_add_vjp, NULL, index_add_samples,
                              index_add_errors, false, NULL};
AgVar ag_index_add(AgVar x, int axis, AgVar index, AgVar src) {
    return apply(&ag_op_index_add, 3, (AgVar[]){x, index, src}, axis);
}

/* ---- gather ---- */

/* Does index (or src) lie inside x on every axis but `axis`? */
static bool lies_inside(const Tensor *index, const Tensor *x, int axis) {
    Tensor places = tensor_at_least_1d(index), whole = tensor_at_least_1d(x);
    bool fits = places.ndim == whole.ndim;
    for (int d = 0; d < x->ndim && fits; d++) fits = d == axis || places.shape[d] <= x->shape[d];
    return fits;
}

static bool gather_shape(AgCall *c) {
    int axis = ag_call_vector_axis(c, 0, *(const int *)c->options);
    if (axis < 0) return false;
    if (!lies_inside(c->in[1], c->in[0], axis)) return ag_call_fail(c, "index lies outside x");
    return ag_out_like(c, 0, c->in[1]);
}

static bool gather_value(AgCall *c) {
    int axis = axis_of(c);
    if (!ag_call_index(c, 1, ag_vector_size(c->in[0], axis), NULL)) return false;
    tensor_gather(&c->out[0], c->in[0], axis, c->in[1]);
    return true;
}

bool ag_gather_vjp(AgVjp *v, int axis, AgVar index, AgVar g) {
    const Tensor *into = ag_vjp_into(v, 0);
    if (into && ag_ok(index) && ag_ok(g))
        tensor_scatter_add(into, axis, ag_value(index), ag_value(g));
    else v->gin[0] = ag_scatter_add(zeros_like(v->in[0]), axis, index, g);
    return true;
}

static bool gather_vjp(AgVjp *v) {
    return ag_gather_vjp(v, *(const int *)v->options, v->in[1], v->gout[0]);
}

static const AgSample gather_samples[] = {
    {"rows", 2, {AG_IN(-1, 1, 3, 4), AG_IN(0, 3, 2, 4)}, AG_WITH(int, 0), NULL},
    {"columns, repeated", 2, {AG_IN(-1, 1, 3, 4), AG_IN(0, 4, 3, 6)}, AG_WITH(int, 1), NULL},
    {"fewer rows", 2, {AG_IN(-1, 1, 3, 4), AG_IN(0, 4, 2, 1)}, AG_WITH(int, -1), NULL},
    {"nothing", 2, {AG_IN(-1, 1, 3, 4), AG_IN(0, 4, 0, 2)}, AG_WITH(int, 1), NULL},
    {"scalar", 2, {AG_IN(-1, 1), AG_IN(0, 1)}, AG_WITH(int, 0), NULL},
    {"scalar, repeated", 2, {AG_IN(-1, 1), AG_IN(0, 1, 3)}, AG_WITH(int, -1), NULL},
    {"scalar of a vector", 2, {AG_IN(-1, 1, 3), AG_IN(0, 3)}, AG_WITH(int, 0), NULL},
    {0},
};
static const AgSample gather_errors[] = {
    {"range", 2, {AG_IN(-1, 1, 3, 4), AG_IN(4, 5, 3, 1)}, AG_WITH(int, 1), "index 4 at entry 0"},
    {"axes", 2, {AG_IN(-1, 1, 3, 4), AG_IN(0, 3, 3)}, AG_WITH(int, 1), "outside x"},
    {"more rows", 2, {AG_IN(-1, 1, 3, 4), AG_IN(0, 4, 4, 1)}, AG_WITH(int, 1), "outside x"},
    {0},
};
const AgOp ag_op_gather = {"gather", "x at an index for each place", "ai:a", gather_shape,
                           gather_value, gather_vjp, NULL, gather_samples, gather_errors, false,
                           NULL};
AgVar ag_gather(AgVar x, int axis, AgVar index) {
    return apply(&ag_op_gather, 2, (AgVar[]){x, index}, axis);
}

/* ---- scatter_add: x, index, src ---- */

static bool scatter_add_shape(AgCall *c) {
    const Tensor *x = c->in[0];
    int axis = ag_call_vector_axis(c, 0, *(const int *)c->options);
    if (axis < 0) return false;
    if (!tensor_same_shape(c->in[1], c->in[2])) return ag_call_fail(c, "src does not fit index");
    if (!lies_inside(c->in[1], x, axis)) return ag_call_fail(c, "index lies outside x");
    return ag_out_like(c, 0, x);
}

static bool scatter_add_value(AgCall *c) {
    int axis = axis_of(c);
    if (!ag_call_index(c, 1, ag_vector_size(c->in[0], axis), NULL)) return false;
    tensor_convert(&c->out[0], c->in[0]);
    tensor_scatter_add(&c->out[0], axis, c->in[1], c->in[2]);
    return true;
}

static bool scatter_add_vjp(AgVjp *v) {
    if (v->need[0]) v->gin[0] = v->gout[0];
    if (v->need[2]) v->gin[2] = ag_gather(v->gout[0], *(const int *)v->options, v->in[1]);
    return true;
}

static const AgSample scatter_add_samples[] = {
    {"rows", 3, {AG_IN(-1, 1, 3, 4), AG_IN(0, 3, 2, 4), AG_IN(-1, 1, 2, 4)}, AG_WITH(int, 0), NULL},
    {"columns, repeated", 3, {AG_IN(-1, 1, 3, 2), AG_IN(0, 2, 3, 5), AG_IN(-1, 1, 3, 5)},
     AG_WITH(int, 1), NULL},
    {"scalar", 3, {AG_IN(-1, 1), AG_IN(0, 1), AG_IN(-1, 1)}, AG_WITH(int, 0), NULL},
    {"to a scalar", 3, {AG_IN(-1, 1), AG_IN(0, 1, 3), AG_IN(-1, 1, 3)}, AG_WITH(int, 0), NULL},
    {"nothing", 3, {AG_IN(-1, 1, 3), AG_IN(0, 3, 0), AG_IN(-1, 1, 0)}, AG_WITH(int, 0), NULL},
    {0},
};
static const AgSample scatter_add_errors[] = {
    {"src", 3, {AG_IN(-1, 1, 3, 4), AG_IN(0, 3, 2, 4), AG_IN(-1, 1, 2, 3)}, AG_WITH(int, 0), "src"},
    {"range", 3, {AG_IN(-1, 1, 3), AG_IN(-2, -1, 2), AG_IN(-1, 1, 2)}, AG_WITH(int, 0), "index -2"},
    {0},
};
const AgOp ag_op_scatter_add = {"scatter_add", "x with src added at an index for each place",
                                "fif:f", scatter_add_shape, scatter_add_value, scatter_add_vjp,
                                NULL, scatter_add_samples, scatter_add_errors, false, NULL};
AgVar ag_scatter_add(AgVar x, int axis, AgVar index, AgVar src) {
    return apply(&ag_op_scatter_add, 3, (AgVar[]){x, index, src}, axis);
}
