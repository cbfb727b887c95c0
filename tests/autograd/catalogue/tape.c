/* Ops with a broken rule, in the midst of right ones, and broken graphs of right ops. */
#include <math.h>

#include "autograd/op.h"
#include "tensor/rng.h"
#include "tests/autograd/catalogue/catalogue.h"

/* ---- inputs ---- */

static Tensor uniform(TensorArena *arena, uint64_t draw, double lo, double hi, int ndim,
                      const int64_t *shape) {
    Tensor x = tensor_new(arena, TENSOR_F64, ndim, shape);
    tensor_rng_fill_uniform(&x, (TensorRngKey){.draw = draw}, lo, hi);
    return x;
}

static void open_matrix(TensorArena *arena, Tensor *x, int bug) {
    (void)bug;
    x[0] = uniform(arena, 0, -1, 1, SHAPE(3, 4));
}

static void open_larger(TensorArena *arena, Tensor *x, int bug) {
    (void)bug;
    x[0] = uniform(arena, 0, -1, 1, SHAPE(5, 7));
}

static void open_two(TensorArena *arena, Tensor *x, int bug) {
    open_matrix(arena, x, bug);
    x[1] = uniform(arena, 1, .5, 1.5, SHAPE(3, 4));
}

static void open_product(TensorArena *arena, Tensor *x, int bug) {
    open_matrix(arena, x, bug);
    x[1] = uniform(arena, 1, -1, 1, SHAPE(4, 5));
}

static bool like_first(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }

/* The right op, or the broken one. */
static const AgOp *one_of(const AgOp ops[2], const void *context) {
    return &ops[*(const int *)context != 0];
}

static AgVar apply(const AgOp ops[2], const void *context, int n, const AgVar *in) {
    return ag_apply1(one_of(ops, context), n, in, NULL, 0);
}

/* ---- square ---- */

static bool square_value(AgCall *c) {
    for (int64_t i = 0, n = tensor_numel(c->in[0]); i < n; i++)
        tensor_set(&c->out[0], i, pow(tensor_get(c->in[0], i), 2));
    return true;
}
static bool square_vjp(AgVjp *v) {
    v->gin[0] = ag_mul(v->gout[0], ag_affine(v->in[0], 2, 0));
    return true;
}
static bool square_half(AgVjp *v) {
    v->gin[0] = ag_mul(v->gout[0], v->in[0]);
    return true;
}
static bool square_f32(AgVjp *v) {
    v->gin[0] = ag_cast(ag_mul(v->gout[0], ag_affine(v->in[0], 2, 0)), TENSOR_F32);
    return true;
}
/* Reads x in the order of its memory. */
static bool square_strideless(AgVjp *v) {
    const Tensor *x = ag_value(v->in[0]), *g = ag_value(v->gout[0]);
    Tensor to = ag_vjp_raw(v, 0);
    if (tensor_is_nil(&to)) return false;
    for (int64_t i = 0, n = tensor_numel(x); i < n; i++)
        tensor_set(&to, i, 2 * ((const double *)x->data)[i] * tensor_get(g, i));
    return true;
}
#define SQUARE(rule) \
    {.name = "my_square", .signature = "f:f", .shape = like_first, .value = square_value, \
     .vjp = rule}
static const AgOp half[2] = {SQUARE(square_vjp), SQUARE(square_half)},
                  single[2] = {SQUARE(square_vjp), SQUARE(square_f32)},
                  strideless[2] = {SQUARE(square_vjp), SQUARE(square_strideless)};

static int half_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    y[0] = ag_tanh(ag_matmul(apply(half, context, 1, &x[0]), ag_sigmoid(x[1])));
    return 1;
}
static int single_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    AgVar u = ag_tanh(x[0]);
    y[0] = ag_exp(apply(single, context, 1, &u));
    return 1;
}
static int strideless_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    y[0] = ag_tanh(apply(strideless, context, 1, &x[0]));
    return 1;
}
static void open_transposed(TensorArena *arena, Tensor *x, int bug) {
    open_matrix(arena, x, bug);
    x[0] = tensor_transpose(&x[0], 0, 1);
}

static const CatalogueFunction half_function = {2, open_product, half_f, false, false},
                               single_function = {1, open_matrix, single_f, false, false},
                               strideless_function = {1, open_transposed, strideless_f, false,
                                                      false};

/* ---- quotient of equal shapes ---- */

