/* inspect.c -- see inspect.h. */
#include "inspect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "data/utf8.h"
#include "examples/support/options.h"
#include "examples/support/program.h"
#include "report.h"
#include "tensor/safetensors.h"
#include "train.h"

/* ---- parameters ---- */

typedef struct {
    double mean, std, min, max;
    int64_t nan;
} Statistics;

static Statistics measure(const Tensor *x) {
    Statistics s = {NAN, NAN, NAN, NAN, 0};
    double sum = 0, squares = 0;
    int64_t n = tensor_numel(x), count = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = tensor_get(x, i);
        s.nan += isnan(v);
        if (isnan(v)) continue;
        s.min = fmin(s.min, v);
        s.max = fmax(s.max, v);
        sum += v;
        count++;
    }
    if (count == 0) return s;
    s.mean = sum / (double)count;
    for (int64_t i = 0; i < n; i++) {
        double v = tensor_get(x, i) - s.mean;
        if (!isnan(v)) squares += v * v;
    }
    s.std = sqrt(squares / (double)count);
    return s;
}

static json_t *shape_json(const Tensor *x) {
    json_t *shape = json_array();
    for (int i = 0; shape && i < x->ndim; i++)
        json_array_append_new(shape, json_integer(x->shape[i]));
    return shape;
}

typedef struct {
    double numel, bytes;
    int64_t nan;
} Total;

static json_t *parameter_json(const char *name, const Tensor *x, Total *total) {
    Statistics s = measure(x);
    double numel = (double)tensor_numel(x);
    total->nan += s.nan;
    return json_pack("{s:s, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:I}", "name", name, "shape",
                     shape_json(x), "numel", (json_int_t)numel, "share",
                     lm_json_real(numel / total->numel), "mean", lm_json_real(s.mean), "std",
                     lm_json_real(s.std), "min", lm_json_real(s.min), "max", lm_json_real(s.max),
                     "nan", (json_int_t)s.nan);
}

/* From the file, not from a model, which is not made of numbers that are none. */
static bool list_parameters(json_t *run, const TensorSafetensors *file, TensorError *error) {
    Total total = {0};
    json_t *list = json_array();
    Tensor x;
    bool ok = list || tensor_error_set(error, "out of memory");
    for (int64_t i = 0; ok && i < tensor_safetensors_count(file); i++) {
        ok = tensor_safetensors_get(file, tensor_safetensors_entry(file, i)->name, &x, error);
        total.numel += (double)tensor_numel(&x);
        total.bytes += (double)tensor_numel(&x) * (double)tensor_dtype_size(x.dtype);
    }
    for (int64_t i = 0; ok && i < tensor_safetensors_count(file); i++) {
        const TensorSafetensorsEntry *entry = tensor_safetensors_entry(file, i);
        ok = json_array_append_new(list, parameter_json(entry->name, &entry->value, &total)) == 0 ||
             tensor_error_set(error, "out of memory");
    }
    bool set = json_object_set_new(run, "parameters", list) == 0;
    json_t *sum = json_pack("{s:I, s:I, s:I}", "numel", (json_int_t)total.numel, "bytes",
                            (json_int_t)total.bytes, "nan", (json_int_t)total.nan);
    bool both = json_object_set_new(run, "total", sum) == 0 && set;
    return ok && (both || tensor_error_set(error, "out of memory"));
}

static bool add_parameters(json_t *run, const char *folder, TensorError *error) {
    char path[PATH_MAX];
    TensorSafetensors *file;
    if (!lm_run_path(folder, "model.safetensors", path, error) ||
        !tensor_safetensors_open(path, &file, error))
        return false;
    bool ok = list_parameters(run, file, error);
    tensor_safetensors_close(file);
    return ok;
}

/* ---- settings, what was reached ---- */

static bool list_settings(json_t *run, const LmSettings *settings) {
    const LmSettings usual = lm_settings_default();
    json_t *own = lm_settings_json(settings), *others = lm_settings_json(&usual);
    json_t *changed = json_array(), *value;
    const char *key;
    bool ok = own && others && changed;
    json_object_foreach(own, key, value)
        if (ok && !json_equal(value, json_object_get(others, key)))
            ok = json_array_append_new(changed, json_string(key)) == 0;
    json_decref(others);
    /* Both are taken over, also by a call that fails. */
    bool set = json_object_set_new(run, "settings", own) == 0;
    return json_object_set_new(run, "changed", changed) == 0 && set && ok;
}

