/* recurrent.h -- what the sequence ops lstm, gru and rnn share: their inputs, the order in which
 * steps of sequences of several lengths run, and the products that are as large for each.  The
 * manual is autograd/sequence.h. */
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

/* The same for an ag_gru or ag_rnn. */
int ag_rnn_inputs(AgVar x, AgVar h0, const AgRnnWeights *w, const AgRnnOptions *options,
                  AgVar in[AG_ROLES], AgRecurrent *o);

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

/* ---- composed ---- */

/* A layer written as a loop of ops over the steps of x. */
typedef struct {
    AgTape *t;
    const AgRecurrent *o;
    AgRecurrentSize size;
    AgVar x;    /* without what lies beyond the lengths */
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

#endif
