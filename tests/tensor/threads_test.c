/* Large tensors through every function that threads share: the same bits for 1, 2 and 3 threads,
 * and the same as from pieces of the tensors, each too small to be shared. */
#include <stdio.h>

#include "tensor/parallel.h"
#include "tensor/rng.h"
#include "tests/tensor/kernels_check.h"

/* The operands, of R rows and C columns where not said otherwise. */
enum {
    A, /* inputs, in the layout of the round */
    B,
    MASK,    /* U8 */
    PLACES,  /* I64, 0..C-1 */
    IN_G0,   /* contiguous inputs */
    IN_G10 = IN_G0 + 10,
    TABLE,   /* [K, C] */
    WEIGHT,  /* [C] */
    BIAS,    /* [C] */
    SCALE,   /* [R] */
    TARGET,  /* I64 [R], 0..min(C, K)-1 */
    STATS,   /* F64 [R, 2] */
    Y,       /* outputs, in the layout of the round */
    FLAGS,   /* U8 */
    LONGS,   /* I64 */
    OTHER,   /* of the other float type */
    OUT_G0,  /* contiguous outputs */
    OUT_G6 = OUT_G0 + 6,
    ROW,     /* [1, C] */
    COLUMN,  /* [R, 1] */
    INDICES, /* I64 [R, 1] */
    LOSS,    /* [R] */
    PAIRS,   /* F64 [R, 2] */
    TOTAL,   /* [1, 1] */
    SUMS,    /* F64 [K, C] */
    DENSE,   /* [K, C] */
    OPERANDS
};

enum { K = 4, MOST_OUT = 7 };

typedef struct {
    Tensor t[OPERANDS];
    int64_t first, rows; /* the first row of these, of how many */
} Set;

typedef enum { NONE, ELEMENTS, ROWS, COLUMNS } Pieces;

typedef struct {
    const char *name;
    Pieces pieces; /* that can be computed apart */
    int count;     /* of f's options 0..count-1 */
    void (*f)(const Set *s, int option);
    int out[MOST_OUT]; /* what it writes; 0 ends the list */
} Case;

#define F(name) static void name(const Set *s, int f)
#define T(name) (&s->t[name])

/* ---- elementwise ---- */

F(unary) { tensor_unary((TensorUnary)f, T(Y), T(A)); }
F(binary) { tensor_binary((TensorBinary)f, T(Y), T(A), T(B)); }
F(compare) { tensor_compare((TensorCompare)f, T(FLAGS), T(A), T(B)); }
F(logical) { tensor_logical((TensorLogical)f, T(FLAGS), T(MASK), T(MASK)); }
F(logical_not) { (void)f, tensor_logical_not(T(FLAGS), T(MASK)); }
F(affine) { (void)f, tensor_affine(T(Y), T(A), 1.5, -.25); }
F(activation) { tensor_activation((TensorActivation)f, T(Y), T(A), .75, 1); }
F(activation_backward) {
    tensor_activation_backward((TensorActivation)f, T(Y), T(A), T(B), .75, 1);
}
F(accumulate) { (void)f, tensor_accumulate(T(Y), T(A)); }
F(convert) {
    const int to[] = {Y, OTHER, LONGS, FLAGS};
    tensor_convert(T(to[f]), T(A));
}
F(fill) { (void)f, tensor_fill(T(Y), 1.5); }
F(where) { (void)f, tensor_where(T(Y), T(MASK), T(A), T(B)); }
F(add_row) { (void)f, tensor_binary(TENSOR_ADD, T(Y), T(A), T(WEIGHT)); }
F(gates) {
    static const struct {
        int in, out;
    } operands[TENSOR_GATES_COUNT] = {
        [TENSOR_LSTM_CELL] = {4, 4},
        [TENSOR_LSTM_COUPLED] = {3, 3},
        [TENSOR_LSTM_OUTPUT] = {2, 3},
        [TENSOR_LSTM_STEP] = {9, 7},
        [TENSOR_LSTM_OUTPUT_BACKWARD] = {3, 2},
        [TENSOR_LSTM_CELL_BACKWARD] = {5, 4},
        [TENSOR_LSTM_COUPLED_BACKWARD] = {4, 3},
        [TENSOR_LSTM_STEP_BACKWARD] = {8, 5},
        [TENSOR_GRU] = {11, 5},
        [TENSOR_GRU_BACKWARD] = {6, 7},
        [TENSOR_RNN_TANH] = {2, 1},
        [TENSOR_RNN_TANH_BACKWARD] = {2, 1},
        [TENSOR_RNN_RELU] = {2, 1},
        [TENSOR_RNN_RELU_BACKWARD] = {2, 1},
        [TENSOR_MULTIPLY_ADD] = {3, 1},
        [TENSOR_MIX] = {3, 1},
        [TENSOR_MIX_BACKWARD] = {2, 2},
    };
    Tensor t[16];
    cr_assert(operands[f].in > 0);
    for (int i = 0; i < operands[f].in; i++) t[i] = s->t[IN_G0 + i];
    for (int i = 0; i < operands[f].out; i++) t[operands[f].in + i] = s->t[OUT_G0 + i];
    tensor_gates((TensorGates)f, operands[f].in + operands[f].out, t);
}

