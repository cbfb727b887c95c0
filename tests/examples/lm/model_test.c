/* model_test.c -- sizes, dropout and refusals of the language model. */
#include "examples/lm/model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn/dropout.h"

static const LmConfig plain = {.vocab = 11, .embedding = 6, .hidden = 8, .layers = 2,
                               .dropout_input = -1, .dropout_hidden = -1, .dropout_output = -1};

static LmModel make(const LmConfig *c, uint64_t seed) {
    LmModel m;
    TensorError error;
    cr_assert(lm_model_init(&m, c, seed, &error), "%s", error.message);
    return m;
}

enum { T = 5, B = 3 };
static const int64_t ids[T * B] = {1, 4, 9, 0, 10, 3, 3, 3, 3, 7, 1, 2, 5, 4, 8};

static Tensor tokens(int64_t steps, int64_t rows) {
    const int64_t shape[] = {steps, rows};
    return tensor_wrap((void *)ids, TENSOR_I64, 2, shape);
}

/* ---- sizes ---- */

Test(lm_model, the_size_of_a_config_is_that_of_its_parameters) {
    static const int64_t embeddings[] = {0, 6, 8};
    for (int64_t vocab = 1; vocab < 12; vocab += 5)
        for (int e = 0; e < 3; e++)
            for (int64_t layers = 1; layers < 5; layers++)
                for (int tied = 0; tied < 2; tied++) {
                    LmConfig c = plain;
                    c.vocab = vocab, c.embedding = embeddings[e], c.layers = layers;
                    c.tied = tied;
                    if (tied && (e == 0 || (embeddings[e] != c.hidden && layers == 1))) continue;
                    LmModel m = make(&c, 1);
                    cr_assert_eq(lm_config_numel(&c), (double)nn_params_numel(m.set),
                                 "V %lld E %lld L %lld tied %d: %g, not %lld", (long long)vocab,
                                 (long long)c.embedding, (long long)layers, tied,
                                 lm_config_numel(&c), (long long)nn_params_numel(m.set));
                    lm_model_free(&m);
                }
}

Test(lm_model, sizes_that_no_memory_holds_have_a_size_and_are_refused) {
    LmConfig c = plain;
    LmModel m;
    TensorError error;
    c.vocab = 1 << 28, c.embedding = c.hidden = 1 << 20, c.layers = 1000;
    cr_assert_gt(lm_config_numel(&c), 8e15);
    cr_assert_not(lm_model_init(&m, &c, 1, &error));
    cr_assert(*error.message && !strchr(error.message, '\n'));
    lm_model_free(&m);
}

Test(lm_model, one_seed_gives_one_model_and_ranges_are_kept) {
    LmConfig c = plain;
    c.init = 0.05, c.init_lstm = 0.01, c.tied = true;
    LmModel a = make(&c, 3), b = make(&c, 3), other = make(&c, 4);
    cr_assert_eq(a.out.weight, a.embedding.weight);
    double differs = 0;
    for (int i = 0; i < nn_params_count(a.set); i++) {
        const NnParam *p = nn_params_at(a.set, i);
        Tensor x = p->value, y = nn_params_at(b.set, i)->value;
        Tensor z = nn_params_at(other.set, i)->value;
        bool lstm = strncmp(p->name, "lstm", 4) == 0 || strncmp(p->name, "last", 4) == 0;
        double largest = 0;
        for (int64_t k = 0; k < tensor_numel(&x); k++) {
            cr_assert_eq(tensor_get(&x, k), tensor_get(&y, k));
            differs += tensor_get(&x, k) != tensor_get(&z, k);
            largest = fmax(largest, fabs(tensor_get(&x, k)));
        }
        double range = lstm ? 0.01 : 0.05;
        cr_assert(largest <= range * 1.000001 && largest > range / 2, "%s: %g", p->name, largest);
    }
    cr_assert_gt(differs, 100);
    lm_model_free(&a), lm_model_free(&b), lm_model_free(&other);
}

/* ---- what is computed ---- */

static double distance(AgVar a, AgVar b) {
    const Tensor *x = ag_value(a), *y = ag_value(b);
    cr_assert(ag_ok(a) && ag_ok(b), "%s", ag_tape_error(a.tape));
    cr_assert_eq(tensor_numel(x), tensor_numel(y));
    double most = 0;
    for (int64_t k = 0; k < tensor_numel(x); k++)
        most = fmax(most, fabs(tensor_get(x, k) - tensor_get(y, k)));
    return most;
}

