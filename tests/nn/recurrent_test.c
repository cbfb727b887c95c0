/* What an LSTM, a GRU and an RNN over sequences have in common: layers, directions, lengths,
 * dropout between layers, shares of a batch. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tensor/kernels.h"
#include "tests/nn/recurrent_model.h"

enum { T = 6, B = 4, I = 3, H = 5 };
static const int64_t some_lengths[B] = {3, 0, 6, 1};

/* ---- values ---- */

static void expect_plain(const Model *m, int64_t steps, int64_t rows, bool initial,
                         const int64_t *lengths) {
    TensorArena *a = tensor_arena_new();
    Tensor x = model_tensor(a, TENSOR_F64, 3, (int64_t[]){steps, rows, I}, 1);
    Tensor h0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){m->L * m->D, rows, H}, 2);
    Tensor c0 = model_tensor(a, TENSOR_F64, 3, (int64_t[]){m->L * m->D, rows, H}, 3);
    ModelPlain want =
        model_plain(m, a, &x, initial ? &h0 : NULL, initial ? &c0 : NULL, lengths, NULL);
    AgTape *t = ag_tape_new();
    AgVar in = ag_input(t, &x), h = {0}, c = {0};
    if (m->o.batch_first) in = ag_transpose(in, 0, 1);
    if (initial) h = ag_input(t, &h0), c = ag_input(t, &c0);
    NnLstmOutput got = model_run(m, in, h, c, lengths);
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    if (m->o.batch_first) got.y = ag_transpose(got.y, 0, 1);
    cr_expect_lt(model_distance(ag_value(got.y), &want.y), 1e-13);
    cr_expect_lt(model_distance(ag_value(got.hn), &want.h), 1e-13);
    if (m->kind == MODEL_LSTM) cr_expect_lt(model_distance(ag_value(got.cn), &want.c), 1e-13);
    ag_tape_free(t);
    tensor_arena_free(a);
}

Test(recurrent, agrees_with_plain_loops_in_every_configuration) {
    for (ModelKind kind = 0; kind < MODEL_KINDS; kind++)
        for (int bits = 0; bits < 64; bits++)
            for (int L = 1; L <= 3; L++) {
                NnLstmOptions o = {.num_layers = L, .bidirectional = bits & 1, .no_bias = bits & 2,
                                   .batch_first = bits & 4, .composed = bits & 8};
                Model m = model_new(kind, TENSOR_F64, I, H, &o);
                expect_plain(&m, T, B, bits & 16, bits & 32 ? some_lengths : NULL);
                if (!(bits & 32)) expect_plain(&m, 1, 1, bits & 16, NULL);
                model_free(&m);
            }
}

/* Numbers beyond the lengths are any. */
static void expect_plain_of_numbers(const Model *m, const int64_t *lengths) {
    TensorArena *a = tensor_arena_new();
    Tensor x = tensor_new(a, TENSOR_F64, 3, (int64_t[]){T, B, I});
    int64_t numbers[T * B];
    tensor_fill(&x, 0);
    for (int i = 0; i < T * B; i++) {
        bool beyond = lengths && i / B >= lengths[i % B];
        numbers[i] = beyond ? (i % 2 ? -1 : I) : (i * i + i / B) % I;
        if (!beyond) tensor_set(&x, i * I + numbers[i], 1);
    }
    Tensor numbered = tensor_wrap(numbers, TENSOR_I64, 2, (int64_t[]){T, B});
    ModelPlain want = model_plain(m, a, &x, NULL, NULL, lengths, NULL);
    AgTape *t = ag_tape_new();
    AgVar in = ag_input(t, &numbered);
    if (m->o.batch_first) in = ag_transpose(in, 0, 1);
    NnLstmOutput got = model_run(m, in, (AgVar){0}, (AgVar){0}, lengths);
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    if (m->o.batch_first) got.y = ag_transpose(got.y, 0, 1);
    cr_expect_lt(model_distance(ag_value(got.y), &want.y), 1e-13);
    cr_expect_lt(model_distance(ag_value(got.hn), &want.h), 1e-13);
    ag_tape_free(t);
    tensor_arena_free(a);
}

