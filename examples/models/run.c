/* run.c -- the list of models, and what is the same for all of them; see models.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "examples/models/models.h"
#include "examples/support/progress.h"
#include "optim/optim.h"
#include "optim/schedule.h"

extern const Model model_clockwork, model_copy, model_mdn, model_mgu, model_ssm;

const Model *const model_list[] = {&model_mgu,  &model_clockwork, &model_ssm,
                                   &model_copy, &model_mdn,       NULL};

const Model *model_find(const char *name) {
    for (int i = 0; model_list[i]; i++)
        if (strcmp(model_list[i]->name, name) == 0) return model_list[i];
    return NULL;
}

/* ---- batches ---- */

static int count(const char *const *names) {
    int n = 0;
    while (names[n]) n++;
    return n;
}

static int inputs(const Model *m) { return count(m->inputs) + count(m->states); }

/* What the task gives, and states of zeros. */
static void make_batch(const Model *m, const ModelBatch *b, Tensor *in) {
    int n = count(m->inputs);
    m->batch(b, in);
    for (int i = n; i < inputs(m); i++) {
        in[i] = tensor_new(b->memory, b->dtype, 2, (int64_t[]){b->n.B, b->n.H});
        for (int64_t e = 0; e < tensor_numel(&in[i]); e++) tensor_set(&in[i], e, 0);
    }
}

/* ---- training ---- */

typedef struct {
    const Model *m;
    const ModelTraining *training;
    NnParamSet *set;
    const void *model;
    AgTape *tape;
    TensorArena *memory;
    Optim *optim;
    OptimSchedule schedule;
} Trainer;

/* The mean loss of batch `step`. */
static AgVar batch_loss(Trainer *r, uint64_t step) {
    AgVar in[MODEL_MAX_INPUTS];
    Tensor value[MODEL_MAX_INPUTS];
    ModelBatch b = {r->m->train, TENSOR_F32, {r->training->seed, step, 0}, r->memory};
    tensor_arena_reset(r->memory);
    ag_tape_reset(r->tape);
    make_batch(r->m, &b, value);
    for (int i = 0; i < inputs(r->m); i++) in[i] = ag_input(r->tape, &value[i]);
    return r->m->loss(r->model, r->tape, in);
}

/* The loss before the step; NaN where something failed. */
static double train_step(Trainer *r, int64_t step) {
    optim_set_lr(r->optim, optim_schedule_lr(&r->schedule, step));
    nn_zero_grad(r->set);
    AgVar loss = batch_loss(r, (uint64_t)step);
    if (!ag_backward(loss)) return NAN;
    return optim_step_clipped(r->optim, NULL, 1, NULL) ? ag_item(loss) : NAN;
}

/* Over 10 batches of numbers that no step of training has. */
static double test(Trainer *r) {
    double sum = 0;
    ag_tape_no_grad(r->tape, true);
    for (uint64_t i = 0; i < 10; i++) sum += ag_item(batch_loss(r, UINT64_MAX - i));
    return sum / 10;
}

static double train(Trainer *r, int64_t steps) {
    double sum = 0, start = example_seconds();
    int64_t every = steps < 10 ? 1 : steps / 10, since = 0;
    const volatile sig_atomic_t *stop = r->training->stop;
    for (int64_t step = 0; step < steps && !(stop && *stop); step++) {
        double loss = train_step(r, step);
        if (!isfinite(loss)) return NAN;
        sum += loss;
        since++;
        if ((step + 1) % every || r->training->silent) continue;
        printf("step %5lld of %lld   loss %8.5f   learning rate %.5f   %.0f steps/s\n",
               (long long)step + 1, (long long)steps, sum / (double)since, optim_lr(r->optim),
               (double)(step + 1) / (example_seconds() - start));
        fflush(stdout);
        sum = 0;
        since = 0;
    }
    return test(r);
}

