/* Random expressions: the sweep that recycles memory, the recorded one, and backward into
 * parameters with watches all give the same gradients. */
#include <criterion/criterion.h>
#include <math.h>

#include "autograd/inspect.h"

enum { GRAPHS = 3000, LEAVES = 3, LEAF_SIZE = 24, TARGETS = 4, MOST = 80 };

static uint64_t state;
static int below(int n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % (unsigned)n);
}

static AgTape *t;
static AgVar made[MOST];
static int n_made;

static AgVar any(void) { return made[below(n_made)]; }

static void keep(AgVar v) {
    if (n_made < MOST && ag_numel(v) <= 4096 && ag_ndim(v) <= 5) made[n_made++] = v;
}

static AgVar elementwise(AgVar a, AgVar b) {
    int n = ag_ndim(a) < ag_ndim(b) ? ag_ndim(a) : ag_ndim(b);
    for (int i = 1; i <= n; i++) {
        int64_t p = ag_dim(a, -i), q = ag_dim(b, -i);
        if (p != q && p != 1 && q != 1) b = a;
    }
    switch (below(4)) {
    case 0: return ag_add(a, b);
    case 1: return ag_sub(a, b);
    case 2: return ag_mul(a, b);
    default: return ag_maximum(a, b);
    }
}

static AgVar permuted(AgVar a) {
    int axes[TENSOR_MAX_DIMS], n = ag_ndim(a);
    for (int i = 0; i < n; i++) axes[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int j = below(i + 1), swap = axes[i];
        axes[i] = axes[j];
        axes[j] = swap;
    }
    return ag_permute(a, axes);
}

static AgVar expanded(AgVar a) {
    int64_t shape[TENSOR_MAX_DIMS] = {1 + below(3)};
    for (int i = 0; i < ag_ndim(a); i++) shape[i + 1] = ag_dim(a, i);
    return ag_expand(a, ag_ndim(a) + 1, shape);
}

static AgVar indexed(AgVar a, int axis) {
    int64_t index[4];
    for (int i = 0; i < 4; i++) index[i] = below((int)ag_dim(a, axis));
    Tensor v = tensor_wrap(index, TENSOR_I64, 1, (int64_t[]){4});
    return ag_index_select(a, axis, ag_input(t, &v));
}

/* One op on something made before; an op that does not fit it is left out. */
static void grow(void) {
    AgVar a = any(), three[] = {a, ag_affine(a, .5, 0), a};
    int n = ag_ndim(a), axis = n ? below(n) : 0;
    int size = n ? (int)ag_dim(a, axis) : 0, start = size ? below(size) : 0;
    switch (below(20)) {
    case 0: case 1: keep(elementwise(a, any())); break;
    case 2: keep(ag_tanh(a)); break;
    case 3: keep(ag_alias(a)); break;
    case 4: if (n >= 2) keep(ag_transpose(a, below(n), below(n))); break;
    case 5: if (n) keep(permuted(a)); break;
    case 6: if (size) keep(ag_narrow(a, axis, start, below(size - start + 1))); break;
    case 7: case 8: if (size) keep(ag_select(a, axis, start)); break;
    case 9: if (n < 4) keep(ag_unsqueeze(a, below(n + 1))); break;
    case 10: keep(ag_reshape(a, 1, (int64_t[]){ag_numel(a)})); break;
    case 11:
        if (ag_numel(a) % 2 == 0) keep(ag_reshape(a, 2, (int64_t[]){2, ag_numel(a) / 2}));
        break;
    case 12: if (n < 4) keep(expanded(a)); break;
    case 13: if (n) keep(ag_sum(a, AG_AXES(axis), below(2))); break;
    case 14: if (n) keep(ag_concat(1 + below(3), three, axis)); break;
    case 15: keep(ag_stack(1 + below(3), three, below(n + 1))); break;
    case 16: if (n >= 2) keep(ag_affine(ag_matmul(a, ag_transpose(a, -1, -2)), .1, 0)); break;
    case 17: if (size) keep(indexed(a, axis)); break;
    case 18: if (size) keep(ag_softmax(a, axis)); break;
    default: if (size) keep(ag_chunk(a, axis, 1 + below(size), 0)); break;
    }
}

static double distance(double a, double b) {
    return a == b || (isnan(a) && isnan(b)) ? 0 : fabs(a - b) / (1 + fabs(b));
}

static void expect_equal(int graph, const char *what, const Tensor *a, const Tensor *b) {
    for (int64_t e = 0; e < tensor_numel(a); e++) {
        double x = tensor_get(a, e), y = tensor_get(b, e);
        cr_expect(distance(x, y) < 1e-9, "graph %d, %s, element %lld: %g and %g", graph, what,
                  (long long)e, x, y);
    }
}

static double value[LEAVES][LEAF_SIZE], grad[LEAVES][LEAF_SIZE];

