/* What holds for recurrent ops whatever they compute: lengths, directions, cut sequences, parts of
 * the gradient, memory. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tests/autograd/recurrent_call.h"
#include "tests/support/allocations.h"

typedef struct {
    TensorArena *a;
    AgTape *t[2];
} Room;

static Room room_new(void) {
    return (Room){tensor_arena_new(), {ag_tape_new(), ag_tape_new()}};
}

static void room_free(Room *r) {
    ag_tape_free(r->t[0]);
    ag_tape_free(r->t[1]);
    tensor_arena_free(r->a);
}

enum { STYLES = 6 };

/* Each style has other options; all have biases and states. */
static Call styled(CallKind kind, int style) {
    Call c = {.kind = kind, .T = 5, .B = 6, .I = 3, .H = 9, .P = 9, .bias = true, .state = true};
    c.o.reverse = style % 2;
    if (style == 2) c.P = 4;
    c.peepholes = style == 3 || style == 4;
    c.o.coupled = style == 4;
    c.norm = c.norm_bias = style == 5;
    return c;
}

static void for_each_style(void (*body)(Room *r, const Call *c, TensorDtype dtype)) {
    for (CallKind kind = 0; kind < CALL_KINDS; kind++)
        for (int style = 0; style < (kind == CALL_LSTM ? STYLES : 2); style++)
            for (TensorDtype dtype = TENSOR_F32; dtype <= TENSOR_F64; dtype++) {
                Room r = room_new();
                Call c = styled(kind, style);
                body(&r, &c, dtype);
                room_free(&r);
            }
}

static bool all_zero(const Tensor *x) {
    for (int64_t e = 0; e < tensor_numel(x); e++)
        if (tensor_get(x, e) != 0) return false;
    return true;
}

/* ---- lengths ---- */

/* What lies beyond the lengths in a [T, B, n]. */
static void fill_beyond(const Call *c, const Tensor *x, double value) {
    for (int64_t b = 0; b < c->B; b++) {
        Tensor row = tensor_select(x, 1, b);
        Tensor beyond = tensor_narrow(&row, 0, c->lengths[b], c->T - c->lengths[b]);
        tensor_fill(&beyond, value);
    }
}

static void beyond_is_unseen(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    call_random_lengths(&c, 5);
    c.lengths[2] = 0;
    c.training = true;
    c.o.hidden_dropout = .3, c.o.zoneout_h = .2;
    CallData d = call_data(r->a, &c, dtype, 1);
    CallResult want = call_run(&c, r->t[0], &d, 1);
    fill_beyond(&c, &d.part[CALL_X], NAN);
    fill_beyond(&c, &d.seed[0], NAN);
    CallResult got = call_run(&c, r->t[1], &d, 1);
    cr_expect(call_same_results(&got, &want), "%s", call_words(&c));
    for (int64_t b = 0; b < c.B; b++) {
        Tensor dx = tensor_select(&got.grad[CALL_X], 1, b), y = tensor_select(&got.out[0], 1, b);
        Tensor dx_beyond = tensor_narrow(&dx, 0, c.lengths[b], c.T - c.lengths[b]);
        Tensor y_beyond = tensor_narrow(&y, 0, c.lengths[b], c.T - c.lengths[b]);
        cr_expect(all_zero(&dx_beyond) && all_zero(&y_beyond), "%s", call_words(&c));
    }
}

Test(recurrent, what_lies_beyond_a_length_is_unseen_and_its_gradient_is_0) {
    for_each_style(beyond_is_unseen);
}

static void expect_whole_lengths(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    CallData d = call_data(r->a, &c, dtype, 1);
    CallResult want = call_run(&c, r->t[0], &d, 1);
    c.has_lengths = true;
    for (int64_t b = 0; b < c.B; b++) c.lengths[b] = c.T;
    CallResult got = call_run(&c, r->t[1], &d, 1);
    cr_expect(call_same_results(&got, &want), "%s", call_words(&c));
}

Test(recurrent, lengths_of_all_steps_are_no_lengths) { for_each_style(expect_whole_lengths); }

