/* tape.h -- inside the engine: what ag.h hides.  Not for use outside autograd/. */
#ifndef AUTOGRAD_TAPE_H
#define AUTOGRAD_TAPE_H
#include "autograd/inspect.h"
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
    Tensor value;           /* first: a new node clears what comes after it */
    const AgOp *op;         /* NULL for a leaf or input */
    const AgRecord *record; /* NULL for a constant or a leaf */
    const AgLeaf *leaf;     /* a copy in the arena, or NULL */
    AgBuffer *buffer;       /* holds value, if a sweep's */
    const char *name;       /* given by the caller, or NULL */
    uint64_t stamp;         /* the leaf's version, or the checksum of a borrowed input */
    int64_t step;
    uint32_t epoch, scope;
    uint32_t hook;          /* 1 + the first of its hooks; 0: none */
    bool borrowed;
} AgNode;

typedef struct {
    const char *name; /* in the arena */
    uint32_t parent;
    uint32_t timed;   /* 1 + its line in the profile; 0: not looked up yet */
    int64_t step;
    int64_t parent_step; /* the parent's when this one was opened */
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
    bool only_name;       /* by ag_name */
} AgWatch;

typedef struct {
    uint32_t id, next; /* next: 1 + the next hook of the same node; 0: none */
    AgVar (*function)(AgVar grad, void *context);
    void *context;
} AgHook;

/* What a sweep leaves for ag_tape_explain, in the order in which it happened. */
typedef enum { AG_PART_SEED, AG_PART_OF_OP, AG_PART_TOTAL, AG_PART_HOOKED } AgPartKind;
typedef struct {
    AgPartKind kind;
    uint32_t to, from; /* nodes; from: the first result of the op that sent it */
    Tensor value;
} AgPart;

/* What takes time; see profile.c. */
typedef enum {
    AG_TIME_OUTSIDE,    /* not the tape */
    AG_TIME_CUT,        /* the rest of a sweep in which the profile was switched or cleared */
    AG_TIME_CALL,       /* of an op */
    AG_TIME_INPUT,
    AG_TIME_RELEASE,
    AG_TIME_RESET,
    AG_TIME_CHECKPOINT, /* the function of one, in its first run */
    AG_TIME_BACKWARD,   /* a sweep: what lies between its rules */
    AG_TIME_GRAD,       /* likewise */
    AG_TIME_RULE,       /* the gradient rule of an op */
    AG_TIME_AGAIN,      /* the rule of a checkpoint: its second run */
    AG_TIME_INSIDE,     /* the sweep over that */
    AG_TIME_SUM,        /* a part of a gradient is added to the others */
    AG_TIME_HOOK,
    AG_TIME_SCOPE,      /* no time of its own: a scope */
} AgTimeKind;

enum { AG_PROFILE_NAME = 116, AG_PROFILE_LINES = 4096 };

typedef struct {
    char name[AG_PROFILE_NAME]; /* of an op or a scope; else "" */
    AgTimeKind kind;
    uint32_t scope; /* the number of the scope it stands in; 0: none */
    int64_t calls, ns, bytes;
} AgProfileLine;

typedef struct {
    AgProfileLine *line;    /* line[i] has the number i + 1 */
    uint32_t n, cap;
    AgProfileLine outside;  /* number 0 */
    AgProfileLine others;   /* for what has no room */
    uint32_t *slot;         /* of a hash table, a power of two: numbers; 0: free */
    uint32_t cap_slots;
    uint32_t at;            /* the number of the line that time goes to now */
    AgTimeKind kind;        /* what runs now */
    bool running;           /* since is set */
    bool incomplete;        /* a line or a scope had no room */
    int64_t since;          /* when `at` was last paid */
    int64_t backwards, resets;
    uint32_t generation;    /* marks of another one are void */
} AgProfile;

/* What ran before; generation 0: nothing was begun. */
typedef struct {
    uint32_t generation, at;
    AgTimeKind kind;
} AgProfileMark;

