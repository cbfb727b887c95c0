/* Truncated backpropagation through time: every step counts once, for all sizes of windows, the
 * gradient is the one of a graph cut by hand, and what truncation costs is what
 * docs/truncation.md says. */
#include "nn/tbptt.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/embedding.h"
#include "nn/linear.h"
#include "optim/optim.h"
#include "tests/support/read_text.h"

#define EXPECT_MESSAGE(t, text) \
    cr_expect(strstr(ag_tape_error(t), text), "%s", ag_tape_error(t))

/* docs/truncation.md shows this text. */
static void expect_in_doc(const char *text) {
    char *doc = read_text("docs/truncation.md");
    cr_expect(strstr(doc, text), "docs/truncation.md does not show:\n%s", text);
    free(doc);
}

/* ---- windows ---- */

enum { MAX_T = 40, MAX_K = 12 };

static int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }

/* Window n of the stream, as the header defines it. */
static void expect_window(const NnTbptt *w, int64_t n) {
    int64_t end = min((n + 1) * w->k1, w->T);
    int64_t start = w->k2 < w->T ? max((n + 1) * w->k1 - w->k2, 0) : 0;
    cr_assert(w->start == start && w->start + w->length == end && w->skip >= 0 && w->counted > 0 &&
                  w->skip + w->counted == w->length && w->carry >= 0 && w->carry <= w->length,
              "window %lld of T %lld, k1 %lld, k2 %lld: %lld + %lld, skips %lld, counts %lld, "
              "carries %lld", (long long)n, (long long)w->T, (long long)w->k1, (long long)w->k2,
              (long long)w->start, (long long)w->length, (long long)w->skip,
              (long long)w->counted, (long long)w->carry);
    if (w->k1 == w->k2) cr_assert(w->skip == 0 && w->carry == w->length);
}

/* How far back the loss of step s reaches, itself included. */
static int64_t reach(int64_t T, int64_t k1, int64_t k2, int64_t s) {
    return k2 >= T ? s + 1 : min(s + 1, k2 - k1 + 1 + s % k1);
}

static void expect_windows(AgTape *t, int64_t T, int64_t k1, int64_t k2) {
    NnTbptt w = nn_tbptt(T, k1, k2);
    int64_t n = 0, done = 0, stored = 0; /* st has the state after `stored` steps of the stream */
    for (; nn_tbptt_next(&w, t); n++) {
        expect_window(&w, n);
        cr_assert_eq(w.start, stored, "the window starts where the stored state is");
        cr_assert_eq(w.start + w.skip, done, "each step counts once, in order");
        if (w.start > 0 && w.counted == k1) cr_assert_eq(w.length, k2);
        for (int64_t s = w.skip; s < w.length; s++)
            cr_assert_eq(s + 1, reach(T, k1, k2, w.start + s));
        done += w.counted;
        stored = w.start + w.carry;
    }
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    cr_assert(done == T && stored == T && n == (T + k1 - 1) / k1);
    cr_assert(!nn_tbptt_next(&w, t), "the end is the end");
}

Test(tbptt, every_step_counts_once_and_every_window_starts_at_the_stored_state) {
    AgTape *t = ag_tape_new();
    for (int64_t T = 0; T <= MAX_T; T++)
        for (int64_t k1 = 1; k1 <= MAX_K; k1++) {
            for (int64_t k2 = k1; k2 <= MAX_K; k2++) expect_windows(t, T, k1, k2);
            expect_windows(t, T, k1, NN_TBPTT_FULL);
        }
    ag_tape_free(t);
}

static void expect_next(NnTbptt *w, AgTape *t, int64_t start, int64_t skip, int64_t length,
                        int64_t carry) {
    cr_assert(nn_tbptt_next(w, t), "%s", ag_tape_error(t));
    cr_expect(w->start == start && w->skip == skip && w->length == length && w->carry == carry,
              "%lld, skips %lld of %lld, carries %lld", (long long)w->start, (long long)w->skip,
              (long long)w->length, (long long)w->carry);
}

Test(tbptt, windows_grow_overlap_and_end_with_the_stream) {
    AgTape *t = ag_tape_new();
    NnTbptt w = nn_tbptt(9, 2, 5);
    expect_next(&w, t, 0, 0, 2, 0);
    expect_next(&w, t, 0, 2, 4, 1);
    expect_next(&w, t, 1, 3, 5, 2);
    expect_next(&w, t, 3, 3, 5, 2);
    expect_next(&w, t, 5, 3, 4, 4);
    cr_expect(!nn_tbptt_next(&w, t));
    w = nn_tbptt(7, 3, 3);
    expect_next(&w, t, 0, 0, 3, 3);
    expect_next(&w, t, 3, 0, 3, 3);
    expect_next(&w, t, 6, 0, 1, 1);
    cr_expect(!nn_tbptt_next(&w, t));
    ag_tape_free(t);
}

