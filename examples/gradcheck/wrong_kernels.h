/* wrong_kernels.h -- plain kernels that are wrong on purpose, one for each reason the checker
 * gives.  Each runs its check, fills the result and returns false. */
#ifndef EXAMPLES_GRADCHECK_WRONG_KERNELS_H
#define EXAMPLES_GRADCHECK_WRONG_KERNELS_H
#include "autograd/gradcheck/plain.h"

bool wrong_sign(GradcheckResult *result);
bool wrong_factor(GradcheckResult *result);
bool wrong_missing(GradcheckResult *result);
bool wrong_transposed(GradcheckResult *result);
bool wrong_other_input(GradcheckResult *result);
bool wrong_shifted(GradcheckResult *result);
bool wrong_permuted(GradcheckResult *result);
bool wrong_repeated_index(GradcheckResult *result);
bool wrong_slice(GradcheckResult *result);
bool wrong_partial_sum(GradcheckResult *result);
bool wrong_result_ignored(GradcheckResult *result);
bool wrong_results_swapped(GradcheckResult *result);
bool wrong_not_linear(GradcheckResult *result);
bool wrong_nondeterministic(GradcheckResult *result);
bool wrong_input_changed(GradcheckResult *result);
bool wrong_overwrites(GradcheckResult *result);
bool wrong_accumulated(GradcheckResult *result);
bool wrong_unwritten(GradcheckResult *result);
bool wrong_out_of_bounds(GradcheckResult *result);
bool wrong_shape(GradcheckResult *result);
bool wrong_nonfinite(GradcheckResult *result);
bool wrong_kink(GradcheckResult *result);
bool wrong_noise(GradcheckResult *result);
bool wrong_wrong(GradcheckResult *result);
bool wrong_error(GradcheckResult *result);

#endif
