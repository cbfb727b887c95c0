/* The checker passes every right gradient of the catalogue, refuses every broken one, and says
 * what is wrong; beside it, what the checks of two other libraries make of the same gradients. */
#include "tests/autograd/catalogue/catalogue.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/autograd/catalogue/peers.h"

enum { LEAST_ENTRIES = 40, LEAST_PERCENT = 90, SEEDS = 3, DIRECTIONS = 4 };

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
    int passed, caught, diagnosed;
} Score;

typedef struct {
    int caught, refuses, apart; /* broken ones caught; right ones refused; both told right */
} PeerScore;

static void judge_right(const CatalogueEntry *e, Score *s) {
    GradcheckResult r;
    bool ok = catalogue_check(e, 0, &plainly, &r);
    s->passed += ok;
    if (!ok) printf("%s: the right version is refused: %s\n", e->name, r.message);
}

static void judge_broken(const CatalogueEntry *e, PeerVerdict peers, Score *s) {
    GradcheckResult r;
    char expected[128], found[128];
    bool caught = !catalogue_check(e, e->bug, &plainly, &r);
    bool right = caught && catalogue_is_right(e, &r);
    s->caught += caught;
    s->diagnosed += right;
    codes(e->reasons, expected, sizeof expected);
    codes(UINT32_C(1) << r.reason, found, sizeof found);
    printf("%-31s %-17s %-17s %-5s %-7s %-7s\n", e->name, expected, found,
           right ? "right" : "WRONG", peers.kann ? "-" : "caught", peers.dynet ? "-" : "caught");
    if (!right)
        printf("    %s\n    op expected `%s`, found `%s`: %s\n", e->what,
               e->op ? e->op : "any", r.op, r.message);
}

static void judge_peer(bool right, bool broken, PeerScore *s) {
    s->caught += !broken;
    s->refuses += !right;
    s->apart += right && !broken;
}

static void print_peer(const char *name, const PeerScore *s, int n) {
    printf("%s-style check: caught %d of %d, refused %d of the right versions, told the two apart "
           "in %d (%d %%)\n", name, s->caught, n, s->refuses, s->apart, 100 * s->apart / n);
}

Test(catalogue, right_gradients_pass_and_broken_ones_are_caught_and_explained) {
    Score s = {0};
    PeerScore kann = {0}, dynet = {0};
    int n = 0;
    printf("%-31s %-17s %-17s %-5s %-7s %-7s\n", "broken gradient", "expected", "found", "",
           "kann", "DyNet");
    for (const CatalogueEntry *e; (e = catalogue_entry(n)); n++) {
        PeerVerdict right = peers_judge(e, 0), broken = peers_judge(e, e->bug);
        judge_right(e, &s);
        judge_broken(e, broken, &s);
        judge_peer(right.kann, broken.kann, &kann);
        judge_peer(right.dynet, broken.dynet, &dynet);
    }
    printf("caught %d of %d, diagnosis right in %d (%d %%); kann-style check %d, DyNet-style "
           "check %d\n", s.caught, n, s.diagnosed, 100 * s.diagnosed / n, kann.caught,
           dynet.caught);
    printf("refused %d of the %d right versions\n", n - s.passed, n);
    print_peer("kann", &kann, n);
    print_peer("DyNet", &dynet, n);
    fflush(stdout);
    cr_expect_geq(n, LEAST_ENTRIES);
    cr_expect_eq(s.passed, n);
    cr_expect_eq(s.caught, n);
    cr_expect_geq(100 * s.diagnosed, LEAST_PERCENT * n);
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

Test(catalogue, random_directions_suffice_for_the_verdict) {
    const CatalogueEntry *e;
    for (int i = 0; (e = catalogue_entry(i)); i++) {
        GradcheckOptions o = {.directions = DIRECTIONS, .plain_verdict = true};
        GradcheckResult r;
        cr_expect(catalogue_check(e, 0, &o, &r), "%s: %s", e->name, r.message);
        cr_expect(!catalogue_check(e, e->bug, &o, &r), "%s: %s", e->name, r.message);
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
