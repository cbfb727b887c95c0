/* The tape in words and as a picture: an LSTM of three steps, one unit wide. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/inspect.h"
#include "tests/support/read_text.h"

static AgTape *t;
static void start(void) { t = ag_tape_new(); }
static void stop(void) { ag_tape_free(t); }
TestSuite(explain, .init = start, .fini = stop);

/* What a writer writes; to be freed. */
static char *text_of(bool (*write)(AgTape *, FILE *)) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    cr_assert(f && write(t, f));
    fclose(f);
    return text;
}

/* ---- the example ---- */

enum { T = 3, PARAMS = 12 };
static const char *const param_name[PARAMS] = {"w_i", "w_f", "w_g", "w_o", "u_i", "u_f",
                                               "u_g", "u_o", "b_i", "b_f", "b_g", "b_o"};
static const double first_value[PARAMS] = {.5, -.3, .8, .4, .2, .6, -.5, .1, 0, 1, .1, -.2};
static double value[PARAMS], grad[PARAMS];

static AgVar param(int k) {
    AgLeaf leaf = {.name = param_name[k], .value = tensor_wrap(&value[k], TENSOR_F64, 0, NULL),
                   .grad = tensor_wrap(&grad[k], TENSOR_F64, 0, NULL)};
    return ag_leaf(t, &value[k], &leaf);
}

static AgVar named(AgVar v, const char *letter, int step) {
    char name[16];
    snprintf(name, sizeof name, "%s%d", letter, step);
    ag_name(v, name);
    return v;
}

/* a = w x + u h + b */
static AgVar gate(int k, AgVar x, AgVar h) {
    AgVar wx = ag_mul(param(k), x), uh = ag_mul(param(4 + k), h), both = ag_add(wx, uh);
    return ag_add(both, param(8 + k));
}

static AgVar lstm(void) {
    const double input[T] = {1, -.5, .25};
    ag_scope_push(t, "lstm");
    AgVar h = named(ag_scalar(t, TENSOR_F64, .2), "h", 0);
    AgVar c = named(ag_scalar(t, TENSOR_F64, -.4), "c", 0);
    for (int s = 1; s <= T; s++) {
        ag_scope_step(t, s);
        AgVar x = named(ag_scalar(t, TENSOR_F64, input[s - 1]), "x", s);
        AgVar i = named(ag_sigmoid(named(gate(0, x, h), "a_i", s)), "i", s);
        AgVar f = named(ag_sigmoid(named(gate(1, x, h), "a_f", s)), "f", s);
        AgVar g = named(ag_tanh(named(gate(2, x, h), "a_g", s)), "g", s);
        AgVar o = named(ag_sigmoid(named(gate(3, x, h), "a_o", s)), "o", s);
        AgVar kept = ag_mul(f, c), new = ag_mul(i, g);
        c = named(ag_add(kept, new), "c", s);
        h = named(ag_mul(o, ag_tanh(c)), "h", s);
    }
    ag_scope_pop(t);
    AgVar loss = ag_square(ag_affine(h, 1, -1));
    ag_name(loss, "loss");
    return loss;
}

static AgVar example(void) {
    ag_tape_reset(t);
    memcpy(value, first_value, sizeof value);
    memset(grad, 0, sizeof grad);
    return lstm();
}

/* ---- golden ---- */

Test(explain, an_lstm_of_three_steps_as_in_the_golden_text) {
    ag_tape_keep_gradients(t, true);
    cr_assert(ag_backward(example()), "%s", ag_tape_error(t));
    char *text = text_of(ag_tape_explain), *golden = read_text("tests/autograd/explain_lstm.txt");
    cr_expect_str_eq(text, golden);
    free(text);
    free(golden);
}

static void check_sum(const char *line, int *sums) {
    const char *at = strstr(line, " = "), *end = strchr(line, '\n');
    double sum = 0, term = 0;
    int terms = 0;
    for (; at && at < end; at++) {
        if (strncmp(at, " = ", 3) && strncmp(at, " + ", 3)) continue;
        term = strtod(at + 3, NULL);
        const char *source = strchr(at + 3, '(');
        bool is_term = source && source < end && strcspn(at + 3, "(") < 16;
        if (is_term) sum += term, terms++;
    }
    if (terms < 2) return;
    ++*sums;
    cr_expect_float_eq(sum, term, 2e-6, "%.*s", (int)(end - line), line);
}

