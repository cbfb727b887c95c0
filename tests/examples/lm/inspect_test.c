/* What is in a run folder, as JSON and in tables. */
#include "examples/lm/inspect.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "examples/lm/train.h"
#include "examples/support/program.h"
#include "tests/examples/lm/tiny_run.h"
#include "tests/support/folder.h"

static const char story[] = "the \"sea\"\t\n\nthe \xE2\x80\x8Bs\xC3\xA9" "a\xCC\x81 \\ lamp\n";

static char path[TEST_PATH_SIZE], folder[TEST_PATH_SIZE];

static void make_folder(void) {
    test_folder_make(path, "config.json");
    test_folder_of(path, folder);
}

static void remove_folder(void) {
    const char *const names[] = {"vocab.json", "model.safetensors", "checkpoint.safetensors"};
    char file[PATH_MAX];
    TensorError error;
    for (int i = 0; i < 3; i++)
        if (lm_run_path(folder, names[i], file, &error)) unlink(file);
    test_folder_remove(path);
}

static void save(const LmRun *run) {
    TensorError error = {""};
    cr_assert(lm_run_save(folder, run, &error), "%s", error.message);
}

static json_t *inspect(int64_t tokens) {
    TensorError error = {""};
    json_t *j = lm_inspect(folder, tokens, &error);
    cr_assert(j, "%s", error.message);
    return j;
}

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_number(value), "%s", key);
    return json_number_value(value);
}

static char *write_text(const json_t *j) {
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    lm_inspect_write(j, out);
    fclose(out);
    return text;
}

TestSuite(inspect, .init = make_folder, .fini = remove_folder);

Test(inspect, parameters_have_their_statistics_and_add_up) {
    LmRun run;
    tiny_run_make(&run, &(TinyRun){.text = story, .unit = DATA_UNIT_CHAR, .tied = true});
    Tensor *bias = &run.model.out.bias->value;
    const int64_t V = tensor_numel(bias);
    for (int64_t i = 0; i < V; i++) tensor_set(bias, i, i == 0 ? NAN : i % 2 ? 3 : -1);
    save(&run);
    json_t *j = inspect(3);
    const json_t *list = json_object_get(j, "parameters"), *total = json_object_get(j, "total");
    double numel = 0, share = 0;
    cr_assert_eq((int)json_array_size(list), nn_params_count(run.model.set));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i), *shape = json_object_get(p, "shape");
        const NnParam *own = nn_params_at(run.model.set, (int)i);
        cr_expect_str_eq(json_string_value(json_object_get(p, "name")), own->name);
        cr_expect_eq((int)json_array_size(shape), own->value.ndim);
        for (int k = 0; k < own->value.ndim; k++)
            cr_expect_eq(json_integer_value(json_array_get(shape, (size_t)k)), own->value.shape[k]);
        cr_expect_eq(number(p, "numel"), (double)tensor_numel(&own->value));
        numel += number(p, "numel");
        share += number(p, "share");
        if (strcmp(own->name, "out.bias") != 0) {
            cr_expect_eq(number(p, "nan"), 0);
            cr_expect(number(p, "min") < number(p, "mean") && number(p, "mean") < number(p, "max"));
            continue;
        }
        double odd = (double)(V / 2), n = (double)(V - 1), mean = (4 * odd - n) / n;
        cr_expect_eq(number(p, "nan"), 1);
        cr_expect_eq(number(p, "min"), -1);
        cr_expect_eq(number(p, "max"), 3);
        cr_expect_float_eq(number(p, "mean"), mean, 1e-12);
        cr_expect_float_eq(number(p, "std"), sqrt((3 - mean) * (mean + 1)), 1e-12,
                           "of two values with these odds");
    }
    cr_expect_eq(numel, (double)nn_params_numel(run.model.set));
    cr_expect_eq(number(total, "numel"), numel);
    cr_expect_eq(number(total, "bytes"), 4 * numel);
    cr_expect_eq(number(total, "nan"), 1);
    cr_expect_float_eq(share, 1, 1e-12);
    json_decref(j);
    lm_run_free(&run);
}

Test(inspect, a_parameter_of_nan_and_one_with_an_infinity_have_no_statistics) {
    LmRun run;
    tiny_run_make(&run, &(TinyRun){.text = story, .unit = DATA_UNIT_CHAR});
    tensor_set(&run.model.out.weight->value, 3, INFINITY);
    Tensor *bias = &run.model.out.bias->value;
    for (int64_t i = 0; i < tensor_numel(bias); i++) tensor_set(bias, i, NAN);
    save(&run);
    json_t *j = inspect(3);
    const json_t *list = json_object_get(j, "parameters");
    int seen = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(p, "name"));
        bool nan = strcmp(name, "out.bias") == 0, infinite = strcmp(name, "out.weight") == 0;
        seen += nan + infinite;
        cr_expect_eq(json_is_null(json_object_get(p, "mean")), nan || infinite, "%s", name);
        cr_expect_eq(json_is_null(json_object_get(p, "std")), nan || infinite, "%s", name);
        cr_expect_eq(json_is_null(json_object_get(p, "min")), nan, "%s", name);
        cr_expect_eq(json_is_null(json_object_get(p, "max")), nan || infinite, "%s", name);
    }
    cr_expect_eq(seen, 2);
    char *text = write_text(j);
    cr_expect(strstr(text, "nan"), "%s", text);
    const char *problem = json_string_value(json_object_get(j, "problem"));
    cr_assert(problem && strstr(problem, "model.safetensors: out."), "%s", problem);
    cr_expect(strstr(text, problem), "%s", text);
    free(text);
    json_decref(j);
    lm_run_free(&run);
}

