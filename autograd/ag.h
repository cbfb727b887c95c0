/* ag.h -- reverse-mode automatic differentiation on a tape.
 *
 * A tape records every operation as it is called.  ag_backward walks the record
 * from a loss back to the parameters and adds up their gradients; ag_grad gives
 * the gradient with respect to any variables, itself differentiable on request.
 *
 *     AgVar y = ag_sum(ag_tanh(ag_matmul(x, w)), AG_ALL_AXES, false);
 *     if (!ag_backward(y)) return report(ag_tape_error(t));
 *
 * The tape owns every intermediate: nobody frees one.  ag_tape_reset forgets
 * them all and keeps their memory for the next step.
 *
 * Errors.  What a caller can get wrong (a shape, a dtype, an axis, an index, a
 * stale handle, out of memory) records the first error on the tape and gives the
 * failed variable, on which every later operation is inert.  An expression needs
 * no checks inside; one check at its end is enough.
 *
 * Shapes stand in brackets; `..` is any number of axes.  An axis may be negative:
 * -1 is the last one.  "Gradient" says what is added to dL/dx, with g = dL/dy.
 * Reference for the method: A. Griewank and A. Walther, Evaluating Derivatives,
 * SIAM, 2nd edition 2008, chapters 3 and 4. */
#ifndef AUTOGRAD_AG_H
#define AUTOGRAD_AG_H
#include "autograd/rows.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define AG_PRINTF(at, first) __attribute__((format(printf, at, first)))
#else
#define AG_PRINTF(at, first)
#endif

typedef struct AgTape AgTape;

/* A handle to one value on one tape.  Copy it freely; it owns nothing and ends
 * with the next reset of its tape (or release of a mark set before it): use after
 * that is the error `stale variable`. */
typedef struct {
    AgTape *tape;
    uint32_t id, epoch;
} AgVar;

/* ---- tape ---------------------------------------------------------------- */

AgTape *ag_tape_new(void); /* NULL when out of memory */
void ag_tape_free(AgTape *t);

/* Forgets all variables and the error.  Memory, modes, seed and attachments stay; the count of
 * random draws starts again.  Fails (the tape's error): inside a gradient rule, a hook or a
 * checkpoint. */
void ag_tape_reset(AgTape *t);

bool ag_tape_ok(const AgTape *t);
/* The first error since the last reset, one line:
 *     lm/lstm/l0 step 12: matmul(f32[3,4], f32[3,4]): inner sizes differ (4 and 3)
 * and "" when there is none. */
const char *ag_tape_error(const AgTape *t);
/* The same, with the calls that led there, one a line, where the system can tell; their names
 * need a program linked with -rdynamic, else there are addresses for addr2line. */
const char *ag_tape_error_where(AgTape *t);
/* Stop in abort() at the first error, for a debugger.  Off by default. */
void ag_tape_abort_on_error(AgTape *t, bool on);
/* Records an error of the caller's own, as an op would, after the scope.  Returns
 * the failed variable. */
AgVar ag_fail(AgTape *t, const char *format, ...) AG_PRINTF(2, 3);

/* Modes; each setter returns the previous setting, so that it can be put back.
 * Training (off by default) switches dropout on.  Without gradients, values are
 * computed but not recorded: they are constants for every later gradient. */
bool ag_tape_training(AgTape *t, bool on);
bool ag_tape_is_training(const AgTape *t);
bool ag_tape_no_grad(AgTape *t, bool on);
bool ag_tape_is_no_grad(const AgTape *t);

/* Bounds memory inside a long loop without gradients:
 *     AgTapeMark m = ag_tape_mark(t);
 *     for (...) { h = step(h); ag_tape_release(t, m, 1, &h); }
 * Release forgets everything made since the mark, except keep[0..n-1], which become
 * constants and whose handles are updated.  The mark stays valid; the next release to it
 * forgets what this one kept, unless it keeps it too.  Scopes opened since are closed, and
 * watches, names, hooks and kept gradients since are gone.
 * Fails (false, and the tape's error): the mark is of another tape, older than a reset, was
 * forgotten itself by the release of an earlier one, or was set before the gradient rule, the
 * hook or the checkpoint that runs. */
typedef struct {
    AgTape *tape;
    TensorArenaMark memory;
    uint32_t nodes, scopes, hooks, epoch;
} AgTapeMark;
AgTapeMark ag_tape_mark(AgTape *t);
bool ag_tape_release(AgTape *t, AgTapeMark mark, int n, AgVar *keep);

/* Random ops draw from the counter-based generator of tensor/rng.h under the key
 * (seed, step, draw): draw counts the random ops since the reset, so one step can be
 * repeated exactly, and two steps differ. */
void ag_tape_rng(AgTape *t, uint64_t seed, uint64_t step);
/* This tape computes rows first.. of a batch of `total` rows: its random ops draw
 * what one tape with the whole batch would draw for them.  (0, 0): the whole batch. */
void ag_tape_rows(AgTape *t, int64_t first, int64_t total);

/* Most bytes the tape may take from the system (0: no limit); more is the error
 * `out of memory`. */
