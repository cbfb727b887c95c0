/* overhead.c -- ops on tensors of one element, where the kernel is next to nothing: what a
 * recorded call costs more than the bare kernel's is the cost of recording. */
#include <stdio.h>

#include "autograd/ag.h"
#include "bench/cases.h"
#include "tensor/kernels.h"

enum { CALLS = 1000 };

typedef struct {
    const char *name;
    AgVar (*recorded)(const AgVar *x);
    void (*kernel)(const Tensor *y, const Tensor *x);
    TensorDtype dtype;
} SmallOp;

static AgVar recorded_add(const AgVar *x) { return ag_add(x[0], x[1]); }
static AgVar recorded_tanh(const AgVar *x) { return ag_tanh(x[0]); }
static void kernel_add(const Tensor *y, const Tensor *x) {
    tensor_binary(TENSOR_ADD, y, &x[0], &x[1]);
}
static void kernel_tanh(const Tensor *y, const Tensor *x) { tensor_unary(TENSOR_TANH, y, x); }

static const SmallOp small_ops[] = {{"add", recorded_add, kernel_add, TENSOR_F32},
                                    {"add", recorded_add, kernel_add, TENSOR_F64},
                                    {"tanh", recorded_tanh, kernel_tanh, TENSOR_F32},
                                    {"tanh", recorded_tanh, kernel_tanh, TENSOR_F64}};

typedef struct {
    const SmallOp *op;
    AgTape *tape;
    AgVar v[2];
    Tensor x[2], y;
} Calls;

static bool prepare(void *calls) {
    Calls *m = calls;
    ag_tape_reset(m->tape);
    for (int i = 0; i < 2; i++) m->v[i] = ag_input(m->tape, &m->x[i]);
    return true;
}

static bool record(void *calls) {
    Calls *m = calls;
    for (int i = 0; i < CALLS; i++) m->op->recorded(m->v);
    return ag_tape_ok(m->tape);
}

static bool run_kernel(void *calls) {
    Calls *m = calls;
    for (int i = 0; i < CALLS; i++) m->op->kernel(&m->y, m->x);
    return true;
}

/* Seconds of a thousand calls to nanoseconds of one. */
static double ns(double s) { return 1e9 * s / CALLS; }

static void note(BenchResult *r, const SmallOp *op, BenchTiming recorded, BenchTiming kernel) {
    double call = ns(recorded.median), bare = ns(kernel.median);
    const char *dtype = tensor_dtype_name(op->dtype);
    r->timing = (BenchTiming){recorded.median / CALLS, recorded.minimum / CALLS, recorded.n};
    r->more = json_pack("{s:s, s:s, s:f, s:f, s:f}", "op", op->name, "dtype", dtype,
                        "ns_recorded", call, "ns_kernel", bare, "ns_overhead", call - bare);
    snprintf(r->note, sizeof r->note, "%s %s: recorded %.1f ns, kernel %.1f ns, overhead %.1f ns",
             op->name, dtype, call, bare, call - bare);
}

static bool run(const void *sizes, double budget, BenchResult *r) {
    const SmallOp *op = sizes;
    double memory[3] = {0}; /* of either dtype */
    const int64_t one = 1;
    Calls m = {.op = op, .tape = ag_tape_new(), .y = tensor_wrap(&memory[0], op->dtype, 1, &one)};
    for (int i = 0; i < 2; i++) {
        m.x[i] = tensor_wrap(&memory[1 + i], op->dtype, 1, &one);
        tensor_fill(&m.x[i], 0.5 / (1 + i));
    }
    BenchStep step[] = {{prepare, &m}, {record, &m}, {run_kernel, &m}};
    BenchTiming timing[3];
    bool ok = m.tape && bench_time(3, step, budget, timing);
    if (ok) note(r, op, timing[1], timing[2]);
    else snprintf(r->note, sizeof r->note, "%s", m.tape ? ag_tape_error(m.tape) : "out of memory");
    if (m.tape) ag_tape_free(m.tape);
    return ok;
}

BenchCases bench_overhead(void) {
    static const BenchCase cases[] = {{"op_overhead", run, &small_ops[0], false},
                                      {"op_overhead", run, &small_ops[1], false},
                                      {"op_overhead", run, &small_ops[2], false},
                                      {"op_overhead", run, &small_ops[3], false}};
    return (BenchCases){sizeof cases / sizeof *cases, cases};
}
