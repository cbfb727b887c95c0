/* Gradients of embeddings: which rows are used, and what goes over these only. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "nn/embedding.h"
#include "nn/linear.h"
#include "tensor/kernels.h"
#include "tensor/parallel.h"

enum { V = 90, E = 5 };

static NnParamSet *set;
static AgTape *t;
static NnEmbedding m;
static void start(void) {
    set = nn_params_new(TENSOR_F64, 1);
    t = ag_tape_new();
    nn_linear_make(set, "first", 2, 3, NULL);
    m = nn_embedding_make(set, "emb", V, E, NULL);
    nn_zero_grad(set);
}
static void stop(void) {
    ag_tape_free(t);
    nn_params_free(set);
}
TestSuite(rows, .init = start, .fini = stop);

/* Backward of the sum of the rows n..n+3, the last of them twice. */
static void use(int64_t n) {
    ag_tape_reset(t);
    Tensor x = tensor_wrap((int64_t[]){n + 1, n + 3, n, n + 2, n + 3}, TENSOR_I64, 1,
                           (int64_t[]){5});
    AgVar y = nn_embedding(&m, ag_input(t, &x));
    cr_assert(ag_backward(ag_sum(y, AG_ALL_AXES, false)), "%s", ag_tape_error(t));
}

static double at(const NnGrads *grads, int64_t row) {
    Tensor g = nn_grads_at(grads, m.weight->index);
    return tensor_get(&g, row * E + 1);
}
static void set_at(NnGrads *grads, int64_t row, double x) {
    Tensor g = nn_grads_at(grads, m.weight->index);
    tensor_set(&g, row * E + 1, x);
}
static bool is_used(const NnGrads *grads, int64_t row) {
    const AgRows *r = nn_grads_rows(grads, m.weight->index);
    return r->all || r->used[row / 64] >> row % 64 & 1;
}

Test(rows, an_embedding_uses_those_of_its_tokens) {
    NnGrads *own = nn_params_grads(set);
    cr_expect(m.weight->by_rows && !nn_params_at(set, 0)->by_rows);
    cr_expect_null(nn_grads_rows(own, 0));
    cr_expect_null(nn_grads_rows(own, 99));
    cr_expect_null(nn_grads_rows(NULL, 0));
    use(62);
    for (int64_t r = 0; r < V; r++) {
        cr_expect_eq(is_used(own, r), r >= 62 && r < 66, "row %d", (int)r);
        cr_expect_eq(at(own, r), r == 65 ? 2 : r >= 62 && r < 65, "row %d", (int)r);
    }
}

Test(rows, zeroing_goes_over_used_rows_and_over_all_after_a_touch) {
    NnGrads *own = nn_params_grads(set);
    for (int touch = 0; touch < 2; touch++) {
        use(62);
        set_at(own, 7, 1); /* against the rules, unless it is told */
        if (touch) nn_grads_touch(own, m.weight->index);
        nn_zero_grad(set);
        cr_expect_eq(at(own, 7), touch ? 0 : 1);
        for (int64_t r = 62; r < 66; r++) cr_expect(at(own, r) == 0 && !is_used(own, r));
    }
    nn_grads_touch(own, 0);
    nn_grads_touch(own, -1);
    nn_grads_touch(NULL, 0);
}

Test(rows, shares_add_up_with_their_rows) {
    NnGrads *a = nn_grads_new(set), *b = nn_grads_new(set), *own = nn_params_grads(set);
    nn_grads_use(a, t);
    use(1);
    nn_grads_use(b, t);
    use(3);
    cr_assert(nn_grads_add(a, b));
    for (int64_t r = 0; r < V; r++) {
        cr_expect_eq(is_used(a, r), r >= 1 && r <= 6);
        cr_expect_eq(at(a, r), (r >= 1 && r <= 4) + (r == 4) + (r >= 3 && r <= 6) + (r == 6));
        cr_expect_eq(is_used(b, r), r >= 3 && r <= 6);
        cr_expect(at(own, r) == 0 && !is_used(own, r), "the set's own stays");
    }
    set_at(b, 80, 9);
    nn_grads_touch(b, m.weight->index);
    cr_assert(nn_grads_add(a, b));
    cr_expect(at(a, 80) == 9 && is_used(a, 80) && is_used(a, 0));
    nn_grads_zero(a);
    cr_expect(at(a, 80) == 0 && !is_used(a, 80));
    nn_grads_free(a);
    nn_grads_free(b);
}

