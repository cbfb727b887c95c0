/* watch.c -- names, watches and hooks: what is hung on a node from outside. */
#include <string.h>

#include "autograd/tape.h"

/* A name, and with it perhaps a watch; NULL with the error recorded. */
static AgWatch *add_watch(AgVar v, const char *what, const char *name) {
    AgTape *t = v.tape;
    if (!t || t->failed || !ag_check_var(t, what, 0, v)) return NULL;
    if (!name) {
        ag_fail(t, "%s: no name", what);
        return NULL;
    }
    AgWatch *watch = ag_grow(t->watch, t->n_watched, &t->cap_watched, sizeof *watch);
    if (watch) t->watch = watch;
    size_t size = strlen(name) + 1;
    char *copy = ag_take(t, t->arena, size);
    if (!copy || !watch) {
        ag_fail_memory(t, what, size);
        return NULL;
    }
    memcpy(copy, name, size);
    watch = &t->watch[t->n_watched++];
    *watch = (AgWatch){.id = v.id, .name = copy, .grad = tensor_nil(),
                       .end = tensor_arena_bytes(t->arena)};
    ag_node(t, v.id)->name = copy;
    return watch;
}

void ag_name(AgVar v, const char *name) {
    AgWatch *w = add_watch(v, "name", name);
    if (w) w->only_name = true;
}

void ag_watch(AgVar v, const char *name) {
    if (ag_ok(v) && !v.tape->failed && !ag_check_floats(v.tape, "watched variable", 1, &v)) return;
    add_watch(v, "watch", name);
}

Tensor ag_watched(AgTape *t, const char *name) {
    for (uint32_t i = 0; i < t->n_watched; i++)
        if (!t->watch[i].only_name && !strcmp(t->watch[i].name, name)) return t->watch[i].grad;
    return tensor_nil();
}

Tensor ag_watched_var(AgVar v) {
    for (uint32_t i = 0; ag_ok(v) && i < v.tape->n_watched; i++) {
        const AgWatch *w = &v.tape->watch[i];
        if (w->id == v.id && !w->only_name) return w->grad;
    }
    return tensor_nil();
}

/* What the node was called before. */
static const char *older_name(const AgTape *t, uint32_t id, uint32_t kept) {
    while (kept-- > 0)
        if (t->watch[kept].id == id) return t->watch[kept].name;
    return ag_node(t, id)->leaf ? ag_node(t, id)->leaf->name : NULL;
}

/* Names and gradients lie in the arena: what came after the mark is gone. */
void ag_forget_watches(AgTape *t, AgTapeMark mark) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->n_watched; i++) {
        AgWatch *w = &t->watch[i];
        bool node_stays = w->id < mark.nodes;
        if (node_stays && w->end <= mark.memory.bytes) {
            if (w->grad_end > mark.memory.bytes) w->grad = tensor_nil();
            t->watch[kept++] = *w;
        } else if (node_stays) {
            ag_node(t, w->id)->name = older_name(t, w->id, kept);
        }
    }
    t->n_watched = kept;
}

/* ---- hooks: a chain for each node, in the order in which they came ---- */

void ag_hook(AgVar v, AgVar (*hook)(AgVar grad, void *context), void *context) {
    AgTape *t = v.tape;
    if (!t || t->failed || !ag_check_var(t, "hook", 0, v)) return;
    if (!hook) {
        ag_fail(t, "hook: no function");
        return;
    }
    if (!ag_check_floats(t, "hooked variable", 1, &v)) return;
    AgHook *hooks = ag_grow(t->hook, t->n_hooks, &t->cap_hooks, sizeof *hooks);
    if (!hooks) {
        ag_fail_memory(t, "hook", sizeof *hooks);
        return;
    }
    t->hook = hooks;
    hooks[t->n_hooks++] = (AgHook){v.id, 0, hook, context};
    uint32_t *last = &ag_node(t, v.id)->hook;
    while (*last) last = &hooks[*last - 1].next;
    *last = t->n_hooks;
}

static void cut(uint32_t *link, uint32_t n) {
    if (*link > n) *link = 0;
}

void ag_forget_hooks(AgTape *t, AgTapeMark mark) {
    uint32_t n = t->n_hooks;
    if (n <= mark.hooks) return;
    for (uint32_t i = 0; i < n; i++) {
        cut(&t->hook[i].next, mark.hooks);
        if (t->hook[i].id < mark.nodes) cut(&ag_node(t, t->hook[i].id)->hook, mark.hooks);
    }
    t->n_hooks = mark.hooks;
}
