/* Functions of one element, quotients, broadcasting, sums and maxima along time, dropout. */
#include <math.h>

#include "tensor/rng.h"
#include "tests/autograd/catalogue/catalogue.h"

/* ---- y = f(x), element by element ---- */

enum { UNARY_SLOPE = 1, UNARY_POINT, UNARY_SIGN };

typedef struct {
    double (*f)(double x);
    double (*slope)(double x, double y), (*wrong)(double x, double y);
    double lo, hi;
    double point; /* where the function is not smooth: x[1] of UNARY_POINT */
    int64_t n;
} Unary;

static void open_unary(CatalogueArrays *a) {
    const Unary *u = a->kernel->options;
    catalogue_input(a, "x", u->lo, u->hi, SHAPE(u->n));
    if (a->bug == UNARY_POINT && X(0)) X(0)[1] = u->point;
    catalogue_result(a, "y", SHAPE(u->n));
}

static bool unary_forward(void *context) {
    CatalogueArrays *a = context;
    const Unary *u = a->kernel->options;
    for (int64_t j = 0; j < u->n; j++) Y(0)[j] = u->f(X(0)[j]);
    return true;
}

static bool unary_backward(void *context) {
    CatalogueArrays *a = context;
    const Unary *u = a->kernel->options;
    for (int64_t j = 0; j < u->n; j++) {
        DX(0)[j] = DY(0)[j] * (a->bug == UNARY_SLOPE ? u->wrong : u->slope)(X(0)[j], Y(0)[j]);
        if (a->bug == UNARY_SIGN) DX(0)[j] = -DX(0)[j];
    }
    return true;
}

static const double pi = 3.14159265358979323846;

static double sigmoid_slope(double x, double y) { return (void)x, y * (1 - y); }
static double sigmoid_wrong(double x, double y) { return (void)x, y * (1 + y); }

static double relu_of(double x) { return x > 0 ? x : 0; }
static double relu_slope(double x, double y) { return (void)y, x > 0; }
static double relu_wrong(double x, double y) { return (void)y, x > 0 ? 1 : .01; }

static double abs_slope(double x, double y) { return (void)y, (x > 0) - (x < 0); }

static double clamp_of(double x) { return fmin(fmax(x, -1), 1); }
static double clamp_slope(double x, double y) { return (void)y, fabs(x) <= 1; }
static double clamp_wrong(double x, double y) { return (void)x, (void)y, 1; }

static double normal_below(double x) { return .5 * (1 + erf(x / sqrt(2))); }
static double gelu_of(double x) { return x * normal_below(x); }
static double gelu_slope(double x, double y) {
    return (void)y, normal_below(x) + x * exp(-.5 * x * x) / sqrt(2 * pi);
}
/* The slope of x/2 (1 + tanh(scale (x + 0.044715 x^3))). */
static double gelu_tanh_slope(double x, double scale) {
    double t = tanh(scale * (x + .044715 * x * x * x));
    return .5 * (1 + t) + .5 * x * (1 - t * t) * scale * (1 + 3 * .044715 * x * x);
}
static double gelu_wrong(double x, double y) { return (void)y, gelu_tanh_slope(x, sqrt(2 / pi)); }

static double gelu_tanh_of(double x) {
    return .5 * x * (1 + tanh(sqrt(2 / pi) * (x + .044715 * x * x * x)));
}
static double gelu_tanh_right(double x, double y) {
    return (void)y, gelu_tanh_slope(x, sqrt(2 / pi));
}
static double gelu_tanh_rounded(double x, double y) { return (void)y, gelu_tanh_slope(x, .7979); }

static double erf_slope(double x, double y) { return (void)y, 2 / sqrt(pi) * exp(-x * x); }
static double erf_wrong(double x, double y) { return (void)y, exp(-x * x); }

static double cube_of(double x) { return x * x * x; }
static double cube_slope(double x, double y) { return (void)y, 3 * x * x; }
static const double one_of_200 = .625;
static double cube_wrong(double x, double y) {
    return x == one_of_200 ? -cube_slope(x, y) : cube_slope(x, y);
}
static double cube_slightly(double x, double y) {
    return x == one_of_200 ? 1.0001 * cube_slope(x, y) : cube_slope(x, y);
}
static void open_cube(CatalogueArrays *a) {
    open_unary(a);
    if (X(0)) X(0)[137] = one_of_200;
}

