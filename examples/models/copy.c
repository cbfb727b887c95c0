/* copy.c -- attention that copies: an encoder and a decoder that write words they do not know.
 *
 * The encoder makes e [B, T, H] of the source, of which the first lengths[b] of T tokens count.
 * The decoder starts in its last state, reads the target one step late, and makes d [B, T, H].
 * For each sequence, with u over the decoder's steps and t over the source's:
 *
 *     a_u = softmax_t(d_u . e_t)             attention, over t < length          [B, T, T]
 *     o_u = (d_u, sum_t a_ut e_t)            with what it attends to             [B, T, 2H]
 *     q_u = softmax(W o_u + b)               of the V tokens that it knows       [B, T, V]
 *     g_u = s(w . o_u + c)                   the gate: generate or copy          [B, T, 1]
 *     P_u(v) = g_u q_u(v) + (1 - g_u) sum over {t: source_t = v} of a_ut         [B, T, V + X]
 *
 * where q is 0 for the X tokens that it does not know.  All of these are read as one token,
 * UNKNOWN; which it was, only its place in the source tells.  The loss is the mean -ln P(target).
 * J. Gu, Z. Lu, H. Li and V. Li, Incorporating Copying Mechanism in Sequence-to-Sequence
 * Learning, ACL 2016; with this gate: A. See, P. Liu and C. Manning, Get To The Point:
 * Summarization with Pointer-Generator Networks, ACL 2017. */
#include <math.h>

#include "examples/models/models.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/lstm.h"

enum { V = TASK_KNOWN, X = TASK_UNKNOWN, UNKNOWN = V, START, WORDS };

typedef struct {
    NnEmbedding words; /* [WORDS, H] */
    NnLstm encoder, decoder;
    NnLinear vocabulary, gate; /* W, b; w, c */
} Copy;

static void *make(NnParamSet *set, ModelSizes n) {
    Copy *m = nn_params_alloc(set, sizeof *m);
    if (!m) return NULL;
    m->words = nn_embedding_make(set, "words", WORDS, n.H, NULL);
    m->encoder = nn_lstm_make(set, "encoder", n.H, n.H, &(NnLstmOptions){.batch_first = true});
    m->decoder = nn_lstm_make(set, "decoder", n.H, n.H, &(NnLstmOptions){.batch_first = true});
    m->vocabulary = nn_linear_make(set, "vocabulary", 2 * n.H, V, NULL);
    m->gate = nn_linear_make(set, "gate", 2 * n.H, 1, NULL);
    return m;
}

/* P [B, T, V + X] of e, d [B, T, H], source [B, T] and mask [B, T]: 1 beyond the lengths */
static AgVar distribution(const Copy *m, AgVar e, AgVar d, AgVar source, AgVar mask) {
    int64_t B = ag_dim(d, 0), T = ag_dim(d, 1);
    AgVar score = ag_matmul(d, ag_transpose(e, 1, 2));
    AgVar a = ag_softmax(ag_masked_fill(score, ag_unsqueeze(mask, 1), -INFINITY), -1);
    AgVar o = ag_concat(2, (AgVar[]){d, ag_matmul(a, e)}, 2);
    AgVar g = ag_sigmoid(nn_linear(&m->gate, o));
    AgVar q = ag_mul(g, ag_softmax(nn_linear(&m->vocabulary, o), -1));
    AgVar token = ag_expand(ag_unsqueeze(source, 1), 3, (int64_t[]){B, T, T});
    return ag_scatter_add(ag_pad(q, 1, (int64_t[]){0, X}, 0), 2, token,
                          ag_mul(ag_affine(g, -1, 1), a));
}

/* source [B, T], lengths [B], target [B, T], h0 and c0 [B, H] of the encoder */
static AgVar loss(const void *model, AgTape *t, const AgVar *in) {
    const Copy *m = model;
    AgVar source = in[0], lengths = in[1], target = in[2];
    AgVar unknown = ag_full(t, TENSOR_I64, 0, NULL, UNKNOWN);
    AgVar mask = ag_logical_not(ag_transpose(ag_length_mask(lengths, ag_dim(source, 1)), 0, 1));
    AgVar read = nn_embedding(&m->words, ag_where(ag_lt(source, unknown), source, unknown));
    NnLstmState s = {ag_unsqueeze(in[3], 0), ag_unsqueeze(in[4], 0)};
    NnLstmOutput e = nn_lstm(&m->encoder, read, &s, ag_value(lengths)->data);
    AgVar late = ag_pad(ag_where(ag_lt(target, unknown), target, unknown), 1,
                        (int64_t[]){1, -1}, START);
    AgVar d = nn_lstm(&m->decoder, nn_embedding(&m->words, late), &(NnLstmState){e.hn, e.cn}, NULL).y;
    AgVar p = distribution(m, e.y, d, source, mask);
    return ag_nll_loss(ag_log(ag_clamp(p, 1e-30, 1)), ag_masked_fill(target, mask, AG_IGNORE_INDEX), NULL);
}

const Model model_copy = {
    .name = "copy",
    .idea = "attention that copies: an encoder and decoder with a pointer-generator's output",
    .task = "writes tokens backwards, half of which are not in the decoder's vocabulary",
    .inputs = {"source", "lengths", "target"}, .states = {"h0", "c0"},
    .batch = task_reversal, .make = make, .loss = loss,
    .train = {.T = 6, .B = 32, .H = 32}, .check = {.T = 4, .B = 3, .H = 3},
    .steps = 1500, .lr = 0.01, .loss_is = "-ln P a token",
    .baseline = 1.04, .baseline_is = "of knowing all but which of 8 unknown tokens it was",
};
