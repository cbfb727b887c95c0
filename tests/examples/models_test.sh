#!/usr/bin/env bash
# models_test.sh MODELS -- runs the program of examples/models as users do.
set -u

models=$(realpath "$1")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/models_test.XXXXXX")
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

# Runs the program with its output in the file out; its status goes to $status.
run() {
    "$models" "$@" >out 2>&1
    status=$?
}

is() { [[ $1 == "$2" ]]; }

run
expect 'without arguments: status 0' is $status 0
expect 'the models are listed' grep -q '^mgu ' out
expect 'with their tasks' grep -q '^ *task: adds ' out
run --help
expect 'there is help' grep -q -- '--check' out

run mgu --steps 20 --seed 3
expect 'a model trains' is $status 0
expect 'ten lines of progress' is "$(grep -c '^step ' out)" 10
expect 'with loss and rate' grep -Eq '^step +20 of 20 +loss +[0-9.]+ +learning rate 0.0' out
expect 'then the result' grep -Eq '^mean squared error on new data: [0-9.]+$' out
expect 'and the baseline' grep -q '^baseline: 0.16667, of ' out
run mgu --check
expect 'gradients are checked' is $status 0
expect 'of both orders' is "$(grep -c 'agree with finite differences' out)" 2

# refused WORD ARGUMENT...: status 2 and a message with that word.
refused() {
    run "${@:2}"
    expect "${*:2}: status 2" is $status 2
    expect "${*:2}: says $1" grep -q -- "$1" out
}
refused 'no model nothing' nothing
refused 'one model' mgu mdn
refused 'which model' --check
refused 'at least 1' mgu --steps 0
refused 'whole number' mgu --steps 1e3
refused 'at least 0' mgu --seed -1
refused 'unrecognized option' mgu --quick

if [[ -w /dev/full ]]; then
    "$models" mgu --steps 1 >/dev/full 2>out
    expect 'a full disk is told' is $? 1
    expect 'in one line' grep -q 'standard output' out
fi

[[ $failures == 0 ]]