/* ---- over axes ---- */

static void reduce(const Tensor *y, const Tensor *x, int f) {
    void (*const plain[])(const Tensor *, const Tensor *) = {
        tensor_sum, tensor_mean, tensor_accumulate_sum, tensor_prod, tensor_amax, tensor_amin};
    const double p[] = {2, 1, 3, 0, INFINITY};
    if (f < COUNT(plain)) plain[f](y, x);
    else if (f == COUNT(plain)) tensor_var(y, x, 1);
    else if (f == COUNT(plain) + 1) tensor_std(y, x, 0);
    else tensor_norm(y, x, p[f - COUNT(plain) - 2]);
}
enum { REDUCTIONS = 13 };
F(over_rows) { reduce(T(ROW), T(A), f); }
F(along_rows) { reduce(T(COLUMN), T(A), f); }
F(over_all) { reduce(T(TOTAL), T(A), f); }
F(argmax) { (void)f, tensor_argmax(T(INDICES), T(A), 1); }
F(along_axis) {
    const int axis = f % 2;
    if (f / 2 == 0) tensor_softmax(T(Y), T(A), axis);
    else if (f / 2 == 1) tensor_log_softmax(T(Y), T(A), axis);
    else if (f / 2 == 2) tensor_logsumexp(axis ? T(COLUMN) : T(ROW), T(A), axis);
    else tensor_cumsum(T(Y), T(A), axis, f / 2 == 4);
}
enum { ALONG = 10 };
F(down) { along_axis(s, 2 * f); }
F(across) { along_axis(s, 2 * f + 1); }

/* ---- rows ---- */

F(cross_entropy) {
    tensor_cross_entropy(T(LOSS), T(PAIRS), T(A), T(TARGET), 2, f ? .1 : 0);
}
F(cross_entropy_backward) {
    tensor_cross_entropy_backward(T(Y), T(A), T(STATS), T(TARGET), 2, f ? .1 : 0, T(SCALE));
}
F(cross_entropy_in_place) {
    tensor_cross_entropy_in_place(T(LOSS), T(OUT_G0), T(BIAS), T(TARGET), 2, .1, f);
}
F(layer_norm) {
    tensor_layer_norm(T(OUT_G0), T(PAIRS), T(IN_G0), f ? T(WEIGHT) : NULL, f ? T(BIAS) : NULL,
                      1e-5);
}
F(layer_norm_backward) {
    const Tensor sum[] = {tensor_select(T(SUMS), 0, 0), tensor_select(T(SUMS), 0, 1)};
    tensor_layer_norm_backward(T(OUT_G0), f ? &sum[0] : NULL, f ? &sum[1] : NULL, T(IN_G0),
                               T(IN_G0 + 1), T(STATS), T(WEIGHT));
}
F(layer_norm_sums) { (void)f, layer_norm_backward(s, 1); }

