/* reshape, transpose, permute, flip, unsqueeze, squeeze, expand, narrow, slice, select, chunk,
 * split, alias: views.
 *
 * shape() makes the view; only reshape has a value(), for strides that allow none.  Each
 * gradient rule is the inverse view, or the op that undoes it; a sweep without create_graph
 * applies shape() to the gradient's own buffer instead. */
#include "autograd/ops/axes.h"
#include "autograd/tape.h"

static bool view(AgCall *c, Tensor v) {
    c->out[0] = v;
    return true;
}

static AgVar apply(const AgOp *op, AgVar x, const void *options, size_t size) {
    return ag_apply1(op, 1, &x, options, size);
}

/* ---- reshape ---- */

static bool reshape_shape(AgCall *c) {
    const AgShape *o = c->options;
    const Tensor *x = c->in[0];
    int64_t size[TENSOR_MAX_DIMS], known = 1, n = tensor_numel(x);
    int free_axis = -1;
    for (int d = 0; d < o->ndim; d++) {
        size[d] = o->shape[d];
        if (size[d] == -1 && free_axis < 0) free_axis = d;
        else if (size[d] < 0) return ag_call_fail(c, "size %lld", (long long)size[d]);
        else if (__builtin_mul_overflow(known, size[d], &known))
            return ag_call_fail(c, "the new shape has too many elements");
    }
    if (free_axis >= 0) {
        if (known == 0) return ag_call_fail(c, "a size of -1 beside a size of 0 is undetermined");
        size[free_axis] = n / known;
        known *= size[free_axis];
    }
    if (known != n)
        return ag_call_fail(c, "%lld elements do not fit a shape of %lld", (long long)n,
                            (long long)known);
    Tensor v = tensor_reshape(x, o->ndim, size);
    return tensor_is_nil(&v) ? ag_out_shape(c, 0, o->ndim, size) : view(c, v);
}

/* Where strides allow no view. */
static bool reshape_value(AgCall *c) {
    const Tensor *x = c->in[0];
    Tensor y = tensor_wrap(c->out[0].data, x->dtype, x->ndim, x->shape);
    tensor_convert(&y, x);
    return true;
}

static bool reshape_vjp(AgVjp *v) {
    v->gin[0] = ag_reshape_like(v->gout[0], ag_value(v->in[0]));
    return true;
}

static const AgSample reshape_samples[] = {
    {"flatten", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgShape, 1, {12}), NULL},
    {"split", 1, {AG_IN(-1, 1, 12)}, AG_WITH(AgShape, 3, {2, -1, 3}), NULL},
    {"to a scalar", 1, {AG_IN(-1, 1, 1, 1)}, AG_WITH(AgShape, 0, {0}), NULL},
    {"empty", 1, {AG_IN(-1, 1, 0, 4)}, AG_WITH(AgShape, 2, {2, 0}), NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(AgShape, 2, {1, -1}), NULL},
    {0},
};
static const AgSample reshape_errors[] = {
    {"count", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgShape, 1, {11}), "12 elements"},
    {"negative", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgShape, 2, {-1, -1}), "size -1"},
    {"undetermined", 1, {AG_IN(-1, 1, 0)}, AG_WITH(AgShape, 2, {0, -1}), "undetermined"},
    {"remainder", 1, {AG_IN(-1, 1, 10)}, AG_WITH(AgShape, 2, {3, -1}), "10 elements"},
    {0},
};
const AgOp ag_op_reshape = {"reshape",   "the same elements, another shape", "a:a",
                            reshape_shape, reshape_value, reshape_vjp, NULL, reshape_samples,
                            reshape_errors, true, NULL};
AgVar ag_reshape(AgVar x, int ndim, const int64_t *shape) {
    AgShape o;
    if (!ag_shape_options(x, "reshape", ndim, shape, &o)) return ag_none(x);
    return apply(&ag_op_reshape, x, &o, sizeof o);
}

/* ---- permute, and transpose by it ---- */

typedef struct {
    int n, axis[TENSOR_MAX_DIMS];
} Axes;

static bool permute_shape(AgCall *c) {
    const Axes *o = c->options;
    if (o->n != c->in[0]->ndim)
        return ag_call_fail(c, "%d axes for %d", o->n, c->in[0]->ndim);
    Tensor v = tensor_permute(c->in[0], o->axis);
    return tensor_is_nil(&v) ? ag_call_fail(c, "axes are no permutation") : view(c, v);
}

