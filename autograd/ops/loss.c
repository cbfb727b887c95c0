/* mse_loss, l1_loss, smooth_l1_loss, huber_loss, bce_with_logits: of each element.  The
 * reduction comes after. */
#include <math.h>

#include "autograd/ops/ops.h"

AgVar ag_reduce_loss(AgVar loss, AgReduction reduction, const char *op) {
    switch (reduction) {
    case AG_MEAN: return ag_mean(loss, AG_ALL_AXES, false);
    case AG_SUM: return ag_sum(loss, AG_ALL_AXES, false);
    case AG_NONE: return loss;
    }
    return loss.tape ? ag_fail(loss.tape, "%s: unknown reduction %d", op, (int)reduction) : loss;
}

static bool one_shape(AgCall *c) {
    if (!tensor_same_shape(c->in[0], c->in[1]))
        return ag_call_fail(c, "x and target differ in shape");
    return ag_out_like(c, 0, c->in[0]);
}

/* The gradient of a function of x - target. */
static bool of_difference(AgVjp *v, AgVar g) {
    if (v->need[0]) v->gin[0] = g;
    if (v->need[1]) v->gin[1] = ag_neg(g);
    return true;
}

#define SAMPLES(...)                                                                             \
    {{"matrix", 2, {AG_IN(-2, 2, 3, 4), AG_IN(-2, 2, 3, 4)}, __VA_ARGS__, NULL},                 \
     {"scalar", 2, {AG_IN(1, 2), AG_IN(-1, 0)}, __VA_ARGS__, NULL},                              \
     {"empty", 2, {AG_IN(-2, 2, 0, 3), AG_IN(-2, 2, 0, 3)}, __VA_ARGS__, NULL},                  \
     {"longer than a vector", 2, {AG_IN(-4, 4, 37), AG_IN(-4, 4, 37)}, __VA_ARGS__, NULL},       \
     {0}}
#define ERRORS(...)                                                                              \
    {"shapes", 2, {AG_IN(-2, 2, 3, 4), AG_IN(-2, 2, 4)}, __VA_ARGS__, "differ in shape"},        \
    {"dtypes", 2, {AG_IN(-2, 2, 3), AG_IN_DTYPE("f32", -2, 2, 3)}, __VA_ARGS__, "mixed dtypes"}, \
    {"classes", 2, {AG_IN(-2, 2, 3), AG_IN_DTYPE("i64", 0, 2, 3)}, __VA_ARGS__, "wants f32"}
#define NO_OPTIONS .options = NULL, .options_size = 0
static const AgSample samples[] = SAMPLES(NO_OPTIONS);
static const AgSample errors[] = {ERRORS(NO_OPTIONS), {0}};

/* ---- mse_loss ---- */

static bool mse_value(AgCall *c) {
    tensor_binary(TENSOR_SUB, &c->out[0], c->in[0], c->in[1]);
    tensor_unary(TENSOR_SQUARE, &c->out[0], &c->out[0]);
    return true;
}

static bool mse_vjp(AgVjp *v) {
    AgVar d = ag_sub(v->in[0], v->in[1]);
    return of_difference(v, ag_mul(v->gout[0], ag_affine(d, 2, 0)));
}

const AgOp ag_op_mse_loss = {"mse_loss", "(x - target)^2", "ff:f",  one_shape, mse_value,
                             mse_vjp,    NULL,             samples, errors,    false, NULL};
AgVar ag_mse_loss(AgVar x, AgVar target, AgReduction reduction) {
    AgVar loss = ag_apply1(&ag_op_mse_loss, 2, (AgVar[]){x, target}, NULL, 0);
    return ag_reduce_loss(loss, reduction, "mse_loss");
}

/* ---- l1_loss ---- */

static bool l1_value(AgCall *c) {
    tensor_binary(TENSOR_SUB, &c->out[0], c->in[0], c->in[1]);
    tensor_unary(TENSOR_ABS, &c->out[0], &c->out[0]);
    return true;
}

static bool l1_vjp(AgVjp *v) {
    AgVar d = ag_sub(v->in[0], v->in[1]);
    return of_difference(v, ag_mul(v->gout[0], ag_sign(d)));
}

