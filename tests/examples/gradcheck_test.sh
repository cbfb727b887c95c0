#!/usr/bin/env bash
# gradcheck_test.sh CHECK BROKEN -- runs the example programs of the gradient checker.
set -u

check=$(realpath "$1")
broken=$(realpath "$2")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/gradcheck_test.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

# expect WHAT COMMAND...: one check, which holds if the command succeeds.
expect() {
    "${@:2}" && return
    failures=$((failures + 1))
    printf 'FAILED: %s\n' "$1"
    cat out
}

# Runs a program with its output in the file out; its status goes to $status.
run() {
    "$@" >out 2>&1
    status=$?
}

is() { [[ $1 == "$2" ]]; }

run "$check"
expect 'all of check passes: status 0' is $status 0
expect 'five cases are ok' is "$(grep -c '^ok ' out)" 5
expect 'none failed' is "$(grep -c '^FAILED' out)" 0
run "$check" --list
expect 'check lists its cases' grep -qx 'lstm/elements' out
run "$check" --case 'lstm/*'
expect 'a pattern chooses cases' is "$(grep -c '^ok ' out)" 2
run "$check" --seed 7
expect 'another seed passes' is $status 0
expect 'and is told' grep -q '(seed 7)' out

run "$broken" --list
cases=$(wc -l <out)
run "$broken"
expect 'broken ends with status 1' is $status 1
expect 'every case of broken fails' is "$(grep -c '^FAILED' out)" "$cases"
expect 'none is ok' is "$(grep -c '^ok ' out)" 0
expect 'a diagnosis is printed' grep -q '^FAILED  *SIGN/cosine: sign flipped: ' out

[[ $failures == 0 ]]
