/* run.c -- see run.h. */
#include "run.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nn/state_dict.h"

static const char format_name[] = "unroll-lm";
enum { FORMAT_VERSION = 1, MAX_CONFIG_BYTES = 1 << 20, MAX_SIZE = 1 << 20 };

const char *const lm_clean_names[] = {"none", "letters", NULL};

/* FOLDER/NAME; false where the folder has no name, or a path cannot be so long. */
static bool join(const char *folder, const char *name, char path[PATH_MAX], TensorError *error) {
    if (!*folder) return tensor_error_set(error, "the name of the run folder is empty");
    int n = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return (n > 0 && n < PATH_MAX) || tensor_error_errno(error, folder, ENAMETOOLONG);
}

bool lm_run_prepare(const char *folder, TensorError *error) {
    char path[PATH_MAX];
    struct stat info;
    if (!join(folder, "", path, error)) return false;
    /* The folders above, one after the other; the path ends in a slash. */
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
        if (!made) return tensor_error_errno(error, path, errno);
        *slash = '/';
    }
    if (stat(path, &info) != 0) return tensor_error_errno(error, folder, errno);
    return access(path, W_OK | X_OK) == 0 || tensor_error_errno(error, folder, errno);
}

/* ---- config.json: writing ---- */

static json_t *describe_training(const LmTraining *o, const LmResult *result) {
    json_t *j = json_pack("{s:I, s:I, s:s, s:f, s:f, s:f, s:I, s:b, s:I, s:f}",
                          "batch", (json_int_t)o->batch, "steps", (json_int_t)o->steps,
                          "optimizer", o->optimizer == LM_ADAM ? "adam" : "sgd", "lr", o->lr,
                          "momentum", o->momentum, "clip", o->clip, "seed", (json_int_t)o->seed,
                          "random_offset", o->random_offset, "epoch", (json_int_t)result->epoch,
                          "perplexity", result->perplexity);
    if (j && !isnan(result->held_out))
        json_object_set_new(j, "held_out_perplexity", json_real(result->held_out));
    return j;
}

static bool save_config(const char *path, const LmRun *run, const LmResult *result,
                        TensorError *error) {
    const LmConfig *c = &run->model.config;
    json_t *j = json_pack("{s:s, s:i, s:{s:I, s:I, s:I, s:I, s:f}, s:s, s:o}", "format",
                          format_name, "version", FORMAT_VERSION, "model", "vocab",
                          (json_int_t)c->vocab, "embedding", (json_int_t)c->embedding, "hidden",
                          (json_int_t)c->hidden, "layers", (json_int_t)c->layers, "dropout",
                          c->dropout, "clean", lm_clean_names[run->clean], "training",
                          describe_training(&run->training, result));
    char *text = j ? json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(j);
    if (!text) return tensor_error_errno(error, path, ENOMEM);
    TensorFileWriter w;
    bool ok = tensor_file_begin(&w, path, error);
    if (ok) {
        fprintf(w.stream, "%s\n", text);
        ok = tensor_file_commit(&w, error);
    }
    free(text);
    return ok;
}

bool lm_run_save(const char *folder, const LmRun *run, const LmResult *result,
                 TensorError *error) {
    char path[PATH_MAX];
    /* The largest first: where it finds no place, the run that was there stays whole. */
    return join(folder, "model.safetensors", path, error) &&
           nn_save(run->model.set, path, 0, NULL, error) &&
           join(folder, "vocab.json", path, error) && data_vocab_save(run->vocab, path, error) &&
           join(folder, "config.json", path, error) && save_config(path, run, result, error);
}

/* ---- config.json: reading ---- */

static bool in_range(const LmConfig *c) {
    return c->vocab >= 1 && c->vocab <= MAX_SIZE && c->embedding >= 0 &&
           c->embedding <= MAX_SIZE && c->hidden >= 1 && c->hidden <= MAX_SIZE &&
           c->layers >= 1 && c->layers <= MAX_SIZE && c->dropout >= 0 && c->dropout <= 1;
}

