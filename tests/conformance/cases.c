/* cases.c -- see cases.h. */
#include "tests/conformance/cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool case_ok(const Case *c) { return !*c->reason.message; }

static void fail_v(Case *c, const char *format, va_list arguments) {
    char text[sizeof c->reason.message];
    if (!case_ok(c)) return;
    vsnprintf(text, sizeof text, format, arguments);
    tensor_error_set(&c->reason, "%s", *text ? text : "failed");
}

void case_fail(Case *c, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail_v(c, format, arguments);
    va_end(arguments);
}

/* ---- opening ---- */

/* Python writes infinities and NaN, which JSON has not, as bare words: here they become strings.
 * NULL when out of memory. */
static char *quote_words(const char *json) {
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    char *out = malloc(2 * strlen(json) + 1), *end = out; /* the shortest word takes 3 + 2 */
    bool in_string = false;
    while (out && *json) {
        size_t length = 0;
        for (size_t i = 0; !in_string && !length && i < sizeof words / sizeof *words; i++)
            if (strncmp(json, words[i], strlen(words[i])) == 0) length = strlen(words[i]);
        if (length) {
            end += sprintf(end, "\"%.*s\"", (int)length, json);
            json += length;
            continue;
        }
        if (in_string && *json == '\\' && json[1]) *end++ = *json++;
        else if (*json == '"') in_string = !in_string;
        *end++ = *json++;
    }
    if (out) *end = 0;
    return out;
}

static void read_metadata(Case *c) {
    const char *kind = tensor_safetensors_metadata(c->file, "case");
    const char *name = tensor_safetensors_metadata(c->file, "name");
    const char *config = tensor_safetensors_metadata(c->file, "config");
    if (!kind || !name || !config) {
        case_fail(c, "no `%s` in the metadata", !kind ? "case" : !name ? "name" : "config");
        return;
    }
    TensorError label; /* takes out what could break the line */
    tensor_error_set(&label, "%s-%s", kind, name);
    snprintf(c->label, sizeof c->label, "%.*s", (int)sizeof c->label - 1, label.message);
    c->kind = kind;
    json_error_t error = {.text = "out of memory"};
    char *text = quote_words(config);
    c->config = text ? json_loads(text, JSON_REJECT_DUPLICATES, &error) : NULL;
    free(text);
    if (!c->config) case_fail(c, "config: %s", error.text);
    else if (!json_is_object(c->config)) case_fail(c, "config is no JSON object");
}

void case_open(Case *c, const char *path) {
    *c = (Case){.kind = "", .setting = "", .taken = json_object()};
    const char *slash = strrchr(path, '/');
    TensorError error;
    tensor_error_set(&error, "%s", slash ? slash + 1 : path);
    snprintf(c->label, sizeof c->label, "%.*s", (int)sizeof c->label - 1, error.message);
    if (!tensor_safetensors_open(path, &c->file, &error)) {
        size_t length = strlen(path); /* the label says it already */
        bool repeated = strncmp(error.message, path, length) == 0;
        case_fail(c, "%s", error.message + (repeated ? length + 2 : 0));
        return;
    }
    c->read = calloc((size_t)tensor_safetensors_count(c->file) + 1, sizeof *c->read);
    if (!c->read || !c->taken) case_fail(c, "out of memory");
    else read_metadata(c);
}

void case_close(Case *c) {
    json_decref(c->config);
    json_decref(c->taken);
    free(c->read);
    tensor_safetensors_close(c->file);
}

void case_finish_config(Case *c) {
    const char *key;
    json_t *value;
    json_object_foreach(c->config, key, value) {
        if (json_is_boolean(value)) continue; /* a flag without a value to use: the numbers decide */
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        case_fail(c, "config: unknown key `%s` (%.100s)", key, text ? text : "?");
        free(text);
    }
}

