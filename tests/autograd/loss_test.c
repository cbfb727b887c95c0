/* Losses against plain loops, numbers worked out by hand, and sums over all paths. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/ag.h"
#include "autograd/gradcheck/gradcheck.h"

static AgTape *t;
static void start(void) { t = ag_tape_new(); }
static void stop(void) { ag_tape_free(t); }
TestSuite(loss, .init = start, .fini = stop);

static const AgVar ones = {0};
static const AgReduction reductions[] = {AG_NONE, AG_SUM, AG_MEAN};

static AgVar floats(int ndim, const int64_t *shape, const double *values) {
    Tensor x = tensor_wrap((void *)(uintptr_t)values, TENSOR_F64, ndim, shape);
    return ag_input(t, &x);
}
static AgVar ints(int ndim, const int64_t *shape, const int64_t *values) {
    Tensor x = tensor_wrap((void *)(uintptr_t)values, TENSOR_I64, ndim, shape);
    return ag_input(t, &x);
}
#define SHAPE(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__}

/* Numbers in -2..2 without a pattern that matters. */
static void fill(int n, double *x, double phase) {
    for (int i = 0; i < n; i++) x[i] = 2 * sin(phase + 1.7 * i + .3 * i * i);
}

static double get(AgVar v, int64_t i) { return tensor_get(ag_value(v), i); }
static bool is_close(double a, double b) {
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-12 * (1 + fabs(b));
}
static void expect_error(AgVar v, const char *words) {
    cr_expect(!ag_ok(v) && strstr(ag_tape_error(t), words), "`%s`, wants `%s`", ag_tape_error(t),
              words);
    ag_tape_reset(t);
}

/* ---- cross entropy ---- */

enum { N = 7, C = 5 };
typedef struct {
    double x[N * C], q[N * C], weight[C];
    int64_t target[N];
} Rows;

static Rows rows(void) {
    Rows r = {.weight = {.5, 2, 0, 1.25, 3}, .target = {4, 1, 0, 3, 1, 2, 4}};
    fill(N * C, r.x, 0);
    fill(N * C, r.q, 1);
    for (int i = 0; i < N * C; i++) r.q[i] = fabs(r.q[i]);
    return r;
}

static double log_sum(const double *x) {
    double sum = 0;
    for (int v = 0; v < C; v++) sum += exp(x[v]);
    return log(sum);
}

/* The definition, of classes and of probabilities: one row's loss, and its part of the mean. */
static double class_loss(const Rows *r, const double *w, double e, int64_t ignore, int i,
                         double *part) {
    const double *x = r->x + i * C;
    int64_t c = r->target[i];
    *part = c == ignore ? 0 : w[c];
    if (c == ignore) return 0;
    double loss = (1 - e) * w[c] * (log_sum(x) - x[c]);
    for (int v = 0; v < C; v++) loss += e / C * w[v] * (log_sum(x) - x[v]);
    return loss;
}

static double probs_loss(const Rows *r, const double *w, double e, int i, double *part) {
    const double *x = r->x + i * C;
    double loss = 0;
    for (int v = 0; v < C; v++)
        loss += ((1 - e) * r->q[i * C + v] + e / C) * w[v] * (log_sum(x) - x[v]);
    *part = 1;
    return loss;
}

static void expect_rows(AgVar got, const double *loss, const double *part, AgReduction reduction) {
    double sum = 0, parts = 0;
    for (int i = 0; i < N; i++) {
        sum += loss[i];
        parts += part[i];
        if (reduction == AG_NONE) cr_expect(is_close(get(got, i), loss[i]), "row %d", i);
    }
    cr_assert(ag_ok(got), "%s", ag_tape_error(t));
    if (reduction == AG_NONE) return;
    double want = reduction == AG_MEAN ? sum / parts : sum;
    cr_expect(is_close(ag_item(got), want), "%.17g, wants %.17g", ag_item(got), want);
}

Test(loss, cross_entropy_agrees_with_its_definition_in_every_option) {
    const Rows r = rows();
    const double flat[C] = {1, 1, 1, 1, 1}, smoothing[] = {0, .1, 1};
    double loss[N], part[N];
    for (int k = 0; k < 3 * 3 * 2 * 2 * 2; k++) {
        ag_tape_reset(t);
        double e = smoothing[k % 3];
        AgReduction reduction = reductions[k / 3 % 3];
        bool weighted = k / 9 % 2, probs = k / 18 % 2, across = k / 36 % 2;
        AgCrossEntropyOptions o = {.reduction = reduction, .label_smoothing = e,
                                   .has_ignore_index = !probs, .ignore_index = 1};
        if (weighted) o.weight = floats(SHAPE(C), r.weight);
        AgVar x = floats(SHAPE(N, C), r.x);
        if (across) x = ag_transpose(ag_contiguous(ag_transpose(x, 0, 1)), 0, 1);
        for (int i = 0; i < N; i++) {
            const double *w = weighted ? r.weight : flat;
            loss[i] = probs ? probs_loss(&r, w, e, i, &part[i])
                            : class_loss(&r, w, e, 1, i, &part[i]);
        }
        AgVar target = probs ? floats(SHAPE(N, C), r.q) : ints(SHAPE(N), r.target);
        expect_rows(ag_cross_entropy(x, target, &o), loss, part, reduction);
        if (!probs && e == 0)
            expect_rows(ag_nll_loss(ag_log_softmax(x, -1), target, &o), loss, part, reduction);
    }
}

