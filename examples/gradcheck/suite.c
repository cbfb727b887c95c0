/* suite.c -- checks as cases of Criterion. */
#include <string.h>

#include "autograd/gradcheck/criterion.h"
#include "examples/gradcheck/broken_cases.h"
#include "examples/gradcheck/cases.h"

GRADCHECK_TEST(lstm, elements) { return lstm_elements(result); }
GRADCHECK_TEST(lstm, directions) { return lstm_directions(result); }
GRADCHECK_TEST(swiglu, samples) { return swiglu_samples_pass(result); }
GRADCHECK_TEST(swiglu, network) { return swiglu_network(result); }
GRADCHECK_TEST(swiglu, network_second_order) { return swiglu_network_second_order(result); }

/* ---- wrong on purpose ---- */

Test(broken, each_fails_for_its_reason) {
    for (const GradcheckCase *c = broken_cases; c->name; c++) {
        GradcheckResult r;
        cr_expect(!c->run(&r) && !r.ok, "%s/%s passes", c->suite, c->name);
        cr_expect_str_eq(gradcheck_reason_code(r.reason), c->suite, "%s: %s", c->name, r.message);
    }
}

/* The text of the message of one case. */
#define EXPECT_SAYS(run, text)                                           \
    do {                                                                 \
        GradcheckResult r;                                               \
        cr_expect(!run(&r));                                             \
        cr_expect(strstr(r.message, text), "says `%s`", r.message);      \
    } while (0)

Test(broken, messages_name_what_is_wrong) {
    EXPECT_SAYS(lstm_gate_order, "input 1 (w_ih), axis 0 cut into 4 blocks, has them in wrong "
                                 "places: 2 holds 3, 3 holds 2");
    EXPECT_SAYS(lstm_carry_lost, "all at indices 0 to 1 of axis 0");
    EXPECT_SAYS(swiglu_forgets_beta_in_network, "the first op that is wrong: swiglu in layer1");
    EXPECT_SAYS(swiglu_wrong_second_order, "swiglu, matrix, second order: ");
    EXPECT_SAYS(swiglu_sums_too_much, "gave f64[3] for argument 1, which is f64[2,3]");
}
