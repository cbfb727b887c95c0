/* Reading and adding by index, of tensor/kernels.h. */
#include <signal.h>

#include "tests/tensor/kernels_check.h"

/* Element x[.., at, ..] of a 3-d tensor, with `at` in place of the index along axis. */
static int64_t moved(const int64_t *shape, int axis, const int64_t *index, int64_t at) {
    int64_t flat = 0;
    for (int d = 0; d < 3; d++) {
        flat = flat * shape[d] + (d == axis ? at : index[d]);
    }
    return flat;
}

static void unflatten(int64_t flat, const int64_t *shape, int64_t *index) {
    for (int d = 2; d >= 0; d--) {
        index[d] = flat % shape[d];
        flat /= shape[d];
    }
}

static const int64_t shapes[][3] = {{4, 5, 6}, {1, 7, 33}, {9, 1, 1}, {2, 3, 40}, {3, 20, 2}};

/* Index entries repeat: there are about twice as many as places. */
static Tensor random_index(TensorArena *a, int64_t n, int64_t places, int layout) {
    Tensor x = random_tensor(a, TENSOR_I64, 1, &n, 0, (double)places);
    return laid_out(a, &x, layout);
}

Test(kernels_index, index_select_copies_slices_of_every_dtype) {
    TensorArena *arena = tensor_arena_new();
    for (int dtype = TENSOR_F32; dtype <= TENSOR_U8; dtype++) {
        for (int s = 0; s < COUNT(shapes); s++) {
            for (int axis = 0; axis < 3; axis++) {
                for (int layout = 0; layout < LAYOUTS; layout++) {
                    const int64_t *shape = shapes[s];
                    int64_t out[3] = {shape[0], shape[1], shape[2]}, at[3];
                    out[axis] = 2 * shape[axis] + 1;
                    Tensor x = random_tensor(arena, (TensorDtype)dtype, 3, shape, 0, 250);
                    Tensor index = random_index(arena, out[axis], shape[axis], layout);
                    Tensor y = fresh(arena, (TensorDtype)dtype, 3, out);
                    Tensor from = laid_out(arena, &x, layout);
                    Tensor to = layout_of(arena, &y, (layout + 1) % LAYOUTS);
                    tensor_index_select(&to, &from, axis - 3 * (layout % 2), &index);
                    for (int64_t i = 0; i < tensor_numel(&y); i++) {
                        unflatten(i, out, at);
                        int64_t k = moved(shape, axis, at, tensor_get_i64(&index, at[axis]));
                        cr_expect(tensor_get(&to, i) == tensor_get(&x, k), "%d %d axis %d", dtype,
                                  s, axis);
                    }
                }
            }
        }
        tensor_arena_reset(arena);
    }
    tensor_arena_free(arena);
}

Test(kernels_index, index_add_adds_repeated_slices_in_order) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_ISA(isa) {
        FOR_EACH_FLOAT(dtype) {
            for (int s = 0; s < COUNT(shapes); s++) {
                for (int axis = 0; axis < 3; axis++) {
                    const int64_t *shape = shapes[s];
                    const int layout = (s + axis) % LAYOUTS;
                    int64_t in[3] = {shape[0], shape[1], shape[2]}, at[3];
                    in[axis] = 2 * shape[axis] + 1;
                    Tensor g = random_tensor(arena, dtype, 3, in, -1, 1);
                    Tensor want = random_tensor(arena, dtype, 3, shape, -1, 1);
                    Tensor index = random_index(arena, in[axis], shape[axis], layout);
                    Tensor from = laid_out(arena, &g, layout), y = laid_out(arena, &want, layout);
                    tensor_index_add(&y, axis, &index, &from);
                    for (int64_t i = 0; i < tensor_numel(&g); i++) {
                        unflatten(i, in, at);
                        int64_t k = moved(shape, axis, at, tensor_get_i64(&index, at[axis]));
                        tensor_set(&want, k, tensor_get(&want, k) + tensor_get(&g, i));
                    }
                    cr_expect_eq(first_difference(&y, &want), -1, "%s shape %d axis %d",
                                 isa_and_dtype(dtype), s, axis);
                }
            }
            tensor_arena_reset(arena);
        }
    }
    tensor_arena_free(arena);
}

Test(kernels_index, gather_reads_one_element_for_each_index) {
    TensorArena *arena = tensor_arena_new();
    for (int dtype = TENSOR_F32; dtype <= TENSOR_U8; dtype++) {
        for (int s = 0; s < COUNT(shapes); s++) {
            for (int axis = 0; axis < 3; axis++) {
                for (int layout = 0; layout < LAYOUTS; layout++) {
                    const int64_t *shape = shapes[s];
                    int64_t out[3], at[3]; /* shorter than x along the other axes */
                    for (int d = 0; d < 3; d++) {
                        out[d] = d == axis ? shape[d] + 2 : (shape[d] + 1) / 2;
                    }
                    Tensor x = random_tensor(arena, (TensorDtype)dtype, 3, shape, 0, 250);
                    Tensor ix = random_tensor(arena, TENSOR_I64, 3, out, 0, (double)shape[axis]);
                    Tensor y = fresh(arena, (TensorDtype)dtype, 3, out);
                    Tensor from = laid_out(arena, &x, layout);
                    Tensor index = laid_out(arena, &ix, (layout + 1) % LAYOUTS);
                    Tensor to = layout_of(arena, &y, (layout + 2) % LAYOUTS);
                    tensor_gather(&to, &from, axis, &index);
                    for (int64_t i = 0; i < tensor_numel(&y); i++) {
                        unflatten(i, out, at);
                        int64_t k = moved(shape, axis, at, tensor_get_i64(&ix, i));
                        cr_expect(tensor_get(&to, i) == tensor_get(&x, k), "%d %d axis %d", dtype,
                                  s, axis);
                    }
                }
            }
        }
        tensor_arena_reset(arena);
    }
    tensor_arena_free(arena);
}

