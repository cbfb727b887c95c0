/* models.c -- trains the small models of this folder, and checks their gradients.
 *
 *     models              lists them
 *     models mgu          trains one for some seconds, and measures it against a baseline
 *     models mgu --check  compares all its gradients with finite differences
 *
 * Exit status: 0; 1 when a gradient is wrong or training failed; else as of all examples
 * (examples/support/program.h).  Ctrl-C ends training: what was learnt by then is measured. */
#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/models/models.h"
#include "examples/support/program.h"

enum { STATUS_FAILED = 1 };

typedef struct {
    const Model *model;
    bool check;
    ModelTraining training;
} Arguments;

/* ---- the command line ---- */

static const struct argp_option options[] = {
    {"check", 'c', NULL, 0, "compare the gradients by all parameters, inputs and initial states, "
     "of first and second order, with finite differences instead of training", 0},
    {"steps", 'n', "N", 0, "train for N steps (default: the model's own number)", 0},
    {"seed", 's', "N", 0, "of parameters and data (default 1)", 0},
    {0}};

/* A whole number from min on; anything else ends the program. */
static int64_t read_number(const char *text, int64_t min, const struct argp_state *state) {
    char *end;
    errno = 0;
    long long x = strtoll(text, &end, 10);
    if (errno || end == text || *end || x < min)
        argp_error(state, "%s: not a whole number of at least %lld", text, (long long)min);
    return x;
}

static error_t read_argument(int key, char *text, struct argp_state *state) {
    Arguments *a = state->input;
    switch (key) {
    case 'c': a->check = true; return 0;
    case 'n': a->training.steps = read_number(text, 1, state); return 0;
    case 's': a->training.seed = (uint64_t)read_number(text, 0, state); return 0;
    case ARGP_KEY_ARG:
        if (a->model) argp_error(state, "one model at a time, not %s too", text);
        a->model = model_find(text);
        if (!a->model) argp_error(state, "no model %s; without arguments they are listed", text);
        return 0;
    case ARGP_KEY_END:
        if (!a->model && state->argc > 1) argp_error(state, "which model?");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* ---- what to do ---- */

static int list(void) {
    for (int i = 0; model_list[i]; i++)
        printf("%-10s %s\n%-10s   task: %s\n", model_list[i]->name, model_list[i]->idea, "",
               model_list[i]->task);
    puts("\nmodels NAME trains one, models NAME --check checks its gradients; --help tells more");
    return 0;
}

static int check(const Model *m) {
    GradcheckResult r;
    for (int order = 1; order <= 2; order++) {
        if (!model_check(m, order, &r)) {
            printf("%s, order %d%s%s: %s\n", m->name, order, *r.name ? ", " : "", r.name,
                   r.message);
            return STATUS_FAILED;
        }
        printf("%s: %lld derivatives of order %d agree with finite differences, the worst to "
               "%.1e of the largest\n", m->name, (long long)r.checked, order, r.rel_error);
    }
    return 0;
}

static int train(const Model *m, const ModelTraining *training) {
    TensorError error;
    printf("%s %s\n", m->name, m->task);
    fflush(stdout);
    double loss = model_train(m, training, &error);
    if (isnan(loss)) {
        fprintf(stderr, "models: %s\n", error.message);
        return STATUS_FAILED;
    }
    if (*training->stop) puts("stopped by a signal");
    printf("%s on new data: %.5f\nbaseline: %.5f, %s\n", m->loss_is, loss, m->baseline,
           m->baseline_is);
    return *training->stop ? EXAMPLE_SIGNAL + *training->stop : 0;
}

int main(int argc, char **argv) {
    const struct argp parser = {options, read_argument, "[MODEL]",
                                "Trains a small sequence model, or checks its gradients. Without "
                                "arguments: lists the models.", NULL, NULL, NULL};
    Arguments a = {.training = {.seed = 1}};
    argp_err_exit_status = EXAMPLE_REFUSED;
    error_t wrong = argp_parse(&parser, argc, argv, 0, NULL, &a);
    if (wrong) return example_refuse("models", strerror(wrong));
    if (!a.model) return example_end("models", list());
    if (a.check) return example_end("models", check(a.model));
    a.training.stop = example_catch_stop();
    return example_end("models", train(a.model, &a.training));
}
