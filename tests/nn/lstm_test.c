/* LSTM cell and sequences against loops written gate by gate, and gradients against
 * differences. */
#include "nn/lstm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/gradcheck/gradcheck.h"
#include "nn/state.h"

static Tensor random_tensor(TensorArena *a, int ndim, const int64_t *shape, uint64_t draw) {
    Tensor x = tensor_new(a, TENSOR_F64, ndim, shape);
    cr_assert(!tensor_is_nil(&x));
    tensor_rng_fill_uniform(&x, (TensorRngKey){3, 0, draw}, -1, 1);
    return x;
}

/* ---- the reference ---- */

static double logistic(double x) { return 1 / (1 + exp(-x)); }

typedef struct {
    const Tensor *w_ih, *w_hh, *b_ih, *b_hh; /* biases may be NULL */
} Weights;

static const Tensor *find(const NnParamSet *set, const char *prefix, const char *what,
                          const char *suffix) {
    char name[100];
    snprintf(name, sizeof name, "%s%s%s", prefix, what, suffix);
    const NnParam *p = nn_params_find(set, name);
    return p ? &p->value : NULL;
}

static Weights find_weights(const NnParamSet *set, const char *prefix, const char *suffix) {
    Weights w = {find(set, prefix, "weight_ih", suffix), find(set, prefix, "weight_hh", suffix),
                 find(set, prefix, "bias_ih", suffix), find(set, prefix, "bias_hh", suffix)};
    cr_assert(w.w_ih && w.w_hh, "names are PyTorch's");
    return w;
}

/* The sum in gate k (i, f, g, o) of unit j, from x [I] and h [H]. */
static double gate_sum(const Weights *w, int64_t H, int k, int64_t j, const double *x,
                       const double *h) {
    int64_t row = k * H + j, I = w->w_ih->shape[1];
    double sum = w->b_ih ? tensor_get(w->b_ih, row) + tensor_get(w->b_hh, row) : 0;
    for (int64_t n = 0; n < I; n++) sum += tensor_get(w->w_ih, row * I + n) * x[n];
    for (int64_t n = 0; n < H; n++) sum += tensor_get(w->w_hh, row * H + n) * h[n];
    return sum;
}

/* One step of one sequence; h and c [H] are replaced. */
static void reference_step(const Weights *w, int64_t H, const double *x, double *h, double *c) {
    double next[64];
    for (int64_t j = 0; j < H; j++) {
        double i = logistic(gate_sum(w, H, 0, j, x, h));
        double f = logistic(gate_sum(w, H, 1, j, x, h));
        double g = tanh(gate_sum(w, H, 2, j, x, h));
        double o = logistic(gate_sum(w, H, 3, j, x, h));
        c[j] = f * c[j] + i * g;
        next[j] = o * tanh(c[j]);
    }
    memcpy(h, next, (size_t)H * sizeof *h);
}

enum { MAX_T = 8, MAX_B = 4, MAX_SIZE = 16, MAX_K = 6 };
typedef struct {
    double y[MAX_T][MAX_B][MAX_SIZE]; /* input, then output of each layer */
    double h[MAX_K][MAX_B][MAX_SIZE], c[MAX_K][MAX_B][MAX_SIZE]; /* [L*D] h0, then hn */
} Reference;

static void reference_layer(const NnParamSet *set, const NnLstm *m, int l, int64_t T, int64_t B,
                            Reference *r) {
    static double out[MAX_T][MAX_B][MAX_SIZE];
    for (int d = 0; d < m->D; d++) {
        char suffix[32];
        snprintf(suffix, sizeof suffix, "_l%d%s", l, d ? "_reverse" : "");
        Weights w = find_weights(set, "lstm.", suffix);
        int k = l * m->D + d;
        for (int64_t b = 0; b < B; b++)
            for (int64_t n = 0; n < T; n++) {
                int64_t t = d ? T - 1 - n : n;
                reference_step(&w, m->H, r->y[t][b], r->h[k][b], r->c[k][b]);
                memcpy(&out[t][b][d * m->H], r->h[k][b], (size_t)m->H * sizeof(double));
            }
    }
    memcpy(r->y, out, sizeof out);
}

/* ---- values ---- */