/* By hand: each part with the library's own functions, in evaluation. */
static AgVar by_hand(const LmModel *m, AgVar x) {
    AgVar v = m->config.embedding > 0 ? nn_embedding(&m->embedding, x)
                                      : ag_one_hot(x, m->config.vocab, TENSOR_F32);
    v = nn_lstm(&m->lstm, v, NULL, NULL).y;
    if (m->last.layer) v = nn_lstm(&m->last, v, NULL, NULL).y;
    return nn_linear(&m->out, v);
}

static LmConfig variant(int i) {
    LmConfig c = plain;
    if (i == 1) c.embedding = 0;
    if (i == 2) c.tied = true;
    if (i == 3) c.layers = 1;
    if (i == 4) c.tied = true, c.embedding = c.hidden;
    if (i == 5) c.forget_bias = 1, c.layers = 3;
    return c;
}
enum { VARIANTS = 6 };

Test(lm_model, it_is_the_composition_of_its_parts_and_evaluation_has_no_dropout) {
    for (int i = 0; i < VARIANTS; i++) {
        LmConfig c = variant(i), dropped = c;
        dropped.dropout = 0.5, dropped.weight_drop = 0.5, dropped.locked = i % 2;
        dropped.embedding_dropout = c.embedding > 0 ? 0.5 : 0;
        LmModel m = make(&c, 7), d = make(&dropped, 7);
        AgTape *t = ag_tape_new();
        NnState *state = nn_state_new(TENSOR_F32), *other = nn_state_new(TENSOR_F32);
        Tensor ids_of = tokens(T, B);
        AgVar x = ag_input(t, &ids_of);
        ag_tape_training(t, false);
        AgVar y = lm_model_forward(&m, state, x);
        cr_assert_lt(distance(y, by_hand(&m, x)), 1e-6, "variant %d", i);
        cr_assert_eq(distance(y, lm_model_forward(&d, other, x)), 0, "variant %d: dropout", i);
        ag_tape_training(t, true);
        nn_state_zero(other);
        AgVar random = lm_model_forward(&d, other, x);
        cr_assert_gt(distance(y, random), 0.01, "variant %d: no dropout", i);
        nn_state_free(state), nn_state_free(other);
        ag_tape_free(t);
        lm_model_free(&m), lm_model_free(&d);
    }
}

Test(lm_model, two_windows_are_one_and_raw_is_what_dropout_has_not_touched) {
    for (int i = 0; i < VARIANTS; i++) {
        LmConfig c = variant(i);
        LmModel m = make(&c, 7);
        AgTape *t = ag_tape_new();
        NnState *state = nn_state_new(TENSOR_F32), *parts = nn_state_new(TENSOR_F32);
        Tensor all = tokens(T, B), first = tensor_narrow(&all, 0, 0, 2),
               second = tensor_narrow(&all, 0, 2, T - 2);
        ag_tape_training(t, false);
        AgVar whole = lm_model_forward(&m, state, ag_input(t, &all));
        AgVar a = lm_model_forward(&m, parts, ag_input(t, &first));
        AgVar b = lm_model_forward(&m, parts, ag_input(t, &second));
        AgVar both[] = {a, b};
        cr_assert_lt(distance(whole, ag_concat(2, both, 0)), 1e-6, "variant %d", i);
        AgVar raw;
        LmState before = lm_model_load(&m, parts, t, B);
        AgVar h = lm_model_hidden(&m, &before, ag_input(t, &all), &raw, NULL);
        cr_assert_eq(distance(h, raw), 0);
        nn_state_free(state), nn_state_free(parts);
        ag_tape_free(t);
        lm_model_free(&m);
    }
}

/* ---- which word is dropped where ---- */

enum { WORDS = 11, LENGTH = 4, COPIES = 3, ROWS = WORDS * COPIES };

/* Row b repeats word b mod WORDS. */
static Tensor repeated(int64_t space[LENGTH * ROWS]) {
    const int64_t shape[] = {LENGTH, ROWS};
    for (int64_t k = 0; k < LENGTH * ROWS; k++) space[k] = k % ROWS % WORDS;
    return tensor_wrap(space, TENSOR_I64, 2, shape);
}

static void scale(LmModel *m, double factor) {
    Tensor w = m->embedding.weight->value;
    for (int64_t k = 0; k < tensor_numel(&w); k++) tensor_set(&w, k, factor * tensor_get(&w, k));
}

static AgVar hidden(const LmModel *m, AgTape *t, const Tensor *x) {
    NnState *state = nn_state_new(TENSOR_F32);
    LmState before = lm_model_load(m, state, t, ROWS);
    AgVar h = lm_model_hidden(m, &before, ag_input(t, x), NULL, NULL);
    cr_assert(ag_ok(h), "%s", ag_tape_error(t));
    nn_state_free(state);
    return h;
}

