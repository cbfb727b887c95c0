/* table.c -- all ops in one list, for the checks. */
#include "autograd/ops/ops.h"

const AgOp *const ag_ops[] = {
#define UNARY(name, ...) &ag_op_##name,
#define BINARY(name, ...) &ag_op_##name,
#define COMPARE(name, ...) &ag_op_##name,
#define LOGICAL(name, ...) &ag_op_##name,
#define OTHER(name) &ag_op_##name,
#include "autograd/ops.def"
    NULL,
};
