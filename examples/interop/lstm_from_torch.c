/* lstm_from_torch.c -- an LSTM of PyTorch, run here, and the way back.
 *
 *     python3 nn_lstm.py lstm.safetensors         PyTorch runs an LSTM and writes it down
 *     lstm_from_torch lstm.safetensors            runs the same, compares with PyTorch's outputs
 *     lstm_from_torch lstm.safetensors --save back.safetensors
 *                                                 runs it with new weights and writes that down
 *     python3 nn_lstm.py --check back.safetensors PyTorch runs those, compares with our outputs
 *
 * The file holds the state_dict of the LSTM under "lstm.", the input x, the states h0 and c0, the
 * outputs y, hn and cn and, where sequences have lengths of their own, those.  What kind of LSTM
 * it is follows from names and shapes, except for batch_first, which stands in the metadata.
 *
 * Exit status: 0; 1 where an output differs by more than the tolerance; 2 for everything that is
 * refused, with one line on standard error. */
#include <argp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "examples/support/program.h"
#include "nn/lstm.h"
#include "nn/state_dict.h"
#include "tensor/safetensors.h"

enum { STATUS_DIFFERENT = 1, STATUS_REFUSED = 2 };

/* ---- the command line ---- */

typedef struct {
    const char *file, *save;
    double tolerance; /* below 0: that of the dtype */
} Options;

static const struct argp_option option_list[] = {
    {"save", 's', "BACK", 0, "give the LSTM new random weights, run it on the x of FILE, and write "
     "all to the file BACK", 0},
    {"tolerance", 't', "X", 0, "largest difference allowed (1e-5; in f64 1e-13)", 0},
    {0},
};

