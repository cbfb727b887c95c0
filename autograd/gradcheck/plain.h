/* plain.h -- a hand-written gradient against finite differences: the checker's core.
 *
 * For people whose kernels know no tape: arrays, a function that computes y from x, and one that
 * computes dL/dx from dL/dy.  Needs the C library and libm only.  gradcheck.h is the same for
 * functions of variables on a tape.
 *
 *     static bool forward(void *p) {                        y = tanh x
 *         GradArg *a = p;
 *         for (int i = 0; i < 5; i++) ((double *)a[1].value)[i] = tanh(((double *)a[0].value)[i]);
 *         return true;
 *     }
 *     static bool backward(void *p) {                       dx = (1 - y^2) dy
 *         GradArg *a = p;
 *         for (int i = 0; i < 5; i++) {
 *             double y = ((double *)a[1].value)[i];
 *             ((double *)a[0].grad)[i] = (1 - y * y) * ((double *)a[1].grad)[i];
 *         }
 *         return true;
 *     }
 *     double x[5] = {.1, .4, -.7, 1, 2};
 *     GradArg a[2] = {{.name = "x", .ndim = 1, .shape = (int64_t[]){5}, .value = x},
 *                     {.name = "y", .ndim = 1, .shape = (int64_t[]){5}}};
 *     GradcheckResult r;
 *     if (!gradcheck_plain(forward, backward, a, 1, a, 1, a + 1, NULL, &r)) puts(r.message);
 *
 * What is compared.  The checker draws a cotangent w for each result, none of its entries near 0
 * and no two alike, and takes L(x) = sum over results of <w, y(x)>.  Along each element of each
 * input (or along random directions) it takes central differences at steps h, h/2, h/4 and
 * extrapolates them to h = 0 (Richardson); how far the extrapolations still move, and the noise
 * of L measured at x, give the numeric derivative an error bar.  Where the bar is wide, steps 8
 * times smaller are tried, and of steps that disagree the smaller are believed.  A derivative
 * is wrong if it lies outside the bar.
 * The same values tell the slope from the right from that from the left: where the two differ, the
 * function has a kink at x, whatever its gradient there is said to be.
 *
 *   L. F. Richardson, The Approximate Arithmetical Solution by Finite Differences, Phil. Trans.
 *   A 210, 1911.  C. J. F. Ridders, Accurate computation of F'(x) and F'(x) F''(x), Advances in
 *   Engineering Software 4, 1982.  J. J. More and S. M. Wild, Estimating Computational Noise,
 *   SIAM Journal on Scientific Computing 33, 2011.
 *
 * When one is wrong, the checker looks for the reason: GradcheckReason. */
#ifndef AUTOGRAD_GRADCHECK_PLAIN_H
#define AUTOGRAD_GRADCHECK_PLAIN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { GRADCHECK_F64, GRADCHECK_F32, GRADCHECK_I64, GRADCHECK_U8 }; /* double, float, int64_t,
                                                                       uint8_t */
enum {
    GRADCHECK_MAX_DIMS = 8,
    GRADCHECK_CONSTANT = 1,    /* flag of an input: takes no gradient (integers never do) */
    GRADCHECK_ACCUMULATES = 2, /* flag of an input: backward adds to grad; without it, it sets it */
};

/* One array, row-major. */
typedef struct {
    const char *name;     /* for messages; NULL: "input 0", "result 1" */
    int dtype;
    int ndim;
    const int64_t *shape; /* may be NULL when ndim is 0 */
    void *value;          /* an input's is the caller's; the checker moves it about and puts it
                             back.  A result's may be NULL: see below */
    void *grad;           /* dL/dvalue, of the same type and shape; may be NULL: see below */
    unsigned flags;
} GradArg;