static int64_t x_offset(const NnLstm *m, int64_t T, int64_t B, int64_t t, int64_t b, int64_t n) {
    return m->batch_first ? (b * T + t) * n : (t * B + b) * n;
}

static void expect_sequence(const NnLstm *m, const NnParamSet *set, int64_t T, int64_t B,
                            bool initial, TensorArena *a) {
    static Reference r;
    memset(&r, 0, sizeof r);
    int K = m->L * m->D;
    const int64_t first[] = {B, T, m->I}, second[] = {T, B, m->I};
    Tensor x = random_tensor(a, 3, m->batch_first ? first : second, 1);
    Tensor h0 = random_tensor(a, 3, (int64_t[]){K, B, m->H}, 2);
    Tensor c0 = random_tensor(a, 3, (int64_t[]){K, B, m->H}, 3);
    for (int64_t t = 0; t < T; t++)
        for (int64_t b = 0; b < B; b++)
            for (int64_t n = 0; n < m->I; n++)
                r.y[t][b][n] = tensor_get(&x, x_offset(m, T, B, t, b, m->I) + n);
    for (int64_t e = 0; initial && e < K * B * m->H; e++) {
        r.h[e / m->H / B][e / m->H % B][e % m->H] = tensor_get(&h0, e);
        r.c[e / m->H / B][e / m->H % B][e % m->H] = tensor_get(&c0, e);
    }
    for (int l = 0; l < m->L; l++) reference_layer(set, m, l, T, B, &r);

    AgTape *t = ag_tape_new();
    NnLstmState s = {ag_input(t, &h0), ag_input(t, &c0)};
    NnLstmOutput out = nn_lstm(m, ag_input(t, &x), initial ? &s : NULL, NULL);
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    const Tensor *y = ag_value(out.y), *hn = ag_value(out.hn), *cn = ag_value(out.cn);
    int64_t size = m->D * m->H;
    cr_assert(y->ndim == 3 && y->shape[m->batch_first] == T && y->shape[!m->batch_first] == B &&
              y->shape[2] == size);
    cr_assert(hn->ndim == 3 && hn->shape[0] == K && hn->shape[1] == B && hn->shape[2] == m->H);
    cr_assert(tensor_same_shape(hn, cn));
    for (int64_t e = 0; e < T * B * size; e++)
        cr_assert_float_eq(
            tensor_get(y, x_offset(m, T, B, e / size / B, e / size % B, size) + e % size),
            r.y[e / size / B][e / size % B][e % size], 1e-13, "y %lld", (long long)e);
    for (int64_t e = 0; e < K * B * m->H; e++) {
        cr_assert_float_eq(tensor_get(hn, e), r.h[e / m->H / B][e / m->H % B][e % m->H], 1e-13);
        cr_assert_float_eq(tensor_get(cn, e), r.c[e / m->H / B][e / m->H % B][e % m->H], 1e-13);
    }
    ag_tape_free(t);
}

Test(lstm, agrees_with_a_loop_gate_by_gate_in_every_configuration) {
    for (int bits = 0; bits < 32; bits++)
        for (int L = 1; L <= 3; L++) {
            NnLstmOptions o = {.num_layers = L, .bidirectional = bits & 1, .no_bias = bits & 2,
                               .batch_first = bits & 4};
            NnParamSet *set = nn_params_new(TENSOR_F64, 7);
            NnLstm m = nn_lstm_make(set, "lstm", 3, 5, &o);
            cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
            TensorArena *a = tensor_arena_new();
            expect_sequence(&m, set, bits & 16 ? 1 : 6, bits & 16 ? 1 : 4, bits & 8, a);
            tensor_arena_free(a);
            nn_params_free(set);
        }
}

