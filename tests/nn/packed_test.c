/* Without gradients the matrices of recurrent layers stay packed on the tape: never longer than
 * they are right, within the tape's limit, and without more memory than they need. */
#include <criterion/criterion.h>
#include <string.h>

#include "nn/init.h"
#include "nn/lstm.h"
#include "nn/state_dict.h"
#include "optim/optim.h"
#include "tensor/gemm.h"
#include "tensor/isa.h"
#include "tensor/kernels.h"
#include "tests/support/allocations.h"
#include "tests/support/folder.h"

enum { T = 3, B = 2, I = 5, H = 19, OUT = 11, MATRICES = 3 }; /* weight_ih, weight_hh, weight_hr */

static char path[TEST_PATH_SIZE];
static NnParamSet *set;
static NnLstm m;
static AgTape *t;
static TensorArena *results;
static void make(uint64_t seed) {
    set = nn_params_new(TENSOR_F32, seed);
    m = nn_lstm_make(set, "lstm", I, H, &(NnLstmOptions){.proj_size = OUT});
}
static void start(void) {
    test_folder_make(path, "packed.safetensors");
    make(1);
    t = ag_tape_new();
    ag_tape_no_grad(t, true);
    results = tensor_arena_new();
}
static void stop(void) {
    test_folder_remove(path);
    ag_tape_free(t);
    nn_params_free(set);
    tensor_arena_free(results);
}
TestSuite(packed, .init = start, .fini = stop);

static AgVar forward(AgTape *tape) {
    ag_tape_reset(tape);
    int64_t shape[] = {T, B, m.I};
    AgVar x = ag_full(tape, TENSOR_F32, 3, shape, .3);
    AgVar y = nn_lstm(&m, x, NULL, NULL).y;
    cr_assert(ag_tape_ok(tape), "%s", ag_tape_error(tape));
    return y;
}

/* y, in memory of its own. */
static Tensor result(AgTape *tape) {
    Tensor y = tensor_copy(results, ag_value(forward(tape)));
    cr_assert(!tensor_is_nil(&y));
    return y;
}

static Tensor fresh_result(void) {
    AgTape *fresh = ag_tape_new();
    Tensor y = result(fresh);
    ag_tape_free(fresh);
    return y;
}

static bool same(const Tensor *a, const Tensor *b) {
    size_t bytes = (size_t)tensor_numel(a) * sizeof(float);
    return tensor_same_shape(a, b) && memcmp(a->data, b->data, bytes) == 0;
}

/* On the tape with the copies what a tape without them gives, and not *before; twice. */
static void expect_fresh(const char *what, Tensor *before) {
    Tensor want = fresh_result();
    for (int i = 0; i < 2; i++) {
        Tensor got = result(t);
        cr_expect(same(&got, &want), "%s, call %d: not the parameters' result", what, i + 1);
    }
    cr_expect_not(same(before, &want), "%s: changed nothing", what);
    *before = want;
}

static void scale(NnParam *p, double by) {
    for (int64_t e = 0; e < tensor_numel(&p->value); e++)
        tensor_set(&p->value, e, tensor_get(&p->value, e) * by);
}

/* Does the tape keep a copy of p?  It does if it misses a change that nobody told. */
static bool is_kept(NnParam *p) {
    Tensor before = result(t);
    scale(p, .5);
    Tensor after = result(t);
    scale(p, 2);
    return same(&before, &after);
}

static void step(void) {
    Optim *opt = optim_sgd_new(set, (OptimSgd)OPTIM_SGD_DEFAULTS(.1));
    ag_tape_no_grad(t, false);
    nn_zero_grad(set);
    cr_assert(ag_backward(ag_sum(forward(t), AG_ALL_AXES, false)), "%s", ag_tape_error(t));
    ag_tape_no_grad(t, true);
    cr_assert(optim_step(opt, NULL), "%s", optim_error(opt));
    optim_free(opt);
}

Test(packed, every_change_of_a_parameter_is_seen) {
    NnLstmParams *p = &m.layer[0].params;
    NnParam *matrix[MATRICES] = {p->weight_ih, p->weight_hh, p->weight_hr};
    cr_assert(nn_save(set, path, 0, NULL, NULL));
    Tensor now = result(t);
    for (int k = 0; k < MATRICES; k++) {
        cr_expect(is_kept(matrix[k]), "%s", matrix[k]->name);
        scale(matrix[k], 2);
        nn_param_touch(matrix[k]);
        expect_fresh(matrix[k]->name, &now);
    }
    step();
    expect_fresh("a step of the optimiser", &now);
    step();
    step();
    expect_fresh("two steps", &now);
    cr_assert(nn_load(set, path, NULL, NULL));
    expect_fresh("a file", &now);
    cr_assert(nn_init_apply(set, "*", nn_init_uniform(-.3, .3)) > 0);
    expect_fresh("new initial values", &now);
    for (int k = 0; k < MATRICES; k++) cr_expect(is_kept(matrix[k]), "%s", matrix[k]->name);
}

