"""The rule of Unroll's unit tests."""

load("//:copts.bzl", "UNROLL_COPTS")

def unroll_test(name, srcs = None, deps = [], copts = [], size = "small", **kwargs):
    """A Criterion test program, compiled with Unroll's own options.

    Tests that read the shared data carry the tag needs_data (or needs_conformance)
    and print `UNROLL_DATA used: PATH` (`UNROLL_CONFORMANCE used: PATH`) once they
    have read it; .ci/run fails where that line is missing.

    Args:
      name: the name of the target, by convention FILE_test.
      srcs: sources and private headers; NAME.c where not given.
      deps: libraries under test; Criterion is added.
      copts: compiler options after Unroll's own.
      size: Bazel's test size; it sets the timeout.
      **kwargs: other attributes of cc_test, such as data, defines and tags.
    """
    native.cc_test(
        name = name,
        srcs = srcs if srcs != None else [name + ".c"],
        copts = UNROLL_COPTS + copts,
        linkstatic = True,
        size = size,
        deps = deps + ["//third_party:criterion"],
        **kwargs
    )
