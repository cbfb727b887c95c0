/* steps.c -- see steps.h. */
#include "steps.h"

#include <math.h>
#include <stdlib.h>

#include "examples/lm/processes.h"

#define SIZES .vocab = STEPS_V, .hidden = 9, .layers = 2, .dropout_input = -1, \
              .dropout_hidden = -1, .dropout_output = -1
#define WORDS SIZES, .embedding = 6

const StepsKind steps_kinds[] = {
    {"plain", {WORDS}, 0, 0, LM_PER_TOKEN},
    {"one-hot", {SIZES}, 0, 0, LM_PER_ROW},
    {"dropout", {WORDS, .dropout = .4}, 0, 0, LM_PER_TOKEN},
    {"locked dropout", {WORDS, .dropout = .4, .locked = true}, 0, 0, LM_PER_TOKEN},
    {"embedding dropout", {WORDS, .embedding_dropout = .3}, 0, 0, LM_PER_TOKEN},
    {"weight drop", {WORDS, .weight_drop = .5}, 0, 0, LM_PER_TOKEN},
    {"activation", {WORDS, .dropout = .3}, 30, 0, LM_PER_TOKEN},
    {"temporal activation", {WORDS, .dropout = .3}, 0, 300, LM_PER_ROW},
    {"everything", {WORDS, .tied = true, .dropout = .4, .locked = true, .embedding_dropout = .1,
                    .weight_drop = .5, .init = .1}, 2, 1, LM_PER_ROW},
    {0},
};

/* A text without a period that a window could share. */
enum { IDS = STEPS_B * STEPS_T * STEPS_WINDOWS + 1 };
static const int64_t *text(void) {
    static int64_t id[IDS];
    for (int64_t i = 0, x = 5; i < IDS; i++, x = (x * 1103 + 12345) % 65521) id[i] = x % STEPS_V;
    return id;
}

Steps *steps_new(const StepsKind *kind, int64_t workers, TensorError *error) {
    DataStreamOptions window = {.batch = STEPS_B, .steps = STEPS_T};
    Steps *s = malloc(sizeof *s);
    if (!s) return NULL;
    *s = (Steps){.settings = {.batch = STEPS_B / workers / lm_process_count(),
                              .workers = workers, .seed = 4, .reduction = kind->reduction,
                              .alpha = kind->alpha, .beta = kind->beta}};
    if (data_stream_init(&s->stream, text(), IDS, &window, error) &&
        lm_model_init(&s->model, &kind->config, 8, error) &&
        (s->workers = lm_workers_new(&s->model, &s->settings, error)))
        return s;
    steps_free(s);
    return NULL;
}

void steps_free(Steps *s) {
    lm_workers_free(s->workers);
    lm_model_free(&s->model);
    free(s);
}

void steps_window(Steps *s, int w, Tensor *x, Tensor *y) {
    data_stream_reset(&s->stream);
    for (int i = 0; i <= w; i++) data_stream_next(&s->stream, x, y);
}

int64_t steps_token_of(const Tensor *x, int share, int shares) {
    for (int64_t v = 0; v < STEPS_V; v++) {
        int64_t own = 0, others = 0;
        for (int64_t i = 0; i < tensor_numel(x); i++)
            if (tensor_get_i64(x, i) == v)
                *(i % STEPS_B * shares / STEPS_B == share ? &own : &others) += 1;
        if (own > 0 && others == 0) return v;
    }
    return -1;
}

/* p -= g / 2.  Not one of the library's optimisers: so nothing here depends on them. */
static void descend(Steps *s) {
    NnGrads *grads = lm_workers_grads(s->workers);
    for (int i = 0; i < nn_params_count(s->model.set); i++) {
        NnParam *p = nn_params_at(s->model.set, i);
        Tensor g = nn_grads_at(grads, i);
        for (int64_t e = 0; e < tensor_numel(&g); e++)
            tensor_set(&p->value, e, tensor_get(&p->value, e) - tensor_get(&g, e) / 2);
        nn_param_touch(p);
    }
}

bool steps_run(Steps *s, int first, int last, bool accumulate, TensorError *error) {
    for (int w = first; w <= last; w++) {
        Tensor x, y;
        LmStep step;
        bool start = !accumulate || (w - first) % 2 == 0, end = !accumulate || !start;
        steps_window(s, w, &x, &y);
        if (!lm_workers_step(s->workers, &x, &y, (uint64_t)w, start, accumulate ? .5 : 1, &step,
                             error))
            return false;
        s->loss[w] = step.loss;
        if (!step.finite) return tensor_error_set(error, "window %d: loss %g", w, step.loss);
        if (!end) continue;
        if (!lm_workers_reduce(s->workers, error)) return false;
        descend(s);
    }
    return true;
}

static double distance(const Steps *a, const Steps *b,
                       Tensor (*of)(const Steps *s, int param)) {
    double worst = 0, size = 0;
    for (int i = 0; i < nn_params_count(a->model.set); i++) {
        Tensor x = of(a, i), y = of(b, i);
        for (int64_t e = 0; e < tensor_numel(&x); e++) {
            double d = fabs(tensor_get(&x, e) - tensor_get(&y, e));
            if (!(d <= worst)) worst = d;
            size = fmax(size, fabs(tensor_get(&x, e)));
        }
    }
    return size > 0 ? worst / size : INFINITY;
}

static Tensor value(const Steps *s, int i) { return nn_params_at(s->model.set, i)->value; }
static Tensor grad(const Steps *s, int i) {
    return nn_grads_at(lm_workers_grads(s->workers), i);
}

double steps_value_distance(const Steps *a, const Steps *b) { return distance(a, b, value); }
double steps_grad_distance(const Steps *a, const Steps *b) { return distance(a, b, grad); }
