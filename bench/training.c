/* training.c -- training steps of language models.
 *
 * Their sizes are those of well-known programs: a character model of 28 symbols, one-hot; a small
 * and a medium model of words.  Inputs and targets are random: what a step costs does not depend
 * on them. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/cases.h"
#include "nn/dropout.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/lstm.h"
#include "nn/state.h"
#include "optim/optim.h"
#include "tensor/rng.h"

typedef struct {
    int64_t V, E, H, L, B, T; /* E 0: one-hot */
    double dropout, clip;
    bool composed; /* the LSTM as a loop of ops, which takes turns with the fused op */
} Sizes;

static const Sizes time_machine = {28, 0, 256, 1, 32, 35, 0, 1, false};
static const Sizes time_machine_composed = {28, 0, 256, 1, 32, 35, 0, 1, true};
static const Sizes better_rnnlm = {10000, 100, 100, 2, 20, 35, 0.5, 0.25, false};
static const Sizes ptb_medium = {10000, 650, 650, 2, 20, 35, 0.5, 5, false};

typedef struct {
    const Sizes *c;
    AgTape *tape;
    NnParamSet *set;
    NnEmbedding embedding;
    NnLstm lstm;
    NnLinear out;
    NnState *state;
    Optim *optim;
    int64_t *ids; /* inputs [T, B], then targets [T, B] */
    uint64_t step;
} Trainer;

static bool trainer_init(Trainer *m, const Sizes *c, bool composed) {
    NnLstmOptions lstm = {.num_layers = (int)c->L, .dropout = c->L > 1 ? c->dropout : 0,
                          .composed = composed};
    *m = (Trainer){.c = c, .tape = ag_tape_new(), .set = nn_params_new(TENSOR_F32, 1),
                   .state = nn_state_new(TENSOR_F32),
                   .ids = malloc((size_t)(2 * c->T * c->B) * sizeof(int64_t))};
    if (c->E > 0) m->embedding = nn_embedding_make(m->set, "embedding", c->V, c->E, NULL);
    m->lstm = nn_lstm_make(m->set, "lstm", c->E > 0 ? c->E : c->V, c->H, &lstm);
    m->out = nn_linear_make(m->set, "out", c->H, c->V, NULL);
    m->optim = optim_sgd_new(m->set, (OptimSgd){.lr = 0.1});
    if (!m->tape || !m->state || !m->ids || !optim_ok(m->optim)) return false;
    for (int64_t i = 0; i < 2 * c->T * c->B; i++)
        m->ids[i] = tensor_rng_below((TensorRngKey){.seed = 1}, (uint64_t)i, c->V);
    ag_tape_training(m->tape, true);
    return true;
}

static void trainer_free(Trainer *m) {
    optim_free(m->optim);
    nn_state_free(m->state);
    if (m->tape) ag_tape_free(m->tape);
    nn_params_free(m->set);
    free(m->ids);
}

/* x [T, B] -> what the output layer reads, [T, B, H] */
static AgVar hidden(Trainer *m, AgVar x) {
    const Sizes *c = m->c;
    const int64_t shape[] = {c->L, c->B, c->H};
    NnLstmState s = {nn_state_load(m->state, x.tape, "h", 3, shape),
                     nn_state_load(m->state, x.tape, "c", 3, shape)};
    NnDropout drop = {c->dropout, 1};
    AgVar e = c->E > 0 ? nn_dropout(&drop, nn_embedding(&m->embedding, x)) : x;
    NnLstmOutput o = nn_lstm(&m->lstm, e, &s, NULL);
    nn_state_store(m->state, "h", o.hn);
    nn_state_store(m->state, "c", o.cn);
    return nn_dropout(&drop, o.y);
}

static AgVar loss_of(const Trainer *m, AgVar h, AgVar target) {
    return nn_linear_cross_entropy(&m->out, h, target, NULL);
}

static bool update(Trainer *m) {
    return optim_step_clipped(m->optim, NULL, m->c->clip, NULL);
}

static bool train_step(void *trainer) {
    Trainer *m = trainer;
    AgTape *t = m->tape;
    const int64_t window[] = {m->c->T, m->c->B};
    Tensor x = tensor_wrap(m->ids, TENSOR_I64, 2, window);
    Tensor y = tensor_wrap(m->ids + m->c->T * m->c->B, TENSOR_I64, 2, window);
    ag_tape_reset(t);
    ag_tape_rng(t, 1, m->step++);
    nn_zero_grad(m->set);
    return ag_backward(loss_of(m, hidden(m, ag_input(t, &x)), ag_input(t, &y))) && update(m);
}

/* Three times the products of the forward pass; a one-hot input is the look-up it can be. */
static double flops(const Sizes *c) {
    double tokens = (double)(c->B * c->T), H = (double)c->H, sum = 2 * tokens * H * (double)c->V;
    for (int64_t l = 0; l < c->L; l++) {
        double inputs = (double)(l == 0 ? c->E : c->H);
        sum += 2 * tokens * 4 * H * (inputs + H);
    }
    return 3 * sum;
}

static bool explain(const Trainer *m, BenchResult *r) {
    const char *error = !m->tape || ag_tape_ok(m->tape) ? optim_error(m->optim)
                                                        : ag_tape_error(m->tape);
    snprintf(r->note, sizeof r->note, "%s", *error ? error : "out of memory");
    return false;
}

static bool time_one(Trainer *m, double budget, BenchResult *r) {
    BenchStep step = {train_step, m};
    return bench_time(1, &step, budget, &r->timing) || explain(m, r);
}

/* The loop of ops and the fused op in turns.  Memory is looked at before there is a second
 * model: the steps of one are alike. */
static bool time_both(Trainer *m, double budget, BenchResult *r) {
    if (!train_step(m) || !train_step(m)) return explain(m, r);
    r->rss_mib = bench_rss_mib();
    Trainer fused;
    BenchStep step[] = {{train_step, m}, {train_step, &fused}};
    BenchTiming timing[2];
    bool ok = trainer_init(&fused, m->c, false) && bench_time(2, step, budget, timing);
    if (ok) {
        double ratio = timing[0].median / timing[1].median;
        r->timing = timing[0];
        r->more = json_pack("{s:f, s:f}", "ms_fused", 1e3 * timing[1].median, "ratio", ratio);
        snprintf(r->note, sizeof r->note, "fused op: %.2f ms; composed takes %.2f times as long",
                 1e3 * timing[1].median, ratio);
    } else {
        explain(ag_tape_ok(m->tape) ? &fused : m, r);
    }
    trainer_free(&fused);
    return ok;
}

static bool run(const void *sizes, double budget, BenchResult *r) {
    const Sizes *c = sizes;
    Trainer m;
    r->flops = flops(c);
    r->tokens = (double)(c->B * c->T);
    bool ok = trainer_init(&m, c, c->composed) || explain(&m, r);
    if (ok) ok = c->composed ? time_both(&m, budget, r) : time_one(&m, budget, r);
    trainer_free(&m);
    return ok;
}

BenchCases bench_training(void) {
    static const BenchCase cases[] = {
        {"lm_time_machine", run, &time_machine, true},
        {"lm_time_machine_composed", run, &time_machine_composed, true},
        {"lm_better_rnnlm", run, &better_rnnlm, true},
        {"lm_ptb_medium", run, &ptb_medium, true},
    };
    return (BenchCases){sizeof cases / sizeof *cases, cases};
}
