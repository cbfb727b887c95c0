/* kernels.h -- arithmetic on tensors: the loops under every op.
 *
 * The result comes first, as in memcpy.  It has its final shape and its own
 * memory; inputs may be any strided view that broadcasts to it, and may be the
 * result itself where their strides are the same.  Shapes and dtypes are the
 * caller's duty and are asserted.  Every function works on empty tensors.
 *
 * One source (kernels.inc) serves F32 and F64 and every instruction set of isa.h.
 * Vector mathematics is SLEEF's, 1.0 ULP (1.5 for erfc); ends of rows go through the same
 * vector function on a padded buffer, so an element's bits do not depend on
 * where it stands or on strides.
 *
 * Sums are taken in double for both float types, in an order that depends on
 * shape and strides only.
 * Reference for the vector mathematics: N. Shibata and F. Petrogalli, SLEEF: A
 * Portable Vectorized Library of C Standard Mathematical Functions, IEEE TPDS
 * 31(6), 2020. */
#ifndef TENSOR_KERNELS_H
#define TENSOR_KERNELS_H
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = f(x), F32 or F64 */
typedef enum {
    TENSOR_NEG,
    TENSOR_EXP,
    TENSOR_EXPM1, /* exp(x) - 1, accurate near 0 */
    TENSOR_LOG,
    TENSOR_LOG1P, /* log(1 + x), accurate near 0 */
    TENSOR_SQRT,
    TENSOR_RSQRT, /* 1 / sqrt(x), at most 1.0 ULP */
    TENSOR_SQUARE,
    TENSOR_RECIPROCAL,
    TENSOR_SIN,
    TENSOR_COS,
    TENSOR_TANH,
    TENSOR_SIGMOID, /* 1 / (1 + exp(-x)), without overflow for any x */
    TENSOR_ERF,
    TENSOR_RELU, /* max(x, 0); NaN stays NaN */
    TENSOR_ABS,
    TENSOR_SIGN, /* -1, 0 or 1; NaN stays NaN */
    TENSOR_UNARY_COUNT
} TensorUnary;

/* y = f(a, b), F32 or F64 */
typedef enum {
    TENSOR_ADD,
    TENSOR_SUB,
    TENSOR_MUL,
    TENSOR_DIV,
    TENSOR_POW,       /* libm's special cases */
    TENSOR_LOGADDEXP, /* log(exp(a) + exp(b)), without overflow */
    TENSOR_MAXIMUM,   /* NaN if either is NaN */
    TENSOR_MINIMUM,   /* likewise */
    TENSOR_BINARY_COUNT
} TensorBinary;

/* y = a ? b, y U8, a and b of one dtype, any of the four; IEEE rules for NaN */
typedef enum {
    TENSOR_EQ,
    TENSOR_NE,
    TENSOR_LT,
    TENSOR_LE,
    TENSOR_GT,
    TENSOR_GE,
    TENSOR_COMPARE_COUNT
} TensorCompare;

/* y = a ? b, all U8; any value but 0 counts as true, results are 0 or 1 */
typedef enum { TENSOR_AND, TENSOR_OR, TENSOR_XOR, TENSOR_LOGICAL_COUNT } TensorLogical;

void tensor_unary(TensorUnary f, const Tensor *y, const Tensor *x);
void tensor_binary(TensorBinary f, const Tensor *y, const Tensor *a, const Tensor *b);
void tensor_compare(TensorCompare f, const Tensor *y, const Tensor *a, const Tensor *b);
void tensor_logical(TensorLogical f, const Tensor *y, const Tensor *a, const Tensor *b);
void tensor_logical_not(const Tensor *y, const Tensor *x);

/* y = scale x + shift, F32 or F64; scale and shift are rounded to the dtype first,
 * and the product before the sum */
void tensor_affine(const Tensor *y, const Tensor *x, double scale, double shift);

/* y = f(x) with parameters a and b, F32 or F64; NaN stays NaN.  The slope at a bend is the
 * one in brackets. */
