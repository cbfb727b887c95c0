#include "examples/gradcheck/wrong_kernels.h"

#include <math.h>
#include <string.h>

enum { T = 5, B = 2, I = 3, H = 4, V = 6 };

/* What a kernel works on: inputs x, w and index, results y and z, and their gradients. */
typedef struct {
    double *x, *w;
    const int64_t *index;
    double *y, *z;
    const double *dy, *dz;
    double *dx, *dw;
} Arrays;

typedef struct {
    void (*forward)(const Arrays *a), (*backward)(const Arrays *a);
    GradArg in[3], out[2];
} Kernel;

/* Memory may be the checker's: the pointers are read at every call. */
static Arrays arrays_of(const Kernel *k) {
    return (Arrays){k->in[0].value, k->in[1].value, k->in[2].value, k->out[0].value,
                    k->out[1].value, k->out[0].grad, k->out[1].grad, k->in[0].grad, k->in[1].grad};
}

static bool forward(void *context) {
    const Kernel *k = context;
    Arrays a = arrays_of(k);
    k->forward(&a);
    return true;
}

static bool backward(void *context) {
    const Kernel *k = context;
    Arrays a = arrays_of(k);
    k->backward(&a);
    return true;
}

/* Inputs without a value get one.  An index uses two rows twice, and one never. */
static bool check(Kernel *k, GradcheckResult *result) {
    double x[T * H] = {.31, -.74, 1.12, .43, -.25, .96, -1.31, .58, .17, -.62,
                       .85, -.41, .07, 1.43, -.93, .66, -.11, .52, -1.05, .28};
    double w[T * H] = {.55, .82, -1.21, .14, -.63, .72, .35, -.97, 1.44, .23,
                       -.15, .65, .91, -.37, .48, -.79, 1.02, -.56, .19, -.84};
    int64_t index[T] = {1, 4, 1, 0, 4};
    if (!k->in[0].value) k->in[0].value = x;
    if (!k->in[1].value) k->in[1].value = w;
    if (!k->in[2].value) k->in[2].value = index;
    int n_in = 1 + (k->in[1].name != NULL) + (k->in[2].name != NULL);
    return gradcheck_plain(forward, backward, k, n_in, k->in, 1 + (k->out[1].name != NULL), k->out,
                           NULL, result);
}

/* ---- the gradient of one input, as a whole ---- */

static void cosine(const Arrays *a) {
    for (int i = 0; i < V; i++) a->y[i] = cos(a->x[i]);
}
static void cosine_backward(const Arrays *a) {
    for (int i = 0; i < V; i++) a->dx[i] = sin(a->x[i]) * a->dy[i];
}

bool wrong_sign(GradcheckResult *result) {
    Kernel k = {cosine, cosine_backward, {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

static void mean(const Arrays *a) {
    memset(a->y, 0, H * sizeof *a->y);
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++) a->y[h] += a->x[t * H + h] / T;
}
static void mean_backward(const Arrays *a) {
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++) a->dx[t * H + h] = a->dy[h];
}

bool wrong_factor(GradcheckResult *result) {
    Kernel k = {mean, mean_backward, {{.name = "x", .ndim = 2, .shape = (int64_t[]){T, H}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){H}}}};
    return check(&k, result);
}

static void scale(const Arrays *a) {
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++) a->y[t * H + h] = a->w[h] * a->x[t * H + h];
}
static void scale_backward(const Arrays *a) {
    memset(a->dw, 0, H * sizeof *a->dw);
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++) a->dx[t * H + h] = a->w[h] * a->dy[t * H + h];
}

bool wrong_missing(GradcheckResult *result) {
    Kernel k = {scale, scale_backward, {{.name = "x", .ndim = 2, .shape = (int64_t[]){T, H}},
                                        {.name = "w", .ndim = 1, .shape = (int64_t[]){H}}},
                {{.name = "y", .ndim = 2, .shape = (int64_t[]){T, H}}}};
    return check(&k, result);
}