#define UNARY(name, f, slope, wrong, lo, hi, point, n) \
    static const Unary name = {f, slope, wrong, lo, hi, point, n}
UNARY(sigmoids, sigmoid_of, sigmoid_slope, sigmoid_wrong, -2, 2, 0, 7);
UNARY(relus, relu_of, relu_slope, relu_wrong, -2, 2, 0, 9);
UNARY(magnitudes, fabs, abs_slope, NULL, .5, 2, 0, 5);
UNARY(clamps, clamp_of, clamp_slope, clamp_wrong, -2, 2, 1, 11);
UNARY(gelus, gelu_of, gelu_slope, gelu_wrong, -2, 2, 0, 8);
UNARY(tanh_gelus, gelu_tanh_of, gelu_tanh_right, gelu_tanh_rounded, -2, 2, 0, 8);
UNARY(erfs, erf, erf_slope, erf_wrong, -1, 1, 0, 6);
UNARY(cubes, cube_of, cube_slope, cube_wrong, -1, 1, 0, 200);
UNARY(cubes_again, cube_of, cube_slope, cube_slightly, -1, 1, 0, 200);

#define UNARY_KERNEL(kernel, name, open, options) \
    static const CatalogueKernel kernel = {name, open, unary_forward, unary_backward, &options}
UNARY_KERNEL(sigmoid, "sigmoid", open_unary, sigmoids);
UNARY_KERNEL(relu, "relu", open_unary, relus);
UNARY_KERNEL(magnitude, "abs", open_unary, magnitudes);
UNARY_KERNEL(clamp, "clamp", open_unary, clamps);
UNARY_KERNEL(gelu, "gelu", open_unary, gelus);
UNARY_KERNEL(tanh_gelu, "gelu by tanh", open_unary, tanh_gelus);
UNARY_KERNEL(error_function, "erf", open_unary, erfs);
UNARY_KERNEL(cube, "cube", open_cube, cubes);
UNARY_KERNEL(cube_again, "cube", open_cube, cubes_again);

/* ---- y = mask ? sqrt(x) : 0, with padding where mask is 0 ---- */

enum { ROOT_MASK_TIMES = 1 };

static void open_root(CatalogueArrays *a) {
    catalogue_input(a, "x", .5, 2, SHAPE(6));
    catalogue_constant(a, "mask", 1, 1, SHAPE(6));
    if (X(0) && X(1)) X(0)[2] = X(1)[2] = 0;
    catalogue_result(a, "y", SHAPE(6));
}

static bool root_forward(void *context) {
    CatalogueArrays *a = context;
    for (int j = 0; j < 6; j++) Y(0)[j] = X(1)[j] != 0 ? sqrt(X(0)[j]) : 0;
    return true;
}

static bool root_backward(void *context) {
    CatalogueArrays *a = context;
    for (int j = 0; j < 6; j++) {
        double slope = .5 / sqrt(X(0)[j]);
        if (a->bug == ROOT_MASK_TIMES) DX(0)[j] = X(1)[j] * DY(0)[j] * slope;
        else DX(0)[j] = X(1)[j] != 0 ? DY(0)[j] * slope : 0;
    }
    return true;
}

static const CatalogueKernel root = {"masked sqrt", open_root, root_forward, root_backward, NULL};

/* ---- y = 1000 + x / 10^6 ---- */

enum { OFFSET_F32 = 1 };

static void open_offset(CatalogueArrays *a) {
    catalogue_input(a, "x", -1, 1, SHAPE(4));
    catalogue_result(a, "y", SHAPE(4));
    if (a->bug != OFFSET_F32) return;
    a->in[0].dtype = a->out[0].dtype = GRADCHECK_F32;
    float *x = a->in[0].value;
    for (int j = 0; x && j < 4; j++) x[j] = (float)(j - 1.5);
}

