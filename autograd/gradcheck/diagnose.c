/* diagnose.c -- what is wrong with a wrong gradient.
 *
 * Each suspicion is a claim about the numbers that either holds for every element that was
 * measured or does not; the first that holds is the diagnosis.  Claims about how the gradient
 * depends on the cotangent are tried with other cotangents. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/gradcheck/core.h"

enum {
    KINKS_TRIED = 8,      /* wrong elements that are looked at from both sides */
    AXIS_TRIED = 64,      /* axes up to this size are tried index by index */
    WITNESSES = 4,        /* wrong elements whose derivative is taken with other cotangents */
};

/* The diagnosis of one input. */
typedef struct {
    GradcheckRun *run;
    GradcheckArray *x;
    int i;
    int64_t wrong, known, nonzero; /* elements; nonzero: of the numeric gradient, beyond its bar */
    int64_t first_wrong;
} Case;

/* ---- claims about numbers ---- */

/* Is `value` what the numeric derivative of element e says? */
static bool fits(const Case *c, int64_t e, double value) {
    const GradcheckArray *x = c->x;
    return fabs(x->numeric[e] - value) <=
           4 * gradcheck_tolerance(c->run, x, x->numeric[e], value, x->bar[e]);
}

static bool is_wrong(const Case *c, int64_t e) {
    return c->x->known[e] && gradcheck_wrong_at(c->run, c->x, e);
}

static bool count(Case *c) {
    const GradcheckArray *x = c->x;
    c->first_wrong = -1;
    for (int64_t e = 0; e < x->n; e++) {
        if (!x->known[e]) continue;
        c->known++;
        c->nonzero += !fits(c, e, 0);
        if (!gradcheck_wrong_at(c->run, x, e)) continue;
        if (c->first_wrong < 0) c->first_wrong = e;
        c->wrong++;
    }
    return c->wrong > 0;
}

static bool kink(const Case *c, bool *found) {
    GradcheckArray *x = c->x;
    int tried = 0;
    *found = false;
    for (int64_t e = 0; e < x->n && tried < KINKS_TRIED && !*found; e++) {
        if (!is_wrong(c, e)) continue;
        tried++;
        if (!gradcheck_kink(c->run, c->i, e, e, x->analytic[e], found)) return false;
    }
    return true;
}

static bool zero_where_wrong(const Case *c) {
    for (int64_t e = 0; e < c->x->n; e++)
        if (is_wrong(c, e) && c->x->analytic[e] != 0) return false;
    return true;
}

static bool all_zero(const Case *c) {
    for (int64_t e = 0; e < c->x->n; e++)
        if (c->x->analytic[e] != 0) return false;
    return true;
}

static bool missing(const Case *c) {
    if (!all_zero(c)) return false;
    gradcheck_fail(c->run, GRADCHECK_MISSING, "the gradient of %s is zero everywhere; %" PRId64
                   " of %" PRId64 " derivatives are not", c->x->name, c->nonzero, c->known);
    return true;
}

static bool missing_in_part(const Case *c) {
    if (!zero_where_wrong(c)) return false;
    gradcheck_fail(c->run, GRADCHECK_MISSING, "the gradient of %s is zero at %" PRId64
                   " elements where it should not be, the first %" PRId64 ", and right elsewhere",
                   c->x->name, c->wrong, c->first_wrong);
    return true;
}

/* p/q with small p and q: what a wrong factor usually is. */
static bool simple_ratio(double factor, int *p, int *q) {
    for (*q = 1; *q <= 64; ++*q) {
        double scaled = factor * *q;
        *p = (int)lround(scaled);
        if (fabs(scaled) < 1000 && *p != 0 && fabs(scaled - *p) < 1e-6 * *q) return true;
    }
    return false;
}