/* ---- by index ---- */

F(index_select) { (void)f, tensor_index_select(T(Y), T(TABLE), 0, T(TARGET)); }
F(index_add) { (void)f, tensor_index_add(T(DENSE), 0, T(TARGET), T(A)); }
F(gather) { (void)f, tensor_gather(T(Y), T(A), 1, T(PLACES)); }

/* ---- over time ---- */

F(linear_scan) { tensor_linear_scan(T(Y), T(A), T(B), T(WEIGHT), f); }
F(depthwise) {
    const Tensor y = tensor_unsqueeze(T(OUT_G0), 1), x = tensor_unsqueeze(T(IN_G0), 1);
    tensor_depthwise(&y, &x, T(TABLE), T(BIAS),
                     &(TensorDepthwise){.dilation = 2, .ahead = f & 1, .accumulate = f & 2});
}
/* The result has to be contiguous, which that of a piece is not; and steps of one row each shall
 * be one run in a piece too, for the same order of sums. */
F(depthwise_weight) {
    static double room[K * 64];
    Tensor x = tensor_unsqueeze(T(A), 1), g = tensor_unsqueeze(T(B), 1);
    const Tensor *dw = T(SUMS);
    x.stride[1] = x.stride[0];
    g.stride[1] = g.stride[0];
    const bool whole = tensor_is_contiguous(dw);
    Tensor y = whole ? *dw : tensor_wrap(room, TENSOR_F64, 2, dw->shape);
    cr_assert(whole || tensor_numel(dw) <= COUNT(room));
    tensor_depthwise_weight(&y, &x, &g, f + 1);
    if (!whole) tensor_convert(dw, &y);
}

/* ---- random numbers ---- */

static const TensorRngKey key = {.seed = 5, .step = 6, .draw = 7};

F(dropout) { tensor_dropout(T(Y), T(A), key, f ? .3 : 0, 0, s->first, s->rows); }

static const Case cases[] = {
    {"unary", ELEMENTS, TENSOR_UNARY_COUNT, unary, {Y}},
    {"binary", ELEMENTS, TENSOR_BINARY_COUNT, binary, {Y}},
    {"compare", ELEMENTS, TENSOR_COMPARE_COUNT, compare, {FLAGS}},
    {"logical", ELEMENTS, TENSOR_LOGICAL_COUNT, logical, {FLAGS}},
    {"logical_not", ELEMENTS, 1, logical_not, {FLAGS}},
    {"affine", ELEMENTS, 1, affine, {Y}},
    {"activation", ELEMENTS, TENSOR_ACTIVATION_COUNT, activation, {Y}},
    {"activation_backward", ELEMENTS, TENSOR_ACTIVATION_COUNT, activation_backward, {Y}},
    {"accumulate", ELEMENTS, 1, accumulate, {Y}},
    {"convert", ELEMENTS, 4, convert, {Y, OTHER, LONGS, FLAGS}},
    {"fill", ELEMENTS, 1, fill, {Y}},
    {"where", ELEMENTS, 1, where, {Y}},
    {"add a row", ELEMENTS, 1, add_row, {Y}},
    {"gates", ROWS, TENSOR_GATES_COUNT, gates,
     {OUT_G0, OUT_G0 + 1, OUT_G0 + 2, OUT_G0 + 3, OUT_G0 + 4, OUT_G0 + 5, OUT_G6}},
    {"reduction over rows", COLUMNS, REDUCTIONS, over_rows, {ROW}},
    {"reduction along rows", ROWS, REDUCTIONS, along_rows, {COLUMN}},
    {"reduction of all", NONE, REDUCTIONS, over_all, {TOTAL}},
    {"argmax", ROWS, 1, argmax, {INDICES}},
    {"along axis 0", COLUMNS, ALONG / 2, down, {Y, ROW}},
    {"along axis 1", ROWS, ALONG / 2, across, {Y, COLUMN}},
    {"cross entropy", ROWS, 2, cross_entropy, {LOSS, PAIRS}},
    {"cross entropy, backward", ROWS, 2, cross_entropy_backward, {Y}},
    {"cross entropy in place", ROWS, 2, cross_entropy_in_place, {LOSS, OUT_G0}},
    {"layer norm", ROWS, 2, layer_norm, {OUT_G0, PAIRS}},
    {"layer norm, backward", ROWS, 1, layer_norm_backward, {OUT_G0}},
    {"layer norm, backward with sums", NONE, 1, layer_norm_sums, {OUT_G0, SUMS}},
    {"index_select", ROWS, 1, index_select, {Y}},
    {"index_add", COLUMNS, 1, index_add, {DENSE}},
    {"gather", ROWS, 1, gather, {Y}},
    {"linear scan", COLUMNS, 2, linear_scan, {Y}},
    {"depthwise", COLUMNS, 4, depthwise, {OUT_G0}},
    {"depthwise weight", COLUMNS, 2, depthwise_weight, {SUMS}},
    {"dropout", ROWS, 2, dropout, {Y}},
};

