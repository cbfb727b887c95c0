/* progress.h -- what a training run shows while it goes on.
 *
 *     ExampleProgress p;
 *     example_progress_start(&p, epochs);
 *     p.windows = windows;
 *     for (p.epoch = 1; p.epoch <= epochs; p.epoch++) {
 *         for (p.window = 0; p.window < windows;) {
 *             p.loss = ..; p.tokens += ..; p.window++;
 *             example_progress_step(&p);
 *         }
 *         p.held_out = ..;
 *         example_progress_epoch(&p);
 *     }
 *     example_progress_end(&p);
 *
 * On a terminal one line that is drawn over and over and never wraps: what there is no room for is
 * left out.  Elsewhere a line after each epoch, and within long ones lines after growing pauses:
 * 10 seconds, then a twentieth of the time so far, at most 10 minutes.  Of more than 100 epochs
 * every second has a line, of more than 200 every third, .., besides the first and the last: which
 * ones does not depend on the clock. */
#ifndef EXAMPLES_SUPPORT_PROGRESS_H
#define EXAMPLES_SUPPORT_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    /* The caller's; start sets them, NaN: not shown. */
    int64_t epoch, epochs;   /* epoch counts from 1 */
    int64_t window, windows; /* of this epoch, done and in all */
    int64_t tokens;          /* of the run */
    double loss;             /* mean of the epoch so far */
    double held_out;         /* the last perplexity on held-out text */
    double lr, grad_norm;    /* now */

    /* Its own. */
    bool terminal;
    double (*clock)(void);   /* seconds; example_seconds */
    double started, shown;
    double share_before;     /* what was done of the run and read in it before it started here */
    int64_t tokens_before;
    char held[256];          /* the line of the last epoch, if it was not shown */
} ExampleProgress;

/* Seconds on a clock that only runs forward. */
double example_seconds(void);

void example_progress_start(ExampleProgress *p, int64_t epochs);
/* A run goes on from the epoch, window (of windows) and tokens that p has: time left and tokens a
 * second follow from what is done after this call. */
void example_progress_resume(ExampleProgress *p);
/* After each training step; most calls show nothing. */
void example_progress_step(ExampleProgress *p);
/* After each epoch. */
void example_progress_epoch(ExampleProgress *p);
/* Takes the bar away, so that other text can follow. */
void example_progress_clear(ExampleProgress *p);
/* At the end, also an early one: takes the bar away; the last epoch has its line. */
void example_progress_end(ExampleProgress *p);

#endif
