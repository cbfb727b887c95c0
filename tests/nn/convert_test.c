/* Weights of Keras and ONNX: what the layers compute with them against those frameworks' own
 * equations, written out here on their layouts; round trips; and everything that is refused. */
#include "nn/convert.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tensor/rng.h"
#include "tests/nn/recurrent_model.h"

/* ---- the equations of Keras and ONNX ---- */

/* The weights of one layer in one direction, in the layout of their format: of Keras kernel
 * [I, G H], recurrent_kernel [H, G H] and bias, of ONNX W [G H, I], R [G H, H], B and P of the
 * direction.  G is the number of gates. */
typedef struct {
    int64_t I, H;
    const double *w, *r, *b, *p; /* b and p may be NULL */
    bool option;                 /* LSTM: input_forget; plain RNN: relu */
} Weights;

/* One step of one sequence: h and c [H] are replaced. */
typedef void Step(const Weights *m, const double *x, double *h, double *c);

enum { MAX_SIZE = 16 };

static double logistic(double x) { return 1 / (1 + exp(-x)); }

/* Column `column` of x M, M [n, columns]. */
static double column_sum(const double *x, int64_t n, const double *m, int64_t columns,
                         int64_t column) {
    double sum = 0;
    for (int64_t k = 0; k < n; k++) sum += x[k] * m[k * columns + column];
    return sum;
}

/* z = x kernel + h recurrent_kernel + bias; the quarters of z are those of i, f, c, o. */
static void keras_lstm(const Weights *m, const double *x, double *h, double *c) {
    int64_t H = m->H;
    double z[4 * MAX_SIZE];
    for (int64_t k = 0; k < 4 * H; k++)
        z[k] = column_sum(x, m->I, m->w, 4 * H, k) + column_sum(h, H, m->r, 4 * H, k) +
               (m->b ? m->b[k] : 0);
    for (int64_t j = 0; j < H; j++) {
        double i = logistic(z[j]), f = logistic(z[H + j]), o = logistic(z[3 * H + j]);
        c[j] = f * c[j] + i * tanh(z[2 * H + j]);
        h[j] = o * tanh(c[j]);
    }
}

/* reset_after=True: the thirds of both products are those of z, r, h; bias [2, 3H]. */
static void keras_gru(const Weights *m, const double *x, double *h, double *c) {
    (void)c;
    int64_t H = m->H;
    double input[3 * MAX_SIZE], inner[3 * MAX_SIZE];
    for (int64_t k = 0; k < 3 * H; k++) {
        input[k] = column_sum(x, m->I, m->w, 3 * H, k) + (m->b ? m->b[k] : 0);
        inner[k] = column_sum(h, H, m->r, 3 * H, k) + (m->b ? m->b[3 * H + k] : 0);
    }
    for (int64_t j = 0; j < H; j++) {
        double z = logistic(input[j] + inner[j]), r = logistic(input[H + j] + inner[H + j]);
        double candidate = tanh(input[2 * H + j] + r * inner[2 * H + j]);
        h[j] = z * h[j] + (1 - z) * candidate;
    }
}

static void keras_simple_rnn(const Weights *m, const double *x, double *h, double *c) {
    (void)c;
    double z[MAX_SIZE];
    for (int64_t j = 0; j < m->H; j++)
        z[j] = column_sum(x, m->I, m->w, m->H, j) + (m->b ? m->b[j] : 0) +
               column_sum(h, m->H, m->r, m->H, j);
    for (int64_t j = 0; j < m->H; j++) h[j] = m->option ? fmax(z[j], 0) : tanh(z[j]);
}

/* X W^T, W [.., n], of one row. */
static double row_sum(const double *x, int64_t n, const double *m, int64_t row) {
    double sum = 0;
    for (int64_t k = 0; k < n; k++) sum += x[k] * m[row * n + k];
    return sum;
}

/* Bias `which` (0: Wb, 1: Rb) of a row, B [2 rows]. */
static double onnx_bias(const Weights *m, int which, int64_t rows, int64_t row) {
    return m->b ? m->b[which * rows + row] : 0;
}

/* W[iofc], R[iofc], B[Wb iofc, Rb iofc], P[iof]:
 *     it = f(Xt Wi^T + Ht-1 Ri^T + Pi . Ct-1 + Wbi + Rbi)
 *     ft likewise;  ct = g(Xt Wc^T + Ht-1 Rc^T + Wbc + Rbc);  Ct = ft . Ct-1 + it . ct
 *     ot = f(Xt Wo^T + Ht-1 Ro^T + Po . Ct + Wbo + Rbo);  Ht = ot . h(Ct)
 * input_forget: ft = 1 - it. */
static void onnx_lstm(const Weights *m, const double *x, double *h, double *c) {
    enum { GATE_I, GATE_O, GATE_F, GATE_C };
    int64_t H = m->H;
    double a[4 * MAX_SIZE];
    for (int64_t k = 0; k < 4 * H; k++)
        a[k] = row_sum(x, m->I, m->w, k) + row_sum(h, H, m->r, k) + onnx_bias(m, 0, 4 * H, k) +
               onnx_bias(m, 1, 4 * H, k);
    for (int64_t j = 0; j < H; j++) {
        double p_i = m->p ? m->p[j] : 0, p_o = m->p ? m->p[H + j] : 0;
        double p_f = m->p ? m->p[2 * H + j] : 0;
        double i = logistic(a[GATE_I * H + j] + p_i * c[j]);
        double f = m->option ? 1 - i : logistic(a[GATE_F * H + j] + p_f * c[j]);
        c[j] = f * c[j] + i * tanh(a[GATE_C * H + j]);
        h[j] = logistic(a[GATE_O * H + j] + p_o * c[j]) * tanh(c[j]);
    }
}

/* W[zrh], R[zrh], B[Wb zrh, Rb zrh], linear_before_reset=1:
 *     zt = f(Xt Wz^T + Ht-1 Rz^T + Wbz + Rbz);  rt likewise
 *     ht = g(Xt Wh^T + rt . (Ht-1 Rh^T + Rbh) + Wbh);  Ht = (1 - zt) . ht + zt . Ht-1 */