static bool offset_forward(void *context) {
    CatalogueArrays *a = context;
    for (int j = 0; j < 4; j++)
        if (a->bug == OFFSET_F32)
            ((float *)a->out[0].value)[j] = 1000 + 1e-6f * ((float *)a->in[0].value)[j];
        else Y(0)[j] = 1000 + 1e-6 * X(0)[j];
    return true;
}

static bool offset_backward(void *context) {
    CatalogueArrays *a = context;
    for (int j = 0; j < 4; j++)
        if (a->bug == OFFSET_F32)
            ((float *)a->in[0].grad)[j] = 1e-6f * ((float *)a->out[0].grad)[j];
        else DX(0)[j] = 1e-6 * DY(0)[j];
    return true;
}

static const CatalogueKernel offset = {"offset", open_offset, offset_forward, offset_backward,
                                       NULL};

/* ---- y = a / b, of one shape ---- */

enum { QUOTIENT_SIGN = 1, QUOTIENT_SWAPPED, QUOTIENT_SQUARE, QUOTIENT_A_CHANGED };

static void open_quotient(CatalogueArrays *a) {
    catalogue_input(a, "a", -1, 1, SHAPE(3, 4));
    catalogue_input(a, "b", .5, 2, SHAPE(3, 4));
    catalogue_result(a, "y", SHAPE(3, 4));
}

static bool quotient_forward(void *context) {
    CatalogueArrays *a = context;
    for (int j = 0; j < 12; j++) {
        Y(0)[j] = X(0)[j] / X(1)[j];
        if (a->bug == QUOTIENT_A_CHANGED) X(0)[j] = Y(0)[j];
    }
    return true;
}

static bool quotient_backward(void *context) {
    CatalogueArrays *a = context;
    for (int j = 0; j < 12; j++) {
        double of_a = DY(0)[j] / X(1)[j], of_b = -of_a * Y(0)[j];
        if (a->bug == QUOTIENT_SIGN) of_b = -of_b;
        if (a->bug == QUOTIENT_SQUARE) of_b *= X(1)[j];
        DX(0)[j] = a->bug == QUOTIENT_SWAPPED ? of_b : of_a;
        DX(1)[j] = a->bug == QUOTIENT_SWAPPED ? of_a : of_b;
    }
    return true;
}

static const CatalogueKernel quotient = {"quotient", open_quotient, quotient_forward,
                                         quotient_backward, NULL};

/* ---- y = x s + m: x [T, B, H], s [B, H], m [T, 1, H] ---- */

enum { BROADCAST_FIRST = 1, BROADCAST_LAST, BROADCAST_MIDDLE };
enum { T = 4, B = 2, H = 3 };

static void open_broadcast(CatalogueArrays *a) {
    catalogue_input(a, "x", -1, 1, SHAPE(T, B, H));
    catalogue_input(a, "s", -1, 1, SHAPE(B, H));
    catalogue_input(a, "m", -1, 1, SHAPE(T, 1, H));
    catalogue_result(a, "y", SHAPE(T, B, H));
}

static bool broadcast_forward(void *context) {
    CatalogueArrays *a = context;
    for (int j = 0; j < T * B * H; j++)
        Y(0)[j] = X(0)[j] * X(1)[j % (B * H)] + X(2)[j / (B * H) * H + j % H];
    return true;
}

static bool broadcast_backward(void *context) {
    CatalogueArrays *a = context;
    zero(DX(1), B * H);
    zero(DX(2), T * H);
    for (int j = 0; j < T * B * H; j++) {
        int t = j / (B * H), b = j / H % B, h = j % H;
        DX(0)[j] = DY(0)[j] * X(1)[b * H + h];
        double s = DY(0)[j] * X(0)[j];
        if (a->bug == BROADCAST_LAST) DX(1)[b * H + h] = s;
        else if (a->bug != BROADCAST_FIRST || t == 0) DX(1)[b * H + h] += s;
        if (a->bug != BROADCAST_MIDDLE || b == 0) DX(2)[t * H + h] += DY(0)[j];
    }
    return true;
}

static const CatalogueKernel broadcast = {"broadcast product and sum", open_broadcast,
                                          broadcast_forward, broadcast_backward, NULL};

