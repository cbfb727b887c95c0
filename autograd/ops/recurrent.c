/* recurrent.c -- see recurrent.h. */
#include "autograd/ops/recurrent.h"

#include <limits.h>
#include <stdio.h>

#include "autograd/ops/linear.h"
#include "autograd/tape.h"
#include "tensor/gemm.h"

/* ---- inputs ---- */

static const int64_t *copy_lengths(AgTape *t, const int64_t *lengths, int64_t B) {
    int64_t *copy = ag_tape_alloc(t, (size_t)B * sizeof *copy + 1);
    return copy ? memcpy(copy, lengths, (size_t)B * sizeof *copy) : NULL;
}

int ag_recurrent_inputs(const AgVar all[AG_ROLES], const int64_t *lengths, AgVar *in,
                        AgRecurrent *o) {
    int n = 0;
    for (int role = 0; role < AG_ROLES; role++) {
        if (!all[role].tape) continue;
        in[n++] = all[role];
        o->parts |= AG_HAS(role);
    }
    /* A length for each row of an x that has rows; the op refuses another x by itself. */
    AgVar x = all[AG_X];
    if (!lengths || !ag_ok(x) || ag_ndim(x) != (ag_dtype(x) == TENSOR_I64 ? 2 : 3)) return n;
    o->lengths = copy_lengths(x.tape, lengths, ag_dim(x, 1));
    return o->lengths ? n : 0;
}

typedef struct {
    const char *name;
    int ndim;
    int64_t shape[2];
} Wanted;

static bool fits(const Tensor *x, const Wanted *w) {
    return x->ndim == w->ndim && x->shape[0] == w->shape[0] &&
           (w->ndim == 1 || x->shape[1] == w->shape[1]);
}

static const char *misfit(const Tensor *x, const Wanted *w, char *buf) {
    char got[TENSOR_DESCRIBE_SIZE], second[32] = "";
    if (w->ndim == 2) snprintf(second, sizeof second, ",%lld", (long long)w->shape[1]);
    snprintf(buf, AG_REASON_SIZE, "expected %s [%lld%s], got %s", w->name, (long long)w->shape[0],
             second, tensor_describe(x, got, sizeof got));
    return buf;
}

/* What is wrong with x by itself, or beside the weights. */
static const char *x_wrong(const Tensor *x, const Tensor *w_ih, char *buf) {
    if (x->dtype == TENSOR_I64 && x->ndim != 2)
        return "expected x [T,B], the numbers of one-hot vectors";
    if (x->dtype == TENSOR_U8) return "x is u8, wants f32, f64 or i64";
    if (x->dtype != TENSOR_I64 && x->ndim != 3) return "expected x [T,B,I]";
    if (x->shape[0] < 1) return "expected 1 step or more";
    if (x->shape[0] > INT_MAX) return "too many steps";
    if (x->dtype == TENSOR_I64 || x->dtype == w_ih->dtype) return NULL;
    snprintf(buf, AG_REASON_SIZE, "mixed dtypes: x is %s, weight_ih is %s",
             tensor_dtype_name(x->dtype), tensor_dtype_name(w_ih->dtype));
    return buf;
}

/* Of an x I64. */
static const char *numbers_wrong(const AgRecurrent *o, const Tensor *x, const AgRecurrentSize *s,
                                 char *buf) {
    for (int64_t t = 0; t < s->T; t++)
        for (int64_t b = 0; b < s->B; b++) {
            const int64_t *entry = x->data, at = t * x->stride[0] + b * x->stride[1];
            if ((entry[at] >= 0 && entry[at] < s->I) || (o->lengths && t >= o->lengths[b]))
                continue;
            snprintf(buf, AG_REASON_SIZE,
                     "x at step %lld of sequence %lld is %lld, outside 0..%lld", (long long)t,
                     (long long)b, (long long)entry[at], (long long)s->I - 1);
            return buf;
        }
    return NULL;
}

