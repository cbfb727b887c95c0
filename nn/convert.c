/* convert.c -- see convert.h.
 *
 * Whatever the format, a call first describes theirs as views that have our axes (rows of gates
 * first), then checks all of them, and then copies blocks of H rows from place to place. */
#include "nn/convert.h"

#include "tensor/kernels.h"

/* Our gate k stands at at[k] of theirs. */
typedef struct {
    int ours, theirs; /* how many gates */
    int at[4];
} Order;

static const Order order_lstm_keras = {4, 4, {0, 1, 2, 3}};
static const Order order_lstm_onnx = {4, 4, {0, 2, 3, 1}};
static const Order order_lstm_onnx_coupled = {3, 4, {0, 3, 1}};
static const Order order_gru = {3, 3, {1, 0, 2}};
static const Order order_rnn = {1, 1, {0}};
static const Order order_peepholes = {3, 3, {0, 2, 1}};
static const Order order_peepholes_coupled = {2, 3, {0, 1}};

typedef struct {
    NnParam *weight_ih, *weight_hh, *bias_ih, *bias_hh, *peepholes; /* NULL: the layer has none */
} Ours;

/* Views of their tensors with the axes of ours; nil: they have none. */
typedef struct {
    Tensor weight_ih, weight_hh, bias_ih, bias_hh, peepholes;
    bool one_bias; /* bias_ih is the sum of both */
} Theirs;

typedef struct {
    const char *name; /* of the public function, for messages */
    bool import;      /* from theirs to ours */
    bool convert_dtype;
    const Order *gates, *peepholes;
    Ours ours;
    int64_t I, H;
    TensorError *error;
} Call;

/* ---- checks ---- */

static bool check_layer(Call *c) {
    const NnParam *w = c->ours.weight_ih;
    if (!w) return tensor_error_set(c->error, "%s: the layer was not made", c->name);
    if (!nn_params_ok(w->set))
        return tensor_error_set(c->error, "%s: the layer was not made: %s", c->name,
                                nn_params_error(w->set));
    c->I = w->value.shape[1];
    c->H = c->ours.weight_hh->value.shape[1];
    return true;
}

/* Refuses a layer with parameter p, if it has it. */
static bool check_without(const Call *c, const NnParam *p, const char *reason) {
    if (!p) return true;
    return tensor_error_set(c->error, "%s: %s: %s", c->name, p->name, reason);
}

static bool is_absent(const Tensor *x) {
    return tensor_is_nil(x) || (x->ndim == 0 && !x->data);
}

/* Their tensor x against the shape that fits the layer's parameter p. */
static bool check_shape(const Call *c, const char *what, const Tensor *x, const NnParam *p,
                        int ndim, const int64_t *shape) {
    char ours[TENSOR_DESCRIBE_SIZE], theirs[TENSOR_DESCRIBE_SIZE], fits[TENSOR_DESCRIBE_SIZE];
    const char *invalid = tensor_invalid(x);
    if (invalid) return tensor_error_set(c->error, "%s: %s: %s", c->name, what, invalid);
    tensor_describe(&p->value, ours, sizeof ours);
    tensor_describe(x, theirs, sizeof theirs);
    Tensor want = {.dtype = p->value.dtype, .ndim = ndim};
    bool same = x->ndim == ndim;
    for (int d = 0; d < ndim; d++) {
        want.shape[d] = shape[d];
        same = same && x->shape[d] == shape[d];
    }
    if (!same)
        return tensor_error_set(c->error, "%s: %s %s: expected %s %s, got %s", c->name, p->name,
                                ours, what, tensor_describe(&want, fits, sizeof fits), theirs);
    bool fits_dtype = c->convert_dtype ? tensor_dtype_is_float(x->dtype)
                                       : x->dtype == p->value.dtype;
    if (!fits_dtype)
        return tensor_error_set(c->error, "%s: %s is %s, but %s %s%s", c->name, p->name, ours, what,
                                theirs, c->convert_dtype ? "" : " (convert_dtype is off)");
    if (!c->import && tensor_is_overlapping(x))
        return tensor_error_set(c->error, "%s: %s %s overlaps itself", c->name, what, theirs);
    return true;
}

