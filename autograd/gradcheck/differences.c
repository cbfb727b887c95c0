/* differences.c -- numeric derivatives with an error bar. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "autograd/gradcheck/core.h"

enum {
    LEVELS = 10,       /* tries with smaller steps, */
    SMALLER = 8,       /* each by this factor; */
    EDGE_LEVELS = 16,  /* as many where L is not finite */
    NOISE_POINTS = 9,
    NOISE_LEVELS = 3,
    KINK_LEVELS = 3,   /* steps at which slopes from both sides are compared, */
    NEARER = 20,       /* each smaller by this factor */
};
#define ENOUGH 1e-7    /* a bar of this share of the scale needs no smaller steps, */
#define ENOUGH_F32 1e-3
#define LEAST_SIZE 1.0  /* of L, where sums cancel: rounding takes no notice of that */
#define DOUBT 3.0      /* widens a bar that had to be looked at again */
#define SURE 10.0      /* standard deviations of noise in the bar */

/* Moves one element, or with e < 0 all checked inputs along their direction, to x + by d.
 * Returns how far the one moved: in float32 not quite as far as asked. */
static double move(GradcheckRun *run, int i, int64_t e, double by) {
    if (e >= 0) {
        GradArg *a = run->in[i].arg;
        double x = gradcheck_get(run->in[i].kept, a->dtype, e);
        gradcheck_set(a->value, a->dtype, e, x + by);
        return gradcheck_get(a->value, a->dtype, e) - x;
    }
    for (int k = 0; k < run->p->n_in; k++) {
        GradArg *a = run->in[k].arg;
        for (int64_t j = 0; run->in[k].checked && j < run->in[k].n; j++) {
            double x = gradcheck_get(run->in[k].kept, a->dtype, j);
            gradcheck_set(a->value, a->dtype, j, x + by * run->in[k].along[j]);
        }
    }
    return by;
}

/* Summed in extended precision: the checker adds no noise of its own. */
static double objective(const GradcheckRun *run) {
    long double sum = 0;
    for (int k = 0; k < run->p->n_out; k++) {
        const GradcheckArray *y = &run->out[k];
        for (int64_t j = 0; j < y->n; j++)
            sum += (long double)y->w[j] * gradcheck_get(y->arg->value, y->arg->dtype, j);
    }
    return (double)sum;
}

/* L at x + by d; *moved is how far that was. */
static bool evaluate(GradcheckRun *run, int i, int64_t e, double by, double *moved, double *value) {
    *moved = move(run, i, e, by);
    bool ok = gradcheck_forward(run);
    if (ok) *value = objective(run);
    run->r->evaluations++;
    move(run, i, e, 0);
    return ok;
}

/* *bend: the slope from the right less that from the left; *size: of the values of L that were
 * subtracted. */
static bool central(GradcheckRun *run, int i, int64_t e, double h, double *slope, double *bend,
                    double *size) {
    double right, left, at_right, at_left;
    if (!evaluate(run, i, e, h, &right, &at_right) || !evaluate(run, i, e, -h, &left, &at_left))
        return false;
    *slope = (at_right - at_left) / (right - left);
    *bend = (at_right - run->here) / right - (at_left - run->here) / left;
    *size = fabs(at_right) + fabs(at_left);
    return true;
}

/* Does the difference of the slopes from both sides stay as the steps go to 0?  It is odd in h
 * where L is smooth.  This finds the kink that lies exactly at x, of which central differences
 * show nothing. */
static bool is_bent(const double bend[3], double noise) {
    double once = 2 * bend[1] - bend[0], again = 2 * bend[2] - bend[1];
    double left_over = (8 * again - once) / 7;
    return fabs(left_over) > 3 * (fabs(left_over - again) + 8 * noise);
}

/* Three central differences, extrapolated.  What the last extrapolation still changed bounds the
 * error that is left; *noise, the rest of the bar, is that of the smallest step. */
static bool extrapolated(GradcheckRun *run, int i, int64_t e, double h, double *slope,
                         double *bar, double *noise, bool *bent) {
    double d[3], bend[3], size;
    for (int k = 0; k < 3; k++)
        if (!central(run, i, e, ldexp(h, -k), &d[k], &bend[k], &size)) return false;
    double once = (4 * d[1] - d[0]) / 3, again = (4 * d[2] - d[1]) / 3;
    *noise = (SURE * run->noise + 4 * run->eps * size) / ldexp(h, -2);
    *slope = (16 * again - once) / 15;
    *bar = fabs(*slope - again) + *noise;
    *bent = is_bent(bend, *noise);
    if (!isfinite(*slope)) *bar = INFINITY;
    return true;
}

