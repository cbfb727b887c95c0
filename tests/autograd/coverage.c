#include "tests/autograd/coverage.h"

#include "autograd/gradcheck/opcheck.h"

static const char head[] =
    "# What every op is checked for\n"
    "\n"
    "Made by `./bazelw run //tests/autograd:op_coverage > docs/op_coverage.md` from the run of\n"
    "`opcheck` itself; a test fails where this page is not what that run gives.\n"
    "\n"
    "A cell names what was compared and passed: `v` values, `1` gradients, `2` second "
    "derivatives.\n"
    "Gradients and second derivatives of contiguous F64 inputs are compared with finite\n"
    "differences; all else (the other layouts, F32, `compose`) with those. `-`: the op has no\n"
    "such sample. Layouts are memory that is *contiguous*, *transposed* (axes reversed, with "
    "gaps),\n"
    "*narrowed* out of larger memory, *flipped* (negative strides), *expanded* (stride 0);\n"
    "*empty* and *0-d* are samples that have an input without elements, or without axes.\n"
    "`derivatives` counts the comparisons with differences.\n"
    "\n";

static void write_cell(FILE *file, const OpcheckReport *r, int dtype, int layout) {
    static const char order[OPCHECK_ORDERS] = {'v', '1', '2'};
    const int *covered = r->covered[dtype][layout];
    fprintf(file, " | ");
    for (int o = 0; o < OPCHECK_ORDERS; o++)
        if (covered[o]) fputc(order[o], file);
    if (!covered[0]) fputc('-', file);
}

static void write_heads(FILE *file) {
    fprintf(file, "| op | samples | derivatives");
    for (int dtype = 0; dtype < 2; dtype++)
        for (int layout = 0; layout < OPCHECK_LAYOUTS; layout++)
            fprintf(file, " | %s %s", dtype ? "F32" : "F64",
                    opcheck_layout_name((OpcheckLayout)layout));
    fprintf(file, " |\n|---|--:|--:");
    for (int i = 0; i < 2 * OPCHECK_LAYOUTS; i++) fprintf(file, "|---");
    fprintf(file, "|\n");
}

bool coverage_write(FILE *file) {
    bool ok = true;
    int ops = 0;
    long long derivatives = 0;
    fputs(head, file);
    write_heads(file);
    for (const AgOp *const *op = ag_ops; *op; op++, ops++) {
        OpcheckReport r;
        ok &= opcheck(*op, NULL, &r);
        derivatives += r.derivatives;
        fprintf(file, "| %s | %d | %lld", (*op)->name, r.samples, (long long)r.derivatives);
        for (int dtype = 0; dtype < 2; dtype++)
            for (int layout = 0; layout < OPCHECK_LAYOUTS; layout++)
                write_cell(file, &r, dtype, layout);
        fprintf(file, " |\n");
    }
    fprintf(file, "\n%d ops, %lld derivatives compared with finite differences.\n", ops,
            derivatives);
    return ok && !ferror(file);
}
