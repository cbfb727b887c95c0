#include "data/lazy_library.h"

#include <math.h>
#include <string.h>

#include <criterion/criterion.h>

#define FUNCTIONS(F) F(floor) F(hypot)
static struct {
    FUNCTIONS(DATA_LAZY_FIELD)
} lib;
static const char *const names[] = {FUNCTIONS(DATA_LAZY_NAME) NULL};

Test(lazy_library, functions_are_those_of_the_library) {
    DataLazyLibrary library = DATA_LAZY_LIBRARY("libm.so.6", names, &lib);
    TensorError error;
    cr_assert(data_lazy_load(&library, &error), "%s", error.message);
    cr_assert(data_lazy_load(&library, &error));
    cr_assert(lib.floor(2.5) == 2 && lib.hypot(3, 4) == 5);
}

Test(lazy_library, what_is_missing_is_named) {
    static const char *const other[] = {"floor", "no_such_function", NULL};
    DataLazyLibrary none = DATA_LAZY_LIBRARY("libnone.so.9", names, &lib),
                    less = DATA_LAZY_LIBRARY("libm.so.6", other, &lib);
    TensorError error;
    cr_assert(!data_lazy_load(&none, &error) && strstr(error.message, "libnone.so.9"));
    cr_assert(!data_lazy_load(&less, &error) && strstr(error.message, "no_such_function"));
    cr_assert(!data_lazy_load(&less, NULL));
}
