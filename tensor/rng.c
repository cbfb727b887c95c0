#include "tensor/rng.h"

#include <Random123/philox.h>
#include <assert.h>
#include <math.h>
#include <string.h>

#include "tensor/kernels_table.h"
#include "tensor/parallel.h"

/* The kind of number stands in the counter, so that kinds do not share bits. */
enum { KIND_BITS32, KIND_UNIFORM, KIND_NORMAL, KIND_BELOW };

#define WORDS 4                 /* 64-bit words of one Philox block */
#define TWO_PI 6.28318530717958647692
#define UNIT_STEP 0x1p-53       /* the step of a uniform number */

static philox4x64_ctr_t block(TensorRngKey key, uint64_t kind, uint64_t number) {
    philox4x64_ctr_t counter = {{number, key.draw, kind, 0}};
    philox4x64_key_t words = {{key.seed, key.step}};
    return philox4x64_R(10, counter, words);
}

/* Blocks number .. number + n - 1. */
static void draw_blocks(TensorRngKey key, uint64_t kind, uint64_t number, int64_t n, void *to) {
    TensorPhiloxBlocks *philox = tensor_philox();
    const TensorPhilox o = {key.seed, key.step, key.draw, kind};
    for (int64_t i = philox != NULL ? philox(&o, number, n, to) : 0; i < n; i++) {
        philox4x64_ctr_t b = block(key, kind, number + (uint64_t)i);
        memcpy((char *)to + i * (int64_t)sizeof b.v, b.v, sizeof b.v);
    }
}

/* ---- one number ---- */

uint32_t tensor_rng_bits32(TensorRngKey key, uint64_t index) {
    philox4x64_ctr_t b = block(key, KIND_BITS32, index / (2 * WORDS));
    return (uint32_t)(b.v[index / 2 % WORDS] >> (index % 2 * 32));
}

static double unit(uint64_t word) {
    return (double)(word >> 11) * UNIT_STEP;
}

double tensor_rng_uniform(TensorRngKey key, uint64_t index) {
    return unit(block(key, KIND_UNIFORM, index / WORDS).v[index % WORDS]);
}

/* A radius from the first word (1 - u, so that the logarithm is finite) and an angle
 * from the second. */
static double radius(uint64_t word) {
    return sqrt(-2.0 * log(1.0 - unit(word)));
}

static double angle(uint64_t word) {
    return TWO_PI * unit(word);
}

double tensor_rng_normal(TensorRngKey key, uint64_t index) {
    philox4x64_ctr_t b = block(key, KIND_NORMAL, index / WORDS);
    const uint64_t *pair = b.v + index % WORDS / 2 * 2;
    return radius(pair[0]) * (index % 2 ? sin(angle(pair[1])) : cos(angle(pair[1])));
}

int64_t tensor_rng_below(TensorRngKey key, uint64_t index, int64_t n) {
    assert(n >= 1);
    uint64_t word = block(key, KIND_BELOW, index / WORDS).v[index % WORDS], high;
    mulhilo64(word, (uint64_t)n, &high);
    return (int64_t)high;
}

/* ---- walking a tensor in row-major order ---- */

/* CHUNK elements at a time: a multiple of every block's numbers. */

typedef struct {
    size_t size; /* of one element */
    int ndim;    /* at least 1 */
    int64_t shape[TENSOR_MAX_DIMS], stride[TENSOR_MAX_DIMS], index[TENSOR_MAX_DIMS];
    char *at;
} Walk;

/* A contiguous tensor is one long row. */
static Walk walk_start(const Tensor *x) {
    Walk w = {.size = tensor_dtype_size(x->dtype), .ndim = 1, .at = x->data};
    if (x->ndim == 0 || tensor_is_contiguous(x)) {
        w.shape[0] = tensor_numel(x);
        w.stride[0] = 1;
        return w;
    }
    w.ndim = x->ndim;
    memcpy(w.shape, x->shape, sizeof w.shape);
    memcpy(w.stride, x->stride, sizeof w.stride);
    return w;
}

/* Elements left in the row. */
static int64_t walk_left(const Walk *w) {
    return w->shape[w->ndim - 1] - w->index[w->ndim - 1];
}

static void walk_move(Walk *w, int axis, int64_t steps) {
    w->index[axis] += steps;
    w->at += steps * w->stride[axis] * (int64_t)w->size;
}

/* From the first element to number i. */
static void walk_seek(Walk *w, int64_t i) {
    for (int axis = w->ndim - 1; axis >= 0; axis--) {
        walk_move(w, axis, i % w->shape[axis]);
        i /= w->shape[axis];
    }
}

