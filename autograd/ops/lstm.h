/* lstm.h -- what the fast LSTM and its composed twin share. */
#ifndef AUTOGRAD_OPS_LSTM_H
#define AUTOGRAD_OPS_LSTM_H
#include "autograd/ops/recurrent.h"

/* Of one way to drop: without effect where p is 0. */
typedef struct {
    double p;
    AgRandom draw; /* of the mask [1 or T, B, ..], in training */
} AgLstmDrop;

typedef struct {
    AgRecurrent base;
    bool coupled, training;
    double eps;
    AgLstmDrop hidden, zoneout_h, zoneout_c;
} AgLstmCall;

static inline int ag_lstm_gates(const AgLstmCall *o) { return o->coupled ? 3 : 4; }

/* The loop of ops over inputs as the op has them; steps as in ag_lstm_composed. */
AgLstmOutput ag_lstm_loop(AgTape *t, int n_in, const AgVar *in, const AgLstmCall *o,
                          AgLstmStep *steps);

/* Options and inputs of a call: as ag_recurrent_inputs; a draw for each kind of drop in use. */
int ag_lstm_inputs(AgVar x, AgVar h0, AgVar c0, const AgLstmWeights *w,
                   const AgLstmOptions *options, AgVar in[AG_ROLES], AgLstmCall *o);
/* NULL, or what is wrong with the options by themselves, in buf. */
const char *ag_lstm_options_wrong(const AgLstmCall *o, char buf[AG_REASON_SIZE]);

#endif
