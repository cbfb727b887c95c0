#!/usr/bin/env bash
# main_test.sh PROGRAM -- runs the conformance runner as its users do.
set -u

program=$(realpath "$1")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/main_test.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
unset BUILD_WORKING_DIRECTORY
failures=0

# check WHAT COMMAND...: holds if the command succeeds.
check() {
    "${@:2}" && return
    failures=$((failures + 1))
    printf 'FAILED: %s\n' "$1"
    tail -n 5 out err
}

# Runs the program with its output in the files out and err; its status goes to $status.
run() {
    "$program" "$@" >out 2>err
    status=$?
}

is() { [[ $1 == "$2" ]]; }

# double FIRST SECOND: the escapes, for printf, of a number with these two leading bytes.
double() { printf '\\0\\0\\0\\0\\0\\0\\%o\\%o' "$2" "$1"; }

# case_file NAME BYTE: -1 negated, 1; with BYTE 0xbf, the leading one of the answer, wrongly -1.
case_file() {
    local head tensors='' name offset=0
    for name in input.x output.y grad_output.y grad.x; do
        tensors+=", \"$name\": {\"dtype\": \"F64\", \"shape\": [],"
        tensors+=" \"data_offsets\": [$offset, $((offset + 8))]}"
        offset=$((offset + 8))
    done
    head="{\"__metadata__\": {\"case\": \"op\", \"name\": \"$1\","
    head+=" \"config\": \"{\\\"op\\\": \\\"neg\\\"}\"}$tensors}"
    {
        # shellcheck disable=SC2059
        printf "$(printf '\\%o\\%o' $((${#head} % 256)) $((${#head} / 256)))\0\0\0\0\0\0"
        printf '%s' "$head"
        # shellcheck disable=SC2059
        printf "$(double 0xbf 0xf0)$(double "$2" 0xf0)$(double 0x3f 0xf0)$(double 0xbf 0xf0)"
    } >"folder/op-$1.safetensors"
}

run --help
check '--help ends with 0' is $status 0
check '--help shows the usage' grep -q '^usage: ' out
for arguments in '' 'a b' '--frobnicate a' '--only'; do
    # shellcheck disable=SC2086
    run $arguments
    check "refused: $arguments" is $status 2
    check "usage with: $arguments" grep -q '^usage: ' err
done

mkdir folder
run folder
check 'no case: status' is $status 1
check 'no case: last line' is "$(tail -n 1 out)" '0 passed, 1 failed'
case_file right 0x3f
run folder
check 'a right case: status' is $status 0
check 'a right case: all there is' is "$(cat out)" '1 passed, 0 failed'
case_file wrong 0xbf
run "$work/folder/"
check 'a wrong case: status' is $status 1
check 'a wrong case: its line' is "$(head -n 1 out)" \
    'op-wrong: output.y[]: got 1, wanted -1 (1 of 1 differ)'
check 'a wrong case: last line' is "$(tail -n 1 out)" '1 passed, 1 failed'
run --only 'op-r*' folder
check 'only some' is "$(cat out)" '1 passed, 0 failed'

mkdir elsewhere
cd elsewhere || exit 1
BUILD_WORKING_DIRECTORY=$work run --only op-right folder
check 'paths are relative to BUILD_WORKING_DIRECTORY' is $status 0
BUILD_WORKING_DIRECTORY=$work/none run folder
check 'no such BUILD_WORKING_DIRECTORY' is $status 2

printf '%d failed\n' "$failures"
[[ $failures == 0 ]]
