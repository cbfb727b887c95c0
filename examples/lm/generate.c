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

/* Writes `length` characters that follow ids[0..count). */
static bool write_text(const Generator *g, const int64_t *ids, int64_t count, FILE *out,
                       TensorError *error) {
    const TensorRngKey key = {.seed = (uint64_t)g->options->seed};
    AgTapeMark start = ag_tape_mark(g->tape);
    int64_t next;
    for (int64_t i = 0; i < g->options->length; i++) {
        AgVar logits = i == 0 ? feed(g, ids, count) : feed(g, &next, 1);
        if (!ag_ok(logits)) return tensor_error_set(error, "%s", ag_tape_error(g->tape));
        next = choose(g, ag_value(logits), tensor_rng_uniform(key, (uint64_t)i));
        if (next < 0) return tensor_error_set(error, "the model's output is not finite");
        ag_tape_release(g->tape, start, 0, NULL);
        int64_t size;
        const char *token = data_vocab_token(g->run->vocab, next, &size);
        fwrite(token, 1, (size_t)size, out);
    }
    return true;
}

/* ---- the prefix ---- */

/* *bytes is the prefix, cleaned as the text was that the model knows; for free(). */
static bool clean_prefix(const LmRun *run, const char *prefix, char **bytes, int64_t *n,
                         TensorError *error) {
    *n = (int64_t)strlen(prefix);
    *bytes = run->clean == LM_CLEAN_LETTERS ? data_utf8_letters(prefix, *n, n) : strdup(prefix);
    return *bytes || tensor_error_set(error, "out of memory");
}

/* Fails: ids[i] is <unk>, for the character at its place in the prefix. */
static bool check_known(const LmRun *run, const int64_t *ids, int64_t count, const char *bytes,
                        int64_t n, TensorError *error) {
    int64_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t code;
        int size = data_utf8_decode(bytes + at, n - at, &code, NULL);
        if (ids[i] == data_vocab_unk(run->vocab))
            return tensor_error_set(error,
                                    "--prefix: the character '%.*s' does not occur in the text "
                                    "the model was trained on",
                                    size, bytes + at);
        at += size;
    }
    return true;
}

static bool encode_prefix(const LmRun *run, const char *bytes, int64_t n, int64_t **ids,
                          int64_t *count, TensorError *error) {
    TensorError why;
    if (!data_vocab_encode(run->vocab, bytes, n, ids, count, &why))
        return tensor_error_set(error, "--prefix: %s", why.message);
    return check_known(run, *ids, *count, bytes, n, error);
}

/* ---- all of it ---- */

static bool generator_init(Generator *g, const LmRun *run, const LmGeneration *options,
                           TensorError *error) {
    *g = (Generator){.run = run, .options = options, .tape = ag_tape_new(),
                     .state = nn_state_new(TENSOR_F32),
                     .weight = malloc((size_t)data_vocab_size(run->vocab) * sizeof(double))};
    if (!g->tape || !g->state || !g->weight) return tensor_error_set(error, "out of memory");
    ag_tape_no_grad(g->tape, true);
    return true;
}

static void generator_clear(Generator *g) {
    if (g->tape) ag_tape_free(g->tape);
    nn_state_free(g->state);
    free(g->weight);
}

bool lm_generate(const LmRun *run, const LmGeneration *options, FILE *out, TensorError *error) {
    Generator g;
    char *bytes = NULL;
    int64_t n, count, *ids = NULL;
    bool ok = generator_init(&g, run, options, error) &&
              clean_prefix(run, options->prefix, &bytes, &n, error) &&
              encode_prefix(run, bytes, n, &ids, &count, error);
    if (ok) {
        /* After <unk>, number 0, the most frequent character has number 1. */
        const int64_t frequent = data_vocab_size(run->vocab) > 1 ? 1 : 0;
        fwrite(bytes, 1, (size_t)n, out);
        ok = count > 0 ? write_text(&g, ids, count, out, error)
                       : write_text(&g, &frequent, 1, out, error);
    }
    free(ids);
    free(bytes);
    generator_clear(&g);
    return ok;
}
