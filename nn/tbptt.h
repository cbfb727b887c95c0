/* tbptt.h -- truncated backpropagation through time: which steps a window has, and which count.
 *
 * A stream of T steps is trained on with one update every k1 steps, whose gradient goes back
 * k2 >= k1 steps: in windows that end k1 steps apart and overlap by k2 - k1.  Such a window is
 *
 *     start         start + carry                         start + length
 *     |---- carry -----|                                        |
 *     |---------- skip ------------|---------- counted ---------|
 *
 * The first `skip` steps are there for the gradient to go back through: the window before had
 * their losses.  The losses of the last `counted` steps count.  The window after this one begins
 * at start + carry, so the state after the first `carry` steps is what has to be stored for it,
 * and not the last one.  All of it, for inputs and targets [T, B] and a state st (nn/state.h):
 *
 *     NnTbptt w = nn_tbptt(T, 10, 30);
 *     while (nn_tbptt_next(&w, t)) {
 *         Tensor xw = tensor_narrow(&x, 0, w.start, w.length);
 *         Tensor yw = tensor_narrow(&y, 0, w.start + w.skip, w.counted);
 *         AgVar e = nn_embedding(&embedding, ag_input(t, &xw));
 *         AgVar h = nn_tbptt_lstm(&w, &lstm, e, st);
 *         AgVar logits = nn_linear(&out, ag_narrow(h, 0, w.skip, w.counted));
 *         nn_zero_grad(set);
 *         if (ag_backward(ag_cross_entropy(logits, ag_input(t, &yw), NULL))) optim_step(opt, NULL);
 *     }
 *     if (!ag_tape_ok(t)) return report(ag_tape_error(t));
 *
 * A model written step by step does the same with its own state:
 *
 *     AgVar h = nn_state_load(st, t, "h", 2, shape), loss = ag_scalar(t, TENSOR_F32, 0);
 *     for (int64_t s = 0; s < w.length; s++) {
 *         h = step(ag_select(x, 0, s), h);
 *         if (s + 1 == w.carry) nn_state_store(st, "h", h);
 *         if (s >= w.skip) loss = ag_add(loss, loss_of_step(h, w.start + s));
 *     }
 *
 * With k1 = k2 windows do not overlap: skip is 0 and carry is length.  The loss of step s = 0, 1,
 * .. of the stream reaches back over k2 - k1 + 1 + s mod k1 steps, its own included, or to the
 * stream's start: with k1 = k2 the first loss of a window reaches its own step only, with k1 = 1
 * every loss reaches over k2.  Each step is computed k2 / k1 times.  What truncation does to the
 * gradient is measured in docs/truncation.md.
 *
 * R. Williams and J. Peng, An efficient gradient-based algorithm for on-line training of
 * recurrent network trajectories, Neural Computation 2(4), 1990, where this is BPTT(k2; k1);
 * I. Sutskever, Training Recurrent Neural Networks, thesis, University of Toronto, 2013, section
 * 2.8.6, which has the names k1 and k2. */
#ifndef NN_TBPTT_H
#define NN_TBPTT_H
#include "nn/gru.h"
#include "nn/lstm.h"
#include "nn/rnn.h"
#include "nn/state.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As k2, like any k2 >= T: nothing is cut, all windows start where the stream does.  With k1 = T
 * that is one window: plain backpropagation through time. */
#define NN_TBPTT_FULL INT64_MAX

/* A plain value that owns nothing; the fields are for reading. */
typedef struct {
    int64_t T, k1, k2;
    int64_t start;   /* the window's first step in the stream */
    int64_t length;  /* its steps; 0 before the first nn_tbptt_next */
    int64_t skip;    /* steps at its start whose losses do not count; */
    int64_t counted; /* those after them, whose losses do: skip + counted = length */
    int64_t carry;   /* the state after this many steps is stored; 0: the stored one stays */
} NnTbptt;

/* The windows of a stream of T steps.  Window n = 0, 1, .. counts the losses of the steps n k1 to
 * (n + 1) k1 - 1 and starts at step max(0, (n + 1) k1 - k2), at 0 if k2 >= T.  Until k2 steps are
 * there the windows grow, from the start of the stream and the state that st has then (zeros, if
 * it is new).  The last one ends at T: it counts fewer steps and is shorter where k1 does not
 * divide T, and its carry is its length, so that the state after the stream is stored.
 * Every step counts once, for all T >= 0 (0: no windows) and 1 <= k1 <= k2. */
NnTbptt nn_tbptt(int64_t T, int64_t k1, int64_t k2);

/* True: *w is the next window, and t is reset (ag_tape_reset) for it.  False, and the tape as it
 * was: there is no further window, or t has an error, the last window's for example.  So a loop
 * over the windows ends at the first error, and one look at the tape after it is enough.
 * Fails (the tape's error): T < 0, k1 < 1 or k2 < k1. */
bool nn_tbptt_next(NnTbptt *w, AgTape *t);

/* The layer over the window's inputs x [length, B, I], or I64 [length, B], from the state in st ->
 * h of all its steps, [length, B, H'] (batch_first: x and h are [B, length, ..]), differentiable in
 * x and the parameters.  The state after the first `carry` steps becomes the one in st: as NAME.h
 * [L, B, H'] and, of an LSTM, NAME.c [L, B, H], where NAME is the layer's name.  Call it once in a
 * window.  The steps before and after `carry` are two calls of the layer with the live state
 * between them: a gradient passes, and masks that hold for a whole call (locked dropout, weight
 * drop) are drawn for each.
 * Fails (the tape's error; the failed variable): x has not `length` steps of the layer's I; a
 * bidirectional layer, whose state at a step depends on all steps after it; what the layer and the
 * state refuse. */
AgVar nn_tbptt_lstm(const NnTbptt *w, const NnLstm *m, AgVar x, NnState *st);
AgVar nn_tbptt_gru(const NnTbptt *w, const NnGru *m, AgVar x, NnState *st);
AgVar nn_tbptt_rnn(const NnTbptt *w, const NnRnn *m, AgVar x, NnState *st);

#ifdef __cplusplus
}
#endif
#endif
