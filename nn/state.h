/* state.h -- tensors carried from one window of a sequence to the next.
 *
 * A long sequence is cut into windows of T steps; the state at the end of one is where the
 * next begins:
 *
 *     NnLstmState s = {nn_state_load(st, t, "h", 3, shape), nn_state_load(st, t, "c", 3, shape)};
 *     NnLstmOutput out = nn_lstm(&lstm, x, &s, NULL);
 *     ...
 *     nn_state_store(st, "h", out.hn);
 *     nn_state_store(st, "c", out.cn);
 *
 * The value passes from window to window, its history does not: what is loaded is a constant,
 * so the gradient ends at the start of the window.  That cut is what "truncated" means in
 * truncated backpropagation through time; windows that overlap, and where their state is to be
 * stored, are nn/tbptt.h's.
 * R. Williams and J. Peng, An efficient gradient-based algorithm for on-line training of
 * recurrent network trajectories, Neural Computation 2(4), 1990. */
#ifndef NN_STATE_H
#define NN_STATE_H
#include "autograd/ag.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct NnState NnState;

/* New and without tensors, for one dtype; free it with nn_state_free.  NULL when out of
 * memory; using that is an error on the tape. */
NnState *nn_state_new(TensorDtype dtype);
void nn_state_free(NnState *st); /* NULL is allowed */

/* The tensor of this name as a constant [shape]; zeros if it is new.
 * Fails (the tape's error): the tensor has another shape; out of memory. */
AgVar nn_state_load(NnState *st, AgTape *t, const char *name, int ndim, const int64_t *shape);
/* Copies v's value; a name not loaded before gets v's shape.  A failed v changes nothing.
 * Fails (false, and the tape's error): v failed; another shape or dtype; out of memory. */
bool nn_state_store(NnState *st, const char *name, AgVar v);
/* All tensors to zeros, as at the start of a sequence; they keep names and shapes. */
void nn_state_zero(NnState *st);

#ifdef __cplusplus
}
#endif
#endif
