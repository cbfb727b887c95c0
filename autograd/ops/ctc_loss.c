/* ctc_loss: connectionist temporal classification.
 *
 * A. Graves, S. Fernandez, F. Gomez, J. Schmidhuber, Connectionist Temporal Classification:
 * Labelling Unsegmented Sequence Data with Recurrent Neural Networks, ICML 2006, section 4.
 * Everything is held as logarithms, in double for both float types. */
#include <math.h>

#include "autograd/ops/ops.h"

typedef struct {
    int64_t blank;
    bool zero_infinity;
} Options;

/* The paths of each row: its states are the entries of l', the labels with blanks before,
 * between and after them; n is the number of states of the longest row. */
typedef struct {
    int64_t n;
    Tensor label; /* I64 [B, n]: l' */
    Tensor skip;  /* U8 [B, n]: may a path come from two states before? */
    Tensor alpha; /* F64 [B, rows, n]; without a gradient in view two rows take turns */
    Tensor log_p; /* F64 [B]: ln p(l | x) */
} Saved;

/* ---- checks ---- */

static bool shape(AgCall *c) {
    const Options *o = c->options;
    const Tensor *x = c->in[0], *targets = c->in[1];
    if (x->ndim != 3) return ag_call_fail(c, "wants log-probabilities [T, B, V]");
    int64_t B = x->shape[1], V = x->shape[2];
    if (targets->ndim != 1 && (targets->ndim != 2 || targets->shape[0] != B))
        return ag_call_fail(c, "wants targets [B, ..] or one row after the other");
    for (int i = 2; i < 4; i++)
        if (c->in[i]->ndim != 1 || c->in[i]->shape[0] != B)
            return ag_call_fail(c, "wants %s_lengths [B]", i == 2 ? "input" : "target");
    if (o->blank < 0 || o->blank >= V)
        return ag_call_fail(c, "blank %lld is outside 0..%lld", (long long)o->blank,
                            (long long)V - 1);
    return ag_out_shape(c, 0, 1, &B);
}

static bool lengths_fit(AgCall *c, int i, int64_t longest) {
    for (int64_t b = 0; b < c->in[i]->shape[0]; b++) {
        int64_t length = tensor_get_i64(c->in[i], b);
        if (length < 0 || length > longest)
            return ag_call_fail(c, "%s_lengths[%lld] is %lld, outside 0..%lld",
                                i == 2 ? "input" : "target", (long long)b, (long long)length,
                                (long long)longest);
    }
    return true;
}

/* Where row b's labels start in targets, after those of the row before, which are `length`. */
static int64_t start_of(const Tensor *targets, int64_t b, int64_t before, int64_t length) {
    return targets->ndim == 2 ? b * targets->shape[1] : before + length;
}

/* Entries beyond a row's length may hold anything. */
static bool targets_fit(AgCall *c) {
    const Options *o = c->options;
    const Tensor *targets = c->in[1], *lengths = c->in[3];
    int64_t V = c->in[0]->shape[2], start = 0, length = 0;
    for (int64_t b = 0; b < lengths->shape[0]; b++) {
        start = start_of(targets, b, start, length);
        length = tensor_get_i64(lengths, b);
        if (length > tensor_numel(targets) - start) break;
        for (int64_t i = 0; i < length; i++) {
            int64_t label = tensor_get_i64(targets, start + i);
            if (label < 0 || label >= V)
                return ag_call_fail(c, "target %lld at entry %lld of row %lld is outside 0..%lld",
                                    (long long)label, (long long)i, (long long)b, (long long)V - 1);
            if (label == o->blank)
                return ag_call_fail(c, "target %lld at entry %lld of row %lld is the blank",
                                    (long long)label, (long long)i, (long long)b);
        }
    }
    if (targets->ndim == 1 && start + length != targets->shape[0])
        return ag_call_fail(c, "%lld targets, but target_lengths do not add up to that",
                            (long long)targets->shape[0]);
    return true;
}

/* ---- the states ---- */

static int64_t states_of(const Tensor *target_lengths) {
    int64_t longest = 0;
    for (int64_t b = 0; b < target_lengths->shape[0]; b++) {
        int64_t length = tensor_get_i64(target_lengths, b);
        longest = length > longest ? length : longest;
    }
    return 2 * longest + 1;
}

