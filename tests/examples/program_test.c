/* program_test.c -- signals that stop a program. */
#include "examples/support/program.h"

#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

/* How a child ends that catches both signals: 0 after one of them. */
static int end_of(int first, int second) {
    int status;
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        const volatile sig_atomic_t *stop = example_catch_stop();
        if (*stop != 0 || raise(first) != 0 || *stop != first) _exit(1);
        if (second) raise(second);
        _exit(0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

Test(program, one_signal_is_told_and_a_second_one_of_either_kind_ends_the_program) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(end_of(signals[i], 0), 0);
        for (int k = 0; k < 3; k++) {
            int status = end_of(signals[i], signals[k]);
            cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == signals[k],
                      "signal %d after %d: status %x", signals[k], signals[i], (unsigned)status);
        }
    }
}

Test(program, a_hangup_that_is_ignored_stays_so) {
    signal(SIGHUP, SIG_IGN);
    cr_assert_neq(end_of(SIGHUP, 0), 0); /* nothing was told */
    cr_assert_eq(end_of(SIGINT, SIGHUP), SIGHUP); /* the second one ends it */
    signal(SIGHUP, SIG_DFL);
}
