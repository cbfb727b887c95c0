/* docs/lstm.md: the lines of code it quotes stand where it says, and its numbers are those of
 * ag_lstm, and of finite differences. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/sequence.h"
#include "nn/convert.h"
#include "nn/lstm_trace.h"
#include "tests/support/read_text.h"

static AgTape *t;
static char *doc;

static void start(void) {
    t = ag_tape_new();
    doc = read_text("docs/lstm.md");
}
static void stop(void) {
    ag_tape_free(t);
    free(doc);
}
TestSuite(lstm_doc, .init = start, .fini = stop);

static void expect_shown(const char *text) {
    cr_expect(strstr(doc, text), "docs/lstm.md does not show:\n%s", text);
}

/* ---- the code ---- */

/* Where the body of function `name` begins and ends: from the brace after its name, in a line
 * that begins in the first column, to the first brace that stands there alone. */
static const char *find_function(const char *source, const char *name, const char **end) {
    size_t n = strlen(name);
    for (const char *at = strstr(source, name); at; at = strstr(at + n, name)) {
        const char *line = at, *open = at + strcspn(at, ";{");
        while (line > source && line[-1] != '\n') line--;
        bool whole = (at == line || strchr(" *(", at[-1])) && (at[n] == '(' || at[n] == ')');
        if (!whole || !isalpha((unsigned char)*line) || *open != '{') continue;
        *end = strstr(open, "\n}\n");
        return *end ? open : NULL;
    }
    return NULL;
}

/* The text from `from` to `to` as a string of at most n - 1 bytes. */
static void cut(char *buf, size_t n, const char *from, const char *to) {
    cr_assert(from && to && to >= from && (size_t)(to - from) < n);
    memcpy(buf, from, (size_t)(to - from));
    buf[to - from] = 0;
}

/* The line before a block names its function and its file: `NAME`, [..](../PATH): */
static void expect_quoted(const char *block) {
    char caption[256], name[64], path[128], code[2048];
    const char *end = block - strlen("\n\n```c\n"), *line = end, *body_end;
    while (line > doc && line[-1] != '\n') line--;
    cut(caption, sizeof caption, line, end);
    const char *tick = strchr(caption, '`'), *link = strstr(caption, "](../");
    cr_assert(tick == caption && link, "no function and file before a block: %s", caption);
    cut(name, sizeof name, tick + 1, strchr(tick + 1, '`'));
    cut(path, sizeof path, link + strlen("](../"), strchr(link, ')'));
    cut(code, sizeof code, block - 1, strstr(block, "```\n"));
    char *source = read_text(path);
    const char *body = find_function(source, name, &body_end);
    cr_expect(body, "%s has no function %s", path, name);
    const char *found = body ? strstr(body, code) : NULL;
    cr_expect(found && found < body_end, "not in %s of %s:%s", name, path, code);
    free(source);
}

Test(lstm_doc, every_block_of_code_stands_in_the_function_it_names) {
    int blocks = 0;
    for (const char *at = strstr(doc, "```c\n"); at; at = strstr(at, "```c\n")) {
        at += strlen("```c\n");
        expect_quoted(at);
        blocks++;
    }
    cr_expect_geq(blocks, 20);
}

Test(lstm_doc, every_result_of_a_backward_kernel_is_explained) {
    const char *const kernels[] = {"lstm_output_backward_vec",  "lstm_cell_backward_vec",
                                   "lstm_coupled_backward_vec", "gru_backward_vec",
                                   "rnn_tanh_backward_vec",     "mix_backward_vec"};
    char *source = read_text("tensor/kernels.inc"), line[128];
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        const char *end, *at = find_function(source, kernels[k], &end);
        cr_assert(at, "%s", kernels[k]);
        int results = 0;
        for (at = strstr(at, "\n    v["); at && at < end; at = strstr(at + 1, "\n    v[")) {
            cut(line, sizeof line, at, strchr(at, ';') + 1);
            expect_shown(line);
            results++;
        }
        cr_expect_gt(results, 0, "%s", kernels[k]);
    }
    free(source);
}

