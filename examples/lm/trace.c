/* trace.c -- see trace.h. */
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/plot.h"
#include "data/png/png.h"
#include "examples/support/program.h"
#include "nn/lstm_trace.h"

/* ---- the network ---- */

enum { PARTS = 2 }; /* LmModel.lstm and LmModel.last */

/* A text on its way through the model. */
typedef struct {
    const LmRun *run;
    const LmTraceOptions *options;
    int64_t *ids;       /* [T] */
    int64_t T;
    AgTape *tape;
    TensorArena *arena; /* of all that is made of the tape's values */
    NnLstmTrace part[PARTS];
    AgVar y;            /* [T, 1, H'] of the highest layer */
    double *bits;       /* [T]; NaN for token 0 */
} Reading;

static int64_t layer_count(const Reading *r) { return r->part[0].L + r->part[1].L; }

/* The trace that layer `layer` is in, whose number there is *number. */
static const NnLstmTrace *part_of(const Reading *r, int64_t layer, int *number) {
    int k = layer < r->part[0].L ? 0 : 1;
    *number = (int)(k == 0 ? layer : layer - r->part[0].L);
    return &r->part[k];
}

static int64_t units_of(const Reading *r, int64_t layer) {
    int number;
    return part_of(r, layer, &number)->H;
}

/* -log2 p of ids[1..T). */
static void measure_bits(Reading *r) {
    r->bits[0] = (double)NAN;
    if (r->T < 2) return;
    const int64_t shape[] = {r->T - 1, 1};
    const AgCrossEntropyOptions options = {.reduction = AG_NONE};
    Tensor next = tensor_wrap(r->ids + 1, TENSOR_I64, 2, shape);
    AgVar before = ag_narrow(r->y, 0, 0, r->T - 1);
    AgVar nats = nn_linear_cross_entropy(&r->run->model.out, before, ag_input(r->tape, &next),
                                         &options);
    for (int64_t t = 1; ag_ok(nats) && t < r->T; t++)
        r->bits[t] = tensor_get(ag_value(nats), t - 1) / log(2);
}

static bool check_finite(const Reading *r, TensorError *error) {
    bool finite = true;
    for (int64_t i = 0; i < tensor_numel(ag_value(r->y)); i++)
        finite &= isfinite(tensor_get(ag_value(r->y), i)) != 0;
    for (int64_t t = 1; t < r->T; t++) finite &= isfinite(r->bits[t]) != 0;
    return finite || tensor_error_set(error, "the model's output is not finite");
}

static bool read_tokens(Reading *r, TensorError *error) {
    const LmModel *m = &r->run->model;
    const int64_t shape[] = {r->T, 1};
    Tensor ids = tensor_wrap(r->ids, TENSOR_I64, 2, shape);
    AgVar x = ag_input(r->tape, &ids);
    if (m->config.embedding > 0) x = nn_embedding(&m->embedding, x);
    r->part[0] = nn_lstm_trace(&m->lstm, x, NULL, NULL);
    if (m->last.layer) r->part[1] = nn_lstm_trace(&m->last, r->part[0].out.y, NULL, NULL);
    r->y = r->part[m->last.layer ? 1 : 0].out.y;
    measure_bits(r);
    if (!ag_tape_ok(r->tape)) return tensor_error_set(error, "%s", ag_tape_error(r->tape));
    return check_finite(r, error);
}

/* The quantity of nn_lstm_trace_get in all steps, [T, H]; nil: the reason is in *error. */
static Tensor quantity(const Reading *r, int64_t layer, const char *name, TensorError *error) {
    int number;
    const NnLstmTrace *part = part_of(r, layer, &number);
    Tensor x = nn_lstm_trace_get(part, r->arena, number, 0, name, error);
    return tensor_is_nil(&x) ? x : tensor_select(&x, 1, 0);
}

/* Element [t, k] of a matrix. */
static double at(const Tensor *x, int64_t t, int64_t k) {
    return tensor_get(x, t * x->shape[1] + k);
}

/* ---- what is shown ---- */

