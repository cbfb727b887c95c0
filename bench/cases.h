/* cases.h -- what there is to measure. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H
#include <jansson.h>
#include <stdbool.h>

#include "bench/measure.h"

/* What one case gave.  run fills in what it can tell of itself. */
typedef struct {
    BenchTiming timing;    /* of a step */
    double flops;          /* operations of a step's matrix products; 0: not counted */
    double tokens;         /* in a step; 0: there are none */
    double rss_mib;        /* at its peak, where that is not the peak of the whole process */
    json_t *more;          /* NULL, or an object: keys of this case's own */
    char note[1024];       /* a few words for the table, and if it failed on why */
} BenchResult;

/* One row of the table.  A name may have several, which differ in their notes. */
typedef struct {
    const char *name;
    /* Measures for about `budget` seconds; false: r->note says why. */
    bool (*run)(const void *sizes, double budget, BenchResult *r);
    const void *sizes;
    bool products; /* counts the operations of matrix products */
} BenchCase;

typedef struct {
    int n;
    const BenchCase *at;
} BenchCases;

/* Training steps of language models: gradients to zero, forward from the carried state,
 * cross-entropy, backward, clipping, update. */
BenchCases bench_training(void);
/* LSTM layers alone, training and inference. */
BenchCases bench_layers(void);
/* A batch of sequences of several lengths against the same batch padded. */
BenchCases bench_varlen(void);
/* gradcheck of a small model. */
BenchCases bench_gradcheck(void);
/* What recording an op costs beyond its kernel. */
BenchCases bench_overhead(void);

#endif
