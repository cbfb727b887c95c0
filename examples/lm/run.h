/* run.h -- a training run as a folder.
 *
 *     config.json             settings, sizes of the network, and what has been reached
 *     vocab.json              the tokens and their numbers
 *     model.safetensors       the best parameters so far, under PyTorch's names
 *     checkpoint.safetensors  everything that training needs to go on (train.h)
 *     log.csv, log.jsonl      what was measured (log.h)
 *
 * The first three are the trained model.  Each file is written as a whole or not at all
 * (tensor/file.h); model.safetensors names the vocabulary that it belongs to, so files of runs with
 * different ones are told apart. */
#ifndef EXAMPLES_LM_RUN_H
#define EXAMPLES_LM_RUN_H
#include <limits.h>

#include "data/vocab.h"
#include "model.h"
#include "settings.h"

/* The run folder where the user names none. */
#define LM_DEFAULT_RUN "lm-run"

/* What was reached when a model was saved. */
typedef struct {
    int64_t epoch;     /* 0: nothing was saved */
    double perplexity; /* of the epoch, measured while training: exp(loss / tokens) */
    double valid;      /* perplexity on validation text after it; NaN without such a text */
    double test;       /* at the end of training; NaN without such a text, and before */
} LmResult;

/* A trained model.  Free it with lm_run_free. */
typedef struct {
    LmModel model;
    DataVocab *vocab;
    LmSettings settings;
    LmResult result;
} LmRun;

/* FOLDER/NAME.  Fails (false): the folder has no name, the path is too long, or there is something
 * that is neither a file nor a folder. */
bool lm_run_path(const char *folder, const char *name, char path[PATH_MAX], TensorError *error);

/* Makes the folder, and those above it; removes temporary files in it that belong to no process
 * any more (tensor/file.h).  Fails (false): it cannot be made or written to. */
bool lm_run_prepare(const char *folder, TensorError *error);

/* Writes vocab.json, config.json and model.safetensors; perplexities with 15 digits.
 * Fails (false): a file cannot be written; the others may be new then. */
bool lm_run_save(const char *folder, const LmRun *run, TensorError *error);

/* Reads these three.
 * Fails (false, *run is empty): a file is missing, damaged, or does not fit the others; a parameter
 * is not finite. */
bool lm_run_load(const char *folder, LmRun *run, TensorError *error);
void lm_run_free(LmRun *run);
/* Reads model.safetensors alone, into the run's model, which is made if there is none.
 * Fails (false): as above. */
bool lm_run_load_parameters(const char *folder, LmRun *run, TensorError *error);

/* The ids of a text given by the user, prepared as the model's own was (data_tokens_prepare).
 * `what` names it in messages ("--prefix").  For free().
 * Fails (false): not UTF-8; a token that the model does not know, where it has no trained <unk> (a
 * vocabulary of characters, or of words with nothing left out); out of memory. */
bool lm_run_encode(const LmRun *run, const char *what, const char *text, int64_t n, int64_t **ids,
                   int64_t *count, TensorError *error);

#endif
