/* kernels_sequence.c -- what runs over time, the first axis: the linear recurrence and the
 * depthwise convolution. */
#include <assert.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tensor/parallel.h"
#include "tensor/strided.h"

static void *at_element(const Tensor *x, int64_t offset) {
    return (char *)x->data + offset * (int64_t)tensor_dtype_size(x->dtype);
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* ---- the linear recurrence ----
 * Whole rows, so that memory is read and written from front to back; where the columns are more
 * than one loop, SCAN_STEPS of them at a time in each. */

enum { SCAN_STEPS = 16 };

static const double STEP_NS = .25, TAP_NS = .1; /* of an element, roughly */

/* The operands y, a, b and h: the nest over the columns, and from step to step. */
typedef struct {
    TensorLoops l;
    int64_t steps, step[4]; /* how many, and from one to the next in elements; h has none */
    void *p[4];
    void (*run)(int64_t n, int64_t columns, void *const *p, const int64_t *step,
                const int64_t *column);
} Scan;

/* x, which broadcasts to y, becomes operand i; returns its first step. */
static Tensor first_step(Scan *s, int i, const Tensor *x, const Tensor *y, bool reverse) {
    Tensor all = tensor_expand(x, y->ndim, y->shape);
    assert(!tensor_is_nil(&all) && x->dtype == y->dtype);
    if (reverse) {
        all = tensor_flip(&all, 0);
    }
    s->step[i] = all.stride[0];
    return tensor_select(&all, 0, 0);
}

/* Goes on by `steps` steps: the state is now the last of their rows. */
static void advance(Scan *s, int64_t steps) {
    s->p[3] = (char *)s->p[0] + (steps - 1) * s->step[0] * s->l.width[0];
    for (int i = 0; i < 3; i++) {
        s->p[i] = (char *)s->p[i] + steps * s->step[i] * s->l.width[i];
    }
    for (int d = 0; d < s->l.ndim; d++) {
        s->l.stride[d][3] = s->l.stride[d][0];
    }
}

/* All steps of a part of the columns. */
static void scan_part(const TensorLoops *part, void *const *start, const void *context) {
    static const int64_t dense[4] = {1, 1, 1, 1};
    Scan s = *(const Scan *)context;
    const int inner = part->ndim - 1;
    s.l = *part;
    memcpy(s.p, start, sizeof s.p);
    for (int64_t t = 0, steps; t < s.steps; t += steps) {
        int64_t at[TENSOR_MAX_DIMS] = {0};
        steps = least(SCAN_STEPS, s.steps - t);
        do {
            s.run(steps, inner < 0 ? 1 : s.l.size[inner], s.p, s.step,
                  inner < 0 ? dense : s.l.stride[inner]);
        } while (tensor_loops_next(&s.l, inner, at, s.p));
        advance(&s, steps);
    }
}

void tensor_linear_scan(const Tensor *y, const Tensor *a, const Tensor *b, const Tensor *h0,
                        bool reverse) {
    const Tensor none = {.dtype = y->dtype, .data = &(double){0}};
    assert(y->ndim >= 1 && !tensor_is_overlapping(y));
    if (tensor_numel(y) == 0) {
        return;
    }
    Scan s;
    Tensor first[3] = {first_step(&s, 0, y, y, reverse), first_step(&s, 1, a, y, reverse),
                       first_step(&s, 2, b, y, reverse)};
    const Tensor *state = h0 != NULL ? h0 : &none;
    tensor_loops(&s.l, 4, (const Tensor *[]){&first[0], &first[1], &first[2], state},
                 first[0].ndim, first[0].shape);
    tensor_loops_sort(&s.l);
    for (int i = 0; i < 3; i++) {
        s.p[i] = first[i].data;
    }
    s.p[3] = state->data;
    s.steps = y->shape[0];
    s.run = tensor_kernels(y->dtype)->linear_scan;
    tensor_loops_parts(&s.l, s.p, (double)s.steps * STEP_NS, scan_part, &s);
}

/* ---- depthwise convolution ---- */

/* How many taps, the last ones, meet an x at a step that has `others` steps on their side. */
static int64_t reach(int64_t others, int64_t dilation, int64_t width) {
    return least(others / dilation + 1, width);
}

/* Do the rows of one step and of the next lie the same distance apart? */
static bool is_one_run(const Tensor *x) {
    return x->stride[0] == x->shape[1] * x->stride[1];
}

static bool is_sequence(const Tensor *x, const Tensor *y) {
    return x->ndim == 3 && x->dtype == y->dtype && tensor_same_shape(x, y);
}

typedef struct {
    const Tensor *y, *x, *w, *bias; /* of the weights' gradient: y is dw, w is g */
    const TensorDepthwise *o;
} Depthwise;

enum { COLUMNS = 64 }; /* that stay together: the kernel's, and whole cache lines */

static int64_t blocks_of(int64_t n) { return (n + COLUMNS - 1) / COLUMNS; }

static void depthwise_columns(int64_t begin, int64_t end, void *context) {
    const Depthwise *d = context;
    const Tensor *y = d->y, *x = d->x, *w = d->w, *start = d->o->accumulate ? y : d->bias;
    const int64_t T = y->shape[0], B = y->shape[1], width = w->shape[0];
    const int64_t j = begin * COLUMNS, n = least(end * COLUMNS, y->shape[2]) - j;
    const int64_t x_tap = (d->o->ahead ? -1 : 1) * x->stride[0];
    const int64_t row[] = {y->stride[1], d->o->accumulate ? y->stride[1] : 0, x->stride[1]};
    const int64_t column[] = {y->stride[2], start ? start->stride[start->ndim - 1] : 0,
                              x->stride[2], w->stride[1]};
    const bool runs = is_one_run(y) && is_one_run(x);
    for (int64_t t = 0, steps; t < T; t += steps) {
        const int64_t taps = reach(d->o->ahead ? T - 1 - t : t, d->o->dilation, width);
        for (steps = 1; runs && t + steps < T; steps++) {
            if (reach(d->o->ahead ? T - 1 - t - steps : t + steps, d->o->dilation, width) != taps) {
                break;
            }
        }
        const int64_t back = (taps - 1) * d->o->dilation, y_at = t * y->stride[0];
        const int64_t start_at = (start == y ? y_at : 0) + j * column[1];
        void *p[] = {at_element(y, y_at + j * column[0]),
                     start ? at_element(start, start_at) : NULL,
                     at_element(x, t * x->stride[0] - back * x_tap + j * column[2]),
                     at_element(w, (width - taps) * w->stride[0] + j * column[3])};
        const int64_t tap[] = {0, 0, taps > 1 ? d->o->dilation * x_tap : 0, w->stride[0]};
        tensor_kernels(y->dtype)->depthwise(steps * B, n, taps, p, row, column, tap);
    }
}

void tensor_depthwise(const Tensor *y, const Tensor *x, const Tensor *w, const Tensor *bias,
                      const TensorDepthwise *o) {
    const int64_t n = y->shape[2], width = w->shape[0];
    Depthwise d = {.y = y, .x = x, .w = w, .bias = bias, .o = o};
    assert(is_sequence(x, y) && !tensor_is_overlapping(y) && o->dilation >= 1);
    assert(w->ndim == 2 && w->dtype == y->dtype && w->shape[1] == n && width >= 1);
    assert(bias == NULL || (bias->ndim == 1 && bias->dtype == y->dtype && bias->shape[0] == n));
    if (tensor_numel(y) != 0) {
        const double rows = (double)(y->shape[0] * y->shape[1]);
        tensor_parallel_work(blocks_of(n), rows * (double)width * COLUMNS * TAP_NS,
                             depthwise_columns, &d);
    }
}

/* Blocks of WEIGHT_ROWS rows by WEIGHT_COLUMNS columns are used for all taps while they are in
 * the second cache. */
enum { WEIGHT_ROWS = 32, WEIGHT_COLUMNS = 1024 };

/* acc += the sum over steps from..to-1 and the rows of each of g_t x_{t - s}, for m columns from
 * j on. */
static void add_products(double *acc, const Tensor *g, const Tensor *x, int64_t s, int64_t from,
                         int64_t to, int64_t j, int64_t m) {
    const bool run = is_one_run(g) && is_one_run(x);
    const int64_t B = g->shape[1], steps = run ? to - from : 1;
    for (int64_t t = from; t < to; t += steps) {
        tensor_kernels(g->dtype)->multiply_rows(
            steps * B, m, acc, at_element(g, t * g->stride[0] + j * g->stride[2]), g->stride[1],
            g->stride[2], at_element(x, (t - s) * x->stride[0] + j * x->stride[2]), x->stride[1],
            x->stride[2]);
    }
}

static void weight_columns(int64_t begin, int64_t end, void *context) {
    const Depthwise *d = context;
    const Tensor *dw = d->y, *x = d->x, *g = d->w;
    const int64_t T = g->shape[0], B = g->shape[1], n = g->shape[2], width = dw->shape[0];
    const int64_t dilation = d->o->dilation, taps = reach(T - 1, dilation, width);
    const int64_t steps = B < WEIGHT_ROWS ? WEIGHT_ROWS / B : 1;
    const int64_t last = least(end * COLUMNS, n);
    for (int64_t j = begin * COLUMNS; j < last; j += WEIGHT_COLUMNS) {
        for (int64_t t = 0; t < T; t += steps) {
            for (int64_t k = 0; k < taps; k++) { /* the k-th from the end */
                const int64_t s = k * dilation, from = t > s ? t : s;
                add_products((double *)dw->data + (width - 1 - k) * n + j, g, x, s, from,
                             least(t + steps, T), j, least(WEIGHT_COLUMNS, last - j));
            }
        }
    }
}

void tensor_depthwise_weight(const Tensor *dw, const Tensor *x, const Tensor *g,
                             int64_t dilation) {
    const int64_t n = g->shape[2], width = dw->shape[0];
    Depthwise d = {.y = dw, .x = x, .w = g, .o = &(TensorDepthwise){.dilation = dilation}};
    assert(is_sequence(x, g) && dw->ndim == 2 && dw->dtype == TENSOR_F64 && dilation >= 1);
    assert(dw->shape[1] == n && tensor_is_contiguous(dw));
    tensor_fill(dw, 0);
    if (tensor_numel(g) != 0) {
        const double rows = (double)(g->shape[0] * g->shape[1]);
        tensor_parallel_work(blocks_of(n), rows * (double)width * COLUMNS * TAP_NS,
                             weight_columns, &d);
    }
}
