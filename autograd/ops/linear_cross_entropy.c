/* linear_cross_entropy: cross_entropy of x weight^T + bias.  The logits become their own gradients
 * where they stand: the backward pass is two products and a sum, and no second matrix of their size
 * is made.  Inputs in the order x, target, weight and perhaps bias. */
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/linear.h"
#include "tensor/gemm.h"

enum { X, TARGET, WEIGHT, BIAS };

/* For the gradient: that of the rows' losses in the logits [rows, V], and how many rows count. */
typedef struct {
    Tensor dlogits;
    double count;
} Saved;

static bool has_bias(int n_in) { return n_in == BIAS + 1; }

static bool shape(AgCall *c) {
    if (c->n_in != BIAS && !has_bias(c->n_in))
        return ag_call_fail(c, "wants x, target, weight and perhaps bias");
    const Tensor *weight = c->in[WEIGHT], *bias = has_bias(c->n_in) ? c->in[BIAS] : NULL;
    return ag_linear_fits(c, c->in[X], weight, bias, 'V', 'H') &&
           ag_class_loss_shape(c, "x [.., H]", weight->shape[0]);
}

/* How many rows' logits stand at a time: all if they are kept, for one product of all rows is the
 * fastest; else those of a block, with so many rows that packing the weight anew for each costs
 * little beside the product. */
static int64_t rows_at_a_time(const AgCall *c, int64_t rows, int64_t V) {
    enum { ELEMENTS = 1 << 21, FEWEST = 384 };
    int64_t block = ELEMENTS / V > FEWEST ? ELEMENTS / V : FEWEST;
    return c->recorded || rows < block ? rows : block;
}

/* Contiguous, of n rows or elements. */
typedef struct {
    Tensor x, target, bias, loss;
} Operands;

static bool prepare(AgCall *c, Operands *o) {
    o->x = ag_call_rows(c, c->in[X]);
    o->target = ag_call_contiguous(c, c->in[TARGET]);
    o->bias = has_bias(c->n_in) ? ag_call_contiguous(c, c->in[BIAS]) : tensor_nil();
    if (tensor_is_nil(&o->x) || tensor_is_nil(&o->target)) return false;
    if (has_bias(c->n_in) && tensor_is_nil(&o->bias)) return false;
    int64_t rows = o->x.shape[0];
    o->target = tensor_reshape(&o->target, 1, &rows);
    o->loss = ag_call_tensor(c, false, o->x.dtype, 1, &rows);
    return !tensor_is_nil(&o->loss);
}

/* The losses of the rows, as many at a time as `room` has. */
static bool run_blocks(AgCall *c, const Operands *o, const Tensor *room) {
    const AgClassLoss *options = c->options;
    Tensor weight_t = tensor_transpose(c->in[WEIGHT], 0, 1);
    int64_t rows = o->x.shape[0], block = room->shape[0];
    for (int64_t begin = 0; begin < rows; begin += block) {
        int64_t n = rows - begin < block ? rows - begin : block;
        Tensor logits = tensor_narrow(room, 0, 0, n);
        Tensor x = tensor_narrow(&o->x, 0, begin, n), loss = tensor_narrow(&o->loss, 0, begin, n);
        Tensor target = tensor_narrow(&o->target, 0, begin, n);
        if (!tensor_gemm(1, &x, &weight_t, 0, &logits, c->scratch))
            return ag_call_fail(c, "out of memory");
        tensor_cross_entropy_in_place(&loss, &logits, has_bias(c->n_in) ? &o->bias : NULL, &target,
                                      options->ignore, options->smoothing, c->recorded);
    }
    return true;
}

static bool value(AgCall *c) {
    const AgClassLoss *options = c->options;
    int64_t V = c->in[WEIGHT]->shape[0];
    Operands o;
    if (!ag_call_index(c, TARGET, V, &options->ignore) || !prepare(c, &o)) return false;
    Saved *saved = ag_call_save(c, sizeof *saved);
    if (!saved) return false;
    saved->dlogits = ag_call_tensor(c, true, o.x.dtype, 2,
                                    (int64_t[]){rows_at_a_time(c, o.x.shape[0], V), V});
    if (tensor_is_nil(&saved->dlogits) || !run_blocks(c, &o, &saved->dlogits)) return false;
    saved->count = ag_class_loss_reduce(c, &o.loss, &o.target);
    c->saved = saved;
    return true;
}

