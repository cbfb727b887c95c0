/* LSTM: the pointwise cell, and sequences in one direction or two.
 *
 *     z = W_ih x + W_hh h + b            gates i, f, g, o, in this order
 *     i = sigmoid(z_i + P_i c)  f = sigmoid(z_f + P_f c)  g = tanh(z_g)
 *     c' = f c + i g            o = sigmoid(z_o + P_o c')  h' = o tanh(c')
 *
 * P are the peepholes.  S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural
 * Computation 9(8), 1997; F. A. Gers and J. Schmidhuber, Recurrent Nets that Time and Count,
 * IJCNN 2000. */
#include <math.h>
#include <string.h>

#include "tests/autograd/catalogue/catalogue.h"

enum {
    LSTM_FORGET_C_AFTER = 1, LSTM_SIGMOID, LSTM_TANH_OF_Z, LSTM_TANH_OF_C, LSTM_CARRY_NO_FORGET,
    LSTM_C_IGNORES_H, LSTM_NO_PEEPHOLE_PATH, LSTM_INPUT_COPY, /* in the cell */
    LSTM_GATE_ORDER, LSTM_INPUT_BIAS_COPY, LSTM_DC_N_IGNORED, LSTM_DH_N_IGNORED, LSTM_SWAPPED,
    LSTM_H0_MISSING, LSTM_C0_MISSING, LSTM_C0_IS_H0, LSTM_BIAS_MISSING, LSTM_BIAS_LAST_STEP,
    LSTM_BIAS_FIRST_STEP, LSTM_LAST_STEP_ONLY, LSTM_NO_RECURRENCE, LSTM_TRUNCATED,
    LSTM_W_HH_FIRST_STEP, LSTM_W_HH_H_AFTER, LSTM_X_STEP_AFTER, LSTM_DY_CHANGED,
    LSTM_FIRST_SAMPLE, LSTM_NO_PEEPHOLES, LSTM_W_HH_TRANSPOSED, LSTM_CARRY_TWICE,
    BILSTM_DY_OVERWRITTEN, BILSTM_FEATURES, BILSTM_X_ONE_DIRECTION, BILSTM_H0_EXCHANGED,
    BILSTM_BIAS_POINTER, BILSTM_NOT_REVERSED,
};

/* ---- one step of one row: z [4H], c [H], P [3, H] ---- */

enum { H = 5 };

/* Leaves the gates in `gates`. */
static void cell(const double *z, const double *P, const double *c, double *gates, double *c_after,
                 double *h_after) {
    double *i = gates, *f = i + H, *g = f + H, *o = g + H;
    for (int j = 0; j < H; j++) {
        i[j] = sigmoid_of(z[j] + P[j] * c[j]);
        f[j] = sigmoid_of(z[H + j] + P[H + j] * c[j]);
        g[j] = tanh(z[2 * H + j]);
        c_after[j] = f[j] * c[j] + i[j] * g[j];
        o[j] = sigmoid_of(z[3 * H + j] + P[2 * H + j] * c_after[j]);
        h_after[j] = o[j] * tanh(c_after[j]);
    }
}

/* From dh = dL/dh' and dc = dL/dc' through c' alone: dz and dL/dc; adds to dP. */
static void cell_gradient(int bug, const double *gates, const double *P, const double *c,
                          const double *c_after, const double *dh, const double *dc, double *dz,
                          double *dc_before, double *dP) {
    const double *i = gates, *f = i + H, *g = f + H, *o = g + H;
    double sign = bug == LSTM_SIGMOID ? -1 : 1; /* of sigmoid' = y (1 - y) */
    for (int j = 0; j < H; j++) {
        double t = tanh(c_after[j]), inner = bug == LSTM_TANH_OF_C ? c_after[j] : t;
        double zg = bug == LSTM_TANH_OF_Z ? atanh(g[j]) : g[j];
        double dzo = dh[j] * t * o[j] * (1 - sign * o[j]);
        double all = dc[j] + dzo * P[2 * H + j];
        if (bug != LSTM_C_IGNORES_H) all += dh[j] * o[j] * (1 - inner * inner);
        double dzi = all * g[j] * i[j] * (1 - sign * i[j]);
        double kept = bug == LSTM_FORGET_C_AFTER ? c_after[j] : c[j];
        double dzf = all * kept * f[j] * (1 - sign * f[j]);
        dz[j] = bug == LSTM_INPUT_COPY ? dzf : dzi;
        dz[H + j] = dzf;
        dz[2 * H + j] = all * i[j] * (1 - zg * zg);
        dz[3 * H + j] = dzo;
        dc_before[j] = all * (bug == LSTM_CARRY_NO_FORGET ? 1 : f[j]);
        if (bug != LSTM_NO_PEEPHOLE_PATH) dc_before[j] += dzi * P[j] + dzf * P[H + j];
        dP[j] += dzi * c[j];
        dP[H + j] += dzf * c[j];
        dP[2 * H + j] += dzo * c_after[j];
    }
}

