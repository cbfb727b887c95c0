/* contiguous, widen, concat, stack: copies into new memory. */
#include "autograd/ops/ops.h"

/* ---- contiguous ---- */

static bool contiguous_shape(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }

static bool contiguous_value(AgCall *c) {
    tensor_convert(&c->out[0], c->in[0]);
    return true;
}

static bool contiguous_vjp(AgVjp *v) {
    v->gin[0] = v->gout[0];
    return true;
}

static const AgSample contiguous_samples[] = {
    {"matrix", 1, {AG_IN(-1, 1, 3, 4)}, NULL, 0, NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, NULL, 0, NULL},
    {"empty", 1, {AG_IN(-1, 1, 0)}, NULL, 0, NULL},
    {0},
};
static const AgSample contiguous_errors[] = {
    {"two", 2, {AG_IN(-1, 1, 3), AG_IN(-1, 1, 3)}, NULL, 0, "2 arguments"},
    {0},
};
const AgOp ag_op_contiguous = {"contiguous", "a copy in row-major order", "a:a", contiguous_shape,
                               contiguous_value, contiguous_vjp, NULL, contiguous_samples,
                               contiguous_errors, false, NULL};
AgVar ag_contiguous(AgVar x) {
    if (ag_ok(x) && tensor_is_contiguous(ag_value(x))) return x;
    return ag_apply1(&ag_op_contiguous, 1, &x, NULL, 0);
}

/* ---- widen ---- */

typedef struct {
    int axis;
    int64_t start, step, size;
} Widen;

static bool widen_shape(AgCall *c) {
    const Widen *o = c->options;
    int axis = ag_call_axis(c, 0, o->axis);
    if (axis < 0) return false;
    int64_t n = c->in[0]->shape[axis], room = o->size - o->start;
    bool fits = o->step >= 1 && o->start >= 0 && o->size >= o->start &&
                (n == 0 || (room > 0 && n - 1 <= (room - 1) / o->step));
    if (!fits)
        return ag_call_fail(c, "%lld at %lld do not fit %lld", (long long)n, (long long)o->start,
                            (long long)o->size);
    if (!ag_out_like(c, 0, c->in[0])) return false;
    c->out[0].shape[axis] = o->size;
    return true;
}

/* Where n elements stand, one at start and each further one a step on. */
static int64_t end_of(const Widen *o, int64_t n) {
    return n ? o->start + (n - 1) * o->step + 1 : o->start;
}

static bool widen_value(AgCall *c) {
    const Widen *o = c->options;
    int axis = tensor_axis(c->in[0], o->axis);
    int64_t end = end_of(o, c->in[0]->shape[axis]);
    tensor_fill(&c->out[0], 0);
    Tensor part = tensor_slice(&c->out[0], axis, o->start, end, o->step);
    tensor_convert(&part, c->in[0]);
    return true;
}

static bool widen_vjp(AgVjp *v) {
    const Widen *o = v->options;
    int64_t end = end_of(o, ag_dim(v->in[0], o->axis));
    v->gin[0] = ag_slice(v->gout[0], o->axis, o->start, end, o->step);
    return true;
}

static const AgSample widen_samples[] = {
    {"columns", 1, {AG_IN(-1, 1, 3, 2)}, AG_WITH(Widen, 1, 1, 1, 5), NULL},
    {"rows", 1, {AG_IN(-1, 1, 2, 3)}, AG_WITH(Widen, 0, 0, 1, 4), NULL},
    {"same", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Widen, -1, 0, 1, 3), NULL},
    {"of nothing", 1, {AG_IN(-1, 1, 0)}, AG_WITH(Widen, 0, 2, 1, 3), NULL},
    {"every third", 1, {AG_IN(-1, 1, 2, 3)}, AG_WITH(Widen, 1, 1, 3, 9), NULL},
    {"to the end", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Widen, 0, 0, 2, 5), NULL},
    {0},
};
static const AgSample widen_errors[] = {
    {"end", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Widen, 0, 1, 1, 3), "3 at 1 do not fit 3"},
    {"steps", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Widen, 0, 1, 2, 5), "3 at 1 do not fit 5"},
    {"behind", 1, {AG_IN(-1, 1, 1)}, AG_WITH(Widen, 0, 5, 2, 5), "1 at 5 do not fit 5"},
    {"negative", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Widen, 0, -1, 1, 5), "do not fit"},
    {"axis", 1, {AG_IN(-1, 1)}, AG_WITH(Widen, 0, 0, 1, 1), "out of range"},
    {0},
};
const AgOp ag_op_widen = {"widen", "zeros with x at start", "a:a", widen_shape, widen_value,
                          widen_vjp, NULL, widen_samples, widen_errors, false, NULL};
AgVar ag_widen_steps(AgVar x, int axis, int64_t start, int64_t step, int64_t size) {
    return ag_apply1(&ag_op_widen, 1, &x, &(Widen){axis, start, step, size}, sizeof(Widen));
}
AgVar ag_widen(AgVar x, int axis, int64_t start, int64_t size) {
    return ag_widen_steps(x, axis, start, 1, size);
}

/* ---- concat ---- */

static bool concat_shape(AgCall *c) {
    int axis = ag_call_axis(c, 0, *(const int *)c->options);
    if (axis < 0 || !ag_out_like(c, 0, c->in[0])) return false;
    for (int i = 1; i < c->n_in; i++) {
        const Tensor *x = c->in[i];
        bool fits = x->ndim == c->in[0]->ndim;
        for (int d = 0; d < x->ndim && fits; d++)
            fits = d == axis || x->shape[d] == c->in[0]->shape[d];
        if (!fits) return ag_call_fail(c, "argument %d does not fit argument 0", i);
        int64_t *size = &c->out[0].shape[axis];
        if (__builtin_add_overflow(*size, x->shape[axis], size))
            return ag_call_fail(c, "the joined axis is too large");
    }
    return true;
}

