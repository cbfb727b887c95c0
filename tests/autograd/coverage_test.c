/* docs/op_coverage.md is what the checks give today, and leaves no hole. */
#include "tests/autograd/coverage.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gradcheck/opcheck.h"
#include "tests/support/read_text.h"

Test(coverage, the_page_is_current) {
    char *now = NULL, *page = read_text("docs/op_coverage.md");
    size_t size;
    FILE *file = open_memstream(&now, &size);
    cr_assert(file);
    cr_assert(coverage_write(file));
    fclose(file);
    size_t at = 0, line = 1;
    while (now[at] && now[at] == page[at]) line += now[at++] == '\n';
    cr_assert_eq(now[at], page[at],
                 "line %zu is not current: ./bazelw run //tests/autograd:op_coverage > "
                 "docs/op_coverage.md", line);
    free(now);
    free(page);
}

static bool takes_floats(const AgOp *op) {
    for (const char *s = op->signature; *s && *s != ':'; s++)
        if (*s == 'f') return true;
    return false;
}

Test(coverage, of_every_differentiable_op_holds_in_each_kind_of_memory_and_both_dtypes) {
    for (const AgOp *const *op = ag_ops; *op; op++) {
        if (!takes_floats(*op) || !((*op)->vjp || (*op)->same_view)) continue;
        OpcheckReport r;
        cr_expect(opcheck(*op, NULL, &r), "%s", r.message);
        for (int dtype = 0; dtype < 2; dtype++)
            for (int layout = OPCHECK_CONTIGUOUS; layout <= OPCHECK_EMPTY; layout++)
                for (int order = 0; order < OPCHECK_ORDERS; order++)
                    cr_expect(r.covered[dtype][layout][order] > 0, "%s: %s, %s, order %d",
                              (*op)->name, dtype ? "F32" : "F64",
                              opcheck_layout_name((OpcheckLayout)layout), order);
    }
}
