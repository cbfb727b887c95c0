/* train_test.c -- training that is stopped, resumed, diverges, or cannot write. */
#define _GNU_SOURCE /* memmem */
#include "examples/lm/train.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/stream.h"
#include "examples/lm/log.h"
#include "examples/support/progress.h"
#include "tensor/safetensors.h"
#include "tests/support/folder.h"

/* ---- what happens at a certain place of a run ----
 *
 * The linker sends the trainer's calls of these two here (--wrap): one follows every update, the
 * other comes before every window of validation and test text. */

void __real_example_progress_step(ExampleProgress *p);
void __wrap_example_progress_step(ExampleProgress *p);
bool __real_data_stream_next(DataStream *s, Tensor *x, Tensor *y);
bool __wrap_data_stream_next(DataStream *s, Tensor *x, Tensor *y);

static volatile sig_atomic_t stop;
static int64_t events_left; /* until `stop` is set; below 0: never */
static int64_t updates, windows;
static int64_t act_at;      /* the update after which act is called */
static void (*act)(void);

static void event(void) {
    if (events_left > 0 && --events_left == 0) stop = SIGINT;
}

void __wrap_example_progress_step(ExampleProgress *p) {
    __real_example_progress_step(p);
    if (++updates == act_at && act) act();
    event();
}

bool __wrap_data_stream_next(DataStream *s, Tensor *x, Tensor *y) {
    windows++;
    event();
    return __real_data_stream_next(s, x, y);
}

static void never_stop(void) {
    stop = 0;
    events_left = -1;
    updates = windows = act_at = 0;
    act = NULL;
}

/* ---- a text, a folder, a run ---- */

static char here[TEST_PATH_SIZE], marker[TEST_PATH_SIZE];

static void setup(void) {
    test_folder_make(marker, "marker");
    test_folder_of(marker, here);
    never_stop();
    cr_assert(freopen("/dev/null", "w", stdout));
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info, (void)kind, (void)place;
    return remove(path);
}

