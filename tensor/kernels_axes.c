/* kernels_axes.c -- reductions over axes, running sums, the softmax family, cross entropy,
 * layer normalisation. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tensor/kernels_table.h"
#include "tensor/parallel.h"
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
 * PART + n / PART, not with n.  The order depends on shape and strides alone.
 *
 * Threads share the results: each is one thread's work. */

enum {
    COLUMNS = 1024,
    PART = 128,
    SHORT_AXIS = 16,
    SHARES = 8,          /* blocks of columns that threads want, as long as each has */
    LEAST_COLUMNS = 256, /* so many: rows are read in pieces of some length */
};

/* What an element takes, roughly; its exponential; a sum that waits for the one before; what is
 * worth smaller blocks. */
static const double ELEMENT_NS = .25, EXP_NS = .5, STEP_NS = 1, LARGE_NS = 10000;

typedef struct {
    double identity;
    double (*combine)(double, double);
    double (*run)(int64_t n, const void *x, int64_t stride);
    void (*rows)(int64_t rows, int64_t row_stride, int64_t n, double *acc, const void *x,
                 int64_t stride);
    /* Where run and rows are NULL: sums of terms with a number c for each result. */
    double (*term_run)(int64_t n, const void *x, int64_t stride, double c, double p);
    void (*term_rows)(int64_t rows, int64_t row_stride, int64_t n, double *acc, const void *x,
                      int64_t stride, const double *c, double p);
    double p;
} Reduction;

/* A reduction in one pass or two: the first gives a pivot (the mean, the largest magnitude),
 * from which comes the c of the second's terms. */
typedef struct Plan {
    Reduction f;
    const Reduction *first; /* NULL: one pass */
    double (*c_of)(const struct Plan *, double pivot);
    double (*finish)(const struct Plan *, double pivot, double value); /* NULL: value it is */
    double n, divisor; /* of a variance */
    bool root;
    double p; /* of a norm */
} Plan;

static double add(double a, double b) {
    return a + b;
}

static double multiply(double a, double b) {
    return a * b;
}

static double larger(double a, double b) {
    return b > a || b != b ? b : a; /* a NaN in a stays */
}

static double smaller(double a, double b) {
    return b < a || b != b ? b : a;
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
    to->count *= from->size[d];
    to->size[to->ndim] = from->size[d];
    for (int i = 0; i < to->operands; i++) {
        to->stride[to->ndim][i] = from->stride[d][i];
        to->width[i] = from->width[i];
    }
    to->ndim++;
}

/* One reduction on its way. */
typedef struct {
    const Plan *plan;
    const TensorLoops *kept, *reduced;
    const Target *to;
    void *p[2];
    int64_t width; /* columns of a block */
    double ns;     /* that a result takes */
} Job;

static double reduce_run(const Reduction *f, int64_t n, const void *x, int64_t stride, double c) {
    return f->run != NULL ? f->run(n, x, stride) : f->term_run(n, x, stride, c, f->p);
}

/* All of the reduced axes from x on, the last of them in runs. */
static double reduce_runs(const Reduction *f, const TensorLoops *reduced, void *x, double c) {
    const int inner = reduced->ndim - 1;
    double part = f->identity, total = f->identity;
    int64_t at[TENSOR_MAX_DIMS] = {0};
    int terms = 0;
    do {
        double term = reduce_run(f, reduced->size[inner], x, reduced->stride[inner][X], c);
        part = f->combine(part, term);
        if (++terms == PART) {
            total = f->combine(total, part);
            part = f->identity;
            terms = 0;
        }
    } while (tensor_loops_next(reduced, inner, at, &x));
    return f->combine(total, part);
}

static double result_of_runs(const Plan *plan, const TensorLoops *reduced, void *x) {
    double pivot = 0, c = 1;
    if (plan->first != NULL) {
        pivot = reduce_runs(plan->first, reduced, x, c);
        c = plan->c_of(plan, pivot);
    }
    double value = reduce_runs(&plan->f, reduced, x, c);
    return plan->finish != NULL ? plan->finish(plan, pivot, value) : value;
}

static void reduce_to_one(void *const *p, const void *context) {
    const Job *job = context;
    put(job->to, p[Y], result_of_runs(job->plan, job->reduced, p[X]));
}