/* i, f, g, o become i, g, f, o: another library's order. */
static void exchange_gates(double *z, int64_t width) {
    for (int64_t j = 0; j < H * width; j++) {
        double *f = z + H * width + j, *g = f + H * width, kept = *f;
        *f = *g;
        *g = kept;
    }
}

/* ---- the pointwise cell by itself: z [B, 4H], c [B, H] -> h' [B, H], c' [B, H] ---- */

enum { ROWS = 3 };
static const double no_peepholes[3 * H];

static void open_cell(CatalogueArrays *a) {
    catalogue_input(a, "z", -1, 1, SHAPE(ROWS, 4 * H));
    catalogue_input(a, "c", -1, 1, SHAPE(ROWS, H));
    catalogue_result(a, "h_after", SHAPE(ROWS, H));
    catalogue_result(a, "c_after", SHAPE(ROWS, H));
}

static bool cell_forward(void *context) {
    CatalogueArrays *a = context;
    for (int b = 0; b < ROWS; b++)
        cell(X(0) + b * 4 * H, no_peepholes, X(1) + b * H, a->saved + b * 4 * H, Y(1) + b * H,
             Y(0) + b * H);
    return true;
}

static bool cell_backward(void *context) {
    CatalogueArrays *a = context;
    const double nothing[H] = {0};
    double dP[3 * H] = {0};
    for (int b = 0; b < ROWS; b++) {
        const double *dh = DY(0) + b * H, *dc = DY(1) + b * H;
        if (a->bug == LSTM_SWAPPED) dh = DY(1) + b * H, dc = DY(0) + b * H;
        if (a->bug == LSTM_DC_N_IGNORED) dc = nothing;
        cell_gradient(a->bug, a->saved + b * 4 * H, no_peepholes, X(1) + b * H, Y(1) + b * H, dh,
                      dc, DX(0) + b * 4 * H, DX(1) + b * H, dP);
        if (a->bug == LSTM_GATE_ORDER) exchange_gates(DX(0) + b * 4 * H, 1);
    }
    return true;
}

static const CatalogueKernel lstm_cell = {"LSTM cell", open_cell, cell_forward, cell_backward,
                                          NULL};

/* ---- sequences: x [T, B, I]; h0, c0 [D, B, H]; W_ih [D, 4H, I], W_hh [D, 4H, H], b [D, 4H],
 * P [D, 3, H] -> y [T, B, D H], hn, cn [D, B, H] ---- */

enum { T = 4, B = 2, I = 3 };
enum { AT_X, AT_H0, AT_C0, AT_W_IH, AT_W_HH, AT_B, AT_P };

static void open_sequence(CatalogueArrays *a, int64_t D) {
    catalogue_input(a, "x", -1, 1, SHAPE(T, B, I));
    catalogue_input(a, "h0", -1, 1, SHAPE(D, B, H));
    catalogue_input(a, "c0", -1, 1, SHAPE(D, B, H));
    catalogue_input(a, "W_ih", -.6, .6, SHAPE(D, 4 * H, I));
    catalogue_input(a, "W_hh", -.6, .6, SHAPE(D, 4 * H, H));
    catalogue_input(a, "b", -.5, .5, SHAPE(D, 4 * H));
    catalogue_input(a, "P", -.5, .5, SHAPE(D, 3, H));
    catalogue_result(a, "y", SHAPE(T, B, D * H));
    catalogue_result(a, "hn", SHAPE(D, B, H));
    catalogue_result(a, "cn", SHAPE(D, B, H));
}
static void open_lstm(CatalogueArrays *a) { open_sequence(a, 1); }
static void open_bilstm(CatalogueArrays *a) { open_sequence(a, 2); }

/* What step s of direction d saves of row b. */
typedef struct {
    double gates[4 * H], c[H], h[H];
} Saved;
_Static_assert(2 * T * B * sizeof(Saved) <= CATALOGUE_SAVED * sizeof(double), "saved is too small");

