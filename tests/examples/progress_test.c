/* What a run shows: a bar that never wraps, lines elsewhere, times of resumed and short runs.
 * The clock is the test's. */
#define _GNU_SOURCE
#include "examples/support/progress.h"

#include <math.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

static double now;
static double test_clock(void) { return now; }

/* Standard output goes to a file from here .. */
static FILE *capture(void) {
    FILE *file = tmpfile();
    fflush(stdout);
    cr_assert(file && dup2(fileno(file), STDOUT_FILENO) >= 0);
    return file;
}

/* .. and comes back as a text; for free(). */
static char *captured(FILE *file) {
    char *text = calloc(1, 100000);
    fflush(stdout);
    rewind(file);
    cr_assert(text && fread(text, 1, 99999, file) < 99999);
    fclose(file);
    return text;
}

static void start(ExampleProgress *p, int64_t epochs, int64_t windows) {
    example_progress_start(p, epochs);
    now = 0;
    p->clock = test_clock;
    p->started = p->shown = 0;
    p->windows = windows;
}

/* One epoch; each window takes `seconds` and reads 1000 tokens. */
static void run_epoch(ExampleProgress *p, int64_t epoch, double seconds) {
    p->epoch = epoch;
    for (p->window = 0; p->window < p->windows;) {
        now += seconds;
        p->tokens += 1000;
        p->window++;
        p->loss = 2 - 0.001 * (double)epoch;
        example_progress_step(p);
    }
    example_progress_epoch(p);
}

static int count(const char *text, const char *piece) {
    int n = 0;
    for (; (text = strstr(text, piece)); text++) n++;
    return n;
}

/* ---- elsewhere than on a terminal ---- */

Test(progress, a_log_has_whole_lines_in_full_digits) {
    FILE *file = capture();
    ExampleProgress p;
    start(&p, 3, 4);
    run_epoch(&p, 1, 1);
    p.held_out = 9.25;
    p.lr = 0.001;
    p.grad_norm = 0.5;
    run_epoch(&p, 2, 1);
    example_progress_end(&p);
    char *text = captured(file);
    cr_assert_str_eq(text,
                     "epoch 1/3  loss 1.999000000000  perplexity 7.3817"
                     "  (1.0k tokens/s, 0:08 left)\n"
                     "epoch 2/3  loss 1.998000000000  perplexity 7.3743  held-out 9.2500  lr 0.001"
                     "  norm 0.5  (1.0k tokens/s, 0:04 left)\n");
    free(text);
}

Test(progress, lines_within_an_epoch_come_after_growing_pauses) {
    FILE *file = capture();
    ExampleProgress p;
    start(&p, 2, 100000);
    run_epoch(&p, 1, 1);
    char *text = captured(file), *line = text;
    double last = 0, pause = 0;
    int lines = 0;
    for (char *next; (next = strchr(line, '\n')); line = next + 1) {
        double at;
        cr_assert(sscanf(line, "epoch %lf/2", &at) == 1, "%s", line);
        at *= 100000;
        bool is_last = !next[1];
        cr_assert(is_last || at - last > pause - 2001, "after %g s a pause of %g", last, at - last);
        if (!is_last) pause = at - last;
        last = at;
        lines++;
    }
    cr_assert(lines > 100 && lines < 300, "%d lines in a day", lines);
    cr_assert(strstr(text, "epoch 0.50/2 ") || strstr(text, "epoch 0.49/2 "));
    cr_assert(count(text, "\r") == 0 && count(text, "\033") == 0);
    free(text);
}