Test(tbptt, the_drawing_of_windows_is_theirs) {
    AgTape *t = ag_tape_new();
    NnTbptt w = nn_tbptt(9, 2, 5);
    char text[1000];
    size_t n = (size_t)snprintf(text, sizeof text, "    step      0 1 2 3 4 5 6 7 8\n");
    for (int k = 0; nn_tbptt_next(&w, t); k++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "    window %d %*s", k, (int)w.start * 2,
                              "");
        for (int64_t s = 0; s <= w.length; s++) {
            n += (size_t)snprintf(text + n, sizeof text - n, "%s",
                                  s && s == w.carry ? "|" : s < w.length ? " " : "");
            if (s < w.length) text[n++] = s < w.skip ? '.' : 'L';
        }
        text[n++] = '\n';
        text[n] = 0;
    }
    expect_in_doc(text);
    ag_tape_free(t);
}

Test(tbptt, no_size_overflows) {
    AgTape *t = ag_tape_new();
    const int64_t most = INT64_MAX, half = most / 2 + 1;
    NnTbptt w = nn_tbptt(most, most, most);
    expect_next(&w, t, 0, 0, most, most);
    cr_expect(!nn_tbptt_next(&w, t));
    w = nn_tbptt(most, half, most - 1);
    expect_next(&w, t, 0, 0, half, 2);
    expect_next(&w, t, 2, half - 2, most - 2, most - 2);
    cr_expect(!nn_tbptt_next(&w, t) && ag_tape_ok(t));
    ag_tape_free(t);
}

Test(tbptt, wrong_sizes_are_one_error_and_no_window) {
    AgTape *t = ag_tape_new();
    const struct {
        int64_t T, k1, k2;
        const char *message;
    } wrong[] = {{-1, 1, 1, "tbptt: a stream of -1 steps"},
                 {5, 0, 1, "tbptt: an update every k1 = 0 steps"},
                 {5, -2, 1, "k1 = -2"},
                 {5, 3, 2, "tbptt: k2 = 2, the steps a gradient goes back, is below k1 = 3"},
                 {5, 1, 0, "k2 = 0"},
                 {0, 1, INT64_MIN, "is below k1 = 1"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ag_tape_reset(t);
        NnTbptt w = nn_tbptt(wrong[i].T, wrong[i].k1, wrong[i].k2);
        cr_expect(!nn_tbptt_next(&w, t));
        EXPECT_MESSAGE(t, wrong[i].message);
    }
    ag_tape_free(t);
}

Test(tbptt, the_tape_is_reset_for_each_window_and_kept_after_the_last) {
    AgTape *t = ag_tape_new();
    NnTbptt w = nn_tbptt(2, 1, 1);
    AgVar v[3] = {ag_scalar(t, TENSOR_F64, 1)};
    for (int n = 1; n <= 2; n++) {
        cr_assert(nn_tbptt_next(&w, t));
        cr_expect(!ag_ok(v[n - 1]));
        v[n] = ag_scalar(t, TENSOR_F64, n);
    }
    cr_expect(!nn_tbptt_next(&w, t));
    cr_expect_eq(ag_item(v[2]), 2);
    ag_tape_free(t);
}

Test(tbptt, an_error_ends_the_loop_and_is_kept) {
    AgTape *t = ag_tape_new();
    NnTbptt w = nn_tbptt(10, 1, 3);
    int windows = 0;
    while (nn_tbptt_next(&w, t))
        if (++windows == 4) ag_fail(t, "on purpose");
    cr_expect_eq(windows, 4);
    EXPECT_MESSAGE(t, "on purpose");
    cr_expect_eq(w.start + w.length, 4, "the window of the error is still told");
    ag_tape_free(t);
}

/* ---- x_t = w x_{t-1}: the numbers of docs/truncation.md ---- */

static double wv = .2, wg;
static AgVar weight(AgTape *t) {
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(&wv, TENSOR_F64, 0, NULL),
                   .grad = tensor_wrap(&wg, TENSOR_F64, 0, NULL)};
    return ag_leaf(t, &wv, &leaf);
}

typedef enum { RIGHT, COUNT_ALL, STORE_LAST } Use;
typedef struct {
    double dw; /* of the losses */
    double x3; /* as the last window has it */
} Worked;