Test(lstm, the_cell_is_one_step_of_the_reference) {
    for (int no_bias = 0; no_bias < 2; no_bias++) {
        NnParamSet *set = nn_params_new(TENSOR_F64, 7);
        NnLstmCellOptions o = {.no_bias = no_bias};
        NnLstmCell m = nn_lstm_cell_make(set, "cell", 3, 5, &o);
        cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
        Weights w = find_weights(set, "cell.", "");
        cr_expect_eq(w.b_ih == NULL, no_bias);
        TensorArena *a = tensor_arena_new();
        Tensor x = random_tensor(a, 2, (int64_t[]){4, 3}, 1);
        Tensor h = random_tensor(a, 2, (int64_t[]){4, 5}, 2);
        Tensor c = random_tensor(a, 2, (int64_t[]){4, 5}, 3);
        AgTape *t = ag_tape_new();
        NnLstmState s = {ag_input(t, &h), ag_input(t, &c)};
        s = nn_lstm_cell(&m, ag_input(t, &x), s);
        cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
        for (int64_t b = 0; b < 4; b++) {
            reference_step(&w, 5, (double *)x.data + b * 3, (double *)h.data + b * 5,
                           (double *)c.data + b * 5);
            for (int64_t j = 0; j < 5; j++) {
                cr_expect_float_eq(tensor_get(ag_value(s.h), b * 5 + j), tensor_get(&h, b * 5 + j),
                                   1e-14);
                cr_expect_float_eq(tensor_get(ag_value(s.c), b * 5 + j), tensor_get(&c, b * 5 + j),
                                   1e-14);
            }
        }
        ag_tape_free(t);
        tensor_arena_free(a);
        nn_params_free(set);
    }
}

Test(lstm, an_empty_batch_has_empty_results) {
    NnParamSet *set = nn_params_new(TENSOR_F32, 7);
    NnLstm m = nn_lstm_make(set, "lstm", 3, 5, &(NnLstmOptions){.bidirectional = true});
    AgTape *t = ag_tape_new();
    NnLstmOutput out = nn_lstm(&m, ag_full(t, TENSOR_F32, 3, (int64_t[]){4, 0, 3}, 1), NULL);
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    cr_expect(ag_dim(out.y, 0) == 4 && ag_dim(out.y, 1) == 0 && ag_dim(out.y, 2) == 10);
    cr_expect(ag_dim(out.hn, 0) == 2 && ag_dim(out.hn, 1) == 0 && ag_dim(out.hn, 2) == 5);
    ag_tape_free(t);
    nn_params_free(set);
}

/* ---- parameters ---- */

Test(lstm, parameters_stand_in_pytorchs_order_with_pytorchs_shapes) {
    const struct {
        const char *name;
        int64_t rows, columns;
    } want[] = {
        {"rnn.weight_ih_l0", 24, 5},          {"rnn.weight_hh_l0", 24, 6},
        {"rnn.bias_ih_l0", 24, 0},            {"rnn.bias_hh_l0", 24, 0},
        {"rnn.weight_ih_l0_reverse", 24, 5},  {"rnn.weight_hh_l0_reverse", 24, 6},
        {"rnn.bias_ih_l0_reverse", 24, 0},    {"rnn.bias_hh_l0_reverse", 24, 0},
        {"rnn.weight_ih_l1", 24, 12},         {"rnn.weight_hh_l1", 24, 6},
        {"rnn.bias_ih_l1", 24, 0},            {"rnn.bias_hh_l1", 24, 0},
        {"rnn.weight_ih_l1_reverse", 24, 12}, {"rnn.weight_hh_l1_reverse", 24, 6},
        {"rnn.bias_ih_l1_reverse", 24, 0},    {"rnn.bias_hh_l1_reverse", 24, 0},
    };
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    nn_lstm_make(set, "rnn", 5, 6, &(NnLstmOptions){.num_layers = 2, .bidirectional = true});
    cr_assert_eq(nn_params_count(set), 16);
    double widest = 0;
    for (int i = 0; i < 16; i++) {
        const NnParam *p = nn_params_at(set, i);
        cr_expect_str_eq(p->name, want[i].name);
        cr_expect_eq(p->value.ndim, want[i].columns ? 2 : 1);
        cr_expect_eq(p->value.shape[0], want[i].rows);
        if (want[i].columns) cr_expect_eq(p->value.shape[1], want[i].columns);
        for (int64_t e = 0; e < tensor_numel(&p->value); e++)
            widest = fmax(widest, fabs(tensor_get(&p->value, e)));
    }
    double bound = 1 / sqrt(6);
    cr_expect(widest <= bound && widest > .98 * bound, "uniform in +-1/sqrt(H)");
    NnInit half = nn_init_constant(.5);
    nn_lstm_make(set, "", 5, 6, &(NnLstmOptions){.init = &half, .no_bias = true});
    cr_expect_eq(nn_params_count(set), 18);
    cr_expect_str_eq(nn_params_at(set, 16)->name, "weight_ih_l0");
    cr_expect_eq(tensor_get(&nn_params_at(set, 17)->value, 143), .5);
    nn_params_free(set);
}

