/* call.c -- calling an op: checks, results, and the record for the way back. */
#include <stdarg.h>
#include <string.h>

#include "autograd/tape.h"
#include "tensor/kernels.h"

/* ---- signatures ---- */

static bool is_kind(char c) { return c == 'f' || c == 'i' || c == 'm' || c == 'a'; }

char ag_input_kind(const char *signature, int i) {
    int k = 0;
    while (k < i && signature[k] != ':' && signature[k + 1] != '*') k++;
    return signature[k];
}

typedef struct {
    const char *results; /* NULL: the signature is malformed */
    int n_in, n_out;     /* n_out is at least 1 */
    bool variadic;       /* the last input may stand more than once */
} Signature;

/* Letters, perhaps `*` after the last, a colon, 1 to AG_MAX_OUT letters: in one pass, because
 * every call reads its op's. */
static Signature read_signature(const char *text) {
    Signature s = {NULL, 0, 1, false};
    if (!text) return s;
    while (is_kind(text[s.n_in])) s.n_in++;
    s.variadic = text[s.n_in] == '*';
    const char *colon = text + s.n_in + s.variadic;
    if (*colon != ':' || (s.variadic && s.n_in == 0)) return s;
    int n = 0;
    while (is_kind(colon[1 + n]) || colon[1 + n] == '?') n++;
    if (n < 1 || n > AG_MAX_OUT || colon[1 + n]) return s;
    s.results = colon + 1;
    s.n_out = n;
    return s;
}

bool ag_signature_ok(const char *signature) {
    return read_signature(signature).results != NULL;
}

static bool kind_allows(char kind, TensorDtype dtype) {
    switch (kind) {
    case 'f': return tensor_dtype_is_float(dtype);
    case 'i': return dtype == TENSOR_I64;
    case 'm': return dtype == TENSOR_U8;
    default: return true;
    }
}

static const char *kind_name(char kind) {
    return kind == 'f' ? "f32 or f64" : kind == 'i' ? "i64" : "u8";
}

/* Checks dtypes; the dtype that `f` and `a` stand for goes to generic[0] and generic[1]. */
static bool check_dtypes(AgCall *c, TensorDtype generic[2]) {
    int first[2] = {-1, -1};
    for (int i = 0; i < c->n_in; i++) {
        char kind = ag_input_kind(c->op->signature, i);
        TensorDtype dtype = c->in[i]->dtype;
        if (!kind_allows(kind, dtype))
            return ag_call_fail(c, "argument %d is %s, wants %s", i, tensor_dtype_name(dtype),
                                kind_name(kind));
        if (kind != 'f' && kind != 'a') continue;
        int g = kind == 'a';
        if (first[g] < 0) {
            first[g] = i;
            generic[g] = dtype;
        } else if (generic[g] != dtype) {
            return ag_call_fail(c, "mixed dtypes: argument %d is %s, argument %d is %s", first[g],
                                tensor_dtype_name(generic[g]), i, tensor_dtype_name(dtype));
        }
    }
    return true;
}

/* ---- the call ---- */

typedef struct {
    AgBuffer *buffer[AG_MAX_OUT];
    Tensor out[AG_MAX_OUT];
} Results;

static TensorDtype result_dtype(char kind, const TensorDtype generic[2]) {
    return kind == 'i' ? TENSOR_I64 : kind == 'm' ? TENSOR_U8 : generic[kind == 'a'];
}

static bool is_view(const AgCall *c) { return c->out[0].data != NULL; }

/* What a user's shape() may have got wrong in result k, or NULL. */
static const char *invalid_shape(const AgCall *c, int k) {
    Tensor y = c->out[k];
    y.data = &y;
    return tensor_invalid(&y);
}

static bool run_shape(AgCall *c, Results *r, const Signature *s) {
    TensorDtype generic[2] = {TENSOR_F32, TENSOR_F32};
    if (!check_dtypes(c, generic)) return false;
    c->n_out = s->n_out;
    c->out = r->out;
    for (int k = 0; k < c->n_out; k++) {
        r->buffer[k] = NULL;
        r->out[k].dtype = result_dtype(s->results[k], generic);
        r->out[k].ndim = 0;
        r->out[k].data = NULL;
    }
    if (!c->op->shape(c)) return false;
    const char *why = is_view(c) ? invalid_shape(c, 0) : NULL;
    if (why) return ag_call_fail(c, "result 0: %s", why);
    return is_view(c) || c->op->value ||
           ag_call_fail(c, "its shape makes no view, and it computes no value");
}

static bool no_result(AgCall *c, int k) {
    char shape[TENSOR_DESCRIBE_SIZE];
    const char *why = invalid_shape(c, k);
    if (why) return ag_call_fail(c, "result %d: %s", k, why);
    return ag_call_fail(c, "out of memory for the result %s",
                        tensor_describe(&c->out[k], shape, sizeof shape));
}