/* The same for a tensor that may be absent, and for p NULL: nothing may get lost. */
static bool check_optional(const Call *c, const char *what, const Tensor *x, const NnParam *p,
                           int ndim, const int64_t *shape) {
    if (is_absent(x)) {
        if (c->import || !p) return true;
        return tensor_error_set(c->error, "%s: no tensor %s for %s", c->name, what, p->name);
    }
    if (c->import && !p) {
        char theirs[TENSOR_DESCRIBE_SIZE];
        return tensor_error_set(c->error, "%s: no parameter for %s %s in the layer of %s", c->name,
                                what, tensor_describe(x, theirs, sizeof theirs),
                                c->ours.weight_hh->name);
    }
    return check_shape(c, what, x, p ? p : c->ours.weight_hh, ndim, shape);
}

/* ---- copies ---- */

static void copy_rows(const Call *c, NnParam *p, const Tensor *theirs, const Order *order) {
    bool absent = tensor_is_nil(theirs);
    if (c->import ? !p : absent) return;
    if (!c->import && (!p || order->ours < order->theirs)) tensor_fill(theirs, 0);
    if (c->import && absent) tensor_fill(&p->value, 0);
    for (int k = 0; p && !absent && k < order->ours; k++) {
        Tensor a = tensor_narrow(&p->value, 0, k * c->H, c->H);
        Tensor b = tensor_narrow(theirs, 0, order->at[k] * c->H, c->H);
        if (c->import) tensor_convert(&a, &b);
        else tensor_convert(&b, &a);
    }
    if (c->import) nn_param_touch(p);
}

/* Both biases as one.  The sum in double is exact enough to be rounded once, for F32 too. */
static void add_biases(const Call *c, const Tensor *theirs) {
    for (int64_t row = 0; row < tensor_numel(theirs); row++)
        tensor_set(theirs, row, tensor_get(&c->ours.bias_ih->value, row) +
                                    tensor_get(&c->ours.bias_hh->value, row));
}

static bool copy_all(const Call *c, const Theirs *t) {
    copy_rows(c, c->ours.weight_ih, &t->weight_ih, c->gates);
    copy_rows(c, c->ours.weight_hh, &t->weight_hh, c->gates);
    if (t->one_bias && !c->import && c->ours.bias_ih) {
        add_biases(c, &t->bias_ih);
    } else {
        copy_rows(c, c->ours.bias_ih, &t->bias_ih, c->gates);
        copy_rows(c, c->ours.bias_hh, &t->bias_hh, c->gates);
    }
    copy_rows(c, c->ours.peepholes, &t->peepholes, c->peepholes);
    return true;
}

/* ---- Keras ---- */

/* gru: the bias has two rows. */
static bool run_keras(Call *c, const NnKerasWeights *w, bool gru) {
    int64_t rows = c->gates->theirs * c->H;
    c->convert_dtype = w->convert_dtype;
    if (!check_shape(c, "kernel", &w->kernel, c->ours.weight_ih, 2, (int64_t[]){c->I, rows}) ||
        !check_shape(c, "recurrent_kernel", &w->recurrent_kernel, c->ours.weight_hh, 2,
                     (int64_t[]){c->H, rows}) ||
        !check_optional(c, "bias", &w->bias, c->ours.bias_ih, gru ? 2 : 1,
                        gru ? (int64_t[]){2, rows} : (int64_t[]){rows}))
        return false;
    Theirs t = {.weight_ih = tensor_transpose(&w->kernel, 0, 1),
                .weight_hh = tensor_transpose(&w->recurrent_kernel, 0, 1),
                .bias_ih = is_absent(&w->bias) ? tensor_nil() : w->bias,
                .bias_hh = tensor_nil(), .peepholes = tensor_nil(), .one_bias = !gru};
    if (gru) {
        t.bias_hh = tensor_select(&t.bias_ih, 0, 1);
        t.bias_ih = tensor_select(&t.bias_ih, 0, 0);
    }
    return copy_all(c, &t);
}

