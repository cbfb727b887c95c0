/* tasks.c -- small synthetic tasks, each hard for a model without the idea it is meant for.
 * x_t is step t of one sequence; T, B and the rest as in models.h. */
#include <math.h>

#include "examples/models/models.h"

/* A tensor of the batch; where there is no memory nil, which the tape then refuses. */
static Tensor make(const ModelBatch *b, TensorDtype dtype, int ndim, const int64_t *shape) {
    return tensor_new(b->memory, dtype, ndim, shape);
}

/* The key of the batch's random numbers of one kind. */
static TensorRngKey numbers(const ModelBatch *b, uint64_t kind) {
    return (TensorRngKey){b->key.seed, b->key.step, b->key.draw + kind};
}

/* S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997,
 * section 5.4.   x [T, B, 2]: a number uniform in [0, 1) and a mark, 1 at one step of each half
 * and else 0; target [B]: the sum of the two marked numbers. */
void task_adding(const ModelBatch *b, Tensor *in) {
    int64_t T = b->n.T, B = b->n.B, half = T / 2;
    Tensor x = in[0] = make(b, b->dtype, 3, (int64_t[]){T, B, 2});
    Tensor target = in[1] = make(b, b->dtype, 1, &B);
    for (int64_t i = 0; i < B; i++) {
        int64_t marked[] = {tensor_rng_below(numbers(b, 0), (uint64_t)i, half),
                            half + tensor_rng_below(numbers(b, 1), (uint64_t)i, T - half)};
        double sum = 0;
        for (int64_t t = 0; t < T; t++) {
            bool is_marked = t == marked[0] || t == marked[1];
            double value = tensor_rng_uniform(numbers(b, 2), (uint64_t)(t * B + i));
            tensor_set(&x, (t * B + i) * 2, value);
            tensor_set(&x, (t * B + i) * 2 + 1, is_marked);
            if (is_marked) sum += value;
        }
        tensor_set(&target, i, sum);
    }
}

/* x [T, B, 1]: a slow wave (a period of T / 2 steps) and a fast one (4 steps), of random phases,
 * added up; after a quarter of the steps, silence: 0.   target [T, B, 2]: the two waves apart,
 * which go on to the end. */
void task_waves(const ModelBatch *b, Tensor *in) {
    int64_t T = b->n.T, B = b->n.B;
    const double pi = acos(-1), period[] = {(double)T / 2, 4};
    Tensor x = in[0] = make(b, b->dtype, 3, (int64_t[]){T, B, 1});
    Tensor target = in[1] = make(b, b->dtype, 3, (int64_t[]){T, B, 2});
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < B; i++) {
            double sum = 0;
            for (int k = 0; k < 2; k++) {
                double phase = tensor_rng_uniform(numbers(b, 0), (uint64_t)(2 * i + k));
                double wave = sin(2 * pi * ((double)t / period[k] + phase));
                tensor_set(&target, (t * B + i) * 2 + k, wave);
                sum += wave;
            }
            tensor_set(&x, t * B + i, t < T / 4 ? sum : 0);
        }
}

/* source [B, T], I64: tokens in 0..TASK_TOKENS-1, and 0 beyond lengths [B], I64, each 2..T;
 * target [B, T], I64: the same tokens from the last to the first, and 0 beyond the length. */
void task_reversal(const ModelBatch *b, Tensor *in) {
    int64_t T = b->n.T, B = b->n.B;
    Tensor source = in[0] = make(b, TENSOR_I64, 2, (int64_t[]){B, T});
    Tensor lengths = in[1] = make(b, TENSOR_I64, 1, &B);
    Tensor target = in[2] = make(b, TENSOR_I64, 2, (int64_t[]){B, T});
    for (int64_t i = 0; i < B; i++) {
        int64_t length = 2 + tensor_rng_below(numbers(b, 0), (uint64_t)i, T - 1);
        tensor_set(&lengths, i, (double)length);
        for (int64_t t = 0; t < T; t++) {
            int64_t token = tensor_rng_below(numbers(b, 1), (uint64_t)(i * T + t), TASK_TOKENS);
            bool is_inside = t < length;
            tensor_set(&source, i * T + t, is_inside ? (double)token : 0);
            tensor_set(&target, i * T + (is_inside ? length - 1 - t : t),
                       is_inside ? (double)token : 0);
        }
    }
}

/* x [T, B, 1], uniform in [0, 1); target [T, B]: y_t with y_t^2 = (x_t + x_(t-1)) / 2, one of the
 * two roots, each as likely, with normal noise of standard deviation 0.05 added; x_(-1) = x_0. */
void task_two_branches(const ModelBatch *b, Tensor *in) {
    int64_t T = b->n.T, B = b->n.B;
    Tensor x = in[0] = make(b, b->dtype, 3, (int64_t[]){T, B, 1});
    Tensor target = in[1] = make(b, b->dtype, 2, (int64_t[]){T, B});
    tensor_rng_fill_uniform(&x, numbers(b, 0), 0, 1);
    for (int64_t e = 0; e < T * B; e++) {
        double square = (tensor_get(&x, e) + tensor_get(&x, e < B ? e : e - B)) / 2;
        double side = tensor_rng_uniform(numbers(b, 1), (uint64_t)e) < 0.5 ? -1 : 1;
        double noise = 0.05 * tensor_rng_normal(numbers(b, 2), (uint64_t)e);
        tensor_set(&target, e, side * sqrt(square) + noise);
    }
}
