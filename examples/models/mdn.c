/* mdn.c -- a mixture density network on an LSTM: a distribution as the output, not one number.
 *
 * The LSTM makes y [T, B, H] of x [T, B, I]; a linear layer makes 3K numbers of it at each step,
 * which say what the target z [T, B] is likely to be, a mixture of K Gaussians (k = 1..K):
 *
 *     (a_k, m_k, v_k) = W y + b                                  [T, B, K] each
 *     p_k = softmax(a)_k,   d_k = e^(v_k)                        weights, standard deviations
 *     ln p(z) = ln sum_k p_k e^(-((z - m_k) / d_k)^2 / 2) / (d_k sqrt(2 pi))
 *             = logsumexp_k(log_softmax(a)_k - v_k - ((z - m_k) e^(-v_k))^2 / 2) - ln(2 pi) / 2
 *
 * The loss is the mean of -ln p(z).  The second form neither takes the logarithm of a sum that
 * has become 0 nor divides by a d that has; the squared error is the case K = 1 with d fixed, and
 * its best answer for a z of two branches is between them, where z never is.
 * C. Bishop, Mixture Density Networks, Aston University NCRG/94/004, 1994; on an LSTM:
 * A. Graves, Generating Sequences With Recurrent Neural Networks, arXiv:1308.0850, 2013, 4.1. */
#include <math.h>

#include "examples/models/models.h"
#include "nn/linear.h"
#include "nn/lstm.h"

enum { K = 3 };

typedef struct {
    NnLstm lstm;
    NnLinear out; /* [3K, H] */
} Mdn;

static void *make(NnParamSet *set, ModelSizes n) {
    Mdn *m = nn_params_alloc(set, sizeof *m);
    if (!m) return NULL;
    m->lstm = nn_lstm_make(set, "lstm", 1, n.H, NULL);
    m->out = nn_linear_make(set, "out", n.H, 3 * K, NULL);
    return m;
}

/* ln p(z): mixture [.., 3K], z [..] -> [..] */
static AgVar log_density(AgVar mixture, AgVar z) {
    AgVar a = ag_chunk(mixture, -1, 3, 0);
    AgVar mean = ag_chunk(mixture, -1, 3, 1);
    AgVar v = ag_chunk(mixture, -1, 3, 2);
    AgVar distance = ag_mul(ag_sub(ag_unsqueeze(z, ag_ndim(z)), mean), ag_exp(ag_neg(v)));
    AgVar gauss = ag_sub(ag_affine(ag_square(distance), -0.5, 0), v);
    AgVar each = ag_add(ag_log_softmax(a, -1), gauss);
    return ag_affine(ag_logsumexp(each, AG_AXES(-1), false), 1, -0.5 * log(2 * acos(-1)));
}

/* x [T, B, 1], target [T, B], h0 and c0 [B, H] */
static AgVar loss(const void *model, AgTape *t, const AgVar *in) {
    const Mdn *m = model;
    NnLstmState s = {ag_unsqueeze(in[2], 0), ag_unsqueeze(in[3], 0)}; /* of the only layer */
    AgVar y = nn_lstm(&m->lstm, in[0], &s, NULL).y;
    ag_scope_push(t, "mixture");
    AgVar log_p = log_density(nn_linear(&m->out, y), in[1]);
    ag_scope_pop(t);
    return ag_neg(ag_mean(log_p, AG_ALL_AXES, false));
}

const Model model_mdn = {
    .name = "mdn",
    .idea = "mixture density network: an LSTM whose output is a mixture of Gaussians",
    .task = "says where a noisy root of the mean of two inputs lies, of either sign",
    .inputs = {"x", "target"}, .states = {"h0", "c0"},
    .batch = task_two_branches, .make = make, .loss = loss,
    .train = {.T = 20, .B = 32, .H = 24}, .check = {.T = 4, .B = 2, .H = 3},
    .steps = 1000, .lr = 0.01, .loss_is = "-ln p of the target",
    .baseline = 1.01389, .baseline_is = "of the best that gives one Gaussian a step",
};
