/* growth.c -- the warning about a graph that grows over windows: a state that nobody cut.
 *
 * Backward passes part the nodes into windows.  A pass that goes through several of them costs
 * more with each; gradients added up from windows that share only parameters never do that, nor do
 * several losses of one record.  What grows does so again and again, whatever other passes come
 * between; one loss over many windows does it once. */
#include <string.h>

#include "autograd/tape.h"

void ag_tape_on_warning(AgTape *t, void (*f)(const char *message, void *context), void *context) {
    t->on_warning = f;
    t->warning_context = context;
}

const char *ag_tape_warning(const AgTape *t) { return t->warning; }

void ag_forget_growth(AgTape *t) { t->n_bounds = t->span = t->grown = 0; }

typedef struct {
    int windows;      /* that the pass went through */
    long long nodes;  /* in them */
    uint32_t carrier; /* the latest one before this window; 0: none */
} Span;

static Span find_span(const AgTape *t, uint32_t top,
                      bool (*passed)(const void *sweep, uint32_t id), const void *sweep) {
    Span s = {0};
    uint32_t end = top + 1;
    for (int w = 0; w <= t->n_bounds; w++) {
        uint32_t start = w < t->n_bounds ? t->bound[w] : 1;
        long long before = s.nodes;
        for (uint32_t id = end; id-- > start;) {
            if (!passed(sweep, id)) continue;
            s.nodes++;
            if (w > 0 && !s.carrier) s.carrier = id;
        }
        s.windows += s.nodes > before;
        end = start;
    }
    return s;
}

/* The backward pass after which node id was made. */
static long long pass_before(const AgTape *t, uint32_t id) {
    int w = 0;
    while (w < t->n_bounds && id < t->bound[w]) w++;
    return t->n_backwards - 1 - w;
}

static void warn(AgTape *t, const Span *s) {
    char where[256];
    const AgNode *n = ag_node(t, s->carrier);
    ag_scope_text(t, n->scope, n->step, where, sizeof where);
    snprintf(t->warning, sizeof t->warning,
             "graph spans %d backward passes and %lld nodes (%.1f MiB): %.160s%.60s (node %u, made "
             "before backward pass %lld) still receives gradients; cut it with ag_detach or "
             "NnState, or reset the tape",
             s->windows, s->nodes, (double)ag_tape_bytes(t) / (1 << 20), where, ag_node_name(n),
             s->carrier, pass_before(t, s->carrier) + 1);
    ag_one_line(t->warning);
}

void ag_watch_growth(AgTape *t, uint32_t top, bool (*passed)(const void *sweep, uint32_t id),
                     const void *sweep) {
    t->n_backwards++;
    if (t->n_bounds && top < t->bound[0]) return; /* again through an old window */
    Span s = find_span(t, top, passed, sweep);
    if (s.windows > t->span) {
        t->span = s.windows;
        if (++t->grown == AG_SPAN && !t->warning[0]) warn(t, &s);
    }
    memmove(t->bound + 1, t->bound, (AG_WINDOWS - 1) * sizeof *t->bound);
    t->bound[0] = t->n;
    if (t->n_bounds < AG_WINDOWS) t->n_bounds++;
}
