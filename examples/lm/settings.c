/* settings.c -- see settings.h. */
#include "settings.h"

#include <stdlib.h>
#include <string.h>

/* ---- defaults and presets ---- */

static const LmSettings defaults = {
    .valid = 0.1,
    .unit = LM_UNIT_AUTO,
    .model = {.embedding = 64, .hidden = 192, .layers = 1, .dropout = 0.3, .dropout_input = -1,
              .dropout_hidden = -1, .dropout_output = -1},
    .batch = 16, .steps = 50, .epochs = 36, .random_offset = true, .accumulate = 1,
    .optimizer = LM_ADAM, .lr = 0.005, .clip = 1, .norm_limit = 1e6, .factor = 0.5, .every = 1,
    .seed = 1, .workers = 1, .save_every = 60, .eval_batch = 8,
};

/* A. Karpathy's char-rnn, with Adam and a rate that falls to 0. */
static void preset_char(LmSettings *s) {
    s->unit = DATA_UNIT_CHAR;
    s->model.hidden = 256;
    s->model.layers = 2;
    s->model.dropout = 0.25;
    s->batch = 32;
    s->steps = 100;
    s->epochs = 12;
    s->lr = 0.004;
    s->schedule = LM_COSINE;
}

/* What the models of words on the Penn Treebank have in common. */
static void preset_words(LmSettings *s) {
    s->data = "ptb";
    s->unit = DATA_UNIT_WORD;
    s->model.dropout = 0;
    s->batch = 20;
    s->steps = 35;
    s->random_offset = false;
    s->optimizer = LM_SGD;
}

/* K. Saito, Deep Learning from Scratch 2, chapter 6. */
static void preset_rnnlm(LmSettings *s) {
    preset_words(s);
    s->model.embedding = s->model.hidden = 100;
    s->model.init = s->model.init_lstm = 0.1;
    s->epochs = 4;
    s->lr = 20;
    s->clip = 0.25;
}

static void preset_better_rnnlm(LmSettings *s) {
    preset_rnnlm(s);
    s->model.layers = 2;
    s->model.dropout = 0.5;
    s->model.tied = true;
    s->epochs = 40;
    s->schedule = LM_PLATEAU;
    s->factor = 0.25;
}

/* W. Zaremba, I. Sutskever and O. Vinyals, arXiv 1409.2329. */
static void preset_ptb_small(LmSettings *s) {
    preset_words(s);
    s->model.embedding = s->model.hidden = 200;
    s->model.layers = 2;
    s->model.init = s->model.init_lstm = 0.1;
    s->steps = 20;
    s->epochs = 13;
    s->reduction = LM_PER_ROW;
    s->lr = 1;
    s->clip = 5;
    s->schedule = LM_EXPONENTIAL;
    s->factor = 0.5;
    s->hold = 4;
}

static void preset_ptb_medium(LmSettings *s) {
    preset_ptb_small(s);
    s->model.embedding = s->model.hidden = 650;
    s->model.dropout = 0.5;
    s->model.init = s->model.init_lstm = 0.05;
    s->steps = 35;
    s->epochs = 39;
    s->factor = 0.8;
    s->hold = 6;
}

/* S. Merity, N. Keskar and R. Socher, ICLR 2018: the Penn Treebank settings. */
static void preset_awd(LmSettings *s) {
    preset_words(s);
    s->model = (LmConfig){.embedding = 400, .hidden = 1150, .layers = 3, .tied = true,
                          .dropout_input = 0.4, .dropout_hidden = 0.25, .dropout_output = 0.4,
                          .locked = true, .embedding_dropout = 0.1, .weight_drop = 0.5,
                          .init = 0.1};
    s->steps = 70;
    s->random_steps = true;
    s->epochs = 500;
    s->optimizer = LM_ASGD;
    s->nonmonotone = 5;
    s->lr = 30;
    s->weight_decay = 1.2e-6;
    s->clip = 0.25;
    s->alpha = 2;
    s->beta = 1;
}

typedef struct {
    const char *name;
    void (*apply)(LmSettings *s);
} Preset;

static const Preset presets[] = {
    {"char", preset_char},
    {"rnnlm", preset_rnnlm},
    {"better_rnnlm", preset_better_rnnlm},
    {"ptb-small", preset_ptb_small},
    {"ptb-medium", preset_ptb_medium},
    {"awd", preset_awd},
};
enum { PRESETS = sizeof presets / sizeof *presets };

LmSettings lm_settings_default(void) { return defaults; }

void lm_settings_free(LmSettings *s) {
    json_decref(s->memory);
    *s = defaults;
}

