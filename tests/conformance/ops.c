/* ops.c -- the cases of single ops: PyTorch's functions with their arguments and defaults, as calls
 * of ag.h. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "tests/conformance/graph.h"
#include "tests/conformance/kinds.h"

/* ---- arguments ---- */

static int small_int(Case *c, const char *key, int64_t value) {
    if (value >= -INT_MAX && value <= INT_MAX) return (int)value;
    case_fail(c, "config: `%s` is out of range", key);
    return 0;
}

static int axis_of(Case *c, const char *key, int otherwise) {
    return small_int(c, key, case_int(c, key, otherwise));
}

/* One axis or a list; all axes where absent, null or empty. */
static AgAxes axes_of(Case *c, const char *key) {
    int64_t list[TENSOR_MAX_DIMS];
    AgAxes axes = AG_ALL_AXES;
    int n = case_ints(c, key, TENSOR_MAX_DIMS, list);
    for (int i = 0; i < n; i++) axes.axis[axes.n++] = small_int(c, key, list[i]);
    return axes;
}

/* The entry of `words` that the key has; the first where it is absent. */
static int choice_of(Case *c, const char *key, int n, const char *const *words) {
    const char *text = case_text(c, key, words[0]);
    for (int i = 0; i < n; i++)
        if (strcmp(text, words[i]) == 0) return i;
    case_fail(c, "config: `%s`: unknown value %.100s", key, text);
    return 0;
}

static AgReduction reduction_of(Case *c) {
    static const char *const words[] = {[AG_MEAN] = "mean", [AG_SUM] = "sum", [AG_NONE] = "none"};
    return (AgReduction)choice_of(c, "reduction", 3, words);
}

/* The first of two names that the file has. */
static const char *either(const Case *c, const char *name, const char *other) {
    return case_has(c, "input.%s", name) ? name : other;
}

/* The optional input: failed, and so "none", where the file has it not. */
static AgVar optional(Graph *g, const char *name) {
    return case_has(g->c, "input.%s", name) ? graph_input(g, "%s", name) : (AgVar){0};
}

static AgVar input_x(Graph *g) { return graph_input(g, "x"); }

static void output_y(Graph *g, AgVar y) { graph_output(g, y, "y"); }

/* ---- elementwise ---- */

/* torch.add and torch.sub: a + alpha b. */
static AgVar scaled_b(Graph *g) {
    double alpha = case_number(g->c, "alpha", 1);
    AgVar b = graph_input(g, "b");
    return alpha == 1 ? b : ag_affine(b, alpha, 0);
}

static void op_add(Graph *g) { output_y(g, ag_add(graph_input(g, "a"), scaled_b(g))); }

static void op_sub(Graph *g) { output_y(g, ag_sub(graph_input(g, "a"), scaled_b(g))); }

static void op_elu(Graph *g) { output_y(g, ag_elu(input_x(g), case_number(g->c, "alpha", 1))); }

static void op_softplus(Graph *g) {
    double beta = case_number(g->c, "beta", 1), threshold = case_number(g->c, "threshold", 20);
    output_y(g, ag_softplus(input_x(g), beta, threshold));
}

static void op_leaky_relu(Graph *g) {
    output_y(g, ag_leaky_relu(input_x(g), case_number(g->c, "negative_slope", 0.01)));
}

static void op_gelu(Graph *g) {
    static const char *const words[] = {[AG_GELU_ERF] = "none", [AG_GELU_TANH] = "tanh"};
    output_y(g, ag_gelu(input_x(g), (AgGelu)choice_of(g->c, "approximate", 2, words)));
}

static void op_clamp(Graph *g) {
    double min = case_number(g->c, "min", -INFINITY), max = case_number(g->c, "max", INFINITY);
    output_y(g, ag_clamp(input_x(g), min, max));
}

static void op_pow_scalar(Graph *g) {
    double exponent = case_number(g->c, case_needs(g->c, "exponent"), 1);
    output_y(g, ag_pow_scalar(input_x(g), exponent));
}

