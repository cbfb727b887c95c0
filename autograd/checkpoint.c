/* checkpoint.c -- a part of the graph that is computed again instead of kept.
 *
 * Forward the function runs as it would by itself, its nodes are released, and one node for each
 * result stays, whose record names the inputs and every parameter the function asked for
 * (ag_leaf): so those are operands like any other.  The rule runs the function once more, on
 * aliases of the operands, with the modes and random keys of the first run, and sweeps back over
 * just that. */
#include <string.h>

#include "autograd/tape.h"

typedef struct LeafUse {
    const void *key;
    AgLeaf leaf;
    uint32_t id;
    struct LeafUse *next;
} LeafUse;

struct AgCheckpointRun {
    AgCheckpointRun *outer;
    int depth;
    uint32_t first; /* nodes from here on are its own */
    int n;
    const AgVar *in;
    LeafUse *leaf, **end; /* in scratch memory */
    int n_leaves;
};

/* What random ops and layers look at. */
typedef struct {
    bool training;
    uint64_t seed, rng_step, draws;
    int64_t first_row, total_rows;
} Modes;

typedef struct {
    AgCheckpointFunction function;
    void *context;
    Modes modes;
    int n, n_out; /* of the function; the record's further operands are the leaves' */
    const void *key[];
} Options;

static Modes modes_of(const AgTape *t) {
    return (Modes){t->training, t->seed, t->rng_step, t->draws, t->first_row, t->total_rows};
}

static void set_modes(AgTape *t, const Modes *m) {
    t->training = m->training;
    t->seed = m->seed;
    t->rng_step = m->rng_step;
    t->draws = m->draws;
    t->first_row = m->first_row;
    t->total_rows = m->total_rows;
}

/* ---- what the function sees in its first run ---- */

static bool is_operand(const AgCheckpointRun *run, uint32_t id) {
    for (int i = 0; i < run->n; i++)
        if (run->in[i].id == id) return true;
    for (const LeafUse *use = run->leaf; use; use = use->next)
        if (use->id == id) return true;
    return false;
}

bool ag_checkpoint_sees(AgTape *t, int n, const AgVar *in) {
    const AgCheckpointRun *run = t->checkpoint;
    for (int i = 0; i < n; i++) {
        const AgNode *node = ag_node(t, in[i].id);
        if (in[i].id >= run->first || !tensor_dtype_is_float(node->value.dtype)) continue;
        if (is_operand(run, in[i].id)) continue;
        ag_fail(t, "checkpoint: its function uses %s (node %u), which is not among its inputs: no "
                   "gradient would reach it", ag_node_name(node), in[i].id);
        return false;
    }
    return true;
}

void ag_checkpoint_sees_leaf(AgTape *t, const void *key, const AgLeaf *leaf, AgVar v) {
    AgCheckpointRun *run = t->checkpoint;
    if (t->failed || (v.id >= run->first && !ag_node(t, v.id)->leaf)) return;
    for (const LeafUse *use = run->leaf; use; use = use->next)
        if (use->key == key) return;
    LeafUse *use = ag_take(t, t->scratch, sizeof *use);
    if (!use) {
        ag_fail_memory(t, "checkpoint", sizeof *use);
        return;
    }
    *use = (LeafUse){key, *leaf, v.id, NULL};
    *run->end = use;
    run->end = &use->next;
    run->n_leaves++;
}

static void set_run(AgTape *t, AgCheckpointRun *run) {
    t->checkpoint = run;
    ag_set_inspect(t);
}

/* ---- backward ---- */

/* Fresh handles for the operands that want a gradient: one for each node, however often it is
 * given, so that its parts are added up as they would be without a checkpoint. */
static int make_aliases(AgVjp *v, AgVar *alias, AgVar *x, AgSink *into) {
    int n = 0;
    for (int i = 0; i < v->n_in; i++) {
        int j = 0;
        while (v->in[j].id != v->in[i].id) j++;
        alias[i] = !v->need[i] ? v->in[i] : j < i ? alias[j] : ag_alias(v->in[i]);
        if (!v->need[i] || j < i) continue;
        into[n] = ag_vjp_sink(v, i);
        x[n++] = alias[i];
    }
    return n;
}

/* The function, recorded, with its leaves bound to the aliases; bound: room for what they are
 * bound to now. */
static void run_again(AgVjp *v, const AgVar *alias, AgVar *bound, AgVar *out) {
    const Options *o = v->options;
    AgTape *t = v->tape;
    Modes now = modes_of(t);
    bool no_grad = ag_tape_no_grad(t, false);
    AgCheckpointRun *run = t->checkpoint;
    for (int i = o->n; i < v->n_in; i++) {
        bound[i] = ag_bound(t, o->key[i - o->n]);
        ag_bind(t, o->key[i - o->n], alias[i]);
    }
    set_modes(t, &o->modes);
    set_run(t, NULL);
    o->function(t, o->context, o->n, alias, o->n_out, out);
    set_run(t, run);
    set_modes(t, &now);
    ag_tape_no_grad(t, no_grad);
    for (int i = o->n; i < v->n_in; i++)
        if (bound[i].id) ag_bind(t, o->key[i - o->n], bound[i]);
}

