/* trainer_checkpoint.c -- a training run as one file, and back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "optim/checkpoint.h"
#include "processes.h"
#include "trainer.h"

/* Of the random numbers of a seed and an epoch, those for the offset. */
static const uint64_t offset_draw = (uint64_t)1 << 32;

static const char file_name[] = "checkpoint.safetensors";
static const char format_name[] = "unroll-lm-checkpoint 1";

/* ---- the place as numbers ---- */

enum { INTS = 12, REALS = 15 };
static const int64_t max_count = (int64_t)1 << 53;

static void place_ints(const LmTrainer *r, int64_t x[INTS]) {
    const LmPlace *p = &r->place;
    const int64_t list[INTS] = {
        p->epoch, p->position, p->step, p->updates, p->tokens, p->bad_epochs, p->averaging,
        p->history, p->plateau.num_bad_epochs, p->plateau.cooldown_counter,
        p->result.epoch, (int64_t)r->job->corpus->digest,
    };
    memcpy(x, list, sizeof list);
}

static void place_reals(const LmTrainer *r, double x[REALS]) {
    const LmPlace *p = &r->place;
    const double list[REALS] = {
        p->best, p->seconds, p->plateau.lr, p->plateau.best,
        p->row.loss, p->row.norm, p->row.tokens, p->row.updates,
        p->epoch_mean.loss, p->epoch_mean.norm, p->epoch_mean.tokens, p->epoch_mean.updates,
        p->result.perplexity, p->result.valid, p->result.test,
    };
    memcpy(x, list, sizeof list);
}

static void set_place(LmPlace *p, const int64_t i[INTS], const double x[REALS]) {
    *p = (LmPlace){
        .epoch = i[0], .position = i[1], .step = i[2], .updates = i[3], .tokens = i[4],
        .bad_epochs = i[5], .averaging = i[6] != 0, .history = i[7],
        .plateau = {.lr = x[2], .best = x[3], .num_bad_epochs = i[8], .cooldown_counter = i[9]},
        .best = x[0], .seconds = x[1], .row = {x[4], x[5], x[6], x[7]},
        .epoch_mean = {x[8], x[9], x[10], x[11]},
        .result = {.epoch = i[10], .perplexity = x[12], .valid = x[13], .test = x[14]},
        .valid = p->valid,
    };
}

/* ---- writing ---- */

static bool add_all(LmTrainer *r, NnCheckpoint *c, TensorError *error) {
    int64_t ints[INTS];
    double reals[REALS];
    place_ints(r, ints);
    place_reals(r, reals);
    json_t *settings = lm_settings_json(r->settings);
    char *text = settings ? json_dumps(settings, JSON_REAL_PRECISION(17)) : NULL;
    json_decref(settings);
    if (!text) return tensor_error_set(error, "out of memory");
    nn_checkpoint_add_text(c, "format", format_name);
    nn_checkpoint_add_text(c, "settings", text);
    free(text);
    nn_checkpoint_add_ints(c, "train.ints", INTS, ints);
    nn_checkpoint_add_reals(c, "train.reals", REALS, reals);
    nn_checkpoint_add_reals(c, "train.valid", r->place.history, r->place.valid);
    nn_checkpoint_add_params(c, "model", r->model->set);
    optim_checkpoint_add(r->optim, c, "optim");
    return lm_workers_add_state(r->workers, c, "state", error);
}

bool lm_trainer_save(LmTrainer *r, TensorError *error) {
    char path[PATH_MAX];
    double now = example_seconds();
    r->place.seconds += now - r->started;
    r->started = r->saved = now;
    NnCheckpoint *c = nn_checkpoint_new();
    bool ok = (c || tensor_error_set(error, "out of memory")) && add_all(r, c, error);
    if (ok && lm_process() == 0)
        ok = lm_run_path(r->job->folder, file_name, path, error) &&
             nn_checkpoint_write(c, path, error);
    nn_checkpoint_free(c);
    return ok;
}

/* ---- reading ---- */

bool lm_trainer_seek(LmTrainer *r, TensorError *error) {
    const LmSettings *s = r->settings;
    /* Not so many that no window is left. */
    int64_t rows = r->stream.options.batch;
    int64_t spare = r->job->corpus->train.count - 1 - rows * s->steps;
    TensorRngKey key = {(uint64_t)s->seed, (uint64_t)r->place.epoch, offset_draw};
    int64_t most = spare < s->steps ? spare : s->steps;
    int64_t offset = s->random_offset ? tensor_rng_below(key, 0, most + 1) : 0;
    return data_stream_set_offset(&r->stream, offset, error) &&
           data_stream_seek(&r->stream, r->place.position, error);
}

static bool is_count(double x, double most) { return x >= 0 && x <= most; }

static bool means_can_be(const LmMeans *m, const LmPlace *p) {
    const double most = 710; /* of one token: a loss whose exp is not finite ended the run */
    return isfinite(m->loss) && m->loss <= most * m->tokens && isfinite(m->norm) && m->norm >= 0 &&
           is_count(m->tokens, (double)p->tokens) && is_count(m->updates, (double)p->updates);
}

