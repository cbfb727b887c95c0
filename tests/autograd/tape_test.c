/* The tape: errors, handles, scopes, marks, modes, random keys. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/ag.h"

static AgTape *t;
static void start(void) { t = ag_tape_new(); }
static void stop(void) { ag_tape_free(t); }
TestSuite(tape, .init = start, .fini = stop);

static AgVar matrix(int64_t rows, int64_t cols, double value) {
    return ag_full(t, TENSOR_F32, 2, (int64_t[]){rows, cols}, value);
}

#define EXPECT_ERROR(text) \
    cr_expect(strstr(ag_tape_error(t), text), "says `%s`, wants `%s`", ag_tape_error(t), text)

/* ---- errors ---- */

Test(tape, keeps_the_first_error_and_makes_the_rest_of_the_expression_inert) {
    AgVar a = matrix(3, 4, 1), s = ag_sigmoid(a);
    int64_t before = ag_tape_count(t);
    AgVar y = ag_mul(ag_tanh(ag_matmul(a, a)), s);
    AgVar z = ag_add(y, ag_reshape(a, 1, (int64_t[]){5}));
    cr_expect(!ag_tape_ok(t));
    cr_expect_str_eq(ag_tape_error(t),
                     "matmul(f32[3,4], f32[3,4]): inner sizes differ (4 and 3)");
    cr_expect_eq(ag_tape_count(t), before);
    cr_expect(!ag_ok(y) && !ag_ok(z) && !ag_backward(z));
    cr_expect_eq(z.tape, t);
}

Test(tape, reading_a_failed_variable_does_no_harm) {
    AgVar bad = ag_matmul(matrix(3, 4, 1), matrix(3, 4, 1));
    char text[AG_STR_SIZE];
    cr_expect(isnan(ag_item(bad)));
    cr_expect_eq(ag_item_i64(bad), -1);
    cr_expect_eq(ag_ndim(bad), 0);
    cr_expect_eq(ag_dim(bad, 0), 0);
    cr_expect_eq(ag_numel(bad), 0);
    cr_expect_eq(tensor_numel(ag_value(bad)), 0);
    cr_expect_str_eq(ag_str(bad, text, sizeof text), "failed or stale variable");
    AgVar never = {0};
    cr_expect(isnan(ag_item(never)) && ag_numel(never) == 0 && !ag_ok(never));
    cr_expect_eq(tensor_numel(ag_value(never)), 0);
}

Test(tape, an_error_names_scope_and_step) {
    ag_scope_push(t, "lm");
    ag_scope_push(t, "lstm");
    ag_scope_push(t, "l0");
    ag_scope_step(t, 12);
    ag_matmul(matrix(3, 4, 1), matrix(3, 4, 1));
    cr_expect_str_eq(ag_tape_error(t), "lm/lstm/l0 step 12: matmul(f32[3,4], f32[3,4]): inner "
                                       "sizes differ (4 and 3)");
    ag_scope_pop(t); /* inert after the error */
    cr_expect(strstr(ag_tape_error_where(t), ag_tape_error(t)));
#ifdef __GLIBC__
    cr_expect(strchr(ag_tape_error_where(t), '\n'), "no backtrace");
#endif
}

Test(tape, reset_clears_the_error) {
    ag_matmul(matrix(3, 4, 1), matrix(3, 4, 1));
    ag_tape_reset(t);
    cr_expect(ag_tape_ok(t));
    cr_expect_str_eq(ag_tape_error(t), "");
    cr_expect_eq(ag_item(ag_sum(matrix(3, 4, 1), AG_ALL_AXES, false)), 12);
}

Test(tape, reports_an_error_of_the_callers_own) {
    ag_scope_push(t, "encoder");
    AgVar v = ag_fail(t, "wants %d heads", 4);
    cr_expect(!ag_ok(v));
    cr_expect_str_eq(ag_tape_error(t), "encoder: wants 4 heads");
}

Test(tape, scopes_that_do_not_match_are_an_error) {
    ag_scope_pop(t);
    EXPECT_ERROR("scope_pop: no scope is open");
    ag_tape_reset(t);
    for (int i = 0; i < 200; i++) ag_scope_push(t, "deeper");
    EXPECT_ERROR("more than 64 scopes deep");
}