static const char *lengths_wrong(const AgRecurrent *o, const AgRecurrentSize *s, char *buf) {
    for (int64_t b = 0; o->lengths && b < s->B; b++) {
        if (o->lengths[b] >= 0 && o->lengths[b] <= s->T) continue;
        snprintf(buf, AG_REASON_SIZE, "lengths[%lld] is %lld, outside 0..%lld", (long long)b,
                 (long long)o->lengths[b], (long long)s->T);
        return buf;
    }
    return NULL;
}

/* Parts that come together or not at all. */
static const char *incomplete(const AgRecurrent *o) {
    if (!ag_has(o, AG_X) || !ag_has(o, AG_W_IH) || !ag_has(o, AG_W_HH))
        return "wants x, weight_ih and weight_hh";
    if (ag_has(o, AG_B_IH) != ag_has(o, AG_B_HH)) return "one bias alone: wants both or none";
    unsigned norms = AG_HAS(AG_NORM_IH) | AG_HAS(AG_NORM_HH) | AG_HAS(AG_NORM_C);
    if ((o->parts & norms) != 0 && (o->parts & norms) != norms)
        return "layer_norm_ih, layer_norm_hh and layer_norm_c come together";
    if (ag_has(o, AG_NORM_C_BIAS) && !ag_has(o, AG_NORM_C))
        return "layer_norm_c_bias without layer_norm_c";
    return NULL;
}

const char *ag_recurrent_check(const AgRecurrent *o, int n_in, const Tensor *const *in, int gates,
                               AgRecurrentSize *s, char buf[AG_REASON_SIZE]) {
    const char *reason = incomplete(o);
    if (reason) return reason;
    if (n_in != __builtin_popcount(o->parts)) return "parts that are none of the op's";
    const Tensor *x = in[0], *w_ih = in[ag_role(o, AG_W_IH)];
    if ((reason = x_wrong(x, w_ih, buf)) != NULL) return reason;
    if (w_ih->ndim != 2 || w_ih->shape[0] % gates != 0) {
        snprintf(buf, AG_REASON_SIZE, "expected weight_ih [%dH,I]", gates);
        return buf;
    }
    int64_t H = w_ih->shape[0] / gates, out = H;
    if (ag_has(o, AG_W_HR)) {
        const Tensor *w_hr = in[ag_role(o, AG_W_HR)];
        if (w_hr->ndim != 2) return "expected weight_hr [H',H]";
        out = w_hr->shape[0];
    }
    bool numbers = x->dtype == TENSOR_I64;
    *s = (AgRecurrentSize){x->shape[0], x->shape[1], numbers ? w_ih->shape[1] : x->shape[2], H,
                           out};
    int64_t all = gates * H;
    const Wanted wanted[AG_ROLES] = {
        [AG_W_IH] = {"weight_ih", 2, {all, s->I}},
        [AG_W_HH] = {"weight_hh", 2, {all, out}},
        [AG_B_IH] = {"bias_ih", 1, {all}},
        [AG_B_HH] = {"bias_hh", 1, {all}},
        [AG_H0] = {"h0", 2, {s->B, out}},
        [AG_C0] = {"c0", 2, {s->B, H}},
        [AG_W_HR] = {"weight_hr", 2, {out, H}},
        [AG_PEEPHOLE] = {"weight_peephole", 1, {all - H}},
        [AG_NORM_IH] = {"layer_norm_ih", 1, {all}},
        [AG_NORM_HH] = {"layer_norm_hh", 1, {all}},
        [AG_NORM_C] = {"layer_norm_c", 1, {H}},
        [AG_NORM_C_BIAS] = {"layer_norm_c_bias", 1, {H}},
    };
    for (int role = AG_W_IH; role < AG_ROLES; role++) {
        const Tensor *part = ag_has(o, (AgRole)role) ? in[ag_role(o, (AgRole)role)] : NULL;
        if (part && !fits(part, &wanted[role])) return misfit(part, &wanted[role], buf);
    }
    reason = lengths_wrong(o, s, buf);
    return reason || !numbers ? reason : numbers_wrong(o, x, s, buf);
}

