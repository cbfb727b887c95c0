/* leaf.c -- values from outside (inputs, parameters) and reading values back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/tape.h"
#include "tensor/kernels.h"

/* ---- handles ---- */

bool ag_check_var(AgTape *t, const char *op, int i, AgVar v) {
    if (t->failed) return false;
    if (!v.tape) {
        ag_fail(t, "%s: argument %d is no variable", op, i);
    } else if (v.tape != t) {
        ag_fail(t, "%s: argument %d belongs to another tape", op, i);
    } else if (v.id == 0) {
        ag_fail(t, "%s: argument %d is the failed variable of an earlier error", op, i);
    } else if (v.id >= t->n || ag_node(t, v.id)->epoch != v.epoch) {
        ag_fail(t, "%s: argument %d: stale variable (from before a reset or release)", op, i);
    } else {
        return true;
    }
    return false;
}

static bool is_live(AgVar v) {
    return v.tape && v.id && v.id < v.tape->n && ag_node(v.tape, v.id)->epoch == v.epoch;
}

const AgNode *ag_read_node(AgVar v, const char *what) {
    if (is_live(v)) return ag_node(v.tape, v.id);
    if (v.tape && v.id) ag_check_var(v.tape, what, 0, v);
    return v.tape ? ag_node(v.tape, 0) : NULL;
}

/* ---- inputs ---- */

static AgVar push_input(AgTape *t, const Tensor *value, AgBuffer *buffer) {
    uint32_t id = ag_push_node(t, value, buffer);
    return id ? ag_var_of(t, id) : ag_failed(t);
}

static bool check_input(AgTape *t, const char *what, const Tensor *value) {
    if (t->failed) return false;
    const char *why = value ? tensor_invalid(value) : "no tensor";
    if (why) ag_fail(t, "%s: %s", what, why);
    return !why;
}

static AgVar copy_input(AgTape *t, const Tensor *value) {
    AgBuffer *buffer;
    Tensor copy = ag_new_value(t, value->dtype, value->ndim, value->shape, &buffer);
    if (tensor_is_nil(&copy)) {
        ag_fail_memory(t, "input", (size_t)tensor_numel(value) * tensor_dtype_size(value->dtype));
        return ag_failed(t);
    }
    tensor_convert(&copy, value);
    return push_input(t, &copy, buffer);
}

AgVar ag_input(AgTape *t, const Tensor *value) {
    if (!check_input(t, "input", value)) return ag_failed(t);
    AgProfileMark was = ag_profile_begin(t, AG_TIME_INPUT, NULL, t->open_scope);
    AgVar v = copy_input(t, value);
    ag_profile_end(t, was);
    return v;
}

/* FNV-1a over the elements in row-major order.  Finds changes made by mistake; it is no defence
 * against ones made on purpose. */
static uint64_t checksum(const Tensor *x) {
    uint64_t h = 14695981039346656037u;
    size_t size = tensor_dtype_size(x->dtype);
    int64_t n = tensor_numel(x), index[TENSOR_MAX_DIMS] = {0};
    for (int64_t e = 0; e < n; e++) {
        const char *p = x->data;
        for (int d = 0; d < x->ndim; d++) p += index[d] * x->stride[d] * (int64_t)size;
        uint64_t word = 0;
        memcpy(&word, p, size);
        h = (h ^ word) * 1099511628211u;
        for (int d = x->ndim; d-- > 0;) {
            if (++index[d] < x->shape[d]) break;
            index[d] = 0;
        }
    }
    return h;
}

AgVar ag_borrow(AgTape *t, const Tensor *value) {
    if (!check_input(t, "borrow", value)) return ag_failed(t);
    AgVar v = push_input(t, value, NULL);
    if (v.id && t->check_borrowed) {
        ag_node(t, v.id)->borrowed = true;
        ag_node(t, v.id)->stamp = checksum(value);
    }
    return v;
}

AgVar ag_scalar(AgTape *t, TensorDtype dtype, double value) {
    return ag_full(t, dtype, 0, NULL, value);
}

AgVar ag_detach(AgVar x) {
    if (!x.tape || x.tape->failed || !ag_check_var(x.tape, "detach", 0, x))
        return (AgVar){x.tape, 0, 0};
    const AgNode *n = ag_node(x.tape, x.id);
    return push_input(x.tape, &n->value, n->buffer);
}

