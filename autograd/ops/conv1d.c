/* conv1d: causal convolution in time, and the gradient of its weight. */
#include "autograd/ops/ops.h"
#include "autograd/sequence.h"
#include "tensor/gemm.h"

/* The two ops here are linear in each input, and together closed under differentiation.  With
 * s(k) = (width - 1 - k) dilation and W_k = weight[.., k]:
 *     conv1d              y_t = bias + sum_k W_k x_{t - s(k)}
 *     conv1d, transposed  y_t = sum_k W_k^T x_{t + s(k)}: what the gradient of x is
 *     conv1d_weight       W_k = sum_{t, b} g_t x_{t - s(k)}^T: what the gradient of weight is */
typedef struct {
    int64_t dilation, groups;
    bool transposed;
    int64_t width; /* of conv1d_weight */
} Options;

static bool check_options(AgCall *c) {
    const Options *o = c->options;
    if (o->dilation < 1)
        return ag_call_fail(c, "dilation is %lld, wants 1 or more", (long long)o->dilation);
    if (o->groups < 1)
        return ag_call_fail(c, "groups is %lld, wants 1 or more", (long long)o->groups);
    return true;
}

static bool divides(AgCall *c, const char *letter, int64_t n) {
    const Options *o = c->options;
    return n % o->groups == 0 || ag_call_fail(c, "%lld groups do not divide %s = %lld",
                                              (long long)o->groups, letter, (long long)n);
}

static bool shape(AgCall *c) {
    const Options *o = c->options;
    if (c->n_in != 2 && c->n_in != 3) return ag_call_fail(c, "wants x, weight and perhaps bias");
    const Tensor *x = c->in[0], *weight = c->in[1], *bias = c->n_in == 3 ? c->in[2] : NULL;
    if (x->ndim != 3) return ag_call_fail(c, "wants x [T, B, I]");
    if (weight->ndim != 3) return ag_call_fail(c, "wants a weight [H, I / groups, width]");
    if (!check_options(c) || !divides(c, "H", weight->shape[0])) return false;
    if (!o->transposed && !divides(c, "I", x->shape[2])) return false;
    if (weight->shape[2] < 1) return ag_call_fail(c, "the weight's width is 0, wants 1 or more");
    int64_t H = weight->shape[0], I;
    if (__builtin_mul_overflow(weight->shape[1], o->groups, &I))
        return ag_call_fail(c, "%lld groups are too many", (long long)o->groups);
    int64_t wanted = o->transposed ? H : I, size = o->transposed ? I : H;
    if (x->shape[2] != wanted)
        return ag_call_fail(c, "x has %lld channels, the weight and groups want %lld",
                            (long long)x->shape[2], (long long)wanted);
    if (bias && (bias->ndim != 1 || bias->shape[0] != size))
        return ag_call_fail(c, "wants a bias [H]");
    return ag_out_shape(c, 0, 3, (int64_t[]){x->shape[0], x->shape[1], size});
}

/* ---- sizes and views ---- */

/* How a weight [H, I / groups, width] is divided. */
typedef struct {
    int64_t groups, outs, ins, width; /* outs and ins: of a group */
    int64_t taps, dilation;           /* taps: how many of the last ones meet any of the T steps */
    bool across;                      /* columns of all groups side by side, not by group */
} Plan;

/* The matrices of small groups are too small for a product; columns, one of each group, side by
 * side fill vectors: the faster way with at least 16 groups and at most 64 pairs of columns. */
enum { LEAST_ACROSS = 16, MOST_PAIRS = 64 };

static Plan plan_for(const Options *o, const Tensor *weight, int64_t T) {
    Plan p = {o->groups, weight->shape[0] / o->groups, weight->shape[1], weight->shape[2],
              0, o->dilation, false};
    p.taps = T == 0 ? 0 : (T - 1) / o->dilation + 1;
    if (p.taps > p.width) p.taps = p.width;
    int64_t pairs = p.ins * p.outs;
    p.across = pairs == 1 ? p.groups > 1
                          : p.groups >= LEAST_ACROSS && pairs > 0 && pairs <= MOST_PAIRS;
    return p;
}

static int64_t shift_of(const Plan *p, int64_t k) { return (p->width - 1 - k) * p->dilation; }

