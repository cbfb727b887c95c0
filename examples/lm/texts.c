/* texts.c -- see texts.h. */
#include "texts.h"

#include <stdlib.h>

#include "data/dataset.h"

static void show_download(void *context, const char *file, int64_t bytes, int64_t total) {
    (void)context;
    fprintf(stderr, "\r%s: %lld of %lld bytes", file, (long long)bytes, (long long)total);
    if (bytes == total) fputc('\n', stderr);
}

/* The data sets of words have their parts in files; the others are one text of characters. */
static bool get_files(const LmSettings *s, DataDataset *files, TensorError *error) {
    DataDatasetOptions options = {.progress = show_download};
    TensorError why;
    const char *folder = getenv("UNROLL_DATA");
    if (data_dataset_get(s->data, &options, files, &why)) return true;
    return tensor_error_set(error, "%s%s", why.message,
                            folder ? "" : "; UNROLL_DATA may name a folder that has it");
}

/* All others are <unk>, which is not drawn: nothing could be written with the model. */
static bool check_vocab(const LmSettings *s, const char *text, const DataVocab *vocab,
                        TensorError *error) {
    bool unknown = data_vocab_size(vocab) == 1 && data_vocab_unk(vocab) == 0;
    return !unknown || tensor_error_file(error, text, -1, "--min-count %lld and --max-vocab %lld "
                                         "leave no token but <unk>", (long long)s->min_count,
                                         (long long)s->max_vocab);
}

bool lm_texts_read(LmSettings *s, const char *story, DataCorpus *c, TensorError *error) {
    DataDataset files = {0};
    *c = (DataCorpus){0};
    if (s->data && !get_files(s, &files, error)) return false;
    if (s->unit == LM_UNIT_AUTO) s->unit = files.valid ? DATA_UNIT_WORD : DATA_UNIT_CHAR;
    DataCorpusOptions o = {
        .train = s->data ? files.train : s->text ? s->text : story,
        .valid = s->data ? files.valid : s->valid_text,
        .test = s->data ? files.test : s->test_text,
        .tokens = {s->unit, s->clean},
        .replace_invalid = s->replace_invalid,
        .max_chars = s->max_chars,
        .min_count = s->min_count,
        .max_vocab = s->max_vocab,
    };
    o.valid_share = o.valid ? 0 : s->valid;
    o.test_share = o.test ? 0 : s->test;
    bool ok = o.train ? data_corpus_read(c, &o, error)
                      : tensor_error_set(error, "the story that ships with lm is missing: name a "
                                         "--text");
    data_dataset_free(&files);
    ok = ok && check_vocab(s, lm_texts_name(s, story), c->vocab, error);
    if (ok) s->model.vocab = data_vocab_size(c->vocab);
    return ok;
}

const char *lm_texts_name(const LmSettings *s, const char *story) {
    return s->data ? s->data : s->text ? s->text : story;
}