typedef enum {
    TENSOR_LEAKY_RELU, /* x > 0 ? x : a x  [a] */
    TENSOR_CLAMP,      /* min(max(x, a), b)  [1] */
    TENSOR_ELU,        /* x > 0 ? x : a expm1(x)  [a] */
    TENSOR_SOFTPLUS,   /* a x > b ? x : log(1 + exp(a x)) / a, without overflow */
    TENSOR_SWISH,      /* x / (1 + exp(-a x - b x^3)); a > 0, b >= 0, a of the order of 1 */
    TENSOR_GELU,       /* x (1 + erf(x / sqrt 2)) / 2 */
    TENSOR_ACTIVATION_COUNT
} TensorActivation;
void tensor_activation(TensorActivation f, const Tensor *y, const Tensor *x, double a, double b);
/* dx = g f'(x), of clamp 0 outside whatever g is */
void tensor_activation_backward(TensorActivation f, const Tensor *dx, const Tensor *g,
                                const Tensor *x, double a, double b);

/* y += x, F32 or F64.  y must not overlap itself. */
void tensor_accumulate(const Tensor *y, const Tensor *x);

/* y = x with conversion: between the float types rounded to nearest; from I64 and
 * U8 to any; from a float to I64 towards zero (NaN gives 0, beyond the range the
 * nearest bound); to U8: 1 where x is not 0.  Equal dtypes: a plain copy. */
void tensor_convert(const Tensor *y, const Tensor *x);

/* y = value, rounded to the dtype as by tensor_convert */
void tensor_fill(const Tensor *y, double value);

/* y = mask ? a : b; mask U8, y, a and b of one dtype, any of the four */
void tensor_where(const Tensor *y, const Tensor *mask, const Tensor *a, const Tensor *b);

/* ---- over axes ----
 * y has x's ndim; where x's size is n and y's is 1, x is reduced. */
void tensor_sum(const Tensor *y, const Tensor *x);            /* an empty sum is 0 */
void tensor_mean(const Tensor *y, const Tensor *x);           /* of nothing: NaN */
void tensor_accumulate_sum(const Tensor *y, const Tensor *x); /* y += the sum */
void tensor_prod(const Tensor *y, const Tensor *x);           /* an empty product is 1 */
/* The largest, the smallest; NaN if one is; of nothing -infinity, infinity. */
void tensor_amax(const Tensor *y, const Tensor *x);
void tensor_amin(const Tensor *y, const Tensor *x);
/* sum (x - mean)^2 / max(n - correction, 0), and its square root: in two passes, the deviations
 * and their sum in double */
void tensor_var(const Tensor *y, const Tensor *x, int64_t correction);
void tensor_std(const Tensor *y, const Tensor *x, int64_t correction);
/* (sum |x|^p)^(1/p), scaled so that no power overflows; p infinity: largest |x|, -infinity:
 * smallest, 0: how many are not 0; of nothing: 0 */
void tensor_norm(const Tensor *y, const Tensor *x, double p);

/* In what follows a scalar counts as a vector of one element: its axis is 0 or -1. */

/* Index of the largest element along axis (the first among equals; NaN counts as
 * largest); y I64 with size 1 at axis, x's size there is at least 1. */
void tensor_argmax(const Tensor *y, const Tensor *x, int axis);

/* Along axis, F32 or F64, y of x's shape (logsumexp: size 1 at axis).
 *   softmax      y_i = exp(x_i - m) / sum_j exp(x_j - m),  m = max x
 *   log_softmax  y_i = x_i - m - log sum_j exp(x_j - m)
 *   logsumexp    y   = m + log sum_j exp(x_j - m)
 * logsumexp of nothing, or of -infinity only, is -infinity; of +infinity, +infinity.
 * The sum of the exponentials is taken in double. */
void tensor_softmax(const Tensor *y, const Tensor *x, int axis);
void tensor_log_softmax(const Tensor *y, const Tensor *x, int axis);
void tensor_logsumexp(const Tensor *y, const Tensor *x, int axis);

/* y[t] = x[0] + .. + x[t] along axis (reverse: x[t] + .. + x[n-1]), F32 or F64, the sums taken
 * in double, one after the other; y of x's shape. */
void tensor_cumsum(const Tensor *y, const Tensor *x, int axis, bool reverse);

/* The k largest (smallest) elements of each line along axis, the largest (smallest) first, and
 * their indices, I64; the first of equals first, NaN counts as largest.  values and indices
 * have size k at axis, 0 <= k <= n.  scratch holds k entries, given back before the return.
 * Fails (false): out of memory. */
