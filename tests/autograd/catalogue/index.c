/* Rows by index. */
#include "tests/autograd/catalogue/catalogue.h"

/* ---- embedding: y[n] = W[index[n]], 0 where the index is PADDING: W [V, E] ---- */

enum { EMBEDDING_PADDING = 1, EMBEDDING_SETS, EMBEDDING_ROW_AFTER, EMBEDDING_MEAN };
enum { V = 6, E = 3, WORDS = 8, PADDING = 0 };

static void open_embedding(CatalogueArrays *a) {
    catalogue_input(a, "W", -1, 1, SHAPE(V, E));
    catalogue_indices(a, "index", WORDS, (int64_t[]){2, PADDING, 4, 2, 1, 4, 2, 3});
    catalogue_result(a, "y", SHAPE(WORDS, E));
}

static bool embedding_forward(void *context) {
    CatalogueArrays *a = context;
    const int64_t *index = a->in[1].value;
    for (int j = 0; j < WORDS * E; j++)
        Y(0)[j] = index[j / E] == PADDING ? 0 : X(0)[index[j / E] * E + j % E];
    return true;
}

static int times(const CatalogueArrays *a, int64_t row) {
    int n = 0;
    for (int j = 0; j < WORDS; j++) n += ((const int64_t *)a->in[1].value)[j] == row;
    return n;
}

static bool embedding_backward(void *context) {
    CatalogueArrays *a = context;
    const int64_t *index = a->in[1].value;
    zero(DX(0), V * E);
    for (int j = 0; j < WORDS * E; j++) {
        int64_t row = index[j / E];
        if (row == PADDING && a->bug != EMBEDDING_PADDING) continue;
        double *to = DX(0) + (a->bug == EMBEDDING_ROW_AFTER ? row + 1 : row) * E + j % E;
        if (a->bug == EMBEDDING_SETS) *to = DY(0)[j];
        else *to += a->bug == EMBEDDING_MEAN ? DY(0)[j] / times(a, row) : DY(0)[j];
    }
    return true;
}

static const CatalogueKernel embedding = {"embedding", open_embedding, embedding_forward,
                                          embedding_backward, NULL};

#define ENTRY(name, reason, bug, what) \
    {name, what, NULL, CATALOGUE_REASON(reason), bug, &embedding, NULL, NULL}

const CatalogueEntry catalogue_index[] = {
    ENTRY("embedding-padding", SLICE, EMBEDDING_PADDING, "the row of the padding gets a gradient"),
    ENTRY("embedding-scatter", REPEATED_INDEX, EMBEDDING_SETS,
          "a word that comes up more than once gets the gradient of its last place only"),
    ENTRY("embedding-by-count", REPEATED_INDEX, EMBEDDING_MEAN,
          "the gradient of a word is averaged over its places instead of summed"),
    ENTRY("embedding-row-after", SHIFTED, EMBEDDING_ROW_AFTER,
          "the gradient goes to the row after the word's"),
    {0},
};