static bool permute_vjp(AgVjp *v) {
    const Axes *o = v->options;
    int inverse[TENSOR_MAX_DIMS] = {0};
    for (int d = 0; d < o->n; d++) inverse[tensor_axis(ag_value(v->in[0]), o->axis[d])] = d;
    v->gin[0] = ag_permute(v->gout[0], inverse);
    return true;
}

static const AgSample permute_samples[] = {
    {"rotate", 1, {AG_IN(-1, 1, 2, 3, 4)}, AG_WITH(Axes, 3, {2, 0, 1}), NULL},
    {"negative axes", 1, {AG_IN(-1, 1, 2, 3)}, AG_WITH(Axes, 2, {-1, 0}), NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(Axes, 0, {0}), NULL},
    {"empty", 1, {AG_IN(-1, 1, 2, 0, 3)}, AG_WITH(Axes, 3, {1, 2, 0}), NULL},
    {0},
};
static const AgSample permute_errors[] = {
    {"twice", 1, {AG_IN(-1, 1, 2, 3)}, AG_WITH(Axes, 2, {0, 0}), "no permutation"},
    {"range", 1, {AG_IN(-1, 1, 2, 3)}, AG_WITH(Axes, 2, {0, 2}), "no permutation"},
    {"count", 1, {AG_IN(-1, 1, 2, 3)}, AG_WITH(Axes, 1, {0}), "1 axes for 2"},
    {0},
};
const AgOp ag_op_permute = {"permute",   "axes in another order", "a:a",           permute_shape,
                            NULL,        permute_vjp,             NULL,            permute_samples,
                            permute_errors, true, NULL};
AgVar ag_permute(AgVar x, const int *axes) {
    Axes o = {.n = ag_ok(x) ? ag_ndim(x) : 0};
    for (int d = 0; d < o.n; d++) o.axis[d] = axes[d];
    return apply(&ag_op_permute, x, &o, sizeof o);
}

typedef struct {
    int a, b;
} Pair;

static bool transpose_shape(AgCall *c) {
    const Pair *o = c->options;
    const Tensor *x = c->in[0];
    int a = ag_call_vector_axis(c, 0, o->a), b = ag_call_vector_axis(c, 0, o->b);
    if (a < 0 || b < 0) return false;
    return view(c, x->ndim ? tensor_transpose(x, a, b) : *x);
}

static bool transpose_vjp(AgVjp *v) {
    const Pair *o = v->options;
    v->gin[0] = ag_transpose(v->gout[0], o->a, o->b);
    return true;
}

static void transpose_write_options(const void *options, char *buf, size_t n) {
    const Pair *o = options;
    snprintf(buf, n, "%d, %d", o->a, o->b);
}

static const AgSample transpose_samples[] = {
    {"matrix", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(Pair, 0, 1), NULL},
    {"outer", 1, {AG_IN(-1, 1, 2, 3, 4)}, AG_WITH(Pair, 0, -1), NULL},
    {"itself", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Pair, 0, 0), NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(Pair, 0, -1), NULL},
    {"empty", 1, {AG_IN(-1, 1, 2, 0)}, AG_WITH(Pair, 0, 1), NULL},
    {0},
};
static const AgSample transpose_errors[] = {
    {"range", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(Pair, 0, 2), "axis 2 out of range"},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(Pair, 0, 1), "out of range"},
    {0},
};
const AgOp ag_op_transpose = {"transpose", "two axes swapped", "a:a", transpose_shape, NULL,
                              transpose_vjp, NULL, transpose_samples, transpose_errors, true,
                              transpose_write_options};
AgVar ag_transpose(AgVar x, int axis_a, int axis_b) {
    return apply(&ag_op_transpose, x, &(Pair){axis_a, axis_b}, sizeof(Pair));
}

/* ---- flip ---- */

static bool flip_shape(AgCall *c) {
    const AgAxes *o = c->options;
    bool flipped[TENSOR_MAX_DIMS];
    if (!ag_axes_named(c, *o, flipped)) return false;
    Tensor y = *c->in[0];
    for (int d = 0; d < y.ndim; d++)
        if (flipped[d]) y = tensor_flip(&y, d);
    return view(c, y);
}