#define FUNCTION(f) {"`" #f "`", (void (*)(void))(f)}
static const struct {
    const char *name;
    void (*f)(void);
} functions[] = {
    FUNCTION(ag_lstm),            FUNCTION(ag_lstm_composed),  FUNCTION(ag_gru),
    FUNCTION(ag_rnn),             FUNCTION(ag_tape_no_grad),   FUNCTION(nn_lstm),
    FUNCTION(nn_lstm_cell),       FUNCTION(nn_lstm_make),      FUNCTION(nn_lstm_trace),
    FUNCTION(nn_lstm_from_keras), FUNCTION(nn_lstm_to_keras),  FUNCTION(nn_lstm_from_onnx),
    FUNCTION(nn_lstm_to_onnx),    FUNCTION(nn_gru_from_keras), FUNCTION(nn_rnn_from_keras),
};

/* Names before " in [" are those of quoted functions, which are looked up above. */
Test(lstm_doc, every_public_function_it_names_is_there) {
    char name[64];
    int names = 0;
    for (const char *at = strchr(doc, '`'); at; at = strchr(at + 1, '`')) {
        if (strncmp(at, "`ag_", 4) != 0 && strncmp(at, "`nn_", 4) != 0) continue;
        const char *end = strchr(at + 1, '`');
        if (strncmp(end, "` in [", 6) == 0) continue;
        cut(name, sizeof name, at, end + 1);
        bool known = false;
        for (size_t k = 0; k < sizeof functions / sizeof *functions; k++)
            known |= functions[k].f && strcmp(functions[k].name, name) == 0;
        cr_expect(known, "docs/lstm.md names %s", name);
        names++;
    }
    cr_expect_geq(names, 20);
}

/* ---- the worked step ---- */

enum { STEPS = 2, GATES = 4 };

/* What a step computes, in this order. */
enum { A_I, A_F, A_G, A_O, I, F, G, O, C, H, QUANTITIES };

/* What comes from outside: weights, and x_1 and x_2. */
enum { W, U = W + GATES, BIAS = U + GATES, X = BIAS + GATES, H0 = X + STEPS, C0, INPUTS };

static const double inputs[INPUTS] = {.5, -.3, .8, .4,  .2, .6, -.7, .3,
                                      .1, 1,   0,  -.2, 1,  -.5, .1, -.3};
static const double target[STEPS + 1] = {0, .5, -.2};

/* Values or gradients; v[0] holds h_0 and c_0. */
typedef struct {
    double in[INPUTS], v[STEPS + 1][QUANTITIES], loss;
} Run;

static double s(double x) { return 1 / (1 + exp(-x)); }

/* The forward pass, with `by` added to *nudged, a member of r, where it is computed. */
static void forward(Run *r, const double *nudged, double by) {
#define SET(variable, value) ((variable) = (value) + (&(variable) == nudged ? by : 0))
    for (int k = 0; k < INPUTS; k++) SET(r->in[k], inputs[k]);
    r->v[0][H] = r->in[H0];
    r->v[0][C] = r->in[C0];
    r->loss = 0;
    for (int n = 1; n <= STEPS; n++) {
        double *v = r->v[n], *before = r->v[n - 1];
        for (int k = 0; k < GATES; k++)
            SET(v[A_I + k], r->in[W + k] * r->in[X + n - 1] + r->in[U + k] * before[H] +
                                r->in[BIAS + k]);
        for (int k = 0; k < GATES; k++)
            SET(v[I + k], k == G - I ? tanh(v[A_I + k]) : s(v[A_I + k]));
        SET(v[C], v[F] * before[C] + v[I] * v[G]);
        SET(v[H], v[O] * tanh(v[C]));
        r->loss += (v[H] - target[n]) * (v[H] - target[n]) / 2;
    }
#undef SET
}

/* d(*result)/d(*q) by a central difference, both members of r. */
static double difference(const Run *r, const double *result, const double *q) {
    const double by = 1e-5;
    size_t at = (size_t)((const char *)q - (const char *)r);
    size_t to = (size_t)((const char *)result - (const char *)r);
    double y[2];
    for (int k = 0; k < 2; k++) {
        Run copy;
        forward(&copy, (double *)((char *)&copy + at), k ? -by : by);
        y[k] = *(double *)((char *)&copy + to);
    }
    return (y[0] - y[1]) / (2 * by);
}

static AgVar tensor(const double *values, int ndim, const int64_t *shape) {
    double copy[STEPS * GATES];
    Tensor x = tensor_wrap(copy, TENSOR_F64, ndim, shape);
    for (int64_t k = 0; k < tensor_numel(&x); k++) copy[k] = values[k];
    return ag_input(t, &x);
}

enum { PARTS = 6 };
typedef struct {
    AgVar part[PARTS]; /* W_ih, W_hh, bias_ih, x, h0, c0: the inputs in their order */
    AgLstmWeights w;
} Call;

