/* kernels_axes.c -- reductions over axes, the softmax family, cross entropy. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "tensor/kernels.h"
#include "tensor/kernels_table.h"
#include "tensor/strided.h"

/* ---- reductions ----
 * Axes are sorted by the strides of x and parted into kept and reduced ones.  If
 * the innermost one is reduced, each result is a run over it, repeated over the
 * other reduced axes.  If it is kept, rows of up to COLUMNS elements of it are
 * added to as many double accumulators, so that x streams through the caches row
 * by row.  An innermost axis that is short changes the choice: a long axis with a
 * stride is faster than many short runs.
 *
 * Accumulators are emptied into totals after every PART terms: the error grows with
 * PART + n / PART, not with n.  The order depends on shape and strides alone. */

enum { COLUMNS = 1024, PART = 128, SHORT_AXIS = 16 };

typedef struct {
    double identity;
    double (*combine)(double, double);
    double (*run)(int64_t n, const void *x, int64_t stride);
    void (*rows)(int64_t rows, int64_t row_stride, int64_t n, double *acc, const void *x,
                 int64_t stride);
} Reduction;

static double add(double a, double b) {
    return a + b;
}

static double larger(double a, double b) {
    return b > a || b != b ? b : a; /* a NaN in a stays */
}

/* Where results go. */
typedef struct {
    TensorDtype dtype;
    bool accumulate; /* y += the result */
    double count;    /* the result is divided by it first; 0: it is not */
} Target;

static void put(const Target *to, void *y, double value) {
    if (to->count != 0) value /= to->count;
    if (to->dtype == TENSOR_F32) {
        float *f = y;
        *f = (float)(to->accumulate ? (double)*f + value : value);
    } else {
        double *d = y;
        *d = to->accumulate ? *d + value : value;
    }
}

enum { X, Y }; /* operands of the kept axes; reduced ones have X alone */

static void append_axis(TensorLoops *to, const TensorLoops *from, int d) {
    to->size[to->ndim] = from->size[d];
    for (int i = 0; i < to->operands; i++) {
        to->stride[to->ndim][i] = from->stride[d][i];
        to->width[i] = from->width[i];
    }
    to->ndim++;
}

/* One result: all of the reduced axes from x on, the last of them in runs. */
static double reduce_runs(const Reduction *f, const TensorLoops *reduced, void *x) {
    const int inner = reduced->ndim - 1;
    double part = f->identity, total = f->identity;
    int64_t at[TENSOR_MAX_DIMS] = {0};
    int terms = 0;
    do {
        double term = f->run(reduced->size[inner], x, reduced->stride[inner][X]);
        part = f->combine(part, term);
        if (++terms == PART) {
            total = f->combine(total, part);
            part = f->identity;
            terms = 0;
        }
    } while (tensor_loops_next(reduced, inner, at, &x));
    return f->combine(total, part);
}

static void reduce_by_runs(const Reduction *f, const TensorLoops *kept,
                           const TensorLoops *reduced, const Target *to, void **p) {
    int64_t at[TENSOR_MAX_DIMS] = {0};
    do {
        put(to, p[Y], reduce_runs(f, reduced, p[X]));
    } while (tensor_loops_next(kept, kept->ndim, at, p));
}

/* Columns of accumulators and how many rows the parts hold. */
typedef struct {
    double part[COLUMNS], total[COLUMNS];
    int64_t n, rows;
} Columns;

static void empty_parts(const Reduction *f, Columns *c) {
    for (int64_t j = 0; j < c->n; j++) {
        c->total[j] = f->combine(c->total[j], c->part[j]);
        c->part[j] = f->identity;
    }
    c->rows = 0;
}

static void reduce_rows(const Reduction *f, Columns *c, int64_t rows, int64_t row_stride,
                        const char *x, int64_t stride, int64_t width) {
    while (rows > 0) {
        int64_t k = PART - c->rows < rows ? PART - c->rows : rows;
        f->rows(k, row_stride, c->n, c->part, x, stride);
        x += k * row_stride * width;
        rows -= k;
        c->rows += k;
        if (c->rows == PART) {
            empty_parts(f, c);
        }
    }
}

