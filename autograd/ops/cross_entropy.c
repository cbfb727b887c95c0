/* cross_entropy: logsumexp(x) - x[target], in two passes over the logits forward and one back;
 * the probabilities are never stored. */
#include "autograd/ops/ops.h"

typedef struct {
    AgReduction reduction;
    int64_t ignore;
} Options;

/* For the gradient: logsumexp of each row as two numbers, and how many targets count. */
typedef struct {
    Tensor lse;
    double count;
} Saved;

static bool shape(AgCall *c) {
    const Options *o = c->options;
    const Tensor *x = c->in[0], *target = c->in[1];
    bool fits = x->ndim == target->ndim + 1;
    for (int d = 0; d < target->ndim && fits; d++) fits = x->shape[d] == target->shape[d];
    if (!fits) return ag_call_fail(c, "wants logits [.., V] and targets [..]");
    if (x->shape[x->ndim - 1] == 0) return ag_call_fail(c, "no classes");
    if (o->ignore > (int64_t)1 << 53 || o->ignore < -((int64_t)1 << 53))
        return ag_call_fail(c, "ignore_index %lld is beyond 2^53", (long long)o->ignore);
    if (o->reduction != AG_MEAN && o->reduction != AG_SUM && o->reduction != AG_NONE)
        return ag_call_fail(c, "unknown reduction %d", (int)o->reduction);
    return ag_out_shape(c, 0, o->reduction == AG_NONE ? target->ndim : 0, target->shape);
}

/* logits as [rows, V] and targets as [rows]. */
static void rows_of(const Tensor *x, const Tensor *target, Tensor *x2, Tensor *target1) {
    int64_t rows = tensor_numel(target);
    *x2 = tensor_wrap(x->data, x->dtype, 2, (int64_t[]){rows, x->shape[x->ndim - 1]});
    *target1 = tensor_wrap(target->data, target->dtype, 1, &rows);
}

static double count_targets(const Tensor *target, int64_t ignore) {
    const int64_t *p = target->data;
    int64_t count = 0;
    for (int64_t i = 0, n = tensor_numel(target); i < n; i++) count += p[i] != ignore;
    return (double)count;
}

static bool value(AgCall *c) {
    const Options *o = c->options;
    int64_t V = c->in[0]->shape[c->in[0]->ndim - 1];
    if (!ag_call_index(c, 1, V, &o->ignore)) return false;
    Tensor x = ag_call_contiguous(c, c->in[0]), target = ag_call_contiguous(c, c->in[1]);
    if (tensor_is_nil(&x) || tensor_is_nil(&target)) return false;
    Tensor x2, target1;
    rows_of(&x, &target, &x2, &target1);
    Saved *saved = ag_call_save(c, sizeof *saved);
    if (!saved) return false;
    saved->lse = ag_call_tensor(c, true, TENSOR_F64, 2, (int64_t[]){target1.shape[0], 2});
    Tensor loss = ag_call_tensor(c, false, x.dtype, 1, target1.shape);
    if (tensor_is_nil(&saved->lse) || tensor_is_nil(&loss)) return false;
    tensor_cross_entropy(&loss, &saved->lse, &x2, &target1, o->ignore);
    saved->count = count_targets(&target1, o->ignore);
    c->saved = saved;

    Tensor y = tensor_wrap(c->out[0].data, x.dtype, 1,
                           o->reduction == AG_NONE ? target1.shape : (int64_t[]){1});
    if (o->reduction == AG_NONE) tensor_convert(&y, &loss);
    else tensor_sum(&y, &loss);
    if (o->reduction == AG_MEAN) tensor_affine(&y, &y, 1 / saved->count, 0);
    /* 0 times infinity: the mean of no target is NaN. */
    return true;
}

static bool vjp(AgVjp *v) {
    const Options *o = v->options;
    const Saved *saved = v->saved;
    AgVar x = ag_contiguous(v->in[0]), target = ag_contiguous(v->in[1]);
    AgVar scale = v->gout[0];
    if (o->reduction == AG_MEAN) scale = ag_affine(scale, 1 / saved->count, 0);
    int64_t rows = ag_numel(v->in[1]);
    scale = o->reduction == AG_NONE ? ag_reshape(scale, 1, &rows) : ag_expand(scale, 1, &rows);
    Tensor dx = ag_vjp_raw(v, 0);
    if (!ag_ok(scale) || !ag_ok(x) || !ag_ok(target) || tensor_is_nil(&dx)) return false;
    Tensor x2, dx2, target1;
    rows_of(&dx, ag_value(target), &dx2, &target1);
    rows_of(ag_value(x), ag_value(target), &x2, &target1);
    tensor_cross_entropy_backward(&dx2, &x2, &saved->lse, &target1, o->ignore, ag_value(scale));
    return true;
}

