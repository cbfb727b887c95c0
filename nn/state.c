/* state.c -- see state.h. */
#include "nn/state.h"

#include <stdlib.h>
#include <string.h>

#include "nn/state_entries.h"
#include "tensor/kernels.h"

NnState *nn_state_new(TensorDtype dtype) {
    NnState *st = calloc(1, sizeof *st);
    TensorArena *arena = tensor_arena_new();
    if (!st || !arena) {
        tensor_arena_free(arena);
        free(st);
        return NULL;
    }
    *st = (NnState){.arena = arena, .dtype = dtype};
    return st;
}

void nn_state_free(NnState *st) {
    if (!st) return;
    tensor_arena_free(st->arena);
    free(st);
}

static NnStateEntry *find(const NnState *st, const char *name) {
    for (NnStateEntry *e = st->first; e; e = e->next)
        if (strcmp(e->name, name) == 0) return e;
    return NULL;
}

NnStateEntry *nn_state_append(NnState *st, const char *name, int ndim, const int64_t *shape) {
    size_t size = strlen(name) + 1;
    NnStateEntry *e = tensor_arena_alloc(st->arena, sizeof *e);
    char *copy = tensor_arena_alloc(st->arena, size);
    Tensor value = tensor_new(st->arena, st->dtype, ndim, shape);
    if (!e || !copy || tensor_is_nil(&value)) return NULL;
    memcpy(copy, name, size);
    *e = (NnStateEntry){copy, value, NULL};
    *(st->last ? &st->last->next : &st->first) = e;
    return st->last = e;
}

/* A new tensor of zeros, or NULL with the tape's error. */
static NnStateEntry *add(NnState *st, AgTape *t, const char *name, int ndim,
                         const int64_t *shape) {
    NnStateEntry *e = nn_state_append(st, name, ndim, shape);
    if (e)
        tensor_fill(&e->value, 0);
    else
        ag_fail(t, "state %s: no such shape, or out of memory", name);
    return e;
}

/* True if `e` is what x stands for; else the tape's error. */
static bool fits(AgTape *t, const NnStateEntry *e, const Tensor *x) {
    if (e->value.dtype == x->dtype && tensor_same_shape(&e->value, x)) return true;
    char have[TENSOR_DESCRIBE_SIZE], want[TENSOR_DESCRIBE_SIZE];
    ag_fail(t, "state %s: is %s, not %s", e->name,
            tensor_describe(&e->value, have, sizeof have), tensor_describe(x, want, sizeof want));
    return false;
}

AgVar nn_state_load(NnState *st, AgTape *t, const char *name, int ndim, const int64_t *shape) {
    if (!st) return ag_fail(t, "state %s: out of memory: there is no state", name);
    char nothing;
    Tensor x = tensor_wrap(&nothing, st->dtype, ndim, shape);
    if (tensor_is_nil(&x)) return ag_fail(t, "state %s: no such shape", name);
    NnStateEntry *e = find(st, name);
    if (!e) e = add(st, t, name, ndim, shape);
    if (!e || !fits(t, e, &x)) return (AgVar){t, 0, 0};
    return ag_input(t, &e->value);
}

bool nn_state_store(NnState *st, const char *name, AgVar v) {
    const Tensor *x = ag_value(v);
    if (!ag_ok(v)) return false;
    if (!st) {
        ag_fail(v.tape, "state %s: out of memory: there is no state", name);
        return false;
    }
    NnStateEntry *e = find(st, name);
    if (!e) e = add(st, v.tape, name, x->ndim, x->shape);
    if (!e || !fits(v.tape, e, x)) return false;
    tensor_convert(&e->value, x);
    return true;
}

void nn_state_zero(NnState *st) {
    for (NnStateEntry *e = st ? st->first : NULL; e; e = e->next) tensor_fill(&e->value, 0);
}
