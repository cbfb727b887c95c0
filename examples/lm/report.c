/* report.c -- see report.h. */
#include "report.h"

#include <math.h>

json_t *lm_json_real(double x) { return isfinite(x) ? json_real(x) : json_null(); }

bool lm_json_write(json_t *value, FILE *out, TensorError *error) {
    if (!value) return tensor_error_set(error, "out of memory");
    json_dumpf(value, out, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    fputc('\n', out);
    json_decref(value);
    return true;
}
