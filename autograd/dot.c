/* dot.c -- the tape as a picture, in Graphviz's language. */
#include <math.h>
#include <stdlib.h>

#include "autograd/listing.h"

enum { NAME = AG_LISTING_NAME, MAX_PATH = 2 * AG_MAX_SCOPES };

/* Inside double quotes. */
static void write_text(FILE *file, const char *text) {
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\') fputc('\\', file);
        fputc((unsigned char)*c < ' ' ? '?' : *c, file);
    }
}

/* ---- clusters: one for a scope, and inside it one for each of its steps ---- */

typedef struct {
    uint32_t scope;
    int64_t step; /* -1: the scope itself */
} Cluster;

static int path_of(const AgTape *t, uint32_t id, Cluster *path) {
    const AgNode *n = ag_node(t, id);
    Cluster up[MAX_PATH];
    int depth = 0;
    if (n->leaf) return 0; /* a parameter belongs to no step: it only was brought in at one */
    int64_t step = n->step;
    for (uint32_t s = n->scope; s && depth + 1 < MAX_PATH; s = t->scope[s].parent) {
        if (step >= 0) up[depth++] = (Cluster){s, step};
        up[depth++] = (Cluster){s, -1};
        step = t->scope[s].parent_step;
    }
    for (int d = 0; d < depth; d++) path[d] = up[depth - 1 - d];
    return depth;
}

static void open_cluster(FILE *file, const AgTape *t, Cluster c) {
    if (c.step >= 0) {
        fprintf(file, "subgraph cluster_%u_%lld { label=\"step %lld\";\n", c.scope,
                (long long)c.step, (long long)c.step);
        return;
    }
    fprintf(file, "subgraph cluster_%u { label=\"", c.scope);
    write_text(file, t->scope[c.scope].name);
    fputs("\";\n", file);
}

/* Closes and opens what lies between the last node's cluster and this one's. */
static void move_to(FILE *file, const AgTape *t, Cluster *at, int *depth, const Cluster *path,
                    int n) {
    int common = 0;
    while (common < n && common < *depth && at[common].scope == path[common].scope &&
           at[common].step == path[common].step)
        common++;
    for (int d = *depth; d > common; d--) fputs("}\n", file);
    for (int d = common; d < n; d++) {
        at[d] = path[d];
        open_cluster(file, t, path[d]);
    }
    *depth = n;
}

/* ---- nodes and edges ---- */

static const char *look_of(const AgListing *l, uint32_t id) {
    const AgNode *n = ag_node(l->t, id);
    if (n->leaf) return "shape=box, style=filled, fillcolor=lightblue";
    if (!n->record) return "shape=box";
    return l->used[id] ? "shape=ellipse" : "shape=ellipse, peripheries=2";
}

static double norm(const Tensor *x) {
    double sum = 0;
    for (int64_t i = 0; i < tensor_numel(x); i++) sum = hypot(sum, tensor_get(x, i));
    return sum;
}

static void write_node(FILE *file, const AgListing *l, uint32_t id, const Tensor *grad) {
    const AgNode *n = ag_node(l->t, id);
    char name[NAME];
    fprintf(file, "n%u [%s, label=\"", id, look_of(l, id));
    write_text(file, ag_listing_name(l, id, name, sizeof name));
    if (n->op && n->name) {
        fputs("\\n", file);
        write_text(file, n->op->name);
    }
    if (grad) fprintf(file, "\\n|grad| %.4g", norm(grad));
    fputs("\"];\n", file);
}

static void write_edges(FILE *file, const AgTape *t, uint32_t id) {
    const AgRecord *r = ag_node(t, id)->record;
    char shape[TENSOR_DESCRIBE_SIZE];
    for (int i = 0; r && i < r->n_in; i++)
        fprintf(file, "n%u -> n%u [label=\"%s\"];\n", r->in[i], id,
                tensor_describe(&ag_node(t, r->in[i])->value, shape, sizeof shape));
}

static void write_graph(FILE *file, const AgListing *l, const Tensor *const *grad) {
    const AgTape *t = l->t;
    Cluster at[MAX_PATH], path[MAX_PATH];
    int depth = 0;
    fputs("digraph tape {\nrankdir=BT;\n", file);
    for (uint32_t id = 1; id < t->n; id++) {
        if (!ag_listing_shows(l, id)) continue;
        move_to(file, t, at, &depth, path, path_of(t, id, path));
        write_node(file, l, id, grad[id]);
    }
    move_to(file, t, at, &depth, path, 0);
    for (uint32_t id = 1; id < t->n; id++) write_edges(file, t, id);
    fputs("}\n", file);
}

bool ag_tape_write_dot(AgTape *t, FILE *file) {
    AgListing l;
    if (!ag_listing_open(&l, t)) return false;
    const Tensor **grad = calloc(t->n, sizeof *grad);
    for (uint32_t i = 0; grad && i < t->n_parts; i++) {
        const AgPart *p = &t->part[i];
        if (p->kind == AG_PART_TOTAL || p->kind == AG_PART_HOOKED) grad[p->to] = &p->value;
    }
    if (grad) write_graph(file, &l, grad);
    bool ok = grad != NULL;
    free(grad);
    ag_listing_close(&l);
    return ok && fflush(file) == 0 && !ferror(file);
}