/* ---- y = x + b with x [4, 4], b [4]: both axes could be the one ---- */

enum { ROWS_FOR_COLUMNS = 1 };

static void open_equal_sizes(CatalogueArrays *a) {
    catalogue_input(a, "x", -1, 1, SHAPE(4, 4));
    catalogue_input(a, "b", -1, 1, SHAPE(4));
    catalogue_result(a, "y", SHAPE(4, 4));
}

static bool equal_sizes_forward(void *context) {
    CatalogueArrays *a = context;
    for (int j = 0; j < 16; j++) Y(0)[j] = X(0)[j] + X(1)[j % 4];
    return true;
}

static bool equal_sizes_backward(void *context) {
    CatalogueArrays *a = context;
    zero(DX(1), 4);
    for (int j = 0; j < 16; j++) {
        DX(0)[j] = DY(0)[j];
        DX(1)[a->bug == ROWS_FOR_COLUMNS ? j / 4 : j % 4] += DY(0)[j];
    }
    return true;
}

static const CatalogueKernel equal_sizes = {"broadcast sum of equal sizes", open_equal_sizes,
                                            equal_sizes_forward, equal_sizes_backward, NULL};

/* ---- y[t] = sum of x[s] for s <= t: x [T, H] ---- */

enum { CUMSUM_FORWARD = 1, CUMSUM_EXCLUSIVE, CUMSUM_NONE };

static void open_cumsum(CatalogueArrays *a) {
    catalogue_input(a, "x", -1, 1, SHAPE(T, H));
    catalogue_result(a, "y", SHAPE(T, H));
}

static bool cumsum_forward(void *context) {
    CatalogueArrays *a = context;
    for (int j = 0; j < T * H; j++) Y(0)[j] = X(0)[j] + (j < H ? 0 : Y(0)[j - H]);
    return true;
}

static bool cumsum_backward(void *context) {
    CatalogueArrays *a = context;
    for (int h = 0; h < H; h++) {
        double sum = 0;
        for (int s = 0; s < T; s++) {
            int j = (a->bug == CUMSUM_FORWARD ? s : T - 1 - s) * H + h;
            if (a->bug == CUMSUM_NONE) sum = 0;
            if (a->bug == CUMSUM_EXCLUSIVE) DX(0)[j] = sum;
            sum += DY(0)[j];
            if (a->bug != CUMSUM_EXCLUSIVE) DX(0)[j] = sum;
        }
    }
    return true;
}

static const CatalogueKernel cumsum = {"cumulative sum", open_cumsum, cumsum_forward,
                                       cumsum_backward, NULL};

/* ---- y = largest of x over time: x [T, H] -> y [H] ---- */

enum { MAXIMUM_ALL = 1, MAXIMUM_STEP_AFTER, MAXIMUM_TIE };

static void open_maximum(CatalogueArrays *a) {
    catalogue_input(a, "x", -1, 0, SHAPE(T, H));
    for (int h = 0; X(0) && h < H; h++) X(0)[h % 3 * H + h] = 1 + .1 * h;
    if (a->bug == MAXIMUM_TIE && X(0)) X(0)[2 * H + 1] = X(0)[H + 1];
    catalogue_result(a, "y", SHAPE(H));
}

static double largest(const CatalogueArrays *a, int h) {
    double most = X(0)[h];
    for (int t = 1; t < T; t++) most = fmax(most, X(0)[t * H + h]);
    return most;
}

static bool maximum_forward(void *context) {
    CatalogueArrays *a = context;
    for (int h = 0; h < H; h++) Y(0)[h] = largest(a, h);
    return true;
}

/* Equal ones share. */
static bool maximum_backward(void *context) {
    CatalogueArrays *a = context;
    zero(DX(0), T * H);
    for (int h = 0; h < H; h++) {
        int equal = 0;
        for (int t = 0; t < T; t++) equal += X(0)[t * H + h] == Y(0)[h];
        for (int t = 0; t < T; t++)
            if (a->bug == MAXIMUM_ALL) DX(0)[t * H + h] = DY(0)[h];
            else if (X(0)[t * H + h] == Y(0)[h])
                DX(0)[(a->bug == MAXIMUM_STEP_AFTER ? t + 1 : t) * H + h] = DY(0)[h] / equal;
    }
    return true;
}

