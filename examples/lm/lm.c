/* lm.c -- a recurrent language model: trains one, writes text with it, measures and shows it.
 *
 *     lm                    trains on a short story that ships with the program
 *     lm train --text FILE  trains on a text of yours
 *     lm generate           writes more text with a trained model
 *     lm score, inspect, trace, plot: docs/lm.md tells all
 *
 * Exit status: examples/support/program.h's, and 1 when training diverged. */
#include <stdlib.h>
#include <string.h>

#include "examples/support/files.h"
#include "examples/support/options.h"
#include "examples/support/program.h"
#include "generate.h"
#include "inspect.h"
#include "plot.h"
#include "processes.h"
#include "run.h"
#include "score.h"
#include "settings.h"
#include "texts.h"
#include "trace.h"
#include "train.h"

enum { STATUS_DIVERGED = 1, SAMPLE_CHARS = 300, SAMPLE_WORDS = 60 };

static const char story[] = "examples/lm/lighthouse.txt";

static int refuse(const char *message) { return example_refuse("lm", message); }

/* ---- lm train: its options ---- */

typedef struct {
    LmSettings settings;
    const char *preset, *config, *write_config, *out;
    bool resume, overwrite, profile;
} TrainOptions;

enum { OWN_OPTIONS = 9 };

static void list_train_options(TrainOptions *o, ExampleOption *table) {
    const ExampleOption own[OWN_OPTIONS] = {
        {"", NULL, "the run", EXAMPLE_OPTION_HEADING, .variable = NULL},
        {"out", "DIR", "run folder to write", EXAMPLE_OPTION_TEXT, .variable = &o->out},
        {"resume", NULL, "go on with the run in the folder", EXAMPLE_OPTION_ON,
         .variable = &o->resume},
        {"overwrite", NULL, "begin anew where the folder holds a run that was stopped",
         EXAMPLE_OPTION_ON, .variable = &o->overwrite},
        {"preset", "NAME", "settings of char, rnnlm, better_rnnlm, ptb-small, ptb-medium or awd",
         EXAMPLE_OPTION_TEXT, .variable = &o->preset},
        {"config", "FILE", "settings from a JSON file", EXAMPLE_OPTION_TEXT,
         .variable = &o->config},
        {"write-config", "FILE", "write the settings there, and end",
         EXAMPLE_OPTION_TEXT, .variable = &o->write_config},
        {"profile", NULL, "at the end, write on standard error what took how long",
         EXAMPLE_OPTION_ON, .variable = &o->profile},
    };
    memcpy(table, own, sizeof own);
    lm_settings_table(&o->settings, table + OWN_OPTIONS - 1);
}

static void train_help(void) {
    TrainOptions defaults = {.settings = lm_settings_default(), .out = LM_DEFAULT_RUN};
    ExampleOption table[OWN_OPTIONS + LM_MAX_SETTINGS];
    list_train_options(&defaults, table);
    fputs("usage: lm train [--text FILE | --data NAME] [OPTION VALUE]...\n\n"
          "Trains a language model (an embedding, LSTM layers, an output layer) and saves it in a\n"
          "run folder. Perplexity is exp of the mean loss per token: 1 is perfect, and V, the\n"
          "number of different tokens, is a blind guess. With validation text the model of the\n"
          "best epoch on it is saved. Ctrl-C saves and stops; --resume goes on, with the same\n"
          "result as if it had never stopped. Later options win over --config, that over\n"
          "--preset.\n\n", stdout);
    example_options_help(table, stdout);
    fputs("\nexample:\n"
          "  lm train --text book.txt --out book-run --epochs 10\n"
          "  lm train --preset ptb-small --out ptb-run\n"
          "  lm generate --run book-run --prefix \"Once upon a time\"\n", stdout);
}

/* A text named on the command line takes the place of a preset's data set, and so on. */
static void drop_replaced(LmSettings *s, const LmSettings *before) {
    if (s->text && s->text != before->text && s->data == before->data) s->data = NULL;
    if (s->data && s->data != before->data && s->text == before->text)
        s->text = s->valid_text = s->test_text = NULL;
}