/* A parameter's matrix in the order of the product; see packed.c. */
typedef struct {
    uint64_t identity, version; /* the leaf's, when the matrix was packed */
    bool transposed;
    bool used;           /* since the last reset */
    TensorPacked packed; /* data NULL: not yet */
    void *memory;
    size_t bytes;
} AgPacked;

/* A function of ag_checkpoint in its first run, and what it asks for; see checkpoint.c. */
typedef struct AgCheckpointRun AgCheckpointRun;

enum {
    AG_NODES_A_CHUNK = 1024, /* nodes never move: pointers to their values stay good */
    AG_MAX_SCOPES = 64,      /* nesting */
    AG_MAX_FRAMES = 32,      /* of a backtrace */
    AG_SIZE_CLASSES = 256,
    AG_MAX_SWEEPS = 128,     /* inside each other, in hooks and checkpoints; likewise checkpoints */
    AG_SPAN = 5,             /* times that the windows of one graph grow to a warning */
    AG_WINDOWS = 16,         /* the latest ones, in which this is looked for */
    AG_MAX_PACKED = 64,      /* matrices kept in the order of the product, */
    AG_PACKED_SHARE = 8,     /* in at most so large a part of the tape's limit, an eighth */
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
    AgHook *hook;
    uint32_t n_hooks, cap_hooks;

    bool keep_gradients;
    TensorArena *kept;    /* values of the parts; made when first needed */
    AgPart *part;
    uint32_t n_parts, cap_parts;

    AgPacked *packed; /* kept over resets */
    uint32_t n_packed, cap_packed;
    size_t packed_bytes;
    bool packed_refused; /* since the last reset there was no room for one */

    bool inspect;         /* calls of ops: tracing, profiling, or checkpoint is set */
    bool trace_nan;       /* as the caller wants it */
    bool tracing;         /* now: not inside gradient rules, which are judged as a whole */
    bool profiling;
    AgCheckpointRun *checkpoint; /* the innermost that runs */

    uint32_t bound[AG_WINDOWS]; /* t->n after the last backward passes, the latest first */
    int n_bounds;
    int span, grown;            /* most windows that a pass went through; how often that grew */
    int64_t n_backwards;     /* since the reset */
    char warning[512];
    void (*on_warning)(const char *message, void *context);
    void *warning_context;

    bool training, no_grad, abort_on_error, check_borrowed;
    bool fill_nan;        /* memory for a kernel starts as NaN, so that what it leaves shows */
    uint64_t seed, rng_step, draws;
    int64_t first_row, total_rows;
    size_t limit;         /* of memory, or 0 */

    int sweeps;           /* depth of nesting */
    uint32_t floor;       /* the first node of the rule, hook or checkpoint that runs */
    bool bound_inside;    /* a key got a variable inside a rule */
    bool recycle;         /* results of ops go into the sweep's buffers */
    AgBuffer *free_buffer[AG_SIZE_CLASSES];

    bool failed;
    uint32_t misshaped;   /* result of the op whose gradient's shape or dtype is the error, or 0 */
    char error[512];
    char error_where[4096];
    void *frame[AG_MAX_FRAMES];
    int n_frames;