static bool run_value(AgCall *c, Results *r) {
    if (is_view(c)) return true;
    for (int k = 0; k < c->n_out; k++) {
        Tensor *y = &r->out[k];
        Tensor made = ag_new_value(c->tape, y->dtype, y->ndim, y->shape, &r->buffer[k]);
        if (tensor_is_nil(&made)) return no_result(c, k);
        *y = made;
        if (c->tape->fill_nan) ag_fill_nan(y);
    }
    TensorArenaMark scratch = tensor_arena_mark(c->scratch);
    ag_apply_limit(c->tape, c->scratch);
    bool ok = c->op->value(c);
    tensor_arena_release(c->scratch, scratch);
    return ok;
}

static const void *save_options(AgCall *c, const void *options, size_t size) {
    if (!size) return options;
    void *copy = ag_take(c->tape, c->tape->arena, size);
    if (!copy) ag_call_fail(c, "out of memory (%zu bytes of options)", size);
    return copy ? memcpy(copy, options, size) : NULL;
}

static AgRecord *new_record(AgCall *c, const AgVar *in, bool view) {
    size_t bytes = sizeof(AgRecord) + (size_t)c->n_in * sizeof(uint32_t);
    AgRecord *r = ag_take(c->tape, c->tape->arena, bytes);
    if (!r) {
        ag_call_fail(c, "out of memory (%zu bytes of record)", bytes);
        return NULL;
    }
    *r = (AgRecord){.op = c->op, .options = c->options, .saved = c->saved, .n_in = c->n_in,
                    .n_out = c->n_out, .first_out = c->tape->n, .view = view};
    for (int i = 0; i < c->n_in; i++) r->in[i] = in[i].id;
    return r;
}

/* The results become nodes.  A view shares its input's buffer. */
static bool push_results(AgCall *c, const Results *r, const AgVar *in, const AgRecord *record,
                         bool view, AgVar *out) {
    AgTape *t = c->tape;
    for (int k = 0; k < c->n_out; k++) {
        AgBuffer *buffer = view ? ag_node(t, in[0].id)->buffer : r->buffer[k];
        uint32_t id = ag_push_node(t, &r->out[k], buffer);
        if (!id) return false;
        AgNode *n = ag_node(t, id);
        n->op = c->op;
        n->record = record;
        out[k] = ag_var_of(t, id);
    }
    return true;
}

/* What only the caller's wish turns on. */
static bool inspect(AgCall *c, const AgVar *in, bool view) {
    AgTape *t = c->tape;
    if (t->profiling && !view) ag_profile_results(c);
    return (!t->checkpoint || ag_checkpoint_sees(t, c->n_in, in)) &&
           (!t->tracing || view || ag_trace_call(c, in));
}

static bool call_op(AgCall *c, const Signature *s, const AgVar *in, size_t options_size,
                    AgVar *out) {
    Results r; /* large, so not cleared: shape() and the new memory set what is used */
    if (!run_shape(c, &r, s)) return false;
    if (c->recorded) {
        const void *options = c->options;
        c->options = save_options(c, options, options_size);
        if (options && !c->options) return false;
    }
    bool view = is_view(c);
    if (!run_value(c, &r)) return false;
    AgRecord *record = NULL;
    if (c->recorded && !(record = new_record(c, in, view))) return false;
    if (!push_results(c, &r, in, record, view, out)) return false;
    return !c->tape->inspect || inspect(c, in, view);
}

static AgTape *tape_of(AgTape *t, int n_in, const AgVar *in) {
    for (int i = 0; !t && i < n_in; i++) t = in[i].tape;
    return t;
}

static void fail_results(AgTape *t, int n_out, AgVar *out) {
    for (int k = 0; k < n_out; k++) out[k] = (AgVar){t, 0, 0};
}

static bool takes_inputs(const Signature *s, int n) {
    return s->variadic ? n >= s->n_in : n == s->n_in;
}

static bool check_op(AgTape *t, const AgOp *op, const Signature *s, int n_in,
                     const void *options, size_t size) {
    if (!s->results || !op->shape)
        ag_fail(t, "%s: %s", op->name, op->shape ? "its signature is malformed" : "has no shape()");
    else if (!takes_inputs(s, n_in))
        ag_fail(t, "%s: %d arguments do not fit %s", op->name, n_in, op->signature);
    else if (size && !options)
        ag_fail(t, "%s: %zu bytes of options, but none given", op->name, size);
    return !t->failed;
}

