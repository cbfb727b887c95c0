/* From logits to a token: every option alone, together, at its limits, and against a plain sort. */
#include "nn/sample.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_V = 64 };

static double p_data[MAX_V];
static int64_t work_data[MAX_V];

static Tensor vector(void *data, TensorDtype dtype, int64_t V) {
    return tensor_wrap(data, dtype, 1, &V);
}

static bool run(const NnSampleOptions *o, const double *z, int64_t V, const int64_t *recent,
                int64_t n, TensorError *error) {
    double copy[MAX_V];
    memcpy(copy, z, (size_t)V * sizeof *z);
    Tensor logits = vector(copy, TENSOR_F64, V), p = vector(p_data, TENSOR_F64, V);
    Tensor work = vector(work_data, TENSOR_I64, V);
    for (int i = 0; i < MAX_V; i++) {
        p_data[i] = NAN; /* what is left over from before must not matter */
        work_data[i] = -7;
    }
    return nn_sample_probabilities(o, &logits, recent, n, &p, &work, error);
}

static void must_run(const NnSampleOptions *o, const double *z, int64_t V, const int64_t *recent,
                     int64_t n) {
    TensorError error = {""};
    cr_assert(run(o, z, V, recent, n, &error), "%s", error.message);
}

static void expect_p(const double *want, int64_t V, const char *what) {
    for (int64_t v = 0; v < V; v++)
        cr_expect_float_eq(p_data[v], want[v], 1e-14, "%s: p[%d] = %.17g, not %.17g", what, (int)v,
                           p_data[v], want[v]);
}

static int64_t support(int64_t V) {
    int64_t n = 0;
    for (int64_t v = 0; v < V; v++) n += p_data[v] > 0;
    return n;
}

/* Logits of some kind, by number: many ties, many -infinity, wide, ordinary. */
static void draw_logits(double *z, int64_t V, uint64_t kind) {
    const TensorRngKey key = {.seed = kind, .draw = 1};
    for (int64_t v = 0; v < V; v++) {
        double x = tensor_rng_normal(key, (uint64_t)v);
        z[v] = kind % 4 == 0 ? floor(x) : kind % 4 == 2 ? 1e4 * x : 2 * x;
        if (kind % 4 == 1 && v > 0 && x > 0.8) z[v] = -INFINITY;
    }
}

/* ---- examples ---- */

