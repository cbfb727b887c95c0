"""The one home of the compiler flags for Unroll's own C."""

# gnu11: blis.h needs the GNU mode.  -ffp-contract=off: a fused multiply-add is
# written out where it is wanted, so bits do not change from file to file.
# -UNDEBUG: `bazel -c opt` passes -DNDEBUG, but asserts stay.
UNROLL_COPTS = [
    "-std=gnu11",
    "-O3",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-UNDEBUG",
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wconversion",
    "-Wmissing-prototypes",
    "-Wstrict-prototypes",
    "-Werror",
]
