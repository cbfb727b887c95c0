/* The simple recurrent network and the GRU. */
#include <math.h>
#include <string.h>

#include "tests/autograd/catalogue/catalogue.h"

/* ---- h_t = f(W x_t + U h_(t-1) + b), f tanh or relu: x [T, B, I], h0 [B, H], W [H, I], U [H, H],
 * b [H] -> y [T, B, H], or the last step only: hn [B, H] ----
 * J. L. Elman, Finding Structure in Time, Cognitive Science 14, 1990. */

enum {
    RNN_FORWARD_IN_TIME = 1, RNN_TRUNCATED, RNN_U_H_AFTER, RNN_X_STEP_BEFORE, RNN_BIAS_LAST_STEP,
    RNN_X_MISSING, RNN_H0_MISSING, RNN_OTHER_SLOPE, RNN_CARRY_TWICE,
};
enum { T = 6, B = 2, I = 3, H = 4 };

typedef struct {
    bool last, relu;
    double reach; /* of the entries of U */
} Rnn;

static void open_rnn(CatalogueArrays *a) {
    const Rnn *o = a->kernel->options;
    catalogue_input(a, "x", -1, 1, SHAPE(T, B, I));
    catalogue_input(a, "h0", -1, 1, SHAPE(B, H));
    catalogue_input(a, "W", -.6, .6, SHAPE(H, I));
    catalogue_input(a, "U", -o->reach, o->reach, SHAPE(H, H));
    catalogue_input(a, "b", -.5, .5, SHAPE(H));
    if (o->last) catalogue_result(a, "hn", SHAPE(B, H));
    else catalogue_result(a, "y", SHAPE(T, B, H));
}

/* h of every step is saved, h0 first. */
static bool rnn_forward(void *context) {
    CatalogueArrays *a = context;
    const Rnn *o = a->kernel->options;
    memcpy(a->saved, X(1), B * H * sizeof(double));
    for (int j = 0; j < T * B * H; j++) {
        const double *x = X(0) + j / H * I, *h = a->saved + j / H * H;
        double z = X(4)[j % H];
        for (int i = 0; i < I; i++) z += X(2)[j % H * I + i] * x[i];
        for (int k = 0; k < H; k++) z += X(3)[j % H * H + k] * h[k];
        a->saved[B * H + j] = o->relu ? fmax(z, 0) : tanh(z);
    }
    const double *h = a->saved + (o->last ? T * B * H : B * H);
    memcpy(Y(0), h, (size_t)catalogue_size(&a->out[0]) * sizeof *h);
    return true;
}

/* Adds what dz of row b at step t gives to x and the parameters. */
static void rnn_products(CatalogueArrays *a, int t, int b, const double *dz) {
    int to = a->bug == RNN_X_STEP_BEFORE ? t - 1 : t;
    bool of_x = to >= 0 && a->bug != RNN_X_MISSING;
    const double *x = X(0) + (t * B + b) * I;
    const double *h = a->saved + ((a->bug == RNN_U_H_AFTER ? t + 1 : t) * B + b) * H;
    for (int j = 0; j < H; j++) {
        for (int i = 0; i < I; i++) {
            if (of_x) DX(0)[(to * B + b) * I + i] += dz[j] * X(2)[j * I + i];
            DX(2)[j * I + i] += dz[j] * x[i];
        }
        for (int k = 0; k < H; k++) DX(3)[j * H + k] += dz[j] * h[k];
        if (a->bug != RNN_BIAS_LAST_STEP || t == T - 1) DX(4)[j] += dz[j];
    }
}

static void rnn_row(CatalogueArrays *a, int b) {
    const Rnn *o = a->kernel->options;
    double dh[H] = {0}, dz[H];
    for (int s = 0; s < T; s++) {
        int t = a->bug == RNN_FORWARD_IN_TIME ? s : T - 1 - s;
        if (a->bug == RNN_TRUNCATED && s % 4 == 0) zero(dh, H);
        for (int j = 0; j < H; j++) {
            double h = a->saved[((t + 1) * B + b) * H + j], slope = 1 - h * h;
            if (o->relu && a->bug != RNN_OTHER_SLOPE) slope = h > 0;
            if (!o->last) dh[j] += DY(0)[(t * B + b) * H + j];
            else if (s == 0) dh[j] += DY(0)[b * H + j];
            dz[j] = dh[j] * slope;
        }
        rnn_products(a, t, b, dz);
        if (a->bug != RNN_CARRY_TWICE) zero(dh, H);
        for (int j = 0; j < H; j++)
            for (int k = 0; k < H; k++) dh[k] += dz[j] * X(3)[j * H + k];
    }
    if (a->bug != RNN_H0_MISSING) memcpy(DX(1) + b * H, dh, sizeof dh);
}

static bool rnn_backward(void *context) {
    CatalogueArrays *a = context;
    for (int i = 0; i < a->n_in; i++) zero(DX(i), catalogue_size(&a->in[i]));
    for (int b = 0; b < B; b++) rnn_row(a, b);
    return true;
}

