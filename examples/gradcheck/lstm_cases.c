/* lstm_cases.c -- the plain LSTM under gradcheck_plain. */
#include "examples/gradcheck/cases.h"
#include "examples/gradcheck/lstm.h"

enum { T = 3, B = 2, I = 3, H = 2 };

/* The arrays as the checker sees them, and what the kernel needs besides. */
typedef struct {
    GradArg in[6], out[2];
    double gates[T * B * 4 * H], row[4 * H];
    LstmMistake mistake;
} Lstm;

static const LstmSizes sizes = {T, B, I, H};

static LstmArrays values(const Lstm *m) {
    return (LstmArrays){m->in[0].value, m->in[1].value, m->in[2].value, m->in[3].value,
                        m->in[4].value, m->in[5].value, m->out[0].value, m->out[1].value};
}

static LstmArrays gradients(const Lstm *m) {
    return (LstmArrays){m->in[0].grad, m->in[1].grad, m->in[2].grad, m->in[3].grad,
                        m->in[4].grad, m->in[5].grad, m->out[0].grad, m->out[1].grad};
}

static bool forward(void *context) {
    Lstm *m = context;
    LstmArrays v = values(m);
    lstm_forward(sizes, &v, m->gates);
    return true;
}

static bool backward(void *context) {
    Lstm *m = context;
    LstmArrays v = values(m), d = gradients(m);
    lstm_backward(sizes, &v, m->gates, &d, m->row, m->mistake);
    return true;
}

/* Anything in [-1, 1) will do. */
static void fill(uint32_t *state, int n, double *x) {
    for (int i = 0; i < n; i++) {
        *state = *state * 1664525u + 1013904223u;
        x[i] = (double)(*state >> 8) / (1 << 23) - 1;
    }
}

static bool check(LstmMistake mistake, const GradcheckOptions *options, GradcheckResult *result) {
    double x[T * B * I], w_ih[4 * H * I], w_hh[4 * H * H], bias[4 * H], h0[B * H], c0[B * H];
    Lstm m = {
        .in = {{.name = "x", .ndim = 3, .shape = (int64_t[]){T, B, I}, .value = x},
               {.name = "w_ih", .ndim = 2, .shape = (int64_t[]){4 * H, I}, .value = w_ih},
               {.name = "w_hh", .ndim = 2, .shape = (int64_t[]){4 * H, H}, .value = w_hh},
               {.name = "bias", .ndim = 1, .shape = (int64_t[]){4 * H}, .value = bias},
               {.name = "h0", .ndim = 2, .shape = (int64_t[]){B, H}, .value = h0},
               {.name = "c0", .ndim = 2, .shape = (int64_t[]){B, H}, .value = c0}},
        .out = {{.name = "h", .ndim = 3, .shape = (int64_t[]){T, B, H}},
                {.name = "c", .ndim = 3, .shape = (int64_t[]){T, B, H}}},
        .mistake = mistake};
    uint32_t state = 1;
    fill(&state, T * B * I, x);
    fill(&state, 4 * H * I, w_ih);
    fill(&state, 4 * H * H, w_hh);
    fill(&state, 4 * H, bias);
    fill(&state, B * H, h0);
    fill(&state, B * H, c0);
    return gradcheck_plain(forward, backward, &m, 6, m.in, 2, m.out, options, result);
}

bool lstm_elements(GradcheckResult *result) { return check(LSTM_RIGHT, NULL, result); }

bool lstm_directions(GradcheckResult *result) {
    return check(LSTM_RIGHT, &(GradcheckOptions){.directions = 4}, result);
}

bool lstm_gate_order(GradcheckResult *result) { return check(LSTM_GATE_ORDER, NULL, result); }
bool lstm_last_write(GradcheckResult *result) { return check(LSTM_LAST_WRITE, NULL, result); }
bool lstm_carry_lost(GradcheckResult *result) { return check(LSTM_CARRY_LOST, NULL, result); }
bool lstm_tanh_slope(GradcheckResult *result) { return check(LSTM_TANH_SLOPE, NULL, result); }