bool ag_check_unchanged(AgTape *t, uint32_t top) {
    char where[256];
    for (uint32_t id = 1; id <= top; id++) {
        const AgNode *n = ag_node(t, id);
        if (n->leaf && n->leaf->version && *n->leaf->version != n->stamp) {
            ag_fail(t, "parameter %s changed since forward; reset the tape after an update",
                    n->leaf->name);
            return false;
        }
        if (n->borrowed && checksum(&n->value) != n->stamp) {
            char shape[TENSOR_DESCRIBE_SIZE];
            ag_fail(t, "%sinput %s (node %u) changed since forward",
                    ag_scope_text(t, n->scope, n->step, where, sizeof where),
                    tensor_describe(&n->value, shape, sizeof shape), id);
            return false;
        }
    }
    return true;
}

/* ---- leaves: a hash table from the key's address ---- */

static AgLeafEntry *leaf_slot(const AgTape *t, const void *key) {
    uint64_t h = (uint64_t)(uintptr_t)key * 0x9E3779B97F4A7C15u;
    uint32_t mask = t->cap_leaves - 1, i = (uint32_t)(h >> 32) & mask;
    while (t->leaf[i].key && t->leaf[i].key != key) i = (i + 1) & mask;
    return &t->leaf[i];
}

static bool grow_leaves(AgTape *t) {
    if (2 * (t->n_leaves + 1) <= t->cap_leaves) return true;
    uint32_t old_cap = t->cap_leaves, cap = old_cap ? 2 * old_cap : 64;
    AgLeafEntry *old = t->leaf, *entry = calloc(cap, sizeof *entry);
    if (!entry) {
        ag_fail_memory(t, "leaf", cap * sizeof *entry);
        return false;
    }
    t->leaf = entry;
    t->cap_leaves = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i].key) *leaf_slot(t, old[i].key) = old[i];
    free(old);
    return true;
}

AgVar ag_bound(AgTape *t, const void *key) {
    if (!t->cap_leaves || !key) return ag_failed(t);
    const AgLeafEntry *e = leaf_slot(t, key);
    AgVar v = {t, e->id, e->epoch};
    return e->key && is_live(v) ? v : ag_failed(t);
}

void ag_bind(AgTape *t, const void *key, AgVar v) {
    if (!key) ag_fail(t, "bind: no key");
    if (t->failed || !ag_check_var(t, "bind", 0, v) || !grow_leaves(t)) return;
    AgLeafEntry *e = leaf_slot(t, key);
    if (!e->key) t->n_leaves++;
    *e = (AgLeafEntry){key, v.id, v.epoch};
    t->bound_inside |= t->sweeps > 0;
}

static bool check_sink(AgTape *t, const char *name, const AgLeaf *leaf) {
    const Tensor *grad = &leaf->grad;
    if (tensor_is_nil(grad)) return true;
    char a[TENSOR_DESCRIBE_SIZE], b[TENSOR_DESCRIBE_SIZE];
    if (!tensor_dtype_is_float(leaf->value.dtype))
        ag_fail(t, "%s: %s has no gradient", name, tensor_dtype_name(leaf->value.dtype));
    else if (!tensor_same_shape(grad, &leaf->value) || grad->dtype != leaf->value.dtype)
        ag_fail(t, "%s: gradient %s for value %s", name, tensor_describe(grad, a, sizeof a),
                tensor_describe(&leaf->value, b, sizeof b));
    else if (tensor_invalid(grad) || tensor_is_overlapping(grad))
        ag_fail(t, "%s: the gradient's memory is %s", name,
                tensor_invalid(grad) ? "missing" : "shared by several elements");
    else if (leaf->rows && (!grad->ndim || grad->shape[0] != leaf->rows->n))
        ag_fail(t, "%s: %lld rows kept for the gradient %s", name, (long long)leaf->rows->n,
                tensor_describe(grad, a, sizeof a));
    return !t->failed;
}

