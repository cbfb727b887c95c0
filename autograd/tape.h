/* tape.h -- inside the engine: what ag.h hides.  Not for use outside autograd/. */
#ifndef AUTOGRAD_TAPE_H
#define AUTOGRAD_TAPE_H
#include "autograd/op.h"

/* A recycled buffer of the sweep in progress; see grad.c. */
typedef struct AgBuffer {
    void *memory;
    struct AgBuffer *next; /* in the free list of its size class */
    int size_class;
    int uses; /* nodes and entries that look at it; 0: free */
} AgBuffer;

/* One recorded call; lives in the tape's arena.  Its results are consecutive nodes. */
typedef struct {
    const AgOp *op;
    const void *options;
    const void *saved;
    int n_in, n_out;
    uint32_t first_out;
    bool view; /* the result lies in in[0]'s memory */
    uint32_t in[];
} AgRecord;

typedef struct {
    Tensor value;
    const AgOp *op;         /* NULL for a leaf or input */
    const AgRecord *record; /* NULL for a constant or a leaf */
    const AgLeaf *leaf;     /* a copy in the arena, or NULL */
    AgBuffer *buffer;       /* holds value, if a sweep's */
    const char *name;       /* given by the caller, or NULL */
    uint64_t stamp;         /* the leaf's version, or the checksum of a borrowed input */
    int64_t step;
    uint32_t epoch, scope;
    bool borrowed;
} AgNode;

typedef struct {
    const char *name; /* in the arena */
    uint32_t parent;
    int64_t step;
} AgScope;

typedef struct {
    const void *key;
    uint32_t id, epoch;
} AgLeafEntry;

typedef struct {
    const void *key;
    void *data;
} AgAttachment;

typedef struct {
    uint32_t id;
    const char *name;
    Tensor grad;
    size_t end, grad_end; /* of the memory of name and grad, in bytes of the arena */
} AgWatch;

enum {
    AG_NODES_A_CHUNK = 1024, /* nodes never move: pointers to their values stay good */
    AG_MAX_SCOPES = 64,      /* nesting */
    AG_MAX_FRAMES = 32,      /* of a backtrace */
    AG_SIZE_CLASSES = 256,
};

struct AgTape {
    TensorArena *arena;   /* values and records, until the reset */
    TensorArena *scratch; /* inside one call */
    TensorArena *sweep;   /* inside one sweep: gradient tables and buffers */
    AgNode **chunk;
    uint32_t n_chunks, cap_chunks;
    uint32_t n;           /* nodes; node 0 is the failed variable */
    uint32_t epoch, reset_epoch;

    AgScope *scope;       /* records of all scopes since the reset; 0 is the root */
    uint32_t n_scopes, cap_scopes, open_scope;

    AgLeafEntry *leaf;    /* open addressing, a power of two */
    uint32_t n_leaves, cap_leaves;
    AgAttachment *attached;
    uint32_t n_attached, cap_attached;
    AgWatch *watch;
    uint32_t n_watched, cap_watched;

    bool training, no_grad, abort_on_error, check_borrowed;
    uint64_t seed, rng_step, draws;
    int64_t first_row, total_rows;
    size_t limit;         /* of memory, or 0 */

    int sweeps;           /* depth of nesting */
    bool recycle;         /* results of ops go into the sweep's buffers */
    AgBuffer *free_buffer[AG_SIZE_CLASSES];

    bool failed;
    bool misshaped;       /* the error is a gradient's shape or dtype */
    char error[512];
    char error_where[4096];
    void *frame[AG_MAX_FRAMES];
    int n_frames;
};

static inline AgNode *ag_node(const AgTape *t, uint32_t id) {
    return &t->chunk[id / AG_NODES_A_CHUNK][id % AG_NODES_A_CHUNK];
}
static inline AgVar ag_var_of(AgTape *t, uint32_t id) {
    return (AgVar){t, id, ag_node(t, id)->epoch};
}
static inline AgVar ag_failed(AgTape *t) { return (AgVar){t, 0, 0}; }

/* A new node with this value, which counts as a use of buffer (or NULL); 0 with the error
 * recorded when out of memory. */
uint32_t ag_push_node(AgTape *t, const Tensor *value, AgBuffer *buffer);
/* Takes back all nodes from id n on, and their uses of buffers. */
void ag_pop_nodes(AgTape *t, uint32_t n);
/* True if v is a live variable of t; otherwise records what is wrong with argument i of op. */
bool ag_check_var(AgTape *t, const char *op, int i, AgVar v);
/* The node of a live variable, or the failed node with an error recorded for `what`. */
const AgNode *ag_read_node(AgVar v, const char *what);
/* Memory of one of the tape's arenas, within the tape's limit.  NULL, nil: out of memory, not
 * recorded. */
void *ag_take(AgTape *t, TensorArena *a, size_t bytes);
Tensor ag_take_tensor(AgTape *t, TensorArena *a, TensorDtype dtype, int ndim,
                      const int64_t *shape);
/* Sets the limit of one arena to what the others have left of the tape's. */
void ag_apply_limit(AgTape *t, TensorArena *a);
/* An array of n elements, *cap of them allocated, made to hold one more.  NULL: out of memory. */
void *ag_grow(void *array, uint32_t n, uint32_t *cap, size_t size);
/* Records `out of memory`. */
void ag_fail_memory(AgTape *t, const char *what, size_t bytes);
/* "lm/lstm/l0 step 12: " for scope and step; "" at the root. */
const char *ag_scope_text(const AgTape *t, uint32_t scope, int64_t step, char *buf, size_t n);
/* False, with the error recorded, when a borrowed input or a parameter up to id `top` no longer
 * holds what it held in the forward pass. */
bool ag_check_unchanged(AgTape *t, uint32_t top);
/* A value buffer: of the sweep if t->recycle (then *buffer is set), else of the arena. */
Tensor ag_new_value(AgTape *t, TensorDtype dtype, int ndim, const int64_t *shape,
                    AgBuffer **buffer);
/* Of the sweep; grad.c.  A buffer comes with no uses; the last drop gives it back. */
AgBuffer *ag_buffer_take(AgTape *t, size_t bytes);
void ag_buffer_drop(AgTape *t, AgBuffer *b);
/* The list of watches, after a release to `mark`. */
void ag_forget_watches(AgTape *t, AgTapeMark mark);

#endif
