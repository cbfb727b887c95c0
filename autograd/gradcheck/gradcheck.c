#include "autograd/gradcheck/gradcheck.h"

#include <math.h>
#include <string.h>

#include "autograd/gradcheck/core.h"
#include "autograd/tape.h"
#include "tensor/kernels.h"
#include "tensor/tensor.h"

_Static_assert((int)GRADCHECK_MAX_DIMS == TENSOR_MAX_DIMS, "plain.h mirrors tensor.h");

static const TensorDtype dtype_of[] = {[GRADCHECK_F64] = TENSOR_F64, [GRADCHECK_F32] = TENSOR_F32,
                                       [GRADCHECK_I64] = TENSOR_I64, [GRADCHECK_U8] = TENSOR_U8};

/* A function of variables as the arrays and calls of the core. */
typedef struct Function {
    GradcheckFunction f;
    void *context;
    int n, max_out, n_out;
    int n_own;        /* of a gradient: inputs of its function; cotangents follow.  Else n */
    bool training;
    void (*recording)(void *context, bool on); /* or NULL; told before the pass of a backward */
    AgTape *tape;
    TensorArena *arena;
    Tensor *x;        /* strided memory of the inputs; the arrays are dense */
    GradArg *in, *out;
    AgVar *var, *y, *gx;
} Function;

static GradcheckReason say(char *why, size_t size, GradcheckReason reason, const char *text) {
    snprintf(why, size, "%s", text);
    return reason;
}

static GradcheckReason tape_failed(const Function *f, char *why, size_t size) {
    return say(why, size, f->tape->misshaped ? GRADCHECK_SHAPE : GRADCHECK_ERROR,
               ag_tape_error(f->tape));
}

static Tensor dense(const GradArg *a, void *data) {
    return tensor_wrap(data, dtype_of[a->dtype], a->ndim, a->shape);
}

/* ---- passes ---- */

static bool equal_bits(const Tensor *a, const Tensor *b) {
    for (int64_t i = 0, n = tensor_numel(a); i < n; i++) {
        double u = tensor_get(a, i), v = tensor_get(b, i);
        if (u != v && !(isnan(u) && isnan(v))) return false;
    }
    return true;
}

static GradcheckReason call_function(Function *f, char *why, size_t size) {
    AgTape *t = f->tape;
    ag_tape_reset(t);
    ag_tape_training(t, f->training);
    for (int i = 0; i < f->n; i++) {
        Tensor value = dense(&f->in[i], f->in[i].value);
        tensor_convert(&f->x[i], &value);
        f->var[i] = ag_borrow(t, &f->x[i]);
    }
    int n_out = f->f(t, f->var, f->y, f->context);
    if (!ag_tape_ok(t)) return tape_failed(f, why, size);
    if (n_out < 1 || n_out > f->max_out || (f->n_out && n_out != f->n_out)) {
        snprintf(why, size, "the function returned %d results, wants %d", n_out,
                 f->n_out ? f->n_out : f->max_out);
        return GRADCHECK_ERROR;
    }
    for (int k = 0; k < n_out; k++)
        if (f->y[k].tape != t || !ag_ok(f->y[k]) || ag_dtype(f->y[k]) != TENSOR_F64) {
            snprintf(why, size, "result %d is not a f64 variable of this tape", k);
            return GRADCHECK_SHAPE;
        }
    f->n_out = n_out;
    return GRADCHECK_PASSED;
}

static GradcheckReason check_inputs(const Function *f, const char *who, char *why, size_t size) {
    for (int i = 0; i < f->n; i++) {
        Tensor value = dense(&f->in[i], f->in[i].value);
        if (equal_bits(&value, &f->x[i])) continue;
        snprintf(why, size, "%s changes the value of input %d", who, i);
        return GRADCHECK_INPUT_CHANGED;
    }
    return GRADCHECK_PASSED;
}

static GradcheckReason forward(void *context, char *why, size_t size) {
    Function *f = context;
    GradcheckReason reason = call_function(f, why, size);
    if (reason == GRADCHECK_PASSED) reason = check_inputs(f, "forward", why, size);
    if (reason != GRADCHECK_PASSED) return reason;
    for (int k = 0; k < f->n_out; k++) {
        Tensor to = dense(&f->out[k], f->out[k].value);
        const Tensor *y = ag_value(f->y[k]);
        if (!tensor_same_shape(&to, y)) {
            snprintf(why, size, "result %d changes its shape from call to call", k);
            return GRADCHECK_SHAPE;
        }
        tensor_convert(&to, y);
    }
    return GRADCHECK_PASSED;
}

