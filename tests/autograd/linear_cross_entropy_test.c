/* The output layer with its loss in one op, against the two ops it stands for: blocks of rows,
 * threads, memory, logits that are not finite. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/ag.h"
#include "tensor/kernels.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"

static AgTape *t;
static TensorArena *arena;
static void start(void) {
    t = ag_tape_new();
    arena = tensor_arena_new();
}
static void stop(void) {
    ag_tape_free(t);
    tensor_arena_free(arena);
}
TestSuite(linear_cross_entropy, .init = start, .fini = stop);

static const AgReduction reductions[] = {AG_NONE, AG_SUM, AG_MEAN};
enum { IGNORED = 3 };

/* x, weight, bias and targets, some of them ignored; a seed for the losses of the rows. */
typedef struct {
    Tensor x, weight, bias, target, seed;
} Case;

static Tensor uniform(TensorDtype dtype, int ndim, const int64_t *shape, uint64_t draw) {
    Tensor x = tensor_new(arena, dtype, ndim, shape);
    cr_assert(!tensor_is_nil(&x));
    tensor_rng_fill_uniform(&x, (TensorRngKey){5, 0, draw}, -1, 1);
    return x;
}

static Case make_case(TensorDtype dtype, int64_t rows, int64_t V, int64_t H) {
    Case k = {.x = uniform(dtype, 2, (int64_t[]){rows, H}, 1),
              .weight = uniform(dtype, 2, (int64_t[]){V, H}, 2),
              .bias = uniform(dtype, 1, &V, 3),
              .seed = uniform(dtype, 1, &rows, 4),
              .target = tensor_new(arena, TENSOR_I64, 1, &rows)};
    for (int64_t i = 0; i < rows; i++)
        tensor_set(&k.target, i, i % 5 == 2 ? IGNORED : (double)(i * 7919 % V));
    return k;
}

typedef AgVar Loss(AgVar x, AgVar weight, AgVar bias, AgVar target,
                   const AgCrossEntropyOptions *options);

static AgVar two_ops(AgVar x, AgVar weight, AgVar bias, AgVar target,
                     const AgCrossEntropyOptions *options) {
    return ag_cross_entropy(ag_linear(x, weight, bias), target, options);
}

typedef struct {
    const Tensor *loss, *g[3]; /* of x, weight and bias */
} Result;

static Result run(Loss *loss, const Case *k, bool bias, const AgCrossEntropyOptions *o) {
    AgVar in[] = {ag_borrow(t, &k->x), ag_borrow(t, &k->weight), {0}}, g[3];
    if (bias) in[2] = ag_borrow(t, &k->bias);
    AgVar y = loss(in[0], in[1], in[2], ag_borrow(t, &k->target), o);
    AgVar seed = o->reduction == AG_NONE ? ag_borrow(t, &k->seed) : (AgVar){0};
    cr_assert(ag_grad(y, seed, 2 + bias, in, g, false), "%s", ag_tape_error(t));
    return (Result){ag_value(y), {ag_value(g[0]), ag_value(g[1]), bias ? ag_value(g[2]) : NULL}};
}

/* The largest difference, against the largest element of b. */
static double distance(const Tensor *a, const Tensor *b) {
    double most = 0, largest = 0;
    cr_assert(tensor_same_shape(a, b));
    for (int64_t i = 0; i < tensor_numel(a); i++) {
        double d = fabs(tensor_get(a, i) - tensor_get(b, i));
        if (!(d <= most)) most = d;
        largest = fmax(largest, fabs(tensor_get(b, i)));
    }
    return most / (largest + 1e-300);
}

static bool same_bits(const Tensor *a, const Tensor *b) {
    return tensor_same_shape(a, b) && a->dtype == b->dtype &&
           memcmp(a->data, b->data,
                  (size_t)tensor_numel(a) * tensor_dtype_size(a->dtype)) == 0;
}

static void expect_same_bits(const Result *a, const Result *b, const char *what) {
    cr_expect(same_bits(a->loss, b->loss), "%s: loss", what);
    for (int i = 0; i < 3; i++)
        if (a->g[i]) cr_expect(same_bits(a->g[i], b->g[i]), "%s: gradient %d", what, i);
}

/* Few rows of many classes, and the other way round. */
static const int64_t sizes[][3] = {{150, 20011, 5}, {3001, 701, 3}};