/* Fills label and skip, [B, n]; blanks follow a shorter row's own states. */
static void set_states(const Tensor *targets, const Tensor *target_lengths, int64_t blank,
                       int64_t n, int64_t *label, uint8_t *skip) {
    int64_t start = 0, length = 0;
    for (int64_t b = 0; b < target_lengths->shape[0]; b++, label += n, skip += n) {
        start = start_of(targets, b, start, length);
        length = tensor_get_i64(target_lengths, b);
        for (int64_t s = 0; s < n; s++) {
            bool is_label = s % 2 && s < 2 * length;
            label[s] = is_label ? tensor_get_i64(targets, start + s / 2) : blank;
            skip[s] = is_label && s > 1 && label[s] != label[s - 2];
        }
    }
}

/* ---- the recursions ---- */

static double at(const Tensor *x, int64_t t, int64_t b, int64_t v) {
    int64_t i = t * x->stride[0] + b * x->stride[1] + v * x->stride[2];
    return x->dtype == TENSOR_F32 ? (double)((const float *)x->data)[i]
                                  : ((const double *)x->data)[i];
}

static void swap(double *a, double *b) {
    double c = *a;
    *a = *b;
    *b = c;
}

/* ln(e^a + e^b + e^c) */
static double log_add(double a, double b, double c) {
    if (b > a) swap(&a, &b);
    if (c > a) swap(&a, &c);
    if (a == -INFINITY) return b + c; /* which are -infinity too, or NaN */
    return a + log1p(exp(b - a) + exp(c - a));
}

/* Equations 6 to 8: alpha_t(s) is the probability of being in state s after step t,
 *     alpha_t(s) = (alpha_{t-1}(s) + alpha_{t-1}(s-1) + [skip s] alpha_{t-1}(s-2)) y_t(l'_s)
 *     p(l | x)   = alpha_T(n) + alpha_T(n-1)
 * and before the first step all of it is in the first state.  Returns ln p of row b. */
static double forward(const Saved *s, const Tensor *x, int64_t b, int64_t T, int64_t n) {
    const int64_t *label = (const int64_t *)s->label.data + b * s->n;
    const uint8_t *skip = (const uint8_t *)s->skip.data + b * s->n;
    int64_t rows = s->alpha.shape[1];
    double *alpha = (double *)s->alpha.data + b * rows * s->n, *next = alpha;
    for (int64_t i = 0; i < n; i++) next[i] = i ? -INFINITY : 0;
    for (int64_t t = 0; t < T; t++) {
        const double *last = next;
        next = alpha + (t + 1) % rows * s->n;
        for (int64_t i = 0; i < n; i++)
            next[i] = at(x, t, b, label[i]) + log_add(last[i], i ? last[i - 1] : -INFINITY,
                                                      skip[i] ? last[i - 2] : -INFINITY);
    }
    return log_add(next[n - 1], n > 1 ? next[n - 2] : -INFINITY, -INFINITY);
}

/* Equations 10 and 11, without the factor y_t(l'_s) that alpha_t(s) has already: beta_t(s) is the
 * probability of the rest of the row from state s at step t.  follow is what beta_{t+1} becomes
 * with that factor. */
static void step_back(int64_t n, const uint8_t *skip, const double *follow, double *beta) {
    for (int64_t i = 0; i < n; i++)
        beta[i] = log_add(follow[i], i + 1 < n ? follow[i + 1] : -INFINITY,
                          i + 2 < n && skip[i + 2] ? follow[i + 2] : -INFINITY);
}

/* Scratch of backward. */
typedef struct {
    double *beta, *follow; /* [n] */
    double *share;         /* [V], zeros */
} Work;

static void put(const Tensor *y, int64_t i, double value) {
    if (y->dtype == TENSOR_F32) ((float *)y->data)[i] = (float)value;
    else ((double *)y->data)[i] = value;
}

/* Equations 14 and 15, for the logarithm of y: -d ln p / d ln y_t(v) is minus the share of the
 * paths that are in a state of label v at step t, alpha_t(s) beta_t(s) / p.  g is dL/dloss. */
static void backward(const Saved *s, const Tensor *dx, const Tensor *x, int64_t b, int64_t T,
                     int64_t n, double g, Work w) {
    const int64_t *label = (const int64_t *)s->label.data + b * s->n;
    const uint8_t *skip = (const uint8_t *)s->skip.data + b * s->n;
    const double *alpha = (const double *)s->alpha.data + b * s->alpha.shape[1] * s->n;
    double log_p = ((const double *)s->log_p.data)[b];
    int64_t B = dx->shape[1], V = dx->shape[2];
    for (int64_t i = 0; i < n; i++) w.beta[i] = i < n - 2 ? -INFINITY : 0;
    for (int64_t t = T; t-- > 0;) {
        if (t < T - 1) step_back(n, skip, w.follow, w.beta);
        for (int64_t i = 0; i < n; i++) {
            w.share[label[i]] += exp(alpha[(t + 1) * s->n + i] + w.beta[i] - log_p);
            w.follow[i] = w.beta[i] + at(x, t, b, label[i]);
        }
        for (int64_t v = 0; v < V; v++) {
            put(dx, (t * B + b) * V + v, 0 - g * w.share[v]);
            w.share[v] = 0;
        }
    }
}