static const Rnn each_step = {false, false, .5}, last_step = {true, false, .5},
                 vanishing = {true, false, .2}, with_relu = {false, true, .5};
static const CatalogueKernel
    rnn = {"RNN", open_rnn, rnn_forward, rnn_backward, &each_step},
    rnn_last = {"RNN, last step", open_rnn, rnn_forward, rnn_backward, &last_step},
    rnn_vanishing = {"RNN, vanishing", open_rnn, rnn_forward, rnn_backward, &vanishing},
    rnn_relu = {"RNN with relu", open_rnn, rnn_forward, rnn_backward, &with_relu};

/* ---- GRU: x [T, B, I], h0 [B, H], W [3H, I], U [3H, H], b, d [3H] -> y [T, B, H] ----
 *
 *     r = sigmoid(W_r x + b_r + U_r h + d_r)      z = sigmoid(W_z x + b_z + U_z h + d_z)
 *     n = tanh(W_n x + b_n + r (U_n h + d_n))     h' = (1 - z) n + z h
 *
 * K. Cho and others, Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014; the
 * reset gate after the product, as in PyTorch. */

enum { GRU_NO_DIRECT_PATH = 1, GRU_RESET_OF_H, GRU_UPDATE_SIDE, GRU_GATE_ORDER, GRU_BIASES_ALIKE,
       GRU_RESET_LEFT_OUT };

static void open_gru(CatalogueArrays *a) {
    catalogue_input(a, "x", -1, 1, SHAPE(T, B, I));
    catalogue_input(a, "h0", -1, 1, SHAPE(B, H));
    catalogue_input(a, "W", -.6, .6, SHAPE(3 * H, I));
    catalogue_input(a, "U", -.6, .6, SHAPE(3 * H, H));
    catalogue_input(a, "b", -.5, .5, SHAPE(3 * H));
    catalogue_input(a, "d", -.5, .5, SHAPE(3 * H));
    catalogue_result(a, "y", SHAPE(T, B, H));
}

/* What a step saves of a row: the gates, and U_n h + d_n. */
typedef struct {
    double r[H], z[H], n[H], inner[H];
} Gates;
_Static_assert(T * B * sizeof(Gates) <= CATALOGUE_SAVED * sizeof(double), "saved is too small");

static const double *gru_before(const CatalogueArrays *a, int t, int b) {
    return t ? Y(0) + ((t - 1) * B + b) * H : X(1) + b * H;
}

static void gru_step(const CatalogueArrays *a, const double *x, const double *h, Gates *g,
                     double *after) {
    double input[3 * H], hidden[3 * H];
    for (int k = 0; k < 3 * H; k++) {
        input[k] = X(4)[k];
        hidden[k] = X(5)[k];
        for (int i = 0; i < I; i++) input[k] += X(2)[k * I + i] * x[i];
        for (int j = 0; j < H; j++) hidden[k] += X(3)[k * H + j] * h[j];
    }
    for (int j = 0; j < H; j++) {
        g->r[j] = sigmoid_of(input[j] + hidden[j]);
        g->z[j] = sigmoid_of(input[H + j] + hidden[H + j]);
        g->inner[j] = hidden[2 * H + j];
        g->n[j] = tanh(input[2 * H + j] + g->r[j] * g->inner[j]);
        after[j] = (1 - g->z[j]) * g->n[j] + g->z[j] * h[j];
    }
}

static bool gru_forward(void *context) {
    CatalogueArrays *a = context;
    for (int t = 0; t < T; t++)
        for (int b = 0; b < B; b++)
            gru_step(a, X(0) + (t * B + b) * I, gru_before(a, t, b),
                     (Gates *)a->saved + t * B + b, Y(0) + (t * B + b) * H);
    return true;
}

/* From dh = dL/dh': the gradients of the sums with x and with h, and of h past the sums. */
static void gru_gates(int bug, const Gates *g, const double *h, const double *dh, double *input,
                      double *hidden, double *direct) {
    for (int j = 0; j < H; j++) {
        double share = bug == GRU_UPDATE_SIDE ? g->z[j] : 1 - g->z[j];
        double dn = dh[j] * share * (1 - g->n[j] * g->n[j]);
        double inner = bug == GRU_RESET_OF_H ? h[j] : g->inner[j];
        input[j] = hidden[j] = dn * inner * g->r[j] * (1 - g->r[j]);
        input[H + j] = hidden[H + j] = dh[j] * (h[j] - g->n[j]) * g->z[j] * (1 - g->z[j]);
        input[2 * H + j] = dn;
        hidden[2 * H + j] = bug == GRU_RESET_LEFT_OUT ? dn : dn * g->r[j];
        direct[j] = bug == GRU_NO_DIRECT_PATH ? 0 : dh[j] * g->z[j];
    }
}

