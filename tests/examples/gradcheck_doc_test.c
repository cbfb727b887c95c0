/* docs/gradcheck.md: its code is that of this file and of examples/gradcheck, and what it shows is
 * what they print. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gradcheck/opcheck.h"
#include "examples/gradcheck/broken_cases.h"
#include "examples/gradcheck/cases.h"
#include "examples/gradcheck/swiglu.h"
#include "nn/lstm.h"
#include "tests/support/read_text.h"

/* ---- the page's own programs ---- */

static bool cube_shape(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }
static bool cube_value(AgCall *c) {
    for (int64_t i = 0; i < tensor_numel(c->in[0]); i++)
        tensor_set(&c->out[0], i, pow(tensor_get(c->in[0], i), 3));
    return true;
}
static bool cube_vjp(AgVjp *v) {
    v->gin[0] = ag_mul(v->gout[0], ag_affine(ag_square(v->in[0]), 3, 0));
    return true;
}
static const AgSample cube_samples[] = {
    {"matrix", 1, {{.ndim = 2, .shape = {3, 4}}}, NULL, 0, NULL}, {0}};
static const AgSample cube_errors[] = {
    {"integers", 1, {{.ndim = 1, .shape = {2}, .dtype = "i64"}}, NULL, 0, "wants f32 or f64"}, {0}};
static const AgOp cube = {.name = "cube", .doc = "x^3", .signature = "f:f", .shape = cube_shape,
                          .value = cube_value, .vjp = cube_vjp, .samples = cube_samples,
                          .errors = cube_errors};

static bool check_cube(void) {
    OpcheckReport cube_report;
    if (!opcheck(&cube, NULL, &cube_report)) return puts(cube_report.message), false;
    return true;
}

static bool check_my_op(FILE *out) {
    OpcheckReport report;
    bool ok = opcheck(&swiglu_op, NULL, &report);
    fprintf(out, "%s\n", report.message[0] ? report.message : report.result.message);
    return ok;
}

static bool forward(void *context) { /* y = x^2 / 2 + w x */
    GradArg *x = context, *w = x + 1, *y = x + 2;
    const double *xv = x->value, *wv = w->value;
    for (int i = 0; i < 4; i++) ((double *)y->value)[i] = xv[i] * xv[i] / 2 + wv[i] * xv[i];
    return true;
}

static bool backward(void *context) { /* dx = (x + w) dy, dw = x dy */
    GradArg *x = context, *w = x + 1, *y = x + 2;
    const double *xv = x->value, *wv = w->value, *dy = y->grad;
    for (int i = 0; i < 4; i++) {
        ((double *)x->grad)[i] = (xv[i] + wv[i]) * dy[i];
        ((double *)w->grad)[i] = xv[i] * dy[i];
    }
    return true;
}

static bool check_my_kernel(FILE *out) {
    double x[4] = {.1, .4, -.7, 1}, w[4] = {2, -.3, .6, -1.1};
    GradArg a[3] = {{.name = "x", .ndim = 1, .shape = (int64_t[]){4}, .value = x},
                    {.name = "w", .ndim = 1, .shape = (int64_t[]){4}, .value = w},
                    {.name = "y", .ndim = 1, .shape = (int64_t[]){4}}};
    GradcheckResult r;
    bool ok = gradcheck_plain(forward, backward, a, 2, a, 1, a + 2, NULL, &r);
    fprintf(out, "%s\n", r.message);
    return ok;
}

static int attention(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    AgVar weight = ag_softmax(ag_matmul(x[0], ag_transpose(x[1], 0, 1)), -1);
    y[0] = ag_matmul(weight, x[1]);
    return 1; /* how many results there are */
}

static bool check_my_function(FILE *out) {
    double query[6] = {.3, -.7, 1.1, .4, -.2, .9}, key[6] = {.5, .8, -1.2, .1, -.6, .7};
    Tensor in[2] = {tensor_wrap(query, TENSOR_F64, 2, (int64_t[]){2, 3}),
                    tensor_wrap(key, TENSOR_F64, 2, (int64_t[]){2, 3})};
    GradcheckResult first, second;
    bool ok = gradcheck(attention, NULL, 2, in, NULL, &first);
    ok &= gradgradcheck(attention, NULL, 2, in, NULL, &second);
    fprintf(out, "%s\n%s\n", first.message, second.message);
    return ok;
}

typedef struct {
    NnParamSet *set;
    NnLstm lstm;
} Encoder;

/* The model as a function of its parameters and, after them, of x. */
static int encode(AgTape *t, const AgVar *in, AgVar *y, void *context) {
    const Encoder *m = context;
    int n = nn_params_count(m->set);
    for (int i = 0; i < n; i++) nn_param_bind(t, nn_params_at(m->set, i), in[i]);
    y[0] = nn_lstm(&m->lstm, in[n], NULL, (int64_t[]){3, 1}).y;
    return 1;
}

static bool check_my_model(FILE *out) {
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    Encoder m = {set, nn_lstm_make(set, "lstm", 1, 2, &(NnLstmOptions){.bidirectional = true})};
    double x[6] = {.3, -.7, 1.1, .4, -.2, .9};
    Tensor in[9]; /* 4 parameters for each direction, and x */
    for (int i = 0; i < 8; i++) in[i] = nn_params_at(set, i)->value;
    in[8] = tensor_wrap(x, TENSOR_F64, 3, (int64_t[]){3, 2, 1});
    GradcheckResult result;
    bool ok = gradcheck(encode, &m, 9, in, NULL, &result);
    fprintf(out, "%s\n", result.message);
    nn_params_free(set);
    return ok;
}

