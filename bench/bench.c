/* bench.c -- what a training step of a language model costs, what sequences of several lengths
 * save, and what recording an op costs.
 *
 *     ./bazelw run //bench -- [--case NAME] [--seconds S]
 *
 * For each case two lines: one to read and one of JSON.  A step is everything a trainer does:
 * gradients to zero, forward from the carried state, cross-entropy, backward, clipping, update.
 * GFLOP/s count the matrix products only, three times the forward ones, and take a one-hot input
 * as the look-up it can be.  The peak is the fastest product of large square matrices of this
 * run; RSS is the largest of the process up to the end of the case.
 *
 * The case lstm_varlen times a training step of an LSTM over a batch of sequences whose lengths
 * are uniform in 1..T, told to the layer, against the same batch padded to T; they take turns.
 *
 * The case op_overhead times ops on tensors of one element, where the kernel is next to nothing:
 * overhead is what a recorded call costs more than the bare kernel's. */
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "nn/dropout.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/lstm.h"
#include "nn/state.h"
#include "optim/clip.h"
#include "optim/optim.h"
#include "tensor/gemm.h"
#include "tensor/isa.h"
#include "tensor/kernels.h"
#include "tensor/rng.h"

enum { WARM_UP = 2, MIN_STEPS = 5, MAX_STEPS = 100000, PEAK_SIZE = 768 };
static const double peak_seconds = 0.5;

/* One line on stdout.  Takes j, which may be NULL: false. */
static bool write_json(json_t *j) {
    bool ok = j && json_dumpf(j, stdout, JSON_REAL_PRECISION(6)) == 0;
    json_decref(j);
    printf("\n");
    fflush(stdout);
    return ok;
}

/* ---- the cases ---- */

typedef struct {
    const char *name;
    int64_t V, E, H, L, B, T; /* E 0: one-hot */
    double dropout, clip;
} Case;

static const Case cases[] = {
    {"lm_time_machine", 28, 0, 256, 1, 32, 35, 0, 1},
    {"lm_better_rnnlm", 10000, 100, 100, 2, 20, 35, 0.5, 0.25},
    {"lm_ptb_medium", 10000, 650, 650, 2, 20, 35, 0.5, 5},
};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- a model in training ---- */

typedef struct {
    const Case *c;
    AgTape *tape;
    NnParamSet *set;
    NnEmbedding embedding;
    NnLstm lstm;
    NnLinear out;
    NnState *state;
    Optim *optim;
    int64_t *ids; /* inputs [T, B], then targets [T, B] */
    uint64_t step;
} Trainer;

static bool trainer_init(Trainer *m, const Case *c) {
    NnLstmOptions lstm = {.num_layers = (int)c->L, .dropout = c->L > 1 ? c->dropout : 0};
    *m = (Trainer){.c = c, .tape = ag_tape_new(), .set = nn_params_new(TENSOR_F32, 1),
                   .state = nn_state_new(TENSOR_F32),
                   .ids = malloc((size_t)(2 * c->T * c->B) * sizeof(int64_t))};
    if (c->E > 0) m->embedding = nn_embedding_make(m->set, "embedding", c->V, c->E, NULL);
    m->lstm = nn_lstm_make(m->set, "lstm", c->E > 0 ? c->E : c->V, c->H, &lstm);
    m->out = nn_linear_make(m->set, "out", c->H, c->V, NULL);
    m->optim = optim_sgd_new(m->set, (OptimSgd){.lr = 0.1});
    if (!m->tape || !m->state || !m->ids || !optim_ok(m->optim)) return false;
    for (int64_t i = 0; i < 2 * c->T * c->B; i++)
        m->ids[i] = tensor_rng_below((TensorRngKey){.seed = 1}, (uint64_t)i, c->V);
    ag_tape_training(m->tape, true);
    return true;
}

static void trainer_free(Trainer *m) {
    optim_free(m->optim);
    nn_state_free(m->state);
    if (m->tape) ag_tape_free(m->tape);
    nn_params_free(m->set);
    free(m->ids);
}