static void expect_nothing(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    c.has_lengths = true; /* all 0 */
    CallData d = call_data(r->a, &c, dtype, 1);
    tensor_fill(&d.part[CALL_X], NAN);
    CallResult got = call_run(&c, r->t[0], &d, 1);
    cr_expect(all_zero(&got.out[0]), "%s", call_words(&c));
    for (int k = 1; k < CALL_OUT; k++) {
        cr_expect(call_same_bits(&got.out[k], &d.part[CALL_X + k]), "%s", call_words(&c));
        cr_expect(call_same_bits(&got.grad[CALL_X + k], &d.seed[k]), "%s", call_words(&c));
    }
    for (int part = 0; part < CALL_PARTS; part++)
        if (part != CALL_H0 && part != CALL_C0)
            cr_expect(all_zero(&got.grad[part]), "%s: %d", call_words(&c), part);
}

Test(recurrent, sequences_without_steps_hand_on_their_states_and_gradients) {
    for_each_style(expect_nothing);
}

/* The state after a sequence's own last step is y there. */
static void expect_own_ends(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    call_random_lengths(&c, 3);
    CallData d = call_data(r->a, &c, dtype, 1);
    CallResult got = call_run(&c, r->t[0], &d, 0);
    for (int64_t b = 0; b < c.B; b++) {
        if (c.lengths[b] == 0) continue;
        Tensor y = tensor_select(&got.out[0], 1, b), hn = tensor_select(&got.out[1], 0, b);
        Tensor last = tensor_select(&y, 0, c.o.reverse ? 0 : c.lengths[b] - 1);
        cr_expect(call_same_bits(&hn, &last), "%s: row %lld", call_words(&c), (long long)b);
    }
}

Test(recurrent, the_final_state_is_that_of_the_sequences_own_end) {
    for_each_style(expect_own_ends);
}

/* The array of lengths may change after the call. */
static void lengths_are_copied(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    call_random_lengths(&c, 4);
    CallData d = call_data(r->a, &c, dtype, 1);
    CallResult want = call_run(&c, r->t[0], &d, 1);
    AgTape *t = r->t[1];
    AgVar v[CALL_PARTS] = {{0}}, out[CALL_OUT], gx;
    for (int part = 0; part < CALL_PARTS; part++)
        if (!tensor_is_nil(&d.part[part])) v[part] = ag_borrow(t, &d.part[part]);
    ag_tape_rng(t, 11, 0);
    call_apply(&c, v, out);
    memset(c.lengths, 1, sizeof c.lengths);
    AgVar seed[CALL_OUT] = {{0}};
    for (int k = 0; k < CALL_OUT; k++)
        if (!tensor_is_nil(&d.seed[k])) seed[k] = ag_borrow(t, &d.seed[k]);
    cr_assert(ag_grad_n(c.kind == CALL_LSTM ? 3 : 2, out, seed, 1, &v[CALL_W_HH], &gx, false), "%s",
              ag_tape_error(t));
    cr_expect(call_same_bits(ag_value(gx), &want.grad[CALL_W_HH]));
}

Test(recurrent, lengths_are_read_during_the_call_only) { for_each_style(lengths_are_copied); }

/* ---- direction ---- */

/* Each sequence of a [T, B, n] from its last step to its first. */
static Tensor flipped(TensorArena *a, const Call *c, const Tensor *x) {
    Tensor y = tensor_copy(a, x);
    for (int64_t b = 0; b < c->B; b++) {
        int64_t length = c->has_lengths ? c->lengths[b] : c->T;
        Tensor from = tensor_select(x, 1, b), to = tensor_select(&y, 1, b);
        from = tensor_narrow(&from, 0, 0, length);
        from = tensor_flip(&from, 0);
        to = tensor_narrow(&to, 0, 0, length);
        tensor_convert(&to, &from);
    }
    return y;
}