/* c->n results: all of the reduced axes from x on, the last of them as rows. */
static void reduce_columns(const Reduction *f, const TensorLoops *reduced, Columns *c, void *x,
                           int64_t stride, int64_t width) {
    const int inner = reduced->ndim - 1;
    int64_t at[TENSOR_MAX_DIMS] = {0};
    for (int64_t j = 0; j < c->n; j++) {
        c->part[j] = c->total[j] = f->identity;
    }
    c->rows = 0;
    do {
        reduce_rows(f, c, inner < 0 ? 1 : reduced->size[inner],
                    inner < 0 ? 0 : reduced->stride[inner][X], x, stride, width);
    } while (tensor_loops_next(reduced, inner, at, &x));
    empty_parts(f, c);
}

/* Columns run along the last kept axis. */
static void reduce_by_columns(const Reduction *f, const TensorLoops *kept,
                              const TensorLoops *reduced, const Target *to, void **p) {
    const int inner = kept->ndim - 1;
    const int64_t n = inner < 0 ? 1 : kept->size[inner];
    const int64_t x_stride = inner < 0 ? 1 : kept->stride[inner][X];
    const int64_t y_step = inner < 0 ? 0 : kept->stride[inner][Y] * kept->width[Y];
    int64_t at[TENSOR_MAX_DIMS] = {0};
    Columns c;
    do {
        for (int64_t j = 0; j < n; j += COLUMNS) {
            c.n = n - j < COLUMNS ? n - j : COLUMNS;
            reduce_columns(f, reduced, &c, (char *)p[X] + j * x_stride * kept->width[X],
                           x_stride, kept->width[X]);
            for (int64_t k = 0; k < c.n; k++) {
                put(to, (char *)p[Y] + (j + k) * y_step, c.total[k]);
            }
        }
    } while (tensor_loops_next(kept, inner, at, p));
}

static void reduce_nothing(const Reduction *f, const Tensor *y, bool accumulate) {
    if (!accumulate) {
        tensor_fill(y, f->identity);
    }
}

static bool wants_runs(const TensorLoops *kept, const TensorLoops *reduced,
                       bool innermost_is_reduced) {
    if (kept->ndim == 0 || reduced->ndim == 0) {
        return reduced->ndim > 0;
    }
    const int64_t k = kept->size[kept->ndim - 1], r = reduced->size[reduced->ndim - 1];
    return innermost_is_reduced ? r >= SHORT_AXIS || r >= k : k < SHORT_AXIS && k < r;
}

static void reduce(const Reduction *f, const Tensor *y, const Tensor *x, bool accumulate,
                   double count) {
    assert(x->dtype == y->dtype && x->ndim == y->ndim);
    assert(!tensor_is_overlapping(y));
    TensorLoops all;
    tensor_loops(&all, 2, (const Tensor *[]){x, y}, x->ndim, x->shape);
    if (all.count == 0) {
        reduce_nothing(f, y, accumulate);
        return;
    }
    tensor_loops_sort(&all);
    TensorLoops kept = {.operands = 2, .width = {all.width[X], all.width[Y]}};
    TensorLoops reduced = {.operands = 1, .width = {all.width[X]}};
    for (int d = 0; d < all.ndim; d++) {
        append_axis(all.stride[d][Y] == 0 ? &reduced : &kept, &all, d);
    }
    const bool innermost_is_reduced = all.ndim > 0 && all.stride[all.ndim - 1][Y] == 0;
    const Target to = {.dtype = y->dtype, .accumulate = accumulate, .count = count};
    void *p[] = {x->data, y->data};
    (wants_runs(&kept, &reduced, innermost_is_reduced) ? reduce_by_runs : reduce_by_columns)(
        f, &kept, &reduced, &to, p);
}

static Reduction sum_of(TensorDtype dtype) {
    const TensorKernels *k = tensor_kernels(dtype);
    return (Reduction){.identity = 0, .combine = add, .run = k->sum_run, .rows = k->sum_rows};
}

void tensor_sum(const Tensor *y, const Tensor *x) {
    Reduction f = sum_of(y->dtype);
    reduce(&f, y, x, false, 0);
}

void tensor_mean(const Tensor *y, const Tensor *x) {
    const int64_t results = tensor_numel(y), n = tensor_numel(x);
    Reduction f = sum_of(y->dtype);
    if (n > 0) {
        reduce(&f, y, x, false, (double)(n / results));
    } else {
        tensor_fill(y, NAN);
    }
}

void tensor_accumulate_sum(const Tensor *y, const Tensor *x) {
    Reduction f = sum_of(y->dtype);
    reduce(&f, y, x, true, 0);
}

