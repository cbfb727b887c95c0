/* dropout.c -- see dropout.h. */
#include "nn/dropout.h"

#include "nn/layer.h"

AgVar nn_dropout(const NnDropout *m, AgVar x) {
    if (!nn_layer_ready(x.tape, x, "dropout: x")) return (AgVar){x.tape, 0, 0};
    return ag_dropout(x, m->p, m->batch_axis);
}

AgVar nn_locked_dropout(AgVar x, double p, int batch_axis, int time_axis) {
    AgTape *t = x.tape;
    if (!nn_layer_ready(t, x, "locked_dropout: x")) return (AgVar){t, 0, 0};
    int ndim = ag_ndim(x), time = time_axis < 0 ? time_axis + ndim : time_axis;
    if (time < 0 || time >= ndim)
        return ag_fail(t, "locked_dropout: time axis %d of x with %d axes", time_axis, ndim);
    if (time == batch_axis)
        return ag_fail(t, "locked_dropout: axis %d is both that of time and the batch's", time);
    if (!ag_tape_is_training(t)) return ag_dropout(x, p, batch_axis); /* x, or what is wrong */
    int64_t shape[TENSOR_MAX_DIMS];
    for (int d = 0; d < ndim; d++) shape[d] = d == time ? 1 : ag_dim(x, d);
    AgVar ones = ag_full(t, ag_dtype(x), ndim, shape, 1);
    return ag_mul(x, ag_dropout(ones, p, batch_axis));
}
