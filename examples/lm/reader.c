/* reader.c -- see reader.h. */
#include "reader.h"

enum { WINDOW = 64, ROWS = 1 /* the axis of a state's rows */, STATES = 4 };

static bool tape_error(const LmReader *r, TensorError *error) {
    return tensor_error_set(error, "%s", ag_tape_error(r->tape));
}

/* ---- the state between two calls ---- */

static int list_state(LmReader *r, AgVar *list[STATES]) {
    AgVar *all[STATES] = {&r->state.lstm.h, &r->state.lstm.c, &r->state.last.h, &r->state.last.c};
    int n = r->model->last.layer ? STATES : STATES / 2;
    for (int i = 0; i < n; i++) list[i] = all[i];
    return n;
}

/* Only the state stays, and `also` where it is not NULL. */
static bool keep_state(LmReader *r, AgVar *also, TensorError *error) {
    AgVar *state[STATES], keep[STATES + 1];
    int n = list_state(r, state);
    for (int i = 0; i < n; i++) keep[i] = *state[i];
    if (also) keep[n] = *also;
    if (!ag_tape_ok(r->tape) || !ag_tape_release(r->tape, r->mark, n + (also != NULL), keep))
        return tape_error(r, error);
    for (int i = 0; i < n; i++) *state[i] = keep[i];
    if (also) *also = keep[n];
    return true;
}

bool lm_reader_init(LmReader *r, const LmModel *m, TensorError *error) {
    *r = (LmReader){.model = m, .tape = ag_tape_new()};
    NnState *zeros = nn_state_new(nn_params_dtype(m->set));
    bool ok = r->tape && zeros;
    if (ok) {
        ag_tape_no_grad(r->tape, true);
        r->mark = ag_tape_mark(r->tape);
        r->state = lm_model_load(m, zeros, r->tape, 1);
    }
    nn_state_free(zeros);
    return ok ? keep_state(r, NULL, error) : tensor_error_set(error, "out of memory");
}

void lm_reader_free(LmReader *r) {
    if (r->tape) ag_tape_free(r->tape);
    *r = (LmReader){0};
}

bool lm_reader_rows(LmReader *r, int64_t n, const int64_t *rows, TensorError *error) {
    AgVar *state[STATES];
    int states = list_state(r, state);
    /* The wrapped memory is copied and not written to. */
    Tensor wrapped = tensor_wrap((void *)(intptr_t)rows, TENSOR_I64, 1, &n);
    AgVar index = ag_input(r->tape, &wrapped);
    for (int i = 0; i < states; i++) *state[i] = ag_index_select(*state[i], ROWS, index);
    return keep_state(r, NULL, error);
}

/* ---- reading ---- */

/* The hidden states of x [T, B]; the state goes on. */
static AgVar read_window(LmReader *r, int64_t T, int64_t B, const int64_t *x) {
    const int64_t shape[] = {T, B};
    Tensor wrapped = tensor_wrap((void *)(intptr_t)x, TENSOR_I64, 2, shape);
    LmState after;
    AgVar h = lm_model_hidden(r->model, &r->state, ag_input(r->tape, &wrapped), NULL, &after);
    r->state = after;
    return h;
}

bool lm_reader_next(LmReader *r, int64_t T, int64_t B, const int64_t *x, AgVar *logits,
                    TensorError *error) {
    for (int64_t done = 0, n; done < T; done += n) {
        n = T - done < WINDOW ? T - done : WINDOW;
        AgVar last = ag_select(read_window(r, n, B, x + done * B), 0, n - 1);
        if (!keep_state(r, &last, error)) return false;
        *logits = last;
    }
    *logits = nn_linear(&r->model->out, *logits);
    return ag_ok(*logits) || tape_error(r, error);
}

bool lm_reader_losses(LmReader *r, int64_t T, const int64_t *x, const int64_t *y, double *losses,
                      TensorError *error) {
    const AgCrossEntropyOptions each = {.reduction = AG_NONE, .has_ignore_index = true,
                                        .ignore_index = -1};
    for (int64_t done = 0, n; done < T; done += n) {
        n = T - done < WINDOW ? T - done : WINDOW;
        const int64_t shape[] = {n, 1};
        Tensor target = tensor_wrap((void *)(intptr_t)(y + done), TENSOR_I64, 2, shape);
        AgVar h = read_window(r, n, 1, x + done);
        AgVar loss = nn_linear_cross_entropy(&r->model->out, h, ag_input(r->tape, &target), &each);
        if (!keep_state(r, &loss, error)) return false;
        for (int64_t i = 0; i < n; i++) losses[done + i] = tensor_get(ag_value(loss), i);
    }
    return true;
}
