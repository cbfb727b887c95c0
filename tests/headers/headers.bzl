"""Checks that a public header needs nothing but itself and goes with the others, in C and C++."""

_STRICT = ["-pedantic", "-Wall", "-Wextra", "-Werror"]

# Twice: the include guard is checked too.
_TRANSLATION_UNIT = """
    grep -q 'extern "C"' $(location {header}) || {{
        echo '{path}: no extern "C" block' >&2
        exit 1
    }}
    for out in $(OUTS); do
        printf '%s\\n' > "$$out" \\
            '#include "{path}"' \\
            '#include "{path}"' \\
            '#if defined(BLIS_H) || defined(__SLEEF_H__)' \\
            '#error "{path} includes a header of BLIS or SLEEF"' \\
            '#endif'
    done
"""

def public_headers_test(name, headers):
    """Compiles each header alone and all in one file, as C11 and as C++17.

    A header that is not clean fails the build, and so do two that give one name to two things.

    Args:
      name: the name of the test; NAME.c is a main for it.
      headers: labels of the headers (//tensor:tensor.h); their packages export them:
        exports_files(glob(["*.h"]), visibility = ["//tests/headers:__pkg__"]).
    """
    units = [name + "_together"]
    paths = [header[2:].replace(":", "/") for header in headers]
    native.genrule(
        name = units[0],
        outs = [units[0] + ".c", units[0] + ".cc"],
        cmd = "for out in $(OUTS); do printf '#include \"%s\"\\n' " + " ".join(paths) +
              " > \"$$out\"; done",
    )
    for header, path in zip(headers, paths):
        unit = path[:-2].replace("/", "_") + "_alone"
        units.append(unit)
        native.genrule(
            name = unit,
            srcs = [header],
            outs = [unit + ".c", unit + ".cc"],
            cmd = _TRANSLATION_UNIT.format(header = header, path = path),
        )
    native.cc_library(
        name = name + "_headers",
        testonly = True,
        hdrs = headers,
    )
    for language, standard, extension in [("c11", "c11", ".c"), ("cxx17", "c++17", ".cc")]:
        native.cc_library(
            name = name + "_" + language,
            testonly = True,
            srcs = [unit + extension for unit in units],
            copts = ["-std=" + standard] + _STRICT,
            linkstatic = True,
            deps = [name + "_headers"],
        )
    native.cc_test(
        name = name,
        size = "small",
        srcs = [name + ".c"],
        linkstatic = True,
        deps = [name + "_c11", name + "_cxx17"],
    )
