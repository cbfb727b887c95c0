/* cross_entropy, of classes and of probabilities; nll_loss. */
#include <math.h>

#include "autograd/ops/cross_entropy.h"

/* ---- targets that are classes ---- */

int64_t ag_ignored_index(const AgCrossEntropyOptions *o) {
    return o->has_ignore_index ? o->ignore_index : AG_IGNORE_INDEX;
}

/* Is x [.., n] and target [..], are there classes, and does a double hold the ignored index? */
static bool classes_fit(AgCall *c, const char *what, int64_t V, int64_t ignore) {
    const Tensor *x = c->in[0], *target = c->in[1];
    bool fits = x->ndim == target->ndim + 1;
    for (int d = 0; d < target->ndim && fits; d++) fits = x->shape[d] == target->shape[d];
    if (!fits) return ag_call_fail(c, "wants %s and targets [..]", what);
    if (V == 0) return ag_call_fail(c, "no classes");
    if (ignore > (int64_t)1 << 53 || ignore < -((int64_t)1 << 53))
        return ag_call_fail(c, "ignore_index %lld is beyond 2^53", (long long)ignore);
    return true;
}

static AgVar is_ignored(AgVar target, int64_t ignore) {
    return ag_eq(target, ag_scalar(target.tape, TENSOR_I64, (double)ignore));
}

/* ---- nll_loss: -x[target] of each row ---- */

static bool nll_shape(AgCall *c) {
    return classes_fit(c, "log-probabilities [.., V]", ag_vector_size(c->in[0], -1),
                       *(const int64_t *)c->options) &&
           ag_out_like(c, 0, c->in[1]);
}

/* Class 0 stands in for what is ignored. */
static bool nll_value(AgCall *c) {
    const int64_t *ignore = c->options;
    const Tensor *x = c->in[0], *target = c->in[1], *y = &c->out[0];
    int last = target->ndim;
    if (!ag_call_index(c, 1, x->shape[last], ignore)) return false;
    Tensor index = ag_call_tensor(c, false, TENSOR_I64, target->ndim, target->shape);
    Tensor ignored = ag_call_tensor(c, false, TENSOR_U8, target->ndim, target->shape);
    if (tensor_is_nil(&index) || tensor_is_nil(&ignored)) return false;
    int64_t class0 = 0, skip = *ignore;
    double nothing = 0; /* of either float type */
    Tensor zero = tensor_wrap(&class0, TENSOR_I64, 0, NULL);
    Tensor skipped = tensor_wrap(&skip, TENSOR_I64, 0, NULL);
    Tensor none = tensor_wrap(&nothing, x->dtype, 0, NULL);
    tensor_compare(TENSOR_EQ, &ignored, target, &skipped);
    tensor_where(&index, &ignored, &zero, target);
    Tensor at = tensor_unsqueeze(&index, last), picked = tensor_unsqueeze(y, last);
    tensor_gather(&picked, x, last, &at);
    tensor_unary(TENSOR_NEG, y, y);
    tensor_where(y, &ignored, &none, y);
    return true;
}

static bool nll_vjp(AgVjp *v) {
    AgVar target = v->in[1], ignored = is_ignored(target, *(const int64_t *)v->options);
    AgVar g = ag_masked_fill(ag_neg(v->gout[0]), ignored, 0);
    AgVar at = ag_unsqueeze(ag_masked_fill(target, ignored, 0), ag_ndim(target));
    return ag_gather_vjp(v, -1, at, ag_unsqueeze(g, ag_ndim(target)));
}

static const AgSample nll_samples[] = {
    {"matrix", 2, {AG_IN(-2, 0, 6, 5), AG_IN(0, 5, 6)}, AG_WITH(int64_t, -100), NULL},
    {"some ignored", 2, {AG_IN(-2, 0, 3, 4, 3), AG_IN(0, 3, 3, 4)}, AG_WITH(int64_t, 1), NULL},
    {"one row", 2, {AG_IN(-2, 0, 4), AG_IN(0, 4)}, AG_WITH(int64_t, -100), NULL},
    {"many rows", 2, {AG_IN(-2, 0, 37, 3), AG_IN(-1, 3, 37)}, AG_WITH(int64_t, -1), NULL},
    {"empty", 2, {AG_IN(-2, 0, 0, 3), AG_IN(0, 3, 0)}, AG_WITH(int64_t, -100), NULL},
    {0},
};
static const AgSample nll_errors[] = {
    {"range", 2, {AG_IN(-2, 0, 2, 3), AG_IN(3, 4, 2)}, AG_WITH(int64_t, -1), "index 3 at entry 0"},
    {"shapes", 2, {AG_IN(-2, 0, 2, 3), AG_IN(0, 3, 3)}, AG_WITH(int64_t, -1),
     "wants log-probabilities"},
    {"no classes", 2, {AG_IN(-2, 0, 2, 0), AG_IN(0, 1, 2)}, AG_WITH(int64_t, 0), "no classes"},
    {0},
};
const AgOp ag_op_nll_loss = {"nll_loss", "-x[target]", "fi:f",      nll_shape,  nll_value,
                             nll_vjp,    NULL,         nll_samples, nll_errors, false, NULL};