static void teardown(void) { nftw(here, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

TestSuite(lm_train, .init = setup, .fini = teardown);

static const char *in(const char *folder, const char *file) {
    static char path[4][3 * TEST_PATH_SIZE];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s%s%s", here, folder, *file ? "/" : "", file);
    return path[next];
}

enum { TRAIN = 480, VALID = 150, TEST = 100, CHARS = TRAIN + VALID + TEST };

/* Letters that mostly follow each other in one order; those of validation in another one, where
 * `strange`: the better the model of the first, the worse on the second. */
static void make_corpus(DataCorpus *c, int64_t valid, int64_t test, bool strange, unsigned seed) {
    static const char order[] = "abcdefgh ijk\nlm";
    char text[CHARS + 1] = "";
    TensorError error;
    unsigned at = 0;
    for (int i = 0; i < CHARS; i++) {
        seed = seed * 1103515245u + 12345u;
        unsigned step = (seed >> 16) % 5 == 0 ? (seed >> 20) % 15 : 1;
        at = (at + (strange && i >= TRAIN ? 15 - step : step)) % 15;
        text[i] = order[at];
    }
    const DataVocabOptions options = {.kind = DATA_VOCAB_CHAR};
    int64_t count;
    *c = (DataCorpus){.vocab = data_vocab_new(text, CHARS, &options, &error)};
    cr_assert(c->vocab, "%s", error.message);
    cr_assert(data_vocab_encode(c->vocab, text, CHARS, &c->ids, &count, &error));
    cr_assert_eq(count, CHARS);
    c->train = (DataCorpusPart){0, TRAIN, TRAIN};
    c->valid = (DataCorpusPart){TRAIN, valid, valid};
    c->test = (DataCorpusPart){TRAIN + VALID, test, test};
    c->digest = seed;
}

static const char common[] =
    "{'tokens': 'char', 'embedding': 6, 'hidden': 10, 'layers': 2, 'batch': 4, 'steps': 10, "
    "'epochs': 3, 'dropout': 0, 'lr': 0.02, 'eval-batch': 1, 'save-every': 0}";

static void set(LmSettings *s, const char *json) {
    char text[1024];
    TensorError error;
    snprintf(text, sizeof text, "%s", *json ? json : "{}");
    for (char *c = text; *c; c++)
        if (*c == '\'') *c = '"';
    json_t *object = json_loads(text, 0, NULL);
    cr_assert(object, "%s", text);
    cr_assert(lm_settings_from_json(s, object, "here", &error), "%s", error.message);
    json_decref(object);
}

/* One call of lm_train, as the program makes it. */
typedef struct {
    DataCorpus corpus;
    LmRun run;
    TensorError error;
} Job;

static void job_init(Job *j, const char *json, bool valid, bool strange) {
    make_corpus(&j->corpus, valid ? VALID : 0, valid ? TEST : 0, strange, 7);
    j->run = (LmRun){.settings = lm_settings_default(), .vocab = j->corpus.vocab};
    set(&j->run.settings, common);
    set(&j->run.settings, json);
    cr_assert(lm_settings_check(&j->run.settings, &j->error), "%s", j->error.message);
    j->run.settings.model.vocab = data_vocab_size(j->corpus.vocab);
    j->error.message[0] = 0;
}

static LmTrainStatus job_train(Job *j, const char *folder, bool resume) {
    const LmSettings *s = &j->run.settings;
    lm_model_free(&j->run.model);
    cr_assert(lm_model_init(&j->run.model, &s->model, (uint64_t)s->seed, &j->error), "%s",
              j->error.message);
    cr_assert(lm_run_prepare(in(folder, ""), &j->error), "%s", j->error.message);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", in(folder, ""));
    const LmTrainJob job = {.folder = path, .run = &j->run, .corpus = &j->corpus,
                            .resume = resume, .stop = &stop};
    return lm_train(&job, &j->error);
}

static void job_free(Job *j) {
    lm_model_free(&j->run.model);
    lm_settings_free(&j->run.settings);
    data_corpus_free(&j->corpus);
}

/* All of it in one go, with the settings. */
static LmTrainStatus train(const char *folder, const char *json, bool resume) {
    Job j;
    job_init(&j, json, true, false);
    LmTrainStatus status = job_train(&j, folder, resume);
    job_free(&j);
    return status;
}

/* ---- comparing folders ---- */

static char *bytes_of(const char *path, size_t *size) {
    TensorError error;
    char *bytes = tensor_file_read(path, 1 << 24, size, &error);
    cr_assert(bytes, "%s", error.message);
    return bytes;
}

static bool same_bytes(const char *a, const char *b) {
    size_t m, n;
    char *x = bytes_of(a, &m), *y = bytes_of(b, &n);
    bool same = m == n && memcmp(x, y, n) == 0;
    free(x), free(y);
    return same;
}

/* Every tensor and text of checkpoints to the bit, but the seconds (and the settings, where they
 * need not be the same). */
static void same_checkpoint(const char *what, const char *a, const char *b, bool settings) {
    TensorSafetensors *x, *y;
    TensorError error;
    cr_assert(tensor_safetensors_open(in(a, "checkpoint.safetensors"), &x, &error));
    cr_assert(tensor_safetensors_open(in(b, "checkpoint.safetensors"), &y, &error));
    cr_assert_eq(tensor_safetensors_count(x), tensor_safetensors_count(y), "%s", what);
    for (int64_t i = 0; i < tensor_safetensors_count(x); i++) {
        const char *name = tensor_safetensors_entry(x, i)->name;
        Tensor s, t;
        cr_assert(tensor_safetensors_get(x, name, &s, &error));
        cr_assert(tensor_safetensors_get(y, name, &t, &error), "%s: %s", what, error.message);
        cr_assert_eq(tensor_numel(&s), tensor_numel(&t), "%s: %s", what, name);
        for (int64_t k = 0; k < tensor_numel(&s); k++) {
            if (strcmp(name, "train.reals") == 0 && k == 1) continue; /* seconds */
            double p = tensor_get(&s, k), q = tensor_get(&t, k);
            cr_assert(p == q || (isnan(p) && isnan(q)), "%s: %s[%lld] is %.17g, not %.17g", what,
                      name, (long long)k, q, p);
        }
    }
    const char *left = tensor_safetensors_metadata(x, "settings"),
               *right = tensor_safetensors_metadata(y, "settings");
    cr_assert(!settings || strcmp(left, right) == 0, "%s: %s\n%s", what, left, right);
    tensor_safetensors_close(x);
    tensor_safetensors_close(y);
}

static int64_t read_log(const char *folder, LmLogRow **rows) {
    int64_t count;
    TensorError error;
    cr_assert(lm_log_read(in(folder, ""), rows, &count, &error), "%s", error.message);
    return count;
}

static bool same_real(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

static void same_log(const char *what, const char *a, const char *b) {
    LmLogRow *x, *y;
    int64_t m = read_log(a, &x), n = read_log(b, &y);
    cr_assert_eq(m, n, "%s: %lld rows, not %lld", what, (long long)n, (long long)m);
    for (int64_t i = 0; i < n; i++)
        cr_assert(x[i].epoch == y[i].epoch && x[i].step == y[i].step &&
                      x[i].tokens == y[i].tokens && same_real(x[i].loss, y[i].loss) &&
                      same_real(x[i].valid_perplexity, y[i].valid_perplexity) &&
                      same_real(x[i].lr, y[i].lr) && same_real(x[i].grad_norm, y[i].grad_norm) &&
                      y[i].seconds >= 0 && (i == 0 || y[i].seconds >= y[i - 1].seconds),
                  "%s: row %lld of the log", what, (long long)i);
    free(x), free(y);
}

static void same_run(const char *what, const char *a, const char *b, bool settings) {
    cr_assert(same_bytes(in(a, "model.safetensors"), in(b, "model.safetensors")), "%s: model",
              what);
    cr_assert(same_bytes(in(a, "vocab.json"), in(b, "vocab.json")), "%s: vocabulary", what);
    cr_assert(!settings || same_bytes(in(a, "config.json"), in(b, "config.json")),
              "%s: config.json", what);
    same_checkpoint(what, a, b, settings);
    same_log(what, a, b);
}

/* ---- stopped and resumed ---- */

typedef struct {
    const char *name, *json;
    bool no_valid, strange;
} Case;

static const Case cases[] = {
    {"sgd", "{'optimizer': 'sgd', 'lr': 0.5, 'momentum': 0.9}", false, false},
    {"asgd", "{'optimizer': 'asgd', 'lr': 1, 'nonmonotone': 0}", false, false},
    {"asgd, triggered", "{'optimizer': 'asgd', 'lr': 4, 'nonmonotone': 1, 'epochs': 6}", false,
     true},
    {"adam", "{'optimizer': 'adam'}", false, false},
    {"adamw", "{'optimizer': 'adamw', 'weight-decay': 0.1}", false, false},
    {"rmsprop", "{'optimizer': 'rmsprop', 'lr': 0.005, 'momentum': 0.5}", false, false},
    {"adagrad", "{'optimizer': 'adagrad'}", false, false},
    {"adadelta", "{'optimizer': 'adadelta', 'lr': 1, 'weight-decay': 1e-4}", false, false},
    {"exponential", "{'schedule': 'exponential', 'hold': 1}", false, false},
    {"step", "{'schedule': 'step', 'every': 2, 'factor': 0.1}", false, false},
    {"plateau", "{'schedule': 'plateau', 'epochs': 5, 'lr': 0.1}", false, true},
    {"cosine, warmup", "{'schedule': 'cosine', 'warmup': 5}", false, false},
    {"linear, hold", "{'schedule': 'linear', 'hold': 1}", false, false},
    {"one-cycle, adam", "{'schedule': 'one-cycle'}", false, false},
    {"one-cycle, sgd", "{'schedule': 'one-cycle', 'optimizer': 'sgd', 'momentum': 0.5}", false,
     false},
    {"accumulate", "{'accumulate': 3}", false, false},
    {"random steps", "{'random-steps': true}", false, false},
    {"random steps, accumulate", "{'random-steps': true, 'accumulate': 2}", false, false},
    {"dropout", "{'dropout': 0.4}", false, false},
    {"locked", "{'dropout': 0.4, 'locked': true}", false, false},
    {"weight drop", "{'weight-drop': 0.4}", false, false},
    {"embedding dropout", "{'embedding-dropout': 0.3}", false, false},
    {"tied", "{'tied': true, 'dropout-hidden': 0.2}", false, false},
    {"penalties", "{'alpha': 2, 'beta': 1, 'dropout': 0.1}", false, false},
    {"one-hot", "{'embedding': 0, 'reduction': 'row'}", false, false},
    {"early stopping", "{'early-stop': 2, 'epochs': 9, 'lr': 0.1}", false, true},
    {"workers", "{'workers': 2, 'batch': 2, 'dropout': 0.3}", false, false},
    {"no validation", "{'dropout': 0.1}", true, false},
    {"no validation, asgd", "{'optimizer': 'asgd', 'lr': 1}", true, false},
    {"rows of the log", "{'log-every': 3}", false, false},
    {"rows of the log, accumulate", "{'log-every': 2, 'accumulate': 3}", false, false},
    {"same offset", "{'fixed-offset': true}", false, false},
    {"seed, clip off", "{'seed': 9000000000000000, 'clip': 0}", false, false},
};
enum { CASES = sizeof cases / sizeof *cases, LEGS = 400 };

/* Stops after 1 event, goes on, stops after 2 more, ..., up to `most`, and from 1 again, until
 * nothing is left to do.  An event is an update or a window of text that is measured. */
static int64_t train_in_legs(const Case *c, const char *folder, int64_t most) {
    Job j;
    int64_t legs = 0;
    LmTrainStatus status = LM_TRAIN_STOPPED;
    job_init(&j, c->json, !c->no_valid, c->strange);
    for (; status == LM_TRAIN_STOPPED; legs++) {
        cr_assert_lt(legs, LEGS, "%s: no end", c->name);
        never_stop();
        events_left = 1 + legs % most;
        status = job_train(&j, folder, legs > 0);
    }
    cr_assert_eq(status, LM_TRAIN_DONE, "%s: %s", c->name, j.error.message);
    job_free(&j);
    never_stop();
    return legs;
}

static void check_legs(const Case *c) {
    Job j;
    job_init(&j, c->json, !c->no_valid, c->strange);
    cr_assert_eq(job_train(&j, "whole", false), LM_TRAIN_DONE, "%s: %s", c->name, j.error.message);
    /* Measuring valid or test text takes 4 events at most. */
    cr_assert_gt(train_in_legs(c, "legs", 5), 5, "%s", c->name);
    same_run(c->name, "whole", "legs", true);
    cr_assert_gt(train_in_legs(c, "long", 13), 2, "%s", c->name);
    same_run(c->name, "whole", "long", true);
    job_free(&j);
}

Test(lm_train, stopped_at_any_place_and_resumed_it_gives_the_bits_of_a_run_never_stopped,
     .timeout = 120) {
    for (int i = 0; i < CASES; i++) check_legs(&cases[i]);
}

Test(lm_train, what_the_cases_are_about_does_happen) {
    Job j;
    LmLogRow *rows;
    job_init(&j, cases[2].json, true, true);
    cr_assert_eq(job_train(&j, "asgd", false), LM_TRAIN_DONE, "%s", j.error.message);
    TensorSafetensors *file;
    Tensor averaging;
    cr_assert(tensor_safetensors_open(in("asgd", "checkpoint.safetensors"), &file, NULL));
    cr_assert(tensor_safetensors_get(file, "optim.averaging", &averaging, NULL));
    cr_assert_eq(tensor_get(&averaging, 0), 1, "asgd never began to average");
    tensor_safetensors_close(file);
    job_free(&j);
    job_init(&j, cases[10].json, true, true);
    cr_assert_eq(job_train(&j, "plateau", false), LM_TRAIN_DONE, "%s", j.error.message);
    int64_t n = read_log("plateau", &rows);
    cr_assert_lt(rows[n - 1].lr, 0.1, "the plateau never came");
    free(rows);
    job_free(&j);
}

Test(lm_train, a_run_that_is_done_goes_on_with_more_epochs) {
    cr_assert_eq(train("whole", "{'epochs': 4, 'dropout': 0.2}", false), LM_TRAIN_DONE);
    cr_assert_eq(train("more", "{'epochs': 2, 'dropout': 0.2}", false), LM_TRAIN_DONE);
    cr_assert_eq(train("more", "{'epochs': 2, 'dropout': 0.2}", true), LM_TRAIN_DONE);
    cr_assert_eq(train("more", "{'epochs': 4, 'dropout': 0.2}", true), LM_TRAIN_DONE);
    same_run("more epochs", "whole", "more", false);
}

Test(lm_train, a_run_that_early_stopping_ended_goes_on_with_more_patience) {
    Job j;
    job_init(&j, "{'early-stop': 1, 'epochs': 5, 'lr': 0.1}", true, true);
    cr_assert_eq(job_train(&j, "run", false), LM_TRAIN_DONE, "%s", j.error.message);
    LmLogRow *rows;
    int64_t before = read_log("run", &rows);
    free(rows);
    cr_assert_lt(before, 5, "early stopping did not end the run");
    j.run.settings.early_stop = 0;
    cr_assert_eq(job_train(&j, "run", true), LM_TRAIN_DONE, "%s", j.error.message);
    cr_assert_eq(read_log("run", &rows), 5);
    free(rows);
    job_free(&j);
}

Test(lm_train, another_number_of_workers_with_the_same_rows_goes_on_with_the_same_up_to_rounding) {
    static const char one[] = "{'workers': 1, 'batch': 4, 'dropout': 0.3, 'weight-drop': 0.2}",
                      two[] = "{'workers': 2, 'batch': 2, 'dropout': 0.3, 'weight-drop': 0.2}";
    cr_assert_eq(train("whole", one, false), LM_TRAIN_DONE);
    events_left = 14;
    cr_assert_eq(train("both", one, false), LM_TRAIN_STOPPED);
    never_stop();
    cr_assert_eq(train("both", two, true), LM_TRAIN_DONE);
    LmRun a, b;
    TensorError error;
    cr_assert(lm_run_load(in("whole", ""), &a, &error), "%s", error.message);
    cr_assert(lm_run_load(in("both", ""), &b, &error), "%s", error.message);
    for (int i = 0; i < nn_params_count(a.model.set); i++) {
        Tensor x = nn_params_at(a.model.set, i)->value, y = nn_params_at(b.model.set, i)->value;
        for (int64_t k = 0; k < tensor_numel(&x); k++)
            cr_assert_float_eq(tensor_get(&x, k), tensor_get(&y, k), 1e-3, "parameter %d", i);
    }
    lm_run_free(&a);
    lm_run_free(&b);
}

/* ---- what cannot be resumed ---- */

static void write_bytes(const char *path, const char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, "%s", path);
}

static void refused(Job *j, const char *folder, const char *word) {
    cr_assert_eq(job_train(j, folder, true), LM_TRAIN_FAILED, "%s", word);
    cr_assert(strstr(j->error.message, "checkpoint.safetensors") &&
                  strstr(j->error.message, word) && !strchr(j->error.message, '\n'),
              "not '%s': %s", word, j->error.message);
}

Test(lm_train, what_does_not_fit_the_checkpoint_is_refused_by_name_and_reason) {
    static const struct {
        const char *json, *word;
    } others[] = {
        {"{'hidden': 11}", "lstm"},       {"{'layers': 3}", "lstm"},
        {"{'layers': 1}", "lstm"},        {"{'embedding': 7}", "embedding"},
        {"{'embedding': 0}", "lstm"},     {"{'tied': true}", ""},
        {"{'optimizer': 'sgd'}", "adam"}, {"{'optimizer': 'adamw'}", "adam"},
        {"{'batch': 5}", "state"},        {"{'batch': 4, 'workers': 2}", "state"},
    };
    Job j;
    size_t n;
    cr_assert_eq(train("run", "", false), LM_TRAIN_DONE);
    char *bytes = bytes_of(in("run", "checkpoint.safetensors"), &n);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        job_init(&j, others[i].json, true, false);
        refused(&j, "run", others[i].word);
        job_free(&j);
    }
    job_init(&j, "", true, false);
    j.corpus.digest++;
    refused(&j, "run", "another text");
    j.corpus.digest--;
    refused(&j, "empty", "No such file");
    size_t now;
    char *after = bytes_of(in("run", "checkpoint.safetensors"), &now);
    cr_assert(now == n && memcmp(bytes, after, n) == 0, "a refusal changed the checkpoint");
    free(after);
    for (size_t cut = 0; cut < n; cut += cut < 4000 ? 97 : 997) {
        write_bytes(in("run", "checkpoint.safetensors"), bytes, cut);
        refused(&j, "run", "");
    }
    free(bytes);
    job_free(&j);
}

/* The numbers of a tensor in the bytes of a file, which are wherever the file says. */
static char *numbers_in(const char *path, const char *name, char *bytes, size_t n,
                        int64_t *count) {
    TensorSafetensors *file;
    Tensor x;
    cr_assert(tensor_safetensors_open(path, &file, NULL));
    cr_assert(tensor_safetensors_get(file, name, &x, NULL));
    *count = tensor_numel(&x);
    char *place = memmem(bytes, n, x.data, (size_t)*count * 8);
    tensor_safetensors_close(file);
    cr_assert(place, "%s", name);
    return place;
}

/* A file that was changed by who knows the format: without the digest, which would tell. */
static char *bytes_without_digest(const char *path, size_t *n) {
    char *bytes = bytes_of(path, n), *key = memmem(bytes, *n, "\"digest\"", 8);
    if (key) key[1] = 'D';
    return bytes;
}

/* Every number of the tensor in turn is x: refused, if `which` has a bit for it. */
static void refuses_number(Job *j, const char *name, const void *x, unsigned which) {
    size_t n, logged, now;
    int64_t count;
    char old[8], *bytes = bytes_without_digest(in("run", "checkpoint.safetensors"), &n);
    char *log = bytes_of(in("run", "log.csv"), &logged);
    char *place = numbers_in(in("run", "checkpoint.safetensors"), name, bytes, n, &count);
    for (int64_t i = 0; i < count; i++) {
        if (!(which >> i & 1)) continue;
        memcpy(old, place + 8 * i, 8);
        memcpy(place + 8 * i, x, 8);
        write_bytes(in("run", "checkpoint.safetensors"), bytes, n);
        refused(j, "run", "checkpoint.safetensors");
        cr_assert(!strstr(j->error.message, "damaged"), "%s", j->error.message);
        char *after = bytes_of(in("run", "log.csv"), &now);
        cr_assert(now == logged && memcmp(after, log, now) == 0, "%s[%lld]", name, (long long)i);
        free(after);
        memcpy(place + 8 * i, old, 8);
    }
    write_bytes(in("run", "checkpoint.safetensors"), bytes, n);
    free(bytes);
    free(log);
}

Test(lm_train, a_checkpoint_with_numbers_that_cannot_be_is_refused_and_changes_nothing) {
    /* averaging (6) of adam cannot be, either; results (12 to 14 of the reals) may be NaN. */
    const int64_t none = -1, many = INT64_MAX, least = INT64_MIN, much = (int64_t)1 << 54;
    const double nan = NAN, infinite = INFINITY, huge = 1e300, negative = -1;
    /* The best so far (0, 3) may be infinite; sums of losses (4, 8) and log best (3) negative. */
    const unsigned ints = 0xfff, reals = 0xfff, no_infinity = reals & ~0x009u,
                   too_large = 0xdd4, no_negative = reals & ~0x118u;
    Job j;
    cr_assert_eq(train("run", "{'epochs': 1}", false), LM_TRAIN_DONE);
    job_init(&j, "{'epochs': 2}", true, false);
    refuses_number(&j, "train.ints", &none, ints);
    refuses_number(&j, "train.ints", &many, ints);
    refuses_number(&j, "train.ints", &least, ints);
    refuses_number(&j, "train.ints", &much, ints);
    refuses_number(&j, "train.reals", &nan, reals);
    refuses_number(&j, "train.reals", &infinite, no_infinity);
    refuses_number(&j, "train.reals", &huge, too_large);
    refuses_number(&j, "train.reals", &negative, no_negative);
    cr_assert_eq(job_train(&j, "run", true), LM_TRAIN_DONE, "%s", j.error.message);
    job_free(&j);
}

/* ---- rates ---- */

enum { WINDOWS = 11 }; /* of an epoch: (TRAIN - 1) / 4 rows, 10 steps each */

static double cosine(double t) { return (1 + cos(M_PI * t / (3.0 * WINDOWS))) / 2; }
static double linear_after_1(double t) {
    return t < WINDOWS ? 1 : 1 - (t - WINDOWS) / (2.0 * WINDOWS);
}
static double halves(double t) { return pow(0.5, floor(t / WINDOWS)); }
static double halves_after_2(double t) {
    double epoch = floor(t / WINDOWS);
    return epoch < 2 ? 1 : pow(0.5, epoch - 1);
}
static double step_of_2(double t) { return t < 2 * WINDOWS ? 1 : 0.1; }
static double same(double t) { return t * 0 + 1; }
static double warm(double t) { return t < 5 ? (t + 1) / 5 : 1; }
static double one_cycle(double t) {
    double total = 3.0 * WINDOWS, up = 0.3 * total - 1, down = total - 1 - up;
    double p = t <= up ? t / up : (t - up) / down;
    double from = t <= up ? 1 / 25. : 1, to = t <= up ? 1 : 1 / 25. / 1e4;
    return to + (from - to) / 2 * (1 + cos(M_PI * p));
}

Test(lm_train, the_rate_of_every_update_follows_the_formula) {
    static const struct {
        const char *json;
        double (*share)(double t);
    } list[] = {
        {"{'schedule': 'constant'}", same},
        {"{'schedule': 'cosine'}", cosine},
        {"{'schedule': 'linear', 'hold': 1}", linear_after_1},
        {"{'schedule': 'exponential'}", halves},
        {"{'schedule': 'exponential', 'hold': 2}", halves_after_2},
        {"{'schedule': 'step', 'every': 2, 'factor': 0.1}", step_of_2},
        {"{'warmup': 5}", warm},
        {"{'schedule': 'one-cycle'}", one_cycle},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        Job j;
        LmLogRow *rows;
        job_init(&j, list[i].json, true, false);
        set(&j.run.settings, "{'log-every': 1, 'fixed-offset': true}");
        cr_assert_eq(job_train(&j, "run", false), LM_TRAIN_DONE, "%s", j.error.message);
        int64_t n = read_log("run", &rows);
        int64_t t = 0;
        for (int64_t k = 0; k < n; k++) {
            if (rows[k].step == t) continue; /* the row of the epoch, of no more updates */
            cr_assert_float_eq(rows[k].lr, 0.02 * list[i].share((double)t), 1e-12,
                               "%s: %.17g in update %lld", list[i].json, rows[k].lr, (long long)t);
            cr_assert_eq(rows[k].step, ++t);
        }
        cr_assert_eq(t, 3 * WINDOWS);
        free(rows);
        job_free(&j);
    }
}

Test(lm_train, every_epoch_has_a_row_with_its_validation_perplexity) {
    static const char *const settings[] = {"{'log-every': 1}", "{'log-every': 11}",
                                           "{'log-every': 4}", "{}"};
    for (int i = 0; i < 4; i++) {
        Job j;
        LmLogRow *rows;
        int64_t measured = 0, last = 0;
        job_init(&j, settings[i], true, false);
        cr_assert_eq(job_train(&j, "run", false), LM_TRAIN_DONE, "%s", j.error.message);
        int64_t n = read_log("run", &rows);
        for (int64_t k = 0; k < n; k++) {
            cr_assert_geq(rows[k].step, last);
            cr_assert(rows[k].loss > 0 && rows[k].grad_norm > 0 && isfinite(rows[k].grad_norm));
            last = rows[k].step;
            measured += !isnan(rows[k].valid_perplexity);
        }
        cr_assert_eq(measured, 3, "%s: %lld of 3 epochs", settings[i], (long long)measured);
        free(rows);
        job_free(&j);
    }
}

Test(lm_train, tokens_per_second_of_a_row_count_the_time_before_a_stop_too) {
    Job j;
    LmLogRow *rows;
    job_init(&j, "{'epochs': 2}", true, false);
    for (int leg = 0; leg < 3; leg++) {
        never_stop();
        events_left = leg < 2 ? 10 : -1;
        cr_assert_eq(job_train(&j, "run", leg > 0), leg < 2 ? LM_TRAIN_STOPPED : LM_TRAIN_DONE);
    }
    int64_t n = read_log("run", &rows);
    cr_assert_eq(n, 2);
    for (int64_t i = 0; i < n; i++) {
        double tokens = (double)(rows[i].tokens - (i > 0 ? rows[i - 1].tokens : 0));
        double rate = tokens / (rows[i].seconds - (i > 0 ? rows[i - 1].seconds : 0));
        cr_assert_float_eq(rows[i].tokens_per_second, rate, 1e-9 * rate, "row %lld: %g, not %g",
                           (long long)i, rows[i].tokens_per_second, rate);
    }
    free(rows);
    job_free(&j);
}

/* ---- early stopping, the best model ---- */

/* Element 0 of a tensor of FOLDER/FILE. */
static double first_of(const char *folder, const char *file, const char *name) {
    TensorSafetensors *open;
    TensorError error;
    Tensor x;
    cr_assert(tensor_safetensors_open(in(folder, file), &open, &error), "%s", error.message);
    cr_assert(tensor_safetensors_get(open, name, &x, &error), "%s", error.message);
    double value = tensor_get(&x, 0);
    tensor_safetensors_close(open);
    return value;
}

Test(lm_train, asgd_saves_its_averages_also_when_it_is_stopped_in_the_first_epoch) {
    events_left = 5;
    cr_assert_eq(train("run", "{'optimizer': 'asgd', 'lr': 1}", false), LM_TRAIN_STOPPED);
    double saved = first_of("run", "model.safetensors", "out.bias");
    cr_assert_eq(saved, first_of("run", "checkpoint.safetensors", "optim.out.bias.ax"));
    cr_assert_neq(saved, first_of("run", "checkpoint.safetensors", "model.out.bias"));
}

Test(lm_train, early_stopping_ends_in_time_and_the_best_epochs_model_is_kept) {
    Job j;
    LmLogRow *rows;
    job_init(&j, "{'early-stop': 2, 'epochs': 20, 'lr': 0.1, 'eval-batch': 3}", true, true);
    cr_assert_eq(job_train(&j, "run", false), LM_TRAIN_DONE, "%s", j.error.message);
    int64_t n = read_log("run", &rows), best = 0;
    for (int64_t i = 1; i < n; i++)
        if (rows[i].valid_perplexity < rows[best].valid_perplexity) best = i;
    cr_assert_eq(n, best + 1 + 2, "%lld epochs, the best is %lld", (long long)n,
                 (long long)best + 1);
    cr_assert_lt(n, 20);
    LmRun run;
    TensorError error;
    cr_assert(lm_run_load(in("run", ""), &run, &error), "%s", error.message);
    cr_assert_eq(run.result.epoch, best + 1);
    AgTape *t = ag_tape_new();
    const DataCorpus *c = &j.corpus;
    double valid = lm_perplexity(&run.model, t, c->ids + c->valid.first, c->valid.count, 3, &error);
    double test = lm_perplexity(&run.model, t, c->ids + c->test.first, c->test.count, 1, &error);
    cr_assert_float_eq(run.result.valid, valid, 1e-12 * valid);
    cr_assert_float_eq(run.result.valid, rows[best].valid_perplexity, 1e-12 * valid);
    cr_assert_float_eq(run.result.test, test, 1e-12 * test);
    cr_assert_eq(j.run.result.epoch, best + 1);
    cr_assert_float_eq(run.result.perplexity, rows[best].perplexity, 1e-9 * valid);
    ag_tape_free(t);
    lm_run_free(&run);
    free(rows);
    job_free(&j);
}

Test(lm_train, perplexity_is_that_of_the_sum_over_all_tokens_and_refuses_one_token) {
    Job j;
    TensorError error;
    job_init(&j, "", true, false);
    cr_assert(lm_model_init(&j.run.model, &j.run.settings.model, 1, &j.error));
    AgTape *t = ag_tape_new();
    const int64_t *ids = j.corpus.ids, n = 139; /* two windows of 64 and one of 10 */
    NnState *state = nn_state_new(TENSOR_F32);
    double sum = 0;
    ag_tape_training(t, false);
    for (int64_t i = 0; i + 1 < n; i++) {
        int64_t one[] = {1, 1};
        Tensor x = tensor_wrap((void *)(ids + i), TENSOR_I64, 2, one);
        ag_tape_reset(t);
        AgVar logits = lm_model_forward(&j.run.model, state, ag_input(t, &x));
        const Tensor *y = ag_value(ag_log_softmax(logits, 2));
        sum -= tensor_get(y, ids[i + 1]);
    }
    double expected = exp(sum / (double)(n - 1));
    ag_tape_training(t, true);
    double got = lm_perplexity(&j.run.model, t, ids, n, 1, &error);
    cr_assert_float_eq(got, expected, 1e-5 * expected, "%g, not %g", got, expected);
    cr_assert(ag_tape_is_training(t), "the tape's mode is the caller's");
    for (int64_t k = 0; k < 2; k++)
        cr_assert(isnan(lm_perplexity(&j.run.model, t, ids, k, 1, &error)) && *error.message);
    cr_assert(!isnan(lm_perplexity(&j.run.model, t, ids, 2, 8, &error)));
    nn_state_free(state);
    ag_tape_free(t);
    job_free(&j);
}

/* ---- divergence ---- */

static Job *poisoned;
static const char *poison_name;
static double poison;

/* The files as they were when the poison was given. */
static const char *const kept[] = {"model.safetensors", "checkpoint.safetensors", "config.json",
                                   "vocab.json", "log.csv", "log.jsonl"};

static void keep(void) {
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        size_t n;
        char *bytes = bytes_of(in("run", kept[i]), &n);
        write_bytes(in("kept", kept[i]), bytes, n);
        free(bytes);
    }
}