static bool constant_factor(const Case *c) {
    const GradcheckArray *x = c->x;
    double product = 0, squares = 0;
    for (int64_t e = 0; e < x->n; e++) {
        if (!x->known[e]) continue;
        double share = x->numeric[e] / x->scale; /* whose square cannot over- or underflow */
        product += x->analytic[e] / x->scale * share;
        squares += share * share;
    }
    double factor = product / squares;
    if (!isfinite(factor) || factor == 0) return false;
    for (int64_t e = 0; e < x->n; e++)
        if (x->known[e] && !fits(c, e, x->analytic[e] / factor)) return false;
    int p = 0, q = 0;
    bool simple = simple_ratio(factor, &p, &q);
    /* Any two numbers have a ratio: with one to go by, only a telling one counts. */
    if ((c->nonzero < 2 && !simple) || (simple && p == q)) return false;
    char ratio[32] = "";
    if (simple && q > 1) snprintf(ratio, sizeof ratio, " (%d/%d)", p, q);
    if (simple && p == -1 && q == 1)
        gradcheck_fail(c->run, GRADCHECK_SIGN,
                       "the gradient of %s is the negative of the right one", x->name);
    else
        gradcheck_fail(c->run, GRADCHECK_FACTOR, "the gradient of %s is %.9g%s times the right one",
                       x->name, factor, ratio);
    c->run->r->factor = factor;
    return true;
}

static bool of_another_input(const Case *c) {
    for (int j = 0; j < c->run->p->n_in; j++) {
        const GradcheckArray *other = &c->run->in[j];
        if (j == c->i || !other->checked || other->n != c->x->n || c->nonzero == 0) continue;
        bool same = true;
        for (int64_t e = 0; e < c->x->n && same; e++)
            if (other->known[e])
                same = fabs(other->numeric[e] - c->x->analytic[e]) <=
                       4 * gradcheck_tolerance(c->run, other, other->numeric[e], c->x->analytic[e],
                                               other->bar[e]);
        if (!same) continue;
        c->run->r->other = j;
        gradcheck_fail(c->run, GRADCHECK_OTHER_INPUT, "the gradient of %s is that of %s",
                       c->x->name, other->name);
        return true;
    }
    return false;
}

/* ---- right numbers in wrong places ---- */

/* The elements of an axis: outer x size x inner. */
typedef struct {
    int64_t outer, size, inner;
} Axis;

static Axis axis_of(const GradArg *a, int axis) {
    Axis x = {1, a->shape[axis], 1};
    for (int d = 0; d < axis; d++) x.outer *= a->shape[d];
    for (int d = axis + 1; d < a->ndim; d++) x.inner *= a->shape[d];
    return x;
}

/* In memory, axes a and a + 1 in the other order. */
static bool transposed_at(const Case *c, int axis) {
    Axis rows = axis_of(c->x->arg, axis), columns = axis_of(c->x->arg, axis + 1);
    int64_t n = rows.size, m = columns.size, inner = columns.inner;
    if (n < 2 || m < 2) return false;
    for (int64_t e = 0; e < c->x->n; e++) {
        if (!c->x->known[e]) continue;
        int64_t k = e % inner, col = e / inner % m, row = e / inner / m % n, o = e / inner / m / n;
        if (!fits(c, e, c->x->analytic[((o * m + col) * n + row) * inner + k])) return false;
    }
    return true;
}

static bool transposed(const Case *c) {
    for (int axis = 0; axis + 1 < c->x->arg->ndim; axis++) {
        if (!transposed_at(c, axis)) continue;
        c->run->r->axis = axis;
        gradcheck_fail(c->run, GRADCHECK_TRANSPOSED,
                       "the gradient of %s has axes %d and %d exchanged", c->x->name, axis,
                       axis + 1);
        return true;
    }
    return false;
}

/* Is element t of the axis what stands at t + by, wherever both exist? */
static bool shifted_by(const Case *c, Axis a, int64_t by) {
    int64_t told = 0;
    for (int64_t e = 0; e < c->x->n; e++) {
        int64_t t = e / a.inner % a.size;
        if (!c->x->known[e] || t + by < 0 || t + by >= a.size) continue;
        if (!fits(c, e, c->x->analytic[e + by * a.inner])) return false;
        told += !fits(c, e, 0);
    }
    return told > 1;
}

/* Does what a shift pushes over the edge stand at the other end?  Then it is a permutation. */
static bool wraps_around(const Case *c, Axis a, int64_t by) {
    bool told = false;
    for (int64_t e = 0; e < c->x->n; e++) {
        int64_t t = e / a.inner % a.size, from = t + by;
        if (!c->x->known[e] || (from >= 0 && from < a.size)) continue;
        from += from < 0 ? a.size : -a.size;
        if (!fits(c, e, c->x->analytic[e + (from - t) * a.inner])) return false;
        told |= !fits(c, e, 0);
    }
    return told;
}