void tensor_max(const Tensor *y, const Tensor *x) {
    const TensorKernels *k = tensor_kernels(y->dtype);
    Reduction f = {
        .identity = -INFINITY, .combine = larger, .run = k->max_run, .rows = k->max_rows};
    reduce(&f, y, x, false, 0);
}

/* ---- along one axis ---- */

/* The nest over all axes but one, and that axis. */
typedef struct {
    TensorLoops l;
    int64_t n, y_stride, x_stride;
    void *p[2]; /* y, x */
} Lines;

/* y's size along axis is that of x, or 1. */
static void lines_along(Lines *s, const Tensor *y, const Tensor *x, int axis) {
    const int d = tensor_axis(x, axis);
    Tensor u = *y, v = *x;
    assert(d >= 0 && y->ndim == x->ndim);
    assert(y->shape[d] == x->shape[d] || y->shape[d] == 1);
    u.shape[d] = v.shape[d] = 1;
    assert(tensor_same_shape(&u, &v));
    tensor_loops(&s->l, 2, (const Tensor *[]){&u, &v}, x->ndim, u.shape);
    tensor_loops_sort(&s->l);
    s->n = x->shape[d];
    s->y_stride = y->stride[d];
    s->x_stride = x->stride[d];
    s->p[0] = y->data;
    s->p[1] = x->data;
}

void tensor_argmax(const Tensor *y, const Tensor *x, int axis) {
    const TensorKernels *k = tensor_kernels(x->dtype);
    Lines s;
    int64_t at[TENSOR_MAX_DIMS] = {0};
    lines_along(&s, y, x, axis);
    assert(y->dtype == TENSOR_I64 && y->shape[tensor_axis(y, axis)] == 1 && s.n >= 1);
    if (s.l.count == 0) {
        return;
    }
    do {
        *(int64_t *)s.p[0] = k->argmax_run(s.n, s.p[1], s.x_stride);
    } while (tensor_loops_next(&s.l, s.l.ndim, at, s.p));
}

/* y of x's shape: one kernel call for each line. */
static void each_line(void (*f)(int64_t n, void *y, int64_t y_stride, const void *x,
                                int64_t x_stride),
                      const Tensor *y, const Tensor *x, int axis) {
    Lines s;
    int64_t at[TENSOR_MAX_DIMS] = {0};
    lines_along(&s, y, x, axis);
    assert(y->dtype == x->dtype && tensor_same_shape(y, x));
    if (s.l.count == 0 || s.n == 0) {
        return;
    }
    do {
        f(s.n, s.p[0], s.y_stride, s.p[1], s.x_stride);
    } while (tensor_loops_next(&s.l, s.l.ndim, at, s.p));
}

void tensor_softmax(const Tensor *y, const Tensor *x, int axis) {
    each_line(tensor_kernels(x->dtype)->softmax, y, x, axis);
}

void tensor_log_softmax(const Tensor *y, const Tensor *x, int axis) {
    each_line(tensor_kernels(x->dtype)->log_softmax, y, x, axis);
}

/* The maximum of a line and log sum exp(x - max); 0 where the maximum is not finite:
 * their sum is the logarithm of the sum of exponentials in every case. */
typedef struct {
    double max, log_sum;
} LogSumExp;

static LogSumExp log_sum_exp(const TensorKernels *k, int64_t n, const void *x, int64_t stride) {
    LogSumExp r;
    double sum;
    k->max_sumexp(n, x, stride, &r.max, &sum);
    r.log_sum = isfinite(r.max) ? log(sum) : 0;
    return r;
}

void tensor_logsumexp(const Tensor *y, const Tensor *x, int axis) {
    const TensorKernels *k = tensor_kernels(x->dtype);
    const Target to = {.dtype = y->dtype};
    Lines s;
    int64_t at[TENSOR_MAX_DIMS] = {0};
    lines_along(&s, y, x, axis);
    assert(y->dtype == x->dtype && y->shape[tensor_axis(y, axis)] == 1);
    if (s.l.count == 0) {
        return;
    }
    do {
        LogSumExp r = log_sum_exp(k, s.n, s.p[1], s.x_stride);
        put(&to, s.p[0], r.max + r.log_sum);
    } while (tensor_loops_next(&s.l, s.l.ndim, at, s.p));
}

/* ---- cross entropy ---- */

static void *element(const Tensor *t, int64_t i) {
    return (char *)t->data + i * t->stride[0] * (int64_t)tensor_dtype_size(t->dtype);
}

