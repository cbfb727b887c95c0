/* Softmax and its logarithm, layer norm, cross-entropy. */
#include <math.h>

#include "tests/autograd/catalogue/catalogue.h"

static double largest_of(const double *x, int n) {
    double most = x[0];
    for (int j = 1; j < n; j++) most = fmax(most, x[j]);
    return most;
}

/* p = softmax of n numbers; returns the logarithm of their sum of exponentials. */
static double softmax_row(const double *x, int n, double *p) {
    double most = largest_of(x, n), sum = 0;
    for (int j = 0; j < n; j++) sum += p[j] = exp(x[j] - most);
    for (int j = 0; j < n; j++) p[j] /= sum;
    return most + log(sum);
}

/* ---- y = softmax(x) along rows of [4, 4] ---- */

enum { SOFTMAX_NO_SUM = 1, SOFTMAX_OTHER_AXIS, SOFTMAX_DY_TWICE, SOFTMAX_IN_PLACE };
enum { N = 4 };

static void open_softmax(CatalogueArrays *a) {
    catalogue_input(a, "x", -1, 1, SHAPE(N, N));
    catalogue_result(a, "y", SHAPE(N, N));
}

static bool softmax_forward(void *context) {
    CatalogueArrays *a = context;
    for (int row = 0; row < N; row++) {
        double most = largest_of(X(0) + row * N, N);
        for (int j = 0; a->bug == SOFTMAX_IN_PLACE && j < N; j++) X(0)[row * N + j] -= most;
        softmax_row(X(0) + row * N, N, Y(0) + row * N);
    }
    return true;
}

static bool softmax_backward(void *context) {
    CatalogueArrays *a = context;
    for (int row = 0; row < N; row++)
        for (int col = 0; col < N; col++) {
            int j = row * N + col;
            double dot = 0;
            for (int k = 0; k < N; k++) {
                int at = a->bug == SOFTMAX_OTHER_AXIS ? k * N + col : row * N + k;
                dot += Y(0)[at] * DY(0)[at];
            }
            if (a->bug == SOFTMAX_NO_SUM) dot = 0;
            DX(0)[j] = Y(0)[j] * (DY(0)[j] - dot);
            if (a->bug == SOFTMAX_DY_TWICE) DX(0)[j] *= DY(0)[j];
        }
    return true;
}

static const CatalogueKernel softmax = {"softmax", open_softmax, softmax_forward, softmax_backward,
                                        NULL};

/* ---- y = log softmax(x) along rows of [3, 5] ---- */

enum { LOG_SOFTMAX_SUM_IS_1 = 1, LOG_SOFTMAX_NO_SUM, LOG_SOFTMAX_UNDERFLOW };
enum { ROWS = 3, COLUMNS = 5 };

static void open_log_softmax(CatalogueArrays *a) {
    catalogue_input(a, "x", -1, 1, SHAPE(ROWS, COLUMNS));
    catalogue_result(a, "y", SHAPE(ROWS, COLUMNS));
}

static void open_far_logits(CatalogueArrays *a) {
    open_log_softmax(a);
    if (X(0)) X(0)[7] = -800;
}

static bool log_softmax_forward(void *context) {
    CatalogueArrays *a = context;
    for (int row = 0; row < ROWS; row++) {
        double *p = a->saved + row * COLUMNS;
        double sum = softmax_row(X(0) + row * COLUMNS, COLUMNS, p);
        for (int j = 0; j < COLUMNS; j++)
            Y(0)[row * COLUMNS + j] = a->bug == LOG_SOFTMAX_UNDERFLOW
                                          ? log(p[j]) : X(0)[row * COLUMNS + j] - sum;
    }
    return true;
}

static bool log_softmax_backward(void *context) {
    CatalogueArrays *a = context;
    for (int row = 0; row < ROWS; row++) {
        double sum = 0;
        for (int j = 0; j < COLUMNS; j++) sum += DY(0)[row * COLUMNS + j];
        if (a->bug == LOG_SOFTMAX_SUM_IS_1) sum = 1;
        if (a->bug == LOG_SOFTMAX_NO_SUM) sum = 0;
        for (int j = row * COLUMNS; j < (row + 1) * COLUMNS; j++)
            DX(0)[j] = DY(0)[j] - a->saved[j] * sum;
    }
    return true;
}

static const CatalogueKernel log_softmax = {"log-softmax", open_log_softmax, log_softmax_forward,
                                            log_softmax_backward, NULL};
static const CatalogueKernel far_logits = {"log-softmax of far logits", open_far_logits,
                                           log_softmax_forward, log_softmax_backward, NULL};

/* ---- layer norm: y = gamma n + beta, n = (x - mean) / sqrt(var + eps): x [B, H] ---- */