bool ag_recurrent_shape(AgCall *c, int gates, AgRecurrentSize *s) {
    char buf[AG_REASON_SIZE];
    const char *reason = ag_recurrent_check(c->options, c->n_in, c->in, gates, s, buf);
    if (reason) return ag_call_fail(c, "%s", reason);
    return ag_out_shape(c, 0, 3, (int64_t[]){s->T, s->B, s->out}) &&
           ag_out_shape(c, 1, 2, (int64_t[]){s->B, s->out}) &&
           (c->n_out < 3 || ag_out_shape(c, 2, 2, (int64_t[]){s->B, s->H}));
}

/* ---- the order of the steps ---- */

static bool all_full(const int64_t *length, int64_t B, int64_t T) {
    for (int64_t b = 0; b < B; b++)
        if (length[b] != T) return false;
    return true;
}

static void plan_full(AgSteps *s) {
    for (int64_t n = 0; n < s->T; n++) {
        s->active[n] = s->B;
        s->first[n] = (s->reverse ? s->T - 1 - n : n) * s->B;
    }
    s->rows = s->T * s->B;
}

/* Sorts by counting: of equals the first comes first. */
static void plan_lengths(AgSteps *s) {
    for (int64_t n = 0; n < s->T; n++) s->active[n] = 0;
    for (int64_t b = 0; b < s->B; b++)
        if (s->length[b] > 0) s->active[s->length[b] - 1]++;
    for (int64_t n = s->T - 2; n >= 0; n--) s->active[n] += s->active[n + 1];
    /* active[n] sequences are longer than n: those of length n + 1 come after active[n + 1]. */
    for (int64_t n = 0; n < s->T; n++) s->first[n] = n + 1 < s->T ? s->active[n + 1] : 0;
    int64_t place_of_empty = s->active[0];
    for (int64_t b = 0; b < s->B; b++) {
        int64_t *place = s->length[b] > 0 ? &s->first[s->length[b] - 1] : &place_of_empty;
        s->order[(*place)++] = b;
    }
    s->rows = 0;
    for (int64_t n = 0; n < s->T; n++) {
        s->first[n] = s->rows;
        s->rows += s->active[n];
    }
}

bool ag_steps_plan(AgCall *c, const AgRecurrent *o, AgSteps *s) {
    *s = (AgSteps){.T = c->in[0]->shape[0], .B = c->in[0]->shape[1], .reverse = o->reverse};
    bool full = !o->lengths || all_full(o->lengths, s->B, s->T);
    size_t numbers = 2 * (size_t)s->T + (full ? 0 : (size_t)s->B);
    int64_t *memory = ag_call_save(c, numbers * sizeof *memory);
    if (!memory) return false;
    s->active = memory;
    s->first = memory + s->T;
    if (!full) {
        s->length = o->lengths;
        s->order = memory + 2 * s->T;
    }
    if (full) plan_full(s);
    else plan_lengths(s);
    return true;
}

/* Between x [T, B, n], whose rows lie together, and rows in the order of the steps. */
static void move_rows(const AgSteps *s, const Tensor *x, const Tensor *rows, bool to_rows) {
    int64_t size = (int64_t)tensor_dtype_size(x->dtype);
    size_t bytes = (size_t)(x->shape[2] * size);
    char *row = rows->data;
    for (int64_t n = 0; n < s->T; n++) {
        for (int64_t k = 0; k < s->active[n]; k++, row += bytes) {
            int64_t b = s->order[k], step = s->reverse ? s->length[b] - 1 - n : n;
            char *place = (char *)x->data + (step * x->stride[0] + b * x->stride[1]) * size;
            if (bytes) memcpy(to_rows ? row : place, to_rows ? place : row, bytes);
        }
    }
}

Tensor ag_all_rows(const Tensor *x) {
    int64_t shape[] = {x->shape[0] * x->shape[1], x->shape[2]};
    return tensor_wrap(x->data, x->dtype, 2, shape);
}

/* x if it is contiguous, else a copy in a. */
static Tensor dense_or_nil(TensorArena *a, const Tensor *x) {
    return tensor_is_contiguous(x) ? *x : tensor_copy(a, x);
}

