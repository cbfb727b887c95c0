/* kernels_table.h -- what kernels.inc makes for one float type and one instruction
 * set, and what kernels.c calls.  Internal.
 *
 * void * stands for an array of the table's float type; strides count elements. */
#ifndef TENSOR_KERNELS_TABLE_H
#define TENSOR_KERNELS_TABLE_H
#include "tensor/kernels.h"
#include "tensor/vmath.h"

/* One run of an elementwise kernel: n elements; operand i starts at p[i] and goes
 * on by stride[i].  Operand 0 is the result; an input may be the same array. */
typedef void TensorRun(int64_t n, void *const *p, const int64_t *stride, const void *options);

typedef struct {
    double scale, shift;
} TensorAffine; /* the options of `affine` */

/* What a reduction may look for. */
typedef enum {
    TENSOR_MAX,
    TENSOR_MIN,
    TENSOR_ABS_MAX,
    TENSOR_ABS_MIN,
    TENSOR_EXTREME_COUNT
} TensorExtreme;

/* What a reduction may add up, in double; c is a number of the result's own. */
typedef enum {
    TENSOR_DEVIATION,     /* (x - c)^2 */
    TENSOR_MAGNITUDE,     /* |x| */
    TENSOR_SCALED_SQUARE, /* (x c)^2 */
    TENSOR_SCALED_POWER,  /* (|x| c)^p */
    TENSOR_NONZERO,       /* 1 where x is not 0 */
    TENSOR_TERM_COUNT
} TensorTerm;

typedef struct {
    double a, b;
} TensorActivationOptions; /* of both runs of an activation */

#define TENSOR_TILE_ROWS 14   /* the most of a tile: with 2 vectors each, 32 registers hold it */
#define TENSOR_STRIP_PANELS 4 /* side by side in a tile of few rows */

/* A tile of a matrix product; see tiles.inc. */
typedef void TensorTile(int64_t k, const void *wide, int64_t panel, const void *narrow, void *c,
                        int64_t row, bool add);

typedef struct {
    int lanes;      /* a panel is 2 vectors wide, the last one perhaps 1 */
    int rows;       /* of the best tile */
    int strip_rows; /* up to which `strip` is better */
    /* By rows, NULL for more than there are. */
    TensorTile *half[TENSOR_TILE_ROWS + 1], *full[TENSOR_TILE_ROWS + 1];
    TensorTile *strip[TENSOR_TILE_ROWS + 1];
    /* to [k, width] = `live` lines of x, of the `room` that may be read; anything in the columns
     * beyond.  Strides in elements. */
    void (*pack)(int64_t k, int64_t width, int64_t live, int64_t room, void *to, const void *x,
                 int64_t k_stride, int64_t stride);
    void (*scale)(int64_t n, void *x, double scale);
} TensorTiles;

