/* steps.c -- see steps.h. */
#include "examples/bptt/steps.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "autograd/sequence.h"

enum { GATE_I, GATE_F, GATE_G, GATE_O };

BpttRun bptt_example(void) {
    return (BpttRun){
        .in = {.w = {0.5, -0.3, 0.8, 0.4},
               .u = {0.2, 0.6, -0.7, 0.3},
               .b = {0.1, 1.0, 0.0, -0.2},
               .x = {0, 1.0, -0.5, 2.0},
               .h0 = 0.1,
               .c0 = -0.3},
        .y = {0, 0.5, -0.2, 0.8},
    };
}

/* ---- the two passes ---- */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* The forward pass with `by` added to q where q is computed. */
static void forward_nudged(BpttRun *r, const double *q, double by) {
#define SET(variable, value) ((variable) = (value) + (&(variable) == q ? by : 0))
    const BpttInputs *p = &r->in;
    r->step[0] = (BpttStep){.c = p->c0, .h = p->h0};
    r->loss = 0;
    for (int t = 1; t <= BPTT_STEPS; t++) {
        const BpttStep *before = &r->step[t - 1];
        BpttStep *s = &r->step[t];
        for (int k = 0; k < BPTT_GATES; k++)
            SET(s->a[k], p->w[k] * p->x[t] + p->u[k] * before->h + p->b[k]);
        SET(s->i, sigmoid(s->a[GATE_I]));
        SET(s->f, sigmoid(s->a[GATE_F]));
        SET(s->g, tanh(s->a[GATE_G]));
        SET(s->o, sigmoid(s->a[GATE_O]));
        SET(s->c, s->f * before->c + s->i * s->g);
        SET(s->h, s->o * tanh(s->c));
        double error = s->h - r->y[t];
        r->loss += error * error / 2;
    }
    r->step[BPTT_STEPS + 1] = (BpttStep){0};
#undef SET
}

void bptt_forward(BpttRun *r) { forward_nudged(r, NULL, 0); }

/* The gradient of what step t computed, from that of what step t + 1 did with it. */
static void step_backward(const BpttRun *r, int t, BpttStep *d) {
    const BpttStep *s = &r->step[t], *before = &r->step[t - 1], *after = &r->step[t + 1];
    const BpttStep *dafter = &r->dstep[t + 1];
    d->h = s->h - r->y[t];
    for (int k = 0; k < BPTT_GATES; k++) d->h += r->in.u[k] * dafter->a[k];
    d->o = d->h * tanh(s->c);
    d->c = d->h * s->o * (1 - tanh(s->c) * tanh(s->c)) + dafter->c * after->f;
    d->i = d->c * s->g;
    d->f = d->c * before->c;
    d->g = d->c * s->i;
    d->a[GATE_I] = d->i * s->i * (1 - s->i);
    d->a[GATE_F] = d->f * s->f * (1 - s->f);
    d->a[GATE_G] = d->g * (1 - s->g * s->g);
    d->a[GATE_O] = d->o * s->o * (1 - s->o);
}

void bptt_backward(BpttRun *r) {
    const BpttStep *first = &r->dstep[1];
    memset(r->dstep, 0, sizeof r->dstep);
    r->din = (BpttInputs){.c0 = 0};
    for (int t = BPTT_STEPS; t >= 1; t--) {
        step_backward(r, t, &r->dstep[t]);
        for (int k = 0; k < BPTT_GATES; k++) {
            double da = r->dstep[t].a[k];
            r->din.w[k] += da * r->in.x[t];
            r->din.u[k] += da * r->step[t - 1].h;
            r->din.b[k] += da;
            r->din.x[t] += da * r->in.w[k];
        }
    }
    for (int k = 0; k < BPTT_GATES; k++) r->din.h0 += r->in.u[k] * first->a[k];
    r->din.c0 = first->c * r->step[1].f;
}

/* ---- differences ---- */

double bptt_difference(const BpttRun *r, const double *q) {
    const double by = 1e-5;
    ptrdiff_t at = (const char *)q - (const char *)r;
    double loss[2];
    for (int k = 0; k < 2; k++) {
        BpttRun copy = *r;
        double *nudged = (double *)((char *)&copy + at), signed_by = k ? -by : by;
        /* A number of the inputs is not computed. */
        if (q >= (const double *)&r->in && q < (const double *)(&r->in + 1)) *nudged += signed_by;
        forward_nudged(&copy, nudged, signed_by);
        loss[k] = copy.loss;
    }
    return (loss[0] - loss[1]) / (2 * by);
}

/* ---- printing ---- */

typedef struct {
    const BpttRun *run;
    FILE *out;
    double worst;
} Printer;

/* Writes text with the number of the step for @, of the next one for > and of the one before
 * for <: "f@ * c<" is "f_2 * c_1" in step 2.  Returns the length. */
