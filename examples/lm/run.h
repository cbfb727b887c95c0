/* run.h -- a trained model as a folder.
 *
 *     model.safetensors   the parameters, under PyTorch's names
 *     vocab.json          the characters and their numbers
 *     config.json         the sizes of the network, and how it was trained
 *
 * Each file is written as a whole or not at all (tensor/file.h). */
#ifndef EXAMPLES_LM_RUN_H
#define EXAMPLES_LM_RUN_H
#include "data/vocab.h"
#include "model.h"
#include "train.h"

typedef enum { LM_CLEAN_NONE, LM_CLEAN_LETTERS } LmClean;

/* The names of LmClean, in a list that ends with NULL. */
extern const char *const lm_clean_names[];

/* Everything that a folder holds.  Free it with lm_run_free. */
typedef struct {
    LmModel model;
    DataVocab *vocab;
    int clean;           /* an LmClean: what was done to the text before */
    LmTraining training; /* not read back */
} LmRun;

/* Makes the folder, and those above it.  Fails (false): it cannot be made or written to. */
bool lm_run_prepare(const char *folder, TensorError *error);

/* Fails (false): a file cannot be written; the others may be new then. */
bool lm_run_save(const char *folder, const LmRun *run, const LmResult *result,
                 TensorError *error);

/* Fails (false, *run is empty): a file is missing, damaged, or does not fit the others. */
bool lm_run_load(const char *folder, LmRun *run, TensorError *error);
void lm_run_free(LmRun *run);

#endif