/* tanh at 0.5, as the checker differentiates it. */
static bool show_error_bar(FILE *out) {
    double x = .5, exact = 1 - tanh(x) * tanh(x), d[3];
    for (int k = 0; k < 3; k++) {
        double h = ldexp(.02, -k);
        d[k] = (tanh(x + h) - tanh(x - h)) / (2 * h);
        fprintf(out, "h = %-5g   difference  %.11f  off by %.0e\n", h, d[k], fabs(d[k] - exact));
    }
    double once = (4 * d[1] - d[0]) / 3, again = (4 * d[2] - d[1]) / 3;
    double slope = (16 * again - once) / 15, moved = fabs(slope - again);
    fprintf(out, "h, h/2      once        %.11f  off by %.0e\n", once, fabs(once - exact));
    fprintf(out, "h/2, h/4    once        %.11f  off by %.0e\n", again, fabs(again - exact));
    fprintf(out, "all three   twice       %.11f  moved by %.0e\n", slope, moved);
    return fabs(slope - exact) < moved / 100;
}

/* ---- the comparison ---- */

static bool starts(const char *text, const char *with) {
    return !strncmp(text, with, strlen(with));
}

/* In place: without spaces at the start of lines, and without what the rounding of the machine
 * decides: how wide an error bar is, and which right derivative agrees least. */
static char *normalised(char *text) {
    char *to = text;
    bool passed = false;
    for (const char *p = text; *p;) {
        if (p == text || p[-1] == '\n') {
            while (*p == ' ') p++;
            passed = starts(p, "passed: ");
        }
        if (passed && starts(p, "; worst ")) p += strcspn(p, "\n");
        if (starts(p, "+- ")) p += 3 + strcspn(p + 3, " ,\n");
        if (*p) *to++ = *p++;
    }
    *to = 0;
    return text;
}

/* Calls check with each fenced block of the page whose language is the given one. */
static int for_each_block(char *doc, const char *language, void (*check)(const char *block)) {
    int n = 0;
    for (char *p = doc, *end; (p = strstr(p, "\n```")); p = end + 4) {
        char *line = p + 4, *body = strchr(line, '\n') + 1;
        end = strstr(body - 1, "\n```");
        cr_assert(end, "a block without an end");
        if ((size_t)(body - 1 - line) != strlen(language) ||
            strncmp(line, language, strlen(language))) continue;
        char *block = strndup(body, (size_t)(end + 1 - body));
        check(normalised(block));
        free(block);
        n++;
    }
    return n;
}

static char *shown, *sources;

static void expect_shown(const char *block) {
    cr_expect(strstr(shown, block), "no program prints\n%s", block);
}
static void expect_source(const char *block) {
    cr_expect(strstr(sources, block), "no source has\n%s", block);
}

static char *everything_printed(void) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    cr_assert(check_cube() && check_my_op(out) && check_my_kernel(out) && check_my_function(out) &&
              check_my_model(out) && show_error_bar(out));
    for (const GradcheckCase *c = broken_cases; c->name; c++) {
        GradcheckResult r;
        cr_assert(!c->run(&r), "%s passes", c->name);
        fprintf(out, "%s\n", r.message);
    }
    fclose(out);
    return normalised(text);
}

static char *all_sources(void) {
    static const char *const paths[] = {
        "tests/examples/gradcheck_doc_test.c", "examples/gradcheck/swiglu.c",
        "examples/gradcheck/wrong_kernels.c", "examples/gradcheck/lstm.c",
        "examples/gradcheck/suite.c", "examples/gradcheck/check.c"};
    char *all = calloc(1, 1 << 20);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char *text = read_text(paths[i]);
        strcat(all, text);
        free(text);
    }
    return normalised(all);
}

Test(gradcheck_doc, shows_code_that_is_compiled_and_what_it_prints) {
    char *doc = read_text("docs/gradcheck.md");
    shown = everything_printed();
    sources = all_sources();
    cr_expect_gt(for_each_block(doc, "", expect_shown), GRADCHECK_REASONS);
    cr_expect_gt(for_each_block(doc, "c", expect_source), GRADCHECK_REASONS);
    free(doc);
    free(shown);
    free(sources);
}

Test(gradcheck_doc, explains_every_reason_with_its_message) {
    char *doc = read_text("docs/gradcheck.md");
    for (int i = GRADCHECK_PASSED + 1; i < GRADCHECK_REASONS; i++) {
        char heading[80], message[80];
        const char *code = gradcheck_reason_code((GradcheckReason)i);
        snprintf(heading, sizeof heading, "\n### %s\n", code);
        snprintf(message, sizeof message, "\n%s: ", gradcheck_reason((GradcheckReason)i));
        const char *at = strstr(doc, heading), *next = at ? strstr(at + 5, "\n### ") : NULL;
        const char *quoted = at ? strstr(at, message) : NULL;
        cr_expect(at, "no section %s", code);
        cr_expect(quoted && (!next || quoted < next), "section %s quotes no message", code);
    }
    free(doc);
}
