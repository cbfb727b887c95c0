/* tiny_run.c -- see tiny_run.h. */
#include "tests/examples/lm/tiny_run.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void tiny_run_make(LmRun *run, const TinyRun *o) {
    const DataTokens tokens = {o->unit, o->clean};
    TensorError error = {""};
    int64_t n;
    char *prepared = data_tokens_prepare(&tokens, o->text, (int64_t)strlen(o->text), &n);
    cr_assert(prepared);
    bool words = o->unit != DATA_UNIT_CHAR;
    const DataVocabOptions vocabulary = {.kind = words ? DATA_VOCAB_WORD : DATA_VOCAB_CHAR,
                                         .eos = words, .min_count = o->min_count};
    *run = (LmRun){.settings = lm_settings_default(), .result = {2, 3.5, 4.5, NAN},
                   .vocab = data_vocab_new(prepared, n, &vocabulary, &error)};
    free(prepared);
    cr_assert(run->vocab, "%s", error.message);
    run->settings.unit = o->unit;
    run->settings.clean = o->clean;
    LmConfig *c = &run->settings.model;
    c->vocab = data_vocab_size(run->vocab);
    c->embedding = o->tied ? 5 : 0;
    c->tied = o->tied;
    c->hidden = 7;
    c->layers = 2;
    c->dropout = 0.5; /* without an effect outside training */
    c->init = 1.5;
    c->init_lstm = 1;
    cr_assert(lm_model_init(&run->model, c, o->seed, &error), "%s", error.message);
}

typedef struct {
    AgTape *tape;
    NnState *state;
} Steps;

static Steps steps_begin(void) {
    Steps s = {ag_tape_new(), nn_state_new(TENSOR_F32)};
    cr_assert(s.tape && s.state);
    return s;
}

static void steps_end(Steps *s) {
    ag_tape_free(s->tape);
    nn_state_free(s->state);
}

static void step(const Steps *s, const LmRun *run, int64_t x, double *logits) {
    const int64_t one[] = {1, 1};
    ag_tape_reset(s->tape);
    Tensor id = tensor_wrap(&x, TENSOR_I64, 2, one);
    AgVar z = lm_model_forward(&run->model, s->state, ag_input(s->tape, &id));
    cr_assert(ag_ok(z), "%s", ag_tape_error(s->tape));
    for (int64_t v = 0; v < ag_numel(z); v++) logits[v] = tensor_get(ag_value(z), v);
}

void tiny_run_logits(const LmRun *run, int64_t T, const int64_t *x, double *logits) {
    Steps s = steps_begin();
    for (int64_t t = 0; t < T; t++) step(&s, run, x[t], logits);
    steps_end(&s);
}

void tiny_run_losses(const LmRun *run, int64_t T, const int64_t *x, const int64_t *y,
                     double *losses) {
    int64_t V = data_vocab_size(run->vocab);
    double *z = calloc((size_t)V, sizeof *z);
    Steps s = steps_begin();
    for (int64_t t = 0; t < T; t++) {
        step(&s, run, x[t], z);
        double sum = 0;
        for (int64_t v = 0; v < V; v++) sum += exp(z[v]);
        losses[t] = log(sum) - z[y[t]];
    }
    steps_end(&s);
    free(z);
}