Test(tape, out_of_memory_is_an_error_and_not_a_crash) {
    ag_tape_set_memory_limit(t, 4 << 20);
    AgVar a = matrix(512, 512, 1), y = a;
    for (int i = 0; i < 10; i++) y = ag_add(y, a);
    EXPECT_ERROR("out of memory");
    cr_expect_leq(ag_tape_reserved(t), (size_t)4 << 20);
    ag_tape_reset(t);
    ag_full(t, TENSOR_F64, 3, (int64_t[]){1 << 30, 1 << 30, 4}, 0);
    EXPECT_ERROR("too large size");
    ag_tape_reset(t);
    cr_expect_eq(ag_item(ag_scalar(t, TENSOR_F32, 2)), 2);
}

Test(tape, refuses_bad_inputs) {
    Tensor nil = tensor_nil(), nothing = {.dtype = TENSOR_F32, .ndim = 1, .shape = {3}};
    ag_input(t, &nil);
    EXPECT_ERROR("input: nil tensor");
    ag_tape_reset(t);
    ag_input(t, &nothing);
    EXPECT_ERROR("input: no data");
    ag_tape_reset(t);
    ag_borrow(t, NULL);
    EXPECT_ERROR("borrow: no tensor");
}

/* ---- handles ---- */

Test(tape, catches_stale_handles) {
    AgVar a = matrix(2, 2, 1);
    ag_tape_reset(t);
    AgVar b = matrix(2, 2, 2); /* the same node again */
    cr_expect_eq(a.id, b.id);
    cr_expect(!ag_ok(a) && ag_ok(b));
    ag_add(b, a);
    EXPECT_ERROR("add: argument 1: stale variable");
    ag_tape_reset(t);
    cr_expect(isnan(ag_item(a)));
    EXPECT_ERROR("stale variable");
}

Test(tape, catches_handles_of_another_tape_and_of_none) {
    AgTape *other = ag_tape_new();
    AgVar foreign = ag_scalar(other, TENSOR_F32, 1), own = ag_scalar(t, TENSOR_F32, 1);
    ag_add(own, foreign);
    EXPECT_ERROR("add: argument 1 belongs to another tape");
    ag_tape_reset(t);
    ag_add(ag_scalar(t, TENSOR_F32, 1), (AgVar){0});
    EXPECT_ERROR("add: argument 1 is no variable");
    AgVar none = ag_add((AgVar){0}, (AgVar){0});
    cr_expect(!none.tape && !ag_ok(none));
    ag_tape_free(other);
}

Test(tape, inputs_copy_and_borrowed_ones_do_not) {
    float x[] = {1, 2};
    Tensor v = tensor_wrap(x, TENSOR_F32, 1, (int64_t[]){2});
    AgVar copy = ag_input(t, &v), borrowed = ag_borrow(t, &v);
    x[0] = 7;
    cr_expect_eq(tensor_get(ag_value(copy), 0), 1);
    cr_expect_eq(tensor_get(ag_value(borrowed), 0), 7);
}

Test(tape, finds_a_borrowed_input_that_changed_since_forward) {
    float x[] = {1, 2}, w[] = {3, 4}, dw[] = {0, 0};
    int64_t two = 2;
    Tensor v = tensor_wrap(x, TENSOR_F32, 1, &two);
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(w, TENSOR_F32, 1, &two),
                   .grad = tensor_wrap(dw, TENSOR_F32, 1, &two)};
    ag_tape_check_borrowed(t, true);
    for (int change = 0; change < 2; change++) {
        ag_tape_reset(t);
        AgVar y = ag_mul(ag_borrow(t, &v), ag_leaf(t, w, &leaf));
        x[1] += (float)change;
        cr_expect_eq(ag_backward(ag_sum(y, AG_ALL_AXES, false)), !change);
    }
    EXPECT_ERROR("changed since forward");
}

