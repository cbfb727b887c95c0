/* lstm_trace.c -- see lstm_trace.h. */
#include "nn/lstm_trace.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/inspect.h"
#include "data/plot.h"
#include "nn/lstm_run.h"
#include "tensor/kernels.h"

/* ---- recording ---- */

enum { NAME_SIZE = NN_NAME_SIZE + 64 };

/* Watches or names one variable of a step as "lstm.l0.h[3]". */
static void mark_var(const NnLstm *m, int k, int64_t t, const char *what, AgVar v, bool watch) {
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s%s%s.%s[%" PRId64 "]", NN_PREFIX(m->name), m->layer[k].scope,
             what, t);
    if (watch) ag_watch(v, name);
    else ag_name(v, name);
}

static void mark_steps(const NnLstm *m, int64_t T, const AgLstmStep *steps) {
    for (int k = 0; k < m->L * m->D; k++)
        for (int64_t t = 0; t < T; t++) {
            const AgLstmStep *s = &steps[k * T + t];
            mark_var(m, k, t, "i", s->i, false);
            mark_var(m, k, t, "f", s->f, false);
            mark_var(m, k, t, "g", s->g, false);
            mark_var(m, k, t, "o", s->o, false);
            mark_var(m, k, t, "a", s->a, true);
            mark_var(m, k, t, "c", s->c, true);
            mark_var(m, k, t, "h", s->h, true);
        }
}

/* The lengths as the trace keeps them; NULL: the tape's error. */
static const int64_t *keep_lengths(AgTape *t, const int64_t *lengths, int64_t T, int64_t B) {
    int64_t *kept = ag_tape_alloc(t, (size_t)B * sizeof *kept);
    for (int64_t b = 0; kept && b < B; b++) kept[b] = lengths ? lengths[b] : T;
    return kept;
}

NnLstmTrace nn_lstm_trace(const NnLstm *m, AgVar x, const NnLstmState *s,
                          const int64_t *lengths) {
    AgTape *t = x.tape;
    AgVar none = {t, 0, 0};
    bool batch_first = m->options.batch_first, live = ag_ok(x);
    NnLstmTrace trace = {.out = {none, none, none}, .made = none,
                         .T = live ? ag_dim(x, batch_first) : 0,
                         .B = live ? ag_dim(x, !batch_first) : 0, .H = m->H, .L = m->L, .D = m->D,
                         .coupled = m->options.coupled, .name = m->name};
    /* Of a layer that was not made L can be anything; nn_lstm_run says what is wrong. */
    size_t n = m->layer ? (size_t)m->L * (size_t)m->D * (size_t)trace.T : 0;
    AgLstmStep *steps = t ? ag_tape_alloc(t, n * sizeof *steps) : NULL;
    if (!steps) return trace;
    NnLstmOutput out = nn_lstm_run(m, x, s, lengths, steps);
    if (!ag_ok(out.y)) return trace;
    mark_steps(m, trace.T, steps);
    trace.lengths = keep_lengths(t, lengths, trace.T, trace.B);
    trace.step = steps;
    trace.recorded = !ag_tape_is_no_grad(t);
    if (!ag_tape_ok(t)) return trace;
    trace.out = out;
    trace.made = out.y;
    return trace;
}

/* ---- checks ---- */

/* NULL, or why nothing can be read from the trace. */
static const char *trace_wrong(const NnLstmTrace *trace) {
    AgVar y = trace->made;
    if (ag_ok(y)) return NULL;
    if (y.tape && !y.id && !ag_tape_ok(y.tape)) return ag_tape_error(y.tape);
    return y.id ? "a stale trace (from before a reset or release)" : "a trace that failed";
}

/* The number of the pass, or -1 with the reason. */
static int find_pass(const NnLstmTrace *trace, int layer, int direction, TensorError *error) {
    const char *why = trace_wrong(trace);
    if (why) tensor_error_set(error, "lstm trace: %s", why);
    else if (layer < 0 || layer >= trace->L)
        tensor_error_set(error, "lstm trace: layer %d of %d, counted from 0", layer, trace->L);
    else if (direction < 0 || direction >= trace->D)
        tensor_error_set(error, "lstm trace: direction %d of %d, counted from 0", direction,
                         trace->D);
    else return layer * trace->D + direction;
    return -1;
}

