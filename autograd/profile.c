/* profile.c -- where the time goes.
 *
 * One line of the profile runs at a time.  At every beginning and end of something the clock is
 * read once, and the time since the last reading goes to the line that ran: so each nanosecond is
 * counted once, and all lines together are the time from the first event to the last.  A kind of
 * event says which others are counted by themselves inside it; the rest stays with it. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "autograd/tape.h"

#define BIT(kind) (1u << AG_TIME_##kind)
#define SWEEP_PARTS (BIT(RULE) | BIT(AGAIN) | BIT(SUM) | BIT(HOOK))

static const struct {
    const char *name; /* NULL: that of the line's op */
    bool backward;
    unsigned inside;  /* what is counted by itself inside */
} kinds[] = {
    [AG_TIME_OUTSIDE] = {"outside the tape", false,
                         BIT(CALL) | BIT(INPUT) | BIT(RELEASE) | BIT(RESET) | BIT(CHECKPOINT) |
                             BIT(BACKWARD) | BIT(GRAD)},
    [AG_TIME_CUT] = {NULL, false, 0},
    [AG_TIME_CALL] = {NULL, false, 0},
    [AG_TIME_INPUT] = {"(ag_input)", false, 0},
    [AG_TIME_RELEASE] = {"(ag_tape_release)", false, 0},
    [AG_TIME_RESET] = {"(ag_tape_reset)", false, 0},
    [AG_TIME_CHECKPOINT] = {NULL, false, BIT(CALL) | BIT(CHECKPOINT) | BIT(GRAD)},
    [AG_TIME_BACKWARD] = {"(ag_backward)", true, SWEEP_PARTS},
    [AG_TIME_GRAD] = {"(ag_grad)", true, SWEEP_PARTS},
    [AG_TIME_RULE] = {NULL, true, 0},
    [AG_TIME_AGAIN] = {NULL, true, BIT(INSIDE)},
    [AG_TIME_INSIDE] = {NULL, true, SWEEP_PARTS},
    [AG_TIME_SUM] = {"(sums of gradients)", true, 0},
    [AG_TIME_HOOK] = {"(hooks)", true, 0},
    [AG_TIME_SCOPE] = {NULL, false, 0},
};

static const char others[] = "(others)";

/* ---- lines ---- */

/* Numbers of lines. */
#define OUTSIDE 0
#define OTHERS UINT32_MAX

static AgProfileLine *line_at(AgProfile *p, uint32_t number) {
    if (number == OUTSIDE) return &p->outside;
    return number == OTHERS ? &p->others : &p->line[number - 1];
}

enum { NAME_LENGTH = AG_PROFILE_NAME - 1 };

/* FNV-1a, over what is kept of a name. */
static uint32_t hash_of(AgTimeKind kind, uint32_t scope, const char *name) {
    uint32_t h = (2166136261u ^ (uint32_t)kind) * 16777619u;
    h = (h ^ scope) * 16777619u;
    for (int i = 0; i < NAME_LENGTH && name[i]; i++)
        h = (h ^ (unsigned char)name[i]) * 16777619u;
    return h ^ h >> 15;
}

/* Where this line is, or could be. */
static uint32_t *slot_of(AgProfile *p, AgTimeKind kind, uint32_t scope, const char *name) {
    uint32_t mask = p->cap_slots - 1, i = hash_of(kind, scope, name) & mask;
    for (;; i = (i + 1) & mask) {
        if (!p->slot[i]) return &p->slot[i];
        const AgProfileLine *l = &p->line[p->slot[i] - 1];
        if (l->kind == kind && l->scope == scope && !strncmp(l->name, name, NAME_LENGTH))
            return &p->slot[i];
    }
}

static bool grow_slots(AgProfile *p) {
    if (2 * (p->n + 1) <= p->cap_slots) return true;
    uint32_t cap = p->cap_slots ? 2 * p->cap_slots : 64;
    uint32_t *slot = calloc(cap, sizeof *slot);
    if (!slot) return false;
    free(p->slot);
    p->slot = slot;
    p->cap_slots = cap;
    for (uint32_t i = 0; i < p->n; i++)
        *slot_of(p, p->line[i].kind, p->line[i].scope, p->line[i].name) = i + 1;
    return true;
}

static bool has_room(AgProfile *p) {
    if (p->n == AG_PROFILE_LINES || !grow_slots(p)) return false;
    AgProfileLine *line = ag_grow(p->line, p->n, &p->cap, sizeof *line);
    if (line) p->line = line;
    return line != NULL;
}