static GradcheckReason backward(void *context, char *why, size_t size) {
    Function *f = context;
    if (f->recording) {
        f->recording(f->context, true);
        GradcheckReason reason = call_function(f, why, size);
        f->recording(f->context, false);
        if (reason != GRADCHECK_PASSED) return reason;
    }
    AgVar *wanted = f->gx + f->n, *seed = f->y + f->max_out;
    int n = 0;
    for (int k = 0; k < f->n_out; k++) {
        Tensor w = dense(&f->out[k], f->out[k].grad);
        seed[k] = ag_input(f->tape, &w);
    }
    for (int i = 0; i < f->n; i++)
        if (f->in[i].dtype == GRADCHECK_F64) wanted[n++] = f->var[i];
    if (!ag_grad_n(f->n_out, f->y, seed, n, wanted, f->gx, false)) return tape_failed(f, why, size);
    for (int i = 0, j = 0; i < f->n; i++) {
        if (f->in[i].dtype != GRADCHECK_F64) continue;
        Tensor to = dense(&f->in[i], f->in[i].grad);
        tensor_convert(&to, ag_value(f->gx[j++]));
    }
    return check_inputs(f, "backward", why, size);
}

/* ---- making ---- */

/* Do the strides keep all elements apart? */
static bool is_apart(const Tensor *x) {
    int64_t reach = 0;
    bool used[TENSOR_MAX_DIMS] = {false};
    for (int k = 0; k < x->ndim; k++) {
        int least = -1;
        for (int d = 0; d < x->ndim; d++)
            if (!used[d] && (least < 0 || x->stride[d] < x->stride[least])) least = d;
        used[least] = true;
        if (x->shape[least] > 1 && x->stride[least] <= reach) return false;
        if (x->shape[least] > 1) reach += (x->shape[least] - 1) * x->stride[least];
    }
    return true;
}

/* Memory of x's own strides, or dense where x repeats its elements. */
static Tensor memory_like(TensorArena *arena, const Tensor *x) {
    if (!is_apart(x) || tensor_numel(x) == 0)
        return tensor_new(arena, x->dtype, x->ndim, x->shape);
    int64_t reach = 1;
    for (int d = 0; d < x->ndim; d++) reach += (x->shape[d] - 1) * x->stride[d];
    Tensor flat = tensor_new(arena, x->dtype, 1, &reach);
    if (tensor_is_nil(&flat)) return flat;
    tensor_fill(&flat, 0);
    Tensor y = *x;
    y.data = flat.data;
    return y;
}

static void *array(Function *f, int n, size_t size) {
    void *p = tensor_arena_alloc(f->arena, (size_t)(n + 1) * size);
    return p ? memset(p, 0, (size_t)(n + 1) * size) : NULL;
}

static GradcheckReason open_input(Function *f, int i, const Tensor *x, char *why, size_t size) {
    const char *invalid = tensor_invalid(x);
    if (invalid || x->dtype == TENSOR_F32) {
        snprintf(why, size, "input %d%s%s", i, invalid ? ": " : " is f32: differences in single ",
                 invalid ? invalid : "precision prove nothing");
        return GRADCHECK_ERROR;
    }
    f->x[i] = memory_like(f->arena, x);
    Tensor value = tensor_copy(f->arena, x), *kept = array(f, 1, sizeof *kept);
    if (tensor_is_nil(&f->x[i]) || tensor_is_nil(&value) || !kept)
        return say(why, size, GRADCHECK_ERROR, "out of memory");
    *kept = value;
    int dtype = GRADCHECK_F64;
    while (dtype_of[dtype] != x->dtype) dtype++;
    f->in[i] = (GradArg){.dtype = dtype, .ndim = x->ndim, .shape = kept->shape,
                         .value = value.data};
    return GRADCHECK_PASSED;
}