static bool needs_bias(const AgVjp *v) { return has_bias(v->n_in) && v->need[BIAS]; }

/* scale times the sum of the rows of dlogits. */
static bool bias_gradient(AgVjp *v, double scale, const Tensor *dlogits) {
    const Tensor *into = ag_vjp_into(v, BIAS);
    Tensor sum = into ? tensor_new(v->scratch, dlogits->dtype, 1, into->shape)
                      : ag_vjp_raw(v, BIAS);
    if (tensor_is_nil(&sum)) {
        ag_fail(v->tape, "%s: out of memory", v->op->name);
        return false;
    }
    Tensor row = tensor_unsqueeze(&sum, 0);
    tensor_sum(&row, dlogits);
    tensor_affine(&sum, &sum, scale, 0);
    if (into) tensor_accumulate(into, &sum);
    return true;
}

/* All rows have the same part in the result. */
static bool reduced_vjp(AgVjp *v, double scale, const Tensor *dlogits) {
    const Tensor *weight = ag_value(v->in[WEIGHT]);
    if (v->need[X] && !ag_vjp_add_product(v, X, scale, dlogits, weight)) return false;
    if (v->need[WEIGHT]) {
        AgVar x = ag_rows_var(v->in[X]);
        Tensor dlogits_t = tensor_transpose(dlogits, 0, 1);
        if (!ag_ok(x) || !ag_vjp_add_product(v, WEIGHT, scale, &dlogits_t, ag_value(x)))
            return false;
    }
    return !needs_bias(v) || bias_gradient(v, scale, dlogits);
}

/* dx = s (dlogits weight), with a number of s for each row. */
static bool each_x(AgVjp *v, const Tensor *s, const Tensor *dlogits) {
    Tensor dx = ag_vjp_raw(v, X);
    if (tensor_is_nil(&dx)) return false;
    Tensor rows = ag_rows(&dx);
    if (!tensor_gemm(1, dlogits, ag_value(v->in[WEIGHT]), 0, &rows, v->scratch)) {
        ag_fail(v->tape, "%s: out of memory", v->op->name);
        return false;
    }
    tensor_binary(TENSOR_MUL, &rows, &rows, s);
    return true;
}

/* Each row has its own: s goes to the smaller matrices x and dx.
 *     dweight = dlogits^T (s x),  dbias = s^T dlogits */
static bool each_vjp(AgVjp *v, const Tensor *dlogits) {
    AgVar s = ag_reshape(v->gout[0], 2, (int64_t[]){dlogits->shape[0], 1});
    if (!ag_ok(s) || (v->need[X] && !each_x(v, ag_value(s), dlogits))) return false;
    if (v->need[WEIGHT]) {
        AgVar sx = ag_mul(s, ag_rows_var(v->in[X]));
        Tensor dlogits_t = tensor_transpose(dlogits, 0, 1);
        if (!ag_ok(sx) || !ag_vjp_add_product(v, WEIGHT, 1, &dlogits_t, ag_value(sx))) return false;
    }
    Tensor s_t = tensor_transpose(ag_value(s), 0, 1);
    return !needs_bias(v) || ag_vjp_add_product(v, BIAS, 1, &s_t, dlogits);
}

static bool vjp(AgVjp *v) {
    const AgClassLoss *o = v->options;
    const Saved *saved = v->saved;
    if (o->reduction == AG_NONE) return each_vjp(v, &saved->dlogits);
    double scale = ag_item(v->gout[0]);
    if (o->reduction == AG_MEAN) scale = saved->count > 0 ? scale / saved->count : 0;
    return reduced_vjp(v, scale, &saved->dlogits);
}