Test(tape, finds_a_parameter_that_changed_since_forward) {
    float w[] = {3}, dw[] = {0};
    uint64_t version = 1;
    AgLeaf leaf = {.name = "lm.w", .value = tensor_wrap(w, TENSOR_F32, 0, NULL),
                   .grad = tensor_wrap(dw, TENSOR_F32, 0, NULL), .version = &version};
    AgVar y = ag_square(ag_leaf(t, w, &leaf));
    version++;
    cr_expect(!ag_backward(y));
    EXPECT_ERROR("parameter lm.w changed since forward");
    cr_expect_eq(dw[0], 0);
}

/* ---- leaves ---- */

Test(tape, a_leaf_is_one_variable_throughout_an_epoch) {
    float w[200];
    int64_t one = 1;
    AgVar first[200];
    for (int i = 0; i < 200; i++) {
        w[i] = (float)i;
        AgLeaf leaf = {.name = "w", .value = tensor_wrap(&w[i], TENSOR_F32, 1, &one),
                       .grad = tensor_nil()};
        first[i] = ag_leaf(t, &w[i], &leaf);
    }
    for (int i = 0; i < 200; i++) {
        AgVar again = ag_bound(t, &w[i]);
        cr_expect_eq(again.id, first[i].id);
        cr_expect_eq(ag_item(again), i);
    }
    ag_tape_reset(t);
    cr_expect(!ag_ok(ag_bound(t, &w[0])) && ag_tape_ok(t));
}

Test(tape, a_bound_key_stands_for_the_given_variable) {
    float w = 3;
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(&w, TENSOR_F32, 0, NULL),
                   .grad = tensor_nil()};
    AgVar x = ag_scalar(t, TENSOR_F32, 5), g;
    ag_bind(t, &w, x);
    AgVar y = ag_square(ag_leaf(t, &w, &leaf));
    cr_expect_eq(ag_item(y), 25);
    cr_expect(ag_grad(y, (AgVar){0}, 1, &x, &g, false));
    cr_expect_eq(ag_item(g), 10);
}

Test(tape, a_leaf_whose_gradient_does_not_fit_is_an_error) {
    float w[2] = {0}, dw[3] = {0};
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(w, TENSOR_F32, 1, (int64_t[]){2}),
                   .grad = tensor_wrap(dw, TENSOR_F32, 1, (int64_t[]){3})};
    ag_leaf(t, w, &leaf);
    EXPECT_ERROR("w: gradient f32[3] for value f32[2]");
    ag_tape_reset(t);
    leaf.grad = tensor_wrap(NULL, TENSOR_F32, 1, (int64_t[]){2});
    ag_leaf(t, w, &leaf);
    EXPECT_ERROR("w: the gradient's memory is missing");
    ag_tape_reset(t);
    Tensor one = tensor_wrap(dw, TENSOR_F32, 1, (int64_t[]){1});
    leaf.grad = tensor_expand(&one, 1, (int64_t[]){2});
    leaf.name = NULL;
    ag_leaf(t, w, &leaf);
    EXPECT_ERROR("leaf: the gradient's memory is shared");
}

Test(tape, attachments_outlive_resets) {
    int key1 = 0, key2 = 0, data1 = 0, data2 = 0;
    cr_expect(ag_tape_attach(t, &key1, &data1) && ag_tape_attach(t, &key2, &data2));
    ag_tape_reset(t);
    cr_expect_eq(ag_tape_attached(t, &key1), &data1);
    ag_tape_attach(t, &key1, &data2);
    cr_expect_eq(ag_tape_attached(t, &key1), &data2);
    ag_tape_attach(t, &key1, NULL);
    cr_expect_null(ag_tape_attached(t, &key1));
    cr_expect_eq(ag_tape_attached(t, &key2), &data2);
}

/* ---- marks ---- */