static void onnx_gru(const Weights *m, const double *x, double *h, double *c) {
    (void)c;
    enum { GATE_Z, GATE_R, GATE_H };
    int64_t H = m->H;
    double in[3 * MAX_SIZE], back[3 * MAX_SIZE];
    for (int64_t k = 0; k < 3 * H; k++) {
        in[k] = row_sum(x, m->I, m->w, k) + onnx_bias(m, 0, 3 * H, k);
        back[k] = row_sum(h, H, m->r, k) + onnx_bias(m, 1, 3 * H, k);
    }
    for (int64_t j = 0; j < H; j++) {
        double z = logistic(in[GATE_Z * H + j] + back[GATE_Z * H + j]);
        double r = logistic(in[GATE_R * H + j] + back[GATE_R * H + j]);
        double candidate = tanh(in[GATE_H * H + j] + r * back[GATE_H * H + j]);
        h[j] = (1 - z) * candidate + z * h[j];
    }
}

/* Ht = f(Xt Wi^T + Ht-1 Ri^T + Wbi + Rbi) */
static void onnx_rnn(const Weights *m, const double *x, double *h, double *c) {
    (void)c;
    double a[MAX_SIZE];
    for (int64_t j = 0; j < m->H; j++)
        a[j] = row_sum(x, m->I, m->w, j) + row_sum(h, m->H, m->r, j) +
               onnx_bias(m, 0, m->H, j) + onnx_bias(m, 1, m->H, j);
    for (int64_t j = 0; j < m->H; j++) h[j] = m->option ? fmax(a[j], 0) : tanh(a[j]);
}

/* ---- the cases ---- */

enum { INPUT = 3, HIDDEN = 5 };

typedef struct {
    const char *name;
    ModelKind kind;
    bool onnx;
    Step *step;
    bool no_bias, peepholes;
    bool option; /* coupled gates, relu */
} Case;

enum {
    KERAS_LSTM, KERAS_LSTM_BARE, KERAS_GRU, KERAS_GRU_BARE, KERAS_RNN, KERAS_RNN_BARE,
    ONNX_LSTM, ONNX_LSTM_BARE, ONNX_LSTM_PEEPHOLES, ONNX_LSTM_COUPLED, ONNX_LSTM_COUPLED_BARE,
    ONNX_GRU, ONNX_GRU_BARE, ONNX_RNN, ONNX_RNN_BARE, CASES,
};

static const Case cases[CASES] = {
    [KERAS_LSTM] = {"Keras LSTM", MODEL_LSTM, false, keras_lstm},
    [KERAS_LSTM_BARE] = {"Keras LSTM, no bias", MODEL_LSTM, false, keras_lstm, .no_bias = true},
    [KERAS_GRU] = {"Keras GRU", MODEL_GRU, false, keras_gru},
    [KERAS_GRU_BARE] = {"Keras GRU, no bias", MODEL_GRU, false, keras_gru, .no_bias = true},
    [KERAS_RNN] = {"Keras SimpleRNN", MODEL_RNN, false, keras_simple_rnn},
    [KERAS_RNN_BARE] = {"Keras SimpleRNN, relu, no bias", MODEL_RELU, false, keras_simple_rnn,
                        .no_bias = true, .option = true},
    [ONNX_LSTM] = {"ONNX LSTM", MODEL_LSTM, true, onnx_lstm},
    [ONNX_LSTM_BARE] = {"ONNX LSTM, no bias", MODEL_LSTM, true, onnx_lstm, .no_bias = true},
    [ONNX_LSTM_PEEPHOLES] = {"ONNX LSTM, peepholes", MODEL_LSTM, true, onnx_lstm,
                             .peepholes = true},
    [ONNX_LSTM_COUPLED] = {"ONNX LSTM, input_forget", MODEL_LSTM, true, onnx_lstm, .option = true},
    [ONNX_LSTM_COUPLED_BARE] = {"ONNX LSTM, input_forget, peepholes, no bias", MODEL_LSTM, true,
                                onnx_lstm, .no_bias = true, .peepholes = true, .option = true},
    [ONNX_GRU] = {"ONNX GRU", MODEL_GRU, true, onnx_gru},
    [ONNX_GRU_BARE] = {"ONNX GRU, no bias", MODEL_GRU, true, onnx_gru, .no_bias = true},
    [ONNX_RNN] = {"ONNX RNN", MODEL_RNN, true, onnx_rnn},
    [ONNX_RNN_BARE] = {"ONNX RNN, relu, no bias", MODEL_RELU, true, onnx_rnn,
                       .no_bias = true, .option = true},
};

static int gates_of(ModelKind kind) {
    return kind == MODEL_LSTM ? 4 : kind == MODEL_GRU ? 3 : 1;
}

static Model make_model(const Case *k, TensorDtype dtype, int L, int D) {
    return model_new(k->kind, dtype, INPUT, HIDDEN,
                     &(NnLstmOptions){.num_layers = L, .bidirectional = D == 2,
                                      .no_bias = k->no_bias, .peepholes = k->peepholes,
                                      .coupled = k->kind == MODEL_LSTM && k->option});
}

/* A small one of F64. */
static Model new_model(const Case *k) { return make_model(k, TENSOR_F64, 1, 1); }

static const NnRnnParams *rnn_params(const Model *m, int pass) {
    return m->kind == MODEL_GRU ? &m->gru.layer[pass].params : &m->rnn.layer[pass].params;
}

static bool convert_keras(const Model *m, int pass, bool import, const NnKerasWeights *w,
                          TensorError *error) {
    if (m->kind == MODEL_LSTM)
        return (import ? nn_lstm_from_keras : nn_lstm_to_keras)(&m->lstm.layer[pass].params, w,
                                                                error);
    if (m->kind == MODEL_GRU)
        return (import ? nn_gru_from_keras : nn_gru_to_keras)(rnn_params(m, pass), w, error);
    return (import ? nn_rnn_from_keras : nn_rnn_to_keras)(rnn_params(m, pass), w, error);
}

static bool convert_onnx(const Model *m, int pass, bool import, const NnOnnxWeights *w,
                         TensorError *error) {
    if (m->kind == MODEL_LSTM)
        return (import ? nn_lstm_from_onnx : nn_lstm_to_onnx)(&m->lstm.layer[pass].params, w,
                                                              error);
    if (m->kind == MODEL_GRU)
        return (import ? nn_gru_from_onnx : nn_gru_to_onnx)(rnn_params(m, pass), w, error);
    return (import ? nn_rnn_from_onnx : nn_rnn_to_onnx)(rnn_params(m, pass), w, error);
}

