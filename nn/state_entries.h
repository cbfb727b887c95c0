/* state_entries.h -- what state.h hides.  Not for use outside nn/. */
#ifndef NN_STATE_ENTRIES_H
#define NN_STATE_ENTRIES_H
#include "nn/state.h"

typedef struct NnStateEntry {
    const char *name;
    Tensor value;
    struct NnStateEntry *next;
} NnStateEntry;

struct NnState {
    TensorArena *arena;
    TensorDtype dtype;
    NnStateEntry *first, *last; /* by the order of their making; NULL: there are none */
};

/* A new tensor behind the others, contents undefined; no other may have the name.
 * NULL: no such shape, or out of memory. */
NnStateEntry *nn_state_append(NnState *st, const char *name, int ndim, const int64_t *shape);

#endif