static bool add_config(json_t *run, const char *folder, TensorError *error) {
    char path[PATH_MAX];
    LmSettings settings = lm_settings_default();
    bool ok = lm_run_path(folder, "config.json", path, error) &&
              lm_settings_load(&settings, path, error);
    if (ok && !list_settings(run, &settings)) ok = tensor_error_set(error, "out of memory");
    lm_settings_free(&settings);
    json_t *config = ok ? lm_json_load(path, error) : NULL;
    json_t *reached = json_object_get(config, "reached");
    if (config && !json_is_object(reached))
        tensor_error_file(error, path, -1, "does not say what was reached");
    ok = json_is_object(reached) && (json_object_set(run, "reached", reached) == 0 ||
                                     tensor_error_set(error, "out of memory"));
    json_decref(config);
    return ok;
}

/* ---- the vocabulary ---- */

/* Tokens first .. first + n - 1; step -1: the last one first. */
static json_t *tokens_json(const DataVocab *vocab, int64_t first, int64_t n, int64_t step) {
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) {
        int64_t id = step > 0 ? first + i : first + n - 1 - i, size;
        const char *token = data_vocab_token(vocab, id, &size);
        json_t *entry = json_pack("{s:o, s:I, s:I}", "token", json_stringn(token, (size_t)size),
                                  "id", (json_int_t)id, "count",
                                  (json_int_t)data_vocab_count(vocab, id));
        if (json_array_append_new(list, entry) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *vocabulary_json(const DataVocab *vocab, json_t *unit, int64_t most) {
    int64_t V = data_vocab_size(vocab), tokens = 0;
    /* Ids are in the order of counts, but for <unk>, which is none of them. */
    int64_t first = data_vocab_unk(vocab) == 0, known = V - first;
    int64_t frequent = most < known ? most : known;
    int64_t rare = most < known - frequent ? most : known - frequent;
    for (int64_t id = 0; id < V; id++) tokens += data_vocab_count(vocab, id);
    int64_t unknown = first ? data_vocab_count(vocab, 0) : 0;
    return json_pack("{s:I, s:O, s:I, s:I, s:o, s:o}", "size", (json_int_t)V, "unit", unit,
                     "tokens", (json_int_t)tokens, "unk", (json_int_t)unknown, "most_frequent",
                     tokens_json(vocab, first, frequent, 1), "rarest",
                     tokens_json(vocab, V - rare, rare, -1));
}

static bool add_vocabulary(json_t *run, const char *folder, int64_t most, TensorError *error) {
    char path[PATH_MAX];
    if (!lm_run_path(folder, "vocab.json", path, error)) return false;
    DataVocab *vocab = data_vocab_load(path, error);
    if (!vocab) return false;
    json_t *unit = json_object_get(json_object_get(run, "settings"), "tokens");
    bool ok = json_object_set_new(run, "vocabulary", vocabulary_json(vocab, unit, most)) == 0;
    data_vocab_free(vocab);
    return ok || tensor_error_set(error, "out of memory");
}

/* ---- the checkpoint ---- */

static bool add_checkpoint(json_t *run, const char *folder, TensorError *error) {
    LmSettings settings = lm_settings_default();
    LmCheckpoint c;
    bool ok = lm_checkpoint_read(folder, &c, &settings, error);
    lm_settings_free(&settings);
    if (!ok) return false;
    json_t *object = !c.found ? json_null()
                              : json_pack("{s:I, s:I, s:b}", "epoch", (json_int_t)c.epoch, "step",
                                          (json_int_t)c.step, "done", (int)c.done);
    return json_object_set_new(run, "checkpoint", object) == 0 ||
           tensor_error_set(error, "out of memory");
}

/* ---- all of it ---- */

/* Why other commands refuse the run, or null. */
static bool add_problem(json_t *object, const char *folder, TensorError *error) {
    TensorError why;
    LmRun run;
    bool usable = lm_run_load(folder, &run, &why);
    if (usable) lm_run_free(&run);
    return json_object_set_new(object, "problem",
                               usable ? json_null() : json_string(why.message)) == 0 ||
           tensor_error_set(error, "out of memory");
}

json_t *lm_inspect(const char *folder, int64_t tokens, TensorError *error) {
    json_t *run = json_pack("{s:s}", "run", folder);
    if (!run) tensor_error_set(error, "%s: out of memory, or no UTF-8", folder);
    if (run && add_config(run, folder, error) && add_vocabulary(run, folder, tokens, error) &&
        add_parameters(run, folder, error) && add_checkpoint(run, folder, error) &&
        add_problem(run, folder, error))
        return run;
    json_decref(run);
    return NULL;
}

/* ---- for people ---- */

static long long whole(const json_t *object, const char *key) {
    return json_integer_value(json_object_get(object, key));
}

static double real(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void write_parameters(const json_t *run, FILE *out) {
    const json_t *list = json_object_get(run, "parameters"), *total = json_object_get(run, "total");
    fprintf(out, "%-24s %14s %12s %7s %10s %9s %9s %9s %6s\n", "parameter", "shape", "number",
            "share", "mean", "std", "min", "max", "NaN");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i), *shape = json_object_get(p, "shape");
        char text[64] = "";
        int used = 0;
        for (size_t k = 0; k < json_array_size(shape) && used < 40; k++)
            used += snprintf(text + used, sizeof text - (size_t)used, "%s%lld", k ? " x " : "",
                             (long long)json_integer_value(json_array_get(shape, k)));
        fprintf(out, "%-24s %14s %12lld %6.2f%% %10.3g %9.3g %9.3g %9.3g %6lld\n",
                json_string_value(json_object_get(p, "name")), text, whole(p, "numel"),
                100 * real(p, "share"), real(p, "mean"), real(p, "std"), real(p, "min"),
                real(p, "max"), whole(p, "nan"));
    }
    fprintf(out, "%-24s %14s %12lld   %lld bytes, %lld NaN\n\n", "all", "", whole(total, "numel"),
            whole(total, "bytes"), whole(total, "nan"));
}

static void write_settings(const json_t *run, FILE *out) {
    const json_t *changed = json_object_get(run, "changed");
    fputs("settings other than those of lm train without options\n", out);
    for (size_t i = 0; i < json_array_size(changed); i++) {
        const char *key = json_string_value(json_array_get(changed, i));
        char *text = json_dumps(json_object_get(json_object_get(run, "settings"), key),
                                JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        fprintf(out, "  %-22s %s\n", key, text ? text : "");
        free(text);
    }
    fputc('\n', out);
}

/* Code points that a terminal would show as nothing, or as something else. */
static bool is_invisible(uint32_t code) {
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO: return true;
    case UTF8PROC_CATEGORY_ZS: return code != ' ';
    default: return false;
    }
}

/* In quotes; what cannot be seen by its number. */
static void write_token(const char *token, int64_t n, FILE *out) {
    fputc('"', out);
    for (int64_t at = 0; at < n;) {
        uint32_t code;
        int size = data_utf8_decode(token + at, n - at, &code, NULL);
        if (code == '\n') fputs("\\n", out);
        else if (code == '\t') fputs("\\t", out);
        else if (code == '\r') fputs("\\r", out);
        else if (code == '"' || code == '\\') fprintf(out, "\\%c", (char)code);
        else if (is_invisible(code)) fprintf(out, "\\u{%X}", (unsigned)code);
        else fwrite(token + at, 1, (size_t)size, out);
        at += size;
    }
    fputc('"', out);
}

static void write_tokens(const json_t *list, const char *title, FILE *out) {
    if (json_array_size(list) == 0) return;
    fprintf(out, "%s\n", title);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i), *token = json_object_get(entry, "token");
        fprintf(out, "  %10lld  ", whole(entry, "count"));
        write_token(json_string_value(token), (int64_t)json_string_length(token), out);
        fputc('\n', out);
    }
}

