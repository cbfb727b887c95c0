/* The profile: every call counted where it belongs, every nanosecond counted once. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "autograd/inspect.h"
#include "autograd/op.h"
#include "tests/support/allocations.h"

/* ---- the clock: one that stands unless the test moves it, so that times are exact ---- */

static bool real;
static int64_t moved; /* ns */

int __real_clock_gettime(clockid_t id, struct timespec *at);
int __wrap_clock_gettime(clockid_t id, struct timespec *at);
int __wrap_clock_gettime(clockid_t id, struct timespec *at) {
    if (real || id != CLOCK_MONOTONIC) return __real_clock_gettime(id, at);
    *at = (struct timespec){1000 + moved / 1000000000, moved % 1000000000};
    return 0;
}

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static const int64_t ms = 1000000; /* in ns */

static void spend(int64_t ns) {
    int64_t end = now() + ns;
    if (!real) moved += ns;
    while (now() < end) nanosleep(&(struct timespec){0, ns}, NULL);
}

static AgTape *t;
static void start(void) {
    t = ag_tape_new();
    ag_tape_set_profile(t, true);
}
static void stop(void) { ag_tape_free(t); }
TestSuite(profile, .init = start, .fini = stop);

static const AgVar ones;

/* ---- reading what is written ---- */

typedef bool (*Writer)(const AgTape *, FILE *);

/* To be freed. */
static char *text_of(Writer write) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    cr_assert(f && write(t, f));
    fclose(f);
    return text;
}

typedef struct {
    int64_t calls, ns, bytes;
    int lines;
} Count;

/* A line of the CSV that begins with this and a comma; lines 0: none. */
static Count count(const char *direction, const char *op, const char *scope) {
    char *text = text_of(ag_tape_profile_csv), want[512];
    snprintf(want, sizeof want, "\n%s,\"%s\",\"%s\",", direction, op, scope);
    Count c = {0, 0, 0, 0};
    for (const char *at = text; (at = strstr(at, want)); c.lines++) {
        at += strlen(want);
        int n = sscanf(at, "%" SCNd64 ",%" SCNd64 ",%" SCNd64, &c.calls, &c.ns, &c.bytes);
        cr_assert_eq(n, 3);
    }
    cr_assert_leq(c.lines, 1, "%d lines%s", c.lines, want);
    free(text);
    return c;
}

#define EXPECT_CALLS(direction, op, scope, want) \
    do { \
        int64_t got = count(direction, op, scope).calls; \
        cr_expect_eq(got, want, "%s %s %s: %" PRId64 " calls", direction, op, scope, got); \
    } while (0)

/* The sum of the times of all lines, and how many there are. */
static int64_t sum_of_times(int *lines) {
    char *text = text_of(ag_tape_profile_csv);
    int64_t sum = 0;
    *lines = 0;
    for (char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        int64_t calls, ns, bytes;
        char *numbers = strchr(line, '\n');
        for (int commas = 0; commas < 3;) commas += *--numbers == ',';
        int n = sscanf(numbers, ",%" SCNd64 ",%" SCNd64 ",%" SCNd64, &calls, &ns, &bytes);
        cr_assert_eq(n, 3, "%s", line);
        cr_expect(calls >= 0 && ns >= 0 && bytes >= 0);
        sum += ns;
        ++*lines;
    }
    free(text);
    return sum;
}

static void expect_in_table(const char *text) {
    char *table = text_of(ag_tape_profile);
    cr_expect(strstr(table, text), "no `%s` in:\n%s", text, table);
    free(table);
}

/* ---- a model ---- */

enum { B = 2, H = 3 };
static float wv[H * H], wg[H * H];
static AgVar weight(AgTape *tape) {
    int64_t square[] = {H, H};
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(wv, TENSOR_F32, 2, square),
                   .grad = tensor_wrap(wg, TENSOR_F32, 2, square)};
    return ag_leaf(tape, wv, &leaf);
}

static float xv[B * H] = {.1f, .2f, .3f, -.4f, .5f, -.6f};
static AgVar input(void) {
    Tensor x = tensor_wrap(xv, TENSOR_F32, 2, (int64_t[]){B, H});
    return ag_input(t, &x);
}

static AgVar cell(AgTape *tape, AgVar h) { return ag_tanh(ag_matmul(h, weight(tape))); }

