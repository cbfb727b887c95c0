#include "autograd/gradcheck/plain.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gradcheck/core.h"

/* Streams of the seed. */
enum { COTANGENTS = 1, DIRECTIONS, SHARE, FILLING };
enum { FENCE = 512 }; /* bytes before and after an array of the checker's */
#define FENCE_BYTE 0xA5

struct GradcheckBlock {
    struct GradcheckBlock *next;
    max_align_t memory[];
};

/* ---- reasons ---- */

static const struct {
    const char *code, *text;
} reasons[GRADCHECK_REASONS] = {
    [GRADCHECK_PASSED] = {"PASSED", "passed"},
    [GRADCHECK_SIGN] = {"SIGN", "sign flipped"},
    [GRADCHECK_FACTOR] = {"FACTOR", "off by a constant factor"},
    [GRADCHECK_MISSING] = {"MISSING", "gradient missing"},
    [GRADCHECK_TRANSPOSED] = {"TRANSPOSED", "transposed"},
    [GRADCHECK_OTHER_INPUT] = {"OTHER_INPUT", "gradient of another input"},
    [GRADCHECK_SHIFTED] = {"SHIFTED", "shifted along an axis"},
    [GRADCHECK_PERMUTED] = {"PERMUTED", "blocks in another order"},
    [GRADCHECK_REPEATED_INDEX] = {"REPEATED_INDEX", "wrong only at repeated indices"},
    [GRADCHECK_SLICE] = {"SLICE", "wrong only in one slice"},
    [GRADCHECK_PARTIAL_SUM] = {"PARTIAL_SUM", "a sum is missing"},
    [GRADCHECK_RESULT_IGNORED] = {"RESULT_IGNORED", "a result's cotangent is not used"},
    [GRADCHECK_RESULTS_SWAPPED] = {"RESULTS_SWAPPED", "cotangents of two results swapped"},
    [GRADCHECK_NOT_LINEAR] = {"NOT_LINEAR", "not linear in the cotangent"},
    [GRADCHECK_NONDETERMINISTIC] = {"NONDETERMINISTIC", "not deterministic"},
    [GRADCHECK_INPUT_CHANGED] = {"INPUT_CHANGED", "changed in place"},
    [GRADCHECK_OVERWRITES] = {"OVERWRITES", "overwrites instead of accumulating"},
    [GRADCHECK_ACCUMULATED] = {"ACCUMULATED", "accumulates instead of overwriting"},
    [GRADCHECK_UNWRITTEN] = {"UNWRITTEN", "an element never written"},
    [GRADCHECK_OUT_OF_BOUNDS] = {"OUT_OF_BOUNDS", "a write outside the array"},
    [GRADCHECK_SHAPE] = {"SHAPE", "shape or dtype wrong"},
    [GRADCHECK_NONFINITE] = {"NONFINITE", "NaN or infinity"},
    [GRADCHECK_KINK] = {"KINK", "not differentiable here"},
    [GRADCHECK_NOISE] = {"NOISE", "below the noise floor"},
    [GRADCHECK_WRONG] = {"WRONG", "gradient differs"},
    [GRADCHECK_ERROR] = {"ERROR", "the check could not run"},
};

static bool is_reason(GradcheckReason reason) {
    return (unsigned)reason < (unsigned)GRADCHECK_REASONS;
}
const char *gradcheck_reason(GradcheckReason reason) {
    return is_reason(reason) ? reasons[reason].text : "unknown reason";
}
const char *gradcheck_reason_code(GradcheckReason reason) {
    return is_reason(reason) ? reasons[reason].code : "UNKNOWN";
}

bool gradcheck_fail(GradcheckRun *run, GradcheckReason reason, const char *format, ...) {
    va_list args;
    GradcheckResult *r = run->r;
    int used = snprintf(r->message, sizeof r->message, "%s: ", gradcheck_reason(reason));
    va_start(args, format);
    vsnprintf(r->message + used, sizeof r->message - (size_t)used, format, args);
    va_end(args);
    r->reason = reason;
    return r->ok = false;
}

/* ---- memory, elements, numbers ---- */

void *gradcheck_memory(GradcheckRun *run, size_t count, size_t size) {
    struct GradcheckBlock *b = NULL;
    if (count <= (SIZE_MAX - sizeof *b) / size) b = calloc(1, sizeof *b + count * size);
    if (!b) {
        gradcheck_fail(run, GRADCHECK_ERROR, "out of memory (%zu elements)", count);
        return NULL;
    }
    b->next = run->blocks;
    run->blocks = b;
    return b->memory;
}