/* ---- their weights ---- */

enum { W, R, B, P, TENSORS };

/* One layer in the layout of the format, with all directions in front: [D, ..]; nil where the case
 * has none. */
typedef struct {
    Tensor t[TENSORS];
} Layer;

static Layer new_layer(TensorArena *a, const Case *k, int64_t I, int D, TensorDtype dtype) {
    Layer layer = {{tensor_nil(), tensor_nil(), tensor_nil(), tensor_nil()}};
    const int64_t H = HIDDEN, rows = gates_of(k->kind) * H;
    if (k->onnx) {
        layer.t[W] = tensor_new(a, dtype, 3, (int64_t[]){D, rows, I});
        layer.t[R] = tensor_new(a, dtype, 3, (int64_t[]){D, rows, H});
        if (!k->no_bias) layer.t[B] = tensor_new(a, dtype, 2, (int64_t[]){D, 2 * rows});
        if (k->peepholes) layer.t[P] = tensor_new(a, dtype, 2, (int64_t[]){D, 3 * H});
        return layer;
    }
    layer.t[W] = tensor_new(a, dtype, 3, (int64_t[]){D, I, rows});
    layer.t[R] = tensor_new(a, dtype, 3, (int64_t[]){D, H, rows});
    if (!k->no_bias && k->kind == MODEL_GRU)
        layer.t[B] = tensor_new(a, dtype, 3, (int64_t[]){D, 2, rows});
    else if (!k->no_bias)
        layer.t[B] = tensor_new(a, dtype, 2, (int64_t[]){D, rows});
    return layer;
}

static Layer random_layer(TensorArena *a, const Case *k, int64_t I, int D, uint64_t draw) {
    Layer layer = new_layer(a, k, I, D, TENSOR_F64);
    for (int n = 0; n < TENSORS; n++)
        if (!tensor_is_nil(&layer.t[n]))
            tensor_rng_fill_uniform(&layer.t[n], (TensorRngKey){11, draw, (uint64_t)n}, -1, 1);
    return layer;
}

static NnKerasWeights keras_weights(const Layer *layer, int d) {
    return (NnKerasWeights){.kernel = tensor_select(&layer->t[W], 0, d),
                            .recurrent_kernel = tensor_select(&layer->t[R], 0, d),
                            .bias = tensor_select(&layer->t[B], 0, d), .reset_after = true};
}

static NnOnnxWeights onnx_weights(const Case *k, const Layer *layer, int d) {
    return (NnOnnxWeights){.w = layer->t[W], .r = layer->t[R], .b = layer->t[B], .p = layer->t[P],
                           .direction = d, .linear_before_reset = true,
                           .input_forget = k->kind == MODEL_LSTM && k->option};
}

static bool convert(const Model *m, const Case *k, const Layer *layer, int l, int d, bool import,
                    bool convert_dtype, TensorError *error) {
    if (k->onnx) {
        NnOnnxWeights w = onnx_weights(k, layer, d);
        w.convert_dtype = convert_dtype;
        return convert_onnx(m, l * m->D + d, import, &w, error);
    }
    NnKerasWeights w = keras_weights(layer, d);
    w.convert_dtype = convert_dtype;
    return convert_keras(m, l * m->D + d, import, &w, error);
}

static void must_convert(const Model *m, const Case *k, const Layer *layer, int l, bool import,
                         bool convert_dtype) {
    TensorError error;
    for (int d = 0; d < m->D; d++)
        cr_assert(convert(m, k, layer, l, d, import, convert_dtype, &error), "%s: %s", k->name,
                  error.message);
}

/* Direction d of a layer for the equations above. */
static Weights of_direction(const Case *k, const Layer *layer, int64_t I, int64_t H, int d) {
    const double *at[TENSORS];
    for (int n = 0; n < TENSORS; n++) {
        Tensor part = tensor_select(&layer->t[n], 0, d);
        at[n] = tensor_is_nil(&part) ? NULL : part.data;
    }
    return (Weights){I, H, at[W], at[R], at[B], at[P], k->option};
}

/* ---- outputs ---- */

enum { MAX_STEPS = 8, MAX_BATCH = 2, MAX_PASSES = 4 };

/* What a stack gives, in the framework's own equations: y of the last layer and all states. */
typedef struct {
    double y[MAX_STEPS][MAX_BATCH][2 * MAX_SIZE];
    double h[MAX_PASSES][MAX_BATCH][MAX_SIZE], c[MAX_PASSES][MAX_BATCH][MAX_SIZE];
} Reference;

/* y holds the layer's input, and then its output: each direction reads all steps of the input. */
static void reference_layer(const Case *k, const Layer *layer, int l, int D, int64_t T,
                            int64_t batch, int64_t I, int64_t H, Reference *ref) {
    static double y[MAX_STEPS][MAX_BATCH][2 * MAX_SIZE];
    for (int d = 0; d < D; d++) {
        Weights m = of_direction(k, layer, I, H, d);
        for (int64_t b = 0; b < batch; b++)
            for (int64_t s = 0; s < T; s++) {
                int64_t t = d ? T - 1 - s : s;
                double *h = ref->h[l * D + d][b];
                k->step(&m, ref->y[t][b], h, ref->c[l * D + d][b]);
                memcpy(&y[t][b][d * H], h, (size_t)H * sizeof *h);
            }
    }
    memcpy(ref->y, y, sizeof y);
}

static void expect_state(const char *name, AgVar got, double want[][MAX_BATCH][MAX_SIZE],
                         int passes, int64_t batch, int64_t H) {
    cr_assert_eq(ag_numel(got), passes * batch * H, "%s", name);
    for (int64_t e = 0; e < ag_numel(got); e++)
        cr_expect_float_eq(tensor_get(ag_value(got), e), want[e / H / batch][e / H % batch][e % H],
                           1e-12, "%s: state %lld", name, (long long)e);
}