/* Which of these the command line names has to be known before the settings they stand for. */
static bool gather_settings(TrainOptions *o, int argc, char **argv, TensorError *error) {
    ExampleOption table[OWN_OPTIONS + LM_MAX_SETTINGS];
    LmSettings *s = &o->settings;
    LmCheckpoint checkpoint;
    lm_settings_free(s);
    if (o->resume && !lm_checkpoint_read(o->out, &checkpoint, s, error)) return false;
    if (o->resume && (o->preset || o->config))
        return tensor_error_set(error, "--resume takes its settings from the run: no --preset "
                                "or --config");
    if (o->preset && !lm_settings_preset(s, o->preset, error)) return false;
    if (o->config && !lm_settings_load(s, o->config, error)) return false;
    LmSettings before = *s;
    list_train_options(o, table);
    if (example_options_read(table, argc, argv, error) != EXAMPLE_OPTIONS_OK) return false;
    drop_replaced(s, &before);
    return lm_settings_check(s, error) &&
           (!o->resume || lm_settings_continue(s, &before, o->out, error));
}

static bool check_length(const LmSettings *s, const DataCorpus *c, const char *text,
                         TensorError *error) {
    int64_t rows = s->batch * s->workers * lm_process_count(), needed = rows * s->steps + 1;
    return c->train.count >= needed ||
           tensor_error_file(error, text, -1, "%lld tokens to train on are too few for %lld rows "
                             "(--batch) of --steps %lld: needs %lld", (long long)c->train.count,
                             (long long)rows, (long long)s->steps, (long long)needed);
}

/* ---- lm train: what it says ---- */

/* One number, or those before, between and after the layers. */
static void write_dropout(const LmConfig *m) {
    const double own[] = {m->dropout_input, m->dropout_hidden, m->dropout_output};
    bool same = true;
    for (int i = 0; i < 3; i++) same = same && (own[i] < 0 || own[i] == m->dropout);
    if (same) printf("%g", m->dropout);
    else
        for (int i = 0; i < 3; i++) printf("%s%g", i ? "/" : "", own[i] < 0 ? m->dropout : own[i]);
}

static void describe(const LmRun *run, const DataCorpus *c, const char *text) {
    const LmSettings *s = &run->settings;
    const LmConfig *m = &run->model.config;
    const char *unit = s->unit == DATA_UNIT_CHAR ? "characters" : "words";
    printf("text      %s: %lld %s to train on, %lld held out", text, (long long)c->train.count,
           unit, (long long)c->valid.count);
    if (c->test.count > 0) printf(", %lld to test on", (long long)c->test.count);
    printf("\nmodel     %lld symbols, %s %lld, %lld x LSTM %lld%s, %lld parameters\n",
           (long long)m->vocab, m->embedding ? "embedding" : "one-hot",
           (long long)(m->embedding ? m->embedding : m->vocab), (long long)m->layers,
           (long long)m->hidden, m->tied ? ", tied" : "",
           (long long)nn_params_numel(run->model.set));
    printf("training  %lld epochs, windows of %lld x %lld, %s, lr %g, dropout ",
           (long long)s->epochs, (long long)(s->batch * s->workers * lm_process_count()),
           (long long)s->steps, lm_optimizer_names[s->optimizer], s->lr);
    write_dropout(m);
    printf(", seed %lld", (long long)s->seed);
    if (s->workers * lm_process_count() > 1)
        printf(", %lld workers", (long long)(s->workers * lm_process_count()));
    printf("\n");
    fflush(stdout);
}

static void print_sample(const LmRun *run, TensorError *error, bool *ok) {
    bool words = run->settings.unit != DATA_UNIT_CHAR;
    LmGeneration options = LM_GENERATION_DEFAULTS;
    options.length = words ? SAMPLE_WORDS : SAMPLE_CHARS;
    options.temperature = words ? 0.8 : 0.5;
    printf("sample    temperature %g\n\n", options.temperature);
    *ok = lm_generate(run, &options, stdout, error);
}

/* How the user starts this program: under `bazel run` it is not on the path. */
static const char *program(void) {
    return getenv("BUILD_WORKING_DIRECTORY") ? "./bazelw run //examples:lm --" : "lm";
}

