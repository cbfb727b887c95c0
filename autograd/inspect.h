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

/* ---- where the time goes ------------------------------------------------------ */

/* Turns the profile on or off; returns the previous setting.  Off by default, kept over resets.
 * While it is on, the time of these is counted by itself, with the number of times, for each
 * scope (its names; all steps of a loop together):
 *
 *   forward:  each call of an op, with the bytes of the results it wrote (a view writes none);
 *             (ag_input), (ag_tape_release), (ag_tape_reset); checkpoint, what ag_checkpoint
 *             takes besides the calls its function makes;
 *   backward: each gradient rule, with the ops it calls; checkpoint, the second run with the ops
 *             it calls; (sums of gradients), where parts for one variable come together, in the
 *             variable's scope; (hooks), with the ops they call; (ag_backward) and (ag_grad),
 *             what lies between these.
 *
 * Each nanosecond is counted once.  What is left of the time from the first to the last of these
 * is outside the tape: the optimizer, the data, the caller.  Turned off and on again it goes on
 * counting, without the time between; when that happens inside a sweep, without the rest of it.
 * Results are the same bits.  While the profile is on, each of these takes some 50 ns more.
 * Ops and scopes are told apart by the first 115 bytes of their names, and memory is taken only
 * when a new one shows up, for at most 4096: further ones, or those for which memory is out,
 * are counted as (others), such a scope's ops in the scope around it. */
bool ag_tape_set_profile(AgTape *t, bool on);

/* Forgets all times and calls.  Memory stays. */
void ag_tape_clear_profile(AgTape *t);

/* Writes what was counted, for one step: divided by the number of backward passes, or where there
 * were none by that of resets.  MiB: results written.  Each scope with what is inside it.
 *
 *   backward passes: 10; 0.5215 ms each, 5.2152 ms in all
 *
 *   op                       forward ms    calls backward ms    calls         ms   share       MiB
 *   matmul                       0.1328       20      0.2747       20     0.4076   78.2%     0.156
 *   tanh                         0.0785       20      0.0172       20     0.0957   18.3%     0.156
 *   (ag_backward)                     -        -      0.0084        1     0.0084    1.6%         -
 *   (sums of gradients)               -        -      0.0014       42     0.0014    0.3%         -
 *   square                       0.0004        1      0.0007        1     0.0011    0.2%     0.008
 *   mean                         0.0005        1      0.0005        1     0.0011    0.2%     0.000
 *   full                         0.0004        1           -        -     0.0004    0.1%     0.008
 *   (ag_tape_reset)              0.0001        1           -        -     0.0001    0.0%         -
 *   outside the tape                  -        -           -        -     0.0059    1.1%         -
 *   all                          0.2127       44      0.3029       85     0.5215  100.0%     0.328
 *
 *   scope                    forward ms    calls backward ms    calls         ms   share       MiB
 *   rnn                          0.2117       41      0.2933       80     0.5050   96.8%     0.320
 *   (no scope)                   0.0010        3      0.0097        5     0.0107    2.0%     0.008
 *   outside the tape                  -        -           -        -     0.0059    1.1%         -
 *
 * Control characters in names show as `?`.
 * False: the stream fails, which is flushed, or memory is out (not recorded on the tape). */
bool ag_tape_profile(const AgTape *t, FILE *file);

/* The same for programs, in totals: CSV, a line for each op, direction and scope.
 *
 *     direction,op,scope,calls,ns,bytes
 *     forward,"lstm","lm/lstm",200,161215123,28672000
 *
 * direction is forward, backward or other; names are in quotes, a quote in them is doubled.  The
 * calls of (ag_backward) add up to the backward passes, those of (ag_tape_reset) to the resets. */
bool ag_tape_profile_csv(const AgTape *t, FILE *file);

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