void ag_tape_set_memory_limit(AgTape *t, size_t bytes);
/* Memory that ends with the tape's next reset (or release of a mark set before), aligned for
 * every type, contents undefined: for layers that need lists.  Fails (NULL, and the tape's
 * error): out of memory. */
void *ag_tape_alloc(AgTape *t, size_t bytes);
size_t ag_tape_bytes(const AgTape *t);    /* in use by values and gradients */
size_t ag_tape_reserved(const AgTape *t); /* taken from the system */
int64_t ag_tape_count(const AgTape *t);   /* variables since the reset */

/* Checks at backward that the memory of borrowed inputs still holds what it held:
 * the error `input changed since forward`.  On by default in debug builds
 * (UNROLL_DEBUG), because it reads all of it twice. */
void ag_tape_check_borrowed(AgTape *t, bool on);

/* One pointer of the caller's for each key; kept over resets.  A layer library finds
 * its own data by it.  NULL data removes.  Fails (false): out of memory. */
bool ag_tape_attach(AgTape *t, const void *key, void *data);
void *ag_tape_attached(const AgTape *t, const void *key);

/* ---- scopes: where in the model an op stands ------------------------------
 * Names nest: push("lm"), push("lstm") gives lm/lstm.  step numbers the passes of
 * the innermost scope's loop; -1 is none. */
void ag_scope_push(AgTape *t, const char *name);
void ag_scope_step(AgTape *t, int64_t step);
void ag_scope_pop(AgTape *t);

/* ---- leaves --------------------------------------------------------------- */

/* A value from outside; ag_input copies it, ag_borrow uses the caller's memory,
 * which must then stay as it is until the tape is reset. */
AgVar ag_input(AgTape *t, const Tensor *value);
AgVar ag_borrow(AgTape *t, const Tensor *value);
AgVar ag_scalar(AgTape *t, TensorDtype dtype, double value);

/* A parameter: memory of its own, and where ag_backward adds its gradient. */
typedef struct {
    const char *name;        /* borrowed until the reset */
    Tensor value;            /* likewise */
    Tensor grad;             /* of value's shape and dtype, or nil for a frozen one */
    const uint64_t *version; /* NULL, or a counter that changes with the value: a change
                                between forward and backward is an error */
    AgRows *rows;            /* NULL, or where ag_backward keeps which of grad's rows are used */
    uint64_t identity;       /* 0, or a number that no other value has in this process: what
                                follows from the value alone is kept until the version changes */
} AgLeaf;
/* The variable of that key: the same one throughout an epoch, however often asked for,
 * so ag_grad with respect to it is the whole gradient. */
AgVar ag_leaf(AgTape *t, const void *key, const AgLeaf *leaf);
/* From here to the reset, ag_leaf(key) is v: a model can be run as a function of its
 * parameters, which gradcheck uses. */
void ag_bind(AgTape *t, const void *key, AgVar v);
/* The variable that key has in this epoch, or the failed variable (no error). */
AgVar ag_bound(AgTape *t, const void *key);

/* The same value as a constant: no gradient flows through. */
AgVar ag_detach(AgVar x);
/* The same value and gradient under a new handle: ag_grad with respect to it is the
 * gradient through this one use. */
AgVar ag_alias(AgVar x);

/* ---- reading -------------------------------------------------------------- */

bool ag_ok(AgVar v);                   /* false for the failed variable and stale handles */
const Tensor *ag_value(AgVar v);       /* borrowed until the reset; an empty tensor if v failed */
double ag_item(AgVar v);               /* the only element; NaN if v failed or has not just one */
int64_t ag_item_i64(AgVar v);          /* likewise for I64 and U8; -1 */
int ag_ndim(AgVar v);                  /* 0 if v failed */
int64_t ag_dim(AgVar v, int axis);     /* size along axis; 0 if v failed or axis is outside */
int64_t ag_numel(AgVar v);             /* 0 if v failed */
TensorDtype ag_dtype(AgVar v);         /* TENSOR_F32 if v failed */
/* For printf and debuggers: name, dtype, shape, node, scope, mean, minimum, maximum, number
 * of NaN.  Returns buf; at most n bytes. */
const char *ag_str(AgVar v, char *buf, size_t n);
#define AG_STR_SIZE 512
bool ag_write(FILE *file, AgVar v); /* name and values; false when the stream fails */

/* ---- gradients ------------------------------------------------------------ */

/* gx[i] = d<y, seed> / dx[i], of x[i]'s shape; zeros where y does not depend on x[i].
 * seed has y's shape and dtype; a seed of {0} stands for ones.  With create_graph the
 * gradients are recorded, and can be differentiated again.
 * Fails (false; every gx[i] is the failed variable): y or x[i] not of a float dtype, the
 * wrong seed, `NAME: no second derivative` from an op that has none. */
bool ag_grad(AgVar y, AgVar seed, int n, const AgVar *x, AgVar *gx, bool create_graph);
/* The same for several results: gx[i] = sum over k of d<y[k], seed[k]> / dx[i].  seed NULL:
 * ones everywhere. */
bool ag_grad_n(int n_y, const AgVar *y, const AgVar *seed, int n, const AgVar *x, AgVar *gx,
               bool create_graph);

