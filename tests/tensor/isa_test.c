#include "tensor/isa.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Each test is a process of its own, so the first use of the library is in it. */

static TensorIsa best(void) {
    int isa = TENSOR_ISA_COUNT - 1;
    while (!tensor_isa_available((TensorIsa)isa)) {
        isa--;
    }
    return (TensorIsa)isa;
}

Test(isa, the_best_available_one_is_the_default) {
    unsetenv("UNROLL_ISA");
    cr_expect_eq(tensor_isa(), best());
    cr_expect_null(tensor_isa_warning());
}

Test(isa, an_empty_variable_is_as_none) {
    setenv("UNROLL_ISA", "", 1);
    cr_expect_eq(tensor_isa(), best());
    cr_expect_null(tensor_isa_warning());
}

Test(isa, the_variable_asks_for_a_lower_one) {
    setenv("UNROLL_ISA", "plain", 1);
    cr_expect_eq(tensor_isa(), TENSOR_ISA_PLAIN);
    cr_expect_null(tensor_isa_warning());
    setenv("UNROLL_ISA", "baseline", 1); /* read once: the choice stays */
    cr_expect_eq(tensor_isa(), TENSOR_ISA_PLAIN);
}

static void expect_one_line(const char *text) {
    cr_assert_not_null(text);
    cr_expect_null(strpbrk(text, "\n\r\t\033"), "%s", text);
    cr_expect_lt(strlen(text), 150u);
}

Test(isa, an_unknown_name_is_reported_in_one_line) {
    setenv("UNROLL_ISA", "sse9\n\033[31m a name that goes on and on and on and on and on", 1);
    expect_one_line(tensor_isa_warning());
    cr_expect_not_null(strstr(tensor_isa_warning(), "sse9"));
    cr_expect_not_null(strstr(tensor_isa_warning(), tensor_isa_name(best())));
    cr_expect_eq(tensor_isa(), best());
}

Test(isa, names_are_matched_whole) {
    setenv("UNROLL_ISA", "avx", 1);
    cr_expect_not_null(tensor_isa_warning());
    cr_expect_eq(tensor_isa(), best());
}

Test(isa, one_that_is_missing_is_reported_or_used) {
    setenv("UNROLL_ISA", "avx512", 1);
    if (tensor_isa_available(TENSOR_ISA_AVX512)) {
        cr_expect_null(tensor_isa_warning());
        cr_expect_eq(tensor_isa(), TENSOR_ISA_AVX512);
    } else {
        expect_one_line(tensor_isa_warning());
        cr_expect_not_null(strstr(tensor_isa_warning(), "not available"));
        cr_expect_eq(tensor_isa(), best());
    }
}

Test(isa, set_takes_what_is_available_and_nothing_else) {
    setenv("UNROLL_ISA", "plain", 1);
    for (int isa = -1; isa <= TENSOR_ISA_COUNT; isa++) {
        TensorIsa before = tensor_isa();
        bool available = tensor_isa_available((TensorIsa)isa);
        cr_expect_eq(tensor_isa_set((TensorIsa)isa), available);
        cr_expect_eq(tensor_isa(), available ? (TensorIsa)isa : before);
    }
    cr_expect(tensor_isa_available(TENSOR_ISA_PLAIN));
    cr_expect_not(tensor_isa_available(TENSOR_ISA_COUNT));
    cr_expect_not(tensor_isa_available((TensorIsa)-1));
}

Test(isa, set_before_the_first_use_is_not_undone_by_it) {
    unsetenv("UNROLL_ISA");
    cr_assert(tensor_isa_set(TENSOR_ISA_PLAIN));
    cr_expect_null(tensor_isa_warning());
    cr_expect_eq(tensor_isa(), TENSOR_ISA_PLAIN);
}

Test(isa, each_has_a_name_of_its_own) {
    for (int a = 0; a < TENSOR_ISA_COUNT; a++) {
        for (int b = 0; b < a; b++) {
            cr_expect_str_neq(tensor_isa_name((TensorIsa)a), tensor_isa_name((TensorIsa)b));
        }
    }
    cr_expect_str_eq(tensor_isa_name(TENSOR_ISA_AVX2), "avx2");
    cr_expect_str_eq(tensor_isa_name((TensorIsa)99), "unknown");
    cr_expect_str_eq(tensor_isa_name((TensorIsa)-1), "unknown");
}

static void *first_use(void *result) {
    *(TensorIsa *)result = tensor_isa();
    return NULL;
}

Test(isa, threads_that_come_first_together_agree) {
    enum { THREADS = 8 };
    pthread_t thread[THREADS];
    TensorIsa seen[THREADS];
    setenv("UNROLL_ISA", "plain", 1);
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&thread[i], NULL, first_use, &seen[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        cr_expect_eq(seen[i], TENSOR_ISA_PLAIN);
    }
}