Test(tape, a_mark_bounds_a_long_loop_and_keeps_what_it_is_told) {
    ag_tape_no_grad(t, true);
    AgVar h = matrix(8, 8, 0), before = ag_scalar(t, TENSOR_F32, 4);
    AgTapeMark m = ag_tape_mark(t);
    size_t bytes = 0;
    int64_t count = 0;
    for (int i = 0; i < 1000; i++) {
        AgVar next = ag_affine(ag_affine(h, 1, .5), 1, .5);
        AgVar keep[] = {next};
        cr_assert(ag_tape_release(t, m, 1, keep));
        cr_assert(!ag_ok(next));
        h = keep[0];
        if (i == 1) bytes = ag_tape_bytes(t), count = ag_tape_count(t);
        if (i > 1) cr_assert(ag_tape_bytes(t) == bytes && ag_tape_count(t) == count);
    }
    cr_expect_eq(tensor_get(ag_value(h), 63), 1000);
    cr_expect_eq(ag_item(before), 4); /* from before the mark: still valid */
}

Test(tape, release_keeps_several_variables_that_overlap_in_memory) {
    AgTapeMark m = ag_tape_mark(t);
    AgVar a = matrix(3, 5, 1), b = ag_affine(a, 2, 0);
    AgVar keep[] = {ag_transpose(b, 0, 1), a, ag_narrow(b, 1, 1, 2), b};
    cr_assert(ag_tape_release(t, m, 4, keep));
    cr_expect_eq(ag_dim(keep[0], 0), 5);
    cr_expect_eq(ag_dim(keep[2], 1), 2);
    for (int i = 0; i < 4; i++) {
        cr_expect(ag_ok(keep[i]));
        cr_expect_eq(tensor_get(ag_value(keep[i]), 5), i == 1 ? 1 : 2);
    }
    /* A view below the mark stays as it is. */
    AgTapeMark second = ag_tape_mark(t);
    AgVar stays = keep[0];
    cr_assert(ag_tape_release(t, second, 1, &stays));
    cr_expect_eq(stays.id, keep[0].id);
}

Test(tape, release_closes_scopes_and_forgets_leaves_made_since) {
    float w = 1;
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(&w, TENSOR_F32, 0, NULL),
                   .grad = tensor_nil()};
    ag_scope_push(t, "outer");
    AgTapeMark m = ag_tape_mark(t);
    ag_scope_push(t, "inner");
    ag_leaf(t, &w, &leaf);
    cr_assert(ag_tape_release(t, m, 0, NULL));
    cr_expect(!ag_ok(ag_bound(t, &w)));
    ag_fail(t, "here");
    cr_expect_str_eq(ag_tape_error(t), "outer: here");
}

Test(tape, a_mark_from_before_a_reset_is_an_error) {
    matrix(2, 2, 1);
    AgTapeMark m = ag_tape_mark(t);
    ag_tape_reset(t);
    cr_expect(!ag_tape_release(t, m, 0, NULL));
    EXPECT_ERROR("older than the last reset");
}

Test(tape, a_mark_that_an_earlier_release_forgot_is_an_error) {
    AgTapeMark outer = ag_tape_mark(t);
    matrix(2, 2, 1);
    AgTapeMark inner = ag_tape_mark(t);
    cr_assert(ag_tape_release(t, outer, 0, NULL));
    AgVar kept = matrix(8, 8, 7);
    matrix(1, 1, 0);
    cr_expect(!ag_tape_release(t, inner, 0, NULL));
    EXPECT_ERROR("forgotten by an earlier release");
    cr_expect_eq(tensor_get(ag_value(kept), 63), 7);
}

Test(tape, a_mark_of_another_tape_is_an_error) {
    AgTape *other = ag_tape_new();
    cr_expect(!ag_tape_release(t, ag_tape_mark(other), 0, NULL));
    EXPECT_ERROR("of another tape");
    ag_tape_free(other);
}

