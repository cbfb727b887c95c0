/* settings_test.c -- every setting on the command line, in JSON, in files and presets. */
#include "examples/lm/settings.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/folder.h"

static char path[TEST_PATH_SIZE];
static void setup(void) { test_folder_make(path, "settings.json"); }
static void teardown(void) { test_folder_remove(path); }
TestSuite(lm_settings, .init = setup, .fini = teardown);

/* ---- values of an entry of the table ---- */

/* Some that it may have. */
static json_t *legal(const ExampleOption *o) {
    json_t *list = json_array();
    switch (o->kind) {
    case EXAMPLE_OPTION_INT:
        json_array_append_new(list, json_integer((json_int_t)o->min));
        json_array_append_new(list, json_integer((json_int_t)o->min + 1));
        json_array_append_new(list, json_integer((json_int_t)o->max));
        break;
    case EXAMPLE_OPTION_REAL:
        if (!o->above_min) json_array_append_new(list, json_real(o->min));
        if (!o->below_max) json_array_append_new(list, json_real(o->max));
        json_array_append_new(list, json_real(1.0 / 3));
        json_array_append_new(list, json_real(0.1 + 0.2));
        json_array_append_new(list, json_real(5e-324));
        json_array_append_new(list, json_real(nextafter(1, 0)));
        break;
    case EXAMPLE_OPTION_CHOICE:
        for (int i = 0; o->choices[i]; i++) json_array_append_new(list, json_string(o->choices[i]));
        break;
    case EXAMPLE_OPTION_TEXT:
        json_array_append_new(list, json_null());
        json_array_append_new(list, json_string(""));
        json_array_append_new(list, json_string("a \"b\"\\ \n\t \303\244 \xf0\x9f\x99\x82"));
        break;
    default:
        json_array_append_new(list, json_true());
        json_array_append_new(list, json_false());
    }
    return list;
}

static void append(json_t *list, const char *json) {
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    cr_assert(value, "%s", json);
    json_array_append_new(list, value);
}

/* Values of a wrong type or out of range. */
static json_t *illegal(const ExampleOption *o) {
    json_t *list = json_array();
    append(list, "[]");
    append(list, "{}");
    if (o->kind != EXAMPLE_OPTION_TEXT) append(list, "null");
    if (o->kind != EXAMPLE_OPTION_TEXT) append(list, "\"1\"");
    switch (o->kind) {
    case EXAMPLE_OPTION_INT:
        json_array_append_new(list, json_integer((json_int_t)o->min - 1));
        json_array_append_new(list, json_integer((json_int_t)o->max + 1));
        append(list, "9223372036854775807");
        append(list, "-9223372036854775808");
        append(list, "2.0");
        append(list, "true");
        break;
    case EXAMPLE_OPTION_REAL:
        json_array_append_new(list, json_real(nextafter(o->min, -HUGE_VAL)));
        json_array_append_new(list, json_real(nextafter(o->max, HUGE_VAL)));
        if (o->above_min) json_array_append_new(list, json_real(o->min));
        if (o->below_max) json_array_append_new(list, json_real(o->max));
        append(list, "false");
        break;
    case EXAMPLE_OPTION_CHOICE: append(list, "\"\""); /* fall through */
    case EXAMPLE_OPTION_TEXT: append(list, "true"); append(list, "0"); break;
    default: append(list, "0"); append(list, "1");
    }
    return list;
}

static json_t *single(const char *key, json_t *value) {
    json_t *object = json_object();
    json_object_set(object, key, value);
    return object;
}

/* The object becomes settings and those JSON again; also through a file. */
static void round_trip(const ExampleOption *o, json_t *value) {
    LmSettings s = lm_settings_default(), from_file = lm_settings_default();
    TensorError error;
    json_t *expected = lm_settings_json(&s), *one = single(o->name, value);
    json_object_set(expected, o->name, value);
    cr_assert(lm_settings_from_json(&s, one, "here", &error), "%s", error.message);
    json_decref(one);
    json_t *now = lm_settings_json(&s);
    cr_assert(json_equal(now, expected), "%s", o->name);
    cr_assert(lm_settings_save(&s, path, &error), "%s", error.message);
    cr_assert(lm_settings_load(&from_file, path, &error), "%s", error.message);
    json_t *loaded = lm_settings_json(&from_file);
    cr_assert(json_equal(loaded, expected), "%s: not the same from a file", o->name);
    json_decref(loaded);
    json_decref(now);
    json_decref(expected);
    lm_settings_free(&s);
    lm_settings_free(&from_file);
}

