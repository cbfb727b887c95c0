/* processes.h -- the processes that train one model together.
 *
 * Built with --config=mpi they are those of mpirun (MPI; W. Gropp, E. Lusk and A. Skjellum, Using
 * MPI, 3rd edition 2014); otherwise there is one, and nothing here does anything.  Every process
 * calls the same functions in the same order, from the thread that started.  Before the start each
 * process is alone.  Bits are equal in all only on processors of one kind. */
#ifndef EXAMPLES_LM_PROCESSES_H
#define EXAMPLES_LM_PROCESSES_H
#include "nn/param.h"
#include "tensor/file.h"

/* To be called first in main.   Fails (false): MPI does not start; out of memory. */
bool lm_processes_start(int *argc, char ***argv, TensorError *error);
/* To be called last in main, with its exit status; also after a failed start.  Where a process has
 * failed (status not 0) and others do not come here within 5 s, as they wait for it elsewhere,
 * all are aborted. */
void lm_processes_end(int status);

int lm_process(void);       /* 0..n-1; process 0 writes files and to the terminal */
int lm_process_count(void); /* n */

/* All that fails (false) does so when MPI fails; numbers are undefined then. */

/* grads becomes the sum over all processes, added in their order: the same bits in each.  Rows that
 * no process uses (autograd/rows.h) are not sent. */
bool lm_processes_sum_grads(NnGrads *grads, TensorError *error);
/* x[0..n) becomes the sum over all processes in the order of processes, the same in each. */
bool lm_processes_sum(int64_t n, double *x, TensorError *error);
/* x[0..n) becomes process 0's. */
bool lm_processes_broadcast(int64_t n, double *x, TensorError *error);
/* all, F32 or F64, contiguous [A, count * R, C] in process 0 (else ignored) becomes the shares
 * [A, R, C] side by side along axis 1, in the order of processes. */
bool lm_processes_gather(const Tensor *share, const Tensor *all, TensorError *error);
/* True in every process if x is true in one, a signal, say; or MPI fails. */
bool lm_processes_any(bool x);
/* True if ok is true in every process; else false in all, and *error becomes that of the first
 * process where it is false. */
bool lm_processes_agree(bool ok, TensorError *error);

#endif