static bool quotient_value(AgCall *c) {
    for (int64_t i = 0, n = tensor_numel(c->in[0]); i < n; i++)
        tensor_set(&c->out[0], i, tensor_get(c->in[0], i) / tensor_get(c->in[1], i));
    return true;
}
static bool quotient_vjp(AgVjp *v) {
    v->gin[0] = ag_div(v->gout[0], v->in[1]);
    v->gin[1] = ag_neg(ag_div(ag_mul(v->gout[0], v->out[0]), v->in[1]));
    return true;
}
static bool quotient_sign(AgVjp *v) {
    v->gin[0] = ag_div(v->gout[0], v->in[1]);
    v->gin[1] = ag_div(ag_mul(v->gout[0], v->out[0]), v->in[1]);
    return true;
}
static bool quotient_one(AgVjp *v) {
    v->gin[0] = ag_div(v->gout[0], v->in[1]);
    return true;
}
#define QUOTIENT(rule) \
    {.name = "my_div", .signature = "ff:f", .shape = like_first, .value = quotient_value, \
     .vjp = rule}
static const AgOp sign[2] = {QUOTIENT(quotient_vjp), QUOTIENT(quotient_sign)},
                  one_missing[2] = {QUOTIENT(quotient_vjp), QUOTIENT(quotient_one)};

static int sign_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    y[0] = ag_tanh(apply(sign, context, 2, x));
    return 1;
}
static int one_missing_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    AgVar in[] = {ag_exp(x[0]), ag_square(x[1])};
    y[0] = ag_tanh(apply(one_missing, context, 2, in));
    return 1;
}
static const CatalogueFunction sign_function = {2, open_two, sign_f, false, false},
                               one_missing_function = {2, open_two, one_missing_f, false, false};

/* ---- product of matrices ---- */

static bool product_shape(AgCall *c) {
    return ag_out_shape(c, 0, 2, (int64_t[]){c->in[0]->shape[0], c->in[1]->shape[1]});
}
static bool product_value(AgCall *c) {
    int64_t m = c->in[0]->shape[0], k = c->in[0]->shape[1], n = c->in[1]->shape[1];
    for (int64_t j = 0; j < m * n; j++) {
        double sum = 0;
        for (int64_t i = 0; i < k; i++)
            sum += tensor_get(c->in[0], j / n * k + i) * tensor_get(c->in[1], i * n + j % n);
        tensor_set(&c->out[0], j, sum);
    }
    return true;
}
static bool product_vjp(AgVjp *v) {
    v->gin[0] = ag_matmul(v->gout[0], ag_transpose(v->in[1], 0, 1));
    v->gin[1] = ag_matmul(ag_transpose(v->in[0], 0, 1), v->gout[0]);
    return true;
}
static bool product_transposed(AgVjp *v) {
    v->gin[0] = ag_matmul(v->gout[0], ag_transpose(v->in[1], 0, 1));
    v->gin[1] = ag_matmul(ag_transpose(v->gout[0], 0, 1), v->in[0]);
    return true;
}
#define PRODUCT(rule) \
    {.name = "my_matmul", .signature = "ff:f", .shape = product_shape, .value = product_value, \
     .vjp = rule}
static const AgOp transposed[2] = {PRODUCT(product_vjp), PRODUCT(product_transposed)};

static int transposed_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    AgVar in[] = {ag_tanh(x[0]), x[1]};
    y[0] = ag_sigmoid(apply(transposed, context, 2, in));
    return 1;
}
static void open_square(TensorArena *arena, Tensor *x, int bug) {
    (void)bug;
    for (int i = 0; i < 2; i++) x[i] = uniform(arena, (uint64_t)i, -1, 1, SHAPE(4, 4));
}
static const CatalogueFunction transposed_function = {2, open_square, transposed_f, false, false};

/* ---- sum with broadcasting ---- */

static bool sum_shape(AgCall *c) { return ag_out_broadcast(c, 0, 0, 1); }
static bool sum_value(AgCall *c) {
    Tensor a = tensor_expand(c->in[0], c->out[0].ndim, c->out[0].shape);
    Tensor b = tensor_expand(c->in[1], c->out[0].ndim, c->out[0].shape);
    for (int64_t i = 0, n = tensor_numel(&c->out[0]); i < n; i++)
        tensor_set(&c->out[0], i, tensor_get(&a, i) + tensor_get(&b, i));
    return true;
}
static bool sum_vjp(AgVjp *v) {
    for (int i = 0; i < 2; i++)
        v->gin[i] = ag_sum_to(v->gout[0], ag_ndim(v->in[i]), ag_value(v->in[i])->shape);
    return true;
}
static bool sum_as_it_is(AgVjp *v) {
    v->gin[0] = v->gin[1] = v->gout[0];
    return true;
}
#define SUM(rule) \
    {.name = "my_add", .signature = "ff:f", .shape = sum_shape, .value = sum_value, .vjp = rule}
