/* The checker passes every right gradient of the catalogue, refuses every broken one, and says
 * what is wrong; beside it, what the checks of two other libraries make of the same gradients. */
#include "tests/autograd/catalogue/catalogue.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/autograd/catalogue/peers.h"

enum { LEAST_ENTRIES = 40, LEAST_PERCENT = 90, SEEDS = 3 };

static const GradcheckOptions plainly = {0};

/* The codes of a set of reasons: "MISSING|WRONG". */
static const char *codes(uint32_t reasons, char *buf, size_t size) {
    size_t used = 0;
    buf[0] = 0;
    for (int r = 0; r < GRADCHECK_REASONS; r++)
        if (reasons >> r & 1 && used < size)
            used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? "|" : "",
                                     gradcheck_reason_code((GradcheckReason)r));
    return buf;
}

typedef struct {
    int entries, passed, caught, diagnosed;
    int kann, dynet, kann_refuses, dynet_refuses; /* broken ones caught; right ones refused */
} Score;

static void judge_right(const CatalogueEntry *e, Score *s) {
    GradcheckResult r;
    bool ok = catalogue_check(e, 0, &plainly, &r);
    PeerVerdict peers = peers_judge(e, 0);
    s->passed += ok;
    s->kann_refuses += !peers.kann;
    s->dynet_refuses += !peers.dynet;
    if (!ok) printf("%s: the right version is refused: %s\n", e->name, r.message);
}

static void judge_broken(const CatalogueEntry *e, Score *s) {
    GradcheckResult r;
    char expected[128], found[128];
    bool caught = !catalogue_check(e, e->bug, &plainly, &r);
    bool right = caught && catalogue_is_right(e, &r);
    PeerVerdict peers = peers_judge(e, e->bug);
    s->caught += caught;
    s->diagnosed += right;
    s->kann += !peers.kann;
    s->dynet += !peers.dynet;
    codes(e->reasons, expected, sizeof expected);
    printf("%-31s %-17s %-17s %-5s %-7s %-7s\n", e->name, expected,
           codes(UINT32_C(1) << r.reason, found, sizeof found), right ? "right" : "WRONG",
           peers.kann ? "-" : "caught", peers.dynet ? "-" : "caught");
    if (!right)
        printf("    %s\n    op expected `%s`, found `%s`: %s\n", e->what,
               e->op ? e->op : "any", r.op, r.message);
}

Test(catalogue, right_gradients_pass_and_broken_ones_are_caught_and_explained) {
    Score s = {0};
    printf("%-31s %-17s %-17s %-5s %-7s %-7s\n", "broken gradient", "expected", "found", "",
           "kann", "DyNet");
    for (const CatalogueEntry *e; (e = catalogue_entry(s.entries)); s.entries++) {
        judge_right(e, &s);
        judge_broken(e, &s);
    }
    printf("caught %d of %d, diagnosis right in %d (%d %%); kann-style check %d, DyNet-style "
           "check %d\n", s.caught, s.entries, s.diagnosed, 100 * s.diagnosed / s.entries, s.kann,
           s.dynet);
    printf("right versions refused: %d of %d; kann-style check %d, DyNet-style check %d\n",
           s.entries - s.passed, s.entries, s.kann_refuses, s.dynet_refuses);
    fflush(stdout);
    cr_expect_geq(s.entries, LEAST_ENTRIES);
    cr_expect_eq(s.passed, s.entries);
    cr_expect_eq(s.caught, s.entries);
    cr_expect_geq(100 * s.diagnosed, LEAST_PERCENT * s.entries);
}

Test(catalogue, verdicts_hold_for_other_seeds) {
    const CatalogueEntry *e;
    for (int i = 0; (e = catalogue_entry(i)); i++)
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            GradcheckOptions o = {.seed = seed, .plain_verdict = true};
            GradcheckResult r;
            cr_expect(catalogue_check(e, 0, &o, &r), "%s: %s", e->name, r.message);
            cr_expect(!catalogue_check(e, e->bug, &o, &r), "%s, seed %d", e->name, (int)seed);
        }
}

Test(catalogue, entries_are_complete_and_names_are_unique) {
    const CatalogueEntry *e, *other;
    for (int i = 0; (e = catalogue_entry(i)); i++) {
        int same = 0;
        cr_expect(e->what && e->reasons && e->bug && !e->kernel == !!e->function, "%s", e->name);
        for (int j = 0; (other = catalogue_entry(j)); j++) same += !strcmp(e->name, other->name);
        cr_expect_eq(same, 1, "%s", e->name);
    }
}
