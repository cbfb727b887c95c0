/* train.c -- see train.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/inspect.h"
#include "processes.h"
#include "trainer.h"

/* ---- measuring ---- */

enum { MEASURED_STEPS = 64 };

static double mean_loss(const LmModel *m, NnState *state, AgTape *t, DataStream *s,
                        const volatile sig_atomic_t *stop) {
    Tensor x, y;
    double total = 0, tokens = 0;
    while (!(stop && *stop) && data_stream_next(s, &x, &y)) {
        ag_tape_reset(t);
        LmState after, before = lm_model_load(m, state, t, x.shape[1]);
        AgVar h = lm_model_hidden(m, &before, ag_input(t, &x), NULL, &after);
        AgVar loss = nn_linear_cross_entropy(&m->out, h, ag_input(t, &y), NULL);
        if (!lm_model_store(m, state, &after) || !ag_ok(loss)) return NAN;
        total += ag_item(loss) * (double)tensor_numel(&y);
        tokens += (double)tensor_numel(&y);
    }
    return total / tokens;
}

static double measure(const LmModel *m, AgTape *t, const int64_t *ids, int64_t count,
                      int64_t rows, const volatile sig_atomic_t *stop, TensorError *error) {
    DataStreamOptions options = {.batch = count > rows ? rows : 1, .steps = MEASURED_STEPS,
                                 .short_last = true};
    DataStream s;
    if (!data_stream_init(&s, ids, count, &options, error)) return NAN;
    NnState *state = nn_state_new(TENSOR_F32);
    ag_tape_reset(t);
    bool training = ag_tape_training(t, false), no_grad = ag_tape_no_grad(t, true);
    bool profile = ag_tape_set_profile(t, false);
    double loss = mean_loss(m, state, t, &s, stop);
    if (!ag_tape_ok(t)) tensor_error_set(error, "%s", ag_tape_error(t));
    ag_tape_training(t, training);
    ag_tape_no_grad(t, no_grad);
    ag_tape_set_profile(t, profile);
    nn_state_free(state);
    return exp(loss);
}

double lm_perplexity(const LmModel *m, AgTape *t, const int64_t *ids, int64_t count, int64_t rows,
                     TensorError *error) {
    return measure(m, t, ids, count, rows, NULL, error);
}

/* Of a part of the corpus, by process 0 for all; NaN where there is none or it was stopped. */
static bool measure_part(LmTrainer *r, const DataCorpusPart *part, int64_t rows, double *result,
                         TensorError *error) {
    AgTape *t = lm_workers_tape(r->workers);
    *result = NAN;
    if (part->count == 0) return true;
    if (lm_process() == 0)
        *result = measure(r->model, t, r->job->corpus->ids + part->first, part->count, rows,
                          r->job->stop, error);
    return ag_tape_ok(t) && lm_processes_broadcast(1, result, error);
}

static bool stopped(const LmTrainer *r) { return lm_processes_any(*r->job->stop != 0); }

/* ---- one step ---- */

static void count_step(LmTrainer *r, double loss, int64_t tokens) {
    LmPlace *p = &r->place;
    p->step++;
    p->tokens += tokens;
    p->row.loss += loss * (double)tokens;
    p->row.tokens += (double)tokens;
    p->epoch_mean.loss += loss * (double)tokens;
    p->epoch_mean.tokens += (double)tokens;
}

/* The parameter whose gradient is largest, for the message on a norm beyond the limit. */
static bool blame_norm(LmTrainer *r, double norm, TensorError *error) {
    NnGrads *grads = lm_workers_grads(r->workers);
    double largest = -1;
    int worst = 0;
    for (int i = 0; i < nn_params_count(r->model->set); i++) {
        Tensor g = nn_grads_at(grads, i);
        double sum = 0;
        for (int64_t k = 0; k < tensor_numel(&g); k++) sum += pow(tensor_get(&g, k), 2);
        if (sum <= largest) continue;
        largest = sum;
        worst = i;
    }
    return tensor_error_set(error, "the gradient's norm is %g, beyond --norm-limit %g; %g of it "
                            "in %s", norm, r->settings->norm_limit, sqrt(largest),
                            nn_params_at(r->model->set, worst)->name);
}

/* Where the numbers that are not finite come from, in the window of this step.  Where nothing is
 * found, the loss is only too large for a perplexity, or (loss NaN) the gradients of this window
 * are finite alone, but not their sum with those of others. */
static LmTrainStatus diverge(LmTrainer *r, const Tensor *x, const Tensor *y, int64_t step,
                             double loss, TensorError *error) {
    if (lm_workers_trace(r->workers, x, y, (uint64_t)step, error)) return LM_TRAIN_DIVERGED;
    if (isnan(loss))
        tensor_error_set(error, "a gradient, added up, is no finite number");
    else
        tensor_error_set(error, "the loss is %g, and its exp no finite number", loss);
    return LM_TRAIN_DIVERGED;
}

