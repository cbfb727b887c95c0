#include "tests/autograd/catalogue/peers.h"

#include <math.h>
#include <stdlib.h>

#include "tensor/rng.h"

/* Streams of random numbers. */
enum { DIRECTION = 1, WEIGHTS };
enum { SPARE = 8 }; /* elements after an array, for kernels that write past it */

/* ---- the two checks ---- */

bool peer_kann_accepts(const PeerFunction *f) {
    float *gradient = calloc((size_t)f->n + 1, sizeof *gradient);
    float *x = calloc((size_t)f->n + 1, sizeof *x), here, ahead, behind, u = 0;
    bool ok = gradient && x && f->loss(f->context, f->x, &here) &&
              f->gradient(f->context, f->x, gradient);
    for (int side = 1; side >= -1 && ok; side -= 2) {
        for (int64_t i = 0; i < f->n; i++) {
            TensorRngKey key = {.seed = DIRECTION};
            float d = 1e-5f * (float)tensor_rng_uniform(key, (uint64_t)i);
            x[i] = f->x[i] + (float)side * d;
            if (side == 1) u += gradient[i] * d;
        }
        ok = f->loss(f->context, x, side == 1 ? &ahead : &behind);
    }
    free(gradient);
    free(x);
    if (!ok) return false;
    float v = .5f * (ahead - behind);
    if (fabsf(v) < 1e-7f) return true;
    float error = fabsf(fabsf(u) - fabsf(v)) / (fabsf(u) + fabsf(v));
    float curvature = fabsf(ahead + behind - 2 * here) / fabsf(ahead - behind);
    /* Written as its own: a NaN is no failure. */
    return !(error >= .01f && error > curvature);
}

bool peer_dynet_accepts(const PeerFunction *f) {
    float *gradient = calloc((size_t)f->n + 1, sizeof *gradient);
    const float h = 5e-3f;
    bool ok = gradient && f->gradient(f->context, f->x, gradient);
    for (int64_t i = 0; i < f->n && ok; i++) {
        float ahead, behind, x = f->x[i];
        f->x[i] = x - h;
        ok = f->loss(f->context, f->x, &behind);
        f->x[i] = x + h;
        ok = ok && f->loss(f->context, f->x, &ahead);
        f->x[i] = x;
        if (!ok) break;
        float v = (ahead - behind) / (2 * h), error = fabsf(v - gradient[i]);
        float largest = fmaxf(fabsf(v), fabsf(gradient[i]));
        if (error > .01f && largest > 0) error /= largest;
        ok = error <= .01f;
    }
    free(gradient);
    return ok;
}

/* ---- kernels over arrays ---- */

static double weight(int k, int64_t i) {
    TensorRngKey key = {.seed = WEIGHTS, .draw = (uint64_t)k};
    double u = tensor_rng_uniform(key, (uint64_t)i);
    return u < .5 ? u - 1.5 : u;
}

static double get(const GradArg *x, const void *data, int64_t i) {
    return x->dtype == GRADCHECK_F32 ? ((const float *)data)[i] : ((const double *)data)[i];
}
static void set(const GradArg *x, void *data, int64_t i, double value) {
    if (x->dtype == GRADCHECK_F32) ((float *)data)[i] = (float)value;
    else ((double *)data)[i] = value;
}

static bool moves(const GradArg *x) {
    bool is_float = x->dtype == GRADCHECK_F64 || x->dtype == GRADCHECK_F32;
    return is_float && !(x->flags & GRADCHECK_CONSTANT);
}

static bool run_kernel(CatalogueArrays *a, const float *x) {
    for (int i = 0; i < a->n_in; i++)
        for (int64_t j = 0, n = catalogue_size(&a->in[i]); moves(&a->in[i]) && j < n; j++)
            set(&a->in[i], a->in[i].value, j, *x++);
    return a->kernel->forward(a);
}

static bool kernel_loss(void *context, const float *x, float *loss) {
    CatalogueArrays *a = context;
    double sum = 0;
    if (!run_kernel(a, x)) return false;
    for (int k = 0; k < a->n_out; k++)
        for (int64_t j = 0, n = catalogue_size(&a->out[k]); j < n; j++)
            sum += weight(k, j) * (float)get(&a->out[k], a->out[k].value, j);
    *loss = (float)sum;
    return true;
}

/* Gradients start from zero, as both libraries have it. */
static bool kernel_gradient(void *context, const float *x, float *gradient) {
    CatalogueArrays *a = context;
    if (!run_kernel(a, x)) return false;
    for (int k = 0; k < a->n_out; k++)
        for (int64_t j = 0, n = catalogue_size(&a->out[k]); j < n; j++)
            set(&a->out[k], a->out[k].grad, j, weight(k, j));
    for (int i = 0; i < a->n_in; i++)
        for (int64_t j = 0, n = catalogue_size(&a->in[i]); moves(&a->in[i]) && j < n; j++)
            set(&a->in[i], a->in[i].grad, j, 0);
    if (!a->kernel->backward(a)) return false;
    for (int i = 0; i < a->n_in; i++)
        for (int64_t j = 0, n = catalogue_size(&a->in[i]); moves(&a->in[i]) && j < n; j++)
            *gradient++ = (float)get(&a->in[i], a->in[i].grad, j);
    return true;
}

static void *room(const GradArg *x) {
    return calloc((size_t)catalogue_size(x) + SPARE, sizeof(double));
}