static void write_vocabulary(const json_t *run, FILE *out) {
    const json_t *v = json_object_get(run, "vocabulary");
    fprintf(out, "vocabulary: %lld tokens, unit %s; in the text %lld, %lld of them <unk>\n",
            whole(v, "size"), json_string_value(json_object_get(v, "unit")), whole(v, "tokens"),
            whole(v, "unk"));
    write_tokens(json_object_get(v, "most_frequent"), "most frequent", out);
    write_tokens(json_object_get(v, "rarest"), "rarest", out);
    fputc('\n', out);
}

static void write_reached(const json_t *run, FILE *out) {
    const json_t *r = json_object_get(run, "reached"), *c = json_object_get(run, "checkpoint");
    const char *const keys[] = {"perplexity", "valid_perplexity", "test_perplexity"};
    const char *const names[] = {"in training", "on validation text", "on test text"};
    fprintf(out, "reached: epoch %lld; perplexity", whole(r, "epoch"));
    for (int i = 0, n = 0; i < 3; i++)
        if (!isnan(real(r, keys[i])))
            fprintf(out, "%s %.4f %s", n++ ? "," : "", real(r, keys[i]), names[i]);
    fputc('\n', out);
    if (json_is_null(c)) fputs("checkpoint: none\n", out);
    else if (json_is_true(json_object_get(c, "done")))
        fprintf(out, "checkpoint: step %lld, training is done\n", whole(c, "step"));
    else
        fprintf(out, "checkpoint: epoch %lld, step %lld\n", whole(c, "epoch"), whole(c, "step"));
    const char *problem = json_string_value(json_object_get(run, "problem"));
    if (problem) fprintf(out, "cannot be used: %s\n", problem);
}

