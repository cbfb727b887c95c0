/* bptt.c -- backpropagation through time: how a gradient goes back, and how far it gets.
 *
 * 1. Three steps of an LSTM with one unit.  Every number of the forward pass and of the way back
 *    stands beside its equation, and every gradient dq = dL/dq beside a difference quotient: the
 *    loss L with q alone a little larger, minus L with q a little smaller, divided by the
 *    distance.  Then the gradients are compared with what ag_lstm computes.
 *        dc_2 = dh_2 * o_2 * (1 - tanh(c_2)^2) + dc_3 * f_3
 *    says it all: c_2 works through the output of its own step, and through c_3, where the forget
 *    gate f_3 lets it.
 * 2. A hundred steps.  The norm of the matrix dh_100/dh_s, for s from 100 down to 0, tells how
 *    much a change of the state at step s still changes the last one.  In a plain RNN each step
 *    multiplies by W_hh and by tanh' <= 1.  In a GRU and an LSTM a part of the state is carried
 *    over, times z or f, which start near 1/2; with a forget bias of 1, f starts near 0.73, and
 *    training can bring it close to 1.  The picture has the same numbers. */
#include <stdlib.h>

#include "data/plot.h"
#include "examples/bptt/steps.h"
#include "examples/bptt/vanishing.h"
#include "examples/support/files.h"
#include "examples/support/options.h"
#include "examples/support/program.h"

enum { T = 100, I = 16, H = 32, ROW = 10 };

static const char default_svg[] = "bptt.svg";

static int refuse(const char *message) { return example_refuse("bptt", message); }

/* ---- three steps ---- */

static bool print_steps(TensorError *error) {
    BpttRun run = bptt_example();
    double by_difference, by_library;
    printf("1. THREE STEPS, I = H = B = 1\n\n"
           "Gradients: dq is dL/dq.  difference: how L changes when q alone is changed where it "
           "is\ncomputed, and all that follows from it follows.  After step %d there is nothing: "
           "da_%d = dc_%d = 0.\n\n", BPTT_STEPS, BPTT_STEPS + 1, BPTT_STEPS + 1);
    if (!bptt_print(&run, stdout, &by_difference))
        return tensor_error_set(error, "standard output cannot be written");
    if (!bptt_compare(&run, &by_library, error)) return false;
    printf("\nlargest |gradient - difference|                %.1e\n", by_difference);
    printf("largest |gradient - ag_lstm's gradient|, F64   %.1e\n\n", by_library);
    return true;
}

/* ---- a hundred steps ---- */

static bool compute(double norm[BPTT_LAYERS][T + 1], TensorError *error) {
    const BpttSizes sizes = {.T = T, .I = I, .H = H, .seed = 1};
    for (int k = 0; k < BPTT_LAYERS; k++)
        if (!bptt_norms((BpttLayerKind)k, &sizes, norm[k], error)) return false;
    return true;
}

static void print_norms(double norm[BPTT_LAYERS][T + 1]) {
    printf("2. %d STEPS, I = %d, H = %d, PyTorch's initial values\n\n"
           "Frobenius norm of dh_%d/dh_s; for s = %d that of the unit matrix, sqrt(%d)\n\n%8s",
           T, I, H, T, T, H, "s");
    for (int k = 0; k < BPTT_LAYERS; k++) printf("%16s", bptt_layer_name[k]);
    printf("\n");
    for (int s = T; s >= 0; s -= ROW) {
        printf("%8d", s);
        for (int k = 0; k < BPTT_LAYERS; k++) printf("%16.3e", norm[k][s]);
        printf("\n");
    }
}

static bool draw_norms(const char *path, double norm[BPTT_LAYERS][T + 1], TensorError *error) {
    const DataLineChart chart = {.title = "How much of the gradient is left",
                                 .x_label = "s", .y_label = "norm of dh_100/dh_s", .log_y = true};
    DataSeries series[BPTT_LAYERS];
    for (int k = 0; k < BPTT_LAYERS; k++)
        series[k] = (DataSeries){.name = bptt_layer_name[k], .n = T + 1, .y = norm[k]};
    return data_plot_lines(path, BPTT_LAYERS, series, &chart, error);
}

/* ---- bptt ---- */

static int run(const char *svg) {
    static double norm[BPTT_LAYERS][T + 1];
    TensorError error;
    if (!print_steps(&error) || !compute(norm, &error)) return refuse(error.message);
    print_norms(norm);
    if (!draw_norms(svg, norm, &error)) return refuse(error.message);
    char *absolute = realpath(svg, NULL);
    printf("\npicture  %s\n", absolute ? absolute : svg);
    free(absolute);
    return 0;
}

static int help(const ExampleOption *table) {
    fputs("usage: bptt [--svg FILE]\n\n"
          "Backpropagation through three steps of an LSTM, number by number, and the norms of\n"
          "gradients over a hundred steps of an RNN, a GRU and an LSTM.\n\n", stdout);
    example_options_help(table, stdout);
    return 0;
}

int main(int argc, char **argv) {
    const char *svg = default_svg;
    const ExampleOption table[] = {
        {"svg", "FILE", "picture to write", EXAMPLE_OPTION_TEXT, .variable = &svg}, {0},
    };
    TensorError error;
    int status = EXAMPLE_REFUSED;
    switch (example_options_read(table, argc, argv, &error)) {
    case EXAMPLE_OPTIONS_WRONG: status = refuse(error.message); break;
    case EXAMPLE_OPTIONS_HELP:
        svg = default_svg;
        status = help(table);
        break;
    case EXAMPLE_OPTIONS_OK:
        status = example_files_enter(&error) ? run(svg) : refuse(error.message);
        break;
    }
    return example_end("bptt", status);
}
