/* op.h -- what an operation is; for people who write their own.
 *
 * An op is one constant struct: it needs no registration and no change to the
 * library.  opcheck (autograd/gradcheck/opcheck.h) runs on it every check that the
 * library's own ops get.  A complete one:
 *
 *     static bool cube_shape(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }
 *     static bool cube_value(AgCall *c) {
 *         for (int64_t i = 0; i < tensor_numel(c->in[0]); i++)
 *             tensor_set(&c->out[0], i, pow(tensor_get(c->in[0], i), 3));
 *         return true;
 *     }
 *     static bool cube_vjp(AgVjp *v) {
 *         v->gin[0] = ag_mul(v->gout[0], ag_affine(ag_square(v->in[0]), 3, 0));
 *         return true;
 *     }
 *     static const AgSample cube_samples[] = {
 *         {"matrix", 1, {{.ndim = 2, .shape = {2, 3}, .lo = -1, .hi = 1}}, NULL, 0, NULL}, {0}};
 *     static const AgSample cube_errors[] = {
 *         {"integers", 1, {{.ndim = 1, .shape = {2}, .hi = 3, .dtype = "i64"}}, NULL, 0,
 *          "wants f32 or f64"}, {0}};
 *     static const AgOp cube = {.name = "cube", .doc = "x^3", .signature = "f:f",
 *         .shape = cube_shape, .value = cube_value, .vjp = cube_vjp,
 *         .samples = cube_samples, .errors = cube_errors};
 *     AgVar my_cube(AgVar x) { return ag_apply1(&cube, 1, &x, NULL, 0); } */
#ifndef AUTOGRAD_OP_H
#define AUTOGRAD_OP_H
#include "autograd/ag.h"
#include "tensor/gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

#define AG_MAX_OUT 8
#define AG_SAMPLE_IN 13
#define AG_SAMPLE_DIMS 5

typedef struct AgOp AgOp;

/* One forward call. */
typedef struct {
    AgTape *tape;
    const AgOp *op;
    const void *options;
    int n_in, n_out;
    const Tensor *const *in;
    Tensor *out;           /* dtype by the signature; shape() sets ndim and shape, or a view */
    bool recorded;         /* a gradient may be asked for later */
    void *saved;           /* for vjp: what value() leaves here */
    TensorArena *scratch;  /* temporaries; taken back after value() */
    const void *engine;    /* not for ops */
} AgCall;

/* One call of a gradient rule. */
typedef struct {
    AgTape *tape;
    const AgOp *op;
    const void *options;
    int n_in, n_out;
    const AgVar *in, *out;
    const AgVar *gout;     /* dL/d out[k]; the failed variable where has_gout[k] is false */
    const bool *has_gout;
    const bool *need;      /* is dL/d in[i] wanted? */
    AgVar *gin;            /* to be set where need[i]; left alone it is zero */
    bool create_graph;     /* the gradients will be differentiated again */
    const void *saved;
    TensorArena *scratch;  /* temporaries; taken back after the rule */
    void *engine;          /* not for ops */
} AgVjp;

/* A sample input: random values in [lo, hi), rounded to float, or in [-1, 1) where both are 0;
 * integers in [lo, hi) for I64 and U8. */
typedef struct {
    int ndim;
    int64_t shape[AG_SAMPLE_DIMS];
    double lo, hi;
    const char *dtype;     /* NULL: by the signature; else "f32", "f64", "i64", "u8" */
} AgSampleIn;

/* Inputs for the checks; an error sample must fail with `message` in the error.
 * Lists end with name NULL. */
typedef struct {
    const char *name;
    int n_in;
    AgSampleIn in[AG_SAMPLE_IN];
    const void *options;
    size_t options_size;
    const char *message;
} AgSample;

struct AgOp {
    const char *name, *doc;
    /* Kinds of the inputs, a colon, kinds of the results:
     *   f  a float dtype, the same for all f     i  I64     m  U8
     *   a  any dtype, the same for all a         ?  (results) set by shape()
     * `*` after the last input: one or more of that kind.  "fi:f", "a*:a", ":?". */
    const char *signature;
    /* Checks the inputs (ag_call_fail) and sets each result's ndim and shape.  For a view, of
     * an op with one result, it sets the whole of out[0], with data in in[0]'s memory; an op
     * may choose so call by call. */
    bool (*shape)(AgCall *c);
    /* Fills the results, which are contiguous, from inputs of any strides (ag_call_contiguous
     * gives a contiguous one); not called for a view.  NULL: always a view. */
    bool (*value)(AgCall *c);
    /* Sets gin from gout with the ops of ag.h, so that it can be differentiated again.
     * NULL: results without gradient (integers, masks).  Without create_graph the rule's own
     * computation is not recorded: one that calls ag_grad itself turns recording on for it
     * (ag_tape_no_grad).  It must not reset the tape. */
    bool (*vjp)(AgVjp *v);
    /* The same function from simpler ops: run instead of vjp when gradients of gradients are
     * wanted, and what the fast path is tested against.  NULL: vjp serves both. */
    bool (*compose)(AgTape *t, int n_in, const AgVar *in, const void *options, AgVar *out);
    const AgSample *samples, *errors;
    /* For views of one input whose elements all lie apart, as most do: the gradient of the input
     * is the same view of the gradient.  Then shape() may serve instead of vjp.  False, the
     * default: vjp always serves. */
    bool same_view;
    /* The options in words, as the public function takes them ("1, -1"), for ag_tape_explain.
     * NULL: not told. */
    void (*write_options)(const void *options, char *buf, size_t n);
};

