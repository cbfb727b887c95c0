/* grads.c -- gradients of a set of parameters; see param.h. */
#include <stdlib.h>
#include <string.h>

#include "nn/param_set.h"
#include "tensor/kernels.h"

static bool grow(NnGrads *grads) {
    if (grads->n < grads->capacity) return true;
    int capacity = grads->capacity ? 2 * grads->capacity : 16;
    Tensor *list = tensor_arena_alloc(grads->arena, (size_t)capacity * sizeof *list);
    if (!list) return false;
    if (grads->n) memcpy(list, grads->grad, (size_t)grads->n * sizeof *list);
    grads->grad = list;
    grads->capacity = capacity;
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
    grads->grad[grads->n++] = g;
    return true;
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

void nn_grads_zero(NnGrads *grads) {
    for (int i = 0; grads && i < grads->n; i++)
        if (!tensor_is_nil(&grads->grad[i])) tensor_fill(&grads->grad[i], 0);
}

void nn_zero_grad(NnParamSet *set) { nn_grads_zero(nn_params_grads(set)); }

bool nn_grads_add(NnGrads *dst, const NnGrads *src) {
    if (!dst || !src || dst->set != src->set || dst->n != src->n) return false;
    for (int i = 0; i < dst->n; i++)
        if (!tensor_is_nil(&dst->grad[i])) tensor_accumulate(&dst->grad[i], &src->grad[i]);
    return true;
}

Tensor nn_grads_at(const NnGrads *grads, int i) {
    return grads && i >= 0 && i < grads->n ? grads->grad[i] : tensor_nil();
}