/* n <= walk_left elements on, into the next row at the end of one. */
static void walk_advance(Walk *w, int64_t n) {
    int axis = w->ndim - 1;
    walk_move(w, axis, n);
    while (axis > 0 && w->index[axis] == w->shape[axis]) {
        walk_move(w, axis, -w->shape[axis]);
        walk_move(w, --axis, 1);
    }
}

/* size is a constant in every call: the copy of an element becomes one instruction. */
static inline void copy_strided(char *to, int64_t to_stride, const char *from, int64_t from_stride,
                                int64_t n, size_t size) {
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i * to_stride * (int64_t)size, from + i * from_stride * (int64_t)size, size);
}

static void copy_elements(char *to, int64_t to_stride, const char *from, int64_t from_stride,
                          int64_t n, size_t size) {
    if (size == sizeof(float))
        copy_strided(to, to_stride, from, from_stride, n, sizeof(float));
    else
        copy_strided(to, to_stride, from, from_stride, n, sizeof(double));
}

/* Whether the next n elements lie one behind the other. */
static bool walk_is_dense(const Walk *w, int64_t n) {
    return w->stride[w->ndim - 1] == 1 && walk_left(w) >= n;
}

typedef enum { GATHER, SCATTER } Direction;

/* The next n elements into the buffer, or out of it; the walk moves on. */
static void walk_copy(Walk *w, char *buffer, int64_t n, Direction direction) {
    while (n > 0) {
        int64_t run = walk_left(w) < n ? walk_left(w) : n, stride = w->stride[w->ndim - 1];
        if (direction == GATHER)
            copy_elements(buffer, 1, w->at, stride, run, w->size);
        else
            copy_elements(w->at, stride, buffer, 1, run, w->size);
        buffer += run * (int64_t)w->size;
        n -= run;
        walk_advance(w, run);
    }
}

/* Room for a chunk of either dtype. */
typedef union {
    char bytes[CHUNK * sizeof(double)];
    float f32[CHUNK];
    double f64[CHUNK];
} Chunk;

/* Where the next n elements can be read: in place, or gathered into the chunk. */
static const void *walk_read(Walk *w, Chunk *chunk, int64_t n) {
    if (walk_is_dense(w, n)) {
        const void *at = w->at;
        walk_advance(w, n);
        return at;
    }
    walk_copy(w, chunk->bytes, n, GATHER);
    return chunk->bytes;
}

/* Where the next n elements can be written; walk_commit brings them home. */
static void *walk_place(const Walk *w, Chunk *chunk, int64_t n) {
    return walk_is_dense(w, n) ? w->at : chunk->bytes;
}

static void walk_commit(Walk *w, Chunk *chunk, int64_t n) {
    if (walk_is_dense(w, n))
        walk_advance(w, n);
    else
        walk_copy(w, chunk->bytes, n, SCATTER);
}

/* ---- uniform and normal ---- */

typedef struct {
    TensorRngKey key;
    double a, b; /* lo and hi, or mean and std */
} Distribution;

/* n numbers of as many words. */
typedef void Draw(const Distribution *d, const uint64_t *words, int64_t n, double *out);

static void draw_uniform(const Distribution *d, const uint64_t *words, int64_t n, double *out) {
    const double lo = d->a, hi = d->b, width = hi - lo, below = lo == hi ? hi : nextafter(hi, lo);
    for (int64_t i = 0; i < n; i++) {
        const double value = lo + width * unit(words[i]);
        out[i] = value < hi ? value : below;
    }
}

/* n is even. */
static void draw_normal(const Distribution *d, const uint64_t *words, int64_t n, double *out) {
    for (int64_t i = 0; i < n; i += 2) {
        const double r = radius(words[i]), t = angle(words[i + 1]);
        out[i] = d->a + d->b * (r * cos(t));
        out[i + 1] = d->a + d->b * (r * sin(t));
    }
}

/* `below`: values are kept under it where rounding to float would reach it. */
static void round_to_f32(float *to, const double *from, int64_t n, double below) {
    for (int64_t i = 0; i < n; i++) {
        float value = (float)from[i];
        to[i] = (double)value < below ? value : nextafterf(value, -INFINITY);
    }
}

