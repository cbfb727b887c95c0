/* packed.c -- matrices in the order in which the product reads them, kept from call to call.
 *
 * Training changes a parameter in every step, and a packed copy is worth its memory within one call
 * only; it is taken from the call's scratch.  Without gradients the same parameter serves call
 * after call: its copy stays with the tape until its version changes, and then gets the new values.
 *
 * Copies are no necessity: they take a share of the tape's limit at most, and a number of places.
 * When one was refused, the next reset frees those that were not used since the last one, of
 * parameters that are gone for example; and all, when the limit was set so low that they take more
 * than their share.  Within a limit, training has its memory to itself: what fits without copies
 * must not fail because an evaluation left some. */
#include <stdlib.h>
#include <string.h>

#include "autograd/tape.h"

/* What is kept of this matrix, current or not; NULL. */
static AgPacked *find(AgTape *t, const AgLeaf *leaf, bool transposed) {
    for (uint32_t i = 0; i < t->n_packed; i++)
        if (t->packed[i].identity == leaf->identity && t->packed[i].transposed == transposed)
            return &t->packed[i];
    return NULL;
}

/* Memory within the tape's limit and the copies' share of it; NULL. */
static void *memory_for(AgTape *t, size_t bytes) {
    size_t reserved = ag_tape_reserved(t);
    bool fits = !t->limit || (reserved <= t->limit && bytes <= t->limit - reserved &&
                              bytes <= t->limit / AG_PACKED_SHARE &&
                              t->packed_bytes <= t->limit / AG_PACKED_SHARE - bytes);
    return fits ? aligned_alloc(TENSOR_ALIGN, bytes) : NULL;
}

/* A new place, with memory of its own; NULL when there is none to be had. */
static AgPacked *add(AgTape *t, const AgLeaf *leaf, const Tensor *b, bool transposed) {
    size_t bytes = tensor_packed_bytes(b->dtype, b->shape[0], b->shape[1]);
    if (!bytes || bytes > SIZE_MAX - TENSOR_ALIGN) return NULL;
    bytes = (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    bool full = t->n_packed == AG_MAX_PACKED;
    AgPacked *all = full ? NULL : ag_grow(t->packed, t->n_packed, &t->cap_packed, sizeof *all);
    if (all) t->packed = all;
    void *memory = all ? memory_for(t, bytes) : NULL;
    if (!memory) {
        t->packed_refused = true;
        return NULL;
    }
    t->packed_bytes += bytes;
    all[t->n_packed] = (AgPacked){.identity = leaf->identity, .transposed = transposed,
                                  .memory = memory, .bytes = bytes};
    return &all[t->n_packed++];
}

/* The last one takes its place. */
static void drop(AgTape *t, AgPacked *p) {
    t->packed_bytes -= p->bytes;
    free(p->memory);
    *p = t->packed[--t->n_packed];
}

void ag_packed_reset(AgTape *t, bool all) {
    all |= t->limit && t->packed_bytes > t->limit / AG_PACKED_SHARE;
    for (uint32_t i = t->n_packed; i-- > 0;) {
        AgPacked *p = &t->packed[i];
        if (all || (t->packed_refused && !p->used)) drop(t, p);
        else p->used = false;
    }
    t->packed_refused = false;
}

static bool is_current(const AgPacked *p, const AgLeaf *leaf) {
    return p->packed.data && p->version == *leaf->version && p->packed.isa == tensor_isa();
}

/* data NULL where it is not kept. */
static TensorPacked kept(AgTape *t, const AgLeaf *leaf, const Tensor *b, bool transposed,
                         bool keep) {
    AgPacked *p = find(t, leaf, transposed);
    if (p && !keep && t->limit) {
        drop(t, p);
        p = NULL;
    }
    if (keep && !p) p = add(t, leaf, b, transposed);
    if (p && !is_current(p, leaf)) {
        /* Another instruction set may take more memory. */
        if (!keep || tensor_packed_bytes(b->dtype, b->shape[0], b->shape[1]) > p->bytes) p = NULL;
        else *p = (AgPacked){leaf->identity, *leaf->version, transposed, true,
                             tensor_pack(b, p->memory), p->memory, p->bytes};
    }
    if (p) p->used = true;
    return p ? p->packed : (TensorPacked){.data = NULL};
}

/* Of x, the value of node id (0: not known), or of its transpose. */
static TensorPacked packed(AgTape *t, uint32_t id, const Tensor *x, bool transposed, bool keep) {
    const AgLeaf *leaf = id ? ag_node(t, id)->leaf : NULL;
    Tensor b = transposed ? tensor_transpose(x, 0, 1) : *x;
    TensorPacked p = {.data = NULL};
    if (leaf && leaf->version && leaf->identity) p = kept(t, leaf, &b, transposed, keep);
    if (p.data) return p;
    ag_apply_limit(t, t->scratch);
    return tensor_pack_new(&b, t->scratch);
}

TensorPacked ag_call_packed(AgCall *c, int i, bool transposed) {
    const AgVar *in = c->engine;
    TensorPacked p = packed(c->tape, in ? in[i].id : 0, c->in[i], transposed, !c->recorded);
    if (!p.data) ag_call_fail(c, "out of memory");
    return p;
}

TensorPacked ag_vjp_packed(AgVjp *v, int i, bool transposed) {
    TensorPacked p = packed(v->tape, v->in[i].id, ag_value(v->in[i]), transposed, false);
    if (!p.data) ag_fail(v->tape, "%s: out of memory", v->op->name);
    return p;
}
