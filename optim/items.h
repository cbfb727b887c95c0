/* items.h -- what optim.h hides.  Not for use outside optim/. */
#ifndef OPTIM_ITEMS_H
#define OPTIM_ITEMS_H
#include "optim/rule.h"

/* Options, and for which of the optimiser's parameters; group 0 is for all. */
typedef struct {
    const char *pattern;
    OptimOptions options;
} OptimGroup;

/* One parameter of the optimiser. */
typedef struct {
    NnParam *param;
    int group;
    int64_t steps;            /* since slot 0 was made */
    int64_t t0;               /* as in OptimMove */
    Tensor slot[OPTIM_SLOTS]; /* nil until the options ask for it */
    /* The step in progress: */
    OptimMove move;
    Tensor grad;        /* nil: it does not move */
    const AgRows *rows; /* of grad, if the others rest; NULL: all move */
} OptimItem;

struct Optim {
    const OptimRule *rule;
    NnParamSet *set;
    TensorArena *arena;
    const char *only; /* NULL: all */
    OptimGroup *group;
    int n_groups, cap_groups;
    OptimItem *item;
    int n_items, cap_items;
    int seen; /* parameters of the set that were looked at */
    double lr;
    bool averaging; /* optim_asgd_start_averaging was called */
    bool swapped;   /* the averages are in the parameters */
    bool failed;
    TensorError error;
};

/* Takes in the parameters that the set has got since the last call.  It writes nothing that the
 * optimiser had before.  Fails (false; optim_error): out of memory. */
bool optim_adopt(Optim *opt);
/* The rate of a group whose own is `own`, where that of the first group was `first` and is lr. */
double optim_scaled_lr(double own, double first, double lr);

#endif
