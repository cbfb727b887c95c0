/* differences.c -- numeric derivatives with an error bar. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "autograd/gradcheck/core.h"

enum {
    LEVELS = 5,        /* tries with smaller steps, */
    SMALLER = 8,       /* each by this factor */
    NOISE_POINTS = 9,
};
#define ENOUGH 1e-7    /* a bar of this share of the scale needs no smaller steps, */
#define ENOUGH_F32 1e-3
#define LEAST_SIZE 1.0  /* of L, where sums cancel: rounding takes no notice of that */
#define DOUBT 3.0      /* widens a bar that had to be looked at again */
#define SURE 10.0      /* standard deviations of noise in the bar */

static double *along_of(GradcheckRun *run, int i) { return run->in[i].along; }

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
            gradcheck_set(a->value, a->dtype, j, x + by * along_of(run, k)[j]);
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
 * error that is left; noise and rounding are those of the smallest step. */
static bool extrapolated(GradcheckRun *run, int i, int64_t e, double h, double *slope,
                         double *bar, bool *bent) {
    double d[3], bend[3], size;
    for (int k = 0; k < 3; k++)
        if (!central(run, i, e, ldexp(h, -k), &d[k], &bend[k], &size)) return false;
    double once = (4 * d[1] - d[0]) / 3, again = (4 * d[2] - d[1]) / 3;
    double noise = (SURE * run->noise + 4 * run->eps * size) / ldexp(h, -2);
    *slope = (16 * again - once) / 15;
    *bar = fabs(*slope - again) + noise;
    *bent = is_bent(bend, noise);
    if (!isfinite(*slope)) *bar = INFINITY;
    return true;
}

static double first_step(const GradcheckRun *run, int i, int64_t e) {
    double h = run->o.step > 0 ? run->o.step : run->f32 ? 0.1 : 0.02;
    return e < 0 ? h : h * fmax(1, fabs(gradcheck_get(run->in[i].kept, run->in[i].arg->dtype, e)));
}

/* Where the expected value is not within the bar, other steps are taken as well: terms of the
 * error may have cancelled, and the bar be too narrow, by chance; or a high derivative jumps, and
 * the extrapolation gains less than it would. */
static bool look_again(GradcheckRun *run, int i, int64_t e, double h, double *slope, double *bar) {
    double other, other_bar;
    bool bent;
    if (!extrapolated(run, i, e, .7 * h, &other, &other_bar, &bent)) return false;
    *bar = DOUBT * (fmax(*bar, other_bar) + fabs(*slope - other));
    return true;
}

bool gradcheck_derivative(GradcheckRun *run, int i, int64_t e, double expected, double *slope,
                          double *bar, bool *bent) {
    double h = first_step(run, i, e), enough = run->f32 ? ENOUGH_F32 : ENOUGH, best = h;
    *bar = INFINITY;
    *slope = NAN;
    for (int level = 0; level < LEVELS; level++, h /= SMALLER) {
        double s, b;
        if (!extrapolated(run, i, e, h, &s, &b, bent)) return false;
        if (b < *bar || level == 0) *slope = s, *bar = b, best = h;
        /* Smaller steps mean more noise: no use once that is most of the bar. */
        if (*bar <= enough * fabs(*slope) || 2 * SURE * run->noise / ldexp(h, -2) >= *bar) break;
    }
    return fabs(*slope - expected) <= *bar || look_again(run, i, e, best, slope, bar);
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

/* Where L is smooth, the two sides differ by O(h^2); at a kink the difference stays. */
bool gradcheck_kink(GradcheckRun *run, int i, int64_t e, int64_t index, double analytic,
                    bool *kink) {
    double large[2], side[2], h = first_step(run, i, e) / 20;
    char where[2 * GRADCHECK_NAME_SIZE];
    *kink = false;
    if (!one_sided(run, i, e, h, large) || !one_sided(run, i, e, h / 20, side)) return false;
    double before = fabs(large[0] - large[1]), after = fabs(side[0] - side[1]);
    double noise = 8 * SURE * run->noise / (h / 20);
    *kink = !isfinite(after) || (after > .3 * before && after > noise &&
                                 after > 1e-4 * (fabs(side[0]) + fabs(side[1])));
    if (!*kink) return true;
    if (i < 0) snprintf(where, sizeof where, "along direction %" PRId64, index);
    else snprintf(where, sizeof where, "%s, element %" PRId64, run->in[i].name, index);
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
        double squares = 0;
        int n = NOISE_POINTS - k;
        for (int j = 0; j < n; j++) {
            t[j] = t[j + 1] - t[j];
            squares += t[j] * t[j];
        }
        binomial *= 2.0 * (2 * k - 1) / k; /* C(2k, k) */
        if (k >= 4 && k <= 6) *noise = fmax(*noise, sqrt(squares / n / binomial));
    }
    if (!isfinite(*noise)) *noise = 0;
    return true;
}

/* Steps so small that nothing but noise is left, even beside a kink. */
bool gradcheck_measure_noise(GradcheckRun *run) {
    double squares = 0;
    for (int i = 0; i < run->p->n_in; i++)
        for (int64_t j = 0; run->in[i].checked && j < run->in[i].n; j++) {
            double x = gradcheck_get(run->in[i].kept, run->in[i].arg->dtype, j);
            double u = gradcheck_uniform(run->o.seed, GRADCHECK_NOISES, (uint64_t)i, (uint64_t)j);
            along_of(run, i)[j] = (2 * u - 1) * fmax(1, fabs(x));
        }
    for (int k = 0; k < run->p->n_out; k++)
        for (int64_t j = 0; j < run->out[k].n; j++) {
            const GradcheckArray *y = &run->out[k];
            double part = y->w[j] * gradcheck_get(y->kept, y->arg->dtype, j);
            squares += part * part;
            run->size += fabs(part);
        }
    run->size = fmax(run->size, LEAST_SIZE);
    if (!noise_at(run, run->f32 ? 1e-4 : 1e-11, &run->noise)) return false;
    run->noise = fmax(run->noise, run->eps * sqrt(squares));
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
        run->rough = before > seen && before < INFINITY && noise > before / 3 && noise < 3 * before;
        if (run->rough) run->noise = fmax(noise, before);
        before = noise;
    }
    return true;
}
