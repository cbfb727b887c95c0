/* What a recurrent op computes for a sequence has the same bits whatever stands beside it in the
 * batch, on however many threads and in whatever shares. */
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>

#include "tensor/isa.h"
#include "tensor/kernels.h"
#include "tensor/parallel.h"
#include "tests/autograd/recurrent_call.h"

enum { WHOLE = 64 };

/* I and H on both sides of a vector, and inner sizes of the products beyond one block. */
static const int64_t shapes[][2] = {{5, 7}, {16, 9}, {33, 17}, {3, 129}, {260, 4}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Number i of every kind with some of the options. */
static Call make_call(int i, CallKind kind) {
    const int64_t *s = shapes[i % SHAPES];
    Call c = {.kind = kind, .T = 4, .B = WHOLE, .I = s[0], .H = s[1], .P = s[1], .bias = true,
              .state = true, .norm = i % 4 == 1, .norm_bias = true, .peepholes = i % 3 == 0,
              .training = true};
    c.o.reverse = i % 2;
    c.o.coupled = i % 5 == 2;
    if (kind == CALL_LSTM && i % 3 == 2) c.P = s[1] / 2;
    call_random_lengths(&c, (uint64_t)i + 1);
    return c;
}

static void for_each_call(void (*body)(TensorArena *a, AgTape *t[2], const Call *c,
                                       const CallData *d)) {
    for (TensorIsa isa = 0; isa < TENSOR_ISA_COUNT; isa++)
        for (int i = 0; i < SHAPES * CALL_KINDS * 2 && tensor_isa_set(isa); i++) {
            Call c = make_call(i / CALL_KINDS, (CallKind)(i % CALL_KINDS));
            TensorArena *a = tensor_arena_new();
            AgTape *t[] = {ag_tape_new(), ag_tape_new()};
            CallData d = call_data(a, &c, i / CALL_KINDS % 2 ? TENSOR_F64 : TENSOR_F32, 3);
            body(a, t, &c, &d);
            ag_tape_free(t[0]);
            ag_tape_free(t[1]);
            tensor_arena_free(a);
        }
}

/* ---- rows of a batch ---- */

static Tensor rows_of(const Tensor *x, int64_t first, int64_t n) {
    return tensor_narrow(x, x->ndim - 2, first, n);
}

/* Outputs, and gradients of x and the states: n rows of a from row at_a, of b from at_b. */
static void expect_same_rows(const Call *c, const CallResult *a, int64_t at_a, const CallResult *b,
                             int64_t at_b, int64_t n) {
    const char *const names[] = {"y", "hn", "cn", "gradient of x", "gradient of h0",
                                 "gradient of c0"};
    for (int k = 0; k < 2 * CALL_OUT; k++) {
        const Tensor *x = k < CALL_OUT ? &a->out[k] : &a->grad[k - CALL_OUT];
        const Tensor *y = k < CALL_OUT ? &b->out[k] : &b->grad[k - CALL_OUT];
        if (tensor_is_nil(x)) continue;
        Tensor rows_a = rows_of(x, at_a, n), rows_b = rows_of(y, at_b, n);
        cr_expect(call_same_bits(&rows_a, &rows_b), "%s, %s: %s: %s of row %lld",
                  tensor_isa_name(tensor_isa()), tensor_dtype_name(x->dtype), call_words(c),
                  names[k], (long long)at_a);
    }
}

static void shares(TensorArena *a, AgTape *t[2], const Call *plain, const CallData *d) {
    Call c = *plain;
    c.o.hidden_dropout = .3, c.o.zoneout_h = .2, c.o.zoneout_c = .5;
    CallResult whole = call_run(&c, t[0], d, 1);
    static const int64_t cuts[][2] = {{0, 1}, {63, 1}, {17, 1}, {5, 2}, {30, 7}, {0, 33}, {31, 33}};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        Call part;
        CallData part_data;
        call_rows(a, &c, d, cuts[i][0], cuts[i][1], &part, &part_data);
        part.first = cuts[i][0];
        part.total = WHOLE;
        CallResult r = call_run(&part, t[1], &part_data, 1);
        expect_same_rows(&part, &r, 0, &whole, cuts[i][0], cuts[i][1]);
    }
}

Test(recurrent_bits, shares_of_a_batch_are_rows_of_the_whole) { for_each_call(shares); }

static void copy_row(const Tensor *to, int64_t at, const Tensor *from, int64_t b) {
    if (tensor_is_nil(to)) return;
    Tensor row = rows_of(to, at, 1), source = rows_of(from, b, 1);
    tensor_convert(&row, &source);
}

/* Sequence b of d alone, and at `place` among n - 1 others of other lengths that are NaN. */
static void expect_alone(TensorArena *a, AgTape *t[2], const Call *c, const CallData *d, int64_t b,
                         int64_t n, int64_t place) {
    Call one, many = *c;
    CallData one_data, many_data;
    call_rows(a, c, d, b, 1, &one, &one_data);
    CallResult alone = call_run(&one, t[0], &one_data, 1);
    many.B = n;
    call_random_lengths(&many, (uint64_t)(100 * n + b));
    many.lengths[place] = c->lengths[b];
    many_data = call_data(a, &many, d->part[CALL_X].dtype, 3);
    for (int part = CALL_W_IH; part < CALL_PARTS; part++) many_data.part[part] = d->part[part];
    for (int k = 0; k < CALL_OUT; k++) {
        Tensor *in = &many_data.part[CALL_X + k], *seed = &many_data.seed[k];
        if (!tensor_is_nil(in)) tensor_fill(in, NAN);
        if (!tensor_is_nil(seed)) tensor_fill(seed, NAN);
        copy_row(in, place, &d->part[CALL_X + k], b);
        copy_row(seed, place, &d->seed[k], b);
    }
    CallResult among = call_run(&many, t[1], &many_data, 1);
    expect_same_rows(&many, &among, place, &alone, 0, 1);
}