const AgOp ag_op_l1_loss = {"l1_loss", "|x - target|", "ff:f",  one_shape, l1_value,
                            l1_vjp,    NULL,           samples, errors,    false, NULL};

static AgVar l1_loss(AgVar x, AgVar target, AgReduction reduction, const char *name) {
    AgVar loss = ag_apply1(&ag_op_l1_loss, 2, (AgVar[]){x, target}, NULL, 0);
    return ag_reduce_loss(loss, reduction, name);
}

AgVar ag_l1_loss(AgVar x, AgVar target, AgReduction reduction) {
    return l1_loss(x, target, reduction, "l1_loss");
}

/* ---- huber_loss and smooth_l1_loss: a parabola up to the knee, then a line ---- */

static bool knee_shape(AgCall *c, const char *name) {
    double knee = *(const double *)c->options;
    if (!(knee > 0 && knee < INFINITY))
        return ag_call_fail(c, "%s %g, wants a finite number above 0", name, knee);
    return one_shape(c);
}
static bool huber_shape(AgCall *c) { return knee_shape(c, "delta"); }
static bool smooth_l1_shape(AgCall *c) { return knee_shape(c, "beta"); }

/* With c = min(|d|, knee) both pieces are c (|d| - c / 2), the last factor exact below the knee;
 * smooth_l1 divides c by the knee, which is 1 above it. */
static bool knee_value(AgCall *call, bool divided) {
    const Tensor *y = &call->out[0];
    Tensor knee = ag_call_tensor(call, false, y->dtype, 0, NULL);
    Tensor c = ag_call_tensor(call, false, y->dtype, y->ndim, y->shape);
    Tensor half = ag_call_tensor(call, false, y->dtype, y->ndim, y->shape);
    if (tensor_is_nil(&knee) || tensor_is_nil(&c) || tensor_is_nil(&half)) return false;
    tensor_fill(&knee, *(const double *)call->options);
    tensor_binary(TENSOR_SUB, y, call->in[0], call->in[1]);
    tensor_unary(TENSOR_ABS, y, y);
    tensor_binary(TENSOR_MINIMUM, &c, y, &knee);
    tensor_affine(&half, &c, .5, 0);
    tensor_binary(TENSOR_SUB, y, y, &half);
    if (divided) tensor_binary(TENSOR_DIV, &c, &c, &knee);
    tensor_binary(TENSOR_MUL, y, y, &c);
    return true;
}
static bool huber_value(AgCall *c) { return knee_value(c, false); }
static bool smooth_l1_value(AgCall *c) { return knee_value(c, true); }

static bool knee_vjp(AgVjp *v, bool divided) {
    AgVar d = ag_sub(v->in[0], v->in[1]);
    AgVar knee = ag_scalar(v->tape, ag_dtype(d), *(const double *)v->options);
    AgVar inside = ag_lt(ag_abs(d), knee), outside = ag_sign(d);
    AgVar slope = divided ? ag_where(inside, ag_div(d, knee), outside)
                          : ag_where(inside, d, ag_mul(outside, knee));
    return of_difference(v, ag_mul(v->gout[0], slope));
}
static bool huber_vjp(AgVjp *v) { return knee_vjp(v, false); }
static bool smooth_l1_vjp(AgVjp *v) { return knee_vjp(v, true); }

static const AgSample knee_samples[] = SAMPLES(AG_WITH(double, .75));
#define KNEE_ERROR(title, knee, message) \
    {title, 2, {AG_IN(-2, 2, 3), AG_IN(-2, 2, 3)}, AG_WITH(double, knee), message}
static const AgSample huber_errors[] = {
    ERRORS(AG_WITH(double, 1)),
    KNEE_ERROR("flat", 0, "delta 0, wants"),
    KNEE_ERROR("negative", -1, "delta -1, wants"),
    KNEE_ERROR("infinite", INFINITY, "delta inf, wants"),
    {0},
};
static const AgSample smooth_l1_errors[] = {
    ERRORS(AG_WITH(double, 1)),
    KNEE_ERROR("negative", -1, "beta -1, wants"),
    KNEE_ERROR("NaN", NAN, "wants a finite number"),
    {0},
};
const AgOp ag_op_huber_loss = {
    "huber_loss", "d^2 / 2, or delta (|d| - delta / 2) beyond delta", "ff:f", huber_shape,
    huber_value,  huber_vjp, NULL, knee_samples, huber_errors, false, NULL};
