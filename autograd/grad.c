/* grad.c -- the reverse sweep.
 *
 * A sweep visits nodes from the results down to the lowest target.  Its table holds, for
 * each node, the part of the gradient that has arrived so far; when a node's turn comes,
 * everything above it has been visited, so its part is whole and its op's rule passes it on.
 * The table is local to the call: rules may sweep again inside.
 *
 * With create_graph the parts are variables, added by recorded ops.  Without, they are
 * plain memory, under three rules that keep copies and additions few:
 *
 *   adopt       the first part to arrive becomes the entry, without a copy;
 *   accumulate  later parts are added into it, if it is the buffer's only user;
 *   pass down   the gradient of a view is the same view of the gradient: parts for a
 *               view go straight into its base's buffer.  The T selects of a sequence
 *               thus cost O(T), not O(T^2), and the gradient of a parameter is added
 *               where it will stay.
 *
 * Buffers come from lists by size class, which a sweep starts with and gives back: uses counts
 * the entries and the rules' variables that look at a buffer, and the last one returns it. */
#include <assert.h>
#include <string.h>

#include "autograd/tape.h"
#include "tensor/kernels.h"

typedef struct {
    Tensor value;     /* without create_graph */
    AgBuffer *buffer; /* of value; NULL: memory of somebody else */
    AgVar var;        /* with create_graph */
    AgRows *rows;     /* of a sink: which of its rows are used; NULL: not kept */
    bool present;
    bool sink;        /* value is a parameter's gradient: ours to add into */
    bool own;         /* asked for: parts may not pass it by */
    bool need;        /* a target lies at or below it */
    bool passed;      /* its gradient went on to an input */
} Entry;

typedef struct {
    AgTape *t;
    bool create_graph;
    bool keep, trace; /* each part for ag_tape_explain; each rule for ag_tape_trace_nan */
    bool apart;       /* a parameter's gradient is collected before it is added */
    uint32_t low, top;
    Entry *table;     /* of nodes low..top */
    AgBuffer *memory; /* of the table */
} Sweep;

/* The rule in progress; AgVjp.engine. */
typedef struct {
    Sweep *sweep;
    const AgRecord *record;
    Tensor *into; /* of each input */
} Rule;

static Entry *entry_of(Sweep *s, uint32_t id) { return &s->table[id - s->low]; }

static bool needs(Sweep *s, uint32_t id) {
    return id >= s->low && id <= s->top && entry_of(s, id)->need;
}

/* ---- buffers ---- */

/* Four classes to each power of two: at most a fifth of a buffer is unused. */
static int size_class(size_t bytes, size_t *capacity) {
    size_t size = bytes < TENSOR_ALIGN ? TENSOR_ALIGN : bytes;
    int k = 63 - __builtin_clzll((unsigned long long)size);
    size_t base = (size_t)1 << k, step = base / 4, q = (size - base + step - 1) / step;
    *capacity = base + q * step;
    return 4 * k + (int)q;
}

AgBuffer *ag_buffer_take(AgTape *t, size_t bytes) {
    size_t capacity;
    int c = size_class(bytes, &capacity);
    AgBuffer *b = t->free_buffer[c];
    if (b) {
        t->free_buffer[c] = b->next;
    } else {
        b = ag_take(t, t->sweep, sizeof *b);
        void *memory = b ? ag_take(t, t->sweep, capacity) : NULL;
        if (!memory) return NULL;
        *b = (AgBuffer){.memory = memory, .size_class = c};
    }
    b->uses = 0;
    return b;
}

void ag_buffer_drop(AgTape *t, AgBuffer *b) {
    assert(b->uses > 0);
    if (--b->uses) return;
    b->next = t->free_buffer[b->size_class];
    t->free_buffer[b->size_class] = b;
}

static void drop_entry(Sweep *s, Entry *e) {
    if (e->buffer) ag_buffer_drop(s->t, e->buffer);
    e->buffer = NULL;
    e->present = false;
}

static void set_entry(Entry *e, const Tensor *value, AgBuffer *buffer) {
    if (buffer) buffer->uses++;
    e->value = *value;
    e->buffer = buffer;
    e->present = true;
}

static void set_sink(Entry *e, const Tensor *memory, AgRows *rows) {
    set_entry(e, memory, NULL);
    e->sink = true;
    e->rows = rows;
}

static bool is_ours(const Entry *e) {
    return e->sink || (e->buffer && e->buffer->uses == 1 && tensor_is_contiguous(&e->value));
}

static Tensor new_buffer(Sweep *s, const Tensor *like, AgBuffer **buffer) {
    Tensor x = ag_new_value(s->t, like->dtype, like->ndim, like->shape, buffer);
    if (tensor_is_nil(&x))
        ag_fail_memory(s->t, "gradient",
                       (size_t)tensor_numel(like) * tensor_dtype_size(like->dtype));
    return x;
}

