/* growth.c -- the warning about a graph that grows over windows: a state that nobody cut.
 *
 * Backward passes part the nodes into windows.  A pass that goes on into what was recorded before
 * the last pass, window after window, costs more each time; gradients added up from windows that
 * share only parameters never do that, nor do several losses of one record. */
#include <string.h>

#include "autograd/tape.h"

void ag_tape_on_warning(AgTape *t, void (*f)(const char *message, void *context), void *context) {
    t->on_warning = f;
    t->warning_context = context;
}

const char *ag_tape_warning(const AgTape *t) { return t->warning; }

void ag_forget_growth(AgTape *t) { t->n_bounds = t->crossed = 0; }

typedef bool Passed(const void *sweep, uint32_t id);

/* The latest node of the window before that got a gradient from this one; 0: none. */
static uint32_t find_crossing(const AgTape *t, uint32_t top, Passed *passed, const void *sweep) {
    uint32_t bound = t->bound[0], low = t->n_bounds > 1 ? t->bound[1] : 1, best = 0;
    for (uint32_t id = bound; id <= top; id++) {
        const AgRecord *r = passed(sweep, id) ? ag_node(t, id)->record : NULL;
        for (int i = 0; r && i < r->n_in; i++) {
            uint32_t in = r->in[i];
            if (in >= low && in < bound && in > best && passed(sweep, in)) best = in;
        }
    }
    return best;
}

static void warn(AgTape *t, uint32_t carrier, long long nodes) {
    char where[256];
    const AgNode *n = ag_node(t, carrier);
    ag_scope_text(t, n->scope, n->step, where, sizeof where);
    snprintf(t->warning, sizeof t->warning,
             "graph spans %d backward passes and %lld nodes (%.1f MiB): %.160s%.60s (node %u, made "
             "before backward pass %lld) still receives gradients; cut it with ag_detach or "
             "NnState, or reset the tape",
             AG_SPAN, nodes, (double)ag_tape_bytes(t) / (1 << 20), where, ag_node_name(n), carrier,
             (long long)t->n_backwards - 1);
    ag_one_line(t->warning);
    if (t->on_warning) t->on_warning(t->warning, t->warning_context);
}

/* Passing nodes of the last AG_SPAN windows; 0 unless each of them has one. */
static long long count_span(const AgTape *t, uint32_t top, Passed *passed, const void *sweep) {
    long long nodes = 0;
    uint32_t end = top + 1;
    for (int w = 0; w < AG_SPAN; w++) {
        uint32_t start = w < t->n_bounds ? t->bound[w] : 1;
        long long here = 0;
        for (uint32_t id = start; id < end; id++) here += passed(sweep, id);
        if (!here) return 0;
        nodes += here;
        end = start;
    }
    return nodes;
}

void ag_watch_growth(AgTape *t, uint32_t top, bool (*passed)(const void *sweep, uint32_t id),
                     const void *sweep) {
    t->n_backwards++;
    if (t->n_bounds && top < t->bound[0]) return; /* again through an old window */
    uint32_t carrier = t->n_bounds ? find_crossing(t, top, passed, sweep) : 0;
    t->crossed = carrier ? t->crossed + 1 : 0;
    if (t->crossed >= AG_SPAN - 1 && !t->warning[0]) {
        long long nodes = count_span(t, top, passed, sweep);
        if (nodes) warn(t, carrier, nodes);
    }
    memmove(t->bound + 1, t->bound, (AG_SPAN - 1) * sizeof *t->bound);
    t->bound[0] = t->n;
    if (t->n_bounds < AG_SPAN) t->n_bounds++;
}