static void expect_mirror(Room *r, const Call *plain, TensorDtype dtype) {
    for (int with = 0; with < 2; with++) {
        Call c = *plain, mirror;
        if (with) call_random_lengths(&c, 6);
        CallData d = call_data(r->a, &c, dtype, 1), other = d;
        mirror = c;
        mirror.o.reverse = !c.o.reverse;
        other.part[CALL_X] = flipped(r->a, &c, &d.part[CALL_X]);
        other.seed[0] = flipped(r->a, &c, &d.seed[0]);
        CallResult want = call_run(&c, r->t[0], &d, 1);
        CallResult got = call_run(&mirror, r->t[1], &other, 1);
        got.out[0] = flipped(r->a, &c, &got.out[0]);
        got.grad[CALL_X] = flipped(r->a, &c, &got.grad[CALL_X]);
        for (int k = 0; k < CALL_OUT; k++) {
            cr_expect(call_same_bits(&got.out[k], &want.out[k]), "%s", call_words(&c));
            cr_expect(call_same_bits(&got.grad[k], &want.grad[k]), "%s", call_words(&c));
        }
        const char *name; /* sums over steps, in the other order */
        double distance = call_difference(&got, &want, call_distance, &name);
        cr_expect(distance <= (dtype == TENSOR_F64 ? 1e-13 : 1e-5), "%s: %s is off by %g",
                  call_words(&c), name, distance);
    }
}

Test(recurrent, reverse_is_forward_over_the_flipped_sequence) { for_each_style(expect_mirror); }

/* ---- cut sequences ---- */

/* The steps in two calls, the second from the states of the first. */
static void expect_cut(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    CallData d = call_data(r->a, &c, dtype, 1);
    CallResult whole = call_run(&c, r->t[0], &d, 0);
    for (int64_t cut = 1; cut < c.T; cut++) {
        int64_t at[] = {0, cut}, steps[] = {cut, c.T - cut};
        CallData now = d;
        for (int half = 0; half < 2; half++) {
            int part = c.o.reverse ? 1 - half : half;
            Call some = c;
            some.T = steps[part];
            now.part[CALL_X] = tensor_narrow(&d.part[CALL_X], 0, at[part], steps[part]);
            CallResult got = call_run(&some, r->t[1], &now, 0);
            Tensor y = tensor_narrow(&whole.out[0], 0, at[part], steps[part]);
            cr_expect(call_same_bits(&got.out[0], &y), "%s", call_words(&c));
            for (int k = 1; k < CALL_OUT; k++) {
                if (half) cr_expect(call_same_bits(&got.out[k], &whole.out[k]));
                now.part[CALL_X + k] = tensor_copy(r->a, &got.out[k]);
            }
        }
    }
}

Test(recurrent, a_sequence_in_two_calls_is_the_whole) { for_each_style(expect_cut); }

/* ---- parts of the gradient ---- */

static void expect_each_alone(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    call_random_lengths(&c, 7);
    CallData d = call_data(r->a, &c, dtype, 1);
    CallResult all = call_run(&c, r->t[0], &d, 1);
    for (int part = 0; part < CALL_PARTS; part++) {
        if (tensor_is_nil(&d.part[part])) continue;
        c.left_out = ~(1u << part);
        CallResult one = call_run(&c, r->t[1], &d, 1);
        cr_expect(call_same_bits(&one.grad[part], &all.grad[part]), "%s: %d", call_words(&c), part);
    }
}

Test(recurrent, the_gradient_of_one_input_is_that_among_all) { for_each_style(expect_each_alone); }