static void give_poison(void) {
    NnParam *p = nn_params_find(poisoned->run.model.set, poison_name);
    cr_assert(p, "%s", poison_name);
    for (int64_t i = 0; i < tensor_numel(&p->value); i++)
        tensor_set(&p->value, i, isfinite(poison) ? poison * (double)(i % 3 - 1) : poison);
    keep();
}

static void diverges(const char *json, const char *name, double value, int64_t at, const char *op,
                     const char *scope) {
    Job j;
    TensorError error;
    job_init(&j, json, true, false);
    never_stop();
    cr_assert(lm_run_prepare(in("kept", ""), &error));
    poisoned = &j, poison_name = name, poison = value, act = give_poison, act_at = at;
    cr_assert_eq(job_train(&j, "run", false), LM_TRAIN_DIVERGED, "%s = %g in %s: %s", name, value,
                 json, j.error.message);
    cr_assert(strstr(j.error.message, op) && strstr(j.error.message, scope) &&
                  !strchr(j.error.message, '\n'),
              "%s = %g in %s: no %s, %s: %s", name, value, json, op, scope, j.error.message);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        cr_assert(same_bytes(in("run", kept[i]), in("kept", kept[i])), "%s was changed", kept[i]);
    job_free(&j);
}

Test(lm_train, divergence_names_op_and_scope_and_leaves_the_files) {
    diverges("", "out.bias", NAN, 15, "parameter", "out.bias");
    diverges("", "embedding.weight", NAN, 15, "embedding", "");
    diverges("{'workers': 2, 'batch': 2}", "out.weight", NAN, 15, "", "out");
    diverges("{'accumulate': 3}", "lstm.weight_hh_l0", NAN, 6, "", "lstm");
    diverges("{'accumulate': 3, 'fixed-offset': true}", "out.weight", INFINITY, 7, "", "out");
    diverges("", "out.weight", 3e38, 15, "linear_cross_entropy", "out.weight");
    diverges("{'optimizer': 'asgd', 'lr': 1}", "lstm.bias_ih_l1", INFINITY, 15, "", "");
}

