/* calls.c -- what forward and backward do besides computing: the memory that they must fill, and
 * that which they must leave alone. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/gradcheck/core.h"

static size_t bytes_of(const GradcheckArray *x) {
    return (size_t)x->n * gradcheck_size_of(x->arg->dtype);
}

static bool check_kept(GradcheckRun *run, const GradcheckArray *x, const void *now,
                       const void *kept, const char *who, const char *what) {
    if (x->n == 0 || !memcmp(now, kept, bytes_of(x))) return true;
    return gradcheck_fail(run, GRADCHECK_INPUT_CHANGED, "%s changes %s %s", who, what, x->name);
}

static bool check_fences(GradcheckRun *run, const char *who) {
    for (int i = 0; i < run->p->n_in + run->p->n_out; i++) {
        GradcheckArray *x = i < run->p->n_in ? &run->in[i] : &run->out[i - run->p->n_in];
        const char *what = !gradcheck_fence_holds(x, x->value) ? "value" : "gradient";
        if (gradcheck_fence_holds(x, x->value) && gradcheck_fence_holds(x, x->grad)) continue;
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
        const GradcheckArray *x = &run->in[i];
        if (!check_kept(run, x, x->arg->value, x->kept, who, "the value of")) return false;
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
    double u = gradcheck_uniform(run->o.seed, GRADCHECK_FILLING, (uint64_t)which, (uint64_t)i);
    return (double)(float)(1 + u);
}

static void fill(GradcheckRun *run, void *data, const GradcheckArray *x, int which) {
    for (int64_t i = 0; i < x->n; i++)
        gradcheck_set(data, x->arg->dtype, i, which < 0 ? 0 : filling(run, which, i));
}

static bool is_differentiable(const GradcheckArray *x) { return gradcheck_is_float(x->arg->dtype); }

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

bool gradcheck_check_forward(GradcheckRun *run) {
    for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; k < run->p->n_out; k++)
            fill(run, run->out[k].arg->value, &run->out[k], 2 * k + pass);
        if (!gradcheck_forward(run) || !check_fences(run, "forward") ||
            !check_inputs_kept(run, "forward")) return false;
        for (int k = 0; k < run->p->n_out && pass == 0; k++) {
            GradcheckArray *y = &run->out[k];
            if (y->n > 0) memcpy(y->kept, y->arg->value, bytes_of(y));
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
bool gradcheck_check_backward(GradcheckRun *run) {
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