typedef struct {
    AgCrossEntropyOptions o;
    bool probs, nll;
} Case;

/* x, target, weight */
static int cross_entropy_of(AgTape *tape, const AgVar *x, AgVar *y, void *context) {
    (void)tape;
    Case c = *(const Case *)context;
    c.o.weight = x[2];
    y[0] = c.nll ? ag_nll_loss(x[0], x[1], &c.o) : ag_cross_entropy(x[0], x[1], &c.o);
    return 1;
}

Test(loss, cross_entropy_with_weights_has_first_and_second_derivatives) {
    Rows r = rows();
    for (int k = 0; k < 3 * 3 * 2; k++) {
        Case c = {.o = {.reduction = reductions[k % 3]}, .probs = k / 3 % 3 == 1,
                  .nll = k / 3 % 3 == 2};
        c.o.label_smoothing = c.nll ? 0 : .2;
        c.o.has_ignore_index = !c.probs;
        c.o.ignore_index = 1;
        Tensor in[] = {tensor_wrap(r.x, TENSOR_F64, SHAPE(N, C)),
                       c.probs ? tensor_wrap(r.q, TENSOR_F64, SHAPE(N, C))
                               : tensor_wrap(r.target, TENSOR_I64, SHAPE(N)),
                       tensor_wrap(r.weight, TENSOR_F64, SHAPE(C))};
        GradcheckResult result;
        cr_expect((k / 9 ? gradgradcheck : gradcheck)(cross_entropy_of, &c, 3, in, NULL, &result),
                  "case %d: %s", k, result.message);
    }
}

Test(loss, logits_of_ignored_rows_may_be_nan) {
    const double values[] = {NAN, 1, INFINITY, .5, -.5, 1};
    const int64_t targets[] = {AG_IGNORE_INDEX, 2};
    for (int c = 0; c < 4; c++) {
        AgCrossEntropyOptions o = {.reduction = reductions[1 + c / 2],
                                   .label_smoothing = c % 2 * .1};
        AgVar x = floats(SHAPE(2, 3), values), gx[2], again;
        AgVar loss = ag_cross_entropy(x, ints(SHAPE(2), targets), &o);
        for (int k = 0; k < 2; k++)
            cr_assert(ag_grad(loss, ones, 1, &x, &gx[k], k), "%s", ag_tape_error(t));
        AgVar squares = ag_sum(ag_square(gx[1]), AG_ALL_AXES, false);
        cr_assert(ag_grad(squares, ones, 1, &x, &again, false), "%s", ag_tape_error(t));
        for (int i = 0; i < 6; i++) {
            cr_expect(is_close(get(gx[1], i), get(gx[0], i)), "%d: %g", i, get(gx[1], i));
            cr_expect(i < 3 ? get(gx[1], i) == 0 && get(again, i) == 0 : get(again, i) != 0,
                      "%d: %g, %g", i, get(gx[1], i), get(again, i));
        }
    }
}

Test(loss, cross_entropy_of_ignored_rows_only_is_nan_without_a_gradient) {
    const Rows r = rows();
    const int64_t classes[] = {1, 1};
    for (int k = 0; k < 8; k++) {
        AgVar x = floats(SHAPE(2, C), r.x), target = ints(SHAPE(2), classes), g;
        AgCrossEntropyOptions o = {.has_ignore_index = true, .ignore_index = 1};
        if (k % 2) o.weight = floats(SHAPE(C), r.weight);
        if (k / 2 % 2) o.label_smoothing = .1;
        if (k / 4) o.reduction = AG_SUM;
        AgVar loss = ag_cross_entropy(x, target, &o);
        cr_expect(k / 4 ? ag_item(loss) == 0 : isnan(ag_item(loss)));
        cr_assert(ag_grad(loss, ones, 1, &x, &g, false), "%s", ag_tape_error(t));
        for (int i = 0; i < 2 * C; i++) cr_expect_eq(get(g, i), 0);
    }
}

