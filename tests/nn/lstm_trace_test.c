/* The trace against the equations in plain doubles, whose every intermediate can be pushed: the
 * gradients and Jacobians it tells are differences of these. */
#include "nn/lstm_trace.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tensor/rng.h"
#include "tests/support/folder.h"
#include "tests/support/read_text.h"
#include "tests/support/xml.h"

static char path[TEST_PATH_SIZE];

static void make_folder(void) { test_folder_make(path, "file"); }
static void remove_folder(void) { test_folder_remove(path); }

TestSuite(lstm_trace, .init = make_folder, .fini = remove_folder);

/* ---- the equations ---- */

enum { T = 4, B = 3, I = 2, H = 3, L = 2, D = 2, K = L * D };
static const int64_t lengths[B] = {T, 0, 2};

/* Adds `by` to one intermediate, before anything is computed from it. */
typedef struct {
    char what; /* 'a', 'c', 'h'; 0: nothing is pushed */
    int k;
    int64_t t, b, unit;
    double by;
} Push;

/* All of a run, under the names of the trace. */
typedef struct {
    double i[K][T][B][H], f[K][T][B][H], g[K][T][B][H], o[K][T][B][H];
    double c[K][T][B][H], h[K][T][B][H], a[K][T][B][4 * H];
    double y[L][T][B][D * H], hn[K][B][H], cn[K][B][H];
} Run;

enum { W_IH, W_HH, B_IH, B_HH, PARAMS };

typedef struct {
    NnParamSet *set;
    NnLstm lstm;
    const double *param[K][PARAMS]; /* by pass */
    TensorArena *arena;
    Tensor x, h0, c0;
    Tensor on_y, on_hn, on_cn; /* the loss is the sum of the outputs times these */
} World;

static double pushed(const Push *p, char what, int k, int64_t t, int64_t b, int64_t unit,
                     double value) {
    bool here = p->what == what && p->k == k && p->t == t && p->b == b && p->unit == unit;
    return here ? value + p->by : value;
}

static double logistic(double x) { return 1 / (1 + exp(-x)); }

static double input_of(const World *w, const Run *r, int k, int64_t t, int64_t b, int64_t n) {
    return k / D ? r->y[k / D - 1][t][b][n] : tensor_get(&w->x, (t * B + b) * I + n);
}

static void one_step(const World *w, Run *r, const Push *push, int k, int64_t t, int64_t b) {
    const double *h = r->hn[k][b];
    const double *const *p = w->param[k];
    double *c = r->cn[k][b], *a = r->a[k][t][b], next[H];
    int64_t inputs = k / D ? D * H : I;
    for (int64_t row = 0; row < 4 * H; row++) {
        a[row] = p[B_IH][row] + p[B_HH][row];
        for (int64_t n = 0; n < inputs; n++)
            a[row] += p[W_IH][row * inputs + n] * input_of(w, r, k, t, b, n);
        for (int64_t n = 0; n < H; n++) a[row] += p[W_HH][row * H + n] * h[n];
        a[row] = pushed(push, 'a', k, t, b, row, a[row]);
    }
    for (int64_t j = 0; j < H; j++) {
        double i = r->i[k][t][b][j] = logistic(a[j]);
        double f = r->f[k][t][b][j] = logistic(a[H + j]);
        double g = r->g[k][t][b][j] = tanh(a[2 * H + j]);
        double o = r->o[k][t][b][j] = logistic(a[3 * H + j]);
        c[j] = r->c[k][t][b][j] = pushed(push, 'c', k, t, b, j, f * c[j] + i * g);
        next[j] = r->h[k][t][b][j] = pushed(push, 'h', k, t, b, j, o * tanh(c[j]));
        r->y[k / D][t][b][k % D * H + j] = next[j];
    }
    memcpy(r->hn[k][b], next, sizeof next);
}

static void run(const World *w, const Push *push, Run *r) {
    memset(r, 0, sizeof *r);
    for (int k = 0; k < K; k++)
        for (int64_t b = 0; b < B; b++) {
            for (int64_t j = 0; j < H; j++) {
                r->hn[k][b][j] = tensor_get(&w->h0, (k * B + b) * H + j);
                r->cn[k][b][j] = tensor_get(&w->c0, (k * B + b) * H + j);
            }
            for (int64_t n = 0; n < lengths[b]; n++)
                one_step(w, r, push, k, k % D ? lengths[b] - 1 - n : n, b);
        }
}

static double dot(const Tensor *weights, const double *x) {
    double sum = 0;
    for (int64_t e = 0; e < tensor_numel(weights); e++) sum += tensor_get(weights, e) * x[e];
    return sum;
}

static double loss_of(const World *w, const Push *p) {
    static Run r;
    run(w, p, &r);
    return dot(&w->on_y, &r.y[L - 1][0][0][0]) + dot(&w->on_hn, &r.hn[0][0][0]) +
           dot(&w->on_cn, &r.cn[0][0][0]);
}

static double slope(const World *w, Push p) {
    const double step = 1e-5;
    p.by = step;
    double up = loss_of(w, &p);
    p.by = -step;
    return (up - loss_of(w, &p)) / (2 * step);
}

/* ---- the trace of it ---- */

static Tensor random_tensor(TensorArena *a, TensorDtype dtype, const int64_t *shape,
                            uint64_t draw) {
    Tensor x = tensor_new(a, dtype, 3, shape);
    cr_assert(!tensor_is_nil(&x));
    tensor_rng_fill_uniform(&x, (TensorRngKey){3, 0, draw}, -1, 1);
    return x;
}