static void free_memory(GradcheckRun *run) {
    for (struct GradcheckBlock *b = run->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
}

static bool is_float(int dtype) { return dtype == GRADCHECK_F32 || dtype == GRADCHECK_F64; }

static size_t size_of(int dtype) {
    return dtype == GRADCHECK_U8 ? 1 : dtype == GRADCHECK_F32 ? 4 : 8;
}

double gradcheck_get(const void *data, int dtype, int64_t i) {
    switch (dtype) {
    case GRADCHECK_F32: return ((const float *)data)[i];
    case GRADCHECK_F64: return ((const double *)data)[i];
    case GRADCHECK_I64: return (double)((const int64_t *)data)[i];
    default: return ((const uint8_t *)data)[i];
    }
}

void gradcheck_set(void *data, int dtype, int64_t i, double value) {
    if (dtype == GRADCHECK_F32) ((float *)data)[i] = (float)value;
    else ((double *)data)[i] = value;
}

static uint64_t mix(uint64_t z) {
    z += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* SplitMix64 as a hash: G. L. Steele, D. Lea and C. H. Flood, Fast Splittable Pseudorandom Number
 * Generators, OOPSLA 2014. */
double gradcheck_uniform(uint64_t seed, uint64_t stream, uint64_t which, uint64_t i) {
    uint64_t bits = mix(mix(mix(mix(seed) ^ stream) ^ which) ^ i);
    return (double)(bits >> 11) * 0x1p-53;
}

/* Of mean 0 and variance 1: the sum of 12 uniform numbers is normal enough for a direction. */
static double spread(uint64_t seed, uint64_t which, uint64_t i) {
    double sum = -6;
    for (uint64_t k = 0; k < 12; k++) sum += gradcheck_uniform(seed, DIRECTIONS, which, 12 * i + k);
    return sum;
}

/* ---- arrays ---- */

static bool count_elements(GradcheckRun *run, const GradcheckArray *x, int64_t *n) {
    const GradArg *a = x->arg;
    if (a->dtype < GRADCHECK_F64 || a->dtype > GRADCHECK_U8)
        return gradcheck_fail(run, GRADCHECK_ERROR, "%s: dtype %d", x->name, a->dtype);
    if (a->ndim < 0 || a->ndim > GRADCHECK_MAX_DIMS || (a->ndim > 0 && !a->shape))
        return gradcheck_fail(run, GRADCHECK_ERROR, "%s: %d axes%s", x->name, a->ndim,
                              a->shape ? "" : " without a shape");
    *n = 1;
    for (int d = 0; d < a->ndim; d++) {
        if (a->shape[d] < 0 || (a->shape[d] > 0 && *n > INT64_MAX / 16 / a->shape[d]))
            return gradcheck_fail(run, GRADCHECK_ERROR, "%s: size %" PRId64 " of axis %d",
                                  x->name, a->shape[d], d);
        *n *= a->shape[d];
    }
    return true;
}

/* An array between fences; an empty one too, so that a write to it is seen. */
static void *fenced(GradcheckRun *run, const GradcheckArray *x) {
    size_t bytes = (size_t)x->n * size_of(x->arg->dtype);
    char *p = gradcheck_memory(run, bytes + 2 * FENCE, 1);
    if (p) memset(p, FENCE_BYTE, bytes + 2 * FENCE);
    return p ? p + FENCE : NULL;
}

static bool fence_holds(const GradcheckArray *x, const void *array) {
    const unsigned char *p = array;
    size_t bytes = (size_t)x->n * size_of(x->arg->dtype);
    for (size_t i = 0; p && i < FENCE; i++)
        if (p[bytes + i] != FENCE_BYTE || p[-1 - (ptrdiff_t)i] != FENCE_BYTE) return false;
    return true;
}

static bool open_array(GradcheckRun *run, GradcheckArray *x, GradArg *a, const char *what, int i) {
    x->arg = a;
    if (a->name) snprintf(x->name, sizeof x->name, "%s %d (%.40s)", what, i, a->name);
    else snprintf(x->name, sizeof x->name, "%s %d", what, i);
    return count_elements(run, x, &x->n) &&
           (x->kept = gradcheck_memory(run, (size_t)x->n + 1, size_of(a->dtype))) != NULL;
}

static bool is_listed(const GradcheckOptions *o, int i) {
    for (int k = 0; k < o->n_inputs; k++)
        if (o->inputs[k] == i) return true;
    return !o->inputs;
}

static bool open_input(GradcheckRun *run, int i) {
    GradcheckArray *x = &run->in[i];
    GradArg *a = &run->p->in[i];
    if (!open_array(run, x, a, "input", i)) return false;
    if (!a->value && x->n > 0) return gradcheck_fail(run, GRADCHECK_ERROR, "%s has no value", x->name);
    if (x->n > 0) memcpy(x->kept, a->value, (size_t)x->n * size_of(a->dtype));
    x->checked = is_float(a->dtype) && !(a->flags & GRADCHECK_CONSTANT) && is_listed(&run->o, i);
    if (is_float(a->dtype) && !a->grad && !(a->grad = x->grad = fenced(run, x))) return false;
    if (!x->checked) return true;
    run->f32 |= a->dtype == GRADCHECK_F32;
    run->r->total += x->n;
    size_t n = (size_t)x->n + 1;
    return (x->analytic = gradcheck_memory(run, n, sizeof(double))) != NULL &&
           (x->numeric = gradcheck_memory(run, n, sizeof(double))) != NULL &&
           (x->bar = gradcheck_memory(run, n, sizeof(double))) != NULL &&
           (x->along = gradcheck_memory(run, n, sizeof(double))) != NULL &&
           (x->known = gradcheck_memory(run, n, sizeof(bool))) != NULL &&
           (x->bent = gradcheck_memory(run, n, sizeof(bool))) != NULL;
}

/* Magnitudes in [0.5, 1.5) of both signs: no entry so small that it hides an error, and no two
 * alike, so that errors do not cancel. */
static void draw_cotangent(GradcheckRun *run, int k) {
    GradcheckArray *y = &run->out[k];
    for (int64_t i = 0; i < y->n; i++) {
        double u = gradcheck_uniform(run->o.seed, COTANGENTS, (uint64_t)k, (uint64_t)i);
        y->w[i] = u < .5 ? u - 1.5 : u;
        if (y->arg->dtype == GRADCHECK_F32) y->w[i] = (float)y->w[i];
    }
}

static bool open_result(GradcheckRun *run, int k) {
    GradcheckArray *y = &run->out[k];
    GradArg *a = &run->p->out[k];
    if (!open_array(run, y, a, "result", k)) return false;
    if (!is_float(a->dtype))
        return gradcheck_fail(run, GRADCHECK_SHAPE, "%s is not of a float type", y->name);
    run->f32 |= a->dtype == GRADCHECK_F32;
    if (!a->value && !(a->value = y->value = fenced(run, y))) return false;
    if (!a->grad && !(a->grad = y->grad = fenced(run, y))) return false;
    y->w = gradcheck_memory(run, (size_t)y->n + 1, sizeof(double));
    if (y->w) draw_cotangent(run, k);
    return y->w != NULL;
}

/* ---- calls ---- */

static bool check_kept(GradcheckRun *run, const GradcheckArray *x, const void *now,
                       const void *kept, const char *who, const char *what) {
    if (x->n == 0 || !memcmp(now, kept, (size_t)x->n * size_of(x->arg->dtype))) return true;
    return gradcheck_fail(run, GRADCHECK_INPUT_CHANGED, "%s changes %s %s", who, what, x->name);
}

static bool check_fences(GradcheckRun *run, const char *who) {
    for (int i = 0; i < run->p->n_in + run->p->n_out; i++) {
        GradcheckArray *x = i < run->p->n_in ? &run->in[i] : &run->out[i - run->p->n_in];
        const char *what = !fence_holds(x, x->value) ? "value" : "gradient";
        if (fence_holds(x, x->value) && fence_holds(x, x->grad)) continue;
        run->r->input = i < run->p->n_in ? i : -1;
        return gradcheck_fail(run, GRADCHECK_OUT_OF_BOUNDS, "%s writes outside the %s of %s", who,
                              what, x->name);
    }
    return true;
}

static bool call(GradcheckRun *run, GradcheckStep step) {
    char why[GRADCHECK_MESSAGE_SIZE] = "";
    GradcheckReason reason = step(run->p->context, why, sizeof why);
    return reason == GRADCHECK_PASSED || gradcheck_fail(run, reason, "%.900s", why);
}

bool gradcheck_forward(GradcheckRun *run) { return call(run, run->p->forward); }

bool gradcheck_backward(GradcheckRun *run) {
    for (int k = 0; k < run->p->n_out; k++) {
        const GradcheckArray *y = &run->out[k];
        for (int64_t i = 0; i < y->n; i++) gradcheck_set(y->arg->grad, y->arg->dtype, i, y->w[i]);
    }
    return call(run, run->p->backward);
}

static bool check_inputs_kept(GradcheckRun *run, const char *who) {
    for (int i = 0; i < run->p->n_in; i++) {
        run->r->input = i;
        if (!check_kept(run, &run->in[i], run->in[i].arg->value, run->in[i].kept, who, "the value of"))
            return false;
    }
    run->r->input = -1;
    return true;
}

/* What a backward pass must leave alone. */
static bool check_after_backward(GradcheckRun *run) {
    if (!check_fences(run, "backward") || !check_inputs_kept(run, "backward")) return false;
    for (int k = 0; k < run->p->n_out; k++) {
        const GradcheckArray *y = &run->out[k];
        if (!check_kept(run, y, y->arg->value, y->kept, "backward", "the value of")) return false;
        for (int64_t i = 0; i < y->n; i++)
            if (gradcheck_get(y->arg->grad, y->arg->dtype, i) != y->w[i])
                return gradcheck_fail(run, GRADCHECK_INPUT_CHANGED,
                                      "backward changes the cotangent of %s at element %" PRId64,
                                      y->name, i);
    }
    return true;
}

/* Any pattern that no kernel leaves by chance. */
static double filling(GradcheckRun *run, int which, int64_t i) {
    double u = gradcheck_uniform(run->o.seed, FILLING, (uint64_t)which, (uint64_t)i);
    return (double)(float)(1 + u);
}

static void fill(GradcheckRun *run, void *data, const GradcheckArray *x, int which) {
    for (int64_t i = 0; i < x->n; i++)
        gradcheck_set(data, x->arg->dtype, i, which < 0 ? 0 : filling(run, which, i));
}

static bool is_differentiable(const GradcheckArray *x) { return is_float(x->arg->dtype); }

bool gradcheck_gradient(GradcheckRun *run, double *const *to) {
    for (int i = 0; i < run->p->n_in; i++)
        if (is_differentiable(&run->in[i])) fill(run, run->in[i].arg->grad, &run->in[i], -1);
    if (!gradcheck_forward(run) || !gradcheck_backward(run)) return false;
    for (int i = 0; i < run->p->n_in; i++) {
        const GradcheckArray *x = &run->in[i];
        for (int64_t j = 0; x->checked && to[i] && j < x->n; j++)
            to[i][j] = gradcheck_get(x->arg->grad, x->arg->dtype, j);
    }
    return true;
}

/* The sign of a NaN says nothing, and is not the same everywhere. */
static const char *nonfinite(double x) { return isnan(x) ? "nan" : x > 0 ? "inf" : "-inf"; }

/* ---- what forward does ---- */

static bool check_result(GradcheckRun *run, int k) {
    const GradcheckArray *y = &run->out[k];
    int dtype = y->arg->dtype;
    for (int64_t i = 0; i < y->n; i++) {
        double first = gradcheck_get(y->kept, dtype, i);
        double second = gradcheck_get(y->arg->value, dtype, i);
        if (first == filling(run, 2 * k, i) && second == filling(run, 2 * k + 1, i))
            return gradcheck_fail(run, GRADCHECK_UNWRITTEN,
                                  "forward never writes %s, element %" PRId64, y->name, i);
        if (first != second && !(isnan(first) && isnan(second)))
            return gradcheck_fail(run, GRADCHECK_NONDETERMINISTIC,
                                  "%s, element %" PRId64 ", is %.17g and then %.17g", y->name, i,
                                  first, second);
        if (!isfinite(second))
            return gradcheck_fail(run, GRADCHECK_NONFINITE, "%s, element %" PRId64 ", is %s",
                                  y->name, i, nonfinite(second));
    }
    return true;
}

static bool check_forward(GradcheckRun *run) {
    for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; k < run->p->n_out; k++)
            fill(run, run->out[k].arg->value, &run->out[k], 2 * k + pass);
        if (!gradcheck_forward(run) || !check_fences(run, "forward") ||
            !check_inputs_kept(run, "forward")) return false;
        for (int k = 0; k < run->p->n_out && pass == 0; k++) {
            GradcheckArray *y = &run->out[k];
            if (y->n > 0) memcpy(y->kept, y->arg->value, (size_t)y->n * size_of(y->arg->dtype));
        }
    }
    for (int k = 0; k < run->p->n_out; k++)
        if (!check_result(run, k)) return false;
    return true;
}