Test(lstm, the_two_forget_biases_add_up_to_what_was_asked) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 7), *plain = nn_params_new(TENSOR_F64, 7);
    NnLstmOptions o = {.num_layers = 2, .bidirectional = true, .has_forget_bias = true,
                       .forget_bias = 1.5};
    nn_lstm_make(set, "a", 3, 4, &o);
    nn_lstm_cell_make(set, "b", 3, 4,
                      &(NnLstmCellOptions){.has_forget_bias = true, .forget_bias = 1.5});
    nn_lstm_make(plain, "a", 3, 4, &(NnLstmOptions){.num_layers = 2, .bidirectional = true});
    nn_lstm_cell_make(plain, "b", 3, 4, NULL);
    int biases = 0;
    for (int i = 0; i < nn_params_count(set); i++) {
        const NnParam *p = nn_params_at(set, i), *q = nn_params_at(plain, i);
        bool ih = strstr(p->name, "bias_ih"), bias = ih || strstr(p->name, "bias_hh");
        biases += bias;
        for (int64_t e = 0; e < tensor_numel(&p->value); e++) {
            bool forget = bias && e >= 4 && e < 8;
            double want = forget ? (ih ? 1.5 : 0) : tensor_get(&q->value, e);
            cr_expect_eq(tensor_get(&p->value, e), want, "%s %lld", p->name, (long long)e);
        }
    }
    cr_expect_eq(biases, 2 * 4 + 2);
    nn_params_free(set);
    nn_params_free(plain);
}

Test(lstm, wrong_options_stick_to_the_set_and_the_layer_says_so_on_a_tape) {
    const struct {
        int64_t I, H;
        NnLstmOptions o;
        const char *words;
    } cases[] = {
        {-1, 4, {0}, "input size -1"},
        {3, -4, {0}, "hidden size -4"},
        {3, INT64_MAX / 4, {0}, "hidden size"},
        {3, 4, {.num_layers = -1}, "-1 layers"},
        {3, 4, {.dropout = 1.5}, "dropout 1.5"},
        {3, 4, {.dropout = NAN}, "dropout"},
        {3, 4, {.no_bias = true, .has_forget_bias = true}, "no biases"},
    };
    AgTape *t = ag_tape_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        NnParamSet *set = nn_params_new(TENSOR_F64, 7);
        NnLstm m = nn_lstm_make(set, "rnn", cases[i].I, cases[i].H, &cases[i].o);
        cr_expect(strstr(nn_params_error(set), "lstm rnn: "), "%s", nn_params_error(set));
        cr_expect(strstr(nn_params_error(set), cases[i].words), "%s", nn_params_error(set));
        NnLstmCell cell = nn_lstm_cell_make(set, "cell", 3, 4, NULL);
        AgVar x = ag_full(t, TENSOR_F64, 3, (int64_t[]){2, 2, 3}, 1);
        cr_expect(!ag_ok(nn_lstm(&m, x, NULL).y));
        cr_expect(strstr(ag_tape_error(t), "lstm: was not made"), "%s", ag_tape_error(t));
        ag_tape_reset(t);
        AgVar z = ag_full(t, TENSOR_F64, 2, (int64_t[]){2, 3}, 1);
        cr_expect(!ag_ok(nn_lstm_cell(&cell, z, (NnLstmState){z, z}).h));
        cr_expect(strstr(ag_tape_error(t), cases[i].words), "%s", ag_tape_error(t));
        ag_tape_reset(t);
        nn_params_free(set);
    }
    ag_tape_free(t);
}

/* ---- errors on the tape ---- */

