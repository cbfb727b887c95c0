/* where, masked_fill: choice by a mask. */
#include "autograd/ops/ops.h"

/* ---- where: mask, a, b ---- */

static bool where_shape(AgCall *c) {
    Tensor ab = {.dtype = c->out[0].dtype};
    bool fits = tensor_broadcast_shape(c->in[1], c->in[2], &ab.ndim, ab.shape) &&
                tensor_broadcast_shape(c->in[0], &ab, &c->out[0].ndim, c->out[0].shape);
    return fits || ag_call_fail(c, "shapes do not broadcast");
}

static bool where_value(AgCall *c) {
    tensor_where(&c->out[0], c->in[0], c->in[1], c->in[2]);
    return true;
}

static bool where_vjp(AgVjp *v) {
    AgVar mask = v->in[0], g = v->gout[0];
    if (v->need[1])
        v->gin[1] = ag_sum_like(ag_masked_fill(g, ag_logical_not(mask), 0), v->in[1]);
    if (v->need[2]) v->gin[2] = ag_sum_like(ag_masked_fill(g, mask, 0), v->in[2]);
    return true;
}

static const AgSample where_samples[] = {
    {"equal shapes", 3, {AG_IN(0, 2, 3, 4), AG_IN(-1, 1, 3, 4), AG_IN(-1, 1, 3, 4)}, NULL, 0, NULL},
    {"broadcast", 3, {AG_IN(0, 2, 3, 1), AG_IN(-1, 1, 4), AG_IN(-1, 1)}, NULL, 0, NULL},
    {"wider mask", 3, {AG_IN(0, 2, 2, 3), AG_IN(-1, 1, 3), AG_IN(-1, 1, 1)}, NULL, 0, NULL},
    {"empty", 3, {AG_IN(0, 2, 0), AG_IN(-1, 1, 0), AG_IN(-1, 1)}, NULL, 0, NULL},
    {0},
};
static const AgSample where_errors[] = {
    {"shapes", 3, {AG_IN(0, 2, 3), AG_IN(-1, 1, 3), AG_IN(-1, 1, 4)}, NULL, 0, "do not broadcast"},
    {"mask", 3, {AG_IN_DTYPE("f64", 0, 2, 3), AG_IN(-1, 1, 3), AG_IN(-1, 1, 3)}, NULL, 0,
     "wants u8"},
    {0},
};
const AgOp ag_op_where = {"where", "mask ? a : b", "maa:a", where_shape, where_value, where_vjp,
                          NULL, where_samples, where_errors, false, NULL};
AgVar ag_where(AgVar mask, AgVar a, AgVar b) {
    return ag_apply1(&ag_op_where, 3, (AgVar[]){mask, a, b}, NULL, 0);
}

/* ---- masked_fill: x, mask ---- */

static bool masked_fill_shape(AgCall *c) {
    if (!ag_out_broadcast(c, 0, 0, 1)) return false;
    bool fits = c->out[0].ndim == c->in[0]->ndim;
    for (int d = 0; d < c->in[0]->ndim && fits; d++)
        fits = c->out[0].shape[d] == c->in[0]->shape[d];
    return fits || ag_call_fail(c, "the mask does not broadcast to x");
}

static bool masked_fill_value(AgCall *c) {
    Tensor fill = ag_call_tensor(c, false, c->in[0]->dtype, 0, NULL);
    if (tensor_is_nil(&fill)) return false;
    tensor_fill(&fill, *(const double *)c->options);
    tensor_where(&c->out[0], c->in[1], &fill, c->in[0]);
    return true;
}

static bool masked_fill_vjp(AgVjp *v) {
    v->gin[0] = ag_masked_fill(v->gout[0], v->in[1], 0);
    return true;
}

static const AgSample masked_fill_samples[] = {
    {"equal shapes", 2, {AG_IN(-1, 1, 3, 4), AG_IN(0, 2, 3, 4)}, AG_WITH(double, -9), NULL},
    {"column mask", 2, {AG_IN(-1, 1, 3, 4), AG_IN(0, 2, 3, 1)}, AG_WITH(double, .5), NULL},
    {"empty", 2, {AG_IN(-1, 1, 0, 4), AG_IN(0, 2, 4)}, AG_WITH(double, 1), NULL},
    {"scalar", 2, {AG_IN(-1, 1), AG_IN(0, 1)}, AG_WITH(double, .5), NULL},
    {0},
};
static const AgSample masked_fill_errors[] = {
    {"wider mask", 2, {AG_IN(-1, 1, 4), AG_IN(0, 2, 3, 4)}, AG_WITH(double, 0),
     "does not broadcast to x"},
    {"shapes", 2, {AG_IN(-1, 1, 4), AG_IN(0, 2, 3)}, AG_WITH(double, 0), "do not broadcast"},
    {"mask", 2, {AG_IN(-1, 1, 4), AG_IN_DTYPE("i64", 0, 2, 4)}, AG_WITH(double, 0), "wants u8"},
    {0},
};
const AgOp ag_op_masked_fill = {"masked_fill", "value where mask, else x", "am:a",
                                masked_fill_shape, masked_fill_value, masked_fill_vjp, NULL,
                                masked_fill_samples, masked_fill_errors, false, NULL};
AgVar ag_masked_fill(AgVar x, AgVar mask, double value) {
    return ag_apply1(&ag_op_masked_fill, 2, (AgVar[]){x, mask}, &value, sizeof value);
}
