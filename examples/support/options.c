/* options.c -- see options.h. */
#include "examples/support/options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPTIONS = 100, NAME_SIZE = 32, HELP = 'h' };

/* ---- values ---- */

static bool check_range(const ExampleOption *o, const char *text, double x, TensorError *error) {
    bool low = o->above_min ? x <= o->min : x < o->min;
    if (!low && !(o->below_max ? x >= o->max : x > o->max)) return true;
    return tensor_error_set(error, "--%s %s: must be %s %.15g", o->name, text,
                            low ? (o->above_min ? "more than" : "at least")
                                : (o->below_max ? "less than" : "at most"),
                            low ? o->min : o->max);
}

static bool read_int(const ExampleOption *o, const char *text, TensorError *error) {
    char *end;
    errno = 0;
    long long x = strtoll(text, &end, 10);
    if (end == text || *end)
        return tensor_error_set(error, "--%s %s: not a whole number", o->name, text);
    /* Out of range, strtoll gives the nearest number there is. */
    if (errno == ERANGE) return check_range(o, text, x < 0 ? -HUGE_VAL : HUGE_VAL, error);
    if (!check_range(o, text, (double)x, error)) return false;
    *(int64_t *)o->variable = x;
    return true;
}

static bool read_real(const ExampleOption *o, const char *text, TensorError *error) {
    char *end;
    double x = strtod(text, &end);
    if (end == text || *end || !isfinite(x))
        return tensor_error_set(error, "--%s %s: not a finite number", o->name, text);
    if (!check_range(o, text, x, error)) return false;
    *(double *)o->variable = x;
    return true;
}

static bool read_choice(const ExampleOption *o, const char *text, TensorError *error) {
    char list[256] = "";
    for (int i = 0; o->choices[i]; i++) {
        if (strcmp(text, o->choices[i]) == 0) {
            *(int *)o->variable = i;
            return true;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", o->choices[i]);
    }
    return tensor_error_set(error, "--%s %s: must be one of %s", o->name, text, list);
}

bool example_option_set(const ExampleOption *o, const char *text, TensorError *error) {
    switch (o->kind) {
    case EXAMPLE_OPTION_INT: return read_int(o, text, error);
    case EXAMPLE_OPTION_REAL: return read_real(o, text, error);
    case EXAMPLE_OPTION_CHOICE: return read_choice(o, text, error);
    case EXAMPLE_OPTION_ON:
    case EXAMPLE_OPTION_FLAG: *(bool *)o->variable = true; return true;
    case EXAMPLE_OPTION_OFF: *(bool *)o->variable = false; return true;
    case EXAMPLE_OPTION_TEXT: break;
    }
    *(const char **)o->variable = text;
    return true;
}

/* ---- the command line ---- */

/* What getopt_long looks for: --help, every option, and --no-NAME of every flag. */
typedef struct {
    struct option names[2 * MAX_OPTIONS + 2];
    const ExampleOption *option[2 * MAX_OPTIONS + 1];
    char negated[MAX_OPTIONS][NAME_SIZE];
} Names;

enum { FOUND = 0, FOUND_NO = 1 };

static void list_names(Names *n, const ExampleOption *table) {
    int count = 1;
    *n = (Names){.names = {{"help", no_argument, NULL, HELP}}};
    for (int i = 0; i < MAX_OPTIONS && table[i].name; i++) {
        int argument = table[i].value ? required_argument : no_argument;
        n->option[count] = &table[i];
        n->names[count++] = (struct option){table[i].name, argument, NULL, FOUND};
        if (table[i].kind != EXAMPLE_OPTION_FLAG) continue;
        snprintf(n->negated[i], NAME_SIZE, "no-%s", table[i].name);
        n->option[count] = &table[i];
        n->names[count++] = (struct option){n->negated[i], no_argument, NULL, FOUND_NO};
    }
}

ExampleOptionsStatus example_options_read(const ExampleOption *table, int argc, char **argv,
                                          TensorError *error) {
    Names n;
    list_names(&n, table);
    opterr = 0;
    optind = 1;
    while (optind < argc) {
        /* The leading + stops at the first word that is no option, so argv[optind] is the
         * word that is read. */
        const char *word = argv[optind];
        int which = 0, found = getopt_long(argc, argv, "+:h", n.names, &which);
        if (found == HELP) return EXAMPLE_OPTIONS_HELP;
        if (found == -1 && optind == argc) break; /* the word was -- */
        if (found == -1) tensor_error_set(error, "unexpected argument %s", argv[optind]);
        if (found == ':') tensor_error_set(error, "%s needs a value", word);
        if (found == '?')
            tensor_error_set(error, "unknown or ambiguous option %s; --help lists them", word);
        if (found == FOUND_NO) *(bool *)n.option[which]->variable = false;
        bool known = found == FOUND || found == FOUND_NO;
        if (!known || (found == FOUND && !example_option_set(n.option[which], optarg, error)))
            return EXAMPLE_OPTIONS_WRONG;
    }
    return EXAMPLE_OPTIONS_OK;
}

static void write_default(const ExampleOption *o, FILE *out) {
    const char *text = o->kind == EXAMPLE_OPTION_TEXT ? *(const char **)o->variable : NULL;
    if (text && *text) fprintf(out, " (default %s)", text);
    if (o->kind == EXAMPLE_OPTION_INT)
        fprintf(out, " (default %lld)", (long long)*(int64_t *)o->variable);
    if (o->kind == EXAMPLE_OPTION_REAL) fprintf(out, " (default %g)", *(double *)o->variable);
    if (o->kind == EXAMPLE_OPTION_CHOICE)
        fprintf(out, " (default %s)", o->choices[*(int *)o->variable]);
    if (o->kind == EXAMPLE_OPTION_FLAG && *(bool *)o->variable) fputs(" (default on)", out);
}

void example_options_help(const ExampleOption *table, FILE *out) {
    for (const ExampleOption *o = table; o->name; o++) {
        char left[64];
        const char *no = o->kind == EXAMPLE_OPTION_FLAG ? "[no-]" : "";
        snprintf(left, sizeof left, "--%s%s %s", no, o->name, o->value ? o->value : "");
        fprintf(out, "  %-24s", left);
        fputs(o->help, out);
        write_default(o, out);
        fputc('\n', out);
    }
    fprintf(out, "  %-24s%s\n", "-h, --help", "this text");
}
