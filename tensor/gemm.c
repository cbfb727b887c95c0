/* gemm.c -- the matrix product. */
#include "tensor/gemm.h"

#include <assert.h>

#include "tensor/gemm_tiles.h"
#include "tensor/isa.h"
#include "tensor/kernels.h"

/* ---- the reference: loops, summed in double ---- */

/* c += alpha a b */
#define LOOPS(REAL)                                                                            \
    static void loops_##REAL(double alpha, const Tensor *a, const Tensor *b, const Tensor *c) { \
        const REAL *x = a->data, *y = b->data;                                                 \
        for (int64_t i = 0; i < c->shape[0]; i++)                                              \
            for (int64_t j = 0; j < c->shape[1]; j++) {                                        \
                REAL *z = (REAL *)c->data + i * c->stride[0] + j * c->stride[1];               \
                double sum = 0;                                                                \
                for (int64_t l = 0; l < a->shape[1]; l++)                                      \
                    sum += (double)x[i * a->stride[0] + l * a->stride[1]] *                    \
                           (double)y[l * b->stride[0] + j * b->stride[1]];                     \
                *z = (REAL)((double)*z + alpha * sum);                                         \
            }                                                                                  \
    }
LOOPS(float)
LOOPS(double)

static void multiply_loops(double alpha, const Tensor *a, const Tensor *b, const Tensor *c) {
    if (c->dtype == TENSOR_F32) loops_float(alpha, a, b, c);
    else loops_double(alpha, a, b, c);
}

/* ---- one product ---- */

static bool is_plain(TensorIsa isa) { return isa == TENSOR_ISA_PLAIN; }

/* An operand's lines along an axis; k is the other one.  The stride of an axis of size 1 may be
 * anything. */
static TensorLines lines_of(const Tensor *x, int axis, double factor) {
    int64_t n = x->shape[axis];
    return (TensorLines){x->data, n, x->shape[1 - axis], n == 1 ? 0 : x->stride[axis],
                         x->stride[1 - axis], factor};
}

static bool side_by_side(const Tensor *c, int axis) {
    return c->stride[axis] == 1 || c->shape[axis] == 1;
}

/* c [m, n], with elements of a row or of a column side by side.  The factor is a's, whichever way:
 * the bits of a row do not depend on the shape of c. */
static bool multiply_tiles(double alpha, const Tensor *a, const Tensor *b, bool add,
                           const Tensor *c, TensorArena *scratch) {
    TensorLines rows = lines_of(a, 0, alpha), columns = lines_of(b, 1, 1);
    bool by_columns = !side_by_side(c, 1) || (side_by_side(c, 0) && c->shape[0] > c->shape[1]);
    TensorProduct p =
        by_columns ? tensor_product(&columns, &rows, c->dtype, c->data, c->stride[1])
                   : tensor_product(&rows, &columns, c->dtype, c->data, c->stride[0]);
    return tensor_product_run(&p, add, scratch);
}

/* c = beta c, without reading c where beta is 0. */
static void scale(const Tensor *c, double beta) {
    if (beta == 0) tensor_fill(c, 0);
    else if (beta != 1) tensor_affine(c, c, beta, 0);
}

static bool multiply_2d(double alpha, const Tensor *a, const Tensor *b, double beta,
                        const Tensor *c, TensorArena *scratch) {
    if (tensor_numel(c) == 0) return true;
    bool nothing = a->shape[1] == 0 || alpha == 0, plain = is_plain(tensor_isa());
    if (beta != 0 || nothing || plain) scale(c, beta);
    if (nothing) return true;
    if (plain) return multiply_loops(alpha, a, b, c), true;
    TensorArenaMark mark = tensor_arena_mark(scratch);
    bool ok;
    if (side_by_side(c, 0) || side_by_side(c, 1)) {
        ok = multiply_tiles(alpha, a, b, beta != 0, c, scratch);
    } else {
        Tensor dense = tensor_new(scratch, c->dtype, 2, c->shape);
        ok = !tensor_is_nil(&dense);
        if (ok && beta != 0) tensor_convert(&dense, c);
        ok = ok && multiply_tiles(alpha, a, b, beta != 0, &dense, scratch);
        if (ok) tensor_convert(c, &dense);
    }
    tensor_arena_release(scratch, mark);
    return ok;
}