Test(inspect, settings_and_what_was_reached) {
    LmRun run;
    tiny_run_make(&run, &(TinyRun){.text = story, .unit = DATA_UNIT_CHAR});
    run.settings.lr = 0.125;
    save(&run);
    json_t *j = inspect(3);
    const json_t *settings = json_object_get(j, "settings");
    const json_t *reached = json_object_get(j, "reached"), *changed = json_object_get(j, "changed");
    cr_expect_eq(number(settings, "hidden"), 7);
    cr_expect_eq(number(settings, "lr"), 0.125);
    cr_expect_eq(number(settings, "batch"), (double)lm_settings_default().batch);
    int lr = 0, batch = 0;
    for (size_t i = 0; i < json_array_size(changed); i++) {
        lr += strcmp(json_string_value(json_array_get(changed, i)), "lr") == 0;
        batch += strcmp(json_string_value(json_array_get(changed, i)), "batch") == 0;
    }
    cr_expect(lr == 1 && batch == 0);
    cr_expect_eq(number(reached, "epoch"), 2);
    cr_expect_eq(number(reached, "perplexity"), 3.5);
    cr_expect_eq(number(reached, "valid_perplexity"), 4.5);
    cr_expect(json_is_null(json_object_get(reached, "test_perplexity")));
    char *text = write_text(j);
    cr_expect(strstr(text, "\n  lr                     0.125\n"), "%s", text);
    cr_expect_null(strstr(text, "\n  batch  "), "%s", text);
    cr_expect(json_is_null(json_object_get(j, "problem")));
    cr_expect(strstr(text, "reached: epoch 2; perplexity 3.5000 in training, 4.5000 on validation "
                           "text\ncheckpoint: none\n"), "%s", text);
    free(text);
    json_decref(j);
    lm_run_free(&run);
}

Test(inspect, tokens_that_cannot_be_seen_are_written_by_their_numbers) {
    LmRun run;
    tiny_run_make(&run, &(TinyRun){.text = story, .unit = DATA_UNIT_CHAR});
    save(&run);
    json_t *j = inspect(1000);
    char *text = write_text(j);
    const char *const escaped[] = {"\"\\\"\"\n", "\"\\\\\"\n", "\"\\t\"\n", "\"\\n\"\n", "\" \"\n",
                                   "\"\\u{200B}\"\n", "\"\\u{301}\"\n", "\"\xC3\xA9\"\n"};
    for (size_t i = 0; i < sizeof escaped / sizeof *escaped; i++)
        cr_expect(strstr(text, escaped[i]), "%s is not in\n%s", escaped[i], text);
    free(text);
    json_decref(j);
    lm_run_free(&run);
}