static void refused(const char *name, json_t *value) {
    LmSettings s = lm_settings_default();
    TensorError error = {""};
    json_t *one = single(name, value), *before = lm_settings_json(&s);
    char *text = json_dumps(one, 0);
    cr_assert_not(lm_settings_from_json(&s, one, "here.json", &error), "%s is taken", text);
    cr_assert(strncmp(error.message, "here.json: ", 11) == 0 && strstr(error.message, name) &&
                  !strchr(error.message, '\n'),
              "%s: %s", text, error.message);
    json_t *after = lm_settings_json(&s);
    cr_assert(json_equal(before, after), "%s changed the settings", text);
    free(text);
    json_decref(after);
    json_decref(before);
    json_decref(one);
    lm_settings_free(&s);
}

Test(lm_settings, each_comes_back_from_json_and_files_and_refuses_what_it_cannot_be) {
    LmSettings s = lm_settings_default();
    ExampleOption table[LM_MAX_SETTINGS];
    size_t i;
    json_t *value;
    lm_settings_table(&s, table);
    for (const ExampleOption *o = table; o->name; o++) {
        if (o->kind == EXAMPLE_OPTION_HEADING) continue;
        json_t *good = legal(o), *bad = illegal(o);
        json_array_foreach(good, i, value) round_trip(o, value);
        json_array_foreach(bad, i, value) refused(o->name, value);
        json_decref(good);
        json_decref(bad);
    }
}

Test(lm_settings, what_json_has_is_what_the_command_line_has) {
    LmSettings s = lm_settings_default();
    ExampleOption table[LM_MAX_SETTINGS];
    lm_settings_table(&s, table);
    json_t *all = lm_settings_json(&s);
    size_t names = 0;
    for (const ExampleOption *o = table; o->name; o++) {
        if (o->kind == EXAMPLE_OPTION_HEADING) continue;
        names++;
        cr_assert(json_object_get(all, o->name), "%s", o->name);
        cr_assert(o->help && *o->help && (o->value != NULL) == (o->kind <= EXAMPLE_OPTION_CHOICE),
                  "%s", o->name);
        for (const ExampleOption *p = table; p < o; p++)
            cr_assert(strcmp(p->name, o->name) != 0 && p->variable != o->variable, "%s, %s",
                      p->name, o->name);
    }
    cr_assert_eq(json_object_size(all), names, "a name twice");
    json_decref(all);
}

/* Any two values of a setting are told apart by both ways to write them. */
Test(lm_settings, on_the_command_line_each_does_what_it_does_in_json) {
    LmSettings a = lm_settings_default(), b = lm_settings_default();
    ExampleOption table[LM_MAX_SETTINGS];
    TensorError error;
    lm_settings_table(&a, table);
    for (const ExampleOption *o = table; o->name; o++) {
        if (o->kind == EXAMPLE_OPTION_HEADING) continue;
        bool choice = o->kind == EXAMPLE_OPTION_CHOICE, text = o->kind == EXAMPLE_OPTION_TEXT;
        char name[64], number[64];
        snprintf(name, sizeof name, "--%s", o->name);
        double x = o->min + 1 < o->max ? o->min + 1 : 0.375;
        snprintf(number, sizeof number, "%.17g", x);
        json_t *value = choice ? json_string(o->choices[1]) : text ? json_string("some text")
                        : o->kind == EXAMPLE_OPTION_INT  ? json_integer((json_int_t)x)
                        : o->kind == EXAMPLE_OPTION_REAL ? json_real(x)
                                                         : json_true();
        char *word = choice ? (char *)o->choices[1] : text ? (char *)"some text" : number;
        char *argv[] = {(char *)"train", name, o->value ? word : NULL, NULL};
        cr_assert_eq(example_options_read(table, o->value ? 3 : 2, argv, &error),
                     EXAMPLE_OPTIONS_OK, "%s", error.message);
        json_t *one = single(o->name, value);
        cr_assert(lm_settings_from_json(&b, one, "here", &error), "%s", error.message);
        json_t *x_json = lm_settings_json(&a), *y_json = lm_settings_json(&b);
        cr_assert(json_equal(x_json, y_json), "%s", o->name);
        cr_assert(json_equal(json_object_get(x_json, o->name), value), "%s", o->name);
        json_decref(x_json), json_decref(y_json), json_decref(one), json_decref(value);
    }
    lm_settings_free(&a);
    lm_settings_free(&b);
}

