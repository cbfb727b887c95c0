/* trainer.c -- see trainer.h. */
#include "examples/lstm_from_scratch/trainer.h"

#include <math.h>

static bool trainer_new(ScratchTrainer *r, const ScratchOptions *options) {
    *r = (ScratchTrainer){.options = *options};
    r->set = nn_params_new(options->dtype, options->seed);
    r->tape = ag_tape_new();
    r->state = nn_state_new(options->dtype);
    return r->tape && r->state && r->set;
}

/* The optimiser, once the parameters are there. */
static bool trainer_ready(ScratchTrainer *r, TensorError *error) {
    r->optim = optim_sgd_new(r->set, (OptimSgd)OPTIM_SGD_DEFAULTS(r->options.lr));
    if (!nn_params_ok(r->set)) return tensor_error_set(error, "%s", nn_params_error(r->set));
    return optim_ok(r->optim) || tensor_error_set(error, "%s", optim_error(r->optim));
}

bool scratch_trainer_init(ScratchTrainer *r, const ScratchOptions *options, TensorError *error) {
    if (!trainer_new(r, options)) return tensor_error_set(error, "out of memory");
    r->scratch = scratch_model_make(r->set, options->V, options->H);
    return trainer_ready(r, error);
}

bool scratch_trainer_copy(ScratchTrainer *r, const ScratchTrainer *same, TensorError *error) {
    if (!trainer_new(r, &same->options)) return tensor_error_set(error, "out of memory");
    r->is_library = true;
    r->library = library_model_make(r->set, &same->scratch);
    return trainer_ready(r, error);
}

void scratch_trainer_free(ScratchTrainer *r) {
    optim_free(r->optim);
    nn_state_free(r->state);
    if (r->tape) ag_tape_free(r->tape);
    nn_params_free(r->set);
    *r = (ScratchTrainer){.optim = NULL};
}

void scratch_trainer_restart(ScratchTrainer *r) { nn_state_zero(r->state); }

ScratchOutput scratch_trainer_forward(ScratchTrainer *r, NnState *state, const Tensor *x) {
    AgTape *t = r->tape;
    ag_tape_reset(t);
    const int64_t shape[] = {x->shape[1], r->options.H};
    ScratchState s = {nn_state_load(state, t, "h", 2, shape),
                      nn_state_load(state, t, "c", 2, shape)};
    AgVar X = ag_one_hot(ag_input(t, x), r->options.V, r->options.dtype);
    ScratchOutput out = r->is_library ? library_forward(&r->library, X, s)
                                      : scratch_forward(&r->scratch, X, s);
    nn_state_store(state, "h", out.state.h);
    nn_state_store(state, "c", out.state.c);
    return out;
}

bool scratch_trainer_step(ScratchTrainer *r, const Tensor *x, const Tensor *y, double *loss,
                          ScratchOutput *out, TensorError *error) {
    ScratchOutput o = scratch_trainer_forward(r, r->state, x);
    AgVar mean = ag_cross_entropy(o.logits, ag_input(r->tape, y), NULL);
    nn_zero_grad(r->set);
    if (!ag_backward(mean)) return tensor_error_set(error, "%s", ag_tape_error(r->tape));
    *loss = ag_item(mean);
    if (out) *out = o;
    if (isfinite(*loss) && optim_step_clipped(r->optim, NULL, r->options.clip, NULL)) return true;
    bool diverged = optim_ok(r->optim);
    return tensor_error_set(error, "%s", diverged ? "training diverged; a smaller --lr may help"
                                                  : optim_error(r->optim));
}
