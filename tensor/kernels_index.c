/* kernels_index.c -- reading and adding by index. */
#include <assert.h>

#include "tensor/kernels.h"
#include "tensor/kernels_table.h"
#include "tensor/parallel.h"
#include "tensor/strided.h"

static int64_t checked(int64_t index, int64_t n) {
    assert(index >= 0 && index < n && "index out of range");
    (void)n;
    return index;
}

/* ---- whole slices ---- */

static const double COPY_NS = .25, JUMP_NS = 1; /* of an element, roughly */

/* The slices to[.., ti, ..] and from[.., fi, ..] along an axis, where one of ti and fi is i and
 * the other is index[i]: the nest over one, from slice to slice, and what is done in each. */
typedef struct {
    TensorLoops l;
    void *p[2];      /* to, from */
    int64_t step[2]; /* bytes */
    const Tensor *index;
    int64_t size; /* of the axis that is indexed */
    bool index_is_to;
    TensorRun *run;
} Slices;

/* False: there is nothing to do. */
static bool set_slices(Slices *s, const Tensor *y, const Tensor *x, int axis, const Tensor *index,
                       bool index_is_to, TensorRun *run) {
    const Tensor to = tensor_at_least_1d(y), from = tensor_at_least_1d(x);
    const Tensor *indexed = index_is_to ? &to : &from, *counted = index_is_to ? &from : &to;
    const int d = tensor_axis(indexed, axis);
    const int64_t n = index->shape[0];
    assert(index->dtype == TENSOR_I64 && index->ndim == 1);
    assert(d >= 0 && to.ndim == from.ndim && counted->shape[d] == n);
    if (n == 0) {
        return false;
    }
    assert(indexed->shape[d] > 0);
    const Tensor first[] = {tensor_select(&to, d, 0), tensor_select(&from, d, 0)};
    assert(tensor_same_shape(&first[0], &first[1]));
    tensor_loops(&s->l, 2, (const Tensor *[]){&first[0], &first[1]}, first[0].ndim,
                 first[0].shape);
    tensor_loops_sort(&s->l);
    s->p[0] = first[0].data;
    s->p[1] = first[1].data;
    s->step[0] = to.stride[d] * s->l.width[0];
    s->step[1] = from.stride[d] * s->l.width[1];
    s->index = index;
    s->size = indexed->shape[d];
    s->index_is_to = index_is_to;
    s->run = run;
    return s->l.count != 0;
}

/* q: the places in slice i that p are in the first. */
static void at_slice(const Slices *s, int64_t i, void *const *p, void **q) {
    const int64_t at = checked(((int64_t *)s->index->data)[i * s->index->stride[0]], s->size);
    q[0] = (char *)p[0] + (s->index_is_to ? at : i) * s->step[0];
    q[1] = (char *)p[1] + (s->index_is_to ? i : at) * s->step[1];
}

static void select_slices(int64_t begin, int64_t end, void *context) {
    const Slices *s = context;
    void *p[2];
    for (int64_t i = begin; i < end; i++) {
        at_slice(s, i, s->p, p);
        tensor_loops_share(&s->l, p, s->run, NULL, COPY_NS);
    }
}

void tensor_index_select(const Tensor *y, const Tensor *x, int axis, const Tensor *index) {
    Slices s;
    assert(x->dtype == y->dtype);
    if (set_slices(&s, y, x, axis, index, false, tensor_convert_run(y->dtype, x->dtype))) {
        tensor_parallel_work(index->shape[0], (double)s.l.count * COPY_NS, select_slices, &s);
    }
}

/* Threads share the places in y, so that what meets in one is added in the order of i. */
enum { SHARES = 4 };

static void add_slices(int64_t begin, int64_t end, void *context) {
    const Slices *s = context;
    const int64_t *entry = s->index->data, stride = s->index->stride[0];
    void *p[2];
    for (int64_t i = 0; i < s->index->shape[0]; i++) {
        const int64_t share = (int64_t)((uint64_t)entry[i * stride] % SHARES);
        if (share >= begin && share < end) {
            at_slice(s, i, s->p, p);
            tensor_loops_run(&s->l, p, s->run, NULL);
        }
    }
}

void tensor_index_add(const Tensor *y, int axis, const Tensor *index, const Tensor *g) {
    Slices s;
    assert(g->dtype == y->dtype && !tensor_is_overlapping(y));
    if (set_slices(&s, y, g, axis, index, true, tensor_kernels(y->dtype)->accumulate)) {
        const double ns = (double)index->shape[0] * (double)s.l.count * COPY_NS;
        tensor_parallel_work(SHARES, ns / SHARES, add_slices, &s);
    }
}

/* ---- single elements ---- */

/* The axis of the indexed tensor, whose elements lie `stride` apart. */
typedef struct {
    int64_t size, stride;
} Axis;