static Call make_call(void) {
    static const double zeros[GATES];
    const int64_t column[] = {GATES, 1}, x_shape[] = {STEPS, 1, 1}, state[] = {1, 1};
    Call c = {.part = {tensor(inputs + W, 2, column), tensor(inputs + U, 2, column),
                       tensor(inputs + BIAS, 1, column), tensor(inputs + X, 3, x_shape),
                       tensor(inputs + H0, 2, state), tensor(inputs + C0, 2, state)}};
    c.w = (AgLstmWeights){.weight_ih = c.part[0], .weight_hh = c.part[1], .bias_ih = c.part[2],
                          .bias_hh = tensor(zeros, 1, column)};
    return c;
}

static AgVar loss_of(AgVar y) {
    const int64_t shape[] = {STEPS, 1, 1};
    AgVar error = ag_sub(y, tensor(target + 1, 3, shape));
    return ag_affine(ag_sum(ag_square(error), AG_ALL_AXES, false), .5, 0);
}

/* The values of n variables, one behind the other. */
static void read_values(int n, const AgVar *v, double *to) {
    for (int i = 0; i < n; i++)
        for (int64_t k = 0; k < ag_numel(v[i]); k++) *to++ = tensor_get(ag_value(v[i]), k);
}

/* d[0] and d[1]: gradients from ag_lstm (of what comes from outside) and ag_lstm_composed (of
 * all); v: the values of the latter. */
static void run_library(Run *v, Run d[2]) {
    Call c = make_call();
    AgVar of[PARTS + STEPS * 7], g[PARTS + STEPS * 7];
    AgLstmStep steps[STEPS];
    AgVar fast = loss_of(ag_lstm(c.part[3], c.part[4], c.part[5], &c.w, NULL).y);
    cr_assert(ag_grad(fast, (AgVar){0}, PARTS, c.part, g, false), "%s", ag_tape_error(t));
    read_values(PARTS, g, d[0].in);
    AgVar loss =
        loss_of(ag_lstm_composed(c.part[3], c.part[4], c.part[5], &c.w, NULL, steps).y);
    memcpy(of, c.part, sizeof c.part);
    for (int n = 0; n < STEPS; n++) {
        AgVar step[] = {steps[n].a, steps[n].i, steps[n].f, steps[n].g,
                        steps[n].o, steps[n].c, steps[n].h};
        memcpy(of + PARTS + 7 * n, step, sizeof step);
        read_values(7, step, v->v[n + 1]);
    }
    cr_assert(ag_grad(loss, (AgVar){0}, PARTS + STEPS * 7, of, g, false), "%s", ag_tape_error(t));
    read_values(PARTS, g, d[1].in);
    for (int n = 0; n < STEPS; n++) read_values(7, g + PARTS + 7 * n, d[1].v[n + 1]);
    v->loss = ag_item(loss);
    cr_expect_float_eq(ag_item(fast), v->loss, 1e-15);
}

Test(lstm_doc, the_example_is_what_ag_lstm_and_differences_say) {
    Run r, v, d[2];
    forward(&r, NULL, 0);
    run_library(&v, d);
    cr_expect_float_eq(v.loss, r.loss, 1e-15);
    for (int n = 1; n <= STEPS; n++)
        for (int k = 0; k < QUANTITIES; k++) {
            double want = difference(&r, &r.loss, &r.v[n][k]);
            cr_expect_float_eq(v.v[n][k], r.v[n][k], 1e-15, "step %d, %d", n, k);
            cr_expect_float_eq(d[1].v[n][k], want, 1e-10, "step %d, %d: %g, %g", n, k,
                               d[1].v[n][k], want);
        }
    for (int k = 0; k < INPUTS; k++) {
        double want = difference(&r, &r.loss, &r.in[k]);
        cr_expect_float_eq(d[0].in[k], want, 1e-10, "input %d: %g, %g", k, d[0].in[k], want);
        cr_expect_float_eq(d[0].in[k], d[1].in[k], 1e-15, "input %d", k);
    }
}

/* "symbols = numbers = value", where value is what the library has and what the numbers give. */
__attribute__((format(printf, 5, 6))) static void line(FILE *f, const char *symbols, double value,
                                                       double formula, const char *numbers, ...) {
    char text[160];
    va_list ap;
    va_start(ap, numbers);
    vsnprintf(text, sizeof text, numbers, ap);
    va_end(ap);
    cr_expect_float_eq(value, formula, 1e-15, "%s: %g, %g", symbols, value, formula);
    fprintf(f, "%-40s = %-54s = %9.6f\n", symbols, text, value);
}