/* Two calls with the same weights: what the second adds to is there already. */
static void expect_sum_of_two(Room *r, const Call *plain, TensorDtype dtype) {
    if (dtype == TENSOR_F32) return;
    Call c = *plain;
    CallData d[2] = {call_data(r->a, &c, dtype, 1), call_data(r->a, &c, dtype, 2)};
    for (int part = CALL_W_IH; part < CALL_PARTS; part++) d[1].part[part] = d[0].part[part];
    CallResult one = call_run(&c, r->t[0], &d[0], 1), two = call_run(&c, r->t[1], &d[1], 1);
    AgTape *t = ag_tape_new();
    AgVar v[2][CALL_PARTS] = {{{0}}}, out[2 * CALL_OUT], seed[2 * CALL_OUT], x[CALL_PARTS];
    AgVar gx[CALL_PARTS];
    int n = 0, n_out = c.kind == CALL_LSTM ? 3 : 2, place[CALL_PARTS];
    for (int part = 0; part < CALL_PARTS; part++) {
        if (tensor_is_nil(&d[0].part[part])) continue;
        v[0][part] = v[1][part] = ag_borrow(t, &d[0].part[part]);
        if (part < CALL_W_IH) v[1][part] = ag_borrow(t, &d[1].part[part]);
        else place[n] = part, x[n++] = v[0][part];
    }
    ag_tape_rng(t, 11, 0);
    for (int k = 0; k < 2; k++) {
        AgVar these[CALL_OUT];
        call_apply(&c, v[k], these);
        memcpy(&out[k * n_out], these, (size_t)n_out * sizeof *these);
        for (int i = 0; i < n_out; i++) seed[k * n_out + i] = ag_borrow(t, &d[k].seed[i]);
    }
    cr_assert(ag_grad_n(2 * n_out, out, seed, n, x, gx, false), "%s", ag_tape_error(t));
    for (int i = 0; i < n; i++) {
        Tensor sum = tensor_copy(r->a, &one.grad[place[i]]);
        tensor_accumulate(&sum, &two.grad[place[i]]);
        cr_expect(call_distance(ag_value(gx[i]), &sum) < 1e-13, "%s: %d", call_words(&c), place[i]);
    }
    ag_tape_free(t);
}

Test(recurrent, gradients_of_two_calls_add_up) { for_each_style(expect_sum_of_two); }

/* ---- large values ---- */

/* Gates at their bounds: nothing overflows, and no gradient is NaN.  In F32 the sums, of the order
 * of 1e4, are known to 1e-3. */
static void expect_finite(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain, composed;
    if (c.kind == CALL_RELU) return; /* grows without bound */
    for (int k = 0; k < (c.kind == CALL_LSTM ? 3 : 2); k++) { /* x, h0, c0 */
        CallData d = call_data(r->a, &c, dtype, 1);
        tensor_affine(&d.part[CALL_X + k], &d.part[CALL_X + k], 1e4, 0);
        composed = c;
        composed.composed = true;
        CallResult got = call_run(&c, r->t[0], &d, 1);
        CallResult want = call_run(&composed, r->t[1], &d, 1);
        for (int part = 0; part < CALL_PARTS; part++)
            for (int64_t e = 0; e < tensor_numel(&got.grad[part]); e++)
                cr_assert(isfinite(tensor_get(&got.grad[part], e)), "%s", call_words(&c));
        for (int out = 0; out < CALL_OUT; out++)
            cr_expect(call_distance(&got.out[out], &want.out[out]) <
                          (dtype == TENSOR_F64 ? 1e-12 : 2e-3),
                      "%s: %g", call_words(&c), call_distance(&got.out[out], &want.out[out]));
    }
}

Test(recurrent, large_inputs_and_states_saturate) { for_each_style(expect_finite); }

/* ---- mistakes ---- */

/* A variable that is not one of the call's tape, whichever part it is, live, stale or failed. */
static void expect_own_tape(Room *r, const Call *plain, TensorDtype dtype) {
    CallData d = call_data(r->a, plain, dtype, 1);
    for (int n = 0; n < 2 * 3 * CALL_PARTS; n++) {
        Call c = *plain;
        c.composed = n % 2;
        int part = n / 6, which = n / 2 % 3;
        if (part == CALL_X || tensor_is_nil(&d.part[part])) continue;
        ag_tape_reset(r->t[0]);
        ag_tape_reset(r->t[1]);
        AgVar v[CALL_PARTS] = {{0}}, out[CALL_OUT];
        for (int i = 0; i < CALL_PARTS; i++)
            if (!tensor_is_nil(&d.part[i])) v[i] = ag_borrow(r->t[i == part], &d.part[i]);
        if (which == 1) ag_tape_reset(r->t[1]);
        if (which == 2) v[part].id = 0;
        call_apply(&c, v, out);
        cr_expect(!ag_ok(out[0]) && !ag_ok(out[1]));
        cr_expect(strstr(ag_tape_error(r->t[0]), "belongs to another tape"), "%s, part %d: %s",
                  call_words(&c), part, ag_tape_error(r->t[0]));
        cr_expect(ag_tape_ok(r->t[1]), "%s", ag_tape_error(r->t[1]));
    }
}