Test(lm_settings, a_flag_is_taken_back_with_no) {
    static const char *const flags[] = {"tied", "locked", "random-steps", "replace-invalid"};
    LmSettings s = lm_settings_default();
    ExampleOption table[LM_MAX_SETTINGS];
    TensorError error;
    lm_settings_table(&s, table);
    for (int i = 0; i < 4; i++) {
        char yes[64], no[64];
        snprintf(yes, sizeof yes, "--%s", flags[i]);
        snprintf(no, sizeof no, "--no-%s", flags[i]);
        for (int last = 0; last < 2; last++) {
            char *argv[] = {(char *)"train", last ? no : yes, last ? yes : no, NULL};
            cr_assert_eq(example_options_read(table, 3, argv, &error), EXAMPLE_OPTIONS_OK);
            json_t *all = lm_settings_json(&s);
            cr_assert_eq(json_is_true(json_object_get(all, flags[i])), last, "%s", flags[i]);
            json_decref(all);
        }
    }
}

/* ---- files ---- */

static void write_file(const char *text, size_t n) {
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(text, 1, n, f) == n && fclose(f) == 0);
}

static void file_refused(const char *text, size_t n, const char *word) {
    LmSettings s = lm_settings_default();
    TensorError error = {""};
    write_file(text, n);
    cr_assert_not(lm_settings_load(&s, path, &error), "%s", text);
    cr_assert(strstr(error.message, "settings.json: ") && strstr(error.message, word) &&
                  !strchr(error.message, '\n'),
              "%s: no '%s': %s", text, word, error.message);
    lm_settings_free(&s);
}