/* weight as [width, groups, outs, ins], or across groups as [width, outs, ins, groups]. */
static Tensor by_tap(const Plan *p, const Tensor *weight) {
    Tensor parts = tensor_reshape(weight, 4, (int64_t[]){p->groups, p->outs, p->ins, p->width});
    return tensor_permute(&parts, p->across ? (int[]){3, 1, 2, 0} : (int[]){3, 0, 1, 2});
}

/* Nil: out of memory. */
static Tensor dense_copy(const Tensor *x, TensorArena *scratch) {
    Tensor y = tensor_new(scratch, x->dtype, x->ndim, x->shape);
    if (!tensor_is_nil(&y)) tensor_convert(&y, x);
    return y;
}

/* x [T, B, groups channels] as [channels, T, B, groups]: column j holds channel j of each group. */
static Tensor columns_of(const Plan *p, const Tensor *x, int64_t channels) {
    Tensor parts =
        tensor_reshape(x, 4, (int64_t[]){x->shape[0], x->shape[1], p->groups, channels});
    return tensor_permute(&parts, (int[]){3, 0, 1, 2});
}

static bool is_dense(const Tensor *columns) { return columns->stride[3] == 1; }

/* The columns, with the elements of a row one behind the other.  Nil: out of memory. */
static Tensor dense_columns_of(const Plan *p, const Tensor *x, int64_t channels,
                               TensorArena *scratch) {
    Tensor columns = columns_of(p, x, channels);
    return is_dense(&columns) ? columns : dense_copy(&columns, scratch);
}

/* Steps start.. of the channels of group i, as rows; nil where strides allow no such view. */
static Tensor rows_of(const Tensor *x, int64_t start, int64_t steps, int64_t channels, int64_t i) {
    Tensor part = tensor_narrow(x, 0, start, steps);
    part = tensor_narrow(&part, 2, i * channels, channels);
    return tensor_reshape(&part, 2, (int64_t[]){steps * x->shape[1], channels});
}

static bool has_rows(const Tensor *x) {
    Tensor rows = rows_of(x, 0, x->shape[0], x->shape[2], 0);
    return !tensor_is_nil(&rows);
}

/* x itself if its steps can be rows of one matrix, else a copy of it; nil: out of memory. */
static Tensor with_rows(const Tensor *x, TensorArena *scratch) {
    return has_rows(x) ? *x : dense_copy(x, scratch);
}

/* ---- values ---- */

/* y = bias (+ y) + the convolution, w being by tap: one product for each tap and group over all
 * steps, which a shift makes a narrow view of x. */
static bool multiply(const Plan *p, const Tensor *y, const Tensor *x, const Tensor *w,
                     const Tensor *bias, bool transposed, bool accumulate, TensorArena *scratch) {
    const int64_t T = y->shape[0], n_x = transposed ? p->outs : p->ins;
    const int64_t n_y = transposed ? p->ins : p->outs;
    Tensor in = with_rows(x, scratch);
    if (tensor_is_nil(&in)) return false;
    if (bias) tensor_convert(y, bias);
    for (int64_t i = 0; i < p->groups; i++)
        for (int64_t k = p->width; k-- > p->width - p->taps;) {
            const int64_t s = shift_of(p, k);
            Tensor a = rows_of(&in, transposed ? s : 0, T - s, n_x, i);
            Tensor c = rows_of(y, transposed ? 0 : s, T - s, n_y, i);
            Tensor b = tensor_select(w, 0, k);
            b = tensor_select(&b, 0, i);
            if (!transposed) b = tensor_transpose(&b, 0, 1);
            /* The first, without a shift, covers all steps. */
            double beta = k == p->width - 1 && !bias && !accumulate ? 0 : 1;
            if (!tensor_gemm(1, &a, &b, beta, &c, scratch)) return false;
        }
    return true;
}

