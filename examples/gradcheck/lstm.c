#include "examples/gradcheck/lstm.h"

#include <math.h>
#include <string.h>

static double sigmoid(double a) { return 1 / (1 + exp(-a)); }

static double dot(int64_t n, const double *a, const double *b) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* y += a x */
static void add_scaled(int64_t n, double a, const double *x, double *y) {
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

/* h or c of the step before t, row b. */
static const double *before(LstmSizes n, const double *first, const double *all, int64_t t,
                            int64_t b) {
    return t > 0 ? all + ((t - 1) * n.B + b) * n.H : first + b * n.H;
}

void lstm_forward(LstmSizes n, const LstmArrays *v, double *gates) {
    for (int64_t t = 0; t < n.T; t++)
        for (int64_t b = 0; b < n.B; b++) {
            int64_t at = t * n.B + b, H = n.H;
            const double *x = v->x + at * n.I, *h = before(n, v->h0, v->h, t, b);
            const double *c = before(n, v->c0, v->c, t, b);
            double *a = gates + at * 4 * H;
            for (int64_t k = 0; k < 4 * H; k++) {
                a[k] = v->bias[k] + dot(n.I, v->w_ih + k * n.I, x) + dot(H, v->w_hh + k * H, h);
                a[k] = k / H == 2 ? tanh(a[k]) : sigmoid(a[k]);
            }
            for (int64_t j = 0; j < H; j++) {
                double next = a[H + j] * c[j] + a[j] * a[2 * H + j];
                v->c[at * H + j] = next;
                v->h[at * H + j] = a[3 * H + j] * tanh(next);
            }
        }
}

/* The gradient of the gates' pre-activations at step t, row b, into row [4H].  d->h0 and d->c0
 * carry dL/dh[t] and dL/dc[t] from the step after. */
static void gates_backward(LstmSizes n, const LstmArrays *v, const double *gates,
                           const LstmArrays *d, int64_t t, int64_t b, double *row,
                           LstmMistake mistake) {
    int64_t at = t * n.B + b, H = n.H;
    const double *a = gates + at * 4 * H, *c_before = before(n, v->c0, v->c, t, b);
    for (int64_t j = 0; j < H; j++) {
        double i = a[j], f = a[H + j], g = a[2 * H + j], o = a[3 * H + j];
        double squashed = tanh(v->c[at * H + j]);
        double dh = d->h[at * H + j] + d->h0[b * H + j];
        double dc = d->c[at * H + j] + dh * o * (1 - squashed * squashed);
        if (mistake != LSTM_CARRY_LOST) dc += d->c0[b * H + j];
        row[j] = dc * g * i * (1 - i);
        row[H + j] = dc * c_before[j] * f * (1 - f);
        row[2 * H + j] = dc * i * (mistake == LSTM_TANH_SLOPE ? g * (1 - g) : 1 - g * g);
        row[3 * H + j] = dh * squashed * o * (1 - o);
        d->c0[b * H + j] = dc * f;
        d->h0[b * H + j] = 0;
    }
}

void lstm_backward(LstmSizes n, const LstmArrays *v, const double *gates, const LstmArrays *d,
                   double *row, LstmMistake mistake) {
    int64_t H = n.H;
    memset(d->x, 0, (size_t)(n.T * n.B * n.I) * sizeof *d->x);
    memset(d->w_ih, 0, (size_t)(4 * H * n.I) * sizeof *d->w_ih);
    memset(d->w_hh, 0, (size_t)(4 * H * H) * sizeof *d->w_hh);
    memset(d->bias, 0, (size_t)(4 * H) * sizeof *d->bias);
    memset(d->h0, 0, (size_t)(n.B * H) * sizeof *d->h0);
    memset(d->c0, 0, (size_t)(n.B * H) * sizeof *d->c0);
    for (int64_t t = n.T - 1; t >= 0; t--) {
        if (mistake == LSTM_LAST_WRITE) memset(d->w_hh, 0, (size_t)(4 * H * H) * sizeof *d->w_hh);
        for (int64_t b = 0; b < n.B; b++) {
            const double *x = v->x + (t * n.B + b) * n.I, *h = before(n, v->h0, v->h, t, b);
            gates_backward(n, v, gates, d, t, b, row, mistake);
            for (int64_t k = 0; k < 4 * H; k++) {
                int64_t to = k;
                if (mistake == LSTM_GATE_ORDER && k / H >= 2) to += k / H == 2 ? H : -H;
                d->bias[k] += row[k];
                add_scaled(n.I, row[k], x, d->w_ih + to * n.I);
                add_scaled(H, row[k], h, d->w_hh + k * H);
                add_scaled(n.I, row[k], v->w_ih + k * n.I, d->x + (t * n.B + b) * n.I);
                add_scaled(H, row[k], v->w_hh + k * H, d->h0 + b * H);
            }
        }
    }
}