static void find_params(World *w, int k) {
    static const char *const names[PARAMS] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
    for (int i = 0; i < PARAMS; i++) {
        char name[64];
        snprintf(name, sizeof name, "lstm.%s_l%d%s", names[i], k / D, k % D ? "_reverse" : "");
        w->param[k][i] = nn_params_find(w->set, name)->value.data;
    }
}

/* Two layers in two directions, in F64. */
static World world(void) {
    const TensorDtype dtype = TENSOR_F64;
    TensorArena *a = tensor_arena_new();
    World w = {.set = nn_params_new(dtype, 1), .arena = a};
    NnInit init = nn_init_uniform(-1, 1);
    w.lstm = nn_lstm_make(w.set, "lstm", I, H,
                          &(NnLstmOptions){.num_layers = L, .bidirectional = true, .init = &init});
    cr_assert(nn_params_ok(w.set), "%s", nn_params_error(w.set));
    for (int k = 0; k < K; k++) find_params(&w, k);
    w.x = random_tensor(a, dtype, (int64_t[]){T, B, I}, 0);
    w.h0 = random_tensor(a, dtype, (int64_t[]){K, B, H}, 1);
    w.c0 = random_tensor(a, dtype, (int64_t[]){K, B, H}, 2);
    w.on_y = random_tensor(a, dtype, (int64_t[]){T, B, D * H}, 3);
    w.on_hn = random_tensor(a, dtype, (int64_t[]){K, B, H}, 4);
    w.on_cn = random_tensor(a, dtype, (int64_t[]){K, B, H}, 5);
    return w;
}

static void end(World *w, AgTape *t) {
    ag_tape_free(t);
    nn_params_free(w->set);
    tensor_arena_free(w->arena);
}

static NnLstmTrace trace_of(const World *w, AgTape *t) {
    NnLstmState s = {ag_input(t, &w->h0), ag_input(t, &w->c0)};
    NnLstmTrace trace = nn_lstm_trace(&w->lstm, ag_input(t, &w->x), &s, lengths);
    cr_assert(ag_tape_ok(t) && ag_ok(trace.out.y), "%s", ag_tape_error(t));
    return trace;
}

static AgVar weighted(AgVar x, const Tensor *by) {
    return ag_sum(ag_mul(x, ag_input(x.tape, by)), AG_ALL_AXES, false);
}

static AgVar loss_on(const World *w, const NnLstmTrace *trace) {
    const NnLstmOutput *out = &trace->out;
    return ag_add(weighted(out->y, &w->on_y),
                  ag_add(weighted(out->hn, &w->on_hn), weighted(out->cn, &w->on_cn)));
}

static Tensor get(const NnLstmTrace *trace, TensorArena *a, int k, const char *name) {
    TensorError error = {""};
    Tensor x = nn_lstm_trace_get(trace, a, k / trace->D, k % trace->D, name, &error);
    cr_assert(!tensor_is_nil(&x), "%s", error.message);
    cr_assert(x.ndim == 3 && x.shape[0] == trace->T && x.shape[1] == trace->B);
    return x;
}

/* ---- values and gradients ---- */

static void expect_near(const Tensor *x, const double *expected, double tolerance,
                        const char *what) {
    for (int64_t e = 0; e < tensor_numel(x); e++)
        cr_assert_float_eq(tensor_get(x, e), expected[e], tolerance, "%s %lld: %.17g, not %.17g",
                           what, (long long)e, tensor_get(x, e), expected[e]);
}

Test(lstm_trace, values_are_those_of_the_equations) {
    World w = world();
    AgTape *t = ag_tape_new();
    NnLstmTrace trace = trace_of(&w, t);
    static Run r;
    run(&w, &(Push){0}, &r);
    expect_near(ag_value(trace.out.y), &r.y[L - 1][0][0][0], 1e-13, "y");
    expect_near(ag_value(trace.out.hn), &r.hn[0][0][0], 1e-13, "hn");
    expect_near(ag_value(trace.out.cn), &r.cn[0][0][0], 1e-13, "cn");
    for (int k = 0; k < K; k++) {
        const struct {
            const char *name;
            const double *expected;
        } all[] = {{"i", &r.i[k][0][0][0]}, {"f", &r.f[k][0][0][0]}, {"g", &r.g[k][0][0][0]},
                   {"o", &r.o[k][0][0][0]}, {"c", &r.c[k][0][0][0]}, {"h", &r.h[k][0][0][0]}};
        for (int n = 0; n < 6; n++) { /* beyond the lengths r is 0 */
            Tensor x = get(&trace, w.arena, k, all[n].name);
            cr_assert(x.shape[2] == H);
            expect_near(&x, all[n].expected, 1e-13, all[n].name);
        }
    }
    end(&w, t);
}

static void expect_slopes(const World *w, const NnLstmTrace *trace, int k, const char *name,
                          int64_t n) {
    Tensor x = get(trace, w->arena, k, name);
    cr_assert(x.shape[2] == n);
    for (int64_t e = 0; e < T * B * n; e++) {
        Push p = {name[1], k, e / n / B, e / n % B, e % n, 0};
        double expected = p.t < lengths[p.b] ? slope(w, p) : 0;
        cr_assert_float_eq(tensor_get(&x, e), expected, 1e-8, "%s of pass %d, %lld: %g, not %g",
                           name, k, (long long)e, tensor_get(&x, e), expected);
    }
}