Tensor ag_steps_rows(TensorArena *a, const AgSteps *s, const Tensor *x) {
    bool together = s->order && (x->shape[2] < 2 || x->stride[2] == 1);
    Tensor dense = together ? *x : dense_or_nil(a, x);
    if (tensor_is_nil(&dense)) return dense;
    if (!s->order) return ag_all_rows(&dense);
    Tensor rows = tensor_new(a, x->dtype, 2, (int64_t[]){s->rows, x->shape[2]});
    if (!tensor_is_nil(&rows)) move_rows(s, &dense, &rows, true);
    return rows;
}

void ag_steps_finish(const AgSteps *s, const Tensor *y, const Tensor *rows) {
    if (!s->order) return;
    tensor_fill(y, 0);
    move_rows(s, y, rows, false);
}

static void reorder(const AgSteps *s, const Tensor *to, const Tensor *from, bool sort) {
    if (!s->order) tensor_convert(to, from);
    for (int64_t k = 0; s->order && k < s->B; k++) {
        Tensor t = tensor_select(to, 0, sort ? k : s->order[k]);
        Tensor f = tensor_select(from, 0, sort ? s->order[k] : k);
        tensor_convert(&t, &f);
    }
}

void ag_steps_sort(const AgSteps *s, const Tensor *to, const Tensor *from) {
    reorder(s, to, from, true);
}

Tensor ag_step_rows(const AgSteps *s, const Tensor *x, int64_t n) {
    bool all = x->shape[0] == s->rows;
    return tensor_narrow(x, 0, all ? s->first[n] : 0, s->active[n]);
}

Tensor ag_step_before(const AgSteps *s, const Tensor *states, const Tensor *initial, int64_t n) {
    Tensor before = n ? ag_step_rows(s, states, n - 1) : *initial;
    return tensor_narrow(&before, 0, 0, s->active[n]);
}

Tensor ag_steps_before(TensorArena *a, const AgSteps *s, const Tensor *states,
                       const Tensor *initial) {
    Tensor all = tensor_new(a, states->dtype, 2, (int64_t[]){s->rows, states->shape[1]});
    for (int64_t n = 0; n < s->T && s->active[n] > 0 && !tensor_is_nil(&all); n++) {
        Tensor to = ag_step_rows(s, &all, n), from = ag_step_before(s, states, initial, n);
        tensor_convert(&to, &from);
    }
    return all;
}

void ag_steps_final(const AgSteps *s, const Tensor *to, const Tensor *states,
                    const Tensor *initial) {
    for (int64_t k = 0; s->order && k < s->B; k++) {
        int64_t length = s->length[s->order[k]];
        Tensor from = length ? ag_step_rows(s, states, length - 1) : *initial;
        Tensor x = tensor_select(&from, 0, k), y = tensor_select(to, 0, s->order[k]);
        tensor_convert(&y, &x);
    }
    if (s->order) return;
    Tensor last = ag_step_rows(s, states, s->T - 1);
    tensor_convert(to, &last);
}

Tensor ag_gate(const Tensor *rows, int k, int64_t H) {
    return tensor_narrow(rows, 1, k * H, H);
}

/* ---- the fast ops ---- */

bool ag_recurrent_parts(TensorArena *a, const AgRecurrent *o, const Tensor *const *in,
                        Tensor part[AG_ROLES]) {
    for (int role = 0; role < AG_ROLES; role++) {
        part[role] = tensor_nil();
        if (!ag_has(o, (AgRole)role)) continue;
        const Tensor *x = in[ag_role(o, (AgRole)role)];
        part[role] = x->ndim == 1 ? dense_or_nil(a, x) : *x;
        if (tensor_is_nil(&part[role])) return false;
    }
    return true;
}

Tensor ag_recurrent_biases(AgCall *c, const Tensor part[AG_ROLES], int64_t n, int64_t joined) {
    Tensor both = ag_call_tensor(c, false, c->out[0].dtype, 2, (int64_t[]){2, n});
    if (tensor_is_nil(&both)) return both;
    Tensor ih = tensor_select(&both, 0, 0), hh = tensor_select(&both, 0, 1);
    if (tensor_is_nil(&part[AG_B_IH])) {
        tensor_fill(&both, 0);
        return both;
    }
    tensor_convert(&ih, &part[AG_B_IH]);
    tensor_convert(&hh, &part[AG_B_HH]);
    ih = tensor_narrow(&ih, 0, 0, joined);
    hh = tensor_narrow(&hh, 0, 0, joined);
    tensor_accumulate(&ih, &hh);
    return both;
}