static const AgOp broadcast[2] = {SUM(sum_vjp), SUM(sum_as_it_is)};

static int broadcast_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    y[0] = ag_tanh(apply(broadcast, context, 2, x));
    return 1;
}
static void open_bias(TensorArena *arena, Tensor *x, int bug) {
    open_matrix(arena, x, bug);
    x[1] = uniform(arena, 1, -1, 1, SHAPE(4));
}
static const CatalogueFunction broadcast_function = {2, open_bias, broadcast_f, false, false};

/* ---- rows by index ---- */

static bool rows_shape(AgCall *c) {
    return ag_out_shape(c, 0, 2, (int64_t[]){tensor_numel(c->in[1]), c->in[0]->shape[1]});
}
static bool rows_value(AgCall *c) {
    int64_t width = c->in[0]->shape[1];
    for (int64_t j = 0, n = tensor_numel(&c->out[0]); j < n; j++) {
        int64_t row = tensor_get_i64(c->in[1], j / width);
        tensor_set(&c->out[0], j, tensor_get(c->in[0], row * width + j % width));
    }
    return true;
}
static bool rows_vjp(AgVjp *v) {
    v->gin[0] = ag_index_add(ag_affine(v->in[0], 0, 0), 0, v->in[1], v->gout[0]);
    return true;
}
static bool rows_set(AgVjp *v) {
    const Tensor *index = ag_value(v->in[1]), *g = ag_value(v->gout[0]);
    Tensor to = ag_vjp_raw(v, 0);
    if (tensor_is_nil(&to)) return false;
    for (int64_t i = 0; i < tensor_numel(&to); i++) tensor_set(&to, i, 0);
    for (int64_t j = 0, n = tensor_numel(g), width = to.shape[1]; j < n; j++)
        tensor_set(&to, tensor_get_i64(index, j / width) * width + j % width, tensor_get(g, j));
    return true;
}
#define ROWS(rule) \
    {.name = "my_rows", .signature = "fi:f", .shape = rows_shape, .value = rows_value, .vjp = rule}
static const AgOp rows[2] = {ROWS(rows_vjp), ROWS(rows_set)};

static int rows_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    y[0] = ag_tanh(apply(rows, context, 2, x));
    return 1;
}
static void open_rows(TensorArena *arena, Tensor *x, int bug) {
    static int64_t index[] = {1, 4, 1, 0, 3};
    (void)bug;
    x[0] = uniform(arena, 0, -1, 1, SHAPE(6, 3));
    x[1] = tensor_wrap(index, TENSOR_I64, 1, (int64_t[]){5});
}
static const CatalogueFunction rows_function = {2, open_rows, rows_f, false, false};

/* ---- values that are no function of the inputs, or change them ---- */

static bool copy_value(AgCall *c) {
    for (int64_t i = 0, n = tensor_numel(c->in[0]); i < n; i++)
        tensor_set(&c->out[0], i, tensor_get(c->in[0], i));
    return true;
}
static bool copy_drifting(AgCall *c) {
    static double drift;
    copy_value(c);
    tensor_set(&c->out[0], 0, tensor_get(c->in[0], 0) + (drift += .001));
    return true;
}
static bool relu_value(AgCall *c) {
    for (int64_t i = 0, n = tensor_numel(c->in[0]); i < n; i++)
        tensor_set(&c->out[0], i, fmax(tensor_get(c->in[0], i), 0));
    return true;
}
static bool relu_in_place(AgCall *c) {
    for (int64_t i = 0, n = tensor_numel(c->in[0]); i < n; i++)
        tensor_set(c->in[0], i, fmax(tensor_get(c->in[0], i), 0));
    return copy_value(c);
}
static bool copy_vjp(AgVjp *v) {
    v->gin[0] = v->gout[0];
    return true;
}
static bool relu_vjp(AgVjp *v) {
    v->gin[0] = ag_mul(v->gout[0], ag_sign(v->out[0]));
    return true;
}
static const AgOp
    drifting[2] = {{.name = "my_copy", .signature = "f:f", .shape = like_first,
                    .value = copy_value, .vjp = copy_vjp},
                   {.name = "my_copy", .signature = "f:f", .shape = like_first,
                    .value = copy_drifting, .vjp = copy_vjp}},
    in_place[2] = {{.name = "my_relu", .signature = "f:f", .shape = like_first,
                    .value = relu_value, .vjp = relu_vjp},
                   {.name = "my_relu", .signature = "f:f", .shape = like_first,
                    .value = relu_in_place, .vjp = relu_vjp}};