/* h = tanh(h W), `steps` times in the scope net/loop; then the mean square. */
static double train_step(int steps) {
    for (int i = 0; i < H * H; i++) wv[i] = (float)(i % 4) / 5;
    ag_tape_reset(t);
    AgVar h = input();
    ag_scope_push(t, "net");
    ag_scope_push(t, "loop");
    for (int s = 0; s < steps; s++) {
        ag_scope_step(t, s);
        h = cell(t, h);
    }
    ag_scope_pop(t);
    AgVar loss = ag_mean(ag_square(h), AG_ALL_AXES, false);
    ag_scope_pop(t);
    cr_assert(ag_backward(loss), "%s", ag_tape_error(t));
    return ag_item(loss);
}

/* ---- what is counted ---- */

Test(profile, calls_of_a_known_graph_are_exact_and_the_steps_of_a_loop_are_one_line) {
    for (int i = 0; i < 3; i++) train_step(7);
    EXPECT_CALLS("forward", "matmul", "net/loop", 3 * 7);
    EXPECT_CALLS("forward", "tanh", "net/loop", 3 * 7);
    EXPECT_CALLS("forward", "square", "net", 3);
    EXPECT_CALLS("forward", "mean", "net", 3);
    EXPECT_CALLS("forward", "(ag_input)", "", 3);
    EXPECT_CALLS("forward", "(ag_tape_reset)", "", 3);
    EXPECT_CALLS("backward", "matmul", "net/loop", 3 * 7);
    EXPECT_CALLS("backward", "tanh", "net/loop", 3 * 7);
    EXPECT_CALLS("backward", "square", "net", 3);
    EXPECT_CALLS("backward", "mean", "net", 3);
    EXPECT_CALLS("backward", "(ag_backward)", "", 3);
    cr_expect_eq(count("forward", "matmul", "net/loop").bytes, 3 * 7 * B * H * 4);
    cr_expect_eq(count("backward", "matmul", "net/loop").bytes, 0);
    cr_expect_eq(count("forward", "full", "").lines, 0, "the sweep's seed is the sweep's");
    expect_in_table("backward passes: 3; ");
    expect_in_table("\n  loop ");
}

Test(profile, a_view_writes_no_bytes_and_its_gradient_is_a_sum) {
    AgVar w = weight(t);
    ag_backward(ag_sum(ag_square(ag_select(w, 0, 1)), AG_ALL_AXES, false));
    EXPECT_CALLS("forward", "select", "", 1);
    cr_expect_eq(count("forward", "select", "").bytes, 0);
    cr_expect_eq(count("backward", "select", "").lines, 0);
    cr_expect_gt(count("backward", "(sums of gradients)", "").calls, 0);
}

Test(profile, results_are_the_same_bits_and_off_records_nothing) {
    double with = train_step(5);
    float gradient[H * H];
    memcpy(gradient, wg, sizeof wg);
    cr_expect(ag_tape_set_profile(t, false));
    cr_expect(!ag_tape_set_profile(t, false));
    ag_tape_clear_profile(t);
    memset(wg, 0, sizeof wg);
    double without = train_step(5);
    cr_expect_eq(with, without);
    cr_expect(!memcmp(gradient, wg, sizeof wg));
    char *table = text_of(ag_tape_profile), *csv = text_of(ag_tape_profile_csv);
    cr_expect(strstr(table, "nothing was timed"), "%s", table);
    cr_expect_str_eq(csv, "direction,op,scope,calls,ns,bytes\n"
                          "other,\"outside the tape\",\"\",0,0,0\n");
    free(table);
    free(csv);
}

Test(profile, a_pause_is_counted_nowhere_and_a_clear_begins_anew) {
    train_step(2);
    spend(5 * ms);
    train_step(2);
    cr_expect(ag_tape_set_profile(t, false));
    spend(30 * ms);
    train_step(2);
    cr_expect(!ag_tape_set_profile(t, true));
    spend(30 * ms);
    train_step(2);
    int lines;
    cr_expect_eq(sum_of_times(&lines), 5 * ms);
    cr_expect_eq(count("other", "outside the tape", "").ns, 5 * ms);
    EXPECT_CALLS("forward", "tanh", "net/loop", 6);
    ag_tape_clear_profile(t);
    cr_expect_eq(sum_of_times(&lines), 0);
    ag_scope_push(t, "a");
    ag_tanh(input());
    ag_scope_push(t, "b");
    ag_tape_clear_profile(t); /* with scopes open that have lines */
    ag_tanh(input());
    EXPECT_CALLS("forward", "tanh", "a", 0);
    EXPECT_CALLS("forward", "tanh", "a/b", 1);
}