/* ---- cross_entropy: logsumexp(x) - x[target], in two passes over the logits forward and one
 * back; the probabilities are never stored. ---- */

/* For the gradient: logsumexp of each row as two numbers, and how many targets count. */
typedef struct {
    Tensor lse;
    double count;
} Saved;

bool ag_class_loss_shape(AgCall *c, const char *what, int64_t V) {
    const AgClassLoss *o = c->options;
    if (!classes_fit(c, what, V, o->ignore)) return false;
    if (!(o->smoothing >= 0 && o->smoothing <= 1))
        return ag_call_fail(c, "label_smoothing %g is outside 0..1", o->smoothing);
    if (o->reduction != AG_MEAN && o->reduction != AG_SUM && o->reduction != AG_NONE)
        return ag_call_fail(c, "unknown reduction %d", (int)o->reduction);
    const Tensor *target = c->in[1];
    return ag_out_shape(c, 0, o->reduction == AG_NONE ? target->ndim : 0, target->shape);
}

static bool shape(AgCall *c) {
    return ag_class_loss_shape(c, "logits [.., V]", ag_vector_size(c->in[0], -1));
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

double ag_class_loss_reduce(AgCall *c, const Tensor *loss, const Tensor *target) {
    const AgClassLoss *o = c->options;
    double count = count_targets(target, o->ignore);
    Tensor y = tensor_wrap(c->out[0].data, loss->dtype, 1,
                           o->reduction == AG_NONE ? loss->shape : (int64_t[]){1});
    if (o->reduction == AG_NONE) tensor_convert(&y, loss);
    else tensor_sum(&y, loss);
    if (o->reduction == AG_MEAN) tensor_affine(&y, &y, 1 / count, 0);
    /* 0 times infinity: the mean of no target is NaN. */
    return count;
}

static bool value(AgCall *c) {
    const AgClassLoss *o = c->options;
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
    tensor_cross_entropy(&loss, &saved->lse, &x2, &target1, o->ignore, o->smoothing);
    saved->count = ag_class_loss_reduce(c, &loss, &target1);
    c->saved = saved;
    return true;
}

static bool vjp(AgVjp *v) {
    const AgClassLoss *o = v->options;
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
    tensor_cross_entropy_backward(&dx2, &x2, &saved->lse, &target1, o->ignore, o->smoothing,
                                  ag_value(scale));
    return true;
}

static bool compose(AgTape *t, int n_in, const AgVar *in, const void *options, AgVar *out) {
    (void)t;
    const AgClassLoss *o = options;
    AgVar ignored = is_ignored(in[1], o->ignore); /* whose logits may be NaN */
    AgVar x = ag_masked_fill(in[0], ag_unsqueeze(ignored, ag_ndim(ignored)), 0);
    AgVar log_p = ag_log_softmax(x, -1);
    AgVar loss = ag_apply1(&ag_op_nll_loss, n_in, (AgVar[]){log_p, in[1]}, &o->ignore,
                           sizeof o->ignore);
    if (o->smoothing != 0) {
        AgVar each = ag_masked_fill(ag_mean(log_p, AG_AXES(-1), false), ignored, 0);
        loss = ag_sub(ag_affine(loss, 1 - o->smoothing, 0), ag_affine(each, o->smoothing, 0));
    }
    if (o->reduction != AG_NONE) loss = ag_sum(loss, AG_ALL_AXES, false);
    if (o->reduction == AG_MEAN) {
        AgVar counted = ag_cast(ag_logical_not(ignored), ag_dtype(loss));
        loss = ag_div(loss, ag_sum(counted, AG_ALL_AXES, false));
    }
    out[0] = loss;
    return ag_ok(loss);
}

#define CLASSES(reduction, ignore, smoothing) AG_WITH(AgClassLoss, reduction, ignore, smoothing)
static const AgSample samples[] = {
    {"mean", 2, {AG_IN(-2, 2, 6, 5), AG_IN(0, 5, 6)}, CLASSES(AG_MEAN, -100, 0), NULL},
    {"some ignored", 2, {AG_IN(-2, 2, 3, 4, 3), AG_IN(0, 3, 3, 4)}, CLASSES(AG_MEAN, 1, 0), NULL},
    {"sum", 2, {AG_IN(-2, 2, 4, 3), AG_IN(0, 3, 4)}, CLASSES(AG_SUM, 0, 0), NULL},
    {"each", 2, {AG_IN(-2, 2, 2, 3, 4), AG_IN(0, 4, 2, 3)}, CLASSES(AG_NONE, 2, 0), NULL},
    {"one row", 2, {AG_IN(-2, 2, 4), AG_IN(0, 4)}, CLASSES(AG_MEAN, -100, 0), NULL},
    {"many classes", 2, {AG_IN(-2, 2, 2, 37), AG_IN(0, 37, 2)}, CLASSES(AG_MEAN, -1, 0), NULL},
    {"sum of nothing", 2, {AG_IN(-2, 2, 0, 3), AG_IN(0, 3, 0)}, CLASSES(AG_SUM, -1, 0), NULL},
    {"smoothed", 2, {AG_IN(-2, 2, 4, 37), AG_IN(0, 37, 4)}, CLASSES(AG_MEAN, -1, .1), NULL},
    {"smoothed, some ignored", 2, {AG_IN(-2, 2, 8, 3), AG_IN(0, 3, 8)}, CLASSES(AG_MEAN, 1, .3),
     NULL},
    {"smoothed altogether", 2, {AG_IN(-2, 2, 5), AG_IN(0, 5)}, CLASSES(AG_NONE, -1, 1), NULL},
    {0},
};
static const AgSample errors[] = {
    {"range", 2, {AG_IN(-2, 2, 2, 3), AG_IN(3, 4, 2)}, CLASSES(AG_MEAN, -1, 0), "index 3 at"},
    {"negative", 2, {AG_IN(-2, 2, 2, 3), AG_IN(-2, -1, 2)}, CLASSES(AG_MEAN, -1, 0), "index -2"},
    {"shapes", 2, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 3)}, CLASSES(AG_MEAN, -1, 0), "targets [..]"},
    {"axes", 2, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 2, 3)}, CLASSES(AG_MEAN, -1, 0), "targets"},
    {"scalar", 2, {AG_IN(-2, 2), AG_IN(0, 1)}, CLASSES(AG_MEAN, -1, 0), "wants logits"},
    {"no classes", 2, {AG_IN(-2, 2, 2, 0), AG_IN(0, 1, 2)}, CLASSES(AG_MEAN, 0, 0), "no classes"},
    {"ignore", 2, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 2)}, CLASSES(AG_MEAN, INT64_MIN, 0), "2^53"},
    {"reduction", 2, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 2)}, CLASSES((AgReduction)7, -1, 0),
     "unknown reduction 7"},
    {"float targets", 2, {AG_IN(-2, 2, 2, 3), AG_IN_DTYPE("f64", 0, 1, 2, 3)},
     CLASSES(AG_MEAN, -1, 0), "wants i64"},
    {"smoothing", 2, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 2)}, CLASSES(AG_MEAN, -1, 1.5),
     "label_smoothing 1.5 is outside"},
    {"smoothing NaN", 2, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 2)}, CLASSES(AG_MEAN, -1, NAN),
     "label_smoothing"},
    {0},
};
const AgOp ag_op_cross_entropy = {"cross_entropy", "logsumexp(x) - x[target]", "fi:f", shape, value,
                                  vjp, compose, samples, errors, false, NULL};

