/* program.h -- how a program begins to stop, and how it ends.
 *
 * Exit status: 0; 2 for everything that is refused, with one line on standard error; 128 and the
 * number of the signal after one (130 after Ctrl-C, 143 after SIGTERM, 129 after
 * SIGHUP, when the terminal closes). */
#ifndef EXAMPLES_SUPPORT_PROGRAM_H
#define EXAMPLES_SUPPORT_PROGRAM_H
#include <signal.h>
#include <stdbool.h>

enum { EXAMPLE_REFUSED = 2, EXAMPLE_SIGNAL = 128 };

/* To be called first: a standard stream that the program was started without (`>&-`) stays one that
 * cannot be used.  Otherwise the next file that is opened would have its number, and get what is
 * meant for the terminal. */
void example_hold_streams(void);

/* From here on Ctrl-C, SIGTERM and, unless it is ignored, SIGHUP do not end the program but set
 * what the pointer shows to their number, 0 before; a second one ends the program at once. */
const volatile sig_atomic_t *example_catch_stop(void);

/* True where standard output is a terminal on which a line can be drawn over. */
bool example_is_terminal(void);
/* The characters of its line; 80 where that is not known. */
int example_terminal_columns(void);

/* Writes "PROGRAM: MESSAGE" to standard error.  EXAMPLE_REFUSED. */
int example_refuse(const char *program, const char *message);

/* The status to end with: `status`, unless it is 0 and standard output could not be written (a
 * full disk behind a redirected output is no success). */
int example_end(const char *program, int status);

#endif