/* x I64 [T, B] as [rows] in the order of the steps.  Nil when out of memory. */
static Tensor numbers_of(TensorArena *a, const AgSteps *s, const Tensor *x) {
    Tensor columns = tensor_unsqueeze(x, 2), rows = ag_steps_rows(a, s, &columns);
    return tensor_is_nil(&rows) ? rows : tensor_select(&rows, 1, 0);
}

/* Row number n of y is column number x_n of w.  To read columns is slow: with fewer columns than
 * rows of y each is read once, into a table. */
static bool look_up(AgCall *c, const AgSteps *s, const Tensor *w, const Tensor *y) {
    Tensor number = numbers_of(c->scratch, s, c->in[0]), table = tensor_transpose(w, 0, 1);
    if (w->shape[1] <= s->rows) table = tensor_copy(c->scratch, &table);
    if (tensor_is_nil(&number) || tensor_is_nil(&table)) return ag_call_fail(c, "out of memory");
    tensor_index_select(y, &table, 0, &number);
    return true;
}

bool ag_recurrent_project(AgCall *c, const AgSteps *s, const Tensor *y) {
    int i = ag_role(c->options, AG_W_IH);
    if (c->in[0]->dtype == TENSOR_I64) return look_up(c, s, c->in[i], y);
    Tensor x = ag_steps_rows(c->scratch, s, c->in[0]);
    if (tensor_is_nil(&x)) return ag_call_fail(c, "out of memory");
    TensorPacked w_t = ag_call_packed(c, i, true);
    if (!w_t.data) return false;
    return tensor_gemm_packed(1, &x, &w_t, 0, y, c->scratch) || ag_call_fail(c, "out of memory");
}

Tensor ag_recurrent_output(AgCall *c, const AgSteps *s) {
    const Tensor *y = &c->out[0];
    if (!s->order) return ag_all_rows(y);
    return ag_call_tensor(c, false, y->dtype, 2, (int64_t[]){s->rows, y->shape[2]});
}

void ag_recurrent_initial(const AgSteps *s, const Tensor *to, const Tensor *initial) {
    if (tensor_is_nil(initial)) tensor_fill(to, 0);
    else ag_steps_sort(s, to, initial);
}

bool ag_gradient_needed(const AgVjp *v, AgRole role) {
    const AgRecurrent *o = v->options;
    return ag_has(o, role) && v->need[ag_role(o, role)];
}

bool ag_vjp_out_of_memory(AgVjp *v) {
    ag_fail(v->tape, "%s: out of memory", v->op->name);
    return false;
}

bool ag_gradient_product(AgVjp *v, AgRole role, const Tensor *a, const Tensor *b) {
    if (!ag_gradient_needed(v, role)) return true;
    Tensor a_t = tensor_transpose(a, 0, 1);
    return ag_vjp_add_product(v, ag_role(v->options, role), 1, &a_t, b);
}

/* The gradient of a bias, row [1, n]. */
static bool gradient_row(AgVjp *v, AgRole role, const Tensor *row) {
    if (!ag_gradient_needed(v, role)) return true;
    int i = ag_role(v->options, role);
    const Tensor *into = ag_vjp_into(v, i);
    Tensor g = into ? *into : ag_vjp_raw(v, i);
    if (tensor_is_nil(&g)) return false;
    Tensor to = tensor_unsqueeze(&g, 0);
    if (into) tensor_accumulate(&to, row);
    else tensor_convert(&to, row);
    return true;
}

static bool gradient_sums(AgVjp *v, const AgRole *role, int n, const Tensor *a) {
    bool needed = false;
    for (int i = 0; i < n; i++) needed |= ag_gradient_needed(v, role[i]);
    if (!needed) return true;
    Tensor row = tensor_new(v->scratch, a->dtype, 2, (int64_t[]){1, a->shape[1]});
    if (tensor_is_nil(&row)) return ag_vjp_out_of_memory(v);
    tensor_sum(&row, a);
    for (int i = 0; i < n; i++)
        if (!gradient_row(v, role[i], &row)) return false;
    return true;
}