static const char *name_of(Function *f, const char *what, int i) {
    char *name = array(f, GRADCHECK_NAME_SIZE, 1);
    if (name) snprintf(name, GRADCHECK_NAME_SIZE, "%s %d", what, i);
    return name;
}

/* Makes everything for the inputs; one pass then tells how many results there are, and their
 * shapes. */
static GradcheckReason open_function(Function *f, const Tensor *x, uint64_t seed, char *why,
                                     size_t size) {
    f->tape = ag_tape_new();
    f->arena = tensor_arena_new();
    if (!f->tape || !f->arena) return say(why, size, GRADCHECK_ERROR, "out of memory");
    f->x = array(f, f->n, sizeof *f->x);
    f->in = array(f, f->n, sizeof *f->in);
    f->out = array(f, f->max_out, sizeof *f->out);
    f->var = array(f, f->n, sizeof *f->var);
    f->gx = array(f, 2 * f->n, sizeof *f->gx);
    f->y = array(f, 2 * f->max_out, sizeof *f->y);
    if (!f->x || !f->in || !f->out || !f->var || !f->gx || !f->y)
        return say(why, size, GRADCHECK_ERROR, "out of memory");
    ag_tape_rng(f->tape, seed, 0);
    f->tape->fill_nan = true;
    GradcheckReason reason = GRADCHECK_PASSED;
    for (int i = 0; i < f->n && reason == GRADCHECK_PASSED; i++) {
        reason = open_input(f, i, &x[i], why, size);
        if (i >= f->n_own) f->in[i].name = name_of(f, "cotangent of result", i - f->n_own);
    }
    if (reason == GRADCHECK_PASSED) reason = call_function(f, why, size);
    for (int k = 0; reason == GRADCHECK_PASSED && k < f->n_out; k++) {
        const Tensor *y = ag_value(f->y[k]);
        int64_t *shape = array(f, y->ndim, sizeof *shape);
        if (!shape) return say(why, size, GRADCHECK_ERROR, "out of memory");
        memcpy(shape, y->shape, (size_t)y->ndim * sizeof *shape);
        f->out[k] = (GradArg){.dtype = GRADCHECK_F64, .ndim = y->ndim, .shape = shape};
    }
    for (int i = 0, k = 0; f->n_own < f->n && i < f->n_own && k < f->n_out; i++)
        if (f->in[i].dtype == GRADCHECK_F64) f->out[k++].name = name_of(f, "gradient of input", i);
    return reason;
}

static void close_function(Function *f) {
    ag_tape_free(f->tape);
    tensor_arena_free(f->arena);
}

static bool refuse(GradcheckResult *r, GradcheckReason reason, const char *why) {
    *r = (GradcheckResult){.reason = reason, .input = -1, .index = -1, .other = -1, .axis = -1,
                           .order = 1};
    snprintf(r->message, sizeof r->message, "%s: %.900s", gradcheck_reason(reason), why);
    return false;
}

/* ---- the first op that is wrong ---- */

enum { OPS_TRIED = 4000 };

/* A recorded call as a function of its inputs. */
typedef struct {
    const AgRecord *record;
} OneOp;

static int one_op(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    const AgRecord *r = ((OneOp *)context)->record;
    AgVar out[AG_MAX_OUT];
    int n = 0;
    ag_apply(r->op, t, r->n_in, x, r->options, 0, out);
    for (int k = 0; k < r->n_out; k++)
        if (!ag_ok(out[k]) || ag_dtype(out[k]) == TENSOR_F64) y[n++] = out[k];
    return n;
}

static bool is_finite(const Tensor *x) {
    for (int64_t i = 0, n = tensor_numel(x); i < n && tensor_dtype_is_float(x->dtype); i++)
        if (!isfinite(tensor_get(x, i))) return false;
    return true;
}

static bool inputs_finite(AgTape *t, const AgRecord *r) {
    for (int i = 0; i < r->n_in; i++)
        if (!is_finite(&ag_node(t, r->in[i])->value)) return false;
    return true;
}

