/* token_table.h -- strings of bytes numbered in the order they were added, with a count
 * each: a hash table with open addressing.  Private to data/. */
#ifndef DATA_TOKEN_TABLE_H
#define DATA_TOKEN_TABLE_H
#include <stdint.h>

typedef struct {
    int64_t start;  /* of the bytes in the table's pool; a NUL stands behind them */
    int64_t length;
    int64_t count;
} DataToken;

/* All zero is the empty table. */
typedef struct {
    int64_t size, capacity;
    DataToken *tokens;
    int64_t pool_size, pool_capacity;
    char *pool;
    int64_t slot_count; /* a power of two, more than 4/3 of size; or 0 */
    int64_t *slots;     /* the number of a token, or -1 */
} DataTokenTable;

/* The number of the token, or -1. */
int64_t data_token_find(const DataTokenTable *table, const char *bytes, int64_t n);

/* The number of the token, which is added with a count of 0 if it is new.
 * Fails (-1, the table as it was): out of memory. */
int64_t data_token_add(DataTokenTable *table, const char *bytes, int64_t n);

/* The bytes of a token; they move when one is added. */
const char *data_token_bytes(const DataTokenTable *table, int64_t number);

/* Frees what the table holds; it is empty then. */
void data_token_clear(DataTokenTable *table);

#endif