Test(recurrent, numbers_stand_for_one_hot_vectors) {
    for (int bits = 0; bits < 16 * MODEL_KINDS; bits++) {
        Model m = model_new((ModelKind)(bits / 16), TENSOR_F64, I, H,
                            &(NnLstmOptions){.num_layers = 2,
                                             .batch_first = bits & 1,
                                             .bidirectional = bits & 2,
                                             .composed = bits & 4});
        expect_plain_of_numbers(&m, bits & 8 ? some_lengths : NULL);
        model_free(&m);
    }
}

Test(recurrent, a_cell_takes_numbers) {
    AgTape *t = ag_tape_new();
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    NnLstmCell lstm = nn_lstm_cell_make(set, "lstm", I, H, NULL);
    NnGruCell gru = nn_gru_cell_make(set, "gru", I, H, NULL);
    NnRnnCell rnn = nn_rnn_cell_make(set, "rnn", I, H, NULL);
    AgVar zero = ag_full(t, TENSOR_F64, 2, (int64_t[]){2, H}, 0);
    Tensor number = tensor_wrap((int64_t[]){2, 0}, TENSOR_I64, 1, (int64_t[]){2});
    AgVar x[] = {ag_input(t, &number), {0}}, h[3][2];
    x[1] = ag_one_hot(x[0], I, TENSOR_F64);
    for (int k = 0; k < 2; k++) {
        h[0][k] = nn_lstm_cell(&lstm, x[k], (NnLstmState){zero, zero}).h;
        h[1][k] = nn_gru_cell(&gru, x[k], zero);
        h[2][k] = nn_rnn_cell(&rnn, x[k], zero);
    }
    cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
    for (int cell = 0; cell < 3; cell++)
        cr_expect_lt(model_distance(ag_value(h[cell][0]), ag_value(h[cell][1])), 1e-14);
    cr_expect(!ag_ok(nn_gru_cell(&gru, ag_unsqueeze(x[0], 1), zero)));
    cr_expect_str_eq(ag_tape_error(t), "gru_cell: expected x [B], got i64[2,1]");
    nn_params_free(set);
    ag_tape_free(t);
}

Test(recurrent, wrong_numbers_are_one_line) {
    const struct {
        int ndim;
        int64_t shape[3], number;
        double input_dropout;
        bool batch_first;
        const char *words;
    } cases[] = {
        {1, {5}, 0, 0, false, "rnn: lstm: expected x [T,B], got i64[5]"},
        {3, {5, 2, 3}, 0, 0, true, "rnn: lstm: expected x [B,T], got i64[5,2,3]"},
        {2, {5, 0}, 0, 0, true, "rnn: lstm: expected 1 step or more, got x [B,T] i64[5,0]"},
        {2, {5, 2}, 3, 0, false, "x at step 0 of sequence 0 is 3, outside 0..2"},
        {2, {5, 2}, -1, 0, false, "x at step 0 of sequence 0 is -1, outside 0..2"},
        {2, {5, 2}, 0, .5, false,
         "rnn: lstm: input_dropout drops elements of vectors, got x i64[5,2]"},
    };
    AgTape *t = ag_tape_new();
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        size_t k = i / 2;
        Model m = model_new(MODEL_LSTM, TENSOR_F64, 3, 4,
                            &(NnLstmOptions){.input_dropout = cases[k].input_dropout,
                                             .batch_first = cases[k].batch_first,
                                             .composed = i % 2});
        AgVar x = ag_full(t, TENSOR_I64, cases[k].ndim, cases[k].shape, (double)cases[k].number);
        cr_expect(!ag_ok(model_run(&m, x, (AgVar){0}, (AgVar){0}, NULL).y));
        cr_expect(strstr(ag_tape_error(t), cases[k].words), "%s", ag_tape_error(t));
        ag_tape_reset(t);
        model_free(&m);
    }
    ag_tape_free(t);
}