static const AgLstmStep *steps_of(const NnLstmTrace *trace, int k) {
    return trace->step + k * trace->T;
}

/* ---- quantities ---- */

typedef struct {
    const char *name;
    size_t offset; /* of the variable in AgLstmStep */
    bool gradient;
} Quantity;

enum { DA = 8, N_QUANTITIES };
static const Quantity quantities[N_QUANTITIES] = {
    {"i", offsetof(AgLstmStep, i), false},      {"f", offsetof(AgLstmStep, f), false},
    {"g", offsetof(AgLstmStep, g), false},      {"o", offsetof(AgLstmStep, o), false},
    {"c", offsetof(AgLstmStep, c), false},      {"h", offsetof(AgLstmStep, h), false},
    {"dh", offsetof(AgLstmStep, h), true},      {"dc", offsetof(AgLstmStep, c), true},
    [DA] = {"da", offsetof(AgLstmStep, a), true},
};

static AgVar var_of(const AgLstmStep *s, const Quantity *q) {
    return *(const AgVar *)((const char *)s + q->offset);
}

/* Whether the last ag_backward came to any step of any pass: on its way it meets an a. */
static bool has_gradients(const NnLstmTrace *trace) {
    for (int64_t n = 0; n < trace->L * trace->D * trace->T; n++) {
        Tensor g = ag_watched_var(trace->step[n].a);
        if (!tensor_is_nil(&g)) return true;
    }
    return false;
}

/* x [T, B, n] = 0 beyond the lengths. */
static void clear_beyond(const NnLstmTrace *trace, const Tensor *x) {
    for (int64_t b = 0; b < trace->B; b++) {
        Tensor row = tensor_select(x, 1, b);
        Tensor rest = tensor_narrow(&row, 0, trace->lengths[b], trace->T - trace->lengths[b]);
        tensor_fill(&rest, 0);
    }
}

/* The quantity in all steps of pass k; nil: out of memory. */
static Tensor gather(const NnLstmTrace *trace, TensorArena *a, int k, const Quantity *q) {
    const AgLstmStep *s = steps_of(trace, k);
    AgVar first = var_of(&s[0], q);
    const int64_t shape[] = {trace->T, trace->B, ag_dim(first, 1)};
    Tensor all = tensor_new(a, ag_dtype(first), 3, shape);
    if (tensor_is_nil(&all)) return all;
    for (int64_t t = 0; t < trace->T; t++) {
        AgVar v = var_of(&s[t], q);
        Tensor to = tensor_select(&all, 0, t);
        Tensor from = q->gradient ? ag_watched_var(v) : *ag_value(v);
        if (tensor_is_nil(&from)) tensor_fill(&to, 0);
        else tensor_convert(&to, &from);
    }
    clear_beyond(trace, &all);
    return all;
}

Tensor nn_lstm_trace_get(const NnLstmTrace *trace, TensorArena *a, int layer, int direction,
                         const char *name, TensorError *error) {
    int k = find_pass(trace, layer, direction, error);
    if (k < 0) return tensor_nil();
    const Quantity *q = quantities, *end = quantities + N_QUANTITIES;
    while (q < end && strcmp(q->name, name)) q++;
    Tensor x = tensor_nil();
    if (q == end) {
        tensor_error_set(error, "lstm trace: no quantity \"%.32s\": there are i f g o c h dh dc da",
                         name);
    } else if (q->gradient && !has_gradients(trace)) {
        tensor_error_set(error, "lstm trace: \"%s\": no ag_backward has come to this LSTM", name);
    } else {
        x = gather(trace, a, k, q);
        if (tensor_is_nil(&x)) tensor_error_set(error, "lstm trace: out of memory");
    }
    return x;
}

/* ---- norms ---- */

enum { N_STATES = 2 };
static const char *const states[N_STATES] = {"h", "c"};

