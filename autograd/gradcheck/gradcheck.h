/* gradcheck.h -- gradients of a function of variables against finite differences.
 *
 *     static int f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
 *         y[0] = ag_tanh(ag_matmul(x[0], x[1]));
 *         return 1;
 *     }
 *     GradcheckResult r;
 *     if (!gradcheck(f, NULL, 2, inputs, NULL, &r)) puts(r.message);
 *
 * Options, the verdict and its reasons are those of plain.h.  When a gradient is wrong, the
 * tape of f is walked and the first op whose own gradient disagrees is named, with its scope. */
#ifndef AUTOGRAD_GRADCHECK_GRADCHECK_H
#define AUTOGRAD_GRADCHECK_GRADCHECK_H
#include "autograd/ag.h"
#include "autograd/gradcheck/plain.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GRADCHECK_MAX_OUT 8

/* Computes the results of x on t into y and returns how many there are (at most
 * GRADCHECK_MAX_OUT).  It is called often, each time on a tape just reset with the same seed,
 * and must not keep anything from call to call. */
typedef int (*GradcheckFunction)(AgTape *t, const AgVar *x, AgVar *y, void *context);

/* dL/dx with respect to the inputs of dtype F64; I64 and U8 inputs are handed on as they are.
 * Strides of the inputs are kept (an expanded one becomes dense), so that a strided input is
 * checked as one.  Random ops repeat their draws.  Fails, besides plain.h's reasons: an error on
 * the tape, an input or a result that is F32 (a tape has the double: check that). */
bool gradcheck(GradcheckFunction f, void *context, int n, const Tensor *x,
               const GradcheckOptions *options, GradcheckResult *result);

/* The same for the gradient: checks the derivatives of dL/dx, with L = sum over results of
 * <w, y>, with respect to x and to the cotangents w, which count as inputs n, n+1, ..  Fails also
 * where an op has no second derivative. */
bool gradgradcheck(GradcheckFunction f, void *context, int n, const Tensor *x,
                   const GradcheckOptions *options, GradcheckResult *result);

#ifdef __cplusplus
}
#endif
#endif
