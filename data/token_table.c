#include "data/token_table.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a; the last two steps bring its high bits down to where the slots are chosen. */
static uint64_t hash(const char *bytes, int64_t n) {
    uint64_t h = 0xCBF29CE484222325u;
    for (int64_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)bytes[i]) * 0x100000001B3u;
    h ^= h >> 32;
    return h * 0x9E3779B97F4A7C15u >> 20;
}

const char *data_token_bytes(const DataTokenTable *table, int64_t number) {
    assert(number >= 0 && number < table->size);
    return table->pool + table->tokens[number].start;
}

/* The slot that holds the token, or the free one that would. */
static int64_t slot_of(const DataTokenTable *t, const char *bytes, int64_t n) {
    int64_t mask = t->slot_count - 1;
    for (int64_t at = (int64_t)(hash(bytes, n) & (uint64_t)mask);; at = (at + 1) & mask) {
        int64_t number = t->slots[at];
        if (number < 0)
            return at;
        if (t->tokens[number].length == n &&
            memcmp(data_token_bytes(t, number), bytes, (size_t)n) == 0)
            return at;
    }
}

int64_t data_token_find(const DataTokenTable *table, const char *bytes, int64_t n) {
    return table->size == 0 ? -1 : table->slots[slot_of(table, bytes, n)];
}

/* Doubles *capacity until `needed` elements fit.  False, nothing changed: out of memory. */
static bool reserve(void **memory, int64_t *capacity, int64_t needed, size_t element) {
    if (needed <= *capacity)
        return true;
    int64_t larger = *capacity < 64 ? 64 : *capacity;
    while (larger < needed)
        larger *= 2;
    void *moved = realloc(*memory, (size_t)larger * element);
    if (!moved)
        return false;
    *memory = moved;
    *capacity = larger;
    return true;
}

/* Twice the slots, with every token in its new one. */
static bool grow_slots(DataTokenTable *t) {
    int64_t wanted = t->slot_count == 0 ? 256 : 2 * t->slot_count;
    int64_t *slots = malloc((size_t)wanted * sizeof *slots);
    if (!slots)
        return false;
    for (int64_t i = 0; i < wanted; i++)
        slots[i] = -1;
    free(t->slots);
    t->slots = slots;
    t->slot_count = wanted;
    for (int64_t i = 0; i < t->size; i++)
        slots[slot_of(t, data_token_bytes(t, i), t->tokens[i].length)] = i;
    return true;
}

int64_t data_token_add(DataTokenTable *table, const char *bytes, int64_t n) {
    int64_t number = data_token_find(table, bytes, n);
    if (number >= 0)
        return number;
    void *tokens = table->tokens, *pool = table->pool;
    bool room = reserve(&tokens, &table->capacity, table->size + 1, sizeof *table->tokens) &&
                reserve(&pool, &table->pool_capacity, table->pool_size + n + 1, 1);
    table->tokens = tokens;
    table->pool = pool;
    if (!room || (4 * (table->size + 1) > 3 * table->slot_count && !grow_slots(table)))
        return -1;
    number = table->size;
    table->slots[slot_of(table, bytes, n)] = number;
    table->tokens[number] = (DataToken){.start = table->pool_size, .length = n};
    memcpy(table->pool + table->pool_size, bytes, (size_t)n);
    table->pool[table->pool_size + n] = '\0';
    table->pool_size += n + 1;
    table->size++;
    return number;
}

void data_token_clear(DataTokenTable *table) {
    free(table->tokens);
    free(table->pool);
    free(table->slots);
    *table = (DataTokenTable){0};
}