/* Runs ours and theirs on the same random x, h0 and c0. */
static void expect_outputs(const Model *m, const Case *k, const Layer *layers, TensorArena *a) {
    const int64_t T = 6, batch = 2, I = m->I, H = m->H, size = m->D * H;
    int passes = m->L * m->D;
    Tensor x = model_tensor(a, TENSOR_F64, 3, (int64_t[]){T, batch, I}, 1);
    Tensor h0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){passes, batch, H}, 2);
    Tensor c0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){passes, batch, H}, 3);
    static Reference ref;
    for (int64_t e = 0; e < T * batch * I; e++)
        ref.y[e / I / batch][e / I % batch][e % I] = tensor_get(&x, e);
    for (int64_t e = 0; e < passes * batch * H; e++) {
        ref.h[e / H / batch][e / H % batch][e % H] = tensor_get(&h0, e);
        ref.c[e / H / batch][e / H % batch][e % H] = tensor_get(&c0, e);
    }
    for (int l = 0; l < m->L; l++)
        reference_layer(k, &layers[l], l, m->D, T, batch, l ? size : I, H, &ref);

    AgTape *t = ag_tape_new();
    NnLstmOutput out = model_run(m, ag_input(t, &x), ag_input(t, &h0), ag_input(t, &c0), NULL);
    cr_assert(ag_tape_ok(t), "%s: %s", k->name, ag_tape_error(t));
    cr_assert_eq(ag_numel(out.y), T * batch * size);
    for (int64_t e = 0; e < ag_numel(out.y); e++)
        cr_expect_float_eq(tensor_get(ag_value(out.y), e),
                           ref.y[e / size / batch][e / size % batch][e % size], 1e-12,
                           "%s: y %lld", k->name, (long long)e);
    expect_state(k->name, out.hn, ref.h, passes, batch, H);
    if (m->kind == MODEL_LSTM) expect_state(k->name, out.cn, ref.c, passes, batch, H);
    ag_tape_free(t);
}

Test(convert, imported_layers_compute_what_the_other_framework_does) {
    for (int n = 0; n < CASES; n++)
        for (int shape = 0; shape < 4; shape++) {
            int L = 1 + shape / 2, D = 1 + shape % 2;
            TensorArena *a = tensor_arena_new();
            Model m = make_model(&cases[n], TENSOR_F64, L, D);
            Layer layers[2];
            for (int l = 0; l < L; l++) {
                layers[l] = random_layer(a, &cases[n], l ? D * HIDDEN : INPUT, D, (uint64_t)l);
                must_convert(&m, &cases[n], &layers[l], l, true, false);
            }
            expect_outputs(&m, &cases[n], layers, a);
            tensor_arena_free(a);
            model_free(&m);
        }
}

/* ---- numbers worked out by hand ----
 *
 * I = 1, H = 2, T = 2, h0 = c0 = 0.  The gates do not look at x or h: their biases are the
 * logarithms of odds, so with ln 3 a gate is 3/4, with 0 it is 1/2, with -ln 3 it is 1/4:
 *
 *     i = (3/4, 1/2)    f = (1/2, 1/4)    o = (1/4, 3/4)
 *
 * The candidate is tanh(1 x + 4/3 h_2) of unit 1 and tanh(2 x + 4 h_1) of unit 2, without bias.
 *
 * Step 1, x = ln(3)/2:  candidate (tanh(ln(3)/2), tanh(ln 3)) = (1/2, 4/5)
 *     c = i * candidate                  = (3/8, 2/5)
 *     h = o * tanh(c)                    = (tanh(3/8)/4, 3 tanh(2/5)/4)
 *                                        = (0.0895893495876965, 0.284961721691419)
 * Step 2, x = 0:        candidate (tanh(4/3 h_2), tanh(4 h_1)) = (tanh(tanh(2/5)), tanh(tanh(3/8)))
 *                                        = (0.362663143370432, 0.343766366211251)
 *     c = f * c + i * candidate          = (3/16 + 3/4 0.362663143370432,
 *                                           1/10 + 1/2 0.343766366211251)
 *                                        = (0.459497357527824, 0.271883183105626)
 *     h = o * tanh(c)                    = (0.107418613845695, 0.199032202080273) */
static const double hand_h[2][2] = {{0.0895893495876965, 0.284961721691419},
                                    {0.107418613845695, 0.199032202080273}};
static const double hand_c[2] = {0.459497357527824, 0.271883183105626};

#define LN3 1.0986122886681098

static void expect_hand_numbers(const NnLstm *m) {
    double x[2] = {LN3 / 2, 0};
    Tensor input = tensor_wrap(x, TENSOR_F64, 3, (int64_t[]){2, 1, 1});
    AgTape *t = ag_tape_new();
    NnLstmOutput out = nn_lstm(m, ag_input(t, &input), NULL, NULL);
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    for (int64_t e = 0; e < 4; e++)
        cr_expect_float_eq(tensor_get(ag_value(out.y), e), hand_h[e / 2][e % 2], 1e-14);
    for (int64_t j = 0; j < 2; j++)
        cr_expect_float_eq(tensor_get(ag_value(out.cn), j), hand_c[j], 1e-14);
    ag_tape_free(t);
}

Test(convert, an_lstm_worked_out_by_hand_in_keras_layout) {
    /* columns: i1 i2 f1 f2 c1 c2 o1 o2 */
    double kernel[] = {0, 0, 0, 0, 1, 2, 0, 0};
    double recurrent_kernel[] = {0, 0, 0, 0, 0, 4, 0, 0, /* from h_1 */
                                 0, 0, 0, 0, 4. / 3, 0, 0, 0};
    double bias[] = {LN3, 0, 0, -LN3, 0, 0, -LN3, LN3};
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    NnLstm m = nn_lstm_make(set, "m", 1, 2, NULL);
    NnKerasWeights w = {.kernel = tensor_wrap(kernel, TENSOR_F64, 2, (int64_t[]){1, 8}),
                        .recurrent_kernel = tensor_wrap(recurrent_kernel, TENSOR_F64, 2,
                                                        (int64_t[]){2, 8}),
                        .bias = tensor_wrap(bias, TENSOR_F64, 1, (int64_t[]){8})};
    TensorError error;
    cr_assert(nn_lstm_from_keras(&m.layer[0].params, &w, &error), "%s", error.message);
    expect_hand_numbers(&m);
    nn_params_free(set);
}

