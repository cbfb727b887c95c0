/* tape.c -- the tape's life, its error, modes, scopes and marks. */
#include "autograd/tape.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/kernels.h"

#if defined(__GLIBC__)
#include <execinfo.h>
#define HAVE_BACKTRACE 1
#else
#define HAVE_BACKTRACE 0
#endif

#ifdef UNROLL_DEBUG
#define CHECK_BORROWED_DEFAULT true
#else
#define CHECK_BORROWED_DEFAULT false
#endif

/* ---- life ---- */

/* Node 0 is what a failed handle reads: an empty tensor, so that reading it does no harm. */
static bool push_failed_node(AgTape *t) {
    static float nothing;
    Tensor empty = tensor_wrap(&nothing, TENSOR_F32, 1, (int64_t[]){0});
    t->n = 0;
    ag_push_node(t, &empty, NULL);
    return t->n == 1;
}

AgTape *ag_tape_new(void) {
    AgTape *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->arena = tensor_arena_new();
    t->scratch = tensor_arena_new();
    t->sweep = tensor_arena_new();
    t->scope = calloc(1, sizeof *t->scope);
    t->cap_scopes = t->n_scopes = 1;
    t->check_borrowed = CHECK_BORROWED_DEFAULT;
    t->epoch = t->reset_epoch = 1;
    if (t->arena && t->scratch && t->sweep && t->scope) {
        t->scope[0].step = -1;
        if (push_failed_node(t)) return t;
    }
    ag_tape_free(t);
    return NULL;
}

void ag_tape_free(AgTape *t) {
    if (!t) return;
    tensor_arena_free(t->arena);
    tensor_arena_free(t->scratch);
    tensor_arena_free(t->sweep);
    for (uint32_t i = 0; i < t->n_chunks; i++) free(t->chunk[i]);
    free(t->chunk);
    free(t->scope);
    free(t->leaf);
    free(t->attached);
    free(t->watch);
    free(t->hook);
    tensor_arena_free(t->kept);
    free(t->part);
    free(t->profile.line);
    free(t->profile.slot);
    ag_packed_reset(t, true);
    free(t->packed);
    free(t);
}

void ag_tape_reset(AgTape *t) {
    if (t->sweeps || t->checkpoint) {
        ag_fail(t, "tape_reset: inside a gradient rule, a hook or a checkpoint");
        return;
    }
    AgProfileMark was = ag_profile_begin(t, AG_TIME_RESET, NULL, 0);
    tensor_arena_reset(t->arena);
    tensor_arena_reset(t->scratch);
    tensor_arena_reset(t->sweep);
    ag_packed_reset(t, false);
    t->n = 1;
    t->reset_epoch = ++t->epoch;
    t->n_scopes = 1;
    t->open_scope = 0;
    t->n_leaves = 0;
    if (t->cap_leaves) memset(t->leaf, 0, t->cap_leaves * sizeof *t->leaf);
    t->n_watched = t->n_hooks = t->n_parts = 0;
    t->draws = 0;
    t->n_backwards = 0;
    t->warning[0] = 0;
    ag_forget_growth(t);
    t->failed = false;
    t->misshaped = 0;
    t->error[0] = 0;
    t->n_frames = 0;
    ag_profile_end(t, was);
}

void *ag_grow(void *array, uint32_t n, uint32_t *cap, size_t size) {
    if (n < *cap) return array;
    uint32_t want = *cap ? 2 * *cap : 16;
    void *bigger = realloc(array, want * size);
    if (bigger) *cap = want;
    return bigger;
}

enum { CHUNK_BYTES = AG_NODES_A_CHUNK * sizeof(AgNode) };

static bool add_chunk(AgTape *t) {
    bool allowed = !t->limit || (ag_tape_reserved(t) <= t->limit &&
                                 CHUNK_BYTES <= t->limit - ag_tape_reserved(t));
    AgNode **chunk = allowed ? ag_grow(t->chunk, t->n_chunks, &t->cap_chunks, sizeof *chunk) : NULL;
    if (chunk) t->chunk = chunk;
    AgNode *nodes = chunk ? malloc(CHUNK_BYTES) : NULL;
    if (nodes) t->chunk[t->n_chunks++] = nodes;
    else ag_fail_memory(t, "tape", CHUNK_BYTES);
    return nodes != NULL;
}