bool lm_settings_preset(LmSettings *s, const char *name, TensorError *error) {
    char list[128] = "";
    for (int i = 0; i < PRESETS; i++) {
        if (strcmp(name, presets[i].name) == 0) {
            presets[i].apply(s);
            return true;
        }
        strcat(strcat(list, i ? ", " : ""), presets[i].name);
    }
    return tensor_error_set(error, "--preset %s: must be one of %s", name, list);
}

/* ---- the table ---- */

static const char *const unit_names[] = {"char", "word", "raw-word", "auto", NULL};
static const char *const reduction_names[] = {"token", "row", NULL};
const char *const lm_optimizer_names[] = {"sgd",     "asgd",    "adam",     "adamw",
                                              "rmsprop", "adagrad", "adadelta", NULL};
static const char *const schedule_names[] = {"constant", "exponential", "step",      "plateau",
                                             "cosine",   "linear",      "one-cycle", NULL};

#define TEXT EXAMPLE_OPTION_TEXT
#define INT EXAMPLE_OPTION_INT
#define REAL EXAMPLE_OPTION_REAL
#define CHOICE EXAMPLE_OPTION_CHOICE
#define FLAG EXAMPLE_OPTION_FLAG
#define HEADING(text) {"", NULL, text, EXAMPLE_OPTION_HEADING, .variable = NULL}

static const double large = 1 << 20, huge = 9e15;
static const double most_epochs = 1e6; /* times windows, no integer overflows */

static ExampleOption *list_text(LmSettings *s, ExampleOption *o) {
    const ExampleOption list[] = {
        HEADING("the text"),
        {"data", "NAME", "timemachine, ptb, wikitext2 or tinyshakespeare",
         TEXT, .variable = &s->data},
        {"text", "FILE", "text to learn, UTF-8, or a folder of .txt files",
         TEXT, .variable = &s->text},
        {"valid-text", "FILE", "text to validate on", TEXT, .variable = &s->valid_text},
        {"test-text", "FILE", "text to test on at the end", TEXT, .variable = &s->test_text},
        {"valid", "SHARE", "where there is no such file: share at the text's end; 0: none",
         REAL, &s->valid, .max = 1, .below_max = true},
        {"test", "SHARE", "the same for the test, behind the validation share",
         REAL, &s->test, .max = 1, .below_max = true},
        {"tokens", "UNIT", "char; word: prepared, by white space; raw-word; or auto, by --data",
         CHOICE, &s->unit, .choices = unit_names},
        {"clean", "HOW", "none, lower (case), or letters: only lower-cased a-z and spaces",
         CHOICE, &s->clean, .choices = data_clean_names},
        {"max-chars", "N", "take the first N characters only; 0: all",
         INT, &s->max_chars, .max = huge},
        {"min-count", "N", "rarer tokens are <unk>", INT, &s->min_count, .max = huge},
        {"max-vocab", "V", "only the V most frequent tokens, <unk> counted; 0: all",
         INT, &s->max_vocab, .max = huge},
        {"replace-invalid", NULL, "read bytes that are not UTF-8 as U+FFFD",
         FLAG, .variable = &s->replace_invalid},
    };
    return memcpy(o, list, sizeof list), o + sizeof list / sizeof *list;
}

static ExampleOption *list_model(LmConfig *m, ExampleOption *o) {
    const ExampleOption list[] = {
        HEADING("the network"),
        {"embedding", "E", "size of the vectors of tokens; 0: one-hot vectors",
         INT, &m->embedding, .max = large},
        {"hidden", "H", "size of an LSTM layer", INT, &m->hidden, .min = 1, .max = large},
        {"layers", "L", "number of LSTM layers", INT, &m->layers, .min = 1, .max = 1000},
        {"tied", NULL, "the output layer shares the embedding's weight",
         FLAG, .variable = &m->tied},
        {"dropout", "P", "probability to drop a value before, between and after the LSTM layers",
         REAL, &m->dropout, .max = 1, .below_max = true},
        {"dropout-input", "P", "the same before the first layer; -1: as --dropout",
         REAL, &m->dropout_input, .min = -1, .max = 1, .below_max = true},
        {"dropout-hidden", "P", "the same between layers",
         REAL, &m->dropout_hidden, .min = -1, .max = 1, .below_max = true},
        {"dropout-output", "P", "the same after the last layer",
         REAL, &m->dropout_output, .min = -1, .max = 1, .below_max = true},
        {"locked", NULL, "one dropout mask for all steps of a window",
         FLAG, .variable = &m->locked},
        {"embedding-dropout", "P", "probability to drop a token's vector, in the whole window",
         REAL, &m->embedding_dropout, .max = 1, .below_max = true},
        {"weight-drop", "P", "probability to drop an element of the LSTM's recurrent weights",
         REAL, &m->weight_drop, .max = 1, .below_max = true},
        {"forget-bias", "X", "what the forget gates' bias starts at; 0: as PyTorch's",
         REAL, &m->forget_bias, .min = -100, .max = 100},
        {"init", "R", "embedding and output start uniform in +-R; 0: as PyTorch's",
         REAL, &m->init, .max = 100},
        {"init-lstm", "R", "the same for the LSTM", REAL, &m->init_lstm, .max = 100},
    };
    return memcpy(o, list, sizeof list), o + sizeof list / sizeof *list;
}

