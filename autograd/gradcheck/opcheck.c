#include "autograd/gradcheck/opcheck.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "autograd/gradcheck/core.h"
#include "autograd/tape.h"
#include "tensor/kernels.h"
#include "tensor/rng.h"

static const double f64_tolerance[OPCHECK_ORDERS] = {1e-12, 1e-12, 1e-12};
/* Each order of derivatives subtracts more: the F64 twin is what is checked closely. */
static const double f32_tolerance[OPCHECK_ORDERS] = {2e-5, 1e-4, 5e-4};

typedef struct {
    const AgOp *op;
    const AgSample *sample;
    OpcheckOptions o;
    OpcheckReport *r;
    TensorArena *arena;
    Tensor in[AG_SAMPLE_IN];
    bool composed; /* run compose instead of the op */
    int shared;    /* >= 0: all inputs that can hold it are variable `shared` */
    int twice;     /* >= 0: this input is used by a second op as well */
} Run;

static bool fail(Run *k, const char *check, const char *format, ...) AG_PRINTF(3, 4);
static bool fail(Run *k, const char *check, const char *format, ...) {
    va_list args;
    char *to = k->r->message;
    size_t n = sizeof k->r->message;
    int used = snprintf(to, n, "%s, %s, %s: ", k->op->name ? k->op->name : "op without a name",
                        k->sample ? k->sample->name : "no sample", check);
    va_start(args, format);
    vsnprintf(to + used, n - (size_t)used, format, args);
    va_end(args);
    used = (int)strlen(to);
    if (!strstr(to, "(seed "))
        snprintf(to + used, n - (size_t)used, " (seed %llu)", (unsigned long long)k->o.seed);
    if (k->r->result.reason == GRADCHECK_PASSED) k->r->result.reason = GRADCHECK_ERROR;
    snprintf(k->r->result.message, sizeof k->r->result.message, "%.1000s", to);
    return k->r->ok = k->r->result.ok = false;
}

/* For fail. */
static Run *because(Run *k, GradcheckReason reason) {
    k->r->result.reason = reason;
    return k;
}

static GradcheckReason reason_of(const AgTape *t) {
    return t->misshaped ? GRADCHECK_SHAPE : GRADCHECK_ERROR;
}

/* ---- inputs ---- */

static bool dtype_named(const char *name, TensorDtype *dtype) {
    for (int d = TENSOR_F32; d <= TENSOR_U8; d++) {
        *dtype = (TensorDtype)d;
        if (!strcmp(name, tensor_dtype_name(*dtype))) return true;
    }
    return false;
}

/* The dtype of input i, whose description must make sense. */
static bool read_input(Run *k, int i, TensorDtype *dtype) {
    const AgSampleIn *in = &k->sample->in[i];
    if (in->ndim < 0 || in->ndim > AG_SAMPLE_DIMS)
        return fail(k, "inputs", "input %d has %d axes, 0 to %d are possible", i, in->ndim,
                    AG_SAMPLE_DIMS);
    for (int d = 0; d < in->ndim; d++)
        if (in->shape[d] < 0)
            return fail(k, "inputs", "input %d: size %lld of axis %d", i, (long long)in->shape[d],
                        d);
    char kind = ag_input_kind(k->op->signature, i);
    *dtype = kind == 'i' ? TENSOR_I64 : kind == 'm' ? TENSOR_U8 : TENSOR_F64;
    return !in->dtype || dtype_named(in->dtype, dtype) ||
           fail(k, "inputs", "input %d: no dtype is called `%s`", i, in->dtype);
}