Test(lstm_trace, gradients_are_slopes_of_the_loss) {
    World w = world();
    AgTape *t = ag_tape_new();
    NnLstmTrace trace = trace_of(&w, t);
    AgVar loss = loss_on(&w, &trace);
    cr_assert_float_eq(ag_item(loss), loss_of(&w, &(Push){0}), 1e-12);
    cr_assert(ag_backward(loss), "%s", ag_tape_error(t));
    for (int k = 0; k < K; k++) {
        expect_slopes(&w, &trace, k, "dh", H);
        expect_slopes(&w, &trace, k, "dc", H);
        expect_slopes(&w, &trace, k, "da", 4 * H);
    }
    end(&w, t);
}

Test(lstm_trace, gradients_are_those_of_the_last_backward) {
    World w = world();
    AgTape *t = ag_tape_new();
    NnLstmTrace trace = trace_of(&w, t);
    AgVar loss = loss_on(&w, &trace);
    cr_assert(ag_backward(loss));
    Tensor first = get(&trace, w.arena, 1, "da");
    cr_assert(ag_backward(ag_affine(loss, -3, 0)), "%s", ag_tape_error(t));
    Tensor second = get(&trace, w.arena, 1, "da");
    for (int64_t e = 0; e < tensor_numel(&first); e++)
        cr_assert_float_eq(tensor_get(&second, e), -3 * tensor_get(&first, e), 1e-13);

    /* A loss that only some steps lead to: the others have 0. */
    cr_assert(ag_backward(ag_sum(ag_select(trace.step[0].h, 0, 0), AG_ALL_AXES, false)));
    Tensor dh = get(&trace, w.arena, 0, "dh"), later = get(&trace, w.arena, K - 1, "dh");
    for (int64_t e = 0; e < T * B * H; e++) {
        cr_assert(tensor_get(&dh, e) == (e < H));
        cr_assert(tensor_get(&later, e) == 0);
    }
    end(&w, t);
}

/* ---- Jacobians ---- */

/* ||d(what)_t / d(what)_s|| of pass k and sequence b, by differences. */
static double norm_by_slopes(const World *w, char what, int k, int64_t t, int64_t s, int64_t b) {
    static Run up, down;
    const double step = 1e-5;
    double sum = 0;
    if (t >= lengths[b] || s >= lengths[b]) return 0;
    for (int64_t unit = 0; unit < H; unit++) {
        run(w, &(Push){what, k, s, b, unit, step}, &up);
        run(w, &(Push){what, k, s, b, unit, -step}, &down);
        const double *a = what == 'h' ? up.h[k][t][b] : up.c[k][t][b];
        const double *z = what == 'h' ? down.h[k][t][b] : down.c[k][t][b];
        for (int64_t j = 0; j < H; j++) sum += pow((a[j] - z[j]) / (2 * step), 2);
    }
    return sqrt(sum);
}

static void expect_norms(const World *w, const NnLstmTrace *trace, int k, const char *state) {
    Tensor all = nn_lstm_trace_norms(trace, w->arena, k / D, k % D, state, NN_LSTM_TRACE_ALL, NULL);
    cr_assert(all.ndim == 3 && all.dtype == TENSOR_F64 && all.shape[0] == T &&
              all.shape[1] == T && all.shape[2] == B);
    for (int64_t t = 0; t < T; t++) {
        Tensor one = nn_lstm_trace_norms(trace, w->arena, k / D, k % D, state, t, NULL);
        cr_assert(one.ndim == 2 && one.shape[0] == T && one.shape[1] == B);
        for (int64_t e = 0; e < T * B; e++) {
            double norm = tensor_get(&one, e), in_all = tensor_get(&all, t * T * B + e);
            cr_assert(norm == in_all, "one step and all steps agree");
            double expected = norm_by_slopes(w, *state, k, t, e / B, e % B);
            cr_assert_float_eq(norm, expected, 1e-8, "%s, pass %d, t %lld, %lld: %g, not %g",
                               state, k, (long long)t, (long long)e, norm, expected);
        }
    }
}

Test(lstm_trace, jacobian_norms_are_those_of_differences) {
    World w = world();
    AgTape *t = ag_tape_new();
    NnLstmTrace trace = trace_of(&w, t);
    int64_t count = ag_tape_count(t);
    for (int k = 0; k < K; k++) {
        expect_norms(&w, &trace, k, "h");
        expect_norms(&w, &trace, k, "c");
    }
    size_t bytes = ag_tape_bytes(t); /* with what a sweep keeps for the next one */
    expect_norms(&w, &trace, K - 1, "c");
    cr_assert(ag_tape_count(t) == count && ag_tape_bytes(t) == bytes, "nothing is left behind");
    cr_assert(ag_backward(loss_on(&w, &trace)), "and can be used: %s", ag_tape_error(t));
    end(&w, t);
}

/* Of a cell that forgets: f = s(-500) each step, whose products leave the range of squares. */
Test(lstm_trace, tiny_norms_do_not_underflow) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnInit zero = nn_init_constant(0);
    NnLstmOptions o = {.init = &zero, .has_forget_bias = true, .forget_bias = -500};
    NnLstm lstm = nn_lstm_make(set, "", 1, 1, &o);
    TensorArena *a = tensor_arena_new();
    AgTape *t = ag_tape_new();
    AgVar x = ag_full(t, TENSOR_F64, 3, (int64_t[]){2, 1, 1}, 0);
    NnLstmTrace trace = nn_lstm_trace(&lstm, x, NULL, NULL);
    Tensor norm = nn_lstm_trace_norms(&trace, a, 0, 0, "c", 1, NULL);
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    cr_assert_float_eq(tensor_get(&norm, 0) / exp(-500), 1, 1e-10);
    cr_assert(tensor_get(&norm, 1) == 1);
    ag_tape_free(t);
    tensor_arena_free(a);
    nn_params_free(set);
}

/* ---- every option ---- */

