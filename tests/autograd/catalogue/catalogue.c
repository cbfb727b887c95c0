#include "tests/autograd/catalogue/catalogue.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/rng.h"

const CatalogueEntry *catalogue_entry(int i) {
    static const CatalogueEntry *const themes[] = {
        catalogue_dense, catalogue_elementwise, catalogue_softmax, catalogue_index,
        catalogue_lstm,  catalogue_rnn,         catalogue_tape,
    };
    for (size_t k = 0; k < sizeof themes / sizeof *themes; k++)
        for (const CatalogueEntry *e = themes[k]; e->name; e++)
            if (i-- == 0) return e;
    return NULL;
}

/* ---- arrays ---- */

int64_t catalogue_size(const GradArg *x) {
    int64_t n = 1;
    for (int d = 0; d < x->ndim; d++) n *= x->shape[d];
    return n;
}

static void set_array(GradArg *to, int64_t *place, const char *name, int ndim,
                      const int64_t *shape) {
    for (int d = 0; d < ndim; d++) place[d] = shape[d];
    *to = (GradArg){.name = name, .ndim = ndim, .shape = place};
}

static GradArg *add_input(CatalogueArrays *a, const char *name, int ndim, const int64_t *shape) {
    int i = a->n_in++;
    GradArg *x = &a->in[i];
    set_array(x, a->shape[i], name, ndim, shape);
    x->value = calloc((size_t)catalogue_size(x) + 1, sizeof(double));
    return x;
}

void catalogue_input(CatalogueArrays *a, const char *name, double lo, double hi, int ndim,
                     const int64_t *shape) {
    TensorRngKey key = {.draw = (uint64_t)a->n_in};
    GradArg *x = add_input(a, name, ndim, shape);
    for (int64_t j = 0; x->value && j < catalogue_size(x); j++)
        ((double *)x->value)[j] = lo + (hi - lo) * tensor_rng_uniform(key, (uint64_t)j);
}

void catalogue_constant(CatalogueArrays *a, const char *name, double lo, double hi, int ndim,
                        const int64_t *shape) {
    catalogue_input(a, name, lo, hi, ndim, shape);
    a->in[a->n_in - 1].flags = GRADCHECK_CONSTANT;
}

void catalogue_indices(CatalogueArrays *a, const char *name, int64_t n, const int64_t *values) {
    GradArg *x = add_input(a, name, 1, &n);
    x->dtype = GRADCHECK_I64;
    if (x->value) memcpy(x->value, values, (size_t)n * sizeof *values);
}

void catalogue_result(CatalogueArrays *a, const char *name, int ndim, const int64_t *shape) {
    int k = a->n_out++;
    set_array(&a->out[k], a->shape[CATALOGUE_IN + k], name, ndim, shape);
}

bool catalogue_open(CatalogueArrays *a, const CatalogueKernel *kernel, int bug) {
    *a = (CatalogueArrays){.kernel = kernel, .bug = bug};
    kernel->open(a);
    for (int i = 0; i < a->n_in; i++)
        if (!a->in[i].value) return false;
    return true;
}

void catalogue_close(CatalogueArrays *a) {
    for (int i = 0; i < a->n_in; i++) free(a->in[i].value);
}

/* ---- entries ---- */

static bool fail(GradcheckResult *result) {
    *result = (GradcheckResult){.reason = GRADCHECK_ERROR, .input = -1, .index = -1};
    strcpy(result->message, "the catalogue is out of memory");
    return false;
}

static bool check_kernel(const CatalogueEntry *e, int bug, const GradcheckOptions *options,
                         GradcheckResult *result) {
    const CatalogueKernel *k = e->kernel;
    CatalogueArrays a;
    bool ok = catalogue_open(&a, k, bug)
                  ? gradcheck_plain(k->forward, k->backward, &a, a.n_in, a.in, a.n_out, a.out,
                                    options, result)
                  : fail(result);
    catalogue_close(&a);
    return ok;
}

static bool check_function(const CatalogueEntry *e, int bug, const GradcheckOptions *options,
                           GradcheckResult *result) {
    const CatalogueFunction *f = e->function;
    Tensor x[CATALOGUE_IN];
    GradcheckOptions o = *options;
    TensorArena *arena = tensor_arena_new();
    if (!arena) return fail(result);
    o.training = f->training;
    f->open(arena, x, bug);
    bool ok = f->second ? gradgradcheck(f->f, &bug, f->n, x, &o, result)
                        : gradcheck(f->f, &bug, f->n, x, &o, result);
    tensor_arena_free(arena);
    return ok;
}

bool catalogue_check(const CatalogueEntry *e, int bug, const GradcheckOptions *options,
                     GradcheckResult *result) {
    return e->kernel ? check_kernel(e, bug, options, result)
                     : check_function(e, bug, options, result);
}

bool catalogue_is_right(const CatalogueEntry *e, const GradcheckResult *result) {
    return (e->reasons >> result->reason & 1) && (!e->op || !strcmp(e->op, result->op));
}