/* Whether a pass in this direction comes to step s before t, or s is t. */
static bool comes_before(int direction, int64_t s, int64_t t) {
    return direction == 1 ? s >= t : s <= t;
}

/* The variable of each step whose Jacobian is asked for. */
typedef struct {
    const NnLstmTrace *trace;
    bool reverse;
    int64_t size;    /* of the state */
    AgVar *v, *grad; /* [T] */
} States;

/* Adds the derivatives of unit `unit` of v[t] by v[s] to norm[s, b], for all s that come before t
 * or are t.  False: the tape's error. */
static bool add_unit(const States *x, int64_t t, int64_t unit, const Tensor *norm) {
    AgTape *tape = x->v[t].tape;
    AgTapeMark mark = ag_tape_mark(tape);
    int64_t B = x->trace->B, first = x->reverse ? t : 0, last = x->reverse ? x->trace->T : t + 1;
    AgVar ones = ag_full(tape, ag_dtype(x->v[t]), 2, (int64_t[]){B, 1}, 1);
    AgVar seed = ag_widen(ones, 1, unit, x->size);
    bool ok = ag_grad(x->v[t], seed, (int)(last - first), x->v + first, x->grad + first, false);
    for (int64_t s = first; ok && s < last; s++)
        for (int64_t i = 0; i < B * x->size; i++) {
            double *n = (double *)norm->data + s * B + i / x->size;
            *n = hypot(*n, tensor_get(ag_value(x->grad[s]), i)); /* squares could underflow */
        }
    return ag_tape_release(tape, mark, 0, NULL) && ok;
}

/* norm [T, B] for one t.  False: the tape's error. */
static bool norms_of_step(const States *x, int64_t t, const Tensor *norm) {
    tensor_fill(norm, 0);
    for (int64_t unit = 0; unit < x->size; unit++)
        if (!add_unit(x, t, unit, norm)) return false;
    for (int64_t b = 0; b < x->trace->B; b++) {
        Tensor column = tensor_select(norm, 1, b);
        int64_t length = x->trace->lengths[b], from = t < length ? length : 0;
        Tensor beyond = tensor_narrow(&column, 0, from, x->trace->T - from);
        tensor_fill(&beyond, 0);
    }
    return true;
}

/* norm [T, B], or [T, T, B] for all t. */
static bool all_norms(const States *x, int64_t t, const Tensor *norm, TensorError *error) {
    AgTape *tape = x->trace->out.y.tape;
    bool keep = ag_tape_keep_gradients(tape, false); /* those of the caller's sweep stay */
    bool ok = true;
    if (t != NN_LSTM_TRACE_ALL) ok = norms_of_step(x, t, norm);
    for (int64_t s = 0; t == NN_LSTM_TRACE_ALL && ok && s < x->trace->T; s++) {
        Tensor one = tensor_select(norm, 0, s);
        ok = norms_of_step(x, s, &one);
    }
    ag_tape_keep_gradients(tape, keep);
    return ok || tensor_error_set(error, "lstm trace: %s", ag_tape_error(tape));
}

static bool check_norms(const NnLstmTrace *trace, const char *state, int64_t t,
                        TensorError *error) {
    if (strcmp(state, "h") && strcmp(state, "c"))
        return tensor_error_set(error, "lstm trace: no state \"%.32s\": wants h or c", state);
    if (t != NN_LSTM_TRACE_ALL && (t < 0 || t >= trace->T))
        return tensor_error_set(error, "lstm trace: step %" PRId64 " of %" PRId64
                                ", counted from 0", t, trace->T);
    if (!trace->recorded)
        return tensor_error_set(error, "lstm trace: was made without gradients (ag_tape_no_grad)");
    return true;
}

