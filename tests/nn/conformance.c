/* conformance.c -- see conformance.h. */
#include "tests/nn/conformance.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void open_case(ConformanceCase *c, const char *folder, const char *name) {
    snprintf(c->path, sizeof c->path, "%s/%s", folder, name);
    TensorError error;
    cr_assert(tensor_safetensors_open(c->path, &c->file, &error), "%s", error.message);
    const char *config = tensor_safetensors_metadata(c->file, "config");
    c->config = config ? json_loads(config, 0, NULL) : NULL;
    cr_assert(json_is_object(c->config), "%s: no config", c->path);
}

void conformance_each(const char *kind, bool (*run)(const ConformanceCase *c)) {
    const char *folder = getenv("UNROLL_CONFORMANCE");
    if (!folder || !*folder) {
        printf("%s: skipped: UNROLL_CONFORMANCE, the folder of the cases, is not set\n", kind);
        fflush(stdout);
        cr_skip_test();
        return;
    }
    struct dirent **entry;
    int n = scandir(folder, &entry, NULL, alphasort), taken = 0;
    cr_assert(n >= 0, "%s cannot be read", folder);
    for (int i = 0; i < n; i++) {
        size_t length = strlen(entry[i]->d_name);
        bool fits = length > 12 && strcmp(entry[i]->d_name + length - 12, ".safetensors") == 0;
        if (fits && strncmp(entry[i]->d_name, kind, strlen(kind)) == 0) {
            ConformanceCase c;
            open_case(&c, folder, entry[i]->d_name);
            const char *of = tensor_safetensors_metadata(c.file, "case");
            if (of && strcmp(of, kind) == 0) taken += run(&c);
            json_decref(c.config);
            tensor_safetensors_close(c.file);
        }
        free(entry[i]);
    }
    free(entry);
    cr_assert(taken > 0, "%s has no case %s", folder, kind);
    printf("UNROLL_CONFORMANCE used: %s (%d cases of %s)\n", folder, taken, kind);
    fflush(stdout);
}

/* ---- options ---- */

bool conformance_flag(const ConformanceCase *c, const char *key) {
    return json_is_true(json_object_get(c->config, key));
}

int64_t conformance_int(const ConformanceCase *c, const char *key) {
    const json_t *value = json_object_get(c->config, key);
    cr_assert(json_is_integer(value), "%s: no option %s", c->path, key);
    return json_integer_value(value);
}

const char *conformance_text(const ConformanceCase *c, const char *key) {
    const json_t *value = json_object_get(c->config, key);
    cr_assert(json_is_string(value), "%s: no option %s", c->path, key);
    return json_string_value(value);
}

double conformance_number(const ConformanceCase *c, const char *key, double otherwise) {
    const json_t *value = json_object_get(c->config, key);
    return value ? json_number_value(value) : otherwise;
}

void conformance_known(const ConformanceCase *c, const char *const *keys) {
    const char *key;
    json_t *value;
    json_object_foreach(c->config, key, value) {
        bool known = false;
        for (int i = 0; keys[i]; i++) known |= strcmp(key, keys[i]) == 0;
        cr_expect(known, "%s: unknown option %s", c->path, key);
    }
}

/* ---- tensors ---- */

bool conformance_has(const ConformanceCase *c, const char *name) {
    return tensor_safetensors_find(c->file, name) >= 0;
}

Tensor conformance_tensor(const ConformanceCase *c, const char *name) {
    Tensor x;
    TensorError error;
    cr_assert(tensor_safetensors_get(c->file, name, &x, &error), "%s", error.message);
    return x;
}

void conformance_expect(const ConformanceCase *c, const char *name, const Tensor *got,
                        double tolerance) {
    Tensor want = conformance_tensor(c, name);
    char a[TENSOR_DESCRIBE_SIZE], b[TENSOR_DESCRIBE_SIZE];
    cr_assert(tensor_same_shape(got, &want), "%s: %s: got %s, wanted %s", c->path, name,
              tensor_describe(got, a, sizeof a), tensor_describe(&want, b, sizeof b));
    for (int64_t i = 0; i < tensor_numel(&want); i++) {
        double x = tensor_get(got, i), y = tensor_get(&want, i);
        cr_assert(fabs(x - y) <= tolerance * (1 + fabs(y)), "%s: %s[%lld]: got %.17g, wanted %.17g",
                  c->path, name, (long long)i, x, y);
    }
}
