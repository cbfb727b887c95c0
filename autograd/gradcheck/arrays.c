/* arrays.c -- the arrays of a check: memory, fences, cotangents. */
#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gradcheck/core.h"

enum { FENCE = 512 }; /* bytes before and after an array of the checker's */
#define FENCE_BYTE 0xA5

struct GradcheckBlock {
    struct GradcheckBlock *next;
    max_align_t memory[];
};

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

bool gradcheck_is_float(int dtype) { return dtype == GRADCHECK_F32 || dtype == GRADCHECK_F64; }

size_t gradcheck_size_of(int dtype) {
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
    size_t bytes = (size_t)x->n * gradcheck_size_of(x->arg->dtype);
    char *p = gradcheck_memory(run, bytes + 2 * FENCE, 1);
    if (p) memset(p, FENCE_BYTE, bytes + 2 * FENCE);
    return p ? p + FENCE : NULL;
}

bool gradcheck_fence_holds(const GradcheckArray *x, const void *array) {
    const unsigned char *p = array;
    size_t bytes = (size_t)x->n * gradcheck_size_of(x->arg->dtype);
    for (size_t i = 0; p && i < FENCE; i++)
        if (p[bytes + i] != FENCE_BYTE || p[-1 - (ptrdiff_t)i] != FENCE_BYTE) return false;
    return true;
}

static bool open_array(GradcheckRun *run, GradcheckArray *x, GradArg *a, const char *what, int i) {
    x->arg = a;
    if (a->name) snprintf(x->name, sizeof x->name, "%s %d (%.40s)", what, i, a->name);
    else snprintf(x->name, sizeof x->name, "%s %d", what, i);
    return count_elements(run, x, &x->n) &&
           (x->kept = gradcheck_memory(run, (size_t)x->n + 1, gradcheck_size_of(a->dtype))) != NULL;
}

static bool is_listed(const GradcheckOptions *o, int i) {
    for (int k = 0; o->inputs && k < o->n_inputs; k++)
        if (o->inputs[k] == i) return true;
    return !o->inputs;
}

static bool open_input(GradcheckRun *run, int i) {
    GradcheckArray *x = &run->in[i];
    GradArg *a = &run->p->in[i];
    if (!open_array(run, x, a, "input", i)) return false;
    if (!a->value && x->n > 0)
        return gradcheck_fail(run, GRADCHECK_ERROR, "%s has no value", x->name);
    if (x->n > 0) memcpy(x->kept, a->value, (size_t)x->n * gradcheck_size_of(a->dtype));
    bool differentiable = gradcheck_is_float(a->dtype);
    x->checked = differentiable && !(a->flags & GRADCHECK_CONSTANT) && is_listed(&run->o, i);
    if (differentiable && !a->grad && !(a->grad = x->grad = fenced(run, x))) return false;
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
        double u = gradcheck_uniform(run->o.seed, GRADCHECK_COTANGENTS, (uint64_t)k, (uint64_t)i);
        y->w[i] = u < .5 ? u - 1.5 : u;
        if (y->arg->dtype == GRADCHECK_F32) y->w[i] = (float)y->w[i];
    }
}

static bool open_result(GradcheckRun *run, int k) {
    GradcheckArray *y = &run->out[k];
    GradArg *a = &run->p->out[k];
    if (!open_array(run, y, a, "result", k)) return false;
    if (!gradcheck_is_float(a->dtype))
        return gradcheck_fail(run, GRADCHECK_SHAPE, "%s is not of a float type", y->name);
    run->f32 |= a->dtype == GRADCHECK_F32;
    if (!a->value && !(a->value = y->value = fenced(run, y))) return false;
    if (!a->grad && !(a->grad = y->grad = fenced(run, y))) return false;
    y->w = gradcheck_memory(run, (size_t)y->n + 1, sizeof(double));
    if (y->w) draw_cotangent(run, k);
    return y->w != NULL;
}

/* ---- opening and closing ---- */

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

bool gradcheck_read_seed(const char *text, uint64_t *seed) {
    size_t n = strlen(text);
    errno = 0;
    if (n == 0 || strspn(text, "0123456789") != n) return false;
    unsigned long long x = strtoull(text, NULL, 10);
    if (errno == ERANGE || x > UINT64_MAX) return false;
    *seed = x;
    return true;
}

bool gradcheck_seed(uint64_t *seed) {
    const char *text = getenv("GRADCHECK_SEED");
    return *seed != 0 || !text || !*text || gradcheck_read_seed(text, seed);
}

static bool set_seed(GradcheckRun *run) {
    bool ok = gradcheck_seed(&run->o.seed);
    run->r->seed = run->o.seed;
    return ok || gradcheck_fail(run, GRADCHECK_ERROR, "GRADCHECK_SEED is `%.40s`",
                                getenv("GRADCHECK_SEED"));
}

bool gradcheck_open(GradcheckRun *run) {
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
void gradcheck_close(GradcheckRun *run) {
    for (int i = 0; run->in && i < run->p->n_in; i++) {
        GradcheckArray *x = &run->in[i];
        if (!x->arg) continue;
        if (x->grad) x->arg->grad = NULL;
        if (x->checked && x->n > 0)
            memcpy(x->arg->value, x->kept, (size_t)x->n * gradcheck_size_of(x->arg->dtype));
    }
    for (int k = 0; run->out && k < run->p->n_out; k++) {
        GradcheckArray *y = &run->out[k];
        if (!y->arg) continue;
        if (y->value) y->arg->value = NULL;
        if (y->grad) y->arg->grad = NULL;
    }
    free_memory(run);
}