Test(profile, without_a_backward_pass_a_step_is_a_reset) {
    for (int i = 0; i < 4; i++) {
        ag_tape_reset(t);
        ag_tanh(input());
    }
    expect_in_table("resets of the tape: 4; ");
}

/* ---- ops that take their time ---- */

static const int64_t forward = 20 * ms, backward = 10 * ms;

static bool like_first(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }
static bool slow_value(AgCall *c) {
    spend(forward);
    for (int64_t i = 0; i < tensor_numel(c->in[0]); i++)
        tensor_set(&c->out[0], i, tensor_get(c->in[0], i));
    return true;
}
static bool slow_vjp(AgVjp *v) {
    spend(backward);
    v->gin[0] = v->gout[0];
    return true;
}
static const AgOp slow_op = {.name = "slow", .signature = "f:f", .shape = like_first,
                             .value = slow_value, .vjp = slow_vjp};
static AgVar slow(AgVar x) { return ag_apply1(&slow_op, 1, &x, NULL, 0); }

#define EXPECT_TIME(direction, op, scope, want_calls, want_ns) \
    do { \
        Count got = count(direction, op, scope); \
        cr_expect_eq(got.calls, want_calls, "%s %s %s: %" PRId64 " calls", direction, op, scope, \
                     got.calls); \
        cr_expect_eq(got.ns, want_ns, "%s %s %s: %" PRId64 " ns", direction, op, scope, got.ns); \
    } while (0)

Test(profile, time_is_on_the_line_of_the_op_that_takes_it) {
    ag_scope_push(t, "outer");
    AgVar h = ag_tanh(weight(t));
    ag_scope_push(t, "inner");
    h = slow(h);
    ag_scope_pop(t);
    AgVar loss = ag_sum(h, AG_ALL_AXES, false);
    spend(7 * ms);
    ag_scope_pop(t);
    cr_assert(ag_backward(loss));
    EXPECT_TIME("forward", "slow", "outer/inner", 1, forward);
    EXPECT_TIME("backward", "slow", "outer/inner", 1, backward);
    EXPECT_TIME("other", "outside the tape", "", 0, 7 * ms);
    int lines;
    cr_expect_eq(sum_of_times(&lines), forward + backward + 7 * ms);
    expect_in_table("\nslow                        20.0000        1     10.0000        1    "
                    "30.0000   81.1%     0.000\n");
    expect_in_table("\nouter                       20.0000");
    expect_in_table("\n  inner                     20.0000");
    expect_in_table("\noutside the tape                  -        -           -        -     "
                    "7.0000   18.9%         -\n");
    expect_in_table("\nall                         20.0000        3     10.0000");
}

static bool nested_vjp(AgVjp *v) {
    v->gin[0] = ag_mul(slow(v->gout[0]), slow(v->gout[0]));
    return true;
}
static bool copy_value(AgCall *c) {
    for (int64_t i = 0; i < tensor_numel(c->in[0]); i++)
        tensor_set(&c->out[0], i, tensor_get(c->in[0], i));
    return true;
}
static bool nested_compose(AgTape *tape, int n, const AgVar *in, const void *options, AgVar *out) {
    (void)tape, (void)n, (void)options;
    out[0] = slow(in[0]);
    return true;
}
static const AgOp nested_op = {.name = "nested", .signature = "f:f", .shape = like_first,
                               .value = copy_value, .vjp = nested_vjp, .compose = nested_compose};

Test(profile, what_a_rule_calls_counts_once_and_as_the_rules) {
    AgVar x = weight(t), y = ag_apply1(&nested_op, 1, &x, NULL, 0), gx;
    cr_assert(ag_grad(y, ones, 1, &x, &gx, false), "%s", ag_tape_error(t));
    EXPECT_TIME("backward", "nested", "", 1, 2 * forward);
    EXPECT_TIME("backward", "(ag_grad)", "", 1, 0);
    cr_expect_eq(count("forward", "slow", "").lines, 0);
    cr_expect_eq(count("forward", "mul", "").lines, 0);
    int lines;
    cr_expect_eq(sum_of_times(&lines), 2 * forward);

    ag_tape_clear_profile(t); /* a composition, and the sweep through it */
    cr_assert(ag_grad(y, ones, 1, &x, &gx, true), "%s", ag_tape_error(t));
    EXPECT_TIME("backward", "nested", "", 1, forward + backward);
    EXPECT_TIME("backward", "(ag_grad)", "", 1, 0);
    cr_expect_eq(count("backward", "slow", "").lines, 0);
}

