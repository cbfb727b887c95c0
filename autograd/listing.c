/* listing.c -- see listing.h. */
#include "autograd/listing.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    uint32_t id;
} Named;

static int by_name(const void *a, const void *b) {
    return strcmp(((const Named *)a)->name, ((const Named *)b)->name);
}

static bool mark_repeated(AgListing *l) {
    uint32_t n = 0;
    Named *named = malloc(l->t->n * sizeof *named);
    if (!named) return false;
    for (uint32_t id = 1; id < l->t->n; id++) {
        const char *name = ag_node(l->t, id)->name;
        if (name && ag_listing_shows(l, id)) named[n++] = (Named){name, id};
    }
    qsort(named, n, sizeof *named, by_name);
    for (uint32_t i = 1; i < n; i++)
        if (!strcmp(named[i - 1].name, named[i].name))
            l->repeated[named[i - 1].id] = l->repeated[named[i].id] = true;
    free(named);
    return true;
}

bool ag_listing_open(AgListing *l, const AgTape *t) {
    *l = (AgListing){t, calloc(t->n, sizeof(bool)), calloc(t->n, sizeof(bool))};
    for (uint32_t id = 1; id < t->n && l->used; id++) {
        const AgRecord *r = ag_node(t, id)->record;
        for (int i = 0; r && i < r->n_in; i++) l->used[r->in[i]] = true;
    }
    if (l->used && l->repeated && mark_repeated(l)) return true;
    ag_listing_close(l);
    return false;
}

void ag_listing_close(AgListing *l) {
    free(l->used);
    free(l->repeated);
}

bool ag_listing_shows(const AgListing *l, uint32_t id) {
    const AgNode *n = ag_node(l->t, id);
    return l->used[id] || n->record || n->leaf || n->name;
}

const char *ag_listing_name(const AgListing *l, uint32_t id, char *buf, size_t n) {
    const AgNode *node = ag_node(l->t, id);
    snprintf(buf, n - sizeof "#4294967295", "%s", ag_node_name(node));
    size_t used = strlen(ag_one_line(buf));
    if (!node->name || l->repeated[id]) snprintf(buf + used, n - used, "#%u", id);
    return buf;
}
