/* The trace against the equations in plain doubles, step by step from the parameters, and against
 * the model's own forward pass. */
#include "examples/lm/trace.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/folder.h"
#include "tests/support/read_text.h"
#include "tests/support/xml.h"

static char svg[TEST_PATH_SIZE], csv[TEST_PATH_SIZE], png[TEST_PATH_SIZE];

static void make_folder(void) {
    test_folder_make(svg, "trace.svg");
    test_folder_of(svg, csv);
    strcpy(png, csv);
    strcat(csv, "/trace.csv");
    strcat(png, "/trace.png");
}

static void remove_folder(void) {
    unlink(csv);
    unlink(png);
    test_folder_remove(svg);
}

TestSuite(lm_trace, .init = make_folder, .fini = remove_folder);

static bool is_there(const char *path) { return access(path, F_OK) == 0; }

/* ---- models ---- */

static LmRun make_run(DataVocabKind kind, const char *text, LmConfig config) {
    TensorError error;
    LmRun run = {.settings = lm_settings_default()};
    DataVocabOptions options = {.kind = kind};
    run.settings.unit = kind == DATA_VOCAB_CHAR ? DATA_UNIT_CHAR : DATA_UNIT_WORD;
    run.vocab = data_vocab_new(text, (int64_t)strlen(text), &options, &error);
    cr_assert(run.vocab, "%s", error.message);
    config.vocab = data_vocab_size(run.vocab);
    run.settings.model = config;
    cr_assert(lm_model_init(&run.model, &config, 7, &error), "%s", error.message);
    return run;
}

static const char letters[] =
    "a \"quoted\",\n\ttale <&> \xe6\x97\xa5\xe6\x9c\xac, \xc3\xa9t\xc3\xa9";

enum { LAYERS = 3, UNITS = 8, STEPS = 64 };

/* One-hot; two layers; a last layer of another size with all that only training does. */
static const LmConfig configs[] = {
    {.hidden = 5, .layers = 1},
    {.embedding = 4, .hidden = 6, .layers = 2, .init_lstm = 1.5},
    {.embedding = 4, .hidden = UNITS, .layers = LAYERS, .tied = true, .dropout = 0.5,
     .locked = true, .embedding_dropout = 0.3, .weight_drop = 0.5, .init_lstm = 1},
};
enum { CONFIGS = sizeof configs / sizeof *configs };

static LmTraceOptions everything(void) {
    return (LmTraceOptions){.svg = svg, .csv = csv, .layer = -1};
}

static LmTraceResult trace_ok(const LmRun *run, const char *text, const LmTraceOptions *o) {
    TensorError error = {""};
    LmTraceResult result;
    cr_assert(lm_trace(run, text, (int64_t)strlen(text), o, &result, &error), "%s",
              error.message);
    return result;
}

/* ---- the equations ---- */

typedef struct {
    int64_t T, L, H[LAYERS];
    int64_t id[STEPS];
    double bits[STEPS];
    double of[LAYERS][STEPS][UNITS][6]; /* i f g o c h */
} Expected;

static const Tensor *param(const LmRun *run, const char *format, int64_t layer) {
    char name[64];
    bool last = run->model.last.layer && layer == run->model.lstm.L;
    snprintf(name, sizeof name, "%s.%s%d", last ? "last" : "lstm", format, last ? 0 : (int)layer);
    NnParam *p = nn_params_find(run->model.set, name);
    cr_assert(p, "no %s", name);
    return &p->value;
}

/* b_ih[row] + b_hh[row] + W_ih[row] x + W_hh[row] h */
static double row_sum(const LmRun *run, int64_t layer, int64_t row, int64_t I, const double *x,
                      int64_t H, double h[][6]) {
    double sum = tensor_get(param(run, "bias_ih_l", layer), row) +
                 tensor_get(param(run, "bias_hh_l", layer), row);
    for (int64_t k = 0; k < I; k++)
        sum += tensor_get(param(run, "weight_ih_l", layer), row * I + k) * x[k];
    for (int64_t k = 0; h && k < H; k++)
        sum += tensor_get(param(run, "weight_hh_l", layer), row * H + k) * h[k][5];
    return sum;
}

static double logistic(double x) { return 1 / (1 + exp(-x)); }