/* Results and gradients, which the checker would make. */
static bool make_room(CatalogueArrays *a) {
    bool ok = true;
    for (int i = 0; i < a->n_in; i++) ok = (a->in[i].grad = room(&a->in[i])) && ok;
    for (int k = 0; k < a->n_out; k++) {
        ok = (a->out[k].value = room(&a->out[k])) && ok;
        ok = (a->out[k].grad = room(&a->out[k])) && ok;
    }
    return ok;
}

static void free_room(CatalogueArrays *a) {
    for (int i = 0; i < a->n_in; i++) free(a->in[i].grad);
    for (int k = 0; k < a->n_out; k++) free(a->out[k].value), free(a->out[k].grad);
}

static PeerVerdict judge(PeerFunction *f) {
    return (PeerVerdict){peer_kann_accepts(f), peer_dynet_accepts(f)};
}

static PeerVerdict judge_kernel(const CatalogueEntry *e, int bug) {
    CatalogueArrays a;
    PeerVerdict verdict = {false, false};
    PeerFunction f = {&a, 0, NULL, kernel_loss, kernel_gradient};
    bool ok = catalogue_open(&a, e->kernel, bug);
    ok = make_room(&a) && ok;
    for (int i = 0; i < a.n_in; i++) f.n += moves(&a.in[i]) ? catalogue_size(&a.in[i]) : 0;
    f.x = calloc((size_t)f.n + 1, sizeof *f.x);
    if (ok && f.x) {
        for (int i = 0, at = 0; i < a.n_in; i++)
            for (int64_t j = 0, n = catalogue_size(&a.in[i]); moves(&a.in[i]) && j < n; j++)
                f.x[at++] = (float)get(&a.in[i], a.in[i].value, j);
        verdict = judge(&f);
    }
    free(f.x);
    free_room(&a);
    catalogue_close(&a);
    return verdict;
}

/* ---- functions on a tape ---- */

typedef struct {
    const CatalogueFunction *f;
    int bug;
    AgTape *tape;
    Tensor x[CATALOGUE_IN];
    AgVar in[CATALOGUE_IN], y[GRADCHECK_MAX_OUT], seed[GRADCHECK_MAX_OUT], g[CATALOGUE_IN];
} OnTape;

/* Runs the function; the number of its results, 0 where it failed. */
static int run_function(OnTape *o, const float *x) {
    ag_tape_reset(o->tape);
    ag_tape_training(o->tape, o->f->training);
    for (int i = 0; i < o->f->n; i++) {
        for (int64_t j = 0, n = tensor_numel(&o->x[i]); o->x[i].dtype == TENSOR_F64 && j < n; j++)
            tensor_set(&o->x[i], j, *x++);
        o->in[i] = ag_borrow(o->tape, &o->x[i]);
    }
    int n_out = o->f->f(o->tape, o->in, o->y, &o->bug);
    return ag_tape_ok(o->tape) ? n_out : 0;
}

static bool function_loss(void *context, const float *x, float *loss) {
    OnTape *o = context;
    int n_out = run_function(o, x);
    double sum = 0;
    for (int k = 0; k < n_out; k++)
        for (int64_t j = 0, n = ag_numel(o->y[k]); j < n; j++)
            sum += weight(k, j) * (float)tensor_get(ag_value(o->y[k]), j);
    *loss = (float)sum;
    return n_out > 0;
}

static bool function_gradient(void *context, const float *x, float *gradient) {
    OnTape *o = context;
    int n_out = run_function(o, x), n = 0;
    AgVar wanted[CATALOGUE_IN];
    for (int k = 0; k < n_out; k++) {
        o->seed[k] = ag_full(o->tape, TENSOR_F64, ag_ndim(o->y[k]), ag_value(o->y[k])->shape, 0);
        for (int64_t j = 0; j < ag_numel(o->y[k]); j++)
            tensor_set(ag_value(o->seed[k]), j, weight(k, j));
    }
    for (int i = 0; i < o->f->n; i++)
        if (o->x[i].dtype == TENSOR_F64) wanted[n++] = o->in[i];
    if (!n_out || !ag_grad_n(n_out, o->y, o->seed, n, wanted, o->g, false)) return false;
    for (int i = 0; i < n; i++)
        for (int64_t j = 0; j < ag_numel(o->g[i]); j++)
            *gradient++ = (float)tensor_get(ag_value(o->g[i]), j);
    return true;
}

static PeerVerdict judge_function(const CatalogueEntry *e, int bug) {
    OnTape o = {.f = e->function, .bug = bug, .tape = ag_tape_new()};
    TensorArena *arena = tensor_arena_new();
    PeerVerdict verdict = {false, false};
    PeerFunction f = {&o, 0, NULL, function_loss, function_gradient};
    if (o.tape && arena) {
        o.f->open(arena, o.x, bug);
        for (int i = 0; i < o.f->n; i++)
            f.n += o.x[i].dtype == TENSOR_F64 ? tensor_numel(&o.x[i]) : 0;
        f.x = calloc((size_t)f.n + 1, sizeof *f.x);
        for (int i = 0, at = 0; i < o.f->n && f.x; i++)
            for (int64_t j = 0; o.x[i].dtype == TENSOR_F64 && j < tensor_numel(&o.x[i]); j++)
                f.x[at++] = (float)tensor_get(&o.x[i], j);
        if (f.x) verdict = judge(&f);
        free(f.x);
    }
    tensor_arena_free(arena);
    ag_tape_free(o.tape);
    return verdict;
}

PeerVerdict peers_judge(const CatalogueEntry *e, int bug) {
    return e->kernel ? judge_kernel(e, bug) : judge_function(e, bug);
}