typedef struct {
    const TensorTiles *tiles;
    TensorRun *unary[TENSOR_UNARY_COUNT];
    TensorRun *binary[TENSOR_BINARY_COUNT];
    TensorRun *compare[TENSOR_COMPARE_COUNT];
    TensorRun *activation[TENSOR_ACTIVATION_COUNT];          /* y, x */
    TensorRun *activation_backward[TENSOR_ACTIVATION_COUNT]; /* dx, g, x */
    TensorRun *affine;
    TensorRun *accumulate;

    /* Over one run: the sum, the product. */
    double (*sum_run)(int64_t n, const void *x, int64_t stride);
    double (*prod_run)(int64_t n, const void *x, int64_t stride);
    /* The extreme; NaN if one is; of n = 0, what every element would replace. */
    double (*extreme_run[TENSOR_EXTREME_COUNT])(int64_t n, const void *x, int64_t stride);

    /* Over rows, which start row_stride apart: acc[j] gets the n columns added
     * (multiplied, compared) that lie `stride` apart. */
    void (*sum_rows)(int64_t rows, int64_t row_stride, int64_t n, double *acc, const void *x,
                     int64_t stride);
    void (*prod_rows)(int64_t rows, int64_t row_stride, int64_t n, double *acc, const void *x,
                      int64_t stride);
    void (*extreme_rows[TENSOR_EXTREME_COUNT])(int64_t rows, int64_t row_stride, int64_t n,
                                               double *acc, const void *x, int64_t stride);

    /* Likewise the sum of terms; column j has c[j]. */
    double (*term_run[TENSOR_TERM_COUNT])(int64_t n, const void *x, int64_t stride, double c,
                                          double p);
    void (*term_rows[TENSOR_TERM_COUNT])(int64_t rows, int64_t row_stride, int64_t n,
                                         double *acc, const void *x, int64_t stride,
                                         const double *c, double p);

    /* The first i with x[i] = the largest; n >= 1; NaN counts as largest. */
    int64_t (*argmax_run)(int64_t n, const void *x, int64_t stride);

    /* *max = m = max x and *sum = sum of exp(x - m), NaN where m is not finite. */
    void (*max_sumexp)(int64_t n, const void *x, int64_t stride, double *max, double *sum);
    /* The same in two steps over a contiguous x: x += b (NULL: 0), for the max; x = exp(x - m), for
     * the sum. */
    double (*add_max)(int64_t n, void *x, const void *b);
    double (*exp_sum)(int64_t n, void *x, double max);
    void (*softmax)(int64_t n, void *y, int64_t y_stride, const void *x, int64_t x_stride);
    void (*log_softmax)(int64_t n, void *y, int64_t y_stride, const void *x, int64_t x_stride);

    /* y = scale exp(x - shift); scale and shift are of the float type already. */
    void (*exp_scaled)(int64_t n, void *y, int64_t y_stride, const void *x, int64_t x_stride,
                       double shift, double scale);

    /* Running sums of `lines` lines, n steps each; acc holds the sums so far. */
    void (*cumsum)(int64_t n, int64_t lines, void *y, int64_t y_step, int64_t y_line,
                   const void *x, int64_t x_step, int64_t x_line, double *acc);

    /* One contiguous row; weight, bias, dx, dweight and dbias may be NULL. */
    void (*layer_norm)(int64_t n, void *y, const void *x, const void *weight, const void *bias,
                       double mean, double rstd);
    void (*layer_norm_backward)(int64_t n, void *dx, double *dweight, double *dbias,
                                const void *g, const void *x, const void *weight, double mean,
                                double rstd);

    /* y = x times 0 where the bits are below the threshold, else times scale; contiguous. */
    void (*dropout)(int64_t n, void *y, const void *x, const uint32_t *bits, uint32_t threshold,
                    double scale);

    /* One row of n elements, contiguous operands. */
    void (*gates[TENSOR_GATES_COUNT])(int64_t n, void *const *p);

    /* Operands y, a, b, h; the distance of their steps and of their columns; h is one row:
     * y = a h + b, then h is the row of y. */
    void (*linear_scan)(int64_t n, int64_t columns, void *const *p, const int64_t *step,
                        const int64_t *column);

    /* Operands y, start, x, w; the distance of their rows (w has one), columns and taps (of x and
     * w): y = start + the sum over taps of w x; start NULL is 0. */
    void (*depthwise)(int64_t rows, int64_t n, int64_t taps, void *const *p, const int64_t *row,
                      const int64_t *column, const int64_t *tap);
    /* acc[j] gets the sum over rows of g x. */
    void (*multiply_rows)(int64_t rows, int64_t n, double *acc, const void *g, int64_t g_row,
                          int64_t g_column, const void *x, int64_t x_row, int64_t x_column);
} TensorKernels;

/* The counters of random numbers of one key and kind, but for their first word. */
typedef struct {
    uint64_t seed, step, draw, kind;
} TensorPhilox;

/* Blocks first, first + 1, .., of four words each; how many of them it made: those that fill its
 * vectors. */
typedef int64_t TensorPhiloxBlocks(const TensorPhilox *o, uint64_t first, int64_t blocks,
                                   void *to);

typedef struct {
    const TensorKernels *f32, *f64;
    const TensorVmathF32 *vmath_f32;
    const TensorVmathF64 *vmath_f64;
    TensorPhiloxBlocks *philox; /* or NULL */
} TensorKernelTable;

extern const TensorKernelTable tensor_kernels_plain;
#ifndef UNROLL_NO_SLEEF
extern const TensorKernelTable tensor_kernels_baseline;
#ifdef __x86_64__
extern const TensorKernelTable tensor_kernels_avx2;
extern const TensorKernelTable tensor_kernels_avx512;
#endif
#endif

/* The kernels of a float type for the instruction set in use. */
const TensorKernels *tensor_kernels(TensorDtype dtype);

TensorPhiloxBlocks *tensor_philox(void);

/* The run that copies, and converts where the types differ. */
TensorRun *tensor_convert_run(TensorDtype to, TensorDtype from);

/* ---- for the files that include kernels.inc ---- */

/* Elements handled between two visits to memory: buffers of it stay in the first cache. */
#define CHUNK 512

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Before a loop: no pass reads what another pass writes. */
#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

#endif