static void lstm_step(const LmRun *run, Expected *e, int64_t layer, int64_t t, int64_t I,
                      const double *x) {
    int64_t H = e->H[layer];
    double(*before)[6] = t > 0 ? e->of[layer][t - 1] : NULL;
    for (int64_t j = 0; j < H; j++) {
        double *now = e->of[layer][t][j], sum[4];
        for (int64_t gate = 0; gate < 4; gate++)
            sum[gate] = row_sum(run, layer, gate * H + j, I, x, H, before);
        now[0] = logistic(sum[0]);
        now[1] = logistic(sum[1]);
        now[2] = tanh(sum[2]);
        now[3] = logistic(sum[3]);
        now[4] = now[1] * (before ? before[j][4] : 0) + now[0] * now[2];
        now[5] = now[3] * tanh(now[4]);
    }
}

/* -log2 softmax(W h + b)[id] */
static double surprise(const LmRun *run, int64_t H, double h[][6], int64_t id) {
    const Tensor *w = &run->model.out.weight->value, *b = &run->model.out.bias->value;
    double sum = 0, own = 0;
    for (int64_t v = 0; v < run->model.config.vocab; v++) {
        double z = tensor_get(b, v);
        for (int64_t k = 0; k < H; k++) z += tensor_get(w, v * H + k) * h[k][5];
        sum += exp(z);
        if (v == id) own = z;
    }
    return (log(sum) - own) / log(2);
}

static void whole_step(const LmRun *run, Expected *e, int64_t t) {
    double x[32] = {0};
    int64_t I = run->model.config.embedding;
    if (I == 0) {
        I = run->model.config.vocab;
        x[e->id[t]] = 1;
    }
    for (int64_t k = 0; run->model.config.embedding > 0 && k < I; k++)
        x[k] = tensor_get(&run->model.embedding.weight->value, e->id[t] * I + k);
    for (int64_t layer = 0; layer < e->L; layer++) {
        lstm_step(run, e, layer, t, I, x);
        I = e->H[layer];
        for (int64_t k = 0; k < I; k++) x[k] = e->of[layer][t][k][5];
    }
}

static void expect_values(const LmRun *run, const char *text, Expected *e) {
    int64_t *ids;
    TensorError error;
    const LmModel *m = &run->model;
    cr_assert(data_vocab_encode(run->vocab, text, (int64_t)strlen(text), &ids, &e->T, &error));
    e->L = m->config.layers;
    cr_assert(e->T <= STEPS && e->L <= LAYERS);
    for (int64_t k = 0; k < e->L; k++) e->H[k] = m->last.layer && k == e->L - 1 ? m->last.H
                                                                                : m->lstm.H;
    for (int64_t t = 0; t < e->T; t++) {
        e->id[t] = ids[t];
        int64_t top = e->L - 1;
        if (t > 0) e->bits[t] = surprise(run, e->H[top], e->of[top][t - 1], ids[t]);
        whole_step(run, e, t);
    }
    free(ids);
}

/* ---- the table ---- */

/* ,NUMBER */
static void read_real(const char **at, double expected, double tolerance) {
    char *end;
    cr_assert(**at == ',', "no comma at %.20s", *at);
    double x = strtod(*at + 1, &end);
    cr_assert(end > *at + 1, "no number at %.20s", *at);
    cr_assert_float_eq(x, expected, tolerance, "%.17g, not %.17g, at %.40s", x, expected, *at);
    *at = end;
}

/* ,"TOKEN", which is taken apart as RFC 4180 has it. */
static void read_token(const char **at, const char *token) {
    cr_assert(strncmp(*at, ",\"", 2) == 0);
    *at += 2;
    for (; *token; token++, ++*at) {
        cr_assert(**at == *token, "token at %.20s", *at);
        if (*token == '"') cr_assert(*++*at == '"');
    }
    cr_assert(*(*at)++ == '"');
}

static void check_line(const char **at, const LmRun *run, const Expected *e, int64_t layer,
                       int64_t t, int64_t unit) {
    char numbers[64];
    int n = snprintf(numbers, sizeof numbers, "%d,%d,%d,%d", (int)layer, (int)t, (int)unit,
                     (int)e->id[t]);
    cr_assert(strncmp(*at, numbers, (size_t)n) == 0, "%s is not at %.20s", numbers, *at);
    *at += n;
    read_token(at, data_vocab_token(run->vocab, e->id[t], NULL));
    if (t > 0) read_real(at, e->bits[t], 1e-4);
    else cr_assert(strncmp(*at, ",,", 2) == 0);
    if (t == 0) ++*at;
    for (int q = 0; q < 6; q++) read_real(at, e->of[layer][t][unit][q], 1e-5);
    cr_assert(*(*at)++ == '\n');
}

