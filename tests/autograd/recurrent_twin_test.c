/* The recurrent ops against the loops of ops that define them: values and gradients of both
 * orders, with every option, at the edges of vectors and of the blocks of the matrix product, for
 * every instruction set of the processor. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tensor/isa.h"
#include "tensor/kernels.h"
#include "tests/autograd/recurrent_call.h"

static const int64_t sizes[] = {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33};
enum { SIZES = sizeof sizes / sizeof *sizes, SMALL = 4 };

/* The two forms of a call, on tapes of their own. */
typedef struct {
    TensorArena *a;
    AgTape *fast, *composed;
} Twins;

static Twins twins_new(void) { return (Twins){tensor_arena_new(), ag_tape_new(), ag_tape_new()}; }

static void twins_free(Twins *t) {
    tensor_arena_free(t->a);
    ag_tape_free(t->fast);
    ag_tape_free(t->composed);
}

/* Of relu in F32 a sum within rounding of 0 may be on different sides of it in the two; then the
 * gradients are those of different functions. */
static bool same_side(const Tensor *a, const Tensor *b) {
    for (int64_t e = 0; e < tensor_numel(a); e++)
        if ((tensor_get(a, e) > 0) != (tensor_get(b, e) > 0)) return false;
    return true;
}

/* A norm with the small eps multiplies rounding by up to 1 / sqrt(eps) = 316 for each step, and the
 * gradients before it alike: single precision knows an element by the largest beside it. */
static double (*distance_of(const Call *c, const CallData *d))(const Tensor *, const Tensor *) {
    bool single = d->part[CALL_W_IH].dtype == TENSOR_F32;
    return single && c->norm && c->o.layer_norm_eps < .1 ? call_distance_by_largest
                                                         : call_distance;
}

static void expect_twins(Twins *t, const Call *call, const CallData *d, int order, double limit) {
    Call composed = *call;
    composed.composed = true;
    CallResult got = call_run(call, t->fast, d, order);
    CallResult want = call_run(&composed, t->composed, d, order);
    if (call->kind == CALL_RELU && !same_side(&got.out[0], &want.out[0]))
        for (int k = 0; k < CALL_PARTS; k++) got.grad[k] = want.grad[k];
    const char *name;
    double distance = call_difference(&got, &want, distance_of(call, d), &name);
    cr_expect(distance <= limit, "%s, %s: %s: %s is off by %g",
              tensor_isa_name(tensor_isa()), tensor_dtype_name(d->part[CALL_W_IH].dtype),
              call_words(call), name, distance);
}

/* Some inputs and cotangents with strides, some cotangents absent. */
static CallData random_data(TensorArena *a, const Call *c, TensorDtype dtype, uint64_t number) {
    CallData d = call_data(a, c, dtype, number);
    int n_seeds = c->kind == CALL_LSTM ? 3 : 2;
    for (int i = 0; i < CALL_PARTS + CALL_OUT; i++) {
        Tensor *x = i < CALL_PARTS ? &d.part[i] : &d.seed[i - CALL_PARTS];
        if (call_below(number, 500 + i, 2)) continue;
        /* To repeat the first row would repeat what lies beyond its length. */
        int layouts = x->dtype == TENSOR_I64 ? CALL_LAYOUTS - 1 : CALL_LAYOUTS;
        *x = call_strided(a, x, (int)call_below(number, 600 + i, layouts));
    }
    int kept = (int)call_below(number, 700, n_seeds);
    for (int k = 0; k < n_seeds; k++)
        if (k != kept && call_below(number, 701 + k, 3) == 0) d.seed[k] = tensor_nil();
    return d;
}

static double limit_of(TensorDtype dtype) { return dtype == TENSOR_F64 ? 1e-12 : 1e-5; }

static void for_each_isa(void (*body)(Twins *, void *), void *context) {
    for (TensorIsa isa = 0; isa < TENSOR_ISA_COUNT; isa++) {
        if (!tensor_isa_set(isa)) continue;
        Twins t = twins_new();
        body(&t, context);
        twins_free(&t);
    }
}

/* ---- random calls ---- */

static void random_calls(Twins *t, void *context) {
    CallKind kind = *(CallKind *)context;
    int n = kind == CALL_LSTM ? 200 : 100;
    for (uint64_t number = 1; number <= (uint64_t)n; number++) {
        Call c = call_random(number, kind, 6, SIZES, sizes);
        for (TensorDtype dtype = TENSOR_F32; dtype <= TENSOR_F64; dtype++) {
            TensorArenaMark mark = tensor_arena_mark(t->a);
            CallData d = random_data(t->a, &c, dtype, number);
            expect_twins(t, &c, &d, 1, limit_of(dtype));
            tensor_arena_release(t->a, mark);
        }
    }
}