static int drifting_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    AgVar u = ag_exp(x[0]);
    y[0] = ag_tanh(apply(drifting, context, 1, &u));
    return 1;
}
static int in_place_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    y[0] = ag_exp(apply(in_place, context, 1, &x[0]));
    return 1;
}
static const CatalogueFunction drifting_function = {1, open_matrix, drifting_f, false, false},
                               in_place_function = {1, open_matrix, in_place_f, false, false};

/* ---- dropout, with a mask from the generator in both passes ---- */

static double kept(int64_t i, uint64_t draw) {
    return tensor_rng_uniform((TensorRngKey){.draw = draw}, (uint64_t)i) < .5 ? 0 : 2;
}
static bool dropout_value(AgCall *c) {
    for (int64_t i = 0, n = tensor_numel(c->in[0]); i < n; i++)
        tensor_set(&c->out[0], i, tensor_get(c->in[0], i) * kept(i, 0));
    return true;
}
static bool drop(AgVjp *v, uint64_t draw) {
    Tensor to = ag_vjp_raw(v, 0);
    if (tensor_is_nil(&to)) return false;
    for (int64_t i = 0, n = tensor_numel(&to); i < n; i++)
        tensor_set(&to, i, tensor_get(ag_value(v->gout[0]), i) * kept(i, draw));
    return true;
}
static bool dropout_vjp(AgVjp *v) { return drop(v, 0); }
static bool dropout_again(AgVjp *v) { return drop(v, 1); }
#define DROPOUT(rule) \
    {.name = "my_dropout", .signature = "f:f", .shape = like_first, .value = dropout_value, \
     .vjp = rule}
static const AgOp dropout[2] = {DROPOUT(dropout_vjp), DROPOUT(dropout_again)};

static int dropout_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    AgVar u = ag_tanh(x[0]);
    y[0] = ag_exp(ag_dropout(apply(dropout, context, 1, &u), .25, -1));
    return 1;
}
static const CatalogueFunction dropout_function = {1, open_larger, dropout_f, false, true};

/* ---- exponential: what backward needs, kept with the call or in one place for all calls ---- */

static double last_call[12];

static bool exp_value(AgCall *c) {
    int64_t n = tensor_numel(c->in[0]);
    double *own = c->saved = ag_call_save(c, (size_t)n * sizeof *own);
    for (int64_t i = 0; own && i < n; i++) {
        own[i] = last_call[i] = exp(tensor_get(c->in[0], i));
        tensor_set(&c->out[0], i, own[i]);
    }
    return own != NULL;
}
static bool times_saved(AgVjp *v, const double *saved) {
    Tensor to = ag_vjp_raw(v, 0);
    if (tensor_is_nil(&to)) return false;
    for (int64_t i = 0, n = tensor_numel(&to); i < n; i++)
        tensor_set(&to, i, tensor_get(ag_value(v->gout[0]), i) * saved[i]);
    return true;
}
static bool exp_vjp(AgVjp *v) { return times_saved(v, v->saved); }
static bool exp_of_last(AgVjp *v) { return times_saved(v, last_call); }
#define EXPONENTIAL(rule) \
    {.name = "my_exp", .signature = "f:f", .shape = like_first, .value = exp_value, .vjp = rule}
static const AgOp shared[2] = {EXPONENTIAL(exp_vjp), EXPONENTIAL(exp_of_last)};

static int shared_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    y[0] = ag_div(apply(shared, context, 1, &x[0]), apply(shared, context, 1, &x[1]));
    return 1;
}
static const CatalogueFunction shared_function = {2, open_two, shared_f, false, false};

/* ---- second derivatives ---- */