static bool compose(AgTape *t, int n_in, const AgVar *in, const void *options, AgVar *out) {
    (void)t;
    const AgClassLoss *o = options;
    AgVar bias = has_bias(n_in) ? in[BIAS] : (AgVar){0};
    AgCrossEntropyOptions same = {.reduction = o->reduction,
                                  .has_ignore_index = true,
                                  .ignore_index = o->ignore,
                                  .label_smoothing = o->smoothing};
    out[0] = ag_cross_entropy(ag_linear(in[X], in[WEIGHT], bias), in[TARGET], &same);
    return ag_ok(out[0]);
}

#define LOSS(reduction, ignore, smoothing) AG_WITH(AgClassLoss, reduction, ignore, smoothing)
static const AgSample samples[] = {
    {"mean", 4, {AG_IN(-2, 2, 6, 4), AG_IN(0, 5, 6), AG_IN(-1, 1, 5, 4), AG_IN(-1, 1, 5)},
     LOSS(AG_MEAN, -100, 0), NULL},
    {"some ignored", 4,
     {AG_IN(-2, 2, 3, 4, 2), AG_IN(0, 3, 3, 4), AG_IN(-1, 1, 3, 2), AG_IN(-1, 1, 3)},
     LOSS(AG_MEAN, 1, 0), NULL},
    {"sum", 4, {AG_IN(-2, 2, 4, 3), AG_IN(0, 3, 4), AG_IN(-1, 1, 3, 3), AG_IN(-1, 1, 3)},
     LOSS(AG_SUM, 0, 0), NULL},
    {"each", 4, {AG_IN(-2, 2, 2, 3, 4), AG_IN(0, 5, 2, 3), AG_IN(-1, 1, 5, 4), AG_IN(-1, 1, 5)},
     LOSS(AG_NONE, 2, 0), NULL},
    {"one row", 4, {AG_IN(-2, 2, 3), AG_IN(0, 4), AG_IN(-1, 1, 4, 3), AG_IN(-1, 1, 4)},
     LOSS(AG_MEAN, -100, 0), NULL},
    {"no bias", 3, {AG_IN(-2, 2, 4, 3), AG_IN(0, 4, 4), AG_IN(-1, 1, 4, 3)},
     LOSS(AG_MEAN, -100, 0), NULL},
    {"each without bias", 3, {AG_IN(-2, 2, 4, 3), AG_IN(0, 4, 4), AG_IN(-1, 1, 4, 3)},
     LOSS(AG_NONE, 1, .2), NULL},
    {"many classes", 4,
     {AG_IN(-2, 2, 2, 2), AG_IN(0, 37, 2), AG_IN(-1, 1, 37, 2), AG_IN(-1, 1, 37)},
     LOSS(AG_MEAN, -1, 0), NULL},
    {"smoothed", 4, {AG_IN(-2, 2, 4, 2), AG_IN(0, 37, 4), AG_IN(-1, 1, 37, 2), AG_IN(-1, 1, 37)},
     LOSS(AG_SUM, -1, .1), NULL},
    {"smoothed, some ignored", 4,
     {AG_IN(-2, 2, 8, 37), AG_IN(0, 3, 8), AG_IN(-1, 1, 3, 37), AG_IN(-1, 1, 3)},
     LOSS(AG_MEAN, 1, .3), NULL},
    {"smoothed altogether", 4, {AG_IN(-2, 2, 3), AG_IN(0, 5), AG_IN(-1, 1, 5, 3), AG_IN(-1, 1, 5)},
     LOSS(AG_NONE, -1, 1), NULL},
    {"sum of nothing", 4, {AG_IN(-2, 2, 0, 3), AG_IN(0, 3, 0), AG_IN(-1, 1, 3, 3), AG_IN(-1, 1, 3)},
     LOSS(AG_SUM, -1, 0), NULL},
    {"no inputs", 4, {AG_IN(-2, 2, 4, 0), AG_IN(0, 3, 4), AG_IN(-1, 1, 3, 0), AG_IN(-1, 1, 3)},
     LOSS(AG_MEAN, -1, 0), NULL},
    {0},
};
static const AgSample errors[] = {
    {"range", 3, {AG_IN(-2, 2, 2, 3), AG_IN(4, 5, 2), AG_IN(-1, 1, 4, 3)}, LOSS(AG_MEAN, -1, 0),
     "index 4 at"},
    {"inner", 3, {AG_IN(-2, 2, 2, 4), AG_IN(0, 3, 2), AG_IN(-1, 1, 4, 3)}, LOSS(AG_MEAN, -1, 0),
     "inner sizes differ (4 and 3)"},
    {"rows", 3, {AG_IN(-2, 2, 2, 3), AG_IN(0, 4, 3), AG_IN(-1, 1, 4, 3)}, LOSS(AG_MEAN, -1, 0),
     "wants x [.., H] and targets [..]"},
    {"axes", 3, {AG_IN(-2, 2, 2, 3), AG_IN(0, 4, 2, 3), AG_IN(-1, 1, 4, 3)}, LOSS(AG_MEAN, -1, 0),
     "targets [..]"},
    {"scalar", 3, {AG_IN(-2, 2), AG_IN(0, 4), AG_IN(-1, 1, 4, 1)}, LOSS(AG_MEAN, -1, 0),
     "wants x [.., H]"},
    {"weight", 3, {AG_IN(-2, 2, 2, 3), AG_IN(0, 4, 2), AG_IN(-1, 1, 3)}, LOSS(AG_MEAN, -1, 0),
     "weight [V, H]"},
    {"bias", 4, {AG_IN(-2, 2, 2, 3), AG_IN(0, 4, 2), AG_IN(-1, 1, 4, 3), AG_IN(-1, 1, 3)},
     LOSS(AG_MEAN, -1, 0), "bias [V]"},
    {"five", 5,
     {AG_IN(-2, 2, 2, 3), AG_IN(0, 4, 2), AG_IN(-1, 1, 4, 3), AG_IN(-1, 1, 4), AG_IN(-1, 1, 4)},
     LOSS(AG_MEAN, -1, 0), "perhaps bias"},
    {"no classes", 3, {AG_IN(-2, 2, 2, 3), AG_IN(0, 1, 2), AG_IN(-1, 1, 0, 3)},
     LOSS(AG_MEAN, 0, 0), "no classes"},
    {"ignore", 3, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 2), AG_IN(-1, 1, 4, 3)},
     LOSS(AG_MEAN, INT64_MAX, 0), "2^53"},
    {"reduction", 3, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 2), AG_IN(-1, 1, 4, 3)},
     LOSS((AgReduction)7, -1, 0), "unknown reduction 7"},
    {"smoothing", 3, {AG_IN(-2, 2, 2, 3), AG_IN(0, 3, 2), AG_IN(-1, 1, 4, 3)},
     LOSS(AG_MEAN, -1, -.5), "label_smoothing -0.5 is outside"},
    {"dtypes", 3, {AG_IN_DTYPE("f64", -2, 2, 2, 3), AG_IN(0, 3, 2),
     AG_IN_DTYPE("f32", -1, 1, 4, 3)}, LOSS(AG_MEAN, -1, 0), "mixed dtypes"},
    {0},
};
const AgOp ag_op_linear_cross_entropy = {"linear_cross_entropy",
                                         "cross_entropy of x weight^T + bias",
                                         "fif*:f",
                                         shape,
                                         value,
                                         vjp,
                                         compose,
                                         samples,
                                         errors,
                                         false,
                                         NULL};

AgVar ag_linear_cross_entropy(AgVar x, AgVar weight, AgVar bias, AgVar target,
                              const AgCrossEntropyOptions *options) {
    AgCrossEntropyOptions o = {0};
    if (options) o = *options;
    if (o.weight.tape || (ag_ok(target) && tensor_dtype_is_float(ag_dtype(target))))
        return ag_cross_entropy(ag_linear(x, weight, bias), target, options);
    AgClassLoss plain = {o.reduction, ag_ignored_index(&o), o.label_smoothing};
    return ag_apply1(&ag_op_linear_cross_entropy, bias.tape ? BIAS + 1 : BIAS,
                     (AgVar[]){x, target, weight, bias}, &plain, sizeof plain);
}
