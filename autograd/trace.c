/* trace.c -- the tracer: which op made the first NaN or infinity. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "autograd/tape.h"

void ag_set_tracing(AgTape *t, bool on) {
    t->tracing = on;
    ag_set_inspect(t);
}

bool ag_tape_trace_nan(AgTape *t, bool on) {
    bool was = t->trace_nan;
    t->trace_nan = on;
    ag_set_tracing(t, on);
    return was;
}

/* ---- statistics ---- */

typedef struct {
    int64_t nan, infinite, finite;
    double min, max, mean; /* of what is finite */
} Stats;

static void count(Stats *s, double e) {
    if (isnan(e)) {
        s->nan++;
    } else if (isinf(e)) {
        s->infinite++;
    } else {
        s->finite++;
        s->min = fmin(s->min, e);
        s->max = fmax(s->max, e);
        s->mean += (e - s->mean) / (double)s->finite;
    }
}

static Stats stats_of(const Tensor *x) {
    Stats s = {.min = INFINITY, .max = -INFINITY};
    int64_t n = tensor_numel(x);
    for (int64_t i = 0; i < n; i++) count(&s, tensor_get(x, i));
    return s;
}

typedef struct {
    bool nan, infinite;
} Bad;

/* The sum of x - x is NaN where an element is not finite, else 0: one pass without branches. */
static Bad bad_in(const Tensor *x) {
    if (!tensor_dtype_is_float(x->dtype)) return (Bad){false, false};
    int64_t n = tensor_numel(x);
    double sum = 0;
    if (!tensor_is_contiguous(x)) {
        for (int64_t i = 0; i < n; i++) sum += tensor_get(x, i) - tensor_get(x, i);
    } else if (x->dtype == TENSOR_F32) {
        const float *p = x->data;
        float part = 0;
        for (int64_t i = 0; i < n; i++) part += p[i] - p[i];
        sum = (double)part;
    } else {
        const double *p = x->data;
        for (int64_t i = 0; i < n; i++) sum += p[i] - p[i];
    }
    if (!isnan(sum)) return (Bad){false, false};
    Stats s = stats_of(x);
    return (Bad){s.nan > 0, s.infinite > 0};
}

static bool is_bad(Bad b) { return b.nan || b.infinite; }

/* ---- words ---- */

typedef struct {
    char text[400];
    size_t used;
} Text;

static void put(Text *text, const char *format, ...) AG_PRINTF(2, 3);
static void put(Text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    size_t left = sizeof text->text - text->used;
    int n = vsnprintf(text->text + text->used, left, format, args);
    va_end(args);
    if (n > 0) text->used += (size_t)n < left ? (size_t)n : left - 1;
}

static void put_stats(Text *text, const Tensor *x) {
    char shape[TENSOR_DESCRIBE_SIZE];
    Stats s = stats_of(x);
    put(text, " %s", tensor_describe(x, shape, sizeof shape));
    if (s.finite) put(text, " min %.4g max %.4g mean %.4g", s.min, s.max, s.mean);
    put(text, " nan %lld inf %lld", (long long)s.nan, (long long)s.infinite);
}

static void put_node(Text *text, const AgTape *t, uint32_t id) {
    const AgNode *n = ag_node(t, id);
    put(text, "%s%.60s (node %u)", n->leaf ? "parameter " : "", ag_node_name(n), id);
}

static void put_operands(Text *text, const AgTape *t, int n, const AgVar *in) {
    for (int i = 0; i < n; i++) {
        put(text, "; argument %d, ", i);
        put_node(text, t, in[i].id);
        put(text, ":");
        put_stats(text, &ag_node(t, in[i].id)->value);
    }
}

/* "2 NaN", "1 infinity" */
static void put_made(Text *text, const Tensor *x) {
    Stats s = stats_of(x);
    if (s.nan) put(text, "%lld NaN", (long long)s.nan);
    else put(text, "%lld infinit%s", (long long)s.infinite, s.infinite == 1 ? "y" : "ies");
}

/* From where what stands in node id came: down the records while an operand has it too. */
static uint32_t origin(const AgTape *t, uint32_t id) {
    bool nan = bad_in(&ag_node(t, id)->value).nan;
    for (;;) {
        const AgRecord *r = ag_node(t, id)->record;
        uint32_t next = 0;
        for (int i = 0; r && i < r->n_in && !next; i++) {
            Bad b = bad_in(&ag_node(t, r->in[i])->value);
            if (nan ? b.nan : is_bad(b)) next = r->in[i];
        }
        if (!next) return id;
        id = next;
    }
}

