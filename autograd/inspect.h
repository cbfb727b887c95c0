/* inspect.h -- looking inside a tape: what was computed, what flowed back, what went wrong.
 *
 * Nothing here is needed to train, and what is not turned on costs nothing.  docs/engine.md
 * shows each of them at work. */
#ifndef AUTOGRAD_INSPECT_H
#define AUTOGRAD_INSPECT_H
#include "autograd/ag.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- in words --------------------------------------------------------------- */

/* Gives v a name, copied, for everything below, for ag_str and for messages; a watch
 * (ag_watch) names its variable too, and a parameter has its own name.  The last name counts.
 * Ends with the reset, or the release of a mark set before. */
void ag_name(AgVar v, const char *name);

/* Has each ag_backward and ag_grad from here on keep every part of every gradient until the next
 * one: for ag_tape_explain and for the norms of ag_tape_write_dot.  Off by default, kept over
 * resets; returns the previous setting.  Parts are then added one by one instead of in place, so
 * the sweep takes more memory, and last bits may differ. */
bool ag_tape_keep_gradients(AgTape *t, bool on);

/* Writes what the tape did, one line a variable: the way forward in the order of the calls, then
 * the last kept sweep backward, in the order in which gradients were complete:
 *
 *     step 1: c1 = add(mul#14, mul#15) = 0.0918
 *     step 1: dc1 = 0.12 (from mul c2) + 0.05 (from tanh tc1) = 0.17
 *
 * Operands without a name show as OP#NODE; a name given twice is followed by #NODE too.  The
 * terms of a gradient stand with the op they came through, in the order in which they were added
 * up; `seed` is the gradient the sweep began with.  A tensor of more than 8 elements shows the
 * first and last three.  Constants that no recorded op uses are left out.  Control characters in
 * names show as `?`, and names end after 115 bytes.
 * False: the stream fails, which is flushed, or memory is out (not recorded on the tape). */
bool ag_tape_explain(AgTape *t, FILE *file);

/* ---- as a picture ----------------------------------------------------------- */

/* Writes the graph for Graphviz (`dot -Tsvg`): a node for each variable, in clusters by scope and
 * step, parameters as filled boxes, inputs and other constants as plain boxes, results (used by
 * no other op) with double lines; edges with shapes.  After a sweep with kept gradients each node
 * shows the 2-norm of its own.  Left out and fails: as ag_tape_explain. */
bool ag_tape_write_dot(AgTape *t, FILE *file);

/* ---- where NaN comes from ---------------------------------------------------- */

/* Turns the tracer on or off; returns the previous setting.  Off by default, kept over resets.
 * While it is on, the first of these becomes the tape's error, with the scope and, for each
 * operand, minimum, maximum and mean of what is finite and the number of NaN and infinities:
 *
 *   a result that holds NaN, or that holds infinity though all operands are finite;
 *   a result with a NaN that an operand already held: the message names where it came in,
 *     be it an input, a parameter or an op from before the tracer was on;
 *   a parameter that holds NaN or infinity, when it is brought in;
 *   going back, a rule that makes NaN, or infinity from finite values, out of a finite gradient:
 *     the message names the op and the operand whose gradient it is;
 *   a gradient that leaves the finite numbers as its parts add up; a loss or seed not finite.
 *
 * Infinity that the caller asked for is no error: of ops without operands (full), of masked_fill
 * and pad, in inputs, and in whatever is computed from infinity; NaN always is one.  A view
 * computes nothing and is never named.  What a rule computes on its way is not judged, only the
 * gradients it gives.  Reads every value once more. */
bool ag_tape_trace_nan(AgTape *t, bool on);

/* ---- warnings ----------------------------------------------------------------- */

/* Has warnings told to f, at the end of the ag_backward they come from; NULL, the default: to
 * nobody.  Kept over resets. */
void ag_tape_on_warning(AgTape *t, void (*f)(const char *message, void *context), void *context);
/* The last warning since the reset, one line, or "".  There is one so far: without a reset,
 * of the last 16 windows (what is recorded from one ag_backward to the next) a call goes through
 * five or more, and that number has grown five times: so will time and memory, with every window:
 *
 *     graph spans 5 backward passes and 12000 nodes (34.0 MiB): lm/lstm: h (node 9601, made
 *     before backward pass 4) still receives gradients; cut it with ag_detach or NnState, or
 *     reset the tape
 *
 * It names the latest variable from before the last ag_backward that got a gradient (a parameter
 * has no history, and does not count), and comes once between two resets. */
const char *ag_tape_warning(const AgTape *t);

#ifdef __cplusplus
}
#endif
#endif