Test(explain, contributions_add_up_to_the_gradient) {
    ag_tape_keep_gradients(t, true);
    cr_assert(ag_backward(example()));
    char *text = text_of(ag_tape_explain);
    int sums = 0;
    for (char *line = strstr(text, "backward\n"); line && *line; line = strchr(line, '\n') + 1)
        if (strchr(line, '\n')) check_sum(line, &sums);
    cr_expect_eq(sums, 12 + 2 + 2, "%d sums", sums); /* parameters; c1, c2; h1, h2 */
    free(text);
}

/* The number after the last `=` of the line `name = ..`. */
static double last_number(const char *text, const char *name) {
    char start[32];
    snprintf(start, sizeof start, "%s = ", name);
    const char *line = strstr(text, start), *at = NULL;
    cr_assert(line, "no %s", start);
    for (const char *c = line; *c && *c != '\n'; c++)
        if (!strncmp(c, " = ", 3)) at = c + 3;
    return strtod(at, NULL);
}

Test(explain, its_numbers_are_the_finite_differences_and_the_gradients) {
    ag_tape_keep_gradients(t, true);
    cr_assert(ag_backward(example()));
    char *text = text_of(ag_tape_explain);
    double want[PARAMS], h = 1e-5;
    memcpy(want, grad, sizeof want);
    for (int k = 0; k < PARAMS; k++) {
        double loss[2];
        for (int side = 0; side < 2; side++) {
            ag_tape_reset(t);
            memcpy(value, first_value, sizeof value);
            value[k] += side ? h : -h;
            loss[side] = ag_item(lstm());
        }
        char name[16];
        snprintf(name, sizeof name, " d%s", param_name[k]);
        double shown = last_number(text, name), slope = (loss[1] - loss[0]) / (2 * h);
        cr_expect_float_eq(shown, slope, 1e-6, "%s: %g and %g", name, shown, slope);
        cr_expect_float_eq(shown, want[k], 1e-6, "%s: %g and %g", name, shown, want[k]);
    }
    free(text);
}

/* ---- the rest ---- */

static AgVar halve(AgVar g, void *context) {
    (void)context;
    return ag_affine(g, .5, 0);
}

Test(explain, tensors_hooks_several_results_and_repeated_names) {
    double w[12] = {0}, dw[12] = {0};
    int64_t shape[] = {3, 4};
    for (int i = 0; i < 12; i++) w[i] = i;
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(w, TENSOR_F64, 2, shape),
                   .grad = tensor_nil()};
    AgVar frozen = ag_leaf(t, w, &leaf);
    leaf.grad = tensor_wrap(dw, TENSOR_F64, 2, shape);
    AgVar p = ag_leaf(t, dw, &leaf);
    AgVar row = ag_select(p, 0, 1), twice = ag_add(row, row);
    ag_scalar(t, TENSOR_F64, 99); /* in nobody's way */
    ag_name(twice, "r");
    ag_hook(twice, halve, NULL);
    ag_tape_keep_gradients(t, true);
    AgVar first = ag_sum(twice, AG_ALL_AXES, false), product = ag_mul(p, frozen);
    AgVar second = ag_sum(product, AG_ALL_AXES, false);
    cr_assert(ag_backward(ag_add(first, second)), "%s", ag_tape_error(t));
    char *text = text_of(ag_tape_explain);
    const char *lines[] = {
        "  w#1 = frozen parameter = [0, 1, 2, ..., 9, 10, 11] f64[3,4]\n",
        "  w#2 = parameter = [0, 1, 2, ..., 9, 10, 11] f64[3,4]\n",
        "  select#3 = select(w#2, 0, 1) = [4, 5, 6, 7]\n",
        "  r = add(select#3, select#3) = [8, 10, 12, 14]\n",
        "  dr = [1, 1, 1, 1] (from sum#6); after its hooks [0.5, 0.5, 0.5, 0.5]\n",
        "  dselect#3 = [0.5, 0.5, 0.5, 0.5] (from add r) + [0.5, 0.5, 0.5, 0.5] (from add r)"
        " = [1, 1, 1, 1]\n",
        "  dw#2 = [0, 1, 2, ..., 9, 10, 11] f64[3,4] (from mul#7) + [0, 0, 0, ..., 0, 0, 0]"
        " f64[3,4] (from select#3) = [0, 1, 2, ..., 9, 10, 11] f64[3,4]\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        cr_expect(strstr(text, lines[i]), "no `%s` in\n%s", lines[i], text);
    cr_expect(!strstr(text, "99"));
    cr_expect_eq(dw[5], 6);
    cr_expect_eq(dw[1], 1);
    free(text);
}