/* x [T, B] -> logits [T, B, V] */
static AgVar forward(Trainer *m, AgVar x) {
    const Case *c = m->c;
    const int64_t shape[] = {c->L, c->B, c->H};
    NnLstmState s = {nn_state_load(m->state, x.tape, "h", 3, shape),
                     nn_state_load(m->state, x.tape, "c", 3, shape)};
    NnDropout drop = {c->dropout, 1};
    AgVar e = c->E > 0 ? nn_dropout(&drop, nn_embedding(&m->embedding, x))
                       : ag_one_hot(x, c->V, TENSOR_F32);
    NnLstmOutput o = nn_lstm(&m->lstm, e, &s, NULL);
    nn_state_store(m->state, "h", o.hn);
    nn_state_store(m->state, "c", o.cn);
    return nn_linear(&m->out, nn_dropout(&drop, o.y));
}

static bool train_step(Trainer *m) {
    AgTape *t = m->tape;
    const int64_t window[] = {m->c->T, m->c->B};
    Tensor x = tensor_wrap(m->ids, TENSOR_I64, 2, window);
    Tensor y = tensor_wrap(m->ids + m->c->T * m->c->B, TENSOR_I64, 2, window);
    ag_tape_reset(t);
    ag_tape_rng(t, 1, m->step++);
    nn_zero_grad(m->set);
    AgVar loss = ag_cross_entropy(forward(m, ag_input(t, &x)), ag_input(t, &y), NULL);
    if (!ag_backward(loss)) return false;
    optim_clip_grad_norm(nn_params_grads(m->set), m->c->clip);
    return optim_step(m->optim, NULL);
}

/* Operations of the matrix products in one step. */
static double case_flops(const Case *c) {
    double tokens = (double)(c->B * c->T), H = (double)c->H, flops = 2 * tokens * H * (double)c->V;
    for (int64_t l = 0; l < c->L; l++) {
        double inputs = (double)(l == 0 ? c->E : c->H);
        flops += 2 * tokens * 4 * H * (inputs + H);
    }
    return 3 * flops;
}

/* ---- measuring ---- */

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct {
    double median, minimum; /* seconds */
    int n;
} Timing;

/* Steps until `budget` seconds are over.  n is 0 if one failed. */
static Timing time_steps(Trainer *m, double budget) {
    static double spent[MAX_STEPS];
    Timing none = {0, 0, 0};
    for (int i = 0; i < WARM_UP; i++)
        if (!train_step(m)) return none;
    double start = seconds();
    int n = 0;
    while (n < MAX_STEPS && (n < MIN_STEPS || seconds() - start < budget)) {
        double before = seconds();
        if (!train_step(m)) return none;
        spent[n++] = seconds() - before;
    }
    qsort(spent, (size_t)n, sizeof *spent, by_size);
    return (Timing){(spent[(n - 1) / 2] + spent[n / 2]) / 2, spent[0], n};
}

/* GFLOP/s of the fastest of a few large products in F32; 0 when out of memory. */
static double gemm_peak(void) {
    const int64_t shape[] = {PEAK_SIZE, PEAK_SIZE};
    TensorArena *arena = tensor_arena_new();
    if (!arena) return 0;
    Tensor a = tensor_new(arena, TENSOR_F32, 2, shape), b = tensor_new(arena, TENSOR_F32, 2, shape);
    Tensor c = tensor_new(arena, TENSOR_F32, 2, shape);
    double best = 0;
    if (!tensor_is_nil(&a) && !tensor_is_nil(&b) && !tensor_is_nil(&c)) {
        tensor_rng_fill_uniform(&a, (TensorRngKey){.seed = 1}, -1, 1);
        tensor_rng_fill_uniform(&b, (TensorRngKey){.seed = 2}, -1, 1);
        double start = seconds(), before = start;
        while (before - start < peak_seconds && tensor_gemm(1, &a, &b, 0, &c, arena)) {
            double after = seconds();
            best = fmax(best, 2e-9 * pow(PEAK_SIZE, 3) / (after - before));
            before = after;
        }
    }
    tensor_arena_free(arena);
    return best;
}