/* Why a check failed.  `r.message` says it in a sentence with the numbers. */
typedef enum {
    GRADCHECK_PASSED,
    /* The gradient of one input, as a whole: */
    GRADCHECK_SIGN,            /* the negative of the right one */
    GRADCHECK_FACTOR,          /* `factor` times the right one */
    GRADCHECK_MISSING,         /* zero where it should not be */
    GRADCHECK_TRANSPOSED,      /* the right numbers, with two axes exchanged in memory */
    GRADCHECK_OTHER_INPUT,     /* the gradient of input `other` */
    GRADCHECK_SHIFTED,         /* along `axis` by `shift`: off by one in time */
    GRADCHECK_PERMUTED,        /* blocks of the right numbers in another order: gates, chunks */
    GRADCHECK_REPEATED_INDEX,  /* wrong only in rows that an index names more than once */
    GRADCHECK_SLICE,           /* wrong only at one index of one axis */
    /* How it depends on the cotangent: */
    GRADCHECK_PARTIAL_SUM,     /* only one index of an axis of a result's cotangent is used: a sum
                                  over that axis, or the steps before the last, is missing */
    GRADCHECK_RESULT_IGNORED,  /* the cotangent of result `other` is not used */
    GRADCHECK_RESULTS_SWAPPED, /* the cotangents of two results are taken for each other */
    GRADCHECK_NOT_LINEAR,      /* twice the cotangent does not give twice the gradient */
    /* What the kernel does with memory: */
    GRADCHECK_NONDETERMINISTIC, /* the same call gives two values */
    GRADCHECK_INPUT_CHANGED,   /* an input, a result or a cotangent was changed in place */
    GRADCHECK_OVERWRITES,      /* sets a gradient that it should add to */
    GRADCHECK_ACCUMULATED,     /* adds to a gradient that it should set */
    GRADCHECK_UNWRITTEN,       /* never writes an element */
    GRADCHECK_OUT_OF_BOUNDS,   /* writes outside an array */
    /* What the function is like: */
    GRADCHECK_SHAPE,           /* a result or gradient has the wrong shape or dtype */
    GRADCHECK_NONFINITE,       /* NaN or infinity */
    GRADCHECK_KINK,            /* not differentiable at x, or within the smallest step of it */
    GRADCHECK_NOISE,           /* the noise of the arithmetic is no less than 3 % of the gradient */
    GRADCHECK_WRONG,           /* wrong, in none of these ways */
    GRADCHECK_ERROR,           /* the function failed, a bad option, out of memory */
    GRADCHECK_REASONS
} GradcheckReason;
/* "sign flipped" and so on. */
const char *gradcheck_reason(GradcheckReason reason);
/* "SIGN" and so on: for files that programs read. */
const char *gradcheck_reason_code(GradcheckReason reason);

/* Zero everywhere is a good choice. */
typedef struct {
    double step;       /* h, for |x_i| up to 1, and in proportion above; 0: 0.02, and 0.1 where an
                          input or result is F32 */
    double rtol, atol; /* allowed besides the error bar: atol + rtol max(|numeric|, |analytic|) */
    int directions;    /* 0: every element of every input; K: along K random directions of
                          length 1 (in units of max(1, |x_i|)) through all inputs at once, for
                          models too large for the former */
    const int *inputs; /* NULL: all; else the n_inputs inputs to check: the others are constants */
    int n_inputs;
    uint64_t seed;     /* of cotangents and directions; 0: the environment's GRADCHECK_SEED, or 0 */
    int64_t max_evaluations; /* of the function, for the comparison; 0: no limit.  Where it does
                                not suffice for all elements, a random share of them is taken */
    bool training;     /* the tape's mode (gradcheck.h) */
    bool plain_verdict; /* do not look for the reason: it may take as long as the check */
} GradcheckOptions;

#define GRADCHECK_NAME_SIZE 64
#define GRADCHECK_MESSAGE_SIZE 1024

/* Of fixed size, with its message inside; needs no free. */
typedef struct {
    bool ok;
    GradcheckReason reason;
    int input;          /* which input the worst entry, or the failure, belongs to; -1: none, or a
                           direction */
    int64_t index;      /* which element of it, row-major, or which direction; -1: none */
    double numeric, uncertainty, analytic;
    double abs_error;   /* |numeric - analytic| */
    double rel_error;   /* abs_error / the largest derivative of that input, or a thousandth of
                           sum |w y| where that is larger */
    double factor;      /* of GRADCHECK_FACTOR */
    int other, axis;    /* of the reasons that name them; else -1 */
    int64_t shift;
    int64_t checked, total; /* derivatives compared, and how many there are */
    int64_t evaluations;    /* of the function */
    uint64_t seed;      /* to repeat the run: GRADCHECK_SEED, or GradcheckOptions.seed */
    int order;          /* 1 or 2: first or second derivatives */
    char name[GRADCHECK_NAME_SIZE]; /* of the input */
    /* Functions on a tape: the first op whose own gradient is wrong, or that gave the first NaN
     * or infinity, and where it stands; "" where unknown. */
    char op[GRADCHECK_NAME_SIZE], scope[128];
    char message[GRADCHECK_MESSAGE_SIZE]; /* one line, also when all is well */
} GradcheckResult;

/* Calls of the caller's code; false: it failed, and the check with it. */
typedef bool (*GradcheckCall)(void *context);

/* Checks backward against forward.  forward reads in[].value and writes out[].value; backward may
 * read both and out[].grad, which the checker fills, and writes in[].grad (leaving out[].grad as
 * it is).  backward is called after a forward with the same inputs, any number of times.
 *
 * value of a result, grad of a result and grad of an input may be NULL: then the checker makes
 * them and sets the pointer for the time of the check, with fences around them that show a write
 * outside.  The functions must then read the pointers from in[] and out[] at every call.
 *
 * forward must be a function of the inputs alone: a dropout mask is an input (a constant one), or
 * drawn from a fixed seed.  F32 arrays are allowed; but then the error bar is that of float32.
 *
 * options NULL: all zero.  Returns result->ok.  Fails: result->reason says why. */
bool gradcheck_plain(GradcheckCall forward, GradcheckCall backward, void *context, int n_in,
                     GradArg *in, int n_out, GradArg *out, const GradcheckOptions *options,
                     GradcheckResult *result);

#ifdef __cplusplus
}
#endif
#endif
