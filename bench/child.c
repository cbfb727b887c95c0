/* child.c -- fork, and how the child ended. */
#define _GNU_SOURCE
#include "bench/child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int wait_for(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return status;
}

/* A program that is stopped leaves no child that goes on measuring. */
static void end_with(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1); /* it was too late */
}

bool bench_in_child(const char *name, bool (*run)(void *context), void *context) {
    fflush(NULL); /* or both would write what waits */
    const pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) end_with(parent);
    /* What is to be done at the program's end is the parent's. */
    if (pid == 0) _exit(run(context) && fflush(NULL) == 0 && !ferror(stdout) ? 0 : 1);
    int status = pid < 0 ? -1 : wait_for(pid);
    if (status == -1) {
        fprintf(stderr, "bench: %s: no process: %s\n", name, strerror(errno));
        return false;
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE) raise(SIGPIPE); /* nobody reads on */
    if (WIFSIGNALED(status))
        fprintf(stderr, "bench: %s: ended by signal %d (%s)\n", name, WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