/* ---- passing down to the base of a view ---- */

static bool is_plain_view(const AgNode *n) {
    return n->record && n->record->view && n->op->same_view;
}

static bool is_part_of(const AgNode *n, const AgNode *base) {
    return tensor_numel(&n->value) < tensor_numel(&base->value);
}

/* The view that the recorded call makes, of other memory than it was recorded with.  False if
 * the strides allow none there (a reshape). */
static bool same_view(AgTape *t, const AgRecord *r, const Tensor *base, Tensor *view) {
    *view = (Tensor){.dtype = base->dtype};
    AgCall c = {.tape = t, .op = r->op, .options = r->options, .n_in = 1, .n_out = 1,
                .in = &base, .out = view, .scratch = t->scratch};
    return r->op->shape(&c) && view->data;
}

/* Makes the entry a buffer of our own: zeros, or a copy of what it holds. */
static bool make_ours(Sweep *s, uint32_t id) {
    Entry *e = entry_of(s, id);
    AgBuffer *buffer;
    Tensor x = new_buffer(s, &ag_node(s->t, id)->value, &buffer);
    if (tensor_is_nil(&x)) return false;
    AgProfileMark was = ag_profile_begin(s->t, AG_TIME_SUM, NULL, ag_node(s->t, id)->scope);
    if (e->present) {
        tensor_convert(&x, &e->value);
        drop_entry(s, e);
    } else {
        tensor_fill(&x, 0);
    }
    set_entry(e, &x, buffer);
    ag_profile_end(s->t, was);
    return true;
}

static bool in_base(Sweep *s, const AgNode *n, Tensor *to, int chain);

enum { LONGEST_CHAIN = 32 }; /* of views of views; beyond it their rules serve */

/* The memory in which node id's gradient is being added up, if there is one already, or if
 * one can be opened in the base of a chain of views. */
static bool destination_in(Sweep *s, uint32_t id, Tensor *to, int chain) {
    Entry *e = entry_of(s, id);
    if (e->present) {
        if (e->rows) e->rows->all = true; /* what is added, and where, is not known here */
        *to = e->value;
        return is_ours(e);
    }
    const AgNode *n = ag_node(s->t, id);
    if (e->own || !is_plain_view(n) || chain == LONGEST_CHAIN) return false;
    return needs(s, n->record->in[0]) && in_base(s, n, to, chain + 1);
}

static bool destination(Sweep *s, uint32_t id, Tensor *to) { return destination_in(s, id, to, 0); }

/* The place of view n in its base's gradient; a base without one gets one if the view is only a
 * part of it (the whole can be adopted without zeros or copies). */
static bool in_base(Sweep *s, const AgNode *n, Tensor *to, int chain) {
    uint32_t parent = n->record->in[0];
    Tensor base;
    if (!destination_in(s, parent, &base, chain)) {
        if (!is_part_of(n, ag_node(s->t, parent)) || !make_ours(s, parent)) return false;
        base = entry_of(s, parent)->value;
    }
    return same_view(s->t, n->record, &base, to);
}

/* ---- adding a part ---- */

static void add_values(Sweep *s, uint32_t id, const Tensor *g, AgBuffer *buffer) {
    Entry *e = entry_of(s, id);
    Tensor to;
    bool shares = e->present && buffer && buffer == e->buffer;
    if (!shares && destination(s, id, &to)) {
        tensor_accumulate(&to, g);
    } else if (s->t->failed) {
        return;
    } else if (!e->present) {
        set_entry(e, g, buffer);
    } else if (make_ours(s, id)) {
        tensor_accumulate(&e->value, g);
    }
}

static void add_part(Sweep *s, AgPartKind kind, uint32_t id, uint32_t from, AgVar g) {
    AgProfileMark was = ag_profile_begin(s->t, AG_TIME_SUM, NULL, ag_node(s->t, id)->scope);
    if (s->keep) ag_kept_add(s->t, kind, id, from, &ag_node(s->t, g.id)->value);
    if (s->create_graph) {
        Entry *e = entry_of(s, id);
        e->var = e->present ? ag_add(e->var, g) : g;
        e->present = true;
    } else {
        const AgNode *n = ag_node(s->t, g.id);
        add_values(s, id, &n->value, n->buffer);
    }
    ag_profile_end(s->t, was);
}

/* ---- rules ---- */

AgVar ag_vjp_gout(AgVjp *v, int k) {
    if (v->has_gout[k]) return v->gout[k];
    const Tensor *y = ag_value(v->out[k]);
    return ag_full(v->tape, y->dtype, y->ndim, y->shape, 0);
}

AgSink ag_vjp_sink(AgVjp *v, int i) {
    Rule *rule = v->engine;
    Sweep *s = rule->sweep;
    if (s->create_graph || s->keep || s->trace || !v->need[i]) return (AgSink){NULL, NULL};
    const Entry *e = entry_of(s, rule->record->in[i]);
    if (e->rows) return (AgSink){&e->value, e->rows};
    bool found = destination(s, rule->record->in[i], &rule->into[i]);
    return (AgSink){found ? &rule->into[i] : NULL, NULL};
}

