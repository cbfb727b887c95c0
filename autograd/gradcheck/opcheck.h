/* opcheck.h -- every check that an op of the library gets, for any op.
 *
 * For each sample of the op:
 *   1. it runs, and twice with the same bits;
 *   2. its gradients agree with finite differences, jointly and one input at a time;
 *   3. so do its second derivatives;
 *   4. F32 agrees with F64, in values and gradients;
 *   5. strided inputs (transposed memory, gaps) agree with contiguous ones;
 *   6. compose agrees with the fast path, in values and gradients, to 1e-12;
 *   7. one variable in all places that can hold it has the sum of their gradients;
 *   8. a variable that a second op uses too has the sum of both gradients;
 * and each error sample fails with its message and yields the failed variable.
 * An op without samples, or without error samples, fails. */
#ifndef AUTOGRAD_GRADCHECK_OPCHECK_H
#define AUTOGRAD_GRADCHECK_OPCHECK_H
#include "autograd/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint64_t seed;
    double rtol, atol; /* as gradcheck's */
} OpcheckOptions;

typedef struct {
    bool ok;
    int samples, errors;  /* how many ran */
    int64_t derivatives;  /* compared with finite differences */
    double worst_first, worst_second; /* relative errors of the derivatives */
    double worst_f32, worst_strided, worst_compose; /* largest |a - b| / (1 + |b|) */
    char message[1536];   /* the first failure: op, sample, check and numbers; "" */
} OpcheckResult;

/* options NULL: all zero.  Fails (false): the first check that does not hold, or out of memory. */
bool opcheck(const AgOp *op, const OpcheckOptions *options, OpcheckResult *result);

#ifdef __cplusplus
}
#endif
#endif
