/* ssm.c -- a diagonal state-space model (S4D, S5): a linear recurrence with one complex number a
 * unit, which turns and decays, and so can hold a wave.
 *
 * One step, for x [B, I], a complex state h [B, H] and y [B, n], all of w, a, dt being [H]:
 *
 *     l = exp(dt (-a + i w))         a = e^alpha > 0 and dt = ln(1 + e^d) > 0, so |l| < 1
 *     h' = l * h + dt * (B x)        the new state; B is complex, [H, I]
 *     y = Re(C h') + D x             C is complex, [n, H]; D is [n, I]
 *
 * which are samples, dt apart, of dh/dt = (-a + i w) h + B x.  As l does not depend on x, the whole
 * sequence is one ag_linear_scan of real numbers, real and imaginary parts side by side: for an
 * observer who turns with the state, u_t = e^(-i w dt t) h_t, it only decays,
 *     u_t = e^(-a dt) * u_(t-1) + e^(-i w dt t) * dt * (B x_t)
 * A. Gu, K. Goel and C. Re, Efficiently Modeling Long Sequences with Structured State Spaces,
 * ICLR 2022; diagonal: A. Gupta, A. Gu and J. Berant, NeurIPS 2022; how a and w start: A. Gu,
 * A. Gupta, K. Goel and C. Re, NeurIPS 2022, S4D-Lin; all inputs into one state: J. Smith,
 * A. Warrington and S. Linderman, Simplified State Space Layers, ICLR 2023. */
#include <math.h>

#include "autograd/sequence.h"
#include "examples/models/models.h"
#include "nn/linear.h"

typedef struct {
    NnParam *alpha, *w, *d; /* [H] */
    NnLinear B, C, D;       /* of complex numbers the real parts first, then the imaginary ones */
} Ssm;

/* With dt = 1 / H the frequencies w = pi n are 0 .. pi a step: all that sampling can tell apart. */
static void *make(NnParamSet *set, ModelSizes n) {
    Ssm *m = nn_params_alloc(set, sizeof *m);
    if (!m) return NULL;
    m->alpha = nn_param(set, nn_init_constant(log(0.5)), 1, &n.H, "ssm.alpha");
    m->d = nn_param(set, nn_init_constant(log(expm1(1. / (double)n.H))), 1, &n.H, "ssm.d");
    m->w = nn_param(set, nn_init_constant(0), 1, &n.H, "ssm.w");
    for (int64_t i = 0; i < n.H; i++) tensor_set(&m->w->value, i, acos(-1) * (double)i);
    nn_param_touch(m->w);
    m->B = nn_linear_make(set, "ssm.B", 1, 2 * n.H, &(NnLinearOptions){.no_bias = true});
    m->C = nn_linear_make(set, "ssm.C", 2 * n.H, 2, NULL);
    m->D = nn_linear_make(set, "ssm.D", 1, 2, &(NnLinearOptions){.no_bias = true});
    return m;
}

/* z e^(i angle), for z [T, B, 2H] and angle [T, 1, H] */
static AgVar turn(AgVar z, AgVar angle) {
    AgVar re = ag_chunk(z, -1, 2, 0), im = ag_chunk(z, -1, 2, 1);
    AgVar c = ag_cos(angle), s = ag_sin(angle);
    return ag_concat(2, (AgVar[]){ag_sub(ag_mul(re, c), ag_mul(im, s)),
                                  ag_add(ag_mul(re, s), ag_mul(im, c))}, -1);
}

/* x [T, B, 1], target [T, B, 2], re0 and im0 [B, H] */
static AgVar loss(const void *model, AgTape *t, const AgVar *in) {
    const Ssm *m = model;
    AgVar x = in[0], h0 = ag_concat(2, (AgVar[]){in[2], in[3]}, -1);
    ag_scope_push(t, "ssm");
    AgVar dt = ag_softplus(nn_var(t, m->d), 1, 20), a = ag_exp(nn_var(t, m->alpha));
    AgVar decay = ag_exp(ag_neg(ag_mul(a, dt)));
    AgVar step = ag_arange(t, ag_dtype(x), 1, (double)ag_dim(x, 0) + 1, 1);
    AgVar angle = ag_mul(ag_reshape(step, 3, (int64_t[]){-1, 1, 1}), ag_mul(nn_var(t, m->w), dt));
    AgVar b = ag_mul(nn_linear(&m->B, x), ag_concat(2, (AgVar[]){dt, dt}, 0));
    AgVar u = ag_linear_scan(ag_concat(2, (AgVar[]){decay, decay}, 0), turn(b, ag_neg(angle)), h0,
                             false);
    AgVar y = ag_add(nn_linear(&m->C, turn(u, angle)), nn_linear(&m->D, x));
    ag_scope_pop(t);
    return ag_mse_loss(y, in[1], AG_MEAN);
}

const Model model_ssm = {
    .name = "ssm", .idea = "diagonal state-space model: complex units that turn and decay",
    .task = "hears two waves added up for 32 steps, and goes on with each for 96 more",
    .inputs = {"x", "target"}, .states = {"re0", "im0"},
    .batch = task_waves, .make = make, .loss = loss,
    .train = {.T = 128, .B = 16, .H = 32}, .check = {.T = 5, .B = 2, .H = 3},
    .steps = 1000, .lr = 0.01, .loss_is = "mean squared error", .baseline = 0.4375,
    .baseline_is = "of the best without memory: half of x for each wave, 0 in the silence",
};
