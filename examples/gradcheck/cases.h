/* cases.h -- what is checked here: an op and a plain kernel, right and wrong.  Each runs one check
 * and returns result->ok.  The right ones are run by check.c (a program) and suite.c (Criterion),
 * the wrong ones by broken.c. */
#ifndef EXAMPLES_GRADCHECK_CASES_H
#define EXAMPLES_GRADCHECK_CASES_H
#include "autograd/gradcheck/plain.h"

/* lstm_cases.c: plain arrays */
bool lstm_elements(GradcheckResult *result);
bool lstm_directions(GradcheckResult *result);
/* wrong */
bool lstm_gate_order(GradcheckResult *result);
bool lstm_last_write(GradcheckResult *result);
bool lstm_carry_lost(GradcheckResult *result);
bool lstm_tanh_slope(GradcheckResult *result);

/* swiglu_cases.c: an op on the tape */
bool swiglu_samples_pass(GradcheckResult *result);
bool swiglu_network(GradcheckResult *result);
bool swiglu_network_second_order(GradcheckResult *result);
/* wrong */
bool swiglu_forgets_beta(GradcheckResult *result);
bool swiglu_forgets_beta_in_network(GradcheckResult *result);
bool swiglu_wrong_second_order(GradcheckResult *result);
bool swiglu_sums_too_much(GradcheckResult *result);

#endif