/* Adds dloss/dp to the gradient of every parameter p that takes part; loss has one
 * element.  Fails (false): loss has not, or no parameter takes part. */
bool ag_backward(AgVar loss);

/* Has every ag_backward from here to the reset keep the gradient of v, of a float dtype, under a
 * name; ag_watched gives that of the last one (nil before, and where none arrived).  One that a
 * hook or a gradient rule calls itself keeps none. */
void ag_watch(AgVar v, const char *name);
Tensor ag_watched(AgTape *t, const char *name);
/* The same by the variable instead of the name; nil for one that is not watched. */
Tensor ag_watched_var(AgVar v);

/* Has every sweep from here to the reset call hook with the whole gradient of v, once all of it
 * has arrived and before it goes on: to read it, to clip it, to replace it.  The hook returns the
 * gradient to go on with, of the same shape and dtype: the one it was given, or another written
 * with the ops of this header (so create_graph works).  Several hooks run in the order in which
 * they were set, each with what the last one returned; of a parameter they run before the
 * gradient is added to what it has; ag_watch and ag_grad see what they return.  A hook runs only
 * if the sweep brings v a gradient on its way to something asked for, and was set before it.  It
 * may sweep itself, up to 128 deep.
 * Ends with the reset, or the release of a mark set before.
 * Fails (the tape's error): v not of a float dtype; in the sweep, another shape or dtype. */
void ag_hook(AgVar v, AgVar (*hook)(AgVar grad, void *context), void *context);

/* ---- checkpoints: memory for time --------------------------------------------
 * out = f(in), without keeping what f computes on the way: that memory is free again when f
 * returns, and going back f runs a second time.  With a checkpoint at each of sqrt(T) stretches,
 * a sequence of T steps takes memory for about 2 sqrt(T) steps instead of T, and one more
 * forward pass.
 *
 * f sets out[0..n_out-1], and must compute the same both times: from its inputs, its context
 * (which has to live until the last sweep) and parameters it asks for itself (ag_leaf, the
 * layers).  Parameters used inside get their gradients and are what they were bound to (ag_bind)
 * in the first run, random ops draw the same numbers, and training and rows are as they were.
 * Checkpoints nest, up to 128 deep; f may call ag_grad.  Watches and names set inside end with
 * f; hooks set inside run in the second run's sweep.
 * Results are new variables: no gradient passes from one of them to another.
 * Gradient: that of f, but for last bits where parts add up in another order; with create_graph
 * it can be differentiated again (then the second run's variables stay).
 * Fails (the tape's error): f fails; f uses a variable of a float dtype that is neither among
 * `in` nor such a parameter (no gradient would reach it); a result has another shape or other
 * values in the second run; f calls ag_backward; n_out outside 1..8.  n < 1 gives variables
 * without a tape.
 * T. Chen, B. Xu, C. Zhang and C. Guestrin, Training Deep Nets with Sublinear Memory Cost,
 * arXiv:1604.06174, 2016. */
typedef void (*AgCheckpointFunction)(AgTape *t, void *context, int n, const AgVar *in, int n_out,
                                     AgVar *out);
void ag_checkpoint(AgCheckpointFunction f, void *context, int n, const AgVar *in, int n_out,
                   AgVar *out);

/* ---- elementwise ----------------------------------------------------------
 * Two operands broadcast to each other by NumPy's rule, in either order; the gradient
 * is summed back.  All fail on shapes that do not broadcast and on mixed dtypes. */
AgVar ag_add(AgVar a, AgVar b);     /* a + b.  Gradient: g; g */
AgVar ag_sub(AgVar a, AgVar b);     /* a - b.  Gradient: g; -g */
AgVar ag_mul(AgVar a, AgVar b);     /* a b.  Gradient: g b; g a */
AgVar ag_div(AgVar a, AgVar b);     /* a / b.  Gradient: g / b; -g y / b */
AgVar ag_pow(AgVar a, AgVar b);     /* a^b.  Gradient: g b a^(b-1), 0 where b = 0; g y ln a, 0 where
                                       a = 0 and b >= 0 */
/* ln(e^a + e^b), without overflow; of equal infinities that one.  Gradient: g sigmoid(a - b);
 * g sigmoid(b - a); half each of equal infinities. */
AgVar ag_logaddexp(AgVar a, AgVar b);
/* NaN if either is.  Gradient: to the larger (smaller); half each if equal; g to both at NaN. */
AgVar ag_maximum(AgVar a, AgVar b);
AgVar ag_minimum(AgVar a, AgVar b);

AgVar ag_affine(AgVar x, double scale, double shift); /* scale x + shift.  Gradient: scale g */
AgVar ag_neg(AgVar x);     /* -x.  Gradient: -g */
AgVar ag_exp(AgVar x);     /* e^x.  Gradient: g y */
AgVar ag_expm1(AgVar x);   /* e^x - 1, accurate near 0.  Gradient: g e^x */
AgVar ag_log(AgVar x);     /* ln x; -inf at 0, NaN below.  Gradient: g / x */
AgVar ag_log1p(AgVar x);   /* ln(1 + x), accurate near 0.  Gradient: g / (1 + x) */
AgVar ag_sqrt(AgVar x);    /* Gradient: g / (2 y) */
AgVar ag_rsqrt(AgVar x);   /* 1 / sqrt(x).  Gradient: -g y / (2 x) */
AgVar ag_square(AgVar x);  /* x^2.  Gradient: 2 g x */
AgVar ag_reciprocal(AgVar x); /* 1 / x.  Gradient: -g y^2 */
/* x^exponent, as ag_sqrt for 0.5.  Gradient: g exponent x^(exponent - 1), 0 for exponent 0.
 * Fails: the exponent is not finite. */
