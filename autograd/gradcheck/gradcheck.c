#include "autograd/gradcheck/gradcheck.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tensor/rng.h"

/* Streams of the seed. */
enum { COTANGENTS = 1, DIRECTIONS, SECOND_COTANGENTS };

typedef struct {
    GradcheckFunction f;
    void *context;
    GradcheckOptions o;
    int n;
    AgTape *tape;
    TensorArena *arena;
    Tensor *x;         /* copies that are moved about */
    Tensor *gradient;  /* dL/dx, or of <u, dL/dx>; nil for inputs that are not checked */
    Tensor *direction; /* of the inputs' shapes */
    AgVar *var, *gx, *ggx;
    Tensor w[GRADCHECK_MAX_OUT];
    int n_out;         /* of w; 0 before the first call */
    GradcheckResult *r;
    double worst;      /* error over tolerance */
} Check;

static bool fail(Check *c, const char *format, ...) AG_PRINTF(2, 3);
static bool fail(Check *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(c->r->message, sizeof c->r->message, format, args);
    va_end(args);
    return c->r->ok = false;
}

static bool is_checked(const Tensor *x) { return x->dtype == TENSOR_F64; }

/* ---- evaluation ---- */

static double dot(const Tensor *a, const Tensor *b) {
    long double sum = 0;
    for (int64_t i = 0, n = tensor_numel(a); i < n; i++)
        sum += (long double)tensor_get(a, i) * tensor_get(b, i);
    return (double)sum;
}

/* Values in [-1.5, -0.5) and [0.5, 1.5): no entry so small that it hides an error. */
static Tensor cotangent(Check *c, const Tensor *like, uint64_t stream, int which) {
    Tensor w = tensor_new(c->arena, TENSOR_F64, like->ndim, like->shape);
    TensorRngKey key = {c->o.seed, stream, (uint64_t)which};
    for (int64_t i = 0, n = tensor_is_nil(&w) ? 0 : tensor_numel(&w); i < n; i++) {
        double u = tensor_rng_uniform(key, (uint64_t)i);
        tensor_set(&w, i, u < .5 ? u - 1.5 : u);
    }
    return w;
}

/* Runs f on the inputs as they are now: results in y, their number returned, or -1. */
static int evaluate(Check *c, AgVar *y) {
    AgTape *t = c->tape;
    ag_tape_reset(t);
    ag_tape_training(t, c->o.training);
    for (int i = 0; i < c->n; i++) c->var[i] = ag_input(t, &c->x[i]);
    int n_out = c->f(t, c->var, y, c->context);
    if (!ag_tape_ok(t)) return fail(c, "%s", ag_tape_error(t)), -1;
    if (n_out < 1 || n_out > GRADCHECK_MAX_OUT)
        return fail(c, "the function returned %d results, wants 1 to %d", n_out,
                    GRADCHECK_MAX_OUT), -1;
    for (int k = 0; k < n_out; k++)
        if (!ag_ok(y[k]) || ag_dtype(y[k]) != TENSOR_F64)
            return fail(c, "result %d is not a f64 variable of this tape", k), -1;
    for (int k = c->n_out; k < n_out; k++) {
        c->w[k] = cotangent(c, ag_value(y[k]), COTANGENTS, k);
        if (tensor_is_nil(&c->w[k])) return fail(c, "out of memory"), -1;
    }
    if (!c->n_out) c->n_out = n_out;
    if (c->n_out != n_out)
        return fail(c, "the function returned %d results, then %d", c->n_out, n_out), -1;
    for (int k = 0; k < n_out; k++)
        if (!tensor_same_shape(ag_value(y[k]), &c->w[k]))
            return fail(c, "result %d changes its shape from call to call", k), -1;
    return n_out;
}

static bool tape_gradient(Check *c, const AgVar *y, int n_out, bool create_graph, AgVar *gx,
                          int *n_gx) {
    AgVar seed[GRADCHECK_MAX_OUT], *wanted = c->ggx;
    for (int k = 0; k < n_out; k++) seed[k] = ag_input(c->tape, &c->w[k]);
    *n_gx = 0;
    for (int i = 0; i < c->n; i++)
        if (is_checked(&c->x[i])) wanted[(*n_gx)++] = c->var[i];
    return ag_grad_n(n_out, y, seed, *n_gx, wanted, gx, create_graph) ||
           fail(c, "%s", ag_tape_error(c->tape));
}