static void check_table(const LmRun *run, const Expected *e, int64_t first, int64_t last) {
    static const char header[] = "layer,step,unit,id,token,bits,i,f,g,o,c,h\n";
    char *table = read_text(csv);
    cr_assert(strncmp(table, header, strlen(header)) == 0);
    const char *at = table + strlen(header);
    for (int64_t layer = first; layer <= last; layer++)
        for (int64_t t = 0; t < e->T; t++)
            for (int64_t unit = 0; unit < e->H[layer]; unit++)
                check_line(&at, run, e, layer, t, unit);
    cr_assert(*at == 0, "more lines: %.40s", at);
    free(table);
}

static double mean_bits(const Expected *e) {
    double sum = 0;
    for (int64_t t = 1; t < e->T; t++) sum += e->bits[t];
    return sum / (double)(e->T - 1);
}

Test(lm_trace, the_table_has_the_values_of_the_equations) {
    for (int k = 0; k < CONFIGS; k++) {
        LmRun run = make_run(DATA_VOCAB_CHAR, letters, configs[k]);
        static Expected e;
        expect_values(&run, letters, &e);
        LmTraceOptions o = everything();
        LmTraceResult result = trace_ok(&run, letters, &o);
        cr_assert(result.tokens == e.T);
        cr_assert_float_eq(result.bits, mean_bits(&e), 1e-4);
        check_table(&run, &e, 0, e.L - 1);
        o.layer = e.L - 1;
        trace_ok(&run, letters, &o);
        check_table(&run, &e, e.L - 1, e.L - 1);
        lm_run_free(&run);
    }
}

/* -log2 p of ids[1..] by lm_model_forward. */
static double forward_bits(const LmRun *run, int64_t *ids, int64_t count) {
    AgTape *t = ag_tape_new();
    NnState *state = nn_state_new(TENSOR_F32);
    const int64_t shape[] = {count - 1, 1};
    Tensor x = tensor_wrap(ids, TENSOR_I64, 2, shape);
    Tensor y = tensor_wrap(ids + 1, TENSOR_I64, 2, shape);
    AgVar logits = lm_model_forward(&run->model, state, ag_input(t, &x));
    AgVar loss = ag_cross_entropy(logits, ag_input(t, &y), NULL);
    cr_assert(ag_ok(loss), "%s", ag_tape_error(t));
    double bits = tensor_get(ag_value(loss), 0) / log(2);
    nn_state_free(state);
    ag_tape_free(t);
    return bits;
}

Test(lm_trace, the_network_is_the_one_that_was_trained) {
    for (int k = 0; k < CONFIGS; k++) {
        LmRun run = make_run(DATA_VOCAB_CHAR, letters, configs[k]);
        LmTraceOptions o = {.layer = -1};
        int64_t *ids, count;
        cr_assert(data_vocab_encode(run.vocab, letters, (int64_t)strlen(letters), &ids, &count,
                                    NULL));
        cr_assert_float_eq(trace_ok(&run, letters, &o).bits, forward_bits(&run, ids, count), 1e-5);
        cr_assert(!is_there(svg) && !is_there(csv), "no file was asked for");
        free(ids);
        lm_run_free(&run);
    }
}

/* ---- the picture ---- */

static int count_in_picture(const char *piece) {
    char *text = read_text(svg);
    const char *wrong = xml_wrong(text);
    cr_assert_null(wrong, "%s", wrong);
    int n = xml_count(text, piece);
    free(text);
    return n;
}

Test(lm_trace, every_panel_has_every_token_under_it) {
    static const char *const shown[] = {"&lt;", "&gt;", "&amp;", "&quot;", "\xe6\x97\xa5",
                                        "\xe6\x9c\xac", "\xe2\x86\xb5", "\xe2\x87\xa5",
                                        "\xe2\x90\xa3"};
    for (int k = 0; k < CONFIGS; k++) {
        LmRun run = make_run(DATA_VOCAB_CHAR, letters, configs[k]);
        LmTraceOptions o = everything();
        o.name = "a <run>";
        trace_ok(&run, letters, &o);
        int panels = (int)configs[k].layers * 6 + 2;
        cr_assert(count_in_picture("a &lt;run&gt;: layer") == 1);
        for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
            char piece[32];
            snprintf(piece, sizeof piece, ">%s</text>", shown[i]);
            cr_assert_geq(count_in_picture(piece), panels, "%s", shown[i]);
        }
        lm_run_free(&run);
    }
}