static bool flip_vjp(AgVjp *v) {
    v->gin[0] = ag_flip(v->gout[0], *(const AgAxes *)v->options);
    return true;
}

static const AgSample flip_samples[] = {
    {"rows", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgAxes, 1, {0}), NULL},
    {"both axes", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(AgAxes, 0, {0}), NULL},
    {"two of three", 1, {AG_IN(-1, 1, 2, 3, 2)}, AG_WITH(AgAxes, 2, {-1, 0}), NULL},
    {"longer than a vector", 1, {AG_IN(-1, 1, 37)}, AG_WITH(AgAxes, 1, {0}), NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(AgAxes, 1, {0}), NULL},
    {"empty", 1, {AG_IN(-1, 1, 2, 0)}, AG_WITH(AgAxes, 1, {0}), NULL},
    {0},
};
static const AgSample flip_errors[] = {
    {"axis", 1, {AG_IN(-1, 1, 3)}, AG_WITH(AgAxes, 1, {1}), "axis 1 out of range"},
    {"twice", 1, {AG_IN(-1, 1, 3)}, AG_WITH(AgAxes, 2, {0, -1}), "named twice"},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(AgAxes, 1, {1}), "out of range"},
    {0},
};
const AgOp ag_op_flip = {"flip", "axes in reverse order", "a:a", flip_shape, NULL, flip_vjp, NULL,
                         flip_samples, flip_errors, true, NULL};
AgVar ag_flip(AgVar x, AgAxes axes) { return apply(&ag_op_flip, x, &axes, sizeof axes); }

/* ---- squeeze ---- */

static bool squeeze_shape(AgCall *c) {
    const AgAxes *o = c->options;
    const Tensor *x = c->in[0];
    bool named[TENSOR_MAX_DIMS];
    if (!ag_axes_named(c, *o, named)) return false;
    int64_t size[TENSOR_MAX_DIMS];
    int n = 0;
    for (int d = 0; d < x->ndim; d++)
        if (!named[d] || x->shape[d] != 1) size[n++] = x->shape[d];
    return view(c, tensor_reshape(x, n, size));
}

static const AgSample squeeze_samples[] = {
    {"every axis of 1", 1, {AG_IN(-1, 1, 1, 3, 1, 2)}, AG_WITH(AgAxes, 0, {0}), NULL},
    {"one of them", 1, {AG_IN(-1, 1, 1, 3, 1)}, AG_WITH(AgAxes, 1, {-1}), NULL},
    {"another size stays", 1, {AG_IN(-1, 1, 1, 3)}, AG_WITH(AgAxes, 2, {0, 1}), NULL},
    {"to a scalar", 1, {AG_IN(-1, 1, 1)}, AG_WITH(AgAxes, 1, {0}), NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(AgAxes, 1, {-1}), NULL},
    {"empty", 1, {AG_IN(-1, 1, 1, 0)}, AG_WITH(AgAxes, 0, {0}), NULL},
    {0},
};
static const AgSample squeeze_errors[] = {
    {"axis", 1, {AG_IN(-1, 1, 1, 3)}, AG_WITH(AgAxes, 1, {2}), "axis 2 out of range"},
    {"twice", 1, {AG_IN(-1, 1, 1, 3)}, AG_WITH(AgAxes, 2, {0, -2}), "named twice"},
    {0},
};
const AgOp ag_op_squeeze = {"squeeze", "without axes of size 1", "a:a", squeeze_shape, NULL,
                            reshape_vjp, NULL, squeeze_samples, squeeze_errors, true, NULL};
AgVar ag_squeeze(AgVar x, AgAxes axes) { return apply(&ag_op_squeeze, x, &axes, sizeof axes); }

/* ---- unsqueeze ---- */

static bool unsqueeze_shape(AgCall *c) {
    int axis = *(const int *)c->options;
    Tensor v = tensor_unsqueeze(c->in[0], axis);
    if (tensor_is_nil(&v))
        return ag_call_fail(c, "no place for an axis before %d of %d", axis, c->in[0]->ndim);
    return view(c, v);
}