typedef struct {
    const char *name, *title;
    double low, high; /* 0, 0: from the values */
} Quantity;

enum { N_QUANTITIES = 6, CELL = 4 };
static const Quantity quantities[N_QUANTITIES] = {
    {"i", "input gate i", 0, 1},        {"f", "forget gate f", 0, 1},
    {"g", "candidate g", -1, 1},        {"o", "output gate o", 0, 1},
    [CELL] = {"c", "cell c", 0, 0},     {"h", "output h", 0, 0},
};

static int64_t first_layer(const Reading *r) {
    return r->options->layer < 0 ? 0 : r->options->layer;
}

static int64_t layers_shown(const Reading *r) {
    return r->options->layer < 0 ? layer_count(r) : 1;
}

static int64_t columns(const Reading *r) { return r->T - r->options->skip; }

static int64_t rows_shown(const Reading *r, int64_t layer) {
    const LmTraceOptions *o = r->options;
    int64_t H = units_of(r, layer);
    if (o->unit) return o->unit_count;
    return o->units > 0 && o->units < H ? o->units : H;
}

static bool check_units(const Reading *r, int64_t layer, TensorError *error) {
    for (int64_t k = 0; r->options->unit && k < r->options->unit_count; k++) {
        int64_t unit = r->options->unit[k], H = units_of(r, layer);
        if (unit < 0 || unit >= H)
            return tensor_error_set(error, "layer %" PRId64 " has no unit %" PRId64
                                    ": its last one is %" PRId64, layer, unit, H - 1);
    }
    return true;
}

static bool check_layers(const Reading *r, TensorError *error) {
    int64_t layer = r->options->layer, L = layer_count(r);
    if (layer < -1 || layer >= L)
        return tensor_error_set(error, "the model has no layer %" PRId64
                                ": its last one is %" PRId64, layer, L - 1);
    for (int64_t k = 0; k < layers_shown(r); k++)
        if (!check_units(r, first_layer(r) + k, error)) return false;
    return true;
}

static bool check_picture(const Reading *r, TensorError *error) {
    int64_t skip = r->options->skip, rows = 0;
    if (skip < 0 || skip >= r->T)
        return tensor_error_set(error, "--text has %" PRId64 " tokens: skipping %" PRId64
                                " leaves nothing to show", r->T, skip);
    if (columns(r) > LM_TRACE_MAX_COLUMNS)
        return tensor_error_set(error, "--text has %" PRId64 " tokens to show, and a picture has "
                                "room for %d: shorten it, or --skip the first %" PRId64,
                                columns(r), LM_TRACE_MAX_COLUMNS, r->T - LM_TRACE_MAX_COLUMNS);
    for (int64_t k = 0; k < layers_shown(r); k++) rows += rows_shown(r, first_layer(r) + k);
    double cells = (double)rows * N_QUANTITIES * (double)columns(r);
    return cells <= LM_TRACE_MAX_CELLS ||
           tensor_error_set(error, "the picture would have %.0f cells, more than %d: show fewer "
                            "--units, or one --layer", cells, LM_TRACE_MAX_CELLS);
}

/* ---- the most active ---- */

typedef struct {
    double score;
    int64_t index;
} Ranked;

static int by_index(const void *a, const void *b) {
    int64_t x = ((const Ranked *)a)->index, y = ((const Ranked *)b)->index;
    return (x > y) - (x < y);
}

/* Falling, equal scores by their index. */
static int by_score(const void *a, const void *b) {
    double x = ((const Ranked *)a)->score, y = ((const Ranked *)b)->score;
    return x != y ? (x < y) - (x > y) : by_index(a, b);
}

/* index[0..k) of the k largest scores of ranked[0..n), rising. */
static void choose_largest(Ranked *ranked, int64_t n, int64_t k, int64_t *index) {
    qsort(ranked, (size_t)n, sizeof *ranked, by_score);
    qsort(ranked, (size_t)k, sizeof *ranked, by_index);
    for (int64_t i = 0; i < k; i++) index[i] = ranked[i].index;
}