/* ---- over axes ---- */

static int64_t correction_of(Case *c) {
    if (case_has_key(c, "correction")) return case_int(c, "correction", 1);
    return case_flag(c, "unbiased", true);
}

static void op_var(Graph *g) {
    AgAxes axes = axes_of(g->c, "dim");
    output_y(g, ag_var(input_x(g), axes, correction_of(g->c), case_flag(g->c, "keepdim", false)));
}

static void op_std(Graph *g) {
    AgAxes axes = axes_of(g->c, "dim");
    output_y(g, ag_std(input_x(g), axes, correction_of(g->c), case_flag(g->c, "keepdim", false)));
}

static void op_norm(Graph *g) {
    const char *text = json_string_value(case_value(g->c, "p"));
    double p = text && strcmp(text, "fro") == 0 ? 2 : case_number(g->c, "p", 2);
    AgAxes axes = axes_of(g->c, "dim");
    output_y(g, ag_norm(input_x(g), p, axes, case_flag(g->c, "keepdim", false)));
}

static void op_topk(Graph *g) {
    int64_t k = case_int(g->c, case_needs(g->c, "k"), 1);
    bool numbered = case_has(g->c, "output.y0");
    AgVar values, indices;
    case_flag(g->c, "sorted", true); /* without it any order would do, also this one */
    ag_topk(input_x(g), k, axis_of(g->c, "dim", -1), case_flag(g->c, "largest", true), &values,
            &indices);
    graph_output(g, values, "%s", numbered ? "y0" : "y");
    const char *name = numbered ? "y1" : "indices";
    if (case_has(g->c, "output.%s", name)) graph_output(g, indices, "%s", name);
}

/* ---- shape ---- */

static void op_reshape(Graph *g) {
    int64_t shape[TENSOR_MAX_DIMS];
    int n = case_ints(g->c, case_needs(g->c, "shape"), TENSOR_MAX_DIMS, shape);
    static const char *const words[] = {"x", "transpose"};
    AgVar x = input_x(g);
    if (choice_of(g->c, "of", 2, words) == 1) x = ag_transpose(x, 0, 1);
    output_y(g, ag_reshape(x, n, shape));
}

static void op_expand(Graph *g) {
    int64_t shape[TENSOR_MAX_DIMS];
    const char *key = case_has_key(g->c, "size") ? "size" : "shape";
    int n = case_ints(g->c, case_needs(g->c, key), TENSOR_MAX_DIMS, shape);
    output_y(g, ag_expand(input_x(g), n, shape));
}

static void op_transpose(Graph *g) {
    int a = axis_of(g->c, case_needs(g->c, "dim0"), 0);
    int b = axis_of(g->c, case_needs(g->c, "dim1"), 1);
    output_y(g, ag_transpose(input_x(g), a, b));
}

/* Axes as `dims`, or as `dim`: PyTorch has both words. */
static AgAxes needed_axes(Case *c) {
    return axes_of(c, case_has_key(c, "dim") ? "dim" : case_needs(c, "dims"));
}

static void op_permute(Graph *g) {
    AgAxes axes = needed_axes(g->c);
    AgVar x = input_x(g);
    if (case_ok(g->c) && axes.n != ag_ndim(x))
        case_fail(g->c, "config: %d axes named, x %d axes", axes.n, ag_ndim(x));
    else output_y(g, ag_permute(x, axes.axis));
}

static void op_unsqueeze(Graph *g) {
    int axis = axis_of(g->c, case_needs(g->c, "dim"), 0);
    AgVar x = input_x(g);
    output_y(g, ag_unsqueeze(x, axis < 0 ? axis + ag_ndim(x) + 1 : axis));
}

static void op_squeeze(Graph *g) { output_y(g, ag_squeeze(input_x(g), axes_of(g->c, "dim"))); }

