/* Views: what they select, that they copy nothing, and what they refuse. */
#include "tensor/tensor.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <math.h>
#include <string.h>

static double memory[120];
static TensorArena *arena;
static void start(void) {
    arena = tensor_arena_new();
    for (int i = 0; i < 120; i++) memory[i] = i;
}
static void stop(void) { tensor_arena_free(arena); }
TestSuite(tensor, .init = start, .fini = stop);

#define SHAPE(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__}
#define COUNTED(...) tensor_wrap(memory, TENSOR_F64, SHAPE(__VA_ARGS__))

static void expect(Tensor x, const char *want, int line) {
    char got[512];
    tensor_describe(&x, got, sizeof got);
    for (int64_t i = 0; i < tensor_numel(&x); i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), " %g", tensor_get(&x, i));
    cr_expect_str_eq(got, want, "line %d: %s, wants %s", line, got, want);
}
#define EXPECT(x, want) expect(x, want, __LINE__)
#define EXPECT_NIL(x)                                              \
    do {                                                           \
        Tensor nil_ = (x);                                         \
        cr_expect(tensor_is_nil(&nil_), "line %d: a view", __LINE__); \
    } while (0)

Test(tensor, views_select_what_they_say) {
    Tensor x = COUNTED(2, 3), v = COUNTED(3);
    EXPECT(x, "f64[2,3] 0 1 2 3 4 5");
    EXPECT(tensor_transpose(&x, 0, 1), "f64[3,2] 0 3 1 4 2 5");
    EXPECT(tensor_transpose(&x, -1, -1), "f64[2,3] 0 1 2 3 4 5");
    EXPECT(tensor_narrow(&x, -1, 1, 2), "f64[2,2] 1 2 4 5");
    EXPECT(tensor_narrow(&x, 0, 2, 0), "f64[0,3]");
    EXPECT(tensor_select(&x, 0, 1), "f64[3] 3 4 5");
    EXPECT(tensor_select(&v, 0, 2), "f64[] 2");
    EXPECT(tensor_expand(&v, SHAPE(2, 3)), "f64[2,3] 0 1 2 0 1 2");
    EXPECT(tensor_expand(&v, SHAPE(0, 3)), "f64[0,3]");
    EXPECT(tensor_unsqueeze(&x, 1), "f64[2,1,3] 0 1 2 3 4 5");
    EXPECT(tensor_unsqueeze(&x, 2), "f64[2,3,1] 0 1 2 3 4 5");
    Tensor y = COUNTED(2, 3, 2);
    EXPECT(tensor_permute(&y, (int[]){2, 0, 1}), "f64[2,2,3] 0 2 4 6 8 10 1 3 5 7 9 11");
    EXPECT(tensor_permute(&y, (int[]){-1, 0, 1}), "f64[2,2,3] 0 2 4 6 8 10 1 3 5 7 9 11");
}

Test(tensor, slices_follow_python) {
    Tensor x = COUNTED(2, 5), none = COUNTED(0), scalar = COUNTED();
    EXPECT(tensor_slice(&x, 1, 0, INT64_MAX, 2), "f64[2,3] 0 2 4 5 7 9");
    EXPECT(tensor_slice(&x, -1, 1, 4, 2), "f64[2,2] 1 3 6 8");
    EXPECT(tensor_slice(&x, 1, -2, INT64_MAX, 1), "f64[2,2] 3 4 8 9");
    EXPECT(tensor_slice(&x, 1, INT64_MIN, -4, 7), "f64[2,1] 0 5");
    EXPECT(tensor_slice(&x, 1, 0, 5, INT64_MAX), "f64[2,1] 0 5");
    EXPECT(tensor_slice(&x, 1, 4, 2, 1), "f64[2,0]");
    EXPECT(tensor_slice(&x, 0, 7, 9, 1), "f64[0,5]");
    EXPECT(tensor_slice(&none, 0, -1, 3, 2), "f64[0]");
    EXPECT_NIL(tensor_slice(&x, 2, 0, 1, 1));
    EXPECT_NIL(tensor_slice(&x, 0, 0, 1, 0));
    EXPECT_NIL(tensor_slice(&x, 0, 0, 1, -1));
    EXPECT_NIL(tensor_slice(&scalar, 0, 0, 1, 1));
}