static Saved *saved(CatalogueArrays *a, int d, int s, int b) {
    return (Saved *)a->saved + ((d * T + s) * B + b);
}
static const double *h_before(CatalogueArrays *a, int d, int s, int b) {
    return s ? saved(a, d, s - 1, b)->h : X(AT_H0) + (d * B + b) * H;
}
static const double *c_before(CatalogueArrays *a, int d, int s, int b) {
    return s ? saved(a, d, s - 1, b)->c : X(AT_C0) + (d * B + b) * H;
}
/* The time of step s: the second direction starts at the end. */
static int time_of(int d, int s) { return d ? T - 1 - s : s; }
static int directions(const CatalogueArrays *a) { return (int)a->in[AT_H0].shape[0]; }

static void preactivation(const CatalogueArrays *a, int d, const double *x, const double *h,
                          double *z) {
    const double *W_ih = X(AT_W_IH) + d * 4 * H * I, *W_hh = X(AT_W_HH) + d * 4 * H * H;
    for (int k = 0; k < 4 * H; k++) {
        z[k] = X(AT_B)[d * 4 * H + k];
        for (int i = 0; i < I; i++) z[k] += W_ih[k * I + i] * x[i];
        for (int j = 0; j < H; j++) z[k] += W_hh[k * H + j] * h[j];
    }
}

static bool lstm_forward(void *context) {
    CatalogueArrays *a = context;
    int D = directions(a);
    for (int d = 0; d < D; d++)
        for (int s = 0; s < T; s++)
            for (int b = 0; b < B; b++) {
                Saved *now = saved(a, d, s, b);
                double z[4 * H];
                int t = time_of(d, s);
                preactivation(a, d, X(AT_X) + (t * B + b) * I, h_before(a, d, s, b), z);
                cell(z, X(AT_P) + d * 3 * H, c_before(a, d, s, b), now->gates, now->c, now->h);
                memcpy(Y(0) + ((t * B + b) * D + d) * H, now->h, sizeof now->h);
                memcpy(Y(1) + (d * B + b) * H, now->h, sizeof now->h);
                memcpy(Y(2) + (d * B + b) * H, now->c, sizeof now->c);
            }
    return true;
}

/* Adds what dz of step s gives to the weights and to x. */
static void add_products(CatalogueArrays *a, int d, int s, int b, const double *dz) {
    int t = a->bug == BILSTM_NOT_REVERSED ? s : time_of(d, s);
    int x_step = a->bug == LSTM_X_STEP_AFTER ? t + 1 : t;
    bool features = a->bug == BILSTM_FEATURES && d == 1;
    if (features) x_step = t = s;
    const double *x = X(AT_X) + (t * B + b) * I;
    const double *h = a->bug == LSTM_W_HH_H_AFTER ? saved(a, d, s, b)->h : h_before(a, d, s, b);
    double *dx = x_step < T ? DX(AT_X) + (x_step * B + b) * I : NULL;
    bool sample = a->bug != LSTM_FIRST_SAMPLE || b == 0;
    bool recurrent = sample && (a->bug != LSTM_W_HH_FIRST_STEP || s == 0);
    bool bias = sample && (a->bug != LSTM_BIAS_LAST_STEP || s == T - 1) &&
                (a->bug != LSTM_BIAS_FIRST_STEP || s == 0) && a->bug != LSTM_BIAS_MISSING;
    for (int k = 0; k < 4 * H; k++) {
        int row = d * 4 * H + k;
        for (int i = 0; i < I; i++) {
            int at = features ? I - 1 - i : i;
            if (dx) dx[at] += dz[k] * X(AT_W_IH)[row * I + i];
            if (sample) DX(AT_W_IH)[row * I + i] += dz[k] * x[at];
        }
        for (int j = 0; j < H && recurrent; j++) DX(AT_W_HH)[row * H + j] += dz[k] * h[j];
        if (bias) DX(AT_B)[a->bug == BILSTM_BIAS_POINTER ? k : row] += dz[k];
    }
}