Test(inspect, the_most_frequent_and_the_rarest_tokens_are_other_tokens) {
    LmRun run;
    tiny_run_make(&run, &(TinyRun){.text = "a a a a b b b c c d e\n", .unit = DATA_UNIT_WORD,
                                   .min_count = 1});
    save(&run);
    const struct {
        int64_t most;
        const char *frequent, *rarest;
    } cases[] = {{2, "ab", "ed"}, {0, "", ""}, {4, "abc<", "ed"}, {99, "abc<de", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *j = inspect(cases[i].most);
        const json_t *v = json_object_get(j, "vocabulary");
        const char *const keys[] = {"most_frequent", "rarest"};
        cr_expect_eq(number(v, "size"), 7, "<unk> and <eos>, too");
        cr_expect_eq(number(v, "tokens"), 12);
        cr_expect_str_eq(json_string_value(json_object_get(v, "unit")), "word");
        for (int k = 0; k < 2; k++) {
            const json_t *list = json_object_get(v, keys[k]);
            const char *want = k ? cases[i].rarest : cases[i].frequent;
            cr_assert_eq(json_array_size(list), strlen(want), "case %d", (int)i);
            for (size_t t = 0; t < strlen(want); t++) {
                const json_t *entry = json_array_get(list, t);
                const char *token = json_string_value(json_object_get(entry, "token"));
                cr_expect_eq(token[0], want[t], "case %d: %s", (int)i, token);
                int64_t id = (int64_t)number(entry, "id");
                cr_expect_str_eq(data_vocab_token(run.vocab, id, NULL), token);
                cr_expect_eq(number(entry, "count"), (double)data_vocab_count(run.vocab, id));
            }
        }
        json_decref(j);
    }
    lm_run_free(&run);
}

Test(inspect, a_folder_without_a_model_and_a_damaged_checkpoint_are_refused) {
    LmRun run;
    TensorError error = {""};
    char file[PATH_MAX];
    cr_expect_null(lm_inspect(folder, 3, &error));
    cr_expect(strstr(error.message, "config.json"), "%s", error.message);
    tiny_run_make(&run, &(TinyRun){.text = story, .unit = DATA_UNIT_CHAR});
    save(&run);
    cr_assert(lm_run_path(folder, "checkpoint.safetensors", file, &error));
    FILE *out = fopen(file, "w");
    fputs("no checkpoint", out);
    fclose(out);
    cr_expect_null(lm_inspect(folder, 3, &error));
    cr_expect(strstr(error.message, "checkpoint.safetensors"), "%s", error.message);
    unlink(file);

    const char *const missing[] = {"model.safetensors", "vocab.json"};
    for (int i = 0; i < 2; i++) {
        cr_assert(lm_run_path(folder, missing[i], file, &error));
        unlink(file);
        cr_expect_null(lm_inspect(folder, 3, &error));
        cr_expect(strstr(error.message, missing[i]), "%s", error.message);
    }
    out = fopen(path, "w");
    fputs("{\"settings\": {}}", out);
    fclose(out);
    cr_expect_null(lm_inspect(folder, 3, &error));
    cr_expect(strstr(error.message, "reached"), "%s", error.message);
    lm_run_free(&run);
}

Test(inspect, a_checkpoint_says_where_training_stands) {
    const char *const names[] = {"text.txt", "log.csv", "log.jsonl"};
    char text[PATH_MAX];
    TensorError error = {""};
    cr_assert(lm_run_path(folder, names[0], text, &error));
    FILE *out = fopen(text, "w");
    for (int i = 0; i < 20; i++) fputs(story, out);
    fclose(out);
    const DataCorpusOptions o = {.train = text};
    DataCorpus corpus;
    cr_assert(data_corpus_read(&corpus, &o, &error), "%s", error.message);
    LmRun run;
    tiny_run_make(&run, &(TinyRun){.text = story, .unit = DATA_UNIT_CHAR});
    run.settings.epochs = 2;
    run.settings.batch = 4;
    run.settings.steps = 10;
    const volatile sig_atomic_t stop = 0, stop_at_once = 1;
    LmTrainJob job = {.folder = folder, .run = &run, .corpus = &corpus, .stop = &stop_at_once};
    cr_redirect_stdout();
    cr_assert_eq(lm_train(&job, &error), LM_TRAIN_STOPPED, "%s", error.message);
    json_t *j = inspect(0);
    const json_t *c = json_object_get(j, "checkpoint");
    cr_expect(number(c, "epoch") == 1 && number(c, "step") == 1);
    cr_expect(json_is_false(json_object_get(c, "done")));
    json_decref(j);

    job.stop = &stop;
    job.resume = true;
    cr_assert_eq(lm_train(&job, &error), LM_TRAIN_DONE, "%s", error.message);
    j = inspect(0);
    c = json_object_get(j, "checkpoint");
    cr_expect(number(c, "epoch") == 3 && number(c, "step") > 10);
    cr_expect(json_is_true(json_object_get(c, "done")));
    char *table = write_text(j);
    cr_expect(strstr(table, ", training is done\n"), "%s", table);
    free(table);
    json_decref(j);
    data_corpus_free(&corpus);
    lm_run_free(&run);
    for (int i = 0; i < 3; i++)
        if (lm_run_path(folder, names[i], text, &error)) unlink(text);
}

Test(inspect, the_command_prints_both_forms) {
    LmRun run;
    tiny_run_make(&run, &(TinyRun){.text = story, .unit = DATA_UNIT_RAW_WORD});
    save(&run);
    char *const argv[] = {(char *)(intptr_t)"inspect", folder, (char *)(intptr_t)"--json"};
    cr_redirect_stdout();
    cr_redirect_stderr();
    cr_expect_eq(lm_inspect_command(2, (char **)(intptr_t)argv), 0);
    cr_expect_eq(lm_inspect_command(3, (char **)(intptr_t)argv), 0);
    cr_expect_eq(lm_inspect_command(1, (char **)(intptr_t)argv), EXAMPLE_REFUSED);
    fflush(stdout);
    json_t *j = inspect(10);
    char *table = write_text(j), *dump = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    char both[1 << 16];
    snprintf(both, sizeof both, "%s%s\n", table, dump);
    cr_expect_stdout_eq_str(both);
    free(table);
    free(dump);
    json_decref(j);
    lm_run_free(&run);
}