/* ---- the operands ---- */

typedef enum {
    PLAIN,
    INPUTS_TRANSPOSED,
    OUTPUTS_TRANSPOSED,
    INPUTS_REPEATED,
    ARRANGEMENTS
} Layout;

static const char *const layout_names[] = {
    [PLAIN] = "contiguous",
    [INPUTS_TRANSPOSED] = "inputs transposed",
    [OUTPUTS_TRANSPOSED] = "outputs transposed",
    [INPUTS_REPEATED] = "inputs repeated",
};

/* Numbers that no function finds out of its domain: .2 to 1.8; whole ones below `end`. */
static Tensor numbers(TensorArena *a, TensorDtype dtype, int64_t rows, int64_t columns,
                      double end) {
    Tensor x = fresh(a, dtype, 2, (int64_t[]){rows, columns});
    const int64_t n = tensor_numel(&x);
    for (int64_t i = 0; i < n; i++) {
        const double u = tensor_rng_uniform(key, (uint64_t)i);
        if (dtype == TENSOR_F32) ((float *)x.data)[i] = (float)(.2 + 1.6 * u);
        else if (dtype == TENSOR_F64) ((double *)x.data)[i] = .2 + 1.6 * u;
        else if (dtype == TENSOR_I64) ((int64_t *)x.data)[i] = (int64_t)(end * u);
        else ((uint8_t *)x.data)[i] = (uint8_t)(int64_t)(end * u);
    }
    return x;
}

static Tensor matrix(TensorArena *a, TensorDtype dtype, int64_t R, int64_t C, Layout layout,
                     bool output) {
    if (layout == (output ? OUTPUTS_TRANSPOSED : INPUTS_TRANSPOSED)) {
        Tensor x = numbers(a, dtype, C, R, (double)C);
        return tensor_transpose(&x, 0, 1);
    }
    return numbers(a, dtype, R, C, (double)C);
}

static Tensor flat(TensorArena *a, TensorDtype dtype, int64_t n, double end) {
    Tensor x = numbers(a, dtype, 1, n, end);
    return tensor_select(&x, 0, 0);
}