/* Counts from which a run can go on: none overflows, or loses digits as a double. */
static bool ints_can_be(const LmPlace *p, const int64_t ints[INTS]) {
    for (int i = 0; i < INTS - 1; i++)
        if (ints[i] < 0 || ints[i] > max_count) return false;
    return p->epoch >= 1 && p->updates <= p->step && p->history < p->epoch &&
           p->result.epoch <= p->epoch;
}

static bool reals_can_be(const LmPlace *p) {
    return p->best > 0 && isfinite(p->seconds) && p->seconds >= 0 && is_count(p->plateau.lr, 1) &&
           !isnan(p->plateau.best) && means_can_be(&p->row, p) && means_can_be(&p->epoch_mean, p);
}

static bool read_numbers(const TensorSafetensors *file, const char *path, LmPlace *p,
                         int64_t *digest, TensorError *error) {
    int64_t ints[INTS];
    double reals[REALS];
    if (!nn_checkpoint_read_ints(file, path, "train.ints", INTS, ints, error) ||
        !nn_checkpoint_read_reals(file, path, "train.reals", REALS, reals, error))
        return false;
    set_place(p, ints, reals);
    *digest = ints[INTS - 1];
    bool whole = ints_can_be(p, ints);
    return (whole && reals_can_be(p)) ||
           tensor_error_file(error, path, -1, "train.%s hold a number that cannot be",
                             whole ? "reals" : "ints");
}

static bool read_place(LmTrainer *r, const TensorSafetensors *file, const char *path,
                       TensorError *error) {
    LmPlace *p = &r->place;
    int64_t digest;
    if (!read_numbers(file, path, p, &digest, error)) return false;
    if (digest != (int64_t)r->job->corpus->digest)
        return tensor_error_file(error, path, -1, "was written while training on another text");
    p->valid = calloc((size_t)p->history + 1, sizeof *p->valid);
    return (p->valid || tensor_error_set(error, "out of memory")) &&
           nn_checkpoint_read_reals(file, path, "train.valid", p->history, p->valid, error);
}

/* What the numbers say must fit the optimiser and the text, too. */
static bool check_place(LmTrainer *r, const char *path, TensorError *error) {
    TensorError why;
    if (r->place.averaging && r->settings->optimizer != LM_ASGD)
        return tensor_error_file(error, path, -1, "train.ints hold a number that cannot be");
    return lm_trainer_seek(r, &why) || tensor_error_file(error, path, -1, "%s", why.message);
}

static bool check_format(const TensorSafetensors *file, const char *path, TensorError *error) {
    const char *format = tensor_safetensors_metadata(file, "format");
    return (format && strcmp(format, format_name) == 0) ||
           tensor_error_file(error, path, -1, "is no checkpoint of this program");
}

static bool read_all(LmTrainer *r, const TensorSafetensors *file, const char *path,
                     TensorError *error) {
    return check_format(file, path, error) && read_place(r, file, path, error) &&
           nn_checkpoint_read_params(file, path, "model", r->model->set, error) &&
           optim_checkpoint_read(file, path, "optim", r->optim, error) &&
           lm_workers_read_state(r->workers, file, path, "state", error) &&
           check_place(r, path, error);
}

bool lm_trainer_load(LmTrainer *r, TensorError *error) {
    char path[PATH_MAX];
    TensorSafetensors *file;
    if (!lm_run_path(r->job->folder, file_name, path, error) ||
        !nn_checkpoint_open(path, &file, error))
        return false;
    bool ok = read_all(r, file, path, error);
    tensor_safetensors_close(file);
    return ok;
}

/* ---- from outside ---- */

static bool read_settings(const TensorSafetensors *file, const char *path, LmSettings *s,
                          TensorError *error) {
    const char *text = tensor_safetensors_metadata(file, "settings");
    json_error_t why;
    json_t *j = text ? json_loads(text, JSON_REJECT_DUPLICATES, &why) : NULL;
    bool ok = json_is_object(j) ? lm_settings_from_json(s, j, path, error)
                                : tensor_error_file(error, path, -1, "has no settings");
    json_decref(j);
    return ok;
}

static bool read_outside(const char *path, LmCheckpoint *c, LmSettings *s, TensorError *error) {
    TensorSafetensors *file;
    LmPlace p = {0};
    int64_t digest;
    if (!nn_checkpoint_open(path, &file, error)) return false;
    bool ok = check_format(file, path, error) && read_settings(file, path, s, error) &&
              read_numbers(file, path, &p, &digest, error);
    *c = (LmCheckpoint){true, p.epoch, p.step, ok && lm_trainer_done(s, &p)};
    tensor_safetensors_close(file);
    return ok;
}

bool lm_checkpoint_read(const char *folder, LmCheckpoint *checkpoint, LmSettings *settings,
                        TensorError *error) {
    char path[PATH_MAX];
    *checkpoint = (LmCheckpoint){0};
    if (!lm_run_path(folder, file_name, path, error)) return false;
    if (access(path, F_OK) != 0) return true;
    return read_outside(path, checkpoint, settings, error);
}