/* L, or <u, dL/dx>, at the inputs as they are now. */
static bool objective(Check *c, double *value) {
    AgVar y[GRADCHECK_MAX_OUT];
    int n_out = evaluate(c, y), n_gx;
    *value = 0;
    if (n_out < 0) return false;
    if (!c->o.second) {
        for (int k = 0; k < n_out; k++) *value += dot(ag_value(y[k]), &c->w[k]);
        return true;
    }
    if (!tape_gradient(c, y, n_out, false, c->gx, &n_gx)) return false;
    for (int j = 0, i = 0; i < c->n; i++)
        if (is_checked(&c->x[i])) *value += dot(ag_value(c->gx[j++]), &c->direction[i]);
    return true;
}

/* Fills c->gradient from the tape. */
static bool analytic(Check *c) {
    AgVar y[GRADCHECK_MAX_OUT], *g = c->gx;
    int n_out = evaluate(c, y), n_gx;
    if (n_out < 0 || !tape_gradient(c, y, n_out, c->o.second, c->gx, &n_gx)) return false;
    if (c->o.second) {
        AgVar *u = c->ggx + c->n, *x = c->ggx;
        for (int j = 0, i = 0; i < c->n; i++) {
            if (!is_checked(&c->x[i])) continue;
            u[j] = ag_input(c->tape, &c->direction[i]);
            x[j++] = c->var[i];
        }
        g = u + c->n;
        if (!ag_grad_n(n_gx, c->gx, u, n_gx, x, g, false))
            return fail(c, "second order: %s", ag_tape_error(c->tape));
    }
    for (int j = 0, i = 0; i < c->n; i++) {
        if (!is_checked(&c->x[i])) continue;
        c->gradient[i] = tensor_copy(c->arena, ag_value(g[j++]));
        if (tensor_is_nil(&c->gradient[i])) return fail(c, "out of memory");
    }
    return true;
}

/* ---- comparison ---- */

static void compare(Check *c, int input, int64_t index, double numeric, double exact) {
    double error = fabs(numeric - exact), size = fmax(fabs(numeric), fabs(exact));
    double ratio = error == 0 ? 0 : error / (c->o.atol + c->o.rtol * size);
    c->r->checked++;
    /* NaN is the worst of all, and stays. */
    if (c->r->checked > 1 && (isnan(c->worst) || !(isnan(ratio) || ratio > c->worst))) return;
    c->worst = ratio;
    c->r->input = input;
    c->r->index = index;
    c->r->numeric = numeric;
    c->r->analytic = exact;
    c->r->abs_error = error;
    c->r->rel_error = error == 0 ? 0 : error / fmax(size, c->o.atol / c->o.rtol);
}

/* Both take one step of size h along what `move` says. */
typedef void (*Move)(Check *c, int input, int64_t index, double to);

static bool difference(Check *c, Move move, int input, int64_t index, double h, double *slope) {
    static const double at[4] = {1, -1, 2, -2}, weight[4] = {8, -8, -1, 1};
    double sum = 0, value;
    for (int k = 0; k < 4; k++) {
        move(c, input, index, at[k] * h);
        bool ok = objective(c, &value);
        move(c, input, index, 0);
        if (!ok) return false;
        sum += weight[k] * value;
    }
    *slope = sum / (12 * h);
    return true;
}

static bool check_elements(Check *c, const Tensor *x0, Move move) {
    for (int i = 0; i < c->n; i++) {
        int64_t numel = is_checked(&c->x[i]) ? tensor_numel(&c->x[i]) : 0;
        for (int64_t e = 0; e < numel; e++) {
            double h = c->o.step * fmax(1, fabs(tensor_get(&x0[i], e))), slope;
            if (!difference(c, move, i, e, h, &slope)) return false;
            compare(c, i, e, slope, tensor_get(&c->gradient[i], e));
        }
    }
    return true;
}

/* The inputs where they were given. */
typedef struct {
    Check c;
    const Tensor *x0;
    Tensor *along; /* the unit direction in use */
} State;

static void move_element(Check *c, int input, int64_t index, double by) {
    const Tensor *x0 = ((State *)c)->x0;
    tensor_set(&c->x[input], index, tensor_get(&x0[input], index) + by);
}

static void move_along(Check *c, int input, int64_t index, double by) {
    State *s = (State *)c;
    (void)input, (void)index;
    for (int i = 0; i < c->n; i++)
        for (int64_t e = 0, n = is_checked(&c->x[i]) ? tensor_numel(&c->x[i]) : 0; e < n; e++)
            tensor_set(&c->x[i], e, tensor_get(&s->x0[i], e) + by * tensor_get(&s->along[i], e));
}

static void draw_direction(State *s, int which) {
    Check *c = &s->c;
    double norm = 0;
    TensorRngKey key = {c->o.seed, DIRECTIONS, (uint64_t)which};
    uint64_t count = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < c->n; i++) {
            int64_t n = is_checked(&c->x[i]) ? tensor_numel(&c->x[i]) : 0;
            for (int64_t e = 0; e < n; e++) {
                double d = pass ? tensor_get(&s->along[i], e) / sqrt(norm)
                                : tensor_rng_normal(key, count++);
                tensor_set(&s->along[i], e, d);
                if (!pass) norm += d * d;
            }
        }
}

