/* run.c -- see run.h. */
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/utf8.h"
#include "nn/checkpoint.h"

static const char format_name[] = "unroll-lm";
static const char config_name[] = "config.json", vocab_name[] = "vocab.json",
                  model_name[] = "model.safetensors";
enum { FORMAT_VERSION = 2, MAX_VOCAB = 1 << 28, DIGEST_SIZE = 17 };

bool lm_run_path(const char *folder, const char *name, char path[PATH_MAX], TensorError *error) {
    if (!*folder) return tensor_error_set(error, "the name of the run folder is empty");
    int n = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    if (n <= 0 || n >= PATH_MAX) return tensor_error_errno(error, folder, ENAMETOOLONG);
    /* A pipe would be waited for, and /dev/zero read for ever. */
    struct stat info;
    bool strange = stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
    return !strange || tensor_error_file(error, path, -1, "is not a regular file");
}

/* ".tmp-PID-N" of a process that has ended: the kernel knows none of this number. */
static bool is_stale(const char *name) {
    static const char prefix[] = ".tmp-";
    int end = 0, pid = 0;
    bool ours = strlen(name) < 32 && strncmp(name, prefix, sizeof prefix - 1) == 0 &&
                sscanf(name, ".tmp-%9d-%*[0-9]%n", &pid, &end) == 1 && end > 0 && !name[end];
    return ours && pid > 0 && kill(pid, 0) != 0 && errno == ESRCH;
}

/* What a process that was killed while it wrote has left behind (tensor/file.h).  One that stays
 * does no harm. */
static void remove_stale(const char *folder) {
    DIR *entries = opendir(folder);
    if (!entries) return;
    for (const struct dirent *e; (e = readdir(entries));)
        if (is_stale(e->d_name)) unlinkat(dirfd(entries), e->d_name, 0);
    closedir(entries);
}

bool lm_run_prepare(const char *folder, TensorError *error) {
    char path[PATH_MAX];
    struct stat info;
    if (!lm_run_path(folder, "", path, error)) return false;
    /* The folders above, one after the other; the path ends in a slash. */
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
        if (!made) return tensor_error_errno(error, path, errno);
        *slash = '/';
    }
    if (stat(path, &info) != 0) return tensor_error_errno(error, folder, errno);
    if (access(path, W_OK | X_OK) != 0) return tensor_error_errno(error, folder, errno);
    remove_stale(path);
    return true;
}

/* ---- what belongs together ---- */

/* Of all tokens in their order, in hexadecimal: tells vocabularies apart (the FNV-1a hash of G.
 * Fowler, L. Noll and K.-P. Vo). */
static void vocab_digest(const DataVocab *vocab, char text[DIGEST_SIZE]) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (int64_t id = 0; id < data_vocab_size(vocab); id++) {
        int64_t n;
        const char *token = data_vocab_token(vocab, id, &n);
        for (int64_t i = 0; i <= n; i++) /* the NUL behind it, too */
            hash = (hash ^ (unsigned char)token[i]) * UINT64_C(1099511628211);
    }
    snprintf(text, DIGEST_SIZE, "%016llx", (unsigned long long)hash);
}

static bool check_vocab(const TensorSafetensors *file, const char *path, const DataVocab *vocab,
                        TensorError *error) {
    char digest[DIGEST_SIZE];
    vocab_digest(vocab, digest);
    const char *theirs = tensor_safetensors_metadata(file, "vocabulary");
    bool same = theirs && strcmp(theirs, digest) == 0;
    if (!theirs) tensor_error_file(error, path, -1, "does not say which vocabulary it belongs to");
    if (theirs && !same)
        tensor_error_file(error, path, -1, "belongs to another vocabulary than vocab.json");
    return same;
}

/* ---- config.json: writing ---- */

/* 15 digits of it, so that the whole file is written with so few (lm_json_save). */
static bool set_real(json_t *object, const char *key, double x) {
    char text[32];
    snprintf(text, sizeof text, "%.15g", x);
    json_t *value = !isfinite(x) ? json_null() : json_real(strtod(text, NULL));
    return json_object_set_new(object, key, value) == 0;
}

static json_t *describe(const LmRun *run) {
    const LmResult *result = &run->result;
    json_t *reached = json_pack("{s:I}", "epoch", (json_int_t)result->epoch);
    bool ok = reached && set_real(reached, "perplexity", result->perplexity) &&
              set_real(reached, "valid_perplexity", result->valid) &&
              set_real(reached, "test_perplexity", result->test);
    if (ok)
        return json_pack("{s:s, s:i, s:I, s:o, s:o}", "format", format_name, "version",
                         FORMAT_VERSION, "vocab", (json_int_t)run->model.config.vocab,
                         "settings", lm_settings_json(&run->settings), "reached", reached);
    json_decref(reached);
    return NULL;
}

