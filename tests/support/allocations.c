#include "tests/support/allocations.h"

#include <stdatomic.h>
#include <stddef.h>

static atomic_long count;

long allocations(void) { return count; }

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n) {
    count++;
    return __real_malloc(n);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size) {
    count++;
    return __real_calloc(n, size);
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n) {
    count++;
    return __real_realloc(p, n);
}

void *__real_aligned_alloc(size_t alignment, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n) {
    count++;
    return __real_aligned_alloc(alignment, n);
}

int __real_posix_memalign(void **p, size_t alignment, size_t n);
int __wrap_posix_memalign(void **p, size_t alignment, size_t n);
int __wrap_posix_memalign(void **p, size_t alignment, size_t n) {
    count++;
    return __real_posix_memalign(p, alignment, n);
}
