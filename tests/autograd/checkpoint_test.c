/* Checkpoints: the same bits in less memory. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/inspect.h"

static AgTape *t;
static void start(void) {
    t = ag_tape_new();
    ag_tape_training(t, true);
}
static void stop(void) { ag_tape_free(t); }
TestSuite(checkpoint, .init = start, .fini = stop);

#define EXPECT_ERROR(text) \
    cr_expect(strstr(ag_tape_error(t), text), "says `%s`, wants `%s`", ag_tape_error(t), text)

enum { T = 24, B = 8, H = 16, STRETCH = 4 };

typedef struct {
    float value[H * H], grad[H * H];
    AgLeaf leaf;
} Param;
static Param w, u;
static float input[T * B * H];

static void reset_param(Param *p, const char *name, int salt) {
    int64_t shape[] = {H, H};
    for (int i = 0; i < H * H; i++) {
        p->value[i] = (float)((i * 37 + salt) % 101) / 250 - .2f;
        p->grad[i] = .125f;
    }
    p->leaf = (AgLeaf){.name = name, .value = tensor_wrap(p->value, TENSOR_F32, 2, shape),
                       .grad = tensor_wrap(p->grad, TENSOR_F32, 2, shape)};
}

/* h -> h after STRETCH steps over x [STRETCH, B, H]; parameters are asked for inside. */
static void stretch(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)context, (void)n, (void)n_out;
    AgVar h = in[0];
    ag_scope_push(tape, "stretch");
    for (int i = 0; i < STRETCH; i++) {
        ag_scope_step(tape, i);
        AgVar a = ag_matmul(ag_select(in[1], 0, i), ag_leaf(tape, &w, &w.leaf));
        h = ag_tanh(ag_add(a, ag_matmul(ag_dropout(h, .3, 0), ag_leaf(tape, &u, &u.leaf))));
    }
    ag_scope_pop(tape);
    out[0] = h;
}

/* Two stretches, each in a checkpoint of its own. */
static void two_stretches(AgTape *tape, void *context, int n, const AgVar *in, int n_out,
                          AgVar *out) {
    (void)n, (void)n_out;
    AgVar h = in[0];
    for (int i = 0; i < 2; i++) {
        AgVar part[] = {h, ag_narrow(in[1], 0, i * STRETCH, STRETCH)};
        ag_checkpoint(stretch, context, 2, part, 1, &h);
    }
    (void)tape;
    out[0] = h;
}

typedef enum { PLAIN, CHECKPOINTS, NESTED } How;

/* A loss after every second stretch. */
static AgVar forward(How how, AgVar x, AgVar h) {
    int each = how == NESTED ? 2 * STRETCH : STRETCH;
    AgVar loss = ag_scalar(t, TENSOR_F32, 0);
    for (int s = 0; s < T; s += each) {
        AgVar in[] = {h, ag_narrow(x, 0, s, each)};
        if (how == PLAIN) stretch(t, NULL, 2, in, 1, &h);
        else ag_checkpoint(how == NESTED ? two_stretches : stretch, NULL, 2, in, 1, &h);
        if ((s + each) % (2 * STRETCH) == 0)
            loss = ag_add(loss, ag_mean(ag_square(h), AG_ALL_AXES, false));
    }
    return loss;
}

static AgVar inputs(AgVar *h) {
    for (int i = 0; i < T * B * H; i++) input[i] = (float)(i % 17) / 17 - .4f;
    Tensor x = tensor_wrap(input, TENSOR_F32, 3, (int64_t[]){T, B, H});
    *h = ag_full(t, TENSOR_F32, 2, (int64_t[]){B, H}, .5);
    return ag_input(t, &x);
}

typedef struct {
    float w[H * H], u[H * H], x[T * B * H];
    double loss;
    size_t bytes;
} Outcome;

/* One training step; modes and key change between forward and backward, as they may. */
static void train(How how, Outcome *o) {
    ag_tape_reset(t);
    reset_param(&w, "w", 3);
    reset_param(&u, "u", 50);
    ag_tape_training(t, true);
    ag_tape_rng(t, 7, 1);
    AgVar h, x = inputs(&h), loss = forward(how, x, h);
    ag_watch(x, "x");
    ag_tape_training(t, false);
    ag_tape_rng(t, 8, 9);
    cr_assert(ag_backward(loss), "%s", ag_tape_error(t));
    cr_expect(!ag_tape_is_training(t));
    memcpy(o->w, w.grad, sizeof o->w);
    memcpy(o->u, u.grad, sizeof o->u);
    Tensor gx;
    AgVar got;
    ag_tape_rng(t, 7, 1);
    cr_assert(ag_grad(loss, (AgVar){0}, 1, &x, &got, false), "%s", ag_tape_error(t));
    gx = *ag_value(got);
    memcpy(o->x, gx.data, sizeof o->x);
    gx = ag_watched(t, "x");
    cr_assert(!tensor_is_nil(&gx));
    for (int i = 0; i < T * B * H; i++) cr_assert_eq((double)o->x[i], tensor_get(&gx, i));
    o->loss = ag_item(loss);
    o->bytes = ag_tape_bytes(t);
}