static void gru_row(CatalogueArrays *a, int b) {
    double dh[H] = {0}, input[3 * H], hidden[3 * H], direct[H];
    for (int t = T - 1; t >= 0; t--) {
        const double *x = X(0) + (t * B + b) * I, *h = gru_before(a, t, b);
        for (int j = 0; j < H; j++) dh[j] += DY(0)[(t * B + b) * H + j];
        gru_gates(a->bug, (Gates *)a->saved + t * B + b, h, dh, input, hidden, direct);
        memcpy(dh, direct, sizeof dh);
        for (int k = 0; k < 3 * H; k++) {
            for (int i = 0; i < I; i++) {
                DX(0)[(t * B + b) * I + i] += input[k] * X(2)[k * I + i];
                DX(2)[k * I + i] += input[k] * x[i];
            }
            for (int j = 0; j < H; j++) {
                dh[j] += hidden[k] * X(3)[k * H + j];
                DX(3)[k * H + j] += hidden[k] * h[j];
            }
            DX(4)[k] += input[k];
            DX(5)[k] += a->bug == GRU_BIASES_ALIKE ? input[k] : hidden[k];
        }
    }
    memcpy(DX(1) + b * H, dh, sizeof dh);
}

static void exchange_blocks(double *r, int n) {
    for (int j = 0; j < n; j++) {
        double kept = r[j];
        r[j] = r[n + j];
        r[n + j] = kept;
    }
}

static bool gru_backward(void *context) {
    CatalogueArrays *a = context;
    for (int i = 0; i < a->n_in; i++) zero(DX(i), catalogue_size(&a->in[i]));
    for (int b = 0; b < B; b++) gru_row(a, b);
    if (a->bug == GRU_GATE_ORDER) {
        exchange_blocks(DX(2), H * I);
        exchange_blocks(DX(3), H * H);
        exchange_blocks(DX(4), H);
        exchange_blocks(DX(5), H);
    }
    return true;
}

static const CatalogueKernel gru = {"GRU", open_gru, gru_forward, gru_backward, NULL};

#define ENTRY(name, reason, kernel, bug, what, after) \
    {name, what, after, CATALOGUE_REASON(reason), bug, &kernel, NULL, NULL}

const CatalogueEntry catalogue_rnn[] = {
    ENTRY("rnn-forward-in-time", WRONG, rnn, RNN_FORWARD_IN_TIME,
          "backward combines the steps from the first to the last", "Axon 646"),
    ENTRY("rnn-carry-twice", WRONG, rnn, RNN_CARRY_TWICE,
          "the gradient that came in at a step is passed on to the step before as well", NULL),
    ENTRY("rnn-truncated", MISSING, rnn_last, RNN_TRUNCATED,
          "backpropagation stops after four of six steps: the first two get no gradient", NULL),
    ENTRY("rnn-vanishing", MISSING, rnn_vanishing, RNN_H0_MISSING,
          "h0 gets no gradient, and the right one is smaller than 0.01 after six steps", NULL),
    ENTRY("rnn-x-missing", MISSING, rnn, RNN_X_MISSING, "the sequence gets no gradient",
          "JAX 753: zeros for the gradient of a scanned sequence"),
    ENTRY("rnn-x-step-before", SHIFTED, rnn, RNN_X_STEP_BEFORE,
          "the gradient of x at step t is written at step t - 1; the last step gets none", NULL),
    ENTRY("rnn-u-h-after", WRONG, rnn, RNN_U_H_AFTER,
          "the gradient of U is taken with h_t instead of h_(t-1)", NULL),
    ENTRY("rnn-bias-last-step", PARTIAL_SUM, rnn, RNN_BIAS_LAST_STEP,
          "the gradient of the bias is that of the last step only", NULL),
    ENTRY("rnn-other-slope", WRONG, rnn_relu, RNN_OTHER_SLOPE,
          "forward has relu, backward the slope of tanh", "PyTorch 11662"),
    ENTRY("gru-direct-path", WRONG, gru, GRU_NO_DIRECT_PATH,
          "the path z h from h to h' is left out", NULL),
    ENTRY("gru-reset-of-h", WRONG, gru, GRU_RESET_OF_H,
          "the gradient of the reset gate is taken with h instead of U_n h + d_n", NULL),
    ENTRY("gru-reset-left-out", WRONG, gru, GRU_RESET_LEFT_OUT,
          "the gradient of U_n h + d_n lacks the reset gate", NULL),
    ENTRY("gru-update-side", WRONG, gru, GRU_UPDATE_SIDE,
          "the candidate gets the share z of the gradient instead of 1 - z", NULL),
    ENTRY("gru-gate-order", PERMUTED, gru, GRU_GATE_ORDER,
          "the gradients of the parameters have the gates in the order z, r, n",
          "LBANN 1796: oneDNN has the order u, r, o"),
    ENTRY("gru-biases-alike", OTHER_INPUT, gru, GRU_BIASES_ALIKE,
          "the recurrent bias gets the gradient of the input bias", NULL),
    {0},
};