uint32_t ag_push_node(AgTape *t, const Tensor *value, AgBuffer *buffer) {
    if (t->n == t->n_chunks * AG_NODES_A_CHUNK && !add_chunk(t)) return 0;
    uint32_t id = t->n++;
    if (buffer) buffer->uses++;
    AgNode *n = ag_node(t, id);
    n->value = *value; /* not in a literal, which would be built aside and copied */
    memset(&n->op, 0, sizeof *n - offsetof(AgNode, op));
    n->buffer = buffer;
    n->step = t->scope[t->open_scope].step;
    n->epoch = t->epoch;
    n->scope = t->open_scope;
    return id;
}

void ag_pop_nodes(AgTape *t, uint32_t n) {
    assert(n >= 1 && n <= t->n);
    for (uint32_t id = n; id < t->n && t->sweeps; id++)
        if (ag_node(t, id)->buffer) ag_buffer_drop(t, ag_node(t, id)->buffer);
    t->n = n;
}

/* ---- the error ---- */

bool ag_tape_ok(const AgTape *t) { return !t->failed; }
const char *ag_tape_error(const AgTape *t) { return t->error; }
void ag_tape_abort_on_error(AgTape *t, bool on) { t->abort_on_error = on; }

const char *ag_scope_text(const AgTape *t, uint32_t scope, int64_t step, char *buf, size_t n) {
    uint32_t path[AG_MAX_SCOPES];
    int depth = 0;
    for (uint32_t s = scope; s && depth < AG_MAX_SCOPES; s = t->scope[s].parent) path[depth++] = s;
    size_t used = 0;
    buf[0] = 0;
    for (int d = depth; d-- > 0 && used < n;) {
        /* Steps as they were then: the scopes have moved on since. */
        int64_t at = d == 0 ? step : t->scope[path[d - 1]].parent_step;
        used += (size_t)snprintf(buf + used, n - used, "%s%s", d == depth - 1 ? "" : "/",
                                 t->scope[path[d]].name);
        if (at >= 0 && used < n)
            used += (size_t)snprintf(buf + used, n - used, " step %lld", (long long)at);
    }
    if (depth && used < n) snprintf(buf + used, n - used, ": ");
    return buf;
}

char *ag_one_line(char *text) {
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ') *c = '?';
    size_t n = strlen(text), lead = n;
    while (lead > 0 && ((unsigned char)text[lead - 1] & 0xC0) == 0x80) lead--;
    if (lead-- == 0) return text;
    unsigned char c = (unsigned char)text[lead];
    size_t whole = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
    if (n - lead < whole) text[lead] = 0;
    return text;
}

/* Every error passes here: one place for a breakpoint. */
static void record_error(AgTape *t, const char *format, va_list args) {
    if (t->failed) return;
    t->failed = true;
    char where[1024];
    ag_scope_text(t, t->open_scope, t->scope[t->open_scope].step, where, sizeof where);
    /* A long path shows its end, so that the reason has its place. */
    size_t length = strlen(where), shown = sizeof t->error / 3;
    const char *from = length > shown ? where + length - shown : where;
    size_t used = (size_t)snprintf(t->error, sizeof t->error, "%s%s", from > where ? "..." : "",
                                   from);
    vsnprintf(t->error + used, sizeof t->error - used, format, args);
    ag_one_line(t->error);
#if HAVE_BACKTRACE
    t->n_frames = backtrace(t->frame, AG_MAX_FRAMES);
#endif
    if (t->abort_on_error) abort();
}

AgVar ag_fail(AgTape *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    record_error(t, format, args);
    va_end(args);
    return ag_failed(t);
}

void ag_fail_memory(AgTape *t, const char *what, size_t bytes) {
    ag_fail(t, "%s: out of memory (%zu bytes)", what, bytes);
}

const char *ag_tape_error_where(AgTape *t) {
    size_t n = sizeof t->error_where;
    size_t used = (size_t)snprintf(t->error_where, n, "%s", t->error);
#if HAVE_BACKTRACE
    char **symbol = t->n_frames ? backtrace_symbols(t->frame, t->n_frames) : NULL;
    for (int i = 1; symbol && i < t->n_frames && used < n; i++)
        used += (size_t)snprintf(t->error_where + used, n - used, "\n  %s", symbol[i]);
    free(symbol);
#else
    (void)used;
#endif
    return t->error_where;
}

/* ---- modes ---- */