static const CatalogueKernel maximum = {"maximum over time", open_maximum, maximum_forward,
                                        maximum_backward, NULL};

/* ---- dropout: y = x mask / (1 - p) ---- */

enum { DROPOUT_SCALE = 1, DROPOUT_ALL, DROPOUT_REDRAWN, DROPOUT_OTHER_SEED, DROPOUT_RANDOM };
enum { DROPOUT_N = 20 };
static const double p = .25;

static void open_dropout(CatalogueArrays *a) {
    catalogue_input(a, "x", .5, 2, SHAPE(DROPOUT_N));
    catalogue_constant(a, "mask", 0, 1, SHAPE(DROPOUT_N));
    for (int j = 0; X(1) && j < DROPOUT_N; j++) X(1)[j] = X(1)[j] >= p;
    catalogue_result(a, "y", SHAPE(DROPOUT_N));
}

static double draw(uint64_t seed, int j) {
    return tensor_rng_uniform((TensorRngKey){.seed = seed}, (uint64_t)j) >= p;
}

static bool dropout_forward(void *context) {
    CatalogueArrays *a = context;
    if (a->bug == DROPOUT_RANDOM) a->draws++;
    for (int j = 0; j < DROPOUT_N; j++) {
        a->saved[j] = a->bug == DROPOUT_RANDOM ? draw(a->draws, j) : X(1)[j];
        Y(0)[j] = X(0)[j] * a->saved[j] / (1 - p);
    }
    return true;
}

static bool dropout_backward(void *context) {
    CatalogueArrays *a = context;
    if (a->bug == DROPOUT_REDRAWN) a->draws++;
    for (int j = 0; j < DROPOUT_N; j++) {
        bool again = a->bug == DROPOUT_REDRAWN || a->bug == DROPOUT_OTHER_SEED;
        double mask = again ? draw(a->draws, j) : a->bug == DROPOUT_ALL ? 1 : a->saved[j];
        DX(0)[j] = DY(0)[j] * mask / (a->bug == DROPOUT_SCALE ? 1 : 1 - p);
    }
    return true;
}

static const CatalogueKernel dropout = {"dropout", open_dropout, dropout_forward,
                                        dropout_backward, NULL};

#define ENTRY(name, reason, kernel, bug, what, after) \
    {name, what, after, CATALOGUE_REASON(reason), bug, &kernel, NULL, NULL}