/* ---- batches ---- */

/* Matrix `index` of a batch counted over the leading axes of c. */
static Tensor matrix_at(const Tensor *x, const int64_t *index, int leading) {
    Tensor m = *x;
    for (int d = 0; d < leading; d++) m = tensor_select(&m, 0, index[d]);
    return m;
}

static bool next_index(const Tensor *c, int leading, int64_t *index) {
    for (int d = leading; d-- > 0;) {
        if (++index[d] < c->shape[d]) return true;
        index[d] = 0;
    }
    return false;
}

/* x with the leading axes of c. */
static Tensor spread(const Tensor *x, const Tensor *c) {
    int64_t shape[TENSOR_MAX_DIMS];
    for (int d = 0; d < c->ndim - 2; d++) shape[d] = c->shape[d];
    shape[c->ndim - 2] = x->shape[x->ndim - 2];
    shape[c->ndim - 1] = x->shape[x->ndim - 1];
    return tensor_expand(x, c->ndim, shape);
}

/* The batch as one matrix, rows under rows; nil where strides allow no such view. */
static Tensor stacked(const Tensor *x) {
    int64_t rows = 1;
    for (int d = 0; d < x->ndim - 1; d++) rows *= x->shape[d];
    return tensor_reshape(x, 2, (int64_t[]){rows, x->shape[x->ndim - 1]});
}

static bool is_one_matrix(const Tensor *x) {
    for (int d = 0; d < x->ndim - 2; d++)
        if (x->shape[d] != 1 && x->stride[d] != 0) return false;
    return true;
}

/* The batch as one tall product, which packs b once, where all of it multiplies the same b. */
static bool tall(const Tensor *a, const Tensor *b, const Tensor *c, Tensor *tall_a, Tensor *one_b,
                 Tensor *tall_c) {
    if (!is_one_matrix(b)) return false;
    *tall_a = stacked(a);
    *tall_c = stacked(c);
    *one_b = matrix_at(b, (int64_t[TENSOR_MAX_DIMS]){0}, b->ndim - 2);
    return !tensor_is_nil(tall_a) && !tensor_is_nil(tall_c);
}

/* The same for one a: c = a b is c' = b' a', with ' for the transpose. */
static bool wide(const Tensor *a, const Tensor *b, const Tensor *c, Tensor *one_a, Tensor *wide_b,
                 Tensor *wide_c) {
    Tensor at = tensor_transpose(a, -2, -1), bt = tensor_transpose(b, -2, -1);
    Tensor ct = tensor_transpose(c, -2, -1);
    if (!tall(&bt, &at, &ct, wide_b, one_a, wide_c)) return false;
    *one_a = tensor_transpose(one_a, 0, 1);
    *wide_b = tensor_transpose(wide_b, 0, 1);
    *wide_c = tensor_transpose(wide_c, 0, 1);
    return true;
}

/* True where x fills its memory without gaps and p lies inside: no doubt of an overlap. */
static bool surely_holds(const Tensor *x, const void *p) {
    if (tensor_numel(x) == 0) return false;
    Tensor once = *x; /* without repetitions */
    int64_t below = 0, above = 0;
    for (int d = 0; d < x->ndim; d++) {
        if (x->stride[d] == 0) once.shape[d] = 1;
        int64_t reach = (x->shape[d] - 1) * x->stride[d];
        *(reach < 0 ? &below : &above) += reach;
    }
    if (tensor_is_overlapping(&once) || tensor_numel(&once) != above - below + 1) return false;
    int64_t size = (int64_t)tensor_dtype_size(x->dtype);
    int64_t offset = (int64_t)((uintptr_t)p - (uintptr_t)x->data);
    return offset >= below * size && offset <= above * size;
}

static bool surely_overlap(const Tensor *x, const Tensor *y) {
    return tensor_numel(x) && tensor_numel(y) &&
           (x->data == y->data || surely_holds(x, y->data) || surely_holds(y, x->data));
}