/* Not of a failed tape; out holds failed variables. */
static void apply(const AgOp *op, const Signature *s, AgTape *t, int n_in, const AgVar *in,
                  const void *options, size_t options_size, AgVar *out) {
    if (!check_op(t, op, s, n_in, options, options_size)) return;
    for (int i = 0; i < n_in; i++)
        if (!ag_check_var(t, op->name, i, in[i])) return;

    const Tensor *few[8], **values = few;
    TensorArenaMark scratch = tensor_arena_mark(t->scratch);
    if (n_in > 8) {
        values = ag_take(t, t->scratch, (size_t)n_in * sizeof *values);
        if (!values) {
            ag_fail_memory(t, op->name, (size_t)n_in * sizeof *values);
            return;
        }
    }
    for (int i = 0; i < n_in; i++) values[i] = &ag_node(t, in[i].id)->value;
    AgCall c = {.tape = t, .op = op, .options = options, .n_in = n_in, .in = values,
                .recorded = !t->no_grad && n_in > 0, .scratch = t->scratch, .engine = in};
    if (!call_op(&c, s, in, options_size, out)) {
        ag_fail(t, "%s: failed and gave no reason", op->name); /* kept only if it is the first */
        fail_results(t, s->n_out, out);
    }
    tensor_arena_release(t->scratch, scratch);
}

void ag_apply(const AgOp *op, AgTape *t, int n_in, const AgVar *in, const void *options,
              size_t options_size, AgVar *out) {
    Signature s = read_signature(op->signature);
    t = tape_of(t, n_in, in);
    fail_results(t, s.n_out, out);
    if (!t || t->failed) return;
    AgProfileMark was = ag_profile_begin(t, AG_TIME_CALL, op->name, t->open_scope);
    apply(op, &s, t, n_in, in, options, options_size, out);
    ag_profile_end(t, was);
}

AgVar ag_apply1(const AgOp *op, int n_in, const AgVar *in, const void *options,
                size_t options_size) {
    AgVar out[AG_MAX_OUT]; /* an op of more results than one does no harm */
    ag_apply(op, NULL, n_in, in, options, options_size, out);
    return out[0];
}

/* ---- for shape() and value() ---- */

bool ag_call_fail(AgCall *c, const char *format, ...) {
    char reason[256], args[320] = "", shape[TENSOR_DESCRIBE_SIZE];
    va_list list;
    va_start(list, format);
    vsnprintf(reason, sizeof reason, format, list);
    va_end(list);
    size_t used = 0;
    for (int i = 0; i < c->n_in && used < sizeof args; i++) {
        const char *text = i == 4 && c->n_in > 5 ? "..." : tensor_describe(c->in[i], shape,
                                                                            sizeof shape);
        used += (size_t)snprintf(args + used, sizeof args - used, "%s%s", i ? ", " : "", text);
        if (i == 4 && c->n_in > 5) break;
    }
    ag_fail(c->tape, "%s(%s): %s", c->op->name, args, reason);
    return false;
}

bool ag_out_shape(AgCall *c, int k, int ndim, const int64_t *shape) {
    if (ndim > TENSOR_MAX_DIMS)
        return ag_call_fail(c, "%d axes, more than %d", ndim, TENSOR_MAX_DIMS);
    c->out[k].ndim = ndim;
    for (int d = 0; d < ndim; d++) c->out[k].shape[d] = shape[d];
    return true;
}

bool ag_out_like(AgCall *c, int k, const Tensor *x) {
    return ag_out_shape(c, k, x->ndim, x->shape);
}

bool ag_out_broadcast(AgCall *c, int k, int a, int b) {
    Tensor *y = &c->out[k];
    return tensor_broadcast_shape(c->in[a], c->in[b], &y->ndim, y->shape) ||
           ag_call_fail(c, "shapes do not broadcast");
}

int ag_call_axis(AgCall *c, int i, int axis) {
    int d = tensor_axis(c->in[i], axis);
    if (d < 0) ag_call_fail(c, "axis %d out of range for %d axes", axis, c->in[i]->ndim);
    return d;
}

bool ag_call_index(AgCall *c, int i, int64_t n, const int64_t *skip) {
    int64_t at = tensor_index_invalid(c->in[i], n, skip);
    if (at < 0) return true;
    return ag_call_fail(c, "index %lld at entry %lld is outside 0..%lld",
                        (long long)tensor_get_i64(c->in[i], at), (long long)at,
                        (long long)(n - 1));
}

void *ag_call_save(AgCall *c, size_t bytes) {
    TensorArena *a = c->recorded ? c->tape->arena : c->scratch;
    void *p = ag_take(c->tape, a, bytes);
    if (!p) ag_call_fail(c, "out of memory (%zu bytes)", bytes);
    return p;
}

Tensor ag_call_tensor(AgCall *c, bool saved, TensorDtype dtype, int ndim, const int64_t *shape) {
    TensorArena *a = saved && c->recorded ? c->tape->arena : c->scratch;
    Tensor x = ag_take_tensor(c->tape, a, dtype, ndim, shape);
    if (tensor_is_nil(&x)) ag_call_fail(c, "out of memory");
    return x;
}

Tensor ag_call_contiguous(AgCall *c, const Tensor *x) {
    if (tensor_is_contiguous(x)) return *x;
    Tensor copy = ag_call_tensor(c, false, x->dtype, x->ndim, x->shape);
    if (!tensor_is_nil(&copy)) tensor_convert(&copy, x);
    return copy;
}
