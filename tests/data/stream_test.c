#include "data/stream.h"

#include <string.h>

#include <criterion/criterion.h>

enum { MAX_IDS = 60 };

static const int64_t *numbers(void) {
    static int64_t ids[MAX_IDS];
    for (int64_t i = 0; i < MAX_IDS; i++)
        ids[i] = 1000 + i;
    return ids;
}

static DataStream stream(const int64_t *ids, int64_t n, DataStreamOptions options) {
    DataStream s;
    TensorError error = {""};
    cr_assert(data_stream_init(&s, ids, n, &options, &error), "%s", error.message);
    return s;
}

/* Whether the tensor is these letters, row by row. */
static void check_letters(const Tensor *x, int64_t steps, int64_t rows, const char *letters) {
    cr_assert(x->dtype == TENSOR_I64 && x->ndim == 2 && tensor_invalid(x) == NULL);
    cr_assert(x->shape[0] == steps && x->shape[1] == rows);
    for (int64_t i = 0; i < steps * rows; i++)
        cr_assert(tensor_get_i64(x, i) == letters[i], "%s: %c at %d", letters,
                  (char)tensor_get_i64(x, i), (int)i);
}

Test(stream, the_example_of_the_manual_holds) {
    int64_t ids[12];
    Tensor x, y;
    for (int i = 0; i < 12; i++)
        ids[i] = 'a' + i;
    DataStream s = stream(ids, 12, (DataStreamOptions){.batch = 2, .steps = 2, .short_last = true});
    cr_assert(s.row_length == 5 && s.windows == 3);
    cr_assert(data_stream_next(&s, &x, &y));
    check_letters(&x, 2, 2, "afbg");
    check_letters(&y, 2, 2, "bgch");
    cr_assert(data_stream_next(&s, &x, &y));
    check_letters(&x, 2, 2, "chdi");
    check_letters(&y, 2, 2, "diej");
    cr_assert(data_stream_next(&s, &x, &y));
    check_letters(&x, 1, 2, "ej");
    check_letters(&y, 1, 2, "fk");
    cr_assert(!data_stream_next(&s, &x, &y) && tensor_is_nil(&x) && tensor_is_nil(&y));
    cr_assert(!data_stream_next(&s, &x, &y));
}

/* The batches of d2l for range(35), batch_size 2, num_steps 5 and the offset 3: the rows
 * begin at 3 and 18, and three windows fit. */
Test(stream, windows_are_those_of_the_sequential_iterator_of_d2l) {
    int64_t ids[35];
    Tensor x, y;
    for (int i = 0; i < 35; i++)
        ids[i] = i;
    DataStream s = stream(ids, 35, (DataStreamOptions){.batch = 2, .steps = 5, .offset = 3});
    cr_assert(s.windows == 3);
    for (int64_t w = 0; data_stream_next(&s, &x, &y); w++)
        for (int64_t t = 0; t < 5; t++)
            for (int64_t b = 0; b < 2; b++) {
                int64_t expected = (b == 0 ? 3 : 18) + 5 * w + t;
                cr_assert(tensor_get_i64(&x, 2 * t + b) == expected);
                cr_assert(tensor_get_i64(&y, 2 * t + b) == expected + 1);
            }
    cr_assert(s.position == 15);
}