/* p: y, x, index */
#define GATHER(name, type)                                                                     \
    static void name(int64_t n, void *const *p, const int64_t *s, const void *options) {       \
        const Axis *axis = options;                                                            \
        type *y = p[0];                                                                        \
        const type *x = p[1];                                                                  \
        const int64_t *index = p[2];                                                           \
        for (int64_t i = 0; i < n; i++) {                                                      \
            y[i * s[0]] = x[i * s[1] + checked(index[i * s[2]], axis->size) * axis->stride];   \
        }                                                                                      \
    }
GATHER(gather_f32, float)
GATHER(gather_f64, double)
GATHER(gather_i64, int64_t)
GATHER(gather_u8, uint8_t)

/* p: g, y, index */
#define SCATTER_ADD(name, type)                                                                \
    static void name(int64_t n, void *const *p, const int64_t *s, const void *options) {       \
        const Axis *axis = options;                                                            \
        const type *g = p[0];                                                                  \
        type *y = p[1];                                                                        \
        const int64_t *index = p[2];                                                           \
        for (int64_t i = 0; i < n; i++) {                                                      \
            y[i * s[1] + checked(index[i * s[2]], axis->size) * axis->stride] += g[i * s[0]];  \
        }                                                                                      \
    }
SCATTER_ADD(scatter_add_f32, float)
SCATTER_ADD(scatter_add_f64, double)

/* The nest over index's shape: t, whole (the indexed tensor; its axis is left to the
 * index, by a stride of 0), index.  Other axes of whole may be longer than index's. */
static void index_loops(TensorLoops *l, const Tensor *t, const Tensor *whole, int d,
                        const Tensor *index) {
    Tensor part = *whole;
    assert(index->dtype == TENSOR_I64 && tensor_same_shape(t, index));
    assert(d >= 0 && whole->ndim == index->ndim);
    for (int k = 0; k < part.ndim; k++) {
        assert(k == d || index->shape[k] <= whole->shape[k]);
        part.shape[k] = index->shape[k];
    }
    part.stride[d] = 0;
    tensor_loops(l, 3, (const Tensor *[]){t, &part, index}, index->ndim, index->shape);
}

void tensor_gather(const Tensor *y, const Tensor *x, int axis, const Tensor *index) {
    static TensorRun *const runs[] = {[TENSOR_F32] = gather_f32,
                                      [TENSOR_F64] = gather_f64,
                                      [TENSOR_I64] = gather_i64,
                                      [TENSOR_U8] = gather_u8};
    const Tensor to = tensor_at_least_1d(y), from = tensor_at_least_1d(x);
    const Tensor places = tensor_at_least_1d(index);
    const int d = tensor_axis(&from, axis);
    assert(x->dtype == y->dtype);
    TensorLoops l;
    index_loops(&l, &to, &from, d, &places);
    Axis o = {.size = from.shape[d], .stride = from.stride[d]};
    tensor_loops_sort(&l);
    tensor_loops_share(&l, (void *[]){y->data, x->data, index->data}, runs[y->dtype], &o, JUMP_NS);
}

void tensor_scatter_add(const Tensor *y, int axis, const Tensor *index, const Tensor *g) {
    const Tensor to = tensor_at_least_1d(y), from = tensor_at_least_1d(g);
    const Tensor places = tensor_at_least_1d(index);
    const int d = tensor_axis(&to, axis);
    assert(g->dtype == y->dtype && tensor_dtype_is_float(y->dtype));
    assert(!tensor_is_overlapping(y));
    TensorLoops l;
    index_loops(&l, &from, &to, d, &places);
    Axis o = {.size = to.shape[d], .stride = to.stride[d]};
    /* Only elements that differ along the axis alone can meet in one place of y, and
     * every order of loops goes up along it: the sums are those of row-major order. */
    tensor_loops_sort(&l);
    tensor_loops_run(&l, (void *[]){g->data, y->data, index->data},
                     y->dtype == TENSOR_F32 ? scatter_add_f32 : scatter_add_f64, &o);
}

int64_t tensor_index_invalid(const Tensor *index, int64_t n, const int64_t *skip) {
    TensorLoops l;
    tensor_loops(&l, 1, &index, index->ndim, index->shape);
    int64_t at[TENSOR_MAX_DIMS] = {0}, first = 0;
    void *p[] = {index->data};
    assert(index->dtype == TENSOR_I64);
    if (l.count == 0) {
        return -1;
    }
    tensor_loops_merge(&l);
    const int inner = l.ndim - 1;
    const int64_t length = inner >= 0 ? l.size[inner] : 1;
    const int64_t stride = inner >= 0 ? l.stride[inner][0] : 0;
    do {
        const int64_t *entry = p[0];
        for (int64_t i = 0; i < length; i++) {
            int64_t e = entry[i * stride];
            if ((e < 0 || e >= n) && (skip == NULL || e != *skip)) {
                return first + i;
            }
        }
        first += length;
    } while (tensor_loops_next(&l, inner, at, p));
    return -1;
}