AgVar ag_pow_scalar(AgVar x, double exponent);
AgVar ag_sin(AgVar x);     /* Gradient: g cos x */
AgVar ag_cos(AgVar x);     /* Gradient: -g sin x */
AgVar ag_tanh(AgVar x);    /* Gradient: g (1 - y^2) */
AgVar ag_sigmoid(AgVar x); /* 1 / (1 + e^-x).  Gradient: g y (1 - y) */
AgVar ag_erf(AgVar x);     /* The error function.  Gradient: 2 / sqrt(pi) g e^(-x^2) */
AgVar ag_abs(AgVar x);     /* |x|.  Gradient: g sign(x) */
AgVar ag_sign(AgVar x);    /* -1, 0, 1.  Gradient: 0 */
/* min(max(x, min), max), so max where min > max; an infinity is no bound.  Gradient: g where
 * min <= x <= max, else 0.  Fails: a bound is NaN. */
AgVar ag_clamp(AgVar x, double min, double max);

/* Activations.  None overflows, nor loses its accuracy where it goes to 0. */
AgVar ag_relu(AgVar x); /* max(x, 0).  Gradient: 0 where x <= 0, else g */
/* x where x > 0, else slope x.  Gradient: g; slope g.  Fails: the slope is not finite.
 * A. Maas, A. Hannun and A. Ng, Rectifier Nonlinearities Improve Neural Network Acoustic
 * Models, ICML 2013. */
AgVar ag_leaky_relu(AgVar x, double slope);
/* x where x > 0, else alpha (e^x - 1).  Gradient: g; alpha g e^x (at 0 its own gradient is 0).
 * Fails: alpha is not finite.
 * D. Clevert, T. Unterthiner and S. Hochreiter, Fast and Accurate Deep Network Learning by
 * Exponential Linear Units, ICLR 2016. */
AgVar ag_elu(AgVar x, double alpha);
/* ln(1 + e^(beta x)) / beta, and x where beta x > threshold (PyTorch's defaults: 1, 20).
 * Gradient: g sigmoid(beta x); g.  Fails: beta is 0 or not finite, the threshold is NaN. */
AgVar ag_softplus(AgVar x, double beta, double threshold);
AgVar ag_logsigmoid(AgVar x); /* min(x, 0) - ln(1 + e^-|x|).  Gradient: g sigmoid(-x) */
/* x sigmoid(x).  Gradient: g (s + x s (1 - s)), s = sigmoid(x).
 * S. Elfwing, E. Uchibe and K. Doya, Sigmoid-weighted linear units, Neural Networks 107, 2018. */
AgVar ag_silu(AgVar x);
/* AG_GELU_ERF:  x F(x), F(x) = (1 + erf(x / sqrt 2)) / 2.  Gradient: g (F + x e^(-x^2 / 2) /
 *               sqrt(2 pi))
 * AG_GELU_TANH: x (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3).  Gradient: g ((1 +
 *               tanh u) / 2 + x (1 - tanh^2 u) u' / 2), u' = sqrt(2 / pi) (1 + 0.134145 x^2)
 * Fails: neither of the two.
 * D. Hendrycks and K. Gimpel, Gaussian Error Linear Units, arXiv 1606.08415, 2016. */
typedef enum { AG_GELU_ERF, AG_GELU_TANH } AgGelu;
AgVar ag_gelu(AgVar x, AgGelu approximate);

/* ---- products -------------------------------------------------------------
 * y = a b, as torch.matmul: a [.., m, k], b [.., k, n] -> y [.., m, n]; leading axes
 * broadcast; a 1-d a counts as [1, k], a 1-d b as [k, 1], and that axis is dropped
 * from the result.
 * Gradient: g b^T; a^T g, summed over broadcast axes.
 * Fails: inner sizes differ, leading axes do not broadcast, a scalar operand. */
AgVar ag_matmul(AgVar a, AgVar b);
/* y = x weight^T + bias in one product.  x [.., I], weight [H, I], bias [H] or {0}: none
 * -> y [.., H].
 * Gradient: g weight; g^T x and g summed over all axes but the last.
 * Fails: x is a scalar, inner sizes differ, weight or bias have another shape. */
AgVar ag_linear(AgVar x, AgVar weight, AgVar bias);

/* ---- over axes ------------------------------------------------------------ */

/* A list of axes: AG_AXES(0, 2), or all of them: AG_ALL_AXES. */
typedef struct {
    int n; /* 0: all axes */
    int axis[TENSOR_MAX_DIMS];
} AgAxes;
#ifdef __cplusplus
#define AG_AXES(...) (ag_axes_of({__VA_ARGS__}))
#define AG_ALL_AXES (AgAxes{0, {0}})
#else
#define AG_AXES(...) \
    ((AgAxes){(int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), {__VA_ARGS__}})