/* dh = W_hh^T dz, or with LSTM_CARRY_TWICE added to what it was. */
static void carry_back(const CatalogueArrays *a, int d, const double *dz, double *dh) {
    for (int j = 0; j < H; j++) {
        if (a->bug != LSTM_CARRY_TWICE) dh[j] = 0;
        for (int k = 0; k < 4 * H; k++)
            dh[j] += dz[k] * (a->bug == LSTM_W_HH_TRANSPOSED && k < H
                                  ? X(AT_W_HH)[(d * 4 * H + j) * H + k]
                                  : X(AT_W_HH)[(d * 4 * H + k) * H + j]);
    }
}

/* The carry that step s gets from the one after it. */
static bool carries(const CatalogueArrays *a, int s) {
    if (a->bug == LSTM_NO_RECURRENCE) return s == T - 1;
    return a->bug != LSTM_TRUNCATED || s % 2 == 0 || s == T - 1;
}

static void start_carry(CatalogueArrays *a, int d, int b, double *dh, double *dc) {
    bool swapped = a->bug == LSTM_SWAPPED;
    memcpy(dh, DY(swapped ? 2 : 1) + (d * B + b) * H, H * sizeof *dh);
    memcpy(dc, DY(swapped ? 1 : 2) + (d * B + b) * H, H * sizeof *dc);
    if (a->bug == LSTM_DC_N_IGNORED) zero(dc, H);
    if (a->bug == LSTM_DH_N_IGNORED) zero(dh, H);
}

/* One row of the batch in one direction; dy is that of y. */
static void row_backward(CatalogueArrays *a, int d, int b, double *dy) {
    double dh[H], dc[H], dz[4 * H], before[H], *dP = DX(AT_P) + d * 3 * H;
    start_carry(a, d, b, dh, dc);
    for (int s = T - 1; s >= 0; s--) {
        const Saved *now = saved(a, d, s, b);
        double *here = dy + ((time_of(d, s) * B + b) * directions(a) + d) * H;
        if (!carries(a, s)) zero(dh, H), zero(dc, H);
        for (int j = 0; j < H; j++) {
            if (a->bug == LSTM_LAST_STEP_ONLY && s < T - 1) dh[j] = dc[j] = 0;
            else dh[j] += here[j];
            if (a->bug == LSTM_DY_CHANGED) here[j] = dh[j];
        }
        cell_gradient(a->bug, now->gates, X(AT_P) + d * 3 * H, c_before(a, d, s, b), now->c, dh, dc,
                      dz, before, dP);
        memcpy(dc, before, sizeof dc);
        add_products(a, d, s, b, dz);
        carry_back(a, d, dz, dh);
    }
    memcpy(DX(AT_H0) + (d * B + b) * H, dh, sizeof dh);
    memcpy(DX(AT_C0) + (d * B + b) * H, dc, sizeof dc);
}

static void exchange(double *u, double *v, int n) {
    for (int j = 0; j < n; j++) {
        double kept = u[j];
        u[j] = v[j];
        v[j] = kept;
    }
}

/* Mistakes after the loop. */
static void finish(CatalogueArrays *a) {
    int n = directions(a) * B * H;
    if (a->bug == LSTM_GATE_ORDER) {
        exchange_gates(DX(AT_W_IH), I);
        exchange_gates(DX(AT_W_HH), H);
        exchange_gates(DX(AT_B), 1);
    }
    if (a->bug == LSTM_INPUT_BIAS_COPY) memcpy(DX(AT_B), DX(AT_B) + H, H * sizeof(double));
    if (a->bug == LSTM_H0_MISSING) zero(DX(AT_H0), n);
    if (a->bug == LSTM_C0_MISSING) zero(DX(AT_C0), n);
    if (a->bug == LSTM_C0_IS_H0) memcpy(DX(AT_C0), DX(AT_H0), (size_t)n * sizeof(double));
    if (a->bug == LSTM_NO_PEEPHOLES) zero(DX(AT_P), catalogue_size(&a->in[AT_P]));
    if (a->bug == BILSTM_H0_EXCHANGED) exchange(DX(AT_H0), DX(AT_H0) + B * H, B * H);
}

static bool lstm_backward(void *context) {
    CatalogueArrays *a = context;
    int D = directions(a);
    double copy[T * B * 2 * H], *dy = DY(0);
    if (a->bug == BILSTM_DY_OVERWRITTEN) dy = memcpy(copy, dy, sizeof copy);
    for (int i = 0; i < a->n_in; i++) zero(DX(i), catalogue_size(&a->in[i]));
    for (int d = 0; d < D; d++) {
        if (a->bug == BILSTM_X_ONE_DIRECTION) zero(DX(AT_X), T * B * I);
        for (int b = 0; b < B; b++) row_backward(a, d, b, dy);
        /* The layer below wants dx in the memory of dy. */
        if (a->bug == BILSTM_DY_OVERWRITTEN) memcpy(dy, DX(AT_X), T * B * I * sizeof *dy);
    }
    finish(a);
    return true;
}

