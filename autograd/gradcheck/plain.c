#include "autograd/gradcheck/plain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "autograd/gradcheck/core.h"

/* ---- reasons ---- */

static const struct {
    const char *code, *text;
} reasons[GRADCHECK_REASONS] = {
    [GRADCHECK_PASSED] = {"PASSED", "passed"},
    [GRADCHECK_SIGN] = {"SIGN", "sign flipped"},
    [GRADCHECK_FACTOR] = {"FACTOR", "off by a constant factor"},
    [GRADCHECK_MISSING] = {"MISSING", "gradient missing"},
    [GRADCHECK_TRANSPOSED] = {"TRANSPOSED", "transposed"},
    [GRADCHECK_OTHER_INPUT] = {"OTHER_INPUT", "gradient of another input"},
    [GRADCHECK_SHIFTED] = {"SHIFTED", "shifted along an axis"},
    [GRADCHECK_PERMUTED] = {"PERMUTED", "blocks in another order"},
    [GRADCHECK_REPEATED_INDEX] = {"REPEATED_INDEX", "wrong only at repeated indices"},
    [GRADCHECK_SLICE] = {"SLICE", "wrong only in one slice"},
    [GRADCHECK_PARTIAL_SUM] = {"PARTIAL_SUM", "a sum is missing"},
    [GRADCHECK_RESULT_IGNORED] = {"RESULT_IGNORED", "a result's cotangent is not used"},
    [GRADCHECK_RESULTS_SWAPPED] = {"RESULTS_SWAPPED", "cotangents of two results swapped"},
    [GRADCHECK_NOT_LINEAR] = {"NOT_LINEAR", "not linear in the cotangent"},
    [GRADCHECK_NONDETERMINISTIC] = {"NONDETERMINISTIC", "not deterministic"},
    [GRADCHECK_INPUT_CHANGED] = {"INPUT_CHANGED", "changed in place"},
    [GRADCHECK_OVERWRITES] = {"OVERWRITES", "overwrites instead of accumulating"},
    [GRADCHECK_ACCUMULATED] = {"ACCUMULATED", "accumulates instead of overwriting"},
    [GRADCHECK_UNWRITTEN] = {"UNWRITTEN", "an element never written"},
    [GRADCHECK_OUT_OF_BOUNDS] = {"OUT_OF_BOUNDS", "a write outside the array"},
    [GRADCHECK_SHAPE] = {"SHAPE", "shape or dtype wrong"},
    [GRADCHECK_NONFINITE] = {"NONFINITE", "NaN or infinity"},
    [GRADCHECK_KINK] = {"KINK", "not differentiable here"},
    [GRADCHECK_NOISE] = {"NOISE", "below the noise floor"},
    [GRADCHECK_WRONG] = {"WRONG", "gradient differs"},
    [GRADCHECK_ERROR] = {"ERROR", "the check could not run"},
};

static bool is_reason(GradcheckReason reason) {
    return (unsigned)reason < (unsigned)GRADCHECK_REASONS;
}
const char *gradcheck_reason(GradcheckReason reason) {
    return is_reason(reason) ? reasons[reason].text : "unknown reason";
}
const char *gradcheck_reason_code(GradcheckReason reason) {
    return is_reason(reason) ? reasons[reason].code : "UNKNOWN";
}

bool gradcheck_fail(GradcheckRun *run, GradcheckReason reason, const char *format, ...) {
    va_list args;
    GradcheckResult *r = run->r;
    int used = snprintf(r->message, sizeof r->message, "%s: ", gradcheck_reason(reason));
    va_start(args, format);
    vsnprintf(r->message + used, sizeof r->message - (size_t)used, format, args);
    va_end(args);
    r->reason = reason;
    return r->ok = false;
}

/* ---- the whole ---- */

/* Where the worst entry is and its numbers, after the sentence. */
static void add_numbers(GradcheckRun *run, bool passed) {
    GradcheckResult *r = run->r;
    char where[128];
    size_t used = strlen(r->message);
    if (!r->checked || r->index < 0) return;
    if (r->input >= 0)
        snprintf(where, sizeof where, "%s%s, element", passed ? "" : "at ", run->in[r->input].name);
    else snprintf(where, sizeof where, "%sdirection", passed ? "" : "along ");
    snprintf(r->message + used, sizeof r->message - used,
             "; worst %s %" PRId64 ": numeric %.*g +- %.1g, analytic %.*g", where, r->index,
             passed ? 12 : 9, r->numeric, r->uncertainty, passed ? 12 : 9, r->analytic);
}