#define AG_ALL_AXES ((AgAxes){0, {0}})
#endif

/* x [.., n, ..] -> y [.., ..]: the axes are dropped, or stay with size 1 if keepdim.
 * All fail on an axis out of range or named twice.  Here and below, where an op says so, a
 * scalar counts as a vector of one element, as in PyTorch: axis 0 or -1 may be named. */
AgVar ag_sum(AgVar x, AgAxes axes, bool keepdim);  /* 0 of nothing.  Gradient: g repeated */
AgVar ag_mean(AgVar x, AgAxes axes, bool keepdim); /* NaN of nothing.  Gradient: g / n repeated */
/* 1 of nothing.  Gradient: g times the product of all other elements, right at zeros too. */
AgVar ag_prod(AgVar x, AgAxes axes, bool keepdim);
/* Largest, smallest; NaN if one is.  Gradient: g shared equally among the largest (smallest).
 * Fails: the maximum (minimum) of nothing. */
AgVar ag_amax(AgVar x, AgAxes axes, bool keepdim);
AgVar ag_amin(AgVar x, AgAxes axes, bool keepdim);
/* sum (x - mean)^2 / max(n - correction, 0), n elements to a result, and its square root;
 * correction 1 is the unbiased estimate, PyTorch's default, 0 the biased one.  Computed in two
 * passes, in double.  Where n <= correction: NaN if all elements are equal, else infinite.
 * Gradient: 2 g (x - mean) / (n - correction); of std that over 2 y, and, as in PyTorch, 0 where
 * y = 0.  Neither is finite where n <= correction. */
AgVar ag_var(AgVar x, AgAxes axes, int64_t correction, bool keepdim);
AgVar ag_std(AgVar x, AgAxes axes, int64_t correction, bool keepdim);
/* (sum |x|^p)^(1/p), scaled so that no power overflows; largest |x| for p = INFINITY, smallest
 * for -INFINITY, how many are not 0 for p = 0; of nothing 0 for every p.
 * Gradient: g sign(x) (|x| / y)^(p-1), 0 where x or y is 0; for infinite p g sign(x) shared among
 * the extremes; for p = 0 none.  Fails: p is NaN. */
AgVar ag_norm(AgVar x, double p, AgAxes axes, bool keepdim);
/* ln sum e^x, without overflow; -infinity of nothing.  Gradient: g e^(x - y) */
AgVar ag_logsumexp(AgVar x, AgAxes axes, bool keepdim);

/* Along one axis, which a scalar has too; empty x gives empty y. */

/* Index of the largest along axis, I64; the first among equals, NaN counts as largest.
 * No gradient.  Fails: the axis has size 0. */
AgVar ag_argmax(AgVar x, int axis, bool keepdim);
AgVar ag_softmax(AgVar x, int axis);     /* e^x / sum e^x.  Gradient: y (g - sum g y) */
AgVar ag_log_softmax(AgVar x, int axis); /* x - ln sum e^x.  Gradient: g - e^y sum g */
/* y[t] = x[0] + .. + x[t], added in double.  Gradient: g[t] + .. + g[n-1] */
AgVar ag_cumsum(AgVar x, int axis);
/* values [.., k, ..]: the k largest (or smallest) along axis, the largest (smallest) first, and
 * their indices, I64; the first among equals first, NaN counts as largest.
 * Gradient, through values: g at the indices, 0 elsewhere.
 * Fails (false, both the failed variable): k outside 0..n, or not 1 for a scalar. */
bool ag_topk(AgVar x, int64_t k, int axis, bool largest, AgVar *values, AgVar *indices);

/* y = (x - mean) / sqrt(var + eps) weight + bias, mean and biased var over the last n_axes axes,
 * in double; weight and bias have the shape of those axes, or are {0}: none.
 * Gradient: with z = (x - mean) r, r = 1 / sqrt(var + eps), and h = g weight:
 * r (h - mean of h - z mean of h z) for x, g z and g summed over the other axes for weight and
 * bias.  Fails: n_axes outside 1..ndim, another shape, eps < 0.
 * J. L. Ba, J. R. Kiros and G. E. Hinton, Layer Normalization, arXiv:1607.06450, 2016. */
AgVar ag_layer_norm(AgVar x, int n_axes, AgVar weight, AgVar bias, double eps);

/* x summed down to a shape that broadcasts to x's own: the transpose of ag_expand.
 * Gradient: g repeated.  Fails: the shape does not broadcast to x's. */
AgVar ag_sum_to(AgVar x, int ndim, const int64_t *shape);

/* ---- shape ----------------------------------------------------------------
 * Views: no copy (ag_reshape copies first where strides allow no view).  The gradient
 * of a view is the same view of the gradient.  Every dtype. */
AgVar ag_reshape(AgVar x, int ndim, const int64_t *shape); /* one size may be -1: what is left.
                                                              Fails: number of elements differs */