const Tensor *ag_vjp_into(AgVjp *v, int i) {
    AgSink sink = ag_vjp_sink(v, i);
    if (sink.rows) sink.rows->all = true;
    return sink.memory;
}

const Tensor *ag_vjp_into_rows(AgVjp *v, int i, const Tensor *index) {
    AgSink sink = ag_vjp_sink(v, i);
    if (sink.rows) ag_rows_use(sink.rows, index);
    return sink.memory;
}

Tensor ag_vjp_raw(AgVjp *v, int i) {
    const Tensor *x = ag_value(v->in[i]);
    AgBuffer *buffer;
    Tensor g = ag_new_value(v->tape, x->dtype, x->ndim, x->shape, &buffer);
    if (tensor_is_nil(&g)) {
        ag_fail(v->tape, "%s: out of memory for the gradient of argument %d", v->op->name, i);
        return g;
    }
    if (v->tape->fill_nan) ag_fill_nan(&g);
    uint32_t id = ag_push_node(v->tape, &g, buffer);
    if (!id) return tensor_nil();
    v->gin[i] = ag_var_of(v->tape, id);
    return g;
}

static bool check_gradient(AgVjp *v, int i) {
    if (!ag_check_var(v->tape, v->op->name, i, v->gin[i])) return false;
    const Tensor *x = ag_value(v->in[i]), *g = ag_value(v->gin[i]);
    if (tensor_same_shape(x, g) && x->dtype == g->dtype) return true;
    char want[TENSOR_DESCRIBE_SIZE], got[TENSOR_DESCRIBE_SIZE];
    ag_fail(v->tape, "%s: its gradient rule gave %s for argument %d, which is %s", v->op->name,
            tensor_describe(g, got, sizeof got), i, tensor_describe(x, want, sizeof want));
    v->tape->misshaped = v->out[0].id;
    return false;
}

/* Every gradient is linear in gout; one that no recorded path ties to gout came from a kernel,
 * and its derivative would silently be zero. */
static bool check_history(AgVjp *v, uint32_t first) {
    AgTape *t = v->tape;
    uint32_t n = t->n - first;
    TensorArenaMark mark = tensor_arena_mark(t->scratch);
    bool *tied = ag_take(t, t->scratch, n);
    if (!tied) {
        ag_fail_memory(t, v->op->name, n);
        return false;
    }
    bool is_gout, ok = true;
#define IS_TIED(id) ((id) >= first && tied[(id) - first])
    for (uint32_t id = first; id < t->n; id++) {
        const AgRecord *r = ag_node(t, id)->record;
        tied[id - first] = false;
        for (int i = 0; r && i < r->n_in; i++) {
            is_gout = false;
            for (int k = 0; k < v->n_out; k++) is_gout |= r->in[i] == v->gout[k].id;
            if (is_gout || IS_TIED(r->in[i])) tied[id - first] = true;
        }
    }
    for (int i = 0; i < v->n_in && ok; i++) {
        if (!v->need[i] || !v->gin[i].id) continue;
        is_gout = false;
        for (int k = 0; k < v->n_out; k++) is_gout |= v->gin[i].id == v->gout[k].id;
        ok = is_gout || IS_TIED(v->gin[i].id);
    }
#undef IS_TIED
    tensor_arena_release(t->scratch, mark);
    if (!ok)
        ag_fail(t, "%s: no second derivative: its rule gives a gradient that no ops compute from "
                "dL/dy", v->op->name);
    return ok;
}

/* Differentiates the composition instead of the kernel.  The aliases stand for single uses of
 * the inputs, so that an input given twice is not counted twice. */
static bool run_compose(AgVjp *v) {
    AgTape *t = v->tape;
    TensorArenaMark mark = tensor_arena_mark(t->scratch);
    AgVar *alias = ag_take(t, t->scratch, 3 * (size_t)v->n_in * sizeof *alias);
    if (!alias) {
        ag_fail_memory(t, v->op->name, 3 * (size_t)v->n_in * sizeof *alias);
        return false;
    }
    AgVar *x = alias + v->n_in, *gx = x + v->n_in, out[AG_MAX_OUT], y[AG_MAX_OUT], seed[AG_MAX_OUT];
    int n = 0, n_y = 0;
    for (int k = 0; k < v->n_out; k++) out[k] = ag_failed(t);
    for (int i = 0; i < v->n_in; i++) {
        alias[i] = v->need[i] ? ag_alias(v->in[i]) : v->in[i];
        if (v->need[i]) x[n++] = alias[i];
    }
    bool ok = v->op->compose(t, v->n_in, alias, v->options, out) && !t->failed;
    if (!ok) ag_fail(t, "%s: its composition failed", v->op->name);
    for (int k = 0; k < v->n_out && ok; k++) {
        if (!v->has_gout[k]) continue;
        ok = ag_check_var(t, v->op->name, k, out[k]);
        y[n_y] = out[k];
        seed[n_y++] = v->gout[k];
    }
    ok = ok && ag_grad_n(n_y, y, seed, n, x, gx, true);
    for (int i = 0, j = 0; i < v->n_in && ok; i++)
        if (v->need[i]) v->gin[i] = gx[j++];
    tensor_arena_release(t->scratch, mark);
    return ok;
}