Test(packed, a_change_within_an_epoch_is_seen) {
    Tensor now = result(t);
    int64_t shape[] = {T, B, I};
    scale(m.layer[0].params.weight_hh, 2);
    nn_param_touch(m.layer[0].params.weight_hh);
    AgVar y = nn_lstm(&m, ag_full(t, TENSOR_F32, 3, shape, .3), NULL, NULL).y;
    Tensor want = fresh_result();
    cr_expect(same(ag_value(y), &want));
    cr_expect_not(same(&now, &want));
}

Test(packed, another_set_at_the_same_place_has_copies_of_its_own) {
    Tensor now = result(t);
    for (uint64_t seed = 2; seed < 12; seed++) {
        nn_params_free(set);
        make(seed);
        expect_fresh("another set", &now);
    }
}

Test(packed, each_instruction_set_reads_its_own_order) {
    for (int i = 0; i < 2 * TENSOR_ISA_COUNT; i++) {
        if (!tensor_isa_set((TensorIsa)(i % TENSOR_ISA_COUNT))) continue;
        Tensor want = fresh_result();
        for (int call = 0; call < 2; call++) {
            Tensor got = result(t);
            cr_expect(same(&got, &want), "%s", tensor_isa_name(tensor_isa()));
        }
    }
}

/* ---- memory ---- */

static size_t copies(void) {
    size_t bytes = 0;
    NnLstmParams *p = &m.layer[0].params;
    NnParam *matrix[MATRICES] = {p->weight_ih, p->weight_hh, p->weight_hr};
    for (int k = 0; k < MATRICES; k++)
        bytes += tensor_packed_bytes(TENSOR_F32, matrix[k]->value.shape[1],
                                     matrix[k]->value.shape[0]);
    return bytes;
}

Test(packed, later_calls_take_no_memory) {
    ag_tape_no_grad(t, false);
    forward(t);
    size_t without = ag_tape_reserved(t);
    ag_tape_no_grad(t, true);
    forward(t);
    size_t with = ag_tape_reserved(t);
    cr_expect_geq(with, without + copies());
    long before = allocations();
    for (int i = 0; i < 3; i++) {
        forward(t);
        scale(m.layer[0].params.weight_hh, 1.1);
        nn_param_touch(m.layer[0].params.weight_hh);
    }
    cr_expect_eq(allocations(), before);
    cr_expect_eq(ag_tape_reserved(t), with);
}

Test(packed, a_limit_leaves_the_copies_an_eighth) {
    nn_params_free(set);
    set = nn_params_new(TENSOR_F32, 1);
    m = nn_lstm_make(set, "lstm", 10, 300, NULL);
    const size_t limit = (size_t)8 << 20;
    ag_tape_set_memory_limit(t, limit);
    for (int i = 0; i < 3; i++) {
        Tensor want = fresh_result(), got = result(t);
        cr_expect(same(&got, &want));
        cr_expect_leq(ag_tape_reserved(t), limit);
    }
    cr_expect(is_kept(m.layer[0].params.weight_ih), "48 kB");
    cr_expect_not(is_kept(m.layer[0].params.weight_hh), "1.4 MB");
}

Test(packed, a_lower_limit_frees_what_is_beyond_their_share) {
    nn_params_free(set);
    set = nn_params_new(TENSOR_F32, 1);
    m = nn_lstm_make(set, "lstm", 256, 512, NULL);
    forward(t);
    const size_t limit = (size_t)4 << 20, before = ag_tape_reserved(t);
    cr_assert_gt(before, limit);
    ag_tape_set_memory_limit(t, limit);
    ag_tape_reset(t);
    cr_expect_leq(ag_tape_reserved(t), limit);
    const int64_t n = 300000;
    cr_expect(ag_ok(ag_full(t, TENSOR_F32, 1, &n, 1)), "%s", ag_tape_error(t));
}

Test(packed, training_within_a_limit_gets_their_memory_back) {
    ag_tape_set_memory_limit(t, (size_t)64 << 20);
    step();
    size_t without = ag_tape_reserved(t);
    for (int i = 0; i < 3; i++) {
        Tensor want = fresh_result(), got = result(t);
        cr_expect(same(&got, &want));
        cr_expect_geq(ag_tape_reserved(t), without + copies());
        step();
        cr_expect_eq(ag_tape_reserved(t), without);
    }
}

Test(packed, no_memory_for_a_copy_is_no_error) {
    ag_tape_no_grad(t, false);
    forward(t);
    ag_tape_no_grad(t, true);
    Tensor want = fresh_result();
    fail_allocations(true);
    AgVar y = forward(t);
    fail_allocations(false);
    cr_expect(same(ag_value(y), &want));
    cr_expect(is_kept(m.layer[0].params.weight_hh), "there is memory again");
}

Test(packed, copies_of_sets_that_are_gone_make_room) {
    size_t most = 0;
    for (uint64_t i = 0; i < 200; i++) {
        nn_params_free(set);
        make(i);
        forward(t);
        forward(t);
        if (i < 40 && ag_tape_reserved(t) > most) most = ag_tape_reserved(t);
        cr_expect_leq(ag_tape_reserved(t), most);
    }
    for (int i = 0; i < 2; i++) forward(t);
    cr_expect(is_kept(m.layer[0].params.weight_hh));
}
