/* arena.h -- memory that is given out piece by piece and taken back all at once.
 *
 * An arena is the only owner of what it hands out: nothing is freed alone.  It
 * keeps its blocks over a reset, so a loop whose every pass asks for the same
 * sizes calls malloc in the first pass only. */
#ifndef TENSOR_ARENA_H
#define TENSOR_ARENA_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Alignment of every piece, in bytes: a cache line, and one AVX-512 vector. */
#define TENSOR_ALIGN 64

typedef struct TensorArena TensorArena;

/* A place in an arena, to which tensor_arena_release returns. */
typedef struct {
    void *block;
    size_t used;
    size_t bytes;
} TensorArenaMark;

/* A new, empty arena; free it with tensor_arena_free.  NULL when out of memory. */
TensorArena *tensor_arena_new(void);

/* Frees the arena and all it gave out.  NULL is allowed. */
void tensor_arena_free(TensorArena *a);

/* `bytes` bytes, aligned to TENSOR_ALIGN, contents undefined.  At least one byte
 * is reserved, so the result of a size of 0 is a pointer too.
 * Fails (NULL): out of memory, or over the limit. */
void *tensor_arena_alloc(TensorArena *a, size_t bytes);

/* Takes everything back; the blocks stay for the next pass. */
void tensor_arena_reset(TensorArena *a);

/* The place reached now; everything given out later is taken back by a release. */
TensorArenaMark tensor_arena_mark(const TensorArena *a);
void tensor_arena_release(TensorArena *a, TensorArenaMark mark);

/* The most bytes the arena may take from the system; 0, the default: no limit.
 * A long run can thus be kept from driving the machine into swap. */
void tensor_arena_set_limit(TensorArena *a, size_t bytes);

size_t tensor_arena_bytes(const TensorArena *a);    /* given out since the last reset */
size_t tensor_arena_reserved(const TensorArena *a); /* taken from the system */

#ifdef __cplusplus
}
#endif
#endif
