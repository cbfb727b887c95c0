/* pad: a constant around x, or a crop. */
#include "autograd/ops/ops.h"

typedef struct {
    int n; /* pairs */
    int64_t pad[2 * TENSOR_MAX_DIMS];
    double value;
} Options;

static int64_t before(const Options *o, int ndim, int d) {
    return ndim - 1 - d < o->n ? o->pad[2 * (ndim - 1 - d)] : 0;
}
static int64_t after(const Options *o, int ndim, int d) {
    return ndim - 1 - d < o->n ? o->pad[2 * (ndim - 1 - d) + 1] : 0;
}

static bool shape(AgCall *c) {
    const Options *o = c->options;
    const Tensor *x = c->in[0];
    if (o->n < 0 || o->n > x->ndim) return ag_call_fail(c, "%d pairs for %d axes", o->n, x->ndim);
    if (!ag_out_like(c, 0, x)) return false;
    for (int d = 0; d < x->ndim; d++) {
        int64_t *size = &c->out[0].shape[d], b = before(o, x->ndim, d), a = after(o, x->ndim, d);
        if (b < -INT64_MAX || a < -INT64_MAX || __builtin_add_overflow(*size, b, size) ||
            __builtin_add_overflow(*size, a, size) || *size < 0)
            return ag_call_fail(c, "%lld before and %lld after an axis of %lld", (long long)b,
                                (long long)a, (long long)x->shape[d]);
    }
    return true;
}

/* Axis d without what is cropped: where it starts and how long it is. */
static Tensor crop(const Tensor *x, int d, int64_t b, int64_t a) {
    int64_t n = x->shape[d], start = b < 0 ? -b : 0, length = n - start + (a < 0 ? a : 0);
    return length > 0 ? tensor_narrow(x, d, start, length) : tensor_narrow(x, d, 0, 0);
}

/* What is cropped of x is padding of y seen the other way round. */
static bool value(AgCall *c) {
    const Options *o = c->options;
    Tensor x = *c->in[0], y = c->out[0];
    tensor_fill(&y, o->value);
    for (int d = 0; d < x.ndim; d++) {
        int64_t b = before(o, x.ndim, d), a = after(o, x.ndim, d);
        x = crop(&x, d, b, a);
        y = crop(&y, d, -b, -a);
    }
    tensor_convert(&y, &x);
    return true;
}

static bool vjp(AgVjp *v) {
    const Options *o = v->options;
    Options back = {.n = o->n};
    for (int i = 0; i < 2 * o->n; i++) back.pad[i] = -o->pad[i];
    v->gin[0] = ag_apply1(&ag_op_pad, 1, &v->gout[0], &back, sizeof back);
    return true;
}

static const AgSample samples[] = {
    {"columns", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(Options, 1, {1, 2}, .5), NULL},
    {"both axes", 1, {AG_IN(-1, 1, 2, 3)}, AG_WITH(Options, 2, {1, 0, 0, 2}, -1), NULL},
    {"crop", 1, {AG_IN(-1, 1, 3, 5)}, AG_WITH(Options, 2, {-1, -2, -1, 0}, 7), NULL},
    {"crop and pad", 1, {AG_IN(-1, 1, 5)}, AG_WITH(Options, 1, {-2, 3}, 1), NULL},
    {"nothing left of x", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, 1, {-4, 2}, 1), NULL},
    {"crop to nothing", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, 1, {-3, 0}, 1), NULL},
    {"no pairs", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, 0, {0}, 1), NULL},
    {"of nothing", 1, {AG_IN(-1, 1, 0)}, AG_WITH(Options, 1, {1, 1}, 2), NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(Options, 0, {0}, 1), NULL},
    {"longer than a vector", 1, {AG_IN(-1, 1, 37)}, AG_WITH(Options, 1, {3, 2}, 1), NULL},
    {"masks", 1, {AG_IN_DTYPE("u8", 0, 2, 3)}, AG_WITH(Options, 1, {1, 1}, 1), NULL},
    {0},
};
static const AgSample errors[] = {
    {"pairs", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, 2, {1, 1, 1, 1}, 0), "2 pairs for 1 axes"},
    {"negative pairs", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, -1, {0}, 0), "-1 pairs"},
    {"crop", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, 1, {-2, -2}, 0), "-2 after an axis of 3"},
    {"huge", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, 1, {INT64_MAX, 0}, 0), "before and 0"},
    {"least", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Options, 1, {INT64_MIN, INT64_MAX}, 0), "before and"},
    {0},
};
const AgOp ag_op_pad = {"pad", "a constant around x", "a:a", shape, value, vjp, NULL, samples,
                        errors, false, NULL};
AgVar ag_pad(AgVar x, int n, const int64_t *pad, double value) {
    Options o = {.n = n, .value = value};
    for (int i = 0; n <= TENSOR_MAX_DIMS && i < 2 * n; i++) o.pad[i] = pad[i];
    return ag_apply1(&ag_op_pad, 1, &x, &o, sizeof o);
}
