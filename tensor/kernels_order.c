/* kernels_order.c -- the k largest or smallest, and triangles of matrices. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tensor/strided.h"

/* ---- topk ----
 * A heap of the k best seen so far, the worst of them on top: an element that does not beat it
 * costs one comparison. */

typedef struct {
    double value;
    int64_t index;
} Entry;

/* True if a comes before b in the result. */
static inline bool comes_before(Entry a, Entry b, bool largest) {
    const bool a_nan = isnan(a.value), b_nan = isnan(b.value);
    if (a_nan || b_nan) {
        return a_nan && b_nan ? a.index < b.index : a_nan == largest;
    }
    if (a.value != b.value) {
        return (a.value > b.value) == largest;
    }
    return a.index < b.index;
}

/* Puts e in the place of heap[0] among k entries. */
static void replace_top(Entry *heap, int64_t k, Entry e, bool largest) {
    int64_t at = 0;
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= k) {
            break;
        }
        if (child + 1 < k && comes_before(heap[child], heap[child + 1], largest)) {
            child++; /* the worse of the two */
        }
        if (comes_before(heap[child], e, largest)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = e;
}

static void push(Entry *heap, int64_t n, Entry e, bool largest) {
    int64_t at = n;
    while (at > 0 && comes_before(heap[(at - 1) / 2], e, largest)) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = e;
}

static inline Entry entry_at(TensorDtype dtype, const void *x, int64_t offset, int64_t index) {
    return (Entry){dtype == TENSOR_F32 ? (double)((const float *)x)[offset]
                                       : ((const double *)x)[offset],
                   index};
}

/* A line and its result: n elements, k of them wanted. */
typedef struct {
    TensorDtype dtype;
    int64_t n, k;
    int64_t value_stride, index_stride, x_stride;
    bool largest;
} Line;

static void find_best(const Line *l, const void *x, Entry *heap) {
    for (int64_t i = 0; i < l->n; i++) {
        Entry e = entry_at(l->dtype, x, i * l->x_stride, i);
        if (i < l->k) {
            push(heap, i, e, l->largest);
        } else if (comes_before(e, heap[0], l->largest)) {
            replace_top(heap, l->k, e, l->largest);
        }
    }
}

/* Takes the worst off the heap, from the last place to the first. */
static void write_sorted(const Line *l, Entry *heap, void *values, int64_t *indices) {
    for (int64_t i = l->k; i-- > 0;) {
        Entry e = heap[0];
        if (l->dtype == TENSOR_F32) {
            ((float *)values)[i * l->value_stride] = (float)e.value;
        } else {
            ((double *)values)[i * l->value_stride] = e.value;
        }
        indices[i * l->index_stride] = e.index;
        if (i > 0) {
            replace_top(heap, i, heap[i], l->largest);
        }
    }
}

bool tensor_topk(const Tensor *values, const Tensor *indices, const Tensor *x, int axis,
                 bool largest, TensorArena *scratch) {
    Tensor t[] = {tensor_at_least_1d(values), tensor_at_least_1d(indices), tensor_at_least_1d(x)};
    const int d = tensor_axis(&t[2], axis);
    assert(d >= 0 && tensor_same_shape(values, indices));
    assert(values->dtype == x->dtype && indices->dtype == TENSOR_I64);
    Line l = {x->dtype, t[2].shape[d], t[0].shape[d], t[0].stride[d], t[1].stride[d],
              t[2].stride[d], largest};
    assert(l.k >= 0 && l.k <= l.n);
    for (int i = 0; i < 3; i++) {
        t[i].shape[d] = 1;
    }
    assert(tensor_same_shape(&t[0], &t[2]));
    TensorLoops loops;
    tensor_loops(&loops, 3, (const Tensor *[]){&t[0], &t[1], &t[2]}, t[0].ndim, t[0].shape);
    if (loops.count == 0 || l.k == 0) {
        return true;
    }
    TensorArenaMark mark = tensor_arena_mark(scratch);
    Entry *heap = tensor_arena_alloc(scratch, (size_t)l.k * sizeof *heap);
    int64_t at[TENSOR_MAX_DIMS] = {0};
    void *p[] = {values->data, indices->data, x->data};
    if (heap != NULL) {
        do {
            find_best(&l, p[2], heap);
            write_sorted(&l, heap, p[0], p[1]);
        } while (tensor_loops_next(&loops, loops.ndim, at, p));
    }
    tensor_arena_release(scratch, mark);
    return heap != NULL;
}

/* ---- triangles ---- */

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

void tensor_triangle(const Tensor *y, const Tensor *x, int64_t diagonal, bool upper) {
    assert(y->ndim >= 2 && tensor_is_contiguous(y));
    const int64_t rows = y->shape[y->ndim - 2], columns = y->shape[y->ndim - 1];
    const int64_t width = (int64_t)tensor_dtype_size(y->dtype);
    const int64_t first = clamp(diagonal, -rows, columns); /* no further one makes a difference */
    tensor_convert(y, x);
    char *row = y->data;
    if (tensor_numel(y) == 0) {
        return;
    }
    for (int64_t i = 0, n = tensor_numel(y) / columns; i < n; i++, row += columns * width) {
        /* columns from `edge` on lie above the lower triangle, or before it below the upper */
        const int64_t edge = clamp(i % rows + first + !upper, 0, columns);
        if (upper) {
            memset(row, 0, (size_t)(edge * width));
        } else {
            memset(row + edge * width, 0, (size_t)((columns - edge) * width));
        }
    }
}
