/* A dense layer and a matrix product. */
#include <math.h>

#include "tests/autograd/catalogue/catalogue.h"

/* ---- y = tanh(x W + b): x [B, I], W [I, H], b [H] -> y [B, H] ---- */

enum { B = 3, I = 4, H = 5 };

enum {
    DENSE_SIGN = 1, DENSE_TWICE, DENSE_MEAN, DENSE_PART_IN_1000, DENSE_PART_IN_100000,
    DENSE_BIAS_MISSING, DENSE_BIAS_FIRST_ROW, DENSE_BIAS_LAST_ROW, DENSE_WEIGHT_LAYOUT,
    DENSE_PREACTIVATION, DENSE_NO_SLOPE, DENSE_SQUARED, DENSE_DECAY, DENSE_ONES,
    DENSE_LAST_COLUMN, DENSE_TAIL, DENSE_RESULT_TAIL, DENSE_PAST_GRADIENT, DENSE_PAST_RESULT,
    DENSE_ADDS, DENSE_SETS, DENSE_DY_CHANGED, DENSE_Y_CHANGED, DENSE_FIRST_SAMPLE,
};

static void open_dense(CatalogueArrays *a) {
    catalogue_input(a, "x", -1, 1, SHAPE(B, I));
    catalogue_input(a, "W", -1, 1, SHAPE(I, H));
    catalogue_input(a, "b", -1, 1, SHAPE(H));
    catalogue_result(a, "y", SHAPE(B, H));
}

/* The gradients of the parameters are added to, as where a layer is used twice. */
static void open_accumulating(CatalogueArrays *a) {
    open_dense(a);
    a->in[1].flags = a->in[2].flags = GRADCHECK_ACCUMULATES;
}

static bool dense_forward(void *context) {
    CatalogueArrays *a = context;
    const double *x = X(0), *W = X(1), *b = X(2);
    /* By fours, as vector code does it, with the rest after. */
    int n = a->bug == DENSE_RESULT_TAIL ? B * H / 4 * 4 : B * H;
    for (int j = 0; j < n; j++) {
        double z = b[j % H];
        for (int i = 0; i < I; i++) z += x[j / H * I + i] * W[i * H + j % H];
        a->saved[j] = z;
        Y(0)[j] = tanh(z);
    }
    if (a->bug == DENSE_PAST_RESULT) Y(0)[n] = 0;
    return true;
}

static double dense_dz(const CatalogueArrays *a, int j) {
    double y = Y(0)[j], dy = DY(0)[j], z = a->saved[j];
    switch (a->bug) {
    case DENSE_PREACTIVATION: return dy * (1 - z * z);
    case DENSE_NO_SLOPE: return dy;
    case DENSE_SQUARED: return dy * dy * (1 - y * y);
    case DENSE_ONES: return 1 - y * y;
    default: return dy * (1 - y * y);
    }
}

/* Adds x^T dz to dW. */
static void dense_weight(CatalogueArrays *a, const double *dz, double *dW) {
    static const double factors[] = {[DENSE_SIGN] = -1, [DENSE_TWICE] = 2, [DENSE_MEAN] = 1.0 / B,
                                     [DENSE_PART_IN_1000] = 1.001,
                                     [DENSE_PART_IN_100000] = 1.00001};
    double factor = a->bug >= DENSE_SIGN && a->bug <= DENSE_PART_IN_100000 ? factors[a->bug] : 1;
    int rows = a->bug == DENSE_FIRST_SAMPLE ? 1 : B;
    for (int i = 0; i < I; i++)
        for (int h = 0; h < H; h++) {
            double sum = a->bug == DENSE_DECAY ? .1 * X(1)[i * H + h] : 0;
            for (int r = 0; r < rows; r++) sum += X(0)[r * I + i] * dz[r * H + h];
            if (a->bug == DENSE_LAST_COLUMN && h == H - 1) continue;
            dW[a->bug == DENSE_WEIGHT_LAYOUT ? h * I + i : i * H + h] += factor * sum;
        }
}

/* Adds the rows of dz to db. */
static void dense_bias(CatalogueArrays *a, const double *dz, double *db) {
    int first = a->bug == DENSE_BIAS_LAST_ROW ? B - 1 : 0;
    int last = a->bug == DENSE_BIAS_FIRST_ROW ? 1 : a->bug == DENSE_BIAS_MISSING ? 0 : B;
    int n = a->bug == DENSE_TAIL ? H / 4 * 4 : H;
    for (int h = 0; h < n; h++)
        for (int r = first; r < last; r++) db[h] += dz[r * H + h];
    if (a->bug == DENSE_PAST_GRADIENT) db[H] = 0;
}