static bool run_rule(AgVjp *v) {
    if (v->create_graph && v->op->compose) return run_compose(v);
    if (!v->op->vjp) {
        ag_fail(v->tape, "%s: has no gradient", v->op->name);
        return false;
    }
    uint32_t first = v->tape->n;
    if (!v->op->vjp(v)) {
        if (!v->tape->failed) ag_fail(v->tape, "%s: its gradient rule failed", v->op->name);
        return false;
    }
    for (int i = 0; i < v->n_in && !v->tape->failed; i++)
        if (v->need[i] && (v->gin[i].id || v->gin[i].tape != v->tape)) check_gradient(v, i);
    return !v->tape->failed && (!v->create_graph || check_history(v, first));
}

/* The gradient of result k as a variable that the rule can compute with. */
static AgVar push_gout(Sweep *s, uint32_t id) {
    Entry *e = entry_of(s, id);
    if (s->create_graph) return e->var;
    uint32_t g = ag_push_node(s->t, &e->value, e->buffer);
    return g ? ag_var_of(s->t, g) : ag_failed(s->t);
}

/* Variables that a rule made are gone after it; their buffers, unless adopted, are free. */
static void forget_temporaries(Sweep *s, AgTapeMark mark) {
    AgTape *t = s->t;
    if (s->create_graph) return;
    ag_pop_nodes(t, mark.nodes);
    tensor_arena_release(t->arena, mark.memory);
    t->n_scopes = mark.scopes;
    if (t->n_watched && t->watch[t->n_watched - 1].end > mark.memory.bytes)
        ag_forget_watches(t, mark);
    if (t->n_hooks > mark.hooks) ag_forget_hooks(t, mark);
    if (t->bound_inside) t->epoch++; /* a key's variable does not fit what comes in its place */
    t->bound_inside = false;
}

/* Where a rule or a hook runs: in the scope of its node, so that an error names where forward was;
 * marks from before it are not to be released to. */
typedef struct {
    uint32_t scope, outer, floor;
    int64_t step;
} Place;

static Place enter(AgTape *t, uint32_t id) {
    const AgNode *n = ag_node(t, id);
    Place was = {n->scope, t->open_scope, t->floor, t->scope[n->scope].step};
    t->open_scope = was.scope;
    t->scope[was.scope].step = n->step;
    t->floor = t->n;
    return was;
}
static void leave(AgTape *t, Place was) {
    t->scope[was.scope].step = was.step;
    t->open_scope = was.outer;
    t->floor = was.floor;
}

static void call_rule(Sweep *s, const AgRecord *r, Rule *rule, AgVar *in, AgVar *gin, bool *need) {
    AgTape *t = s->t;
    AgVar out[AG_MAX_OUT], gout[AG_MAX_OUT];
    bool has_gout[AG_MAX_OUT];
    for (int i = 0; i < r->n_in; i++) {
        in[i] = ag_var_of(t, r->in[i]);
        gin[i] = ag_failed(t);
        need[i] = needs(s, r->in[i]);
    }
    for (int k = 0; k < r->n_out; k++) {
        uint32_t id = r->first_out + (uint32_t)k;
        out[k] = ag_var_of(t, id);
        has_gout[k] = id <= s->top && entry_of(s, id)->present;
        gout[k] = has_gout[k] ? push_gout(s, id) : ag_failed(t);
    }
    AgVjp v = {.tape = t, .op = r->op, .options = r->options, .n_in = r->n_in, .n_out = r->n_out,
               .in = in, .out = out, .gout = gout, .has_gout = has_gout, .need = need,
               .gin = gin, .create_graph = s->create_graph, .saved = r->saved,
               .scratch = t->scratch, .engine = rule};
    if (t->failed || (s->trace && !ag_trace_gout(&v))) return;
    if (s->trace) ag_set_tracing(t, false); /* a rule may mask what it need not compute */
    AgTimeKind kind = r->op == &ag_checkpoint_op ? AG_TIME_AGAIN : AG_TIME_RULE;
    AgProfileMark was = ag_profile_begin(t, kind, r->op->name, t->open_scope);
    bool ok = run_rule(&v);
    ag_profile_end(t, was);
    if (s->trace) ag_set_tracing(t, t->trace_nan);
    if (!ok || (s->trace && !ag_trace_gin(&v))) return;
    for (int i = 0; i < r->n_in && !t->failed; i++)
        if (need[i] && gin[i].id) add_part(s, AG_PART_OF_OP, r->in[i], r->first_out, gin[i]);
}