static void op_flip(Graph *g) {
    AgAxes axes = needed_axes(g->c);
    AgVar x = input_x(g);
    output_y(g, axes.n == 0 ? ag_alias(x) : ag_flip(x, axes));
}

static void op_slice(Graph *g) {
    int64_t start = case_int(g->c, "start", 0), end = case_int(g->c, "end", AG_SLICE_END);
    int64_t step = case_int(g->c, "step", 1);
    output_y(g, ag_slice(input_x(g), axis_of(g->c, "dim", 0), start, end, step));
}

static void op_select(Graph *g) {
    int axis = axis_of(g->c, case_needs(g->c, "dim"), 0);
    int64_t index = case_int(g->c, case_needs(g->c, "index"), 0);
    AgVar x = input_x(g);
    output_y(g, ag_select(x, axis, index < 0 ? index + ag_dim(x, axis) : index));
}

/* x0, x1, .. */
static int input_list(Graph *g, AgVar *x) {
    int n = 0;
    while (n < GRAPH_MAX_INPUTS && case_has(g->c, "input.x%d", n)) {
        x[n] = graph_input(g, "x%d", n);
        n++;
    }
    if (n == 0) case_fail(g->c, "no tensor input.x0");
    return n;
}

/* torch.cat passes over tensors of shape [0] among those of more axes. */
static int without_empty(int n, AgVar *x) {
    int kept = 0, most = 0;
    for (int i = 0; i < n; i++) most = ag_ndim(x[i]) > most ? ag_ndim(x[i]) : most;
    for (int i = 0; i < n; i++)
        if (most == 1 || ag_ndim(x[i]) != 1 || ag_dim(x[i], 0) != 0) x[kept++] = x[i];
    return kept;
}

static void op_cat(Graph *g) {
    AgVar x[GRAPH_MAX_INPUTS];
    int n = without_empty(input_list(g, x), x);
    if (n > 0) output_y(g, ag_concat(n, x, axis_of(g->c, "dim", 0)));
}

static void op_stack(Graph *g) {
    AgVar x[GRAPH_MAX_INPUTS];
    int n = input_list(g, x), axis = axis_of(g->c, "dim", 0);
    if (n > 0) output_y(g, ag_stack(n, x, axis < 0 ? axis + ag_ndim(x[0]) + 1 : axis));
}

static void op_chunk(Graph *g) {
    int64_t chunks = case_int(g->c, case_needs(g->c, "chunks"), 1);
    int axis = axis_of(g->c, "dim", 0);
    AgVar x = input_x(g);
    if (chunks < 1) case_fail(g->c, "config: `chunks` is not above 0");
    if (!case_ok(g->c)) return;
    int64_t n = ag_dim(x, axis), size = n / chunks + (n % chunks != 0);
    int64_t parts = size > 0 ? (n + size - 1) / size : chunks;
    for (int64_t i = 0; case_ok(g->c) && i < parts; i++)
        graph_output(g, ag_chunk(x, axis, chunks, i), "y%lld", (long long)i);
}

/* A list of sizes as it is, or one size for all parts but perhaps the last. */
static int split_sizes(Case *c, int64_t n, int64_t *sizes) {
    static const char *const keys[] = {"split_size", "split_size_or_sections", "sizes"};
    int k = 0;
    while (k < 2 && !case_has_key(c, keys[k])) k++;
    bool one = json_is_integer(case_value(c, case_needs(c, keys[k])));
    int count = case_ints(c, keys[k], GRAPH_MAX_OUTPUTS, sizes);
    if (!one || !case_ok(c)) return count;
    int64_t size = sizes[0];
    if (size < 1 || n / size >= GRAPH_MAX_OUTPUTS) {
        case_fail(c, "config: `%s` is out of range", keys[k]);
        return 0;
    }
    count = n == 0 ? 1 : (int)((n + size - 1) / size);
    for (int i = 0; i < count; i++) sizes[i] = i < count - 1 ? size : n - i * size;
    return count;
}