Test(lm_train, a_gradient_beyond_the_limit_names_its_parameter) {
    diverges("{'norm-limit': 30}", "out.weight", 100, 15, "--norm-limit 30; ", " of it in lstm.");
    Job j;
    job_init(&j, "{'norm-limit': 1e-9}", true, false);
    cr_assert_eq(job_train(&j, "first", false), LM_TRAIN_DIVERGED);
    cr_assert(strstr(j.error.message, "--norm-limit 1e-09"), "%s", j.error.message);
    job_free(&j);
}

Test(lm_train, a_loss_whose_exp_is_no_number_is_divergence) {
    Job j;
    job_init(&j, "{'optimizer': 'sgd', 'lr': 1e6, 'clip': 0, 'norm-limit': 1e300, 'epochs': 9}",
             true, false);
    cr_assert_eq(job_train(&j, "run", false), LM_TRAIN_DIVERGED, "%s", j.error.message);
    cr_assert(*j.error.message && !strchr(j.error.message, '\n'), "%s", j.error.message);
    job_free(&j);
}

static void make_bias_large(void) {
    NnParam *p = nn_params_find(poisoned->run.model.set, "out.bias");
    for (int64_t i = 0; i < tensor_numel(&p->value); i++)
        tensor_set(&p->value, i, 1e4 * (double)(i % 2));
}