/* One epoch: places, shapes, and how often each id was an input and a target. */
static void check_epoch(DataStream *s, int64_t n, int *inputs, int *targets) {
    const DataStreamOptions *o = &s->options;
    int64_t length = (n - o->offset - 1) / o->batch, rows = o->rows ? o->rows : o->batch;
    Tensor x, y;
    int64_t w = 0;
    for (; data_stream_next(s, &x, &y); w++) {
        int64_t left = length - w * o->steps;
        cr_assert(x.shape[0] == (left < o->steps ? left : o->steps) && x.shape[0] > 0);
        cr_assert(x.shape[1] == rows && tensor_same_shape(&x, &y));
        for (int64_t i = 0; i < tensor_numel(&x); i++) {
            int64_t t = i / rows, b = o->first_row + i % rows;
            int64_t at = o->offset + b * length + w * o->steps + t;
            cr_assert(tensor_get_i64(&x, i) == 1000 + at);
            cr_assert(tensor_get_i64(&y, i) == 1000 + at + 1);
            inputs[at]++;
            targets[at + 1]++;
        }
    }
    cr_assert(w == s->windows && s->row_length == length);
    cr_assert(w == (o->short_last ? (length + o->steps - 1) / o->steps : length / o->steps));
}

/* Each id of the rows is an input once and its follower a target once; none outside. */
static void check_used_once(const DataStreamOptions *o, int64_t n, const int *inputs,
                            const int *targets) {
    int64_t length = (n - o->offset - 1) / o->batch;
    int64_t used = o->short_last ? length : length - length % o->steps;
    for (int64_t i = 0; i < n; i++) {
        int64_t place = i - o->offset;
        int in_row = place >= 0 && place < o->batch * length && place % length < used;
        cr_assert(inputs[i] == in_row, "input %d of %d", (int)i, (int)n);
        place--;
        in_row = place >= 0 && place < o->batch * length && place % length < used;
        cr_assert(targets[i] == in_row, "target %d of %d", (int)i, (int)n);
    }
}

Test(stream, every_id_is_an_input_once_and_its_follower_the_target) {
    for (int64_t n = 2; n <= MAX_IDS; n += 1 + n / 8)
        for (int64_t batch = 1; batch <= 7; batch++)
            for (int64_t steps = 1; steps <= 9; steps++)
                for (int64_t offset = 0; offset <= steps && offset < n - batch; offset++)
                    for (int short_last = 0; short_last < 2; short_last++) {
                        DataStreamOptions o = {.batch = batch,
                                               .steps = steps,
                                               .offset = offset,
                                               .short_last = short_last};
                        if (!short_last && (n - offset - 1) / batch < steps)
                            continue;
                        int inputs[MAX_IDS] = {0}, targets[MAX_IDS] = {0};
                        DataStream s = stream(numbers(), n, o);
                        check_epoch(&s, n, inputs, targets);
                        check_used_once(&o, n, inputs, targets);
                    }
}

Test(stream, the_shares_of_the_workers_make_up_the_whole) {
    for (int64_t batch = 1; batch <= 8; batch++)
        for (int64_t workers = 1; workers <= batch; workers++) {
            DataStreamOptions whole = {.batch = batch, .steps = 3, .offset = 2, .short_last = true};
            int inputs[MAX_IDS] = {0}, targets[MAX_IDS] = {0};
            int64_t next = 0;
            for (int64_t worker = 0; worker < workers; worker++) {
                DataStreamOptions share;
                cr_assert(data_stream_share(&whole, worker, workers, &share, NULL));
                cr_assert(share.first_row == next && share.batch == batch && share.short_last);
                cr_assert(share.rows == batch / workers || share.rows == batch / workers + 1);
                next += share.rows;
                DataStream s = stream(numbers(), 51, share);
                check_epoch(&s, 51, inputs, targets);
            }
            cr_assert(next == batch);
            check_used_once(&whole, 51, inputs, targets);
        }
}

Test(stream, a_share_can_be_shared_again) {
    DataStreamOptions whole = {.batch = 10, .steps = 2, .first_row = 3, .rows = 5}, share;
    cr_assert(data_stream_share(&whole, 0, 2, &share, NULL));
    cr_assert(share.first_row == 3 && share.rows == 3);
    cr_assert(data_stream_share(&whole, 1, 2, &share, NULL));
    cr_assert(share.first_row == 6 && share.rows == 2);
}

