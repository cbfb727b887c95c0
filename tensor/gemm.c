/* gemm.c -- BLIS, and everything that knows of BLIS. */
#include "tensor/gemm.h"

#include <assert.h>

#include "tensor/isa.h"
#include "tensor/kernels.h"

#ifndef UNROLL_NO_BLIS
#include "blis.h"
#endif

/* One product of matrices: c [m,n] = alpha a [m,k] b [k,n] + beta c, strides in elements. */
typedef struct {
    TensorDtype dtype;
    int64_t m, n, k;
    double alpha, beta;
    const void *a, *b;
    void *c;
    int64_t rs_a, cs_a, rs_b, cs_b, rs_c, cs_c;
} Product;

/* ---- the reference: loops, summed in double ---- */

#define LOOPS(REAL)                                                                     \
    static void loops_##REAL(const Product *p) {                                        \
        const REAL *a = p->a, *b = p->b;                                                \
        for (int64_t i = 0; i < p->m; i++)                                              \
            for (int64_t j = 0; j < p->n; j++) {                                        \
                REAL *c = (REAL *)p->c + i * p->rs_c + j * p->cs_c;                     \
                double sum = 0;                                                         \
                for (int64_t l = 0; l < p->k; l++)                                      \
                    sum += (double)a[i * p->rs_a + l * p->cs_a] *                       \
                           (double)b[l * p->rs_b + j * p->cs_b];                        \
                *c = (REAL)(p->alpha * sum + (p->beta == 0 ? 0 : p->beta * (double)*c)); \
            }                                                                           \
    }
LOOPS(float)
LOOPS(double)

static void multiply_loops(const Product *p) {
    if (p->dtype == TENSOR_F32) loops_float(p);
    else loops_double(p);
}

/* ---- BLIS ---- */

#ifdef UNROLL_NO_BLIS
static void multiply(const Product *p) { multiply_loops(p); }
const char *tensor_gemm_config(void) { return "loops"; }
#else

/* BLIS asks the processor's name and falls back to its slowest kernels for any that is newer than
 * itself; so its context is taken by what the processor can do. */
static arch_t arch_of(TensorIsa isa) {
    (void)isa;
    /* A context that is not compiled into this BLIS must not be asked for. */
#ifdef BLIS_CONFIG_SKX
    if (isa == TENSOR_ISA_AVX512) return BLIS_ARCH_SKX;
#endif
#ifdef BLIS_CONFIG_HASWELL
    if (isa == TENSOR_ISA_AVX512 || isa == TENSOR_ISA_AVX2) return BLIS_ARCH_HASWELL;
#endif
#if defined(BLIS_CONFIG_GENERIC) && defined(__x86_64__)
    return BLIS_ARCH_GENERIC;
#else
    return bli_arch_query_id();
#endif
}

const char *tensor_gemm_config(void) {
    TensorIsa isa = tensor_isa();
    if (isa == TENSOR_ISA_PLAIN) return "loops";
    bli_init();
    return bli_arch_string(arch_of(isa));
}

static void multiply_blis(const Product *p, TensorIsa isa) {
    bli_init(); /* once; a flag afterwards */
    cntx_t *context = bli_gks_lookup_nat_cntx(arch_of(isa));
    rntm_t runtime;
    bli_rntm_init(&runtime);
    bli_rntm_set_num_threads(1, &runtime);
    /* The path for small matrices sums in another order: a row would depend on how many others
     * there are. */
    bli_rntm_disable_l3_sup(&runtime);
    if (p->dtype == TENSOR_F32) {
        float alpha = (float)p->alpha, beta = (float)p->beta;
        bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, p->m, p->n, p->k, &alpha,
                     (float *)p->a, p->rs_a, p->cs_a, (float *)p->b, p->rs_b, p->cs_b, &beta,
                     p->c, p->rs_c, p->cs_c, context, &runtime);
    } else {
        double alpha = p->alpha, beta = p->beta;
        bli_dgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, p->m, p->n, p->k, &alpha,
                     (double *)p->a, p->rs_a, p->cs_a, (double *)p->b, p->rs_b, p->cs_b, &beta,
                     p->c, p->rs_c, p->cs_c, context, &runtime);
    }
}

static void multiply(const Product *p) {
    TensorIsa isa = tensor_isa();
    if (isa == TENSOR_ISA_PLAIN) multiply_loops(p);
    else multiply_blis(p, isa);
}
#endif

/* ---- operands that BLIS takes ---- */

/* BLIS checks strides as if matrices were rows or columns of storage that do not overlap, and ends
 * the process where they are not. */
static bool is_storable(int64_t rows, int64_t cols, int64_t rs, int64_t cs) {
    if (rs < 1 || cs < 1) return false;
    if (rs == cs) return rows == 1 && cols == 1;
    return rs < cs ? cs >= (rows - 1) * rs + 1 : rs >= (cols - 1) * cs + 1;
}

/* The stride of an axis of size 1 is never used, and so may be what BLIS likes. */
static void tidy_strides(int64_t rows, int64_t cols, int64_t *rs, int64_t *cs) {
    if (rows == 1 && cols == 1) {
        *rs = 2;
        *cs = 1;
    } else if (rows == 1) {
        *rs = cols * (*cs > 0 ? *cs : 1) + 1;
    } else if (cols == 1) {
        *cs = rows * (*rs > 0 ? *rs : 1) + 1;
    }
}

typedef struct {
    Tensor x; /* 2-d */
    int64_t rs, cs;
} Matrix;

static Matrix matrix(const Tensor *x) {
    Matrix m = {*x, x->stride[0], x->stride[1]};
    tidy_strides(x->shape[0], x->shape[1], &m.rs, &m.cs);
    return m;
}

static bool fits(const Matrix *m) {
    return is_storable(m->x.shape[0], m->x.shape[1], m->rs, m->cs);
}

/* Moves m to memory that BLIS takes; its values come along where they are needed. */
static bool pack(Matrix *m, bool values, TensorArena *scratch) {
    if (fits(m)) return true;
    Tensor packed = tensor_new(scratch, m->x.dtype, 2, m->x.shape);
    if (tensor_is_nil(&packed)) return false;
    if (values) tensor_convert(&packed, &m->x);
    *m = matrix(&packed);
    return true;
}

/* c = beta c, without reading c where beta is 0. */
static void scale(const Tensor *c, double beta) {
    if (beta == 0) tensor_fill(c, 0);
    else if (beta != 1) tensor_affine(c, c, beta, 0);
}

static bool multiply_2d(double alpha, const Tensor *a, const Tensor *b, double beta,
                        const Tensor *c, TensorArena *scratch) {
    if (tensor_numel(c) == 0) return true;
    if (a->shape[1] == 0 || alpha == 0) {
        scale(c, beta);
        return true;
    }
    TensorArenaMark mark = tensor_arena_mark(scratch);
    Matrix ma = matrix(a), mb = matrix(b), mc = matrix(c);
    bool through = !fits(&mc);
    bool ok = pack(&ma, true, scratch) && pack(&mb, true, scratch) &&
              pack(&mc, beta != 0, scratch);
    if (ok) {
        Product p = {c->dtype, c->shape[0], c->shape[1], a->shape[1], alpha, beta, ma.x.data,
                     mb.x.data, mc.x.data, ma.rs, ma.cs, mb.rs, mb.cs, mc.rs, mc.cs};
        multiply(&p);
        if (through) tensor_convert(c, &mc.x);
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