Test(recurrent, a_variable_of_another_tape_is_an_error_of_the_calls) {
    for_each_style(expect_own_tape);
}

/* One part of another dtype, which the loop of ops may meet when some results are there. */
static void expect_one_dtype(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    c.T = 1;
    CallData d = call_data(r->a, &c, dtype, 1);
    for (int n = 0; n < 2 * CALL_PARTS; n++) {
        c.composed = n % 2;
        int other = n / 2;
        if (tensor_is_nil(&d.part[other])) continue;
        AgVar v[CALL_PARTS] = {{0}}, out[CALL_OUT] = {{0}};
        ag_tape_reset(r->t[0]);
        for (int i = 0; i < CALL_PARTS; i++)
            if (!tensor_is_nil(&d.part[i])) v[i] = ag_borrow(r->t[0], &d.part[i]);
        v[other] = ag_cast(v[other], dtype == TENSOR_F32 ? TENSOR_F64 : TENSOR_F32);
        call_apply(&c, v, out);
        cr_expect(strstr(ag_tape_error(r->t[0]), "mixed dtypes"), "%s: %s", call_words(&c),
                  ag_tape_error(r->t[0]));
        for (int k = 0; k < CALL_OUT; k++)
            cr_expect(!ag_ok(out[k]), "%s, part %d: result %d is there", call_words(&c), other, k);
    }
}

Test(recurrent, a_call_that_fails_has_no_result) { for_each_style(expect_one_dtype); }

Test(recurrent, another_nonlinearity_is_refused_by_the_loop_as_by_the_op) {
    AgTape *t = ag_tape_new();
    for (int composed = 0; composed < 2; composed++) {
        AgVar x = ag_full(t, TENSOR_F64, 3, (int64_t[]){2, 1, 3}, 1);
        AgVar w = ag_full(t, TENSOR_F64, 2, (int64_t[]){3, 3}, 1);
        AgRnnOutput y = (composed ? ag_rnn_composed : ag_rnn)(
            x, (AgVar){0}, &(AgRnnWeights){.weight_ih = w, .weight_hh = w}, (AgRnnNonlinearity)7,
            NULL);
        cr_expect(!ag_ok(y.y) && !ag_ok(y.hn));
        cr_expect(strstr(ag_tape_error(t), "nonlinearity 7"), "%s", ag_tape_error(t));
        ag_tape_reset(t);
    }
    ag_tape_free(t);
}

/* ---- memory ---- */

static void expect_no_allocation(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    call_random_lengths(&c, 8);
    c.training = true;
    c.o.hidden_dropout = .3, c.o.zoneout_h = .2, c.o.zoneout_c = .2;
    CallData d = call_data(r->a, &c, dtype, 1);
    call_run(&c, r->t[0], &d, 1);
    cr_assert_gt(allocations(), 0, "the counter counts nothing");
    size_t reserved = ag_tape_reserved(r->t[0]);
    for (c.step = 1; c.step < 4; c.step++) {
        long before = allocations();
        call_run(&c, r->t[0], &d, 1);
        cr_expect_eq(allocations(), before, "%s: step %d", call_words(&c), (int)c.step);
    }
    cr_expect_eq(ag_tape_reserved(r->t[0]), reserved);
}

Test(recurrent, later_steps_allocate_nothing) { for_each_style(expect_no_allocation); }