bool lm_run_save(const char *folder, const LmRun *run, TensorError *error) {
    char path[PATH_MAX], digest[DIGEST_SIZE];
    vocab_digest(run->vocab, digest);
    NnCheckpoint *model = nn_checkpoint_new();
    nn_checkpoint_add_text(model, "format", format_name);
    nn_checkpoint_add_text(model, "vocabulary", digest);
    nn_checkpoint_add_params(model, "", run->model.set);
    /* The largest first: where it finds no place, the run that was there stays whole. */
    bool ok = lm_run_path(folder, model_name, path, error) &&
              nn_checkpoint_write(model, path, error);
    nn_checkpoint_free(model);
    return ok && lm_run_path(folder, vocab_name, path, error) &&
           data_vocab_save(run->vocab, path, error) &&
           lm_run_path(folder, config_name, path, error) &&
           lm_json_save(describe(run), path, error);
}

/* ---- config.json: reading ---- */

static bool get_real(const json_t *value, double *x) {
    *x = json_is_number(value) ? json_number_value(value) : NAN;
    return json_is_number(value) || json_is_null(value);
}

static bool unpack_reached(json_t *reached, LmResult *r) {
    json_int_t epoch;
    json_t *perplexity, *valid, *test;
    bool ok = json_unpack(reached, "{s:I, s:o, s:o, s:o !}", "epoch", &epoch, "perplexity",
                          &perplexity, "valid_perplexity", &valid, "test_perplexity", &test) == 0;
    if (ok) r->epoch = epoch;
    return ok && epoch >= 0 && get_real(perplexity, &r->perplexity) &&
           get_real(valid, &r->valid) && get_real(test, &r->test);
}

static bool check_format(const json_t *j, const char *path, TensorError *error) {
    const json_t *format = json_object_get(j, "format"), *version = json_object_get(j, "version");
    if (!json_is_string(format) || !json_is_integer(version))
        return tensor_error_file(error, path, -1, "has no format, or no version");
    long long number = json_integer_value(version);
    return (strcmp(json_string_value(format), format_name) == 0 && number == FORMAT_VERSION) ||
           tensor_error_file(error, path, -1, "is %s version %lld, not %s version %d",
                             json_string_value(format), number, format_name, FORMAT_VERSION);
}

static bool unpack_config(json_t *j, const char *path, LmRun *run, TensorError *error) {
    json_int_t vocab;
    json_t *settings, *reached;
    json_error_t why;
    if (!check_format(j, path, error)) return false;
    if (json_unpack_ex(j, &why, 0, "{s:o, s:o, s:I, s:o, s:o !}", "format", &settings, "version",
                       &settings, "vocab", &vocab, "settings", &settings, "reached", &reached) != 0)
        return tensor_error_file(error, path, -1, "%s", why.text);
    if (vocab < 1 || vocab > MAX_VOCAB)
        return tensor_error_file(error, path, -1, "vocab: %lld is out of range", (long long)vocab);
    if (!unpack_reached(reached, &run->result))
        return tensor_error_file(error, path, -1, "reached: an entry is missing, unknown or no "
                                 "number");
    if (!lm_settings_from_json(&run->settings, settings, path, error)) return false;
    run->settings.model.vocab = vocab;
    return run->settings.unit != LM_UNIT_AUTO ||
           tensor_error_file(error, path, -1, "settings: tokens: does not say what they are");
}

static bool load_config(const char *path, LmRun *run, TensorError *error) {
    json_t *j = lm_json_load(path, error);
    bool ok = j && unpack_config(j, path, run, error);
    json_decref(j);
    return ok;
}

/* ---- the vocabulary and the parameters ---- */

static bool load_vocab(const char *path, LmRun *run, TensorError *error) {
    run->vocab = data_vocab_load(path, error);
    if (!run->vocab) return false;
    long long tokens = data_vocab_size(run->vocab), expected = run->settings.model.vocab;
    bool words = data_vocab_kind(run->vocab) == DATA_VOCAB_WORD;
    if (words == (run->settings.unit == DATA_UNIT_CHAR))
        return tensor_error_file(error, path, -1, "is a vocabulary of %s, but config.json is not",
                                 words ? "words" : "characters");
    return tokens == expected ||
           tensor_error_file(error, path, -1, "has %lld tokens, but config.json says %lld", tokens,
                             expected);
}

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