AgVar ag_transpose(AgVar x, int axis_a, int axis_b);       /* a scalar has axis 0, too */
AgVar ag_permute(AgVar x, const int *axes);                /* axis d of y is axis axes[d] of x */
AgVar ag_flip(AgVar x, AgAxes axes);                       /* in reverse order; a scalar's, too */
AgVar ag_unsqueeze(AgVar x, int axis);                     /* a size of 1 before axis, 0..ndim */
/* Without the named axes, or all, that have size 1; one of another size stays.  A scalar stays. */
AgVar ag_squeeze(AgVar x, AgAxes axes);
/* Repeats sizes of 1; a size of -1 stays.  Gradient: ag_sum_to. */
AgVar ag_expand(AgVar x, int ndim, const int64_t *shape);
/* x[.., start:start+length, ..]; start and index, unlike axes, count from the front only */
AgVar ag_narrow(AgVar x, int axis, int64_t start, int64_t length);
/* x[.., start:end:step, ..] as Python has it: a negative start or end counts from the end of the
 * axis, and both are cut to it.  Fails: step < 1. */
AgVar ag_slice(AgVar x, int axis, int64_t start, int64_t end, int64_t step);
#define AG_SLICE_END INT64_MAX
/* x[.., index, ..], without the axis */
AgVar ag_select(AgVar x, int axis, int64_t index);
/* Part `index` of x cut into `chunks` parts along axis; as torch.chunk, each has
 * ceil(n / chunks) and the last one what is left.  Fails: no such part. */
AgVar ag_chunk(AgVar x, int axis, int64_t chunks, int64_t index);

/* parts[0..n-1] of the given sizes, one after the other along axis.
 * Fails (false, every part the failed variable): the sizes do not add up to the axis. */
bool ag_split(AgVar x, int axis, int n, const int64_t *sizes, AgVar *parts);

/* Copies.  A contiguous x is its own contiguous copy. */
AgVar ag_contiguous(AgVar x);
/* Matrices of the last two axes: what lies on and below (above) the diagonal
 * column - row = diagonal, and 0 elsewhere.  Gradient: the same of g.  Every dtype.
 * Fails: fewer than two axes. */
AgVar ag_tril(AgVar x, int64_t diagonal);
AgVar ag_triu(AgVar x, int64_t diagonal);
/* n pairs (before, after), the last axis first, as torch.nn.functional.pad: so many times value
 * at the start and end of the axis; a negative number crops.  Gradient: g without the padding, 0
 * where x was cropped.  Every dtype.  Fails: n > ndim, a size below 0. */
AgVar ag_pad(AgVar x, int n, const int64_t *pad, double value);
/* Zeros, with x at start..start+n along axis of `size`: the transpose of ag_narrow. */
AgVar ag_widen(AgVar x, int axis, int64_t start, int64_t size);
/* x[0], .., x[n-1] joined along an axis they have (sizes there may differ) ...  Of nothing
 * (n < 1) both give a variable without a tape, which the next op reports as `no variable`. */
AgVar ag_concat(int n, const AgVar *x, int axis);
/* ... or along a new axis (0..ndim; equal shapes). */
AgVar ag_stack(int n, const AgVar *x, int axis);

/* ---- by index: I64, each in 0..n-1, else an error that names entry and value --
 * A scalar counts as a vector of one element. */

/* y[.., i, ..] = x[.., index[i], ..]; index 1-d.  Gradient: ag_index_add of g */
AgVar ag_index_select(AgVar x, int axis, AgVar index);
/* Rows of weight [V, E] by index [..] -> [.., E].  Gradient: g added up in the rows used */
AgVar ag_embedding(AgVar weight, AgVar index);
/* y[p] = x[p with index[p] at axis]; index has x's ndim, and sizes no larger than x's on
 * the other axes.  Gradient: ag_scatter_add of g */
AgVar ag_gather(AgVar x, int axis, AgVar index);
/* x, with src[.., i, ..] added at index[i] along axis.  Gradient: g; ag_index_select of g */
AgVar ag_index_add(AgVar x, int axis, AgVar index, AgVar src);
/* x, with src[p] added at p with index[p] at axis; index has src's shape.
 * Gradient: g; ag_gather of g */
AgVar ag_scatter_add(AgVar x, int axis, AgVar index, AgVar src);

/* ---- masks: U8, 0 or 1 ------------------------------------------------------ */

/* Comparisons of two operands of one dtype (any), broadcasting.  No gradient. */
AgVar ag_eq(AgVar a, AgVar b);
AgVar ag_ne(AgVar a, AgVar b);
AgVar ag_lt(AgVar a, AgVar b);
AgVar ag_le(AgVar a, AgVar b);
AgVar ag_gt(AgVar a, AgVar b);
AgVar ag_ge(AgVar a, AgVar b);
/* Of masks, broadcasting; any value but 0 is true. */
AgVar ag_logical_and(AgVar a, AgVar b);
AgVar ag_logical_or(AgVar a, AgVar b);
AgVar ag_logical_xor(AgVar a, AgVar b);
AgVar ag_logical_not(AgVar x);

/* mask ? a : b, all three broadcasting; a and b of one dtype (any).
 * Gradient: g where taken, 0 elsewhere (also where the value not taken is NaN). */
