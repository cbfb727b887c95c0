#include "autograd/gradcheck/opcheck.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "autograd/gradcheck/gradcheck.h"
#include "tensor/kernels.h"
#include "tensor/rng.h"

#define STRIDED_TOLERANCE 1e-12
#define COMPOSE_TOLERANCE 1e-12
#define F32_TOLERANCE 2e-5

typedef struct {
    const AgOp *op;
    const AgSample *sample;
    OpcheckOptions o;
    OpcheckResult *r;
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
    int used = snprintf(to, n, "%s, %s, %s: ", k->op->name,
                        k->sample ? k->sample->name : "no sample", check);
    va_start(args, format);
    vsnprintf(to + used, n - (size_t)used, format, args);
    va_end(args);
    return k->r->ok = false;
}

/* ---- inputs ---- */

static TensorDtype dtype_named(const char *name) {
    for (int d = TENSOR_F32; d <= TENSOR_U8; d++)
        if (!strcmp(name, tensor_dtype_name((TensorDtype)d))) return (TensorDtype)d;
    return TENSOR_F64;
}

static TensorDtype dtype_of(const AgOp *op, const AgSampleIn *in, int i) {
    if (in->dtype) return dtype_named(in->dtype);
    char kind = ag_input_kind(op->signature, i);
    return kind == 'i' ? TENSOR_I64 : kind == 'm' ? TENSOR_U8 : TENSOR_F64;
}