bool ag_gradient_sum(AgVjp *v, AgRole role, const Tensor *a) {
    return gradient_sums(v, &role, 1, a);
}

bool ag_gradient_biases(AgVjp *v, const Tensor *a) {
    return gradient_sums(v, (AgRole[]){AG_B_IH, AG_B_HH}, 2, a);
}

bool ag_gradient_state(AgVjp *v, const AgSteps *s, AgRole role, const Tensor *a) {
    if (!ag_gradient_needed(v, role)) return true;
    Tensor g = ag_vjp_raw(v, ag_role(v->options, role));
    if (tensor_is_nil(&g)) return false;
    reorder(s, &g, a, false);
    return true;
}

static bool gradient_of_x(AgVjp *v, const AgSteps *s, const Tensor *da) {
    if (!v->need[0]) return true;
    Tensor dx = ag_vjp_raw(v, 0);
    if (tensor_is_nil(&dx)) return false;
    Tensor rows = s->order ? tensor_new(v->scratch, dx.dtype, 2, (int64_t[]){s->rows, dx.shape[2]})
                           : ag_all_rows(&dx);
    if (tensor_is_nil(&rows)) return ag_vjp_out_of_memory(v);
    const Tensor *w_ih = ag_value(v->in[ag_role(v->options, AG_W_IH)]);
    if (!tensor_gemm(1, da, w_ih, 0, &rows, v->scratch)) return ag_vjp_out_of_memory(v);
    ag_steps_finish(s, &dx, &rows);
    return true;
}

/* Of look_up: column x_n of dw gets row n of da added, by a table where that has one. */
static bool gradient_of_columns(AgVjp *v, const AgSteps *s, const Tensor *da, const Tensor *x) {
    int i = ag_role(v->options, AG_W_IH);
    const Tensor *into = ag_vjp_into(v, i);
    Tensor dw = into ? *into : ag_vjp_raw(v, i), number = numbers_of(v->scratch, s, x);
    if (tensor_is_nil(&dw)) return false;
    Tensor columns = tensor_transpose(&dw, 0, 1), table = columns;
    bool by_table = dw.shape[1] <= s->rows;
    if (by_table) table = tensor_new(v->scratch, dw.dtype, 2, columns.shape);
    if (tensor_is_nil(&number) || tensor_is_nil(&table)) return ag_vjp_out_of_memory(v);
    if (by_table || !into) tensor_fill(&table, 0);
    tensor_index_add(&table, 0, &number, da);
    if (by_table && into) tensor_accumulate(&columns, &table);
    else if (by_table) tensor_convert(&columns, &table);
    return true;
}

static bool gradient_of_w_ih(AgVjp *v, const AgSteps *s, const Tensor *da) {
    const Tensor *x = ag_value(v->in[0]);
    if (!ag_gradient_needed(v, AG_W_IH)) return true;
    if (x->dtype == TENSOR_I64) return gradient_of_columns(v, s, da, x);
    Tensor rows = ag_steps_rows(v->scratch, s, x);
    return tensor_is_nil(&rows) ? ag_vjp_out_of_memory(v)
                                : ag_gradient_product(v, AG_W_IH, da, &rows);
}

bool ag_recurrent_gradients(AgVjp *v, const AgSteps *s, const Tensor *da_ih, const Tensor *da_hh,
                            const Tensor *hidden) {
    return gradient_of_w_ih(v, s, da_ih) && gradient_of_x(v, s, da_ih) &&
           ag_gradient_product(v, AG_W_HH, da_hh, hidden);
}

Tensor ag_gradient_rows(AgVjp *v, const AgSteps *s, int64_t n) {
    if (v->has_gout[0]) return ag_steps_rows(v->scratch, s, ag_value(v->gout[0]));
    Tensor none = tensor_new(v->scratch, ag_dtype(v->out[0]), 2, (int64_t[]){s->rows, n});
    if (!tensor_is_nil(&none)) tensor_fill(&none, 0);
    return none;
}