static void op_split(Graph *g) {
    int64_t sizes[GRAPH_MAX_OUTPUTS];
    AgVar parts[GRAPH_MAX_OUTPUTS], x = input_x(g);
    int axis = axis_of(g->c, "dim", 0), n = split_sizes(g->c, ag_dim(x, axis), sizes);
    if (!case_ok(g->c)) return;
    ag_split(x, axis, n, sizes, parts);
    for (int i = 0; i < n; i++) graph_output(g, parts[i], "y%d", i);
}

static void op_tril(Graph *g) { output_y(g, ag_tril(input_x(g), case_int(g->c, "diagonal", 0))); }

static void op_triu(Graph *g) { output_y(g, ag_triu(input_x(g), case_int(g->c, "diagonal", 0))); }

static void op_pad(Graph *g) {
    int64_t pad[2 * TENSOR_MAX_DIMS];
    static const char *const modes[] = {"constant"};
    int n = case_ints(g->c, case_needs(g->c, "pad"), 2 * TENSOR_MAX_DIMS, pad);
    choice_of(g->c, "mode", 1, modes);
    if (n % 2 != 0) case_fail(g->c, "config: `pad` has an odd number of entries");
    if (case_ok(g->c)) output_y(g, ag_pad(input_x(g), n / 2, pad, case_number(g->c, "value", 0)));
}

/* ---- by index, masks ---- */

static void op_index_select(Graph *g) {
    int axis = axis_of(g->c, case_needs(g->c, "dim"), 0);
    AgVar x = input_x(g), index = graph_input(g, "index");
    if (case_ok(g->c) && ag_ndim(index) == 0) index = ag_unsqueeze(index, 0);
    output_y(g, ag_index_select(x, axis, index));
}

static void op_gather(Graph *g) {
    int axis = axis_of(g->c, case_needs(g->c, "dim"), 0);
    case_flag(g->c, "sparse_grad", false); /* the form of PyTorch's gradient, not its values */
    output_y(g, ag_gather(input_x(g), axis, graph_input(g, "index")));
}

static void op_scatter_add(Graph *g) {
    int axis = axis_of(g->c, case_needs(g->c, "dim"), 0);
    AgVar x = input_x(g), index = graph_input(g, "index");
    output_y(g, ag_scatter_add(x, axis, index, graph_input(g, "src")));
}

static void op_where(Graph *g) {
    const char *name = either(g->c, "mask", either(g->c, "condition", "cond"));
    AgVar mask = graph_input(g, "%s", name);
    output_y(g, ag_where(mask, graph_input(g, "a"), graph_input(g, "b")));
}

static void op_masked_fill(Graph *g) {
    double value = case_number(g->c, case_needs(g->c, "value"), 0);
    AgVar mask = graph_input(g, "%s", either(g->c, "cond", "mask"));
    output_y(g, ag_masked_fill(input_x(g), mask, value));
}

/* Constant where the row is padding_idx, so that no gradient arrives there. */
static AgVar without_row(Graph *g, AgVar weight, int64_t row) {
    int64_t V = ag_dim(weight, 0);
    AgVar rows = ag_unsqueeze(ag_arange(g->t, TENSOR_I64, 0, (double)V, 1), 1);
    AgVar padding = ag_full(g->t, TENSOR_I64, 0, NULL, (double)(row < 0 ? row + V : row));
    return ag_where(ag_eq(rows, padding), ag_detach(weight), weight);
}

static void op_embedding(Graph *g) {
    AgVar weight = graph_input(g, "weight"), index = graph_input(g, "index");
    bool padded = case_has_key(g->c, "padding_idx");
    int64_t row = case_int(g->c, "padding_idx", 0);
    case_flag(g->c, "sparse", false);
    if (padded && (row < -ag_dim(weight, 0) || row >= ag_dim(weight, 0)))
        case_fail(g->c, "config: `padding_idx` is out of range");
    if (!case_ok(g->c)) return;
    output_y(g, ag_embedding(padded ? without_row(g, weight, row) : weight, index));
}