Test(lm_train, a_test_perplexity_that_is_no_finite_number_is_divergence) {
    Job j;
    job_init(&j, "{'fixed-offset': true, 'epochs': 1}", true, false);
    j.corpus.valid.count = 0;
    poisoned = &j, act = make_bias_large, act_at = 11;
    cr_assert_eq(job_train(&j, "run", false), LM_TRAIN_DIVERGED, "%s", j.error.message);
    cr_assert(strstr(j.error.message, "test text"), "%s", j.error.message);
    job_free(&j);
}

/* ---- files that cannot be written ---- */

static void no_temporaries(const char *folder) {
    char command[4 * TEST_PATH_SIZE];
    snprintf(command, sizeof command, "ls -A '%s' | grep -q '^\\.tmp'", in(folder, ""));
    cr_assert_neq(system(command), 0, "temporary files are left");
}

static void fails_with(Job *j, const char *folder, const char *word) {
    cr_assert_eq(job_train(j, folder, false), LM_TRAIN_FAILED, "%s", word);
    cr_assert(strstr(j->error.message, word) && !strchr(j->error.message, '\n'), "not %s: %s", word,
              j->error.message);
    no_temporaries(folder);
}

static const char *block_name;
static void block(void) {
    remove(in("run", block_name));
    cr_assert_eq(mkdir(in("run", block_name), 0777), 0);
}

