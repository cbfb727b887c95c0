/* train.c -- see train.h. */
#include "train.h"

#include <math.h>
#include <string.h>

#include "autograd/inspect.h"
#include "data/stream.h"
#include "examples/support/progress.h"
#include "optim/optim.h"

enum { HELD_OUT_ROWS = 8, HELD_OUT_STEPS = 64, SAVE_SECONDS = 30 };

/* Of the random numbers of a seed, those that choose offsets; the tape's count from 0. */
static const uint64_t offset_draw = (uint64_t)1 << 32;

typedef struct {
    const LmTrainJob *job;
    AgTape *tape;
    NnState *state;
    Optim *optim;
    DataStream stream;
    uint64_t step; /* of the run */
    ExampleProgress progress;
    double best, saved_at; /* held-out perplexity; seconds */
} Trainer;

/* ---- measuring ---- */

static double mean_loss(const LmModel *m, NnState *state, AgTape *t, DataStream *s) {
    Tensor x, y;
    double total = 0;
    int64_t tokens = 0;
    while (data_stream_next(s, &x, &y)) {
        ag_tape_reset(t);
        AgVar loss = lm_model_loss(m, state, ag_input(t, &x), ag_input(t, &y));
        if (!ag_ok(loss)) return NAN;
        total += ag_item(loss) * (double)tensor_numel(&y);
        tokens += tensor_numel(&y);
    }
    return total / (double)tokens;
}

double lm_perplexity(const LmModel *m, AgTape *t, const int64_t *ids, int64_t count,
                     TensorError *error) {
    DataStreamOptions options = {.batch = HELD_OUT_ROWS, .steps = HELD_OUT_STEPS,
                                 .short_last = true};
    if (count <= HELD_OUT_ROWS) options.batch = 1;
    DataStream s;
    if (!data_stream_init(&s, ids, count, &options, error)) return NAN;
    NnState *state = nn_state_new(TENSOR_F32);
    bool training = ag_tape_training(t, false), no_grad = ag_tape_no_grad(t, true);
    bool profile = ag_tape_set_profile(t, false);
    double loss = mean_loss(m, state, t, &s);
    if (!ag_tape_ok(t)) tensor_error_set(error, "%s", ag_tape_error(t));
    ag_tape_training(t, training);
    ag_tape_no_grad(t, no_grad);
    ag_tape_set_profile(t, profile);
    nn_state_free(state);
    return exp(loss);
}

/* ---- training ---- */

/* One step of truncated backpropagation through time.   x, y [T, B].  The loss; NaN if it failed,
 * or if perplexity or gradient are not finite: then no parameter has moved. */
static double train_step(Trainer *r, const Tensor *x, const Tensor *y) {
    AgTape *t = r->tape;
    const LmTraining *o = r->job->options;
    ag_tape_reset(t);
    ag_tape_rng(t, (uint64_t)o->seed, r->step++);
    nn_zero_grad(r->job->model->set);
    AgVar loss = lm_model_loss(r->job->model, r->state, ag_input(t, x), ag_input(t, y));
    if (!ag_backward(loss) || !isfinite(exp(ag_item(loss)))) return NAN;
    double max_norm = o->clip > 0 ? o->clip : INFINITY;
    return optim_step_clipped(r->optim, NULL, max_norm, NULL) ? ag_item(loss) : NAN;
}

static bool start_epoch(Trainer *r, int64_t epoch, TensorError *error) {
    const LmTraining *o = r->job->options;
    /* Not so many that no window is left. */
    int64_t spare = r->job->count - 1 - o->batch * o->steps;
    TensorRngKey key = {(uint64_t)o->seed, (uint64_t)epoch, offset_draw};
    int64_t most = spare < o->steps ? spare : o->steps;
    int64_t offset = o->random_offset ? tensor_rng_below(key, 0, most + 1) : 0;
    if (!data_stream_set_offset(&r->stream, offset, error)) return false;
    nn_state_zero(r->state);
    r->progress.epoch = epoch;
    r->progress.window = 0;
    r->progress.windows = r->stream.windows;
    return true;
}

