/* kinds.h -- the kinds of cases: each function computes what the case asks for and compares it. */
#ifndef TESTS_CONFORMANCE_KINDS_H
#define TESTS_CONFORMANCE_KINDS_H
#include "tests/conformance/cases.h"

void kind_op(Case *c);       /* "op" */
void kind_sequence(Case *c); /* "lstm", "gru", "rnn_tanh", "rnn_relu": in double and in single */
void kind_cell(Case *c);     /* "lstm_cell", "gru_cell", "rnn_cell": likewise */
void kind_optim(Case *c);    /* "optim" */
void kind_clip(Case *c);     /* "clip" */
void kind_schedule(Case *c); /* "schedule" */

#endif