AgVar ag_where(AgVar mask, AgVar a, AgVar b);
/* value where mask, x elsewhere; mask broadcasts to x.  Gradient: g where not mask */
AgVar ag_masked_fill(AgVar x, AgVar mask, double value);
/* lengths I64 [B] -> U8 [T, B]: 1 where t < lengths[b].  Fails: a length outside 0..T. */
AgVar ag_length_mask(AgVar lengths, int64_t T);

/* ---- making ----------------------------------------------------------------- */

AgVar ag_full(AgTape *t, TensorDtype dtype, int ndim, const int64_t *shape, double value);
/* start, start + step, .. before stop.  Fails: step is 0, or one of them is not finite. */
AgVar ag_arange(AgTape *t, TensorDtype dtype, double start, double stop, double step);
/* index I64 [..] -> [.., n]: 1 at the index, 0 elsewhere.  Fails: an index outside 0..n-1. */
AgVar ag_one_hot(AgVar index, int64_t n, TensorDtype dtype);
/* Conversion as tensor_convert's; x itself if it has that dtype.  Gradient, between float types: g
 * converted back */
AgVar ag_cast(AgVar x, TensorDtype dtype);

/* ---- losses and noise --------------------------------------------------------- */

/* How the losses of rows or elements become one: their mean (of nothing: NaN) or sum -> [], or
 * AG_NONE: as they are.  All losses fail on another reduction. */
typedef enum { AG_MEAN, AG_SUM, AG_NONE } AgReduction;
#define AG_IGNORE_INDEX (-100)
typedef struct {
    AgReduction reduction;
    bool has_ignore_index;  /* false: AG_IGNORE_INDEX is ignored, PyTorch's default */
    int64_t ignore_index;   /* within +-2^53 */
    AgVar weight;           /* w [V], of the classes and of the logits' dtype; {0}: all 1 */
    double label_smoothing; /* e, 0 to 1: the part of a target that is spread over all classes */
} AgCrossEntropyOptions;

/* Rows of logits x [.., V] against target I64 [..], the rows' classes, or F32/F64 [.., V], their
 * probabilities.  With lp = x - logsumexp(x), the log softmax of a row,
 *     classes:        loss = -(1 - e) w[target] lp[target] - e / V sum_v w[v] lp[v],
 *                     0 and without gradient where target is ignored; the mean divides by the
 *                     sum of w[target] over the rows that are not (NaN if there are none)
 *     probabilities:  loss = - sum_v w[v] ((1 - e) target[v] + e / V) lp[v]; the mean divides by
 *                     the number of rows.  A class with probability 0 and logit -infinity adds
 *                     nothing
 * with the meaning of torch.nn.functional.cross_entropy, whose classes are axis 1 where they are
 * the last axis here: ag_transpose the logits, no copy is needed before.  options NULL: all zero.
 * Gradient: logits (softmax(x) - q) g / count, where q is the target with smoothing (and both are
 * weighted); probabilities and weight receive theirs too.
 * Fails: shapes, V = 0, a target outside 0..V-1 that is not ignored, label_smoothing outside
 * 0..1, an ignore_index of 0 or more with probabilities.
 * Label smoothing: C. Szegedy and others, Rethinking the Inception Architecture for Computer
 * Vision, CVPR 2016, section 7. */
AgVar ag_cross_entropy(AgVar logits, AgVar target, const AgCrossEntropyOptions *options);
/* ag_cross_entropy(ag_linear(x, weight, bias), target, options), for the output layer of a model
 * with many classes: x [.., H], weight [V, H], bias [V] or {0}, target [..] (or [.., V]).  The
 * logits are kept once, as their gradients; without gradients, a block of rows at a time.
 * Gradient: with d = softmax(logits) - q in each row, g its part in the result (over the count
 * for a mean) and sums over all rows, x g d weight; weight sum g d^T x; bias sum g d.
 * With class weights, or probabilities as targets, it is the two ops.
 * Fails: as they do. */
AgVar ag_linear_cross_entropy(AgVar x, AgVar weight, AgVar bias, AgVar target,
                              const AgCrossEntropyOptions *options);
/* ag_cross_entropy from log-probabilities lp [.., V] and classes: -w[target] lp[target].
 * Gradient: -w g at the target, 0 elsewhere; weight likewise.  Fails: as there; label_smoothing is
 * not 0. */
AgVar ag_nll_loss(AgVar log_probs, AgVar target, const AgCrossEntropyOptions *options);

/* Of each element, with d = x - target.  Gradient: dloss/dd to x, minus that to target.
 * Fail: x and target differ in shape (they do not broadcast) or dtype. */
AgVar ag_mse_loss(AgVar x, AgVar target, AgReduction reduction); /* d^2 */
AgVar ag_l1_loss(AgVar x, AgVar target, AgReduction reduction);  /* |d|.  Gradient at 0: 0 */
/* d^2 / (2 beta) where |d| < beta, else |d| - beta / 2; beta 0: ag_l1_loss.
 * R. Girshick, Fast R-CNN, ICCV 2015.  Fails: beta negative or not finite. */