/* Windows with the loss x3 (or x1 + x2 + x3), by the loop of the header or a wrong one. */
static Worked by_windows(int64_t k1, int64_t k2, bool all_losses, Use use) {
    AgTape *t = ag_tape_new();
    NnState *st = nn_state_new(TENSOR_F64);
    cr_assert(nn_state_store(st, "x", ag_scalar(t, TENSOR_F64, .9)));
    wg = 0;
    double last = NAN;
    NnTbptt w = nn_tbptt(3, k1, k2);
    while (nn_tbptt_next(&w, t)) {
        AgVar x = nn_state_load(st, t, "x", 0, NULL);
        AgVar loss = ag_affine(weight(t), 0, 0);
        int64_t carry = use == STORE_LAST ? w.length : w.carry;
        int64_t skip = use == COUNT_ALL ? 0 : w.skip;
        for (int64_t s = 0; s < w.length; s++) {
            x = ag_mul(weight(t), x);
            if (s + 1 == carry) nn_state_store(st, "x", x);
            if (s >= skip && (all_losses || w.start + s == 2)) loss = ag_add(loss, x);
        }
        ag_backward(loss);
        last = ag_item(x);
    }
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    nn_state_free(st);
    ag_tape_free(t);
    return (Worked){wg, last};
}

static void expect_worked(int64_t k1, int64_t k2, bool all_losses, Use use, double dw, double x3) {
    Worked got = by_windows(k1, k2, all_losses, use);
    cr_expect_float_eq(got.dw, dw, 1e-15, "k1 %d, k2 %d: %.17g", (int)k1, (int)k2, got.dw);
    cr_expect_float_eq(got.x3, x3, 1e-15, "k1 %d, k2 %d: %.17g", (int)k1, (int)k2, got.x3);
}

Test(tbptt, the_worked_example_has_the_terms_within_reach) {
    const double x3 = .0072;
    const struct {
        int k1, k2;
        const char *steps;
        double dw;
    } rows[] = {{1, 1, "step 3", .036},
                {1, 2, "steps 2 and 3", .072},
                {1, 3, "steps 1 to 3", .108},
                {2, 2, "step 3, the first of its window", .036},
                {2, 3, "steps 1 to 3", .108},
                {3, 3, "steps 1 to 3", .108}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect_worked(rows[i].k1, rows[i].k2, false, RIGHT, rows[i].dw, x3);
        char row[200];
        snprintf(row, sizeof row, "| %d | %d | %s | %g |\n", rows[i].k1, rows[i].k2, rows[i].steps,
                 rows[i].dw);
        expect_in_doc(row);
    }
    expect_worked(1, NN_TBPTT_FULL, false, RIGHT, .108, x3);
    expect_worked(1, 3, true, RIGHT, .9 + .36 + .108, x3);
    expect_worked(2, NN_TBPTT_FULL, true, RIGHT, .9 + .36 + .108, x3);
    expect_worked(1, 2, true, RIGHT, .9 + .36 + .072, x3);
    expect_worked(1, 1, true, RIGHT, .9 + .18 + .036, x3);
}

Test(tbptt, the_mistakes_of_the_page_give_its_wrong_numbers) {
    expect_worked(1, 2, true, RIGHT, 1.332, .0072);
    expect_worked(1, 2, true, COUNT_ALL, .9 + (.9 + .36) + (.18 + .072), .0072);
    expect_worked(1, 2, true, STORE_LAST, .9 + .072 + .00288, .000288);
    expect_in_doc("0.9 + 0.36 + 0.072 = 1.332");
    expect_in_doc("window 2: 0.9 + 0.36    window 3: 0.18 + 0.072        dw = 2.412");
    expect_in_doc("\"x3\" = 0.000288");
}

/* ---- layers ---- */

typedef enum { RNN, GRU, LSTM } Kind;
enum { I = 2, B = 3, MAX_GRADIENT = 1000 };

typedef struct {
    Kind kind;
    int64_t T, H;
    int L;
    NnParamSet *set;
    NnRnn rnn;
    NnGru gru;
    NnLstm lstm;
    TensorArena *arena;
    Tensor x, y; /* inputs [T, B, I], targets [T, B, H] */
    AgTape *t;
} Model;

static Tensor random_tensor(TensorArena *a, int64_t T, int64_t n, uint64_t draw) {
    Tensor x = tensor_new(a, TENSOR_F64, 3, (int64_t[]){T, B, n});
    cr_assert(!tensor_is_nil(&x));
    tensor_rng_fill_uniform(&x, (TensorRngKey){3, 0, draw}, -1, 1);
    return x;
}

