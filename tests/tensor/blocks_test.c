/* Passes over many arrays: every element once, the same result for any number of threads. */
#include "tensor/blocks.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "tensor/parallel.h"

enum { ARRAYS = 6 };
/* Empty ones at the ends and between, ends of blocks, more blocks than go out together. */
static const int64_t sizes[ARRAYS] = {0, 1, TENSOR_BLOCK, 0, 300 * TENSOR_BLOCK + 7, 0};
static int64_t size_of(int array, void *context) {
    (void)context;
    return sizes[array];
}

static unsigned char *visits[ARRAYS];
static double visit(const TensorBlock *b, void *context) {
    (void)context;
    cr_assert(b->begin % TENSOR_BLOCK == 0 && b->begin < b->end);
    for (int64_t i = b->begin; i < b->end; i++) visits[b->array][i]++;
    return 0;
}

Test(blocks, cover_every_element_once) {
    for (int a = 0; a < ARRAYS; a++) visits[a] = calloc((size_t)sizes[a] + 1, 1);
    for (int threads = 1; threads <= 3; threads++) {
        cr_assert(tensor_threads_set(threads));
        cr_expect_eq(tensor_blocks(&(TensorPass){.n = ARRAYS, .size = size_of, .run = visit}), 0);
        for (int a = 0; a < ARRAYS; a++)
            for (int64_t i = 0; i <= sizes[a]; i++)
                cr_assert_eq(visits[a][i], i < sizes[a] ? threads : 0, "array %d, %lld", a,
                             (long long)i);
    }
    for (int a = 0; a < ARRAYS; a++) free(visits[a]);
}

/* Results whose sum depends on the order. */
static double number(const TensorBlock *b, void *context) {
    (void)context;
    return pow(-1.7, (double)(b->array * 7 + b->begin / TENSOR_BLOCK % 50));
}
static double last(double joined, double next) {
    (void)joined;
    return next;
}

Test(blocks, results_are_joined_in_their_order) {
    const TensorPass pass = {.n = ARRAYS, .size = size_of, .run = number};
    double want = 0;
    for (int a = 0; a < ARRAYS; a++)
        for (int64_t i = 0; i < sizes[a]; i += TENSOR_BLOCK)
            want += number(&(TensorBlock){a, i, i + 1}, NULL);
    for (int threads = 1; threads <= 3; threads++) {
        cr_assert(tensor_threads_set(threads));
        cr_expect_eq(tensor_blocks(&pass), want);
        TensorPass other = pass;
        other.join = last;
        cr_expect_eq(tensor_blocks(&other),
                     number(&(TensorBlock){4, 300 * TENSOR_BLOCK, 0}, NULL));
    }
    cr_expect_eq(tensor_blocks(&(TensorPass){.n = 1, .size = size_of, .run = number}), 0);
}
