/* settings.h -- everything a language model and its training depend on: one struct, one table.
 *
 * The table of lm_settings_table says of each setting its name, range and meaning.  Options of
 * the command line, the help, config.json and presets all come from it, so that each can be set
 * in all of these ways. */
#ifndef EXAMPLES_LM_SETTINGS_H
#define EXAMPLES_LM_SETTINGS_H
#include <jansson.h>

#include "data/corpus.h"
#include "examples/support/options.h"
#include "model.h"

typedef enum {
    LM_SGD,
    LM_ASGD,
    LM_ADAM,
    LM_ADAMW,
    LM_RMSPROP,
    LM_ADAGRAD,
    LM_ADADELTA
} LmOptimizer;

/* How the learning rate goes on from --lr; t counts epochs in the first four and steps in the last
 * three, after `hold` epochs.  optim/schedule.h has the formulas. */
typedef enum {
    LM_CONSTANT,
    LM_EXPONENTIAL, /* lr factor^t */
    LM_STEP,        /* lr factor^floor(t / every) */
    LM_PLATEAU,     /* times factor after `patience` epochs without a better validation loss */
    LM_COSINE,      /* to 0 at the end */
    LM_LINEAR,      /* to 0 at the end */
    LM_ONE_CYCLE
} LmSchedule;

/* What the loss of a window is, and so what lr and clip mean. */
typedef enum {
    LM_PER_TOKEN, /* the mean over its B T tokens */
    LM_PER_ROW    /* the mean over its B rows of the sum over T steps, as W. Zaremba and others have
                     it: T times the other */
} LmReduction;

enum { LM_UNIT_AUTO = DATA_UNIT_RAW_WORD + 1 };

typedef struct {
    /* ---- the text ---- */
    const char *data; /* a name of data/dataset.h, or NULL */
    const char *text, *valid_text, *test_text; /* files or folders, or NULL */
    double valid, test;                        /* shares, where there is no file */
    int unit;  /* a DataUnit, or LM_UNIT_AUTO: words where `data` is of prepared words, else
                  characters */
    int clean; /* a DataClean */
    bool replace_invalid;
    int64_t max_chars, min_count, max_vocab;

    /* ---- the network ---- */
    LmConfig model; /* vocab is found, not set */

    /* ---- the training ---- */
    int64_t batch, steps, epochs; /* B of each worker, T */
    bool random_offset; /* each epoch leaves out a random 0..T tokens at the start, as d2l does, so
                           that windows are cut at other places */
    bool random_steps;  /* windows of random length about T, and lr in proportion (S. Merity, N.
                           Keskar and R. Socher, ICLR 2018) */
    int reduction;      /* an LmReduction */
    int64_t accumulate; /* windows whose gradients are averaged for one step */
    int optimizer;      /* an LmOptimizer */
    double lr, momentum, weight_decay;
    int64_t nonmonotone; /* asgd: averages from when the validation loss was better n epochs ago;
                            0: from the first step */
    double clip;         /* largest norm of the gradient; 0: no limit */
    double norm_limit;   /* a norm beyond it is divergence */
    double alpha, beta;  /* activation and temporal activation regularisation */
    int schedule;        /* an LmSchedule */
    double factor;
    int64_t hold, every, patience, warmup; /* epochs; warmup: steps */
    int64_t early_stop;  /* epochs without a better validation loss; 0: never */
    int64_t seed;
    int64_t workers;
    int64_t save_every, log_every; /* seconds, 0: at the end of epochs; steps, 0: epochs only */
    int64_t eval_batch;            /* rows in which validation text is read */

    json_t *memory; /* owns the texts that were read from a file */
} LmSettings;

/* The settings of `lm train` without options. */
LmSettings lm_settings_default(void);
void lm_settings_free(LmSettings *s);

/* Those of a preset: rnnlm, better_rnnlm, ptb-small, ptb-medium, awd, char.
 * Fails (false): no such preset. */
bool lm_settings_preset(LmSettings *s, const char *name, TensorError *error);

extern const char *const lm_optimizer_names[]; /* of LmOptimizer, in a list that ends with NULL */

enum { LM_MAX_SETTINGS = 80 };
/* The table of s, ended by an entry without a name. */
void lm_settings_table(LmSettings *s, ExampleOption table[LM_MAX_SETTINGS]);

/* The settings as JSON, all of them; NULL when out of memory. */
json_t *lm_settings_json(const LmSettings *s);
/* Takes over those that the object has.
 * Fails (false; `where` begins the message): it is no object; a key that is no setting, a value of
 * the wrong type or out of range. */
bool lm_settings_from_json(LmSettings *s, const json_t *object, const char *where,
                           TensorError *error);
/* The same with files.   Fail (false): the file cannot be read or written, or is no such JSON. */
bool lm_settings_save(const LmSettings *s, const char *path, TensorError *error);
bool lm_settings_load(LmSettings *s, const char *path, TensorError *error);
/* Writes a JSON value as a file, whole or not at all, with all digits that tell its numbers from
 * others; takes it over, NULL is `out of memory`. */
bool lm_json_save(json_t *value, const char *path, TensorError *error);
/* Reads such a file; NULL: it cannot be read, or is no JSON object (with its place). */
json_t *lm_json_load(const char *path, TensorError *error);
/* Whether a run of the folder with the settings `run` can go on with s: what its checkpoint
 * depends on must be the same.   Fails (false): one line with the first option that differs. */
bool lm_settings_continue(const LmSettings *s, const LmSettings *run, const char *folder,
                          TensorError *error);
/* Settings that do not fit each other.  Fails (false): one line that names the options. */
bool lm_settings_check(const LmSettings *s, TensorError *error);
/* Fails (false): the settings wait for validation results, and none are measured. */
bool lm_settings_check_validation(const LmSettings *s, bool measured, TensorError *error);

#endif