/* ---- ONNX ---- */

static bool check_direction(const Call *c, const NnOnnxWeights *w) {
    if (w->w.ndim != 3 || (w->direction >= 0 && w->direction < w->w.shape[0])) return true;
    char theirs[TENSOR_DESCRIBE_SIZE];
    return tensor_error_set(c->error, "%s: no direction %d in W %s", c->name, w->direction,
                            tensor_describe(&w->w, theirs, sizeof theirs));
}

/* The part of x that belongs to the direction; nil if there is no x. */
static Tensor of_direction(const NnOnnxWeights *w, const Tensor *x) {
    return is_absent(x) ? tensor_nil() : tensor_select(x, 0, w->direction);
}

static bool run_onnx(Call *c, const NnOnnxWeights *w) {
    int64_t rows = c->gates->theirs * c->H, D = w->w.ndim == 3 ? w->w.shape[0] : 1;
    c->convert_dtype = w->convert_dtype;
    if (!check_direction(c, w) ||
        !check_shape(c, "W", &w->w, c->ours.weight_ih, 3, (int64_t[]){D, rows, c->I}) ||
        !check_shape(c, "R", &w->r, c->ours.weight_hh, 3, (int64_t[]){D, rows, c->H}) ||
        !check_optional(c, "B", &w->b, c->ours.bias_ih, 2, (int64_t[]){D, 2 * rows}) ||
        !check_optional(c, "P", &w->p, c->ours.peepholes, 2, (int64_t[]){D, 3 * c->H}))
        return false;
    Tensor b = of_direction(w, &w->b);
    return copy_all(c, &(Theirs){.weight_ih = of_direction(w, &w->w),
                                 .weight_hh = of_direction(w, &w->r),
                                 .bias_ih = tensor_narrow(&b, 0, 0, rows),
                                 .bias_hh = tensor_narrow(&b, 0, rows, rows),
                                 .peepholes = of_direction(w, &w->p)});
}

/* ---- LSTM ---- */

static Call lstm_call(const char *name, bool import, const NnLstmParams *p, TensorError *error) {
    Call c = {.name = name, .import = import, .gates = &order_lstm_keras, .error = error};
    if (p)
        c.ours = (Ours){p->weight_ih, p->weight_hh, p->bias_ih, p->bias_hh, p->weight_peephole};
    return c;
}

static bool check_lstm(Call *c, const NnLstmParams *p) {
    return check_layer(c) &&
           check_without(c, p->weight_hr, "no place for a projection in this format") &&
           check_without(c, p->layer_norm_ih, "no place for layer normalisation in this format");
}

/* Three gates instead of four. */
static bool is_coupled(const Call *c) {
    return c->H > 0 && c->ours.weight_hh->value.shape[0] == 3 * c->H;
}

static bool lstm_keras(Call c, const NnLstmParams *p, const NnKerasWeights *w) {
    if (!check_lstm(&c, p) || !check_without(&c, p->weight_peephole, "Keras has no peepholes"))
        return false;
    if (is_coupled(&c) && !check_without(&c, p->weight_hh, "Keras has no coupled gates"))
        return false;
    return run_keras(&c, w, false);
}

bool nn_lstm_from_keras(const NnLstmParams *p, const NnKerasWeights *w, TensorError *error) {
    return lstm_keras(lstm_call("lstm_from_keras", true, p, error), p, w);
}

bool nn_lstm_to_keras(const NnLstmParams *p, const NnKerasWeights *w, TensorError *error) {
    return lstm_keras(lstm_call("lstm_to_keras", false, p, error), p, w);
}

