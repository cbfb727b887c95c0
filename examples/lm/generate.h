/* generate.h -- text from a trained model: drawn token by token, or the most likely by beam
 * search.
 *
 * The text begins with the prefix, prepared and cut into tokens as the model's own text was.
 * Without a prefix the first token comes as after the end of a line, or, of a model of characters,
 * as after the most frequent one; that one is not written.
 *
 * Token i of sample s is drawn with the random number i of the key (seed, s) (tensor/rng.h).  So a
 * seed has one text, longer ones begin as shorter ones do, and sample s is the same text however
 * many are drawn with it. */
#ifndef EXAMPLES_LM_GENERATE_H
#define EXAMPLES_LM_GENERATE_H
#include <signal.h>
#include <stdio.h>

#include "run.h"

typedef struct {
    const char *prefix;  /* UTF-8 */
    int64_t length;      /* tokens after the prefix */
    bool one_line;       /* the text ends where its line does, if that is sooner */
    int64_t samples;     /* 0 means 1 */
    bool allow_unk;      /* words: <unk> may be in the text */

    /* ---- drawing, as nn/sample.h ---- */
    double temperature;
    int64_t top_k;
    double top_p;
    double repetition_penalty;
    int64_t repetition_window; /* of the last so many tokens of the text, prefix included; 0: all */
    int64_t seed;
    bool at_end;               /* one sample is written when it is whole, not token by token */

    /* ---- searching ---- */
    int64_t beam; /* N: keeps the N most likely beginnings; the best `samples` (up to N) texts are
                     written.  0: draws */

    const volatile sig_atomic_t *stop; /* when it is not 0, the text ends there; NULL: never */
} LmGeneration;

/* What lm generate does without options. */
#define LM_GENERATION_DEFAULTS \
    {.prefix = "", .length = 500, .samples = 1, .temperature = 0.8, .seed = 1}

/* Writes one text, or several, each below a line "==> sample 2 <==" or, of beam search, with what
 * it has reached, "==> 2: -31.5 nats, -0.79 per token <==".  Each ends with a line end.
 *
 * Beam search: texts compare by their log probability after the prefix, over the number of its
 * tokens; the end of a line counts as one.  In each step the N most likely texts that go on are
 * kept; those that end (one_line) are kept apart, the best N of them, if they are more likely than
 * the last of those that go on.  The log probabilities are the model's own, also without <unk>, so
 * `lm score` finds the same.  Ties: the text that stood first, the token with the lower id.
 * P. Koehn, Pharaoh, AMTA 2004; the mean over tokens: Y. Wu and others, arXiv 1609.08144, section
 * 7, with alpha = 1.
 *
 * Fails (false, some text may be written): options that are out of range (nn_sample_invalid) or
 * more samples than hypotheses; one_line of a model that knows no line ends; a token of the prefix
 * is not known (lm_run_encode); the model gives no finite numbers; nothing is left to draw; out of
 * memory. */
bool lm_generate(const LmRun *run, const LmGeneration *options, FILE *out, TensorError *error);

/* The token that a text without a prefix comes after. */
int64_t lm_start_token(const DataVocab *vocab);

/* lm generate */
int lm_generate_command(int argc, char **argv);

#endif