/* Moves the parameters by the gradients of the windows since the last update. */
static LmTrainStatus update(LmTrainer *r, const Tensor *x, const Tensor *y, TensorError *error) {
    double norm, max = r->settings->clip > 0 ? r->settings->clip : INFINITY;
    if (!lm_workers_reduce(r->workers, error)) return LM_TRAIN_FAILED;
    if (!optim_step_clipped(r->optim, lm_workers_grads(r->workers), max, &norm)) {
        if (optim_ok(r->optim)) return diverge(r, x, y, r->place.step - 1, NAN, error);
        tensor_error_set(error, "%s", optim_error(r->optim));
        return LM_TRAIN_FAILED;
    }
    if (norm > r->settings->norm_limit) {
        blame_norm(r, norm, error);
        return LM_TRAIN_DIVERGED;
    }
    r->place.updates++;
    r->place.row.norm += norm;
    r->place.row.updates++;
    r->progress.grad_norm = norm;
    r->progress.lr = optim_lr(r->optim);
    return LM_TRAIN_DONE;
}

/* Nothing is left of the epoch but what is shorter than a window. */
static bool epoch_is_read(const LmTrainer *r) {
    int64_t left = r->stream.row_length - r->stream.position;
    return left < (r->settings->random_steps ? 1 : r->settings->steps);
}

/* One update: the windows of --accumulate, or what is left of the epoch, at least one. */
static LmTrainStatus train_update(LmTrainer *r, TensorError *error) {
    int64_t n = r->settings->accumulate;
    Tensor x, y;
    for (int64_t i = 0; i < n && (i == 0 || !epoch_is_read(r)); i++) {
        data_stream_take(&r->stream, lm_trainer_window(r), &x, &y);
        if (i == 0) lm_trainer_set_rate(r, x.shape[0]);
        LmStep step;
        if (!lm_workers_step(r->workers, &x, &y, (uint64_t)r->place.step, i == 0, 1.0 / (double)n,
                             &step, error))
            return LM_TRAIN_FAILED;
        if (!step.finite) return diverge(r, &x, &y, r->place.step, step.loss, error);
        count_step(r, step.loss, tensor_numel(&x));
    }
    r->place.position = r->stream.position;
    return update(r, &x, &y, error);
}

/* ---- the log and the progress ---- */

static bool write_row(LmTrainer *r, double valid, TensorError *error) {
    LmPlace *p = &r->place;
    LmMeans *m = &p->row;
    if (lm_process() != 0 || m->tokens == 0) return true;
    double now = p->seconds + example_seconds() - r->started, loss = m->loss / m->tokens;
    LmLogRow row = {.epoch = p->epoch, .step = p->updates, .tokens = p->tokens, .seconds = now,
                    .loss = loss, .perplexity = exp(loss), .valid_perplexity = valid,
                    .lr = optim_lr(r->optim), .grad_norm = m->norm / m->updates,
                    .tokens_per_second = m->tokens / (now - r->row_started)};
    r->row_started = now;
    *m = (LmMeans){0};
    return lm_log_write(&r->log, &row, error);
}

static void show(LmTrainer *r) {
    ExampleProgress *p = &r->progress;
    p->window = r->place.position;
    p->tokens = r->place.tokens;
    p->loss = r->place.epoch_mean.loss / r->place.epoch_mean.tokens;
    if (lm_process() == 0) example_progress_step(p);
}

/* ---- epochs ---- */

static bool save_model(LmTrainer *r, double valid, TensorError *error) {
    const LmPlace *p = &r->place;
    LmRun *run = r->job->run;
    double perplexity = exp(p->epoch_mean.loss / p->epoch_mean.tokens);
    run->result = (LmResult){p->epoch, perplexity, valid, NAN};
    r->place.result = run->result;
    return lm_process() != 0 || lm_run_save(r->job->folder, run, error);
}

/* With the averages of asgd in the place of the parameters, where there are averages. */
static bool swap(LmTrainer *r, TensorError *error) {
    return !r->place.averaging || optim_swap_average(r->optim) ||
           tensor_error_set(error, "%s", optim_error(r->optim));
}

