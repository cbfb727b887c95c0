#!/usr/bin/env bash
# install.sh PREFIX -- see usage.
set -eu

usage='usage: ./bazelw run //:install -- PREFIX
Installs Unroll for programs outside this workspace:
  PREFIX/include/unroll  headers (#include "autograd/ag.h")
  PREFIX/lib             libunroll.a, libunroll_dataset.a, libunroll_gradcheck.a,
                         libunroll_gradcheck_report.a, libunroll_png.a
  PREFIX/lib/pkgconfig   unroll.pc, unroll-dataset.pc (which loads libcurl),
                         unroll-gradcheck.pc, unroll-gradcheck-report.pc,
                         unroll-png.pc (which loads librsvg)
  PREFIX/bin             gradcheck_merge
  PREFIX/share/doc       the licence'

fail() {
    printf 'install: %s\n' "$1" >&2
    exit 2
}

if [[ ${1-} == --help || ${1-} == -h ]]; then
    printf '%s\n' "$usage"
    exit
fi
[[ $# == 1 && $1 != '' && $1 != -* ]] || fail 'one folder is needed: //:install -- PREFIX'
case $1 in
/*) prefix=$1 ;;
*) prefix=${BUILD_WORKING_DIRECTORY:-$PWD}/$1 ;;
esac

# Bazel's copy of what is installed; a test starts in it.
for files in "$0.runfiles/unroll" "$PWD" ''; do
    [[ ! -f $files/third_party/install/headers.txt ]] || break
done
[[ $files ]] || fail "$0.runfiles is missing"
cd "$files"

# put MODE FILE TARGET
put() {
    local why
    why=$(install -D -m "$1" "$2" "$prefix/$3" 2>&1) || fail "${why#install: }"
}

while read -r header; do
    put 644 "$header" "include/unroll/$header"
done <third_party/install/headers.txt
for library in third_party/install/*.a; do
    put 644 "$library" "lib/${library##*/}"
done
for description in third_party/install/*.pc; do
    put 644 "$description" "lib/pkgconfig/${description##*/}"
done
put 644 LICENSE share/doc/unroll/LICENSE
put 755 autograd/gradcheck_merge bin/gradcheck_merge

printf 'installed in %s; for pkg-config:\n  export PKG_CONFIG_PATH=%q\n' "$prefix" \
    "$prefix/lib/pkgconfig"