static double fail(const Trainer *r, TensorError *error) {
    const char *const reports[] = {nn_params_error(r->set),
                                   r->tape && r->memory ? "" : "out of memory",
                                   r->tape ? ag_tape_error(r->tape) : "",
                                   optim_error(r->optim), "the loss is not finite"};
    int i = 0;
    while (!*reports[i]) i++;
    tensor_error_set(error, "%s: %s", r->m->name, reports[i]);
    return NAN;
}

double model_train(const Model *m, const ModelTraining *training, TensorError *error) {
    int64_t steps = training->steps ? training->steps : m->steps;
    Trainer r = {m, training, .set = nn_params_new(TENSOR_F32, training->seed),
                 .tape = ag_tape_new(), .memory = tensor_arena_new(),
                 .schedule = optim_schedule_cosine(m->lr, steps, 0)};
    OptimAdam adam = OPTIM_ADAM_DEFAULTS;
    adam.lr = m->lr;
    r.model = m->make(r.set, m->train);
    r.optim = optim_adam_new(r.set, adam);
    bool ok = nn_params_ok(r.set) && r.tape && r.memory && optim_ok(r.optim);
    double loss = ok ? train(&r, steps) : NAN;
    if (!isfinite(loss)) fail(&r, error);
    optim_free(r.optim);
    if (r.memory) tensor_arena_free(r.memory);
    if (r.tape) ag_tape_free(r.tape);
    nn_params_free(r.set);
    return loss;
}

/* ---- checking ---- */

typedef struct {
    const Model *m;
    NnParamSet *set;
    const void *model;
} Check;

/* The model as a function of its inputs, its initial states and its parameters. */
static int whole(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    const Check *c = context;
    for (int i = 0; i < nn_params_count(c->set); i++)
        nn_param_bind(t, nn_params_at(c->set, i), x[inputs(c->m) + i]);
    y[0] = c->m->loss(c->model, t, x);
    return 1;
}

/* Of input i of `whole`. */
static const char *name_of(const Check *c, int i) {
    int given = count(c->m->inputs), n = inputs(c->m);
    if (i < given) return c->m->inputs[i];
    return i < n ? c->m->states[i - given] : nn_params_at(c->set, i - n)->name;
}

static bool fail_check(GradcheckResult *r, const char *why) {
    r->reason = GRADCHECK_ERROR;
    snprintf(r->message, sizeof r->message, "%s", why);
    return r->ok = false;
}

static bool check(Check *c, TensorArena *memory, int order, GradcheckResult *r) {
    int n = inputs(c->m), total = n + nn_params_count(c->set);
    Tensor *x = tensor_arena_alloc(memory, (size_t)total * sizeof *x);
    if (!x) return fail_check(r, "out of memory");
    make_batch(c->m, &(ModelBatch){c->m->check, TENSOR_F64, {7, 0, 0}, memory}, x);
    for (int i = 0; i < total; i++) {
        if (i >= n) x[i] = tensor_copy(memory, &nn_params_at(c->set, i - n)->value);
        if (tensor_is_nil(&x[i])) return fail_check(r, "out of memory");
        if (tensor_dtype_is_float(x[i].dtype))
            tensor_rng_fill_normal(&x[i], (TensorRngKey){7, 1, (uint64_t)i}, 0, 0.5);
    }
    bool ok = (order == 2 ? gradgradcheck : gradcheck)(whole, c, total, x, NULL, r);
    if (!ok && r->input >= 0 && r->input < total)
        snprintf(r->name, sizeof r->name, "%s", name_of(c, r->input));
    return ok;
}

bool model_check(const Model *m, int order, GradcheckResult *r) {
    Check c = {m, nn_params_new(TENSOR_F64, 7), NULL};
    TensorArena *memory = tensor_arena_new();
    *r = (GradcheckResult){.order = order, .input = -1, .index = -1, .other = -1, .axis = -1};
    c.model = m->make(c.set, m->check);
    if (!nn_params_ok(c.set))
        fail_check(r, nn_params_error(c.set));
    else if (!memory)
        fail_check(r, "out of memory");
    else
        check(&c, memory, order, r);
    if (memory) tensor_arena_free(memory);
    nn_params_free(c.set);
    return r->ok;
}