static ExampleOption *list_steps(LmSettings *s, ExampleOption *o) {
    const ExampleOption list[] = {
        HEADING("the steps"),
        {"batch", "B", "rows of text read side by side, of each worker",
         INT, &s->batch, .min = 1, .max = large},
        {"steps", "T", "tokens of a window, through which gradients flow",
         INT, &s->steps, .min = 1, .max = large},
        {"epochs", "N", "times the text is read", INT, &s->epochs, .min = 1, .max = most_epochs},
        {"fixed-offset", NULL, "begin each epoch at the first token, not up to T later",
         EXAMPLE_OPTION_OFF, .variable = &s->random_offset},
        {"random-steps", NULL, "windows of random length about T",
         FLAG, .variable = &s->random_steps},
        {"reduction", "HOW", "loss per token, or per row: the sum over T steps",
         CHOICE, &s->reduction, .choices = reduction_names},
        {"accumulate", "N", "windows whose gradients make one step",
         INT, &s->accumulate, .min = 1, .max = large},
        {"alpha", "X", "penalty on activations: times the mean of their squares",
         REAL, &s->alpha, .max = 1e6},
        {"beta", "X", "penalty on their changes from step to step", REAL, &s->beta, .max = 1e6},
        {"clip", "NORM", "largest norm of the gradient; 0: no limit", REAL, &s->clip, .max = 1e300},
        {"norm-limit", "NORM", "a gradient beyond it is divergence and ends the training",
         REAL, &s->norm_limit, .max = 1e300, .above_min = true},
        {"seed", "N", "of all random numbers: one seed, one result", INT, &s->seed, .max = huge},
        {"workers", "N", "threads that share a step, with B rows each",
         INT, &s->workers, .min = 1, .max = 64},
        {"eval-batch", "B", "rows in which validation text is read",
         INT, &s->eval_batch, .min = 1, .max = large},
        {"save-every", "SECONDS", "between checkpoints; 0: only at ends of epochs",
         INT, &s->save_every, .max = huge},
        {"log-every", "STEPS", "between rows of the log; 0: only at ends of epochs",
         INT, &s->log_every, .max = huge},
    };
    return memcpy(o, list, sizeof list), o + sizeof list / sizeof *list;
}

static ExampleOption *list_optimizer(LmSettings *s, ExampleOption *o) {
    const ExampleOption list[] = {
        HEADING("the learning rate"),
        {"optimizer", "NAME", "sgd, asgd, adam, adamw, rmsprop, adagrad or adadelta",
         CHOICE, &s->optimizer, .choices = lm_optimizer_names},
        {"lr", "RATE", "learning rate", REAL, &s->lr, .max = 1e6, .above_min = true},
        {"momentum", "M", "of sgd and rmsprop", REAL, &s->momentum, .max = 1, .below_max = true},
        {"weight-decay", "X", "pull of all parameters to 0", REAL, &s->weight_decay, .max = 1e6},
        {"nonmonotone", "N", "asgd: average from when validation was better N epochs before; "
         "0: from the start", INT, &s->nonmonotone, .max = huge},
        {"schedule", "NAME", "of the rate: constant, exponential, step, plateau, cosine, linear "
         "or one-cycle", CHOICE, &s->schedule, .choices = schedule_names},
        {"factor", "X", "exponential, step, plateau: what the rate is multiplied by",
         REAL, &s->factor, .max = 1, .below_max = true, .above_min = true},
        {"hold", "N", "epochs with the whole rate, before the schedule begins",
         INT, &s->hold, .max = most_epochs},
        {"every", "N", "step: epochs between", INT, &s->every, .min = 1, .max = huge},
        {"patience", "N", "plateau: worse epochs that are borne", INT, &s->patience, .max = huge},
        {"warmup", "STEPS", "in which the rate rises from 0", INT, &s->warmup, .max = huge},
        {"early-stop", "N", "end after N epochs without a better one; 0: never",
         INT, &s->early_stop, .max = huge},
    };
    return memcpy(o, list, sizeof list), o + sizeof list / sizeof *list;
}