AgVar ag_smooth_l1_loss(AgVar x, AgVar target, double beta, AgReduction reduction);
/* d^2 / 2 where |d| < delta, else delta (|d| - delta / 2).  P. J. Huber, Robust Estimation of a
 * Location Parameter, Annals of Mathematical Statistics 35, 1964.
 * Fails: delta not above 0 or not finite. */
AgVar ag_huber_loss(AgVar x, AgVar target, double delta, AgReduction reduction);

typedef struct {
    AgReduction reduction;
    AgVar weight;     /* w: broadcasts to x; {0}: 1 */
    AgVar pos_weight; /* p, of the positive class: broadcasts to x, as [V] to [.., V]; {0}: 1 */
} AgBceOptions;
/* Binary cross entropy of each logit x against the probability `target`, of x's shape:
 *     loss = -w (p target ln sigmoid(x) + (1 - target) ln sigmoid(-x))
 * without overflow for any x; 0 times an infinite logarithm counts as 0.  The mean is over the
 * elements, also with w.  options NULL: all zero.
 * Gradient: x w ((1 - target) sigmoid(x) - p target sigmoid(-x)) g; target, w and p theirs
 * (target -w x g where p is 1).
 * Fails: x and target differ in shape, w or p do not broadcast to it, mixed dtypes. */
AgVar ag_bce_with_logits(AgVar x, AgVar target, const AgBceOptions *options);

typedef struct {
    AgReduction reduction; /* AG_MEAN: of each row's loss / max(its target length, 1) */
    int64_t blank;         /* the class that is no label; 0 to V-1 */
    bool zero_infinity;    /* a row whose target is impossible has loss 0, not infinity */
} AgCtcOptions;
/* Connectionist temporal classification: row b's loss is -ln p(l | x), the probability of its
 * labels l over all ways to align them with its steps.  log_probs x [T, B, V], as from
 * ag_log_softmax; targets I64 [B, longest], of which row b uses the first target_lengths[b], or
 * [sum of target_lengths], row after row; input_lengths I64 [B]: row b has that many steps.
 * With y_t = e^x[t, b] and l' the labels with blanks before, between and after them, n entries:
 *     a_t(s) = (a_{t-1}(s) + a_{t-1}(s-1) + a_{t-1}(s-2)) y_t(l'_s)
 *     p(l | x) = a_T(n) + a_T(n-1)
 * from a_0 = (1, 0, .., 0), where a(s-2) counts only if l'_s is neither blank nor l'_{s-2}; and
 *     b_t(s) = b_{t+1}(s) y_{t+1}(l'_s) + b_{t+1}(s+1) y_{t+1}(l'_{s+1})
 *            + b_{t+1}(s+2) y_{t+1}(l'_{s+2})
 * likewise, from b_T = (0, .., 0, 1, 1), for the
 * Gradient: x[t, b, v]  -g sum over {s: l'_s = v} of a_t(s) b_t(s) / p(l | x), 0 beyond the row's
 * length and in rows whose target is impossible (loss infinity).  It is the derivative in
 * log_probs as they are given, normalised or not, where PyTorch's has a softmax's term in it; the
 * gradient of the logits before an ag_log_softmax is the same.  Second derivatives exist, by ops:
 * slower.  All sums are logarithms in double.  options NULL: all zero.
 * Fails: shapes; a length outside 0..T, or beyond the targets; a target within its row's length
 * that is outside 0..V-1 or the blank; targets in a row that are not as many as the lengths' sum.
 * A. Graves, S. Fernandez, F. Gomez, J. Schmidhuber, Connectionist Temporal Classification:
 * Labelling Unsegmented Sequence Data with Recurrent Neural Networks, ICML 2006: equations 6 to
 * 8; 10 and 11 without the factor y_t; 14 and 15. */
AgVar ag_ctc_loss(AgVar log_probs, AgVar targets, AgVar input_lengths, AgVar target_lengths,
                  const AgCtcOptions *options);

/* In training: each element times 0 with probability p (so a NaN or infinity stays seen), else
 * x / (1 - p); otherwise x itself.
 * batch_axis is the axis of the batch's rows (for ag_tape_rows), -1: there is none.
 * Gradient: the same mask.  Fails: p outside 0..1, batch_axis out of range.
 * N. Srivastava and others, Dropout, JMLR 15, 2014. */
AgVar ag_dropout(AgVar x, double p, int batch_axis);

/* logits [.., V] -> I64 [.., n]: n draws with replacement from each row, v with probability
 * softmax(logits)[v], in double; a logit of -infinity is never drawn.  batch_axis as for
 * ag_dropout, one of the axes before V.  A log-probability is its own logit.  No gradient.
 * Fails: V = 0, n < 0, batch_axis out of range, a row of -infinity only or with a NaN or
 * +infinity in it (its number is told). */
AgVar ag_categorical(AgVar logits, int64_t n, int batch_axis);

#ifdef __cplusplus
}

template <int N> static inline AgAxes ag_axes_of(const int (&axis)[N]) {
    static_assert(N <= TENSOR_MAX_DIMS, "more axes than a tensor has");
    AgAxes axes = {N, {0}};
    for (int i = 0; i < N; i++) axes.axis[i] = axis[i];
    return axes;
}
#endif
#endif