static void reduce_by_runs(Job *job) {
    tensor_loops_each(job->kept, job->kept->ndim, job->p, job->ns, reduce_to_one, job);
}

/* Columns of accumulators and how many rows the parts hold. */
typedef struct {
    double part[COLUMNS], total[COLUMNS], pivot[COLUMNS], c[COLUMNS];
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
        if (f->rows != NULL) {
            f->rows(k, row_stride, c->n, c->part, x, stride);
        } else {
            f->term_rows(k, row_stride, c->n, c->part, x, stride, c->c, f->p);
        }
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

static void results_of_columns(const Plan *plan, const TensorLoops *reduced, Columns *c, void *x,
                               int64_t stride, int64_t width) {
    for (int64_t j = 0; j < c->n; j++) {
        c->pivot[j] = 0;
        c->c[j] = 1;
    }
    if (plan->first != NULL) {
        reduce_columns(plan->first, reduced, c, x, stride, width);
        for (int64_t j = 0; j < c->n; j++) {
            c->pivot[j] = c->total[j];
            c->c[j] = plan->c_of(plan, c->pivot[j]);
        }
    }
    reduce_columns(&plan->f, reduced, c, x, stride, width);
    for (int64_t j = 0; plan->finish != NULL && j < c->n; j++) {
        c->total[j] = plan->finish(plan, c->pivot[j], c->total[j]);
    }
}

/* Blocks of columns run along the last kept axis. */
static int64_t blocks_of(const Job *job) {
    const int inner = job->kept->ndim - 1;
    return inner < 0 ? 1 : (job->kept->size[inner] - 1) / job->width + 1;
}

static void reduce_blocks(int64_t begin, int64_t end, void *context) {
    const Job *job = context;
    const TensorLoops *kept = job->kept;
    const int inner = kept->ndim - 1;
    const int64_t n = inner < 0 ? 1 : kept->size[inner], blocks = blocks_of(job);
    const int64_t x_stride = inner < 0 ? 1 : kept->stride[inner][X];
    const int64_t y_step = inner < 0 ? 0 : kept->stride[inner][Y] * kept->width[Y];
    Columns c;
    for (int64_t i = begin; i < end; i++) {
        const int64_t j = i % blocks * job->width;
        int64_t at[TENSOR_MAX_DIMS] = {0};
        void *p[] = {job->p[X], job->p[Y]};
        tensor_loops_seek(kept, inner, i / blocks, at, p);
        c.n = n - j < job->width ? n - j : job->width;
        results_of_columns(job->plan, job->reduced, &c,
                           (char *)p[X] + j * x_stride * kept->width[X], x_stride,
                           kept->width[X]);
        for (int64_t k = 0; k < c.n; k++) {
            put(job->to, (char *)p[Y] + (j + k) * y_step, c.total[k]);
        }
    }
}

static void reduce_by_columns(Job *job) {
    const int inner = job->kept->ndim - 1;
    const int64_t n = inner < 0 ? 1 : job->kept->size[inner], outer = job->kept->count / n;
    const double total = (double)job->kept->count * job->ns;
    job->width = COLUMNS;
    while (total > LARGE_NS && job->width > LEAST_COLUMNS && outer * blocks_of(job) < SHARES) {
        job->width /= 2;
    }
    const int64_t blocks = outer * blocks_of(job);
    tensor_parallel_work(blocks, total / (double)blocks, reduce_blocks, job);
}

static void reduce_nothing(const Plan *plan, const Tensor *y, bool accumulate) {
    const double value = plan->f.identity, pivot = plan->first ? plan->first->identity : 0;
    if (!accumulate) {
        tensor_fill(y, plan->finish != NULL ? plan->finish(plan, pivot, value) : value);
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

static void reduce(const Plan *plan, const Tensor *y, const Tensor *x, bool accumulate,
                   double count) {
    assert(x->dtype == y->dtype && x->ndim == y->ndim);
    assert(!tensor_is_overlapping(y));
    TensorLoops all;
    tensor_loops(&all, 2, (const Tensor *[]){x, y}, x->ndim, x->shape);
    if (all.count == 0) {
        reduce_nothing(plan, y, accumulate);
        return;
    }
    tensor_loops_sort(&all);
    TensorLoops kept = {.operands = 2, .count = 1, .width = {all.width[X], all.width[Y]}};
    TensorLoops reduced = {.operands = 1, .count = 1, .width = {all.width[X]}};
    for (int d = 0; d < all.ndim; d++) {
        append_axis(all.stride[d][Y] == 0 ? &reduced : &kept, &all, d);
    }
    const bool innermost_is_reduced = all.ndim > 0 && all.stride[all.ndim - 1][Y] == 0;
    const Target to = {.dtype = y->dtype, .accumulate = accumulate, .count = count};
    Job job = {.plan = plan, .kept = &kept, .reduced = &reduced, .to = &to,
               .p = {x->data, y->data}};
    job.ns = (double)reduced.count * ELEMENT_NS * (plan->first != NULL ? 2 : 1);
    (wants_runs(&kept, &reduced, innermost_is_reduced) ? reduce_by_runs
                                                       : reduce_by_columns)(&job);
}

static Reduction sum_of(TensorDtype dtype) {
    const TensorKernels *k = tensor_kernels(dtype);
    return (Reduction){.identity = 0, .combine = add, .run = k->sum_run, .rows = k->sum_rows};
}

static Reduction terms_of(TensorDtype dtype, TensorTerm term, double p) {
    const TensorKernels *k = tensor_kernels(dtype);
    return (Reduction){.identity = 0,
                       .combine = add,
                       .term_run = k->term_run[term],
                       .term_rows = k->term_rows[term],
                       .p = p};
}

static Reduction extreme_of(TensorDtype dtype, TensorExtreme extreme) {
    const TensorKernels *k = tensor_kernels(dtype);
    const double start[] = {[TENSOR_MAX] = -INFINITY, [TENSOR_MIN] = INFINITY,
                            [TENSOR_ABS_MAX] = 0,     [TENSOR_ABS_MIN] = INFINITY};
    const bool largest = extreme == TENSOR_MAX || extreme == TENSOR_ABS_MAX;
    return (Reduction){.identity = start[extreme],
                       .combine = largest ? larger : smaller,
                       .run = k->extreme_run[extreme],
                       .rows = k->extreme_rows[extreme]};
}

void tensor_sum(const Tensor *y, const Tensor *x) {
    Plan plan = {.f = sum_of(y->dtype)};
    reduce(&plan, y, x, false, 0);
}

void tensor_mean(const Tensor *y, const Tensor *x) {
    const int64_t results = tensor_numel(y), n = tensor_numel(x);
    Plan plan = {.f = sum_of(y->dtype)};
    if (n > 0) {
        reduce(&plan, y, x, false, (double)(n / results));
    } else {
        tensor_fill(y, NAN);
    }
}

void tensor_accumulate_sum(const Tensor *y, const Tensor *x) {
    Plan plan = {.f = sum_of(y->dtype)};
    reduce(&plan, y, x, true, 0);
}

void tensor_prod(const Tensor *y, const Tensor *x) {
    const TensorKernels *k = tensor_kernels(y->dtype);
    Plan plan = {.f = {.identity = 1,
                       .combine = multiply,
                       .run = k->prod_run,
                       .rows = k->prod_rows}};
    reduce(&plan, y, x, false, 0);
}

void tensor_amax(const Tensor *y, const Tensor *x) {
    Plan plan = {.f = extreme_of(y->dtype, TENSOR_MAX)};
    reduce(&plan, y, x, false, 0);
}

void tensor_amin(const Tensor *y, const Tensor *x) {
    Plan plan = {.f = extreme_of(y->dtype, TENSOR_MIN)};
    reduce(&plan, y, x, false, 0);
}

/* ---- variance: squared deviations from the mean ---- */

static double mean_of_sum(const Plan *plan, double sum) {
    return sum / plan->n;
}

static double variance_of(const Plan *plan, double sum, double squares) {
    (void)sum;
    const double variance = squares / plan->divisor;
    return plan->root ? sqrt(variance) : variance;
}

static void variance(const Tensor *y, const Tensor *x, int64_t correction, bool root) {
    double n = 1;
    for (int d = 0; d < x->ndim; d++) {
        n *= y->shape[d] == 1 ? (double)x->shape[d] : 1;
    }
    const Reduction sum = sum_of(x->dtype);
    Plan plan = {.f = terms_of(x->dtype, TENSOR_DEVIATION, 0),
                 .first = &sum,
                 .c_of = mean_of_sum,
                 .finish = variance_of,
                 .n = n,
                 .divisor = fmax(n - (double)correction, 0),
                 .root = root};
    reduce(&plan, y, x, false, 0);
}

void tensor_var(const Tensor *y, const Tensor *x, int64_t correction) {
    variance(y, x, correction, false);
}

void tensor_std(const Tensor *y, const Tensor *x, int64_t correction) {
    variance(y, x, correction, true);
}

/* ---- norms ----
 * Elements are scaled by their largest magnitude (for p < 0 the smallest), or a power of two
 * near it, so that powers neither overflow nor vanish. */

static double scale_to_one(const Plan *plan, double magnitude) {
    int exponent = 0;
    if (magnitude == 0 || !isfinite(magnitude)) {
        return 1;
    }
    if (plan->p != 2 && isfinite(1 / magnitude)) {
        return 1 / magnitude;
    }
    frexp(magnitude, &exponent);
    return ldexp(1, exponent > -1023 ? -exponent : 1023);
}

/* Of 0, infinity and NaN the magnitude itself is the norm, for every p. */
static double norm_of_scaled(const Plan *plan, double magnitude, double sum) {
    if (magnitude == 0 || !isfinite(magnitude)) {
        return magnitude;
    }
    const double root = plan->p == 2 ? sqrt(sum) : pow(sum, 1 / plan->p);
    return root / scale_to_one(plan, magnitude);
}

static double root_of_sum(const Plan *plan, double magnitude, double sum) {
    (void)plan, (void)magnitude;
    return sqrt(sum);
}

void tensor_norm(const Tensor *y, const Tensor *x, double p) {
    const TensorDtype dtype = x->dtype;
    const Reduction pivot = extreme_of(dtype, p < 0 ? TENSOR_ABS_MIN : TENSOR_ABS_MAX);
    Plan plan = {.p = p};
    if (tensor_numel(x) == 0) {
        tensor_fill(y, 0);
        return;
    }
    if (isinf(p)) {
        plan.f = pivot;
    } else if (p == 0 || p == 1) {
        plan.f = terms_of(dtype, p == 0 ? TENSOR_NONZERO : TENSOR_MAGNITUDE, p);
    } else if (p == 2 && dtype == TENSOR_F32) { /* no square of a float leaves double's range */
        plan.f = terms_of(dtype, TENSOR_SCALED_SQUARE, p);
        plan.finish = root_of_sum;
    } else {
        plan.f = terms_of(dtype, p == 2 ? TENSOR_SCALED_SQUARE : TENSOR_SCALED_POWER, p);
        plan.first = &pivot;
        plan.c_of = scale_to_one;
        plan.finish = norm_of_scaled;
    }
    reduce(&plan, y, x, false, 0);
}

/* ---- along one axis ---- */

/* The nest over all axes but one, and that axis. */
typedef struct {
    TensorLoops l;
    int64_t n, y_n, y_stride, x_stride; /* sizes and strides of x's line and y's */
    void *p[2]; /* y, x */
    const TensorKernels *k; /* of x's dtype */
    Target to;              /* of y's */
} Lines;

/* y's size along axis is that of x, or 1. */
static void lines_along(Lines *s, const Tensor *y, const Tensor *x, int axis) {
    Tensor u = tensor_at_least_1d(y), v = tensor_at_least_1d(x);
    const int d = tensor_axis(&v, axis);
    assert(d >= 0 && u.ndim == v.ndim);
    assert(u.shape[d] == v.shape[d] || u.shape[d] == 1);
    s->n = v.shape[d];
    s->y_n = u.shape[d];
    s->y_stride = u.stride[d];
    s->x_stride = v.stride[d];
    u.shape[d] = v.shape[d] = 1;
    assert(tensor_same_shape(&u, &v));
    tensor_loops(&s->l, 2, (const Tensor *[]){&u, &v}, v.ndim, u.shape);
    tensor_loops_sort(&s->l);
    s->p[0] = y->data;
    s->p[1] = x->data;
    s->k = tensor_kernels(x->dtype);
    s->to = (Target){.dtype = y->dtype};
}

/* f for each line, of elements of some `ns` nanoseconds; `s` is its context. */
static void each_line(const Lines *s, TensorPass *f, double ns) {
    tensor_loops_each(&s->l, s->l.ndim, s->p, (double)s->n * ns, f, s);
}

static void argmax_line(void *const *p, const void *context) {
    const Lines *s = context;
    *(int64_t *)p[0] = s->k->argmax_run(s->n, p[1], s->x_stride);
}

void tensor_argmax(const Tensor *y, const Tensor *x, int axis) {
    Lines s;
    lines_along(&s, y, x, axis);
    assert(y->dtype == TENSOR_I64 && s.y_n == 1 && s.n >= 1);
    each_line(&s, argmax_line, ELEMENT_NS);
}

/* Lines of y in x's shape. */
static void lines_to_lines(Lines *s, const Tensor *y, const Tensor *x, int axis) {
    lines_along(s, y, x, axis);
    assert(y->dtype == x->dtype && tensor_same_shape(y, x));
}

static void softmax_line(void *const *p, const void *context) {
    const Lines *s = context;
    s->k->softmax(s->n, p[0], s->y_stride, p[1], s->x_stride);
}

void tensor_softmax(const Tensor *y, const Tensor *x, int axis) {
    Lines s;
    lines_to_lines(&s, y, x, axis);
    each_line(&s, softmax_line, EXP_NS);
}

static void log_softmax_line(void *const *p, const void *context) {
    const Lines *s = context;
    s->k->log_softmax(s->n, p[0], s->y_stride, p[1], s->x_stride);
}

void tensor_log_softmax(const Tensor *y, const Tensor *x, int axis) {
    Lines s;
    lines_to_lines(&s, y, x, axis);
    each_line(&s, log_softmax_line, EXP_NS);
}

/* Blocks of the lines along the innermost of the other axes, side by side. */
static void cumsum_blocks(int64_t begin, int64_t end, void *context) {
    const Lines *s = context;
    const int inner = s->l.ndim - 1;
    const int64_t lines = s->l.size[inner], *step = s->l.stride[inner];
    const int64_t blocks = (lines - 1) / COLUMNS + 1;
    for (int64_t i = begin; i < end; i++) {
        const int64_t j = i % blocks * COLUMNS, m = lines - j < COLUMNS ? lines - j : COLUMNS;
        int64_t at[TENSOR_MAX_DIMS] = {0};
        void *p[] = {s->p[0], s->p[1]};
        double acc[COLUMNS] = {0};
        tensor_loops_seek(&s->l, inner, i / blocks, at, p);
        s->k->cumsum(s->n, m, (char *)p[0] + j * step[0] * s->l.width[0], s->y_stride, step[0],
                     (char *)p[1] + j * step[1] * s->l.width[1], s->x_stride, step[1], acc);
    }
}

static void cumsum_line(void *const *p, const void *context) {
    const Lines *s = context;
    double sum = 0;
    s->k->cumsum(s->n, 1, p[0], s->y_stride, 0, p[1], s->x_stride, 0, &sum);
}

void tensor_cumsum(const Tensor *y, const Tensor *x, int axis, bool reverse) {
    Tensor u = tensor_at_least_1d(y), v = tensor_at_least_1d(x);
    if (reverse) {
        u = tensor_flip(&u, axis);
        v = tensor_flip(&v, axis);
    }
    Lines s;
    lines_to_lines(&s, &u, &v, axis);
    assert(!tensor_is_overlapping(y));
    const int inner = s.l.ndim - 1;
    if (s.l.count != 0 && inner >= 0 && llabs(s.y_stride) > llabs(s.l.stride[inner][0])) {
        const int64_t blocks = (s.l.size[inner] - 1) / COLUMNS + 1;
        const int64_t all = s.l.count / s.l.size[inner] * blocks;
        tensor_parallel_work(all, (double)s.l.count / (double)all * (double)s.n * ELEMENT_NS,
                             cumsum_blocks, &s);
    } else {
        each_line(&s, cumsum_line, STEP_NS);
    }
}

/* The maximum of a line and log sum exp(x - max); 0 where the maximum is not finite:
 * their sum is the logarithm of the sum of exponentials in every case. */
typedef struct {
    double max, log_sum;
} LogSumExp;

static LogSumExp log_sum_exp_of(double max, double sum) {
    return (LogSumExp){max, isfinite(max) ? log(sum) : 0};
}

static LogSumExp log_sum_exp(const TensorKernels *k, int64_t n, const void *x, int64_t stride) {
    double max, sum;
    k->max_sumexp(n, x, stride, &max, &sum);
    return log_sum_exp_of(max, sum);
}

static void logsumexp_line(void *const *p, const void *context) {
    const Lines *s = context;
    const LogSumExp r = log_sum_exp(s->k, s->n, p[1], s->x_stride);
    put(&s->to, p[0], r.max + r.log_sum);
}

void tensor_logsumexp(const Tensor *y, const Tensor *x, int axis) {
    Lines s;
    lines_along(&s, y, x, axis);
    assert(y->dtype == x->dtype && s.y_n == 1);
    each_line(&s, logsumexp_line, EXP_NS);
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

/* The loss of a row with this logit at its target and this mean of all (read with smoothing). */
static double row_loss(LogSumExp r, double at_target, double mean, double smoothing) {
    const double loss = below(r, at_target);
    return smoothing == 0 ? loss : (1 - smoothing) * loss + smoothing * below(r, mean);
}

/* Its derivative in that logit: exp - 1 without cancellation for a target that is nearly certain.
 * each is the part of q that every class has. */
static double target_slope(LogSumExp r, double at_target, double smoothing, double each) {
    return expm1((at_target - r.max) - r.log_sum) + smoothing - each;
}

typedef struct {
    const Tensor *loss, *dx, *lse, *x, *target, *scale;
    int64_t ignore;
    double smoothing;
} CrossEntropy;

static void cross_entropy_rows(int64_t begin, int64_t end, void *context) {
    const CrossEntropy *c = context;
    const Tensor *x = c->x;
    const TensorKernels *k = tensor_kernels(x->dtype);
    const Target to = {.dtype = x->dtype};
    const int64_t v = x->shape[1];
    for (int64_t i = begin; i < end; i++) {
        const int64_t t = *(const int64_t *)element(c->target, i);
        char *row = element(x, i);
        LogSumExp r = log_sum_exp(k, v, row, x->stride[1]);
        double l = 0;
        if (t != c->ignore) {
            assert(t >= 0 && t < v);
            const double mean =
                c->smoothing == 0 ? 0 : k->sum_run(v, row, x->stride[1]) / (double)v;
            l = row_loss(r, real_at(x->dtype, entry(x, row, t)), mean, c->smoothing);
        }
        double *saved = (double *)c->lse->data + 2 * i;
        saved[0] = r.max;
        saved[1] = r.log_sum;
        put(&to, element(c->loss, i), l);
    }
}

void tensor_cross_entropy(const Tensor *loss, const Tensor *lse, const Tensor *x,
                          const Tensor *target, int64_t ignore, double smoothing) {
    CrossEntropy c = {.loss = loss, .lse = lse, .x = x, .target = target, .ignore = ignore,
                      .smoothing = smoothing};
    assert(x->ndim == 2);
    const int64_t n = x->shape[0], v = x->shape[1];
    assert(is_row_vector(loss, x->dtype, n) && is_lse(lse, n));
    assert(is_row_vector(target, TENSOR_I64, n));
    tensor_parallel_work(n, (double)v * EXP_NS, cross_entropy_rows, &c);
}

static void fill_row(const Tensor *y, void *row, double value) {
    float f32 = (float)value;
    void *one = y->dtype == TENSOR_F32 ? (void *)&f32 : (void *)&value;
    tensor_convert_run(y->dtype, y->dtype)(y->shape[1], (void *[]){row, one},
                                           (int64_t[]){y->stride[1], 0}, NULL);
}

static void cross_entropy_backward_rows(int64_t begin, int64_t end, void *context) {
    const CrossEntropy *e = context;
    const Tensor *x = e->x, *dx = e->dx;
    const TensorKernels *k = tensor_kernels(x->dtype);
    const Target to = {.dtype = x->dtype};
    const int64_t v = x->shape[1];
    for (int64_t i = begin; i < end; i++) {
        const int64_t t = *(const int64_t *)element(e->target, i);
        char *row = element(x, i), *dx_row = element(dx, i);
        if (t == e->ignore) {
            fill_row(dx, dx_row, 0);
            continue;
        }
        assert(t >= 0 && t < v);
        const double c = real_at(x->dtype, element(e->scale, i));
        const double *saved = (const double *)e->lse->data + 2 * i;
        const LogSumExp r = {saved[0], saved[1]};
        const double each = e->smoothing / (double)v;
        /* read before the row is written, as dx may be x */
        const double slope =
            target_slope(r, real_at(x->dtype, entry(x, row, t)), e->smoothing, each);
        k->exp_scaled(v, dx_row, dx->stride[1], row, x->stride[1], r.max, c * exp(-r.log_sum));
        if (e->smoothing != 0) {
            k->affine(v, (void *[]){dx_row, dx_row}, (int64_t[]){dx->stride[1], dx->stride[1]},
                      &(TensorAffine){1, -c * each});
        }
        put(&to, entry(dx, dx_row, t), c * slope);
    }
}

void tensor_cross_entropy_backward(const Tensor *dx, const Tensor *x, const Tensor *lse,
                                   const Tensor *target, int64_t ignore, double smoothing,
                                   const Tensor *scale) {
    CrossEntropy c = {.dx = dx, .lse = lse, .x = x, .target = target, .scale = scale,
                      .ignore = ignore, .smoothing = smoothing};
    assert(x->ndim == 2 && dx->dtype == x->dtype && tensor_same_shape(dx, x));
    const int64_t n = x->shape[0], v = x->shape[1];
    assert(is_lse(lse, n) && is_row_vector(scale, x->dtype, n));
    assert(is_row_vector(target, TENSOR_I64, n));
    tensor_parallel_work(n, (double)v * EXP_NS, cross_entropy_backward_rows, &c);
}

typedef struct {
    const Tensor *loss, *x, *target;
    const void *bias;
    int64_t ignore;
    double smoothing;
    bool gradient;
} InPlace;

/* The row becomes exp(x - max), and that, with the gradient, what belongs there: three passes over
 * memory that is in the cache. */
static double row_in_place(const InPlace *o, char *row, int64_t t) {
    const Target to = {.dtype = o->x->dtype};
    const TensorKernels *k = tensor_kernels(to.dtype);
    const int64_t v = o->x->shape[1];
    const double max = k->add_max(v, row, o->bias);
    const double at_target = real_at(to.dtype, entry(o->x, row, t));
    const double mean = o->smoothing == 0 ? 0 : k->sum_run(v, row, 1) / (double)v;
    const LogSumExp r = log_sum_exp_of(max, k->exp_sum(v, row, max));
    if (o->gradient) {
        const double each = o->smoothing / (double)v;
        k->affine(v, (void *[]){row, row}, (int64_t[]){1, 1},
                  &(TensorAffine){exp(-r.log_sum), -each});
        put(&to, entry(o->x, row, t), target_slope(r, at_target, o->smoothing, each));
    }
    return row_loss(r, at_target, mean, o->smoothing);
}

static void rows_in_place(int64_t begin, int64_t end, void *context) {
    const InPlace *o = context;
    const Target to = {.dtype = o->x->dtype};
    for (int64_t i = begin; i < end; i++) {
        const int64_t t = *(const int64_t *)element(o->target, i);
        char *row = element(o->x, i);
        double loss = 0;
        if (t != o->ignore) {
            assert(t >= 0 && t < o->x->shape[1]);
            loss = row_in_place(o, row, t);
        } else if (o->gradient) {
            fill_row(o->x, row, 0);
        }
        put(&to, element(o->loss, i), loss);
    }
}

void tensor_cross_entropy_in_place(const Tensor *loss, const Tensor *x, const Tensor *bias,
                                   const Tensor *target, int64_t ignore, double smoothing,
                                   bool gradient) {
    assert(x->ndim == 2 && tensor_is_contiguous(x));
    const int64_t n = x->shape[0], v = x->shape[1];
    assert(is_row_vector(loss, x->dtype, n) && is_row_vector(target, TENSOR_I64, n));
    assert(bias == NULL || (is_row_vector(bias, x->dtype, v) && tensor_is_contiguous(bias)));
    InPlace o = {loss, x, target, bias != NULL ? bias->data : NULL, ignore, smoothing, gradient};
    tensor_parallel_work(n, (double)v * EXP_NS, rows_in_place, &o);
}

/* ---- layer normalisation ---- */

static bool is_matrix(const Tensor *t, TensorDtype dtype, int64_t rows, int64_t n) {
    return t->dtype == dtype && t->ndim == 2 && t->shape[0] == rows && t->shape[1] == n &&
           tensor_is_contiguous(t);
}

static bool is_row_or_null(const Tensor *t, TensorDtype dtype, int64_t n) {
    return t == NULL || (is_row_vector(t, dtype, n) && tensor_is_contiguous(t));
}

static const void *data_of(const Tensor *t) {
    return t != NULL ? t->data : NULL;
}

typedef struct {
    const Tensor *y, *stats, *x, *weight, *bias; /* forward */
    const Tensor *dx, *g;                        /* backward */
    double *dweight, *dbias, eps;
} LayerNorm;

static void layer_norm_rows(int64_t begin, int64_t end, void *context) {
    const LayerNorm *o = context;
    const TensorKernels *k = tensor_kernels(o->x->dtype);
    const int64_t n = o->x->shape[1], row_size = n * (int64_t)tensor_dtype_size(o->x->dtype);
    for (int64_t i = begin; i < end; i++) {
        const char *from = (const char *)o->x->data + i * row_size;
        double *stat = (double *)o->stats->data + 2 * i;
        const double mean = k->sum_run(n, from, 1) / (double)n;
        const double squares = k->term_run[TENSOR_DEVIATION](n, from, 1, mean, 0);
        stat[0] = mean;
        stat[1] = 1 / sqrt(squares / (double)n + o->eps);
        k->layer_norm(n, (char *)o->y->data + i * row_size, from, data_of(o->weight),
                      data_of(o->bias), stat[0], stat[1]);
    }
}

void tensor_layer_norm(const Tensor *y, const Tensor *stats, const Tensor *x,
                       const Tensor *weight, const Tensor *bias, double eps) {
    LayerNorm o = {.y = y, .stats = stats, .x = x, .weight = weight, .bias = bias, .eps = eps};
    const int64_t rows = x->shape[0], n = x->shape[1];
    assert(is_matrix(x, x->dtype, rows, n) && is_matrix(y, x->dtype, rows, n));
    assert(is_matrix(stats, TENSOR_F64, rows, 2));
    assert(is_row_or_null(weight, x->dtype, n) && is_row_or_null(bias, x->dtype, n));
    tensor_parallel_work(rows, 3 * (double)n * ELEMENT_NS, layer_norm_rows, &o);
}

static double *sums_of(const Tensor *sums, int64_t n) {
    if (sums == NULL) {
        return NULL;
    }
    assert(is_row_vector(sums, TENSOR_F64, n) && tensor_is_contiguous(sums));
    tensor_fill(sums, 0);
    return sums->data;
}

static void layer_norm_backward_rows(int64_t begin, int64_t end, void *context) {
    const LayerNorm *o = context;
    const int64_t n = o->x->shape[1], row_size = n * (int64_t)tensor_dtype_size(o->x->dtype);
    for (int64_t i = begin; i < end; i++) {
        const double *stat = (const double *)o->stats->data + 2 * i;
        tensor_kernels(o->x->dtype)
            ->layer_norm_backward(n, o->dx != NULL ? (char *)o->dx->data + i * row_size : NULL,
                                  o->dweight, o->dbias, (const char *)o->g->data + i * row_size,
                                  (const char *)o->x->data + i * row_size, data_of(o->weight),
                                  stat[0], stat[1]);
    }
}

void tensor_layer_norm_backward(const Tensor *dx, const Tensor *dweight, const Tensor *dbias,
                                const Tensor *g, const Tensor *x, const Tensor *stats,
                                const Tensor *weight) {
    const int64_t rows = x->shape[0], n = x->shape[1];
    LayerNorm o = {.stats = stats, .x = x, .weight = weight, .dx = dx, .g = g,
                   .dweight = sums_of(dweight, n), .dbias = sums_of(dbias, n)};
    assert(is_matrix(x, x->dtype, rows, n) && is_matrix(g, x->dtype, rows, n));
    assert(dx == NULL || is_matrix(dx, x->dtype, rows, n));
    assert(is_matrix(stats, TENSOR_F64, rows, 2) && is_row_or_null(weight, x->dtype, n));
    /* dweight and dbias are sums over rows, in their order */
    if (o.dweight != NULL || o.dbias != NULL) {
        layer_norm_backward_rows(0, rows, &o);
    } else {
        tensor_parallel_work(rows, 4 * (double)n * ELEMENT_NS, layer_norm_backward_rows, &o);
    }
}