/* forget_bias: of an LSTM; 0 leaves PyTorch's. */
static Model start(Kind kind, int L, int64_t T, int64_t H, double forget_bias) {
    Model m = {.kind = kind, .T = T, .H = H, .L = L, .set = nn_params_new(TENSOR_F64, 1),
               .arena = tensor_arena_new(), .t = ag_tape_new()};
    NnLstmOptions lstm = {.num_layers = L, .has_forget_bias = forget_bias > 0,
                          .forget_bias = forget_bias};
    NnGruOptions gru = {.num_layers = L};
    NnRnnOptions rnn = {.num_layers = L};
    if (kind == LSTM) m.lstm = nn_lstm_make(m.set, "lstm", I, H, &lstm);
    if (kind == GRU) m.gru = nn_gru_make(m.set, "gru", I, H, &gru);
    if (kind == RNN) m.rnn = nn_rnn_make(m.set, "rnn", I, H, &rnn);
    cr_assert(nn_params_ok(m.set), "%s", nn_params_error(m.set));
    m.x = random_tensor(m.arena, T, I, 0);
    m.y = random_tensor(m.arena, T, H, 1);
    return m;
}

static void stop(Model *m) {
    ag_tape_free(m->t);
    nn_params_free(m->set);
    tensor_arena_free(m->arena);
}

static AgVar input(const Model *m, const Tensor *x, int64_t start_at, int64_t length) {
    Tensor part = tensor_narrow(x, 0, start_at, length);
    return ag_input(m->t, &part);
}

static AgVar loss_of(const Model *m, AgVar h, int64_t start_at, int64_t length) {
    return ag_mse_loss(h, input(m, &m->y, start_at, length), AG_SUM);
}

static AgVar run_window(const Model *m, const NnTbptt *w, AgVar x, NnState *st) {
    if (m->kind == LSTM) return nn_tbptt_lstm(w, &m->lstm, x, st);
    if (m->kind == GRU) return nn_tbptt_gru(w, &m->gru, x, st);
    return nn_tbptt_rnn(w, &m->rnn, x, st);
}

/* The layer itself, from s[0..1] on. */
static AgVar run(const Model *m, AgVar x, AgVar *s) {
    NnLstmState before = {s[0], s[1]};
    NnLstmOutput o = {{0}, {0}, {0}};
    NnRnnOutput r = {{0}, {0}};
    if (m->kind == LSTM) o = nn_lstm(&m->lstm, x, &before, NULL);
    if (m->kind == GRU) r = nn_gru(&m->gru, x, s[0], NULL);
    if (m->kind == RNN) r = nn_rnn(&m->rnn, x, s[0], NULL);
    s[0] = m->kind == LSTM ? o.hn : r.hn;
    s[1] = o.cn;
    return m->kind == LSTM ? o.y : r.y;
}

static int64_t take_gradient(const Model *m, double *g) {
    int64_t n = 0;
    for (int i = 0; i < nn_params_count(m->set); i++) {
        const Tensor *grad = &nn_params_at(m->set, i)->grad;
        cr_assert_leq(n + tensor_numel(grad), MAX_GRADIENT);
        for (int64_t k = 0; k < tensor_numel(grad); k++) g[n++] = tensor_get(grad, k);
    }
    return n;
}

/* The loop of the header, without updates.  losses, if not NULL, gets the sum of the losses. */
static int64_t windowed_gradient(const Model *m, int64_t k1, int64_t k2, double *g,
                                 double *losses) {
    NnState *st = nn_state_new(TENSOR_F64);
    double sum = 0;
    nn_zero_grad(m->set);
    NnTbptt w = nn_tbptt(m->T, k1, k2);
    while (nn_tbptt_next(&w, m->t)) {
        AgVar h = run_window(m, &w, input(m, &m->x, w.start, w.length), st);
        AgVar loss = loss_of(m, ag_narrow(h, 0, w.skip, w.counted), w.start + w.skip, w.counted);
        ag_backward(loss);
        sum += ag_item(loss);
    }
    cr_assert(ag_tape_ok(m->t), "%s", ag_tape_error(m->t));
    nn_state_free(st);
    if (losses) *losses = sum;
    return take_gradient(m, g);
}

static void zero_state(const Model *m, AgVar *s) {
    for (int i = 0; i < 2; i++)
        s[i] = ag_full(m->t, TENSOR_F64, 3, (int64_t[]){m->L, B, m->H}, 0);
}

/* One graph from the stream's start for each loss, cut by hand `reach` steps before it. */
static int64_t cut_gradient(const Model *m, int64_t k1, int64_t k2, double *g) {
    nn_zero_grad(m->set);
    for (int64_t last = 0; last < m->T; last++) {
        ag_tape_reset(m->t);
        AgVar s[2], h = {0};
        zero_state(m, s);
        for (int64_t n = 0; n <= last; n++) {
            if (n == last + 1 - reach(m->T, k1, k2, last))
                for (int i = 0; i < 2; i++) s[i] = ag_ok(s[i]) ? ag_detach(s[i]) : s[i];
            h = run(m, input(m, &m->x, n, 1), s);
        }
        cr_assert(ag_backward(loss_of(m, h, last, 1)), "%s", ag_tape_error(m->t));
    }
    return take_gradient(m, g);
}