Test(tape, a_release_forgets_watches_made_since_and_gradients_they_kept) {
    double w[] = {3}, dw[] = {0};
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(w, TENSOR_F64, 0, NULL),
                   .grad = tensor_wrap(dw, TENSOR_F64, 0, NULL)};
    AgVar x = ag_leaf(t, w, &leaf), y = ag_square(x);
    ag_watch(x, "early");
    AgTapeMark m = ag_tape_mark(t);
    ag_watch(y, "late");
    cr_assert(ag_backward(y), "%s", ag_tape_error(t));
    Tensor early = ag_watched(t, "early");
    cr_expect_eq(tensor_get(&early, 0), 6);
    cr_assert(ag_tape_release(t, m, 0, NULL));
    early = ag_watched(t, "early");
    Tensor late = ag_watched(t, "late");
    cr_expect(tensor_is_nil(&early) && tensor_is_nil(&late));
    char text[AG_STR_SIZE];
    cr_expect(strstr(ag_str(y, text, sizeof text), "square"), "%s", text);
    cr_assert(ag_backward(y)); /* the early watch is still there */
    early = ag_watched(t, "early");
    cr_expect_eq(tensor_get(&early, 0), 6);
}

Test(tape, only_floats_can_be_watched) {
    ag_watch(ag_arange(t, TENSOR_I64, 0, 4, 1), "index");
    EXPECT_ERROR("watched variable 0 is i64");
}

Test(tape, keeps_to_its_memory_limit_in_every_arena) {
    for (size_t limit = 1 << 18; limit < (64u << 20); limit *= 3) {
        AgTape *small = ag_tape_new();
        size_t least = ag_tape_reserved(small);
        ag_tape_set_memory_limit(small, limit);
        AgVar one = ag_full(small, TENSOR_F32, 1, (int64_t[]){1}, 1);
        AgVar wide = ag_expand(one, 2, (int64_t[]){1000, 1000});
        AgVar y = ag_matmul(wide, ag_full(small, TENSOR_F32, 2, (int64_t[]){1000, 1}, 1)), g;
        for (int i = 0; i < 3000; i++) y = ag_alias(y);
        ag_grad(y, (AgVar){0}, 1, &one, &g, false);
        size_t most = limit > least ? limit : least;
        cr_expect(ag_tape_reserved(small) <= most, "%zu of %zu", ag_tape_reserved(small), most);
        ag_tape_free(small);
    }
}

/* The second rule fails for x, and has a buffer to add w's gradient into. */
Test(tape, a_rule_that_runs_out_of_memory_does_not_go_on) {
    int failed = 0;
    bool ended = false;
    for (size_t limit = 1 << 22; !ended; limit += limit / 8) {
        AgTape *small = ag_tape_new();
        ag_tape_set_memory_limit(small, limit);
        AgVar x[2], w = ag_full(small, TENSOR_F64, 2, (int64_t[]){256, 1}, 1), y[2], gx[3];
        for (int i = 0; i < 2; i++) {
            x[i] = ag_full(small, TENSOR_F64, 2, (int64_t[]){1024, 256}, 1);
            y[i] = ag_matmul(x[i], w);
        }
        AgVar sum = ag_sum(ag_add(y[0], y[1]), AG_ALL_AXES, false);
        ended = ag_grad(sum, (AgVar){0}, 3, (AgVar[]){x[0], x[1], w}, gx, false);
        cr_assert(ended || strstr(ag_tape_error(small), "out of memory"), "%s",
                  ag_tape_error(small));
        failed += !ended;
        ag_tape_free(small);
    }
    cr_expect_gt(failed, 3);
}

Test(tape, an_error_stays_one_line_with_its_reason_whatever_the_scope) {
    char name[600];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = 0;
    ag_scope_push(t, "a\nb");
    ag_scope_push(t, name);
    ag_matmul(matrix(3, 4, 1), matrix(3, 4, 1));
    EXPECT_ERROR("inner sizes differ (4 and 3)");
    cr_expect(!strchr(ag_tape_error(t), '\n'));
}

Test(tape, a_leaf_wants_a_key_and_a_float_for_its_gradient) {
    int64_t i[1] = {0}, di[1] = {0};
    AgLeaf leaf = {.name = "i", .value = tensor_wrap(i, TENSOR_I64, 0, NULL),
                   .grad = tensor_wrap(di, TENSOR_I64, 0, NULL)};
    ag_leaf(t, i, &leaf);
    EXPECT_ERROR("i: i64 has no gradient");
    ag_tape_reset(t);
    ag_leaf(t, NULL, &leaf);
    EXPECT_ERROR("leaf: no key");
    ag_tape_reset(t);
    ag_bind(t, NULL, ag_scalar(t, TENSOR_F32, 1));
    EXPECT_ERROR("bind: no key");
}

