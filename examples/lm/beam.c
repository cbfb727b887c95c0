/* beam.c -- see beam.h. */
#include "beam.h"

#include <math.h>
#include <stdlib.h>

/* The last token of a text and the text before it; texts share their beginnings. */
typedef struct {
    int64_t before; /* a node, or -1 */
    int64_t token;
} Node;

/* A text that a search looks at: a beginning and one token more. */
typedef struct {
    double nats;
    int64_t row, token; /* row: of the beginning among those that go on */
} Candidate;

typedef struct {
    double nats;
    int64_t node;   /* -1: nothing */
    int64_t length; /* tokens */
} Text;

typedef struct {
    const LmBeamOptions *options;
    LmReader *reader;
    Node *nodes;
    int64_t node_count, node_capacity;
    Text *live, *next, *done; /* [N] each */
    int64_t live_count, next_count, done_count;
    Candidate *candidates; /* [N (N + 2)] */
    int64_t candidate_count;
    int64_t *rows, *tokens; /* [N] */
} Search;

static double mean(const Text *t) { return t->length > 0 ? t->nats / (double)t->length : 0; }

/* ---- memory ---- */

static bool search_init(Search *s, LmReader *r, const LmBeamOptions *o, TensorError *error) {
    size_t N = (size_t)o->width;
    *s = (Search){.options = o,
                  .reader = r,
                  .live = calloc(N, sizeof *s->live),
                  .next = calloc(N, sizeof *s->next),
                  .done = calloc(N, sizeof *s->done),
                  .candidates = calloc(N * (N + 2), sizeof *s->candidates),
                  .rows = calloc(N, sizeof *s->rows),
                  .tokens = calloc(N, sizeof *s->tokens)};
    if (!s->live || !s->next || !s->done || !s->candidates || !s->rows || !s->tokens)
        return tensor_error_set(error, "out of memory");
    s->live[0] = (Text){.node = -1};
    s->live_count = 1;
    return true;
}

static void search_clear(Search *s) {
    free(s->nodes);
    free(s->live);
    free(s->next);
    free(s->done);
    free(s->candidates);
    free(s->rows);
    free(s->tokens);
}

/* -1: out of memory. */
static int64_t add_node(Search *s, int64_t before, int64_t token, TensorError *error) {
    if (s->node_count == s->node_capacity) {
        int64_t capacity = 2 * s->node_capacity + 64;
        Node *larger = realloc(s->nodes, (size_t)capacity * sizeof *larger);
        if (!larger) {
            tensor_error_set(error, "out of memory");
            return -1;
        }
        s->nodes = larger;
        s->node_capacity = capacity;
    }
    s->nodes[s->node_count] = (Node){before, token};
    return s->node_count++;
}

/* ---- one step ---- */

static int by_nats(const void *left, const void *right) {
    const Candidate *a = left, *b = right;
    if (a->nats != b->nats) return a->nats > b->nats ? -1 : 1;
    if (a->row != b->row) return a->row < b->row ? -1 : 1;
    return (a->token > b->token) - (a->token < b->token);
}

/* The continuations that `choose` can come to: of each row the N best that go on, the one that ends
 * and the excluded one. */
static bool find_candidates(Search *s, AgVar logits, TensorError *error) {
    const LmBeamOptions *o = s->options;
    int64_t V = ag_dim(logits, 1), k = o->width + 2 < V ? o->width + 2 : V;
    AgVar p = ag_log_softmax(ag_cast(logits, TENSOR_F64), 1), value, index;
    if (!ag_topk(p, k, 1, true, &value, &index))
        return tensor_error_set(error, "%s", ag_tape_error(s->reader->tape));
    s->candidate_count = 0;
    for (int64_t row = 0; row < s->live_count; row++)
        for (int64_t i = 0; i < k; i++) {
            double nats = tensor_get(ag_value(value), row * k + i);
            int64_t token = tensor_get_i64(ag_value(index), row * k + i);
            if (isnan(nats)) return tensor_error_set(error, "the model's output is not finite");
            if (token != o->exclude && nats > -INFINITY)
                s->candidates[s->candidate_count++] =
                    (Candidate){s->live[row].nats + nats, row, token};
        }
    qsort(s->candidates, (size_t)s->candidate_count, sizeof *s->candidates, by_nats);
    return true;
}