/* What a shift leaves over must be the lesser part of the axis. */
static bool shifted(const Case *c) {
    for (int axis = 0; axis < c->x->arg->ndim; axis++) {
        Axis a = axis_of(c->x->arg, axis);
        for (int64_t by = -2; by <= 2; by++) {
            if (by == 0 || 2 * (by < 0 ? -by : by) >= a.size || !shifted_by(c, a, by) ||
                wraps_around(c, a, by)) continue;
            c->run->r->axis = axis;
            c->run->r->shift = by;
            gradcheck_fail(c->run, GRADCHECK_SHIFTED,
                           "the gradient of %s stands %+" PRId64 " along axis %d from its place",
                           c->x->name, by, axis);
            return true;
        }
    }
    return false;
}

/* Of an axis cut into blocks: does block `from` of the gradient hold what belongs in `to`? */
static bool block_fits(const Case *c, Axis a, int64_t blocks, int64_t to, int64_t from) {
    int64_t length = a.size / blocks;
    for (int64_t o = 0; o < a.outer; o++)
        for (int64_t k = 0; k < length * a.inner; k++) {
            int64_t base = o * a.size * a.inner + k;
            int64_t e = base + to * length * a.inner;
            if (c->x->known[e] && !fits(c, e, c->x->analytic[base + from * length * a.inner]))
                return false;
        }
    return true;
}

/* Zeros fit zeros anywhere: they say nothing about where a block belongs. */
static bool block_is_zero(const Case *c, Axis a, int64_t blocks, int64_t at) {
    int64_t length = a.size / blocks;
    for (int64_t e = 0; e < c->x->n; e++)
        if (c->x->known[e] && e / a.inner % a.size / length == at && !fits(c, e, 0)) return false;
    return true;
}

/* Every wrong block has its numbers in another block; or holds a copy of another's. */
static bool permuted_in(const Case *c, int axis, int64_t blocks, char *list, size_t size) {
    Axis a = axis_of(c->x->arg, axis);
    size_t used = 0;
    int64_t wrong = 0;
    for (int64_t to = 0; to < blocks; to++) {
        if (block_fits(c, a, blocks, to, to)) continue;
        int64_t from = block_is_zero(c, a, blocks, to) ? blocks : 0, holds = 0;
        while (from < blocks && !block_fits(c, a, blocks, to, from)) from++;
        while (holds < blocks && (holds == to || block_is_zero(c, a, blocks, holds) ||
                                  !block_fits(c, a, blocks, holds, to))) holds++;
        if (from == blocks && holds == blocks) return false;
        int64_t other = holds < blocks ? holds : from;
        wrong++;
        if (used < size)
            used += (size_t)snprintf(list + used, size - used, "%s%" PRId64 " holds %" PRId64,
                                     used ? ", " : "", to, other);
    }
    return wrong > 0;
}

static bool permuted(const Case *c) {
    char list[200];
    if (c->nonzero < 2) return false;
    for (int64_t blocks = 2; blocks <= AXIS_TRIED; blocks++)
        for (int axis = 0; axis < c->x->arg->ndim; axis++) {
            if (c->x->arg->shape[axis] % blocks ||
                !permuted_in(c, axis, blocks, list, sizeof list)) continue;
            c->run->r->axis = axis;
            gradcheck_fail(c->run, GRADCHECK_PERMUTED,
                           "the gradient of %s, axis %d cut into %" PRId64
                           " blocks, has them in wrong places: %s", c->x->name, axis, blocks, list);
            return true;
        }
    return false;
}

/* ---- wrong in some places only ---- */

/* How often an index array names each row of an axis; -1 for other arrays. */
static int64_t times_named(const GradcheckArray *index, int64_t row) {
    int64_t times = 0;
    for (int64_t j = 0; j < index->n; j++)
        times += (int64_t)gradcheck_get(index->arg->value, index->arg->dtype, j) == row;
    return times;
}

/* A row that the function does not use is wrong for another reason. */
static bool wrong_where_repeated(const Case *c, const GradcheckArray *index, Axis a) {
    int64_t right = 0;
    for (int64_t row = 0; row < a.size; row++) {
        bool wrong = false, used = false;
        for (int64_t o = 0; o < a.outer; o++)
            for (int64_t k = 0; k < a.inner; k++) {
                int64_t e = (o * a.size + row) * a.inner + k;
                wrong |= is_wrong(c, e);
                used |= c->x->known[e] && !fits(c, e, 0);
            }
        if (wrong && (!used || times_named(index, row) < 2)) return false;
        right += !wrong;
    }
    return right > 0;
}

