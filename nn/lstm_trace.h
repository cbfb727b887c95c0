/* lstm_trace.h -- an LSTM opened up: every gate and state of every step, the gradients that came
 * back to them, and how much of a state the later ones still depend on.  For teaching and for
 * finding faults; it is slower than nn_lstm, which it computes by the textbook's loop.
 *
 *     NnLstmTrace trace = nn_lstm_trace(&lstm, x, NULL, NULL);
 *     AgVar loss = ag_cross_entropy(nn_linear(&out, trace.out.y), target, NULL);
 *     if (!ag_backward(loss)) return report(ag_tape_error(t));
 *     if (!nn_lstm_trace_write_svg(&trace, "lstm.svg", characters, NULL, &error) ||
 *         !nn_lstm_trace_write_csv(&trace, "lstm.csv", &error))
 *         return report(error.message);
 *
 * A pass is one layer in one direction: layer 0..L-1, direction 0 (forward) or 1 (reverse).
 * Step t is always the one that reads x[t]; a reverse pass comes to step t from step t + 1.
 * Letters, gates and options are those of autograd/sequence.h: c and h are the states that the
 * step hands on, so c' and h' there, after zoneout and the projection. */
#ifndef NN_LSTM_TRACE_H
#define NN_LSTM_TRACE_H
#include "nn/lstm.h"
#include "tensor/file.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A plain value; what it points to belongs to the tape and ends with its reset, or the release
 * of a mark set before.  All fields are for reading. */
typedef struct {
    NnLstmOutput out; /* what nn_lstm returns */
    int64_t T, B, H;
    int L, D;
    bool coupled;           /* f = 1 - i */
    bool recorded;          /* false: made under ag_tape_no_grad, and there are no gradients */
    const char *name;       /* the layer's */
    const int64_t *lengths; /* [B] */
    const AgLstmStep *step; /* [L*D*T]: step t of pass k = l * D + d is step[k * T + t] */
    AgVar made;             /* out.y at first, live as long as the trace is: a release that keeps
                               out.y changes only that */
} NnLstmTrace;

/* nn_lstm(m, x, s, lengths), and a record of it.  Every a, c and h is watched (ag_watch), under
 * names like "lstm.l0.h[3]" or "lstm.l1_reverse.c[0]", and i, f, g and o are named (ag_name), so
 * they show in ag_tape_explain.
 * Fails (the tape's error; out failed): as nn_lstm. */
NnLstmTrace nn_lstm_trace(const NnLstm *m, AgVar x, const NnLstmState *s, const int64_t *lengths);

/* ---- as tensors ---- */

/* A quantity of one pass in all steps, as a tensor of its own in the arena's memory, of x's dtype:
 *
 *     "i" "f" "g" "o" "c"   [T, B, H]     gates, candidate and cell
 *     "h"                   [T, B, H']    output
 *     "dh" "dc"             [T, B, H'], [T, B, H]: dL/dh_t and dL/dc_t of the last ag_backward:
 *                           along every way from h_t or c_t to the loss, also through later steps
 *     "da"                  [T, B, 4H]    dL/d(sums before the activations), in the order
 *                           i, f, g, o (coupled: [T, B, 3H], i, g, o)
 *
 * Steps beyond a sequence's length hold 0 in all of them, and so does a gradient where none
 * arrived.
 * Fails (nil): the trace failed or is stale; no such layer, direction or name; a gradient before
 * ag_backward, or after one whose loss does not depend on the LSTM; out of memory. */
Tensor nn_lstm_trace_get(const NnLstmTrace *trace, TensorArena *a, int layer, int direction,
                         const char *name, TensorError *error);

/* ---- how far states reach ---- */

/* Norms of the Jacobian matrices between two steps s and t of one pass, for each sequence b, as
 * F64:
 *
 *     "h"   ||dh_t/dh_s||     c_s held fixed: along the ways that leave h_s, through the gates
 *                             of the next step
 *     "c"   ||dc_t/dc_s||     along all ways, so also those through h_s = o_s tanh(c_s)
 *
 * in the Frobenius norm (the root of the sum of squares of all H'^2 or H^2 entries).  With a t in
 * 0..T-1 the result is [T, B], its entry [s, b] the norm; with t = NN_LSTM_TRACE_ALL it is
 * [T, T, B], its entry [t, s, b].  Where s = t it is the norm of the identity, sqrt(H') or sqrt(H);
 * it is 0 where s comes after t in the pass, and where one of them is beyond the sequence's length.
 *
 * Exact, by a sweep for each t and each unit of the state: sequences of a batch do not depend on
 * each other, so one sweep serves all of them, and all s.  Dropout and zoneout have the masks of
 * the recorded run.  Hooks set on the way run in these sweeps, too.
 * Vanishing and exploding products of these matrices: R. Pascanu, T. Mikolov and Y. Bengio, On
 * the difficulty of training recurrent neural networks, ICML 2013.
 * Fails (nil): as above; t outside; made without gradients; the tape's error, then or earlier. */
#define NN_LSTM_TRACE_ALL (-1)
Tensor nn_lstm_trace_norms(const NnLstmTrace *trace, TensorArena *a, int layer, int direction,
                           const char *state, int64_t t, TensorError *error);

/* ---- as files ---- */

/* A table with the header
 *     layer,direction,step,sequence,unit,i,f,g,o,c,h,dh,dc,da_i,da_f,da_g,da_o
 * and a line for each unit 0..H-1 of each sequence in each of its steps (none beyond its length),
 * in this order of sorting.  Numbers have the digits that give the same double back (%.17g), with
 * a point in every locale.  A field is empty where there is no such number: gradients before
 * ag_backward; h and dh of units H' and above; da_f of coupled gates.
 * Fails (false, the old file stays): the trace failed or is stale; out of memory; the file cannot
 * be written. */
bool nn_lstm_trace_write_csv(const NnLstmTrace *trace, const char *path, TensorError *error);

/* The norms of all passes as a table with the header
 *     layer,direction,sequence,t,s,dh,dc
 * where dh is ||dh_t/dh_s|| and dc is ||dc_t/dc_s||, and a line for each two steps t and s of each
 * sequence of which s comes first in the pass, or is t, in this order of sorting.  It takes
 * T (H' + H) sweeps for each pass.
 * Fails (false, the old file stays): as the table above, and as nn_lstm_trace_norms. */
bool nn_lstm_trace_write_norms_csv(const NnLstmTrace *trace, const char *path, TensorError *error);

typedef struct {
    int layer, direction;
    int64_t sequence;  /* of the batch */
    bool gradients;    /* show dL/dh, dL/dc and those of the sums before the activations, too */
    bool norms;        /* show log10 ||dh_t/dh_s|| and log10 ||dc_t/dc_s||, too: s downwards, t to
                          the right, grey where s comes after t; it takes T (H' + H) sweeps */
    const char *title; /* NULL: made of the layer's name and these numbers */
} NnLstmTracePicture;

/* Heat maps (data/plot.h) of one sequence in one pass (picture NULL: all zero): a panel for each
 * of i, f, o (0 to 1), g (-1 to 1), c and h, with units downwards and the sequence's own steps to
 * the right, and labels [T] under them, the symbols that were read (NULL: the steps' numbers).
 * Fails (false, the old file stays): as nn_lstm_trace_get, with `norms` as nn_lstm_trace_norms; no
 * such sequence; the file cannot be written. */
bool nn_lstm_trace_write_svg(const NnLstmTrace *trace, const char *path,
                             const char *const *labels, const NnLstmTracePicture *picture,
                             TensorError *error);

#ifdef __cplusplus
}
#endif
#endif
