/* topk: the largest or smallest elements along an axis. */
#include "autograd/ops/ops.h"

typedef struct {
    int64_t k;
    int axis;
    bool largest;
} Options;

static bool shape(AgCall *c) {
    const Options *o = c->options;
    const Tensor *x = c->in[0];
    int axis = ag_call_vector_axis(c, 0, o->axis);
    if (axis < 0) return false;
    int64_t n = ag_vector_size(x, axis);
    if (o->k < (x->ndim == 0) || o->k > n)
        return ag_call_fail(c, "%lld of %lld elements", (long long)o->k, (long long)n);
    for (int i = 0; i < 2; i++) {
        if (!ag_out_like(c, i, x)) return false;
        if (x->ndim) c->out[i].shape[axis] = o->k;
    }
    return true;
}

static bool value(AgCall *c) {
    const Options *o = c->options;
    return tensor_topk(&c->out[0], &c->out[1], c->in[0], o->axis, o->largest, c->scratch) ||
           ag_call_fail(c, "out of memory");
}

static bool vjp(AgVjp *v) {
    return ag_gather_vjp(v, ((const Options *)v->options)->axis, v->out[1], v->gout[0]);
}

static const AgSample samples[] = {
    {"columns", 1, {AG_IN(-2, 2, 3, 5)}, AG_WITH(Options, 2, -1, true), NULL},
    {"rows, smallest", 1, {AG_IN(-2, 2, 4, 3)}, AG_WITH(Options, 3, 0, false), NULL},
    {"middle", 1, {AG_IN(-2, 2, 2, 3, 2)}, AG_WITH(Options, 1, 1, true), NULL},
    {"all, sorted", 1, {AG_IN(-2, 2, 37)}, AG_WITH(Options, 37, 0, true), NULL},
    {"scalar", 1, {AG_IN(-2, 2)}, AG_WITH(Options, 1, 0, true), NULL},
    {"none", 1, {AG_IN(-2, 2, 3)}, AG_WITH(Options, 0, 0, true), NULL},
    {"of nothing", 1, {AG_IN(-2, 2, 0)}, AG_WITH(Options, 0, 0, true), NULL},
    {0},
};
static const AgSample errors[] = {
    {"more", 1, {AG_IN(-2, 2, 3)}, AG_WITH(Options, 4, 0, true), "4 of 3 elements"},
    {"negative", 1, {AG_IN(-2, 2, 3)}, AG_WITH(Options, -1, 0, true), "-1 of 3"},
    {"two of a scalar", 1, {AG_IN(-2, 2)}, AG_WITH(Options, 2, 0, true), "2 of 1"},
    {"none of a scalar", 1, {AG_IN(-2, 2)}, AG_WITH(Options, 0, 0, true), "0 of 1"},
    {"axis", 1, {AG_IN(-2, 2, 3)}, AG_WITH(Options, 1, 1, true), "axis 1 out of range"},
    {"masks", 1, {AG_IN_DTYPE("u8", 0, 2, 3)}, AG_WITH(Options, 1, 0, true), "wants f32 or f64"},
    {0},
};
const AgOp ag_op_topk = {"topk", "the largest or smallest, sorted", "f:fi", shape, value, vjp,
                         NULL, samples, errors, false, NULL};
bool ag_topk(AgVar x, int64_t k, int axis, bool largest, AgVar *values, AgVar *indices) {
    AgVar out[AG_MAX_OUT];
    ag_apply(&ag_op_topk, x.tape, 1, &x, &(Options){k, axis, largest}, sizeof(Options), out);
    *values = out[0];
    *indices = out[1];
    return ag_ok(out[0]);
}
