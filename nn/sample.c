/* sample.c -- see sample.h. */
#include "nn/sample.h"

#include <math.h>

const char *nn_sample_invalid(const NnSampleOptions *o) {
    if (!(o->temperature >= 0 && o->temperature < INFINITY))
        return "the temperature is not a number from 0 up";
    if (o->top_k < 0) return "top_k is negative";
    if (!(o->top_p >= 0 && o->top_p <= 1)) return "top_p is not within 0 to 1";
    if (!(o->repetition_penalty >= 0 && o->repetition_penalty < INFINITY))
        return "the repetition penalty is not a number from 0 up";
    if (o->has_exclude && o->exclude < 0) return "the excluded token is negative";
    return NULL;
}

static bool has_nucleus(const NnSampleOptions *o) { return o->top_p > 0 && o->top_p < 1; }

/* ---- what is given ---- */

static bool is_vector(const Tensor *x, TensorDtype dtype, int64_t V) {
    return x && !tensor_invalid(x) && x->dtype == dtype && x->ndim == 1 && x->shape[0] == V &&
           tensor_is_contiguous(x);
}

static bool check_tensors(const NnSampleOptions *o, const Tensor *z, const Tensor *p,
                          const Tensor *work, TensorError *error) {
    char text[TENSOR_DESCRIBE_SIZE];
    const char *why = tensor_invalid(z);
    if (why) return tensor_error_set(error, "sample: logits: %s", why);
    if (!tensor_dtype_is_float(z->dtype) || z->ndim != 1)
        return tensor_error_set(error, "sample: logits %s are not F32 or F64 [V]",
                                tensor_describe(z, text, sizeof text));
    int64_t V = z->shape[0];
    if (!is_vector(p, TENSOR_F64, V))
        return tensor_error_set(error, "sample: p is not contiguous F64 [%lld]", (long long)V);
    if ((o->top_k > 0 || has_nucleus(o)) && !is_vector(work, TENSOR_I64, V))
        return tensor_error_set(error, "sample: work is not contiguous I64 [%lld]", (long long)V);
    return true;
}

static bool check_token(const char *what, int64_t id, int64_t V, TensorError *error) {
    return (id >= 0 && id < V) ||
           tensor_error_set(error, "sample: %s is %lld, not in 0..%lld", what, (long long)id,
                            (long long)V - 1);
}

/* ---- logits ---- */

static double logit(const Tensor *z, int64_t v) {
    int64_t at = v * z->stride[0];
    return z->dtype == TENSOR_F32 ? (double)((const float *)z->data)[at]
                                  : ((const double *)z->data)[at];
}

static bool check_logit(double x, int64_t v, const char *when, TensorError *error) {
    return x < INFINITY ||
           tensor_error_set(error, "sample: the logit of token %lld is %s%s", (long long)v,
                            isnan(x) ? "NaN" : "infinite", when);
}

/* x[v] becomes the logit of v, with the penalty; -infinity for the excluded token. */
static bool read_logits(const NnSampleOptions *o, const Tensor *z, const int64_t *recent,
                        int64_t n, double *x, TensorError *error) {
    int64_t V = z->shape[0];
    for (int64_t v = 0; v < V; v++)
        if (!check_logit(x[v] = logit(z, v), v, "", error)) return false;
    double penalty = o->repetition_penalty > 0 ? o->repetition_penalty : 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t v = recent[i];
        if (!check_token("a recent token", v, V, error)) return false;
        /* From z, not from x, so that repeats count once. */
        double old = logit(z, v);
        x[v] = old > 0 ? old / penalty : old * penalty;
        if (!check_logit(x[v], v, " after the repetition penalty", error)) return false;
    }
    if (!o->has_exclude) return true;
    if (!check_token("the excluded token", o->exclude, V, error)) return false;
    x[o->exclude] = -INFINITY;
    return true;
}

/* -1 where all are -infinity. */
static int64_t most_likely(const double *x, int64_t V) {
    int64_t best = -1;
    for (int64_t v = 0; v < V; v++)
        if (x[v] > (best < 0 ? -INFINITY : x[best])) best = v;
    return best;
}

/* exp((x - largest) / temperature).  A difference that overflows is taken in halves: with a large
 * enough temperature its quotient is a number again. */