/* Likewise, of each column of y over all columns of x. */
static bool multiply_across(const Plan *p, const Tensor *y, const Tensor *x, const Tensor *w,
                            const Tensor *bias, bool transposed, bool accumulate,
                            TensorArena *scratch) {
    const int64_t n_x = transposed ? p->outs : p->ins, n_y = transposed ? p->ins : p->outs;
    Tensor place = columns_of(p, y, n_y), in = dense_columns_of(p, x, n_x, scratch), out = place;
    Tensor start = tensor_nil();
    if (bias) {
        start = tensor_reshape(bias, 2, (int64_t[]){p->groups, n_y});
        start = tensor_transpose(&start, 0, 1);
        start = dense_copy(&start, scratch);
        if (tensor_is_nil(&start)) return false;
    }
    if (!is_dense(&place))
        out = accumulate ? dense_copy(&place, scratch)
                         : tensor_new(scratch, place.dtype, place.ndim, place.shape);
    if (tensor_is_nil(&in) || tensor_is_nil(&out)) return false;
    for (int64_t to = 0; to < n_y; to++)
        for (int64_t from = 0; from < n_x; from++) {
            Tensor y_column = tensor_select(&out, 0, to), x_column = tensor_select(&in, 0, from);
            Tensor taps = tensor_select(w, 1, transposed ? from : to);
            Tensor b = tensor_select(&start, 0, to);
            taps = tensor_select(&taps, 1, transposed ? to : from);
            TensorDepthwise o = {p->dilation, transposed, accumulate || from > 0};
            tensor_depthwise(&y_column, &x_column, &taps, bias ? &b : NULL, &o);
        }
    if (out.data != place.data) tensor_convert(&place, &out);
    return true;
}

/* Fails (false): out of memory.  y can be rows. */
static bool convolve(const Options *o, const Tensor *y, const Tensor *x, const Tensor *weight,
                     const Tensor *bias, bool accumulate, TensorArena *scratch) {
    if (tensor_numel(y) == 0) return true;
    const Plan p = plan_for(o, weight, y->shape[0]);
    Tensor parts = by_tap(&p, weight), w = dense_copy(&parts, scratch);
    if (tensor_is_nil(&w)) return false;
    if (!p.across)
        return multiply(&p, y, x, &w, bias, o->transposed, accumulate, scratch);
    return multiply_across(&p, y, x, &w, bias, o->transposed, accumulate, scratch);
}

static bool value(AgCall *c) {
    return convolve(c->options, &c->out[0], c->in[0], c->in[1], c->n_in == 3 ? c->in[2] : NULL,
                    false, c->scratch) ||
           ag_call_fail(c, "out of memory");
}

static bool weights(const Plan *p, const Tensor *w, const Tensor *x, const Tensor *g,
                    TensorArena *scratch) {
    const int64_t T = g->shape[0];
    Tensor in = with_rows(x, scratch), out = with_rows(g, scratch);
    if (tensor_is_nil(&in) || tensor_is_nil(&out)) return false;
    for (int64_t i = 0; i < p->groups; i++)
        for (int64_t k = p->width - p->taps; k < p->width; k++) {
            const int64_t s = shift_of(p, k);
            Tensor a = rows_of(&out, s, T - s, p->outs, i), b = rows_of(&in, 0, T - s, p->ins, i);
            Tensor c = tensor_select(w, 0, k);
            c = tensor_select(&c, 0, i);
            a = tensor_transpose(&a, 0, 1);
            if (!tensor_gemm(1, &a, &b, 0, &c, scratch)) return false;
        }
    return true;
}

static bool weights_across(const Plan *p, const Tensor *w, const Tensor *x, const Tensor *g,
                           TensorArena *scratch) {
    Tensor sums = tensor_new(scratch, TENSOR_F64, 2, (int64_t[]){p->width, p->groups});
    Tensor in = dense_columns_of(p, x, p->ins, scratch);
    Tensor out = dense_columns_of(p, g, p->outs, scratch);
    if (tensor_is_nil(&sums) || tensor_is_nil(&in) || tensor_is_nil(&out)) return false;
    for (int64_t to = 0; to < p->outs; to++)
        for (int64_t from = 0; from < p->ins; from++) {
            Tensor x_column = tensor_select(&in, 0, from), g_column = tensor_select(&out, 0, to);
            Tensor taps = tensor_select(w, 1, to);
            taps = tensor_select(&taps, 1, from);
            tensor_depthwise_weight(&sums, &x_column, &g_column, p->dilation);
            tensor_convert(&taps, &sums);
        }
    return true;
}

