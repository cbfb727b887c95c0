/* full, arange, one_hot, length_mask, cast: values from numbers and other dtypes. */
#include <math.h>

#include "autograd/ops/ops.h"

static AgVar make(const AgOp *op, AgTape *t, const void *options, size_t size) {
    AgVar out[AG_MAX_OUT];
    ag_apply(op, t, 0, NULL, options, size, out);
    return out[0];
}

static bool is_dtype(TensorDtype dtype) {
    return dtype == TENSOR_F32 || dtype == TENSOR_F64 || dtype == TENSOR_I64 || dtype == TENSOR_U8;
}

static bool set_dtype(AgCall *c, TensorDtype dtype) {
    c->out[0].dtype = dtype;
    return is_dtype(dtype) || ag_call_fail(c, "unknown dtype %d", (int)dtype);
}

/* ---- full ---- */

typedef struct {
    TensorDtype dtype;
    AgShape shape;
    double value;
} Full;

static bool full_shape(AgCall *c) {
    const Full *o = c->options;
    for (int d = 0; d < o->shape.ndim; d++)
        if (o->shape.shape[d] < 0)
            return ag_call_fail(c, "size %lld", (long long)o->shape.shape[d]);
    return set_dtype(c, o->dtype) && ag_out_shape(c, 0, o->shape.ndim, o->shape.shape);
}

static bool full_value(AgCall *c) {
    tensor_fill(&c->out[0], ((const Full *)c->options)->value);
    return true;
}

static const AgSample full_samples[] = {
    {"matrix", 0, {{0}}, AG_WITH(Full, TENSOR_F64, {2, {2, 3}}, 1.5), NULL},
    {"scalar", 0, {{0}}, AG_WITH(Full, TENSOR_I64, {0, {0}}, 7), NULL},
    {0},
};
static const AgSample full_errors[] = {
    {"negative", 0, {{0}}, AG_WITH(Full, TENSOR_F64, {1, {-2}}, 0), "size -2"},
    {"dtype", 0, {{0}}, AG_WITH(Full, (TensorDtype)9, {0, {0}}, 0), "unknown dtype 9"},
    {"huge", 0, {{0}}, AG_WITH(Full, TENSOR_F64, {2, {INT64_MAX / 4, 8}}, 0), "too large size"},
    {0},
};
const AgOp ag_op_full = {"full", "one value", ":?",         full_shape,  full_value,
                         NULL,   NULL,        full_samples, full_errors, false, NULL};
AgVar ag_full(AgTape *t, TensorDtype dtype, int ndim, const int64_t *shape, double value) {
    Full o = {.dtype = dtype, .value = value};
    if (!ag_shape_options((AgVar){t, 0, 0}, "full", ndim, shape, &o.shape))
        return (AgVar){t, 0, 0};
    return make(&ag_op_full, t, &o, sizeof o);
}

/* ---- arange ---- */

typedef struct {
    TensorDtype dtype;
    double start, stop, step;
} Arange;

static bool arange_shape(AgCall *c) {
    const Arange *o = c->options;
    double n = ceil((o->stop - o->start) / o->step);
    if (o->step == 0 || !isfinite(o->start) || !isfinite(o->stop) || !isfinite(o->step) ||
        !isfinite(n))
        return ag_call_fail(c, "from %g to %g by %g", o->start, o->stop, o->step);
    if (n > 0x1p52) return ag_call_fail(c, "%g elements", n);
    /* The quotient is rounded, and the last element may have reached stop. */
    double last = o->start + (n - 1) * o->step;
    if (n > 0 && (o->step > 0 ? last >= o->stop : last <= o->stop)) n--;
    return set_dtype(c, o->dtype) && ag_out_shape(c, 0, 1, (int64_t[]){n > 0 ? (int64_t)n : 0});
}

static bool arange_value(AgCall *c) {
    const Arange *o = c->options;
    for (int64_t i = 0; i < c->out[0].shape[0]; i++)
        tensor_set(&c->out[0], i, o->start + (double)i * o->step);
    return true;
}

