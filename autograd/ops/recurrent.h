/* recurrent.h -- what the sequence ops lstm, gru and rnn share: their inputs, the order in which
 * steps of sequences of several lengths run, and what is done for all steps at once.  The manual is
 * autograd/sequence.h. */
#ifndef AUTOGRAD_OPS_RECURRENT_H
#define AUTOGRAD_OPS_RECURRENT_H
#include "autograd/ops/random.h"
#include "autograd/sequence.h"

/* ---- inputs ---- */

/* What an input can be.  A call has some of them, in this order. */
typedef enum {
    AG_X,
    AG_W_IH,
    AG_W_HH,
    AG_B_IH,
    AG_B_HH,
    AG_H0,
    AG_C0,
    AG_W_HR,
    AG_PEEPHOLE,
    AG_NORM_IH,
    AG_NORM_HH,
    AG_NORM_C,
    AG_NORM_C_BIAS,
    AG_ROLES
} AgRole;
#define AG_HAS(role) (1u << (role))

/* How the options of each of the ops begin. */
typedef struct {
    unsigned parts;         /* AG_HAS of every role that is there */
    bool reverse;
    const int64_t *lengths; /* [B], living as long as the call's record; NULL: all T */
} AgRecurrent;

static inline bool ag_has(const AgRecurrent *o, AgRole role) { return o->parts >> role & 1; }
/* Which input it is, or -1. */
static inline int ag_role(const AgRecurrent *o, AgRole role) {
    return ag_has(o, role) ? __builtin_popcount(o->parts & (AG_HAS(role) - 1)) : -1;
}

/* Packs those of all[AG_ROLES] that have a tape into in, sets o->parts, and copies the lengths to
 * x's tape.  Returns how many there are; 0 with the error recorded (where there is a tape). */
int ag_recurrent_inputs(const AgVar all[AG_ROLES], const int64_t *lengths, AgVar *in,
                        AgRecurrent *o);

/* The sizes of a call. */
typedef struct {
    int64_t T, B, I, H; /* H: of the state without the projection */
    int64_t out;        /* H', of h */
} AgRecurrentSize;

/* What is wrong with the shapes of in, whose first products have `gates` times H rows, as a
 * line in buf; NULL and the sizes where nothing is. */
#define AG_REASON_SIZE 256
const char *ag_recurrent_check(const AgRecurrent *o, int n_in, const Tensor *const *in, int gates,
                               AgRecurrentSize *size, char buf[AG_REASON_SIZE]);
/* The shape() of an op with results y, hn and perhaps cn. */
bool ag_recurrent_shape(AgCall *c, int gates, AgRecurrentSize *size);

/* ---- the order of the steps ----
 * Sequences are put in order of length, the longest first; step number n of every sequence that
 * has one runs together, as `active[n]` rows one behind the other from row first[n].  With reverse,
 * step number n is step length - 1 - n of a sequence.  Without lengths the rows are those of the
 * [T, B, ..] array itself, and nothing has to be moved. */

typedef struct {
    int64_t T, B, rows;
    bool reverse;
    const int64_t *length; /* [B]; NULL: all T, and order is NULL, too */
    int64_t *order;        /* [B]: which sequence stands in which place */
    int64_t *active, *first; /* [T] */
} AgSteps;

/* False with the error recorded when out of memory. */
bool ag_steps_plan(AgCall *c, const AgRecurrent *o, AgSteps *s);

/* A contiguous x [T, B, n] as [T B, n]. */
Tensor ag_all_rows(const Tensor *x);
/* x [T, B, n] as rows [rows, n] in that order: x's own memory, or a copy in `a`.  Nil when out of
 * memory. */
Tensor ag_steps_rows(TensorArena *a, const AgSteps *s, const Tensor *x);
/* Contiguous y [T, B, n] from its rows, unless these are y's own memory: 0 beyond the lengths. */
void ag_steps_finish(const AgSteps *s, const Tensor *y, const Tensor *rows);
/* [B, n] from the batch's order to that of the steps. */
void ag_steps_sort(const AgSteps *s, const Tensor *to, const Tensor *from);

/* The rows of step number n in x [rows, ..], or in a buffer of fewer rows its first ones. */
Tensor ag_step_rows(const AgSteps *s, const Tensor *x, int64_t n);
/* The state that step number n begins with: the rows of the step before in states [rows, ..], or
 * before the first step in initial [B, ..]. */
Tensor ag_step_before(const AgSteps *s, const Tensor *states, const Tensor *initial, int64_t n);
/* Those of all steps as one matrix [rows, ..], in a.  Nil when out of memory. */
Tensor ag_steps_before(TensorArena *a, const AgSteps *s, const Tensor *states,
                       const Tensor *initial);
/* The state after the last step of each sequence, in the batch's order. */
void ag_steps_final(const AgSteps *s, const Tensor *to, const Tensor *states,
                    const Tensor *initial);
/* Columns [k H, (k+1) H) of rows [.., gates H]. */
Tensor ag_gate(const Tensor *rows, int k, int64_t H);