static bool check_finite(const char *path, const NnParamSet *set, TensorError *error) {
    for (int i = 0; i < nn_params_count(set); i++) {
        const NnParam *p = nn_params_at(set, i);
        for (int64_t k = 0; k < tensor_numel(&p->value); k++)
            if (!isfinite(tensor_get(&p->value, k)))
                return tensor_error_file(error, path, -1, "%s holds %g", p->name,
                                         tensor_get(&p->value, k));
    }
    return true;
}

static bool read_parameters(const TensorSafetensors *file, const char *path, LmRun *run,
                            TensorError *error) {
    const LmSettings *s = &run->settings;
    return check_vocab(file, path, run->vocab, error) &&
           (run->model.set ||
            lm_model_init(&run->model, &s->model, (uint64_t)s->seed, error)) &&
           nn_checkpoint_read_params(file, path, "", run->model.set, error) &&
           check_finite(path, run->model.set, error);
}

bool lm_run_load_parameters(const char *folder, LmRun *run, TensorError *error) {
    char path[PATH_MAX];
    TensorSafetensors *file;
    if (!lm_run_path(folder, model_name, path, error) ||
        !check_size(path, &run->settings.model, error) ||
        !nn_checkpoint_open(path, &file, error))
        return false;
    bool ok = read_parameters(file, path, run, error);
    tensor_safetensors_close(file);
    return ok;
}

bool lm_run_load(const char *folder, LmRun *run, TensorError *error) {
    char path[PATH_MAX];
    *run = (LmRun){.settings = lm_settings_default()};
    if (lm_run_path(folder, config_name, path, error) && load_config(path, run, error) &&
        lm_run_path(folder, vocab_name, path, error) && load_vocab(path, run, error) &&
        lm_run_load_parameters(folder, run, error))
        return true;
    lm_run_free(run);
    return false;
}

void lm_run_free(LmRun *run) {
    lm_model_free(&run->model);
    data_vocab_free(run->vocab);
    lm_settings_free(&run->settings);
    *run = (LmRun){.settings = run->settings};
}

/* ---- texts of the user ---- */

/* The first unknown token of a prepared text, or what[0..0). */
static const char *find_unknown(const LmRun *run, const char *text, int64_t n, int *size) {
    bool words = data_vocab_kind(run->vocab) == DATA_VOCAB_WORD;
    int64_t unk = data_vocab_unk(run->vocab);
    for (int64_t at = 0, end; at < n; at = end) {
        uint32_t code;
        end = at + data_utf8_decode(text + at, n - at, &code, NULL);
        if (words && data_utf8_is_space(code)) continue;
        while (words && end < n) {
            int next = data_utf8_decode(text + end, n - end, &code, NULL);
            if (data_utf8_is_space(code)) break;
            end += next;
        }
        *size = (int)(end - at);
        if (data_vocab_id(run->vocab, text + at, end - at) == unk) return text + at;
    }
    *size = 0;
    return text;
}

static bool check_known(const LmRun *run, const char *what, const char *text, int64_t n,
                        TensorError *error) {
    int64_t unk = data_vocab_unk(run->vocab);
    int size;
    if (unk >= 0 && data_vocab_count(run->vocab, unk) > 0) return true;
    const char *token = find_unknown(run, text, n, &size);
    return size == 0 ||
           tensor_error_set(error, "%s: the %s '%.*s' does not occur in the text the model was "
                            "trained on", what,
                            data_vocab_kind(run->vocab) == DATA_VOCAB_WORD ? "word" : "character",
                            size, token);
}

bool lm_run_encode(const LmRun *run, const char *what, const char *text, int64_t n, int64_t **ids,
                   int64_t *count, TensorError *error) {
    const DataTokens tokens = {run->settings.unit, run->settings.clean};
    TensorError why;
    int64_t length;
    *ids = NULL;
    *count = 0;
    DataUtf8Fault fault;
    int64_t bad = data_utf8_invalid(text, n, &fault);
    if (bad >= 0)
        return tensor_error_set(error, "%s: byte %lld: %s", what, (long long)bad,
                                data_utf8_fault_name(fault));
    char *prepared = data_tokens_prepare(&tokens, text, n, &length);
    if (!prepared) return tensor_error_set(error, "out of memory");
    bool ok = check_known(run, what, prepared, length, error);
    if (ok && !data_vocab_encode(run->vocab, prepared, length, ids, count, &why))
        ok = tensor_error_set(error, "%s: %s", what, why.message);
    /* A text that goes on has no line end at its end. */
    bool open_line = length > 0 && prepared[length - 1] != '\n';
    if (ok && open_line && *count > 0 && (*ids)[*count - 1] == data_vocab_eos(run->vocab))
        --*count;
    free(prepared);
    return ok;
}