Test(recurrent_twin, lstm_is_its_loop_of_ops) {
    for_each_isa(random_calls, &(CallKind){CALL_LSTM});
}
Test(recurrent_twin, gru_is_its_loop_of_ops) { for_each_isa(random_calls, &(CallKind){CALL_GRU}); }
Test(recurrent_twin, tanh_is_its_loop_of_ops) {
    for_each_isa(random_calls, &(CallKind){CALL_TANH});
}
Test(recurrent_twin, relu_is_its_loop_of_ops) {
    for_each_isa(random_calls, &(CallKind){CALL_RELU});
}

/* ---- large products ---- */

static void large_calls(Twins *t, void *context) {
    (void)context;
    /* T, B, I, H, P: an inner size of each of the products in turn at the edges of its blocks. */
    static const int64_t shapes[][5] = {
        {2, 3, 255, 5, 5},  {2, 3, 256, 7, 7},    {2, 3, 257, 4, 4},  {1, 2, 384, 3, 3},
        {2, 1, 385, 6, 6},  {2, 2, 3, 255, 255},  {2, 1, 2, 257, 256}, {2, 2, 2, 257, 257},
        {1, 3, 2, 385, 384}, {4, 64, 3, 4, 4},    {1, 257, 2, 3, 2},  {3, 128, 5, 2, 2},
        {2, 193, 2, 5, 5},  {3, 5, 33, 64, 64},   {2, 7, 9, 96, 65},  {2, 300, 1, 1, 1}};
    for (CallKind kind = 0; kind < CALL_KINDS; kind++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            const int64_t *s = shapes[i];
            Call c = {.kind = kind, .T = s[0], .B = s[1], .I = s[2], .H = s[3],
                      .P = kind == CALL_LSTM ? s[4] : s[3], .bias = true, .state = i % 2 == 0};
            c.o.reverse = i % 3 == 0;
            if (i % 4 == 3) call_random_lengths(&c, i);
            for (TensorDtype dtype = TENSOR_F32; dtype <= TENSOR_F64; dtype++) {
                TensorArenaMark mark = tensor_arena_mark(t->a);
                CallData d = random_data(t->a, &c, dtype, i);
                expect_twins(t, &c, &d, 1, limit_of(dtype));
                tensor_arena_release(t->a, mark);
            }
        }
}

Test(recurrent_twin, large_products_are_right_across_their_blocks) {
    for_each_isa(large_calls, NULL);
}

/* ---- the edges of the options ---- */

/* Every subset of the options that an LSTM can have, and probabilities of 0 and 1. */
static void all_options(Twins *t, void *context) {
    (void)context;
    for (int bits = 0; bits < 1 << 9; bits++) {
        Call c = {.kind = CALL_LSTM, .T = 3, .B = 5, .I = 4, .H = 6, .P = bits & 1 ? 3 : 6,
                  .bias = bits & 2, .state = bits & 4, .peepholes = bits & 8, .norm = bits & 16,
                  .norm_bias = bits & 2, .training = bits & 256};
        c.o = (AgLstmOptions){.reverse = bits & 4, .coupled = bits & 32, .layer_norm_eps = .01,
                              .hidden_dropout = bits & 64 ? .5 : 0,
                              .zoneout_h = bits & 64 ? .2 : 0, .zoneout_c = bits & 128 ? .7 : 0};
        if (bits & 8) call_random_lengths(&c, (uint64_t)bits);
        TensorArenaMark mark = tensor_arena_mark(t->a);
        CallData d = call_data(t->a, &c, TENSOR_F64, (uint64_t)bits);
        expect_twins(t, &c, &d, 1, 1e-12);
        tensor_arena_release(t->a, mark);
    }
}

Test(recurrent_twin, every_set_of_options_is_the_loops) { for_each_isa(all_options, NULL); }

static void certain_drops(Twins *t, void *context) {
    (void)context;
    for (int bits = 0; bits < 27; bits++)
        for (int training = 0; training < 2; training++) {
            Call c = {.kind = CALL_LSTM, .T = 3, .B = 4, .I = 3, .H = 5, .P = bits % 2 ? 3 : 5,
                      .bias = true, .state = true, .training = training};
            c.o.hidden_dropout = bits % 3 / 2.;
            c.o.zoneout_h = bits / 3 % 3 / 2.;
            c.o.zoneout_c = bits / 9 / 2.;
            call_random_lengths(&c, (uint64_t)bits);
            TensorArenaMark mark = tensor_arena_mark(t->a);
            CallData d = call_data(t->a, &c, TENSOR_F64, 4);
            expect_twins(t, &c, &d, 1, 1e-12);
            tensor_arena_release(t->a, mark);
        }
}