Test(loss, cross_entropy_of_extreme_logits_is_exact) {
    const double x[] = {1e4, -1e4, 0, 1e4, -INFINITY, 0};
    const int64_t target[] = {1, 0};
    const double q[] = {.25, .5, .25, .75, 0, .25};
    AgVar logits = floats(SHAPE(2, 3), x), probs = floats(SHAPE(2, 3), q), g[2];
    AgCrossEntropyOptions o = {.reduction = AG_NONE};
    AgVar loss = ag_cross_entropy(logits, ints(SHAPE(2), target), &o);
    cr_expect_eq(get(loss, 0), 2e4);
    cr_expect_eq(get(loss, 1), 0);
    cr_assert(ag_grad(loss, ones, 1, &logits, g, false));
    const double want[] = {1, -1, 0, 0, 0, 0};
    for (int i = 0; i < 6; i++) cr_expect_eq(get(g[0], i), want[i]);
    loss = ag_cross_entropy(logits, probs, &o);
    cr_expect_eq(get(loss, 0), 12500);
    cr_expect_eq(get(loss, 1), 2500);
    cr_assert(ag_grad(loss, ones, 2, (AgVar[]){logits, probs}, g, false));
    for (int i = 0; i < 6; i++) {
        cr_expect_eq(get(g[0], i), (i % 3 == 0) - q[i]);
        cr_expect_eq(get(g[1], i), i == 4 ? 0 : 1e4 - x[i]);
    }
}

/* Only a probability of exactly 0 lets such a logit out. */
Test(loss, a_class_with_probability_and_a_logit_of_minus_infinity_has_infinite_loss) {
    const double x[] = {0, -INFINITY}, q[] = {.75, .25};
    AgVar logits = floats(SHAPE(2), x), probs = floats(SHAPE(2), q), g;
    AgVar loss = ag_cross_entropy(logits, probs, NULL);
    cr_expect_eq(ag_item(loss), INFINITY);
    cr_assert(ag_grad(loss, ones, 1, &probs, &g, false));
    cr_expect(get(g, 0) == 0 && get(g, 1) == INFINITY);
    cr_assert(ag_grad(loss, ones, 1, &logits, &g, false));
    cr_expect(get(g, 0) == .25 && get(g, 1) == -.25);
}

Test(loss, cross_entropy_of_nothing_is_nan_or_zero) {
    AgVar x = ag_full(t, TENSOR_F64, SHAPE(0, 3), 0), target = ag_full(t, TENSOR_I64, SHAPE(0), 0);
    for (int probs = 0; probs < 2; probs++) {
        AgCrossEntropyOptions o = {.weight = ag_full(t, TENSOR_F64, SHAPE(3), 1)};
        AgVar to = probs ? x : target;
        cr_expect(isnan(ag_item(ag_cross_entropy(x, to, &o))));
        cr_expect(isnan(ag_item(ag_cross_entropy(x, to, NULL))));
        o.reduction = AG_SUM;
        cr_expect_eq(ag_item(ag_cross_entropy(x, to, &o)), 0);
    }
    cr_expect(isnan(ag_item(ag_nll_loss(x, target, NULL))));
}

static AgVar wrong_cross_entropy(int k) {
    const Rows r = rows();
    AgVar x = floats(SHAPE(N, C), r.x), q = floats(SHAPE(N, C), r.q), c = ints(SHAPE(N), r.target);
    AgVar w = floats(SHAPE(C), r.weight), three = floats(SHAPE(3), r.weight);
    AgCrossEntropyOptions weight = {.weight = w}, narrow = {.weight = three},
                          other = {.weight = ag_cast(w, TENSOR_F32)},
                          smooth = {.weight = w, .label_smoothing = 2}, index = {0},
                          unknown = {.reduction = (AgReduction)5, .weight = w};
    index.has_ignore_index = true;
    int64_t beyond[N] = {0, 0, 0, 5};
    AgVar bad = ints(SHAPE(N), beyond);
    switch (k) {
    case 0: return ag_cross_entropy(x, c, &narrow);
    case 1: return ag_cross_entropy(x, q, &other);
    case 2: return ag_nll_loss(x, c, &narrow);
    case 3: return ag_cross_entropy(x, c, &smooth);
    case 4: return ag_cross_entropy(x, q, &smooth);
    case 5: return ag_nll_loss(x, c, &smooth);
    case 6: return ag_cross_entropy(x, q, &index);
    case 7: return ag_cross_entropy(x, c, &unknown);
    case 8: return ag_cross_entropy(x, q, &unknown);
    case 9: return ag_cross_entropy(x, bad, &weight);
    case 10: return ag_nll_loss(x, bad, NULL);
    case 11: return ag_cross_entropy(ag_select(ag_select(x, 0, 0), 0, 0), w, &weight);
    default: return ag_cross_entropy(x, ag_cast(q, TENSOR_F32), NULL);
    }
}