/* One epoch, or what there is of it until the stop. */
static LmTrainStatus train_epoch(Trainer *r, int64_t epoch, TensorError *error) {
    if (!start_epoch(r, epoch, error)) return LM_TRAIN_FAILED;
    ExampleProgress *p = &r->progress;
    Tensor x, y;
    double total = 0;
    while (data_stream_next(&r->stream, &x, &y)) {
        double loss = train_step(r, &x, &y);
        if (!ag_tape_ok(r->tape) || !optim_ok(r->optim)) {
            const char *why = ag_tape_error(r->tape);
            tensor_error_set(error, "%s", *why ? why : optim_error(r->optim));
            return LM_TRAIN_FAILED;
        }
        if (isnan(loss)) return LM_TRAIN_DIVERGED;
        total += loss;
        p->loss = total / (double)++p->window;
        p->tokens += tensor_numel(&x);
        example_progress_step(p);
        if (*r->job->stop) return LM_TRAIN_STOPPED;
    }
    return LM_TRAIN_DONE;
}

/* Measures the epoch and saves the model where lm_train says so. */
static LmTrainStatus end_epoch(Trainer *r, bool last, LmResult *result, TensorError *error) {
    const LmTrainJob *job = r->job;
    double held_out = NAN, now = example_seconds();
    bool due = last || now - r->saved_at > SAVE_SECONDS;
    if (job->held_out_count > 0) {
        held_out = lm_perplexity(job->model, r->tape, job->held_out, job->held_out_count, error);
        if (!ag_tape_ok(r->tape)) return LM_TRAIN_FAILED;
        if (!isfinite(held_out)) return LM_TRAIN_DIVERGED;
        due = held_out < r->best;
    }
    r->progress.held_out = held_out;
    example_progress_epoch(&r->progress);
    if (!due) return LM_TRAIN_DONE;
    LmResult reached = {r->progress.epoch, exp(r->progress.loss), held_out};
    if (!job->save(job->context, &reached, error)) return LM_TRAIN_FAILED;
    *result = reached;
    r->best = held_out;
    r->saved_at = now;
    return LM_TRAIN_DONE;
}

static LmTrainStatus train_epochs(Trainer *r, LmResult *result, TensorError *error) {
    int64_t epochs = r->job->options->epochs;
    LmTrainStatus status = LM_TRAIN_DONE;
    for (int64_t e = 1; e <= epochs && status == LM_TRAIN_DONE; e++) {
        status = train_epoch(r, e, error);
        if (status == LM_TRAIN_FAILED || status == LM_TRAIN_DIVERGED) break;
        bool last = e == epochs || status == LM_TRAIN_STOPPED;
        LmTrainStatus end = end_epoch(r, last, result, error);
        if (end != LM_TRAIN_DONE) status = end;
    }
    example_progress_clear(&r->progress);
    return status;
}

static Optim *make_optimizer(NnParamSet *set, const LmTraining *o) {
    if (o->optimizer == LM_SGD)
        return optim_sgd_new(set, (OptimSgd){.lr = o->lr, .momentum = o->momentum});
    OptimAdam adam = OPTIM_ADAM_DEFAULTS;
    adam.lr = o->lr;
    return optim_adam_new(set, adam);
}

static bool trainer_init(Trainer *r, const LmTrainJob *job, TensorError *error) {
    const LmTraining *o = job->options;
    DataStreamOptions window = {.batch = o->batch, .steps = o->steps};
    *r = (Trainer){.job = job, .best = INFINITY, .saved_at = example_seconds()};
    if (!data_stream_init(&r->stream, job->ids, job->count, &window, error)) return false;
    r->tape = ag_tape_new();
    r->state = nn_state_new(TENSOR_F32);
    r->optim = make_optimizer(job->model->set, o);
    if (!optim_ok(r->optim)) return tensor_error_set(error, "%s", optim_error(r->optim));
    if (!r->tape || !r->state) return tensor_error_set(error, "out of memory");
    ag_tape_training(r->tape, true);
    ag_tape_set_profile(r->tape, job->profile);
    example_progress_start(&r->progress, o->epochs);
    return true;
}

LmTrainStatus lm_train(const LmTrainJob *job, LmResult *result, TensorError *error) {
    Trainer r;
    *result = (LmResult){0, NAN, NAN};
    LmTrainStatus status = LM_TRAIN_FAILED;
    if (trainer_init(&r, job, error)) status = train_epochs(&r, result, error);
    if (job->profile && status != LM_TRAIN_FAILED && !ag_tape_profile(r.tape, job->profile)) {
        tensor_error_set(error, "the profile cannot be written");
        status = LM_TRAIN_FAILED;
    }
    optim_free(r.optim);
    nn_state_free(r.state);
    if (r.tape) ag_tape_free(r.tape);
    return status;
}