/* Floats hold values that F32 can hold too, so that both dtypes start from the same numbers. */
static bool draw_inputs(Run *k) {
    if (k->sample->n_in < 0 || k->sample->n_in > AG_SAMPLE_IN)
        return fail(k, "inputs", "%d of them, 0 to %d are possible", k->sample->n_in, AG_SAMPLE_IN);
    for (int i = 0; i < k->sample->n_in; i++) {
        const AgSampleIn *s = &k->sample->in[i];
        TensorDtype dtype = TENSOR_F64;
        if (!read_input(k, i, &dtype)) return false;
        Tensor x = tensor_new(k->arena, dtype, s->ndim, s->shape);
        if (tensor_is_nil(&x)) return fail(k, "inputs", "out of memory");
        TensorRngKey key = {k->o.seed, 0, (uint64_t)i};
        bool no_range = s->lo == 0 && s->hi == 0 && tensor_dtype_is_float(dtype);
        double lo = no_range ? -1 : s->lo, hi = no_range ? 1 : s->hi;
        for (int64_t e = 0, n = tensor_numel(&x); e < n; e++) {
            double v = lo + (hi - lo) * tensor_rng_uniform(key, (uint64_t)e);
            tensor_set(&x, e, tensor_dtype_is_float(dtype) ? (double)(float)v : floor(v));
        }
        k->in[i] = x;
    }
    return true;
}

/* Can input i hold the variable that input j is? */
static bool compatible(const Run *k, int i, int j) {
    return k->in[i].dtype == k->in[j].dtype && tensor_same_shape(&k->in[i], &k->in[j]) &&
           tensor_dtype_is_float(k->in[i].dtype);
}

static Tensor as_f32(Run *k, const Tensor *x) {
    if (x->dtype != TENSOR_F64) return *x;
    Tensor y = tensor_new(k->arena, TENSOR_F32, x->ndim, x->shape);
    if (!tensor_is_nil(&y)) tensor_convert(&y, x);
    return y;
}

/* ---- the same values in other memory ---- */

/* Axes reversed, and a gap after every element. */
static Tensor as_transposed(Run *k, const Tensor *x) {
    if (x->ndim == 0 || x->ndim + 1 > TENSOR_MAX_DIMS) return *x;
    int64_t shape[TENSOR_MAX_DIMS];
    int axes[TENSOR_MAX_DIMS];
    for (int d = 0; d < x->ndim; d++) {
        shape[d] = x->shape[x->ndim - 1 - d];
        axes[d] = x->ndim - 1 - d;
    }
    shape[x->ndim] = 2;
    Tensor wide = tensor_new(k->arena, x->dtype, x->ndim + 1, shape);
    if (tensor_is_nil(&wide)) return wide;
    tensor_fill(&wide, 3);
    Tensor every_other = tensor_select(&wide, -1, 1), y = tensor_permute(&every_other, axes);
    tensor_convert(&y, x);
    return y;
}

/* In the middle of something larger along every axis. */
static Tensor as_narrowed(Run *k, const Tensor *x) {
    int64_t shape[TENSOR_MAX_DIMS];
    for (int d = 0; d < x->ndim; d++) shape[d] = x->shape[d] + 2;
    Tensor y = tensor_new(k->arena, x->dtype, x->ndim, shape);
    if (tensor_is_nil(&y)) return y;
    tensor_fill(&y, 3);
    for (int d = 0; d < x->ndim; d++) y = tensor_narrow(&y, d, 1, x->shape[d]);
    tensor_convert(&y, x);
    return y;
}

/* From the last element to the first. */
static Tensor as_flipped(Run *k, const Tensor *x) {
    Tensor y = tensor_new(k->arena, x->dtype, x->ndim, x->shape);
    for (int d = 0; d < x->ndim && !tensor_is_nil(&y); d++) y = tensor_flip(&y, d);
    if (!tensor_is_nil(&y)) tensor_convert(&y, x);
    return y;
}

/* The first index of the first axis with several, repeated along it: other values than x's. */
static Tensor as_expanded(Run *k, const Tensor *x) {
    for (int d = 0; d < x->ndim; d++) {
        if (x->shape[d] < 2) continue;
        Tensor first = tensor_narrow(x, d, 0, 1), once = tensor_copy(k->arena, &first);
        return tensor_is_nil(&once) ? once : tensor_expand(&once, x->ndim, x->shape);
    }
    return *x;
}

static Tensor in_layout(Run *k, const Tensor *x, OpcheckLayout layout) {
    switch (layout) {
    case OPCHECK_TRANSPOSED: return as_transposed(k, x);
    case OPCHECK_NARROWED: return as_narrowed(k, x);
    case OPCHECK_FLIPPED: return as_flipped(k, x);
    case OPCHECK_EXPANDED: return as_expanded(k, x);
    default: return *x;
    }
}