Tensor nn_lstm_trace_norms(const NnLstmTrace *trace, TensorArena *a, int layer, int direction,
                           const char *state, int64_t t, TensorError *error) {
    int k = find_pass(trace, layer, direction, error);
    if (k < 0 || !check_norms(trace, state, t, error)) return tensor_nil();
    bool all = t == NN_LSTM_TRACE_ALL;
    int64_t T = trace->T, shape[] = {T, T, trace->B};
    Tensor norm = tensor_new(a, TENSOR_F64, all ? 3 : 2, shape + !all);
    AgVar *v = malloc(2 * (size_t)T * sizeof *v);
    if (tensor_is_nil(&norm) || !v) {
        free(v);
        tensor_error_set(error, "lstm trace: out of memory");
        return tensor_nil();
    }
    States x = {trace, direction == 1, 0, v, v + T};
    for (int64_t s = 0; s < T; s++)
        v[s] = *state == 'h' ? steps_of(trace, k)[s].h : steps_of(trace, k)[s].c;
    x.size = ag_dim(v[0], 1);
    bool ok = all_norms(&x, t, &norm, error);
    free(v);
    return ok ? norm : tensor_nil();
}

/* ---- CSV ---- */

/* All quantities of one pass, those that are not there nil. */
typedef struct {
    Tensor value[N_QUANTITIES];
} PassValues;

/* False: out of memory. */
static bool gather_pass(const NnLstmTrace *trace, TensorArena *a, int k, bool gradients,
                        PassValues *p) {
    for (int i = 0; i < N_QUANTITIES; i++) {
        p->value[i] = tensor_nil();
        if (quantities[i].gradient && !gradients) continue;
        p->value[i] = gather(trace, a, k, &quantities[i]);
        if (tensor_is_nil(&p->value[i])) return false;
    }
    return true;
}

/* ",VALUE" of x [T, B, n]; "," where there is none. */
static void put_value(FILE *file, const Tensor *x, int64_t row, int64_t unit) {
    putc(',', file);
    if (!tensor_is_nil(x) && unit >= 0 && unit < x->shape[2])
        fprintf(file, "%.17g", tensor_get(x, row * x->shape[2] + unit));
}

/* The line's numbers from i to da_o. */
static void put_unit(FILE *file, const NnLstmTrace *trace, const PassValues *p, int64_t row,
                     int64_t unit) {
    for (int i = 0; i < DA; i++) put_value(file, &p->value[i], row, unit);
    int part = 0;
    for (int gate = 0; gate < 4; gate++) {
        bool is_there = !(trace->coupled && gate == 1);
        int64_t at = is_there ? part++ * trace->H + unit : -1;
        put_value(file, &p->value[DA], row, at);
    }
    putc('\n', file);
}

static void put_pass(FILE *file, const NnLstmTrace *trace, int k, const PassValues *p) {
    for (int64_t t = 0; t < trace->T; t++)
        for (int64_t b = 0; b < trace->B; b++)
            for (int64_t unit = 0; t < trace->lengths[b] && unit < trace->H; unit++) {
                fprintf(file, "%d,%d,%" PRId64 ",%" PRId64 ",%" PRId64, k / trace->D, k % trace->D,
                        t, b, unit);
                put_unit(file, trace, p, t * trace->B + b, unit);
            }
}

/* False: the reason is in *error. */
static bool put_table(FILE *file, const NnLstmTrace *trace, TensorError *error) {
    TensorArena *a = tensor_arena_new();
    bool ok = a, gradients = has_gradients(trace);
    fputs("layer,direction,step,sequence,unit,i,f,g,o,c,h,dh,dc,da_i,da_f,da_g,da_o\n", file);
    for (int k = 0; ok && k < trace->L * trace->D; k++) {
        PassValues p;
        ok = gather_pass(trace, a, k, gradients, &p);
        if (ok) put_pass(file, trace, k, &p);
        tensor_arena_reset(a);
    }
    tensor_arena_free(a);
    return ok || tensor_error_set(error, "out of memory");
}

/* The norms of one pass, in the order of `states`. */
typedef struct {
    Tensor of[N_STATES]; /* [T, T, B] */
} PassNorms;