bool tensor_gemm(double alpha, const Tensor *a, const Tensor *b, double beta, const Tensor *c,
                 TensorArena *scratch) {
    assert(a->ndim >= 2 && b->ndim >= 2 && c->ndim >= 2 && tensor_dtype_is_float(c->dtype));
    assert(a->dtype == c->dtype && b->dtype == c->dtype && !tensor_is_overlapping(c));
    assert(!surely_overlap(a, c) && !surely_overlap(b, c));
    assert(a->shape[a->ndim - 1] == b->shape[b->ndim - 2]);
    assert(a->shape[a->ndim - 2] == c->shape[c->ndim - 2]);
    assert(b->shape[b->ndim - 1] == c->shape[c->ndim - 1]);
    if (tensor_numel(c) == 0) return true;
    Tensor full_a = spread(a, c), full_b = spread(b, c);
    assert(!tensor_is_nil(&full_a) && !tensor_is_nil(&full_b));
    int leading = c->ndim - 2;
    int64_t index[TENSOR_MAX_DIMS] = {0};
    Tensor ma, mb, mc;
    if (leading && (tall(&full_a, &full_b, c, &ma, &mb, &mc) ||
                    wide(&full_a, &full_b, c, &ma, &mb, &mc)))
        return multiply_2d(alpha, &ma, &mb, beta, &mc, scratch);
    do {
        ma = matrix_at(&full_a, index, leading);
        mb = matrix_at(&full_b, index, leading);
        mc = matrix_at(c, index, leading);
        if (!multiply_2d(alpha, &ma, &mb, beta, &mc, scratch)) return false;
    } while (next_index(c, leading, index));
    return true;
}

/* ---- packed once ---- */

size_t tensor_packed_bytes(TensorDtype dtype, int64_t k, int64_t n) {
    return tensor_product_packed_bytes(dtype, n, k);
}

/* For the loops of the reference: b itself, contiguous. */
static void copy_plain(const Tensor *b, void *memory) {
    Tensor copy = tensor_wrap(memory, b->dtype, 2, b->shape);
    tensor_convert(&copy, b);
}

TensorPacked tensor_pack(const Tensor *b, void *memory) {
    assert(b->ndim == 2 && tensor_dtype_is_float(b->dtype));
    TensorPacked p = {b->dtype, b->shape[0], b->shape[1], tensor_isa(), memory};
    TensorLines lines = lines_of(b, 1, 1);
    if (is_plain(p.isa)) copy_plain(b, memory);
    else tensor_product_pack(b->dtype, &lines, memory);
    return p;
}

TensorPacked tensor_pack_new(const Tensor *b, TensorArena *a) {
    size_t bytes = tensor_packed_bytes(b->dtype, b->shape[0], b->shape[1]);
    void *memory = bytes ? tensor_arena_alloc(a, bytes) : NULL;
    return memory ? tensor_pack(b, memory) : (TensorPacked){.data = NULL};
}

bool tensor_gemm_packed(double alpha, const Tensor *a, const TensorPacked *b, double beta,
                        const Tensor *c, TensorArena *scratch) {
    assert(a->ndim == 2 && c->ndim == 2 && a->dtype == c->dtype && b->dtype == c->dtype);
    assert(a->shape[0] == c->shape[0] && a->shape[1] == b->k && c->shape[1] == b->n);
    assert(b->isa == tensor_isa() && side_by_side(c, 1));
    assert(!tensor_is_overlapping(c) && !surely_overlap(a, c));
    if (is_plain(b->isa)) {
        Tensor copy = tensor_wrap((void *)b->data, b->dtype, 2, (int64_t[]){b->k, b->n});
        return multiply_2d(alpha, a, &copy, beta, c, scratch);
    }
    if (tensor_numel(c) == 0) return true;
    bool nothing = b->k == 0 || alpha == 0;
    if (beta != 0 || nothing) scale(c, beta);
    if (nothing) return true;
    TensorArenaMark mark = tensor_arena_mark(scratch);
    TensorLines rows = lines_of(a, 0, alpha), wide = {.n = b->n, .k = b->k};
    TensorProduct p = tensor_product(&rows, &wide, c->dtype, c->data, c->stride[0]);
    bool ok = tensor_product_run_packed(&p, b->data, beta != 0, scratch);
    tensor_arena_release(scratch, mark);
    return ok;
}