enum { P = 2 /* size of a projection */, CASES = 12 };

static NnLstmOptions case_of(int n) {
    const NnLstmOptions all[CASES] = {
        {0},
        {.num_layers = 2, .bidirectional = true, .no_bias = true},
        {.batch_first = true, .bidirectional = true},
        {.proj_size = P, .num_layers = 2},
        {.peepholes = true, .bidirectional = true},
        {.coupled = true},
        {.coupled = true, .peepholes = true, .proj_size = P, .bidirectional = true},
        {.layer_norm = true, .num_layers = 2},
        {.zoneout_h = 0.3, .zoneout_c = 0.4, .num_layers = 2},
        {.dropout = 0.5, .num_layers = 3, .input_dropout = 0.2, .output_dropout = 0.3},
        {.dropout = 0.5, .num_layers = 2, .locked_dropout = true, .hidden_dropout = 0.4,
         .weight_drop = 0.3},
        {.num_layers = 2, .bidirectional = true, .batch_first = true, .proj_size = P,
         .peepholes = true, .layer_norm = true, .zoneout_h = 0.2, .zoneout_c = 0.1,
         .dropout = 0.2, .hidden_dropout = 0.3, .composed = true},
    };
    return all[n];
}

/* A layer "lstm" in a set of its own. */
static NnLstm make(const NnLstmOptions *o, TensorDtype dtype, NnParamSet **set) {
    *set = nn_params_new(dtype, 9);
    NnLstm m = nn_lstm_make(*set, "lstm", I, H, o);
    cr_assert(nn_params_ok(*set), "%s", nn_params_error(*set));
    return m;
}

static AgTape *training_tape(bool training) {
    AgTape *t = ag_tape_new();
    ag_tape_rng(t, 4, 5);
    ag_tape_training(t, training);
    return t;
}

static Tensor input(const NnLstmOptions *o, TensorArena *a, TensorDtype dtype) {
    return random_tensor(
        a, dtype, o->batch_first ? (int64_t[]){B, T, I} : (int64_t[]){T, B, I}, 0);
}

/* NULL, or which result differs by more than the tolerance. */
static const char *difference(const NnLstmOutput *a, const NnLstmOutput *b, double tolerance) {
    const AgVar x[] = {a->y, a->hn, a->cn}, y[] = {b->y, b->hn, b->cn};
    static const char *const names[] = {"y", "hn", "cn"};
    for (int i = 0; i < 3; i++) {
        if (!tensor_same_shape(ag_value(x[i]), ag_value(y[i]))) return names[i];
        for (int64_t e = 0; e < ag_numel(x[i]); e++)
            if (!(fabs(tensor_get(ag_value(x[i]), e) - tensor_get(ag_value(y[i]), e)) <= tolerance))
                return names[i];
    }
    return NULL;
}

Test(lstm_trace, results_are_those_of_nn_lstm) {
    for (int n = 0; n < 4 * CASES; n++) {
        NnLstmOptions o = case_of(n / 4);
        bool training = n % 2;
        const int64_t *some = n / 2 % 2 ? lengths : NULL;
        NnParamSet *set, *composed_set;
        NnLstm fast = make(&o, TENSOR_F64, &set);
        o.composed = true;
        NnLstm composed = make(&o, TENSOR_F64, &composed_set);
        TensorArena *a = tensor_arena_new();
        Tensor x = input(&o, a, TENSOR_F64);
        AgTape *t[3] = {training_tape(training), training_tape(training), training_tape(training)};
        NnLstmTrace trace = nn_lstm_trace(&fast, ag_input(t[0], &x), NULL, some);
        NnLstmOutput by_loop = nn_lstm(&composed, ag_input(t[1], &x), NULL, some);
        NnLstmOutput by_op = nn_lstm(&fast, ag_input(t[2], &x), NULL, some);
        const char *wrong = difference(&trace.out, &by_loop, 0);
        cr_assert(ag_ok(trace.out.y), "%d: %s", n, ag_tape_error(t[0]));
        cr_assert(!wrong, "%d: %s is not that of the loop, bit for bit", n, wrong);
        wrong = difference(&trace.out, &by_op, 1e-12);
        cr_assert(!wrong, "%d: %s is not that of the op", n, wrong);
        for (int i = 0; i < 3; i++) ag_tape_free(t[i]);
        tensor_arena_free(a);
        nn_params_free(set);
        nn_params_free(composed_set);
    }
}

/* The kept gradient of one step's variable against the one asked for by itself. */
static void expect_gradient(AgVar loss, AgVar v, const Tensor *kept, int64_t t) {
    AgVar g;
    cr_assert(ag_grad(loss, (AgVar){0}, 1, &v, &g, false), "%s", ag_tape_error(loss.tape));
    Tensor at = tensor_select(kept, 0, t);
    cr_assert(tensor_same_shape(&at, ag_value(g)));
    for (int64_t e = 0; e < ag_numel(g); e++)
        cr_assert_float_eq(tensor_get(&at, e), tensor_get(ag_value(g), e), 1e-13);
}

static void expect_zeros_beyond(const Tensor *x) {
    int64_t n = x->shape[2];
    for (int64_t e = 0; e < T * B * n; e++)
        cr_assert(e / n / B < lengths[e / n % B] || tensor_get(x, e) == 0);
}

