/* workers.c -- see workers.h. */
#include "workers.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "autograd/inspect.h"
#include "processes.h"
#include "tensor/parallel.h"

/* One window of the whole batch. */
typedef struct {
    const Tensor *x, *y;
    uint64_t step;
    bool first;    /* gradients start at zero */
    bool stores;   /* the state after it */
    double factor; /* of a worker's loss, in what is differentiated */
} Window;

typedef struct {
    LmWorkers *all;
    AgTape *tape;
    NnGrads *grads;    /* of the first worker the set's own */
    NnState *state[2]; /* the carried one is state[all->now] */
    int64_t first;     /* of its rows in the whole batch */
    double loss;       /* mean cross entropy of its rows in the last window */
    bool ok;
    pthread_t thread;
} Worker;

struct LmWorkers {
    const LmModel *model;
    const LmSettings *settings;
    int64_t rows, total; /* of a worker, of the whole batch */
    int n;
    Worker *worker;
    NnState *whole; /* the carried state of all rows, while a checkpoint has it */
    int now, from;  /* the carried state; that from which the last window started */

    /* Worker 0 is the caller; the others wait here for windows. */
    const Window *window;
    int threads, running;
    uint64_t windows; /* given out */
    bool end;
    pthread_mutex_t lock;
    pthread_cond_t given, done;
};

/* ---- one worker's part ---- */

/* mean(x[1:] - x[:-1])^2 over the steps of x [T, ..] */
static AgVar roughness(AgVar x) {
    int64_t T = ag_dim(x, 0);
    AgVar d = ag_sub(ag_narrow(x, 0, 1, T - 1), ag_narrow(x, 0, 0, T - 1));
    return ag_mean(ag_square(d), AG_ALL_AXES, false);
}

/* What is differentiated; *cross_entropy is the part of it that is measured. */
static AgVar window_loss(const LmWorkers *w, const LmState *before, AgVar x, AgVar y,
                         double factor, AgVar *cross_entropy, LmState *after) {
    const LmSettings *s = w->settings;
    AgVar raw, hidden = lm_model_hidden(w->model, before, x, &raw, after);
    AgVar loss = *cross_entropy = nn_linear_cross_entropy(&w->model->out, hidden, y, NULL);
    if (s->alpha > 0) {
        AgVar size = ag_mean(ag_square(hidden), AG_ALL_AXES, false);
        loss = ag_add(loss, ag_affine(size, s->alpha, 0));
    }
    if (s->beta > 0 && ag_dim(x, 0) > 1)
        loss = ag_add(loss, ag_affine(roughness(raw), s->beta, 0));
    return factor == 1 ? loss : ag_affine(loss, factor, 0);
}

static AgVar own_rows(const Worker *k, const Tensor *x) {
    Tensor share = tensor_narrow(x, 1, k->first, k->all->rows);
    return ag_input(k->tape, &share);
}

/* Forward, backward, and the state after the window, which nobody reads before it is carried. */
static void compute(Worker *k, const Window *window) {
    const LmWorkers *w = k->all;
    AgTape *t = k->tape;
    ag_tape_reset(t);
    ag_tape_rng(t, (uint64_t)w->settings->seed, window->step);
    ag_tape_rows(t, k->first, w->total);
    if (window->first) nn_grads_zero(k->grads);
    ag_scope_push(t, "lm");
    LmState before = lm_model_load(w->model, k->state[w->from], t, w->rows), after;
    AgVar x = own_rows(k, window->x), y = own_rows(k, window->y), cross_entropy;
    AgVar loss = window_loss(w, &before, x, y, window->factor, &cross_entropy, &after);
    ag_scope_pop(t);
    k->loss = ag_item(cross_entropy);
    if (window->stores) lm_model_store(w->model, k->state[1 - w->from], &after);
    k->ok = ag_tape_ok(t) && (!isfinite(k->loss) || ag_backward(loss));
    ag_tape_rows(t, 0, 0);
}

/* ---- the threads ---- */

