/* lstm_from_scratch.c -- an LSTM written out gate by gate, beside the library's in one line.
 *
 * scratch.c has the equations of the tutorials as lines of C, with a weight matrix for each gate:
 *     I = sigmoid(X W_xi + H W_hi + b_i), and so on
 * The same numbers are put into nn_lstm, where the four gates stand in one matrix.  Both models
 * then learn to tell the next character of a text: one-hot inputs, SGD, the norm of the gradient
 * clipped to 1, gradients through T steps (the state goes on to the next T, gradients do not).
 *
 * 1. The first steps of both side by side: same equations, same result.  They differ by rounding
 *    only, because sums are added up in another order; with --double by much less.
 * 2. The time a step of training takes.
 * 3. Training to the end, with a rate that falls evenly to 0, measured by the perplexity, exp of
 *    the mean loss: V for a blind guess, 1 if every next character is known.  Each epoch reads the
 *    same 5000 characters, so what is learnt is this text by heart; then the model goes on from
 *    the beginning of a sentence. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/stream.h"
#include "data/text.h"
#include "data/vocab.h"
#include "examples/lstm_from_scratch/trainer.h"
#include "examples/support/files.h"
#include "examples/support/options.h"
#include "examples/support/program.h"
#include "examples/support/progress.h"

enum { STATUS_DIFFERENT = 1, COMPARED = 8, TIMED = 15, SAMPLE = 200 };

static const char story[] = "examples/lm/lighthouse.txt";
static const char prefix[] = "Every day had the same ";
static const char *const model_names[] = {"scratch", "nn_lstm", NULL};

static int refuse(const char *message) { return example_refuse("lstm_from_scratch", message); }

typedef struct {
    const char *text;
    int64_t chars, hidden, batch, steps, epochs, seed;
    double lr;
    int model; /* an index of model_names: which is trained to the end */
    bool use_double;
} Settings;

/* What a run needs; a zero value can be freed. */
typedef struct {
    Settings set;
    DataVocab *vocab;
    int64_t *ids, count;
    DataStream stream;
    ScratchTrainer scratch, library;
    const volatile sig_atomic_t *stop;
} Run;

/* ---- the text ---- */

/* The first characters of the text, as numbers. */
static bool read_text(Run *r, TensorError *error) {
    const DataVocabOptions characters = {.kind = DATA_VOCAB_CHAR, .no_unk = true};
    const DataStreamOptions window = {.batch = r->set.batch, .steps = r->set.steps};
    DataText text;
    if (!data_text_read(r->set.text, NULL, &text, error)) return false;
    r->vocab = data_vocab_new(text.bytes, text.length, &characters, error);
    bool ok = r->vocab && data_vocab_encode(r->vocab, text.bytes, text.length, &r->ids, &r->count,
                                            error);
    data_text_free(&text);
    if (r->set.chars > 0 && r->count > r->set.chars) r->count = r->set.chars;
    return ok && data_stream_init(&r->stream, r->ids, r->count, &window, error);
}

/* The next window, of the next epoch where this one is at its end. */
static void next_window(Run *r, Tensor *x, Tensor *y) {
    if (data_stream_next(&r->stream, x, y)) return;
    data_stream_reset(&r->stream);
    data_stream_next(&r->stream, x, y);
    scratch_trainer_restart(&r->scratch);
    scratch_trainer_restart(&r->library);
}

/* ---- 1. same equations, same result ---- */

static double largest_difference(const Tensor *a, const Tensor *b) {
    double worst = 0;
    for (int64_t i = 0; i < tensor_numel(a); i++)
        worst = fmax(worst, fabs(tensor_get(a, i) - tensor_get(b, i)));
    return worst;
}

static bool compare(Run *r, double *worst, TensorError *error) {
    printf("\n1. The first steps of training, SGD, lr 1\n\n"
           "step  loss from scratch  loss of nn_lstm      difference  largest difference in H\n");
    *worst = 0;
    for (int step = 1; step <= COMPARED && !*r->stop; step++) {
        Tensor x, y;
        double loss[2];
        ScratchOutput out[2];
        next_window(r, &x, &y);
        if (!scratch_trainer_step(&r->scratch, &x, &y, &loss[0], &out[0], error) ||
            !scratch_trainer_step(&r->library, &x, &y, &loss[1], &out[1], error))
            return false;
        double of_loss = fabs(loss[0] - loss[1]);
        double of_h = largest_difference(ag_value(out[0].y), ag_value(out[1].y));
        printf("%4d  %-17.15g  %-17.15g  %12.1e  %23.1e\n", step, loss[0], loss[1], of_loss, of_h);
        *worst = fmax(*worst, fmax(of_loss, of_h));
    }
    double of_parameters = scratch_library_difference(&r->scratch.scratch, &r->library.library);
    printf("parameters after these steps: largest difference %.1e\n", of_parameters);
    *worst = fmax(*worst, of_parameters);
    return true;
}