static const AgSample arange_samples[] = {
    {"indices", 0, {{0}}, AG_WITH(Arange, TENSOR_I64, 0, 5, 1), NULL},
    {"down", 0, {{0}}, AG_WITH(Arange, TENSOR_F64, 1, 0, -.25), NULL},
    {"nothing", 0, {{0}}, AG_WITH(Arange, TENSOR_F64, 1, 0, 1), NULL},
    {0},
};
static const AgSample arange_errors[] = {
    {"step 0", 0, {{0}}, AG_WITH(Arange, TENSOR_I64, 0, 5, 0), "by 0"},
    {"infinite", 0, {{0}}, AG_WITH(Arange, TENSOR_F64, 0, INFINITY, 1), "to inf"},
    {"infinite step", 0, {{0}}, AG_WITH(Arange, TENSOR_F64, 0, 5, INFINITY), "by inf"},
    {"huge", 0, {{0}}, AG_WITH(Arange, TENSOR_F64, 0, 1e300, 1), "elements"},
    {0},
};
const AgOp ag_op_arange = {"arange", "start, start + step, ..", ":?", arange_shape, arange_value,
                           NULL, NULL, arange_samples, arange_errors, false, NULL};
AgVar ag_arange(AgTape *t, TensorDtype dtype, double start, double stop, double step) {
    return make(&ag_op_arange, t, &(Arange){dtype, start, stop, step}, sizeof(Arange));
}

/* ---- one_hot ---- */

typedef struct {
    int64_t n;
    TensorDtype dtype;
} OneHot;

static bool one_hot_shape(AgCall *c) {
    const OneHot *o = c->options;
    const Tensor *index = c->in[0];
    if (o->n < 0) return ag_call_fail(c, "%lld classes", (long long)o->n);
    if (index->ndim == TENSOR_MAX_DIMS) return ag_call_fail(c, "index has too many axes");
    if (!set_dtype(c, o->dtype) || !ag_out_like(c, 0, index)) return false;
    c->out[0].shape[c->out[0].ndim++] = o->n;
    return true;
}

static bool one_hot_value(AgCall *c) {
    const OneHot *o = c->options;
    const Tensor *index = c->in[0];
    if (!ag_call_index(c, 0, o->n, NULL)) return false;
    tensor_fill(&c->out[0], 0);
    for (int64_t i = 0, n = tensor_numel(index); i < n; i++)
        tensor_set(&c->out[0], i * o->n + tensor_get_i64(index, i), 1);
    return true;
}

static const AgSample one_hot_samples[] = {
    {"sequence", 1, {AG_IN(0, 4, 3, 2)}, AG_WITH(OneHot, 4, TENSOR_F64), NULL},
    {"one", 1, {AG_IN(0, 4)}, AG_WITH(OneHot, 4, TENSOR_U8), NULL},
    {"none", 1, {AG_IN(0, 4, 0)}, AG_WITH(OneHot, 4, TENSOR_F64), NULL},
    {0},
};
static const AgSample one_hot_errors[] = {
    {"range", 1, {AG_IN(4, 5, 2)}, AG_WITH(OneHot, 4, TENSOR_F64), "index 4 at entry 0"},
    {"negative n", 1, {AG_IN(0, 1, 0)}, AG_WITH(OneHot, -1, TENSOR_F64), "-1 classes"},
    {"floats", 1, {AG_IN_DTYPE("f64", 0, 4, 2)}, AG_WITH(OneHot, 4, TENSOR_F64), "wants i64"},
    {0},
};
const AgOp ag_op_one_hot = {"one_hot", "1 at the index", "i:?", one_hot_shape, one_hot_value, NULL,
                            NULL, one_hot_samples, one_hot_errors, false, NULL};
AgVar ag_one_hot(AgVar index, int64_t n, TensorDtype dtype) {
    return ag_apply1(&ag_op_one_hot, 1, &index, &(OneHot){n, dtype}, sizeof(OneHot));
}

/* ---- length_mask ---- */