static double weight(double x, double largest, double temperature) {
    if (x == -INFINITY) return 0;
    double d = x - largest;
    return exp(isfinite(d) ? d / temperature : (x / 2 - largest / 2) / temperature * 2);
}

/* ---- the most likely tokens, one after the other: a heap ---- */

typedef struct {
    const double *x;
    int64_t *token; /* [0..size) is the heap; behind it what was taken, the last one first */
    int64_t size;
} Heap;

static bool before(const Heap *h, int64_t a, int64_t b) {
    return h->x[a] > h->x[b] || (h->x[a] == h->x[b] && a < b);
}

/* token[at] moves down to where it belongs. */
static void sift(Heap *h, int64_t at) {
    int64_t moved = h->token[at];
    for (int64_t child; (child = 2 * at + 1) < h->size; at = child) {
        if (child + 1 < h->size && before(h, h->token[child + 1], h->token[child])) child++;
        if (!before(h, h->token[child], moved)) break;
        h->token[at] = h->token[child];
    }
    h->token[at] = moved;
}

static Heap heap_make(const double *x, int64_t *token, int64_t V) {
    Heap h = {x, token, V};
    for (int64_t v = 0; v < V; v++) token[v] = v;
    for (int64_t at = V / 2 - 1; at >= 0; at--) sift(&h, at);
    return h;
}

static int64_t heap_take(Heap *h) {
    int64_t top = h->token[0];
    h->token[0] = h->token[--h->size];
    h->token[h->size] = top;
    if (h->size > 0) sift(h, 0);
    return top;
}

/* Tokens outside the top k, or outside the nucleus, become -infinity. */
static void cut(const NnSampleOptions *o, double *x, int64_t V, double largest, int64_t *work) {
    int64_t k = o->top_k > 0 && o->top_k < V ? o->top_k : V, kept = k;
    if (k == V && !has_nucleus(o)) return;
    Heap h = heap_make(x, work, V);
    double total = 0, sum = 0;
    if (k < V)
        for (int64_t i = 0; i < k; i++) total += weight(x[heap_take(&h)], largest, o->temperature);
    else
        for (int64_t v = 0; v < V; v++) total += weight(x[v], largest, o->temperature);
    if (has_nucleus(o)) {
        for (kept = 0; kept < k && sum < o->top_p * total; kept++) {
            if (h.size == V - kept) heap_take(&h);
            sum += weight(x[work[V - 1 - kept]], largest, o->temperature);
        }
    }
    for (int64_t i = 0; i < V - kept; i++) x[work[i]] = -INFINITY;
}

/* ---- probabilities ---- */

bool nn_sample_probabilities(const NnSampleOptions *o, const Tensor *z, const int64_t *recent,
                             int64_t n, const Tensor *p, const Tensor *work, TensorError *error) {
    const char *why = nn_sample_invalid(o);
    if (why) return tensor_error_set(error, "sample: %s", why);
    if (!check_tensors(o, z, p, work, error)) return false;
    double *x = p->data, total = 0;
    int64_t V = z->shape[0];
    if (!read_logits(o, z, recent, n, x, error)) return false;
    int64_t best = most_likely(x, V);
    if (best < 0) return tensor_error_set(error, "sample: there is no token left to draw");
    double largest = x[best];
    if (o->temperature == 0) {
        for (int64_t v = 0; v < V; v++) x[v] = v == best;
        return true;
    }
    cut(o, x, V, largest, work ? work->data : NULL);
    for (int64_t v = 0; v < V; v++) total += x[v] = weight(x[v], largest, o->temperature);
    for (int64_t v = 0; v < V; v++) x[v] /= total;
    return true;
}

int64_t nn_sample_choose(const Tensor *p, double u) {
    if (tensor_invalid(p) || !is_vector(p, TENSOR_F64, tensor_numel(p))) return -1;
    const double *x = p->data;
    int64_t V = p->shape[0], last = -1;
    double total = 0, sum = 0;
    for (int64_t v = 0; v < V; v++) total += x[v];
    if (!(total > 0 && total < INFINITY)) return -1;
    for (int64_t v = 0; v < V; v++) {
        if (!(x[v] > 0)) continue;
        last = v;
        if ((sum += x[v]) > u * total) return v;
    }
    return last; /* u * total was rounded up to the total */
}