Test(convert, an_lstm_worked_out_by_hand_in_onnx_layout) {
    /* rows: i1 i2 o1 o2 f1 f2 c1 c2; the biases are cut in two */
    double w_data[] = {0, 0, 0, 0, 0, 0, 1, 2};
    double r_data[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* c1: */ 0, 4. / 3, /* c2: */ 4, 0};
    double b_data[] = {LN3, 0, 0, LN3, 0, 0, 0, 0, /* Rb: */ 0, 0, -LN3, 0, 0, -LN3, 0, 0};
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    NnLstm m = nn_lstm_make(set, "m", 1, 2, NULL);
    NnOnnxWeights w = {.w = tensor_wrap(w_data, TENSOR_F64, 3, (int64_t[]){1, 8, 1}),
                       .r = tensor_wrap(r_data, TENSOR_F64, 3, (int64_t[]){1, 8, 2}),
                       .b = tensor_wrap(b_data, TENSOR_F64, 2, (int64_t[]){1, 16})};
    TensorError error;
    cr_assert(nn_lstm_from_onnx(&m.layer[0].params, &w, &error), "%s", error.message);
    expect_hand_numbers(&m);
    nn_params_free(set);
}

/* ---- round trips ---- */

static void expect_equal(const char *name, const Tensor *got, const Tensor *want) {
    for (int64_t e = 0; e < tensor_numel(want); e++)
        cr_expect_eq(tensor_get(got, e), tensor_get(want, e), "%s: element %lld", name,
                     (long long)e);
}

/* Axis 1 of W, R, B and P is gates of H rows, of B twice: those of the forget gate, which
 * input_forget leaves unused, are set to 0. */
static void clear_forget_rows(const Case *k, Layer *layer) {
    if (k->kind != MODEL_LSTM || !k->option) return;
    for (int n = 0; n < TENSORS; n++) {
        Tensor f = tensor_narrow(&layer->t[n], 1, 2 * HIDDEN, HIDDEN);
        if (!tensor_is_nil(&f)) tensor_fill(&f, 0);
    }
    Tensor f = tensor_narrow(&layer->t[B], 1, 6 * HIDDEN, HIDDEN);
    if (!tensor_is_nil(&f)) tensor_fill(&f, 0);
}

Test(convert, exporting_what_was_imported_gives_it_back) {
    for (int n = 0; n < CASES; n++) {
        const Case *k = &cases[n];
        TensorArena *a = tensor_arena_new();
        Model m = make_model(k, TENSOR_F64, 1, 2);
        Layer theirs = random_layer(a, k, INPUT, 2, 1), back = random_layer(a, k, INPUT, 2, 2);
        must_convert(&m, k, &theirs, 0, true, false);
        must_convert(&m, k, &back, 0, false, false);
        clear_forget_rows(k, &theirs);
        for (int i = 0; i < TENSORS; i++) expect_equal(k->name, &back.t[i], &theirs.t[i]);
        tensor_arena_free(a);
        model_free(&m);
    }
}

Test(convert, importing_what_was_exported_gives_it_back_but_for_kerass_one_bias) {
    for (int n = 0; n < CASES; n++) {
        const Case *k = &cases[n];
        TensorArena *a = tensor_arena_new();
        Model m = make_model(k, TENSOR_F64, 1, 2), copy = make_model(k, TENSOR_F64, 1, 2);
        nn_init_apply(copy.set, "*", nn_init_constant(9));
        Layer theirs = random_layer(a, k, INPUT, 2, 1);
        must_convert(&m, k, &theirs, 0, false, false);
        must_convert(&copy, k, &theirs, 0, true, false);
        for (int i = 0; i < nn_params_count(m.set); i++) {
            const NnParam *p = nn_params_at(m.set, i), *q = nn_params_at(copy.set, i);
            bool ih = strstr(p->name, "bias_ih"), hh = strstr(p->name, "bias_hh");
            bool one_bias = !k->onnx && k->kind != MODEL_GRU && (ih || hh);
            for (int64_t e = 0; e < tensor_numel(&p->value); e++) {
                double want = tensor_get(&p->value, e);
                if (one_bias) /* bias_hh follows its bias_ih */
                    want = ih ? want + tensor_get(&nn_params_at(m.set, i + 1)->value, e) : 0;
                cr_expect_eq(tensor_get(&q->value, e), want, "%s: %s", k->name, p->name);
            }
        }
        tensor_arena_free(a);
        model_free(&m);
        model_free(&copy);
    }
}

/* In F32 from F64 and back, or in F64 from F32 and back: what comes back is what F32 holds. */
static void expect_dtypes(const Case *k, bool narrow, TensorArena *a) {
    Model m = make_model(k, narrow ? TENSOR_F32 : TENSOR_F64, 1, 2);
    Layer theirs = random_layer(a, k, INPUT, 2, 1), rounded = new_layer(a, k, INPUT, 2, TENSOR_F32);
    Layer back = new_layer(a, k, INPUT, 2, narrow ? TENSOR_F64 : TENSOR_F32);
    for (int i = 0; i < TENSORS; i++)
        if (!tensor_is_nil(&theirs.t[i])) tensor_convert(&rounded.t[i], &theirs.t[i]);
    const Layer *source = narrow ? &theirs : &rounded;
    TensorError error;
    for (int import = 0; import < 2; import++) {
        cr_expect(!convert(&m, k, import ? source : &back, 0, 0, import, false, &error));
        cr_expect(strstr(error.message, "convert_dtype is off"), "%s", error.message);
    }
    must_convert(&m, k, source, 0, true, true);
    must_convert(&m, k, &back, 0, false, true);
    clear_forget_rows(k, &rounded);
    for (int i = 0; i < TENSORS; i++) expect_equal(k->name, &back.t[i], &rounded.t[i]);
    model_free(&m);
}

Test(convert, the_two_dtypes_are_converted_on_request) {
    TensorArena *a = tensor_arena_new();
    for (int n = 0; n < 2 * CASES; n++) expect_dtypes(&cases[n / 2], n % 2, a);
    tensor_arena_free(a);
}

