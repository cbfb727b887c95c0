/* Which rows of a gradient are used, and that it is the gradient it would be without. */
#include "autograd/rows.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/inspect.h"
#include "autograd/op.h"

enum { V = 70, E = 3 };
static double value[V * E], grad[V * E];

static AgTape *t;
static void start(void) {
    t = ag_tape_new();
    for (int i = 0; i < V * E; i++) value[i] = sin(i + .5);
}
static void stop(void) { ag_tape_free(t); }
TestSuite(rows, .init = start, .fini = stop);

/* ---- spans ---- */

Test(rows, spans_are_the_elements_of_used_rows_in_runs) {
    enum { MOST = 200 };
    static float memory[MOST * 3];
    const int64_t row_counts[] = {1, 63, 64, 65, 128, MOST};
    for (int c = 0; c < 6 * 3 * 4; c++) {
        int64_t n = row_counts[c % 6], width = 1 + c / 6 % 3, every = 1 + c / 18;
        uint64_t used[AG_ROWS_WORDS(MOST)];
        AgRows rows = {n, used, true};
        ag_rows_clear(&rows);
        int64_t entry[MOST], count = 0;
        for (int64_t r = 0; r < n; r++)
            if (r % 7 % every == 0) entry[count++] = r;
        Tensor index = tensor_wrap(entry, TENSOR_I64, 1, &count);
        Tensor g = tensor_wrap(memory, TENSOR_F32, 2, (int64_t[]){n, width});
        ag_rows_use(&rows, &index);
        for (int64_t from = 0; from < n * width; from += 1 + from) {
            int64_t at = from, limit = n * width - from / 2;
            AgSpan s = {0, from};
            while (ag_rows_next(&rows, &g, limit, &s)) {
                cr_assert(s.begin >= at && s.begin < s.end && s.end <= limit);
                for (int64_t i = at; i < s.end; i++)
                    cr_assert_eq(i / width % 7 % every == 0, i >= s.begin, "element %d", (int)i);
                at = s.end;
            }
            for (int64_t i = at; i < limit; i++) cr_assert_neq(i / width % 7 % every, 0);
        }
    }
}

Test(rows, all_are_one_span_and_none_is_no_span) {
    float memory[12];
    Tensor g = tensor_wrap(memory, TENSOR_F32, 2, (int64_t[]){4, 3});
    Tensor empty = tensor_wrap(memory, TENSOR_F32, 2, (int64_t[]){4, 0});
    uint64_t used[1];
    AgRows rows = {4, used, false};
    ag_rows_clear(&rows);
    AgSpan s = {0, 0};
    cr_expect(!ag_rows_next(&rows, &g, 12, &s));
    ag_rows_join(&rows, &(AgRows){4, (uint64_t[]){5}, false});
    s = (AgSpan){0, 0};
    cr_expect(ag_rows_next(&rows, &g, 12, &s) && s.begin == 0 && s.end == 3);
    cr_expect(ag_rows_next(&rows, &g, 12, &s) && s.begin == 6 && s.end == 9);
    cr_expect(!ag_rows_next(&rows, &g, 12, &s));
    ag_rows_join(&rows, NULL);
    for (int i = 0; i < 2; i++) {
        s = (AgSpan){0, 2};
        cr_expect(ag_rows_next(i ? NULL : &rows, &g, 11, &s) && s.begin == 2 && s.end == 11);
        cr_expect(!ag_rows_next(i ? NULL : &rows, &g, 11, &s));
        s = (AgSpan){0, 0};
        cr_expect(!ag_rows_next(i ? NULL : &rows, &empty, 0, &s));
    }
}

/* ---- backward ---- */

static uint64_t used[AG_ROWS_WORDS(V)];
static AgRows rows = {V, used, false};
static bool keeps_rows, frozen;

static AgVar weight(AgTape *tape) {
    const int64_t shape[] = {V, E};
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(value, TENSOR_F64, 2, shape),
                   .grad = frozen ? tensor_nil() : tensor_wrap(grad, TENSOR_F64, 2, shape),
                   .rows = keeps_rows ? &rows : NULL};
    return ag_leaf(tape, value, &leaf);
}

static AgVar ids(AgTape *tape, int64_t n, const int64_t *id) {
    Tensor x = tensor_wrap((void *)id, TENSOR_I64, 1, &n);
    return ag_input(tape, &x);
}
static AgVar ids_a(AgTape *tape) { return ids(tape, 4, (int64_t[]){3, 64, 3, 0}); }
static AgVar ids_b(AgTape *tape) { return ids(tape, 2, (int64_t[]){69, 64}); }
static AgVar loss_of(AgVar x) { return ag_sum(ag_mul(ag_square(x), x), AG_ALL_AXES, false); }