/* Is the op itself wrong?  A kink or noise says nothing about it. */
static bool op_is_wrong(AgTape *t, const AgRecord *r, int order, uint64_t seed,
                        GradcheckResult *local) {
    bool wanted = r->op->vjp || r->op->compose, differentiable = false;
    Tensor few[8], *x = few;
    if (r->n_in > 8) x = tensor_arena_alloc(t->sweep, (size_t)r->n_in * sizeof *x);
    if (!x) return false;
    for (int i = 0; i < r->n_in; i++) {
        x[i] = ag_node(t, r->in[i])->value;
        differentiable |= x[i].dtype == TENSOR_F64 && tensor_numel(&x[i]) > 0;
    }
    if (!wanted || !differentiable || ag_node(t, r->first_out)->value.dtype != TENSOR_F64)
        return false;
    OneOp context = {r};
    GradcheckOptions o = {.directions = 3, .seed = seed, .training = t->training};
    bool ok = order == 1 ? gradcheck(one_op, &context, r->n_in, x, &o, local)
                         : gradgradcheck(one_op, &context, r->n_in, x, &o, local);
    return !ok && local->reason != GRADCHECK_KINK && local->reason != GRADCHECK_NOISE &&
           local->reason != GRADCHECK_ERROR;
}

static void blame(const Function *f, const AgNode *n, const char *what, GradcheckResult *r) {
    char scope[sizeof r->scope];
    ag_scope_text(f->tape, n->scope, n->step, scope, sizeof scope);
    size_t length = strlen(scope), used = strlen(r->message);
    if (length >= 2) scope[length - 2] = 0; /* without the colon */
    snprintf(r->op, sizeof r->op, "%s", n->op->name);
    snprintf(r->scope, sizeof r->scope, "%s", scope);
    snprintf(r->message + used, sizeof r->message - used, "; %s: %s%s%s", what, r->op,
             *scope ? " in " : "", scope);
}

/* Walks the tape of the function, whose last pass is on it, from the first op on. */
static void name_first_op(Function *f, GradcheckResult *r) {
    char why[GRADCHECK_MESSAGE_SIZE];
    if (call_function(f, why, sizeof why) != GRADCHECK_PASSED) return;
    AgTape *t = f->tape;
    for (uint32_t id = 1, tried = 0; id < t->n; id++) {
        const AgNode *n = ag_node(t, id);
        if (!n->record || n->record->first_out != id) continue;
        if (r->reason == GRADCHECK_NONFINITE && !is_finite(&n->value) &&
            inputs_finite(t, n->record)) {
            blame(f, n, "first in", r);
            return;
        }
        GradcheckResult local;
        if (++tried == OPS_TRIED) return;
        if (!op_is_wrong(t, n->record, r->order, r->seed, &local)) continue;
        bool told = !strcmp(r->message, local.message); /* where the function is that op alone */
        blame(f, n, "the first op that is wrong", r);
        size_t used = strlen(r->message);
        if (!told)
            snprintf(r->message + used, sizeof r->message - used, " (%.200s)", local.message);
        return;
    }
    bool numbers = r->reason < GRADCHECK_NONDETERMINISTIC || r->reason == GRADCHECK_WRONG;
    if (!numbers) return;
    size_t used = strlen(r->message);
    snprintf(r->message + used, sizeof r->message - used,
             "; each op alone is right: is something detached, or copied from a value?");
}

/* ---- the whole check ---- */

static bool is_wrong_gradient(GradcheckReason reason) {
    return reason != GRADCHECK_PASSED && reason != GRADCHECK_ERROR && reason != GRADCHECK_SHAPE &&
           reason != GRADCHECK_KINK && reason != GRADCHECK_NOISE;
}

static bool check(Function *f, Function *bisected, const Tensor *x, int order,
                  const GradcheckOptions *options, GradcheckResult *result) {
    char why[GRADCHECK_MESSAGE_SIZE];
    GradcheckReason reason = open_function(f, x, options->seed, why, sizeof why);
    if (reason != GRADCHECK_PASSED) return refuse(result, reason, why);
    GradcheckProblem p = {f, forward, backward, f->n, f->n_out, f->in, f->out};
    gradcheck_run(&p, options, result);
    result->order = order;
    if (result->reason == GRADCHECK_SHAPE && f->tape->misshaped > 0 &&
        f->tape->misshaped < f->tape->n)
        blame(f, ag_node(f->tape, f->tape->misshaped), "the op at fault", result);
    bool one = f->f == one_op || (bisected && bisected->f == one_op);
    if (!result->ok && is_wrong_gradient(result->reason) && !options->plain_verdict && !one)
        name_first_op(bisected ? bisected : f, result);
    return result->ok;
}