static Set make_set(TensorArena *a, TensorDtype dtype, int64_t R, int64_t C, Layout layout) {
    const TensorDtype other = dtype == TENSOR_F32 ? TENSOR_F64 : TENSOR_F32;
    Set s = {.rows = R};
    const int64_t whole[] = {R, C};
    s.t[A] = matrix(a, dtype, R, C, layout, false);
    s.t[B] = matrix(a, dtype, R, C, layout, false);
    if (layout == INPUTS_REPEATED) {
        const Tensor row = numbers(a, dtype, 1, C, 0), column = numbers(a, dtype, R, 1, 0);
        s.t[A] = tensor_expand(&row, 2, whole);
        s.t[B] = tensor_expand(&column, 2, whole);
    }
    s.t[MASK] = matrix(a, TENSOR_U8, R, C, layout, false);
    s.t[PLACES] = matrix(a, TENSOR_I64, R, C, layout, false);
    for (int i = IN_G0; i <= IN_G10; i++) s.t[i] = numbers(a, dtype, R, C, 0);
    s.t[TABLE] = numbers(a, dtype, K, C, 0);
    s.t[WEIGHT] = flat(a, dtype, C, 0);
    s.t[BIAS] = flat(a, dtype, C, 0);
    s.t[SCALE] = flat(a, dtype, R, 0);
    s.t[TARGET] = flat(a, TENSOR_I64, R, K);
    s.t[STATS] = numbers(a, TENSOR_F64, R, 2, 0);
    s.t[Y] = matrix(a, dtype, R, C, layout, true);
    s.t[FLAGS] = matrix(a, TENSOR_U8, R, C, layout, true);
    s.t[LONGS] = matrix(a, TENSOR_I64, R, C, layout, true);
    s.t[OTHER] = matrix(a, other, R, C, layout, true);
    for (int i = OUT_G0; i <= OUT_G6; i++) s.t[i] = numbers(a, dtype, R, C, 0);
    s.t[ROW] = numbers(a, dtype, 1, C, 0);
    s.t[COLUMN] = numbers(a, dtype, R, 1, 0);
    s.t[INDICES] = numbers(a, TENSOR_I64, R, 1, 1);
    s.t[LOSS] = flat(a, dtype, R, 0);
    s.t[PAIRS] = numbers(a, TENSOR_F64, R, 2, 0);
    s.t[TOTAL] = numbers(a, dtype, 1, 1, 0);
    s.t[SUMS] = numbers(a, TENSOR_F64, K, C, 0);
    s.t[DENSE] = numbers(a, dtype, K, C, 0);
    return s;
}

/* n rows (axis 0) or columns (axis 1) of every operand that has them all. */
static Set part(const Set *s, int axis, int64_t start, int64_t n) {
    const int64_t size = s->t[A].shape[axis];
    Set p = *s;
    for (int i = 0; i < OPERANDS; i++) {
        const bool vector = p.t[i].ndim == 1, columns = i == WEIGHT || i == BIAS;
        const int d = vector ? 0 : axis;
        if ((!vector || columns == (axis == 1)) && p.t[i].shape[d] == size)
            p.t[i] = tensor_narrow(&p.t[i], d, start, n);
    }
    p.first += axis == 0 ? start : 0;
    return p;
}

/* ---- what is compared ---- */

/* Outputs lie in memory without gaps, whatever their layout. */
static size_t bytes(const Tensor *x) {
    return (size_t)tensor_numel(x) * tensor_dtype_size(x->dtype);
}

static void run_parts(const Case *c, const Set *s, int option, int axis, int64_t length) {
    const int64_t size = s->t[A].shape[axis];
    for (int64_t i = 0; i < size; i += length) {
        const Set p = part(s, axis, i, size - i < length ? size - i : length);
        if (c->pieces == ELEMENTS && axis == 0) run_parts(c, &p, option, 1, 60);
        else c->f(&p, option);
    }
}

/* How it is computed: by so many threads, or in pieces (0). */
static void run(const Case *c, const Set *s, int option, int threads) {
    tensor_threads_set(threads > 0 ? threads : 1);
    if (threads > 0) c->f(s, option);
    else if (c->pieces == ELEMENTS) run_parts(c, s, option, 0, 16);
    else if (c->pieces == ROWS) run_parts(c, s, option, 0, 24);
    else if (c->pieces == COLUMNS) run_parts(c, s, option, 1, 20);
}

typedef struct {
    char *before[MOST_OUT], *expected[MOST_OUT];
} Memory;