/* What is in the folder now, and text from it: from the saved model, not from the last one. */
static int finish(const char *folder, const LmResult *result, bool sample) {
    TensorError error;
    char *absolute = realpath(folder, NULL);
    printf("saved     %s, epoch %lld: perplexity %.4f in training",
           absolute ? absolute : folder, (long long)result->epoch, result->perplexity);
    free(absolute);
    if (result->valid == result->valid) printf(", %.4f on held-out text", result->valid);
    if (result->test == result->test) printf(", %.4f on test text", result->test);
    printf("\n");
    if (!sample) return 0;
    LmRun run;
    bool ok = lm_run_load(folder, &run, &error);
    if (ok) print_sample(&run, &error, &ok);
    lm_run_free(&run);
    if (!ok) return refuse(error.message);
    printf("\nmore      %s generate --run %s\n", program(), folder);
    return 0;
}

static int diverged(const char *folder, const TensorError *why) {
    TensorError error;
    tensor_error_set(&error, "training diverged: %s; the last checkpoint in %s is as it was; a "
                     "smaller --lr or --clip may help", why->message, folder);
    refuse(error.message);
    return STATUS_DIVERGED;
}

/* ---- lm train: doing it ---- */

static LmCheckpoint read_checkpoint(const char *folder) {
    LmCheckpoint c;
    LmSettings settings = lm_settings_default();
    lm_checkpoint_read(folder, &c, &settings, NULL);
    lm_settings_free(&settings);
    return c;
}

/* Of a run that was to go on: that there was nothing left to do. */
static void tell_done(const LmCheckpoint *before, const char *folder, const LmSettings *s) {
    LmCheckpoint now = read_checkpoint(folder);
    if (!before->found || now.epoch != before->epoch || now.step != before->step) return;
    if (now.epoch <= s->epochs) printf("done      before: ended by --early-stop\n");
    else printf("done      before: all %lld epochs; a larger --epochs goes on\n",
                (long long)now.epoch - 1);
}

static int train_run(const TrainOptions *o, LmRun *run, const DataCorpus *corpus) {
    TensorError error;
    LmTrainJob job = {.folder = o->out, .run = run, .corpus = corpus, .resume = o->resume,
                      .profile = o->profile ? stderr : NULL, .stop = example_catch_stop()};
    LmCheckpoint before = {0};
    if (o->resume) before = read_checkpoint(o->out);
    LmTrainStatus status = lm_train(&job, &error);
    int number = *job.stop ? (int)*job.stop : SIGINT; /* another process may have had it */
    bool first = lm_process() == 0;
    switch (status) {
    case LM_TRAIN_FAILED: return refuse(error.message);
    case LM_TRAIN_DIVERGED: return first ? diverged(o->out, &error) : STATUS_DIVERGED;
    case LM_TRAIN_STOPPED:
        if (first) {
            printf("stopped   by a signal; %s train --resume --out %s goes on\n", program(),
                   o->out);
            finish(o->out, &run->result, false);
        }
        return EXAMPLE_SIGNAL + number;
    case LM_TRAIN_DONE: break;
    }
    if (!first) return 0;
    tell_done(&before, o->out, &run->settings);
    return finish(o->out, &run->result, true);
}

/* A folder with a run that was stopped is not written over by accident. */
static bool check_folder(const TrainOptions *o, TensorError *error) {
    LmCheckpoint checkpoint;
    LmSettings settings = lm_settings_default();
    TensorError damaged;
    if (o->overwrite) return true;
    bool ok = lm_checkpoint_read(o->out, &checkpoint, &settings, &damaged);
    lm_settings_free(&settings);
    if (o->resume && ok && !checkpoint.found)
        return tensor_error_file(error, o->out, -1, "holds no run to go on with");
    if (ok && checkpoint.done && !o->resume && lm_process() == 0)
        printf("replaces  the run in %s, which had ended\n", o->out);
    if (o->resume || (ok && (!checkpoint.found || checkpoint.done))) return true;
    if (!ok) return tensor_error_set(error, "%s; --overwrite begins anew", damaged.message);
    return tensor_error_file(error, o->out, -1, "holds a run that was stopped in epoch %lld: "
                             "lm train --resume goes on with it, lm train --overwrite begins "
                             "anew", (long long)checkpoint.epoch);
}