static AgVar slow_hook(AgVar g, void *context) {
    (void)context;
    return slow(g);
}

Test(profile, hooks_have_a_line_of_their_own_with_the_ops_they_call) {
    ag_scope_push(t, "net");
    AgVar h = ag_tanh(weight(t));
    ag_hook(h, slow_hook, NULL);
    ag_hook(h, slow_hook, NULL);
    AgVar loss = ag_sum(h, AG_ALL_AXES, false);
    ag_scope_pop(t);
    cr_assert(ag_backward(loss), "%s", ag_tape_error(t));
    EXPECT_TIME("backward", "(hooks)", "net", 2, 2 * forward);
    cr_expect_eq(count("forward", "slow", "net").lines, 0);
    int lines;
    cr_expect_eq(sum_of_times(&lines), 2 * forward);
}

/* ---- checkpoints ---- */

static void slow_cell(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)context, (void)n, (void)n_out;
    ag_scope_push(tape, "part");
    out[0] = slow(cell(tape, in[0]));
    ag_scope_pop(tape);
}

/* One checkpoint inside the other, and an op behind. */
static void two_cells(AgTape *tape, void *context, int n, const AgVar *in, int n_out,
                      AgVar *out) {
    (void)tape;
    ag_checkpoint(slow_cell, context, n, in, n_out, out);
    out[0] = slow(out[0]);
}

Test(profile, the_second_run_is_the_checkpoints_and_its_rules_are_their_ops) {
    AgVar h = input();
    ag_scope_push(t, "net");
    ag_checkpoint(slow_cell, NULL, 1, &h, 1, &h);
    ag_scope_pop(t);
    cr_assert(ag_backward(ag_mean(h, AG_ALL_AXES, false)), "%s", ag_tape_error(t));
    EXPECT_TIME("forward", "slow", "net/part", 1, forward);
    EXPECT_TIME("backward", "slow", "net/part", 1, backward);
    EXPECT_CALLS("backward", "matmul", "net/part", 1);
    EXPECT_CALLS("forward", "matmul", "net/part", 1);
    EXPECT_TIME("forward", "checkpoint", "net", 1, 0);
    EXPECT_TIME("backward", "checkpoint", "net", 1, forward);
    EXPECT_TIME("backward", "(ag_backward)", "", 1, 0);
}

Test(profile, checkpoints_inside_checkpoints_are_counted_once) {
    AgVar h = input();
    ag_checkpoint(two_cells, NULL, 1, &h, 1, &h);
    cr_assert(ag_backward(ag_mean(h, AG_ALL_AXES, false)), "%s", ag_tape_error(t));
    EXPECT_TIME("forward", "slow", "part", 1, forward);
    EXPECT_TIME("forward", "slow", "", 1, forward);
    EXPECT_TIME("backward", "slow", "part", 1, backward);
    EXPECT_TIME("backward", "slow", "", 1, backward);
    EXPECT_TIME("forward", "checkpoint", "", 2, 0);
    /* Both ops in the outer one's second run, then the inner one's. */
    EXPECT_TIME("backward", "checkpoint", "", 2, 3 * forward);
}

static void sweeps_inside(AgTape *tape, void *context, int n, const AgVar *in, int n_out,
                          AgVar *out) {
    (void)tape, (void)context, (void)n_out;
    ag_grad(slow(in[0]), ones, n, in, out, true);
}

Test(profile, a_sweep_in_a_checkpoints_second_run_is_the_second_runs) {
    AgVar x = ag_tanh(weight(t)), y;
    ag_checkpoint(sweeps_inside, NULL, 1, &x, 1, &y);
    cr_assert(ag_backward(ag_sum(ag_mul(x, y), AG_ALL_AXES, false)), "%s", ag_tape_error(t));
    EXPECT_TIME("backward", "(ag_grad)", "", 1, 0);
    EXPECT_TIME("forward", "slow", "", 1, forward);
    EXPECT_TIME("backward", "checkpoint", "", 1, forward + backward);
}

/* ---- switches in the middle ---- */

