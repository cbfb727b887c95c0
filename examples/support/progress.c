/* progress.c -- see progress.h. */
#include "examples/support/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LINES = 20, MAX_COLUMNS = 160, MIN_BAR = 5, MAX_BAR = 30 };

double example_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* True where a line can be drawn over. */
static bool is_terminal(void) {
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
}

void example_progress_start(ExampleProgress *p, int64_t epochs) {
    double now = example_seconds();
    *p = (ExampleProgress){.terminal = is_terminal(), .epoch = 1, .epochs = epochs, .loss = NAN,
                      .held_out = NAN, .started = now, .shown = now};
}

/* ---- parts of a line ---- */

static double share_done(const ExampleProgress *p) {
    double part = p->windows > 0 ? (double)p->window / (double)p->windows : 0;
    return ((double)(p->epoch - 1) + part) / (double)p->epochs;
}

/* Tokens a second and the time left, "14k tokens/s, 1:05 left". */
static void write_pace(const ExampleProgress *p, char *buf, size_t n) {
    double spent = fmax(example_seconds() - p->started, 1e-9), done = share_done(p);
    double left = done > 0 ? ceil(spent * (1 - done) / done) : 0;
    double thousands = 1e-3 * (double)p->tokens / spent;
    snprintf(buf, n, "%.*fk tokens/s, %ld:%02d left", thousands < 10 ? 1 : 0, thousands,
             (long)fmin(left / 60, 1e6), (int)fmod(left, 60));
}

/* ---- on a terminal ---- */

static int terminal_columns(void) {
    struct winsize size;
    int n = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    return n < MAX_COLUMNS ? n : MAX_COLUMNS;
}

/* "[######------]" in the space that is left; nothing where that is too little. */
static void write_bar(double done, int space, char *buf) {
    int size = space - 3 < MAX_BAR ? space - 3 : MAX_BAR;
    buf[0] = 0;
    if (size < MIN_BAR) return;
    int full = (int)(done * size);
    buf[0] = '[';
    memset(buf + 1, '-', (size_t)size);
    memset(buf + 1, '#', (size_t)full);
    memcpy(buf + 1 + size, "] ", 3);
}

static void draw(const ExampleProgress *p) {
    char bar[MAX_BAR + 4], pace[64], rest[MAX_COLUMNS + 1];
    write_pace(p, pace, sizeof pace);
    int used = snprintf(rest, sizeof rest, "epoch %lld/%lld, loss %.2f, perplexity %.2f, %s",
                        (long long)p->epoch, (long long)p->epochs, p->loss, exp(p->loss), pace);
    int columns = terminal_columns() - 1;
    write_bar(share_done(p), columns - used, bar);
    /* A line longer than the terminal would wrap, and could not be drawn over. */
    printf("\r%s%.*s\033[K", bar, columns, rest);
    fflush(stdout);
}

void example_progress_clear(ExampleProgress *p) {
    if (p->terminal) fputs("\r\033[K", stdout);
    fflush(stdout);
}

/* ---- lines that stay ---- */

static void print_line(const ExampleProgress *p) {
    char pace[64], held_out[48] = "", window[64] = "";
    int digits = p->terminal ? 2 : 4;
    if (p->window < p->windows)
        snprintf(window, sizeof window, " window %lld/%lld", (long long)p->window,
                 (long long)p->windows);
    if (!isnan(p->held_out))
        snprintf(held_out, sizeof held_out, "  held-out %.*f", digits, p->held_out);
    /* All digits of the loss in a log, so that two runs can be compared. */
    printf("epoch %lld/%lld%s  loss %.*f  perplexity %.*f%s", (long long)p->epoch,
           (long long)p->epochs, window, p->terminal ? 3 : 12, p->loss, digits, exp(p->loss),
           held_out);
    write_pace(p, pace, sizeof pace);
    /* On a terminal the bar tells it. */
    p->terminal ? printf("\n") : printf("  (%s)\n", pace);
    fflush(stdout);
}

/* ---- when ---- */

void example_progress_step(ExampleProgress *p) {
    double now = example_seconds();
    if (now - p->shown < (p->terminal ? 0.1 : 10)) return;
    p->terminal ? draw(p) : print_line(p);
    p->shown = now;
}

/* Which epochs get a line is independent of the clock, so logs of two runs can be compared. */
void example_progress_epoch(ExampleProgress *p) {
    int64_t every = (p->epochs + MAX_LINES - 1) / MAX_LINES;
    if (p->epoch % every && p->epoch != 1 && p->epoch != p->epochs) return;
    example_progress_clear(p);
    print_line(p);
    p->shown = p->terminal ? 0 : example_seconds();
}