/* ---- layers ---- */

/* Fails where the flag of the config, if any, and the tensor input.NAME do not agree. */
static void check_flag(Graph *g, const char *key, const char *name) {
    bool has = case_has(g->c, "input.%s", name);
    if (case_flag(g->c, key, has) != has)
        case_fail(g->c, has ? "input.%s, not used" : "no tensor input.%s", name);
}

static void op_linear(Graph *g) {
    AgVar x = input_x(g), weight = graph_input(g, "weight");
    check_flag(g, "bias", "bias");
    output_y(g, ag_linear(x, weight, optional(g, "bias")));
}

static void op_layer_norm(Graph *g) {
    int64_t shape[TENSOR_MAX_DIMS];
    int n = case_ints(g->c, case_needs(g->c, "normalized_shape"), TENSOR_MAX_DIMS, shape);
    double eps = case_number(g->c, "eps", 1e-5);
    AgVar x = input_x(g);
    for (int i = 0; case_ok(g->c) && i < n; i++)
        if (ag_dim(x, i - n) != shape[i])
            case_fail(g->c, "config: `normalized_shape` is not that of the last axes of x");
    if (!case_ok(g->c)) return;
    check_flag(g, "elementwise_affine", "weight");
    AgVar weight = optional(g, "weight");
    output_y(g, ag_layer_norm(x, n, weight, optional(g, "bias"), eps));
}

/* ---- losses ---- */

static AgVar target_of(Graph *g) { return graph_option(g, "target"); }

/* A constant factor of a loss: the tensor input.NAME, or that of its other name, of which a flag
 * in the config may tell; or numbers in the config.  The failed variable if there is none. */
static AgVar factor_of(Graph *g, const char *name, const char *other, const char *flag) {
    const char *tensor = either(g->c, name, other);
    const char *key = case_has_key(g->c, flag) ? flag : case_has_key(g->c, other) ? other : name;
    const json_t *value = case_value(g->c, key);
    if (case_has(g->c, "input.%s", tensor)) {
        if (value && !case_flag(g->c, key, true)) case_fail(g->c, "input.%s, not used", tensor);
        return graph_option(g, tensor);
    }
    if (json_is_boolean(value) && json_is_true(value)) case_fail(g->c, "no tensor input.%s", name);
    if (!value || json_is_boolean(value) || !case_ok(g->c)) return (AgVar){0};
    double numbers[256];
    int64_t n = case_numbers(g->c, key, 256, numbers);
    Tensor x = tensor_wrap(numbers, TENSOR_F64, json_is_array(value), &n);
    return case_ok(g->c) ? ag_cast(ag_input(g->t, &x), g->dtype) : (AgVar){0};
}

/* PyTorch has the classes on axis 1 (of [V], on axis 0), ag.h on the last. */
static AgVar classes_last(AgVar x) {
    int n = ag_ndim(x), axes[TENSOR_MAX_DIMS] = {0};
    if (n < 3) return x;
    for (int d = 1; d < n; d++) axes[d] = d < n - 1 ? d + 1 : 1;
    return ag_permute(x, axes);
}

static AgCrossEntropyOptions class_options(Graph *g) {
    AgCrossEntropyOptions o = {.reduction = reduction_of(g->c),
                               .has_ignore_index = case_has_key(g->c, "ignore_index"),
                               .ignore_index = case_int(g->c, "ignore_index", AG_IGNORE_INDEX)};
    o.weight = factor_of(g, "class_weight", "weight", "weighted");
    return o;
}

static void op_cross_entropy(Graph *g) {
    AgCrossEntropyOptions o = class_options(g);
    o.label_smoothing = case_number(g->c, "label_smoothing", 0);
    AgVar x = classes_last(input_x(g)), target = target_of(g);
    if (tensor_dtype_is_float(ag_dtype(target))) target = classes_last(target);
    output_y(g, ag_cross_entropy(x, target, &o));
}