/* dw (+)= the weight's gradient.  Fails (false): out of memory. */
static bool correlate(const Options *o, const Tensor *dw, const Tensor *x, const Tensor *g,
                      bool accumulate, TensorArena *scratch) {
    if (tensor_numel(dw) == 0) return true;
    const Plan p = plan_for(o, dw, g->shape[0]);
    Tensor to = by_tap(&p, dw), w = tensor_new(scratch, dw->dtype, 4, to.shape);
    if (tensor_is_nil(&w)) return false;
    if (p.taps < p.width) tensor_fill(&w, 0);
    if (!(p.across ? weights_across : weights)(&p, &w, x, g, scratch)) return false;
    (accumulate ? tensor_accumulate : tensor_convert)(&to, &w);
    return true;
}

static bool weight_shape(AgCall *c) {
    const Options *o = c->options;
    const Tensor *x = c->in[0], *g = c->in[1];
    if (x->ndim != 3 || g->ndim != 3 || x->shape[0] != g->shape[0] || x->shape[1] != g->shape[1])
        return ag_call_fail(c, "wants x [T, B, I] and g [T, B, H]");
    if (!check_options(c) || !divides(c, "I", x->shape[2]) || !divides(c, "H", g->shape[2]))
        return false;
    if (o->width < 1)
        return ag_call_fail(c, "width is %lld, wants 1 or more", (long long)o->width);
    return ag_out_shape(c, 0, 3, (int64_t[]){g->shape[2], x->shape[2] / o->groups, o->width});
}

static bool weight_value(AgCall *c) {
    return correlate(c->options, &c->out[0], c->in[0], c->in[1], false, c->scratch) ||
           ag_call_fail(c, "out of memory");
}

/* ---- gradients ---- */

static AgVar conv(AgVar x, AgVar weight, Options o, bool transposed) {
    o.transposed = transposed;
    return ag_apply1(&ag_op_conv1d, 2, (AgVar[]){x, weight}, &o, sizeof o);
}

/* gin[i] = a convolution of g; straight into the gradient's own buffer where there is one. */
static bool put_conv(AgVjp *v, int i, AgVar g, AgVar weight, bool transposed) {
    Options o = *(const Options *)v->options;
    o.transposed = transposed;
    const Tensor *into = ag_vjp_into(v, i);
    if (!into || !has_rows(into) || !ag_ok(g)) {
        v->gin[i] = conv(g, weight, o, transposed);
    } else if (!convolve(&o, into, ag_value(g), ag_value(weight), NULL, true, v->scratch)) {
        ag_fail(v->tape, "conv1d: out of memory");
        return false;
    }
    return true;
}

/* Likewise the gradient of the weight, for x and g of the convolution that is not transposed. */
static bool put_weight(AgVjp *v, AgVar x, AgVar g) {
    Options o = *(const Options *)v->options;
    o.width = ag_dim(v->in[1], 2);
    const Tensor *into = ag_vjp_into(v, 1);
    if (!into || !ag_ok(g)) {
        v->gin[1] = ag_apply1(&ag_op_conv1d_weight, 2, (AgVar[]){x, g}, &o, sizeof o);
    } else if (!correlate(&o, into, ag_value(x), ag_value(g), true, v->scratch)) {
        ag_fail(v->tape, "conv1d: out of memory");
        return false;
    }
    return true;
}

static bool vjp(AgVjp *v) {
    const Options *o = v->options;
    AgVar x = v->in[0], g = v->gout[0];
    if (v->need[0] && !put_conv(v, 0, g, v->in[1], !o->transposed)) return false;
    if (v->need[1] && !(o->transposed ? put_weight(v, g, x) : put_weight(v, x, g))) return false;
    if (v->n_in == 3 && v->need[2]) v->gin[2] = ag_sum(g, AG_AXES(0, 1), false);
    return true;
}

static bool weight_vjp(AgVjp *v) {
    return (!v->need[0] || put_conv(v, 0, v->in[1], v->gout[0], true)) &&
           (!v->need[1] || put_conv(v, 1, v->in[0], v->gout[0], false));
}

/* ---- samples ---- */