static void convert_to_f32(float *to, const double *from, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

/* What fills a tensor. */
typedef struct {
    const Tensor *y;
    Draw *draw;
    const Distribution *d;
    uint64_t kind;
    bool bounded;
} Fill;

static void fill_chunks(int64_t begin, int64_t end, void *context) {
    const Fill *f = context;
    const int64_t numel = tensor_numel(f->y), last = end * CHUNK < numel ? end * CHUNK : numel;
    uint64_t words[CHUNK];
    double drawn[CHUNK];
    Chunk chunk;
    Walk w = walk_start(f->y);
    walk_seek(&w, begin * CHUNK);
    for (int64_t i = begin * CHUNK; i < last; i += CHUNK) {
        const int64_t n = last - i < CHUNK ? last - i : CHUNK, blocks = (n + WORDS - 1) / WORDS;
        draw_blocks(f->d->key, f->kind, (uint64_t)(i / WORDS), blocks, words);
        f->draw(f->d, words, blocks * WORDS, drawn);
        void *to = walk_place(&w, &chunk, n);
        if (f->y->dtype == TENSOR_F64)
            memcpy(to, drawn, (size_t)n * sizeof(double));
        else if (f->bounded)
            round_to_f32(to, drawn, n, f->d->b);
        else
            convert_to_f32(to, drawn, n);
        walk_commit(&w, &chunk, n);
    }
}

static void fill(const Fill *f, double ns) {
    const int64_t numel = tensor_numel(f->y);
    assert(tensor_dtype_is_float(f->y->dtype) && !tensor_is_overlapping(f->y));
    tensor_parallel_work((numel + CHUNK - 1) / CHUNK, CHUNK * ns, fill_chunks, (void *)f);
}

void tensor_rng_fill_uniform(const Tensor *y, TensorRngKey key, double lo, double hi) {
    assert(lo <= hi && isfinite(hi - lo));
    fill(&(Fill){y, draw_uniform, &(Distribution){key, lo, hi}, KIND_UNIFORM, lo < hi}, 3);
}

void tensor_rng_fill_normal(const Tensor *y, TensorRngKey key, double mean, double std) {
    fill(&(Fill){y, draw_normal, &(Distribution){key, mean, std}, KIND_NORMAL, false}, 20);
}

/* ---- dropout ---- */

#define BITS_PER_BLOCK (2 * WORDS)

typedef struct {
    TensorRngKey key;
    uint32_t threshold; /* smaller bits drop the element */
    double scale;       /* of what is kept */
    void (*apply)(int64_t n, void *y, const void *x, const uint32_t *bits, uint32_t threshold,
                  double scale);
} Mask;

/* The bits of numbers start.. start + n - 1: the lower half of a word comes first.  room holds n
 * and two partial blocks. */
static const uint32_t *draw_bits(TensorRngKey key, uint64_t start, int64_t n, uint32_t *room) {
    const uint64_t first = start / BITS_PER_BLOCK;
    const uint64_t last = (start + (uint64_t)n - 1) / BITS_PER_BLOCK;
    const int64_t blocks = (int64_t)(last - first) + 1;
    draw_blocks(key, KIND_BITS32, first, blocks, room);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (int64_t i = 0; i < blocks * BITS_PER_BLOCK; i += 2) {
        uint32_t high = room[i];
        room[i] = room[i + 1];
        room[i + 1] = high;
    }
#endif
    return room + start % BITS_PER_BLOCK;
}

/* n elements, whose numbers follow each other from start on. */
static void drop_run(Walk *y, Walk *x, uint64_t start, int64_t n, const Mask *m) {
    uint32_t room[CHUNK + 2 * BITS_PER_BLOCK];
    Chunk x_chunk, y_chunk;
    for (int64_t count; n > 0; n -= count, start += (uint64_t)count) {
        count = CHUNK - (int64_t)(start % BITS_PER_BLOCK);
        count = n < count ? n : count;
        const uint32_t *bits = draw_bits(m->key, start, count, room);
        const void *from = walk_read(x, &x_chunk, count);
        void *to = walk_place(y, &y_chunk, count);
        m->apply(count, to, from, bits, m->threshold, m->scale);
        walk_commit(y, &y_chunk, count);
    }
}

/* The numbers of x's elements in the whole batch: `runs` runs of `length` consecutive
 * ones, `step` apart, the first from `start` on. */
typedef struct {
    uint64_t start, step;
    int64_t runs, length;
} Numbering;

static Numbering number_elements(const Tensor *x, int batch_axis, int64_t first, int64_t total) {
    if (batch_axis == -1)
        return (Numbering){.runs = 1, .length = tensor_numel(x)};
    assert(batch_axis >= 0 && batch_axis < x->ndim && first >= 0);
    assert(x->shape[batch_axis] <= total - first);
    int64_t outer = 1, inner = 1;
    for (int d = 0; d < batch_axis; d++)
        outer *= x->shape[d];
    for (int d = batch_axis + 1; d < x->ndim; d++)
        inner *= x->shape[d];
    return (Numbering){.start = (uint64_t)first * (uint64_t)inner,
                       .step = (uint64_t)total * (uint64_t)inner,
                       .runs = outer,
                       .length = x->shape[batch_axis] * inner};
}

typedef struct {
    const Tensor *y, *x;
    Numbering numbers;
    Mask mask;
} Dropout;

static void drop_chunks(int64_t begin, int64_t end, void *context) {
    const Dropout *d = context;
    const int64_t numel = tensor_numel(d->x), last = end * CHUNK < numel ? end * CHUNK : numel;
    Walk to = walk_start(d->y), from = walk_start(d->x);
    walk_seek(&to, begin * CHUNK);
    walk_seek(&from, begin * CHUNK);
    for (int64_t i = begin * CHUNK, n; i < last; i += n) {
        const int64_t run = i / d->numbers.length, at = i % d->numbers.length;
        n = d->numbers.length - at < last - i ? d->numbers.length - at : last - i;
        drop_run(&to, &from, d->numbers.start + (uint64_t)run * d->numbers.step + (uint64_t)at, n,
                 &d->mask);
    }
}

void tensor_dropout(const Tensor *y, const Tensor *x, TensorRngKey key, double p, int batch_axis,
                    int64_t first, int64_t total) {
    assert(tensor_dtype_is_float(x->dtype) && x->dtype == y->dtype && tensor_same_shape(x, y));
    assert(!tensor_is_overlapping(y) && p >= 0 && p <= 1);
    Dropout d = {y, x, number_elements(x, batch_axis, first, total),
                 {.key = key, .apply = tensor_kernels(x->dtype)->dropout}};
    if (p == 0) {
        tensor_convert(y, x);
        return;
    }
    /* Where every element is dropped, the threshold does not fit in 32 bits. */
    double threshold = nearbyint(p * 0x1p32);
    if (threshold < 0x1p32) {
        d.mask.threshold = (uint32_t)threshold;
        d.mask.scale = 1 / (1 - p);
    }
    tensor_parallel_work((tensor_numel(x) + CHUNK - 1) / CHUNK, CHUNK * 1., drop_chunks, &d);
}

/* ---- categorical ---- */

static double element_at(const Tensor *x, int64_t i) {
    return x->dtype == TENSOR_F32 ? (double)((const float *)x->data)[i]
                                  : ((const double *)x->data)[i];
}

/* sums[v] = exp(x_0 - max) + .. + exp(x_v - max) of the row from `start` on; false where there
 * is no such row.  libm's exp: draws are the same whatever the instruction set. */
static bool sum_probabilities(const Tensor *x, int64_t start, int64_t V, double *sums) {
    double max = -INFINITY, sum = 0;
    bool number = true;
    for (int64_t v = 0; v < V; v++) {
        double value = element_at(x, start + v);
        max = value > max ? value : max;
        number &= !isnan(value);
    }
    if (!number || !isfinite(max))
        return false;
    for (int64_t v = 0; v < V; v++)
        sums[v] = sum += exp(element_at(x, start + v) - max);
    return true;
}

/* The first v with sums[v] > bound; bound is below the last of them. */
static int64_t first_above(const double *sums, int64_t V, double bound) {
    int64_t low = 0, high = V - 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (sums[middle] > bound)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

int64_t tensor_categorical(const Tensor *y, const Tensor *x, TensorRngKey key, int batch_axis,
                           int64_t first, int64_t total, const Tensor *sums) {
    assert(y->dtype == TENSOR_I64 && tensor_dtype_is_float(x->dtype) && x->ndim >= 1);
    assert(y->ndim == x->ndim && tensor_is_contiguous(y) && tensor_is_contiguous(x));
    int64_t V = x->shape[x->ndim - 1], n = y->shape[y->ndim - 1], rows = 1;
    assert(V >= 1 && sums->dtype == TENSOR_F64 && tensor_numel(sums) == V);
    assert(batch_axis < y->ndim - 1);
    for (int d = 0; d < x->ndim - 1; d++)
        rows *= x->shape[d];
    Numbering numbers = number_elements(y, batch_axis, first, total);
    double *sum = sums->data;
    int64_t *to = y->data;
    for (int64_t row = 0; row < rows; row++) {
        if (!sum_probabilities(x, row * V, V, sum))
            return row;
        for (int64_t i = row * n; i < (row + 1) * n; i++) {
            uint64_t run = (uint64_t)(i / numbers.length), at = (uint64_t)(i % numbers.length);
            double u = tensor_rng_uniform(key, numbers.start + run * numbers.step + at);
            to[i] = first_above(sum, V, u * sum[V - 1]);
        }
    }
    return -1;
}
