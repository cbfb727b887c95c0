/* mgu.c -- the minimal gated unit: a GRU with one gate.
 *
 * One step, for x [B, I] and h [B, H], s the logistic function, * elementwise:
 *
 *     f = s(W_f x + b_f + U_f h)             the gate        [B, H]
 *     n = tanh(W_n x + b_n + U_n (f * h))    the candidate   [B, H]
 *     h' = (1 - f) * h + f * n               the new state   [B, H]
 *
 * with W_f, W_n [H, I], which stand below each other in one [2H, I], and U_f, U_n [H, H].  The
 * gate does two things: where f is near 0 the state stays, and where it is near 1 the old
 * state enters the candidate.  Two thirds of a GRU's parameters, half of an LSTM's.
 * G.-B. Zhou, J. Wu, C.-L. Zhang and Z.-H. Zhou, Minimal Gated Unit for Recurrent Neural
 * Networks, International Journal of Automation and Computing 13(3), 2016. */
#include "examples/models/models.h"
#include "nn/linear.h"

typedef struct {
    NnLinear x, hf, hn; /* W and b, U_f, U_n */
    NnLinear out;
} Mgu;

static void *make(NnParamSet *set, ModelSizes n) {
    Mgu *m = nn_params_alloc(set, sizeof *m);
    if (!m) return NULL;
    m->x = nn_linear_make(set, "mgu.x", 2, 2 * n.H, NULL);
    m->hf = nn_linear_make(set, "mgu.hf", n.H, n.H, &(NnLinearOptions){.no_bias = true});
    m->hn = nn_linear_make(set, "mgu.hn", n.H, n.H, &(NnLinearOptions){.no_bias = true});
    m->out = nn_linear_make(set, "out", n.H, 1, NULL);
    return m;
}

/* a = W x + b of this step [B, 2H], h [B, H] -> h' [B, H] */
static AgVar step(const Mgu *m, AgVar a, AgVar h) {
    AgVar f = ag_sigmoid(ag_add(ag_chunk(a, -1, 2, 0), nn_linear(&m->hf, h)));
    AgVar n = ag_tanh(ag_add(ag_chunk(a, -1, 2, 1), nn_linear(&m->hn, ag_mul(f, h))));
    return ag_add(h, ag_mul(f, ag_sub(n, h)));
}

/* x [T, B, I], h [B, H] -> h after every step [T, B, H] */
static AgVar sequence(const Mgu *m, AgVar x, AgVar h) {
    AgVar a = nn_linear(&m->x, x); /* of all steps in one product: it does not depend on h */
    int64_t T = ag_dim(x, 0);
    AgVar *y = ag_tape_alloc(x.tape, (size_t)T * sizeof *y);
    if (!y) return (AgVar){.tape = x.tape};
    for (int64_t t = 0; t < T; t++) {
        ag_scope_step(x.tape, t);
        y[t] = h = step(m, ag_select(a, 0, t), h);
    }
    return ag_stack((int)T, y, 0);
}

/* x [T, B, 2], target [B], h0 [B, H]: the squared error of what the last state says. */
static AgVar loss(const void *model, AgTape *t, const AgVar *in) {
    const Mgu *m = model;
    ag_scope_push(t, "mgu");
    AgVar y = sequence(m, in[0], in[2]);
    ag_scope_pop(t);
    AgVar last = nn_linear(&m->out, ag_select(y, 0, ag_dim(y, 0) - 1));
    return ag_mse_loss(ag_select(last, 1, 0), in[1], AG_MEAN);
}

const Model model_mgu = {
    .name = "mgu",
    .idea = "minimal gated unit: one gate that keeps and resets",
    .task = "adds the two marked numbers of a sequence of 30",
    .inputs = {"x", "target"}, .states = {"h0"},
    .batch = task_adding, .make = make, .loss = loss,
    .train = {.T = 30, .B = 32, .H = 32}, .check = {.T = 4, .B = 3, .H = 3},
    .steps = 1500, .lr = 0.01, .loss_is = "mean squared error",
    .baseline = 1. / 6, .baseline_is = "of always answering 1, the variance of the sum",
};