Test(recurrent, an_empty_batch_has_empty_results) {
    const int64_t none[1] = {0};
    for (ModelKind kind = 0; kind < MODEL_KINDS; kind++)
        for (int with = 0; with < 2; with++) {
            Model m = model_new(kind, TENSOR_F32, I, H, &(NnLstmOptions){.bidirectional = true});
            AgTape *t = ag_tape_new();
            AgVar x = ag_full(t, TENSOR_F32, 3, (int64_t[]){4, 0, I}, 1);
            NnLstmOutput out = model_run(&m, x, (AgVar){0}, (AgVar){0}, with ? none : NULL);
            cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
            cr_expect(ag_dim(out.y, 0) == 4 && ag_dim(out.y, 1) == 0 && ag_dim(out.y, 2) == 2 * H);
            cr_expect(ag_dim(out.hn, 0) == 2 && ag_dim(out.hn, 1) == 0 && ag_dim(out.hn, 2) == H);
            ag_tape_free(t);
            model_free(&m);
        }
}

/* ---- lengths ---- */

static const NnLstmOptions two_by_two = {.num_layers = 2, .bidirectional = true};

/* One row of the batch as a batch of its own, of its own length. */
static AgVar row_of(AgVar v, int64_t b) { return ag_narrow(v, 1, b, 1); }

static void expect_alone(const Model *m, AgVar x, AgVar h0, AgVar c0, NnLstmOutput all, int64_t b,
                         int64_t length) {
    AgVar y = row_of(all.y, b), rest = ag_narrow(y, 0, length, T - length);
    for (int64_t e = 0; e < ag_numel(rest); e++)
        cr_assert_eq(tensor_get(ag_value(rest), e), 0, "nothing beyond the length");
    NnLstmOutput alone = {{0}, row_of(h0, b), row_of(c0, b)};
    if (length > 0) {
        AgVar own = ag_narrow(row_of(x, b), 0, 0, length);
        alone = model_run(m, own, row_of(h0, b), row_of(c0, b), NULL);
        AgVar until = ag_narrow(y, 0, 0, length);
        cr_expect_eq(model_distance(ag_value(alone.y), ag_value(until)), 0);
    }
    cr_expect_eq(model_distance(ag_value(alone.hn), ag_value(row_of(all.hn, b))), 0);
    if (m->kind == MODEL_LSTM)
        cr_expect_eq(model_distance(ag_value(alone.cn), ag_value(row_of(all.cn, b))), 0);
}

Test(recurrent, sequences_of_any_lengths_are_each_what_they_are_alone_bit_for_bit) {
    const int64_t lengths[][B] = {
        {3, 0, 6, 1}, {6, 6, 6, 6}, {0, 0, 0, 0}, {1, 2, 3, 4}, {5, 5, 0, 2}};
    for (int i = 0; i < 4 * MODEL_KINDS * 5; i++) {
        NnLstmOptions o = two_by_two;
        o.composed = i & 1;
        Model m = model_new((ModelKind)(i / 4 % MODEL_KINDS), i & 2 ? TENSOR_F32 : TENSOR_F64, I,
                            H, &o);
        TensorArena *a = tensor_arena_new();
        TensorDtype dtype = nn_params_dtype(m.set);
        Tensor x = model_tensor(a, dtype, 3, (int64_t[]){T, B, I}, 1);
        Tensor h0 = model_tensor(a, dtype, 3, (int64_t[]){4, B, H}, 2);
        Tensor c0 = model_tensor(a, dtype, 3, (int64_t[]){4, B, H}, 3);
        AgTape *t = ag_tape_new();
        AgVar in = ag_input(t, &x), h = ag_input(t, &h0), c = ag_input(t, &c0);
        const int64_t *l = lengths[i / 4 / MODEL_KINDS];
        NnLstmOutput all = model_run(&m, in, h, c, l);
        for (int64_t b = 0; b < B; b++) expect_alone(&m, in, h, c, all, b, l[b]);
        cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
        ag_tape_free(t);
        tensor_arena_free(a);
        model_free(&m);
    }
}

