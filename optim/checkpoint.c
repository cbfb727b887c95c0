/* checkpoint.c -- see checkpoint.h. */
#include "optim/checkpoint.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "optim/items.h"
#include "tensor/kernels.h"

/* Up to here a double counts every step. */
static const int64_t most_steps = INT64_C(1) << 53;

/* Why nothing can be saved from it or read into it, or NULL. */
static const char *unusable(const Optim *opt) {
    if (!optim_ok(opt)) return optim_error(opt);
    return opt->swapped ? "the averages are in the parameters: swap back" : NULL;
}

/* ---- adding ---- */

/* What adding needs throughout.  A name that is NULL is out of memory, and adds nothing. */
typedef struct {
    NnCheckpoint *to;
    TensorArena *arena;
    const char *prefix;
} Adding;

static const char *checked(const Adding *a, const char *name) {
    if (!name) nn_checkpoint_fail(a->to, "out of memory");
    return name;
}
#define NAME(a, ...) checked(a, nn_checkpoint_name((a)->arena, (a)->prefix, __VA_ARGS__))

static void add_text(const Adding *a, const char *name, const char *text) {
    if (name) nn_checkpoint_add_text(a->to, name, text);
}

static void add_int(const Adding *a, const char *name, int64_t x) {
    if (name) nn_checkpoint_add_ints(a->to, name, 1, &x);
}

/* Of each group the number at this place of its options. */
static void add_numbers(const Adding *a, const char *name, const Optim *opt, size_t at) {
    int64_t n = opt->n_groups;
    Tensor x = tensor_new(a->arena, TENSOR_F64, 1, &n);
    if (tensor_is_nil(&x)) {
        nn_checkpoint_fail(a->to, "out of memory");
        return;
    }
    for (int g = 0; g < n; g++)
        ((double *)x.data)[g] = optim_number_at(&opt->group[g].options, at);
    if (name) nn_checkpoint_add_copy(a->to, name, &x);
}

static void add_options(const Adding *a, const Optim *opt) {
    add_text(a, NAME(a, "kind"), opt->rule->name);
    for (int g = 1; g < opt->n_groups; g++)
        add_text(a, NAME(a, "group.%d", g), opt->group[g].pattern);
    const char *name = NAME(a, "lr");
    if (name) nn_checkpoint_add_reals(a->to, name, 1, &opt->lr);
    add_numbers(a, NAME(a, "group_lr"), opt, offsetof(OptimOptions, lr));
    if (opt->rule->momentum) add_numbers(a, NAME(a, "group_momentum"), opt, opt->rule->momentum);
    if (opt->rule->averages) add_int(a, NAME(a, "averaging"), opt->averaging);
}

static void add_item(const Adding *a, const Optim *opt, const OptimItem *item) {
    const char *of = item->param->name;
    add_int(a, NAME(a, "%s.step", of), item->steps);
    if (opt->averaging) add_int(a, NAME(a, "%s.t0", of), item->t0);
    for (int i = 0; i < OPTIM_SLOTS; i++) {
        if (tensor_is_nil(&item->slot[i])) continue;
        const char *name = NAME(a, "%s.%s", of, opt->rule->slot_name[i]);
        if (name) nn_checkpoint_add(a->to, name, &item->slot[i]);
    }
}

void optim_checkpoint_add(Optim *opt, NnCheckpoint *c, const char *prefix) {
    const char *why = unusable(opt);
    if (!why && !optim_adopt(opt)) why = optim_error(opt);
    Adding a = {c, why ? NULL : tensor_arena_new(), prefix};
    if (a.arena) {
        add_options(&a, opt);
        for (int i = 0; i < opt->n_items; i++) add_item(&a, opt, &opt->item[i]);
        tensor_arena_free(a.arena);
    } else {
        nn_checkpoint_fail(c, "%s: %s", prefix, why ? why : "out of memory");
    }
}

/* ---- reading: everything is looked up and checked, then taken over ---- */

/* Of one parameter. */
typedef struct {
    int64_t steps, t0;
    Tensor from[OPTIM_SLOTS], slot[OPTIM_SLOTS]; /* nil: it has none then */
} Found;

typedef struct {
    const TensorSafetensors *file;
    const char *path, *prefix;
    Optim *opt;
    TensorError *error;
    TensorArena *arena;
    bool *known; /* [tensors of the file] */
    double lr;
    bool averaging;
    OptimOptions *options; /* [groups] */
    Found *item;           /* [items] */
} Reading;

