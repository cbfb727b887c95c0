/* dropout.c -- see dropout.h. */
#include "nn/dropout.h"

#include "nn/layer.h"

AgVar nn_dropout(const NnDropout *m, AgVar x) {
    if (!nn_layer_ready(x.tape, x, "dropout: x")) return (AgVar){x.tape, 0, 0};
    return ag_dropout(x, m->p, m->batch_axis);
}