/* Values and gradients of a training step, with `beyond` in x past the lengths. */
static void train(const Model *m, AgTape *t, const Tensor *values, double beyond, AgVar out[3]) {
    ag_tape_reset(t);
    ag_tape_rng(t, 1, 1);
    nn_zero_grad(m->set);
    AgVar x = ag_input(t, values);
    AgVar lengths = ag_cast(ag_full(t, TENSOR_F64, 1, (int64_t[]){B}, 0), TENSOR_I64);
    for (int64_t b = 0; b < B; b++) tensor_set(ag_value(lengths), b, (double)some_lengths[b]);
    AgVar past = ag_unsqueeze(ag_logical_not(ag_length_mask(lengths, T)), 2);
    NnLstmOutput got =
        model_run(m, ag_masked_fill(x, past, beyond), (AgVar){0}, (AgVar){0}, some_lengths);
    AgVar loss = ag_sum(ag_square(got.y), AG_ALL_AXES, false);
    out[0] = got.y, out[1] = got.hn;
    cr_assert(ag_grad(loss, (AgVar){0}, 1, &x, &out[2], false), "%s", ag_tape_error(t));
    cr_assert(ag_backward(loss), "%s", ag_tape_error(t));
}

Test(recurrent, what_stands_beyond_the_lengths_is_never_seen) {
    for (ModelKind kind = 0; kind < MODEL_KINDS; kind++)
        for (int composed = 0; composed < 2; composed++) {
            NnLstmOptions o = two_by_two;
            o.composed = composed, o.dropout = .3;
            if (kind == MODEL_LSTM) o.locked_dropout = true, o.input_dropout = .3;
            Model m = model_new(kind, TENSOR_F64, I, H, &o);
            TensorArena *a = tensor_arena_new();
            Tensor x = model_tensor(a, TENSOR_F64, 3, (int64_t[]){T, B, I}, 1);
            AgTape *zero = ag_tape_new(), *nan = ag_tape_new();
            ag_tape_training(zero, true);
            ag_tape_training(nan, true);
            AgVar want[3], got[3];
            Tensor grads[32];
            train(&m, zero, &x, 0, want);
            int n = nn_params_count(m.set);
            for (int i = 0; i < n; i++) grads[i] = tensor_copy(a, &nn_params_at(m.set, i)->grad);
            train(&m, nan, &x, NAN, got);
            for (int i = 0; i < 3; i++)
                cr_expect_eq(model_distance(ag_value(want[i]), ag_value(got[i])), 0, "%d", i);
            for (int i = 0; i < n; i++)
                cr_expect_eq(model_distance(&grads[i], &nn_params_at(m.set, i)->grad), 0, "%s",
                             nn_params_at(m.set, i)->name);
            ag_tape_free(zero);
            ag_tape_free(nan);
            tensor_arena_free(a);
            model_free(&m);
        }
}

Test(recurrent, a_length_outside_the_sequence_is_an_error_with_its_place) {
    const int64_t wrong[][B] = {{6, 7, 0, 1}, {6, 6, -1, 1}};
    const char *words[] = {"lengths[1] is 7", "lengths[2] is -1"};
    for (ModelKind kind = 0; kind < MODEL_KINDS; kind++)
        for (int i = 0; i < 2; i++) {
            Model m = model_new(kind, TENSOR_F32, I, H, &two_by_two);
            AgTape *t = ag_tape_new();
            AgVar x = ag_full(t, TENSOR_F32, 3, (int64_t[]){T, B, I}, 1);
            NnLstmOutput out = model_run(&m, x, (AgVar){0}, (AgVar){0}, wrong[i]);
            cr_expect(!ag_ok(out.y) && !ag_ok(out.hn) && !ag_ok(out.cn));
            cr_expect(strstr(ag_tape_error(t), words[i]), "%s", ag_tape_error(t));
            cr_expect(strstr(ag_tape_error(t), "rnn/l0: "), "%s", ag_tape_error(t));
            ag_tape_free(t);
            model_free(&m);
        }
}