static const AgSample unsqueeze_samples[] = {
    {"first", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(int, 0), NULL},
    {"last", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(int, 2), NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(int, 0), NULL},
    {"empty", 1, {AG_IN(-1, 1, 2, 0)}, AG_WITH(int, 1), NULL},
    {0},
};
static const AgSample unsqueeze_errors[] = {
    {"range", 1, {AG_IN(-1, 1, 3)}, AG_WITH(int, 2), "no place"},
    {"negative", 1, {AG_IN(-1, 1, 3)}, AG_WITH(int, -1), "no place"},
    {0},
};
const AgOp ag_op_unsqueeze = {"unsqueeze", "an axis of size 1", "a:a", unsqueeze_shape, NULL,
                              reshape_vjp, NULL, unsqueeze_samples, unsqueeze_errors, true, NULL};
AgVar ag_unsqueeze(AgVar x, int axis) { return apply(&ag_op_unsqueeze, x, &axis, sizeof axis); }

/* ---- expand ---- */

static bool expand_shape(AgCall *c) {
    const AgShape *o = c->options;
    const Tensor *x = c->in[0];
    Tensor want = {.dtype = x->dtype, .ndim = o->ndim};
    for (int d = 0; d < o->ndim; d++) {
        int own = d - (o->ndim - x->ndim);
        want.shape[d] = o->shape[d] == -1 && own >= 0 ? x->shape[own] : o->shape[d];
        if (want.shape[d] < 0) return ag_call_fail(c, "size %lld", (long long)want.shape[d]);
    }
    Tensor v = tensor_expand(x, want.ndim, want.shape);
    char text[TENSOR_DESCRIBE_SIZE];
    if (tensor_is_nil(&v))
        return ag_call_fail(c, "does not expand to %s", tensor_describe(&want, text, sizeof text));
    return view(c, v);
}

static bool expand_vjp(AgVjp *v) {
    const Tensor *into = ag_vjp_into(v, 0), *g = ag_value(v->gout[0]);
    if (into) {
        Tensor y = *into; /* with g's number of axes */
        while (y.ndim < g->ndim) y = tensor_unsqueeze(&y, 0);
        tensor_accumulate_sum(&y, g);
    } else {
        v->gin[0] = ag_sum_like(v->gout[0], v->in[0]);
    }
    return true;
}

static const AgSample expand_samples[] = {
    {"rows", 1, {AG_IN(-1, 1, 4)}, AG_WITH(AgShape, 2, {3, 4}), NULL},
    {"column", 1, {AG_IN(-1, 1, 3, 1)}, AG_WITH(AgShape, 3, {2, -1, 4}), NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(AgShape, 2, {2, 3}), NULL},
    {"to nothing", 1, {AG_IN(-1, 1, 1, 3)}, AG_WITH(AgShape, 2, {0, 3}), NULL},
    {"same", 1, {AG_IN(-1, 1, 2, 3)}, AG_WITH(AgShape, 2, {2, 3}), NULL},
    {"of nothing", 1, {AG_IN(-1, 1, 1, 0)}, AG_WITH(AgShape, 2, {3, 0}), NULL},
    {0},
};
static const AgSample expand_errors[] = {
    {"size", 1, {AG_IN(-1, 1, 3)}, AG_WITH(AgShape, 1, {4}), "does not expand to f64[4]"},
    {"fewer axes", 1, {AG_IN(-1, 1, 2, 3)}, AG_WITH(AgShape, 1, {3}), "does not expand"},
    {"new axis of -1", 1, {AG_IN(-1, 1, 3)}, AG_WITH(AgShape, 2, {-1, 3}), "size -1"},
    {0},
};
const AgOp ag_op_expand = {"expand", "sizes of 1 repeated", "a:a", expand_shape, NULL, expand_vjp,
                           NULL, expand_samples, expand_errors, false, NULL};
AgVar ag_expand(AgVar x, int ndim, const int64_t *shape) {
    AgShape o;
    if (!ag_shape_options(x, "expand", ndim, shape, &o)) return ag_none(x);
    return apply(&ag_op_expand, x, &o, sizeof o);
}

/* ---- narrow ---- */

typedef struct {
    int axis;
    int64_t start, length;
} Range;

static bool narrow_shape(AgCall *c) {
    const Range *o = c->options;
    if (ag_call_axis(c, 0, o->axis) < 0) return false;
    Tensor v = tensor_narrow(c->in[0], o->axis, o->start, o->length);
    if (tensor_is_nil(&v))
        return ag_call_fail(c, "start %lld, length %lld outside the axis", (long long)o->start,
                            (long long)o->length);
    return view(c, v);
}