const AgOp ag_op_smooth_l1_loss = {
    "smooth_l1_loss", "d^2 / 2 beta, or |d| - beta / 2 beyond beta", "ff:f", smooth_l1_shape,
    smooth_l1_value,  smooth_l1_vjp, NULL, knee_samples, smooth_l1_errors, false, NULL};

AgVar ag_huber_loss(AgVar x, AgVar target, double delta, AgReduction reduction) {
    AgVar loss = ag_apply1(&ag_op_huber_loss, 2, (AgVar[]){x, target}, &delta, sizeof delta);
    return ag_reduce_loss(loss, reduction, "huber_loss");
}

AgVar ag_smooth_l1_loss(AgVar x, AgVar target, double beta, AgReduction reduction) {
    bool none = ag_dtype(x) == TENSOR_F32 ? (float)beta == 0 : beta == 0;
    if (none && beta >= 0) return l1_loss(x, target, reduction, "smooth_l1_loss");
    AgVar loss = ag_apply1(&ag_op_smooth_l1_loss, 2, (AgVar[]){x, target}, &beta, sizeof beta);
    return ag_reduce_loss(loss, reduction, "smooth_l1_loss");
}

/* ---- bce_with_logits: x, target and perhaps pos_weight ---- */

static bool bce_shape(AgCall *c) {
    if (c->n_in > 3) return ag_call_fail(c, "%d arguments", c->n_in);
    if (!one_shape(c)) return false;
    const Tensor *x = c->in[0];
    Tensor p = c->n_in > 2 ? tensor_expand(c->in[2], x->ndim, x->shape) : *x;
    return !tensor_is_nil(&p) || ag_call_fail(c, "pos_weight does not broadcast to x");
}

/* y = weight ln(1 + e^x), and 0 where weight is, though the other factor be infinite. */
static void weighted_softplus(const Tensor *y, const Tensor *x, const Tensor *weight,
                              const Tensor *none, const Tensor *zero) {
    tensor_compare(TENSOR_EQ, none, weight, zero);
    tensor_binary(TENSOR_LOGADDEXP, y, x, zero);
    tensor_binary(TENSOR_MUL, y, y, weight);
    tensor_where(y, none, zero, y);
}

/* p target softplus(-x) + (1 - target) softplus(x) */
static bool bce_value(AgCall *c) {
    const Tensor *y = &c->out[0], *x = c->in[0], *target = c->in[1];
    Tensor zero = ag_call_tensor(c, false, y->dtype, 0, NULL);
    Tensor none = ag_call_tensor(c, false, TENSOR_U8, y->ndim, y->shape);
    Tensor weight = ag_call_tensor(c, false, y->dtype, y->ndim, y->shape);
    Tensor yes = ag_call_tensor(c, false, y->dtype, y->ndim, y->shape);
    if (tensor_is_nil(&zero) || tensor_is_nil(&none) || tensor_is_nil(&weight) ||
        tensor_is_nil(&yes))
        return false;
    tensor_fill(&zero, 0);
    tensor_affine(&weight, target, -1, 1);
    weighted_softplus(y, x, &weight, &none, &zero);
    if (c->n_in > 2) tensor_binary(TENSOR_MUL, &weight, target, c->in[2]);
    tensor_unary(TENSOR_NEG, &yes, x);
    weighted_softplus(&yes, &yes, c->n_in > 2 ? &weight : target, &none, &zero);
    tensor_binary(TENSOR_ADD, y, y, &yes);
    return true;
}