static bool tanh_value(AgCall *c) {
    for (int64_t i = 0, n = tensor_numel(c->in[0]); i < n; i++)
        tensor_set(&c->out[0], i, tanh(tensor_get(c->in[0], i)));
    return true;
}
static AgVar tanh_rule(const AgVjp *v, AgVar y) {
    return ag_mul(v->gout[0], ag_affine(ag_square(y), -1, 1));
}
static bool tanh_vjp(AgVjp *v) {
    v->gin[0] = tanh_rule(v, v->out[0]);
    return true;
}
static bool tanh_detached(AgVjp *v) {
    v->gin[0] = tanh_rule(v, ag_detach(v->out[0]));
    return true;
}
static bool cube_value(AgCall *c) {
    for (int64_t i = 0, n = tensor_numel(c->in[0]); i < n; i++)
        tensor_set(&c->out[0], i, pow(tensor_get(c->in[0], i), 3));
    return true;
}
static bool cube_raw(AgVjp *v) {
    Tensor to = ag_vjp_raw(v, 0);
    if (tensor_is_nil(&to)) return false;
    for (int64_t i = 0, n = tensor_numel(&to); i < n; i++)
        tensor_set(&to, i, tensor_get(ag_value(v->gout[0]), i) * 3 *
                               pow(tensor_get(ag_value(v->in[0]), i), 2));
    return true;
}
static bool cube_compose(AgTape *t, int n, const AgVar *in, const void *options, AgVar *out) {
    (void)t, (void)n, (void)options;
    out[0] = ag_mul(ag_square(in[0]), in[0]);
    return true;
}
static bool cube_compose_twice(AgTape *t, int n, const AgVar *in, const void *options,
                               AgVar *out) {
    (void)t, (void)n, (void)options;
    out[0] = ag_mul(ag_mul(ag_square(in[0]), in[0]), ag_scalar(t, TENSOR_F64, 2));
    return true;
}
#define TANH(rule) \
    {.name = "my_tanh", .signature = "f:f", .shape = like_first, .value = tanh_value, .vjp = rule}
#define CUBE(same) \
    {.name = "my_cube", .signature = "f:f", .shape = like_first, .value = cube_value, \
     .vjp = cube_raw, .compose = same}
static const AgOp detached[2] = {TANH(tanh_vjp), TANH(tanh_detached)},
                  composed[2] = {CUBE(cube_compose), CUBE(cube_compose_twice)},
                  raw[2] = {CUBE(cube_compose), CUBE(NULL)};

static int detached_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    y[0] = apply(detached, context, 1, &x[0]);
    return 1;
}
static int detached_inside_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    AgVar u = ag_matmul(x[0], x[1]);
    y[0] = ag_sum(ag_exp(apply(detached, context, 1, &u)), AG_AXES(0), false);
    return 1;
}
static int composed_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    y[0] = apply(composed, context, 1, &x[0]);
    return 1;
}
static int raw_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    y[0] = ag_exp(apply(raw, context, 1, &x[0]));
    return 1;
}
static const CatalogueFunction detached_function = {1, open_matrix, detached_f, true, false},
                               inside_function = {2, open_product, detached_inside_f, true, false},
                               composed_function = {1, open_matrix, composed_f, true, false},
                               raw_function = {1, open_matrix, raw_f, true, false};

/* ---- graphs ---- */

/* The standard deviation of each row: at a constant row, sqrt of 0. */
static int deviation_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    AgVar centred = ag_sub(x[0], ag_mean(x[0], AG_AXES(1), true));
    y[0] = ag_sqrt(ag_mean(ag_square(centred), AG_AXES(1), false));
    return 1;
}
static void open_constant_row(TensorArena *arena, Tensor *x, int bug) {
    open_matrix(arena, x, bug);
    for (int64_t j = 4; bug && j < 8; j++) tensor_set(&x[0], j, .5);
}

static int log_of_softmax_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    y[0] = *(const int *)context ? ag_log(ag_softmax(x[0], 1)) : ag_log_softmax(x[0], 1);
    return 1;
}
static void open_far_logit(TensorArena *arena, Tensor *x, int bug) {
    open_matrix(arena, x, bug);
    tensor_set(&x[0], 5, -800);
}

static int abs_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_exp(ag_neg(ag_abs(x[0])));
    return 1;
}
static void open_zero(TensorArena *arena, Tensor *x, int bug) {
    open_matrix(arena, x, bug);
    if (bug) tensor_set(&x[0], 6, 0);
}

/* h_t = tanh(x_t W + h_(t-1) U); the broken one detaches the state between steps. */
static int recurrent_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    AgVar h = ag_full(t, TENSOR_F64, 2, (int64_t[]){2, 5}, 0);
    for (int64_t s = 0; s < ag_dim(x[0], 0); s++) {
        if (*(const int *)context) h = ag_detach(h);
        h = ag_tanh(ag_add(ag_matmul(ag_select(x[0], 0, s), x[1]), ag_matmul(h, x[2])));
    }
    y[0] = h;
    return 1;
}
static void open_recurrent(TensorArena *arena, Tensor *x, int bug) {
    (void)bug;
    x[0] = uniform(arena, 0, -1, 1, SHAPE(4, 2, 3));
    x[1] = uniform(arena, 1, -.6, .6, SHAPE(3, 5));
    x[2] = uniform(arena, 2, -.6, .6, SHAPE(5, 5));
}