static void expect_pass(const NnLstmTrace *trace, TensorArena *a, AgVar loss, int k) {
    static const char *const names[] = {"i", "f", "g", "o", "c", "h", "dc", "dh", "da"};
    Tensor x[9];
    for (int i = 0; i < 9; i++) {
        x[i] = get(trace, a, k, names[i]);
        expect_zeros_beyond(&x[i]);
    }
    for (int64_t s = 0; s < T; s++) {
        const AgLstmStep *step = &trace->step[k * T + s];
        expect_gradient(loss, step->c, &x[6], s);
        expect_gradient(loss, step->h, &x[7], s);
        expect_gradient(loss, step->a, &x[8], s);
    }
    cr_assert(x[8].shape[2] == (trace->coupled ? 3 : 4) * H);
    const char *const states[] = {"h", "c"};
    for (int i = 0; i < 2; i++) {
        int64_t size = i == 0 ? x[5].shape[2] : H;
        Tensor norm = nn_lstm_trace_norms(trace, a, k / trace->D, k % trace->D, states[i], 1, NULL);
        cr_assert_float_eq(tensor_get(&norm, 1 * B + 0), sqrt((double)size), 1e-14);
        cr_assert(tensor_get(&norm, (k % trace->D ? 2 : 0) * B + 0) > 0);
    }
}

Test(lstm_trace, every_option_has_its_gradients) {
    for (int n = 0; n < 2 * CASES; n++) {
        NnLstmOptions o = case_of(n / 2);
        NnParamSet *set;
        NnLstm m = make(&o, TENSOR_F64, &set);
        TensorArena *a = tensor_arena_new();
        AgTape *t = training_tape(n % 2);
        Tensor x = input(&o, a, TENSOR_F64);
        NnLstmTrace trace = nn_lstm_trace(&m, ag_input(t, &x), NULL, lengths);
        AgVar loss = ag_sum(ag_square(trace.out.y), AG_ALL_AXES, false);
        loss = ag_add(loss, ag_sum(ag_square(trace.out.cn), AG_ALL_AXES, false));
        cr_assert(ag_backward(loss), "%d: %s", n, ag_tape_error(t));
        for (int k = 0; k < m.L * m.D; k++) expect_pass(&trace, a, loss, k);
        Tensor h = get(&trace, a, 0, "h");
        cr_assert(h.shape[2] == (o.proj_size ? P : H));
        Tensor watched = ag_watched(t, m.D == 2 ? "lstm.l0_reverse.h[2]" : "lstm.l0.h[2]");
        cr_assert(!tensor_is_nil(&watched), "%d: a name to watch it by", n);
        ag_tape_free(t);
        tensor_arena_free(a);
        nn_params_free(set);
    }
}

/* ---- the table ---- */

enum { COLUMNS = 17 };

static const char header[] =
    "layer,direction,step,sequence,unit,i,f,g,o,c,h,dh,dc,da_i,da_f,da_g,da_o\n";

/* Element `unit` of x [T, B, n] at a step and sequence; NaN where x is nil or has none. */
static double element(const Tensor *x, int64_t t, int64_t b, int64_t unit) {
    if (tensor_is_nil(x) || unit < 0 || unit >= x->shape[2]) return NAN;
    return tensor_get(x, (t * B + b) * x->shape[2] + unit);
}

/* One field and what ends it; NaN for an empty one. */
static double field(const char **at) {
    char *end;
    double value = **at == ',' || **at == '\n' ? NAN : strtod(*at, &end);
    if (!isnan(value)) *at = end;
    cr_assert(**at == ',' || **at == '\n', "%.40s", *at);
    (*at)++;
    return value;
}

static void expect_line(const char **at, const double *expected) {
    for (int i = 0; i < COLUMNS; i++) {
        double value = field(at);
        cr_assert((*at)[-1] == (i == COLUMNS - 1 ? '\n' : ','), "column %d", i);
        cr_assert(value == expected[i] || (isnan(value) && isnan(expected[i])),
                  "column %d: %.17g, not %.17g", i, value, expected[i]);
    }
}

static void expect_table_of_pass(const NnLstmTrace *trace, TensorArena *a, int k, bool gradients,
                                 const char **at) {
    static const char *const names[] = {"i", "f", "g", "o", "c", "h", "dh", "dc", "da"};
    Tensor x[9];
    for (int i = 0; i < 9; i++)
        x[i] = i < 6 || gradients ? get(trace, a, k, names[i]) : tensor_nil();
    for (int64_t t = 0; t < T; t++)
        for (int64_t b = 0; b < B; b++)
            for (int64_t unit = 0; t < lengths[b] && unit < H; unit++) {
                double expected[COLUMNS] = {k / trace->D, k % trace->D, (double)t, (double)b,
                                            (double)unit};
                for (int i = 0; i < 8; i++) expected[5 + i] = element(&x[i], t, b, unit);
                for (int gate = 0; gate < 4; gate++) {
                    int row = trace->coupled && gate > 0 ? gate - 1 : gate;
                    bool none = trace->coupled && gate == 1;
                    expected[13 + gate] = none ? NAN : element(&x[8], t, b, row * H + unit);
                }
                expect_line(at, expected);
            }
}

static void expect_table(const NnLstmTrace *trace, TensorArena *a, bool gradients) {
    TensorError error = {""};
    cr_assert(nn_lstm_trace_write_csv(trace, path, &error), "%s", error.message);
    char *text = read_text(path);
    cr_assert(strncmp(text, header, strlen(header)) == 0);
    const char *at = text + strlen(header);
    for (int k = 0; k < trace->L * trace->D; k++) expect_table_of_pass(trace, a, k, gradients, &at);
    cr_assert(*at == 0, "nothing behind the last line");
    free(text);
}