static int write_equation(FILE *out, const char *text, int t) {
    int n = 0;
    for (; *text; text++) {
        const char *mark = strchr("<@>", *text);
        n += mark ? fprintf(out, "_%d", t + (*mark == '>') - (*mark == '<'))
                  : fprintf(out, "%c", *text);
    }
    return n;
}

enum { FORWARD_WIDTH = 46, BACKWARD_WIDTH = 66 };

static void print_value(FILE *out, int t, const char *equation, double value) {
    int n = write_equation(out, equation, t);
    fprintf(out, "%*s = %13.10f\n", n < FORWARD_WIDTH ? FORWARD_WIDTH - n : 0, "", value);
}

/* One line of the way back: the equation of dq, its value, and the difference. */
static void print_gradient(Printer *p, int t, const char *equation, double dq, const double *q) {
    double difference = bptt_difference(p->run, q);
    int n = write_equation(p->out, equation, t);
    if (n > BACKWARD_WIDTH) {
        fprintf(p->out, "\n");
        n = 0;
    }
    fprintf(p->out, "%*s = %13.10f  %13.10f\n", BACKWARD_WIDTH - n, "", dq, difference);
    p->worst = fmax(p->worst, fabs(dq - difference));
}

static const char gate_letter[] = "ifgo";

/* The same for gate k: its letter for ?. */
static void print_gate(Printer *p, int t, int k, const char *equation, double dq,
                       const double *q) {
    char text[128];
    snprintf(text, sizeof text, "%s", equation);
    for (char *c = text; (c = strchr(c, '?'));) *c = gate_letter[k];
    print_gradient(p, t, text, dq, q);
}

static void print_forward(const BpttRun *r, FILE *out, int t) {
    const BpttStep *s = &r->step[t];
    fprintf(out, "step %d, x_%d = %g\n", t, t, r->in.x[t]);
    print_value(out, t, "a_i@ = w_i * x@ + u_i * h< + b_i", s->a[GATE_I]);
    print_value(out, t, "a_f@ = w_f * x@ + u_f * h< + b_f", s->a[GATE_F]);
    print_value(out, t, "a_g@ = w_g * x@ + u_g * h< + b_g", s->a[GATE_G]);
    print_value(out, t, "a_o@ = w_o * x@ + u_o * h< + b_o", s->a[GATE_O]);
    print_value(out, t, "i@ = sigmoid(a_i@)", s->i);
    print_value(out, t, "f@ = sigmoid(a_f@)", s->f);
    print_value(out, t, "g@ = tanh(a_g@)", s->g);
    print_value(out, t, "o@ = sigmoid(a_o@)", s->o);
    print_value(out, t, "c@ = f@ * c< + i@ * g@", s->c);
    print_value(out, t, "h@ = o@ * tanh(c@)", s->h);
}

static void print_backward(Printer *p, int t) {
    const BpttStep *s = &p->run->step[t], *d = &p->run->dstep[t];
    fprintf(p->out, "step %d\n", t);
    print_gradient(p, t, "dh@ = (h@ - y@) + u_i * da_i> + u_f * da_f> + u_g * da_g> + u_o * da_o>",
                   d->h, &s->h);
    print_gradient(p, t, "do@ = dh@ * tanh(c@)", d->o, &s->o);
    print_gradient(p, t, "dc@ = dh@ * o@ * (1 - tanh(c@)^2) + dc> * f>", d->c, &s->c);
    print_gradient(p, t, "di@ = dc@ * g@", d->i, &s->i);
    print_gradient(p, t, "df@ = dc@ * c<", d->f, &s->f);
    print_gradient(p, t, "dg@ = dc@ * i@", d->g, &s->g);
    print_gradient(p, t, "da_i@ = di@ * i@ * (1 - i@)", d->a[GATE_I], &s->a[GATE_I]);
    print_gradient(p, t, "da_f@ = df@ * f@ * (1 - f@)", d->a[GATE_F], &s->a[GATE_F]);
    print_gradient(p, t, "da_g@ = dg@ * (1 - g@^2)", d->a[GATE_G], &s->a[GATE_G]);
    print_gradient(p, t, "da_o@ = do@ * o@ * (1 - o@)", d->a[GATE_O], &s->a[GATE_O]);
}

/* Seen from step 2, the steps before and after it are all there are. */
static void print_weights(Printer *p) {
    const BpttInputs *in = &p->run->in, *d = &p->run->din;
    fprintf(p->out, "weights: every step used them, so their gradients are sums over the steps\n");
    for (int k = 0; k < BPTT_GATES; k++) {
        print_gate(p, 2, k, "dw_? = da_?< * x< + da_?@ * x@ + da_?> * x>", d->w[k], &in->w[k]);
        print_gate(p, 2, k, "du_? = da_?< * h_0 + da_?@ * h< + da_?> * h@", d->u[k], &in->u[k]);
        print_gate(p, 2, k, "db_? = da_?< + da_?@ + da_?>", d->b[k], &in->b[k]);
    }
}