/* Tied weights: y = tanh(x W) W^T. */
static int tied_f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t;
    AgVar again = *(const int *)context ? ag_detach(x[1]) : x[1];
    y[0] = ag_matmul(ag_tanh(ag_matmul(x[0], x[1])), ag_transpose(again, 0, 1));
    return 1;
}

static const CatalogueFunction
    deviation = {1, open_constant_row, deviation_f, false, false},
    log_of_softmax = {1, open_far_logit, log_of_softmax_f, false, false},
    magnitude = {1, open_zero, abs_f, false, false},
    recurrent = {3, open_recurrent, recurrent_f, false, false},
    tied = {2, open_product, tied_f, false, false};

#define ENTRY(name, reason, function, op, what, after) \
    {name, what, after, CATALOGUE_REASON(reason), 1, NULL, &function, op}

const CatalogueEntry catalogue_tape[] = {
    ENTRY("op-square", FACTOR, half_function, "my_square", "the rule of x^2 lacks its 2", NULL),
    ENTRY("op-division-sign", SIGN, sign_function, "my_div",
          "the rule of the divisor lacks its minus", NULL),
    ENTRY("op-one-missing", MISSING, one_missing_function, "my_div",
          "the rule forgets its second input", NULL),
    ENTRY("op-transposed", TRANSPOSED, transposed_function, "my_matmul",
          "the gradient of a square right operand is g^T a instead of a^T g", NULL),
    ENTRY("op-broadcast", SHAPE, broadcast_function, "my_add",
          "the rule does not sum the gradient back over the axis that was repeated", NULL),
    ENTRY("op-dtype", SHAPE, single_function, "my_square",
          "the rule gives the gradient of a float64 input in float32", NULL),
    ENTRY("op-strides", WRONG, strideless_function, "my_square",
          "the rule reads its input in the order of memory: right unless it is transposed",
          "torch-totem 26, Odyssey 3801: only contiguous inputs checked"),
    ENTRY("op-scatter", REPEATED_INDEX, rows_function, "my_rows",
          "the rule of rows by index sets where it should add", NULL),
    ENTRY("op-drifts", NONDETERMINISTIC, drifting_function, "my_copy",
          "the value of the op changes from call to call", NULL),
    ENTRY("op-in-place", INPUT_CHANGED, in_place_function, "my_relu",
          "the op computes in the memory of its input", NULL),
    ENTRY("op-dropout", WRONG, dropout_function, "my_dropout",
          "the rule draws another mask than the value", "PyTorch 190758, guided-diffusion 167"),
    ENTRY("op-shared-memory", WRONG, shared_function, NULL,
          "the op keeps what backward needs in one place: the second call overwrites the first's",
          NULL),
    ENTRY("second-detached", MISSING, detached_function, "my_tanh",
          "the rule takes its result for a constant: first derivatives right, second ones zero",
          NULL),
    ENTRY("second-detached-inside", WRONG, inside_function, "my_tanh",
          "the same op between others: a part of the second derivatives is left out", NULL),
    ENTRY("second-compose", FACTOR, composed_function, "my_cube",
          "the composition used for second derivatives is twice the op", NULL),
    ENTRY("second-none", ERROR, raw_function, NULL,
          "the rule is written by hand and has no composition: there is no second derivative",
          "PyTorch 5261: cuDNN LSTM"),
    ENTRY("graph-deviation-0", NONFINITE, deviation, "sqrt",
          "the standard deviation of a constant row: the slope of sqrt at 0 times 0", NULL),
    ENTRY("graph-log-softmax", NONFINITE, log_of_softmax, "log",
          "log(softmax(x)) with a logit 800 below the others", NULL),
    ENTRY("graph-abs-0", KINK, magnitude, NULL, "|x| is checked at 0", NULL),
    ENTRY("graph-state-detached", MISSING, recurrent, "",
          "the state is detached between the steps: only the last step's input gets a gradient",
          NULL),
    ENTRY("graph-tied-detached", WRONG, tied, "",
          "a weight is used twice, and detached in one of its uses", NULL),
    {0},
};