Test(lstm_trace, the_table_gives_the_tensors_back) {
    const NnLstmOptions cases[] = {{.num_layers = 2, .bidirectional = true},
                                   {.coupled = true, .proj_size = P, .batch_first = true}};
    for (int n = 0; n < 4; n++) {
        TensorDtype dtype = n % 2 ? TENSOR_F32 : TENSOR_F64;
        NnParamSet *set;
        NnLstm m = make(&cases[n / 2], dtype, &set);
        TensorArena *a = tensor_arena_new();
        AgTape *t = ag_tape_new();
        Tensor x = input(&cases[n / 2], a, dtype);
        NnLstmTrace trace = nn_lstm_trace(&m, ag_input(t, &x), NULL, lengths);
        cr_assert(ag_ok(trace.out.y), "%s", ag_tape_error(t));
        expect_table(&trace, a, false);
        cr_assert(ag_backward(ag_sum(trace.out.y, AG_ALL_AXES, false)), "%s", ag_tape_error(t));
        expect_table(&trace, a, true);
        ag_tape_free(t);
        tensor_arena_free(a);
        nn_params_free(set);
    }
}

/* One number, and the character that ends it. */
static double number(const char **at, char end) {
    char *rest;
    double value = strtod(*at, &rest);
    cr_assert(rest > *at && *rest == end, "%.40s", *at);
    *at = rest + 1;
    return value;
}

static void expect_norms_of_pass(const NnLstmTrace *trace, TensorArena *a, int k, const char **at) {
    Tensor norm[2];
    for (int i = 0; i < 2; i++)
        norm[i] = nn_lstm_trace_norms(trace, a, k / D, k % D, i ? "c" : "h", NN_LSTM_TRACE_ALL,
                                      NULL);
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < lengths[b]; t++)
            for (int64_t s = k % D ? t : 0; s < (k % D ? lengths[b] : t + 1); s++) {
                const int64_t place[] = {k / D, k % D, b, t, s};
                for (int i = 0; i < 5; i++) cr_assert(number(at, ',') == (double)place[i]);
                for (int i = 0; i < 2; i++) {
                    double expected = tensor_get(&norm[i], (t * T + s) * B + b);
                    cr_assert(expected > 0 && number(at, i ? '\n' : ',') == expected);
                }
            }
}

Test(lstm_trace, the_table_of_norms_gives_them_back) {
    static const char first[] = "layer,direction,sequence,t,s,dh,dc\n";
    World w = world();
    AgTape *t = ag_tape_new();
    NnLstmTrace trace = trace_of(&w, t);
    TensorError error = {""};
    cr_assert(nn_lstm_trace_write_norms_csv(&trace, path, &error), "%s", error.message);
    char *text = read_text(path);
    cr_assert(strncmp(text, first, strlen(first)) == 0);
    const char *at = text + strlen(first);
    for (int k = 0; k < K; k++) expect_norms_of_pass(&trace, w.arena, k, &at);
    cr_assert(*at == 0, "nothing behind the last line");
    free(text);
    end(&w, t);
}

/* ---- the picture ---- */

static void expect_picture(const NnLstmTrace *trace, const char *const *labels,
                           const NnLstmTracePicture *picture, int panels, const char *text) {
    TensorError error = {""};
    cr_assert(nn_lstm_trace_write_svg(trace, path, labels, picture, &error), "%s", error.message);
    char *svg = read_text(path);
    cr_assert(xml_wrong(svg) == NULL, "%s", xml_wrong(svg));
    cr_assert(strstr(svg, text), "no %s in %s", text, svg);
    /* Each panel has the frames of its cells and of its bar. */
    cr_assert(xml_count(svg, "fill=\"none\"") == 2 * panels, "%d frames, not of %d panels",
              xml_count(svg, "fill=\"none\""), panels);
    int gradients = panels - 6 - (picture && picture->norms ? 2 : 0);
    cr_assert(xml_count(svg, "dL/d") == gradients, "%d panels, %d of gradients", panels, gradients);
    free(svg);
}

/* Runs of grey cells, one a row: those that begin at the left edge, and all. */
static void expect_greys(int at_the_left, int all) {
    static const char grey[] = "fill=\"#b0b0b0\"", frame[] = "fill=\"none\"", rect[] = "<rect ";
    char *svg = read_text(path), left[32] = "";
    int first = 0;
    for (int pass = 0; pass < 2; pass++) /* the edge, then the runs */
        for (const char *at = strstr(svg, rect); at; at = strstr(at + 1, rect)) {
            const char *end = strchr(at, '>'), *fill = strstr(at, pass ? grey : frame);
            if (!fill || fill > end) continue;
            if (pass) first += strncmp(at, left, strlen(left)) == 0;
            else if (!*left) snprintf(left, sizeof left, "%.*s", (int)(strstr(at, " y=") - at), at);
        }
    cr_assert(*left && first == at_the_left, "%d at the left", first);
    cr_assert(xml_count(svg, grey) == all, "%d in all", xml_count(svg, grey));
    free(svg);
}

