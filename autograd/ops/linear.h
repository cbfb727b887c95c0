/* linear.h -- what the ops around x weight^T + bias share. */
#ifndef AUTOGRAD_OPS_LINEAR_H
#define AUTOGRAD_OPS_LINEAR_H
#include "autograd/ops/ops.h"

/* Do x [.., in], weight [out, in] and bias [out] (or NULL) fit?  False, with the error recorded;
 * out and in are the letters that it has for the sizes. */
bool ag_linear_fits(AgCall *c, const Tensor *x, const Tensor *weight, const Tensor *bias, char out,
                    char in);

/* All axes but the last as one: [rows, n].  Nil where strides allow no such view. */
Tensor ag_rows(const Tensor *x);
/* The same, with a copy in scratch where it takes one; nil with the error recorded. */
Tensor ag_call_rows(AgCall *c, const Tensor *x);
/* The same as a variable. */
AgVar ag_rows_var(AgVar x);

/* Adds scale a b to the gradient of in[i], which has the matrix's elements in rows as above:
 * straight into its place where there is one.  The gradient has no history.
 * Fails (false, error recorded): out of memory. */
bool ag_vjp_add_product(AgVjp *v, int i, double scale, const Tensor *a, const Tensor *b);

#endif