static void put_origin(Text *text, const AgTape *t, uint32_t id) {
    put(text, ", from ");
    put_node(text, t, origin(t, id));
}

/* ---- forward ---- */

/* Ops that copy what they are told to put in. */
static bool fills_with_option(const AgOp *op) {
    return !strcmp(op->name, "masked_fill") || !strcmp(op->name, "pad");
}

static bool blame(AgCall *c, const AgVar *in, const Tensor *out, Bad made, int bad_in_argument) {
    AgTape *t = c->tape;
    Text text = {"", 0};
    bool inherits = made.nan && bad_in_argument >= 0 && bad_in(c->in[bad_in_argument]).nan;
    if (inherits) put(&text, "argument %d already holds NaN", bad_in_argument);
    else put(&text, "makes "), put_made(&text, out);
    if (bad_in_argument >= 0) {
        if (!inherits) put(&text, " out of infinity");
        put_origin(&text, t, in[bad_in_argument].id);
    } else {
        put(&text, " out of finite values");
    }
    put_operands(&text, t, c->n_in, in);
    ag_fail(t, "%s: %s", c->op->name, text.text);
    return false;
}

bool ag_trace_call(AgCall *c, const AgVar *in) {
    for (int k = 0; k < c->n_out; k++) {
        Bad made = bad_in(&c->out[k]);
        if (!is_bad(made)) continue;
        int first = -1, first_nan = -1;
        for (int i = 0; i < c->n_in; i++) {
            Bad b = bad_in(c->in[i]);
            if (is_bad(b) && first < 0) first = i;
            if (b.nan && first_nan < 0) first_nan = i;
        }
        if (made.nan) return blame(c, in, &c->out[k], made, first_nan >= 0 ? first_nan : first);
        bool asked = first >= 0 || c->n_in == 0 || fills_with_option(c->op);
        if (!asked) return blame(c, in, &c->out[k], made, -1);
    }
    return true;
}

bool ag_trace_leaf(AgTape *t, const char *name, const Tensor *value) {
    if (!is_bad(bad_in(value))) return true;
    Text text = {"", 0};
    put_made(&text, value);
    put(&text, ":");
    put_stats(&text, value);
    ag_fail(t, "parameter %s already holds %s", name, text.text);
    return false;
}

/* ---- backward ---- */

bool ag_trace_seed(AgTape *t, AgVar y, AgVar seed) {
    const Tensor *value = ag_value(y);
    Text text = {"", 0};
    if (is_bad(bad_in(value))) {
        put_node(&text, t, y.id);
        put(&text, " holds ");
        put_made(&text, value);
        put_origin(&text, t, y.id);
        ag_fail(t, "the result %s", text.text);
    } else if (is_bad(bad_in(ag_value(seed)))) {
        put_made(&text, ag_value(seed));
        ag_fail(t, "the seed already holds %s", text.text);
    }
    return !t->failed;
}

bool ag_trace_gout(const AgVjp *v) {
    for (int k = 0; k < v->n_out; k++) {
        if (!v->has_gout[k] || !is_bad(bad_in(ag_value(v->gout[k])))) continue;
        Text text = {"", 0};
        put_node(&text, v->tape, v->out[k].id);
        put(&text, ":");
        put_stats(&text, ag_value(v->gout[k]));
        ag_fail(v->tape, "the parts of a gradient, each finite, do not add up to a finite one: "
                         "that of %s", text.text);
        return false;
    }
    return true;
}

bool ag_trace_gin(const AgVjp *v) {
    bool finite = true;
    for (int i = 0; i < v->n_in; i++) finite &= !is_bad(bad_in(ag_value(v->in[i])));
    for (int i = 0; i < v->n_in; i++) {
        if (!v->need[i] || !v->gin[i].id) continue;
        Bad made = bad_in(ag_value(v->gin[i]));
        if (!made.nan && !(made.infinite && finite)) continue;
        Text text = {"", 0};
        put_made(&text, ag_value(v->gin[i]));
        put(&text, " for argument %d out of a finite gradient", i);
        for (int k = 0; k < v->n_out; k++)
            if (v->has_gout[k]) put_stats(&text, ag_value(v->gout[k]));
        put_operands(&text, v->tape, v->n_in, v->in);
        ag_fail(v->tape, "gradient of %s (node %u): makes %s", v->op->name, v->out[0].id,
                text.text);
        return false;
    }
    return true;
}