Test(checkpoint, gradients_have_the_bits_of_the_plain_run_with_dropout_and_shared_parameters) {
    static Outcome plain, other;
    train(PLAIN, &plain);
    for (How how = CHECKPOINTS; how <= NESTED; how++) {
        train(how, &other);
        cr_expect_eq(other.loss, plain.loss);
        cr_expect_arr_eq(other.w, plain.w, sizeof plain.w, "w, way %d", how);
        cr_expect_arr_eq(other.u, plain.u, sizeof plain.u, "u, way %d", how);
        cr_expect_arr_eq(other.x, plain.x, sizeof plain.x, "x, way %d", how);
        bool moved = false;
        for (int i = 0; i < H * H; i++) moved |= other.w[i] != .125f;
        cr_expect(moved);
    }
}

static size_t bytes_of_step(How how) {
    ag_tape_reset(t);
    reset_param(&w, "w", 3);
    reset_param(&u, "u", 50);
    AgVar h, x = inputs(&h), loss = forward(how, x, h);
    cr_assert(ag_backward(loss), "%s", ag_tape_error(t));
    return ag_tape_bytes(t);
}

Test(checkpoint, takes_less_memory_than_the_plain_run) {
    size_t plain = bytes_of_step(PLAIN), with = bytes_of_step(CHECKPOINTS);
    size_t reserved = ag_tape_reserved(t);
    cr_expect_lt(with, plain * 2 / 3, "%zu bytes, plain %zu", with, plain);
    for (int i = 0; i < 3; i++) bytes_of_step(CHECKPOINTS);
    cr_expect_eq(ag_tape_reserved(t), reserved);
}

Test(checkpoint, leaves_nothing_of_its_function_on_the_tape) {
    reset_param(&w, "w", 3);
    reset_param(&u, "u", 50);
    AgVar h, x = inputs(&h), in[] = {h, ag_narrow(x, 0, 0, STRETCH)}, out;
    int64_t before = ag_tape_count(t);
    ag_checkpoint(stretch, NULL, 2, in, 1, &out);
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    cr_expect_leq(ag_tape_count(t) - before, 4); /* two leaves, a value, its record */
    ag_tape_no_grad(t, true);
    before = ag_tape_count(t);
    ag_checkpoint(stretch, NULL, 2, in, 1, in); /* the results may take the inputs' place */
    cr_expect(ag_ok(in[0]) && ag_tape_count(t) - before == 1);
    AgVar g;
    cr_assert(ag_grad(in[0], (AgVar){0}, 1, &h, &g, false));
    cr_expect_eq(tensor_get(ag_value(g), 0), 0, "recorded without gradients");
}

/* ---- small functions of scalars ---- */

static AgVar scalar(double x) { return ag_scalar(t, TENSOR_F64, x); }

static double wv = 1.5, wg;
static AgLeaf wl;
static AgVar weight(AgTape *tape) {
    wl = (AgLeaf){.name = "weight", .value = tensor_wrap(&wv, TENSOR_F64, 0, NULL),
                  .grad = tensor_wrap(&wg, TENSOR_F64, 0, NULL)};
    return ag_leaf(tape, &wv, &wl);
}

/* w x^3, tanh w x, and x itself. */
static void cubic(AgTape *tape, void *calls, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)n;
    if (calls) ++*(int *)calls;
    out[0] = ag_mul(weight(tape), ag_mul(in[0], ag_square(in[0])));
    if (n_out > 1) out[1] = ag_tanh(ag_mul(in[0], weight(tape)));
    if (n_out > 2) out[2] = in[0];
}