Test(progress, many_epochs_have_some_lines_and_the_last_one_always) {
    static const struct {
        int64_t epochs, done;
        const char *last;
        int lines;
    } cases[] = {{100, 100, "epoch 100/100 ", 100}, {1000, 1000, "epoch 1000/1000 ", 101},
                 {1000, 34, "epoch 34/1000 ", 5},   {1000, 40, "epoch 40/1000 ", 5},
                 {1, 1, "epoch 1/1 ", 1},           {7, 0, "", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FILE *file = capture();
        ExampleProgress p;
        start(&p, cases[i].epochs, 3);
        for (int64_t e = 1; e <= cases[i].done; e++) run_epoch(&p, e, 1e-3);
        example_progress_end(&p);
        example_progress_end(&p);
        char *text = captured(file);
        int lines = count(text, "epoch");
        cr_assert(lines == cases[i].lines, "%d lines: %s", lines, text);
        cr_assert(strstr(text, cases[i].last), "%s", text);
        free(text);
    }
}

Test(progress, a_resumed_run_counts_what_it_does_itself) {
    FILE *file = capture();
    ExampleProgress p;
    start(&p, 10, 4);
    /* Eight epochs were run before, by a faster machine. */
    p.epoch = 9;
    p.tokens = 8 * 4000;
    now = 5;
    example_progress_resume(&p);
    run_epoch(&p, 9, 900);
    char *text = captured(file);
    cr_assert(strstr(text, "(1 tokens/s, 1:00:00 left)\n"), "%s", text);
    free(text);
}

/* ---- on a terminal ---- */

/* What a run shows on a terminal of so many columns. */
static void on_terminal(int columns, bool resumed, char *text, size_t size) {
    int fd, status;
    struct winsize window = {.ws_row = 24, .ws_col = (unsigned short)columns};
    setenv("TERM", "xterm", 1);
    fflush(stdout);
    pid_t child = forkpty(&fd, NULL, NULL, &window);
    cr_assert(child >= 0);
    if (child == 0) {
        ExampleProgress p;
        start(&p, 12, 10);
        p.held_out = 123.456;
        p.lr = 0.00123;
        p.grad_norm = 12.3456;
        if (resumed) {
            p.epoch = 6;
            example_progress_resume(&p);
        }
        for (int64_t e = p.epoch; e <= 12; e++) run_epoch(&p, e, 30);
        example_progress_end(&p);
        _exit(0);
    }
    size_t used = 0;
    for (ssize_t n; (n = read(fd, text + used, size - 1 - used)) > 0;) used += (size_t)n;
    text[used] = 0;
    close(fd);
    cr_assert(waitpid(child, &status, 0) == child && status == 0);
}

/* The longest line that is drawn over, without what clears it. */
static int longest_bar(char *text) {
    int longest = 0;
    for (char *at = text; (at = strchr(at, '\r'));) {
        at++;
        int length = (int)strcspn(at, "\r\n\033");
        if (strncmp(at + length, "\033[K", 3) == 0 && length > longest) longest = length;
    }
    return longest;
}

Test(progress, the_bar_never_wraps) {
    static char text[200000];
    for (int columns = 1; columns <= 300; columns += columns < 20 ? 1 : 13) {
        on_terminal(columns, false, text, sizeof text);
        int longest = longest_bar(text);
        cr_assert(longest < columns, "%d of %d columns", longest, columns);
        cr_assert(columns < 40 || longest > 30, "%d of %d columns", longest, columns);
        cr_assert((strchr(text, '[') && strstr(text, "#-")) || columns < 40, "%d columns", columns);
    }
    cr_assert(strstr(text, "epoch 2.50/12, loss 2.00, perplexity 7.37, held-out 123.46, "
                           "lr 0.00123, norm 12.3, 33 tokens/s, 47:30 left"), "%s", text);
    on_terminal(80, false, text, sizeof text);
    cr_assert(strstr(text, "[##--------] epoch 2.50/12, loss 2.00, perplexity 7.37, "
                           "33 tokens/s, "), "%s", text);
    cr_assert(strstr(text, "47:30 left"));
}

Test(progress, a_resumed_bar_is_filled_as_far_as_the_run_is) {
    static char text[200000];
    on_terminal(160, true, text, sizeof text);
    cr_assert(strstr(text, "[############------------------] epoch 5.10/12"), "%s", text);
    cr_assert(strstr(text, "34:30 left"), "69 windows of 30 seconds");
}
