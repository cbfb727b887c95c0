/* compare.c -- the verdict: analytic beside numeric derivatives. */
#include <inttypes.h>
#include <math.h>

#include "autograd/gradcheck/core.h"

/* Of mean 0 and variance 1: the sum of 12 uniform numbers is normal enough for a direction. */
static double spread(uint64_t seed, uint64_t which, uint64_t i) {
    double sum = -6;
    for (uint64_t k = 0; k < 12; k++)
        sum += gradcheck_uniform(seed, GRADCHECK_DIRECTIONS, which, 12 * i + k);
    return sum;
}

/* ---- comparison ---- */

#define KNOWN_WELL .03 /* a bar of this share of the largest derivative proves something */

/* Besides the bar and what the caller allows: the rounding of the gradient's own computation. */
double gradcheck_tolerance(const GradcheckRun *run, const GradcheckArray *x, double numeric,
                           double analytic, double bar) {
    double rounding = (run->f32 ? 2e-5 : 1e-11) * x->scale;
    return bar + rounding + run->o.atol + run->o.rtol * fmax(fabs(numeric), fabs(analytic));
}

bool gradcheck_wrong_at(const GradcheckRun *run, const GradcheckArray *x, int64_t e) {
    double limit = gradcheck_tolerance(run, x, x->numeric[e], x->analytic[e], x->bar[e]);
    return !(fabs(x->numeric[e] - x->analytic[e]) <= limit);
}

/* Where all derivatives are zero but for rounding, L's own size is what they are small beside. */
double gradcheck_relative(const GradcheckRun *run, const GradcheckArray *x, double error) {
    return error == 0 ? 0 : error / fmax(x->scale, 1e-3 * run->size);
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
    r->rel_error = gradcheck_relative(run, x, error);
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
            double u = gradcheck_uniform(run->o.seed, GRADCHECK_SHARE, (uint64_t)i, (uint64_t)e);
            if (u >= share) continue;
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

static const char *arithmetic(const GradcheckRun *run) {
    if (run->f32) return "float32";
    return run->rough ? "float64 that is rounded to float32 inside" : "float64";
}

/* What a gradient that is zero but for rounding comes to. */
static double rounding_of_zero(const GradcheckRun *run) {
    return run->f32 ? 0 : 1e-14 * run->size;
}

/* The gradient of the input is not zero, and no number of it is known well. */
static bool below_noise(const GradcheckRun *run, int i, double *analytic) {
    const GradcheckArray *x = &run->in[i];
    double least_bar = INFINITY, effect = 0;
    *analytic = 0;
    for (int64_t e = 0; e < x->n; e++) {
        if (!x->known[e]) continue;
        *analytic = fmax(*analytic, fabs(x->analytic[e]));
        effect = fmax(effect, fabs(x->analytic[e]) * gradcheck_reach(run, i, e));
        least_bar = fmin(least_bar, x->bar[e]);
    }
    return effect > rounding_of_zero(run) && least_bar > KNOWN_WELL * x->scale;
}

/* What the agreement proves little of: a bar too wide, for a kink or for noise; and a kink at x,
 * where the gradient happens to be the mean of the slopes from both sides. */
static bool check_certainty(GradcheckRun *run, int i) {
    GradcheckArray *x = &run->in[i];
    for (int64_t e = 0; e < x->n; e++) {
        double enough = KNOWN_WELL * x->scale + (run->f32 ? 1e-2 : 1e-7) * run->size;
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
    double largest;
    if (!below_noise(run, i, &largest)) return true;
    run->r->input = i;
    return gradcheck_fail(run, GRADCHECK_NOISE, "no derivative of %s (the largest is %.3g) is "
                          "known well: differences in %s are known to %.2g only", x->name,
                          largest, arithmetic(run), x->bar[0]);
}

bool gradcheck_check_certainty(GradcheckRun *run) {
    for (int i = 0; i < run->p->n_in; i++)
        if (run->in[i].checked && !check_certainty(run, i)) return false;
    return true;
}

bool gradcheck_check_elements(GradcheckRun *run) {
    if (!measure_elements(run)) return false;
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
            run->in[i].along[e] *= gradcheck_reach(run, i, e) / sqrt(norm);
}

bool gradcheck_check_directions(GradcheckRun *run) {
    GradcheckArray all = {0}; /* stands for the inputs together */
    double bar, least_bar = INFINITY;
    for (int i = 0; i < run->p->n_in; i++)
        for (int64_t e = 0; run->in[i].checked && e < run->in[i].n; e++)
            all.scale = hypot(all.scale, run->in[i].analytic[e] * gradcheck_reach(run, i, e));
    for (int k = 0; k < run->o.directions && run->r->total > 0; k++) {
        double numeric, analytic = 0;
        bool bent, kink = false;
        draw_direction(run, k);
        for (int i = 0; i < run->p->n_in; i++)
            for (int64_t e = 0; run->in[i].checked && e < run->in[i].n; e++)
                analytic += run->in[i].analytic[e] * run->in[i].along[e];
        if (!gradcheck_derivative(run, -1, -1, analytic, &numeric, &bar, &bent)) return false;
        /* A direction's share of the whole gradient: what is compared must be seen. */
        bool wide = !(bar <= KNOWN_WELL * all.scale + (run->f32 ? 1e-2 : 1e-7) * run->size);
        if ((wide || bent) && (!gradcheck_kink(run, -1, -1, k, analytic, &kink) || kink))
            return false;
        if (wide)
            return gradcheck_fail(run, GRADCHECK_NOISE, "along direction %d the numeric derivative "
                                  "%.6g is only known to %.2g", k, numeric, bar);
        compare(run, &all, -1, k, numeric, analytic, bar);
        least_bar = fmin(least_bar, bar);
    }
    return least_bar <= KNOWN_WELL * all.scale || all.scale <= rounding_of_zero(run) ||
           gradcheck_fail(run, GRADCHECK_NOISE, "no derivative along a direction (the gradient's "
                          "length is %.3g) is known well: differences in %s are known to %.2g "
                          "only", all.scale, arithmetic(run), least_bar);
}

/* After directions have shown that something is wrong: the elements, as far as 20000 evaluations
 * go. */
bool gradcheck_look_closer(GradcheckRun *run) {
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