static bool dense_backward(void *context) {
    CatalogueArrays *a = context;
    double own[B * H], *dz = a->bug == DENSE_DY_CHANGED  ? DY(0)
                             : a->bug == DENSE_Y_CHANGED ? Y(0) : own;
    for (int j = 0; j < B * H; j++) dz[j] = dense_dz(a, j);
    for (int j = 0; j < B * I; j++) {
        DX(0)[j] = 0;
        for (int h = 0; h < H; h++) DX(0)[j] += dz[j / I * H + h] * X(1)[j % I * H + h];
    }
    bool sets = !(a->in[1].flags & GRADCHECK_ACCUMULATES);
    int columns = a->bug == DENSE_LAST_COLUMN ? H - 1 : H;
    int n = a->bug == DENSE_TAIL ? H / 4 * 4 : H;
    for (int j = 0; j < I * H; j++)
        if ((sets ? a->bug != DENSE_ADDS : a->bug == DENSE_SETS) && j % H < columns) DX(1)[j] = 0;
    if (sets) zero(DX(2), n);
    dense_weight(a, dz, DX(1));
    dense_bias(a, dz, DX(2));
    return true;
}

static const CatalogueKernel dense = {"dense layer", open_dense, dense_forward, dense_backward,
                                      NULL};
static const CatalogueKernel accumulating = {"dense layer, accumulating", open_accumulating,
                                             dense_forward, dense_backward, NULL};

/* ---- y = a b: [m, k] [k, n] -> [m, n] ---- */

enum { PRODUCT_LEFT_TRANSPOSED = 1, PRODUCT_RIGHT_LAYOUT, PRODUCT_SWAPPED, PRODUCT_OPERAND };

static void open_product(CatalogueArrays *a) {
    catalogue_input(a, "a", -1, 1, SHAPE(3, 4));
    catalogue_input(a, "b", -1, 1, SHAPE(4, 6));
    catalogue_result(a, "y", SHAPE(3, 6));
}

static void open_square(CatalogueArrays *a) {
    catalogue_input(a, "a", -1, 1, SHAPE(4, 4));
    catalogue_input(a, "b", -1, 1, SHAPE(4, 4));
    catalogue_result(a, "y", SHAPE(4, 4));
}

static bool product_forward(void *context) {
    CatalogueArrays *a = context;
    int64_t m = a->in[0].shape[0], k = a->in[0].shape[1], n = a->in[1].shape[1];
    for (int64_t j = 0; j < m * n; j++) {
        Y(0)[j] = 0;
        for (int64_t i = 0; i < k; i++) Y(0)[j] += X(0)[j / n * k + i] * X(1)[i * n + j % n];
    }
    return true;
}

static bool product_backward(void *context) {
    CatalogueArrays *a = context;
    int64_t m = a->in[0].shape[0], k = a->in[0].shape[1], n = a->in[1].shape[1];
    double *da = a->bug == PRODUCT_SWAPPED ? DX(1) : DX(0);
    double *db = a->bug == PRODUCT_SWAPPED ? DX(0) : DX(1);
    for (int64_t row = 0; row < m; row++)
        for (int64_t col = 0; col < k; col++) {
            double sum = 0;
            for (int64_t j = 0; j < n; j++)
                sum += DY(0)[row * n + j] *
                       X(1)[a->bug == PRODUCT_OPERAND ? j * n + col : col * n + j];
            da[a->bug == PRODUCT_LEFT_TRANSPOSED ? col * k + row : row * k + col] = sum;
        }
    for (int64_t row = 0; row < k; row++)
        for (int64_t col = 0; col < n; col++) {
            double sum = 0;
            for (int64_t j = 0; j < m; j++) sum += X(0)[j * k + row] * DY(0)[j * n + col];
            db[a->bug == PRODUCT_RIGHT_LAYOUT ? col * k + row : row * n + col] = sum;
        }
    return true;
}

static const CatalogueKernel product = {"matrix product", open_product, product_forward,
                                        product_backward, NULL};
static const CatalogueKernel square = {"matrix product, square", open_square, product_forward,
                                       product_backward, NULL};

#define DENSE(name, reason, bug, what) \
    {name, what, NULL, CATALOGUE_REASON(reason), bug, &dense, NULL, NULL}