/* Of column k from row `first` on. */
static double variance(const Tensor *x, int64_t first, int64_t k) {
    int64_t T = x->shape[0];
    double mean = 0, sum = 0;
    for (int64_t t = first; t < T; t++) mean += at(x, t, k) / (double)(T - first);
    for (int64_t t = first; t < T; t++) sum += pow(at(x, t, k) - mean, 2);
    return sum / (double)(T - first);
}

static double largest(const Tensor *x, int64_t k) {
    double most = at(x, 0, k);
    for (int64_t t = 1; t < x->shape[0]; t++) most = fmax(most, at(x, t, k));
    return most;
}

static bool out_of_memory(TensorError *error) {
    return tensor_error_set(error, "out of memory");
}

/* The units of the layer that are the rows; NULL: the reason is in *error. */
static const int64_t *choose_units(const Reading *r, int64_t layer, TensorError *error) {
    if (r->options->unit) return r->options->unit;
    int64_t H = units_of(r, layer), rows = rows_shown(r, layer);
    Tensor c = quantity(r, layer, quantities[CELL].name, error);
    if (tensor_is_nil(&c)) return NULL;
    Ranked *ranked = tensor_arena_alloc(r->arena, (size_t)H * sizeof *ranked);
    int64_t *unit = tensor_arena_alloc(r->arena, (size_t)rows * sizeof *unit);
    if (!ranked || !unit) {
        out_of_memory(error);
        return NULL;
    }
    for (int64_t k = 0; k < H; k++) ranked[k] = (Ranked){variance(&c, r->options->skip, k), k};
    choose_largest(ranked, H, rows, unit);
    return unit;
}

/* ---- the picture ---- */

enum { TITLE_SIZE = 160, NUMBER_SIZE = 24, LIKELIEST = 10, PNG_SCALE = 2 };

typedef struct {
    const Reading *reading;
    DataHeatMap *panel;
    char (*title)[TITLE_SIZE]; /* of each panel */
    int n;
} Picture;

/* One more panel, of x [steps, ..] from step `first` on: the columns index[0..n) become its rows.
 * Its place, to be completed; NULL: out of memory. */
static DataHeatMap *add_panel(Picture *p, const Tensor *x, int64_t first, int64_t n,
                              const int64_t *index) {
    const int64_t shape[] = {n, x->shape[0] - first};
    Tensor values = tensor_new(p->reading->arena, TENSOR_F64, 2, shape);
    if (tensor_is_nil(&values)) return NULL;
    for (int64_t k = 0; k < n; k++)
        for (int64_t t = 0; t < shape[1]; t++)
            tensor_set(&values, k * shape[1] + t, at(x, first + t, index[k]));
    DataHeatMap *panel = &p->panel[p->n];
    *panel = (DataHeatMap){.title = p->title[p->n], .values = values};
    p->n++;
    return panel;
}

static bool add_surprise(Picture *p, TensorError *error) {
    static const char *const label[] = {"bits"};
    const Reading *r = p->reading;
    const int64_t shape[] = {r->T, 1}, only = 0;
    double blind = log2((double)r->run->model.config.vocab);
    Tensor bits = tensor_wrap(r->bits, TENSOR_F64, 2, shape);
    snprintf(p->title[p->n], TITLE_SIZE,
             "surprise: -log2 p of this token after those before it (a blind guess: %.1f bits)",
             blind);
    DataHeatMap *panel = add_panel(p, &bits, r->options->skip, 1, &only);
    if (!panel) return out_of_memory(error);
    panel->row_labels = label;
    panel->high = fmax(blind, 1);
    return true;
}

/* The units' numbers as texts; NULL: out of memory. */
static const char *const *number_labels(TensorArena *a, int64_t n, const int64_t *number) {
    const char **label = tensor_arena_alloc(a, (size_t)n * sizeof *label);
    char (*text)[NUMBER_SIZE] = tensor_arena_alloc(a, (size_t)n * sizeof *text);
    if (!label || !text) return NULL;
    for (int64_t k = 0; k < n; k++) {
        snprintf(text[k], NUMBER_SIZE, "%" PRId64, number[k]);
        label[k] = text[k];
    }
    return label;
}