static void say_passed(GradcheckRun *run) {
    GradcheckResult *r = run->r;
    bool directions = run->o.directions > 0;
    r->ok = true;
    r->reason = GRADCHECK_PASSED;
    snprintf(r->message, sizeof r->message, "passed: %" PRId64 " of %" PRId64 " %s agree",
             r->checked, r->input < 0 && directions ? run->o.directions : r->total,
             directions ? "directions" : "derivatives");
    add_numbers(run, true);
}

/* A function of doubles that computes in float costs most of the check's power: worth a word. */
static void add_circumstances(GradcheckRun *run) {
    GradcheckResult *r = run->r;
    size_t used = strlen(r->message);
    snprintf(r->message + used, sizeof r->message - used, "%s (seed %" PRIu64 ")",
             run->rough ? "; the function rounds to float32 inside" : "", r->seed);
}

static bool compare_numbers(GradcheckRun *run) {
    bool directions = run->o.directions > 0;
    bool done = directions ? gradcheck_check_directions(run) : gradcheck_check_elements(run);
    if (!done) return false;
    if (run->r->checked > 0 && !(run->worst <= 1))
        return gradcheck_fail(run, GRADCHECK_WRONG, "the gradient is not that of the function");
    return directions || gradcheck_check_certainty(run);
}

static bool start_again(GradcheckRun *run) {
    run->r->checked = 0;
    run->worst = 0;
    return compare_numbers(run);
}

static bool check_numbers(GradcheckRun *run) {
    bool ok = compare_numbers(run);
    if (!ok && run->r->reason != GRADCHECK_ERROR) {
        GradcheckResult seen = *run->r;
        if (!gradcheck_measure_roughness(run)) return false;
        *run->r = seen;
        if (run->rough) ok = start_again(run);
    }
    if (ok || run->r->reason != GRADCHECK_WRONG) return ok;
    if (!run->o.plain_verdict && (run->o.directions == 0 || gradcheck_look_closer(run)))
        gradcheck_diagnose(run);
    if (run->r->reason != GRADCHECK_KINK) add_numbers(run, false); /* there the sides say it all */
    return false;
}

bool gradcheck_run(const GradcheckProblem *p, const GradcheckOptions *options,
                   GradcheckResult *result) {
    GradcheckRun run = {.p = p, .r = result};
    if (options) run.o = *options;
    *result = (GradcheckResult){.input = -1, .index = -1, .other = -1, .axis = -1, .order = 1};
    if (gradcheck_open(&run) && gradcheck_check_forward(&run) && gradcheck_check_backward(&run) &&
        gradcheck_measure_noise(&run) && check_numbers(&run)) say_passed(&run);
    add_circumstances(&run);
    if (result->input >= 0 && run.in)
        snprintf(result->name, sizeof result->name, "%s",
                 run.in[result->input].arg->name ? run.in[result->input].arg->name : "");
    gradcheck_close(&run);
    return result->ok;
}

/* ---- for functions that only say whether they could ---- */

typedef struct {
    GradcheckCall forward, backward;
    void *context;
} Plain;

static GradcheckReason plain_forward(void *context, char *why, size_t size) {
    Plain *p = context;
    if (p->forward(p->context)) return GRADCHECK_PASSED;
    snprintf(why, size, "forward failed");
    return GRADCHECK_ERROR;
}

static GradcheckReason plain_backward(void *context, char *why, size_t size) {
    Plain *p = context;
    if (p->backward(p->context)) return GRADCHECK_PASSED;
    snprintf(why, size, "backward failed");
    return GRADCHECK_ERROR;
}

bool gradcheck_plain(GradcheckCall forward, GradcheckCall backward, void *context, int n_in,
                     GradArg *in, int n_out, GradArg *out, const GradcheckOptions *options,
                     GradcheckResult *result) {
    Plain plain = {forward, backward, context};
    GradcheckProblem p = {&plain, plain_forward, plain_backward, n_in, n_out, in, out};
    return gradcheck_run(&p, options, result);
}
