/* cumsum: running sums along an axis. */
#include "autograd/ops/ops.h"

typedef struct {
    int axis;
    bool reverse; /* from the end: the transpose */
} Scan;

static bool shape(AgCall *c) {
    const Scan *o = c->options;
    return ag_call_vector_axis(c, 0, o->axis) >= 0 && ag_out_like(c, 0, c->in[0]);
}

static bool value(AgCall *c) {
    const Scan *o = c->options;
    tensor_cumsum(&c->out[0], c->in[0], o->axis, o->reverse);
    return true;
}

static bool vjp(AgVjp *v) {
    const Scan *o = v->options;
    Scan back = {o->axis, !o->reverse};
    v->gin[0] = ag_apply1(&ag_op_cumsum, 1, &v->gout[0], &back, sizeof back);
    return true;
}

static const AgSample samples[] = {
    {"rows", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(Scan, 0, false), NULL},
    {"columns", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(Scan, -1, false), NULL},
    {"middle, from the end", 1, {AG_IN(-1, 1, 2, 3, 2)}, AG_WITH(Scan, 1, true), NULL},
    {"longer than a vector", 1, {AG_IN(-1, 1, 37)}, AG_WITH(Scan, 0, false), NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(Scan, 0, false), NULL},
    {"empty", 1, {AG_IN(-1, 1, 2, 0)}, AG_WITH(Scan, 1, false), NULL},
    {0},
};
static const AgSample errors[] = {
    {"axis", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(Scan, 2, false), "axis 2 out of range"},
    {"axis of a scalar", 1, {AG_IN(-1, 1)}, AG_WITH(Scan, 1, false), "out of range"},
    {"masks", 1, {AG_IN_DTYPE("u8", 0, 2, 3)}, AG_WITH(Scan, 0, false), "wants f32 or f64"},
    {0},
};
const AgOp ag_op_cumsum = {"cumsum", "sums of x up to each place", "f:f", shape, value, vjp, NULL,
                           samples, errors, false, NULL};
AgVar ag_cumsum(AgVar x, int axis) {
    return ag_apply1(&ag_op_cumsum, 1, &x, &(Scan){axis, false}, sizeof(Scan));
}