static Memory remember(TensorArena *a, const Case *c, const Set *s) {
    Memory m = {0};
    for (int i = 0; i < MOST_OUT && c->out[i]; i++) {
        const size_t n = bytes(&s->t[c->out[i]]);
        m.before[i] = tensor_arena_alloc(a, n);
        m.expected[i] = tensor_arena_alloc(a, n);
        cr_assert(m.before[i] && m.expected[i]);
        memcpy(m.before[i], s->t[c->out[i]].data, n);
    }
    return m;
}

static void check_option(const Case *c, const Set *s, int option, const Memory *m,
                         const char *where) {
    for (int threads = 1; threads <= 4; threads++) {
        const int way = threads % 4; /* 1, 2, 3, in pieces */
        if (way == 0 && c->pieces == NONE) continue;
        run(c, s, option, way);
        for (int i = 0; i < MOST_OUT && c->out[i]; i++) {
            const Tensor *y = &s->t[c->out[i]];
            if (way == 1) memcpy(m->expected[i], y->data, bytes(y));
            cr_expect(memcmp(m->expected[i], y->data, bytes(y)) == 0,
                      "%s %d, %s: %d threads (0: in pieces)", c->name, option, where, way);
            memcpy(y->data, m->before[i], bytes(y));
        }
    }
}

static void check_all(TensorArena *a, TensorDtype dtype, int64_t R, int64_t C, Layout layout) {
    char where[100];
    const Set s = make_set(a, dtype, R, C, layout);
    snprintf(where, sizeof where, "%s [%d, %d] %s", tensor_dtype_name(dtype), (int)R, (int)C,
             layout_names[layout]);
    for (int i = 0; i < COUNT(cases); i++) {
        const TensorArenaMark mark = tensor_arena_mark(a);
        const Memory m = remember(a, &cases[i], &s);
        for (int option = 0; option < cases[i].count; option++)
            check_option(&cases[i], &s, option, &m, where);
        tensor_arena_release(a, mark);
    }
}

Test(threads, bits_are_the_same_for_any_number_of_threads_and_in_pieces) {
    static const int64_t shapes[][2] = {{96, 1100}, {1200, 80}, {3, 40000}};
    FOR_EACH_FLOAT(dtype) {
        for (int i = 0; i < (dtype == TENSOR_F32 ? COUNT(shapes) : 1); i++) {
            for (Layout layout = 0; layout < ARRANGEMENTS; layout++) {
                TensorArena *a = tensor_arena_new();
                check_all(a, dtype, shapes[i][0], shapes[i][1], layout);
                tensor_arena_free(a);
            }
        }
    }
}

Test(threads, random_tensors_have_the_numbers_of_their_indices) {
    TensorArena *a = tensor_arena_new();
    for (int layout = 0; layout < 2; layout++) {
        Tensor y = numbers(a, TENSOR_F64, 300, 101, 0);
        if (layout == 1) y = tensor_transpose(&y, 0, 1);
        const int64_t n = tensor_numel(&y);
        for (int threads = 1; threads <= 3; threads++) {
            int64_t uniform = 0, normal = 0, kept = 0;
            tensor_threads_set(threads);
            tensor_rng_fill_uniform(&y, key, 0, 1);
            for (int64_t i = 0; i < n; i++)
                uniform += tensor_get(&y, i) == tensor_rng_uniform(key, (uint64_t)i);
            tensor_rng_fill_normal(&y, key, 0, 1);
            for (int64_t i = 0; i < n; i++)
                normal += tensor_get(&y, i) == tensor_rng_normal(key, (uint64_t)i);
            tensor_fill(&y, 3);
            tensor_dropout(&y, &y, key, .25, -1, 0, 0);
            for (int64_t i = 0; i < n; i++)
                kept += (tensor_get(&y, i) == 4) ==
                        (tensor_rng_bits32(key, (uint64_t)i) >= UINT32_C(1) << 30);
            cr_expect(uniform == n && normal == n && kept == n, "%d threads, layout %d", threads,
                      layout);
        }
    }
    tensor_arena_free(a);
}