/* A number as it stands in a line; good for that line's call. */
static const char *num(double x) {
    static char text[16][24];
    static int last;
    char *to = text[last = (last + 1) % 16];
    bool given = fabs(x * 10 - round(x * 10)) < 1e-12;
    snprintf(to, sizeof text[0], given ? (x < 0 ? "(%g)" : "%g") : x < 0 ? "(%.6f)" : "%.6f", x);
    return to;
}

/* Symbols with the step's number for @, the one before for <, the one after for >, and the
 * gate's name for %. */
static const char *at_step(const char *symbols, int n, char gate) {
    static char text[80];
    size_t used = 0;
    for (const char *c = symbols; *c && used < sizeof text - 1; c++) {
        bool number = *c == '@' || *c == '<' || *c == '>';
        char as_is = *c == '%' ? gate : *c;
        text[used++] = (char)(number ? '0' + n + (*c == '>') - (*c == '<') : as_is);
    }
    text[used] = 0;
    return text;
}

static const char gate_name[] = "ifgo";

static void print_forward(FILE *f, const Run *r, int n) {
    const double *v = r->v[n], *before = r->v[n - 1], *in = inputs;
    double x = in[X + n - 1], th = tanh(v[C]);
    for (int k = 0; k < GATES; k++)
        line(f, at_step("a_% = w_% x_@ + u_% h_< + b_%", n, gate_name[k]), v[A_I + k],
             in[W + k] * x + in[U + k] * before[H] + in[BIAS + k], "%s * %s + %s * %s + %s",
             num(in[W + k]), num(x), num(in[U + k]), num(before[H]), num(in[BIAS + k]));
    for (int k = 0; k < GATES; k++) {
        bool g = k == G - I;
        line(f, at_step(g ? "%_@ = tanh(a_%)" : "%_@ = s(a_%)", n, gate_name[k]), v[I + k],
             g ? tanh(v[A_I + k]) : s(v[A_I + k]), "%s(%.6f)", g ? "tanh" : "s", v[A_I + k]);
    }
    line(f, at_step("c_@ = f_@ c_< + i_@ g_@", n, 0), v[C], v[F] * before[C] + v[I] * v[G],
         "%s * %s + %s * %s", num(v[F]), num(before[C]), num(v[I]), num(v[G]));
    line(f, at_step("th_@ = tanh(c_@)", n, 0), th, th, "tanh(%.6f)", v[C]);
    line(f, at_step("h_@ = o_@ th_@", n, 0), v[H], v[O] * th, "%s * %s", num(v[O]), num(th));
}

/* dh and dc of a step, with what comes from the step after it. */
static void print_carried(FILE *f, const Run *r, const Run *d, int n) {
    const double *v = r->v[n], *dv = d->v[n], *u = inputs + U;
    double dy = v[H] - target[n], th = tanh(v[C]), own = dv[H] * v[O] * (1 - th * th);
    if (n == STEPS) {
        line(f, at_step("dh_@ = dy_@", n, 0), dv[H], dy, "%s - %s", num(v[H]), num(target[n]));
        line(f, at_step("dc_@ = dh_@ o_@ (1 - th_@^2)", n, 0), dv[C], own, "%s * %s * (1 - %s^2)",
             num(dv[H]), num(v[O]), num(th));
        return;
    }
    const double *after = d->v[n + 1];
    double through_h = 0, through_c = after[C] * r->v[n + 1][F];
    for (int k = 0; k < GATES; k++) through_h += u[k] * after[A_I + k];
    line(f, at_step("da_> . u", n, 0), through_h, through_h, "%s * %s + %s * %s + ..",
         num(after[A_I]), num(u[0]), num(after[A_F]), num(u[1]));
    line(f, at_step("dh_@ = dy_@ + da_> . u", n, 0), dv[H], dy + through_h, "%s - %s + %s",
         num(v[H]), num(target[n]), num(through_h));
    line(f, at_step("dc_> f_>", n, 0), through_c, through_c, "%s * %s", num(after[C]),
         num(r->v[n + 1][F]));
    line(f, at_step("dc_@ = dh_@ o_@ (1 - th_@^2) + dc_> f_>", n, 0), dv[C], own + through_c,
         "%s * %s * (1 - %s^2) + %s", num(dv[H]), num(v[O]), num(th), num(through_c));
}