static void alone(TensorArena *a, AgTape *t[2], const Call *plain, const CallData *d) {
    static const int64_t batches[] = {2, 7, 33, 64};
    Call c = *plain;
    c.training = false; /* a mask goes with the place */
    c.o.zoneout_h = .2, c.o.zoneout_c = .5;
    for (int i = 0; i < 8; i++) {
        int64_t n = batches[i % 4], b = call_below(9, i, WHOLE), place = call_below(8, i, n);
        TensorArenaMark mark = tensor_arena_mark(a);
        expect_alone(a, t, &c, d, b, n, place);
        tensor_arena_release(a, mark);
    }
}

Test(recurrent_bits, a_sequence_among_others_is_what_it_is_alone) { for_each_call(alone); }

/* ---- threads and steps ---- */

static Call random_call(CallKind kind) {
    Call c = make_call(2, kind);
    c.B = 12;
    c.o.hidden_dropout = .3, c.o.zoneout_h = .2, c.o.zoneout_c = .5;
    return c;
}

typedef struct {
    const Call *c;
    const CallData *d;
    AgTape *t;
    CallResult r;
} Job;

static void *work(void *context) {
    Job *job = context;
    for (int i = 0; i < 5; i++) job->r = call_run(job->c, job->t, job->d, 1);
    return NULL;
}

enum { THREADS = 4 };

static void expect_same_on_threads(const Call *c, const CallData *d, int n) {
    Job job[THREADS + 1];
    pthread_t thread[THREADS];
    for (int i = 0; i <= n; i++) job[i] = (Job){.c = c, .d = d, .t = ag_tape_new()};
    for (int i = 0; i < n; i++)
        cr_assert(pthread_create(&thread[i], NULL, work, &job[i]) == 0);
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
    work(&job[n]);
    for (int i = 0; i < n; i++)
        cr_expect(call_same_results(&job[i].r, &job[n].r), "thread %d of %d: %s", i, n,
                  call_words(c));
    for (int i = 0; i <= n; i++) ag_tape_free(job[i].t);
}

Test(recurrent_bits, every_thread_computes_what_one_alone_does) {
    for (CallKind kind = 0; kind < CALL_KINDS; kind++)
        for (int n = 1; n <= THREADS; n *= 2) {
            TensorArena *a = tensor_arena_new();
            Call c = random_call(kind);
            CallData d = call_data(a, &c, TENSOR_F32, 3);
            expect_same_on_threads(&c, &d, n);
            tensor_arena_free(a);
        }
}

/* Large enough for products and gates to be shared; no multiple of a vector or block. */
static Call large_call(CallKind kind, int style) {
    Call c = {.kind = kind, .T = 5, .B = 33, .I = style == 1 ? 28 : 250, .H = 259, .P = 259,
              .bias = true, .state = true, .training = true, .numbers = style == 1};
    c.o.reverse = style == 2;
    if (style > 0) call_random_lengths(&c, 5);
    if (kind != CALL_LSTM || style < 2) return c;
    c.P = 131;
    c.norm = c.norm_bias = c.peepholes = true;
    c.o.hidden_dropout = .3, c.o.zoneout_h = .2, c.o.zoneout_c = .5;
    return c;
}

Test(recurrent_bits, shared_work_gives_what_one_thread_gives) {
    for (int i = 0; i < CALL_KINDS * 3; i++) {
        Call c = large_call((CallKind)(i % CALL_KINDS), i / CALL_KINDS);
        TensorArena *a = tensor_arena_new();
        AgTape *t[] = {ag_tape_new(), ag_tape_new()};
        CallData d = call_data(a, &c, TENSOR_F32, 3);
        cr_assert(tensor_threads_set(1));
        CallResult alone = call_run(&c, t[0], &d, 1);
        for (int threads = 2; threads <= 3; threads++) {
            cr_assert(tensor_threads_set(threads));
            CallResult shared = call_run(&c, t[1], &d, 1);
            cr_expect(call_same_results(&alone, &shared), "%d threads: %s", threads,
                      call_words(&c));
        }
        ag_tape_free(t[0]);
        ag_tape_free(t[1]);
        tensor_arena_free(a);
    }
}

Test(recurrent_bits, a_step_repeats_and_another_draws_other_masks) {
    for (int which = 0; which < 3; which++) {
        TensorArena *a = tensor_arena_new();
        AgTape *t[] = {ag_tape_new(), ag_tape_new()};
        Call c = make_call(2, CALL_LSTM);
        *(double *[]){&c.o.hidden_dropout, &c.o.zoneout_h, &c.o.zoneout_c}[which] = .4;
        CallData d = call_data(a, &c, TENSOR_F32, 3);
        CallResult first = call_run(&c, t[0], &d, 1), again = call_run(&c, t[1], &d, 1);
        cr_expect(call_same_results(&first, &again), "%s", call_words(&c));
        c.step++;
        CallResult next = call_run(&c, t[1], &d, 1);
        cr_expect_not(call_same_bits(&first.out[0], &next.out[0]), "%s", call_words(&c));
        ag_tape_free(t[0]);
        ag_tape_free(t[1]);
        tensor_arena_free(a);
    }
}