Test(loss, cross_entropy_names_what_is_wrong) {
    const char *const words[] = {
        "cross_entropy: weight is f64[3], wants f64[5]",
        "cross_entropy: weight is f32[5], wants f64[5]",
        "nll_loss: weight is f64[3], wants f64[5]",
        "label_smoothing 2 is outside 0..1",
        "label_smoothing 2 is outside 0..1",
        "label_smoothing is for cross_entropy",
        "ignore_index 0, but the target is no index",
        "unknown reduction 5",
        "unknown reduction 5",
        "index 5 at entry 3 is outside 0..4",
        "index 5 at entry 3 is outside 0..4",
        "of one shape",
        "mixed dtypes",
    };
    for (int k = 0; k < (int)(sizeof words / sizeof *words); k++)
        expect_error(wrong_cross_entropy(k), words[k]);
}

/* ---- losses of a difference ---- */

typedef enum { MSE, L1, SMOOTH_L1, HUBER, KINDS } Kind;

static AgVar loss_of(Kind kind, AgVar x, AgVar target, double knee, AgReduction reduction) {
    switch (kind) {
    case MSE: return ag_mse_loss(x, target, reduction);
    case L1: return ag_l1_loss(x, target, reduction);
    case SMOOTH_L1: return ag_smooth_l1_loss(x, target, knee, reduction);
    default: return ag_huber_loss(x, target, knee, reduction);
    }
}

/* The definition and its slope. */
static double piecewise(Kind kind, double d, double knee, double *slope) {
    double a = fabs(d), s = (d > 0) - (d < 0);
    bool inside = a < knee;
    switch (kind) {
    case MSE: *slope = 2 * d; return d * d;
    case L1: *slope = s; return a;
    case SMOOTH_L1:
        *slope = inside ? d / knee : s;
        return inside ? d * d / (2 * knee) : a - knee / 2;
    default:
        *slope = inside ? d : knee * s;
        return inside ? d * d / 2 : knee * (a - knee / 2);
    }
}

enum { D = 11 };
static const double differences[D] = {0,   .25, -.25, .75, -.75, 1.5,
                                      -1.5, 1e4, -1e4, 1e-9, -INFINITY};

Test(loss, of_differences_agree_with_their_pieces_and_pass_gradients_to_both_sides) {
    double x[D], target[D];
    for (int i = 0; i < D; i++) {
        target[i] = i % 2 ? .5 : 0;
        x[i] = differences[i] + target[i];
    }
    for (int k = 0; k < KINDS * 3 * 2; k++) {
        ag_tape_reset(t);
        Kind kind = (Kind)(k % KINDS);
        AgReduction reduction = reductions[k / KINDS % 3];
        double knee = k / KINDS / 3 ? .75 : 1e-3, sum = 0;
        AgVar in[] = {floats(SHAPE(D), x), floats(SHAPE(D), target)}, g[2];
        AgVar loss = loss_of(kind, in[0], in[1], knee, reduction);
        cr_assert(ag_grad(loss, ones, 2, in, g, false), "%s", ag_tape_error(t));
        for (int i = 0; i < D; i++) {
            double slope, want = piecewise(kind, x[i] - target[i], knee, &slope);
            if (reduction == AG_NONE) cr_expect(is_close(get(loss, i), want), "kind %d", kind);
            if (reduction == AG_MEAN) slope /= D;
            cr_expect(is_close(get(g[0], i), slope), "kind %d at %g: %g", kind, x[i], get(g[0], i));
            cr_expect(is_close(get(g[1], i), -slope));
            sum += want;
        }
        if (reduction != AG_NONE)
            cr_expect(is_close(ag_item(loss), reduction == AG_MEAN ? sum / D : sum));
    }
}

Test(loss, of_differences_keep_nan_and_take_nothing) {
    const double nan[] = {NAN, 0};
    for (int kind = 0; kind < KINDS; kind++) {
        AgVar x = floats(SHAPE(2), nan), zero = ag_full(t, TENSOR_F64, SHAPE(2), 0), g;
        AgVar none = ag_full(t, TENSOR_F64, SHAPE(0), 0);
        AgVar loss = loss_of((Kind)kind, x, zero, 1, AG_NONE);
        cr_expect(isnan(get(loss, 0)) && get(loss, 1) == 0);
        cr_assert(ag_grad(loss, ones, 1, &x, &g, false));
        cr_expect(isnan(get(g, 0)) && get(g, 1) == 0);
        cr_expect(isnan(ag_item(loss_of((Kind)kind, none, none, 1, AG_MEAN))));
        cr_expect_eq(ag_item(loss_of((Kind)kind, none, none, 1, AG_SUM)), 0);
        AgVar column = ag_full(t, TENSOR_F64, SHAPE(2, 1), 0);
        expect_error(loss_of((Kind)kind, ag_full(t, TENSOR_F64, SHAPE(2), 0), column, 1, AG_MEAN),
                     "x and target differ in shape");
        x = ag_full(t, TENSOR_F64, SHAPE(2), 0);
        expect_error(loss_of((Kind)kind, x, x, 1, (AgReduction)-1), "unknown reduction -1");
    }
}