#define CONV(dilation, groups) AG_WITH(Options, dilation, groups, false, 0)
#define TRANSPOSED(dilation, groups) AG_WITH(Options, dilation, groups, true, 0)
#define WEIGHT(width, dilation, groups) AG_WITH(Options, dilation, groups, false, width)
#define X(...) AG_IN(-1, 1, __VA_ARGS__)
static const AgSample samples[] = {
    {"sequence", 3, {X(5, 2, 3), X(4, 3, 3), X(4)}, CONV(1, 1), NULL},
    {"no bias", 2, {X(3, 3, 3), X(3, 3, 3)}, CONV(1, 1), NULL},
    {"dilation", 3, {X(6, 2, 2), X(3, 2, 3), X(3)}, CONV(2, 1), NULL},
    {"groups", 3, {X(4, 2, 4), X(6, 2, 2), X(6)}, CONV(1, 2), NULL},
    {"depthwise", 3, {X(5, 2, 3), X(3, 1, 3), X(3)}, CONV(2, 3), NULL},
    {"depthwise, two from each", 3, {X(4, 2, 3), X(6, 1, 2), X(6)}, CONV(1, 3), NULL},
    {"one of each two", 3, {X(4, 2, 4), X(2, 2, 2), X(2)}, CONV(1, 2), NULL},
    {"one tap", 3, {X(3, 2, 3), X(2, 3, 1), X(2)}, CONV(3, 1), NULL},
    {"wider than the sequence", 3, {X(2, 2, 2), X(3, 2, 5), X(3)}, CONV(1, 1), NULL},
    {"longer than a vector", 3, {X(2, 1, 37), X(37, 1, 2), X(37)}, CONV(1, 37), NULL},
    {"many small groups", 3, {X(2, 1, 32), X(16, 2, 2), X(16)}, CONV(1, 16), NULL},
    {"transposed", 2, {X(5, 2, 4), X(4, 3, 3)}, TRANSPOSED(1, 1), NULL},
    {"transposed groups", 2, {X(5, 2, 6), X(6, 2, 2)}, TRANSPOSED(2, 2), NULL},
    {"transposed depthwise", 3, {X(4, 2, 6), X(6, 1, 2), X(3)}, TRANSPOSED(1, 3), NULL},
    {"no steps", 3, {X(0, 2, 3), X(4, 3, 2), X(4)}, CONV(1, 1), NULL},
    {"no rows", 3, {X(3, 0, 3), X(3, 1, 2), X(3)}, CONV(1, 3), NULL},
    {"no channels", 3, {X(3, 2, 0), X(4, 0, 2), X(4)}, CONV(1, 2), NULL},
    {"no results", 3, {X(3, 2, 3), X(0, 3, 2), X(0)}, CONV(1, 1), NULL},
    {"nothing in very many groups", 3, {X(3, 2, 0), X(0, 0, 2), X(0)}, CONV(1, INT64_MAX), NULL},
    {0},
};
static const AgSample errors[] = {
    {"x", 2, {X(5, 3), X(4, 3, 2)}, CONV(1, 1), "wants x [T, B, I]"},
    {"weight", 2, {X(5, 2, 3), X(4, 3)}, CONV(1, 1), "wants a weight [H, I / groups, width]"},
    {"width", 2, {X(5, 2, 3), X(4, 3, 0)}, CONV(1, 1), "width is 0"},
    {"channels", 2, {X(5, 2, 3), X(4, 2, 2)}, CONV(1, 1), "x has 3 channels"},
    {"groups of I", 2, {X(5, 2, 3), X(4, 2, 2)}, CONV(1, 2), "2 groups do not divide I = 3"},
    {"groups of H", 2, {X(5, 2, 4), X(3, 2, 2)}, CONV(1, 2), "2 groups do not divide H = 3"},
    {"no groups", 2, {X(5, 2, 4), X(3, 2, 2)}, CONV(1, -1), "groups is -1"},
    {"too many groups", 2, {X(5, 2, 0), X(0, 4, 2)}, CONV(1, INT64_C(1) << 62),
     "4611686018427387904 groups are too many"},
    {"dilation", 2, {X(5, 2, 3), X(4, 3, 2)}, CONV(-2, 1), "dilation is -2"},
    {"bias", 3, {X(5, 2, 3), X(4, 3, 2), X(3)}, CONV(1, 1), "wants a bias [H]"},
    {"x alone", 1, {X(5, 2, 3)}, CONV(1, 1), "wants x, weight and perhaps bias"},
    {"dtypes", 2, {AG_IN_DTYPE("f32", -1, 1, 5, 2, 3), AG_IN_DTYPE("f64", -1, 1, 4, 3, 2)},
     CONV(1, 1), "mixed dtypes"},
    {0},
};
static const AgSample weight_samples[] = {
    {"sequence", 2, {X(5, 2, 3), X(5, 2, 4)}, WEIGHT(3, 1, 1), NULL},
    {"one size", 2, {X(3, 3, 3), X(3, 3, 3)}, WEIGHT(2, 1, 1), NULL},
    {"dilation", 2, {X(6, 2, 2), X(6, 2, 3)}, WEIGHT(3, 2, 1), NULL},
    {"groups", 2, {X(4, 2, 4), X(4, 2, 6)}, WEIGHT(2, 1, 2), NULL},
    {"depthwise", 2, {X(5, 2, 3), X(5, 2, 6)}, WEIGHT(2, 2, 3), NULL},
    {"wider than the sequence", 2, {X(2, 2, 3), X(2, 2, 3)}, WEIGHT(4, 1, 3), NULL},
    {"longer than a vector", 2, {X(2, 1, 37), X(2, 1, 37)}, WEIGHT(2, 1, 37), NULL},
    {"many small groups", 2, {X(2, 1, 16), X(2, 1, 32)}, WEIGHT(2, 1, 16), NULL},
    {"no steps", 2, {X(0, 2, 3), X(0, 2, 4)}, WEIGHT(2, 1, 1), NULL},
    {"no rows", 2, {X(3, 0, 3), X(3, 0, 3)}, WEIGHT(2, 1, 3), NULL},
    {"no channels", 2, {X(3, 2, 0), X(3, 2, 4)}, WEIGHT(2, 1, 1), NULL},
    {"nothing in very many groups", 2, {X(3, 2, 0), X(3, 2, 0)}, WEIGHT(2, 1, INT64_MAX), NULL},
    {0},
};
static const AgSample weight_errors[] = {
    {"steps", 2, {X(5, 2, 3), X(4, 2, 3)}, WEIGHT(2, 1, 1), "wants x [T, B, I] and g [T, B, H]"},
    {"matrix", 2, {X(5, 3), X(5, 3)}, WEIGHT(2, 1, 1), "wants x [T, B, I]"},
    {"groups of I", 2, {X(5, 2, 3), X(5, 2, 4)}, WEIGHT(2, 1, 2), "do not divide I = 3"},
    {"groups of H", 2, {X(5, 2, 4), X(5, 2, 3)}, WEIGHT(2, 1, 2), "do not divide H = 3"},
    {"width", 2, {X(5, 2, 3), X(5, 2, 3)}, WEIGHT(0, 1, 1), "width is 0"},
    {"dilation", 2, {X(5, 2, 3), X(5, 2, 3)}, WEIGHT(1, 0, 1), "dilation is 0"},
    {0},
};

/* ---- definitions ---- */

static void write_options(const void *options, char *buf, size_t n) {
    const Options *o = options;
    snprintf(buf, n, "dilation %lld, groups %lld%s", (long long)o->dilation, (long long)o->groups,
             o->transposed ? ", transposed" : "");
}

const AgOp ag_op_conv1d = {"conv1d", "causal convolution in time", "f*:f",  shape, value, vjp, NULL,
                           samples,  errors,                       false, write_options};
const AgOp ag_op_conv1d_weight = {"conv1d_weight", "gradient of the weight of conv1d",
                                  "ff:f",          weight_shape,
                                  weight_value,    weight_vjp,
                                  NULL,            weight_samples,
                                  weight_errors,   false,
                                  write_options};
AgVar ag_conv1d(AgVar x, AgVar weight, AgVar bias, const AgConv1dOptions *options) {
    Options o = {.dilation = 1, .groups = 1};
    if (options && options->dilation) o.dilation = options->dilation;
    if (options && options->groups) o.groups = options->groups;
    return ag_apply1(&ag_op_conv1d, bias.tape ? 3 : 2, (AgVar[]){x, weight, bias}, &o, sizeof o);
}