Test(tape, release_of_a_stale_variable_is_an_error) {
    AgTapeMark m = ag_tape_mark(t);
    AgVar a = matrix(2, 2, 1);
    cr_assert(ag_tape_release(t, m, 0, NULL));
    cr_expect(!ag_tape_release(t, m, 1, &a));
    EXPECT_ERROR("tape_release: argument 0: stale variable");
    cr_expect(!ag_ok(a));
}

/* ---- modes and random numbers ---- */

Test(tape, modes_return_what_they_were_and_outlive_resets) {
    cr_expect(!ag_tape_training(t, true));
    cr_expect(!ag_tape_no_grad(t, true));
    ag_tape_reset(t);
    cr_expect(ag_tape_is_training(t) && ag_tape_is_no_grad(t));
    cr_expect(ag_tape_training(t, false) && ag_tape_no_grad(t, false));
}

static void draw(uint64_t step, double *out) {
    ag_tape_reset(t);
    ag_tape_rng(t, 42, step);
    AgVar y = ag_dropout(matrix(4, 25, 1), .5, 0), z = ag_dropout(matrix(4, 25, 1), .5, 0);
    for (int i = 0; i < 100; i++) {
        out[i] = tensor_get(ag_value(y), i);
        out[100 + i] = tensor_get(ag_value(z), i);
    }
}

Test(tape, dropout_repeats_within_a_step_and_differs_between_steps_and_calls) {
    double a[200], b[200], c[200];
    ag_tape_training(t, true);
    draw(1, a), draw(1, b), draw(2, c);
    cr_expect(!memcmp(a, b, sizeof a));
    cr_expect(memcmp(a, c, sizeof a));
    cr_expect(memcmp(a, a + 100, sizeof a / 2));
    ag_tape_training(t, false);
    draw(1, a);
    for (int i = 0; i < 200; i++) cr_expect_eq(a[i], 1);
}

Test(tape, shares_of_a_batch_draw_what_the_whole_draws) {
    enum { T = 3, B = 7, H = 5 };
    AgTape *worker = ag_tape_new();
    ag_tape_training(t, true), ag_tape_training(worker, true);
    ag_tape_rng(t, 9, 4), ag_tape_rng(worker, 9, 4);
    AgVar whole = ag_dropout(ag_full(t, TENSOR_F32, 3, (int64_t[]){T, B, H}, 1), .5, 1);
    const int64_t first[] = {0, 2, 6, 7};
    for (int share = 0; share < 3; share++) {
        int64_t rows = first[share + 1] - first[share];
        ag_tape_reset(worker);
        ag_tape_rows(worker, first[share], B);
        AgVar x = ag_full(worker, TENSOR_F32, 3, (int64_t[]){T, rows, H}, 1);
        AgVar part = ag_dropout(x, .5, 1);
        Tensor expected = tensor_narrow(ag_value(whole), 1, first[share], rows);
        for (int64_t i = 0; i < T * rows * H; i++)
            cr_assert_eq(tensor_get(ag_value(part), i), tensor_get(&expected, i));
    }
    ag_tape_free(worker);
}

/* ---- text ---- */

Test(tape, describes_and_writes_variables) {
    char text[AG_STR_SIZE];
    ag_scope_push(t, "lm");
    AgVar v = ag_log(ag_affine(ag_arange(t, TENSOR_F64, 0, 4, 1), 1, -1));
    cr_expect_str_eq(ag_str(v, text, sizeof text),
                     "lm: log f64[4] node 3 mean nan min -inf max 0.693147 nan 1");
    char tiny[8];
    cr_expect_str_eq(ag_str(v, tiny, sizeof tiny), "lm: log");
    char *written = NULL;
    size_t n = 0;
    FILE *file = open_memstream(&written, &n);
    cr_expect(ag_write(file, v));
    fclose(file);
    cr_expect(strstr(written, "log f64[4] [") && strstr(written, "0.693147]"), "%s", written);
    free(written);
}
