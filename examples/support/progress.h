/* progress.h -- what a training run shows while it goes on.
 *
 * On a terminal one line that is drawn over and over; elsewhere lines now and then. */
#ifndef EXAMPLES_SUPPORT_PROGRESS_H
#define EXAMPLES_SUPPORT_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    bool terminal;
    int64_t epoch, epochs;   /* epoch counts from 1 */
    int64_t window, windows; /* of this epoch, done and in all */
    int64_t tokens;          /* of the run */
    double loss;             /* mean of the epoch so far */
    double held_out;         /* the last perplexity on held-out text; NaN: none yet */
    double started, shown;   /* seconds */
} ExampleProgress;

/* Seconds on a clock that only runs forward. */
double example_seconds(void);

void example_progress_start(ExampleProgress *p, int64_t epochs);
/* After each training step; most calls show nothing. */
void example_progress_step(ExampleProgress *p);
/* After each epoch. */
void example_progress_epoch(ExampleProgress *p);
/* Takes the bar away, so that other text can follow. */
void example_progress_clear(ExampleProgress *p);

#endif
