/* lm.c -- a character language model: trains one, writes text with it.
 *
 *     lm                    trains on a short story that ships with the program
 *     lm train --text FILE  trains on a text of yours
 *     lm generate           writes more text with a trained model
 *
 * Exit status: examples/support/program.h's, and 1 when training diverged. */
#include <stdlib.h>
#include <string.h>

#include "corpus.h"
#include "examples/support/files.h"
#include "examples/support/options.h"
#include "examples/support/program.h"
#include "generate.h"
#include "run.h"
#include "train.h"

enum { STATUS_DIVERGED = 1, SAMPLE_LENGTH = 300 };

static const char default_run[] = "lm-run";
static const char story[] = "examples/lm/lighthouse.txt";
static const char *const optimizer_names[] = {[LM_SGD] = "sgd", [LM_ADAM] = "adam", NULL};

static int refuse(const char *message) { return example_refuse("lm", message); }

/* ---- lm train ---- */

typedef struct {
    LmCorpusOptions corpus;
    LmConfig model;
    LmTraining training;
    const char *out;
    bool profile;
} TrainOptions;

static const TrainOptions train_defaults = {
    .corpus = {.valid = 0.1},
    .model = {.embedding = 64, .hidden = 192, .layers = 1, .dropout = 0.3},
    .training = {.batch = 16, .steps = 50, .epochs = 36, .optimizer = LM_ADAM, .lr = 0.005,
                 .clip = 1, .seed = 1, .random_offset = true},
    .out = default_run,
};

enum { TRAIN_OPTIONS = 20 };

static void list_train_options(TrainOptions *o, ExampleOption table[TRAIN_OPTIONS]) {
    const double large = 1 << 20, huge = 9e15;
    const ExampleOption options[TRAIN_OPTIONS] = {
        {"text", "FILE", "text to learn, UTF-8; without it, a short story",
         EXAMPLE_OPTION_TEXT, .variable = &o->corpus.path},
        {"out", "DIR", "run folder to write", EXAMPLE_OPTION_TEXT, .variable = &o->out},
        {"clean", "HOW", "none, or letters: only lower-cased letters a-z and spaces",
         EXAMPLE_OPTION_CHOICE, &o->corpus.clean, .choices = lm_clean_names},
        {"max-chars", "N", "take the first N characters only; 0: all",
         EXAMPLE_OPTION_INT, &o->corpus.max_chars, .max = huge},
        {"valid", "SHARE", "share of the text, at its end, held out to measure on; 0: none",
         EXAMPLE_OPTION_REAL, &o->corpus.valid, .max = 1, .below_max = true},
        {"replace-invalid", NULL, "read bytes that are not UTF-8 as U+FFFD",
         EXAMPLE_OPTION_ON, .variable = &o->corpus.replace_invalid},
        {"embedding", "E", "size of the vectors of characters; 0: one-hot vectors",
         EXAMPLE_OPTION_INT, &o->model.embedding, .max = large},
        {"hidden", "H", "size of an LSTM layer",
         EXAMPLE_OPTION_INT, &o->model.hidden, .min = 1, .max = large},
        {"layers", "L", "number of LSTM layers",
         EXAMPLE_OPTION_INT, &o->model.layers, .min = 1, .max = 1000},
        {"dropout", "P", "probability to drop a value before, between and after the LSTM layers",
         EXAMPLE_OPTION_REAL, &o->model.dropout, .max = 1, .below_max = true},
        {"batch", "B", "rows of text read side by side",
         EXAMPLE_OPTION_INT, &o->training.batch, .min = 1, .max = large},
        {"steps", "T", "characters of a window, through which gradients flow",
         EXAMPLE_OPTION_INT, &o->training.steps, .min = 1, .max = large},
        {"epochs", "N", "times the text is read",
         EXAMPLE_OPTION_INT, &o->training.epochs, .min = 1, .max = huge},
        {"optimizer", "NAME", "sgd or adam",
         EXAMPLE_OPTION_CHOICE, &o->training.optimizer, .choices = optimizer_names},
        {"lr", "RATE", "learning rate",
         EXAMPLE_OPTION_REAL, &o->training.lr, .max = 1e6, .above_min = true},
        {"momentum", "M", "momentum of sgd",
         EXAMPLE_OPTION_REAL, &o->training.momentum, .max = 1, .below_max = true},
        {"clip", "NORM", "largest norm of the gradient; 0: no limit",
         EXAMPLE_OPTION_REAL, &o->training.clip, .max = 1e300},
        {"seed", "N", "of all random numbers: one seed, one result",
         EXAMPLE_OPTION_INT, &o->training.seed, .max = huge},
        {"fixed-offset", NULL, "begin each epoch at the first character, not up to T later",
         EXAMPLE_OPTION_OFF, .variable = &o->training.random_offset},
        {"profile", NULL, "at the end, write on standard error what took how long",
         EXAMPLE_OPTION_ON, .variable = &o->profile},
    };
    memcpy(table, options, sizeof options);
}