/* ---- cross_entropy_probs: - sum_v q_v log softmax(x)_v of each row ---- */

static bool probs_shape(AgCall *c) {
    const Tensor *x = c->in[0];
    if (x->ndim == 0 || !tensor_same_shape(x, c->in[1]))
        return ag_call_fail(c, "wants logits and probabilities of one shape [.., V]");
    if (x->shape[x->ndim - 1] == 0) return ag_call_fail(c, "no classes");
    return ag_out_shape(c, 0, x->ndim - 1, x->shape);
}

/* 0 times -infinity counts as 0: a class that both rule out has no part. */
static bool probs_value(AgCall *c) {
    const Tensor *x = c->in[0], *q = c->in[1];
    int last = x->ndim - 1;
    Tensor log_p = ag_call_tensor(c, false, x->dtype, x->ndim, x->shape);
    Tensor out = ag_call_tensor(c, false, TENSOR_U8, x->ndim, x->shape);
    Tensor no_target = ag_call_tensor(c, false, TENSOR_U8, x->ndim, x->shape);
    Tensor bound = ag_call_tensor(c, false, x->dtype, 0, NULL);
    if (tensor_is_nil(&log_p) || tensor_is_nil(&out) || tensor_is_nil(&no_target) ||
        tensor_is_nil(&bound))
        return false;
    tensor_log_softmax(&log_p, x, last);
    tensor_fill(&bound, -INFINITY);
    tensor_compare(TENSOR_EQ, &out, &log_p, &bound);
    tensor_fill(&bound, 0);
    tensor_compare(TENSOR_EQ, &no_target, q, &bound);
    tensor_logical(TENSOR_AND, &out, &out, &no_target);
    tensor_binary(TENSOR_MUL, &log_p, &log_p, q);
    tensor_where(&log_p, &out, &bound, &log_p);
    Tensor y = tensor_unsqueeze(&c->out[0], last);
    tensor_sum(&y, &log_p);
    tensor_unary(TENSOR_NEG, &y, &y);
    return true;
}