static int64_t full_gradient(const Model *m, double *g, double *loss) {
    nn_zero_grad(m->set);
    ag_tape_reset(m->t);
    AgVar s[2];
    zero_state(m, s);
    AgVar l = loss_of(m, run(m, input(m, &m->x, 0, m->T), s), 0, m->T);
    cr_assert(ag_backward(l), "%s", ag_tape_error(m->t));
    if (loss) *loss = ag_item(l);
    return take_gradient(m, g);
}

/* |a - b| / |b|, and the cosine of their angle */
typedef struct {
    double error, cosine;
} Bias;

static Bias compare(int64_t n, const double *a, const double *b) {
    double aa = 0, ab = 0, bb = 0, dd = 0;
    for (int64_t i = 0; i < n; i++) {
        aa += a[i] * a[i];
        ab += a[i] * b[i];
        bb += b[i] * b[i];
        dd += (a[i] - b[i]) * (a[i] - b[i]);
    }
    return (Bias){sqrt(dd / bb), ab / sqrt(aa * bb)};
}

Test(tbptt, the_gradient_is_that_of_a_graph_cut_by_hand) {
    for (Kind kind = RNN; kind <= LSTM; kind++) {
        Model m = start(kind, 2, 7, 3, 1);
        for (int64_t k1 = 1; k1 <= m.T + 1; k1++)
            for (int64_t k2 = k1; k2 <= m.T + 1; k2++) {
                double got[MAX_GRADIENT], want[MAX_GRADIENT];
                int64_t n = windowed_gradient(&m, k1, k2, got, NULL);
                cut_gradient(&m, k1, k2, want);
                Bias b = compare(n, got, want);
                cr_expect_lt(b.error, 1e-13, "kind %d, k1 %d, k2 %d: %g", kind, (int)k1, (int)k2,
                             b.error);
            }
        stop(&m);
    }
}

Test(tbptt, with_k2_from_T_on_it_is_the_full_gradient_and_the_loss_always_is) {
    for (Kind kind = RNN; kind <= LSTM; kind++) {
        Model m = start(kind, 1, 12, 4, 1);
        double got[MAX_GRADIENT], want[MAX_GRADIENT], loss, full_loss;
        int64_t n = full_gradient(&m, want, &full_loss);
        for (int64_t k1 = 1; k1 <= m.T; k1++) {
            const int64_t full[] = {m.T, m.T + 1, NN_TBPTT_FULL};
            for (size_t i = 0; i < sizeof full / sizeof *full; i++) {
                windowed_gradient(&m, k1, full[i], got, &loss);
                Bias b = compare(n, got, want);
                cr_expect_lt(b.error, 1e-12, "kind %d, k1 %d: %g", kind, (int)k1, b.error);
            }
            windowed_gradient(&m, k1, k1 + 1, got, &loss);
            cr_expect_float_eq(loss, full_loss, 1e-12 * full_loss, "every step has its own loss");
        }
        stop(&m);
    }
}

static const Tensor *stored(const Model *m, NnState *st, const char *name, int64_t size) {
    return ag_value(nn_state_load(st, m->t, name, 3, (int64_t[]){m->L, B, size}));
}

static void expect_equal(const Tensor *a, const Tensor *b) {
    cr_assert(tensor_same_shape(a, b) && tensor_numel(a) > 0);
    for (int64_t i = 0; i < tensor_numel(a); i++)
        cr_assert_float_eq(tensor_get(a, i), tensor_get(b, i), 1e-14);
}