static AgVar switches(AgVar g, void *how) {
    const char *c = how;
    spend(7 * ms);
    if (*c == 'c') ag_tape_clear_profile(t);
    else ag_tape_set_profile(t, false);
    if (*c == 'a') ag_tape_set_profile(t, true);
    spend(5 * ms);
    return ag_affine(g, 1, 0);
}

Test(profile, may_be_switched_and_cleared_in_a_hook) {
    const char *how[] = {"off", "again", "clear"};
    for (int i = 0; i < 3; i++) {
        ag_tape_reset(t);
        ag_tape_clear_profile(t);
        ag_tape_set_profile(t, true);
        AgVar h = ag_tanh(weight(t));
        ag_hook(h, switches, (void *)(uintptr_t)how[i]);
        cr_assert(ag_backward(ag_sum(h, AG_ALL_AXES, false)), "%s", ag_tape_error(t));
        bool on = ag_tape_set_profile(t, true);
        cr_expect_eq(on, i > 0);
        ag_square(weight(t));
        int lines;
        cr_expect_eq(sum_of_times(&lines), i < 2 ? 7 * ms : 0, "%s", how[i]);
        EXPECT_CALLS("forward", "square", "", 1);
        EXPECT_CALLS("backward", "(ag_backward)", "", i < 2);
        EXPECT_CALLS("backward", "tanh", "", 0);
        EXPECT_CALLS("forward", "mul", "", 0);
    }
}

Test(profile, an_error_in_the_middle_ends_what_runs) {
    ag_matmul(input(), input());
    cr_expect(!ag_tape_ok(t));
    EXPECT_CALLS("forward", "matmul", "", 1);
    ag_tape_reset(t);
    spend(3 * ms);
    ag_tanh(input());
    EXPECT_TIME("forward", "matmul", "", 1, 0);
    EXPECT_TIME("other", "outside the tape", "", 0, 3 * ms);
}

Test(profile, what_a_release_keeps_is_the_releases) {
    AgVar h = input();
    AgTapeMark mark = ag_tape_mark(t);
    h = ag_tanh(h);
    cr_expect(ag_tape_release(t, mark, 1, &h));
    EXPECT_CALLS("forward", "(ag_tape_release)", "", 1);
    EXPECT_CALLS("forward", "(ag_input)", "", 1);
}

/* ---- memory ---- */

Test(profile, the_second_step_allocates_nothing) {
    train_step(5);
    for (int i = 0; i < 3; i++) {
        long before = allocations();
        train_step(5);
        long more = allocations() - before;
        cr_expect_eq(more, 0, "step %d: %ld allocations", i + 2, more);
    }
    ag_tape_clear_profile(t);
    long before = allocations();
    train_step(5);
    cr_expect_eq(allocations(), before, "a clear keeps the memory");
}

/* So that the tape itself needs no memory for as many scopes. */
static void make_room_for_scopes(int n) {
    bool on = ag_tape_set_profile(t, false);
    for (int i = 0; i < n; i++) {
        ag_scope_push(t, "room");
        ag_scope_pop(t);
    }
    ag_tape_reset(t);
    ag_tape_set_profile(t, on);
}

Test(profile, without_memory_calls_are_counted_as_others) {
    make_room_for_scopes(50);
    ag_scope_push(t, "known");
    AgVar x = input();
    ag_square(ag_tanh(x));
    ag_scope_pop(t);
    for (int i = 0; i < 40; i++) { /* until a further line needs memory */
        fail_allocations(true);
        char name[32];
        snprintf(name, sizeof name, "scope%d", i);
        ag_scope_push(t, name);
        ag_tanh(x);
        ag_scope_pop(t);
        fail_allocations(false);
    }
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    Count other = count("other", "(others)", "");
    cr_expect_gt(other.calls, 0);
    EXPECT_CALLS("forward", "tanh", "known", 1);
    expect_in_table("memory was out");
    fail_allocations(true);
    cr_expect(!ag_tape_profile(t, stderr), "the table needs memory");
    fail_allocations(false);
    ag_scope_push(t, "later");
    ag_tanh(x);
    ag_scope_pop(t);
    EXPECT_CALLS("forward", "tanh", "later", 1);
}