static void pass_on_by_rule(Sweep *s, const AgRecord *r) {
    AgTape *t = s->t;
    AgTapeMark mark = ag_tape_mark(t);
    TensorArenaMark scratch = tensor_arena_mark(t->scratch);
    size_t n = (size_t)r->n_in, bytes = n * (2 * sizeof(AgVar) + sizeof(Tensor) + sizeof(bool));
    char *p = ag_take(t, t->scratch, bytes);
    if (!p) {
        ag_fail_memory(t, r->op->name, bytes);
        return;
    }
    Rule rule = {s, r, (Tensor *)(void *)p};
    AgVar *in = (AgVar *)(void *)(p + n * sizeof(Tensor));
    Place was = enter(t, r->first_out);
    call_rule(s, r, &rule, in, in + n, (bool *)(in + 2 * n));
    leave(t, was);
    tensor_arena_release(t->scratch, scratch);
    forget_temporaries(s, mark);
}

/* The part of a view, in place in its base. */
static bool pass_on_in_place(Sweep *s, uint32_t id) {
    const AgNode *n = ag_node(s->t, id);
    if (s->create_graph || s->keep || !is_plain_view(n)) return false;
    Tensor to;
    if (!in_base(s, n, &to, 0)) return false;
    AgProfileMark was = ag_profile_begin(s->t, AG_TIME_SUM, NULL, n->scope);
    tensor_accumulate(&to, &entry_of(s, id)->value);
    ag_profile_end(s->t, was);
    return true;
}

static void pass_on(Sweep *s, const AgRecord *r) {
    bool arrived = false, wanted = false;
    for (int k = 0; k < r->n_out; k++) {
        uint32_t id = r->first_out + (uint32_t)k;
        arrived |= id <= s->top && entry_of(s, id)->present;
    }
    for (int i = 0; i < r->n_in; i++) wanted |= needs(s, r->in[i]);
    if (!arrived || !wanted) return;
    if (!pass_on_in_place(s, r->first_out) && !s->t->failed) pass_on_by_rule(s, r);
    for (int k = 0; k < r->n_out; k++) {
        uint32_t id = r->first_out + (uint32_t)k;
        if (id > s->top) continue;
        Entry *e = entry_of(s, id);
        e->passed = true;
        if (!e->own && !s->create_graph) drop_entry(s, e);
    }
}

/* ---- a gradient that is whole ---- */

static bool check_replacement(AgTape *t, uint32_t id, AgVar g) {
    if (t->failed) return false;
    const AgNode *n = ag_node(t, id);
    if (!g.tape || !ag_check_var(t, "hook", 0, g)) {
        ag_fail(t, "hook of %s (node %u): returned no variable", ag_node_name(n), id);
        return false;
    }
    const Tensor *v = ag_value(g);
    if (tensor_same_shape(v, &n->value) && v->dtype == n->value.dtype) return true;
    char want[TENSOR_DESCRIBE_SIZE], got[TENSOR_DESCRIBE_SIZE];
    ag_fail(t, "hook of %s (node %u): returned %s for the gradient %s", ag_node_name(n), id,
            tensor_describe(v, got, sizeof got), tensor_describe(&n->value, want, sizeof want));
    return false;
}

static void replace_entry(Sweep *s, uint32_t id, AgVar g) {
    Entry *e = entry_of(s, id);
    const AgNode *n = ag_node(s->t, g.id);
    if (s->keep) ag_kept_add(s->t, AG_PART_HOOKED, id, 0, &n->value);
    if (s->create_graph) {
        e->var = g;
    } else {
        AgBuffer *old = e->buffer;
        set_entry(e, &n->value, n->buffer);
        if (old) ag_buffer_drop(s->t, old);
    }
}

static void run_hooks(Sweep *s, uint32_t id) {
    AgTape *t = s->t;
    AgTapeMark mark = ag_tape_mark(t);
    Place was = enter(t, id);
    AgVar whole = push_gout(s, id), g = whole;
    uint32_t last = t->n_hooks; /* those that a hook sets wait for the next sweep */
    for (uint32_t i = ag_node(t, id)->hook; i && i <= last && !t->failed;
         i = t->hook[i - 1].next) {
        AgHook h = t->hook[i - 1];
        AgProfileMark timed = ag_profile_begin(t, AG_TIME_HOOK, NULL, t->open_scope);
        AgVar got = h.function(g, h.context);
        ag_profile_end(t, timed);
        if (check_replacement(t, id, got)) g = got;
    }
    leave(t, was);
    if (!t->failed && g.id != whole.id) replace_entry(s, id, g);
    forget_temporaries(s, mark);
}