enum {
    NORM_NO_MEAN = 1, NORM_NO_VARIANCE, NORM_CONSTANT, NORM_GAMMA_OF_X, NORM_BETA_LAST,
    NORM_PARAMETERS_SWAPPED, NORM_UNBIASED,
};
enum { B = 3, H = 5 };

static void open_norm(CatalogueArrays *a) {
    catalogue_input(a, "x", -1, 1, SHAPE(B, H));
    catalogue_input(a, "gamma", .5, 1.5, SHAPE(H));
    catalogue_input(a, "beta", -1, 1, SHAPE(H));
    catalogue_result(a, "y", SHAPE(B, H));
}

/* Saves n, and after all of them each row's 1 / sqrt(var + eps). */
static bool norm_forward(void *context) {
    CatalogueArrays *a = context;
    for (int row = 0; row < B; row++) {
        double mean = 0, var = 0;
        for (int h = 0; h < H; h++) mean += X(0)[row * H + h] / H;
        for (int h = 0; h < H; h++) var += pow(X(0)[row * H + h] - mean, 2) / H;
        double scale = a->saved[B * H + row] = 1 / sqrt(var + 1e-5);
        for (int j = row * H; j < (row + 1) * H; j++) {
            a->saved[j] = (X(0)[j] - mean) * scale;
            Y(0)[j] = X(1)[j % H] * a->saved[j] + X(2)[j % H];
        }
    }
    return true;
}

static void norm_rows(CatalogueArrays *a) {
    for (int row = 0; row < B; row++) {
        double mean = 0, product = 0, n = a->bug == NORM_UNBIASED ? H - 1 : H;
        for (int j = row * H; j < (row + 1) * H; j++) {
            double dn = DY(0)[j] * X(1)[j % H];
            mean += dn / H;
            product += dn * a->saved[j] / n;
        }
        if (a->bug == NORM_NO_MEAN || a->bug == NORM_CONSTANT) mean = 0;
        if (a->bug == NORM_NO_VARIANCE || a->bug == NORM_CONSTANT) product = 0;
        for (int j = row * H; j < (row + 1) * H; j++)
            DX(0)[j] = a->saved[B * H + row] *
                       (DY(0)[j] * X(1)[j % H] - mean - a->saved[j] * product);
    }
}

static bool norm_backward(void *context) {
    CatalogueArrays *a = context;
    bool swapped = a->bug == NORM_PARAMETERS_SWAPPED;
    double *gamma = DX(swapped ? 2 : 1), *beta = DX(swapped ? 1 : 2);
    norm_rows(a);
    zero(gamma, H);
    zero(beta, H);
    for (int j = 0; j < B * H; j++) {
        gamma[j % H] += DY(0)[j] * (a->bug == NORM_GAMMA_OF_X ? X(0)[j] : a->saved[j]);
        beta[j % H] = DY(0)[j] + (a->bug == NORM_BETA_LAST ? 0 : beta[j % H]);
    }
    return true;
}

static const CatalogueKernel norm = {"layer norm", open_norm, norm_forward, norm_backward, NULL};

/* ---- cross-entropy: the weighted mean of -log softmax(x)[target] over the rows whose target is
 * not IGNORED; x [ROWS_CE, V] -> [] ---- */

enum {
    LOSS_COUNTS_IGNORED = 1, LOSS_NO_WEIGHT, LOSS_IGNORED_ROW, LOSS_NO_TARGET, LOSS_ONES, LOSS_SUM,
};
enum { IGNORED = -1, ROWS_CE = 6, V = 4 };

static void open_loss(CatalogueArrays *a) {
    catalogue_input(a, "logits", -1, 1, SHAPE(ROWS_CE, V));
    catalogue_indices(a, "target", ROWS_CE, (int64_t[]){2, 0, IGNORED, 3, 1, 2});
    catalogue_constant(a, "weight", .5, 2, SHAPE(V));
    catalogue_result(a, "loss", 0, NULL);
}

static double loss_weight(const CatalogueArrays *a, int row) {
    int64_t target = ((const int64_t *)a->in[1].value)[row];
    return target == IGNORED ? 0 : X(2)[target];
}

static bool loss_forward(void *context) {
    CatalogueArrays *a = context;
    const int64_t *target = a->in[1].value;
    double total = 0, weight = 0;
    for (int row = 0; row < ROWS_CE; row++) {
        double sum = softmax_row(X(0) + row * V, V, a->saved + row * V);
        if (target[row] == IGNORED) continue;
        weight += loss_weight(a, row);
        total += loss_weight(a, row) * (sum - X(0)[row * V + target[row]]);
    }
    Y(0)[0] = total / weight;
    return true;
}