double gradcheck_reach(const GradcheckRun *run, int i, int64_t e) {
    return fmax(1, fabs(gradcheck_get(run->in[i].kept, run->in[i].arg->dtype, e)));
}

static double first_step(const GradcheckRun *run, int i, int64_t e) {
    double h = run->o.step > 0 ? run->o.step : run->f32 ? 0.1 : 0.02;
    return e < 0 ? h : h * gradcheck_reach(run, i, e);
}

/* At the edge of its domain L is not finite: the step that stays inside, or the smallest. */
static bool fit_step(GradcheckRun *run, int i, int64_t e, double *h) {
    double none, right, left;
    for (int k = 0; k < EDGE_LEVELS; k++, *h /= SMALLER) {
        if (!evaluate(run, i, e, *h, &none, &right) || !evaluate(run, i, e, -*h, &none, &left))
            return false;
        if (isfinite(right) && isfinite(left)) break;
    }
    return true;
}

/* Where the expected value is not within the bar, other steps are taken as well: terms of the
 * error may have cancelled, and the bar be too narrow, by chance; or a high derivative jumps, and
 * the extrapolation gains less than it would.  *agrees: this other value is within both bars. */
static bool look_again(GradcheckRun *run, int i, int64_t e, double h, double *slope, double *bar,
                       bool *agrees) {
    double other, other_bar, noise;
    bool bent;
    if (!extrapolated(run, i, e, .7 * h, &other, &other_bar, &noise, &bent)) return false;
    *agrees = fabs(*slope - other) <= *bar + other_bar;
    *bar = DOUBT * (fmax(*bar, other_bar) + fabs(*slope - other));
    return true;
}

bool gradcheck_derivative(GradcheckRun *run, int i, int64_t e, double expected, double *slope,
                          double *bar, bool *bent) {
    double h = first_step(run, i, e), enough = run->f32 ? ENOUGH_F32 : ENOUGH, best = h;
    *bar = INFINITY;
    *slope = NAN;
    for (int level = 0; level < LEVELS; level++, h /= SMALLER) {
        double s, b, noise;
        bool agrees;
        if (!extrapolated(run, i, e, h, &s, &b, &noise, bent)) return false;
        if (level == 0 && !isfinite(s) &&
            !(fit_step(run, i, e, &h) && extrapolated(run, i, e, h, &s, &b, &noise, bent)))
            return false;
        /* Of steps that disagree the smaller are right: over the larger, L does other things. */
        bool disagrees = isfinite(s) && fabs(s - *slope) > b + *bar;
        if (level == 0 || disagrees || b < *bar) *slope = s, *bar = b, best = h;
        /* Smaller steps mean more noise: no use once that is most of the bar. */
        bool last = level == LEVELS - 1 || 2 * noise >= *bar;
        if (*bar > enough * fabs(*slope) && !last) continue;
        if (fabs(*slope - expected) <= *bar) return true;
        if (!look_again(run, i, e, best, slope, bar, &agrees)) return false;
        if (agrees || last) return true;
    }
    return true;
}

/* Slopes from the right and the left, each extrapolated once. */
static bool one_sided(GradcheckRun *run, int i, int64_t e, double h, double side[2]) {
    double none, here;
    if (!evaluate(run, i, e, 0, &none, &here)) return false;
    for (int k = 0; k < 2; k++) {
        double sign = k ? -1 : 1, far, near, at_far, at_near;
        if (!evaluate(run, i, e, sign * h, &far, &at_far) ||
            !evaluate(run, i, e, sign * h / 2, &near, &at_near)) return false;
        side[k] = 2 * (at_near - here) / near - (at_far - here) / far;
    }
    return true;
}

/* Where L is smooth, the two sides differ by O(h^2); at a kink the difference stays, at all steps
 * that noise allows. */
static bool sides_differ(GradcheckRun *run, int i, int64_t e, double side[2], bool *differ) {
    double h = first_step(run, i, e) / NEARER, after, noise;
    if (!fit_step(run, i, e, &h) || !one_sided(run, i, e, h, side)) return false;
    for (int k = 0; k < KINK_LEVELS; k++) {
        double before = fabs(side[0] - side[1]), seen[2];
        h /= NEARER;
        if (!one_sided(run, i, e, h, seen)) return false;
        after = fabs(seen[0] - seen[1]);
        noise = 8 * SURE * run->noise / h;
        if (k > 0 && after <= noise) break;
        side[0] = seen[0], side[1] = seen[1];
        *differ = !isfinite(after) || (after > .3 * before && after > noise &&
                                       after > 1e-4 * (fabs(side[0]) + fabs(side[1])));
        if (!*differ) break;
    }
    return true;
}