Test(explain, kept_gradients_are_those_of_the_last_sweep_and_end_with_release_and_reset) {
    AgVar x = ag_scalar(t, TENSOR_F64, 3), y = ag_square(x), g, gg;
    AgTapeMark m = ag_tape_mark(t);
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, false));
    char *text = text_of(ag_tape_explain);
    cr_expect(strstr(text, "nothing kept"), "%s", text);
    free(text);
    cr_expect(!ag_tape_keep_gradients(t, true));
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, true));
    cr_assert(ag_grad(g, (AgVar){0}, 1, &x, &gg, false));
    text = text_of(ag_tape_explain);
    char *back = strstr(text, "backward");
    cr_expect(back && strstr(back, "= 1 (seed)") && strstr(back, "2"), "%s", text);
    free(text);
    cr_assert(ag_tape_release(t, m, 0, NULL));
    text = text_of(ag_tape_explain);
    cr_expect(strstr(text, "nothing kept"), "%s", text);
    free(text);
    cr_assert(ag_grad(y, (AgVar){0}, 1, &x, &g, false));
    ag_tape_reset(t);
    text = text_of(ag_tape_explain);
    cr_expect_str_eq(text, "forward\nbackward\n  nothing kept: ag_tape_keep_gradients comes before "
                           "the sweep\n");
    free(text);
    cr_expect(ag_tape_keep_gradients(t, false));
}

Test(explain, keeping_gradients_changes_no_result) {
    double plain[PARAMS];
    for (int keep = 0; keep < 2; keep++) {
        ag_tape_keep_gradients(t, keep);
        cr_assert(ag_backward(example()));
        if (!keep) memcpy(plain, grad, sizeof plain);
    }
    for (int k = 0; k < PARAMS; k++) cr_expect_float_eq(grad[k], plain[k], 1e-15);
}

Test(explain, names_end_with_a_release_of_their_mark) {
    AgVar x = ag_scalar(t, TENSOR_F64, 3), y = ag_square(x);
    ag_name(y, "first");
    AgTapeMark m = ag_tape_mark(t);
    ag_name(y, "second");
    ag_name(x, "late");
    char text[AG_STR_SIZE];
    cr_expect(strstr(ag_str(y, text, sizeof text), "second"), "%s", text);
    cr_assert(ag_tape_release(t, m, 0, NULL));
    cr_expect(strstr(ag_str(y, text, sizeof text), "first"), "%s", text);
    cr_expect(!strstr(ag_str(x, text, sizeof text), "late"), "%s", text);
    ag_name(x, NULL);
    cr_expect_str_eq(ag_tape_error(t), "name: no name");
}

/* ---- dot ---- */

static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what)) n++;
    return n;
}

/* Braces outside of quotes; -1: one closes too many. */
static int depth_of(const char *text) {
    int depth = 0;
    bool quoted = false;
    for (const char *c = text; *c; c++) {
        if (*c == '\\' && quoted && c[1]) c++;
        else if (*c == '"') quoted = !quoted;
        else if (!quoted) depth += (*c == '{') - (*c == '}');
        if (depth < 0) return -1;
    }
    return quoted ? -1 : depth;
}

Test(explain, dot_has_every_node_once_every_edge_and_balanced_clusters) {
    AgVar loss = example();
    char *text = text_of(ag_tape_write_dot), name[64];
    cr_expect_eq(depth_of(text), 0);
    int edges = 0;
    for (int64_t id = 1; id <= ag_tape_count(t); id++) {
        snprintf(name, sizeof name, "\nn%d [", (int)id);
        cr_expect_eq(count(text, name), 1, "%s", name);
    }
    edges = count(text, " -> ");
    /* a gate: 2 products, 2 sums, its function: 9; a step: 4 gates, c 6, tanh 1, h 2; the loss 2 */
    cr_expect_eq(edges, T * (4 * 9 + 9) + 2);
    cr_expect_eq(count(text, "label=\"f64[]\"];\n"), edges);
    cr_expect(strstr(text, "subgraph cluster_1 { label=\"lstm\";\nn1 ["), "%s", text);
    cr_expect_eq(count(text, "{ label=\"step 2\";"), 1);
    cr_expect_eq(count(text, "fillcolor=lightblue, label=\"w_i\""), 1);
    cr_expect_eq(count(text, "[shape=box, label=\"x3\\nfull\"]"), 1);
    cr_expect_eq(count(text, "peripheries=2"), 1);
    snprintf(name, sizeof name, "n%u [shape=ellipse, peripheries=2, label=\"loss\\nsquare\"]",
             loss.id);
    cr_expect(strstr(text, name));
    cr_expect(!strstr(text, "grad"));
    free(text);
}