Test(recurrent_twin, probabilities_of_0_and_1_are_the_loops) { for_each_isa(certain_drops, NULL); }

/* Results element by element, NaN for NaN. */
static void expect_same_places(Twins *t, const Call *call, const CallData *d) {
    Call composed = *call;
    composed.composed = true;
    CallResult got = call_run(call, t->fast, d, 0);
    CallResult want = call_run(&composed, t->composed, d, 0);
    int64_t nans = 0;
    for (int k = 0; k < CALL_OUT; k++)
        for (int64_t e = 0; e < tensor_numel(&want.out[k]); e++) {
            double a = tensor_get(&got.out[k], e), b = tensor_get(&want.out[k], e);
            nans += isnan(b);
            cr_expect(a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-12 * (1 + fabs(b)),
                      "%s: %g, not %g", call_words(call), a, b);
        }
    cr_expect(nans > 0, "%s: no NaN was met", call_words(call));
}

/* An element that zoneout does not take is times 0: a NaN or infinity in it stays seen. */
static void not_finite(Twins *t, void *context) {
    (void)context;
    const double values[] = {NAN, INFINITY, -INFINITY};
    for (int bits = 0; bits < 24; bits++) {
        Call c = {.kind = CALL_LSTM, .T = 3, .B = 4, .I = 3, .H = 5, .P = 5, .bias = true,
                  .state = true, .training = bits < 12};
        c.o.zoneout_h = bits % 2 ? .5 : 1;
        c.o.zoneout_c = bits / 2 % 2 ? .5 : 0;
        TensorArenaMark mark = tensor_arena_mark(t->a);
        CallData d = call_data(t->a, &c, TENSOR_F64, 4);
        for (CallPart part = CALL_X; part <= CALL_C0; part++)
            tensor_set(&d.part[part], part, values[bits / 4 % 3]);
        expect_same_places(t, &c, &d);
        tensor_arena_release(t->a, mark);
    }
}

Test(recurrent_twin, what_is_not_finite_is_the_loops) { for_each_isa(not_finite, NULL); }

/* ---- second order ---- */

static void second_order(Twins *t, void *context) {
    (void)context;
    static const int64_t small[] = {1, 2, 3, 5};
    for (uint64_t number = 1; number <= 120; number++) {
        Call c = call_random(number, (CallKind)(number % 4), 3, SMALL, small);
        TensorArenaMark mark = tensor_arena_mark(t->a);
        CallData d = random_data(t->a, &c, TENSOR_F64, number);
        expect_twins(t, &c, &d, 2, 1e-11);
        tensor_arena_release(t->a, mark);
    }
}

Test(recurrent_twin, gradients_of_gradients_are_the_loops) { for_each_isa(second_order, NULL); }

/* ---- one-hot vectors ---- */

/* Numbers give what their vectors give: values, all gradients, and gradients of both orders with
 * more and fewer numbers than steps. */
static void one_hot(Twins *t, void *context) {
    (void)context;
    static const int64_t sizes_of_x[] = {1, 2, 11, 12, 13, 40};
    for (CallKind kind = 0; kind < CALL_KINDS; kind++)
        for (int i = 0; i < 6; i++) {
            Call c = {.kind = kind, .T = 4, .B = 3, .I = sizes_of_x[i], .H = 9, .P = 9,
                      .bias = i % 2, .state = i % 3, .numbers = true, .norm = i == 3};
            Call of_vectors = c;
            of_vectors.numbers = false;
            of_vectors.left_out = 1u << CALL_X;
            TensorArenaMark mark = tensor_arena_mark(t->a);
            CallData d = call_data(t->a, &c, TENSOR_F64, (uint64_t)i), vectors = d;
            vectors.part[CALL_X] =
                tensor_new(t->a, TENSOR_F64, 3, (int64_t[]){c.T, c.B, c.I});
            tensor_fill(&vectors.part[CALL_X], 0);
            for (int64_t e = 0; e < c.T * c.B; e++)
                tensor_set(&vectors.part[CALL_X],
                           e * c.I + tensor_get_i64(&d.part[CALL_X], e), 1);
            CallResult got = call_run(&c, t->fast, &d, 2);
            CallResult want = call_run(&of_vectors, t->composed, &vectors, 2);
            const char *name;
            double distance = call_difference(&got, &want, call_distance, &name);
            cr_expect(distance <= 1e-11, "%s: %s is off by %g", call_words(&c), name, distance);
            tensor_arena_release(t->a, mark);
        }
}