Test(loss, smooth_l1_without_a_parabola_is_l1) {
    const double tiny[] = {0, 1e-60};
    for (int k = 0; k < 2; k++) {
        TensorDtype dtype = k ? TENSOR_F32 : TENSOR_F64;
        AgVar x = ag_cast(floats(SHAPE(D), differences), dtype), zero = ag_affine(x, 0, 0), g[2];
        zero = ag_masked_fill(zero, ag_ne(zero, zero), 0);
        AgVar loss = ag_smooth_l1_loss(x, zero, tiny[k], AG_NONE);
        AgVar l1 = ag_l1_loss(x, zero, AG_NONE);
        cr_assert(ag_grad(loss, ones, 1, &x, &g[0], false));
        cr_assert(ag_grad(l1, ones, 1, &x, &g[1], false));
        for (int i = 0; i < D; i++) {
            cr_expect_eq(get(loss, i), get(l1, i));
            cr_expect_eq(get(g[0], i), get(g[1], i));
        }
    }
    AgVar x = ag_scalar(t, TENSOR_F64, 0);
    expect_error(ag_smooth_l1_loss(x, x, -1e-3, AG_MEAN), "beta -0.001, wants");
}

/* ---- binary cross entropy ---- */

enum { M = 12 };
typedef struct {
    double x[M], target[M], weight[M], pos[3];
} Logits;

static Logits logits(void) {
    Logits l = {.pos = {.5, 3, 1}};
    fill(M, l.x, 0);
    fill(M, l.target, 1);
    fill(M, l.weight, 2);
    for (int i = 0; i < M; i++) l.target[i] = i % 4 ? fabs(l.target[i]) / 2 : i % 8 == 4;
    return l;
}

static double bce(double x, double y, double w, double p) {
    return w * (p * y * log1p(exp(-x)) + (1 - y) * log1p(exp(x)));
}

Test(loss, bce_with_logits_agrees_with_its_definition_in_every_option) {
    const Logits l = logits();
    for (int k = 0; k < 3 * 4; k++) {
        ag_tape_reset(t);
        AgBceOptions o = {.reduction = reductions[k % 3]};
        bool w = k / 3 % 2, p = k / 6;
        if (w) o.weight = floats(SHAPE(4, 3), l.weight);
        if (p) o.pos_weight = floats(SHAPE(3), l.pos);
        AgVar x = floats(SHAPE(4, 3), l.x), target = floats(SHAPE(4, 3), l.target);
        AgVar loss = ag_bce_with_logits(x, target, &o);
        double sum = 0;
        for (int i = 0; i < M; i++) {
            double want = bce(l.x[i], l.target[i], w ? l.weight[i] : 1, p ? l.pos[i % 3] : 1);
            if (o.reduction == AG_NONE) cr_expect(is_close(get(loss, i), want));
            sum += want;
        }
        if (o.reduction != AG_NONE)
            cr_expect(is_close(ag_item(loss), o.reduction == AG_MEAN ? sum / M : sum));
    }
    AgVar none = ag_full(t, TENSOR_F64, SHAPE(0, 3), 0);
    cr_expect(isnan(ag_item(ag_bce_with_logits(none, none, NULL))));
    AgBceOptions sum = {.reduction = AG_SUM};
    cr_expect_eq(ag_item(ag_bce_with_logits(none, none, &sum)), 0);
}

/* x, target, weight, pos_weight */
static int bce_of(AgTape *tape, const AgVar *x, AgVar *y, void *context) {
    (void)tape;
    AgBceOptions o = {*(const AgReduction *)context, x[2], x[3]};
    y[0] = ag_bce_with_logits(x[0], x[1], &o);
    return 1;
}