static void complete(Sweep *s, uint32_t id) {
    const Entry *e = entry_of(s, id);
    if (!e->present || e->sink) return;
    if (s->keep)
        ag_kept_add(s->t, AG_PART_TOTAL, id, 0,
                    s->create_graph ? &ag_node(s->t, e->var.id)->value : &e->value);
    if (ag_node(s->t, id)->hook) run_hooks(s, id);
}

/* ---- the sweep ---- */

static bool open_table(Sweep *s) {
    if (s->t->sweeps > AG_MAX_SWEEPS) {
        ag_fail(s->t, "grad: more than %d sweeps inside each other, as of a hook that sweeps "
                      "through its own variable", AG_MAX_SWEEPS);
        return false;
    }
    size_t n = (size_t)s->top - s->low + 1;
    s->memory = ag_buffer_take(s->t, n * sizeof *s->table);
    if (!s->memory) {
        ag_fail_memory(s->t, "gradient table", n * sizeof *s->table);
        return false;
    }
    s->memory->uses++;
    s->table = s->memory->memory;
    for (size_t i = 0; i < n; i++) {
        Entry *e = &s->table[i];
        e->buffer = NULL;
        e->rows = NULL;
        e->present = e->sink = e->own = e->need = e->passed = false;
    }
    return true;
}

/* Gives back what a sweep inside a rule still holds; the outermost one's memory goes whole. */
static void close_table(Sweep *s) {
    if (s->t->sweeps == 1 || s->t->failed) return;
    for (uint32_t id = s->low; id <= s->top; id++) drop_entry(s, entry_of(s, id));
    ag_buffer_drop(s->t, s->memory);
}

/* This node's gradient is wanted by itself: nothing passes it by. */
static void collect_apart(Sweep *s, uint32_t id) {
    Entry *e = entry_of(s, id);
    e->own = true;
    e->sink = e->present = false;
    e->rows = NULL;
    s->apart = true;
}

static void set_attention(Sweep *s) {
    AgTape *t = s->t;
    s->trace = t->tracing;
    s->keep = t->keep_gradients && t->sweeps == 1;
    if (s->keep) ag_kept_begin(t);
    for (uint32_t id = s->low; s->keep && id <= s->top; id++) collect_apart(s, id);
    for (uint32_t i = 0; i < t->n_hooks; i++)
        if (t->hook[i].id >= s->low && t->hook[i].id <= s->top) collect_apart(s, t->hook[i].id);
}

static void find_needs(Sweep *s) {
    for (uint32_t id = s->low; id <= s->top; id++) {
        const AgNode *n = ag_node(s->t, id);
        Entry *e = entry_of(s, id);
        if (!n->record || !tensor_dtype_is_float(n->value.dtype)) continue;
        for (int i = 0; i < n->record->n_in && !e->need; i++) e->need = needs(s, n->record->in[i]);
    }
}

static void run_sweep(Sweep *s, int n_y, const AgVar *y, const AgVar *seed) {
    AgTape *t = s->t;
    bool no_grad = t->no_grad, recycle = t->recycle;
    t->no_grad = !s->create_graph;
    t->recycle = !s->create_graph;
    for (int k = 0; k < n_y && !t->failed; k++) {
        if (!needs(s, y[k].id) || (s->trace && !ag_trace_seed(t, y[k], seed[k]))) continue;
        add_part(s, AG_PART_SEED, y[k].id, 0, seed[k]);
    }
    bool attend = s->keep || t->n_hooks;
    for (uint32_t id = s->top + 1; id-- > s->low && !t->failed;) {
        if (attend) complete(s, id);
        const AgRecord *r = ag_node(t, id)->record;
        if (r && id == r->first_out) pass_on(s, r);
    }
    t->no_grad = no_grad;
    t->recycle = recycle;
    t->epoch++; /* handles of rules' variables that are gone never fit what comes in their place */
}

/* The sweep's memory starts anew for the outermost one. */
static AgProfileMark begin(AgTape *t, AgTimeKind kind) {
    AgProfileMark was = ag_profile_begin(t, kind, NULL, t->open_scope);
    if (t->sweeps++) return was;
    tensor_arena_reset(t->sweep);
    memset(t->free_buffer, 0, sizeof t->free_buffer);
    return was;
}
static void end(AgTape *t, AgProfileMark was) {
    t->sweeps--;
    ag_profile_end(t, was);
}

static AgVar seed_or_ones(AgTape *t, AgVar y, AgVar seed) {
    const Tensor *v = ag_value(y);
    if (!seed.tape) return ag_full(t, v->dtype, v->ndim, v->shape, 1);
    if (!ag_check_var(t, "grad", 0, seed)) return seed;
    const Tensor *g = ag_value(seed);
    if (tensor_same_shape(v, g) && v->dtype == g->dtype) return seed;
    char want[TENSOR_DESCRIBE_SIZE], got[TENSOR_DESCRIBE_SIZE];
    return ag_fail(t, "grad: seed is %s, the result is %s",
                   tensor_describe(g, got, sizeof got), tensor_describe(v, want, sizeof want));
}

