/* recurrent.h -- what lstm.c, gru.c and rnn.c share: all but the equations.  Not for use outside
 * nn/. */
#ifndef NN_RECURRENT_H
#define NN_RECURRENT_H
#include "nn/layer.h"
#include "nn/rnn.h"

/* ---- making ---- */

/* Each is true, or records on the set what is wrong with `kind` ("lstm", "gru_cell") `name`. */
bool nn_recurrent_check_sizes(NnParamSet *set, const char *kind, const char *name, int64_t I,
                              int64_t H);
bool nn_recurrent_check_p(NnParamSet *set, const char *kind, const char *name, const char *what,
                          double p);
/* Sizes, the number of layers and the dropout between them. */
bool nn_recurrent_check_stack(NnParamSet *set, const char *kind, const char *name, int64_t I,
                              int64_t H, int num_layers, double dropout);

/* One entry of the list of what a layer learns. */
typedef struct {
    bool wanted;      /* false: *param becomes NULL */
    NnParam **param;
    const char *what; /* "weight_ih" */
    NnInit init;
    int ndim;
    int64_t shape[2];
} NnRecurrentParam;
/* Makes NAME.whatSUFFIX in the order of the list. */
void nn_recurrent_params(NnParamSet *set, const char *name, const char *suffix, int n,
                         const NnRecurrentParam *list);

/* n layers of `size` bytes, and a copy of the name, in the set's memory.  Fails (NULL, the set's
 * error): out of memory. */
void *nn_recurrent_alloc(NnParamSet *set, const char *name, int n, size_t size,
                         const char **copy);

/* Where pass k = l * D + d of a stack stands. */
typedef struct {
    char suffix[32];   /* of its parameters' names: "_l0_reverse" */
    const char *scope; /* "l0_reverse", in the set's memory */
    int64_t I;         /* size of its inputs */
} NnRecurrentPlace;
/* I is the size of the first layer's inputs, H' that of the others' for each direction. */
NnRecurrentPlace nn_recurrent_place(NnParamSet *set, int k, int D, int64_t I, int64_t H);

/* What a cell has in a set that failed: its use on a tape records the set's error. */
NnRnnParams nn_recurrent_nil(const NnParamSet *set);

/* The four parameters of a GRU (3 gates) or plain RNN (1): a cell's, and those of L layers. */
NnRnnParams nn_recurrent_gates(NnParamSet *set, const char *name, const char *suffix, int gates,
                               int64_t I, int64_t H, bool no_bias, const NnInit *init);
NnRnnLayer *nn_recurrent_gate_layers(NnParamSet *set, const char *name, int gates, int64_t I,
                                     int64_t H, int L, int D, bool no_bias, const NnInit *init,
                                     const char **copy);

/* ---- running ---- */

enum { NN_RECURRENT_STATES = 2 }; /* h and c */

typedef struct {
    AgVar y;
    AgVar state[NN_RECURRENT_STATES];
} NnRecurrentOutput;

/* A stack of layers for one call. */
typedef struct {
    const char *kind, *name;
    int64_t I;
    int L, D, n_states;
    int64_t size[NN_RECURRENT_STATES]; /* of h, of c */
    bool batch_first, locked_dropout;
    double dropout, input_dropout, output_dropout;
    const void *model;
    bool made;
    const char *(*scope)(const void *model, int k);
    /* Pass k over x [T, B, ..], or I64 [T, B], from the states [B, size] ({0}: zeros). */
    NnRecurrentOutput (*pass)(const void *model, int k, AgVar x, const AgVar *state,
                              const AgRnnOptions *options);
} NnRecurrent;

/* All layers: states NULL or [n_states], each [L*D, B, size]. */
NnRecurrentOutput nn_recurrent_run(const NnRecurrent *m, AgVar x, const AgVar *states,
                                   const int64_t *lengths);

/* Has x n axes before those of size I, or, as numbers (I64), n axes? */
bool nn_recurrent_fits(AgVar x, int n, int64_t I);
/* True if x is [B, I], or I64 [B], and the n states [B, size]; else that is recorded for `kind`. */
bool nn_recurrent_check_step(const char *kind, AgVar x, int64_t I, int n, const AgVar *state,
                             const int64_t *size);

AgRnnWeights nn_recurrent_weights(AgTape *t, const NnRnnParams *p);
/* The same for one step of a cell from such an x and h [B, H].  False, and the tape's error: they
 * are not of these shapes, or the cell was not made. */
bool nn_recurrent_open_cell(const char *kind, AgVar x, AgVar h, int64_t I, int64_t H,
                            const NnRnnParams *p, AgRnnWeights *w);

#endif
