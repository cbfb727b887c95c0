/* Words among options: where they stand, how many there may be. */
#include "examples/support/options.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

typedef struct {
    int64_t size;
    bool on;
    ExampleWords words;
} Read;

/* Reads the arguments, split at spaces, with min..max words. */
static ExampleOptionsStatus read_options(const char *arguments, int min, int max, Read *r,
                                         TensorError *error) {
    static char line[200];
    char *argv[20] = {(char *)"program"};
    int argc = 1;
    *r = (Read){.size = 1};
    *error = (TensorError){""};
    snprintf(line, sizeof line, "%s", arguments);
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    const ExampleOption table[] = {
        {.name = "on", .help = "a switch", .kind = EXAMPLE_OPTION_ON, .variable = &r->on},
        {.name = "RUN", .help = "folders", .kind = EXAMPLE_OPTION_WORDS, .variable = &r->words,
         .min = min, .max = max},
        {.name = "size", .value = "N", .help = "a size", .kind = EXAMPLE_OPTION_INT,
         .variable = &r->size, .min = 1, .max = 9},
        {0}};
    return example_options_read(table, argc, argv, error);
}

Test(options, words_stand_anywhere_among_options) {
    static const char *const same[] = {"a b --size 3 --on", "--size 3 a --on b",
                                       "--on --size=3 a b", "a --size 3 --on -- b"};
    Read r;
    TensorError error;
    for (int i = 0; i < 4; i++) {
        cr_assert(read_options(same[i], 0, 2, &r, &error) == EXAMPLE_OPTIONS_OK, "%s: %s", same[i],
                  error.message);
        cr_assert(r.size == 3 && r.on && r.words.count == 2, "%s", same[i]);
        cr_assert_str_eq(r.words.word[0], "a");
        cr_assert_str_eq(r.words.word[1], "b");
    }
    cr_assert(read_options("", 0, 2, &r, &error) == EXAMPLE_OPTIONS_OK && r.words.count == 0);
    cr_assert(read_options("- -- --on --", 0, 3, &r, &error) == EXAMPLE_OPTIONS_OK);
    cr_assert(r.words.count == 3 && !r.on);
    cr_assert_str_eq(r.words.word[0], "-");
    cr_assert_str_eq(r.words.word[1], "--on");
    cr_assert_str_eq(r.words.word[2], "--");
    cr_assert(read_options("a --help", 2, 2, &r, &error) == EXAMPLE_OPTIONS_HELP);
}

Test(options, too_few_and_too_many_words_are_refused_by_name) {
    static const struct {
        const char *arguments, *piece;
        int min, max;
    } cases[] = {{"", "RUN is missing", 1, 2},
                 {"--on a", "RUN is missing", 2, 2},
                 {"a b c --on", "unexpected argument c", 1, 2},
                 {"a", "unexpected argument a", 0, 0},
                 {"a --size", "--size needs a value", 1, 2},
                 {"--RUN a", "--RUN", 1, 2},
                 {"a --size 12", "at most 9", 1, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Read r;
        TensorError error;
        cr_assert(read_options(cases[i].arguments, cases[i].min, cases[i].max, &r, &error) ==
                      EXAMPLE_OPTIONS_WRONG, "%s", cases[i].arguments);
        cr_assert(strstr(error.message, cases[i].piece), "%s", error.message);
    }
    /* A table without words takes none. */
    char *argv[] = {(char *)"program", (char *)"word"};
    TensorError error = {""};
    cr_assert(example_options_read(&(ExampleOption){0}, 2, argv, &error) == EXAMPLE_OPTIONS_WRONG);
    cr_assert_str_eq(error.message, "unexpected argument word");
}

Test(options, the_help_shows_words_without_dashes) {
    ExampleWords words = {0};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    cr_assert(out);
    const ExampleOption table[] = {{.name = "RUN", .help = "folders", .kind = EXAMPLE_OPTION_WORDS,
                                    .variable = &words, .min = 1, .max = 3}, {0}};
    example_options_help(table, out);
    fclose(out);
    cr_assert(strstr(text, "  RUN... ") && strstr(text, "folders\n") && !strstr(text, "--RUN"),
              "%s", text);
    free(text);
}