Test(lstm, wrong_inputs_are_one_line_with_expected_and_got) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    NnLstm m = nn_lstm_make(set, "rnn", 3, 4, &(NnLstmOptions){.num_layers = 2});
    NnLstm first = nn_lstm_make(set, "first", 3, 4, &(NnLstmOptions){.batch_first = true});
    const int64_t good[] = {5, 2, 3}, state[] = {2, 2, 4};
    const struct {
        const NnLstm *m;
        int ndim;
        int64_t shape[4];
        TensorDtype dtype;
        int64_t h0[3], c0[3];
        const char *words;
    } cases[] = {
        {&m, 2, {5, 3}, TENSOR_F64, {2, 2, 4}, {2, 2, 4},
         "rnn: lstm: expected x [T,B,3], got f64[5,3]"},
        {&m, 3, {5, 2, 4}, TENSOR_F64, {2, 2, 4}, {2, 2, 4}, "expected x [T,B,3], got f64[5,2,4]"},
        {&first, 3, {5, 2, 4}, TENSOR_F64, {1, 5, 4}, {1, 5, 4}, "expected x [B,T,3]"},
        {&m, 3, {0, 2, 3}, TENSOR_F64, {2, 2, 4}, {2, 2, 4}, "1 step or more"},
        {&first, 3, {2, 0, 3}, TENSOR_F64, {1, 2, 4}, {1, 2, 4}, "1 step or more"},
        {&m, 3, {5, 2, 3}, TENSOR_F64, {1, 2, 4}, {2, 2, 4},
         "lstm: h0: expected [2,2,4], got f64[1,2,4]"},
        {&m, 3, {5, 2, 3}, TENSOR_F64, {2, 1, 4}, {2, 2, 4}, "h0: expected [2,2,4]"},
        {&m, 3, {5, 2, 3}, TENSOR_F64, {2, 2, 4}, {2, 2, 5},
         "lstm: c0: expected [2,2,4], got f64[2,2,5]"},
        {&first, 3, {5, 2, 3}, TENSOR_F64, {1, 2, 4}, {1, 2, 4}, "h0: expected [1,5,4]"},
        {&m, 3, {5, 2, 3}, TENSOR_F32, {2, 2, 4}, {2, 2, 4}, "rnn/l0: matmul"},
    };
    AgTape *t = ag_tape_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        NnLstmState s = {ag_full(t, TENSOR_F64, 3, cases[i].h0, 0),
                         ag_full(t, TENSOR_F64, 3, cases[i].c0, 0)};
        AgVar x = ag_full(t, cases[i].dtype, cases[i].ndim, cases[i].shape, 1);
        NnLstmOutput out = nn_lstm(cases[i].m, x, &s);
        cr_expect(!ag_ok(out.y) && !ag_ok(out.hn) && !ag_ok(out.cn));
        cr_expect(strstr(ag_tape_error(t), cases[i].words), "case %zu: %s", i, ag_tape_error(t));
        ag_tape_reset(t);
    }
    NnLstmState floats = {ag_full(t, TENSOR_F32, 3, state, 0), ag_full(t, TENSOR_F32, 3, state, 0)};
    cr_expect(!ag_ok(nn_lstm(&m, ag_full(t, TENSOR_F64, 3, good, 1), &floats).y));
    cr_expect(strstr(ag_tape_error(t), "rnn/l0 step 0: matmul"), "%s", ag_tape_error(t));
    ag_tape_reset(t);
    NnLstmState none = {{t, 0, 0}, {t, 0, 0}};
    cr_expect(!ag_ok(nn_lstm(&m, ag_full(t, TENSOR_F64, 3, good, 1), &none).y));
    cr_expect(strstr(ag_tape_error(t), "failed variable"), "%s", ag_tape_error(t));
    ag_tape_reset(t);
    cr_expect(!ag_ok(nn_lstm(&m, (AgVar){0}, NULL).y));
    ag_tape_free(t);
    nn_params_free(set);
}

