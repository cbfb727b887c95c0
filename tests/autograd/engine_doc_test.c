/* docs/engine.md: its code is the code of this file, and what it shows is what that prints. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/inspect.h"
#include "tests/support/read_text.h"

static AgTape *t;
static char *doc, *source;

static void start(void) {
    t = ag_tape_new();
    doc = read_text("docs/engine.md");
    source = read_text("tests/autograd/engine_doc_test.c");
}
static void stop(void) {
    ag_tape_free(t);
    free(doc);
    free(source);
}
TestSuite(engine_doc, .init = start, .fini = stop);

static AgVar scalar(double x) { return ag_scalar(t, TENSOR_F64, x); }

static double wv = .2, wg;
static AgVar weight(void) {
    AgLeaf leaf = {.name = "w", .value = tensor_wrap(&wv, TENSOR_F64, 0, NULL),
                   .grad = tensor_wrap(&wg, TENSOR_F64, 0, NULL)};
    return ag_leaf(t, &wv, &leaf);
}

static void expect_shown(const char *text) {
    cr_expect(strstr(doc, text), "docs/engine.md does not show:\n%s", text);
}

/* ---- the code ---- */

static AgVar two_steps(void) {
    AgVar w = weight(), x0 = scalar(.9);
    ag_name(x0, "x0");
    AgVar x1 = ag_mul(w, x0);
    ag_name(x1, "x1");
    AgVar x2 = ag_mul(w, x1);
    ag_name(x2, "x2");
    return x2;
}

static void print_explained(FILE *out) {
    ag_tape_keep_gradients(t, true);
    AgVar x2 = two_steps();
    if (!ag_backward(x2)) fprintf(out, "%s\n", ag_tape_error(t));
    ag_tape_explain(t, out);
}

static double watched_gradient(void) {
    AgVar h = ag_tanh(weight()), loss = ag_square(h);
    ag_watch(h, "h");
    ag_backward(loss);
    Tensor dh = ag_watched(t, "h");
    return tensor_get(&dh, 0);
}

static double share_of_second_use(void) {
    AgVar w = weight(), use[2] = {ag_alias(w), ag_alias(w)}, share[2];
    AgVar x2 = ag_mul(use[1], ag_mul(use[0], scalar(.9)));
    ag_grad(x2, (AgVar){0}, 2, use, share, false);
    return ag_item(share[1]);
}

static bool draw(const char *path) {
    FILE *f = fopen(path, "w");
    bool ok = f && ag_tape_write_dot(t, f);
    return f && fclose(f) == 0 && ok;
}

static AgVar clip(AgVar g, void *limit) {
    AgVar top = ag_scalar(g.tape, ag_dtype(g), *(double *)limit);
    return ag_maximum(ag_minimum(g, top), ag_neg(top));
}

static double clipped(void) {
    double limit = .1;
    AgVar h = ag_affine(weight(), 5, 0), loss = ag_square(h);
    ag_hook(h, clip, &limit);
    ag_backward(loss);
    return wg;
}

static void block(AgTape *tape, void *context, int n, const AgVar *in, int n_out, AgVar *out) {
    (void)tape, (void)context, (void)n, (void)n_out;
    AgVar h = in[0];
    for (int i = 0; i < 100; i++) h = ag_tanh(ag_mul(weight(), h));
    out[0] = h;
}

static AgVar long_chain(AgVar h) {
    for (int s = 0; s < 10; s++) ag_checkpoint(block, NULL, 1, &h, 1, &h);
    return h;
}

static void log_warning(const char *message, void *file) { fprintf(file, "%s\n", message); }

static void carry_without_cut(FILE *log) {
    ag_tape_on_warning(t, log_warning, log);
    AgVar h = scalar(.9);
    for (int window = 0; window < 5; window++) {
        ag_scope_push(t, "lm");
        h = ag_tanh(ag_mul(weight(), h));
        ag_name(h, "h");
        ag_scope_pop(t);
        ag_backward(ag_square(h));
    }
}

static float matrix_value[64 * 64], matrix_grad[64 * 64];
static AgVar matrix(void) {
    int64_t shape[] = {64, 64};
    AgLeaf leaf = {.name = "m", .value = tensor_wrap(matrix_value, TENSOR_F32, 2, shape),
                   .grad = tensor_wrap(matrix_grad, TENSOR_F32, 2, shape)};
    return ag_leaf(t, matrix_value, &leaf);
}

static void train_step(void) {
    ag_tape_reset(t);
    ag_scope_push(t, "rnn");
    AgVar h = ag_full(t, TENSOR_F32, 2, (int64_t[]){32, 64}, .5);
    for (int step = 0; step < 20; step++) {
        ag_scope_step(t, step);
        h = ag_tanh(ag_matmul(h, matrix()));
    }
    ag_scope_pop(t);
    ag_backward(ag_mean(ag_square(h), AG_ALL_AXES, false));
}