bool ag_check_floats(AgTape *t, const char *what, int n, const AgVar *v) {
    for (int i = 0; i < n; i++) {
        if (!ag_check_var(t, "grad", i, v[i])) return false;
        TensorDtype dtype = ag_dtype(v[i]);
        if (!tensor_dtype_is_float(dtype)) {
            ag_fail(t, "grad: %s %d is %s, wants f32 or f64", what, i, tensor_dtype_name(dtype));
            return false;
        }
    }
    return true;
}

/* What arrived at x, in memory that outlives the sweep; zeros if nothing did. */
static AgVar result(Sweep *s, AgVar x) {
    AgTape *t = s->t;
    Entry *e = x.id >= s->low && x.id <= s->top ? entry_of(s, x.id) : NULL;
    const Tensor *v = ag_value(x);
    if (!e || !e->present) return ag_full(t, v->dtype, v->ndim, v->shape, 0);
    return s->create_graph ? e->var : ag_input(t, &e->value);
}

static AgVar *seeds_of(AgTape *t, int n_y, const AgVar *y, const AgVar *seed) {
    AgVar *all = ag_take(t, t->arena, (size_t)n_y * sizeof *all);
    if (!all) ag_fail_memory(t, "grad", (size_t)n_y * sizeof *all);
    for (int k = 0; all && k < n_y; k++)
        all[k] = seed_or_ones(t, y[k], seed ? seed[k] : (AgVar){NULL, 0, 0});
    return all;
}

/* A sweep from y to x, ready but for what x collects in; false with the error recorded. */
static bool open_sweep(Sweep *s, int n_y, const AgVar *y, int n, const AgVar *x) {
    AgTape *t = s->t;
    s->low = UINT32_MAX;
    for (int k = 0; k < n_y; k++) s->top = y[k].id > s->top ? y[k].id : s->top;
    for (int i = 0; i < n; i++) s->low = x[i].id < s->low ? x[i].id : s->low;
    if (s->low > s->top) s->low = s->top;
    if ((t->sweeps == 1 && !ag_check_unchanged(t, s->top)) || !open_table(s)) return false;
    set_attention(s);
    for (int i = 0; i < n; i++)
        if (x[i].id <= s->top) entry_of(s, x[i].id)->need = entry_of(s, x[i].id)->own = true;
    find_needs(s);
    return true;
}

static void grad_n(AgTape *t, int n_y, const AgVar *y, const AgVar *seed, int n, const AgVar *x,
                   AgVar *gx, bool create_graph) {
    if (!ag_check_floats(t, "result", n_y, y) || !ag_check_floats(t, "input", n, x)) return;
    Sweep s = {.t = t, .create_graph = create_graph};
    if (!open_sweep(&s, n_y, y, n, x)) return;
    const AgVar *seeds = seeds_of(t, n_y, y, seed);
    if (t->failed) return;
    run_sweep(&s, n_y, y, seeds);
    for (int i = 0; i < n && !t->failed; i++) gx[i] = result(&s, x[i]); /* gx may be x */
    close_table(&s);
}

bool ag_grad_parts(AgTape *t, int n_y, const AgVar *y, const AgVar *seed, int n, const AgVar *x,
                   const AgSink *into, AgVar *gx, bool create_graph) {
    Sweep s = {.t = t, .create_graph = create_graph};
    AgProfileMark was = ag_profile_begin(t, AG_TIME_INSIDE, NULL, t->open_scope);
    t->sweeps++;
    bool ok = open_sweep(&s, n_y, y, n, x);
    for (int i = 0; i < n && ok; i++) {
        gx[i] = ag_failed(t);
        if (into[i].memory && x[i].id <= s.top)
            set_sink(entry_of(&s, x[i].id), into[i].memory, into[i].rows);
    }
    if (ok) run_sweep(&s, n_y, y, seed);
    for (int i = 0; i < n && !t->failed; i++)
        if (!into[i].memory && x[i].id <= s.top && entry_of(&s, x[i].id)->present)
            gx[i] = push_gout(&s, x[i].id);
    if (ok) close_table(&s);
    t->sweeps--;
    ag_profile_end(t, was);
    return !t->failed;
}

bool ag_grad_n(int n_y, const AgVar *y, const AgVar *seed, int n, const AgVar *x, AgVar *gx,
               bool create_graph) {
    AgTape *t = n_y > 0 ? y[0].tape : n > 0 ? x[0].tape : NULL;
    if (t && (n_y < 1 || n < 0)) ag_fail(t, "grad: %d results, %d inputs", n_y, n);
    bool ok = t && !t->failed;
    if (ok && n > 0) {
        AgProfileMark was = begin(t, AG_TIME_GRAD);
        grad_n(t, n_y, y, seed, n, x, gx, create_graph);
        end(t, was);
        ok = !t->failed;
    }
    for (int i = 0; i < n && !ok; i++) gx[i] = (AgVar){t, 0, 0};
    return ok;
}