Test(lstm, the_cell_broadcasts_nothing) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    NnLstmCell m = nn_lstm_cell_make(set, "cell", 3, 4, NULL);
    const struct {
        int64_t x[2], h[2], c[2];
        const char *words;
    } cases[] = {
        {{2, 4}, {2, 4}, {2, 4}, "lstm_cell: expected x [B,3], got f64[2,4]"},
        {{2, 3}, {1, 4}, {2, 4}, "lstm_cell: expected h [2,4], got f64[1,4]"},
        {{2, 3}, {2, 4}, {1, 4}, "lstm_cell: expected c [2,4], got f64[1,4]"},
        {{1, 3}, {2, 4}, {2, 4}, "lstm_cell: expected h [1,4], got f64[2,4]"},
    };
    AgTape *t = ag_tape_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        NnLstmState s = {ag_full(t, TENSOR_F64, 2, cases[i].h, 0),
                         ag_full(t, TENSOR_F64, 2, cases[i].c, 0)};
        s = nn_lstm_cell(&m, ag_full(t, TENSOR_F64, 2, cases[i].x, 1), s);
        cr_expect(!ag_ok(s.h) && !ag_ok(s.c));
        cr_expect(strstr(ag_tape_error(t), cases[i].words), "%s", ag_tape_error(t));
        ag_tape_reset(t);
    }
    ag_tape_free(t);
    nn_params_free(set);
}

/* ---- modes and state ---- */

static double distance(AgVar a, AgVar b) {
    double worst = 0;
    for (int64_t e = 0; e < ag_numel(a); e++)
        worst = fmax(worst, fabs(tensor_get(ag_value(a), e) - tensor_get(ag_value(b), e)));
    return worst;
}

Test(lstm, dropout_acts_between_layers_in_training_only) {
    for (int L = 1; L <= 2; L++) {
        NnParamSet *set = nn_params_new(TENSOR_F64, 7);
        NnLstm m = nn_lstm_make(set, "rnn", 3, 4, &(NnLstmOptions){.num_layers = L, .dropout = .5});
        NnLstm plain = m;
        plain.dropout = 0;
        TensorArena *a = tensor_arena_new();
        Tensor input = random_tensor(a, 3, (int64_t[]){6, 3, 3}, 1);
        AgTape *t = ag_tape_new();
        ag_tape_rng(t, 1, 1);
        AgVar x = ag_input(t, &input);
        NnLstmOutput want = nn_lstm(&plain, x, NULL), got = nn_lstm(&m, x, NULL);
        cr_expect_eq(distance(want.y, got.y), 0, "evaluation");
        ag_tape_training(t, true);
        got = nn_lstm(&m, x, NULL);
        cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
        cr_expect_eq(distance(want.y, got.y) > 0, L == 2, "after the last layer there is none");
        cr_expect_eq(distance(ag_select(want.hn, 0, 0), ag_select(got.hn, 0, 0)), 0,
                     "hn of the first layer is taken before");
        for (int64_t e = 0; e < ag_numel(got.y); e++)
            cr_expect_neq(tensor_get(ag_value(got.y), e), 0, "y itself is not dropped");
        ag_tape_free(t);
        tensor_arena_free(a);
        nn_params_free(set);
    }
}

Test(lstm, windows_with_carried_state_give_the_whole_sequence) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    NnLstm m = nn_lstm_make(set, "rnn", 3, 4, &(NnLstmOptions){.num_layers = 2});
    TensorArena *a = tensor_arena_new();
    Tensor x = random_tensor(a, 3, (int64_t[]){9, 2, 3}, 1);
    AgTape *whole = ag_tape_new(), *t = ag_tape_new();
    NnLstmOutput want = nn_lstm(&m, ag_input(whole, &x), NULL);
    NnState *st = nn_state_new(TENSOR_F64);
    const int64_t shape[] = {2, 2, 4};
    for (int64_t window = 0; window < 3; window++) {
        ag_tape_reset(t);
        Tensor part = tensor_narrow(&x, 0, 3 * window, 3);
        NnLstmState s = {nn_state_load(st, t, "h", 3, shape), nn_state_load(st, t, "c", 3, shape)};
        NnLstmOutput out = nn_lstm(&m, ag_input(t, &part), &s);
        cr_assert(nn_state_store(st, "h", out.hn) && nn_state_store(st, "c", out.cn), "%s",
                  ag_tape_error(t));
        cr_expect_eq(distance(out.y, ag_narrow(want.y, 0, 3 * window, 3)), 0);
    }
    nn_state_free(st);
    ag_tape_free(whole);
    ag_tape_free(t);
    tensor_arena_free(a);
    nn_params_free(set);
}