Test(rows, a_tied_weight_uses_all) {
    NnLinear out = nn_linear_make(set, "out", E, V, &(NnLinearOptions){.weight = m.weight});
    cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
    Tensor x = tensor_wrap((int64_t[]){4}, TENSOR_I64, 1, (int64_t[]){1});
    AgVar y = nn_linear(&out, nn_embedding(&m, ag_input(t, &x)));
    cr_assert(ag_backward(ag_sum(y, AG_ALL_AXES, false)), "%s", ag_tape_error(t));
    cr_expect(nn_grads_rows(nn_params_grads(set), m.weight->index)->all);
    nn_zero_grad(set);
    for (int64_t r = 0; r < V; r++) cr_expect(at(nn_params_grads(set), r) == 0);
    cr_expect(!nn_grads_rows(nn_params_grads(set), m.weight->index)->all);
}

Test(rows, are_kept_for_parameters_with_rows_only) {
    const int64_t none[] = {0, 3}, many[] = {3};
    NnParam *scalar = nn_param(set, nn_init_constant(1), 0, NULL, "scalar");
    NnParam *buffer = nn_buffer(set, nn_init_constant(1), 1, many, "buffer");
    NnParam *empty = nn_param(set, nn_init_constant(1), 2, none, "empty");
    NnParam *vector = nn_param(set, nn_init_constant(1), 1, many, "vector");
    NnParam *p[] = {scalar, buffer, empty, vector, nn_params_at(set, -1)};
    for (int again = 0; again < 2; again++)
        for (int i = 0; i < 5; i++) {
            AgRows *before = nn_grads_rows(nn_params_grads(set), p[i]->index);
            nn_param_by_rows(p[i]);
            cr_expect_eq(p[i]->by_rows, i == 2 || i == 3);
            if (again) cr_expect_eq(nn_grads_rows(nn_params_grads(set), p[i]->index), before);
        }
    nn_zero_grad(set);
    NnGrads *grads = nn_grads_new(set);
    cr_expect_not_null(nn_grads_rows(grads, vector->index));
    cr_expect_null(nn_grads_rows(grads, scalar->index));
    nn_grads_free(grads);
    cr_expect(nn_params_ok(set));
}

Test(rows, all_are_used_until_the_first_zeroing) {
    NnGrads *own = nn_params_grads(set);
    NnParam *p = nn_params_at(set, 0); /* has had a gradient before its rows are kept */
    tensor_fill(&p->grad, 1);
    nn_param_by_rows(p);
    cr_expect(nn_grads_rows(own, 0)->all);
    nn_zero_grad(set);
    for (int64_t i = 0; i < tensor_numel(&p->grad); i++) cr_expect_eq(tensor_get(&p->grad, i), 0);
    cr_expect(!nn_grads_rows(own, 0)->all);
}

/* Large enough for several blocks, with rows that lie across their ends. */
Test(rows, zeroing_and_adding_are_the_same_for_any_number_of_threads) {
    enum { ROWS = 20011, WIDTH = 7 };
    NnEmbedding large = nn_embedding_make(set, "large", ROWS, WIDTH, NULL);
    NnLinear matrix = nn_linear_make(set, "matrix", 300, 400, NULL);
    NnGrads *grads = nn_grads_new(set), *share = nn_grads_new(set);
    Tensor g = nn_grads_at(grads, large.weight->index);
    Tensor s = nn_grads_at(share, large.weight->index);
    Tensor w = nn_grads_at(grads, matrix.weight->index);
    Tensor v = nn_grads_at(share, matrix.weight->index);
    for (int threads = 1; threads <= 3; threads++) {
        cr_assert(tensor_threads_set(threads));
        nn_grads_zero(grads);
        nn_grads_zero(share);
        int64_t row[] = {4681, 9362, 3, ROWS - 1}; /* 4681 lies across the end of the first block */
        Tensor index = tensor_wrap(row, TENSOR_I64, 1, (int64_t[]){4});
        ag_rows_use(nn_grads_rows(share, large.weight->index), &index);
        for (int i = 0; i < 4; i++)
            for (int64_t e = 0; e < WIDTH; e++) tensor_set(&s, row[i] * WIDTH + e, i + 1);
        tensor_fill(&v, 2);
        cr_assert(nn_grads_add(grads, share) && nn_grads_add(grads, share));
        for (int64_t i = 0; i < ROWS * WIDTH; i++)
            cr_assert_eq(tensor_get(&g, i), 2 * tensor_get(&s, i));
        for (int64_t i = 0; i < 300 * 400; i++) cr_assert_eq(tensor_get(&w, i), 4);
        nn_grads_zero(grads);
        for (int64_t i = 0; i < ROWS * WIDTH; i++) cr_assert_eq(tensor_get(&g, i), 0);
        for (int64_t i = 0; i < 300 * 400; i++) cr_assert_eq(tensor_get(&w, i), 0);
    }
    nn_grads_free(grads);
    nn_grads_free(share);
}
