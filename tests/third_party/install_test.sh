#!/usr/bin/env bash
# install_test.sh INSTALLER CHECKS.c -- what is installed serves programs that know no Bazel.
set -u

installer=$PWD/$1
checks_source=$(realpath "$2")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/install_test.XXXXXX")
trap 'rm -rf "$work"' EXIT
failures=0

# check WHAT COMMAND...
check() {
    "${@:2}" >"$work/output" 2>&1 && return
    failures=$((failures + 1))
    printf 'FAILED: %s\n' "$1"
    head -n 20 "$work/output"
}

# refused WORD ARGUMENT...: status 2 and one line on stderr that holds the word.
refused() {
    "$installer" "${@:2}" >"$work/out" 2>"$work/err"
    check "status 2: ${*:2}" test $? = 2
    check "one line: ${*:2}" test "$(wc -l <"$work/err")" = 1
    check "'$1' in the message" grep -qF -- "$1" "$work/err"
}

refused 'one folder' ''
refused 'one folder'
refused 'one folder' a b
refused 'one folder' --frobnicate
: >"$work/file"
refused "$work/file" "$work/file"

# Relative to where the user stands.
mkdir "$work/here"
BUILD_WORKING_DIRECTORY=$work/here check 'it installs' "$installer" 'a prefix'
check 'nothing else is written' test "$(ls "$work/here")" = 'a prefix'
PKG_CONFIG_PATH="$work/here/a prefix/lib/pkgconfig" pkg-config --cflags unroll >"$work/cflags"
check 'a space is escaped once' grep -qE '[^\\]\\ prefix/' "$work/cflags"
# The folder may be moved.
mv "$work/here/a prefix" "$work/moved"
prefix=$work/moved
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
cd "$work" || exit 1

# Archives of a build with sanitizers link only with them.
sanitizers=()
for sanitizer in address:__asan_init undefined:__ubsan_handle; do
    ! nm "$prefix/lib/libunroll.a" 2>/dev/null | grep -q "${sanitizer#*:}" ||
        sanitizers+=("-fsanitize=${sanitizer%:*}")
done

# build PROGRAM SOURCE PACKAGE
build() {
    local flags
    read -ra flags <<<"$(pkg-config --cflags --libs "$3")"
    check "$1 is compiled and linked" gcc -std=c11 -Wall -Wextra -Werror "${sanitizers[@]}" \
        -o "$1" "$2" "${flags[@]}"
}

for header in $(cd "$prefix/include/unroll" && find . -name '*.h'); do
    echo "#include \"$header\"" >alone.c
    check "$header needs nothing that is not installed" gcc -fsyntax-only -std=c11 \
        -I"$prefix/include/unroll" alone.c
done
check 'headers are there' test -f "$prefix/include/unroll/autograd/ag.h"

cat >plain.c <<'END'
#include <stdio.h>
#include "autograd/gradcheck/plain.h"
static bool forward(void *p) {
    GradArg *a = p;
    double x = *(double *)a[0].value;
    *(double *)a[1].value = x * x * x;
    return true;
}
static bool backward(void *p) {
    GradArg *a = p;
    double x = *(double *)a[0].value;
    *(double *)a[0].grad = 3 * x * x * *(double *)a[1].grad;
    return true;
}
int main(void) {
    double x = 1.5;
    GradArg a[2] = {{.name = "x", .value = &x}, {.name = "y"}};
    GradcheckResult r;
    bool ok = gradcheck_plain(forward, backward, a, 1, a, 1, a + 1, NULL, &r);
    puts(r.message);
    return !ok;
}
END
build plain plain.c unroll-gradcheck
check 'the core runs' ./plain
check 'the core needs the C library and libm only' test "$(pkg-config --libs-only-l \
    unroll-gradcheck | xargs)" = '-lunroll_gradcheck -lm'

build checks "$checks_source" unroll-gradcheck-report
mkdir reports
GRADCHECK_REPORT_DIR=reports check 'a program with gradcheck_main runs' ./checks
check 'reports are merged' "$prefix/bin/gradcheck_merge" --junit reports
cp output merged.xml
check 'one has passed' grep -q '<testsuite name="loss" tests="1" failures="0"' merged.xml

cat >tape.c <<'END'
#include <stdio.h>
#include "autograd/gradcheck/gradcheck.h"
#include "data/utf8.h"
#include "nn/lstm.h"
#include "optim/optim.h"
static int f(AgTape *t, const AgVar *x, AgVar *y, void *context) {
    (void)t, (void)context;
    y[0] = ag_tanh(ag_matmul(x[0], x[1]));
    return 1;
}
int main(void) {
    double a[] = {.1, -.7, 2, .3, 1, -1}, b[] = {.5, .25, -2};
    const Tensor x[] = {tensor_wrap(a, TENSOR_F64, 2, (const int64_t[]){2, 3}),
                        tensor_wrap(b, TENSOR_F64, 2, (const int64_t[]){3, 1})};
    GradcheckResult r;
    bool ok = gradcheck(f, NULL, 2, x, NULL, &r);
    puts(r.message);
    NnParamSet *set = nn_params_new(TENSOR_F32, 1);
    nn_lstm_make(set, "lstm", 3, 4, NULL);
    Optim *opt = optim_adam_new(set, (OptimAdam)OPTIM_ADAM_DEFAULTS);
    ok = ok && optim_ok(opt) && data_utf8_count("\xC3\xA9", 2) == 1;
    optim_free(opt);
    nn_params_free(set);
    return !ok;
}
END
build tape tape.c unroll
check 'a tape runs' ./tape

cat >png.c <<'END'
#include "data/plot.h"
#include "data/png/png.h"
int main(void) {
    const double y[] = {3, 1, 2};
    DataSeries series = {"y", 3, NULL, y};
    return !data_plot_lines("y.svg", 1, &series, NULL, NULL) ||
           !data_plot_png("y.svg", "y.png", 1, NULL);
}
END
build png png.c unroll-png
check 'a picture is drawn' ./png
check 'as a PNG file' test "$(head -c 4 y.png | tail -c 3)" = PNG
check 'the rest needs no librsvg' test -z "$(pkg-config --libs unroll | grep rsvg)"

cat >texts.c <<'END'
#include <stdio.h>
#include "data/corpus.h"
#include "data/dataset.h"
int main(void) {
    TensorError error;
    DataDataset d;
    DataCorpus c;
    DataDatasetOptions options = {.folder = "texts", .offline = true};
    if (!data_dataset_get("tinyshakespeare", &options, &d, &error) ||
        !data_corpus_read(&c, &(DataCorpusOptions){.train = d.train}, &error)) {
        puts(error.message);
        return 1;
    }
    bool ok = c.train.count == 6;
    data_corpus_free(&c);
    data_dataset_free(&d);
    return !ok;
}
END
mkdir -p texts/tinyshakespeare
echo Enter >texts/tinyshakespeare/input.txt
build read texts.c unroll-dataset
check 'a data set is read' ./read

[[ $failures == 0 ]] && echo passed