/* ---- what backward does ---- */

/* From gradients that started from zero and from a filling: was each set, added to or left? */
static bool check_writing(GradcheckRun *run, int i) {
    GradcheckArray *x = &run->in[i];
    bool adds = x->arg->flags & GRADCHECK_ACCUMULATES;
    int64_t unwritten = -1, added = -1, set = -1;
    for (int64_t j = 0; j < x->n; j++) {
        double zero = x->analytic[j], start = filling(run, i, j);
        double end = gradcheck_get(x->arg->grad, x->arg->dtype, j);
        if (end == start && zero == 0) unwritten = unwritten < 0 ? j : unwritten;
        else if (end == zero || (isnan(end) && isnan(zero))) set = set < 0 ? j : set;
        else if (fabs(end - start - zero) <= 8 * run->eps * (fabs(end) + fabs(zero) + 2))
            added = added < 0 ? j : added;
        else
            return gradcheck_fail(run, GRADCHECK_NONDETERMINISTIC,
                                  "the gradient of %s, element %" PRId64
                                  ", is %.9g starting from 0 and %.9g starting from %.9g",
                                  x->name, j, zero, end, start);
    }
    if (adds && set >= 0)
        return gradcheck_fail(run, GRADCHECK_OVERWRITES, "the gradient of %s, element %" PRId64
                              ", is set where it should be added to", x->name, run->r->index = set);
    if (!adds && added >= 0)
        return gradcheck_fail(run, GRADCHECK_ACCUMULATED, "the gradient of %s, element %" PRId64
                              ", is added to where it should be set", x->name,
                              run->r->index = added);
    if (!adds && unwritten >= 0)
        return gradcheck_fail(run, GRADCHECK_UNWRITTEN, "the gradient of %s, element %" PRId64
                              ", is never written", x->name, run->r->index = unwritten);
    return true;
}