Test(lm_train, a_file_that_cannot_be_written_ends_training_with_one_line) {
    static const char *const names[] = {"model.safetensors", "checkpoint.safetensors",
                                        "config.json", "vocab.json"};
    for (int i = 0; i < 4; i++) {
        Job j;
        job_init(&j, "", true, false);
        never_stop();
        block_name = names[i], act = block, act_at = 5;
        fails_with(&j, "run", names[i]);
        /* From the start, too. */
        cr_assert_eq(mkdir(in("start", ""), 0777) == 0 || i > 0, true);
        never_stop();
        cr_assert_eq(rmdir(in("run", names[i])), 0);
        job_free(&j);
    }
}

Test(lm_train, a_file_that_was_a_folder_from_the_start_is_refused) {
    static const char *const names[] = {"checkpoint.safetensors", "log.csv", "log.jsonl"};
    for (int i = 0; i < 3; i++) {
        Job j;
        job_init(&j, "", true, false);
        cr_assert(lm_run_prepare(in("run", ""), &j.error));
        cr_assert_eq(mkdir(in("run", names[i]), 0777), 0);
        fails_with(&j, "run", names[i]);
        cr_assert_eq(rmdir(in("run", names[i])), 0);
        job_free(&j);
    }
}

static void fill_disk(void) {
    keep();
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){700, RLIM_INFINITY}), 0);
}