/* So many columns as there may be, of each kind of label. */
Test(lm_trace, the_longest_picture_has_all_labels) {
    char text[8 * LM_TRACE_MAX_COLUMNS + 1] = "", piece[64];
    LmConfig config = {.hidden = 2, .layers = 1};
    for (int kind = 0; kind < 3; kind++) {
        *text = 0;
        for (int k = 0; k < LM_TRACE_MAX_COLUMNS; k++)
            sprintf(text + strlen(text), kind == 0 ? "%c" : kind == 1 ? "\xe6\x97%c" : "word%02d ",
                    kind == 0 ? 'A' + k : kind == 1 ? 0x80 + k : k);
        LmRun run = make_run(kind == 2 ? DATA_VOCAB_WORD : DATA_VOCAB_CHAR, text, config);
        LmTraceOptions o = everything();
        trace_ok(&run, text, &o);
        for (int64_t id = 1; id <= LM_TRACE_MAX_COLUMNS; id++) {
            const char *token = data_vocab_token(run.vocab, id, NULL);
            snprintf(piece, sizeof piece, ">%s</text>", strcmp(token, "<") == 0   ? "&lt;"
                                                        : strcmp(token, ">") == 0 ? "&gt;"
                                                                                  : token);
            cr_assert_geq(count_in_picture(piece), 8, "%s", token);
        }
        lm_run_free(&run);
    }
}

/* How often a panel's row has this label. */
static int rows_of_unit(int unit) {
    char piece[64];
    snprintf(piece, sizeof piece, "text-anchor=\"end\" xml:space=\"preserve\">%d</text>", unit);
    return count_in_picture(piece);
}

static double cell_variance(const Expected *e, int64_t layer, int64_t unit, int64_t first) {
    double mean = 0, sum = 0;
    for (int64_t t = first; t < e->T; t++)
        mean += e->of[layer][t][unit][4] / (double)(e->T - first);
    for (int64_t t = first; t < e->T; t++) sum += pow(e->of[layer][t][unit][4] - mean, 2);
    return sum;
}

Test(lm_trace, the_rows_are_the_units_whose_cell_varies_most) {
    LmRun run = make_run(DATA_VOCAB_CHAR, letters, configs[2]);
    static Expected e;
    expect_values(&run, letters, &e);
    for (int64_t layer = 0; layer < LAYERS; layer++)
        for (int64_t skip = 0; skip < e.T - 1; skip += 9) {
            LmTraceOptions o = {.svg = svg, .layer = layer, .units = 3, .skip = skip};
            trace_ok(&run, letters, &o);
            for (int unit = 0; unit < e.H[layer]; unit++) {
                int above = 0;
                for (int other = 0; other < e.H[layer]; other++)
                    above += cell_variance(&e, layer, other, skip) >
                             cell_variance(&e, layer, unit, skip);
                cr_assert(rows_of_unit(unit) == (above < 3 ? 6 : 0), "layer %d, unit %d",
                          (int)layer, unit);
            }
        }
    cr_assert(count_in_picture("layer 2, the 3 of 4 units whose cell varies most") == 1);
    lm_run_free(&run);
}

Test(lm_trace, units_can_be_chosen) {
    LmRun run = make_run(DATA_VOCAB_CHAR, letters, configs[2]);
    const int64_t unit[] = {7, 2};
    LmTraceOptions o = {.svg = svg, .layer = 0, .unit = unit, .unit_count = 2};
    trace_ok(&run, letters, &o);
    for (int k = 0; k < UNITS; k++) cr_assert(rows_of_unit(k) == (k == 7 || k == 2 ? 6 : 0));
    cr_assert(count_in_picture("layer 0, 2 of 8 units") == 1);
    o = (LmTraceOptions){.svg = svg, .layer = -1};
    trace_ok(&run, letters, &o);
    cr_assert(count_in_picture("layers 0 to 2, all 8 units (the last: 4)") == 1);
    cr_assert(rows_of_unit(3) == 18 && rows_of_unit(7) == 12);
    lm_run_free(&run);
}