static void put_norms(FILE *file, const NnLstmTrace *trace, int k, const PassNorms *p) {
    int64_t T = trace->T, B = trace->B;
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < trace->lengths[b]; t++)
            for (int64_t s = 0; s < trace->lengths[b]; s++) {
                if (!comes_before(k % trace->D, s, t)) continue;
                fprintf(file, "%d,%d,%" PRId64 ",%" PRId64 ",%" PRId64, k / trace->D, k % trace->D,
                        b, t, s);
                for (int i = 0; i < N_STATES; i++)
                    fprintf(file, ",%.17g", tensor_get(&p->of[i], (t * T + s) * B + b));
                putc('\n', file);
            }
}

/* False: the reason is in *error. */
static bool put_norm_table(FILE *file, const NnLstmTrace *trace, TensorError *error) {
    TensorArena *a = tensor_arena_new();
    bool ok = a || tensor_error_set(error, "out of memory");
    fputs("layer,direction,sequence,t,s,dh,dc\n", file);
    for (int k = 0; ok && k < trace->L * trace->D; k++) {
        PassNorms p;
        for (int i = 0; ok && i < N_STATES; i++) {
            p.of[i] = nn_lstm_trace_norms(trace, a, k / trace->D, k % trace->D, states[i],
                                          NN_LSTM_TRACE_ALL, error);
            ok = !tensor_is_nil(&p.of[i]);
        }
        if (ok) put_norms(file, trace, k, &p);
        tensor_arena_reset(a);
    }
    tensor_arena_free(a);
    return ok;
}

static bool write_table(const NnLstmTrace *trace, const char *path,
                        bool (*put)(FILE *file, const NnLstmTrace *trace, TensorError *error),
                        TensorError *error) {
    const char *failed = trace_wrong(trace);
    if (failed) return tensor_error_file(error, path, -1, "not written: lstm trace: %s", failed);
    TensorFileWriter w;
    TensorError why;
    if (!tensor_file_begin(&w, path, error)) return false;
    TensorLocale locale = tensor_locale_c();
    bool ok = put(w.stream, trace, &why);
    tensor_locale_restore(locale);
    if (ok) return tensor_file_commit(&w, error);
    tensor_file_abort(&w);
    return tensor_error_file(error, path, -1, "not written: %s", why.message);
}

bool nn_lstm_trace_write_csv(const NnLstmTrace *trace, const char *path, TensorError *error) {
    return write_table(trace, path, put_table, error);
}

bool nn_lstm_trace_write_norms_csv(const NnLstmTrace *trace, const char *path,
                                   TensorError *error) {
    return write_table(trace, path, put_norm_table, error);
}

/* ---- SVG ---- */

typedef struct {
    const char *name, *title;
    int part;         /* of the H units of "da" */
    double low, high; /* 0, 0: from the values */
} Panel;

enum { N_VALUES = 6, N_QUANTITY_PANELS = 12, N_PANELS = N_QUANTITY_PANELS + N_STATES };
static const Panel panels[N_QUANTITY_PANELS] = {
    {"i", "i: input gate", 0, 0, 1},       {"f", "f: forget gate", 0, 0, 1},
    {"g", "g: candidate", 0, -1, 1},       {"o", "o: output gate", 0, 0, 1},
    {"c", "c: cell", 0, 0, 0},             {"h", "h: output", 0, 0, 0},
    {"dh", "dL/dh", 0, 0, 0},              {"dc", "dL/dc", 0, 0, 0},
    {"da", "dL/da, input gate", 0, 0, 0},  {"da", "dL/da, forget gate", 1, 0, 0},
    {"da", "dL/da, candidate", 2, 0, 0},   {"da", "dL/da, output gate", 3, 0, 0},
};

/* One panel [H, steps] of the sequence; false: the reason is in *error. */
static bool make_panel(const NnLstmTrace *trace, TensorArena *a, const NnLstmTracePicture *o,
                       const Panel *p, DataHeatMap *map, TensorError *error) {
    Tensor x = nn_lstm_trace_get(trace, a, o->layer, o->direction, p->name, error);
    if (tensor_is_nil(&x)) return false;
    if (strcmp(p->name, "da") == 0) {
        int part = trace->coupled && p->part > 1 ? p->part - 1 : p->part;
        x = tensor_narrow(&x, 2, part * trace->H, trace->H);
    }
    x = tensor_select(&x, 1, o->sequence);
    x = tensor_narrow(&x, 0, 0, trace->lengths[o->sequence]);
    *map = (DataHeatMap){.title = p->title, .values = tensor_transpose(&x, 0, 1), .low = p->low,
                         .high = p->high};
    return true;
}