Test(lstm, later_steps_of_one_shape_take_no_memory) {
    NnParamSet *set = nn_params_new(TENSOR_F32, 7);
    NnLstmOptions o = {.num_layers = 2, .bidirectional = true};
    NnLstm m = nn_lstm_make(set, "rnn", 3, 4, &o);
    AgTape *t = ag_tape_new();
    size_t reserved = 0;
    for (int step = 0; step < 5; step++) {
        ag_tape_reset(t);
        AgVar x = ag_full(t, TENSOR_F32, 3, (int64_t[]){50, 2, 3}, 1);
        cr_assert(ag_backward(ag_sum(nn_lstm(&m, x, NULL).y, AG_ALL_AXES, false)), "%s",
                  ag_tape_error(t));
        if (step == 1) reserved = ag_tape_reserved(t);
        if (step > 1) cr_expect_eq(ag_tape_reserved(t), reserved);
    }
    ag_tape_free(t);
    nn_params_free(set);
}

Test(lstm, wrong_states_and_layers_are_errors_on_the_tape_of_x) {
    NnParamSet *set = nn_params_new(TENSOR_F32, 7);
    NnLstm m = nn_lstm_make(set, "rnn", 3, 4, NULL), never = {0};
    NnLstmCell cell = nn_lstm_cell_make(set, "cell", 3, 4, NULL);
    AgTape *t = ag_tape_new(), *other = ag_tape_new();
    AgVar foreign = ag_full(other, TENSOR_F32, 3, (int64_t[]){1, 2, 4}, 0);
    const struct {
        const NnLstm *m;
        NnLstmState s;
        const char *message;
    } bad[] = {
        {&m, {{0}, {0}}, "lstm: h0: no variable"},
        {&m, {foreign, foreign}, "lstm: h0: a variable of another tape"},
        {&never, {{0}, {0}}, "lstm: was not made"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ag_tape_reset(t);
        AgVar x = ag_full(t, TENSOR_F32, 3, (int64_t[]){5, 2, 3}, 0);
        cr_expect(!ag_ok(nn_lstm(bad[i].m, x, &bad[i].s).y));
        cr_expect(strstr(ag_tape_error(t), bad[i].message), "%s", ag_tape_error(t));
    }
    ag_tape_reset(t);
    AgVar step = ag_full(t, TENSOR_F32, 2, (int64_t[]){2, 3}, 0);
    cr_expect(!ag_ok(nn_lstm_cell(&cell, step, (NnLstmState){{0}, {0}}).h));
    cr_expect(strstr(ag_tape_error(t), "lstm_cell: h: no variable"), "%s", ag_tape_error(t));
    ag_tape_reset(t);
    NnLinear unmade = {0};
    cr_expect(!ag_ok(nn_linear(&unmade, ag_full(t, TENSOR_F32, 1, (int64_t[]){3}, 0))));
    cr_expect(strstr(ag_tape_error(t), "parameter: none"), "%s", ag_tape_error(t));
    cr_expect(ag_tape_ok(other));
    ag_tape_free(t);
    ag_tape_free(other);
    nn_params_free(set);
}

/* ---- gradients ---- */

enum { INPUTS = 3 }; /* x, h0, c0 before the parameters */

typedef struct {
    NnParamSet *set;
    NnLstm m;
} Model;

static int forward(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    const Model *model = context;
    for (int i = 0; i < nn_params_count(model->set); i++)
        nn_param_bind(t, nn_params_at(model->set, i), x[INPUTS + i]);
    NnLstmOutput out = nn_lstm(&model->m, x[0], &(NnLstmState){x[1], x[2]});
    y[0] = out.y, y[1] = out.hn, y[2] = out.cn;
    return 3;
}

static GradcheckResult check(const NnLstmOptions *o, int64_t I, int64_t H, int64_t T, int64_t B,
                             int order, const GradcheckOptions *options) {
    Model model = {.set = nn_params_new(TENSOR_F64, 7)};
    model.m = nn_lstm_make(model.set, "rnn", I, H, o);
    int K = model.m.L * model.m.D, n = nn_params_count(model.set);
    TensorArena *a = tensor_arena_new();
    Tensor in[INPUTS + 32];
    in[0] = random_tensor(a, 3, o->batch_first ? (int64_t[]){B, T, I} : (int64_t[]){T, B, I}, 1);
    in[1] = random_tensor(a, 3, (int64_t[]){K, B, H}, 2);
    in[2] = random_tensor(a, 3, (int64_t[]){K, B, H}, 3);
    for (int i = 0; i < n; i++) in[INPUTS + i] = nn_params_at(model.set, i)->value;
    GradcheckResult r;
    cr_expect((order == 2 ? gradgradcheck : gradcheck)(forward, &model, INPUTS + n, in, options, &r),
              "%s", r.message);
    tensor_arena_free(a);
    nn_params_free(model.set);
    return r;
}

Test(lstm, every_derivative_of_a_two_layer_model_agrees_with_differences) {
    GradcheckResult r = check(&(NnLstmOptions){.num_layers = 2}, 5, 6, 4, 3, 1, NULL);
    cr_expect_lt(r.rel_error, 1e-9, "%s", r.message);
    printf("two layers, whole model: %s, relative error %.1e\n", r.message, r.rel_error);
    /* x [4,3,5], h0 and c0 [2,3,6], then per layer W_ih, W_hh and two biases */
    cr_expect_eq(r.checked, 60 + 2 * 36 + (120 + 144 + 48) + (144 + 144 + 48));
}

Test(lstm, gradients_hold_in_every_configuration_and_in_second_order) {
    const NnLstmOptions configurations[] = {
        {.bidirectional = true},
        {.num_layers = 2, .bidirectional = true, .batch_first = true, .dropout = .4},
        {.num_layers = 2, .no_bias = true},
    };
    for (size_t i = 0; i < 3; i++)
        for (int order = 1; order <= 2; order++) {
            GradcheckOptions o = {.training = true, .directions = order == 2 ? 6 : 0};
            check(&configurations[i], 2, 3, 3, 2, order, &o);
        }
}

/* ---- in a checkpoint ---- */

static void whole(AgTape *t, void *lstm, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)t, (void)n, (void)n_out;
    NnLstmState s = {in[1], in[2]};
    NnLstmOutput o = nn_lstm(lstm, in[0], &s);
    out[0] = o.y, out[1] = o.hn, out[2] = o.cn;
}