Test(lstm_trace, the_picture_shows_one_sequence) {
    World w = world();
    AgTape *t = ag_tape_new();
    NnLstmTrace trace = trace_of(&w, t);
    const char *const labels[T] = {"<s>", "\u4e2d", "&", "last"};
    expect_picture(&trace, NULL, NULL, 6, ">lstm: layer 0, sequence 0</text>");
    expect_picture(&trace, labels, NULL, 6, ">&lt;s&gt;</text>");
    expect_picture(&trace, labels, NULL, 6, ">last</text>");
    cr_assert(ag_backward(loss_on(&w, &trace)));
    NnLstmTracePicture picture = {.layer = 1, .direction = 1, .sequence = 2, .gradients = true};
    expect_picture(&trace, labels, &picture, 12, "lstm: layer 1 in reverse, sequence 2");
    expect_picture(&trace, labels, &picture, 12, ">\u4e2d</text>");
    char *svg = read_text(path);
    cr_assert(!strstr(svg, "last"), "a sequence of 2 steps has 2 columns");
    free(svg);
    picture.norms = true; /* of 2 steps in reverse, t = 1 does not depend on s = 0 */
    expect_picture(&trace, labels, &picture, 14, "log10 ||dc_t/dc_s||");
    expect_greys(0, 2);
    picture = (NnLstmTracePicture){.norms = true}; /* of 4 forward: t = 0..2 on s = 3, and so on */
    expect_picture(&trace, NULL, &picture, 8, "log10 ||dh_t/dh_s||");
    expect_greys(6, 6);
    picture = (NnLstmTracePicture){.sequence = 1, .gradients = true, .norms = true,
                                   .title = "none & \"nil\""};
    expect_picture(&trace, labels, &picture, 14, "none &amp; &quot;nil&quot;");
    end(&w, t);

    NnParamSet *set;
    NnLstm m = make(&(NnLstmOptions){.coupled = true, .proj_size = P}, TENSOR_F32, &set);
    TensorArena *a = tensor_arena_new();
    t = ag_tape_new();
    Tensor x = input(&m.options, a, TENSOR_F32);
    trace = nn_lstm_trace(&m, ag_input(t, &x), NULL, NULL);
    cr_assert(ag_backward(ag_sum(trace.out.y, AG_ALL_AXES, false)));
    expect_picture(&trace, NULL, &(NnLstmTracePicture){.gradients = true}, 11,
                   "dL/da, output gate");
    ag_tape_free(t);
    tensor_arena_free(a);
    nn_params_free(set);
}

/* ---- failures ---- */

static void expect_all_fail(const NnLstmTrace *trace, TensorArena *a, const char *word) {
    TensorError error[5] = {{""}, {""}, {""}, {""}, {""}};
    Tensor x = nn_lstm_trace_get(trace, a, 0, 0, "h", &error[0]);
    Tensor norm = nn_lstm_trace_norms(trace, a, 0, 0, "h", 0, &error[1]);
    cr_assert(tensor_is_nil(&x) && tensor_is_nil(&norm));
    cr_assert(!nn_lstm_trace_write_csv(trace, path, &error[2]));
    cr_assert(!nn_lstm_trace_write_svg(trace, path, NULL, NULL, &error[3]));
    cr_assert(!nn_lstm_trace_write_norms_csv(trace, path, &error[4]));
    for (int i = 0; i < 5; i++) cr_assert(strstr(error[i].message, word), "%s", error[i].message);
    cr_assert(access(path, F_OK) != 0, "no file was made");
}

Test(lstm_trace, a_trace_that_failed_says_so) {
    World w = world();
    AgTape *t = ag_tape_new();
    expect_all_fail(&(NnLstmTrace){0}, w.arena, "failed");
    expect_all_fail(&(NnLstmTrace){.out.y = {t, 0, 0}}, w.arena, "failed");

    NnLstmTrace trace = nn_lstm_trace(&w.lstm, (AgVar){0}, NULL, NULL);
    expect_all_fail(&trace, w.arena, "failed");
    trace = nn_lstm_trace(&w.lstm, ag_input(t, &w.on_y), NULL, NULL);
    cr_assert(!ag_tape_ok(t) && !ag_ok(trace.out.y) && !ag_ok(trace.out.hn));
    expect_all_fail(&trace, w.arena, "expected x [T,B,2], got f64[4,3,6]");
    trace = nn_lstm_trace(&w.lstm, ag_input(t, &w.x), NULL, NULL); /* the tape has failed */
    expect_all_fail(&trace, w.arena, "expected x [T,B,2]");

    ag_tape_reset(t);
    const int64_t bad[B] = {1, T + 1, 0};
    trace = nn_lstm_trace(&w.lstm, ag_input(t, &w.x), NULL, bad);
    expect_all_fail(&trace, w.arena, "length");

    ag_tape_reset(t);
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    const int numbers[] = {-1, INT_MAX};
    for (int i = 0; i < 2; i++) {
        NnLstm m = nn_lstm_make(set, "", 2, 3, &(NnLstmOptions){.num_layers = numbers[i]});
        trace = nn_lstm_trace(&m, ag_input(t, &w.x), NULL, NULL);
        expect_all_fail(&trace, w.arena, "lstm: was not made");
        ag_tape_reset(t);
    }
    nn_params_free(set);

    AgVar before = ag_input(t, &w.x);
    trace = trace_of(&w, t);
    ag_tape_reset(t);
    expect_all_fail(&trace, w.arena, "stale");
    trace = nn_lstm_trace(&w.lstm, before, NULL, NULL);
    expect_all_fail(&trace, w.arena, "lstm: x: stale variable");

    ag_tape_reset(t);
    AgTapeMark mark = ag_tape_mark(t);
    trace = trace_of(&w, t);
    cr_assert(ag_tape_release(t, mark, 1, &trace.out.y));
    expect_all_fail(&trace, w.arena, "stale");
    end(&w, t);
}