static void print_backward(FILE *f, const Run *r, const Run *d, int n) {
    const double *v = r->v[n], *dv = d->v[n];
    double c = r->v[n - 1][C], th = tanh(v[C]);
    print_carried(f, r, d, n);
    line(f, at_step("do_@ = dh_@ th_@", n, 0), dv[O], dv[H] * th, "%s * %s", num(dv[H]), num(th));
    line(f, at_step("di_@ = dc_@ g_@", n, 0), dv[I], dv[C] * v[G], "%s * %s", num(dv[C]),
         num(v[G]));
    line(f, at_step("df_@ = dc_@ c_<", n, 0), dv[F], dv[C] * c, "%s * %s", num(dv[C]), num(c));
    line(f, at_step("dg_@ = dc_@ i_@", n, 0), dv[G], dv[C] * v[I], "%s * %s", num(dv[C]),
         num(v[I]));
    for (int k = 0; k < GATES; k++) {
        double dq = dv[I + k], q = v[I + k];
        if (k == G - I)
            line(f, at_step("da_g = dg_@ (1 - g_@^2)", n, 0), dv[A_G], dq * (1 - q * q),
                 "%s * (1 - %s^2)", num(dq), num(q));
        else
            line(f, at_step("da_% = d%_@ %_@ (1 - %_@)", n, gate_name[k]), dv[A_I + k],
                 dq * (q * (1 - q)), "%s * %s * (1 - %s)", num(dq), num(q), num(q));
    }
}

/* One row of the sums over the steps, in full. */
static void print_sums(FILE *f, const Run *r, const Run *d) {
    double da[] = {d->v[1][A_I], d->v[2][A_I]}, h[] = {inputs[H0], r->v[1][H]};
    const double *x = inputs + X;
    line(f, "dw_i = da_i1 x_1 + da_i2 x_2", d->in[W], da[0] * x[0] + da[1] * x[1],
         "%s * %s + %s * %s", num(da[0]), num(x[0]), num(da[1]), num(x[1]));
    line(f, "du_i = da_i1 h_0 + da_i2 h_1", d->in[U], da[0] * h[0] + da[1] * h[1],
         "%s * %s + %s * %s", num(da[0]), num(h[0]), num(da[1]), num(h[1]));
    line(f, "db_i = da_i1 + da_i2", d->in[BIAS], da[0] + da[1], "%s + %s", num(da[0]), num(da[1]));
    for (int n = 1; n <= STEPS; n++) {
        double dx = 0;
        for (int k = 0; k < GATES; k++) dx += d->v[n][A_I + k] * inputs[W + k];
        line(f, at_step("dx_@ = da_@ . w", n, 0), d->in[X + n - 1], dx, "%s * %s + ..",
             num(da[n - 1]), num(inputs[W]));
    }
    double dh = 0;
    for (int k = 0; k < GATES; k++) dh += d->v[1][A_I + k] * inputs[U + k];
    line(f, "dh_0 = da_1 . u", d->in[H0], dh, "%s * %s + ..", num(da[0]), num(inputs[U]));
    line(f, "dc_0 = dc_1 f_1", d->in[C0], d->v[1][C] * r->v[1][F], "%s * %s", num(d->v[1][C]),
         num(r->v[1][F]));
    fprintf(f, "\n          i          f          g          o\n");
    const char *const name[] = {"dw", "du", "db"};
    for (int p = 0; p < 3; p++) {
        fprintf(f, "%s", name[p]);
        for (int k = 0; k < GATES; k++) fprintf(f, "  %9.6f", d->in[W + GATES * p + k]);
        fprintf(f, "\n");
    }
}

/* Compares a block of the page with what is printed to *f between begin and expect_printed. */
typedef struct {
    char *text;
    size_t size;
    FILE *f;
} Printed;

static void begin(Printed *p) {
    p->f = open_memstream(&p->text, &p->size);
    cr_assert(p->f);
}
static void expect_printed(Printed *p) {
    cr_assert_eq(fclose(p->f), 0);
    expect_shown(p->text);
    free(p->text);
}

static void print_inputs(FILE *f) {
    const char *const name[] = {"w", "u", "b"};
    char beside[3][80];
    snprintf(beside[0], sizeof beside[0], "x_1 = %g     x_2 = %g", inputs[X], inputs[X + 1]);
    snprintf(beside[1], sizeof beside[1], "h_0 = %g   c_0 = %g", inputs[H0], inputs[C0]);
    snprintf(beside[2], sizeof beside[2], "targets %g and %g", target[1], target[2]);
    for (int p = 0; p < 3; p++) {
        const double *row = inputs + GATES * p;
        fprintf(f, "%-6s %4g  %4g  %4g  %4g         %s\n", name[p], row[0], row[1], row[2],
                row[3], beside[p]);
    }
}