static bool repeated_index(const Case *c) {
    for (int j = 0; j < c->run->p->n_in; j++) {
        const GradcheckArray *index = &c->run->in[j];
        if (index->arg->dtype != GRADCHECK_I64) continue;
        for (int axis = 0; axis < c->x->arg->ndim; axis++) {
            if (!wrong_where_repeated(c, index, axis_of(c->x->arg, axis))) continue;
            c->run->r->axis = axis;
            c->run->r->other = j;
            gradcheck_fail(c->run, GRADCHECK_REPEATED_INDEX,
                           "the gradient of %s is wrong only where %s names an index of axis %d "
                           "more than once", c->x->name, index->name, axis);
            return true;
        }
    }
    return false;
}

/* The only index of the axis with a wrong element, or -1. */
static int64_t only_index(const Case *c, Axis a) {
    int64_t only = -1;
    for (int64_t e = 0; e < c->x->n; e++) {
        if (!is_wrong(c, e)) continue;
        int64_t at = e / a.inner % a.size;
        if (only >= 0 && at != only) return -1;
        only = at;
    }
    return only;
}

static bool one_slice(const Case *c) {
    if (c->wrong == 1 && c->known > 2) {
        gradcheck_fail(c->run, GRADCHECK_SLICE, "the gradient of %s is wrong at element %" PRId64
                       " only", c->x->name, c->first_wrong);
        return true;
    }
    for (int axis = 0; axis < c->x->arg->ndim; axis++) {
        Axis a = axis_of(c->x->arg, axis);
        int64_t at = a.size > 1 ? only_index(c, a) : -1;
        if (at < 0) continue;
        c->run->r->axis = axis;
        gradcheck_fail(c->run, GRADCHECK_SLICE, "the gradient of %s is wrong at index %" PRId64
                       " of axis %d only", c->x->name, at, axis);
        return true;
    }
    return false;
}

/* Are all wrong elements at indices first..last of the axis, each of which has some, and some
 * index is right? */
static bool wrong_range(const Case *c, Axis a, int64_t *first, int64_t *last) {
    int64_t indices = 0;
    *first = *last = -1;
    for (int64_t at = 0; at < a.size; at++) {
        bool wrong = false;
        for (int64_t e = 0; e < c->x->n && !wrong; e++)
            wrong = e / a.inner % a.size == at && is_wrong(c, e);
        if (!wrong) continue;
        if (*first < 0) *first = at;
        *last = at;
        indices++;
    }
    return indices > 0 && indices < a.size && *last - *first + 1 == indices;
}

/* No reason found.  Where the wrong elements are is worth a word: a recurrence that is right from
 * some step on loses something on the way back. */
static void unexplained(const Case *c) {
    char where[96] = "";
    for (int axis = 0; axis < c->x->arg->ndim && !*where && c->wrong < c->known; axis++) {
        int64_t first, last;
        Axis a = axis_of(c->x->arg, axis);
        if (a.size > 2 && a.size <= AXIS_TRIED && wrong_range(c, a, &first, &last))
            snprintf(where, sizeof where, ", all at indices %" PRId64 " to %" PRId64 " of axis %d",
                     first, last, axis);
    }
    gradcheck_fail(c->run, GRADCHECK_WRONG, "%" PRId64 " of %" PRId64
                   " derivatives of %s are wrong%s", c->wrong, c->known, c->x->name, where);
}

/* ---- how it depends on the cotangent ---- */

/* The gradient of every checked input with the cotangents as they are now, into spare memory. */
static bool try_cotangents(const Case *c, double **spare) {
    return gradcheck_gradient(c->run, spare);
}

static double **spare_gradients(GradcheckRun *run) {
    double **to = gradcheck_memory(run, (size_t)run->p->n_in, sizeof *to);
    for (int i = 0; to && i < run->p->n_in; i++)
        if (run->in[i].checked &&
            !(to[i] = gradcheck_memory(run, (size_t)run->in[i].n + 1, sizeof(double)))) return NULL;
    return to;
}

static bool equal(const Case *c, const double *g, double factor) {
    for (int64_t e = 0; e < c->x->n; e++) {
        double a = factor * c->x->analytic[e];
        if (!(fabs(g[e] - a) <= 1e3 * c->run->eps * (fabs(a) + c->x->scale))) return false;
    }
    return true;
}

