/* param.h -- the parameters of a model, and their gradients.
 *
 * Creation is registration: a layer's constructor calls nn_param, and the set then knows the
 * parameter by name, saves and loads it, clips and optimises it.
 *
 *     NnParamSet *set = nn_params_new(TENSOR_F32, 1);
 *     NnLinear out = nn_linear_make(set, "out", 64, 10, NULL);
 *     if (!nn_params_ok(set)) return report(nn_params_error(set));
 *
 * The set owns values and gradients, in one dtype.  The same constructor on a set of TENSOR_F64
 * with the same seed makes the model's double-precision twin, whose values round to those of
 * the F32 model.  A forward pass only reads the set: any number of tapes, each on its own
 * thread, may use it at a time.
 *
 * Errors of construction (a name given twice, a shape, memory) stick to the set: the first is
 * kept, nn_param then returns a nil parameter, and using one on a tape is an error there. */
#ifndef NN_PARAM_H
#define NN_PARAM_H
#include "autograd/ag.h"
#include "nn/init.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct NnParamSet NnParamSet;
typedef struct NnGrads NnGrads;

/* One parameter.  All fields are for reading; the functions below change them.  Values may
 * be written through value.data between two steps: say so with nn_param_touch; gradients through
 * grad.data after ag_backward: with nn_grads_touch. */
typedef struct NnParam {
    const char *name;
    Tensor value;     /* contiguous; the nil tensor in the nil parameter */
    Tensor grad;      /* in the set's own NnGrads; nil for a buffer */
    bool trainable;   /* false: a buffer, saved and loaded but never trained */
    bool frozen;      /* by nn_freeze */
    bool by_rows;     /* by nn_param_by_rows */
    uint64_t version; /* grows with every change of the value */
    uint64_t identity; /* a number that no other parameter of the process has */
    int index;        /* in the set, by creation; -1 in the nil parameter */
    NnParamSet *set;
} NnParam;

/* ---- the set ---- */

/* A new, empty set of parameters of dtype F32 or F64, drawn from `seed`; free it with
 * nn_params_free.  NULL when out of memory: every function below takes a NULL set as a set
 * without parameters that has this error. */
NnParamSet *nn_params_new(TensorDtype dtype, uint64_t seed);
/* Frees the set, its parameters and gradients, and what layers keep in it. */
void nn_params_free(NnParamSet *set);

bool nn_params_ok(const NnParamSet *set);
/* The first error, one line: "parameter lstm.weight_ih_l0: name given twice"; "" if none. */
const char *nn_params_error(const NnParamSet *set);
/* Records an error of the caller's own, for constructors of layers; only the first is kept. */
void nn_params_fail(NnParamSet *set, const char *format, ...) AG_PRINTF(2, 3);
/* Memory that lives as long as the set, for constructors of layers; contents undefined.
 * Fails (NULL, with the error recorded): out of memory. */
void *nn_params_alloc(NnParamSet *set, size_t bytes);

TensorDtype nn_params_dtype(const NnParamSet *set);
int nn_params_count(const NnParamSet *set);             /* parameters and buffers */
NnParam *nn_params_at(const NnParamSet *set, int i);    /* by creation; nil if i is outside */
NnParam *nn_params_find(const NnParamSet *set, const char *name); /* NULL if there is none */
int64_t nn_params_numel(const NnParamSet *set);         /* elements of all but the buffers */

/* ---- parameters ---- */

/* For the first two conversions of a name, "%s%sweight": "out" gives "out.weight", ""
 * gives "weight". */
#define NN_PREFIX(name) (name), *(name) ? "." : ""

/* A new parameter [shape], drawn from init, with a printf-like name.  Each parameter has random
 * numbers of its own, by the seed and its place in the order of creation.
 *
 * Names are written as PyTorch's: parts joined by dots, "lstm.weight_ih_l0".
 * Fails (the nil parameter, never NULL; the set's error): the name is in use, longer than
 * NN_NAME_SIZE - 1 bytes, has an empty part, or a character that is not printable ASCII or is
 * one of space * ? [ ] \ "; the shape is none; init does not suit it; out of memory. */
NnParam *nn_param(NnParamSet *set, NnInit init, int ndim, const int64_t *shape,
                  const char *name_format, ...) AG_PRINTF(5, 6);
/* The same, not trained: statistics, positions.  It has no gradient. */
NnParam *nn_buffer(NnParamSet *set, NnInit init, int ndim, const int64_t *shape,
                   const char *name_format, ...) AG_PRINTF(5, 6);
#define NN_NAME_SIZE 256