/* ---- 2. time ---- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* In turn, so that both meet the machine in the same state. */
static bool measure(Run *r, TensorError *error) {
    ScratchTrainer *trainer[] = {&r->scratch, &r->library};
    double seconds[2][TIMED];
    for (int step = 0; step < TIMED && !*r->stop; step++) {
        Tensor x, y;
        next_window(r, &x, &y);
        for (int k = 0; k < 2; k++) {
            double loss, start = example_seconds();
            if (!scratch_trainer_step(trainer[k], &x, &y, &loss, NULL, error)) return false;
            seconds[k][step] = example_seconds() - start;
        }
    }
    if (*r->stop) return true;
    double median[2];
    for (int k = 0; k < 2; k++) {
        qsort(seconds[k], TIMED, sizeof(double), by_size);
        median[k] = 1e3 * seconds[k][TIMED / 2];
    }
    printf("\n2. One step of training, median of %d: from scratch %.2f ms, nn_lstm %.2f ms, "
           "ratio %.1f\n", TIMED, median[0], median[1], median[0] / median[1]);
    return true;
}

/* ---- 3. training ---- */

static bool train_epoch(Run *r, ScratchTrainer *trainer, ExampleProgress *p, TensorError *error) {
    Tensor x, y;
    double total = 0, loss;
    data_stream_reset(&r->stream);
    scratch_trainer_restart(trainer);
    for (p->window = 0; !*r->stop && data_stream_next(&r->stream, &x, &y);) {
        if (!scratch_trainer_step(trainer, &x, &y, &loss, NULL, error)) return false;
        total += loss;
        p->loss = total / (double)++p->window;
        p->tokens += tensor_numel(&x);
        example_progress_step(p);
    }
    return true;
}

static bool train(Run *r, ScratchTrainer *trainer, TensorError *error) {
    ExampleProgress p;
    bool ok = true;
    printf("\n3. Training %s, %lld epochs, lr from %g to 0\n\n",
           trainer->is_library ? "nn_lstm" : "from scratch", (long long)r->set.epochs, r->set.lr);
    example_progress_start(&p, r->set.epochs);
    p.windows = r->stream.windows;
    for (p.epoch = 1; p.epoch <= r->set.epochs && ok && !*r->stop; p.epoch++) {
        double done = (double)(p.epoch - 1) / (double)r->set.epochs;
        optim_set_lr(trainer->optim, r->set.lr * (1 - done));
        ok = train_epoch(r, trainer, &p, error);
        if (ok && !*r->stop) example_progress_epoch(&p);
    }
    example_progress_end(&p);
    return ok;
}

/* Writes n characters and what the model goes on with: each time the most likely one. */
static bool write_text(Run *r, ScratchTrainer *trainer, NnState *state, const int64_t *ids,
                       int64_t n, TensorError *error) {
    ag_tape_no_grad(trainer->tape, true);
    printf("\n");
    for (int64_t i = 0, next = 0; i < n + SAMPLE; i++) {
        int64_t id = i < n ? ids[i] : next;
        printf("%s", data_vocab_token(r->vocab, id, NULL));
        Tensor x = tensor_wrap(&id, TENSOR_I64, 2, (int64_t[]){1, 1}); /* T, B */
        AgVar logits = scratch_trainer_forward(trainer, state, &x).logits;
        next = ag_item_i64(ag_argmax(logits, -1, false));
        if (next < 0) return tensor_error_set(error, "%s", ag_tape_error(trainer->tape));
    }
    printf("\n");
    return true;
}

/* From the prefix, or in a text that has not all of its characters from the text's beginning. */
static bool write_sample(Run *r, ScratchTrainer *trainer, TensorError *error) {
    int64_t *ids = NULL, length = (int64_t)strlen(prefix), n;
    bool known = data_vocab_encode(r->vocab, prefix, length, &ids, &n, NULL);
    if (!known) n = r->count < length ? r->count : length;
    NnState *state = nn_state_new(r->set.use_double ? TENSOR_F64 : TENSOR_F32);
    bool ok = write_text(r, trainer, state, known ? ids : r->ids, n, error);
    nn_state_free(state);
    free(ids);
    return ok;
}

/* ---- all of it ---- */