Test(checkpoint, can_be_differentiated_again) {
    double first[2], second[2], third[2], mixed[2];
    for (int with = 0; with < 2; with++) {
        ag_tape_reset(t);
        AgVar x = scalar(.7), w0 = weight(t), out[3], y, g, gg, ggg, gw;
        if (with) ag_checkpoint(cubic, NULL, 1, &x, 3, out);
        else cubic(t, NULL, 1, &x, 3, out);
        y = ag_mul(out[0], ag_mul(out[1], out[2]));
        cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, true), "%s", ag_tape_error(t));
        cr_assert(ag_grad(g, (AgVar){0}, 1, &x, &gg, true), "%s", ag_tape_error(t));
        cr_assert(ag_grad(gg, (AgVar){0}, 1, &x, &ggg, false), "%s", ag_tape_error(t));
        cr_assert(ag_grad(g, (AgVar){0}, 1, &w0, &gw, false), "%s", ag_tape_error(t));
        first[with] = ag_item(g), second[with] = ag_item(gg), third[with] = ag_item(ggg);
        mixed[with] = ag_item(gw);
    }
    cr_expect_float_eq(first[0], first[1], 1e-13);
    cr_expect_float_eq(second[0], second[1], 1e-12);
    cr_expect_float_eq(third[0], third[1], 1e-11);
    cr_expect_float_eq(mixed[0], mixed[1], 1e-12);
    cr_expect(second[0] != 0 && mixed[0] != 0);
}

Test(checkpoint, runs_its_function_again_only_where_a_gradient_is_wanted) {
    int calls = 0;
    AgVar x = scalar(2), other = scalar(3), out[2], g[2];
    ag_checkpoint(cubic, &calls, 1, &x, 2, out);
    cr_expect_eq(calls, 1);
    AgVar y = ag_mul(out[0], other);
    cr_assert(ag_grad(y, (AgVar){0}, 1, &other, g, false));
    cr_expect_eq(calls, 1);
    AgVar both[] = {x, other};
    cr_assert(ag_grad(y, (AgVar){0}, 2, both, g, false));
    cr_expect_eq(calls, 2);
    cr_expect_eq(ag_item(g[0]), 3 * 1.5 * 3 * 4);
}

Test(checkpoint, one_variable_given_twice_and_a_parameter_given_as_input) {
    AgVar w0 = weight(t), in[] = {w0, w0}, out, g;
    ag_checkpoint(cubic, NULL, 2, in, 1, &out); /* w w^3 */
    cr_assert(ag_grad(out, (AgVar){0}, 1, &w0, &g, false), "%s", ag_tape_error(t));
    cr_expect_float_eq(ag_item(g), 4 * 1.5 * 1.5 * 1.5, 1e-12);
    wg = 0;
    cr_assert(ag_backward(out));
    cr_expect_float_eq(wg, 4 * 1.5 * 1.5 * 1.5, 1e-12);
}

Test(checkpoint, a_bound_parameter_is_the_variable_it_is_bound_to) {
    AgVar p = scalar(5), w0 = ag_square(p), x = scalar(2), out, g;
    ag_bind(t, &wv, w0);
    ag_checkpoint(cubic, NULL, 1, &x, 1, &out);
    cr_assert(ag_grad(out, (AgVar){0}, 1, &p, &g, false), "%s", ag_tape_error(t));
    cr_expect_eq(ag_item(g), 2 * 5 * 8);
    AgVar again = ag_bound(t, &wv);
    cr_expect_eq(again.id, w0.id);
}

static AgVar clip(AgVar g, void *context) {
    ++*(int *)context;
    return ag_affine(g, .5, 0);
}
static void hooked(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)tape, (void)n, (void)n_out;
    AgVar y = ag_square(in[0]);
    ag_hook(y, clip, context);
    ag_watch(y, "inside");
    out[0] = ag_affine(y, 3, 0);
}

Test(checkpoint, hooks_set_inside_run_once_in_each_sweep) {
    int calls = 0;
    AgVar x = scalar(2), out, g;
    ag_checkpoint(hooked, &calls, 1, &x, 1, &out);
    for (int i = 1; i <= 2; i++) {
        cr_assert(ag_grad(out, (AgVar){0}, 1, &x, &g, false), "%s", ag_tape_error(t));
        cr_expect_eq(ag_item(g), 3 * .5 * 4);
        cr_expect_eq(calls, i);
    }
    Tensor inside = ag_watched(t, "inside");
    cr_expect(tensor_is_nil(&inside));
}

/* Halves the gradient of its input and of the parameter. */
static void hooks_operands(AgTape *tape, void *context, int n, const AgVar *in, int n_out,
                           AgVar *out) {
    (void)n, (void)n_out;
    AgVar w0 = weight(tape);
    ag_hook(in[0], clip, context);
    ag_hook(w0, clip, context);
    out[0] = ag_mul(w0, in[0]);
}

