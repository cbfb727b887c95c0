#include "data/stream.h"

static long long ll(int64_t value) {
    return value;
}

/* How many rows the options give. */
static int64_t rows_given(const DataStreamOptions *o) {
    return o->rows == 0 ? o->batch : o->rows;
}

static bool check_rows(const DataStreamOptions *o, TensorError *error) {
    if (o->batch < 1)
        return tensor_error_set(error, "stream: a batch of %lld rows: at least 1 is needed",
                                ll(o->batch));
    bool all = o->rows == 0 && o->first_row == 0;
    bool some = o->rows >= 1 && o->rows <= o->batch && o->first_row >= 0 &&
                o->first_row <= o->batch - o->rows;
    if (!all && !some)
        return tensor_error_set(error,
                                "stream: %lld rows from row %lld on are not in a batch of %lld",
                                ll(o->rows), ll(o->first_row), ll(o->batch));
    return true;
}

bool data_stream_init(DataStream *s, const int64_t *ids, int64_t count,
                      const DataStreamOptions *options, TensorError *error) {
    *s = (DataStream){.ids = ids, .count = count, .options = *options};
    if (!check_rows(options, error))
        return false;
    if (options->steps < 1)
        return tensor_error_set(error, "stream: windows of %lld steps: at least 1 is needed",
                                ll(options->steps));
    return data_stream_set_offset(s, options->offset, error);
}

bool data_stream_set_offset(DataStream *s, int64_t offset, TensorError *error) {
    int64_t batch = s->options.batch, steps = s->options.steps;
    if (batch < 1 || steps < 1)
        return tensor_error_set(error, "stream: a batch of %lld rows, windows of %lld steps",
                                ll(batch), ll(steps));
    if (offset < 0)
        return tensor_error_set(error, "stream: the offset %lld is negative", ll(offset));
    int64_t left = offset < s->count ? s->count - offset : 0;
    if (left - 1 < batch)
        return tensor_error_set(error,
                                "stream: %lld of %lld ids from offset %lld on: too few for a "
                                "batch of %lld rows, which needs one more than its rows",
                                ll(left), ll(s->count), ll(offset), ll(batch));
    int64_t length = (left - 1) / batch;
    if (length < steps && !s->options.short_last)
        return tensor_error_set(error,
                                "stream: %lld of %lld ids from offset %lld on make %lld rows of "
                                "%lld: shorter than one window of %lld steps",
                                ll(left), ll(s->count), ll(offset), ll(batch), ll(length),
                                ll(steps));
    s->options.offset = offset;
    s->row_length = length;
    s->windows = length / steps + (s->options.short_last && length % steps != 0);
    s->position = 0;
    return true;
}

void data_stream_reset(DataStream *s) {
    s->position = 0;
}

bool data_stream_seek(DataStream *s, int64_t position, TensorError *error) {
    if (position < 0 || position > s->row_length)
        return tensor_error_set(error, "stream: place %lld is not in rows of %lld ids",
                                ll(position), ll(s->row_length));
    s->position = position;
    return true;
}

bool data_stream_take(DataStream *s, int64_t steps, Tensor *x, Tensor *y) {
    *x = *y = tensor_nil();
    const DataStreamOptions *o = &s->options;
    int64_t left = s->row_length - s->position, T = left < steps ? left : steps;
    if (T < 1)
        return false;
    int64_t first = o->offset + o->first_row * s->row_length + s->position;
    *x = (Tensor){.dtype = TENSOR_I64,
                  .ndim = 2,
                  .shape = {T, rows_given(o)},
                  .stride = {1, s->row_length},
                  .data = (void *)(s->ids + first)};
    *y = *x;
    y->data = (void *)(s->ids + first + 1);
    s->position += T;
    return true;
}

bool data_stream_next(DataStream *s, Tensor *x, Tensor *y) {
    bool whole = s->row_length - s->position >= s->options.steps;
    return data_stream_take(s, whole || s->options.short_last ? s->options.steps : 0, x, y);
}

bool data_stream_share(const DataStreamOptions *whole, int64_t worker, int64_t workers,
                       DataStreamOptions *share, TensorError *error) {
    if (!check_rows(whole, error))
        return false;
    int64_t rows = rows_given(whole);
    if (worker < 0 || worker >= workers)
        return tensor_error_set(error, "stream: worker %lld is none of %lld", ll(worker),
                                ll(workers));
    if (rows < workers)
        return tensor_error_set(error, "stream: %lld rows are too few for %lld workers", ll(rows),
                                ll(workers));
    /* The first `rows % workers` workers take one row more. */
    int64_t even = rows / workers, more = rows % workers;
    *share = *whole;
    share->first_row = whole->first_row + worker * even + (worker < more ? worker : more);
    share->rows = even + (worker < more);
    return true;
}