/* Coupled gates have no sums for f of their own. */
static bool is_shown(const NnLstmTrace *trace, const Panel *p) {
    return !(trace->coupled && strcmp(p->name, "da") == 0 && p->part == 1);
}

/* The panel [s, t] of norms of state number i. */
static bool make_norm_panel(const NnLstmTrace *trace, TensorArena *a, const NnLstmTracePicture *o,
                            int i, const char *const *labels, DataHeatMap *map,
                            TensorError *error) {
    static const char *const titles[N_STATES] = {
        "log10 ||dh_t/dh_s||, s downwards", "log10 ||dc_t/dc_s||, s downwards"};
    Tensor all = nn_lstm_trace_norms(trace, a, o->layer, o->direction, states[i],
                                     NN_LSTM_TRACE_ALL, error);
    if (tensor_is_nil(&all)) return false;
    int64_t n = trace->lengths[o->sequence];
    Tensor x = tensor_select(&all, 2, o->sequence);
    x = tensor_narrow(&x, 0, 0, n);
    x = tensor_narrow(&x, 1, 0, n);
    for (int64_t e = 0; e < n * n; e++) {
        bool depends = comes_before(o->direction, e % n, e / n);
        tensor_set(&x, e, depends ? log10(tensor_get(&x, e)) : (double)NAN);
    }
    *map = (DataHeatMap){.title = titles[i], .values = tensor_transpose(&x, 0, 1),
                         .row_labels = labels};
    return true;
}

/* Returns the number of panels, or -1 with the reason. */
static int make_panels(const NnLstmTrace *trace, TensorArena *a, const NnLstmTracePicture *o,
                       const char *const *labels, DataHeatMap map[N_PANELS], TensorError *error) {
    if (find_pass(trace, o->layer, o->direction, error) < 0) return -1;
    if (o->sequence < 0 || o->sequence >= trace->B) {
        tensor_error_set(error, "lstm trace: sequence %" PRId64 " of %" PRId64 ", counted from 0",
                         o->sequence, trace->B);
        return -1;
    }
    int n = 0;
    for (int i = 0; i < (o->gradients ? N_QUANTITY_PANELS : N_VALUES); i++) {
        if (!is_shown(trace, &panels[i])) continue;
        if (!make_panel(trace, a, o, &panels[i], &map[n++], error)) return -1;
    }
    for (int i = 0; o->norms && i < N_STATES; i++)
        if (!make_norm_panel(trace, a, o, i, labels, &map[n++], error)) return -1;
    return n;
}

static const char *title_of(const NnLstmTrace *trace, const NnLstmTracePicture *o,
                            char buf[NAME_SIZE]) {
    if (o->title) return o->title;
    snprintf(buf, NAME_SIZE, "%s%slayer %d%s, sequence %" PRId64, trace->name,
             *trace->name ? ": " : "", o->layer, o->direction ? " in reverse" : "", o->sequence);
    return buf;
}

bool nn_lstm_trace_write_svg(const NnLstmTrace *trace, const char *path,
                             const char *const *labels, const NnLstmTracePicture *picture,
                             TensorError *error) {
    const NnLstmTracePicture o = picture ? *picture : (NnLstmTracePicture){0};
    DataHeatMap map[N_PANELS];
    TensorArena *a = tensor_arena_new();
    if (!a) return tensor_error_file(error, path, -1, "out of memory");
    TensorError why;
    int n = make_panels(trace, a, &o, labels, map, &why);
    bool ok = n >= 0;
    if (ok) {
        char buf[NAME_SIZE];
        DataHeatMapOptions options = {.title = title_of(trace, &o, buf), .column_labels = labels};
        ok = data_plot_heat_maps(path, n, map, &options, error);
    } else {
        tensor_error_file(error, path, -1, "not written: %s", why.message);
    }
    tensor_arena_free(a);
    return ok;
}