static void make_leaf(int k) {
    int64_t shape[] = {1 + below(4), 1 + below(3), 1 + below(2)};
    int n = 1 + below(3);
    for (int i = 0; i < LEAF_SIZE; i++) {
        value[k][i] = below(1000) / 500. - 1;
        grad[k][i] = .25; /* backward adds */
    }
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(value[k], TENSOR_F64, n, shape),
                   .grad = tensor_wrap(grad[k], TENSOR_F64, n, shape)};
    made[n_made++] = ag_leaf(t, value[k], &leaf);
}

static void check_backward(int graph, int n_y, const AgVar *y, const AgVar *seed, const AgVar *x,
                           const AgVar *g) {
    AgVar loss = ag_full(t, TENSOR_F64, 0, NULL, 0);
    for (int i = 0; i < n_y; i++)
        loss = ag_add(loss, ag_sum(ag_mul(y[i], seed[i]), AG_ALL_AXES, false));
    ag_watch(x[LEAVES], "intermediate");
    ag_watch(x[0], "parameter");
    cr_assert(ag_backward(loss), "graph %d: %s", graph, ag_tape_error(t));
    for (int k = 0; k < LEAVES; k++)
        for (int64_t e = 0; e < ag_numel(x[k]); e++)
            cr_expect(distance(grad[k][e] - .25, tensor_get(ag_value(g[k]), e)) < 1e-9,
                      "graph %d, parameter %d", graph, k);
    Tensor watched = ag_watched(t, "intermediate"), parameter = ag_watched(t, "parameter");
    if (!tensor_is_nil(&watched)) expect_equal(graph, "watched", &watched, ag_value(g[LEAVES]));
    if (!tensor_is_nil(&parameter)) expect_equal(graph, "parameter", &parameter, ag_value(g[0]));
}

static AgVar same(AgVar g, void *context) {
    ++*(int *)context;
    return g;
}

/* With all that looks inside turned on. */
static void check_inspected(int graph, int n_y, const AgVar *y, const AgVar *seed, const AgVar *x,
                            const AgVar *g) {
    AgVar looked_at[LEAVES + TARGETS];
    int calls = 0;
    AgTapeMark mark = ag_tape_mark(t);
    for (int i = 0; i < n_made; i++)
        if (tensor_dtype_is_float(ag_dtype(made[i]))) ag_hook(made[i], same, &calls);
    ag_tape_keep_gradients(t, true);
    ag_tape_trace_nan(t, true);
    cr_assert(ag_grad_n(n_y, y, seed, LEAVES + TARGETS, x, looked_at, false), "graph %d: %s", graph,
              ag_tape_error(t));
    ag_tape_trace_nan(t, false);
    ag_tape_keep_gradients(t, false);
    for (int i = 0; i < LEAVES + TARGETS; i++)
        expect_equal(graph, "inspected", ag_value(looked_at[i]), ag_value(g[i]));
    cr_assert(ag_tape_release(t, mark, 0, NULL));
}

Test(random_graph, every_way_to_the_gradient_agrees) {
    t = ag_tape_new();
    for (int graph = 0; graph < GRAPHS; graph++) {
        state = (uint64_t)graph * 2654435761u + 1;
        ag_tape_reset(t);
        n_made = 0;
        for (int k = 0; k < LEAVES; k++) make_leaf(k);
        for (int steps = 10 + below(50); steps > 0; steps--) grow();
        cr_assert(ag_tape_ok(t), "graph %d: %s", graph, ag_tape_error(t));
        AgVar x[LEAVES + TARGETS], y[3], seed[3];
        AgVar fast[LEAVES + TARGETS], recorded[LEAVES + TARGETS];
        for (int i = 0; i < LEAVES + TARGETS; i++) x[i] = i < LEAVES ? made[i] : any();
        int n_y = 1 + below(3);
        for (int i = 0; i < n_y; i++) {
            y[i] = any();
            seed[i] = ag_affine(ag_tanh(ag_detach(y[i])), .5, 1);
        }
        cr_assert(ag_grad_n(n_y, y, seed, LEAVES + TARGETS, x, fast, false),
                  "%s", ag_tape_error(t));
        cr_assert(ag_grad_n(n_y, y, seed, LEAVES + TARGETS, x, recorded, true),
                  "%s", ag_tape_error(t));
        for (int i = 0; i < LEAVES + TARGETS; i++)
            expect_equal(graph, "recorded", ag_value(fast[i]), ag_value(recorded[i]));
        check_inspected(graph, n_y, y, seed, x, fast);
        bool depends = false;
        for (int i = 0; i < LEAVES; i++)
            for (int64_t e = 0; e < ag_numel(x[i]); e++)
                depends |= tensor_get(ag_value(fast[i]), e) != 0;
        if (depends) check_backward(graph, n_y, y, seed, x, fast);
    }
    ag_tape_free(t);
}