Test(lstm_trace, what_is_not_there_is_told) {
    World w = world();
    AgTape *t = ag_tape_new();
    NnLstmTrace trace = trace_of(&w, t);
    const struct {
        int layer, direction;
        const char *name, *word;
    } gets[] = {
        {-1, 0, "h", "layer -1 of 2"},    {L, 0, "h", "layer 2 of 2"},
        {0, -1, "h", "direction -1 of 2"}, {0, D, "h", "direction 2 of 2"},
        {0, 0, "x", "no quantity \"x\""},  {0, 0, "", "no quantity \"\""},
        {0, 0, "dh", "no ag_backward"},   {0, 0, "da", "no ag_backward"},
    };
    for (size_t i = 0; i < sizeof gets / sizeof *gets; i++) {
        TensorError error = {""};
        Tensor x = nn_lstm_trace_get(&trace, w.arena, gets[i].layer, gets[i].direction,
                                     gets[i].name, &error);
        cr_assert(tensor_is_nil(&x) && strstr(error.message, gets[i].word), "%s", error.message);
        x = nn_lstm_trace_get(&trace, w.arena, gets[i].layer, gets[i].direction, gets[i].name,
                              NULL);
        cr_assert(tensor_is_nil(&x));
    }
    const struct {
        int layer, direction;
        const char *state;
        int64_t t;
        const char *word;
    } norms[] = {
        {L, 0, "h", 0, "layer 2 of 2"}, {0, 0, "o", 0, "no state \"o\""},
        {0, 0, "h", T, "step 4 of 4"},  {0, 0, "h", -2, "step -2 of 4"},
    };
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        TensorError error = {""};
        Tensor x = nn_lstm_trace_norms(&trace, w.arena, norms[i].layer, norms[i].direction,
                                       norms[i].state, norms[i].t, &error);
        cr_assert(tensor_is_nil(&x) && strstr(error.message, norms[i].word), "%s", error.message);
    }
    const struct {
        NnLstmTracePicture picture;
        const char *word;
    } pictures[] = {
        {{.layer = L}, "layer 2 of 2"},       {{.direction = D}, "direction 2 of 2"},
        {{.sequence = -1}, "sequence -1 of 3"}, {{.sequence = B}, "sequence 3 of 3"},
        {{.gradients = true}, "no ag_backward"},
    };
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
        TensorError error = {""};
        cr_assert(!nn_lstm_trace_write_svg(&trace, path, NULL, &pictures[i].picture, &error));
        cr_assert(strncmp(error.message, path, strlen(path)) == 0);
        cr_assert(strstr(error.message, pictures[i].word), "%s", error.message);
    }
    /* A loss that does not depend on the LSTM. */
    AgVar other = nn_var(t, nn_params_at(w.set, 0));
    cr_assert(ag_backward(ag_sum(other, AG_ALL_AXES, false)));
    TensorError error = {""};
    Tensor x = nn_lstm_trace_get(&trace, w.arena, 0, 0, "dh", &error);
    cr_assert(tensor_is_nil(&x) && strstr(error.message, "no ag_backward"), "%s", error.message);
    end(&w, t);
}

Test(lstm_trace, without_gradients_values_are_there_and_norms_are_not) {
    World w = world();
    AgTape *t = ag_tape_new();
    ag_tape_no_grad(t, true);
    NnLstmTrace trace = trace_of(&w, t);
    ag_tape_no_grad(t, false);
    static Run r;
    run(&w, &(Push){0}, &r);
    Tensor h = get(&trace, w.arena, 0, "h");
    expect_near(&h, &r.h[0][0][0][0], 1e-13, "h");
    TensorError error = {""};
    Tensor norm = nn_lstm_trace_norms(&trace, w.arena, 0, 0, "h", 0, &error);
    cr_assert(tensor_is_nil(&norm) && strstr(error.message, "without gradients"));
    cr_assert(!nn_lstm_trace_write_norms_csv(&trace, path, &error));
    cr_assert(strstr(error.message, "without gradients"), "%s", error.message);
    const NnLstmTracePicture picture = {.norms = true};
    cr_assert(!nn_lstm_trace_write_svg(&trace, path, NULL, &picture, &error));
    cr_assert(strstr(error.message, "without gradients"), "%s", error.message);
    cr_assert(access(path, F_OK) != 0, "no file was made");
    end(&w, t);
}

Test(lstm_trace, files_that_cannot_be_written_are_told) {
    World w = world();
    AgTape *t = ag_tape_new();
    NnLstmTrace trace = trace_of(&w, t);
    char folder[TEST_PATH_SIZE];
    test_folder_of(path, folder);
    const char *const paths[] = {"/nowhere/file", folder};
    for (int i = 0; i < 2; i++) {
        TensorError error = {""};
        cr_assert(!nn_lstm_trace_write_csv(&trace, paths[i], &error));
        cr_assert(strncmp(error.message, paths[i], strlen(paths[i])) == 0, "%s", error.message);
        error.message[0] = 0;
        cr_assert(!nn_lstm_trace_write_norms_csv(&trace, paths[i], &error));
        cr_assert(strncmp(error.message, paths[i], strlen(paths[i])) == 0, "%s", error.message);
        error.message[0] = 0;
        cr_assert(!nn_lstm_trace_write_svg(&trace, paths[i], NULL, NULL, &error));
        cr_assert(strncmp(error.message, paths[i], strlen(paths[i])) == 0, "%s", error.message);
    }
    end(&w, t);
}

/* A tape that fails later still has the values, and norms give its error. */
Test(lstm_trace, a_later_error_of_the_tape_leaves_the_values) {
    World w = world();
    AgTape *t = ag_tape_new();
    NnLstmTrace trace = trace_of(&w, t);
    ag_fail(t, "something else");
    get(&trace, w.arena, 0, "h");
    TensorError error = {""};
    Tensor norm = nn_lstm_trace_norms(&trace, w.arena, 0, 0, "h", 1, &error);
    cr_assert(tensor_is_nil(&norm) && strstr(error.message, "something else"), "%s",
              error.message);
    end(&w, t);
}