/* Bits are compared: another order of the repeated indices would show. */
Test(kernels_index, scatter_add_adds_in_row_major_order) {
    TensorArena *arena = tensor_arena_new();
    FOR_EACH_FLOAT(dtype) {
        for (int s = 0; s < COUNT(shapes); s++) {
            for (int axis = 0; axis < 3; axis++) {
                for (int layout = 0; layout < LAYOUTS; layout++) {
                    const int64_t *shape = shapes[s];
                    int64_t in[3], at[3];
                    for (int d = 0; d < 3; d++) {
                        in[d] = d == axis ? 4 * shape[d] : (shape[d] + 1) / 2;
                    }
                    Tensor g = random_tensor(arena, dtype, 3, in, -1, 1);
                    Tensor ix = random_tensor(arena, TENSOR_I64, 3, in, 0, (double)shape[axis]);
                    Tensor want = random_tensor(arena, dtype, 3, shape, -1, 1);
                    Tensor y = laid_out(arena, &want, layout);
                    Tensor from = laid_out(arena, &g, (layout + 1) % LAYOUTS);
                    Tensor index = laid_out(arena, &ix, (layout + 2) % LAYOUTS);
                    tensor_scatter_add(&y, axis, &index, &from);
                    for (int64_t i = 0; i < tensor_numel(&g); i++) {
                        unflatten(i, in, at);
                        int64_t k = moved(shape, axis, at, tensor_get_i64(&ix, i));
                        tensor_set(&want, k, tensor_get(&want, k) + tensor_get(&g, i));
                    }
                    cr_expect_eq(first_difference(&y, &want), -1, "%s shape %d axis %d layout %d",
                                 tensor_dtype_name(dtype), s, axis, layout);
                }
            }
        }
        tensor_arena_reset(arena);
    }
    tensor_arena_free(arena);
}

Test(kernels_index, nothing_is_read_or_added_where_there_is_no_index) {
    TensorArena *arena = tensor_arena_new();
    Tensor x = fresh(arena, TENSOR_F32, 2, (int64_t[]){4, 3});
    Tensor none = fresh(arena, TENSOR_I64, 1, (int64_t[]){0});
    Tensor y = fresh(arena, TENSOR_F32, 2, (int64_t[]){0, 3});
    Tensor no_rows = fresh(arena, TENSOR_F32, 2, (int64_t[]){0, 3});
    Tensor no_index = fresh(arena, TENSOR_I64, 2, (int64_t[]){0, 3});
    tensor_fill(&x, 2);
    tensor_index_select(&y, &x, 0, &none);
    tensor_index_select(&y, &no_rows, 0, &none);
    tensor_index_add(&x, 0, &none, &y);
    tensor_gather(&y, &x, 0, &no_index);
    tensor_scatter_add(&x, 0, &no_index, &y);
    for (int64_t i = 0; i < 12; i++) {
        cr_expect(tensor_get(&x, i) == 2);
    }
    tensor_arena_free(arena);
}

Test(kernels_index, the_first_invalid_index_is_found_in_every_layout) {
    const int64_t skip = -1;
    TensorArena *arena = tensor_arena_new();
    for (int layout = 0; layout < LAYOUTS; layout++) {
        Tensor x = random_tensor(arena, TENSOR_I64, 2, (int64_t[]){5, 7}, 0, 10);
        Tensor v = laid_out(arena, &x, layout);
        cr_expect_eq(tensor_index_invalid(&v, 10, NULL), -1);
        tensor_set(&v, 30, 10);
        cr_expect_eq(tensor_index_invalid(&v, 10, NULL), 30);
        cr_expect_eq(tensor_index_invalid(&v, 11, NULL), -1);
        tensor_set(&v, 23, -1);
        cr_expect_eq(tensor_index_invalid(&v, 10, NULL), 23);
        cr_expect_eq(tensor_index_invalid(&v, 10, &skip), 30);
        cr_expect_eq(tensor_index_invalid(&v, 11, &skip), -1);
        tensor_set(&v, 0, (double)INT64_MIN);
        cr_expect_eq(tensor_index_invalid(&v, 11, &skip), 0);
    }
    Tensor none = fresh(arena, TENSOR_I64, 1, (int64_t[]){0});
    Tensor one = fresh(arena, TENSOR_I64, 0, NULL);
    cr_expect_eq(tensor_index_invalid(&none, 0, NULL), -1);
    tensor_fill(&one, 4);
    cr_expect_eq(tensor_index_invalid(&one, 4, NULL), 0);
    cr_expect_eq(tensor_index_invalid(&one, 5, NULL), -1);
    tensor_arena_free(arena);
}

/* More entries than places, so that the two are not taken for one another. */
Test(kernels_index, an_index_out_of_range_is_caught, .signal = SIGABRT) {
    double x[3] = {0}, y[5];
    int64_t index[5] = {0, 1, 2, 3, 0}, five = 5, three = 3;
    Tensor tx = tensor_wrap(x, TENSOR_F64, 1, &three), ty = tensor_wrap(y, TENSOR_F64, 1, &five);
    Tensor ti = tensor_wrap(index, TENSOR_I64, 1, &five);
    tensor_index_select(&ty, &tx, 0, &ti);
}