bool tensor_topk(const Tensor *values, const Tensor *indices, const Tensor *x, int axis,
                 bool largest, TensorArena *scratch);

/* Of the matrices of x's last two axes, what lies on and below (upper: above) the diagonal
 * column - row = diagonal; 0 elsewhere.  Any dtype; y contiguous. */
void tensor_triangle(const Tensor *y, const Tensor *x, int64_t diagonal, bool upper);

/* ---- by index; index I64, any strides, every entry in 0..n-1 (asserted) ---- */

/* y[.., i, ..] = x[.., index[i], ..] along axis; index 1-d; any dtype */
void tensor_index_select(const Tensor *y, const Tensor *x, int axis, const Tensor *index);
/* y[.., index[i], ..] += g[.., i, ..] along axis, F32 or F64, in the order of i */
void tensor_index_add(const Tensor *y, int axis, const Tensor *index, const Tensor *g);
/* y[p] = x[p with index[p] at axis]; index has y's shape; any dtype */
void tensor_gather(const Tensor *y, const Tensor *x, int axis, const Tensor *index);
/* y[p with index[p] at axis] += g[p], F32 or F64, in row-major order of p */
void tensor_scatter_add(const Tensor *y, int axis, const Tensor *index, const Tensor *g);

/* The first entry of index (row-major) outside 0..n-1, or `skip` where allowed:
 * its position, or -1 if there is none. */
int64_t tensor_index_invalid(const Tensor *index, int64_t n, const int64_t *skip);

/* ---- layer normalisation ---- */

/* Rows of x [rows, n]: y = (x - mean) rstd weight + bias, rstd = 1 / sqrt(var + eps), mean and
 * biased var of the row, both taken in double, in two passes.  stats [rows, 2], F64, receives
 * mean and rstd for the backward pass.  weight and bias [n], or NULL.  All contiguous. */
void tensor_layer_norm(const Tensor *y, const Tensor *stats, const Tensor *x,
                       const Tensor *weight, const Tensor *bias, double eps);
/* With z = (x - mean) rstd and h = g weight:
 *   dx = rstd (h - mean of h - z mean of h z),  dweight = sum g z,  dbias = sum g over rows.
 * dweight and dbias are F64 [n]; each of the three may be NULL. */
void tensor_layer_norm_backward(const Tensor *dx, const Tensor *dweight, const Tensor *dbias,
                                const Tensor *g, const Tensor *x, const Tensor *stats,
                                const Tensor *weight);

/* ---- gates of recurrent layers ---- */

/* Each takes matrices [rows, n] and leaves matrices, in one pass; s is the logistic function.
 * tanh is within 3.5 ULP here, where the rest of the library has 1.0. */
typedef enum {
    TENSOR_LSTM_CELL,             /* a_i, a_f, a_g, c -> i = s(a_i), f = s(a_f), g = tanh(a_g),
                                     c' = f c + i g */
    TENSOR_LSTM_COUPLED,          /* a_i, a_g, c -> i, g, c' = (1 - i) c + i g */
    TENSOR_LSTM_OUTPUT,           /* a_o, c -> o = s(a_o), t = tanh(c), h = o t */
    TENSOR_LSTM_STEP,             /* a_i, a_f, a_g, a_o, biases b_i, b_f, b_g, b_o, c -> of the
                                     sums a + b: i, f, g, o, c', t = tanh(c'), h = o t */
    TENSOR_LSTM_OUTPUT_BACKWARD,  /* o, t, dh -> da_o, dc */
    TENSOR_LSTM_CELL_BACKWARD,    /* i, f, g, c, dc' -> da_i, da_f, da_g, dc */
    TENSOR_LSTM_COUPLED_BACKWARD, /* i, g, c, dc' -> da_i, da_g, dc */
    TENSOR_LSTM_STEP_BACKWARD,    /* i, f, g, o, t, c, dh, dc' -> da_i, da_f, da_g, da_o, dc */
    TENSOR_GRU,                   /* x_r, x_z, x_n, y_r, y_z, y_n, biases b_r, b_z of the sums,
                                     b_x, b_y, h -> r = s(x_r + y_r + b_r),
                                     z = s(x_z + y_z + b_z), n = tanh(x_n + b_x + r q),
                                     q = y_n + b_y, h' = (1 - z) n + z h */
    TENSOR_GRU_BACKWARD,          /* r, z, n, q, h, dh' -> dx_r, dx_z, dx_n, dy_r = dx_r,
                                     dy_z = dx_z, dy_n, and of h its direct part z dh' */
    TENSOR_RNN_TANH,              /* x, y -> h = tanh(x + y) */
    TENSOR_RNN_TANH_BACKWARD,     /* h, dh -> dx; dy = dx */
    TENSOR_RNN_RELU,              /* x, y -> h = max(x + y, 0), NaN stays */
    TENSOR_RNN_RELU_BACKWARD,     /* h, dh -> dx; dy = dx */
    TENSOR_MULTIPLY_ADD,          /* a, b, c -> c + a b */
    TENSOR_MIX,                   /* k, a, b -> (1 - k) a + k b */
    TENSOR_MIX_BACKWARD,          /* k, g -> (1 - k) g, k g */
    TENSOR_GATES_COUNT
} TensorGates;
/* operands [rows, n] of one float dtype, inputs first: elements of a row lie side by side, rows
 * any stride apart (0: one row for all).  A result may be one of the inputs. */