/* Floats hold values that F32 can hold too, so that both dtypes start from the same numbers. */
static bool draw_inputs(Run *k) {
    for (int i = 0; i < k->sample->n_in; i++) {
        const AgSampleIn *s = &k->sample->in[i];
        TensorDtype dtype = dtype_of(k->op, s, i);
        Tensor x = tensor_new(k->arena, dtype, s->ndim, s->shape);
        if (tensor_is_nil(&x)) return fail(k, "inputs", "out of memory");
        TensorRngKey key = {k->o.seed, 0, (uint64_t)i};
        for (int64_t e = 0, n = tensor_numel(&x); e < n; e++) {
            double v = s->lo + (s->hi - s->lo) * tensor_rng_uniform(key, (uint64_t)e);
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

/* The same values in memory with axes reversed and a gap after every element. */
static Tensor as_strided(Run *k, const Tensor *x) {
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

/* Values and gradients of one run, in memory that outlives the tape's reset. */
typedef struct {
    int n_out, n_in;
    Tensor y[AG_MAX_OUT + 1], g[AG_SAMPLE_IN];
} Results;

static AgVar seed_for(AgTape *t, const Tensor *y) {
    AgVar w = ag_arange(t, TENSOR_F64, 0, (double)tensor_numel(y), 1);
    w = ag_affine(w, 1 / (1.0 + (double)tensor_numel(y)), .5);
    return ag_cast(ag_reshape(w, y->ndim, y->shape), y->dtype);
}

static bool run(Run *k, AgTape *t, const Tensor *in, bool gradients, Results *r) {
    AgVar x[AG_SAMPLE_IN], y[AG_MAX_OUT + 1], seed[AG_MAX_OUT + 1], wanted[AG_SAMPLE_IN],
        gx[AG_SAMPLE_IN];
    *r = (Results){0};
    ag_tape_reset(t);
    for (int i = 0; i < k->sample->n_in; i++) {
        x[i] = ag_borrow(t, &in[i]);
        if (tensor_dtype_is_float(in[i].dtype)) wanted[r->n_in++] = x[i];
    }
    r->n_out = call(t, x, y, k);
    for (int o = 0; o < r->n_out; o++) {
        if (!ag_ok(y[o])) return fail(k, "run", "%s", ag_tape_error(t));
        r->y[o] = tensor_copy(k->arena, ag_value(y[o]));
        if (tensor_is_nil(&r->y[o])) return fail(k, "run", "out of memory");
        seed[o] = seed_for(t, ag_value(y[o]));
    }
    if (!ag_tape_ok(t)) return fail(k, "run", "%s", ag_tape_error(t));
    if (!gradients) return true;
    if (!ag_grad_n(r->n_out, y, seed, r->n_in, wanted, gx, false))
        return fail(k, "gradient", "%s", ag_tape_error(t));
    for (int i = 0; i < r->n_in; i++) {
        r->g[i] = tensor_copy(k->arena, ag_value(gx[i]));
        if (tensor_is_nil(&r->g[i])) return fail(k, "gradient", "out of memory");
    }
    return true;
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

static bool agree(Run *k, const char *check, const Results *a, const Results *b, double tolerance,
                  double *worst) {
    if (a->n_out != b->n_out || a->n_in != b->n_in) return fail(k, check, "other results");
    for (int o = 0; o < a->n_out + a->n_in; o++) {
        bool value = o < a->n_out;
        int i = value ? o : o - a->n_out;
        double d = value ? distance(&a->y[i], &b->y[i]) : distance(&a->g[i], &b->g[i]);
        if (d > *worst) *worst = d;
        if (!(d <= tolerance))
            return fail(k, check, "%s %d differs by %.3g (at most %.3g)",
                        value ? "result" : "gradient", i, d, tolerance);
    }
    return true;
}

/* ---- checks of one sample ---- */

static bool check_differences(Run *k, const char *check, bool second) {
    GradcheckOptions o = {.rtol = k->o.rtol, .atol = k->o.atol, .seed = k->o.seed};
    GradcheckResult g;
    bool ok = second ? gradgradcheck(call, k, k->sample->n_in, k->in, &o, &g)
                     : gradcheck(call, k, k->sample->n_in, k->in, &o, &g);
    if (!ok) return fail(k, check, "%.900s", g.message);
    k->r->derivatives += g.checked;
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
        double d = distance(ag_value(g), &joint->g[j++]);
        if (!(d <= STRIDED_TOLERANCE))
            return fail(k, "one input alone", "gradient %d differs by %.3g", i, d);
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

static bool check_forms(Run *k, AgTape *t, bool gradients, const Results *base) {
    Tensor f32[AG_SAMPLE_IN], strided[AG_SAMPLE_IN];
    for (int i = 0; i < k->sample->n_in; i++) {
        f32[i] = as_f32(k, &k->in[i]);
        strided[i] = as_strided(k, &k->in[i]);
        if (tensor_is_nil(&f32[i]) || tensor_is_nil(&strided[i]))
            return fail(k, "forms", "out of memory");
    }
    Results r;
    return run(k, t, strided, gradients, &r) &&
           agree(k, "strided inputs", &r, base, STRIDED_TOLERANCE, &k->r->worst_strided) &&
           run(k, t, f32, gradients, &r) &&
           agree(k, "F32", &r, base, F32_TOLERANCE, &k->r->worst_f32);
}

static bool check_compose(Run *k, AgTape *t, bool gradients, const Results *base) {
    if (!k->op->compose) return true;
    Results r;
    k->composed = true;
    bool ok = run(k, t, k->in, gradients, &r) &&
              agree(k, "compose", &r, base, COMPOSE_TOLERANCE, &k->r->worst_compose);
    k->composed = false;
    return ok;
}

static bool check_twice_same_bits(Run *k, AgTape *t, const Results *base) {
    Results r;
    if (!run(k, t, k->in, false, &r)) return false;
    for (int o = 0; o < r.n_out; o++) {
        size_t bytes = (size_t)tensor_numel(&r.y[o]) * tensor_dtype_size(r.y[o].dtype);
        if (memcmp(r.y[o].data, base->y[o].data, bytes))
            return fail(k, "run twice", "result %d has other bits", o);
    }
    return true;
}

static bool check_sample(Run *k, AgTape *t) {
    Results base;
    if (!draw_inputs(k)) return false;
    bool gradients = has_gradient(k, t);
    if (!run(k, t, k->in, gradients, &base) || !check_twice_same_bits(k, t, &base)) return false;
    if (!check_forms(k, t, gradients, &base)) return false;
    if (!gradients) return true;
    return check_compose(k, t, gradients, &base) && check_differences(k, "gradient", false) &&
           check_differences(k, "second order", true) && check_alone(k, t, &base) &&
           check_repeats(k);
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

bool opcheck(const AgOp *op, const OpcheckOptions *options, OpcheckResult *result) {
    *result = (OpcheckResult){.ok = true};
    Run k = {.op = op, .r = result, .shared = -1, .twice = -1, .arena = tensor_arena_new()};
    if (options) k.o = *options;
    AgTape *t = ag_tape_new();
    if (!t || !k.arena) fail(&k, "start", "out of memory");
    else check_all(&k, t);
    ag_tape_free(t);
    tensor_arena_free(k.arena);
    return result->ok;
}
