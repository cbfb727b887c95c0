/* progress.c -- see progress.h. */
#include "examples/support/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "examples/support/program.h"

enum { MAX_LINES = 100, MAX_COLUMNS = 200, MIN_BAR = 5, MAX_BAR = 30, PART = 48 };

double example_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void example_progress_start(ExampleProgress *p, int64_t epochs) {
    double now = example_seconds();
    *p = (ExampleProgress){.terminal = example_is_terminal(), .clock = example_seconds, .epoch = 1,
                           .epochs = epochs, .loss = NAN, .held_out = NAN, .lr = NAN,
                           .grad_norm = NAN, .started = now, .shown = now};
}

/* ---- parts of a line ---- */

static double epochs_done(const ExampleProgress *p) {
    double part = p->windows > 0 ? (double)p->window / (double)p->windows : 0;
    return (double)(p->epoch - 1) + part;
}

static double share_done(const ExampleProgress *p) {
    return p->epochs > 0 ? fmin(epochs_done(p) / (double)p->epochs, 1) : 1;
}

void example_progress_resume(ExampleProgress *p) {
    p->started = p->shown = p->clock();
    p->share_before = share_done(p);
    p->tokens_before = p->tokens;
}

/* "epoch 3.25/12" within the fourth epoch; at the end of one, a line has "epoch 4/12". */
static void write_epoch(const ExampleProgress *p, bool whole, char text[PART]) {
    /* Rounded down: an epoch that goes on is not over. */
    double done = floor(100 * epochs_done(p) + 1e-9) / 100;
    snprintf(text, PART, "epoch %.*f/%lld", whole ? 0 : 2, whole ? (double)p->epoch : done,
             (long long)p->epochs);
}

static void write_rate(const ExampleProgress *p, char text[PART]) {
    double spent = fmax(p->clock() - p->started, 1e-9);
    double rate = (double)(p->tokens - p->tokens_before) / spent;
    if (rate < 999.5)
        snprintf(text, PART, "%.0f tokens/s", rate);
    else
        snprintf(text, PART, "%.*fk tokens/s", rate < 9950 ? 1 : 0, 1e-3 * rate);
}

/* "1:05 left", "2:01:05 left"; nothing while it cannot be known. */
static void write_left(const ExampleProgress *p, char text[PART]) {
    double done = share_done(p) - p->share_before;
    double left = ceil((p->clock() - p->started) * (1 - share_done(p)) / done - 1e-6);
    *text = 0;
    if (!(done > 0)) return;
    long minutes = (long)fmin(left / 60, 1e9), hours = minutes / 60;
    int seconds = (int)fmod(left, 60);
    hours ? snprintf(text, PART, "%ld:%02ld:%02d left", hours, minutes % 60, seconds)
          : snprintf(text, PART, "%ld:%02d left", minutes, seconds);
}

/* "NAME VALUE"; nothing for NaN. */
static void write_number(const char *format, double value, char text[PART]) {
    *text = 0;
    if (!isnan(value)) snprintf(text, PART, format, value);
}

/* ---- on a terminal ---- */

/* "[######------] " in the space that is left; nothing where that is too little. */
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

enum { PARTS = 8 };

/* The parts in their order; what comes first in `order` is left out last. */
static void write_parts(const ExampleProgress *p, char part[PARTS][PART]) {
    write_epoch(p, false, part[0]);
    write_number("loss %.2f", p->loss, part[1]);
    write_number("perplexity %.2f", exp(p->loss), part[2]);
    write_number("held-out %.2f", p->held_out, part[3]);
    write_number("lr %.3g", p->lr, part[4]);
    write_number("norm %.3g", p->grad_norm, part[5]);
    write_rate(p, part[6]);
    write_left(p, part[7]);
}

/* As many of them as have room beside a short bar. */
static void join_parts(char part[PARTS][PART], int room, char *line) {
    static const int order[PARTS] = {0, 7, 2, 6, 3, 1, 4, 5};
    int used = 0;
    for (int i = 0; i < PARTS; i++) {
        int length = (int)strlen(part[order[i]]);
        if (i > 0 && used + 2 + length > room)
            part[order[i]][0] = 0;
        else
            used += length + (i > 0 && length > 0 ? 2 : 0);
    }
    for (int i = 0; i < PARTS; i++)
        if (part[i][0]) line += sprintf(line, "%s%s", i > 0 ? ", " : "", part[i]);
}

static void draw(const ExampleProgress *p) {
    char bar[MAX_BAR + 4], part[PARTS][PART], line[PARTS * (PART + 2)];
    int columns = example_terminal_columns();
    /* A line that is full would wrap on some terminals. */
    columns = (columns < MAX_COLUMNS ? columns : MAX_COLUMNS) - 1;
    write_parts(p, part);
    join_parts(part, columns - (MIN_BAR + 3), line);
    write_bar(share_done(p), columns - (int)strlen(line), bar);
    printf("\r%s%.*s\033[K", bar, columns > 0 ? columns : 0, line);
    fflush(stdout);
}

void example_progress_clear(ExampleProgress *p) {
    if (p->terminal) fputs("\r\033[K", stdout);
    fflush(stdout);
}

/* ---- lines that stay ---- */

/* What is to be compared between runs stands before the time, in all digits unless a terminal
 * shows it. */
static void write_line(const ExampleProgress *p, char line[sizeof p->held]) {
    char epoch[PART], held_out[PART], lr[PART], norm[PART], rate[PART], left[PART];
    bool terminal = p->terminal;
    write_epoch(p, p->window >= p->windows, epoch);
    write_number(terminal ? "  held-out %.2f" : "  held-out %.4f", p->held_out, held_out);
    write_number("  lr %.4g", p->lr, lr);
    write_number("  norm %.4g", p->grad_norm, norm);
    write_rate(p, rate);
    write_left(p, left);
    int used = snprintf(line, sizeof p->held, terminal ? "%s  loss %.3f  perplexity %.2f%s%s%s"
                                                       : "%s  loss %.12f  perplexity %.4f%s%s%s",
                        epoch, p->loss, exp(p->loss), held_out, lr, norm);
    /* On a terminal the bar tells it. */
    if (!terminal && used > 0 && used < (int)sizeof p->held)
        snprintf(line + used, sizeof p->held - (size_t)used, "  (%s%s%s)", rate, *left ? ", " : "",
                 left);
}

static void print_line(ExampleProgress *p) {
    char line[sizeof p->held];
    write_line(p, line);
    puts(line);
    fflush(stdout);
}

/* ---- when ---- */

static double pause_of(const ExampleProgress *p, double now) {
    return p->terminal ? 0.1 : fmin(fmax(10, 0.05 * (now - p->started)), 600);
}

void example_progress_step(ExampleProgress *p) {
    double now = p->clock();
    bool epoch_ends = p->window >= p->windows; /* and has a line of its own */
    if (now - p->shown < pause_of(p, now) || (epoch_ends && !p->terminal)) return;
    p->terminal ? draw(p) : print_line(p);
    p->shown = now;
}

void example_progress_epoch(ExampleProgress *p) {
    int64_t every = (p->epochs + MAX_LINES - 1) / MAX_LINES;
    if (p->epoch % every && p->epoch != 1 && p->epoch != p->epochs) {
        write_line(p, p->held);
        return;
    }
    p->held[0] = 0;
    example_progress_clear(p);
    print_line(p);
    p->shown = p->terminal ? 0 : p->clock();
}

void example_progress_end(ExampleProgress *p) {
    example_progress_clear(p);
    if (p->held[0]) puts(p->held);
    p->held[0] = 0;
    fflush(stdout);
}