static bool check_finite(GradcheckRun *run, int i) {
    const GradcheckArray *x = &run->in[i];
    for (int64_t j = 0; j < x->n; j++)
        if (!isfinite(x->analytic[j]))
            return gradcheck_fail(run, GRADCHECK_NONFINITE,
                                  "the gradient of %s, element %" PRId64 ", is %s", x->name,
                                  run->r->index = j, nonfinite(x->analytic[j]));
    return true;
}

static bool check_same(GradcheckRun *run, int i, double *const *again) {
    const GradcheckArray *x = &run->in[i];
    for (int64_t j = 0; j < x->n; j++)
        if (x->analytic[j] != again[i][j] && !(isnan(x->analytic[j]) && isnan(again[i][j])))
            return gradcheck_fail(run, GRADCHECK_NONDETERMINISTIC, "the gradient of %s, element %"
                                  PRId64 ", is %.17g and then %.17g", x->name, run->r->index = j,
                                  x->analytic[j], again[i][j]);
    return true;
}

/* Fills analytic. */
static bool check_backward(GradcheckRun *run) {
    int n = run->p->n_in;
    double **to = gradcheck_memory(run, 2 * (size_t)n + 1, sizeof *to), **again = to + n;
    if (!to) return false;
    for (int i = 0; i < n; i++) {
        if (!run->in[i].checked) continue;
        to[i] = run->in[i].analytic;
        again[i] = run->in[i].bar; /* not in use yet */
    }
    if (!gradcheck_gradient(run, to) || !check_after_backward(run)) return false;
    if (!gradcheck_gradient(run, again)) return false;
    for (int i = 0; i < n; i++)
        if (is_differentiable(&run->in[i])) fill(run, run->in[i].arg->grad, &run->in[i], i);
    if (!gradcheck_forward(run) || !gradcheck_backward(run)) return false;
    for (int i = 0; i < n; i++) {
        if (!run->in[i].checked) continue;
        run->r->input = i;
        if (!check_same(run, i, again) || !check_writing(run, i) || !check_finite(run, i))
            return false;
    }
    run->r->input = -1;
    return true;
}

