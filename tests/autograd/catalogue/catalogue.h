/* catalogue.h -- broken gradients, each with one bug and each beside its right version.
 *
 * The proof that the checker works: it must pass every right version, refuse every broken one,
 * and say of each what is wrong with it.  An entry is one of
 *   a kernel: forward and backward over plain arrays, written once, that make one mistake where
 *     `bug` asks for it (gradcheck_plain);
 *   a function of variables on a tape, with an op whose rule is broken or a graph that is
 *     (gradcheck, gradgradcheck).
 * Sizes are small and all different, sequences have three steps or more. */
#ifndef TESTS_AUTOGRAD_CATALOGUE_CATALOGUE_H
#define TESTS_AUTOGRAD_CATALOGUE_CATALOGUE_H
#include <math.h>

#include "autograd/gradcheck/gradcheck.h"

enum {
    CATALOGUE_IN = 7,
    CATALOGUE_OUT = 3,
    CATALOGUE_DIMS = 4,
    CATALOGUE_SAVED = 1024,
};

typedef struct CatalogueKernel CatalogueKernel;

/* A kernel at work: what its calls get as their context. */
typedef struct {
    const CatalogueKernel *kernel;
    int bug;        /* of the kernel's own list; 0: none */
    int n_in, n_out;
    GradArg in[CATALOGUE_IN], out[CATALOGUE_OUT];
    int64_t shape[CATALOGUE_IN + CATALOGUE_OUT][CATALOGUE_DIMS];
    double saved[CATALOGUE_SAVED]; /* by forward, for backward */
    uint64_t draws; /* of a generator that goes on from call to call */
} CatalogueArrays;

struct CatalogueKernel {
    const char *name;
    void (*open)(CatalogueArrays *a); /* adds inputs and results */
    GradcheckCall forward, backward;
    const void *options;              /* the kernel's own */
};

/* A function on a tape; its context is a const int *: the bug, 0 for none. */
typedef struct {
    int n;
    void (*open)(TensorArena *arena, Tensor *x, int bug); /* fills x[0..n-1] */
    GradcheckFunction f;
    bool second;    /* the bug is in the second derivatives: gradgradcheck */
    bool training;
} CatalogueFunction;

#define CATALOGUE_REASON(name) (UINT32_C(1) << GRADCHECK_##name)

typedef struct {
    const char *name;
    const char *what;  /* the bug, in a sentence */
    const char *after; /* where it has been seen, or NULL */
    uint32_t reasons;  /* the right diagnosis: more than one only where they say the same */
    int bug;
    const CatalogueKernel *kernel;     /* this ... */
    const CatalogueFunction *function; /* ... or this */
    const char *op;    /* functions: the op to be named, "" for none; NULL: not asked */
} CatalogueEntry;

/* Entry i of all, theme by theme; NULL after the last. */
const CatalogueEntry *catalogue_entry(int i);
/* The themes, each ended by name NULL. */
extern const CatalogueEntry catalogue_dense[], catalogue_elementwise[], catalogue_softmax[],
    catalogue_index[], catalogue_lstm[], catalogue_rnn[], catalogue_tape[];

/* ---- for the runner ---- */

/* Makes the arrays of a kernel.  False: out of memory; close all the same. */
bool catalogue_open(CatalogueArrays *a, const CatalogueKernel *kernel, int bug);
void catalogue_close(CatalogueArrays *a);
/* Runs the check that the entry is made for, on the right version (bug 0) or the broken one. */
bool catalogue_check(const CatalogueEntry *e, int bug, const GradcheckOptions *options,
                     GradcheckResult *result);
/* Is the result the diagnosis that the entry asks for? */
bool catalogue_is_right(const CatalogueEntry *e, const GradcheckResult *result);

/* ---- for kernels ---- */

/* An input of float64, uniform in [lo, hi), the same in every run; or a constant one. */
void catalogue_input(CatalogueArrays *a, const char *name, double lo, double hi, int ndim,
                     const int64_t *shape);
void catalogue_constant(CatalogueArrays *a, const char *name, double lo, double hi, int ndim,
                        const int64_t *shape);
/* An input of int64. */
void catalogue_indices(CatalogueArrays *a, const char *name, int64_t n, const int64_t *values);
void catalogue_result(CatalogueArrays *a, const char *name, int ndim, const int64_t *shape);
int64_t catalogue_size(const GradArg *x); /* elements */

/* Arrays of `a` by their numbers. */
#define X(i) ((double *)a->in[i].value)
#define DX(i) ((double *)a->in[i].grad)
#define Y(k) ((double *)a->out[k].value)
#define DY(k) ((double *)a->out[k].grad)
#define SHAPE(...) \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}

static inline void zero(double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = 0;
}
static inline double sigmoid_of(double x) { return 1 / (1 + exp(-x)); }

#endif
