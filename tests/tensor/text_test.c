/* Tensors as text. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tensor.h"

static void expect(Tensor x, const char *want) {
    char text[2048], *streamed = NULL;
    size_t n = 0;
    int length = tensor_format(&x, text, sizeof text);
    cr_expect_str_eq(text, want);
    cr_expect_eq(length, (int)strlen(want));
    cr_expect_eq(tensor_format(&x, NULL, 0), length);
    FILE *file = open_memstream(&streamed, &n);
    cr_expect(tensor_write(file, &x));
    fclose(file);
    cr_expect_str_eq(streamed, want);
    free(streamed);
}

Test(text, shows_values_nested_by_axis) {
    float f[] = {1, -2.5f, NAN, INFINITY, 1e-9f, 1234567};
    int64_t i[] = {INT64_MAX, -1};
    uint8_t u[] = {0, 1};
    expect(tensor_wrap(f, TENSOR_F32, 2, (int64_t[]){2, 3}),
           "f32[2,3]\n[[1, -2.5, nan],\n [inf, 1e-09, 1.23457e+06]]");
    expect(tensor_wrap(i, TENSOR_I64, 1, (int64_t[]){2}), "i64[2] [9223372036854775807, -1]");
    expect(tensor_wrap(u, TENSOR_U8, 1, (int64_t[]){2}), "u8[2] [0, 1]");
    expect(tensor_wrap(f, TENSOR_F32, 0, NULL), "f32[] 1");
    expect(tensor_wrap(f, TENSOR_F32, 2, (int64_t[]){2, 0}), "f32[2,0]\n[[],\n []]");
    expect(tensor_wrap(f, TENSOR_F32, 3, (int64_t[]){2, 1, 2}),
           "f32[2,1,2]\n[[[1, -2.5]],\n [[nan, inf]]]");
    f[0] = -(float)NAN;
    expect(tensor_wrap(f, TENSOR_F32, 0, NULL), "f32[] nan");
    expect(tensor_nil(), "nil");
    expect(tensor_wrap(NULL, TENSOR_F32, 1, (int64_t[]){2}), "f32[2] (no data)");
    expect((Tensor){.dtype = TENSOR_F32, .ndim = 99}, "f32[99 axes] (too many axes)");
}

Test(text, elides_long_axes) {
    double x[10000];
    for (int i = 0; i < 10000; i++) x[i] = i;
    expect(tensor_wrap(x, TENSOR_F64, 1, (int64_t[]){10000}),
           "f64[10000] [0, 1, 2, ..., 9997, 9998, 9999]");
    char text[512];
    Tensor square = tensor_wrap(x, TENSOR_F64, 2, (int64_t[]){100, 100});
    cr_expect_lt(tensor_format(&square, text, sizeof text), 400);
    cr_expect(strstr(text, "...,\n [9700, 9701, 9702, ..., 9797, 9798, 9799]"), "%s", text);
}

Test(text, is_cut_off_like_snprintf) {
    double x[] = {1, 2, 3};
    char text[9], shape[5];
    Tensor v = tensor_wrap(x, TENSOR_F64, 1, (int64_t[]){3});
    cr_expect_eq(tensor_format(&v, text, sizeof text), 16);
    cr_expect_str_eq(text, "f64[3] [");
    cr_expect_str_eq(tensor_describe(&v, shape, sizeof shape), "f64[");
}

Test(text, every_shape_fits_the_size_given_for_it) {
    Tensor v = {.dtype = TENSOR_F32, .ndim = TENSOR_MAX_DIMS};
    for (int d = 0; d < TENSOR_MAX_DIMS; d++) v.shape[d] = INT64_MIN;
    char text[TENSOR_DESCRIBE_SIZE + 100];
    cr_expect_lt(strlen(tensor_describe(&v, text, sizeof text)), (size_t)TENSOR_DESCRIBE_SIZE);
}

Test(text, a_stream_that_fails_is_reported) {
    FILE *full = fopen("/dev/full", "w");
    if (!full) return;
    setvbuf(full, NULL, _IONBF, 0);
    double x = 1;
    Tensor v = tensor_wrap(&x, TENSOR_F64, 0, NULL);
    cr_expect(!tensor_write(full, &v));
    fclose(full);
}
