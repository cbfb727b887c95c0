/* cases.h -- one conformance case: a safetensors file with the answers of PyTorch.
 *
 * Nothing in the file is trusted, and nothing in it may go unseen: reading a key of the config or
 * a tensor marks it, and case_finish fails the case for whatever was not read.  The first failure
 * is the case's reason; reading goes on after it and gives zeros and nil tensors. */
#ifndef TESTS_CONFORMANCE_CASES_H
#define TESTS_CONFORMANCE_CASES_H
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>

#include "tensor/safetensors.h"

typedef struct {
    char label[256];     /* "op-add-1": its kind and name, or the file's name */
    const char *kind;    /* "op"; "" if the file does not say */
    const char *setting; /* what a message about values begins with: "in single precision, " */
    bool constant_parameters; /* the file's gradients take the parameters for constants */
    TensorError reason;  /* "": passed so far */
    TensorSafetensors *file;
    json_t *config;      /* what was not read yet */
    json_t *taken;       /* what was */
    bool *read;          /* of each tensor of the file */
} Case;

/* Fails (c->reason; c is to be closed all the same): the file cannot be read or is damaged; no
 * kind, no name, or no config. */
void case_open(Case *c, const char *path);
void case_close(Case *c);

bool case_ok(const Case *c);
void case_fail(Case *c, const char *format, ...) TENSOR_PRINTF(2, 3);
/* Fails the case for keys of the config, or tensors, that nobody read. */
void case_finish_config(Case *c);
void case_finish(Case *c);

/* ---- config: null is as good as absent; each fails the case on a value of another type ---- */

const json_t *case_value(Case *c, const char *key); /* NULL if absent */
/* Fails the case if the key is absent.  Returns the key. */
const char *case_needs(Case *c, const char *key);
bool case_has_key(const Case *c, const char *key); /* and nobody read it yet */
bool case_flag(Case *c, const char *key, bool otherwise);
int64_t case_int(Case *c, const char *key, int64_t otherwise);
/* Also Infinity, "inf" and their negatives. */
double case_number(Case *c, const char *key, double otherwise);
const char *case_text(Case *c, const char *key, const char *otherwise);
/* A list of integers, or one integer; returns how many, -1 if absent. */
int case_ints(Case *c, const char *key, int max, int64_t *list);
/* Likewise of numbers. */
int case_numbers(Case *c, const char *key, int max, double *list);

/* ---- tensors, by printf-like names ---- */

enum { CASE_NAME_SIZE = 256 };
/* Inside a variadic function: declares `name` with the text of its arguments. */
#define CASE_FORMAT(name, format)                        \
    char name[CASE_NAME_SIZE];                           \
    do {                                                 \
        va_list arguments;                               \
        va_start(arguments, format);                     \
        vsnprintf(name, sizeof name, format, arguments); \
        va_end(arguments);                               \
    } while (0)

bool case_has(const Case *c, const char *format, ...) TENSOR_PRINTF(2, 3);
/* A view, valid until the case is closed.  Fails the case (the nil tensor): no such tensor. */
Tensor case_tensor(Case *c, const char *format, ...) TENSOR_PRINTF(2, 3);

typedef struct {
    /* passes: |got - wanted| <= absolute + relative |wanted| + largest max |wanted| */
    double absolute, relative, largest;
} CaseTolerance;
#define CASE_FIRST_ORDER ((CaseTolerance){1e-9, 1e-9, 0})
#define CASE_SECOND_ORDER ((CaseTolerance){1e-7, 1e-7, 0})
#define CASE_SINGLE ((CaseTolerance){2e-4, 2e-4, 0})
/* Of second derivatives the terms cancel: an entry of order 1 among some of order 1000 is known
 * to 1e-3 only, PyTorch's own in single precision too. */
#define CASE_SINGLE_SECOND_ORDER ((CaseTolerance){2e-4, 2e-4, 4e-6})

/* Fails the case unless got is the named tensor in shape, dtype (but for the precision of floats)
 * and every element.  Infinities pass if equal; NaN never passes. */
void case_expect(Case *c, const Tensor *got, CaseTolerance tolerance, const char *format, ...)
    TENSOR_PRINTF(4, 5);
/* The same with another tensor than the file's. */
void case_expect_tensor(Case *c, const Tensor *got, const Tensor *wanted, CaseTolerance tolerance,
                        const char *name);

#endif