static void print_inputs(Printer *p) {
    const BpttInputs *in = &p->run->in, *d = &p->run->din;
    fprintf(p->out, "inputs and the initial state\n");
    for (int t = 1; t <= BPTT_STEPS; t++)
        print_gradient(p, t, "dx@ = w_i * da_i@ + w_f * da_f@ + w_g * da_g@ + w_o * da_o@",
                       d->x[t], &in->x[t]);
    print_gradient(p, 0, "dh@ = u_i * da_i> + u_f * da_f> + u_g * da_g> + u_o * da_o>", d->h0,
                   &in->h0);
    print_gradient(p, 0, "dc@ = dc> * f>", d->c0, &in->c0);
}

static void print_numbers(const BpttRun *r, FILE *out) {
    const BpttInputs *in = &r->in;
    fprintf(out, "gate    w     u     b\n");
    for (int k = 0; k < BPTT_GATES; k++)
        fprintf(out, "   %c %5.2f %5.2f %5.2f\n", gate_letter[k], in->w[k], in->u[k], in->b[k]);
    fprintf(out, "initial state h_0 = %g, c_0 = %g; targets", in->h0, in->c0);
    for (int t = 1; t <= BPTT_STEPS; t++) fprintf(out, " y_%d = %g", t, r->y[t]);
    fprintf(out, "\n\n");
}

bool bptt_print(BpttRun *r, FILE *out, double *worst) {
    Printer p = {r, out, 0};
    bptt_forward(r);
    bptt_backward(r);
    print_numbers(r, out);
    for (int t = 1; t <= BPTT_STEPS; t++) print_forward(r, out, t);
    print_value(out, 0, "L = 1/2 * sum over t of (h_t - y_t)^2", r->loss);
    fprintf(out, "\nbackward%*s%16s%15s\n", BACKWARD_WIDTH - 8, "", "gradient", "difference");
    for (int t = BPTT_STEPS; t >= 1; t--) print_backward(&p, t);
    print_weights(&p);
    print_inputs(&p);
    *worst = p.worst;
    return !ferror(out);
}

/* ---- the same by the library ---- */

static AgVar input(AgTape *t, const double *value, int ndim, const int64_t *shape) {
    Tensor x = tensor_wrap((double *)(uintptr_t)value, TENSOR_F64, ndim, shape);
    return ag_input(t, &x);
}

static double worst_of(AgVar gradient, const double *expected) {
    double worst = 0;
    for (int64_t i = 0; i < ag_numel(gradient); i++)
        worst = fmax(worst, fabs(tensor_get(ag_value(gradient), i) - expected[i]));
    return worst;
}

/* The loss of ag_lstm as a function of v: x, h0, c0, w, u, b. */
static AgVar loss_of(AgTape *t, const BpttRun *r, const AgVar *v) {
    const int64_t steps[] = {BPTT_STEPS, 1, 1}, gates[] = {BPTT_GATES};
    AgLstmWeights w = {.weight_ih = v[3], .weight_hh = v[4], .bias_ih = v[5],
                       .bias_hh = ag_full(t, TENSOR_F64, 1, gates, 0)};
    AgLstmOutput out = ag_lstm(v[0], v[1], v[2], &w, NULL);
    AgVar loss = ag_mse_loss(out.y, input(t, r->y + 1, 3, steps), AG_SUM);
    return ag_affine(loss, 0.5, 0);
}

bool bptt_compare(const BpttRun *r, double *worst, TensorError *error) {
    const int64_t steps[] = {BPTT_STEPS, 1, 1}, state[] = {1, 1}, gates[] = {BPTT_GATES, 1};
    const BpttInputs *in = &r->in, *d = &r->din;
    enum { N = 6 };
    const double *expected[N] = {d->x + 1, &d->h0, &d->c0, d->w, d->u, d->b};
    AgTape *t = ag_tape_new();
    if (!t) return tensor_error_set(error, "out of memory");
    AgVar gradient[N], v[N] = {input(t, in->x + 1, 3, steps), input(t, &in->h0, 2, state),
                               input(t, &in->c0, 2, state), input(t, in->w, 2, gates),
                               input(t, in->u, 2, gates), input(t, in->b, 1, gates)};
    bool ok = ag_grad(loss_of(t, r, v), (AgVar){0}, N, v, gradient, false);
    if (!ok) tensor_error_set(error, "%s", ag_tape_error(t));
    *worst = 0;
    for (int k = 0; ok && k < N; k++) *worst = fmax(*worst, worst_of(gradient[k], expected[k]));
    ag_tape_free(t);
    return ok;
}