const CatalogueEntry catalogue_elementwise[] = {
    ENTRY("sigmoid-sign", SIGN, sigmoid, UNARY_SIGN,
          "the whole gradient has the other sign: descent became ascent",
          "kann compares absolute values only"),
    ENTRY("sigmoid-slope", WRONG, sigmoid, UNARY_SLOPE,
          "the slope of the sigmoid is taken as y (1 + y)", NULL),
    ENTRY("relu-leaks", WRONG, relu, UNARY_SLOPE,
          "a hundredth of the gradient passes where relu is 0: backward is leaky_relu's", NULL),
    ENTRY("relu-at-0", KINK, relu, UNARY_POINT, "relu is checked at a point with x = 0", NULL),
    ENTRY("abs-at-0", KINK, magnitude, UNARY_POINT,
          "|x| is checked at 0, where the gradient 0 is what central differences give too", NULL),
    ENTRY("clamp-passes", WRONG, clamp, UNARY_SLOPE,
          "the gradient passes where clamp(x, -1, 1) holds the value", NULL),
    ENTRY("clamp-at-bound", KINK, clamp, UNARY_POINT, "clamp is checked exactly at its bound",
          NULL),
    ENTRY("gelu-other-form", WRONG, gelu, UNARY_SLOPE,
          "forward has the GELU of erf, backward the slope of its tanh approximation", NULL),
    ENTRY("gelu-constant", WRONG, tanh_gelu, UNARY_SLOPE,
          "backward has sqrt(2/pi) rounded to 0.7979: wrong by a few parts in 100000", NULL),
    ENTRY("erf-factor", FACTOR, error_function, UNARY_SLOPE,
          "the slope of erf lacks its factor 2/sqrt(pi)", NULL),
    ENTRY("one-of-200", SLICE, cube, UNARY_SLOPE, "one element of 200 has the wrong sign", NULL),
    ENTRY("one-of-200-1e-4", SLICE, cube_again, UNARY_SLOPE,
          "one element of 200 is wrong by one part in ten thousand",
          "PyTorch 57166: a projection of the whole gradient misses it"),
    ENTRY("sqrt-masked", NONFINITE, root, ROOT_MASK_TIMES,
          "the mask multiplies the gradient of a sqrt(0) in the padding: 0 times infinity", NULL),
    ENTRY("float32-noise", NOISE, offset, OFFSET_F32,
          "1000 + x / 10^6 in float32: the differences of the result are nothing but rounding",
          "PyTorch 8659: checks in single precision"),
    ENTRY("division-sign", SIGN, quotient, QUOTIENT_SIGN,
          "the gradient of the divisor lacks its minus", NULL),
    ENTRY("division-swapped", OTHER_INPUT, quotient, QUOTIENT_SWAPPED,
          "dividend and divisor get each other's gradient", NULL),
    ENTRY("division-square", WRONG, quotient, QUOTIENT_SQUARE,
          "the gradient of the divisor is divided by b instead of b^2", NULL),
    ENTRY("division-in-place", INPUT_CHANGED, quotient, QUOTIENT_A_CHANGED,
          "forward leaves its result in the memory of the dividend", NULL),
    ENTRY("broadcast-first", PARTIAL_SUM, broadcast, BROADCAST_FIRST,
          "the gradient of a scale repeated over time is that of the first step only", NULL),
    ENTRY("broadcast-last", PARTIAL_SUM, broadcast, BROADCAST_LAST,
          "the gradient of a scale repeated over time is overwritten by every step", NULL),
    ENTRY("broadcast-middle", PARTIAL_SUM, broadcast, BROADCAST_MIDDLE,
          "the gradient of an operand [T, 1, H] is that of the first row of the batch", NULL),
    ENTRY("broadcast-wrong-axis", WRONG, equal_sizes, ROWS_FOR_COLUMNS,
          "the gradient of a bias is summed over the wrong one of two axes of one size", NULL),
    ENTRY("cumsum-forward", WRONG, cumsum, CUMSUM_FORWARD,
          "the gradient of a cumulative sum is summed from the first step, not from the last",
          NULL),
    ENTRY("cumsum-exclusive", SHIFTED, cumsum, CUMSUM_EXCLUSIVE,
          "the sum for step t starts at step t + 1", NULL),
    ENTRY("cumsum-not-summed", WRONG, cumsum, CUMSUM_NONE,
          "the gradient of a cumulative sum is that of each step alone", NULL),
    ENTRY("max-to-all", WRONG, maximum, MAXIMUM_ALL,
          "every step gets the gradient of the maximum over time", NULL),
    ENTRY("max-step-after", SHIFTED, maximum, MAXIMUM_STEP_AFTER,
          "the step after the largest gets the gradient", NULL),
    ENTRY("max-tie", KINK, maximum, MAXIMUM_TIE, "two steps are the largest", NULL),
    ENTRY("dropout-scale", FACTOR, dropout, DROPOUT_SCALE,
          "backward forgets to divide by 1 - p", NULL),
    ENTRY("dropout-all", WRONG, dropout, DROPOUT_ALL,
          "backward passes the gradient of dropped elements too", NULL),
    ENTRY("dropout-redrawn", NONDETERMINISTIC, dropout, DROPOUT_REDRAWN,
          "backward draws a new mask from a generator that goes on",
          "PyTorch 190717: recomputation draws dropout anew"),
    ENTRY("dropout-other-seed", WRONG, dropout, DROPOUT_OTHER_SEED,
          "backward draws its mask from another seed, the same one each time",
          "OLMo-core 828: checkpointing with dropout"),
    ENTRY("dropout-random", NONDETERMINISTIC, dropout, DROPOUT_RANDOM,
          "forward draws a new mask at every call",
          "PyTorch 114333: gradcheck of dropout"),
    {0},
};