static void scale_cotangents(GradcheckRun *run, double by) {
    for (int k = 0; k < run->p->n_out; k++)
        for (int64_t j = 0; j < run->out[k].n; j++) run->out[k].w[j] *= by;
}

static bool not_linear(const Case *c, double **spare, bool *found) {
    scale_cotangents(c->run, 2);
    bool ok = try_cotangents(c, spare);
    scale_cotangents(c->run, .5);
    if (!ok) return false;
    *found = !equal(c, spare[c->i], 2);
    if (*found)
        gradcheck_fail(c->run, GRADCHECK_NOT_LINEAR, "the gradient of %s %s when the cotangents "
                       "double", c->x->name, equal(c, spare[c->i], 1) ? "stays as it is" :
                       equal(c, spare[c->i], 4) ? "grows fourfold" : "does not double");
    return true;
}

/* With the cotangents as they are now: do some of the wrong elements really have another
 * derivative?  Else the function itself does not depend on what was taken away.  With `share` it
 * must not be 0 either: those elements depend on what was left, too. */
static bool derivative_changes(const Case *c, bool share, bool *changes) {
    int seen = 0;
    *changes = false;
    for (int64_t e = 0; e < c->x->n && seen < WITNESSES && !*changes; e++) {
        double slope, bar;
        bool bent;
        if (!is_wrong(c, e)) continue;
        seen++;
        if (!gradcheck_derivative(c->run, c->i, e, NAN, &slope, &bar, &bent)) return false;
        *changes = fabs(slope - c->x->numeric[e]) > 4 * (bar + c->x->bar[e]) &&
                   (!share || fabs(slope) > 4 * gradcheck_tolerance(c->run, c->x, slope, 0, bar));
    }
    return true;
}

/* Takes away the cotangent of result k but for index `at` of an axis (at < 0: all of it). */
static void take_away(double *w, const double *whole, Axis a, int64_t at, int64_t n) {
    for (int64_t j = 0; j < n; j++) w[j] = j / a.inner % a.size == at ? whole[j] : 0;
}

typedef struct {
    double **spare, *whole; /* memory */
} Tools;

static bool unaffected(const Case *c, const Tools *t, bool share, bool *found) {
    *found = false;
    if (!try_cotangents(c, t->spare)) return false;
    return !equal(c, t->spare[c->i], 1) || derivative_changes(c, share, found);
}

static bool result_ignored(const Case *c, const Tools *t, bool *found) {
    for (int k = 0; k < c->run->p->n_out && c->run->p->n_out > 1; k++) {
        GradcheckArray *y = &c->run->out[k];
        double *w = y->w;
        if (y->n == 0) continue;
        memset(t->whole, 0, (size_t)y->n * sizeof *w);
        y->w = t->whole;
        bool ok = unaffected(c, t, false, found);
        y->w = w;
        if (!ok) return false;
        if (!*found) continue;
        c->run->r->other = k;
        gradcheck_fail(c->run, GRADCHECK_RESULT_IGNORED,
                       "the gradient of %s does not use the cotangent of %s", c->x->name, y->name);
        return true;
    }
    return true;
}

static bool one_index_suffices(const Case *c, const Tools *t, int k, int axis, bool *found) {
    GradcheckArray *y = &c->run->out[k];
    Axis a = axis_of(y->arg, axis);
    double *w = y->w;
    for (int64_t at = 0; at < a.size && a.size > 1 && a.size <= AXIS_TRIED; at++) {
        take_away(t->whole, w, a, at, y->n);
        y->w = t->whole;
        bool ok = unaffected(c, t, true, found);
        y->w = w;
        if (!ok) return false;
        if (!*found) continue;
        c->run->r->axis = axis;
        c->run->r->other = k;
        gradcheck_fail(c->run, GRADCHECK_PARTIAL_SUM, "the gradient of %s uses the cotangent of %s "
                       "at index %" PRId64 " of axis %d only", c->x->name, y->name, at, axis);
        return true;
    }
    return true;
}

static bool partial_sum(const Case *c, const Tools *t, bool *found) {
    for (int k = 0; k < c->run->p->n_out; k++)
        for (int axis = 0; axis < c->run->out[k].arg->ndim; axis++)
            if (!one_index_suffices(c, t, k, axis, found) || *found) return *found;
    return true;
}

