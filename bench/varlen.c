/* varlen.c -- a batch of sequences whose lengths are uniform in 1..T, told to the layer, in turns
 * with the same batch padded to T. */
#include <stdio.h>

#include "bench/cases.h"
#include "nn/lstm.h"
#include "tensor/rng.h"

enum { T = 100, B = 32, SIZE = 128 };

static const bool one_direction = false, two_directions = true;

typedef struct {
    AgTape *tape;
    TensorArena *arena;
    NnParamSet *set;
    NnLstm lstm;
    Tensor x;
    int64_t lengths[B];
} Batch;

static bool batch_init(Batch *m, bool bidirectional) {
    const int64_t shape[] = {T, B, SIZE};
    *m = (Batch){.tape = ag_tape_new(), .arena = tensor_arena_new(),
                 .set = nn_params_new(TENSOR_F32, 1)};
    m->lstm = nn_lstm_make(m->set, "lstm", SIZE, SIZE,
                           &(NnLstmOptions){.bidirectional = bidirectional});
    if (!m->tape || !m->arena || !nn_params_ok(m->set)) return false;
    m->x = tensor_new(m->arena, TENSOR_F32, 3, shape);
    if (tensor_is_nil(&m->x)) return false;
    tensor_rng_fill_uniform(&m->x, (TensorRngKey){.seed = 1}, -1, 1);
    for (int b = 0; b < B; b++)
        m->lengths[b] = 1 + tensor_rng_below((TensorRngKey){.seed = 2}, (uint64_t)b, T);
    return true;
}

static void batch_free(Batch *m) {
    if (m->tape) ag_tape_free(m->tape);
    nn_params_free(m->set);
    tensor_arena_free(m->arena);
}

static bool train_step(Batch *m, const int64_t *lengths) {
    ag_tape_reset(m->tape);
    nn_zero_grad(m->set);
    AgVar y = nn_lstm(&m->lstm, ag_borrow(m->tape, &m->x), NULL, lengths).y;
    return ag_backward(ag_sum(ag_square(y), AG_ALL_AXES, false));
}

static bool varied_step(void *batch) { return train_step(batch, ((Batch *)batch)->lengths); }
static bool padded_step(void *batch) { return train_step(batch, NULL); }

static void note(BenchResult *r, int directions, BenchTiming padded) {
    double share = r->tokens / (T * B), ratio = r->timing.median / padded.median;
    r->more = json_pack("{s:i, s:f, s:f, s:f}", "directions", directions, "ms_padded",
                        1e3 * padded.median, "ratio", ratio, "share_of_steps", share);
    snprintf(r->note, sizeof r->note, "%d direction%s; padded: %.2f ms, ratio %.2f for %.2f of the"
             " steps", directions, directions > 1 ? "s" : "", 1e3 * padded.median, ratio, share);
}

/* Of x and h forward; of both weights and of h, but not of x, backward. */
enum { PRODUCTS = 2 + 3 };
static double flops(int directions, double tokens) {
    return directions * PRODUCTS * 2 * tokens * 4 * SIZE * SIZE;
}

static bool run(const void *sizes, double budget, BenchResult *r) {
    Batch m;
    BenchTiming timing[2];
    BenchStep step[] = {{varied_step, &m}, {padded_step, &m}};
    bool ok = batch_init(&m, *(const bool *)sizes) && varied_step(&m) && varied_step(&m);
    r->rss_mib = bench_rss_mib(); /* before the first padded step */
    ok = ok && bench_time(2, step, budget, timing);
    if (ok) {
        for (int b = 0; b < B; b++) r->tokens += (double)m.lengths[b];
        r->flops = flops(m.lstm.D, r->tokens);
        r->timing = timing[0];
        note(r, m.lstm.D, timing[1]);
    } else {
        snprintf(r->note, sizeof r->note, "%s",
                 m.tape && !ag_tape_ok(m.tape) ? ag_tape_error(m.tape) : "out of memory");
    }
    batch_free(&m);
    return ok;
}

BenchCases bench_varlen(void) {
    static const BenchCase cases[] = {{"lstm_varlen", run, &one_direction, true},
                                      {"lstm_varlen", run, &two_directions, true}};
    return (BenchCases){sizeof cases / sizeof *cases, cases};
}
