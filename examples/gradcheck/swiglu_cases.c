/* swiglu_cases.c -- the op under opcheck, and in a small network under gradcheck. */
#include "autograd/gradcheck/opcheck.h"
#include "examples/gradcheck/cases.h"
#include "examples/gradcheck/swiglu.h"

/* Every sample of an op, in one result. */
static bool run_opcheck(const AgOp *op, GradcheckResult *result) {
    OpcheckReport report;
    opcheck(op, NULL, &report);
    *result = report.result;
    return report.ok;
}

/* Two layers: x [B, I], w_0 [I, 2H], w_1 [H, 2H] -> [B, H]; context is the op. */
static int network(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    AgVar h = x[0];
    for (int layer = 0; layer < 2; layer++) {
        ag_scope_push(t, layer == 0 ? "layer0" : "layer1");
        AgVar a = ag_matmul(h, x[1 + layer]);
        AgVar in[] = {ag_chunk(a, -1, 2, 0), ag_chunk(a, -1, 2, 1)};
        SwigluOptions options = {layer == 0 ? 1 : 1.5};
        h = ag_apply1(context, 2, in, &options, sizeof options);
        ag_scope_pop(t);
    }
    y[0] = h;
    return 1;
}

typedef bool (*Check)(GradcheckFunction f, void *context, int n, const Tensor *x,
                      const GradcheckOptions *options, GradcheckResult *result);

static bool check_network(Check check, const AgOp *op, GradcheckResult *result) {
    enum { B = 3, I = 2, H = 2 };
    double x[B * I] = {.3, -.7, 1.1, .4, -.2, .9};
    double w0[I * 2 * H] = {.5, .8, -1.2, .1, -.6, .7, .35, -.9};
    double w1[H * 2 * H] = {1.4, .2, -.15, .65, .45, -.8, .75, -1.1};
    Tensor in[] = {tensor_wrap(x, TENSOR_F64, 2, (int64_t[]){B, I}),
                   tensor_wrap(w0, TENSOR_F64, 2, (int64_t[]){I, 2 * H}),
                   tensor_wrap(w1, TENSOR_F64, 2, (int64_t[]){H, 2 * H})};
    return check(network, (void *)op, 3, in, NULL, result);
}

bool swiglu_samples_pass(GradcheckResult *result) { return run_opcheck(&swiglu_op, result); }

bool swiglu_network(GradcheckResult *result) {
    return check_network(gradcheck, &swiglu_op, result);
}

bool swiglu_network_second_order(GradcheckResult *result) {
    return check_network(gradgradcheck, &swiglu_op, result);
}

bool swiglu_forgets_beta(GradcheckResult *result) {
    return run_opcheck(&swiglu_without_beta, result);
}

bool swiglu_forgets_beta_in_network(GradcheckResult *result) {
    return check_network(gradcheck, &swiglu_without_beta, result);
}

bool swiglu_wrong_second_order(GradcheckResult *result) {
    return run_opcheck(&swiglu_constant_gate, result);
}

bool swiglu_sums_too_much(GradcheckResult *result) {
    return run_opcheck(&swiglu_wrong_shape, result);
}