static int train(TrainOptions *o, const char *story_path) {
    TensorError error;
    DataCorpus corpus = {0};
    LmRun run = {0};
    const char *text = lm_texts_name(&o->settings, story_path);
    int status;
    bool ok = check_folder(o, &error) &&
              lm_texts_read(&o->settings, story_path, &corpus, &error);
    run.settings = o->settings;
    run.vocab = corpus.vocab;
    uint64_t seed = (uint64_t)o->settings.seed;
    ok = ok && check_length(&o->settings, &corpus, text, &error);
    if (ok && lm_model_init(&run.model, &o->settings.model, seed, &error) &&
        lm_run_prepare(o->out, &error)) {
        if (lm_process() == 0) describe(&run, &corpus, text);
        status = train_run(o, &run, &corpus);
    } else {
        status = refuse(error.message);
    }
    lm_model_free(&run.model);
    data_corpus_free(&corpus);
    return status;
}

static int train_command(int argc, char **argv, const char *story_path) {
    TrainOptions o = {.settings = lm_settings_default(), .out = LM_DEFAULT_RUN};
    ExampleOption table[OWN_OPTIONS + LM_MAX_SETTINGS];
    TensorError error;
    list_train_options(&o, table);
    switch (example_options_read(table, argc, argv, &error)) {
    case EXAMPLE_OPTIONS_WRONG: return refuse(error.message);
    case EXAMPLE_OPTIONS_HELP: train_help(); return 0;
    case EXAMPLE_OPTIONS_OK: break;
    }
    bool ok = gather_settings(&o, argc, argv, &error);
    int status = !ok ? refuse(error.message) : 0;
    if (ok && o.write_config && !lm_settings_save(&o.settings, o.write_config, &error))
        status = refuse(error.message);
    if (ok && !o.write_config) status = train(&o, story_path);
    lm_settings_free(&o.settings);
    return status;
}

/* lm without a command: goes on with a default run that was stopped. */
static int default_command(const char *story_path) {
    LmCheckpoint checkpoint;
    LmSettings settings = lm_settings_default();
    char *resume[] = {"train", "--resume", NULL};
    bool found = lm_checkpoint_read(LM_DEFAULT_RUN, &checkpoint, &settings, NULL) &&
                 checkpoint.found && !checkpoint.done && !settings.text && !settings.data;
    lm_settings_free(&settings);
    return train_command(found ? 2 : 1, resume, story_path);
}

/* ---- lm ---- */

typedef struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} Command;

static const Command commands[] = {
    {"generate", lm_generate_command, "write text with a trained model"},
    {"score", lm_score_command, "perplexity and bits per character of a text"},
    {"inspect", lm_inspect_command, "what is in a run folder"},
    {"trace", lm_trace_command, "gates and cell state of every step, as a picture"},
    {"plot", lm_plot_command, "the course of one or several trainings, as a picture"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static int help(void) {
    fputs("usage: lm                 train on a short story, about half a minute\n"
          "       lm train [...]     train on a text of yours\n", stdout);
    for (int i = 0; i < COMMANDS; i++)
        printf("       lm %-8s [...]  %s\n", commands[i].name, commands[i].help);
    fputs("       lm COMMAND --help: all options, with defaults\n\n"
          "A language model: an LSTM that learns to tell the next character or word of a text.\n"
          "It is saved in a run folder (default lm-run): model.safetensors, vocab.json and\n"
          "config.json are the model, checkpoint.safetensors is what training needs to go on,\n"
          "log.csv and log.jsonl are its course. Relative paths start where you stand.\n\n"
          "example:\n"
          "  lm train --text book.txt --out book-run\n"
          "  lm generate --run book-run --prefix \"Once upon a time\"\n"
          "  lm plot book-run\n", stdout);
    return 0;
}

static int command(int argc, char **argv, const char *story_path) {
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) return default_command(story_path);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help();
    if (strcmp(name, "train") == 0) return train_command(argc - 1, argv + 1, story_path);
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    TensorError error;
    tensor_error_set(&error, "unknown command %s; see lm --help", name);
    return refuse(error.message);
}

int main(int argc, char **argv) {
    TensorError error;
    example_hold_streams();
    char *story_path = example_files_find(argv[0], story);
    bool ok = lm_processes_start(&argc, &argv, &error) && example_files_enter(&error);
    int status = ok ? command(argc, argv, story_path) : refuse(error.message);
    free(story_path);
    lm_processes_end(status);
    return example_end("lm", status);
}
