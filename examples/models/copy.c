/* copy.c -- attention that copies: a decoder that writes words it does not know.
 *
 * The encoder makes e [B, T, H] of the source, of which the first lengths[b] of T tokens count;
 * the decoder starts in its last state, reads the target one step late, and makes d [B, T, H].
 * With u over the decoder's steps, t over the source's, s the logistic function:
 *
 *     a_u = softmax_t(d_u . e_t)        attention, over t < length           [B, T, T]
 *     o_u = (d_u, sum_t a_ut e_t)       with what it attends to              [B, T, 2H]
 *     q_u = softmax(W o_u + b)          of the V tokens that it knows        [B, T, V]
 *     g_u = s(w . o_u + c)              the gate: generate or copy           [B, T, 1]
 *     P_u(v) = g_u q_u(v) + (1 - g_u) sum over {t: source_t = v} of a_ut     [B, T, V + X]
 *
 * q is 0 for the X tokens that it does not know, which are all read as one, UNKNOWN: only their
 * places in the source tell them apart.  The loss is the mean of -ln P(target).
 * J. Gu and others, Incorporating Copying Mechanism in Sequence-to-Sequence Learning, ACL 2016;
 * this gate: A. See, P. Liu and C. Manning, Get To The Point, ACL 2017. */
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

/* Embeddings [B, T, H] of tokens [B, T], `late` steps late: as many START come before them. */
static AgVar embed(const Copy *m, AgTape *t, AgVar token, int64_t late) {
    AgVar unknown = ag_full(t, TENSOR_I64, 0, NULL, UNKNOWN);
    token = ag_where(ag_lt(token, unknown), token, unknown);
    return nn_embedding(&m->words, ag_pad(token, 1, (int64_t[]){late, -late}, START));
}

/* P [B, T, V + X] of e, d [B, T, H], source [B, T] and beyond [B, T]: 1 beyond the lengths */
static AgVar distribution(const Copy *m, AgVar e, AgVar d, AgVar source, AgVar beyond) {
    AgVar score = ag_matmul(d, ag_transpose(e, 1, 2));
    AgVar a = ag_softmax(ag_masked_fill(score, ag_unsqueeze(beyond, 1), -INFINITY), -1);
    AgVar o = ag_concat(2, (AgVar[]){d, ag_matmul(a, e)}, 2);
    AgVar q = ag_softmax(nn_linear(&m->vocabulary, o), -1), g = ag_sigmoid(nn_linear(&m->gate, o));
    AgVar v = ag_expand(ag_unsqueeze(source, 1), 3, (int64_t[]){-1, ag_dim(d, 1), -1});
    q = ag_pad(ag_mul(g, q), 1, (int64_t[]){0, X}, 0);
    return ag_scatter_add(q, 2, v, ag_mul(ag_affine(g, -1, 1), a));
}

/* source [B, T], lengths [B], target [B, T], h0 and c0 [B, H] of the encoder */
static AgVar loss(const void *model, AgTape *t, const AgVar *in) {
    const Copy *m = model;
    NnLstmState s = {ag_unsqueeze(in[3], 0), ag_unsqueeze(in[4], 0)}; /* of the only layer */
    NnLstmOutput e = nn_lstm(&m->encoder, embed(m, t, in[0], 0), &s, ag_value(in[1])->data);
    AgVar d = nn_lstm(&m->decoder, embed(m, t, in[2], 1), &(NnLstmState){e.hn, e.cn}, NULL).y;
    AgVar beyond = ag_logical_not(ag_transpose(ag_length_mask(in[1], ag_dim(d, 1)), 0, 1));
    AgVar p = ag_clamp(distribution(m, e.y, d, in[0], beyond), 1e-30, INFINITY); /* no ln 0 */
    return ag_nll_loss(ag_log(p), ag_masked_fill(in[2], beyond, AG_IGNORE_INDEX), NULL);
}

const Model model_copy = {
    .name = "copy", .idea = "attention that copies: an encoder-decoder that points or generates",
    .task = "writes tokens backwards, half of which are not in the decoder's vocabulary",
    .inputs = {"source", "lengths", "target"}, .states = {"h0", "c0"}, .batch = task_reversal,
    .make = make, .loss = loss, .steps = 1000, .lr = 0.01, .loss_is = "-ln P of a token",
    .train = {.T = 12, .B = 32, .H = 32}, .check = {.T = 4, .B = 3, .H = 3},
    .baseline = 1.03972, .baseline_is = "ln(8) / 2, of the best that cannot copy",
};