Test(tensor, a_flip_runs_backwards_and_a_second_one_forwards) {
    Tensor x = COUNTED(2, 3), none = COUNTED(2, 0), scalar = COUNTED();
    Tensor y = tensor_flip(&x, -1);
    EXPECT(y, "f64[2,3] 2 1 0 5 4 3");
    EXPECT(tensor_flip(&x, 0), "f64[2,3] 3 4 5 0 1 2");
    EXPECT(tensor_flip(&y, 1), "f64[2,3] 0 1 2 3 4 5");
    EXPECT(tensor_narrow(&y, 1, 1, 2), "f64[2,2] 1 0 4 3");
    EXPECT(tensor_slice(&y, 1, 0, 3, 2), "f64[2,2] 2 0 5 3");
    EXPECT(tensor_copy(arena, &y), "f64[2,3] 2 1 0 5 4 3");
    EXPECT(tensor_flip(&none, 1), "f64[2,0]");
    cr_expect(!tensor_is_contiguous(&y) && !tensor_is_overlapping(&y));
    cr_expect_eq(tensor_flip(&none, 1).data, none.data);
    EXPECT_NIL(tensor_flip(&x, 2));
    EXPECT_NIL(tensor_flip(&scalar, 0));
}

Test(tensor, a_scalar_becomes_a_vector_and_nothing_else_does) {
    Tensor scalar = COUNTED(), x = COUNTED(2, 2), nil = tensor_nil();
    EXPECT(tensor_at_least_1d(&scalar), "f64[1] 0");
    EXPECT(tensor_at_least_1d(&x), "f64[2,2] 0 1 2 3");
    EXPECT_NIL(tensor_at_least_1d(&nil));
}

Test(tensor, reshape_is_a_view_where_strides_allow_and_nil_where_not) {
    Tensor x = COUNTED(2, 3, 4), t = tensor_transpose(&x, 0, 1), n = tensor_narrow(&x, 1, 0, 2);
    EXPECT(tensor_reshape(&n, SHAPE(2, 8)), "f64[2,8] 0 1 2 3 4 5 6 7 12 13 14 15 16 17 18 19");
    EXPECT_NIL(tensor_reshape(&n, SHAPE(16)));
    EXPECT_NIL(tensor_reshape(&t, SHAPE(24)));
    EXPECT_NIL(tensor_reshape(&t, SHAPE(3, 8)));
    Tensor cut = tensor_reshape(&t, SHAPE(3, 2, 2, 2));
    cr_expect(!tensor_is_nil(&cut));
    EXPECT_NIL(tensor_reshape(&x, SHAPE(5, 5)));
    EXPECT_NIL(tensor_reshape(&x, SHAPE(-1)));
    Tensor one = COUNTED(1, 1), empty = COUNTED(0, 4);
    EXPECT(tensor_reshape(&one, 0, NULL), "f64[] 0");
    EXPECT(tensor_reshape(&empty, SHAPE(2, 0, 7)), "f64[2,0,7]");
}

/* Every reshape of every permutation of a 3-d tensor agrees with its elements, or is refused. */
Test(tensor, a_reshape_keeps_the_order_of_elements) {
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    Tensor x = COUNTED(4, 3, 10);
    int views = 0;
    for (int o = 0; o < 6; o++) {
        Tensor p = tensor_permute(&x, orders[o]);
        for (int64_t a = 1; a <= 120; a++)
            for (int64_t b = 1; a * b <= 120; b++) {
                if (120 % (a * b)) continue;
                Tensor r = tensor_reshape(&p, SHAPE(a, b, 120 / (a * b)));
                if (tensor_is_nil(&r)) continue;
                views++;
                for (int64_t i = 0; i < 120; i++)
                    cr_assert_eq(tensor_get(&r, i), tensor_get(&p, i));
            }
    }
    cr_assert_gt(views, 100);
}