static bool all_fit(const Case *c, const double *g) {
    for (int64_t e = 0; e < c->x->n; e++)
        if (c->x->known[e] && !fits(c, e, g[e])) return false;
    return true;
}

static bool results_swapped(const Case *c, const Tools *t, bool *found) {
    for (int k = 0; k < c->run->p->n_out; k++)
        for (int l = 0; l < k; l++) {
            GradcheckArray *a = &c->run->out[k], *b = &c->run->out[l];
            if (a->n != b->n || a->arg->dtype != b->arg->dtype) continue;
            double *w = a->w;
            a->w = b->w;
            b->w = w;
            bool ok = try_cotangents(c, t->spare);
            b->w = a->w;
            a->w = w;
            if (!ok) return false;
            *found = all_fit(c, t->spare[c->i]);
            if (!*found) continue;
            c->run->r->other = k;
            gradcheck_fail(c->run, GRADCHECK_RESULTS_SWAPPED, "the gradient of %s takes the "
                           "cotangents of %s and %s for each other", c->x->name, b->name, a->name);
            return true;
        }
    return true;
}

static bool make_tools(GradcheckRun *run, Tools *t) {
    int64_t most = 1;
    for (int k = 0; k < run->p->n_out; k++) most = run->out[k].n > most ? run->out[k].n : most;
    t->spare = spare_gradients(run);
    t->whole = gradcheck_memory(run, (size_t)most, sizeof(double));
    return t->spare && t->whole;
}

static bool by_cotangents(const Case *c, const Tools *t, bool *found) {
    return result_ignored(c, t, found) && (*found || (results_swapped(c, t, found) &&
           (*found || partial_sum(c, t, found))));
}

/* ---- the whole ---- */

/* Where the worst entry of this input is, for the message. */
static void point_at_worst(const Case *c) {
    GradcheckResult *r = c->run->r;
    const GradcheckArray *x = c->x;
    double most = -1;
    for (int64_t e = 0; e < x->n; e++) {
        double error = fabs(x->numeric[e] - x->analytic[e]);
        if (!is_wrong(c, e) || !(error > most)) continue;
        most = error;
        r->index = e;
    }
    r->input = c->i;
    r->numeric = x->numeric[r->index];
    r->uncertainty = x->bar[r->index];
    r->analytic = x->analytic[r->index];
    r->abs_error = most;
    r->rel_error = gradcheck_relative(c->run, x, most);
}

static bool diagnose_input(const Case *c, const Tools *t, bool *found) {
    point_at_worst(c);
    if (!kink(c, found) || *found) return *found;
    /* First: one cotangent that is not used is a constant factor, too. */
    if (!not_linear(c, t->spare, found) || *found) return *found;
    *found = missing(c) || constant_factor(c) || of_another_input(c) || transposed(c) ||
             shifted(c) || permuted(c);
    if (*found) return true;
    if (!by_cotangents(c, t, found)) return false;
    *found = *found || repeated_index(c) || missing_in_part(c) || one_slice(c);
    if (!*found) unexplained(c);
    return true;
}

/* The other inputs that are wrong, after the sentence about one. */
static void name_others(GradcheckRun *run, int told) {
    char *to = run->r->message;
    size_t size = sizeof run->r->message, used = strlen(to);
    const char *before = "; also wrong: ";
    for (int i = 0; i < run->p->n_in && used < size; i++) {
        Case c = {.run = run, .x = &run->in[i], .i = i};
        if (i == told || !c.x->checked || !count(&c)) continue;
        used += (size_t)snprintf(to + used, size - used, "%s%s", before, c.x->name);
        before = ", ";
    }
}

bool gradcheck_diagnose(GradcheckRun *run) {
    Tools t;
    GradcheckResult first = *run->r;
    bool found = false, any = false;
    if (!make_tools(run, &t)) return false;
    for (int i = 0; i < run->p->n_in && !found; i++) {
        Case c = {.run = run, .x = &run->in[i], .i = i};
        if (!c.x->checked || !count(&c)) continue;
        if (!diagnose_input(&c, &t, &found)) return false;
        if (!found && !any) first = *run->r;
        any = true;
    }
    if (!found) *run->r = first;
    if (run->r->input >= 0) name_others(run, run->r->input);
    return true;
}