Test(profile, scopes_without_end_take_bounded_memory) {
    enum { MANY = 5000, MOST = 4096 };
    for (int i = 0; i < MANY; i++) {
        char name[32];
        snprintf(name, sizeof name, "step%d", i);
        ag_tape_reset(t);
        AgVar x = input();
        ag_scope_push(t, name);
        ag_tanh(x);
        ag_square(x);
        ag_scope_pop(t);
    }
    int lines;
    sum_of_times(&lines);
    cr_expect_leq(lines, MOST + 2);
    EXPECT_CALLS("forward", "tanh", "step0", 1);
    EXPECT_CALLS("forward", "(ag_input)", "", MANY);
    cr_expect_gt(count("other", "(others)", "").calls, MANY - MOST);
    expect_in_table("(others): ");
    make_room_for_scopes(3);
    long before = allocations();
    ag_scope_push(t, "step0");
    ag_scope_push(t, "another");
    ag_tanh(input());
    cr_expect_eq(allocations(), before);
    EXPECT_CALLS("forward", "tanh", "step0", 2);
}

/* ---- names ---- */

Test(profile, names_break_neither_the_table_nor_the_csv) {
    AgOp odd = slow_op;
    odd.name = "a,\"b\"\n\tc";
    odd.value = copy_value;
    ag_scope_push(t, "x\"y,\x1b[31m\n");
    AgVar x = input();
    ag_apply1(&odd, 1, &x, NULL, 0);
    char long_name[400], cut[400];
    memset(long_name, 'n', sizeof long_name);
    memcpy(long_name + 114, "\xc3\xa9", 2); /* cut in its middle */
    long_name[sizeof long_name - 1] = 0;
    ag_scope_push(t, long_name);
    ag_tanh(x);
    ag_scope_pop(t);
    ag_scope_push(t, ""); /* a name, too */
    ag_tanh(x);
    char *csv = text_of(ag_tape_profile_csv), *table = text_of(ag_tape_profile);
    snprintf(cut, sizeof cut, "\nforward,\"tanh\",\"x\"\"y,?[31m?/%.114s\",1,", long_name);
    cr_expect(strstr(csv, "\nforward,\"a,\"\"b\"\"??c\",\"x\"\"y,?[31m?\",1,"), "%s", csv);
    cr_expect(strstr(csv, cut), "%s", csv);
    cr_expect(strstr(csv, "\nforward,\"tanh\",\"x\"\"y,?[31m?/\",1,"), "%s", csv);
    cr_expect(strstr(table, "\nx\"y,?[31m? "), "%s", table);
    for (const char *c = table; *c; c++) cr_expect((unsigned char)*c >= ' ' || *c == '\n');
    free(csv);
    free(table);
}

Test(profile, two_ops_of_one_name_are_one_line_and_an_op_may_be_gone) {
    AgOp *op = malloc(sizeof *op);
    char *name = malloc(16);
    cr_assert(op && name);
    *op = slow_op;
    op->name = strcpy(name, "passing");
    op->value = copy_value;
    AgVar x = input();
    ag_apply1(op, 1, &x, NULL, 0);
    ag_tape_reset(t);
    memset(name, 'z', 8);
    free(name);
    free(op);
    AgOp same = slow_op;
    same.name = "passing";
    same.value = copy_value;
    x = input();
    ag_apply1(&same, 1, &x, NULL, 0);
    EXPECT_CALLS("forward", "passing", "", 2);
}

/* ---- streams ---- */

Test(profile, a_full_disk_is_told) {
    train_step(2);
    FILE *full = fopen("/dev/full", "w");
    if (!full) cr_skip_test("no /dev/full");
    cr_expect(!ag_tape_profile(t, full));
    fclose(full);
    full = fopen("/dev/full", "w");
    cr_assert(full);
    cr_expect(!ag_tape_profile_csv(t, full));
    fclose(full);
    ag_tape_clear_profile(t);
    full = fopen("/dev/full", "w");
    cr_assert(full);
    cr_expect(!ag_tape_profile(t, full));
    fclose(full);
}

/* ---- the real clock ---- */

Test(profile, real_time_is_on_its_line_and_no_more_than_there_is) {
    real = true;
    ag_tape_clear_profile(t);
    int64_t before = now();
    AgVar h = slow(weight(t));
    for (int i = 0; i < 3; i++) h = cell(t, h);
    cr_assert(ag_backward(ag_sum(h, AG_ALL_AXES, false)), "%s", ag_tape_error(t));
    int64_t wall = now() - before;
    cr_expect_geq(count("forward", "slow", "").ns, forward);
    cr_expect_geq(count("backward", "slow", "").ns, backward);
    cr_expect_gt(count("forward", "matmul", "").ns, 0);
    int lines;
    cr_expect_leq(sum_of_times(&lines), wall);
}
