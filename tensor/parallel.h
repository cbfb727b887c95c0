/* parallel.h -- threads that share the work of one call.
 *
 * The library starts its threads once, at the first call that has work for them, and lets them
 * sleep when nothing comes.  What a piece of work computes does not depend on which thread runs
 * it nor on how many there are: results are the same bits for any number of threads.
 *
 * UNROLL_THREADS in the environment sets the number; by default it is that of the processors that
 * the process may run on, at most TENSOR_DEFAULT_THREADS. */
#ifndef TENSOR_PARALLEL_H
#define TENSOR_PARALLEL_H
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TENSOR_MAX_THREADS 64
#define TENSOR_DEFAULT_THREADS 8 /* steps of a sequence are too short for more */

/* How many threads share the work, the caller counted. */
int tensor_threads(void);
/* Takes another number; while no other thread computes.  Threads beyond it stay and sleep.
 * Fails (false, nothing changed): n is not in 1..TENSOR_MAX_THREADS. */
bool tensor_threads_set(int n);
/* NULL, or one line on why UNROLL_THREADS was not followed. */
const char *tensor_threads_warning(void);

/* run(begin, end, context) on ranges that together are 0..n-1, each but the last of `grain`
 * numbers; returns when all are done.  Ranges run in any order and at the same time: each must
 * write memory of its own only.  The ranges are the same for every number of threads.
 *
 * One call shares the threads at a time: a call from inside run, or while another thread's is
 * under way, runs all ranges on the calling thread; and so does a call of one range. */
void tensor_parallel(int64_t n, int64_t grain,
                     void (*run)(int64_t begin, int64_t end, void *context), void *context);

/* The same where a number takes one thread about `ns` nanoseconds: ranges of one length, of
 * TENSOR_WORTH_NS at least (but for what is left over), and not many more than threads; one range
 * where there is not work enough for two. */
#define TENSOR_WORTH_NS 5000 /* sharing costs some 300 while the threads are awake */
void tensor_parallel_work(int64_t n, double ns,
                          void (*run)(int64_t begin, int64_t end, void *context), void *context);

#ifdef __cplusplus
}
#endif
#endif