Test(stream, nothing_is_copied) {
    Tensor x, y;
    const int64_t *ids = numbers();
    DataStream s =
        stream(ids, 21, (DataStreamOptions){.batch = 4, .steps = 3, .first_row = 1, .rows = 2});
    cr_assert(data_stream_next(&s, &x, &y));
    cr_assert(x.data == ids + 5 && y.data == ids + 6);
    cr_assert(x.stride[0] == 1 && x.stride[1] == 5 && y.stride[0] == 1 && y.stride[1] == 5);
}

Test(stream, a_reset_goes_back_and_an_offset_begins_a_new_epoch) {
    Tensor x, y;
    DataStream s = stream(numbers(), 14, (DataStreamOptions){.batch = 2, .steps = 3});
    cr_assert(s.windows == 2);
    for (int epoch = 0; epoch < 3; epoch++) {
        cr_assert(data_stream_next(&s, &x, &y) && tensor_get_i64(&x, 0) == 1000);
        if (epoch == 1)
            cr_assert(data_stream_next(&s, &x, &y) && !data_stream_next(&s, &x, &y));
        data_stream_reset(&s);
    }
    cr_assert(data_stream_set_offset(&s, 3, NULL));
    cr_assert(s.windows == 1 && s.row_length == 5);
    cr_assert(data_stream_next(&s, &x, &y) && tensor_get_i64(&x, 1) == 1008);

    TensorError error = {""};
    DataStream before = s;
    cr_assert(!data_stream_set_offset(&s, 9, &error));
    cr_assert(s.windows == before.windows && s.position == before.options.steps && s.options.offset == 3);
    cr_assert_str_eq(error.message, "stream: 5 of 14 ids from offset 9 on make 2 rows of 2: "
                                    "shorter than one window of 3 steps");
}