Tensor ag_gradient_final(AgVjp *v, const AgSteps *s, int out, int64_t n) {
    Tensor g = tensor_new(v->scratch, ag_dtype(v->out[0]), 2, (int64_t[]){s->B, n});
    if (tensor_is_nil(&g)) return g;
    if (v->has_gout[out]) ag_steps_sort(s, &g, ag_value(v->gout[out]));
    else tensor_fill(&g, 0);
    return g;
}

/* ---- composed ---- */

AgVar ag_part(const AgRecurrent *o, const AgVar *in, AgRole role) {
    return ag_has(o, role) ? in[ag_role(o, role)] : (AgVar){0};
}

/* U8 [T, B, 1]: 1 where step < lengths[b]. */
static AgVar live_steps(const AgLoop *l) {
    const int64_t shape[] = {l->size.T, l->size.B, 1};
    unsigned char *mask = ag_tape_alloc(l->t, (size_t)(shape[0] * shape[1]) + 1);
    if (!mask) return (AgVar){l->t, 0, 0};
    for (int64_t i = 0; i < shape[0] * shape[1]; i++)
        mask[i] = i / shape[1] < l->o->lengths[i % shape[1]];
    Tensor live = tensor_wrap(mask, TENSOR_U8, 3, shape);
    return ag_borrow(l->t, &live);
}

/* x for the loop: a number as its one-hot vector, 0 beyond the lengths. */
static AgVar vectors(const AgLoop *l, AgVar x, TensorDtype dtype) {
    bool numbers = ag_dtype(x) == TENSOR_I64;
    if (l->live.tape) {
        AgVar live = numbers ? ag_select(l->live, 2, 0) : l->live;
        x = ag_where(live, x, ag_zero(x));
    }
    if (!numbers) return x;
    if (l->size.I > 0) return ag_one_hot(x, l->size.I, dtype);
    int64_t shape[] = {l->size.T, l->size.B, 0}; /* no number fits: the lengths are 0 */
    return ag_full(l->t, dtype, 3, shape, 0);
}

bool ag_loop_begin(AgLoop *l, const char *name, AgTape *t, int n_in, const AgVar *in, int gates,
                   const AgRecurrent *o) {
    const Tensor *values[AG_ROLES];
    char buf[AG_REASON_SIZE];
    for (int i = 0; i < n_in; i++) {
        if (!ag_check_var(t, name, i, in[i])) return false;
        values[i] = ag_value(in[i]);
    }
    *l = (AgLoop){.t = t, .o = o, .outer_step = t->scope[t->open_scope].step};
    const char *reason = ag_recurrent_check(o, n_in, values, gates, &l->size, buf);
    if (reason) ag_fail(t, "%s: %s", name, reason);
    if (reason) return false;
    l->y = ag_tape_alloc(t, (size_t)l->size.T * sizeof *l->y);
    if (!l->y) return false;
    if (o->lengths) l->live = live_steps(l);
    l->x = vectors(l, in[0], ag_dtype(in[ag_role(o, AG_W_IH)]));
    return ag_ok(l->x);
}

int64_t ag_loop_time(const AgLoop *l, int64_t n) {
    int64_t step = l->o->reverse ? l->size.T - 1 - n : n;
    ag_scope_step(l->t, step);
    return step;
}

AgVar ag_loop_state(const AgLoop *l, int64_t step, AgVar before, AgVar after) {
    return l->live.tape ? ag_where(ag_select(l->live, 0, step), after, before) : after;
}

void ag_loop_put(const AgLoop *l, int64_t step, AgVar h) {
    l->y[step] = l->live.tape ? ag_where(ag_select(l->live, 0, step), h, ag_zero(h)) : h;
}

AgVar ag_loop_end(const AgLoop *l) {
    ag_scope_step(l->t, l->outer_step);
    return ag_stack((int)l->size.T, l->y, 0);
}

AgVar ag_loop_initial(const AgLoop *l, const AgVar *in, AgRole role, int64_t n) {
    if (ag_has(l->o, role)) return in[ag_role(l->o, role)];
    return ag_full(l->t, ag_dtype(l->x), 2, (int64_t[]){l->size.B, n}, 0);
}
