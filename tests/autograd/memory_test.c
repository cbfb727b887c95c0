/* The second step of a shape, and every later one, takes nothing from the system. */
#include <criterion/criterion.h>

#include "autograd/ag.h"
#include "tests/support/allocations.h"

static float value[64 * 64], grad[64 * 64], in[32 * 64];

static AgVar weight(AgTape *t) {
    int64_t square[] = {64, 64};
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(value, TENSOR_F32, 2, square),
                   .grad = tensor_wrap(grad, TENSOR_F32, 2, square)};
    return ag_leaf(t, value, &leaf);
}

static void product(AgTape *t, void *context, int n, const AgVar *x, int n_out, AgVar *y) {
    (void)context, (void)n, (void)n_out;
    y[0] = ag_tanh(ag_matmul(x[0], weight(t)));
}

static double step(AgTape *t) {
    ag_tape_reset(t);
    int64_t batch[] = {32, 64};
    Tensor x = tensor_wrap(in, TENSOR_F32, 2, batch);
    ag_scope_push(t, "loop");
    AgVar h = ag_input(t, &x);
    ag_checkpoint(product, NULL, 1, &h, 1, &h);
    AgVar w = weight(t);
    for (int i = 0; i < 200; i++) {
        ag_scope_step(t, i);
        AgVar a = ag_matmul(h, ag_transpose(w, 0, 1));
        h = ag_mul(ag_tanh(ag_chunk(a, 1, 1, 0)), ag_sigmoid(ag_add(a, ag_select(w, 0, i % 64))));
    }
    AgVar loss = ag_mean(ag_square(h), AG_ALL_AXES, false);
    cr_assert(ag_backward(loss), "%s", ag_tape_error(t));
    ag_scope_pop(t);
    return ag_item(loss);
}

Test(memory, later_steps_allocate_nothing_and_give_the_same_bits) {
    for (int i = 0; i < 64 * 64; i++) value[i] = (float)((i * 37) % 101) / 500 - .1f;
    for (int i = 0; i < 32 * 64; i++) in[i] = (float)(i % 13) / 13;
    AgTape *t = ag_tape_new();
    double first = step(t);
    cr_assert_gt(allocations(), 0, "the counter counts nothing");
    size_t reserved = ag_tape_reserved(t);
    for (int i = 0; i < 5; i++) {
        long before = allocations();
        double again = step(t);
        long more = allocations() - before;
        cr_expect_eq(more, 0, "step %d: %ld allocations", i + 2, more);
        cr_expect_eq(again, first);
    }
    cr_expect_eq(ag_tape_reserved(t), reserved);
    ag_tape_free(t);
}
