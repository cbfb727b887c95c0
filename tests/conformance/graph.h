/* graph.h -- the differentiable part of a case: results made from named inputs, and their
 * comparison with the file in values, gradients and second-order gradients. */
#ifndef TESTS_CONFORMANCE_GRAPH_H
#define TESTS_CONFORMANCE_GRAPH_H
#include "autograd/ag.h"
#include "tests/conformance/cases.h"

enum { GRAPH_MAX_INPUTS = 256, GRAPH_MAX_OUTPUTS = 64 };

typedef struct {
    AgVar v;
    char name[CASE_NAME_SIZE]; /* "x", "param.weight_ih_l0" */
} GraphVar;

typedef struct {
    Case *c;
    AgTape *t;
    TensorDtype dtype; /* of everything that is a float in the file */
    int n_in, n_out;
    GraphVar in[GRAPH_MAX_INPUTS], out[GRAPH_MAX_OUTPUTS]; /* in: those to compare gradients of */
} Graph;

/* On failure the case fails.  Free it with graph_end in any case. */
void graph_begin(Graph *g, Case *c, TensorDtype dtype);
void graph_end(Graph *g);

/* The tensor input.NAME; its gradient is compared if it is a float. */
AgVar graph_input(Graph *g, const char *format, ...) TENSOR_PRINTF(2, 3);
/* The same, compared only where the file has a gradient: for weights and targets of losses,
 * whose gradient most frameworks leave out. */
AgVar graph_option(Graph *g, const char *name);
/* The tensor param.NAME; its gradient is compared. */
AgVar graph_param(Graph *g, const char *name);

/* A result, to be compared with output.NAME. */
void graph_output(Graph *g, AgVar v, const char *format, ...) TENSOR_PRINTF(3, 4);

/* Compares everything; a failure of the tape is one of the case. */
void graph_check(Graph *g);

#endif