static void op_nll_loss(Graph *g) {
    AgCrossEntropyOptions o = class_options(g);
    AgVar x = classes_last(input_x(g));
    output_y(g, ag_nll_loss(x, target_of(g), &o));
}

static void op_smooth_l1_loss(Graph *g) {
    double beta = case_number(g->c, "beta", 1);
    AgVar x = input_x(g);
    output_y(g, ag_smooth_l1_loss(x, target_of(g), beta, reduction_of(g->c)));
}

static void op_huber_loss(Graph *g) {
    double delta = case_number(g->c, "delta", 1);
    AgVar x = input_x(g);
    output_y(g, ag_huber_loss(x, target_of(g), delta, reduction_of(g->c)));
}

static void op_bce_with_logits(Graph *g) {
    AgBceOptions o = {.reduction = reduction_of(g->c)};
    bool alone = case_has(g->c, "input.pos_weight") && !case_has(g->c, "input.weight");
    const char *flag = alone ? "weighted" : "pos_weighted"; /* `weighted` is of the only one */
    if (!alone) o.weight = factor_of(g, "weight", "weight", "weighted");
    o.pos_weight = factor_of(g, "pos_weight", "pos_weight", flag);
    AgVar x = input_x(g);
    output_y(g, ag_bce_with_logits(x, target_of(g), &o));
}

static void op_ctc_loss(Graph *g) {
    static const char *const words[] = {"logits", "log_probs"};
    AgCtcOptions o = {.reduction = reduction_of(g->c),
                      .blank = case_int(g->c, "blank", 0),
                      .zero_infinity = case_flag(g->c, "zero_infinity", false)};
    bool logits = choice_of(g->c, "of", 2, words) == 0;
    AgVar x = input_x(g), target = target_of(g), lengths = graph_input(g, "input_lengths");
    AgVar target_lengths = graph_input(g, "target_lengths");
    bool single = case_ok(g->c) && ag_ndim(x) == 2; /* one sequence, without the axis B */
    if (single) {
        x = ag_unsqueeze(x, 1);
        lengths = ag_reshape(lengths, 1, (int64_t[]){1});
        target_lengths = ag_reshape(target_lengths, 1, (int64_t[]){1});
    }
    if (logits) x = ag_log_softmax(x, -1);
    AgVar y = ag_ctc_loss(x, target, lengths, target_lengths, &o);
    output_y(g, single ? ag_reshape(y, 0, NULL) : y);
}

/* ---- the table ---- */

typedef struct {
    const char *name;
    AgVar (*unary)(AgVar);                       /* of x */
    AgVar (*binary)(AgVar, AgVar);               /* of a and b */
    AgVar (*along)(AgVar, int);                  /* of x; config dim */
    AgVar (*reduce)(AgVar, AgAxes, bool);        /* of x; config dim, keepdim */
    AgVar (*loss)(AgVar, AgVar, AgReduction);    /* of x and target; config reduction */
    void (*build)(Graph *);
} Op;