Test(tbptt, a_layer_stores_its_state_after_carry_steps_under_its_name) {
    Model m = start(LSTM, 2, 9, 4, 1);
    m.lstm = nn_lstm_make(m.set, "projected", I, m.H, &(NnLstmOptions){.num_layers = 2,
                                                                       .proj_size = 3});
    cr_assert(nn_params_ok(m.set), "%s", nn_params_error(m.set));
    NnState *st = nn_state_new(TENSOR_F64);
    NnTbptt w = nn_tbptt(m.T, 2, 5);
    while (nn_tbptt_next(&w, m.t)) {
        AgVar h = nn_tbptt_lstm(&w, &m.lstm, input(&m, &m.x, w.start, w.length), st);
        NnLstmOutput all = nn_lstm(&m.lstm, input(&m, &m.x, 0, w.start + w.length), NULL, NULL);
        expect_equal(ag_value(h), ag_value(ag_narrow(all.y, 0, w.start, w.length)));
        const Tensor *hn = stored(&m, st, "projected.h", 3);
        const Tensor *cn = stored(&m, st, "projected.c", 4);
        if (w.carry == 0) {
            cr_expect_eq(tensor_get(hn, 0), 0, "nothing is stored while windows grow");
            continue;
        }
        all = nn_lstm(&m.lstm, input(&m, &m.x, 0, w.start + w.carry), NULL, NULL);
        expect_equal(hn, ag_value(all.hn));
        expect_equal(cn, ag_value(all.cn));
    }
    cr_assert(ag_tape_ok(m.t), "%s", ag_tape_error(m.t));
    nn_state_free(st);
    stop(&m);
}

Test(tbptt, batch_first_cuts_and_joins_the_second_axis) {
    Model m = start(GRU, 1, 9, 4, 0), same = start(GRU, 1, 9, 4, 0);
    m.gru.options.batch_first = true;
    NnState *st[] = {nn_state_new(TENSOR_F64), nn_state_new(TENSOR_F64)};
    NnTbptt w = nn_tbptt(m.T, 2, 3), w2 = w;
    while (nn_tbptt_next(&w, m.t) && nn_tbptt_next(&w2, same.t)) {
        AgVar x = ag_transpose(input(&m, &m.x, w.start, w.length), 0, 1);
        AgVar h = ag_transpose(nn_tbptt_gru(&w, &m.gru, x, st[0]), 0, 1);
        AgVar x2 = input(&same, &same.x, w.start, w.length);
        expect_equal(ag_value(h), ag_value(nn_tbptt_gru(&w, &same.gru, x2, st[1])));
    }
    cr_assert(ag_tape_ok(m.t), "%s", ag_tape_error(m.t));
    nn_state_free(st[0]);
    nn_state_free(st[1]);
    stop(&m);
    stop(&same);
}

Test(tbptt, windows_of_numbers_are_those_of_their_vectors) {
    for (int batch_first = 0; batch_first < 2; batch_first++) {
        AgTape *t = ag_tape_new();
        NnParamSet *set = nn_params_new(TENSOR_F64, 1);
        NnLstm m = nn_lstm_make(set, "lstm", 3, 4, &(NnLstmOptions){.batch_first = batch_first});
        NnState *st[] = {nn_state_new(TENSOR_F64), nn_state_new(TENSOR_F64)};
        int64_t numbers[] = {0, 2, 1, 1, 2, 0, 0, 1, 2, 2, 1, 0, 0, 2};
        Tensor all = tensor_wrap(numbers, TENSOR_I64, 2, (int64_t[]){7, 2});
        for (NnTbptt w = nn_tbptt(7, 2, 3); nn_tbptt_next(&w, t);) {
            Tensor window = tensor_narrow(&all, 0, w.start, w.length);
            AgVar x = ag_input(t, &window);
            if (batch_first) x = ag_transpose(x, 0, 1);
            AgVar vectors = ag_one_hot(x, 3, TENSOR_F64);
            AgVar h = nn_tbptt_lstm(&w, &m, x, st[0]), want = nn_tbptt_lstm(&w, &m, vectors, st[1]);
            cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
            expect_equal(ag_value(h), ag_value(want));
        }
        cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
        nn_state_free(st[0]);
        nn_state_free(st[1]);
        nn_params_free(set);
        ag_tape_free(t);
    }
}

static void expect_failed(const Model *m, AgVar y, const char *message) {
    cr_expect(!ag_ok(y));
    EXPECT_MESSAGE(m->t, message);
}

