/* blocks.h -- one pass over the elements of many arrays, shared by threads.
 *
 * Every array is cut into blocks of TENSOR_BLOCK elements, its last one shorter.  Where the cuts
 * lie depends on sizes only, and what blocks return is joined in their order: the result has the
 * same bits for any number of threads.  No memory is allocated. */
#ifndef TENSOR_BLOCKS_H
#define TENSOR_BLOCKS_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TENSOR_BLOCK 32768 /* some 10 us of work for a loop bound by memory */

/* Elements begin..end-1 of an array; begin is a multiple of TENSOR_BLOCK. */
typedef struct {
    int array;
    int64_t begin, end;
} TensorBlock;

typedef struct {
    int n;                                     /* arrays 0..n-1 */
    int64_t (*size)(int array, void *context); /* in elements; 0: the array is left out */
    /* Works on one block; several run at the same time. */
    double (*run)(const TensorBlock *block, void *context);
    /* Joins what blocks returned, beginning with 0; NULL: the sum. */
    double (*join)(double joined, double next);
    void *context;
} TensorPass;

/* Runs the pass; returns what the blocks' results join to, 0 if there are none. */
double tensor_blocks(const TensorPass *pass);

#ifdef __cplusplus
}
#endif
#endif