static uint32_t find_line(AgProfile *p, AgTimeKind kind, uint32_t scope, const char *name) {
    uint32_t known = p->cap_slots ? *slot_of(p, kind, scope, name) : 0;
    if (known) return known;
    if (!has_room(p)) {
        p->incomplete = true;
        return OTHERS;
    }
    uint32_t *slot = slot_of(p, kind, scope, name);
    AgProfileLine *l = &p->line[p->n++];
    *l = (AgProfileLine){.kind = kind, .scope = scope};
    for (int i = 0; i < NAME_LENGTH && name[i]; i++) l->name[i] = name[i];
    return *slot = p->n;
}

/* The line of a scope, the same for every step; its parent's where there is no room. */
static uint32_t scope_line(AgTape *t, uint32_t scope) {
    if (!scope) return 0;
    AgScope *s = &t->scope[scope];
    if (!s->timed) {
        uint32_t parent = scope_line(t, s->parent);
        uint32_t line = find_line(&t->profile, AG_TIME_SCOPE, parent, s->name);
        s->timed = 1 + (line == OTHERS ? parent : line);
    }
    return s->timed - 1;
}

/* ---- counting ---- */

static int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Pays the line that runs. */
static void pay(AgProfile *p) {
    int64_t now = clock_ns();
    if (p->running) line_at(p, p->at)->ns += now - p->since;
    p->since = now;
    p->running = true;
}

AgProfileMark ag_profile_enter(AgTape *t, AgTimeKind kind, const char *name, uint32_t scope) {
    AgProfile *p = &t->profile;
    if (p->kind == AG_TIME_CUT && !t->sweeps) p->kind = AG_TIME_OUTSIDE;
    if (!(kinds[p->kind].inside >> kind & 1)) return (AgProfileMark){0, 0, AG_TIME_OUTSIDE};
    AgProfileMark was = {p->generation, p->at, p->kind};
    p->kind = kind;
    if (kind == AG_TIME_INSIDE) return was; /* on the same line: the checkpoint's own */
    uint32_t at = find_line(p, kind, scope_line(t, scope), name ? name : "");
    pay(p);
    p->at = at;
    line_at(p, at)->calls++;
    p->backwards += kind == AG_TIME_BACKWARD;
    p->resets += kind == AG_TIME_RESET;
    return was;
}

void ag_profile_leave(AgTape *t, AgProfileMark was) {
    AgProfile *p = &t->profile;
    if (was.generation != p->generation) return;
    if (was.at != p->at) pay(p);
    p->at = was.at;
    p->kind = was.kind;
}

void ag_profile_results(const AgCall *c) {
    AgProfile *p = &c->tape->profile;
    if (p->kind != AG_TIME_CALL) return;
    for (int k = 0; k < c->n_out; k++)
        line_at(p, p->at)->bytes +=
            tensor_numel(&c->out[k]) * (int64_t)tensor_dtype_size(c->out[k].dtype);
}

/* What runs now, if anything, is counted no further. */
static void cut(AgTape *t) {
    AgProfile *p = &t->profile;
    p->generation++;
    p->running = false;
    p->at = OUTSIDE;
    p->kind = t->sweeps ? AG_TIME_CUT : AG_TIME_OUTSIDE;
}

bool ag_tape_set_profile(AgTape *t, bool on) {
    bool was = t->profiling;
    if (was == on) return was;
    if (was && t->profile.at != OUTSIDE) pay(&t->profile);
    cut(t);
    t->profiling = on;
    ag_set_inspect(t);
    return was;
}

void ag_tape_clear_profile(AgTape *t) {
    AgProfile *p = &t->profile;
    cut(t);
    p->outside = p->others = (AgProfileLine){.kind = AG_TIME_OUTSIDE};
    if (p->slot) memset(p->slot, 0, p->cap_slots * sizeof *p->slot);
    for (uint32_t s = 0; s < t->n_scopes; s++) t->scope[s].timed = 0;
    p->n = 0;
    p->incomplete = false;
    p->backwards = p->resets = 0;
}

/* ---- what to write ---- */

static const char *name_of(const AgProfileLine *l) {
    return kinds[l->kind].name ? kinds[l->kind].name : l->name;
}

/* Fit to print. */
static const char *clean(const char *name, char buf[AG_PROFILE_NAME]) {
    snprintf(buf, AG_PROFILE_NAME, "%s", name);
    return ag_one_line(buf);
}

typedef struct {
    int64_t ns[2], calls[2]; /* forward, backward */
    int64_t other_ns, bytes;
} Sum;

typedef struct {
    const char *name;
    uint32_t scope, parent; /* numbers, of a scope */
    Sum sum;
} Row;