Test(tbptt, what_a_layer_refuses_is_told) {
    Model m = start(LSTM, 1, 9, 4, 1);
    NnState *st = nn_state_new(TENSOR_F64);
    NnTbptt w = nn_tbptt(m.T, 3, 3);
    cr_assert(nn_tbptt_next(&w, m.t));
    expect_failed(&m, nn_tbptt_lstm(&w, &m.lstm, input(&m, &m.x, 0, 4), st),
                  "tbptt lstm: expected x [T,B,I] with the window's T = 3 steps, got f64[4,3,2]");
    ag_tape_reset(m.t);
    AgVar numbers = ag_full(m.t, TENSOR_I64, 2, (int64_t[]){4, 5}, 0);
    expect_failed(&m, nn_tbptt_lstm(&w, &m.lstm, numbers, st),
                  "tbptt lstm: expected x [T,B] with the window's T = 3 steps, got i64[4,5]");
    ag_tape_reset(m.t);
    expect_failed(&m, nn_tbptt_lstm(&w, &m.lstm, ag_scalar(m.t, TENSOR_F64, 0), st), "got f64[]");
    ag_tape_reset(m.t);
    expect_failed(&m, nn_tbptt_lstm(&w, &m.lstm, input(&m, &m.x, 0, 3), NULL), "out of memory");
    ag_tape_reset(m.t);
    expect_failed(&m, nn_tbptt_lstm(&w, &m.lstm, (AgVar){m.t, 0, 0}, st), "failed variable");
    ag_tape_reset(m.t);
    NnLstm two = nn_lstm_make(m.set, "two", I, 4, &(NnLstmOptions){.bidirectional = true});
    expect_failed(&m, nn_tbptt_lstm(&w, &two, input(&m, &m.x, 0, 3), st), "bidirectional");
    ag_tape_reset(m.t);
    NnLstm wide = nn_lstm_make(m.set, "wide", I + 1, 4, NULL);
    expect_failed(&m, nn_tbptt_lstm(&w, &wide, input(&m, &m.x, 0, 3), st),
                  "tbptt lstm: expected x with I = 3, got f64[3,3,2]");
    ag_tape_reset(m.t);
    AgVar right = ag_full(m.t, TENSOR_F64, 3, (int64_t[]){3, 5, I + 1}, 1);
    cr_expect(ag_ok(nn_tbptt_lstm(&w, &wide, right, st)), "what was refused left no state");
    ag_tape_reset(m.t);
    nn_lstm_make(m.set, "lstm", I, 4, NULL); /* the name is in use */
    NnLstm unmade = nn_lstm_make(m.set, "other", I, 4, NULL);
    expect_failed(&m, nn_tbptt_lstm(&w, &unmade, input(&m, &m.x, 0, 3), st), "lstm");
    ag_tape_reset(m.t);
    NnLstm none = nn_lstm_make(m.set, "none", I, -4, &(NnLstmOptions){.num_layers = -1});
    expect_failed(&m, nn_tbptt_lstm(&w, &none, input(&m, &m.x, 0, 3), st), "lstm: was not made");
    ag_tape_reset(m.t);
    w = nn_tbptt(m.T, 3, 3);
    expect_failed(&m, nn_tbptt_lstm(&w, &m.lstm, input(&m, &m.x, 0, 3), st), "T = 0 steps");
    nn_state_free(st);
    stop(&m);
}

/* ---- the loop of the header ---- */

enum { DELAY = 3, STEPS = 100, STREAMS = 16 };

/* Mean loss in the last of 20 passes over random streams whose targets are the inputs three steps
 * before. */
static double train(int64_t k1, int64_t k2) {
    enum { T = STEPS, V = 3, H = 12, PASSES = 20 };
    int64_t id[(T + DELAY) * STREAMS];
    double random[(T + DELAY) * STREAMS];
    Tensor r = tensor_wrap(random, TENSOR_F64, 1, (int64_t[]){(T + DELAY) * STREAMS});
    tensor_rng_fill_uniform(&r, (TensorRngKey){1, 0, 0}, 0, V);
    for (int i = 0; i < (T + DELAY) * STREAMS; i++) id[i] = (int64_t)random[i];
    const int64_t shape[] = {T, STREAMS};
    Tensor x = tensor_wrap(id + DELAY * STREAMS, TENSOR_I64, 2, shape);
    Tensor y = tensor_wrap(id, TENSOR_I64, 2, shape);
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnEmbedding embedding = nn_embedding_make(set, "embedding", V, H, NULL);
    NnLstm lstm = nn_lstm_make(set, "lstm", H, H, NULL);
    NnLinear out = nn_linear_make(set, "out", H, V, NULL);
    OptimAdam adam = OPTIM_ADAM_DEFAULTS;
    adam.lr = .01;
    Optim *opt = optim_adam_new(set, adam);
    NnState *st = nn_state_new(TENSOR_F64);
    AgTape *t = ag_tape_new();
    double mean = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        nn_state_zero(st);
        mean = 0;
        NnTbptt w = nn_tbptt(T, k1, k2);
        while (nn_tbptt_next(&w, t)) {
            Tensor xw = tensor_narrow(&x, 0, w.start, w.length);
            Tensor yw = tensor_narrow(&y, 0, w.start + w.skip, w.counted);
            AgVar e = nn_embedding(&embedding, ag_input(t, &xw));
            AgVar h = nn_tbptt_lstm(&w, &lstm, e, st);
            AgVar logits = nn_linear(&out, ag_narrow(h, 0, w.skip, w.counted));
            AgVar loss = ag_cross_entropy(logits, ag_input(t, &yw), NULL);
            nn_zero_grad(set);
            if (ag_backward(loss)) optim_step(opt, NULL);
            mean += ag_item(loss) * (double)w.counted / T;
        }
        cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
        cr_assert(optim_ok(opt), "%s", optim_error(opt));
    }
    ag_tape_free(t);
    nn_state_free(st);
    optim_free(opt);
    nn_params_free(set);
    return mean;
}

