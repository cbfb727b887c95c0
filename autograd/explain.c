/* explain.c -- the tape in words, and the parts of gradients that it keeps for that. */
#include <inttypes.h>
#include <stdlib.h>

#include "autograd/listing.h"

/* ---- keeping ---- */

bool ag_tape_keep_gradients(AgTape *t, bool on) {
    bool was = t->keep_gradients;
    t->keep_gradients = on;
    return was;
}

void ag_kept_begin(AgTape *t) {
    t->n_parts = 0;
    if (t->kept) tensor_arena_reset(t->kept);
    else t->kept = tensor_arena_new();
    if (!t->kept) ag_fail_memory(t, "kept gradients", sizeof(void *));
}

void ag_kept_add(AgTape *t, AgPartKind kind, uint32_t to, uint32_t from, const Tensor *value) {
    if (t->failed) return;
    AgPart *part = ag_grow(t->part, t->n_parts, &t->cap_parts, sizeof *part);
    if (part) t->part = part;
    ag_apply_limit(t, t->kept);
    Tensor copy = tensor_copy(t->kept, value);
    if (!part || tensor_is_nil(&copy))
        ag_fail_memory(t, "kept gradients",
                       (size_t)tensor_numel(value) * tensor_dtype_size(value->dtype));
    else part[t->n_parts++] = (AgPart){kind, to, from, copy};
}

void ag_forget_kept(AgTape *t, AgTapeMark mark) {
    for (uint32_t i = 0; i < t->n_parts; i++)
        if (t->part[i].to >= mark.nodes) t->n_parts = 0;
}

/* ---- writing ---- */

enum { LONGEST = 8, EDGE = 3, NAME = AG_LISTING_NAME };

static void write_element(FILE *file, const Tensor *x, int64_t i) {
    if (tensor_dtype_is_float(x->dtype)) fprintf(file, "%.6g", tensor_get(x, i));
    else fprintf(file, "%" PRId64, tensor_get_i64(x, i));
}

/* A number, or [the first, .., the last] with the shape where there is more than one axis. */
static void write_numbers(FILE *file, const Tensor *x) {
    int64_t n = tensor_numel(x);
    if (n == 1) {
        write_element(file, x, 0);
        return;
    }
    fputc('[', file);
    for (int64_t i = 0; i < n; i++) {
        if (i) fputs(", ", file);
        if (n > LONGEST && i == EDGE) {
            fputs("..., ", file);
            i = n - EDGE;
        }
        write_element(file, x, i);
    }
    fputc(']', file);
    char shape[TENSOR_DESCRIBE_SIZE];
    if (x->ndim > 1 || n > LONGEST) fprintf(file, " %s", tensor_describe(x, shape, sizeof shape));
}

/* A parameter belongs to no step: it only was brought in at one. */
static void write_scope(FILE *file, const AgTape *t, uint32_t id) {
    const AgNode *n = ag_node(t, id);
    char where[1024] = "";
    if (!n->leaf) ag_scope_text(t, n->scope, n->step, where, sizeof where);
    fprintf(file, "  %s", ag_one_line(where));
}

static void write_formula(FILE *file, const AgListing *l, uint32_t id) {
    const AgNode *n = ag_node(l->t, id);
    const AgRecord *r = n->record;
    char name[NAME];
    if (!r) {
        const char *kind = n->op ? "constant" : n->leaf ? "parameter" : "input";
        bool frozen = n->leaf && tensor_is_nil(&n->leaf->grad);
        fprintf(file, "%s%s", frozen ? "frozen " : "", kind);
        return;
    }
    fprintf(file, "%s(", r->op->name);
    for (int i = 0; i < r->n_in; i++)
        fprintf(file, "%s%s", i ? ", " : "", ag_listing_name(l, r->in[i], name, sizeof name));
    char options[NAME] = "";
    if (r->op->write_options) r->op->write_options(r->options, options, sizeof options);
    fprintf(file, "%s%s)", *options ? ", " : "", options);
    if (r->n_out > 1) fprintf(file, "[%u]", id - r->first_out);
}

static void write_forward(FILE *file, const AgListing *l) {
    char name[NAME];
    fputs("forward\n", file);
    for (uint32_t id = 1; id < l->t->n; id++) {
        if (!ag_listing_shows(l, id)) continue;
        write_scope(file, l->t, id);
        fprintf(file, "%s = ", ag_listing_name(l, id, name, sizeof name));
        write_formula(file, l, id);
        fputs(" = ", file);
        write_numbers(file, &ag_node(l->t, id)->value);
        fputc('\n', file);
    }
}

static void write_source(FILE *file, const AgListing *l, const AgPart *p) {
    char name[NAME];
    const AgNode *n = ag_node(l->t, p->from);
    if (p->kind == AG_PART_SEED) fputs(" (seed)", file);
    else if (!n->name) fprintf(file, " (from %s)", ag_listing_name(l, p->from, name, sizeof name));
    else
        fprintf(file, " (from %s %s)", n->op->name,
                ag_listing_name(l, p->from, name, sizeof name));
}

/* The parts of one node, linked by next[] (index + 1), in the order of their arrival. */
static void write_gradient(FILE *file, const AgListing *l, uint32_t first, const uint32_t *next) {
    const AgTape *t = l->t;
    char name[NAME];
    int terms = 0;
    uint32_t id = t->part[first - 1].to;
    write_scope(file, t, id);
    fprintf(file, "d%s = ", ag_listing_name(l, id, name, sizeof name));
    for (uint32_t i = first; i; i = next[i - 1]) {
        const AgPart *p = &t->part[i - 1];
        bool term = p->kind == AG_PART_SEED || p->kind == AG_PART_OF_OP;
        if (p->kind == AG_PART_TOTAL && terms < 2) continue;
        fputs(p->kind == AG_PART_HOOKED ? "; after its hooks "
              : p->kind == AG_PART_TOTAL ? " = " : terms++ ? " + " : "", file);
        write_numbers(file, &p->value);
        if (term) write_source(file, l, p);
    }
    fputc('\n', file);
}

static bool write_backward(FILE *file, const AgListing *l) {
    const AgTape *t = l->t;
    if (!t->n_parts) {
        fputs("backward\n  nothing kept: ag_tape_keep_gradients comes before the sweep\n", file);
        return true;
    }
    uint32_t *first = calloc(t->n, sizeof *first), *next = calloc(t->n_parts, sizeof *next);
    for (uint32_t i = t->n_parts; first && next && i > 0; i--) {
        next[i - 1] = first[t->part[i - 1].to];
        first[t->part[i - 1].to] = i;
    }
    if (first && next) {
        fputs("backward\n", file);
        for (uint32_t id = t->n; id-- > 1;)
            if (first[id]) write_gradient(file, l, first[id], next);
    }
    bool ok = first && next;
    free(first);
    free(next);
    return ok;
}

bool ag_tape_explain(AgTape *t, FILE *file) {
    AgListing l;
    if (!ag_listing_open(&l, t)) return false;
    write_forward(file, &l);
    bool ok = write_backward(file, &l);
    ag_listing_close(&l);
    return ok && fflush(file) == 0 && !ferror(file);
}
