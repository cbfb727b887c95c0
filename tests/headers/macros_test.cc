// Every macro of the public headers expands to C++17, and means what it means in C.
#include <cstdio>

#include "autograd/ag.h"
#include "nn/linear.h"
#include "optim/optim.h"
#include "optim/schedule.h"

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
    OptimAdamW adamw = OPTIM_ADAMW_DEFAULTS;
    OptimRmsprop rmsprop = OPTIM_RMSPROP_DEFAULTS;
    OptimAdagrad adagrad = OPTIM_ADAGRAD_DEFAULTS;
    OptimAdadelta adadelta = OPTIM_ADADELTA_DEFAULTS;
    OptimAsgd asgd = OPTIM_ASGD_DEFAULTS;
    ok = ok && adamw.weight_decay == 1e-2 && rmsprop.alpha == .99 && adagrad.eps == 1e-10;
    ok = ok && adadelta.rho == .9 && asgd.t0 == 1e6 && !asgd.only;
    OptimOneCycle cycle = OPTIM_ONE_CYCLE_DEFAULTS(.5, 10);
    OptimPlateau plateau = OPTIM_PLATEAU_DEFAULTS;
    ok = ok && cycle.total_steps == 10 && !optim_plateau_invalid(&plateau);
    nn_params_free(set);
    ag_tape_free(t);
    std::puts(ok ? "passed" : "FAILED");
    return !ok;
}