Test(lm_trace, one_token_and_skipped_ones) {
    LmRun run = make_run(DATA_VOCAB_CHAR, letters, configs[1]);
    LmTraceOptions o = everything();
    LmTraceResult result = trace_ok(&run, "q", &o);
    cr_assert(result.tokens == 1 && isnan(result.bits));
    cr_assert(count_in_picture(">q</text>") >= 14);
    o.skip = 3;
    trace_ok(&run, "qqqa", &o);
    cr_assert(count_in_picture("text-anchor=\"middle\" xml:space=\"preserve\">q</text>") == 0);
    cr_assert(count_in_picture("text-anchor=\"middle\" xml:space=\"preserve\">a</text>") == 14);
    static Expected e;
    expect_values(&run, "qqqa", &e);
    check_table(&run, &e, 0, 1);
    lm_run_free(&run);
}

/* ---- what is refused ---- */

static void refused(const LmRun *run, const char *text, const LmTraceOptions *o,
                    const char *word) {
    TensorError error = {""};
    LmTraceResult result;
    cr_assert(!lm_trace(run, text, (int64_t)strlen(text), o, &result, &error), "%s", word);
    cr_assert(strstr(error.message, word), "'%s' is not in '%s'", word, error.message);
    cr_assert(!is_there(svg) && !is_there(csv), "%s: a file was written", word);
}

/* The letter n times. */
static const char *many(char letter, int n) {
    static char text[LM_TRACE_MAX_TOKENS + 2];
    memset(text, letter, (size_t)n);
    text[n] = 0;
    return text;
}

Test(lm_trace, what_cannot_be_shown_is_refused) {
    LmRun run = make_run(DATA_VOCAB_CHAR, letters, configs[2]);
    const int64_t bad_unit[] = {0, 4}, negative[] = {-1};
    char nowhere[TEST_PATH_SIZE + 16];
    snprintf(nowhere, sizeof nowhere, "%s/none/file", csv);
    const struct {
        const char *text, *word;
        LmTraceOptions o;
    } cases[] = {
        {"", "--text", {.layer = -1}},
        {"quax", "'x'", {.layer = -1}},
        {"\xff", "--text", {.layer = -1}},
        {"a", "no layer 3: its last one is 2", {.layer = 3}},
        {"a", "no layer -2", {.layer = -2}},
        {"a", "layer 2 has no unit 4: its last one is 3", {.layer = -1, .unit = bad_unit,
                                                     .unit_count = 2}},
        {"a", "has no unit -1", {.layer = 0, .unit = negative, .unit_count = 1}},
        {"qa", "2 tokens: skipping 2", {.svg = svg, .layer = 0, .skip = 2}},
        {"qa", "skipping -1", {.svg = svg, .layer = 0, .skip = -1}},
        {many('a', LM_TRACE_MAX_COLUMNS + 3), "--skip the first 3", {.svg = svg, .layer = 0}},
        {"a", "none/file", {.svg = nowhere, .layer = -1}},
        {"a", "none/file", {.csv = nowhere, .layer = -1}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        refused(&run, cases[k].text, &cases[k].o, cases[k].word);
    LmTraceOptions o = {.layer = -1};
    refused(&run, many('a', LM_TRACE_MAX_TOKENS + 1), &o, "1001 tokens, more than 1000");
    cr_assert(trace_ok(&run, many('a', LM_TRACE_MAX_COLUMNS + 3), &o).tokens ==
              LM_TRACE_MAX_COLUMNS + 3, "without a picture, columns have no limit");
    lm_run_free(&run);
}

Test(lm_trace, a_picture_of_too_many_units_is_refused) {
    LmRun run = make_run(DATA_VOCAB_CHAR, letters, (LmConfig){.hidden = 400, .layers = 1});
    LmTraceOptions o = {.svg = svg, .layer = -1};
    refused(&run, many('a', LM_TRACE_MAX_COLUMNS), &o, "120000 cells");
    o.units = 20;
    trace_ok(&run, many('a', LM_TRACE_MAX_COLUMNS), &o);
    lm_run_free(&run);
}

Test(lm_trace, a_damaged_model_is_refused) {
    static const char *const names[] = {"embedding.weight", "lstm.weight_ih_l0", "out.bias"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        LmRun run = make_run(DATA_VOCAB_CHAR, letters, configs[1]);
        NnParam *p = nn_params_find(run.model.set, names[k]);
        for (int64_t i = 0; i < tensor_numel(&p->value); i++)
            tensor_set(&p->value, i, k == 2 ? (double)INFINITY : (double)NAN);
        nn_param_touch(p);
        LmTraceOptions o = everything();
        refused(&run, "quote", &o, "not finite");
        lm_run_free(&run);
    }
}

Test(lm_trace, a_file_that_was_there_stays_when_a_run_is_refused) {
    LmRun run = make_run(DATA_VOCAB_CHAR, letters, configs[1]);
    LmTraceOptions o = everything();
    trace_ok(&run, "quote", &o);
    char *before = read_text(svg), *table = read_text(csv);
    TensorError error;
    LmTraceResult result;
    cr_assert(!lm_trace(&run, "x", 1, &o, &result, &error));
    char *after = read_text(svg), *table_after = read_text(csv);
    cr_assert_str_eq(before, after);
    cr_assert_str_eq(table, table_after);
    free(before), free(table), free(after), free(table_after);
    lm_run_free(&run);
}

/* ---- lm trace ---- */

static int command(int argc, const char *const *arguments) {
    char *argv[16] = {"trace"};
    for (int k = 0; k < argc; k++) argv[k + 1] = (char *)arguments[k];
    return lm_trace_command(argc + 1, argv);
}

#define COMMAND(...)                                        \
    command((int)(sizeof(const char *[]){__VA_ARGS__} / sizeof(const char *)), \
            (const char *[]){__VA_ARGS__})

static void remove_run(const char *folder) {
    static const char *const files[] = {"config.json", "vocab.json", "model.safetensors",
                                        "trace.svg"};
    char path[TEST_PATH_SIZE + 32];
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[k]);
        unlink(path);
    }
    rmdir(folder);
}