Test(tensor, views_outside_the_tensor_are_nil) {
    Tensor x = COUNTED(2, 3), scalar = COUNTED(), nil = tensor_nil();
    EXPECT_NIL(tensor_narrow(&x, 2, 0, 1));
    EXPECT_NIL(tensor_narrow(&x, 0, 1, 2));
    EXPECT_NIL(tensor_narrow(&x, 0, -1, 1));
    EXPECT_NIL(tensor_narrow(&x, 0, 1, INT64_MAX));
    EXPECT_NIL(tensor_select(&x, 0, 2));
    EXPECT_NIL(tensor_select(&x, 0, -1));
    EXPECT_NIL(tensor_select(&scalar, 0, 0));
    EXPECT_NIL(tensor_transpose(&x, 0, 2));
    EXPECT_NIL(tensor_permute(&x, (int[]){0, 0}));
    EXPECT_NIL(tensor_permute(&x, (int[]){0, -3}));
    EXPECT_NIL(tensor_expand(&x, SHAPE(3, 3)));
    EXPECT_NIL(tensor_expand(&x, SHAPE(3)));
    EXPECT_NIL(tensor_unsqueeze(&x, 3));
    EXPECT_NIL(tensor_unsqueeze(&x, -1));
    EXPECT_NIL(tensor_narrow(&nil, 0, 0, 0));
    EXPECT_NIL(tensor_select(&nil, 0, 0));
    EXPECT_NIL(tensor_reshape(&nil, 0, NULL));
    EXPECT_NIL(tensor_expand(&nil, 0, NULL));
    EXPECT_NIL(tensor_unsqueeze(&nil, 0));
    EXPECT_NIL(tensor_transpose(&nil, 0, 0));
    EXPECT_NIL(tensor_copy(arena, &nil));
    EXPECT_NIL(tensor_permute(&nil, NULL));
    cr_expect_eq(tensor_numel(&nil), 0);
}

Test(tensor, sizes_that_no_memory_holds_are_nil) {
    EXPECT_NIL(tensor_new(arena, TENSOR_F64, SHAPE(INT64_MAX, 2)));
    EXPECT_NIL(tensor_new(arena, TENSOR_F64, SHAPE(INT64_MAX / 8 + 1)));
    EXPECT_NIL(tensor_new(arena, TENSOR_U8, SHAPE(1LL << 32, 1LL << 32)));
    EXPECT_NIL(tensor_new(arena, TENSOR_F32, SHAPE(-1)));
    EXPECT_NIL(tensor_new(arena, (TensorDtype)7, SHAPE(1)));
    EXPECT_NIL(tensor_new(arena, TENSOR_F32, 9, (int64_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1}));
    EXPECT_NIL(tensor_new(arena, TENSOR_F32, -1, NULL));
    EXPECT_NIL(tensor_wrap(memory, TENSOR_F64, SHAPE(1LL << 40, 1LL << 40)));
    Tensor x = tensor_new(arena, TENSOR_F64, SHAPE(3, 0));
    cr_expect(!tensor_is_nil(&x) && x.data);
}

Test(tensor, knows_why_it_cannot_be_used) {
    Tensor x = COUNTED(2, 3);
    cr_expect_null(tensor_invalid(&x));
    x.data = NULL;
    cr_expect_str_eq(tensor_invalid(&x), "no data");
    x.shape[0] = -2;
    cr_expect_str_eq(tensor_invalid(&x), "negative or too large size");
    x.ndim = 9;
    cr_expect_str_eq(tensor_invalid(&x), "too many axes");
    x.ndim = -1;
    cr_expect_str_eq(tensor_invalid(&x), "nil tensor");
    x.dtype = (TensorDtype)-3;
    cr_expect_str_eq(tensor_invalid(&x), "unknown dtype");
}

Test(tensor, tells_contiguous_and_overlapping_apart) {
    Tensor x = COUNTED(4, 5), t = tensor_transpose(&x, 0, 1), n = tensor_narrow(&x, 1, 0, 1);
    Tensor row = COUNTED(5), e = tensor_expand(&row, SHAPE(4, 5)), s = tensor_select(&x, 1, 2);
    cr_expect(tensor_is_contiguous(&x) && !tensor_is_overlapping(&x));
    cr_expect(!tensor_is_contiguous(&t) && !tensor_is_overlapping(&t));
    cr_expect(!tensor_is_contiguous(&n) && !tensor_is_overlapping(&n));
    cr_expect(!tensor_is_contiguous(&e) && tensor_is_overlapping(&e));
    cr_expect(!tensor_is_contiguous(&s) && !tensor_is_overlapping(&s));
    Tensor sliding = {TENSOR_F64, 2, {4, 3}, {1, 1}, memory};
    cr_expect(tensor_is_overlapping(&sliding));
    Tensor empty = tensor_expand(&row, SHAPE(0, 5));
    cr_expect(tensor_is_contiguous(&empty) && !tensor_is_overlapping(&empty));
}