static bool make_models(Run *r, TensorError *error) {
    const Settings *s = &r->set;
    const ScratchOptions o = {.dtype = s->use_double ? TENSOR_F64 : TENSOR_F32,
                              .V = data_vocab_size(r->vocab), .H = s->hidden, .lr = 1,
                              .clip = 1, .seed = (uint64_t)s->seed};
    if (!scratch_trainer_init(&r->scratch, &o, error) ||
        !scratch_trainer_copy(&r->library, &r->scratch, error))
        return false;
    printf("text   %s: %lld characters, V = %lld\n", s->text, (long long)r->count, (long long)o.V);
    printf("model  one-hot %lld, LSTM %lld, linear %lld: %lld parameters, %s\n", (long long)o.V,
           (long long)o.H, (long long)o.V, (long long)nn_params_numel(r->scratch.set),
           tensor_dtype_name(o.dtype));
    printf("steps  windows of T = %lld characters of B = %lld rows\n", (long long)s->steps,
           (long long)s->batch);
    return true;
}

static bool run(Run *r, bool *different, TensorError *error) {
    const double limit = r->set.use_double ? 1e-12 : 1e-5;
    double worst;
    if (!read_text(r, error) || !make_models(r, error) || !compare(r, &worst, error)) return false;
    *different = !(worst <= limit);
    printf("%s: worst difference %.1e, limit %g\n",
           *different ? "NOT THE SAME" : "the same but for rounding", worst, limit);
    if (*different || r->set.epochs == 0) return true;
    if (!*r->stop && !measure(r, error)) return false;
    ScratchTrainer *trainer = r->set.model == 0 ? &r->scratch : &r->library;
    return *r->stop || (train(r, trainer, error) && (*r->stop || write_sample(r, trainer, error)));
}

static int run_settings(const Settings *settings) {
    TensorError error;
    bool different = false;
    Run r = {.set = *settings, .stop = example_catch_stop()};
    bool ok = run(&r, &different, &error);
    scratch_trainer_free(&r.scratch);
    scratch_trainer_free(&r.library);
    data_vocab_free(r.vocab);
    free(r.ids);
    if (!ok) return refuse(error.message);
    if (*r.stop) {
        printf("stopped by a signal\n");
        return EXAMPLE_SIGNAL + (int)*r.stop;
    }
    return different ? STATUS_DIFFERENT : 0;
}

static const Settings defaults = {.chars = 5000, .hidden = 128, .batch = 16, .steps = 35,
                                  .epochs = 120, .seed = 1, .lr = 10};

static int help(const ExampleOption *table) {
    fputs("usage: lstm_from_scratch [OPTION VALUE]...\n\n"
          "Trains an LSTM written out gate by gate beside the library's, from the same numbers.\n"
          "Ends with 1 if they do not give the same.\n\n", stdout);
    example_options_help(table, stdout);
    return 0;
}

static int command(int argc, char **argv, const char *story_path) {
    const double large = 1 << 20, huge = 9e15;
    Settings s = defaults;
    const ExampleOption table[] = {
        {"text", "FILE", "text to learn, UTF-8; without it, a short story",
         EXAMPLE_OPTION_TEXT, .variable = &s.text},
        {"chars", "N", "learn its first N characters; 0: all",
         EXAMPLE_OPTION_INT, &s.chars, .max = huge},
        {"hidden", "H", "size of the LSTM", EXAMPLE_OPTION_INT, &s.hidden, .min = 1, .max = large},
        {"batch", "B", "rows of text read side by side",
         EXAMPLE_OPTION_INT, &s.batch, .min = 1, .max = large},
        {"steps", "T", "characters of a window",
         EXAMPLE_OPTION_INT, &s.steps, .min = 1, .max = large},
        {"epochs", "N", "times the text is read; 0: only compare",
         EXAMPLE_OPTION_INT, &s.epochs, .max = huge},
        {"lr", "RATE", "learning rate at the start of training",
         EXAMPLE_OPTION_REAL, &s.lr, .max = 1e6, .above_min = true},
        {"seed", "N", "of the initial numbers", EXAMPLE_OPTION_INT, &s.seed, .max = huge},
        {"train", "MODEL", "the one to train to the end: scratch or nn_lstm",
         EXAMPLE_OPTION_CHOICE, &s.model, .choices = model_names},
        {"double", NULL, "compute in double precision", EXAMPLE_OPTION_ON,
         .variable = &s.use_double},
        {0},
    };
    TensorError error;
    switch (example_options_read(table, argc, argv, &error)) {
    case EXAMPLE_OPTIONS_WRONG: return refuse(error.message);
    case EXAMPLE_OPTIONS_HELP:
        s = defaults;
        return help(table);
    case EXAMPLE_OPTIONS_OK: break;
    }
    if (!s.text) s.text = story_path;
    if (!s.text) return refuse("the story that ships with the program is missing: name a --text");
    return run_settings(&s);
}

int main(int argc, char **argv) {
    TensorError error;
    char *story_path = example_files_find(argv[0], story);
    int status =
        example_files_enter(&error) ? command(argc, argv, story_path) : refuse(error.message);
    free(story_path);
    return example_end("lstm_from_scratch", status);
}