Test(explain, dot_shows_norms_escapes_names_and_nests_scopes) {
    double w[2] = {3, 4}, dw[2] = {0};
    int64_t two = 2;
    AgLeaf leaf = {.name = "say \"w\\\" {\n", .value = tensor_wrap(w, TENSOR_F64, 1, &two),
                   .grad = tensor_wrap(dw, TENSOR_F64, 1, &two)};
    ag_tape_keep_gradients(t, true);
    AgVar p = ag_leaf(t, w, &leaf), y = p;
    ag_scope_push(t, "a\"b");
    for (int i = 0; i < 2; i++) {
        ag_scope_step(t, i);
        ag_scope_push(t, "in");
        y = ag_tanh(y);
        ag_scope_pop(t);
        y = ag_affine(y, 1, 0);
    }
    ag_scope_pop(t);
    y = ag_add(ag_sum(y, AG_ALL_AXES, false), ag_sum(ag_square(p), AG_ALL_AXES, false));
    cr_assert(ag_backward(y), "%s", ag_tape_error(t));
    char *text = text_of(ag_tape_write_dot), want[64];
    cr_expect_eq(depth_of(text), 0, "%s", text);
    cr_expect(strstr(text, "label=\"say \\\"w\\\\\\\" {?\\n|grad|"), "%s", text);
    cr_expect(strstr(text, "subgraph cluster_1 { label=\"a\\\"b\";\n"
                           "subgraph cluster_1_0 { label=\"step 0\";\n"
                           "subgraph cluster_2 { label=\"in\";\nn2 ["), "%s", text);
    cr_expect(strstr(text, "subgraph cluster_1_1 { label=\"step 1\";\n"
                           "subgraph cluster_3 {"), "%s", text);
    snprintf(want, sizeof want, "|grad| %.4g\"", hypot(dw[0], dw[1]));
    cr_expect(strstr(text, want), "no %s in %s", want, text);
    free(text);
}

Test(explain, a_scope_opened_inside_a_step_keeps_the_number_it_had) {
    ag_scope_push(t, "lm");
    ag_scope_step(t, 1);
    ag_scope_push(t, "cell");
    AgVar x = ag_scalar(t, TENSOR_F64, 1);
    ag_scope_pop(t);
    ag_scope_step(t, 2);
    char text[AG_STR_SIZE];
    cr_expect_eq(strncmp(ag_str(x, text, sizeof text), "lm step 1/cell: ", 16), 0, "%s", text);
}

Test(explain, names_of_any_bytes_stay_on_their_line_and_whole_characters) {
    char name[200], text[AG_STR_SIZE];
    for (int start = 0; start < 4; start++) {
        ag_tape_reset(t);
        AgVar x = ag_scalar(t, TENSOR_F64, 3), y = ag_square(x);
        size_t n = (size_t)start;
        memset(name, 'a', n);
        for (; n + 4 < sizeof name; n += 4) memcpy(name + n, "\xf0\x9f\x98\x80", 5);
        ag_name(x, "a\nb\x1b[31m");
        ag_name(y, name);
        ag_scope_push(t, "lm\n");
        ag_name(ag_exp(y), name); /* twice: with its number */
        ag_scope_pop(t);
        cr_expect(strstr(ag_str(x, text, sizeof text), "a?b?[31m"), "%s", text);
        bool (*writers[])(AgTape *, FILE *) = {ag_tape_explain, ag_tape_write_dot};
        for (int i = 0; i < 2; i++) {
            char *all = text_of(writers[i]);
            cr_expect(strstr(all, "a?b?[31m"), "%s", all);
            cr_expect_eq(count(all, "\x9f"), count(all, "\x80"), "a character is cut: %s", all);
            cr_expect(count(all, "\x9f") > 40);
            if (i == 0) cr_expect_eq(count(all, "\n"), 6, "%s", all);
            free(all);
        }
    }
}

Test(explain, a_stream_that_fails_is_reported_however_little_is_written) {
    ag_square(ag_scalar(t, TENSOR_F64, 3));
    bool (*writers[])(AgTape *, FILE *) = {ag_tape_explain, ag_tape_write_dot};
    for (int i = 0; i < 2; i++) {
        FILE *full = fopen("/dev/full", "w");
        if (!full) return;
        cr_expect(!writers[i](t, full));
        fclose(full);
        cr_expect(ag_tape_ok(t));
    }
}