static bool narrow_vjp(AgVjp *v) {
    const Range *o = v->options;
    v->gin[0] = ag_widen(v->gout[0], o->axis, o->start, ag_dim(v->in[0], o->axis));
    return true;
}

static void narrow_write_options(const void *options, char *buf, size_t n) {
    const Range *o = options;
    snprintf(buf, n, "%d, %lld, %lld", o->axis, (long long)o->start, (long long)o->length);
}

static const AgSample narrow_samples[] = {
    {"columns", 1, {AG_IN(-1, 1, 3, 5)}, AG_WITH(Range, 1, 2, 2), NULL},
    {"rows", 1, {AG_IN(-1, 1, 4, 2, 3)}, AG_WITH(Range, 0, 1, 2), NULL},
    {"all", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Range, -1, 0, 3), NULL},
    {"none", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Range, 0, 3, 0), NULL},
    {"of nothing", 1, {AG_IN(-1, 1, 0, 3)}, AG_WITH(Range, 1, 1, 2), NULL},
    {0},
};
static const AgSample narrow_errors[] = {
    {"end", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Range, 0, 2, 2), "start 2, length 2 outside"},
    {"negative", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Range, 0, 0, -1), "outside"},
    {"overflow", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Range, 0, 1, INT64_MAX), "outside"},
    {"axis", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Range, 1, 0, 1), "axis 1 out of range"},
    {0},
};
const AgOp ag_op_narrow = {"narrow", "x[.., start:start+length, ..]", "a:a", narrow_shape, NULL,
                           narrow_vjp, NULL, narrow_samples, narrow_errors, true,
                           narrow_write_options};
AgVar ag_narrow(AgVar x, int axis, int64_t start, int64_t length) {
    return apply(&ag_op_narrow, x, &(Range){axis, start, length}, sizeof(Range));
}

/* ---- split ---- */

/* False, with the error recorded, if the sizes do not make up the axis. */
static bool check_parts(AgVar x, int axis, int n, const int64_t *sizes) {
    const Tensor *v = ag_value(x);
    AgCall c = {.tape = x.tape, .op = &(const AgOp){.name = "split"}, .n_in = 1, .in = &v};
    int d = ag_call_axis(&c, 0, axis);
    if (d < 0) return false;
    int64_t left = v->shape[d];
    for (int i = 0; i < n; i++) {
        if (sizes[i] < 0) return ag_call_fail(&c, "size %lld", (long long)sizes[i]);
        if (sizes[i] > left)
            return ag_call_fail(&c, "the sizes add up to more than %lld", (long long)v->shape[d]);
        left -= sizes[i];
    }
    return left == 0 || ag_call_fail(&c, "the sizes add up to %lld of %lld",
                                     (long long)(v->shape[d] - left), (long long)v->shape[d]);
}

bool ag_split(AgVar x, int axis, int n, const int64_t *sizes, AgVar *parts) {
    bool ok = x.tape && ag_tape_ok(x.tape) && ag_check_var(x.tape, "split", 0, x) &&
              check_parts(x, axis, n, sizes);
    int64_t start = 0;
    for (int i = 0; i < n; i++) {
        parts[i] = ok ? ag_narrow(x, axis, start, sizes[i]) : ag_none(x);
        ok = ok && ag_ok(parts[i]);
        start += ok ? sizes[i] : 0;
    }
    return ok;
}

/* ---- slice ---- */

typedef struct {
    int axis;
    int64_t start, end, step;
} Slice;

static bool slice_shape(AgCall *c) {
    const Slice *o = c->options;
    if (ag_call_axis(c, 0, o->axis) < 0) return false;
    if (o->step < 1) return ag_call_fail(c, "step %lld", (long long)o->step);
    return view(c, tensor_slice(c->in[0], o->axis, o->start, o->end, o->step));
}

static bool slice_vjp(AgVjp *v) {
    const Slice *o = v->options;
    int64_t n = ag_dim(v->in[0], o->axis), start = o->start < 0 ? o->start + n : o->start;
    start = start < 0 ? 0 : start > n ? n : start;
    v->gin[0] = ag_widen_steps(v->gout[0], o->axis, start, o->step, n);
    return true;
}