void lm_settings_table(LmSettings *s, ExampleOption table[LM_MAX_SETTINGS]) {
    ExampleOption *end =
        list_optimizer(s, list_steps(s, list_model(&s->model, list_text(s, table))));
    *end = (ExampleOption){0};
}

/* ---- JSON ---- */

static json_t *value_json(const ExampleOption *o) {
    switch (o->kind) {
    case EXAMPLE_OPTION_INT: return json_integer(*(int64_t *)o->variable);
    case EXAMPLE_OPTION_REAL: return json_real(*(double *)o->variable);
    case EXAMPLE_OPTION_CHOICE: return json_string(o->choices[*(int *)o->variable]);
    case EXAMPLE_OPTION_ON:
    case EXAMPLE_OPTION_FLAG: return json_boolean(*(bool *)o->variable);
    case EXAMPLE_OPTION_OFF: return json_boolean(!*(bool *)o->variable);
    case EXAMPLE_OPTION_HEADING:
    case EXAMPLE_OPTION_WORDS:
    case EXAMPLE_OPTION_TEXT: break;
    }
    const char *text = *(const char **)o->variable;
    return text ? json_string(text) : json_null();
}

json_t *lm_settings_json(const LmSettings *s) {
    LmSettings copy = *s; /* the table points into it, for reading only */
    ExampleOption table[LM_MAX_SETTINGS];
    lm_settings_table(&copy, table);
    json_t *object = json_object();
    bool ok = object;
    for (const ExampleOption *o = table; ok && o->name; o++)
        if (o->kind != EXAMPLE_OPTION_HEADING)
            ok = json_object_set_new(object, o->name, value_json(o)) == 0;
    if (ok) return object;
    json_decref(object);
    return NULL;
}

/* A number as on the command line, so that the same checks are made. */
static bool set_number(const ExampleOption *o, const json_t *value, TensorError *error) {
    char text[64];
    if (json_is_integer(value))
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
    else
        snprintf(text, sizeof text, "%.17g", json_real_value(value));
    return example_option_set(o, text, error);
}

static bool set_text(LmSettings *s, const ExampleOption *o, json_t *value, TensorError *error) {
    if (!s->memory) s->memory = json_array();
    if (!s->memory || json_array_append(s->memory, value) != 0)
        return tensor_error_set(error, "out of memory");
    *(const char **)o->variable = json_is_null(value) ? NULL : json_string_value(value);
    return true;
}

static bool set_value(LmSettings *s, const ExampleOption *o, json_t *value, TensorError *error) {
    switch (o->kind) {
    case EXAMPLE_OPTION_INT:
        if (json_is_integer(value)) return set_number(o, value, error);
        return tensor_error_set(error, "%s: must be a whole number", o->name);
    case EXAMPLE_OPTION_REAL:
        if (json_is_number(value)) return set_number(o, value, error);
        return tensor_error_set(error, "%s: must be a number", o->name);
    case EXAMPLE_OPTION_CHOICE:
        if (json_is_string(value)) return example_option_set(o, json_string_value(value), error);
        return tensor_error_set(error, "%s: must be a text", o->name);
    case EXAMPLE_OPTION_TEXT:
        if (json_is_string(value) || json_is_null(value)) return set_text(s, o, value, error);
        return tensor_error_set(error, "%s: must be a text or null", o->name);
    case EXAMPLE_OPTION_ON:
    case EXAMPLE_OPTION_FLAG:
    case EXAMPLE_OPTION_HEADING:
    case EXAMPLE_OPTION_WORDS:
    case EXAMPLE_OPTION_OFF: break;
    }
    if (!json_is_boolean(value))
        return tensor_error_set(error, "%s: must be true or false", o->name);
    *(bool *)o->variable = json_is_true(value) != (o->kind == EXAMPLE_OPTION_OFF);
    return true;
}

bool lm_settings_from_json(LmSettings *s, const json_t *object, const char *where,
                           TensorError *error) {
    ExampleOption table[LM_MAX_SETTINGS];
    lm_settings_table(s, table);
    TensorError why;
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return tensor_error_file(error, where, -1, "settings: must be an object");
    /* jansson's macro takes no const, and changes nothing. */
    json_object_foreach((json_t *)object, key, value) {
        const ExampleOption *o = table;
        while (o->name && strcmp(o->name, key) != 0) o++;
        if (!o->name || o->kind == EXAMPLE_OPTION_HEADING)
            return tensor_error_file(error, where, -1, "%s: no such setting", key);
        if (!set_value(s, o, value, &why))
            return tensor_error_file(error, where, -1, "%s", why.message);
    }
    return true;
}

