/* strided.c -- nests of loops over tensors of different strides.
 *
 * 1. Each operand is expanded: an axis that it lacks, or along which its size is
 *    1, gets the stride 0.  Axes of size 1 are dropped.
 * 2. Axes are sorted by the result's stride, the smallest innermost, so that the
 *    result is written from front to back.
 * 3. Neighbouring axes are merged where all operands allow: contiguous operands
 *    of one shape become a single loop.
 * 4. The kernel gets the innermost axis; the others are counted through.
 *
 * Two nests need more.  Where an operand is laid out along another axis than the
 * result (a transposition), going through the innermost axis touches a new cache
 * line at every step and comes back to it only in the next pass, too late.  And
 * where the innermost axis is short, the cost of a call dominates.  Both are run
 * in tiles over two axes, so that cache lines are used up while they are at hand;
 * in the second case the two axes change places first.
 *
 * Threads share a nest by parts of one axis. */
#include "tensor/strided.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/parallel.h"

enum {
    TILE_ROWS = 16,    /* floats in a cache line */
    TILE_LENGTH = 128, /* so many lines of two operands fit the first cache */
    SHORT = 8,         /* innermost axes below this are worth a change of places */
    LINE = 64,         /* bytes of a cache line */
    SHARES = 8,        /* axes of fewer steps share badly among threads */
};

/* The stride of t along axis d of an ndim-dimensional shape with size n there. */
static int64_t expanded_stride(const Tensor *t, int ndim, int d, int64_t n) {
    int own = d - (ndim - t->ndim);
    if (own < 0 || (t->shape[own] == 1 && n != 1)) {
        return 0;
    }
    assert(t->shape[own] == n && "operand does not broadcast to the result");
    return t->stride[own];
}

void tensor_loops(TensorLoops *l, int operands, const Tensor *const *t, int ndim,
                  const int64_t *shape) {
    assert(operands >= 1 && operands <= TENSOR_MAX_OPERANDS);
    assert(ndim >= 0 && ndim <= TENSOR_MAX_DIMS);
    l->operands = operands;
    l->ndim = 0;
    l->count = 1;
    for (int i = 0; i < operands; i++) {
        assert(t[i]->ndim >= 0 && t[i]->ndim <= ndim);
        l->width[i] = (int64_t)tensor_dtype_size(t[i]->dtype);
    }
    for (int d = 0; d < ndim; d++) {
        const int to = l->ndim; /* below d + 1; an axis of size 1 is overwritten */
        l->count *= shape[d];
        for (int i = 0; i < operands; i++) {
            l->stride[to][i] = expanded_stride(t[i], ndim, d, shape[d]);
        }
        l->size[to] = shape[d];
        l->ndim += shape[d] != 1;
    }
}

static bool can_merge(const TensorLoops *l, int outer, int inner) {
    for (int i = 0; i < l->operands; i++) {
        if (l->stride[outer][i] != l->stride[inner][i] * l->size[inner]) {
            return false;
        }
    }
    return true;
}

void tensor_loops_merge(TensorLoops *l) {
    int last = 0; /* the axis that the next one may join */
    if (l->count == 0) {
        return;
    }
    for (int d = 1; d < l->ndim; d++) {
        int64_t size = l->size[d];
        if (can_merge(l, last, d)) {
            size *= l->size[last];
        } else {
            last++;
        }
        l->size[last] = size;
        memcpy(l->stride[last], l->stride[d], sizeof l->stride[d]);
    }
    l->ndim = l->ndim > 0 ? last + 1 : 0;
}

/* True if axis a belongs outside axis b. */
static bool is_outer(const TensorLoops *l, int a, int b) {
    for (int i = 0; i < l->operands; i++) {
        int64_t u = llabs(l->stride[a][i]), v = llabs(l->stride[b][i]);
        if (u != v) {
            return u > v;
        }
    }
    return false;
}

static void swap_axes(TensorLoops *l, int a, int b) {
    int64_t size = l->size[a], stride[TENSOR_MAX_OPERANDS];
    l->size[a] = l->size[b];
    l->size[b] = size;
    memcpy(stride, l->stride[a], sizeof stride);
    memcpy(l->stride[a], l->stride[b], sizeof stride);
    memcpy(l->stride[b], stride, sizeof stride);
}

