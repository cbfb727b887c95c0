/* gradcheck.h -- gradients against finite differences, in double precision.
 *
 * For a function y = f(x) of variables, draws a fixed random cotangent w, takes
 *     L(x) = sum over results of <w, y>
 * and compares dL/dx from the tape with central differences of fourth order,
 *     dL/dx_i = (8 (L(x + h e_i) - L(x - h e_i)) - (L(x + 2h e_i) - L(x - 2h e_i))) / 12 h,
 * whose error is about h^4 |L'''''| / 30 + 1e-16 |L| / h.  w is not uniform, so that
 * errors do not cancel, and L is summed by the checker, not by ops under test.
 *
 *     static int f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
 *         y[0] = ag_tanh(ag_matmul(x[0], x[1]));
 *         return 1;
 *     }
 *     GradcheckResult r;
 *     if (!gradcheck(f, NULL, 2, inputs, NULL, &r)) puts(r.message);
 *
 * Reference for the differences: B. Fornberg, Generation of Finite Difference Formulas on
 * Arbitrarily Spaced Grids, Mathematics of Computation 51, 1988. */
#ifndef AUTOGRAD_GRADCHECK_GRADCHECK_H
#define AUTOGRAD_GRADCHECK_GRADCHECK_H
#include "autograd/ag.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GRADCHECK_MAX_OUT 8

/* Computes the results of x on t into y and returns how many there are (at most
 * GRADCHECK_MAX_OUT).  It is called often, each time on a tape just reset with the same seed,
 * and must not keep anything from call to call. */
typedef int (*GradcheckFunction)(AgTape *t, const AgVar *x, AgVar *y, void *context);

typedef struct {
    double step;      /* h, for |x_i| up to 1, and in proportion above; 0: 1e-3 */
    double rtol, atol; /* passes: |numeric - analytic| <= atol + rtol max(|numeric|, |analytic|);
                         both 0: 1e-7 and 1e-9 */
    int directions;   /* 0: every element of every input; K: along K random unit directions
                         through all inputs at once, for models too large for the former */
    uint64_t seed;    /* of cotangents and directions */
    bool second;      /* checks the derivative of <u, dL/dx>, u random: second derivatives */
    bool training;    /* the tape's mode */
} GradcheckOptions;

/* Of fixed size, with its message inside; needs no free. */
typedef struct {
    bool ok;
    int input;        /* the worst entry: which input (-1: a direction), */
    int64_t index;    /* which element of it, row-major, or which direction, */
    double numeric, analytic;
    double abs_error; /* |numeric - analytic| */
    double rel_error; /* abs_error / max(|numeric|, |analytic|, atol / rtol) */
    int64_t checked;  /* derivatives compared */
    char message[768]; /* one line, also when all is well */
} GradcheckResult;

/* Inputs of dtype F64 are checked; I64 and U8 ones are handed on as they are.  options NULL:
 * all zero.  Fails (false; the result says why): a derivative outside the tolerance or NaN,
 * an error on the tape, an F32 input, out of memory, nothing to check. */
bool gradcheck(GradcheckFunction f, void *context, int n, const Tensor *x,
               const GradcheckOptions *options, GradcheckResult *result);

#ifdef __cplusplus
}
#endif
#endif