static bool check_directions(State *s) {
    Check *c = &s->c;
    for (int k = 0; k < c->o.directions; k++) {
        double slope, exact = 0;
        draw_direction(s, k);
        for (int i = 0; i < c->n; i++)
            if (is_checked(&c->x[i])) exact += dot(&c->gradient[i], &s->along[i]);
        if (!difference(c, move_along, -1, k, c->o.step, &slope)) return false;
        compare(c, -1, k, slope, exact);
    }
    return true;
}

/* ---- the whole ---- */

static bool check_options(Check *c) {
    const GradcheckOptions *o = &c->o;
    if (c->n < 0) return fail(c, "%d inputs", c->n);
    if (!(o->step > 0 && isfinite(o->step))) return fail(c, "step %g", o->step);
    if (!(o->rtol >= 0 && o->atol >= 0 && isfinite(o->rtol) && isfinite(o->atol)))
        return fail(c, "tolerances %g and %g", o->rtol, o->atol);
    return o->directions >= 0 || fail(c, "%d directions", o->directions);
}

static bool prepare(State *s, const Tensor *x) {
    Check *c = &s->c;
    size_t n = (size_t)c->n;
    c->tape = ag_tape_new();
    c->arena = tensor_arena_new();
    if (!c->tape || !c->arena) return fail(c, "out of memory");
    Tensor *tensors = tensor_arena_alloc(c->arena, 4 * n * sizeof *tensors);
    AgVar *vars = tensor_arena_alloc(c->arena, 5 * n * sizeof *vars);
    if (!tensors || !vars) return fail(c, "out of memory");
    c->x = tensors;
    c->gradient = tensors + n;
    c->direction = tensors + 2 * n;
    s->along = tensors + 3 * n;
    c->var = vars;
    c->gx = vars + n;
    c->ggx = vars + 2 * n; /* three rows: inputs, seeds, second gradients */
    bool something = false;
    for (int i = 0; i < c->n; i++) {
        const char *why = tensor_invalid(&x[i]);
        if (why) return fail(c, "input %d: %s", i, why);
        if (x[i].dtype == TENSOR_F32)
            return fail(c, "input %d is f32: differences in single precision prove nothing", i);
        something |= is_checked(&x[i]);
        c->x[i] = tensor_copy(c->arena, &x[i]);
        c->gradient[i] = tensor_nil();
        c->direction[i] = cotangent(c, &x[i], SECOND_COTANGENTS, i);
        s->along[i] = cotangent(c, &x[i], DIRECTIONS, i);
        if (tensor_is_nil(&c->x[i]) || tensor_is_nil(&s->along[i]) ||
            tensor_is_nil(&c->direction[i])) return fail(c, "out of memory");
    }
    ag_tape_rng(c->tape, c->o.seed, 0);
    return something || fail(c, "no f64 input to check");
}

static void verdict(Check *c) {
    GradcheckResult *r = c->r;
    r->ok = r->checked == 0 || c->worst <= 1;
    char where[96] = "nothing to compare: inputs are empty";
    if (r->checked && r->input >= 0)
        snprintf(where, sizeof where, "input %d, element %lld", r->input, (long long)r->index);
    else if (r->checked)
        snprintf(where, sizeof where, "direction %lld", (long long)r->index);
    snprintf(r->message, sizeof r->message,
             "%s: %s: numeric %.12g, analytic %.12g, absolute error %.2g, relative %.2g "
             "(%lld derivatives, order %d, seed %llu)",
             r->ok ? "worst" : "gradient differs", where, r->numeric, r->analytic, r->abs_error,
             r->rel_error, (long long)r->checked, c->o.second ? 2 : 1,
             (unsigned long long)c->o.seed);
}

bool gradcheck(GradcheckFunction f, void *context, int n, const Tensor *x,
               const GradcheckOptions *options, GradcheckResult *result) {
    State s = {.c = {.f = f, .context = context, .n = n, .r = result}, .x0 = x};
    Check *c = &s.c;
    if (options) c->o = *options;
    if (c->o.step == 0) c->o.step = 1e-3;
    if (c->o.rtol == 0 && c->o.atol == 0) c->o.rtol = 1e-7, c->o.atol = 1e-9;
    *result = (GradcheckResult){.input = -1, .index = -1};
    bool done = check_options(c) && prepare(&s, x) && analytic(c) &&
                (c->o.directions > 0 ? check_directions(&s) : check_elements(c, x, move_element));
    if (done) verdict(c);
    ag_tape_free(c->tape);
    tensor_arena_free(c->arena);
    return result->ok;
}
