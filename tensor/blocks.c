/* blocks.c -- see blocks.h. */
#include "tensor/blocks.h"

#include <stdbool.h>

#include "tensor/parallel.h"

enum { ROUND = 256 }; /* blocks handed out together: their results live on the stack */

typedef struct {
    const TensorPass *pass;
    int n;
    int64_t elements;
    TensorBlock block[ROUND];
    double result[ROUND];
} Round;

/* The blocks that follow *next, which moves on; false if there are none. */
static bool fill(Round *r, TensorBlock *next) {
    const TensorPass *pass = r->pass;
    r->n = 0;
    r->elements = 0;
    while (next->array < pass->n && r->n < ROUND) {
        int64_t size = pass->size(next->array, pass->context);
        while (next->begin < size && r->n < ROUND) {
            int64_t left = size - next->begin;
            next->end = next->begin + (left < TENSOR_BLOCK ? left : TENSOR_BLOCK);
            r->elements += next->end - next->begin;
            r->block[r->n++] = *next;
            next->begin = next->end;
        }
        if (next->begin >= size) *next = (TensorBlock){.array = next->array + 1};
    }
    return r->n > 0;
}

static void run_range(int64_t begin, int64_t end, void *context) {
    Round *r = context;
    for (int64_t i = begin; i < end; i++)
        r->result[i] = r->pass->run(&r->block[i], r->pass->context);
}

double tensor_blocks(const TensorPass *pass) {
    Round r;
    r.pass = pass;
    TensorBlock next = {0, 0, 0};
    double joined = 0;
    while (fill(&r, &next)) {
        /* Many small arrays are not worth the threads. */
        tensor_parallel(r.n, r.elements <= TENSOR_BLOCK ? r.n : 1, run_range, &r);
        for (int i = 0; i < r.n; i++)
            joined = pass->join ? pass->join(joined, r.result[i]) : joined + r.result[i];
    }
    return joined;
}