static bool swap(bool *mode, bool on) {
    bool was = *mode;
    *mode = on;
    return was;
}
bool ag_tape_training(AgTape *t, bool on) { return swap(&t->training, on); }
bool ag_tape_is_training(const AgTape *t) { return t->training; }
bool ag_tape_no_grad(AgTape *t, bool on) { return swap(&t->no_grad, on); }
bool ag_tape_is_no_grad(const AgTape *t) { return t->no_grad; }
void ag_tape_check_borrowed(AgTape *t, bool on) { t->check_borrowed = on; }

void ag_tape_rng(AgTape *t, uint64_t seed, uint64_t step) {
    t->seed = seed;
    t->rng_step = step;
}

void ag_tape_rows(AgTape *t, int64_t first, int64_t total) {
    t->first_row = first;
    t->total_rows = total;
}

/* ---- memory ---- */

void ag_tape_set_memory_limit(AgTape *t, size_t bytes) { t->limit = bytes; }
int64_t ag_tape_count(const AgTape *t) { return (int64_t)t->n - 1; }

size_t ag_tape_bytes(const AgTape *t) {
    return tensor_arena_bytes(t->arena) + tensor_arena_bytes(t->sweep) +
           (t->kept ? tensor_arena_bytes(t->kept) : 0);
}

size_t ag_tape_reserved(const AgTape *t) {
    return tensor_arena_reserved(t->arena) + tensor_arena_reserved(t->scratch) +
           tensor_arena_reserved(t->sweep) + (t->kept ? tensor_arena_reserved(t->kept) : 0) +
           t->packed_bytes + (size_t)t->n_chunks * CHUNK_BYTES;
}

void ag_apply_limit(AgTape *t, TensorArena *a) {
    size_t limit = 0;
    if (t->limit) {
        size_t others = ag_tape_reserved(t) - tensor_arena_reserved(a);
        limit = t->limit > others ? t->limit - others : 1;
    }
    tensor_arena_set_limit(a, limit);
}

void *ag_take(AgTape *t, TensorArena *a, size_t bytes) {
    ag_apply_limit(t, a);
    return tensor_arena_alloc(a, bytes);
}

Tensor ag_take_tensor(AgTape *t, TensorArena *a, TensorDtype dtype, int ndim,
                      const int64_t *shape) {
    ag_apply_limit(t, a);
    return tensor_new(a, dtype, ndim, shape);
}

void *ag_tape_alloc(AgTape *t, size_t bytes) {
    if (t->failed) return NULL;
    void *p = ag_take(t, t->arena, bytes);
    if (!p) ag_fail_memory(t, "tape_alloc", bytes);
    return p;
}

Tensor ag_new_value(AgTape *t, TensorDtype dtype, int ndim, const int64_t *shape,
                    AgBuffer **buffer) {
    *buffer = NULL;
    if (!t->recycle) return ag_take_tensor(t, t->arena, dtype, ndim, shape);
    static char nothing; /* tensor_wrap checks the shape; the memory comes next */
    Tensor value = tensor_wrap(&nothing, dtype, ndim, shape);
    if (tensor_is_nil(&value)) return value;
    *buffer = ag_buffer_take(t, (size_t)tensor_numel(&value) * tensor_dtype_size(dtype));
    if (!*buffer) return tensor_nil();
    value.data = (*buffer)->memory;
    return value;
}

void ag_fill_nan(const Tensor *x) {
    if (tensor_dtype_is_float(x->dtype)) tensor_fill(x, (double)NAN);
}

/* ---- marks ---- */

AgTapeMark ag_tape_mark(AgTape *t) {
    return (AgTapeMark){t, tensor_arena_mark(t->arena), t->n, t->n_scopes, t->n_hooks, t->epoch};
}

static void forget_since(AgTape *t, AgTapeMark mark) {
    ag_pop_nodes(t, mark.nodes);
    tensor_arena_release(t->arena, mark.memory);
    while (t->open_scope >= mark.scopes) t->open_scope = t->scope[t->open_scope].parent;
    t->n_scopes = mark.scopes;
    t->epoch++;
    ag_forget_watches(t, mark);
    ag_forget_hooks(t, mark);
    ag_forget_kept(t, mark);
    if (t->n_bounds && t->n < t->bound[0]) ag_forget_growth(t);
}