Test(convert, kerass_bias_is_the_sum_rounded_once) {
    TensorArena *a = tensor_arena_new();
    const Case *k = &cases[KERAS_LSTM];
    Model m = make_model(k, TENSOR_F32, 1, 1);
    const NnLstmParams *p = &m.lstm.layer[0].params;
    tensor_set(&p->bias_ih->value, 0, 1);
    tensor_set(&p->bias_hh->value, 0, 0x1p-30);
    Layer layer = new_layer(a, k, INPUT, 1, TENSOR_F64);
    must_convert(&m, k, &layer, 0, false, true);
    cr_expect_eq(tensor_get(&layer.t[B], 0), 1 + 0x1p-30);
    cr_expect_eq(tensor_get(&layer.t[B], 7),
                 tensor_get(&p->bias_ih->value, 7) + tensor_get(&p->bias_hh->value, 7));
    tensor_arena_free(a);
    model_free(&m);
}

/* ---- views, cells and what one side leaves out ---- */

Test(convert, tensors_of_any_strides_are_read_and_written) {
    TensorArena *a = tensor_arena_new();
    const Case *k = &cases[KERAS_LSTM];
    Model m = new_model(k);
    Layer theirs = random_layer(a, k, INPUT, 1, 1), back = new_layer(a, k, INPUT, 1, TENSOR_F64);
    NnKerasWeights w = keras_weights(&theirs, 0), out = keras_weights(&back, 0), want = w;
    /* the same elements, stored column by column, and backwards */
    Tensor columns = tensor_transpose(&w.kernel, 0, 1), stored = tensor_copy(a, &columns);
    Tensor flipped = tensor_flip(&w.bias, 0), reversed = tensor_copy(a, &flipped);
    w.kernel = tensor_transpose(&stored, 0, 1);
    w.bias = tensor_flip(&reversed, 0);
    Tensor turned = tensor_new(a, TENSOR_F64, 2, (int64_t[]){4 * HIDDEN, INPUT});
    out.kernel = tensor_transpose(&turned, 0, 1);
    TensorError error;
    cr_assert(convert_keras(&m, 0, true, &w, &error), "%s", error.message);
    cr_assert(convert_keras(&m, 0, false, &out, &error), "%s", error.message);
    expect_equal("kernel", &out.kernel, &want.kernel);
    expect_equal("bias", &out.bias, &want.bias);
    tensor_arena_free(a);
    model_free(&m);
}

Test(convert, cells_take_the_same_weights) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 7);
    TensorArena *a = tensor_arena_new();
    NnGruCell cell = nn_gru_cell_make(set, "cell", INPUT, HIDDEN, NULL);
    const Case *k = &cases[KERAS_GRU];
    Layer theirs = random_layer(a, k, INPUT, 1, 1);
    NnKerasWeights w = keras_weights(&theirs, 0);
    TensorError error;
    cr_assert(nn_gru_from_keras(&cell.params, &w, &error), "%s", error.message);
    Tensor x = model_tensor(a, TENSOR_F64, 2, (int64_t[]){1, INPUT}, 1);
    Tensor h = model_tensor(a, TENSOR_F64, 2, (int64_t[]){1, HIDDEN}, 2);
    AgTape *t = ag_tape_new();
    AgVar next = nn_gru_cell(&cell, ag_input(t, &x), ag_input(t, &h));
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    Weights m = of_direction(k, &theirs, INPUT, HIDDEN, 0);
    k->step(&m, x.data, h.data, NULL);
    cr_expect_lt(model_distance(ag_value(next), &h), 1e-14);
    ag_tape_free(t);
    tensor_arena_free(a);
    nn_params_free(set);
}

static void expect_zero(const Tensor *x) {
    cr_expect_gt(tensor_numel(x), 0);
    for (int64_t e = 0; e < tensor_numel(x); e++) cr_expect_eq(tensor_get(x, e), 0);
}

Test(convert, biases_and_peepholes_that_one_side_has_not_are_zero) {
    TensorArena *a = tensor_arena_new();
    const Case *bare = &cases[ONNX_LSTM_BARE], *peepholes = &cases[ONNX_LSTM_PEEPHOLES];
    Model full = new_model(peepholes), empty = new_model(bare);
    Layer theirs = random_layer(a, bare, INPUT, 1, 1);
    NnOnnxWeights w = onnx_weights(bare, &theirs, 0);
    w.b = (Tensor){0}; /* as good as nil, which p is */
    TensorError error;
    cr_assert(convert_onnx(&full, 0, true, &w, &error), "%s", error.message);
    const NnLstmParams *p = &full.lstm.layer[0].params;
    expect_zero(&p->bias_ih->value);
    expect_zero(&p->bias_hh->value);
    expect_zero(&p->weight_peephole->value);

    Layer back = random_layer(a, peepholes, INPUT, 1, 2);
    must_convert(&empty, peepholes, &back, 0, false, false);
    expect_zero(&back.t[B]);
    expect_zero(&back.t[P]);
    tensor_arena_free(a);
    model_free(&full);
    model_free(&empty);
}

Test(convert, only_the_direction_asked_for_is_written) {
    TensorArena *a = tensor_arena_new();
    const Case *k = &cases[ONNX_LSTM];
    Model m = new_model(k);
    Layer theirs = random_layer(a, k, INPUT, 2, 1), before = random_layer(a, k, INPUT, 2, 1);
    NnOnnxWeights w = onnx_weights(k, &theirs, 1);
    TensorError error;
    cr_assert(convert_onnx(&m, 0, false, &w, &error), "%s", error.message);
    for (int i = W; i <= B; i++)
        for (int d = 0; d < 2; d++) {
            Tensor now = tensor_select(&theirs.t[i], 0, d), old = tensor_select(&before.t[i], 0, d);
            cr_expect_eq(model_distance(&now, &old) == 0, d == 0);
        }
    tensor_arena_free(a);
    model_free(&m);
}

Test(convert, an_import_is_a_change_of_the_parameters) {
    TensorArena *a = tensor_arena_new();
    const Case *k = &cases[ONNX_LSTM_PEEPHOLES];
    Model m = new_model(k);
    uint64_t before[8];
    for (int i = 0; i < nn_params_count(m.set); i++)
        before[i] = nn_params_at(m.set, i)->version;
    Layer theirs = random_layer(a, k, INPUT, 1, 1);
    must_convert(&m, k, &theirs, 0, true, false);
    for (int i = 0; i < nn_params_count(m.set); i++)
        cr_expect_gt(nn_params_at(m.set, i)->version, before[i]);
    tensor_arena_free(a);
    model_free(&m);
}