static bool add_layer(Picture *p, int64_t layer, TensorError *error) {
    const Reading *r = p->reading;
    int64_t rows = rows_shown(r, layer);
    const int64_t *unit = choose_units(r, layer, error);
    if (!unit) return false;
    const char *const *labels = number_labels(r->arena, rows, unit);
    if (!labels) return out_of_memory(error);
    for (int q = 0; q < N_QUANTITIES; q++) {
        Tensor x = quantity(r, layer, quantities[q].name, error);
        if (tensor_is_nil(&x)) return false;
        snprintf(p->title[p->n], TITLE_SIZE, "layer %" PRId64 ", %s", layer, quantities[q].title);
        DataHeatMap *panel = add_panel(p, &x, r->options->skip, rows, unit);
        if (!panel) return out_of_memory(error);
        /* All units stand at their places: numbers at round ones are easier to read. */
        panel->row_labels = rows == units_of(r, layer) && !r->options->unit ? NULL : labels;
        panel->low = quantities[q].low;
        panel->high = quantities[q].high;
    }
    return true;
}

/* p(next token) [columns, V]; nil: the reason is in *error. */
static Tensor next_probabilities(const Reading *r, TensorError *error) {
    AgVar y = ag_narrow(r->y, 0, r->options->skip, columns(r));
    AgVar p = ag_softmax(nn_linear(&r->run->model.out, y), -1);
    if (ag_ok(p)) return tensor_select(ag_value(p), 1, 0);
    tensor_error_set(error, "%s", ag_tape_error(r->tape));
    return tensor_nil();
}

static bool add_next(Picture *p, TensorError *error) {
    const Reading *r = p->reading;
    Tensor next = next_probabilities(r, error);
    if (tensor_is_nil(&next)) return false;
    int64_t V = next.shape[1], rows = V < LIKELIEST ? V : LIKELIEST;
    Ranked *ranked = tensor_arena_alloc(r->arena, (size_t)V * sizeof *ranked);
    int64_t *id = tensor_arena_alloc(r->arena, (size_t)rows * sizeof *id);
    const char **label = tensor_arena_alloc(r->arena, (size_t)rows * sizeof *label);
    if (!ranked || !id || !label) return out_of_memory(error);
    for (int64_t k = 0; k < V; k++) ranked[k] = (Ranked){largest(&next, k), k};
    choose_largest(ranked, V, rows, id);
    for (int64_t k = 0; k < rows; k++) label[k] = data_vocab_token(r->run->vocab, id[k], NULL);
    snprintf(p->title[p->n], TITLE_SIZE, "after this token: p of the next one, for the likeliest");
    DataHeatMap *panel = add_panel(p, &next, 0, rows, id);
    if (!panel) return out_of_memory(error);
    panel->row_labels = label;
    panel->high = 1;
    return true;
}

/* "NAME: layers 0 to 2, the 12 of 1150 units (the last: 400) whose cell varies most" */
static void make_title(const Reading *r, char *title, size_t title_size) {
    const LmTraceOptions *o = r->options;
    int64_t first = first_layer(r), last = first + layers_shown(r) - 1;
    int64_t H = units_of(r, first), rows = rows_shown(r, first);
    char layers[64], which[64] = "all", size[64];
    snprintf(layers, sizeof layers, last > first ? "layers %" PRId64 " to %" PRId64
                                                 : "layer %" PRId64, first, last);
    bool chosen = o->unit || (o->units > 0 && o->units < H);
    if (chosen) snprintf(which, sizeof which, "%s%" PRId64 " of", o->unit ? "" : "the ", rows);
    snprintf(size, sizeof size, "%" PRId64 " units", H);
    if (units_of(r, last) != H)
        snprintf(size, sizeof size, "%" PRId64 " units (the last: %" PRId64 ")", H,
                 units_of(r, last));
    snprintf(title, title_size, "%s%s%s, %s %s%s", o->name ? o->name : "", o->name ? ": " : "",
             layers, which, size, chosen && !o->unit ? " whose cell varies most" : "");
}