/* Of row b over all steps. */
static double row_distance(const Tensor *x, const Tensor *y, int64_t b) {
    int64_t H = x->shape[2];
    double most = 0;
    for (int64_t t = 0; t < LENGTH; t++)
        for (int64_t i = 0; i < H; i++) {
            int64_t k = (t * ROWS + b) * H + i;
            most = fmax(most, fabs(tensor_get(x, k) - tensor_get(y, k)));
        }
    return most;
}

/* With p = 1/2 a word's vector is 0 or doubled, in all rows and steps alike. */
Test(lm_model, a_dropped_word_is_dropped_at_all_its_places) {
    LmConfig c = plain;
    int64_t space[LENGTH * ROWS];
    c.embedding_dropout = 0.5;
    LmModel m = make(&c, 5), zero = make(&c, 5), twice = make(&c, 5);
    scale(&zero, 0);
    scale(&twice, 2);
    AgTape *t = ag_tape_new();
    Tensor x = repeated(space);
    int dropped = 0;
    for (uint64_t step = 0; step < 20; step++) {
        ag_tape_reset(t);
        ag_tape_rng(t, 9, step);
        ag_tape_training(t, true);
        const Tensor *y = ag_value(hidden(&m, t, &x));
        ag_tape_training(t, false);
        const Tensor *none = ag_value(hidden(&zero, t, &x)),
                     *full = ag_value(hidden(&twice, t, &x));
        for (int64_t word = 0; word < WORDS; word++) {
            bool gone = row_distance(y, none, word) < 1e-6;
            dropped += gone;
            for (int64_t b = word; b < ROWS; b += WORDS)
                cr_assert_lt(row_distance(y, gone ? none : full, b), 1e-6, "word %lld in row %lld",
                             (long long)word, (long long)b);
        }
    }
    cr_assert(dropped > 70 && dropped < 150, "%d of 220 words dropped", dropped);
    ag_tape_free(t);
    lm_model_free(&m), lm_model_free(&zero), lm_model_free(&twice);
}

/* After the last layer, the mask of one step is that of all steps. */
Test(lm_model, locked_dropout_drops_the_same_values_in_all_steps) {
    for (int locked = 0; locked < 2; locked++) {
        LmConfig c = plain;
        c.dropout_output = 0.5, c.locked = locked;
        LmModel m = make(&c, 5);
        AgTape *t = ag_tape_new();
        Tensor x = tokens(T, B);
        NnState *state = nn_state_new(TENSOR_F32);
        ag_tape_rng(t, 9, 0);
        ag_tape_training(t, true);
        LmState before = lm_model_load(&m, state, t, B);
        AgVar raw, h = lm_model_hidden(&m, &before, ag_input(t, &x), &raw, NULL);
        const Tensor *y = ag_value(h), *r = ag_value(raw);
        int64_t dropped = 0, changes = 0, n = tensor_numel(y), row = n / T;
        for (int64_t k = 0; k < n; k++) {
            bool gone = tensor_get(y, k) == 0;
            dropped += gone;
            cr_assert(gone || fabs(tensor_get(y, k) - 2 * tensor_get(r, k)) < 1e-6);
            changes += k >= row && gone != (tensor_get(y, k - row) == 0);
        }
        cr_assert(dropped > n / 4 && dropped < 3 * n / 4, "%lld of %lld", (long long)dropped,
                  (long long)n);
        cr_assert(locked ? changes == 0 : changes > row, "locked %d: %lld changes", locked,
                  (long long)changes);
        nn_state_free(state);
        ag_tape_free(t);
        lm_model_free(&m);
    }
}

/* ---- refusals ---- */

Test(lm_model, sizes_that_do_not_fit_are_refused_by_option) {
    static const struct {
        LmConfig c;
        const char *word;
    } cases[] = {
        {{.vocab = 5, .embedding = 0, .hidden = 4, .layers = 1, .tied = true}, "--embedding"},
        {{.vocab = 5, .embedding = 3, .hidden = 4, .layers = 1, .tied = true}, "--hidden 4"},
        {{.vocab = 5, .embedding = 0, .hidden = 4, .layers = 1, .embedding_dropout = 0.1},
         "--embedding-dropout"},
        {{.vocab = 5, .embedding = 0, .hidden = 4, .layers = 1, .dropout_input = 0.1},
         "--dropout-input"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        LmModel m;
        TensorError error;
        cr_assert_not(lm_model_init(&m, &cases[i].c, 1, &error));
        cr_assert(strstr(error.message, cases[i].word), "%s", error.message);
        lm_model_free(&m);
    }
}