Test(stream, what_cannot_be_batched_is_refused_with_the_numbers) {
    static const struct {
        int64_t n;
        DataStreamOptions options;
        const char *reason;
    } cases[] = {
        {20, {.batch = 0, .steps = 2}, "a batch of 0 rows: at least 1 is needed"},
        {20, {.batch = -3, .steps = 2}, "a batch of -3 rows"},
        {20, {.batch = 2, .steps = 0}, "windows of 0 steps: at least 1 is needed"},
        {20, {.batch = 2, .steps = 2, .offset = -1}, "the offset -1 is negative"},
        {20, {.batch = 2, .steps = 2, .offset = 20}, "0 of 20 ids from offset 20 on: too few"},
        {20, {.batch = 2, .steps = 2, .offset = INT64_MAX}, "0 of 20 ids from offset 922337203685"},
        {0, {.batch = 1, .steps = 1}, "0 of 0 ids from offset 0 on: too few for a batch of 1 "},
        {1, {.batch = 1, .steps = 1}, "1 of 1 ids"},
        {4, {.batch = 4, .steps = 1}, "4 of 4 ids from offset 0 on: too few for a batch of 4 rows"},
        {4, {.batch = 4, .steps = 1, .short_last = true}, "too few"},
        {20, {.batch = INT64_MAX, .steps = 1}, "too few"},
        {20,
         {.batch = 2, .steps = 10},
         "20 of 20 ids from offset 0 on make 2 rows of 9: shorter "
         "than one window of 10 steps"},
        {20, {.batch = 2, .steps = INT64_MAX}, "shorter than one window"},
        {20,
         {.batch = 4, .steps = 1, .first_row = 4, .rows = 1},
         "1 rows from row 4 on are not in"},
        {20, {.batch = 4, .steps = 1, .first_row = -1, .rows = 1}, "row -1"},
        {20, {.batch = 4, .steps = 1, .first_row = 1, .rows = 4}, "4 rows from row 1"},
        {20, {.batch = 4, .steps = 1, .rows = -1}, "-1 rows"},
        {20, {.batch = 4, .steps = 1, .first_row = 1}, "0 rows from row 1"},
        {20, {.batch = 4, .steps = 1, .first_row = INT64_MAX, .rows = INT64_MAX}, "are not in"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DataStream s;
        TensorError error = {""};
        cr_assert(!data_stream_init(&s, numbers(), cases[i].n, &cases[i].options, &error), "%zu",
                  i);
        cr_assert(strstr(error.message, cases[i].reason), "case %zu: %s", i, error.message);
        cr_assert(!data_stream_init(&s, numbers(), cases[i].n, &cases[i].options, NULL));
    }
}

Test(stream, the_shortest_texts_are_enough) {
    Tensor x, y;
    DataStream s = stream(numbers(), 5, (DataStreamOptions){.batch = 4, .steps = 1});
    cr_assert(s.windows == 1 && data_stream_next(&s, &x, &y) && x.shape[0] == 1);
    s = stream(numbers(), 2,
               (DataStreamOptions){.batch = 1, .steps = INT64_MAX, .short_last = true});
    cr_assert(s.windows == 1 && data_stream_next(&s, &x, &y) && x.shape[0] == 1);
    cr_assert(tensor_get_i64(&x, 0) == 1000 && tensor_get_i64(&y, 0) == 1001);
    s = stream(numbers(), 9, (DataStreamOptions){.batch = 2, .steps = 4});
    cr_assert(s.windows == 1);
}

Test(stream, workers_that_cannot_share_are_refused) {
    static const struct {
        DataStreamOptions whole;
        int64_t worker, workers;
        const char *reason;
    } cases[] = {
        {{.batch = 2}, 0, 3, "2 rows are too few for 3 workers"},
        {{.batch = 2}, 2, 2, "worker 2 is none of 2"},
        {{.batch = 2}, -1, 2, "worker -1 is none of 2"},
        {{.batch = 2}, 0, 0, "worker 0 is none of 0"},
        {{.batch = 0}, 0, 1, "a batch of 0 rows"},
        {{.batch = 2, .rows = 3}, 0, 1, "3 rows from row 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DataStreamOptions share;
        TensorError error = {""};
        cr_assert(
            !data_stream_share(&cases[i].whole, cases[i].worker, cases[i].workers, &share, &error));
        cr_assert(strstr(error.message, cases[i].reason), "case %zu: %s", i, error.message);
    }
}

/* Windows of different lengths follow each other without a gap; a place can be returned to. */
Test(stream, windows_of_any_length_and_a_place_to_go_on_from) {
    const int64_t *ids = numbers(), lengths[] = {3, 1, 4, 9};
    DataStream s = stream(ids, 31, (DataStreamOptions){.batch = 2, .steps = 5});
    Tensor x, y, again;
    int64_t place = 0;
    for (int i = 0; i < 4; i++) {
        int64_t T = place + lengths[i] <= 15 ? lengths[i] : 15 - place;
        cr_assert(s.position == place && data_stream_take(&s, lengths[i], &x, &y));
        cr_assert(x.shape[0] == T && x.shape[1] == 2 && tensor_same_shape(&x, &y));
        cr_assert(tensor_get_i64(&x, 0) == ids[place] && tensor_get_i64(&x, 1) == ids[15 + place]);
        cr_assert(tensor_get_i64(&y, 0) == ids[place + 1]);
        cr_assert(data_stream_seek(&s, place, NULL) && data_stream_take(&s, lengths[i], &again, &y));
        cr_assert(again.data == x.data);
        place += T;
    }
    TensorError error;
    cr_assert(place == 15 && !data_stream_take(&s, 1, &x, &y) && tensor_is_nil(&x));
    cr_assert(!data_stream_seek(&s, 16, &error) && !data_stream_seek(&s, -1, &error));
    cr_assert(strstr(error.message, "-1") && s.position == 15);
    cr_assert(data_stream_seek(&s, 0, NULL) && !data_stream_take(&s, 0, &x, &y));
}