Test(recurrent_twin, numbers_stand_for_one_hot_vectors) { for_each_isa(one_hot, NULL); }

/* ---- one variable in several places ---- */

static void add_into(const Tensor *sum, const Tensor *x) {
    for (int64_t e = 0; e < tensor_numel(sum); e++)
        tensor_set(sum, e, tensor_get(sum, e) + tensor_get(x, e));
}

/* The gradient of a shared variable is the sum of those of its places. */
static void expect_sums(Twins *t, const Call *shared, const CallData *d) {
    Call apart = *shared;
    CallData copies = *d;
    for (int part = 0; part < CALL_PARTS; part++) {
        apart.same[part] = CALL_X;
        if (shared->same[part]) copies.part[part] = d->part[shared->same[part]];
    }
    CallResult got = call_run(shared, t->fast, d, 1);
    CallResult want = call_run(&apart, t->composed, &copies, 1);
    Tensor nil = tensor_nil();
    for (int part = 0; part < CALL_PARTS; part++) {
        if (tensor_is_nil(&want.grad[part]) || shared->same[part]) continue;
        want.grad[part] = tensor_copy(t->a, &want.grad[part]);
        for (int other = 0; other < CALL_PARTS; other++)
            if (shared->same[other] && (int)shared->same[other] == part)
                add_into(&want.grad[part], &want.grad[other]);
    }
    for (int part = 0; part < CALL_PARTS; part++)
        if (shared->same[part]) want.grad[part] = nil;
    const char *name;
    double distance = call_difference(&got, &want, call_distance, &name);
    cr_expect(distance <= 1e-12, "%s: %s is off by %g", call_words(shared), name, distance);
}

static void shared_variables(Twins *t, void *context) {
    (void)context;
    static const CallPart pairs[][2] = {
        {CALL_C0, CALL_H0},           {CALL_W_HH, CALL_W_IH},       {CALL_B_HH, CALL_B_IH},
        {CALL_NORM_HH, CALL_NORM_IH}, {CALL_NORM_C_BIAS, CALL_NORM_C}};
    for (CallKind kind = 0; kind < CALL_KINDS; kind++)
        for (int bits = 1; bits < 64; bits++) {
            Call c = {.kind = kind, .T = 3, .B = 3, .I = 4, .H = 4, .P = 4, .bias = true,
                      .state = true, .norm = bits & 24, .norm_bias = bits & 16};
            c.o.layer_norm_eps = .1;
            for (int i = 0; i < 5; i++) {
                int64_t shape[3];
                if (!(bits >> i & 1) || call_shape(&c, pairs[i][0], shape) < 0) continue;
                c.same[pairs[i][0]] = pairs[i][1];
            }
            if (bits & 32) call_random_lengths(&c, (uint64_t)bits);
            TensorArenaMark mark = tensor_arena_mark(t->a);
            CallData d = call_data(t->a, &c, TENSOR_F64, (uint64_t)bits);
            expect_sums(t, &c, &d);
            expect_twins(t, &c, &d, 2, 1e-11);
            tensor_arena_release(t->a, mark);
        }
}

Test(recurrent_twin, gradients_of_a_variable_in_two_places_add_up) {
    for_each_isa(shared_variables, NULL);
}

/* Biases, gains and the bias of a norm all one vector: H = 1 makes every shape agree. */
static void one_variable(Twins *t, void *context) {
    (void)context;
    Call c = {.kind = CALL_LSTM, .T = 4, .B = 1, .I = 1, .H = 1, .P = 1, .bias = true,
              .state = true, .norm = true, .norm_bias = true};
    c.o.layer_norm_eps = .1;
    c.same[CALL_B_HH] = c.same[CALL_NORM_IH] = c.same[CALL_NORM_HH] = CALL_B_IH;
    c.same[CALL_NORM_C_BIAS] = CALL_NORM_C;
    c.same[CALL_W_HH] = CALL_W_IH;
    c.same[CALL_C0] = CALL_H0;
    CallData d = call_data(t->a, &c, TENSOR_F64, 5);
    expect_sums(t, &c, &d);
    expect_twins(t, &c, &d, 2, 1e-11);
}

Test(recurrent_twin, gradients_of_a_variable_in_many_places_add_up) {
    for_each_isa(one_variable, NULL);
}
