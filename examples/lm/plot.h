/* plot.h -- the course of one or several trainings, from their logs (log.h).
 *
 * Three charts below each other over the epochs: perplexity on the text that is trained on and on
 * validation text (logarithmic), learning rate, and norm of the gradient.  What no run has measured
 * has no chart.  A row of the log stands where the steps it sums up end; within the last epoch of a
 * run that was stopped, the epoch before tells how long it would have been. */
#ifndef EXAMPLES_LM_PLOT_H
#define EXAMPLES_LM_PLOT_H
#include "data/plot.h"

typedef struct {
    const char *const *folder; /* [runs]; their last names are those of the series, or, if two are
                                  the same, the whole paths */
    int runs;
    const char *svg, *png; /* the files to write, or NULL; a PNG file needs the SVG one */
    double scale;          /* pixels of the PNG file for each of the SVG's */
    FILE *text;            /* where the chart of perplexity is written as text, or NULL */
    DataTextChart style;   /* of that text */
} LmPlot;

/* Fails (false): lm_log_read's, of any run; a log without rows; a file cannot be written (those
 * before it are new then); out of memory. */
bool lm_plot(const LmPlot *plot, TensorError *error);

/* lm plot */
int lm_plot_command(int argc, char **argv);

#endif
