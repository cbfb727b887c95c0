/* lstm */
#include "autograd/ops/lstm.h"
AgLstmOutput ag_lstm(AgVar x, AgVar h0, AgVar c0, const AgLstmWeights *w,
                     const AgLstmOptions *options) {
    return ag_lstm_composed(x, h0, c0, w, options, NULL);
}