const char *opcheck_layout_name(OpcheckLayout layout) {
    static const char *const names[OPCHECK_LAYOUTS] = {"contiguous", "transposed", "narrowed",
                                                       "flipped", "expanded", "empty", "0-d"};
    return (unsigned)layout < OPCHECK_LAYOUTS ? names[layout] : "unknown";
}

/* ---- calls ---- */

/* Runs the op (or its composition); the float results go to y, their number is returned. */
static int call(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    Run *k = context;
    AgVar in[AG_SAMPLE_IN], out[AG_MAX_OUT];
    for (int i = 0; i < k->sample->n_in; i++)
        in[i] = k->shared >= 0 && compatible(k, i, k->shared) ? x[k->shared] : x[i];
    int n_all = (int)strlen(strchr(k->op->signature, ':') + 1), n = 0;
    if (!k->composed) {
        ag_apply(k->op, t, k->sample->n_in, in, k->sample->options, k->sample->options_size, out);
    } else if (!k->op->compose(t, k->sample->n_in, in, k->sample->options, out)) {
        return 0;
    }
    for (int i = 0; i < n_all; i++)
        if (!ag_ok(out[i]) || tensor_dtype_is_float(ag_dtype(out[i]))) y[n++] = out[i];
    if (k->twice >= 0 && n < GRADCHECK_MAX_OUT) y[n++] = ag_affine(x[k->twice], 3, 1);
    return n;
}

/* Has the op a float input and a float result? */
static bool has_gradient(Run *k, AgTape *t) {
    AgVar x[AG_SAMPLE_IN], y[AG_MAX_OUT + 1];
    bool any = false;
    ag_tape_reset(t);
    for (int i = 0; i < k->sample->n_in; i++) {
        x[i] = ag_input(t, &k->in[i]);
        any |= tensor_dtype_is_float(k->in[i].dtype);
    }
    return any && call(t, x, y, k) > 0;
}

/* Results of an op, or the gradients of its inputs. */
enum { MAX_RESULTS = AG_SAMPLE_IN > AG_MAX_OUT ? AG_SAMPLE_IN : AG_MAX_OUT + 1 };

/* Values, gradients and second derivatives of one run, in memory that outlives the tape's
 * reset. */
typedef struct {
    int n[OPCHECK_ORDERS];
    Tensor v[OPCHECK_ORDERS][MAX_RESULTS];
} Results;

static AgVar seed_for(AgTape *t, const Tensor *y) {
    AgVar w = ag_arange(t, TENSOR_F64, 0, (double)tensor_numel(y), 1);
    w = ag_affine(w, 1 / (1.0 + (double)tensor_numel(y)), .5);
    return ag_cast(ag_reshape(w, y->ndim, y->shape), y->dtype);
}

static bool keep(Run *k, Results *r, int order, int n, const AgVar *v) {
    r->n[order] = n;
    for (int i = 0; i < n; i++) {
        r->v[order][i] = tensor_copy(k->arena, ag_value(v[i]));
        if (tensor_is_nil(&r->v[order][i])) return fail(k, "run", "out of memory");
    }
    return true;
}

/* Runs the sample's op on `in`, up to derivatives of the given order. */
static bool run(Run *k, AgTape *t, const Tensor *in, int order, Results *r) {
    static const char *const what[] = {"run", "gradient", "second order"};
    AgVar x[AG_SAMPLE_IN], v[MAX_RESULTS], next[MAX_RESULTS], seed[MAX_RESULTS],
        wanted[AG_SAMPLE_IN];
    int n_wanted = 0;
    *r = (Results){{0}, {{{0}}}};
    ag_tape_reset(t);
    for (int i = 0; i < k->sample->n_in; i++) {
        x[i] = ag_borrow(t, &in[i]);
        if (tensor_dtype_is_float(in[i].dtype)) wanted[n_wanted++] = x[i];
    }
    int n = call(t, x, v, k);
    if (!ag_tape_ok(t)) return fail(because(k, reason_of(t)), what[0], "%s", ag_tape_error(t));
    for (int o = 0;; o++) {
        if (!keep(k, r, o, n, v)) return false;
        if (o == order) return true;
        for (int i = 0; i < n; i++) seed[i] = seed_for(t, ag_value(v[i]));
        if (!ag_grad_n(n, v, seed, n_wanted, wanted, next, o + 1 < order))
            return fail(because(k, reason_of(t)), what[o + 1], "%s", ag_tape_error(t));
        memcpy(v, next, sizeof v);
        n = n_wanted;
    }
}