static LmTrainStatus measure_and_save(LmTrainer *r, double *valid, TensorError *error) {
    const DataCorpusPart *part = &r->job->corpus->valid;
    if (!swap(r, error) || !measure_part(r, part, r->settings->eval_batch, valid, error))
        return LM_TRAIN_FAILED;
    LmTrainStatus status = LM_TRAIN_DONE;
    bool interrupted = part->count > 0 && stopped(r);
    if (interrupted)
        status = LM_TRAIN_STOPPED;
    else if (part->count > 0 && !isfinite(*valid))
        status = LM_TRAIN_DIVERGED;
    else if (!(*valid >= r->place.best) && !save_model(r, *valid, error))
        status = LM_TRAIN_FAILED;
    if (status == LM_TRAIN_DIVERGED)
        tensor_error_set(error, "the perplexity on validation text is not finite");
    return swap(r, error) ? status : LM_TRAIN_FAILED;
}

/* Stopped: the epoch is read but not measured; a run that goes on measures it first. */
static LmTrainStatus end_epoch(LmTrainer *r, TensorError *error) {
    LmPlace *p = &r->place;
    double valid;
    LmTrainStatus status = measure_and_save(r, &valid, error);
    if (status != LM_TRAIN_DONE) return status;
    r->progress.held_out = valid;
    r->progress.window = r->progress.windows;
    if (lm_process() == 0) example_progress_epoch(&r->progress);
    if (!write_row(r, valid, error) || !lm_trainer_judge(r, valid, error)) return LM_TRAIN_FAILED;
    p->epoch++;
    p->position = 0;
    p->epoch_mean = (LmMeans){0};
    lm_workers_zero_state(r->workers);
    r->progress.epoch = p->epoch;
    return lm_trainer_seek(r, error) && lm_trainer_save(r, error) ? LM_TRAIN_DONE
                                                                  : LM_TRAIN_FAILED;
}

static bool due(const LmTrainer *r) {
    int64_t pause = r->settings->save_every;
    return lm_processes_any(pause > 0 && example_seconds() - r->saved > (double)pause);
}

/* One epoch, or what there is of it until the stop. */
static LmTrainStatus train_epoch(LmTrainer *r, TensorError *error) {
    const LmSettings *s = r->settings;
    while (!epoch_is_read(r)) {
        LmTrainStatus status = train_update(r, error);
        if (status != LM_TRAIN_DONE) return status;
        show(r);
        /* The last row of an epoch is end_epoch's, with the validation perplexity. */
        bool row = s->log_every > 0 && r->place.updates % s->log_every == 0 && !epoch_is_read(r);
        if (row && !write_row(r, NAN, error)) return LM_TRAIN_FAILED;
        if (stopped(r)) return LM_TRAIN_STOPPED;
        if (due(r) && !lm_trainer_save(r, error)) return LM_TRAIN_FAILED;
    }
    return end_epoch(r, error);
}

static LmTrainStatus train_epochs(LmTrainer *r, TensorError *error) {
    LmTrainStatus status = LM_TRAIN_DONE;
    while (status == LM_TRAIN_DONE && !lm_trainer_done(r->settings, &r->place))
        status = train_epoch(r, error);
    if (lm_process() == 0) example_progress_end(&r->progress);
    if (status != LM_TRAIN_STOPPED) return status;
    /* A folder that was stopped early can be used, too. */
    bool ok = r->place.result.epoch > 0 ||
              (swap(r, error) && save_model(r, NAN, error) && swap(r, error));
    return ok && lm_trainer_save(r, error) ? LM_TRAIN_STOPPED : LM_TRAIN_FAILED;
}

/* The test text, with the best parameters: also of a run that was done but for this. */
static LmTrainStatus test(LmTrainer *r, TensorError *error) {
    LmRun *run = r->job->run;
    double perplexity;
    if (r->job->corpus->test.count == 0 || run->result.epoch == 0) return LM_TRAIN_DONE;
    if (!lm_run_load_parameters(r->job->folder, run, error) ||
        !measure_part(r, &r->job->corpus->test, 1, &perplexity, error))
        return LM_TRAIN_FAILED;
    if (stopped(r)) return LM_TRAIN_STOPPED;
    if (!isfinite(perplexity)) {
        tensor_error_set(error, "the perplexity on test text is not finite");
        return LM_TRAIN_DIVERGED;
    }
    run->result.test = perplexity;
    return lm_process() != 0 || lm_run_save(r->job->folder, run, error) ? LM_TRAIN_DONE
                                                                        : LM_TRAIN_FAILED;
}

/* ---- all of it ---- */

