/* rule.h -- what optim.c asks of a kind of optimiser, and rules.c answers.  Not for use
 * outside optim/. */
#ifndef OPTIM_RULE_H
#define OPTIM_RULE_H
#include <string.h>

#include "optim/kernels.h"
#include "optim/optim.h"
#include "tensor/file.h"

/* All begin with lr. */
typedef union {
    double lr;
    OptimSgd sgd;
    OptimAdam adam;
    OptimAdamW adamw;
    OptimRmsprop rmsprop;
    OptimAdagrad adagrad;
    OptimAdadelta adadelta;
    OptimAsgd asgd;
} OptimOptions;

/* The number at this place of the options. */
static inline double optim_number_at(const OptimOptions *o, size_t at) {
    double x;
    memcpy(&x, (const char *)o + at, sizeof x);
    return x;
}
static inline void optim_set_number_at(OptimOptions *o, size_t at, double x) {
    memcpy((char *)o + at, &x, sizeof x);
}

/* One step of one parameter. */
typedef struct {
    const OptimOptions *options;
    double lr;
    int64_t n;  /* which of the parameter's steps this is, from 1 */
    int64_t t0; /* asgd: in place of the options'; -1 for theirs */
    double factor; /* of the gradient, by clipping */
    OptimOperands operands;
} OptimMove;

/* A number among the options, and where it must lie. */
typedef enum {
    OPTIM_AT_LEAST_0, /* and finite */
    OPTIM_BELOW_1,    /* [0, 1) */
    OPTIM_UP_TO_1,    /* [0, 1] */
    OPTIM_FINITE,
    OPTIM_NOT_NAN
} OptimRange;
typedef struct {
    const char *name;
    size_t at;
    OptimRange range;
} OptimField;
enum { OPTIM_FIELDS = 8 };

typedef struct {
    const char *name;
    size_t size;                    /* of the options */
    OptimField field[OPTIM_FIELDS]; /* up to one without a name */
    size_t only;                    /* where in the options; so are the next two, or 0 */
    size_t momentum;                /* what optim_set_momentum sets */
    size_t slot_value;              /* what slots hold before the first step; 0: zeros */
    const char *slot_name[OPTIM_SLOTS]; /* in checkpoints, as PyTorch's; NULL: no such slot */
    bool averages;                  /* slot 0 is an average of the parameter */
    const char *(*wrong)(const OptimOptions *o); /* a reason beyond the ranges, or NULL */
    unsigned (*slots)(const OptimOptions *o);    /* a bit for each slot that they need */
    /* Whether the step leaves p and slots, to the bit, where g is +0; NULL: never. */
    bool (*rests)(const OptimMove *m);
    void (*step)(const OptimMove *m); /* of the operands, which may be a part of a parameter */
} OptimRule;

/* Whether the options are legal; else the error says what is not, after the rule's name. */
bool optim_rule_check(const OptimRule *rule, const OptimOptions *o, TensorError *error);

/* In optim.c: what optim_RULE_new and optim_RULE_group do. */
Optim *optim_rule_new(const OptimRule *rule, NnParamSet *set, const void *options);
void optim_rule_group(Optim *opt, const OptimRule *rule, const char *pattern,
                      const void *options);

#endif