AgVar ag_leaf(AgTape *t, const void *key, const AgLeaf *leaf) {
    if (!key || !leaf) return ag_fail(t, "leaf: no %s", key ? "value" : "key");
    AgVar known = ag_bound(t, key);
    if (known.id && t->checkpoint) ag_checkpoint_sees_leaf(t, key, leaf, known);
    if (known.id || t->failed) return t->failed ? ag_failed(t) : known;
    const char *name = leaf->name ? leaf->name : "leaf";
    if (!check_input(t, name, &leaf->value) || !check_sink(t, name, leaf)) return ag_failed(t);
    if (t->tracing && !ag_trace_leaf(t, name, &leaf->value)) return ag_failed(t);
    AgLeaf *copy = ag_take(t, t->arena, sizeof *copy);
    if (!copy) {
        ag_fail_memory(t, name, sizeof *copy);
        return ag_failed(t);
    }
    *copy = *leaf;
    copy->name = name;
    AgVar v = push_input(t, &leaf->value, NULL);
    if (!v.id) return v;
    AgNode *node = ag_node(t, v.id);
    node->leaf = copy;
    node->name = name;
    node->stamp = leaf->version ? *leaf->version : 0;
    ag_bind(t, key, v);
    if (t->checkpoint) ag_checkpoint_sees_leaf(t, key, leaf, v);
    return t->failed ? ag_failed(t) : v;
}

/* ---- reading ---- */

bool ag_ok(AgVar v) { return is_live(v); }

static const Tensor *empty_tensor(void) {
    static float nothing;
    static const Tensor empty = {TENSOR_F32, 1, {0}, {1}, &nothing};
    return &empty;
}

const Tensor *ag_value(AgVar v) {
    const AgNode *n = ag_read_node(v, "value");
    return n ? &n->value : empty_tensor();
}

double ag_item(AgVar v) {
    const AgNode *n = ag_read_node(v, "item");
    return is_live(v) && tensor_numel(&n->value) == 1 ? tensor_get(&n->value, 0) : (double)NAN;
}

int64_t ag_item_i64(AgVar v) {
    const AgNode *n = ag_read_node(v, "item_i64");
    bool one = is_live(v) && tensor_numel(&n->value) == 1;
    return one && !tensor_dtype_is_float(n->value.dtype) ? tensor_get_i64(&n->value, 0) : -1;
}

int ag_ndim(AgVar v) {
    const AgNode *n = ag_read_node(v, "ndim");
    return is_live(v) ? n->value.ndim : 0;
}

int64_t ag_dim(AgVar v, int axis) {
    const AgNode *n = ag_read_node(v, "dim");
    int d = is_live(v) ? tensor_axis(&n->value, axis) : -1;
    return d < 0 ? 0 : n->value.shape[d];
}

int64_t ag_numel(AgVar v) {
    const AgNode *n = ag_read_node(v, "numel");
    return is_live(v) ? tensor_numel(&n->value) : 0;
}

TensorDtype ag_dtype(AgVar v) {
    const AgNode *n = ag_read_node(v, "dtype");
    return is_live(v) ? n->value.dtype : TENSOR_F32;
}

const char *ag_node_name(const AgNode *n) {
    return n->name ? n->name : n->op ? n->op->name : "input";
}

const char *ag_str(AgVar v, char *buf, size_t n) {
    if (!is_live(v)) {
        snprintf(buf, n, "failed or stale variable");
        return buf;
    }
    const AgNode *node = ag_node(v.tape, v.id);
    const Tensor *x = &node->value;
    char shape[TENSOR_DESCRIBE_SIZE], where[256];
    ag_scope_text(v.tape, node->scope, node->step, where, sizeof where);
    int64_t numel = tensor_numel(x), nan = 0;
    double sum = 0, low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < numel; i++) {
        double e = tensor_get(x, i);
        nan += isnan(e) != 0;
        sum += e;
        low = fmin(low, e);
        high = fmax(high, e);
    }
    int used = snprintf(buf, n, "%s%s %s node %u", where, ag_node_name(node),
                        tensor_describe(x, shape, sizeof shape), v.id);
    if (numel && used >= 0 && (size_t)used < n)
        snprintf(buf + used, n - (size_t)used, " mean %.6g min %.6g max %.6g nan %lld",
                 nan ? (double)NAN : sum / (double)numel, low, high, (long long)nan);
    return n ? ag_one_line(buf) : buf;
}

bool ag_write(FILE *file, AgVar v) {
    if (!is_live(v)) return fprintf(file, "failed or stale variable\n") > 0;
    const AgNode *n = ag_node(v.tape, v.id);
    return fprintf(file, "%s ", ag_node_name(n)) > 0 && tensor_write(file, &n->value) &&
           fputc('\n', file) != EOF;
}
