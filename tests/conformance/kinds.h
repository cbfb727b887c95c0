/* kinds.h -- the kinds of cases: each function computes what the case asks for and compares it. */
#ifndef TESTS_CONFORMANCE_KINDS_H
#define TESTS_CONFORMANCE_KINDS_H
#include "tests/conformance/cases.h"

void kind_op(Case *c);       /* "op" */
/* "lstm", "gru", "rnn_tanh", "rnn_relu": in double and in single.
 *
 * Files exist whose gradients were taken with the parameters held constant: there all gradients
 * of parameters are 0.  Such a case is compared with the parameters as constants, and what it does
 * not tell, their gradients, is compared with those of the loop of ops and with finite
 * differences. */
void kind_sequence(Case *c);
void kind_cell(Case *c);     /* "lstm_cell", "gru_cell", "rnn_cell": in double and in single */
void kind_optim(Case *c);    /* "optim" */
void kind_clip(Case *c);     /* "clip" */
void kind_schedule(Case *c); /* "schedule" */

#endif