void lm_inspect_write(const json_t *run, FILE *out) {
    fprintf(out, "run: %s\n\n", json_string_value(json_object_get(run, "run")));
    write_parameters(run, out);
    write_settings(run, out);
    write_vocabulary(run, out);
    write_reached(run, out);
}

/* ---- lm inspect ---- */

typedef struct {
    ExampleWords folder;
    int64_t tokens;
    bool json;
} Command;

enum { OPTIONS = 4, DEFAULT_TOKENS = 10 };

static void list_options(Command *c, ExampleOption table[OPTIONS]) {
    const ExampleOption options[OPTIONS] = {
        {"RUN", NULL, "run folder", EXAMPLE_OPTION_WORDS, .variable = &c->folder, .min = 1,
         .max = 1},
        {"tokens", "N", "how many of the most frequent and of the rarest tokens",
         EXAMPLE_OPTION_INT, &c->tokens, .max = 9e15},
        {"json", NULL, "write JSON", EXAMPLE_OPTION_ON, .variable = &c->json},
        {0},
    };
    memcpy(table, options, sizeof options);
}

static void help(void) {
    Command c = {.tokens = DEFAULT_TOKENS};
    ExampleOption table[OPTIONS];
    list_options(&c, table);
    fputs("usage: lm inspect RUN [OPTION]...\n\n"
          "Shows what is in a run folder: the parameters of the network, its settings and\n"
          "vocabulary, what it has reached, and where training can go on.\n\n", stdout);
    example_options_help(table, stdout);
    fputs("\nexample:\n"
          "  lm inspect book-run\n"
          "  lm inspect book-run --json | jq .reached\n", stdout);
}

int lm_inspect_command(int argc, char **argv) {
    TensorError error;
    ExampleOption table[OPTIONS];
    Command c = {.tokens = DEFAULT_TOKENS};
    list_options(&c, table);
    switch (example_options_read(table, argc, argv, &error)) {
    case EXAMPLE_OPTIONS_WRONG: return example_refuse("lm", error.message);
    case EXAMPLE_OPTIONS_HELP: help(); return 0;
    case EXAMPLE_OPTIONS_OK: break;
    }
    json_t *run = lm_inspect(c.folder.word[0], c.tokens, &error);
    if (!run) return example_refuse("lm", error.message);
    if (!c.json) {
        lm_inspect_write(run, stdout);
        json_decref(run);
        return 0;
    }
    return lm_json_write(run, stdout, &error) ? 0 : example_refuse("lm", error.message);
}
