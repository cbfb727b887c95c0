/* options.h -- command-line options as a table.
 *
 * A table of LmOption says what the options of a command are; reading, checking and the
 * help text all come from it.  A variable holds its default before lm_options_read. */
#ifndef EXAMPLES_LM_OPTIONS_H
#define EXAMPLES_LM_OPTIONS_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tensor/file.h"

typedef enum {
    LM_OPTION_TEXT,   /* const char * */
    LM_OPTION_INT,    /* int64_t, min..max */
    LM_OPTION_REAL,   /* double, min..max, finite */
    LM_OPTION_CHOICE, /* int, an index of choices */
    LM_OPTION_ON,     /* bool: the option makes it true */
    LM_OPTION_OFF,    /* bool: the option makes it false */
} LmOptionKind;

typedef struct {
    const char *name;  /* "hidden" for --hidden; NULL ends the table */
    const char *value; /* what the help calls its value: "N"; NULL for LM_OPTION_ON and _OFF */
    const char *help;
    LmOptionKind kind;
    void *variable;
    double min, max;
    bool above_min, below_max;   /* the limit itself is excluded */
    const char *const *choices; /* ends with NULL */
} LmOption;

typedef enum { LM_OPTIONS_OK, LM_OPTIONS_HELP, LM_OPTIONS_WRONG } LmOptionsStatus;

/* Reads argv[1..argc-1].  A wrong option leaves one line in *error. */
LmOptionsStatus lm_options_read(const LmOption *table, int argc, char **argv, TensorError *error);

/* One entry an option, with the default that its variable holds. */
void lm_options_help(const LmOption *table, FILE *out);

#endif