bool ag_grad(AgVar y, AgVar seed, int n, const AgVar *x, AgVar *gx, bool create_graph) {
    return ag_grad_n(1, &y, &seed, n, x, gx, create_graph);
}

/* ---- backward ---- */

static void set_targets(Sweep *s) {
    AgTape *t = s->t;
    for (uint32_t id = s->low; id <= s->top; id++) {
        const AgLeaf *leaf = ag_node(t, id)->leaf;
        if (!leaf || tensor_is_nil(&leaf->grad)) continue;
        entry_of(s, id)->need = true;
        set_sink(entry_of(s, id), &leaf->grad, leaf->rows);
    }
    for (uint32_t i = 0; i < t->n_watched && t->sweeps == 1; i++) {
        AgWatch *w = &t->watch[i];
        if (w->only_name) continue;
        w->grad = tensor_nil();
        if (w->id > s->top) continue;
        entry_of(s, w->id)->need = true;
        collect_apart(s, w->id); /* a parameter's apart from what it had before */
    }
}

static void keep_watched(Sweep *s) {
    AgTape *t = s->t;
    for (uint32_t i = 0; i < t->n_watched && t->sweeps == 1 && !t->failed; i++) {
        AgWatch *w = &t->watch[i];
        if (w->only_name || w->id > s->top || !entry_of(s, w->id)->present) continue;
        const Tensor *g = &entry_of(s, w->id)->value;
        ag_apply_limit(t, t->arena);
        w->grad = tensor_copy(t->arena, g);
        w->grad_end = tensor_arena_bytes(t->arena);
        if (tensor_is_nil(&w->grad))
            ag_fail_memory(t, "watch", (size_t)tensor_numel(g) * tensor_dtype_size(g->dtype));
    }
}

/* What was collected apart joins the parameters' gradients. */
static void add_to_parameters(Sweep *s) {
    for (uint32_t id = s->low; s->apart && id <= s->top && !s->t->failed; id++) {
        const AgLeaf *leaf = ag_node(s->t, id)->leaf;
        const Entry *e = entry_of(s, id);
        if (!leaf || tensor_is_nil(&leaf->grad) || !e->own || !e->present) continue;
        if (leaf->rows) leaf->rows->all = true;
        AgProfileMark was = ag_profile_begin(s->t, AG_TIME_SUM, NULL, ag_node(s->t, id)->scope);
        tensor_accumulate(&leaf->grad, &e->value);
        ag_profile_end(s->t, was);
    }
}

static bool has_passed(const void *sweep, uint32_t id) {
    const Sweep *s = sweep;
    return id >= s->low && id <= s->top && s->table[id - s->low].passed;
}

/* Ones, in the sweep's memory. */
static AgVar ones(AgTape *t, AgVar y) {
    bool recycle = t->recycle;
    t->recycle = true;
    AgVar seed = seed_or_ones(t, y, (AgVar){NULL, 0, 0});
    t->recycle = recycle;
    return seed;
}

static void backward(AgTape *t, AgVar loss) {
    if (!ag_check_floats(t, "result", 1, &loss)) return;
    if (t->checkpoint) {
        ag_fail(t, "backward: inside a checkpoint, whose function runs twice");
        return;
    }
    if (ag_numel(loss) != 1) {
        char shape[TENSOR_DESCRIBE_SIZE];
        ag_fail(t, "backward: the loss is %s, wants one element",
                tensor_describe(ag_value(loss), shape, sizeof shape));
        return;
    }
    Sweep s = {.t = t, .low = 1, .top = loss.id};
    if ((t->sweeps == 1 && !ag_check_unchanged(t, s.top)) || !open_table(&s)) return;
    set_targets(&s);
    set_attention(&s);
    find_needs(&s);
    if (!needs(&s, loss.id)) {
        ag_fail(t, "backward: the loss depends on no parameter that takes a gradient");
        return;
    }
    uint32_t first = t->n;
    AgVar seed = ones(t, loss);
    if (t->failed) return;
    run_sweep(&s, 1, &loss, &seed);
    keep_watched(&s);
    add_to_parameters(&s);
    if (t->failed) return;
    ag_pop_nodes(t, first);
    if (t->sweeps == 1) ag_watch_growth(t, s.top, has_passed, &s);
    close_table(&s);
}

bool ag_backward(AgVar loss) {
    AgTape *t = loss.tape;
    if (!t || t->failed) return false;
    bool warned = t->warning[0];
    AgProfileMark was = begin(t, AG_TIME_BACKWARD);
    backward(t, loss);
    end(t, was);
    bool ok = !t->failed;
    if (!warned && t->warning[0] && t->on_warning) /* which may reset the tape */
        t->on_warning(t->warning, t->warning_context);
    return ok;
}
