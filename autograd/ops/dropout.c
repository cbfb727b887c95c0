/* dropout: zeros drawn under a stored key. */
#include "autograd/ops/random.h"

typedef struct {
    double p;
    AgRandom random;
} Options;

static bool shape(AgCall *c) {
    const Options *o = c->options;
    AgRandom random = o->random;
    if (!(o->p >= 0 && o->p <= 1)) return ag_call_fail(c, "p is %g, wants 0 to 1", o->p);
    return ag_random_rows(c, c->in[0]->ndim, &random) && ag_out_like(c, 0, c->in[0]);
}

static bool value(AgCall *c) {
    const Options *o = c->options;
    AgRandom r = o->random;
    if (!ag_random_rows(c, c->in[0]->ndim, &r)) return false;
    tensor_dropout(&c->out[0], c->in[0], r.key, o->p, r.batch_axis, r.first, r.total);
    return true;
}

/* Linear in x: the gradient passes through the same mask. */
static bool vjp(AgVjp *v) {
    v->gin[0] = ag_apply1(&ag_op_dropout, 1, &v->gout[0], v->options, sizeof(Options));
    return true;
}

static const AgSample samples[] = {
    {"half", 1, {AG_IN(-1, 1, 5, 7)}, AG_WITH(Options, .5, {0, {1, 2, 3}, 0, 0}), NULL},
    {"share of a batch", 1, {AG_IN(-1, 1, 3, 2, 4)}, AG_WITH(Options, .3, {1, {1, 2, 3}, 4, 8}),
     NULL},
    {"no batch", 1, {AG_IN(-1, 1, 9)}, AG_WITH(Options, .9, {-1, {5, 0, 1}, 0, 0}), NULL},
    {"keep all", 1, {AG_IN(-1, 1, 9)}, AG_WITH(Options, 0, {0, {5, 0, 1}, 0, 0}), NULL},
    {"drop all", 1, {AG_IN(-1, 1, 9)}, AG_WITH(Options, 1, {0, {5, 0, 1}, 0, 0}), NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(Options, .5, {-1, {5, 0, 2}, 0, 0}), NULL},
    {"empty", 1, {AG_IN(-1, 1, 0, 3)}, AG_WITH(Options, .5, {0, {5, 0, 1}, 0, 0}), NULL},
    {0},
};
static const AgSample errors[] = {
    {"p", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, 1.5, {0, {0, 0, 0}, 0, 0}), "p is 1.5"},
    {"p NaN", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, __builtin_nan(""), {0, {0, 0, 0}, 0, 0}),
     "nan"},
    {"axis", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, .5, {1, {0, 0, 0}, 0, 0}), "batch axis 1"},
    {"rows", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, .5, {0, {0, 0, 0}, 6, 8}), "batch of 8"},
    {0},
};
const AgOp ag_op_dropout = {"dropout", "zeros with probability p", "f:f", shape, value, vjp, NULL,
                            samples, errors, false, NULL};

AgVar ag_dropout(AgVar x, double p, int batch_axis) {
    bool valid = p >= 0 && p <= 1 && batch_axis >= -1 && batch_axis < ag_ndim(x) && ag_ok(x) &&
                 tensor_dtype_is_float(ag_dtype(x));
    if (!x.tape || (valid && !ag_tape_is_training(x.tape))) return x;
    return ag_dropout_drawn(x, p, ag_random_next(x, batch_axis));
}

AgVar ag_dropout_drawn(AgVar x, double p, AgRandom random) {
    Options o = {p, random};
    return ag_apply1(&ag_op_dropout, 1, &x, &o, sizeof o);
}