/* What stays of a call without gradients is its results. */
static void expect_results_only(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    c.T = 40, c.B = 16, c.H = c.P = 16;
    call_random_lengths(&c, 8);
    CallData d = call_data(r->a, &c, dtype, 1);
    CallResult got = call_run(&c, r->t[0], &d, 0);
    size_t results = 0, overhead = 16384;
    for (int k = 0; k < CALL_OUT; k++)
        results += (size_t)tensor_numel(&got.out[k]) * tensor_dtype_size(dtype);
    size_t bytes = ag_tape_bytes(r->t[0]);
    cr_expect_leq(bytes, results + overhead, "%s: %zu bytes for %zu", call_words(&c), bytes,
                  results);
    call_run(&c, r->t[1], &d, 1);
    bool keeps = c.kind == CALL_LSTM || c.kind == CALL_GRU; /* a plain RNN needs y alone */
    cr_expect(!keeps || ag_tape_bytes(r->t[1]) > 2 * results, "the backward pass needs more");
}

Test(recurrent, without_gradients_only_results_are_kept) { for_each_style(expect_results_only); }

/* What the call keeps besides its results and their gradients. */
static size_t kept_bytes(AgTape *t, const Call *c, const CallData *d) {
    size_t results = 0, size = tensor_dtype_size(d->part[CALL_X].dtype);
    CallResult r = call_run(c, t, d, 1);
    for (int k = 0; k < CALL_OUT; k++)
        if (!tensor_is_nil(&r.out[k])) results += (size_t)tensor_numel(&r.out[k]) * size;
    for (int k = 0; k < CALL_PARTS; k++)
        if (!tensor_is_nil(&r.grad[k])) results += (size_t)tensor_numel(&r.grad[k]) * size;
    return ag_tape_bytes(t) - results;
}

/* Of sequences with half the steps half as many rows are computed and kept. */
static void expect_half(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    c.T = 64, c.B = 16, c.H = c.P = 16;
    CallData d = call_data(r->a, &c, dtype, 1);
    size_t padded = kept_bytes(r->t[0], &c, &d), overhead = 32768;
    c.has_lengths = true;
    for (int64_t b = 0; b < c.B; b++) c.lengths[b] = b % 2 ? c.T : 0;
    size_t half = kept_bytes(r->t[1], &c, &d);
    cr_expect_leq(half, padded / 2 + overhead, "%s: %zu bytes, padded %zu", call_words(&c), half,
                  padded);
}

Test(recurrent, finished_sequences_leave_the_batch) { for_each_style(expect_half); }

/* Wherever memory ends, forward or back, the call fails with a reason. */
static void expect_orderly_end(Room *r, const Call *plain, TensorDtype dtype) {
    Call c = *plain;
    c.T = 20, c.B = 24, c.H = c.P = 32;
    c.training = true;
    c.o.hidden_dropout = .3, c.o.zoneout_h = .2, c.o.zoneout_c = .2;
    call_random_lengths(&c, 8);
    CallData d = call_data(r->a, &c, dtype, 1);
    int failed = 0;
    bool ended = false;
    for (size_t limit = 1 << 16; !ended; limit += limit / 8) {
        AgTape *t = ag_tape_new();
        AgVar v[CALL_PARTS] = {{0}}, out[CALL_OUT], gx[CALL_PARTS], x[CALL_PARTS];
        int n = 0;
        ag_tape_training(t, true);
        ag_tape_set_memory_limit(t, limit);
        for (int part = 0; part < CALL_PARTS; part++)
            if (!tensor_is_nil(&d.part[part])) x[n++] = v[part] = ag_borrow(t, &d.part[part]);
        call_apply(&c, v, out);
        ended = ag_grad(ag_sum(out[0], AG_ALL_AXES, false), (AgVar){0}, n, x, gx, false);
        if (!ended) {
            failed++;
            cr_assert(strstr(ag_tape_error(t), "out of memory"), "%s", ag_tape_error(t));
        }
        ag_tape_free(t);
        cr_assert_lt(limit, (size_t)1 << 26, "%s", call_words(&c));
    }
    cr_expect_gt(failed, 3);
}

Test(recurrent, memory_that_ends_is_an_error_with_a_reason) { for_each_style(expect_orderly_end); }