Test(checkpoint, hooks_of_its_operands_run_wherever_their_gradients_are_added_up) {
    int calls = 0;
    AgVar x0 = scalar(2), x = ag_square(x0), out;
    ag_checkpoint(hooks_operands, &calls, 1, &x, 1, &out);
    AgVar y = ag_add(out, ag_add(ag_square(x), ag_exp(x))), g; /* x has parts already */
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, false), "%s", ag_tape_error(t));
    cr_expect_float_eq(ag_item(g), 1.5 / 2 + 8 + exp(4), 1e-12);
    cr_expect_eq(calls, 1);
    wg = 100;
    cr_assert(ag_backward(out), "%s", ag_tape_error(t));
    cr_expect_eq(wg, 100 + 4 / 2.);
}

Test(checkpoint, a_parameter_is_what_it_was_bound_to_in_the_first_run) {
    AgVar a = scalar(5), b = scalar(7), x = scalar(2), both[] = {x, a}, out, g[2];
    ag_bind(t, &wv, a);
    ag_checkpoint(cubic, NULL, 1, &x, 1, &out);
    ag_bind(t, &wv, b);
    for (int n = 1; n <= 2; n++) {
        cr_assert(ag_grad(out, (AgVar){0}, n, both, g, false), "%s", ag_tape_error(t));
        cr_expect_eq(ag_item(g[0]), 5 * 12);
        cr_expect_eq(ag_item(weight(t)), 7);
    }
    cr_expect_eq(ag_item(g[1]), 8);
}

/* The square of the derivative of w x^3. */
static void squared_slope(AgTape *tape, void *context, int n, const AgVar *in, int n_out,
                          AgVar *out) {
    (void)n;
    AgVar y[3], g;
    if (context) ag_checkpoint(cubic, NULL, 1, in, n_out, y);
    else cubic(tape, NULL, 1, in, n_out, y);
    ag_grad(y[0], (AgVar){0}, 1, in, &g, true);
    out[0] = ag_square(g);
}

Test(checkpoint, its_function_may_use_gradients_of_its_own) {
    for (int nested = 0; nested < 2; nested++) {
        ag_tape_reset(t);
        AgVar x = scalar(2), w0 = weight(t), in[] = {x, w0}, out, g[2];
        ag_checkpoint(squared_slope, nested ? &nested : NULL, 1, &x, 1, &out); /* 9 w^2 x^4 */
        cr_expect_float_eq(ag_item(out), 324, 1e-9);
        cr_assert(ag_grad(out, (AgVar){0}, 2, in, g, false), "%s", ag_tape_error(t));
        cr_expect_float_eq(ag_item(g[0]), 648, 1e-9);
        cr_expect_float_eq(ag_item(g[1]), 432, 1e-9);
    }
}

/* ---- what goes wrong ---- */

static AgVar outside;
static void closure(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)tape, (void)context, (void)n, (void)n_out;
    out[0] = ag_mul(in[0], outside);
}
static void returns_outside(AgTape *tape, void *context, int n, const AgVar *in, int n_out,
                            AgVar *out) {
    (void)tape, (void)context, (void)n, (void)n_out, (void)in;
    out[0] = outside;
}
static void closure_inside(AgTape *tape, void *context, int n, const AgVar *in, int n_out,
                           AgVar *out) {
    (void)tape, (void)n;
    ag_checkpoint(closure, context, 1, in, n_out, out);
}
static void nothing(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)tape, (void)context, (void)n, (void)n_out, (void)in, (void)out;
}
static void resets(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)context, (void)n, (void)n_out;
    ag_tape_reset(tape);
    out[0] = in[0];
}
static void fails(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)n, (void)n_out;
    int *calls = context;
    ag_scope_push(tape, "inner");
    out[0] = ++*calls > 1 ? ag_matmul(in[0], in[0]) : ag_square(in[0]);
    ag_scope_pop(tape);
}
static void changes(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)tape, (void)n, (void)n_out;
    int *calls = context;
    out[0] = ++*calls > 1 ? ag_unsqueeze(in[0], 0) : ag_square(in[0]);
}

