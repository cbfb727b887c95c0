/* clockwork.c -- the clockwork RNN: parts of the state that move at speeds of their own.
 *
 * The H hidden units stand in G groups of H / G.  Group k = 0..G-1 has the period 2^k, and moves
 * at the steps t = 0, 1, .. that its period divides; at others it keeps its state.  For x [B, I],
 * h [B, H] and the rows W_k [H/G, I], U_k [H/G, H], b_k [H/G] of the weights:
 *
 *     h'_k = tanh(W_k x_t + U_k h + b_k)   if t mod 2^k = 0, else h_k      [B, H/G]
 *
 * where U [H, H] is block upper triangular: a group hears itself and the slower ones, j >= k.
 * Slow groups carry what is long past over few updates; fast ones, which hear them, fill in.
 * As each period divides the next, those that move are the first n groups: their rows are all
 * that a step computes, on average less than 2 of G groups.
 * J. Koutnik, K. Greff, F. Gomez and J. Schmidhuber, A Clockwork RNN, ICML 2014. */
#include "examples/models/models.h"
#include "nn/linear.h"

/* H is a multiple of G.  With 1, a plain RNN, the loss here stays two to eight times as high. */
enum { G = 4 };

typedef struct {
    NnLinear x;  /* W, b */
    NnParam *hh; /* U; what lies below its diagonal blocks is not used */
    NnLinear out;
} Clockwork;

static void *make(NnParamSet *set, ModelSizes n) {
    Clockwork *m = nn_params_alloc(set, sizeof *m);
    if (!m) return NULL;
    m->x = nn_linear_make(set, "clockwork.x", 1, n.H, NULL);
    m->hh = nn_param(set, nn_init_xavier_uniform(1), 2, (int64_t[]){n.H, n.H}, "clockwork.hh");
    m->out = nn_linear_make(set, "out", n.H, 2, NULL);
    return m;
}

/* U with zeros below the diagonal blocks: a triangle [G, G], each entry repeated as a block. */
static AgVar triangular(const Clockwork *m, AgTape *t) {
    AgVar u = nn_var(t, m->hh);
    int64_t H = ag_dim(u, 0), size = H / G;
    AgVar mask = ag_triu(ag_full(t, ag_dtype(u), 2, (int64_t[]){G, G}, 1), 0);
    mask = ag_reshape(mask, 4, (int64_t[]){G, 1, G, 1});
    mask = ag_expand(mask, 4, (int64_t[]){G, size, G, size});
    return ag_mul(u, ag_reshape(mask, 2, (int64_t[]){H, H}));
}

/* x [T, B, I], h [B, H] -> h after every step [T, B, H] */
static AgVar sequence(const Clockwork *m, AgVar x, AgVar h) {
    AgVar a = nn_linear(&m->x, x), u = triangular(m, x.tape); /* a [T, B, H], of all steps */
    int64_t T = ag_dim(x, 0), H = ag_dim(u, 0);
    AgVar *y = ag_tape_alloc(x.tape, (size_t)T * sizeof *y);
    if (!y) return (AgVar){.tape = x.tape};
    for (int64_t t = 0; t < T; t++) {
        ag_scope_step(x.tape, t);
        int64_t n = H / G; /* rows of the groups that move */
        for (int64_t period = 2; n < H && t % period == 0; period *= 2) n += H / G;
        AgVar heard = ag_linear(h, ag_narrow(u, 0, 0, n), (AgVar){0});
        AgVar moved = ag_tanh(ag_add(ag_narrow(ag_select(a, 0, t), 1, 0, n), heard));
        y[t] = h = ag_concat(2, (AgVar[]){moved, ag_narrow(h, 1, n, H - n)}, 1);
    }
    return ag_stack((int)T, y, 0);
}

/* x [T, B, 1], target [T, B, 2], h0 [B, H] */
static AgVar loss(const void *model, AgTape *t, const AgVar *in) {
    const Clockwork *m = model;
    ag_scope_push(t, "clockwork");
    AgVar y = sequence(m, in[0], in[2]);
    ag_scope_pop(t);
    return ag_mse_loss(nn_linear(&m->out, y), in[1], AG_MEAN);
}

const Model model_clockwork = {
    .name = "clockwork", .idea = "clockwork RNN: groups of units with periods 1, 2, 4, 8",
    .task = "hears two waves added up for 32 steps, and goes on with each for 96 more",
    .inputs = {"x", "target"}, .states = {"h0"}, .batch = task_waves, .make = make, .loss = loss,
    .train = {.T = 128, .B = 16, .H = 32}, .check = {.T = 5, .B = 2, .H = 4},
    .steps = 1000, .lr = 0.01, .loss_is = "mean squared error", .baseline = 0.4375,
    .baseline_is = "of the best without memory: half of x for each wave, 0 in the silence",
};