static AgVar once(void) { return loss_of(ag_embedding(weight(t), ids_a(t))); }
static AgVar twice(void) {
    return ag_add(once(), loss_of(ag_tanh(ag_embedding(weight(t), ids_b(t)))));
}
static AgVar selected(void) { return loss_of(ag_index_select(weight(t), 0, ids_a(t))); }
static AgVar no_token(void) {
    return loss_of(ag_embedding(weight(t), ids(t, 0, (int64_t[]){0})));
}
static AgVar columns(void) {
    return loss_of(ag_index_select(weight(t), 1, ids(t, 2, (int64_t[]){2, 1})));
}
static AgVar tied(void) {
    AgVar h = ag_embedding(weight(t), ids_a(t));
    return loss_of(ag_matmul(h, ag_transpose(weight(t), 0, 1)));
}
static AgVar through_an_alias(void) { return loss_of(ag_embedding(ag_alias(weight(t)), ids_a(t))); }
static AgVar through_a_part(void) {
    AgVar top = ag_narrow(weight(t), 0, 10, 5);
    return loss_of(ag_embedding(top, ids(t, 2, (int64_t[]){4, 0})));
}
static AgVar product(void) { return loss_of(weight(t)); }

static AgVar look(AgVar g, void *context) {
    (void)context;
    return g;
}
static AgVar hooked(void) {
    ag_hook(weight(t), look, NULL);
    return twice();
}
static AgVar watched(void) {
    ag_watch(weight(t), "w");
    return twice();
}
static AgVar explained(void) {
    ag_tape_keep_gradients(t, true);
    return twice();
}
static AgVar traced(void) {
    ag_tape_trace_nan(t, true);
    return twice();
}

static void rows_a(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)n, (void)in, (void)n_out;
    if (context) ag_hook(weight(tape), look, NULL);
    out[0] = ag_square(ag_embedding(weight(tape), ids_a(tape)));
}
static void rows_of_input(AgTape *tape, void *context, int n, const AgVar *in, int n_out,
                          AgVar *out) {
    (void)context, (void)n, (void)n_out;
    out[0] = ag_square(ag_embedding(in[0], ids_b(tape)));
}
static void nested(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)tape, (void)n_out;
    ag_checkpoint(rows_a, context, n, in, 1, out);
}
static void dense(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)context, (void)n, (void)in, (void)n_out;
    out[0] = ag_square(weight(tape));
}
static AgVar checkpointed(AgCheckpointFunction f, void *context) {
    AgVar x = weight(t), y;
    ag_checkpoint(f, context, 1, &x, 1, &y);
    return loss_of(y);
}
static AgVar in_a_checkpoint(void) { return checkpointed(rows_a, NULL); }
static AgVar in_two_checkpoints(void) { return checkpointed(nested, NULL); }
static AgVar given_to_a_checkpoint(void) { return checkpointed(rows_of_input, NULL); }
static AgVar beside_checkpoints(void) {
    return ag_add(ag_add(in_a_checkpoint(), given_to_a_checkpoint()), once());
}
static AgVar hooked_in_a_checkpoint(void) { return checkpointed(rows_a, &rows); }
static AgVar dense_in_a_checkpoint(void) { return checkpointed(dense, NULL); }

/* |d loss / d w|^2, whose gradient runs through the composed rule. */
static AgVar second_order(void) {
    AgVar w = weight(t), g;
    cr_assert(ag_grad(once(), (AgVar){0}, 1, &w, &g, true), "%s", ag_tape_error(t));
    return ag_sum(ag_square(g), AG_ALL_AXES, false);
}

typedef struct {
    const char *name;
    AgVar (*loss)(void);
    bool all;
    int n;
    int64_t row[4]; /* used, unless all */
} Case;
static const Case cases[] = {
    {"once", once, false, 3, {0, 3, 64}},
    {"twice", twice, false, 4, {0, 3, 64, 69}},
    {"index_select", selected, false, 3, {0, 3, 64}},
    {"in a checkpoint", in_a_checkpoint, false, 3, {0, 3, 64}},
    {"in two checkpoints", in_two_checkpoints, false, 3, {0, 3, 64}},
    {"given to a checkpoint", given_to_a_checkpoint, false, 2, {64, 69}},
    {"beside checkpoints", beside_checkpoints, false, 4, {0, 3, 64, 69}},
    {"second order", second_order, false, 3, {0, 3, 64}},
    {"no token", no_token, false, 0, {0}},
    {"columns", columns, true, 0, {0}},
    {"tied", tied, true, 0, {0}},
    {"through an alias", through_an_alias, true, 0, {0}},
    {"through a part", through_a_part, true, 0, {0}},
    {"product", product, true, 0, {0}},
    {"hooked", hooked, true, 0, {0}},
    {"watched", watched, true, 0, {0}},
    {"explained", explained, true, 0, {0}},
    {"traced", traced, true, 0, {0}},
    {"hooked in a checkpoint", hooked_in_a_checkpoint, true, 0, {0}},
    {"dense in a checkpoint", dense_in_a_checkpoint, true, 0, {0}},
};