/* ---- the op ---- */

static bool open_saved(AgCall *c, Saved *s) {
    int64_t B = c->in[0]->shape[1], rows = 2;
    for (int64_t b = 0; b < B && c->recorded; b++) {
        int64_t T = tensor_get_i64(c->in[2], b);
        rows = T + 1 > rows ? T + 1 : rows;
    }
    s->n = states_of(c->in[3]);
    s->label = ag_call_tensor(c, true, TENSOR_I64, 2, (int64_t[]){B, s->n});
    s->skip = ag_call_tensor(c, true, TENSOR_U8, 2, (int64_t[]){B, s->n});
    s->alpha = ag_call_tensor(c, true, TENSOR_F64, 3, (int64_t[]){B, rows, s->n});
    s->log_p = ag_call_tensor(c, true, TENSOR_F64, 1, &B);
    return !tensor_is_nil(&s->label) && !tensor_is_nil(&s->skip) && !tensor_is_nil(&s->alpha) &&
           !tensor_is_nil(&s->log_p);
}

static bool value(AgCall *c) {
    const Options *o = c->options;
    const Tensor *x = c->in[0], *targets = c->in[1];
    int64_t longest = targets->ndim == 2 ? targets->shape[1] : targets->shape[0];
    if (!lengths_fit(c, 2, x->shape[0]) || !lengths_fit(c, 3, longest) || !targets_fit(c))
        return false;
    Saved *s = ag_call_save(c, sizeof *s);
    if (!s || !open_saved(c, s)) return false;
    set_states(targets, c->in[3], o->blank, s->n, s->label.data, s->skip.data);
    for (int64_t b = 0; b < x->shape[1]; b++) {
        int64_t T = tensor_get_i64(c->in[2], b), n = 2 * tensor_get_i64(c->in[3], b) + 1;
        double log_p = forward(s, x, b, T, n);
        ((double *)s->log_p.data)[b] = log_p;
        put(&c->out[0], b, log_p == -INFINITY && o->zero_infinity ? 0 : 0 - log_p);
    }
    c->saved = s;
    return true;
}

/* Where no path is possible the loss is flat: 0. */
static bool vjp(AgVjp *v) {
    const Saved *s = v->saved;
    const Tensor *x = ag_value(v->in[0]), *g = ag_value(v->gout[0]);
    int64_t V = x->shape[2], floats = 2 * s->n + V;
    Tensor work = tensor_new(v->scratch, TENSOR_F64, 1, &floats), dx = ag_vjp_raw(v, 0);
    if (tensor_is_nil(&dx)) return false;
    if (tensor_is_nil(&work)) {
        ag_fail(v->tape, "ctc_loss: out of memory");
        return false;
    }
    tensor_fill(&work, 0);
    tensor_fill(&dx, 0);
    double *p = work.data;
    for (int64_t b = 0; b < x->shape[1]; b++) {
        if (((const double *)s->log_p.data)[b] == -INFINITY) continue;
        int64_t T = tensor_get_i64(ag_value(v->in[2]), b);
        int64_t n = 2 * tensor_get_i64(ag_value(v->in[3]), b) + 1;
        backward(s, &dx, x, b, T, n, tensor_get(g, b), (Work){p, p + s->n, p + 2 * s->n});
    }
    return true;
}

/* ---- the same recursion of alpha in ops ---- */

/* Indices into rows of alpha with one more entry, n, for `no such state`. */
typedef struct {
    AgVar labels; /* [B, n] */
    AgVar from;   /* [B, 3 n]: of each state, the three a path may come from */
    AgVar last;   /* [B, 2]: the states that a path may end in */
} Indices;

static AgVar wrap(AgTape *t, int64_t *data, int64_t B, int64_t columns) {
    Tensor x = tensor_wrap(data, TENSOR_I64, 2, (int64_t[]){B, columns});
    return ag_borrow(t, &x);
}