/* ---- what is refused ---- */

/* A sum that any write to a parameter changes. */
static double fingerprint(const NnParamSet *set) {
    double sum = 0;
    for (int i = 0; i < nn_params_count(set); i++) {
        const NnParam *p = nn_params_at(set, i);
        for (int64_t e = 0; e < tensor_numel(&p->value); e++)
            sum += tensor_get(&p->value, e) * (double)(e + 1);
        sum += (double)p->version;
    }
    return sum;
}

static void expect_message(bool ok, const TensorError *error, const char *words) {
    cr_expect(!ok, "%s", words);
    cr_expect(strstr(error->message, words), "expected \"%s\" in \"%s\"", words, error->message);
    cr_expect(!strchr(error->message, '\n'));
}

/* The layer is refused with these words, and neither side has changed. */
static void expect_refused(const Model *m, const Case *k, const Layer *layer, bool import,
                           const char *words) {
    TensorError error;
    TensorArena *a = tensor_arena_new();
    Layer before = *layer;
    for (int i = 0; i < TENSORS; i++)
        if (!tensor_is_nil(&before.t[i])) before.t[i] = tensor_copy(a, &layer->t[i]);
    double params = fingerprint(m->set);
    expect_message(convert(m, k, layer, 0, 0, import, false, &error), &error, words);
    for (int i = 0; i < TENSORS; i++) expect_equal(words, &layer->t[i], &before.t[i]);
    cr_expect_eq(fingerprint(m->set), params);
    tensor_arena_free(a);
}

/* Tensor `which` of the case gets the shape, with the axis of directions. */
typedef struct {
    int of, which, ndim;
    int64_t shape[4];
    const char *words;
} WrongShape;

static const WrongShape wrong_shapes[] = {
    {KERAS_LSTM, W, 3, {1, 3, 16},
     "_keras: rnn.weight_ih_l0 f64[20,3]: expected kernel f64[3,20], got f64[3,16]"},
    {KERAS_LSTM, W, 3, {1, 4, 20}, "expected kernel f64[3,20], got f64[4,20]"},
    {KERAS_LSTM, W, 2, {1, 60}, "expected kernel f64[3,20], got f64[60]"},
    {KERAS_LSTM, R, 3, {1, 20, 5},
     "rnn.weight_hh_l0 f64[20,5]: expected recurrent_kernel f64[5,20], got f64[20,5]"},
    {KERAS_LSTM, B, 2, {1, 40}, "rnn.bias_ih_l0 f64[20]: expected bias f64[20], got f64[40]"},
    {KERAS_LSTM, B, 3, {1, 2, 20}, "expected bias f64[20], got f64[2,20]"},
    {KERAS_GRU, B, 2, {1, 15}, "rnn.bias_ih_l0 f64[15]: expected bias f64[2,15], got f64[15]"},
    {KERAS_RNN, W, 3, {1, 3, 15}, "rnn.weight_ih_l0 f64[5,3]: expected kernel f64[3,5], got"},
    {ONNX_LSTM, W, 3, {1, 3, 20},
     "_onnx: rnn.weight_ih_l0 f64[20,3]: expected W f64[1,20,3], got f64[1,3,20]"},
    {ONNX_LSTM, W, 2, {20, 3}, "expected W f64[1,20,3], got f64[20,3]"},
    {ONNX_LSTM, W, 3, {0, 20, 3}, "no direction 0 in W f64[0,20,3]"},
    {ONNX_LSTM, R, 3, {2, 20, 5},
     "rnn.weight_hh_l0 f64[20,5]: expected R f64[1,20,5], got f64[2,20,5]"},
    {ONNX_LSTM, B, 2, {1, 20}, "rnn.bias_ih_l0 f64[20]: expected B f64[1,40], got f64[1,20]"},
    {ONNX_LSTM_PEEPHOLES, P, 2, {1, 10},
     "rnn.weight_peephole_l0 f64[15]: expected P f64[1,15], got f64[1,10]"},
    {ONNX_GRU, B, 2, {1, 15}, "rnn.bias_ih_l0 f64[15]: expected B f64[1,30], got f64[1,15]"},
    {ONNX_RNN, R, 3, {1, 5, 3}, "rnn.weight_hh_l0 f64[5,5]: expected R f64[1,5,5], got f64[1,5,3]"},
};

Test(convert, shapes_that_do_not_fit_are_named_and_nothing_is_written) {
    TensorArena *a = tensor_arena_new();
    for (size_t i = 0; i < sizeof wrong_shapes / sizeof *wrong_shapes; i++) {
        const WrongShape *wrong = &wrong_shapes[i];
        const Case *k = &cases[wrong->of];
        Model m = new_model(k);
        Layer layer = random_layer(a, k, INPUT, 1, 1);
        layer.t[wrong->which] = tensor_new(a, TENSOR_F64, wrong->ndim, wrong->shape);
        tensor_fill(&layer.t[wrong->which], 9);
        expect_refused(&m, k, &layer, true, wrong->words);
        expect_refused(&m, k, &layer, false, wrong->words);
        model_free(&m);
    }
    tensor_arena_free(a);
}

