/* optim.c -- see optim.h. */
#include "optim/optim.h"

#include <fnmatch.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "optim/kernels.h"
#include "tensor/file.h"
#include "tensor/kernels.h"

typedef enum { SGD, ADAM } Kind;

/* Options, and for which of the optimiser's parameters; group 0 is for all. */
typedef struct {
    const char *pattern;
    double lr;
    union {
        OptimSgd sgd;
        OptimAdam adam;
    };
} Group;

/* One parameter of the optimiser. */
typedef struct {
    NnParam *param;
    int group;
    int64_t steps;  /* since the slots were made */
    Tensor slot[2]; /* sgd: b, nil until momentum is asked for; adam: m, v */
} Item;

struct Optim {
    Kind kind;
    NnParamSet *set;
    TensorArena *arena;
    const char *only; /* NULL: all */
    Group *group;
    int n_groups, cap_groups;
    Item *item;
    int n_items, cap_items;
    int seen; /* parameters of the set that were looked at */
    double lr;
    bool failed;
    TensorError error;
};

/* ---- errors ---- */

bool optim_ok(const Optim *opt) { return opt && !opt->failed; }

const char *optim_error(const Optim *opt) {
    return opt ? opt->error.message : "out of memory: there is no optimiser";
}

/* Keeps the first; returns false. */
static bool fail(Optim *opt, const char *format, ...) AG_PRINTF(2, 3);
static bool fail(Optim *opt, const char *format, ...) {
    if (opt->failed) return false;
    opt->failed = true;
    char text[sizeof opt->error.message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return tensor_error_set(&opt->error, "%s", text);
}

/* ---- options ---- */

static bool check_least_zero(Optim *opt, const char *what, double value) {
    return (value >= 0 && isfinite(value)) || fail(opt, "%s %g is not 0 or more", what, value);
}

static bool check_sgd(Optim *opt, const OptimSgd *o) {
    if (!check_least_zero(opt, "sgd: lr", o->lr) ||
        !check_least_zero(opt, "sgd: momentum", o->momentum) ||
        !check_least_zero(opt, "sgd: weight_decay", o->weight_decay))
        return false;
    if (!isfinite(o->dampening)) return fail(opt, "sgd: dampening %g", o->dampening);
    if (o->nesterov && (o->momentum == 0 || o->dampening != 0))
        return fail(opt, "sgd: nesterov wants a momentum and no dampening");
    return true;
}

static bool check_adam(Optim *opt, const OptimAdam *o) {
    for (int i = 0; i < 2; i++)
        if (!(o->betas[i] >= 0 && o->betas[i] < 1))
            return fail(opt, "adam: beta%d %g is not in [0, 1)", i + 1, o->betas[i]);
    return check_least_zero(opt, "adam: lr", o->lr) &&
           check_least_zero(opt, "adam: eps", o->eps) &&
           check_least_zero(opt, "adam: weight_decay", o->weight_decay);
}

/* ---- memory ---- */

static char *copy_text(Optim *opt, const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = tensor_arena_alloc(opt->arena, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

/* The list with room for one more of `size` bytes, in the arena; NULL when out of memory. */
static void *grow(Optim *opt, void *list, int n, int *capacity, size_t size) {
    if (n < *capacity) return list;
    int more = *capacity ? 2 * *capacity : 8;
    void *copy = tensor_arena_alloc(opt->arena, (size_t)more * size);
    if (!copy) return NULL;
    if (n) memcpy(copy, list, (size_t)n * size);
    *capacity = more;
    return copy;
}

static bool make_slot(Optim *opt, Item *item, int i) {
    if (!tensor_is_nil(&item->slot[i])) return true;
    const Tensor *p = &item->param->value;
    item->slot[i] = tensor_new(opt->arena, p->dtype, p->ndim, p->shape);
    if (tensor_is_nil(&item->slot[i])) return fail(opt, "out of memory");
    tensor_fill(&item->slot[i], 0);
    return true;
}

/* What the options of the item's group ask for. */
static bool make_slots(Optim *opt, Item *item) {
    if (opt->kind == ADAM) return make_slot(opt, item, 0) && make_slot(opt, item, 1);
    if (opt->group[item->group].sgd.momentum == 0) return true;
    if (!tensor_is_nil(&item->slot[0])) return true;
    item->steps = 0;
    return make_slot(opt, item, 0);
}

/* ---- parameters and groups ---- */

static bool matches(const char *pattern, const NnParam *p) {
    return !pattern || fnmatch(pattern, p->name, 0) == 0;
}

static bool add_item(Optim *opt, NnParam *p) {
    Item *list = grow(opt, opt->item, opt->n_items, &opt->cap_items, sizeof *list);
    if (!list) return fail(opt, "out of memory");
    opt->item = list;
    Item *item = &list[opt->n_items++];
    *item = (Item){.param = p, .slot = {tensor_nil(), tensor_nil()}};
    for (int g = 0; g < opt->n_groups; g++)
        if (matches(opt->group[g].pattern, p)) item->group = g;
    return make_slots(opt, item);
}

/* Takes in the parameters that the set has got since the last call. */
static bool adopt(Optim *opt) {
    for (; opt->seen < nn_params_count(opt->set); opt->seen++) {
        NnParam *p = nn_params_at(opt->set, opt->seen);
        if (p->trainable && matches(opt->only, p) && !add_item(opt, p)) return false;
    }
    return true;
}

static bool add_group(Optim *opt, const char *pattern, Group group) {
    Group *list = grow(opt, opt->group, opt->n_groups, &opt->cap_groups, sizeof *list);
    if (list) opt->group = list;
    group.pattern = pattern ? copy_text(opt, pattern) : NULL;
    if (!list || (pattern && !group.pattern)) return fail(opt, "out of memory");
    opt->group[opt->n_groups++] = group;
    return true;
}

/* A group after the first, for the parameters that match. */
static void add_pattern_group(Optim *opt, const char *pattern, Group group) {
    if (!adopt(opt) || !add_group(opt, pattern, group)) return;
    int n = 0;
    for (int i = 0; i < opt->n_items; i++) {
        Item *item = &opt->item[i];
        if (!matches(pattern, item->param)) continue;
        item->group = opt->n_groups - 1;
        n++;
        if (!make_slots(opt, item)) return;
    }
    if (n == 0) fail(opt, "group %.200s: no parameter of the optimiser matches", pattern);
}

/* ---- making ---- */

static Optim *new_optim(Kind kind, NnParamSet *set) {
    Optim *opt = calloc(1, sizeof *opt);
    TensorArena *arena = tensor_arena_new();
    if (!opt || !arena) {
        tensor_arena_free(arena);
        free(opt);
        return NULL;
    }
    *opt = (Optim){.kind = kind, .set = set, .arena = arena};
    if (!nn_params_ok(set)) fail(opt, "parameter set: %s", nn_params_error(set));
    return opt;
}

static void start(Optim *opt, const char *only, Group group) {
    opt->lr = group.lr;
    if (only && !(opt->only = copy_text(opt, only))) fail(opt, "out of memory");
    if (opt->failed || !add_group(opt, NULL, group) || !adopt(opt)) return;
    if (only && opt->n_items == 0) fail(opt, "only %.200s: no parameter matches", only);
}

Optim *optim_sgd_new(NnParamSet *set, OptimSgd options) {
    Optim *opt = new_optim(SGD, set);
    if (!opt || opt->failed || !check_sgd(opt, &options)) return opt;
    start(opt, options.only, (Group){.lr = options.lr, .sgd = options});
    return opt;
}

Optim *optim_adam_new(NnParamSet *set, OptimAdam options) {
    Optim *opt = new_optim(ADAM, set);
    if (!opt || opt->failed || !check_adam(opt, &options)) return opt;
    start(opt, options.only, (Group){.lr = options.lr, .adam = options});
    return opt;
}

void optim_free(Optim *opt) {
    if (!opt) return;
    tensor_arena_free(opt->arena);
    free(opt);
}

static bool check_group(Optim *opt, Kind kind, const char *pattern, const char *only) {
    if (!optim_ok(opt)) return false;
    if (opt->kind != kind)
        return fail(opt, "group %.200s: options of another kind of optimiser", pattern);
    return !only || fail(opt, "group %.200s: `only` is the optimiser's, not a group's", pattern);
}

void optim_sgd_group(Optim *opt, const char *pattern, OptimSgd options) {
    if (!check_group(opt, SGD, pattern, options.only) || !check_sgd(opt, &options)) return;
    add_pattern_group(opt, pattern, (Group){.lr = options.lr, .sgd = options});
}

void optim_adam_group(Optim *opt, const char *pattern, OptimAdam options) {
    if (!check_group(opt, ADAM, pattern, options.only) || !check_adam(opt, &options)) return;
    add_pattern_group(opt, pattern, (Group){.lr = options.lr, .adam = options});
}


double optim_lr(const Optim *opt) { return opt ? opt->lr : (double)NAN; }

/* ---- stepping ---- */

/* The rate of group g: its own, times what optim_set_lr made of the first group's. */
static double group_lr(const Optim *opt, int g) {
    double base = opt->group[0].lr;
    if (g == 0) return opt->lr;
    return base > 0 ? opt->group[g].lr * (opt->lr / base) : opt->group[g].lr;
}

void optim_set_lr(Optim *opt, double lr) {
    if (!optim_ok(opt) || !check_least_zero(opt, "lr", lr)) return;
    double before = opt->lr;
    opt->lr = lr;
    for (int g = 1; g < opt->n_groups; g++) {
        if (isfinite(group_lr(opt, g))) continue;
        opt->lr = before;
        fail(opt, "lr %g: a group's rate, scaled by it, is not finite", lr);
        return;
    }
}

static void step_sgd(const Optim *opt, Item *item, const Tensor *g) {
    const Group *group = &opt->group[item->group];
    OptimSgdScalars s = {.lr = group_lr(opt, item->group),
                         .momentum = group->sgd.momentum,
                         .one_less_dampening = 1 - group->sgd.dampening,
                         .weight_decay = group->sgd.weight_decay,
                         .nesterov = group->sgd.nesterov,
                         .first = item->steps == 0};
    Tensor b = group->sgd.momentum != 0 ? item->slot[0] : tensor_nil();
    optim_kernel_sgd(&item->param->value, g, &b, &s);
}

static void step_adam(const Optim *opt, Item *item, const Tensor *g) {
    const Group *group = &opt->group[item->group];
    double n = (double)(item->steps + 1);
    double beta1 = group->adam.betas[0], beta2 = group->adam.betas[1];
    OptimAdamScalars s = {.step_size = group_lr(opt, item->group) / (1 - pow(beta1, n)),
                          .beta1 = beta1,
                          .beta2 = beta2,
                          .eps = group->adam.eps,
                          .weight_decay = group->adam.weight_decay,
                          .correction = sqrt(1 - pow(beta2, n))};
    optim_kernel_adam(&item->param->value, g, &item->slot[0], &item->slot[1], &s);
}

/* False, with the error, unless every parameter has its gradient. */
static bool check_grads(Optim *opt, const NnGrads *grads) {
    if (nn_grads_set(grads) != opt->set) return fail(opt, "step: gradients of another set");
    for (int i = 0; i < opt->n_items; i++) {
        const NnParam *p = opt->item[i].param;
        Tensor g = nn_grads_at(grads, p->index);
        if (tensor_is_nil(&g))
            return fail(opt, "step: parameter %s was made after the gradients", p->name);
    }
    return true;
}

bool optim_step(Optim *opt, const NnGrads *grads) {
    if (!optim_ok(opt)) return false;
    if (!grads) grads = nn_params_grads(opt->set);
    if (!adopt(opt) || !check_grads(opt, grads)) return false;
    for (int i = 0; i < opt->n_items; i++) {
        Item *item = &opt->item[i];
        if (item->param->frozen) continue;
        Tensor g = nn_grads_at(grads, item->param->index);
        (opt->kind == SGD ? step_sgd : step_adam)(opt, item, &g);
        item->steps++;
        nn_param_touch(item->param);
    }
    return true;
}