void case_finish(Case *c) {
    case_finish_config(c);
    for (int64_t i = 0; case_ok(c) && i < tensor_safetensors_count(c->file); i++)
        if (!c->read[i])
            case_fail(c, "%s: unknown tensor", tensor_safetensors_entry(c->file, i)->name);
}

/* ---- config ---- */

bool case_has_key(const Case *c, const char *key) {
    const json_t *value = json_object_get(c->config, key);
    return value && !json_is_null(value);
}

const json_t *case_value(Case *c, const char *key) {
    json_t *value = json_object_get(c->config, key);
    if (value) { /* in `taken` it lives on */
        if (json_object_set(c->taken, key, value) != 0) case_fail(c, "out of memory");
        else json_object_del(c->config, key);
    }
    value = json_object_get(c->taken, key);
    return json_is_null(value) ? NULL : value;
}

const char *case_needs(Case *c, const char *key) {
    if (!case_value(c, key)) case_fail(c, "config has no `%s`", key);
    return key;
}

static void wrong_type(Case *c, const char *key, const char *wanted) {
    case_fail(c, "config: `%s` is not %s", key, wanted);
}

bool case_flag(Case *c, const char *key, bool otherwise) {
    const json_t *value = case_value(c, key);
    if (value && !json_is_boolean(value)) wrong_type(c, key, "true or false");
    return value ? json_is_true(value) : otherwise;
}

int64_t case_int(Case *c, const char *key, int64_t otherwise) {
    const json_t *value = case_value(c, key);
    if (value && !json_is_integer(value)) wrong_type(c, key, "an integer");
    return value ? json_integer_value(value) : otherwise;
}

static bool read_number(const json_t *value, double *number) {
    static const struct {
        const char *word;
        double number;
    } words[] = {{"inf", INFINITY}, {"Infinity", INFINITY}, {"-inf", -INFINITY},
                 {"-Infinity", -INFINITY}};
    *number = json_number_value(value);
    if (json_is_number(value)) return true;
    const char *text = json_string_value(value);
    for (size_t i = 0; text && i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i].word) == 0) return *number = words[i].number, true;
    return false;
}

double case_number(Case *c, const char *key, double otherwise) {
    const json_t *value = case_value(c, key);
    if (value && !read_number(value, &otherwise)) wrong_type(c, key, "a number");
    return otherwise;
}

const char *case_text(Case *c, const char *key, const char *otherwise) {
    const json_t *value = case_value(c, key);
    if (value && !json_is_string(value)) wrong_type(c, key, "a text");
    return json_is_string(value) ? json_string_value(value) : otherwise;
}

int case_ints(Case *c, const char *key, int max, int64_t *list) {
    const json_t *value = case_value(c, key);
    if (!value) return -1;
    if (json_is_integer(value) && max > 0) return list[0] = json_integer_value(value), 1;
    size_t n = json_array_size(value);
    if (!json_is_array(value)) wrong_type(c, key, "an integer or a list of them");
    if (n > (size_t)max) case_fail(c, "config: `%s` has more than %d entries", key, max);
    for (size_t i = 0; i < n && case_ok(c); i++) {
        const json_t *entry = json_array_get(value, i);
        if (!json_is_integer(entry)) wrong_type(c, key, "a list of integers");
        list[i] = json_integer_value(entry);
    }
    return case_ok(c) ? (int)n : 0;
}

int case_numbers(Case *c, const char *key, int max, double *list) {
    const json_t *value = case_value(c, key);
    if (!value) return -1;
    if (max > 0 && read_number(value, list)) return 1;
    size_t n = json_array_size(value);
    if (!json_is_array(value)) wrong_type(c, key, "a number or a list of them");
    if (n > (size_t)max) case_fail(c, "config: `%s` has more than %d entries", key, max);
    for (size_t i = 0; i < n && case_ok(c); i++)
        if (!read_number(json_array_get(value, i), &list[i]))
            wrong_type(c, key, "a list of numbers");
    return case_ok(c) ? (int)n : 0;
}