static Optim *make_optimizer(NnParamSet *set, const LmSettings *s) {
    double lr = s->lr, decay = s->weight_decay;
    switch ((LmOptimizer)s->optimizer) {
    case LM_SGD:
        return optim_sgd_new(set, (OptimSgd){.lr = lr, .momentum = s->momentum,
                                             .weight_decay = decay});
    case LM_ASGD:
        return optim_asgd_new(set, (OptimAsgd){.lr = lr, .lambd = 0, .alpha = 0.75,
                                               .t0 = s->nonmonotone > 0 ? INFINITY : 0,
                                               .weight_decay = decay});
    case LM_ADAM: {
        OptimAdam o = OPTIM_ADAM_DEFAULTS;
        o.lr = lr, o.weight_decay = decay;
        return optim_adam_new(set, o);
    }
    case LM_ADAMW: {
        OptimAdamW o = OPTIM_ADAMW_DEFAULTS;
        o.lr = lr, o.weight_decay = decay;
        return optim_adamw_new(set, o);
    }
    case LM_RMSPROP: {
        OptimRmsprop o = OPTIM_RMSPROP_DEFAULTS;
        o.lr = lr, o.weight_decay = decay, o.momentum = s->momentum;
        return optim_rmsprop_new(set, o);
    }
    case LM_ADAGRAD: {
        OptimAdagrad o = OPTIM_ADAGRAD_DEFAULTS;
        o.lr = lr, o.weight_decay = decay;
        return optim_adagrad_new(set, o);
    }
    case LM_ADADELTA: break;
    }
    OptimAdadelta o = OPTIM_ADADELTA_DEFAULTS;
    o.lr = lr, o.weight_decay = decay;
    return optim_adadelta_new(set, o);
}

static bool start_place(LmTrainer *r, TensorError *error) {
    const LmSettings *s = r->settings;
    OptimPlateau plateau = lm_trainer_plateau(s);
    r->place = (LmPlace){.epoch = 1, .best = INFINITY, .plateau = optim_plateau_start(&plateau, 1),
                         .averaging = s->optimizer == LM_ASGD && s->nonmonotone == 0,
                         .result = {0, NAN, NAN, NAN}};
    if (r->job->resume) return lm_trainer_load(r, error);
    lm_workers_zero_state(r->workers);
    return lm_trainer_seek(r, error) && lm_trainer_save(r, error);
}

static void start_progress(LmTrainer *r) {
    ExampleProgress *p = &r->progress;
    example_progress_start(p, r->settings->epochs);
    p->epoch = r->place.epoch;
    p->window = r->place.position;
    p->windows = r->stream.row_length;
    p->tokens = r->place.tokens;
    example_progress_resume(p);
    r->saved = r->started = example_seconds();
}

/* The row that the checkpoint still collects is not in the log, or goes. */
static bool open_log(LmTrainer *r, TensorError *error) {
    int64_t written = r->place.updates - (int64_t)r->place.row.updates;
    if (!lm_log_open(&r->log, r->job->folder, written, error)) return false;
    r->row_started = r->log.seconds;
    return true;
}

static bool trainer_init(LmTrainer *r, const LmTrainJob *job, TensorError *error) {
    const LmSettings *s = &job->run->settings;
    const DataCorpusPart *part = &job->corpus->train;
    DataStreamOptions window = {.batch = s->batch * s->workers * lm_process_count(),
                                .steps = s->steps};
    *r = (LmTrainer){.job = job, .settings = s, .model = &job->run->model};
    if (!lm_settings_check_validation(s, job->corpus->valid.count > 0, error) ||
        !data_stream_init(&r->stream, job->corpus->ids + part->first, part->count, &window, error))
        return false;
    r->windows = r->stream.windows;
    r->optim = make_optimizer(r->model->set, s);
    if (!optim_ok(r->optim)) return tensor_error_set(error, "%s", optim_error(r->optim));
    r->workers = lm_workers_new(r->model, s, error);
    if (!r->workers) return false;
    ag_tape_set_profile(lm_workers_tape(r->workers), job->profile);
    r->started = r->saved = example_seconds();
    if (!start_place(r, error)) return false;
    job->run->result = r->place.result;
    start_progress(r);
    return lm_process() != 0 || open_log(r, error);
}

static LmTrainStatus finish(LmTrainer *r, TensorError *error) {
    FILE *profile = r->job->profile;
    if (profile && !ag_tape_profile(lm_workers_tape(r->workers), profile)) {
        tensor_error_set(error, "the profile cannot be written");
        return LM_TRAIN_FAILED;
    }
    return LM_TRAIN_DONE;
}

LmTrainStatus lm_train(const LmTrainJob *job, TensorError *error) {
    LmTrainer r;
    LmTrainStatus status = LM_TRAIN_FAILED;
    if (trainer_init(&r, job, error)) status = train_epochs(&r, error);
    if (status == LM_TRAIN_DONE) status = test(&r, error);
    if (status == LM_TRAIN_DONE || status == LM_TRAIN_STOPPED) {
        LmTrainStatus end = finish(&r, error);
        if (end != LM_TRAIN_DONE) status = end;
    }
    lm_log_close(&r.log);
    optim_free(r.optim);
    lm_workers_free(r.workers);
    free(r.place.valid);
    return status;
}