static double resident_mib(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

/* ---- reporting ---- */

static bool report(const Case *c, Timing timing, double peak) {
    double gflops = 1e-9 * case_flops(c) / timing.median;
    double tokens = (double)(c->B * c->T) / timing.median, rss = resident_mib();
    printf("%-18s %9.2f %9.2f %6d %9.1f %5.0f%% %11.0f %8.1f\n", c->name, 1e3 * timing.median,
           1e3 * timing.minimum, timing.n, gflops, 100 * gflops / peak, tokens, rss);
    json_t *j = json_pack("{s:s, s:i, s:f, s:f, s:i, s:f, s:f, s:f, s:f, s:s, s:s}", "case",
                          c->name, "threads", 1, "ms_median", 1e3 * timing.median, "ms_min",
                          1e3 * timing.minimum, "n", timing.n, "gflops", gflops, "peak_share",
                          gflops / peak, "rss_mib", rss, "tokens_per_s", tokens, "isa",
                          tensor_isa_name(tensor_isa()), "gemm", tensor_gemm_config());
    return write_json(j);
}

static bool run_case(const Case *c, double budget, double peak) {
    Trainer m;
    Timing timing = {0, 0, 0};
    bool ok = trainer_init(&m, c);
    if (ok) timing = time_steps(&m, budget);
    if (timing.n == 0)
        fprintf(stderr, "bench: %s: %s\n", c->name, ok ? ag_tape_error(m.tape) : "out of memory");
    trainer_free(&m);
    return timing.n > 0 && report(c, timing, peak);
}

/* ---- sequences of several lengths ---- */

static const char lstm_varlen[] = "lstm_varlen";
enum { VARLEN_T = 100, VARLEN_B = 32, VARLEN_SIZE = 128, MAX_PAIRS = 10000 };

typedef struct {
    AgTape *tape;
    NnParamSet *set;
    NnLstm lstm;
    Tensor x;
    int64_t lengths[VARLEN_B];
} Varlen;

static bool varlen_init(Varlen *m, TensorArena *a, bool bidirectional) {
    const int64_t shape[] = {VARLEN_T, VARLEN_B, VARLEN_SIZE};
    *m = (Varlen){.tape = ag_tape_new(), .set = nn_params_new(TENSOR_F32, 1),
                  .x = tensor_new(a, TENSOR_F32, 3, shape)};
    m->lstm = nn_lstm_make(m->set, "lstm", VARLEN_SIZE, VARLEN_SIZE,
                           &(NnLstmOptions){.bidirectional = bidirectional});
    if (!m->tape || tensor_is_nil(&m->x) || !nn_params_ok(m->set)) return false;
    tensor_rng_fill_uniform(&m->x, (TensorRngKey){.seed = 1}, -1, 1);
    for (int b = 0; b < VARLEN_B; b++)
        m->lengths[b] = 1 + tensor_rng_below((TensorRngKey){.seed = 2}, (uint64_t)b, VARLEN_T);
    return true;
}

static void varlen_free(Varlen *m) {
    if (m->tape) ag_tape_free(m->tape);
    nn_params_free(m->set);
}

static bool varlen_step(Varlen *m, const int64_t *lengths) {
    ag_tape_reset(m->tape);
    nn_zero_grad(m->set);
    AgVar y = nn_lstm(&m->lstm, ag_borrow(m->tape, &m->x), NULL, lengths).y;
    return ag_backward(ag_sum(ag_square(y), AG_ALL_AXES, false));
}

/* Medians in seconds of steps that take turns. */
typedef struct {
    double varied, padded;
    int n; /* 0: failed */
} VarlenTiming;

static VarlenTiming time_varlen(Varlen *m, double budget) {
    static double varied[MAX_PAIRS], padded[MAX_PAIRS];
    VarlenTiming none = {0, 0, 0};
    for (int i = 0; i < WARM_UP; i++)
        if (!varlen_step(m, m->lengths) || !varlen_step(m, NULL)) return none;
    int n = 0;
    double start = seconds();
    for (; n < MAX_PAIRS && (n < MIN_STEPS || seconds() - start < budget); n++) {
        double a = seconds();
        if (!varlen_step(m, m->lengths)) return none;
        double b = seconds();
        if (!varlen_step(m, NULL)) return none;
        varied[n] = b - a;
        padded[n] = seconds() - b;
    }
    qsort(varied, (size_t)n, sizeof *varied, by_size);
    qsort(padded, (size_t)n, sizeof *padded, by_size);
    return (VarlenTiming){varied[n / 2], padded[n / 2], n};
}

static bool report_varlen(const Varlen *m, VarlenTiming t) {
    int64_t steps = 0;
    for (int b = 0; b < VARLEN_B; b++) steps += m->lengths[b];
    double share = (double)steps / (VARLEN_T * VARLEN_B), ratio = t.varied / t.padded;
    printf("%-12s %d direction%s: several lengths %7.2f ms, padded %7.2f ms, ratio %.2f for %.2f"
           " of the steps\n", lstm_varlen, m->lstm.D, m->lstm.D > 1 ? "s" : " ", 1e3 * t.varied,
           1e3 * t.padded, ratio, share);
    json_t *j = json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:i, s:s}", "case", lstm_varlen,
                          "directions", m->lstm.D, "ms_varied", 1e3 * t.varied, "ms_padded",
                          1e3 * t.padded, "ratio", ratio, "share_of_steps", share, "n", t.n, "isa",
                          tensor_isa_name(tensor_isa()));
    return write_json(j);
}