static double real_at(TensorDtype dtype, const void *p) {
    return dtype == TENSOR_F32 ? (double)*(const float *)p : *(const double *)p;
}

static void *entry(const Tensor *x, char *row, int64_t v) {
    return row + v * x->stride[1] * (int64_t)tensor_dtype_size(x->dtype);
}

static bool is_row_vector(const Tensor *t, TensorDtype dtype, int64_t n) {
    return t->dtype == dtype && t->ndim == 1 && t->shape[0] == n;
}

static bool is_lse(const Tensor *t, int64_t n) {
    return t->dtype == TENSOR_F64 && t->ndim == 2 && t->shape[0] == n && t->shape[1] == 2 &&
           tensor_is_contiguous(t);
}

/* logsumexp - x, in this order, so that the small log_sum survives a large max. */
static double below(LogSumExp r, double x) { return (r.max - x) + r.log_sum; }

void tensor_cross_entropy(const Tensor *loss, const Tensor *lse, const Tensor *x,
                          const Tensor *target, int64_t ignore, double smoothing) {
    const TensorKernels *k = tensor_kernels(x->dtype);
    const Target to = {.dtype = x->dtype};
    assert(x->ndim == 2);
    const int64_t n = x->shape[0], v = x->shape[1];
    assert(is_row_vector(loss, x->dtype, n) && is_lse(lse, n));
    assert(is_row_vector(target, TENSOR_I64, n));
    for (int64_t i = 0; i < n; i++) {
        const int64_t t = *(const int64_t *)element(target, i);
        char *row = element(x, i);
        LogSumExp r = log_sum_exp(k, v, row, x->stride[1]);
        double l = 0;
        if (t != ignore) {
            assert(t >= 0 && t < v);
            l = below(r, real_at(x->dtype, entry(x, row, t)));
            if (smoothing != 0) {
                const double mean = k->sum_run(v, row, x->stride[1]) / (double)v;
                l = (1 - smoothing) * l + smoothing * below(r, mean);
            }
        }
        double *saved = (double *)lse->data + 2 * i;
        saved[0] = r.max;
        saved[1] = r.log_sum;
        put(&to, element(loss, i), l);
    }
}

static void fill_row(const Tensor *y, void *row, double value) {
    float f32 = (float)value;
    void *one = y->dtype == TENSOR_F32 ? (void *)&f32 : (void *)&value;
    tensor_convert_run(y->dtype, y->dtype)(y->shape[1], (void *[]){row, one},
                                           (int64_t[]){y->stride[1], 0}, NULL);
}

void tensor_cross_entropy_backward(const Tensor *dx, const Tensor *x, const Tensor *lse,
                                   const Tensor *target, int64_t ignore, double smoothing,
                                   const Tensor *scale) {
    const TensorKernels *k = tensor_kernels(x->dtype);
    const Target to = {.dtype = x->dtype};
    assert(x->ndim == 2 && dx->dtype == x->dtype && tensor_same_shape(dx, x));
    const int64_t n = x->shape[0], v = x->shape[1];
    assert(is_lse(lse, n) && is_row_vector(scale, x->dtype, n));
    assert(is_row_vector(target, TENSOR_I64, n));
    for (int64_t i = 0; i < n; i++) {
        const int64_t t = *(const int64_t *)element(target, i);
        char *row = element(x, i), *dx_row = element(dx, i);
        if (t == ignore) {
            fill_row(dx, dx_row, 0);
            continue;
        }
        assert(t >= 0 && t < v);
        const double c = real_at(x->dtype, element(scale, i));
        const double *saved = (const double *)lse->data + 2 * i;
        /* exp - 1 without cancellation for a target that is nearly certain; read
         * before the row is written, as dx may be x */
        const double each = smoothing / (double)v;
        const double at_target =
            expm1((real_at(x->dtype, entry(x, row, t)) - saved[0]) - saved[1]) + smoothing - each;
        k->exp_scaled(v, dx_row, dx->stride[1], row, x->stride[1], saved[0], c * exp(-saved[1]));
        if (smoothing != 0) {
            k->affine(v, (void *[]){dx_row, dx_row}, (int64_t[]){dx->stride[1], dx->stride[1]},
                      &(TensorAffine){1, -c * each});
        }
        put(&to, entry(dx, dx_row, t), c * at_target);
    }
}
