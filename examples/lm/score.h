/* score.h -- how well a trained model predicts a text.
 *
 *     nats           sum of -ln p(token | all tokens before it in the text)
 *     perplexity     exp(nats / tokens)
 *     bits per character   nats / ln 2 / characters
 *
 * The text is read as one row from a state of zeros, with all of its past.  Its first token is what
 * the prediction starts from and is not predicted itself, as when perplexity is measured in
 * training; or (first) it is, as the first token that lm generate would write.
 *
 * Characters are the code points of what was predicted, after cleaning: of a text of words, white
 * space between two words counts as one, and the end of a line with the white space around it
 * does. */
#ifndef EXAMPLES_LM_SCORE_H
#define EXAMPLES_LM_SCORE_H
#include "run.h"

/* Of a text, or of one of its lines; the lines' numbers add up to the text's. */
typedef struct {
    int64_t tokens;  /* predicted */
    int64_t chars;   /* in them */
    int64_t unknown; /* how many of the tokens are <unk> */
    double nats;
} LmScore;

/* NaN of no tokens, or characters. */
double lm_score_perplexity(const LmScore *s);
double lm_score_bits(const LmScore *s); /* per character */

typedef struct {
    LmScore all;
    LmScore *line; /* [lines]; a line has its LF, and what the model has for it */
    int64_t lines;
} LmTextScore;

/* Scores text[0..n), UTF-8 with LF at line ends; `name` stands for it in messages.  Free the result
 * with lm_text_score_free.
 * Fails (false, *s is empty): no token to predict; lm_run_encode's reasons, with the line; the
 * model gives no finite numbers; out of memory. */
bool lm_score_text(const LmRun *run, const char *name, const char *text, int64_t n, bool first,
                   LmTextScore *s, TensorError *error);
void lm_text_score_free(LmTextScore *s);

/* lm score */
int lm_score_command(int argc, char **argv);

#endif