Test(convert, what_would_be_lost_is_refused) {
    TensorArena *a = tensor_arena_new();
    const struct {
        int layer, tensors; /* the cases of the layer and of the tensors */
        bool import;
        const char *words;
    } lost[] = {
        {ONNX_LSTM_BARE, ONNX_LSTM, true,
         "lstm_from_onnx: no parameter for B f64[1,40] in the layer of rnn.weight_hh_l0"},
        {ONNX_LSTM, ONNX_LSTM_PEEPHOLES, true, "no parameter for P f64[1,15]"},
        {ONNX_GRU_BARE, ONNX_GRU, true, "gru_from_onnx: no parameter for B f64[1,30]"},
        {KERAS_LSTM_BARE, KERAS_LSTM, true, "lstm_from_keras: no parameter for bias f64[20]"},
        {KERAS_RNN_BARE, KERAS_RNN, true, "rnn_from_keras: no parameter for bias f64[5]"},
        {ONNX_LSTM, ONNX_LSTM_BARE, false, "lstm_to_onnx: no tensor B for rnn.bias_ih_l0"},
        {ONNX_LSTM_PEEPHOLES, ONNX_LSTM, false, "no tensor P for rnn.weight_peephole_l0"},
        {KERAS_GRU, KERAS_GRU_BARE, false, "gru_to_keras: no tensor bias for rnn.bias_ih_l0"},
        {ONNX_LSTM_PEEPHOLES, KERAS_LSTM, true, "rnn.weight_peephole_l0: Keras has no peepholes"},
        {ONNX_LSTM_PEEPHOLES, KERAS_LSTM, false, "rnn.weight_peephole_l0: Keras has no peepholes"},
        {ONNX_LSTM_COUPLED, KERAS_LSTM, true, "rnn.weight_hh_l0: Keras has no coupled gates"},
        {ONNX_LSTM_COUPLED, KERAS_LSTM, false, "rnn.weight_hh_l0: Keras has no coupled gates"},
        {ONNX_LSTM_COUPLED, ONNX_LSTM, true,
         "rnn.weight_hh_l0: gates are coupled, but input_forget is 0"},
        {ONNX_LSTM, ONNX_LSTM_COUPLED, false,
         "rnn.weight_hh_l0: gates are not coupled, but input_forget is 1"},
    };
    for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) {
        Model m = new_model(&cases[lost[i].layer]);
        Layer layer = random_layer(a, &cases[lost[i].tensors], INPUT, 1, 1);
        expect_refused(&m, &cases[lost[i].tensors], &layer, lost[i].import, lost[i].words);
        model_free(&m);
    }
    tensor_arena_free(a);
}

Test(convert, projections_and_layer_normalisation_are_refused) {
    TensorArena *a = tensor_arena_new();
    const struct {
        NnLstmOptions o;
        const char *words;
    } layers[] = {
        {{.proj_size = 2}, "rnn.weight_hr_l0: no place for a projection"},
        {{.layer_norm = true}, "rnn.layer_norm_ih_l0: no place for layer normalisation"},
    };
    for (int n = 0; n < 8; n++) {
        const Case *k = &cases[n & 1 ? ONNX_LSTM : KERAS_LSTM];
        Model m = model_new(MODEL_LSTM, TENSOR_F64, INPUT, HIDDEN, &layers[n / 4].o);
        Layer layer = random_layer(a, k, INPUT, 1, 1);
        expect_refused(&m, k, &layer, n & 2, layers[n / 4].words);
        model_free(&m);
    }
    tensor_arena_free(a);
}

Test(convert, a_gru_with_its_reset_gate_before_the_product_is_refused) {
    TensorArena *a = tensor_arena_new();
    Model m = new_model(&cases[ONNX_GRU]);
    Layer theirs = random_layer(a, &cases[KERAS_GRU], INPUT, 1, 1);
    NnKerasWeights keras = keras_weights(&theirs, 0);
    keras.reset_after = false;
    theirs = random_layer(a, &cases[ONNX_GRU], INPUT, 1, 1);
    NnOnnxWeights onnx = onnx_weights(&cases[ONNX_GRU], &theirs, 0);
    onnx.linear_before_reset = false;
    double before = fingerprint(m.set);
    TensorError error;
    for (int import = 0; import < 2; import++) {
        expect_message(convert_keras(&m, 0, import, &keras, &error), &error,
                       "_keras: reset_after is off");
        expect_message(convert_onnx(&m, 0, import, &onnx, &error), &error,
                       "_onnx: linear_before_reset is off");
    }
    cr_expect_eq(fingerprint(m.set), before);
    tensor_arena_free(a);
    model_free(&m);
}

Test(convert, unusable_tensors_are_refused) {
    TensorArena *a = tensor_arena_new();
    const Case *k = &cases[ONNX_LSTM];
    Model m = new_model(k);
    Layer layer = random_layer(a, k, INPUT, 1, 1), wrong = layer;
    wrong.t[W] = tensor_nil();
    expect_refused(&m, k, &wrong, true, "lstm_from_onnx: W: nil tensor");
    wrong = layer;
    wrong.t[R] = (Tensor){0};
    TensorError error;
    expect_message(convert(&m, k, &wrong, 0, 0, true, false, &error), &error, "R: no data");
    wrong = layer;
    wrong.t[B] = tensor_new(a, TENSOR_I64, 2, (int64_t[]){1, 8 * HIDDEN});
    expect_message(convert(&m, k, &wrong, 0, 0, true, true, &error), &error,
                   "rnn.bias_ih_l0 is f64[20], but B i64[1,40]");
    Tensor one = model_tensor(a, TENSOR_F64, 2, (int64_t[]){1, 1}, 1);
    wrong.t[B] = tensor_expand(&one, 2, (int64_t[]){1, 8 * HIDDEN});
    expect_refused(&m, k, &wrong, false, "lstm_to_onnx: B f64[1,40] overlaps itself");
    cr_expect(convert(&m, k, &wrong, 0, 0, true, false, &error), "reading one is allowed");
    for (int direction = -1; direction < 2; direction += 2) {
        NnOnnxWeights w = onnx_weights(k, &layer, direction);
        char words[50];
        snprintf(words, sizeof words, "no direction %d in W f64[1,20,3]", direction);
        expect_message(convert_onnx(&m, 0, true, &w, &error), &error, words);
    }
    tensor_arena_free(a);
    model_free(&m);
}

Test(convert, layers_that_were_not_made_are_refused) {
    TensorArena *a = tensor_arena_new();
    const Case *k = &cases[ONNX_LSTM];
    Model m = new_model(k);
    Layer layer = random_layer(a, k, INPUT, 1, 1);
    NnOnnxWeights w = onnx_weights(k, &layer, 0);
    TensorError error;
    expect_message(nn_lstm_from_onnx(NULL, &w, &error), &error,
                   "lstm_from_onnx: the layer was not made");
    cr_expect(!nn_lstm_from_onnx(&(NnLstmParams){0}, &w, NULL), "an error may be NULL");
    NnLstmCell cell = nn_lstm_cell_make(m.set, "cell", -1, 2, NULL);
    expect_message(nn_lstm_from_onnx(&cell.params, &w, &error), &error,
                   "lstm_from_onnx: the layer was not made: lstm_cell cell: input size -1");
    tensor_arena_free(a);
    model_free(&m);
}
