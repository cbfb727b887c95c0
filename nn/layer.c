/* layer.c -- see layer.h. */
#include "nn/layer.h"

#include <math.h>
#include <string.h>

#include "nn/param_set.h"

NnInit nn_layer_init(const NnInit *given, int64_t n) {
    if (given) return *given;
    if (n < 1) return nn_init_constant(0);
    double r = 1 / sqrt((double)n);
    return nn_init_uniform(-r, r);
}

NnParam *nn_layer_share(NnParamSet *set, const char *name, NnParam *p, int ndim,
                        const int64_t *shape) {
    if (nn_param_is_nil(p)) {
        nn_params_fail(set, "%.200s: the shared weight is a nil parameter", name);
    } else if (p->set != set) {
        nn_params_fail(set, "%.200s: the shared weight %s is of another set", name, p->name);
    } else if (p->value.ndim != ndim ||
               memcmp(p->value.shape, shape, (size_t)ndim * sizeof *shape) != 0) {
        char got[TENSOR_DESCRIBE_SIZE];
        nn_params_fail(set, "%.200s: expected a shared weight [%lld,%lld], got %s %s", name,
                       (long long)shape[0], (long long)shape[1], p->name,
                       tensor_describe(&p->value, got, sizeof got));
    } else {
        return p;
    }
    return nn_params_at(set, -1);
}

AgVar nn_layer_var(AgTape *t, const NnParam *p) { return p ? nn_var(t, p) : (AgVar){0}; }

bool nn_layer_ready(AgTape *t, AgVar v, const char *what) {
    if (v.tape == t && ag_ok(v)) return true;
    if (!t) return false;
    if (!v.tape) ag_fail(t, "%s: no variable", what);
    else if (v.tape != t) ag_fail(t, "%s: a variable of another tape", what);
    else if (v.id) ag_fail(t, "%s: stale variable (from before a reset or release)", what);
    else ag_fail(t, "%s: the failed variable of an earlier error", what);
    return false;
}