/* ---- tensors ---- */

bool case_has(const Case *c, const char *format, ...) {
    CASE_FORMAT(name, format);
    return tensor_safetensors_find(c->file, name) >= 0;
}

static Tensor find_tensor(Case *c, const char *name) {
    Tensor x = tensor_nil();
    if (!case_ok(c)) return x;
    int64_t index = tensor_safetensors_find(c->file, name);
    if (index < 0) {
        case_fail(c, "no tensor %s", name);
        return x;
    }
    TensorError error;
    c->read[index] = true;
    if (!tensor_safetensors_get(c->file, name, &x, &error)) case_fail(c, "%s", error.message);
    return x;
}

Tensor case_tensor(Case *c, const char *format, ...) {
    CASE_FORMAT(name, format);
    return find_tensor(c, name);
}

static bool passes(double got, double wanted, CaseTolerance tolerance) {
    if (isinf(wanted)) return got == wanted;
    return fabs(got - wanted) <= tolerance.absolute + tolerance.relative * fabs(wanted);
}

/* NaN without its sign, which says nothing. */
static double shown(double x) { return isnan(x) ? fabs(x) : x; }

/* "[1,0,2]" of a row-major index, "[]" of a scalar. */
static void write_index(const Tensor *x, int64_t index, char *text, size_t size) {
    int64_t at[TENSOR_MAX_DIMS];
    for (int d = x->ndim - 1; d >= 0; d--) {
        at[d] = index % x->shape[d];
        index /= x->shape[d];
    }
    int n = snprintf(text, size, "[");
    for (int d = 0; d < x->ndim && n < (int)size; d++)
        n += snprintf(text + n, size - (size_t)n, "%s%lld", d ? "," : "", (long long)at[d]);
    if (n < (int)size) snprintf(text + n, size - (size_t)n, "]");
}

static void compare_values(Case *c, const char *name, const Tensor *got, const Tensor *wanted,
                           CaseTolerance tolerance) {
    int64_t n = tensor_numel(wanted), first = -1, differ = 0;
    double largest = 0;
    for (int64_t i = 0; i < n && tolerance.largest > 0; i++)
        largest = fmax(largest, fabs(tensor_get(wanted, i)));
    tolerance.absolute += tolerance.largest * largest;
    for (int64_t i = 0; i < n; i++) {
        if (passes(tensor_get(got, i), tensor_get(wanted, i), tolerance)) continue;
        if (first < 0) first = i;
        differ++;
    }
    if (first < 0) return;
    char index[TENSOR_DESCRIBE_SIZE];
    write_index(wanted, first, index, sizeof index);
    case_fail(c, "%s%s%s: got %.17g, wanted %.17g (%lld of %lld differ)", c->setting, name, index,
              shown(tensor_get(got, first)), shown(tensor_get(wanted, first)), (long long)differ,
              (long long)n);
}

void case_expect_tensor(Case *c, const Tensor *got, const Tensor *wanted, CaseTolerance tolerance,
                        const char *name) {
    if (!case_ok(c)) return;
    bool same_kind = got->dtype == wanted->dtype ||
                     (tensor_dtype_is_float(got->dtype) && tensor_dtype_is_float(wanted->dtype));
    if (same_kind && tensor_same_shape(got, wanted)) {
        compare_values(c, name, got, wanted, tolerance);
        return;
    }
    char a[TENSOR_DESCRIBE_SIZE], b[TENSOR_DESCRIBE_SIZE];
    case_fail(c, "%s%s: got %s, wanted %s", c->setting, name, tensor_describe(got, a, sizeof a),
              tensor_describe(wanted, b, sizeof b));
}

void case_expect(Case *c, const Tensor *got, CaseTolerance tolerance, const char *format, ...) {
    CASE_FORMAT(name, format);
    Tensor wanted = find_tensor(c, name);
    case_expect_tensor(c, got, &wanted, tolerance, name);
}