Test(lm_trace, the_command_reads_a_saved_model) {
    TensorError error;
    char folder[TEST_PATH_SIZE], default_svg[TEST_PATH_SIZE + 16];
    test_folder_of(svg, folder);
    strcat(folder, "/saved");
    LmRun run = make_run(DATA_VOCAB_CHAR, letters, configs[2]);
    run.result = (LmResult){1, 2, (double)NAN, (double)NAN};
    cr_assert(lm_run_prepare(folder, &error) && lm_run_save(folder, &run, &error), "%s",
              error.message);
    cr_redirect_stdout();
    cr_redirect_stderr();
    cr_assert(COMMAND("--run", folder, "--text", "quote", "--out", svg, "--csv", csv) == 0);
    static Expected e;
    expect_values(&run, "quote", &e);
    check_table(&run, &e, 0, LAYERS - 1);
    cr_assert(count_in_picture("saved: layers 0 to 2, all 8 units (the last: 4)") == 1);
    cr_assert(COMMAND("--run", folder, "--text", "quote", "--out", svg, "--layer", "1", "--skip",
                      "2", "--unit-list", "6,0") == 0);
    cr_assert(rows_of_unit(6) == 6 && rows_of_unit(0) == 6 && rows_of_unit(1) == 0);
    cr_assert(COMMAND("--run", folder, "--text", "quote", "--png", png) == 0);
    char *start = tensor_file_read(png, 1 << 24, &(size_t){0}, &error);
    cr_assert(start && memcmp(start, "\x89PNG", 4) == 0, "%s", error.message);
    free(start);
    strcat(strcpy(default_svg, folder), "/trace.svg");
    cr_assert(is_there(default_svg));
    cr_assert(COMMAND("--help") == 0);
    cr_assert(COMMAND("--run", folder) == 2);
    cr_assert(COMMAND("--run", folder, "--text", "x", "--out", svg) == 2);
    cr_assert(COMMAND("--run", folder, "--text", "quote", "--png", folder) == 2);
    cr_assert(COMMAND("--run", csv, "--text", "quote", "--out", svg) == 2);
    static const char *const lists[] = {"", "1,", ",1", "1;2", "x", "1,99", "-1",
                                        "99999999999999999999"};
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++)
        cr_assert(COMMAND("--run", folder, "--text", "quote", "--out", svg, "--unit-list",
                          lists[k]) == 2, "%s", lists[k]);
    remove_run(folder);
    lm_run_free(&run);
}