static bool same_bits(const Tensor *a, const Tensor *b) {
    int64_t n = tensor_numel(a);
    if (tensor_is_contiguous(a) && tensor_is_contiguous(b))
        return !n || !memcmp(a->data, b->data, (size_t)n * tensor_dtype_size(a->dtype));
    for (int64_t i = 0; i < n; i++) {
        double x = tensor_get(a, i), y = tensor_get(b, i);
        if (memcmp(&x, &y, sizeof x)) return false;
    }
    return true;
}

static bool check_again(AgVjp *v, int k, AgVar again) {
    AgTape *t = v->tape;
    if (t->failed) return false;
    if (!again.tape || !ag_check_var(t, "checkpoint", k, again)) {
        ag_fail(t, "checkpoint: its function set no result %d", k);
        return false;
    }
    const Tensor *a = ag_value(v->out[k]), *b = ag_value(again);
    if (tensor_same_shape(a, b) && a->dtype == b->dtype) {
        if (!same_bits(a, b))
            ag_fail(t, "checkpoint: result %d has other values when computed again", k);
        return !t->failed;
    }
    char first[TENSOR_DESCRIBE_SIZE], second[TENSOR_DESCRIBE_SIZE];
    ag_fail(t, "checkpoint: result %d was %s, and %s when computed again", k,
            tensor_describe(a, first, sizeof first), tensor_describe(b, second, sizeof second));
    return false;
}

static bool sweep_again(AgVjp *v, AgVar *alias, AgVar *x, AgVar *gx, AgSink *into) {
    AgTape *t = v->tape;
    AgVar out[AG_MAX_OUT], y[AG_MAX_OUT], seed[AG_MAX_OUT];
    for (int k = 0; k < AG_MAX_OUT; k++) out[k] = ag_failed(t);
    bool no_grad = t->no_grad;
    t->no_grad = false;
    int n = make_aliases(v, alias, x, into), n_y = 0;
    t->no_grad = no_grad;
    run_again(v, alias, gx, out);
    for (int i = 0; i < n; i++) /* a hook of the function's wants the whole gradient by itself */
        if (!t->failed && ag_node(t, x[i].id)->hook) into[i].memory = NULL;
    for (int k = 0; k < v->n_out; k++) {
        if (!v->has_gout[k]) continue;
        if (!check_again(v, k, out[k])) return false;
        y[n_y] = out[k];
        seed[n_y++] = v->gout[k];
    }
    ag_set_tracing(t, t->trace_nan); /* its ops are named, not the checkpoint */
    bool ok = ag_grad_parts(t, n_y, y, seed, n, x, into, gx, v->create_graph);
    ag_set_tracing(t, false);
    for (int i = 0, j = 0; i < v->n_in && ok; i++)
        if (j < n && v->need[i] && alias[i].id == x[j].id) v->gin[i] = gx[j++];
    return ok;
}

static bool vjp(AgVjp *v) {
    AgTape *t = v->tape;
    TensorArenaMark mark = tensor_arena_mark(t->scratch);
    size_t n = (size_t)v->n_in, bytes = n * (3 * sizeof(AgVar) + sizeof(AgSink));
    AgSink *into = ag_take(t, t->scratch, bytes);
    if (!into) {
        ag_fail_memory(t, "checkpoint", bytes);
        return false;
    }
    AgVar *alias = (AgVar *)(void *)(into + n);
    bool ok = sweep_again(v, alias, alias + n, alias + 2 * n, into);
    tensor_arena_release(t->scratch, mark);
    return ok;
}

/* Recorded here, not through ag_apply: the results are there before the record. */
const AgOp ag_checkpoint_op = {
    .name = "checkpoint", .doc = "a part of the graph, computed again", .signature = "a*:?",
    .vjp = vjp};

/* ---- forward ---- */

static Options *new_options(AgTape *t, const AgCheckpointRun *run, const Options *o) {
    size_t bytes = sizeof *o + (size_t)run->n_leaves * sizeof o->key[0];
    Options *copy = ag_take(t, t->arena, bytes);
    if (!copy) {
        ag_fail_memory(t, "checkpoint", bytes);
        return NULL;
    }
    *copy = *o;
    const void **key = copy->key;
    for (const LeafUse *use = run->leaf; use; use = use->next) *key++ = use->key;
    return copy;
}

