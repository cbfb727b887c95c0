/* arena.c -- a chain of blocks; the current one is filled from its start. */
#include "tensor/arena.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define POISONING 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONING 1
#endif
#endif
#ifdef POISONING
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { HEADER = TENSOR_ALIGN };
static const size_t smallest_block = (size_t)1 << 20;
static const size_t largest_step = (size_t)64 << 20;

typedef struct Block {
    struct Block *next;
    size_t capacity; /* of the bytes behind the header */
} Block;

struct TensorArena {
    Block *first, *current;
    size_t used; /* of the current block */
    size_t bytes, reserved, limit;
};

static char *memory_of(Block *b) { return (char *)b + HEADER; }

TensorArena *tensor_arena_new(void) { return calloc(1, sizeof(TensorArena)); }

void tensor_arena_free(TensorArena *a) {
    if (!a) return;
    for (Block *b = a->first, *next; b; b = next) {
        next = b->next;
        UNPOISON(memory_of(b), b->capacity);
        free(b);
    }
    free(a);
}

/* Blocks double the whole, up to 64 MiB at a time: few calls of the system for a large arena,
 * little waste for a small one. */
static Block *new_block(TensorArena *a, size_t size) {
    size_t capacity = a->reserved < smallest_block ? smallest_block : a->reserved;
    if (capacity > largest_step) capacity = largest_step;
    if (a->limit && capacity + HEADER > a->limit - a->reserved) capacity = size;
    if (capacity < size) capacity = size;
    size_t total = capacity + HEADER;
    if (a->limit && (a->reserved > a->limit || total > a->limit - a->reserved)) return NULL;
    Block *b = aligned_alloc(TENSOR_ALIGN, total);
    if (!b) return NULL;
    *b = (Block){NULL, capacity};
    a->reserved += total;
    POISON(memory_of(b), capacity);
    return b;
}

/* Goes to the next block that is large enough, or puts a new one before it.  After a reset the
 * same requests find the same blocks. */
static int advance(TensorArena *a, size_t size) {
    Block **link = a->current ? &a->current->next : &a->first;
    if (!*link || (*link)->capacity < size) {
        Block *b = new_block(a, size);
        if (!b) return 0;
        b->next = *link;
        *link = b;
    }
    a->current = *link;
    a->used = 0;
    return 1;
}

void *tensor_arena_alloc(TensorArena *a, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t size = (bytes + (bytes == 0) + TENSOR_ALIGN - 1) & ~(size_t)(TENSOR_ALIGN - 1);
    if ((!a->current || size > a->current->capacity - a->used) && !advance(a, size)) return NULL;
    char *p = memory_of(a->current) + a->used;
    a->used += size;
    a->bytes += size;
    UNPOISON(p, bytes + (bytes == 0));
    return p;
}

void tensor_arena_reset(TensorArena *a) {
    for (Block *b = a->first; b; b = b->next) POISON(memory_of(b), b->capacity);
    a->current = NULL;
    a->used = a->bytes = 0;
}

TensorArenaMark tensor_arena_mark(const TensorArena *a) {
    return (TensorArenaMark){a->current, a->used, a->bytes};
}

void tensor_arena_release(TensorArena *a, TensorArenaMark mark) {
    a->current = mark.block;
    a->used = mark.used;
    a->bytes = mark.bytes;
    Block *rest = a->first;
    if (a->current) {
        POISON(memory_of(a->current) + a->used, a->current->capacity - a->used);
        rest = a->current->next;
    }
    for (; rest; rest = rest->next) POISON(memory_of(rest), rest->capacity);
}

void tensor_arena_set_limit(TensorArena *a, size_t bytes) { a->limit = bytes; }
size_t tensor_arena_bytes(const TensorArena *a) { return a->bytes; }
size_t tensor_arena_reserved(const TensorArena *a) { return a->reserved; }
