/* gradcheck.c -- what it costs to check the gradients of a small model: an LSTM of two layers, in
 * its input and in all its parameters, every element, in double precision. */
#include "autograd/gradcheck/gradcheck.h"

#include <stdio.h>

#include "bench/cases.h"
#include "nn/lstm.h"
#include "tensor/rng.h"

enum { I = 5, H = 6, L = 2, T = 4, B = 3, PARAMS = 4 * L, INPUTS = 1 + PARAMS };

typedef struct {
    TensorArena *arena;
    NnParamSet *set;
    NnLstm lstm;
    Tensor input[INPUTS]; /* x, then the parameters */
    GradcheckResult verdict;
} Check;

static bool check_init(Check *m) {
    *m = (Check){.arena = tensor_arena_new(), .set = nn_params_new(TENSOR_F64, 1)};
    m->lstm = nn_lstm_make(m->set, "lstm", I, H, &(NnLstmOptions){.num_layers = L});
    if (!m->arena || !nn_params_ok(m->set)) return false;
    m->input[0] = tensor_new(m->arena, TENSOR_F64, 3, (const int64_t[]){T, B, I});
    for (int p = 0; p < PARAMS; p++)
        m->input[1 + p] = tensor_copy(m->arena, &nn_params_at(m->set, p)->value);
    for (int i = 0; i < INPUTS; i++)
        if (tensor_is_nil(&m->input[i])) return false;
    tensor_rng_fill_uniform(&m->input[0], (TensorRngKey){.seed = 1}, -1, 1);
    return true;
}

static void check_free(Check *m) {
    nn_params_free(m->set);
    tensor_arena_free(m->arena);
}

static int model(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    const Check *m = context;
    for (int p = 0; p < PARAMS; p++) nn_param_bind(t, nn_params_at(m->set, p), x[1 + p]);
    NnLstmOutput o = nn_lstm(&m->lstm, x[0], NULL, NULL);
    y[0] = o.y;
    y[1] = o.hn;
    y[2] = o.cn;
    return 3;
}

static bool check_step(void *check) {
    Check *m = check;
    return gradcheck(model, m, INPUTS, m->input, NULL, &m->verdict);
}

static bool run(const void *sizes, double budget, BenchResult *r) {
    (void)sizes;
    Check m;
    BenchStep step = {check_step, &m};
    bool made = check_init(&m), ok = made && bench_time(1, &step, budget, &r->timing);
    if (ok) {
        r->more = json_pack("{s:I, s:I}", "derivatives", (json_int_t)m.verdict.checked,
                            "evaluations", (json_int_t)m.verdict.evaluations);
        snprintf(r->note, sizeof r->note, "%lld derivatives, %lld evaluations",
                 (long long)m.verdict.checked, (long long)m.verdict.evaluations);
    } else {
        snprintf(r->note, sizeof r->note, "%s", made ? m.verdict.message : "out of memory");
    }
    check_free(&m);
    return ok;
}

BenchCases bench_gradcheck(void) {
    static const BenchCase cases[] = {{"gradcheck_lstm", run, NULL, false}};
    return (BenchCases){1, cases};
}
