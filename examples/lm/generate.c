/* generate.c -- see generate.h. */
#include "generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"

typedef struct {
    const LmRun *run;
    const LmGeneration *options;
    AgTape *tape;
    NnState *state;
    double *weight; /* [V] */
} Generator;

/* Feeds ids[0..n) and gives the logits after the last one, [V]. */
static AgVar feed(const Generator *g, const int64_t *ids, int64_t n) {
    AgTape *t = g->tape;
    AgTapeMark start = ag_tape_mark(t);
    AgVar logits = {t, 0, 0};
    for (int64_t i = 0; i < n; i++) {
        ag_tape_release(t, start, 0, NULL);
        int64_t id = ids[i];
        const int64_t shape[] = {1, 1}; /* T, B */
        Tensor x = tensor_wrap(&id, TENSOR_I64, 2, shape);
        logits = lm_model_forward(&g->run->model, g->state, ag_input(t, &x));
    }
    return ag_reshape(logits, 1, (int64_t[]){-1});
}

static int64_t most_likely(const Tensor *logits, int64_t except) {
    int64_t best = -1;
    for (int64_t v = 0; v < tensor_numel(logits); v++)
        if (v != except && (best < 0 || tensor_get(logits, v) > tensor_get(logits, best)))
            best = v;
    return best;
}

/* The character that number u in [0, 1) falls on when each has a share of exp(logit /
 * temperature).  -1: the logits are not finite, or there is no character. */
static int64_t choose(const Generator *g, const Tensor *logits, double u) {
    int64_t V = tensor_numel(logits), unk = data_vocab_unk(g->run->vocab);
    int64_t best = most_likely(logits, unk);
    for (int64_t v = 0; v < V; v++)
        if (!isfinite(tensor_get(logits, v))) return -1;
    if (best < 0 || g->options->temperature == 0) return best;
    double total = 0;
    for (int64_t v = 0; v < V; v++) {
        double below = tensor_get(logits, v) - tensor_get(logits, best);
        g->weight[v] = v == unk ? 0 : exp(below / g->options->temperature);
        total += g->weight[v];
    }
    double sum = 0;
    for (int64_t v = 0; v < V; v++)
        if ((sum += g->weight[v]) > u * total) return v;
    return best; /* u * total was rounded up to the total */
}

static bool write_text(const Generator *g, const int64_t *ids, int64_t count, FILE *out,
                       TensorError *error) {
    AgTapeMark start = ag_tape_mark(g->tape);
    for (int64_t i = 0; i < g->options->length; i++) {
        AgVar logits = feed(g, ids, count);
        if (!ag_ok(logits)) return tensor_error_set(error, "%s", ag_tape_error(g->tape));
        TensorRngKey key = {(uint64_t)g->options->seed, 0, 0};
        int64_t next = choose(g, ag_value(logits), tensor_rng_uniform(key, (uint64_t)i));
        if (next < 0) return tensor_error_set(error, "the model gives numbers that are not finite");
        ag_tape_release(g->tape, start, 0, NULL);
        int64_t size;
        const char *token = data_vocab_token(g->run->vocab, next, &size);
        fwrite(token, 1, (size_t)size, out);
        if (isatty_or_long(i)) fflush(out);
        ids = &next;
        count = 1;
    }
    return true;
}