/* ---- comparison ---- */

/* Besides the bar and what the caller allows: the rounding of the gradient's own computation. */
double gradcheck_tolerance(const GradcheckRun *run, const GradcheckArray *x, double numeric,
                           double analytic, double bar) {
    double rounding = (run->f32 ? 2e-5 : 1e-11) * x->scale + 64 * run->eps * run->eps * run->size;
    return bar + rounding + run->o.atol + run->o.rtol * fmax(fabs(numeric), fabs(analytic));
}

bool gradcheck_wrong_at(const GradcheckRun *run, const GradcheckArray *x, int64_t e) {
    double limit = gradcheck_tolerance(run, x, x->numeric[e], x->analytic[e], x->bar[e]);
    return !(fabs(x->numeric[e] - x->analytic[e]) <= limit);
}

/* Keeps the worst. */
static void compare(GradcheckRun *run, const GradcheckArray *x, int i, int64_t e, double numeric,
                    double analytic, double bar) {
    GradcheckResult *r = run->r;
    double error = fabs(numeric - analytic);
    double ratio = error == 0 ? 0 : error / gradcheck_tolerance(run, x, numeric, analytic, bar);
    if (r->checked++ > 0 && (isnan(run->worst) || !(isnan(ratio) || ratio > run->worst))) return;
    run->worst = ratio;
    r->input = i;
    r->index = e;
    r->numeric = numeric;
    r->uncertainty = bar;
    r->analytic = analytic;
    r->abs_error = error;
    r->rel_error = error == 0 ? 0 : error / fmax(x->scale, DBL_MIN);
}

static bool measure(GradcheckRun *run, int i, int64_t e) {
    GradcheckArray *x = &run->in[i];
    if (!gradcheck_derivative(run, i, e, x->analytic[e], &x->numeric[e], &x->bar[e], &x->bent[e]))
        return false;
    x->known[e] = true;
    return true;
}

/* A random share of the elements, each with the same chance, where evaluations are limited. */
static double share_of_elements(const GradcheckRun *run) {
    double cost = 6.0 * (double)run->r->total;
    if (run->o.max_evaluations <= 0 || cost <= (double)run->o.max_evaluations) return 1;
    return (double)run->o.max_evaluations / cost;
}

