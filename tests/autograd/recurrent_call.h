/* recurrent_call.h -- calls of ag_lstm, ag_gru and ag_rnn as data, so that tests can make one call
 * in its fast and in its composed form, for a share of its batch, or with inputs of any strides. */
#ifndef TESTS_AUTOGRAD_RECURRENT_CALL_H
#define TESTS_AUTOGRAD_RECURRENT_CALL_H
#include "autograd/sequence.h"

typedef enum { CALL_LSTM, CALL_GRU, CALL_TANH, CALL_RELU, CALL_KINDS } CallKind;

/* What a call takes: an LSTM can have all, the others x, h0, two weights and two biases. */
typedef enum {
    CALL_X,
    CALL_H0,
    CALL_C0,
    CALL_W_IH,
    CALL_W_HH,
    CALL_B_IH,
    CALL_B_HH,
    CALL_W_HR,
    CALL_PEEPHOLE,
    CALL_NORM_IH,
    CALL_NORM_HH,
    CALL_NORM_C,
    CALL_NORM_C_BIAS,
    CALL_PARTS
} CallPart;

enum { CALL_OUT = 3, CALL_MAX_B = 300 }; /* y, hn, cn */

typedef struct {
    CallKind kind;
    int64_t T, B, I, H;
    int64_t P; /* size of h: H, or less with a projection */
    bool bias, state, peepholes, norm, norm_bias;
    bool numbers; /* x is I64 [T, B] */
    AgLstmOptions o; /* without its lengths; of the others only reverse counts */
    bool has_lengths;
    int64_t lengths[CALL_MAX_B];
    bool training;
    int64_t first, total; /* for ag_tape_rows */
    uint64_t step;        /* for ag_tape_rng */
    bool composed;
    /* CALL_X: the part has its own variable; else it is given that other part's. */
    CallPart same[CALL_PARTS];
    unsigned left_out; /* 1u << part: no gradient is asked for */
} Call;

/* The number of axes, or -1: the call has no such part. */
int call_shape(const Call *c, CallPart part, int64_t shape[3]);
int call_out_shape(const Call *c, int out, int64_t shape[3]);

/* Inputs and cotangents, nil where there is none. */
typedef struct {
    Tensor part[CALL_PARTS];
    Tensor seed[CALL_OUT];
} CallData;

/* Random ones, in a range that keeps the recurrence tame; the same for the same number.  An x I64
 * holds any numbers beyond the lengths. */
CallData call_data(TensorArena *a, const Call *c, TensorDtype dtype, uint64_t number);

/* x's values with other strides, the kinds of which are numbered; the last kind repeats x's first
 * row along an axis, and so changes the values. */
enum { CALL_LAYOUTS = 7 };
Tensor call_strided(TensorArena *a, const Tensor *x, int layout);

/* Rows first.. of the batch, n of them, as a call of its own. */
void call_rows(TensorArena *a, const Call *c, const CallData *d, int64_t first, int64_t n,
               Call *part, CallData *part_data);

/* Nil where there is none. */
typedef struct {
    Tensor out[CALL_OUT];
    Tensor grad[CALL_PARTS];             /* of the sum of all <seed, out> */
    Tensor grad2[CALL_PARTS + CALL_OUT]; /* order 2: of the sum of all <v, grad> with some v fixed
                                            by the place, also by the seeds */
} CallResult;

/* The op itself; out[2] is {0} where there is no cn. */
void call_apply(const Call *c, const AgVar v[CALL_PARTS], AgVar out[CALL_OUT]);
/* Resets t; the results live there.  order 0: without gradients, on a tape without them.
 * An error fails the test. */
CallResult call_run(const Call *c, AgTape *t, const CallData *d, int order);

/* ---- comparing ---- */

/* The largest |got - want| / (1 + |want|); infinity where shapes differ, or for NaN. */
double call_distance(const Tensor *got, const Tensor *want);
/* The same by the largest element of want, 1 + max |want|: where those of a tensor are sums of
 * terms of that size. */
double call_distance_by_largest(const Tensor *got, const Tensor *want);
/* The largest of one of them over all results, and its name. */
double call_difference(const CallResult *got, const CallResult *want,
                       double (*distance)(const Tensor *got, const Tensor *want),
                       const char **name);
/* Do a and b have the same shape and bits? */
bool call_same_bits(const Tensor *a, const Tensor *b);
bool call_same_results(const CallResult *a, const CallResult *b);

/* "lstm T 3 B 2 ..": for messages; the text is overwritten by the next call. */
const char *call_words(const Call *c);

/* ---- random calls ---- */

int64_t call_below(uint64_t number, int what, int64_t n); /* a draw from 0..n-1 */
/* Every option on or off, lengths from 0 to T, T up to max_T. */
Call call_random(uint64_t number, CallKind kind, int64_t max_T, int n_sizes, const int64_t *sizes);
void call_random_lengths(Call *c, uint64_t number);

#endif