Test(loss, bce_with_logits_has_first_and_second_derivatives_in_every_input) {
    Logits l = logits();
    Tensor in[] = {tensor_wrap(l.x, TENSOR_F64, SHAPE(4, 3)),
                   tensor_wrap(l.target, TENSOR_F64, SHAPE(4, 3)),
                   tensor_wrap(l.weight, TENSOR_F64, SHAPE(4, 1)),
                   tensor_wrap(l.pos, TENSOR_F64, SHAPE(3))};
    for (int k = 0; k < 6; k++) {
        AgReduction reduction = reductions[k % 3];
        GradcheckResult r;
        cr_expect((k / 3 ? gradgradcheck : gradcheck)(bce_of, &reduction, 4, in, NULL, &r), "%s",
                  r.message);
    }
}

Test(loss, bce_with_logits_of_extremes_neither_overflows_nor_vanishes) {
    const struct {
        double x, y, loss, dx, dy;
    } cases[] = {
        {1e4, 0, 1e4, 1, -1e4},  {1e4, 1, 0, 0, -1e4},   {-1e4, 0, 0, 0, 1e4},
        {-1e4, 1, 1e4, -1, 1e4}, {1e4, .25, 7500, .75, -1e4}, {INFINITY, 1, 0, 0, -INFINITY},
        {INFINITY, 0, INFINITY, 1, -INFINITY}, {-INFINITY, 0, 0, 0, INFINITY},
        {-INFINITY, 1, INFINITY, -1, INFINITY}, {40, 1, exp(-40), -exp(-40), -40},
        {-40, 0, exp(-40), exp(-40), 40}, {NAN, 0, NAN, NAN, NAN},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        ag_tape_reset(t);
        AgVar in[] = {ag_scalar(t, TENSOR_F64, cases[k].x), ag_scalar(t, TENSOR_F64, cases[k].y)};
        AgVar loss = ag_bce_with_logits(in[0], in[1], NULL), g[2];
        cr_assert(ag_grad(loss, ones, 2, in, g, false));
        const double got[] = {ag_item(loss), ag_item(g[0]), ag_item(g[1])};
        const double want[] = {cases[k].loss, cases[k].dx, cases[k].dy};
        for (int i = 0; i < 3; i++) {
            bool same = got[i] == want[i] || (isnan(got[i]) && isnan(want[i]));
            cr_expect(same || fabs(got[i] / want[i] - 1) < 1e-14, "case %zu, %d: %g, not %g", k, i,
                      got[i], want[i]);
        }
    }
}

Test(loss, bce_with_logits_names_what_is_wrong) {
    for (int k = 0; k < 4; k++) {
        AgVar x = ag_full(t, TENSOR_F64, SHAPE(2, 3), 0), two = ag_full(t, TENSOR_F64, SHAPE(2), 1);
        AgVar wide = ag_full(t, TENSOR_F64, SHAPE(4, 2, 3), 1);
        AgBceOptions o = {k == 3 ? (AgReduction)9 : AG_MEAN, {0}, {0}};
        if (k == 0) o.weight = wide;
        if (k == 1) o.pos_weight = two;
        const char *const words[] = {"weight f64[4,2,3] does not broadcast to x",
                                     "pos_weight does not broadcast to x",
                                     "x and target differ in shape", "unknown reduction 9"};
        expect_error(ag_bce_with_logits(x, k == 2 ? two : x, &o), words[k]);
    }
}

/* ---- connectionist temporal classification ---- */

enum { T = 5, B = 4, V = 3, S = 3 };

/* Is path, without its repeats and then without its blanks, equal to the labels? */
static bool spells(const int *path, int steps, const int64_t *labels, int n, int64_t blank) {
    int at = 0;
    for (int i = 0; i < steps; i++) {
        if (path[i] == blank || (i && path[i] == path[i - 1])) continue;
        if (at == n || path[i] != labels[at++]) return false;
    }
    return at == n;
}

/* -ln of the sum over all V^steps paths; share[step][v] gets the part of it that passes v. */
static double over_all_paths(const double *x, int b, int steps, const int64_t *labels, int n,
                             int64_t blank, double share[T][V]) {
    int paths = 1, path[T];
    double p = 0;
    for (int i = 0; i < steps; i++) paths *= V;
    memset(share, 0, sizeof(double[T][V]));
    for (int k = 0; k < paths; k++) {
        double log_p = 0;
        for (int i = 0, rest = k; i < steps; i++, rest /= V) {
            path[i] = rest % V;
            log_p += x[(i * B + b) * V + path[i]];
        }
        if (!spells(path, steps, labels, n, blank)) continue;
        p += exp(log_p);
        for (int i = 0; i < steps; i++) share[i][path[i]] += exp(log_p);
    }
    for (int i = 0; i < T * V && p > 0; i++) share[i / V][i % V] /= p;
    return -log(p);
}

typedef struct {
    double x[T * B * V];
    int64_t targets[B * S], input[B], target[B];
} Batch;

