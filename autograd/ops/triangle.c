/* tril, triu: the lower and upper triangles of the last two axes. */
#include "autograd/ops/ops.h"

static bool shape(AgCall *c) {
    if (c->in[0]->ndim < 2) return ag_call_fail(c, "wants matrices");
    return ag_out_like(c, 0, c->in[0]);
}

static bool value(AgCall *c) {
    int64_t diagonal = *(const int64_t *)c->options;
    tensor_triangle(&c->out[0], c->in[0], diagonal, c->op == &ag_op_triu);
    return true;
}

static bool vjp(AgVjp *v) {
    v->gin[0] = ag_apply1(v->op, 1, &v->gout[0], v->options, sizeof(int64_t));
    return true;
}

static const AgSample samples[] = {
    {"square", 1, {AG_IN(-1, 1, 4, 4)}, AG_WITH(int64_t, 0), NULL},
    {"wide", 1, {AG_IN(-1, 1, 3, 5)}, AG_WITH(int64_t, 1), NULL},
    {"tall batch", 1, {AG_IN(-1, 1, 2, 5, 3)}, AG_WITH(int64_t, -2), NULL},
    {"beyond", 1, {AG_IN(-1, 1, 3, 2)}, AG_WITH(int64_t, INT64_MAX), NULL},
    {"beyond below", 1, {AG_IN(-1, 1, 3, 2)}, AG_WITH(int64_t, INT64_MIN), NULL},
    {"longer than a vector", 1, {AG_IN(-1, 1, 2, 37)}, AG_WITH(int64_t, 20), NULL},
    {"no columns", 1, {AG_IN(-1, 1, 3, 0)}, AG_WITH(int64_t, 0), NULL},
    {"indices", 1, {AG_IN_DTYPE("i64", 1, 9, 3, 3)}, AG_WITH(int64_t, 0), NULL},
    {0},
};
static const AgSample errors[] = {
    {"vector", 1, {AG_IN(-1, 1, 4)}, AG_WITH(int64_t, 0), "wants matrices"},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(int64_t, 0), "wants matrices"},
    {0},
};
const AgOp ag_op_tril = {"tril", "x on and below a diagonal", "a:a", shape, value, vjp, NULL,
                         samples, errors, false, NULL};
const AgOp ag_op_triu = {"triu", "x on and above a diagonal", "a:a", shape, value, vjp, NULL,
                         samples, errors, false, NULL};
AgVar ag_tril(AgVar x, int64_t diagonal) {
    return ag_apply1(&ag_op_tril, 1, &x, &diagonal, sizeof diagonal);
}
AgVar ag_triu(AgVar x, int64_t diagonal) {
    return ag_apply1(&ag_op_triu, 1, &x, &diagonal, sizeof diagonal);
}
