/* dropout: zeros drawn under a stored key, so that the gradient, a recomputation and a
 * finite difference all see one mask. */
#include "autograd/ops/ops.h"
#include "autograd/tape.h"
#include "tensor/rng.h"

typedef struct {
    double p;
    int batch_axis;
    TensorRngKey key;
    int64_t first, total; /* rows of the whole batch; total 0: this is the whole */
} Options;

static bool shape(AgCall *c) {
    const Options *o = c->options;
    const Tensor *x = c->in[0];
    if (!(o->p >= 0 && o->p <= 1)) return ag_call_fail(c, "p is %g, wants 0 to 1", o->p);
    if (o->batch_axis < -1 || o->batch_axis >= x->ndim)
        return ag_call_fail(c, "batch axis %d of %d", o->batch_axis, x->ndim);
    if (o->total && o->batch_axis >= 0) {
        int64_t rows = x->shape[o->batch_axis];
        if (o->first < 0 || rows > o->total - o->first)
            return ag_call_fail(c, "%lld rows from row %lld of a batch of %lld", (long long)rows,
                                (long long)o->first, (long long)o->total);
    }
    return ag_out_like(c, 0, x);
}

static bool value(AgCall *c) {
    const Options *o = c->options;
    const Tensor *x = c->in[0];
    int64_t rows = o->batch_axis < 0 ? 0 : x->shape[o->batch_axis];
    tensor_dropout(&c->out[0], x, o->key, o->p, o->batch_axis, o->total ? o->first : 0,
                   o->total ? o->total : rows);
    return true;
}

/* Linear in x: the gradient passes through the same mask. */
static bool vjp(AgVjp *v) {
    v->gin[0] = ag_apply1(&ag_op_dropout, 1, &v->gout[0], v->options, sizeof(Options));
    return true;
}

static const AgSample samples[] = {
    {"half", 1, {AG_IN(-1, 1, 5, 7)}, AG_WITH(Options, .5, 0, {1, 2, 3}, 0, 0), NULL},
    {"share of a batch", 1, {AG_IN(-1, 1, 3, 2, 4)}, AG_WITH(Options, .3, 1, {1, 2, 3}, 4, 8), NULL},
    {"no batch", 1, {AG_IN(-1, 1, 9)}, AG_WITH(Options, .9, -1, {5, 0, 1}, 0, 0), NULL},
    {"keep all", 1, {AG_IN(-1, 1, 9)}, AG_WITH(Options, 0, 0, {5, 0, 1}, 0, 0), NULL},
    {"drop all", 1, {AG_IN(-1, 1, 9)}, AG_WITH(Options, 1, 0, {5, 0, 1}, 0, 0), NULL},
    {"empty", 1, {AG_IN(-1, 1, 0, 3)}, AG_WITH(Options, .5, 0, {5, 0, 1}, 0, 0), NULL},
    {0},
};
static const AgSample errors[] = {
    {"p", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, 1.5, 0, {0, 0, 0}, 0, 0), "p is 1.5"},
    {"p NaN", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, __builtin_nan(""), 0, {0, 0, 0}, 0, 0), "nan"},
    {"axis", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, .5, 1, {0, 0, 0}, 0, 0), "batch axis 1"},
    {"rows", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, .5, 0, {0, 0, 0}, 6, 8), "batch of 8"},
    {0},
};
const AgOp ag_op_dropout = {"dropout", "zeros with probability p", "f:f", shape, value, vjp, NULL,
                            samples, errors, false};

AgVar ag_dropout(AgVar x, double p, int batch_axis) {
    AgTape *t = x.tape;
    bool valid = p >= 0 && p <= 1 && batch_axis >= -1 && batch_axis < ag_ndim(x) && ag_ok(x) &&
                 tensor_dtype_is_float(ag_dtype(x));
    if (!t || (valid && !t->training)) return x;
    Options o = {p, batch_axis, {t->seed, t->rng_step, t->draws}, t->first_row, t->total_rows};
    t->draws += !t->failed;
    return ag_apply1(&ag_op_dropout, 1, &x, &o, sizeof o);
}