/* Of every combination of lengths and labels there are some; the padding is no class. */
static Batch batch(int k, int64_t blank) {
    Batch c;
    fill(T * B * V, c.x, k);
    for (int b = 0; b < B; b++) {
        int code = k * B + b;
        c.input[b] = code % (T + 1);
        c.target[b] = code / (T + 1) % (S + 1);
        int labels = code / ((T + 1) * (S + 1));
        for (int i = 0; i < S; i++, labels /= 2)
            c.targets[b * S + i] = i < c.target[b] ? (blank + 1 + labels % 2) % V : -7;
    }
    return c;
}
enum { BATCHES = (T + 1) * (S + 1) * 8 / B };

Test(loss, ctc_is_the_sum_over_all_paths_and_its_gradient_their_shares) {
    for (int k = 0; k < BATCHES * V; k++) {
        ag_tape_reset(t);
        int64_t blank = k % V;
        Batch c = batch(k / V, blank);
        AgCtcOptions o = {AG_NONE, blank, false};
        AgVar x = floats(SHAPE(T, B, V), c.x), g;
        AgVar loss = ag_ctc_loss(x, ints(SHAPE(B, S), c.targets), ints(SHAPE(B), c.input),
                                 ints(SHAPE(B), c.target), &o);
        cr_assert(ag_grad(loss, ones, 1, &x, &g, false), "%s", ag_tape_error(t));
        for (int b = 0; b < B; b++) {
            double share[T][V];
            double want = over_all_paths(c.x, b, (int)c.input[b], c.targets + b * S,
                                         (int)c.target[b], blank, share);
            cr_expect(is_close(get(loss, b), want), "batch %d row %d: %g, not %g", k, b,
                      get(loss, b), want);
            for (int i = 0; i < T * V; i++)
                cr_expect(is_close(get(g, (i / V * B + b) * V + i % V), -share[i / V][i % V]));
        }
    }
}

static AgVar ctc(const Batch *c, AgReduction reduction, bool zero_infinity) {
    AgCtcOptions o = {reduction, 0, zero_infinity};
    return ag_ctc_loss(floats(SHAPE(T, B, V), c->x), ints(SHAPE(B, S), c->targets),
                       ints(SHAPE(B), c->input), ints(SHAPE(B), c->target), &o);
}

Test(loss, ctc_reduces_as_documented_and_takes_targets_in_one_row) {
    for (int k = 0; k < BATCHES; k++) {
        ag_tape_reset(t);
        Batch c = batch(k, 0);
        int64_t joined[B * S], n = 0;
        double sum = 0, mean = 0;
        for (int zero = 0; zero < 2; zero++) {
            AgVar each = ctc(&c, AG_NONE, zero);
            sum = mean = 0;
            for (int b = 0; b < B; b++) {
                cr_expect(!zero || isfinite(get(each, b)));
                sum += get(each, b);
                mean += get(each, b) / (c.target[b] ? (double)c.target[b] : 1) / B;
            }
            cr_expect(is_close(ag_item(ctc(&c, AG_SUM, zero)), sum));
            cr_expect(is_close(ag_item(ctc(&c, AG_MEAN, zero)), mean));
        }
        for (int b = 0; b < B; b++)
            for (int i = 0; i < c.target[b]; i++) joined[n++] = c.targets[b * S + i];
        AgCtcOptions o = {AG_MEAN, 0, true};
        AgVar loss = ag_ctc_loss(floats(SHAPE(T, B, V), c.x), ints(SHAPE(n), joined),
                                 ints(SHAPE(B), c.input), ints(SHAPE(B), c.target), &o);
        cr_expect(ag_item(loss) == ag_item(ctc(&c, AG_MEAN, true)), "%s", ag_tape_error(t));
    }
}

Test(loss, ctc_without_gradients_gives_the_same_bits) {
    for (int k = 0; k < BATCHES; k++) {
        ag_tape_reset(t);
        Batch c = batch(k, 0);
        AgVar with = ctc(&c, AG_NONE, false);
        ag_tape_no_grad(t, true);
        AgVar without = ctc(&c, AG_NONE, false);
        ag_tape_no_grad(t, false);
        for (int b = 0; b < B; b++) cr_expect_eq(get(with, b), get(without, b));
    }
}

