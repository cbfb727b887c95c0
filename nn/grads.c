/* grads.c -- gradients of a set of parameters; see param.h. */
#include <stdlib.h>
#include <string.h>

#include "nn/param_set.h"
#include "tensor/blocks.h"
#include "tensor/kernels.h"

static bool grow(NnGrads *grads) {
    if (grads->n < grads->capacity) return true;
    int capacity = grads->capacity ? 2 * grads->capacity : 16;
    Tensor *list = tensor_arena_alloc(grads->arena, (size_t)capacity * sizeof *list);
    AgRows **rows = tensor_arena_alloc(grads->arena, (size_t)capacity * sizeof *rows);
    if (!list || !rows) return false;
    if (grads->n) memcpy(list, grads->grad, (size_t)grads->n * sizeof *list);
    if (grads->n) memcpy(rows, grads->rows, (size_t)grads->n * sizeof *rows);
    grads->grad = list;
    grads->rows = rows;
    grads->capacity = capacity;
    return true;
}

bool nn_grads_keep_rows(NnGrads *grads, const NnParam *p) {
    int64_t n = p->value.shape[0];
    AgRows *rows = tensor_arena_alloc(grads->arena, sizeof *rows);
    uint64_t *used = tensor_arena_alloc(grads->arena, AG_ROWS_WORDS(n) * sizeof *used);
    if (!rows || !used) return false;
    *rows = (AgRows){.n = n, .used = used};
    ag_rows_clear(rows);
    grads->rows[p->index] = rows;
    return true;
}

bool nn_grads_append(NnGrads *grads, const NnParam *p) {
    if (!grow(grads)) return false;
    Tensor g = tensor_nil();
    if (p->trainable) {
        g = tensor_new(grads->arena, p->value.dtype, p->value.ndim, p->value.shape);
        if (tensor_is_nil(&g)) return false;
        tensor_fill(&g, 0);
    }
    grads->rows[grads->n] = NULL;
    grads->grad[grads->n++] = g;
    return !p->by_rows || nn_grads_keep_rows(grads, p);
}

NnGrads *nn_grads_new(NnParamSet *set) {
    if (!set) return NULL;
    NnGrads *grads = calloc(1, sizeof *grads);
    TensorArena *arena = tensor_arena_new();
    bool ok = grads && arena;
    if (ok) *grads = (NnGrads){.set = set, .arena = arena};
    for (int i = 0; ok && i < set->n; i++) ok = nn_grads_append(grads, set->param[i]);
    if (ok) return grads;
    tensor_arena_free(arena);
    free(grads);
    return NULL;
}

void nn_grads_free(NnGrads *grads) {
    if (!grads || grads == &grads->set->own) return;
    tensor_arena_free(grads->arena);
    free(grads);
}

NnGrads *nn_params_grads(NnParamSet *set) { return set ? &set->own : NULL; }
NnParamSet *nn_grads_set(const NnGrads *grads) { return grads ? grads->set : NULL; }

bool nn_grads_use(NnGrads *grads, AgTape *t) {
    return grads && ag_tape_attach(t, grads->set, grads);
}

/* ---- passes over all ---- */

typedef struct {
    const NnGrads *to, *from;
} Grads;

static int64_t size_of(int i, void *context) {
    const Grads *c = context;
    return tensor_is_nil(&c->to->grad[i]) ? 0 : tensor_numel(&c->to->grad[i]);
}

static Tensor span_of(const Tensor *g, AgSpan s) {
    char *data = (char *)g->data + (size_t)s.begin * tensor_dtype_size(g->dtype);
    return tensor_wrap(data, g->dtype, 1, (int64_t[]){s.end - s.begin});
}

static double zero_block(const TensorBlock *b, void *context) {
    const NnGrads *to = ((Grads *)context)->to;
    const Tensor *g = &to->grad[b->array];
    for (AgSpan s = {0, b->begin}; ag_rows_next(to->rows[b->array], g, b->end, &s);) {
        Tensor part = span_of(g, s);
        tensor_fill(&part, 0);
    }
    return 0;
}

void nn_grads_zero(NnGrads *grads) {
    if (!grads) return;
    Grads c = {grads, NULL};
    tensor_blocks(&(TensorPass){.n = grads->n, .size = size_of, .run = zero_block, .context = &c});
    for (int i = 0; i < grads->n; i++)
        if (grads->rows[i]) ag_rows_clear(grads->rows[i]);
}

void nn_zero_grad(NnParamSet *set) { nn_grads_zero(nn_params_grads(set)); }

static double add_block(const TensorBlock *b, void *context) {
    const Grads *c = context;
    const Tensor *to = &c->to->grad[b->array], *from = &c->from->grad[b->array];
    AgRows *rows = c->from->rows[b->array];
    for (AgSpan s = {0, b->begin}; ag_rows_next(rows, to, b->end, &s);) {
        Tensor sum = span_of(to, s), part = span_of(from, s);
        tensor_accumulate(&sum, &part);
    }
    return 0;
}

bool nn_grads_add(NnGrads *dst, const NnGrads *src) {
    if (!dst || !src || dst->set != src->set || dst->n != src->n) return false;
    Grads c = {dst, src};
    tensor_blocks(&(TensorPass){.n = dst->n, .size = size_of, .run = add_block, .context = &c});
    for (int i = 0; i < dst->n; i++)
        if (dst->rows[i]) ag_rows_join(dst->rows[i], src->rows[i]);
    return true;
}

Tensor nn_grads_at(const NnGrads *grads, int i) {
    return grads && i >= 0 && i < grads->n ? grads->grad[i] : tensor_nil();
}

AgRows *nn_grads_rows(const NnGrads *grads, int i) {
    return grads && i >= 0 && i < grads->n ? grads->rows[i] : NULL;
}

void nn_grads_touch(NnGrads *grads, int i) {
    AgRows *rows = nn_grads_rows(grads, i);
    if (rows) rows->all = true;
}
