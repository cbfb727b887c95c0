/* rows.c -- see rows.h. */
#include "autograd/rows.h"

#include <assert.h>
#include <string.h>

void ag_rows_clear(AgRows *rows) {
    memset(rows->used, 0, AG_ROWS_WORDS(rows->n) * sizeof *rows->used);
    rows->all = false;
}

void ag_rows_use(AgRows *rows, const Tensor *index) {
    assert(index->dtype == TENSOR_I64 && index->ndim == 1);
    const int64_t *entry = index->data;
    for (int64_t i = 0; i < index->shape[0]; i++) {
        int64_t r = entry[i * index->stride[0]];
        assert(r >= 0 && r < rows->n && "row out of range");
        rows->used[r / 64] |= UINT64_C(1) << r % 64;
    }
}

void ag_rows_join(AgRows *rows, const AgRows *other) {
    assert(!other || other->n == rows->n);
    rows->all |= !other || other->all;
    for (size_t w = 0; !rows->all && w < AG_ROWS_WORDS(rows->n); w++)
        rows->used[w] |= other->used[w];
}

/* The first row from r on, before end, that is used or is not; end if there is none. */
static int64_t find(const AgRows *rows, int64_t r, int64_t end, bool used) {
    uint64_t flip = used ? 0 : ~UINT64_C(0);
    while (r < end) {
        uint64_t word = (rows->used[r / 64] ^ flip) >> r % 64;
        if (word) {
            r += __builtin_ctzll(word);
            return r < end ? r : end;
        }
        r = (r / 64 + 1) * 64;
    }
    return end;
}

bool ag_rows_next(const AgRows *rows, const Tensor *grad, int64_t limit, AgSpan *span) {
    int64_t at = span->end;
    if (at >= limit) return false;
    *span = (AgSpan){at, limit};
    if (!rows || rows->all) return true;
    int64_t width = tensor_numel(grad) / rows->n; /* neither is 0: there is an element */
    int64_t end = (limit + width - 1) / width;
    int64_t first = find(rows, at / width, end, true);
    if (first == end) return false;
    int64_t past = find(rows, first, end, false);
    if (first * width > at) span->begin = first * width;
    if (past * width < limit) span->end = past * width;
    return true;
}