/* 700 bytes are enough for the log, but not for the other files. */
Test(lm_train, a_full_disk_leaves_the_old_files_whole) {
    Job j;
    TensorError error;
    LmCheckpoint checkpoint;
    LmSettings s = lm_settings_default();
    job_init(&j, "", true, false);
    cr_assert(lm_run_prepare(in("kept", ""), &error));
    act = fill_disk, act_at = 15;
    fails_with(&j, "run", "File too large");
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}), 0);
    for (int i = 0; i < 4; i++)
        cr_assert(same_bytes(in("run", kept[i]), in("kept", kept[i])), "%s was changed", kept[i]);
    cr_assert(lm_checkpoint_read(in("run", ""), &checkpoint, &s, &error), "%s", error.message);
    cr_assert(checkpoint.found && !checkpoint.done && checkpoint.epoch == 2);
    lm_settings_free(&s);
    never_stop();
    cr_assert_eq(job_train(&j, "run", true), LM_TRAIN_DONE, "%s", j.error.message);
    cr_assert_eq(train("whole", "", false), LM_TRAIN_DONE);
    same_run("after a full disk", "whole", "run", true);
    job_free(&j);
}

/* ---- the rest ---- */

Test(lm_train, a_text_too_short_for_its_rows_is_refused) {
    Job j;
    job_init(&j, "{'batch': 100}", true, false);
    cr_assert_eq(job_train(&j, "run", false), LM_TRAIN_FAILED);
    cr_assert(*j.error.message && !strchr(j.error.message, '\n'), "%s", j.error.message);
    job_free(&j);
}

