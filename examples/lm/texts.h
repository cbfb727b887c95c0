/* texts.h -- the corpus that the settings ask for. */
#ifndef EXAMPLES_LM_TEXTS_H
#define EXAMPLES_LM_TEXTS_H
#include "settings.h"

/* Reads the data set or the texts; where the settings name neither, `story`.  A unit "auto" in the
 * settings becomes what it stands for, and the size of the vocabulary is set.  Downloads show
 * their progress on standard error.
 * Fails (false, *c is empty): no text at all; data_dataset_get's, data_corpus_read's. */
bool lm_texts_read(LmSettings *s, const char *story, DataCorpus *c, TensorError *error);

/* What is read, for people: the data set's name, or the text's path. */
const char *lm_texts_name(const LmSettings *s, const char *story);

#endif