static bool run_varlen(double budget) {
    TensorArena *arena = tensor_arena_new();
    bool ok = arena != NULL;
    for (int bidirectional = 0; bidirectional < 2 && ok; bidirectional++) {
        Varlen m;
        VarlenTiming timing = {0, 0, 0};
        ok = varlen_init(&m, arena, bidirectional);
        if (ok) timing = time_varlen(&m, budget / 2);
        if (timing.n == 0)
            fprintf(stderr, "bench: %s: %s\n", lstm_varlen,
                    ok ? ag_tape_error(m.tape) : "out of memory");
        ok = timing.n > 0 && report_varlen(&m, timing);
        varlen_free(&m);
    }
    tensor_arena_free(arena);
    return ok;
}

/* ---- what recording costs ---- */

static const char op_overhead[] = "op_overhead";
enum { CALLS = 1000, MAX_ROUNDS = 10000 };

typedef struct {
    const char *name;
    AgVar (*recorded)(const AgVar *x);
    void (*kernel)(const Tensor *y, const Tensor *x);
} SmallOp;

static AgVar recorded_add(const AgVar *x) { return ag_add(x[0], x[1]); }
static AgVar recorded_tanh(const AgVar *x) { return ag_tanh(x[0]); }
static void kernel_add(const Tensor *y, const Tensor *x) {
    tensor_binary(TENSOR_ADD, y, &x[0], &x[1]);
}
static void kernel_tanh(const Tensor *y, const Tensor *x) { tensor_unary(TENSOR_TANH, y, x); }

static const SmallOp small_ops[] = {{"add", recorded_add, kernel_add},
                                    {"tanh", recorded_tanh, kernel_tanh}};
enum { SMALL_OPS = sizeof small_ops / sizeof *small_ops };

/* Nanoseconds a call: the medians of rounds that take turns. */
typedef struct {
    double recorded, kernel;
    int rounds; /* 0: failed */
} Overhead;

static Overhead time_op(AgTape *t, const SmallOp *op, TensorDtype dtype, double budget) {
    static double recorded[MAX_ROUNDS], kernel[MAX_ROUNDS];
    double memory[3] = {0}; /* of either dtype */
    int64_t one = 1;
    Tensor y = tensor_wrap(&memory[0], dtype, 1, &one);
    Tensor x[] = {tensor_wrap(&memory[1], dtype, 1, &one), tensor_wrap(&memory[2], dtype, 1, &one)};
    tensor_fill(&x[0], 0.5);
    tensor_fill(&x[1], 0.25);
    int n = 0;
    double start = seconds();
    for (; n < MAX_ROUNDS && (n < MIN_STEPS || seconds() - start < budget); n++) {
        ag_tape_reset(t);
        AgVar v[] = {ag_input(t, &x[0]), ag_input(t, &x[1])};
        double a = seconds();
        for (int i = 0; i < CALLS; i++) op->recorded(v);
        double b = seconds();
        for (int i = 0; i < CALLS; i++) op->kernel(&y, x);
        double c = seconds();
        if (!ag_tape_ok(t)) return (Overhead){0, 0, 0};
        recorded[n] = 1e9 * (b - a) / CALLS;
        kernel[n] = 1e9 * (c - b) / CALLS;
    }
    qsort(recorded, (size_t)n, sizeof *recorded, by_size);
    qsort(kernel, (size_t)n, sizeof *kernel, by_size);
    return (Overhead){recorded[n / 2], kernel[n / 2], n};
}