/* ---- errors ---- */

static const char *const kind_names[MODEL_KINDS] = {"lstm", "gru", "rnn", "rnn"};

Test(recurrent, wrong_options_stick_to_the_set_and_the_layer_says_so_on_a_tape) {
    const struct {
        int64_t I, H;
        NnLstmOptions o;
        const char *words;
    } cases[] = {
        {-1, 4, {0}, "input size -1"},
        {3, -4, {0}, "hidden size -4"},
        {3, INT64_MAX / 4, {0}, "hidden size"},
        {3, 4, {.num_layers = -1}, "-1 layers"},
        {3, 4, {.num_layers = INT32_MAX, .bidirectional = true}, "layers"},
        {3, 4, {.dropout = 1.5}, "dropout 1.5 is not in 0..1"},
        {3, 4, {.dropout = NAN}, "dropout nan is not in 0..1"},
    };
    AgTape *t = ag_tape_new();
    for (size_t i = 0; i < MODEL_KINDS * sizeof cases / sizeof *cases; i++) {
        ModelKind kind = (ModelKind)(i % MODEL_KINDS);
        size_t k = i / MODEL_KINDS;
        Model m = model_try(kind, TENSOR_F64, cases[k].I, cases[k].H, &cases[k].o);
        char start[32];
        snprintf(start, sizeof start, "%s rnn: ", kind_names[kind]);
        cr_expect_eq(strncmp(nn_params_error(m.set), start, strlen(start)), 0, "%s",
                     nn_params_error(m.set));
        cr_expect(strstr(nn_params_error(m.set), cases[k].words), "%s", nn_params_error(m.set));
        cr_expect_eq(nn_params_count(m.set), 0);
        AgVar x = ag_full(t, TENSOR_F64, 3, (int64_t[]){2, 2, 3}, 1);
        NnLstmOutput out = model_run(&m, x, (AgVar){0}, (AgVar){0}, NULL);
        cr_expect(!ag_ok(out.y) && !ag_ok(out.hn) && !ag_ok(out.cn));
        snprintf(start, sizeof start, "%s: was not made", kind_names[kind]);
        cr_expect(strstr(ag_tape_error(t), start), "%s", ag_tape_error(t));
        ag_tape_reset(t);
        model_free(&m);
    }
    ag_tape_free(t);
}