/* ---- the fast ops ---- */

/* All inputs, those of one axis contiguous; nil where there is none.  False when out of memory. */
bool ag_recurrent_parts(TensorArena *a, const AgRecurrent *o, const Tensor *const *in,
                        Tensor part[AG_ROLES]);
/* The biases as rows [2, gates H], zeros where there are none; what is only ever added to the
 * first, that is b_hh up to column `joined`, is added there.  Nil with the error recorded. */
Tensor ag_recurrent_biases(AgCall *c, const Tensor part[AG_ROLES], int64_t n, int64_t joined);
/* y [rows, gates H] = W_ih x of all steps; where x is I64, columns of W_ih.  False with the error
 * recorded when out of memory. */
bool ag_recurrent_project(AgCall *c, const AgSteps *s, const Tensor *y);
/* Rows in which the steps leave h for out[0]: its own memory or, where sequences have lengths,
 * scratch.  Nil with the error recorded. */
Tensor ag_recurrent_output(AgCall *c, const AgSteps *s);
/* The state h0 or c0 in the order of the steps, or zeros. */
void ag_recurrent_initial(const AgSteps *s, const Tensor *to, const Tensor *initial);

/* Records that, as "NAME: out of memory"; false. */
bool ag_vjp_out_of_memory(AgVjp *v);

/* The gradients of x, weight_ih and weight_hh from those of the products W_ih x and W_hh h of all
 * rows, da_ih and da_hh [rows, gates H], and hidden [rows, H'], the h of the second.  This and the
 * next give false with the error recorded when out of memory. */
bool ag_recurrent_gradients(AgVjp *v, const AgSteps *s, const Tensor *da_ih, const Tensor *da_hh,
                            const Tensor *hidden);
/* The gradient of in[role], where wanted: a^T b; the sum of rows of a; a itself [B, n] in the order
 * of the steps. */
bool ag_gradient_product(AgVjp *v, AgRole role, const Tensor *a, const Tensor *b);
bool ag_gradient_sum(AgVjp *v, AgRole role, const Tensor *a);
/* The sum of rows for both biases, whose gradients are the same. */
bool ag_gradient_biases(AgVjp *v, const Tensor *a);
bool ag_gradient_state(AgVjp *v, const AgSteps *s, AgRole role, const Tensor *a);
/* Is the gradient of in[role] wanted? */
bool ag_gradient_needed(const AgVjp *v, AgRole role);
/* dL/dy as rows, or zeros; dL/d of a final state in the order of the steps, or zeros.
 * Nil when out of memory. */
Tensor ag_gradient_rows(AgVjp *v, const AgSteps *s, int64_t n);
Tensor ag_gradient_final(AgVjp *v, const AgSteps *s, int out, int64_t n);

/* ---- composed ---- */

/* A layer written as a loop of ops over the steps of x. */
typedef struct {
    AgTape *t;
    const AgRecurrent *o;
    AgRecurrentSize size;
    AgVar x;    /* [T, B, I], without what lies beyond the lengths */
    AgVar live; /* U8 [T, B, 1]: is the step one of the sequence's?  {0}: all are */
    AgVar *y;   /* [T]: h of each step */
    int64_t outer_step; /* the scope's, put back at the end */
} AgLoop;

/* False with the error recorded, as "NAME: reason". */
bool ag_loop_begin(AgLoop *l, const char *name, AgTape *t, int n_in, const AgVar *in, int gates,
                   const AgRecurrent *o);
/* Step number n is step ag_loop_time(l, n) of the sequence; sets the scope's step. */
int64_t ag_loop_time(const AgLoop *l, int64_t n);
/* after, where the step is one of the sequence's, else before. */
AgVar ag_loop_state(const AgLoop *l, int64_t step, AgVar before, AgVar after);
/* h as the output of the step: 0 where the step is none of the sequence's. */
void ag_loop_put(const AgLoop *l, int64_t step, AgVar h);
/* y [T, B, H'] */
AgVar ag_loop_end(const AgLoop *l);
/* in[role], or the failed variable without a tape. */
AgVar ag_part(const AgRecurrent *o, const AgVar *in, AgRole role);
/* in[role], or zeros [B, n]. */
AgVar ag_loop_initial(const AgLoop *l, const AgVar *in, AgRole role, int64_t n);

/* ---- samples ---- */

#define AG_W(...) AG_IN(-.8, .8, __VA_ARGS__)
#define AG_NUMBERS(n, ...) AG_IN_DTYPE("i64", 0, n, __VA_ARGS__)
#define AG_LENGTHS(...) (const int64_t[]){__VA_ARGS__}
#define AG_RNN_BASE (AG_HAS(AG_X) | AG_HAS(AG_W_IH) | AG_HAS(AG_W_HH))
#define AG_RNN_BIAS (AG_HAS(AG_B_IH) | AG_HAS(AG_B_HH))
#define AG_RNN_ALL (AG_RNN_BASE | AG_RNN_BIAS | AG_HAS(AG_H0))

#endif