static bool probs_vjp(AgVjp *v) {
    AgVar x = v->in[0], q = v->in[1], g = ag_unsqueeze(v->gout[0], ag_ndim(x) - 1);
    if (v->need[0]) {
        AgVar total = ag_sum(q, AG_AXES(-1), true);
        v->gin[0] = ag_mul(g, ag_sub(ag_mul(total, ag_softmax(x, -1)), q));
    }
    if (v->need[1]) {
        AgVar log_p = ag_log_softmax(x, -1);
        AgVar out = ag_eq(log_p, ag_scalar(v->tape, ag_dtype(x), -INFINITY));
        out = ag_logical_and(out, ag_eq(q, ag_zero(q)));
        v->gin[1] = ag_neg(ag_mul(g, ag_masked_fill(log_p, out, 0)));
    }
    return true;
}

static const AgSample probs_samples[] = {
    {"matrix", 2, {AG_IN(-2, 2, 6, 5), AG_IN(0, 1, 6, 5)}, NULL, 0, NULL},
    {"one row", 2, {AG_IN(-2, 2, 37), AG_IN(0, 1, 37)}, NULL, 0, NULL},
    {"three axes", 2, {AG_IN(-2, 2, 2, 3, 4), AG_IN(-1, 1, 2, 3, 4)}, NULL, 0, NULL},
    {"empty", 2, {AG_IN(-2, 2, 0, 3), AG_IN(0, 1, 0, 3)}, NULL, 0, NULL},
    {0},
};
static const AgSample probs_errors[] = {
    {"shapes", 2, {AG_IN(-2, 2, 2, 3), AG_IN(0, 1, 2, 1)}, NULL, 0, "of one shape"},
    {"scalar", 2, {AG_IN(-2, 2), AG_IN(0, 1)}, NULL, 0, "[.., V]"},
    {"no classes", 2, {AG_IN(-2, 2, 2, 0), AG_IN(0, 1, 2, 0)}, NULL, 0, "no classes"},
    {"dtypes", 2, {AG_IN(-2, 2, 2, 3), AG_IN_DTYPE("f32", 0, 1, 2, 3)}, NULL, 0, "mixed dtypes"},
    {0},
};
const AgOp ag_op_cross_entropy_probs = {
    "cross_entropy_probs", "- sum q log softmax(x)", "ff:f",        probs_shape,  probs_value,
    probs_vjp,             NULL,                     probs_samples, probs_errors, false, NULL};

/* ---- with weights of the classes ---- */

/* Has each class of x (which an op has checked) a weight? */
static bool weights_fit(const char *op, AgVar x, AgVar weight) {
    const Tensor *w = ag_value(weight);
    int64_t V = ag_dim(x, -1);
    if (!ag_ok(weight) || (w->ndim == 1 && w->shape[0] == V && w->dtype == ag_dtype(x)))
        return true; /* a failed variable has reported already, a stale one will */
    char text[TENSOR_DESCRIBE_SIZE];
    ag_fail(x.tape, "%s: weight is %s, wants %s[%lld]", op, tensor_describe(w, text, sizeof text),
            tensor_dtype_name(ag_dtype(x)), (long long)V);
    return false;
}

/* The weight of each row's class; 0 where it is ignored. */
static AgVar weights_of(AgVar target, AgVar weight, int64_t ignore) {
    AgVar ignored = is_ignored(target, ignore);
    AgVar index = ag_reshape(ag_masked_fill(target, ignored, 0), 1, (int64_t[]){ag_numel(target)});
    AgVar w = ag_reshape_like(ag_index_select(weight, 0, index), ag_value(target));
    return ag_masked_fill(w, ignored, 0);
}