void tensor_loops_sort(TensorLoops *l) {
    for (int d = 1; d < l->ndim; d++) {
        for (int k = d; k > 0 && is_outer(l, k, k - 1); k--) {
            swap_axes(l, k, k - 1);
        }
    }
    tensor_loops_merge(l);
}

static void advance(const TensorLoops *l, int axis, int64_t steps, void **p) {
    for (int i = 0; i < l->operands; i++) {
        p[i] = (char *)p[i] + steps * l->stride[axis][i] * l->width[i];
    }
}

bool tensor_loops_next(const TensorLoops *l, int axes, int64_t *at, void **p) {
    for (int d = axes - 1; d >= 0; d--) {
        if (++at[d] < l->size[d]) {
            advance(l, d, 1, p);
            return true;
        }
        at[d] = 0;
        advance(l, d, 1 - l->size[d], p);
    }
    return false;
}

void tensor_loops_seek(const TensorLoops *l, int axes, int64_t i, int64_t *at, void **p) {
    for (int d = axes - 1; d >= 0; d--) {
        const int64_t step = i % l->size[d];
        i /= l->size[d];
        advance(l, d, step - at[d], p);
        at[d] = step;
    }
}

static void run_rows(const TensorLoops *l, void *const *start, TensorRun *run,
                     const void *options) {
    static const int64_t ones[TENSOR_MAX_OPERANDS] = {1, 1, 1, 1};
    int64_t at[TENSOR_MAX_DIMS] = {0};
    void *p[TENSOR_MAX_OPERANDS];
    int inner = l->ndim - 1;
    if (l->count == 0) {
        return;
    }
    memcpy(p, start, (size_t)l->operands * sizeof *p);
    if (l->ndim == 0) {
        run(1, p, ones, options);
        return;
    }
    do {
        run(l->size[inner], p, l->stride[inner], options);
    } while (tensor_loops_next(l, inner, at, p));
}

/* The axis along which some operand is laid out more densely than along the
 * innermost one, where it is far from dense; or -1. */
static int crossing_axis(const TensorLoops *l) {
    int inner = l->ndim - 1;
    for (int i = 0; i < l->operands; i++) {
        int best = -1;
        int64_t least = llabs(l->stride[inner][i]);
        if (least * l->width[i] < LINE) {
            continue;
        }
        for (int d = 0; d < inner; d++) {
            int64_t stride = llabs(l->stride[d][i]);
            if (stride != 0 && stride < least) {
                best = d;
                least = stride;
            }
        }
        if (best >= 0) {
            return best;
        }
    }
    return -1;
}

/* The longest axis if it is much longer than a short innermost one, or -1. */
static int long_axis(const TensorLoops *l) {
    int inner = l->ndim - 1, longest = inner;
    for (int d = 0; d < inner; d++) {
        longest = l->size[d] > l->size[longest] ? d : longest;
    }
    return l->size[inner] < SHORT && l->size[longest] >= 4 * l->size[inner] ? longest : -1;
}

static void run_tile(const TensorLoops *l, void *const *start, int64_t rows, int64_t n,
                     TensorRun *run, const void *options) {
    void *p[TENSOR_MAX_OPERANDS];
    memcpy(p, start, (size_t)l->operands * sizeof *p);
    for (int64_t r = 0; r < rows; r++) {
        run(n, p, l->stride[l->ndim - 1], options);
        advance(l, l->ndim - 2, 1, p);
    }
}