Test(lstm, in_a_checkpoint_gives_the_same_bits_in_less_memory) {
    int64_t T = 9, B = 4, I = 5, H = 8;
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    NnLstm m = nn_lstm_make(set, "rnn", I, H, &(NnLstmOptions){.num_layers = 2, .dropout = .3});
    TensorArena *a = tensor_arena_new();
    Tensor x = random_tensor(a, 3, (int64_t[]){T, B, I}, 1);
    Tensor s0 = random_tensor(a, 3, (int64_t[]){2, B, H}, 2);
    AgTape *t = ag_tape_new();
    ag_tape_training(t, true);
    Tensor first[16];
    size_t bytes[2];
    int n = nn_params_count(set);
    for (int with = 0; with < 2; with++) {
        ag_tape_reset(t);
        nn_zero_grad(set);
        AgVar in[] = {ag_input(t, &x), ag_input(t, &s0), ag_input(t, &s0)}, out[3];
        if (with) ag_checkpoint(whole, &m, 3, in, 3, out);
        else whole(t, &m, 3, in, 3, out);
        AgVar loss = ag_add(ag_sum(ag_square(out[0]), AG_ALL_AXES, false),
                            ag_sum(ag_mul(out[1], out[2]), AG_ALL_AXES, false));
        bytes[with] = ag_tape_bytes(t);
        cr_assert(ag_backward(loss), "%s", ag_tape_error(t));
        for (int i = 0; i < n; i++) {
            const Tensor *g = &nn_params_at(set, i)->grad;
            if (!with) first[i] = tensor_copy(a, g);
            for (int64_t e = 0; e < tensor_numel(g); e++)
                cr_assert_eq(tensor_get(g, e), tensor_get(&first[i], e), "parameter %d", i);
        }
        cr_expect_neq(tensor_get(&first[0], 0), 0);
    }
    cr_expect_lt(bytes[1], bytes[0] / 4);
    ag_tape_free(t);
    tensor_arena_free(a);
    nn_params_free(set);
}