static bool measure_elements(GradcheckRun *run) {
    double share = share_of_elements(run);
    int64_t last = -1, done = 0;
    int last_input = -1;
    for (int i = 0; i < run->p->n_in; i++)
        for (int64_t e = 0; run->in[i].checked && e < run->in[i].n; e++) {
            last = e;
            last_input = i;
            if (gradcheck_uniform(run->o.seed, SHARE, (uint64_t)i, (uint64_t)e) >= share) continue;
            if (!measure(run, i, e)) return false;
            done++;
        }
    /* However small the share, something is compared. */
    return done > 0 || last < 0 || measure(run, last_input, last);
}

static void set_scales(GradcheckRun *run) {
    for (int i = 0; i < run->p->n_in; i++) {
        GradcheckArray *x = &run->in[i];
        for (int64_t e = 0; x->checked && e < x->n; e++) {
            if (!x->known[e]) continue;
            double size = fmax(fabs(x->numeric[e]), fabs(x->analytic[e]));
            if (isfinite(size) && size > x->scale) x->scale = size;
        }
    }
}

static bool any_known(const GradcheckArray *x) {
    for (int64_t e = 0; x->checked && e < x->n; e++)
        if (x->known[e]) return true;
    return false;
}

/* What a gradient that is zero but for rounding comes to. */
static double rounding_of_zero(const GradcheckRun *run) {
    return run->f32 ? 0 : 1e-13 * run->size;
}

/* The gradient of input i is not zero, and no number of it can be told from zero. */
static bool below_noise(const GradcheckRun *run, const GradcheckArray *x) {
    double largest = 0, least_bar = INFINITY;
    for (int64_t e = 0; e < x->n; e++) {
        if (!x->known[e]) continue;
        largest = fmax(largest, fabs(x->analytic[e]));
        least_bar = fmin(least_bar, x->bar[e]);
        if (fabs(x->numeric[e]) > x->bar[e] || fabs(x->analytic[e]) > x->bar[e]) return false;
    }
    return any_known(x) && largest > rounding_of_zero(run) && least_bar > 0;
}

/* What the agreement proves little of: a bar too wide, for a kink or for noise; and a kink at x,
 * where the gradient happens to be the mean of the slopes from both sides. */
static bool check_certainty(GradcheckRun *run, int i) {
    GradcheckArray *x = &run->in[i];
    for (int64_t e = 0; e < x->n; e++) {
        double enough = .03 * x->scale + (run->f32 ? 1e-2 : 1e-7) * run->size;
        bool wide = x->known[e] && !(x->bar[e] <= enough), kink;
        if (!wide && !x->bent[e]) continue;
        if (!gradcheck_kink(run, i, e, e, x->analytic[e], &kink) || kink) return false;
        if (!wide) continue;
        run->r->input = i;
        run->r->index = e;
        return gradcheck_fail(run, GRADCHECK_NOISE, "%s, element %" PRId64
                              ": the numeric derivative %.6g is only known to %.2g", x->name, e,
                              x->numeric[e], x->bar[e]);
    }
    if (!below_noise(run, x)) return true;
    run->r->input = i;
    return gradcheck_fail(run, GRADCHECK_NOISE, "no derivative of %s (the largest is %.3g) can be "
                          "told from zero: differences in %s are known to %.2g only", x->name,
                          x->scale, run->f32 ? "float32" : "float64", x->bar[0]);
}

static bool compare_elements(GradcheckRun *run) {
    set_scales(run);
    for (int i = 0; i < run->p->n_in; i++) {
        GradcheckArray *x = &run->in[i];
        for (int64_t e = 0; x->checked && e < x->n; e++)
            if (x->known[e]) compare(run, x, i, e, x->numeric[e], x->analytic[e], x->bar[e]);
    }
    return true;
}

/* ---- along directions ---- */

static void draw_direction(GradcheckRun *run, int which) {
    double norm = 0;
    uint64_t count = 0;
    for (int i = 0; i < run->p->n_in; i++)
        for (int64_t e = 0; run->in[i].checked && e < run->in[i].n; e++) {
            double d = spread(run->o.seed, (uint64_t)which, count++);
            run->in[i].along[e] = d;
            norm += d * d;
        }
    for (int i = 0; i < run->p->n_in; i++)
        for (int64_t e = 0; run->in[i].checked && e < run->in[i].n; e++)
            run->in[i].along[e] /= sqrt(norm);
}

