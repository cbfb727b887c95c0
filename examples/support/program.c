/* program.c -- see program.h. */
#include "examples/support/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tensor/file.h"

/* Opened the wrong way round: reading and writing fail as they did. */
void example_hold_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        bool closed = fcntl(fd, F_GETFD) < 0 && errno == EBADF;
        /* The lowest number that is free is this one. */
        if (closed && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
    }
}

static volatile sig_atomic_t stop_signal;

static const int caught[] = {SIGINT, SIGTERM, SIGHUP};
enum { CAUGHT = sizeof caught / sizeof *caught };

static void on_signal(int number) {
    for (int i = 0; i < CAUGHT; i++) signal(caught[i], SIG_DFL);
    stop_signal = number;
}

const volatile sig_atomic_t *example_catch_stop(void) {
    struct sigaction action = {.sa_handler = on_signal}, old;
    for (int i = 0; i < CAUGHT; i++) {
        /* Under nohup it is the user's will that the program goes on. */
        bool kept = caught[i] == SIGHUP && sigaction(SIGHUP, NULL, &old) == 0 &&
                    old.sa_handler == SIG_IGN;
        if (!kept) sigaction(caught[i], &action, NULL);
    }
    return &stop_signal;
}

bool example_is_terminal(void) {
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
}

int example_terminal_columns(void) {
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : 80;
}

int example_refuse(const char *program, const char *message) {
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", program, message);
    return EXAMPLE_REFUSED;
}

int example_end(const char *program, int status) {
    if (status != 0 || (fflush(stdout) == 0 && !ferror(stdout))) return status;
    TensorError error;
    tensor_error_errno(&error, "standard output", errno);
    return example_refuse(program, error.message);
}
