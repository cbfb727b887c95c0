/* isa.c -- the choice of the instruction set. */
#include "tensor/isa.h"

#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[TENSOR_ISA_COUNT] = {"plain", "baseline", "avx2", "avx512"};

#define UNDECIDED (-1)

static atomic_int current = UNDECIDED;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char warning[160]; /* written inside `once` only */

const char *tensor_isa_name(TensorIsa isa) {
    return isa >= TENSOR_ISA_PLAIN && isa < TENSOR_ISA_COUNT ? names[isa] : "unknown";
}

/* What is compiled in follows from the target and from UNROLL_NO_SLEEF alone:
 * kernels_avx2.c and kernels_avx512.c refuse to compile for x86-64 without their
 * instruction sets, so no table can be missing. */
bool tensor_isa_available(TensorIsa isa) {
    switch (isa) {
    case TENSOR_ISA_PLAIN:
        return true;
#ifndef UNROLL_NO_SLEEF
    case TENSOR_ISA_BASELINE:
        return true;
#ifdef __x86_64__
    case TENSOR_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case TENSOR_ISA_AVX512: /* such kernels hold AVX2 and FMA code too */
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#endif
#endif
    default:
        return false;
    }
}

static TensorIsa best_available(void) {
    int isa = TENSOR_ISA_COUNT - 1;
    while (!tensor_isa_available((TensorIsa)isa)) {
        isa--;
    }
    return (TensorIsa)isa;
}

/* The start of an environment variable's value, fit for one line of text. */
static void printable(char *out, size_t n, const char *value) {
    size_t i = 0;
    for (; i + 1 < n && value[i] != '\0'; i++) {
        out[i] = isprint((unsigned char)value[i]) ? value[i] : '?';
    }
    out[i] = '\0';
}

static TensorIsa asked_for(const char *value, TensorIsa best) {
    for (int isa = 0; isa < TENSOR_ISA_COUNT; isa++) {
        if (strcmp(value, names[isa]) != 0) {
            continue;
        }
        if (tensor_isa_available((TensorIsa)isa)) {
            return (TensorIsa)isa;
        }
        snprintf(warning, sizeof warning, "UNROLL_ISA=%s is not available here; using %s",
                 names[isa], names[best]);
        return best;
    }
    char shown[32];
    printable(shown, sizeof shown, value);
    snprintf(warning, sizeof warning,
             "UNROLL_ISA=%s is unknown (plain, baseline, avx2, avx512); using %s", shown,
             names[best]);
    return best;
}

static void decide(void) {
    TensorIsa best = best_available();
    const char *value = getenv("UNROLL_ISA");
    TensorIsa isa = value != NULL && value[0] != '\0' ? asked_for(value, best) : best;
    atomic_store_explicit(&current, (int)isa, memory_order_release);
}

TensorIsa tensor_isa(void) {
    int isa = atomic_load_explicit(&current, memory_order_acquire);
    if (isa == UNDECIDED) {
        pthread_once(&once, decide);
        isa = atomic_load_explicit(&current, memory_order_acquire);
    }
    return (TensorIsa)isa;
}

bool tensor_isa_set(TensorIsa isa) {
    if (!tensor_isa_available(isa)) {
        return false;
    }
    pthread_once(&once, decide); /* or a later first use would undo this */
    atomic_store_explicit(&current, (int)isa, memory_order_release);
    return true;
}

const char *tensor_isa_warning(void) {
    pthread_once(&once, decide);
    return warning[0] != '\0' ? warning : NULL;
}
