/* Whole training steps of a language model: memory, repeatability, and that they learn. */
#include <criterion/criterion.h>
#include <math.h>

#include "autograd/ag.h"
#include "nn/dropout.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/lstm.h"
#include "nn/state.h"
#include "optim/optim.h"
#include "tests/support/allocations.h"

enum { T = 7, B = 5, V = 11, E = 9, H = 13, L = 2 };

typedef struct {
    AgTape *tape;
    NnParamSet *set;
    NnEmbedding embedding;
    NnLstm lstm;
    NnLinear out;
    NnState *state;
    Optim *optim;
    double norm;
} Trainer;

typedef enum { MOMENTUM, ADAM, PLAIN } Rule; /* plain: over the embedding's used rows */

static Trainer trainer(Rule rule) {
    Trainer m = {.tape = ag_tape_new(), .set = nn_params_new(TENSOR_F32, 1),
                 .state = nn_state_new(TENSOR_F32)};
    m.embedding = nn_embedding_make(m.set, "embedding", V, E, NULL);
    m.lstm = nn_lstm_make(m.set, "lstm", E, H,
                          &(NnLstmOptions){.num_layers = L, .bidirectional = false, .dropout = .3});
    m.out = nn_linear_make(m.set, "out", H, V, NULL);
    cr_assert(nn_params_ok(m.set), "%s", nn_params_error(m.set));
    OptimSgd sgd = {.lr = .5, .momentum = rule == MOMENTUM ? .9 : 0};
    m.optim = rule == ADAM ? optim_adam_new(m.set, (OptimAdam)OPTIM_ADAM_DEFAULTS)
                           : optim_sgd_new(m.set, sgd);
    cr_assert(optim_ok(m.optim), "%s", optim_error(m.optim));
    return m;
}

static void trainer_free(Trainer *m) {
    optim_free(m->optim);
    nn_state_free(m->state);
    ag_tape_free(m->tape);
    nn_params_free(m->set);
}

static double step(Trainer *m, int number) {
    int64_t id[2][T * B], window[] = {T, B}, shape[] = {L, B, H};
    for (int i = 0; i < T * B; i++) {
        id[0][i] = (number + 3 * i) % V;
        id[1][i] = (number + 3 * i + 1) % V;
    }
    AgTape *t = m->tape;
    ag_tape_reset(t);
    ag_tape_training(t, true);
    ag_tape_rng(t, 5, (uint64_t)number);
    nn_zero_grad(m->set);
    Tensor x = tensor_wrap(id[0], TENSOR_I64, 2, window), y = tensor_wrap(id[1], TENSOR_I64, 2, window);
    NnLstmState s = {nn_state_load(m->state, t, "h", 3, shape),
                     nn_state_load(m->state, t, "c", 3, shape)};
    NnLstmOutput o = nn_lstm(&m->lstm, nn_embedding(&m->embedding, ag_input(t, &x)), &s, NULL);
    AgVar loss = nn_linear_cross_entropy(&m->out, ag_dropout(o.y, .3, 1), ag_input(t, &y), NULL);
    cr_assert(ag_backward(loss), "%s", ag_tape_error(t));
    cr_assert(optim_step_clipped(m->optim, NULL, .25, &m->norm), "%s", optim_error(m->optim));
    nn_state_store(m->state, "h", o.hn);
    nn_state_store(m->state, "c", o.cn);
    return ag_item(loss);
}

Test(step, after_the_first_nothing_is_allocated) {
    for (Rule rule = MOMENTUM; rule <= PLAIN; rule++) {
        Trainer m = trainer(rule);
        long start = allocations();
        cr_assert_gt(start, 0, "the counter counts nothing");
        step(&m, 0);
        long first = allocations();
        for (int i = 1; i < 20; i++) step(&m, i);
        cr_expect_eq(allocations() - first, 0, "%ld allocations in 19 steps", allocations() - first);
        trainer_free(&m);
    }
}

Test(step, two_runs_of_one_seed_give_the_same_bits) {
    Trainer a = trainer(ADAM), b = trainer(ADAM);
    for (int i = 0; i < 10; i++) {
        double loss_a = step(&a, i), loss_b = step(&b, i);
        cr_expect_eq(loss_a, loss_b);
        cr_expect_eq(a.norm, b.norm);
    }
    trainer_free(&a);
    trainer_free(&b);
}

Test(step, training_lowers_the_loss_from_chance_to_almost_nothing) {
    Trainer m = trainer(ADAM);
    optim_set_lr(m.optim, .01);
    double first = step(&m, 0), last = first;
    for (int i = 1; i < 400; i++) last = step(&m, i);
    cr_expect_float_eq(first, log(V), .5);
    cr_expect_lt(last, .2, "%g", last);
    trainer_free(&m);
}
