// Every macro of the public headers expands to C++17, and means what it means in C.
#include <cstdio>

#include "autograd/ag.h"
#include "nn/linear.h"
#include "optim/optim.h"

int main() {
    AgAxes two = AG_AXES(0, -1), all = AG_ALL_AXES;
    bool ok = two.n == 2 && two.axis[0] == 0 && two.axis[1] == -1 && all.n == 0;

    AgTape *t = ag_tape_new();
    int64_t shape[] = {2, 3};
    AgVar x = ag_full(t, TENSOR_F64, 2, shape, 1);
    ok = ok && ag_item(ag_sum(x, AG_AXES(0, 1), false)) == 6;
    ok = ok && ag_dim(ag_sum(x, AG_AXES(1), true), 1) == 1;

    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    nn_linear_make(set, "out", 3, 2, nullptr);
    nn_param(set, nn_init_constant(1), 1, shape, "%s%sscale", NN_PREFIX("out"));
    OptimSgd sgd = OPTIM_SGD_DEFAULTS(.1);
    OptimAdam adam = OPTIM_ADAM_DEFAULTS;
    Optim *opt = optim_adam_new(set, adam);
    optim_group(opt, "*.bias", adam);
    ok = ok && optim_ok(opt) && sgd.lr == .1 && adam.betas[1] == .999;
    optim_free(opt);
    nn_params_free(set);
    ag_tape_free(t);
    std::puts(ok ? "passed" : "FAILED");
    return !ok;
}