static Function function_of(GradcheckFunction f, void *context, int n, int max_out,
                            const GradcheckOptions *o) {
    return (Function){.f = f, .context = context, .n = n, .n_own = n, .max_out = max_out,
                      .training = o->training};
}

/* ---- second order ---- */

/* The gradient of a function, as a function of the inputs and the cotangents. */
typedef struct {
    Function *of;
    bool recording;
} Gradient;

static void set_recording(void *context, bool on) { ((Gradient *)context)->recording = on; }

static int gradient(AgTape *t, const AgVar *x, AgVar *g, void *context) {
    const Gradient *d = context;
    const Function *f = d->of;
    AgVar y[GRADCHECK_MAX_OUT], *wanted = f->gx;
    int n_out = f->f(t, x, y, f->context), n = 0;
    if (n_out != f->n_out) {
        ag_fail(t, "the function returned %d results, then %d", f->n_out, n_out);
        return 0;
    }
    for (int i = 0; i < f->n; i++)
        if (f->in[i].dtype == GRADCHECK_F64) wanted[n++] = x[i];
    ag_grad_n(n_out, y, x + f->n, n, wanted, g, d->recording);
    return n;
}

/* The inputs, and a cotangent for each result. */
static bool extend_inputs(Function *f, const Tensor *x, uint64_t seed, Tensor *all) {
    memcpy(all, x, (size_t)f->n * sizeof *all);
    for (int k = 0; k < f->n_out; k++) {
        const Tensor *y = ag_value(f->y[k]);
        Tensor w = tensor_new(f->arena, TENSOR_F64, y->ndim, y->shape);
        if (tensor_is_nil(&w)) return false;
        for (int64_t i = 0, n = tensor_numel(&w); i < n; i++) {
            double u = gradcheck_uniform(seed, GRADCHECK_SECOND, (uint64_t)k, (uint64_t)i);
            tensor_set(&w, i, u < .5 ? u - 1.5 : u);
        }
        all[f->n + k] = w;
    }
    return true;
}

static bool check_gradient(Function *f, const Tensor *x, const GradcheckOptions *o,
                           GradcheckResult *result) {
    char why[GRADCHECK_MESSAGE_SIZE];
    GradcheckReason reason = open_function(f, x, o->seed, why, sizeof why);
    if (reason != GRADCHECK_PASSED) return refuse(result, reason, why);
    Tensor *all = array(f, f->n + f->n_out, sizeof *all);
    if (!all || !extend_inputs(f, x, o->seed, all))
        return refuse(result, GRADCHECK_ERROR, "out of memory");
    Gradient d = {.of = f};
    int max_out = f->n > GRADCHECK_MAX_OUT ? f->n : GRADCHECK_MAX_OUT;
    Function derived = function_of(gradient, &d, f->n + f->n_out, max_out, o);
    derived.recording = set_recording;
    derived.n_own = f->n;
    bool ok = check(&derived, f, all, 2, o, result);
    close_function(&derived);
    return ok;
}

/* ---- public ---- */

static bool check_order(int order, GradcheckFunction f, void *context, int n, const Tensor *x,
                        const GradcheckOptions *options, GradcheckResult *result) {
    GradcheckOptions o = {0};
    if (options) o = *options;
    gradcheck_seed(&o.seed); /* one that is no number is the core's error */
    if (n < 1) return refuse(result, GRADCHECK_ERROR, "no inputs");
    Function function = function_of(f, context, n, GRADCHECK_MAX_OUT, &o);
    bool ok = order == 1 ? check(&function, NULL, x, order, &o, result)
                         : check_gradient(&function, x, &o, result);
    close_function(&function);
    result->order = order;
    return ok;
}

bool gradcheck(GradcheckFunction f, void *context, int n, const Tensor *x,
               const GradcheckOptions *options, GradcheckResult *result) {
    return check_order(1, f, context, n, x, options, result);
}

bool gradgradcheck(GradcheckFunction f, void *context, int n, const Tensor *x,
                   const GradcheckOptions *options, GradcheckResult *result) {
    return check_order(2, f, context, n, x, options, result);
}