/* The loss of each row, reduced; a mean divides by the weights w of the rows. */
static AgVar reduce_weighted(AgVar loss, AgVar w, AgReduction reduction, const char *op) {
    if (reduction != AG_MEAN) return ag_reduce_loss(loss, reduction, op);
    return ag_div(ag_sum(loss, AG_ALL_AXES, false), ag_sum(w, AG_ALL_AXES, false));
}

static AgVar cross_entropy_rows(AgVar x, AgVar target, const AgClassLoss *o) {
    return ag_apply1(&ag_op_cross_entropy, 2, (AgVar[]){x, target}, o, sizeof *o);
}

static AgVar probs_rows(AgVar x, AgVar q) {
    return ag_apply1(&ag_op_cross_entropy_probs, 2, (AgVar[]){x, q}, NULL, 0);
}

static AgVar weighted_cross_entropy(AgVar x, AgVar target, const AgCrossEntropyOptions *o) {
    int64_t ignore = ag_ignored_index(o);
    double e = o->label_smoothing;
    AgVar loss = cross_entropy_rows(x, target, &(AgClassLoss){AG_NONE, ignore, 0});
    if (!ag_ok(loss) || !weights_fit("cross_entropy", x, o->weight)) return ag_none(x);
    AgVar w = weights_of(target, o->weight, ignore);
    loss = ag_mul(loss, w);
    if (e != 0) {
        const Tensor *v = ag_value(x);
        AgVar each = probs_rows(x, ag_expand(o->weight, v->ndim, v->shape));
        each = ag_masked_fill(each, is_ignored(target, ignore), 0);
        loss = ag_add(ag_affine(loss, 1 - e, 0), ag_affine(each, e / (double)ag_dim(x, -1), 0));
    }
    return reduce_weighted(loss, w, o->reduction, "cross_entropy");
}

static AgVar probs_cross_entropy(AgVar x, AgVar q, const AgCrossEntropyOptions *o) {
    double e = o->label_smoothing;
    if (o->has_ignore_index && o->ignore_index >= 0)
        return ag_fail(x.tape, "cross_entropy: ignore_index %lld, but the target is no index",
                       (long long)o->ignore_index);
    bool weighted = o->weight.tape && ag_ndim(x) > 0;
    if (weighted && !weights_fit("cross_entropy", x, o->weight)) return ag_none(x);
    if (e != 0) q = ag_affine(q, 1 - e, e / (double)ag_dim(x, -1));
    if (weighted) q = ag_mul(q, o->weight);
    return ag_reduce_loss(probs_rows(x, q), o->reduction, "cross_entropy");
}

AgVar ag_cross_entropy(AgVar logits, AgVar target, const AgCrossEntropyOptions *options) {
    AgCrossEntropyOptions o = {0};
    if (options) o = *options;
    bool probs = ag_ok(logits) && ag_ok(target) && tensor_dtype_is_float(ag_dtype(target));
    AgClassLoss plain = {o.reduction, ag_ignored_index(&o), o.label_smoothing};
    if (!probs && !o.weight.tape) return cross_entropy_rows(logits, target, &plain);
    if (logits.tape && !(o.label_smoothing >= 0 && o.label_smoothing <= 1))
        return ag_fail(logits.tape, "cross_entropy: label_smoothing %g is outside 0..1",
                       o.label_smoothing);
    return probs ? probs_cross_entropy(logits, target, &o)
                 : weighted_cross_entropy(logits, target, &o);
}

AgVar ag_nll_loss(AgVar log_probs, AgVar target, const AgCrossEntropyOptions *options) {
    AgCrossEntropyOptions o = {0};
    if (options) o = *options;
    int64_t ignore = ag_ignored_index(&o);
    AgVar in[] = {log_probs, target};
    AgVar loss = ag_apply1(&ag_op_nll_loss, 2, in, &ignore, sizeof ignore);
    if (!ag_ok(loss)) return loss;
    if (o.label_smoothing != 0)
        return ag_fail(loss.tape, "nll_loss: label_smoothing is for cross_entropy");
    if (o.weight.tape && !weights_fit("nll_loss", log_probs, o.weight)) return ag_none(loss);
    AgVar w = o.weight.tape
                  ? weights_of(target, o.weight, ignore)
                  : ag_cast(ag_logical_not(is_ignored(target, ignore)), ag_dtype(loss));
    if (o.weight.tape) loss = ag_mul(loss, w);
    return reduce_weighted(loss, w, o.reduction, "nll_loss");
}