static void counts(AgTape *tape, void *calls, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)tape, (void)n, (void)n_out;
    out[0] = ag_mul(in[0], ag_affine(in[0], 1, ++*(int *)calls));
}
static void goes_back(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)context, (void)n, (void)n_out;
    out[0] = ag_mul(in[0], weight(tape));
    ag_backward(out[0]);
}
static AgTapeMark before;
static void releases(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)context, (void)n, (void)n_out;
    out[0] = ag_square(in[0]);
    ag_tape_release(tape, before, 1, out);
}
static void calls_itself(AgTape *tape, void *context, int n, const AgVar *in, int n_out,
                         AgVar *out) {
    (void)tape;
    ag_checkpoint(calls_itself, context, n, in, n_out, out);
}

Test(checkpoint, a_variable_from_outside_is_an_error_and_no_missing_gradient) {
    AgCheckpointFunction all[] = {closure, returns_outside, closure_inside};
    for (int i = 0; i < 3; i++) {
        ag_tape_reset(t);
        AgVar x = scalar(2), out;
        outside = ag_square(scalar(3));
        ag_name(outside, "memory");
        ag_checkpoint(all[i], NULL, 1, &x, 1, &out);
        cr_expect(!ag_ok(out));
        EXPECT_ERROR("uses memory (node 3), which is not among its inputs");
    }
    ag_tape_reset(t);
    AgVar in[] = {scalar(2), scalar(3)}, out;
    outside = in[1];
    ag_checkpoint(closure, NULL, 2, in, 1, &out);
    cr_expect_eq(ag_item(out), 6, "%s", ag_tape_error(t));
}

Test(checkpoint, an_error_inside_is_told_once_with_its_scope) {
    for (int again = 0; again < 2; again++) {
        ag_tape_reset(t);
        int calls = !again;
        AgVar x = ag_full(t, TENSOR_F64, 2, (int64_t[]){2, 3}, 1), y, g;
        ag_scope_push(t, "outer");
        ag_checkpoint(fails, &calls, 1, &x, 1, &y);
        ag_scope_pop(t);
        cr_expect_eq(ag_ok(y), again);
        if (again) cr_expect(!ag_grad(y, (AgVar){0}, 1, &x, &g, false));
        cr_expect_str_eq(ag_tape_error(t), "outer/inner: matmul(f64[2,3], f64[2,3]): inner sizes "
                                           "differ (3 and 2)");
    }
}

Test(checkpoint, says_what_is_wrong_with_it) {
    struct {
        AgCheckpointFunction f;
        int n_out;
        const char *error;
    } bad[] = {
        {NULL, 1, "checkpoint: no function"},
        {cubic, 9, "checkpoint: 9 results, wants 1 to 8"},
        {cubic, 0, "checkpoint: 0 results"},
        {nothing, 1, "checkpoint: argument 0 is the failed variable"},
        {goes_back, 1, "backward: inside a checkpoint"},
        {releases, 1, "tape_release: the mark is from before the gradient rule, the hook or the"},
        {calls_itself, 1, "checkpoint: more than 128 inside each other"},
        {resets, 1, "tape_reset: inside a gradient rule, a hook or a checkpoint"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ag_tape_reset(t);
        before = ag_tape_mark(t);
        AgVar x = scalar(2), out[9];
        ag_checkpoint(bad[i].f, NULL, 1, &x, bad[i].n_out, out);
        EXPECT_ERROR(bad[i].error);
        cr_expect(!bad[i].n_out || !ag_ok(out[0]));
    }
    struct {
        AgCheckpointFunction f;
        const char *error;
    } again[] = {
        {changes, "checkpoint: result 0 was f64[], and f64[1] when computed again"},
        {counts, "checkpoint: result 0 has other values when computed again"},
    };
    for (int i = 0; i < 2; i++) {
        ag_tape_reset(t);
        int calls = 0;
        AgVar x = scalar(2), y, g;
        ag_checkpoint(again[i].f, &calls, 1, &x, 1, &y);
        cr_expect(!ag_grad(y, (AgVar){0}, 1, &x, &g, false));
        EXPECT_ERROR(again[i].error);
    }
    AgVar none;
    ag_checkpoint(cubic, NULL, 0, NULL, 1, &none);
    cr_expect(!none.tape);
}

Test(checkpoint, runs_out_of_memory_with_an_error) {
    size_t need = bytes_of_step(CHECKPOINTS);
    int failed = 0;
    for (size_t limit = need / 4; limit < 16 * need; limit += need / 4) {
        ag_tape_free(t);
        t = ag_tape_new();
        ag_tape_set_memory_limit(t, limit);
        AgVar h, x = inputs(&h), loss = forward(NESTED, x, h);
        if (ag_backward(loss)) continue;
        failed++;
        EXPECT_ERROR("out of memory");
    }
    cr_expect_gt(failed, 0);
}