/* For constructors of layers that use few rows (along axis 0) of p in a step, as embeddings do;
 * to be called right after nn_param.  From the next zeroing on and in all NnGrads made after this,
 * p's gradients keep which rows are used, and zeroing, clipping and those rules of optimisers that
 * a zero gradient leaves in place go over these only: with the results, to the bit, of going over
 * all.  ag_embedding and ag_index_select(x, 0, ..) add row by row; where anything else adds to the
 * gradient too (tied weights), all rows are used.
 * No effect on a buffer, a scalar, the nil parameter.
 * Fails (the set's error): out of memory. */
void nn_param_by_rows(NnParam *p);

/* Patterns are the shell's (fnmatch): "encoder.*" has every name that starts so (a star
 * matches dots too), a name has only itself. */

/* Draws the parameters and buffers that match anew, each from its own random numbers, so the
 * result depends on seed, name order and init only.  Returns how many matched.
 * Fails (-1, the set's error): init does not suit one of them (then none is changed), out of
 * memory. */
int nn_init_apply(NnParamSet *set, const char *pattern, NnInit init);
/* Freezes (or thaws) the trained parameters that match: a frozen one receives no gradient from
 * ag_backward, is left out of the clipped norm and not moved by optimisers; ag_grad with
 * respect to it works as before.  Returns how many matched.  A tape that has used a parameter
 * takes notice with its next reset. */
int nn_freeze(NnParamSet *set, const char *pattern, bool frozen);
/* Tells the library that a value was written from outside. */
void nn_param_touch(NnParam *p);

/* ---- on a tape ---- */

/* The parameter as a variable: one leaf, the same throughout an epoch of the tape, so
 * ag_grad(loss, nn_var(t, p)) is the gradient over all its uses.  ag_backward adds into the
 * NnGrads that the tape uses (nn_grads_use), else into p->grad.  A change of the value between
 * forward and backward is the error `parameter NAME changed since forward`.
 * Fails (the tape's error): the nil parameter, with the set's error in the message; a
 * parameter made after the NnGrads in use. */
AgVar nn_var(AgTape *t, const NnParam *p);
/* From here to the tape's reset nn_var(t, p) is v: the model as a function of its parameters.
 * Fails (the tape's error): v is not of p's shape and dtype, or p is nil. */
void nn_param_bind(AgTape *t, const NnParam *p, AgVar v);

/* ---- gradients ----
 * One gradient for each trained parameter.  A set has one NnGrads of its own, enough for one
 * tape.  With several threads each has a tape and an NnGrads; the shares are then added in
 * a fixed order of workers, so results repeat:
 *
 *     for (int w = 1; w < n; w++) nn_grads_add(grads[0], grads[w]);
 *     optim_step(optim, grads[0]);
 *
 * Gradients may be read at any time and, between ag_backward and the step, written through
 * nn_grads_at(..).data or p->grad.data.  Where the parameter is by_rows (an embedding's weight is)
 * that has to be said with nn_grads_touch, or clipping, the step and the next zeroing may leave
 * out rows that no op used.  Multiplying what is there needs no such call. */

/* New, zero, for the parameters that the set has now; free it with nn_grads_free, and before
 * the set.  NULL when out of memory (or set is NULL). */
NnGrads *nn_grads_new(NnParamSet *set);
void nn_grads_free(NnGrads *grads); /* NULL is allowed; no tape may still use it */
/* The set's own, which grows with the set; not to be freed. */
NnGrads *nn_params_grads(NnParamSet *set);
NnParamSet *nn_grads_set(const NnGrads *grads);

/* From now on the tape's ag_backward adds here for the parameters of this set; kept over
 * resets; takes effect with the next reset for parameters already used.
 * Fails (false): out of memory, or grads is NULL. */
bool nn_grads_use(NnGrads *grads, AgTape *t);
/* To be called before the forward pass of each step: backward adds.  Of a parameter by_rows only
 * used rows are written. */
void nn_grads_zero(NnGrads *grads);
void nn_zero_grad(NnParamSet *set); /* of the set's own */
/* dst += src.  Fails (false, nothing added): they belong to two sets, have different numbers
 * of parameters, or one is NULL. */
bool nn_grads_add(NnGrads *dst, const NnGrads *src);
/* The gradient of parameter i; nil for a buffer, and if i is outside. */
Tensor nn_grads_at(const NnGrads *grads, int i);
/* Which rows of it are used; NULL where that is not kept: all are. */
AgRows *nn_grads_rows(const NnGrads *grads, int i);
/* Tells the library that any row of it may have been written from outside. */
void nn_grads_touch(NnGrads *grads, int i);

#ifdef __cplusplus
}
#endif
#endif