static void train_help(const ExampleOption *table) {
    fputs("usage: lm train [--text FILE] [OPTION VALUE]...\n\n"
          "Trains a character language model (an LSTM) and saves it in a run folder.\n"
          "Perplexity is exp of the mean loss per character: 1 is perfect, and V, the number\n"
          "of different characters, is a blind guess. With held-out text the model of the\n"
          "best epoch on it is saved. Ctrl-C saves and stops.\n\n", stdout);
    example_options_help(table, stdout);
    fputs("\nexample:\n"
          "  lm train --text book.txt --out book-run --epochs 10\n"
          "  lm generate --run book-run --prefix \"Once upon a time\"\n", stdout);
}

static bool check_length(const LmCorpus *c, const TrainOptions *o, TensorError *error) {
    int64_t needed = o->training.batch * o->training.steps + 1;
    return c->train >= needed ||
           tensor_error_file(error, o->corpus.path, -1,
                             "%lld characters to train on are too few for --batch %lld rows of "
                             "--steps %lld: needs %lld", (long long)c->train,
                             (long long)o->training.batch, (long long)o->training.steps,
                             (long long)needed);
}

static void describe(const TrainOptions *o, const LmCorpus *c, const LmModel *m) {
    const LmTraining *t = &o->training;
    printf("text      %s: %lld characters to train on, %lld held out\n", o->corpus.path,
           (long long)c->train, (long long)c->held_out);
    printf("model     %lld symbols, %s %lld, %lld x LSTM %lld, %lld parameters\n",
           (long long)m->config.vocab, m->config.embedding ? "embedding" : "one-hot",
           (long long)(m->config.embedding ? m->config.embedding : m->config.vocab),
           (long long)m->config.layers, (long long)m->config.hidden,
           (long long)nn_params_numel(m->set));
    printf("training  %lld epochs, windows of %lld x %lld, %s, lr %g, dropout %g, seed %lld\n",
           (long long)t->epochs, (long long)t->batch, (long long)t->steps,
           optimizer_names[t->optimizer], t->lr, m->config.dropout, (long long)t->seed);
    fflush(stdout);
}

typedef struct {
    const char *folder;
    LmRun run;
} Target;

static bool save(void *context, const LmResult *result, TensorError *error) {
    Target *target = context;
    return lm_run_save(target->folder, &target->run, result, error);
}

/* What is in the folder now, and text from it: from the saved model, not from the last one. */
static int finish(const char *folder, const LmResult *result, bool sample) {
    TensorError error;
    char *absolute = realpath(folder, NULL);
    printf("saved     %s, epoch %lld: perplexity %.4f in training",
           absolute ? absolute : folder, (long long)result->epoch, result->perplexity);
    free(absolute);
    if (result->held_out == result->held_out) printf(", %.4f on held-out text", result->held_out);
    printf("\n");
    if (!sample) return 0;
    LmRun run;
    LmGeneration options = {.prefix = "", .length = SAMPLE_LENGTH, .temperature = 0.5, .seed = 1};
    printf("sample    temperature %g\n\n", options.temperature);
    bool ok = lm_run_load(folder, &run, &error) && lm_generate(&run, &options, stdout, &error);
    printf("\n");
    lm_run_free(&run);
    if (!ok) return refuse(error.message);
    /* Set by `bazel run`: then the program is not on the user's path. */
    bool bazel = getenv("BUILD_WORKING_DIRECTORY");
    const char *program = bazel ? "./bazelw run //examples:lm --" : "lm";
    printf("\nmore      %s generate --run %s\n", program, folder);
    return 0;
}

static int diverged(const char *folder, const LmResult *result) {
    TensorError error;
    tensor_error_set(&error, "training diverged, its perplexity is not finite; %s was "
                     "%s; a smaller --lr or --clip may help", folder,
                     result->epoch > 0 ? "saved before that" : "left as it was");
    refuse(error.message);
    return STATUS_DIVERGED;
}

static int run_training(const TrainOptions *o, const LmCorpus *corpus, Target *target) {
    TensorError error;
    LmResult result;
    LmTrainJob job = {.model = &target->run.model, .options = &o->training, .ids = corpus->ids,
                      .count = corpus->train, .held_out = corpus->ids + corpus->train,
                      .held_out_count = corpus->held_out,
                      .profile = o->profile ? stderr : NULL, .stop = example_catch_stop(),
                      .save = save, .context = target};
    LmTrainStatus status = lm_train(&job, &result, &error);
    if (status == LM_TRAIN_FAILED) return refuse(error.message);
    if (status == LM_TRAIN_DIVERGED) return diverged(target->folder, &result);
    if (status == LM_TRAIN_STOPPED) printf("stopped   by a signal\n");
    int code = finish(target->folder, &result, status == LM_TRAIN_DONE);
    return status == LM_TRAIN_STOPPED ? EXAMPLE_SIGNAL + (int)*job.stop : code;
}