static bool loss_backward(void *context) {
    CatalogueArrays *a = context;
    const int64_t *target = a->in[1].value;
    double weight = 0, dy = a->bug == LOSS_ONES ? 1 : DY(0)[0];
    for (int row = 0; row < ROWS_CE; row++) weight += loss_weight(a, row);
    if (a->bug == LOSS_COUNTS_IGNORED) weight += 1;
    if (a->bug == LOSS_SUM) weight = 1;
    for (int row = 0; row < ROWS_CE; row++) {
        double of_row = loss_weight(a, row);
        if (a->bug == LOSS_NO_WEIGHT && of_row > 0) of_row = 1;
        if (a->bug == LOSS_IGNORED_ROW && target[row] == IGNORED) of_row = 1;
        for (int v = 0; v < V; v++) {
            double hot = a->bug != LOSS_NO_TARGET && v == target[row];
            DX(0)[row * V + v] = dy * of_row / weight * (a->saved[row * V + v] - hot);
        }
    }
    return true;
}

static const CatalogueKernel loss = {"cross-entropy", open_loss, loss_forward, loss_backward, NULL};

#define ENTRY(name, reason, kernel, bug, what, after) \
    {name, what, after, CATALOGUE_REASON(reason), bug, &kernel, NULL, NULL}

const CatalogueEntry catalogue_softmax[] = {
    ENTRY("softmax-diagonal", WRONG, softmax, SOFTMAX_NO_SUM,
          "the gradient is y dy, without - y sum(y dy): the diagonal of the Jacobian only", NULL),
    ENTRY("softmax-wrong-axis", WRONG, softmax, SOFTMAX_OTHER_AXIS,
          "the sum runs over the other axis, of the same size", NULL),
    ENTRY("softmax-dy-twice", NOT_LINEAR, softmax, SOFTMAX_DY_TWICE,
          "the engine multiplies by the cotangent once more what the rule has multiplied already",
          "cTensor 31"),
    ENTRY("softmax-in-place", INPUT_CHANGED, softmax, SOFTMAX_IN_PLACE,
          "forward subtracts the maximum in the input's own memory", NULL),
    ENTRY("log-softmax-sum-1", NOT_LINEAR, log_softmax, LOG_SOFTMAX_SUM_IS_1,
          "the gradient is dy - softmax, right only where the cotangents of a row add up to 1",
          NULL),
    ENTRY("log-softmax-no-sum", WRONG, log_softmax, LOG_SOFTMAX_NO_SUM,
          "the gradient is passed on as if the normaliser were constant", NULL),
    ENTRY("log-softmax-underflow", NONFINITE, far_logits, LOG_SOFTMAX_UNDERFLOW,
          "computed as log(softmax(x)): a logit 800 below the others gives log 0", NULL),
    ENTRY("layer-norm-mean", WRONG, norm, NORM_NO_MEAN,
          "the gradient lacks the term through the mean", NULL),
    ENTRY("layer-norm-variance", WRONG, norm, NORM_NO_VARIANCE,
          "the gradient lacks the term through the variance", NULL),
    ENTRY("layer-norm-constant", WRONG, norm, NORM_CONSTANT,
          "mean and variance are taken for constants", NULL),
    ENTRY("layer-norm-gamma", WRONG, norm, NORM_GAMMA_OF_X,
          "the gradient of gamma is summed with x instead of the normalised x", NULL),
    ENTRY("layer-norm-beta-last", PARTIAL_SUM, norm, NORM_BETA_LAST,
          "the gradient of beta is overwritten by every row of the batch", NULL),
    ENTRY("layer-norm-swapped", OTHER_INPUT, norm, NORM_PARAMETERS_SWAPPED,
          "gamma and beta get each other's gradient", NULL),
    ENTRY("layer-norm-unbiased", WRONG, norm, NORM_UNBIASED,
          "backward divides by n - 1 where forward divides by n", NULL),
    ENTRY("cross-entropy-count", FACTOR, loss, LOSS_COUNTS_IGNORED,
          "ignored rows count in backward's mean", NULL),
    ENTRY("cross-entropy-weight", WRONG, loss, LOSS_NO_WEIGHT,
          "backward forgets the weights of the classes", NULL),
    ENTRY("cross-entropy-ignored", SLICE, loss, LOSS_IGNORED_ROW,
          "a row whose target is ignored gets a gradient", NULL),
    ENTRY("cross-entropy-target", WRONG, loss, LOSS_NO_TARGET,
          "the gradient is softmax(x), without - 1 at the target", NULL),
    ENTRY("cross-entropy-ones", NOT_LINEAR, loss, LOSS_ONES,
          "the cotangent of the loss is taken to be 1: wrong where the loss is scaled or added to",
          NULL),
    ENTRY("cross-entropy-sum", FACTOR, loss, LOSS_SUM,
          "the gradient is that of the sum, the loss is the mean", NULL),
    {0},
};