static const Op ops[] = {
    {"neg", .unary = ag_neg},
    {"exp", .unary = ag_exp},
    {"log", .unary = ag_log},
    {"log1p", .unary = ag_log1p},
    {"expm1", .unary = ag_expm1},
    {"sqrt", .unary = ag_sqrt},
    {"rsqrt", .unary = ag_rsqrt},
    {"reciprocal", .unary = ag_reciprocal},
    {"square", .unary = ag_square},
    {"abs", .unary = ag_abs},
    {"sin", .unary = ag_sin},
    {"cos", .unary = ag_cos},
    {"tanh", .unary = ag_tanh},
    {"sigmoid", .unary = ag_sigmoid},
    {"relu", .unary = ag_relu},
    {"silu", .unary = ag_silu},
    {"erf", .unary = ag_erf},
    {"logsigmoid", .unary = ag_logsigmoid},
    {"elu", .build = op_elu},
    {"softplus", .build = op_softplus},
    {"leaky_relu", .build = op_leaky_relu},
    {"gelu", .build = op_gelu},
    {"clamp", .build = op_clamp},
    {"pow_scalar", .build = op_pow_scalar},

    {"add", .build = op_add},
    {"sub", .build = op_sub},
    {"mul", .binary = ag_mul},
    {"div", .binary = ag_div},
    {"maximum", .binary = ag_maximum},
    {"minimum", .binary = ag_minimum},
    {"pow", .binary = ag_pow},
    {"logaddexp", .binary = ag_logaddexp},
    {"matmul", .binary = ag_matmul},

    {"sum", .reduce = ag_sum},
    {"mean", .reduce = ag_mean},
    {"prod", .reduce = ag_prod},
    {"logsumexp", .reduce = ag_logsumexp},
    {"amax", .reduce = ag_amax},
    {"amin", .reduce = ag_amin},
    {"var", .build = op_var},
    {"std", .build = op_std},
    {"norm", .build = op_norm},
    {"cumsum", .along = ag_cumsum},
    {"softmax", .along = ag_softmax},
    {"log_softmax", .along = ag_log_softmax},
    {"topk", .build = op_topk},

    {"reshape", .build = op_reshape},
    {"transpose", .build = op_transpose},
    {"permute", .build = op_permute},
    {"expand", .build = op_expand},
    {"unsqueeze", .build = op_unsqueeze},
    {"squeeze", .build = op_squeeze},
    {"slice", .build = op_slice},
    {"select", .build = op_select},
    {"flip", .build = op_flip},
    {"cat", .build = op_cat},
    {"stack", .build = op_stack},
    {"chunk", .build = op_chunk},
    {"split", .build = op_split},
    {"index_select", .build = op_index_select},
    {"gather", .build = op_gather},
    {"scatter_add", .build = op_scatter_add},
    {"where", .build = op_where},
    {"masked_fill", .build = op_masked_fill},
    {"tril", .build = op_tril},
    {"triu", .build = op_triu},
    {"pad", .build = op_pad},

    {"embedding", .build = op_embedding},
    {"linear", .build = op_linear},
    {"layer_norm", .build = op_layer_norm},

    {"cross_entropy", .build = op_cross_entropy},
    {"nll_loss", .build = op_nll_loss},
    {"mse_loss", .loss = ag_mse_loss},
    {"l1_loss", .loss = ag_l1_loss},
    {"smooth_l1_loss", .build = op_smooth_l1_loss},
    {"huber_loss", .build = op_huber_loss},
    {"binary_cross_entropy_with_logits", .build = op_bce_with_logits},
    {"ctc_loss", .build = op_ctc_loss},
};

static void build(Graph *g, const Op *op) {
    if (op->unary) output_y(g, op->unary(input_x(g)));
    if (op->binary) {
        AgVar a = graph_input(g, "a");
        output_y(g, op->binary(a, graph_input(g, "b")));
    }
    if (op->along) {
        int axis = axis_of(g->c, case_needs(g->c, "dim"), 0);
        output_y(g, op->along(input_x(g), axis));
    }
    if (op->reduce) {
        AgAxes axes = axes_of(g->c, "dim");
        output_y(g, op->reduce(input_x(g), axes, case_flag(g->c, "keepdim", false)));
    }
    if (op->loss) {
        AgVar x = input_x(g);
        output_y(g, op->loss(x, target_of(g), reduction_of(g->c)));
    }
    if (op->build) op->build(g);
}

void kind_op(Case *c) {
    const char *name = case_text(c, case_needs(c, "op"), "");
    const Op *op = NULL;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(ops[i].name, name) == 0) op = &ops[i];
    if (!op) case_fail(c, "unknown op `%.100s`", name);
    if (!case_ok(c)) return;
    Graph g;
    graph_begin(&g, c, TENSOR_F64);
    if (case_ok(c)) build(&g, op);
    graph_check(&g);
    graph_end(&g);
}