static const AgSample slice_samples[] = {
    {"every second column", 1, {AG_IN(-1, 1, 3, 5)}, AG_WITH(Slice, 1, 0, INT64_MAX, 2), NULL},
    {"from the end", 1, {AG_IN(-1, 1, 5, 2)}, AG_WITH(Slice, 0, -4, -1, 1), NULL},
    {"cut to the axis", 1, {AG_IN(-1, 1, 4)}, AG_WITH(Slice, -1, -9, 9, 3), NULL},
    {"one", 1, {AG_IN(-1, 1, 4, 2)}, AG_WITH(Slice, 0, 1, 4, INT64_MAX), NULL},
    {"none", 1, {AG_IN(-1, 1, 4)}, AG_WITH(Slice, 0, 3, 1, 2), NULL},
    {"behind the end", 1, {AG_IN(-1, 1, 4)}, AG_WITH(Slice, 0, 9, 12, 2), NULL},
    {"longer than a vector", 1, {AG_IN(-1, 1, 75)}, AG_WITH(Slice, 0, 1, INT64_MAX, 2), NULL},
    {"of nothing", 1, {AG_IN(-1, 1, 0)}, AG_WITH(Slice, 0, 0, INT64_MAX, 1), NULL},
    {0},
};
static const AgSample slice_errors[] = {
    {"step 0", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Slice, 0, 0, 3, 0), "step 0"},
    {"backwards", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Slice, 0, 3, 0, -1), "step -1"},
    {"axis", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Slice, 1, 0, 3, 1), "axis 1 out of range"},
    {"scalar", 1, {AG_IN(-1, 1)}, AG_WITH(Slice, 0, 0, 1, 1), "out of range"},
    {0},
};
const AgOp ag_op_slice = {"slice", "x[.., start:end:step, ..]", "a:a", slice_shape, NULL,
                          slice_vjp, NULL, slice_samples, slice_errors, true, NULL};
AgVar ag_slice(AgVar x, int axis, int64_t start, int64_t end, int64_t step) {
    return apply(&ag_op_slice, x, &(Slice){axis, start, end, step}, sizeof(Slice));
}

/* ---- select ---- */

typedef struct {
    int axis;
    int64_t index;
} Place;

static bool select_shape(AgCall *c) {
    const Place *o = c->options;
    int axis = ag_call_axis(c, 0, o->axis);
    if (axis < 0) return false;
    Tensor v = tensor_select(c->in[0], axis, o->index);
    if (tensor_is_nil(&v))
        return ag_call_fail(c, "index %lld is outside 0..%lld", (long long)o->index,
                            (long long)c->in[0]->shape[axis] - 1);
    return view(c, v);
}

static bool select_vjp(AgVjp *v) {
    const Place *o = v->options;
    int axis = tensor_axis(ag_value(v->in[0]), o->axis);
    v->gin[0] = ag_widen(ag_unsqueeze(v->gout[0], axis), axis, o->index, ag_dim(v->in[0], axis));
    return true;
}

static void select_write_options(const void *options, char *buf, size_t n) {
    const Place *o = options;
    snprintf(buf, n, "%d, %lld", o->axis, (long long)o->index);
}

static const AgSample select_samples[] = {
    {"row", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(Place, 0, 2), NULL},
    {"column", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(Place, -1, 0), NULL},
    {"to a scalar", 1, {AG_IN(-1, 1, 3)}, AG_WITH(Place, 0, 1), NULL},
    {"only one", 1, {AG_IN(-1, 1, 1, 3)}, AG_WITH(Place, 0, 0), NULL},
    {"of nothing", 1, {AG_IN(-1, 1, 2, 0)}, AG_WITH(Place, 0, 1), NULL},
    {0},
};
static const AgSample select_errors[] = {
    {"range", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(Place, 0, 3), "index 3 is outside 0..2"},
    {"negative", 1, {AG_IN(-1, 1, 3, 4)}, AG_WITH(Place, 0, -1), "index -1"},
    {"axis", 1, {AG_IN(-1, 1)}, AG_WITH(Place, 0, 0), "out of range"},
    {0},
};
const AgOp ag_op_select = {"select", "x[.., index, ..]", "a:a", select_shape, NULL, select_vjp,
                           NULL, select_samples, select_errors, true, select_write_options};
AgVar ag_select(AgVar x, int axis, int64_t index) {
    return apply(&ag_op_select, x, &(Place){axis, index}, sizeof(Place));
}