/* *clean is the place of `name` among the names. */
static bool find_clean(const char *name, int *clean) {
    for (*clean = 0; lm_clean_names[*clean]; ++*clean)
        if (strcmp(name, lm_clean_names[*clean]) == 0) return true;
    return false;
}

static bool unpack_config(json_t *j, const char *path, LmConfig *c, int *clean,
                          TensorError *error) {
    const char *format, *clean_name;
    json_int_t version, size[4];
    json_error_t why;
    if (json_unpack_ex(j, &why, 0, "{s:s, s:I, s:{s:I, s:I, s:I, s:I, s:F}, s:s}", "format",
                       &format, "version", &version, "model", "vocab", &size[0], "embedding",
                       &size[1], "hidden", &size[2], "layers", &size[3], "dropout", &c->dropout,
                       "clean", &clean_name) != 0)
        return tensor_error_file(error, path, -1, "%s", why.text);
    c->vocab = size[0];
    c->embedding = size[1];
    c->hidden = size[2];
    c->layers = size[3];
    if (strcmp(format, format_name) != 0 || version != FORMAT_VERSION)
        return tensor_error_file(error, path, -1, "is %s version %lld, not %s version %d", format,
                                 (long long)version, format_name, FORMAT_VERSION);
    if (!in_range(c))
        return tensor_error_file(error, path, -1, "a size of the model is out of range");
    return find_clean(clean_name, clean) ||
           tensor_error_file(error, path, -1, "clean: %s is unknown", clean_name);
}

static bool load_config(const char *path, LmConfig *c, int *clean, TensorError *error) {
    size_t size;
    char *text = tensor_file_read(path, MAX_CONFIG_BYTES, &size, error);
    if (!text) return false;
    json_error_t why;
    json_t *j = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!j) return tensor_error_file(error, path, why.position, "%s", why.text);
    bool ok = unpack_config(j, path, c, clean, error);
    json_decref(j);
    return ok;
}

/* ---- the parameters ---- */

/* A config that asks for a network which the file cannot hold is refused before memory is. */
static bool check_size(const char *path, const LmConfig *c, TensorError *error) {
    int64_t size;
    FILE *file = tensor_file_open(path, &size, error);
    if (!file) return false;
    fclose(file);
    double needed = lm_config_numel(c) * (double)sizeof(float);
    return (double)size > needed ||
           tensor_error_file(error, path, -1,
                             "has %lld bytes, but config.json describes a model of %.0f",
                             (long long)size, needed);
}

static bool load_model(const char *path, const LmConfig *c, LmModel *m, TensorError *error) {
    if (!check_size(path, c, error) || !lm_model_init(m, c, 0, error)) return false;
    NnLoadReport report;
    bool ok = nn_load(m->set, path, NULL, &report);
    if (!ok) tensor_error_set(error, "%s", report.message);
    nn_load_report_free(&report);
    return ok;
}

static bool load_files(const char *folder, LmRun *run, TensorError *error) {
    char path[PATH_MAX];
    LmConfig c;
    if (!join(folder, "config.json", path, error) || !load_config(path, &c, &run->clean, error) ||
        !join(folder, "vocab.json", path, error))
        return false;
    run->vocab = data_vocab_load(path, error);
    if (!run->vocab) return false;
    long long tokens = data_vocab_size(run->vocab);
    if (data_vocab_kind(run->vocab) != DATA_VOCAB_CHAR)
        return tensor_error_file(error, path, -1, "is a vocabulary of words, not of characters");
    if (tokens != c.vocab)
        return tensor_error_file(error, path, -1, "has %lld tokens, but config.json says %lld",
                                 tokens, (long long)c.vocab);
    return join(folder, "model.safetensors", path, error) &&
           load_model(path, &c, &run->model, error);
}

bool lm_run_load(const char *folder, LmRun *run, TensorError *error) {
    *run = (LmRun){0};
    if (load_files(folder, run, error)) return true;
    lm_run_free(run);
    return false;
}

void lm_run_free(LmRun *run) {
    lm_model_free(&run->model);
    data_vocab_free(run->vocab);
    *run = (LmRun){0};
}