static bool set_indices(AgTape *t, const AgVar *in, int64_t blank, int64_t n, Indices *to) {
    int64_t B = ag_dim(in[0], 1), states = B * n;
    int64_t *label = ag_tape_alloc(t, (size_t)(4 * states + 2 * B + 1) * sizeof *label);
    uint8_t *skip = ag_tape_alloc(t, (size_t)states + 1);
    if (!label || !skip) return false;
    int64_t *from = label + states, *last = from + 3 * states;
    set_states(ag_value(in[1]), ag_value(in[3]), blank, n, label, skip);
    for (int64_t i = 0; i < states; i++) {
        from[3 * i] = i % n;
        from[3 * i + 1] = i % n ? i % n - 1 : n;
        from[3 * i + 2] = skip[i] ? i % n - 2 : n;
    }
    for (int64_t b = 0; b < B; b++) {
        int64_t length = tensor_get_i64(ag_value(in[3]), b);
        last[2 * b] = 2 * length;
        last[2 * b + 1] = length ? 2 * length - 1 : n;
    }
    *to = (Indices){wrap(t, label, B, n), wrap(t, from, B, 3 * n), wrap(t, last, B, 2)};
    return true;
}

static bool compose(AgTape *t, int n_in, const AgVar *in, const void *options, AgVar *out) {
    (void)n_in;
    const Options *o = options;
    AgVar x = in[0];
    int64_t T = ag_dim(x, 0), B = ag_dim(x, 1), n = states_of(ag_value(in[3]));
    Indices index;
    if (!set_indices(t, in, o->blank, n, &index)) return false;
    AgVar first = ag_full(t, ag_dtype(x), 2, (int64_t[]){B, 1}, 0);
    AgVar nowhere = ag_full(t, ag_dtype(x), 2, (int64_t[]){B, 1}, -INFINITY);
    AgVar rest = ag_expand(nowhere, 2, (int64_t[]){B, n});
    AgVar alpha = ag_concat(2, (AgVar[]){first, rest}, 1), mask = ag_length_mask(in[2], T);
    for (int64_t i = 0; i < T; i++) {
        AgVar from = ag_reshape(ag_gather(alpha, 1, index.from), 3, (int64_t[]){B, n, 3});
        AgVar next = ag_add(ag_logsumexp(from, AG_AXES(2), false),
                            ag_gather(ag_select(x, 0, i), 1, index.labels));
        next = ag_concat(2, (AgVar[]){next, nowhere}, 1);
        alpha = ag_where(ag_unsqueeze(ag_select(mask, 0, i), 1), next, alpha);
    }
    AgVar loss = ag_neg(ag_logsumexp(ag_gather(alpha, 1, index.last), AG_AXES(1), false));
    if (o->zero_infinity)
        loss = ag_masked_fill(loss, ag_eq(loss, ag_scalar(t, ag_dtype(loss), INFINITY)), 0);
    out[0] = loss;
    return ag_ok(loss);
}

#define LENGTHS(low, high, B) AG_IN(low, (high) + 1, B)
#define RIGHT(title, T, B, V, targets, input_lengths, target_lengths, ...)                   \
    {title, 4, {AG_IN(-3, 0, T, B, V), targets, input_lengths, target_lengths},              \
     AG_WITH(Options, __VA_ARGS__), NULL}
static const AgSample samples[] = {
    RIGHT("matrix", 6, 2, 4, AG_IN(1, 4, 2, 2), LENGTHS(4, 6, 2), LENGTHS(1, 2, 2), 0, false),
    RIGHT("last blank", 5, 3, 3, AG_IN(0, 2, 3, 2), LENGTHS(4, 5, 3), LENGTHS(0, 2, 3), 2, false),
    RIGHT("repeated", 7, 2, 3, AG_IN(1, 2, 2, 3), LENGTHS(6, 7, 2), LENGTHS(3, 3, 2), 0, false),
    RIGHT("concatenated", 6, 2, 4, AG_IN(1, 4, 6), LENGTHS(6, 6, 2), LENGTHS(3, 3, 2), 0, false),
    RIGHT("no targets", 4, 2, 3, AG_IN(1, 3, 2, 0), LENGTHS(2, 4, 2), LENGTHS(0, 0, 2), 0, false),
    RIGHT("no steps", 0, 2, 3, AG_IN(1, 3, 0), LENGTHS(0, 0, 2), LENGTHS(0, 0, 2), 0, false),
    RIGHT("empty", 4, 0, 3, AG_IN(1, 3, 0, 2), LENGTHS(4, 4, 0), LENGTHS(2, 2, 0), 0, false),
    RIGHT("longer than a vector", 3, 1, 37, AG_IN(0, 36, 1, 1), LENGTHS(3, 3, 1), LENGTHS(1, 1, 1),
          36, false),
    RIGHT("many steps", 37, 1, 3, AG_IN(1, 3, 1, 4), LENGTHS(37, 37, 1), LENGTHS(4, 4, 1), 0, true),
    RIGHT("impossible", 2, 2, 4, AG_IN(1, 4, 2, 3), LENGTHS(2, 2, 2), LENGTHS(3, 3, 2), 0, true),
    {0},
};
#define WRONG(title, B, targets, input_lengths, target_lengths, blank, message)              \
    {title, 4, {AG_IN(-3, 0, 4, B, 3), targets, input_lengths, target_lengths},              \
     AG_WITH(Options, blank, false), message}