const CatalogueEntry catalogue_dense[] = {
    DENSE("dense-sign", SIGN, DENSE_SIGN, "the gradient of W is subtracted instead of added"),
    DENSE("dense-twice", FACTOR, DENSE_TWICE, "the gradient of W is added up twice"),
    DENSE("dense-mean-for-sum", FACTOR, DENSE_MEAN,
          "the gradient of W is averaged over the batch where the loss is summed"),
    DENSE("dense-1e-3", FACTOR, DENSE_PART_IN_1000,
          "the gradient of W is too large by one part in a thousand"),
    DENSE("dense-1e-5", FACTOR, DENSE_PART_IN_100000,
          "the gradient of W is too large by one part in a hundred thousand"),
    DENSE("dense-bias-missing", MISSING, DENSE_BIAS_MISSING, "the gradient of b is never summed"),
    DENSE("dense-bias-first-row", PARTIAL_SUM, DENSE_BIAS_FIRST_ROW,
          "the gradient of b is the first row's instead of the sum over the batch"),
    DENSE("dense-bias-last-row", PARTIAL_SUM, DENSE_BIAS_LAST_ROW,
          "the gradient of b is overwritten by each row: only the last one's is left"),
    DENSE("dense-weight-first-sample", PARTIAL_SUM, DENSE_FIRST_SAMPLE,
          "the gradient of W is that of the first sample of the batch"),
    DENSE("dense-weight-layout", TRANSPOSED, DENSE_WEIGHT_LAYOUT,
          "the gradient of W [I, H] is written as if it were [H, I]"),
    DENSE("dense-tanh-of-preactivation", WRONG, DENSE_PREACTIVATION,
          "the slope of tanh is taken as 1 - z^2 of its argument instead of 1 - y^2"),
    DENSE("dense-no-activation-slope", WRONG, DENSE_NO_SLOPE,
          "the slope of the activation is left out"),
    DENSE("dense-cotangent-squared", NOT_LINEAR, DENSE_SQUARED,
          "the cotangent enters the gradient twice, as a square"),
    DENSE("dense-weight-decay", NOT_LINEAR, DENSE_DECAY,
          "the optimiser's weight decay is added inside the gradient of W"),
    DENSE("dense-cotangent-ignored", NOT_LINEAR, DENSE_ONES,
          "the cotangent is taken to be 1, as if the layer were the loss"),
    DENSE("dense-last-column", UNWRITTEN, DENSE_LAST_COLUMN,
          "the loop over the columns of the gradient of W stops one early"),
    DENSE("dense-gradient-tail", UNWRITTEN, DENSE_TAIL,
          "the vector loop over the gradient of b has no tail: the last 5 mod 4 are not written"),
    DENSE("dense-result-tail", UNWRITTEN, DENSE_RESULT_TAIL,
          "the vector loop of the forward pass has no tail: the last 15 mod 4 are not written"),
    DENSE("dense-past-gradient", OUT_OF_BOUNDS, DENSE_PAST_GRADIENT,
          "the loop over the gradient of b runs one too far"),
    DENSE("dense-past-result", OUT_OF_BOUNDS, DENSE_PAST_RESULT,
          "the forward pass writes one element after its result"),
    DENSE("dense-adds", ACCUMULATED, DENSE_ADDS,
          "the gradient of W is added to what the array held before"),
    {"dense-sets", "the gradient of W is set, where the layer is used twice and must add", NULL,
     CATALOGUE_REASON(OVERWRITES), DENSE_SETS, &accumulating, NULL, NULL},
    DENSE("dense-dy-changed", INPUT_CHANGED, DENSE_DY_CHANGED,
          "backward uses the memory of the cotangent for its own values"),
    DENSE("dense-y-changed", INPUT_CHANGED, DENSE_Y_CHANGED,
          "backward uses the memory of the result, which the next layer still needs"),
    {"product-square-transposed", "the gradient of a square left operand is (g b^T)^T", NULL,
     CATALOGUE_REASON(TRANSPOSED), PRODUCT_LEFT_TRANSPOSED, &square, NULL, NULL},
    {"product-layout", "the gradient of the right operand [4, 6] is written column by column", NULL,
     CATALOGUE_REASON(TRANSPOSED), PRODUCT_RIGHT_LAYOUT, &product, NULL, NULL},
    {"product-swapped", "the gradients of the two operands are exchanged", NULL,
     CATALOGUE_REASON(OTHER_INPUT), PRODUCT_SWAPPED, &square, NULL, NULL},
    {"product-operand-not-transposed", "the gradient of the left operand is g b, not g b^T", NULL,
     CATALOGUE_REASON(WRONG), PRODUCT_OPERAND, &square, NULL, NULL},
    {0},
};
