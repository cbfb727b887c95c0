/* broken_cases.h -- everything here that is wrong on purpose, with the reason's code as suite. */
#ifndef EXAMPLES_GRADCHECK_BROKEN_CASES_H
#define EXAMPLES_GRADCHECK_BROKEN_CASES_H
#include "autograd/gradcheck/report.h"

extern const GradcheckCase broken_cases[]; /* ended by name NULL */

#endif