Test(lstm_doc, the_example_shows_its_numbers) {
    Run r, v, d[2];
    Printed p;
    forward(&r, NULL, 0);
    run_library(&v, d);
    begin(&p);
    print_inputs(p.f);
    expect_printed(&p);
    begin(&p);
    for (int n = 1; n <= STEPS; n++) print_forward(p.f, &r, n), fprintf(p.f, "\n");
    fprintf(p.f, "L = 1/2 (h_1 - 0.5)^2 + 1/2 (h_2 + 0.2)^2 = %.6f\n", v.loss);
    expect_printed(&p);
    begin(&p);
    for (int n = STEPS; n >= 1; n--) print_backward(p.f, &r, &d[1], n), fprintf(p.f, "\n");
    print_sums(p.f, &r, &d[1]);
    expect_printed(&p);
}

/* How c_2 depends on c_1: through f_2, and through h_1 and the gates. */
Test(lstm_doc, the_two_ways_from_cell_to_cell_are_those_shown) {
    Run r;
    Printed p;
    forward(&r, NULL, 0);
    const double *v = r.v[2], *u = inputs + U;
    double th = tanh(r.v[1][C]), c = r.v[1][C], dh_dc = r.v[1][O] * (1 - th * th);
    double gates = dh_dc * (c * v[F] * (1 - v[F]) * u[1] + v[G] * v[I] * (1 - v[I]) * u[0] +
                            v[I] * (1 - v[G] * v[G]) * u[2]);
    double whole = difference(&r, &r.v[2][C], &r.v[1][C]);
    cr_expect_float_eq(v[F] + gates, whole, 1e-10, "%g, %g", v[F] + gates, whole);
    begin(&p);
    fprintf(p.f, "dc_2/dc_1 = %.6f - %.6f = %.6f", v[F], -gates, v[F] + gates);
    expect_printed(&p);
    begin(&p);
    fprintf(p.f, "f is about s(1) = %.2f, and twenty steps leave %.3f", s(1), pow(s(1), 20));
    expect_printed(&p);
    cr_expect_float_eq(pow(s(0), 20), 1e-6, 1e-7);
    cr_expect_float_eq(pow(s(1) / s(0), 20), 2000, 50);
}

/* ---- the cost ---- */

/* Bytes of a call of T steps of B sequences with I = H. */
static size_t bytes_of(int64_t T, int64_t B, int64_t size) {
    ag_tape_reset(t);
    const int64_t x_shape[] = {T, B, size}, w_shape[] = {4 * size, size};
    AgVar x = ag_full(t, TENSOR_F32, 3, x_shape, .1), w = ag_full(t, TENSOR_F32, 2, w_shape, .1);
    AgLstmWeights weights = {.weight_ih = w, .weight_hh = w};
    size_t before = ag_tape_bytes(t);
    cr_assert(ag_ok(ag_lstm(x, (AgVar){0}, (AgVar){0}, &weights, NULL).y), "%s", ag_tape_error(t));
    return ag_tape_bytes(t) - before;
}

Test(lstm_doc, the_memory_of_a_step_is_what_it_says) {
    const int64_t B = 16, size = 64;
    double floats = (double)(bytes_of(40, B, size) - bytes_of(20, B, size)) / (20. * 4);
    /* 6H saved and H of y for each row, and a few numbers a step. */
    double rows = floats / (double)(B * size);
    cr_expect_float_eq(rows, 7, .02, "%g", rows);
    expect_shown("4H + 2H");
    ag_tape_no_grad(t, true);
    floats = (double)(bytes_of(40, B, size) - bytes_of(20, B, size)) / (20. * 4);
    rows = floats / (double)(B * size);
    cr_expect_float_eq(rows, 1, .02, "without gradients %g", rows);
}

Test(lstm_doc, the_cost_of_the_example_is_what_it_says) {
    const double T = 50, B = 64, size = 512, ops = 2 * T * B * 4 * size * (size + size);
    Printed p;
    begin(&p);
    fprintf(p.f, "%.1f GFLOP forward, %.1f GFLOP backward, %.1f MB saved", ops / 1e9, 2 * ops / 1e9,
            6 * size * T * B * 4 / 1e6);
    expect_printed(&p);
}
