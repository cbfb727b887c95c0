/* core.h -- inside the checker: what plain.h hides.  Needs the C library and libm only. */
#ifndef AUTOGRAD_GRADCHECK_CORE_H
#define AUTOGRAD_GRADCHECK_CORE_H
#include "autograd/gradcheck/plain.h"

/* What is checked.  A call gives GRADCHECK_PASSED, or another reason and its sentence. */
typedef GradcheckReason (*GradcheckStep)(void *context, char *why, size_t size);
typedef struct {
    void *context;
    GradcheckStep forward, backward;
    int n_in, n_out;
    GradArg *in, *out;
} GradcheckProblem;

/* One array with what the checker knows of it. */
typedef struct {
    GradArg *arg;
    char name[GRADCHECK_NAME_SIZE];
    int64_t n;            /* elements */
    bool checked;         /* an input whose gradient is compared */
    void *value, *grad;   /* memory of the checker's, between fences; NULL: the caller's */
    void *kept;           /* inputs: the value before anything moved; results: that of the first
                             forward pass */
    double *w;            /* results: the cotangent */
    /* Checked inputs, an entry for each element: */
    double *analytic, *numeric, *bar;
    bool *known;          /* numeric and bar are set */
    bool *bent;           /* there may be a kink */
    double *along;        /* the direction in use */
    double scale;         /* the largest known |numeric| or |analytic| */
} GradcheckArray;

typedef struct {
    const GradcheckProblem *p;
    GradcheckOptions o;
    GradcheckResult *r;
    GradcheckArray *in, *out;
    struct GradcheckBlock *blocks; /* memory, freed at the end */
    bool f32;             /* some array is F32 */
    double eps;           /* of the coarsest dtype */
    double noise;         /* standard deviation of L for changes of x too small to matter */
    bool rough;           /* L of doubles is no better than float makes it */
    double here;          /* L at x */
    double size;          /* sum |w y|: what L is made of */
    double worst;         /* the largest error over tolerance so far; NaN stays */
} GradcheckRun;

/* Streams of the seed. */
enum {
    GRADCHECK_COTANGENTS = 1,
    GRADCHECK_DIRECTIONS,
    GRADCHECK_SHARE,
    GRADCHECK_FILLING,
    GRADCHECK_NOISES,
    GRADCHECK_SECOND,
};

/* Records the failure; returns false. */
bool gradcheck_fail(GradcheckRun *run, GradcheckReason reason, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* arrays.c */
bool gradcheck_open(GradcheckRun *run);   /* false: a failure was recorded */
void gradcheck_close(GradcheckRun *run);
/* A decimal number without a sign, and nothing else. */
bool gradcheck_read_seed(const char *text, uint64_t *seed);
/* Where it is 0, the environment's.  False: that is no number, and it stays 0. */
bool gradcheck_seed(uint64_t *seed);
bool gradcheck_is_float(int dtype);
size_t gradcheck_size_of(int dtype);
/* Is the memory around an array of the checker's own as it was? */
bool gradcheck_fence_holds(const GradcheckArray *x, const void *array);
void *gradcheck_memory(GradcheckRun *run, size_t count, size_t size); /* zeroed; NULL: recorded */
double gradcheck_get(const void *data, int dtype, int64_t i);
void gradcheck_set(void *data, int dtype, int64_t i, double value);
/* Uniform in [0, 1), a function of its arguments alone. */
double gradcheck_uniform(uint64_t seed, uint64_t stream, uint64_t which, uint64_t i);

/* calls.c; false: a failure was recorded. */
bool gradcheck_check_forward(GradcheckRun *run);  /* fills kept of the results */
bool gradcheck_check_backward(GradcheckRun *run); /* fills analytic of the inputs */
bool gradcheck_forward(GradcheckRun *run);
bool gradcheck_backward(GradcheckRun *run);
/* A forward and a backward pass with the cotangents as they are in w, gradients starting from
 * zero; copies those of checked input i to to[i], where that is not NULL. */
bool gradcheck_gradient(GradcheckRun *run, double *const *to);

/* differences.c */
bool gradcheck_measure_noise(GradcheckRun *run);
bool gradcheck_measure_roughness(GradcheckRun *run); /* sets rough, and the noise if it is */
/* max(1, |x|) of element e of input i: what steps are in proportion to. */
double gradcheck_reach(const GradcheckRun *run, int i, int64_t e);
/* The derivative of L by element e of input i, or with e < 0 along in[].along, and its bar; looks
 * twice where it is not what is expected.  *bent: the slopes from the two sides seem to differ,
 * which gradcheck_kink makes sure of. */
bool gradcheck_derivative(GradcheckRun *run, int i, int64_t e, double expected, double *slope,
                          double *bar, bool *bent);
/* Looks from both sides for a kink or a jump of L there.  One that is found is recorded, as the
 * failure at element e of input i, or with i < 0 along direction `index`. */
bool gradcheck_kink(GradcheckRun *run, int i, int64_t e, int64_t index, double analytic,
                    bool *kink);

/* compare.c: fill the result with the worst comparison; false: a failure was recorded. */
bool gradcheck_check_elements(GradcheckRun *run);
bool gradcheck_check_directions(GradcheckRun *run);
/* After all elements have agreed: was the agreement worth something? */
bool gradcheck_check_certainty(GradcheckRun *run);
/* After directions have not: elements, as far as 20000 evaluations go. */
bool gradcheck_look_closer(GradcheckRun *run);
/* What |numeric - analytic| may be for element e of input i. */
double gradcheck_tolerance(const GradcheckRun *run, const GradcheckArray *x, double numeric,
                           double analytic, double bar);
double gradcheck_relative(const GradcheckRun *run, const GradcheckArray *x, double error);
bool gradcheck_wrong_at(const GradcheckRun *run, const GradcheckArray *x, int64_t e);
/* diagnose.c: sets reason and message of a check that has failed.  False: it failed itself, which
 * is recorded. */
bool gradcheck_diagnose(GradcheckRun *run);

bool gradcheck_run(const GradcheckProblem *p, const GradcheckOptions *options,
                   GradcheckResult *result);

#endif
