/* packed.c -- matrices in the order in which the product reads them, kept from call to call.
 *
 * Training changes a parameter in every step, and a packed copy is worth its memory within one call
 * only; it is taken from the call's scratch.  Without gradients the same parameter serves call
 * after call: its copy stays with the tape until its version changes. */
#include <string.h>

#include "autograd/tape.h"

/* What is kept of this matrix, current or not; NULL. */
static AgPacked *find(AgTape *t, const AgLeaf *leaf, bool transposed) {
    for (uint32_t i = 0; i < t->n_packed; i++)
        if (t->packed[i].identity == leaf->identity && t->packed[i].transposed == transposed)
            return &t->packed[i];
    return NULL;
}

/* A new place, with memory of its own; NULL when there is none to be had. */
static AgPacked *add(AgTape *t, const AgLeaf *leaf, const Tensor *b, bool transposed) {
    size_t bytes = tensor_packed_bytes(b->dtype, b->shape[0], b->shape[1]);
    if (t->n_packed == AG_MAX_PACKED || !bytes) return NULL;
    if (!t->packed_arena) t->packed_arena = tensor_arena_new();
    void *memory = t->packed_arena ? ag_take(t, t->packed_arena, bytes) : NULL;
    AgPacked *all = memory ? ag_grow(t->packed, t->n_packed, &t->cap_packed, sizeof *all) : NULL;
    if (!all) return NULL;
    t->packed = all;
    all[t->n_packed] = (AgPacked){.identity = leaf->identity, .transposed = transposed,
                                  .memory = memory, .bytes = bytes};
    return &all[t->n_packed++];
}

static bool is_current(const AgPacked *p, const AgLeaf *leaf) {
    return p->packed.data && p->version == *leaf->version && p->packed.isa == tensor_isa();
}

/* data NULL where it is not kept. */
static TensorPacked kept(AgTape *t, const AgLeaf *leaf, const Tensor *b, bool transposed,
                         bool keep) {
    AgPacked *p = find(t, leaf, transposed);
    if (p && is_current(p, leaf)) return p->packed;
    if (keep && !p) p = add(t, leaf, b, transposed);
    if (!keep || !p || tensor_packed_bytes(b->dtype, b->shape[0], b->shape[1]) > p->bytes)
        return (TensorPacked){.data = NULL};
    p->packed = tensor_pack(b, p->memory);
    p->version = *leaf->version;
    return p->packed;
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
