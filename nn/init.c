/* init.c -- see init.h. */
#include "nn/init.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "tensor/kernels.h"

NnInit nn_init_constant(double c) { return (NnInit){NN_INIT_CONSTANT, c, 0}; }
NnInit nn_init_uniform(double lo, double hi) { return (NnInit){NN_INIT_UNIFORM, lo, hi}; }
NnInit nn_init_normal(double mean, double std) { return (NnInit){NN_INIT_NORMAL, mean, std}; }
NnInit nn_init_xavier_uniform(double gain) { return (NnInit){NN_INIT_XAVIER_UNIFORM, gain, 0}; }
NnInit nn_init_xavier_normal(double gain) { return (NnInit){NN_INIT_XAVIER_NORMAL, gain, 0}; }
NnInit nn_init_orthogonal(double gain) { return (NnInit){NN_INIT_ORTHOGONAL, gain, 0}; }

const char *nn_init_invalid(NnInit init, const Tensor *x) {
    const char *why = tensor_invalid(x);
    if (why) return why;
    if (!tensor_dtype_is_float(x->dtype)) return "initial values are of a float dtype";
    if (!tensor_is_contiguous(x)) return "initial values want a contiguous tensor";
    switch (init.kind) {
    case NN_INIT_CONSTANT: return NULL;
    case NN_INIT_UNIFORM:
        return init.a <= init.b && isfinite(init.b - init.a) ? NULL
                                                             : "uniform wants finite lo <= hi";
    case NN_INIT_NORMAL:
        return isfinite(init.a) && isfinite(init.b) && init.b >= 0
                   ? NULL
                   : "normal wants a finite mean and standard deviation >= 0";
    case NN_INIT_XAVIER_UNIFORM:
    case NN_INIT_XAVIER_NORMAL:
        if (x->ndim < 2) return "xavier wants 2 axes or more";
        /* the range drawn from is at most 4 gains wide */
        return isfinite(4 * init.a) ? NULL : "xavier wants a finite gain";
    case NN_INIT_ORTHOGONAL:
        if (x->ndim < 2) return "orthogonal wants 2 axes or more";
        return isfinite(init.a) ? NULL : "orthogonal wants a finite gain";
    }
    return "unknown kind of initial values";
}

/* fan_in + fan_out of a weight [n_out, n_in, k..] */
static double fan_sum(const Tensor *x) {
    double k = 1;
    for (int d = 2; d < x->ndim; d++) k *= (double)x->shape[d];
    return ((double)x->shape[0] + (double)x->shape[1]) * k;
}

/* ---- orthogonal ---- */

/* The partial sums keep the additions apart, so that they overlap; their order is fixed. */
static double dot(int64_t n, const double *a, const double *b) {
    double s[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++) s[j] += a[i + j] * b[i + j];
    for (; i < n; i++) s[0] += a[i] * b[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* Makes row k of q [.., n] orthogonal to the rows before it and of length 1.  Twice is
 * enough: after the second pass the rest is of rounding size (W. Kahan's argument, in
 * B. Parlett, The Symmetric Eigenvalue Problem, 1980, section 6-9).  False where next to
 * nothing is left of the row. */
static bool orthonormalize(double *q, int64_t k, int64_t n) {
    double *row = q + k * n;
    double before = sqrt(dot(n, row, row));
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < k; i++) {
            double along = dot(n, q + i * n, row);
            for (int64_t j = 0; j < n; j++) row[j] -= along * q[i * n + j];
        }
    }
    double left = sqrt(dot(n, row, row));
    if (!(left > 1e-10 * before)) return false;
    for (int64_t j = 0; j < n; j++) row[j] /= left;
    return true;
}

/* Row k of q drawn until it is independent of the others: at the first try, but for numbers
 * that never come. */
static void draw_row(double *q, int64_t k, int64_t n, int64_t rows, TensorRngKey key) {
    uint64_t first = (uint64_t)(k * n);
    do {
        for (int64_t j = 0; j < n; j++)
            q[k * n + j] = tensor_rng_normal(key, first + (uint64_t)j);
        first += (uint64_t)(rows * n);
    } while (!orthonormalize(q, k, n));
}

static bool fill_orthogonal(double gain, const Tensor *x, TensorRngKey key) {
    int64_t numel = tensor_numel(x);
    if (numel == 0) return true;
    int64_t rows = x->shape[0], columns = numel / rows;
    bool tall = rows > columns; /* then q holds the columns */
    int64_t m = tall ? columns : rows, n = tall ? rows : columns;
    double *q = malloc((size_t)numel * sizeof *q);
    if (!q) return false;
    for (int64_t k = 0; k < m; k++) draw_row(q, k, n, m, key);
    for (int64_t k = 0; k < m; k++)
        for (int64_t j = 0; j < n; j++)
            tensor_set(x, tall ? j * columns + k : k * columns + j, gain * q[k * n + j]);
    free(q);
    return true;
}

/* ---- all ---- */

bool nn_init_fill(NnInit init, const Tensor *x, TensorRngKey key) {
    if (nn_init_invalid(init, x)) return false;
    if (tensor_numel(x) == 0) return true;
    double r;
    switch (init.kind) {
    case NN_INIT_CONSTANT: tensor_fill(x, init.a); return true;
    case NN_INIT_UNIFORM: tensor_rng_fill_uniform(x, key, init.a, init.b); return true;
    case NN_INIT_NORMAL: tensor_rng_fill_normal(x, key, init.a, init.b); return true;
    case NN_INIT_XAVIER_UNIFORM:
        r = fabs(init.a) * sqrt(6 / fan_sum(x));
        tensor_rng_fill_uniform(x, key, -r, r);
        return true;
    case NN_INIT_XAVIER_NORMAL:
        tensor_rng_fill_normal(x, key, 0, fabs(init.a) * sqrt(2 / fan_sum(x)));
        return true;
    case NN_INIT_ORTHOGONAL: return fill_orthogonal(init.a, x, key);
    }
    assert(!"nn_init_invalid knows every kind");
    return false;
}
