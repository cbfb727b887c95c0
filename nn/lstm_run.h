/* lstm_run.h -- an LSTM and what it computed in every step.  Not for use outside nn/. */
#ifndef NN_LSTM_RUN_H
#define NN_LSTM_RUN_H
#include "nn/lstm.h"

/* nn_lstm by ag_lstm_composed, whatever options.composed says.  steps [L*D*T]: step t of pass
 * k = l * D + d goes to steps[k * T + t]; those of passes that do not run stay as they are.
 * NULL: nn_lstm itself. */
NnLstmOutput nn_lstm_run(const NnLstm *m, AgVar x, const NnLstmState *s, const int64_t *lengths,
                         AgLstmStep *steps);

#endif