Test(linear_cross_entropy, of_large_matrices_agrees_with_the_two_ops) {
    for (int c = 0; c < 2 * 2 * 3; c++) {
        TensorDtype dtype = c % 2 ? TENSOR_F64 : TENSOR_F32;
        const int64_t *size = sizes[c / 2 % 2];
        Case k = make_case(dtype, size[0], size[1], size[2]);
        AgCrossEntropyOptions o = {.reduction = reductions[c / 4], .has_ignore_index = true,
                                   .ignore_index = IGNORED, .label_smoothing = c / 2 % 2 ? .1 : 0};
        bool bias = c % 4 != 3;
        Result got = run(ag_linear_cross_entropy, &k, bias, &o);
        Result want = run(two_ops, &k, bias, &o);
        double bound = dtype == TENSOR_F64 ? 1e-12 : 1e-5;
        cr_expect_leq(distance(got.loss, want.loss), bound, "case %d: loss", c);
        for (int i = 0; i < 2 + bias; i++)
            cr_expect_leq(distance(got.g[i], want.g[i]), bound, "case %d: gradient %d: %g", c, i,
                          distance(got.g[i], want.g[i]));
        ag_tape_reset(t);
        tensor_arena_reset(arena);
    }
}

Test(linear_cross_entropy, has_the_same_bits_for_any_number_of_threads_and_in_a_second_sweep) {
    int before = tensor_threads();
    for (int c = 0; c < 2; c++) {
        Case k = make_case(TENSOR_F32, sizes[c][0], sizes[c][1], sizes[c][2]);
        AgCrossEntropyOptions o = {.reduction = c ? AG_NONE : AG_MEAN};
        cr_assert(tensor_threads_set(1));
        Result one = run(ag_linear_cross_entropy, &k, true, &o);
        for (int threads = 2; threads < 4; threads++) {
            cr_assert(tensor_threads_set(threads));
            Result more = run(ag_linear_cross_entropy, &k, true, &o);
            expect_same_bits(&more, &one, "threads");
        }
        AgVar x = ag_borrow(t, &k.x), y, g[2];
        y = ag_linear_cross_entropy(x, ag_borrow(t, &k.weight), ag_borrow(t, &k.bias),
                                    ag_borrow(t, &k.target), &(AgCrossEntropyOptions){0});
        for (int i = 0; i < 2; i++) cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g[i], false));
        cr_expect(same_bits(ag_value(g[0]), ag_value(g[1])));
        ag_tape_reset(t);
    }
    tensor_threads_set(before);
}

Test(linear_cross_entropy, of_a_row_has_the_same_bits_whatever_the_other_rows) {
    Case all = make_case(TENSOR_F32, 150, 20011, 5), few = all;
    Tensor *part[] = {&few.x, &few.target, &few.seed};
    for (int i = 0; i < 3; i++) *part[i] = tensor_narrow(part[i], 0, 60, 10);
    AgCrossEntropyOptions o = {.reduction = AG_NONE};
    Result a = run(ag_linear_cross_entropy, &all, true, &o);
    Result b = run(ag_linear_cross_entropy, &few, true, &o);
    Tensor loss = tensor_narrow(a.loss, 0, 60, 10), dx = tensor_narrow(a.g[0], 0, 60, 10);
    cr_expect(same_bits(&loss, b.loss));
    cr_expect(same_bits(&dx, b.g[0]));
}

/* Two blocks and five, the last one short. */
Test(linear_cross_entropy, without_gradients_has_the_same_bits_from_blocks_of_rows) {
    const int64_t rows[] = {700, 6500}, V[] = {20011, 1301};
    for (int c = 0; c < 2 * 2; c++) {
        Case k = make_case(c / 2 ? TENSOR_F64 : TENSOR_F32, rows[c % 2], V[c % 2], 3);
        AgCrossEntropyOptions o = {.reduction = AG_NONE, .has_ignore_index = true,
                                   .ignore_index = IGNORED, .label_smoothing = c % 2 * .1};
        AgVar loss[2];
        for (int no_grad = 0; no_grad < 2; no_grad++) {
            ag_tape_no_grad(t, no_grad);
            loss[no_grad] = ag_linear_cross_entropy(ag_borrow(t, &k.x), ag_borrow(t, &k.weight),
                                                    ag_borrow(t, &k.bias),
                                                    ag_borrow(t, &k.target), &o);
        }
        cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
        cr_expect(same_bits(ag_value(loss[0]), ag_value(loss[1])), "case %d", c);
        ag_tape_reset(t);
        tensor_arena_reset(arena);
    }
}

Test(linear_cross_entropy, takes_memory_for_the_logits_once_and_without_gradients_for_a_block) {
    const int64_t rows = 16400, V = 1024;
    const size_t logits = (size_t)(rows * V) * sizeof(float);
    Case k = make_case(TENSOR_F32, rows, V, 2);
    for (int recorded = 0; recorded < 2; recorded++) {
        ag_tape_reset(t);
        ag_tape_no_grad(t, !recorded);
        AgVar x = ag_borrow(t, &k.x), g;
        AgVar loss = ag_linear_cross_entropy(x, ag_borrow(t, &k.weight), (AgVar){0},
                                             ag_borrow(t, &k.target), NULL);
        cr_assert(!recorded || ag_grad(loss, (AgVar){0}, 1, &x, &g, false));
        size_t reserved = ag_tape_reserved(t);
        cr_expect(recorded ? reserved >= logits && reserved < 2 * logits : reserved < logits / 2,
                  "%zu bytes, %zu of logits", reserved, logits);
    }
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
}