/* y [B, H] = x [B, I] w [I, H] */
static void product(const Arrays *a) {
    memset(a->y, 0, B * H * sizeof *a->y);
    for (int b = 0; b < B; b++)
        for (int i = 0; i < I; i++)
            for (int h = 0; h < H; h++) a->y[b * H + h] += a->x[b * I + i] * a->w[i * H + h];
}
static void product_backward(const Arrays *a) {
    memset(a->dx, 0, B * I * sizeof *a->dx);
    memset(a->dw, 0, I * H * sizeof *a->dw);
    for (int b = 0; b < B; b++)
        for (int i = 0; i < I; i++)
            for (int h = 0; h < H; h++) {
                a->dx[b * I + i] += a->dy[b * H + h] * a->w[i * H + h];
                a->dw[h * I + i] += a->dy[b * H + h] * a->x[b * I + i];
            }
}

bool wrong_transposed(GradcheckResult *result) {
    Kernel k = {product, product_backward, {{.name = "x", .ndim = 2, .shape = (int64_t[]){B, I}},
                                            {.name = "w", .ndim = 2, .shape = (int64_t[]){I, H}}},
                {{.name = "y", .ndim = 2, .shape = (int64_t[]){B, H}}}};
    return check(&k, result);
}

static void times(const Arrays *a) {
    for (int i = 0; i < V; i++) a->y[i] = a->x[i] * a->w[i];
}
static void times_backward(const Arrays *a) {
    for (int i = 0; i < V; i++) {
        a->dx[i] = a->dy[i] * a->x[i];
        a->dw[i] = a->dy[i] * a->w[i];
    }
}