Test(lm_settings, a_file_that_is_none_is_refused_with_its_name) {
    static const struct {
        const char *text, *word;
    } files[] = {
        {"", "line 1"},
        {"{", "line 1, column 1"},
        {"{\"lr\": 1, \"lr\": 2}", "duplicate"},
        {"{\"lr\": 1} x", "line 1"},
        {"[1]", "no JSON object"},
        {"3", "line 1"},
        {"{\"lr\": 1e999}", "line 1"},
        {"{\"hidden\": 99999999999999999999}", "line 1"},
        {"{\"rate\": 1}", "rate: no such setting"},
        {"{\"\": 1}", "no such setting"},
        {"{\"vocab\": 1}", "vocab: no such setting"},
        {"{\"settings\": 1}", "settings"},
        {"{\"settings\": {\"x\": 1}}", "x: no such setting"},
        {"{\"text\": \"\xff\"}", "line 1"},
        {"{\"text\": \"a\\u0000b\"}", "line 1"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        file_refused(files[i].text, strlen(files[i].text), files[i].word);
    LmSettings s = lm_settings_default();
    TensorError error;
    remove(path);
    cr_assert_not(lm_settings_load(&s, path, &error));
    cr_assert(strstr(error.message, "No such file"), "%s", error.message);
    cr_assert_not(lm_settings_save(&s, "/nowhere/at/all.json", &error));
    cr_assert(strstr(error.message, "/nowhere/at/all.json"), "%s", error.message);
}

Test(lm_settings, a_truncated_file_is_refused_at_every_byte) {
    LmSettings s = lm_settings_default();
    TensorError error;
    size_t n;
    cr_assert(lm_settings_save(&s, path, &error));
    char *text = tensor_file_read(path, 1 << 20, &n, &error);
    cr_assert(text);
    while (n > 0 && text[n - 1] != '}') n--;
    for (size_t cut = 0; cut < n; cut++) file_refused(text, cut, "");
    free(text);
}

Test(lm_settings, a_run_s_config_gives_its_settings_and_a_partial_file_changes_nothing_else) {
    LmSettings s = lm_settings_default();
    TensorError error;
    static const char config[] = "{\"format\": \"unroll-lm\", \"settings\": {\"lr\": 0.25, "
                                 "\"text\": \"a.txt\"}}";
    write_file(config, strlen(config));
    s.epochs = 77;
    cr_assert(lm_settings_load(&s, path, &error), "%s", error.message);
    cr_assert(s.lr == 0.25 && s.epochs == 77 && strcmp(s.text, "a.txt") == 0);
    /* Later files win, and texts outlive the files they come from. */
    static const char second[] = "{\"lr\": 0.5, \"valid-text\": \"b.txt\"}";
    write_file(second, strlen(second));
    cr_assert(lm_settings_load(&s, path, &error), "%s", error.message);
    cr_assert(s.lr == 0.5 && strcmp(s.text, "a.txt") == 0 && strcmp(s.valid_text, "b.txt") == 0);
    lm_settings_free(&s);
}

Test(lm_settings, a_number_that_few_digits_tell_is_written_with_few) {
    LmSettings s = lm_settings_default();
    TensorError error;
    size_t n;
    s.lr = 0.1;
    s.clip = 0.3;
    cr_assert(lm_settings_save(&s, path, &error));
    char *text = tensor_file_read(path, 1 << 20, &n, &error);
    cr_assert(strstr(text, "\"lr\": 0.1,") && strstr(text, "\"clip\": 0.3,"), "%s", text);
    free(text);
}

/* ---- presets ---- */

Test(lm_settings, presets_have_the_numbers_of_their_sources) {
    static const struct {
        const char *name, *json;
    } presets[] = {
        {"char", "{\"tokens\": \"char\", \"hidden\": 256, \"layers\": 2, \"dropout\": 0.25, "
                 "\"batch\": 32, \"steps\": 100, \"optimizer\": \"adam\", "
                 "\"schedule\": \"cosine\"}"},
        {"rnnlm", "{\"data\": \"ptb\", \"tokens\": \"word\", \"embedding\": 100, \"hidden\": 100, "
                  "\"layers\": 1, \"dropout\": 0.0, \"batch\": 20, \"steps\": 35, \"epochs\": 4, "
                  "\"optimizer\": \"sgd\", \"lr\": 20.0, \"clip\": 0.25, "
                  "\"schedule\": \"constant\", \"fixed-offset\": true}"},
        {"better_rnnlm", "{\"data\": \"ptb\", \"layers\": 2, \"dropout\": 0.5, \"tied\": true, "
                         "\"epochs\": 40, \"lr\": 20.0, \"clip\": 0.25, \"schedule\": "
                         "\"plateau\", \"factor\": 0.25, \"patience\": 0}"},
        {"ptb-small", "{\"hidden\": 200, \"embedding\": 200, \"layers\": 2, \"init\": 0.1, "
                      "\"init-lstm\": 0.1, \"batch\": 20, \"steps\": 20, \"epochs\": 13, "
                      "\"reduction\": \"row\", \"lr\": 1.0, \"clip\": 5.0, \"factor\": 0.5, "
                      "\"hold\": 4, \"dropout\": 0.0, \"schedule\": \"exponential\"}"},
        {"ptb-medium", "{\"hidden\": 650, \"embedding\": 650, \"init\": 0.05, \"steps\": 35, "
                       "\"epochs\": 39, \"dropout\": 0.5, \"factor\": 0.8, \"hold\": 6, "
                       "\"lr\": 1.0, \"clip\": 5.0, \"reduction\": \"row\"}"},
        {"awd", "{\"embedding\": 400, \"hidden\": 1150, \"layers\": 3, \"tied\": true, "
                "\"dropout-input\": 0.4, \"dropout-hidden\": 0.25, \"dropout-output\": 0.4, "
                "\"locked\": true, \"embedding-dropout\": 0.1, \"weight-drop\": 0.5, "
                "\"steps\": 70, \"random-steps\": true, \"optimizer\": \"asgd\", "
                "\"nonmonotone\": 5, \"lr\": 30.0, \"clip\": 0.25, \"alpha\": 2.0, \"beta\": 1.0, "
                "\"weight-decay\": 1.2e-6, \"epochs\": 500, \"batch\": 20}"},
    };
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        LmSettings s = lm_settings_default();
        TensorError error;
        cr_assert(lm_settings_preset(&s, presets[i].name, &error), "%s", error.message);
        cr_assert(lm_settings_check(&s, &error), "%s: %s", presets[i].name, error.message);
        json_t *all = lm_settings_json(&s), *some = json_loads(presets[i].json, 0, NULL), *value;
        const char *key;
        cr_assert(some, "%s", presets[i].name);
        json_object_foreach(some, key, value)
            cr_assert(json_equal(json_object_get(all, key), value), "%s: %s", presets[i].name, key);
        /* What a preset sets is in range: its own JSON is taken. */
        LmSettings again = lm_settings_default();
        cr_assert(lm_settings_from_json(&again, all, "here", &error), "%s", error.message);
        lm_settings_free(&again);
        json_decref(all);
        json_decref(some);
    }
    LmSettings s = lm_settings_default();
    TensorError error;
    cr_assert_not(lm_settings_preset(&s, "no", &error));
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        cr_assert(strstr(error.message, presets[i].name), "%s", error.message);
}

/* ---- what does not fit ---- */

Test(lm_settings, settings_that_do_not_fit_each_other_are_refused_by_option) {
    static const struct {
        const char *json, *word; /* NULL: they fit */
    } cases[] = {
        {"{}", NULL},
        {"{\"data\": \"ptb\", \"text\": \"a\"}", "--data and --text"},
        {"{\"valid-text\": \"a\"}", "--valid-text"},
        {"{\"test-text\": \"a\"}", "--test-text"},
        {"{\"text\": \"b\", \"valid-text\": \"a\", \"test-text\": \"c\"}", NULL},
        {"{\"momentum\": 0.5}", "--momentum: adam"},
        {"{\"momentum\": 0.5, \"optimizer\": \"asgd\"}", "--momentum: asgd"},
        {"{\"momentum\": 0.5, \"optimizer\": \"sgd\"}", NULL},
        {"{\"momentum\": 0.5, \"optimizer\": \"rmsprop\"}", NULL},
        {"{\"nonmonotone\": 2}", "--nonmonotone"},
        {"{\"nonmonotone\": 2, \"optimizer\": \"asgd\"}", NULL},
        {"{\"warmup\": 2, \"schedule\": \"plateau\"}", "--warmup"},
        {"{\"warmup\": 2, \"schedule\": \"cosine\"}", NULL},
        {"{\"valid\": 0.5, \"test\": 0.5}", "--valid 0.5 and --test 0.5"},
        {"{\"valid\": 0.5, \"test\": 0.25}", NULL},
        {"{\"valid\": 0, \"early-stop\": 2}", "--early-stop"},
        {"{\"valid\": 0, \"schedule\": \"plateau\"}", "--schedule plateau"},
        {"{\"valid\": 0, \"optimizer\": \"asgd\", \"nonmonotone\": 1}", "--nonmonotone"},
        {"{\"valid\": 0, \"data\": \"ptb\", \"early-stop\": 2}", NULL},
        {"{\"valid\": 0, \"text\": \"a\", \"valid-text\": \"b\", \"early-stop\": 2}", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        LmSettings s = lm_settings_default();
        TensorError error = {""};
        json_t *object = json_loads(cases[i].json, 0, NULL);
        cr_assert(lm_settings_from_json(&s, object, "here", &error), "%s", error.message);
        bool ok = lm_settings_check(&s, &error);
        cr_assert_eq(ok, cases[i].word == NULL, "%s: %s", cases[i].json, error.message);
        cr_assert(ok || strstr(error.message, cases[i].word), "%s: %s", cases[i].json,
                  error.message);
        json_decref(object);
        lm_settings_free(&s);
    }
}
