/* linear.c -- see linear.h. */
#include "nn/linear.h"

#include "nn/layer.h"

NnLinear nn_linear_make(NnParamSet *set, const char *name, int64_t I, int64_t H,
                        const NnLinearOptions *options) {
    NnLinearOptions o = options ? *options : (NnLinearOptions){0};
    const int64_t shape[] = {H, I};
    NnLinear m = {0};
    m.weight = o.weight ? nn_layer_share(set, name, o.weight, 2, shape)
                        : nn_param(set, nn_layer_init(o.init, I), 2, shape, "%s%sweight",
                                   NN_PREFIX(name));
    if (!o.no_bias)
        m.bias = nn_param(set, nn_layer_init(o.bias_init, I), 1, shape, "%s%sbias",
                          NN_PREFIX(name));
    return m;
}

AgVar nn_linear(const NnLinear *m, AgVar x) {
    if (!nn_layer_ready(x.tape, x, "linear: x")) return (AgVar){x.tape, 0, 0};
    return ag_linear(x, nn_var(x.tape, m->weight), nn_layer_var(x.tape, m->bias));
}

AgVar nn_linear_cross_entropy(const NnLinear *m, AgVar x, AgVar target,
                              const AgCrossEntropyOptions *options) {
    if (!nn_layer_ready(x.tape, x, "linear_cross_entropy: x")) return (AgVar){x.tape, 0, 0};
    return ag_linear_cross_entropy(x, nn_var(x.tape, m->weight), nn_layer_var(x.tape, m->bias),
                                   target, options);
}
