#include "tests/support/allocations.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_long count;
static atomic_long good = LONG_MAX; /* how many calls succeed before all fail */
static atomic_long single;          /* the number of the one that fails alone; 0: none */

long allocations(void) { return count; }
void fail_allocations(bool on) { good = on ? (long)count : LONG_MAX; }
void fail_allocations_after(long n) { good = count + n; }
void fail_allocation(long n) { single = n > 0 ? count + n : 0; }

/* Counts one; whether it must fail. */
static bool refused(void) {
    long before = count++;
    return before >= good || before + 1 == single;
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n) {
    return refused() ? NULL : __real_malloc(n);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size) {
    return refused() ? NULL : __real_calloc(n, size);
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n) {
    return refused() ? NULL : __real_realloc(p, n);
}

void *__real_aligned_alloc(size_t alignment, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n) {
    return refused() ? NULL : __real_aligned_alloc(alignment, n);
}

int __real_posix_memalign(void **p, size_t alignment, size_t n);
int __wrap_posix_memalign(void **p, size_t alignment, size_t n);
int __wrap_posix_memalign(void **p, size_t alignment, size_t n) {
    return refused() ? ENOMEM : __real_posix_memalign(p, alignment, n);
}