static int train(TrainOptions *o) {
    TensorError error;
    LmCorpus corpus;
    if (!lm_corpus_read(&corpus, &o->corpus, &error)) return refuse(error.message);
    o->model.vocab = data_vocab_size(corpus.vocab);
    Target target = {o->out, {.vocab = corpus.vocab, .clean = o->corpus.clean,
                              .training = o->training}};
    LmModel *model = &target.run.model;
    int status;
    if (check_length(&corpus, o, &error) &&
        lm_model_init(model, &o->model, (uint64_t)o->training.seed, &error) &&
        lm_run_prepare(o->out, &error)) {
        describe(o, &corpus, model);
        status = run_training(o, &corpus, &target);
    } else {
        status = refuse(error.message);
    }
    lm_model_free(model);
    lm_corpus_free(&corpus);
    return status;
}

static int train_command(int argc, char **argv, const char *story_path) {
    TrainOptions o = train_defaults;
    ExampleOption table[TRAIN_OPTIONS + 1] = {{0}};
    TensorError error;
    list_train_options(&o, table);
    switch (example_options_read(table, argc, argv, &error)) {
    case EXAMPLE_OPTIONS_WRONG: return refuse(error.message);
    case EXAMPLE_OPTIONS_HELP:
        o = train_defaults;
        train_help(table);
        return 0;
    case EXAMPLE_OPTIONS_OK: break;
    }
    if (!o.corpus.path) o.corpus.path = story_path;
    if (!o.corpus.path) return refuse("the story that ships with lm is missing: name a --text");
    return train(&o);
}

/* ---- lm generate ---- */

static const LmGeneration generate_defaults = {.prefix = "", .length = SAMPLE_LENGTH,
                                               .temperature = 0.8, .seed = 1};

static void generate_help(const ExampleOption *table) {
    fputs("usage: lm generate [OPTION VALUE]...\n\n"
          "Writes text with a trained model, character by character.\n\n", stdout);
    example_options_help(table, stdout);
    fputs("\nexample:\n"
          "  lm generate --run book-run --prefix \"Once upon a time\" --length 500\n", stdout);
}

static int generate(const char *folder, const LmGeneration *options) {
    TensorError error;
    LmRun run;
    if (!lm_run_load(folder, &run, &error)) return refuse(error.message);
    bool ok = lm_generate(&run, options, stdout, &error);
    lm_run_free(&run);
    if (!ok) return refuse(error.message);
    putchar('\n');
    return 0;
}

static int generate_command(int argc, char **argv) {
    LmGeneration o = generate_defaults;
    const char *folder = default_run;
    TensorError error;
    const ExampleOption table[] = {
        {"run", "DIR", "run folder of a trained model", EXAMPLE_OPTION_TEXT, .variable = &folder},
        {"prefix", "TEXT", "beginning of the text", EXAMPLE_OPTION_TEXT, .variable = &o.prefix},
        {"length", "N", "number of characters after it",
         EXAMPLE_OPTION_INT, &o.length, .max = 9e15},
        {"temperature", "X", "below 1 more careful, above 1 wilder; 0: the most likely character",
         EXAMPLE_OPTION_REAL, &o.temperature, .max = 1e300},
        {"seed", "N", "another number, another text", EXAMPLE_OPTION_INT, &o.seed, .max = 9e15},
        {0},
    };
    switch (example_options_read(table, argc, argv, &error)) {
    case EXAMPLE_OPTIONS_WRONG: return refuse(error.message);
    case EXAMPLE_OPTIONS_HELP:
        o = generate_defaults;
        folder = default_run;
        generate_help(table);
        return 0;
    case EXAMPLE_OPTIONS_OK: break;
    }
    return generate(folder, &o);
}

/* ---- lm ---- */

static int help(void) {
    fputs("usage: lm                    train on a short story, about a minute\n"
          "       lm train [...]        train on a text of yours\n"
          "       lm generate [...]     write text with a trained model\n"
          "       lm train --help, lm generate --help: all options, with defaults\n\n"
          "A character language model: an LSTM that learns to tell the next character of a\n"
          "text. It is saved in a run folder (default lm-run): model.safetensors, vocab.json\n"
          "and config.json. Relative paths start where you stand.\n\n"
          "example:\n"
          "  lm train --text book.txt --out book-run\n"
          "  lm generate --run book-run --prefix \"Once upon a time\"\n", stdout);
    return 0;
}

static int command(int argc, char **argv, const char *story_path) {
    const char *name = argc > 1 ? argv[1] : "train";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help();
    /* The command's options follow its name. */
    int skip = argc > 1 ? 1 : 0;
    if (strcmp(name, "train") == 0) return train_command(argc - skip, argv + skip, story_path);
    if (strcmp(name, "generate") == 0) return generate_command(argc - skip, argv + skip);
    TensorError error;
    tensor_error_set(&error, "unknown command %s; see lm --help", name);
    return refuse(error.message);
}

int main(int argc, char **argv) {
    TensorError error;
    char *story_path = example_files_find(argv[0], story);
    int status =
        example_files_enter(&error) ? command(argc, argv, story_path) : refuse(error.message);
    free(story_path);
    return example_end("lm", status);
}