    AgProfile profile;
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
/* Frees the packed matrices that make room for others, or all; packed.c. */
void ag_packed_reset(AgTape *t, bool all);
/* Makes text one line: `?` for control characters, which names may hold, and nothing of a UTF-8
 * character that was cut at the end.  Returns text. */
char *ag_one_line(char *text);
/* False, with the error recorded, when a borrowed input or a parameter up to id `top` no longer
 * holds what it held in the forward pass. */
bool ag_check_unchanged(AgTape *t, uint32_t top);
/* A value buffer: of the sweep if t->recycle (then *buffer is set), else of the arena. */
Tensor ag_new_value(AgTape *t, TensorDtype dtype, int ndim, const int64_t *shape,
                    AgBuffer **buffer);
void ag_fill_nan(const Tensor *x); /* if it is of a float dtype */
/* Of the sweep; grad.c.  A buffer comes with no uses; the last drop gives it back. */
AgBuffer *ag_buffer_take(AgTape *t, size_t bytes);
void ag_buffer_drop(AgTape *t, AgBuffer *b);
/* False, with the error recorded, unless v[0..n-1] are live variables of float dtypes. */
bool ag_check_floats(AgTape *t, const char *what, int n, const AgVar *v);
/* The name it was given, else its op's, else `input`. */
const char *ag_node_name(const AgNode *n);

/* Watches, names and hooks made since the mark; watch.c. */
void ag_forget_watches(AgTape *t, AgTapeMark mark);
void ag_forget_hooks(AgTape *t, AgTapeMark mark);

/* Kept gradients; explain.c.  A new sweep forgets the last one's; a value is copied. */
void ag_kept_begin(AgTape *t);
void ag_kept_add(AgTape *t, AgPartKind kind, uint32_t to, uint32_t from, const Tensor *value);
void ag_forget_kept(AgTape *t, AgTapeMark mark);

/* The tracer; trace.c.  Each returns false with the error recorded. */
void ag_set_tracing(AgTape *t, bool on);
bool ag_trace_call(AgCall *c, const AgVar *in);
bool ag_trace_leaf(AgTape *t, const char *name, const Tensor *value);
bool ag_trace_seed(AgTape *t, AgVar y, AgVar seed);
bool ag_trace_gout(const AgVjp *v);
bool ag_trace_gin(const AgVjp *v);

/* To be called when tracing, profiling or checkpoint changes. */
static inline void ag_set_inspect(AgTape *t) {
    t->inspect = t->tracing || t->profiling || t->checkpoint;
}

/* The profile; profile.c.  What begins here takes the time until its end, or the beginning of
 * something inside it that is counted by itself.  name: an op's, else NULL. */
AgProfileMark ag_profile_enter(AgTape *t, AgTimeKind kind, const char *name, uint32_t scope);
void ag_profile_leave(AgTape *t, AgProfileMark was);
void ag_profile_results(const AgCall *c);
static inline AgProfileMark ag_profile_begin(AgTape *t, AgTimeKind kind, const char *name,
                                             uint32_t scope) {
    return t->profiling ? ag_profile_enter(t, kind, name, scope)
                        : (AgProfileMark){0, 0, AG_TIME_OUTSIDE};
}
static inline void ag_profile_end(AgTape *t, AgProfileMark was) {
    if (was.generation) ag_profile_leave(t, was);
}

/* Checkpoints; checkpoint.c: the op of their records, and what the running function asks for. */
extern const AgOp ag_checkpoint_op;
bool ag_checkpoint_sees(AgTape *t, int n, const AgVar *in);
void ag_checkpoint_sees_leaf(AgTape *t, const void *key, const AgLeaf *leaf, AgVar v);
/* Where a gradient is added up: the memory, NULL if there is none, and which of its rows are used,
 * NULL if that is not kept. */
typedef struct {
    const Tensor *memory;
    AgRows *rows;
} AgSink;
/* As ag_vjp_into, for a rule that leaves the used rows to those who add. */
AgSink ag_vjp_sink(AgVjp *v, int i);
/* The gradients of one sweep for a rule: into[i], where it has memory, is added to; else gx[i] is
 * set, to the failed variable if nothing arrived. */
bool ag_grad_parts(AgTape *t, int n_y, const AgVar *y, const AgVar *seed, int n, const AgVar *x,
                   const AgSink *into, AgVar *gx, bool create_graph);

/* After ag_backward up to node top; passed(sweep, id): node id passed a gradient on.  growth.c. */
void ag_watch_growth(AgTape *t, uint32_t top, bool (*passed)(const void *sweep, uint32_t id),
                     const void *sweep);
void ag_forget_growth(AgTape *t);

#endif
