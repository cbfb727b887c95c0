/* options.h -- command-line options as a table.
 *
 * A table of ExampleOption says what the options of a command are; reading, checking and the
 * help text all come from it.  A variable holds its default before example_options_read.
 *
 * Words that are no options, `lm plot RUN RUN`, are an entry of the table too:
 *     {.name = "RUN", .help = "run folders", .kind = EXAMPLE_OPTION_WORDS, .variable = &words,
 *      .min = 1, .max = EXAMPLE_MAX_WORDS}
 * They stand in any order among the options, and those after -- may begin with one. */
#ifndef EXAMPLES_SUPPORT_OPTIONS_H
#define EXAMPLES_SUPPORT_OPTIONS_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tensor/file.h"

typedef enum {
    EXAMPLE_OPTION_TEXT,   /* const char * */
    EXAMPLE_OPTION_INT,    /* int64_t, min..max */
    EXAMPLE_OPTION_REAL,   /* double, min..max, finite */
    EXAMPLE_OPTION_CHOICE, /* int, an index of choices */
    EXAMPLE_OPTION_ON,     /* bool: the option makes it true */
    EXAMPLE_OPTION_OFF,    /* bool: --NAME makes it false, --no-NAME true */
    EXAMPLE_OPTION_FLAG,   /* bool: --NAME makes it true, --no-NAME false */
    EXAMPLE_OPTION_HEADING, /* no option: `help` stands above those that follow */
    EXAMPLE_OPTION_WORDS,  /* ExampleWords: min..max words; at most one entry of a table */
} ExampleOptionKind;

enum { EXAMPLE_MAX_OPTIONS = 128, EXAMPLE_MAX_WORDS = 64 };

typedef struct {
    int count;
    const char *word[EXAMPLE_MAX_WORDS];
} ExampleWords;

typedef struct {
    const char *name;  /* "hidden" for --hidden; what the help calls words; NULL ends the table */
    const char *value; /* what the help calls its value: "N"; NULL for _ON, _OFF, _FLAG, _WORDS */
    const char *help;
    ExampleOptionKind kind;
    void *variable;
    double min, max;
    bool above_min, below_max;   /* the limit itself is excluded */
    const char *const *choices; /* ends with NULL */
} ExampleOption;

typedef enum {
    EXAMPLE_OPTIONS_OK,
    EXAMPLE_OPTIONS_HELP,
    EXAMPLE_OPTIONS_WRONG,
} ExampleOptionsStatus;

/* Reads argv[1..argc-1].  A wrong option leaves one line in *error. */
ExampleOptionsStatus example_options_read(const ExampleOption *table, int argc, char **argv,
                                          TensorError *error);

/* Takes the text as the value of an option that has one, as after --NAME.
 * Fails (false, the variable as it was): it is none, or out of range. */
bool example_option_set(const ExampleOption *o, const char *text, TensorError *error);

/* One entry an option, with the default that its variable holds. */
void example_options_help(const ExampleOption *table, FILE *out);

#endif