typedef struct {
    const AgProfile *p;
    FILE *file;
    int64_t wall;
    double steps;
    Row *op, *scope;
    uint32_t n_ops, n_scopes;
    Sum all, unscoped;
} Table;

static void add(Sum *to, const Sum *s) {
    for (int d = 0; d < 2; d++) {
        to->ns[d] += s->ns[d];
        to->calls[d] += s->calls[d];
    }
    to->bytes += s->bytes;
}

static Sum sum_of(const AgProfileLine *l) {
    Sum s = {.bytes = l->bytes};
    s.ns[kinds[l->kind].backward] = l->ns;
    s.calls[kinds[l->kind].backward] = l->calls;
    return s;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const Row *)a)->name, ((const Row *)b)->name);
}

/* The longest first. */
static int by_time(const void *a, const void *b) {
    const Sum *s = &((const Row *)a)->sum, *r = &((const Row *)b)->sum;
    int64_t x = s->ns[0] + s->ns[1], y = r->ns[0] + r->ns[1];
    return x != y ? (x < y) - (x > y) : by_name(a, b);
}

static void collect_ops(Table *table) {
    const AgProfile *p = table->p;
    for (uint32_t i = 0; i < p->n; i++) {
        const AgProfileLine *l = &p->line[i];
        if (l->kind == AG_TIME_SCOPE) continue;
        table->op[table->n_ops++] = (Row){.name = name_of(l), .sum = sum_of(l)};
    }
    qsort(table->op, table->n_ops, sizeof *table->op, by_name);
    uint32_t n = 0;
    for (uint32_t i = 0; i < table->n_ops; i++) {
        if (n && !by_name(&table->op[n - 1], &table->op[i]))
            add(&table->op[n - 1].sum, &table->op[i].sum);
        else table->op[n++] = table->op[i];
    }
    table->n_ops = n;
    for (uint32_t i = 0; i < n; i++) add(&table->all, &table->op[i].sum);
    qsort(table->op, n, sizeof *table->op, by_time);
}

/* Each scope with what is inside it; a scope's line comes after its parent's. */
static void collect_scopes(Table *table) {
    const AgProfile *p = table->p;
    for (uint32_t i = p->n; i-- > 0;) {
        const AgProfileLine *l = &p->line[i];
        Row *r = &table->scope[i];
        *r = (Row){l->name, i + 1, l->scope, r->sum};
        bool is_scope = l->kind == AG_TIME_SCOPE;
        Sum s = is_scope ? r->sum : sum_of(l);
        if (l->scope) add(&table->scope[l->scope - 1].sum, &s);
        else if (!is_scope) add(&table->unscoped, &s);
    }
    for (uint32_t i = 0; i < p->n; i++)
        if (p->line[i].kind == AG_TIME_SCOPE) table->scope[table->n_scopes++] = table->scope[i];
    qsort(table->scope, table->n_scopes, sizeof *table->scope, by_time);
}

/* ---- the table ---- */

enum { NAME_WIDTH = 24 };
static const double ns_in_ms = 1e6, mib = 1048576;

static void write_heading(const Table *table, const char *what) {
    fprintf(table->file, "\n%-*s %10s %8s %11s %8s %10s %7s %9s\n", NAME_WIDTH, what, "forward ms",
            "calls", "backward ms", "calls", "ms", "share", "MiB");
}

static void write_cell(FILE *file, int width, int decimals, bool any, double x) {
    if (any) fprintf(file, " %*.*f", width, decimals, x);
    else fprintf(file, " %*s", width, "-");
}

/* For one step. */
static void write_row(const Table *table, int depth, const char *name, const Sum *s) {
    char buf[AG_PROFILE_NAME];
    FILE *file = table->file;
    int indent = 2 * depth, width = indent < NAME_WIDTH ? NAME_WIDTH - indent : 0;
    fprintf(file, "%*s%-*s", indent, "", width, clean(name, buf));
    for (int d = 0; d < 2; d++) {
        bool any = s->calls[d] > 0;
        double calls = (double)s->calls[d] / table->steps;
        write_cell(file, 10 + d, 4, any, (double)s->ns[d] / ns_in_ms / table->steps);
        write_cell(file, 8, calls == floor(calls) ? 0 : 1, any, calls);
    }
    double ns = (double)(s->ns[0] + s->ns[1] + s->other_ns);
    fprintf(file, " %10.4f", ns / ns_in_ms / table->steps);
    fprintf(file, " %6.1f%%", table->wall > 0 ? 100 * ns / (double)table->wall : 0);
    write_cell(file, 9, 3, s->bytes > 0, (double)s->bytes / mib / table->steps);
    fputc('\n', file);
}