Test(sample, probabilities_of_small_examples) {
    const double z[] = {log(1), log(2), log(4), log(1)};
    const double ninf[] = {-INFINITY, log(3), 0, -INFINITY};
    const int64_t recent[] = {2, 0, 2, 2};
    const struct {
        const char *what;
        NnSampleOptions o;
        const double *z;
        int64_t recent;
        double want[4];
    } cases[] = {
        {"as the model says", {.temperature = 1}, z, 0, {1. / 8, 2. / 8, 4. / 8, 1. / 8}},
        {"temperature 1/2: squares", {.temperature = 0.5}, z, 0,
         {1. / 22, 4. / 22, 16. / 22, 1. / 22}},
        {"temperature 0", {.temperature = 0}, z, 0, {0, 0, 1, 0}},
        {"top 2", {.temperature = 1, .top_k = 2}, z, 0, {0, 2. / 6, 4. / 6, 0}},
        {"top 3: of equal ones the lower id", {.temperature = 1, .top_k = 3}, z, 0,
         {1. / 7, 2. / 7, 4. / 7, 0}},
        {"top 9 of 4", {.temperature = 1, .top_k = 9}, z, 0, {1. / 8, 2. / 8, 4. / 8, 1. / 8}},
        {"a nucleus of one", {.temperature = 1, .top_p = 0.49}, z, 0, {0, 0, 1, 0}},
        {"a nucleus of two", {.temperature = 1, .top_p = 0.6}, z, 0, {0, 2. / 6, 4. / 6, 0}},
        {"of equal ones the lower id", {.temperature = 1, .top_p = 0.8}, z, 0,
         {1. / 7, 2. / 7, 4. / 7, 0}},
        {"the nucleus is that of the top k", {.temperature = 1, .top_k = 2, .top_p = 0.66}, z, 0,
         {0, 0, 1, 0}},
        {"nearly all", {.temperature = 1, .top_p = 1 - 1e-16}, z, 0,
         {1. / 8, 2. / 8, 4. / 8, 1. / 8}},
        {"a nucleus of nothing", {.temperature = 1, .top_p = DBL_MIN}, z, 0, {0, 0, 1, 0}},
        {"excluded", {.temperature = 1, .has_exclude = true, .exclude = 2}, z, 0,
         {1. / 4, 2. / 4, 0, 1. / 4}},
        {"excluded: the most likely of the others", {.has_exclude = true, .exclude = 2}, z, 0,
         {0, 1, 0, 0}},
        {"the penalty: sqrt 4, once", {.temperature = 1, .repetition_penalty = 2}, z, 4,
         {1. / 6, 2. / 6, 2. / 6, 1. / 6}},
        {"a penalty of 1", {.temperature = 1, .repetition_penalty = 1}, z, 4,
         {1. / 8, 2. / 8, 4. / 8, 1. / 8}},
        {"-infinity is never drawn", {.temperature = 1}, ninf, 0, {0, 3. / 4, 1. / 4, 0}},
        {".. penalised or not", {.temperature = 1, .repetition_penalty = 3}, ninf, 4,
         {0, 3. / 4, 1. / 4, 0}},
        {".. also in the top k", {.temperature = 1, .top_k = 3}, ninf, 0, {0, 3. / 4, 1. / 4, 0}},
        {".. at any temperature", {.temperature = 1e300}, ninf, 0, {0, 1. / 2, 1. / 2, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        must_run(&cases[i].o, cases[i].z, 4, recent, cases[i].recent);
        expect_p(cases[i].want, 4, cases[i].what);
    }
}

Test(sample, a_negative_logit_is_multiplied_by_the_penalty) {
    const double z[] = {-1, -2, 0};
    const int64_t recent[] = {0, 2};
    must_run(&(NnSampleOptions){.temperature = 1, .repetition_penalty = 3}, z, 3, recent, 2);
    double sum = exp(-3) + exp(-2) + 1;
    expect_p((double[]){exp(-3) / sum, exp(-2) / sum, 1 / sum}, 3, "penalty 3");
}

Test(sample, numbers_at_the_ends_of_their_range) {
    const double wide[] = {DBL_MAX, -DBL_MAX, 0, DBL_MAX};
    const double tiny[] = {0, DBL_TRUE_MIN, 2 * DBL_TRUE_MIN};
    const double equal[] = {700, 700, 700, 700};
    must_run(&(NnSampleOptions){.temperature = 1}, wide, 4, NULL, 0);
    expect_p((double[]){0.5, 0, 0, 0.5}, 4, "differences beyond the range");
    double a = exp(-2), b = exp(-1);
    must_run(&(NnSampleOptions){.temperature = DBL_MAX}, wide, 4, NULL, 0);
    expect_p((double[]){1 / (2 + a + b), a / (2 + a + b), b / (2 + a + b), 1 / (2 + a + b)}, 4,
             "a temperature as large");
    must_run(&(NnSampleOptions){.temperature = DBL_TRUE_MIN}, wide, 4, NULL, 0);
    expect_p((double[]){0.5, 0, 0, 0.5}, 4, "the smallest temperature: only the largest are left");
    must_run(&(NnSampleOptions){.temperature = DBL_TRUE_MIN}, tiny, 3, NULL, 0);
    expect_p((double[]){a / (1 + a + b), b / (1 + a + b), 1 / (1 + a + b)}, 3, "tiny by tiny");
    must_run(&(NnSampleOptions){.temperature = 1e-300}, equal, 4, NULL, 0);
    expect_p((double[]){0.25, 0.25, 0.25, 0.25}, 4, "all equal, cold");
    must_run(&(NnSampleOptions){.temperature = 1, .top_p = 0.5}, equal, 4, NULL, 0);
    expect_p((double[]){0.5, 0.5, 0, 0}, 4, "all equal: half of them reach a half");
    /* Logits that a hot softmax cannot tell apart still have an order. */
    must_run(&(NnSampleOptions){.temperature = 1e300, .top_k = 1}, (double[]){1, 3, 2}, 3, NULL, 0);
    expect_p((double[]){0, 1, 0}, 3, "hot, top 1");
    must_run(&(NnSampleOptions){.temperature = 1}, (double[]){-1e300}, 1, NULL, 0);
    expect_p((double[]){1}, 1, "one token");
}

Test(sample, f32_and_strided_logits_are_read_as_they_are) {
    float z[] = {1, 99, -2, 99, 0.5f, 99};
    const double same[] = {1, -2, 0.5};
    const NnSampleOptions o = {.temperature = 0.7, .top_k = 2};
    Tensor all = tensor_wrap(z, TENSOR_F32, 2, (int64_t[]){3, 2});
    Tensor column = tensor_select(&all, 1, 0);
    double p[3];
    int64_t work[3];
    Tensor out = vector(p, TENSOR_F64, 3), scratch = vector(work, TENSOR_I64, 3);
    TensorError error;
    cr_assert(nn_sample_probabilities(&o, &column, NULL, 0, &out, &scratch, &error));
    must_run(&o, same, 3, NULL, 0);
    cr_expect_arr_eq(p, p_data, sizeof p);
}

Test(sample, work_is_needed_by_top_k_and_the_nucleus_only) {
    double z[] = {1, 2, 3}, p[3];
    Tensor logits = vector(z, TENSOR_F64, 3), out = vector(p, TENSOR_F64, 3);
    TensorError error;
    NnSampleOptions o = {.temperature = 1, .top_p = 1};
    cr_expect(nn_sample_probabilities(&o, &logits, NULL, 0, &out, NULL, &error));
    o.top_p = 0.5;
    cr_expect_not(nn_sample_probabilities(&o, &logits, NULL, 0, &out, NULL, &error));
    o = (NnSampleOptions){.temperature = 1, .top_k = 1};
    cr_expect_not(nn_sample_probabilities(&o, &logits, NULL, 0, &out, NULL, &error));
    cr_expect(strstr(error.message, "work"), "%s", error.message);
}

/* ---- against a plain sort ---- */

typedef struct {
    double x;
    int64_t v;
} Entry;

static int by_likelihood(const void *a, const void *b) {
    const Entry *x = a, *y = b;
    if (x->x != y->x) return x->x > y->x ? -1 : 1;
    return (x->v > y->v) - (x->v < y->v);
}

/* The definition, with nothing saved. */
static void reference(const NnSampleOptions *o, const double *z, int64_t V, const int64_t *recent,
                      int64_t n, double *p) {
    Entry e[MAX_V];
    bool seen[MAX_V] = {false};
    for (int64_t i = 0; i < n; i++) seen[recent[i]] = true;
    for (int64_t v = 0; v < V; v++) {
        double x = z[v], r = o->repetition_penalty;
        if (seen[v] && r > 0) x = x > 0 ? x / r : x * r;
        if (o->has_exclude && v == o->exclude) x = -INFINITY;
        e[v] = (Entry){x, v};
    }
    qsort(e, (size_t)V, sizeof *e, by_likelihood);
    int64_t k = o->top_k > 0 && o->top_k < V ? o->top_k : V, kept = k;
    double w[MAX_V], total = 0, sum = 0;
    for (int64_t i = 0; i < k; i++) total += w[i] = exp((e[i].x - e[0].x) / o->temperature);
    if (o->top_p > 0 && o->top_p < 1)
        for (kept = 0; kept < k && (kept == 0 || sum < o->top_p * total); kept++) sum += w[kept];
    for (int64_t v = 0; v < V; v++) p[v] = 0;
    total = 0;
    for (int64_t i = 0; i < kept; i++) total += w[i];
    for (int64_t i = 0; i < kept; i++) p[e[i].v] = w[i] / total;
}

Test(sample, all_options_together_agree_with_the_definition) {
    const int64_t ks[] = {0, 1, 2, 7, 36, 37, 50}, V = 37;
    const double ps[] = {0, 1e-9, 0.1, 0.501, 0.9, 0.999, 1}, temperatures[] = {0.05, 0.7, 1, 30};
    int cases = 0;
    for (uint64_t kind = 0; kind < 8; kind++)
        for (size_t k = 0; k < 7; k++)
            for (size_t q = 0; q < 7; q++)
                for (size_t t = 0; t < 4; t++) {
                    NnSampleOptions o = {temperatures[t], ks[k], ps[q],
                                         (double)(kind % 3) * 0.8, kind % 2 == 1, 11};
                    const int64_t recent[] = {3, 30, 3, 11, 36};
                    double z[MAX_V], want[MAX_V], sum = 0;
                    draw_logits(z, V, kind);
                    reference(&o, z, V, recent, 5, want);
                    must_run(&o, z, V, recent, 5);
                    for (int64_t v = 0; v < V; v++) {
                        sum += p_data[v];
                        cr_assert_float_eq(p_data[v], want[v], 1e-13,
                                           "kind %d k %d p %g T %g: p[%d] = %g, not %g", (int)kind,
                                           (int)ks[k], ps[q], o.temperature, (int)v, p_data[v],
                                           want[v]);
                    }
                    cr_assert_float_eq(sum, 1, 1e-13);
                    cases++;
                }
    cr_expect_eq(cases, 8 * 7 * 7 * 4);
}

Test(sample, supports_have_the_size_asked_for_and_grow_with_it) {
    const int64_t V = 37;
    double z[MAX_V];
    for (uint64_t kind = 0; kind < 12; kind++) {
        draw_logits(z, V, kind);
        int64_t drawable = 0;
        for (int64_t v = 0; v < V; v++) drawable += z[v] > -INFINITY;
        for (int64_t k = 1; k <= V; k++) {
            /* So hot that no weight underflows. */
            must_run(&(NnSampleOptions){.temperature = 1e4, .top_k = k}, z, V, NULL, 0);
            cr_assert_eq(support(V), k < drawable ? k : drawable, "kind %d, k %d", (int)kind,
                         (int)k);
        }
        int64_t before = 0;
        for (double q = 0.01; q < 1; q += 0.01) {
            must_run(&(NnSampleOptions){.temperature = 2, .top_p = q}, z, V, NULL, 0);
            cr_assert_geq(support(V), before, "kind %d, p %g", (int)kind, q);
            before = support(V);
        }
    }
}

Test(sample, temperature_moves_probability_to_the_less_likely) {
    const int64_t V = 37;
    double z[MAX_V], before = -1;
    draw_logits(z, V, 3);
    int64_t best = 0;
    for (int64_t v = 1; v < V; v++)
        if (z[v] > z[best]) best = v;
    for (double t = 1e-3; t < 1e6; t *= 1.5) {
        double entropy = 0;
        must_run(&(NnSampleOptions){.temperature = t}, z, V, NULL, 0);
        for (int64_t v = 0; v < V; v++) {
            cr_assert_leq(p_data[v], p_data[best]);
            for (int64_t u = 0; u < V; u++) cr_assert(z[u] >= z[v] || p_data[u] <= p_data[v]);
            if (p_data[v] > 0) entropy -= p_data[v] * log(p_data[v]);
        }
        cr_assert_geq(entropy, before - 1e-12, "temperature %g", t);
        before = entropy;
    }
    cr_expect_float_eq(before, log((double)V), 1e-6, "at last all are equally likely");
}

/* ---- drawing ---- */

Test(sample, a_number_falls_on_the_token_whose_part_it_is_in) {
    double p[] = {0, 0.25, 0, 0.5, 0.25, 0};
    Tensor x = vector(p, TENSOR_F64, 6);
    const struct {
        double u;
        int64_t want;
    } cases[] = {{0, 1},   {0.2499, 1}, {0.25, 3}, {0.7499, 3},
                 {0.75, 4}, {1 - 0x1p-53, 4}, {1, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_eq(nn_sample_choose(&x, cases[i].u), cases[i].want, "u = %g", cases[i].u);
    for (int i = 0; i < 6; i++) p[i] *= 3;
    cr_expect_eq(nn_sample_choose(&x, 0.75), 4, "lengths of any sum");
}

Test(sample, draws_are_as_frequent_as_probable) {
    const double z[] = {0, 1, -1, 2, -INFINITY};
    must_run(&(NnSampleOptions){.temperature = 1}, z, 5, NULL, 0);
    Tensor p = vector(p_data, TENSOR_F64, 5);
    enum { DRAWS = 20000 };
    int count[5] = {0};
    for (uint64_t i = 0; i < DRAWS; i++)
        count[nn_sample_choose(&p, tensor_rng_uniform((TensorRngKey){.seed = 5}, i))]++;
    for (int v = 0; v < 5; v++) {
        double q = p_data[v], deviation = sqrt(DRAWS * q * (1 - q));
        cr_expect_leq(fabs(count[v] - DRAWS * q), 4 * deviation, "token %d: %d times", v, count[v]);
    }
}

Test(sample, nothing_to_choose_from) {
    double none[] = {0, 0}, nan[] = {0.5, NAN}, good[] = {1};
    double infinite[] = {INFINITY, 1}, large[] = {DBL_MAX, DBL_MAX};
    float single[] = {1, 1};
    Tensor x = vector(none, TENSOR_F64, 2);
    cr_expect_eq(nn_sample_choose(&x, 0), -1);
    x = vector(nan, TENSOR_F64, 2);
    cr_expect_eq(nn_sample_choose(&x, 0), -1);
    x = vector(infinite, TENSOR_F64, 2);
    cr_expect_eq(nn_sample_choose(&x, 0), -1);
    x = vector(large, TENSOR_F64, 2);
    cr_expect_eq(nn_sample_choose(&x, 0), -1);
    x = vector(good, TENSOR_F64, 0);
    cr_expect_eq(nn_sample_choose(&x, 0), -1);
    x = vector(single, TENSOR_F32, 2);
    cr_expect_eq(nn_sample_choose(&x, 0), -1);
    x = tensor_nil();
    cr_expect_eq(nn_sample_choose(&x, 0), -1);
}

/* ---- what goes wrong ---- */

Test(sample, wrong_options_are_refused_with_their_reason) {
    const double z[] = {0, 1, 2}, bad_z[] = {0, NAN, 2}, inf_z[] = {0, 1, INFINITY};
    const double none_z[] = {-INFINITY, -INFINITY, -INFINITY}, large_z[] = {DBL_MAX, 0, 0};
    const int64_t below[] = {-1}, beyond[] = {3}, first[] = {0};
    const struct {
        const char *word;
        NnSampleOptions o;
        const double *z;
        const int64_t *recent;
    } cases[] = {
        {"temperature", {.temperature = -1}, z, NULL},
        {"temperature", {.temperature = NAN}, z, NULL},
        {"temperature", {.temperature = INFINITY}, z, NULL},
        {"top_k", {.top_k = -1}, z, NULL},
        {"top_p", {.top_p = -0.1}, z, NULL},
        {"top_p", {.top_p = 1.1}, z, NULL},
        {"top_p", {.top_p = NAN}, z, NULL},
        {"penalty", {.repetition_penalty = -1}, z, NULL},
        {"penalty", {.repetition_penalty = INFINITY}, z, NULL},
        {"penalty", {.repetition_penalty = NAN}, z, NULL},
        {"negative", {.has_exclude = true, .exclude = -1}, z, NULL},
        {"excluded token is 3, not in 0..2", {.has_exclude = true, .exclude = 3}, z, NULL},
        {"token 1 is NaN", {.temperature = 1}, bad_z, NULL},
        {"token 1 is NaN", {.temperature = 0}, bad_z, NULL},
        {"token 1 is NaN", {.has_exclude = true, .exclude = 1}, bad_z, NULL},
        {"token 2 is infinite", {.temperature = 1}, inf_z, NULL},
        {"no token left", {.temperature = 1}, none_z, NULL},
        {"no token left", {.temperature = 0}, none_z, NULL},
        {"recent token is -1", {.temperature = 1}, z, below},
        {"recent token is 3", {.temperature = 1, .repetition_penalty = 2}, z, beyond},
        {"after the repetition penalty", {.repetition_penalty = 1e-3}, large_z, first},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TensorError error = {""};
        cr_expect_not(run(&cases[i].o, cases[i].z, 3, cases[i].recent, cases[i].recent != NULL,
                          &error), "case %d", (int)i);
        cr_expect(strstr(error.message, cases[i].word), "case %d: %s", (int)i, error.message);
        cr_expect_null(strchr(error.message, '\n'));
    }
    cr_expect_null(nn_sample_invalid(&(NnSampleOptions){0}));
}

Test(sample, tensors_of_other_sizes_and_dtypes_are_refused) {
    double d[6] = {0};
    float f[3] = {0};
    int64_t i[3] = {0};
    Tensor z = vector(d, TENSOR_F64, 3), p = vector(d + 3, TENSOR_F64, 3);
    Tensor work = vector(i, TENSOR_I64, 3), single = vector(f, TENSOR_F32, 3);
    Tensor two = vector(d + 3, TENSOR_F64, 2), matrix = tensor_wrap(d, TENSOR_F64, 2,
                                                                    (int64_t[]){1, 3});
    Tensor two_i = vector(i, TENSOR_I64, 2), nil = tensor_nil(), all = vector(d, TENSOR_F64, 6);
    Tensor strided = tensor_slice(&all, 0, 0, 6, 2);
    const struct {
        const char *word;
        const Tensor *z, *p, *work;
    } cases[] = {
        {"logits", &matrix, &p, &work}, {"logits", &work, &p, &work}, {"logits", &nil, &p, &work},
        {"p is not", &z, &single, &work}, {"p is not", &z, &two, &work},
        {"p is not", &z, &nil, &work}, {"p is not", &single, &strided, &work},
        {"work is not", &z, &p, &p}, {"work is not", &z, &p, &two_i},
    };
    const NnSampleOptions o = {.temperature = 1, .top_k = 1};
    TensorError error;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        cr_expect_not(nn_sample_probabilities(&o, cases[c].z, NULL, 0, cases[c].p, cases[c].work,
                                              &error), "case %d", (int)c);
        cr_expect(strstr(error.message, cases[c].word), "case %d: %s", (int)c, error.message);
    }
    cr_expect(nn_sample_probabilities(&o, &z, NULL, 0, &p, &work, &error));
    int64_t zero = 0;
    Tensor empty = tensor_wrap(d, TENSOR_F64, 1, &zero);
    Tensor no_work = tensor_wrap(i, TENSOR_I64, 1, &zero);
    cr_expect_not(nn_sample_probabilities(&o, &empty, NULL, 0, &empty, &no_work, &error));
    cr_expect(strstr(error.message, "no token left"), "%s", error.message);
}
