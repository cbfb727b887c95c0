/* arena.c -- a chain of blocks filled one after the other, and blocks of their own for large
 * pieces.
 *
 * Both are such that a pass repeated after a reset finds room for all it asks for:
 *
 * The chain is searched forwards from the block in use and grows at its end only.  A request that
 * once went to the end passes over the same blocks the next time, so every piece gets the place
 * that it had.
 *
 * A large piece gets the smallest free block that holds it.  As pieces come back in the reverse
 * order, this serves every sequence of requests that any choice of blocks can serve; and the first
 * pass was such a choice. */
#include "tensor/arena.h"

#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

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
static const size_t large_page = (size_t)2 << 20;
static const size_t smallest_block = (size_t)1 << 20;
static const size_t largest_block = (size_t)64 << 20; /* of the chain */
static const size_t largest_shared = (size_t)16 << 20; /* piece; a block loses a quarter at most */

typedef struct Block {
    struct Block *next;
    size_t capacity; /* of the bytes behind the header */
    size_t before;   /* of a large piece: `bytes` of the arena when it was given out */
} Block;

struct TensorArena {
    Block *first, *current;
    size_t used; /* of the current block */
    Block *large; /* given out, the last one first */
    Block *spare; /* for large pieces, the smallest first */
    size_t bytes, reserved, limit;
};

static char *memory_of(Block *b) { return (char *)b + HEADER; }

TensorArena *tensor_arena_new(void) { return calloc(1, sizeof(TensorArena)); }

static void free_blocks(Block *b) {
    for (Block *next; b; b = next) {
        next = b->next;
        UNPOISON(memory_of(b), b->capacity);
        free(b);
    }
}

void tensor_arena_free(TensorArena *a) {
    if (!a) return;
    free_blocks(a->first);
    free_blocks(a->large);
    free_blocks(a->spare);
    free(a);
}

/* What a new block may hold without passing the limit. */
static size_t room(const TensorArena *a) {
    if (!a->limit) return SIZE_MAX;
    if (a->reserved >= a->limit || a->limit - a->reserved < HEADER) return 0;
    return (a->limit - a->reserved - HEADER) & ~(size_t)(TENSOR_ALIGN - 1);
}

/* Large blocks in large pages, where the system has them to give: the rows of a wide matrix stand
 * on more small pages than the processor keeps the addresses of. */
static void *take_memory(size_t bytes) {
#ifdef MADV_HUGEPAGE
    if (bytes >= 2 * large_page) {
        void *p = aligned_alloc(large_page, (bytes + large_page - 1) & ~(large_page - 1));
        if (p) madvise(p, bytes, MADV_HUGEPAGE);
        return p;
    }
#endif
    return aligned_alloc(TENSOR_ALIGN, bytes);
}

static Block *new_block(TensorArena *a, size_t capacity) {
    if (capacity > room(a)) return NULL;
    Block *b = take_memory(capacity + HEADER);
    if (!b) return NULL;
    *b = (Block){.capacity = capacity};
    a->reserved += capacity + HEADER;
    POISON(memory_of(b), capacity);
    return b;
}

/* Blocks double the whole, up to 64 MiB at a time: few calls of the system for a large arena,
 * little waste for a small one. */
static size_t next_capacity(const TensorArena *a, size_t size) {
    size_t capacity = a->reserved < smallest_block ? smallest_block : a->reserved;
    if (capacity > largest_block) capacity = largest_block;
    if (capacity > room(a)) capacity = room(a);
    return capacity < size ? size : capacity;
}

static char *shared_piece(TensorArena *a, size_t size) {
    if (!a->current || size > a->current->capacity - a->used) {
        Block **link = a->current ? &a->current->next : &a->first;
        while (*link && (*link)->capacity < size) link = &(*link)->next;
        if (!*link) *link = new_block(a, next_capacity(a, size));
        if (!*link) return NULL;
        a->current = *link;
        a->used = 0;
    }
    char *p = memory_of(a->current) + a->used;
    a->used += size;
    return p;
}

/* Where none is large enough, the largest makes room for a new one: passes of growing sizes leave
 * no trail of blocks behind. */
static Block *take_spare(TensorArena *a, size_t size) {
    Block **link = &a->spare;
    if (!*link) return new_block(a, size);
    while ((*link)->capacity < size && (*link)->next) link = &(*link)->next;
    Block *b = *link;
    *link = b->next;
    if (b->capacity >= size) return b;
    a->reserved -= b->capacity + HEADER;
    b->next = NULL;
    free_blocks(b);
    return new_block(a, size);
}

static char *large_piece(TensorArena *a, size_t size) {
    Block *b = take_spare(a, size);
    if (!b) return NULL;
    b->before = a->bytes;
    b->next = a->large;
    a->large = b;
    return memory_of(b);
}

void *tensor_arena_alloc(TensorArena *a, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t size = (bytes + (bytes == 0) + TENSOR_ALIGN - 1) & ~(size_t)(TENSOR_ALIGN - 1);
    char *p = size > largest_shared ? large_piece(a, size) : shared_piece(a, size);
    if (!p) return NULL;
    a->bytes += size;
    UNPOISON(p, bytes + (bytes == 0));
    return p;
}

/* Takes back the large pieces given out since the arena had given out `bytes`. */
static void release_large(TensorArena *a, size_t bytes) {
    while (a->large && a->large->before >= bytes) {
        Block *b = a->large, **link = &a->spare;
        a->large = b->next;
        while (*link && (*link)->capacity < b->capacity) link = &(*link)->next;
        b->next = *link;
        *link = b;
        POISON(memory_of(b), b->capacity);
    }
}

static void poison_shared(const TensorArena *a) {
#ifdef POISONING
    Block *rest = a->first;
    if (a->current) {
        POISON(memory_of(a->current) + a->used, a->current->capacity - a->used);
        rest = a->current->next;
    }
    for (; rest; rest = rest->next) POISON(memory_of(rest), rest->capacity);
#else
    (void)a;
#endif
}

TensorArenaMark tensor_arena_mark(const TensorArena *a) {
    return (TensorArenaMark){a->current, a->used, a->bytes};
}

void tensor_arena_release(TensorArena *a, TensorArenaMark mark) {
    a->current = mark.block;
    a->used = mark.used;
    a->bytes = mark.bytes;
    release_large(a, mark.bytes);
    poison_shared(a);
}

void tensor_arena_reset(TensorArena *a) { tensor_arena_release(a, (TensorArenaMark){0}); }

void tensor_arena_set_limit(TensorArena *a, size_t bytes) { a->limit = bytes; }
size_t tensor_arena_bytes(const TensorArena *a) { return a->bytes; }
size_t tensor_arena_reserved(const TensorArena *a) { return a->reserved; }