static bool add_panels(Picture *p, TensorError *error) {
    const Reading *r = p->reading;
    size_t n = (size_t)layers_shown(r) * N_QUANTITIES + 2;
    p->panel = tensor_arena_alloc(r->arena, n * sizeof *p->panel);
    p->title = tensor_arena_alloc(r->arena, n * sizeof *p->title);
    if (!p->panel || !p->title) return out_of_memory(error);
    if (!add_surprise(p, error)) return false;
    for (int64_t k = 0; k < layers_shown(r); k++)
        if (!add_layer(p, first_layer(r) + k, error)) return false;
    return add_next(p, error);
}

static bool write_picture(const Reading *r, const char *path, TensorError *error) {
    Picture p = {.reading = r};
    size_t title_size = TITLE_SIZE + (r->options->name ? strlen(r->options->name) : 0);
    char *title = tensor_arena_alloc(r->arena, title_size);
    const char **token = tensor_arena_alloc(r->arena, (size_t)columns(r) * sizeof *token);
    if (!title || !token) return out_of_memory(error);
    for (int64_t k = 0; k < columns(r); k++)
        token[k] = data_vocab_token(r->run->vocab, r->ids[r->options->skip + k], NULL);
    if (!add_panels(&p, error)) return false;
    make_title(r, title, title_size);
    const DataHeatMapOptions options = {.title = title, .column_labels = token};
    return data_plot_heat_maps(path, p.n, p.panel, &options, error);
}

/* ---- the table ---- */

/* ,"TOKEN" */
static void put_token(FILE *file, const DataVocab *vocab, int64_t id) {
    int64_t n;
    const char *token = data_vocab_token(vocab, id, &n);
    fputs(",\"", file);
    for (int64_t i = 0; i < n; i++) {
        if (token[i] == '"') putc('"', file);
        putc(token[i], file);
    }
    putc('"', file);
}

