/* checkpoint.c -- a part of the graph that is computed again instead of kept.
 *
 * Forward the function runs without recording, its nodes are released, and one node for each
 * result stays, whose record names the inputs and every parameter the function asked for
 * (ag_leaf): so those are operands like any other.  The rule runs the function once more,
 * recording, on aliases of the operands, with the modes and random keys of the first run, and
 * sweeps back over just that. */
#include <stdlib.h>
#include <string.h>

#include "autograd/tape.h"

typedef struct {
    const void *key;
    AgLeaf leaf;
    uint32_t id;
} LeafUse;

struct AgCheckpointRun {
    AgCheckpointRun *outer;
    uint32_t first; /* nodes from here on are its own */
    int n;
    const AgVar *in;
    LeafUse *leaf;
    uint32_t n_leaves, cap_leaves;
};

/* What random ops and layers look at. */
typedef struct {
    bool training, no_grad;
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
    return (Modes){t->training, t->no_grad, t->seed, t->rng_step, t->draws, t->first_row,
                   t->total_rows};
}

static void set_modes(AgTape *t, const Modes *m) {
    t->training = m->training;
    t->no_grad = m->no_grad;
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
    for (uint32_t i = 0; i < run->n_leaves; i++)
        if (run->leaf[i].id == id) return true;
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
    for (uint32_t i = 0; i < run->n_leaves; i++)
        if (run->leaf[i].key == key) return;
    LeafUse *uses = ag_grow(run->leaf, run->n_leaves, &run->cap_leaves, sizeof *uses);
    if (!uses) {
        ag_fail_memory(t, "checkpoint", sizeof *uses);
        return;
    }
    run->leaf = uses;
    uses[run->n_leaves++] = (LeafUse){key, *leaf, v.id};
}

static void set_run(AgTape *t, AgCheckpointRun *run) {
    t->checkpoint = run;
    t->inspect = t->tracing || run;
}

/* ---- backward ---- */

/* Fresh handles for the operands that want a gradient: one for each node, however often it is
 * given, so that its parts are added up as they would be without a checkpoint. */
static int make_aliases(AgVjp *v, AgVar *alias, AgVar *x, const Tensor **into) {
    int n = 0;
    for (int i = 0; i < v->n_in; i++) {
        int j = 0;
        while (v->in[j].id != v->in[i].id) j++;
        alias[i] = !v->need[i] ? v->in[i] : j < i ? alias[j] : ag_alias(v->in[i]);
        if (!v->need[i] || j < i) continue;
        into[n] = ag_vjp_into(v, i);
        x[n++] = alias[i];
    }
    return n;
}

/* The function with its leaves bound to the aliases. */
static void run_again(AgVjp *v, const AgVar *alias, AgVar *out) {
    const Options *o = v->options;
    AgTape *t = v->tape;
    Modes now = modes_of(t), then = o->modes;
    AgCheckpointRun *run = t->checkpoint;
    then.no_grad = false;
    for (int i = o->n; i < v->n_in; i++)
        if (v->need[i]) ag_bind(t, o->key[i - o->n], alias[i]);
    set_modes(t, &then);
    set_run(t, NULL);
    o->function(t, o->context, o->n, alias, o->n_out, out);
    set_run(t, run);
    set_modes(t, &now);
    for (int i = o->n; i < v->n_in; i++)
        if (v->need[i]) ag_bind(t, o->key[i - o->n], v->in[i]);
}

static bool check_again(AgVjp *v, int k, AgVar again) {
    AgTape *t = v->tape;
    if (t->failed) return false;
    if (!again.tape || !ag_check_var(t, "checkpoint", k, again)) {
        ag_fail(t, "checkpoint: its function set no result %d", k);
        return false;
    }
    const Tensor *a = ag_value(v->out[k]), *b = ag_value(again);
    if (tensor_same_shape(a, b) && a->dtype == b->dtype) return true;
    char first[TENSOR_DESCRIBE_SIZE], second[TENSOR_DESCRIBE_SIZE];
    ag_fail(t, "checkpoint: result %d was %s, and %s when computed again", k,
            tensor_describe(a, first, sizeof first), tensor_describe(b, second, sizeof second));
    return false;
}