Test(recurrent, wrong_inputs_are_one_line_with_expected_and_got) {
    const struct {
        bool batch_first;
        int ndim;
        int64_t shape[4], h0[3], c0[3];
        const char *words;
    } cases[] = {
        {false, 2, {5, 3}, {2, 2, 4}, {2, 2, 4}, "expected x [T,B,3], got f64[5,3]"},
        {false, 3, {5, 2, 4}, {2, 2, 4}, {2, 2, 4}, "expected x [T,B,3], got f64[5,2,4]"},
        {true, 3, {5, 2, 4}, {2, 5, 4}, {2, 5, 4}, "expected x [B,T,3], got f64[5,2,4]"},
        {false, 3, {0, 2, 3}, {2, 2, 4}, {2, 2, 4}, "expected 1 step or more"},
        {true, 3, {2, 0, 3}, {2, 2, 4}, {2, 2, 4}, "expected 1 step or more"},
        {false, 3, {5, 2, 3}, {1, 2, 4}, {2, 2, 4}, "h0: expected [2,2,4], got f64[1,2,4]"},
        {false, 3, {5, 2, 3}, {2, 1, 4}, {2, 2, 4}, "h0: expected [2,2,4], got f64[2,1,4]"},
        {true, 3, {5, 2, 3}, {2, 2, 4}, {2, 2, 4}, "h0: expected [2,5,4], got f64[2,2,4]"},
        {false, 3, {5, 2, 3}, {2, 2, 4}, {2, 2, 5}, "c0: expected [2,2,4], got f64[2,2,5]"},
    };
    AgTape *t = ag_tape_new();
    for (size_t i = 0; i < MODEL_KINDS * sizeof cases / sizeof *cases; i++) {
        ModelKind kind = (ModelKind)(i % MODEL_KINDS);
        size_t k = i / MODEL_KINDS;
        if (kind != MODEL_LSTM && cases[k].words[0] == 'c') continue;
        Model m = model_new(kind, TENSOR_F64, 3, 4,
                            &(NnLstmOptions){.num_layers = 2, .batch_first = cases[k].batch_first});
        AgVar h0 = ag_full(t, TENSOR_F64, 3, cases[k].h0, 0);
        AgVar c0 = ag_full(t, TENSOR_F64, 3, cases[k].c0, 0);
        AgVar x = ag_full(t, TENSOR_F64, cases[k].ndim, cases[k].shape, 1);
        NnLstmOutput out = model_run(&m, x, h0, c0, NULL);
        cr_expect(!ag_ok(out.y) && !ag_ok(out.hn) && !ag_ok(out.cn));
        char start[100];
        snprintf(start, sizeof start, "rnn: %s: %s", kind_names[kind], cases[k].words);
        cr_expect_eq(strncmp(ag_tape_error(t), start, strlen(start)), 0, "expected %s, got %s",
                     start, ag_tape_error(t));
        ag_tape_reset(t);
        model_free(&m);
    }
    ag_tape_free(t);
}

Test(recurrent, dtypes_do_not_mix_and_variables_are_of_one_tape) {
    AgTape *t = ag_tape_new(), *other = ag_tape_new();
    for (int i = 0; i < 4 * MODEL_KINDS; i++) {
        ModelKind kind = (ModelKind)(i / 4);
        Model m = model_new(kind, TENSOR_F64, I, H, &(NnLstmOptions){0});
        bool foreign = i % 4 == 2, failed = i % 4 == 3;
        TensorDtype of_x = i % 4 == 0 ? TENSOR_F32 : TENSOR_F64;
        TensorDtype of_h = i % 4 == 1 ? TENSOR_F32 : TENSOR_F64;
        AgVar x = ag_full(t, of_x, 3, (int64_t[]){T, B, I}, 1);
        AgVar h = ag_full(foreign ? other : t, of_h, 3, (int64_t[]){1, B, H}, 1);
        if (failed) h.id = 0;
        NnLstmOutput out = model_run(&m, x, h, h, NULL);
        cr_expect(!ag_ok(out.y) && !ag_ok(out.hn) && !ag_ok(out.cn));
        const char *words[] = {"mixed dtypes", "mixed dtypes", "h0: a variable of another tape",
                               "h0: the failed variable"};
        cr_expect(strstr(ag_tape_error(t), words[i % 4]), "%s", ag_tape_error(t));
        cr_expect(strncmp(ag_tape_error(t), i % 4 < 2 ? "rnn/l0" : "rnn: ", 5) == 0, "%s",
                  ag_tape_error(t));
        ag_tape_reset(t);
        cr_expect(!ag_ok(model_run(&m, (AgVar){0}, (AgVar){0}, (AgVar){0}, NULL).y));
        cr_expect(ag_tape_ok(t) && ag_tape_ok(other));
        model_free(&m);
    }
    ag_tape_free(t);
    ag_tape_free(other);
}

/* ---- training ---- */