static void put_step(FILE *file, const Reading *r, int64_t layer, int64_t t,
                     const Tensor x[N_QUANTITIES]) {
    for (int64_t unit = 0; unit < units_of(r, layer); unit++) {
        fprintf(file, "%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64, layer, t, unit, r->ids[t]);
        put_token(file, r->run->vocab, r->ids[t]);
        if (t > 0) fprintf(file, ",%.9g", r->bits[t]);
        else putc(',', file);
        for (int q = 0; q < N_QUANTITIES; q++) fprintf(file, ",%.9g", at(&x[q], t, unit));
        putc('\n', file);
    }
}

static bool put_layer(FILE *file, const Reading *r, int64_t layer, TensorError *error) {
    Tensor x[N_QUANTITIES];
    for (int q = 0; q < N_QUANTITIES; q++) {
        x[q] = quantity(r, layer, quantities[q].name, error);
        if (tensor_is_nil(&x[q])) return false;
    }
    for (int64_t t = 0; t < r->T; t++) put_step(file, r, layer, t, x);
    return true;
}

static bool put_table(FILE *file, const Reading *r, TensorError *error) {
    fputs("layer,step,unit,id,token,bits,i,f,g,o,c,h\n", file);
    for (int64_t k = 0; k < layers_shown(r); k++)
        if (!put_layer(file, r, first_layer(r) + k, error)) return false;
    return true;
}

static bool write_table(const Reading *r, const char *path, TensorError *error) {
    TensorFileWriter w;
    if (!tensor_file_begin(&w, path, error)) return false;
    TensorLocale locale = tensor_locale_c();
    bool ok = put_table(w.stream, r, error);
    tensor_locale_restore(locale);
    if (ok) return tensor_file_commit(&w, error);
    tensor_file_abort(&w);
    return false;
}

/* ---- all of it ---- */

static bool check_length(const Reading *r, TensorError *error) {
    if (r->T == 0) return tensor_error_set(error, "--text: no token to read");
    return r->T <= LM_TRACE_MAX_TOKENS ||
           tensor_error_set(error, "--text has %" PRId64 " tokens, more than %d", r->T,
                            LM_TRACE_MAX_TOKENS);
}

static bool reading_start(Reading *r, TensorError *error) {
    r->tape = ag_tape_new();
    r->arena = tensor_arena_new();
    r->bits = malloc((size_t)r->T * sizeof *r->bits);
    if (!r->tape || !r->arena || !r->bits) return out_of_memory(error);
    ag_tape_no_grad(r->tape, true);
    return true;
}

static void reading_end(Reading *r) {
    if (r->tape) ag_tape_free(r->tape);
    tensor_arena_free(r->arena);
    free(r->bits);
    free(r->ids);
}

static bool write_files(const Reading *r, TensorError *error) {
    const LmTraceOptions *o = r->options;
    return check_layers(r, error) && (!o->svg || check_picture(r, error)) &&
           (!o->svg || write_picture(r, o->svg, error)) &&
           (!o->svg || !o->png || data_plot_png(o->svg, o->png, PNG_SCALE, error)) &&
           (!o->csv || write_table(r, o->csv, error));
}

static LmTraceResult sum_up(const Reading *r) {
    LmTraceResult result = {r->T, 0};
    for (int64_t t = 1; t < r->T; t++) result.bits += r->bits[t];
    result.bits /= (double)(r->T - 1); /* one token: 0 / 0 is NaN */
    return result;
}

bool lm_trace(const LmRun *run, const char *text, int64_t n, const LmTraceOptions *options,
              LmTraceResult *result, TensorError *error) {
    Reading r = {.run = run, .options = options};
    bool ok = lm_run_encode(run, "--text", text, n, &r.ids, &r.T, error) &&
              check_length(&r, error) && reading_start(&r, error) && read_tokens(&r, error) &&
              write_files(&r, error);
    if (ok) *result = sum_up(&r);
    reading_end(&r);
    return ok;
}

/* ---- lm trace ---- */

static int refuse(const TensorError *error) { return example_refuse("lm", error->message); }

typedef struct {
    const char *folder, *text, *units; /* units: of --unit-list */
    LmTraceOptions trace;
} Command;

static const Command command_defaults = {
    .folder = LM_DEFAULT_RUN, .trace = {.layer = -1, .units = 12}};

enum { COMMAND_OPTIONS = 10 };

static void list_options(Command *c, ExampleOption table[COMMAND_OPTIONS]) {
    const ExampleOption options[COMMAND_OPTIONS] = {
        {"run", "DIR", "run folder of a trained model",
         EXAMPLE_OPTION_TEXT, .variable = &c->folder},
        {"text", "TEXT", "the text that the model reads", EXAMPLE_OPTION_TEXT,
         .variable = &c->text},
        {"out", "FILE", "picture to write, SVG; otherwise RUN/trace.svg", EXAMPLE_OPTION_TEXT,
         .variable = &c->trace.svg},
        {"png", "FILE", "the picture as PNG, too", EXAMPLE_OPTION_TEXT,
         .variable = &c->trace.png},
        {"csv", "FILE", "table to write, too: all units in all steps",
         EXAMPLE_OPTION_TEXT, .variable = &c->trace.csv},
        {"layer", "N", "this layer only, counted from 0; -1: all", EXAMPLE_OPTION_INT,
         &c->trace.layer, .min = -1, .max = 1000},
        {"units", "N", "units to show of each layer, those whose cell varies most; 0: all",
         EXAMPLE_OPTION_INT, &c->trace.units, .max = 1 << 20},
        {"unit-list", "N,N,..", "show these units instead, counted from 0",
         EXAMPLE_OPTION_TEXT, .variable = &c->units},
        {"skip", "N", "show no columns for the first N tokens, which are still read",
         EXAMPLE_OPTION_INT, &c->trace.skip, .max = LM_TRACE_MAX_TOKENS},
        {0},
    };
    memcpy(table, options, sizeof options);
}

static void help(void) {
    Command c = command_defaults;
    ExampleOption table[COMMAND_OPTIONS];
    list_options(&c, table);
    printf("usage: lm trace --text TEXT [OPTION VALUE]...\n\n"
           "Draws what happens inside a trained model while it reads a text: gates, cells and\n"
           "outputs of its LSTM layers, how much each token surprises it, and what it expects\n"
           "next. A picture has room for %d tokens.\n\n", LM_TRACE_MAX_COLUMNS);
    example_options_help(table, stdout);
    fputs("\nexample:\n"
          "  lm trace --run book-run --text \"Once upon a time\" --out inside.svg\n", stdout);
}

/* "3,17,42" as numbers; for free().  NULL: *error says why. */
static int64_t *read_list(const char *text, int64_t *count, TensorError *error) {
    int64_t *number = malloc((strlen(text) / 2 + 1) * sizeof *number);
    if (!number) out_of_memory(error);
    *count = 0;
    for (const char *p = text; number; p++) {
        char *end;
        errno = 0;
        number[(*count)++] = strtoll(p, &end, 10);
        if (end != p && errno == 0 && *end == 0) return number;
        if (end == p || errno != 0 || *end != ',') break;
        p = end;
    }
    if (number) tensor_error_set(error, "--unit-list %s: not numbers with commas between", text);
    free(number);
    return NULL;
}

/* One would take the other's place. */
static bool check_names(const LmTraceOptions *o, TensorError *error) {
    const char *const name[] = {"--out", "--png", "--csv"};
    const char *const path[] = {o->svg, o->png, o->csv};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < i; k++)
            if (path[i] && path[k] && strcmp(path[i], path[k]) == 0)
                return tensor_error_set(error, "%s and %s: both are %s", name[k], name[i], path[i]);
    return true;
}