static const AgSample errors[] = {
    {"two axes", 4, {AG_IN(-3, 0, 4, 3), AG_IN(1, 3, 2), LENGTHS(4, 4, 1), LENGTHS(2, 2, 1)},
     AG_WITH(Options, 0, false), "[T, B, V]"},
    WRONG("rows", 2, AG_IN(1, 3, 3, 2), LENGTHS(4, 4, 2), LENGTHS(2, 2, 2), 0, "wants targets"),
    WRONG("inputs", 2, AG_IN(1, 3, 2, 2), LENGTHS(4, 4, 3), LENGTHS(2, 2, 2), 0,
          "wants input_lengths [B]"),
    WRONG("targets", 2, AG_IN(1, 3, 2, 2), LENGTHS(4, 4, 2), LENGTHS(2, 2, 1), 0,
          "wants target_lengths [B]"),
    WRONG("blank", 2, AG_IN(1, 3, 2, 2), LENGTHS(4, 4, 2), LENGTHS(2, 2, 2), 3, "blank 3 is"),
    WRONG("negative blank", 2, AG_IN(1, 3, 2, 2), LENGTHS(4, 4, 2), LENGTHS(2, 2, 2), -1,
          "blank -1 is outside 0..2"),
    WRONG("long input", 2, AG_IN(1, 3, 2, 2), LENGTHS(5, 5, 2), LENGTHS(2, 2, 2), 0,
          "input_lengths[0] is 5, outside 0..4"),
    WRONG("long target", 2, AG_IN(1, 3, 2, 2), LENGTHS(4, 4, 2), LENGTHS(3, 3, 2), 0,
          "target_lengths[0] is 3, outside 0..2"),
    WRONG("negative length", 2, AG_IN(1, 3, 2, 2), LENGTHS(4, 4, 2), LENGTHS(-1, -1, 2), 0,
          "target_lengths[0] is -1"),
    WRONG("too few", 2, AG_IN(1, 3, 3), LENGTHS(4, 4, 2), LENGTHS(2, 2, 2), 0, "add up"),
    WRONG("too many", 2, AG_IN(1, 3, 5), LENGTHS(4, 4, 2), LENGTHS(2, 2, 2), 0, "add up"),
    WRONG("range", 2, AG_IN(3, 4, 2, 2), LENGTHS(4, 4, 2), LENGTHS(2, 2, 2), 0,
          "target 3 at entry 0 of row 0 is outside 0..2"),
    WRONG("a blank", 2, AG_IN(1, 2, 4), LENGTHS(4, 4, 2), LENGTHS(2, 2, 2), 1,
          "target 1 at entry 0 of row 0 is the blank"),
    {0},
};
const AgOp ag_op_ctc_loss = {"ctc_loss", "-ln p(targets), over all alignments", "fiii:f", shape,
                             value, vjp, compose, samples, errors, false, NULL};

AgVar ag_ctc_loss(AgVar log_probs, AgVar targets, AgVar input_lengths, AgVar target_lengths,
                  const AgCtcOptions *options) {
    AgCtcOptions o = {0};
    if (options) o = *options;
    AgVar in[] = {log_probs, targets, input_lengths, target_lengths};
    AgVar loss = ag_apply1(&ag_op_ctc_loss, 4, in, &(Options){o.blank, o.zero_infinity},
                           sizeof(Options));
    if (o.reduction == AG_MEAN && ag_ok(loss)) {
        AgVar length = ag_cast(target_lengths, ag_dtype(loss));
        loss = ag_div(loss, ag_maximum(length, ag_scalar(loss.tape, ag_dtype(loss), 1)));
    }
    return ag_reduce_loss(loss, o.reduction, "ctc_loss");
}