void tensor_gates(TensorGates f, int n_operands, const Tensor *operands);

/* ---- over time ---- */

/* h_t = a_t h_{t-1} + b_t over axis 0 of y [T, ..], the product rounded before the sum; a and b
 * broadcast to y, h0, the state before the first step, to y without axis 0; NULL: zeros.
 * reverse: from the last step to the first. */
void tensor_linear_scan(const Tensor *y, const Tensor *a, const Tensor *b, const Tensor *h0,
                        bool reverse);

/* Each column of x [T, B, n] with weights of its own, w [width, n]:
 *   y_t = start + sum over k of w_k x_{t - s(k)},   s(k) = (width - 1 - k) dilation,
 * x before the first step being 0; ahead: x_{t + s(k)}, and x after the last step is 0.  start is
 * y with accumulate, else bias [n]; NULL: 0. */
typedef struct {
    int64_t dilation;
    bool ahead, accumulate;
} TensorDepthwise;
void tensor_depthwise(const Tensor *y, const Tensor *x, const Tensor *w, const Tensor *bias,
                      const TensorDepthwise *options);
/* dw_k = sum over t and b of g_t x_{t - s(k)}, F64 [width, n], contiguous, taken in double; x and
 * g [T, B, n]. */
void tensor_depthwise_weight(const Tensor *dw, const Tensor *x, const Tensor *g,
                             int64_t dilation);

/* ---- losses ---- */

/* Rows of logits x [rows, V], target I64 [rows]; loss [rows] = logsumexp(x_n) - sum_v q_n[v]
 * x_n[v], 0 where target_n is ignore, with q_n[v] = (1 - smoothing) [v = target_n] + smoothing / V.
 * For the backward pass lse [rows, 2], F64, receives m = max x_n and log sum_v exp(x_n[v] - m):
 * apart, because their sum would lose the second. */
void tensor_cross_entropy(const Tensor *loss, const Tensor *lse, const Tensor *x,
                          const Tensor *target, int64_t ignore, double smoothing);
/* dx[n, v] = scale[n] (exp(x[n, v] - lse[n, 0] - lse[n, 1]) - q_n[v]), 0 where target_n is
 * ignore.  scale [rows] may have a stride of 0. */
void tensor_cross_entropy_backward(const Tensor *dx, const Tensor *x, const Tensor *lse,
                                   const Tensor *target, int64_t ignore, double smoothing,
                                   const Tensor *scale);
/* Both at once, of the logits x + bias (bias [V]; NULL: x), which take their own gradients' place:
 * x[n, v] becomes dloss[n] / dx[n, v] as above for a scale of 1, or with gradient false something
 * undefined.  x and bias contiguous.  Rows are shared among threads. */
void tensor_cross_entropy_in_place(const Tensor *loss, const Tensor *x, const Tensor *bias,
                                   const Tensor *target, int64_t ignore, double smoothing,
                                   bool gradient);

#ifdef __cplusplus
}
#endif
#endif
