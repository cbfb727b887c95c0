/* run_test.c -- run folders: saved, loaded, damaged; texts of the user. */
#define _GNU_SOURCE /* memmem */
#include "examples/lm/run.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nn/state_dict.h"
#include "tensor/safetensors.h"
#include "tests/support/folder.h"

static char here[TEST_PATH_SIZE], folder[2 * TEST_PATH_SIZE];

static void setup(void) {
    char marker[TEST_PATH_SIZE];
    test_folder_make(marker, "marker");
    test_folder_of(marker, here);
    snprintf(folder, sizeof folder, "%s/run", here);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info, (void)kind, (void)place;
    return remove(path);
}

static void teardown(void) { nftw(here, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

TestSuite(lm_run, .init = setup, .fini = teardown);

static const char *const files[] = {"config.json", "vocab.json", "model.safetensors"};

static const char *in(const char *name) {
    static char path[3][3 * TEST_PATH_SIZE];
    static int next;
    next = (next + 1) % 3;
    snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

/* ---- a run that is saved ---- */

static const char text_of_words[] = "the cat sat on the mat\nthe dog sat\n";
static const char text_of_chars[] = "the cat sat\non the mat \303\244\n";

typedef struct {
    int unit, clean;
    int64_t min_count;
} Kind;
static const Kind chars = {DATA_UNIT_CHAR, DATA_CLEAN_NONE, 0},
                  words = {DATA_UNIT_WORD, DATA_CLEAN_NONE, 0},
                  rare = {DATA_UNIT_WORD, DATA_CLEAN_LOWER, 2};

static void make_run(LmRun *run, const Kind *kind, const char *text) {
    TensorError error;
    *run = (LmRun){.settings = lm_settings_default()};
    LmSettings *s = &run->settings;
    s->unit = kind->unit, s->clean = kind->clean, s->min_count = kind->min_count;
    bool is_char = kind->unit == DATA_UNIT_CHAR;
    const DataVocabOptions options = {.kind = is_char ? DATA_VOCAB_CHAR : DATA_VOCAB_WORD,
                                      .eos = !is_char, .min_count = kind->min_count};
    run->vocab = data_vocab_new(text, (int64_t)strlen(text), &options, &error);
    cr_assert(run->vocab, "%s", error.message);
    s->model.vocab = data_vocab_size(run->vocab);
    s->model.embedding = 3, s->model.hidden = 4, s->model.layers = 2;
    s->lr = 0.1 + 0.2;
    run->result = (LmResult){7, 12.25, NAN, 1.0 / 4};
    cr_assert(lm_model_init(&run->model, &s->model, 5, &error), "%s", error.message);
}

static void save(const Kind *kind, const char *text) {
    LmRun run;
    TensorError error;
    make_run(&run, kind, text);
    cr_assert(lm_run_prepare(folder, &error), "%s", error.message);
    cr_assert(lm_run_save(folder, &run, &error), "%s", error.message);
    lm_run_free(&run);
}

static void loads(void) {
    LmRun run;
    TensorError error;
    cr_assert(lm_run_load(folder, &run, &error), "%s", error.message);
    lm_run_free(&run);
}

/* The folder is refused with one line that has both words. */
static void refused(const char *name, const char *word) {
    LmRun run;
    TensorError error = {""};
    cr_assert_not(lm_run_load(folder, &run, &error), "%s, %s is taken", name, word);
    cr_assert(strstr(error.message, name) && strstr(error.message, word) &&
                  !strchr(error.message, '\n'),
              "no '%s', '%s': %s", name, word, error.message);
    cr_assert(!run.model.set && !run.vocab, "something is left");
    lm_run_free(&run);
}

static char *bytes_of(const char *path, size_t *n) {
    TensorError error;
    char *bytes = tensor_file_read(path, 1 << 24, n, &error);
    cr_assert(bytes, "%s", error.message);
    return bytes;
}

static void write_bytes(const char *path, const char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, "%s", path);
}

Test(lm_run, it_comes_back_bit_for_bit) {
    static const Kind *const kinds[] = {&chars, &words, &rare};
    for (int i = 0; i < 3; i++) {
        LmRun a, b;
        TensorError error;
        make_run(&a, kinds[i], i ? text_of_words : text_of_chars);
        cr_assert(lm_run_prepare(folder, &error) && lm_run_save(folder, &a, &error), "%s",
                  error.message);
        cr_assert(lm_run_load(folder, &b, &error), "%s", error.message);
        json_t *x = lm_settings_json(&a.settings), *y = lm_settings_json(&b.settings);
        cr_assert(json_equal(x, y));
        json_decref(x), json_decref(y);
        cr_assert_eq(a.settings.model.vocab, b.settings.model.vocab);
        cr_assert(b.result.epoch == 7 && b.result.perplexity == 12.25 && isnan(b.result.valid) &&
                  b.result.test == 0.25);
        cr_assert_eq(nn_params_count(a.model.set), nn_params_count(b.model.set));
        for (int p = 0; p < nn_params_count(a.model.set); p++) {
            Tensor u = nn_params_at(a.model.set, p)->value, v = nn_params_at(b.model.set, p)->value;
            for (int64_t k = 0; k < tensor_numel(&u); k++)
                cr_assert_eq(tensor_get(&u, k), tensor_get(&v, k));
        }
        for (int64_t id = 0; id < data_vocab_size(a.vocab); id++)
            cr_assert_str_eq(data_vocab_token(a.vocab, id, NULL),
                             data_vocab_token(b.vocab, id, NULL));
        /* Saved again it is the same files. */
        size_t n[2][3];
        char *bytes[2][3];
        for (int f = 0; f < 3; f++) bytes[0][f] = bytes_of(in(files[f]), &n[0][f]);
        cr_assert(lm_run_save(folder, &b, &error), "%s", error.message);
        for (int f = 0; f < 3; f++) {
            bytes[1][f] = bytes_of(in(files[f]), &n[1][f]);
            cr_assert(n[0][f] == n[1][f] && memcmp(bytes[0][f], bytes[1][f], n[0][f]) == 0, "%s",
                      files[f]);
            free(bytes[0][f]), free(bytes[1][f]);
        }
        lm_run_free(&a), lm_run_free(&b);
    }
}

Test(lm_run, results_have_15_digits) {
    LmRun a, b;
    TensorError error;
    make_run(&a, &chars, text_of_chars);
    a.result = (LmResult){1, 100.0 / 3, 1e300 / 7, INFINITY};
    a.result.test = 2.0 / 3;
    cr_assert(lm_run_prepare(folder, &error) && lm_run_save(folder, &a, &error));
    cr_assert(lm_run_load(folder, &b, &error), "%s", error.message);
    cr_assert_float_eq(b.result.perplexity, a.result.perplexity, 1e-13);
    cr_assert_float_eq(b.result.valid / a.result.valid, 1, 1e-14);
    cr_assert_float_eq(b.result.test, a.result.test, 1e-15);
    lm_run_free(&a), lm_run_free(&b);
}

/* ---- damage ---- */

Test(lm_run, a_file_that_is_missing_empty_or_a_folder_is_refused_by_name) {
    save(&chars, text_of_chars);
    for (int f = 0; f < 3; f++) {
        size_t n;
        char *bytes = bytes_of(in(files[f]), &n);
        remove(in(files[f]));
        refused(files[f], "No such file");
        write_bytes(in(files[f]), "", 0);
        refused(files[f], "");
        remove(in(files[f]));
        cr_assert_eq(mkdir(in(files[f]), 0777), 0);
        refused(files[f], "");
        rmdir(in(files[f]));
        write_bytes(in(files[f]), bytes, n);
        loads();
        free(bytes);
    }
}

Test(lm_run, a_truncated_file_is_refused_by_name) {
    save(&words, text_of_words);
    for (int f = 0; f < 3; f++) {
        size_t n, end;
        char *bytes = bytes_of(in(files[f]), &n);
        for (end = n; f < 2 && bytes[end - 1] != '}';) end--;
        for (size_t cut = 0; cut < end; cut += 10) {
            write_bytes(in(files[f]), bytes, cut);
            refused(files[f], "");
        }
        write_bytes(in(files[f]), bytes, n);
        free(bytes);
    }
    loads();
}

/* Bytes that are changed are refused, or change values, but never crash. */
Test(lm_run, changed_bytes_never_crash) {
    save(&words, text_of_words);
    for (int f = 0; f < 3; f++) {
        size_t n;
        char *bytes = bytes_of(in(files[f]), &n);
        for (size_t at = 0; at < n; at += 3) {
            char old = bytes[at];
            bytes[at] = (char)(old ^ (1 << at % 7));
            write_bytes(in(files[f]), bytes, n);
            LmRun run;
            TensorError error = {""};
            bool ok = lm_run_load(folder, &run, &error);
            cr_assert(ok || (*error.message && !strchr(error.message, '\n')), "%s byte %zu",
                      files[f], at);
            lm_run_free(&run);
            bytes[at] = old;
        }
        write_bytes(in(files[f]), bytes, n);
        free(bytes);
    }
    loads();
}

Test(lm_run, files_of_another_run_are_refused_though_the_sizes_are_the_same) {
    size_t n[3];
    char *bytes[3];
    save(&words, "one cat sat on one mat\none dog sat\n");
    for (int f = 0; f < 3; f++) bytes[f] = bytes_of(in(files[f]), &n[f]);
    save(&words, text_of_words);
    write_bytes(in("model.safetensors"), bytes[2], n[2]);
    refused("model.safetensors", "another vocabulary");
    save(&words, text_of_words);
    write_bytes(in("vocab.json"), bytes[1], n[1]);
    refused("model.safetensors", "another vocabulary");
    write_bytes(in("model.safetensors"), bytes[2], n[2]);
    loads();
    save(&chars, "abcdefgh");
    write_bytes(in("vocab.json"), bytes[1], n[1]);
    refused("vocab.json", "is a vocabulary of words");
    save(&words, "one cat sat on one mat\n");
    write_bytes(in("vocab.json"), bytes[1], n[1]);
    refused("vocab.json", "has 8 tokens");
    for (int f = 0; f < 3; f++) free(bytes[f]);
}

Test(lm_run, parameters_without_a_vocabulary_s_name_are_refused) {
    LmRun run;
    TensorError error;
    save(&chars, text_of_chars);
    make_run(&run, &chars, text_of_chars);
    cr_assert(nn_save(run.model.set, in("model.safetensors"), 0, NULL, &error));
    refused("model.safetensors", "does not say which vocabulary");
    lm_run_free(&run);
}

/* config.json with another value at a place. */
static void with(const char *outer, const char *key, const char *value, const char *word) {
    TensorError error;
    json_t *config = lm_json_load(in("config.json"), &error);
    cr_assert(config, "%s", error.message);
    json_t *object = *outer ? json_object_get(config, outer) : config;
    json_t *old = json_deep_copy(config);
    if (value)
        json_object_set_new(object, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(object, key);
    cr_assert(lm_json_save(config, in("config.json"), &error));
    refused(value && strstr(word, "bytes, but") ? "model.safetensors" : "", word);
    cr_assert(lm_json_save(old, in("config.json"), &error));
}

Test(lm_run, a_config_that_does_not_fit_is_refused_by_reason) {
    static const struct {
        const char *outer, *key, *value, *word;
    } cases[] = {
        {"", "version", "1", "version 1"},
        {"", "version", "3", "version 3"},
        {"", "version", "\"2\"", "config.json"},
        {"", "version", NULL, "version"},
        {"", "format", "\"other\"", "is other version 2"},
        {"", "format", NULL, "format"},
        {"", "vocab", "0", "vocab: 0"},
        {"", "vocab", "-1", "vocab: -1"},
        {"", "vocab", "9223372036854775807", "vocab: 9223372036854775807"},
        {"", "vocab", "100", "100"},
        {"", "vocab", NULL, "vocab"},
        {"", "settings", "[]", "settings"},
        {"", "settings", NULL, "settings"},
        {"", "reached", "1", "reached"},
        {"", "reached", NULL, "reached"},
        {"", "version", "[]", "version"},
        {"", "extra", "1", "extra"},
        {"reached", "epoch", "\"x\"", "reached"},
        {"reached", "epoch", "-1", "reached"},
        {"reached", "perplexity", "[]", "reached"},
        {"reached", "test_perplexity", NULL, "reached"},
        {"reached", "extra", "1", "reached"},
        {"settings", "extra", "1", "extra: no such setting"},
        {"settings", "hidden", "5", "model.safetensors"},
        {"settings", "hidden", "3", "model.safetensors"},
        {"settings", "embedding", "2", "model.safetensors"},
        {"settings", "layers", "1", "model.safetensors"},
        {"settings", "layers", "3", "model.safetensors"},
        {"settings", "tied", "true", "model.safetensors"},
        {"settings", "tokens", "\"word\"", "vocab.json"},
        {"settings", "hidden", "1048576", "bytes, but config.json describes"},
        {"settings", "layers", "1000", "bytes, but config.json describes"},
        {"settings", "embedding", "1048576", "bytes, but config.json describes"},
    };
    save(&chars, text_of_chars);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        with(cases[i].outer, cases[i].key, cases[i].value, cases[i].word);
    loads();
}

Test(lm_run, a_config_that_does_not_say_what_its_tokens_are_is_refused) {
    save(&words, text_of_words);
    with("settings", "tokens", "\"auto\"", "config.json: settings: tokens");
    with("settings", "tokens", NULL, "config.json: settings: tokens");
    loads();
}

/* Refused before memory is taken for it. */
Test(lm_run, huge_sizes_take_no_memory) {
    TensorError error;
    save(&chars, text_of_chars);
    json_t *config = lm_json_load(in("config.json"), &error);
    json_t *settings = json_object_get(config, "settings");
    json_object_set_new(settings, "hidden", json_integer(1 << 20));
    json_object_set_new(settings, "layers", json_integer(1000));
    cr_assert(lm_json_save(config, in("config.json"), &error));
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    refused("model.safetensors", "bytes, but config.json describes");
    getrusage(RUSAGE_SELF, &after);
    cr_assert_lt(after.ru_maxrss - before.ru_maxrss, 50000);
}

Test(lm_run, parameters_that_are_no_numbers_are_refused) {
    static const double wrong[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        LmRun run;
        TensorError error;
        make_run(&run, &chars, text_of_chars);
        NnParam *p = nn_params_find(run.model.set, "lstm.weight_hh_l1");
        tensor_set(&p->value, 3, wrong[i]);
        cr_assert(lm_run_prepare(folder, &error) && lm_run_save(folder, &run, &error));
        refused("model.safetensors", "lstm.weight_hh_l1");
        lm_run_free(&run);
    }
}

/* ---- folders ---- */

Test(lm_run, a_folder_is_made_with_those_above_or_refused) {
    char path[3 * TEST_PATH_SIZE], longest[5000];
    TensorError error;
    struct stat info;
    snprintf(path, sizeof path, "%s/a/b//c/", here);
    cr_assert(lm_run_prepare(path, &error), "%s", error.message);
    cr_assert(lm_run_prepare(path, &error), "%s", error.message);
    cr_assert(stat(path, &info) == 0 && S_ISDIR(info.st_mode));
    snprintf(path, sizeof path, "%s/file", here);
    write_bytes(path, "x", 1);
    cr_assert_not(lm_run_prepare(path, &error));
    cr_assert(strstr(error.message, "Not a directory"), "%s", error.message);
    snprintf(path, sizeof path, "%s/file/below", here);
    cr_assert_not(lm_run_prepare(path, &error));
    cr_assert(strstr(error.message, "Not a directory"), "%s", error.message);
    cr_assert_not(lm_run_prepare("", &error));
    cr_assert(strstr(error.message, "empty"), "%s", error.message);
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    cr_assert_not(lm_run_prepare(longest, &error));
    cr_assert(strstr(error.message, "too long"), "%s", error.message);
    LmRun run;
    snprintf(path, sizeof path, "%s/none", here);
    cr_assert_not(lm_run_load(path, &run, &error));
    cr_assert(strstr(error.message, "none/config.json"), "%s", error.message);
}

static bool exists(const char *name) { return access(in(name), F_OK) == 0; }

/* What a process that was killed left behind goes; what another one is writing stays. */
Test(lm_run, temporary_files_of_processes_that_have_ended_are_removed) {
    TensorError error;
    char mine[64], dead[64];
    cr_assert(lm_run_prepare(folder, &error));
    pid_t child = fork();
    if (child == 0) _exit(0);
    cr_assert_gt(child, 0);
    while (kill(child, 0) == 0) waitpid(child, NULL, 0);
    snprintf(mine, sizeof mine, ".tmp-%d-0", (int)getpid());
    snprintf(dead, sizeof dead, ".tmp-%d-12", (int)child);
    const char *const keep[] = {mine, ".tmp-", ".tmp-1-0x", ".tmp-a-0", ".tmp-12", ".tmp-0-0",
                                ".tmp-99999999999999999999-0", "tmp-999999-0", "model.safetensors"};
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) write_bytes(in(keep[i]), "x", 1);
    write_bytes(in(dead), "x", 1);
    cr_assert(lm_run_prepare(folder, &error), "%s", error.message);
    cr_assert_not(exists(dead));
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
        cr_assert(exists(keep[i]), "%s is gone", keep[i]);
}

/* ---- texts of the user ---- */

static void encodes(const LmRun *run, const char *text, int64_t n, int64_t count,
                    const char *words_of) {
    int64_t *ids, got;
    TensorError error = {""};
    cr_assert(lm_run_encode(run, "--prefix", text, n, &ids, &got, &error), "'%s': %s", text,
              error.message);
    cr_assert_eq(got, count, "'%s': %lld tokens, not %lld", text, (long long)got, (long long)count);
    char *back = data_vocab_decode(run->vocab, ids, got, &n, &error);
    cr_assert(back && strcmp(back, words_of) == 0, "'%s': '%s'", text, back);
    free(back);
    free(ids);
}

static void unknown(const LmRun *run, const char *text, int64_t n, const char *word) {
    int64_t *ids, got;
    TensorError error = {""};
    cr_assert_not(lm_run_encode(run, "--prefix", text, n, &ids, &got, &error), "'%s'", text);
    cr_assert(!ids && got == 0);
    cr_assert(strncmp(error.message, "--prefix: ", 10) == 0 && strstr(error.message, word) &&
                  !strchr(error.message, '\n'),
              "'%s': %s", text, error.message);
}

Test(lm_run, a_text_becomes_the_ids_of_its_characters) {
    LmRun run;
    make_run(&run, &chars, text_of_chars);
    encodes(&run, "", 0, 0, "");
    encodes(&run, "that", 4, 4, "that");
    encodes(&run, "\303\244\n", 3, 2, "\303\244\n");
    encodes(&run, "\n", 1, 1, "\n");
    unknown(&run, "thaX", 4, "the character 'X'");
    unknown(&run, "th\303\266t", 5, "the character '\303\266'");
    unknown(&run, "a\0b", 3, "the character");
    unknown(&run, "ab\377", 3, "byte 2");
    unknown(&run, "a\303", 2, "byte 1");
    lm_run_free(&run);
}

Test(lm_run, a_text_becomes_the_ids_of_its_words) {
    LmRun run;
    make_run(&run, &words, text_of_words);
    encodes(&run, "", 0, 0, "");
    encodes(&run, "  ", 2, 0, "");
    encodes(&run, "the cat", 7, 2, "the cat");
    encodes(&run, "  the   cat ", 12, 2, "the cat");
    encodes(&run, "the\n", 4, 2, "the\n");
    encodes(&run, "the\ncat", 7, 3, "the\ncat");
    encodes(&run, "the <eos> cat", 13, 3, "the\ncat");
    encodes(&run, "\n", 1, 1, "\n");
    encodes(&run, "the\n\n", 5, 3, "the\n\n");
    unknown(&run, "the bird sat", 12, "the word 'bird'");
    unknown(&run, "The", 3, "the word 'The'");
    unknown(&run, "the\0cat", 7, "the word");
    unknown(&run, "the \377", 5, "byte 4");
    lm_run_free(&run);
}

/* Words that were left out have trained <unk>. */
Test(lm_run, an_unknown_word_is_unk_where_unk_was_trained) {
    LmRun run;
    make_run(&run, &rare, text_of_words);
    encodes(&run, "The BIRD sat", 12, 3, "the <unk> sat");
    encodes(&run, "<unk>", 5, 1, "<unk>");
    lm_run_free(&run);
    make_run(&run, &words, "the <unk> sat\n");
    encodes(&run, "the bird sat", 12, 3, "the <unk> sat");
    lm_run_free(&run);
}

/* An <eos> that the text itself ends with is meant. */
Test(lm_run, a_written_eos_at_the_end_stays) {
    LmRun run;
    make_run(&run, &words, text_of_words);
    encodes(&run, "the <eos>", 9, 2, "the\n");
    lm_run_free(&run);
}