static bool fail(const Reading *r, const char *format, ...) AG_PRINTF(2, 3);
static bool fail(const Reading *r, const char *format, ...) {
    char text[sizeof r->error->message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return tensor_error_file(r->error, r->path, -1, "%s", text);
}

static bool out_of_memory(const Reading *r) { return fail(r, "out of memory"); }

/* A view of the tensor, which is known then. */
static bool view(const Reading *r, const char *name, const Tensor *like, Tensor *x) {
    if (!name) return out_of_memory(r);
    if (!nn_checkpoint_view(r->file, r->path, name, like->dtype, like->ndim, like->shape, x,
                            r->error))
        return false;
    r->known[tensor_safetensors_find(r->file, name)] = true;
    return true;
}

#define BELOW(r, ...) nn_checkpoint_name((r)->arena, (r)->prefix, __VA_ARGS__)

static bool read_numbers(const Reading *r, const char *name, int64_t n, double *x) {
    Tensor to = tensor_wrap(x, TENSOR_F64, 1, &n), from;
    if (!view(r, name, &to, &from)) return false;
    tensor_convert(&to, &from);
    return true;
}

/* An integer in 0..most. */
static bool read_int(const Reading *r, const char *name, int64_t most, int64_t *x) {
    Tensor to = tensor_wrap(x, TENSOR_I64, 1, (int64_t[]){1}), from;
    if (!view(r, name, &to, &from)) return false;
    *x = tensor_get_i64(&from, 0);
    return (*x >= 0 && *x <= most) ||
           fail(r, "%.200s: %lld is not in 0..%lld", name, (long long)*x, (long long)most);
}

/* ---- kind and groups ---- */

static const char *text(const Reading *r, const char *name) {
    return name ? tensor_safetensors_metadata(r->file, name) : NULL;
}

static bool check_kind(const Reading *r) {
    const char *name = BELOW(r, "kind"), *have = r->opt->rule->name;
    if (!name) return out_of_memory(r);
    const char *found = text(r, name);
    if (!found) return fail(r, "%.200s: missing", name);
    return strcmp(found, have) == 0 ||
           fail(r, "%.200s: expected %s, found %.60s", name, have, found);
}

static bool check_groups(const Reading *r) {
    for (int g = 1; g <= r->opt->n_groups; g++) {
        const char *have = g < r->opt->n_groups ? r->opt->group[g].pattern : NULL;
        const char *name = BELOW(r, "group.%d", g), *found = text(r, name);
        if (!name) return out_of_memory(r);
        if (!have && !found) continue;
        if (!have || !found || strcmp(have, found))
            return fail(r, "%.100s: expected %s%.100s, found %s%.100s", name,
                        have ? "a group of " : "no group", have ? have : "",
                        found ? "one of " : "none", found ? found : "");
    }
    return true;
}

/* The numbers of all groups at this place of their options. */
static bool read_group_numbers(Reading *r, const char *name, size_t at) {
    int n = r->opt->n_groups;
    double *x = tensor_arena_alloc(r->arena, (size_t)n * sizeof *x);
    if (!x) return out_of_memory(r);
    if (!read_numbers(r, name, n, x)) return false;
    TensorError why;
    for (int g = 0; g < n; g++) {
        optim_set_number_at(&r->options[g], at, x[g]);
        if (!optim_rule_check(r->opt->rule, &r->options[g], &why))
            return fail(r, "%.200s: %s", name, why.message);
    }
    return true;
}

static bool read_options(Reading *r) {
    const Optim *opt = r->opt;
    r->options = tensor_arena_alloc(r->arena, (size_t)opt->n_groups * sizeof *r->options);
    if (!r->options) return out_of_memory(r);
    for (int g = 0; g < opt->n_groups; g++) r->options[g] = opt->group[g].options;
    if (!read_group_numbers(r, BELOW(r, "group_lr"), offsetof(OptimOptions, lr))) return false;
    size_t momentum = opt->rule->momentum;
    if (momentum && !read_group_numbers(r, BELOW(r, "group_momentum"), momentum)) return false;
    const char *name = BELOW(r, "lr");
    if (!read_numbers(r, name, 1, &r->lr)) return false;
    for (int g = 0; g < opt->n_groups; g++) {
        double lr = g ? optim_scaled_lr(r->options[g].lr, r->options[0].lr, r->lr) : r->lr;
        if (!(lr >= 0 && isfinite(lr)))
            return fail(r, "%.200s: the rate of group %d, %g, is not 0 or more", name, g, lr);
    }
    int64_t averaging = 0;
    if (opt->rule->averages && !read_int(r, BELOW(r, "averaging"), 1, &averaging)) return false;
    r->averaging = averaging;
    return true;
}

/* ---- parameters ---- */

/* A momentum may have come and gone by optim_set_momentum; its slot stays. */
static unsigned possible_slots(const Reading *r, const OptimItem *item) {
    OptimOptions o = r->options[item->group];
    if (r->opt->rule->momentum) optim_set_number_at(&o, r->opt->rule->momentum, .5);
    unsigned slots = r->opt->rule->slots(&o);
    for (int i = 0; i < OPTIM_SLOTS; i++)
        if (!tensor_is_nil(&item->slot[i])) slots |= 1u << i;
    return slots;
}

static bool read_slot(const Reading *r, const OptimItem *item, int i, Found *f) {
    const char *name = BELOW(r, "%s.%s", item->param->name, r->opt->rule->slot_name[i]);
    const Tensor *p = &item->param->value;
    bool needed = r->opt->rule->slots(&r->options[item->group]) >> i & 1;
    if (!name) return out_of_memory(r);
    if (!needed && tensor_safetensors_find(r->file, name) < 0) return true;
    if (!view(r, name, p, &f->from[i])) return false;
    f->slot[i] = item->slot[i];
    if (tensor_is_nil(&f->slot[i]))
        f->slot[i] = tensor_new(r->opt->arena, p->dtype, p->ndim, p->shape);
    return !tensor_is_nil(&f->slot[i]) || out_of_memory(r);
}

static bool read_item(const Reading *r, const OptimItem *item, Found *f) {
    const char *of = item->param->name;
    f->t0 = -1;
    if (!read_int(r, BELOW(r, "%s.step", of), most_steps, &f->steps)) return false;
    if (r->averaging && !read_int(r, BELOW(r, "%s.t0", of), f->steps, &f->t0)) return false;
    unsigned possible = possible_slots(r, item);
    for (int i = 0; i < OPTIM_SLOTS; i++) {
        f->slot[i] = tensor_nil();
        if ((possible >> i & 1) && !read_slot(r, item, i, f)) return false;
    }
    return true;
}

static bool read_items(Reading *r) {
    int n = r->opt->n_items;
    r->item = tensor_arena_alloc(r->arena, (size_t)n * sizeof *r->item);
    if (!r->item) return out_of_memory(r);
    for (int i = 0; i < n; i++)
        if (!read_item(r, &r->opt->item[i], &r->item[i])) return false;
    return true;
}

static bool check_all_known(const Reading *r) {
    for (int64_t i = 0; i < tensor_safetensors_count(r->file); i++) {
        const char *name = tensor_safetensors_entry(r->file, i)->name;
        if (!r->known[i] && nn_checkpoint_below(r->prefix, name))
            return fail(r, "%.200s: unexpected: the optimiser (%s) has none", name,
                        r->opt->rule->name);
    }
    return true;
}

static bool read_all(Reading *r) {
    size_t n = (size_t)tensor_safetensors_count(r->file);
    r->known = r->arena ? tensor_arena_alloc(r->arena, n * sizeof *r->known) : NULL;
    if (!r->known) return out_of_memory(r);
    memset(r->known, 0, n * sizeof *r->known);
    if (!optim_adopt(r->opt)) return fail(r, "%s: %s", r->prefix, optim_error(r->opt));
    return check_kind(r) && check_groups(r) && read_options(r) && read_items(r) &&
           check_all_known(r);
}

static void take_over(const Reading *r) {
    Optim *opt = r->opt;
    opt->lr = r->lr;
    opt->averaging = r->averaging;
    for (int g = 0; g < opt->n_groups; g++) opt->group[g].options = r->options[g];
    for (int i = 0; i < opt->n_items; i++) {
        OptimItem *item = &opt->item[i];
        const Found *f = &r->item[i];
        item->steps = f->steps;
        item->t0 = f->t0;
        for (int k = 0; k < OPTIM_SLOTS; k++) {
            item->slot[k] = f->slot[k];
            if (!tensor_is_nil(&f->slot[k])) tensor_convert(&f->slot[k], &f->from[k]);
        }
    }
}

bool optim_checkpoint_read(const TensorSafetensors *file, const char *path, const char *prefix,
                           Optim *opt, TensorError *error) {
    const char *why = unusable(opt);
    if (why) return tensor_error_file(error, path, -1, "%s: %s", prefix, why);
    Reading r = {.file = file, .path = path, .prefix = prefix, .opt = opt, .error = error,
                 .arena = tensor_arena_new()};
    Optim before = *opt;
    TensorArenaMark mark = tensor_arena_mark(opt->arena);
    bool ok = read_all(&r);
    if (ok) {
        take_over(&r);
    } else {
        *opt = before;
        tensor_arena_release(opt->arena, mark);
    }
    tensor_arena_free(r.arena);
    return ok;
}