static const char *why_no_release(const AgTape *t, AgTapeMark mark) {
    if (mark.tape != t) return "the mark is of another tape";
    if (mark.epoch < t->reset_epoch) return "the mark is older than the last reset";
    if (mark.nodes < t->floor)
        return "the mark is from before the gradient rule, the hook or the checkpoint that runs";
    /* What stood there when the mark was made was released since, and the place used anew. */
    if (mark.nodes > t->n || mark.scopes > t->n_scopes ||
        mark.memory.bytes > tensor_arena_bytes(t->arena) ||
        ag_node(t, mark.nodes - 1)->epoch > mark.epoch)
        return "the mark was forgotten by an earlier release";
    return NULL;
}

bool ag_tape_release(AgTape *t, AgTapeMark mark, int n, AgVar *keep) {
    const char *why = why_no_release(t, mark);
    if (why) {
        ag_fail(t, "tape_release: %s", why);
        return false;
    }
    AgProfileMark was = ag_profile_begin(t, AG_TIME_RELEASE, NULL, t->open_scope);
    for (int i = 0; i < n; i++)
        if (!t->failed && !ag_check_var(t, "tape_release", i, keep[i])) break;

    /* What is kept passes through scratch memory: its place may overlap its new one. */
    TensorArenaMark scratch = tensor_arena_mark(t->scratch);
    Tensor *moved = ag_take(t, t->scratch, (size_t)(n > 0 ? n : 0) * sizeof *moved);
    if (!moved) ag_fail_memory(t, "tape_release", (size_t)n * sizeof *moved);
    for (int i = 0; i < n && !t->failed; i++) {
        if (keep[i].id < mark.nodes) continue;
        ag_apply_limit(t, t->scratch);
        moved[i] = tensor_copy(t->scratch, &ag_node(t, keep[i].id)->value);
        if (tensor_is_nil(&moved[i])) ag_fail_memory(t, "tape_release", 0);
    }
    forget_since(t, mark);
    for (int i = 0; i < n; i++) {
        if (t->failed) {
            keep[i] = ag_failed(t);
        } else if (keep[i].id >= mark.nodes) {
            keep[i] = ag_input(t, &moved[i]);
        }
    }
    tensor_arena_release(t->scratch, scratch);
    ag_profile_end(t, was);
    return !t->failed;
}

/* ---- scopes ---- */

static uint32_t scope_depth(const AgTape *t) {
    uint32_t depth = 0;
    for (uint32_t s = t->open_scope; s; s = t->scope[s].parent) depth++;
    return depth;
}

void ag_scope_push(AgTape *t, const char *name) {
    if (t->failed) return; /* the error keeps the scope it happened in */
    if (!name) name = "?";
    if (scope_depth(t) >= AG_MAX_SCOPES) {
        ag_fail(t, "scope_push(%s): more than %d scopes deep", name, AG_MAX_SCOPES);
        return;
    }
    size_t size = strlen(name) + 1;
    char *copy = ag_take(t, t->arena, size);
    AgScope *scope = ag_grow(t->scope, t->n_scopes, &t->cap_scopes, sizeof *scope);
    if (scope) t->scope = scope;
    if (!copy || !scope) {
        ag_fail_memory(t, "scope_push", size);
        return;
    }
    memcpy(copy, name, size);
    t->scope[t->n_scopes] = (AgScope){.name = copy, .parent = t->open_scope, .step = -1,
                                      .parent_step = t->scope[t->open_scope].step};
    t->open_scope = t->n_scopes++;
}

void ag_scope_step(AgTape *t, int64_t step) {
    if (!t->failed && t->open_scope) t->scope[t->open_scope].step = step;
}

void ag_scope_pop(AgTape *t) {
    if (t->failed) return;
    if (!t->open_scope) {
        ag_fail(t, "scope_pop: no scope is open");
        return;
    }
    t->open_scope = t->scope[t->open_scope].parent;
}

/* ---- attachments ---- */

bool ag_tape_attach(AgTape *t, const void *key, void *data) {
    for (uint32_t i = 0; i < t->n_attached; i++) {
        if (t->attached[i].key != key) continue;
        if (data) t->attached[i].data = data;
        else t->attached[i] = t->attached[--t->n_attached];
        return true;
    }
    if (!data) return true;
    AgAttachment *attached =
        ag_grow(t->attached, t->n_attached, &t->cap_attached, sizeof *attached);
    if (!attached) return false;
    t->attached = attached;
    attached[t->n_attached++] = (AgAttachment){key, data};
    return true;
}

void *ag_tape_attached(const AgTape *t, const void *key) {
    for (uint32_t i = 0; i < t->n_attached; i++)
        if (t->attached[i].key == key) return t->attached[i].data;
    return NULL;
}