Test(tensor, broadcasts_by_numpys_rule) {
    const struct {
        Tensor a, b;
        const char *want;
    } cases[] = {
        {COUNTED(2, 3), COUNTED(3), "f64[2,3]"},   {COUNTED(3), COUNTED(2, 1), "f64[2,3]"},
        {COUNTED(), COUNTED(4), "f64[4]"},         {COUNTED(0, 3), COUNTED(1, 3), "f64[0,3]"},
        {COUNTED(2, 1, 3), COUNTED(4, 1), "f64[2,4,3]"}, {COUNTED(2), COUNTED(3), NULL},
        {COUNTED(0), COUNTED(2), NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Tensor y = {.dtype = TENSOR_F64};
        char got[64];
        bool ok = tensor_broadcast_shape(&cases[i].a, &cases[i].b, &y.ndim, y.shape);
        cr_expect_eq(ok, cases[i].want != NULL);
        if (ok) cr_expect_str_eq(tensor_describe(&y, got, sizeof got), cases[i].want);
    }
}

Test(tensor, elements_round_to_the_dtype) {
    int64_t i64 = 0;
    uint8_t u8 = 0;
    float f32 = 0;
    Tensor i = tensor_wrap(&i64, TENSOR_I64, 0, NULL), u = tensor_wrap(&u8, TENSOR_U8, 0, NULL),
           f = tensor_wrap(&f32, TENSOR_F32, 0, NULL);
    const struct {
        double in;
        int64_t out;
    } cases[] = {{-2.7, -2}, {NAN, 0}, {INFINITY, INT64_MAX}, {-INFINITY, INT64_MIN},
                 {1e30, INT64_MAX}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        cr_expect(tensor_set(&i, 0, cases[k].in));
        cr_expect_eq(tensor_get_i64(&i, 0), cases[k].out);
    }
    tensor_set(&u, 0, .25);
    cr_expect_eq(u8, 1);
    tensor_set(&f, 0, .1);
    cr_expect_eq(tensor_get(&f, 0), (double).1f);
    i64 = (1LL << 53) + 1;
    cr_expect_eq(tensor_get_i64(&i, 0), i64);
    cr_expect(isnan(tensor_get(&f, 1)) && tensor_get_i64(&i, -1) == -1 && !tensor_set(&f, 1, 0));
}

Test(tensor, a_copy_is_contiguous_and_apart) {
    Tensor x = COUNTED(2, 3), t = tensor_transpose(&x, 0, 1), c = tensor_copy(arena, &t);
    EXPECT(c, "f64[3,2] 0 3 1 4 2 5");
    cr_expect(tensor_is_contiguous(&c));
    memory[3] = -1;
    cr_expect_eq(tensor_get(&c, 1), 3);
}

Test(tensor, an_axis_counts_from_either_end) {
    Tensor x = COUNTED(2, 3), scalar = COUNTED(), nil = tensor_nil();
    cr_expect_eq(tensor_axis(&x, 1), 1);
    cr_expect_eq(tensor_axis(&x, -1), 1);
    cr_expect_eq(tensor_axis(&x, -2), 0);
    const int outside[] = {2, -3, INT_MAX, INT_MIN};
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(tensor_axis(&x, outside[i]), -1);
        cr_expect_eq(tensor_axis(&nil, outside[i]), -1);
    }
    for (int axis = -1; axis < 1; axis++) {
        cr_expect_eq(tensor_axis(&scalar, axis), -1);
        cr_expect_eq(tensor_axis(&nil, axis), -1);
    }
}

/* Against the addresses themselves.  Where axes interleave the answer may be a cautious true. */
Test(tensor, overlapping_is_never_denied_and_exact_for_nested_axes) {
    for (int64_t m = 1; m < 4; m++)
        for (int64_t n = 1; n < 4; n++)
            for (int64_t r = -8; r <= 8; r++)
                for (int64_t s = -8; s <= 8; s++) {
                    int hits[65] = {0};
                    bool twice = false;
                    for (int64_t i = 0; i < m * n; i++)
                        twice |= hits[32 + i / n * r + i % n * s]++ > 0;
                    Tensor x = {TENSOR_F64, 2, {m, n}, {r, s}, memory};
                    int64_t p = r < 0 ? -r : r, q = s < 0 ? -s : s;
                    bool nested = p >= (n - 1) * q + 1 || q >= (m - 1) * p + 1;
                    bool says = tensor_is_overlapping(&x);
                    cr_assert(says || !twice);
                    if (nested) cr_assert_eq(says, twice);
                }
}