static void clear(void) {
    memset(grad, 0, sizeof grad);
    ag_rows_clear(&rows);
    ag_tape_reset(t);
    ag_tape_keep_gradients(t, false);
    ag_tape_trace_nan(t, false);
}

static void run(const Case *c, bool with_rows) {
    keeps_rows = with_rows;
    clear();
    AgVar loss = c->loss();
    cr_assert(ag_backward(loss), "%s: %s", c->name, ag_tape_error(t));
}

static bool is_used(int64_t r) { return rows.all || used[r / 64] >> r % 64 & 1; }

/* What passes over used rows rely on. */
static void expect_zero_elsewhere(const char *name) {
    for (int64_t r = 0; r < V; r++)
        for (int e = 0; !is_used(r) && e < E; e++)
            cr_assert(grad[r * E + e] == 0, "%s: row %d", name, (int)r);
}

Test(rows, every_way_to_a_gradient_uses_what_it_adds_to) {
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const Case *c = &cases[k];
        double want[V * E];
        run(c, false);
        cr_expect(!rows.all && !used[0], "%s: leaves without rows use none", c->name);
        memcpy(want, grad, sizeof want);
        run(c, true);
        cr_expect(memcmp(want, grad, sizeof want) == 0, "%s: another gradient", c->name);
        cr_expect_eq(rows.all, c->all, "%s", c->name);
        for (int64_t r = 0, i = 0; r < V && !c->all; r++) {
            bool listed = i < c->n && c->row[i] == r;
            i += listed;
            cr_expect_eq(is_used(r), listed, "%s: row %d", c->name, (int)r);
        }
        expect_zero_elsewhere(c->name);
    }
}

Test(rows, several_passes_add_up) {
    keeps_rows = true;
    clear();
    cr_assert(ag_backward(once()));
    ag_tape_reset(t);
    cr_assert(ag_backward(loss_of(ag_embedding(weight(t), ids_b(t)))));
    cr_expect(is_used(0) && is_used(3) && is_used(64) && is_used(69) && !is_used(1));
    expect_zero_elsewhere("several passes");
    ag_tape_reset(t);
    cr_assert(ag_backward(product()));
    cr_expect(rows.all);
}

Test(rows, without_a_use_or_a_sink_none_is_used) {
    keeps_rows = true;
    clear();
    AgVar w = weight(t), g;
    cr_assert(ag_grad(twice(), (AgVar){0}, 1, &w, &g, false));
    cr_expect(!rows.all && !used[0] && !used[1], "ag_grad adds to no parameter");
    cr_assert(ag_backward(no_token()), "%s", ag_tape_error(t));
    cr_expect(!rows.all && !used[0] && !used[1]);
    frozen = true;
    clear();
    w = weight(t);
    cr_assert(!ag_backward(once()));
    cr_expect(!rows.all && !used[0] && !used[1]);
    frozen = false;
}

/* y = x, by a rule that adds to the whole gradient. */
static bool same_shape(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }
static bool same_value(AgCall *c) {
    for (int64_t i = 0; i < tensor_numel(c->in[0]); i++)
        tensor_set(&c->out[0], i, tensor_get(c->in[0], i));
    return true;
}
static bool same_vjp(AgVjp *v) {
    const Tensor *into = ag_vjp_into(v, 0), *g = ag_value(v->gout[0]);
    cr_assert(into);
    for (int64_t i = 0; i < tensor_numel(g); i++)
        tensor_set(into, i, tensor_get(into, i) + tensor_get(g, i));
    return true;
}
static const AgSample none[] = {{0}};
static const AgOp same = {.name = "same", .doc = "x", .signature = "f:f", .shape = same_shape,
                          .value = same_value, .vjp = same_vjp, .samples = none, .errors = none};

Test(rows, a_users_op_that_adds_in_place_uses_all) {
    keeps_rows = true;
    clear();
    AgVar w = weight(t);
    cr_assert(ag_backward(loss_of(ag_apply1(&same, 1, &w, NULL, 0))), "%s", ag_tape_error(t));
    cr_expect(rows.all);
    cr_expect_neq(grad[E], 0);
}

Test(rows, of_another_number_are_refused) {
    uint64_t words[2];
    const int64_t shape[] = {V, E};
    for (int scalar = 0; scalar < 2; scalar++) {
        AgRows wrong = {V - 1, words, false};
        Tensor x = tensor_wrap(value, TENSOR_F64, scalar ? 0 : 2, shape);
        Tensor g = tensor_wrap(grad, TENSOR_F64, scalar ? 0 : 2, shape);
        AgLeaf leaf = {.name = "w", .value = x, .grad = g, .rows = &wrong};
        ag_leaf(t, value, &leaf);
        cr_expect(strstr(ag_tape_error(t), "w: 69 rows kept for the gradient f64["), "%s",
                  ag_tape_error(t));
        ag_tape_reset(t);
    }
}