static error_t read_option(int key, char *text, struct argp_state *state) {
    Options *o = state->input;
    char *end;
    switch (key) {
    case 's': o->save = text; return 0;
    case 't':
        o->tolerance = strtod(text, &end);
        if (end == text || *end || !(o->tolerance >= 0))
            argp_error(state, "--tolerance %s: not a number from 0 on", text);
        return 0;
    case ARGP_KEY_ARG:
        if (o->file) argp_error(state, "unexpected argument %s", text);
        o->file = text;
        return 0;
    case ARGP_KEY_END:
        if (!o->file) argp_error(state, "no FILE, which examples/interop/nn_lstm.py writes");
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static const struct argp parser = {
    option_list, read_option, "FILE",
    "Runs the LSTM of a file that examples/interop/nn_lstm.py wrote, and compares.",
    NULL, NULL, NULL,
};

/* ---- the LSTM ---- */

typedef struct {
    TensorSafetensors *file;
    NnParamSet *set;
    NnLstm lstm;
    AgTape *tape;
    Tensor x, h0, c0;
    const int64_t *lengths; /* NULL: all steps */
} Model;

static bool has(const TensorSafetensors *file, const char *name) {
    return tensor_safetensors_find(file, name) >= 0;
}

static int count_layers(const TensorSafetensors *file) {
    int n = 0;
    char name[64];
    do snprintf(name, sizeof name, "lstm.weight_ih_l%d", n++);
    while (has(file, name));
    return n - 1;
}

/* A tensor of ndim axes. */
static bool get(const TensorSafetensors *file, const char *name, int ndim, Tensor *x,
                TensorError *error) {
    if (!tensor_safetensors_get(file, name, x, error)) return false;
    char found[TENSOR_DESCRIBE_SIZE];
    return x->ndim == ndim || tensor_error_set(error, "%s: expected %d axes, found %s", name, ndim,
                                               tensor_describe(x, found, sizeof found));
}

/* The LSTM that these tensors are of; its parameters have PyTorch's names. */
static bool make_lstm(Model *m, TensorError *error) {
    Tensor weight_ih, weight_hr = {0};
    bool projection = has(m->file, "lstm.weight_hr_l0");
    if (!get(m->file, "lstm.weight_ih_l0", 2, &weight_ih, error)) return false;
    if (projection && !get(m->file, "lstm.weight_hr_l0", 2, &weight_hr, error)) return false;
    if (!tensor_dtype_is_float(weight_ih.dtype))
        return tensor_error_set(error, "lstm.weight_ih_l0: expected f32 or f64");
    const char *batch_first = tensor_safetensors_metadata(m->file, "batch_first");
    NnLstmOptions o = {.num_layers = count_layers(m->file),
                       .bidirectional = has(m->file, "lstm.weight_ih_l0_reverse"),
                       .no_bias = !has(m->file, "lstm.bias_ih_l0"),
                       .batch_first = batch_first && strcmp(batch_first, "1") == 0,
                       .proj_size = projection ? weight_hr.shape[0] : 0};
    m->set = nn_params_new(weight_ih.dtype, 1);
    m->lstm = nn_lstm_make(m->set, "", weight_ih.shape[1], weight_ih.shape[0] / 4, &o);
    if (!nn_params_ok(m->set)) return tensor_error_set(error, "%s", nn_params_error(m->set));
    return true;
}

/* Every parameter has to have its tensor, and every tensor under "lstm." its parameter. */
static bool load_weights(Model *m, const char *path, TensorError *error) {
    NnLoadReport report;
    bool ok = nn_load(m->set, path, &(NnLoadOptions){.prefix = "lstm."}, &report);
    if (!ok) tensor_error_set(error, "%s", report.message);
    nn_load_report_free(&report);
    return ok;
}

static bool read_inputs(Model *m, TensorError *error) {
    if (!get(m->file, "x", 3, &m->x, error) || !get(m->file, "h0", 3, &m->h0, error) ||
        !get(m->file, "c0", 3, &m->c0, error))
        return false;
    if (!has(m->file, "lengths")) return true;
    Tensor lengths;
    if (!get(m->file, "lengths", 1, &lengths, error)) return false;
    if (lengths.dtype != TENSOR_I64 || lengths.shape[0] != m->x.shape[!m->lstm.options.batch_first])
        return tensor_error_set(error, "lengths: expected one i64 for each sequence");
    m->lengths = lengths.data;
    return true;
}

static bool run(Model *m, NnLstmOutput *out, TensorError *error) {
    ag_tape_reset(m->tape);
    NnLstmState s = {ag_input(m->tape, &m->h0), ag_input(m->tape, &m->c0)};
    *out = nn_lstm(&m->lstm, ag_input(m->tape, &m->x), &s, m->lengths);
    return ag_tape_ok(m->tape) || tensor_error_set(error, "%s", ag_tape_error(m->tape));
}

/* ---- comparing ---- */

/* Infinite where a NaN is. */
static double largest_difference(const Tensor *a, const Tensor *b) {
    double worst = 0;
    for (int64_t i = 0; i < tensor_numel(a); i++) {
        double difference = fabs(tensor_get(a, i) - tensor_get(b, i));
        worst = fmax(worst, isnan(difference) ? HUGE_VAL : difference);
    }
    return worst;
}

/* *worst grows to the largest difference from the tensor `name` of the file. */
static bool compare(const Model *m, const char *name, AgVar v, double *worst, TensorError *error) {
    Tensor want;
    char ours[TENSOR_DESCRIBE_SIZE];
    tensor_describe(ag_value(v), ours, sizeof ours);
    if (!get(m->file, name, 3, &want, error)) return false;
    if (!tensor_same_shape(&want, ag_value(v)))
        return tensor_error_set(error, "%s: our %s is of another shape", name, ours);
    double difference = largest_difference(ag_value(v), &want);
    printf("%-3s %-14s largest difference from the file's %.2g\n", name, ours, difference);
    *worst = fmax(*worst, difference);
    return true;
}

static void print_model(const Model *m) {
    const NnLstmOptions *o = &m->lstm.options;
    printf("LSTM of %d layer(s) in %d direction(s), input size %lld, hidden size %lld",
           m->lstm.L, m->lstm.D, (long long)m->lstm.I, (long long)m->lstm.H);
    if (o->proj_size) printf(", projected to %lld", (long long)o->proj_size);
    printf("%s%s\n", o->no_bias ? ", no bias" : "", o->batch_first ? ", batch first" : "");
    for (int i = 0; i < nn_params_count(m->set); i++) {
        char text[TENSOR_DESCRIBE_SIZE];
        const NnParam *p = nn_params_at(m->set, i);
        printf("  %-24s %s\n", p->name, tensor_describe(&p->value, text, sizeof text));
    }
}

/* ---- the way back ---- */

/* Weights uniform in +-0.5, and everything in a file as the script writes it. */
static bool save_new(Model *m, const char *path, TensorError *error) {
    NnLstmOutput out;
    if (nn_init_apply(m->set, "*", nn_init_uniform(-0.5, 0.5)) < 0)
        return tensor_error_set(error, "%s", nn_params_error(m->set));
    if (!run(m, &out, error)) return false;
    int n = nn_params_count(m->set);
    enum { OTHERS = 7 };
    struct { char text[64]; } *name = calloc((size_t)n, sizeof *name);
    TensorNamed *tensor = calloc((size_t)n + OTHERS, sizeof *tensor);
    bool ok = name && tensor;
    if (!ok) tensor_error_set(error, "out of memory");
    for (int i = 0; ok && i < n; i++) {
        const NnParam *p = nn_params_at(m->set, i);
        snprintf(name[i].text, sizeof name[i].text, "lstm.%s", p->name);
        tensor[i] = (TensorNamed){name[i].text, p->value};
    }
    if (ok) {
        const TensorNamed others[OTHERS] = {
            {"x", m->x}, {"h0", m->h0}, {"c0", m->c0}, {"y", *ag_value(out.y)},
            {"hn", *ag_value(out.hn)}, {"cn", *ag_value(out.cn)},
            {"lengths", tensor_wrap((void *)m->lengths, TENSOR_I64, 1, &m->h0.shape[1])}};
        memcpy(tensor + n, others, sizeof others);
        TensorMetadata batch_first = {"batch_first", m->lstm.options.batch_first ? "1" : "0"};
        ok = tensor_safetensors_write(path, n + OTHERS - !m->lengths, tensor, 1, &batch_first,
                                      error);
    }
    free(name);
    free(tensor);
    return ok;
}

/* ---- main ---- */

static bool run_all(Model *m, const Options *o, double *worst, TensorError *error) {
    NnLstmOutput out;
    m->tape = ag_tape_new();
    if (!m->tape) return tensor_error_set(error, "out of memory");
    if (!tensor_safetensors_open(o->file, &m->file, error) || !make_lstm(m, error) ||
        !load_weights(m, o->file, error) || !read_inputs(m, error) || !run(m, &out, error))
        return false;
    print_model(m);
    printf("y ");
    tensor_write(stdout, ag_value(out.y));
    putchar('\n');
    if (!compare(m, "y", out.y, worst, error) || !compare(m, "hn", out.hn, worst, error) ||
        !compare(m, "cn", out.cn, worst, error))
        return false;
    return !o->save || save_new(m, o->save, error);
}

int main(int argc, char **argv) {
    Options o = {.tolerance = -1};
    argp_err_exit_status = STATUS_REFUSED;
    argp_parse(&parser, argc, argv, 0, NULL, &o);
    /* ./bazelw run starts programs in a folder of its own. */
    const char *folder = getenv("BUILD_WORKING_DIRECTORY");
    if (folder && chdir(folder) != 0) return perror(folder), STATUS_REFUSED;

    Model m = {0};
    TensorError error;
    double worst = 0;
    bool ok = run_all(&m, &o, &worst, &error);
    double tolerance = nn_params_dtype(m.set) == TENSOR_F64 ? 1e-13 : 1e-5;
    if (o.tolerance >= 0) tolerance = o.tolerance;
    if (!ok) fprintf(stderr, "lstm_from_torch: %s\n", error.message);
    else if (worst > tolerance)
        fprintf(stderr, "lstm_from_torch: %s: outputs differ by more than %g\n", o.file, tolerance);
    ag_tape_free(m.tape);
    nn_params_free(m.set);
    tensor_safetensors_close(m.file);
    int status = !ok ? STATUS_REFUSED : worst > tolerance ? STATUS_DIFFERENT : 0;
    return example_end("lstm_from_torch", status);
}