static bool sweep_again(AgVjp *v, AgVar *alias, AgVar *x, AgVar *gx, const Tensor **into) {
    AgTape *t = v->tape;
    AgVar out[AG_MAX_OUT], y[AG_MAX_OUT], seed[AG_MAX_OUT];
    for (int k = 0; k < AG_MAX_OUT; k++) out[k] = ag_failed(t);
    bool no_grad = t->no_grad;
    t->no_grad = false;
    int n = make_aliases(v, alias, x, into), n_y = 0;
    t->no_grad = no_grad;
    run_again(v, alias, out);
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
    size_t n = (size_t)v->n_in, bytes = n * (3 * sizeof(AgVar) + sizeof(Tensor *));
    const Tensor **into = ag_take(t, t->scratch, bytes);
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
static const AgOp op = {.name = "checkpoint", .doc = "a part of the graph, computed again",
                        .signature = "a*:?", .vjp = vjp};

/* ---- forward ---- */

static Options *new_options(AgTape *t, const AgCheckpointRun *run, const Options *o) {
    size_t bytes = sizeof *o + run->n_leaves * sizeof o->key[0];
    Options *copy = ag_take(t, t->arena, bytes);
    if (!copy) {
        ag_fail_memory(t, "checkpoint", bytes);
        return NULL;
    }
    *copy = *o;
    for (uint32_t i = 0; i < run->n_leaves; i++) copy->key[i] = run->leaf[i].key;
    return copy;
}

static AgRecord *new_record(AgTape *t, const AgCheckpointRun *run, const Options *o) {
    int n_in = run->n + (int)run->n_leaves;
    size_t bytes = sizeof(AgRecord) + (size_t)n_in * sizeof(uint32_t);
    AgRecord *r = ag_take(t, t->arena, bytes);
    if (!r) {
        ag_fail_memory(t, "checkpoint", bytes);
        return NULL;
    }
    *r = (AgRecord){.op = &op, .options = o, .n_in = n_in, .n_out = o->n_out};
    for (int i = 0; i < run->n; i++) r->in[i] = run->in[i].id;
    for (uint32_t i = 0; i < run->n_leaves; i++) {
        const LeafUse *use = &run->leaf[i];
        r->in[run->n + (int)i] = ag_leaf(t, use->key, &use->leaf).id;
    }
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
        ag_node(t, id)->op = &op;
        ag_node(t, id)->record = r;
        out[k] = ag_var_of(t, id);
    }
}

static void run_first(AgTape *t, AgCheckpointRun *run, const Options *o, AgVar *out) {
    AgTapeMark mark = ag_tape_mark(t);
    bool no_grad = ag_tape_no_grad(t, true);
    set_run(t, run);
    o->function(t, o->context, o->n, run->in, o->n_out, out);
    for (int k = 0; k < o->n_out && !t->failed; k++) {
        if (!out[k].tape) ag_fail(t, "checkpoint: its function set no result %d", k);
        else if (ag_check_var(t, "checkpoint", k, out[k])) ag_checkpoint_sees(t, 1, &out[k]);
    }
    set_run(t, run->outer);
    ag_tape_no_grad(t, no_grad);
    ag_tape_release(t, mark, o->n_out, out);
}

static bool check_arguments(AgTape *t, AgCheckpointFunction f, int n, const AgVar *in, int n_out) {
    if (!f) ag_fail(t, "checkpoint: no function");
    else if (n_out < 1 || n_out > AG_MAX_OUT)
        ag_fail(t, "checkpoint: %d results, wants 1 to %d", n_out, AG_MAX_OUT);
    for (int i = 0; i < n && !t->failed; i++) ag_check_var(t, "checkpoint", i, in[i]);
    return !t->failed && (!t->checkpoint || ag_checkpoint_sees(t, n, in));
}

static void checkpoint(AgTape *t, AgCheckpointFunction f, void *context, int n, const AgVar *in,
                       int n_out, AgVar *out) {
    if (t->failed || !check_arguments(t, f, n, in, n_out)) return;
    Options o = {.function = f, .context = context, .modes = modes_of(t), .n = n, .n_out = n_out};
    AgCheckpointRun run = {.outer = t->checkpoint, .first = t->n, .n = n, .in = in};
    AgVar made[AG_MAX_OUT]; /* out may be in */
    for (int k = 0; k < n_out; k++) made[k] = ag_failed(t);
    run_first(t, &run, &o, made);
    if (!t->failed && !t->no_grad) record(t, &run, &o, made);
    else if (!t->failed && run.outer) /* it runs without recording, and needs to know them */
        for (uint32_t i = 0; i < run.n_leaves; i++) ag_leaf(t, run.leaf[i].key, &run.leaf[i].leaf);
    free(run.leaf);
    for (int k = 0; k < n_out && !t->failed; k++) out[k] = made[k];
}

void ag_checkpoint(AgCheckpointFunction f, void *context, int n, const AgVar *in, int n_out,
                   AgVar *out) {
    AgTape *t = NULL;
    for (int i = 0; i < n && !t; i++) t = in[i].tape;
    if (t) checkpoint(t, f, context, n, in, n_out, out);
    for (int k = 0; k < n_out && (!t || t->failed); k++) out[k] = (AgVar){t, 0, 0};
}