/* ---- chunk ---- */

typedef struct {
    int axis;
    int64_t chunks, index;
} Part;

/* Part `index` as a range; false if there is no such part. */
static bool range_of_part(const Part *o, int64_t n, Range *r) {
    if (o->chunks < 1 || o->index < 0 || o->index >= o->chunks) return false;
    int64_t size = n / o->chunks + (n % o->chunks != 0);
    if (o->index > 0 && size > 0 && o->index > (n - 1) / size) return false; /* all parts of nothing
                                                                               are empty */
    r->start = o->index * size;
    r->length = n - r->start < size ? n - r->start : size;
    return true;
}

static bool chunk_shape(AgCall *c) {
    const Part *o = c->options;
    int axis = ag_call_axis(c, 0, o->axis);
    if (axis < 0) return false;
    Range r;
    if (!range_of_part(o, c->in[0]->shape[axis], &r))
        return ag_call_fail(c, "no part %lld of %lld", (long long)o->index, (long long)o->chunks);
    return view(c, tensor_narrow(c->in[0], axis, r.start, r.length));
}

static bool chunk_vjp(AgVjp *v) {
    const Part *o = v->options;
    Range r;
    int64_t n = ag_dim(v->in[0], o->axis);
    if (range_of_part(o, n, &r)) v->gin[0] = ag_widen(v->gout[0], o->axis, r.start, n);
    return true;
}

static void chunk_write_options(const void *options, char *buf, size_t n) {
    const Part *o = options;
    snprintf(buf, n, "%d, %lld, %lld", o->axis, (long long)o->chunks, (long long)o->index);
}

static const AgSample chunk_samples[] = {
    {"gate", 1, {AG_IN(-1, 1, 2, 8)}, AG_WITH(Part, 1, 4, 2), NULL},
    {"last, shorter", 1, {AG_IN(-1, 1, 7)}, AG_WITH(Part, 0, 3, 2), NULL},
    {"only one", 1, {AG_IN(-1, 1, 3, 2)}, AG_WITH(Part, 0, 1, 0), NULL},
    {"of nothing", 1, {AG_IN(-1, 1, 0)}, AG_WITH(Part, 0, 2, 1), NULL},
    {0},
};
static const AgSample chunk_errors[] = {
    {"range", 1, {AG_IN(-1, 1, 8)}, AG_WITH(Part, 0, 4, 4), "no part 4 of 4"},
    {"fewer parts", 1, {AG_IN(-1, 1, 5)}, AG_WITH(Part, 0, 4, 3), "no part 3 of 4"},
    {"none", 1, {AG_IN(-1, 1, 8)}, AG_WITH(Part, 0, 0, 0), "no part 0 of 0"},
    {"axis", 1, {AG_IN(-1, 1, 8)}, AG_WITH(Part, 1, 2, 0), "out of range"},
    {0},
};
const AgOp ag_op_chunk = {"chunk", "one of equal parts", "a:a", chunk_shape, NULL, chunk_vjp, NULL,
                          chunk_samples, chunk_errors, true, chunk_write_options};
AgVar ag_chunk(AgVar x, int axis, int64_t chunks, int64_t index) {
    return apply(&ag_op_chunk, x, &(Part){axis, chunks, index}, sizeof(Part));
}

/* ---- alias ---- */

static bool alias_shape(AgCall *c) { return view(c, *c->in[0]); }

static bool alias_vjp(AgVjp *v) {
    v->gin[0] = v->gout[0];
    return true;
}

static const AgSample alias_samples[] = {
    {"matrix", 1, {AG_IN(-1, 1, 3, 4)}, NULL, 0, NULL},
    {"scalar", 1, {AG_IN(-1, 1)}, NULL, 0, NULL},
    {"empty", 1, {AG_IN(-1, 1, 2, 0)}, NULL, 0, NULL},
    {0},
};
static const AgSample alias_errors[] = {
    {"two", 2, {AG_IN(-1, 1, 3), AG_IN(-1, 1, 3)}, NULL, 0, "2 arguments"},
    {0},
};
const AgOp ag_op_alias = {"alias", "x itself", "a:a", alias_shape, NULL, alias_vjp, NULL,
                          alias_samples, alias_errors, true, NULL};
AgVar ag_alias(AgVar x) { return apply(&ag_op_alias, x, NULL, 0); }
