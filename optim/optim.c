/* optim.c -- see optim.h. */
#include "optim/optim.h"

#include <fnmatch.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "optim/items.h"
#include "optim/norm.h"
#include "tensor/blocks.h"
#include "tensor/kernels.h"

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

static bool check_options(Optim *opt, const OptimOptions *o) {
    TensorError why;
    return optim_rule_check(opt->rule, o, &why) || fail(opt, "%s", why.message);
}

static bool check_least_zero(Optim *opt, const char *what, double value) {
    return (value >= 0 && isfinite(value)) || fail(opt, "%s %g is not 0 or more", what, value);
}

/* The caller's struct of the rule as the union, and its `only`. */
static OptimOptions read_options(const OptimRule *rule, const void *options, const char **only) {
    OptimOptions o;
    memset(&o, 0, sizeof o);
    memcpy(&o, options, rule->size);
    memcpy(only, (const char *)options + rule->only, sizeof *only);
    return o;
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

/* Slots wait with their first value until the first step, by the options that hold then. */
static bool make_slot(Optim *opt, OptimItem *item, int i) {
    Tensor *slot = &item->slot[i];
    const Tensor *p = &item->param->value;
    bool fresh = tensor_is_nil(slot);
    if (fresh) *slot = tensor_new(opt->arena, p->dtype, p->ndim, p->shape);
    if (tensor_is_nil(slot)) return fail(opt, "out of memory");
    if (fresh && i == 0) item->steps = 0;
    size_t value = opt->rule->slot_value;
    if (fresh || item->steps == 0)
        tensor_fill(slot, value ? optim_number_at(&opt->group[item->group].options, value) : 0);
    return true;
}

/* What the options of the item's group ask for. */
static bool make_slots(Optim *opt, OptimItem *item) {
    unsigned wanted = opt->rule->slots(&opt->group[item->group].options);
    for (int i = 0; i < OPTIM_SLOTS; i++)
        if ((wanted >> i & 1) && !make_slot(opt, item, i)) return false;
    return true;
}

/* ---- parameters and groups ---- */

static bool matches(const char *pattern, const NnParam *p) {
    return !pattern || fnmatch(pattern, p->name, 0) == 0;
}

static bool add_item(Optim *opt, NnParam *p) {
    OptimItem *list = grow(opt, opt->item, opt->n_items, &opt->cap_items, sizeof *list);
    if (!list) return fail(opt, "out of memory");
    opt->item = list;
    OptimItem *item = &list[opt->n_items++];
    *item = (OptimItem){.param = p, .t0 = opt->averaging ? 0 : -1};
    for (int i = 0; i < OPTIM_SLOTS; i++) item->slot[i] = tensor_nil();
    for (int g = 0; g < opt->n_groups; g++)
        if (matches(opt->group[g].pattern, p)) item->group = g;
    return make_slots(opt, item);
}

bool optim_adopt(Optim *opt) {
    for (; opt->seen < nn_params_count(opt->set); opt->seen++) {
        NnParam *p = nn_params_at(opt->set, opt->seen);
        if (p->trainable && matches(opt->only, p) && !add_item(opt, p)) return false;
    }
    return true;
}

static bool add_group(Optim *opt, const char *pattern, const OptimOptions *o) {
    OptimGroup *list = grow(opt, opt->group, opt->n_groups, &opt->cap_groups, sizeof *list);
    if (list) opt->group = list;
    const char *copy = pattern ? copy_text(opt, pattern) : NULL;
    if (!list || (pattern && !copy)) return fail(opt, "out of memory");
    opt->group[opt->n_groups++] = (OptimGroup){copy, *o};
    return true;
}

/* A group after the first, for the parameters that match. */
static void add_pattern_group(Optim *opt, const char *pattern, const OptimOptions *o) {
    if (!optim_adopt(opt) || !add_group(opt, pattern, o)) return;
    int n = 0;
    for (int i = 0; i < opt->n_items; i++) {
        OptimItem *item = &opt->item[i];
        if (!matches(pattern, item->param)) continue;
        item->group = opt->n_groups - 1;
        n++;
        if (!make_slots(opt, item)) return;
    }
    if (n == 0) fail(opt, "group %.200s: no parameter of the optimiser matches", pattern);
}

/* ---- making ---- */

static Optim *new_optim(const OptimRule *rule, NnParamSet *set) {
    Optim *opt = calloc(1, sizeof *opt);
    TensorArena *arena = tensor_arena_new();
    if (!opt || !arena) {
        tensor_arena_free(arena);
        free(opt);
        return NULL;
    }
    *opt = (Optim){.rule = rule, .set = set, .arena = arena};
    if (!nn_params_ok(set)) fail(opt, "parameter set: %s", nn_params_error(set));
    return opt;
}

Optim *optim_rule_new(const OptimRule *rule, NnParamSet *set, const void *options) {
    const char *only;
    OptimOptions o = read_options(rule, options, &only);
    Optim *opt = new_optim(rule, set);
    if (!opt || opt->failed || !check_options(opt, &o)) return opt;
    opt->lr = o.lr;
    if (only && !(opt->only = copy_text(opt, only))) fail(opt, "out of memory");
    if (opt->failed || !add_group(opt, NULL, &o) || !optim_adopt(opt)) return opt;
    if (only && opt->n_items == 0) fail(opt, "only %.200s: no parameter matches", only);
    return opt;
}

void optim_free(Optim *opt) {
    if (!opt) return;
    tensor_arena_free(opt->arena);
    free(opt);
}

void optim_rule_group(Optim *opt, const OptimRule *rule, const char *pattern,
                      const void *options) {
    if (!optim_ok(opt)) return;
    const char *only;
    OptimOptions o = read_options(rule, options, &only);
    if (opt->rule != rule)
        fail(opt, "group %.200s: options of another kind of optimiser", pattern);
    else if (only)
        fail(opt, "group %.200s: `only` is the optimiser's, not a group's", pattern);
    else if (check_options(opt, &o))
        add_pattern_group(opt, pattern, &o);
}

/* ---- changing options between steps ---- */

double optim_lr(const Optim *opt) { return opt ? opt->lr : (double)NAN; }

double optim_scaled_lr(double own, double first, double lr) {
    return first > 0 ? own * (lr / first) : own;
}

static double group_lr(const Optim *opt, int g) {
    return g == 0 ? opt->lr
                  : optim_scaled_lr(opt->group[g].options.lr, opt->group[0].options.lr, opt->lr);
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

void optim_set_momentum(Optim *opt, double momentum) {
    if (!optim_ok(opt)) return;
    size_t at = opt->rule->momentum;
    if (!at) {
        fail(opt, "momentum: %s has none", opt->rule->name);
        return;
    }
    for (int g = 0; g < opt->n_groups; g++) {
        OptimOptions o = opt->group[g].options;
        optim_set_number_at(&o, at, momentum);
        if (!check_options(opt, &o)) return;
        opt->group[g].options = o;
    }
    for (int i = 0; i < opt->n_items; i++)
        if (!make_slots(opt, &opt->item[i])) return;
}

/* ---- stepping ---- */

static void prepare(const Optim *opt, OptimItem *item, const NnGrads *grads, double factor) {
    const Tensor *p = &item->param->value;
    item->grad = item->param->frozen ? tensor_nil() : nn_grads_at(grads, item->param->index);
    if (tensor_is_nil(&item->grad)) return;
    OptimMove *m = &item->move;
    *m = (OptimMove){.options = &opt->group[item->group].options,
                     .lr = group_lr(opt, item->group),
                     .n = ++item->steps,
                     .t0 = item->t0,
                     .factor = factor,
                     .operands = {p->dtype, tensor_numel(p), p->data, item->grad.data, {NULL}}};
    for (int i = 0; i < OPTIM_SLOTS; i++) m->operands.slot[i] = item->slot[i].data;
    bool rests = opt->rule->rests && opt->rule->rests(m);
    item->rows = rests ? nn_grads_rows(grads, item->param->index) : NULL;
    nn_param_touch(item->param);
}

/* Some of the elements, in place of all. */
static OptimOperands part_of(const OptimOperands *x, AgSpan s) {
    size_t at = (size_t)s.begin * tensor_dtype_size(x->dtype);
    OptimOperands part = {
        x->dtype, s.end - s.begin, (char *)x->p + at, (const char *)x->g + at, {NULL}};
    for (int i = 0; i < OPTIM_SLOTS; i++)
        if (x->slot[i]) part.slot[i] = (char *)x->slot[i] + at;
    return part;
}

static int64_t size_of(int i, void *context) {
    const OptimItem *item = &((const Optim *)context)->item[i];
    return tensor_is_nil(&item->grad) ? 0 : item->move.operands.n;
}

static double move(const TensorBlock *b, void *context) {
    const Optim *opt = context;
    const OptimItem *item = &opt->item[b->array];
    OptimMove m = item->move;
    for (AgSpan s = {0, b->begin}; ag_rows_next(item->rows, &item->grad, b->end, &s);) {
        m.operands = part_of(&item->move.operands, s);
        opt->rule->step(&m);
    }
    return 0;
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

/* The gradients to step with, given or the set's own; NULL, with the error, if no step can be. */
static const NnGrads *ready(Optim *opt, const NnGrads *given) {
    if (!optim_ok(opt)) return NULL;
    const NnGrads *grads = given ? given : nn_params_grads(opt->set);
    if (opt->swapped) fail(opt, "step: the averages are in the parameters: swap back");
    return !opt->failed && optim_adopt(opt) && check_grads(opt, grads) ? grads : NULL;
}

static void step(Optim *opt, const NnGrads *grads, double factor) {
    for (int i = 0; i < opt->n_items; i++) prepare(opt, &opt->item[i], grads, factor);
    tensor_blocks(
        &(TensorPass){.n = opt->n_items, .size = size_of, .run = move, .context = opt});
}

bool optim_step(Optim *opt, const NnGrads *given) {
    const NnGrads *grads = ready(opt, given);
    if (grads) step(opt, grads, 1);
    return grads;
}

bool optim_step_clipped(Optim *opt, const NnGrads *given, double max_norm, double *norm) {
    const NnGrads *grads = ready(opt, given);
    if (grads && !(max_norm >= 0)) {
        fail(opt, "step: max_norm %g is not 0 or more", max_norm);
        grads = NULL;
    }
    double n = grads ? optim_grad_norm(grads, 2) : (double)NAN;
    if (norm) *norm = n;
    if (isfinite(n)) step(opt, grads, optim_clip_factor(n, max_norm));
    return isfinite(n);
}

/* ---- averages ---- */

static bool check_averages(Optim *opt, const char *what) {
    if (!optim_ok(opt)) return false;
    return opt->rule->averages || fail(opt, "%s: %s keeps no averages", what, opt->rule->name);
}

void optim_asgd_start_averaging(Optim *opt) {
    if (!check_averages(opt, "start_averaging")) return;
    opt->averaging = true;
    for (int i = 0; i < opt->n_items; i++) opt->item[i].t0 = opt->item[i].steps;
}

Tensor optim_average(const Optim *opt, const NnParam *p) {
    if (!optim_ok(opt) || !opt->rule->averages) return tensor_nil();
    for (int i = 0; i < opt->n_items; i++) {
        const OptimItem *item = &opt->item[i];
        if (item->param == p) return item->steps && !opt->swapped ? item->slot[0] : p->value;
    }
    return tensor_nil();
}

bool optim_swap_average(Optim *opt) {
    if (!check_averages(opt, "swap_average")) return false;
    for (int i = 0; i < opt->n_items; i++) {
        const OptimItem *item = &opt->item[i];
        if (item->steps == 0) continue;
        optim_kernel_swap(&item->param->value, &item->slot[0]);
        nn_param_touch(item->param);
    }
    opt->swapped = !opt->swapped;
    return true;
}