static bool check_directions(GradcheckRun *run) {
    GradcheckArray all = {0}; /* stands for the inputs together */
    bool told = false;        /* some derivative can be told from zero */
    double bar = 0;
    for (int i = 0; i < run->p->n_in; i++)
        for (int64_t e = 0; run->in[i].checked && e < run->in[i].n; e++)
            all.scale = hypot(all.scale, run->in[i].analytic[e]);
    for (int k = 0; k < run->o.directions && run->r->total > 0; k++) {
        double numeric, analytic = 0;
        bool bent, kink = false;
        draw_direction(run, k);
        for (int i = 0; i < run->p->n_in; i++)
            for (int64_t e = 0; run->in[i].checked && e < run->in[i].n; e++)
                analytic += run->in[i].analytic[e] * run->in[i].along[e];
        if (!gradcheck_derivative(run, -1, -1, analytic, &numeric, &bar, &bent)) return false;
        /* A direction's share of the whole gradient: what is compared must be seen. */
        bool wide = !(bar <= .03 * all.scale + (run->f32 ? 1e-2 : 1e-7) * run->size);
        if ((wide || bent) && (!gradcheck_kink(run, -1, -1, k, analytic, &kink) || kink))
            return false;
        if (wide)
            return gradcheck_fail(run, GRADCHECK_NOISE, "along direction %d the numeric derivative "
                                  "%.6g is only known to %.2g", k, numeric, bar);
        compare(run, &all, -1, k, numeric, analytic, bar);
        told |= fabs(numeric) > bar || fabs(analytic) > bar;
    }
    return told || !(all.scale > rounding_of_zero(run)) ||
           gradcheck_fail(run, GRADCHECK_NOISE, "no derivative along a direction (the gradient's "
                          "length is %.3g) can be told from zero: differences in %s are known to "
                          "%.2g only", all.scale, run->f32 ? "float32" : "float64", bar);
}

/* After directions have shown that something is wrong: the elements, as far as 20000 evaluations
 * go. */
static bool look_closer(GradcheckRun *run) {
    GradcheckResult seen = *run->r;
    int64_t limit = run->o.max_evaluations;
    if (limit <= 0 || limit > 20000) run->o.max_evaluations = 20000;
    bool ok = measure_elements(run);
    run->o.max_evaluations = limit;
    if (!ok) return false;
    set_scales(run);
    *run->r = seen;
    return true;
}

/* ---- the whole ---- */

static bool check_options(GradcheckRun *run) {
    const GradcheckOptions *o = &run->o;
    if (!(o->step >= 0 && isfinite(o->step)))
        return gradcheck_fail(run, GRADCHECK_ERROR, "step %g", o->step);
    if (!(o->rtol >= 0 && o->atol >= 0 && isfinite(o->rtol) && isfinite(o->atol)))
        return gradcheck_fail(run, GRADCHECK_ERROR, "tolerances %g and %g", o->rtol, o->atol);
    if (o->directions < 0)
        return gradcheck_fail(run, GRADCHECK_ERROR, "%d directions", o->directions);
    for (int k = 0; o->inputs && k < o->n_inputs; k++)
        if (o->inputs[k] < 0 || o->inputs[k] >= run->p->n_in)
            return gradcheck_fail(run, GRADCHECK_ERROR, "no input %d to check", o->inputs[k]);
    return true;
}

static bool set_seed(GradcheckRun *run) {
    const char *text = getenv("GRADCHECK_SEED");
    char *end = NULL;
    if (run->o.seed == 0 && text && *text) run->o.seed = strtoull(text, &end, 10);
    run->r->seed = run->o.seed;
    return !end || !*end || gradcheck_fail(run, GRADCHECK_ERROR, "GRADCHECK_SEED is `%.40s`", text);
}

static bool open_run(GradcheckRun *run) {
    const GradcheckProblem *p = run->p;
    if (!check_options(run) || !set_seed(run)) return false;
    if (p->n_in < 1 || p->n_out < 1 || !p->in || !p->out)
        return gradcheck_fail(run, GRADCHECK_ERROR, "%d inputs, %d results", p->n_in, p->n_out);
    run->in = gradcheck_memory(run, (size_t)p->n_in, sizeof *run->in);
    run->out = gradcheck_memory(run, (size_t)p->n_out, sizeof *run->out);
    if (!run->in || !run->out) return false;
    bool any = false;
    for (int i = 0; i < p->n_in; i++) {
        if (!open_input(run, i)) return false;
        any |= run->in[i].checked;
    }
    for (int k = 0; k < p->n_out; k++)
        if (!open_result(run, k)) return false;
    run->eps = run->f32 ? FLT_EPSILON / 2 : DBL_EPSILON / 2;
    return any || gradcheck_fail(run, GRADCHECK_ERROR, "no input to check");
}

/* Pointers of the checker's go back to NULL; inputs to what they were. */
static void close_run(GradcheckRun *run) {
    for (int i = 0; run->in && i < run->p->n_in; i++) {
        GradcheckArray *x = &run->in[i];
        if (!x->arg) continue;
        if (x->grad) x->arg->grad = NULL;
        if (x->checked && x->n > 0)
            memcpy(x->arg->value, x->kept, (size_t)x->n * size_of(x->arg->dtype));
    }
    for (int k = 0; run->out && k < run->p->n_out; k++) {
        GradcheckArray *y = &run->out[k];
        if (!y->arg) continue;
        if (y->value) y->arg->value = NULL;
        if (y->grad) y->arg->grad = NULL;
    }
    free_memory(run);
}