static void *work(void *context) {
    Worker *k = context;
    LmWorkers *w = k->all;
    pthread_mutex_lock(&w->lock);
    for (uint64_t next = 1;; next++) {
        while (w->windows < next && !w->end) pthread_cond_wait(&w->given, &w->lock);
        if (w->end) break;
        pthread_mutex_unlock(&w->lock);
        compute(k, w->window);
        pthread_mutex_lock(&w->lock);
        if (--w->running == 0) pthread_cond_signal(&w->done);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Signals go to the caller's thread. */
static bool start_threads(LmWorkers *w) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = true;
    for (int i = 1; ok && i < w->n; i++) {
        ok = pthread_create(&w->worker[i].thread, NULL, work, &w->worker[i]) == 0;
        w->threads += ok;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

static void end_threads(LmWorkers *w) {
    pthread_mutex_lock(&w->lock);
    w->end = true;
    pthread_mutex_unlock(&w->lock);
    pthread_cond_broadcast(&w->given);
    for (int i = 1; i <= w->threads; i++) pthread_join(w->worker[i].thread, NULL);
}

/* The workers take processors from the threads that share a single call's work. */
static void compute_all(LmWorkers *w, const Window *window) {
    if (w->n == 1) {
        compute(&w->worker[0], window);
        return;
    }
    const int shared = tensor_threads(), left = shared - (w->n - 1);
    tensor_threads_set(left > 1 ? left : 1);
    pthread_mutex_lock(&w->lock);
    w->window = window;
    w->running = w->n - 1;
    w->windows++;
    pthread_mutex_unlock(&w->lock);
    pthread_cond_broadcast(&w->given);
    compute(&w->worker[0], window);
    pthread_mutex_lock(&w->lock);
    while (w->running > 0) pthread_cond_wait(&w->done, &w->lock);
    pthread_mutex_unlock(&w->lock);
    tensor_threads_set(shared);
}

/* ---- all of them ---- */

static bool worker_init(LmWorkers *w, int i, TensorError *error) {
    Worker *k = &w->worker[i];
    NnParamSet *set = w->model->set;
    *k = (Worker){.all = w, .first = ((int64_t)lm_process() * w->n + i) * w->rows};
    k->tape = ag_tape_new();
    k->grads = i == 0 ? nn_params_grads(set) : nn_grads_new(set);
    for (int s = 0; s < 2; s++) k->state[s] = nn_state_new(nn_params_dtype(set));
    if (!k->tape || !k->grads || !k->state[0] || !k->state[1] || !nn_grads_use(k->grads, k->tape))
        return tensor_error_set(error, "out of memory");
    ag_tape_training(k->tape, true);
    for (int s = 0; s < 2; s++) lm_model_load(w->model, k->state[s], k->tape, w->rows);
    return ag_tape_ok(k->tape) || tensor_error_set(error, "%s", ag_tape_error(k->tape));
}

LmWorkers *lm_workers_new(const LmModel *m, const LmSettings *s, TensorError *error) {
    LmWorkers *w = calloc(1, sizeof *w);
    Worker *worker = calloc((size_t)s->workers, sizeof *worker);
    if (!w || !worker) {
        free(w);
        free(worker);
        tensor_error_set(error, "out of memory");
        return NULL;
    }
    *w = (LmWorkers){.model = m, .settings = s, .rows = s->batch, .n = (int)s->workers,
                     .total = s->batch * s->workers * lm_process_count(), .worker = worker};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->given, NULL);
    pthread_cond_init(&w->done, NULL);
    bool ok = true;
    for (int i = 0; ok && i < w->n; i++) ok = worker_init(w, i, error);
    if (ok && !start_threads(w)) ok = tensor_error_set(error, "%d threads cannot be started", w->n);
    if (ok) return w;
    lm_workers_free(w);
    return NULL;
}

void lm_workers_free(LmWorkers *w) {
    if (!w) return;
    end_threads(w);
    for (int i = 0; i < w->n; i++) {
        Worker *k = &w->worker[i];
        if (k->tape) ag_tape_free(k->tape);
        if (i > 0) nn_grads_free(k->grads);
        for (int s = 0; s < 2; s++) nn_state_free(k->state[s]);
    }
    nn_state_free(w->whole);
    pthread_cond_destroy(&w->done);
    pthread_cond_destroy(&w->given);
    pthread_mutex_destroy(&w->lock);
    free(w->worker);
    free(w);
}

/* ---- a step ---- */

static bool is_batch(const LmWorkers *w, const Tensor *x, TensorError *error) {
    if (x->ndim == 2 && x->shape[1] == w->total) return true;
    char text[TENSOR_DESCRIBE_SIZE];
    return tensor_error_set(error, "a window %s, not of %lld rows",
                            tensor_describe(x, text, sizeof text), (long long)w->total);
}

static Window window_of(const LmWorkers *w, const Tensor *x, const Tensor *y, uint64_t step,
                        bool first, double scale) {
    double steps = w->settings->reduction == LM_PER_ROW ? (double)x->shape[0] : 1;
    return (Window){x, y, step, first, true, scale * steps * (double)w->rows / (double)w->total};
}

/* The first error on a tape. */
static bool all_ok(const LmWorkers *w, TensorError *error) {
    for (int i = 0; i < w->n; i++)
        if (!w->worker[i].ok)
            return tensor_error_set(error, "%s", ag_tape_error(w->worker[i].tape));
    return true;
}

bool lm_workers_step(LmWorkers *w, const Tensor *x, const Tensor *y, uint64_t step, bool first,
                     double scale, LmStep *result, TensorError *error) {
    *result = (LmStep){NAN, false};
    if (!is_batch(w, x, error) || !is_batch(w, y, error)) return false;
    Window window = window_of(w, x, y, step, first, scale);
    w->from = w->now;
    compute_all(w, &window);
    bool ok = all_ok(w, error);
    double sums[] = {0, !ok}; /* losses, and processes that failed */
    for (int i = 0; i < w->n; i++) sums[0] += w->worker[i].loss;
    if (!lm_processes_sum(2, sums, error)) return false;
    if (sums[1] > 0) return lm_processes_agree(ok, error);
    result->loss = sums[0] * (double)w->rows / (double)w->total;
    result->finite = isfinite(exp(result->loss));
    if (result->finite) w->now = 1 - w->from;
    return true;
}

NnGrads *lm_workers_grads(LmWorkers *w) { return w->worker[0].grads; }

bool lm_workers_reduce(LmWorkers *w, TensorError *error) {
    for (int i = 1; i < w->n; i++) nn_grads_add(w->worker[0].grads, w->worker[i].grads);
    return lm_processes_sum_grads(w->worker[0].grads, error);
}

bool lm_workers_trace(LmWorkers *w, const Tensor *x, const Tensor *y, uint64_t step,
                      TensorError *error) {
    if (!is_batch(w, x, error) || !is_batch(w, y, error)) return false;
    Window window = window_of(w, x, y, step, true, 1);
    window.stores = false; /* the tracer may change last bits */
    bool ok = true;
    for (int i = 0; ok && i < w->n; i++) {
        Worker *k = &w->worker[i];
        ag_tape_trace_nan(k->tape, true);
        compute(k, &window);
        ag_tape_trace_nan(k->tape, false);
        ok = k->ok || tensor_error_set(error, "%s", ag_tape_error(k->tape));
    }
    return !lm_processes_agree(ok, error);
}

AgTape *lm_workers_tape(LmWorkers *w) { return w->worker[0].tape; }

/* ---- the carried state ---- */

void lm_workers_zero_state(LmWorkers *w) {
    for (int i = 0; i < w->n; i++) nn_state_zero(w->worker[i].state[w->now]);
}

/* The parts of a state that there are, with their names in an NnState (model.h). */
enum { MOST_PARTS = 4 };
typedef struct {
    const char *name;
    AgVar *v;
} Part;
static int parts_of(LmState *s, Part part[MOST_PARTS]) {
    const Part all[MOST_PARTS] = {{"lstm.h", &s->lstm.h}, {"lstm.c", &s->lstm.c},
                                  {"last.h", &s->last.h}, {"last.c", &s->last.c}};
    int n = 0;
    for (int i = 0; i < MOST_PARTS; i++)
        if (all[i].v->tape) part[n++] = all[i];
    return n;
}

/* v, [L, rows of this process, H], with the rows of all; in process 0. */
static AgVar gather(const LmWorkers *w, AgVar v, TensorError *error) {
    const Tensor *share = ag_value(v);
    const int64_t shape[] = {share->shape[0], w->total, share->shape[2]};
    size_t elements = (size_t)(shape[0] * shape[1] * shape[2]);
    void *memory = ag_tape_alloc(v.tape, elements * tensor_dtype_size(share->dtype));
    Tensor all = tensor_wrap(memory, share->dtype, 3, shape);
    if (!lm_processes_agree(memory || tensor_error_set(error, "%s", ag_tape_error(v.tape)), error))
        return (AgVar){0};
    return lm_processes_gather(share, &all, error) ? ag_borrow(v.tape, &all) : (AgVar){0};
}

/* The state of this process's rows on the first worker's tape. */
static LmState join(LmWorkers *w) {
    AgTape *t = w->worker[0].tape;
    ag_tape_reset(t);
    LmState all = lm_model_load(w->model, w->worker[0].state[w->now], t, w->rows);
    Part to[MOST_PARTS], from[MOST_PARTS];
    for (int i = 1; i < w->n; i++) {
        LmState own = lm_model_load(w->model, w->worker[i].state[w->now], t, w->rows);
        for (int p = parts_of(&all, to), n = parts_of(&own, from); p-- > 0 && p < n;)
            *to[p].v = ag_concat(2, (AgVar[]){*to[p].v, *from[p].v}, 1);
    }
    return all;
}

bool lm_workers_add_state(LmWorkers *w, NnCheckpoint *c, const char *prefix, TensorError *error) {
    AgTape *t = w->worker[0].tape;
    LmState all = join(w);
    bool ok = ag_tape_ok(t) || tensor_error_set(error, "%s", ag_tape_error(t));
    if (!lm_processes_agree(ok, error)) return false;
    Part part[MOST_PARTS];
    for (int p = 0, n = parts_of(&all, part); p < n; p++) {
        *part[p].v = gather(w, *part[p].v, error);
        if (!part[p].v->tape) return false;
    }
    if (lm_process() != 0) return true;
    if (!w->whole) w->whole = nn_state_new(nn_params_dtype(w->model->set));
    if (!w->whole) return tensor_error_set(error, "out of memory");
    if (!lm_model_store(w->model, w->whole, &all))
        return tensor_error_set(error, "%s", ag_tape_error(t));
    nn_checkpoint_add_state(c, prefix, w->whole);
    return true;
}

/* The whole state to the workers, as the one that is not carried. */
static bool deal(LmWorkers *w, NnState *whole, TensorError *error) {
    AgTape *t = w->worker[0].tape;
    ag_tape_reset(t);
    LmState all = lm_model_load(w->model, whole, t, w->total);
    for (int i = 0; ag_tape_ok(t) && i < w->n; i++) {
        Worker *k = &w->worker[i];
        LmState own = all;
        Part part[MOST_PARTS];
        for (int p = parts_of(&own, part); p-- > 0;)
            *part[p].v = ag_narrow(*part[p].v, 1, k->first, w->rows);
        lm_model_store(w->model, k->state[1 - w->now], &own);
    }
    return ag_tape_ok(t) || tensor_error_set(error, "%s", ag_tape_error(t));
}

/* A name that is not there would be read as zeros. */
static bool has_parts(LmWorkers *w, const TensorSafetensors *file, const char *path,
                      const char *prefix, TensorError *error) {
    LmState all = join(w);
    Part part[MOST_PARTS];
    char name[256];
    for (int p = parts_of(&all, part); p-- > 0;) {
        snprintf(name, sizeof name, "%s.%s", prefix, part[p].name);
        if (tensor_safetensors_find(file, name) < 0)
            return tensor_error_file(error, path, -1, "%s is missing", name);
    }
    return true;
}

bool lm_workers_read_state(LmWorkers *w, const TensorSafetensors *file, const char *path,
                           const char *prefix, TensorError *error) {
    NnState *whole = nn_state_new(nn_params_dtype(w->model->set));
    TensorError why;
    bool ok = whole || tensor_error_set(error, "out of memory");
    ok = ok && has_parts(w, file, path, prefix, error) &&
         nn_checkpoint_read_state(file, path, prefix, whole, error);
    if (ok && !deal(w, whole, &why)) ok = tensor_error_file(error, path, -1, "%s", why.message);
    nn_state_free(whole);
    ok = lm_processes_agree(ok, error);
    if (ok) w->now = 1 - w->now;
    return ok;
}
