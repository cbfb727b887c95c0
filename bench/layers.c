/* layers.c -- an LSTM layer by itself.
 *
 * A training step sets the gradients of the weights to zero, runs forward from a state of zeros,
 * and backward from a gradient of ones for every output, to the weights and to the input; weights
 * count as changed since the step before, as an update leaves them.  An inference step runs
 * forward without gradients, and weights do not change: what a library makes of them once is made
 * before the clock runs. */
#include <stdio.h>

#include "bench/cases.h"
#include "nn/lstm.h"
#include "tensor/kernels.h"
#include "tensor/rng.h"

typedef struct {
    int64_t I, H, B, T;
    bool bidirectional, train;
} Sizes;

static const Sizes train_512 = {512, 512, 64, 50, false, true};
static const Sizes infer_512 = {512, 512, 64, 50, false, false};
static const Sizes bilstm_128 = {100, 128, 32, 128, true, true};
static const Sizes step_b1_512 = {512, 512, 1, 1, false, false};

typedef struct {
    AgTape *tape;
    TensorArena *arena;
    NnParamSet *set;
    NnLstm lstm;
    Tensor x, dx;
} Layer;

static bool layer_init(Layer *m, const Sizes *c) {
    const int64_t shape[] = {c->T, c->B, c->I};
    *m = (Layer){.tape = ag_tape_new(), .arena = tensor_arena_new(),
                 .set = nn_params_new(TENSOR_F32, 1)};
    m->lstm = nn_lstm_make(m->set, "lstm", c->I, c->H,
                           &(NnLstmOptions){.bidirectional = c->bidirectional});
    if (!m->tape || !m->arena || !nn_params_ok(m->set)) return false;
    m->x = tensor_new(m->arena, TENSOR_F32, 3, shape);
    if (c->train) m->dx = tensor_new(m->arena, TENSOR_F32, 3, shape);
    if (tensor_is_nil(&m->x) || tensor_is_nil(&m->dx)) return false;
    tensor_rng_fill_uniform(&m->x, (TensorRngKey){.seed = 1}, -1, 1);
    if (c->train) tensor_fill(&m->dx, 0);
    return true;
}

static void layer_free(Layer *m) {
    if (m->tape) ag_tape_free(m->tape);
    nn_params_free(m->set);
    tensor_arena_free(m->arena);
}

static bool train_step(void *layer) {
    Layer *m = layer;
    ag_tape_reset(m->tape);
    for (int i = 0; i < nn_params_count(m->set); i++) nn_param_touch(nn_params_at(m->set, i));
    nn_zero_grad(m->set);
    AgVar x = ag_leaf(m->tape, &m->x, &(AgLeaf){.name = "x", .value = m->x, .grad = m->dx});
    return ag_backward(ag_sum(nn_lstm(&m->lstm, x, NULL, NULL).y, AG_ALL_AXES, false));
}

static bool infer_step(void *layer) {
    Layer *m = layer;
    ag_tape_reset(m->tape);
    return ag_ok(nn_lstm(&m->lstm, ag_borrow(m->tape, &m->x), NULL, NULL).y);
}

/* Training is three times the products of the forward pass. */
static double flops(const Sizes *c) {
    double D = c->bidirectional ? 2 : 1;
    double forward = D * 2 * (double)(c->B * c->T) * 4 * (double)(c->H * (c->I + c->H));
    return c->train ? 3 * forward : forward;
}

static bool run(const void *sizes, double budget, BenchResult *r) {
    const Sizes *c = sizes;
    Layer m;
    BenchStep step = {c->train ? train_step : infer_step, &m};
    r->flops = flops(c);
    r->tokens = (double)(c->B * c->T);
    bool ok = layer_init(&m, c);
    if (ok) {
        ag_tape_no_grad(m.tape, !c->train);
        ok = bench_time(1, &step, budget, &r->timing);
    }
    if (!ok)
        snprintf(r->note, sizeof r->note, "%s",
                 m.tape && !ag_tape_ok(m.tape) ? ag_tape_error(m.tape) : "out of memory");
    layer_free(&m);
    return ok;
}

BenchCases bench_layers(void) {
    static const BenchCase cases[] = {
        {"lstm_train_512", run, &train_512, true},
        {"lstm_infer_512", run, &infer_512, true},
        {"bilstm_train_128", run, &bilstm_128, true},
        {"lstm_step_b1_512", run, &step_b1_512, true},
    };
    return (BenchCases){sizeof cases / sizeof *cases, cases};
}
