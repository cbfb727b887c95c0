/* opcheck.h -- every check that an op of the library gets, for any op.
 *
 * For each sample of the op, with inputs drawn from the seed:
 *   1. it runs, and twice with the same bits;
 *   2. its gradients agree with finite differences (gradcheck.h), jointly and one input at a time;
 *   3. so do its second derivatives;
 *   4. values, gradients and second derivatives agree between F64 and F32, and between dense
 *      inputs and inputs that are transposed, narrowed out of larger memory, flipped (negative
 *      strides), or expanded (strides of 0);
 *   5. compose agrees with the fast path, in values and gradients, to 1e-12;
 *   6. one variable in all places that can hold it has the sum of their gradients;
 *   7. a variable that a second op uses too has the sum of both gradients;
 * and each error sample fails with its message and yields the failed variable.
 * An op without samples, or without error samples, fails. */
#ifndef AUTOGRAD_GRADCHECK_OPCHECK_H
#define AUTOGRAD_GRADCHECK_OPCHECK_H
#include "autograd/gradcheck/gradcheck.h"
#include "autograd/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint64_t seed;     /* of the inputs too; else as gradcheck's */
    double rtol, atol; /* likewise */
} OpcheckOptions;

/* What a sample covers: each in the five kinds of memory, and by its sizes the last two. */
typedef enum {
    OPCHECK_CONTIGUOUS,
    OPCHECK_TRANSPOSED,
    OPCHECK_NARROWED,
    OPCHECK_FLIPPED,
    OPCHECK_EXPANDED,
    OPCHECK_EMPTY,  /* an input without elements */
    OPCHECK_SCALAR, /* an input without axes */
    OPCHECK_LAYOUTS
} OpcheckLayout;
enum { OPCHECK_ORDERS = 3 }; /* values, gradients, second derivatives */

/* Of fixed size; needs no free. */
typedef struct {
    bool ok;
    int samples, errors;  /* how many ran */
    int64_t derivatives;  /* compared with finite differences */
    double worst_first, worst_second; /* relative errors of the derivatives */
    double worst_f32, worst_layout, worst_compose; /* largest |a - b| / (1 + |b|) */
    int covered[2][OPCHECK_LAYOUTS][OPCHECK_ORDERS]; /* samples that passed; [0]: F64, [1]: F32 */
    char message[1536];   /* the first failure: op, sample, check and numbers; "" */
    GradcheckResult result; /* the same as a result that report.h can write */
} OpcheckReport;

/* options NULL: all zero.  Returns report->ok.  Fails: the first check that does not hold, or out
 * of memory. */
bool opcheck(const AgOp *op, const OpcheckOptions *options, OpcheckReport *report);

/* "contiguous" and so on. */
const char *opcheck_layout_name(OpcheckLayout layout);

#ifdef __cplusplus
}
#endif
#endif
