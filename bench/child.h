/* child.h -- work in a process of its own: its peak of memory is its own, and what happens to it
 * happens to nobody else. */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H
#include <stdbool.h>

/* run(context) in a child process.  True if it returned true and all its output was written.  A
 * false it has explained itself, on stderr; if it was ended by a signal, one line there says so,
 * with the name. */
bool bench_in_child(const char *name, bool (*run)(void *context), void *context);

#endif