static void write_rest(const Table *table) {
    Sum s = {.other_ns = table->p->others.ns}, outside = {.other_ns = table->p->outside.ns};
    if (table->p->others.calls) write_row(table, 0, others, &s);
    write_row(table, 0, kinds[AG_TIME_OUTSIDE].name, &outside);
}

static void write_summary(const Table *table) {
    const AgProfile *p = table->p;
    double ms = (double)table->wall / ns_in_ms;
    if (p->backwards || p->resets)
        fprintf(table->file, "%s: %.0f; %.4f ms each, %.4f ms in all\n",
                p->backwards ? "backward passes" : "resets of the tape", table->steps,
                ms / table->steps, ms);
    else fprintf(table->file, "%.4f ms in all\n", ms);
    if (p->incomplete)
        fprintf(table->file, "%s: %" PRId64 " calls of ops and in scopes beyond the first %d, or "
                "for which memory was out; such a scope's ops are in the one around it\n", others,
                p->others.calls, AG_PROFILE_LINES);
}

static void write_ops(const Table *table) {
    write_heading(table, "op");
    for (uint32_t i = 0; i < table->n_ops; i++)
        write_row(table, 0, table->op[i].name, &table->op[i].sum);
    write_rest(table);
    Sum all = table->all;
    all.other_ns = table->p->outside.ns + table->p->others.ns;
    write_row(table, 0, "all", &all);
}

static void write_scopes(const Table *table, uint32_t parent, int depth) {
    for (uint32_t i = 0; i < table->n_scopes; i++) {
        const Row *r = &table->scope[i];
        if (r->parent != parent) continue;
        write_row(table, depth, r->name, &r->sum);
        write_scopes(table, r->scope, depth + 1);
    }
}

static void write_table(const Table *table) {
    write_summary(table);
    write_ops(table);
    if (!table->n_scopes) return;
    write_heading(table, "scope");
    write_scopes(table, 0, 0);
    write_row(table, 0, "(no scope)", &table->unscoped);
    write_rest(table);
}

static bool is_written(FILE *file) { return fflush(file) == 0 && !ferror(file); }

bool ag_tape_profile(const AgTape *t, FILE *file) {
    const AgProfile *p = &t->profile;
    Table table = {.p = p, .file = file, .wall = p->outside.ns + p->others.ns, .steps = 1};
    for (uint32_t i = 0; i < p->n; i++) table.wall += p->line[i].ns;
    if (!p->n && !p->others.calls) {
        fputs("nothing was timed: ag_tape_set_profile comes before the step\n", file);
        return is_written(file);
    }
    if (p->backwards || p->resets)
        table.steps = (double)(p->backwards ? p->backwards : p->resets);
    table.op = calloc(p->n + 1, sizeof *table.op);
    table.scope = calloc(p->n + 1, sizeof *table.scope);
    bool ok = table.op && table.scope;
    if (ok) {
        collect_ops(&table);
        collect_scopes(&table);
        write_table(&table);
    }
    free(table.op);
    free(table.scope);
    return ok && is_written(file);
}

/* ---- for programs ---- */

static void write_in_quotes(FILE *file, const char *name) {
    char buf[AG_PROFILE_NAME];
    for (const char *c = clean(name, buf); *c; c++) {
        if (*c == '"') fputc('"', file);
        fputc(*c, file);
    }
}

static void write_path(FILE *file, const AgProfile *p, uint32_t scope) {
    const AgProfileLine *l = &p->line[scope - 1];
    if (l->scope) {
        write_path(file, p, l->scope);
        fputc('/', file);
    }
    write_in_quotes(file, l->name);
}

static void write_record(FILE *file, const AgProfile *p, const char *direction, const char *name,
                         const AgProfileLine *l) {
    fprintf(file, "%s,\"", direction);
    write_in_quotes(file, name);
    fputs("\",\"", file);
    if (l->scope) write_path(file, p, l->scope);
    fprintf(file, "\",%" PRId64 ",%" PRId64 ",%" PRId64 "\n", l->calls, l->ns, l->bytes);
}

bool ag_tape_profile_csv(const AgTape *t, FILE *file) {
    const AgProfile *p = &t->profile;
    fputs("direction,op,scope,calls,ns,bytes\n", file);
    for (uint32_t i = 0; i < p->n; i++) {
        const AgProfileLine *l = &p->line[i];
        if (l->kind == AG_TIME_SCOPE) continue;
        write_record(file, p, kinds[l->kind].backward ? "backward" : "forward", name_of(l), l);
    }
    if (p->others.calls) write_record(file, p, "other", others, &p->others);
    write_record(file, p, "other", kinds[AG_TIME_OUTSIDE].name, &p->outside);
    return is_written(file);
}
