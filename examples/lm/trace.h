/* trace.h -- a look inside: gates and states of every layer while the model reads a text.
 *
 * The network runs as nn/lstm_trace.h has it, from a state of zeros and without dropout.  At step t
 * it has read tokens 0..t; how much the next one surprises it is
 *
 *     bits[t + 1] = -log2 p(token t + 1 | tokens 0..t)
 *
 * log2 V for a model that knows nothing, 0 for one that is certain.  Nothing foretells token 0. */
#ifndef EXAMPLES_LM_TRACE_H
#define EXAMPLES_LM_TRACE_H
#include "run.h"

enum {
    LM_TRACE_MAX_TOKENS = 1000, /* of the text; */
    LM_TRACE_MAX_COLUMNS = 50,  /* of the picture: each column has its label; */
    LM_TRACE_MAX_CELLS = 100000 /* and of cells */
};

typedef struct {
    const char *svg, *png, *csv; /* the files to write; NULL: not this one; a PNG file, of two
                                    pixels for each of the SVG's, needs the SVG one */
    const char *name;    /* of the model, which begins the picture's title; NULL: none */
    int64_t layer;       /* of the L layers, counted from 0; -1: all */
    int64_t skip;        /* tokens at the beginning that are read, but stand in no column */
    int64_t units;       /* rows of a panel: the units of the layer whose c varies most (largest
                            variance over the columns); 0: all */
    const int64_t *unit; /* [unit_count], or NULL: these units instead, in this order */
    int64_t unit_count;
} LmTraceOptions;

typedef struct {
    int64_t tokens; /* that were read */
    double bits;    /* mean of bits[1..]; NaN for one token */
} LmTraceResult;

/* Reads text[0..n), prepared by lm_run_encode, which calls it --text in messages.
 *
 * The picture has a column for each token and under it the token.  Its panels are the surprise in
 * bits; i, f, g, o, c and h of each layer, from the lowest to the highest; and the probabilities of
 * the tokens that the model thought likeliest somewhere, for the token that comes next.
 *
 * The table has the header
 *     layer,step,unit,id,token,bits,i,f,g,o,c,h
 * and a line for each unit of each layer in each step, skipped ones too, in this order of sorting.
 * The token is quoted, quotes in it doubled; bits of step 0 are empty.  Numbers have the digits
 * that give the same float back (%.9g).
 *
 * Fails (false; a file that could not be written is as it was): lm_run_encode's; no token left;
 * more tokens, columns or cells than above; a layer, unit or skip that is not there; the model's
 * output is not finite; a file cannot be written (those before it are new then: SVG, PNG,
 * CSV); out of memory. */
bool lm_trace(const LmRun *run, const char *text, int64_t n, const LmTraceOptions *options,
              LmTraceResult *result, TensorError *error);

/* lm trace: reads argv[1..argc-1], and gives the status to end with. */
int lm_trace_command(int argc, char **argv);

#endif