/* Where the product's own gradient does not mix rows into sums: without a weight to speak of. */
Test(linear_cross_entropy, of_extreme_logits_is_that_of_the_two_ops) {
    const double biases[][4] = {{1e4, -1e4, 0, 9999}, {-INFINITY, 0, 1e4, -INFINITY},
                                {-1e4, -1e4, -1e4, -1e4}, {1e30, -1e30, 0, 1}};
    for (int c = 0; c < 4 * 3 * 2; c++) {
        TensorDtype dtype = c / 12 ? TENSOR_F32 : TENSOR_F64;
        Case k = make_case(dtype, 8, 4, 2);
        tensor_fill(&k.weight, 0);
        for (int v = 0; v < 4; v++) tensor_set(&k.bias, v, biases[c % 4][v]);
        AgCrossEntropyOptions o = {.reduction = reductions[c / 4 % 3]};
        Result got = run(ag_linear_cross_entropy, &k, true, &o);
        Result want = run(two_ops, &k, true, &o);
        cr_expect(same_bits(got.loss, want.loss), "case %d", c);
        for (int i = 0; i < 3; i++)
            cr_expect_leq(distance(got.g[i], want.g[i]), 1e-6, "case %d: gradient %d", c, i);
        ag_tape_reset(t);
    }
}

Test(linear_cross_entropy, of_ignored_rows_only_is_nan_without_a_gradient) {
    Case k = make_case(TENSOR_F64, 6, 7, 3);
    tensor_fill(&k.target, IGNORED);
    AgCrossEntropyOptions o = {.has_ignore_index = true, .ignore_index = IGNORED};
    Result r = run(ag_linear_cross_entropy, &k, true, &o);
    cr_expect(isnan(tensor_get(r.loss, 0)));
    for (int i = 0; i < 3; i++)
        for (int64_t e = 0; e < tensor_numel(r.g[i]); e++) cr_expect_eq(tensor_get(r.g[i], e), 0);
}

Test(linear_cross_entropy, with_class_weights_or_probabilities_is_the_two_ops) {
    Case k = make_case(TENSOR_F64, 6, 7, 3), soft = k;
    Tensor weight = uniform(TENSOR_F64, 1, (int64_t[]){7}, 6);
    soft.target = uniform(TENSOR_F64, 2, (int64_t[]){6, 7}, 7);
    AgCrossEntropyOptions o = {.weight = ag_borrow(t, &weight), .label_smoothing = .25}, none = {0};
    Result weighted[] = {run(ag_linear_cross_entropy, &k, true, &o), run(two_ops, &k, true, &o)};
    expect_same_bits(&weighted[0], &weighted[1], "weights");
    Result probs[] = {run(ag_linear_cross_entropy, &soft, true, &none),
                      run(two_ops, &soft, true, &none)};
    expect_same_bits(&probs[0], &probs[1], "probabilities");
}

static AgVar leaf(const char *name, const Tensor *value, Tensor *grad) {
    *grad = tensor_new(arena, value->dtype, value->ndim, value->shape);
    tensor_fill(grad, 1);
    return ag_leaf(t, name, &(AgLeaf){.name = name, .value = *value, .grad = *grad});
}

/* Inputs lie across memory: x and weight are transposed. */
Test(linear_cross_entropy, adds_to_the_gradients_of_parameters) {
    Case k = make_case(TENSOR_F64, 12, 9, 4);
    Case across = k;
    across.x = uniform(TENSOR_F64, 2, (int64_t[]){4, 12}, 8);
    across.weight = uniform(TENSOR_F64, 2, (int64_t[]){4, 9}, 9);
    across.x = tensor_transpose(&across.x, 0, 1);
    across.weight = tensor_transpose(&across.weight, 0, 1);
    for (int c = 0; c < 3 * 2; c++) {
        const Case *in = c % 2 ? &across : &k;
        AgCrossEntropyOptions o = {.reduction = reductions[c / 2]};
        Result want = run(two_ops, in, true, &o);
        Tensor grad[3];
        AgVar x = leaf("x", &in->x, &grad[0]), w = leaf("w", &in->weight, &grad[1]);
        AgVar b = leaf("b", &in->bias, &grad[2]);
        AgVar loss = ag_linear_cross_entropy(x, w, b, ag_borrow(t, &in->target), &o);
        if (o.reduction == AG_NONE)
            loss = ag_sum(ag_mul(loss, ag_borrow(t, &in->seed)), AG_ALL_AXES, false);
        cr_assert(ag_backward(loss), "%s", ag_tape_error(t));
        for (int i = 0; i < 3; i++)
            for (int64_t e = 0; e < tensor_numel(&grad[i]); e++)
                cr_expect_float_eq(tensor_get(&grad[i], e), 1 + tensor_get(want.g[i], e), 1e-12);
        ag_tape_reset(t);
    }
}