static AgRecord *new_record(AgTape *t, const AgCheckpointRun *run, const Options *o) {
    int n_in = run->n + run->n_leaves;
    size_t bytes = sizeof(AgRecord) + (size_t)n_in * sizeof(uint32_t);
    AgRecord *r = ag_take(t, t->arena, bytes);
    if (!r) {
        ag_fail_memory(t, "checkpoint", bytes);
        return NULL;
    }
    *r = (AgRecord){.op = &ag_checkpoint_op, .options = o, .n_in = n_in, .n_out = o->n_out};
    uint32_t *in = r->in;
    for (int i = 0; i < run->n; i++) *in++ = run->in[i].id;
    for (const LeafUse *use = run->leaf; use; use = use->next)
        *in++ = ag_leaf(t, use->key, &use->leaf).id;
    r->first_out = t->n;
    return t->failed ? NULL : r;
}

/* New nodes for the results, one behind the other, with the record. */
static void record(AgTape *t, const AgCheckpointRun *run, const Options *o, AgVar *out) {
    const Options *options = new_options(t, run, o);
    AgRecord *r = options ? new_record(t, run, options) : NULL;
    for (int k = 0; k < o->n_out && r && !t->failed; k++) {
        const AgNode *n = ag_node(t, out[k].id);
        uint32_t id = ag_push_node(t, &n->value, n->buffer);
        if (!id) break;
        ag_node(t, id)->op = &ag_checkpoint_op;
        ag_node(t, id)->record = r;
        out[k] = ag_var_of(t, id);
    }
}

static void run_first(AgTape *t, AgCheckpointRun *run, const Options *o, AgVar *out) {
    AgTapeMark mark = ag_tape_mark(t);
    bool no_grad = t->no_grad;
    uint32_t floor = t->floor;
    t->floor = run->first;
    set_run(t, run);
    o->function(t, o->context, o->n, run->in, o->n_out, out);
    for (int k = 0; k < o->n_out && !t->failed; k++) {
        if (!out[k].tape) ag_fail(t, "checkpoint: its function set no result %d", k);
        else if (ag_check_var(t, "checkpoint", k, out[k])) ag_checkpoint_sees(t, 1, &out[k]);
    }
    set_run(t, run->outer);
    ag_tape_no_grad(t, no_grad);
    ag_tape_release(t, mark, o->n_out, out);
    t->floor = floor;
}

static bool check_arguments(AgTape *t, AgCheckpointFunction f, int n, const AgVar *in, int n_out) {
    if (!f) ag_fail(t, "checkpoint: no function");
    else if (n_out < 1 || n_out > AG_MAX_OUT)
        ag_fail(t, "checkpoint: %d results, wants 1 to %d", n_out, AG_MAX_OUT);
    else if (t->checkpoint && t->checkpoint->depth == AG_MAX_SWEEPS)
        ag_fail(t, "checkpoint: more than %d inside each other", AG_MAX_SWEEPS);
    for (int i = 0; i < n && !t->failed; i++) ag_check_var(t, "checkpoint", i, in[i]);
    return !t->failed && (!t->checkpoint || ag_checkpoint_sees(t, n, in));
}

static void checkpoint(AgTape *t, AgCheckpointFunction f, void *context, int n, const AgVar *in,
                       int n_out, AgVar *out) {
    if (t->failed || !check_arguments(t, f, n, in, n_out)) return;
    Options o = {.function = f, .context = context, .modes = modes_of(t), .n = n, .n_out = n_out};
    AgCheckpointRun run = {.outer = t->checkpoint, .first = t->n, .n = n, .in = in};
    run.end = &run.leaf;
    run.depth = run.outer ? run.outer->depth + 1 : 1;
    TensorArenaMark scratch = tensor_arena_mark(t->scratch);
    AgProfileMark was =
        ag_profile_begin(t, AG_TIME_CHECKPOINT, ag_checkpoint_op.name, t->open_scope);
    AgVar made[AG_MAX_OUT]; /* out may be in */
    for (int k = 0; k < n_out; k++) made[k] = ag_failed(t);
    run_first(t, &run, &o, made);
    if (!t->failed && !t->no_grad) record(t, &run, &o, made);
    if (!run.outer) tensor_arena_release(t->scratch, scratch); /* outer's list lies there, too */
    for (int k = 0; k < n_out && !t->failed; k++) out[k] = made[k];
    ag_profile_end(t, was);
}

void ag_checkpoint(AgCheckpointFunction f, void *context, int n, const AgVar *in, int n_out,
                   AgVar *out) {
    AgTape *t = NULL;
    for (int i = 0; i < n && !t; i++) t = in[i].tape;
    if (t) checkpoint(t, f, context, n, in, n_out, out);
    for (int k = 0; k < n_out && (!t || t->failed); k++) out[k] = (AgVar){t, 0, 0};
}