Test(tbptt, what_is_within_reach_is_learned_and_what_is_not_is_not) {
    const struct {
        int k1, k2;
        const char *reach;
        double loss;
    } rows[] = {{3, 3, "1 to 3 steps", 1.1},
                {3, 4, "2 to 4 steps: one in three has what it needs", .12},
                {3, 6, "4 to 6 steps: all have", .05}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double loss = train(rows[i].k1, rows[i].k2);
        cr_expect_float_eq(loss, rows[i].loss, .02, "%s: %g", rows[i].reach, loss);
        char row[200];
        snprintf(row, sizeof row, "| %d | %d | %s | %g |\n", rows[i].k1, rows[i].k2, rows[i].reach,
                 rows[i].loss);
        expect_in_doc(row);
    }
}

/* ---- what truncation costs ---- */

enum { BIAS_T = 64, ROWS = 7 };

/* One table of docs/truncation.md: k2 = 1, 2, 4, .., T by k1 = k2, k2 / 2 and 1. */
typedef struct {
    Bias of[ROWS][3];
} Table;

static Table measure(Kind kind, double forget_bias) {
    Model m = start(kind, 1, BIAS_T, 8, forget_bias);
    double full[MAX_GRADIENT], g[MAX_GRADIENT];
    int64_t n = full_gradient(&m, full, NULL);
    Table table;
    for (int row = 0; row < ROWS; row++) {
        const int64_t k2 = 1 << row, k1[] = {k2, max(k2 / 2, 1), 1};
        for (int i = 0; i < 3; i++) {
            windowed_gradient(&m, k1[i], k2, g, NULL);
            table.of[row][i] = compare(n, g, full);
        }
    }
    stop(&m);
    return table;
}

/* Down each column and along each row the error falls; it ends at none. */
static void expect_falls(const Table *table) {
    for (int i = 0; i < 3; i++) {
        for (int row = 1; row < ROWS; row++) {
            Bias now = table->of[row][i], before = table->of[row - 1][i];
            cr_expect_lt(now.error, before.error, "row %d, column %d", row, i);
            cr_expect_gt(now.cosine, before.cosine - 1e-15, "row %d, column %d", row, i);
        }
        cr_expect_lt(table->of[ROWS - 1][i].error, 1e-12);
    }
    for (int row = 2; row < ROWS - 1; row++)
        for (int i = 1; i < 3; i++)
            cr_expect_lt(table->of[row][i].error, table->of[row][i - 1].error, "row %d", row);
}

static void expect_shown(const char *head, const Table *table) {
    char want[2000];
    size_t used = (size_t)snprintf(want, sizeof want,
                                   "| %s | k1 = k2 | cosine | k1 = k2/2 | cosine | k1 = 1 | cosine "
                                   "|\n|---|---|---|---|---|---|---|\n", head);
    for (int row = 0; row < ROWS; row++) {
        used += (size_t)snprintf(want + used, sizeof want - used, "| k2 = %d |", 1 << row);
        for (int i = 0; i < 3; i++) {
            Bias b = table->of[row][i];
            if (row == 0 && i == 1) /* k2 / 2 is no number of steps */
                used += (size_t)snprintf(want + used, sizeof want - used, " | |");
            else
                used += (size_t)snprintf(want + used, sizeof want - used, " %.2g | %.4f |",
                                         b.error < 1e-12 ? 0 : b.error, b.cosine);
        }
        used += (size_t)snprintf(want + used, sizeof want - used, "\n");
    }
    expect_in_doc(want);
}

Test(tbptt, the_bias_falls_with_the_reach_as_the_page_shows) {
    const struct {
        Kind kind;
        double forget_bias;
        const char *head;
    } cases[] = {{RNN, 0, "RNN"}, {LSTM, 0, "LSTM"}, {LSTM, 3, "LSTM, forget bias 3"}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        Table table = measure(cases[c].kind, cases[c].forget_bias);
        expect_falls(&table);
        expect_shown(cases[c].head, &table);
        if (cases[c].kind == RNN) { /* k2 = 32: what is left is the edge */
            cr_expect_lt(table.of[5][2].error, 1e-8);
            cr_expect_gt(table.of[5][0].error, 1e-2);
        }
    }
}
