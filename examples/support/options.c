/* options.c -- see options.h. */
#include "examples/support/options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What getopt gives: FIRST + i for entry i of the table, FIRST_NO + i for --no-NAME. */
enum { HELP = 'h', FIRST = 256, FIRST_NO = FIRST + EXAMPLE_MAX_OPTIONS, NAME_SIZE = 32 };

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
    case EXAMPLE_OPTION_TEXT:
    case EXAMPLE_OPTION_HEADING:
    case EXAMPLE_OPTION_WORDS: break;
    }
    *(const char **)o->variable = text;
    return true;
}

/* ---- the command line ---- */

static const ExampleOption *find_words(const ExampleOption *table) {
    while (table->name && table->kind != EXAMPLE_OPTION_WORDS) table++;
    return table->name ? table : NULL;
}

static bool add_word(const ExampleOption *o, const char *word, TensorError *error) {
    ExampleWords *words = o ? o->variable : NULL;
    if (!words || words->count >= EXAMPLE_MAX_WORDS || words->count >= o->max)
        return tensor_error_set(error, "unexpected argument %s", word);
    words->word[words->count++] = word;
    return true;
}

static bool enough_words(const ExampleOption *o, TensorError *error) {
    const ExampleWords *words = o ? o->variable : NULL;
    if (!words || words->count >= o->min) return true;
    return tensor_error_set(error, "%s is missing; --help tells more", o->name);
}

static bool can_be_negated(const ExampleOption *o) {
    return o->kind == EXAMPLE_OPTION_FLAG || o->kind == EXAMPLE_OPTION_OFF;
}

typedef struct {
    struct option list[2 * EXAMPLE_MAX_OPTIONS + 2];
    char negated[EXAMPLE_MAX_OPTIONS][NAME_SIZE];
} Names;

static void name_options(const ExampleOption *table, Names *names) {
    struct option *next = names->list;
    *next++ = (struct option){"help", no_argument, NULL, HELP};
    for (int i = 0; i < EXAMPLE_MAX_OPTIONS && table[i].name; i++) {
        if (table[i].kind == EXAMPLE_OPTION_WORDS || table[i].kind == EXAMPLE_OPTION_HEADING)
            continue;
        *next++ = (struct option){table[i].name,
                                  table[i].value ? required_argument : no_argument, NULL,
                                  FIRST + i};
        if (!can_be_negated(&table[i])) continue;
        snprintf(names->negated[i], NAME_SIZE, "no-%s", table[i].name);
        *next++ = (struct option){names->negated[i], no_argument, NULL, FIRST_NO + i};
    }
    *next = (struct option){0};
}

ExampleOptionsStatus example_options_read(const ExampleOption *table, int argc, char **argv,
                                          TensorError *error) {
    Names names;
    const ExampleOption *words = find_words(table);
    bool only_words = false, ok = true;
    name_options(table, &names);
    opterr = 0;
    optind = 1;
    while (optind < argc && ok) {
        /* The leading + stops at the first word that is no option, so argv[optind] is the
         * word that is read. */
        const char *word = argv[optind];
        int found = only_words ? -1 : getopt_long(argc, argv, "+:h", names.list, NULL);
        if (found == HELP) return EXAMPLE_OPTIONS_HELP;
        if (found == ':')
            ok = tensor_error_set(error, "%s needs a value", word);
        else if (found == '?')
            ok = tensor_error_set(error, "unknown or ambiguous option %s; --help lists them", word);
        else if (found >= FIRST_NO)
            *(bool *)table[found - FIRST_NO].variable =
                table[found - FIRST_NO].kind == EXAMPLE_OPTION_OFF;
        else if (found != -1)
            ok = example_option_set(&table[found - FIRST], optarg, error);
        else if (!only_words && strcmp(word, "--") == 0)
            only_words = true;
        else
            ok = add_word(words, argv[optind++], error);
    }
    return ok && enough_words(words, error) ? EXAMPLE_OPTIONS_OK : EXAMPLE_OPTIONS_WRONG;
}

static void write_default(const ExampleOption *o, FILE *out) {
    const char *text = o->kind == EXAMPLE_OPTION_TEXT ? *(const char **)o->variable : NULL;
    if (text && *text) fprintf(out, " (default %s)", text);
    if (o->kind == EXAMPLE_OPTION_INT)
        fprintf(out, " (default %lld)", (long long)*(int64_t *)o->variable);
    if (o->kind == EXAMPLE_OPTION_REAL) fprintf(out, " (default %g)", *(double *)o->variable);
    if (o->kind == EXAMPLE_OPTION_CHOICE)
        fprintf(out, " (default %s)", o->choices[*(int *)o->variable]);
    if (can_be_negated(o) && *(bool *)o->variable == (o->kind == EXAMPLE_OPTION_FLAG))
        fputs(" (default on)", out);
}

void example_options_help(const ExampleOption *table, FILE *out) {
    for (const ExampleOption *o = table; o->name; o++) {
        char left[64];
        if (o->kind == EXAMPLE_OPTION_HEADING) {
            fprintf(out, "%s%s:\n", o == table ? "" : "\n", o->help);
            continue;
        }
        bool words = o->kind == EXAMPLE_OPTION_WORDS;
        const char *dashes = words ? "" : can_be_negated(o) ? "--[no-]" : "--";
        snprintf(left, sizeof left, "%s%s%s %s", dashes, o->name,
                 words && o->max > 1 ? "..." : "", o->value ? o->value : "");
        fprintf(out, "  %-24s", left);
        fputs(o->help, out);
        write_default(o, out);
        fputc('\n', out);
    }
    fprintf(out, "  %-24s%s\n", "-h, --help", "this text");
}