Test(lm_train, what_waits_for_validation_is_refused_where_the_corpus_has_no_such_text) {
    static const char *const settings[] = {"{'schedule': 'plateau'}", "{'early-stop': 2}",
                                           "{'optimizer': 'asgd', 'nonmonotone': 3}"};
    for (int i = 0; i < 3; i++) {
        Job j;
        job_init(&j, settings[i], true, false);
        j.corpus.valid.count = 0;
        cr_assert_eq(job_train(&j, "run", false), LM_TRAIN_FAILED, "%s", settings[i]);
        cr_assert(strstr(j.error.message, "validate"), "%s", j.error.message);
        job_free(&j);
    }
}

Test(lm_train, a_folder_tells_what_its_checkpoint_is) {
    LmCheckpoint c;
    LmSettings s = lm_settings_default();
    TensorError error;
    cr_assert(lm_checkpoint_read(in("none", ""), &c, &s, &error) && !c.found);
    events_left = 14;
    cr_assert_eq(train("run", "{'lr': 0.0123}", false), LM_TRAIN_STOPPED);
    cr_assert(lm_checkpoint_read(in("run", ""), &c, &s, &error), "%s", error.message);
    cr_assert(c.found && !c.done && c.epoch == 1 && s.lr == 0.0123 && s.epochs == 3);
    never_stop();
    cr_assert_eq(train("run", "{'lr': 0.0123}", true), LM_TRAIN_DONE);
    lm_settings_free(&s);
    cr_assert(lm_checkpoint_read(in("run", ""), &c, &s, &error), "%s", error.message);
    cr_assert(c.found && c.done && c.epoch == 4);
    lm_settings_free(&s);
}