static int run_trace(Command *c) {
    TensorError error;
    LmTraceResult result;
    LmRun run;
    if (!lm_run_load(c->folder, &run, &error)) return refuse(&error);
    const char *unit = data_vocab_kind(run.vocab) == DATA_VOCAB_CHAR ? "character" : "word";
    bool ok = lm_trace(&run, c->text, (int64_t)strlen(c->text), &c->trace, &result, &error);
    lm_run_free(&run);
    if (!ok) return refuse(&error);
    printf("read      %" PRId64 " %s%s", result.tokens, unit, result.tokens == 1 ? "" : "s");
    if (!isnan(result.bits))
        printf(": %.3f bits each, perplexity %.4g", result.bits, exp2(result.bits));
    printf("\nsaved     %s\n", c->trace.svg);
    if (c->trace.png) printf("saved     %s\n", c->trace.png);
    if (c->trace.csv) printf("saved     %s\n", c->trace.csv);
    return 0;
}

int lm_trace_command(int argc, char **argv) {
    Command c = command_defaults;
    ExampleOption table[COMMAND_OPTIONS];
    TensorError error;
    char svg[PATH_MAX];
    list_options(&c, table);
    switch (example_options_read(table, argc, argv, &error)) {
    case EXAMPLE_OPTIONS_WRONG: return refuse(&error);
    case EXAMPLE_OPTIONS_HELP: help(); return 0;
    case EXAMPLE_OPTIONS_OK: break;
    }
    if (!c.text) return example_refuse("lm", "--text is missing: the text to read");
    if (!c.trace.svg) {
        if (!lm_run_path(c.folder, "trace.svg", svg, &error)) return refuse(&error);
        c.trace.svg = svg;
    }
    if (!check_names(&c.trace, &error)) return refuse(&error);
    int64_t *unit = NULL;
    if (c.units) {
        unit = read_list(c.units, &c.trace.unit_count, &error);
        if (!unit) return refuse(&error);
    }
    c.trace.unit = unit;
    const char *slash = strrchr(c.folder, '/');
    c.trace.name = slash && slash[1] ? slash + 1 : c.folder;
    int status = run_trace(&c);
    free(unit);
    return status;
}