/* Puts the text among the N best that have ended, where it is one of them; in front of it those
 * that are as good. */
static void add_done(Search *s, Text text) {
    int64_t at = s->done_count;
    while (at > 0 && mean(&text) > mean(&s->done[at - 1])) at--;
    if (at == s->options->width) return;
    if (s->done_count < s->options->width) s->done_count++;
    for (int64_t i = s->done_count - 1; i > at; i--) s->done[i] = s->done[i - 1];
    s->done[at] = text;
}

/* From the most likely candidate on: texts that end are kept apart, until N that go on are
 * found. */
static bool choose(Search *s, TensorError *error) {
    s->next_count = 0;
    for (int64_t i = 0; i < s->candidate_count && s->next_count < s->options->width; i++) {
        const Candidate *c = &s->candidates[i];
        const Text *old = &s->live[c->row];
        Text text = {c->nats, add_node(s, old->node, c->token, error), old->length + 1};
        if (text.node < 0) return false;
        if (c->token == s->options->end) {
            add_done(s, text);
            continue;
        }
        s->rows[s->next_count] = c->row;
        s->tokens[s->next_count] = c->token;
        s->next[s->next_count++] = text;
    }
    if (s->candidate_count == 0) return tensor_error_set(error, "there is no token left to write");
    Text *swap = s->live;
    s->live = s->next;
    s->next = swap;
    s->live_count = s->next_count;
    return true;
}

static bool stopped(const LmBeamOptions *o) { return o->stop && *o->stop; }

static bool search(Search *s, const int64_t *first, int64_t n, TensorError *error) {
    AgVar logits;
    const LmBeamOptions *o = s->options;
    for (int64_t i = 0; i < o->length && s->live_count > 0 && !stopped(o); i++) {
        bool read = i == 0 ? lm_reader_next(s->reader, n, 1, first, &logits, error)
                           : lm_reader_rows(s->reader, s->live_count, s->rows, error) &&
                                 lm_reader_next(s->reader, 1, s->live_count, s->tokens, &logits,
                                                error);
        if (!read || !find_candidates(s, logits, error) || !choose(s, error)) return false;
    }
    /* What has not ended competes with what has. */
    for (int64_t i = 0; i < s->live_count; i++) add_done(s, s->live[i]);
    return true;
}

/* ---- the result ---- */

static bool list_tokens(const Search *s, const Text *text, LmHypothesis *h, TensorError *error) {
    h->nats = text->nats;
    for (int64_t i = 0; i < text->length; i++)
        if (!lm_tokens_add(&h->tokens, &i, 1, error)) return false;
    int64_t at = text->length;
    for (int64_t node = text->node; node >= 0; node = s->nodes[node].before)
        h->tokens.id[--at] = s->nodes[node].token;
    return true;
}

static LmHypothesis *list_texts(const Search *s, TensorError *error) {
    LmHypothesis *list = calloc((size_t)s->done_count, sizeof *list);
    bool ok = list || tensor_error_set(error, "out of memory");
    for (int64_t i = 0; ok && i < s->done_count; i++)
        ok = list_tokens(s, &s->done[i], &list[i], error);
    if (ok) return list;
    lm_hypotheses_free(list, list ? s->done_count : 0);
    return NULL;
}

bool lm_beam_search(LmReader *r, const LmBeamOptions *options, const int64_t *first, int64_t n,
                    LmHypothesis **best, int64_t *count, TensorError *error) {
    Search s;
    *best = NULL;
    if (search_init(&s, r, options, error) && search(&s, first, n, error))
        *best = list_texts(&s, error);
    *count = *best ? s.done_count : 0;
    search_clear(&s);
    return *best != NULL;
}

void lm_hypotheses_free(LmHypothesis *list, int64_t count) {
    for (int64_t i = 0; i < count; i++) lm_tokens_clear(&list[i].tokens);
    free(list);
}