/* Largest |a - b| / (1 + |b|); infinity where shapes differ, and where one is NaN alone. */
static double distance(const Tensor *a, const Tensor *b) {
    if (!tensor_same_shape(a, b)) return INFINITY;
    double worst = 0;
    for (int64_t i = 0, n = tensor_numel(a); i < n; i++) {
        double u = tensor_get(a, i), v = tensor_get(b, i);
        if (u == v || (isnan(u) && isnan(v))) continue;
        double d = fabs(u - v) / (1 + fabs(v));
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return worst;
}

static bool agree(Run *k, const char *check, const Results *a, const Results *b,
                  const double tolerance[OPCHECK_ORDERS], double *worst) {
    static const char *const what[] = {"result", "gradient", "second derivative"};
    for (int o = 0; o < OPCHECK_ORDERS; o++) {
        if (a->n[o] != b->n[o]) return fail(k, check, "%d %ss, not %d", a->n[o], what[o], b->n[o]);
        for (int i = 0; i < a->n[o]; i++) {
            double d = distance(&a->v[o][i], &b->v[o][i]);
            if (d > *worst) *worst = d;
            if (!(d <= tolerance[o]))
                return fail(because(k, GRADCHECK_WRONG), check,
                            "%s %d differs by %.3g (at most %.3g)", what[o], i, d,
                            tolerance[o]);
        }
    }
    return true;
}

/* ---- checks of one sample ---- */

static bool check_differences(Run *k, const char *check, bool second) {
    GradcheckOptions o = {.rtol = k->o.rtol, .atol = k->o.atol, .seed = k->o.seed};
    GradcheckResult g;
    bool ok = second ? gradgradcheck(call, k, k->sample->n_in, k->in, &o, &g)
                     : gradcheck(call, k, k->sample->n_in, k->in, &o, &g);
    if (!ok) {
        k->r->result = g;
        return fail(k, check, "%.1000s", g.message);
    }
    k->r->derivatives += g.checked;
    k->r->result.seed = g.seed;
    k->r->result.evaluations += g.evaluations;
    double *worst = second ? &k->r->worst_second : &k->r->worst_first;
    if (g.rel_error > *worst) *worst = g.rel_error;
    return true;
}

/* The gradient of one input alone, without the others' being asked for. */
static bool check_alone(Run *k, AgTape *t, const Results *joint) {
    for (int i = 0, j = 0; i < k->sample->n_in; i++) {
        if (!tensor_dtype_is_float(k->in[i].dtype)) continue;
        AgVar x[AG_SAMPLE_IN], y[AG_MAX_OUT + 1], seed[AG_MAX_OUT + 1], g;
        ag_tape_reset(t);
        for (int l = 0; l < k->sample->n_in; l++) x[l] = ag_borrow(t, &k->in[l]);
        int n = call(t, x, y, k);
        for (int o = 0; o < n; o++) seed[o] = seed_for(t, ag_value(y[o]));
        if (!ag_grad_n(n, y, seed, 1, &x[i], &g, false))
            return fail(k, "one input alone", "%s", ag_tape_error(t));
        double d = distance(ag_value(g), &joint->v[1][j++]);
        if (!(d <= f64_tolerance[1]))
            return fail(because(k, GRADCHECK_WRONG), "one input alone",
                        "gradient %d differs by %.3g", i, d);
    }
    return true;
}

static bool check_repeats(Run *k) {
    bool ok = true;
    for (int i = 0; i < k->sample->n_in && ok; i++) {
        int first = i;
        for (int j = 0; j < i; j++)
            if (compatible(k, i, j)) first = -1; /* this group was checked from j */
        int places = 0;
        for (int j = i; first >= 0 && j < k->sample->n_in; j++) places += compatible(k, j, i);
        if (places < 2) continue;
        k->shared = i;
        ok = check_differences(k, "one variable in all places", false) &&
             check_differences(k, "one variable in all places, second order", true);
        k->shared = -1;
    }
    for (int i = 0; i < k->sample->n_in && ok; i++) {
        if (!tensor_dtype_is_float(k->in[i].dtype)) continue;
        k->twice = i;
        ok = check_differences(k, "a variable used twice", false);
        k->twice = -1;
    }
    return ok;
}

/* What a sample gives: by the fast path up to gradients, and up to second derivatives. */
typedef struct {
    int order;
    Results fast, second;
} Wanted;

static bool run_wanted(Run *k, AgTape *t, const Tensor *in, int order, Wanted *w) {
    w->order = order;
    return run(k, t, in, order < 1 ? order : 1, &w->fast) &&
           (order < 2 || run(k, t, in, 2, &w->second));
}

static bool check_form(Run *k, AgTape *t, const char *check, const Tensor *in, const Wanted *want,
                       const double tolerance[OPCHECK_ORDERS], double *worst) {
    Wanted got;
    return run_wanted(k, t, in, want->order, &got) &&
           agree(k, check, &got.fast, &want->fast, tolerance, worst) &&
           (want->order < 2 || agree(k, check, &got.second, &want->second, tolerance, worst));
}

/* Every kind of memory in both float types, against dense F64. */
static bool check_forms(Run *k, AgTape *t, const Wanted *base) {
    for (OpcheckLayout layout = OPCHECK_CONTIGUOUS; layout <= OPCHECK_EXPANDED; layout++) {
        Tensor x64[AG_SAMPLE_IN], x32[AG_SAMPLE_IN], dense[AG_SAMPLE_IN];
        Wanted own;
        for (int i = 0; i < k->sample->n_in; i++) {
            Tensor single = as_f32(k, &k->in[i]);
            x64[i] = in_layout(k, &k->in[i], layout);
            x32[i] = in_layout(k, &single, layout);
            dense[i] = tensor_copy(k->arena, &x64[i]);
            if (tensor_is_nil(&x64[i]) || tensor_is_nil(&x32[i]) || tensor_is_nil(&dense[i]))
                return fail(k, "layouts", "out of memory");
        }
        bool other_values = layout == OPCHECK_EXPANDED;
        if (other_values && !run_wanted(k, t, dense, base->order, &own)) return false;
        const Wanted *want = other_values ? &own : base;
        char check[64];
        snprintf(check, sizeof check, "%s inputs", opcheck_layout_name(layout));
        if (!check_form(k, t, check, x64, want, f64_tolerance, &k->r->worst_layout))
            return false;
        snprintf(check, sizeof check, "%s inputs in F32", opcheck_layout_name(layout));
        if (!check_form(k, t, check, x32, want, f32_tolerance, &k->r->worst_f32)) return false;
    }
    return true;
}

static bool check_compose(Run *k, AgTape *t, const Results *base) {
    if (!k->op->compose) return true;
    Results r;
    k->composed = true;
    bool ok = run(k, t, k->in, 1, &r) &&
              agree(k, "compose", &r, base, f64_tolerance, &k->r->worst_compose);
    k->composed = false;
    return ok;
}

static bool check_twice_same_bits(Run *k, AgTape *t, const Results *base) {
    Results r;
    if (!run(k, t, k->in, 0, &r)) return false;
    for (int o = 0; o < r.n[0]; o++) {
        size_t bytes = (size_t)tensor_numel(&r.v[0][o]) * tensor_dtype_size(r.v[0][o].dtype);
        if (memcmp(r.v[0][o].data, base->v[0][o].data, bytes))
            return fail(because(k, GRADCHECK_NONDETERMINISTIC), "run twice",
                        "result %d has other bits", o);
    }
    return true;
}

static void count_covered(Run *k, int order) {
    bool covers[OPCHECK_LAYOUTS] = {true, true, true, true, true, false, false};
    for (int i = 0; i < k->sample->n_in; i++) {
        covers[OPCHECK_EMPTY] |= tensor_numel(&k->in[i]) == 0;
        covers[OPCHECK_SCALAR] |= k->in[i].ndim == 0;
    }
    for (int layout = 0; layout < OPCHECK_LAYOUTS; layout++)
        for (int o = 0; o <= order && covers[layout]; o++) {
            k->r->covered[0][layout][o]++;
            k->r->covered[1][layout][o]++;
        }
}

static bool check_sample(Run *k, AgTape *t) {
    Wanted base;
    if (!draw_inputs(k)) return false;
    int order = has_gradient(k, t) ? 2 : 0;
    /* First order first: a rule that is wrong there is best told by its numbers. */
    if (order == 2 && !check_differences(k, "gradient", false)) return false;
    if (!run_wanted(k, t, k->in, order, &base) || !check_twice_same_bits(k, t, &base.fast))
        return false;
    if (order == 2 &&
        (!check_compose(k, t, &base.fast) || !check_differences(k, "second order", true) ||
         !check_alone(k, t, &base.fast) || !check_repeats(k))) return false;
    if (!check_forms(k, t, &base)) return false;
    count_covered(k, order);
    return true;
}

static bool check_error(Run *k, AgTape *t) {
    AgVar x[AG_SAMPLE_IN], out[AG_MAX_OUT];
    if (!draw_inputs(k)) return false;
    ag_tape_reset(t);
    for (int i = 0; i < k->sample->n_in; i++) x[i] = ag_borrow(t, &k->in[i]);
    ag_apply(k->op, t, k->sample->n_in, x, k->sample->options, k->sample->options_size, out);
    if (ag_tape_ok(t)) return fail(k, "error", "no error, wants `%s`", k->sample->message);
    if (ag_ok(out[0])) return fail(k, "error", "a usable result beside the error");
    if (!k->sample->message || !strstr(ag_tape_error(t), k->sample->message))
        return fail(k, "error", "says `%s`, wants `%s`", ag_tape_error(t),
                    k->sample->message ? k->sample->message : "(no message given)");
    return true;
}

static bool check_all(Run *k, AgTape *t) {
    if (!k->op->name) return fail(k, "name", "there is none");
    if (!ag_signature_ok(k->op->signature))
        return fail(k, "signature", "`%s`, wants inputs:results, as \"ff:f\"",
                    k->op->signature ? k->op->signature : "NULL");
    if (!k->op->samples || !k->op->samples[0].name) return fail(k, "samples", "there are none");
    if (!k->op->errors || !k->op->errors[0].name) return fail(k, "error samples", "there are none");
    for (k->sample = k->op->samples; k->sample->name; k->sample++, k->r->samples++) {
        tensor_arena_reset(k->arena);
        if (!check_sample(k, t)) return false;
    }
    for (k->sample = k->op->errors; k->sample->name; k->sample++, k->r->errors++) {
        tensor_arena_reset(k->arena);
        if (!check_error(k, t)) return false;
    }
    return true;
}

static void say_passed(const AgOp *op, OpcheckReport *r) {
    r->result.checked = r->result.total = r->derivatives;
    r->result.rel_error = fmax(r->worst_first, r->worst_second);
    snprintf(r->result.message, sizeof r->result.message, "passed: %s, %d samples and %d errors, "
             "%lld derivatives; worst relative error %.2g, second order %.2g (seed %llu)", op->name,
             r->samples, r->errors, (long long)r->derivatives, r->worst_first, r->worst_second,
             (unsigned long long)r->result.seed);
}

bool opcheck(const AgOp *op, const OpcheckOptions *options, OpcheckReport *report) {
    *report = (OpcheckReport){.ok = true, .result = {.ok = true, .input = -1, .index = -1,
                                                     .other = -1, .axis = -1, .order = 1}};
    Run k = {.op = op, .r = report, .shared = -1, .twice = -1, .arena = tensor_arena_new()};
    if (options) k.o = *options;
    gradcheck_seed(&k.o.seed);
    AgTape *t = ag_tape_new();
    if (t) t->fill_nan = true;
    if (!t || !k.arena) fail(&k, "start", "out of memory");
    else if (check_all(&k, t)) say_passed(op, report);
    ag_tape_free(t);
    tensor_arena_free(k.arena);
    return report->ok;
}
