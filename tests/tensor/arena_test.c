/* The arena gives aligned memory, takes it back at once, and keeps its blocks. */
#include "tensor/arena.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <string.h>

static TensorArena *a;
static void start(void) { a = tensor_arena_new(); }
static void stop(void) { tensor_arena_free(a); }
TestSuite(arena, .init = start, .fini = stop);

Test(arena, pieces_are_aligned_and_apart) {
    char *last = NULL;
    size_t last_size = 0;
    for (size_t size = 0; size < 3000; size += 7) {
        char *p = tensor_arena_alloc(a, size);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % TENSOR_ALIGN, 0);
        memset(p, (int)size, size);
        if (last_size) cr_assert_eq(last[last_size - 1], (char)last_size);
        last = p;
        last_size = size;
    }
}

static void many(void) {
    for (size_t i = 0; i < 500; i++) cr_assert_not_null(tensor_arena_alloc(a, (i * 7919) % 100000));
    cr_assert_not_null(tensor_arena_alloc(a, 10 << 20));
    for (size_t i = 0; i < 500; i++) cr_assert_not_null(tensor_arena_alloc(a, (i * 104729) % 100000));
}

Test(arena, a_second_pass_of_the_same_sizes_takes_nothing_from_the_system) {
    many();
    size_t reserved = tensor_arena_reserved(a), bytes = tensor_arena_bytes(a);
    for (int pass = 0; pass < 3; pass++) {
        tensor_arena_reset(a);
        cr_assert_eq(tensor_arena_bytes(a), 0);
        many();
        cr_assert_eq(tensor_arena_bytes(a), bytes);
        cr_assert_eq(tensor_arena_reserved(a), reserved);
    }
    cr_assert_lt(reserved, 3 * bytes);
}

Test(arena, a_release_takes_back_what_came_after_the_mark) {
    TensorArenaMark empty = tensor_arena_mark(a);
    char *first = tensor_arena_alloc(a, 100);
    memset(first, 42, 100);
    TensorArenaMark mark = tensor_arena_mark(a);
    size_t bytes = tensor_arena_bytes(a);
    char *next = tensor_arena_alloc(a, 50);
    many();
    tensor_arena_release(a, mark);
    cr_assert_eq(tensor_arena_bytes(a), bytes);
    cr_assert_eq(first[99], 42);
    cr_assert_eq(tensor_arena_alloc(a, 50), (void *)next);
    tensor_arena_release(a, empty);
    cr_assert_eq(tensor_arena_alloc(a, 100), (void *)first);
}

Test(arena, too_much_is_null_and_not_a_crash) {
    cr_assert_null(tensor_arena_alloc(a, SIZE_MAX));
    cr_assert_null(tensor_arena_alloc(a, SIZE_MAX - TENSOR_ALIGN));
    cr_assert_null(tensor_arena_alloc(a, SIZE_MAX / 2));
    cr_assert_not_null(tensor_arena_alloc(a, 1));
}

Test(arena, keeps_to_its_limit) {
    tensor_arena_set_limit(a, 4 << 20);
    bool refused = false;
    for (int i = 0; i < 100 && !refused; i++) refused = !tensor_arena_alloc(a, 100000);
    cr_assert(refused);
    cr_assert_leq(tensor_arena_reserved(a), (size_t)4 << 20);
    cr_assert_geq(tensor_arena_bytes(a), (size_t)3 << 20);
    tensor_arena_set_limit(a, 0);
    cr_assert_not_null(tensor_arena_alloc(a, 5 << 20));
    tensor_arena_set_limit(a, 1); /* below what it holds already */
    cr_assert_null(tensor_arena_alloc(a, 64 << 20));
}