static bool lstm_onnx(Call c, const NnLstmParams *p, const NnOnnxWeights *w) {
    if (!check_lstm(&c, p)) return false;
    bool coupled = is_coupled(&c);
    if (c.H > 0 && coupled != w->input_forget)
        return tensor_error_set(c.error, "%s: %s: gates are %scoupled, but input_forget is %d",
                                c.name, p->weight_hh->name, coupled ? "" : "not ",
                                w->input_forget);
    c.gates = coupled ? &order_lstm_onnx_coupled : &order_lstm_onnx;
    c.peepholes = coupled ? &order_peepholes_coupled : &order_peepholes;
    return run_onnx(&c, w);
}

bool nn_lstm_from_onnx(const NnLstmParams *p, const NnOnnxWeights *w, TensorError *error) {
    return lstm_onnx(lstm_call("lstm_from_onnx", true, p, error), p, w);
}

bool nn_lstm_to_onnx(const NnLstmParams *p, const NnOnnxWeights *w, TensorError *error) {
    return lstm_onnx(lstm_call("lstm_to_onnx", false, p, error), p, w);
}

/* ---- GRU and plain RNN ---- */

static Call rnn_call(const char *name, bool import, const Order *gates, const NnRnnParams *p,
                     TensorError *error) {
    Call c = {.name = name, .import = import, .gates = gates, .error = error};
    if (p) c.ours = (Ours){p->weight_ih, p->weight_hh, p->bias_ih, p->bias_hh, NULL};
    return c;
}

static bool check_reset(const Call *c, bool after, const char *attribute) {
    if (after) return true;
    return tensor_error_set(c->error,
                            "%s: %s is off: a reset gate before the product is another function",
                            c->name, attribute);
}

static bool gru_keras(Call c, const NnKerasWeights *w) {
    return check_reset(&c, w->reset_after, "reset_after") && check_layer(&c) &&
           run_keras(&c, w, true);
}

bool nn_gru_from_keras(const NnRnnParams *p, const NnKerasWeights *w, TensorError *error) {
    return gru_keras(rnn_call("gru_from_keras", true, &order_gru, p, error), w);
}

bool nn_gru_to_keras(const NnRnnParams *p, const NnKerasWeights *w, TensorError *error) {
    return gru_keras(rnn_call("gru_to_keras", false, &order_gru, p, error), w);
}

static bool gru_onnx(Call c, const NnOnnxWeights *w) {
    return check_reset(&c, w->linear_before_reset, "linear_before_reset") && check_layer(&c) &&
           run_onnx(&c, w);
}

bool nn_gru_from_onnx(const NnRnnParams *p, const NnOnnxWeights *w, TensorError *error) {
    return gru_onnx(rnn_call("gru_from_onnx", true, &order_gru, p, error), w);
}

bool nn_gru_to_onnx(const NnRnnParams *p, const NnOnnxWeights *w, TensorError *error) {
    return gru_onnx(rnn_call("gru_to_onnx", false, &order_gru, p, error), w);
}

bool nn_rnn_from_keras(const NnRnnParams *p, const NnKerasWeights *w, TensorError *error) {
    Call c = rnn_call("rnn_from_keras", true, &order_rnn, p, error);
    return check_layer(&c) && run_keras(&c, w, false);
}

bool nn_rnn_to_keras(const NnRnnParams *p, const NnKerasWeights *w, TensorError *error) {
    Call c = rnn_call("rnn_to_keras", false, &order_rnn, p, error);
    return check_layer(&c) && run_keras(&c, w, false);
}

bool nn_rnn_from_onnx(const NnRnnParams *p, const NnOnnxWeights *w, TensorError *error) {
    Call c = rnn_call("rnn_from_onnx", true, &order_rnn, p, error);
    return check_layer(&c) && run_onnx(&c, w);
}

bool nn_rnn_to_onnx(const NnRnnParams *p, const NnOnnxWeights *w, TensorError *error) {
    Call c = rnn_call("rnn_to_onnx", false, &order_rnn, p, error);
    return check_layer(&c) && run_onnx(&c, w);
}