static void say_passed(GradcheckRun *run) {
    GradcheckResult *r = run->r;
    char where[128] = "";
    r->ok = true;
    r->reason = GRADCHECK_PASSED;
    if (r->checked && r->input >= 0)
        snprintf(where, sizeof where, "; worst %s, element %" PRId64, run->in[r->input].name,
                 r->index);
    else if (r->checked) snprintf(where, sizeof where, "; worst direction %" PRId64, r->index);
    int used = snprintf(r->message, sizeof r->message, "passed: %" PRId64 " of %" PRId64
                        " %s agree%s", r->checked, r->input < 0 && run->o.directions
                        ? (int64_t)run->o.directions : r->total, run->o.directions ? "directions" :
                        "derivatives", where);
    if (r->checked && used > 0 && (size_t)used < sizeof r->message)
        snprintf(r->message + used, sizeof r->message - (size_t)used,
                 ": numeric %.12g +- %.1g, analytic %.12g", r->numeric, r->uncertainty,
                 r->analytic);
}

/* The numbers of the worst entry, after the sentence. */
static void add_numbers(GradcheckRun *run) {
    GradcheckResult *r = run->r;
    char where[128] = "";
    size_t used = strlen(r->message);
    if (r->checked && r->index >= 0 && r->input >= 0)
        snprintf(where, sizeof where, "; worst at %s, element %" PRId64, run->in[r->input].name,
                 r->index);
    else if (r->checked && r->index >= 0)
        snprintf(where, sizeof where, "; worst along direction %" PRId64, r->index);
    if (*where)
        snprintf(r->message + used, sizeof r->message - used,
                 "%s: numeric %.9g +- %.1g, analytic %.9g", where, r->numeric, r->uncertainty,
                 r->analytic);
}

static void add_seed(GradcheckResult *r) {
    size_t used = strlen(r->message);
    snprintf(r->message + used, sizeof r->message - used, " (seed %" PRIu64 ")", r->seed);
}

static bool check_numbers(GradcheckRun *run) {
    bool directions = run->o.directions > 0;
    if (directions ? !check_directions(run)
                   : !measure_elements(run) || !compare_elements(run)) return false;
    if (run->r->checked > 0 && !(run->worst <= 1)) {
        gradcheck_fail(run, GRADCHECK_WRONG, "the gradient is not that of the function");
        if (!run->o.plain_verdict && (!directions || look_closer(run))) gradcheck_diagnose(run);
        if (run->r->reason != GRADCHECK_KINK) add_numbers(run); /* there the sides say it all */
        return false;
    }
    for (int i = 0; i < run->p->n_in && !directions; i++)
        if (run->in[i].checked && !check_certainty(run, i)) return false;
    return true;
}

bool gradcheck_run(const GradcheckProblem *p, const GradcheckOptions *options,
                   GradcheckResult *result) {
    GradcheckRun run = {.p = p, .r = result};
    if (options) run.o = *options;
    *result = (GradcheckResult){.input = -1, .index = -1, .other = -1, .axis = -1, .order = 1};
    if (open_run(&run) && check_forward(&run) && check_backward(&run) &&
        gradcheck_measure_noise(&run) && check_numbers(&run)) say_passed(&run);
    add_seed(result);
    if (result->input >= 0 && run.in)
        snprintf(result->name, sizeof result->name, "%s",
                 run.in[result->input].arg->name ? run.in[result->input].arg->name : "");
    close_run(&run);
    return result->ok;
}

/* ---- for functions that only say whether they could ---- */

typedef struct {
    GradcheckCall forward, backward;
    void *context;
} Plain;

static GradcheckReason plain_forward(void *context, char *why, size_t size) {
    Plain *p = context;
    if (p->forward(p->context)) return GRADCHECK_PASSED;
    snprintf(why, size, "forward failed");
    return GRADCHECK_ERROR;
}

static GradcheckReason plain_backward(void *context, char *why, size_t size) {
    Plain *p = context;
    if (p->backward(p->context)) return GRADCHECK_PASSED;
    snprintf(why, size, "backward failed");
    return GRADCHECK_ERROR;
}

bool gradcheck_plain(GradcheckCall forward, GradcheckCall backward, void *context, int n_in,
                     GradArg *in, int n_out, GradArg *out, const GradcheckOptions *options,
                     GradcheckResult *result) {
    Plain plain = {forward, backward, context};
    GradcheckProblem p = {&plain, plain_forward, plain_backward, n_in, n_out, in, out};
    return gradcheck_run(&p, options, result);
}