static bool bce_vjp(AgVjp *v) {
    AgVar x = v->in[0], target = v->in[1], g = v->gout[0], minus = ag_neg(x);
    bool weighted = v->n_in > 2;
    AgVar p = weighted ? v->in[2] : g;
    if (v->need[0]) {
        AgVar yes = ag_mul(target, ag_sigmoid(minus));
        if (weighted) yes = ag_mul(p, yes);
        AgVar no = ag_mul(ag_affine(target, -1, 1), ag_sigmoid(x));
        v->gin[0] = ag_mul(g, ag_sub(no, yes));
    }
    if (v->need[1]) {
        AgVar slope = weighted ? ag_sub(ag_logsigmoid(minus), ag_mul(p, ag_logsigmoid(x))) : minus;
        v->gin[1] = ag_mul(g, slope);
    }
    if (weighted && v->need[2])
        v->gin[2] = ag_sum_like(ag_neg(ag_mul(g, ag_mul(target, ag_logsigmoid(x)))), p);
    return true;
}

static const AgSample bce_samples[] = {
    {"matrix", 2, {AG_IN(-3, 3, 3, 4), AG_IN(0, 1, 3, 4)}, NO_OPTIONS, NULL},
    {"scalar", 2, {AG_IN(-3, 3), AG_IN(0, 1)}, NO_OPTIONS, NULL},
    {"empty", 2, {AG_IN(-3, 3, 0, 3), AG_IN(0, 1, 0, 3)}, NO_OPTIONS, NULL},
    {"longer than a vector", 2, {AG_IN(-9, 9, 37), AG_IN(0, 1, 37)}, NO_OPTIONS, NULL},
    {"pos_weight", 3, {AG_IN(-3, 3, 3, 4), AG_IN(0, 1, 3, 4), AG_IN(.5, 2, 4)}, NO_OPTIONS, NULL},
    {"one pos_weight", 3, {AG_IN(-3, 3, 5), AG_IN(0, 1, 5), AG_IN(.5, 2)}, NO_OPTIONS, NULL},
    {"each pos_weight", 3, {AG_IN(-3, 3, 37), AG_IN(0, 1, 37), AG_IN(.5, 2, 37)}, NO_OPTIONS, NULL},
    {0},
};
static const AgSample bce_errors[] = {
    ERRORS(NO_OPTIONS),
    {"pos_weight", 3, {AG_IN(-3, 3, 4), AG_IN(0, 1, 4), AG_IN(1, 2, 3)}, NO_OPTIONS,
     "pos_weight does not broadcast"},
    {"wide pos_weight", 3, {AG_IN(-3, 3, 4), AG_IN(0, 1, 4), AG_IN(1, 2, 2, 4)}, NO_OPTIONS,
     "pos_weight does not broadcast"},
    {"four", 4, {AG_IN(-3, 3), AG_IN(0, 1), AG_IN(0, 1), AG_IN(0, 1)}, NO_OPTIONS, "4 arguments"},
    {0},
};
const AgOp ag_op_bce_with_logits = {
    "bce_with_logits", "-p t ln sigmoid(x) - (1 - t) ln sigmoid(-x)", "ff*:f", bce_shape,
    bce_value,         bce_vjp, NULL, bce_samples, bce_errors, false, NULL};

AgVar ag_bce_with_logits(AgVar x, AgVar target, const AgBceOptions *options) {
    AgBceOptions o = {0};
    if (options) o = *options;
    AgVar in[] = {x, target, o.pos_weight};
    AgVar loss = ag_apply1(&ag_op_bce_with_logits, o.pos_weight.tape ? 3 : 2, in, NULL, 0);
    if (o.weight.tape && ag_ok(loss) && ag_ok(o.weight)) {
        const Tensor *y = ag_value(loss);
        Tensor w = tensor_expand(ag_value(o.weight), y->ndim, y->shape);
        char text[TENSOR_DESCRIBE_SIZE];
        if (tensor_is_nil(&w))
            return ag_fail(loss.tape, "bce_with_logits: weight %s does not broadcast to x",
                           tensor_describe(ag_value(o.weight), text, sizeof text));
    }
    if (o.weight.tape) loss = ag_mul(loss, o.weight);
    return ag_reduce_loss(loss, o.reduction, "bce_with_logits");
}
