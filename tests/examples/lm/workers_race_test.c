/* Workers share nothing that one of them writes.  A plain program, so that it runs under
 * ThreadSanitizer. */
#include <stdio.h>

#include "steps.h"

static bool run(Steps *s, TensorError *error) {
    LmStep step;
    Tensor x, y;
    if (!s || !steps_run(s, 0, STEPS_WINDOWS - 1, true, error)) return false;
    steps_window(s, 1, &x, &y);
    if (lm_workers_trace(s->workers, &x, &y, 1, error)) return false;
    lm_workers_zero_state(s->workers);
    return lm_workers_step(s->workers, &x, &y, 1, true, 1, &step, error);
}

int main(void) {
    TensorError error = {""};
    int failures = 0;
    for (const StepsKind *k = steps_kinds; k->name; k++) {
        Steps *one = steps_new(k, 1, &error), *several = steps_new(k, 4, &error);
        double distance = -1;
        if (run(one, &error) && run(several, &error)) distance = steps_value_distance(one, several);
        bool ok = distance >= 0 && distance < 5e-6;
        printf("%s: %s: difference %g %s\n", ok ? "ok" : "FAILED", k->name, distance,
               error.message);
        failures += !ok;
        if (several) steps_free(several);
        if (one) steps_free(one);
    }
    return failures != 0;
}