static void print_profile(FILE *out) {
    ag_tape_set_profile(t, true);
    for (int i = 0; i < 10; i++) train_step();
    ag_tape_profile(t, out);
}

/* ---- the checks ---- */

/* The text of a block in the source: the same lines, whatever their indent. */
static void expect_in_source(const char *from, const char *to) {
    char want[4096] = "\n";
    size_t used = 1;
    cr_assert_lt((size_t)(to - from), sizeof want - 2);
    for (const char *c = from; c < to; c++) want[used++] = *c;
    want[used] = 0;
    cr_expect(strstr(source, want), "in docs/engine.md, but not in the test:%s", want);
}

Test(engine_doc, every_block_of_code_is_code_of_this_test) {
    int blocks = 0;
    for (char *at = strstr(doc, "```c\n"); at; at = strstr(at, "```c\n")) {
        char *end = strstr(at + 5, "```");
        cr_assert(end);
        expect_in_source(at + 5, end);
        at = end + 3;
        blocks++;
    }
    cr_expect_geq(blocks, 8);
}

Test(engine_doc, what_explain_prints_is_shown) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    cr_assert(f);
    print_explained(f);
    fclose(f);
    expect_shown(text);
    free(text);
}

Test(engine_doc, what_the_tracer_says_is_shown) {
    ag_tape_trace_nan(t, true);
    ag_scope_push(t, "norm");
    ag_backward(ag_sqrt(ag_affine(weight(), 1, -.2)));
    expect_shown(ag_tape_error(t));
}

Test(engine_doc, what_the_warning_says_is_shown) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    cr_assert(f);
    carry_without_cut(f);
    fclose(f);
    cr_expect_gt(n, 0);
    expect_shown(text);
    free(text);
}

/* One space for several, # for each number with a point. */
static void mask(char *text) {
    char *to = text;
    for (char *c = text; *c;) {
        size_t digits = strspn(c, "0123456789.");
        if (digits && memchr(c, '.', digits)) {
            *to++ = '#';
            c += digits;
        } else if (digits) {
            memmove(to, c, digits);
            to += digits;
            c += digits;
        } else {
            if (*c != ' ' || c[1] != ' ') *to++ = *c;
            c++;
        }
    }
    *to = 0;
}

/* Each line of one text stands in the other. */
static void expect_lines_in(const char *lines, const char *text) {
    int n = 0;
    for (const char *end; (end = strchr(lines, '\n')); lines = end + 1, n++) {
        char line[256];
        cr_assert_lt((size_t)(end - lines), sizeof line - 2);
        snprintf(line, sizeof line, "\n%.*s\n", (int)(end - lines), lines);
        cr_expect(strstr(text, line), "no line%s in%s", line, text);
    }
    cr_expect_gt(n, 10);
}

/* Times differ from run to run, and with them the order of the lines; calls do not. */
Test(engine_doc, what_the_profile_prints_is_shown_but_for_the_times) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    cr_assert(f);
    fputc('\n', f);
    print_profile(f);
    fclose(f);
    char *shown = strstr(doc, "\nbackward passes: "), *end = shown ? strstr(shown, "```") : NULL;
    cr_assert(end);
    *end = 0;
    mask(text);
    mask(shown);
    expect_lines_in(text + 1, shown);
    expect_lines_in(shown + 1, text);
    free(text);
}

Test(engine_doc, the_functions_do_what_it_says) {
    double dh = watched_gradient();
    cr_expect_float_eq(dh, 2 * .197375320224904, 1e-12, "%.17g %s", dh, ag_tape_error(t));
    ag_tape_reset(t);
    double share = share_of_second_use();
    cr_expect_float_eq(share, .18, 1e-15);
    ag_tape_reset(t);
    two_steps();
    char path[] = "/tmp/engine_doc_XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_expect(draw(path));
    char *dot = read_text(path);
    cr_expect(strstr(dot, "digraph tape"));
    free(dot);
    remove(path);
    ag_tape_reset(t);
    wg = 0;
    double dw = clipped();
    cr_expect_float_eq(dw, .1 * 5, 1e-15, "%.17g %s", dw, ag_tape_error(t));
    ag_tape_reset(t);
    AgVar h = scalar(1), y = long_chain(h), g;
    cr_expect_lt(ag_tape_count(t), 40);
    cr_expect(ag_grad(y, (AgVar){0}, 1, &h, &g, false), "%s", ag_tape_error(t));
}