static const CatalogueKernel lstm = {"LSTM", open_lstm, lstm_forward, lstm_backward, NULL};
static const CatalogueKernel bilstm = {"bidirectional LSTM", open_bilstm, lstm_forward,
                                       lstm_backward, NULL};

#define ENTRY(name, reason, kernel, bug, what, after) \
    {name, what, after, CATALOGUE_REASON(reason), bug, &kernel, NULL, NULL}
#define LSTM(name, reason, bug, what, after) ENTRY(name, reason, lstm, bug, what, after)

const CatalogueEntry catalogue_lstm[] = {
    ENTRY("cell-swapped", RESULTS_SWAPPED, lstm_cell, LSTM_SWAPPED,
          "the cotangents of h' and c' are taken for each other", NULL),
    ENTRY("cell-c-ignored", RESULT_IGNORED, lstm_cell, LSTM_DC_N_IGNORED,
          "the cotangent of c' is not used", NULL),
    ENTRY("cell-c-ignores-h", RESULT_IGNORED, lstm_cell, LSTM_C_IGNORES_H,
          "the path from h' into c' is left out: c sees nothing of the cotangent of h'", NULL),
    ENTRY("cell-gate-order", PERMUTED, lstm_cell, LSTM_GATE_ORDER,
          "the gradients of the gates stand in another library's order: i, g, f, o",
          "candle 2351, coremltools 93: gate orders mixed up"),
    ENTRY("cell-input-copy", PERMUTED, lstm_cell, LSTM_INPUT_COPY,
          "the gradient of the input gate is a copy of the forget gate's",
          "learn_dl 53: bi_grad = delta_f"),
    ENTRY("cell-forget-c-after", WRONG, lstm_cell, LSTM_FORGET_C_AFTER,
          "the gradient of the forget gate is taken with c' instead of c", NULL),
    ENTRY("cell-sigmoid", WRONG, lstm_cell, LSTM_SIGMOID,
          "the slope of the gates is y (1 + y)", NULL),
    ENTRY("cell-tanh-of-z", WRONG, lstm_cell, LSTM_TANH_OF_Z,
          "the slope of g is 1 - z^2 instead of 1 - g^2", NULL),
    ENTRY("cell-tanh-of-c", WRONG, lstm_cell, LSTM_TANH_OF_C,
          "the slope of tanh(c') is 1 - c'^2", NULL),
    ENTRY("cell-carry-no-forget", WRONG, lstm_cell, LSTM_CARRY_NO_FORGET,
          "the gradient of c' goes to c without the forget gate", NULL),
    LSTM("lstm-swapped", RESULTS_SWAPPED, LSTM_SWAPPED,
         "the cotangents of h_n and c_n are taken for each other",
         "decaNLP 9: h, c = h[idx], h[idx]"),
    LSTM("lstm-cn-ignored", RESULT_IGNORED, LSTM_DC_N_IGNORED,
         "the cotangent of c_n is not used", NULL),
    LSTM("lstm-hn-ignored", RESULT_IGNORED, LSTM_DH_N_IGNORED,
         "the cotangent of h_n is not used: only y is thought of", NULL),
    LSTM("lstm-h0-missing", MISSING, LSTM_H0_MISSING, "h0 gets no gradient", NULL),
    LSTM("lstm-c0-missing", MISSING, LSTM_C0_MISSING, "c0 gets no gradient", NULL),
    LSTM("lstm-c0-is-h0", OTHER_INPUT, LSTM_C0_IS_H0, "c0 gets the gradient of h0",
         "decaNLP 9: h, c = h[idx], h[idx]"),
    LSTM("lstm-gate-order", PERMUTED, LSTM_GATE_ORDER,
         "the gradients of weights and bias have their gates in the order i, g, f, o",
         "candle 2351, burn 1632: gate orders mixed up"),
    LSTM("lstm-input-bias-copy", PERMUTED, LSTM_INPUT_BIAS_COPY,
         "the gradient of the input gate's bias is a copy of the forget gate's",
         "learn_dl 53: bi_grad = delta_f"),
    LSTM("lstm-bias-missing", MISSING, LSTM_BIAS_MISSING, "the gradient of the bias is zero",
         "MXNet 17818: zero gradients for the bias"),
    LSTM("lstm-bias-last-step", PARTIAL_SUM, LSTM_BIAS_LAST_STEP,
         "the gradient of the bias is that of the last step only", NULL),
    LSTM("lstm-bias-first-step", WRONG, LSTM_BIAS_FIRST_STEP,
         "the gradient of the bias is overwritten on the way back: the first step's is left", NULL),
    LSTM("lstm-first-sample", PARTIAL_SUM, LSTM_FIRST_SAMPLE,
         "the parameters get the gradient of the first sequence of the batch", NULL),
    LSTM("lstm-last-step-only", PARTIAL_SUM, LSTM_LAST_STEP_ONLY,
         "the gradient of the last step does not go back in time, and no other is computed", NULL),
    /* Of h0: its gradient knows neither h_n nor any y but the first. */
    {"lstm-no-recurrence", "no gradient goes from a step to the one before it", NULL,
     CATALOGUE_REASON(RESULT_IGNORED) | CATALOGUE_REASON(PARTIAL_SUM), LSTM_NO_RECURRENCE, &lstm,
     NULL, NULL},
    LSTM("lstm-truncated", RESULT_IGNORED, LSTM_TRUNCATED,
         "backpropagation is cut every two steps, left over from truncated training: h0 sees "
         "nothing of h_n", NULL),
    LSTM("lstm-w-hh-first-step", WRONG, LSTM_W_HH_FIRST_STEP,
         "the gradient of W_hh has the product with h0 only, not with the later h", NULL),
    LSTM("lstm-w-hh-h-after", WRONG, LSTM_W_HH_H_AFTER,
         "the gradient of W_hh is taken with h_t instead of h_(t-1)", NULL),
    LSTM("lstm-w-hh-transposed", WRONG, LSTM_W_HH_TRANSPOSED,
         "the gradient goes back through the transposed (square) block of the input gate", NULL),
    LSTM("lstm-x-step-after", SHIFTED, LSTM_X_STEP_AFTER,
         "the gradient of x at step t is written at step t + 1; step 0 gets none", NULL),
    LSTM("lstm-carry-twice", WRONG, LSTM_CARRY_TWICE,
         "the gradient that goes back in time is added to what came in, not set", NULL),
    LSTM("lstm-dy-changed", INPUT_CHANGED, LSTM_DY_CHANGED,
         "the gradients of h are accumulated in the cotangent of y", NULL),
    LSTM("lstm-forget-c-after", WRONG, LSTM_FORGET_C_AFTER,
         "the gradient of the forget gate is taken with c_t instead of c_(t-1)", NULL),
    LSTM("lstm-peepholes-missing", MISSING, LSTM_NO_PEEPHOLES,
         "the peephole weights get no gradient", NULL),
    LSTM("lstm-peephole-path", WRONG, LSTM_NO_PEEPHOLE_PATH,
         "the path through the peepholes of i and f into c_(t-1) is left out", NULL),
    ENTRY("bilstm-dy-overwritten", SLICE, bilstm, BILSTM_DY_OVERWRITTEN,
          "dx of the first direction is written over dy before the second one has used it",
          "MXNet 17898, 18203"),
    ENTRY("bilstm-features", SLICE, bilstm, BILSTM_FEATURES,
          "the second direction's backward turns the features round instead of the time",
          "onnx2c 95"),
    ENTRY("bilstm-not-reversed", SLICE, bilstm, BILSTM_NOT_REVERSED,
          "the products with x of the second direction forget that it runs from the end", NULL),
    ENTRY("bilstm-x-one-direction", PARTIAL_SUM, bilstm, BILSTM_X_ONE_DIRECTION,
          "the second direction sets the gradient of x where it should add to the first's",
          "mlpack 1742: the backward direction's gradient was not added"),
    ENTRY("bilstm-h0-exchanged", PERMUTED, bilstm, BILSTM_H0_EXCHANGED,
          "the gradients of h0 of the two directions are exchanged",
          "OpenNMT-py 61: the order of layers and directions"),
    ENTRY("bilstm-bias-pointer", WRONG, bilstm, BILSTM_BIAS_POINTER,
          "the second direction's bias gradient is added to the first's: a pointer not moved on",
          "MXNet 17872: the shift of the bias pointer"),
    {0},
};