static int64_t least_of(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The innermost two axes, tile by tile. */
static void run_tiles(const TensorLoops *l, void *const *start, TensorRun *run,
                      const void *options) {
    const int inner = l->ndim - 1, outer = l->ndim - 2;
    const int64_t rows = l->size[outer], n = l->size[inner];
    void *p[TENSOR_MAX_OPERANDS];
    for (int64_t r = 0; r < rows; r += TILE_ROWS) {
        for (int64_t i = 0; i < n; i += TILE_LENGTH) {
            memcpy(p, start, (size_t)l->operands * sizeof *p);
            advance(l, outer, r, p);
            advance(l, inner, i, p);
            run_tile(l, p, least_of(TILE_ROWS, rows - r), least_of(TILE_LENGTH, n - i), run,
                     options);
        }
    }
}

void tensor_loops_run(const TensorLoops *l, void *const *start, TensorRun *run,
                      const void *options) {
    int64_t at[TENSOR_MAX_DIMS] = {0};
    void *p[TENSOR_MAX_OPERANDS];
    int inner = l->ndim - 1, lengthy, partner;
    if (l->count == 0 || l->ndim < 2 ||
        ((lengthy = long_axis(l)) < 0 && (partner = crossing_axis(l)) < 0)) {
        run_rows(l, start, run, options);
        return;
    }
    TensorLoops tiled = *l;
    if (lengthy >= 0) {
        swap_axes(&tiled, lengthy, inner); /* what was innermost now stands at `lengthy` */
        partner = lengthy;
    }
    swap_axes(&tiled, partner, inner - 1);
    memcpy(p, start, (size_t)l->operands * sizeof *p);
    do {
        run_tiles(&tiled, p, run, options);
    } while (tensor_loops_next(&tiled, inner - 1, at, p));
}

/* ---- shared by threads ---- */

typedef struct {
    const TensorLoops *l;
    void *const *start;
    TensorPart *f;
    const void *context;
    int axis;
    int64_t block; /* steps of the axis that stay together */
} Parts;

static void run_part(int64_t begin, int64_t end, void *context) {
    const Parts *s = context;
    TensorLoops part = *s->l;
    void *p[TENSOR_MAX_OPERANDS];
    memcpy(p, s->start, (size_t)part.operands * sizeof *p);
    const int64_t size = part.size[s->axis], first = begin * s->block;
    part.size[s->axis] = least_of(end * s->block, size) - first;
    part.count = part.count / size * part.size[s->axis];
    advance(&part, s->axis, first, p);
    s->f(&part, p, s->context);
}

/* The outermost axis of some length, so that a thread's memory lies together; else the longest;
 * -1: there is none. */
static int axis_to_share(const TensorLoops *l) {
    int longest = -1;
    for (int d = 0; d < l->ndim; d++) {
        if (l->stride[d][0] == 0) {
            continue;
        }
        if (l->size[d] >= SHARES) {
            return d;
        }
        longest = longest < 0 || l->size[d] > l->size[longest] ? d : longest;
    }
    return longest;
}

/* Of the innermost axis cache lines and vectors stay whole. */
static int64_t block_of(const TensorLoops *l, int axis) {
    if (axis < l->ndim - 1) {
        return 1;
    }
    return l->size[axis] < SHARES * CHUNK ? LINE : CHUNK;
}

void tensor_loops_parts(const TensorLoops *l, void *const *start, double ns, TensorPart *f,
                        const void *context) {
    const int axis = (double)l->count * ns < TENSOR_WORTH_NS ? -1 : axis_to_share(l);
    if (axis < 0) {
        f(l, start, context);
        return;
    }
    const int64_t size = l->size[axis], block = block_of(l, axis);
    const double steps = (double)(l->count / size) * (double)block;
    Parts s = {l, start, f, context, axis, block};
    tensor_parallel_work((size - 1) / block + 1, steps * ns, run_part, &s);
}

typedef struct {
    TensorRun *run;
    const void *options;
} Runs;

static void run_runs(const TensorLoops *part, void *const *start, const void *context) {
    const Runs *r = context;
    tensor_loops_run(part, start, r->run, r->options);
}

void tensor_loops_share(const TensorLoops *l, void *const *start, TensorRun *run,
                        const void *options, double ns) {
    tensor_loops_parts(l, start, ns, run_runs, &(Runs){run, options});
}

typedef struct {
    const TensorLoops *l;
    int axes;
    void *const *start;
    TensorPass *f;
    const void *context;
} Passes;

static void run_passes(int64_t begin, int64_t end, void *context) {
    const Passes *s = context;
    int64_t at[TENSOR_MAX_DIMS] = {0};
    void *p[TENSOR_MAX_OPERANDS];
    memcpy(p, s->start, (size_t)s->l->operands * sizeof *p);
    tensor_loops_seek(s->l, s->axes, begin, at, p);
    for (int64_t i = begin; i < end; i++) {
        s->f(p, s->context);
        tensor_loops_next(s->l, s->axes, at, p);
    }
}

void tensor_loops_each(const TensorLoops *l, int axes, void *const *start, double ns,
                       TensorPass *f, const void *context) {
    int64_t n = 1;
    for (int d = 0; d < axes; d++) {
        n *= l->size[d];
    }
    if (l->count != 0) {
        tensor_parallel_work(n, ns, run_passes, &(Passes){l, axes, start, f, context});
    }
}