static bool concat_value(AgCall *c) {
    int axis = tensor_axis(c->in[0], *(const int *)c->options);
    int64_t start = 0;
    for (int i = 0; i < c->n_in; i++) {
        int64_t n = c->in[i]->shape[axis];
        Tensor part = tensor_narrow(&c->out[0], axis, start, n);
        tensor_convert(&part, c->in[i]);
        start += n;
    }
    return true;
}

static bool concat_vjp(AgVjp *v) {
    int axis = *(const int *)v->options;
    int64_t start = 0;
    for (int i = 0; i < v->n_in; i++) {
        int64_t n = ag_dim(v->in[i], axis);
        if (v->need[i]) v->gin[i] = ag_narrow(v->gout[0], axis, start, n);
        start += n;
    }
    return true;
}

static const AgSample concat_samples[] = {
    {"rows", 3, {AG_IN(-1, 1, 2, 3), AG_IN(-1, 1, 1, 3), AG_IN(-1, 1, 2, 3)}, AG_WITH(int, 0),
     NULL},
    {"columns", 2, {AG_IN(-1, 1, 2, 3), AG_IN(-1, 1, 2, 1)}, AG_WITH(int, -1), NULL},
    {"one", 1, {AG_IN(-1, 1, 2, 3)}, AG_WITH(int, 0), NULL},
    {"with nothing", 2, {AG_IN(-1, 1, 0, 3), AG_IN(-1, 1, 2, 3)}, AG_WITH(int, 0), NULL},
    {0},
};
static const AgSample concat_errors[] = {
    {"sizes", 2, {AG_IN(-1, 1, 2, 3), AG_IN(-1, 1, 2, 4)}, AG_WITH(int, 0), "argument 1 does not"},
    {"axes", 2, {AG_IN(-1, 1, 2, 3), AG_IN(-1, 1, 3)}, AG_WITH(int, 0), "argument 1 does not"},
    {"scalar", 2, {AG_IN(-1, 1), AG_IN(-1, 1)}, AG_WITH(int, 0), "out of range"},
    {"dtypes", 2, {AG_IN_DTYPE("f64", -1, 1, 2), AG_IN_DTYPE("i64", 0, 3, 2)}, AG_WITH(int, 0),
     "mixed dtypes"},
    {0},
};
const AgOp ag_op_concat = {"concat", "joined along an axis", "a*:a", concat_shape, concat_value,
                           concat_vjp, NULL, concat_samples, concat_errors, false, NULL};

/* ---- stack ---- */

static bool stack_shape(AgCall *c) {
    int axis = *(const int *)c->options;
    const Tensor *x = c->in[0];
    if (axis < 0 || axis > x->ndim)
        return ag_call_fail(c, "no place for an axis before %d of %d", axis, x->ndim);
    for (int i = 1; i < c->n_in; i++)
        if (!tensor_same_shape(x, c->in[i]))
            return ag_call_fail(c, "argument %d does not fit argument 0", i);
    int64_t size[TENSOR_MAX_DIMS + 1];
    for (int d = 0; d <= x->ndim; d++)
        size[d] = d < axis ? x->shape[d] : d == axis ? c->n_in : x->shape[d - 1];
    return ag_out_shape(c, 0, x->ndim + 1, size);
}

static bool stack_value(AgCall *c) {
    int axis = *(const int *)c->options;
    for (int i = 0; i < c->n_in; i++) {
        Tensor part = tensor_select(&c->out[0], axis, i);
        tensor_convert(&part, c->in[i]);
    }
    return true;
}

static bool stack_vjp(AgVjp *v) {
    int axis = *(const int *)v->options;
    for (int i = 0; i < v->n_in; i++)
        if (v->need[i]) v->gin[i] = ag_select(v->gout[0], axis, i);
    return true;
}

static const AgSample stack_samples[] = {
    {"first", 3, {AG_IN(-1, 1, 2, 3), AG_IN(-1, 1, 2, 3), AG_IN(-1, 1, 2, 3)}, AG_WITH(int, 0),
     NULL},
    {"last", 2, {AG_IN(-1, 1, 2, 3), AG_IN(-1, 1, 2, 3)}, AG_WITH(int, 2), NULL},
    {"scalars", 2, {AG_IN(-1, 1), AG_IN(-1, 1)}, AG_WITH(int, 0), NULL},
    {"empty", 2, {AG_IN(-1, 1, 0), AG_IN(-1, 1, 0)}, AG_WITH(int, 0), NULL},
    {0},
};
static const AgSample stack_errors[] = {
    {"shapes", 2, {AG_IN(-1, 1, 2), AG_IN(-1, 1, 3)}, AG_WITH(int, 0), "argument 1 does not"},
    {"axis", 1, {AG_IN(-1, 1, 2)}, AG_WITH(int, 2), "no place"},
    {0},
};
const AgOp ag_op_stack = {"stack", "joined along a new axis", "a*:a", stack_shape, stack_value,
                          stack_vjp, NULL, stack_samples, stack_errors, false, NULL};

static AgVar join(const AgOp *op, int n, const AgVar *x, int axis) {
    if (n >= 1) return ag_apply1(op, n, x, &axis, sizeof axis);
    return (AgVar){NULL, 0, 0}; /* no operand, no tape to tell */
}
AgVar ag_concat(int n, const AgVar *x, int axis) { return join(&ag_op_concat, n, x, axis); }
AgVar ag_stack(int n, const AgVar *x, int axis) { return join(&ag_op_stack, n, x, axis); }
