/* conformance.h -- cases computed by another framework, for tests with the tag
 * needs_conformance.
 *
 * The folder of the cases is in UNROLL_CONFORMANCE; without it such a test is skipped. */
#ifndef TESTS_NN_CONFORMANCE_H
#define TESTS_NN_CONFORMANCE_H
#include <jansson.h>
#include <stdbool.h>

#include "tensor/safetensors.h"

typedef struct {
    char path[512];
    TensorSafetensors *file;
    json_t *config; /* an object */
} ConformanceCase;

/* Opens every case of this kind (the metadata's `case`) in turn and hands it to run, which
 * returns false for one that it does not take.  Fails the test if it takes none; skips it,
 * with a message, where UNROLL_CONFORMANCE is not set. */
void conformance_each(const char *kind, bool (*run)(const ConformanceCase *c));

/* ---- options ---- */
bool conformance_flag(const ConformanceCase *c, const char *key);
int64_t conformance_int(const ConformanceCase *c, const char *key);
/* Fails the test if there is none. */
const char *conformance_text(const ConformanceCase *c, const char *key);
double conformance_number(const ConformanceCase *c, const char *key, double otherwise);
/* Fails the test if the options have a key that is not in the list, which ends with NULL. */
void conformance_known(const ConformanceCase *c, const char *const *keys);

/* ---- tensors ---- */
bool conformance_has(const ConformanceCase *c, const char *name);
/* Fails the test if there is none. */
Tensor conformance_tensor(const ConformanceCase *c, const char *name);
/* Fails the test unless every element is within tolerance (1 + |reference|). */
void conformance_expect(const ConformanceCase *c, const char *name, const Tensor *got,
                        double tolerance);

#endif