/* Of V = 2 equal probabilities, T (T + 1) / 2 of the 2^T paths spell one label. */
Test(loss, ctc_of_many_steps_does_not_underflow) {
    const int64_t steps = 3000, one = 1;
    for (int f32 = 0; f32 < 2; f32++) {
        TensorDtype dtype = f32 ? TENSOR_F32 : TENSOR_F64;
        AgVar x = ag_full(t, dtype, SHAPE(steps, 1, 2), -log(2)), g;
        AgVar length = ints(SHAPE(1), &one);
        AgVar loss = ag_ctc_loss(x, ints(SHAPE(1, 1), &one), ints(SHAPE(1), &steps), length, NULL);
        double n = (double)steps, want = n * log(2) - log(n * (n + 1) / 2);
        cr_expect(fabs(ag_item(loss) / want - 1) < (f32 ? 1e-6 : 1e-12), "%.17g", ag_item(loss));
        cr_assert(ag_grad(loss, ones, 1, &x, &g, false));
        for (int64_t i = 0; i < steps; i++)
            cr_expect(fabs(get(g, 2 * i) + get(g, 2 * i + 1) + 1) < (f32 ? 1e-6 : 1e-9));
        /* k + 1 ways to begin by step k, times n - k to end after it */
        double label = (n / 2 + 1) * (n - n / 2) / (n * (n + 1) / 2);
        cr_expect(fabs(get(g, steps + 1) + label) < (f32 ? 1e-6 : 1e-9));
    }
}

Test(loss, ctc_of_impossible_classes_and_extremes_has_no_nan) {
    /* label 1 in 3 steps; class 1 is ruled out in the first and the last step */
    const double x[] = {0, -INFINITY, -1e4, -1e4, 0, -1e4, 0, -INFINITY, -INFINITY};
    const int64_t target[] = {1}, never[] = {2, 2}, steps = 3, one = 1, two = 2;
    for (int k = 0; k < 2; k++) {
        AgVar in = floats(SHAPE(3, 1, 3), x), g[2];
        AgCtcOptions o = {AG_SUM, 0, false};
        AgVar targets = k ? ints(SHAPE(1, 2), never) : ints(SHAPE(1, 1), target);
        AgVar loss = ag_ctc_loss(in, targets, ints(SHAPE(1), &steps),
                                 ints(SHAPE(1), k ? &two : &one), &o);
        cr_expect_eq(ag_item(loss), k ? INFINITY : 0);
        cr_assert(ag_grad(loss, ones, 1, &in, &g[0], false));
        cr_assert(ag_grad(loss, ones, 1, &in, &g[1], true), "%s", ag_tape_error(t));
        const double want[] = {-1, 0, 0, 0, -1, 0, -1, 0, 0};
        for (int i = 0; i < 9; i++) {
            cr_expect_eq(get(g[0], i), k ? 0 : want[i]);
            cr_expect_eq(get(g[1], i), k ? 0 : want[i]);
        }
        AgVar second, seed = ag_arange(t, TENSOR_F64, 1, 10, 1);
        seed = ag_reshape(seed, SHAPE(3, 1, 3));
        cr_assert(ag_grad(g[1], seed, 1, &in, &second, false), "%s", ag_tape_error(t));
        for (int i = 0; i < 9; i++) cr_expect_eq(get(second, i), 0, "%d: %g", i, get(second, i));
    }
}

Test(loss, ctc_keeps_nan_in_its_row) {
    Batch c = batch(5, 0);
    for (int b = 0; b < B; b++) c.input[b] = T;
    c.x[2 * B * V] = NAN; /* the blank of row 0 */
    AgVar each = ctc(&c, AG_NONE, true);
    cr_expect(isnan(get(each, 0)));
    for (int b = 1; b < B; b++) cr_expect(isfinite(get(each, b)));
}

/* The gradient of logits through log_softmax is softmax minus share, as of PyTorch's form, which
 * has the softmax in the gradient of log_probs. */
Test(loss, ctc_through_log_softmax_gives_softmax_minus_share) {
    for (int k = 0; k < BATCHES; k++) {
        ag_tape_reset(t);
        Batch c = batch(k, 0);
        AgVar x = floats(SHAPE(T, B, V), c.x), log_p = ag_log_softmax(x, -1), g;
        AgCtcOptions o = {AG_SUM, 0, true};
        AgVar loss = ag_ctc_loss(log_p, ints(SHAPE(B, S), c.targets), ints(SHAPE(B), c.input),
                                 ints(SHAPE(B), c.target), &o);
        cr_assert(ag_grad(loss, ones, 1, &x, &g, false));
        for (int b = 0; b < B; b++) {
            double share[T][V];
            double p = over_all_paths(ag_value(log_p)->data, b, (int)c.input[b], c.targets + b * S,
                                      (int)c.target[b], 0, share);
            for (int i = 0; i < T * V; i++) {
                int64_t at = (i / V * B + b) * V + i % V;
                bool counts = isfinite(p) && i / V < c.input[b];
                double want = counts ? exp(get(log_p, at)) - share[i / V][i % V] : 0;
                cr_expect(is_close(get(g, at), want));
            }
        }
    }
}