static bool compose(AgTape *t, int n_in, const AgVar *in, const void *options, AgVar *out) {
    (void)n_in;
    const Options *o = options;
    AgVar x = in[0], target = in[1];
    AgVar ignored = ag_eq(target, ag_scalar(t, TENSOR_I64, (double)o->ignore));
    AgVar picked = ag_gather(ag_log_softmax(x, -1), -1,
                             ag_unsqueeze(ag_masked_fill(target, ignored, 0), ag_ndim(target)));
    AgVar loss = ag_neg(ag_reshape_like(picked, ag_value(target)));
    loss = ag_masked_fill(loss, ignored, 0);
    if (o->reduction != AG_NONE) loss = ag_sum(loss, AG_ALL_AXES, false);
    if (o->reduction == AG_MEAN) {
        AgVar counted = ag_cast(ag_logical_not(ignored), ag_dtype(loss));
        loss = ag_div(loss, ag_sum(counted, AG_ALL_AXES, false));
    }
    out[0] = loss;
    return ag_ok(loss);
}

static const AgSample samples[] = {
    {"mean", 2, {AG_IN(-2, 2, 6, 5), AG_IN(0, 5, 6)}, AG_WITH(Options, AG_MEAN, -100), NULL},
    {"some ignored", 2, {AG_IN(-2, 2, 3, 4, 3), AG_IN(0, 3, 3, 4)}, AG_WITH(Options, AG_MEAN, 1), NULL},
    {"sum", 2, {AG_IN(-2, 2, 4, 3), AG_IN(0, 3, 4)}, AG_WITH(Options, AG_SUM, 0), NULL},
    {"each", 2, {AG_IN(-2, 2, 2, 3, 4), AG_IN(0, 4, 2, 3)}, AG_WITH(Options, AG_NONE, 2), NULL},
    {"one row", 2, {AG_IN(-2, 2, 4), AG_IN(0, 4)}, AG_WITH(Options, AG_MEAN, -100), NULL},
    {"many classes", 2, {AG_IN(-2, 2, 2, 37), AG_IN(0, 37, 2)}, AG_WITH(Options, AG_MEAN, -1), NULL},
    {"sum of nothing", 2, {AG_IN(-2, 2, 0, 3), AG_IN(0, 3, 0)}, AG_WITH(Options, AG_SUM, -1), NULL},
    {0},
};
static const AgSample errors[] = {
    {"range", 2, {AG_IN(-2, 2, 2, 3), AG_IN(3, 4, 2)}, AG_WITH(Options, AG_MEAN, -1), "index 3 at"},
    {"negative", 2, {AG_IN(-2, 2, 2, 3), AG_IN(-2, -1, 2)}, AG_WITH(Options, AG_MEAN, -1), "index -2"},
    {"shapes", 2, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 3)}, AG_WITH(Options, AG_MEAN, -1), "targets [..]"},
    {"axes", 2, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 2, 3)}, AG_WITH(Options, AG_MEAN, -1), "targets"},
    {"scalar", 2, {AG_IN(-2, 2), AG_IN(0, 1)}, AG_WITH(Options, AG_MEAN, -1), "wants logits"},
    {"no classes", 2, {AG_IN(-2, 2, 2, 0), AG_IN(0, 1, 2)}, AG_WITH(Options, AG_MEAN, 0), "no classes"},
    {"ignore", 2, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 2)}, AG_WITH(Options, AG_MEAN, INT64_MIN), "2^53"},
    {"reduction", 2, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 2)}, AG_WITH(Options, (AgReduction)7, -1),
     "unknown reduction 7"},
    {"float targets", 2, {AG_IN(-2, 2, 2, 3), AG_IN_DTYPE("f64", 0, 1, 2, 3)},
     AG_WITH(Options, AG_MEAN, -1), "wants i64"},
    {0},
};
const AgOp ag_op_cross_entropy = {"cross_entropy", "logsumexp(x) - x[target]", "fi:f", shape, value,
                                  vjp, compose, samples, errors, false};

AgVar ag_cross_entropy(AgVar logits, AgVar target, const AgCrossEntropyOptions *options) {
    Options o = {AG_MEAN, AG_IGNORE_INDEX};
    if (options) o.reduction = options->reduction;
    if (options && options->has_ignore_index) o.ignore = options->ignore_index;
    return ag_apply1(&ag_op_cross_entropy, 2, (AgVar[]){logits, target}, &o, sizeof o);
}
