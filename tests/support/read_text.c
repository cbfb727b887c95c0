#include "tests/support/read_text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

char *read_text(const char *path) {
    const size_t room = 1 << 20;
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, room);
    cr_assert(file && text, "%s cannot be read", path);
    cr_assert_lt(fread(text, 1, room - 1, file), room - 1, "%s is too long", path);
    fclose(file);
    return text;
}
