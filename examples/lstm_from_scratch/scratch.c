/* scratch.c -- see scratch.h. */
#include "examples/lstm_from_scratch/scratch.h"

#include <math.h>

/* ---- from scratch ---- */

static NnParam *weight(NnParamSet *set, int64_t rows, int64_t columns, const char *name) {
    return nn_param(set, nn_init_normal(0, 0.01), 2, (int64_t[]){rows, columns}, "%s", name);
}

static NnParam *bias(NnParamSet *set, int64_t n, const char *name) {
    return nn_param(set, nn_init_constant(0), 1, &n, "%s", name);
}

ScratchModel scratch_model_make(NnParamSet *set, int64_t V, int64_t H) {
    ScratchModel m;
    m.W_xi = weight(set, V, H, "W_xi"), m.W_hi = weight(set, H, H, "W_hi");
    m.b_i = bias(set, H, "b_i");
    m.W_xf = weight(set, V, H, "W_xf"), m.W_hf = weight(set, H, H, "W_hf");
    m.b_f = bias(set, H, "b_f");
    m.W_xo = weight(set, V, H, "W_xo"), m.W_ho = weight(set, H, H, "W_ho");
    m.b_o = bias(set, H, "b_o");
    m.W_xc = weight(set, V, H, "W_xc"), m.W_hc = weight(set, H, H, "W_hc");
    m.b_c = bias(set, H, "b_c");
    m.W_hq = weight(set, H, V, "W_hq");
    m.b_q = bias(set, V, "b_q");
    return m;
}

/* a + b + c */
static AgVar add3(AgVar a, AgVar b, AgVar c) { return ag_add(ag_add(a, b), c); }

ScratchOutput scratch_forward(const ScratchModel *m, AgVar X, ScratchState s) {
    AgTape *t = X.tape;
    AgVar W_xi = nn_var(t, m->W_xi), W_hi = nn_var(t, m->W_hi), b_i = nn_var(t, m->b_i);
    AgVar W_xf = nn_var(t, m->W_xf), W_hf = nn_var(t, m->W_hf), b_f = nn_var(t, m->b_f);
    AgVar W_xo = nn_var(t, m->W_xo), W_ho = nn_var(t, m->W_ho), b_o = nn_var(t, m->b_o);
    AgVar W_xc = nn_var(t, m->W_xc), W_hc = nn_var(t, m->W_hc), b_c = nn_var(t, m->b_c);
    AgVar W_hq = nn_var(t, m->W_hq), b_q = nn_var(t, m->b_q);
    AgVar H = s.h, C = s.c;

    int64_t T = ag_dim(X, 0);
    AgVar *every_H = ag_tape_alloc(t, (size_t)T * sizeof *every_H);
    if (!every_H) return (ScratchOutput){{t, 0, 0}, {t, 0, 0}, s};
    for (int64_t step = 0; step < T; step++) {
        AgVar x = ag_select(X, 0, step); /* [B, V] */
        AgVar I = ag_sigmoid(add3(ag_matmul(x, W_xi), ag_matmul(H, W_hi), b_i));
        AgVar F = ag_sigmoid(add3(ag_matmul(x, W_xf), ag_matmul(H, W_hf), b_f));
        AgVar O = ag_sigmoid(add3(ag_matmul(x, W_xo), ag_matmul(H, W_ho), b_o));
        AgVar C_new = ag_tanh(add3(ag_matmul(x, W_xc), ag_matmul(H, W_hc), b_c));
        C = ag_add(ag_mul(F, C), ag_mul(I, C_new));
        H = ag_mul(O, ag_tanh(C));
        every_H[step] = H;
    }
    AgVar y = ag_stack((int)T, every_H, 0); /* [T, B, H] */
    AgVar logits = ag_add(ag_matmul(y, W_hq), b_q);
    return (ScratchOutput){y, logits, {H, C}};
}

/* ---- by the library ---- */

ScratchOutput library_forward(const LibraryModel *m, AgVar X, ScratchState s) {
    NnLstmState start = {ag_unsqueeze(s.h, 0), ag_unsqueeze(s.c, 0)}; /* [1, B, H] */
    NnLstmOutput out = nn_lstm(&m->lstm, X, &start, NULL);
    return (ScratchOutput){out.y, nn_linear(&m->out, out.y),
                           {ag_select(out.hn, 0, 0), ag_select(out.cn, 0, 0)}};
}

/* One parameter from scratch, and where the library has it: rows row.. of `whole`, transposed if
 * it is a matrix. */
typedef struct {
    const NnParam *part;
    NnParam *whole;
    int64_t row;
} Pair;

enum { PAIRS = 14 };

static void list_pairs(const ScratchModel *m, const LibraryModel *same, Pair pair[PAIRS]) {
    const NnLstmParams *p = &same->lstm.layer[0].params;
    int64_t H = same->lstm.H;
    const Pair list[PAIRS] = {
        {m->W_xi, p->weight_ih, 0},     {m->W_hi, p->weight_hh, 0},     {m->b_i, p->bias_ih, 0},
        {m->W_xf, p->weight_ih, H},     {m->W_hf, p->weight_hh, H},     {m->b_f, p->bias_ih, H},
        {m->W_xc, p->weight_ih, 2 * H}, {m->W_hc, p->weight_hh, 2 * H}, {m->b_c, p->bias_ih, 2 * H},
        {m->W_xo, p->weight_ih, 3 * H}, {m->W_ho, p->weight_hh, 3 * H}, {m->b_o, p->bias_ih, 3 * H},
        {m->W_hq, same->out.weight, 0}, {m->b_q, same->out.bias, 0},
    };
    for (int k = 0; k < PAIRS; k++) pair[k] = list[k];
}

/* The place in the library's parameter, as a view of the shape of the part. */
static Tensor place(const Pair *p) {
    const Tensor *part = &p->part->value;
    Tensor rows = tensor_narrow(&p->whole->value, 0, p->row, part->shape[part->ndim - 1]);
    return part->ndim == 2 ? tensor_transpose(&rows, 0, 1) : rows;
}

LibraryModel library_model_make(NnParamSet *set, const ScratchModel *m) {
    int64_t V = m->W_xi->value.shape[0], H = m->W_xi->value.shape[1];
    LibraryModel same = {nn_lstm_make(set, "lstm", V, H, NULL),
                         nn_linear_make(set, "out", H, V, NULL)};
    if (!nn_params_ok(set)) return same;
    nn_init_apply(set, "lstm.bias_hh_l0", nn_init_constant(0));
    nn_freeze(set, "lstm.bias_hh_l0", true);
    Pair pair[PAIRS];
    list_pairs(m, &same, pair);
    for (int k = 0; k < PAIRS; k++) {
        Tensor to = place(&pair[k]);
        for (int64_t i = 0; i < tensor_numel(&to); i++)
            tensor_set(&to, i, tensor_get(&pair[k].part->value, i));
        nn_param_touch(pair[k].whole);
    }
    return same;
}

double scratch_library_difference(const ScratchModel *m, const LibraryModel *same) {
    Pair pair[PAIRS];
    double worst = 0;
    list_pairs(m, same, pair);
    for (int k = 0; k < PAIRS; k++) {
        Tensor other = place(&pair[k]);
        for (int64_t i = 0; i < tensor_numel(&other); i++)
            worst = fmax(worst, fabs(tensor_get(&other, i) - tensor_get(&pair[k].part->value, i)));
    }
    return worst;
}