/* True if a signature has the form above. */
bool ag_signature_ok(const char *signature);
/* The kind letter of input i, with what `*` stands for; a colon where there is no such input. */
char ag_input_kind(const char *signature, int i);

/* Calls an op.  Inputs carry the tape; t serves where there are none, and may be NULL
 * otherwise.  options (any struct of options_size bytes) are copied.  out receives n_out
 * variables, all failed if the call fails. */
void ag_apply(const AgOp *op, AgTape *t, int n_in, const AgVar *in, const void *options,
              size_t options_size, AgVar *out);
/* The same for an op of one result and at least one input. */
AgVar ag_apply1(const AgOp *op, int n_in, const AgVar *in, const void *options,
                size_t options_size);

/* ---- for shape() and value() ---- */

/* Records "NAME(ARGUMENTS): reason" on the tape; returns false. */
bool ag_call_fail(AgCall *c, const char *format, ...) AG_PRINTF(2, 3);
/* out[k] gets x's shape; or the given one; or the shape in[a] and in[b] broadcast to. */
bool ag_out_like(AgCall *c, int k, const Tensor *x);
bool ag_out_shape(AgCall *c, int k, int ndim, const int64_t *shape);
bool ag_out_broadcast(AgCall *c, int k, int a, int b);
/* axis of in[i] as 0..ndim-1, or -1 with the error recorded. */
int ag_call_axis(AgCall *c, int i, int axis);
/* False, with the error recorded, if an entry of in[i] lies outside 0..n-1 (and is not
 * *skip, where skip is not NULL). */
bool ag_call_index(AgCall *c, int i, int64_t n, const int64_t *skip);
/* Memory that lives as long as the call's record: for `saved`.  NULL with the error recorded. */
void *ag_call_save(AgCall *c, size_t bytes);
/* A tensor in scratch or, with saved true, as long-lived as the record.
 * Nil with the error recorded when out of memory. */
Tensor ag_call_tensor(AgCall *c, bool saved, TensorDtype dtype, int ndim, const int64_t *shape);
/* x itself if contiguous, else a copy in scratch.  Nil with the error recorded. */
Tensor ag_call_contiguous(AgCall *c, const Tensor *x);
/* The matrix in[i], or its transpose, for tensor_gemm_packed: for a product that is repeated within
 * the call.  Where no gradient can be asked for, a parameter's stays packed until it changes (or,
 * on a tape with a memory limit, until a call that is recorded uses it), so that a product of few
 * rows is worth it, too.  data NULL with the error recorded when out of memory. */
TensorPacked ag_call_packed(AgCall *c, int i, bool transposed);

/* ---- for vjp() ---- */

/* dL/d out[k], zeros where it is absent. */
AgVar ag_vjp_gout(AgVjp *v, int k);
/* A buffer to ADD in[i]'s gradient into, instead of setting gin[i]: for kernels that can
 * accumulate.  NULL where there is none (always with create_graph): then set gin[i]. */
const Tensor *ag_vjp_into(AgVjp *v, int i);
/* The same for a rule that adds to few rows (along axis 0) of a large table: those that index,
 * I64 of one axis, names.  Where the buffer is a parameter's gradient that keeps its used rows
 * (AgLeaf.rows), these are added to them, and all others must stay as they are; ag_vjp_into
 * counts as a use of all. */
const Tensor *ag_vjp_into_rows(AgVjp *v, int i, const Tensor *index);
/* A new tensor, contents undefined, of in[i]'s shape and dtype, that becomes gin[i]: for
 * kernels that write a gradient.  Such a gradient has no history, so an op that uses this
 * under create_graph fails with `NAME: no second derivative` unless it has a compose.
 * Nil with the error recorded when out of memory. */
Tensor ag_vjp_raw(AgVjp *v, int i);

/* The matrix in[i], or its transpose, as ag_call_packed. */
TensorPacked ag_vjp_packed(AgVjp *v, int i, bool transposed);

/* ---- the library's own ops ---- */
extern const AgOp *const ag_ops[]; /* ended by NULL */

#ifdef __cplusplus
}
#endif
#endif
