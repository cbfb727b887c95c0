/* The arena gives aligned memory, takes it back at once, and keeps its blocks. */
#include "tensor/arena.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <string.h>

#include "tests/support/allocations.h"

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
    for (size_t i = 0; i < 500; i++) cr_assert_not_null(tensor_arena_alloc(a, i * 7919 % 100000));
    cr_assert_not_null(tensor_arena_alloc(a, 10 << 20));
    for (size_t i = 0; i < 500; i++) cr_assert_not_null(tensor_arena_alloc(a, i * 104729 % 100000));
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

static uint64_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Pieces of every size, from bytes to more than any shared block, in nested marks. */
static void nested(uint64_t *state, int depth) {
    TensorArenaMark mark = tensor_arena_mark(a);
    size_t bytes = tensor_arena_bytes(a);
    for (int i = 0; i < 6; i++) {
        size_t size = (size_t)1 << next_random(state) % 28;
        cr_assert_not_null(tensor_arena_alloc(a, size + next_random(state) % size));
        if (depth && next_random(state) % 2) nested(state, depth - 1);
    }
    if (next_random(state) % 4) {
        tensor_arena_release(a, mark);
        cr_assert_eq(tensor_arena_bytes(a), bytes);
    }
}

Test(arena, a_second_pass_with_marks_takes_nothing_from_the_system) {
    for (uint64_t seed = 0; seed < 200; seed++) {
        stop();
        start();
        uint64_t state = seed;
        long before = allocations();
        nested(&state, 2);
        cr_assert_gt(allocations(), before);
        size_t reserved = tensor_arena_reserved(a);
        before = allocations();
        for (int pass = 0; pass < 2; pass++) {
            tensor_arena_reset(a);
            state = seed;
            nested(&state, 2);
        }
        cr_assert_eq(allocations(), before, "seed %d", (int)seed);
        cr_assert_eq(tensor_arena_reserved(a), reserved);
    }
}

Test(arena, passes_of_growing_sizes_leave_no_trail_of_blocks) {
    size_t size = (size_t)20 << 20;
    for (int pass = 0; pass < 50; pass++, size += 1 << 20) {
        tensor_arena_reset(a);
        cr_assert_not_null(tensor_arena_alloc(a, size));
        cr_assert_leq(tensor_arena_reserved(a), size + ((size_t)1 << 20));
    }
}

Test(arena, large_pieces_are_apart_from_all_others) {
    char *p[40];
    const size_t large = (size_t)17 << 20;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 40; i++) {
            size_t size = i % 4 == 3 ? large : 1000;
            cr_assert_not_null(p[i] = tensor_arena_alloc(a, size));
            memset(p[i], i, 1000);
            p[i][size - 1] = (char)i;
            cr_assert_eq((uintptr_t)p[i] % TENSOR_ALIGN, 0);
        }
        for (int i = 0; i < 40; i++) {
            cr_assert(p[i][0] == i && p[i][999] == i && p[i][i % 4 == 3 ? large - 1 : 0] == i);
        }
        tensor_arena_reset(a);
    }
}

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
Test(arena, what_is_not_given_out_is_poisoned) {
    for (size_t size = 100; size <= (size_t)20 << 20; size *= 40) {
        TensorArenaMark mark = tensor_arena_mark(a);
        char *p = tensor_arena_alloc(a, size);
        cr_expect_null(__asan_region_is_poisoned(p, size));
        cr_expect(__asan_address_is_poisoned(p + size) || size % TENSOR_ALIGN == 0);
        tensor_arena_release(a, mark);
        cr_expect(__asan_address_is_poisoned(p) && __asan_address_is_poisoned(p + size - 1));
        p = tensor_arena_alloc(a, size);
        tensor_arena_reset(a);
        cr_expect(__asan_address_is_poisoned(p) && __asan_address_is_poisoned(p + size - 1));
    }
}
#endif