Test(recurrent, dropout_acts_on_the_outputs_between_layers_in_training_only) {
    for (ModelKind kind = 0; kind < MODEL_KINDS; kind++)
        for (int training = 0; training < 2; training++) {
            Model m = model_new(kind, TENSOR_F64, I, H,
                                &(NnLstmOptions){.num_layers = 3, .bidirectional = true,
                                                 .dropout = .5});
            TensorArena *a = tensor_arena_new();
            Tensor x = model_tensor(a, TENSOR_F64, 3, (int64_t[]){T, B, I}, 1);
            AgTape *t = ag_tape_new(), *masks = ag_tape_new();
            ag_tape_training(t, training);
            ag_tape_training(masks, true);
            ModelPlain want =
                model_plain(&m, a, &x, NULL, NULL, some_lengths, training ? masks : NULL);
            NnLstmOutput got =
                model_run(&m, ag_input(t, &x), (AgVar){0}, (AgVar){0}, some_lengths);
            cr_assert(ag_tape_ok(t), "%s", ag_tape_error(t));
            cr_expect_lt(model_distance(ag_value(got.y), &want.y), 1e-13);
            cr_expect_lt(model_distance(ag_value(got.hn), &want.h), 1e-13);
            ag_tape_free(t);
            ag_tape_free(masks);
            tensor_arena_free(a);
            model_free(&m);
        }
}

/* Everything that draws. */
static const NnLstmOptions all_random = {.num_layers = 2, .bidirectional = true, .dropout = .3,
                                         .locked_dropout = true, .input_dropout = .2,
                                         .hidden_dropout = .3, .output_dropout = .2,
                                         .weight_drop = .3, .zoneout_h = .3, .zoneout_c = .2};

Test(recurrent, a_share_of_the_batch_draws_and_computes_what_the_whole_does) {
    for (ModelKind kind = 0; kind < MODEL_KINDS; kind++)
        for (int with = 0; with < 2; with++) {
            NnLstmOptions o = two_by_two;
            o.dropout = .3;
            Model m = model_new(kind, TENSOR_F64, I, H, kind == MODEL_LSTM ? &all_random : &o);
            TensorArena *a = tensor_arena_new();
            Tensor x = model_tensor(a, TENSOR_F64, 3, (int64_t[]){T, B, I}, 1);
            Tensor half = tensor_narrow(&x, 1, 1, 2);
            AgTape *whole = ag_tape_new(), *part = ag_tape_new();
            ag_tape_training(whole, true);
            ag_tape_training(part, true);
            ag_tape_rows(part, 1, B);
            const int64_t *lengths = with ? some_lengths : NULL;
            AgVar none = {0};
            NnLstmOutput want = model_run(&m, ag_input(whole, &x), none, none, lengths);
            NnLstmOutput got =
                model_run(&m, ag_input(part, &half), none, none, with ? lengths + 1 : NULL);
            cr_assert(ag_tape_ok(whole) && ag_tape_ok(part), "%s", ag_tape_error(part));
            AgVar y = ag_narrow(want.y, 1, 1, 2), hn = ag_narrow(want.hn, 1, 1, 2);
            cr_expect_eq(model_distance(ag_value(y), ag_value(got.y)), 0);
            cr_expect_eq(model_distance(ag_value(hn), ag_value(got.hn)), 0);
            ag_tape_free(whole);
            ag_tape_free(part);
            tensor_arena_free(a);
            model_free(&m);
        }
}

/* ---- gradients ---- */

Test(recurrent, gradients_of_both_orders_agree_with_differences) {
    const int64_t lengths[] = {2, 3};
    const NnLstmOptions o[] = {
        {.bidirectional = true},
        {.num_layers = 2, .no_bias = true},
        {.num_layers = 2, .bidirectional = true, .batch_first = true, .dropout = .3},
    };
    for (int i = 0; i < MODEL_KINDS * 3; i++)
        for (int order = 1; order <= 2; order++) {
            Model m = model_new((ModelKind)(i / 3), TENSOR_F64, 2, 3, &o[i % 3]);
            GradcheckOptions g = {.training = true, .directions = order == 2 ? 6 : 0};
            model_gradcheck(&m, 3, 2, i % 3 == 2 ? lengths : NULL, order, &g);
            model_free(&m);
        }
}