static bool report_op(const SmallOp *op, TensorDtype dtype, Overhead o) {
    const char *type = tensor_dtype_name(dtype);
    printf("%-12s %-4s %s: recorded %6.1f ns, kernel %6.1f ns, overhead %6.1f ns\n", op_overhead,
           op->name, type, o.recorded, o.kernel, o.recorded - o.kernel);
    json_t *j = json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:i, s:s}", "case", op_overhead, "op",
                          op->name, "dtype", type, "ns_recorded", o.recorded, "ns_kernel", o.kernel,
                          "ns_overhead", o.recorded - o.kernel, "n", o.rounds, "isa",
                          tensor_isa_name(tensor_isa()));
    return write_json(j);
}

static bool run_op_overhead(double budget) {
    AgTape *t = ag_tape_new();
    bool ok = t != NULL;
    for (int i = 0; i < SMALL_OPS && ok; i++)
        for (TensorDtype dtype = TENSOR_F32; dtype <= TENSOR_F64 && ok; dtype++) {
            Overhead o = time_op(t, &small_ops[i], dtype, budget / (2 * SMALL_OPS));
            ok = o.rounds > 0 && report_op(&small_ops[i], dtype, o);
        }
    if (!ok)
        fprintf(stderr, "bench: %s: %s\n", op_overhead, t ? ag_tape_error(t) : "out of memory");
    if (t) ag_tape_free(t);
    return ok;
}

/* ---- the program ---- */

static int help(void) {
    printf("usage: bench [--case NAME] [--seconds S]\n"
           "Times training steps on one thread, and recorded ops: a table, and lines of JSON.\n"
           "  --case NAME   only this one; default: all, which are");
    for (int i = 0; i < CASES; i++) printf(" %s", cases[i].name);
    printf(" %s %s\n  --seconds S   time for each case, default 4\n", lstm_varlen, op_overhead);
    return 0;
}

static int refuse(const char *what, const char *word) {
    fprintf(stderr, "bench: %s %s; see --help\n", what, word);
    return 2;
}

static bool is_case(const char *name) {
    for (int i = 0; i < CASES; i++)
        if (strcmp(name, cases[i].name) == 0) return true;
    return strcmp(name, lstm_varlen) == 0 || strcmp(name, op_overhead) == 0;
}

static bool run_training(const char *only, double budget) {
    double peak = gemm_peak();
    printf("instruction set %s, gemm %s, product of size %d: %.1f GFLOP/s, 1 thread\n",
           tensor_isa_name(tensor_isa()), tensor_gemm_config(), PEAK_SIZE, peak);
    printf("%-18s %9s %9s %6s %9s %6s %11s %8s\n", "case", "ms median", "ms min", "n", "GFLOP/s",
           "peak", "tokens/s", "RSS MiB");
    for (int i = 0; i < CASES; i++)
        if (!only || strcmp(only, cases[i].name) == 0)
            if (!run_case(&cases[i], budget, peak)) return false;
    return true;
}

static int run(const char *only, double budget) {
    const char *warning = tensor_isa_warning();
    if (warning) fprintf(stderr, "bench: %s\n", warning);
    bool varlen = !only || strcmp(only, lstm_varlen) == 0;
    bool overhead = !only || strcmp(only, op_overhead) == 0;
    if (!only || (!varlen && !overhead))
        if (!run_training(only, budget)) return 1;
    if (varlen && !run_varlen(budget)) return 1;
    return overhead && !run_op_overhead(budget) ? 1 : 0;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"case", required_argument, NULL, 'c'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *only = NULL;
    double budget = 4;
    opterr = 0;
    while (optind < argc) {
        char *word = argv[optind], *end;
        switch (getopt_long(argc, argv, "+h", options, NULL)) {
        case 'h': return help();
        case 'c':
            if (!is_case(optarg)) return refuse("no case", optarg);
            only = optarg;
            break;
        case 's':
            budget = strtod(optarg, &end);
            if (end == optarg || *end || !(budget > 0 && budget <= 3600))
                return refuse("--seconds: not in 0..3600:", optarg);
            break;
        default: return refuse("cannot read", word);
        }
    }
    int status = run(only, budget);
    if (fflush(stdout) != 0 || ferror(stdout)) return refuse("cannot write", "standard output");
    return status;
}