bool gradcheck_kink(GradcheckRun *run, int i, int64_t e, int64_t index, double analytic,
                    bool *kink) {
    double side[2];
    char where[2 * GRADCHECK_NAME_SIZE];
    *kink = false;
    if (!sides_differ(run, i, e, side, kink)) return false;
    if (!*kink) return true;
    if (i < 0) snprintf(where, sizeof where, "along direction %" PRId64, index);
    else snprintf(where, sizeof where, "%s, element %" PRId64, run->in[i].name, index);
    for (int k = 0; k < 2; k++)
        if (isnan(side[k])) side[k] = NAN; /* its sign says nothing */
    run->r->input = i;
    run->r->index = index;
    gradcheck_fail(run, GRADCHECK_KINK, "%s: the slope is %.6g from the right and %.6g from the "
                   "left; the gradient says %.6g", where, side[0], side[1], analytic);
    return true;
}

/* The standard deviation that the high differences of L over steps of h would have if nothing but
 * noise were in them: the k-th of independent noise has variance C(2k, k) times the noise's own. */
static bool noise_at(GradcheckRun *run, double h, double *noise) {
    double t[NOISE_POINTS], moved, binomial = 1;
    for (int k = 0; k < NOISE_POINTS; k++)
        if (!evaluate(run, -1, -1, (k - NOISE_POINTS / 2) * h, &moved, &t[k])) return false;
    run->here = t[NOISE_POINTS / 2];
    *noise = 0;
    for (int k = 1; k < NOISE_POINTS; k++) {
        double rms = 0;
        int n = NOISE_POINTS - k;
        for (int j = 0; j < n; j++) {
            t[j] = t[j + 1] - t[j];
            rms = hypot(rms, t[j]);
        }
        binomial *= 2.0 * (2 * k - 1) / k; /* C(2k, k) */
        if (k >= 4 && k <= 6) *noise = fmax(*noise, rms / sqrt(n * binomial));
    }
    if (!isfinite(*noise)) *noise = 0;
    return true;
}

/* Steps so small that nothing but noise is left, even beside a kink. */
bool gradcheck_measure_noise(GradcheckRun *run) {
    double norm = 0;
    for (int i = 0; i < run->p->n_in; i++)
        for (int64_t j = 0; run->in[i].checked && j < run->in[i].n; j++) {
            double u = gradcheck_uniform(run->o.seed, GRADCHECK_NOISES, (uint64_t)i, (uint64_t)j);
            run->in[i].along[j] = (2 * u - 1) * gradcheck_reach(run, i, j);
        }
    for (int k = 0; k < run->p->n_out; k++)
        for (int64_t j = 0; j < run->out[k].n; j++) {
            const GradcheckArray *y = &run->out[k];
            double part = y->w[j] * gradcheck_get(y->kept, y->arg->dtype, j);
            norm = hypot(norm, part);
            run->size += fabs(part);
        }
    run->size = fmax(run->size, LEAST_SIZE);
    /* Noise is the same at any step; what grows with it is the function. */
    double noise, h = run->f32 ? 1e-4 : 1e-11;
    run->noise = INFINITY;
    for (int k = 0; k < NOISE_LEVELS && run->noise > 100 * run->eps * norm; k++, h /= 10) {
        if (!noise_at(run, h, &noise)) return false;
        run->noise = fmin(run->noise, noise);
    }
    run->noise = fmax(run->noise, run->eps * norm);
    return true;
}

/* A function that rounds to float inside is a staircase, flat over the smallest steps.  Over those
 * that are longer than a stair its noise is the same at any, where that of a kink or a curve
 * grows. */
bool gradcheck_measure_roughness(GradcheckRun *run) {
    double before = INFINITY, seen = 100 * fmax(run->noise, run->eps * run->size);
    for (double h = 1e-7; h < 2e-2 && !run->rough && !run->f32; h *= 10) {
        double noise;
        if (!noise_at(run, h, &noise)) return false;
        run->rough = before > seen && before < INFINITY && noise > before / 3 &&
                     noise < fmin(3 * before, .01 * run->size); /* more is no rounding */
        if (run->rough) run->noise = fmax(noise, before);
        before = noise;
    }
    return true;
}
