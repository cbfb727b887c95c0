/* Optimisers and clipping give PyTorch's parameters and gradients. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "optim/clip.h"
#include "optim/optim.h"
#include "tests/nn/conformance.h"

/* Parameters 0, 1, .. with the values of PREFIX.0, .. */
static NnParamSet *make_set(const ConformanceCase *c, const char *prefix) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    char key[64];
    for (int j = 0; snprintf(key, sizeof key, "%s.%d", prefix, j), conformance_has(c, key); j++) {
        Tensor x = conformance_tensor(c, key);
        NnParam *p = nn_param(set, nn_init_constant(0), x.ndim, x.shape, "%d", j);
        cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
        memcpy(p->value.data, x.data, (size_t)tensor_numel(&x) * sizeof(double));
    }
    cr_assert(nn_params_count(set) > 0, "%s: no parameters", c->path);
    return set;
}

static void set_gradient(const ConformanceCase *c, NnParam *p, const char *key) {
    Tensor g = conformance_tensor(c, key);
    cr_assert(tensor_same_shape(&g, &p->grad));
    memcpy(p->grad.data, g.data, (size_t)tensor_numel(&g) * sizeof(double));
}

static Optim *make_sgd(const ConformanceCase *c, NnParamSet *set) {
    conformance_known(c, (const char *[]){"optim", "steps", "lr", "momentum", "dampening",
                                          "weight_decay", "nesterov", NULL});
    return optim_sgd_new(set, (OptimSgd){.lr = conformance_number(c, "lr", NAN),
                                         .momentum = conformance_number(c, "momentum", 0),
                                         .dampening = conformance_number(c, "dampening", 0),
                                         .weight_decay = conformance_number(c, "weight_decay", 0),
                                         .nesterov = conformance_flag(c, "nesterov")});
}

static Optim *make_adam(const ConformanceCase *c, NnParamSet *set) {
    conformance_known(c, (const char *[]){"optim", "steps", "lr", "betas", "eps", "weight_decay",
                                          NULL});
    OptimAdam o = OPTIM_ADAM_DEFAULTS;
    o.lr = conformance_number(c, "lr", o.lr);
    o.eps = conformance_number(c, "eps", o.eps);
    o.weight_decay = conformance_number(c, "weight_decay", 0);
    const json_t *betas = json_object_get(c->config, "betas");
    for (size_t i = 0; i < json_array_size(betas) && i < 2; i++)
        o.betas[i] = json_number_value(json_array_get(betas, i));
    return optim_adam_new(set, o);
}

static void run_steps(const ConformanceCase *c, NnParamSet *set, Optim *opt) {
    char key[64];
    for (int64_t step = 0; step < conformance_int(c, "steps"); step++) {
        for (int j = 0; j < nn_params_count(set); j++) {
            snprintf(key, sizeof key, "grad.%lld.%d", (long long)step, j);
            set_gradient(c, nn_params_at(set, j), key);
        }
        cr_assert(optim_step(opt, NULL), "%s: %s", c->path, optim_error(opt));
        for (int j = 0; j < nn_params_count(set); j++) {
            snprintf(key, sizeof key, "after.%lld.%d", (long long)step, j);
            conformance_expect(c, key, &nn_params_at(set, j)->value, 1e-9);
        }
    }
}

static bool run_optim(const ConformanceCase *c, const char *name,
                      Optim *(*make)(const ConformanceCase *, NnParamSet *)) {
    const char *optim = json_string_value(json_object_get(c->config, "optim"));
    if (!optim || strcmp(optim, name) != 0) return false;
    NnParamSet *set = make_set(c, "param");
    Optim *opt = make(c, set);
    run_steps(c, set, opt);
    optim_free(opt);
    nn_params_free(set);
    return true;
}

static bool run_sgd(const ConformanceCase *c) { return run_optim(c, "sgd", make_sgd); }
static bool run_adam(const ConformanceCase *c) { return run_optim(c, "adam", make_adam); }

static bool run_clip(const ConformanceCase *c) {
    const char *kind = json_string_value(json_object_get(c->config, "clip"));
    if (!kind || strcmp(kind, "norm") != 0) return false;
    NnParamSet *set = make_set(c, "grad");
    char key[64];
    for (int j = 0; j < nn_params_count(set); j++) {
        snprintf(key, sizeof key, "grad.%d", j);
        set_gradient(c, nn_params_at(set, j), key);
    }
    double max_norm = conformance_number(c, "max_norm", NAN);
    double norm = optim_clip_grad_norm(nn_params_grads(set), max_norm);
    Tensor total = tensor_wrap(&norm, TENSOR_F64, 0, NULL);
    conformance_expect(c, "total_norm", &total, 1e-9);
    for (int j = 0; j < nn_params_count(set); j++) {
        snprintf(key, sizeof key, "after.%d", j);
        conformance_expect(c, key, &nn_params_at(set, j)->grad, 1e-9);
    }
    nn_params_free(set);
    return true;
}

Test(optim_conformance, sgd_agrees_with_pytorch) { conformance_each("optim", run_sgd); }

Test(optim_conformance, adam_agrees_with_pytorch) { conformance_each("optim", run_adam); }

Test(optim_conformance, clipping_agrees_with_pytorch) { conformance_each("clip", run_clip); }