enum { MAX_CONFIG_BYTES = 1 << 20 };

/* With 15 digits 0.1 is 0.1; where they would change a number, with the 17 that tell all apart. */
static char *dump(const json_t *value) {
    char *text = json_dumps(value, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    json_t *again = text ? json_loads(text, 0, NULL) : NULL;
    bool same = again && json_equal(value, again);
    json_decref(again);
    if (same) return text;
    free(text);
    return json_dumps(value, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
}

bool lm_json_save(json_t *value, const char *path, TensorError *error) {
    TensorFileWriter w;
    char *text = value ? dump(value) : NULL;
    json_decref(value);
    bool ok = text ? tensor_file_begin(&w, path, error)
                   : tensor_error_file(error, path, -1, "out of memory");
    if (ok) {
        fprintf(w.stream, "%s\n", text);
        ok = tensor_file_commit(&w, error);
    }
    free(text);
    return ok;
}

json_t *lm_json_load(const char *path, TensorError *error) {
    size_t size;
    json_error_t why;
    char *text = tensor_file_read(path, MAX_CONFIG_BYTES, &size, error);
    if (!text) return NULL;
    json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!value)
        tensor_error_file(error, path, -1, "line %d, column %d: %s", why.line, why.column,
                          why.text);
    if (!value || json_is_object(value)) return value;
    tensor_error_file(error, path, -1, "is no JSON object");
    json_decref(value);
    return NULL;
}

bool lm_settings_save(const LmSettings *s, const char *path, TensorError *error) {
    return lm_json_save(lm_settings_json(s), path, error);
}

/* A run's config.json can be given, too. */
bool lm_settings_load(LmSettings *s, const char *path, TensorError *error) {
    json_t *file = lm_json_load(path, error);
    if (!file) return false;
    const json_t *settings = json_object_get(file, "settings");
    bool ok = lm_settings_from_json(s, settings ? settings : file, path, error);
    json_decref(file);
    return ok;
}

/* ---- what does not fit ---- */

bool lm_settings_check_validation(const LmSettings *s, bool measured, TensorError *error) {
    bool waits = s->schedule == LM_PLATEAU || s->early_stop > 0 || s->nonmonotone > 0;
    return measured || !waits ||
           tensor_error_set(error, "--schedule plateau, --early-stop and --nonmonotone need a "
                            "text to validate on (--valid, --valid-text)");
}

bool lm_settings_check(const LmSettings *s, TensorError *error) {
    bool momentum = s->optimizer == LM_SGD || s->optimizer == LM_RMSPROP;
    if (s->data && s->text)
        return tensor_error_set(error, "--data and --text: one of them names the text");
    if (!s->text && (s->valid_text || s->test_text))
        return tensor_error_set(error, "--valid-text and --test-text go with --text");
    if (s->momentum > 0 && !momentum)
        return tensor_error_set(error, "--momentum: %s has none", lm_optimizer_names[s->optimizer]);
    if (s->nonmonotone > 0 && s->optimizer != LM_ASGD)
        return tensor_error_set(error, "--nonmonotone: only asgd averages");
    if (s->warmup > 0 && s->schedule == LM_PLATEAU)
        return tensor_error_set(error, "--warmup does not go with --schedule plateau");
    /* Whether a data set has such a text, its files tell. */
    bool measured = s->valid > 0 || s->valid_text || s->data;
    if (!lm_settings_check_validation(s, measured, error)) return false;
    return s->valid + s->test < 1 ||
           tensor_error_set(error, "--valid %g and --test %g leave nothing to train on", s->valid,
                            s->test);
}

bool lm_settings_continue(const LmSettings *s, const LmSettings *run, const char *folder,
                          TensorError *error) {
    static const char *const kept[] = {"embedding", "hidden", "layers", "tied", "optimizer", NULL};
    json_t *now = lm_settings_json(s), *then = lm_settings_json(run);
    const char *differs = NULL;
    for (int i = 0; now && then && !differs && kept[i]; i++)
        if (!json_equal(json_object_get(now, kept[i]), json_object_get(then, kept[i])))
            differs = kept[i];
    char *value = differs ? json_dumps(json_object_get(then, differs), JSON_ENCODE_ANY) : NULL;
    bool ok = now && then && !differs;
    if (!now || !then || (differs && !value)) tensor_error_set(error, "out of memory");
    if (value)
        tensor_error_file(error, folder, -1, "the run to go on with has --%s %s, and no other can "
                          "be taken", differs, value);
    free(value);
    json_decref(now);
    json_decref(then);
    return ok;
}
