/* categorical: classes drawn by their probabilities. */
#include "autograd/ops/random.h"

typedef struct {
    int64_t n;
    AgRandom random;
} Options;

static bool shape(AgCall *c) {
    const Options *o = c->options;
    const Tensor *x = c->in[0];
    AgRandom random = o->random;
    if (x->ndim == 0) return ag_call_fail(c, "wants logits [.., V]");
    if (x->shape[x->ndim - 1] == 0) return ag_call_fail(c, "no classes");
    if (o->n < 0) return ag_call_fail(c, "%lld draws", (long long)o->n);
    if (!ag_random_rows(c, x->ndim - 1, &random) || !ag_out_like(c, 0, x)) return false;
    c->out[0].shape[x->ndim - 1] = o->n;
    return true;
}

static bool value(AgCall *c) {
    AgRandom r = ((const Options *)c->options)->random;
    Tensor x = ag_call_contiguous(c, c->in[0]);
    if (tensor_is_nil(&x) || !ag_random_rows(c, x.ndim - 1, &r)) return false;
    Tensor sums = ag_call_tensor(c, false, TENSOR_F64, 1, &x.shape[x.ndim - 1]);
    if (tensor_is_nil(&sums)) return false;
    int64_t bad = tensor_categorical(&c->out[0], &x, r.key, r.batch_axis, r.first, r.total, &sums);
    if (bad < 0) return true;
    return ag_call_fail(c, "row %lld has no probabilities: it holds nan, inf or only -inf",
                        (long long)bad);
}

static const AgSample samples[] = {
    {"rows", 1, {AG_IN(-2, 2, 3, 4)}, AG_WITH(Options, 5, {0, {1, 2, 3}, 0, 0}), NULL},
    {"share of a batch", 1, {AG_IN(-2, 2, 2, 3, 4)}, AG_WITH(Options, 1, {1, {1, 2, 3}, 4, 8}),
     NULL},
    {"one row", 1, {AG_IN(-2, 2, 37)}, AG_WITH(Options, 3, {-1, {1, 2, 3}, 0, 0}), NULL},
    {"no draw", 1, {AG_IN(-2, 2, 3, 4)}, AG_WITH(Options, 0, {0, {1, 2, 3}, 0, 0}), NULL},
    {"no rows", 1, {AG_IN(-2, 2, 0, 4)}, AG_WITH(Options, 2, {0, {1, 2, 3}, 0, 0}), NULL},
    {0},
};
static const AgSample errors[] = {
    {"nothing to draw", 1, {AG_IN(-__builtin_inf(), -__builtin_inf(), 2, 3)},
     AG_WITH(Options, 1, {-1, {1, 2, 3}, 0, 0}), "row 0 has no probabilities"},
    {"scalar", 1, {AG_IN(-2, 2)}, AG_WITH(Options, 1, {-1, {0, 0, 0}, 0, 0}), "logits [.., V]"},
    {"no classes", 1, {AG_IN(-2, 2, 3, 0)}, AG_WITH(Options, 1, {-1, {0, 0, 0}, 0, 0}),
     "no classes"},
    {"n", 1, {AG_IN(-2, 2, 3)}, AG_WITH(Options, -1, {-1, {0, 0, 0}, 0, 0}), "-1 draws"},
    {"axis of classes", 1, {AG_IN(-2, 2, 3, 4)}, AG_WITH(Options, 1, {1, {0, 0, 0}, 0, 0}),
     "batch axis 1 of 1"},
    {"rows", 1, {AG_IN(-2, 2, 3, 4)}, AG_WITH(Options, 1, {0, {0, 0, 0}, 6, 8}), "batch of 8"},
    {"integers", 1, {AG_IN_DTYPE("i64", 0, 9, 3)}, AG_WITH(Options, 1, {-1, {0, 0, 0}, 0, 0}),
     "wants f32 or f64"},
    {0},
};
const AgOp ag_op_categorical = {"categorical", "draws with probability softmax(logits)", "f:i",
                                shape, value, NULL, NULL, samples, errors, false, NULL};
AgVar ag_categorical(AgVar logits, int64_t n, int batch_axis) {
    Options o = {n, ag_random_next(logits, batch_axis)};
    return ag_apply1(&ag_op_categorical, 1, &logits, &o, sizeof o);
}
