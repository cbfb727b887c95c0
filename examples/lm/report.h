/* report.h -- what commands print for other programs: JSON. */
#ifndef EXAMPLES_LM_REPORT_H
#define EXAMPLES_LM_REPORT_H
#include <jansson.h>
#include <stdio.h>

#include "tensor/file.h"

/* The number, or null where JSON has none for it (NaN, infinities). */
json_t *lm_json_real(double x);

/* Writes the value, in lines, and lets go of it.  Fails (false): it is NULL, out of memory.  What
 * the stream refuses is found by ferror. */
bool lm_json_write(json_t *value, FILE *out, TensorError *error);

#endif