bool wrong_other_input(GradcheckResult *result) {
    Kernel k = {times, times_backward, {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}},
                                        {.name = "w", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

/* y[t] = tanh(x[t-1]), y[0] = 0 */
static void delay(const Arrays *a) {
    a->y[0] = 0;
    for (int t = 1; t < V; t++) a->y[t] = tanh(a->x[t - 1]);
}
static void delay_backward(const Arrays *a) {
    a->dx[0] = 0;
    for (int t = 1; t < V; t++) a->dx[t] = (1 - a->y[t] * a->y[t]) * a->dy[t];
}

bool wrong_shifted(GradcheckResult *result) {
    Kernel k = {delay, delay_backward, {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

/* x [T, 2B] holds u and v; y [T, B] = u v^2 */
static void gate(const Arrays *a) {
    for (int t = 0; t < T; t++)
        for (int b = 0; b < B; b++) {
            double u = a->x[t * 2 * B + b], v = a->x[t * 2 * B + B + b];
            a->y[t * B + b] = u * v * v;
        }
}
static void gate_backward(const Arrays *a) {
    for (int t = 0; t < T; t++)
        for (int b = 0; b < B; b++) {
            double u = a->x[t * 2 * B + b], v = a->x[t * 2 * B + B + b], g = a->dy[t * B + b];
            a->dx[t * 2 * B + b] = g * 2 * u * v;
            a->dx[t * 2 * B + B + b] = g * v * v;
        }
}

bool wrong_permuted(GradcheckResult *result) {
    Kernel k = {gate, gate_backward, {{.name = "x", .ndim = 2, .shape = (int64_t[]){T, 2 * B}}},
                {{.name = "y", .ndim = 2, .shape = (int64_t[]){T, B}}}};
    return check(&k, result);
}

/* Rows of x [V, I] by index [T]. */
static void embedding(const Arrays *a) {
    for (int t = 0; t < T; t++)
        for (int i = 0; i < I; i++) a->y[t * I + i] = a->x[a->index[t] * I + i];
}
static void embedding_backward(const Arrays *a) {
    memset(a->dx, 0, V * I * sizeof *a->dx);
    for (int t = 0; t < T; t++)
        for (int i = 0; i < I; i++) a->dx[a->index[t] * I + i] = a->dy[t * I + i];
}

bool wrong_repeated_index(GradcheckResult *result) {
    Kernel k = {embedding, embedding_backward,
                {{.name = "weight", .ndim = 2, .shape = (int64_t[]){V, I}},
                 {.name = "unused", .flags = GRADCHECK_CONSTANT},
                 {.name = "index", .dtype = GRADCHECK_I64, .ndim = 1, .shape = (int64_t[]){T}}},
                {{.name = "y", .ndim = 2, .shape = (int64_t[]){T, I}}}};
    return check(&k, result);
}

/* y[0] = x[0], y[t] = (y[t-1] + x[t]) / 2 */
static void average(const Arrays *a) {
    a->y[0] = a->x[0];
    for (int t = 1; t < T; t++) a->y[t] = (a->y[t - 1] + a->x[t]) / 2;
}
static void average_backward(const Arrays *a) {
    double carry = 0;
    for (int t = T - 1; t >= 0; t--) {
        carry += a->dy[t];
        a->dx[t] = carry /= 2;
    }
}

bool wrong_slice(GradcheckResult *result) {
    Kernel k = {average, average_backward, {{.name = "x", .ndim = 1, .shape = (int64_t[]){T}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){T}}}};
    return check(&k, result);
}

/* ---- how it depends on the cotangent ---- */

static void bias(const Arrays *a) {
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++) a->y[t * H + h] = a->x[t * H + h] + a->w[h];
}
static void bias_backward(const Arrays *a) {
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++) {
            a->dx[t * H + h] = a->dy[t * H + h];
            a->dw[h] = a->dy[t * H + h];
        }
}

bool wrong_partial_sum(GradcheckResult *result) {
    Kernel k = {bias, bias_backward, {{.name = "x", .ndim = 2, .shape = (int64_t[]){T, H}},
                                      {.name = "w", .ndim = 1, .shape = (int64_t[]){H}}},
                {{.name = "y", .ndim = 2, .shape = (int64_t[]){T, H}}}};
    return check(&k, result);
}

static void two_results(const Arrays *a) {
    for (int i = 0; i < V; i++) {
        a->y[i] = tanh(a->x[i]);
        a->z[i] = a->x[i] * a->x[i];
    }
}
static void one_result_backward(const Arrays *a) {
    for (int i = 0; i < V; i++) a->dx[i] = (1 - a->y[i] * a->y[i]) * a->dy[i];
}

bool wrong_result_ignored(GradcheckResult *result) {
    Kernel k = {two_results, one_result_backward,
                {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}},
                 {.name = "z", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

static void swapped_backward(const Arrays *a) {
    for (int i = 0; i < V; i++)
        a->dx[i] = (1 - a->y[i] * a->y[i]) * a->dz[i] + 2 * a->x[i] * a->dy[i];
}

bool wrong_results_swapped(GradcheckResult *result) {
    Kernel k = {two_results, swapped_backward, {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}},
                 {.name = "z", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

/* y [] = sum (x - w)^2 / 2 */
static void loss(const Arrays *a) {
    a->y[0] = 0;
    for (int i = 0; i < V; i++) a->y[0] += (a->x[i] - a->w[i]) * (a->x[i] - a->w[i]) / 2;
}
static void loss_backward(const Arrays *a) {
    for (int i = 0; i < V; i++) a->dx[i] = a->x[i] - a->w[i];
}

bool wrong_not_linear(GradcheckResult *result) {
    Kernel k = {loss, loss_backward,
                {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}},
                 {.name = "target", .ndim = 1, .shape = (int64_t[]){V},
                  .flags = GRADCHECK_CONSTANT}},
                {{.name = "y"}}};
    return check(&k, result);
}

/* ---- what the kernel does with memory ---- */

static void dropout(const Arrays *a) {
    static uint64_t state = 1;
    for (int i = 0; i < V; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        a->y[i] = state >> 63 ? 2 * a->x[i] : 0;
    }
}
static void dropout_backward(const Arrays *a) {
    for (int i = 0; i < V; i++) a->dx[i] = a->y[i] != 0 ? 2 * a->dy[i] : 0;
}

bool wrong_nondeterministic(GradcheckResult *result) {
    Kernel k = {dropout, dropout_backward, {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

static void relu_in_place(const Arrays *a) {
    for (int i = 0; i < V; i++) a->y[i] = a->x[i] = fmax(a->x[i], 0);
}
static void relu_backward(const Arrays *a) {
    for (int i = 0; i < V; i++) a->dx[i] = a->x[i] > 0 ? a->dy[i] : 0;
}

bool wrong_input_changed(GradcheckResult *result) {
    Kernel k = {relu_in_place, relu_backward, {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

static void square(const Arrays *a) {
    for (int i = 0; i < V; i++) a->y[i] = a->x[i] * a->x[i];
}
static void square_set(const Arrays *a) {
    for (int i = 0; i < V; i++) a->dx[i] = 2 * a->x[i] * a->dy[i];
}
static void square_add(const Arrays *a) {
    for (int i = 0; i < V; i++) a->dx[i] += 2 * a->x[i] * a->dy[i];
}

bool wrong_overwrites(GradcheckResult *result) {
    Kernel k = {square, square_set,
                {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}, .flags = GRADCHECK_ACCUMULATES}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

bool wrong_accumulated(GradcheckResult *result) {
    Kernel k = {square, square_add, {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

static void square_but_last(const Arrays *a) {
    for (int i = 0; i < V - 1; i++) a->dx[i] = 2 * a->x[i] * a->dy[i];
}

bool wrong_unwritten(GradcheckResult *result) {
    Kernel k = {square, square_but_last, {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

/* y[t] = x[t+1] - x[t] for t < V - 1 */
static void difference(const Arrays *a) {
    for (int t = 0; t < V - 1; t++) a->y[t] = a->x[t + 1] - a->x[t];
}
static void difference_backward(const Arrays *a) {
    memset(a->dx, 0, V * sizeof *a->dx);
    for (int t = 0; t < V; t++) {
        a->dx[t] -= a->dy[t];
        a->dx[t + 1] += a->dy[t];
    }
}

bool wrong_out_of_bounds(GradcheckResult *result) {
    Kernel k = {difference, difference_backward,
                {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V - 1}}}};
    return check(&k, result);
}

/* ---- what the function is like ---- */

static void count_positive(const Arrays *a) {
    int64_t *y = (int64_t *)(void *)a->y;
    for (int i = 0; i < V; i++) *y += a->x[i] > 0;
}
static void no_gradient(const Arrays *a) { memset(a->dx, 0, V * sizeof *a->dx); }

bool wrong_shape(GradcheckResult *result) {
    Kernel k = {count_positive, no_gradient, {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "count", .dtype = GRADCHECK_I64}}};
    return check(&k, result);
}

static void norm(const Arrays *a) {
    double sum = 0;
    for (int i = 0; i < V; i++) sum += a->x[i] * a->x[i];
    a->y[0] = sqrt(sum);
}
static void norm_backward(const Arrays *a) {
    for (int i = 0; i < V; i++) a->dx[i] = a->dy[0] * a->x[i] / a->y[0];
}

bool wrong_nonfinite(GradcheckResult *result) {
    Kernel k = {norm, norm_backward,
                {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}, .value = (double[V]){0}}},
                {{.name = "y"}}};
    return check(&k, result);
}

static void relu(const Arrays *a) {
    for (int i = 0; i < V; i++) a->y[i] = fmax(a->x[i], 0);
}

bool wrong_kink(GradcheckResult *result) {
    Kernel k = {relu, relu_backward,
                {{.name = "x", .ndim = 1, .shape = (int64_t[]){V},
                  .value = (double[V]){.5, -1, 0, 2, -.25, 1.5}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

/* In float32: y has 7 digits, and x moves the last of them. */
static void far_off(const Arrays *a) {
    const float *x = (const void *)a->x;
    float *y = (void *)a->y;
    for (int i = 0; i < V; i++) y[i] = 1000 + 0.0001f * x[i];
}
static void far_off_backward(const Arrays *a) {
    const float *dy = (const void *)a->dy;
    float *dx = (void *)a->dx;
    for (int i = 0; i < V; i++) dx[i] = 0.0001f * dy[i];
}

bool wrong_noise(GradcheckResult *result) {
    Kernel k = {far_off, far_off_backward,
                {{.name = "x", .dtype = GRADCHECK_F32, .ndim = 1, .shape = (int64_t[]){V},
                  .value = (float[V]){.5f, -1, .1f, 2, -.25f, 1.5f}}},
                {{.name = "y", .dtype = GRADCHECK_F32, .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

static void silu(const Arrays *a) {
    for (int i = 0; i < V; i++) a->y[i] = a->x[i] / (1 + exp(-a->x[i]));
}
static void silu_backward(const Arrays *a) {
    for (int i = 0; i < V; i++) {
        double s = 1 / (1 + exp(-a->x[i]));
        a->dx[i] = a->dy[i] * (s + s * (1 - s));
    }
}

bool wrong_wrong(GradcheckResult *result) {
    Kernel k = {silu, silu_backward, {{.name = "x", .ndim = 1, .shape = (int64_t[]){V}}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}

bool wrong_error(GradcheckResult *result) {
    Kernel k = {square, square_set, {{.name = "x", .ndim = 1}},
                {{.name = "y", .ndim = 1, .shape = (int64_t[]){V}}}};
    return check(&k, result);
}