static bool length_mask_shape(AgCall *c) {
    int64_t T = *(const int64_t *)c->options;
    if (T < 0) return ag_call_fail(c, "%lld steps", (long long)T);
    if (c->in[0]->ndim != 1) return ag_call_fail(c, "lengths want one axis [B]");
    return ag_out_shape(c, 0, 2, (int64_t[]){T, c->in[0]->shape[0]});
}

static bool length_mask_value(AgCall *c) {
    int64_t T = *(const int64_t *)c->options, B = c->in[0]->shape[0];
    uint8_t *mask = c->out[0].data;
    for (int64_t b = 0; b < B; b++) {
        int64_t length = tensor_get_i64(c->in[0], b);
        if (length < 0 || length > T)
            return ag_call_fail(c, "length %lld of sequence %lld is outside 0..%lld",
                                (long long)length, (long long)b, (long long)T);
        for (int64_t t = 0; t < T; t++) mask[t * B + b] = t < length;
    }
    return true;
}

static const AgSample length_mask_samples[] = {
    {"some", 1, {AG_IN(0, 6, 4)}, AG_WITH(int64_t, 5), NULL},
    {"no sequence", 1, {AG_IN(0, 6, 0)}, AG_WITH(int64_t, 5), NULL},
    {0},
};
static const AgSample length_mask_errors[] = {
    {"too long", 1, {AG_IN(6, 7, 3)}, AG_WITH(int64_t, 5), "length 6 of sequence 0"},
    {"matrix", 1, {AG_IN(0, 2, 2, 2)}, AG_WITH(int64_t, 5), "one axis"},
    {"negative T", 1, {AG_IN(0, 1, 2)}, AG_WITH(int64_t, -1), "-1 steps"},
    {0},
};
const AgOp ag_op_length_mask = {"length_mask", "1 where t < length", "i:m", length_mask_shape,
                                length_mask_value, NULL, NULL, length_mask_samples,
                                length_mask_errors, false, NULL};
AgVar ag_length_mask(AgVar lengths, int64_t T) {
    return ag_apply1(&ag_op_length_mask, 1, &lengths, &T, sizeof T);
}

/* ---- cast ---- */

static bool cast_shape(AgCall *c) {
    return set_dtype(c, *(const TensorDtype *)c->options) && ag_out_like(c, 0, c->in[0]);
}

static bool cast_value(AgCall *c) {
    tensor_convert(&c->out[0], c->in[0]);
    return true;
}

static bool cast_vjp(AgVjp *v) {
    v->gin[0] = ag_cast(v->gout[0], ag_dtype(v->in[0]));
    return true;
}

/* To F64 only: differences through F32 are noise. */
static const AgSample cast_samples[] = {
    {"matrix", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(TensorDtype, TENSOR_F64), NULL},
    {"from indices", 1, {AG_IN_DTYPE("i64", -3, 9, 5)}, AG_WITH(TensorDtype, TENSOR_F64), NULL},
    {"to a mask", 1, {AG_IN_DTYPE("i64", 0, 2, 5)}, AG_WITH(TensorDtype, TENSOR_U8), NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(TensorDtype, TENSOR_F64), NULL},
    {"empty", 1, {AG_IN(-1, 1, 2, 0)}, AG_WITH(TensorDtype, TENSOR_F64), NULL},
    {0},
};
static const AgSample cast_errors[] = {
    {"dtype", 1, {AG_IN(-1, 1, 3)}, AG_WITH(TensorDtype, (TensorDtype)-1), "unknown dtype -1"},
    {0},
};
const AgOp ag_op_cast = {"cast",   "another dtype", "a:?",        cast_shape,  cast_value,
                         cast_vjp, NULL,            cast_samples, cast_errors, false, NULL};
AgVar ag_cast(AgVar x, TensorDtype dtype) {
    if (ag_ok(x) && ag_dtype(x) == dtype) return x;
    return ag_apply1(&ag_op_cast, 1, &x, &dtype, sizeof dtype);
}
