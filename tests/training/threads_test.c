/* One tape for each thread, one set of parameters for all: gradients of shares of a batch add up to
 * the gradient of the whole, with the same bits every time.  A plain program, so that it runs
 * under ThreadSanitizer. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "nn/dropout.h"
#include "nn/linear.h"
#include "nn/lstm.h"

enum { WORKERS = 4, T = 5, B = 8, I = 6, H = 7 };

typedef struct {
    const NnLstm *lstm;
    const NnLinear *out;
    NnGrads *grads;
    int64_t first, rows;
    const char *error;
    char message[512];
} Worker;

static double input[T * B * I];

static void *work(void *argument) {
    Worker *w = argument;
    AgTape *t = ag_tape_new();
    if (!t || !nn_grads_use(w->grads, t)) return NULL;
    ag_tape_training(t, true);
    ag_tape_rng(t, 3, 1);
    ag_tape_rows(t, w->first, B);
    for (int again = 0; again < 3; again++) {
        ag_tape_reset(t);
        nn_grads_zero(w->grads);
        Tensor whole = tensor_wrap(input, TENSOR_F64, 3, (int64_t[]){T, B, I});
        Tensor share = tensor_narrow(&whole, 1, w->first, w->rows);
        NnLstmOutput o = nn_lstm(w->lstm, ag_dropout(ag_input(t, &share), .4, 1), NULL, NULL);
        AgVar y = nn_linear(w->out, ag_dropout(o.y, .4, 1));
        if (!ag_backward(ag_sum(ag_square(y), AG_ALL_AXES, false))) {
            snprintf(w->message, sizeof w->message, "%s", ag_tape_error(t));
            w->error = w->message;
        }
    }
    ag_tape_free(t);
    return NULL;
}

static bool run(NnParamSet *set, const NnLstm *lstm, const NnLinear *out, int n, NnGrads *sum) {
    Worker w[WORKERS];
    pthread_t thread[WORKERS];
    for (int i = 0; i < n; i++) {
        w[i] = (Worker){.lstm = lstm, .out = out, .grads = nn_grads_new(set),
                        .first = i * B / n, .rows = B / n};
        if (pthread_create(&thread[i], NULL, work, &w[i])) return false;
    }
    bool ok = true;
    nn_grads_zero(sum);
    for (int i = 0; i < n; i++) {
        pthread_join(thread[i], NULL);
        if (w[i].error) printf("worker %d: %s\n", i, w[i].error);
        ok = ok && !w[i].error && nn_grads_add(sum, w[i].grads);
        nn_grads_free(w[i].grads);
    }
    return ok;
}

/* Largest difference, relative to the largest value. */
static double distance(NnParamSet *set, const NnGrads *a, const NnGrads *b) {
    double worst = 0, size = 0;
    for (int i = 0; i < nn_params_count(set); i++) {
        Tensor x = nn_grads_at(a, i), y = nn_grads_at(b, i);
        for (int64_t e = 0; e < tensor_numel(&x); e++) {
            worst = fmax(worst, fabs(tensor_get(&x, e) - tensor_get(&y, e)));
            size = fmax(size, fabs(tensor_get(&x, e)));
        }
    }
    return size > 0 ? worst / size : INFINITY;
}

int main(void) {
    for (int i = 0; i < T * B * I; i++) input[i] = sin(i);
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnLstm lstm = nn_lstm_make(set, "lstm", I, H, &(NnLstmOptions){.num_layers = 2, .dropout = .3});
    NnLinear out = nn_linear_make(set, "out", H, 3, NULL);
    NnGrads *one = nn_grads_new(set), *four = nn_grads_new(set), *again = nn_grads_new(set);
    bool ok = nn_params_ok(set) && run(set, &lstm, &out, 1, one) &&
              run(set, &lstm, &out, WORKERS, four) && run(set, &lstm, &out, WORKERS, again);
    double shares = distance(set, one, four), repeat = distance(set, four, again);
    printf("one worker against %d: %.2g; %d workers twice: %.2g\n", WORKERS, shares, WORKERS, repeat);
    ok = ok && shares < 1e-13 && repeat == 0;
    nn_grads_free(one);
    nn_grads_free(four);
    nn_grads_free(again);
    nn_params_free(set);
    puts(ok ? "passed" : "FAILED");
    return !ok;
}
